/*
 * A machine's life without a CPU: requests, their order, run states and events, on a board with
 * nothing on it. Events are noted with the state that was visible when they were sent.
 */
#include "machine/machine.h"
#include "qapi-events.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

struct recorder {
    struct event_sink sink; /* first */
    struct machine *m;
    GString *events;
    unsigned resets, buttons, wakes;
    bool reset_fails, wake_fails, asleep;
};

static bool board_init(struct machine *m, GError **error)
{
    return true;
}

static bool board_reset(struct machine *m, GError **error)
{
    struct recorder *r = (struct recorder *)m->config->populate_opaque;

    r->resets++;
    if (r->reset_fails) {
        g_set_error(error, MACHINE_ERROR, 0, "the kernel is gone");
    }
    return !r->reset_fails;
}

static void board_button(struct machine *m)
{
    ((struct recorder *)m->config->populate_opaque)->buttons++;
}

static void board_asleep(struct machine *m, bool asleep)
{
    ((struct recorder *)m->config->populate_opaque)->asleep = asleep;
}

static bool board_wake(struct machine *m, GError **error)
{
    struct recorder *r = (struct recorder *)m->config->populate_opaque;

    r->wakes++;
    if (r->wake_fails) {
        g_set_error(error, MACHINE_ERROR, 0, "no waking vector");
    }
    return !r->wake_fails;
}

static const struct board board = {
    .name = "test-1.0",
    .alias = "test",
    .desc = "nothing",
    .max_cpus = 1,
    .init = board_init,
    .reset = board_reset,
    .power_button = board_button,
    .asleep = board_asleep,
    .wake = board_wake,
};
const struct board *const boards[] = {&board, NULL};

static void record(struct event_sink *sink, unsigned event, const char *data_json)
{
    struct recorder *r = (struct recorder *)sink;

    g_string_append_printf(r->events, "%s%s@%s ", qapi_event_str((enum qapi_event)event),
                           data_json ? data_json : "", run_state_str(runstate_get(r->m->run)));
}

struct fixture {
    struct recorder r;
    struct machine *m;
};

static void set_up(struct fixture *f, gconstpointer unused)
{
    struct machine_config *config = machine_config_new();
    g_autoptr(GError) error = NULL;

    config->machine_type = g_strdup("test");
    config->populate_opaque = &f->r; /* for the board */
    f->r.sink.emit = record;
    f->r.events = g_string_new(NULL);
    f->m = machine_new(config, loop_new, &f->r.sink, &error);
    g_assert_no_error(error);
    f->r.m = f->m;
    g_assert_cmpuint(f->r.resets, ==, 1);
    g_assert_cmpint(runstate_get(f->m->run), ==, RUN_STATE_PRELAUNCH);
    big_lock_acquire(&f->m->lock);
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    big_lock_release(&f->m->lock);
    machine_free(f->m);
    g_string_free(f->r.events, TRUE);
}

/* The events since the last call, and the state now. */
static void expect(struct fixture *f, const char *events, enum run_state state)
{
    g_assert_cmpstr(f->r.events->str, ==, events);
    g_assert_cmpstr(run_state_str(runstate_get(f->m->run)), ==, run_state_str(state));
    g_string_truncate(f->r.events, 0);
}

static void start(struct fixture *f)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vm_start(f->m, &error));
    g_assert_no_error(error);
    expect(f, "RESUME@running ", RUN_STATE_RUNNING);
}

static void expect_refusal(struct fixture *f)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(vm_start(f->m, &error));
    g_assert_cmpstr(error->message, ==, "Resetting the Virtual Machine is required");
}

#define SHUTDOWN_OF(cause, guest) "SHUTDOWN{\"guest\": " guest ", \"reason\": \"" cause "\"}"
#define RESET_OF(cause, guest)    "RESET{\"guest\": " guest ", \"reason\": \"" cause "\"}"

