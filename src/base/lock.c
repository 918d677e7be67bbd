/*
 * The machine lock: what happens when two want it. futex(2); the lock's word says whether somebody
 * may sleep, and whoever has slept leaves it so, as there may be others.
 */
#include "base/lock.h"
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

void big_lock_acquire(struct big_lock *lock)
{
    if (big_lock_try_acquire(lock)) {
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
