/*
 * hpet: the IA-PC high precision event timer (specification 1.0a) with three 64-bit timers, all
 * able to run periodically, counting at 100 MHz.
 *
 * The main counter is derived from the virtual clock. A comparator that is set to the past fires at
 * once (the specification would let it wait for the counter to wrap). A periodic timer fires at
 * most every 20 microseconds; periods that were missed are dropped.
 *
 * Left out: FSB (message-signalled) delivery, which the capability bits do not offer; a counter
 * write while it runs is ignored.
 */
#include "devices/hpet.h"
#include <string.h>

#define HPET_CAPS       0x000
#define HPET_CONFIG     0x010
#define HPET_STATUS     0x020
#define HPET_COUNTER    0x0f0
#define HPET_TIMER0     0x100 /* 0x20 each: configuration, comparator, FSB route */

#define N_TIMERS        3
#define TICK_NS         10
#define CAPS            (0x0098968000000000ull | 0x80860000u | 0x8000 | 0x2000 | (N_TIMERS - 1) << 8 | 1)
#define CONFIG_ENABLE   0x1
#define CONFIG_LEGACY   0x2

#define TN_LEVEL        0x0002u
#define TN_ENABLE       0x0004u
#define TN_PERIODIC     0x0008u
#define TN_PERIODIC_CAP 0x0010u
#define TN_64BIT_CAP    0x0020u
#define TN_SET_VALUE    0x0040u
#define TN_32BIT        0x0100u
#define TN_ROUTE_SHIFT  9
#define TN_ROUTE        0x3e00u
#define TN_WRITABLE     (TN_LEVEL | TN_ENABLE | TN_PERIODIC | TN_SET_VALUE | TN_32BIT | TN_ROUTE)
#define TN_ROUTES       0x00ff0104ull /* I/O APIC inputs 2, 8, 16 to 23 */

#define MIN_INTERVAL_NS 20000

struct hpet_timer_state {
    uint64_t comparator, period;
    uint32_t config;
    bool armed; /* an interrupt is to come */
    uint8_t pad[3];
};

struct hpet_state {
    uint64_t counter; /* while halted */
    int64_t start_ns; /* virtual time at which the running counter was 0 */
    struct hpet_timer_state timer[N_TIMERS];
    uint8_t config, status;
    uint8_t pad[6];
};

static const struct state_field timer_fields[] = {
    STATE(struct hpet_timer_state, comparator),
    STATE(struct hpet_timer_state, period),
    STATE_MAX(struct hpet_timer_state, config, TN_WRITABLE),
    STATE(struct hpet_timer_state, armed),
    STATE_PAD(struct hpet_timer_state, pad),
    {0},
};

static const struct state_field hpet_fields[] = {
    STATE(struct hpet_state, counter),
    STATE(struct hpet_state, start_ns),
    STATE_STRUCT_ARRAY(struct hpet_state, timer, timer_fields),
    STATE_MAX(struct hpet_state, config, CONFIG_ENABLE | CONFIG_LEGACY),
    STATE_MAX(struct hpet_state, status, (1 << N_TIMERS) - 1),
    STATE_PAD(struct hpet_state, pad),
    {0},
};

static const struct state_desc hpet_desc = {
    .name = "hpet",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct hpet_state),
    .fields = hpet_fields,
};

struct hpet;

struct hpet_timer {
    struct hpet *hpet;
    unsigned n;
    struct vtimer timer;
};

struct hpet {
    struct device dev;
    struct hpet_wiring wiring;
    struct hpet_state s;
    struct hpet_timer timer[N_TIMERS];
    struct region region;
};

/* ---- counting */

static bool hpet_enabled(const struct hpet *d)
{
    return d->s.config & CONFIG_ENABLE;
}

static uint64_t hpet_counter(struct hpet *d)
{
    if (!hpet_enabled(d)) {
        return d->s.counter;
    }
    return (uint64_t)(vclock_now(d->dev.env->clock) - d->s.start_ns) / TICK_NS;
}

/* Ticks until the comparator matches; 0 when that is past. */
static uint64_t ticks_left(const struct hpet_timer_state *t, uint64_t counter)
{
    if (t->config & TN_32BIT) {
        int32_t left = (int32_t)((uint32_t)t->comparator - (uint32_t)counter);

        return left > 0 ? (uint64_t)left : 0;
    }
    return (int64_t)(t->comparator - counter) > 0 ? t->comparator - counter : 0;
}

static void timer_plan(struct hpet *d, unsigned n, int64_t at_least_ns)
{
    struct hpet_timer_state *t = &d->s.timer[n];
    int64_t now_ns = vclock_now(d->dev.env->clock), wait_ns;
    uint64_t left;

    if (!hpet_enabled(d) || !(t->config & TN_ENABLE) || !t->armed) {
        vtimer_cancel(&d->timer[n].timer);
        return;
    }
    left = MIN(ticks_left(t, hpet_counter(d)), (uint64_t)INT64_MAX / TICK_NS / 4);
    wait_ns = MAX((int64_t)left * TICK_NS, at_least_ns);
    vtimer_set(&d->timer[n].timer, now_ns > INT64_MAX - wait_ns ? INT64_MAX : now_ns + wait_ns);
}