static void test_stop_and_start(struct fixture *f, gconstpointer unused)
{
    int64_t stopped_at;

    vm_stop(f->m, RUN_STATE_PAUSED); /* nothing runs: no event, same state */
    expect(f, "", RUN_STATE_PRELAUNCH);
    start(f);
    g_assert_true(vclock_running(f->m->clock));
    g_assert_true(vm_start(f->m, NULL));
    expect(f, "", RUN_STATE_RUNNING);
    vm_stop(f->m, RUN_STATE_PAUSED);
    expect(f, "STOP@paused ", RUN_STATE_PAUSED);
    stopped_at = vclock_now(f->m->clock);
    g_assert_false(vclock_running(f->m->clock));
    vm_stop(f->m, RUN_STATE_PAUSED);
    expect(f, "", RUN_STATE_PAUSED);
    g_assert_true(vm_start(f->m, NULL));
    expect(f, "RESUME@running ", RUN_STATE_RUNNING);
    vm_stop(f->m, RUN_STATE_PAUSED);
    g_assert_cmpint(vclock_now(f->m->clock) - stopped_at, <, NS_PER_SEC);
}

static void test_reset(struct fixture *f, gconstpointer unused)
{
    start(f);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    g_assert_true(machine_run_requests(f->m));
    expect(f, RESET_OF("host-qmp-system-reset", "false") "@running ", RUN_STATE_RUNNING);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_GUEST_RESET, "test");
    g_assert_true(machine_run_requests(f->m));
    expect(f, RESET_OF("guest-reset", "true") "@running ", RUN_STATE_RUNNING);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_SUBSYSTEM_RESET, "test");
    g_assert_true(machine_run_requests(f->m));
    expect(f, "", RUN_STATE_RUNNING);
    g_assert_cmpuint(f->r.resets, ==, 4);
    vm_stop(f->m, RUN_STATE_PAUSED);
    expect(f, "STOP@paused ", RUN_STATE_PAUSED);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    machine_run_requests(f->m);
    expect(f, RESET_OF("host-qmp-system-reset", "false") "@prelaunch ", RUN_STATE_PRELAUNCH);
}

static void test_failing_reset(struct fixture *f, gconstpointer unused)
{
    start(f);
    f->r.reset_fails = true;
    machine_request_reset(f->m, SHUTDOWN_CAUSE_GUEST_RESET, "test");
    g_assert_false(machine_run_requests(f->m));
    expect(
        f,
        RESET_OF("guest-reset", "true") "@running " SHUTDOWN_OF("host-error", "false") "@running ",
        RUN_STATE_RUNNING);
    g_assert_cmpint(f->m->exit_status, ==, 1);
}

/* With -no-shutdown it stands still until a reset works. */
static void test_failing_reset_pauses(struct fixture *f, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;

    machine_actions(f->m)->shutdown = SHUTDOWN_ACTION_PAUSE;
    start(f);
    f->r.reset_fails = true;
    machine_request_reset(f->m, SHUTDOWN_CAUSE_GUEST_RESET, "test");
    g_assert_true(machine_run_requests(f->m));
    expect(f,
           RESET_OF("guest-reset", "true") "@running " SHUTDOWN_OF(
               "host-error", "false") "@running STOP@shutdown ",
           RUN_STATE_SHUTDOWN);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    g_assert_true(machine_run_requests(f->m));
    g_assert_false(vm_start(f->m, &error));
    f->r.reset_fails = false;
    g_string_truncate(f->r.events, 0);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    g_assert_true(machine_run_requests(f->m));
    g_assert_true(vm_start(f->m, NULL));
}

static void test_shutdown(struct fixture *f, gconstpointer unused)
{
    start(f);
    machine_request_shutdown(f->m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, "test");
    g_assert_false(machine_run_requests(f->m));
    expect(f, SHUTDOWN_OF("guest-shutdown", "true") "@running ", RUN_STATE_RUNNING);
    g_assert_false(machine_run_requests(f->m)); /* it is over */
}

