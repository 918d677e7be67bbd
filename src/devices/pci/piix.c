/*
 * PIIX: the south bridge of PCs with an i440FX (Intel 82371FB/SB data sheet for the ISA bridge,
 * PIIX3, and 82371AB for power management, PIIX4).
 *
 * PIRQA to PIRQD, turned by slot, go to the ISA interrupts that PIRQRC says. After reset registers
 * are as firmware would leave them (PIRQs on 10 and 11, the ACPI block at 0xb000), because there
 * may be no firmware. The ACPI block itself is acpi-pm.c's, with its general purpose events at
 * offset 0x20, as the ACPI tables tell.
 *
 * Left out: X-Bus decoding, ISA DMA, SMI and device monitors (APMC_EN is set after a reset, by
 * which firmware knows that management mode is not its to set up), interrupts of the SMBus
 * controller (smbus-host.c), whose ports are at 0xb100 after a reset.
 */
#include "devices/pci/i440fx.h"

#include "devices/acpi-pm.h"
#include "devices/pci/pirq.h"
#include "devices/pci/smbus-host.h"

#define PIRQRC_A     0x60
#define N_PIRQS      4

#define RCR_KEPT     0x02

#define PM_BASE      0x40
#define PM_DEVACTB   0x58
#define DEVACTB_APMC 0x02 /* in its highest byte */
#define PM_MISC      0x80
#define PM_MISC_ON   0x01
#define PM_SMBBA     0x90
#define PM_SMBHSTCFG 0xd2
#define HSTCFG_ON    0x01
#define HSTCFG_IRQ9  0x08
#define HSTCFG_MASK  0x0f
#define SMBUS_BASE   0xb100

/* ---- the ISA bridge */

struct piix3_state {
    struct pci_state pci;
    uint32_t asserted[N_PIRQS]; /* per PIRQ: which slots hold it (bit: slot) */
    uint8_t reset_control;
    uint8_t pad[7];
};

static const struct state_field piix3_fields[] = {
    STATE_STRUCT(struct piix3_state, pci, pci_state_fields),
    STATE_ARRAY(struct piix3_state, asserted),
    STATE(struct piix3_state, reset_control),
    STATE_PAD(struct piix3_state, pad),
    {0},
};

static const struct state_desc piix3_desc = {.name = "PIIX3",
                                             .version = 1,
                                             .min_version = 1,
                                             .size = sizeof(struct piix3_state),
                                             .fields = piix3_fields};

struct piix3 {
    struct pci_device pci;
    struct piix3_state s;
    uint16_t isa_driven; /* ISA interrupts that a PIRQ holds */
};

static void isa_lines_update(struct piix3 *d)
{
    pirq_update(d->pci.dev.env, d->s.pci.config + PIRQRC_A, d->s.asserted, N_PIRQS, &d->isa_driven);
}

static void piix3_set_intx(void *opaque, uint8_t devfn, unsigned pin, bool level)
{
    struct piix3 *d = opaque;
    unsigned slot = devfn >> 3, pirq = (slot + pin + N_PIRQS - 1) % N_PIRQS;
    uint32_t old = d->s.asserted[pirq];

    d->s.asserted[pirq] = level ? old | 1u << slot : old & ~(1u << slot);
    isa_lines_update(d);
}

static void piix3_config_written(struct pci_device *dev, unsigned offset, unsigned size)
{
    if (offset < PIRQRC_A + N_PIRQS && offset + size > PIRQRC_A) {
        isa_lines_update((struct piix3 *)dev);
    }
}

static bool piix3_realize(struct device *dev, GError **error)
{
    struct piix3 *d = (struct piix3 *)dev;
    static const struct pci_ids ids = {.vendor = 0x8086,
                                       .device = 0x7000,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 0x1100,
                                       .class = 0x0601};

    if (!pci_init(&d->pci, &d->s.pci, "1", &ids, 0, error)) {
        return false;
    }
    for (unsigned i = 0; i < N_PIRQS; i++) {
        d->pci.writable[PIRQRC_A + i] = PIRQ_OFF | PIRQ_IRQ;
    }
    d->pci.config_written = piix3_config_written;
    d->pci.bus->set_intx = piix3_set_intx;
    d->pci.bus->set_intx_opaque = d;
    d->pci.bus->reset_control = &d->s.reset_control;
    d->pci.bus->reset_control_kept = RCR_KEPT;
    return true;
}

