/*
 * A machine's life: starting and stopping, requests and the order in which they are carried out.
 *
 * Guests, devices, signals and clients do not act on the machine: they leave a request, which wakes
 * the main loop. machine_run_requests() carries out all that are pending in one fixed order: record
 * (the black box), debug, suspend, shutdown, reset, wakeup, powerdown, stop. Each kind is one slot,
 * so requests merge and the latest cause wins. Consequences that clients know: a shutdown wins over
 * a stop (no STOP event when the process ends), and with -no-shutdown a reset asked for at the same
 * moment is done as well.
 *
 * Order of events: STOP comes after the vCPUs are out of guest code and devices are quiet; RESUME
 * before the first guest instruction; RESET after devices were reset and before vCPUs run again.
 * The new run state is set before each of them, so that a client that has the event and asks on the
 * control thread never hears of the old one.
 *
 * A suspended machine (ACPI S3) is stopped in all respects but the clients': stop and cont do
 * nothing to it, only a wake-up or a reset ends that state. No STOP and no RESUME are sent for it.
 * A guest that goes to sleep while a client stops it sleeps when it goes on.
 */
#include "machine/lifecycle-priv.h"

#include "base/log.h"
#include "machine/debugger.h"
#include "qapi-events.h"

/* Carrying out requests may leave further ones, which are to be done with when a command's reply is
 * sent; a guest that never ceases must not keep the main thread here. */
#define MAX_ROUNDS 4

/* ---- running and stopping */

static void park(struct machine *m)
{
    if (m->cpus) {
        vcpus_pause_all(m->cpus);
    }
    devices_pause(&m->env);
}

static void unpark(struct machine *m)
{
    devices_resume(&m->env);
    block_resume_all(m->block);
    if (m->cpus) {
        vcpus_resume_all(m->cpus);
    }
}

void machine_stop_guest(struct machine *m, enum run_state state)
{
    runstate_set(m->run, state);
    vclock_stop(m->clock);
    vclock_hold_timers(m->clock, false);
    park(m);
    block_drain_begin(m->block); /* guest memory changes no more */
    block_drain_end(m->block);
}

void vm_stop(struct machine *m, enum run_state state)
{
    g_assert(big_lock_held(&m->lock));
    if (runstate_get(m->run) == RUN_STATE_INMIGRATE) {
        m->requests->autostart = false;
        return;
    }
    if (runstate_is_running(m->run)) {
        machine_stop_guest(m, state);
        qapi_event_send_stop(m->events);
        debugger_stopped(m);
    }
    block_flush_all(m->block);
}

static bool take_request(struct machine *m, enum request_bit bit)
{
    struct slots *slots = slots_lock(m);
    bool pending = slots->pending & bit;

    slots->pending &= ~(unsigned)bit;
    cause_unref(g_steal_pointer(slot_why(slots, bit)));
    slots_unlock(m);
    return pending;
}

/* What the board does at the edges of sleep: wake-up sources of its own. */
void machine_note_asleep(struct machine *m, bool asleep)
{
    if (m->board->asleep) {
        m->board->asleep(m, asleep);
    }
}

static void suspend(struct machine *m)
{
    machine_stop_guest(m, RUN_STATE_SUSPENDED);
    qapi_event_send_suspend(m->events);
    machine_note_asleep(m, true);
}

static const char *start_refusal(const struct machine *m, enum run_state state)
{
    if (m->requests->frozen) {
        return m->requests->frozen;
    }
    if (m->requests->broken) {
        return "Resetting the Virtual Machine is required";
    }
    switch (state) {
    case RUN_STATE_INTERNAL_ERROR:
    case RUN_STATE_SHUTDOWN:
        return "Resetting the Virtual Machine is required";
    case RUN_STATE_FINISH_MIGRATE:
        return "Migration is not finalized yet";
    default:
        return NULL;
    }
}

