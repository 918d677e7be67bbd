/* ACPI power management registers. See acpi-pm.c. */
#ifndef DEVICES_ACPI_PM_H
#define DEVICES_ACPI_PM_H

#include "devices/core/device.h"

#define ACPI_PM_BASE     0x600 /* default base port; 128 ports */
#define ACPI_PM_TIMER    (ACPI_PM_BASE + 8)
#define ACPI_PM_GPE0     (ACPI_PM_BASE + 0x20)
#define ACPI_PM_GPE0_LEN 16
#define ACPI_SCI_IRQ     9

extern const struct device_class acpi_pm_class;

/* At ACPI_PM_BASE, until acpi_pm_set_base() says otherwise. sci: level-triggered, irq 9. */
struct device *acpi_pm_create(struct device_env *env, const struct irq_line *sci, GError **error);

/* Moves or hides the block, as the LPC bridge's registers say. */
void acpi_pm_set_base(struct device *pm, uint16_t base, bool enabled);

/* The power button was pressed: status bit, and the SCI when the guest enabled it. */
void acpi_pm_power_button(struct device *pm);

/* Wake-up from S3: what the guest's firmware and kernel find as the reason. */
enum acpi_wake { ACPI_WAKE_OTHER, ACPI_WAKE_RTC, ACPI_WAKE_PM_TIMER };
void acpi_pm_wake(struct device *pm, enum acpi_wake reason);

/* Level of general purpose event n (0 to 63). */
void acpi_pm_set_gpe(struct device *pm, unsigned n);

#endif
