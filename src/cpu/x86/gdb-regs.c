/* Registers for gdb: see gdb-regs.h. */
#include "cpu/x86/gdb-regs.h"

#include "cpu/x86/cpuid.h"
#include "cpu/x86/state.h"
#include <string.h>

/* Where a register is in struct cpu_state. */
enum place {
    PLACE_REGS,  /* arg: offset in struct x_regs */
    PLACE_SEL,   /* arg: offset of the segment in struct x_sregs */
    PLACE_BASE,  /* the same */
    PLACE_SREGS, /* arg: offset in struct x_sregs */
    PLACE_MSR,   /* arg: its number */
    PLACE_XSAVE, /* arg: offset in the XSAVE image */
    PLACE_FPU,   /* arg: enum fpu_word */
};

enum fpu_word { FPU_CONTROL, FPU_STATUS, FPU_TAGS, FPU_CS, FPU_IP, FPU_DS, FPU_DP, FPU_OPCODE };

/* Offsets in the XSAVE image (SDM volume 1, section 13.4). */
enum {
    X_CONTROL = 0,
    X_STATUS = 2,
    X_TAGS = 4, /* a bit per register */
    X_OPCODE = 6,
    X_IP = 8,
    X_CS = 12,
    X_DP = 16,
    X_DS = 20,
    X_MXCSR = 24,
    X_ST = 32,
    X_XMM = 160,
    X_XSTATE_BV = 512,
    X_YMM_HIGH = 576,
};

struct gdb_reg {
    const char *name;
    uint8_t bytes;
    enum place place;
    uint32_t arg;
    const char *type;
};

#define MSR_KERNEL_GS_BASE 0xc0000102

#define GPR(n)                                                                                     \
    {                                                                                              \
#n, 8, PLACE_REGS, offsetof(struct x_regs, n), "int64"                                     \
    }
#define SEL(n)                                                                                     \
    {                                                                                              \
#n, 4, PLACE_SEL, offsetof(struct x_sregs, n), "int32"                                     \
    }
#define CONTROL(n)                                                                                 \
    {                                                                                              \
#n, 8, PLACE_SREGS, offsetof(struct x_sregs, n), "int64"                                   \
    }
#define FLAGS(n)                                                                                   \
    {                                                                                              \
#n, 8, PLACE_SREGS, offsetof(struct x_sregs, n), "x64_" #n                                 \
    }
#define ST(n)                                                                                      \
    {                                                                                              \
        "st" #n, 10, PLACE_XSAVE, X_ST + 16 * n, "i387_ext"                                        \
    }
#define FPU(n, word)                                                                               \
    {                                                                                              \
        n, 4, PLACE_FPU, word, "int"                                                               \
    }
#define XMM(n)                                                                                     \
    {                                                                                              \
        "xmm" #n, 16, PLACE_XSAVE, X_XMM + 16 * n, "vec128"                                        \
    }
#define YMMH(n)                                                                                    \
    {                                                                                              \
        "ymm" #n "h", 16, PLACE_XSAVE, X_YMM_HIGH + 16 * n, "uint128"                              \
    }

