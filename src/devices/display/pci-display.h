/* VGA and bochs-display on PCI. See pci-display.c. */
#ifndef DEVICES_DISPLAY_PCI_DISPLAY_H
#define DEVICES_DISPLAY_PCI_DISPLAY_H

#include "devices/core/device.h"

extern const struct device_class vga_class, bochs_display_class;

#endif
