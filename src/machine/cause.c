/*
 * Causes (see cause.h): making them, finding the one that applies, and keeping what happened.
 */
#include "machine/cause.h"

#include "machine/machine.h"
#include "qapi-events.h"
#include "qapi-visit.h"
#include <inttypes.h>
#include <string.h>

/* How far back a chain of events goes. */
#define CHAIN_MAX   8
#define CHANGES_MAX 16

struct cause {
    struct godwit_cause *info;
    /* The event of info->parent, and its cause; NULL where the chain ends. */
    struct cause *parent;
    int64_t parent_time_us;
    unsigned depth;
};

struct event_note {
    int64_t seq, time_us;
    struct cause *cause;
};

struct change_note {
    enum run_state from, to;
    int64_t time_us;
    struct cause *cause;
};

/* The events that are remembered by kind. */
static const enum qapi_event noted_events[] = {
    QAPI_EVENT_RESET,     QAPI_EVENT_SHUTDOWN, QAPI_EVENT_STOP,   QAPI_EVENT_RESUME,
    QAPI_EVENT_POWERDOWN, QAPI_EVENT_SUSPEND,  QAPI_EVENT_WAKEUP,
};

struct causes {
    struct event_sink sink; /* first */
    struct event_sink *target;
    struct machine *m;
    GMutex mutex; /* guards the rest; never held while calling out */
    struct cause_scope *scopes;
    struct event_note noted[G_N_ELEMENTS(noted_events)];
    struct change_note changes[CHANGES_MAX]; /* the last first */
    unsigned n_changes;
};

/* ---- causes */

static void cause_clear(gpointer arg)
{
    struct cause *cause = arg;

    godwit_cause_free(cause->info);
    cause_unref(cause->parent);
}

struct cause *cause_new(struct godwit_cause *info)
{
    struct cause *cause = g_atomic_rc_box_new0(struct cause);

    cause->info = info;
    return cause;
}

struct cause *cause_ref(struct cause *cause)
{
    return cause ? g_atomic_rc_box_acquire(cause) : NULL;
}

void cause_unref(struct cause *cause)
{
    if (cause) {
        g_atomic_rc_box_release_full(cause, cause_clear);
    }
}

/* The same cause, after an event that it had. Takes cause over. */
static struct cause *cause_follow(struct cause *cause, const char *event, int64_t seq,
                                  int64_t time_us)
{
    struct cause *next;

    if (!cause) {
        return NULL;
    }
    next = cause_new(godwit_cause_clone(cause->info));
    godwit_event_ref_free(next->info->parent);
    next->info->parent = g_new0(struct godwit_event_ref, 1);
    next->info->parent->event = g_strdup(event);
    next->info->parent->seq = seq;
    next->parent_time_us = time_us;
    if (cause->depth + 1 < CHAIN_MAX) {
        next->depth = cause->depth + 1;
        next->parent = cause;
    } else {
        cause_unref(cause);
    }
    return next;
}

static struct godwit_cause *info_new(enum godwit_cause_who who, const char *what)
{
    struct godwit_cause *info = g_new0(struct godwit_cause, 1);

    info->who = who;
    info->what = g_strdup(what);
    return info;
}

static char *hex(uint64_t value)
{
    return g_strdup_printf("0x%" PRIx64, value);
}

static struct godwit_access *access_info(const struct vcpu_access *access)
{
    static const enum godwit_access_space spaces[] = {
        [VCPU_ACCESS_PORT] = GODWIT_ACCESS_SPACE_PORT,
        [VCPU_ACCESS_MEMORY] = GODWIT_ACCESS_SPACE_MEMORY,
        [VCPU_ACCESS_MSR] = GODWIT_ACCESS_SPACE_MSR,
    };
    struct godwit_access *info = g_new0(struct godwit_access, 1);

    info->space = spaces[access->kind];
    info->address = hex(access->address);
    info->size = access->size;
    info->write = access->write;
    info->value = access->write ? hex(access->value) : NULL;
    return info;
}

struct cause *cause_of_vcpu(struct vcpu *vcpu, const char *what, int exception)
{
    struct godwit_cause *info = info_new(GODWIT_CAUSE_WHO_GUEST, what);

