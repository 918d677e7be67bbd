/* The devices of the chipset, wired as on a board: PCI, LPC, HPET, fw_cfg, SMBus, and the small
 * debug devices. */
#include "all-devices.h"
#include "devices/isa/debug-exit.h"
#include "devices/vmcoreinfo.h"
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- PCI */

static uint32_t config_get(struct bare_bus *bus, unsigned devfn, unsigned offset)
{
    bus_outl(bus, 0xcf8, 0x80000000u | devfn << 8 | (offset & 0xfc));
    return bus_inl(bus, 0xcfc);
}

static void config_put(struct bare_bus *bus, unsigned devfn, unsigned offset, uint32_t value)
{
    bus_outl(bus, 0xcf8, 0x80000000u | devfn << 8 | (offset & 0xfc));
    bus_outl(bus, 0xcfc, value);
}

static void test_pci_config(void)
{
    struct all_devices all;
    struct bare_bus *bus;
    unsigned found = 0;

    all_devices_new(&all);
    bus = all.bus;
    bus_outl(bus, 0xcf8, 0x80000000); /* Linux's probe of mechanism 1 */
    g_assert_cmphex(bus_inl(bus, 0xcf8), ==, 0x80000000);
    g_assert_cmphex(config_get(bus, 0, 0), ==, 0x29c08086);
    g_assert_cmphex(config_get(bus, PCI_DEVFN(0x1f, 0), 0), ==, 0x29188086);
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        found += config_get(bus, devfn, 0) != 0xffffffff;
    }
    g_assert_cmpuint(found, ==, 5);   /* the bridges and what is plugged in */
    bus_outl(bus, 0xcf8, 0x80010000); /* bus 1 */
    g_assert_cmphex(bus_inl(bus, 0xcfc), ==, 0xffffffff);

    bus_outl(bus, 0xcf8, 0x8000f808);
    g_assert_cmphex(bus_inw(bus, 0xcfe), ==, 0x0601);
    g_assert_cmphex(bus_inb(bus, 0xcff), ==, 0x06);
    bus_outl(bus, 0xcf8, 0x8000f80a); /* the same with its low bits in the address */
    g_assert_cmphex(bus_inl(bus, 0xcf8), ==, 0x8000f80a);
    g_assert_cmphex(bus_inw(bus, 0xcfc), ==, 0x0601);
    bus_outl(bus, 0xcf8, 0x0000f808); /* not enabled */
    g_assert_cmphex(bus_inl(bus, 0xcfc), ==, 0xffffffff);

    g_assert_cmphex(bus_readl(bus, 0xb0000000), ==, 0x29c08086);
    g_assert_cmphex(bus_readl(bus, 0xb00f8000), ==, 0x29188086);
    g_assert_cmphex(bus_readl(bus, 0xb00f8100), ==, 0xffffffff); /* no extended space */
    g_assert_cmphex(bus_readl(bus, 0xb0008000), ==, 0xffffffff);
    config_put(bus, 0, 0x00, 0x12345678); /* read-only */
    config_put(bus, 0, 0x10, 0xffffffff); /* no BAR */
    g_assert_cmphex(config_get(bus, 0, 0), ==, 0x29c08086);
    g_assert_cmphex(config_get(bus, 0, 0x10), ==, 0);

    config_put(bus, 0, 0x60, 0xc0000003); /* ECAM: 128 MiB elsewhere */
    g_assert_cmphex(bus_readl(bus, 0xb0000000), ==, 0xffffffff);
    g_assert_cmphex(bus_readl(bus, 0xc0000000), ==, 0x29c08086);
    g_assert_cmphex(bus_readl(bus, 0xc8000000), ==, 0xffffffff);
    config_put(bus, 0, 0x60, 0x00000001); /* over RAM: RAM wins */
    bus_writel(bus, 0x1000, 0x11223344);
    g_assert_cmphex(bus_readl(bus, 0x1000), ==, 0x11223344);
    config_put(bus, 0, 0x60, 0);
    g_assert_cmphex(bus_readl(bus, 0xc0000000), ==, 0xffffffff);
    all_devices_free(&all);
}

static void test_lpc(void)
{
    struct all_devices all;
    struct bare_bus *bus;

    all_devices_new(&all);
    bus = all.bus;
    g_assert_cmphex(config_get(bus, PCI_DEVFN(0x1f, 0), 0x40), ==, 0x601);
    config_put(bus, PCI_DEVFN(0x1f, 0), 0x40, 0xb001);
    g_assert_cmphex(bus_inw(bus, 0x604), ==, 0xffff);
    g_assert_cmphex(bus_inw(bus, 0xb004), ==, 0x0001);
    config_put(bus, PCI_DEVFN(0x1f, 0), 0x44, 0);
    g_assert_cmphex(bus_inw(bus, 0xb004), ==, 0xffff);
    bus_outb(bus, 0xcf9, 0x02);
    g_assert_cmphex(bus_inb(bus, 0xcf9), ==, 0x02);
    bus_expect_requests(bus, "");
    bus_outb(bus, 0xcf9, 0x06);
    bus_expect_requests(bus, "reset:cf9 ");
    bus_outb(bus, 0x92, 0x03);
    bus_expect_requests(bus, "reset:port92 ");
    bus_outb(bus, 0x92, 0x03);
    bus_expect_requests(bus, "");
    bus_outb(bus, 0x64, 0xfe);
    bus_expect_requests(bus, "reset:i8042 ");
    all_devices_free(&all);
}

/* ---- a PCI device with everything, to try the core */

struct probe_state {
    struct pci_state pci;
    uint32_t reg;
    uint8_t pad[4];
};

struct probe {
    struct pci_device pci;
    struct probe_state s;
    struct region mem, io, mem64;
};

static uint64_t probe_read(void *opaque, gpa_t offset, unsigned size)
{
    return ((struct probe *)opaque)->s.reg;
}

