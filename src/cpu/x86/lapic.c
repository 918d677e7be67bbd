/*
 * Local APIC: Intel SDM volume 3, chapter 11 (xAPIC and x2APIC).
 *
 * IRR, TMR and the destination registers are atomics: whoever delivers sets an IRR bit of the
 * target and requests VCPU_REQ_INTR; the target's thread compares IRR with its priority when it
 * looks. ISR, TPR, SVR and the LVT belong to the owner's thread. The timer's fields are under a
 * mutex, as its callback runs on the main thread.
 *
 * At power-on LINT0 of the boot CPU is set to ExtINT, unmasked, as firmware leaves it: machines
 * here start kernels with no firmware in between.
 *
 * Left out: focus processor checking, bus arbitration, APIC error interrupts for bus errors (send
 * and receive illegal vector are reported), ExtINT by message (the 8259 reaches LINT0 alone), the
 * thermal and performance counter sources (their LVT registers are storage), SMI delivery.
 */
#include "cpu/x86/lapic.h"

#include "base/log.h"
#include "cpu/x86/cpuid.h"
#include <string.h>

#define APIC_VERSION 0x00050014u /* integrated, 6 LVT entries */

enum { /* register offsets */
       REG_ID = 0x20,
       REG_VERSION = 0x30,
       REG_TPR = 0x80,
       REG_APR = 0x90,
       REG_PPR = 0xa0,
       REG_EOI = 0xb0,
       REG_LDR = 0xd0,
       REG_DFR = 0xe0,
       REG_SVR = 0xf0,
       REG_ISR = 0x100,
       REG_TMR = 0x180,
       REG_IRR = 0x200,
       REG_ESR = 0x280,
       REG_ICR_LOW = 0x300,
       REG_ICR_HIGH = 0x310,
       REG_LVT_TIMER = 0x320,
       REG_LVT_THERMAL = 0x330,
       REG_LVT_PMC = 0x340,
       REG_LVT_LINT0 = 0x350,
       REG_LVT_LINT1 = 0x360,
       REG_LVT_ERROR = 0x370,
       REG_TIMER_INITIAL = 0x380,
       REG_TIMER_CURRENT = 0x390,
       REG_TIMER_DIVIDE = 0x3e0,
       REG_SELF_IPI = 0x3f0, /* x2APIC only */
};

enum { LVT_TIMER, LVT_THERMAL, LVT_PMC, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

#define LVT_MASKED        (1u << 16)
#define LVT_LEVEL         (1u << 15)
#define LVT_REMOTE_IRR    (1u << 14)
#define LVT_PENDING       (1u << 12)
#define LVT_MODE(v)       ((v) >> 8 & 7)
#define LVT_TIMER_MODE(v) ((v) >> 17 & 3)

enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };
enum {
    MODE_FIXED,
    MODE_LOWEST,
    MODE_SMI,
    MODE_RESERVED,
    MODE_NMI,
    MODE_INIT,
    MODE_STARTUP,
    MODE_EXTINT
};

#define SVR_ENABLE       (1u << 8)
#define SVR_NO_EOI_CAST  (1u << 12)

#define ESR_SEND_ILLEGAL (1u << 5)
#define ESR_RECV_ILLEGAL (1u << 6)
#define ESR_ILLEGAL_REG  (1u << 7)

#define MIN_PERIOD_NS                                                                              \
    20000 /* a periodic timer faster than this is held back: the host has to live */

struct lapic {
    struct lapic_bus *bus;
    struct vcpu *vcpu;
    uint32_t id; /* x2APIC id */

    _Atomic uint32_t irr[8], tmr[8];
    _Atomic uint32_t xapic_id, ldr, dfr, svr;
    _Atomic uint64_t base;
    _Atomic uint32_t lvt[LVT_COUNT];
    _Atomic uint32_t esr_pending;

    /* the owner's thread */
    uint32_t isr[8];
    uint32_t tpr, esr, icr_low, icr_high;

    GMutex mutex; /* the timer */
    struct vtimer timer;
    uint32_t timer_initial, timer_divide;
    int64_t timer_start_ns, timer_deadline_ns; /* deadline -1: idle */
    uint64_t tsc_deadline;
};

