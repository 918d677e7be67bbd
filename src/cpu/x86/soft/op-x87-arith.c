/*
 * x87 arithmetic, comparison, conversion and functions, on the host's x87 unit (SDM vol. 2; vol. 1,
 * chapter 8).
 *
 * Each operation loads the guest's control word and operands, runs one instruction, reads the
 * status word and restores the host's control word. The guest's exception masks stay in force: an
 * unmasked exception only becomes pending in the host's unit, FNCLEX drops it before the next
 * waiting instruction, and what it leaves in the registers is exactly what the guest must see: the
 * scaled result of an unmasked overflow, or untouched operands after an invalid operation. The
 * guest learns of it at its own next waiting instruction (x87_wait).
 *
 * Stack faults are found from the guest's tags beforehand. The host's stack is empty on entry.
 */
#include "cpu/x86/soft/x87-priv.h"

static const uint16_t host_control = FCW_DEFAULT;

#define X87_CLOBBERS "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"

/* One instruction between operands and status. FNINIT at the end cleans up whatever the stack
 * holds. */
#define RUN_HOST(load, insn, store, cleanup, sw, cw, ...)                                          \
    __asm__ volatile("fldcw %[control]\n\t" load "\n\t" insn "\n\t"                                \
                     "fnstsw %[status]\n\tfnclex\n\t" store "\n\t" cleanup                         \
                     : [status] "=m"(sw), __VA_ARGS__, [control] "m"(cw), [host] "m"(host_control) \
                     : X87_CLOBBERS)
#define POP_REST "fstp %%st(0)\n\tfldcw %[host]"
#define NO_REST  "fldcw %[host]"

enum operand { OPERAND_F80, OPERAND_M32, OPERAND_M64, OPERAND_I16, OPERAND_I32 };

/* *a = *a op *b; returns the status word. */
#define HOST_ARITH(op)                                                                             \
    static unsigned host_##op(uint16_t cw, struct f80 *a, const struct f80 *b, enum operand kind)  \
    {                                                                                              \
        uint16_t sw;                                                                               \
        switch (kind) {                                                                            \
        case OPERAND_F80:                                                                          \
            RUN_HOST("fldt %[b]\n\tfldt %[a]", "f" #op " %%st(1), %%st", "fstpt %[a]", POP_REST,   \
                     sw, cw, [a] "+m"(*a)                                                          \
                     : [b] "m"(*b));                                                               \
            break;                                                                                 \
        case OPERAND_M32:                                                                          \
            RUN_HOST("fldt %[a]", "f" #op "s %[b]", "fstpt %[a]", NO_REST, sw, cw, [a] "+m"(*a)    \
                     : [b] "m"(*b));                                                               \
            break;                                                                                 \
        case OPERAND_M64:                                                                          \
            RUN_HOST("fldt %[a]", "f" #op "l %[b]", "fstpt %[a]", NO_REST, sw, cw, [a] "+m"(*a)    \
                     : [b] "m"(*b));                                                               \
            break;                                                                                 \
        case OPERAND_I16:                                                                          \
            RUN_HOST("fldt %[a]", "fi" #op "s %[b]", "fstpt %[a]", NO_REST, sw, cw, [a] "+m"(*a)   \
                     : [b] "m"(*b));                                                               \
            break;                                                                                 \
        default:                                                                                   \
            RUN_HOST("fldt %[a]", "fi" #op "l %[b]", "fstpt %[a]", NO_REST, sw, cw, [a] "+m"(*a)   \
                     : [b] "m"(*b));                                                               \
            break;                                                                                 \
        }                                                                                          \
        return sw;                                                                                 \
    }
HOST_ARITH(add)
HOST_ARITH(mul)
HOST_ARITH(sub)
HOST_ARITH(subr)
HOST_ARITH(div)
HOST_ARITH(divr)

