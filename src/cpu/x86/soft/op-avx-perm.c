/*
 * AVX and AVX2: broadcasts, permutations, moves between lanes, shifts by lane, conditional loads
 * and stores, gathers (SDM vol. 2).
 *
 * Of a conditional load or store only the elements whose mask has its top bit set touch memory. A
 * gather clears mask elements as it goes, so that one interrupted by a fault goes on where it was.
 */
#include "cpu/x86/soft/avx-priv.h"

union wide { /* a YMM register by element */
    struct ymm y;
    uint32_t u32[8];
    uint64_t u64[4];
    int32_t s32[8];
    int64_t s64[4];
};

static inline union wide wide_get(const struct cpu *c, unsigned n)
{
    return (union wide){.y = ymm_get(c, n)};
}

static inline void wide_set(struct cpu *c, const struct op *o, unsigned n, const union wide *v)
{
    if (vex_256(o)) {
        ymm_set(c, n, v->y);
    } else {
        ymm_set128(c, n, v->y.lo);
    }
}

/* ---------------------------------------------------------------- broadcast */

static inline void broadcast(struct cpu *c, const struct op *o, vreg v)
{
    if (vex_256(o)) {
        ymm_set(c, o->dst, (struct ymm){v, v});
    } else {
        ymm_set128(c, o->dst, v);
    }
}

OP(op_vbroadcastss) /* VPBROADCASTD */
{
    int32_t v = ((s32x4)vec_src32(c, o))[0];
    broadcast(c, o, (vreg)(s32x4){v, v, v, v});
    NEXT;
}

OP(op_vbroadcastsd) /* VPBROADCASTQ */
{
    int64_t v = vec_src64(c, o)[0];
    broadcast(c, o, (vreg){v, v});
    NEXT;
}

OP(op_vpbroadcastb)
{
    uint8_t v = o->bits & OB_MEM ? mem_ld8(c, o, ea(c, o, 1, false)) : c->xmm[o->src].u8[0];
    int64_t q = (int64_t)(v * 0x0101010101010101u);
    broadcast(c, o, (vreg){q, q});
    NEXT;
}

OP(op_vpbroadcastw)
{
    uint16_t v = o->bits & OB_MEM ? mem_ld16(c, o, ea(c, o, 2, false)) : c->xmm[o->src].u16[0];
    int64_t q = (int64_t)(v * 0x0001000100010001u);
    broadcast(c, o, (vreg){q, q});
    NEXT;
}

OP(op_vbroadcastf128)
{
    vreg v = mem_ld128(c, o, ea(c, o, 16, false));
    ymm_set(c, o->dst, (struct ymm){v, v});
    NEXT;
}

/* ---------------------------------------------------------------- lanes */

OP(op_vinsertf128)
{
    vreg s = vec_src128u(c, o);
    struct ymm d = ymm_get(c, vex_v(o));
    ymm_set(c, o->dst, vex_imm(o) & 1 ? (struct ymm){d.lo, s} : (struct ymm){s, d.hi});
    NEXT;
}

OP(op_vextractf128)
{
    vreg v = vex_imm(o) & 1 ? hi_get(c, o->dst) : xmm_get(c, o->dst);
    if (o->bits & OB_MEM) {
        mem_st128(c, o, ea(c, o, 16, true), v);
    } else {
        ymm_set128(c, o->src, v);
    }
    NEXT;
}

static inline vreg pick_lane(struct ymm a, struct ymm b, unsigned control)
{
    if (control & 8) {
        return (vreg){0, 0};
    }
    switch (control & 3) {
    case 0:
        return a.lo;
    case 1:
        return a.hi;
    case 2:
        return b.lo;
    default:
        return b.hi;
    }
}

OP(op_vperm2f128)
{
    struct ymm b = ymm_src(c, o), a = ymm_get(c, vex_v(o));
    ymm_set(c, o->dst, (struct ymm){pick_lane(a, b, vex_imm(o)), pick_lane(a, b, vex_imm(o) >> 4)});
    NEXT;
}

