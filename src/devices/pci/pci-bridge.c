/*
 * pci-bridge and pcie-pci-bridge: a bridge to a conventional PCI bus with 32 slots; the first is
 * plugged into such a bus itself, the second into a PCI Express port. Under the ids that QEMU's
 * have.
 *
 * Left out: hot plug of their slots (SHPC), bus errors.
 */
#include "devices/pci/bridge.h"

#define TYPE_PCI_BRIDGE 7

struct bridge_state {
    struct pci_state pci;
};

static const struct state_field bridge_fields[] = {
    STATE_STRUCT(struct bridge_state, pci, pci_state_fields),
    {0},
};

static const struct state_desc pci_bridge_desc = {.name = "pci-bridge",
                                                  .version = 1,
                                                  .min_version = 1,
                                                  .size = sizeof(struct bridge_state),
                                                  .fields = bridge_fields};

static const struct state_desc pcie_pci_bridge_desc = {.name = "pcie-pci-bridge",
                                                       .version = 1,
                                                       .min_version = 1,
                                                       .size = sizeof(struct bridge_state),
                                                       .fields = bridge_fields};

struct bridge {
    struct pci_bridge bridge;
    struct {
        uint8_t chassis;
    } cfg;
    struct bridge_state s;
};

static bool bridge_realize(struct device *dev, GError **error)
{
    struct bridge *d = (struct bridge *)dev;
    bool express = dev->class == &pcie_pci_bridge_class;
    const struct pci_ids ids = {
        .vendor = 0x1b36, .device = express ? 0x000e : 0x0001, .class = 0x0604};

    if (!pci_bridge_init(&d->bridge, &d->s.pci, &ids, 1, error)) {
        return false;
    }
    if (express && !d->bridge.pci.bus->express) {
        g_set_error(error, DEVICE_ERROR, 0, "pcie-pci-bridge: bus '%s' is not PCI Express",
                    d->bridge.pci.bus->name);
        return false;
    }
    if (express) {
        pci_add_express(&d->bridge.pci, TYPE_PCI_BRIDGE);
    }
    d->bridge.pci.writable[PCI_SECONDARY_LATENCY] = 0xff;
    pci_add_msi(&d->bridge.pci, 1, true);
    return true;
}

static void bridge_unrealize(struct device *dev)
{
    pci_bridge_finish(&((struct bridge *)dev)->bridge);
}

static void bridge_reset(struct device *dev, enum reset_kind kind)
{
    pci_bridge_reset(&((struct bridge *)dev)->bridge);
}

static bool bridge_post_load(struct device *dev, GError **error)
{
    return pci_bridge_post_load(&((struct bridge *)dev)->bridge, error);
}

static const struct property pci_bridge_props[] = {
    {"chassis_nr", PROP_U8, offsetof(struct bridge, cfg.chassis),
     .help = "number of the chassis; changes nothing here"},
    {NULL},
};

const struct device_class pci_bridge_class = {
    .name = "pci-bridge",
    .help = "bridge to a PCI bus",
    .bus = BUS_PCI,
    .size = sizeof(struct bridge),
    .props = pci_bridge_props,
    .state = &pci_bridge_desc,
    .state_offset = offsetof(struct bridge, s),
    .realize = bridge_realize,
    .unrealize = bridge_unrealize,
    .reset = bridge_reset,
    .post_load = bridge_post_load,
};

const struct device_class pcie_pci_bridge_class = {
    .name = "pcie-pci-bridge",
    .help = "bridge from PCI Express to a PCI bus",
    .bus = BUS_PCI,
    .size = sizeof(struct bridge),
    .state = &pcie_pci_bridge_desc,
    .state_offset = offsetof(struct bridge, s),
    .realize = bridge_realize,
    .unrealize = bridge_unrealize,
    .reset = bridge_reset,
    .post_load = bridge_post_load,
};
