/*
 * The run state and its transition table.
 *
 * The pairs are those that QEMU 7.2 and 8.2 allow (77), plus save-vm -> prelaunch: a reset during a
 * detached dump is legal here, where QEMU aborts. docs/run-states.md is drawn from this table by
 * tests/unit/run-states-doc.c, and a test fails when the two differ.
 */
#include "machine/runstate.h"

#include "base/log.h"
#include <glib.h>
#include <stdatomic.h>
#include <stdlib.h>

struct runstate {
    /* Written by the main thread, read by the control thread (query-status) and vCPUs. */
    _Atomic int state;
    void (*changed)(void *opaque, enum run_state from, enum run_state to);
    void *opaque;
};

#define FROM(state, target)                                                                        \
    {                                                                                              \
        RUN_STATE_##state, RUN_STATE_##target                                                      \
    }

const struct runstate_transition runstate_transitions[] = {
    FROM(PRELAUNCH, INMIGRATE),
    FROM(PRELAUNCH, RUNNING),
    FROM(PRELAUNCH, FINISH_MIGRATE),

    FROM(INMIGRATE, PRELAUNCH),
    FROM(INMIGRATE, RUNNING),
    FROM(INMIGRATE, PAUSED),
    FROM(INMIGRATE, SUSPENDED),
    FROM(INMIGRATE, IO_ERROR),
    FROM(INMIGRATE, INTERNAL_ERROR),
    FROM(INMIGRATE, WATCHDOG),
    FROM(INMIGRATE, GUEST_PANICKED),
    FROM(INMIGRATE, SHUTDOWN),
    FROM(INMIGRATE, FINISH_MIGRATE),
    FROM(INMIGRATE, POSTMIGRATE),
    FROM(INMIGRATE, COLO),

    FROM(RUNNING, PAUSED),
    FROM(RUNNING, SUSPENDED),
    FROM(RUNNING, DEBUG),
    FROM(RUNNING, IO_ERROR),
    FROM(RUNNING, INTERNAL_ERROR),
    FROM(RUNNING, WATCHDOG),
    FROM(RUNNING, GUEST_PANICKED),
    FROM(RUNNING, SHUTDOWN),
    FROM(RUNNING, SAVE_VM),
    FROM(RUNNING, RESTORE_VM),
    FROM(RUNNING, FINISH_MIGRATE),
    FROM(RUNNING, COLO),

    FROM(PAUSED, PRELAUNCH),
    FROM(PAUSED, RUNNING),
    FROM(PAUSED, FINISH_MIGRATE),
    FROM(PAUSED, POSTMIGRATE),
    FROM(PAUSED, COLO),

    FROM(SUSPENDED, PRELAUNCH),
    FROM(SUSPENDED, RUNNING),
    FROM(SUSPENDED, FINISH_MIGRATE),
    FROM(SUSPENDED, COLO),

    FROM(DEBUG, PRELAUNCH),
    FROM(DEBUG, RUNNING),
    FROM(DEBUG, SUSPENDED),
    FROM(DEBUG, FINISH_MIGRATE),

    FROM(IO_ERROR, PRELAUNCH),
    FROM(IO_ERROR, RUNNING),
    FROM(IO_ERROR, FINISH_MIGRATE),

    FROM(INTERNAL_ERROR, PRELAUNCH),
    FROM(INTERNAL_ERROR, PAUSED),
    FROM(INTERNAL_ERROR, FINISH_MIGRATE),

    FROM(WATCHDOG, PRELAUNCH),
    FROM(WATCHDOG, RUNNING),
    FROM(WATCHDOG, FINISH_MIGRATE),
    FROM(WATCHDOG, COLO),

    FROM(GUEST_PANICKED, PRELAUNCH),
    FROM(GUEST_PANICKED, RUNNING),
    FROM(GUEST_PANICKED, FINISH_MIGRATE),

    FROM(SHUTDOWN, PRELAUNCH),
    FROM(SHUTDOWN, PAUSED),
    FROM(SHUTDOWN, FINISH_MIGRATE),
    FROM(SHUTDOWN, COLO),

    FROM(SAVE_VM, RUNNING),
    FROM(SAVE_VM, PRELAUNCH), /* ours */

    FROM(RESTORE_VM, PRELAUNCH),
    FROM(RESTORE_VM, RUNNING),

    FROM(FINISH_MIGRATE, PRELAUNCH),
    FROM(FINISH_MIGRATE, RUNNING),
    FROM(FINISH_MIGRATE, PAUSED),
    FROM(FINISH_MIGRATE, SUSPENDED),
    FROM(FINISH_MIGRATE, IO_ERROR),
    FROM(FINISH_MIGRATE, INTERNAL_ERROR),
    FROM(FINISH_MIGRATE, WATCHDOG),
    FROM(FINISH_MIGRATE, GUEST_PANICKED),
    FROM(FINISH_MIGRATE, SHUTDOWN),
    FROM(FINISH_MIGRATE, POSTMIGRATE),
    FROM(FINISH_MIGRATE, COLO),

    FROM(POSTMIGRATE, PRELAUNCH),
    FROM(POSTMIGRATE, RUNNING),
    FROM(POSTMIGRATE, FINISH_MIGRATE),

    FROM(COLO, PRELAUNCH),
    FROM(COLO, RUNNING),
    FROM(COLO, SHUTDOWN),
};

const unsigned runstate_n_transitions = G_N_ELEMENTS(runstate_transitions);

bool runstate_may(enum run_state from, enum run_state to)
{
    for (unsigned i = 0; i < runstate_n_transitions; i++) {
        if (runstate_transitions[i].from == from && runstate_transitions[i].to == to) {
            return true;
        }
    }
    return false;
}

struct runstate *runstate_new(enum run_state first)
{
    struct runstate *run = g_new0(struct runstate, 1);

    atomic_init(&run->state, first);
    return run;
}

void runstate_free(struct runstate *run)
{
    g_free(run);
}

void runstate_observe(struct runstate *run,
                      void (*changed)(void *opaque, enum run_state from, enum run_state to),
                      void *opaque)
{
    run->changed = changed;
    run->opaque = opaque;
}

enum run_state runstate_get(const struct runstate *run)
{
    return (enum run_state)atomic_load(&run->state);
}

bool runstate_is_running(const struct runstate *run)
{
    return runstate_get(run) == RUN_STATE_RUNNING;
}

void runstate_set(struct runstate *run, enum run_state to)
{
    enum run_state from = runstate_get(run);

    if (from == to) {
        return;
    }
    if (!runstate_may(from, to)) {
        log_error("invalid run state transition: '%s' -> '%s'", run_state_str(from),
                  run_state_str(to));
#ifndef NDEBUG
        abort();
#endif
        to = RUN_STATE_INTERNAL_ERROR;
    }
    atomic_store(&run->state, to);
    if (run->changed) {
        run->changed(run->opaque, from, to);
    }
}
