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
#include "machine/machine-priv.h"

#include "base/host-fault.h"
#include "base/log.h"
#include "machine/debugger.h"
#include "qapi-events.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum request_bit {
    REQUEST_DEBUG = 1 << 0,
    REQUEST_SHUTDOWN = 1 << 1,
    REQUEST_RESET = 1 << 2,
    REQUEST_POWERDOWN = 1 << 3,
    REQUEST_STOP = 1 << 4,
    REQUEST_EXIT = 1 << 5,
    REQUEST_SUSPEND = 1 << 6,
    REQUEST_WAKEUP = 1 << 7,
    REQUEST_RECORD = 1 << 8,
};
#define REQUEST_KINDS 9

/* Carrying out requests may leave further ones, which are to be done with when a command's reply is
 * sent; a guest that never ceases must not keep the main thread here. */
#define MAX_ROUNDS    4

struct slots {
    unsigned pending; /* enum request_bit */
    unsigned by_vcpu; /* of those: left by a vCPU alone, that ran guest code */
    enum shutdown_cause shutdown, reset;
    bool reset_last;   /* the reset was asked for after the shutdown */
    bool ends_process; /* somebody outside asked for that: holds whatever cause comes later */
    enum run_state stop;
    int exit_status;
    struct cause *why[REQUEST_KINDS]; /* by bit of pending */
};

struct requests {
    GMutex mutex; /* guards what follows: requests come from any thread */
    struct slots slots;
    bool posted;
    bool carrying_out;
    unsigned acting; /* who is telling of something and will leave a request */
    GCond settled;   /* none of the three any more */
    unsigned waiters;
    uint64_t rounds; /* how often machine_run_requests() has come to its end */
    uint64_t waited; /* in vain: rounds was that, plus 1 */
    /* The rest is the main thread's. */
    bool ended;
    struct cause *why_ended;
    bool broken;        /* the last reset failed */
    const char *frozen; /* machine_freeze() */
    bool frozen_but_resets;
    bool autostart; /* inmigrate: the guest runs when it has come */
    struct machine_actions actions;
};

struct requests *requests_new(void)
{
    struct requests *r = g_new0(struct requests, 1);

    g_mutex_init(&r->mutex);
    g_cond_init(&r->settled);
    actions_init(&r->actions);
    return r;
}

static void slots_clear(struct slots *s)
{
    for (unsigned i = 0; i < REQUEST_KINDS; i++) {
        cause_unref(s->why[i]);
    }
    *s = (struct slots){0};
}

void requests_free(struct requests *r)
{
    if (r) {
        slots_clear(&r->slots);
        cause_unref(r->why_ended);
        g_mutex_clear(&r->mutex);
        g_cond_clear(&r->settled);
        g_free(r);
    }
}

struct machine_actions *machine_actions(struct machine *m)
{
    return &m->requests->actions;
}

/* ---- leaving a request */

static void run_posted_requests(void *arg)
{
    machine_run_requests(arg);
}

static struct slots *request_begin(struct machine *m)
{
    g_mutex_lock(&m->requests->mutex);
    return &m->requests->slots;
}

static struct cause **slot_why(struct slots *s, enum request_bit bit)
{
    return &s->why[__builtin_ctz(bit)];
}

/* Takes why over. A vCPU that leaves a request runs no further until it is carried out;
 * machine_run_requests() lets it go on if the machine still runs then. */
static void request_end(struct machine *m, enum request_bit bit, struct cause *why)
{
    struct requests *r = m->requests;
    bool post = !r->posted;

    cause_unref(*slot_why(&r->slots, bit));
    *slot_why(&r->slots, bit) = why;

    if (!m->cpus || !vcpus_hold_current(m->cpus)) { /* before the main thread can take it */
        r->slots.by_vcpu &= ~(unsigned)bit;
    } else if (!(r->slots.pending & bit)) {
        r->slots.by_vcpu |= bit;
    }
    r->slots.pending |= bit;
    r->posted = true;
    g_mutex_unlock(&r->mutex);
    if (post) {
        loop_post(m->loop, run_posted_requests, m);
    }
}

/* ---- an answer that is as new as the events */

/* The main thread may be stuck; who asks for the state then gets the one there is. */
#define SETTLE_US 20000

/* Mutex held. */
static void tell_waiters(struct requests *r)
{
    if (r->waiters) { /* a broadcast to nobody is a system call all the same */
        g_cond_broadcast(&r->settled);
    }
}

void machine_act_begin(struct machine *m)
{
    g_mutex_lock(&m->requests->mutex);
    m->requests->acting++;
    g_mutex_unlock(&m->requests->mutex);
}

void machine_act_end(struct machine *m)
{
    struct requests *r = m->requests;

    g_mutex_lock(&r->mutex);
    r->acting--;
    tell_waiters(r);
    g_mutex_unlock(&r->mutex);
}

/* Mutex held. */
static bool is_unsettled(const struct requests *r)
{
    return r->posted || r->carrying_out || r->acting;
}

