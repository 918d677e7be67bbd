/*
 * Shifts and rotates, multiplication and division, bit tests and counts, CRC32, BCD.
 */
#include "cpu/x86/soft/op-int.h"

/* ---------------------------------------------------------------- shifts and rotates */

/* Each takes the value and the count as masked by the hardware (0 changes nothing), and sets flags.
 */
#define SHIFT_FUNCTIONS(bits)                                                                      \
    static inline bool top##bits(uint##bits##_t v)                                                 \
    {                                                                                              \
        return v >> (bits - 1);                                                                    \
    }                                                                                              \
    /* OF of right shifts: the two top bits differ */                                              \
    static inline bool top_differ##bits(uint##bits##_t v)                                          \
    {                                                                                              \
        return top##bits(v) != (v >> (bits - 2) & 1);                                              \
    }                                                                                              \
    static inline uint##bits##_t arith_shl##bits(struct cpu *c, uint##bits##_t v, unsigned n)      \
    {                                                                                              \
        if (!n) {                                                                                  \
            return v;                                                                              \
        }                                                                                          \
        uint##bits##_t r = (uint64_t)v << n;                                                       \
        bool cf = bits == 64 ? (uint64_t)v >> (64 - n) & 1 : (uint64_t)v << n >> (bits & 63) & 1;  \
        return flags_result##bits(c, r, aux_cf_of(cf, cf ^ top##bits(r)) | AUX_AF);                \
    }                                                                                              \
    static inline uint##bits##_t arith_shr##bits(struct cpu *c, uint##bits##_t v, unsigned n)      \
    {                                                                                              \
        if (!n) {                                                                                  \
            return v;                                                                              \
        }                                                                                          \
        uint##bits##_t r = (uint64_t)v >> n;                                                       \
        bool cf = (uint64_t)v >> (n - 1) & 1;                                                      \
        return flags_result##bits(c, r, aux_cf_of(cf, top_differ##bits(r)) | AUX_AF);              \
    }                                                                                              \
    static inline uint##bits##_t arith_sar##bits(struct cpu *c, uint##bits##_t v, unsigned n)      \
    {                                                                                              \
        if (!n) {                                                                                  \
            return v;                                                                              \
        }                                                                                          \
        int64_t wide = (int##bits##_t)v;                                                           \
        bool cf = wide >> (n - 1) & 1;                                                             \
        return flags_result##bits(c, wide >> n, aux_cf_of(cf, false) | AUX_AF);                    \
    }                                                                                              \
    static inline uint##bits##_t arith_rol##bits(struct cpu *c, uint##bits##_t v, unsigned n)      \
    {                                                                                              \
        unsigned k = n & (bits - 1);                                                               \
        uint##bits##_t r = k ? (uint##bits##_t)(v << k | v >> (bits - k)) : v;                     \
        if (n) {                                                                                   \
            flags_set_cf_of(c, r & 1, (r & 1) ^ top##bits(r));                                     \
        }                                                                                          \
        return r;                                                                                  \
    }                                                                                              \
    static inline uint##bits##_t arith_ror##bits(struct cpu *c, uint##bits##_t v, unsigned n)      \
    {                                                                                              \
        unsigned k = n & (bits - 1);                                                               \
        uint##bits##_t r = k ? (uint##bits##_t)(v >> k | v << (bits - k)) : v;                     \
        if (n) {                                                                                   \
            flags_set_cf_of(c, top##bits(r), top_differ##bits(r));                                 \
        }                                                                                          \
        return r;                                                                                  \
    }                                                                                              \
    /* through carry: a rotation of bits + 1 bits */                                               \
    static inline uint##bits##_t arith_rcl##bits(struct cpu *c, uint##bits##_t v, unsigned n)      \
    {                                                                                              \
        if (!n) {                                                                                  \
            return v;                                                                              \
        }                                                                                          \
        unsigned k = n % (bits + 1);                                                               \
        unsigned __int128 x = (unsigned __int128)flag_cf(c) << bits | v;                           \
        x = x << k | x >> (bits + 1 - k);                                                          \
        uint##bits##_t r = x;                                                                      \
        bool cf = x >> bits & 1;                                                                   \
        flags_set_cf_of(c, cf, cf ^ top##bits(r));                                                 \
        return r;                                                                                  \
    }                                                                                              \
    static inline uint##bits##_t arith_rcr##bits(struct cpu *c, uint##bits##_t v, unsigned n)      \
    {                                                                                              \
        if (!n) {                                                                                  \
            return v;                                                                              \
        }                                                                                          \
        unsigned k = n % (bits + 1);                                                               \
        unsigned __int128 x = (unsigned __int128)flag_cf(c) << bits | v;                           \
        x = x >> k | x << (bits + 1 - k);                                                          \
        uint##bits##_t r = x;                                                                      \
        flags_set_cf_of(c, x >> bits & 1, top_differ##bits(r));                                    \
        return r;                                                                                  \
    }
FOR_SIZES(SHIFT_FUNCTIONS)

#define COUNT(bits, n) ((n) & (bits == 64 ? 63 : 31))

#define SHIFT_SIZE(name, bits)                                                                     \
    static OP(op_##name##_ri##bits)                                                                \
    {                                                                                              \
        WR##bits(o->dst, arith_##name##bits(c, RD##bits(o->dst), COUNT(bits, o->imm)));            \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_rc##bits)                                                                \
    {                                                                                              \
        WR##bits(o->dst, arith_##name##bits(c, RD##bits(o->dst), COUNT(bits, c->r[RCX])));         \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_mi##bits)                                                                \
    {                                                                                              \
        RMW(bits, v, arith_##name##bits(c, v, COUNT(bits, o->imm)));                               \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_mc##bits)                                                                \
    {                                                                                              \
        RMW(bits, v, arith_##name##bits(c, v, COUNT(bits, c->r[RCX])));                            \
        NEXT;                                                                                      \
    }
#define SHIFT(name)                                                                                \
    SHIFT_SIZE(name, 8)                                                                            \
    SHIFT_SIZE(name, 16)                                                                           \
    SHIFT_SIZE(name, 32)                                                                           \
    SHIFT_SIZE(name, 64)                                                                           \
    FORMS_ALL(name##_ei, name##_ri, name##_mi)                                                     \
    FORMS_ALL(name##_ec, name##_rc, name##_mc)

SHIFT(rol)
SHIFT(ror)
SHIFT(rcl)
SHIFT(rcr)
SHIFT(shl)
SHIFT(shr)
SHIFT(sar)

/* SHLD and SHRD. With 16 bits and counts above 16 the source comes in a second time, and CF is 0.
 */
#define DOUBLE_FUNCTIONS(bits)                                                                     \
    static uint##bits##_t arith_shld##bits(struct cpu *c, uint##bits##_t v, uint##bits##_t in,     \
                                           unsigned n)                                             \
    {                                                                                              \
        if (!n) {                                                                                  \
            return v;                                                                              \
        }                                                                                          \
        unsigned __int128 x = (unsigned __int128)v << bits | in;                                   \
        unsigned width = 2 * bits;                                                                 \
        if (bits == 16) {                                                                          \
            x = x << 16 | in;                                                                      \
            width = 48;                                                                            \
        }                                                                                          \
        uint##bits##_t r = x >> (width - bits - n);                                                \
        bool cf = n <= bits && (x >> (width - n) & 1);                                             \
        bool top = (uint64_t)v << n >> (bits - 1) & 1; /* before the source comes in */            \
        return flags_result##bits(c, r, aux_cf_of(cf, cf ^ top) | AUX_AF);                         \
    }                                                                                              \
    static uint##bits##_t arith_shrd##bits(struct cpu *c, uint##bits##_t v, uint##bits##_t in,     \
                                           unsigned n)                                             \
    {                                                                                              \
        if (!n) {                                                                                  \
            return v;                                                                              \
        }                                                                                          \
        unsigned __int128 x = (unsigned __int128)in << bits | v;                                   \
        if (bits == 16) {                                                                          \
            x |= (unsigned __int128)in << 32;                                                      \
        }                                                                                          \
        uint##bits##_t r = x >> n;                                                                 \
        bool cf = n <= bits && (x >> (n - 1) & 1);                                                 \
        return flags_result##bits(c, r, aux_cf_of(cf, top_differ##bits(r)) | AUX_AF);              \
    }
FOR_WORD_SIZES(DOUBLE_FUNCTIONS)

#define DOUBLE_SIZE(name, bits)                                                                    \
    static OP(op_##name##_ri##bits)                                                                \
    {                                                                                              \
        WR##bits(o->dst,                                                                           \
                 arith_##name##bits(c, RD##bits(o->dst), RD##bits(o->src), COUNT(bits, o->imm)));  \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_rc##bits)                                                                \
    {                                                                                              \
        WR##bits(o->dst, arith_##name##bits(c, RD##bits(o->dst), RD##bits(o->src),                 \
                                            COUNT(bits, c->r[RCX])));                              \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_mi##bits)                                                                \
    {                                                                                              \
        RMW(bits, v, arith_##name##bits(c, v, RD##bits(o->src), COUNT(bits, o->imm)));             \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_mc##bits)                                                                \
    {                                                                                              \
        RMW(bits, v, arith_##name##bits(c, v, RD##bits(o->src), COUNT(bits, c->r[RCX])));          \
        NEXT;                                                                                      \
    }
#define DOUBLE(name)                                                                               \
    DOUBLE_SIZE(name, 16)                                                                          \
    DOUBLE_SIZE(name, 32)                                                                          \
    DOUBLE_SIZE(name, 64)                                                                          \
    FORMS_WORD(name##_ei, name##_ri, name##_mi)                                                    \
    FORMS_WORD(name##_ec, name##_rc, name##_mc)

DOUBLE(shld)
DOUBLE(shrd)

/* ---------------------------------------------------------------- multiplication */

static void mul_flags(struct cpu *c, bool overflow)
{
    flags_set_cf_of(c, overflow, overflow);
}

static inline void arith_mul8(struct cpu *c, uint8_t v)
{
    uint16_t r = (uint8_t)c->r[RAX] * v;
    WR16(RAX, r);
    mul_flags(c, r >> 8);
}

static inline void arith_mul16(struct cpu *c, uint16_t v)
{
    uint32_t r = (uint32_t)(uint16_t)c->r[RAX] * v;
    WR16(RAX, r);
    WR16(RDX, r >> 16);
    mul_flags(c, r >> 16);
}

static inline void arith_mul32(struct cpu *c, uint32_t v)
{
    uint64_t r = (uint64_t)(uint32_t)c->r[RAX] * v;
    WR32(RAX, r);
    WR32(RDX, r >> 32);
    mul_flags(c, r >> 32);
}

static inline void arith_mul64(struct cpu *c, uint64_t v)
{
    unsigned __int128 r = (unsigned __int128)c->r[RAX] * v;
    WR64(RAX, r);
    WR64(RDX, r >> 64);
    mul_flags(c, c->r[RDX]);
}

static inline void arith_imul8(struct cpu *c, uint8_t v)
{
    int16_t r = (int8_t)c->r[RAX] * (int8_t)v;
    WR16(RAX, r);
    mul_flags(c, r != (int8_t)r);
}

static inline void arith_imul16(struct cpu *c, uint16_t v)
{
    int32_t r = (int16_t)c->r[RAX] * (int16_t)v;
    WR16(RAX, r);
    WR16(RDX, r >> 16);
    mul_flags(c, r != (int16_t)r);
}

static inline void arith_imul32(struct cpu *c, uint32_t v)
{
    int64_t r = (int64_t)(int32_t)c->r[RAX] * (int32_t)v;
    WR32(RAX, r);
    WR32(RDX, r >> 32);
    mul_flags(c, r != (int32_t)r);
}

static inline void arith_imul64(struct cpu *c, uint64_t v)
{
    __int128 r = (__int128)(int64_t)c->r[RAX] * (int64_t)v;
    WR64(RAX, r);
    WR64(RDX, r >> 64);
    mul_flags(c, r != (int64_t)r);
}

#define ACCUMULATOR_SIZE(name, bits)                                                               \
    static OP(op_##name##_r##bits)                                                                 \
    {                                                                                              \
        arith_##name##bits(c, RD##bits(o->src));                                                   \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_m##bits)                                                                 \
    {                                                                                              \
        arith_##name##bits(c, mem_ld##bits(c, o, ea(c, o, bits / 8, false)));                      \
        NEXT;                                                                                      \
    }
#define MULTIPLY(bits) ACCUMULATOR_SIZE(mul, bits) ACCUMULATOR_SIZE(imul, bits)
FOR_SIZES(MULTIPLY)
FORMS_ALL(mul, mul_r, mul_m)
FORMS_ALL(imul1, imul_r, imul_m)

/* The product's low half, with CF and OF. */
static inline uint16_t multiply16(struct cpu *c, int16_t a, int16_t b)
{
    int16_t r;
    mul_flags(c, __builtin_mul_overflow(a, b, &r));
    return r;
}

static inline uint32_t multiply32(struct cpu *c, int32_t a, int32_t b)
{
    int32_t r;
    mul_flags(c, __builtin_mul_overflow(a, b, &r));
    return r;
}

static inline uint64_t multiply64(struct cpu *c, int64_t a, int64_t b)
{
    int64_t r;
    mul_flags(c, __builtin_mul_overflow(a, b, &r));
    return r;
}

#define IMUL_SIZE(bits)                                                                            \
    static OP(op_imul2_r##bits)                                                                    \
    {                                                                                              \
        WR##bits(o->dst, multiply##bits(c, RD##bits(o->dst), RD##bits(o->src)));                   \
        NEXT;                                                                                      \
    }                                                                                              \
    LOAD_OP(op_imul2_m##bits, bits, v, WR##bits(o->dst, multiply##bits(c, RD##bits(o->dst), v)))   \
    static OP(op_imul3_r##bits)                                                                    \
    {                                                                                              \
        WR##bits(o->dst, multiply##bits(c, RD##bits(o->src), o->imm));                             \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_imul3_m##bits)                                                                    \
    {                                                                                              \
        uint##bits##_t v = mem_ld##bits(c, o, ea(c, o, bits / 8, false));                          \
        WR##bits(o->dst, multiply##bits(c, v, o->imm));                                            \
        NEXT;                                                                                      \
    }
FOR_WORD_SIZES(IMUL_SIZE)
FORMS_WORD(imul2, imul2_r, imul2_m)
FORMS_WORD(imul3, imul3_r, imul3_m)

/* ---------------------------------------------------------------- division */

static void div_flags(struct cpu *c)
{
    c->res = 1; /* SF, ZF and PF clear */
    c->aux = (c->aux & (AUX_CF | AUX_CARRY_IN)) | AUX_AF;
}

static void arith_div8(struct cpu *c, const struct op *o, uint8_t v)
{
    uint16_t a = c->r[RAX];
    if (!v || a / v > 0xff) {
        raise_fault(c, o, EXC_DE);
    }
    WR16(RAX, a % v << 8 | a / v);
    div_flags(c);
}

static void arith_div16(struct cpu *c, const struct op *o, uint16_t v)
{
    uint32_t a = (uint32_t)c->r[RDX] << 16 | (uint16_t)c->r[RAX];
    if (!v || a / v > 0xffff) {
        raise_fault(c, o, EXC_DE);
    }
    WR16(RAX, a / v);
    WR16(RDX, a % v);
    div_flags(c);
}

static void arith_div32(struct cpu *c, const struct op *o, uint32_t v)
{
    uint64_t a = c->r[RDX] << 32 | (uint32_t)c->r[RAX];
    if (!v || a / v > 0xffffffff) {
        raise_fault(c, o, EXC_DE);
    }
    WR32(RAX, a / v);
    WR32(RDX, a % v);
    div_flags(c);
}

static void arith_div64(struct cpu *c, const struct op *o, uint64_t v)
{
    if (c->r[RDX] >= v) { /* also v == 0 */
        raise_fault(c, o, EXC_DE);
    }
    if (likely(!c->r[RDX])) {
        uint64_t a = c->r[RAX];
        c->r[RAX] = a / v;
        c->r[RDX] = a % v;
    } else {
        unsigned __int128 a = (unsigned __int128)c->r[RDX] << 64 | c->r[RAX];
        c->r[RAX] = a / v;
        c->r[RDX] = a % v;
    }
    div_flags(c);
}

static void arith_idiv8(struct cpu *c, const struct op *o, uint8_t v)
{
    int16_t a = c->r[RAX], d = (int8_t)v;
    if (!d || a / d != (int8_t)(a / d)) {
        raise_fault(c, o, EXC_DE);
    }
    WR16(RAX, (uint16_t)((uint8_t)(a % d) << 8 | (uint8_t)(a / d)));
    div_flags(c);
}

static void arith_idiv16(struct cpu *c, const struct op *o, uint16_t v)
{
    int32_t a = (uint32_t)c->r[RDX] << 16 | (uint16_t)c->r[RAX];
    int64_t d = (int16_t)v;
    if (!d || a / d != (int16_t)(a / d)) {
        raise_fault(c, o, EXC_DE);
    }
    WR16(RAX, a / d);
    WR16(RDX, a % d);
    div_flags(c);
}

static void arith_idiv32(struct cpu *c, const struct op *o, uint32_t v)
{
    int64_t a = c->r[RDX] << 32 | (uint32_t)c->r[RAX], d = (int32_t)v;
    if (!d || (a == INT64_MIN && d == -1) || a / d != (int32_t)(a / d)) {
        raise_fault(c, o, EXC_DE);
    }
    WR32(RAX, a / d);
    WR32(RDX, a % d);
    div_flags(c);
}

static void arith_idiv64(struct cpu *c, const struct op *o, uint64_t v)
{
    unsigned __int128 bits = (unsigned __int128)c->r[RDX] << 64 | c->r[RAX];
    __int128 a = bits, d = (int64_t)v;
    if (!d || (d == -1 && bits == (unsigned __int128)1 << 127) || a / d != (int64_t)(a / d)) {
        raise_fault(c, o, EXC_DE);
    }
    c->r[RAX] = a / d;
    c->r[RDX] = a % d;
    div_flags(c);
}

#define DIVIDE_SIZE(name, bits)                                                                    \
    static OP(op_##name##_r##bits)                                                                 \
    {                                                                                              \
        arith_##name##bits(c, o, RD##bits(o->src));                                                \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_m##bits)                                                                 \
    {                                                                                              \
        arith_##name##bits(c, o, mem_ld##bits(c, o, ea(c, o, bits / 8, false)));                   \
        NEXT;                                                                                      \
    }
#define DIVIDE(bits) DIVIDE_SIZE(div, bits) DIVIDE_SIZE(idiv, bits)
FOR_SIZES(DIVIDE)
FORMS_ALL(div, div_r, div_m)
FORMS_ALL(idiv, idiv_r, idiv_m)

/* ---------------------------------------------------------------- bit tests */

/* Address of the word that holds bit `index` of a bit string: the operand may lie far beyond. */
static inline uint64_t bit_address(struct cpu *c, const struct op *o, int64_t index, unsigned bits,
                                   bool write)
{
    uint64_t a = c->r[o->base] + (c->r[o->index] << o->scale) + (int64_t)o->disp;
    a += (index >> (bits == 16 ? 4 : bits == 32 ? 5 : 6)) * (int64_t)(bits / 8);
    return unlikely(o->mflags & ~MF_STACK) ? ea_slow(c, o, a, bits / 8, write) : a;
}

#define BIT_FUNCTIONS(bits)                                                                        \
    static inline uint##bits##_t bit_of##bits(unsigned n)                                          \
    {                                                                                              \
        return (uint##bits##_t)1 << (n & (bits - 1));                                              \
    }                                                                                              \
    static inline uint##bits##_t bit_bts##bits(struct cpu *c, uint##bits##_t v, unsigned n)        \
    {                                                                                              \
        flags_set_cf(c, v &bit_of##bits(n));                                                       \
        return v | bit_of##bits(n);                                                                \
    }                                                                                              \
    static inline uint##bits##_t bit_btr##bits(struct cpu *c, uint##bits##_t v, unsigned n)        \
    {                                                                                              \
        flags_set_cf(c, v &bit_of##bits(n));                                                       \
        return v & ~bit_of##bits(n);                                                               \
    }                                                                                              \
    static inline uint##bits##_t bit_btc##bits(struct cpu *c, uint##bits##_t v, unsigned n)        \
    {                                                                                              \
        flags_set_cf(c, v &bit_of##bits(n));                                                       \
        return v ^ bit_of##bits(n);                                                                \
    }                                                                                              \
    static OP(op_bt_rr##bits)                                                                      \
    {                                                                                              \
        flags_set_cf(c, RD##bits(o->dst) & bit_of##bits(RD##bits(o->src)));                        \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_bt_ri##bits)                                                                      \
    {                                                                                              \
        flags_set_cf(c, RD##bits(o->dst) & bit_of##bits(o->imm));                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_bt_mr##bits)                                                                      \
    {                                                                                              \
        int##bits##_t n = RD##bits(o->src);                                                        \
        uint##bits##_t v = mem_ld##bits(c, o, bit_address(c, o, n, bits, false));                  \
        flags_set_cf(c, v &bit_of##bits(n));                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_bt_mi##bits)                                                                      \
    {                                                                                              \
        uint##bits##_t v = mem_ld##bits(c, o, ea(c, o, bits / 8, false));                          \
        flags_set_cf(c, v &bit_of##bits(o->imm));                                                  \
        NEXT;                                                                                      \
    }
FOR_WORD_SIZES(BIT_FUNCTIONS)
FORMS_WORD(bt_eg, bt_rr, bt_mr)
FORMS_WORD(bt_ei, bt_ri, bt_mi)

#define BIT_CHANGE_SIZE(name, bits)                                                                \
    static OP(op_##name##_rr##bits)                                                                \
    {                                                                                              \
        WR##bits(o->dst, bit_##name##bits(c, RD##bits(o->dst), RD##bits(o->src)));                 \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_ri##bits)                                                                \
    {                                                                                              \
        WR##bits(o->dst, bit_##name##bits(c, RD##bits(o->dst), o->imm));                           \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_mr##bits)                                                                \
    {                                                                                              \
        int##bits##_t n = RD##bits(o->src);                                                        \
        RMW_AT(bits, bit_address(c, o, n, bits, true), v, bit_##name##bits(c, v, n));              \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_mi##bits)                                                                \
    {                                                                                              \
        RMW(bits, v, bit_##name##bits(c, v, o->imm));                                              \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_lr##bits)                                                                \
    {                                                                                              \
        int##bits##_t n = RD##bits(o->src);                                                        \
        RMW_LOCKED_AT(bits, bit_address(c, o, n, bits, true), v, bit_##name##bits(c, v, n));       \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_li##bits)                                                                \
    {                                                                                              \
        RMW_LOCKED(bits, v, bit_##name##bits(c, v, o->imm));                                       \
        NEXT;                                                                                      \
    }
#define BIT_CHANGE(name)                                                                           \
    BIT_CHANGE_SIZE(name, 16)                                                                      \
    BIT_CHANGE_SIZE(name, 32)                                                                      \
    BIT_CHANGE_SIZE(name, 64)                                                                      \
    FORMS_WORD_LOCK(name##_eg, name##_rr, name##_mr, name##_lr)                                    \
    FORMS_WORD_LOCK(name##_ei, name##_ri, name##_mi, name##_li)

BIT_CHANGE(bts)
BIT_CHANGE(btr)
BIT_CHANGE(btc)

/* ---------------------------------------------------------------- bit scans and counts */

/* BSF and BSR of 0 leave the destination alone. */
static inline bool scan_flags(struct cpu *c, uint64_t v, unsigned result)
{
    flags_arith_set(c, v ? (__builtin_parity(result) ? 0 : RFLAGS_PF) : RFLAGS_ZF | RFLAGS_PF);
    return v != 0;
}

/* LZCNT and TZCNT keep OF. */
static inline void count_flags(struct cpu *c, bool source_zero, bool result_zero)
{
    flags_arith_set(c, (flag_of(c) ? RFLAGS_OF : 0) | (source_zero ? RFLAGS_CF : 0) |
                           (result_zero ? RFLAGS_ZF : 0));
}

#define SCAN_FUNCTIONS(bits)                                                                       \
    static inline uint##bits##_t scan_bsf##bits(struct cpu *c, uint##bits##_t old,                 \
                                                uint##bits##_t v)                                  \
    {                                                                                              \
        unsigned n = v ? __builtin_ctzll(v) : 0;                                                   \
        return scan_flags(c, v, n) ? n : old;                                                      \
    }                                                                                              \
    static inline uint##bits##_t scan_bsr##bits(struct cpu *c, uint##bits##_t old,                 \
                                                uint##bits##_t v)                                  \
    {                                                                                              \
        unsigned n = v ? 63 - __builtin_clzll(v) : 0;                                              \
        return scan_flags(c, v, n) ? n : old;                                                      \
    }                                                                                              \
    static inline uint##bits##_t scan_tzcnt##bits(struct cpu *c, uint##bits##_t old,               \
                                                  uint##bits##_t v)                                \
    {                                                                                              \
        unsigned n = v ? __builtin_ctzll(v) : bits;                                                \
        count_flags(c, !v, !n);                                                                    \
        return n;                                                                                  \
    }                                                                                              \
    static inline uint##bits##_t scan_lzcnt##bits(struct cpu *c, uint##bits##_t old,               \
                                                  uint##bits##_t v)                                \
    {                                                                                              \
        unsigned n = v ? __builtin_clzll(v) - (64 - bits) : bits;                                  \
        count_flags(c, !v, !n);                                                                    \
        return n;                                                                                  \
    }                                                                                              \
    static inline uint##bits##_t scan_popcnt##bits(struct cpu *c, uint##bits##_t old,              \
                                                   uint##bits##_t v)                               \
    {                                                                                              \
        flags_arith_set(c, v ? 0 : RFLAGS_ZF);                                                     \
        return __builtin_popcountll(v);                                                            \
    }
FOR_WORD_SIZES(SCAN_FUNCTIONS)

/* keep: a zero source leaves even the upper half of a 32-bit destination alone */
#define SCAN_SIZE(name, bits, keep)                                                                \
    static OP(op_##name##_r##bits)                                                                 \
    {                                                                                              \
        uint##bits##_t v = RD##bits(o->src);                                                       \
        uint##bits##_t r = scan_##name##bits(c, RD##bits(o->dst), v);                              \
        if (!(keep) || v) {                                                                        \
            WR##bits(o->dst, r);                                                                   \
        }                                                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    static OP(op_##name##_m##bits)                                                                 \
    {                                                                                              \
        uint##bits##_t v = mem_ld##bits(c, o, ea(c, o, bits / 8, false));                          \
        uint##bits##_t r = scan_##name##bits(c, RD##bits(o->dst), v);                              \
        if (!(keep) || v) {                                                                        \
            WR##bits(o->dst, r);                                                                   \
        }                                                                                          \
        NEXT;                                                                                      \
    }
#define SCAN(name, keep)                                                                           \
    SCAN_SIZE(name, 16, keep)                                                                      \
    SCAN_SIZE(name, 32, keep)                                                                      \
    SCAN_SIZE(name, 64, keep)                                                                      \
    FORMS_WORD(name, name##_r, name##_m)

SCAN(bsf, true)
SCAN(bsr, true)
SCAN(tzcnt, false)
SCAN(lzcnt, false)
SCAN(popcnt, false)

/* CRC32: polynomial 11EDC6F41h, bit-reflected, four bits at a time. */
static uint32_t crc32c(uint32_t crc, uint64_t data, unsigned bytes)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    for (unsigned i = 0; i < 2 * bytes; i++) {
        crc = crc >> 4 ^ table[(crc ^ data) & 15];
        data >>= 4;
    }
    return crc;
}

OP(op_crc32_8)
{
    uint32_t r = crc32c(c->r[o->dst], rm_get(c, o, 1), 1);
    c->r[o->dst] = r;
    NEXT;
}

OP(op_crc32)
{
    uint32_t r = crc32c(c->r[o->dst], rm_get(c, o, o->osz), o->osz);
    c->r[o->dst] = r;
    NEXT;
}

/* ---------------------------------------------------------------- BCD */

static void decimal_flags(struct cpu *c, uint8_t al, bool cf, bool af)
{
    flags_result8(c, al, aux_cf_of(cf, false) | (af ? AUX_AF : 0));
}

OP(op_daa)
{
    uint8_t al = c->r[RAX];
    bool cf = flag_cf(c) || al > 0x99, af = (al & 15) > 9 || flag_af(c);
    uint8_t r = al + (af ? 6 : 0) + (cf ? 0x60 : 0);
    WR8(0, r);
    decimal_flags(c, r, cf, af);
    NEXT;
}

OP(op_das)
{
    uint8_t al = c->r[RAX];
    bool high = flag_cf(c) || al > 0x99, af = (al & 15) > 9 || flag_af(c);
    bool cf = high || (af && al < 6);
    uint8_t r = al - (af ? 6 : 0) - (high ? 0x60 : 0);
    WR8(0, r);
    decimal_flags(c, r, cf, af);
    NEXT;
}

OP(op_aaa)
{
    uint16_t ax = c->r[RAX];
    bool adjust = (ax & 15) > 9 || flag_af(c);
    ax = (adjust ? ax + 0x106 : ax) & 0xff0f;
    WR16(RAX, ax);
    decimal_flags(c, ax, adjust, adjust);
    NEXT;
}

OP(op_aas)
{
    uint16_t ax = c->r[RAX];
    bool adjust = (ax & 15) > 9 || flag_af(c);
    ax = (adjust ? ax - 0x106 : ax) & 0xff0f;
    WR16(RAX, ax);
    decimal_flags(c, ax, adjust, adjust);
    NEXT;
}

OP(op_aam)
{
    uint8_t al = c->r[RAX], base = o->imm;
    if (!base) {
        raise_fault(c, o, EXC_DE);
    }
    WR16(RAX, al / base << 8 | al % base);
    decimal_flags(c, al % base, false, false);
    NEXT;
}

OP(op_aad)
{
    uint8_t al = c->r[RAX], ah = c->r[RAX] >> 8;
    uint8_t r = al + ah * (uint8_t)o->imm;
    WR16(RAX, r);
    decimal_flags(c, r, false, false);
    NEXT;
}
