/*
 * AVX and AVX2 on integers: what SSE has, with three operands and in both lanes; broadcasts,
 * permutations and shifts by lane are in op-avx-perm.c (SDM vol. 2).
 */
#include "cpu/x86/soft/avx-priv.h"

/* ---------------------------------------------------------------- lane by lane */

AVX_BINARY(vpunpcklbw, v_punpcklbw)
AVX_BINARY(vpunpcklwd, v_punpcklwd)
AVX_BINARY(vpunpckldq, v_punpckldq)
AVX_BINARY(vpunpcklqdq, v_punpcklqdq)
AVX_BINARY(vpunpckhbw, v_punpckhbw)
AVX_BINARY(vpunpckhwd, v_punpckhwd)
AVX_BINARY(vpunpckhdq, v_punpckhdq)
AVX_BINARY(vpunpckhqdq, v_punpckhqdq)
AVX_BINARY(vpacksswb, v_packsswb)
AVX_BINARY(vpackuswb, v_packuswb)
AVX_BINARY(vpackssdw, v_packssdw)
AVX_BINARY(vpackusdw, v_packusdw)
AVX_BINARY(vpcmpgtb, v_pcmpgtb)
AVX_BINARY(vpcmpgtw, v_pcmpgtw)
AVX_BINARY(vpcmpgtd, v_pcmpgtd)
AVX_BINARY(vpcmpgtq, v_pcmpgtq)
AVX_BINARY(vpcmpeqb, v_pcmpeqb)
AVX_BINARY(vpcmpeqw, v_pcmpeqw)
AVX_BINARY(vpcmpeqd, v_pcmpeqd)
AVX_BINARY(vpcmpeqq, v_pcmpeqq)
AVX_BINARY(vpaddb, v_paddb)
AVX_BINARY(vpaddw, v_paddw)
AVX_BINARY(vpaddd, v_paddd)
AVX_BINARY(vpaddq, v_paddq)
AVX_BINARY(vpsubb, v_psubb)
AVX_BINARY(vpsubw, v_psubw)
AVX_BINARY(vpsubd, v_psubd)
AVX_BINARY(vpsubq, v_psubq)
AVX_BINARY(vpaddsb, v_paddsb)
AVX_BINARY(vpaddsw, v_paddsw)
AVX_BINARY(vpaddusb, v_paddusb)
AVX_BINARY(vpaddusw, v_paddusw)
AVX_BINARY(vpsubsb, v_psubsb)
AVX_BINARY(vpsubsw, v_psubsw)
AVX_BINARY(vpsubusb, v_psubusb)
AVX_BINARY(vpsubusw, v_psubusw)
AVX_BINARY(vpmullw, v_pmullw)
AVX_BINARY(vpmulhw, v_pmulhw)
AVX_BINARY(vpmulhuw, v_pmulhuw)
AVX_BINARY(vpmulhrsw, v_pmulhrsw)
AVX_BINARY(vpmulld, v_pmulld)
AVX_BINARY(vpmuludq, v_pmuludq)
AVX_BINARY(vpmuldq, v_pmuldq)
AVX_BINARY(vpmaddwd, v_pmaddwd)
AVX_BINARY(vpmaddubsw, v_pmaddubsw)
AVX_BINARY(vpsadbw, v_psadbw)
AVX_BINARY(vpavgb, v_pavgb)
AVX_BINARY(vpavgw, v_pavgw)
AVX_BINARY(vpminub, v_pminub)
AVX_BINARY(vpminsb, v_pminsb)
AVX_BINARY(vpminuw, v_pminuw)
AVX_BINARY(vpminsw, v_pminsw)
AVX_BINARY(vpminud, v_pminud)
AVX_BINARY(vpminsd, v_pminsd)
AVX_BINARY(vpmaxub, v_pmaxub)
AVX_BINARY(vpmaxsb, v_pmaxsb)
AVX_BINARY(vpmaxuw, v_pmaxuw)
AVX_BINARY(vpmaxsw, v_pmaxsw)
AVX_BINARY(vpmaxud, v_pmaxud)
AVX_BINARY(vpmaxsd, v_pmaxsd)
AVX_BINARY(vpand, v_pand)
AVX_BINARY(vpandn, v_pandn)
AVX_BINARY(vpor, v_por)
AVX_BINARY(vpxor, v_pxor)
AVX_BINARY(vphaddw, v_phaddw)
AVX_BINARY(vphaddd, v_phaddd)
AVX_BINARY(vphaddsw, v_phaddsw)
AVX_BINARY(vphsubw, v_phsubw)
AVX_BINARY(vphsubd, v_phsubd)
AVX_BINARY(vphsubsw, v_phsubsw)
AVX_BINARY(vpsignb, v_psignb)
AVX_BINARY(vpsignw, v_psignw)
AVX_BINARY(vpsignd, v_psignd)

