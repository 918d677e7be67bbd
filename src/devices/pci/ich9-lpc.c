/*
 * ICH9-LPC: the LPC interface bridge of the ICH9 (Intel I/O Controller Hub 9 data sheet, chapter
 * 13): PIRQ routing, the place of the ACPI registers, the reset control register at port 0xcf9, the
 * TCO watchdog, and of the chipset's configuration block (RCBA) the one register that it needs.
 *
 * Devices in slots 0 to 24 use PIRQE to PIRQH, turned by slot; those in slots 25 to 31 PIRQA to
 * PIRQD, INTA on A and so on. PIRQA to PIRQH are the I/O APIC's inputs 16 to 23; in 8259 mode they
 * go where the routing registers say.
 *
 * After reset registers are as firmware would leave them (ACPI block at 0x600, PIRQs on ISA
 * interrupts 10 and 11, the configuration block at 0xfed1c000), because there may be no firmware.
 * Left out: the SCI's number is fixed at 9; the rest of the configuration block reads as zero; LPC
 * decode ranges and GPIO keep what is written but change nothing.
 */
#include "devices/pci/ich9-lpc.h"
#include "devices/acpi-pm.h"
#include "devices/pci/ich9-tco.h"
#include "devices/pci/pirq.h"
#include <string.h>

#define LPC_PMBASE    0x40
#define LPC_ACPI_CNTL 0x44
#define ACPI_CNTL_ON  0x80
#define LPC_PIRQA     0x60 /* to D: 0x63 */
#define LPC_PIRQE     0x68 /* to H: 0x6b */
#define LPC_RCBA      0xf0
#define RCBA_ON       0x01
#define RCBA_DEFAULT  0xfed1c000u
#define RCBA_BYTES    0x4000u
#define RCBA_GCS      0x3410 /* general control and status, 32 bits */
#define GCS_NO_REBOOT 0x20

#define TCO_BASE      0x60 /* behind the ACPI registers */

#define RST_KEPT      0x0a /* SYS_RST, FULL_RST */

#define N_PIRQS       8

struct ich9_lpc_state {
    struct pci_state pci;
    struct tco_state tco;
    uint32_t asserted[N_PIRQS]; /* per PIRQ: which slots hold it (bit: slot) */
    uint8_t reset_control;
    bool no_reboot; /* GCS */
    uint8_t pad[6];
};

static const struct state_field ich9_lpc_fields[] = {
    STATE_STRUCT(struct ich9_lpc_state, pci, pci_state_fields),
    STATE_STRUCT(struct ich9_lpc_state, tco, tco_state_fields),
    STATE_ARRAY(struct ich9_lpc_state, asserted),
    STATE(struct ich9_lpc_state, reset_control),
    STATE(struct ich9_lpc_state, no_reboot),
    STATE_PAD(struct ich9_lpc_state, pad),
    {0},
};

static const struct state_desc ich9_lpc_desc = {
    .name = "ICH9-LPC",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct ich9_lpc_state),
    .fields = ich9_lpc_fields,
};

struct ich9_lpc {
    struct pci_device pci;
    struct {
        uint8_t disable_s3, disable_s4;
        bool noreboot; /* the strap */
    } cfg;
    struct ich9_lpc_state s;
    struct device *pm;
    struct irq_line pirq;
    uint16_t isa_driven; /* ISA interrupts that a PIRQ holds */
    struct tco tco;
    struct region rcba;
};

/* ---- PIRQs */

static unsigned pirq_register(unsigned pirq)
{
    return pirq < 4 ? LPC_PIRQA + pirq : LPC_PIRQE + pirq - 4;
}

static void isa_lines_update(struct ich9_lpc *d)
{
    uint8_t route[N_PIRQS];

    for (unsigned pirq = 0; pirq < N_PIRQS; pirq++) {
        route[pirq] = d->s.pci.config[pirq_register(pirq)];
    }
    pirq_update(d->pci.dev.env, route, d->s.asserted, N_PIRQS, &d->isa_driven);
}

