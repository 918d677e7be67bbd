/* The paravirtual panic port. */
#ifndef DEVICES_ISA_PVPANIC_H
#define DEVICES_ISA_PVPANIC_H

#include "devices/core/device.h"

/* Bits of the one register. */
#define PVPANIC_PANICKED     0x01
#define PVPANIC_CRASH_LOADED 0x02
#define PVPANIC_ALL          (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

/* What a guest's write means, whichever bus brought it. */
void pvpanic_report(struct device_env *env, uint8_t value);

extern const struct device_class pvpanic_isa_class;

/* The port of an instance of that class. */
uint16_t pvpanic_isa_port(const struct device *dev);

#endif