static void probe_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    ((struct probe *)opaque)->s.reg = (uint32_t)value;
}

static const struct region_ops probe_ops = {.read = probe_read, .write = probe_write};

static bool probe_realize(struct device *dev, GError **error)
{
    struct probe *d = (struct probe *)dev;
    static const struct pci_ids ids = {.vendor = 0x1234, .device = 0x5678, .class = 0x00ff};

    if (!pci_init(&d->pci, &d->s.pci, NULL, &ids, 1, error)) {
        return false;
    }
    d->mem = (struct region){.kind = REGION_IO, .size = 0x1000, .ops = &probe_ops, .opaque = d};
    d->io = (struct region){.kind = REGION_IO, .size = 0x20, .ops = &probe_ops, .opaque = d};
    d->mem64 = (struct region){.kind = REGION_IO, .size = 1 << 20, .ops = &probe_ops, .opaque = d};
    pci_add_bar(&d->pci, 0, 0, &d->mem);
    pci_add_bar(&d->pci, 1, PCI_BAR_IO, &d->io);
    pci_add_bar(&d->pci, 2, PCI_BAR_MEM64 | PCI_BAR_PREFETCHABLE, &d->mem64);
    pci_add_msix(&d->pci, 3, 4);
    pci_add_msi(&d->pci, 4, true);
    return true;
}

static void probe_unrealize(struct device *dev)
{
    pci_finish((struct pci_device *)dev);
}

static void probe_reset(struct device *dev, enum reset_kind kind)
{
    pci_reset((struct pci_device *)dev);
}

static const struct device_class probe_class = {
    .name = "probe",
    .help = "test device",
    .bus = BUS_PCI,
    .size = sizeof(struct probe),
    .state = &state_none,
    .realize = probe_realize,
    .unrealize = probe_unrealize,
    .reset = probe_reset,
};

static struct probe *probe_new(struct all_devices *all)
{
    struct device *dev;

    all_devices_new(all);
    dev = device_new(&probe_class, &all->bus->env);
    g_assert_true(device_realize(dev, NULL));
    devices_pause(&all->bus->env);
    devices_reset(&all->bus->env, RESET_COLD);
    devices_resume(&all->bus->env);
    return (struct probe *)dev;
}

static void test_pci_bars(void)
{
    struct all_devices all;
    struct probe *d = probe_new(&all);
    struct bare_bus *bus = all.bus;
    unsigned at = d->pci.devfn;

    g_assert_cmpuint(at, ==, PCI_DEVFN(1, 0));
    config_put(bus, at, 0x04, 3);
    for (unsigned i = 0; i < 5; i++) {
        config_put(bus, at, 0x10 + 4 * i, 0xffffffff); /* sizing, decoded all the while */
    }
    g_assert_cmphex(config_get(bus, at, 0x10), ==, 0xfffff000);
    g_assert_cmphex(config_get(bus, at, 0x14), ==, 0xffffffe1);
    g_assert_cmphex(config_get(bus, at, 0x18), ==, 0xfff0000c);
    g_assert_cmphex(config_get(bus, at, 0x1c), ==, 0xffffffff);
    g_assert_cmphex(config_get(bus, at, 0x20), ==, 0xfffff000);
    g_assert_cmphex(config_get(bus, at, 0x24), ==, 0);
    g_assert_false(d->pci.bar[0].mapped || d->pci.bar[1].mapped || d->pci.bar[2].mapped);

    config_put(bus, at, 0x10, 0xc0000000);
    config_put(bus, at, 0x14, 0xc000);
    config_put(bus, at, 0x18, 0);
    config_put(bus, at, 0x1c, 0x20); /* 128 GiB */
    bus_writel(bus, 0xc0000000, 7);
    g_assert_cmpuint(bus_inl(bus, 0xc01c), ==, 7);
    g_assert_cmpuint(bus_readl(bus, 0x20000ffffcull), ==, 7);
    config_put(bus, at, 0x10, 0xfec00000); /* over the I/O APIC: that wins */
    g_assert_cmpuint(bus_readl(bus, 0xfec00ffc), ==, 0);
    g_assert_cmpuint(bus_readl(bus, 0xc0000000), ==, 0xffffffff);
    config_put(bus, at, 0x10, 0); /* over RAM */
    bus_writel(bus, 0x800, 9);
    g_assert_cmpuint(d->s.reg, ==, 7);
    config_put(bus, at, 0x04, 0);
    g_assert_cmphex(bus_inl(bus, 0xc000), ==, 0xffffffff);
    device_free(&d->pci.dev);
    g_assert_cmphex(config_get(bus, at, 0), ==, 0xffffffff);
    all_devices_free(&all);
}

