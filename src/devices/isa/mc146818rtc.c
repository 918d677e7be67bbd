/*
 * mc146818rtc: the PC's clock and CMOS RAM (Motorola MC146818A data sheet; the century byte at 0x32
 * as PC firmware has it).
 *
 * Nothing ticks: the time is a second count at a point of the virtual clock, and the flags of
 * register C are worked out when somebody looks. Only an interrupt that the guest has enabled, and
 * whose flag is not yet set, has a timer. With clock=host (the default) the clock follows the
 * host's while the machine stands still; an alarm that falls into such a pause goes off at its end,
 * and in a machine that sleeps (S3) in time, for it may be there to wake it.
 *
 * Left out, as a guest would notice: no daylight saving (DSE), no square wave, the day of the week
 * is always the true one, interrupts that were not acknowledged are not made up for later.
 */
#include "devices/isa/mc146818rtc.h"

#include "qapi-types.h"
#include <stdio.h>
#include <string.h>

#define RTC_SECONDS       0x00
#define RTC_SECONDS_ALARM 0x01
#define RTC_MINUTES       0x02
#define RTC_MINUTES_ALARM 0x03
#define RTC_HOURS         0x04
#define RTC_HOURS_ALARM   0x05
#define RTC_DAY_OF_WEEK   0x06
#define RTC_DAY_OF_MONTH  0x07
#define RTC_MONTH         0x08
#define RTC_YEAR          0x09
#define RTC_REG_A         0x0a
#define RTC_REG_B         0x0b
#define RTC_REG_C         0x0c
#define RTC_REG_D         0x0d
#define RTC_CENTURY       0x32
#define RTC_CENTURY_PS2   0x37 /* another place where PCs look for it */

#define A_UIP             0x80
#define A_DIVIDER         0x70
#define A_DV_RUN          0x20 /* 32768 Hz crystal */
#define A_DV_RESET        0x60 /* and 0x70: divider held in reset */
#define A_RATE            0x0f

#define B_SET             0x80
#define B_PIE             0x40
#define B_AIE             0x20
#define B_UIE             0x10
#define B_SQWE            0x08
#define B_DM              0x04 /* binary, else BCD */
#define B_24H             0x02

#define C_IRQF            0x80
#define C_PF              0x40
#define C_AF              0x20
#define C_UF              0x10

#define D_VRT             0x80

#define UIP_NS            244140 /* UIP rises this long before the update */
#define SECONDS_IN_DAY    86400

/* With lost_tick_policy=slew: how many interrupts are made up for at most, and how many of them
 * come between two that come in their time, each when the guest has taken the one before. */
#define COALESCED_MAX     (1u << 24)
#define REINJECTED_MAX    20

struct rtc_state {
    int64_t base_s;     /* the guest's calendar in seconds since 1970-01-01 ... */
    int64_t base_ns;    /* ... at this virtual time, which is the start of that second */
    int64_t checked_ns; /* flags in register C are worked out up to here */
    int64_t offset_s;   /* by how much the guest has set the clock, all in all */
    uint32_t coalesced; /* periodic interrupts that the guest has missed and is still to get */
    uint8_t cmos[128];
    uint8_t index;
    uint8_t reinjected; /* of them, since the last that came in its time */
    uint8_t pad[2];
};

static const struct state_field rtc_fields[] = {
    STATE(struct rtc_state, base_s),
    STATE(struct rtc_state, base_ns),
    STATE(struct rtc_state, checked_ns),
    STATE(struct rtc_state, offset_s),
    STATE_MAX(struct rtc_state, coalesced, COALESCED_MAX),
    STATE_ARRAY(struct rtc_state, cmos),
    STATE_MAX(struct rtc_state, index, 127),
    STATE(struct rtc_state, reinjected),
    STATE_PAD(struct rtc_state, pad),
    {0},
};

static const struct state_desc rtc_desc = {
    .name = "mc146818rtc",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct rtc_state),
    .fields = rtc_fields,
};

