/*
 * Packed integer instructions of MMX, SSE2 and SSSE3, and those of SSE4 that only differ from these
 * in lane type (SDM vol. 2).
 *
 * Lane-wise operations are written once, for 16 bytes; the MMX form runs the same code on the low
 * half. What works across lanes (packs, unpacks, horizontal sums) has both widths spelled out.
 */
#include "cpu/x86/soft/vec-priv.h"

static inline int clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

static inline uint8_t sat_u8(int v)
{
    return clamp(v, 0, 255);
}

static inline int8_t sat_s8(int v)
{
    return clamp(v, -128, 127);
}

static inline uint16_t sat_u16(int v)
{
    return clamp(v, 0, 65535);
}

static inline int16_t sat_s16(int v)
{
    return clamp(v, -32768, 32767);
}

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
#define MMX_HANDLER(name) MMX_HANDLER_OF(name, v_##name)

/* VEC: an expression on whole vectors of type T; LANE: one on single lanes of a union member. */
#define VEC(name, T, expr)                                                                         \
    static inline vreg v_##name(vreg a_, vreg b_)                                                  \
    {                                                                                              \
        T a = (T)a_, b = (T)b_;                                                                    \
        return (vreg)(expr);                                                                       \
    }
#define LANE(name, field, lanes, expr)                                                             \
    static inline vreg v_##name(vreg a_, vreg b_)                                                  \
    {                                                                                              \
        union vec va = vec_of(a_), vb = vec_of(b_), vr;                                            \
        for (unsigned i = 0; i < (lanes); i++) {                                                   \
            __auto_type a = va.field[i];                                                           \
            __auto_type b = vb.field[i];                                                           \
            vr.field[i] = (expr);                                                                  \
        }                                                                                          \
        return vreg_of(vr);                                                                        \
    }
#define VEC_BOTH(name, T, expr) VEC(name, T, expr) SSE_HANDLER(name) MMX_HANDLER(name)
#define VEC_SSE(name, T, expr)  VEC(name, T, expr) SSE_HANDLER(name)
#define LANE_BOTH(name, field, lanes, expr)                                                        \
    LANE(name, field, lanes, expr) SSE_HANDLER(name) MMX_HANDLER(name)
#define LANE_SSE(name, field, lanes, expr) LANE(name, field, lanes, expr) SSE_HANDLER(name)

/* ---------------------------------------------------------------- logic, arithmetic, comparison */

VEC_BOTH(pand, vreg, a &b)
VEC_BOTH(pandn, vreg, ~a &b)
VEC_BOTH(por, vreg, a | b)
VEC_BOTH(pxor, vreg, a ^ b)

VEC_BOTH(paddb, u8x16, a + b)
VEC_BOTH(paddw, u16x8, a + b)
VEC_BOTH(paddd, u32x4, a + b)
VEC_BOTH(paddq, u64x2, a + b)
VEC_BOTH(psubb, u8x16, a - b)
VEC_BOTH(psubw, u16x8, a - b)
VEC_BOTH(psubd, u32x4, a - b)
VEC_BOTH(psubq, u64x2, a - b)
LANE_BOTH(paddsb, s8, 16, sat_s8(a + b))
LANE_BOTH(paddsw, s16, 8, sat_s16(a + b))
LANE_BOTH(paddusb, u8, 16, sat_u8(a + b))
LANE_BOTH(paddusw, u16, 8, sat_u16(a + b))
LANE_BOTH(psubsb, s8, 16, sat_s8(a - b))
LANE_BOTH(psubsw, s16, 8, sat_s16(a - b))
LANE_BOTH(psubusb, u8, 16, sat_u8(a - b))
LANE_BOTH(psubusw, u16, 8, sat_u16(a - b))

VEC_BOTH(pcmpeqb, u8x16, a == b)
VEC_BOTH(pcmpeqw, u16x8, a == b)
VEC_BOTH(pcmpeqd, u32x4, a == b)
VEC_SSE(pcmpeqq, u64x2, a == b)
VEC_BOTH(pcmpgtb, s8x16, a > b)
VEC_BOTH(pcmpgtw, s16x8, a > b)
VEC_BOTH(pcmpgtd, s32x4, a > b)
VEC_SSE(pcmpgtq, s64x2, a > b)

