/* The pair of 8259A interrupt controllers. See i8259.c. */
#ifndef DEVICES_ISA_I8259_H
#define DEVICES_ISA_I8259_H

#include "devices/core/device.h"

extern const struct device_class i8259_class;

/* Ports 0x20, 0xa0, 0x4d0. intr is the master's INTR output, towards the boot CPU. */
struct device *i8259_create(struct device_env *env, const struct irq_line *intr, GError **error);

/* Input n, 0 to 15, as a function for struct irq_line; opaque is the device. */
void i8259_set_irq(void *pic, int n, bool level);

/* The CPU's interrupt acknowledge cycle: the vector (a spurious one when the request went away). */
int i8259_ack(struct device *pic);

#endif