/* ---- interrupts */

static void timer_line(struct hpet *d, unsigned n, bool level)
{
    const struct irq_line *gsi = &d->wiring.gsi;
    unsigned route = (d->s.timer[n].config & TN_ROUTE) >> TN_ROUTE_SHIFT;

    if ((d->s.config & CONFIG_LEGACY) && n < 2) {
        irq_set(&d->dev.env->isa_irq[n == 0 ? 0 : 8], level);
    } else if (gsi->set && route < 24 && (TN_ROUTES >> route & 1)) {
        gsi->set(gsi->opaque, (int)route, level);
    }
}

static void timer_interrupt(struct hpet *d, unsigned n)
{
    if (!(d->s.timer[n].config & TN_LEVEL)) {
        timer_line(d, n, true);
        timer_line(d, n, false);
    } else {
        d->s.status |= (uint8_t)(1u << n);
        timer_line(d, n, true);
    }
}

static void status_clear(struct hpet *d, uint8_t bits)
{
    for (unsigned n = 0; n < N_TIMERS; n++) {
        if (d->s.status & bits & (1u << n)) {
            timer_line(d, n, false);
        }
    }
    d->s.status &= (uint8_t)~bits;
}

static void timer_expired(void *opaque)
{
    struct hpet_timer *timer = opaque;
    struct hpet *d = timer->hpet;
    struct hpet_timer_state *t = &d->s.timer[timer->n];
    uint64_t counter = hpet_counter(d);

    if (!hpet_enabled(d) || !(t->config & TN_ENABLE) || !t->armed) {
        return;
    }
    if (ticks_left(t, counter)) {
        timer_plan(d, timer->n, 0);
        return;
    }
    t->armed = (t->config & TN_PERIODIC) && t->period;
    if (t->armed) {
        uint64_t late = t->config & TN_32BIT ? (uint32_t)counter - (uint32_t)t->comparator
                                             : counter - t->comparator;

        t->comparator += (late / t->period + 1) * t->period;
        if (t->config & TN_32BIT) {
            t->comparator = (uint32_t)t->comparator;
        }
    }
    timer_plan(d, timer->n, MIN_INTERVAL_NS);
    timer_interrupt(d, timer->n);
}

/* ---- registers */

static uint64_t hpet_read64(struct hpet *d, unsigned offset)
{
    unsigned n = (offset - HPET_TIMER0) / 0x20;

    switch (offset) {
    case HPET_CAPS:
        return CAPS;
    case HPET_CONFIG:
        return d->s.config;
    case HPET_STATUS:
        return d->s.status;
    case HPET_COUNTER:
        return hpet_counter(d);
    default:
        break;
    }
    if (offset < HPET_TIMER0 || n >= N_TIMERS) {
        return 0;
    }
    switch (offset & 0x1f) {
    case 0x00:
        return TN_ROUTES << 32 | TN_PERIODIC_CAP | TN_64BIT_CAP | d->s.timer[n].config;
    case 0x08:
        return d->s.timer[n].comparator;
    default:
        return 0;
    }
}

static uint64_t hpet_read(void *opaque, gpa_t offset, unsigned size)
{
    return hpet_read64(opaque, (unsigned)offset & ~7u) >> (8 * (offset & 4));
}

static void write_config(struct hpet *d, uint8_t value)
{
    uint8_t changed = d->s.config ^ value;

    if (changed & CONFIG_ENABLE) {
        if (value & CONFIG_ENABLE) {
            d->s.start_ns = vclock_now(d->dev.env->clock) - (int64_t)(d->s.counter * TICK_NS);
        } else {
            d->s.counter = hpet_counter(d);
        }
    }
    if (changed & CONFIG_LEGACY) {
        status_clear(d, 0xff); /* through the old wiring */
    }
    d->s.config = value & (CONFIG_ENABLE | CONFIG_LEGACY);
    if ((changed & CONFIG_LEGACY) && d->wiring.legacy) {
        d->wiring.legacy(d->wiring.legacy_opaque, value & CONFIG_LEGACY);
    }
    for (unsigned n = 0; n < N_TIMERS; n++) {
        timer_plan(d, n, 0);
    }
}

static void write_timer_config(struct hpet *d, unsigned n, uint32_t value)
{
    struct hpet_timer_state *t = &d->s.timer[n];

    if ((t->config ^ value) & (TN_ROUTE | TN_LEVEL | TN_ENABLE)) {
        status_clear(d, (uint8_t)(1u << n));
    }
    t->config = value & TN_WRITABLE;
    if (t->config & TN_32BIT) {
        t->comparator = (uint32_t)t->comparator;
        t->period = (uint32_t)t->period;
    }
    timer_plan(d, n, 0);
}

