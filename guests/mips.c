/*
 * A loop over registers, for the benchmark: prints "start", runs args million times eight
 * instructions, prints "end" and how many instructions that were.
 */
#include "lib/guest.h"

#define LOOP_INSTRUCTIONS 8u

void guest_main(const char *args)
{
    uint32_t millions = parse_number(args);

    print("start\n");
    for (uint32_t i = 0; i < millions; i++) {
        uint32_t n = 1000000, a = i, b = 1, c = 2;
        __asm__ volatile("1: addl %1, %2\n"
                         "   xorl %2, %3\n"
                         "   leal 3(%2,%3), %1\n"
                         "   subl %3, %2\n"
                         "   andl $0x7fffffff, %1\n"
                         "   addl $7, %3\n"
                         "   decl %0\n"
                         "   jnz 1b\n"
                         : "+r"(n), "+r"(a), "+r"(b), "+r"(c)
                         :
                         : "cc");
    }
    print("end ");
    print_number(millions * LOOP_INSTRUCTIONS);
    print(" million\n");
}