void machine_go_on(struct machine *m)
{
    take_request(m, REQUEST_DEBUG); /* of a vCPU's while it was being stopped for another reason */
    runstate_set(m->run, RUN_STATE_RUNNING);
    qapi_event_send_resume(m->events);
    vclock_start(m->clock);
    if (take_request(m, REQUEST_SUSPEND)) { /* asked for just before it was stopped */
        suspend(m);
    } else {
        unpark(m);
    }
}

bool vm_start(struct machine *m, GError **error)
{
    enum run_state state = runstate_get(m->run);
    const char *refusal = start_refusal(m, state);
    bool stop_pending;

    g_assert(big_lock_held(&m->lock));
    if (m->preconfig) {
        refusal = "The machine is started by leaving preconfig (x-exit-preconfig)";
    }
    if (refusal) {
        g_set_error_literal(error, MACHINE_ERROR, 0, refusal);
        return false;
    }
    if (state == RUN_STATE_INMIGRATE) {
        m->requests->autostart = true;
        return true;
    }
    if (state == RUN_STATE_SUSPENDED) {
        return true; /* only a wakeup runs it */
    }
    if (!block_activate(m->block, error)) {
        return false;
    }
    /* A stop that was asked for before this start is moot; its STOP is owed all the same to a
     * machine that runs, as documents promise it after the event that asked for it. */
    stop_pending = take_request(m, REQUEST_STOP);
    if (state == RUN_STATE_RUNNING) {
        if (stop_pending) {
            qapi_event_send_stop(m->events);
            qapi_event_send_resume(m->events);
            block_resume_all(m->block);
        }
        return true;
    }
    machine_go_on(m);
    return true;
}

/* ---- keeping it as it is */

void machine_freeze(struct machine *m, const char *why)
{
    g_assert(big_lock_held(&m->lock) && !m->requests->frozen);
    g_assert(!runstate_is_running(m->run));
    m->requests->frozen = why;
    m->requests->frozen_but_resets = false;
}

void machine_freeze_but_resets(struct machine *m, bool resets)
{
    m->requests->frozen_but_resets = resets;
}

bool machine_thaw(struct machine *m)
{
    m->requests->frozen = NULL;
    return machine_run_requests(m);
}

const char *machine_frozen(const struct machine *m)
{
    return m->requests->frozen;
}

bool machine_reset_to_load(struct machine *m)
{
    g_assert(big_lock_held(&m->lock) && !runstate_is_running(m->run));
    take_request(m, REQUEST_SUSPEND);
    if (runstate_get(m->run) == RUN_STATE_SUSPENDED) {
        machine_note_asleep(m, false);
    }
    return machine_reset(m, RESET_COLD);
}

void machine_loaded(struct machine *m, bool whole, bool asleep)
{
    enum run_state state = runstate_get(m->run);

    m->requests->broken = !whole;
    if (whole && (state == RUN_STATE_INTERNAL_ERROR || state == RUN_STATE_SHUTDOWN)) {
        runstate_set(m->run, RUN_STATE_PAUSED);
    } else if (state == RUN_STATE_SUSPENDED && whole && asleep) {
        machine_note_asleep(m, true);
        return;
    } else if (state == RUN_STATE_SUSPENDED) {
        runstate_set(m->run, RUN_STATE_PRELAUNCH); /* no wake-up may run it, nor half of it */
    }
    if (whole && asleep) {
        machine_request_suspend(m);
    }
}

void machine_still_begin(struct machine *m)
{
    g_assert(big_lock_held(&m->lock));
    if (runstate_is_running(m->run)) {
        vclock_stop(m->clock);
        park(m);
        block_drain_begin(m->block);
        block_drain_end(m->block);
    }
}

void machine_still_end(struct machine *m)
{
    if (!runstate_is_running(m->run)) {
        return;
    }
    vclock_start(m->clock);
    if (m->requests->carrying_out) { /* vCPUs wait for what else is pending */
        devices_resume(&m->env);
        block_resume_all(m->block);
    } else {
        unpark(m);
    }
}

bool vm_will_run(const struct machine *m)
{
    return m->requests->autostart;
}