static void test_no_shutdown(struct fixture *f, gconstpointer unused)
{
    machine_actions(f->m)->shutdown = SHUTDOWN_ACTION_PAUSE;
    start(f);
    machine_request_shutdown(f->m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, "test");
    g_assert_true(machine_run_requests(f->m));
    expect(f, SHUTDOWN_OF("guest-shutdown", "true") "@running STOP@shutdown ", RUN_STATE_SHUTDOWN);
    expect_refusal(f);
    vm_stop(f->m, RUN_STATE_PAUSED);
    expect(f, "", RUN_STATE_SHUTDOWN);
    machine_request_shutdown(f->m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, "test");
    g_assert_true(machine_run_requests(f->m));
    expect(f, SHUTDOWN_OF("guest-shutdown", "true") "@shutdown ", RUN_STATE_SHUTDOWN);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    g_assert_true(machine_run_requests(f->m));
    expect(f, RESET_OF("host-qmp-system-reset", "false") "@prelaunch ", RUN_STATE_PRELAUNCH);
    start(f);
}

/* From outside the process can always be ended. */
static void test_quit(struct fixture *f, gconstpointer unused)
{
    machine_actions(f->m)->shutdown = SHUTDOWN_ACTION_PAUSE;
    machine_request_shutdown(f->m, SHUTDOWN_CAUSE_HOST_QMP_QUIT, "test");
    g_assert_false(machine_run_requests(f->m));
    expect(f, SHUTDOWN_OF("host-qmp-quit", "false") "@prelaunch ", RUN_STATE_PRELAUNCH);
}

static void test_no_reboot(struct fixture *f, gconstpointer unused)
{
    machine_actions(f->m)->reboot = REBOOT_ACTION_SHUTDOWN;
    start(f);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_GUEST_RESET, "test");
    g_assert_false(machine_run_requests(f->m));
    expect(f, SHUTDOWN_OF("guest-reset", "true") "@running ", RUN_STATE_RUNNING);
    g_assert_cmpuint(f->r.resets, ==, 1);
}

static void test_no_reboot_no_shutdown(struct fixture *f, gconstpointer unused)
{
    machine_actions(f->m)->reboot = REBOOT_ACTION_SHUTDOWN;
    machine_actions(f->m)->shutdown = SHUTDOWN_ACTION_PAUSE;
    start(f);
    for (int i = 0; i < 2; i++) {
        machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
        g_assert_true(machine_run_requests(f->m));
        expect(f,
               i ? SHUTDOWN_OF("host-qmp-system-reset", "false") "@shutdown "
                 : SHUTDOWN_OF("host-qmp-system-reset", "false") "@running STOP@shutdown ",
               RUN_STATE_SHUTDOWN);
    }
    machine_actions(f->m)->reboot = REBOOT_ACTION_RESET;
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    g_assert_true(machine_run_requests(f->m));
    expect(f, RESET_OF("host-qmp-system-reset", "false") "@prelaunch ", RUN_STATE_PRELAUNCH);
}

static void test_powerdown(struct fixture *f, gconstpointer unused)
{
    machine_request_powerdown(f->m);
    machine_request_powerdown(f->m);
    g_assert_true(machine_run_requests(f->m));
    expect(f, "POWERDOWN@prelaunch ", RUN_STATE_PRELAUNCH);
    g_assert_cmpuint(f->r.buttons, ==, 1);
}

static gpointer request_everything(gpointer arg)
{
    struct machine *m = arg;

    machine_request_stop(m, RUN_STATE_IO_ERROR, "test");
    machine_request_powerdown(m);
    machine_request_reset(m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    machine_request_reset(m, SHUTDOWN_CAUSE_GUEST_RESET, "test");
    machine_request_shutdown(m, SHUTDOWN_CAUSE_GUEST_PANIC, "test");
    machine_request_shutdown(m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, "test");
    return NULL;
}

/* Asked for in any order, done in one; of each kind the latest cause. */
static void test_order(struct fixture *f, gconstpointer unused)
{
    machine_actions(f->m)->shutdown = SHUTDOWN_ACTION_PAUSE;
    start(f);
    g_thread_join(g_thread_new("requests", request_everything, f->m));
    g_assert_true(machine_run_requests(f->m));
    expect(f,
           SHUTDOWN_OF("guest-shutdown", "true") "@running STOP@shutdown " RESET_OF(
               "guest-reset", "true") "@prelaunch POWERDOWN@prelaunch ",
           RUN_STATE_PRELAUNCH);
}

/* With reboot=shutdown a reset takes the shutdown's place, and the latest cause counts. */
static void test_reset_after_shutdown(struct fixture *f, gconstpointer unused)
{
    machine_actions(f->m)->reboot = REBOOT_ACTION_SHUTDOWN;
    machine_actions(f->m)->shutdown = SHUTDOWN_ACTION_PAUSE;
    start(f);
    machine_request_shutdown(f->m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, "test");
    machine_request_reset(f->m, SHUTDOWN_CAUSE_GUEST_RESET, "test");
    machine_run_requests(f->m);
    expect(f, SHUTDOWN_OF("guest-reset", "true") "@running STOP@shutdown ", RUN_STATE_SHUTDOWN);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_GUEST_RESET, "test");
    machine_request_shutdown(f->m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, "test");
    machine_run_requests(f->m);
    expect(f, SHUTDOWN_OF("guest-shutdown", "true") "@shutdown ", RUN_STATE_SHUTDOWN);
}

