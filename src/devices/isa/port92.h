/* System control port A. See port92.c. */
#ifndef DEVICES_ISA_PORT92_H
#define DEVICES_ISA_PORT92_H

#include "devices/core/device.h"

extern const struct device_class port92_class;

struct device *port92_create(struct device_env *env, GError **error);

#endif
