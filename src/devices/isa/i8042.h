/* The keyboard controller with keyboard and mouse. See i8042.c. */
#ifndef DEVICES_ISA_I8042_H
#define DEVICES_ISA_I8042_H

#include "devices/core/device.h"

extern const struct device_class i8042_class;

/* Ports 0x60 and 0x64, interrupts isa_irq[1] and isa_irq[12]. */
struct device *i8042_create(struct device_env *env, GError **error);

#endif