#define PSHUFB(a, b) pshufb(c, a, b)
AVX_BINARY(vpshufb, PSHUFB)

#define PABSB(b) v_pabsb(b, b)
#define PABSW(b) v_pabsw(b, b)
#define PABSD(b) v_pabsd(b, b)
AVX_UNARY(vpabsb, PABSB)
AVX_UNARY(vpabsw, PABSW)
AVX_UNARY(vpabsd, PABSD)

AVX_UNARY_IMM(vpshufd, v_pshufd, imm, imm)
AVX_UNARY_IMM(vpshuflw, v_pshuflw, imm, imm)
AVX_UNARY_IMM(vpshufhw, v_pshufhw, imm, imm)
AVX_BINARY_IMM(vshufps, v_shufps, imm, imm)
AVX_BINARY_IMM(vshufpd, v_shufpd, imm, imm >> 2)
AVX_BINARY_IMM(vpalignr, v_palignr, imm, imm)
AVX_BINARY_IMM(vpblendw, v_pblendw, imm, imm)
AVX_BINARY_IMM(vblendps, v_blendps, imm, imm >> 4)
AVX_BINARY_IMM(vblendpd, v_blendpd, imm, imm >> 2)
AVX_BINARY_IMM(vmpsadbw, v_mpsadbw, imm, imm >> 3)
/* VPBLENDD */
AVX_BINARY_IMM(vpblendd, v_blendps, imm, imm >> 4)