static unsigned host_com(uint16_t cw, struct f80 *a, const struct f80 *b, enum operand kind)
{
    uint16_t sw;
    switch (kind) {
    case OPERAND_F80:
        RUN_HOST("fldt %[b]\n\tfldt %[a]", "fcom %%st(1)", "fstp %%st(0)", POP_REST, sw,
                 cw, [a] "+m"(*a)
                 : [b] "m"(*b));
        break;
    case OPERAND_M32:
        RUN_HOST("fldt %[a]", "fcoms %[b]", "fstp %%st(0)", NO_REST, sw, cw, [a] "+m"(*a)
                 : [b] "m"(*b));
        break;
    case OPERAND_M64:
        RUN_HOST("fldt %[a]", "fcoml %[b]", "fstp %%st(0)", NO_REST, sw, cw, [a] "+m"(*a)
                 : [b] "m"(*b));
        break;
    case OPERAND_I16:
        RUN_HOST("fldt %[a]", "ficoms %[b]", "fstp %%st(0)", NO_REST, sw, cw, [a] "+m"(*a)
                 : [b] "m"(*b));
        break;
    default:
        RUN_HOST("fldt %[a]", "ficoml %[b]", "fstp %%st(0)", NO_REST, sw, cw, [a] "+m"(*a)
                 : [b] "m"(*b));
        break;
    }
    return sw;
}

static unsigned host_ucom(uint16_t cw, struct f80 *a, const struct f80 *b, enum operand kind)
{
    uint16_t sw;
    RUN_HOST("fldt %[b]\n\tfldt %[a]", "fucom %%st(1)", "fstp %%st(0)", POP_REST, sw,
             cw, [a] "+m"(*a)
             : [b] "m"(*b));
    return sw;
}

typedef unsigned (*host_fn)(uint16_t cw, struct f80 *a, const struct f80 *b, enum operand kind);

/* ---------------------------------------------------------------- two operands */

/* The memory operand's bits, in the low bytes of a struct f80's mantissa. */
static struct f80 load_operand(struct cpu *c, const struct op *o, enum operand kind)
{
    switch (kind) {
    case OPERAND_M64:
        return (struct f80){mem_ld64(c, o, ea(c, o, 8, false)), 0};
    case OPERAND_I16:
        return (struct f80){mem_ld16(c, o, ea(c, o, 2, false)), 0};
    default:
        return (struct f80){mem_ld32(c, o, ea(c, o, 4, false)), 0};
    }
}

/* ST(0) op= memory */
static void arith_mem(struct cpu *c, const struct op *o, host_fn fn, enum operand kind)
{
    x87_wait(c, o);
    struct f80 b = load_operand(c, o, kind), a = st_get(c, 0);
    x87_record(c, o);
    if (st_empty(c, 0)) {
        if (x87_stack_fault(c, false)) {
            st_set(c, 0, F80_INDEFINITE);
        }
        return;
    }
    if (x87_finish(c, fn(c->fpu.control, &a, &b, kind), 0)) {
        st_set(c, 0, a);
    }
}

/* ST(dst) op= ST(src) */
static void arith_st(struct cpu *c, const struct op *o, host_fn fn, unsigned dst, unsigned src,
                     bool pop)
{
    x87_wait(c, o);
    x87_record(c, o);
    if (st_empty(c, dst) || st_empty(c, src)) {
        if (!x87_stack_fault(c, false)) {
            return;
        }
        st_set(c, dst, F80_INDEFINITE);
    } else {
        struct f80 a = st_get(c, dst), b = st_get(c, src);
        if (!x87_finish(c, fn(c->fpu.control, &a, &b, OPERAND_F80), 0)) {
            return;
        }
        st_set(c, dst, a);
    }
    if (pop) {
        st_pop(c);
    }
}

