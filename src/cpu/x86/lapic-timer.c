/*
 * The local APIC's timer: Intel SDM volume 3, section 11.5.4. It counts at the TSC's rate (leaf
 * 15H's crystal), divided.
 *
 * Its fields are under a mutex: the callback runs on the main thread.
 *
 * A deadline that is near is not worth two threads' waking up: the vCPU looks for it itself, at
 * every block of code (VCPU_REQ_TIMER stays set so long) or, in a HLT, all the time.
 */
#include "cpu/x86/lapic-priv.h"

#include "base/relax.h"

#define MIN_PERIOD_NS                                                                              \
    20000 /* a periodic timer faster than this is held back: the host has to live */

#define NEAR_NS 10000 /* the vCPU watches for what is due within this time */

static unsigned divider(uint32_t reg)
{
    unsigned code = (reg & 3) | (reg >> 1 & 4);

    return code == 7 ? 1 : 2u << code;
}

static int64_t ticks_to_ns(const struct lapic *apic, uint64_t ticks)
{
    return (int64_t)muldiv64(ticks, 1000000, apic->bus->cpus->tsc_khz);
}

static bool is_near(const struct lapic *apic, int64_t deadline_ns)
{
    struct vclock *clock = apic->bus->cpus->clock;

    return deadline_ns >= 0 && deadline_ns - vclock_now(clock) < NEAR_NS &&
           vclock_timers_fire(clock);
}

static void timer_arm(struct lapic *apic, int64_t deadline_ns)
{
    apic->timer_deadline_ns = deadline_ns;
    apic->timer_watched = is_near(apic, deadline_ns);
    if (apic->timer_watched) {
        vcpu_request(apic->vcpu, VCPU_REQ_TIMER);
    }
    if (deadline_ns < 0 || apic->timer_watched) {
        vtimer_cancel(&apic->timer);
    } else {
        vtimer_set(&apic->timer, deadline_ns);
    }
}

static int64_t timer_period_ns(const struct lapic *apic)
{
    return ticks_to_ns(apic, (uint64_t)apic->timer_initial * divider(apic->timer_divide));
}

/* Mutex held: true when the deadline has passed; the timer is then idle or set to its next one. */
static bool timer_take_expiry(struct lapic *apic)
{
    int64_t now = vclock_now(apic->bus->cpus->clock);
    bool fire = apic->timer_deadline_ns >= 0 && apic->timer_deadline_ns <= now;

    if (fire && LVT_TIMER_MODE(atomic_load(&apic->lvt[LVT_TIMER])) == TIMER_PERIODIC) {
        int64_t period = timer_period_ns(apic), next = apic->timer_deadline_ns + period;

        if (next <= now) { /* late: periods that passed are lost, the count keeps step */
            next += ((now - next) / MAX(period, 1) + 1) * period;
        }
        timer_arm(apic, period < MIN_PERIOD_NS ? now + MIN_PERIOD_NS : next);
    } else if (fire) {
        apic->timer_deadline_ns = -1;
        apic->timer_watched = false;
        apic->tsc_deadline = 0;
    }
    return fire;
}

/* Whether it is worth looking again at once. */
static bool timer_look(struct lapic *apic)
{
    bool can_fire = vclock_timers_fire(apic->bus->cpus->clock), fire, watched;

    g_mutex_lock(&apic->mutex);
    fire = can_fire && apic->timer_watched && timer_take_expiry(apic);
    watched = apic->timer_watched;
    if (!watched) {
        atomic_fetch_and(&apic->vcpu->req, ~(uint32_t)VCPU_REQ_TIMER);
    }
    g_mutex_unlock(&apic->mutex);
    if (fire) {
        lapic_lvt_fire(apic, LVT_TIMER);
    }
    return watched && can_fire;
}

void lapic_timer_watch(struct lapic *apic, bool wait)
{
    while (timer_look(apic) && wait && atomic_load(&apic->vcpu->req) == VCPU_REQ_TIMER) {
        cpu_relax();
    }
}

void lapic_timer_expired(void *opaque)
{
    struct lapic *apic = opaque;
    bool fire;

    g_mutex_lock(&apic->mutex);
    fire = timer_take_expiry(apic);
    g_mutex_unlock(&apic->mutex);
    if (fire) {
        lapic_lvt_fire(apic, LVT_TIMER);
    }
}

void lapic_timer_start(struct lapic *apic, uint32_t initial)
{
    int64_t now = vclock_now(apic->bus->cpus->clock);

    g_mutex_lock(&apic->mutex);
    if (LVT_TIMER_MODE(apic->lvt[LVT_TIMER]) != TIMER_TSC_DEADLINE) {
        apic->timer_initial = initial;
        timer_arm(apic, initial ? now + timer_period_ns(apic) : -1);
    }
    g_mutex_unlock(&apic->mutex);
}

