/* Between pci.c, pci-bus.c and pci-msi.c. */
#ifndef DEVICES_PCI_PCI_PRIV_H
#define DEVICES_PCI_PCI_PRIV_H

#include "devices/pci/pci.h"

/* A place for a device; addr NULL: the first free slot. name: its class, for the error. */
bool pci_bus_place(struct pci_bus *bus, const char *addr, const char *name, unsigned *devfn,
                   GError **error);

/* Configuration space, within its bounds. */
uint32_t pci_device_read(struct pci_device *dev, unsigned offset, unsigned size);
void pci_device_write(struct pci_device *dev, unsigned offset, uint32_t value, unsigned size);

/* pci-msi.c: after a change of registers, messages and lines are as these have it. */
void pci_messages_update(struct pci_device *dev);
void pci_messages_reset(struct pci_device *dev);
void pci_lines_update(struct pci_device *dev); /* where no message may be sent */

#endif
