/*
 * AVX moves: whole registers and parts of them, and the clearing of upper halves (SDM vol. 2).
 */
#include "cpu/x86/soft/avx-priv.h"

/* ---------------------------------------------------------------- whole registers */

OP(op_vmovu_load)
{
    struct ymm s = ymm_src(c, o);
    ymm_set(c, o->dst, s);
    NEXT;
}

static inline void store(struct cpu *c, const struct op *o, bool aligned)
{
    if (!(o->bits & OB_MEM)) {
        if (vex_256(o)) {
            ymm_set(c, o->src, ymm_get(c, o->dst));
        } else {
            ymm_set128(c, o->src, xmm_get(c, o->dst));
        }
        return;
    }
    uint64_t lin = aligned ? ea_aligned(c, o, true) : ea(c, o, vex_256(o) ? 32 : 16, true);
    if (vex_256(o)) {
        mem_st256(c, o, lin, ymm_get(c, o->dst));
    } else {
        mem_st128(c, o, lin, xmm_get(c, o->dst));
    }
}

OP(op_vmovu_store)
{
    store(c, o, false);
    NEXT;
}

OP(op_vmova_load)
{
    if (o->bits & OB_MEM) {
        uint64_t lin = ea_aligned(c, o, false);
        if (vex_256(o)) {
            ymm_set(c, o->dst, mem_ld256(c, o, lin));
        } else {
            ymm_set128(c, o->dst, mem_ld128(c, o, lin));
        }
    } else {
        ymm_set(c, o->dst, ymm_src(c, o));
    }
    NEXT;
}

OP(op_vmova_store)
{
    store(c, o, true);
    NEXT;
}

/* ---------------------------------------------------------------- parts of registers */

/* Loads clear the rest of the register; register forms take it from vvvv. */
OP(op_vmovss_load)
{
    vreg s = vec_src32(c, o);
    ymm_set128(c, o->dst, o->bits & OB_MEM ? s : vec_merge32(xmm_get(c, vex_v(o)), s));
    NEXT;
}

OP(op_vmovsd_load)
{
    vreg s = vec_src64(c, o);
    ymm_set128(c, o->dst, o->bits & OB_MEM ? s : vec_merge64(xmm_get(c, vex_v(o)), s));
    NEXT;
}

OP(op_vmovss_store)
{
    vreg s = xmm_get(c, o->dst);
    if (o->bits & OB_MEM) {
        mem_st32(c, o, ea(c, o, 4, true), ((u32x4)s)[0]);
    } else {
        ymm_set128(c, o->src, vec_merge32(xmm_get(c, vex_v(o)), s));
    }
    NEXT;
}

OP(op_vmovsd_store)
{
    vreg s = xmm_get(c, o->dst);
    if (o->bits & OB_MEM) {
        mem_st64(c, o, ea(c, o, 8, true), (uint64_t)s[0]);
    } else {
        ymm_set128(c, o->src, vec_merge64(xmm_get(c, vex_v(o)), s));
    }
    NEXT;
}

OP(op_vmovq_load)
{
    ymm_set128(c, o->dst, (vreg){vec_src64(c, o)[0], 0});
    NEXT;
}

OP(op_vmovq_store)
{
    vreg v = xmm_get(c, o->dst);
    if (o->bits & OB_MEM) {
        mem_st64(c, o, ea(c, o, 8, true), (uint64_t)v[0]);
    } else {
        ymm_set128(c, o->src, (vreg){v[0], 0});
    }
    NEXT;
}

OP(op_vmovlp_load)
{
    int64_t v = (int64_t)mem_ld64(c, o, ea(c, o, 8, false));
    ymm_set128(c, o->dst, (vreg){v, xmm_get(c, vex_v(o))[1]});
    NEXT;
}

OP(op_vmovhp_load)
{
    int64_t v = (int64_t)mem_ld64(c, o, ea(c, o, 8, false));
    ymm_set128(c, o->dst, (vreg){xmm_get(c, vex_v(o))[0], v});
    NEXT;
}

OP(op_vmovhlps)
{
    ymm_set128(c, o->dst, (vreg){xmm_get(c, o->src)[1], xmm_get(c, vex_v(o))[1]});
    NEXT;
}

OP(op_vmovlhps)
{
    ymm_set128(c, o->dst, (vreg){xmm_get(c, vex_v(o))[0], xmm_get(c, o->src)[0]});
    NEXT;
}

static inline vreg even_twice(vreg v)
{
    u32x4 s = (u32x4)v;
    return (vreg)(u32x4){s[0], s[0], s[2], s[2]};
}

static inline vreg odd_twice(vreg v)
{
    u32x4 s = (u32x4)v;
    return (vreg)(u32x4){s[1], s[1], s[3], s[3]};
}

AVX_UNARY(vmovsldup, even_twice)
AVX_UNARY(vmovshdup, odd_twice)

OP(op_vmovddup)
{
    if (vex_256(o)) {
        struct ymm s = ymm_src(c, o);
        ymm_set(c, o->dst, (struct ymm){{s.lo[0], s.lo[0]}, {s.hi[0], s.hi[0]}});
    } else {
        vreg s = vec_src64(c, o);
        ymm_set128(c, o->dst, (vreg){s[0], s[0]});
    }
    NEXT;
}

OP(op_vmovd_load)
{
    ymm_set128(c, o->dst, (vreg){(int64_t)rm_get(c, o, o->osz), 0});
    NEXT;
}

/* ---------------------------------------------------------------- upper halves */

OP(op_vzeroupper)
{
    memset(c->ymm_hi, 0, (is_long64(c) ? 16 : 8) * sizeof(c->ymm_hi[0]));
    NEXT;
}

OP(op_vzeroall)
{
    memset(c->xmm, 0, (is_long64(c) ? 16 : 8) * sizeof(c->xmm[0]));
    memset(c->ymm_hi, 0, (is_long64(c) ? 16 : 8) * sizeof(c->ymm_hi[0]));
    NEXT;
}
