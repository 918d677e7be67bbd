/*
 * The machine lock: a plain mutex plus the identity of its holder.
 *
 * The owner is thread_token(), an address that each thread has once. It is written only by the
 * thread that holds the mutex, so comparing it with one's own address needs no ordering: a thread
 * sees its own address only if it stored it itself.
 */
#include "base/lock.h"
#include "base/threads.h"
#include <glib.h>

void big_lock_init(struct big_lock *lock)
{
    pthread_mutex_init(&lock->mutex, NULL);
    atomic_init(&lock->owner, NULL);
}

void big_lock_finish(struct big_lock *lock)
{
    pthread_mutex_destroy(&lock->mutex);
}

bool big_lock_try_acquire(struct big_lock *lock)
{
    g_assert(!big_lock_held(lock));
    if (pthread_mutex_trylock(&lock->mutex) != 0) {
        return false;
    }
    atomic_store_explicit(&lock->owner, thread_token(), memory_order_relaxed);
    return true;
}

void big_lock_acquire(struct big_lock *lock)
{
    if (!big_lock_try_acquire(lock)) {
        thread_wait_begin("machine lock", &lock->owner);
        pthread_mutex_lock(&lock->mutex);
        thread_wait_end();
        atomic_store_explicit(&lock->owner, thread_token(), memory_order_relaxed);
    }
}

void big_lock_release(struct big_lock *lock)
{
    g_assert(big_lock_held(lock));
    atomic_store_explicit(&lock->owner, NULL, memory_order_relaxed);
    pthread_mutex_unlock(&lock->mutex);
}

bool big_lock_held(const struct big_lock *lock)
{
    return atomic_load_explicit(&lock->owner, memory_order_relaxed) == thread_token();
}
