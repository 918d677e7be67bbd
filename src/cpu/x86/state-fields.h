/*
 * struct cpu_state as a state table, for streams that hold a vCPU. A stream that is loaded has its
 * ranges checked here; whether a processor can be in such a state the accelerator's set() decides.
 */
#ifndef CPU_X86_STATE_FIELDS_H
#define CPU_X86_STATE_FIELDS_H

#include "base/state.h"

extern const struct state_desc cpu_state_desc;

#endif