struct rtc {
    struct device dev;
    struct {
        char *base, *clock;
        uint32_t policy; /* enum lost_tick_policy */
    } cfg;
    struct irq_line irq, alarm;
    struct rtc_state s;
    struct region region;
    struct vtimer timer;
    bool follow_host;
    bool steady;       /* by the host's time since its start, which nobody sets */
    bool irq_off;      /* HPET legacy replacement has the line; the board's wiring, not our state */
    int64_t paused_us; /* host_us() at the pause */
    GSource *wake;     /* asleep: goes off at the alarm, by the host's clock */
};

/* ---- calendar */

/* Days from 1970-01-01 to a Gregorian date; month 1 to 12, out-of-range values carry over. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    int64_t era, yoe, doy;

    year += (month - 1) / 12;
    month = (month - 1) % 12 + 1;
    if (month < 1) {
        month += 12;
        year--;
    }
    /* Years begin in March, so that the leap day is the last. */
    year -= month <= 2;
    era = (year >= 0 ? year : year - 399) / 400;
    yoe = year - era * 400;
    doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

struct calendar {
    int year, month, day, weekday, hour, minute, second; /* weekday: 1 is Sunday */
};

static void calendar_from_seconds(struct calendar *c, int64_t seconds)
{
    int64_t days = seconds / SECONDS_IN_DAY, rest = seconds % SECONDS_IN_DAY;
    int64_t era, doe, yoe, doy, mp;

    if (rest < 0) {
        rest += SECONDS_IN_DAY;
        days--;
    }
    c->hour = (int)(rest / 3600);
    c->minute = (int)(rest / 60 % 60);
    c->second = (int)(rest % 60);
    c->weekday = (int)(((days + 4) % 7 + 7) % 7) + 1;
    days += 719468;
    era = (days >= 0 ? days : days - 146096) / 146097;
    doe = days - era * 146097;
    yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    mp = (5 * doy + 2) / 153;
    c->day = (int)(doy - (153 * mp + 2) / 5 + 1);
    c->month = (int)(mp < 10 ? mp + 3 : mp - 9);
    c->year = (int)(yoe + era * 400 + (c->month <= 2));
}

/* ---- the registers' formats */

static uint8_t rtc_encode(const struct rtc *d, int value)
{
    return (uint8_t)(d->s.cmos[RTC_REG_B] & B_DM ? value : value / 10 % 10 << 4 | value % 10);
}

static int rtc_decode(const struct rtc *d, uint8_t value)
{
    return d->s.cmos[RTC_REG_B] & B_DM ? value : (value >> 4) * 10 + (value & 15);
}

