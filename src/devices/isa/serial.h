/* isa-serial: a 16550A on the ISA bus. See serial.c. */
#ifndef DEVICES_ISA_SERIAL_H
#define DEVICES_ISA_SERIAL_H

#include "devices/core/device.h"

extern const struct device_class serial_class;

/* COM port `index` (0 to 3) with its standard port and interrupt. chr may be NULL (output is
 * dropped); it stays the caller's. NULL and *error when chr is in use. */
struct device *serial_create(struct device_env *env, unsigned index, struct chardev *chr,
                             GError **error);

#endif
