/*
 * The instruction oracle's program: oracle.h says what it does.
 *
 *   oracle [--cases N] [--seed S] [--only TEXT] [--case NUMBER] [--keep-going] [--verbose]
 *          [--only-64] [--translate] [--self-test]
 *
 * Output is TAP. A failing case prints its bytes and both states on standard error, so that test
 * runners that digest TAP show them. --self-test spoils single parts of outcomes and wants every
 * one of them noticed; it also looks that the host's side reaches no memory but a case's.
 *
 * Not compared, besides flags that the manual calls undefined (oracle-filter.c):
 *   - x87 FOP, FIP and FDP, in registers and as FXSAVE, FNSAVE and FNSTENV store them: when they
 *     are updated differs (SDM vol. 1, 8.1.8 and 8.1.9; APM vol. 1, 6.2.5)
 *   - x87 condition bits in which the vendors' manuals differ (oracle-filter.c)
 *   - the x87 state when a fault ends a conversion to or from MMX, or MASKMOVQ: entering MMX mode
 *     comes first (AMD), or the fault does (SDM vol. 1, 11.6.8)
 *   - MXCSR.PE after an unmasked overflow or underflow: a known deviation (fp-host.c)
 *   - the present bit of a #PF error code: for kernel addresses, where Linux hides it from
 *     processes, and for the case's own pages, which Linux may not have filled in yet
 *   - at which of its bytes an operand that is moved in pieces faults (as by FSAVE)
 *   - which fault comes first: a call's bad target or bad stack; a vector's alignment or the stack
 *     segment's limit; how far an undefined opcode is fetched; which operand of CMPS
 *   - operands that go past 4 GiB in compatibility mode (SDM vol. 3, 5.3)
 *   - FS and GS: whether the offset alone must be canonical, too (AMD); AMD's MXCSR.MM
 *
 * A case on which both sides disagree runs on the host again, alone. When the host then gives the
 * software CPU's answer it has disagreed with itself, which proves nothing: such cases are counted
 * and printed, but are no failures. (Seen on Zen 5: a short branch that ends at its code segment's
 * limit, and is taken, raises #GP in some per cent of its runs.)
 */
#include "oracle.h"
#include "cpu/x86/cpuid.h"
#include "cpu/x86/soft/xlat.h"
#include "cpu/x86/state.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef HAVE_ZYDIS
#include <Zydis/Zydis.h>
#endif

static struct {
    int64_t cases;
    int64_t seed;
    int64_t only_case;
    gboolean keep_going, verbose, only_64, no_random, self_test, translate;
    char *only;
} opt = {.cases = 20000, .seed = 1, .only_case = -1};

static const GOptionEntry entries[] = {
    {"cases", 'n', 0, G_OPTION_ARG_INT64, &opt.cases, "Number of cases", "N"},
    {"seed", 's', 0, G_OPTION_ARG_INT64, &opt.seed, "Seed", "S"},
    {"case", 'c', 0, G_OPTION_ARG_INT64, &opt.only_case, "Run this case alone", "NUMBER"},
    {"only", 'o', 0, G_OPTION_ARG_STRING, &opt.only, "Table lines whose name contains TEXT",
     "TEXT"},
    {"keep-going", 'k', 0, G_OPTION_ARG_NONE, &opt.keep_going, "Do not stop after ten failures",
     NULL},
    {"verbose", 'v', 0, G_OPTION_ARG_NONE, &opt.verbose, "Print what is left out", NULL},
    {"only-64", 0, 0, G_OPTION_ARG_NONE, &opt.only_64, "64-bit cases only", NULL},
    {"no-random", 0, 0, G_OPTION_ARG_NONE, &opt.no_random, "No random bytes", NULL},
    {"self-test", 0, 0, G_OPTION_ARG_NONE, &opt.self_test, "Check that differences are noticed",
     NULL},
    {"translate", 't', 0, G_OPTION_ARG_NONE, &opt.translate, "Run code translated", NULL},
    {NULL},
};

/* ---------------------------------------------------------------- comparison */

#define FLAGS_COMPARED                                                                             \
    (RFLAGS_ARITH | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF |      \
     RFLAGS_AC | RFLAGS_ID)

static const char *const reg_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

