/*
 * How a migration's thread has things done on the main thread, and does not hang when that ends.
 */
#include "migration/migration-priv.h"

void main_call_init(struct main_call *call, struct loop *loop)
{
    *call = (struct main_call){.loop = loop};
    g_mutex_init(&call->mutex);
    g_cond_init(&call->cond);
}

void main_call_finish(struct main_call *call)
{
    g_mutex_clear(&call->mutex);
    g_cond_clear(&call->cond);
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
    call->fn(call->arg);
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
        loop_post(call->loop, run, call);
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
