/*
 * Prints "N T" about every 10 ms of guest time, for ever: a counter, and the guest's clock in
 * milliseconds by the ACPI timer. A stopped machine must not count, and its clock must not jump.
 */
#include "lib/guest.h"

void guest_main(const char *args)
{
    uint32_t last = pm_timer();
    uint64_t ticks = 0;

    for (uint32_t n = 0;; n++) {
        uint32_t now = pm_timer();
        ticks += (now - last) & 0xffffff;
        last = now;
        print_number(n);
        print(" ");
        print_number((uint32_t)(ticks >> 10) * 1000 / 3496); /* 3579545 / 1024 */
        print("\n");
        delay_us(10000);
    }
}