static const struct gdb_reg regs_table[] = {
    GPR(rax),
    GPR(rbx),
    GPR(rcx),
    GPR(rdx),
    GPR(rsi),
    GPR(rdi),
    {"rbp", 8, PLACE_REGS, offsetof(struct x_regs, rbp), "data_ptr"},
    {"rsp", 8, PLACE_REGS, offsetof(struct x_regs, rsp), "data_ptr"},
    GPR(r8),
    GPR(r9),
    GPR(r10),
    GPR(r11),
    GPR(r12),
    GPR(r13),
    GPR(r14),
    GPR(r15),
    {"rip", 8, PLACE_REGS, offsetof(struct x_regs, rip), "code_ptr"},
    {"eflags", 4, PLACE_REGS, offsetof(struct x_regs, rflags), "i386_eflags"},
    SEL(cs),
    SEL(ss),
    SEL(ds),
    SEL(es),
    SEL(fs),
    SEL(gs),
    ST(0),
    ST(1),
    ST(2),
    ST(3),
    ST(4),
    ST(5),
    ST(6),
    ST(7),
    FPU("fctrl", FPU_CONTROL),
    FPU("fstat", FPU_STATUS),
    FPU("ftag", FPU_TAGS),
    FPU("fiseg", FPU_CS),
    FPU("fioff", FPU_IP),
    FPU("foseg", FPU_DS),
    FPU("fooff", FPU_DP),
    FPU("fop", FPU_OPCODE),
#define FIRST_SSE 40
    XMM(0),
    XMM(1),
    XMM(2),
    XMM(3),
    XMM(4),
    XMM(5),
    XMM(6),
    XMM(7),
    XMM(8),
    XMM(9),
    XMM(10),
    XMM(11),
    XMM(12),
    XMM(13),
    XMM(14),
    XMM(15),
    {"mxcsr", 4, PLACE_XSAVE, X_MXCSR, "i386_mxcsr"},
#define FIRST_SEGMENT 57
    {"fs_base", 8, PLACE_BASE, offsetof(struct x_sregs, fs), "int64"},
    {"gs_base", 8, PLACE_BASE, offsetof(struct x_sregs, gs), "int64"},
#define FIRST_SYSTEM 59
    {"k_gs_base", 8, PLACE_MSR, MSR_KERNEL_GS_BASE, "int64"},
    FLAGS(cr0),
    CONTROL(cr2),
    FLAGS(cr3),
    FLAGS(cr4),
    CONTROL(cr8),
    FLAGS(efer),
#define FIRST_AVX 66
    YMMH(0),
    YMMH(1),
    YMMH(2),
    YMMH(3),
    YMMH(4),
    YMMH(5),
    YMMH(6),
    YMMH(7),
    YMMH(8),
    YMMH(9),
    YMMH(10),
    YMMH(11),
    YMMH(12),
    YMMH(13),
    YMMH(14),
    YMMH(15),
};
_Static_assert(G_N_ELEMENTS(regs_table) == FIRST_AVX + 16, "the first numbers of the features");

unsigned gdb_regs_count(const struct cpu_model *model)
{
    return cpu_model_has(model, F_AVX) ? G_N_ELEMENTS(regs_table) : FIRST_AVX;
}

unsigned gdb_reg_bytes(unsigned n)
{
    return n < G_N_ELEMENTS(regs_table) ? regs_table[n].bytes : 0;
}

/* ---------------------------------------------------------------- XML */

struct flag {
    const char *name;
    uint8_t first, last;
};

static const struct flag eflags[] = {
    {"CF", 0, 0},     {"", 1, 1},      {"PF", 2, 2},   {"AF", 4, 4},   {"ZF", 6, 6},
    {"SF", 7, 7},     {"TF", 8, 8},    {"IF", 9, 9},   {"DF", 10, 10}, {"OF", 11, 11},
    {"IOPL", 12, 13}, {"NT", 14, 14},  {"RF", 16, 16}, {"VM", 17, 17}, {"AC", 18, 18},
    {"VIF", 19, 19},  {"VIP", 20, 20}, {"ID", 21, 21},
};

static const struct flag mxcsr[] = {
    {"IE", 0, 0},   {"DE", 1, 1},   {"ZE", 2, 2},   {"OE", 3, 3},   {"UE", 4, 4},
    {"PE", 5, 5},   {"DAZ", 6, 6},  {"IM", 7, 7},   {"DM", 8, 8},   {"ZM", 9, 9},
    {"OM", 10, 10}, {"UM", 11, 11}, {"PM", 12, 12}, {"FZ", 15, 15},
};

static const struct flag cr0[] = {
    {"PE", 0, 0},   {"MP", 1, 1},   {"EM", 2, 2},   {"TS", 3, 3},   {"ET", 4, 4},   {"NE", 5, 5},
    {"WP", 16, 16}, {"AM", 18, 18}, {"NW", 29, 29}, {"CD", 30, 30}, {"PG", 31, 31},
};

static const struct flag cr3[] = {{"PCID", 0, 11}, {"PDBR", 12, 63}};

static const struct flag cr4[] = {
    {"VME", 0, 0},     {"PVI", 1, 1},       {"TSD", 2, 2},          {"DE", 3, 3},
    {"PSE", 4, 4},     {"PAE", 5, 5},       {"MCE", 6, 6},          {"PGE", 7, 7},
    {"PCE", 8, 8},     {"OSFXSR", 9, 9},    {"OSXMMEXCPT", 10, 10}, {"UMIP", 11, 11},
    {"LA57", 12, 12},  {"VMXE", 13, 13},    {"SMXE", 14, 14},       {"FSGSBASE", 16, 16},
    {"PCIDE", 17, 17}, {"OSXSAVE", 18, 18}, {"SMEP", 20, 20},       {"SMAP", 21, 21},
    {"PKE", 22, 22},   {"PKS", 24, 24},
};

