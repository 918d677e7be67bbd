/* The AHCI controller of the ICH9. See ahci.c. */
#ifndef DEVICES_IDE_AHCI_H
#define DEVICES_IDE_AHCI_H

#include "devices/core/device.h"

extern const struct device_class ahci_class;

/* The board's own, in slot 1f.2. */
struct device *ahci_create(struct device_env *env, GError **error);

#endif