    info->has_vcpu = true;
    info->vcpu = vcpu->index;
    if (vcpu->ops->instruction_pointer) {
        info->rip = hex(vcpu->ops->instruction_pointer(vcpu));
    }
    if (vcpu->access.kind != VCPU_ACCESS_NONE) {
        info->access = access_info(&vcpu->access);
    }
    info->has_exception = exception >= 0;
    info->exception = exception;
    return cause_new(info);
}

/* ---- scopes */

static void enter(struct causes *causes, struct cause_scope *scope)
{
    scope->thread = pthread_self();
    scope->event = NULL;
    g_mutex_lock(&causes->mutex);
    scope->outer = causes->scopes;
    causes->scopes = scope;
    g_mutex_unlock(&causes->mutex);
}

void cause_enter(struct machine *m, struct cause_scope *scope, struct cause *cause)
{
    *scope = (struct cause_scope){.cause = cause};
    enter(m->causes, scope);
}

void cause_enter_lazy(struct machine *m, struct cause_scope *scope,
                      struct godwit_cause *(*make)(void *opaque), void *opaque)
{
    *scope = (struct cause_scope){.make = make, .opaque = opaque};
    enter(m->causes, scope);
}

void cause_leave(struct machine *m, struct cause_scope *scope)
{
    struct cause_scope **at = &m->causes->scopes;

    g_mutex_lock(&m->causes->mutex);
    while (*at != scope) {
        at = &(*at)->outer; /* scopes of other threads may lie above */
    }
    *at = scope->outer;
    g_mutex_unlock(&m->causes->mutex);
    cause_unref(scope->cause);
}

/* The calling thread's innermost scope. It stays: only its thread ends it. */
static struct cause_scope *scope_find(struct causes *causes)
{
    struct cause_scope *scope;

    g_mutex_lock(&causes->mutex);
    scope = causes->scopes;
    while (scope && !pthread_equal(scope->thread, pthread_self())) {
        scope = scope->outer;
    }
    g_mutex_unlock(&causes->mutex);
    return scope;
}

static struct cause *scope_cause(struct cause_scope *scope)
{
    if (!scope->cause && scope->make) {
        scope->cause = cause_new(scope->make(scope->opaque));
    }
    if (scope->event) {
        scope->cause = cause_follow(scope->cause, scope->event, scope->seq, scope->time_us);
        scope->event = NULL;
    }
    return cause_ref(scope->cause);
}

/* What the thread's scope or vCPU says; NULL: neither. */
static struct cause *cause_here(struct machine *m, struct cause_scope *scope, const char *what)
{
    struct vcpu *vcpu;

    if (scope) {
        return scope_cause(scope);
    }
    vcpu = m->cpus ? vcpu_current(m->cpus) : NULL;
    return vcpu ? cause_of_vcpu(vcpu, what, -1) : NULL;
}

struct cause *cause_now(struct machine *m, enum godwit_cause_who who, const char *what)
{
    struct cause *cause = cause_here(m, scope_find(m->causes), what);

    return cause ? cause : cause_new(info_new(who, what));
}

struct cause *cause_now_named(struct machine *m, enum godwit_cause_who who, const char *what)
{
    struct cause *now = cause_now(m, who, what), *cause;

    cause = cause_new(godwit_cause_clone(now->info));
    g_free(cause->info->what);
    cause->info->what = g_strdup(what);
    cause_unref(now);
    return cause;
}

struct cause *cause_now_of_memory(struct machine *m, const char *what, uint64_t guest_address)
{
    struct cause *now = cause_now(m, GODWIT_CAUSE_WHO_MACHINE, what), *cause;

    cause = cause_new(godwit_cause_clone(now->info));
    godwit_memory_free(cause->info->memory);
    cause->info->memory = g_new0(struct godwit_memory, 1);
    cause->info->memory->guest_address = hex(guest_address);
    cause_unref(now);
    return cause;
}

/* ---- what happened */

struct emission {
    struct causes *causes;
    unsigned event;
    struct cause *cause;
    int64_t seq, time_us;
};

/* What only a guest's driver brings about, by a queue that any thread may serve, and what only
 * disks do: for want of anybody else on that thread. */
