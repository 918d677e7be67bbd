/*
 * A vCPU's registers as gdb numbers them, and the XML that tells gdb so.
 *
 * Features and names are those that gdb knows of (its manual, appendix "Standard Target Features",
 * i386): org.gnu.gdb.i386.core, .sse, .segments and, where the CPU model has AVX, .avx. What only
 * system software has is in a feature of our own: k_gs_base, CR0, CR2, CR3, CR4, CR8 and EFER.
 *
 * All vCPUs parked; values are little-endian, as the protocol has them for this target.
 */
#ifndef CPU_X86_GDB_REGS_H
#define CPU_X86_GDB_REGS_H

#include "cpu/vcpu.h"

#define GDB_REG_MAX_BYTES 16

/* How many registers a machine's vCPUs have: all of them the same. */
unsigned gdb_regs_count(const struct cpu_model *model);
/* The text of target.xml. */
GString *gdb_regs_xml(const struct cpu_model *model);

/* A copy of one vCPU's registers, to be looked at and changed. */
struct gdb_regs;
struct gdb_regs *gdb_regs_load(struct vcpu *vcpu);
/* Gives the vCPU what was changed; false when no processor could be in that state. */
bool gdb_regs_store(struct gdb_regs *regs, GError **error);
void gdb_regs_free(struct gdb_regs *regs);

unsigned gdb_reg_bytes(unsigned n); /* 0: there is no register n in any model */
/* n is below gdb_regs_count(); value has gdb_reg_bytes(n) bytes. */
void gdb_reg_get(const struct gdb_regs *regs, unsigned n, uint8_t *value);
void gdb_reg_set(struct gdb_regs *regs, unsigned n, const uint8_t *value);

/* The program counter alone. */
bool gdb_pc_set(struct vcpu *vcpu, uint64_t pc, GError **error);

#endif
