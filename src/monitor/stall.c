/*
 * -stall-ms: threads that do not move.
 *
 * The control thread watches the main thread: a beat is posted there and must have been taken when
 * the time is up. A thread that only waits for work takes it at once. The main thread, each time it
 * takes one, looks at the others, which may hang without holding it up: vCPUs must leave guest code
 * for a moment when they are asked to, and the block layer's I/O thread has a beat of its own.
 */
#include "monitor/monitor-priv.h"

#include "base/log.h"
#include "qapi-events.h"

/* How often is looked, as a part of the time. */
#define LOOKS 4

/* A thread that is watched. */
struct watched {
    char name[THREAD_NAME_BYTES]; /* as in godwit-query-threads */
    int64_t asked_us;             /* 0: it owes nothing */
    bool told;
};

struct stall {
    struct monitor *mon;
    unsigned limit_ms;
    GSource *timer;
    _Atomic unsigned main_taken; /* by the main thread: the number of the last beat */
    unsigned main_sent;          /* the control thread's */
    struct watched main;         /* the control thread's */
    /* The rest is the main thread's. */
    int64_t looked_us;
    struct watched *vcpu; /* by index */
    unsigned n_vcpus;
    struct watched io;
    _Atomic bool *io_taken; /* g_atomic_rc_box: a beat on its way holds one more */
};

/* ---- what is told */

static void tell(struct stall *stall, const struct watched *w, int64_t ms)
{
    g_autoptr(GArray) list = threads_list(true);
    const struct thread_info *info = stall_culprit(list, w->name);
    struct godwit_thread *thread;

    if (!info) {
        return;
    }
    thread = godwit_thread_of(list, info);
    log_warn("the thread '%s' does not move for %d ms: %s is in %s%s%s", w->name, (int)ms,
             thread->name, thread->call ? thread->call : "a computation", thread->doing ? ", " : "",
             thread->doing ? thread->doing : "");
    qapi_event_send_godwit_stall(&stall->mon->sink, w->name, thread, thread->call, ms);
    godwit_thread_free(thread);
}

/* moved: it has done what it was asked to at asked_us. */
static void judge(struct stall *stall, struct watched *w, bool moved, int64_t now_us)
{
    int64_t ms = (now_us - w->asked_us) / 1000;

    if (moved && w->told) {
        log_warn("the thread '%s' moves again after %d ms", w->name, (int)ms);
        qapi_event_send_godwit_stall_end(&stall->mon->sink, w->name, ms);
        w->told = false;
    } else if (!moved && !w->told && ms >= stall->limit_ms) {
        w->told = true;
        tell(stall, w, ms);
    }
}

/* ---- on the main thread: the others */

static void watch_vcpus(struct stall *stall, int64_t now_us)
{
    struct cpus *cpus = stall->mon->machine->cpus;
    unsigned n = cpus ? cpus->n : 0;

    if (n > stall->n_vcpus) {
        stall->vcpu = g_renew(struct watched, stall->vcpu, n);
        for (unsigned i = stall->n_vcpus; i < n; i++) {
            stall->vcpu[i] = (struct watched){0};
            g_snprintf(stall->vcpu[i].name, THREAD_NAME_BYTES, "vCPU %u", i);
        }
        stall->n_vcpus = n;
    }
    for (unsigned i = 0; i < n; i++) {
        bool due = vcpu_beat_due(cpus->vcpu[i]);

        judge(stall, &stall->vcpu[i], !due, now_us);
        if (!due) {
            stall->vcpu[i].asked_us = now_us;
            vcpu_ask_beat(cpus->vcpu[i]);
        }
    }
}

static void io_beat(void *arg)
{
    atomic_store((_Atomic bool *)arg, true);
    g_atomic_rc_box_release(arg);
}

static void watch_io(struct stall *stall, int64_t now_us)
{
    struct loop *io = block_graph_running_loop(stall->mon->machine->block);
    bool taken = atomic_load(stall->io_taken);

    if (!io) {
        return;
    }
    judge(stall, &stall->io, taken, now_us);
    if (taken) {
        stall->io.asked_us = now_us;
        atomic_store(stall->io_taken, false);
        loop_post(io, io_beat, g_atomic_rc_box_acquire(stall->io_taken));
    }
}

/* Who was asked while the main thread itself did not move has time again: it may have been held up
 * by it. */
static void forgive(struct stall *stall, int64_t now_us)
{
    for (unsigned i = 0; i < stall->n_vcpus; i++) {
        if (!stall->vcpu[i].told) {
            stall->vcpu[i].asked_us = now_us;
        }
    }
    if (!stall->io.told) {
        stall->io.asked_us = now_us;
    }
}

static void beat(void *arg)
{
    struct stall *stall = arg;
    int64_t now_us = g_get_monotonic_time();

    if (now_us - stall->looked_us >= (int64_t)stall->limit_ms * 1000) {
        forgive(stall, now_us);
    }
    stall->looked_us = now_us;
    watch_vcpus(stall, now_us);
    watch_io(stall, now_us);
    atomic_fetch_add(&stall->main_taken, 1);
}

/* ---- on the control thread: the main thread */

static gboolean look(gpointer arg)
{
    struct stall *stall = arg;
    int64_t now_us = g_get_monotonic_time();
    bool taken = atomic_load(&stall->main_taken) == stall->main_sent;

    judge(stall, &stall->main, taken, now_us);
    if (taken) {
        stall->main_sent++;
        stall->main.asked_us = now_us;
        loop_post(stall->mon->machine->loop, beat, stall);
    }
    return G_SOURCE_CONTINUE;
}

struct stall *stall_new(struct monitor *mon, unsigned limit_ms)
{
    struct stall *stall = g_new0(struct stall, 1);

    stall->mon = mon;
    stall->limit_ms = limit_ms;
    g_strlcpy(stall->main.name, "main", THREAD_NAME_BYTES);
    g_strlcpy(stall->io.name, "io", THREAD_NAME_BYTES);
    stall->io_taken = g_atomic_rc_box_new0(_Atomic bool);
    atomic_store(stall->io_taken, true);
    stall->timer = g_timeout_source_new(MAX(limit_ms / LOOKS, 1));
    g_source_set_callback(stall->timer, look, stall, NULL);
    g_source_attach(stall->timer, mon->loop->context);
    return stall;
}

void stall_free(struct stall *stall)
{
    if (stall) {
        g_source_destroy(stall->timer);
        g_source_unref(stall->timer);
        g_free(stall->vcpu);
        g_atomic_rc_box_release(stall->io_taken);
        g_free(stall);
    }
}