static const struct flag efer[] = {
    {"SCE", 0, 0},    {"LME", 8, 8},     {"LMA", 10, 10},   {"NXE", 11, 11},
    {"SVME", 12, 12}, {"LMSLE", 13, 13}, {"FFXSR", 14, 14}, {"TCE", 15, 15},
};

static void xml_flags(GString *xml, const char *id, unsigned bytes, const struct flag *flag,
                      size_t n)
{
    g_string_append_printf(xml, "<flags id=\"%s\" size=\"%u\">", id, bytes);
    for (size_t i = 0; i < n; i++) {
        g_string_append_printf(xml, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", flag[i].name,
                               flag[i].first, flag[i].last);
    }
    g_string_append(xml, "</flags>");
}

static void xml_vec128(GString *xml)
{
    static const struct {
        const char *id, *type;
        unsigned count;
    } part[] = {
        {"v4_float", "ieee_single", 4}, {"v2_double", "ieee_double", 2}, {"v16_int8", "int8", 16},
        {"v8_int16", "int16", 8},       {"v4_int32", "int32", 4},        {"v2_int64", "int64", 2},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(part); i++) {
        g_string_append_printf(xml, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>", part[i].id,
                               part[i].type, part[i].count);
    }
    g_string_append(xml, "<union id=\"vec128\">");
    for (size_t i = 0; i < G_N_ELEMENTS(part); i++) {
        g_string_append_printf(xml, "<field name=\"%s\" type=\"%s\"/>", part[i].id, part[i].id);
    }
    g_string_append(xml, "<field name=\"uint128\" type=\"uint128\"/></union>");
}

static void xml_feature(GString *xml, const char *name, unsigned first, unsigned end)
{
    g_string_append_printf(xml, "<feature name=\"%s\">", name);
    if (first == 0) {
        xml_flags(xml, "i386_eflags", 4, eflags, G_N_ELEMENTS(eflags));
    } else if (first == FIRST_SSE) {
        xml_vec128(xml);
        xml_flags(xml, "i386_mxcsr", 4, mxcsr, G_N_ELEMENTS(mxcsr));
    } else if (first == FIRST_SYSTEM) {
        xml_flags(xml, "x64_cr0", 8, cr0, G_N_ELEMENTS(cr0));
        xml_flags(xml, "x64_cr3", 8, cr3, G_N_ELEMENTS(cr3));
        xml_flags(xml, "x64_cr4", 8, cr4, G_N_ELEMENTS(cr4));
        xml_flags(xml, "x64_efer", 8, efer, G_N_ELEMENTS(efer));
    }
    for (unsigned n = first; n < end; n++) {
        const struct gdb_reg *r = &regs_table[n];

        g_string_append_printf(
            xml, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"%s/>\n", r->name,
            r->bytes * 8, r->type, n, r->place == PLACE_FPU ? " group=\"float\"" : "");
    }
    g_string_append(xml, "</feature>\n");
}

GString *gdb_regs_xml(const struct cpu_model *model)
{
    GString *xml = g_string_new("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
                                "<target><architecture>i386:x86-64</architecture>\n");

    xml_feature(xml, "org.gnu.gdb.i386.core", 0, FIRST_SSE);
    xml_feature(xml, "org.gnu.gdb.i386.sse", FIRST_SSE, FIRST_SEGMENT);
    xml_feature(xml, "org.gnu.gdb.i386.segments", FIRST_SEGMENT, FIRST_SYSTEM);
    xml_feature(xml, "org.godwit.gdb.i386.system", FIRST_SYSTEM, FIRST_AVX);
    if (cpu_model_has(model, F_AVX)) {
        xml_feature(xml, "org.gnu.gdb.i386.avx", FIRST_AVX, G_N_ELEMENTS(regs_table));
    }
    g_string_append(xml, "</target>\n");
    return xml;
}

/* ---------------------------------------------------------------- one vCPU's registers */

