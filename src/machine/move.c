/*
 * A guest that comes from another machine or goes to one: run states, and who has the images.
 */
#include "machine/machine-priv.h"

#include "base/log.h"
#include "qapi-events.h"

/* The table lacks some ways out of the states of a migration: those end in paused. */
static void set_state(struct machine *m, enum run_state state)
{
    runstate_set(m->run, runstate_may(runstate_get(m->run), state) ? state : RUN_STATE_PAUSED);
}

void vm_arrive(struct machine *m, enum run_state state, bool may_run)
{
    g_assert(big_lock_held(&m->lock));
    if (state == RUN_STATE_RUNNING && may_run && vm_will_run(m)) {
        machine_go_on(m);
        return;
    }
    set_state(m, state == RUN_STATE_RUNNING ? RUN_STATE_PAUSED : state);
    if (state == RUN_STATE_SUSPENDED) {
        machine_note_asleep(m, true);
    }
}

enum run_state vm_stop_to_move(struct machine *m)
{
    enum run_state state = runstate_get(m->run);
    bool asleep = state == RUN_STATE_SUSPENDED;

    g_assert(big_lock_held(&m->lock));
    if (asleep) {
        machine_wake_stopped(m);
        state = RUN_STATE_RUNNING;
    }
    if (runstate_is_running(m->run)) {
        vm_stop(m, RUN_STATE_FINISH_MIGRATE);
    } else {
        runstate_set(m->run, RUN_STATE_FINISH_MIGRATE);
        block_flush_all(m->block);
    }
    if (asleep) {
        qapi_event_send_wakeup(m->events);
    }
    return state;
}

void vm_stay(struct machine *m, enum run_state state)
{
    g_autoptr(GError) error = NULL;

    g_assert(big_lock_held(&m->lock));
    if (runstate_get(m->run) != RUN_STATE_FINISH_MIGRATE) {
        return;
    }
    if (!block_activate(m->block, &error)) {
        log_error("the guest cannot go on: %s", error->message);
        state = state == RUN_STATE_RUNNING ? RUN_STATE_PAUSED : state;
    }
    if (state == RUN_STATE_RUNNING) {
        machine_go_on(m);
    } else {
        set_state(m, state);
    }
}