struct lapic_bus {
    struct cpus *cpus;
    _Atomic bool extint;
    struct lapic *apic[]; /* by vCPU index */
};

struct lapic_bus *lapic_bus_new(struct cpus *cpus)
{
    struct lapic_bus *bus = g_malloc0(sizeof(*bus) + cpus->max * sizeof(bus->apic[0]));

    bus->cpus = cpus;
    return bus;
}

void lapic_bus_free(struct lapic_bus *bus)
{
    g_free(bus);
}

static bool in_x2apic(const struct lapic *apic)
{
    return (apic->base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) ==
           (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
}

/* ---- vectors in 256-bit registers */

static int highest_bit(const uint32_t word[8])
{
    for (int i = 7; i >= 0; i--) {
        if (word[i]) {
            return i * 32 + 31 - __builtin_clz(word[i]);
        }
    }
    return -1;
}

static int highest_irr(const struct lapic *apic)
{
    for (int i = 7; i >= 0; i--) {
        uint32_t v = atomic_load_explicit(&apic->irr[i], memory_order_acquire);

        if (v) {
            return i * 32 + 31 - __builtin_clz(v);
        }
    }
    return -1;
}

/* Processor priority: the higher of the task's and the highest in-service vector's class. */
static uint32_t processor_priority(const struct lapic *apic)
{
    int isr = highest_bit(apic->isr);
    uint32_t in_service = isr < 0 ? 0 : (uint32_t)isr & 0xf0;

    return (apic->tpr & 0xf0) >= in_service ? apic->tpr & 0xff : in_service;
}

/* ---- accepting */

static void report_error(struct lapic *apic, uint32_t bit);

/* Any thread. */
static void accept_vector(struct lapic *apic, uint8_t vector, bool level)
{
    uint32_t bit = 1u << (vector & 31);

    if (vector < 16) {
        report_error(apic, ESR_RECV_ILLEGAL);
        return;
    }
    if (level) {
        atomic_fetch_or(&apic->tmr[vector >> 5], bit);
    } else {
        atomic_fetch_and(&apic->tmr[vector >> 5], ~bit);
    }
    atomic_fetch_or(&apic->irr[vector >> 5], bit);
    vcpu_request(apic->vcpu, VCPU_REQ_INTR);
}

static void accept(struct lapic *apic, unsigned mode, uint8_t vector, bool level)
{
    switch (mode) {
    case MODE_FIXED:
    case MODE_LOWEST:
        if (atomic_load(&apic->svr) & SVR_ENABLE) {
            accept_vector(apic, vector, level);
        }
        break;
    case MODE_NMI:
        vcpu_nmi(apic->vcpu);
        break;
    case MODE_INIT:
        vcpu_request(apic->vcpu, VCPU_REQ_INIT);
        break;
    case MODE_STARTUP:
        atomic_store(&apic->vcpu->sipi_vector, vector);
        vcpu_request(apic->vcpu, VCPU_REQ_SIPI);
        break;
    default:
        break;
    }
}

/* A local source: LVT entry i fires. Any thread. */
static void lvt_fire(struct lapic *apic, unsigned i)
{
    uint32_t lvt = atomic_load(&apic->lvt[i]);

    if (!(lvt & LVT_MASKED)) {
        /* Mode bits of the timer and error entries are reserved: fixed. */
        accept(apic, i == LVT_TIMER || i == LVT_ERROR ? MODE_FIXED : LVT_MODE(lvt), lvt & 0xff,
               false);
    }
}

static void report_error(struct lapic *apic, uint32_t bit)
{
    uint32_t lvt = atomic_load(&apic->lvt[LVT_ERROR]);

    atomic_fetch_or(&apic->esr_pending, bit);
    if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16) {
        lvt_fire(apic, LVT_ERROR);
    }
}

/* ---- destinations */

static bool matches_physical(const struct lapic *apic, uint32_t dest, bool wide)
{
    if (wide) {
        return dest == 0xffffffff || dest == apic->id;
    }
    return dest == 0xff || dest == (in_x2apic(apic) ? apic->id : apic->xapic_id >> 24);
}

