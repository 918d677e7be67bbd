/*
 * Packed integer arithmetic on 16 bytes, as pure functions `vreg v_NAME(vreg a, vreg b)`:
 * destination (or first source) a, second source b. MMX uses the low half, AVX2 runs them once for
 * each half of its registers. The shifts take the count as a number.
 */
#ifndef CPU_X86_SOFT_VEC_INT_H
#define CPU_X86_SOFT_VEC_INT_H

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

/* ---------------------------------------------------------------- logic, arithmetic, comparison */

VEC(pand, vreg, a &b)
VEC(pandn, vreg, ~a &b)
VEC(por, vreg, a | b)
VEC(pxor, vreg, a ^ b)

VEC(paddb, u8x16, a + b)
VEC(paddw, u16x8, a + b)
VEC(paddd, u32x4, a + b)
VEC(paddq, u64x2, a + b)
VEC(psubb, u8x16, a - b)
VEC(psubw, u16x8, a - b)
VEC(psubd, u32x4, a - b)
VEC(psubq, u64x2, a - b)
LANE(paddsb, s8, 16, sat_s8(a + b))
LANE(paddsw, s16, 8, sat_s16(a + b))
LANE(paddusb, u8, 16, sat_u8(a + b))
LANE(paddusw, u16, 8, sat_u16(a + b))
LANE(psubsb, s8, 16, sat_s8(a - b))
LANE(psubsw, s16, 8, sat_s16(a - b))
LANE(psubusb, u8, 16, sat_u8(a - b))
LANE(psubusw, u16, 8, sat_u16(a - b))

VEC(pcmpeqb, u8x16, a == b)
VEC(pcmpeqw, u16x8, a == b)
VEC(pcmpeqd, u32x4, a == b)
VEC(pcmpeqq, u64x2, a == b)
VEC(pcmpgtb, s8x16, a > b)
VEC(pcmpgtw, s16x8, a > b)
VEC(pcmpgtd, s32x4, a > b)
VEC(pcmpgtq, s64x2, a > b)

LANE(pminub, u8, 16, a < b ? a : b)
LANE(pmaxub, u8, 16, a > b ? a : b)
LANE(pminsw, s16, 8, a < b ? a : b)
LANE(pmaxsw, s16, 8, a > b ? a : b)
LANE(pminsb, s8, 16, a < b ? a : b)
LANE(pmaxsb, s8, 16, a > b ? a : b)
LANE(pminuw, u16, 8, a < b ? a : b)
LANE(pmaxuw, u16, 8, a > b ? a : b)
LANE(pminsd, s32, 4, a < b ? a : b)
LANE(pmaxsd, s32, 4, a > b ? a : b)
LANE(pminud, u32, 4, a < b ? a : b)
LANE(pmaxud, u32, 4, a > b ? a : b)
LANE(pavgb, u8, 16, (a + b + 1) >> 1)
LANE(pavgw, u16, 8, (a + b + 1) >> 1)

VEC(pmullw, u16x8, a *b)
LANE(pmulhw, s16, 8, (a * b) >> 16)
LANE(pmulhuw, u16, 8, ((uint32_t)a * b) >> 16)
LANE(pmulhrsw, s16, 8, (((a * b) >> 14) + 1) >> 1)
VEC(pmulld, u32x4, a *b)
LANE(pmuludq, u64, 2, (uint64_t)(uint32_t)a *(uint32_t)b)
LANE(pmuldq, s64, 2, (int64_t)(int32_t)a *(int32_t)b)

LANE(psignb, s8, 16, b < 0 ? -a : b == 0 ? 0 : a)
LANE(psignw, s16, 8, b < 0 ? -a : b == 0 ? 0 : a)
LANE(psignd, s32, 4, b < 0 ? (int32_t) - (uint32_t)a : b == 0 ? 0 : a)
LANE(pabsb, s8, 16, ((void)a, b < 0 ? -b : b))
LANE(pabsw, s16, 8, ((void)a, b < 0 ? -b : b))
LANE(pabsd, s32, 4, ((void)a, b < 0 ? (int32_t) - (uint32_t)b : b))

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

static inline vreg v_pmaddubsw(vreg a_, vreg b_)
{
    union vec a = vec_of(a_), b = vec_of(b_), r;
    for (unsigned i = 0; i < 8; i++) {
        r.s16[i] = sat_s16(a.u8[2 * i] * b.s8[2 * i] + a.u8[2 * i + 1] * b.s8[2 * i + 1]);
    }
    return vreg_of(r);
}

static inline vreg v_psadbw(vreg a_, vreg b_)
{
    union vec a = vec_of(a_), b = vec_of(b_), r = {.u64 = {0, 0}};
    for (unsigned i = 0; i < 16; i++) {
        r.u64[i / 8] += a.u8[i] > b.u8[i] ? a.u8[i] - b.u8[i] : b.u8[i] - a.u8[i];
    }
    return vreg_of(r);
}

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
    }

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
    }

PACK(packsswb, s16, s8, 8, sat_s8)
PACK(packuswb, s16, u8, 8, sat_u8)
PACK(packssdw, s32, s16, 4, sat_s16)
PACK(packusdw, s32, u16, 4, sat_u16)

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
    }

UNPACK(punpcklbw, u8, 8, 0)
UNPACK(punpcklwd, u16, 4, 0)
UNPACK(punpckldq, u32, 2, 0)
UNPACK(punpcklqdq, u64, 1, 0)
UNPACK(punpckhbw, u8, 8, 8)
UNPACK(punpckhwd, u16, 4, 4)
UNPACK(punpckhdq, u32, 2, 2)
UNPACK(punpckhqdq, u64, 1, 1)

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
    }

