/*
 * Starts all other vCPUs by INIT and SIPI; each adds to one counter with LOCK and to another
 * without a chance of loss only if the first is atomic. args: how many vCPUs there should be.
 */
#include "lib/guest.h"

#define ROUNDS 100000u

static volatile uint32_t sum, finished, lock_word;
static volatile uint32_t guarded;

static void add_many(void)
{
    for (uint32_t i = 0; i < ROUNDS; i++) {
        __asm__ volatile("lock incl %0" : "+m"(sum));
        if (i % 100 == 0) {
            uint32_t one;
            do {
                one = 1;
                __asm__ volatile("xchgl %0, %1" : "+r"(one), "+m"(lock_word));
                if (one) {
                    __asm__ volatile("pause");
                }
            } while (one);
            guarded++; /* not atomic: the lock must hold */
            __asm__ volatile("" : : : "memory");
            lock_word = 0;
        }
    }
    __asm__ volatile("lock incl %0" : "+m"(finished));
}

void ap_main(uint32_t index)
{
    add_many();
}

static bool wait_until(volatile uint32_t *word, uint32_t value, uint32_t seconds)
{
    for (uint32_t ms = 0; ms < seconds * 1000; ms++) {
        if (*word == value) {
            return true;
        }
        delay_us(1000);
    }
    return false;
}

void guest_main(const char *args)
{
    uint32_t n = parse_number(args);

    aps_start();
    check("all-started", wait_until(&ap_count, n - 1, 10));
    add_many();
    check("all-finished", wait_until(&finished, n, 60));
    check("locked-add", sum == n * ROUNDS);
    check("lock-holds", guarded == n * (ROUNDS / 100));
    print("vcpus ");
    print_number(ap_count + 1);
    print("\ndone\n");
}
