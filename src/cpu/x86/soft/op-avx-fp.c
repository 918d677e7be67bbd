/*
 * AVX floating point, FMA and F16C (SDM vol. 2; vol. 1, chapter 14).
 *
 * As in op-sse-fp.c the host computes: SSE2 instructions, once for each lane, and for what SSE2
 * does not have (32 comparison predicates, fused multiply-add, half precision) the host's own AVX,
 * FMA and F16C on 128 bits. A CPU model has these features only on a host that has them
 * (soft_features_supported()).
 */
#include "cpu/x86/soft/avx-priv.h"
#include "cpu/x86/soft/vec-fp.h"

/* ---------------------------------------------------------------- arithmetic */

/* Packed: r = f(a, b) in each lane. */
#define AVX_FP(name, f, kind)                                                                      \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        struct ymm b = ymm_src(c, o), a = ymm_v(c, o);                                             \
        fp_begin(c);                                                                               \
        a.lo = f(a.lo, b.lo);                                                                      \
        if (vex_256(o)) {                                                                          \
            a.hi = f(a.hi, b.hi);                                                                  \
        }                                                                                          \
        fp_end256(c, o, a, kind);                                                                  \
        ymm_set(c, o->dst, a);                                                                     \
        NEXT;                                                                                      \
    }