/* ---------------------------------------------------------------- permutations */

OP(op_vpermd) /* VPERMPS */
{
    union wide s = {.y = ymm_src(c, o)}, index = wide_get(c, vex_v(o)), r;
    for (unsigned i = 0; i < 8; i++) {
        r.u32[i] = s.u32[index.u32[i] & 7];
    }
    ymm_set(c, o->dst, r.y);
    NEXT;
}

OP(op_vpermq) /* VPERMPD */
{
    union wide s = {.y = ymm_src(c, o)}, r;
    for (unsigned i = 0; i < 4; i++) {
        r.u64[i] = s.u64[vex_imm(o) >> 2 * i & 3];
    }
    ymm_set(c, o->dst, r.y);
    NEXT;
}

static inline vreg permute_ps(vreg a, vreg b)
{
    union vec s = vec_of(a), index = vec_of(b), r;
    for (unsigned i = 0; i < 4; i++) {
        r.u32[i] = s.u32[index.u32[i] & 3];
    }
    return vreg_of(r);
}

static inline vreg permute_pd(vreg a, vreg b)
{
    return (vreg){b[0] & 2 ? a[1] : a[0], b[1] & 2 ? a[1] : a[0]};
}

static inline vreg permute_pd_imm(vreg a, unsigned imm)
{
    return (vreg){imm & 1 ? a[1] : a[0], imm & 2 ? a[1] : a[0]};
}

AVX_BINARY(vpermilps, permute_ps)
AVX_BINARY(vpermilpd, permute_pd)
AVX_UNARY_IMM(vpermilps_imm, v_pshufd, imm, imm)
AVX_UNARY_IMM(vpermilpd_imm, permute_pd_imm, imm, imm >> 2)

/* ---------------------------------------------------------------- shifts by lane */

