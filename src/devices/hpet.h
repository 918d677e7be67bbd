/* The high precision event timer. See hpet.c. */
#ifndef DEVICES_HPET_H
#define DEVICES_HPET_H

#include "devices/core/device.h"

#define HPET_ADDR 0xfed00000ull

extern const struct device_class hpet_class;

struct hpet_wiring {
    /* I/O APIC input n, 0 to 23; whatever .n holds. */
    struct irq_line gsi;
    /* Legacy replacement: timers 0 and 1 take the place of 8254 and RTC interrupts (which the board
     * then disables) on isa_irq[0] and isa_irq[8]. NULL is fine. */
    void (*legacy)(void *opaque, bool on);
    void *legacy_opaque;
};

/* At HPET_ADDR, 3 timers. */
struct device *hpet_create(struct device_env *env, const struct hpet_wiring *wiring,
                           GError **error);

#endif