static bool matches_logical(const struct lapic *apic, uint32_t dest, bool wide)
{
    uint32_t ldr = atomic_load(&apic->ldr);

    if (in_x2apic(apic)) {
        /* Cluster in the upper half, one bit per member in the lower. */
        if (!wide) {
            return dest == 0xff || (dest & ldr & 0xffff);
        }
        return dest == 0xffffffff || (dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff));
    }
    if (wide) {
        dest &= 0xff;
    }
    ldr >>= 24;
    if (atomic_load(&apic->dfr) >> 28 == 0xf) {
        return dest == 0xff || (dest & ldr);
    }
    return dest == 0xff || ((dest >> 4 == ldr >> 4 || dest >> 4 == 0xf) && (dest & ldr & 0xf));
}

static bool matches(const struct lapic *apic, uint32_t dest, bool logical, bool wide)
{
    if (!(atomic_load(&apic->base) & APIC_BASE_ENABLE)) {
        return false;
    }
    return logical ? matches_logical(apic, dest, wide) : matches_physical(apic, dest, wide);
}

/* Lowest priority: the addressed APIC with the lowest task priority; ties go to a rotating start
 * that depends on the vector, so that interrupts spread. */
static void deliver_lowest(struct lapic_bus *bus, uint32_t dest, bool logical, bool wide,
                           uint8_t vector, bool level)
{
    struct lapic *best = NULL;
    unsigned n = bus->cpus->n;

    for (unsigned k = 0; k < n; k++) {
        struct lapic *apic = bus->apic[(k + vector) % n];

        if (apic && matches(apic, dest, logical, wide) && (atomic_load(&apic->svr) & SVR_ENABLE) &&
            (!best || __atomic_load_n(&apic->tpr, __ATOMIC_RELAXED) <
                          __atomic_load_n(&best->tpr, __ATOMIC_RELAXED))) {
            best = apic;
        }
    }
    if (best) {
        accept_vector(best, vector, level);
    }
}

static void deliver(struct lapic_bus *bus, uint32_t dest, bool logical, bool wide, unsigned mode,
                    uint8_t vector, bool level)
{
    if (mode == MODE_LOWEST) {
        deliver_lowest(bus, dest, logical, wide, vector, level);
        return;
    }
    for (unsigned i = 0; i < bus->cpus->n; i++) {
        struct lapic *apic = bus->apic[i];

        if (apic && matches(apic, dest, logical, wide)) {
            accept(apic, mode, vector, level);
        }
    }
}

void lapic_bus_msi(struct lapic_bus *bus, gpa_t addr, uint32_t data)
{
    uint32_t dest = addr >> 12 & 0xff;
    bool logical = addr & 4, hint = addr & 8;
    unsigned mode = data >> 8 & 7;

    if (hint && logical && mode == MODE_FIXED) {
        mode = MODE_LOWEST;
    }
    deliver(bus, dest, logical, false, mode, data & 0xff, data & LVT_LEVEL);
}

void lapic_bus_extint(struct lapic_bus *bus, bool level)
{
    atomic_store(&bus->extint, level);
    for (unsigned i = 0; level && i < bus->cpus->n; i++) {
        struct lapic *apic = bus->apic[i];

        if (apic && lapic_has_interrupt(apic)) {
            vcpu_request(apic->vcpu, VCPU_REQ_INTR);
        }
    }
}

/* An APIC that is switched off passes its pin on to the CPU. */
void lapic_bus_lint1(struct lapic_bus *bus)
{
    for (unsigned i = 0; i < bus->cpus->n; i++) {
        struct lapic *apic = bus->apic[i];

        if (apic && atomic_load(&apic->base) & APIC_BASE_ENABLE) {
            lvt_fire(apic, LVT_LINT1);
        } else if (apic) {
            vcpu_nmi(apic->vcpu);
        }
    }
}

/* ---- interprocessor interrupts */

