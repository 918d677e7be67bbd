/*
 * What the system half of the software CPU (mmu.c, seg.c, task.c, excp.c, sys.c, msr.c, state.c)
 * shares beyond soft-priv.h. Everything belongs to the vCPU's thread.
 */
#ifndef CPU_X86_SOFT_SYS_PRIV_H
#define CPU_X86_SOFT_SYS_PRIV_H

#include "cpu/x86/soft/soft-priv.h"

static inline bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* ---------------------------------------------------------------- mmu.c */

/* TLB mode of the present code's own accesses. */
static inline unsigned mem_mode_of(const struct cpu *c, unsigned cpl)
{
    return cpl == 3                                           ? TLB_USER
           : (c->cr4 & CR4_SMAP) && (c->sysflags & RFLAGS_AC) ? TLB_KERNEL_AC
                                                              : TLB_KERNEL;
}

static inline unsigned mem_mode(const struct cpu *c)
{
    return mem_mode_of(c, c->cpl);
}

/* The slow accesses with the rights of a TLB mode. */
void mem_read_as(struct cpu *c, const struct op *o, uint64_t lin, void *buf, unsigned size,
                 unsigned mode);
void mem_write_as(struct cpu *c, const struct op *o, uint64_t lin, const void *buf, unsigned size,
                  unsigned mode);
void mem_probe_as(struct cpu *c, const struct op *o, uint64_t lin, unsigned size, enum access how,
                  unsigned mode);

void tlb_flush_pcid(struct cpu *c, unsigned pcid);
void tlb_flush_page_pcid(struct cpu *c, uint64_t lin, unsigned pcid);
void tlb_flush_all_nonglobal(struct cpu *c); /* every PCID */
void tlb_switch_space(struct cpu *c);        /* CR3 changed, translations of its PCID stay */

/* Reads the four PAE page-directory pointers at cr3. false, and nothing changed: reserved bits set.
 */
bool pdptrs_load(struct cpu *c, const struct op *o, uint64_t cr3);

/* Whether [offset, offset + size) lies within the segment's limit. */
bool segment_holds(const struct seg *s, uint64_t offset, unsigned size);

/* Records data breakpoints that the access hits. */
void watch_access(struct cpu *c, uint64_t lin, unsigned size, bool write);

/* ---------------------------------------------------------------- seg.c */

enum { /* type of a system descriptor */
       SYS_TSS16 = 1,
       SYS_LDT = 2,
       SYS_TSS16_BUSY = 3,
       SYS_CALL16 = 4,
       SYS_TASK_GATE = 5,
       SYS_INT16 = 6,
       SYS_TRAP16 = 7,
       SYS_TSS32 = 9,
       SYS_TSS32_BUSY = 11,
       SYS_CALL32 = 12,
       SYS_INT32 = 14,
       SYS_TRAP32 = 15,
};

struct desc {     /* a descriptor as it is in memory */
    uint64_t lin; /* where it is */
    uint32_t lo, hi;
    uint32_t hi2; /* base 63:32 of 16-byte descriptors, else 0 */
    uint16_t sel;
};

static inline unsigned desc_type(const struct desc *d)
{
    return d->hi >> 8 & 15;
}

static inline bool desc_is_segment(const struct desc *d) /* code or data, not system */
{
    return d->hi >> 12 & 1;
}

static inline unsigned desc_dpl(const struct desc *d)
{
    return d->hi >> 13 & 3;
}

static inline bool desc_present(const struct desc *d)
{
    return d->hi >> 15 & 1;
}

static inline bool desc_long(const struct desc *d)
{
    return d->hi >> 21 & 1;
}

static inline bool desc_db(const struct desc *d)
{
    return d->hi >> 22 & 1;
}

static inline bool desc_is_code(const struct desc *d)
{
    return desc_is_segment(d) && (d->hi >> 11 & 1);
}

static inline bool desc_is_conforming(const struct desc *d) /* of a code segment */
{
    return d->hi >> 10 & 1;
}

static inline bool desc_is_writable_data(const struct desc *d)
{
    return desc_is_segment(d) && !(d->hi >> 11 & 1) && (d->hi >> 9 & 1);
}

static inline uint64_t desc_base(const struct desc *d)
{
    return (d->lo >> 16) | (d->hi & 0xff) << 16 | (d->hi & 0xff000000) | (uint64_t)d->hi2 << 32;
}

static inline uint32_t desc_limit(const struct desc *d)
{
    uint32_t limit = (d->lo & 0xffff) | (d->hi & 0xf0000);
    return d->hi >> 23 & 1 ? limit << 12 | 0xfff : limit;
}

static inline bool sel_is_null(uint16_t sel)
{
    return (sel & 0xfffc) == 0;
}

static inline uint16_t sel_error(uint16_t sel)
{
    return sel & 0xfffc;
}

/* In protected mode, not virtual-8086. */
static inline bool is_protected(const struct cpu *c)
{
    return (c->cr0 & CR0_PE) && !(c->sysflags & RFLAGS_VM);
}

static inline bool is_lma(const struct cpu *c)
{
    return c->efer & EFER_LMA;
}

