/*
 * XSAVE and its kind, XCR0, and when AVX instructions are there: what the instruction oracle cannot
 * see, for the host's set of components is not the software CPU's.
 */
#include "../lib/soft-machine.h"
#include "cpu/x86/soft/avx-priv.h"

#define RUN(...)                                                                                   \
    ({                                                                                             \
        static const uint8_t code_[] = {__VA_ARGS__, 0xf4};                                        \
        put_code(CODE, code_, sizeof(code_));                                                      \
        run_from(CODE);                                                                            \
    })

#define FAULTED(end, vector) g_assert_cmphex(end, ==, HANDLER + 16 * (vector))

enum { AREA = DATA, HEADER = AREA + 512, YMM = AREA + 576 };

#define COMPACTED (1ull << 63)

static uint64_t get64(uint64_t at)
{
    uint64_t v;
    memcpy(&v, present->ram->host + at, 8);
    return v;
}

/* CR4.OSXSAVE set, RBX at the area, EDX:EAX and XCR0 all that there is. */
static struct cpu *start(void)
{
    machine_start();
    struct cpu *c = present->c;
    c->cr4 |= CR4_OSXSAVE;
    c->xcr0 = 7;
    c->r[RBX] = AREA;
    c->r[RAX] = 7;
    c->r[RDX] = 0;
    mode_update(c);
    memset(present->ram->host + AREA, 0xee, 1024);
    memset(present->ram->host + HEADER, 0, 64);
    return c;
}

#define XSAVE    0x0f, 0xae, 0x23
#define XRSTOR   0x0f, 0xae, 0x2b
#define XSAVEOPT 0x0f, 0xae, 0x33
#define XSAVEC   0x0f, 0xc7, 0x23
#define XGETBV   0x0f, 0x01, 0xd0
#define XSETBV   0x0f, 0x01, 0xd1
#define RDPKRU   0x0f, 0x01, 0xee
#define WRPKRU   0x0f, 0x01, 0xef

static void test_initial(void)
{
    struct cpu *c = start();
    put64(HEADER, 0x18); /* bits that are not asked for stay */
    RUN(XSAVE);
    g_assert_cmphex(get64(HEADER), ==, 0x18);
    g_assert_cmphex(get64(AREA) & 0xffff, ==, 0x37f);
    g_assert_cmphex(get64(AREA + 160), ==, 0); /* XMM0: XSAVE writes it all the same */
    g_assert_cmphex(get64(YMM), ==, 0);
    memset(present->ram->host + AREA, 0xee, 1024);
    put64(HEADER, 7);
    RUN(XSAVEOPT);
    g_assert_cmphex(get64(HEADER), ==, 0);
    g_assert_cmphex(get64(AREA), ==, 0xeeeeeeeeeeeeeeee);
    g_assert_cmphex((uint32_t)get64(AREA + 24), ==, 0x1f80);
    g_assert_cmphex(get64(AREA + 160), ==, 0xeeeeeeeeeeeeeeee);
    RUN(XSAVEC);
    g_assert_cmphex(get64(HEADER), ==, 0);
    g_assert_cmphex(get64(HEADER + 8), ==, COMPACTED | 7);
    /* MXCSR belongs to the SSE component for XSAVEC. */
    c->mxcsr = 0x1f00;
    RUN(XSAVEC);
    g_assert_cmphex(get64(HEADER), ==, 2);
    machine_end();
}

