/* The IB700 watchdog. */
#ifndef DEVICES_ISA_IB700_H
#define DEVICES_ISA_IB700_H

#include "devices/core/device.h"

extern const struct device_class ib700_class;

#endif