static void test_pci_interrupts(void)
{
    struct all_devices all;
    struct probe *d = probe_new(&all);
    struct bare_bus *bus = all.bus;
    unsigned at = d->pci.devfn, msix = d->pci.msix_cap, msi = d->pci.msi_cap;

    /* INTx: slot 1, INTA is PIRQF: I/O APIC input 21, and ISA 10 for the 8259s. */
    bus_writel(bus, IOAPIC_ADDR, 0x10 + 2 * 21);
    bus_writel(bus, IOAPIC_ADDR + 0x10, 0x8055);
    pci_set_intx(&d->pci, true);
    g_assert_cmpuint(bus->n_msi, ==, 1);
    g_assert_cmphex(bus->msi_data & 0xff, ==, 0x55);
    bus_outb(bus, 0xa0, 0x0a);
    g_assert_cmphex(bus_inb(bus, 0xa0) & 4, ==, 4);
    g_assert_cmphex(config_get(bus, at, 4) >> 16 & 8, ==, 8);
    config_put(bus, at, 4, 0x400); /* INTx off */
    ioapic_eoi(all.ioapic, 0x55);
    g_assert_cmpuint(bus->n_msi, ==, 1);
    config_put(bus, at, 4, 6);
    g_assert_cmpuint(bus->n_msi, ==, 2);
    pci_set_intx(&d->pci, false);

    /* MSI: two of four vectors enabled; the mask holds back. */
    config_put(bus, at, msi + 4, 0xfee01000);
    config_put(bus, at, msi + 12, 0x40);
    config_put(bus, at, msi, 0x00110000);
    pci_msi_notify(&d->pci, 1);
    g_assert_cmphex(bus->msi_addr, ==, 0xfee01000);
    g_assert_cmphex(bus->msi_data, ==, 0x41);
    config_put(bus, at, msi + 16, 1);
    pci_msi_notify(&d->pci, 0);
    g_assert_cmphex(bus->msi_data, ==, 0x41);
    g_assert_cmphex(config_get(bus, at, msi + 20), ==, 1);
    config_put(bus, at, msi + 16, 0);
    g_assert_cmphex(bus->msi_data, ==, 0x40);
    g_assert_cmphex(config_get(bus, at, msi + 20), ==, 0);
    config_put(bus, at, msi, 0);

    /* MSI-X to plain RAM, as a register test polls it. */
    config_put(bus, at, 0x20, 0xc1000000);
    config_put(bus, at, msix, 0x80000000);
    bus_writel(bus, 0xc1000020, 0x3000);
    bus_writel(bus, 0xc1000024, 0);
    bus_writel(bus, 0xc1000028, 0xabcd);
    pci_msi_notify(&d->pci, 2);
    g_assert_cmphex(bus_readl(bus, 0x3000), ==, 0);
    g_assert_cmphex(bus_readl(bus, 0xc1000800), ==, 4); /* pending */
    bus_writel(bus, 0xc100002c, 0);
    g_assert_cmphex(bus_readl(bus, 0x3000), ==, 0xabcd);
    g_assert_cmphex(bus_readl(bus, 0xc1000800), ==, 0);
    pci_msi_notify(&d->pci, 3); /* no such vector */
    bus_writel(bus, 0xc1000030, 1);
    g_assert_cmphex(bus_readl(bus, 0xc1000030), ==, 0);

    g_assert_false(pci_dma_write(&d->pci, 1ull << 45, "x", 1));
    g_assert_true(pci_dma_write(&d->pci, 0x3000, "x", 1));
    config_put(bus, at, 4, 2);
    g_assert_false(pci_dma_write(&d->pci, 0x3000, "y", 1));
    all_devices_free(&all);
}

/* What the accelerator's kernel would watch. */
static struct {
    int fd; /* -1: nothing */
    gpa_t addr;
    uint32_t data;
    bool refuses;
} kernel;

static bool kernel_irqfd_set(struct device_env *env, int fd, gpa_t addr, uint32_t data)
{
    kernel.fd = kernel.refuses ? -1 : fd;
    kernel.addr = addr;
    kernel.data = data;
    return !kernel.refuses;
}

static void kernel_irqfd_clear(struct device_env *env, int fd)
{
    g_assert_true(kernel.fd == fd || kernel.fd == -1);
    kernel.fd = -1;
}

static void raise_vector_1(void *opaque)
{
    pci_msi_notify(opaque, 1);
}

static void signal_and_run(struct bare_bus *bus, int fd)
{
    g_assert_cmpint(eventfd_write(fd, 1), ==, 0);
    while (g_main_context_iteration(bus->loop->context, FALSE)) {
    }
}

/* A line is the kernel's exactly while its vector may be sent; nothing signalled is lost. */
static void test_pci_lines(void)
{
    struct all_devices all;
    struct probe *d = probe_new(&all);
    struct bare_bus *bus = all.bus;
    unsigned at = d->pci.devfn, msix = d->pci.msix_cap;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct pci_line *line;

    kernel.fd = -1;
    kernel.refuses = false;
    bus->env.irqfd_set = kernel_irqfd_set;
    bus->env.irqfd_clear = kernel_irqfd_clear;
    config_put(bus, at, 4, 6);
    config_put(bus, at, 0x20, 0xc1000000);
    line = pci_line_new(&d->pci, fd, 1, raise_vector_1, d);
    signal_and_run(bus, fd); /* MSI-X is off */
    g_assert_cmpuint(bus->n_msi, ==, 0);
    g_assert_cmpint(kernel.fd, ==, -1);
    config_put(bus, at, msix, 0x80000000);
    bus_writel(bus, 0xc1000010, 0xfee00000);
    bus_writel(bus, 0xc1000018, 0x4061);
    signal_and_run(bus, fd); /* held back */
    g_assert_cmpuint(bus->n_msi, ==, 0);
    g_assert_cmphex(bus_readl(bus, 0xc1000800), ==, 2);
    bus_writel(bus, 0xc100001c, 0);
    g_assert_cmpuint(bus->n_msi, ==, 1);
    g_assert_cmpint(kernel.fd, ==, fd);
    g_assert_cmphex(kernel.addr, ==, 0xfee00000);
    g_assert_cmphex(kernel.data, ==, 0x4061);
    signal_and_run(bus, fd); /* not the loop's now */
    g_assert_cmpuint(bus->n_msi, ==, 1);
    bus_writel(bus, 0xc1000018, 0x4062);
    g_assert_cmphex(kernel.data, ==, 0x4062);
    config_put(bus, at, msix, 0xc0000000); /* all masked: what was signalled is kept */
    g_assert_cmpint(kernel.fd, ==, -1);
    signal_and_run(bus, fd);
    g_assert_cmphex(bus_readl(bus, 0xc1000800), ==, 2);
    config_put(bus, at, msix, 0x80000000);
    g_assert_cmpuint(bus->n_msi, ==, 2);
    g_assert_cmpint(kernel.fd, ==, fd);
    bus_writel(bus, 0xc1000010, 0x3000); /* a message to memory is none of the kernel's */
    g_assert_cmpint(kernel.fd, ==, -1);
    signal_and_run(bus, fd);
    g_assert_cmphex(bus_readl(bus, 0x3000), ==, 0x4062);
    bus_writel(bus, 0xc1000010, 0xfee00000);
    g_assert_cmpint(kernel.fd, ==, fd);
    config_put(bus, at, 4, 2); /* no bus master */
    g_assert_cmpint(kernel.fd, ==, -1);
    config_put(bus, at, 4, 6);
    pci_line_set_vector(line, 99); /* no such vector */
    g_assert_cmpint(kernel.fd, ==, -1);
    kernel.refuses = true;
    pci_line_set_vector(line, 1);
    signal_and_run(bus, fd);
    g_assert_cmpuint(bus->n_msi, ==, 3);
    kernel.refuses = false;
    pci_line_set_vector(line, 1);
    g_assert_cmpint(kernel.fd, ==, fd);
    pci_line_free(line);
    g_assert_cmpint(kernel.fd, ==, -1);
    close(fd);
    all_devices_free(&all);
}

