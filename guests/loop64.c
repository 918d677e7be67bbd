/*
 * A 64-bit loop that never ends: adds a constant that is easy to find in memory, and stores the
 * sum. Prints "loop" on COM1 before.
 */
#include <stdint.h>

volatile uint32_t sum;

void debug_main(void);

void debug_main(void)
{
    for (const char *p = "loop\n"; *p; p++) {
        __asm__ volatile("outb %0, %1" : : "a"((uint8_t)*p), "Nd"((uint16_t)0x3f8) : "memory");
    }
    __asm__ volatile("1: add $0x11223344, %%eax\n"
                     "mov %%eax, sum(%%rip)\n"
                     "jmp 1b"
                     :
                     :
                     : "eax", "memory", "cc");
}
