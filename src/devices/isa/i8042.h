/* The keyboard controller with keyboard and mouse. See i8042.c. */
#ifndef DEVICES_ISA_I8042_H
#define DEVICES_ISA_I8042_H

#include "devices/core/device.h"

extern const struct device_class i8042_class;

/* Ports 0x60 and 0x64, interrupts isa_irq[1] and isa_irq[12]. */
struct device *i8042_create(struct device_env *env, GError **error);

/* A key goes down or up: number is its scan code of set 1, with 0x80 added when 0xe0 comes first.
 * At once, or when the keys before it have been held their time; the next one waits hold_ms. Lost
 * when a thousand keys wait. Wakes a machine that sleeps. */
void i8042_key(struct device *dev, uint8_t number, bool down, unsigned hold_ms);

/* The mouse moves, up and right being positive; of the buttons (bit 0 left, 1 right, 2 middle)
 * those in `changed` get the state in `buttons`. */
void i8042_mouse(struct device *dev, int dx, int dy, unsigned buttons, unsigned changed);
/* The wheel is turned by dz notches, towards the user being positive. Lost on a mouse without one.
 */
void i8042_wheel(struct device *dev, int dz);

#endif
