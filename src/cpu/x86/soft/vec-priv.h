/*
 * Operands of the vector handlers: XMM and MMX registers, or memory of 4, 8 or 16 bytes.
 *
 * Handlers work on `vreg`, a 16-byte GNU C vector (cast it to the lane type in need), or on union
 * vec where they touch single lanes. A memory operand is read as a whole before anything is
 * committed; legacy SSE 16-byte operands must be aligned unless the instruction says otherwise (SDM
 * vol. 1, 11.3; vol. 2 exception classes 2 and 4).
 */
#ifndef CPU_X86_SOFT_VEC_PRIV_H
#define CPU_X86_SOFT_VEC_PRIV_H

#include "cpu/x86/soft/flags.h"
#include "cpu/x86/soft/insn.h"

typedef int64_t vreg __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));
typedef int8_t s8x16 __attribute__((vector_size(16)));
typedef int16_t s16x8 __attribute__((vector_size(16)));
typedef int32_t s32x4 __attribute__((vector_size(16)));
typedef int64_t s64x2 __attribute__((vector_size(16)));

static inline vreg vreg_of(union vec v)
{
    vreg r;
    memcpy(&r, &v, sizeof(r));
    return r;
}

static inline union vec vec_of(vreg r)
{
    union vec v;
    memcpy(&v, &r, sizeof(v));
    return v;
}

static inline vreg xmm_get(const struct cpu *c, unsigned n)
{
    return *(const vreg *)&c->xmm[n];
}

static inline void xmm_set(struct cpu *c, unsigned n, vreg v)
{
    *(vreg *)&c->xmm[n] = v;
}

vreg mem_ld128_slow(struct cpu *c, const struct op *o, uint64_t lin);
void mem_st128_slow(struct cpu *c, const struct op *o, uint64_t lin, vreg v);

static inline vreg mem_ld128(struct cpu *c, const struct op *o, uint64_t lin)
{
    const uint8_t *p = mem_fast_read(c, lin, 16);
    if (likely(p != NULL)) {
        vreg v;
        memcpy(&v, p, sizeof(v));
        return v;
    }
    return mem_ld128_slow(c, o, lin);
}

static inline void mem_st128(struct cpu *c, const struct op *o, uint64_t lin, vreg v)
{
    uint8_t *p = mem_fast_write(c, lin, 16);
    if (likely(p != NULL)) {
        memcpy(p, &v, sizeof(v));
        return;
    }
    mem_st128_slow(c, o, lin, v);
}

/* Address of an operand that must be 16-byte aligned. */
static inline uint64_t ea_aligned16(struct cpu *c, const struct op *o, bool write)
{
    uint64_t lin = ea(c, o, 16, write);
    if (unlikely(lin & 15)) {
        raise_error(c, o, EXC_GP, 0);
    }
    return lin;
}

/* The rm operand as a source: 16 bytes aligned, 16 bytes, or the low 8 or 4 bytes (the rest zero
 * when it comes from memory, whatever the register holds otherwise). */
static inline vreg vec_src128(struct cpu *c, const struct op *o)
{
    return o->bits & OB_MEM ? mem_ld128(c, o, ea_aligned16(c, o, false)) : xmm_get(c, o->src);
}

static inline vreg vec_src128u(struct cpu *c, const struct op *o)
{
    return o->bits & OB_MEM ? mem_ld128(c, o, ea(c, o, 16, false)) : xmm_get(c, o->src);
}

static inline vreg vec_src64(struct cpu *c, const struct op *o)
{
    if (o->bits & OB_MEM) {
        return (vreg){(int64_t)mem_ld64(c, o, ea(c, o, 8, false)), 0};
    }
    return xmm_get(c, o->src);
}

static inline vreg vec_src32(struct cpu *c, const struct op *o)
{
    if (o->bits & OB_MEM) {
        return (vreg){mem_ld32(c, o, ea(c, o, 4, false)), 0};
    }
    return xmm_get(c, o->src);
}

/* Low lane of b, other lanes of a. */
static inline vreg vec_merge64(vreg a, vreg b)
{
    return (vreg){b[0], a[1]};
}

static inline vreg vec_merge32(vreg a, vreg b)
{
    u32x4 r = (u32x4)a;
    r[0] = ((u32x4)b)[0];
    return (vreg)r;
}

