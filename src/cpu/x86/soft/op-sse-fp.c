/*
 * SSE to SSE4.1 floating point: arithmetic, comparison, conversion (SDM vol. 2; vol. 1, chapter
 * 11).
 *
 * Each handler runs the host's instruction with the operands in architectural order, for which side
 * gives its NaN, what MINPS returns for two zeros and which flags come up depend on it. Only SSE2
 * of the host is used: later additions are composed of SSE2 operations with the same rounding and
 * flags, lanes that do not take part being zero. fp-host.c explains MXCSR.
 */
#include "cpu/x86/soft/vec-fp.h"

#define FP_HANDLER(name, insn, source, kind)                                                       \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        vreg s = source(c, o);                                                                     \
        vreg d = xmm_get(c, o->dst);                                                               \
        fp_begin(c);                                                                               \
        __asm__ volatile(insn " %1, %0" : "+x"(d) : "x"(s));                                       \
        fp_end(c, o, d, kind);                                                                     \
        xmm_set(c, o->dst, d);                                                                     \
        NEXT;                                                                                      \
    }
#define FP_FOUR(op, k4, k2, k1s, k1d)                                                              \
    FP_HANDLER(op##ps, #op "ps", vec_src128, k4)                                                   \
    FP_HANDLER(op##pd, #op "pd", vec_src128, k2)                                                   \
    FP_HANDLER(op##ss, #op "ss", vec_src32, k1s)                                                   \
    FP_HANDLER(op##sd, #op "sd", vec_src64, k1d)

FP_FOUR(add, FP_4X32, FP_2X64, FP_1X32, FP_1X64)
FP_FOUR(sub, FP_4X32, FP_2X64, FP_1X32, FP_1X64)
FP_FOUR(mul, FP_4X32, FP_2X64, FP_1X32, FP_1X64)
FP_FOUR(div, FP_4X32, FP_2X64, FP_1X32, FP_1X64)
FP_FOUR(sqrt, FP_OTHER, FP_OTHER, FP_OTHER, FP_OTHER)
FP_FOUR(min, FP_OTHER, FP_OTHER, FP_OTHER, FP_OTHER)
FP_FOUR(max, FP_OTHER, FP_OTHER, FP_OTHER, FP_OTHER)
FP_HANDLER(rcpps, "rcpps", vec_src128, FP_OTHER)
FP_HANDLER(rcpss, "rcpss", vec_src32, FP_OTHER)
FP_HANDLER(rsqrtps, "rsqrtps", vec_src128, FP_OTHER)
FP_HANDLER(rsqrtss, "rsqrtss", vec_src32, FP_OTHER)

FP_HANDLER(cvtps2pd, "cvtps2pd", vec_src64, FP_OTHER)
FP_HANDLER(cvtpd2ps, "cvtpd2ps", vec_src128, FP_2X32)
FP_HANDLER(cvtss2sd, "cvtss2sd", vec_src32, FP_OTHER)
FP_HANDLER(cvtsd2ss, "cvtsd2ss", vec_src64, FP_1X32)
FP_HANDLER(cvtdq2ps, "cvtdq2ps", vec_src128, FP_OTHER)
FP_HANDLER(cvtps2dq, "cvtps2dq", vec_src128, FP_OTHER)
FP_HANDLER(cvttps2dq, "cvttps2dq", vec_src128, FP_OTHER)
FP_HANDLER(cvtpd2dq, "cvtpd2dq", vec_src128, FP_OTHER)
FP_HANDLER(cvttpd2dq, "cvttpd2dq", vec_src128, FP_OTHER)
FP_HANDLER(cvtdq2pd, "cvtdq2pd", vec_src64, FP_OTHER)

/* ---------------------------------------------------------------- comparison */

#define FP_COMPARE(type, source)                                                                   \
    static inline vreg compare_##type(vreg d, vreg s, unsigned predicate)                          \
    {                                                                                              \
        switch (predicate) {                                                                       \
        case 0:                                                                                    \
            __asm__ volatile("cmp" #type " $0, %1, %0" : "+x"(d) : "x"(s));                        \
            break;                                                                                 \
        case 1:                                                                                    \
            __asm__ volatile("cmp" #type " $1, %1, %0" : "+x"(d) : "x"(s));                        \
            break;                                                                                 \
        case 2:                                                                                    \
            __asm__ volatile("cmp" #type " $2, %1, %0" : "+x"(d) : "x"(s));                        \
            break;                                                                                 \
        case 3:                                                                                    \
            __asm__ volatile("cmp" #type " $3, %1, %0" : "+x"(d) : "x"(s));                        \
            break;                                                                                 \
        case 4:                                                                                    \
            __asm__ volatile("cmp" #type " $4, %1, %0" : "+x"(d) : "x"(s));                        \
            break;                                                                                 \
        case 5:                                                                                    \
            __asm__ volatile("cmp" #type " $5, %1, %0" : "+x"(d) : "x"(s));                        \
            break;                                                                                 \
        case 6:                                                                                    \
            __asm__ volatile("cmp" #type " $6, %1, %0" : "+x"(d) : "x"(s));                        \
            break;                                                                                 \
        default:                                                                                   \
            __asm__ volatile("cmp" #type " $7, %1, %0" : "+x"(d) : "x"(s));                        \
            break;                                                                                 \
        }                                                                                          \
        return d;                                                                                  \
    }                                                                                              \
    OP(op_cmp##type)                                                                               \
    {                                                                                              \
        vreg s = source(c, o);                                                                     \
        fp_begin(c);                                                                               \
        vreg d = compare_##type(xmm_get(c, o->dst), s, o->imm & 7);                                \
        fp_end(c, o, d, FP_OTHER);                                                                 \
        xmm_set(c, o->dst, d);                                                                     \
        NEXT;                                                                                      \
    }
FP_COMPARE(ps, vec_src128)
FP_COMPARE(pd, vec_src128)
FP_COMPARE(ss, vec_src32)
FP_COMPARE(sd, vec_src64)

#define FP_COMPARE_FLAGS(name, source)                                                             \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        vreg s = source(c, o);                                                                     \
        vreg d = xmm_get(c, o->dst);                                                               \
        bool zf, pf, cf;                                                                           \
        fp_begin(c);                                                                               \
        __asm__ volatile(#name " %4, %3"                                                           \
                         : "=@ccz"(zf), "=@ccp"(pf), "=@ccc"(cf)                                   \
                         : "x"(d), "x"(s));                                                        \
        fp_end(c, o, d, FP_OTHER);                                                                 \
        flags_arith_set(c, (zf ? RFLAGS_ZF : 0) | (pf ? RFLAGS_PF : 0) | (cf ? RFLAGS_CF : 0));    \
        NEXT;                                                                                      \
    }
FP_COMPARE_FLAGS(comiss, vec_src32)
FP_COMPARE_FLAGS(comisd, vec_src64)
FP_COMPARE_FLAGS(ucomiss, vec_src32)
FP_COMPARE_FLAGS(ucomisd, vec_src64)

/* ---------------------------------------------------------------- general registers, MMX */

#define FP_TO_INT(name, source)                                                                    \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        vreg s = source(c, o);                                                                     \
        uint64_t r;                                                                                \
        fp_begin(c);                                                                               \
        if (o->osz == 8) {                                                                         \
            __asm__ volatile(#name " %1, %0" : "=r"(r) : "x"(s));                                  \
        } else {                                                                                   \
            uint32_t r32;                                                                          \
            __asm__ volatile(#name " %1, %0" : "=r"(r32) : "x"(s));                                \
            r = r32;                                                                               \
        }                                                                                          \
        fp_end(c, o, s, FP_OTHER);                                                                 \
        c->r[o->dst] = r;                                                                          \
        NEXT;                                                                                      \
    }
FP_TO_INT(cvtss2si, vec_src32)
FP_TO_INT(cvttss2si, vec_src32)
FP_TO_INT(cvtsd2si, vec_src64)
FP_TO_INT(cvttsd2si, vec_src64)

#define INT_TO_FP(name)                                                                            \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        uint64_t s = rm_get(c, o, o->osz == 8 ? 8 : 4);                                            \
        vreg d = xmm_get(c, o->dst);                                                               \
        fp_begin(c);                                                                               \
        if (o->osz == 8) {                                                                         \
            __asm__ volatile(#name "q %1, %0" : "+x"(d) : "r"(s));                                 \
        } else {                                                                                   \
            __asm__ volatile(#name "l %1, %0" : "+x"(d) : "r"((uint32_t)s));                       \
        }                                                                                          \
        fp_end(c, o, d, FP_OTHER);                                                                 \
        xmm_set(c, o->dst, d);                                                                     \
        NEXT;                                                                                      \
    }
INT_TO_FP(cvtsi2ss)
INT_TO_FP(cvtsi2sd)

/* CVTPI2PS and CVTPI2PD convert two 32-bit integers as CVTDQ2PS/PD do. With a memory operand the
 * latter leaves the x87 unit alone (SDM, CVTPI2PD). */
OP(op_cvtpi2ps)
{
    x87_wait(c, o);
    vreg s = {(int64_t)mmx_src64(c, o), 0}, r;
    fp_begin(c);
    __asm__ volatile("cvtdq2ps %1, %0" : "=x"(r) : "x"(s));
    fp_end(c, o, r, FP_OTHER);
    mmx_enter(c);
    c->xmm[o->dst].s64[0] = r[0];
    NEXT;
}

OP(op_cvtpi2pd)
{
    if (!(o->bits & OB_MEM)) {
        x87_wait(c, o);
    }
    vreg s = {(int64_t)mmx_src64(c, o), 0}, r;
    __asm__ volatile("cvtdq2pd %1, %0" : "=x"(r) : "x"(s));
    if (!(o->bits & OB_MEM)) {
        mmx_enter(c);
    }
    xmm_set(c, o->dst, r);
    NEXT;
}

#define FP_TO_MMX(name, insn, source, keep)                                                        \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        x87_wait(c, o);                                                                            \
        vreg s = source(c, o), r;                                                                  \
        s = keep;                                                                                  \
        fp_begin(c);                                                                               \
        __asm__ volatile(insn " %1, %0" : "=x"(r) : "x"(s));                                       \
        fp_end(c, o, r, FP_OTHER);                                                                 \
        mmx_enter(c);                                                                              \
        mmx_set(c, o->dst, (uint64_t)r[0]);                                                        \
        NEXT;                                                                                      \
    }
FP_TO_MMX(cvtps2pi, "cvtps2dq", vec_src64, ((vreg){s[0], 0}))
FP_TO_MMX(cvttps2pi, "cvttps2dq", vec_src64, ((vreg){s[0], 0}))
FP_TO_MMX(cvtpd2pi, "cvtpd2dq", vec_src128, s)
FP_TO_MMX(cvttpd2pi, "cvttpd2dq", vec_src128, s)

/* ---------------------------------------------------------------- logic, unpack */

#define FP_LOGIC(name, expr)                                                                       \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        vreg b = vec_src128(c, o), a = xmm_get(c, o->dst);                                         \
        xmm_set(c, o->dst, (expr));                                                                \
        NEXT;                                                                                      \
    }
FP_LOGIC(andps, a &b)
FP_LOGIC(andnps, ~a &b)
FP_LOGIC(orps, a | b)
FP_LOGIC(xorps, a ^ b)

/* ---------------------------------------------------------------- SSE3: horizontal, add-subtract
 */

#define FP_HORIZONTAL(name, fn, low, high, kind)                                                   \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        vreg s = vec_src128(c, o), d = xmm_get(c, o->dst);                                         \
        fp_begin(c);                                                                               \
        vreg r = fn(low, high);                                                                    \
        fp_end(c, o, r, kind);                                                                     \
        xmm_set(c, o->dst, r);                                                                     \
        NEXT;                                                                                      \
    }
FP_HORIZONTAL(haddps, host_addps, even32(d, s), odd32(d, s), FP_4X32)
FP_HORIZONTAL(hsubps, host_subps, even32(d, s), odd32(d, s), FP_4X32)
FP_HORIZONTAL(haddpd, host_addpd, ((vreg){d[0], s[0]}), ((vreg){d[1], s[1]}), FP_2X64)
FP_HORIZONTAL(hsubpd, host_subpd, ((vreg){d[0], s[0]}), ((vreg){d[1], s[1]}), FP_2X64)

/* Subtracts in even lanes, adds in odd ones. */
#define FP_ADDSUB(name, sub, add, even, kind)                                                      \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        vreg s = vec_src128(c, o), d = xmm_get(c, o->dst);                                         \
        vreg m = (even);                                                                           \
        fp_begin(c);                                                                               \
        vreg r = (sub(d & m, s & m) & m) | (add(d & ~m, s & ~m) & ~m);                             \
        fp_end(c, o, r, kind);                                                                     \
        xmm_set(c, o->dst, r);                                                                     \
        NEXT;                                                                                      \
    }
FP_ADDSUB(addsubps, host_subps, host_addps, ((vreg)(u32x4){~0u, 0, ~0u, 0}), FP_4X32)
FP_ADDSUB(addsubpd, host_subpd, host_addpd, ((vreg){-1, 0}), FP_2X64)

/* ---------------------------------------------------------------- SSE4.1: dot products */

OP(op_dpps)
{
    vreg s = vec_src128(c, o), d = xmm_get(c, o->dst);
    vreg m = mask32(o->imm >> 4 & 15);
    s &= m;
    d &= m;
    fp_begin(c);
    __asm__ volatile("mulps %1, %0" : "+x"(d) : "x"(s));
    fp_end(c, o, d, FP_4X32);
    fp_begin(c);
    d = host_addps(d, swap32(d));
    fp_end(c, o, d, FP_4X32);
    fp_begin(c);
    d = host_addps((vreg){d[0], d[0]}, (vreg){d[1], d[1]});
    fp_end(c, o, d, FP_4X32);
    uint32_t sum = ((u32x4)d)[0]; /* the other lanes add in another order: other NaNs */
    xmm_set(c, o->dst, (vreg)(u32x4){sum, sum, sum, sum} & mask32(o->imm & 15));
    NEXT;
}

OP(op_dppd)
{
    vreg s = vec_src128(c, o), d = xmm_get(c, o->dst);
    vreg m = mask64(o->imm >> 4 & 3);
    s &= m;
    d &= m;
    fp_begin(c);
    __asm__ volatile("mulpd %1, %0" : "+x"(d) : "x"(s));
    fp_end(c, o, d, FP_2X64);
    fp_begin(c);
    d = host_addpd((vreg){d[0], d[0]}, (vreg){d[1], d[1]});
    fp_end(c, o, d, FP_2X64);
    xmm_set(c, o->dst, d & mask64(o->imm & 3));
    NEXT;
}

/* ---------------------------------------------------------------- SSE4.1: round to integral */

#define FP_ROUND(name, source, field, lanes, fraction_bits, exponent_bits)                         \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        union vec s = vec_of(source(c, o)), d = c->xmm[o->dst];                                    \
        uint32_t flags = 0;                                                                        \
        for (unsigned i = 0; i < (lanes); i++) {                                                   \
            d.field[i] = round_number(s.field[i], fraction_bits, exponent_bits, c->mxcsr,          \
                                      (unsigned)o->imm, &flags);                                   \
        }                                                                                          \
        fp_flags(c, o, flags);                                                                     \
        xmm_set(c, o->dst, vreg_of(d));                                                            \
        NEXT;                                                                                      \
    }
FP_ROUND(roundps, vec_src128, u32, 4, 23, 8)
FP_ROUND(roundss, vec_src32, u32, 1, 23, 8)
FP_ROUND(roundpd, vec_src128, u64, 2, 52, 11)
FP_ROUND(roundsd, vec_src64, u64, 1, 52, 11)