static void piix3_unrealize(struct device *dev)
{
    struct piix3 *d = (struct piix3 *)dev;

    if (d->pci.bus && d->pci.bus->set_intx_opaque == d) {
        d->pci.bus->set_intx = NULL;
        d->pci.bus->reset_control = NULL;
    }
    pci_finish(&d->pci);
}

static void piix3_reset(struct device *dev, enum reset_kind kind)
{
    static const uint8_t route[N_PIRQS] = {10, 10, 11, 11};
    struct piix3 *d = (struct piix3 *)dev;

    pci_reset(&d->pci);
    d->s.reset_control = 0;
    for (unsigned i = 0; i < N_PIRQS; i++) {
        d->s.pci.config[PIRQRC_A + i] = route[i];
    }
    isa_lines_update(d); /* who holds a PIRQ lets go of it in its own reset */
}

static bool piix3_post_load(struct device *dev, GError **error)
{
    isa_lines_update((struct piix3 *)dev);
    return pci_post_load(&((struct piix3 *)dev)->pci, error);
}

const struct device_class piix3_class = {
    .name = "PIIX3",
    .help = "ISA bridge",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct piix3),
    .state = &piix3_desc,
    .state_offset = offsetof(struct piix3, s),
    .realize = piix3_realize,
    .unrealize = piix3_unrealize,
    .reset = piix3_reset,
    .post_load = piix3_post_load,
};

struct device *piix3_create(struct device_env *env, GError **error)
{
    struct device *dev = device_new(&piix3_class, env);

    return device_realize(dev, error) ? dev : NULL;
}

/* ---- power management */

struct piix4_pm_state {
    struct pci_state pci;
    struct smbus_state smbus;
};

static const struct state_field piix4_pm_fields[] = {
    STATE_STRUCT(struct piix4_pm_state, pci, pci_state_fields),
    STATE_STRUCT(struct piix4_pm_state, smbus, smbus_state_fields),
    {0},
};

static const struct state_desc piix4_pm_desc = {.name = "PIIX4_PM",
                                                .version = 2,
                                                .min_version = 2,
                                                .size = sizeof(struct piix4_pm_state),
                                                .fields = piix4_pm_fields};

struct piix4_pm {
    struct pci_device pci;
    struct {
        uint8_t disable_s3, disable_s4;
        bool root_hotplug;
    } cfg;
    struct piix4_pm_state s;
    struct device *pm;
    struct smbus_host smbus;
    uint64_t ram_bytes; /* what the memory modules' EEPROMs tell of; 0: there is no SMBus */
};

static void pm_update(struct piix4_pm *d)
{
    if (d->pm) {
        acpi_pm_set_base(d->pm, pci_get16(&d->pci, PM_BASE) & 0xffc0,
                         d->s.pci.config[PM_MISC] & PM_MISC_ON);
    }
}

static void smbus_update(struct piix4_pm *d)
{
    struct address_space *io = d->pci.dev.env->io;

    if (!d->ram_bytes) {
        return;
    }
    address_space_begin(io);
    address_space_unmap(io, &d->smbus.region);
    if (d->s.pci.config[PM_SMBHSTCFG] & HSTCFG_ON) {
        address_space_map(io, pci_get16(&d->pci, PM_SMBBA) & 0xfff0, &d->smbus.region, 0);
    }
    address_space_commit(io);
}

static void piix4_pm_config_written(struct pci_device *dev, unsigned offset, unsigned size)
{
    if (offset <= PM_SMBHSTCFG && offset + size > PM_SMBBA) {
        smbus_update((struct piix4_pm *)dev);
    }
    if ((offset < PM_BASE + 4 && offset + size > PM_BASE) ||
        (offset <= PM_MISC && offset + size > PM_MISC)) {
        pm_update((struct piix4_pm *)dev);
    }
}

