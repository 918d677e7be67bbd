/*
 * The machine lock: a mutex that knows its owner, so that "held here" can be asserted.
 *
 * It is held by the main loop while it dispatches and by a vCPU thread around a device's port or
 * MMIO handler (docs/architecture.md, "Threads"). Not recursive. vCPUs take it at every such
 * access, mostly when nobody else wants it: that costs one atomic operation each way.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include "base/threads.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { BIG_LOCK_FREE, BIG_LOCK_HELD, BIG_LOCK_WANTED /* held, and somebody sleeps */ };

struct big_lock {
    _Atomic uint32_t state;      /* BIG_LOCK_* */
    _Atomic(const void *) owner; /* thread_token() of the owner; NULL when free */
};

void big_lock_init(struct big_lock *lock);
void big_lock_acquire(struct big_lock *lock);
void big_lock_wake(struct big_lock *lock); /* lock.c's own */

/* By the calling thread. The owner is written by nobody else than who holds the lock, so comparing
 * it with one's own token needs no ordering. */
static inline bool big_lock_held(const struct big_lock *lock)
{
    return atomic_load_explicit(&lock->owner, memory_order_relaxed) == thread_token();
}

/* false: somebody else has it. */
static inline bool big_lock_try_acquire(struct big_lock *lock)
{
    uint32_t free = BIG_LOCK_FREE;

    g_assert(!big_lock_held(lock));
    if (!atomic_compare_exchange_strong_explicit(&lock->state, &free, BIG_LOCK_HELD,
                                                 memory_order_acquire, memory_order_relaxed)) {
        return false;
    }
    atomic_store_explicit(&lock->owner, thread_token(), memory_order_relaxed);
    return true;
}

static inline void big_lock_release(struct big_lock *lock)
{
    g_assert(big_lock_held(lock));
    atomic_store_explicit(&lock->owner, NULL, memory_order_relaxed);
    if (atomic_exchange_explicit(&lock->state, BIG_LOCK_FREE, memory_order_release) ==
        BIG_LOCK_WANTED) {
        big_lock_wake(lock);
    }
}

#endif
