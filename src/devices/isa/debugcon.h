/* isa-debugcon. See debugcon.c. */
#ifndef DEVICES_ISA_DEBUGCON_H
#define DEVICES_ISA_DEBUGCON_H

#include "devices/core/device.h"

extern const struct device_class debugcon_class;

/* At port 0xe9, as -debugcon makes it. */
struct device *debugcon_create(struct device_env *env, struct chardev *chr, GError **error);

#endif
