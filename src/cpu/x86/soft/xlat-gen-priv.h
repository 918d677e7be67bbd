/* What the files that write host code share (xlat-gen*.c, xlat-stubs.c). */
#ifndef CPU_X86_SOFT_XLAT_GEN_PRIV_H
#define CPU_X86_SOFT_XLAT_GEN_PRIV_H

#include "cpu/x86/soft/xlat-priv.h"

#define GUEST_RSP HOST_R9
#define GUEST_RCX HOST_R10

enum cold_kind {
    COLD_OP,     /* the interpreter's handler, then back */
    COLD_EXIT,   /* to code outside the region */
    COLD_PARKED, /* the same, with flags parked already */
    COLD_POLL,   /* something is requested: leave at rip */
    COLD_VEC,    /* XMM registers have to be loaded */
    COLD_GROUP,  /* a group's lookup failed: its instructions one by one */
    COLD_LOOKUP, /* the entry used last is not the right one: looks it up */
    COLD_COPY,   /* the copy of an entry is not the right one: looks it up and copies it */
};

/* A linear address in terms of the guest's registers. */
struct address {
    uint8_t base, index, scale; /* as in struct op */
    uint8_t seg;                /* its base is added; SEG_COUNT: none */
    int32_t disp;
};

/* Guest memory that was looked up: at T0 + index << scale + disp. */
struct host_operand {
    uint8_t index; /* a host register, or NO_INDEX */
    uint8_t scale;
    int32_t disp;
};
#define NO_INDEX 4

struct lookup {
    struct address address;
    int32_t place; /* in struct cpu: of the entry used last, or of the copy of one */
    uint16_t size;
    bool write, align;
};

struct cold {
    enum cold_kind kind;
    uint8_t *place;      /* of the jump that leads here */
    uint8_t *place2;     /* of another one, or NULL */
    unsigned first;      /* instruction, of COLD_GROUP */
    uint64_t rip;        /* where to go on, of exits and polls */
    const struct op *op; /* of COLD_OP */
    bool parked;
    uint8_t live;         /* flags that count at a poll */
    const uint8_t *back;  /* NULL: does not come back */
    const uint8_t *code;  /* what is here, once it is made */
    struct lookup lookup; /* of COLD_LOOKUP */
    struct cold *failed;  /* ... where it goes on if the entry is not there */
    const uint8_t *begin; /* of COLD_COPY: where the lookup begins */
};

struct fixup { /* a jump to an instruction that comes later */
    uint8_t *place;
    int target;
};

struct gen {
    struct cpu *c;
    struct xlat *xl;
    struct code_region *g;
    struct unit *u;
    struct emitter e;
    uint8_t *table; /* space left */
    unsigned n_cold, n_fixups;
    struct cold cold[XLAT_MAX_INSNS * 12 + 8];
    struct fixup fixup[XLAT_MAX_INSNS * 2 + 8];
    /* the instruction at hand */
    const struct xinsn *x;
    struct op *op;      /* its pair in the table, NULL: none yet */
    bool parked;        /* its flags are in xl_flags while it looks up */
    bool solo;          /* each instruction of a group looks up its own operand */
    struct cold *group; /* of the group at hand, until its last instruction */
    unsigned cold_from; /* its entries of cold[] that want `back` */
};

/* xlat-stubs.c: the flags into c->xl_flags and back; temp is lost. */
void flags_park(struct emitter *e, unsigned temp);
void flags_unpark(struct emitter *e, unsigned temp);
/* cmp byte env:[disp], 0 */
void e_test_env_byte(struct emitter *e, int32_t disp);
/* mov byte or dword env:[disp], value */
void e_set_env_byte(struct emitter *e, int32_t disp, uint8_t value);
void e_set_env_dword(struct emitter *e, int32_t disp, uint32_t value);

/* xlat-gen.c */

/* The jump at `place` leads to the instruction's handler. */
struct cold *to_handler(struct gen *k, uint8_t *place);
/* Leaves at rip if something is requested. T0 and T1 are lost, and the flags unless some are live.
 */
void gen_poll(struct gen *k, uint64_t rip, uint8_t live);
/* Moves the stack pointer, not the flags. */
void rsp_add(struct gen *k, int32_t n);
/* Code behind the main line, which a jump at `place` leads to. */
struct cold *cold_add(struct gen *k, enum cold_kind kind, uint8_t *place);

/* Space in the table for a unit's ops and exits. It was made sure of. */
void *table_take(struct gen *k, size_t bytes);
static inline bool is_wide(const struct gen *k) /* 64-bit code */
{
    return k->g->word == 8;
}

static inline uint64_t rip_of(const struct gen *k, const struct xinsn *x)
{
    return region_rip(k->g, x->op.ip);
}

static inline uint64_t rip_behind(const struct gen *k, const struct xinsn *x)
{
    return region_rip(k->g, x->op.ip + x->len);
}

/* xlat-gen-jump.c */

/* A jump at `place` shall go to an instruction of the region, or out of it to rip. */
void jump_to(struct gen *k, uint8_t *place, int target, uint64_t rip);
/* Behind the main line: the way out of the unit. */
void gen_exit(struct gen *k, const struct cold *cold);
void gen_branch(struct gen *k); /* Jcc, JRCXZ, LOOP, JMP */
void gen_call(struct gen *k);
void gen_ret(struct gen *k);
void gen_jmp_ind(struct gen *k);
void gen_call_ind(struct gen *k);

/* xlat-gen-mem.c */

/* Around what uses the flags of an instruction that shall keep them: before it looks something up,
 * and after its last lookup. T0, and then T1, are lost. */
void flags_begin(struct gen *k);
void flags_end(struct gen *k);
/* The address of LEA's operand in `to`; 32 bits of it unless w. */
void address_of_lea(struct gen *k, unsigned to, bool w);
/* Looks up the memory operand. It is where is returned, or the handler is called. Flags and T1 are
 * lost; T1 may have a part in the place. */
struct host_operand operand_lookup(struct gen *k);
/* The same of a word on the stack. T1 has no part in the place. */
struct host_operand stack_lookup(struct gen *k, int32_t disp, bool write);
/* The same of what a guest register, which does not live in memory, and disp point to. */
struct host_operand register_lookup(struct gen *k, unsigned reg, int32_t disp, unsigned size,
                                    bool write);
/* The place in T0 alone. */
void operand_flatten(struct gen *k, struct host_operand *at);
/* op reg, operand */
void e_operand(struct emitter *e, int w, uint8_t op, unsigned reg, const struct host_operand *at);
/* Behind the main line: the lookup by address, where the entry used last was not the right one. */
void gen_lookup(struct gen *k, const struct cold *cold);
/* The same where the copy was not the right one. */
void gen_copy(struct gen *k, const struct cold *cold);

/* xlat-fault.c: the next host instruction accesses guest memory, and nothing of the guest's
 * instruction is done before it. */
void fault_point(struct gen *k);

/* xlat-gen-sys.c */
void gen_rdtsc(struct gen *k);
void gen_cpuid(struct gen *k);

#endif
