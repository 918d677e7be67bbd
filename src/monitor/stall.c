/*
 * -stall-ms: the control thread watches the main thread. A beat is posted there and must have been
 * taken when the time is up; a thread that only waits for work takes it at once.
 */
#include "monitor/monitor-priv.h"

#include "base/log.h"
#include "qapi-events.h"

/* How often is looked, as a part of the time. */
#define LOOKS 4

struct stall {
    struct monitor *mon;
    unsigned limit_ms;
    GSource *timer;
    _Atomic unsigned taken; /* by the main thread: the number of the last beat */
    unsigned sent;          /* the rest is the control thread's */
    int64_t sent_us;
    bool told;
};

static void beat(void *arg)
{
    struct stall *stall = arg;

    atomic_fetch_add(&stall->taken, 1);
}

static void tell(struct stall *stall, int64_t ms)
{
    g_autoptr(GArray) list = threads_list(true);
    const struct thread_info *info = stall_culprit(list);
    struct godwit_thread *thread;

    if (!info) {
        return;
    }
    thread = godwit_thread_of(list, info);
    log_warn("the main thread does not move for %d ms: %s is in %s%s%s", (int)ms, thread->name,
             thread->call ? thread->call : "a computation", thread->doing ? ", " : "",
             thread->doing ? thread->doing : "");
    qapi_event_send_godwit_stall(&stall->mon->sink, thread, thread->call, ms);
    godwit_thread_free(thread);
}

static gboolean look(gpointer arg)
{
    struct stall *stall = arg;
    int64_t now_us = g_get_monotonic_time(), ms = (now_us - stall->sent_us) / 1000;

    if (atomic_load(&stall->taken) == stall->sent) {
        if (stall->told) {
            stall->told = false;
            log_warn("the main thread moves again after %d ms", (int)ms);
            qapi_event_send_godwit_stall_end(&stall->mon->sink, ms);
        }
        stall->sent++;
        stall->sent_us = now_us;
        loop_post(stall->mon->machine->loop, beat, stall);
    } else if (ms >= stall->limit_ms && !stall->told) {
        stall->told = true;
        tell(stall, ms);
    }
    return G_SOURCE_CONTINUE;
}

struct stall *stall_new(struct monitor *mon, unsigned limit_ms)
{
    struct stall *stall = g_new0(struct stall, 1);

    stall->mon = mon;
    stall->limit_ms = limit_ms;
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
        g_free(stall);
    }
}
