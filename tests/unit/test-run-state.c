/*
 * The run state's table and its one writer.
 */
#include "machine/runstate.h"

#include <glib.h>
#include <string.h>

static void test_table(void)
{
    g_assert_cmpuint(runstate_n_transitions, ==, 78);
    for (unsigned i = 0; i < runstate_n_transitions; i++) {
        const struct runstate_transition *t = &runstate_transitions[i];

        g_assert_cmpint(t->from, !=, t->to);
        for (unsigned j = 0; j < i; j++) {
            g_assert_true(t->from != runstate_transitions[j].from ||
                          t->to != runstate_transitions[j].to);
        }
    }
}

static void test_known_pairs(void)
{
    g_assert_true(runstate_may(RUN_STATE_PRELAUNCH, RUN_STATE_RUNNING));
    g_assert_true(runstate_may(RUN_STATE_RUNNING, RUN_STATE_INTERNAL_ERROR));
    g_assert_true(runstate_may(RUN_STATE_SAVE_VM, RUN_STATE_PRELAUNCH));
    g_assert_false(runstate_may(RUN_STATE_PRELAUNCH, RUN_STATE_PAUSED));
    g_assert_false(runstate_may(RUN_STATE_SHUTDOWN, RUN_STATE_RUNNING));
    g_assert_false(runstate_may(RUN_STATE_INTERNAL_ERROR, RUN_STATE_RUNNING));
    g_assert_false(runstate_may(RUN_STATE_PAUSED, RUN_STATE_SHUTDOWN));
}

/* Every state can be left towards running again, over at most a reset. */
static void test_no_dead_end(void)
{
    for (int s = 0; s < RUN_STATE__MAX; s++) {
        enum run_state state = (enum run_state)s;

        g_assert_true(state == RUN_STATE_RUNNING || runstate_may(state, RUN_STATE_RUNNING) ||
                      runstate_may(state, RUN_STATE_PRELAUNCH));
    }
}

static void test_every_legal_set(void)
{
    for (unsigned i = 0; i < runstate_n_transitions; i++) {
        struct runstate *run = runstate_new(runstate_transitions[i].from);

        runstate_set(run, runstate_transitions[i].from); /* no transition: always fine */
        runstate_set(run, runstate_transitions[i].to);
        g_assert_cmpint(runstate_get(run), ==, runstate_transitions[i].to);
        g_assert_cmpint(runstate_is_running(run), ==,
                        runstate_transitions[i].to == RUN_STATE_RUNNING);
        runstate_free(run);
    }
}

static void test_illegal_set(void)
{
    if (g_test_subprocess()) {
        struct runstate *run = runstate_new(RUN_STATE_SHUTDOWN);

        runstate_set(run, RUN_STATE_RUNNING);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*invalid run state transition: 'shutdown' -> 'running'*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/run-state/table", test_table);
    g_test_add_func("/run-state/known-pairs", test_known_pairs);
    g_test_add_func("/run-state/no-dead-end", test_no_dead_end);
    g_test_add_func("/run-state/every-legal-set", test_every_legal_set);
    g_test_add_func("/run-state/illegal-set", test_illegal_set);
    return g_test_run();
}
