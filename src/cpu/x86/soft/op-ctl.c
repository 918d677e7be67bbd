/*
 * Near control flow, the stack, and the instructions that do nothing.
 *
 * Handlers of 64-bit operand size run in 64-bit mode only (their table lines have A_F64 or A_D64,
 * and nothing else gives 8 bytes): they take the stack as flat and check targets for being
 * canonical. The 16- and 32-bit ones go through stack_push() and near_target(), which do segments
 * and limits.
 *
 * Intel's behaviour: 66 is ignored on near branches in 64-bit mode.
 */
#include "cpu/x86/soft/op-int.h"

OP(op_nop)
{
    NEXT;
}

OP(op_ud)
{
    raise_fault(c, o, EXC_UD);
}

OP(op_missing)
{
    raise_internal(c, o, "instruction is offered by the CPU model but not implemented");
}

/* ---------------------------------------------------------------- stack */

static inline bool canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* An op that stands for o in stack accesses: SS-relative whatever o's own operand is. */
static struct op stack_op(struct cpu *c, const struct op *o)
{
    return (struct op){
        .ip = o->ip,
        .len = o->len,
        .base = R_ZERO,
        .index = R_ZERO,
        .seg = SEG_SS,
        .mflags = MF_STACK | (is_long64(c)        ? 0
                              : c->key & KEY_SS_B ? MF_SEGCHK | MF_ADDR32
                                                  : MF_SEGCHK | MF_ADDR16),
    };
}

static __attribute__((noinline)) void stack_store_slow(struct cpu *c, const struct op *o,
                                                       uint64_t lin, uint64_t v, unsigned size)
{
    struct op t = stack_op(c, o);
    mem_write_slow(c, &t, lin, &v, size);
}

static __attribute__((noinline)) uint64_t stack_load_slow(struct cpu *c, const struct op *o,
                                                          uint64_t lin, unsigned size)
{
    struct op t = stack_op(c, o);
    uint64_t v = 0;
    mem_read_slow(c, &t, lin, &v, size);
    return v;
}

