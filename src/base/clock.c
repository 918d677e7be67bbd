/*
 * The virtual clock and its timers.
 *
 * While it runs, guest time is CLOCK_MONOTONIC plus an offset, read through a line of the host's
 * TSC where there is one (clock-line.h); stopped or stepped, it is a stored value. Readers take no
 * lock: a sequence count lets them notice a change under way and try again.
 *
 * Pending timers are a binary heap by deadline, under the clock's own mutex. One timerfd on the
 * loop is programmed for the earliest of them. It is reprogrammed only when a deadline gets earlier
 * than what it is set to: a timer that is moved later or cancelled leaves at worst one wake-up that
 * finds nothing to do, which is cheaper than a system call for each re-arming by the guest.
 */
#include "base/clock.h"
#include "base/clock-line.h"
#include "base/log.h"
#include "base/loop.h"
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define TIMERS_PER_DISPATCH 64 /* then the loop serves its other sources */

struct vclock {
    struct loop *loop;
    bool stepped;

    _Atomic uint32_t seq;    /* odd while base_ns and running change together */
    _Atomic int64_t base_ns; /* running: add to CLOCK_MONOTONIC; else: the time itself */
    _Atomic bool running;
    struct clock_line line; /* short cut to the same, while it runs */

    _Atomic bool held; /* no timer fires */

    GMutex mutex; /* the rest, and the writers of the above */
    GPtrArray *heap;
    int fd; /* -1: timers fire by vclock_step() only */
    GSource *watch;
    int64_t armed_ns; /* deadline that the timerfd is set to, -1 none */
};

static int64_t host_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

/* By the host's clock. */
static int64_t clock_now(struct vclock *clock)
{
    for (;;) {
        uint32_t seq = atomic_load_explicit(&clock->seq, memory_order_acquire);
        int64_t now = atomic_load_explicit(&clock->base_ns, memory_order_relaxed);

        if (atomic_load_explicit(&clock->running, memory_order_relaxed) && !clock->stepped) {
            now += host_now();
        }
        atomic_thread_fence(memory_order_acquire);
        if (!(seq & 1) && atomic_load_explicit(&clock->seq, memory_order_relaxed) == seq) {
            return now;
        }
    }
}

int64_t vclock_now(struct vclock *clock)
{
    int64_t now;

    if (clock_line_read(&clock->line, &now)) {
        return now;
    }
    if (clock->stepped || !atomic_load_explicit(&clock->running, memory_order_relaxed) ||
        (clock->line.known && !clock->line.usable)) {
        return clock_now(clock);
    }
    g_mutex_lock(&clock->line.mutex);
    now = atomic_load_explicit(&clock->base_ns, memory_order_relaxed);
    if (atomic_load_explicit(&clock->running, memory_order_relaxed)) {
        now = clock_line_renew(&clock->line, now);
    }
    g_mutex_unlock(&clock->line.mutex);
    return now;
}

struct clock_line *vclock_line(struct vclock *clock)
{
    return &clock->line;
}

/* Mutexes of the clock and its line held; there is no line. */
static void clock_write_locked(struct vclock *clock, int64_t base_ns, bool running)
{
    uint32_t seq = atomic_load_explicit(&clock->seq, memory_order_relaxed);

    atomic_store_explicit(&clock->seq, seq + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&clock->base_ns, base_ns, memory_order_relaxed);
    atomic_store_explicit(&clock->running, running, memory_order_relaxed);
    atomic_store_explicit(&clock->seq, seq + 2, memory_order_release);
}

/* Mutex held. */
static void clock_write(struct vclock *clock, int64_t base_ns, bool running)
{
    int64_t last;

    g_mutex_lock(&clock->line.mutex);
    clock_line_stop(&clock->line, &last);
    clock_write_locked(clock, base_ns, running);
    g_mutex_unlock(&clock->line.mutex);
}

/* ---- the heap; mutex held */

static struct vtimer *heap_at(struct vclock *clock, unsigned i)
{
    return g_ptr_array_index(clock->heap, i);
}

static void heap_put(struct vclock *clock, unsigned i, struct vtimer *timer)
{
    g_ptr_array_index(clock->heap, i) = timer;
    timer->heap_index = i;
}

static void heap_up(struct vclock *clock, unsigned i)
{
    struct vtimer *timer = heap_at(clock, i);

    while (i > 0) {
        unsigned parent = (i - 1) / 2;

        if (heap_at(clock, parent)->deadline_ns <= timer->deadline_ns) {
            break;
        }
        heap_put(clock, i, heap_at(clock, parent));
        i = parent;
    }
    heap_put(clock, i, timer);
}

