/*
 * The instruction oracle: the same instruction, from the same state, on the host's processor and on
 * the software CPU; everything a program can see is compared.
 *
 *   oracle.c         options, the loop, comparison, report
 *   oracle-gen.c     cases: instructions from the instruction table or random bytes, and states
 *   oracle-filter.c  what must not run on the host, and the one table of undefined results
 *   oracle-native.c  runs cases in a child process
 *   oracle-soft.c    runs cases on the software CPU
 *
 * A case is a pure function of (seed, number), so that one alone can be repeated.
 */
#ifndef TESTS_MACHINE_ORACLE_H
#define TESTS_MACHINE_ORACLE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The memory of a case, linear addresses; everything else is unmapped. */
#define CODE_BASE      0x10001000u /* two pages, read and execute */
#define CODE_BYTES     0x2000u
#define RO_BASE        0x10011000u /* one page, read only */
#define RO_BYTES       0x1000u
#define RW_BASE        0x10012000u /* two pages, follow the read-only one */
#define RW_BYTES       0x2000u
#define DATA_BASE      RO_BASE
#define DATA_BYTES     (RO_BYTES + RW_BYTES)
/* FS and GS bases in 64-bit mode */
#define FS_BASE        (RW_BASE + 0x300u)
#define GS_BASE        (RW_BASE + 0x1100u)

#define CODE_MAX       80u /* bytes of a case */
#define PATCH_MAX      64u
#define CASE_INSNS_MAX 8u

enum code_mode { CODE_64, CODE_32, CODE_16 }; /* the last two in compatibility mode */

/* Segments of the LDT for cases that are not flat. Code is 32- or 16-bit by db, so is a stack. */
struct ldt_entry {
    uint32_t base, limit; /* in bytes */
    bool code, db, expand_down, read_only;
};
enum {
    LDT_CODE_32,
    LDT_CODE_16,
    LDT_STACK_32,
    LDT_STACK_16,
    LDT_DATA,
    LDT_SHORT,
    LDT_READ_ONLY,
    LDT_EXPAND_DOWN,
    LDT_COUNT
};
extern const struct ldt_entry ldt_entries[LDT_COUNT];
enum { CASE_CS, CASE_SS, CASE_DS, CASE_ES }; /* indexes of oracle_case.segment */
#define LDT_SELECTOR(entry) ((entry) << 3 | 7)

/* Bytes of memory that are not compared. */
struct ignored {
    uint32_t at; /* offset from DATA_BASE */
    uint8_t bytes;
};

struct oracle_case {
    uint64_t seed, number;
    uint32_t code_at;   /* offset from CODE_BASE */
    uint8_t code_bytes; /* ends with INT3 unless `step` */
    uint8_t code[CODE_MAX];
    bool step; /* single-step: one instruction */
    enum code_mode mode;
    uint8_t segment[4]; /* with `segmented`: entries of the LDT for CS, SS, DS, ES */
    bool segmented;     /* not flat: compatibility mode only */
    uint64_t r[16];     /* in encoding order */
    uint64_t rflags;    /* TF as `step` says */
    uint8_t fx[512];    /* FXSAVE image, 64-bit format */
    uint8_t ymm[256];   /* upper halves of the YMM registers */
    uint32_t patch_at;  /* offset from DATA_BASE of bytes that differ from the template */
    uint8_t patch_bytes;
    uint8_t patch[PATCH_MAX];
    uint32_t undefined_flags; /* RFLAGS bits not compared */
    uint16_t ignored_fsw, ignored_fsw_if_stopped;
    bool fs_gs;                  /* an FS or GS base counts */
    bool vector;                 /* an SSE instruction */
    bool call;                   /* a near call */
    bool mmx_late, wide_operand; /* insn_touches_mmx_late, insn_has_wide_operand */
    struct ignored ignored[2];
    unsigned n_ignored;
};

struct outcome {
    bool done;      /* false: the child died in this case */
    uint8_t vector; /* of the exception that ended it: 1 after a step, 3 at the INT3 */
    bool has_error;
    uint32_t error;
    uint64_t cr2;             /* #PF only */
    uint64_t rflags_at_start; /* native: with ID, which sigreturn does not set */
    uint64_t r[16], rip, rflags;
    uint8_t fx[512] __attribute__((aligned(16)));
    uint8_t ymm[256];
    uint8_t rw[RW_BYTES];
};

#define BATCH 256u

