/* isa-debug-exit. See debug-exit.c. */
#ifndef DEVICES_ISA_DEBUG_EXIT_H
#define DEVICES_ISA_DEBUG_EXIT_H

#include "devices/core/device.h"

extern const struct device_class debug_exit_class;

#endif
