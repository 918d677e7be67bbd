/*
 * x87 data movement, control and environment (SDM vol. 2; vol. 1, chapter 8). Arithmetic is in
 * op-x87-arith.c; the exception model is described there.
 *
 * FCS and FDS are kept as older processors do; current ones store zero. FOP is the last
 * instruction's.
 */
#include "cpu/x86/soft/x87-priv.h"

static void ferr_signal(struct cpu *c, bool asserted)
{
    const struct cpus_hooks *hooks = c->vcpu ? c->vcpu->cpus->hooks : NULL;

    c->ferr = asserted;
    if (hooks && hooks->ferr) {
        vcpu_lock_machine(c->vcpu);
        hooks->ferr(c->vcpu->cpus->hooks_opaque, asserted);
        vcpu_unlock_machine(c->vcpu);
    }
}

void x87_pending(struct cpu *c, const struct op *o)
{
    if (c->cr0 & CR0_NE) {
        raise_fault(c, o, EXC_MF);
    }
    if (!c->ferr) {
        ferr_signal(c, true);
    }
}

/* After what may have cleared the exceptions. What loads all of the state just forgets FERR#, which
 * then goes up again if it has to. */
static void ferr_update(struct cpu *c)
{
    if (unlikely(c->ferr) && !(c->fpu.status & FSW_ES)) {
        ferr_signal(c, false);
    }
}

bool x87_stack_fault(struct cpu *c, bool overflow)
{
    x87_set_cc(c, FSW_C1, overflow ? FSW_C1 : 0);
    c->fpu.status |= FSW_IE | FSW_SF;
    x87_update_es(c);
    return c->fpu.control & FCW_IM;
}

void x87_record(struct cpu *c, const struct op *o)
{
    c->fpu.opcode = o->imm & 0x7ff;
    c->fpu.ip = OP_RIP(c, o);
    c->fpu.cs = c->seg[SEG_CS].sel;
    if (o->bits & OB_MEM) {
        c->fpu.dp = ea_offset(c, o);
        c->fpu.ds = c->seg[o->seg].sel;
    }
}

/* ---------------------------------------------------------------- register moves */

/* Pushes v; false: the stack is full and the fault unmasked. */
static bool push_checked(struct cpu *c, struct f80 v)
{
    if (!st_empty(c, 7)) {
        if (x87_stack_fault(c, true)) {
            st_push(c, F80_INDEFINITE);
        }
        return false;
    }
    x87_set_cc(c, FSW_C1, 0);
    st_push(c, v);
    return true;
}

OP(op_fld_st)
{
    x87_wait(c, o);
    x87_record(c, o);
    if (st_empty(c, o->src & 7)) {
        if (x87_stack_fault(c, false)) {
            st_push(c, F80_INDEFINITE);
        }
        NEXT;
    }
    push_checked(c, st_get(c, o->src & 7));
    NEXT;
}

static void store_st(struct cpu *c, const struct op *o, bool pop, bool quiet)
{
    x87_wait(c, o);
    x87_record(c, o);
    x87_set_cc(c, FSW_C1, 0);
    if (st_empty(c, 0)) {
        if (!quiet) {
            if (!x87_stack_fault(c, false)) {
                return;
            }
            st_set(c, o->src & 7, F80_INDEFINITE);
        }
    } else {
        st_set(c, o->src & 7, st_get(c, 0));
    }
    if (pop) {
        st_pop(c);
    }
}

OP(op_fst_st)
{
    store_st(c, o, false, false);
    NEXT;
}

OP(op_fstp_st)
{
    store_st(c, o, true, false);
    NEXT;
}

/* D9 D8+i: FSTP that does not look at ST(0)'s tag. */
OP(op_fstp_st_quiet)
{
    store_st(c, o, true, true);
    NEXT;
}

OP(op_fxch)
{
    unsigned i = o->src & 7;
    x87_wait(c, o);
    x87_record(c, o);
    x87_set_cc(c, FSW_C1, 0);
    if (st_empty(c, 0) || st_empty(c, i)) {
        if (!x87_stack_fault(c, false)) {
            NEXT;
        }
        if (st_empty(c, 0)) {
            st_set(c, 0, F80_INDEFINITE);
        }
        if (st_empty(c, i)) {
            st_set(c, i, F80_INDEFINITE);
        }
    }
    struct f80 a = st_get(c, 0), b = st_get(c, i);
    st_set(c, 0, b);
    st_set(c, i, a);
    NEXT;
}

