/* What the files of the translator share. */
#ifndef CPU_X86_SOFT_XLAT_PRIV_H
#define CPU_X86_SOFT_XLAT_PRIV_H

#include "cpu/x86/soft/xlat-emit.h"
#include "cpu/x86/soft/xlat.h"

enum { /* sets of arithmetic flags */
       FL_C = 1,
       FL_P = 2,
       FL_A = 4,
       FL_Z = 8,
       FL_S = 16,
       FL_O = 32,
       FL_ALL = 63,
};

/* How the generator treats an instruction. */
enum xclass {
    XC_STOP,        /* not in units: the region ends before it */
    XC_HANDLER,     /* the interpreter's handler */
    XC_HANDLER_END, /* ... which never goes on to the next instruction */
    XC_NOP,
    XC_VERBATIM, /* RAX, RDX and flags only: the bytes as they are */
    XC_MODRM,    /* register form or memory form through ModRM: re-encoded */
    XC_LEA,
    XC_MOV_IMM, /* B0..BF */
    XC_BSWAP,
    XC_XCHG_RAX,
    XC_PUSH,
    XC_PUSH_IMM,
    XC_POP,
    XC_LEAVE,
    XC_DIV,
    XC_JCC,
    XC_JCXZ,
    XC_LOOP, /* LOOP alone */
    XC_JMP,
    XC_CALL,
    XC_RET,
    XC_JMP_IND,
    XC_CALL_IND,
    XC_RDTSC, /* RDTSCP too */
    XC_CPUID,
};

enum operand_kind {
    OPERAND_NONE,
    OPERAND_GPR,
    OPERAND_XMM,
    OPERAND_DIGIT /* an opcode extension */
};

enum { HIGH_COPY_NONE, HIGH_COPY_REG, HIGH_COPY_RM };

struct xinsn {
    struct op op;      /* as the interpreter wants it; ip counts from the page's start */
    uint8_t bytes[24]; /* zeroes behind it */
    uint8_t len;
    uint8_t class;
    uint8_t rex, map, opcode, modrm, mandatory; /* mandatory prefix to emit, or 0 */
    bool opsize;                                /* emit 66 */
    bool lock;
    uint8_t imm_at, imm_len; /* within bytes */
    uint8_t reg_kind, rm_kind;
    uint8_t reg, rm;        /* guest registers, rm when the operand is a register */
    bool reg_byte, rm_byte; /* 8-bit register operands */
    bool reg_out, rm_out;   /* written (a superset is harmless) */
    uint8_t high_copy;      /* HIGH_COPY_*: this operand, AH, DH or BH, goes by way of T1 */
    bool by_cl;             /* a shift by CL */
    bool keeps_flags;       /* a handler that leaves the arithmetic flags alone */
    bool mem;               /* memory operand */
    bool mem_write;         /* ... needs the right to write */
    bool mem_align;         /* ... at a multiple of its size, which is 16 */
    uint8_t mem_size;
    uint8_t size; /* operand size in bytes; of stack operations and branches that of an address */
    bool vec;     /* uses XMM registers natively */
    uint8_t f_read, f_write;
    uint8_t live_in, live_out;
    int16_t next, target; /* indexes of successors within the region, -1: outside or none */
    bool head;            /* polls: the entry, and targets of backward branches */
    bool labelled;        /* some branch goes here */
    bool falls;           /* goes on to the next instruction (in or out of the region) */
    const uint8_t *label; /* its code, writable mapping */
    bool near;            /* its memory operand mostly stays in its page (xlat-near.c) */
    /* A group of memory operands with one lookup (xlat-group.c), at its first instruction: */
    int16_t group_last;  /* index of its last one; 0: there is no group */
    int32_t group_low;   /* the lowest operand's displacement */
    uint16_t group_span; /* bytes from there to the highest one's end */
    bool group_write;    /* some are written to */
    bool group_align;    /* the lowest is to be at a multiple of 16 */
    bool group_follower; /* at the others */
    int32_t group_at;    /* of each: where it is from the lowest on */
};

