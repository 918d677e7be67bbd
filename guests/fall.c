/*
 * Falls: a triple fault by which no device is touched, so that nothing holds it up.
 *
 *   now     at once
 *   odd     at once in every second life; in the others it prints "ready" and halts
 *   nmi     prints "ready" and falls when an NMI comes
 */
#include "lib/guest.h"

#define LIVES ((volatile uint32_t *)0x20000) /* outside the image: it outlives a reset */

static void fall_armed(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) none = {0, 0};

    __asm__ volatile("lidt %0" : : "m"(none));
}

void guest_main(const char *args)
{
    bool now = text_equal(args, "now") || (text_equal(args, "odd") && (*LIVES)++ % 2 == 1);

    fall_armed();
    if (!now) {
        print("ready\n");
        for (;;) {
            __asm__ volatile("hlt");
        }
    }
    /* Loads a selector beyond the GDT; not INT3, which KVMs that emulate the guest may lack. */
    __asm__ volatile("mov %0, %%ds" : : "r"(0xfff8));
}
