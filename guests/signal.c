/*
 * Counts interrupts of two vectors, which somebody outside sends; how many came is at COUNTS in its
 * memory, and 1 before them when it is ready.
 */
#include "lib/guest.h"

#define COUNTS ((volatile uint32_t *)0x200000u)

INTERRUPT void on_first(struct interrupt_frame *frame)
{
    COUNTS[1]++;
    *mmio(LAPIC + 0xb0) = 0;
}

INTERRUPT void on_second(struct interrupt_frame *frame)
{
    COUNTS[2]++;
    *mmio(LAPIC + 0xb0) = 0;
}

INTERRUPT void on_spurious(struct interrupt_frame *frame)
{
}

void guest_main(const char *args)
{
    idt_set(0x40, on_first);
    idt_set(0x41, on_second);
    idt_set(0xff, on_spurious);
    idt_load();
    pic_init();
    *mmio(LAPIC + 0xf0) = 0x1ff;
    COUNTS[0] = 1;
    for (;;) {
        __asm__ volatile("sti; nop; hlt; cli");
    }
}
