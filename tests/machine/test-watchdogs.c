/*
 * Watchdogs and panic devices on a bus with everything on it and a clock that the test steps: both
 * stages to the nanosecond, what disarms, what is kept across reset.
 */
#include "all-devices.h"
#include "devices/pci/pci.h"

#define ESB_ID   0x25ab8086u
#define PANIC_ID 0x00111b36u
#define BAR      0xfeb00000u
#define TCO      0x660
#define GCS      (0xfed1c000u + 0x3410)
#define TICK_NS  (600 * NS_PER_MS)

static uint32_t config_read(struct bare_bus *bus, uint32_t address)
{
    bus_outl(bus, 0xcf8, 0x80000000u | address);
    return bus_inl(bus, 0xcfc);
}

static void config_write(struct bare_bus *bus, uint32_t address, uint32_t value, unsigned size)
{
    bus_outl(bus, 0xcf8, 0x80000000u | (address & ~3u));
    address_space_io_write(bus->env.io, (uint16_t)(0xcfc + (address & 3)), value, size);
}

static uint32_t find(struct bare_bus *bus, uint32_t id)
{
    uint32_t at = 0;

    while (at < 256 << 8 && config_read(bus, at) != id) {
        at += 1 << 8;
    }
    g_assert_cmphex(at, <, 256 << 8);
    config_write(bus, at + PCI_BAR0, BAR, 4);
    config_write(bus, at + PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    return at;
}

/* ---- i6300esb */

static void esb_write(struct bare_bus *bus, unsigned offset, uint32_t value, unsigned size)
{
    address_space_io_write(bus->env.mem, BAR + 0xc, 0x80, 2);
    address_space_io_write(bus->env.mem, BAR + 0xc, 0x86, 2);
    address_space_io_write(bus->env.mem, BAR + offset, value, size);
}

static uint16_t esb_status(struct bare_bus *bus)
{
    return (uint16_t)address_space_io_read(bus->env.mem, BAR + 0xc, 2);
}

/* Preloads of 33 and 66 at 1 kHz: 33 * 2^15 cycles of 30 ns. */
#define FIRST_NS  (33ll * 30 << 15)
#define SECOND_NS (2 * FIRST_NS)

static uint32_t esb_arm(struct bare_bus *bus)
{
    uint32_t at = find(bus, ESB_ID);

    config_write(bus, at + 0x60, 0x0003, 2);
    esb_write(bus, 0, 33, 4);
    esb_write(bus, 4, 66, 4);
    esb_write(bus, 0xc, 0x100, 2);
    bus_step(bus, NS_PER_SEC); /* not enabled: does not count */
    config_write(bus, at + 0x68, 0x02, 1);
    return at;
}

static void test_esb_stages(void)
{
    struct all_devices all;
    struct bare_bus *bus;
    uint32_t at;

    all_devices_new(&all);
    bus = all.bus;
    at = esb_arm(bus);
    bus_step(bus, FIRST_NS + SECOND_NS - 1);
    esb_write(bus, 0xc, 0x100, 2); /* in the second stage: back to the first */
    bus_step(bus, FIRST_NS + SECOND_NS - 1);
    bus_expect_requests(bus, "");
    g_assert_cmphex(esb_status(bus), ==, 0);
    bus_step(bus, 1);
    bus_expect_requests(bus, "watchdog:i6300esb ");
    g_assert_cmphex(esb_status(bus), ==, 0x1200);
    g_assert_cmphex(config_read(bus, at + 0x68) & 7, ==, 0); /* as after power-on */
    bus_step(bus, 1000 * NS_PER_SEC);
    bus_expect_requests(bus, "");

    devices_reset(&bus->env, RESET_WARM);
    find(bus, ESB_ID);
    g_assert_cmphex(esb_status(bus), ==, 0x1200);
    address_space_io_write(bus->env.mem, BAR + 0xc, 0x200, 2); /* locked */
    g_assert_cmphex(esb_status(bus), ==, 0x1200);
    esb_write(bus, 0xc, 0x200, 2);
    g_assert_cmphex(esb_status(bus), ==, 0);
    all_devices_free(&all);
}

static void test_esb_disarm_and_lock(void)
{
    struct all_devices all;
    struct bare_bus *bus;
    uint32_t at;

    all_devices_new(&all);
    bus = all.bus;
    at = esb_arm(bus);
    config_write(bus, at + 0x68, 0, 1);
    bus_step(bus, 10 * NS_PER_SEC);
    bus_expect_requests(bus, "");
    config_write(bus, at + 0x68, 0x03, 1);
    config_write(bus, at + 0x68, 0, 1); /* locked: stays enabled */
    g_assert_cmphex(config_read(bus, at + 0x68) & 7, ==, 3);
    bus_step(bus, FIRST_NS + SECOND_NS);
    bus_expect_requests(bus, "watchdog:i6300esb ");
    config_write(bus, at + 0x68, 0x02, 1); /* the lock is gone with the rest */
    g_assert_cmphex(config_read(bus, at + 0x68) & 7, ==, 2);

    /* Without reboot: nothing comes of it, over and over when it runs freely. */
    devices_reset(&bus->env, RESET_WARM);
    at = find(bus, ESB_ID);
    config_write(bus, at + 0x60, 0x0027, 2);
    esb_write(bus, 0, 1, 4);
    esb_write(bus, 4, 1, 4);
    config_write(bus, at + 0x68, 0x06, 1);
    bus_step(bus, NS_PER_SEC);
    bus_expect_requests(bus, "");
    g_assert_cmphex(esb_status(bus), ==, 0x1200); /* from the first part: cleared only by a write */
    config_write(bus, at + 0x60, 0x0007, 2);
    bus_step(bus, NS_PER_SEC);
    bus_expect_requests(bus, "watchdog:i6300esb ");
    all_devices_free(&all);
}

/* ---- TCO */

static void tco_start(struct bare_bus *bus, uint16_t ticks)
{
    bus_outw(bus, TCO + 0x08, 0x0800);
    bus_outw(bus, TCO + 0x12, ticks);
    bus_outw(bus, TCO + 0x00, 1);
    bus_outw(bus, TCO + 0x08, 0);
}

/* A bridge with the strap or without, on a bus of its own. */
static struct bare_bus *lpc_bus(const char *noreboot)
{
    struct bare_bus *bus = bus_new();
    struct device_global strap = {"ICH9-LPC", "noreboot", (char *)noreboot, false};
    struct irq_line sci = bus_line(bus, 9), none = {0};
    struct device *pm;

    bus->env.globals = g_ptr_array_new();
    g_ptr_array_add(bus->env.globals, &strap);
    g_assert_nonnull(q35_host_create(&bus->env, NULL, NULL));
    pm = acpi_pm_create(&bus->env, &sci, NULL);
    g_assert_nonnull(ich9_lpc_create(&bus->env, pm, &none, NULL));
    g_assert_true(strap.used);
    g_ptr_array_unref(g_steal_pointer(&bus->env.globals));
    bus_start(bus);
    return bus;
}

static void test_tco_stages(void)
{
    struct bare_bus *bus = lpc_bus("off");

    g_assert_cmphex(bus_readl(bus, GCS), ==, 0);
    g_assert_cmpuint(bus_inw(bus, TCO), ==, 0);
    g_assert_cmpuint(bus_inw(bus, TCO + 0x12), ==, 4);
    g_assert_cmphex(bus_inw(bus, TCO + 0x0a), ==, 0x0008);
    bus_step(bus, 100 * NS_PER_SEC); /* nobody has started it */
    tco_start(bus, 5);
    bus_step(bus, 2 * TICK_NS);
    g_assert_cmpuint(bus_inw(bus, TCO), ==, 3);
    bus_step(bus, 3 * TICK_NS);
    g_assert_cmphex(bus_inw(bus, TCO + 4), ==, 0x0008);
    g_assert_cmphex(bus_inw(bus, TCO + 6), ==, 0);
    bus_step(bus, 5 * TICK_NS - 1);
    bus_outw(bus, TCO, 1); /* in time */
    bus_step(bus, 10 * TICK_NS - 1);
    bus_expect_requests(bus, "");
    bus_step(bus, 1);
    bus_expect_requests(bus, "watchdog:iTCO ");
    g_assert_cmphex(bus_inw(bus, TCO + 6), ==, 0x0006);
    bus_step(bus, 100 * NS_PER_SEC);
    bus_expect_requests(bus, "");

    devices_reset(&bus->env, RESET_WARM);
    g_assert_cmphex(bus_inw(bus, TCO + 6), ==, 0x0006); /* tells the next system */
    g_assert_cmphex(bus_inw(bus, TCO + 4), ==, 0);
    bus_outw(bus, TCO + 6, 0x0006);
    g_assert_cmphex(bus_inw(bus, TCO + 6), ==, 0);
    bus_step(bus, 100 * NS_PER_SEC);
    bus_expect_requests(bus, "");
    bus_free(bus);
}

static void test_tco_halt(void)
{
    struct bare_bus *bus = lpc_bus("off");

    tco_start(bus, 5);
    bus_step(bus, TICK_NS);
    bus_outw(bus, TCO + 0x08, 0x0800);
    bus_step(bus, 100 * NS_PER_SEC);
    g_assert_cmpuint(bus_inw(bus, TCO), ==, 4);
    bus_outw(bus, TCO, 1); /* reloads; goes on when no longer halted */
    g_assert_cmpuint(bus_inw(bus, TCO), ==, 5);
    bus_step(bus, 100 * NS_PER_SEC);
    bus_expect_requests(bus, "");
    bus_outw(bus, TCO + 0x12, 1); /* too little: ignored */
    bus_outw(bus, TCO + 0x08, 0);
    bus_step(bus, 100 * NS_PER_SEC);
    bus_expect_requests(bus, "");
    bus_free(bus);
}

/* NO_REBOOT in the guest's hands without the strap, not with it. */
static void test_tco_no_reboot(void)
{
    struct bare_bus *bus = lpc_bus("off");

    bus_writel(bus, GCS, 0x20);
    tco_start(bus, 2);
    bus_step(bus, 4 * TICK_NS);
    bus_expect_requests(bus, "");
    g_assert_cmphex(bus_inw(bus, TCO + 6), ==, 0x0006);
    bus_writel(bus, GCS, 0);
    bus_step(bus, 4 * TICK_NS);
    bus_expect_requests(bus, "watchdog:iTCO ");
    bus_free(bus);

    bus = lpc_bus("on");
    bus_writel(bus, GCS, 0);
    g_assert_cmphex(bus_readl(bus, GCS), ==, 0x20);
    tco_start(bus, 2);
    bus_step(bus, 100 * TICK_NS);
    bus_expect_requests(bus, "");

    /* The block and the registers go where the bridge says. */
    config_write(bus, 0xf8f0, 0xfec80001, 4);
    g_assert_cmphex(bus_readl(bus, GCS), ==, 0xffffffff);
    g_assert_cmphex(bus_readl(bus, 0xfec80000 + 0x3410), ==, 0x20);
    config_write(bus, 0xf8f0, 0, 4);
    g_assert_cmphex(bus_readl(bus, 0xfec80000 + 0x3410), ==, 0xffffffff);
    config_write(bus, 0xf840, 0x0b01, 2);
    g_assert_cmphex(bus_inw(bus, 0xb60 + 0x12), ==, 2);
    g_assert_cmphex(bus_inw(bus, TCO + 0x12), ==, 0xffff);
    bus_free(bus);
}

/* ---- panic devices */

static void test_panic(void)
{
    struct all_devices all;
    struct bare_bus *bus;
    static const char *const by_bits[] = {"", "panic ", "crash ", "panic ", ""};

    all_devices_new(&all);
    bus = all.bus;
    find(bus, PANIC_ID);
    g_assert_cmphex(bus_inb(bus, 0x505), ==, 3);
    g_assert_cmphex(bus_readl(bus, BAR) & 0xff, ==, 3);
    for (unsigned i = 0; i < G_N_ELEMENTS(by_bits); i++) {
        bus_outb(bus, 0x505, (uint8_t)i);
        bus_expect_requests(bus, by_bits[i]);
        address_space_io_write(bus->env.mem, BAR, i, 1);
        bus_expect_requests(bus, by_bits[i]);
    }
    all_devices_free(&all);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i6300esb/stages", test_esb_stages);
    g_test_add_func("/i6300esb/disarm-and-lock", test_esb_disarm_and_lock);
    g_test_add_func("/tco/stages", test_tco_stages);
    g_test_add_func("/tco/halt", test_tco_halt);
    g_test_add_func("/tco/no-reboot", test_tco_no_reboot);
    g_test_add_func("/pvpanic", test_panic);
    return g_test_run();
}