struct code_region {
    uint64_t page_rip;
    uint32_t key;
    uint8_t word; /* bytes of an address and of what is pushed: 8, or 4 */
    unsigned n;
    unsigned max;
    bool vec;        /* some instruction uses XMM registers natively */
    uint16_t chains; /* registers that a loop loads from where they point to: lists */
    uint64_t chunks; /* of the page: bytes that were looked at */
    struct xinsn insn[XLAT_MAX_INSNS];
    int16_t at[GUEST_PAGE_SIZE]; /* index of the instruction at an offset, -1 */
};

/* A direct way out of a unit to code in the same page. */
struct unit_exit {
    uint64_t rip;
    uint8_t *jump; /* the displacement that is patched; writable mapping */
    uint8_t *stub; /* what it goes to while not linked; writable mapping */
    bool parked;   /* flags are in xl_flags there */
    struct unit *from, *to;
    struct unit_exit *next_in, **prev_in; /* in to->incoming */
    struct unit_exit *next_of;            /* in from->exits */
};

struct unit {
    struct block *block; /* at the entry */
    uint64_t page_rip;
    const uint8_t *host_page;
    uint64_t chunks;
    uint32_t key;
    bool dead;
    uint8_t *entry;        /* flags in the host's; writable mapping */
    uint8_t *entry_parked; /* flags in xl_flags */
    struct unit *page_next, **page_prev;
    struct unit_exit *incoming;
    struct unit_exit *exits; /* list through next_of */
};

#define COPY_MISSES      512
#define COPY_INTERVAL_NS 250 /* between two misses, on average, at least */

/* A lookup that tries a copy of its entry first, as long as that seldom fails. */
struct copy_site {
    uint8_t *begin; /* its code; writable mapping */
    uint8_t *plain; /* code that does without the copy; writable mapping */
    int64_t since;  /* when the misses were counted from, in microseconds */
    int32_t left;   /* misses until the question is asked */
};

/* Ops for handler calls come in pairs: the op, and one that says whose it is and which way the
 * flags have to be carried. */
#define XOP_UNIT(o)       ((struct unit *)(intptr_t)(o)[1].imm)
#define XOP_FLAGS_IN(o)   ((o)[1].bits & 1)
#define XOP_FLAGS_OUT(o)  ((o)[1].bits & 2)
#define XOP_FLAGS_KEPT(o) ((o)[1].bits & 4) /* they stay in xl_flags while it runs */

/* For lockstep: flags that count before and after it; it is executed by one side alone; an x87
 * instruction. */
#define XOP_LIVE_IN(o)    ((o)[1].dst)
#define XOP_LIVE_OUT(o)   ((o)[1].src)
#define XOP_ALONE(o)      ((o)[1].base)
#define XOP_X87(o)        ((o)[1].index)

enum { STUB_PARKED = 1, STUB_VEC = 2 };

struct xlat {
    struct xlat_config config;
    struct translation_stats stats;
    int fd;
    uint8_t *rw;    /* code, writable */
    uint8_t *rx;    /* the same memory, executable */
    size_t bytes;   /* of the code */
    size_t stubs;   /* bytes at its start that are never dropped */
    size_t used;    /* of the code */
    uint8_t *table; /* units, exits, ops */
    size_t table_bytes, table_used;
    unsigned n_lookups; /* made so far: places of c->last_entry go round */
    unsigned n_copies;  /* ... and of c->copies */
    bool flush_pending;
    bool host_aes, host_pclmul, host_movbe, host_lzcnt, host_bmi1;
    struct unit *page[1024];            /* by host page */
    GArray *fault_points, *fault_pages; /* xlat-fault.c */
    struct code_region region;          /* being made */

    /* shared stubs, writable mapping */
    uint8_t *stub_enter, *stub_leave, *stub_leave_parked, *stub_leave_done;
    uint8_t *stub_op[4]; /* STUB_* : calls the handler of the op in T0 */
    uint8_t *stub_exit, *stub_exit_parked, *stub_miss;
    uint8_t *stub_vec_load;
    uint8_t
        *stub_copy[2];  /* without and with XMM registers: the copy site in T0 has missed often */
    uint8_t *stub_note; /* lockstep: a store to the host address in T0 is about to happen */
    void (*enter)(struct cpu *, const uint8_t *code);
};

