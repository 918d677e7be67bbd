/*
 * MMX moves and EMMS (SDM vol. 2; vol. 1, chapter 9). MMX arithmetic shares its code with SSE2:
 * op-sse-int.c.
 */
#include "cpu/x86/soft/vec-priv.h"

OP(op_mmx_movd_load)
{
    x87_wait(c, o);
    uint64_t v = rm_get(c, o, o->osz == 8 ? 8 : 4);
    mmx_enter(c);
    mmx_set(c, o->dst, v);
    NEXT;
}

OP(op_mmx_movd_store)
{
    x87_wait(c, o);
    rm_set(c, o, o->osz == 8 ? 8 : 4, mmx_get(c, o->dst));
    mmx_enter(c);
    NEXT;
}

OP(op_mmx_movq_load)
{
    x87_wait(c, o);
    uint64_t v = mmx_src64(c, o);
    mmx_enter(c);
    mmx_set(c, o->dst, v);
    NEXT;
}

/* also MOVNTQ */
OP(op_mmx_movq_store)
{
    x87_wait(c, o);
    uint64_t v = mmx_get(c, o->dst);
    if (o->bits & OB_MEM) {
        mem_st64(c, o, ea(c, o, 8, true), v);
        mmx_enter(c);
    } else {
        mmx_enter(c);
        mmx_set(c, o->src, v);
    }
    NEXT;
}

OP(op_movq2dq)
{
    x87_wait(c, o);
    mmx_enter(c);
    xmm_set(c, o->dst, (vreg){(int64_t)mmx_get(c, o->src), 0});
    NEXT;
}

OP(op_movdq2q)
{
    x87_wait(c, o);
    mmx_enter(c);
    mmx_set(c, o->dst, c->xmm[o->src].u64[0]);
    NEXT;
}

OP(op_emms)
{
    x87_wait(c, o);
    c->fpu.empty = 0xff;
    c->fpu.top = 0;
    NEXT;
}
