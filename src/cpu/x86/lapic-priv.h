/* Between the files of the local APIC: lapic.c, lapic-regs.c and lapic-timer.c. */
#ifndef CPU_X86_LAPIC_PRIV_H
#define CPU_X86_LAPIC_PRIV_H

#include "cpu/x86/cpuid.h"
#include "cpu/x86/lapic.h"

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
    int64_t timer_deadline_ns; /* -1: idle */
    uint64_t tsc_deadline;
    bool timer_watched; /* by the vCPU, instead of `timer` */
};

struct lapic_bus {
    struct cpus *cpus;
    _Atomic bool extint;
    struct lapic *apic[]; /* by vCPU index */
};

static inline bool lapic_in_x2apic(const struct lapic *apic)
{
    return (apic->base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) ==
           (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
}

/* lapic.c */
uint32_t lapic_priority(const struct lapic *apic); /* of the processor */
void lapic_report_error(struct lapic *apic, uint32_t bit);
void lapic_lvt_fire(struct lapic *apic, unsigned i); /* a local source's entry; any thread */
void lapic_send_ipi(struct lapic *apic, uint32_t low, uint32_t dest); /* the ICR's halves */
void lapic_recheck(struct lapic *apic);
void lapic_end_of_interrupt(struct lapic *apic);
void lapic_set_tpr(struct lapic *apic, uint32_t tpr);

/* lapic-timer.c */
/* Fires when the deadline has passed. The main thread, and a vCPU that looks at its own timer. */
void lapic_timer_expired(void *apic);
void lapic_timer_start(struct lapic *apic, uint32_t initial);
uint32_t lapic_timer_current(struct lapic *apic);
bool lapic_timer_is_due(struct lapic *apic); /* set, and counted to its end: it has not fired */
void lapic_timer_set_divide(struct lapic *apic, uint32_t value);
void lapic_timer_set_lvt(struct lapic *apic, uint32_t value);
void lapic_timer_reset(struct lapic *apic);
/* Goes on from registers that were saved. */
void lapic_timer_load(struct lapic *apic, uint32_t divide, uint32_t initial, uint32_t current);

#endif
