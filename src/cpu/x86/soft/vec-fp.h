/*
 * Floating-point pieces that SSE and AVX share: host instructions as functions, lane masks and
 * shuffles of dot products and horizontal sums, and rounding to integral values, which is computed
 * in integer arithmetic (SDM vol. 2).
 */
#ifndef CPU_X86_SOFT_VEC_FP_H
#define CPU_X86_SOFT_VEC_FP_H

#include "cpu/x86/soft/vec-priv.h"

/* Raises for exceptions (MXCSR bits) that software found, or makes them sticky. (fp-host.c) */
void fp_flags(struct cpu *c, const struct op *o, uint32_t flags);

static inline vreg host_addps(vreg a, vreg b)
{
    __asm__ volatile("addps %1, %0" : "+x"(a) : "x"(b));
    return a;
}

static inline vreg host_subps(vreg a, vreg b)
{
    __asm__ volatile("subps %1, %0" : "+x"(a) : "x"(b));
    return a;
}

static inline vreg host_addpd(vreg a, vreg b)
{
    __asm__ volatile("addpd %1, %0" : "+x"(a) : "x"(b));
    return a;
}

static inline vreg host_subpd(vreg a, vreg b)
{
    __asm__ volatile("subpd %1, %0" : "+x"(a) : "x"(b));
    return a;
}

static inline vreg even32(vreg a_, vreg b_)
{
    u32x4 a = (u32x4)a_, b = (u32x4)b_;
    return (vreg)(u32x4){a[0], a[2], b[0], b[2]};
}

static inline vreg odd32(vreg a_, vreg b_)
{
    u32x4 a = (u32x4)a_, b = (u32x4)b_;
    return (vreg)(u32x4){a[1], a[3], b[1], b[3]};
}

/* Lane mask from four (or two) bits. */
static inline vreg mask32(unsigned bits)
{
    s32x4 all = {1, 2, 4, 8}, b = {(int)bits, (int)bits, (int)bits, (int)bits};
    return (vreg)((all & b) != 0);
}

static inline vreg mask64(unsigned bits)
{
    return (vreg){-(int64_t)(bits & 1), -(int64_t)(bits >> 1 & 1)};
}

static inline vreg swap32(vreg a_)
{
    u32x4 a = (u32x4)a_;
    return (vreg)(u32x4){a[1], a[0], a[3], a[2]};
}

/* Rounding of a magnitude in integer arithmetic: value has `drop` fraction bits. */
static inline uint64_t round_bits(uint64_t value, unsigned drop, unsigned mode, bool negative,
                                  bool *inexact)
{
    uint64_t unit = (uint64_t)1 << drop, fraction = value & (unit - 1), half = unit >> 1;
    uint64_t down = value - fraction;
    bool up;
    *inexact = fraction != 0;
    switch (mode) {
    case 0:
        up = fraction > half || (fraction == half && (down & unit));
        break;
    case 1:
        up = negative && fraction;
        break;
    case 2:
        up = !negative && fraction;
        break;
    default:
        up = false;
        break;
    }
    return up ? down + unit : down;
}

/* One IEEE number of the given format; *flags collects MXCSR bits. */
static inline uint64_t round_number(uint64_t v, unsigned fraction_bits, unsigned exponent_bits,
                                    uint32_t mxcsr, unsigned imm, uint32_t *flags)
{
    unsigned bias = (1u << (exponent_bits - 1)) - 1;
    uint64_t sign = v & (uint64_t)1 << (fraction_bits + exponent_bits);
    uint64_t magnitude = v & ~sign;
    unsigned exponent = magnitude >> fraction_bits;
    uint64_t fraction = magnitude & (((uint64_t)1 << fraction_bits) - 1);
    unsigned mode = imm & 4 ? mxcsr >> 13 & 3 : imm & 3;
    bool inexact;

    if (exponent == 2 * bias + 1) { /* infinity, NaN */
        uint64_t quiet = (uint64_t)1 << (fraction_bits - 1);
        if (fraction && !(fraction & quiet)) {
            *flags |= MXCSR_IE;
            return v | quiet;
        }
        return v;
    }
    if (exponent == 0 && (mxcsr & MXCSR_DAZ)) {
        return sign;
    }
    if (exponent >= bias + fraction_bits || magnitude == 0) {
        return v;
    }
    if (exponent < bias) { /* below one: compare with one half */
        bool half = exponent == bias - 1;
        uint64_t scaled = half ? (fraction ? 3 : 2) : 1;
        magnitude =
            round_bits(scaled, 2, mode, sign != 0, &inexact) ? (uint64_t)bias << fraction_bits : 0;
    } else {
        unsigned drop = fraction_bits - (exponent - bias);
        magnitude = round_bits(magnitude, drop, mode, sign != 0, &inexact);
    }
    if (inexact && !(imm & 8)) {
        *flags |= MXCSR_PE;
    }
    return sign | magnitude;
}

#endif
