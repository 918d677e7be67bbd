/*
 * Groups: neighbouring memory operands that one lookup serves.
 *
 * Instructions in a line, on which conditional branches may leave it, whose operands have the same
 * base and index, near displacements, and no change of these registers between them other than by a
 * constant (pushes and pops above all) form a group. Its first one looks up the bytes that all of
 * them span; the others use the host address that it leaves in T0. What comes between must leave T0
 * alone. If the lookup fails, a copy of the same instructions is executed in which each looks up
 * its own (xlat-gen.c).
 */
#include "cpu/x86/soft/xlat-priv.h"

#define SPAN_MAX 128       /* bytes; what crosses a page is looked up twice over */
#define DISP_MAX (1 << 29) /* sums of displacements and offsets stay within 32 bits */

/* The operand of an instruction as the group sees it. */
struct place {
    uint8_t base, index, scale, seg; /* seg SEG_COUNT: no base */
    int32_t disp;
    uint8_t size;
    bool write, align;
};

static bool in_env(unsigned reg)
{
    return reg < 16 && xlat_host_reg[reg] == XLAT_IN_ENV;
}

static bool place_of(const struct xinsn *x, struct place *p)
{
    *p = (struct place){.base = RSP, .index = R_ZERO, .seg = SEG_COUNT, .size = x->size};
    switch (x->class) {
    case XC_PUSH:
        p->disp = -x->size;
        p->write = true;
        return !x->mem;
    case XC_PUSH_IMM:
        p->disp = -x->size;
        p->write = true;
        return true;
    case XC_POP:
        return true;
    case XC_MODRM:
        p->base = x->op.base;
        p->index = x->op.index;
        p->scale = x->op.scale;
        p->seg = operand_segment(x);
        p->disp = x->op.disp;
        p->size = x->mem_size;
        p->write = x->mem_write;
        p->align = x->mem_align;
        return x->mem && p->index != R_4K && !(x->op.mflags & MF_SEGCHK);
    default:
        return false;
    }
}

static uint32_t gpr_bit(const struct xinsn *x, unsigned n, bool byte)
{
    return 1u << (byte && !x->rex && n >= 4 && n < 8 ? n - 4 : n);
}

uint32_t insn_written(const struct xinsn *x)
{
    const uint32_t rax = 1u << RAX, rdx = 1u << RDX;
    uint32_t set = 0;
    switch (x->class) {
    case XC_NOP:
    case XC_JCC:
    case XC_JCXZ:
    case XC_JMP:
        return 0;
    case XC_LOOP:
        return 1u << RCX;
    case XC_VERBATIM:
    case XC_DIV:
        return rax | rdx;
    case XC_LEA:
        return 1u << x->reg;
    case XC_MOV_IMM:
        return gpr_bit(x, x->rm, x->rm_byte);
    case XC_BSWAP:
        return 1u << x->rm;
    case XC_XCHG_RAX:
        return 1u << x->rm | rax;
    case XC_PUSH:
    case XC_PUSH_IMM:
        return 1u << RSP;
    case XC_POP:
        return 1u << RSP | 1u << x->rm;
    case XC_MODRM:
        if (x->reg_kind == OPERAND_GPR && x->reg_out) {
            set |= gpr_bit(x, x->reg, x->reg_byte);
        }
        if (x->rm_kind == OPERAND_GPR && x->rm_out && !x->mem) {
            set |= gpr_bit(x, x->rm, x->rm_byte);
        }
        if (x->map == M1 && (x->opcode & 0xfe) == 0xf6) { /* MUL and IMUL among others */
            set |= rax | rdx;
        } else if (x->map == M0F && (x->opcode & 0xfe) == 0xb0) { /* CMPXCHG */
            set |= rax;
        }
        return set;
    default:
        return UINT32_MAX;
    }
}

/* Whether its code, as it stands between members, leaves T0 as it was. */
static bool leaves_t0(const struct code_region *r, const struct xinsn *x)
{
    switch (x->class) {
    case XC_NOP:
    case XC_JCC: /* where it is not taken */
    case XC_VERBATIM:
        return true;
    case XC_LEA:
        return x->size == r->word && !in_env(x->reg) && !in_env(x->op.base);
    case XC_MOV_IMM:
    case XC_BSWAP:
    case XC_XCHG_RAX:
        return !in_env(x->rm);
    case XC_MODRM:
        return !x->mem && !(x->rm_kind == OPERAND_GPR && in_env(x->rm));
    default:
        return false;
    }
}

