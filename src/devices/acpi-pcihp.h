/* Hot plug of PCI devices by ACPI. See acpi-pcihp.c. */
#ifndef DEVICES_ACPI_PCIHP_H
#define DEVICES_ACPI_PCIHP_H

#include "devices/pci/pci.h"

#define ACPI_PCIHP_BASE 0xae00 /* on the pc board */
#define ACPI_PCIHP_GPE  1

extern const struct device_class acpi_pcihp_class;

/* Devices on `bus` may come and go; pm: whose general purpose event tells of it. */
struct device *acpi_pcihp_create(struct device_env *env, uint16_t base, struct device *pm,
                                 struct pci_bus *bus, GError **error);
/* Slots that can be used so: a bit each. */
uint32_t acpi_pcihp_slots(const struct device *pcihp);

#endif
