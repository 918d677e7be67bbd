/*
 * Requests to a machine, left by any thread (see lifecycle.c), and waiting until they are carried
 * out.
 */
#include "machine/lifecycle-priv.h"

struct requests *requests_new(void)
{
    struct requests *r = g_new0(struct requests, 1);

    g_mutex_init(&r->mutex);
    g_cond_init(&r->settled);
    actions_init(&r->actions);
    return r;
}

void slots_clear(struct slots *s)
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

struct slots *slots_lock(struct machine *m)
{
    g_mutex_lock(&m->requests->mutex);
    return &m->requests->slots;
}

void slots_unlock(struct machine *m)
{
    g_mutex_unlock(&m->requests->mutex);
}

struct cause **slot_why(struct slots *s, enum request_bit bit)
{
    return &s->why[__builtin_ctz(bit)];
}

/* Slots locked, with what belongs to the request in them; they are unlocked. Takes why over. A vCPU
 * that leaves a request runs no further until it is carried out; machine_run_requests() lets it go
 * on if the machine still runs then. */
static void leave_locked(struct machine *m, enum request_bit bit, struct cause *why)
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
    slots_unlock(m);
    if (post) {
        loop_post(m->loop, run_posted_requests, m);
    }
}

/* A request that is all said by its kind. */
static void leave(struct machine *m, enum request_bit bit, enum godwit_cause_who who,
                  const char *what)
{
    struct cause *why = cause_now(m, who, what);

    slots_lock(m);
    leave_locked(m, bit, why);
}

/* ---- an answer that is as new as the events */

/* The main thread may be stuck; who asks for the state then gets the one that the requests will
 * lead to. */
#define SETTLE_US 20000
/* Between an event and its request no more is done than to leave it; but a busy host may take its
 * time. */
#define ACT_US    (1 * G_USEC_PER_SEC)

void requests_tell_waiters(struct requests *r)
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
    requests_tell_waiters(r);
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

/* Where requests of these kinds lead from that state, in the order in which they are carried out.
 */
static enum run_state state_after(enum run_state state, unsigned kinds, enum run_state stop,
                                  bool pauses)
{
    if (state == RUN_STATE_RUNNING && kinds & REQUEST_DEBUG) {
        state = RUN_STATE_DEBUG;
    }
    if (state == RUN_STATE_RUNNING && kinds & REQUEST_SUSPEND) {
        state = RUN_STATE_SUSPENDED;
    }
    if (state == RUN_STATE_RUNNING && kinds & REQUEST_SHUTDOWN && pauses) {
        state = RUN_STATE_SHUTDOWN;
    }
    if (state == RUN_STATE_SUSPENDED && kinds & REQUEST_WAKEUP) {
        state = RUN_STATE_RUNNING;
    }
    if (kinds & REQUEST_RESET && state != RUN_STATE_RUNNING && state != RUN_STATE_INMIGRATE &&
        state != RUN_STATE_FINISH_MIGRATE) {
        state = RUN_STATE_PRELAUNCH;
    }
    return state == RUN_STATE_RUNNING && kinds & REQUEST_STOP ? stop : state;
}

/* Mutex held. The actions are read as they are at this moment: one word each. */
static enum run_state state_to_come(struct machine *m)
{
    struct requests *r = m->requests;
    unsigned kinds = r->slots.pending;
    bool pauses = r->actions.shutdown == SHUTDOWN_ACTION_PAUSE && !r->slots.ends_process;
    enum run_state state = runstate_get(m->run);

    if (kinds & REQUEST_RESET && actions_reset_is_shutdown(&r->actions, r->slots.reset)) {
        kinds = (kinds & ~(unsigned)REQUEST_RESET) | REQUEST_SHUTDOWN;
    }
    state = state_after(state, r->carried, r->carried_stop, pauses);
    return r->posted ? state_after(state, kinds, r->slots.stop, pauses) : state;
}

enum run_state machine_settled_state(struct machine *m)
{
    struct requests *r = m->requests;
    gint64 now = g_get_monotonic_time();
    enum run_state state;

    g_mutex_lock(&r->mutex);
    r->waiters++;
    while (r->acting && g_cond_wait_until(&r->settled, &r->mutex, now + ACT_US)) {
    }
    while (is_unsettled(r) && r->waited != r->rounds + 1) {
        if (!g_cond_wait_until(&r->settled, &r->mutex, now + SETTLE_US)) {
            r->waited = r->rounds + 1; /* nobody waits again before something has moved */
        }
    }
    r->waiters--;
    state = state_to_come(m);
    g_mutex_unlock(&r->mutex);
    return state;
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
    struct slots *slots = slots_lock(m);

    slots->shutdown = cause;
    slots->reset_last = false;
    slots->ends_process |= cause_ends_process(cause);
    leave_locked(m, REQUEST_SHUTDOWN, why);
}

void machine_request_reset(struct machine *m, enum shutdown_cause cause, const char *source)
{
    struct cause *why = cause_now(m, who_of(cause), source);
    struct slots *slots = slots_lock(m);

    slots->reset = cause;
    slots->reset_last = true;
    leave_locked(m, REQUEST_RESET, why);
}

void machine_request_powerdown(struct machine *m)
{
    leave(m, REQUEST_POWERDOWN, GODWIT_CAUSE_WHO_MACHINE, "power button");
}

void machine_request_stop(struct machine *m, enum run_state state, const char *source)
{
    struct cause *why;

    if (state == RUN_STATE_DEBUG) {
        leave(m, REQUEST_DEBUG, GODWIT_CAUSE_WHO_DEVICE, source);
        return;
    }
    why = cause_now(m, GODWIT_CAUSE_WHO_DEVICE, source);
    slots_lock(m)->stop = state;
    leave_locked(m, REQUEST_STOP, why);
}

void machine_request_suspend(struct machine *m)
{
    leave(m, REQUEST_SUSPEND, GODWIT_CAUSE_WHO_DEVICE, "acpi");
}

bool machine_suspend_pending(struct machine *m)
{
    bool pending = slots_lock(m)->pending & REQUEST_SUSPEND;

    slots_unlock(m);
    return pending;
}

void machine_set_suspend_pending(struct machine *m, bool pending)
{
    struct slots *slots = slots_lock(m);

    slots->pending =
        (slots->pending & ~(unsigned)REQUEST_SUSPEND) | (pending ? (unsigned)REQUEST_SUSPEND : 0);
    slots_unlock(m);
}

void machine_request_wakeup(struct machine *m, const char *source)
{
    if (runstate_get(m->run) == RUN_STATE_SUSPENDED) {
        leave(m, REQUEST_WAKEUP, GODWIT_CAUSE_WHO_DEVICE, source);
    }
}

void machine_request_exit(struct machine *m, int status)
{
    struct cause *why = cause_now(m, GODWIT_CAUSE_WHO_DEVICE, "exit");

    slots_lock(m)->exit_status = status;
    leave_locked(m, REQUEST_EXIT, why);
}

void machine_request_record(struct machine *m)
{
    leave(m, REQUEST_RECORD, GODWIT_CAUSE_WHO_MACHINE, "black box");
}
