/* pc-testdev. See testdev.c. */
#ifndef DEVICES_ISA_TESTDEV_H
#define DEVICES_ISA_TESTDEV_H

#include "devices/core/device.h"

extern const struct device_class testdev_class;

#endif
