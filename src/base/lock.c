/*
 * The machine lock: what happens when two want it. futex(2); the lock's word says whether somebody
 * may sleep, and whoever has slept leaves it so, as there may be others.
 */
#include "base/lock.h"

#include "base/relax.h"
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

void big_lock_init(struct big_lock *lock)
{
    atomic_init(&lock->state, BIG_LOCK_FREE);
    atomic_init(&lock->owner, NULL);
}

void big_lock_wake(struct big_lock *lock)
{
    syscall(SYS_futex, &lock->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Most who hold it are done before a sleep and a wake-up would be: a look at it for some
 * microseconds comes first, while nobody sleeps for it already. */
#define LOOKS 64

static bool acquire_soon(struct big_lock *lock)
{
    for (unsigned i = 0; i < LOOKS; i++) {
        uint32_t state = atomic_load_explicit(&lock->state, memory_order_relaxed);

        if (state == BIG_LOCK_WANTED) {
            return false;
        }
        if (state == BIG_LOCK_FREE && big_lock_try_acquire(lock)) {
            return true;
        }
        cpu_relax();
    }
    return false;
}

void big_lock_acquire(struct big_lock *lock)
{
    if (big_lock_try_acquire(lock) || acquire_soon(lock)) {
        return;
    }
    thread_wait_begin("machine lock", &lock->owner);
    while (atomic_exchange_explicit(&lock->state, BIG_LOCK_WANTED, memory_order_acquire) !=
           BIG_LOCK_FREE) {
        syscall(SYS_futex, &lock->state, FUTEX_WAIT_PRIVATE, BIG_LOCK_WANTED, NULL, NULL, 0);
    }
    thread_wait_end();
    atomic_store_explicit(&lock->owner, thread_token(), memory_order_relaxed);
}
