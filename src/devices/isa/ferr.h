/* The coprocessor's error interrupt of the PC/AT. See ferr.c. */
#ifndef DEVICES_ISA_FERR_H
#define DEVICES_ISA_FERR_H

#include "devices/core/device.h"

extern const struct device_class ferr_class;

/* At port 0xf0; interrupts by env->isa_irq[13]. */
struct device *ferr_create(struct device_env *env, GError **error);

/* A processor's FERR#: an unmasked x87 exception is pending, while CR0.NE is clear. Machine lock
 * held. */
void ferr_set(struct device *dev, bool asserted);

#endif