static void send_ipi(struct lapic *apic, uint32_t low, uint32_t dest)
{
    struct lapic_bus *bus = apic->bus;
    unsigned mode = low >> 8 & 7, shorthand = low >> 18 & 3;
    uint8_t vector = low & 0xff;
    bool logical = low & (1u << 11);

    if (mode == MODE_INIT && (low & (1u << 15)) && !(low & (1u << 14))) {
        return; /* INIT level de-assert: only old APICs knew it */
    }
    if ((mode == MODE_FIXED || mode == MODE_LOWEST) && vector < 16) {
        report_error(apic, ESR_SEND_ILLEGAL);
        return;
    }
    switch (shorthand) {
    case 0:
        deliver(bus, dest, logical, in_x2apic(apic), mode, vector, false);
        break;
    case 1:
        accept(apic, mode, vector, false);
        break;
    default:
        for (unsigned i = 0; i < bus->cpus->n; i++) {
            struct lapic *other = bus->apic[i];

            if (other && (shorthand == 2 || other != apic) &&
                (atomic_load(&other->base) & APIC_BASE_ENABLE)) {
                accept(other, mode, vector, false);
            }
        }
        break;
    }
}

/* ---- the timer; it counts at the TSC's rate (leaf 15H's crystal), divided */

static unsigned divider(uint32_t reg)
{
    unsigned code = (reg & 3) | (reg >> 1 & 4);

    return code == 7 ? 1 : 2u << code;
}

static int64_t ticks_to_ns(const struct lapic *apic, uint64_t ticks)
{
    return (int64_t)muldiv64(ticks, 1000000, apic->bus->cpus->tsc_khz);
}

static void timer_arm(struct lapic *apic, int64_t deadline_ns)
{
    apic->timer_deadline_ns = deadline_ns;
    if (deadline_ns < 0) {
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

        if (next < now) {
            next = now + MAX(period, MIN_PERIOD_NS); /* late: periods that passed are lost */
        }
        apic->timer_start_ns = next - period;
        timer_arm(apic, MAX(next, now + MIN(period, MIN_PERIOD_NS)));
    } else if (fire) {
        apic->timer_deadline_ns = -1;
        apic->tsc_deadline = 0;
    }
    return fire;
}

/* Main thread. */
static void timer_expired(void *opaque)
{
    struct lapic *apic = opaque;
    bool fire;

    g_mutex_lock(&apic->mutex);
    fire = timer_take_expiry(apic);
    g_mutex_unlock(&apic->mutex);
    if (fire) {
        lvt_fire(apic, LVT_TIMER);
    }
}

static void timer_start(struct lapic *apic, uint32_t initial)
{
    int64_t now = vclock_now(apic->bus->cpus->clock);

    g_mutex_lock(&apic->mutex);
    if (LVT_TIMER_MODE(apic->lvt[LVT_TIMER]) != TIMER_TSC_DEADLINE) {
        apic->timer_initial = initial;
        apic->timer_start_ns = now;
        timer_arm(apic, initial ? now + timer_period_ns(apic) : -1);
    }
    g_mutex_unlock(&apic->mutex);
}

static uint32_t timer_current(struct lapic *apic)
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
static void timer_set_divide(struct lapic *apic, uint32_t value)
{
    uint32_t left = timer_current(apic);
    int64_t now = vclock_now(apic->bus->cpus->clock);

    g_mutex_lock(&apic->mutex);
    apic->timer_divide = value & 0xb;
    if (left) {
        timer_arm(apic, now + ticks_to_ns(apic, (uint64_t)left * divider(apic->timer_divide)));
    }
    g_mutex_unlock(&apic->mutex);
}

static void set_lvt_timer(struct lapic *apic, uint32_t value)
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
        lvt_fire(apic, LVT_TIMER);
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
        lvt_fire(apic, LVT_TIMER);
    }
}

/* ---- taking interrupts */

static bool accepts_extint(const struct lapic *apic)
{
    uint32_t lint0 = atomic_load(&apic->lvt[LVT_LINT0]);
    uint64_t base = atomic_load(&apic->base);

    if (!(base & APIC_BASE_ENABLE)) {
        return base & APIC_BASE_BSP;
    }
    return !(lint0 & LVT_MASKED) && LVT_MODE(lint0) == MODE_EXTINT;
}

bool lapic_has_interrupt(const struct lapic *apic)
{
    int irr = highest_irr(apic);

    if (irr >= 0 && ((uint32_t)irr & 0xf0) > (processor_priority(apic) & 0xf0)) {
        return true;
    }
    return atomic_load(&apic->bus->extint) && accepts_extint(apic);
}