SHIFT(psrlw, u16, 8, 16, x >> n, 0)
SHIFT(psrld, u32, 4, 32, x >> n, 0)
SHIFT(psrlq, u64, 2, 64, x >> n, 0)
SHIFT(psllw, u16, 8, 16, x << n, 0)
SHIFT(pslld, u32, 4, 32, x << n, 0)
SHIFT(psllq, u64, 2, 64, x << n, 0)
SHIFT(psraw, s16, 8, 16, x >> n, x >> 15)
SHIFT(psrad, s32, 4, 32, x >> n, x >> 31)

/* By bytes. */
static inline vreg shift_psrldq(vreg a, uint64_t n)
{
    union vec v = vec_of(a);
    v.u128 = n < 16 ? v.u128 >> 8 * n : 0;
    return vreg_of(v);
}

static inline vreg shift_pslldq(vreg a, uint64_t n)
{
    union vec v = vec_of(a);
    v.u128 = n < 16 ? v.u128 << 8 * n : 0;
    return vreg_of(v);
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

/* The same by the host's instruction where it has it. */
static inline vreg pshufb(const struct cpu *c, vreg a, vreg b)
{
    if (likely(c->host_vec & HOST_SSSE3)) {
        __asm__("pshufb %1, %0" : "+x"(a) : "x"(b));
        return a;
    }
    return v_pshufb(a, b);
}

static inline vreg v_pshufd(vreg s, unsigned imm)
{
    union vec v = vec_of(s), r;
    for (unsigned i = 0; i < 4; i++) {
        r.u32[i] = v.u32[imm >> 2 * i & 3];
    }
    return vreg_of(r);
}

/* Four words of v by the immediate. */
static inline uint64_t shuffle_words(uint64_t v, uint64_t imm)
{
    return (v >> 16 * (imm & 3) & 0xffff) | (v >> 16 * (imm >> 2 & 3) & 0xffff) << 16 |
           (v >> 16 * (imm >> 4 & 3) & 0xffff) << 32 | (v >> 16 * (imm >> 6 & 3) & 0xffff) << 48;
}

static inline vreg v_pshuflw(vreg s, unsigned imm)
{
    return (vreg){(int64_t)shuffle_words((uint64_t)s[0], imm), s[1]};
}

static inline vreg v_pshufhw(vreg s, unsigned imm)
{
    return (vreg){s[0], (int64_t)shuffle_words((uint64_t)s[1], imm)};
}

static inline vreg v_shufps(vreg a, vreg b, unsigned imm)
{
    union vec d = vec_of(a), s = vec_of(b);
    return (vreg)(u32x4){d.u32[imm & 3], d.u32[imm >> 2 & 3], s.u32[imm >> 4 & 3],
                         s.u32[imm >> 6 & 3]};
}

static inline vreg v_shufpd(vreg a, vreg b, unsigned imm)
{
    return (vreg){imm & 1 ? a[1] : a[0], imm & 2 ? b[1] : b[0]};
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

static inline vreg v_palignr(vreg a, vreg b, unsigned imm)
{
    return vreg_of(align_bytes(vec_of(a), vec_of(b), imm & 0xff, 16));
}

/* ---------------------------------------------------------------- blends and other SSE4.1 */

#define BLEND(name, field, lanes)                                                                  \
    static inline vreg v_##name(vreg a, vreg b, unsigned imm)                                      \
    {                                                                                              \
        union vec d = vec_of(a), s = vec_of(b);                                                    \
        for (unsigned i = 0; i < (lanes); i++) {                                                   \
            d.field[i] = imm >> i & 1 ? s.field[i] : d.field[i];                                   \
        }                                                                                          \
        return vreg_of(d);                                                                         \
    }
BLEND(pblendw, u16, 8)
BLEND(blendps, u32, 4)
BLEND(blendpd, u64, 2)

/* Lanes of b where the mask's sign is set. */
static inline vreg v_pblendvb(vreg a, vreg b, vreg mask)
{
    vreg m = (vreg)((s8x16)mask < 0);
    return (b & m) | (a & ~m);
}

static inline vreg v_blendvps(vreg a, vreg b, vreg mask)
{
    vreg m = (vreg)((s32x4)mask < 0);
    return (b & m) | (a & ~m);
}

static inline vreg v_blendvpd(vreg a, vreg b, vreg mask)
{
    vreg m = (vreg)((s64x2)mask < 0);
    return (b & m) | (a & ~m);
}

static inline vreg v_mpsadbw(vreg a, vreg b, unsigned imm)
{
    union vec s = vec_of(b), d = vec_of(a), r;
    unsigned source = 4 * (imm & 3), window = 4 * (imm >> 2 & 1);
    for (unsigned i = 0; i < 8; i++) {
        unsigned sum = 0;
        for (unsigned k = 0; k < 4; k++) {
            int difference = d.u8[window + i + k] - s.u8[source + k];
            sum += difference < 0 ? -difference : difference;
        }
        r.u16[i] = sum;
    }
    return vreg_of(r);
}

static inline vreg v_phminposuw(vreg v)
{
    union vec s = vec_of(v);
    unsigned best = 0;
    for (unsigned i = 1; i < 8; i++) {
        best = s.u16[i] < s.u16[best] ? i : best;
    }
    return (vreg){s.u16[best] | (int64_t)best << 16, 0};
}

#endif