static uint8_t rtc_encode_hour(const struct rtc *d, int hour)
{
    if (d->s.cmos[RTC_REG_B] & B_24H) {
        return rtc_encode(d, hour);
    }
    return rtc_encode(d, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static int rtc_decode_hour(const struct rtc *d, uint8_t value)
{
    if (d->s.cmos[RTC_REG_B] & B_24H) {
        return rtc_decode(d, value);
    }
    return rtc_decode(d, value & 0x7f) % 12 + (value & 0x80 ? 12 : 0);
}

/* ---- time */

static int64_t rtc_now(const struct rtc *d)
{
    return vclock_now(d->dev.env->clock);
}

static bool rtc_running(const struct rtc *d)
{
    return !(d->s.cmos[RTC_REG_B] & B_SET) && (d->s.cmos[RTC_REG_A] & A_DIVIDER) < A_DV_RESET;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t rtc_second_at(const struct rtc *d, int64_t now_ns)
{
    return d->s.base_s + floor_div(now_ns - d->s.base_ns, NS_PER_SEC);
}

/* The virtual time at which that second starts. */
static int64_t rtc_second_ns(const struct rtc *d, int64_t second)
{
    return d->s.base_ns + (second - d->s.base_s) * NS_PER_SEC;
}

/* Puts the time into the bytes that the guest reads. */
static void rtc_latch(struct rtc *d)
{
    struct calendar c;
    uint8_t *cmos = d->s.cmos;

    calendar_from_seconds(&c, rtc_second_at(d, rtc_now(d)));
    cmos[RTC_SECONDS] = rtc_encode(d, c.second);
    cmos[RTC_MINUTES] = rtc_encode(d, c.minute);
    cmos[RTC_HOURS] = rtc_encode_hour(d, c.hour);
    cmos[RTC_DAY_OF_WEEK] = rtc_encode(d, c.weekday);
    cmos[RTC_DAY_OF_MONTH] = rtc_encode(d, c.day);
    cmos[RTC_MONTH] = rtc_encode(d, c.month);
    cmos[RTC_YEAR] = rtc_encode(d, c.year % 100);
    cmos[RTC_CENTURY] = rtc_encode(d, c.year / 100 % 100);
}

/* The second that the bytes show. */
static int64_t rtc_bytes_second(const struct rtc *d)
{
    const uint8_t *cmos = d->s.cmos;
    int64_t days =
        days_from_date(rtc_decode(d, cmos[RTC_CENTURY]) * 100 + rtc_decode(d, cmos[RTC_YEAR]),
                       rtc_decode(d, cmos[RTC_MONTH]), rtc_decode(d, cmos[RTC_DAY_OF_MONTH]));

    return days * SECONDS_IN_DAY + rtc_decode_hour(d, cmos[RTC_HOURS]) * 3600 +
           rtc_decode(d, cmos[RTC_MINUTES]) * 60 + rtc_decode(d, cmos[RTC_SECONDS]);
}

/* Takes the time from the bytes that the guest wrote; the fraction of the second goes on. */
static void rtc_set_from_bytes(struct rtc *d)
{
    int64_t old_s = rtc_second_at(d, rtc_now(d));

    d->s.base_ns = rtc_second_ns(d, old_s);
    d->s.base_s = rtc_bytes_second(d);
    d->s.offset_s += d->s.base_s - old_s;
    system_note_rtc_change(d->dev.env, d->s.offset_s);
}

/* ---- flags and interrupts */

static bool alarm_any(uint8_t value)
{
    return (value & 0xc0) == 0xc0; /* "don't care" */
}

/* The first second after `after` at which the alarm goes off; -1 never. */
static int64_t rtc_next_alarm(const struct rtc *d, int64_t after)
{
    const uint8_t *cmos = d->s.cmos;
    int hour = alarm_any(cmos[RTC_HOURS_ALARM]) ? -1 : rtc_decode_hour(d, cmos[RTC_HOURS_ALARM]);
    int minute = alarm_any(cmos[RTC_MINUTES_ALARM]) ? -1 : rtc_decode(d, cmos[RTC_MINUTES_ALARM]);
    int second = alarm_any(cmos[RTC_SECONDS_ALARM]) ? -1 : rtc_decode(d, cmos[RTC_SECONDS_ALARM]);
    int64_t day = floor_div(after, SECONDS_IN_DAY) * SECONDS_IN_DAY;
    int64_t from = after + 1 - day; /* the first candidate, counted within the day */

    /* Each loop ends with its first match that is not in the past: at most 24 + 60 + 60 steps a
     * day. */
    for (unsigned i = 0; i < 2; i++, day += SECONDS_IN_DAY, from = 0) {
        for (int h = (int)(from / 3600); h < 24; h++) {
            if (hour >= 0 && h != hour) {
                continue;
            }
            for (int m = (int)(MAX(from - h * 3600, 0) / 60); m < 60; m++) {
                if (minute >= 0 && m != minute) {
                    continue;
                }
                for (int s = (int)MAX(from - h * 3600 - m * 60, 0); s < 60; s++) {
                    if (second < 0 || s == second) {
                        return day + h * 3600 + m * 60 + s;
                    }
                }
            }
        }
    }
    return -1;
}

/* The period of the periodic interrupt in 32768ths of a second; 0 none. */
static unsigned rtc_period(const struct rtc *d)
{
    unsigned rate = d->s.cmos[RTC_REG_A] & A_RATE, divider = d->s.cmos[RTC_REG_A] & A_DIVIDER;

    if (rate == 0 || divider >= A_DV_RESET) {
        return 0;
    }
    /* Only the slow crystal cannot serve the two highest rates. */
    return rate <= 2 && divider == A_DV_RUN ? 1u << (rate + 6) : 1u << (rate - 1);
}

static uint64_t rtc_periods_at(const struct rtc *d, int64_t now_ns)
{
    return muldiv64((uint64_t)now_ns, 32768, (uint64_t)NS_PER_SEC) / rtc_period(d);
}

/* The seconds after then_s up to now_s have begun. */
static void rtc_account_seconds(struct rtc *d, int64_t then_s, int64_t now_s)
{
    uint8_t *c = &d->s.cmos[RTC_REG_C];
    int64_t alarm;

    if (!rtc_running(d) || now_s <= then_s) {
        return;
    }
    *c |= C_UF;
    alarm = *c & C_AF ? -1 : rtc_next_alarm(d, then_s);
    if (alarm >= 0 && alarm <= now_s) {
        *c |= C_AF;
        if (d->s.cmos[RTC_REG_B] & B_AIE) {
            irq_pulse(&d->alarm);
        }
    }
}

static bool rtc_makes_up(const struct rtc *d)
{
    return d->cfg.policy == LOST_TICK_POLICY_SLEW && (d->s.cmos[RTC_REG_B] & B_PIE);
}

/* All but the one that sets the flag are lost. */
static void rtc_account_periods(struct rtc *d, uint64_t n)
{
    uint8_t *c = &d->s.cmos[RTC_REG_C];

    if (n == 0) {
        return;
    }
    if (rtc_makes_up(d)) {
        uint64_t lost = *c & C_PF ? n : n - 1;

        d->s.coalesced = (uint32_t)MIN(d->s.coalesced + MIN(lost, COALESCED_MAX), COALESCED_MAX);
        d->s.reinjected = 0;
    }
    *c |= C_PF;
}

/* Sets the flags for what happened since the last look. */
static void rtc_account(struct rtc *d)
{
    int64_t now_ns = rtc_now(d), then_ns = d->s.checked_ns;

    d->s.checked_ns = now_ns;
    rtc_account_seconds(d, rtc_second_at(d, then_ns), rtc_second_at(d, now_ns));
    if (rtc_period(d)) {
        rtc_account_periods(d, (uint64_t)(rtc_periods_at(d, now_ns) - rtc_periods_at(d, then_ns)));
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Arms the timer for the next enabled interrupt whose flag is clear. */
static void rtc_plan(struct rtc *d)
{
    uint8_t wanted = d->s.cmos[RTC_REG_B] & (uint8_t)~d->s.cmos[RTC_REG_C];
    int64_t now_ns = d->s.checked_ns, next_ns = -1, now_s = rtc_second_at(d, now_ns);

    if (rtc_running(d) && (wanted & B_UIE)) {
        next_ns = earlier(next_ns, rtc_second_ns(d, now_s + 1));
    }
    if (rtc_running(d) && (wanted & B_AIE)) {
        int64_t alarm = rtc_next_alarm(d, now_s);

        if (alarm >= 0) {
            next_ns = earlier(next_ns, rtc_second_ns(d, alarm));
        }
    }
    if (rtc_period(d) && (wanted & B_PIE)) {
        unsigned __int128 ticks =
            (unsigned __int128)(rtc_periods_at(d, now_ns) + 1) * rtc_period(d);

        next_ns = earlier(next_ns, (int64_t)((ticks * NS_PER_SEC + 32767) / 32768));
    }
    if (next_ns >= 0) {
        vtimer_set(&d->timer, next_ns);
    } else {
        vtimer_cancel(&d->timer);
    }
}

static void rtc_set_irq(struct rtc *d, bool level)
{
    if (!d->irq_off) {
        irq_set(&d->irq, level);
    }
}

static void rtc_update(struct rtc *d)
{
    uint8_t *c = &d->s.cmos[RTC_REG_C];

    rtc_account(d);
    if (*c & d->s.cmos[RTC_REG_B] & (C_PF | C_AF | C_UF)) {
        *c |= C_IRQF;
    } else {
        *c &= (uint8_t)~C_IRQF;
    }
    rtc_set_irq(d, *c & C_IRQF);
    rtc_plan(d);
}

/* The guest has taken an interrupt: the next of those that it has missed. */
static void rtc_reinject(struct rtc *d)
{
    if (rtc_makes_up(d) && d->s.coalesced && d->s.reinjected < REINJECTED_MAX &&
        !(d->s.cmos[RTC_REG_C] & C_PF)) {
        d->s.coalesced--;
        d->s.reinjected++;
        d->s.cmos[RTC_REG_C] |= C_PF;
        rtc_update(d);
    }
}

static void rtc_expired(void *opaque)
{
    rtc_update(opaque);
}

/* ---- registers */

static bool is_time(unsigned index)
{
    return index == RTC_SECONDS || index == RTC_MINUTES || index == RTC_HOURS ||
           (index >= RTC_DAY_OF_WEEK && index <= RTC_YEAR) || index == RTC_CENTURY;
}

static void rtc_write_a(struct rtc *d, uint8_t value)
{
    bool was_held = (d->s.cmos[RTC_REG_A] & A_DIVIDER) >= A_DV_RESET;
    bool held = (value & A_DIVIDER) >= A_DV_RESET;
    int64_t now_ns = rtc_now(d), now_s = rtc_second_at(d, now_ns);
    uint64_t period = rtc_period(d);

    if (!was_held && held && rtc_running(d)) {
        rtc_latch(d);
    }
    d->s.cmos[RTC_REG_A] = value & (uint8_t)~A_UIP;
    if (rtc_period(d) && rtc_period(d) != period) { /* what is owed is time */
        d->s.coalesced =
            (uint32_t)MIN(d->s.coalesced * period / rtc_period(d), (uint64_t)COALESCED_MAX);
    }
    if (was_held && !held) {
        /* The first update comes half a second after the divider's release. */
        d->s.base_s = now_s;
        d->s.base_ns = now_ns - NS_PER_SEC / 2;
        if (rtc_running(d)) {
            rtc_set_from_bytes(d);
        }
    }
}

static void rtc_write_b(struct rtc *d, uint8_t value)
{
    bool was_running = rtc_running(d);

    if (was_running && (value & B_SET)) {
        rtc_latch(d);
    }
    if (value & B_SET) {
        value &= (uint8_t)~B_UIE;
    }
    d->s.cmos[RTC_REG_B] = value;
    if (!(value & B_PIE)) {
        d->s.coalesced = 0;
    }
    if (!was_running && rtc_running(d)) {
        rtc_set_from_bytes(d);
    }
}

static void rtc_write_index(struct rtc *d, unsigned index, uint8_t value)
{
    rtc_account(d);
    switch (index) {
    case RTC_REG_A:
        rtc_write_a(d, value);
        break;
    case RTC_REG_B:
        rtc_write_b(d, value);
        break;
    case RTC_REG_C:
    case RTC_REG_D:
        break; /* read-only */
    default:
        if (is_time(index) && rtc_running(d)) {
            rtc_latch(d);
            d->s.cmos[index] = value;
            rtc_set_from_bytes(d);
        } else {
            d->s.cmos[index] = value;
        }
        break;
    }
    rtc_update(d);
}

static uint8_t rtc_read_a(struct rtc *d)
{
    int64_t now_ns = rtc_now(d);
    uint8_t value = d->s.cmos[RTC_REG_A];

    if (rtc_running(d) && rtc_second_ns(d, rtc_second_at(d, now_ns) + 1) - now_ns <= UIP_NS) {
        value |= A_UIP;
    }
    return value;
}

static uint8_t rtc_read_index(struct rtc *d, unsigned index)
{
    uint8_t value;

    switch (index) {
    case RTC_REG_A:
        return rtc_read_a(d);
    case RTC_REG_C:
        rtc_update(d);
        value = d->s.cmos[RTC_REG_C];
        d->s.cmos[RTC_REG_C] = 0;
        rtc_set_irq(d, false); /* what has come due meanwhile is another edge */
        rtc_update(d);
        rtc_reinject(d);
        return value;
    case RTC_REG_D:
        return D_VRT;
    default:
        if (is_time(index) && rtc_running(d)) {
            rtc_latch(d);
        }
        return d->s.cmos[index];
    }
}

static uint64_t rtc_read(void *opaque, gpa_t offset, unsigned size)
{
    struct rtc *d = opaque;

    return offset == 0 ? 0xff : rtc_read_index(d, d->s.index);
}

static void rtc_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct rtc *d = opaque;

    if (offset == 0) {
        value &= 0x7f; /* bit 7 masks NMIs, of which there are none */
        d->s.index = value == RTC_CENTURY_PS2 ? RTC_CENTURY : (uint8_t)value;
    } else {
        rtc_write_index(d, d->s.index, (uint8_t)value);
    }
}

static const struct region_ops rtc_ops = {
    .read = rtc_read, .write = rtc_write, .min_size = 1, .max_size = 1};

void mc146818rtc_set_cmos(struct device *rtc, uint8_t index, uint8_t value)
{
    g_assert(index > RTC_REG_D && index < 128 && index != RTC_CENTURY);
    ((struct rtc *)rtc)->s.cmos[index] = value;
}

void mc146818rtc_enable_irq(struct device *rtc, bool on)
{
    struct rtc *d = (struct rtc *)rtc;

    if (!on) {
        irq_set(&d->irq, false);
    }
    d->irq_off = !on;
    if (on) {
        rtc_update(d);
    }
}

void mc146818rtc_forget_lost(struct device *rtc)
{
    struct rtc *d = (struct rtc *)rtc;

    rtc_update(d); /* counts those up to now */
    d->s.coalesced = 0;
}

void mc146818rtc_date(const struct device *rtc, struct tm *date)
{
    const struct rtc *d = (const struct rtc *)rtc;
    struct calendar c;

    calendar_from_seconds(&c, rtc_running(d) ? rtc_second_at(d, rtc_now(d)) : rtc_bytes_second(d));
    *date = (struct tm){
        .tm_year = c.year - 1900,
        .tm_mon = c.month - 1,
        .tm_mday = c.day,
        .tm_hour = c.hour,
        .tm_min = c.minute,
        .tm_sec = c.second,
    };
}

void mc146818rtc_set_alarm(struct device *rtc, const struct irq_line *alarm)
{
    ((struct rtc *)rtc)->alarm = *alarm;
}

/* ---- while the machine stands still */

static int64_t host_us(const struct rtc *d)
{
    return d->steady ? g_get_monotonic_time() : g_get_real_time();
}

/* Takes the host's time since the pause, or the last time here, into the guest's calendar. */
static void rtc_catch_up(struct rtc *d)
{
    int64_t now_us = host_us(d), then_s = rtc_second_at(d, d->s.checked_ns);

    if (d->follow_host) {
        d->s.base_ns -= (now_us - d->paused_us) * 1000;
        d->paused_us = now_us;
        rtc_account_seconds(d, then_s, rtc_second_at(d, d->s.checked_ns));
    }
}

static void rtc_wake_cancel(struct rtc *d)
{
    if (d->wake) {
        g_source_destroy(d->wake);
        g_clear_pointer(&d->wake, g_source_unref);
    }
}

static void rtc_wake_plan(struct rtc *d);

static gboolean rtc_wake_expired(void *opaque)
{
    struct rtc *d = opaque;

    rtc_wake_cancel(d);
    rtc_catch_up(d);
    rtc_update(d);
    rtc_wake_plan(d);
    return G_SOURCE_REMOVE;
}

/* When the host's clock is set meanwhile the alarm is early, which is seen then, or late. */
static void rtc_wake_plan(struct rtc *d)
{
    const uint8_t *cmos = d->s.cmos;
    int64_t now_ns = d->s.checked_ns, alarm;

    if (!d->follow_host || !rtc_running(d) || !(cmos[RTC_REG_B] & B_AIE) ||
        cmos[RTC_REG_C] & C_AF) {
        return;
    }
    alarm = rtc_next_alarm(d, rtc_second_at(d, now_ns));
    if (alarm < 0) {
        return;
    }
    d->wake = g_timeout_source_new((guint)((rtc_second_ns(d, alarm) - now_ns) / NS_PER_MS + 1));
    g_source_set_callback(d->wake, rtc_wake_expired, d, NULL);
    g_source_attach(d->wake, d->dev.env->loop->context);
}

void mc146818rtc_asleep(struct device *rtc, bool asleep)
{
    struct rtc *d = (struct rtc *)rtc;

    rtc_wake_cancel(d);
    if (asleep) {
        rtc_catch_up(d);
        rtc_wake_plan(d);
    }
}

/* ---- class */

/* The base property: sets base_s and base_ns for the virtual time 'now'. */
static bool rtc_set_base(struct rtc *d, GError **error)
{
    const char *base = d->cfg.base ? d->cfg.base : "utc";
    int64_t host_us = g_get_real_time(), now_ns = rtc_now(d);
    int year, month, day, hour = 0, minute = 0, second = 0, end = 0, end_date = 0;
    int fields = sscanf(base, "%4d-%2d-%2d%nT%2d:%2d:%2d%n", &year, &month, &day, &end_date, &hour,
                        &minute, &second, &end);

    d->s.base_s = host_us / G_USEC_PER_SEC;
    d->s.base_ns = now_ns - host_us % G_USEC_PER_SEC * 1000;
    if (strcmp(base, "utc") == 0) {
        return true;
    }
    if (strcmp(base, "localtime") == 0) {
        g_autoptr(GDateTime) local = g_date_time_new_now_local();

        d->s.base_s += g_date_time_get_utc_offset(local) / G_USEC_PER_SEC;
        return true;
    }
    if (!((fields == 3 && !base[end_date]) || (fields == 6 && end && !base[end])) || year < 1970 ||
        !g_date_valid_dmy((GDateDay)day, (GDateMonth)month, (GDateYear)year) || hour > 23 ||
        minute > 59 || second > 59 || hour < 0 || minute < 0 || second < 0) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "invalid date '%s' for the clock: use utc, localtime or a date as "
                    "2006-06-17T16:01:21 or 2006-06-17",
                    base);
        return false;
    }
    d->s.base_s =
        days_from_date(year, month, day) * SECONDS_IN_DAY + hour * 3600 + minute * 60 + second;
    d->s.base_ns = now_ns;
    return true;
}

static bool rtc_realize(struct device *dev, GError **error)
{
    struct rtc *d = (struct rtc *)dev;
    const char *clock = d->cfg.clock ? d->cfg.clock : "host";

    if (strcmp(clock, "host") != 0 && strcmp(clock, "rt") != 0 && strcmp(clock, "vm") != 0) {
        g_set_error(error, DEVICE_ERROR, 0, "clock=%s: the clock follows host, rt or vm", clock);
        return false;
    }
    if (!rtc_set_base(d, error)) {
        return false;
    }
    d->follow_host = clock[0] != 'v' && !vclock_stepped(dev->env->clock);
    d->steady = clock[0] == 'r';
    d->paused_us = host_us(d);
    d->s.checked_ns = rtc_now(d);
    d->s.cmos[RTC_REG_A] = 0x26;
    d->s.cmos[RTC_REG_B] = B_24H;
    vtimer_init(&d->timer, dev->env->clock, rtc_expired, d);
    d->region =
        (struct region){.name = "rtc", .kind = REGION_IO, .size = 2, .ops = &rtc_ops, .opaque = d};
    address_space_map(dev->env->io, 0x70, &d->region, 0);
    return true;
}

static void rtc_unrealize(struct device *dev)
{
    struct rtc *d = (struct rtc *)dev;

    vtimer_cancel(&d->timer);
    rtc_wake_cancel(d);
    address_space_unmap(dev->env->io, &d->region);
}

/* The battery keeps time and RAM; only the interrupt enables and flags are cleared (data sheet,
 * RESET pin). Standby power keeps these too, with the alarm that woke the machine. */
static void rtc_reset(struct device *dev, enum reset_kind kind)
{
    struct rtc *d = (struct rtc *)dev;

    if (kind == RESET_WAKE) {
        return;
    }
    d->s.index = 0;
    d->s.cmos[RTC_REG_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    d->s.coalesced = 0;
    d->s.reinjected = 0;
    rtc_account(d);
    d->s.cmos[RTC_REG_C] = 0;
    rtc_update(d);
}

static void rtc_pause(struct device *dev)
{
    struct rtc *d = (struct rtc *)dev;

    rtc_account(d);
    d->paused_us = host_us(d);
}

static void rtc_resume(struct device *dev)
{
    struct rtc *d = (struct rtc *)dev;

    rtc_catch_up(d);
    rtc_update(d);
}

/* A base far from now (a century or a thousand) would overflow later sums. */
static bool rtc_sane(int64_t value)
{
    return value > -(INT64_MAX / 4) && value < INT64_MAX / 4;
}

static bool rtc_post_load(struct device *dev, GError **error)
{
    struct rtc *d = (struct rtc *)dev;

    if (!rtc_sane(d->s.base_ns) || d->s.base_s < -(1ll << 40) || d->s.base_s > 1ll << 40 ||
        d->s.checked_ns < 0 || d->s.checked_ns > rtc_now(d)) {
        g_set_error(error, DEVICE_ERROR, 0, "mc146818rtc: impossible time");
        return false;
    }
    d->paused_us = host_us(d);
    rtc_update(d);
    return true;
}

#define PROP(name_, member, help_)                                                                 \
    {                                                                                              \
        .name = name_, .type = PROP_STRING, .offset = offsetof(struct rtc, cfg.member),            \
        .help = help_                                                                              \
    }

static const struct property rtc_props[] = {
    PROP("base", base, "utc, localtime or a date as 2006-06-17T16:01:21"),
    PROP("clock", clock,
         "host, rt: goes on in pauses by the host's clock, or by its uptime; vm: stands still"),
    {"lost_tick_policy", PROP_ENUM, offsetof(struct rtc, cfg.policy),
     .def = LOST_TICK_POLICY_DISCARD, .values = &lost_tick_policy_type,
     .help = "what becomes of periodic interrupts that the guest took too late: discard, slew"},
    {.type = PROP_END},
};

const struct device_class mc146818rtc_class = {
    .name = "mc146818rtc",
    .help = "CMOS clock",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct rtc),
    .props = rtc_props,
    .state = &rtc_desc,
    .state_offset = offsetof(struct rtc, s),
    .realize = rtc_realize,
    .unrealize = rtc_unrealize,
    .reset = rtc_reset,
    .pause = rtc_pause,
    .resume = rtc_resume,
    .post_load = rtc_post_load,
};

struct device *mc146818rtc_create(struct device_env *env, const struct irq_line *irq,
                                  const char *base, const char *clock, GError **error)
{
    struct device *dev = device_new(&mc146818rtc_class, env);

    ((struct rtc *)dev)->irq = *irq;
    ((struct rtc *)dev)->cfg.base = g_strdup(base);
    ((struct rtc *)dev)->cfg.clock = g_strdup(clock);
    return device_realize(dev, error) ? dev : NULL;
}
