/*
 * Floating-point state and exceptions of the software CPU: the FXSAVE image, #XM, #MF, #NM and #UD
 * by CR0 and CR4. Runs code in the guest of oracle-soft.c; expectations are the SDM's.
 */
#include "cpu/x86/soft/soft-priv.h"
#include "oracle.h"
#include <string.h>
#include <xmmintrin.h>

struct fixture {
    struct oracle_case k;
    struct template t;
    struct outcome out;
};

static struct fixture *fixture_new(void)
{
    struct fixture *f = g_new0(struct fixture, 1);
    static const uint16_t fcw = 0x37f;
    static const uint32_t mxcsr = 0x1f80;
    f->k.code_at = 0x800;
    f->k.rflags = RFLAGS_1 | RFLAGS_IF;
    f->k.r[RSP] = RW_BASE + 0x800;
    f->k.r[RBX] = RW_BASE;
    memcpy(f->k.fx, &fcw, 2);
    memcpy(f->k.fx + 24, &mxcsr, 4);
    return f;
}

/* Runs hex code until an exception; a final INT3 is added. Returns the vector. */
static unsigned run(struct fixture *f, const char *code)
{
    unsigned n = 0;
    for (const char *s = code; *s; s++) {
        if (*s != ' ') {
            f->k.code[n++] = g_ascii_xdigit_value(s[0]) << 4 | g_ascii_xdigit_value(s[1]);
            s++;
        }
    }
    f->k.code[n++] = 0xcc;
    f->k.code_bytes = n;
    soft_case(&f->k, f->k.rflags, &f->t, &f->out);
    g_assert_true(f->out.done);
    return f->out.vector;
}

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) | (uint32_t)get16(p + 2) << 16;
}

/* ---------------------------------------------------------------- images */

static void test_image(void)
{
    struct cpu *c = soft_cpu();
    uint8_t image[512], again[512];
    for (unsigned i = 0; i < 8; i++) {
        c->fpu.st[i].mantissa = 0x8000000000000000 + i;
        c->fpu.st[i].exponent = 0x4000 + i;
    }
    c->fpu.control = 0x127f;
    c->fpu.status = 0x4501;
    c->fpu.top = 3;
    c->fpu.empty = 0x0f;
    c->fpu.opcode = 0x123;
    c->fpu.ip = 0x1122334455667788;
    c->fpu.dp = 0x99aabbccddeeff00;
    c->fpu.cs = 0x33;
    c->fpu.ds = 0x2b;
    c->mxcsr = 0x9fc1;
    for (unsigned i = 0; i < 16; i++) {
        c->xmm[i].u64[0] = i;
        c->xmm[i].u64[1] = ~(uint64_t)i;
    }
    fxsave_store(c, image, true);
    g_assert_cmphex(get16(image), ==, 0x127f);
    g_assert_cmphex(get16(image + 2), ==, 0x4501 | 3 << 11);
    g_assert_cmphex(image[4], ==, 0xf0);
    g_assert_cmphex(get16(image + 6), ==, 0x123);
    g_assert_cmphex(get32(image + 8), ==, 0x55667788);
    g_assert_cmphex(get32(image + 12), ==, 0x11223344);
    g_assert_cmphex(get32(image + 20), ==, 0x99aabbcc);
    g_assert_cmphex(get32(image + 24), ==, 0x9fc1);
    g_assert_cmphex(get32(image + 28), ==, 0xffff);
    g_assert_cmphex(image[32], ==, 3); /* ST(0) is R3 */
    g_assert_cmphex(get16(image + 40), ==, 0x4003);
    g_assert_cmphex(image[160 + 16 * 9], ==, 9);

    memset(&c->fpu, 0, sizeof(c->fpu));
    memset(c->xmm, 0, sizeof(c->xmm));
    fxsave_load(c, image, true);
    g_assert_cmphex(c->fpu.ip, ==, 0x1122334455667788);
    g_assert_cmphex(c->fpu.empty, ==, 0x0f);
    fxsave_store(c, again, true);
    g_assert_cmpmem(image, 512, again, 512);

    c->fpu.cs = 0x33;
    c->fpu.ds = 0x2b;
    fxsave_store(c, image, false);
    g_assert_cmphex(get32(image + 8), ==, 0x55667788);
    g_assert_cmphex(get16(image + 12), ==, 0x33);
    g_assert_cmphex(get32(image + 16), ==, 0xddeeff00);
    g_assert_cmphex(get16(image + 20), ==, 0x2b);
}