struct gdb_regs {
    struct vcpu *vcpu;
    unsigned changed; /* ST_* */
    struct cpu_state state;
    struct x_msr kernel_gs_base;
};

struct gdb_regs *gdb_regs_load(struct vcpu *vcpu)
{
    struct gdb_regs *regs = g_new0(struct gdb_regs, 1);
    struct cpu_state *st = &regs->state;

    regs->vcpu = vcpu;
    vcpu->ops->get(vcpu, st, ST_REGS | ST_SREGS | ST_FPU | ST_MSRS);
    regs->kernel_gs_base.index = MSR_KERNEL_GS_BASE;
    for (unsigned i = 0; i < MIN(st->n_msrs, X_MSRS_MAX); i++) {
        if (st->msr[i].index == MSR_KERNEL_GS_BASE) {
            regs->kernel_gs_base = st->msr[i];
        }
    }
    return regs;
}

bool gdb_regs_store(struct gdb_regs *regs, GError **error)
{
    struct cpu_state *st = &regs->state;

    st->n_msrs = 1;
    st->msr[0] = regs->kernel_gs_base;
    return !regs->changed || regs->vcpu->ops->set(regs->vcpu, st, regs->changed, error);
}

void gdb_regs_free(struct gdb_regs *regs)
{
    g_free(regs);
}

bool gdb_pc_set(struct vcpu *vcpu, uint64_t pc, GError **error)
{
    g_autofree struct cpu_state *st = g_new0(struct cpu_state, 1);

    vcpu->ops->get(vcpu, st, ST_REGS);
    st->regs.rip = pc;
    return vcpu->ops->set(vcpu, st, ST_REGS, error);
}

/* ---- the x87's words: 32 bits each for gdb, tags as FSTENV has them */

static uint32_t load(const uint8_t *from, unsigned size)
{
    uint32_t value = 0;

    memcpy(&value, from, size);
    return value;
}

/* 0 valid, 1 zero, 2 special */
static unsigned tag_of(const uint8_t *st)
{
    uint64_t mantissa;
    unsigned exponent = load(st + 8, 2) & 0x7fff;

    memcpy(&mantissa, st, sizeof(mantissa));
    if (exponent == 0) {
        return mantissa == 0 ? 1 : 2;
    }
    return exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
}

static uint32_t tags_get(const uint8_t *x)
{
    unsigned top = load(x + X_STATUS, 2) >> 11 & 7;
    uint32_t tags = 0;

    for (unsigned i = 0; i < 8; i++) { /* of the physical registers */
        unsigned tag = x[X_TAGS] >> i & 1 ? tag_of(x + X_ST + 16 * ((i - top) & 7)) : 3;

        tags |= tag << (2 * i);
    }
    return tags;
}

static void tags_set(uint8_t *x, uint32_t tags)
{
    x[X_TAGS] = 0;
    for (unsigned i = 0; i < 8; i++) {
        x[X_TAGS] |= (tags >> (2 * i) & 3) != 3 ? 1u << i : 0;
    }
}

static const struct {
    uint16_t at;
    uint8_t size;
} fpu_words[] = {
    [FPU_CONTROL] = {X_CONTROL, 2}, [FPU_STATUS] = {X_STATUS, 2}, [FPU_TAGS] = {X_TAGS, 1},
    [FPU_CS] = {X_CS, 2},           [FPU_IP] = {X_IP, 4},         [FPU_DS] = {X_DS, 2},
    [FPU_DP] = {X_DP, 4},           [FPU_OPCODE] = {X_OPCODE, 2},
};

static uint32_t fpu_get(const uint8_t *x, enum fpu_word word)
{
    return word == FPU_TAGS ? tags_get(x) : load(x + fpu_words[word].at, fpu_words[word].size);
}

static void fpu_set(uint8_t *x, enum fpu_word word, uint32_t value)
{
    if (word == FPU_TAGS) {
        tags_set(x, value);
    } else {
        memcpy(x + fpu_words[word].at, &value, fpu_words[word].size);
    }
}

/* ---- segments */