LANE_BOTH(pminub, u8, 16, a < b ? a : b)
LANE_BOTH(pmaxub, u8, 16, a > b ? a : b)
LANE_BOTH(pminsw, s16, 8, a < b ? a : b)
LANE_BOTH(pmaxsw, s16, 8, a > b ? a : b)
LANE_SSE(pminsb, s8, 16, a < b ? a : b)
LANE_SSE(pmaxsb, s8, 16, a > b ? a : b)
LANE_SSE(pminuw, u16, 8, a < b ? a : b)
LANE_SSE(pmaxuw, u16, 8, a > b ? a : b)
LANE_SSE(pminsd, s32, 4, a < b ? a : b)
LANE_SSE(pmaxsd, s32, 4, a > b ? a : b)
LANE_SSE(pminud, u32, 4, a < b ? a : b)
LANE_SSE(pmaxud, u32, 4, a > b ? a : b)
LANE_BOTH(pavgb, u8, 16, (a + b + 1) >> 1)
LANE_BOTH(pavgw, u16, 8, (a + b + 1) >> 1)

VEC_BOTH(pmullw, u16x8, a *b)
LANE_BOTH(pmulhw, s16, 8, (a * b) >> 16)
LANE_BOTH(pmulhuw, u16, 8, ((uint32_t)a * b) >> 16)
LANE_BOTH(pmulhrsw, s16, 8, (((a * b) >> 14) + 1) >> 1)
VEC_SSE(pmulld, u32x4, a *b)
LANE_BOTH(pmuludq, u64, 2, (uint64_t)(uint32_t)a *(uint32_t)b)
LANE_SSE(pmuldq, s64, 2, (int64_t)(int32_t)a *(int32_t)b)

LANE_BOTH(psignb, s8, 16, b < 0 ? -a : b == 0 ? 0 : a)
LANE_BOTH(psignw, s16, 8, b < 0 ? -a : b == 0 ? 0 : a)
LANE_BOTH(psignd, s32, 4, b < 0 ? (int32_t) - (uint32_t)a : b == 0 ? 0 : a)
LANE_BOTH(pabsb, s8, 16, ((void)a, b < 0 ? -b : b))
LANE_BOTH(pabsw, s16, 8, ((void)a, b < 0 ? -b : b))
LANE_BOTH(pabsd, s32, 4, ((void)a, b < 0 ? (int32_t) - (uint32_t)b : b))

/* ---------------------------------------------------------------- sums of products and differences
 */

static inline vreg v_pmaddwd(vreg a_, vreg b_)
{
    union vec a = vec_of(a_), b = vec_of(b_), r;
    for (unsigned i = 0; i < 4; i++) {
        r.u32[i] = (uint32_t)(a.s16[2 * i] * b.s16[2 * i]) +
                   (uint32_t)(a.s16[2 * i + 1] * b.s16[2 * i + 1]);
    }
    return vreg_of(r);
}
SSE_HANDLER(pmaddwd)
MMX_HANDLER(pmaddwd)

static inline vreg v_pmaddubsw(vreg a_, vreg b_)
{
    union vec a = vec_of(a_), b = vec_of(b_), r;
    for (unsigned i = 0; i < 8; i++) {
        r.s16[i] = sat_s16(a.u8[2 * i] * b.s8[2 * i] + a.u8[2 * i + 1] * b.s8[2 * i + 1]);
    }
    return vreg_of(r);
}
SSE_HANDLER(pmaddubsw)
MMX_HANDLER(pmaddubsw)

static inline vreg v_psadbw(vreg a_, vreg b_)
{
    union vec a = vec_of(a_), b = vec_of(b_), r = {.u64 = {0, 0}};
    for (unsigned i = 0; i < 16; i++) {
        r.u64[i / 8] += a.u8[i] > b.u8[i] ? a.u8[i] - b.u8[i] : b.u8[i] - a.u8[i];
    }
    return vreg_of(r);
}
SSE_HANDLER(psadbw)
MMX_HANDLER(psadbw)

