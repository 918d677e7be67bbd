/*
 * Guest code as text, for people: AT&T's syntax. By the library Zydis; built without it there is
 * none.
 */
#ifndef CPU_X86_DISAS_H
#define CPU_X86_DISAS_H

#include "cpu/vcpu.h"

#define DISAS_INSN_MAX 15 /* bytes of the longest instruction */

enum disas_mode { DISAS_16, DISAS_32, DISAS_64 };

bool disas_available(void);
/* The mode of what the vCPU executes. Parked. */
enum disas_mode disas_mode_of(struct vcpu *vcpu);
/* Describes the instruction at the beginning of n bytes (1 at least), which is at addr: mnemonic,
 * blanks, operands. Returns its length; 0: it is none, or not whole. */
unsigned disas_insn(enum disas_mode mode, uint64_t addr, const uint8_t *bytes, size_t n,
                    GString *text);

#endif
