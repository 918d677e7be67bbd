/*
 * What the integer, control flow and string handlers share: register access by size, and arithmetic
 * with its flags as inline functions per operand size.
 *
 * Flags that the manuals leave undefined are as on AMD processors of family 1Ah, measured: MUL
 * changes only CF and OF, BT only CF; shifts set AF and compute OF for every count; DIV clears SF,
 * ZF and PF.
 */
#ifndef CPU_X86_SOFT_OP_INT_H
#define CPU_X86_SOFT_OP_INT_H

#include "cpu/x86/soft/block.h"
#include "cpu/x86/soft/flags.h"

/* Registers as specialised handlers name them: a byte offset for 8 bits, else a number. */
#define RD8(n)     (((const uint8_t *)c->r)[n])
#define RD16(n)    ((uint16_t)c->r[n])
#define RD32(n)    ((uint32_t)c->r[n])
#define RD64(n)    (c->r[n])

#define WR8(n, v)  (((uint8_t *)c->r)[n] = (v))
#define WR16(n, v) (*(uint16_t *)&c->r[n] = (v))
#define WR32(n, v) (c->r[n] = (uint32_t)(v))
#define WR64(n, v) (c->r[n] = (v))
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "sub-registers are accessed as on a little-endian host"
#endif

#define FOR_SIZES(M)      M(8) M(16) M(32) M(64)
#define FOR_WORD_SIZES(M) M(16) M(32) M(64)

/* Forms of a handler: registers, memory, LOCKed memory. */
#define FORMS_ALL(name, reg, mem)                                                                  \
    const op_fn forms_##name[FORM_COUNT] = {                                                       \
        op_##reg##8, op_##reg##16, op_##reg##32, op_##reg##64,                                     \
        op_##mem##8, op_##mem##16, op_##mem##32, op_##mem##64};
#define FORMS_LOCK(name, reg, mem, lock)                                                           \
    const op_fn forms_##name[FORM_COUNT] = {                                                       \
        op_##reg##8,  op_##reg##16, op_##reg##32, op_##reg##64,  op_##mem##8,   op_##mem##16,      \
        op_##mem##32, op_##mem##64, op_##lock##8, op_##lock##16, op_##lock##32, op_##lock##64};
#define FORMS_WORD(name, reg, mem)                                                                 \
    const op_fn forms_##name[FORM_COUNT] = {NULL, op_##reg##16, op_##reg##32, op_##reg##64,        \
                                            NULL, op_##mem##16, op_##mem##32, op_##mem##64};
#define FORMS_WORD_LOCK(name, reg, mem, lock)                                                      \
    const op_fn forms_##name[FORM_COUNT] = {NULL, op_##reg##16,  op_##reg##32,  op_##reg##64,      \
                                            NULL, op_##mem##16,  op_##mem##32,  op_##mem##64,      \
                                            NULL, op_##lock##16, op_##lock##32, op_##lock##64};
#define FORMS_REG(name, reg)                                                                       \
    const op_fn forms_##name[FORM_COUNT] = {op_##reg##8, op_##reg##16, op_##reg##32, op_##reg##64};
#define FORMS_REG_WORD(name, reg)                                                                  \
    const op_fn forms_##name[FORM_COUNT] = {NULL, op_##reg##16, op_##reg##32, op_##reg##64};

/* Around a LOCKed access that has no host pointer. A fault inside ends the section (run.c). */
static inline void locked_slow_begin(struct cpu *c)
{
    if (c->vcpu) {
        vcpu_exclusive_begin(c->vcpu);
    }
}

static inline void locked_slow_end(struct cpu *c)
{
    if (c->vcpu) {
        vcpu_exclusive_end(c->vcpu);
    }
}