static int take_extint(struct lapic *apic)
{
    struct cpus *cpus = apic->bus->cpus;
    int vector;

    vcpu_lock_machine(apic->vcpu);
    vector = atomic_load(&apic->bus->extint) && cpus->hooks->pic_ack
                 ? cpus->hooks->pic_ack(cpus->hooks_opaque)
                 : -1;
    vcpu_unlock_machine(apic->vcpu);
    return vector;
}

int lapic_take_interrupt(struct lapic *apic)
{
    int irr;

    if (atomic_load(&apic->bus->extint) && accepts_extint(apic)) {
        int vector = take_extint(apic);

        if (vector >= 0) {
            return vector;
        }
    }
    irr = highest_irr(apic);
    if (irr < 0 || ((uint32_t)irr & 0xf0) <= (processor_priority(apic) & 0xf0)) {
        return -1;
    }
    atomic_fetch_and(&apic->irr[irr >> 5], ~(1u << (irr & 31)));
    apic->isr[irr >> 5] |= 1u << (irr & 31);
    return irr;
}

/* After priority was lowered or an interrupt retired: what waits may be deliverable now. */
static void recheck(struct lapic *apic)
{
    if (lapic_has_interrupt(apic)) {
        vcpu_request(apic->vcpu, VCPU_REQ_INTR);
    }
}

static void end_of_interrupt(struct lapic *apic)
{
    struct cpus *cpus = apic->bus->cpus;
    int vector = highest_bit(apic->isr);

    if (vector < 0) {
        return;
    }
    apic->isr[vector >> 5] &= ~(1u << (vector & 31));
    if ((atomic_load(&apic->tmr[vector >> 5]) >> (vector & 31) & 1) &&
        !(apic->svr & SVR_NO_EOI_CAST) && cpus->hooks->eoi) {
        vcpu_lock_machine(apic->vcpu);
        cpus->hooks->eoi(cpus->hooks_opaque, (uint8_t)vector);
        vcpu_unlock_machine(apic->vcpu);
    }
    recheck(apic);
}

uint8_t lapic_get_cr8(const struct lapic *apic)
{
    return apic->tpr >> 4 & 15;
}

static void set_tpr(struct lapic *apic, uint32_t tpr)
{
    __atomic_store_n(&apic->tpr, tpr & 0xff, __ATOMIC_RELAXED);
    recheck(apic);
}

void lapic_set_cr8(struct lapic *apic, uint8_t cr8)
{
    set_tpr(apic, (uint32_t)(cr8 & 15) << 4);
}

/* ---- registers */

static uint32_t lvt_writable(unsigned i)
{
    switch (i) {
    case LVT_TIMER:
        return 0x700ff;
    case LVT_LINT0:
    case LVT_LINT1:
        return 0x1a7ff;
    case LVT_ERROR:
        return 0x100ff;
    default:
        return 0x107ff;
    }
}

static void write_lvt(struct lapic *apic, unsigned i, uint32_t value)
{
    value &= lvt_writable(i);
    if (!(apic->svr & SVR_ENABLE)) {
        value |= LVT_MASKED;
    }
    if (i == LVT_TIMER) {
        set_lvt_timer(apic, value);
    } else {
        apic->lvt[i] = value;
    }
    if (i == LVT_LINT0) {
        recheck(apic);
    }
}

static void write_svr(struct lapic *apic, uint32_t value)
{
    apic->svr = value & 0x1ff; /* EOI broadcast suppression is not offered (version bit 24 is 0) */
    if (!(value & SVR_ENABLE)) {
        for (unsigned i = 0; i < LVT_COUNT; i++) {
            write_lvt(apic, i, apic->lvt[i] | LVT_MASKED);
        }
    }
}