/* The mask is the register in the immediate. */
#define BLEND_VARIABLE(name)                                                                       \
    OP(op_v##name)                                                                                 \
    {                                                                                              \
        struct ymm b = ymm_src(c, o), a = ymm_v(c, o), m = ymm_get(c, vex_is4(c, o));              \
        vreg lo = v_##name(a.lo, b.lo, m.lo);                                                      \
        if (vex_256(o)) {                                                                          \
            ymm_set(c, o->dst, (struct ymm){lo, v_##name(a.hi, b.hi, m.hi)});                      \
        } else {                                                                                   \
            ymm_set128(c, o->dst, lo);                                                             \
        }                                                                                          \
        NEXT;                                                                                      \
    }
BLEND_VARIABLE(pblendvb)
BLEND_VARIABLE(blendvps)
BLEND_VARIABLE(blendvpd)

OP(op_vphminposuw)
{
    ymm_set128(c, o->dst, v_phminposuw(vec_src128u(c, o)));
    NEXT;
}

/* ---------------------------------------------------------------- shifts by one count */

/* The count is the low quadword of an XMM register or 16 bytes of memory, for both lanes. */
#define SHIFT_HANDLERS(name)                                                                       \
    static inline void shift_all_##name(struct cpu *c, const struct op *o, unsigned dst,           \
                                        unsigned src, uint64_t n)                                  \
    {                                                                                              \
        vreg lo = shift_##name(xmm_get(c, src), n);                                                \
        if (vex_256(o)) {                                                                          \
            ymm_set(c, dst, (struct ymm){lo, shift_##name(hi_get(c, src), n)});                    \
        } else {                                                                                   \
            ymm_set128(c, dst, lo);                                                                \
        }                                                                                          \
    }
#define SHIFT_BOTH(name)                                                                           \
    SHIFT_HANDLERS(name)                                                                           \
    OP(op_v##name)                                                                                 \
    {                                                                                              \
        vreg n = vec_src128u(c, o);                                                                \
        shift_all_##name(c, o, o->dst, vex_v(o), (uint64_t)n[0]);                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(op_v##name##_imm)                                                                           \
    {                                                                                              \
        shift_all_##name(c, o, vex_v(o), o->src, vex_imm(o));                                      \
        NEXT;                                                                                      \
    }
SHIFT_BOTH(psrlw)
SHIFT_BOTH(psrld)
SHIFT_BOTH(psrlq)
SHIFT_BOTH(psllw)
SHIFT_BOTH(pslld)
SHIFT_BOTH(psllq)
SHIFT_BOTH(psraw)
SHIFT_BOTH(psrad)

#define SHIFT_BYTES(name)                                                                          \
    SHIFT_HANDLERS(name)                                                                           \
    OP(op_v##name##_imm)                                                                           \
    {                                                                                              \
        shift_all_##name(c, o, vex_v(o), o->src, vex_imm(o));                                      \
        NEXT;                                                                                      \
    }
SHIFT_BYTES(psrldq)
SHIFT_BYTES(pslldq)

/* ---------------------------------------------------------------- extension */

/* `lanes` elements of the source from element `first` on. */
#define EXTEND(name, from, to, lanes, source_bytes)                                                \
    OP(op_v##name)                                                                                 \
    {                                                                                              \
        unsigned bytes = vex_256(o) ? 2 * (source_bytes) : (source_bytes);                         \
        union vec s = vec_of(xmm_get(c, o->src)), r;                                               \
        if (o->bits & OB_MEM) {                                                                    \
            mem_read(c, o, ea(c, o, bytes, false), &s, bytes);                                     \
        }                                                                                          \
        for (unsigned i = 0; i < (lanes); i++) {                                                   \
            r.to[i] = s.from[i];                                                                   \
        }                                                                                          \
        vreg lo = vreg_of(r);                                                                      \
        if (!vex_256(o)) {                                                                         \
            ymm_set128(c, o->dst, lo);                                                             \
            NEXT;                                                                                  \
        }                                                                                          \
        for (unsigned i = 0; i < (lanes); i++) {                                                   \
            r.to[i] = s.from[(lanes) + i];                                                         \
        }                                                                                          \
        ymm_set(c, o->dst, (struct ymm){lo, vreg_of(r)});                                          \
        NEXT;                                                                                      \
    }
EXTEND(pmovsxbw, s8, s16, 8, 8)
EXTEND(pmovsxbd, s8, s32, 4, 4)
EXTEND(pmovsxbq, s8, s64, 2, 2)
EXTEND(pmovsxwd, s16, s32, 4, 8)
EXTEND(pmovsxwq, s16, s64, 2, 4)
EXTEND(pmovsxdq, s32, s64, 2, 8)
EXTEND(pmovzxbw, u8, u16, 8, 8)
EXTEND(pmovzxbd, u8, u32, 4, 4)
EXTEND(pmovzxbq, u8, u64, 2, 2)
EXTEND(pmovzxwd, u16, u32, 4, 8)
EXTEND(pmovzxwq, u16, u64, 2, 4)
EXTEND(pmovzxdq, u32, u64, 2, 8)

/* ---------------------------------------------------------------- insert, extract, masks, tests */

OP(op_vpinsrb)
{
    uint8_t v = o->bits & OB_MEM ? mem_ld8(c, o, ea(c, o, 1, false)) : (uint8_t)c->r[o->src];
    union vec d = c->xmm[vex_v(o)];
    d.u8[vex_imm(o) & 15] = v;
    ymm_set128(c, o->dst, vreg_of(d));
    NEXT;
}

OP(op_vpinsrw)
{
    uint16_t v = o->bits & OB_MEM ? mem_ld16(c, o, ea(c, o, 2, false)) : (uint16_t)c->r[o->src];
    union vec d = c->xmm[vex_v(o)];
    d.u16[vex_imm(o) & 7] = v;
    ymm_set128(c, o->dst, vreg_of(d));
    NEXT;
}

OP(op_vpinsrd)
{
    uint64_t v = rm_get(c, o, o->osz);
    union vec d = c->xmm[vex_v(o)];
    if (o->osz == 8) {
        d.u64[vex_imm(o) & 1] = v;
    } else {
        d.u32[vex_imm(o) & 3] = (uint32_t)v;
    }
    ymm_set128(c, o->dst, vreg_of(d));
    NEXT;
}

OP(op_vinsertps)
{
    unsigned imm = vex_imm(o);
    uint32_t v =
        o->bits & OB_MEM ? mem_ld32(c, o, ea(c, o, 4, false)) : c->xmm[o->src].u32[imm >> 6];
    union vec d = c->xmm[vex_v(o)];
    d.u32[imm >> 4 & 3] = v;
    for (unsigned i = 0; i < 4; i++) {
        d.u32[i] = imm >> i & 1 ? 0 : d.u32[i];
    }
    ymm_set128(c, o->dst, vreg_of(d));
    NEXT;
}

static inline uint32_t byte_signs(union vec s)
{
    uint32_t r = 0;
    for (unsigned i = 0; i < 16; i++) {
        r |= (uint32_t)(s.u8[i] >> 7) << i;
    }
    return r;
}

OP(op_vpmovmskb)
{
    uint32_t r = byte_signs(c->xmm[o->src]);
    c->r[o->dst] = vex_256(o) ? r | byte_signs(c->ymm_hi[o->src]) << 16 : r;
    NEXT;
}

static inline uint32_t signs32(union vec s)
{
    return s.u32[0] >> 31 | s.u32[1] >> 31 << 1 | s.u32[2] >> 31 << 2 | s.u32[3] >> 31 << 3;
}

static inline uint32_t signs64(union vec s)
{
    return (uint32_t)(s.u64[0] >> 63 | s.u64[1] >> 63 << 1);
}

OP(op_vmovmskps)
{
    uint32_t r = signs32(c->xmm[o->src]);
    c->r[o->dst] = vex_256(o) ? r | signs32(c->ymm_hi[o->src]) << 4 : r;
    NEXT;
}

OP(op_vmovmskpd)
{
    uint32_t r = signs64(c->xmm[o->src]);
    c->r[o->dst] = vex_256(o) ? r | signs64(c->ymm_hi[o->src]) << 2 : r;
    NEXT;
}

/* ZF: no bit of `keep` in both; CF: none in the source alone. */
static inline void test_bits(struct cpu *c, const struct op *o, vreg keep)
{
    struct ymm s = ymm_src(c, o);
    struct ymm d = {xmm_get(c, o->dst), vex_256(o) ? hi_get(c, o->dst) : (vreg){0, 0}};
    vreg both = ((s.lo & d.lo) | (s.hi & d.hi)) & keep;
    vreg rest = ((s.lo & ~d.lo) | (s.hi & ~d.hi)) & keep;
    flags_arith_set(c, ((both[0] | both[1]) == 0 ? RFLAGS_ZF : 0) |
                           ((rest[0] | rest[1]) == 0 ? RFLAGS_CF : 0));
}

OP(op_vptest)
{
    test_bits(c, o, (vreg){-1, -1});
    NEXT;
}

OP(op_vtestps)
{
    test_bits(c, o, (vreg)(u32x4){1u << 31, 1u << 31, 1u << 31, 1u << 31});
    NEXT;
}

OP(op_vtestpd)
{
    test_bits(c, o, (vreg){INT64_MIN, INT64_MIN});
    NEXT;
}
