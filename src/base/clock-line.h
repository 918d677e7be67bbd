/*
 * Time between two looks at the host's clock, measured by its TSC.
 *
 * A line says which time belongs to which value of the TSC, for some milliseconds. Whoever finds it
 * run out renews it from CLOCK_MONOTONIC, which stays the truth: a line starts where the truth is,
 * or, if the one before ran ahead, where that stopped, and its slope is what was measured over the
 * last second. So time never goes back, on no thread, and is off by nanoseconds.
 *
 * Without a TSC that the host's kernel itself trusts there is no line.
 */
#ifndef BASE_CLOCK_LINE_H
#define BASE_CLOCK_LINE_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

struct clock_mark { /* one moment on both clocks */
    uint64_t ticks;
    int64_t host_ns; /* CLOCK_MONOTONIC */
};

struct clock_line {
    /* Readers: these belong together while seq is even and the same before and after. The time is
     * base_ns + (ticks - base_ticks) * mult / 2^32, if ticks - base_ticks is less than limit. A
     * line lasts milliseconds, so that such a product fits 64 bits (translated code relies on it).
     */
    _Atomic uint32_t seq;
    _Atomic uint64_t base_ticks, limit, mult;
    _Atomic int64_t base_ns;

    GMutex mutex; /* of the writers, and for the rest */
    _Atomic bool known, usable;
    bool measuring;   /* from[] is set */
    uint64_t slope;   /* measured, as mult; 0: not yet */
    int64_t floor_ns; /* told to somebody since the last stop */
    struct clock_mark from[2];
};

void clock_line_init(struct clock_line *line);
void clock_line_finish(struct clock_line *line);

/* CLOCK_MONOTONIC + offset_ns, and a new line if that can be. Mutex held. */
int64_t clock_line_renew(struct clock_line *line, int64_t offset_ns);
/* No line until it is renewed. true: *ns is the last time that anybody was told. Mutex held. */
bool clock_line_stop(struct clock_line *line, int64_t *ns);

/* Any thread. false: there is no line now. */
static inline bool clock_line_read(struct clock_line *line, int64_t *ns)
{
#if defined(__x86_64__)
    uint32_t seq = atomic_load_explicit(&line->seq, memory_order_acquire);
    uint64_t limit = atomic_load_explicit(&line->limit, memory_order_relaxed);
    uint64_t base = atomic_load_explicit(&line->base_ticks, memory_order_relaxed);
    uint64_t mult = atomic_load_explicit(&line->mult, memory_order_relaxed);
    int64_t base_ns = atomic_load_explicit(&line->base_ns, memory_order_relaxed);

    _mm_lfence(); /* RDTSC is not executed before what other threads wrote has been read */
    uint64_t ticks = __rdtsc() - base;

    atomic_thread_fence(memory_order_acquire);
    if (ticks >= limit || (seq & 1) ||
        atomic_load_explicit(&line->seq, memory_order_relaxed) != seq) {
        return false;
    }
    *ns = base_ns + (int64_t)((unsigned __int128)ticks * mult >> 32);
    return true;
#else
    return false;
#endif
}

#endif