/* Reserved bits of control words in an image are not taken over. */
static void test_image_reserved(void)
{
    struct cpu *c = soft_cpu();
    uint8_t image[512];
    memset(image, 0xff, sizeof(image));
    fxsave_load(c, image, true);
    g_assert_cmphex(c->fpu.control, ==, 0x1f7f);
    g_assert_cmphex(c->fpu.opcode, ==, 0x7ff);
    g_assert_cmphex(c->fpu.empty, ==, 0);
    g_assert_cmphex(c->fpu.top, ==, 7);
    g_assert_cmphex(c->fpu.status & 0x3800, ==, 0);
    c->mxcsr = 0x1f80;
}

static void test_fxsave_alignment(void)
{
    g_autofree struct fixture *f = fixture_new();
    g_assert_cmpuint(run(f, "0fae03"), ==, 3); /* fxsave [rbx] */
    g_assert_cmphex(get16(f->out.rw), ==, 0x37f);
    f->k.r[RBX] += 8;
    g_assert_cmpuint(run(f, "0fae03"), ==, EXC_GP);
    g_assert_cmpuint(run(f, "0fae0b"), ==, EXC_GP); /* fxrstor [rbx] */
    f->k.r[RBX] = RW_BASE + RW_BYTES - 256;
    g_assert_cmpuint(run(f, "0fae03"), ==, EXC_PF);
}

/* FXSAVE leaves the last bytes of its area alone, and in compatibility mode XMM8 and up. */
static void test_fxsave_extent(void)
{
    g_autofree struct fixture *f = fixture_new();
    memset(f->t.data, 0xa5, sizeof(f->t.data));
    memset(f->k.fx + 160, 0x11, 256);
    g_assert_cmpuint(run(f, "0fae03"), ==, 3);
    g_assert_cmphex(f->out.rw[160 + 255], ==, 0x11);
    g_assert_cmphex(f->out.rw[416], ==, 0xa5);
    f->k.mode = CODE_32;
    g_assert_cmpuint(run(f, "0fae03"), ==, 3);
    g_assert_cmphex(f->out.rw[160 + 127], ==, 0x11);
    g_assert_cmphex(f->out.rw[160 + 128], ==, 0xa5);
}

/* Reserved MXCSR bits in memory: #GP, and nothing is loaded. */
static void test_mxcsr_reserved(void)
{
    g_autofree struct fixture *f = fixture_new();
    uint8_t *rw = f->t.data + RO_BYTES;
    rw[0] = 0x7f;
    rw[1] = 0x12;
    rw[26] = 1;
    g_assert_cmpuint(run(f, "0fae0b"), ==, EXC_GP); /* fxrstor [rbx] */
    g_assert_cmphex(get16(f->out.fx), ==, 0x37f);
    rw[26] = 0;
    rw[24] = 0x80;
    rw[25] = 0x1f;
    g_assert_cmpuint(run(f, "0fae0b"), ==, 3);
    g_assert_cmphex(get16(f->out.fx), ==, 0x127f);
    memset(rw, 0, 4);
    rw[2] = 1;
    g_assert_cmpuint(run(f, "0fae13"), ==, EXC_GP); /* ldmxcsr [rbx] */
    g_assert_cmphex(get32(f->out.fx + 24), ==, 0x1f80);
}

/* ---------------------------------------------------------------- #XM */

static void put_one(struct fixture *f, unsigned xmm)
{
    static const uint32_t one = 0x3f800000;
    memcpy(f->k.fx + 160 + 16 * xmm, &one, 4);
}

