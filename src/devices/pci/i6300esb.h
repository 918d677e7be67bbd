/* The watchdog of the Intel 6300ESB. See i6300esb.c. */
#ifndef DEVICES_PCI_I6300ESB_H
#define DEVICES_PCI_I6300ESB_H

#include "devices/pci/pci.h"

extern const struct device_class i6300esb_class;

#endif
