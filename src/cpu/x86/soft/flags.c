/*
 * The whole RFLAGS image from the lazy form, and back.
 */
#include "cpu/x86/soft/flags.h"

uint64_t rflags_get(const struct cpu *c)
{
    return c->sysflags | RFLAGS_1 | flags_arith_get(c);
}

void rflags_set(struct cpu *c, uint64_t rflags)
{
    const uint32_t known = RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF |
                           RFLAGS_VM | RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID;
    c->sysflags = (rflags & known) | RFLAGS_1;
    flags_arith_set(c, rflags);
}