/* Operands of odd sizes. */
static inline void mem_read(struct cpu *c, const struct op *o, uint64_t lin, void *buf,
                            unsigned size)
{
    const uint8_t *p = mem_fast_read(c, lin, size);
    if (likely(p != NULL)) {
        memcpy(buf, p, size);
    } else {
        mem_read_slow(c, o, lin, buf, size);
    }
}

static inline void mem_write(struct cpu *c, const struct op *o, uint64_t lin, const void *buf,
                             unsigned size)
{
    uint8_t *p = mem_fast_write(c, lin, size);
    if (likely(p != NULL)) {
        memcpy(p, buf, size);
    } else {
        mem_write_slow(c, o, lin, buf, size);
    }
}

/* ---------------------------------------------------------------- MMX and the x87 unit under it */

#define FSW_IE  0x0001u
#define FSW_DE  0x0002u
#define FSW_ZE  0x0004u
#define FSW_OE  0x0008u
#define FSW_UE  0x0010u
#define FSW_PE  0x0020u
#define FSW_SF  0x0040u
#define FSW_ES  0x0080u
#define FSW_C0  0x0100u
#define FSW_C1  0x0200u
#define FSW_C2  0x0400u
#define FSW_C3  0x4000u
#define FSW_B   0x8000u
#define FSW_CC  (FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3)
#define FSW_EXC 0x003fu

/* An unmasked exception is pending at a waiting instruction: #MF, or FERR# with CR0.NE clear. */
void x87_pending(struct cpu *c, const struct op *o);

/* A waiting x87 or MMX instruction. */
static inline void x87_wait(struct cpu *c, const struct op *o)
{
    if (unlikely(c->fpu.status & FSW_ES)) {
        x87_pending(c, o);
    }
}

/* Every MMX instruction but EMMS: TOP becomes 0, all registers valid (SDM vol. 1, 9.5.1). */
static inline void mmx_enter(struct cpu *c)
{
    c->fpu.top = 0;
    c->fpu.empty = 0;
}

static inline uint64_t mmx_get(const struct cpu *c, unsigned n)
{
    return c->fpu.st[n & 7].mantissa;
}

static inline void mmx_set(struct cpu *c, unsigned n, uint64_t v)
{
    c->fpu.st[n & 7].mantissa = v;
    c->fpu.st[n & 7].exponent = 0xffff;
}

static inline uint64_t mmx_src64(struct cpu *c, const struct op *o)
{
    return o->bits & OB_MEM ? mem_ld64(c, o, ea(c, o, 8, false)) : mmx_get(c, o->src);
}

/* ---------------------------------------------------------------- host instructions */

enum { /* c->host_vec */
       HOST_SSSE3 = 1,
       HOST_AES = 2,
       HOST_PCLMUL = 4,
};

/* ---------------------------------------------------------------- MXCSR */

#define MXCSR_IE      0x0001u
#define MXCSR_DE      0x0002u
#define MXCSR_ZE      0x0004u
#define MXCSR_OE      0x0008u
#define MXCSR_UE      0x0010u
#define MXCSR_PE      0x0020u
#define MXCSR_EXC     0x003fu
#define MXCSR_DAZ     0x0040u
#define MXCSR_MASKS   0x1f80u
#define MXCSR_UM      0x0800u
#define MXCSR_FTZ     0x8000u
#define MXCSR_DEFAULT 0x1f80u
#define MXCSR_VALID   0xffffu /* MXCSR_MASK of the FXSAVE image: other bits are reserved */

/* What an arithmetic instruction computed: where to look for tiny results (fp_check). */
enum fp_kind { FP_OTHER, FP_4X32, FP_1X32, FP_2X64, FP_1X64, FP_2X32, FP_4X16 };

void fp_begin_slow(struct cpu *c);
void fp_check(struct cpu *c, const struct op *o, vreg result, enum fp_kind kind);

/* Around the host instruction that computes for the guest, after all operands are fetched:
 * afterwards fp_end() raises #XM (or #UD) if an unmasked exception came up, so the result is
 * committed last. */
static inline void fp_begin(struct cpu *c)
{
    if (unlikely(!c->fp_entered)) {
        fp_begin_slow(c);
    }
}

static inline void fp_end(struct cpu *c, const struct op *o, vreg result, enum fp_kind kind)
{
    if (unlikely(c->key & KEY_FPEXC)) {
        fp_check(c, o, result, kind);
    }
}

#endif