static uint32_t read_register(struct lapic *apic, unsigned reg)
{
    switch (reg) {
    case REG_ID:
        return in_x2apic(apic) ? apic->id : (uint32_t)apic->xapic_id;
    case REG_VERSION:
        return APIC_VERSION;
    case REG_TPR:
        return apic->tpr;
    case REG_PPR:
        return processor_priority(apic);
    case REG_LDR:
        return apic->ldr;
    case REG_DFR:
        return apic->dfr;
    case REG_SVR:
        return apic->svr;
    case REG_ESR:
        return apic->esr;
    case REG_ICR_LOW:
        return apic->icr_low;
    case REG_ICR_HIGH:
        return apic->icr_high;
    case REG_TIMER_INITIAL:
        return apic->timer_initial;
    case REG_TIMER_CURRENT:
        return timer_current(apic);
    case REG_TIMER_DIVIDE:
        return apic->timer_divide;
    default:
        break;
    }
    if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR) {
        return apic->lvt[(reg - REG_LVT_TIMER) >> 4];
    }
    if (reg >= REG_ISR && reg < REG_ISR + 0x80) {
        return apic->isr[(reg - REG_ISR) >> 4];
    }
    if (reg >= REG_TMR && reg < REG_TMR + 0x80) {
        return apic->tmr[(reg - REG_TMR) >> 4];
    }
    if (reg >= REG_IRR && reg < REG_IRR + 0x80) {
        return apic->irr[(reg - REG_IRR) >> 4];
    }
    return 0;
}

static void write_register(struct lapic *apic, unsigned reg, uint32_t value)
{
    switch (reg) {
    case REG_TPR:
        set_tpr(apic, value);
        break;
    case REG_EOI:
        end_of_interrupt(apic);
        break;
    case REG_SVR:
        write_svr(apic, value);
        break;
    case REG_ESR:
        apic->esr = atomic_exchange(&apic->esr_pending, 0);
        break;
    case REG_ICR_LOW:
        apic->icr_low = value & ~LVT_PENDING & 0xccfff;
        send_ipi(apic, value, apic->icr_high >> 24);
        break;
    case REG_TIMER_INITIAL:
        timer_start(apic, value);
        break;
    case REG_TIMER_DIVIDE:
        timer_set_divide(apic, value);
        break;
    default:
        if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR) {
            write_lvt(apic, (reg - REG_LVT_TIMER) >> 4, value);
        }
        break;
    }
}

uint32_t lapic_read(struct lapic *apic, unsigned offset)
{
    return offset & 15 ? 0 : read_register(apic, offset);
}

void lapic_write(struct lapic *apic, unsigned offset, uint32_t value)
{
    if (offset & 15) {
        return;
    }
    switch (
        offset) { /* registers that only the memory-mapped form can write, or writes its own way */
    case REG_ID:
        apic->xapic_id = value & 0xff000000;
        break;
    case REG_LDR:
        apic->ldr = value & 0xff000000;
        break;
    case REG_DFR:
        apic->dfr = value | 0x0fffffff;
        break;
    case REG_ICR_HIGH:
        apic->icr_high = value & 0xff000000;
        break;
    default:
        write_register(apic, offset, value);
        break;
    }
}

/* ---- x2APIC: 11.12.1.2. Offsets are (msr - 800H) * 16. */

static bool x2apic_readable(unsigned reg)
{
    return reg == REG_ID || reg == REG_VERSION || reg == REG_TPR || reg == REG_PPR ||
           reg == REG_LDR || reg == REG_SVR || (reg >= REG_ISR && reg <= REG_ESR) ||
           reg == REG_ICR_LOW || (reg >= REG_LVT_TIMER && reg <= REG_TIMER_CURRENT) ||
           reg == REG_TIMER_DIVIDE;
}

bool lapic_msr_read(struct lapic *apic, uint32_t msr, uint64_t *value)
{
    unsigned reg = (msr - 0x800) * 16;

    if (!in_x2apic(apic) || !x2apic_readable(reg)) {
        return false;
    }
    *value = read_register(apic, reg);
    if (reg == REG_ICR_LOW) {
        *value |= (uint64_t)apic->icr_high << 32;
    }
    return true;
}

/* Bits that may be set in a write; UINT64_MAX means the register is not writable. */
static uint64_t x2apic_writable(unsigned reg)
{
    switch (reg) {
    case REG_TPR:
        return 0xff;
    case REG_EOI:
    case REG_ESR:
        return 0;
    case REG_SVR:
        return 0x3ff;
    case REG_ICR_LOW:
        return 0xffffffff000ccfff;
    case REG_TIMER_INITIAL:
        return 0xffffffff;
    case REG_TIMER_DIVIDE:
        return 0xb;
    case REG_SELF_IPI:
        return 0xff;
    default:
        if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR) {
            return lvt_writable((reg - REG_LVT_TIMER) >> 4) | LVT_PENDING | LVT_REMOTE_IRR;
        }
        return UINT64_MAX;
    }
}

