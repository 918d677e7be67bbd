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
};

struct cold {
    enum cold_kind kind;
    uint8_t *place;      /* of the jump that leads here */
    uint8_t *place2;     /* of another one, or NULL */
    unsigned first;      /* instruction, of COLD_GROUP */
    uint64_t rip;        /* where to go on, of exits and polls */
    const struct op *op; /* of COLD_OP */
    bool parked;
    uint8_t live;        /* flags that count at a poll */
    const uint8_t *back; /* NULL: does not come back */
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
    struct op *next_op; /* table space left */
    unsigned n_cold, n_fixups;
    struct cold cold[XLAT_MAX_INSNS * 9 + 8];
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
/* cmp byte gs:[disp], 0 */
void e_test_gs_byte(struct emitter *e, int32_t disp);
/* mov byte gs:[disp], value */
void e_set_gs_byte(struct emitter *e, int32_t disp, uint8_t value);

/* xlat-gen.c */

/* The jump at `place` leads to the instruction's handler. */
void to_handler(struct gen *k, uint8_t *place);
/* Leaves at rip if something is requested. T0 and T1 are lost, and the flags unless some are live.
 */
void gen_poll(struct gen *k, uint64_t rip, uint8_t live);
/* Code behind the main line, which a jump at `place` leads to. */
struct cold *cold_add(struct gen *k, enum cold_kind kind, uint8_t *place);

/* xlat-gen-mem.c */

/* Around what uses the flags of an instruction that shall keep them: before it looks something up,
 * and after its last lookup. T0, and then T1, are lost. */
void flags_begin(struct gen *k);
void flags_end(struct gen *k);
/* The address of the memory operand in `to`; 32 bits of it unless w. */
void address(struct gen *k, unsigned to, bool w, bool segment);
/* T0: a linear address, becomes the host's; or the handler is called. Flags and T1 are lost. */
void probe(struct gen *k, unsigned size, bool write, bool align);
/* Looks up the memory operand. It is at T0 and what is returned. */
int32_t operand_lookup(struct gen *k);
/* The same of eight bytes on the stack. */
int32_t stack_lookup(struct gen *k, int32_t disp, bool write);

/* xlat-gen-sys.c */
void gen_rdtsc(struct gen *k);
void gen_cpuid(struct gen *k);

#endif
