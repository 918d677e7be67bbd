/*
 * XSAVE, XSAVEOPT, XSAVEC, XRSTOR, XGETBV, XSETBV (SDM vol. 1, chapter 13; vol. 2).
 *
 * Components: x87, SSE, AVX, PKRU. A component is in use when it is not in its initial state, which
 * is found out by looking. XSAVEOPT and XSAVEC leave components out that are not in use; XSAVEOPT
 * does not remember what it saved before (the "modified" optimization, which software cannot rely
 * on). Supervisor components, XSAVES and XRSTORS are left out.
 */
#include "cpu/x86/soft/avx-priv.h"
#include "cpu/x86/soft/sys-priv.h"
#include "cpu/x86/soft/x87-priv.h"

enum {
    X_X87 = 1,
    X_SSE = 2,
    X_AVX = 4,
    X_PKRU = 0x200,
};

enum {
    AT_MXCSR = 24,
    AT_ST = 32,
    AT_XMM = 160,
    AT_HEADER = 512, /* XSTATE_BV, XCOMP_BV, 48 bytes of zero */
    AT_YMM = 576,    /* also in the compacted format: there is no component before it */
    AT_PKRU = 2688,  /* not compacted: behind what other processors have */
    AREA_BYTES = XSAVE_BYTES,
};

#define COMPACTED ((uint64_t)1 << 63)

/* Components that XCR0 may enable. */
static uint64_t components(const struct cpu *c)
{
    return X_X87 | X_SSE | (cpu_has(c, F_AVX) ? X_AVX : 0) | (cpu_has(c, F_PKU) ? X_PKRU : 0);
}

/* Where AVX, or PKRU behind it, ends in an area with these components. */
static unsigned area_end(uint64_t with, bool compacted)
{
    unsigned end = with & X_AVX ? AT_YMM + 256 : AT_YMM;

    if (!(with & X_PKRU)) {
        return end;
    }
    return (compacted ? end : AT_PKRU) + 8;
}

uint32_t xsave_enabled_bytes(const struct cpu *c, bool compacted)
{
    return area_end(c->xcr0, compacted);
}

static void pkru_set(struct cpu *c, uint32_t value)
{
    if (c->pkru != value) {
        c->pkru = value;
        tlb_flush_all(c); /* entries say what it allows */
    }
}

static bool all_zero(const union vec *v)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < 16; i++) {
        any |= v[i].u64[0] | v[i].u64[1];
    }
    return any == 0;
}

static bool x87_in_use(const struct cpu *c)
{
    const struct x87 *x = &c->fpu;
    uint64_t any = 0;
    for (unsigned i = 0; i < 8; i++) {
        any |= x->st[i].mantissa | x->st[i].exponent;
    }
    return any || x->control != 0x37f || x->status || x->top || x->empty != 0xff || x->opcode ||
           x->ip || x->dp || x->cs || x->ds;
}

static uint64_t in_use(const struct cpu *c)
{
    return (x87_in_use(c) ? X_X87 : 0) | (all_zero(c->xmm) ? 0 : X_SSE) |
           (all_zero(c->ymm_hi) ? 0 : X_AVX) | (c->pkru ? X_PKRU : 0);
}

static void check_enabled(struct cpu *c, const struct op *o)
{
    if (!(c->key & KEY_OSXSAVE)) {
        raise_fault(c, o, EXC_UD);
    }
    if (c->key & KEY_TS) {
        raise_fault(c, o, EXC_NM);
    }
}

static uint64_t requested(const struct cpu *c)
{
    return c->xcr0 & ((uint64_t)(uint32_t)c->r[RDX] << 32 | (uint32_t)c->r[RAX]);
}

/* Address of the area, of which `bytes` are touched. */
static uint64_t area(struct cpu *c, const struct op *o, unsigned bytes, enum access how)
{
    uint64_t lin = ea(c, o, bytes, how == ACCESS_WRITE);
    if (lin & 63) {
        raise_error(c, o, EXC_GP, 0);
    }
    mem_probe(c, o, lin, bytes, how);
    return lin;
}

static void put(struct cpu *c, const struct op *o, uint64_t lin, const uint8_t *image,
                unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i += 8) {
        uint64_t v;
        memcpy(&v, image + i, 8);
        mem_st64(c, o, lin + i, v);
    }
}