static void test_round_trip(void)
{
    struct cpu *c = start();
    for (unsigned compact = 0; compact < 2; compact++) {
        for (unsigned i = 0; i < 16; i++) {
            c->xmm[i].u64[0] = 0x1111111111111111u * i + compact;
            c->ymm_hi[i].u64[1] = 0x123456789abcdef0 + i;
        }
        c->mxcsr = 0x9fc0;
        mode_update(c);
        RUN(0xd9, 0xe8, XSAVEC); /* FLD1 */
        if (!compact) {
            RUN(XSAVE);
            put64(HEADER + 8, 0);
        }
        g_assert_cmphex(get64(HEADER), ==, 7);
        g_assert_cmphex(get64(YMM + 16 * 15 + 8), ==, 0x123456789abcdeff);
        RUN(0xc5, 0xfc, 0x77, 0xdb, 0xe3); /* VZEROALL; FNINIT */
        c->mxcsr = 0x1f80;
        g_assert_cmphex(c->xmm[3].u64[0] | c->ymm_hi[3].u64[1], ==, 0);
        RUN(XRSTOR);
        g_assert_cmphex(c->xmm[3].u64[0], ==, 0x3333333333333333 + compact);
        g_assert_cmphex(c->ymm_hi[3].u64[1], ==, 0x123456789abcdef3);
        g_assert_cmphex(c->mxcsr, ==, 0x9fc0);
        g_assert_cmphex(c->fpu.st[7].mantissa, ==, 0x8000000000000000);
        g_assert_cmpuint(c->fpu.top, ==, 7);
        /* Parts: only AVX; a component that the header does not have goes to its initial state. */
        c->r[RAX] = 4;
        put64(HEADER, 3);
        RUN(XRSTOR);
        g_assert_cmphex(c->ymm_hi[3].u64[1], ==, 0);
        g_assert_cmphex(c->xmm[3].u64[0], ==, 0x3333333333333333 + compact);
        c->r[RAX] = 7;
        put64(HEADER, 0);
        RUN(XRSTOR);
        g_assert_cmphex(c->xmm[3].u64[0], ==, 0);
        g_assert_cmpuint(c->fpu.top, ==, 0);
        g_assert_cmphex(c->fpu.empty, ==, 0xff);
        g_assert_cmphex(c->mxcsr, ==, compact ? 0x1f80 : 0x9fc0);
    }
    machine_end();
}

static void test_faults(void)
{
    struct cpu *c = start();
    c->r[RBX] = AREA + 16;
    FAULTED(RUN(XSAVE), EXC_GP);
    FAULTED(RUN(XRSTOR), EXC_GP);
    c->r[RBX] = AREA;
    put64(HEADER, 8); /* not enabled in XCR0 */
    FAULTED(RUN(XRSTOR), EXC_GP);
    put64(HEADER, 0);
    put64(HEADER + 16, 1); /* reserved */
    FAULTED(RUN(XRSTOR), EXC_GP);
    put64(HEADER + 16, 0);
    put64(HEADER + 8, 1); /* XCOMP_BV without the bit for the format */
    FAULTED(RUN(XRSTOR), EXC_GP);
    put64(HEADER + 8, COMPACTED | 3);
    put64(HEADER, 4); /* not in XCOMP_BV */
    FAULTED(RUN(XRSTOR), EXC_GP);
    put64(HEADER, 2);
    put64(AREA + 24, 0xffffffff); /* MXCSR */
    FAULTED(RUN(XRSTOR), EXC_GP);
    /* The whole area is looked at first. */
    set_page(AREA + 0x1000, 0);
    c->r[RBX] = AREA + 0x1000 - 640;
    FAULTED(RUN(XSAVE), EXC_PF);
    g_assert_cmphex(get64(AREA + 0x1000 - 640), ==, 0);
    set_page(AREA + 0x1000, (AREA + 0x1000) | 3);
    c->r[RBX] = AREA;
    c->cr0 |= CR0_TS;
    mode_update(c);
    FAULTED(RUN(XSAVE), EXC_NM);
    FAULTED(RUN(0xc5, 0xfc, 0x77), EXC_NM);
    RUN(XGETBV); /* does not look at TS */
    g_assert_cmphex(c->r[RAX], ==, 7);
    machine_end();
}