#define ARITH_MEM(op, suffix, kind)                                                                \
    OP(op_f##op##_##suffix)                                                                        \
    {                                                                                              \
        arith_mem(c, o, host_##op, kind);                                                          \
        NEXT;                                                                                      \
    }
#define ARITH(op)                                                                                  \
    ARITH_MEM(op, m32, OPERAND_M32)                                                                \
    ARITH_MEM(op, m64, OPERAND_M64)                                                                \
    ARITH_MEM(op, i16, OPERAND_I16)                                                                \
    ARITH_MEM(op, i32, OPERAND_I32)                                                                \
    OP(op_f##op##_st)                                                                              \
    {                                                                                              \
        arith_st(c, o, host_##op, 0, o->src & 7, false);                                           \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(op_f##op##_to)                                                                              \
    {                                                                                              \
        arith_st(c, o, host_##op, o->src & 7, 0, false);                                           \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(op_f##op##p)                                                                                \
    {                                                                                              \
        arith_st(c, o, host_##op, o->src & 7, 0, true);                                            \
        NEXT;                                                                                      \
    }
ARITH(add)
ARITH(mul)
ARITH(sub)
ARITH(subr)
ARITH(div)
ARITH(divr)

/* ---------------------------------------------------------------- comparison */

#define CC_COMPARE (FSW_C0 | FSW_C2 | FSW_C3)

static void compare_mem(struct cpu *c, const struct op *o, enum operand kind, unsigned pops)
{
    x87_wait(c, o);
    struct f80 b = load_operand(c, o, kind), a = st_get(c, 0);
    x87_record(c, o);
    if (st_empty(c, 0)) {
        if (!x87_stack_fault(c, false)) {
            return;
        }
        x87_set_cc(c, CC_COMPARE, CC_COMPARE);
    } else if (!x87_finish(c, host_com(c->fpu.control, &a, &b, kind), CC_COMPARE)) {
        return;
    }
    while (pops--) {
        st_pop(c);
    }
}

/* Compares ST(0) with ST(i). Returns false when an unmasked exception stops the instruction;
 * *result gets the condition bits. */
static bool compare_st(struct cpu *c, const struct op *o, host_fn fn, unsigned i, unsigned *result)
{
    x87_wait(c, o);
    x87_record(c, o);
    if (st_empty(c, 0) || st_empty(c, i)) {
        *result = CC_COMPARE;
        return x87_stack_fault(c, false);
    }
    struct f80 a = st_get(c, 0), b = st_get(c, i);
    *result = fn(c->fpu.control, &a, &b, OPERAND_F80);
    return x87_finish(c, *result, 0);
}

static void compare_cc(struct cpu *c, const struct op *o, host_fn fn, unsigned i, unsigned pops)
{
    unsigned result;
    if (compare_st(c, o, fn, i, &result)) {
        x87_set_cc(c, CC_COMPARE, result);
        while (pops--) {
            st_pop(c);
        }
    }
}

static void compare_flags(struct cpu *c, const struct op *o, host_fn fn, bool pop)
{
    unsigned result;
    if (compare_st(c, o, fn, o->src & 7, &result)) {
        flags_arith_set(c, (result & FSW_C0 ? RFLAGS_CF : 0) | (result & FSW_C2 ? RFLAGS_PF : 0) |
                               (result & FSW_C3 ? RFLAGS_ZF : 0));
        if (pop) {
            st_pop(c);
        }
    }
}

#define COMPARE_MEM(name, kind, pops)                                                              \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        compare_mem(c, o, kind, pops);                                                             \
        NEXT;                                                                                      \
    }
COMPARE_MEM(fcom_m32, OPERAND_M32, 0)
COMPARE_MEM(fcom_m64, OPERAND_M64, 0)
COMPARE_MEM(fcom_i16, OPERAND_I16, 0)
COMPARE_MEM(fcom_i32, OPERAND_I32, 0)
COMPARE_MEM(fcomp_m32, OPERAND_M32, 1)
COMPARE_MEM(fcomp_m64, OPERAND_M64, 1)
COMPARE_MEM(fcomp_i16, OPERAND_I16, 1)
COMPARE_MEM(fcomp_i32, OPERAND_I32, 1)

#define COMPARE_ST(name, fn, i, pops)                                                              \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        compare_cc(c, o, fn, i, pops);                                                             \
        NEXT;                                                                                      \
    }
COMPARE_ST(fcom_st, host_com, o->src & 7, 0)
COMPARE_ST(fcomp_st, host_com, o->src & 7, 1)
COMPARE_ST(fcompp, host_com, 1, 2)
COMPARE_ST(fucom, host_ucom, o->src & 7, 0)
COMPARE_ST(fucomp, host_ucom, o->src & 7, 1)
COMPARE_ST(fucompp, host_ucom, 1, 2)

#define COMPARE_FLAGS(name, fn, pop)                                                               \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        compare_flags(c, o, fn, pop);                                                              \
        NEXT;                                                                                      \
    }
COMPARE_FLAGS(fcomi, host_com, false)
COMPARE_FLAGS(fcomip, host_com, true)
COMPARE_FLAGS(fucomi, host_ucom, false)
COMPARE_FLAGS(fucomip, host_ucom, true)

/* ---------------------------------------------------------------- one operand */

/* *a = insn(*a), b in ST(1). */
#define HOST_ONE(name, insn)                                                                       \
    static unsigned host_##name(uint16_t cw, struct f80 *a, const struct f80 *b,                   \
                                enum operand kind)                                                 \
    {                                                                                              \
        uint16_t sw;                                                                               \
        RUN_HOST("fldt %[b]\n\tfldt %[a]", insn, "fstpt %[a]", "fninit", sw, cw, [a] "+m"(*a)      \
                 : [b] "m"(*b));                                                                   \
        return sw;                                                                                 \
    }
HOST_ONE(ftst, "ftst")
HOST_ONE(fxam, "fxam")
HOST_ONE(fsqrt, "fsqrt")
HOST_ONE(frndint, "frndint")
HOST_ONE(f2xm1, "f2xm1")
HOST_ONE(fsin, "fsin")
HOST_ONE(fcos, "fcos")
HOST_ONE(fprem, "fprem")
HOST_ONE(fprem1, "fprem1")
HOST_ONE(fscale, "fscale")
HOST_ONE(fyl2x, "fyl2x")
HOST_ONE(fyl2xp1, "fyl2xp1")
HOST_ONE(fpatan, "fpatan")

static void unary(struct cpu *c, const struct op *o, host_fn fn, unsigned cc_mask)
{
    x87_wait(c, o);
    x87_record(c, o);
    x87_set_cc(c, cc_mask, 0);
    if (st_empty(c, 0)) {
        if (x87_stack_fault(c, false)) {
            st_set(c, 0, F80_INDEFINITE);
        }
        return;
    }
    struct f80 a = st_get(c, 0), none = {0, 0};
    if (x87_finish(c, fn(c->fpu.control, &a, &none, OPERAND_F80), cc_mask)) {
        st_set(c, 0, a);
    }
}

static bool is_nan(struct f80 v)
{
    return (v.exponent & 0x7fff) == 0x7fff && v.mantissa << 1 != 0;
}

/* ST(0) = fn(ST(0), ST(1)), or, with pop, ST(1) = fn(...) and pop. The quotient bits of FPREM stay
 * as they are when there is no quotient. */
static void binary(struct cpu *c, const struct op *o, host_fn fn, unsigned cc_mask, bool pop)
{
    x87_wait(c, o);
    x87_record(c, o);
    x87_set_cc(c, cc_mask & FSW_C2, 0);
    if (st_empty(c, 0) || st_empty(c, 1)) {
        if (!x87_stack_fault(c, false)) {
            return;
        }
        st_set(c, pop, F80_INDEFINITE);
    } else {
        struct f80 a = st_get(c, 0), b = st_get(c, 1);
        unsigned sw = fn(c->fpu.control, &a, &b, OPERAND_F80);
        if (!x87_finish(c, sw, (sw & FSW_IE) || is_nan(a) ? 0 : cc_mask)) {
            return;
        }
        st_set(c, pop, a);
    }
    if (pop) {
        st_pop(c);
    }
}

#define UNARY(name, cc_mask)                                                                       \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        unary(c, o, host_##name, cc_mask);                                                         \
        NEXT;                                                                                      \
    }
#define BINARY(name, cc_mask, pop)                                                                 \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        binary(c, o, host_##name, cc_mask, pop);                                                   \
        NEXT;                                                                                      \
    }
UNARY(fsqrt, 0)
UNARY(frndint, 0)
UNARY(f2xm1, 0)
UNARY(fsin, FSW_C2)
UNARY(fcos, FSW_C2)
BINARY(fprem, FSW_CC, false)
BINARY(fprem1, FSW_CC, false)
BINARY(fscale, 0, false)
BINARY(fyl2x, 0, true)
BINARY(fyl2xp1, 0, true)
BINARY(fpatan, 0, true)

OP(op_ftst)
{
    x87_wait(c, o);
    x87_record(c, o);
    if (st_empty(c, 0)) {
        if (x87_stack_fault(c, false)) {
            x87_set_cc(c, CC_COMPARE, CC_COMPARE);
        }
        NEXT;
    }
    struct f80 a = st_get(c, 0), none = {0, 0};
    x87_finish(c, host_ftst(c->fpu.control, &a, &none, OPERAND_F80), CC_COMPARE);
    NEXT;
}

OP(op_fxam)
{
    x87_wait(c, o);
    x87_record(c, o);
    struct f80 a = st_get(c, 0), none = {0, 0};
    if (st_empty(c, 0)) {
        x87_set_cc(c, FSW_CC, FSW_C3 | FSW_C0 | (a.exponent & 0x8000 ? FSW_C1 : 0));
    } else {
        x87_set_cc(c, FSW_CC, host_fxam(c->fpu.control, &a, &none, OPERAND_F80));
    }
    NEXT;
}

/* ---------------------------------------------------------------- two results */

/* *a = the value below, *b = what is pushed. */
#define HOST_TWO(name)                                                                             \
    static unsigned host_##name(uint16_t cw, struct f80 *a, struct f80 *b)                         \
    {                                                                                              \
        uint16_t sw;                                                                               \
        RUN_HOST("fldt %[a]", #name, "fldcw %[host]\n\tfstpt %[b]\n\tfstpt %[a]", "fninit", sw,    \
                 cw, [a] "+m"(*a), [b] "=m"(*b)                                                    \
                 : "m"(host_control));                                                             \
        return sw;                                                                                 \
    }
HOST_TWO(fptan)
HOST_TWO(fsincos)
HOST_TWO(fxtract)

static void push_two(struct cpu *c, const struct op *o,
                     unsigned (*fn)(uint16_t cw, struct f80 *a, struct f80 *b), unsigned cc_mask)
{
    x87_wait(c, o);
    x87_record(c, o);
    x87_set_cc(c, cc_mask, 0);
    bool underflow = st_empty(c, 0);
    if (underflow || !st_empty(c, 7)) {
        if (x87_stack_fault(c, !underflow)) {
            st_set(c, 0, F80_INDEFINITE);
            st_push(c, F80_INDEFINITE);
        }
        return;
    }
    struct f80 a = st_get(c, 0), b;
    unsigned sw = fn(c->fpu.control, &a, &b);
    if (x87_finish(c, sw, cc_mask) && !(sw & cc_mask & FSW_C2)) {
        st_set(c, 0, a);
        st_push(c, b);
    }
}

#define PUSH_TWO(name, cc_mask)                                                                    \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        push_two(c, o, host_##name, cc_mask);                                                      \
        NEXT;                                                                                      \
    }
PUSH_TWO(fptan, FSW_C2)
PUSH_TWO(fsincos, FSW_C2)
PUSH_TWO(fxtract, 0)

/* ---------------------------------------------------------------- loads and constants */

/* Loads run with everything masked: a load that an unmasked invalid operation stops has no other
 * effect; a denormal is loaded whether its exception is masked or not. */
#define HOST_LOAD(name, insn)                                                                      \
    static unsigned host_##name(uint16_t cw, struct f80 *a, const union vec *m)                    \
    {                                                                                              \
        uint16_t sw;                                                                               \
        cw |= FCW_EXC;                                                                             \
        RUN_HOST("", insn, "fstpt %[a]", NO_REST, sw, cw, [a] "=m"(*a) : [m] "m"(*m));             \
        return sw;                                                                                 \
    }
HOST_LOAD(fld_m32, "flds %[m]")
HOST_LOAD(fld_m64, "fldl %[m]")
HOST_LOAD(fild_i16, "filds %[m]")
HOST_LOAD(fild_i32, "fildl %[m]")
HOST_LOAD(fild_i64, "fildll %[m]")
HOST_LOAD(fbld, "fbld %[m]")
HOST_LOAD(fld1, "fld1")
HOST_LOAD(fldl2t, "fldl2t")
HOST_LOAD(fldl2e, "fldl2e")
HOST_LOAD(fldpi, "fldpi")
HOST_LOAD(fldlg2, "fldlg2")
HOST_LOAD(fldln2, "fldln2")
HOST_LOAD(fldz, "fldz")

static void load(struct cpu *c, const struct op *o,
                 unsigned (*fn)(uint16_t cw, struct f80 *a, const union vec *m), unsigned size)
{
    union vec m = {.u64 = {0, 0}};
    struct f80 a;
    x87_wait(c, o);
    if (size) {
        mem_read(c, o, ea(c, o, size, false), &m, size);
    }
    x87_record(c, o);
    if (!st_empty(c, 7)) {
        if (x87_stack_fault(c, true)) {
            st_push(c, F80_INDEFINITE);
        }
    } else {
        unsigned sw = fn(c->fpu.control, &a, &m);
        x87_finish(c, sw, 0);
        if (!(sw & ~c->fpu.control & FSW_IE)) {
            st_push(c, a);
        }
    }
}

#define LOAD(name, size)                                                                           \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        load(c, o, host_##name, size);                                                             \
        NEXT;                                                                                      \
    }