bool machine_requests_pending(struct machine *m)
{
    struct requests *r = m->requests;
    bool pending;

    g_mutex_lock(&r->mutex);
    pending = is_unsettled(r);
    g_mutex_unlock(&r->mutex);
    return pending;
}

void machine_settle(struct machine *m)
{
    struct requests *r = m->requests;
    gint64 end = g_get_monotonic_time() + SETTLE_US;

    g_mutex_lock(&r->mutex);
    r->waiters++;
    while (is_unsettled(r) && r->waited != r->rounds + 1) {
        if (!g_cond_wait_until(&r->settled, &r->mutex, end)) {
            r->waited = r->rounds + 1; /* nobody waits again before something has moved */
        }
    }
    r->waiters--;
    g_mutex_unlock(&r->mutex);
}

/* Who stands behind a cause of the protocol's when nothing tells more. */
static enum godwit_cause_who who_of(enum shutdown_cause cause)
{
    switch (cause) {
    case SHUTDOWN_CAUSE_HOST_QMP_QUIT:
    case SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET:
        return GODWIT_CAUSE_WHO_CLIENT;
    case SHUTDOWN_CAUSE_HOST_SIGNAL:
        return GODWIT_CAUSE_WHO_SIGNAL;
    case SHUTDOWN_CAUSE_HOST_UI:
        return GODWIT_CAUSE_WHO_USER;
    case SHUTDOWN_CAUSE_GUEST_SHUTDOWN:
    case SHUTDOWN_CAUSE_GUEST_RESET:
    case SHUTDOWN_CAUSE_GUEST_PANIC:
        return GODWIT_CAUSE_WHO_DEVICE;
    default:
        return GODWIT_CAUSE_WHO_MACHINE;
    }
}

/* Whoever asks from outside for the process to end gets that, whatever -no-shutdown says. */
static bool cause_ends_process(enum shutdown_cause cause)
{
    return cause == SHUTDOWN_CAUSE_HOST_QMP_QUIT || cause == SHUTDOWN_CAUSE_HOST_SIGNAL ||
           cause == SHUTDOWN_CAUSE_HOST_UI;
}

void machine_request_shutdown(struct machine *m, enum shutdown_cause cause, const char *source)
{
    struct cause *why = cause_now(m, who_of(cause), source);
    struct slots *slots = request_begin(m);

    slots->shutdown = cause;
    slots->reset_last = false;
    slots->ends_process |= cause_ends_process(cause);
    request_end(m, REQUEST_SHUTDOWN, why);
}

void machine_request_reset(struct machine *m, enum shutdown_cause cause, const char *source)
{
    struct cause *why = cause_now(m, who_of(cause), source);
    struct slots *slots = request_begin(m);

    slots->reset = cause;
    slots->reset_last = true;
    request_end(m, REQUEST_RESET, why);
}

void machine_request_powerdown(struct machine *m)
{
    struct cause *why = cause_now(m, GODWIT_CAUSE_WHO_MACHINE, "power button");

    request_begin(m);
    request_end(m, REQUEST_POWERDOWN, why);
}

void machine_request_stop(struct machine *m, enum run_state state, const char *source)
{
    struct cause *why = cause_now(m, GODWIT_CAUSE_WHO_DEVICE, source);

    if (state == RUN_STATE_DEBUG) {
        request_begin(m);
        request_end(m, REQUEST_DEBUG, why);
    } else {
        request_begin(m)->stop = state;
        request_end(m, REQUEST_STOP, why);
    }
}

void machine_request_suspend(struct machine *m)
{
    struct cause *why = cause_now(m, GODWIT_CAUSE_WHO_DEVICE, "acpi");

    request_begin(m);
    request_end(m, REQUEST_SUSPEND, why);
}

bool machine_suspend_pending(struct machine *m)
{
    bool pending = request_begin(m)->pending & REQUEST_SUSPEND;

    g_mutex_unlock(&m->requests->mutex);
    return pending;
}

void machine_set_suspend_pending(struct machine *m, bool pending)
{
    struct slots *slots = request_begin(m);

    slots->pending =
        (slots->pending & ~(unsigned)REQUEST_SUSPEND) | (pending ? (unsigned)REQUEST_SUSPEND : 0);
    g_mutex_unlock(&m->requests->mutex);
}

void machine_request_wakeup(struct machine *m, const char *source)
{
    if (runstate_get(m->run) == RUN_STATE_SUSPENDED) {
        struct cause *why = cause_now(m, GODWIT_CAUSE_WHO_DEVICE, source);

        request_begin(m);
        request_end(m, REQUEST_WAKEUP, why);
    }
}

void machine_request_exit(struct machine *m, int status)
{
    struct cause *why = cause_now(m, GODWIT_CAUSE_WHO_DEVICE, "exit");

    request_begin(m)->exit_status = status;
    request_end(m, REQUEST_EXIT, why);
}

void machine_request_record(struct machine *m)
{
    struct cause *why = cause_now(m, GODWIT_CAUSE_WHO_MACHINE, "black box");

    request_begin(m);
    request_end(m, REQUEST_RECORD, why);
}

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

