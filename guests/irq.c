/*
 * Interrupts and timers, each by its own route: the 8254 through the 8259s, the clock's periodic
 * interrupt through the slave, the 8254 through the I/O APIC, the local APIC's timer, an interrupt
 * to oneself; an exception of an undefined instruction; and that HLT waits.
 */
#include "lib/guest.h"

#define IOAPIC 0xfec00000u

/* A processor takes an interrupt right after the shadow of STI; a KVM that emulates the guest's
 * instructions may not look before the guest waits. */
#ifdef FAR_RETURN
#define LET_IN "sti; hlt; cli"
#else
#define LET_IN "sti; nop; cli"
#endif

static volatile unsigned pit_ticks, rtc_ticks, apic_ticks, self_ticks, ud_count;

INTERRUPT void on_pit(struct interrupt_frame *frame)
{
    pit_ticks++;
    pic_eoi(0);
}

INTERRUPT void on_rtc(struct interrupt_frame *frame)
{
    rtc_ticks++;
    outb(0x70, 0x0c);
    inb(0x71);
    pic_eoi(8);
}

INTERRUPT void on_apic(struct interrupt_frame *frame)
{
    apic_ticks++;
    *mmio(LAPIC + 0xb0) = 0;
}

INTERRUPT void on_self(struct interrupt_frame *frame)
{
    self_ticks++;
    *mmio(LAPIC + 0xb0) = 0;
}

INTERRUPT void on_spurious(struct interrupt_frame *frame)
{
}

/* frame[0] is EIP: steps over the two bytes of UD2. */
INTERRUPT void on_ud(struct interrupt_frame *frame)
{
    ud_count++;
    *(volatile uint32_t *)frame += 2;
}

/* HLTs until *count reaches n; false when that took more than a second. */
static bool wait_for(volatile unsigned *count, unsigned n)
{
    uint32_t start = pm_timer();

    while (*count < n) {
        if (((pm_timer() - start) & 0xffffff) > 3579545) {
            return false;
        }
        __asm__ volatile("sti; hlt; cli");
    }
    return true;
}

static void pit_start(uint16_t divisor)
{
    outb(0x43, 0x34);
    outb(0x40, (uint8_t)divisor);
    outb(0x40, (uint8_t)(divisor >> 8));
}

static void test_pit(void)
{
    uint32_t start = pm_timer(), elapsed;

    pit_start(11932); /* 100 Hz */
    pic_unmask(0);
    check("pit-8259", wait_for(&pit_ticks, 10));
    elapsed = (pm_timer() - start) & 0xffffff;
    check("pit-rate", elapsed > 320000 && elapsed < 1400000); /* 100 ms, with a busy host's slack */
    outb(0x21, 0xff);
}

static void test_rtc(void)
{
    outb(0x70, 0x0a);
    outb(0x71, 0x26); /* 1024 Hz */
    outb(0x70, 0x0b);
    outb(0x71, 0x42); /* periodic */
    pit_start(11932); /* wakes wait_for() if the clock does not */
    pic_unmask(0);
    pic_unmask(8);
    check("rtc-8259-slave", wait_for(&rtc_ticks, 10));
    outb(0x70, 0x0b);
    outb(0x71, 0x02);
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

static void lapic_enable(void)
{
    *mmio(LAPIC + 0xf0) = 0x1ff;
    *mmio(LAPIC + 0x80) = 0;
}

static void test_lapic_timer(void)
{
    *mmio(LAPIC + 0x3e0) = 0x0b;    /* divide by 1 */
    *mmio(LAPIC + 0x320) = 0x20040; /* periodic, vector 0x40 */
    *mmio(LAPIC + 0x380) = 1000000;
    check("lapic-timer", wait_for(&apic_ticks, 10));
    *mmio(LAPIC + 0x320) = 0x10000;
    *mmio(LAPIC + 0x380) = 0;
}

static void test_ioapic(void)
{
    unsigned before = apic_ticks;

    *mmio(IOAPIC) = 0x10 + 2 * 2; /* pin 2 is the 8254 */
    *mmio(IOAPIC + 0x10) = 0x41;
    *mmio(IOAPIC) = 0x11 + 2 * 2;
    *mmio(IOAPIC + 0x10) = 0;
    pit_start(11932);
    check("pit-ioapic", wait_for(&apic_ticks, before + 5));
    *mmio(IOAPIC) = 0x10 + 2 * 2;
    *mmio(IOAPIC + 0x10) = 0x10000;
}

static void test_self_ipi(void)
{
    *mmio(LAPIC + 0x300) = 0x40042; /* to self, fixed, vector 0x42 */
    for (int i = 0; i < 3 && self_ticks == 0; i++) {
        __asm__ volatile(LET_IN);
    }
    check("self-ipi", self_ticks == 1);
}

void guest_main(const char *args)
{
    idt_set(6, on_ud);
    idt_set(0x20, on_pit);
    idt_set(0x28, on_rtc);
    idt_set(0x27, on_spurious);
    idt_set(0x2f, on_spurious);
    idt_set(0x40, on_apic);
    idt_set(0x41, on_apic);
    idt_set(0x42, on_self);
    idt_set(0xff, on_spurious);
    idt_load();
    pic_init();

    __asm__ volatile("ud2");
    check("undefined-instruction", ud_count == 1);
    test_pit();
    test_rtc();
    lapic_enable();
    test_lapic_timer();
    test_ioapic();
    test_self_ipi();
    print("done\n");
}
