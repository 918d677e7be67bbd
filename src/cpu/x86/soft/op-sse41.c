/*
 * SSE4.1 integer instructions that are more than lane arithmetic: variable blends, inserts and
 * extracts, sign and zero extension, PTEST, PHMINPOSUW (SDM vol. 2). Lane arithmetic is in
 * op-sse-int.c, floating point in op-sse-fp.c.
 */
#include "cpu/x86/soft/vec-int.h"

/* ---------------------------------------------------------------- blends */

/* The mask is XMM0. */
#define BLEND_VARIABLE(name)                                                                       \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        vreg s = vec_src128(c, o);                                                                 \
        xmm_set(c, o->dst, v_##name(xmm_get(c, o->dst), s, xmm_get(c, 0)));                        \
        NEXT;                                                                                      \
    }
BLEND_VARIABLE(pblendvb)
BLEND_VARIABLE(blendvps)
BLEND_VARIABLE(blendvpd)

/* ---------------------------------------------------------------- insert and extract */

OP(op_pinsrb)
{
    uint8_t v = o->bits & OB_MEM ? mem_ld8(c, o, ea(c, o, 1, false)) : (uint8_t)c->r[o->src];
    c->xmm[o->dst].u8[o->imm & 15] = v;
    NEXT;
}

OP(op_pinsrd)
{
    uint64_t v = rm_get(c, o, o->osz == 8 ? 8 : 4);
    if (o->osz == 8) {
        c->xmm[o->dst].u64[o->imm & 1] = v;
    } else {
        c->xmm[o->dst].u32[o->imm & 3] = (uint32_t)v;
    }
    NEXT;
}

OP(op_pextrb)
{
    uint8_t v = c->xmm[o->dst].u8[o->imm & 15];
    if (o->bits & OB_MEM) {
        mem_st8(c, o, ea(c, o, 1, true), v);
    } else {
        c->r[o->src] = v;
    }
    NEXT;
}

/* The 0F 3A form, which can store. */
OP(op_pextrw_store)
{
    uint16_t v = c->xmm[o->dst].u16[o->imm & 7];
    if (o->bits & OB_MEM) {
        mem_st16(c, o, ea(c, o, 2, true), v);
    } else {
        c->r[o->src] = v;
    }
    NEXT;
}

/* PEXTRD, PEXTRQ */
OP(op_pextrd)
{
    if (o->osz == 8) {
        rm_set(c, o, 8, c->xmm[o->dst].u64[o->imm & 1]);
    } else {
        rm_set(c, o, 4, c->xmm[o->dst].u32[o->imm & 3]);
    }
    NEXT;
}

OP(op_extractps)
{
    uint32_t v = c->xmm[o->dst].u32[o->imm & 3];
    if (o->bits & OB_MEM) {
        mem_st32(c, o, ea(c, o, 4, true), v);
    } else {
        c->r[o->src] = v;
    }
    NEXT;
}

OP(op_insertps)
{
    uint32_t v =
        o->bits & OB_MEM ? mem_ld32(c, o, ea(c, o, 4, false)) : c->xmm[o->src].u32[o->imm >> 6 & 3];
    union vec d = c->xmm[o->dst];
    d.u32[o->imm >> 4 & 3] = v;
    for (unsigned i = 0; i < 4; i++) {
        d.u32[i] = o->imm >> i & 1 ? 0 : d.u32[i];
    }
    xmm_set(c, o->dst, vreg_of(d));
    NEXT;
}

/* ---------------------------------------------------------------- extension */

static inline vreg vec_src16(struct cpu *c, const struct op *o)
{
    if (o->bits & OB_MEM) {
        return (vreg){mem_ld16(c, o, ea(c, o, 2, false)), 0};
    }
    return xmm_get(c, o->src);
}

#define EXTEND(name, from, to, lanes, source)                                                      \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        union vec s = vec_of(source(c, o)), d;                                                     \
        for (unsigned i = 0; i < (lanes); i++) {                                                   \
            d.to[i] = s.from[i];                                                                   \
        }                                                                                          \
        xmm_set(c, o->dst, vreg_of(d));                                                            \
        NEXT;                                                                                      \
    }
EXTEND(pmovsxbw, s8, s16, 8, vec_src64)
EXTEND(pmovsxbd, s8, s32, 4, vec_src32)
EXTEND(pmovsxbq, s8, s64, 2, vec_src16)
EXTEND(pmovsxwd, s16, s32, 4, vec_src64)
EXTEND(pmovsxwq, s16, s64, 2, vec_src32)
EXTEND(pmovsxdq, s32, s64, 2, vec_src64)
EXTEND(pmovzxbw, u8, u16, 8, vec_src64)
EXTEND(pmovzxbd, u8, u32, 4, vec_src32)
EXTEND(pmovzxbq, u8, u64, 2, vec_src16)
EXTEND(pmovzxwd, u16, u32, 4, vec_src64)
EXTEND(pmovzxwq, u16, u64, 2, vec_src32)
EXTEND(pmovzxdq, u32, u64, 2, vec_src64)

/* ---------------------------------------------------------------- others */

OP(op_ptest)
{
    vreg s = vec_src128(c, o), d = xmm_get(c, o->dst);
    vreg both = s & d, rest = s & ~d;
    flags_arith_set(c, ((both[0] | both[1]) == 0 ? RFLAGS_ZF : 0) |
                           ((rest[0] | rest[1]) == 0 ? RFLAGS_CF : 0));
    NEXT;
}

OP(op_phminposuw)
{
    xmm_set(c, o->dst, v_phminposuw(vec_src128(c, o)));
    NEXT;
}
