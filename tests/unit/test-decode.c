/*
 * The decoder against Zydis: length and validity of generated opcode, prefix and ModRM combinations
 * and of random bytes, in 64-, 32- and 16-bit mode. Differences must be in the list below, with a
 * reason. Without arguments it runs everything; without Zydis only the hand-written cases run.
 */
#include "cpu/x86/soft/block.h"
#include <stdlib.h>

#ifdef HAVE_ZYDIS
#include <Zydis/Zydis.h>
#endif

enum { MODE_64, MODE_32, MODE_16, MODES };

static const uint32_t mode_key[MODES] = {
    KEY_LONG64 | KEY_LMA | KEY_PE | KEY_OSFXSR | KEY_FLAT | KEY_CS_FLAT,
    KEY_PE | KEY_CS_D | KEY_SS_B | KEY_OSFXSR | KEY_FLAT | KEY_CS_FLAT,
    KEY_PE | KEY_OSFXSR | KEY_FLAT | KEY_CS_FLAT,
};

static struct cpu *cpu_for_decoding(void)
{
    struct cpu *c = g_new0(struct cpu, 1);
    static const enum cpu_feature absent[] = {F_AVX,  F_AVX2, F_FMA, F_F16C,  F_BMI1,
                                              F_BMI2, F_ADX,  F_SHA, F_XSAVE, F_XSAVEOPT};
    memset(c->features, 0xff, sizeof(c->features));
    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        c->features[absent[i] / 64] &= ~(1ull << (absent[i] % 64));
    }
    g_assert_true(blocks_init(c));
    return c;
}

static void cpu_done(struct cpu *c)
{
    blocks_finish(c);
    g_free(c);
}

/* ---------------------------------------------------------------- by hand */

struct example {
    unsigned mode;
    const char *hex;
    unsigned length; /* 0: more bytes wanted */
    int seg;         /* -1: don't care */
    unsigned base, index, scale, mflags;
    int32_t disp;
};

static unsigned bytes_of(const char *hex, uint8_t *out)
{
    unsigned n = 0;
    for (; hex[0]; hex += hex[2] ? 3 : 2) {
        out[n++] = g_ascii_xdigit_value(hex[0]) * 16 + g_ascii_xdigit_value(hex[1]);
        if (!hex[2]) {
            break;
        }
    }
    return n;
}

static void test_operands(void)
{
    static const struct example examples[] = {
        /* mov eax, [rbx+rcx*4+0x10] */
        {MODE_64, "8b 44 8b 10", 4, SEG_DS, RBX, RCX, 2, 0, 0x10},
        /* mov eax, [rsp+8]; stack faults are #SS */
        {MODE_64, "8b 44 24 08", 4, SEG_SS, RSP, R_ZERO, 0, MF_STACK, 8},
        /* mov eax, [r13+0] has no rip-relative meaning */
        {MODE_64, "41 8b 45 00", 4, SEG_DS, R13, R_ZERO, 0, 0, 0},
        /* mov eax, [rip+0x10]: re-based to the block, here at offset 0x20 */
        {MODE_64, "8b 05 10 00 00 00", 6, SEG_DS, R_BLOCK, R_ZERO, 0, 0, 0x36},
        /* mov eax, [disp32] in both encodings */
        {MODE_64, "8b 04 25 10 00 00 80", 7, SEG_DS, R_ZERO, R_ZERO, 0, 0, (int32_t)0x80000010},
        {MODE_32, "8b 05 10 00 00 00", 6, SEG_DS, R_ZERO, R_ZERO, 0, MF_ADDR32, 0x10},
        /* index 4 is none, but r12 is an index */
        {MODE_64, "42 8b 04 63", 4, SEG_DS, RBX, R12, 1, 0, 0},
        /* gs:, fs: then an ignored ds:, es: */
        {MODE_64, "65 8b 03", 3, SEG_GS, RBX, R_ZERO, 0, MF_SEG64, 0},
        {MODE_64, "64 3e 8b 03", 4, SEG_FS, RBX, R_ZERO, 0, MF_SEG64, 0},
        {MODE_64, "26 8b 03", 3, SEG_DS, RBX, R_ZERO, 0, 0, 0},
        {MODE_32, "26 8b 03", 3, SEG_ES, RBX, R_ZERO, 0, MF_ADDR32, 0},
        {MODE_32, "2e 8b 03", 3, SEG_CS, RBX, R_ZERO, 0, MF_ADDR32 | MF_SEGCHK, 0},
        {MODE_32, "64 8b 03", 3, SEG_FS, RBX, R_ZERO, 0, MF_ADDR32 | MF_SEGCHK, 0},
        /* 67 in each mode */
        {MODE_64, "67 8b 03", 3, SEG_DS, RBX, R_ZERO, 0, MF_ADDR32, 0},
        {MODE_32, "67 8b 42 10", 4, SEG_SS, RBP, RSI, 0, MF_ADDR16 | MF_STACK, 0x10},
        {MODE_16, "8b 47 fe", 3, SEG_DS, RBX, R_ZERO, 0, MF_ADDR16, -2},
        {MODE_16, "8b 06 34 12", 4, SEG_DS, R_ZERO, R_ZERO, 0, MF_ADDR16, 0x1234},
        {MODE_16, "67 8b 03", 3, SEG_DS, RBX, R_ZERO, 0, MF_ADDR32, 0},
        /* REX before another prefix does not count */
        {MODE_64, "41 66 8b 03", 4, SEG_DS, RBX, R_ZERO, 0, 0, 0},
    };
    struct cpu *c = cpu_for_decoding();
    for (unsigned i = 0; i < G_N_ELEMENTS(examples); i++) {
        const struct example *e = &examples[i];
        uint8_t bytes[16] = {0};
        struct op op = {.ip = 0x20};
        bool ends;
        bytes_of(e->hex, bytes);
        c->key = mode_key[e->mode];
        g_test_message("%s", e->hex);
        g_assert_cmpint(decode(c, bytes, 15, &op, &ends), ==, DECODE_OK);
        g_assert_cmpuint(op.len, ==, e->length);
        g_assert_cmpuint(op.base, ==, e->base);
        g_assert_cmpuint(op.index, ==, e->index);
        g_assert_cmpuint(op.scale, ==, e->scale);
        g_assert_cmphex(op.mflags, ==, e->mflags);
        g_assert_cmpint(op.seg, ==, e->seg);
        g_assert_cmpint(op.disp, ==, e->disp);
        g_assert_true(op.bits & OB_MEM);
        /* Every shorter prefix of it asks for more. */
        for (unsigned n = 1; n < e->length; n++) {
            g_assert_cmpint(decode(c, bytes, n, &op, &ends), ==, DECODE_NEED_MORE);
        }
    }
    cpu_done(c);
}