uint32_t lapic_timer_current(struct lapic *apic)
{
    int64_t now = vclock_now(apic->bus->cpus->clock);
    uint64_t left = 0;

    g_mutex_lock(&apic->mutex);
    if (apic->timer_deadline_ns > now &&
        LVT_TIMER_MODE(apic->lvt[LVT_TIMER]) != TIMER_TSC_DEADLINE) {
        left =
            muldiv64((uint64_t)(apic->timer_deadline_ns - now), apic->bus->cpus->tsc_khz, 1000000) /
            divider(apic->timer_divide);
        left = MIN(left, apic->timer_initial);
    }
    g_mutex_unlock(&apic->mutex);
    return (uint32_t)left;
}

/* A change of divisor takes effect on what is left. */
void lapic_timer_set_divide(struct lapic *apic, uint32_t value)
{
    uint32_t left = lapic_timer_current(apic);
    int64_t now = vclock_now(apic->bus->cpus->clock);

    g_mutex_lock(&apic->mutex);
    apic->timer_divide = value & 0xb;
    if (left) {
        timer_arm(apic, now + ticks_to_ns(apic, (uint64_t)left * divider(apic->timer_divide)));
    }
    g_mutex_unlock(&apic->mutex);
}

void lapic_timer_set_lvt(struct lapic *apic, uint32_t value)
{
    uint32_t old = apic->lvt[LVT_TIMER];
    bool fire;

    g_mutex_lock(&apic->mutex);
    fire = timer_take_expiry(apic); /* by the old mode, if the main thread has not got to it yet */
    apic->lvt[LVT_TIMER] = value;
    if ((LVT_TIMER_MODE(old) == TIMER_TSC_DEADLINE) !=
        (LVT_TIMER_MODE(value) == TIMER_TSC_DEADLINE)) {
        timer_arm(apic, -1); /* 11.5.4.1: switching to or from deadline mode disarms */
        apic->tsc_deadline = 0;
        apic->timer_initial = 0;
    }
    g_mutex_unlock(&apic->mutex);
    if (fire) {
        lapic_lvt_fire(apic, LVT_TIMER);
    }
}

uint64_t lapic_get_tsc_deadline(const struct lapic *apic)
{
    struct lapic *a = (struct lapic *)apic;
    uint64_t value;

    g_mutex_lock(&a->mutex);
    value = apic->tsc_deadline;
    g_mutex_unlock(&a->mutex);
    return value;
}

void lapic_set_tsc_deadline(struct lapic *apic, uint64_t tsc, int64_t deadline_ns)
{
    bool fire = false;

    g_mutex_lock(&apic->mutex);
    if (LVT_TIMER_MODE(apic->lvt[LVT_TIMER]) == TIMER_TSC_DEADLINE) {
        apic->tsc_deadline = tsc;
        apic->timer_deadline_ns = tsc ? MAX(deadline_ns, 0) : -1;
        fire = timer_take_expiry(apic); /* the past fires before the next instruction */
        timer_arm(apic, apic->timer_deadline_ns);
    }
    g_mutex_unlock(&apic->mutex);
    if (fire) {
        lapic_lvt_fire(apic, LVT_TIMER);
    }
}

void lapic_timer_reset(struct lapic *apic)
{
    g_mutex_lock(&apic->mutex);
    timer_arm(apic, -1);
    apic->timer_initial = 0;
    apic->timer_divide = 0;
    apic->tsc_deadline = 0;
    g_mutex_unlock(&apic->mutex);
}

void lapic_timer_load(struct lapic *apic, uint32_t divide, uint32_t initial, uint32_t current)
{
    int64_t now = vclock_now(apic->bus->cpus->clock);

    g_mutex_lock(&apic->mutex);
    apic->timer_divide = divide & 0xb;
    apic->timer_initial = initial;
    timer_arm(apic, current
                        ? now + ticks_to_ns(apic, (uint64_t)current * divider(apic->timer_divide))
                        : -1);
    g_mutex_unlock(&apic->mutex);
}

bool lapic_timer_is_due(struct lapic *apic)
{
    bool due;

    g_mutex_lock(&apic->mutex);
    due =
        apic->timer_deadline_ns >= 0 && LVT_TIMER_MODE(apic->lvt[LVT_TIMER]) != TIMER_TSC_DEADLINE;
    g_mutex_unlock(&apic->mutex);
    return due;
}
