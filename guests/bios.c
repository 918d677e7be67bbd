/*
 * What interrupts of real mode do when no firmware ran: a further vCPU, which starts there, tries
 * some. Needs two vCPUs.
 */
#include "lib/guest.h"

#define PAGE    0x9000u
#define RESULTS 0x9800u

struct results {
    uint16_t flags, service, irq, exception, second, done;
};

extern uint8_t real_code[], real_end[];

__asm__(".code16\n"
        "real_code:\n"
        "    cli\n"
        "    xor %ax, %ax\n"
        "    mov %ax, %ds\n"
        "    mov %ax, %ss\n"
        "    mov $0x9f00, %sp\n"
        "    mov $0xe820, %ax\n"
        "    clc\n"
        "    int $0x15\n"
        "    mov %ax, (0x9802)\n"
        "    pushf\n"
        "    pop %ax\n"
        "    mov %ax, (0x9800)\n"
        "    mov $0x1234, %ax\n"
        "    int $0x0d\n"
        "    mov %ax, (0x9804)\n"
        "    mov $0x4321, %ax\n"
        "    int $0x00\n"
        "    mov %ax, (0x9806)\n"
        "    mov $0x5678, %ax\n"
        "    int $0x75\n"
        "    mov %ax, (0x9808)\n"
        "    movw $1, (0x980a)\n"
        "1:  hlt\n"
        "    jmp 1b\n"
        "real_end:\n"
        ".code32\n");

void guest_main(const char *args)
{
    volatile struct results *r = (volatile struct results *)RESULTS;

    r->done = 0;
    for (unsigned i = 0; i < (unsigned)(real_end - real_code); i++) {
        ((volatile uint8_t *)PAGE)[i] = real_code[i];
    }
    *mmio(0xfee000f0) = 0x1ff;
    *mmio(0xfee00300) = 0xc4500; /* INIT to all others */
    delay_us(10000);
    *mmio(0xfee00300) = 0xc4600 | PAGE >> 12;
    for (unsigned ms = 0; ms < 10000 && !r->done; ms++) {
        delay_us(1000);
    }
    check("returns", r->done == 1);
    check("service", (r->flags & 1) && r->service == 0x8620);
    check("irq", r->irq == 0x1234 && r->second == 0x5678);
    check("exception", r->exception == 0x4321);
}
