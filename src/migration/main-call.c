/*
 * How a migration's thread has things done on the main thread, and does not hang when that ends.
 */
#include "machine/cause.h"
#include "migration/migration-priv.h"

void main_call_init(struct main_call *call, struct machine *m, const char *what)
{
    *call = (struct main_call){.machine = m};
    call->cause = cause_now(m, GODWIT_CAUSE_WHO_MACHINE, what);
    g_mutex_init(&call->mutex);
    g_cond_init(&call->cond);
}

void main_call_finish(struct main_call *call)
{
    cause_unref(call->cause);
    g_mutex_clear(&call->mutex);
    g_cond_clear(&call->cond);
}

static void run_caused(struct main_call *call)
{
    struct machine *m = call->machine;
    struct cause_scope scope;

    cause_enter(m, &scope, g_steal_pointer(&call->cause));
    call->fn(call->arg);
    call->cause = cause_now(m, GODWIT_CAUSE_WHO_MACHINE, "migration"); /* the scope's */
    cause_leave(m, &scope);
}

static void run(void *arg)
{
    struct main_call *call = arg;

    g_mutex_lock(&call->mutex);
    if (call->state != CALL_POSTED) {
        g_mutex_unlock(&call->mutex);
        return;
    }
    call->state = CALL_RUNS;
    g_mutex_unlock(&call->mutex);
    run_caused(call);
    g_mutex_lock(&call->mutex);
    call->state = CALL_IDLE;
    g_cond_signal(&call->cond);
    g_mutex_unlock(&call->mutex);
}

bool main_call(struct main_call *call, void (*fn)(void *arg), void *arg)
{
    bool done;

    g_mutex_lock(&call->mutex);
    done = !call->abandoned;
    if (done) {
        call->fn = fn;
        call->arg = arg;
        call->state = CALL_POSTED;
        loop_post(call->machine->loop, run, call);
        while (call->state == CALL_POSTED || call->state == CALL_RUNS) {
            g_cond_wait(&call->cond, &call->mutex);
        }
        done = call->state == CALL_IDLE;
    }
    g_mutex_unlock(&call->mutex);
    return done;
}

void main_call_abandon(struct main_call *call)
{
    g_mutex_lock(&call->mutex);
    call->abandoned = true;
    if (call->state == CALL_POSTED) {
        call->state = CALL_ABANDONED;
    }
    g_cond_signal(&call->cond);
    g_mutex_unlock(&call->mutex);
}