static void stop_guest(struct machine *m, enum run_state state)
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
        stop_guest(m, state);
        qapi_event_send_stop(m->events);
        debugger_stopped(m);
    }
    block_flush_all(m->block);
}

static bool take_request(struct machine *m, enum request_bit bit)
{
    struct slots *slots = request_begin(m);
    bool pending = slots->pending & bit;

    slots->pending &= ~(unsigned)bit;
    cause_unref(g_steal_pointer(slot_why(slots, bit)));
    g_mutex_unlock(&m->requests->mutex);
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
    stop_guest(m, RUN_STATE_SUSPENDED);
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

void machine_loaded(struct machine *m, bool whole)
{
    enum run_state state = runstate_get(m->run);

    m->requests->broken = !whole;
    if (whole && (state == RUN_STATE_INTERNAL_ERROR || state == RUN_STATE_SHUTDOWN)) {
        runstate_set(m->run, RUN_STATE_PAUSED);
    } else if (whole && state == RUN_STATE_SUSPENDED) {
        runstate_set(m->run, RUN_STATE_PRELAUNCH);
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
        request_begin(m)->pending |= REQUEST_SUSPEND; /* for vm_start() */
        g_mutex_unlock(&m->requests->mutex);
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
    r->rounds++;
    tell_waiters(r);
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

/* ---- the main thread's life */

static void ending_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void machine_block_signals(void)
{
    sigset_t set;

    ending_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static struct godwit_cause *signal_cause(const struct signalfd_siginfo *from)
{
    struct godwit_cause *info = g_new0(struct godwit_cause, 1);
    struct godwit_signal *sig = g_new0(struct godwit_signal, 1);

    sig->number = from->ssi_signo;
    sig->name = g_strdup_printf("SIG%s", sigabbrev_np((int)from->ssi_signo));
    sig->has_pid = sig->has_uid = from->ssi_code <= 0; /* not the kernel's */
    sig->pid = from->ssi_pid;
    sig->uid = from->ssi_uid;
    info->who = GODWIT_CAUSE_WHO_SIGNAL;
    info->what = g_strdup(sig->name);
    info->signal = sig;
    return info;
}

static bool receive_signal(int fd, GIOCondition condition, void *arg)
{
    struct machine *m = arg;
    struct signalfd_siginfo info;

    if (read(fd, &info, sizeof(info)) == sizeof(info)) {
        struct cause_scope scope;

        if (info.ssi_code == SI_USER) {
            log_info("terminating on signal %u from pid %u", info.ssi_signo, info.ssi_pid);
        } else {
            log_info("terminating on signal %u", info.ssi_signo);
        }
        cause_enter(m, &scope, cause_new(signal_cause(&info)));
        machine_request_shutdown(m, SHUTDOWN_CAUSE_HOST_SIGNAL, "signal");
        cause_leave(m, &scope);
    }
    return true;
}

void machine_start(struct machine *m)
{
    g_autoptr(GError) error = NULL;
    struct cause_scope scope;

    m->requests->autostart = !m->config->start_paused;
    if (m->config->start_paused || m->preconfig || m->config->incoming) {
        return;
    }
    big_lock_acquire(&m->lock);
    cause_enter(m, &scope, cause_now(m, GODWIT_CAUSE_WHO_MACHINE, "start"));
    if (!vm_start(m, &error)) {
        log_error("%s", error->message);
    }
    cause_leave(m, &scope);
    big_lock_release(&m->lock);
}

bool machine_exit_preconfig(struct machine *m, GError **error)
{
    g_assert(big_lock_held(&m->lock));
    if (!m->preconfig) {
        g_set_error_literal(error, MACHINE_ERROR, 0,
                            "The command is permitted only before machine initialization");
        return false;
    }
    m->preconfig = false;
    return m->config->start_paused || vm_start(m, error);
}

static void last_words(struct machine *m)
{
    if (m->requests->why_ended) {
        g_autofree char *text = cause_describe(m->requests->why_ended);

        log_info("ended by %s", text);
    }
}

int machine_run(struct machine *m)
{
    struct cause_scope scope;
    GSource *source = NULL, *faults = NULL;
    sigset_t set;
    int fd;

    ending_signals(&set);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd >= 0) {
        source = loop_watch_fd(m->loop, fd, G_IO_IN, receive_signal, m);
    } else {
        log_warn("signals cannot be watched: %s", strerror(errno));
    }
    if (host_fault_fd() >= 0) {
        faults = loop_watch_fd(m->loop, host_fault_fd(), G_IO_IN, host_memory_ready, m);
    }
    loop_run(m->loop);

    big_lock_acquire(&m->lock);
    cause_enter(m, &scope, cause_ref(m->requests->why_ended));
    if (runstate_is_running(m->run)) {
        stop_guest(m, RUN_STATE_SHUTDOWN); /* no STOP: the end of the connection says it */
    }
    block_flush_all(m->block);
    cause_leave(m, &scope);
    big_lock_release(&m->lock);
    last_words(m);
    if (faults) {
        g_source_destroy(faults);
    }
    if (source) {
        g_source_destroy(source);
    }
    if (fd >= 0) {
        close(fd);
    }
    return m->exit_status;
}