static void test_xcr0(void)
{
    struct cpu *c = start();
    c->r[RCX] = 0;
    RUN(XGETBV);
    g_assert_cmphex(c->r[RAX], ==, 7);
    c->r[RCX] = 1; /* what is in use of it */
    c->ymm_hi[2].u64[0] = 1;
    RUN(XGETBV);
    g_assert_cmphex(c->r[RAX], ==, 4);
    c->r[RCX] = 2;
    FAULTED(RUN(XGETBV), EXC_GP);
    c->r[RCX] = 0;
    static const uint64_t bad[] = {0, 2, 5, 9, 0x407};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        c->r[RAX] = bad[i];
        FAULTED(RUN(XSETBV), EXC_GP);
        g_assert_cmphex(c->xcr0, ==, 7);
    }
    /* Without the AVX bits, or OSXSAVE, there is no AVX; BMI needs neither. */
    c->r[RAX] = 3;
    RUN(XSETBV);
    FAULTED(RUN(0xc5, 0xfc, 0x77), EXC_UD);
    c->r[RAX] = 7;
    RUN(XSETBV, 0xc5, 0xfc, 0x77);
    g_assert_cmphex(c->r[RAX], ==, 7);
    c->cr4 &= ~(uint64_t)CR4_OSXSAVE;
    mode_update(c);
    FAULTED(RUN(0xc5, 0xfc, 0x77), EXC_UD);
    FAULTED(RUN(XSAVE), EXC_UD);
    FAULTED(RUN(XGETBV), EXC_UD);
    c->r[RAX] = 0xf0;
    c->r[RDX] = 0x3c;
    RUN(0xc4, 0xe2, 0x78, 0xf2, 0xca); /* ANDN ECX, EAX, EDX */
    g_assert_cmphex(c->r[RCX], ==, 0x0c);
    machine_end();
}

static void test_state(void)
{
    struct cpu *c = start();
    g_autofree uint8_t *image = g_malloc0(XSAVE_BYTES);
    c->ymm_hi[9].u64[0] = 0xabcdef;
    c->xmm[1].u64[1] = 0x42;
    xsave_store(c, image);
    memset(c->ymm_hi, 0, sizeof(c->ymm_hi));
    memset(c->xmm, 0, sizeof(c->xmm));
    xsave_load(c, image);
    g_assert_cmphex(c->ymm_hi[9].u64[0], ==, 0xabcdef);
    g_assert_cmphex(c->xmm[1].u64[1], ==, 0x42);
    image[512] = 3;
    xsave_load(c, image);
    g_assert_cmphex(c->ymm_hi[9].u64[0], ==, 0);
    machine_end();
}

/* PKRU: by its instructions, and as a component of both formats. */
static void test_pkru(void)
{
    struct cpu *c = start();
    c->r[RCX] = 0;
    c->r[RAX] = 0x5554;
    FAULTED(RUN(WRPKRU), EXC_UD);
    c->cr4 |= CR4_PKE;
    mode_update(c);
    RUN(WRPKRU);
    g_assert_cmphex(c->pkru, ==, 0x5554);
    c->r[RDX] = 1;
    FAULTED(RUN(WRPKRU), EXC_GP);
    RUN(RDPKRU);
    g_assert_cmphex(c->r[RAX], ==, 0x5554);
    g_assert_cmphex(c->r[RDX], ==, 0);
    c->r[RCX] = 1;
    FAULTED(RUN(RDPKRU), EXC_GP);
    c->r[RCX] = 0;
    c->r[RAX] = 0x207;
    RUN(XSETBV);
    for (unsigned compact = 0; compact < 2; compact++) {
        uint64_t at = compact ? YMM + 256 : AREA + 2688;

        memset(present->ram->host + HEADER, 0, 64);
        put64(at, 0);
        c->pkru = 0x5554;
        compact ? RUN(XSAVEC) : RUN(XSAVE);
        g_assert_cmphex(get64(HEADER), ==, 0x200);
        g_assert_cmphex(get64(HEADER + 8), ==, compact ? COMPACTED | 0x207 : 0);
        g_assert_cmphex(get64(at), ==, 0x5554);
        put64(at, 0x1234);
        RUN(XRSTOR);
        g_assert_cmphex(c->pkru, ==, 0x1234);
        put64(HEADER, 0); /* its initial state */
        RUN(XRSTOR);
        g_assert_cmphex(c->pkru, ==, 0);
    }
    g_autofree uint8_t *image = g_malloc0(XSAVE_BYTES);
    c->pkru = 0xabcd;
    xsave_store(c, image);
    c->pkru = 0;
    xsave_load(c, image);
    g_assert_cmphex(c->pkru, ==, 0xabcd);
    machine_end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/xsave/initial", test_initial);
    g_test_add_func("/xsave/round-trip", test_round_trip);
    g_test_add_func("/xsave/faults", test_faults);
    g_test_add_func("/xsave/xcr0", test_xcr0);
    g_test_add_func("/xsave/pkru", test_pkru);
    g_test_add_func("/xsave/state", test_state);
    return g_test_run();
}