static op_fn handler_of(struct cpu *c, unsigned mode, const char *hex, unsigned *length)
{
    uint8_t bytes[16] = {0};
    struct op op = {.ip = 0};
    bool ends;
    bytes_of(hex, bytes);
    c->key = mode_key[mode];
    g_assert_cmpint(decode(c, bytes, 15, &op, &ends), ==, DECODE_OK);
    *length = op.len;
    return op.fn;
}

static void test_rules(void)
{
    static const struct {
        unsigned mode;
        const char *hex;
        unsigned length;
        op_fn fn;
    } rules[] = {
        {MODE_64, "0f 0b", 2, op_ud},
        {MODE_64, "f0 01 03", 3, NULL},
        {MODE_64, "f0 01 c3", 3, op_ud}, /* LOCK with a register destination */
        {MODE_64, "f0 03 03", 3, op_ud}, /* LOCK with a memory source */
        {MODE_64, "f0 39 03", 3, op_ud}, /* LOCK CMP */
        {MODE_64, "f0 90", 2, op_ud},
        {MODE_64, "06", 1, op_ud}, /* PUSH ES */
        {MODE_64, "27", 1, op_ud}, /* DAA */
        {MODE_32, "27", 1, op_daa},
        {MODE_64, "8d c0", 2, op_ud}, /* LEA of a register */
        {MODE_64, "90", 1, op_nop},
        {MODE_64, "f3 90", 2, op_pause},
        {MODE_64, "f3 0f 1e fa", 4, op_nop}, /* ENDBR64 */
        {MODE_64, "66 66 2e 0f 1f 84 00 00 00 00 00", 11, op_nop},
        {MODE_64, "66 66 66 66 66 66 66 66 66 66 66 90", 12, op_nop},
        {MODE_64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", 15, op_nop},
        {MODE_64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", 15, op_gp0},
        {MODE_64, "c5 f8 77", 2, op_ud}, /* VZEROUPPER without AVX */
    };
    struct cpu *c = cpu_for_decoding();
    for (unsigned i = 0; i < G_N_ELEMENTS(rules); i++) {
        unsigned length;
        op_fn fn = handler_of(c, rules[i].mode, rules[i].hex, &length);
        g_test_message("%s", rules[i].hex);
        if (rules[i].fn) {
            g_assert_true(fn == rules[i].fn);
        } else {
            g_assert_true(fn != op_ud);
        }
        if (fn != op_ud) {
            g_assert_cmpuint(length, ==, rules[i].length);
        }
    }
    cpu_done(c);
}

/* ---------------------------------------------------------------- against Zydis */

#ifdef HAVE_ZYDIS

struct checker {
    struct cpu *c;
    ZydisDecoder zydis[MODES];
    GHashTable *differences; /* description -> struct difference */
    uint64_t compared;
};

struct difference {
    unsigned count;
    char example[64];
};

static void checker_init(struct checker *k)
{
    k->c = cpu_for_decoding();
    ZydisDecoderInit(&k->zydis[MODE_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecoderInit(&k->zydis[MODE_32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&k->zydis[MODE_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    for (unsigned mode = 0; mode < MODES; mode++) {
        /* features that no model offers: what they reuse is a NOP or the older instruction */
        ZydisDecoderEnableMode(&k->zydis[mode], ZYDIS_DECODER_MODE_MPX, false);
        ZydisDecoderEnableMode(&k->zydis[mode], ZYDIS_DECODER_MODE_CET, false);
        ZydisDecoderEnableMode(&k->zydis[mode], ZYDIS_DECODER_MODE_CLDEMOTE, false);
        ZydisDecoderEnableMode(&k->zydis[mode], ZYDIS_DECODER_MODE_WBNOINVD, false);
        ZydisDecoderEnableMode(&k->zydis[mode], ZYDIS_DECODER_MODE_TZCNT, false);
        ZydisDecoderEnableMode(&k->zydis[mode], ZYDIS_DECODER_MODE_KNC, false);
    }
    k->differences = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    k->compared = 0;
}

static void checker_done(struct checker *k)
{
    g_hash_table_unref(k->differences);
    cpu_done(k->c);
}

/* Instruction set extensions that this CPU offers. */
static bool offered(const ZydisDecodedInstruction *z)
{
    if (z->mnemonic == ZYDIS_MNEMONIC_PREFETCH || z->mnemonic == ZYDIS_MNEMONIC_PREFETCHW) {
        return true; /* 0F 0D comes with long mode, not only with 3DNow! */
    }
    switch (z->meta.isa_ext) {
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_AES:
    case ZYDIS_ISA_EXT_CLFLUSHOPT:
    case ZYDIS_ISA_EXT_CLFSH:
    case ZYDIS_ISA_EXT_CLWB:
    case ZYDIS_ISA_EXT_INVPCID:
    case ZYDIS_ISA_EXT_LONGMODE:
    case ZYDIS_ISA_EXT_LZCNT:
    case ZYDIS_ISA_EXT_MMX:
    case ZYDIS_ISA_EXT_MOVBE:
    case ZYDIS_ISA_EXT_PAUSE:
    case ZYDIS_ISA_EXT_PCLMULQDQ:
    case ZYDIS_ISA_EXT_RDPID:
    case ZYDIS_ISA_EXT_RDRAND:
    case ZYDIS_ISA_EXT_RDSEED:
    case ZYDIS_ISA_EXT_RDTSCP:
    case ZYDIS_ISA_EXT_RDWRFSGS:
    case ZYDIS_ISA_EXT_SMAP:
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
    case ZYDIS_ISA_EXT_SSE3:
    case ZYDIS_ISA_EXT_SSE4:
    case ZYDIS_ISA_EXT_SSSE3:
    case ZYDIS_ISA_EXT_X87:
    case ZYDIS_ISA_EXT_PREFETCHWT1:
        return z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    default:
        return false;
    }
}

static void differ(struct checker *k, unsigned mode, const char *what, const char *mnemonic,
                   const uint8_t *bytes)
{
    static const char *const modes[MODES] = {"64", "32", "16"};
    g_autofree char *key = g_strdup_printf("%s: %s in %s-bit mode", mnemonic, what, modes[mode]);
    struct difference *d = g_hash_table_lookup(k->differences, key);
    if (!d) {
        d = g_new0(struct difference, 1);
        for (unsigned i = 0; i < 15; i++) {
            g_snprintf(d->example + 3 * i, 4, "%02x ", bytes[i]);
        }
        g_hash_table_insert(k->differences, g_steal_pointer(&key), d);
    }
    d->count++;
}

/* Differences that are right. */
static bool known(const uint8_t *bytes, const ZydisDecodedInstruction *z, bool valid, bool ours)
{
    if (valid && !ours) {
        switch (z->mnemonic) {
        case ZYDIS_MNEMONIC_UD0:
        case ZYDIS_MNEMONIC_UD1:
        case ZYDIS_MNEMONIC_UD2:
            return true; /* defined to be undefined */
        case ZYDIS_MNEMONIC_RSM:
            return true; /* undefined outside system management mode, which there is none of */
        default:
            return false;
        }
    }
    if (valid && ours) {
        return z->mnemonic == ZYDIS_MNEMONIC_SENDUIPI; /* RDRAND, which ignores F3 */
    }
    /* MOV with a segment, control or debug register that does not exist: the handler raises #UD.
     * CLAC, STAC, RDRAND and RDSEED take no prefix; here they ignore it. */
    static const char prefixes[11] = "\x66\x67\xf0\xf2\xf3\x26\x2e\x36\x3e\x64\x65";
    unsigned i = 0;
    while (memchr(prefixes, bytes[i], sizeof(prefixes)) || (bytes[i] & 0xf0) == 0x40) {
        i++;
    }
    return (bytes[i] & 0xfd) == 0x8c ||
           (bytes[i] == 0x0f && ((bytes[i + 1] & 0xfc) == 0x20 || bytes[i + 1] == 0xc7 ||
                                 (bytes[i + 1] == 0x01 && (bytes[i + 2] & 0xfe) == 0xca)));
}

static void compare(struct checker *k, unsigned mode, const uint8_t *bytes)
{
    ZydisDecodedInstruction z;
    struct op op = {.ip = 0};
    bool ends;
    k->c->key = mode_key[mode];
    bool valid = ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&k->zydis[mode], NULL, bytes, 15, &z));
    enum decode_status status = decode(k->c, bytes, 15, &op, &ends);
    k->compared++;
    if (status != DECODE_OK) {
        differ(k, mode, "more than 15 bytes wanted", "?", bytes);
        return;
    }
    bool ours = op.fn != op_ud && op.fn != op_gp0;
    const char *mnemonic = valid ? ZydisMnemonicGetString(z.mnemonic) : "(invalid)";
    if (valid && offered(&z) && ours) {
        if (op.len != z.length) {
            differ(k, mode, "other length", ZydisMnemonicGetString(z.mnemonic), bytes);
        }
    } else if (ours != (valid && offered(&z)) && !known(bytes, &z, valid, ours)) {
        differ(k, mode, ours ? "defined here only" : "undefined here only", mnemonic, bytes);
    }
}

static void report(struct checker *k)
{
    GHashTableIter iter;
    gpointer key, value;
    unsigned n = 0;
    g_hash_table_iter_init(&iter, k->differences);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        const struct difference *d = value;
        g_printerr("%s (%u times): %s\n", (char *)key, d->count, d->example);
        n++;
    }
    g_test_message("%" G_GUINT64_FORMAT " compared", k->compared);
    g_assert_cmpuint(n, ==, 0);
}

static void fill_random(uint64_t *state, uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        *state = *state * 6364136223846793005ull + 1442695040888963407ull;
        bytes[i] = *state >> 56;
    }
}

static void test_generated(void)
{
    static const char *const prefixes[] = {
        "",   "66",    "f3",    "f2",       "67",       "f0",    "2e",    "65",
        "48", "66 48", "f3 48", "66 f2 49", "66 f3 67", "45 66", "f2 f3", "f0 66",
    };
    static const char *const maps[] = {"", "0f", "0f 38", "0f 3a"};
    struct checker k;
    checker_init(&k);
    uint64_t state = 1;
    for (unsigned p = 0; p < G_N_ELEMENTS(prefixes); p++) {
        for (unsigned m = 0; m < G_N_ELEMENTS(maps); m++) {
            uint8_t bytes[32];
            unsigned n = bytes_of(prefixes[p], bytes);
            n += bytes_of(maps[m], bytes + n);
            for (unsigned opcode = 0; opcode < 256; opcode++) {
                for (unsigned modrm = 0; modrm < 256; modrm++) {
                    bytes[n] = opcode;
                    bytes[n + 1] = modrm;
                    fill_random(&state, bytes + n + 2, 12);
                    for (unsigned mode = 0; mode < MODES; mode++) {
                        compare(&k, mode, bytes);
                    }
                }
            }
        }
    }
    report(&k);
    checker_done(&k);
}

static void test_random(void)
{
    struct checker k;
    checker_init(&k);
    uint64_t state = 20240817;
    for (unsigned i = 0; i < 300000; i++) {
        uint8_t bytes[15];
        fill_random(&state, bytes, 15);
        for (unsigned mode = 0; mode < MODES; mode++) {
            compare(&k, mode, bytes);
        }
    }
    report(&k);
    checker_done(&k);
}
#endif

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/decode/operands", test_operands);
    g_test_add_func("/decode/rules", test_rules);
#ifdef HAVE_ZYDIS
    g_test_add_func("/decode/generated", test_generated);
    g_test_add_func("/decode/random", test_random);
#endif
    return g_test_run();
}