/* Whatever the guest asks for behind it, a quit ends the process. */
static void test_quit_then_guest_shutdown(struct fixture *f, gconstpointer unused)
{
    machine_actions(f->m)->shutdown = SHUTDOWN_ACTION_PAUSE;
    start(f);
    machine_request_shutdown(f->m, SHUTDOWN_CAUSE_HOST_QMP_QUIT, "test");
    machine_request_shutdown(f->m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, "test");
    g_assert_false(machine_run_requests(f->m));
    expect(f, SHUTDOWN_OF("guest-shutdown", "true") "@running ", RUN_STATE_RUNNING);
}

/* A shutdown wins over a stop: the process ends without STOP. */
static void test_shutdown_over_stop(struct fixture *f, gconstpointer unused)
{
    start(f);
    machine_request_stop(f->m, RUN_STATE_GUEST_PANICKED, "test");
    machine_request_shutdown(f->m, SHUTDOWN_CAUSE_GUEST_PANIC, "test");
    g_assert_false(machine_run_requests(f->m));
    expect(f, SHUTDOWN_OF("guest-panic", "true") "@running ", RUN_STATE_RUNNING);
}

static void test_stop_request(struct fixture *f, gconstpointer unused)
{
    start(f);
    machine_request_stop(f->m, RUN_STATE_IO_ERROR, "test");
    machine_run_requests(f->m);
    expect(f, "STOP@io-error ", RUN_STATE_IO_ERROR);
    g_assert_true(vm_start(f->m, NULL));
    expect(f, "RESUME@running ", RUN_STATE_RUNNING);
    /* cont overtakes a stop that is due: its STOP comes all the same, but nothing stops */
    machine_request_stop(f->m, RUN_STATE_IO_ERROR, "test");
    g_assert_true(vm_start(f->m, NULL));
    expect(f, "STOP@running RESUME@running ", RUN_STATE_RUNNING);
    machine_run_requests(f->m);
    expect(f, "", RUN_STATE_RUNNING);
    machine_request_stop(f->m, RUN_STATE_DEBUG, "test");
    machine_run_requests(f->m);
    expect(f, "STOP@debug ", RUN_STATE_DEBUG);
}

static void test_internal_error(struct fixture *f, gconstpointer unused)
{
    start(f);
    machine_request_stop(f->m, RUN_STATE_INTERNAL_ERROR, "test");
    machine_run_requests(f->m);
    expect(f, "STOP@internal-error ", RUN_STATE_INTERNAL_ERROR);
    expect_refusal(f);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    machine_run_requests(f->m);
    expect(f, RESET_OF("host-qmp-system-reset", "false") "@prelaunch ", RUN_STATE_PRELAUNCH);
    start(f);
}

static void test_exit(struct fixture *f, gconstpointer unused)
{
    start(f);
    machine_request_exit(f->m, 33);
    g_assert_false(machine_run_requests(f->m));
    expect(f, "", RUN_STATE_RUNNING);
    g_assert_cmpint(f->m->exit_status, ==, 33);
}