/* ---- carrying out requests */

static bool cause_is_guest(enum shutdown_cause cause)
{
    return cause >= SHUTDOWN_CAUSE_GUEST_SHUTDOWN;
}

bool machine_reset(struct machine *m, enum reset_kind kind)
{
    g_autoptr(GError) error = NULL;

    host_memory_reset(m);
    devices_reset(&m->env, kind);
    if (m->cpus) {
        vcpus_reset_all(m->cpus);
    }
    if (m->board->reset && !m->board->reset(m, &error)) {
        log_error("reset failed: %s", error->message);
        return false;
    }
    return true;
}

/* A guest that has been stopped meanwhile is put to sleep when it goes on. */
static void run_suspend(struct machine *m)
{
    if (runstate_is_running(m->run)) {
        suspend(m);
    } else if (runstate_get(m->run) != RUN_STATE_SUSPENDED) {
        slots_lock(m)->pending |= REQUEST_SUSPEND; /* for vm_start() */
        slots_unlock(m);
    }
}

/* The reset that waking up begins with: everything but memory and what the battery or standby power
 * keeps. false: the guest has left nothing to go on with. */
static bool machine_wake(struct machine *m)
{
    g_autoptr(GError) error = NULL;

    devices_reset(&m->env, RESET_WAKE);
    if (m->cpus) {
        vcpus_reset_all(m->cpus);
    }
    if (m->board->wake && !m->board->wake(m, &error)) {
        log_guest("wake-up: %s", error->message);
        return false;
    }
    return true;
}

void machine_wake_stopped(struct machine *m)
{
    machine_note_asleep(m, false);
    if (!machine_wake(m)) {
        machine_reset(m, RESET_WARM);
    }
    runstate_set(m->run, RUN_STATE_RUNNING);
}

static void run_wakeup(struct machine *m)
{
    bool ok;

    if (runstate_get(m->run) != RUN_STATE_SUSPENDED) {
        return;
    }
    machine_note_asleep(m, false);
    ok = machine_wake(m);
    vclock_start(m->clock);
    runstate_set(m->run, RUN_STATE_RUNNING);
    qapi_event_send_wakeup(m->events);
    if (ok) {
        unpark(m);
    } else { /* as firmware would: it starts anew */
        machine_request_reset(m, SHUTDOWN_CAUSE_GUEST_RESET, "wake-up");
    }
}

/* waking: asked for at the same moment. A machine that wakes counts as running. */
static void run_reset(struct machine *m, enum shutdown_cause cause, bool waking)
{
    bool asleep = runstate_get(m->run) == RUN_STATE_SUSPENDED, ok;

    park(m);
    take_request(m, REQUEST_SUSPEND);
    if (asleep) {
        machine_note_asleep(m, false);
    }
    devices_end_unplugs(&m->env);
    ok = machine_reset(m, RESET_WARM);
    switch (runstate_get(m->run)) {
    case RUN_STATE_RUNNING:
    case RUN_STATE_INMIGRATE:
    case RUN_STATE_FINISH_MIGRATE:
        break;
    default:
        runstate_set(m->run, asleep && waking ? RUN_STATE_RUNNING : RUN_STATE_PRELAUNCH);
        break;
    }
    if (cause != SHUTDOWN_CAUSE_NONE && cause != SHUTDOWN_CAUSE_SUBSYSTEM_RESET &&
        cause != SHUTDOWN_CAUSE_SNAPSHOT_LOAD) {
        qapi_event_send_reset(m->events, cause_is_guest(cause), cause);
    }
    if (asleep && waking) {
        vclock_start(m->clock);
        qapi_event_send_wakeup(m->events);
    }
    m->requests->broken = !ok;
    if (!ok) {
        machine_request_shutdown(m, SHUTDOWN_CAUSE_HOST_ERROR, "reset");
    } else if (runstate_is_running(m->run)) {
        unpark(m);
    }
}

static void run_powerdown(struct machine *m)
{
    qapi_event_send_powerdown(m->events);
    if (m->board->power_button) {
        m->board->power_button(m);
    }
}

