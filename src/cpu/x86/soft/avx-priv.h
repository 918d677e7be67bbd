/*
 * Operands of VEX-encoded instructions (Intel SDM volume 2, 2.3).
 *
 * A handler finds ModRM.reg in op.dst, ModRM.rm in op.src (or memory, as everywhere), the register
 * of VEX.vvvv in vex_v() and the immediate in vex_imm(). A YMM register is c->xmm[n] and
 * c->ymm_hi[n]; a 128-bit instruction clears the upper half of its destination. Memory operands
 * need no alignment, except those of the aligned moves.
 *
 * Most instructions do the same in both 128-bit lanes: they are written with the functions of
 * vec-int.h and vec-fp.h, once or twice.
 */
#ifndef CPU_X86_SOFT_AVX_PRIV_H
#define CPU_X86_SOFT_AVX_PRIV_H

#include "cpu/x86/soft/vec-int.h"

struct ymm {
    vreg lo, hi;
};

static inline unsigned vex_v(const struct op *o)
{
    return (unsigned)o->imm >> 8 & 15;
}

static inline unsigned vex_imm(const struct op *o)
{
    return (unsigned)o->imm & 0xff;
}

/* The register in the upper half of the immediate (is4). Outside 64-bit mode there are eight. */
static inline unsigned vex_is4(const struct cpu *c, const struct op *o)
{
    return vex_imm(o) >> 4 & (is_long64(c) ? 15 : 7);
}

static inline bool vex_256(const struct op *o)
{
    return o->bits & OB_VEX256;
}

static inline vreg hi_get(const struct cpu *c, unsigned n)
{
    return *(const vreg *)&c->ymm_hi[n];
}

static inline void hi_set(struct cpu *c, unsigned n, vreg v)
{
    *(vreg *)&c->ymm_hi[n] = v;
}

static inline struct ymm ymm_get(const struct cpu *c, unsigned n)
{
    return (struct ymm){xmm_get(c, n), hi_get(c, n)};
}

static inline void ymm_set(struct cpu *c, unsigned n, struct ymm v)
{
    xmm_set(c, n, v.lo);
    hi_set(c, n, v.hi);
}

/* A 128-bit result: the upper half becomes zero. */
static inline void ymm_set128(struct cpu *c, unsigned n, vreg v)
{
    xmm_set(c, n, v);
    hi_set(c, n, (vreg){0, 0});
}

static inline struct ymm mem_ld256(struct cpu *c, const struct op *o, uint64_t lin)
{
    const uint8_t *p = mem_fast_read(c, lin, 32);
    struct ymm v;
    if (likely(p != NULL)) {
        memcpy(&v, p, sizeof(v));
        return v;
    }
    mem_probe(c, o, lin, 32, ACCESS_READ); /* the faults of the operand as a whole */
    v.lo = mem_ld128_slow(c, o, lin);
    v.hi = mem_ld128_slow(c, o, lin + 16);
    return v;
}

static inline void mem_st256(struct cpu *c, const struct op *o, uint64_t lin, struct ymm v)
{
    uint8_t *p = mem_fast_write(c, lin, 32);
    if (likely(p != NULL)) {
        memcpy(p, &v, sizeof(v));
        return;
    }
    mem_probe(c, o, lin, 32, ACCESS_WRITE);
    mem_st128_slow(c, o, lin, v.lo);
    mem_st128_slow(c, o, lin + 16, v.hi);
}

/* The rm operand as a source: 32 bytes, or 16 with a zero upper half. */
static inline struct ymm ymm_src(struct cpu *c, const struct op *o)
{
    if (!vex_256(o)) {
        return (struct ymm){vec_src128u(c, o), {0, 0}};
    }
    return o->bits & OB_MEM ? mem_ld256(c, o, ea(c, o, 32, false)) : ymm_get(c, o->src);
}

/* The vvvv operand in the same way. */
static inline struct ymm ymm_v(const struct cpu *c, const struct op *o)
{
    return (struct ymm){xmm_get(c, vex_v(o)), vex_256(o) ? hi_get(c, vex_v(o)) : (vreg){0, 0}};
}

/* Address of an operand of the aligned moves. */
static inline uint64_t ea_aligned(struct cpu *c, const struct op *o, bool write)
{
    unsigned size = vex_256(o) ? 32 : 16;
    uint64_t lin = ea(c, o, size, write);
    if (unlikely(lin & (size - 1))) {
        raise_error(c, o, EXC_GP, 0);
    }
    return lin;
}

/* Floating-point checks over both halves: fp_end() for twice as many lanes. */
void fp_check256(struct cpu *c, const struct op *o, struct ymm result, enum fp_kind kind);

static inline void fp_end256(struct cpu *c, const struct op *o, struct ymm result,
                             enum fp_kind kind)
{
    if (unlikely(c->key & KEY_FPEXC)) {
        fp_check256(c, o, result, kind);
    }
}

/* Handlers of functions f(a, b) with a = vvvv and b = rm, lane by lane. */
#define AVX_BINARY(name, f)                                                                        \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        struct ymm b = ymm_src(c, o), a = ymm_v(c, o);                                             \
        if (vex_256(o)) {                                                                          \
            ymm_set(c, o->dst, (struct ymm){f(a.lo, b.lo), f(a.hi, b.hi)});                        \
        } else {                                                                                   \
            ymm_set128(c, o->dst, f(a.lo, b.lo));                                                  \
        }                                                                                          \
        NEXT;                                                                                      \
    }

/* ... f(a, b, imm) */
#define AVX_BINARY_IMM(name, f, imm_lo, imm_hi)                                                    \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        struct ymm b = ymm_src(c, o), a = ymm_v(c, o);                                             \
        unsigned imm = vex_imm(o);                                                                 \
        if (vex_256(o)) {                                                                          \
            ymm_set(c, o->dst, (struct ymm){f(a.lo, b.lo, imm_lo), f(a.hi, b.hi, imm_hi)});        \
        } else {                                                                                   \
            ymm_set128(c, o->dst, f(a.lo, b.lo, imm_lo));                                          \
        }                                                                                          \
        NEXT;                                                                                      \
    }

/* ... f(b) of the rm operand alone */
#define AVX_UNARY(name, f)                                                                         \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        struct ymm b = ymm_src(c, o);                                                              \
        if (vex_256(o)) {                                                                          \
            ymm_set(c, o->dst, (struct ymm){f(b.lo), f(b.hi)});                                    \
        } else {                                                                                   \
            ymm_set128(c, o->dst, f(b.lo));                                                        \
        }                                                                                          \
        NEXT;                                                                                      \
    }

/* ... f(b, imm) */
#define AVX_UNARY_IMM(name, f, imm_lo, imm_hi)                                                     \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        struct ymm b = ymm_src(c, o);                                                              \
        unsigned imm = vex_imm(o);                                                                 \
        if (vex_256(o)) {                                                                          \
            ymm_set(c, o->dst, (struct ymm){f(b.lo, imm_lo), f(b.hi, imm_hi)});                    \
        } else {                                                                                   \
            ymm_set128(c, o->dst, f(b.lo, imm_lo));                                                \
        }                                                                                          \
        NEXT;                                                                                      \
    }

#endif
