/*
 * Two threads, one role (see control.h). The role is a number: even while somebody runs the loop,
 * odd while he is away, and it counts up at each change. Who was away, and who has watched him long
 * enough, both try to make the number even again; who does has the loop.
 *
 * The watch costs nothing while nothing is put aside: the watcher looks every few milliseconds, and
 * after some looks in vain it sleeps until it is woken.
 */
#include "monitor/control.h"

#include "base/log.h"
#include "base/threads.h"
#include <stdatomic.h>
#include <stdint.h>

/* How long the loop may be left alone: between one and two of it. */
#define LOOK_US    (2 * G_TIME_SPAN_MILLISECOND)
/* So many looks in vain, and the watcher sleeps. */
#define LOOKS_IDLE 25
/* Between two looks whether all that was put aside is done. */
#define SETTLE_US  100

struct control {
    struct loop *loop;
    GThread *thread, *second; /* second: NULL until there is something to watch */
    bool alone;               /* there is no second to be had */
    /* What is put aside in this round; of who has the loop. */
    void (*fn)(void *arg);
    void *arg;

    _Atomic unsigned aside; /* how many threads do what they put aside: both, at most */
    _Atomic uint64_t role;
    _Atomic bool asleep; /* the watcher is to be woken */
    _Atomic bool ended;
    GMutex mutex; /* the watcher sleeps with it */
    GCond wake;
};

static void wake_watcher(struct control *c)
{
    g_mutex_lock(&c->mutex);
    atomic_store(&c->asleep, false);
    g_cond_broadcast(&c->wake);
    g_mutex_unlock(&c->mutex);
}

/* Calls what was put aside. false: the loop is somebody else's now. */
static bool do_aside(struct control *c)
{
    void (*fn)(void *) = c->fn;
    void *arg = c->arg;
    uint64_t away = atomic_load(&c->role) + 1;

    c->fn = NULL;
    atomic_fetch_add(&c->aside, 1); /* before the loop can be another's; see control_settle() */
    atomic_store(&c->role, away);
    if (atomic_load(&c->asleep)) {
        wake_watcher(c);
    }
    fn(arg);
    atomic_fetch_sub(&c->aside, 1);
    return atomic_compare_exchange_strong(&c->role, &away, away + 1);
}

/* Until the end, or until the loop is somebody else's. */
static void lead(struct control *c)
{
    while (!atomic_load(&c->ended)) {
        loop_run_once(c->loop);
        if (c->fn && !do_aside(c)) {
            return;
        }
    }
    wake_watcher(c);
}

/* The watcher's pause between two looks. */
static void rest(struct control *c)
{
    gint64 until_us = g_get_monotonic_time() + LOOK_US;

    g_mutex_lock(&c->mutex);
    while (!atomic_load(&c->ended) && g_cond_wait_until(&c->wake, &c->mutex, until_us)) {
        /* woken too early */
    }
    g_mutex_unlock(&c->mutex);
}

/* While nothing happens: the role is as it was seen. */
static void sleep_well(struct control *c, uint64_t seen)
{
    g_mutex_lock(&c->mutex);
    atomic_store(&c->asleep, true);
    while (!atomic_load(&c->ended) && atomic_load(&c->asleep) && atomic_load(&c->role) == seen) {
        g_cond_wait(&c->wake, &c->mutex);
    }
    atomic_store(&c->asleep, false);
    g_mutex_unlock(&c->mutex);
}

/* Until the end, or until the loop is the calling thread's. */
static void watch(struct control *c)
{
    uint64_t seen = atomic_load(&c->role);
    unsigned looks = 0;

    while (!atomic_load(&c->ended)) {
        uint64_t now;

        if (looks >= LOOKS_IDLE && !(seen & 1)) {
            sleep_well(c, seen);
        } else {
            rest(c);
        }
        now = atomic_load(&c->role);
        if (now & 1 && now == seen && atomic_compare_exchange_strong(&c->role, &now, now + 1)) {
            return;
        }
        looks = now == seen ? looks + 1 : 0;
        seen = now;
    }
}

/* A control thread: in turns one of the two has the loop, and the other watches. */
static void serve(struct control *c, const char *name, bool leads)
{
    thread_begin(name, THREAD_CONTROL);
    for (; !atomic_load(&c->ended); leads = !leads) {
        if (leads) {
            lead(c);
        } else {
            watch(c);
        }
    }
    thread_end();
}

static gpointer first_thread(gpointer arg)
{
    serve(arg, "control", true);
    return NULL;
}

static gpointer second_thread(gpointer arg)
{
    serve(arg, "control 2", false);
    return NULL;
}

static bool want_second(struct control *c)
{
    g_autoptr(GError) error = NULL;

    if (!c->second && !c->alone) {
        c->second = g_thread_try_new("control 2", second_thread, c, &error);
        if (!c->second) {
            log_warn("the second control thread cannot be had: %s", error->message);
            c->alone = true;
        }
    }
    return c->second;
}

bool control_put_aside(struct control *c, void (*fn)(void *arg), void *arg)
{
    g_assert(loop_is_here(c->loop));
    if (c->fn || !want_second(c)) {
        return false;
    }
    c->fn = fn;
    c->arg = arg;
    return true;
}

void control_settle(struct control *c)
{
    g_assert(loop_is_here(c->loop));
    c->fn = NULL;
    while (atomic_load(&c->aside)) {
        g_usleep(SETTLE_US);
    }
}

struct control *control_new(struct loop *loop)
{
    struct control *c = g_new0(struct control, 1);

    c->loop = loop;
    g_mutex_init(&c->mutex);
    g_cond_init(&c->wake);
    return c;
}

void control_start(struct control *c)
{
    c->thread = g_thread_new("control", first_thread, c);
}

static void note_end(void *arg)
{
    atomic_store(&((struct control *)arg)->ended, true);
}

void control_free(struct control *c)
{
    if (!c) {
        return;
    }
    if (c->thread) {
        loop_call(c->loop, note_end, c);
        g_thread_join(c->thread);
    }
    if (c->second) {
        g_thread_join(c->second);
    }
    g_mutex_clear(&c->mutex);
    g_cond_clear(&c->wake);
    g_free(c);
}
