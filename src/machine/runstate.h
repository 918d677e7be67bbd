/*
 * The run state and its one table of legal transitions (docs/run-states.md is drawn from it).
 *
 * runstate_set() is the only writer. A transition that the table lacks is a bug of ours: debug
 * builds abort, release builds log it and go to internal-error.
 */
#ifndef MACHINE_RUNSTATE_H
#define MACHINE_RUNSTATE_H

#include "qapi-types.h"
#include <stdbool.h>

struct runstate;

struct runstate_transition {
    enum run_state from, to;
};
extern const struct runstate_transition runstate_transitions[];
extern const unsigned runstate_n_transitions;

struct runstate *runstate_new(enum run_state first);
void runstate_free(struct runstate *run);
enum run_state runstate_get(const struct runstate *run);    /* any thread, no lock */
bool runstate_is_running(const struct runstate *run);       /* any thread, no lock */
void runstate_set(struct runstate *run, enum run_state to); /* main thread; same state is a no-op */
/* Calls changed() after each change. One observer; set before the first change. */
void runstate_observe(struct runstate *run,
                      void (*changed)(void *opaque, enum run_state from, enum run_state to),
                      void *opaque);
bool runstate_may(enum run_state from, enum run_state to);

#endif