/* ---- HPET */

static void test_hpet(void)
{
    struct all_devices all;
    struct bare_bus *bus;

    all_devices_new(&all);
    bus = all.bus;
    g_assert_cmphex(bus_readl(bus, HPET_ADDR), ==, 0x8086a201);
    g_assert_cmphex(bus_readl(bus, HPET_ADDR + 4), ==, 10000000);
    g_assert_cmphex(bus_readl(bus, HPET_ADDR + 0x104), ==, 0x00ff0104);
    bus_writel(bus, HPET_ADDR + 0xf0, 1000);
    bus_writel(bus, HPET_ADDR + 0x10, 1);
    bus_step(bus, NS_PER_MS);
    g_assert_cmpuint(bus_readl(bus, HPET_ADDR + 0xf0), ==, 101000);
    bus_writel(bus, HPET_ADDR + 0x10, 0);
    bus_step(bus, NS_PER_MS);
    g_assert_cmpuint(bus_readl(bus, HPET_ADDR + 0xf0), ==, 101000);

    /* Timer 2, one shot, edge, I/O APIC input 16. */
    bus_writel(bus, IOAPIC_ADDR, 0x10 + 2 * 16);
    bus_writel(bus, IOAPIC_ADDR + 0x10, 0x61);
    bus_writel(bus, HPET_ADDR + 0x10, 1);
    bus_writel(bus, HPET_ADDR + 0x140, 16 << 9 | 4);
    bus_writel(bus, HPET_ADDR + 0x148, 101000 + 5000);
    bus_writel(bus, HPET_ADDR + 0x14c, 0);
    bus_step(bus, 49 * NS_PER_US);
    g_assert_cmpuint(bus->n_msi, ==, 0);
    bus_step(bus, 2 * NS_PER_US);
    g_assert_cmpuint(bus->n_msi, ==, 1);
    g_assert_cmphex(bus->msi_data & 0xff, ==, 0x61);
    bus_step(bus, NS_PER_SEC);
    g_assert_cmpuint(bus->n_msi, ==, 1);

    /* Legacy replacement: timer 0 periodic at 1 kHz, as Linux sets it up; the 8254 is silent. */
    bus_outb(bus, 0x43, 0x34);
    bus_outb(bus, 0x40, 0);
    bus_outb(bus, 0x40, 0x10);
    bus_writel(bus, IOAPIC_ADDR, 0x14);
    bus_writel(bus, IOAPIC_ADDR + 0x10, 0x30);
    bus->n_msi = 0;
    bus_writel(bus, HPET_ADDR + 0x10, 3);
    bus_writel(bus, HPET_ADDR + 0x100, 0x4 | 0x8 | 0x40 | 0x100);
    bus_writel(bus, HPET_ADDR + 0x108, bus_readl(bus, HPET_ADDR + 0xf0) + 100000);
    bus_writel(bus, HPET_ADDR + 0x108, 100000);
    bus_step(bus, NS_PER_SEC + 1000);
    g_assert_cmpuint(bus->n_msi, ==, 1000);
    bus_writel(bus, HPET_ADDR + 0x108, 1); /* a silly period must not flood us */
    bus->n_msi = 0;
    bus_step(bus, NS_PER_SEC);
    g_assert_cmpuint(bus->n_msi, <=, 50001);
    bus_writel(bus, HPET_ADDR + 0x100, 0);
    bus_writel(bus, HPET_ADDR + 0x10, 1);
    bus->n_msi = 0;
    bus_step(bus, NS_PER_SEC);
    g_assert_cmpuint(bus->n_msi, >, 280); /* the 8254 again */
    all_devices_free(&all);
}

static void test_hpet_level(void)
{
    struct all_devices all;
    struct bare_bus *bus;

    all_devices_new(&all);
    bus = all.bus;
    bus_writel(bus, IOAPIC_ADDR, 0x10 + 2 * 17);
    bus_writel(bus, IOAPIC_ADDR + 0x10, 0x8062);
    bus_writel(bus, HPET_ADDR + 0x120, 17 << 9 | 4 | 2);
    bus_writel(bus, HPET_ADDR + 0x128, 10);
    bus_writel(bus, HPET_ADDR + 0x10, 1);
    bus_step(bus, NS_PER_US);
    g_assert_cmpuint(bus->n_msi, ==, 1);
    g_assert_cmphex(bus_readl(bus, HPET_ADDR + 0x20), ==, 2);
    ioapic_eoi(all.ioapic, 0x62);
    g_assert_cmpuint(bus->n_msi, ==, 2); /* not cleared at the source */
    bus_writel(bus, HPET_ADDR + 0x20, 2);
    ioapic_eoi(all.ioapic, 0x62);
    g_assert_cmpuint(bus->n_msi, ==, 2);
    all_devices_free(&all);
}

