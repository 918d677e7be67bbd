/*
 * Prints "boot WORD", then makes one thing happen, named by the command line: panic and
 * crash-loaded (pvpanic), watchdog (ib700, which expires at once), poweroff, stall, stall-main and
 * stall-briefly (godwit-stall). "storm" makes the first ones happen over and over: reports to
 * pvpanic, expiries of the watchdog, text on the serial port and, every 64th time, a reset.
 */
#include "lib/guest.h"

#define PVPANIC      0x505
#define IB700_ENABLE 0x443
#define STALL        0x5e0
#define STALL_MS     60000

static void storm(void)
{
    for (unsigned i = 1;; i++) {
        outb(PVPANIC, i & 1 ? 1 : 2);
        outb(IB700_ENABLE, 15);
        print("storm\n");
        if (i % 64 == 0) {
            outb(0xcf9, 0x06);
        }
    }
}

void guest_main(const char *args)
{
    print("boot ");
    print(args);
    print("\n");
    if (text_equal(args, "panic")) {
        outb(PVPANIC, 1);
    } else if (text_equal(args, "crash-loaded")) {
        outb(PVPANIC, 2);
    } else if (text_equal(args, "watchdog")) {
        outb(IB700_ENABLE, 15);
    } else if (text_equal(args, "poweroff")) {
        power_off();
    } else if (text_equal(args, "stall")) {
        outw(STALL, STALL_MS);
    } else if (text_equal(args, "stall-main")) {
        outw(STALL + 2, STALL_MS);
    } else if (text_equal(args, "stall-briefly")) {
        outw(STALL, 1000);
        print("moves again\n");
    } else if (text_equal(args, "storm")) {
        storm();
    }
    for (;;) { /* interrupts off: only a watchdog looks at this */
        __asm__ volatile("pause");
    }
}
