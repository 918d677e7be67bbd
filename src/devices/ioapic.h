/* The I/O APIC. See ioapic.c. */
#ifndef DEVICES_IOAPIC_H
#define DEVICES_IOAPIC_H

#include "devices/core/device.h"

#define IOAPIC_ADDR 0xfec00000ull
#define IOAPIC_PINS 24

extern const struct device_class ioapic_class;

/* At IOAPIC_ADDR; interrupts leave as messages through env->send_msi. */
struct device *ioapic_create(struct device_env *env, GError **error);

/* Input `pin`, 0 to 23, as a function for struct irq_line; opaque is the device. */
void ioapic_set_irq(void *ioapic, int pin, bool level);

/* A local APIC ended a level-triggered interrupt with this vector. */
void ioapic_eoi(struct device *ioapic, uint8_t vector);

/* Tells fn(opaque, pin, level) of every change of an input level, for the register door. NULL ends.
 */
void ioapic_intercept(struct device *ioapic, void (*fn)(void *opaque, int pin, bool level),
                      void *opaque);

#endif