static void lpc_set_intx(void *opaque, uint8_t devfn, unsigned pin, bool level)
{
    struct ich9_lpc *d = opaque;
    unsigned slot = devfn >> 3, pirq = slot < 25 ? 4 + (slot + pin) % 4 : pin;
    uint32_t old = d->s.asserted[pirq];

    d->s.asserted[pirq] = level ? old | 1u << slot : old & ~(1u << slot);
    if (d->pirq.set && !old != !d->s.asserted[pirq]) {
        d->pirq.set(d->pirq.opaque, (int)(16 + pirq), d->s.asserted[pirq] != 0);
    }
    isa_lines_update(d);
}

/* ---- the chipset's configuration block */

static bool tco_may_act(void *opaque)
{
    return !((struct ich9_lpc *)opaque)->s.no_reboot;
}

static uint64_t rcba_read(void *opaque, gpa_t offset, unsigned size)
{
    const struct ich9_lpc *d = opaque;

    return offset == RCBA_GCS && d->s.no_reboot ? GCS_NO_REBOOT : 0;
}

/* The strap cannot be overridden. */
static void rcba_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct ich9_lpc *d = opaque;

    if (offset == RCBA_GCS) {
        d->s.no_reboot = d->cfg.noreboot || value & GCS_NO_REBOOT;
    }
}

static const struct region_ops rcba_ops = {
    .read = rcba_read, .write = rcba_write, .min_size = 1, .max_size = 4};

static void rcba_update(struct ich9_lpc *d)
{
    struct address_space *mem = d->pci.dev.env->mem;
    uint32_t rcba = pci_get32(&d->pci, LPC_RCBA);

    address_space_begin(mem);
    address_space_unmap(mem, &d->rcba);
    if (rcba & RCBA_ON) {
        address_space_map(mem, rcba & ~(RCBA_BYTES - 1), &d->rcba, -1);
    }
    address_space_commit(mem);
}

/* ---- registers */

static void pm_update(struct ich9_lpc *d)
{
    struct address_space *io = d->pci.dev.env->io;
    uint16_t base = pci_get16(&d->pci, LPC_PMBASE) & 0xff80;
    bool on = d->s.pci.config[LPC_ACPI_CNTL] & ACPI_CNTL_ON;

    address_space_begin(io);
    if (d->pm) {
        acpi_pm_set_base(d->pm, base, on);
    }
    address_space_unmap(io, &d->tco.region);
    if (on) {
        address_space_map(io, base + TCO_BASE, &d->tco.region, 1);
    }
    address_space_commit(io);
}

static void ich9_lpc_config_written(struct pci_device *dev, unsigned offset, unsigned size)
{
    struct ich9_lpc *d = (struct ich9_lpc *)dev;

    if (offset < LPC_ACPI_CNTL + 1 && offset + size > LPC_PMBASE) {
        pm_update(d);
    }
    if (offset < LPC_PIRQE + 4 && offset + size > LPC_PIRQA) {
        isa_lines_update(d);
    }
    if (offset < LPC_RCBA + 4 && offset + size > LPC_RCBA) {
        rcba_update(d);
    }
}

/* ---- class */

static bool ich9_lpc_realize(struct device *dev, GError **error)
{
    struct ich9_lpc *d = (struct ich9_lpc *)dev;
    static const struct pci_ids ids = {.vendor = 0x8086,
                                       .device = 0x2918,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 0x1100,
                                       .class = 0x0601,
                                       .revision = 2};

    tco_init(&d->tco, &d->s.tco, dev->env, tco_may_act, d);
    d->rcba = (struct region){
        .name = "rcba", .kind = REGION_IO, .size = RCBA_BYTES, .ops = &rcba_ops, .opaque = d};
    if (!pci_init(&d->pci, &d->s.pci, "1f", &ids, 0, error)) {
        return false;
    }
    d->s.pci.config[LPC_PMBASE] = 1; /* I/O space, read-only */
    d->pci.writable[LPC_PMBASE] = 0x80;
    d->pci.writable[LPC_PMBASE + 1] = 0xff;
    d->pci.writable[LPC_ACPI_CNTL] = 0x87;
    for (unsigned i = 0; i < N_PIRQS; i++) {
        d->pci.writable[pirq_register(i)] = PIRQ_OFF | PIRQ_IRQ;
    }
    memset(d->pci.writable + 0x80, 0xff, 0x20); /* LPC decode ranges */
    d->pci.writable[LPC_RCBA] = 0x01;
    d->pci.writable[LPC_RCBA + 1] = 0xc0;
    d->pci.writable[LPC_RCBA + 2] = 0xff;
    d->pci.writable[LPC_RCBA + 3] = 0xff;
    d->pci.config_written = ich9_lpc_config_written;
    d->pci.bus->set_intx = lpc_set_intx;
    d->pci.bus->set_intx_opaque = d;
    d->pci.bus->reset_control = &d->s.reset_control;
    d->pci.bus->reset_control_kept = RST_KEPT;
    return true;
}

