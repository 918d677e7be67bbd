/*
 * The x87 register stack as its handlers see it (SDM vol. 1, chapter 8).
 */
#ifndef CPU_X86_SOFT_X87_PRIV_H
#define CPU_X86_SOFT_X87_PRIV_H

#include "cpu/x86/soft/vec-priv.h"

#define FCW_IM      0x0001u
#define FCW_EXC     0x003fu
#define FCW_RC      0x0c00u
#define FCW_DEFAULT 0x037fu
#define FCW_VALID   0x1f3fu /* the others are fixed: */
#define FCW_FIXED   0x0040u

struct f80 { /* a register as in struct x87, and as FLD/FSTP m80 move it */
    uint64_t mantissa;
    uint16_t exponent;
};

/* The "real indefinite" QNaN: the masked answer to an invalid operation or a stack fault. */
#define F80_INDEFINITE ((struct f80){0xc000000000000000, 0xffff})

static inline unsigned st_index(const struct cpu *c, unsigned i)
{
    return (c->fpu.top + i) & 7;
}

static inline bool st_empty(const struct cpu *c, unsigned i)
{
    return c->fpu.empty >> st_index(c, i) & 1;
}

static inline struct f80 st_get(const struct cpu *c, unsigned i)
{
    unsigned n = st_index(c, i);
    return (struct f80){c->fpu.st[n].mantissa, c->fpu.st[n].exponent};
}

static inline void st_set(struct cpu *c, unsigned i, struct f80 v)
{
    unsigned n = st_index(c, i);
    c->fpu.st[n].mantissa = v.mantissa;
    c->fpu.st[n].exponent = v.exponent;
    c->fpu.empty &= ~(1u << n);
}

static inline void st_free(struct cpu *c, unsigned i)
{
    c->fpu.empty |= 1u << st_index(c, i);
}

static inline void st_pop(struct cpu *c)
{
    st_free(c, 0);
    c->fpu.top = (c->fpu.top + 1) & 7;
}

static inline void st_push(struct cpu *c, struct f80 v)
{
    c->fpu.top = (c->fpu.top - 1) & 7;
    st_set(c, 0, v);
}

/* ES and B say whether an unmasked exception is pending. */
static inline void x87_update_es(struct cpu *c)
{
    bool pending = c->fpu.status & ~c->fpu.control & FSW_EXC;
    c->fpu.status = (c->fpu.status & ~(FSW_ES | FSW_B)) | (pending ? FSW_ES | FSW_B : 0);
}

static inline void x87_set_control(struct cpu *c, uint16_t v)
{
    c->fpu.control = (v & FCW_VALID) | FCW_FIXED;
    x87_update_es(c);
}

static inline uint16_t x87_status_word(const struct cpu *c)
{
    return c->fpu.status | c->fpu.top << 11;
}

static inline void x87_set_status_word(struct cpu *c, uint16_t v)
{
    c->fpu.top = v >> 11 & 7;
    c->fpu.status = v & (FSW_CC | FSW_SF | FSW_EXC);
    x87_update_es(c);
}

static inline void x87_set_cc(struct cpu *c, unsigned mask, unsigned bits)
{
    c->fpu.status = (c->fpu.status & ~mask) | (bits & mask);
}

/* Takes a host status word over: exceptions and C1 always, other condition bits of cc_mask. Returns
 * false when an unmasked invalid, denormal or divide exception keeps operands and stack as they
 * are. */
static inline bool x87_finish(struct cpu *c, unsigned sw, unsigned cc_mask)
{
    bool stop = sw & ~c->fpu.control & (FSW_IE | FSW_DE | FSW_ZE);
    x87_set_cc(c, stop ? FSW_C1 : cc_mask | FSW_C1, sw);
    c->fpu.status |= sw & FSW_EXC;
    x87_update_es(c);
    return !stop;
}

/* Stack underflow or overflow. Returns true when it is masked: the instruction then goes on with
 * the indefinite value. */
bool x87_stack_fault(struct cpu *c, bool overflow);

/* FNINIT */
void x87_init(struct cpu *c);

/* Instruction and data pointers of a non-control instruction. */
void x87_record(struct cpu *c, const struct op *o);

#endif