LOAD(fld_m32, 4)
LOAD(fld_m64, 8)
LOAD(fild_i16, 2)
LOAD(fild_i32, 4)
LOAD(fild_i64, 8)
LOAD(fbld, 10)
LOAD(fld1, 0)
LOAD(fldl2t, 0)
LOAD(fldl2e, 0)
LOAD(fldpi, 0)
LOAD(fldlg2, 0)
LOAD(fldln2, 0)
LOAD(fldz, 0)

/* ---------------------------------------------------------------- stores */

#define HOST_STORE(name, insn, truncate)                                                           \
    static unsigned host_##name(uint16_t cw, const struct f80 *a, union vec *m)                    \
    {                                                                                              \
        uint16_t sw;                                                                               \
        cw |= (truncate) ? FCW_RC : 0;                                                             \
        RUN_HOST("fldt %[a]", insn, "", "fninit", sw, cw, [m] "+m"(*m) : [a] "m"(*a));             \
        return sw;                                                                                 \
    }
HOST_STORE(fst_m32, "fsts %[m]", false)
HOST_STORE(fst_m64, "fstl %[m]", false)
HOST_STORE(fist_i16, "fists %[m]", false)
HOST_STORE(fist_i32, "fistl %[m]", false)
HOST_STORE(fist_i64, "fistpll %[m]", false)
HOST_STORE(fisttp_i16, "fists %[m]", true)
HOST_STORE(fisttp_i32, "fistl %[m]", true)
HOST_STORE(fisttp_i64, "fistpll %[m]", true)
HOST_STORE(fbstp, "fbstp %[m]", false)