/* Reads the descriptor that sel names. false: beyond the table's limit, or no LDT. */
bool desc_fetch(struct cpu *c, const struct op *o, uint16_t sel, struct desc *d);
/* ... and its second half, when it is a 16-byte one (long mode). false: beyond the limit. */
bool desc_fetch_high(struct cpu *c, const struct op *o, struct desc *d);
/* As desc_fetch(), or raises `vector` with the selector (a null one: 0) as error code. */
void desc_need(struct cpu *c, const struct op *o, uint16_t sel, int vector, struct desc *d);
/* Sets the accessed bit in memory and in d. */
void desc_set_accessed(struct cpu *c, const struct op *o, struct desc *d);
/* The register's hidden part, with sel as its selector. */
void seg_from_desc(struct seg *s, const struct desc *d, uint16_t sel);
void seg_set_null(struct seg *s, uint16_t sel, unsigned dpl);
/* As in real mode: base sel << 4; keeps limit and rights. In virtual-8086 mode those too. */
void seg_set_real(struct cpu *c, unsigned n, uint16_t sel);
/* CS from a checked code descriptor; sets CPL. */
void cs_commit(struct cpu *c, const struct desc *d, uint16_t sel, unsigned cpl);
/* Loads a data segment register or SS as MOV does, with all checks. */
void seg_load(struct cpu *c, const struct op *o, unsigned n, uint16_t sel);
/* After a return to an outer level: data segments that it may not see become null. */
void seg_drop_inner(struct cpu *c);
/* Checks a new stack segment; vector: #TS, or #GP where not-present gives #SS all the same. */
void ss_check(struct cpu *c, const struct op *o, uint16_t sel, unsigned rpl_dpl, int vector,
              struct desc *d);

/* A stack that is pushed to or popped from before anything is committed. */
struct stack {
    const struct seg *ss; /* not used when flat64 */
    uint64_t sp, mask;
    unsigned mode;  /* TLB mode */
    uint32_t error; /* of its #SS */
    bool flat64;
};

void stack_init(struct cpu *c, struct stack *s); /* the present one */
uint64_t stack_mask(const struct cpu *c, const struct seg *ss);
void stack_push(struct cpu *c, const struct op *o, struct stack *s, uint64_t value, unsigned size);
uint64_t stack_pop(struct cpu *c, const struct op *o, struct stack *s, unsigned size);
void stack_commit(struct cpu *c, const struct stack *s);

/* Stack of level cpl from the TSS (protected mode). */
void tss_stack(struct cpu *c, const struct op *o, unsigned cpl, uint16_t *ss, uint32_t *esp);
/* Long mode: RSPn (index 0..2), ISTn (index 3 + n, n from 1). */
uint64_t tss_stack64(struct cpu *c, const struct op *o, unsigned index);

/* Ends an instruction that may have changed the mode: goes on at rip by way of soft_run. */
static inline op_ret leave_at(struct cpu *c, uint64_t rip)
{
    c->rip = rip;
    LEAVE;
}

/* ---------------------------------------------------------------- task.c */

enum task_switch_kind { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };

/* Switches to the task of a fetched TSS descriptor. next_rip: where the old task goes on. Events
 * push their error code on the new stack. May raise in the context of the new task. */
void task_switch(struct cpu *c, const struct op *o, struct desc *tss, enum task_switch_kind kind,
                 uint64_t next_rip, bool has_error, uint32_t error);

/* ---------------------------------------------------------------- excp.c */

enum event_kind {
    EVENT_FAULT,    /* exceptions */
    EVENT_EXTERNAL, /* interrupts and NMI */
    EVENT_SOFT,     /* INT n: the gate's DPL counts */
    EVENT_INT1,     /* ... it does not */
};

struct event {
    uint8_t vector;
    enum event_kind kind;
    bool has_error;
    uint32_t error;
    uint64_t rip; /* to be saved */
    bool rf;      /* RF in the saved flags */
};

/* One attempt: raises what goes wrong. Afterwards c->rip is the handler's. */
void event_deliver(struct cpu *c, const struct op *o, const struct event *e);

/* #DB as a fault, with these bits for DR6. */
G_GNUC_NORETURN void raise_debug(struct cpu *c, const struct op *o, uint32_t dr6);

/* RFLAGS as IRET, POPF and SYSRET change them: `mask` bits from value, others kept. The caller
 * calls mode_update. */
void rflags_load(struct cpu *c, uint64_t value, uint64_t mask);

/* ---------------------------------------------------------------- run.c */

/* Lines for reports of internal errors: 15 bytes at rip; general, segment and control registers;
 * vector and x87 registers. */
void cpu_describe_code(struct cpu *c, GString *text, uint64_t rip);
void cpu_describe_registers(const struct cpu *c, GString *text);
void cpu_describe_vectors(const struct cpu *c, GString *text);
/* Stops the machine with internal-error, once soft_run() is back in its loop. */
void cpu_internal_error(struct cpu *c, const char *text);

/* ---------------------------------------------------------------- sys.c, msr.c, state.c */

/* Recomputes c->watch and empties the first TLB level after a change of DR0-3 or DR7. */
void debug_update(struct cpu *c);
bool debug_has_code_breakpoints(const struct cpu *c);

/* EFER.LMA and the PDPTRs for new values; used by MOV CR, SMM-less mode switches and state set. */
void cr0_set(struct cpu *c, const struct op *o, uint64_t value);
void cr3_set(struct cpu *c, const struct op *o, uint64_t value);
void cr4_set(struct cpu *c, const struct op *o, uint64_t value);

/* false: #GP(0). */
bool msr_read(struct cpu *c, uint32_t index, uint64_t *value);
bool msr_write(struct cpu *c, uint32_t index, uint64_t value);
/* The MSRs that state get and set carry, ended by 0. */
extern const uint32_t msr_saved[];
uint64_t tsc_read(struct cpu *c); /* as RDTSC sees it */

void soft_state_get(struct cpu *c, struct cpu_state *st, unsigned what);
bool soft_state_set(struct cpu *c, const struct cpu_state *st, unsigned what, GError **error);

#endif
