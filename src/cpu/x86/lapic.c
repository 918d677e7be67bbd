/*
 * Local APIC: Intel SDM volume 3, chapter 11 (xAPIC and x2APIC).
 *
 * IRR, TMR and the destination registers are atomics: whoever delivers sets an IRR bit of the
 * target and requests VCPU_REQ_INTR; the target's thread compares IRR with its priority when it
 * looks. ISR, TPR, SVR and the LVT belong to the owner's thread. The timer is in lapic-timer.c,
 * what a guest reads and writes in lapic-regs.c.
 *
 * At power-on LINT0 of the boot CPU is set to ExtINT, unmasked, as firmware leaves it: machines
 * here start kernels with no firmware in between.
 *
 * Left out: focus processor checking, bus arbitration, APIC error interrupts for bus errors (send
 * and receive illegal vector are reported), ExtINT by message (the 8259 reaches LINT0 alone), the
 * thermal and performance counter sources (their LVT registers are storage), SMI delivery.
 */
#include "cpu/x86/lapic-priv.h"

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

/* Of the nth vCPU that there is; NULL: it is not ready yet. */
static struct lapic *apic_nth(const struct lapic_bus *bus, unsigned n)
{
    return bus->apic[bus->cpus->vcpu[n]->index];
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
uint32_t lapic_priority(const struct lapic *apic)
{
    int isr = highest_bit(apic->isr);
    uint32_t in_service = isr < 0 ? 0 : (uint32_t)isr & 0xf0;

    return (apic->tpr & 0xf0) >= in_service ? apic->tpr & 0xff : in_service;
}

/* ---- accepting */

/* Any thread. */
static void accept_vector(struct lapic *apic, uint8_t vector, bool level)
{
    uint32_t bit = 1u << (vector & 31);

    if (vector < 16) {
        lapic_report_error(apic, ESR_RECV_ILLEGAL);
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
void lapic_lvt_fire(struct lapic *apic, unsigned i)
{
    uint32_t lvt = atomic_load(&apic->lvt[i]);

    if (!(lvt & LVT_MASKED)) {
        /* Mode bits of the timer and error entries are reserved: fixed. */
        accept(apic, i == LVT_TIMER || i == LVT_ERROR ? MODE_FIXED : LVT_MODE(lvt), lvt & 0xff,
               false);
    }
}

void lapic_report_error(struct lapic *apic, uint32_t bit)
{
    uint32_t lvt = atomic_load(&apic->lvt[LVT_ERROR]);

    atomic_fetch_or(&apic->esr_pending, bit);
    if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16) {
        lapic_lvt_fire(apic, LVT_ERROR);
    }
}

/* ---- destinations */

static bool matches_physical(const struct lapic *apic, uint32_t dest, bool wide)
{
    if (wide) {
        return dest == 0xffffffff || dest == apic->id;
    }
    return dest == 0xff || dest == (lapic_in_x2apic(apic) ? apic->id : apic->xapic_id >> 24);
}

static bool matches_logical(const struct lapic *apic, uint32_t dest, bool wide)
{
    uint32_t ldr = atomic_load(&apic->ldr);

    if (lapic_in_x2apic(apic)) {
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
        struct lapic *apic = apic_nth(bus, (k + vector) % n);

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
        struct lapic *apic = apic_nth(bus, i);

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
        struct lapic *apic = apic_nth(bus, i);

        if (apic && lapic_has_interrupt(apic)) {
            vcpu_request(apic->vcpu, VCPU_REQ_INTR);
        }
    }
}

/* An APIC that is switched off passes its pin on to the CPU. */
void lapic_bus_lint1(struct lapic_bus *bus)
{
    for (unsigned i = 0; i < bus->cpus->n; i++) {
        struct lapic *apic = apic_nth(bus, i);

        if (apic && atomic_load(&apic->base) & APIC_BASE_ENABLE) {
            lapic_lvt_fire(apic, LVT_LINT1);
        } else if (apic) {
            vcpu_nmi(apic->vcpu);
        }
    }
}

/* ---- interprocessor interrupts */

void lapic_send_ipi(struct lapic *apic, uint32_t low, uint32_t dest)
{
    struct lapic_bus *bus = apic->bus;
    unsigned mode = low >> 8 & 7, shorthand = low >> 18 & 3;
    uint8_t vector = low & 0xff;
    bool logical = low & (1u << 11);

    if (mode == MODE_INIT && (low & (1u << 15)) && !(low & (1u << 14))) {
        return; /* INIT level de-assert: only old APICs knew it */
    }
    if ((mode == MODE_FIXED || mode == MODE_LOWEST) && vector < 16) {
        lapic_report_error(apic, ESR_SEND_ILLEGAL);
        return;
    }
    switch (shorthand) {
    case 0:
        deliver(bus, dest, logical, lapic_in_x2apic(apic), mode, vector, false);
        break;
    case 1:
        accept(apic, mode, vector, false);
        break;
    default:
        for (unsigned i = 0; i < bus->cpus->n; i++) {
            struct lapic *other = apic_nth(bus, i);

            if (other && (shorthand == 2 || other != apic) &&
                (atomic_load(&other->base) & APIC_BASE_ENABLE)) {
                accept(other, mode, vector, false);
            }
        }
        break;
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

    if (irr >= 0 && ((uint32_t)irr & 0xf0) > (lapic_priority(apic) & 0xf0)) {
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
    if (irr < 0 || ((uint32_t)irr & 0xf0) <= (lapic_priority(apic) & 0xf0)) {
        return -1;
    }
    atomic_fetch_and(&apic->irr[irr >> 5], ~(1u << (irr & 31)));
    apic->isr[irr >> 5] |= 1u << (irr & 31);
    return irr;
}

/* After priority was lowered or an interrupt retired: what waits may be deliverable now. */
void lapic_recheck(struct lapic *apic)
{
    if (lapic_has_interrupt(apic)) {
        vcpu_request(apic->vcpu, VCPU_REQ_INTR);
    }
}

void lapic_end_of_interrupt(struct lapic *apic)
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
    lapic_recheck(apic);
}

uint8_t lapic_get_cr8(const struct lapic *apic)
{
    return apic->tpr >> 4 & 15;
}

void lapic_set_tpr(struct lapic *apic, uint32_t tpr)
{
    __atomic_store_n(&apic->tpr, tpr & 0xff, __ATOMIC_RELAXED);
    lapic_recheck(apic);
}

void lapic_set_cr8(struct lapic *apic, uint8_t cr8)
{
    lapic_set_tpr(apic, (uint32_t)(cr8 & 15) << 4);
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
    lapic_timer_reset(apic);
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
    if (lapic_in_x2apic(apic)) {
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
    vtimer_init(&apic->timer, bus->cpus->clock, lapic_timer_expired, apic);
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
