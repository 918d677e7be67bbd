/* Between pci.c and pci-bus.c. */
#ifndef DEVICES_PCI_PCI_PRIV_H
#define DEVICES_PCI_PCI_PRIV_H

#include "devices/pci/pci.h"

/* A place for a device; addr NULL: the first free slot. name: its class, for the error. */
bool pci_bus_place(struct pci_bus *bus, const char *addr, const char *name, unsigned *devfn,
                   GError **error);

/* Configuration space, within its bounds. */
uint32_t pci_device_read(struct pci_device *dev, unsigned offset, unsigned size);
void pci_device_write(struct pci_device *dev, unsigned offset, uint32_t value, unsigned size);

#endif