static void test_xm(void)
{
    struct cpu *c = soft_cpu();
    g_autofree struct fixture *f = fixture_new();
    static const uint32_t divide_unmasked = 0x1d80;
    put_one(f, 1);
    g_assert_cmpuint(run(f, "f30f5eca"), ==, 3); /* divss xmm1, xmm2: masked */
    g_assert_cmphex(get32(f->out.fx + 24), ==, 0x1f84);
    g_assert_cmphex(get32(f->out.fx + 176), ==, 0x7f800000);

    memcpy(f->k.fx + 24, &divide_unmasked, 4);
    g_assert_cmpuint(run(f, "f30f5eca"), ==, EXC_XM);
    g_assert_cmphex(f->out.rip, ==, CODE_BASE + 0x800);
    g_assert_cmphex(get32(f->out.fx + 24), ==, 0x1d84);
    g_assert_cmphex(get32(f->out.fx + 176), ==, 0x3f800000); /* not committed */
    g_assert_cmpuint(run(f, "f30f58ca"), ==, 3);             /* addss: nothing to raise */

    c->cr4 &= ~(uint64_t)CR4_OSXMMEXCPT;
    g_assert_cmpuint(run(f, "f30f5eca"), ==, EXC_UD);
    c->cr4 |= CR4_OSXMMEXCPT;
}

/* LDMXCSR changes masks for the very next instruction. */
static void test_xm_after_ldmxcsr(void)
{
    g_autofree struct fixture *f = fixture_new();
    f->t.data[RO_BYTES] = 0x80;
    f->t.data[RO_BYTES + 1] = 0x1d;
    put_one(f, 1);
    g_assert_cmpuint(run(f, "0fae13 f30f5eca"), ==, EXC_XM);
    g_assert_cmphex(f->out.rip, ==, CODE_BASE + 0x803);
}

/* The host's MXCSR is its own again after guest code, whatever that did. */
static void test_host_mxcsr(void)
{
    g_autofree struct fixture *f = fixture_new();
    static const uint32_t towards_zero = 0xffc0;
    put_one(f, 1);
    memcpy(f->k.fx + 24, &towards_zero, 4);
    g_assert_cmpuint(run(f, "f30f5eca"), ==, 3);
    g_assert_cmphex(get32(f->out.fx + 24), ==, 0xffc4);
    g_assert_cmphex(_mm_getcsr() & ~0x3fu, ==, 0x1f80);
    g_assert_false(soft_cpu()->fp_entered);
}

/* ---------------------------------------------------------------- #MF */

static void test_mf(void)
{
    struct cpu *c = soft_cpu();
    g_autofree struct fixture *f = fixture_new();
    static const uint16_t divide_unmasked = 0x37b;
    memcpy(f->k.fx, &divide_unmasked, 2);
    /* fld1; fldz; fdivp: pending, then FNSTSW does not wait, FWAIT does */
    g_assert_cmpuint(run(f, "d9e8 d9ee def9 dfe0 9b"), ==, EXC_MF);
    g_assert_cmphex(f->out.rip, ==, CODE_BASE + 0x808);
    g_assert_cmphex(f->out.r[RAX] & 0x80ff, ==, 0x8084);
    g_assert_cmphex(f->out.r[RAX] & 0x3800, ==, 6 << 11); /* operands stay */
    g_assert_cmphex(get16(f->out.fx + 2) & 0x80ff, ==, 0x8084);
    /* every other waiting instruction, MMX too */
    g_assert_cmpuint(run(f, "d9e8 d9ee def9 d9e8"), ==, EXC_MF);
    g_assert_cmpuint(run(f, "d9e8 d9ee def9 0fefc0"), ==, EXC_MF);
    /* FNCLEX takes it away */
    g_assert_cmpuint(run(f, "d9e8 d9ee def9 dbe2 9b d9e8"), ==, 3);
    /* unmasking later makes it pending: fld1; fldz; fdivp masked, then fldcw, fwait */
    memcpy(f->k.fx, "\x7f\x03", 2);
    memcpy(f->t.data + RO_BYTES, &divide_unmasked, 2);
    g_assert_cmpuint(run(f, "d9e8 d9ee def9 9b d92b 9b"), ==, EXC_MF);
    g_assert_cmphex(f->out.rip, ==, CODE_BASE + 0x809);
    /* without CR0.NE it goes to a pin that leads nowhere */
    c->cr0 &= ~(uint64_t)CR0_NE;
    g_assert_cmpuint(run(f, "d9e8 d9ee def9 9b d92b 9b"), ==, 3);
    c->cr0 |= CR0_NE;
}