#define SHIFT_LANES(name, field, lanes, width, in_range, out_of_range)                             \
    static inline vreg lanes_##name(vreg a, vreg b)                                                \
    {                                                                                              \
        union vec s = vec_of(a), count = vec_of(b), r;                                             \
        for (unsigned i = 0; i < (lanes); i++) {                                                   \
            __auto_type x = s.field[i];                                                            \
            uint64_t n = (width) == 64 ? count.u64[i % 2] : count.u32[i];                          \
            r.field[i] = n < (width) ? (in_range) : (out_of_range);                                \
        }                                                                                          \
        return vreg_of(r);                                                                         \
    }                                                                                              \
    AVX_BINARY(v##name, lanes_##name)
SHIFT_LANES(psllvd, u32, 4, 32, x << n, 0)
SHIFT_LANES(psllvq, u64, 2, 64, x << n, 0)
SHIFT_LANES(psrlvd, u32, 4, 32, x >> n, 0)
SHIFT_LANES(psrlvq, u64, 2, 64, x >> n, 0)
SHIFT_LANES(psravd, s32, 4, 32, x >> n, x >> 31)

/* ---------------------------------------------------------------- conditional loads and stores */

/* Linear address of an element of `size` bytes at this sum of base, index and displacement. */
static uint64_t element_address(struct cpu *c, const struct op *o, uint64_t a, unsigned size,
                                bool write)
{
    if (likely(!(o->mflags & ~MF_STACK))) {
        return a;
    }
    return (o->mflags & ~MF_STACK) == MF_SEG64 ? a + c->seg[o->seg].base
                                               : ea_slow(c, o, a, size, write);
}

#define MASKED(suffix, bits, field, most)                                                          \
    static void masked_load##bits(struct cpu *c, const struct op *o)                               \
    {                                                                                              \
        unsigned n = vex_256(o) ? (most) : (most) / 2;                                             \
        union wide mask = wide_get(c, vex_v(o)), r = {.u64 = {0}};                                 \
        uint64_t base = ea_offset(c, o);                                                           \
        for (unsigned i = 0; i < n; i++) {                                                         \
            if (mask.field[i] >> (bits - 1)) {                                                     \
                r.field[i] = mem_ld##bits(                                                         \
                    c, o, element_address(c, o, base + i * bits / 8, bits / 8, false));            \
            }                                                                                      \
        }                                                                                          \
        wide_set(c, o, o->dst, &r);                                                                \
    }                                                                                              \
    static void masked_store##bits(struct cpu *c, const struct op *o)                              \
    {                                                                                              \
        unsigned n = vex_256(o) ? (most) : (most) / 2;                                             \
        union wide mask = wide_get(c, vex_v(o)), v = wide_get(c, o->dst);                          \
        uint64_t base = ea_offset(c, o);                                                           \
        for (unsigned i = 0; i < n; i++) {                                                         \
            if (mask.field[i] >> (bits - 1)) {                                                     \
                uint64_t at = element_address(c, o, base + i * bits / 8, bits / 8, true);          \
                mem_probe(c, o, at, bits / 8, ACCESS_WRITE);                                       \
            }                                                                                      \
        }                                                                                          \
        for (unsigned i = 0; i < n; i++) {                                                         \
            if (mask.field[i] >> (bits - 1)) {                                                     \
                uint64_t at = element_address(c, o, base + i * bits / 8, bits / 8, true);          \
                mem_st##bits(c, o, at, v.field[i]);                                                \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    OP(op_vmaskmov##suffix##_load)                                                                 \
    {                                                                                              \
        masked_load##bits(c, o);                                                                   \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(op_vmaskmov##suffix##_store)                                                                \
    {                                                                                              \
        masked_store##bits(c, o);                                                                  \
        NEXT;                                                                                      \
    }
MASKED(ps, 32, u32, 8) /* VPMASKMOVD */
MASKED(pd, 64, u64, 4) /* VPMASKMOVQ */

/* ---------------------------------------------------------------- gather */

static void gather(struct cpu *c, const struct op *o, unsigned index_bytes, unsigned bytes)
{
    unsigned wide = vex_256(o) ? 32 : 16, v = vex_v(o);
    unsigned n = wide / MAX(index_bytes, bytes);
    if (o->dst == o->index || o->dst == v || o->index == v) {
        raise_fault(c, o, EXC_UD);
    }
    union wide index = wide_get(c, o->index), mask = wide_get(c, v), d = wide_get(c, o->dst);
    for (unsigned i = 0; i < n; i++) {
        if (bytes == 4 ? mask.s32[i] < 0 : mask.s64[i] < 0) {
            int64_t k = index_bytes == 4 ? index.s32[i] : index.s64[i];
            uint64_t at = c->r[o->base] + ((uint64_t)k << o->scale) + (int64_t)o->disp;
            uint64_t lin = element_address(c, o, at, bytes, false);
            if (bytes == 4) {
                d.u32[i] = mem_ld32(c, o, lin);
            } else {
                d.u64[i] = mem_ld64(c, o, lin);
            }
            ymm_set(c, o->dst, d.y); /* an element later in the row may fault */
        }
        if (bytes == 4) {
            mask.u32[i] = 0;
        } else {
            mask.u64[i] = 0;
        }
        ymm_set(c, v, mask.y);
    }
    /* What no element was for: zero in the mask, and in the destination past its end. */
    for (unsigned i = n * bytes / 4; i < 8; i++) {
        d.u32[i] = 0;
    }
    ymm_set(c, o->dst, d.y);
    ymm_set(c, v, (struct ymm){{0, 0}, {0, 0}});
}

#define GATHER(name, index_bytes, bytes)                                                           \
    OP(op_##name)                                                                                  \
    {                                                                                              \
        gather(c, o, index_bytes, bytes);                                                          \
        NEXT;                                                                                      \
    }
GATHER(vgatherdps, 4, 4) /* VPGATHERDD */
GATHER(vgatherdpd, 4, 8) /* VPGATHERDQ */
GATHER(vgatherqps, 8, 4) /* VPGATHERQD */
GATHER(vgatherqpd, 8, 8) /* VPGATHERQQ */