struct difference {
    GString *text; /* NULL: only count */
    unsigned n;
};

static G_GNUC_PRINTF(2, 3) void differ(struct difference *d, const char *format, ...)
{
    va_list ap;
    d->n++;
    if (d->text) {
        va_start(ap, format);
        g_string_append(d->text, "#   ");
        g_string_append_vprintf(d->text, format, ap);
        g_string_append_c(d->text, '\n');
        va_end(ap);
    }
}

#define WIDE_OPERAND   512u /* the widest, FXSAVE's */
#define LINUX_TASK_END 0x00007ffffffff000u

static void compare_exception(struct difference *d, const struct oracle_case *k,
                              const struct outcome *a, const struct outcome *b)
{
    bool mapped = a->cr2 - CODE_BASE < CODE_BYTES || a->cr2 - DATA_BASE < DATA_BYTES;
    uint32_t mask = a->vector == 14 && (mapped || a->cr2 >= LINUX_TASK_END) ? ~1u : ~0u;
    uint64_t apart = a->cr2 > b->cr2 ? a->cr2 - b->cr2 : b->cr2 - a->cr2;
    if (a->vector != b->vector) {
        differ(d, "exception %u, software %u", a->vector, b->vector);
    }
    if (a->has_error && b->has_error && (a->error ^ b->error) & mask) {
        differ(d, "error code %#x, software %#x", a->error, b->error);
    }
    if (apart >= (k->wide_operand ? WIDE_OPERAND : 1)) {
        differ(d, "cr2 %#" PRIx64 ", software %#" PRIx64, a->cr2, b->cr2);
    }
}

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* An unmasked invalid operation or denormal operand. */
static bool x87_stopped(const struct outcome *o)
{
    return get16(o->fx + 2) & ~get16(o->fx) & 3;
}

static void compare_registers(struct difference *d, const struct oracle_case *k,
                              const struct outcome *a, const struct outcome *b)
{
    uint64_t flags = (a->rflags ^ b->rflags) & FLAGS_COMPARED & ~(uint64_t)k->undefined_flags;
    if (k->ignored_fsw && x87_stopped(a)) { /* FCOMI */
        flags &= ~(uint64_t)RFLAGS_ARITH;
    }
    if (opt.translate && a->vector != 1 && a->vector != 3) {
        flags &= ~(uint64_t)RFLAGS_ARITH; /* dead ones need not be kept up to a fault (xlat.h) */
    }
    for (unsigned i = 0; i < 16; i++) {
        if (a->r[i] != b->r[i]) {
            differ(d, "%s %016" PRIx64 ", software %016" PRIx64, reg_names[i], a->r[i], b->r[i]);
        }
    }
    if (a->rip != b->rip) {
        differ(d, "rip %#" PRIx64 ", software %#" PRIx64, a->rip, b->rip);
    }
    if (flags) {
        differ(d, "rflags %05" PRIx64 ", software %05" PRIx64 ", differ in %05" PRIx64, a->rflags,
               b->rflags, flags);
    }
}

/* A hex string of n bytes, highest first; static buffers in turn. */
static const char *hex(const uint8_t *p, unsigned n)
{
    static char buf[4][40];
    static unsigned turn;
    char *s = buf[turn++ & 3];
    for (unsigned i = 0; i < n; i++) {
        snprintf(s + 2 * i, 3, "%02x", p[n - 1 - i]);
    }
    return s;
}

static void compare_status(struct difference *d, const struct oracle_case *k,
                           const struct outcome *a, const struct outcome *b)
{
    uint16_t x = get16(a->fx + 2), y = get16(b->fx + 2);
    uint16_t ignored = k->ignored_fsw | (x87_stopped(a) ? k->ignored_fsw_if_stopped : 0);
    if ((x ^ y) & ~ignored) {
        differ(d, "fsw %04x, software %04x", x, y);
    }
}