/* Horizontal: pairs of a make the low half of the result, pairs of b the high half. */
#define HORIZONTAL(name, field, half, expr)                                                        \
    static inline vreg v_##name(vreg a_, vreg b_)                                                  \
    {                                                                                              \
        union vec a = vec_of(a_), b = vec_of(b_), r;                                               \
        for (unsigned i = 0; i < (half); i++) {                                                    \
            int64_t x = a.field[2 * i], y = a.field[2 * i + 1];                                    \
            r.field[i] = (expr);                                                                   \
            x = b.field[2 * i], y = b.field[2 * i + 1];                                            \
            r.field[(half) + i] = (expr);                                                          \
        }                                                                                          \
        return vreg_of(r);                                                                         \
    }                                                                                              \
    static inline vreg v_mmx_##name(vreg a, vreg b)                                                \
    {                                                                                              \
        return v_##name((vreg){a[0], b[0]}, (vreg){0, 0});                                         \
    }                                                                                              \
    SSE_HANDLER(name)                                                                              \
    MMX_HANDLER_OF(name, v_mmx_##name)

HORIZONTAL(phaddw, s16, 4, x + y)
HORIZONTAL(phaddd, s32, 2, x + y)
HORIZONTAL(phaddsw, s16, 4, sat_s16(x + y))
HORIZONTAL(phsubw, s16, 4, x - y)
HORIZONTAL(phsubd, s32, 2, x - y)
HORIZONTAL(phsubsw, s16, 4, sat_s16(x - y))

/* ---------------------------------------------------------------- pack and unpack */

#define PACK(name, from, to, half, sat)                                                            \
    static inline vreg v_##name(vreg a_, vreg b_)                                                  \
    {                                                                                              \
        union vec a = vec_of(a_), b = vec_of(b_), r;                                               \
        for (unsigned i = 0; i < (half); i++) {                                                    \
            r.to[i] = sat(a.from[i]);                                                              \
            r.to[(half) + i] = sat(b.from[i]);                                                     \
        }                                                                                          \
        return vreg_of(r);                                                                         \
    }                                                                                              \
    SSE_HANDLER(name)
#define PACK_MMX(name)                                                                             \
    static inline vreg v_mmx_##name(vreg a, vreg b)                                                \
    {                                                                                              \
        return v_##name((vreg){a[0], b[0]}, (vreg){0, 0});                                         \
    }                                                                                              \
    MMX_HANDLER_OF(name, v_mmx_##name)

PACK(packsswb, s16, s8, 8, sat_s8)
PACK(packuswb, s16, u8, 8, sat_u8)
PACK(packssdw, s32, s16, 4, sat_s16)
PACK(packusdw, s32, u16, 4, sat_u16)
PACK_MMX(packsswb)
PACK_MMX(packuswb)
PACK_MMX(packssdw)

/* Unpack: lanes first..first+n-1 of a and b, interleaved. */
#define UNPACK(name, field, n, first)                                                              \
    static inline vreg v_##name(vreg a_, vreg b_)                                                  \
    {                                                                                              \
        union vec a = vec_of(a_), b = vec_of(b_), r;                                               \
        for (unsigned i = 0; i < (n); i++) {                                                       \
            r.field[2 * i] = a.field[(first) + i];                                                 \
            r.field[2 * i + 1] = b.field[(first) + i];                                             \
        }                                                                                          \
        return vreg_of(r);                                                                         \
    }                                                                                              \
    SSE_HANDLER(name)

/* The MMX high forms take the middle of the 16-byte interleaving. */
#define UNPACK_MMX(low, high)                                                                      \
    static inline vreg v_mmx_##high(vreg a, vreg b)                                                \
    {                                                                                              \
        return (vreg){v_##low(a, b)[1], 0};                                                        \
    }                                                                                              \
    MMX_HANDLER_OF(high, v_mmx_##high)

UNPACK(punpcklbw, u8, 8, 0)
UNPACK(punpcklwd, u16, 4, 0)
UNPACK(punpckldq, u32, 2, 0)
UNPACK(punpcklqdq, u64, 1, 0)
UNPACK(punpckhbw, u8, 8, 8)
UNPACK(punpckhwd, u16, 4, 4)
UNPACK(punpckhdq, u32, 2, 2)
UNPACK(punpckhqdq, u64, 1, 1)
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

/* Counts past the lane's width clear it; arithmetic shifts fill with the sign. */
#define SHIFT(name, field, lanes, width, in_range, out_of_range)                                   \
    static inline vreg shift_##name(vreg a_, uint64_t n)                                           \
    {                                                                                              \
        union vec a = vec_of(a_), r;                                                               \
        for (unsigned i = 0; i < (lanes); i++) {                                                   \
            __auto_type x = a.field[i];                                                            \
            r.field[i] = n < (width) ? (in_range) : (out_of_range);                                \
        }                                                                                          \
        return vreg_of(r);                                                                         \
    }                                                                                              \
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

SHIFT(psrlw, u16, 8, 16, x >> n, 0)
SHIFT(psrld, u32, 4, 32, x >> n, 0)
SHIFT(psrlq, u64, 2, 64, x >> n, 0)
SHIFT(psllw, u16, 8, 16, x << n, 0)
SHIFT(pslld, u32, 4, 32, x << n, 0)
SHIFT(psllq, u64, 2, 64, x << n, 0)
SHIFT(psraw, s16, 8, 16, x >> n, x >> 15)
SHIFT(psrad, s32, 4, 32, x >> n, x >> 31)

OP(op_psrldq_imm)
{
    unsigned n = (uint8_t)o->imm;
    c->xmm[o->src].u128 = n < 16 ? c->xmm[o->src].u128 >> 8 * n : 0;
    NEXT;
}

OP(op_pslldq_imm)
{
    unsigned n = (uint8_t)o->imm;
    c->xmm[o->src].u128 = n < 16 ? c->xmm[o->src].u128 << 8 * n : 0;
    NEXT;
}

/* ---------------------------------------------------------------- shuffles */

static inline vreg v_pshufb(vreg a_, vreg b_)
{
    union vec a = vec_of(a_), b = vec_of(b_), r;
    for (unsigned i = 0; i < 16; i++) {
        r.u8[i] = b.u8[i] & 0x80 ? 0 : a.u8[b.u8[i] & 15];
    }
    return vreg_of(r);
}

OP(op_pshufb)
{
    vreg b = vec_src128(c, o), a = xmm_get(c, o->dst);
    if (likely(c->host_vec & HOST_SSSE3)) {
        __asm__("pshufb %1, %0" : "+x"(a) : "x"(b));
    } else {
        a = v_pshufb(a, b);
    }
    xmm_set(c, o->dst, a);
    NEXT;
}

static inline vreg v_mmx_pshufb(vreg a, vreg b)
{
    return v_pshufb(a, b & (vreg){(int64_t)0x8787878787878787, 0});
}
MMX_HANDLER_OF(pshufb, v_mmx_pshufb)

OP(op_pshufd)
{
    u32x4 s = (u32x4)vec_src128(c, o);
    u32x4 index = {o->imm & 3, o->imm >> 2 & 3, o->imm >> 4 & 3, o->imm >> 6 & 3};
    union vec v = vec_of((vreg)s), r;
    for (unsigned i = 0; i < 4; i++) {
        r.u32[i] = v.u32[index[i]];
    }
    xmm_set(c, o->dst, vreg_of(r));
    NEXT;
}

/* Four words of v by the immediate. */
static inline uint64_t shuffle_words(uint64_t v, uint64_t imm)
{
    return (v >> 16 * (imm & 3) & 0xffff) | (v >> 16 * (imm >> 2 & 3) & 0xffff) << 16 |
           (v >> 16 * (imm >> 4 & 3) & 0xffff) << 32 | (v >> 16 * (imm >> 6 & 3) & 0xffff) << 48;
}

OP(op_pshuflw)
{
    vreg s = vec_src128(c, o);
    xmm_set(c, o->dst, (vreg){(int64_t)shuffle_words((uint64_t)s[0], (uint64_t)o->imm), s[1]});
    NEXT;
}

OP(op_pshufhw)
{
    vreg s = vec_src128(c, o);
    xmm_set(c, o->dst, (vreg){s[0], (int64_t)shuffle_words((uint64_t)s[1], (uint64_t)o->imm)});
    NEXT;
}

OP(op_mmx_pshufw)
{
    x87_wait(c, o);
    uint64_t s = mmx_src64(c, o);
    mmx_enter(c);
    mmx_set(c, o->dst, shuffle_words(s, (uint64_t)o->imm));
    NEXT;
}

OP(op_shufps)
{
    union vec s = vec_of(vec_src128(c, o)), d = c->xmm[o->dst];
    unsigned i = (uint8_t)o->imm;
    u32x4 r = {d.u32[i & 3], d.u32[i >> 2 & 3], s.u32[i >> 4 & 3], s.u32[i >> 6]};
    xmm_set(c, o->dst, (vreg)r);
    NEXT;
}

OP(op_shufpd)
{
    union vec s = vec_of(vec_src128(c, o)), d = c->xmm[o->dst];
    xmm_set(c, o->dst, (vreg){d.s64[o->imm & 1], s.s64[o->imm >> 1 & 1]});
    NEXT;
}

/* a:b shifted right by n bytes; the low `bytes` of it. */
static inline union vec align_bytes(union vec a, union vec b, unsigned n, unsigned bytes)
{
    union vec r = {.u64 = {0, 0}};
    for (unsigned i = 0; i < bytes; i++) {
        unsigned k = i + n;
        r.u8[i] = k < bytes ? b.u8[k] : k < 2 * bytes ? a.u8[k - bytes] : 0;
    }
    return r;
}

OP(op_palignr)
{
    union vec s = vec_of(vec_src128(c, o));
    xmm_set(c, o->dst, vreg_of(align_bytes(c->xmm[o->dst], s, (uint8_t)o->imm, 16)));
    NEXT;
}

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
