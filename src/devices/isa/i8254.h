/* The 8254 interval timer and port 0x61. See i8254.c. */
#ifndef DEVICES_ISA_I8254_H
#define DEVICES_ISA_I8254_H

#include "devices/core/device.h"

extern const struct device_class i8254_class;

/* Ports 0x40 to 0x43 and 0x61; channel 0 drives irq0. */
struct device *i8254_create(struct device_env *env, const struct irq_line *irq0, GError **error);

/* While off, channel 0 raises no interrupts (HPET legacy replacement). opaque is the device. */
void i8254_enable_irq(struct device *pit, bool on);

#endif