static void move_if(struct cpu *c, const struct op *o, bool condition)
{
    unsigned i = o->src & 7;
    x87_wait(c, o);
    x87_record(c, o);
    if (st_empty(c, 0) || st_empty(c, i)) {
        if (x87_stack_fault(c, false)) {
            st_set(c, 0, F80_INDEFINITE);
        }
    } else if (condition) {
        st_set(c, 0, st_get(c, i));
    }
}

#define FCMOV(name, condition)                                                                     \
    OP(op_fcmov##name)                                                                             \
    {                                                                                              \
        move_if(c, o, condition);                                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(op_fcmovn##name)                                                                            \
    {                                                                                              \
        move_if(c, o, !(condition));                                                               \
        NEXT;                                                                                      \
    }
FCMOV(b, flag_cf(c))
FCMOV(e, flag_zf(c))
FCMOV(be, flag_cf(c) || flag_zf(c))
FCMOV(u, flag_pf(c))

/* FFREE leaves the condition bits undefined; C1 goes as with most others. */
OP(op_ffree)
{
    x87_wait(c, o);
    x87_record(c, o);
    x87_set_cc(c, FSW_C1, 0);
    st_free(c, o->src & 7);
    NEXT;
}

OP(op_ffreep)
{
    x87_wait(c, o);
    x87_record(c, o);
    x87_set_cc(c, FSW_C1, 0);
    st_free(c, o->src & 7);
    st_pop(c);
    NEXT;
}

OP(op_fincstp)
{
    x87_wait(c, o);
    x87_record(c, o);
    x87_set_cc(c, FSW_C1, 0);
    c->fpu.top = (c->fpu.top + 1) & 7;
    NEXT;
}

OP(op_fdecstp)
{
    x87_wait(c, o);
    x87_record(c, o);
    x87_set_cc(c, FSW_C1, 0);
    c->fpu.top = (c->fpu.top - 1) & 7;
    NEXT;
}

static void change_sign(struct cpu *c, const struct op *o, uint16_t and, uint16_t xor)
{
    x87_wait(c, o);
    x87_record(c, o);
    if (st_empty(c, 0)) {
        if (x87_stack_fault(c, false)) {
            st_set(c, 0, F80_INDEFINITE);
        }
        return;
    }
    x87_set_cc(c, FSW_C1, 0);
    c->fpu.st[c->fpu.top].exponent = (c->fpu.st[c->fpu.top].exponent & and) ^ xor;
}

OP(op_fabs)
{
    change_sign(c, o, 0x7fff, 0);
    NEXT;
}

OP(op_fchs)
{
    change_sign(c, o, 0xffff, 0x8000);
    NEXT;
}

OP(op_fnop)
{
    x87_wait(c, o);
    x87_record(c, o);
    NEXT;
}

OP(op_fnop_quiet)
{
    NEXT;
}

OP(op_fwait)
{
    x87_wait(c, o);
    NEXT;
}

/* ---------------------------------------------------------------- 80-bit loads and stores */

OP(op_fld_m80)
{
    x87_wait(c, o);
    uint64_t lin = ea(c, o, 10, false);
    mem_probe(c, o, lin, 10, ACCESS_READ);
    struct f80 v = {mem_ld64(c, o, lin), mem_ld16(c, o, lin + 8)};
    x87_record(c, o);
    push_checked(c, v);
    NEXT;
}

OP(op_fstp_m80)
{
    x87_wait(c, o);
    uint64_t lin = ea(c, o, 10, true);
    bool empty = st_empty(c, 0);
    struct f80 v = empty ? F80_INDEFINITE : st_get(c, 0);
    mem_probe(c, o, lin, 10, ACCESS_WRITE);
    if (!empty || (c->fpu.control & FCW_IM)) {
        mem_st64(c, o, lin, v.mantissa);
        mem_st16(c, o, lin + 8, v.exponent);
    }
    x87_record(c, o);
    if (empty) {
        if (x87_stack_fault(c, false)) {
            st_pop(c);
        }
        NEXT;
    }
    x87_set_cc(c, FSW_C1, 0);
    st_pop(c);
    NEXT;
}

/* ---------------------------------------------------------------- control */

OP(op_fldcw)
{
    x87_wait(c, o);
    x87_set_control(c, mem_ld16(c, o, ea(c, o, 2, false)));
    NEXT;
}

OP(op_fnstcw)
{
    mem_st16(c, o, ea(c, o, 2, true), c->fpu.control);
    NEXT;
}

OP(op_fnstsw_m16)
{
    mem_st16(c, o, ea(c, o, 2, true), x87_status_word(c));
    NEXT;
}

OP(op_fnstsw_ax)
{
    c->r[RAX] = (c->r[RAX] & ~0xffffull) | x87_status_word(c);
    NEXT;
}

OP(op_fnclex)
{
    c->fpu.status &= FSW_CC;
    ferr_update(c);
    NEXT;
}

void x87_init(struct cpu *c)
{
    c->fpu.control = FCW_DEFAULT;
    c->fpu.status = 0;
    c->fpu.top = 0;
    c->fpu.empty = 0xff;
    c->fpu.opcode = c->fpu.cs = c->fpu.ds = 0;
    c->fpu.ip = c->fpu.dp = 0;
    c->ferr = false;
}

OP(op_fninit)
{
    x87_init(c);
    NEXT;
}

/* ---------------------------------------------------------------- environment */

/* The full tag word: 0 valid, 1 zero, 2 special, 3 empty, by physical register. */
static uint16_t tag_word(const struct cpu *c)
{
    uint16_t tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned exponent = c->fpu.st[i].exponent & 0x7fff, tag;
        uint64_t mantissa = c->fpu.st[i].mantissa;
        if (c->fpu.empty >> i & 1) {
            tag = 3;
        } else if (exponent == 0 && mantissa == 0) {
            tag = 1;
        } else {
            tag = exponent == 0 || exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
        }
        tags |= tag << 2 * i;
    }
    return tags;
}

static void set_tag_word(struct cpu *c, uint16_t tags)
{
    c->fpu.empty = 0;
    for (unsigned i = 0; i < 8; i++) {
        c->fpu.empty |= ((tags >> 2 * i & 3) == 3) << i;
    }
}

static bool real_format(const struct cpu *c)
{
    return !(c->key & KEY_PE) || (c->key & KEY_VM86);
}

static unsigned env_words(const struct op *o)
{
    return o->osz == 2 ? 2 : 4;
}

/* The seven fields of the environment in memory order (SDM vol. 1, 8.1.10); the wide format's
 * unused upper halves are stored as ones. */
static void env_fields(const struct cpu *c, const struct op *o, uint32_t f[7])
{
    const struct x87 *x = &c->fpu;
    uint32_t pad = 0xffff0000;
    f[0] = x->control | pad;
    f[1] = x87_status_word(c) | pad;
    f[2] = tag_word(c) | pad;
    if (real_format(c)) {
        uint32_t ip = (uint32_t)x->ip + ((uint32_t)x->cs << 4);
        uint32_t dp = (uint32_t)x->dp + ((uint32_t)x->ds << 4);
        f[3] = (uint16_t)ip | pad;
        f[4] = (ip >> 16 << 12 & (o->osz == 2 ? 0xf000 : 0x0ffff000)) | x->opcode;
        f[5] = (uint16_t)dp | pad;
        f[6] = dp >> 16 << 12 & (o->osz == 2 ? 0xf000 : 0x0ffff000);
    } else {
        f[3] = (uint32_t)x->ip;
        f[4] = x->cs | (uint32_t)x->opcode << 16;
        f[5] = (uint32_t)x->dp;
        f[6] = x->ds | pad;
    }
}

static void env_store(struct cpu *c, const struct op *o, uint64_t lin)
{
    uint32_t f[7];
    env_fields(c, o, f);
    for (unsigned i = 0; i < 7; i++) {
        if (env_words(o) == 2) {
            mem_st16(c, o, lin + 2 * i, (uint16_t)f[i]);
        } else {
            mem_st32(c, o, lin + 4 * i, f[i]);
        }
    }
}

static void env_read(struct cpu *c, const struct op *o, uint64_t lin, uint32_t f[7])
{
    for (unsigned i = 0; i < 7; i++) {
        f[i] = env_words(o) == 2 ? mem_ld16(c, o, lin + 2 * i) : mem_ld32(c, o, lin + 4 * i);
    }
}

static void env_load(struct cpu *c, const struct op *o, const uint32_t f[7])
{
    struct x87 *x = &c->fpu;
    x->control = (f[0] & FCW_VALID) | FCW_FIXED;
    x87_set_status_word(c, (uint16_t)f[1]);
    set_tag_word(c, (uint16_t)f[2]);
    if (real_format(c)) {
        x->opcode = f[4] & 0x7ff;
        x->ip = (f[3] & 0xffff) | (f[4] >> 12 << 16);
        x->dp = (f[5] & 0xffff) | (f[6] >> 12 << 16);
        x->cs = x->ds = 0;
    } else if (env_words(o) == 2) {
        x->ip = f[3];
        x->cs = f[4];
        x->dp = f[5];
        x->ds = f[6];
    } else {
        x->ip = f[3];
        x->cs = (uint16_t)f[4];
        x->opcode = f[4] >> 16 & 0x7ff;
        x->dp = f[5];
        x->ds = (uint16_t)f[6];
    }
}

static void x87_fldenv(struct cpu *c, const struct op *o)
{
    unsigned size = 7 * env_words(o);
    uint32_t f[7];
    x87_wait(c, o);
    uint64_t lin = ea(c, o, size, false);
    mem_probe(c, o, lin, size, ACCESS_READ);
    env_read(c, o, lin, f);
    env_load(c, o, f);
}

OP(op_fldenv)
{
    x87_fldenv(c, o);
    ferr_update(c);
    NEXT;
}

static void x87_fnstenv(struct cpu *c, const struct op *o)
{
    unsigned size = 7 * env_words(o);
    uint64_t lin = ea(c, o, size, true);
    mem_probe(c, o, lin, size, ACCESS_WRITE);
    env_store(c, o, lin);
    c->fpu.control |= FCW_EXC;
    x87_update_es(c);
}

OP(op_fnstenv)
{
    x87_fnstenv(c, o);
    ferr_update(c);
    NEXT;
}

static void x87_fnsave(struct cpu *c, const struct op *o)
{
    unsigned env = 7 * env_words(o);
    uint64_t lin = ea(c, o, env + 80, true);
    mem_probe(c, o, lin, env + 80, ACCESS_WRITE);
    env_store(c, o, lin);
    for (unsigned i = 0; i < 8; i++) {
        struct f80 v = st_get(c, i);
        mem_st64(c, o, lin + env + 10 * i, v.mantissa);
        mem_st16(c, o, lin + env + 10 * i + 8, v.exponent);
    }
    x87_init(c);
}

OP(op_fnsave)
{
    x87_fnsave(c, o);
    ferr_update(c);
    NEXT;
}

static void x87_frstor(struct cpu *c, const struct op *o)
{
    unsigned env = 7 * env_words(o);
    uint32_t f[7];
    struct f80 st[8];
    x87_wait(c, o);
    uint64_t lin = ea(c, o, env + 80, false);
    mem_probe(c, o, lin, env + 80, ACCESS_READ);
    env_read(c, o, lin, f);
    for (unsigned i = 0; i < 8; i++) {
        st[i].mantissa = mem_ld64(c, o, lin + env + 10 * i);
        st[i].exponent = mem_ld16(c, o, lin + env + 10 * i + 8);
    }
    c->fpu.top = f[1] >> 11 & 7;
    for (unsigned i = 0; i < 8; i++) {
        st_set(c, i, st[i]);
    }
    env_load(c, o, f);
}

OP(op_frstor)
{
    x87_frstor(c, o);
    ferr_update(c);
    NEXT;
}
