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

/* Where the block is now, shown or hidden. */
uint16_t acpi_pm_base(const struct device *pm);

/* The power button was pressed: status bit, and the SCI when the guest enabled it. Wakes a machine
 * that sleeps, whether enabled or not. */
void acpi_pm_power_button(struct device *pm);

/* The clock's alarm went off: status bit, and the SCI or a wake-up when the guest enabled it. */
void acpi_pm_rtc_alarm(struct device *pm);

/* The machine is asleep now: a wake-up event that came before, and is still noted, wakes it. */
void acpi_pm_sleeping(struct device *pm);

/* Awake, after RESET_WAKE: the status bits that the guest's kernel looks at. */
void acpi_pm_wake(struct device *pm);

/* Level of general purpose event n (0 to 63). */
void acpi_pm_set_gpe(struct device *pm, unsigned n);

#endif
