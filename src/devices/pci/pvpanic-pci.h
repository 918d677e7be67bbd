/* The panic device on PCI. See pvpanic-pci.c. */
#ifndef DEVICES_PCI_PVPANIC_PCI_H
#define DEVICES_PCI_PVPANIC_PCI_H

#include "devices/pci/pci.h"

extern const struct device_class pvpanic_pci_class;

#endif