static void get(struct cpu *c, const struct op *o, uint64_t lin, uint8_t *image, unsigned from,
                unsigned to)
{
    for (unsigned i = from; i < to; i += 8) {
        uint64_t v = mem_ld64(c, o, lin + i);
        memcpy(image + i, &v, 8);
    }
}

/* ---------------------------------------------------------------- save */

enum kind { KIND_XSAVE, KIND_XSAVEOPT, KIND_XSAVEC };

static void save(struct cpu *c, const struct op *o, enum kind kind)
{
    check_enabled(c, o);
    fp_leave(c);
    uint8_t image[512];
    uint64_t rfbm = requested(c), used = in_use(c);
    unsigned registers = is_long64(c) ? 16 : 8;
    unsigned end = area_end(rfbm, kind == KIND_XSAVEC);
    uint64_t lin = area(c, o, end, ACCESS_WRITE);
    bool with_mxcsr = rfbm & (X_SSE | X_AVX);

    if (kind == KIND_XSAVEC) {
        used |= c->mxcsr != MXCSR_DEFAULT ? X_SSE : 0;
        with_mxcsr = rfbm & used & X_SSE;
    }
    uint64_t saved = kind == KIND_XSAVE ? rfbm : rfbm & used;
    uint64_t old = kind == KIND_XSAVEC ? 0 : mem_ld64(c, o, lin + AT_HEADER);
    fxsave_store(c, image, o->osz == 8);
    if (saved & X_X87) {
        put(c, o, lin, image, 0, AT_MXCSR);
        put(c, o, lin, image, AT_ST, AT_XMM);
    }
    if (with_mxcsr) {
        put(c, o, lin, image, AT_MXCSR, AT_ST);
    }
    if (saved & X_SSE) {
        put(c, o, lin, image, AT_XMM, AT_XMM + 16 * registers);
    }
    if (saved & X_AVX) {
        put(c, o, lin + AT_YMM, (const uint8_t *)c->ymm_hi, 0, 16 * registers);
    }
    if (saved & X_PKRU) {
        mem_st64(c, o, lin + end - 8, c->pkru);
    }
    mem_st64(c, o, lin + AT_HEADER, (old & ~rfbm) | (used & rfbm));
    if (kind == KIND_XSAVEC) {
        mem_st64(c, o, lin + AT_HEADER + 8, rfbm | COMPACTED);
    }
}

OP(op_xsave)
{
    save(c, o, KIND_XSAVE);
    NEXT;
}

OP(op_xsaveopt)
{
    save(c, o, KIND_XSAVEOPT);
    NEXT;
}

OP(op_xsavec)
{
    save(c, o, KIND_XSAVEC);
    NEXT;
}

/* ---------------------------------------------------------------- restore */

static bool header_is_valid(const struct cpu *c, const uint64_t header[8])
{
    uint64_t reserved = header[3] | header[4] | header[5] | header[6] | header[7];
    if (!(header[1] & COMPACTED)) {
        return header[1] == 0 && header[2] == 0 && !(header[0] & ~c->xcr0);
    }
    return cpu_has(c, F_XSAVEC) && !(header[1] & ~COMPACTED & ~c->xcr0) &&
           !(header[0] & ~header[1]) && header[2] == 0 && reserved == 0;
}

static void restore(struct cpu *c, const struct op *o)
{
    check_enabled(c, o);
    uint8_t image[512] = {0}, ymm[256] = {0};
    uint64_t header[8], rfbm = requested(c);
    uint32_t mxcsr;
    uint64_t pkru = 0;
    unsigned registers = is_long64(c) ? 16 : 8;
    uint64_t lin = area(c, o, AT_YMM, ACCESS_READ);

    get(c, o, lin + AT_HEADER, (uint8_t *)header, 0, sizeof(header));
    if (!header_is_valid(c, header)) {
        raise_error(c, o, EXC_GP, 0);
    }
    get(c, o, lin, image, 0, AT_XMM + 256);
    if (rfbm & header[0] & X_AVX) {
        mem_probe(c, o, lin, AT_YMM + sizeof(ymm), ACCESS_READ);
        get(c, o, lin + AT_YMM, ymm, 0, 16 * registers);
    }
    if (rfbm & header[0] & X_PKRU) {
        bool compacted = header[1] & COMPACTED;
        pkru = mem_ld64(c, o, lin + area_end(compacted ? header[1] : X_PKRU, compacted) - 8);
    }
    fp_leave(c);
    mxcsr = c->mxcsr;
    if (header[1] & COMPACTED ? rfbm & header[0] & X_SSE : rfbm & (X_SSE | X_AVX)) {
        memcpy(&mxcsr, image + AT_MXCSR, 4);
        if (mxcsr & ~MXCSR_VALID) {
            raise_error(c, o, EXC_GP, 0);
        }
    } else if ((header[1] & COMPACTED) && (rfbm & X_SSE)) {
        mxcsr = MXCSR_DEFAULT;
    }
    c->mxcsr = mxcsr;
    if (rfbm & header[0] & X_X87) {
        fxsave_load_x87(c, image, o->osz == 8);
    } else if (rfbm & X_X87) {
        x87_init(c);
        memset(c->fpu.st, 0, sizeof(c->fpu.st));
    }
    if (rfbm & X_SSE) {
        memset(image, 0, header[0] & X_SSE ? 0 : sizeof(image));
        memcpy(c->xmm, image + AT_XMM, 16 * registers);
    }
    if (rfbm & X_AVX) {
        memcpy(c->ymm_hi, ymm, 16 * registers);
    }
    if (rfbm & X_PKRU) {
        pkru_set(c, (uint32_t)pkru);
    }
}

