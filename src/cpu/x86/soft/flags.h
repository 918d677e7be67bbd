/*
 * Arithmetic flags, kept lazily: c->res is the last result, sign-extended to 64 bits, and c->aux
 * holds what the result does not tell. Producers store both and compute no flag; consumers test a
 * bit or two.
 *
 *   ZF  res == 0
 *   SF  sign of res, inverted when AUX_SF_DELTA
 *   PF  even parity of the low byte of res xor the byte at AUX_PF_SHIFT
 *   CF  AUX_CF
 *   OF  AUX_CF differs from AUX_CARRY_IN (the carry into the top bit)
 *   AF  AUX_AF
 *
 * The deltas are 0 after arithmetic; POPF and its like need them for combinations that no result
 * has.
 */
#ifndef CPU_X86_SOFT_FLAGS_H
#define CPU_X86_SOFT_FLAGS_H

#include "cpu/x86/soft/soft-priv.h"

#define AUX_CF       (1u << 31)
#define AUX_CARRY_IN (1u << 30)
#define AUX_AF       (1u << 3)
#define AUX_SF_DELTA (1u << 0)
#define AUX_PF_SHIFT 8

static inline bool flag_cf(const struct cpu *c)
{
    return c->aux >> 31;
}

static inline bool flag_of(const struct cpu *c)
{
    return (c->aux + AUX_CARRY_IN) >> 31;
}

static inline bool flag_zf(const struct cpu *c)
{
    return c->res == 0;
}

static inline bool flag_sf(const struct cpu *c)
{
    return (c->res >> 63 ^ c->aux) & 1;
}

static inline bool flag_pf(const struct cpu *c)
{
    return !__builtin_parity((c->res ^ c->aux >> AUX_PF_SHIFT) & 0xff);
}

static inline bool flag_af(const struct cpu *c)
{
    return c->aux >> 3 & 1;
}

/* aux bits for given CF and OF. */
static inline uint32_t aux_cf_of(bool cf, bool of)
{
    return (uint32_t)cf << 31 | (uint32_t)(cf ^ of) << 30;
}

/* Changes CF (and OF) alone. */
static inline void flags_set_cf(struct cpu *c, bool cf)
{
    bool of = flag_of(c);
    c->aux = (c->aux & ~(AUX_CF | AUX_CARRY_IN)) | aux_cf_of(cf, of);
}

static inline void flags_set_cf_of(struct cpu *c, bool cf, bool of)
{
    c->aux = (c->aux & ~(AUX_CF | AUX_CARRY_IN)) | aux_cf_of(cf, of);
}

/* Arithmetic flags of the RFLAGS image. Other bits of `rflags` are ignored. */
static inline uint32_t flags_arith_get(const struct cpu *c)
{
    return (flag_cf(c) ? RFLAGS_CF : 0) | (flag_pf(c) ? RFLAGS_PF : 0) |
           (flag_af(c) ? RFLAGS_AF : 0) | (flag_zf(c) ? RFLAGS_ZF : 0) |
           (flag_sf(c) ? RFLAGS_SF : 0) | (flag_of(c) ? RFLAGS_OF : 0);
}

static inline void flags_arith_set(struct cpu *c, uint64_t rflags)
{
    bool zf = rflags & RFLAGS_ZF, pf = rflags & RFLAGS_PF;
    c->res = !zf; /* parity of 0 is even, of 1 odd */
    c->aux = aux_cf_of(rflags & RFLAGS_CF, rflags & RFLAGS_OF) | (rflags & RFLAGS_AF ? AUX_AF : 0) |
             (rflags & RFLAGS_SF ? AUX_SF_DELTA : 0) | (uint32_t)(zf != pf) << AUX_PF_SHIFT;
}

/* aux of an addition or subtraction from its carry vector (bit i: carry or borrow out of bit i). */
static inline uint32_t aux_carries8(uint8_t v)
{
    return ((uint32_t)v << 24 & (AUX_CF | AUX_CARRY_IN)) | (v & AUX_AF);
}

static inline uint32_t aux_carries16(uint16_t v)
{
    return ((uint32_t)v << 16 & (AUX_CF | AUX_CARRY_IN)) | (v & AUX_AF);
}

static inline uint32_t aux_carries32(uint32_t v)
{
    return v & (AUX_CF | AUX_CARRY_IN | AUX_AF);
}

static inline uint32_t aux_carries64(uint64_t v)
{
    return (v >> 32 & (AUX_CF | AUX_CARRY_IN)) | (v & AUX_AF);
}

/* The condition of Jcc, SETcc, CMOVcc; n is a constant in specialised handlers. */
static inline __attribute__((always_inline)) bool flags_condition(const struct cpu *c, unsigned n)
{
    bool yes;
    switch (n >> 1) {
    case 0:
        yes = flag_of(c);
        break;
    case 1:
        yes = flag_cf(c);
        break;
    case 2:
        yes = flag_zf(c);
        break;
    case 3:
        yes = (int)flag_cf(c) | (int)flag_zf(c);
        break;
    case 4:
        yes = flag_sf(c);
        break;
    case 5:
        yes = flag_pf(c);
        break;
    case 6:
        yes = flag_sf(c) != flag_of(c);
        break;
    default:
        yes = (int)(flag_sf(c) != flag_of(c)) | (int)flag_zf(c);
        break;
    }
    return n & 1 ? !yes : yes;
}

#endif
