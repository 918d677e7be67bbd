/*
 * SSE moves: loads, stores, half-register moves, masks to general registers, non-temporal and
 * masked stores, and MXCSR (SDM vol. 2). Non-temporal hints have no effect here: every store is
 * ordered.
 */
#include "cpu/x86/soft/vec-priv.h"

/* MOVUPS MOVUPD MOVDQU LDDQU */
OP(op_movu_load)
{
    xmm_set(c, o->dst, vec_src128u(c, o));
    NEXT;
}

OP(op_movu_store)
{
    if (o->bits & OB_MEM) {
        mem_st128(c, o, ea(c, o, 16, true), xmm_get(c, o->dst));
    } else {
        xmm_set(c, o->src, xmm_get(c, o->dst));
    }
    NEXT;
}

/* MOVAPS MOVAPD MOVDQA MOVNTDQA */
OP(op_mova_load)
{
    xmm_set(c, o->dst, vec_src128(c, o));
    NEXT;
}

OP(op_mova_store)
{
    if (o->bits & OB_MEM) {
        mem_st128(c, o, ea_aligned16(c, o, true), xmm_get(c, o->dst));
    } else {
        xmm_set(c, o->src, xmm_get(c, o->dst));
    }
    NEXT;
}

/* Scalar loads from memory clear the rest of the register; register forms leave it. */
OP(op_movss_load)
{
    vreg s = vec_src32(c, o);
    xmm_set(c, o->dst, o->bits & OB_MEM ? s : vec_merge32(xmm_get(c, o->dst), s));
    NEXT;
}

OP(op_movss_store)
{
    if (o->bits & OB_MEM) {
        mem_st32(c, o, ea(c, o, 4, true), c->xmm[o->dst].u32[0]);
    } else {
        c->xmm[o->src].u32[0] = c->xmm[o->dst].u32[0];
    }
    NEXT;
}

OP(op_movsd_load)
{
    vreg s = vec_src64(c, o);
    xmm_set(c, o->dst, o->bits & OB_MEM ? s : vec_merge64(xmm_get(c, o->dst), s));
    NEXT;
}

OP(op_movsd_store)
{
    if (o->bits & OB_MEM) {
        mem_st64(c, o, ea(c, o, 8, true), c->xmm[o->dst].u64[0]);
    } else {
        c->xmm[o->src].u64[0] = c->xmm[o->dst].u64[0];
    }
    NEXT;
}

/* MOVQ xmm, xmm/m64 and back: the register forms clear the upper half. */
OP(op_movq_load)
{
    xmm_set(c, o->dst, (vreg){vec_src64(c, o)[0], 0});
    NEXT;
}

OP(op_movq_store)
{
    vreg v = xmm_get(c, o->dst);
    if (o->bits & OB_MEM) {
        mem_st64(c, o, ea(c, o, 8, true), (uint64_t)v[0]);
    } else {
        xmm_set(c, o->src, (vreg){v[0], 0});
    }
    NEXT;
}

/* MOVLPS/MOVLPD and MOVHPS/MOVHPD, memory forms */
OP(op_movlp_load)
{
    c->xmm[o->dst].u64[0] = mem_ld64(c, o, ea(c, o, 8, false));
    NEXT;
}

OP(op_movlp_store)
{
    mem_st64(c, o, ea(c, o, 8, true), c->xmm[o->dst].u64[0]);
    NEXT;
}

OP(op_movhp_load)
{
    c->xmm[o->dst].u64[1] = mem_ld64(c, o, ea(c, o, 8, false));
    NEXT;
}

OP(op_movhp_store)
{
    mem_st64(c, o, ea(c, o, 8, true), c->xmm[o->dst].u64[1]);
    NEXT;
}

OP(op_movhlps)
{
    c->xmm[o->dst].u64[0] = c->xmm[o->src].u64[1];
    NEXT;
}

OP(op_movlhps)
{
    c->xmm[o->dst].u64[1] = c->xmm[o->src].u64[0];
    NEXT;
}

OP(op_movsldup)
{
    u32x4 s = (u32x4)vec_src128(c, o);
    xmm_set(c, o->dst, (vreg)(u32x4){s[0], s[0], s[2], s[2]});
    NEXT;
}

OP(op_movshdup)
{
    u32x4 s = (u32x4)vec_src128(c, o);
    xmm_set(c, o->dst, (vreg)(u32x4){s[1], s[1], s[3], s[3]});
    NEXT;
}

OP(op_movddup)
{
    vreg s = vec_src64(c, o);
    xmm_set(c, o->dst, (vreg){s[0], s[0]});
    NEXT;
}

/* MOVD/MOVQ between XMM and general registers or memory */
OP(op_movd_load)
{
    xmm_set(c, o->dst, (vreg){(int64_t)rm_get(c, o, o->osz == 8 ? 8 : 4), 0});
    NEXT;
}

OP(op_movd_store)
{
    rm_set(c, o, o->osz == 8 ? 8 : 4, c->xmm[o->dst].u64[0]);
    NEXT;
}

OP(op_movnti)
{
    if (o->osz == 8) {
        mem_st64(c, o, ea(c, o, 8, true), c->r[o->dst]);
    } else {
        mem_st32(c, o, ea(c, o, 4, true), (uint32_t)c->r[o->dst]);
    }
    NEXT;
}

OP(op_movmskps)
{
    union vec s = c->xmm[o->src];
    uint32_t r = 0;
    for (unsigned i = 0; i < 4; i++) {
        r |= (s.u32[i] >> 31) << i;
    }
    c->r[o->dst] = r;
    NEXT;
}

OP(op_movmskpd)
{
    c->r[o->dst] = (c->xmm[o->src].u64[0] >> 63) | (c->xmm[o->src].u64[1] >> 63) << 1;
    NEXT;
}

/* MASKMOVDQU, MASKMOVQ: bytes whose mask has its top bit set go to [rDI]. Hardware may or may not
 * fault on bytes that are not selected; here only selected bytes are touched, all probed first. */
static void store_masked(struct cpu *c, const struct op *o, union vec v, union vec mask, unsigned n)
{
    uint64_t lin = o->mflags ? ea_slow(c, o, c->r[RDI], n, true) : c->r[RDI];
    for (unsigned i = 0; i < n; i++) {
        if (mask.u8[i] & 0x80) {
            mem_probe(c, o, lin + i, 1, ACCESS_WRITE);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (mask.u8[i] & 0x80) {
            mem_st8(c, o, lin + i, v.u8[i]);
        }
    }
}

OP(op_maskmovdqu)
{
    store_masked(c, o, c->xmm[o->dst], c->xmm[o->src], 16);
    NEXT;
}

OP(op_mmx_maskmovq)
{
    x87_wait(c, o);
    store_masked(c, o, (union vec){.u64 = {mmx_get(c, o->dst)}},
                 (union vec){.u64 = {mmx_get(c, o->src)}}, 8);
    mmx_enter(c);
    NEXT;
}

OP(op_ldmxcsr)
{
    uint32_t v = mem_ld32(c, o, ea(c, o, 4, false));
    if (v & ~MXCSR_VALID) {
        raise_error(c, o, EXC_GP, 0);
    }
    fp_leave(c);
    c->mxcsr = v;
    mode_update(c);
    END_BLOCK;
}

OP(op_stmxcsr)
{
    fp_leave(c);
    mem_st32(c, o, ea(c, o, 4, true), c->mxcsr);
    NEXT;
}