bool lapic_msr_write(struct lapic *apic, uint32_t msr, uint64_t value)
{
    unsigned reg = (msr - 0x800) * 16;
    uint64_t allowed = x2apic_writable(reg);

    if (!in_x2apic(apic) || allowed == UINT64_MAX || (value & ~allowed)) {
        return false;
    }
    switch (reg) {
    case REG_ICR_LOW:
        apic->icr_low = (uint32_t)value & ~LVT_PENDING;
        apic->icr_high = (uint32_t)(value >> 32);
        send_ipi(apic, apic->icr_low, apic->icr_high);
        break;
    case REG_SELF_IPI:
        send_ipi(apic, (uint32_t)value | 1u << 18, 0);
        break;
    default:
        write_register(apic, reg, (uint32_t)value);
        break;
    }
    return true;
}

/* ---- base register */

uint64_t lapic_get_base(const struct lapic *apic)
{
    return atomic_load(&apic->base);
}

bool lapic_claims(const struct lapic *apic, gpa_t page)
{
    uint64_t base = atomic_load(&apic->base);

    return (base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE &&
           (base & GUEST_PAGE_MASK) == page;
}

static void enter_x2apic(struct lapic *apic)
{
    apic->ldr = (apic->id >> 4) << 16 | 1u << (apic->id & 15);
    apic->icr_high = 0;
}

/* What turning the APIC off in the base register leaves: registers as after reset. */
static void reset_registers(struct lapic *apic, bool power_on)
{
    for (unsigned i = 0; i < 8; i++) {
        apic->irr[i] = 0;
        apic->tmr[i] = 0;
        apic->isr[i] = 0;
    }
    for (unsigned i = 0; i < LVT_COUNT; i++) {
        apic->lvt[i] = LVT_MASKED;
    }
    if (power_on && apic->vcpu->index == 0) {
        apic->lvt[LVT_LINT0] = MODE_EXTINT << 8;
    }
    if (power_on) {
        apic->lvt[LVT_LINT1] = MODE_NMI << 8; /* as firmware leaves it on all */
    }
    apic->tpr = 0;
    apic->svr = 0xff;
    apic->ldr = 0;
    apic->dfr = 0xffffffff;
    apic->esr = 0;
    apic->esr_pending = 0;
    apic->icr_low = 0;
    apic->icr_high = 0;
    g_mutex_lock(&apic->mutex);
    timer_arm(apic, -1);
    apic->timer_initial = 0;
    apic->timer_divide = 0;
    apic->tsc_deadline = 0;
    g_mutex_unlock(&apic->mutex);
}

bool lapic_set_base(struct lapic *apic, uint64_t value)
{
    const struct cpu_model *model = apic->bus->cpus->model;
    uint64_t old = apic->base, flags = APIC_BASE_BSP | APIC_BASE_ENABLE;
    uint64_t address = ((1ull << model->phys_bits) - 1) & GUEST_PAGE_MASK;
    bool was_x2 = (old & APIC_BASE_X2APIC) != 0, now_x2 = (value & APIC_BASE_X2APIC) != 0;
    bool was_on = (old & APIC_BASE_ENABLE) != 0, now_on = (value & APIC_BASE_ENABLE) != 0;

    if (cpu_model_has(model, F_X2APIC)) {
        flags |= APIC_BASE_X2APIC;
    }
    if ((value & ~(flags | address)) || (now_x2 && !now_on) || (was_x2 && now_on && !now_x2) ||
        (!was_on && now_x2)) {
        return false;
    }
    apic->base = value;
    if (was_on && !now_on) {
        reset_registers(apic, false);
        apic->xapic_id = apic->id << 24;
    } else if (!was_x2 && now_x2) {
        enter_x2apic(apic);
    }
    return true;
}

void lapic_reset(struct lapic *apic, bool init)
{
    if (!init) {
        apic->base =
            APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (apic->vcpu->index == 0 ? APIC_BASE_BSP : 0);
        apic->xapic_id = apic->id << 24;
    }
    reset_registers(apic, !init);
    if (in_x2apic(apic)) {
        enter_x2apic(apic);
    }
}

struct lapic *lapic_new(struct lapic_bus *bus, struct vcpu *vcpu)
{
    struct lapic *apic = g_new0(struct lapic, 1);

    apic->bus = bus;
    apic->vcpu = vcpu;
    apic->id = vcpu->apic_id;
    g_mutex_init(&apic->mutex);
    vtimer_init(&apic->timer, bus->cpus->clock, timer_expired, apic);
    bus->apic[vcpu->index] = apic;
    lapic_reset(apic, false);
    return apic;
}

void lapic_free(struct lapic *apic)
{
    if (apic) {
        vtimer_cancel(&apic->timer);
        apic->bus->apic[apic->vcpu->index] = NULL;
        g_mutex_clear(&apic->mutex);
        g_free(apic);
    }
}

/* ---- the register page */

static void page_put(uint8_t *page, unsigned reg, uint32_t value)
{
    memcpy(page + reg, &value, 4);
}

static uint32_t page_get(const uint8_t *page, unsigned reg)
{
    uint32_t value;

    memcpy(&value, page + reg, 4);
    return value;
}

void lapic_get_page(const struct lapic *apic, uint8_t page[1024])
{
    struct lapic *a = (struct lapic *)apic;

    memset(page, 0, 1024);
    for (unsigned reg = REG_ID; reg < 0x400; reg += 16) {
        page_put(page, reg, read_register(a, reg));
    }
    g_mutex_lock(&a->mutex);
    if (a->timer_deadline_ns >= 0 && page_get(page, REG_TIMER_CURRENT) == 0 &&
        LVT_TIMER_MODE(a->lvt[LVT_TIMER]) != TIMER_TSC_DEADLINE) {
        page_put(page, REG_TIMER_CURRENT, 1); /* it is due, and has not fired */
    }
    g_mutex_unlock(&a->mutex);
}

bool lapic_set_page(struct lapic *apic, const uint8_t page[1024], uint64_t base, GError **error)
{
    int64_t now = vclock_now(apic->bus->cpus->clock);
    uint32_t current = page_get(page, REG_TIMER_CURRENT);

    if ((base & APIC_BASE_X2APIC) && !(base & APIC_BASE_ENABLE)) {
        g_set_error(error, g_quark_from_static_string("cpu-error"), 0,
                    "vCPU %u: APIC base 0x%" G_GINT64_MODIFIER "x has x2APIC mode without enable",
                    apic->vcpu->index, base);
        return false;
    }
    apic->base = base;
    apic->xapic_id = in_x2apic(apic) ? apic->id << 24 : page_get(page, REG_ID);
    apic->tpr = page_get(page, REG_TPR) & 0xff;
    apic->ldr = page_get(page, REG_LDR);
    apic->dfr = page_get(page, REG_DFR) | 0x0fffffff;
    apic->svr = page_get(page, REG_SVR) & 0x1ff;
    apic->esr = page_get(page, REG_ESR);
    apic->icr_low = page_get(page, REG_ICR_LOW);
    apic->icr_high = page_get(page, REG_ICR_HIGH);
    for (unsigned i = 0; i < 8; i++) {
        apic->isr[i] = page_get(page, REG_ISR + 16 * i);
        apic->tmr[i] = page_get(page, REG_TMR + 16 * i);
        apic->irr[i] = page_get(page, REG_IRR + 16 * i);
    }
    for (unsigned i = 0; i < LVT_COUNT; i++) {
        apic->lvt[i] = page_get(page, REG_LVT_TIMER + 16 * i) & lvt_writable(i);
    }
    g_mutex_lock(&apic->mutex);
    apic->timer_divide = page_get(page, REG_TIMER_DIVIDE) & 0xb;
    apic->timer_initial = page_get(page, REG_TIMER_INITIAL);
    timer_arm(apic, current
                        ? now + ticks_to_ns(apic, (uint64_t)current * divider(apic->timer_divide))
                        : -1);
    g_mutex_unlock(&apic->mutex);
    recheck(apic);
    return true;
}
