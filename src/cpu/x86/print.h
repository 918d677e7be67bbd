/*
 * Register state as text for people, in the layout of QEMU's `info registers` and `info lapic`.
 */
#ifndef CPU_X86_PRINT_H
#define CPU_X86_PRINT_H

#include "cpu/vcpu.h"
#include "cpu/x86/state.h"

/* What of the state the two functions below look at. */
#define CPU_PRINT_STATE (ST_REGS | ST_SREGS | ST_FPU | ST_EVENTS | ST_DEBUG | ST_MP)

/* Appends several lines, each ended by LF. Any thread. */
void cpu_state_print(const struct cpu_state *state, GString *out);

/* The same of its local APIC; ST_SREGS and ST_LAPIC are looked at. */
void lapic_state_print(const struct cpu_state *state, GString *out);

/* A register by name, without '$' ("rip", "eax", "pc", "cs"); "pc" is linear, CS base included.
 * false when there is none of that name. */
bool cpu_state_register(const struct cpu_state *state, const char *name, uint64_t *value);

#endif
