/*
 * A computation that is stopped, saved, loaded into another machine and goes on there, several
 * times: nothing of it may be lost or come twice. How far it is, is at PROGRESS in its memory.
 *
 * Each round computes with interrupts off, while a one-shot timer of the local APIC runs out, the
 * interval timer's interrupt waits at the 8259, and another vCPU (if there is one) gets an
 * interrupt from this one; then it lets them in. The timer comes exactly once a round, the other
 * vCPU's interrupt too, and an NMI as often as it was sent. args: how many rounds, and a + for two
 * vCPUs. Floating point, debug registers and
 * flags are in the computation.
 */
#include "lib/guest.h"

#define PROGRESS 0x200000u
#define STEPS    3000u

struct progress {
    uint32_t round, sum, pit, apic, nmi, ipi;
    uint32_t other_sum, other_laps;
    uint32_t faults; /* what came at the wrong time, or was found changed */
    uint32_t done;
};

#define P ((volatile struct progress *)PROGRESS)

INTERRUPT void on_pit(struct interrupt_frame *frame)
{
    P->pit++;
    pic_eoi(0);
}

INTERRUPT void on_apic(struct interrupt_frame *frame)
{
    P->apic++;
    *mmio(LAPIC + 0xb0) = 0;
}

INTERRUPT void on_ipi(struct interrupt_frame *frame)
{
    P->ipi++;
    *mmio(LAPIC + 0xb0) = 0;
}

INTERRUPT void on_nmi(struct interrupt_frame *frame)
{
    P->nmi++;
}

INTERRUPT void on_spurious(struct interrupt_frame *frame)
{
    P->faults++;
}

static uint32_t mix(uint32_t sum, uint32_t steps)
{
    for (uint32_t i = 0; i < steps; i++) {
        sum ^= sum << 13;
        sum ^= sum >> 17;
        sum ^= sum << 5;
        sum += i;
    }
    return sum;
}

static void let_in(void)
{
    __asm__ volatile("sti; nop; nop; cli");
}

/* Registers that only a debugger of the guest's own would use keep what they were given. */
static void debug_set(uint32_t value)
{
    __asm__ volatile("mov %0, %%dr0" : : "r"(value));
}

static uint32_t debug_get(void)
{
    uint32_t value;
    __asm__ volatile("mov %%dr0, %0" : "=r"(value));
    return value;
}

void ap_main(uint32_t index)
{
    idt_load();
    *mmio(LAPIC + 0xf0) = 0x1ff;
    ap_count = 100;
    while (!P->done) {
        P->other_sum = mix(P->other_sum, 100);
        P->other_laps++;
        let_in();
    }
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

static void start_other(void)
{
    aps_start();
    while (ap_count != 100) {
    }
}

/* A number that stays on the x87's stack. A KVM that emulates the guest's instructions, for which
 * FAR_RETURN is, has no x87. */
static void pi_set(void)
{
#ifndef FAR_RETURN
    __asm__ volatile("fninit; fldpi");
#endif
}

static uint32_t pi_get(void)
{
    volatile uint64_t bits = 0;

#ifndef FAR_RETURN
    __asm__ volatile("fstl %0" : "=m"(bits));
#endif
    return (uint32_t)(bits >> 32) ^ (uint32_t)bits;
}

static void set_up(void)
{
    idt_set(2, on_nmi);
    idt_set(0x20, on_pit);
    idt_set(0x27, on_spurious);
    idt_set(0x40, on_apic);
    idt_set(0x50, on_ipi);
    idt_set(0xff, on_spurious);
    idt_load();
    pic_init();
    outb(0x43, 0x34);
    outb(0x40, 0x9c); /* 100 Hz */
    outb(0x40, 0x2e);
    pic_unmask(0);
    *mmio(LAPIC + 0xf0) = 0x1ff;
    *mmio(LAPIC + 0x80) = 0;
    *mmio(LAPIC + 0x350) = 0x700; /* the 8259s */
    *mmio(LAPIC + 0x360) = 0x400; /* the NMI button */
    *mmio(LAPIC + 0x3e0) = 0x0b;  /* divide by 1 */
    *mmio(LAPIC + 0x320) = 0x40;  /* one-shot */
    pi_set();
}

void guest_main(const char *args)
{
    uint32_t rounds = parse_number(*args == '+' ? args + 1 : args), sum = 1;
    bool other = *args == '+';

    set_up();
    if (other) {
        start_other();
    }
    for (uint32_t round = 1; round <= rounds; round++) {
        *mmio(LAPIC + 0x380) = 1000000;
        debug_set(round * 16);
        if (other) {
            *mmio(LAPIC + 0x310) = 1u << 24;
            *mmio(LAPIC + 0x300) = 0x4050;
        }
        for (uint32_t part = 0; part < 10; part++) {
            sum = mix(sum, STEPS / 10);
        }
        sum ^= pi_get();
        P->faults += debug_get() != round * 16;
        while (P->apic != round || (other && P->ipi != round)) {
            let_in();
        }
        P->sum = sum;
        P->round = round;
    }
    while (P->pit == 0) {
        let_in();
    }
    P->done = 1;
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}
