/* The table of all device classes, in the order of -device help. */
#include "devices/acpi-pm.h"
#include "devices/core/device.h"
#include "devices/ioapic.h"
#include "devices/isa/i8254.h"
#include "devices/isa/i8259.h"
#include "devices/isa/ib700.h"
#include "devices/isa/mc146818rtc.h"
#include "devices/isa/pvpanic.h"
#include "devices/isa/serial.h"

const struct device_class *const device_classes[] = {
    &acpi_pm_class,     &i8254_class, &i8259_class,       &ioapic_class, &serial_class,
    &mc146818rtc_class, &ib700_class, &pvpanic_isa_class, NULL,
};
