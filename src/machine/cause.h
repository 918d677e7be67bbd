/*
 * Causes: who made something happen to the machine, by what, and after which event.
 *
 * A cause is made where something begins: at a guest's access to a register, a client's command, a
 * signal, a timer. It travels with the request that was left there, and the events that come of it
 * carry it. Nobody passes it along by hand: while code runs on somebody's behalf, a scope on its
 * thread says on whose, and events and requests made in it take their cause from there.
 *
 * What happened is published under a lock of its own, so that asking why works at any time.
 */
#ifndef MACHINE_CAUSE_H
#define MACHINE_CAUSE_H

#include "qapi-types.h"
#include "qapi/event.h"
#include <glib.h>
#include <pthread.h>

struct machine;
struct vcpu;

/* Constant once made; counted references. NULL stands for an unknown cause. */
struct cause;
struct cause *cause_new(struct godwit_cause *info); /* owns info */
struct cause *cause_ref(struct cause *cause);       /* NULL is fine, here and below */
void cause_unref(struct cause *cause);

/*
 * Code that runs on somebody's behalf. The struct is the caller's and lives until cause_leave(), on
 * the same thread; scopes nest. Either `cause` is given (a reference that the scope takes over), or
 * make(opaque) is asked for one when it is needed.
 */
struct cause_scope {
    struct cause_scope *outer;
    pthread_t thread;
    struct cause *cause;
    struct godwit_cause *(*make)(void *opaque);
    void *opaque;
    const char *event; /* sent last in it, NULL: none; what follows has it as parent */
    int64_t seq, time_us;
};

void cause_enter(struct machine *m, struct cause_scope *scope, struct cause *cause);
void cause_enter_lazy(struct machine *m, struct cause_scope *scope,
                      struct godwit_cause *(*make)(void *opaque), void *opaque);
void cause_leave(struct machine *m, struct cause_scope *scope);

/* The cause of what the calling thread does now: that of its scope, or of its vCPU's access to a
 * register, or else a device or the machine itself, with `what`. A new reference; any thread. */
struct cause *cause_now(struct machine *m, enum godwit_cause_who who, const char *what);
/* The same, but `what` is told of clients and users too: a command of the human monitor, by
 * whatever way it came. */
struct cause *cause_now_named(struct machine *m, enum godwit_cause_who who, const char *what);
/* As cause_now(), of memory that is at guest_address. */
struct cause *cause_now_of_memory(struct machine *m, const char *what, uint64_t guest_address);

/* For a vCPU's thread: what it does, `what` being its name for it. exception: -1 for none. */
struct cause *cause_of_vcpu(struct vcpu *vcpu, const char *what, int exception);

/* What is known of a cause, for an answer or a record; NULL for an unknown one. Owned by the
 * caller.
 */
struct godwit_cause *cause_info(const struct cause *cause);
struct godwit_timestamp *cause_timestamp(int64_t time_us); /* of the wall clock */

/* One line for people, without its end; owned by the caller. */
char *cause_describe(const struct cause *cause);

/* ---- what happened */

struct causes;

/* Events that are emitted into causes_sink() go on to target with their causes. */
struct causes *causes_new(struct machine *m, struct event_sink *target);
void causes_free(struct causes *causes);
struct event_sink *causes_sink(struct causes *causes);

/* Notes a change of the run state. */
void causes_note_state(struct causes *causes, enum run_state from, enum run_state to);

/* Any thread, no lock. Owned by the caller. */
struct godwit_why *causes_query(struct causes *causes, enum run_state now);

#endif