static const struct {
    enum qapi_event event;
    enum godwit_cause_who who;
    const char *what;
} served_events[] = {
    {QAPI_EVENT_VSERPORT_CHANGE, GODWIT_CAUSE_WHO_GUEST, "virtio-serial"},
    {QAPI_EVENT_BALLOON_CHANGE, GODWIT_CAUSE_WHO_GUEST, "virtio-balloon"},
    {QAPI_EVENT_NIC_RX_FILTER_CHANGED, GODWIT_CAUSE_WHO_GUEST, "virtio-net"},
    {QAPI_EVENT_MEMORY_DEVICE_SIZE_CHANGE, GODWIT_CAUSE_WHO_GUEST, "virtio-mem"},
    {QAPI_EVENT_QUORUM_REPORT_BAD, GODWIT_CAUSE_WHO_DEVICE, "quorum"},
    {QAPI_EVENT_QUORUM_FAILURE, GODWIT_CAUSE_WHO_DEVICE, "quorum"},
};

static struct cause *cause_of_served(unsigned event)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(served_events); i++) {
        if (served_events[i].event == event) {
            return cause_new(info_new(served_events[i].who, served_events[i].what));
        }
    }
    return NULL;
}

/* Before anybody gets the event, so that who asks on getting it is told of it. */
static void note_event(void *opaque, int64_t seq)
{
    struct emission *e = opaque;

    e->seq = seq;
    e->time_us = g_get_real_time();
    for (unsigned i = 0; i < G_N_ELEMENTS(noted_events); i++) {
        if (noted_events[i] == e->event) {
            struct event_note *note = &e->causes->noted[i];
            struct cause *old;

            g_mutex_lock(&e->causes->mutex);
            old = note->cause;
            *note = (struct event_note){seq, e->time_us, cause_ref(e->cause)};
            g_mutex_unlock(&e->causes->mutex);
            cause_unref(old);
        }
    }
}

static void emit(struct event_sink *sink, unsigned event, const char *data_json)
{
    struct causes *causes = (struct causes *)sink;
    struct cause_scope *scope = scope_find(causes);
    const char *name = qapi_event_str((enum qapi_event)event);
    struct emission e = {.causes = causes, .event = event};
    struct event_cause why = {.numbered = note_event, .opaque = &e};
    g_autoptr(GString) text = NULL;

    e.cause = cause_here(causes->m, scope, name);
    if (!e.cause) {
        e.cause = cause_of_served(event);
    }
    if (!causes->target->emit_caused) {
        note_event(&e, 0);
        causes->target->emit(causes->target, event, data_json);
    } else {
        if (e.cause) {
            text = g_string_sized_new(256);
            godwit_cause_to_json(e.cause->info, text);
            why.json = text->str;
        }
        causes->target->emit_caused(causes->target, event, data_json, &why);
    }
    cause_unref(e.cause);
    if (scope) {
        scope->event = name;
        scope->seq = e.seq;
        scope->time_us = e.time_us;
    }
}

void causes_note_state(struct causes *causes, enum run_state from, enum run_state to)
{
    struct change_note note = {.from = from, .to = to, .time_us = g_get_real_time()};
    struct cause *old;

    note.cause = cause_here(causes->m, scope_find(causes), "run state");
    g_mutex_lock(&causes->mutex);
    old = causes->changes[CHANGES_MAX - 1].cause;
    memmove(&causes->changes[1], &causes->changes[0], sizeof(note) * (CHANGES_MAX - 1));
    causes->changes[0] = note;
    causes->n_changes = MIN(causes->n_changes + 1, CHANGES_MAX);
    g_mutex_unlock(&causes->mutex);
    cause_unref(old);
}

struct causes *causes_new(struct machine *m, struct event_sink *target)
{
    struct causes *causes = g_new0(struct causes, 1);

    causes->sink.emit = emit;
    causes->target = target;
    causes->m = m;
    g_mutex_init(&causes->mutex);
    return causes;
}

void causes_free(struct causes *causes)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(noted_events); i++) {
        cause_unref(causes->noted[i].cause);
    }
    for (unsigned i = 0; i < CHANGES_MAX; i++) {
        cause_unref(causes->changes[i].cause);
    }
    g_mutex_clear(&causes->mutex);
    g_free(causes);
}

struct event_sink *causes_sink(struct causes *causes)
{
    return &causes->sink;
}

