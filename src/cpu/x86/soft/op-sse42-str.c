/*
 * SSE4.2 string comparison: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2, chapter 4.1).
 */
#include "cpu/x86/soft/vec-priv.h"

struct strings {
    union vec a, b;  /* first operand (ModRM.reg), second (rm) */
    unsigned na, nb; /* valid elements */
    unsigned n;      /* elements in a register: 16 or 8 */
    unsigned imm;
};

static inline int element(const struct strings *s, const union vec *v, unsigned i)
{
    if (s->imm & 1) {
        return s->imm & 2 ? v->s16[i] : v->u16[i];
    }
    return s->imm & 2 ? v->s8[i] : v->u8[i];
}

static bool equal_any(const struct strings *s, unsigned j)
{
    for (unsigned i = 0; i < s->na; i++) {
        if (element(s, &s->a, i) == element(s, &s->b, j)) {
            return true;
        }
    }
    return false;
}

static bool in_ranges(const struct strings *s, unsigned j)
{
    int b = element(s, &s->b, j);
    for (unsigned i = 0; i + 1 < s->na; i += 2) {
        if (element(s, &s->a, i) <= b && b <= element(s, &s->a, i + 1)) {
            return true;
        }
    }
    return false;
}

/* Does a stand at b[j..], as far as b's register reaches? */
static bool starts_here(const struct strings *s, unsigned j)
{
    for (unsigned i = 0; i < s->na && j + i < s->n; i++) {
        if (j + i >= s->nb || element(s, &s->a, i) != element(s, &s->b, j + i)) {
            return false;
        }
    }
    return true;
}

/* IntRes2 of the manual. */
static unsigned compare(const struct strings *s)
{
    unsigned result = 0, valid = (1u << s->nb) - 1;
    for (unsigned j = 0; j < s->n; j++) {
        bool hit;
        switch (s->imm >> 2 & 3) {
        case 0:
            hit = j < s->nb && equal_any(s, j);
            break;
        case 1:
            hit = j < s->nb && in_ranges(s, j);
            break;
        case 2: /* equal each: both ended counts as equal */
            hit = j < s->na && j < s->nb ? element(s, &s->a, j) == element(s, &s->b, j)
                                         : j >= s->na && j >= s->nb;
            break;
        default:
            hit = starts_here(s, j);
            break;
        }
        result |= (unsigned)hit << j;
    }
    if (s->imm & 0x10) {
        result ^= s->imm & 0x20 ? valid : (1u << s->n) - 1;
    }
    return result;
}

static void set_flags(struct cpu *c, const struct strings *s, unsigned result)
{
    flags_arith_set(c, (result ? RFLAGS_CF : 0) | (s->nb < s->n ? RFLAGS_ZF : 0) |
                           (s->na < s->n ? RFLAGS_SF : 0) | (result & 1 ? RFLAGS_OF : 0));
}

static void set_index(struct cpu *c, const struct strings *s, unsigned result)
{
    c->r[RCX] = !result         ? s->n
                : s->imm & 0x40 ? 31 - (unsigned)__builtin_clz(result)
                                : (unsigned)__builtin_ctz(result);
    set_flags(c, s, result);
}

static void set_mask(struct cpu *c, const struct strings *s, unsigned result)
{
    union vec m = {.u64 = {result, 0}};
    if (s->imm & 0x40) {
        for (unsigned i = 0; i < 16; i++) {
            m.u8[i] = result >> (s->imm & 1 ? i / 2 : i) & 1 ? 0xff : 0;
        }
    }
    c->xmm[0] = m;
    set_flags(c, s, result);
}

/* Length register of the explicit forms: absolute value, saturated. */
static unsigned explicit_length(const struct op *o, uint64_t v, unsigned n)
{
    int64_t len = o->osz == 8 ? (int64_t)v : (int32_t)v;
    return len < -(int64_t)n || len > (int64_t)n ? n : (unsigned)(len < 0 ? -len : len);
}

static unsigned implicit_length(const struct strings *s, const union vec *v)
{
    unsigned i = 0;
    while (i < s->n && element(s, v, i) != 0) {
        i++;
    }
    return i;
}

static struct strings operands(struct cpu *c, const struct op *o, bool explicit_lengths)
{
    struct strings s = {.imm = (uint8_t)o->imm, .n = o->imm & 1 ? 8 : 16};
    s.b = vec_of(vec_src128u(c, o));
    s.a = c->xmm[o->dst];
    if (explicit_lengths) {
        s.na = explicit_length(o, c->r[RAX], s.n);
        s.nb = explicit_length(o, c->r[RDX], s.n);
    } else {
        s.na = implicit_length(&s, &s.a);
        s.nb = implicit_length(&s, &s.b);
    }
    return s;
}

/* Out of line, so that the handlers' tail calls find no locals of theirs in use. */
static __attribute__((noinline)) void run(struct cpu *c, const struct op *o, bool explicit_lengths,
                                          bool index)
{
    struct strings s = operands(c, o, explicit_lengths);
    unsigned result = compare(&s);
    if (index) {
        set_index(c, &s, result);
    } else {
        set_mask(c, &s, result);
    }
}

OP(op_pcmpestrm)
{
    run(c, o, true, false);
    NEXT;
}

OP(op_pcmpestri)
{
    run(c, o, true, true);
    NEXT;
}

OP(op_pcmpistrm)
{
    run(c, o, false, false);
    NEXT;
}

OP(op_pcmpistri)
{
    run(c, o, false, true);
    NEXT;
}

/* The VEX forms clear the upper half of YMM0; those that return an index are the same. */
OP(op_vpcmpestrm)
{
    run(c, o, true, false);
    c->ymm_hi[0] = (union vec){.u64 = {0, 0}};
    NEXT;
}

OP(op_vpcmpistrm)
{
    run(c, o, false, false);
    c->ymm_hi[0] = (union vec){.u64 = {0, 0}};
    NEXT;
}
