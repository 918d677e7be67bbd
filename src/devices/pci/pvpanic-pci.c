/*
 * pvpanic-pci: the panic register of isa/pvpanic.c as a PCI function, 1b36:0011, for guests without
 * ISA ports (docs/specs/pvpanic of QEMU; Linux's drivers/misc/pvpanic/pvpanic-pci.c). The register
 * is the first byte behind BAR 0.
 */
#include "devices/pci/pvpanic-pci.h"

#include "devices/isa/pvpanic.h"

#define BAR_BYTES 16 /* the least that a memory BAR may have */

struct pvpanic_pci_state {
    struct pci_state pci;
};

static const struct state_field pvpanic_pci_fields[] = {
    STATE_STRUCT(struct pvpanic_pci_state, pci, pci_state_fields),
    {0},
};

static const struct state_desc pvpanic_pci_desc = {
    .name = "pvpanic-pci",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct pvpanic_pci_state),
    .fields = pvpanic_pci_fields,
};

struct pvpanic_pci {
    struct pci_device pci;
    struct {
        uint8_t events;
    } cfg;
    struct pvpanic_pci_state s;
    struct region region;
};

static uint64_t panic_read(void *opaque, gpa_t offset, unsigned size)
{
    const struct pvpanic_pci *d = opaque;

    return offset == 0 ? d->cfg.events : 0;
}

static void panic_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct pvpanic_pci *d = opaque;

    if (offset == 0) {
        pvpanic_report(d->pci.dev.env, (uint8_t)value);
    }
}

static const struct region_ops panic_ops = {
    .read = panic_read,
    .write = panic_write,
    .min_size = 1,
    .max_size = 1,
};

static bool pvpanic_pci_realize(struct device *dev, GError **error)
{
    static const struct pci_ids ids = {.vendor = 0x1b36,
                                       .device = 0x0011,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 0x1100,
                                       .class = 0x0880,
                                       .revision = 1};
    struct pvpanic_pci *d = (struct pvpanic_pci *)dev;

    if (!pci_init(&d->pci, &d->s.pci, NULL, &ids, 0, error)) {
        return false;
    }
    d->region = (struct region){.name = "pvpanic-pci",
                                .kind = REGION_IO,
                                .size = BAR_BYTES,
                                .ops = &panic_ops,
                                .opaque = d};
    pci_add_bar(&d->pci, 0, 0, &d->region);
    return true;
}

static void pvpanic_pci_unrealize(struct device *dev)
{
    pci_finish(&((struct pvpanic_pci *)dev)->pci);
}

static void pvpanic_pci_reset(struct device *dev, enum reset_kind kind)
{
    pci_reset(&((struct pvpanic_pci *)dev)->pci);
}

static bool pvpanic_pci_post_load(struct device *dev, GError **error)
{
    return pci_post_load(&((struct pvpanic_pci *)dev)->pci, error);
}

static const struct property pvpanic_pci_props[] = {
    {"events", PROP_U8, offsetof(struct pvpanic_pci, cfg.events), .def = PVPANIC_ALL, .min = 0,
     .max = UINT8_MAX, .help = "what a read tells: 1 panic, 2 crash loaded"},
    {NULL},
};

const struct device_class pvpanic_pci_class = {
    .name = "pvpanic-pci",
    .help = "PCI function through which the guest reports a panic",
    .bus = BUS_PCI,
    .size = sizeof(struct pvpanic_pci),
    .props = pvpanic_pci_props,
    .state = &pvpanic_pci_desc,
    .state_offset = offsetof(struct pvpanic_pci, s),
    .realize = pvpanic_pci_realize,
    .unrealize = pvpanic_pci_unrealize,
    .reset = pvpanic_pci_reset,
    .post_load = pvpanic_pci_post_load,
};
