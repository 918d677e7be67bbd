/*
 * BMI1 and BMI2 except TZCNT (SDM vol. 2): VEX-encoded instructions on general registers. Operand
 * size is 32 bits, or 64 with VEX.W in 64-bit mode. Flags that the manual calls undefined are
 * clear.
 */
#include "cpu/x86/soft/avx-priv.h"

static inline uint64_t narrow(const struct op *o, uint64_t v)
{
    return o->osz == 8 ? v : (uint32_t)v;
}

static inline unsigned width(const struct op *o)
{
    return 8u * o->osz;
}

/* ZF and SF of a result, and CF. */
static inline void set_flags(struct cpu *c, const struct op *o, uint64_t r, bool carry)
{
    flags_arith_set(c, (r == 0 ? RFLAGS_ZF : 0) | (r >> (width(o) - 1) & 1 ? RFLAGS_SF : 0) |
                           (carry ? RFLAGS_CF : 0));
}

OP(op_andn)
{
    uint64_t r = narrow(o, ~c->r[vex_v(o)] & rm_get(c, o, o->osz));
    set_flags(c, o, r, false);
    c->r[o->dst] = r;
    NEXT;
}

OP(op_bextr)
{
    uint64_t s = rm_get(c, o, o->osz), control = c->r[vex_v(o)];
    unsigned start = control & 0xff, bits = control >> 8 & 0xff;
    uint64_t r = start < width(o) ? s >> start : 0;
    r = bits < 64 ? r & (((uint64_t)1 << bits) - 1) : r;
    flags_arith_set(c, r == 0 ? RFLAGS_ZF : 0);
    c->r[o->dst] = r;
    NEXT;
}

#define BIT_GROUP(name, expr, carry)                                                               \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        uint64_t s = rm_get(c, o, o->osz), r = narrow(o, expr);                                    \
        set_flags(c, o, r, carry);                                                                 \
        c->r[vex_v(o)] = r;                                                                        \
        NEXT;                                                                                      \
    }
BIT_GROUP(blsr, s &(s - 1), s == 0)
BIT_GROUP(blsmsk, s ^ (s - 1), s == 0)
BIT_GROUP(blsi, s & -s, s != 0)

OP(op_bzhi)
{
    uint64_t s = rm_get(c, o, o->osz);
    unsigned n = c->r[vex_v(o)] & 0xff;
    uint64_t r = n < width(o) ? s & (((uint64_t)1 << n) - 1) : s;
    set_flags(c, o, r, n >= width(o));
    c->r[o->dst] = r;
    NEXT;
}

OP(op_pdep)
{
    uint64_t mask = rm_get(c, o, o->osz), s = c->r[vex_v(o)], r = 0;
    for (; mask; mask &= mask - 1, s >>= 1) {
        r |= s & 1 ? mask & -mask : 0;
    }
    c->r[o->dst] = r;
    NEXT;
}

OP(op_pext)
{
    uint64_t mask = rm_get(c, o, o->osz), s = c->r[vex_v(o)], r = 0;
    for (unsigned n = 0; mask; mask &= mask - 1, n++) {
        r |= (s & mask & -mask) != 0 ? (uint64_t)1 << n : 0;
    }
    c->r[o->dst] = r;
    NEXT;
}

/* High half to ModRM.reg, low half to vvvv; the high half stays when both are one register. */
OP(op_mulx)
{
    unsigned __int128 r = (unsigned __int128)narrow(o, c->r[RDX]) * rm_get(c, o, o->osz);
    c->r[vex_v(o)] = narrow(o, (uint64_t)r);
    c->r[o->dst] = narrow(o, (uint64_t)(r >> width(o)));
    NEXT;
}

OP(op_rorx)
{
    uint64_t s = rm_get(c, o, o->osz);
    unsigned n = vex_imm(o) & (width(o) - 1);
    c->r[o->dst] = n ? narrow(o, s >> n | s << (width(o) - n)) : s;
    NEXT;
}

#define SHIFT_BY_REGISTER(name, expr)                                                              \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        uint64_t s = rm_get(c, o, o->osz);                                                         \
        unsigned n = c->r[vex_v(o)] & (width(o) - 1);                                              \
        c->r[o->dst] = narrow(o, expr);                                                            \
        NEXT;                                                                                      \
    }
SHIFT_BY_REGISTER(shlx, s << n)
SHIFT_BY_REGISTER(shrx, s >> n)
SHIFT_BY_REGISTER(sarx, (uint64_t)(o->osz == 8 ? (int64_t)s >> n : (int32_t)s >> n))

/* Add with one flag as carry in and out, and no other changed. */
static inline void add_with(struct cpu *c, const struct op *o, uint32_t flag)
{
    unsigned size = o->osz == 8 ? 8 : 4;
    uint64_t s = rm_get(c, o, size), d = size == 8 ? c->r[o->dst] : (uint32_t)c->r[o->dst];
    uint32_t flags = flags_arith_get(c);
    unsigned __int128 r = (unsigned __int128)s + d + (flags & flag ? 1 : 0);
    c->r[o->dst] = size == 8 ? (uint64_t)r : (uint32_t)r;
    flags_arith_set(c, r >> 8 * size ? flags | flag : flags & ~flag);
}

OP(op_adcx)
{
    add_with(c, o, RFLAGS_CF);
    NEXT;
}

OP(op_adox)
{
    add_with(c, o, RFLAGS_OF);
    NEXT;
}