/* The whole of machine_run(): a start, a signal, the end with the guest stopped but no STOP. */
static void test_signal(struct fixture *f, gconstpointer unused)
{
    machine_actions(f->m)->shutdown = SHUTDOWN_ACTION_PAUSE;
    big_lock_release(&f->m->lock);
    machine_block_signals();
    kill(getpid(), SIGTERM);
    machine_start(f->m);
    g_assert_cmpint(machine_run(f->m), ==, 0);
    big_lock_acquire(&f->m->lock);
    expect(f, "RESUME@running " SHUTDOWN_OF("host-signal", "false") "@running ",
           RUN_STATE_SHUTDOWN);
    g_assert_false(vclock_running(f->m->clock));
}

/* stop and cont have no effect on a machine that sleeps; a wake-up has none on one that does not.
 */
static void test_suspend(struct fixture *f, gconstpointer unused)
{
    machine_request_wakeup(f->m, "test");
    machine_run_requests(f->m);
    expect(f, "", RUN_STATE_PRELAUNCH);
    start(f);
    machine_request_suspend(f->m);
    machine_request_suspend(f->m);
    machine_run_requests(f->m);
    expect(f, "SUSPEND@suspended ", RUN_STATE_SUSPENDED);
    g_assert_true(f->r.asleep);
    g_assert_false(vclock_running(f->m->clock));
    vm_stop(f->m, RUN_STATE_PAUSED);
    g_assert_true(vm_start(f->m, NULL));
    machine_run_requests(f->m);
    expect(f, "", RUN_STATE_SUSPENDED);

    machine_request_wakeup(f->m, "test");
    machine_run_requests(f->m);
    expect(f, "WAKEUP@running ", RUN_STATE_RUNNING);
    g_assert_false(f->r.asleep);
    g_assert_true(vclock_running(f->m->clock));
    g_assert_cmpuint(f->r.wakes, ==, 1);
    g_assert_cmpuint(f->r.resets, ==, 1); /* that at the beginning */
    machine_request_wakeup(f->m, "test");
    machine_run_requests(f->m);
    expect(f, "", RUN_STATE_RUNNING);
}

/* A reset, or a shutdown that pauses, of a machine that sleeps. */
static void test_suspended_and_reset(struct fixture *f, gconstpointer unused)
{
    start(f);
    machine_request_suspend(f->m);
    machine_run_requests(f->m);
    machine_actions(f->m)->shutdown = SHUTDOWN_ACTION_PAUSE;
    machine_request_shutdown(f->m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, "test");
    machine_run_requests(f->m);
    expect(f, "SUSPEND@suspended " SHUTDOWN_OF("guest-shutdown", "true") "@suspended ",
           RUN_STATE_SUSPENDED);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    machine_run_requests(f->m);
    expect(f, RESET_OF("host-qmp-system-reset", "false") "@prelaunch ", RUN_STATE_PRELAUNCH);
    g_assert_false(f->r.asleep);
    g_assert_cmpuint(f->r.wakes, ==, 0);
    start(f);
}

/* Woken and reset at the same moment it counts as running, and starts anew. */
static void test_wakeup_with_reset(struct fixture *f, gconstpointer unused)
{
    start(f);
    machine_request_suspend(f->m);
    machine_run_requests(f->m);
    expect(f, "SUSPEND@suspended ", RUN_STATE_SUSPENDED);
    machine_request_wakeup(f->m, "test");
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    machine_run_requests(f->m);
    expect(f, RESET_OF("host-qmp-system-reset", "false") "@running WAKEUP@running ",
           RUN_STATE_RUNNING);
    g_assert_false(f->r.asleep);
    g_assert_cmpuint(f->r.wakes, ==, 0);
}

/* Asleep it does not fall asleep again, nor after waking up. */
static void test_suspend_when_suspended(struct fixture *f, gconstpointer unused)
{
    start(f);
    for (int i = 0; i < 2; i++) {
        machine_request_suspend(f->m);
        machine_run_requests(f->m);
        expect(f, i ? "" : "SUSPEND@suspended ", RUN_STATE_SUSPENDED);
    }
    machine_request_wakeup(f->m, "test");
    machine_run_requests(f->m);
    expect(f, "WAKEUP@running ", RUN_STATE_RUNNING);
    vm_stop(f->m, RUN_STATE_PAUSED);
    g_assert_true(vm_start(f->m, NULL));
    machine_run_requests(f->m);
    expect(f, "STOP@paused RESUME@running ", RUN_STATE_RUNNING);
}

