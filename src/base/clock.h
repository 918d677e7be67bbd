/*
 * The virtual clock: nanoseconds of guest time since the machine was made, and timers on it.
 *
 * It runs with the host's CLOCK_MONOTONIC while the machine runs and stands still while it is
 * stopped, so a guest never sees the pause. In stepped mode (the qtest accelerator, unit tests) it
 * moves only by vclock_step().
 *
 * Timer callbacks run on the main loop's thread under the machine lock, never before their
 * deadline. vtimer_set() and vtimer_cancel() may be called from any thread (own internal lock);
 * after either, a callback that is already on its way may still run once: callbacks check their own
 * state.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_SEC 1000000000LL
#define NS_PER_MS  1000000LL
#define NS_PER_US  1000LL

struct loop;
struct vclock;

struct vtimer {
    struct vclock *clock;
    void (*fn)(void *opaque);
    void *opaque;
    int64_t deadline_ns; /* -1 when idle */
    unsigned heap_index; /* private */
};

/* A clock that stands at 0 ns, stopped. loop is where timers fire; NULL in stepped mode, where they
 * fire inside vclock_step(). */
struct vclock *vclock_new(struct loop *loop, bool stepped);
void vclock_free(struct vclock *clock);

/* Makes a clock that has never run a stepped one. With a loop, a timer that is set to the past
 * still fires from the loop; all others wait for vclock_step(). */
void vclock_make_stepped(struct vclock *clock);

int64_t vclock_now(struct vclock *clock); /* any thread */
void vclock_start(struct vclock *clock);  /* main thread, machine lock held; idempotent */
void vclock_stop(struct vclock *clock);
bool vclock_running(struct vclock *clock);
/* What vclock_now() looks at first (clock-line.h), for translated code. */
struct clock_line;
struct clock_line *vclock_line(struct vclock *clock);
bool vclock_stepped(struct vclock *clock);

/* While on, time goes on but no timer fires; afterwards those that are due do. Main thread. */
void vclock_hold_timers(struct vclock *clock, bool on);
/* Whether timers fire by themselves now: time goes on, and none of the above. Any thread. */
bool vclock_timers_fire(struct vclock *clock);

/* Sets a stopped clock to now_ns, as after loading a saved machine. */
void vclock_set(struct vclock *clock, int64_t now_ns);

/* Stepped mode: moves to to_ns, firing each timer at its own deadline on the way. */
void vclock_step(struct vclock *clock, int64_t to_ns);

/* The next deadline, -1 when there is none. */
int64_t vclock_deadline(struct vclock *clock);

void vtimer_init(struct vtimer *timer, struct vclock *clock, void (*fn)(void *), void *opaque);
void vtimer_set(struct vtimer *timer, int64_t deadline_ns); /* re-arms; the past fires at once */
void vtimer_cancel(struct vtimer *timer);                   /* idle is fine */
bool vtimer_pending(const struct vtimer *timer);

/* a * b / c without overflow in between; c != 0; truncates to 64 bits. */
static inline uint64_t muldiv64(uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)((unsigned __int128)a * b / c);
}

#endif
