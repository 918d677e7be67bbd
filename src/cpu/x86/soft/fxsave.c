/*
 * The FXSAVE image and FXSAVE, FXRSTOR (SDM vol. 1, 10.5; vol. 2).
 *
 * Bytes 416..511 are left alone by the instruction. Outside 64-bit mode only XMM0..XMM7 are moved;
 * without CR4.OSFXSR none is.
 */
#include "cpu/x86/soft/x87-priv.h"

enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FCS = 12,
    FX_FDP = 16,
    FX_FDS = 20,
    FX_MXCSR = 24,
    FX_MXCSR_MASK = 28,
    FX_ST = 32,
    FX_XMM = 160,
    FX_END = 416, /* of what the processor writes */
};

static void put(uint8_t *image, unsigned at, uint64_t v, unsigned size)
{
    memcpy(image + at, &v, size);
}

static uint64_t get(const uint8_t *image, unsigned at, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, image + at, size);
    return v;
}

void fxsave_store(const struct cpu *c, uint8_t image[512], bool rex_w)
{
    const struct x87 *x = &c->fpu;
    memset(image, 0, 512);
    put(image, FX_FCW, x->control, 2);
    put(image, FX_FSW, x87_status_word(c), 2);
    put(image, FX_FTW, (uint8_t)~x->empty, 1);
    put(image, FX_FOP, x->opcode, 2);
    put(image, FX_FIP, x->ip, rex_w ? 8 : 4);
    put(image, FX_FDP, x->dp, rex_w ? 8 : 4);
    if (!rex_w) {
        put(image, FX_FCS, x->cs, 2);
        put(image, FX_FDS, x->ds, 2);
    }
    put(image, FX_MXCSR, c->mxcsr, 4);
    put(image, FX_MXCSR_MASK, MXCSR_VALID, 4);
    for (unsigned i = 0; i < 8; i++) {
        struct f80 v = st_get(c, i);
        put(image, FX_ST + 16 * i, v.mantissa, 8);
        put(image, FX_ST + 16 * i + 8, v.exponent, 2);
    }
    memcpy(image + FX_XMM, c->xmm, sizeof(c->xmm));
}

void fxsave_load_x87(struct cpu *c, const uint8_t image[512], bool rex_w)
{
    struct x87 *x = &c->fpu;
    c->ferr = false;
    x->control = (get(image, FX_FCW, 2) & FCW_VALID) | FCW_FIXED;
    x87_set_status_word(c, get(image, FX_FSW, 2));
    for (unsigned i = 0; i < 8; i++) {
        st_set(c, i,
               (struct f80){get(image, FX_ST + 16 * i, 8), get(image, FX_ST + 16 * i + 8, 2)});
    }
    x->empty = ~get(image, FX_FTW, 1);
    x->opcode = get(image, FX_FOP, 2) & 0x7ff;
    x->ip = get(image, FX_FIP, rex_w ? 8 : 4);
    x->dp = get(image, FX_FDP, rex_w ? 8 : 4);
    x->cs = rex_w ? 0 : get(image, FX_FCS, 2);
    x->ds = rex_w ? 0 : get(image, FX_FDS, 2);
}

void fxsave_load(struct cpu *c, const uint8_t image[512], bool rex_w)
{
    fp_leave(c);
    fxsave_load_x87(c, image, rex_w);
    c->mxcsr = get(image, FX_MXCSR, 4);
    memcpy(c->xmm, image + FX_XMM, sizeof(c->xmm));
}

/* Bytes of the XMM area that are moved in the present mode. */
static unsigned xmm_bytes(const struct cpu *c)
{
    return !(c->key & KEY_OSFXSR) ? 0 : is_long64(c) ? 256 : 128;
}

/* Address of the whole area, checked. */
static uint64_t area(struct cpu *c, const struct op *o, bool write)
{
    uint64_t lin = ea(c, o, 512, write);
    if (lin & 15) {
        raise_error(c, o, EXC_GP, 0);
    }
    mem_probe(c, o, lin, 512, write ? ACCESS_WRITE : ACCESS_READ);
    return lin;
}

static void fxsave(struct cpu *c, const struct op *o)
{
    uint8_t image[512];
    uint64_t lin = area(c, o, true);
    fp_leave(c);
    fxsave_store(c, image, o->osz == 8);
    for (unsigned i = 0; i < FX_XMM + xmm_bytes(c); i += 16) {
        vreg v;
        memcpy(&v, image + i, 16);
        mem_st128(c, o, lin + i, v);
    }
}

OP(op_fxsave)
{
    fxsave(c, o);
    NEXT;
}

static void fxrstor(struct cpu *c, const struct op *o)
{
    uint8_t image[512];
    uint64_t lin = area(c, o, false);
    for (unsigned i = 0; i < FX_END; i += 16) {
        vreg v = mem_ld128(c, o, lin + i);
        memcpy(image + i, &v, 16);
    }
    if (get(image, FX_MXCSR, 4) & ~(uint64_t)MXCSR_VALID) {
        raise_error(c, o, EXC_GP, 0);
    }
    fp_leave(c);
    fxsave_load_x87(c, image, o->osz == 8);
    c->mxcsr = get(image, FX_MXCSR, 4);
    memcpy(c->xmm, image + FX_XMM, xmm_bytes(c));
}

OP(op_fxrstor)
{
    fxrstor(c, o);
    mode_update(c);
    END_BLOCK;
}