static void heap_down(struct vclock *clock, unsigned i)
{
    struct vtimer *timer = heap_at(clock, i);
    unsigned n = clock->heap->len;

    for (;;) {
        unsigned child = 2 * i + 1;

        if (child >= n) {
            break;
        }
        if (child + 1 < n &&
            heap_at(clock, child + 1)->deadline_ns < heap_at(clock, child)->deadline_ns) {
            child++;
        }
        if (timer->deadline_ns <= heap_at(clock, child)->deadline_ns) {
            break;
        }
        heap_put(clock, i, heap_at(clock, child));
        i = child;
    }
    heap_put(clock, i, timer);
}

static void timer_set_deadline(struct vtimer *timer, int64_t deadline_ns)
{
    /* vtimer_pending() reads it without the mutex. */
    __atomic_store_n(&timer->deadline_ns, deadline_ns, __ATOMIC_RELAXED);
}

static void heap_remove(struct vclock *clock, struct vtimer *timer)
{
    unsigned i = timer->heap_index;
    struct vtimer *tail = heap_at(clock, clock->heap->len - 1);

    g_ptr_array_set_size(clock->heap, (int)clock->heap->len - 1);
    timer_set_deadline(timer, -1);
    if (tail != timer) {
        heap_put(clock, i, tail);
        heap_up(clock, i);
        heap_down(clock, tail->heap_index);
    }
}

/* ---- the timerfd; mutex held */

static void clock_disarm(struct vclock *clock)
{
    struct itimerspec none = {{0}};

    if (clock->fd >= 0 && clock->armed_ns >= 0) {
        timerfd_settime(clock->fd, 0, &none, NULL);
    }
    clock->armed_ns = -1;
}

static void clock_arm(struct vclock *clock)
{
    struct itimerspec when = {{0}};
    int64_t deadline, host;

    if (clock->fd < 0 || clock->heap->len == 0 || atomic_load(&clock->held)) {
        return;
    }
    deadline = heap_at(clock, 0)->deadline_ns;
    if (clock->armed_ns >= 0 && clock->armed_ns <= deadline) {
        return;
    }
    if (clock->stepped) {
        /* What is due already fires from the loop; the rest waits for a step. */
        if (deadline > atomic_load_explicit(&clock->base_ns, memory_order_relaxed)) {
            return;
        }
        host = 1;
    } else if (!atomic_load_explicit(&clock->running, memory_order_relaxed)) {
        return;
    } else {
        int64_t base = atomic_load_explicit(&clock->base_ns, memory_order_relaxed);

        if (__builtin_sub_overflow(deadline, base, &host)) {
            host = INT64_MAX;
        }
    }
    host = MAX(host, 1);
    when.it_value.tv_sec = host / NS_PER_SEC;
    when.it_value.tv_nsec = host % NS_PER_SEC;
    if (timerfd_settime(clock->fd, TFD_TIMER_ABSTIME, &when, NULL) == 0) {
        clock->armed_ns = deadline;
    }
}

/* Takes the first timer that is due at now_ns out of the heap. Mutex held. */
static struct vtimer *clock_pop_due(struct vclock *clock, int64_t now_ns)
{
    struct vtimer *timer = clock->heap->len ? heap_at(clock, 0) : NULL;

    if (!timer || timer->deadline_ns > now_ns) {
        return NULL;
    }
    heap_remove(clock, timer);
    return timer;
}

static bool clock_expired(int fd, GIOCondition condition, void *arg)
{
    struct vclock *clock = arg;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN) {
        log_error("virtual clock: cannot read the timer: %s", strerror(errno));
    }
    g_mutex_lock(&clock->mutex);
    clock->armed_ns = -1;
    for (unsigned i = 0; i < TIMERS_PER_DISPATCH && !atomic_load(&clock->held) &&
                         (clock->stepped || vclock_running(clock));
         i++) {
        struct vtimer *timer = clock_pop_due(clock, vclock_now(clock));
        void (*fn)(void *) = timer ? timer->fn : NULL;
        void *opaque = timer ? timer->opaque : NULL;

        if (!timer) {
            break;
        }
        g_mutex_unlock(&clock->mutex);
        fn(opaque);
        g_mutex_lock(&clock->mutex);
    }
    clock_arm(clock);
    g_mutex_unlock(&clock->mutex);
    return true;
}

/* ---- public */

struct vclock *vclock_new(struct loop *loop, bool stepped)
{
    struct vclock *clock = g_new0(struct vclock, 1);

    clock->loop = loop;
    clock->stepped = stepped;
    clock->heap = g_ptr_array_new();
    clock->armed_ns = -1;
    clock->fd = -1;
    g_mutex_init(&clock->mutex);
    clock_line_init(&clock->line);
    if (loop) {
        clock->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (clock->fd < 0) {
            g_error("virtual clock: cannot make a timer: %s", strerror(errno));
        }
        clock->watch = loop_watch_fd(loop, clock->fd, G_IO_IN, clock_expired, clock);
    }
    return clock;
}