/* `mask` says which bits of value were written. */
static void write_comparator(struct hpet *d, unsigned n, uint64_t value, uint64_t mask)
{
    struct hpet_timer_state *t = &d->s.timer[n];

    if (t->config & TN_32BIT) {
        mask &= UINT32_MAX;
        if (!mask) {
            return;
        }
    }
    if (!(t->config & TN_PERIODIC) || (t->config & TN_SET_VALUE)) {
        t->comparator = (t->comparator & ~mask) | (value & mask);
    }
    if (t->config & TN_PERIODIC) {
        t->period = (t->period & ~mask) | (value & mask);
    }
    t->config &= ~TN_SET_VALUE; /* each half has to be announced */
    t->armed = true;
    timer_plan(d, n, 0);
}

static void hpet_write_masked(struct hpet *d, unsigned offset, uint64_t value, uint64_t mask)
{
    unsigned n = (offset - HPET_TIMER0) / 0x20;

    switch (offset) {
    case HPET_CONFIG:
        if (mask & 0xff) {
            write_config(d, (uint8_t)value);
        }
        return;
    case HPET_STATUS:
        status_clear(d, (uint8_t)(value & mask));
        return;
    case HPET_COUNTER:
        if (!hpet_enabled(d)) {
            /* Kept small enough for signed nanoseconds; it would take a century to get there. */
            d->s.counter = ((d->s.counter & ~mask) | (value & mask)) & (UINT64_MAX >> 6);
        }
        return;
    default:
        break;
    }
    if (offset < HPET_TIMER0 || n >= N_TIMERS) {
        return;
    }
    if ((offset & 0x1f) == 0x00 && (mask & UINT32_MAX)) {
        write_timer_config(d, n, (uint32_t)value);
    } else if ((offset & 0x1f) == 0x08) {
        write_comparator(d, n, value, mask);
    }
}

static void hpet_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    unsigned shift = 8 * (offset & 4);
    uint64_t mask = size == 8 ? UINT64_MAX : (uint64_t)UINT32_MAX << shift;

    hpet_write_masked(opaque, (unsigned)offset & ~7u, value << shift, mask);
}

static const struct region_ops hpet_ops = {
    .read = hpet_read, .write = hpet_write, .min_size = 4, .max_size = 8};

/* ---- class */

static bool hpet_realize(struct device *dev, GError **error)
{
    struct hpet *d = (struct hpet *)dev;

    for (unsigned n = 0; n < N_TIMERS; n++) {
        d->timer[n].hpet = d;
        d->timer[n].n = n;
        vtimer_init(&d->timer[n].timer, dev->env->clock, timer_expired, &d->timer[n]);
    }
    d->region = (struct region){
        .name = "hpet", .kind = REGION_IO, .size = 0x400, .ops = &hpet_ops, .opaque = d};
    address_space_map(dev->env->mem, HPET_ADDR, &d->region, 0);
    return true;
}

static void hpet_unrealize(struct device *dev)
{
    struct hpet *d = (struct hpet *)dev;

    address_space_unmap(dev->env->mem, &d->region);
    for (unsigned n = 0; n < N_TIMERS; n++) {
        vtimer_cancel(&d->timer[n].timer);
    }
}

static void hpet_reset(struct device *dev, enum reset_kind kind)
{
    struct hpet *d = (struct hpet *)dev;
    bool legacy = d->s.config & CONFIG_LEGACY;

    status_clear(d, 0xff);
    memset(&d->s, 0, sizeof(d->s));
    for (unsigned n = 0; n < N_TIMERS; n++) {
        d->s.timer[n].comparator = UINT64_MAX;
        vtimer_cancel(&d->timer[n].timer);
    }
    if (legacy && d->wiring.legacy) {
        d->wiring.legacy(d->wiring.legacy_opaque, false);
    }
}

static bool hpet_post_load(struct device *dev, GError **error)
{
    struct hpet *d = (struct hpet *)dev;
    int64_t now_ns = vclock_now(dev->env->clock);

    if (hpet_enabled(d) && (d->s.start_ns > now_ns || d->s.start_ns < INT64_MIN / 2)) {
        g_set_error(error, DEVICE_ERROR, 0, "hpet: start_ns lies in the future");
        return false;
    }
    if (d->wiring.legacy) {
        d->wiring.legacy(d->wiring.legacy_opaque, d->s.config & CONFIG_LEGACY);
    }
    for (unsigned n = 0; n < N_TIMERS; n++) {
        timer_plan(d, n, 0);
    }
    return true;
}

const struct device_class hpet_class = {
    .name = "hpet",
    .help = "high precision event timer",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct hpet),
    .state = &hpet_desc,
    .state_offset = offsetof(struct hpet, s),
    .realize = hpet_realize,
    .unrealize = hpet_unrealize,
    .reset = hpet_reset,
    .post_load = hpet_post_load,
};

struct device *hpet_create(struct device_env *env, const struct hpet_wiring *wiring, GError **error)
{
    struct device *dev = device_new(&hpet_class, env);

    ((struct hpet *)dev)->wiring = *wiring;
    return device_realize(dev, error) ? dev : NULL;
}
