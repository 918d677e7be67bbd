/*
 * Packed integer instructions of MMX, SSE2 and SSSE3, and those of SSE4 that only differ from these
 * in lane type (SDM vol. 2).
 *
 * Lane-wise operations are written once, for 16 bytes; the MMX form runs the same code on the low
 * half. What works across lanes (packs, unpacks, horizontal sums) has both widths spelled out.
 */
#include "cpu/x86/soft/vec-int.h"

/* The handlers of a function `vreg v_name(vreg a, vreg b)`: destination a, source b. */
#define SSE_HANDLER(name)                                                                          \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        vreg b = vec_src128(c, o);                                                                 \
        xmm_set(c, o->dst, v_##name(xmm_get(c, o->dst), b));                                       \
        NEXT;                                                                                      \
    }
#define MMX_HANDLER_OF(name, fn)                                                                   \
    OP(op_mmx_##name)                                                                              \
    {                                                                                              \
        x87_wait(c, o);                                                                            \
        vreg b = {(int64_t)mmx_src64(c, o), 0};                                                    \
        mmx_enter(c);                                                                              \
        mmx_set(c, o->dst, (uint64_t)fn((vreg){(int64_t)mmx_get(c, o->dst), 0}, b)[0]);            \
        NEXT;                                                                                      \
    }
#define MMX_HANDLER(name)   MMX_HANDLER_OF(name, v_##name)
#define BOTH_HANDLERS(name) SSE_HANDLER(name) MMX_HANDLER(name)

/* ---------------------------------------------------------------- lane by lane */

BOTH_HANDLERS(pand)
BOTH_HANDLERS(pandn)
BOTH_HANDLERS(por)
BOTH_HANDLERS(pxor)
BOTH_HANDLERS(paddb)
BOTH_HANDLERS(paddw)
BOTH_HANDLERS(paddd)
BOTH_HANDLERS(paddq)
BOTH_HANDLERS(psubb)
BOTH_HANDLERS(psubw)
BOTH_HANDLERS(psubd)
BOTH_HANDLERS(psubq)
BOTH_HANDLERS(paddsb)
BOTH_HANDLERS(paddsw)
BOTH_HANDLERS(paddusb)
BOTH_HANDLERS(paddusw)
BOTH_HANDLERS(psubsb)
BOTH_HANDLERS(psubsw)
BOTH_HANDLERS(psubusb)
BOTH_HANDLERS(psubusw)
BOTH_HANDLERS(pcmpeqb)
BOTH_HANDLERS(pcmpeqw)
BOTH_HANDLERS(pcmpeqd)
BOTH_HANDLERS(pcmpgtb)
BOTH_HANDLERS(pcmpgtw)
BOTH_HANDLERS(pcmpgtd)
BOTH_HANDLERS(pminub)
BOTH_HANDLERS(pmaxub)
BOTH_HANDLERS(pminsw)
BOTH_HANDLERS(pmaxsw)
BOTH_HANDLERS(pavgb)
BOTH_HANDLERS(pavgw)
BOTH_HANDLERS(pmullw)
BOTH_HANDLERS(pmulhw)
BOTH_HANDLERS(pmulhuw)
BOTH_HANDLERS(pmulhrsw)
BOTH_HANDLERS(pmuludq)
BOTH_HANDLERS(psignb)
BOTH_HANDLERS(psignw)
BOTH_HANDLERS(psignd)
BOTH_HANDLERS(pabsb)
BOTH_HANDLERS(pabsw)
BOTH_HANDLERS(pabsd)
BOTH_HANDLERS(pmaddwd)
BOTH_HANDLERS(pmaddubsw)
BOTH_HANDLERS(psadbw)

SSE_HANDLER(pcmpeqq)
SSE_HANDLER(pcmpgtq)
SSE_HANDLER(pminsb)
SSE_HANDLER(pmaxsb)
SSE_HANDLER(pminuw)
SSE_HANDLER(pmaxuw)
SSE_HANDLER(pminsd)
SSE_HANDLER(pmaxsd)
SSE_HANDLER(pminud)
SSE_HANDLER(pmaxud)
SSE_HANDLER(pmulld)
SSE_HANDLER(pmuldq)

/* ---------------------------------------------------------------- across lanes */

/* Of the low halves of a and b, so that the result is in the low half. */
#define PAIR_HANDLERS(name)                                                                        \
    static inline vreg v_mmx_##name(vreg a, vreg b)                                                \
    {                                                                                              \
        return v_##name((vreg){a[0], b[0]}, (vreg){0, 0});                                         \
    }                                                                                              \
    SSE_HANDLER(name)                                                                              \
    MMX_HANDLER_OF(name, v_mmx_##name)

PAIR_HANDLERS(phaddw)
PAIR_HANDLERS(phaddd)
PAIR_HANDLERS(phaddsw)
PAIR_HANDLERS(phsubw)
PAIR_HANDLERS(phsubd)
PAIR_HANDLERS(phsubsw)
PAIR_HANDLERS(packsswb)
PAIR_HANDLERS(packuswb)
PAIR_HANDLERS(packssdw)
SSE_HANDLER(packusdw)

/* The MMX high forms take the middle of the 16-byte interleaving. */
#define UNPACK_MMX(low, high)                                                                      \
    static inline vreg v_mmx_##high(vreg a, vreg b)                                                \
    {                                                                                              \
        return (vreg){v_##low(a, b)[1], 0};                                                        \
    }                                                                                              \
    MMX_HANDLER_OF(high, v_mmx_##high)

SSE_HANDLER(punpcklbw)
SSE_HANDLER(punpcklwd)
SSE_HANDLER(punpckldq)
SSE_HANDLER(punpcklqdq)
SSE_HANDLER(punpckhbw)
SSE_HANDLER(punpckhwd)
SSE_HANDLER(punpckhdq)
SSE_HANDLER(punpckhqdq)
UNPACK_MMX(punpcklbw, punpckhbw)
UNPACK_MMX(punpcklwd, punpckhwd)
UNPACK_MMX(punpckldq, punpckhdq)

/* The MMX low forms read four bytes of memory only. */
#define UNPACK_MMX_LOW(name)                                                                       \
    OP(op_mmx_##name)                                                                              \
    {                                                                                              \
        x87_wait(c, o);                                                                            \
        uint64_t s = o->bits & OB_MEM ? mem_ld32(c, o, ea(c, o, 4, false)) : mmx_get(c, o->src);   \
        mmx_enter(c);                                                                              \
        vreg a = {(int64_t)mmx_get(c, o->dst), 0}, b = {(int64_t)s, 0};                            \
        mmx_set(c, o->dst, (uint64_t)v_##name(a, b)[0]);                                           \
        NEXT;                                                                                      \
    }
UNPACK_MMX_LOW(punpcklbw)
UNPACK_MMX_LOW(punpcklwd)
UNPACK_MMX_LOW(punpckldq)

/* ---------------------------------------------------------------- shifts */

#define SHIFT_HANDLERS(name)                                                                       \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        vreg b = vec_src128(c, o);                                                                 \
        xmm_set(c, o->dst, shift_##name(xmm_get(c, o->dst), (uint64_t)b[0]));                      \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(op_##name##_imm)                                                                            \
    {                                                                                              \
        xmm_set(c, o->src, shift_##name(xmm_get(c, o->src), (uint8_t)o->imm));                     \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(op_mmx_##name)                                                                              \
    {                                                                                              \
        x87_wait(c, o);                                                                            \
        uint64_t n = mmx_src64(c, o);                                                              \
        mmx_enter(c);                                                                              \
        vreg a = {(int64_t)mmx_get(c, o->dst), 0};                                                 \
        mmx_set(c, o->dst, (uint64_t)shift_##name(a, n)[0]);                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(op_mmx_##name##_imm)                                                                        \
    {                                                                                              \
        x87_wait(c, o);                                                                            \
        mmx_enter(c);                                                                              \
        vreg a = {(int64_t)mmx_get(c, o->src), 0};                                                 \
        mmx_set(c, o->src, (uint64_t)shift_##name(a, (uint8_t)o->imm)[0]);                         \
        NEXT;                                                                                      \
    }

SHIFT_HANDLERS(psrlw)
SHIFT_HANDLERS(psrld)
SHIFT_HANDLERS(psrlq)
SHIFT_HANDLERS(psllw)
SHIFT_HANDLERS(pslld)
SHIFT_HANDLERS(psllq)
SHIFT_HANDLERS(psraw)
SHIFT_HANDLERS(psrad)

OP(op_psrldq_imm)
{
    xmm_set(c, o->src, shift_psrldq(xmm_get(c, o->src), (uint8_t)o->imm));
    NEXT;
}

OP(op_pslldq_imm)
{
    xmm_set(c, o->src, shift_pslldq(xmm_get(c, o->src), (uint8_t)o->imm));
    NEXT;
}

/* ---------------------------------------------------------------- shuffles */

OP(op_pshufb)
{
    vreg b = vec_src128(c, o);
    xmm_set(c, o->dst, pshufb(c, xmm_get(c, o->dst), b));
    NEXT;
}

static inline vreg v_mmx_pshufb(vreg a, vreg b)
{
    return v_pshufb(a, b & (vreg){(int64_t)0x8787878787878787, 0});
}
MMX_HANDLER_OF(pshufb, v_mmx_pshufb)

#define SHUFFLE_HANDLER(name)                                                                      \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        xmm_set(c, o->dst, v_##name(vec_src128(c, o), (unsigned)o->imm));                          \
        NEXT;                                                                                      \
    }
SHUFFLE_HANDLER(pshufd)
SHUFFLE_HANDLER(pshuflw)
SHUFFLE_HANDLER(pshufhw)

OP(op_mmx_pshufw)
{
    x87_wait(c, o);
    uint64_t s = mmx_src64(c, o);
    mmx_enter(c);
    mmx_set(c, o->dst, shuffle_words(s, (uint64_t)o->imm));
    NEXT;
}

#define MIX_HANDLER(name)                                                                          \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        vreg b = vec_src128(c, o);                                                                 \
        xmm_set(c, o->dst, v_##name(xmm_get(c, o->dst), b, (unsigned)o->imm));                     \
        NEXT;                                                                                      \
    }
MIX_HANDLER(shufps)
MIX_HANDLER(shufpd)
MIX_HANDLER(palignr)
MIX_HANDLER(pblendw)
MIX_HANDLER(blendps)
MIX_HANDLER(blendpd)
MIX_HANDLER(mpsadbw)

OP(op_mmx_palignr)
{
    x87_wait(c, o);
    union vec s = {.u64 = {mmx_src64(c, o), 0}}, d = {.u64 = {mmx_get(c, o->dst), 0}};
    mmx_enter(c);
    mmx_set(c, o->dst, align_bytes(d, s, (uint8_t)o->imm, 8).u64[0]);
    NEXT;
}

/* ---------------------------------------------------------------- to and from general registers */

OP(op_pmovmskb)
{
    union vec s = c->xmm[o->src];
    uint32_t r = 0;
    for (unsigned i = 0; i < 16; i++) {
        r |= (uint32_t)(s.u8[i] >> 7) << i;
    }
    c->r[o->dst] = r;
    NEXT;
}

OP(op_mmx_pmovmskb)
{
    x87_wait(c, o);
    uint64_t s = mmx_get(c, o->src);
    mmx_enter(c);
    /* the top bits of the eight bytes, gathered into the highest byte */
    c->r[o->dst] = (s & 0x8080808080808080) * 0x0002040810204081 >> 56;
    NEXT;
}

OP(op_pinsrw)
{
    uint16_t v = o->bits & OB_MEM ? mem_ld16(c, o, ea(c, o, 2, false)) : (uint16_t)c->r[o->src];
    c->xmm[o->dst].u16[o->imm & 7] = v;
    NEXT;
}

OP(op_pextrw)
{
    c->r[o->dst] = c->xmm[o->src].u16[o->imm & 7];
    NEXT;
}

OP(op_mmx_pinsrw)
{
    x87_wait(c, o);
    uint64_t v = o->bits & OB_MEM ? mem_ld16(c, o, ea(c, o, 2, false)) : (uint16_t)c->r[o->src];
    unsigned shift = 16 * (o->imm & 3);
    mmx_enter(c);
    mmx_set(c, o->dst, (mmx_get(c, o->dst) & ~((uint64_t)0xffff << shift)) | v << shift);
    NEXT;
}

OP(op_mmx_pextrw)
{
    x87_wait(c, o);
    mmx_enter(c);
    c->r[o->dst] = mmx_get(c, o->src) >> 16 * (o->imm & 3) & 0xffff;
    NEXT;
}
