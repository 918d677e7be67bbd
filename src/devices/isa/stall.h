/* godwit-stall: a port whose handler sleeps, for tests (see stall.c). */
#ifndef DEVICES_ISA_STALL_H
#define DEVICES_ISA_STALL_H

#include "devices/core/device.h"

extern const struct device_class stall_class;

#endif