/* Whether the instruction adds a constant to a register and does nothing else to it. */
static bool adds(const struct code_region *r, const struct xinsn *x, unsigned reg, int32_t *n)
{
    switch (x->class) {
    case XC_PUSH:
    case XC_PUSH_IMM:
        *n = -x->size;
        return reg == RSP;
    case XC_POP:
        *n = x->size;
        return reg == RSP && x->rm != RSP;
    case XC_LEA:
        *n = x->op.disp;
        return x->size == r->word && x->reg == reg && x->op.base == reg && x->op.index == R_ZERO;
    case XC_MODRM: {
        unsigned digit = x->modrm >> 3 & 7;
        bool group1 = x->map == M1 && (x->opcode == 0x81 || x->opcode == 0x83);
        *n = digit == 5 ? -(int32_t)x->op.imm : (int32_t)x->op.imm;
        return group1 && (digit == 0 || digit == 5) && !x->mem && x->size == r->word &&
               x->rm == reg;
    }
    default:
        return false;
    }
}

/* A group that is being collected. */
struct group {
    struct place first;
    int32_t moved; /* the base since the group's start */
    int32_t low, high;
    bool write, align;
    unsigned members;
};

static bool small(int32_t disp)
{
    return disp > -DISP_MAX && disp < DISP_MAX;
}

static bool same_registers(const struct place *a, const struct place *b)
{
    return a->base == b->base && a->index == b->index && a->scale == b->scale && a->seg == b->seg;
}

/* Takes the operand in, if it is near enough. */
static bool group_take(struct group *g, const struct place *p, struct xinsn *x)
{
    int32_t at = p->disp + g->moved, low = MIN(g->low, at), high = MAX(g->high, at + p->size);
    bool align = g->align || p->align;
    if (high - low > SPAN_MAX || (align && ((low - g->low) & 15))) {
        return false;
    }
    if (p->align && ((at - low) & 15)) {
        return false;
    }
    g->low = low;
    g->high = high;
    g->align = align;
    g->write |= p->write;
    g->members++;
    x->group_at = at;
    return true;
}

/* Follows what the instruction does to the group's registers. false: it ends here. */
static bool group_follow(const struct code_region *r, struct group *g, const struct xinsn *x)
{
    uint32_t set = insn_written(x);
    bool base = g->first.base < 16 && (set >> g->first.base & 1);
    bool index = g->first.index < 16 && (set >> g->first.index & 1);
    int32_t n;
    if (index || (base && g->first.index == g->first.base)) {
        return false;
    }
    if (base) {
        if (!adds(r, x, g->first.base, &n) || !small(n) || !small(g->moved + n)) {
            return false;
        }
        g->moved += n;
    }
    return true;
}

/* Collects from instruction i on; returns the last member's index. */
static unsigned group_collect(struct code_region *r, unsigned i, struct group *g)
{
    unsigned last = i;
    bool branched = false;
    for (unsigned k = i; k < r->n; k++) {
        struct xinsn *x = &r->insn[k];
        struct place p;
        if (k > i && x->labelled) {
            break;
        }
        branched |= x->class == XC_JCC;
        if (place_of(x, &p)) {
            if (branched && p.write && !g->write) {
                break; /* to ask for that right would be too early */
            }
            if (!small(p.disp) || !same_registers(&p, &g->first) || !group_take(g, &p, x)) {
                break;
            }
            last = k;
        } else if (!leaves_t0(r, x)) {
            break;
        }
        if (!group_follow(r, g, x) || !x->falls || x->next != (int)k + 1) {
            break;
        }
    }
    return last;
}

void region_group(struct code_region *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        struct xinsn *x = &r->insn[i];
        struct group g = {0};
        if (!place_of(x, &g.first) || !small(g.first.disp)) {
            continue;
        }
        g.low = g.first.disp;
        g.high = g.low + g.first.size;
        unsigned last = group_collect(r, i, &g);
        if (g.members < 2) {
            continue;
        }
        x->group_last = last;
        x->group_low = g.low;
        x->group_span = g.high - g.low;
        x->group_write = g.write;
        x->group_align = g.align;
        for (unsigned k = i; k <= last; k++) {
            struct place p;
            if (place_of(&r->insn[k], &p)) {
                r->insn[k].group_at -= g.low;
                r->insn[k].group_follower = k > i;
            }
        }
        i = last;
    }
}
