/*
 * Integer arithmetic, logic and data movement. Shifts, multiplication, bit and BCD instructions are
 * in op-bit.c.
 *
 * Handlers are named op_<operation>_<forms><bits>: r register, m memory, i immediate, destination
 * first. Memory destinations are read through the write check, and nothing is committed before.
 */
#include "cpu/x86/soft/op-int.h"

/* ---------------------------------------------------------------- two operands */

#define ALU_SIZE(name, bits)                                                                       \
    static OP(op_##name##_rr##bits)                                                                \
    {                                                                                              \
        WR##bits(o->dst, arith_##name##bits(c, RD##bits(o->dst), RD##bits(o->src)));               \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_ri##bits)                                                                \
    {                                                                                              \
        WR##bits(o->dst, arith_##name##bits(c, RD##bits(o->dst), o->imm));                         \
        NEXT;                                                                                      \
    }                                                                                              \
    LOAD_OP(op_##name##_rm##bits, bits, b,                                                         \
            WR##bits(o->dst, arith_##name##bits(c, RD##bits(o->dst), b)))                          \
    RMW_OP(op_##name##_mr##bits, bits, a, arith_##name##bits(c, a, RD##bits(o->src)))              \
    RMW_OP(op_##name##_mi##bits, bits, a, arith_##name##bits(c, a, o->imm))                        \
    static OP(op_##name##_lr##bits)                                                                \
    {                                                                                              \
        RMW_LOCKED(bits, a, arith_##name##bits(c, a, RD##bits(o->src)));                           \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_li##bits)                                                                \
    {                                                                                              \
        RMW_LOCKED(bits, a, arith_##name##bits(c, a, o->imm));                                     \
        NEXT;                                                                                      \
    }

#define ALU(name)                                                                                  \
    ALU_SIZE(name, 8)                                                                              \
    ALU_SIZE(name, 16)                                                                             \
    ALU_SIZE(name, 32)                                                                             \
    ALU_SIZE(name, 64)                                                                             \
    FORMS_LOCK(name##_eg, name##_rr, name##_mr, name##_lr)                                         \
    FORMS_ALL(name##_ge, name##_rr, name##_rm)                                                     \
    FORMS_LOCK(name##_ei, name##_ri, name##_mi, name##_li)

ALU(add)
ALU(or)
ALU(adc)
ALU(sbb)
ALU(and)
ALU(sub)
ALU(xor)

/* CMP and TEST: the result is dropped. */
#define COMPARE_SIZE(name, arith, bits)                                                            \
    static OP(op_##name##_rr##bits)                                                                \
    {                                                                                              \
        arith_##arith##bits(c, RD##bits(o->dst), RD##bits(o->src));                                \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_ri##bits)                                                                \
    {                                                                                              \
        arith_##arith##bits(c, RD##bits(o->dst), o->imm);                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    LOAD_OP(op_##name##_rm##bits, bits, b, arith_##arith##bits(c, RD##bits(o->dst), b))            \
    LOAD_OP(op_##name##_mr##bits, bits, a, arith_##arith##bits(c, a, RD##bits(o->src)))            \
    LOAD_OP(op_##name##_mi##bits, bits, a, arith_##arith##bits(c, a, o->imm))

#define COMPARE(name, arith)                                                                       \
    COMPARE_SIZE(name, arith, 8)                                                                   \
    COMPARE_SIZE(name, arith, 16)                                                                  \
    COMPARE_SIZE(name, arith, 32)                                                                  \
    COMPARE_SIZE(name, arith, 64)                                                                  \
    FORMS_ALL(name##_eg, name##_rr, name##_mr)                                                     \
    FORMS_ALL(name##_ge, name##_rr, name##_rm)                                                     \
    FORMS_ALL(name##_ei, name##_ri, name##_mi)

COMPARE(cmp, sub)
COMPARE(test, and)

/* ---------------------------------------------------------------- one operand */

#define UNARY_SIZE(name, bits)                                                                     \
    static OP(op_##name##_r##bits)                                                                 \
    {                                                                                              \
        WR##bits(o->dst, arith_##name##bits(c, RD##bits(o->dst)));                                 \
        NEXT;                                                                                      \
    }                                                                                              \
    RMW_OP(op_##name##_m##bits, bits, a, arith_##name##bits(c, a))                                 \
    static OP(op_##name##_l##bits)                                                                 \
    {                                                                                              \
        RMW_LOCKED(bits, a, arith_##name##bits(c, a));                                             \
        NEXT;                                                                                      \
    }

#define UNARY(name)                                                                                \
    UNARY_SIZE(name, 8)                                                                            \
    UNARY_SIZE(name, 16)                                                                           \
    UNARY_SIZE(name, 32)                                                                           \
    UNARY_SIZE(name, 64)                                                                           \
    FORMS_LOCK(name##_e, name##_r, name##_m, name##_l)

UNARY(inc)
UNARY(dec)
UNARY(neg)
UNARY(not )

/* ---------------------------------------------------------------- moves */

#define MOV_SIZE(bits)                                                                             \
    static OP(op_mov_rr##bits)                                                                     \
    {                                                                                              \
        WR##bits(o->dst, RD##bits(o->src));                                                        \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_mov_ri##bits)                                                                     \
    {                                                                                              \
        WR##bits(o->dst, o->imm);                                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    LOAD_OP(op_mov_rm##bits, bits, v, WR##bits(o->dst, v))                                         \
    STORE_OP(op_mov_mr##bits, bits, RD##bits(o->src))                                              \
    STORE_OP(op_mov_mi##bits, bits, o->imm)                                                        \
    /* A0..A3: the address is imm */                                                               \
    static OP(op_mov_ao##bits)                                                                     \
    {                                                                                              \
        uint64_t lin = o->mflags ? ea_slow(c, o, o->imm, bits / 8, false) : (uint64_t)o->imm;      \
        WR##bits(RAX, mem_ld##bits(c, o, lin));                                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_mov_oa##bits)                                                                     \
    {                                                                                              \
        uint64_t lin = o->mflags ? ea_slow(c, o, o->imm, bits / 8, true) : (uint64_t)o->imm;       \
        mem_st##bits(c, o, lin, RD##bits(RAX));                                                    \
        NEXT;                                                                                      \
    }
FOR_SIZES(MOV_SIZE)
FORMS_ALL(mov_eg, mov_rr, mov_mr)
FORMS_ALL(mov_ge, mov_rr, mov_rm)
FORMS_ALL(mov_ei, mov_ri, mov_mi)
FORMS_REG(mov_ri, mov_ri)
FORMS_ALL(mov_ao, mov_ao, mov_ao)
FORMS_ALL(mov_oa, mov_oa, mov_oa)

#define EXTEND_SIZE(name, from, type, bits)                                                        \
    static OP(op_##name##_r##bits)                                                                 \
    {                                                                                              \
        WR##bits(o->dst, (type)RD##from(o->src));                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    LOAD_OP(op_##name##_m##bits, from, v, WR##bits(o->dst, (type)v))
#define EXTEND(name, from, type)                                                                   \
    EXTEND_SIZE(name, from, type, 16)                                                              \
    EXTEND_SIZE(name, from, type, 32)                                                              \
    EXTEND_SIZE(name, from, type, 64)                                                              \
    FORMS_WORD(name, name##_r, name##_m)

EXTEND(movzx8, 8, uint8_t)
EXTEND(movzx16, 16, uint16_t)
EXTEND(movsx8, 8, int8_t)
EXTEND(movsx16, 16, int16_t)

/* MOVSXD reads 32 bits (16 with a 16-bit operand size). */
EXTEND_SIZE(movsxd16, 16, uint16_t, 16)
EXTEND_SIZE(movsxd32, 32, uint32_t, 32)
EXTEND_SIZE(movsxd64, 32, int32_t, 64)
const op_fn forms_movsxd[FORM_COUNT] = {
    NULL, op_movsxd16_r16, op_movsxd32_r32, op_movsxd64_r64,
    NULL, op_movsxd16_m16, op_movsxd32_m32, op_movsxd64_m64,
};

static OP(op_lea16)
{
    WR16(o->dst, ea_offset(c, o));
    NEXT;
}

static OP(op_lea32)
{
    WR32(o->dst, ea_offset(c, o));
    NEXT;
}

static OP(op_lea64)
{
    WR64(o->dst, ea_offset(c, o));
    NEXT;
}
const op_fn forms_lea[FORM_COUNT] = {
    [FORM_MEM + 1] = op_lea16,
    [FORM_MEM + 2] = op_lea32,
    [FORM_MEM + 3] = op_lea64,
};

#define CMOV(cc, bits)                                                                             \
    static OP(op_cmov_##cc##_r##bits)                                                              \
    {                                                                                              \
        WR##bits(o->dst, flags_condition(c, 0x##cc) ? RD##bits(o->src) : RD##bits(o->dst));        \
        NEXT;                                                                                      \
    }                                                                                              \
    LOAD_OP(op_cmov_##cc##_m##bits, bits, v,                                                       \
            WR##bits(o->dst, flags_condition(c, 0x##cc) ? v : RD##bits(o->dst)))
#define SETCC(cc)                                                                                  \
    static OP(op_set_##cc##_r)                                                                     \
    {                                                                                              \
        WR8(o->dst, flags_condition(c, 0x##cc));                                                   \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_set_##cc##_m)                                                                     \
    {                                                                                              \
        mem_st8(c, o, ea(c, o, 1, true), flags_condition(c, 0x##cc));                              \
        NEXT;                                                                                      \
    }                                                                                              \
    const op_fn forms_set_##cc[FORM_COUNT] = {                                                     \
        [FORM_REG] = op_set_##cc##_r,                                                              \
        [FORM_MEM] = op_set_##cc##_m,                                                              \
    };
#define CONDITIONAL(cc)                                                                            \
    CMOV(cc, 16)                                                                                   \
    CMOV(cc, 32)                                                                                   \
    CMOV(cc, 64)                                                                                   \
    FORMS_WORD(cmov_##cc, cmov_##cc##_r, cmov_##cc##_m)                                            \
    SETCC(cc)

CONDITIONAL(0)
CONDITIONAL(1)
CONDITIONAL(2)
CONDITIONAL(3)
CONDITIONAL(4)
CONDITIONAL(5)
CONDITIONAL(6)
CONDITIONAL(7)
CONDITIONAL(8)
CONDITIONAL(9)
CONDITIONAL(a)
CONDITIONAL(b)
CONDITIONAL(c)
CONDITIONAL(d)
CONDITIONAL(e)
CONDITIONAL(f)

/* ---------------------------------------------------------------- exchanges */

/* XCHG with memory is always locked. */
#define EXCHANGE_SIZE(bits)                                                                        \
    static OP(op_xchg_r##bits)                                                                     \
    {                                                                                              \
        uint##bits##_t v = RD##bits(o->dst);                                                       \
        WR##bits(o->dst, RD##bits(o->src));                                                        \
        WR##bits(o->src, v);                                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_xchg_m##bits)                                                                     \
    {                                                                                              \
        uint64_t lin = ea(c, o, bits / 8, true);                                                   \
        uint##bits##_t *p = mem_rmw##bits(c, o, lin), v;                                           \
        if (likely(p != NULL)) {                                                                   \
            v = __atomic_exchange_n(p, RD##bits(o->src), __ATOMIC_SEQ_CST);                        \
        } else {                                                                                   \
            locked_slow_begin(c);                                                                  \
            v = mem_load_slow(c, o, lin, bits / 8);                                                \
            mem_store_slow(c, o, lin, RD##bits(o->src), bits / 8);                                 \
            locked_slow_end(c);                                                                    \
        }                                                                                          \
        WR##bits(o->src, v);                                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_xadd_r##bits)                                                                     \
    {                                                                                              \
        uint##bits##_t v = RD##bits(o->dst);                                                       \
        uint##bits##_t sum = arith_add##bits(c, v, RD##bits(o->src));                              \
        WR##bits(o->src, v);                                                                       \
        WR##bits(o->dst, sum);                                                                     \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_xadd_m##bits)                                                                     \
    {                                                                                              \
        uint##bits##_t old;                                                                        \
        RMW(bits, a, (old = a, arith_add##bits(c, a, RD##bits(o->src))));                          \
        WR##bits(o->src, old);                                                                     \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_xadd_l##bits)                                                                     \
    {                                                                                              \
        uint##bits##_t old;                                                                        \
        RMW_LOCKED(bits, a, (old = a, arith_add##bits(c, a, RD##bits(o->src))));                   \
        WR##bits(o->src, old);                                                                     \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_cmpxchg_r##bits)                                                                  \
    {                                                                                              \
        uint##bits##_t a = RD##bits(RAX), v = RD##bits(o->dst);                                    \
        arith_sub##bits(c, a, v);                                                                  \
        if (a == v) {                                                                              \
            WR##bits(o->dst, RD##bits(o->src));                                                    \
        } else {                                                                                   \
            WR##bits(RAX, v);                                                                      \
        }                                                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_cmpxchg_m##bits)                                                                  \
    {                                                                                              \
        uint##bits##_t a = RD##bits(RAX), seen;                                                    \
        RMW(bits, v, (seen = v, a == v ? RD##bits(o->src) : v));                                   \
        arith_sub##bits(c, a, seen);                                                               \
        if (a != seen) {                                                                           \
            WR##bits(RAX, seen);                                                                   \
        }                                                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_cmpxchg_l##bits)                                                                  \
    {                                                                                              \
        uint##bits##_t a = RD##bits(RAX), seen;                                                    \
        RMW_LOCKED(bits, v, (seen = v, a == v ? RD##bits(o->src) : v));                            \
        arith_sub##bits(c, a, seen);                                                               \
        if (a != seen) {                                                                           \
            WR##bits(RAX, seen);                                                                   \
        }                                                                                          \
        NEXT;                                                                                      \
    }
FOR_SIZES(EXCHANGE_SIZE)
FORMS_LOCK(xchg, xchg_r, xchg_m, xchg_m)
FORMS_LOCK(xadd, xadd_r, xadd_m, xadd_l)
FORMS_LOCK(cmpxchg, cmpxchg_r, cmpxchg_m, cmpxchg_l)

static void cmpxchg_zf(struct cpu *c, bool zf)
{
    uint64_t flags = flags_arith_get(c);
    flags_arith_set(c, zf ? flags | RFLAGS_ZF : flags & ~(uint64_t)RFLAGS_ZF);
}

static void cmpxchg8b(struct cpu *c, const struct op *o)
{
    uint64_t lin = ea(c, o, 8, true);
    uint64_t expected = (uint32_t)c->r[RAX] | c->r[RDX] << 32, seen = expected;
    uint64_t fresh = (uint32_t)c->r[RBX] | c->r[RCX] << 32;
    uint64_t *p = mem_rmw64(c, o, lin);
    if (likely(p != NULL)) {
        compare_exchange64(p, &seen, fresh);
    } else {
        locked_slow_begin(c);
        seen = mem_load_slow(c, o, lin, 8);
        mem_store_slow(c, o, lin, seen == expected ? fresh : seen, 8);
        locked_slow_end(c);
    }
    if (seen != expected) {
        c->r[RAX] = (uint32_t)seen;
        c->r[RDX] = seen >> 32;
    }
    cmpxchg_zf(c, seen == expected);
}

/* 16-byte compare and exchange on an aligned host pointer: *expected becomes what was there. */
static void compare_exchange128(void *p, uint64_t expected[2], const uint64_t fresh[2])
{
#if defined(__x86_64__)
    __asm__ volatile("lock cmpxchg16b %0"
                     : "+m"(*(unsigned __int128 *)p), "+a"(expected[0]), "+d"(expected[1])
                     : "b"(fresh[0]), "c"(fresh[1])
                     : "cc", "memory");
#else
    unsigned __int128 e, f;
    memcpy(&e, expected, 16);
    memcpy(&f, fresh, 16);
    __atomic_compare_exchange((unsigned __int128 *)p, &e, &f, false, __ATOMIC_SEQ_CST,
                              __ATOMIC_SEQ_CST);
    memcpy(expected, &e, 16);
#endif
}

static void cmpxchg16b(struct cpu *c, const struct op *o)
{
    uint64_t lin = ea(c, o, 16, true);
    if (lin & 15) {
        raise_error(c, o, EXC_GP, 0);
    }
    uint64_t expected[2] = {c->r[RAX], c->r[RDX]}, seen[2] = {expected[0], expected[1]};
    uint64_t fresh[2] = {c->r[RBX], c->r[RCX]};
    void *p = mem_fast_write(c, lin, 16);
    if (unlikely(!p)) {
        p = mem_rmw_slow(c, o, lin, 16);
    }
    if (likely(p != NULL)) {
        compare_exchange128(p, seen, fresh);
    } else {
        locked_slow_begin(c);
        mem_read_slow(c, o, lin, seen, 16);
        bool same = seen[0] == expected[0] && seen[1] == expected[1];
        mem_write_slow(c, o, lin, same ? fresh : seen, 16);
        locked_slow_end(c);
    }
    bool equal = seen[0] == expected[0] && seen[1] == expected[1];
    if (!equal) {
        c->r[RAX] = seen[0];
        c->r[RDX] = seen[1];
    }
    cmpxchg_zf(c, equal);
}

OP(op_cmpxchg8b)
{
    if (o->osz != 8) {
        cmpxchg8b(c, o);
    } else if (cpu_has(c, F_CX16)) {
        cmpxchg16b(c, o);
    } else {
        raise_fault(c, o, EXC_UD);
    }
    NEXT;
}

static OP(op_bswap16)
{
    /* undefined by the manuals; hardware clears the register's low half */
    WR16(o->dst, 0);
    NEXT;
}

static OP(op_bswap32)
{
    WR32(o->dst, __builtin_bswap32(RD32(o->dst)));
    NEXT;
}

static OP(op_bswap64)
{
    WR64(o->dst, __builtin_bswap64(RD64(o->dst)));
    NEXT;
}
FORMS_REG_WORD(bswap, bswap)

#define MOVBE_SIZE(bits)                                                                           \
    static OP(op_movbe_load##bits)                                                                 \
    {                                                                                              \
        WR##bits(o->dst, __builtin_bswap##bits(mem_ld##bits(c, o, ea(c, o, bits / 8, false))));    \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_movbe_store##bits)                                                                \
    {                                                                                              \
        mem_st##bits(c, o, ea(c, o, bits / 8, true), __builtin_bswap##bits(RD##bits(o->src)));     \
        NEXT;                                                                                      \
    }
FOR_WORD_SIZES(MOVBE_SIZE)
FORMS_WORD(movbe_load, movbe_load, movbe_load)
FORMS_WORD(movbe_store, movbe_store, movbe_store)

/* ---------------------------------------------------------------- sign extension of the
 * accumulator */

static OP(op_cbw16)
{
    WR16(RAX, (int8_t)c->r[RAX]);
    NEXT;
}

static OP(op_cbw32)
{
    WR32(RAX, (int16_t)c->r[RAX]);
    NEXT;
}

static OP(op_cbw64)
{
    WR64(RAX, (int32_t)c->r[RAX]);
    NEXT;
}
FORMS_REG_WORD(cbw, cbw)

static OP(op_cwd16)
{
    WR16(RDX, (int16_t)c->r[RAX] >> 15);
    NEXT;
}

static OP(op_cwd32)
{
    WR32(RDX, (int32_t)c->r[RAX] >> 31);
    NEXT;
}

static OP(op_cwd64)
{
    WR64(RDX, (int64_t)c->r[RAX] >> 63);
    NEXT;
}
FORMS_REG_WORD(cwd, cwd)

/* ---------------------------------------------------------------- flags */

OP(op_lahf)
{
    ((uint8_t *)c->r)[1] = flags_arith_get(c) | RFLAGS_1;
    NEXT;
}

OP(op_sahf)
{
    flags_arith_set(c, ((uint8_t *)c->r)[1] | (flag_of(c) ? RFLAGS_OF : 0));
    NEXT;
}

OP(op_salc)
{
    ((uint8_t *)c->r)[0] = flag_cf(c) ? 0xff : 0;
    NEXT;
}

OP(op_clc)
{
    flags_set_cf(c, false);
    NEXT;
}

OP(op_stc)
{
    flags_set_cf(c, true);
    NEXT;
}

OP(op_cmc)
{
    flags_set_cf(c, !flag_cf(c));
    NEXT;
}

OP(op_cld)
{
    c->sysflags &= ~RFLAGS_DF;
    NEXT;
}

OP(op_std)
{
    c->sysflags |= RFLAGS_DF;
    NEXT;
}