static void compare_fx(struct difference *d, const struct oracle_case *k, const struct outcome *a,
                       const struct outcome *b)
{
    static const struct {
        const char *name;
        uint8_t at, bytes;
    } control[] = {{"fcw", 0, 2}, {"ftw", 4, 1}};
    uint16_t x = get16(a->fx + 24), y = get16(b->fx + 24);
    bool late = k->mmx_late && a->vector != 1 && a->vector != 3;
    /* PE after an unmasked overflow or underflow: a known deviation, see fp-host.c. */
    if ((x ^ y) & (a->vector == 19 && x & ~(x >> 7) & 0x18 ? ~0x20 : ~0)) {
        differ(d, "mxcsr %04x, software %04x", x, y);
    }
    if (!late) {
        compare_status(d, k, a, b);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(control) && !late; i++) {
        unsigned at = control[i].at, n = control[i].bytes;
        if (memcmp(a->fx + at, b->fx + at, n) != 0) {
            differ(d, "%s %s, software %s", control[i].name, hex(a->fx + at, n),
                   hex(b->fx + at, n));
        }
    }
    for (unsigned i = 0; i < 8 && !late; i++) {
        unsigned at = 32 + 16 * i;
        if (memcmp(a->fx + at, b->fx + at, 10) != 0) {
            differ(d, "st(%u) %s, software %s", i, hex(a->fx + at, 10), hex(b->fx + at, 10));
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        unsigned at = 160 + 16 * i;
        if (memcmp(a->fx + at, b->fx + at, 16) != 0) {
            differ(d, "xmm%u %s, software %s", i, hex(a->fx + at, 16), hex(b->fx + at, 16));
        }
        if (feature_modelled(F_AVX) && memcmp(a->ymm + 16 * i, b->ymm + 16 * i, 16) != 0) {
            differ(d, "ymm%u, upper half %s, software %s", i, hex(a->ymm + 16 * i, 16),
                   hex(b->ymm + 16 * i, 16));
        }
    }
}

/* Makes the bytes of b that do not count equal to a's. */
static void ignore_memory(const struct oracle_case *k, const struct outcome *a, struct outcome *b)
{
    for (unsigned i = 0; i < k->n_ignored; i++) {
        for (unsigned j = 0; j < k->ignored[i].bytes; j++) {
            unsigned at = k->ignored[i].at + j - RO_BYTES;
            if (at < RW_BYTES) {
                b->rw[at] = a->rw[at];
            }
        }
    }
}

static void compare_memory(struct difference *d, const struct outcome *a, const struct outcome *b)
{
    unsigned shown = 0;
    if (memcmp(a->rw, b->rw, RW_BYTES) == 0) {
        return;
    }
    for (unsigned i = 0; i < RW_BYTES; i += 8) {
        if (memcmp(a->rw + i, b->rw + i, 8) != 0 && shown++ < 8) {
            differ(d, "[%#x] %s, software %s", RW_BASE + i, hex(a->rw + i, 8), hex(b->rw + i, 8));
        }
    }
}

/* An operand that goes past 4 GiB in compatibility mode: whether the segment limit stops it is
 * "implementation-specific and may vary from one execution to another" (SDM vol. 3, 5.3). */
static bool wraps_at_4g(const struct oracle_case *k, const struct outcome *a,
                        const struct outcome *b)
{
    bool stopped = a->vector == 12 || a->vector == 13;
    if (k->mode == CODE_64 || k->segmented) {
        return false;
    }
    return (b->vector == 14 && (stopped || a->vector == 14) &&
            (b->cr2 >= 0xffffff00u || b->cr2 < 0x100)) ||
           (b->vector == 17 && stopped);
}

/* An undefined opcode at the end of the code: how many bytes are fetched before #UD differs. */
static bool undefined_at_end(const struct oracle_case *k, const struct outcome *a,
                             const struct outcome *b)
{
    const struct outcome *fetch = a->vector == 6 ? b : a, *other = fetch == a ? b : a;
    if (other->vector != 6 || k->code_at + k->code_bytes != CODE_BYTES) {
        return false;
    }
    return k->segmented
               ? fetch->vector == 13
               : fetch->vector == 14 && fetch->error & 0x10 && fetch->cr2 == CODE_BASE + CODE_BYTES;
}

/* An undefined opcode whose operands would end after 15 bytes: #GP where they are fetched first. */
static bool undefined_and_long(const struct oracle_case *k, const struct outcome *a,
                               const struct outcome *b)
{
    uint64_t end = (k->segmented ? 0 : CODE_BASE) + k->code_at + k->code_bytes;
    return a->vector == 13 && b->vector == 6 && a->rip == b->rip && end - b->rip > 15;
}

/* A non-canonical offset that a segment base makes canonical. */
static bool offset_not_canonical(const struct oracle_case *k, const struct outcome *a,
                                 const struct outcome *b)
{
    return k->fs_gs && a->vector == 13 && b->vector == 14 && b->cr2 >> 47 == 0x1ffff &&
           (b->cr2 - GS_BASE) >> 47 != 0x1ffff;
}

/* A call with both a bad stack and a bad target. */
static bool call_fails_twice(const struct oracle_case *k, const struct outcome *a,
                             const struct outcome *b)
{
    return k->call && (a->vector == 12 || a->vector == 14) && b->vector == 13;
}

/* A misaligned vector beyond the stack segment's limit: #GP or #SS. */
static bool misaligned_in_stack(const struct oracle_case *k, const struct outcome *a,
                                const struct outcome *b)
{
    return k->segmented && k->vector && a->vector == 13 && b->vector == 12;
}

/* An operand in pieces of which one is beyond the segment's limit, another in a bad page. */
static bool wide_fails_twice(const struct oracle_case *k, const struct outcome *a,
                             const struct outcome *b)
{
    return k->segmented && k->wide_operand && a->vector == 14 &&
           (b->vector == 12 || b->vector == 13);
}

/* MXCSR bit 17 is AMD's MM (APM vol. 1, 4.2.2), reserved elsewhere. */
static bool loads_amd_mxcsr(const struct outcome *a, const struct outcome *b)
{
    return get16(a->fx + 26) == 2 && b->vector == 13;
}

static unsigned compare(const struct oracle_case *k, const struct outcome *a,
                        const struct outcome *b, GString *text)
{
    struct difference d = {.text = text};
    if (!a->done || !b->done) {
        differ(&d, "%s", a->done ? "the software CPU did not finish" : "the native child died");
        return d.n;
    }
    if (wraps_at_4g(k, a, b) || undefined_at_end(k, a, b) || loads_amd_mxcsr(a, b) ||
        offset_not_canonical(k, a, b) || misaligned_in_stack(k, a, b) ||
        undefined_and_long(k, a, b) || call_fails_twice(k, a, b) || wide_fails_twice(k, a, b)) {
        return 0;
    }
    compare_exception(&d, k, a, b);
    compare_registers(&d, k, a, b);
    compare_fx(&d, k, a, b);
    compare_memory(&d, a, b);
    return d.n;
}

/* ---------------------------------------------------------------- report */

static void print_code(const struct oracle_case *k)
{
    static const char *const modes[] = {"64-bit", "32-bit", "16-bit"};
    fprintf(stderr, "# %s%s, %s, at %#x:", modes[k->mode], k->segmented ? " segmented" : "",
            k->step ? "single step" : "until INT3", CODE_BASE + k->code_at);
    for (unsigned i = 0; i < k->code_bytes; i++) {
        fprintf(stderr, " %02x", k->code[i]);
    }
    fprintf(stderr, "\n");
#ifdef HAVE_ZYDIS
    static const ZydisMachineMode modes_zydis[] = {ZYDIS_MACHINE_MODE_LONG_64,
                                                   ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
                                                   ZYDIS_MACHINE_MODE_LONG_COMPAT_16};
    ZydisDisassembledInstruction insn;
    unsigned at = 0, n = 0;
    while (at < k->code_bytes && n++ < (k->step ? 1u : 16u) &&
           ZYAN_SUCCESS(ZydisDisassembleIntel(modes_zydis[k->mode], CODE_BASE + k->code_at + at,
                                              k->code + at, k->code_bytes - at, &insn))) {
        fprintf(stderr, "#     %s\n", insn.text);
        at += insn.info.length;
    }
#endif
}

static void print_state(const char *name, const uint64_t r[16], uint64_t rflags, const uint8_t *fx)
{
    fprintf(stderr, "# %s: rflags %05" PRIx64 " mxcsr %s fcw %s fsw %s ftw %s\n", name, rflags,
            hex(fx + 24, 4), hex(fx, 2), hex(fx + 2, 2), hex(fx + 4, 1));
    for (unsigned i = 0; i < 16; i++) {
        fprintf(stderr, "%s%3s %016" PRIx64 "%s", i % 4 == 0 ? "#   " : "", reg_names[i], r[i],
                i % 4 == 3 ? "\n" : "  ");
    }
    for (unsigned i = 0; i < 8; i++) {
        fprintf(stderr, "%sst%u %s%s", i % 4 == 0 ? "#   " : "", i, hex(fx + 32 + 16 * i, 10),
                i % 4 == 3 ? "\n" : "  ");
    }
    for (unsigned i = 0; i < 16; i++) {
        fprintf(stderr, "%sxmm%-2u %s%s", i % 2 == 0 ? "#   " : "", i, hex(fx + 160 + 16 * i, 16),
                i % 2 == 1 ? "\n" : "  ");
    }
}

static void report(const struct oracle_case *k, const struct outcome *a, const struct outcome *b)
{
    g_autoptr(GString) text = g_string_new(NULL);
    compare(k, a, b, text);
    fprintf(stderr, "# case %" PRIu64 ", seed %" PRIu64 "\n", k->number, k->seed);
    print_code(k);
    fprintf(stderr, "%s", text->str);
    if (k->patch_bytes) {
        fprintf(stderr, "#   memory at %#x:", DATA_BASE + k->patch_at);
        for (unsigned i = 0; i < MIN(k->patch_bytes, 32u); i++) {
            fprintf(stderr, " %02x", k->patch[i]);
        }
        fprintf(stderr, "\n");
    }
    if (opt.verbose || opt.only_case >= 0) {
        print_state("before", k->r, k->rflags, k->fx);
        print_state("native", a->r, a->rflags, a->fx);
        print_state("software", b->r, b->rflags, b->fx);
        fprintf(stderr, "# native: exception %u error %#x cr2 %#" PRIx64 " rip %#" PRIx64 "\n",
                a->vector, a->error, a->cr2, a->rip);
        fprintf(stderr, "# software: exception %u error %#x cr2 %#" PRIx64 " rip %#" PRIx64 "\n",
                b->vector, b->error, b->cr2, b->rip);
    }
}

/* ---------------------------------------------------------------- self-test */

/* Spoils one thing of an outcome; returns its name, NULL past the last. */
static const char *spoil(struct outcome *o, unsigned what)
{
    switch (what) {
    case 0:
        o->r[11] ^= 0x8000000000000000;
        return "general register";
    case 1:
        o->rflags ^= RFLAGS_DF;
        return "flag";
    case 2:
        o->rip++;
        return "instruction pointer";
    case 3:
        o->vector ^= 8;
        return "exception";
    case 4:
        o->fx[160 + 16 * 7 + 15] ^= 1;
        return "vector register";
    case 5:
        o->fx[32 + 9] ^= 1;
        return "x87 register";
    case 6:
        o->fx[25] ^= 1;
        return "MXCSR";
    case 7:
        o->fx[4] ^= 1;
        return "x87 tag";
    case 8:
        o->rw[RW_BYTES - 1] ^= 1;
        return "memory";
    case 9:
        o->ymm[16 * 5 + 3] ^= 0x10;
        return "upper half of a vector register";
    case 10:
        o->done = false;
        return "completion";
    default:
        return NULL;
    }
}

/* Whether a case on the host can read a page that the oracle itself has below 4 GiB. */
static bool reaches_others(struct oracle_case *k, const struct template *t, struct outcome *native)
{
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (page == MAP_FAILED) {
        return true;
    }
    memcpy(k->code, "\x8a\x00\xcc", 3); /* MOV AL, [RAX]; INT3 */
    k->code_bytes = 3;
    k->r[0] = (uintptr_t)page;
    native_run(k, 1, t, native);
    munmap(page, 4096);
    return native->vector != 14;
}

static int self_test(void)
{
    struct gen_options options = {.no_random_bytes = true};
    g_autofree struct oracle_case *k = g_new(struct oracle_case, 1);
    g_autofree struct template *t = g_new(struct template, 1);
    g_autofree struct outcome *soft = g_new0(struct outcome, 1);
    g_autofree struct outcome *bad = g_new0(struct outcome, 1);
    struct outcome *native = native_outcomes();
    const char *name;
    unsigned missed = 0, n = 0;

    template_generate(t, 1, 0);
    case_generate(k, &options, 1, 0);
    memcpy(k->code, "\x90\xcc", 2); /* NOP, INT3 */
    k->code_at = 0x800;
    k->code_bytes = 2;
    k->step = false;
    k->mode = CODE_64;
    k->segmented = false;
    k->rflags &= ~(uint64_t)(RFLAGS_TF | RFLAGS_AC);
    k->undefined_flags = 0;
    native_run(k, 1, t, native);
    soft_case(k, native->rflags_at_start, t, soft);
    n++;
    if (compare(k, native, soft, NULL) != 0) {
        report(k, native, soft);
        printf("not ok %u - unspoilt outcomes agree\n", n);
        return 1;
    }
    printf("ok %u - unspoilt outcomes agree\n", n);
    for (unsigned what = 0;; what++) {
        *bad = *soft;
        name = spoil(bad, what);
        if (!name) {
            break;
        }
        if (strstr(name, "upper half") && !feature_modelled(F_AVX)) {
            continue;
        }
        bool noticed = compare(k, native, bad, NULL) > 0;
        printf("%sok %u - a spoilt %s is noticed\n", noticed ? "" : "not ", ++n, name);
        missed += !noticed;
    }
    bool reached = reaches_others(k, t, native);
    printf("%sok %u - the host's side reaches a case's memory only\n", reached ? "not " : "", ++n);
    printf("1..%u\n", n);
    return missed || reached ? 1 : 0;
}

/* ---------------------------------------------------------------- main */

struct totals {
    uint64_t cases, failed, unsteady;
    uint64_t by_vector[32];
};

/* Does the host give the software CPU's answer when it is asked again? */
static bool host_is_unsteady(const struct oracle_case *k, const struct template *t,
                             uint64_t rflags_at_start, const struct outcome *soft)
{
    g_autofree struct outcome *kept = g_memdup2(native_outcomes(), BATCH * sizeof(*kept));
    g_autofree struct outcome *again = g_new0(struct outcome, 1);
    g_autofree struct outcome *other = g_new0(struct outcome, 1);
    bool agrees = false;
    for (unsigned i = 0; i < 4 && !agrees; i++) {
        native_run(k, 1, t, again);
        *other = *soft;
        ignore_memory(k, again, other);
        agrees = again->rflags_at_start == rflags_at_start && compare(k, again, other, NULL) == 0;
    }
    memcpy(native_outcomes(), kept, BATCH * sizeof(*kept));
    if (agrees) {
        fprintf(stderr, "# case %" PRIu64 ", seed %" PRIu64 ": the host disagrees with itself\n",
                k->number, k->seed);
        print_code(k);
    }
    return agrees;
}

/* The fault of a CMPS may be that of either operand. Where the host has the other one's, which LODS
 * or SCAS in its place tells, the software CPU is taken to have it, too. */
static void take_fault_of_other_operand(const struct oracle_case *k, const struct template *t,
                                        const struct outcome *native, struct outcome *soft)
{
    g_autofree struct oracle_case *one = g_memdup2(k, sizeof(*k));
    g_autofree struct outcome *other = g_new0(struct outcome, 1);
    uint64_t at = soft->rip - (k->segmented ? 0 : CODE_BASE) - k->code_at;
    struct parsed p;
    if (native->rip != soft->rip || at >= k->code_bytes) {
        return;
    }
    insn_parse(&p, k->code + at, CODE_MAX - (unsigned)at, k->mode);
    if (!p.ok || p.map != M1 || (p.opcode & 0xfe) != 0xa6) {
        return;
    }
    memmove(one->code, k->code + at, k->code_bytes - at);
    one->code_at += (uint32_t)at;
    one->code_bytes -= (uint8_t)at;
    memcpy(one->r, soft->r, sizeof(one->r));
    for (unsigned opcode = 0xac; opcode <= 0xae; opcode += 2) {
        struct difference d = {0};
        one->code[p.opcode_at] = (uint8_t)(opcode | (p.opcode & 1));
        soft_case(one, native->rflags_at_start, t, other);
        compare_exception(&d, k, native, other);
        if (other->done && other->rip == soft->rip && d.n == 0) {
            soft->vector = other->vector;
            soft->has_error = other->has_error;
            soft->error = other->error;
            soft->cr2 = other->cr2;
        }
    }
}

/* Runs cases first..first+n-1, all of one batch. Returns false to stop. */
static bool run_batch(struct oracle_case *cases, uint64_t first, unsigned n, struct totals *total)
{
    struct gen_options options = {.only_64 = opt.only_64,
                                  .only_flat = !native_has_ldt(),
                                  .no_random_bytes = opt.no_random,
                                  .only = opt.only};
    g_autofree struct template *t = g_new(struct template, 1);
    g_autofree struct outcome *soft = g_new0(struct outcome, 1);
    struct outcome *native = native_outcomes();
    template_generate(t, (uint64_t)opt.seed, first / BATCH);
    for (unsigned i = 0; i < n; i++) {
        case_generate(&cases[i], &options, (uint64_t)opt.seed, first + i);
    }
    native_run(cases, n, t, native);
    for (unsigned i = 0; i < n; i++) {
        total->cases++;
        soft_case(&cases[i], native[i].rflags_at_start, t, soft);
        ignore_memory(&cases[i], &native[i], soft);
        total->by_vector[native[i].vector & 31]++;
        if (compare(&cases[i], &native[i], soft, NULL) > 0) {
            take_fault_of_other_operand(&cases[i], t, &native[i], soft);
        }
        if (compare(&cases[i], &native[i], soft, NULL) > 0) {
            if (host_is_unsteady(&cases[i], t, native[i].rflags_at_start, soft)) {
                total->unsteady++;
                continue;
            }
            total->failed++;
            report(&cases[i], &native[i], soft);
            if (total->failed >= 10 && !opt.keep_going) {
                return false;
            }
        } else if (opt.only_case >= 0) {
            report(&cases[i], &native[i], soft);
        }
    }
    return true;
}

static void print_totals(const struct totals *total, double seconds)
{
    printf("# %" PRIu64 " cases in %.1f s, %.0f a second; exceptions that ended them:",
           total->cases, seconds, (double)total->cases / seconds);
    for (unsigned i = 0; i < 32; i++) {
        if (total->by_vector[i]) {
            printf(" %u:%" PRIu64, i, total->by_vector[i]);
        }
    }
    printf("\n");
    if (total->unsteady) {
        printf("# %" PRIu64 " cases on which the host disagrees with itself do not count\n",
               total->unsteady);
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context =
        g_option_context_new("- compares instructions with the host");
    g_autoptr(GError) error = NULL;
    struct totals total = {0};
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "oracle: %s\n", error->message);
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
#if defined(__SANITIZE_ADDRESS__)
    printf("1..0 # SKIP the child's signal handler can't run under AddressSanitizer\n");
    return 0;
#endif
    native_init();
    soft_init();
    if (opt.translate) {
        soft_translate();
    }
    unsigned left_out = generator_init(&(struct gen_options){.only = opt.only}, opt.verbose);
    if (opt.self_test) {
        int result = self_test();
        soft_finish();
        return result;
    }
    printf("# seed %" PRId64
           "; %u lines of the instruction table are left out (--verbose lists them)\n",
           opt.seed, left_out);
    g_autofree struct oracle_case *cases = g_new(struct oracle_case, BATCH);
    int64_t start = g_get_monotonic_time();
    if (opt.only_case >= 0) {
        run_batch(cases, (uint64_t)opt.only_case, 1, &total);
    } else {
        for (uint64_t first = 0; first < (uint64_t)opt.cases; first += BATCH) {
            unsigned n = (unsigned)MIN((uint64_t)BATCH, (uint64_t)opt.cases - first);
            if (!run_batch(cases, first, n, &total)) {
                break;
            }
        }
    }
    if (opt.translate) {
        struct translation_stats s;
        xlat_stats_get(soft_cpu(), &s);
        printf("# translated: %" PRIu64 " units, %" PRIu64 " instructions, %" PRIu64
               " entered, %" PRIu64 " handlers called, %" PRIu64 " flushes\n",
               s.units, s.insns, s.enters, s.handlers, s.flushes);
    }
    print_totals(&total, (double)(g_get_monotonic_time() - start) / 1e6);
    printf("%sok 1 - software CPU agrees with the host\n1..1\n", total.failed ? "not " : "");
    soft_finish();
    return total.failed ? 1 : 0;
}