static bool piix4_pm_realize(struct device *dev, GError **error)
{
    struct piix4_pm *d = (struct piix4_pm *)dev;
    static const struct pci_ids ids = {.vendor = 0x8086,
                                       .device = 0x7113,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 0x1100,
                                       .class = 0x0680,
                                       .revision = 3};

    if (!pci_init(&d->pci, &d->s.pci, "1.3", &ids, 1, error)) {
        return false;
    }
    d->s.pci.config[PM_BASE] = 1; /* I/O space, read-only */
    d->pci.writable[PM_BASE] = 0xc0;
    d->pci.writable[PM_BASE + 1] = 0xff;
    for (unsigned i = 0; i < 4; i++) {
        d->pci.writable[PM_DEVACTB + i] = 0xff;
    }
    d->pci.writable[PM_MISC] = PM_MISC_ON;
    if (d->ram_bytes) {
        smbus_host_init(&d->smbus, &d->s.smbus, false, d->ram_bytes);
        d->s.pci.config[PM_SMBBA] = 1; /* I/O space, read-only */
        d->pci.writable[PM_SMBBA] = 0xf0;
        d->pci.writable[PM_SMBBA + 1] = 0xff;
        d->pci.writable[PM_SMBHSTCFG] = HSTCFG_MASK;
    }
    d->pci.config_written = piix4_pm_config_written;
    return true;
}

static void piix4_pm_unrealize(struct device *dev)
{
    struct piix4_pm *d = (struct piix4_pm *)dev;

    address_space_unmap(dev->env->io, &d->smbus.region);
    pci_finish(&d->pci);
}

static void piix4_pm_reset(struct device *dev, enum reset_kind kind)
{
    struct piix4_pm *d = (struct piix4_pm *)dev;

    pci_reset(&d->pci);
    pci_put16(&d->pci, PM_BASE, PIIX4_PM_BASE | 1);
    d->s.pci.config[PM_DEVACTB + 3] = DEVACTB_APMC;
    d->s.pci.config[PM_MISC] = PM_MISC_ON;
    d->s.pci.config[PCI_INTERRUPT_LINE] = ACPI_SCI_IRQ;
    if (d->ram_bytes) {
        pci_put16(&d->pci, PM_SMBBA, SMBUS_BASE | 1);
        d->s.pci.config[PM_SMBHSTCFG] = HSTCFG_ON | HSTCFG_IRQ9;
        smbus_host_reset(&d->smbus);
    }
    pm_update(d);
    smbus_update(d);
}

static bool piix4_pm_post_load(struct device *dev, GError **error)
{
    pm_update((struct piix4_pm *)dev);
    smbus_update((struct piix4_pm *)dev);
    return pci_post_load(&((struct piix4_pm *)dev)->pci, error);
}

static const struct property piix4_pm_props[] = {
    {"disable_s3", PROP_U8, offsetof(struct piix4_pm, cfg.disable_s3),
     .help = "1: the ACPI tables do not tell of suspend to RAM"},
    {"disable_s4", PROP_U8, offsetof(struct piix4_pm, cfg.disable_s4),
     .help = "1: the ACPI tables do not tell of suspend to disk"},
    {"acpi-root-pci-hotplug", PROP_BOOL, offsetof(struct piix4_pm, cfg.root_hotplug), .def = true,
     .help = "devices on pci.0 may come and go while the guest runs"},
    {NULL},
};

const struct device_class piix4_pm_class = {
    .name = "PIIX4_PM",
    .help = "power management of the pc board",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct piix4_pm),
    .props = piix4_pm_props,
    .state = &piix4_pm_desc,
    .state_offset = offsetof(struct piix4_pm, s),
    .realize = piix4_pm_realize,
    .unrealize = piix4_pm_unrealize,
    .reset = piix4_pm_reset,
    .post_load = piix4_pm_post_load,
};

struct device *piix4_pm_create(struct device_env *env, struct device *pm, uint64_t ram_bytes,
                               GError **error)
{
    struct device *dev = device_new(&piix4_pm_class, env);

    ((struct piix4_pm *)dev)->pm = pm;
    ((struct piix4_pm *)dev)->ram_bytes = ram_bytes;
    return device_realize(dev, error) ? dev : NULL;
}

bool piix4_pm_offers_s3(const struct device *dev)
{
    return !((const struct piix4_pm *)dev)->cfg.disable_s3;
}

bool piix4_pm_offers_s4(const struct device *dev)
{
    return !((const struct piix4_pm *)dev)->cfg.disable_s4;
}

bool piix4_pm_offers_hotplug(const struct device *dev)
{
    return ((const struct piix4_pm *)dev)->cfg.root_hotplug;
}