void vclock_make_stepped(struct vclock *clock)
{
    g_assert(!vclock_running(clock) && vclock_now(clock) == 0);
    clock->stepped = true;
}

void vclock_free(struct vclock *clock)
{
    if (!clock) {
        return;
    }
    while (clock->heap->len) {
        heap_remove(clock, heap_at(clock, 0));
    }
    if (clock->watch) {
        g_source_destroy(clock->watch);
    }
    if (clock->fd >= 0) {
        close(clock->fd);
    }
    g_ptr_array_unref(clock->heap);
    g_mutex_clear(&clock->mutex);
    clock_line_finish(&clock->line);
    g_free(clock);
}

void vclock_start(struct vclock *clock)
{
    g_mutex_lock(&clock->mutex);
    if (!vclock_running(clock)) {
        int64_t now = vclock_now(clock);

        clock_write(clock, clock->stepped ? now : now - host_now(), true);
        clock_arm(clock);
    }
    g_mutex_unlock(&clock->mutex);
}

void vclock_stop(struct vclock *clock)
{
    g_mutex_lock(&clock->mutex);
    if (vclock_running(clock)) {
        int64_t now;

        g_mutex_lock(&clock->line.mutex);
        if (!clock_line_stop(&clock->line, &now)) {
            now = clock_now(clock);
        }
        clock_write_locked(clock, now, false);
        g_mutex_unlock(&clock->line.mutex);
        clock_disarm(clock);
    }
    g_mutex_unlock(&clock->mutex);
}

void vclock_hold_timers(struct vclock *clock, bool on)
{
    g_mutex_lock(&clock->mutex);
    atomic_store(&clock->held, on);
    if (on) {
        clock_disarm(clock);
    } else {
        clock_arm(clock);
    }
    g_mutex_unlock(&clock->mutex);
}

bool vclock_running(struct vclock *clock)
{
    return atomic_load_explicit(&clock->running, memory_order_relaxed);
}

bool vclock_timers_fire(struct vclock *clock)
{
    return vclock_running(clock) && !clock->stepped && !atomic_load(&clock->held);
}

bool vclock_stepped(struct vclock *clock)
{
    return clock->stepped;
}

void vclock_set(struct vclock *clock, int64_t now_ns)
{
    g_mutex_lock(&clock->mutex);
    g_assert(!vclock_running(clock));
    clock_write(clock, now_ns, false);
    g_mutex_unlock(&clock->mutex);
}

void vclock_step(struct vclock *clock, int64_t to_ns)
{
    struct vtimer *timer;

    g_assert(clock->stepped);
    g_mutex_lock(&clock->mutex);
    to_ns = MAX(to_ns, vclock_now(clock));
    while (clock->heap->len && (timer = heap_at(clock, 0))->deadline_ns <= to_ns) {
        int64_t at_ns = MAX(timer->deadline_ns, vclock_now(clock));

        clock_write(clock, at_ns, vclock_running(clock));
        heap_remove(clock, timer);
        g_mutex_unlock(&clock->mutex);
        timer->fn(timer->opaque);
        g_mutex_lock(&clock->mutex);
    }
    clock_write(clock, to_ns, vclock_running(clock));
    g_mutex_unlock(&clock->mutex);
}

int64_t vclock_deadline(struct vclock *clock)
{
    int64_t deadline;

    g_mutex_lock(&clock->mutex);
    deadline = clock->heap->len ? heap_at(clock, 0)->deadline_ns : -1;
    g_mutex_unlock(&clock->mutex);
    return deadline;
}

void vtimer_init(struct vtimer *timer, struct vclock *clock, void (*fn)(void *), void *opaque)
{
    *timer = (struct vtimer){.clock = clock, .fn = fn, .opaque = opaque, .deadline_ns = -1};
}

void vtimer_set(struct vtimer *timer, int64_t deadline_ns)
{
    struct vclock *clock = timer->clock;

    g_mutex_lock(&clock->mutex);
    if (timer->deadline_ns >= 0) {
        heap_remove(clock, timer);
    }
    timer_set_deadline(timer, MAX(deadline_ns, 0));
    g_ptr_array_add(clock->heap, timer);
    timer->heap_index = clock->heap->len - 1;
    heap_up(clock, timer->heap_index);
    clock_arm(clock);
    g_mutex_unlock(&clock->mutex);
}

void vtimer_cancel(struct vtimer *timer)
{
    if (!timer->clock) {
        return; /* never initialised: a half-realized device */
    }
    g_mutex_lock(&timer->clock->mutex);
    if (timer->deadline_ns >= 0) {
        heap_remove(timer->clock, timer);
    }
    g_mutex_unlock(&timer->clock->mutex);
}

bool vtimer_pending(const struct vtimer *timer)
{
    return __atomic_load_n(&timer->deadline_ns, __ATOMIC_RELAXED) >= 0;
}
