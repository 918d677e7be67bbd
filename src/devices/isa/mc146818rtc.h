/* The CMOS clock. See mc146818rtc.c. */
#ifndef DEVICES_ISA_MC146818RTC_H
#define DEVICES_ISA_MC146818RTC_H

#include "devices/core/device.h"
#include <time.h>

extern const struct device_class mc146818rtc_class;

/* Ports 0x70 and 0x71; irq: usually isa_irq[8]. base: "utc", "localtime" or a date as
 * "2006-06-17T16:01:21" or "2006-06-17"; NULL is "utc". clock: "host" or "vm"; NULL is "host". */
struct device *mc146818rtc_create(struct device_env *env, const struct irq_line *irq,
                                  const char *base, const char *clock, GError **error);

/* A byte of the CMOS RAM (index 0x0e to 0x7f), where firmware looks for memory sizes and the like.
 * Kept across reset. */
void mc146818rtc_set_cmos(struct device *rtc, uint8_t index, uint8_t value);

/* What the clock shows now, as gmtime() would give it: year, month, day, hour, minute, second. */
void mc146818rtc_date(const struct device *rtc, struct tm *date);

/* Periodic interrupts that are still to be made up for (lost_tick_policy=slew) are forgotten. */
void mc146818rtc_forget_lost(struct device *rtc);

/* Pulsed when an alarm goes off whose interrupt is enabled. */
void mc146818rtc_set_alarm(struct device *rtc, const struct irq_line *alarm);

/* The machine (paused) sleeps, or does no longer: meanwhile the alarm goes off in the host's time.
 * Not with clock=vm, where the clock stands still. */
void mc146818rtc_asleep(struct device *rtc, bool asleep);

/* While off no interrupt is raised (HPET legacy replacement). */
void mc146818rtc_enable_irq(struct device *rtc, bool on);

#endif
