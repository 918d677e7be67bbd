/*
 * SSE floating point on the host's own unit: the guest's MXCSR in and out of the host's.
 *
 * Arithmetic runs as the same host instruction with operands in architectural order (op-sse-fp.c),
 * so results, NaN payloads, rounding and the sticky flags are the host's. The guest's MXCSR is
 * loaded, all exceptions masked, by the first such instruction (fp_begin) and stays loaded until
 * fp_leave(): code that uses no floating point pays nothing. soft_run() calls fp_leave() before it
 * returns, and whoever calls out of the CPU (c->host->*) before that call.
 *
 * When the guest unmasked an exception (KEY_FPEXC) each instruction loads MXCSR with clear flags
 * and looks at them afterwards: SDM vol. 1, 11.5.2 and 11.5.3 say in which order exceptions count.
 */
#include "cpu/x86/soft/avx-priv.h"
#include "cpu/x86/soft/vec-fp.h"
#include "cpu/x86/soft/x87-priv.h"

#if !defined(__x86_64__)
#error "no floating-point backend for this host: fp-host.c needs an x86-64 host; a portable one \
(soft-float for f32, f64 and the 80-bit format) has not been written"
#endif

static inline void host_mxcsr_load(uint32_t value)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(value) : "memory");
}

static inline uint32_t host_mxcsr_store(void)
{
    uint32_t value;
    __asm__ volatile("stmxcsr %0" : "=m"(value) : : "memory");
    return value;
}

/* Instructions beyond SSE2 that are worth having twice, in portable C and as the host's own. */
static uint8_t host_instructions(void)
{
    __builtin_cpu_init();
    return (__builtin_cpu_supports("ssse3") ? HOST_SSSE3 : 0) |
           (__builtin_cpu_supports("aes") ? HOST_AES : 0) |
           (__builtin_cpu_supports("pclmul") ? HOST_PCLMUL : 0);
}

void fp_reset(struct cpu *c)
{
    fp_leave(c);
    x87_init(c);
    c->mxcsr = MXCSR_DEFAULT;
    c->host_vec = host_instructions();
}

void fp_enter(struct cpu *c)
{
    if (!c->fp_entered && !(c->key & KEY_FPEXC)) {
        host_mxcsr_load(c->mxcsr | MXCSR_MASKS);
        c->fp_entered = true;
    }
}

void fp_leave(struct cpu *c)
{
    if (c->fp_entered) {
        c->mxcsr |= host_mxcsr_store() & MXCSR_EXC;
        host_mxcsr_load(MXCSR_DEFAULT);
        c->fp_entered = false;
    }
}

void fp_begin_slow(struct cpu *c)
{
    if (c->key & KEY_FPEXC) {
        uint32_t m = (c->mxcsr & ~MXCSR_EXC) | MXCSR_MASKS;
        /* FTZ acts only while underflow is masked. */
        host_mxcsr_load(c->mxcsr & MXCSR_UM ? m : m & ~MXCSR_FTZ);
    } else {
        fp_enter(c);
    }
}

static bool tiny32(uint32_t v)
{
    return (v & 0x7f800000) == 0 && (v & 0x007fffff) != 0;
}

static bool tiny16(uint16_t v)
{
    return (v & 0x7c00) == 0 && (v & 0x03ff) != 0;
}

static bool tiny64(uint64_t v)
{
    return (v & 0x7ff0000000000000) == 0 && (v & 0x000fffffffffffff) != 0;
}

/* An unmasked underflow is any tiny result, exact ones too, which set no flag while masked. */
static bool result_tiny(union vec r, enum fp_kind kind)
{
    bool tiny = false;
    switch (kind) {
    case FP_4X32:
        tiny = tiny32(r.u32[2]) || tiny32(r.u32[3]);
        /* fall through */
    case FP_2X32:
        tiny |= tiny32(r.u32[1]);
        /* fall through */
    case FP_1X32:
        return tiny || tiny32(r.u32[0]);
    case FP_2X64:
        tiny = tiny64(r.u64[1]);
        /* fall through */
    case FP_1X64:
        return tiny || tiny64(r.u64[0]);
    case FP_4X16:
        return tiny16(r.u16[0]) || tiny16(r.u16[1]) || tiny16(r.u16[2]) || tiny16(r.u16[3]);
    default:
        return false;
    }
}

static void check(struct cpu *c, const struct op *o, bool tiny)
{
    uint32_t raised = host_mxcsr_store() & MXCSR_EXC;
    uint32_t unmasked = ~(c->mxcsr >> 7) & MXCSR_EXC;
    uint32_t before = MXCSR_IE | MXCSR_DE | MXCSR_ZE;

    host_mxcsr_load(MXCSR_DEFAULT);
    if ((unmasked & MXCSR_UE) && tiny) {
        raised |= MXCSR_UE;
    }
    if (raised & before & unmasked) {
        raised &= before; /* nothing was computed */
    }
    c->mxcsr |= raised;
    if (raised & unmasked) {
        raise_fault(c, o, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
    }
}

void fp_check(struct cpu *c, const struct op *o, vreg result, enum fp_kind kind)
{
    check(c, o, result_tiny(vec_of(result), kind));
}

void fp_check256(struct cpu *c, const struct op *o, struct ymm result, enum fp_kind kind)
{
    check(c, o, result_tiny(vec_of(result.lo), kind) || result_tiny(vec_of(result.hi), kind));
}

void fp_flags(struct cpu *c, const struct op *o, uint32_t flags)
{
    uint32_t unmasked = ~(c->mxcsr >> 7) & MXCSR_EXC;
    if (flags & MXCSR_IE & unmasked) {
        flags = MXCSR_IE;
    }
    c->mxcsr |= flags;
    if (flags & unmasked) {
        raise_fault(c, o, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
    }
}

vreg mem_ld128_slow(struct cpu *c, const struct op *o, uint64_t lin)
{
    vreg v;
    mem_read_slow(c, o, lin, &v, sizeof(v));
    return v;
}

void mem_st128_slow(struct cpu *c, const struct op *o, uint64_t lin, vreg v)
{
    mem_write_slow(c, o, lin, &v, sizeof(v));
}