OP(op_xrstor)
{
    restore(c, o);
    mode_update(c);
    END_BLOCK;
}

/* ---------------------------------------------------------------- XCR0 */

OP(op_xgetbv)
{
    uint32_t index = (uint32_t)c->r[RCX];
    if (!(c->key & KEY_OSXSAVE)) {
        raise_fault(c, o, EXC_UD);
    }
    if (index > 1 || (index == 1 && !cpu_has(c, F_XGETBV1))) {
        raise_error(c, o, EXC_GP, 0);
    }
    c->r[RAX] = index == 0 ? c->xcr0 : c->xcr0 & in_use(c);
    c->r[RDX] = 0;
    NEXT;
}

bool xcr0_valid(const struct cpu *c, uint64_t value)
{
    return (value & X_X87) && !(value & ~components(c)) && (!(value & X_AVX) || (value & X_SSE));
}

OP(op_xsetbv)
{
    uint64_t value = (uint64_t)(uint32_t)c->r[RDX] << 32 | (uint32_t)c->r[RAX];
    if (!(c->key & KEY_OSXSAVE)) {
        raise_fault(c, o, EXC_UD);
    }
    if (c->cpl != 0 || (uint32_t)c->r[RCX] != 0 || !xcr0_valid(c, value)) {
        raise_error(c, o, EXC_GP, 0);
    }
    c->xcr0 = value;
    mode_update(c);
    END_BLOCK;
}

/* ---------------------------------------------------------------- PKRU */

static void check_pkru(struct cpu *c, const struct op *o, uint32_t zero)
{
    if (!(c->cr4 & CR4_PKE)) {
        raise_fault(c, o, EXC_UD);
    }
    if (zero) {
        raise_error(c, o, EXC_GP, 0);
    }
}

OP(op_rdpkru)
{
    check_pkru(c, o, (uint32_t)c->r[RCX]);
    c->r[RAX] = c->pkru;
    c->r[RDX] = 0;
    NEXT;
}

OP(op_wrpkru)
{
    check_pkru(c, o, (uint32_t)c->r[RCX] | (uint32_t)c->r[RDX]);
    pkru_set(c, (uint32_t)c->r[RAX]);
    END_BLOCK;
}

/* ---------------------------------------------------------------- the state as a whole */

void xsave_store(const struct cpu *c, uint8_t image[XSAVE_BYTES])
{
    uint64_t present = components(c), pkru = c->pkru;
    memset(image, 0, AREA_BYTES);
    fxsave_store(c, image, true);
    memcpy(image + AT_HEADER, &present, 8);
    memcpy(image + AT_YMM, c->ymm_hi, sizeof(c->ymm_hi));
    memcpy(image + AT_PKRU, &pkru, 8);
}

void xsave_load(struct cpu *c, const uint8_t image[XSAVE_BYTES])
{
    uint64_t present;
    uint32_t pkru;
    memcpy(&present, image + AT_HEADER, 8);
    fxsave_load(c, image, true);
    memset(c->ymm_hi, 0, sizeof(c->ymm_hi));
    if (present & X_AVX) {
        memcpy(c->ymm_hi, image + AT_YMM, sizeof(c->ymm_hi));
    }
    pkru = 0;
    if (present & X_PKRU) {
        memcpy(&pkru, image + AT_PKRU, 4);
    }
    pkru_set(c, pkru);
}
