/* Hot plug of processors by ACPI. See acpi-cpuhp.c. */
#ifndef DEVICES_ACPI_CPUHP_H
#define DEVICES_ACPI_CPUHP_H

#include "devices/core/device.h"

#define ACPI_CPUHP_Q35   0x0cd8 /* where the registers are on the boards */
#define ACPI_CPUHP_PC    0xaf00
#define ACPI_CPUHP_BYTES 12

extern const struct device_class acpi_cpuhp_class;

/* pm: whose general purpose event 2 tells. */
struct device *acpi_cpuhp_create(struct device_env *env, uint16_t base, struct device *pm,
                                 GError **error);
/* The vCPU with that index has come, or is to go. */
void acpi_cpuhp_plugged(struct device *cpuhp, unsigned index);
void acpi_cpuhp_ask(struct device *cpuhp, unsigned index);
/* What the guest said last of it (_OST). */
void acpi_cpuhp_ost(const struct device *cpuhp, unsigned index, uint32_t *event, uint32_t *status);

#endif