/* ---- PAM */

static void pci_write8(struct bare_bus *bus, unsigned devfn, unsigned offset, uint8_t value)
{
    bus_outl(bus, 0xcf8, 0x80000000 | devfn << 8 | (offset & 0xfc));
    bus_outb(bus, (uint16_t)(0xcfc + (offset & 3)), value);
}

/* ROM below what the bridge shows, and a bridge that shows it or RAM by halves of a register. */
static void test_pam(void)
{
    struct bare_bus *bus = bus_new();
    struct ram_block *ram = ram_block_new("pc", 0x100000, NULL);
    struct ram_block *rom = ram_block_new("rom", 0x20000, NULL);
    struct region alias = {.name = "rom", .kind = REGION_ROM, .size = 0x20000, .ram = rom};
    struct pam_wiring wiring = {.ram = ram, .rom = &alias, .rom_base = 0xe0000};
    struct address_space *mem = bus->env.mem;

    address_space_unmap(mem, &bus->ram_region);
    memset(rom->host, 0x77, rom->size);
    address_space_map(mem, 0xe0000, &alias, 1);
    g_assert_nonnull(q35_host_create(&bus->env, &wiring, NULL));
    bus_start(bus);
    g_assert_cmphex(address_space_io_read(mem, 0xf0000, 1), ==, 0x77);
    g_assert_cmphex(address_space_io_read(mem, 0xc4000, 1), ==, 0xff);

    pci_write8(bus, 0, 0x90, 0x20); /* copy the last 64 KiB onto itself: reads ROM, writes RAM */
    address_space_io_write(mem, 0xffffc, address_space_io_read(mem, 0xffffc, 4) + 1, 4);
    g_assert_cmphex(address_space_io_read(mem, 0xffffc, 4), ==, 0x77777777);
    pci_write8(bus, 0, 0x90, 0x30);
    g_assert_cmphex(address_space_io_read(mem, 0xffffc, 4), ==, 0x77777778);
    address_space_io_write(mem, 0xf1234, 0x55, 1);
    pci_write8(bus, 0, 0x90, 0x10); /* and lock it */
    address_space_io_write(mem, 0xf1234, 0xaa, 1);
    g_assert_cmphex(address_space_io_read(mem, 0xf1234, 1), ==, 0x55);
    g_assert_cmphex(address_space_io_read(mem, 0xec000, 1), ==, 0x77); /* its neighbour is ROM */

    pci_write8(bus, 0, 0x91, 0x20); /* 0xc4000 alone: nothing to read there, RAM to write */
    address_space_io_write(mem, 0xc4010, 0x1234, 2);
    g_assert_cmphex(address_space_io_read(mem, 0xc4010, 2), ==, 0xffff);
    pci_write8(bus, 0, 0x91, 0x30);
    g_assert_cmphex(address_space_io_read(mem, 0xc4010, 2), ==, 0x1234);
    g_assert_cmphex(address_space_io_read(mem, 0xc0000, 1), ==, 0xff);

    devices_pause(&bus->env);
    devices_reset(&bus->env, RESET_WAKE); /* firmware wakes in its shadow */
    g_assert_cmphex(address_space_io_read(mem, 0xc4010, 2), ==, 0x1234);
    devices_reset(&bus->env, RESET_WARM);
    g_assert_cmphex(address_space_io_read(mem, 0xf1234, 1), ==, 0x77);
    bus_free(bus);
    ram_block_free(ram);
    ram_block_free(rom);
}

/* ---- fw_cfg */

static void dma_command(struct bare_bus *bus, uint32_t control, uint32_t length, uint32_t target)
{
    bus_writel(bus, 0x8000, GUINT32_TO_BE(control));
    bus_writel(bus, 0x8004, GUINT32_TO_BE(length));
    bus_writel(bus, 0x8008, 0);
    bus_writel(bus, 0x800c, GUINT32_TO_BE(target));
    bus_outl(bus, 0x514, 0);
    bus_outl(bus, 0x518, GUINT32_TO_BE(0x8000u));
}