#define DEFINE_ARITH(bits)                                                                         \
    static inline uint##bits##_t flags_result##bits(struct cpu *c, uint##bits##_t r, uint32_t aux) \
    {                                                                                              \
        c->res = (uint64_t)(int64_t)(int##bits##_t)r;                                              \
        c->aux = aux;                                                                              \
        return r;                                                                                  \
    }                                                                                              \
    static inline uint##bits##_t arith_adc_with##bits(struct cpu *c, uint##bits##_t a,             \
                                                      uint##bits##_t b, bool carry)                \
    {                                                                                              \
        uint##bits##_t r = a + b + carry;                                                          \
        return flags_result##bits(c, r, aux_carries##bits((a & b) | ((a | b) & ~r)));              \
    }                                                                                              \
    static inline uint##bits##_t arith_sbb_with##bits(struct cpu *c, uint##bits##_t a,             \
                                                      uint##bits##_t b, bool carry)                \
    {                                                                                              \
        uint##bits##_t r = a - b - carry;                                                          \
        return flags_result##bits(c, r, aux_carries##bits((~a & b) | (~(a ^ b) & r)));             \
    }                                                                                              \
    static inline uint##bits##_t arith_add##bits(struct cpu *c, uint##bits##_t a,                  \
                                                 uint##bits##_t b)                                 \
    {                                                                                              \
        return arith_adc_with##bits(c, a, b, false);                                               \
    }                                                                                              \
    static inline uint##bits##_t arith_sub##bits(struct cpu *c, uint##bits##_t a,                  \
                                                 uint##bits##_t b)                                 \
    {                                                                                              \
        return arith_sbb_with##bits(c, a, b, false);                                               \
    }                                                                                              \
    static inline uint##bits##_t arith_adc##bits(struct cpu *c, uint##bits##_t a,                  \
                                                 uint##bits##_t b)                                 \
    {                                                                                              \
        return arith_adc_with##bits(c, a, b, flag_cf(c));                                          \
    }                                                                                              \
    static inline uint##bits##_t arith_sbb##bits(struct cpu *c, uint##bits##_t a,                  \
                                                 uint##bits##_t b)                                 \
    {                                                                                              \
        return arith_sbb_with##bits(c, a, b, flag_cf(c));                                          \
    }                                                                                              \
    static inline uint##bits##_t arith_and##bits(struct cpu *c, uint##bits##_t a,                  \
                                                 uint##bits##_t b)                                 \
    {                                                                                              \
        return flags_result##bits(c, a & b, 0);                                                    \
    }                                                                                              \
    static inline uint##bits##_t arith_or##bits(struct cpu *c, uint##bits##_t a, uint##bits##_t b) \
    {                                                                                              \
        return flags_result##bits(c, a | b, 0);                                                    \
    }                                                                                              \
    static inline uint##bits##_t arith_xor##bits(struct cpu *c, uint##bits##_t a,                  \
                                                 uint##bits##_t b)                                 \
    {                                                                                              \
        return flags_result##bits(c, a ^ b, 0);                                                    \
    }                                                                                              \
    static inline uint##bits##_t arith_inc##bits(struct cpu *c, uint##bits##_t a)                  \
    {                                                                                              \
        bool cf = flag_cf(c);                                                                      \
        uint##bits##_t r = a + 1;                                                                  \
        bool of = r == (uint##bits##_t)1 << (bits - 1);                                            \
        return flags_result##bits(c, r, aux_cf_of(cf, of) | (r & 15 ? 0 : AUX_AF));                \
    }                                                                                              \
    static inline uint##bits##_t arith_dec##bits(struct cpu *c, uint##bits##_t a)                  \
    {                                                                                              \
        bool cf = flag_cf(c);                                                                      \
        uint##bits##_t r = a - 1;                                                                  \
        bool of = a == (uint##bits##_t)1 << (bits - 1);                                            \
        return flags_result##bits(c, r, aux_cf_of(cf, of) | (a & 15 ? 0 : AUX_AF));                \
    }                                                                                              \
    static inline uint##bits##_t arith_neg##bits(struct cpu *c, uint##bits##_t a)                  \
    {                                                                                              \
        return arith_sub##bits(c, 0, a);                                                           \
    }                                                                                              \
    static inline uint##bits##_t arith_not##bits(struct cpu *c, uint##bits##_t a)                  \
    {                                                                                              \
        return ~a;                                                                                 \
    }
FOR_SIZES(DEFINE_ARITH)

/* ---------------------------------------------------------------- read-modify-write */

/* Applies `r = expr(v)` to memory, plainly. */
#define RMW_AT(bits, address, v, expr)                                                             \
    do {                                                                                           \
        uint64_t lin_ = (address);                                                                 \
        uint##bits##_t *p_ = mem_rmw##bits(c, o, lin_);                                            \
        if (likely(p_ != NULL)) {                                                                  \
            uint##bits##_t v = *(guest##bits *)p_;                                                 \
            *(guest##bits *)p_ = (expr);                                                           \
        } else {                                                                                   \
            uint##bits##_t v = mem_load_slow(c, o, lin_, bits / 8);                                \
            uint##bits##_t r_ = (expr);                                                            \
            mem_store_slow(c, o, lin_, r_, bits / 8);                                              \
        }                                                                                          \
    } while (0)

/* The same in one step for all other processors. The flags of a lost race are computed again. */
#define RMW_LOCKED_AT(bits, address, v, expr)                                                      \
    do {                                                                                           \
        uint64_t lin_ = (address);                                                                 \
        uint##bits##_t *p_ = mem_rmw##bits(c, o, lin_);                                            \
        if (likely(p_ != NULL)) {                                                                  \
            const uint64_t res_ = c->res;                                                          \
            const uint32_t aux_ = c->aux;                                                          \
            uint##bits##_t old_ = __atomic_load_n(p_, __ATOMIC_RELAXED);                           \
            for (;;) {                                                                             \
                uint##bits##_t v = old_;                                                           \
                uint##bits##_t r_ = (expr);                                                        \
                if (likely(compare_exchange##bits(p_, &old_, r_))) {                               \
                    break;                                                                         \
                }                                                                                  \
                c->res = res_;                                                                     \
                c->aux = aux_;                                                                     \
            }                                                                                      \
        } else {                                                                                   \
            locked_slow_begin(c);                                                                  \
            uint##bits##_t v = mem_load_slow(c, o, lin_, bits / 8);                                \
            uint##bits##_t r_ = (expr);                                                            \
            mem_store_slow(c, o, lin_, r_, bits / 8);                                              \
            locked_slow_end(c);                                                                    \
        }                                                                                          \
    } while (0)

#define DEFINE_COMPARE_EXCHANGE(bits)                                                              \
    static inline bool compare_exchange##bits(uint##bits##_t *p, uint##bits##_t *expected,         \
                                              uint##bits##_t value)                                \
    {                                                                                              \
        return __atomic_compare_exchange_n(p, expected, value, false, __ATOMIC_SEQ_CST,            \
                                           __ATOMIC_SEQ_CST);                                      \
    }
FOR_SIZES(DEFINE_COMPARE_EXCHANGE)

#define RMW(bits, v, expr)        RMW_AT(bits, ea(c, o, bits / 8, true), v, expr)
#define RMW_LOCKED(bits, v, expr) RMW_LOCKED_AT(bits, ea(c, o, bits / 8, true), v, expr)

/* ---------------------------------------------------------------- memory handlers */

/* The common memory handlers come in two: `name` is a leaf that handles a TLB hit with plain 64-bit
 * addressing, and goes on by a tail call of `name`_slow for all else. That keeps register saves for
 * calls out of the fast one. */
#define SLOW_TWIN                 static __attribute__((noinline))

static inline uint64_t ea_plain(const struct cpu *c, const struct op *o)
{
    return c->r[o->base] + (c->r[o->index] << o->scale) + (int64_t)o->disp;
}

/* Defines host_ and goes to the slow twin unless [lin, lin + size) hits; how: read or write. */
#define FAST_OR_TWIN(name, lin, how, size)                                                         \
    uint64_t lin_ = (lin);                                                                         \
    uint8_t *host_ = tlb_host_##how(tlb_entry(c, lin_), lin_, size);                               \
    if (unlikely(host_ == NULL)) {                                                                 \
        return name##_slow(c, o);                                                                  \
    }

#define PLAIN_OR_TWIN(name)                                                                        \
    if (unlikely(o->mflags & ~MF_STACK)) {                                                         \
        return name##_slow(c, o);                                                                  \
    }

/* Statements that use the loaded value v. */
#define LOAD_OP(name, bits, v, ...)                                                                \
    SLOW_TWIN OP(name##_slow)                                                                      \
    {                                                                                              \
        uint##bits##_t v = mem_ld##bits(c, o, ea(c, o, bits / 8, false));                          \
        __VA_ARGS__;                                                                               \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(name)                                                                                \
    {                                                                                              \
        PLAIN_OR_TWIN(name)                                                                        \
        FAST_OR_TWIN(name, ea_plain(c, o), read, bits / 8)                                         \
        uint##bits##_t v = *(const guest##bits *)host_;                                            \
        __VA_ARGS__;                                                                               \
        NEXT;                                                                                      \
    }

#define STORE_OP(name, bits, expr)                                                                 \
    SLOW_TWIN OP(name##_slow)                                                                      \
    {                                                                                              \
        mem_st##bits(c, o, ea(c, o, bits / 8, true), expr);                                        \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(name)                                                                                \
    {                                                                                              \
        PLAIN_OR_TWIN(name)                                                                        \
        FAST_OR_TWIN(name, ea_plain(c, o), write, bits / 8)                                        \
        *(guest##bits *)host_ = (expr);                                                            \
        NEXT;                                                                                      \
    }

/* Memory becomes expr, which uses its old value v and may set flags. */
#define RMW_OP(name, bits, v, expr)                                                                \
    SLOW_TWIN OP(name##_slow)                                                                      \
    {                                                                                              \
        RMW(bits, v, expr);                                                                        \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(name)                                                                                \
    {                                                                                              \
        PLAIN_OR_TWIN(name)                                                                        \
        FAST_OR_TWIN(name, ea_plain(c, o), write, bits / 8)                                        \
        guest##bits *p_ = (guest##bits *)host_;                                                    \
        uint##bits##_t v = *p_;                                                                    \
        *p_ = (expr);                                                                              \
        NEXT;                                                                                      \
    }

#endif