/* Code that can be translated: 64-bit, or 32-bit where CS, SS, DS and ES are flat. */
#define KEY_FLAT32 ((uint32_t)(KEY_PE | KEY_CS_D | KEY_SS_B | KEY_FLAT | KEY_CS_FLAT))
static inline bool key_translatable(uint32_t key)
{
    return (key & KEY_LONG64) || (key & (KEY_FLAT32 | KEY_VM86)) == KEY_FLAT32;
}

static inline uint64_t region_rip(const struct code_region *g, int64_t offset)
{
    uint64_t rip = g->page_rip + (uint64_t)offset;
    return g->word == 8 ? rip : (uint32_t)rip;
}

/* The segment whose base counts in the operand's address, or SEG_COUNT. */
static inline unsigned operand_segment(const struct xinsn *x)
{
    return x->op.mflags & (MF_SEG64 | MF_SEGCHK) ? x->op.seg : SEG_COUNT;
}

/* Host register of a guest register, or XLAT_IN_ENV. */
#define XLAT_IN_ENV 0xff
extern const uint8_t xlat_host_reg[16];

#define ENV(field) ((int32_t)offsetof(struct cpu, field))
#define ENV_REG(n) (ENV(r) + 8 * (int32_t)(n))
#define ENV_XMM(n) (ENV(xmm) + (int32_t)sizeof(((struct cpu *)0)->xmm[0]) * (int32_t)(n))

/* xlat-insn.c: fills x from the op and its bytes. ends: decode() said that a block ends here. */
void xinsn_classify(const struct cpu *c, struct xinsn *x, bool ends);

/* xlat-region.c: collects instructions from offset `entry` of a page. read(ctx, offset, buf, n)
 * gives up to n bytes and marks them as code; it returns how many, or -1 to give up. */
typedef int (*region_read)(void *ctx, unsigned offset, uint8_t *buf, unsigned n);
bool region_collect(struct cpu *c, struct code_region *g, uint64_t page_rip, unsigned entry,
                    region_read read, void *ctx);

/* xlat-group.c: finds the groups of memory operands. */
void region_group(struct code_region *g);
/* Registers that the instruction may write, as a set; all of them where that is not known. */
uint32_t insn_written(const struct xinsn *x);

/* xlat-near.c: finds the operands that walk through memory in small steps. */
void region_near(struct code_region *g);

/* xlat-gen.c: code, exits and ops into u. Space was made sure of. */
#define GEN_MAX_CODE (XLAT_MAX_INSNS * 768u + 4096u)
#define GEN_MAX_TABLE                                                                              \
    (XLAT_MAX_INSNS *                                                                              \
         (2 * sizeof(struct op) + 3 * sizeof(struct unit_exit) + sizeof(struct copy_site)) +       \
     4096u)
void xlat_generate(struct cpu *c, struct xlat *xl, struct code_region *g, struct unit *u);
void xlat_make_stubs(struct cpu *c, struct xlat *xl);

/* xlat-fault.c */
void fault_points_init(struct xlat *xl);
void fault_points_finish(struct xlat *xl); /* of one that has none, too */
void fault_points_drop(struct xlat *xl);   /* all of them, with the code */
void fault_points_begin(struct xlat *xl, uint64_t page_rip);

/* Called by stubs. They return where to go on (executable mapping), the first NULL for "after the
 * op". */
const uint8_t *xlat_op(struct cpu *c, const struct op *o);
const uint8_t *xlat_exit(struct cpu *c, struct unit_exit *exit);
const uint8_t *xlat_miss(struct cpu *c);
const uint8_t *xlat_copy(struct cpu *c, struct copy_site *site);

/* Runs a unit from its entry until it leaves; everything is in struct cpu then. */
void xlat_run(struct cpu *c, struct unit *u);

OP(op_xlat_end);
OP(op_heat);
OP(op_unit);

#endif
