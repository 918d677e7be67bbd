/* What vCPUs on threads of their own (vcpu.c) and on one thread (vcpu-turns.c) share. */
#ifndef CPU_VCPU_PRIV_H
#define CPU_VCPU_PRIV_H

#include "cpu/vcpu.h"

/* ---- vcpu.c: for the thread that executes the vCPU */

/* Runs what vcpu_run_on() queued. cpus->mutex held, released meanwhile. */
void vcpu_serve_queue(struct vcpu *vcpu);
/* Executes the guest until the accelerator's run() returns, and does what comes of it. */
void vcpu_run_once(struct vcpu *vcpu);

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
