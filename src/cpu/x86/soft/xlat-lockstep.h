/*
 * Lockstep: translated code and the interpreter on the same guest, compared as they go.
 *
 * Whenever the interpreter enters a unit (op_unit), a *step* of at most some instructions is run
 * twice from the same state: first translated, then, with memory and registers put back, by the
 * interpreter. Registers, flags, vector and x87 state, every byte written and the fault that ended
 * the step must be equal; the guest goes on from what the interpreter made. The first difference
 * stops the vCPU with an internal error that shows both states.
 *
 * What a step cannot repeat ends it, and is executed once: accesses to devices, strings, and
 * instructions that change more than registers and memory (control registers, MSRs, time, flags as
 * a whole). Their handlers are the interpreter's in translated code too, so little is left out.
 *
 * Memory: every store is noted with the 32 aligned bytes around it before it happens, by code that
 * the generator adds in this mode and by the MMU's slow paths, which the interpreter is held to.
 * A difference counts only when it shows itself again and again: devices write to memory, too, and
 * may do so between the two runs. Other vCPUs do not run meanwhile (-accel tcg,thread=single).
 */
#ifndef CPU_X86_SOFT_XLAT_LOCKSTEP_H
#define CPU_X86_SOFT_XLAT_LOCKSTEP_H

#include "cpu/x86/soft/xlat-priv.h"

struct lockstep;

/* After xlat_init(), before anything is translated. */
void lockstep_init(struct cpu *c);
void lockstep_finish(struct cpu *c);

/* Runs a step from the entry of u, which the interpreter is about to enter. false: the instruction
 * there is for the interpreter, which goes on in its usual way. Faults do not return. */
bool lockstep_step(struct cpu *c, struct unit *u);

/* What the first difference was, for tests; NULL: there was none. */
const char *lockstep_difference(const struct cpu *c);

/* Whether a handler that translated code is about to call belongs into a step. false: the step ends
 * before it. And after the call. */
bool lockstep_op_begin(struct cpu *c, const struct op *o);
void lockstep_op_end(struct cpu *c, const struct op *o);

/* For the generator: an instruction that ends a step. */
bool lockstep_is_alone(const struct xinsn *x);

#endif