/* ---------------------------------------------------------------- availability */

#define ADDPS   "0f58c1"
#define PADDB_M "0ffcc1"
#define PADDB_X "660ffcc1"
#define FLD1    "d9e8"
#define FWAIT   "9b"
#define LDMXCSR "0fae13"
#define FXSAVE  "0fae03"
#define MOVNTI  "0fc303"

static void test_availability(void)
{
    struct cpu *c = soft_cpu();
    g_autofree struct fixture *f = fixture_new();
    uint64_t cr0 = c->cr0, cr4 = c->cr4;

    c->cr0 = cr0 | CR0_TS;
    g_assert_cmpuint(run(f, ADDPS), ==, EXC_NM);
    g_assert_cmpuint(run(f, PADDB_M), ==, EXC_NM);
    g_assert_cmpuint(run(f, PADDB_X), ==, EXC_NM);
    g_assert_cmpuint(run(f, FLD1), ==, EXC_NM);
    g_assert_cmpuint(run(f, FWAIT), ==, EXC_NM); /* CR0.MP is set */
    g_assert_cmpuint(run(f, LDMXCSR), ==, EXC_NM);
    g_assert_cmpuint(run(f, FXSAVE), ==, EXC_NM);
    g_assert_cmpuint(run(f, MOVNTI), ==, 3);
    c->cr0 &= ~(uint64_t)CR0_MP;
    g_assert_cmpuint(run(f, FWAIT), ==, 3);

    c->cr0 = cr0 | CR0_EM;
    g_assert_cmpuint(run(f, ADDPS), ==, EXC_UD);
    g_assert_cmpuint(run(f, PADDB_M), ==, EXC_UD);
    g_assert_cmpuint(run(f, PADDB_X), ==, EXC_UD);
    g_assert_cmpuint(run(f, FLD1), ==, EXC_NM);
    g_assert_cmpuint(run(f, FWAIT), ==, 3);

    c->cr0 = cr0 | CR0_EM | CR0_TS; /* #UD before #NM */
    g_assert_cmpuint(run(f, ADDPS), ==, EXC_UD);

    c->cr0 = cr0;
    c->cr4 = cr4 & ~(uint64_t)CR4_OSFXSR;
    g_assert_cmpuint(run(f, ADDPS), ==, EXC_UD);
    g_assert_cmpuint(run(f, PADDB_X), ==, EXC_UD);
    g_assert_cmpuint(run(f, LDMXCSR), ==, EXC_UD);
    g_assert_cmpuint(run(f, PADDB_M), ==, 3);
    g_assert_cmpuint(run(f, FLD1), ==, 3);
    g_assert_cmpuint(run(f, MOVNTI), ==, 3);
    g_assert_cmpuint(run(f, "f0" ADDPS), ==, EXC_UD); /* LOCK */
    c->cr4 = cr4;
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    soft_init();
    g_test_add_func("/soft-fp/image", test_image);
    g_test_add_func("/soft-fp/image-reserved", test_image_reserved);
    g_test_add_func("/soft-fp/fxsave-alignment", test_fxsave_alignment);
    g_test_add_func("/soft-fp/fxsave-extent", test_fxsave_extent);
    g_test_add_func("/soft-fp/mxcsr-reserved", test_mxcsr_reserved);
    g_test_add_func("/soft-fp/xm", test_xm);
    g_test_add_func("/soft-fp/xm-after-ldmxcsr", test_xm_after_ldmxcsr);
    g_test_add_func("/soft-fp/host-mxcsr", test_host_mxcsr);
    g_test_add_func("/soft-fp/mf", test_mf);
    g_test_add_func("/soft-fp/availability", test_availability);
    int result = g_test_run();
    soft_finish();
    return result;
}