static void ich9_lpc_unrealize(struct device *dev)
{
    struct ich9_lpc *d = (struct ich9_lpc *)dev;

    if (d->pci.bus && d->pci.bus->set_intx_opaque == d) {
        d->pci.bus->set_intx = NULL;
        d->pci.bus->reset_control = NULL;
    }
    tco_finish(&d->tco);
    address_space_unmap(dev->env->io, &d->tco.region);
    address_space_unmap(dev->env->mem, &d->rcba);
    pci_finish(&d->pci);
}

static void ich9_lpc_reset(struct device *dev, enum reset_kind kind)
{
    static const uint8_t route[N_PIRQS] = {10, 10, 11, 11, 10, 10, 11, 11};
    struct ich9_lpc *d = (struct ich9_lpc *)dev;

    pci_reset(&d->pci);
    d->s.reset_control = 0;
    pci_put16(&d->pci, LPC_PMBASE, ACPI_PM_BASE | 1);
    d->s.pci.config[LPC_ACPI_CNTL] = ACPI_CNTL_ON;
    for (unsigned i = 0; i < N_PIRQS; i++) {
        d->s.pci.config[pirq_register(i)] = route[i];
    }
    pci_put32(&d->pci, LPC_RCBA, RCBA_DEFAULT | RCBA_ON);
    d->s.no_reboot = d->cfg.noreboot;
    tco_reset(&d->tco, kind);
    pm_update(d);
    rcba_update(d);
    isa_lines_update(d); /* who holds a PIRQ lets go of it in its own reset */
}

static bool ich9_lpc_post_load(struct device *dev, GError **error)
{
    struct ich9_lpc *d = (struct ich9_lpc *)dev;

    pm_update(d);
    rcba_update(d);
    isa_lines_update(d);
    return tco_post_load(&d->tco, error) && pci_post_load(&d->pci, error);
}

static const struct property ich9_lpc_props[] = {
    {"disable_s3", PROP_U8, offsetof(struct ich9_lpc, cfg.disable_s3),
     .help = "1: the ACPI tables do not tell of suspend to RAM"},
    {"disable_s4", PROP_U8, offsetof(struct ich9_lpc, cfg.disable_s4),
     .help = "1: the ACPI tables do not tell of suspend to disk"},
    {"noreboot", PROP_BOOL, offsetof(struct ich9_lpc, cfg.noreboot), .def = true,
     .help = "the strap that keeps the TCO watchdog from acting"},
    {NULL},
};

const struct device_class ich9_lpc_class = {
    .name = "ICH9-LPC",
    .help = "LPC bridge",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct ich9_lpc),
    .props = ich9_lpc_props,
    .state = &ich9_lpc_desc,
    .state_offset = offsetof(struct ich9_lpc, s),
    .realize = ich9_lpc_realize,
    .unrealize = ich9_lpc_unrealize,
    .reset = ich9_lpc_reset,
    .post_load = ich9_lpc_post_load,
};

struct device *ich9_lpc_create(struct device_env *env, struct device *pm,
                               const struct irq_line *pirq, GError **error)
{
    struct device *dev = device_new(&ich9_lpc_class, env);

    ((struct ich9_lpc *)dev)->pm = pm;
    if (pirq) {
        ((struct ich9_lpc *)dev)->pirq = *pirq;
    }
    return device_realize(dev, error) ? dev : NULL;
}

bool ich9_lpc_offers_s3(const struct device *lpc)
{
    return !((const struct ich9_lpc *)lpc)->cfg.disable_s3;
}

bool ich9_lpc_offers_s4(const struct device *lpc)
{
    return !((const struct ich9_lpc *)lpc)->cfg.disable_s4;
}