/* Contents of DATA_BASE.. before each case's patch; of a whole batch. */
struct template
{
    uint8_t data[DATA_BYTES];
};

/* ---------------------------------------------------------------- generation */

struct gen_options {
    bool only_64, only_flat;
    bool no_random_bytes;
    const char *only; /* instructions whose name contains this; NULL: all */
};

void template_generate(struct template *t, uint64_t seed, uint64_t batch);
void case_generate(struct oracle_case *k, const struct gen_options *options, uint64_t seed,
                   uint64_t number);
/* The number of table lines left out for want of a host feature or by nature; prints them. */
unsigned generator_init(const struct gen_options *options, bool verbose);

/* ---------------------------------------------------------------- filter */

struct parsed {
    bool ok; /* opcode and ModRM are complete */
    enum code_mode mode;
    bool prefix66, prefix67, lock;
    bool addr16;     /* 16-bit addressing */
    uint8_t osz;     /* operand size: 2, 4, 8 */
    uint8_t rep;     /* 0xf3, 0xf2 (the last one), or 0 */
    uint8_t segment; /* the last segment prefix or 0 */
    uint8_t rex;
    uint8_t map; /* as in the table, or PARSED_VECTOR for EVEX and XOP */
    uint8_t vvvv;
    bool l, w; /* of VEX, whose pp is in prefix66 and rep */
    uint8_t opcode, modrm;
    unsigned opcode_at, modrm_at, modrm_end; /* modrm_end: where an immediate would be */
};
#define PARSED_VECTOR 0xff

void insn_parse(struct parsed *p, const uint8_t *code, unsigned bytes, enum code_mode mode);
/* May this run on the host? False for what reaches the kernel, depends on the host's identity or
 * tables, or belongs to extensions that the software CPU does not model. */
bool insn_allowed(const struct parsed *p);
/* Flags that this instruction leaves undefined, given its count or operand; *skip: a result that is
 * not a flag is undefined. */
uint32_t insn_undefined_flags(const struct parsed *p, const uint8_t *code, const uint64_t r[16],
                              bool *skip);

/* x87 status bits in which vendors differ for this instruction; *if_stopped: only when an unmasked
 * invalid operation stops it. */
uint16_t insn_ignored_fsw(const struct parsed *p, uint16_t *if_stopped);
/* CVTPI2PS and its kind, MASKMOVQ: whether a fault comes before or after the change to MMX mode
 * differs. */
bool insn_touches_mmx_late(const struct parsed *p);
/* Operands of more than eight bytes that are moved in pieces: which byte of the page a fault
 * reports depends on their order. */
bool insn_has_wide_operand(const struct parsed *p);
/* Unaligned operands of 16 bytes or of several parts: "treatment of #AC varies" (SDM vol. 2, 2.4).
 */
bool insn_alignment_varies(const struct parsed *p);
/* Parts of a stored x87 environment that are not compared; `at` counts from the operand's start. */
void insn_ignored_memory(const struct parsed *p, struct ignored ignored[2]);

/* ---------------------------------------------------------------- execution */

/* Maps the case memory at its fixed addresses. Once. */
void native_init(void);
bool native_has_ldt(void); /* segmented cases can run */
/* Runs cases in a child process; outcome[i] belongs to case[i]. */
void native_run(const struct oracle_case *cases, unsigned n, const struct template *t,
                struct outcome *outcomes);
struct outcome *native_outcomes(void); /* BATCH of them, shared with the child */

void soft_init(void);
void soft_translate(void); /* from now on code runs translated, from its first execution on */
/* rflags_at_start comes from the native outcome. */
void soft_case(const struct oracle_case *k, uint64_t rflags_at_start, const struct template *t,
               struct outcome *outcome);
void soft_finish(void);
struct cpu *soft_cpu(void);              /* for tests that change CR0 or CR4 */
bool feature_modelled(unsigned feature); /* enum cpu_feature: offered by host and software CPU */

/* ---------------------------------------------------------------- random numbers */

struct rng {
    uint64_t s;
};

static inline uint64_t rng_next(struct rng *g)
{
    uint64_t z = (g->s += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static inline unsigned rng_below(struct rng *g, unsigned n)
{
    return (unsigned)((rng_next(g) >> 32) * n >> 32);
}

static inline bool rng_percent(struct rng *g, unsigned percent)
{
    return rng_below(g, 100) < percent;
}

#endif