static void test_fw_cfg(void)
{
    struct all_devices all;
    struct bare_bus *bus;
    g_autoptr(GError) error = NULL;
    char sixty[61] = {0};

    all_devices_new(&all);
    bus = all.bus;
    fw_cfg_set_u16(all.fw_cfg, FW_CFG_NB_CPUS, 3);
    g_assert_true(fw_cfg_add_file(all.fw_cfg, "opt/a", "hello", 5, &error));
    g_assert_true(fw_cfg_add_file(all.fw_cfg, "opt/b", "other", 5, &error));
    g_assert_true(fw_cfg_add_file(all.fw_cfg, "opt/a", "world!", 6, &error));
    memset(sixty, 'x', 60);
    g_assert_false(fw_cfg_add_file(all.fw_cfg, sixty, "", 0, &error));
    g_clear_error(&error);

    bus_outw(bus, 0x510, FW_CFG_SIGNATURE);
    g_assert_cmpint(bus_inb(bus, 0x511), ==, 'Q');
    g_assert_cmpint(bus_inb(bus, 0x511), ==, 'E');
    bus_outw(bus, 0x510, FW_CFG_NB_CPUS);
    g_assert_cmpint(bus_inb(bus, 0x511), ==, 3);
    g_assert_cmpint(bus_inb(bus, 0x511), ==, 0);
    g_assert_cmpint(bus_inb(bus, 0x511), ==, 0); /* past the end */
    bus_outw(bus, 0x510, 0x3fff);
    g_assert_cmpint(bus_inb(bus, 0x511), ==, 0);
    bus_outw(bus, 0x510, FW_CFG_ID);
    g_assert_cmpint(bus_inb(bus, 0x511), ==, 3);
    g_assert_cmphex(bus_inl(bus, 0x514), ==, GUINT32_TO_BE(0x51454d55u));

    dma_command(bus, FW_CFG_FILE_DIR << 16 | 8 | 2, 4 + 2 * 64, 0x9000);
    g_assert_cmphex(bus_readl(bus, 0x8000), ==, 0);
    g_assert_cmphex(bus_readl(bus, 0x9000), ==, GUINT32_TO_BE(2u));
    g_assert_cmphex(bus_readl(bus, 0x9004), ==, GUINT32_TO_BE(6u));
    g_assert_cmpstr((char *)bus->ram->host + 0x900c, ==, "opt/a");
    g_assert_cmpstr((char *)bus->ram->host + 0x904c, ==, "opt/b");

    dma_command(bus, 0x20 << 16 | 8 | 4, 2, 0); /* select and skip */
    dma_command(bus, 2, 8, 0x9100);
    g_assert_cmphex(bus_readl(bus, 0x8000), ==, 0);
    g_assert_cmpmem(bus->ram->host + 0x9100, 8, "rld!\0\0\0\0", 8);
    dma_command(bus, 0x10, 4, 0x9100); /* nothing can be written */
    g_assert_cmphex(bus_readl(bus, 0x8000), ==, GUINT32_TO_BE(1u));
    dma_command(bus, 2, UINT32_MAX, 0); /* nor is there that much to read */
    g_assert_cmphex(bus_readl(bus, 0x8000), ==, GUINT32_TO_BE(1u));
    dma_command(bus, 2, 16, 0xfec00000);
    g_assert_cmphex(bus_readl(bus, 0x8000), ==, GUINT32_TO_BE(1u));
    bus_outl(bus, 0x514, 0xffffffff); /* a command that is not in RAM */
    bus_outl(bus, 0x518, 0xffffffff);
    all_devices_free(&all);
}

static void freshen(void *opaque, const char *name)
{
    struct device *fw = opaque;

    if (strcmp(name, "opt/late") == 0) {
        g_assert_true(fw_cfg_add_file(fw, "opt/late", "new", 3, NULL));
    }
}

/* A file is brought up to date when the guest begins to read it. */
static void test_fw_cfg_refresh(void)
{
    struct all_devices all;

    all_devices_new(&all);
    g_assert_true(fw_cfg_add_file(all.fw_cfg, "opt/late", "old", 3, NULL));
    fw_cfg_on_read(all.fw_cfg, freshen, all.fw_cfg);
    bus_outw(all.bus, 0x510, 0x20);
    g_assert_cmphex(bus_inb(all.bus, 0x511), ==, 'n');
    fw_cfg_on_read(all.fw_cfg, NULL, NULL);
    all_devices_free(&all);
}

static void note_written(void *opaque, const uint8_t *data, size_t length)
{
    g_string_append_printf(opaque, "%.*s;", (int)length, (const char *)data);
}

/* A guest writes within a writable file, by DMA only; a reset puts the first content back. */
static void test_fw_cfg_write(void)
{
    g_autoptr(GString) told = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    struct all_devices all;
    struct bare_bus *bus;
    char big[300] = {0};

    all_devices_new(&all);
    bus = all.bus;
    g_assert_true(fw_cfg_add_file(all.fw_cfg, "opt/plain", "plain", 5, &error));
    g_assert_true(
        fw_cfg_add_writable_file(all.fw_cfg, "opt/note", "abcd", 4, note_written, told, &error));
    g_assert_false(fw_cfg_add_writable_file(all.fw_cfg, "opt/big", big, sizeof(big), note_written,
                                            told, &error));
    g_clear_error(&error);
    g_assert_false(
        fw_cfg_add_writable_file(all.fw_cfg, "opt/plain", "x", 1, note_written, told, &error));

    memcpy(bus->ram->host + 0x9100, "WXYZ", 4);
    dma_command(bus, 0x20 << 16 | 8 | 0x10, 1, 0x9100); /* not a writable one */
    g_assert_cmphex(bus_readl(bus, 0x8000), ==, GUINT32_TO_BE(1u));
    dma_command(bus, 0x21 << 16 | 8 | 4, 1, 0); /* select, skip a byte, write two */
    dma_command(bus, 0x10, 2, 0x9100);
    g_assert_cmphex(bus_readl(bus, 0x8000), ==, 0);
    g_assert_cmpstr(told->str, ==, "aWXd;");
    dma_command(bus, 0x10, 2, 0x9100); /* one byte too many: none of it */
    g_assert_cmphex(bus_readl(bus, 0x8000), ==, GUINT32_TO_BE(1u));
    dma_command(bus, 0x21 << 16 | 8 | 0x10, 4, 0xfec00000); /* from no RAM */
    g_assert_cmphex(bus_readl(bus, 0x8000), ==, GUINT32_TO_BE(1u));
    dma_command(bus, 0x21 << 16 | 8 | 2, 5, 0x9200);
    g_assert_cmpmem(bus->ram->host + 0x9200, 5, "aWXd\0", 5);
    bus_outw(bus, 0x510, 0x21);
    bus_outb(bus, 0x511, 'q');
    g_assert_cmphex(bus_inb(bus, 0x511), ==, 'a');

    devices_pause(&bus->env);
    devices_reset(&bus->env, RESET_WARM);
    devices_resume(&bus->env);
    bus_outw(bus, 0x510, 0x21);
    bus_inb(bus, 0x511);
    g_assert_cmphex(bus_inb(bus, 0x511), ==, 'b');
    g_assert_cmpstr(told->str, ==, "aWXd;abcd;");
    all_devices_free(&all);
}

