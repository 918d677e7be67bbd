/* The parts of ACPI tables that are about what comes and goes: see acpi-hotplug.c. */
#ifndef MACHINE_X86_ACPI_HOTPLUG_H
#define MACHINE_X86_ACPI_HOTPLUG_H

#include "machine/x86/acpi.h"

/* Each adds AML for the body of an SSDT that comes before the one compiled from ASL. */
void acpi_add_pci_slots(GByteArray *out, const struct acpi_config *config);
void acpi_add_memory_slots(GByteArray *out, const struct acpi_config *config);
void acpi_add_cpus(GByteArray *out, const struct acpi_config *config);

#endif