#define AVX_FP_HOST(op, kind)                                                                      \
    static inline vreg host2_##op(vreg a, vreg b)                                                  \
    {                                                                                              \
        __asm__ volatile(#op " %1, %0" : "+x"(a) : "x"(b));                                        \
        return a;                                                                                  \
    }                                                                                              \
    AVX_FP(v##op, host2_##op, kind)

/* Scalar: the rest of the destination comes from vvvv. */
#define AVX_FP_SCALAR(op, source, kind)                                                            \
    OP(op_v##op)                                                                                   \
    {                                                                                              \
        vreg s = source(c, o), d = xmm_get(c, vex_v(o));                                           \
        fp_begin(c);                                                                               \
        __asm__ volatile(#op " %1, %0" : "+x"(d) : "x"(s));                                        \
        fp_end(c, o, d, kind);                                                                     \
        ymm_set128(c, o->dst, d);                                                                  \
        NEXT;                                                                                      \
    }

/* Packed, of the rm operand alone. */
#define AVX_FP_UNARY(op)                                                                           \
    OP(op_v##op)                                                                                   \
    {                                                                                              \
        struct ymm s = ymm_src(c, o), d = {{0, 0}, {0, 0}};                                        \
        fp_begin(c);                                                                               \
        __asm__ volatile(#op " %1, %0" : "=x"(d.lo) : "x"(s.lo));                                  \
        if (vex_256(o)) {                                                                          \
            __asm__ volatile(#op " %1, %0" : "=x"(d.hi) : "x"(s.hi));                              \
        }                                                                                          \
        fp_end256(c, o, d, FP_OTHER);                                                              \
        ymm_set(c, o->dst, d);                                                                     \
        NEXT;                                                                                      \
    }

#define AVX_FP_FOUR(op, k4, k2, k1s, k1d)                                                          \
    AVX_FP_HOST(op##ps, k4)                                                                        \
    AVX_FP_HOST(op##pd, k2)                                                                        \
    AVX_FP_SCALAR(op##ss, vec_src32, k1s)                                                          \
    AVX_FP_SCALAR(op##sd, vec_src64, k1d)

AVX_FP_FOUR(add, FP_4X32, FP_2X64, FP_1X32, FP_1X64)
AVX_FP_FOUR(sub, FP_4X32, FP_2X64, FP_1X32, FP_1X64)
AVX_FP_FOUR(mul, FP_4X32, FP_2X64, FP_1X32, FP_1X64)
AVX_FP_FOUR(div, FP_4X32, FP_2X64, FP_1X32, FP_1X64)
AVX_FP_FOUR(min, FP_OTHER, FP_OTHER, FP_OTHER, FP_OTHER)
AVX_FP_FOUR(max, FP_OTHER, FP_OTHER, FP_OTHER, FP_OTHER)
AVX_FP_UNARY(sqrtps)
AVX_FP_UNARY(sqrtpd)
AVX_FP_SCALAR(sqrtss, vec_src32, FP_OTHER)
AVX_FP_SCALAR(sqrtsd, vec_src64, FP_OTHER)
AVX_FP_UNARY(rcpps)
AVX_FP_SCALAR(rcpss, vec_src32, FP_OTHER)
AVX_FP_UNARY(rsqrtps)
AVX_FP_SCALAR(rsqrtss, vec_src32, FP_OTHER)

/* ---------------------------------------------------------------- logic */

static inline vreg and_not(vreg a, vreg b)
{
    return ~a & b;
}

#define BITS_AND(a, b) ((a) & (b))
#define BITS_OR(a, b)  ((a) | (b))
#define BITS_XOR(a, b) ((a) ^ (b))
AVX_BINARY(vandps, BITS_AND)
AVX_BINARY(vandnps, and_not)
AVX_BINARY(vorps, BITS_OR)
AVX_BINARY(vxorps, BITS_XOR)

/* ---------------------------------------------------------------- horizontal, add-subtract */

#define PAIRED(name, f, even, odd)                                                                 \
    static inline vreg paired_##name(vreg a, vreg b)                                               \
    {                                                                                              \
        return f(even, odd);                                                                       \
    }
PAIRED(haddps, host_addps, even32(a, b), odd32(a, b))
PAIRED(hsubps, host_subps, even32(a, b), odd32(a, b))
PAIRED(haddpd, host_addpd, ((vreg){a[0], b[0]}), ((vreg){a[1], b[1]}))
PAIRED(hsubpd, host_subpd, ((vreg){a[0], b[0]}), ((vreg){a[1], b[1]}))
AVX_FP(vhaddps, paired_haddps, FP_4X32)
AVX_FP(vhsubps, paired_hsubps, FP_4X32)
AVX_FP(vhaddpd, paired_haddpd, FP_2X64)
AVX_FP(vhsubpd, paired_hsubpd, FP_2X64)

static inline vreg addsub_ps(vreg a, vreg b)
{
    vreg m = (vreg)(u32x4){~0u, 0, ~0u, 0};
    return (host_subps(a & m, b & m) & m) | (host_addps(a & ~m, b & ~m) & ~m);
}

static inline vreg addsub_pd(vreg a, vreg b)
{
    vreg m = {-1, 0};
    return (host_subpd(a & m, b & m) & m) | (host_addpd(a & ~m, b & ~m) & ~m);
}

AVX_FP(vaddsubps, addsub_ps, FP_4X32)
AVX_FP(vaddsubpd, addsub_pd, FP_2X64)

/* ---------------------------------------------------------------- dot products */

OP(op_vdpps)
{
    struct ymm s = ymm_src(c, o), d = ymm_v(c, o);
    vreg m = mask32(vex_imm(o) >> 4), keep = mask32(vex_imm(o) & 15);
    d = (struct ymm){d.lo & m, d.hi & m};
    s = (struct ymm){s.lo & m, s.hi & m};
    fp_begin(c);
    d = (struct ymm){host2_mulps(d.lo, s.lo), host2_mulps(d.hi, s.hi)};
    fp_end256(c, o, d, FP_4X32);
    fp_begin(c);
    d = (struct ymm){host_addps(d.lo, swap32(d.lo)), host_addps(d.hi, swap32(d.hi))};
    fp_end256(c, o, d, FP_4X32);
    fp_begin(c);
    d.lo = host_addps((vreg){d.lo[0], d.lo[0]}, (vreg){d.lo[1], d.lo[1]});
    d.hi = host_addps((vreg){d.hi[0], d.hi[0]}, (vreg){d.hi[1], d.hi[1]});
    fp_end256(c, o, d, FP_4X32);
    uint32_t lo = ((u32x4)d.lo)[0], hi = ((u32x4)d.hi)[0];
    d.lo = (vreg)(u32x4){lo, lo, lo, lo} & keep;
    d.hi = vex_256(o) ? (vreg)(u32x4){hi, hi, hi, hi} & keep : (vreg){0, 0};
    ymm_set(c, o->dst, d);
    NEXT;
}

OP(op_vdppd)
{
    vreg s = vec_src128u(c, o), d = xmm_get(c, vex_v(o));
    vreg m = mask64(vex_imm(o) >> 4 & 3);
    fp_begin(c);
    d = host2_mulpd(d & m, s & m);
    fp_end(c, o, d, FP_2X64);
    fp_begin(c);
    d = host_addpd((vreg){d[0], d[0]}, (vreg){d[1], d[1]});
    fp_end(c, o, d, FP_2X64);
    ymm_set128(c, o->dst, d & mask64(vex_imm(o) & 3));
    NEXT;
}

/* ---------------------------------------------------------------- rounding */

#define ROUND_LANES(field, lanes, fraction_bits, exponent_bits)                                    \
    static inline vreg round_##field(const struct cpu *c, vreg v, unsigned imm, uint32_t *flags)   \
    {                                                                                              \
        union vec s = vec_of(v);                                                                   \
        for (unsigned i = 0; i < (lanes); i++) {                                                   \
            s.field[i] =                                                                           \
                round_number(s.field[i], fraction_bits, exponent_bits, c->mxcsr, imm, flags);      \
        }                                                                                          \
        return vreg_of(s);                                                                         \
    }
ROUND_LANES(u32, 4, 23, 8)
ROUND_LANES(u64, 2, 52, 11)

#define AVX_ROUND(name, field)                                                                     \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        struct ymm s = ymm_src(c, o);                                                              \
        uint32_t flags = 0;                                                                        \
        s.lo = round_##field(c, s.lo, vex_imm(o), &flags);                                         \
        s.hi = round_##field(c, s.hi, vex_imm(o), &flags);                                         \
        fp_flags(c, o, flags);                                                                     \
        ymm_set(c, o->dst, s);                                                                     \
        NEXT;                                                                                      \
    }
AVX_ROUND(vroundps, u32)
AVX_ROUND(vroundpd, u64)

OP(op_vroundss)
{
    union vec s = vec_of(vec_src32(c, o)), d = c->xmm[vex_v(o)];
    uint32_t flags = 0;
    d.u32[0] = (uint32_t)round_number(s.u32[0], 23, 8, c->mxcsr, vex_imm(o), &flags);
    fp_flags(c, o, flags);
    ymm_set128(c, o->dst, vreg_of(d));
    NEXT;
}

OP(op_vroundsd)
{
    union vec s = vec_of(vec_src64(c, o)), d = c->xmm[vex_v(o)];
    uint32_t flags = 0;
    d.u64[0] = round_number(s.u64[0], 52, 11, c->mxcsr, vex_imm(o), &flags);
    fp_flags(c, o, flags);
    ymm_set128(c, o->dst, vreg_of(d));
    NEXT;
}

/* ---------------------------------------------------------------- comparison */

#define PREDICATE(type, n)                                                                         \
    case n:                                                                                        \
        __asm__ volatile("vcmp" #type " $" #n ", %2, %1, %0" : "=x"(r) : "x"(a), "x"(b));          \
        break;
#define COMPARE(type)                                                                              \
    static vreg compare_##type(vreg a, vreg b, unsigned predicate)                                 \
    {                                                                                              \
        vreg r = a;                                                                                \
        switch (predicate) {                                                                       \
            PREDICATE(type, 0)                                                                     \
            PREDICATE(type, 1)                                                                     \
            PREDICATE(type, 2)                                                                     \
            PREDICATE(type, 3)                                                                     \
            PREDICATE(type, 4)                                                                     \
            PREDICATE(type, 5)                                                                     \
            PREDICATE(type, 6)                                                                     \
            PREDICATE(type, 7)                                                                     \
            PREDICATE(type, 8)                                                                     \
            PREDICATE(type, 9)                                                                     \
            PREDICATE(type, 10)                                                                    \
            PREDICATE(type, 11)                                                                    \
            PREDICATE(type, 12)                                                                    \
            PREDICATE(type, 13)                                                                    \
            PREDICATE(type, 14)                                                                    \
            PREDICATE(type, 15)                                                                    \
            PREDICATE(type, 16)                                                                    \
            PREDICATE(type, 17)                                                                    \
            PREDICATE(type, 18)                                                                    \
            PREDICATE(type, 19)                                                                    \
            PREDICATE(type, 20)                                                                    \
            PREDICATE(type, 21)                                                                    \
            PREDICATE(type, 22)                                                                    \
            PREDICATE(type, 23)                                                                    \
            PREDICATE(type, 24)                                                                    \
            PREDICATE(type, 25)                                                                    \
            PREDICATE(type, 26)                                                                    \
            PREDICATE(type, 27)                                                                    \
            PREDICATE(type, 28)                                                                    \
            PREDICATE(type, 29)                                                                    \
            PREDICATE(type, 30)                                                                    \
            PREDICATE(type, 31)                                                                    \
        }                                                                                          \
        return r;                                                                                  \
    }
COMPARE(ps)
COMPARE(pd)
COMPARE(ss)
COMPARE(sd)

#define AVX_COMPARE(type)                                                                          \
    OP(op_vcmp##type)                                                                              \
    {                                                                                              \
        struct ymm b = ymm_src(c, o), a = ymm_v(c, o);                                             \
        fp_begin(c);                                                                               \
        a.lo = compare_##type(a.lo, b.lo, vex_imm(o) & 31);                                        \
        if (vex_256(o)) {                                                                          \
            a.hi = compare_##type(a.hi, b.hi, vex_imm(o) & 31);                                    \
        }                                                                                          \
        fp_end256(c, o, a, FP_OTHER);                                                              \
        ymm_set(c, o->dst, a);                                                                     \
        NEXT;                                                                                      \
    }
AVX_COMPARE(ps)
AVX_COMPARE(pd)

#define AVX_COMPARE_SCALAR(type, source)                                                           \
    OP(op_vcmp##type)                                                                              \
    {                                                                                              \
        vreg b = source(c, o), a = xmm_get(c, vex_v(o));                                           \
        fp_begin(c);                                                                               \
        a = compare_##type(a, b, vex_imm(o) & 31);                                                 \
        fp_end(c, o, a, FP_OTHER);                                                                 \
        ymm_set128(c, o->dst, a);                                                                  \
        NEXT;                                                                                      \
    }
AVX_COMPARE_SCALAR(ss, vec_src32)
AVX_COMPARE_SCALAR(sd, vec_src64)

/* ---------------------------------------------------------------- conversion */

AVX_FP_UNARY(cvtdq2ps)
AVX_FP_UNARY(cvtps2dq)
AVX_FP_UNARY(cvttps2dq)
AVX_FP_SCALAR(cvtss2sd, vec_src32, FP_OTHER)
AVX_FP_SCALAR(cvtsd2ss, vec_src64, FP_1X32)

/* From four-byte to eight-byte elements: the source is half as wide. */
#define AVX_WIDEN(op)                                                                              \
    OP(op_v##op)                                                                                   \
    {                                                                                              \
        vreg s = vex_256(o) ? vec_src128u(c, o) : vec_src64(c, o);                                 \
        vreg upper = {s[1], 0};                                                                    \
        struct ymm d = {{0, 0}, {0, 0}};                                                           \
        fp_begin(c);                                                                               \
        __asm__ volatile(#op " %1, %0" : "=x"(d.lo) : "x"(s));                                     \
        if (vex_256(o)) {                                                                          \
            __asm__ volatile(#op " %1, %0" : "=x"(d.hi) : "x"(upper));                             \
        }                                                                                          \
        fp_end256(c, o, d, FP_OTHER);                                                              \
        ymm_set(c, o->dst, d);                                                                     \
        NEXT;                                                                                      \
    }
AVX_WIDEN(cvtps2pd)
AVX_WIDEN(cvtdq2pd)

/* And back: the result is half as wide. */
#define AVX_NARROW(op, kind)                                                                       \
    OP(op_v##op)                                                                                   \
    {                                                                                              \
        struct ymm s = ymm_src(c, o), d = {{0, 0}, {0, 0}};                                        \
        fp_begin(c);                                                                               \
        __asm__ volatile(#op " %1, %0" : "=x"(d.lo) : "x"(s.lo));                                  \
        if (vex_256(o)) {                                                                          \
            __asm__ volatile(#op " %1, %0" : "=x"(d.hi) : "x"(s.hi));                              \
        }                                                                                          \
        fp_end256(c, o, d, kind);                                                                  \
        ymm_set128(c, o->dst, (vreg){d.lo[0], d.hi[0]});                                           \
        NEXT;                                                                                      \
    }
AVX_NARROW(cvtpd2ps, FP_2X32)
AVX_NARROW(cvtpd2dq, FP_OTHER)
AVX_NARROW(cvttpd2dq, FP_OTHER)

#define AVX_FROM_INT(op)                                                                           \
    OP(op_v##op)                                                                                   \
    {                                                                                              \
        uint64_t s = rm_get(c, o, o->osz);                                                         \
        vreg d = xmm_get(c, vex_v(o));                                                             \
        fp_begin(c);                                                                               \
        if (o->osz == 8) {                                                                         \
            __asm__ volatile(#op "q %1, %0" : "+x"(d) : "r"(s));                                   \
        } else {                                                                                   \
            __asm__ volatile(#op "l %1, %0" : "+x"(d) : "r"((uint32_t)s));                         \
        }                                                                                          \
        fp_end(c, o, d, FP_OTHER);                                                                 \
        ymm_set128(c, o->dst, d);                                                                  \
        NEXT;                                                                                      \
    }
AVX_FROM_INT(cvtsi2ss)
AVX_FROM_INT(cvtsi2sd)

/* ---------------------------------------------------------------- half precision */

OP(op_vcvtph2ps)
{
    vreg s = vex_256(o) ? vec_src128u(c, o) : vec_src64(c, o);
    vreg upper = {s[1], 0};
    struct ymm d = {{0, 0}, {0, 0}};
    fp_begin(c);
    __asm__ volatile("vcvtph2ps %1, %0" : "=x"(d.lo) : "x"(s));
    if (vex_256(o)) {
        __asm__ volatile("vcvtph2ps %1, %0" : "=x"(d.hi) : "x"(upper));
    }
    fp_end256(c, o, d, FP_OTHER);
    ymm_set(c, o->dst, d);
    NEXT;
}

static vreg to_half(vreg s, unsigned rounding)
{
    vreg d;
    switch (rounding & 7) {
    case 0:
        __asm__ volatile("vcvtps2ph $0, %1, %0" : "=x"(d) : "x"(s));
        break;
    case 1:
        __asm__ volatile("vcvtps2ph $1, %1, %0" : "=x"(d) : "x"(s));
        break;
    case 2:
        __asm__ volatile("vcvtps2ph $2, %1, %0" : "=x"(d) : "x"(s));
        break;
    case 3:
        __asm__ volatile("vcvtps2ph $3, %1, %0" : "=x"(d) : "x"(s));
        break;
    default: /* as MXCSR says */
        __asm__ volatile("vcvtps2ph $4, %1, %0" : "=x"(d) : "x"(s));
        break;
    }
    return d;
}

OP(op_vcvtps2ph)
{
    struct ymm s = ymm_get(c, o->dst), d = {{0, 0}, {0, 0}};
    if (o->bits & OB_MEM) { /* a fault of the store comes before the conversion's flags */
        mem_probe(c, o, ea(c, o, vex_256(o) ? 16 : 8, true), vex_256(o) ? 16 : 8, ACCESS_WRITE);
    }
    fp_begin(c);
    d.lo = to_half(s.lo, vex_imm(o));
    if (vex_256(o)) {
        d.hi = to_half(s.hi, vex_imm(o));
    }
    fp_end256(c, o, d, FP_4X16);
    if (!(o->bits & OB_MEM)) {
        ymm_set128(c, o->src, (vreg){d.lo[0], d.hi[0]});
    } else if (vex_256(o)) {
        mem_st128(c, o, ea(c, o, 16, true), (vreg){d.lo[0], d.hi[0]});
    } else {
        mem_st64(c, o, ea(c, o, 8, true), (uint64_t)d.lo[0]);
    }
    NEXT;
}

/* ---------------------------------------------------------------- fused multiply-add */

/* Each of the three orders is the host's instruction of the same order: which operand gives its NaN
 * depends on it. */
#define FMA_PACKED(op, kind)                                                                       \
    OP(op_v##op)                                                                                   \
    {                                                                                              \
        struct ymm b = ymm_src(c, o), a = ymm_v(c, o), d = ymm_get(c, o->dst);                     \
        fp_begin(c);                                                                               \
        __asm__ volatile("v" #op " %2, %1, %0" : "+x"(d.lo) : "x"(a.lo), "x"(b.lo));               \
        if (vex_256(o)) {                                                                          \
            __asm__ volatile("v" #op " %2, %1, %0" : "+x"(d.hi) : "x"(a.hi), "x"(b.hi));           \
        } else {                                                                                   \
            d.hi = (vreg){0, 0};                                                                   \
        }                                                                                          \
        fp_end256(c, o, d, kind);                                                                  \
        ymm_set(c, o->dst, d);                                                                     \
        NEXT;                                                                                      \
    }
#define FMA_SCALAR(op, source, kind)                                                               \
    OP(op_v##op)                                                                                   \
    {                                                                                              \
        vreg b = source(c, o), a = xmm_get(c, vex_v(o)), d = xmm_get(c, o->dst);                   \
        fp_begin(c);                                                                               \
        __asm__ volatile("v" #op " %2, %1, %0" : "+x"(d) : "x"(a), "x"(b));                        \
        fp_end(c, o, d, kind);                                                                     \
        ymm_set128(c, o->dst, d);                                                                  \
        NEXT;                                                                                      \
    }
#define FMA_ORDERS_PACKED(op)                                                                      \
    FMA_PACKED(op##132ps, FP_4X32)                                                                 \
    FMA_PACKED(op##132pd, FP_2X64)                                                                 \
    FMA_PACKED(op##213ps, FP_4X32)                                                                 \
    FMA_PACKED(op##213pd, FP_2X64)                                                                 \
    FMA_PACKED(op##231ps, FP_4X32)                                                                 \
    FMA_PACKED(op##231pd, FP_2X64)
#define FMA_ORDERS(op)                                                                             \
    FMA_ORDERS_PACKED(op)                                                                          \
    FMA_SCALAR(op##132ss, vec_src32, FP_1X32)                                                      \
    FMA_SCALAR(op##132sd, vec_src64, FP_1X64)                                                      \
    FMA_SCALAR(op##213ss, vec_src32, FP_1X32)                                                      \
    FMA_SCALAR(op##213sd, vec_src64, FP_1X64)                                                      \
    FMA_SCALAR(op##231ss, vec_src32, FP_1X32)                                                      \
    FMA_SCALAR(op##231sd, vec_src64, FP_1X64)
FMA_ORDERS(fmadd)
FMA_ORDERS(fmsub)
FMA_ORDERS(fnmadd)
FMA_ORDERS(fnmsub)
FMA_ORDERS_PACKED(fmaddsub)
FMA_ORDERS_PACKED(fmsubadd)
