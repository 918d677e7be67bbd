/*
 * Turns on the virtual-8086 mode extensions where CPUID offers them (`-cpu max,+vme`), which the
 * software CPU does not have: the machine stops with internal-error at the instruction. Elsewhere
 * it says "no hole".
 */
#include "lib/guest.h"

void guest_main(const char *args)
{
    uint32_t eax = 1, ebx, ecx = 0, edx, cr4;

    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    print("boot\n");
    if (edx & 2) {
        __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
        __asm__ volatile("mov %0, %%cr4" : : "a"(cr4 | 1), "b"(0x600dcafe));
    }
    print("no hole\n");
}
