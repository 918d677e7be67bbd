/* What vCPUs on threads of their own (vcpu.c) and on one thread (vcpu-turns.c) share, and the list
 * of them (vcpu-list.c). */
#ifndef CPU_VCPU_PRIV_H
#define CPU_VCPU_PRIV_H

#include "cpu/vcpu.h"

/* ---- vcpu.c: for the thread that executes the vCPU */

/* Runs what vcpu_run_on() queued. cpus->mutex held, released meanwhile. */
void vcpu_serve_queue(struct vcpu *vcpu);
/* Executes the guest until the accelerator's run() returns, and does what comes of it. */
void vcpu_run_once(struct vcpu *vcpu);

/* ---- vcpu.c: for the list */

/* What the thread executes that a vCPU has for itself. arg: the vCPU. */
void *vcpu_thread(void *arg);
/* What the vCPU's thread waits on, with cpus->mutex. */
GCond *vcpu_wake_cond(struct vcpu *vcpu);
/* It need no longer be parked. cpus->mutex held. */
void vcpu_unpark(struct vcpu *vcpu);
/* An exclusive section. Machine lock held. self: the calling vCPU, or NULL. */
void cpus_exclusive_begin(struct cpus *cpus, struct vcpu *self);
void cpus_exclusive_end(struct cpus *cpus);
/* Holds the vCPUs still while a memory map changes. */
struct map_guard cpus_map_guard(struct cpus *cpus);

/* ---- vcpu-turns.c: all vCPUs on one thread */

struct turns *turns_new(struct cpus *cpus);
void turns_free(struct turns *t); /* after all have left; NULL is fine */
/* The vCPU takes part from now on, parked at first. And no longer: waits until nothing executes it,
 * without the machine lock. */
bool turns_join(struct turns *t, struct vcpu *vcpu, GError **error);
void turns_leave(struct turns *t, struct vcpu *vcpu);
/* Whose turn it is, when the thread itself asks; else NULL. */
struct vcpu *turns_current(const struct turns *t);
/* Ends the present turn, unless it is `but`'s. Any thread. */
void turns_yield(struct turns *t, const struct vcpu *but);
/* What the thread waits on, with cpus->mutex. */
GCond *turns_wake(struct turns *t);

#endif
