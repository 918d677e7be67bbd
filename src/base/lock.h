/*
 * The machine lock: one mutex that knows its owner, so that "held here" can be asserted.
 *
 * It is held by the main loop while it dispatches and by a vCPU thread around a device's port or
 * MMIO handler (docs/architecture.md, "Threads"). Not recursive.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct big_lock {
    pthread_mutex_t mutex;
    _Atomic(const void *) owner; /* address of a thread-local of the owner; NULL when free */
};

void big_lock_init(struct big_lock *lock);
void big_lock_finish(struct big_lock *lock);
void big_lock_acquire(struct big_lock *lock);
bool big_lock_try_acquire(struct big_lock *lock); /* false: somebody else has it */
void big_lock_release(struct big_lock *lock);
bool big_lock_held(const struct big_lock *lock); /* by the calling thread */

#endif