/* What an empty ST(0) stores while the fault is masked. */
enum indefinite {
    INDEFINITE_M32,
    INDEFINITE_M64,
    INDEFINITE_I16,
    INDEFINITE_I32,
    INDEFINITE_I64,
    INDEFINITE_BCD
};
static const union vec indefinites[] = {
    [INDEFINITE_M32] = {.u32 = {0xffc00000}},
    [INDEFINITE_M64] = {.u64 = {0xfff8000000000000}},
    [INDEFINITE_I16] = {.u16 = {0x8000}},
    [INDEFINITE_I32] = {.u32 = {0x80000000}},
    [INDEFINITE_I64] = {.u64 = {0x8000000000000000}},
    [INDEFINITE_BCD] = {.u64 = {0xc000000000000000, 0xffff}},
};

/* The store happens before the status changes, for it can fault. An unmasked overflow or underflow
 * stops a store to memory as well (SDM vol. 1, 8.5.4 and 8.5.5). */
static void store(struct cpu *c, const struct op *o,
                  unsigned (*fn)(uint16_t cw, const struct f80 *a, union vec *m), unsigned size,
                  enum indefinite indefinite, bool pop)
{
    x87_wait(c, o);
    uint64_t lin = ea(c, o, size, true);
    struct f80 a = st_get(c, 0);
    union vec m = indefinites[indefinite];
    bool empty = st_empty(c, 0);
    unsigned sw = empty ? FSW_IE : fn(c->fpu.control, &a, &m);
    bool stop = sw & ~c->fpu.control & (FSW_EXC & ~FSW_PE);
    if (stop) {
        mem_probe(c, o, lin, size, ACCESS_WRITE);
    } else {
        mem_write(c, o, lin, &m, size);
    }
    x87_record(c, o);
    if (empty) {
        x87_stack_fault(c, false);
    } else {
        x87_finish(c, sw, 0);
    }
    if (!stop && pop) {
        st_pop(c);
    }
}

