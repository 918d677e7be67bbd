/* The IDE controller of the PIIX3. See piix-ide.c. */
#ifndef DEVICES_IDE_PIIX_IDE_H
#define DEVICES_IDE_PIIX_IDE_H

#include "devices/core/device.h"

extern const struct device_class piix_ide_class;

/* At 00:01.1: channels at 0x1f0 and 0x170 with interrupts 14 and 15. */
struct device *piix_ide_create(struct device_env *env, GError **error);

#endif
