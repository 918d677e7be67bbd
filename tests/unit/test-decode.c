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

#define KEY_ALL (KEY_PE | KEY_OSFXSR | KEY_FLAT | KEY_CS_FLAT | KEY_OSXSAVE | KEY_AVX)

static const uint32_t mode_key[MODES] = {
    KEY_ALL | KEY_LONG64 | KEY_LMA,
    KEY_ALL | KEY_CS_D | KEY_SS_B,
    KEY_ALL,
};

static struct cpu *cpu_for_decoding(void)
{
    struct cpu *c = g_new0(struct cpu, 1);
    memset(c->features, 0xff, sizeof(c->features));
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
        {MODE_64, "c5 f8 77", 3, op_vzeroupper},
        {MODE_64, "c5 fc 77", 3, op_vzeroall},
        {MODE_32, "c5 fc 77", 3, op_vzeroall},
        {MODE_64, "c5 e8 77", 3, op_ud},    /* vvvv is in use */
        {MODE_64, "66 c5 f8 77", 4, op_ud}, /* and so is a prefix */
        {MODE_64, "48 c5 f8 77", 4, op_ud}, /* also REX */
        {MODE_32, "c5 03", 2, NULL},        /* LDS */
        {MODE_64, "c4 e2 79 18 03", 5, op_vbroadcastss},
        {MODE_64, "c4 e2 f9 18 03", 5, op_ud},            /* W must be 0 */
        {MODE_64, "c4 e2 79 19 03", 5, op_ud},            /* L must be 1 */
        {MODE_64, "c4 e2 75 92 04 20", 6, op_vgatherdps}, /* index YMM4 */
        {MODE_64, "c4 e2 75 92 03", 5, op_ud},            /* no SIB byte */
        {MODE_64, "c4 e3 7d 19 c1 01", 6, op_vextractf128},
        {MODE_64, "c4 e0 7d 19 c1", 5, op_ud}, /* no such map */
        {MODE_64, "f3 0f bc c1", 4, NULL},     /* TZCNT */
        {MODE_64, "0f 01 d0", 3, op_xgetbv},
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
    if (z->mnemonic == ZYDIS_MNEMONIC_VMCALL || z->mnemonic == ZYDIS_MNEMONIC_VMMCALL) {
        return true; /* a hypervisor's call */
    }
    if (z->mnemonic == ZYDIS_MNEMONIC_PREFETCH || z->mnemonic == ZYDIS_MNEMONIC_PREFETCHW) {
        return true; /* 0F 0D comes with long mode, not only with 3DNow! */
    }
    switch (z->meta.isa_ext) {
    case ZYDIS_ISA_EXT_AVX:
    case ZYDIS_ISA_EXT_AVX2:
    case ZYDIS_ISA_EXT_AVX2GATHER:
    case ZYDIS_ISA_EXT_AVXAES:
    case ZYDIS_ISA_EXT_BMI2:
    case ZYDIS_ISA_EXT_F16C:
    case ZYDIS_ISA_EXT_FMA:
        return z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    case ZYDIS_ISA_EXT_BMI1: /* TZCNT among them */
        return true;
    case ZYDIS_ISA_EXT_ADOX_ADCX:
    case ZYDIS_ISA_EXT_PKU:
    case ZYDIS_ISA_EXT_XSAVE:
    case ZYDIS_ISA_EXT_XSAVEC:
    case ZYDIS_ISA_EXT_XSAVEOPT:
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
    case ZYDIS_ISA_EXT_SHA:
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

/* The top bit of vvvv does not count outside 64-bit mode (the oracle agrees); Zydis wants it. */
static bool is_vex_with_ignored_bit(unsigned mode, const uint8_t *bytes)
{
    return mode != MODE_64 && bytes[0] == 0xc4 && !(bytes[2] & 0x40);
}

/* A gather whose destination, index and mask are not three registers: the handler raises #UD. */
static bool gathers_into_itself(const uint8_t *bytes)
{
    return bytes[0] == 0xc4 && (bytes[1] & 31) == 2 && (bytes[3] & 0xfc) == 0x90;
}

/* Differences that are right. */
static bool known(unsigned mode, const uint8_t *bytes, const ZydisDecodedInstruction *z, bool valid,
                  bool ours)
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
    if (is_vex_with_ignored_bit(mode, bytes) || gathers_into_itself(bytes)) {
        return true;
    }
    /* MOV with a segment, control or debug register that does not exist: the handler raises #UD.
     * RDRAND and RDSEED take no prefix; here they ignore it. */
    static const char prefixes[11] = "\x66\x67\xf0\xf2\xf3\x26\x2e\x36\x3e\x64\x65";
    unsigned i = 0;
    while (memchr(prefixes, bytes[i], sizeof(prefixes)) || (bytes[i] & 0xf0) == 0x40) {
        i++;
    }
    return (bytes[i] & 0xfd) == 0x8c ||
           (bytes[i] == 0x0f && ((bytes[i + 1] & 0xfc) == 0x20 || bytes[i + 1] == 0xc7));
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
    } else if (ours != (valid && offered(&z)) && !known(mode, bytes, &z, valid, ours)) {
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

/* Every opcode of the three VEX maps with every pp, L and W; other fields and what follows random.
 */
static void test_vex(void)
{
    struct checker k;
    checker_init(&k);
    uint64_t state = 3;
    for (unsigned n = 0; n < 3 * 16 * 256 * 64; n++) {
        uint8_t bytes[15], rest[15];
        unsigned opcode = n & 255, fields = n >> 8 & 15, map = n >> 12 & 3, modrm = n >> 14 << 3;
        fill_random(&state, rest, 15);
        bool short_form = map == 0 && !(fields & 8) && rest[0] & 1, one = rest[0] & 2;
        unsigned last = (fields & 8) << 4 | (one ? 0x78 : rest[1] & 0x78) | (fields & 7), i = 0;
        bytes[i++] = short_form ? 0xc5 : 0xc4;
        if (short_form) {
            last |= rest[2] & 0x80;
        } else {
            bytes[i++] = (rest[2] & 0xe0) | (map + 1);
        }
        bytes[i++] = last;
        bytes[i++] = opcode;
        bytes[i++] = modrm | (rest[3] & 7);
        memcpy(bytes + i, rest + 4, 15 - i);
        for (unsigned mode = 0; mode < MODES; mode++) {
            compare(&k, mode, bytes);
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
    g_test_add_func("/decode/vex", test_vex);
    g_test_add_func("/decode/random", test_random);
#endif
    return g_test_run();
}