#define STORE(name, fn, size, indefinite, pop)                                                     \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        store(c, o, host_##fn, size, indefinite, pop);                                             \
        NEXT;                                                                                      \
    }
STORE(fst_m32, fst_m32, 4, INDEFINITE_M32, false)
STORE(fstp_m32, fst_m32, 4, INDEFINITE_M32, true)
STORE(fst_m64, fst_m64, 8, INDEFINITE_M64, false)
STORE(fstp_m64, fst_m64, 8, INDEFINITE_M64, true)
STORE(fist_i16, fist_i16, 2, INDEFINITE_I16, false)
STORE(fistp_i16, fist_i16, 2, INDEFINITE_I16, true)
STORE(fist_i32, fist_i32, 4, INDEFINITE_I32, false)
STORE(fistp_i32, fist_i32, 4, INDEFINITE_I32, true)
STORE(fistp_i64, fist_i64, 8, INDEFINITE_I64, true)
STORE(fisttp_i16, fisttp_i16, 2, INDEFINITE_I16, true)
STORE(fisttp_i32, fisttp_i32, 4, INDEFINITE_I32, true)
STORE(fisttp_i64, fisttp_i64, 8, INDEFINITE_I64, true)
STORE(fbstp, fbstp, 10, INDEFINITE_BCD, true)
