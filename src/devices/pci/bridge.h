/*
 * Bridges to further PCI buses: what root ports and PCI bridges share. See bridge.c.
 *
 * A bridge's instance begins with struct pci_bridge. realize() calls pci_bridge_init(), then what
 * pci.h offers; reset(), post_load() and unrealize() call pci_bridge_*(). The bus has the device's
 * id as its name. Machine lock held.
 */
#ifndef DEVICES_PCI_BRIDGE_H
#define DEVICES_PCI_BRIDGE_H

#include "devices/pci/pci.h"

struct pci_bridge {
    struct pci_device pci; /* first */
    struct pci_bus *behind;
    bool resetting; /* the secondary bus is held in reset */
};

extern const struct device_class pcie_root_port_class, pci_bridge_class, pcie_pci_bridge_class;

/* pin as for pci_init(). */
bool pci_bridge_init(struct pci_bridge *b, struct pci_state *state, const struct pci_ids *ids,
                     unsigned pin, GError **error);
void pci_bridge_finish(struct pci_bridge *b); /* the bus is empty; half-realized is fine */
void pci_bridge_reset(struct pci_bridge *b);
bool pci_bridge_post_load(struct pci_bridge *b, GError **error);
/* For pci_device.config_written, which pci_bridge_init() sets: for those that set their own. */
void pci_bridge_written(struct pci_device *dev, unsigned offset, unsigned size);

#endif