/* The descriptor that a selector names, read as the processor would. false: there is none. */
static bool descriptor_read(struct gdb_regs *regs, uint16_t selector, uint64_t *desc)
{
    const struct x_sregs *s = &regs->state.sregs;
    uint64_t base = selector & 4 ? s->ldt.base : s->gdt.base;
    uint32_t limit = selector & 4 ? s->ldt.limit : s->gdt.limit;

    return (selector & 0xfff8u) + 7 <= limit &&
           debug_read(regs->vcpu, base + (selector & 0xfff8u), desc, sizeof(*desc), false);
}

/* A selector that gdb writes takes its descriptor along, where there is one. */
static void selector_set(struct gdb_regs *regs, struct x_seg *seg, uint16_t selector)
{
    const struct cpu_state *st = &regs->state;
    uint64_t d;

    if (seg->selector == selector) {
        return;
    }
    seg->selector = selector;
    if (!(st->sregs.cr0 & CR0_PE) || (st->regs.rflags & RFLAGS_VM)) {
        seg->base = (uint64_t)selector << 4;
        return;
    }
    if ((selector & 0xfffc) == 0) {
        seg->unusable = 1;
        return;
    }
    if (!descriptor_read(regs, selector, &d)) {
        return;
    }
    seg->base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
    seg->limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));
    seg->g = d >> 55 & 1;
    seg->limit = seg->g ? seg->limit << 12 | 0xfff : seg->limit;
    seg->type = (d >> 40 & 15) | 1; /* loaded is accessed */
    seg->s = d >> 44 & 1;
    seg->dpl = d >> 45 & 3;
    seg->present = d >> 47 & 1;
    seg->avl = d >> 52 & 1;
    seg->l = d >> 53 & 1;
    seg->db = d >> 54 & 1;
    seg->unusable = 0;
}

/* ---- by number */

static const uint8_t *place_get(const struct gdb_regs *regs, const struct gdb_reg *r)
{
    const struct cpu_state *st = &regs->state;

    switch (r->place) {
    case PLACE_REGS:
        return (const uint8_t *)&st->regs + r->arg;
    case PLACE_BASE:
        return (const uint8_t *)&st->sregs + r->arg + offsetof(struct x_seg, base);
    case PLACE_SREGS:
        return (const uint8_t *)&st->sregs + r->arg;
    case PLACE_MSR:
        return (const uint8_t *)&regs->kernel_gs_base.data;
    default:
        return st->xsave + r->arg;
    }
}

void gdb_reg_get(const struct gdb_regs *regs, unsigned n, uint8_t *value)
{
    const struct gdb_reg *r = &regs_table[n];
    uint32_t word;

    if (r->place == PLACE_SEL) {
        const struct x_seg *seg = (const void *)((const uint8_t *)&regs->state.sregs + r->arg);

        word = seg->selector;
    } else if (r->place == PLACE_FPU) {
        word = fpu_get(regs->state.xsave, r->arg);
    } else {
        memcpy(value, place_get(regs, r), r->bytes);
        return;
    }
    memcpy(value, &word, r->bytes);
}

static unsigned place_set(enum place place)
{
    switch (place) {
    case PLACE_REGS:
        return ST_REGS;
    case PLACE_MSR:
        return ST_MSRS;
    case PLACE_XSAVE:
    case PLACE_FPU:
        return ST_FPU;
    default:
        return ST_SREGS;
    }
}

/* The image's component is not in its initial state any more. */
static void note_component(struct gdb_regs *regs, unsigned n)
{
    unsigned bit = n >= FIRST_AVX ? 2 : n >= FIRST_SSE ? 1 : 0;

    regs->state.xsave[X_XSTATE_BV] |= 1u << bit;
}

void gdb_reg_set(struct gdb_regs *regs, unsigned n, const uint8_t *value)
{
    const struct gdb_reg *r = &regs_table[n];
    uint8_t now[GDB_REG_MAX_BYTES];

    gdb_reg_get(regs, n, now);
    if (memcmp(now, value, r->bytes) == 0) {
        return;
    }
    if (r->place == PLACE_SEL) {
        selector_set(regs, (void *)((uint8_t *)&regs->state.sregs + r->arg),
                     (uint16_t)load(value, 2));
    } else if (r->place == PLACE_FPU) {
        fpu_set(regs->state.xsave, r->arg, load(value, 4));
    } else {
        memcpy((uint8_t *)place_get(regs, r), value, r->bytes);
    }
    if (place_set(r->place) == ST_FPU) {
        note_component(regs, n);
    }
    regs->changed |= place_set(r->place);
}
