/* What the files that classify instructions share (xlat-insn.c, xlat-insn-sse.c). */
#ifndef CPU_X86_SOFT_XLAT_INSN_PRIV_H
#define CPU_X86_SOFT_XLAT_INSN_PRIV_H

#include "cpu/x86/soft/xlat-priv.h"

enum { PREFIX_REX_W = 8, PREFIX_REX_R = 4, PREFIX_REX_B = 1 };

/* Legacy prefixes and opcode of x->bytes. */
struct prefixes {
    bool long64; /* 64-bit code */
    bool opsize, repe, repne, lock;
    unsigned at; /* of what follows the opcode */
};

static inline void operands(struct xinsn *x, enum operand_kind reg, enum operand_kind rm)
{
    x->class = XC_MODRM;
    x->reg_kind = reg;
    x->rm_kind = rm;
    x->mem_size = x->size;
}

/* General registers: rm first. out: what is written, as a set of RM_OUT and REG_OUT. */
enum { RM_OUT = 1, REG_OUT = 2 };

static inline void general(struct xinsn *x, bool byte, unsigned out)
{
    operands(x, OPERAND_GPR, OPERAND_GPR);
    x->reg_byte = x->rm_byte = byte;
    x->rm_out = out & RM_OUT;
    x->reg_out = out & REG_OUT;
    x->mem_write = x->rm_out;
}

/* One operand; ModRM.reg belongs to the opcode. */
static inline void unary(struct xinsn *x, bool byte, bool out)
{
    operands(x, OPERAND_DIGIT, OPERAND_GPR);
    x->rm_byte = byte;
    x->rm_out = out;
    x->mem_write = out;
}

static inline void flags(struct xinsn *x, unsigned read, unsigned write)
{
    x->f_read = read;
    x->f_write = write;
}

/* xlat-insn-sse.c: fill x, whose ModRM was read, or leave its class alone. */
void classify_0f_sse(struct xinsn *x);
void classify_38(const struct xlat *xl, struct xinsn *x, const struct prefixes *p);
void classify_3a(const struct xlat *xl, struct xinsn *x);

#endif