/* The selector of a file, by the directory in guest memory. */
static uint16_t file_key(struct bare_bus *bus, const char *name)
{
    uint8_t dir[4 + 16 * 64];

    dma_command(bus, FW_CFG_FILE_DIR << 16 | 8 | 2, sizeof(dir), 0x9000);
    g_assert_true(address_space_read(bus->env.mem, 0x9000, dir, sizeof(dir)));
    for (unsigned i = 0; i < dir[3]; i++) {
        const uint8_t *entry = dir + 4 + i * 64;

        if (strcmp((const char *)entry + 8, name) == 0) {
            return (uint16_t)(entry[4] << 8 | entry[5]);
        }
    }
    g_assert_not_reached();
}

static bool dma_failed(struct bare_bus *bus)
{
    return bus_readl(bus, 0x8000) != 0;
}

static void test_vmcoreinfo(void)
{
    static const uint8_t told[16] = {1, 0, 1, 0, 0x34, 0x12, 0, 0, 0x00, 0x50, 0x04};
    struct all_devices all;
    struct bare_bus *bus;
    struct device *dev;
    uint32_t key, size;
    gpa_t addr;

    all_devices_new(&all);
    bus = all.bus;
    dev = device_new(&vmcoreinfo_class, &bus->env);
    g_assert_true(device_realize(dev, NULL));
    key = (uint32_t)file_key(bus, "etc/vmcoreinfo") << 16;
    g_assert_false(vmcoreinfo_get(dev, &addr, &size));
    dma_command(bus, key | 8 | 2, 16, 0xa000);
    g_assert_cmphex(bus_readl(bus, 0xa000), ==, 1); /* the host can read ELF */

    address_space_write(bus->env.mem, 0xa000, told, sizeof(told));
    dma_command(bus, key | 8 | 0x10, 17, 0xa000); /* a byte too many: nothing is taken */
    g_assert_true(dma_failed(bus));
    g_assert_false(vmcoreinfo_get(dev, &addr, &size));
    dma_command(bus, key | 8 | 0x10, 16, 0xfffffff0); /* from where nothing is */
    g_assert_true(dma_failed(bus));
    dma_command(bus, key | 8 | 0x10, 16, 0xa000);
    g_assert_false(dma_failed(bus));
    g_assert_true(vmcoreinfo_get(dev, &addr, &size));
    g_assert_cmphex(addr, ==, 0x45000);
    g_assert_cmphex(size, ==, 0x1234);
    dma_command(bus, 0x10, 1, 0xa000); /* past its end */
    g_assert_true(dma_failed(bus));
    dma_command(bus, FW_CFG_ID << 16 | 8 | 0x10, 4, 0xa000); /* what is not to be written */
    g_assert_true(dma_failed(bus));

    devices_pause(&bus->env);
    devices_reset(&bus->env, RESET_WAKE);
    g_assert_true(vmcoreinfo_get(dev, &addr, &size));
    devices_reset(&bus->env, RESET_WARM);
    g_assert_false(vmcoreinfo_get(dev, &addr, &size));
    all_devices_free(&all);
}

/* ---- small ones */

static void test_testdev(void)
{
    struct all_devices all;
    struct bare_bus *bus;

    all_devices_new(&all);
    bus = all.bus;
    bus_outl(bus, 0xe0, 0x11223344);
    g_assert_cmphex(bus_inb(bus, 0xe1), ==, 0x33);
    bus_outw(bus, 0xe2, 0xaabb);
    g_assert_cmphex(bus_inl(bus, 0xe0), ==, 0xaabb3344);
    bus_outb(bus, 0xe8, 0x77);
    g_assert_cmphex(bus_inb(bus, 0xe8), ==, 0x77);
    address_space_io_write(bus->env.mem, 0xff000ffd, 0x8877665544332211, 8);
    g_assert_cmphex(address_space_io_read(bus->env.mem, 0xff000ffd, 8), ==, 0x8877665544332211);
    bus_writel(bus, IOAPIC_ADDR, 0x10 + 2 * 14);
    bus_writel(bus, IOAPIC_ADDR + 0x10, 0x82);
    bus_outb(bus, 0x200e, 1);
    g_assert_cmpuint(bus->n_msi, ==, 1);
    bus_outb(bus, 0x200e, 0);
    bus_outb(bus, 0x2017, 1);
    g_assert_cmphex(bus_inb(bus, 0xe9), ==, 0xe9);
    bus_outb(bus, 0x501, 3);
    bus_expect_requests(bus, "exit:7 ");
    all_devices_free(&all);
}

struct slow {
    struct chardev chr;
    GString *out;
    size_t room;
};

static size_t slow_write(struct chardev *chr, const uint8_t *buf, size_t length)
{
    struct slow *s = (struct slow *)chr;
    size_t n = MIN(length, s->room);

    g_string_append_len(s->out, (const char *)buf, (gssize)n);
    s->room -= n;
    return n;
}

static void test_debugcon(void)
{
    static const struct chardev_ops ops = {
        .name = "slow", .size = sizeof(struct slow), .write = slow_write};
    struct slow s = {
        .chr = {.ops = &ops, .id = (char *)"slow"}, .out = g_string_new(NULL), .room = 2};
    struct bare_bus *bus = bus_new();

    g_assert_nonnull(debugcon_create(&bus->env, &s.chr, NULL));
    bus_start(bus);
    for (const char *p = "hello"; *p; p++) {
        bus_outb(bus, 0xe9, (uint8_t)*p);
    }
    g_assert_cmpstr(s.out->str, ==, "he");
    s.room = 2;
    s.chr.frontend->writable(s.chr.frontend->opaque);
    bus_outb(bus, 0xe9, '!');
    g_assert_cmpstr(s.out->str, ==, "hell");
    s.room = 100;
    s.chr.frontend->writable(s.chr.frontend->opaque);
    g_assert_cmpstr(s.out->str, ==, "hello!");
    bus_free(bus);
    g_string_free(s.out, TRUE);
}