/* ---- telling */

struct godwit_timestamp *cause_timestamp(int64_t time_us)
{
    struct godwit_timestamp *t = g_new0(struct godwit_timestamp, 1);

    t->seconds = time_us / G_USEC_PER_SEC;
    t->microseconds = time_us % G_USEC_PER_SEC;
    return t;
}

struct godwit_cause *cause_info(const struct cause *cause)
{
    return cause ? godwit_cause_clone(cause->info) : NULL;
}

static struct godwit_caused_event *caused_event_new(const char *name, int64_t seq, int64_t time_us,
                                                    const struct cause *cause)
{
    struct godwit_caused_event *event = g_new0(struct godwit_caused_event, 1);

    event->event = g_strdup(name);
    event->has_seq = seq > 0;
    event->seq = seq;
    event->timestamp = cause_timestamp(time_us);
    event->cause = cause_info(cause);
    return event;
}

static struct godwit_caused_event_list *chain_of(const struct cause *cause)
{
    struct godwit_caused_event_list *chain = godwit_caused_event_list_new();

    for (; cause && cause->info->parent; cause = cause->parent) {
        godwit_caused_event_list_append(
            chain, caused_event_new(cause->info->parent->event, cause->info->parent->seq,
                                    cause->parent_time_us, cause->parent));
    }
    return chain;
}

static struct godwit_state_change *change_copy(const struct change_note *note)
{
    struct godwit_state_change *change = g_new0(struct godwit_state_change, 1);

    change->from = note->from;
    change->to = note->to;
    change->timestamp = cause_timestamp(note->time_us);
    change->cause = cause_info(note->cause);
    return change;
}

struct godwit_why *causes_query(struct causes *causes, enum run_state now)
{
    struct godwit_why *why = g_new0(struct godwit_why, 1);

    why->changes = godwit_state_change_list_new();
    why->last = godwit_caused_event_list_new();
    g_mutex_lock(&causes->mutex);
    why->status = causes->n_changes ? causes->changes[0].to : now;
    why->cause = cause_info(causes->changes[0].cause);
    why->chain = chain_of(causes->changes[0].cause);
    for (unsigned i = 0; i < causes->n_changes; i++) {
        godwit_state_change_list_append(why->changes, change_copy(&causes->changes[i]));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(noted_events); i++) {
        const struct event_note *note = &causes->noted[i];

        if (note->time_us) {
            godwit_caused_event_list_append(
                why->last, caused_event_new(qapi_event_str(noted_events[i]), note->seq,
                                            note->time_us, note->cause));
        }
    }
    g_mutex_unlock(&causes->mutex);
    return why;
}

static void describe_access(GString *text, const struct godwit_access *access)
{
    static const char *const spaces[] = {"port", "memory", "MSR"};

    if (access->write) {
        g_string_append_printf(text, ", wrote %s to %s %s", access->value, spaces[access->space],
                               access->address);
    } else {
        g_string_append_printf(text, ", read %s %s", spaces[access->space], access->address);
    }
}

char *cause_describe(const struct cause *cause)
{
    const struct godwit_cause *info = cause->info;
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "%s: %s", godwit_cause_who_str(info->who), info->what);
    if (info->has_vcpu) {
        g_string_append_printf(text, ", vCPU %" PRId64, info->vcpu);
    }
    if (info->rip) {
        g_string_append_printf(text, " at %s", info->rip);
    }
    if (info->access) {
        describe_access(text, info->access);
    }
    if (info->has_exception) {
        g_string_append_printf(text, ", exception %" PRId64, info->exception);
    }
    if (info->client) {
        g_string_append_printf(text, ", monitor '%s'", info->client->monitor);
        if (info->client->has_pid) {
            g_string_append_printf(text, ", pid %" PRId64, info->client->pid);
        }
    }
    if (info->signal && info->signal->has_pid) {
        g_string_append_printf(text, ", from pid %" PRId64, info->signal->pid);
    }
    if (info->memory && info->memory->guest_address) {
        g_string_append_printf(text, ", guest memory at %s", info->memory->guest_address);
    }
    if (info->parent) {
        g_string_append_printf(text, ", after %s", info->parent->event);
    }
    return g_string_free(text, FALSE);
}
