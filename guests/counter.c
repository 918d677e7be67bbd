/*
 * Prints "N T TSC PIT RTC" about every 10 ms of guest time, for ever: a counter, and the guest's
 * time by each of its clocks: the ACPI timer in milliseconds, the time stamp counter in units of
 * 2^20 cycles, the interval timer's interrupts at 100 Hz, the second of the real-time clock. A
 * stopped machine must not count, and no clock may jump (the last one with `-rtc clock=vm`).
 */
#include "lib/guest.h"

static volatile uint32_t pit_ticks;

INTERRUPT void on_pit(struct interrupt_frame *frame)
{
    pit_ticks++;
    pic_eoi(0);
}

static void pit_start(uint16_t divisor)
{
    idt_load();
    idt_set(0x20, on_pit);
    pic_init();
    outb(0x43, 0x34);
    outb(0x40, (uint8_t)divisor);
    outb(0x40, (uint8_t)(divisor >> 8));
    pic_unmask(0);
    __asm__ volatile("sti");
}

static uint8_t rtc_second(void)
{
    uint8_t bcd;

    outb(0x70, 0);
    bcd = inb(0x71);
    return (uint8_t)((bcd >> 4) * 10 + (bcd & 15));
}

static void print_next(const char *before, uint32_t n)
{
    print(before);
    print_number(n);
}

void guest_main(const char *args)
{
    uint32_t last = pm_timer();
    uint64_t ticks = 0;

    pit_start(11932);
    for (uint32_t n = 0;; n++) {
        uint32_t now = pm_timer();

        ticks += (now - last) & 0xffffff;
        last = now;
        print_next("", n);
        print_next(" ", (uint32_t)(ticks >> 10) * 1000 / 3496); /* 3579545 / 1024 */
        print_next(" ", (uint32_t)(__builtin_ia32_rdtsc() >> 20));
        print_next(" ", pit_ticks);
        print_next(" ", rtc_second());
        print("\n");
        delay_us(10000);
    }
}