/* ---- SMBus */

/* A transfer on the SMBus whose ports are at 0x700; the status afterwards, which is cleared. */
static uint8_t smbus(struct bare_bus *bus, uint8_t address, unsigned command, uint8_t at)
{
    uint8_t status;

    bus_outb(bus, 0x703, at);
    bus_outb(bus, 0x704, address);
    bus_outb(bus, 0x702, (uint8_t)(command << 2 | 0x40));
    status = bus_inb(bus, 0x700);
    bus_outb(bus, 0x700, 0xff);
    return status & 0x9f;
}

static void test_smbus_blocks(struct bare_bus *bus)
{
    static const uint8_t data[] = {5, 11, 22, 33, 44, 55};

    bus_outb(bus, 0x70d, 2); /* through the buffer */
    bus_outb(bus, 0x705, 5);
    bus_inb(bus, 0x702);
    for (unsigned i = 1; i < 6; i++) {
        bus_outb(bus, 0x707, data[i]);
    }
    g_assert_cmphex(smbus(bus, 0xae, 5, 0x41), ==, 0x02);
    bus_outb(bus, 0x705, data[0]);
    g_assert_cmphex(smbus(bus, 0xae, 2, 0x40), ==, 0x02); /* its length, before it */
    bus_outb(bus, 0x705, 0);
    g_assert_cmphex(smbus(bus, 0xaf, 5, 0x40), ==, 0x02);
    g_assert_cmpuint(bus_inb(bus, 0x705), ==, 5);
    bus_inb(bus, 0x702);
    for (unsigned i = 1; i < 6; i++) {
        g_assert_cmpuint(bus_inb(bus, 0x707), ==, data[i]);
    }
    bus_outb(bus, 0x70d, 0); /* byte by byte: the I2C way, whose length the host decides */
    bus_outb(bus, 0x706, 0x41);
    bus_outb(bus, 0x704, 0xaf);
    bus_outb(bus, 0x702, 6 << 2 | 0x40);
    for (unsigned i = 1; i < 4; i++) {
        g_assert_cmphex(bus_inb(bus, 0x700) & 0x83, ==, i < 3 ? 0x81 : 0x82);
        if (i == 2) {
            bus_outb(bus, 0x702, 6 << 2 | 0x20); /* the next is the last */
        }
        g_assert_cmpuint(bus_inb(bus, 0x707), ==, data[i]);
        bus_outb(bus, 0x700, 0x80);
    }
    g_assert_cmphex(bus_inb(bus, 0x700) & 0x83, ==, 0x02);
    bus_outb(bus, 0x700, 0xff);
}

static void test_smbus(void)
{
    unsigned at = PCI_DEVFN(0x1f, 3), sum = 0;
    struct all_devices all;
    struct bare_bus *bus;

    all_devices_new(&all);
    bus = all.bus;
    g_assert_cmphex(config_get(bus, at, 0), ==, 0x29308086);
    config_put(bus, at, 0x20, 0x700);
    config_put(bus, at, 4, 1);
    g_assert_cmphex(smbus(bus, 0xa1, 2, 0), ==, 0x9f); /* not enabled: nobody is there */
    config_put(bus, at, 0x40, 1);
    for (unsigned i = 0; i < 63; i++) { /* what the first module of 1.5 GiB tells of itself */
        g_assert_cmphex(smbus(bus, 0xa1, 2, (uint8_t)i), ==, 0x02);
        sum += bus_inb(bus, 0x705);
    }
    g_assert_cmphex(smbus(bus, 0xa1, 2, 63), ==, 0x02);
    g_assert_cmphex(bus_inb(bus, 0x705), ==, sum & 0xff);
    g_assert_cmphex(smbus(bus, 0xa1, 3, 2), ==, 0x02);
    g_assert_cmphex(bus_inb(bus, 0x705), ==, 8); /* DDR2, and its rows */
    g_assert_cmphex(bus_inb(bus, 0x706), ==, 14);
    for (unsigned i = 0; i < 3; i++) { /* 1 GiB, 512 MiB, none */
        g_assert_cmphex(smbus(bus, (uint8_t)(0xa1 + 2 * i), 2, 31), ==, 0x02);
        g_assert_cmphex(bus_inb(bus, 0x705), ==, ((const uint8_t[]){0x01, 0x80, 0})[i]);
    }
    g_assert_cmphex(smbus(bus, 0x31, 2, 0), ==, 0x04); /* nobody has that address */
    test_smbus_blocks(bus);
    bus_outb(bus, 0x704, 0xa1);
    bus_outb(bus, 0x702, 0x40 | 1); /* with an interrupt */
    g_assert_cmphex(config_get(bus, at, 4) >> 16 & 8, ==, 8);
    bus_outb(bus, 0x700, 0x02);
    g_assert_cmphex(config_get(bus, at, 4) >> 16 & 8, ==, 0);
    all_devices_free(&all);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci/config", test_pci_config);
    g_test_add_func("/pci/lpc", test_lpc);
    g_test_add_func("/pci/bars", test_pci_bars);
    g_test_add_func("/pci/interrupts", test_pci_interrupts);
    g_test_add_func("/pci/lines", test_pci_lines);
    g_test_add_func("/hpet/timers", test_hpet);
    g_test_add_func("/hpet/level", test_hpet_level);
    g_test_add_func("/pam", test_pam);
    g_test_add_func("/smbus", test_smbus);
    g_test_add_func("/fw-cfg", test_fw_cfg);
    g_test_add_func("/vmcoreinfo", test_vmcoreinfo);
    g_test_add_func("/fw-cfg-refresh", test_fw_cfg_refresh);
    g_test_add_func("/fw-cfg-write", test_fw_cfg_write);
    g_test_add_func("/testdev", test_testdev);
    g_test_add_func("/debugcon", test_debugcon);
    return g_test_run();
}
