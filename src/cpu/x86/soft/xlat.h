/*
 * The same-ISA translator of the software CPU: hot guest code, 64-bit or 32-bit
 * with flat segments, as host code.
 *
 * A *unit* is the translation of a region: the code reached from one entry by direct branches
 * within its page. Units belong to one vCPU, as blocks do: nothing here is shared between threads.
 * Every instruction that the translator does not know is a call of the interpreter's handler, and
 * so is every memory access that misses the first-level TLB.
 *
 *   xlat.c         units' life: making, entering, linking, invalidating, evicting; shared stubs
 *   xlat-insn.c, xlat-insn-sse.c   bytes of an instruction -> what the generator has to know
 *   xlat-region.c  which instructions a unit has, and which flags are live between them
 *   xlat-group.c   which memory operands share a lookup
 *   xlat-near.c    which memory operands try a copy of their TLB entry
 *   xlat-gen.c     host code of a region; xlat-gen-mem.c: of its memory operands, xlat-gen-jump.c:
 *                  of branches, xlat-gen-sys.c: of system instructions
 *   xlat-fault.c   where code is left when memory fails under it
 *   xlat-stubs.c   code that all units share
 *   xlat-lockstep.c, xlat-lockstep-compare.c  translated code and the interpreter side by side
 *
 * Registers of translated code: 13 guest registers live in host registers (xlat_host_reg), R9, R10
 * and R11 in struct cpu; the host's RCX and R11 are temporaries. XMM registers are the host's in
 * units that use them, the arithmetic flags are the host's. Code knows where its vCPU's struct cpu
 * is. The host's stack is the C stack.
 *
 * Flags that the code overwrites before anything in the unit reads them may be lost on the way: the
 * frame of an exception raised between shows other arithmetic flags than hardware would. The
 * interrupted program cannot see the difference, a debugger within the guest could.
 */
#ifndef CPU_X86_SOFT_XLAT_H
#define CPU_X86_SOFT_XLAT_H

#include "cpu/x86/soft/block.h"

struct xlat;
struct unit;

struct xlat_config {
    size_t cache_bytes; /* code and its tables; at least XLAT_MIN_BYTES */
    unsigned threshold; /* executions of a block before its translation; 0: at once */
    unsigned max_insns; /* per unit, 1..XLAT_MAX_INSNS */
};
#define XLAT_MIN_BYTES (1u << 20)
#define XLAT_MAX_INSNS 128u

/* Gives the CPU a translator. false: this host does not allow memory to be executed, or lacks the
 * x86-64-v2 instructions; error says which. The CPU then interprets. Owner: the vCPU's thread. */
bool xlat_init(struct cpu *c, const struct xlat_config *config, GError **error);
void xlat_finish(struct cpu *c);

/* For block.c. b->unit is or was the block's; the host page's chunks (bits of 64 bytes) changed. */
void xlat_block_new(struct cpu *c, struct block *b); /* counts executions from now on */
void xlat_unit_kill(struct cpu *c, struct unit *u);
void xlat_invalidate(struct cpu *c, const uint8_t *first, const uint8_t *last);
void xlat_flush(struct cpu *c);

/* Flags that translated code parked become the lazy ones. Before anybody else looks at them. */
void xlat_flags_settle(struct cpu *c);

/* While the thread runs c: failures of the host's memory are noticed at the instruction. */
void xlat_faults_begin(struct cpu *c);
void xlat_faults_end(void);

/* Any thread; numbers of a running vCPU may be a little old. Zeroes
 * without a translator. */
void xlat_stats_get(const struct cpu *c, struct translation_stats *stats);

#endif