/* Stopped before it could fall asleep, the machine does so when it goes on. */
static void test_suspend_when_stopped(struct fixture *f, gconstpointer unused)
{
    start(f);
    machine_request_suspend(f->m);
    vm_stop(f->m, RUN_STATE_PAUSED);
    machine_run_requests(f->m);
    machine_run_requests(f->m);
    expect(f, "STOP@paused ", RUN_STATE_PAUSED);
    g_assert_true(vm_start(f->m, NULL));
    expect(f, "RESUME@running SUSPEND@suspended ", RUN_STATE_SUSPENDED);
    machine_request_wakeup(f->m, "test");
    machine_run_requests(f->m);
    expect(f, "WAKEUP@running ", RUN_STATE_RUNNING);

    machine_request_suspend(f->m);
    vm_stop(f->m, RUN_STATE_PAUSED);
    machine_run_requests(f->m);
    machine_request_reset(f->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "test");
    machine_run_requests(f->m);
    g_string_truncate(f->r.events, 0);
    start(f); /* the reset made that request moot */
}

/* A guest that left no way back is reset, and that is done when the command's reply is sent. */
static void test_wakeup_without_vector(struct fixture *f, gconstpointer unused)
{
    start(f);
    f->r.wake_fails = true;
    machine_request_suspend(f->m);
    machine_run_requests(f->m);
    machine_request_wakeup(f->m, "test");
    machine_run_requests(f->m);
    expect(f, "SUSPEND@suspended WAKEUP@running " RESET_OF("guest-reset", "true") "@running ",
           RUN_STATE_RUNNING);
    g_assert_cmpuint(f->r.resets, ==, 2);
}

static void test_unknown_machine(void)
{
    struct machine_config *config = machine_config_new();
    struct recorder r = {.sink.emit = record};
    g_autoptr(GError) error = NULL;

    config->machine_type = g_strdup("pdp11");
    g_assert_null(machine_new(config, loop_new, &r.sink, &error));
    g_assert_nonnull(strstr(error->message, "'pdp11'"));
    machine_config_free(config);
    g_assert_true(board_find("test") == &board && board_find("test-1.0") == &board);
}

#define ADD(path, fn) g_test_add(path, struct fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/lifecycle/stop-and-start", test_stop_and_start);
    ADD("/lifecycle/reset", test_reset);
    ADD("/lifecycle/failing-reset", test_failing_reset);
    ADD("/lifecycle/failing-reset-pauses", test_failing_reset_pauses);
    ADD("/lifecycle/shutdown", test_shutdown);
    ADD("/lifecycle/no-shutdown", test_no_shutdown);
    ADD("/lifecycle/quit", test_quit);
    ADD("/lifecycle/no-reboot", test_no_reboot);
    ADD("/lifecycle/no-reboot-no-shutdown", test_no_reboot_no_shutdown);
    ADD("/lifecycle/powerdown", test_powerdown);
    ADD("/lifecycle/order", test_order);
    ADD("/lifecycle/shutdown-over-stop", test_shutdown_over_stop);
    ADD("/lifecycle/stop-request", test_stop_request);
    ADD("/lifecycle/internal-error", test_internal_error);
    ADD("/lifecycle/exit", test_exit);
    ADD("/lifecycle/signal", test_signal);
    ADD("/lifecycle/suspend", test_suspend);
    ADD("/lifecycle/suspended-and-reset", test_suspended_and_reset);
    ADD("/lifecycle/suspend-when-stopped", test_suspend_when_stopped);
    ADD("/lifecycle/suspend-when-suspended", test_suspend_when_suspended);
    ADD("/lifecycle/reset-after-shutdown", test_reset_after_shutdown);
    ADD("/lifecycle/quit-then-guest-shutdown", test_quit_then_guest_shutdown);
    ADD("/lifecycle/wakeup-with-reset", test_wakeup_with_reset);
    ADD("/lifecycle/wakeup-without-vector", test_wakeup_without_vector);
    g_test_add_func("/lifecycle/unknown-machine", test_unknown_machine);
    return g_test_run();
}