/* The vCPUs stay parked for what else is pending; release_held() lets them go on. */
static void run_record(struct machine *m)
{
    if (m->cpus && runstate_is_running(m->run)) {
        vcpus_pause_all(m->cpus);
    }
    blackbox_record(m);
}

static void end(struct machine *m, int status)
{
    m->requests->ended = true;
    m->requests->why_ended = cause_now(m, GODWIT_CAUSE_WHO_MACHINE, "end");
    m->exit_status = status;
    debugger_exited(m, status);
    loop_quit(m->loop);
}

static void run_shutdown(struct machine *m, enum shutdown_cause cause, bool ends_process)
{
    struct machine_actions *actions = machine_actions(m);

    if (ends_process) {
        actions->shutdown = SHUTDOWN_ACTION_POWEROFF;
    }
    qapi_event_send_shutdown(m->events, cause_is_guest(cause), cause);
    if (actions->shutdown == SHUTDOWN_ACTION_PAUSE) {
        vm_stop(m, RUN_STATE_SHUTDOWN);
    } else {
        end(m, cause == SHUTDOWN_CAUSE_HOST_ERROR || (cause == SHUTDOWN_CAUSE_GUEST_PANIC &&
                                                      actions->panic == PANIC_ACTION_EXIT_FAILURE));
    }
}

/* A request that has to wait, unless there is a newer one of its kind. */
static void put_back(struct requests *r, struct slots *taken, enum request_bit bit)
{
    if (!(taken->pending & bit)) {
        return;
    }
    taken->pending &= ~(unsigned)bit;
    g_mutex_lock(&r->mutex);
    if (!(r->slots.pending & bit)) {
        r->slots.pending |= bit;
        r->slots.reset = bit == REQUEST_RESET ? taken->reset : r->slots.reset;
        *slot_why(&r->slots, bit) = g_steal_pointer(slot_why(taken, bit));
    }
    g_mutex_unlock(&r->mutex);
}

/* Takes requests of these kinds out again. */
static struct slots slots_split(struct slots *taken, unsigned kinds)
{
    struct slots later = *taken;

    later.pending &= kinds;
    taken->pending &= ~kinds;
    for (unsigned i = 0; i < REQUEST_KINDS; i++) {
        *(later.pending & 1u << i ? &taken->why[i] : &later.why[i]) = NULL;
    }
    return later;
}

/* What is left of them. */
static void note_carried(struct requests *r, unsigned kinds, enum run_state stop)
{
    g_mutex_lock(&r->mutex);
    r->carried = kinds;
    r->carried_stop = stop;
    g_mutex_unlock(&r->mutex);
}

/* All that are pending, or, in a command, those that do not come from a guest that it has let run.
 * The black box is always filled at once, for the others may change what is to be in it. */
static struct slots take_requests(struct machine *m, bool in_command)
{
    struct requests *r = m->requests;
    struct slots taken, later = {0};

    g_mutex_lock(&r->mutex);
    taken = r->slots;
    if (in_command && runstate_is_running(m->run)) {
        later = slots_split(&taken, taken.by_vcpu & ~(unsigned)REQUEST_RECORD);
    }
    r->slots = later;
    r->posted = later.pending; /* the loop comes to it */
    r->carrying_out = true;
    g_mutex_unlock(&r->mutex);
    if (taken.pending & REQUEST_RESET && actions_reset_is_shutdown(&r->actions, taken.reset)) {
        if (!(taken.pending & REQUEST_SHUTDOWN) || taken.reset_last) {
            cause_unref(*slot_why(&taken, REQUEST_SHUTDOWN));
            taken.shutdown = taken.reset;
            *slot_why(&taken, REQUEST_SHUTDOWN) = g_steal_pointer(slot_why(&taken, REQUEST_RESET));
        }
        taken.pending = (taken.pending & ~(unsigned)REQUEST_RESET) | REQUEST_SHUTDOWN;
    }
    if (r->frozen && !r->frozen_but_resets) {
        put_back(r, &taken, REQUEST_RESET);
    }
    if (r->frozen) {
        put_back(r, &taken, REQUEST_WAKEUP);
    }
    note_carried(r, taken.pending, taken.stop);
    return taken;
}