/* Pushes and pops of 64-bit mode, in the manner of LOAD_OP and STORE_OP. */
#define PUSH64_OP(name, expr)                                                                      \
    SLOW_TWIN OP(name##_slow)                                                                      \
    {                                                                                              \
        uint64_t v = (expr), sp = c->r[RSP] - 8;                                                   \
        stack_store_slow(c, o, sp, v, 8);                                                          \
        c->r[RSP] = sp;                                                                            \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(name)                                                                                \
    {                                                                                              \
        FAST_OR_TWIN(name, c->r[RSP] - 8, write, 8)                                                \
        *(guest64 *)host_ = (expr);                                                                \
        c->r[RSP] = lin_;                                                                          \
        NEXT;                                                                                      \
    }

static uint64_t stack_mask(const struct cpu *c)
{
    return is_long64(c) ? UINT64_MAX : c->key & KEY_SS_B ? UINT32_MAX : UINT16_MAX;
}

/* Apart from its callers: clang makes no sibling calls in a function with a local whose address was
 * taken, in code that it inlined neither. */
static __attribute__((noinline)) uint64_t
stack_linear_segmented(struct cpu *c, const struct op *o, uint64_t sp, unsigned size, bool write)
{
    struct op t = stack_op(c, o);
    return ea_slow(c, &t, sp, size, write);
}

/* Linear address of the stack slot at offset sp (already masked). */
static uint64_t stack_linear(struct cpu *c, const struct op *o, uint64_t sp, unsigned size,
                             bool write)
{
    if (is_long64(c) || (c->key & (KEY_FLAT | KEY_SS_B)) == (KEY_FLAT | KEY_SS_B)) {
        return sp;
    }
    return stack_linear_segmented(c, o, sp, size, write);
}

static void stack_write(struct cpu *c, const struct op *o, uint64_t sp, uint64_t v, unsigned size)
{
    stack_store_slow(c, o, stack_linear(c, o, sp, size, true), v, size);
}

static uint64_t stack_read(struct cpu *c, const struct op *o, uint64_t sp, unsigned size)
{
    return stack_load_slow(c, o, stack_linear(c, o, sp, size, false), size);
}

/* Sets as much of RSP as the stack size says. */
static void stack_set(struct cpu *c, uint64_t sp)
{
    uint64_t mask = stack_mask(c);
    c->r[RSP] = mask == UINT16_MAX ? (c->r[RSP] & ~mask) | (sp & mask) : sp & mask;
}

static void stack_push(struct cpu *c, const struct op *o, uint64_t v, unsigned size)
{
    uint64_t sp = (c->r[RSP] - size) & stack_mask(c);
    stack_write(c, o, sp, v, size);
    stack_set(c, sp);
}

static uint64_t stack_pop(struct cpu *c, const struct op *o, unsigned size)
{
    uint64_t v = stack_read(c, o, c->r[RSP] & stack_mask(c), size);
    stack_set(c, c->r[RSP] + size);
    return v;
}

PUSH64_OP(op_push_r64, c->r[o->dst])
PUSH64_OP(op_push_i64, o->imm)

static OP(op_push_m64)
{
    uint64_t v = mem_ld64(c, o, ea(c, o, 8, false)), sp = c->r[RSP] - 8;
    stack_store_slow(c, o, sp, v, 8);
    c->r[RSP] = sp;
    NEXT;
}

SLOW_TWIN OP(op_pop_r64_slow)
{
    uint64_t sp = c->r[RSP], v = stack_load_slow(c, o, sp, 8);
    c->r[RSP] = sp + 8;
    c->r[o->dst] = v;
    NEXT;
}

static OP(op_pop_r64)
{
    FAST_OR_TWIN(op_pop_r64, c->r[RSP], read, 8)
    uint64_t v = *(const guest64 *)host_;
    c->r[RSP] = lin_ + 8;
    c->r[o->dst] = v;
    NEXT;
}

#define PUSH_POP_SIZE(bits)                                                                        \
    static OP(op_push_r##bits)                                                                     \
    {                                                                                              \
        stack_push(c, o, c->r[o->dst], bits / 8);                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_push_i##bits)                                                                     \
    {                                                                                              \
        stack_push(c, o, o->imm, bits / 8);                                                        \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_push_m##bits)                                                                     \
    {                                                                                              \
        stack_push(c, o, mem_ld##bits(c, o, ea(c, o, bits / 8, false)), bits / 8);                 \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_pop_r##bits)                                                                      \
    {                                                                                              \
        uint##bits##_t v = stack_pop(c, o, bits / 8);                                              \
        WR##bits(o->dst, v);                                                                       \
        NEXT;                                                                                      \
    }
PUSH_POP_SIZE(16)
PUSH_POP_SIZE(32)

/* POP to memory: an RSP base counts as already incremented, but a fault leaves RSP alone. */
static void pop_memory(struct cpu *c, const struct op *o, unsigned size)
{
    uint64_t v = stack_read(c, o, c->r[RSP] & stack_mask(c), size);
    uint64_t sp = c->r[RSP];
    struct op t = *o;
    t.disp += t.base == RSP ? (int)size : 0;
    mem_store_slow(c, &t, ea(c, &t, size, true), v, size);
    stack_set(c, sp + size);
}

#define POP_MEMORY_SIZE(bits)                                                                      \
    static OP(op_pop_m##bits)                                                                      \
    {                                                                                              \
        pop_memory(c, o, bits / 8);                                                                \
        NEXT;                                                                                      \
    }
FOR_WORD_SIZES(POP_MEMORY_SIZE)

FORMS_WORD(push_e, push_r, push_m)
FORMS_WORD(pop_e, pop_r, pop_m)
FORMS_REG_WORD(push_i, push_i)

OP(op_pusha)
{
    /* all or nothing: the lowest slot is written first */
    unsigned size = o->osz;
    for (int i = 7; i >= 0; i--) {
        uint64_t sp = (c->r[RSP] - (i + 1) * size) & stack_mask(c);
        stack_write(c, o, sp, c->r[i], size);
    }
    stack_set(c, c->r[RSP] - 8 * size);
    NEXT;
}

OP(op_popa)
{
    unsigned size = o->osz;
    uint64_t v[8];
    for (unsigned i = 0; i < 8; i++) {
        v[7 - i] = stack_read(c, o, (c->r[RSP] + i * size) & stack_mask(c), size);
    }
    stack_set(c, c->r[RSP] + 8 * size);
    for (unsigned i = 0; i < 8; i++) {
        if (i != RSP) {
            reg_set(c, o, i, size, v[i]);
        }
    }
    NEXT;
}

OP(op_enter_frame)
{
    unsigned size = o->osz, level = o->disp & 31;
    uint64_t mask = stack_mask(c), sp = c->r[RSP], frame = c->r[RBP];
    uint64_t at = (sp - size) & mask;
    stack_write(c, o, at, c->r[RBP], size);
    uint64_t frame_temp = at;
    for (unsigned i = 1; i < level; i++) {
        frame -= size;
        uint64_t v = stack_read(c, o, frame & mask, size);
        at = (at - size) & mask;
        stack_write(c, o, at, v, size);
    }
    if (level) {
        at = (at - size) & mask;
        stack_write(c, o, at, frame_temp, size);
    }
    at = (at - (uint16_t)o->imm) & mask;
    mem_probe(c, o, stack_linear(c, o, at, 1, true), 1, ACCESS_WRITE);
    reg_set(c, o, RBP, size, size == 2 ? frame_temp : (sp & ~mask) | frame_temp);
    stack_set(c, at);
    NEXT;
}

OP(op_leave)
{
    unsigned size = o->osz;
    uint64_t v = stack_read(c, o, c->r[RBP] & stack_mask(c), size);
    stack_set(c, c->r[RBP] + size);
    reg_set(c, o, RBP, size, v);
    NEXT;
}

/* ---------------------------------------------------------------- branches */

/* A near branch's target, checked. Nothing may be committed before. */
static uint64_t near_target(struct cpu *c, const struct op *o, uint64_t target)
{
    if (is_long64(c)) {
        if (!canonical(target)) {
            raise_error(c, o, EXC_GP, 0);
        }
    } else if (!(c->key & KEY_CS_FLAT) && target > c->seg[SEG_CS].limit) {
        raise_error(c, o, EXC_GP, 0);
    }
    return target;
}

op_ret take_direct(struct cpu *c, const struct op *o, uint64_t target)
{
    near_target(c, o, target);
    c->insn_count += o->disp;
    if (c->key & (KEY_LONG64 | KEY_CS_FLAT)) {
        return branch_direct(c, o, target);
    }
    return branch_to(c, o, target);
}

#define TARGET(bits) ((uint##bits##_t)(c->r[R_BLOCK] + o->imm))

#define TAKE(bits)                                                                                 \
    do {                                                                                           \
        if (likely(o->next != NULL)) {                                                             \
            ENTER_BLOCK(o->next, o->disp);                                                         \
        }                                                                                          \
        return take_direct(c, o, TARGET(bits));                                                    \
    } while (0)

#define JCC_SIZE(cc, bits)                                                                         \
    static OP(op_j_##cc##_##bits)                                                                  \
    {                                                                                              \
        if (flags_condition(c, 0x##cc)) {                                                          \
            TAKE(bits);                                                                            \
        }                                                                                          \
        NEXT;                                                                                      \
    }
#define JCC(cc)                                                                                    \
    JCC_SIZE(cc, 16)                                                                               \
    JCC_SIZE(cc, 32)                                                                               \
    JCC_SIZE(cc, 64)                                                                               \
    FORMS_REG_WORD(j_##cc, j_##cc##_)

JCC(0)
JCC(1)
JCC(2)
JCC(3)
JCC(4)
JCC(5)
JCC(6)
JCC(7)
JCC(8)
JCC(9)
JCC(a)
JCC(b)
JCC(c)
JCC(d)
JCC(e)
JCC(f)

/* The count of LOOP and JCXZ, by address size. */
static inline uint64_t loop_mask(const struct op *o)
{
    return o->bits & OB_ASZ16 ? UINT16_MAX : o->bits & OB_ASZ32 ? UINT32_MAX : UINT64_MAX;
}

/* Would the count become zero? */
static inline bool loop_more(struct cpu *c, const struct op *o)
{
    return (c->r[RCX] - 1) & loop_mask(o);
}

static inline void loop_count(struct cpu *c, const struct op *o)
{
    uint64_t mask = loop_mask(o), n = (c->r[RCX] - 1) & mask;
    c->r[RCX] = mask == UINT16_MAX ? (c->r[RCX] & ~mask) | n : n;
}

/* LOOP* count also when they fault on the target: checked before. */
#define LOOP_SIZE(name, also, bits)                                                                \
    static OP(op_##name##bits)                                                                     \
    {                                                                                              \
        bool taken = loop_more(c, o) && (also);                                                    \
        if (taken) {                                                                               \
            near_target(c, o, TARGET(bits));                                                       \
        }                                                                                          \
        loop_count(c, o);                                                                          \
        if (taken) {                                                                               \
            TAKE(bits);                                                                            \
        }                                                                                          \
        NEXT;                                                                                      \
    }
#define LOOP(name, also)                                                                           \
    LOOP_SIZE(name, also, 16)                                                                      \
    LOOP_SIZE(name, also, 32)                                                                      \
    LOOP_SIZE(name, also, 64)                                                                      \
    FORMS_REG_WORD(name, name)
LOOP(loop, true)
LOOP(loope, flag_zf(c))
LOOP(loopne, !flag_zf(c))

#define JCXZ_SIZE(bits)                                                                            \
    static OP(op_jcxz##bits)                                                                       \
    {                                                                                              \
        if (!(c->r[RCX] & loop_mask(o))) {                                                         \
            TAKE(bits);                                                                            \
        }                                                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_jmp_rel##bits)                                                                    \
    {                                                                                              \
        TAKE(bits);                                                                                \
    }
FOR_WORD_SIZES(JCXZ_SIZE)
FORMS_REG_WORD(jcxz, jcxz)
FORMS_REG_WORD(jmp_rel, jmp_rel)

/* Near calls of 64-bit mode: target is checked, then the return address pushed. */
#define CALL64_OP(name, target_expr, go)                                                           \
    SLOW_TWIN OP(name##_slow)                                                                      \
    {                                                                                              \
        uint64_t target = (target_expr), sp = c->r[RSP] - 8;                                       \
        near_target(c, o, target);                                                                 \
        stack_store_slow(c, o, sp, c->r[R_BLOCK] + o->ip + o->len, 8);                             \
        c->r[RSP] = sp;                                                                            \
        go;                                                                                        \
    }                                                                                              \
    static OP(name)                                                                                \
    {                                                                                              \
        FAST_OR_TWIN(name, c->r[RSP] - 8, write, 8)                                                \
        uint64_t target = (target_expr);                                                           \
        if (unlikely(!canonical(target))) {                                                        \
            return name##_slow(c, o);                                                              \
        }                                                                                          \
        *(guest64 *)host_ = c->r[R_BLOCK] + o->ip + o->len;                                        \
        c->r[RSP] = lin_;                                                                          \
        go;                                                                                        \
    }

static inline __attribute__((always_inline)) op_ret call_direct(struct cpu *c, const struct op *o,
                                                                uint64_t target)
{
    if (o->next) {
        ENTER_BLOCK(o->next, 0);
    }
    if ((target ^ c->r[R_BLOCK]) >> GUEST_PAGE_BITS) {
        return jump64(c, target);
    }
    return branch_direct(c, o, target);
}

CALL64_OP(op_call_rel64, c->r[R_BLOCK] + o->imm, return call_direct(c, o, target))
CALL64_OP(op_call_r64, c->r[o->src], return jump64(c, target))

static op_ret call_legacy(struct cpu *c, const struct op *o, uint64_t target, unsigned size)
{
    near_target(c, o, target);
    stack_push(c, o, OP_NEXT_RIP(c, o), size);
    return branch_to(c, o, target);
}

static OP(op_call_rel16)
{
    return call_legacy(c, o, TARGET(16), 2);
}

static OP(op_call_rel32)
{
    return call_legacy(c, o, TARGET(32), 4);
}
FORMS_REG_WORD(call_rel, call_rel)

static OP(op_call_m64)
{
    uint64_t target = mem_ld64(c, o, ea(c, o, 8, false)), sp = c->r[RSP] - 8;
    near_target(c, o, target);
    stack_store_slow(c, o, sp, c->r[R_BLOCK] + o->ip + o->len, 8);
    c->r[RSP] = sp;
    return jump64(c, target);
}

static inline op_ret jmp64(struct cpu *c, const struct op *o, uint64_t target)
{
    if (unlikely(!canonical(target))) {
        raise_error(c, o, EXC_GP, 0);
    }
    return jump64(c, target);
}

static OP(op_jmp_r64)
{
    return jmp64(c, o, c->r[o->src]);
}

static OP(op_jmp_m64)
{
    return jmp64(c, o, mem_ld64(c, o, ea(c, o, 8, false)));
}

#define INDIRECT_SIZE(bits)                                                                        \
    static OP(op_call_r##bits)                                                                     \
    {                                                                                              \
        return call_legacy(c, o, RD##bits(o->src), bits / 8);                                      \
    }                                                                                              \
    static OP(op_call_m##bits)                                                                     \
    {                                                                                              \
        return call_legacy(c, o, mem_ld##bits(c, o, ea(c, o, bits / 8, false)), bits / 8);         \
    }                                                                                              \
    static OP(op_jmp_r##bits)                                                                      \
    {                                                                                              \
        return branch_to(c, o, near_target(c, o, RD##bits(o->src)));                               \
    }                                                                                              \
    static OP(op_jmp_m##bits)                                                                      \
    {                                                                                              \
        uint64_t target = mem_ld##bits(c, o, ea(c, o, bits / 8, false));                           \
        return branch_to(c, o, near_target(c, o, target));                                         \
    }
INDIRECT_SIZE(16)
INDIRECT_SIZE(32)
FORMS_WORD(call_e, call_r, call_m)
FORMS_WORD(jmp_e, jmp_r, jmp_m)

/* RET and RET imm16 (imm is 0 in the former). */
SLOW_TWIN OP(op_ret64_slow)
{
    uint64_t sp = c->r[RSP], target = stack_load_slow(c, o, sp, 8);
    near_target(c, o, target);
    c->r[RSP] = sp + 8 + o->imm;
    return jump64(c, target);
}

static OP(op_ret64)
{
    FAST_OR_TWIN(op_ret64, c->r[RSP], read, 8)
    uint64_t target = *(const guest64 *)host_;
    if (unlikely(!canonical(target))) {
        return op_ret64_slow(c, o);
    }
    c->r[RSP] = lin_ + 8 + o->imm;
    return jump64(c, target);
}

static op_ret ret_legacy(struct cpu *c, const struct op *o, unsigned size)
{
    uint64_t target = stack_read(c, o, c->r[RSP] & stack_mask(c), size);
    near_target(c, o, target);
    stack_set(c, c->r[RSP] + size + o->imm);
    return branch_to(c, o, target);
}

static OP(op_ret16)
{
    return ret_legacy(c, o, 2);
}

static OP(op_ret32)
{
    return ret_legacy(c, o, 4);
}
FORMS_REG_WORD(ret, ret)

/* ---------------------------------------------------------------- the rest */

OP(op_xlat)
{
    uint64_t offset = c->r[RBX] + (uint8_t)c->r[RAX];
    uint64_t lin = o->mflags & ~MF_STACK ? ea_slow(c, o, offset, 1, false) : offset;
    ((uint8_t *)c->r)[0] = mem_ld8(c, o, lin);
    NEXT;
}

OP(op_bound)
{
    unsigned size = o->osz;
    uint64_t lin = ea(c, o, 2 * size, false), mask = size == 2 ? 0xffff : UINT32_MAX;
    int64_t low, high, index;
    uint64_t second = is_long64(c) ? lin + size : (uint32_t)(lin + size);
    if (size == 2) {
        low = (int16_t)mem_ld16(c, o, lin);
        high = (int16_t)mem_ld16(c, o, second);
        index = (int16_t)(c->r[o->dst] & mask);
    } else {
        low = (int32_t)mem_ld32(c, o, lin);
        high = (int32_t)mem_ld32(c, o, second);
        index = (int32_t)(c->r[o->dst] & mask);
    }
    if (index < low || index > high) {
        raise_fault(c, o, EXC_BR);
    }
    NEXT;
}

/* A vCPU that sleeps holds no lock that somebody spins for. */
static bool others_run(const struct vcpu *vcpu)
{
    const struct cpus *cpus = vcpu->cpus;

    for (unsigned i = 0; i < cpus->n; i++) {
        const struct vcpu *other = cpus->vcpu[i];

        if (other != vcpu && !atomic_load_explicit(&other->sleeping, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

OP(op_pause)
{
    if (c->vcpu && c->vcpu->cpus->n > 1) {
        /* The lock's holder may be waiting for this host processor. Where there is none, yielding
         * would only give a busy host's other programs what is ours. */
        if (++c->blocks->pauses % 64 == 0 && others_run(c->vcpu)) {
            vcpu_yield(c->vcpu);
        }
    }
    NEXT;
}
