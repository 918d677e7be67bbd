/*
 * Floating point errors as a PC/AT has them: with CR0.NE clear an unmasked exception comes as IRQ
 * 13, whose handler writes to port 0xf0; with CR0.NE set as exception 16.
 */
#include "lib/guest.h"

static volatile unsigned irqs, faults;
static volatile uint16_t status;

INTERRUPT void on_irq13(struct interrupt_frame *frame)
{
    irqs++;
    __asm__ volatile("fnstsw %0" : "=m"(status));
    outb(0xf0, 0);
    __asm__ volatile("fnclex");
    pic_eoi(13);
}

INTERRUPT void on_mf(struct interrupt_frame *frame)
{
    faults++;
    __asm__ volatile("fnclex");
}

static void divide_by_zero(void)
{
    const uint16_t unmasked = 0x37b; /* all but division by zero are masked */

    __asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait; nop; nop" : : "m"(unmasked));
}

static void set_ne(bool on)
{
    uint32_t cr0;

    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    cr0 = (cr0 & ~0x2cu) | (on ? 0x20 : 0);
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0));
}

void guest_main(const char *args)
{
    idt_load();
    pic_init();
    idt_set(0x2d, on_irq13);
    idt_set(16, on_mf);
    pic_unmask(2);
    pic_unmask(13);
    set_ne(false);
    __asm__ volatile("sti");
    divide_by_zero();
    delay_us(1000);
    check("interrupt", irqs == 1 && (status & 0x84) == 0x84);
    divide_by_zero();
    delay_us(1000);
    check("again", irqs == 2 && faults == 0);
    set_ne(true);
    divide_by_zero();
    check("exception", irqs == 2 && faults == 1);
    print("done\n");
}