/* Lets vCPUs go on that were held when they left a request, unless there is a new one. */
static void release_held(struct machine *m)
{
    g_mutex_lock(&m->requests->mutex);
    if (m->cpus && runstate_is_running(m->run) && !m->requests->posted) {
        vcpus_resume_all(m->cpus);
    }
    g_mutex_unlock(&m->requests->mutex);
}

void machine_hold_vcpus(struct machine *m, bool hold)
{
    if (!hold) {
        release_held(m);
    } else if (m->cpus && runstate_is_running(m->run)) {
        vcpus_pause_all(m->cpus);
    }
}

/* One request, on behalf of whoever left it. */
static void carry_out(struct machine *m, struct slots *s, enum request_bit bit)
{
    struct cause_scope scope;

    if (!(s->pending & bit) || m->requests->ended) {
        return;
    }
    cause_enter(m, &scope, g_steal_pointer(slot_why(s, bit)));
    switch (bit) {
    case REQUEST_RECORD:
        run_record(m);
        break;
    case REQUEST_DEBUG:
        vm_stop(m, RUN_STATE_DEBUG);
        break;
    case REQUEST_SUSPEND:
        run_suspend(m);
        break;
    case REQUEST_SHUTDOWN:
        run_shutdown(m, s->shutdown, s->ends_process);
        break;
    case REQUEST_EXIT:
        end(m, s->exit_status);
        break;
    case REQUEST_RESET:
        run_reset(m, s->reset, s->pending & REQUEST_WAKEUP);
        break;
    case REQUEST_WAKEUP:
        run_wakeup(m);
        break;
    case REQUEST_POWERDOWN:
        run_powerdown(m);
        break;
    case REQUEST_STOP:
        vm_stop(m, s->stop);
        break;
    }
    cause_leave(m, &scope);
    s->pending &= ~(unsigned)bit;
    note_carried(m->requests, s->pending, s->stop);
}

/* One round of those that are pending; false: the machine has ended. */
static bool run_requests(struct machine *m, struct slots *s)
{
    static const enum request_bit order[REQUEST_KINDS] = {
        REQUEST_RECORD, REQUEST_DEBUG,  REQUEST_SUSPEND,   REQUEST_SHUTDOWN, REQUEST_EXIT,
        REQUEST_RESET,  REQUEST_WAKEUP, REQUEST_POWERDOWN, REQUEST_STOP,
    };

    for (unsigned i = 0; i < REQUEST_KINDS; i++) {
        carry_out(m, s, order[i]);
    }
    slots_clear(s);
    return !m->requests->ended;
}

static void settled(struct requests *r)
{
    g_mutex_lock(&r->mutex);
    r->carrying_out = false;
    r->carried = 0;
    r->rounds++;
    requests_tell_waiters(r);
    g_mutex_unlock(&r->mutex);
}

static bool run_rounds(struct machine *m, bool in_command)
{
    for (unsigned i = 0; i < MAX_ROUNDS; i++) {
        struct slots s = take_requests(m, in_command);

        if (!s.pending) {
            release_held(m); /* vm_start() may have taken what they were held for */
            return true;
        }
        if (!run_requests(m, &s)) {
            return false;
        }
        release_held(m);
    }
    return true;
}

static bool run_pending(struct machine *m, bool in_command)
{
    bool goes_on;

    g_assert(big_lock_held(&m->lock));
    if (m->requests->ended) {
        return false;
    }
    goes_on = run_rounds(m, in_command);
    settled(m->requests);
    return goes_on;
}

bool machine_run_requests(struct machine *m)
{
    return run_pending(m, false);
}

bool machine_run_requests_of_command(struct machine *m)
{
    return run_pending(m, true);
}
