/*
 * CPU models and their CPUID answers (Intel SDM volume 2, CPUID; volume 3, 18.7.3 for leaf 15H).
 *
 * A model is a list of features, each one bit of one CPUID word; the leaves are computed from it.
 * Two models so far: `max` (the default), x86-64-v2 and what makes Linux cheap to run on a software
 * CPU, and `qemu64`, close to x86-64-v1.
 *
 * The signature (family 6, model 36H) is that of an in-order Atom, on purpose: this CPU does not
 * speculate, and it is the signature by which guests know that. With it Linux takes itself as not
 * affected by the speculation flaws, so no page-table isolation, retpolines or buffer clearing slow
 * it down. IA32_ARCH_CAPABILITIES says the same to guests that look there.
 *
 * The TSC, the crystal of leaf 15H and the local APIC's timer all run at tsc_khz (1 GHz unless
 * changed), so a guest needs no calibration. Left out: XSAVE and AVX, MONITOR/MWAIT, performance
 * counters; of Hyper-V's interface everything but the crash registers (hv-crash), so a guest that
 * wants its hypercalls too will not use them: Linux does not.
 */
#include "cpu/x86/cpuid.h"

#include <string.h>

#define DEFAULT_TSC_KHZ 1000000u
#define SIGNATURE       0x00030661u /* family 6, model 36H, stepping 1 */

#define MAX_BASIC       0x16u
#define MAX_EXTENDED    0x80000008u

enum word {
    W_1_ECX,
    W_1_EDX,
    W_7_EBX,
    W_7_ECX,
    W_7_EDX,
    W_81_ECX,
    W_81_EDX,
    W_HV_EDX, /* 40000003H; anything in it brings the leaves of Hyper-V's interface */
    W__MAX
};

enum {
    IN_QEMU64 = 1,
    IN_MAX = 2,
    IN_BOTH = 3,
};

static const struct feature {
    const char *name; /* as on the command line */
    uint8_t feature;  /* enum cpu_feature, F_ALWAYS when nothing but CPUID shows it */
    uint8_t word, bit, models;
} features[] = {
    {"fpu", F_FPU, W_1_EDX, 0, IN_BOTH},
    {"vme", F_VME, W_1_EDX, 1, 0},
    {"de", F_ALWAYS, W_1_EDX, 2, IN_BOTH},
    {"pse", F_PSE, W_1_EDX, 3, IN_BOTH},
    {"tsc", F_TSC, W_1_EDX, 4, IN_BOTH},
    {"msr", F_MSR, W_1_EDX, 5, IN_BOTH},
    {"pae", F_PAE, W_1_EDX, 6, IN_BOTH},
    {"mce", F_MCE, W_1_EDX, 7, IN_BOTH},
    {"cx8", F_CX8, W_1_EDX, 8, IN_BOTH},
    {"apic", F_ALWAYS, W_1_EDX, 9, IN_BOTH},
    {"sep", F_SEP, W_1_EDX, 11, IN_BOTH},
    {"mtrr", F_MTRR, W_1_EDX, 12, IN_BOTH},
    {"pge", F_PGE, W_1_EDX, 13, IN_BOTH},
    {"mca", F_ALWAYS, W_1_EDX, 14, IN_BOTH},
    {"cmov", F_CMOV, W_1_EDX, 15, IN_BOTH},
    {"pat", F_PAT, W_1_EDX, 16, IN_BOTH},
    {"pse36", F_ALWAYS, W_1_EDX, 17, IN_BOTH},
    {"clflush", F_CLFLUSH, W_1_EDX, 19, IN_BOTH},
    {"mmx", F_MMX, W_1_EDX, 23, IN_BOTH},
    {"fxsr", F_FXSR, W_1_EDX, 24, IN_BOTH},
    {"sse", F_SSE, W_1_EDX, 25, IN_BOTH},
    {"sse2", F_SSE2, W_1_EDX, 26, IN_BOTH},
    {"pni", F_SSE3, W_1_ECX, 0, IN_BOTH},
    {"pclmulqdq", F_PCLMUL, W_1_ECX, 1, IN_MAX},
    {"ssse3", F_SSSE3, W_1_ECX, 9, IN_MAX},
    {"cx16", F_CX16, W_1_ECX, 13, IN_BOTH},
    {"pcid", F_PCID, W_1_ECX, 17, IN_MAX},
    {"sse4.1", F_SSE41, W_1_ECX, 19, IN_MAX},
    {"sse4.2", F_SSE42, W_1_ECX, 20, IN_MAX},
    {"x2apic", F_X2APIC, W_1_ECX, 21, IN_BOTH},
    {"movbe", F_MOVBE, W_1_ECX, 22, IN_MAX},
    {"popcnt", F_POPCNT, W_1_ECX, 23, IN_MAX},
    {"tsc-deadline", F_TSC_DEADLINE, W_1_ECX, 24, IN_MAX},
    {"aes", F_AES, W_1_ECX, 25, IN_MAX},
    {"rdrand", F_RDRAND, W_1_ECX, 30, IN_MAX},
    {"hypervisor", F_ALWAYS, W_1_ECX, 31, IN_BOTH},
    {"fsgsbase", F_FSGSBASE, W_7_EBX, 0, IN_MAX},
    {"tsc_adjust", F_TSC_ADJUST, W_7_EBX, 1, IN_MAX},
    {"smep", F_SMEP, W_7_EBX, 7, IN_MAX},
    {"erms", F_ERMS, W_7_EBX, 9, IN_MAX},
    {"invpcid", F_INVPCID, W_7_EBX, 10, IN_MAX},
    {"rdseed", F_RDSEED, W_7_EBX, 18, IN_MAX},
    {"smap", F_SMAP, W_7_EBX, 20, IN_MAX},
    {"clflushopt", F_CLFLUSHOPT, W_7_EBX, 23, IN_MAX},
    {"umip", F_UMIP, W_7_ECX, 2, IN_MAX},
    {"rdpid", F_RDPID, W_7_ECX, 22, IN_MAX},
    {"fsrm", F_FSRM, W_7_EDX, 4, IN_MAX},
    {"arch-capabilities", F_ARCH_CAPS, W_7_EDX, 29, IN_MAX},
    {"lahf_lm", F_LAHF, W_81_ECX, 0, IN_BOTH},
    {"3dnowprefetch", F_PREFETCHW, W_81_ECX, 8, IN_MAX},
    {"syscall", F_SYSCALL, W_81_EDX, 11, IN_BOTH},
    {"nx", F_NX, W_81_EDX, 20, IN_BOTH},
    {"pdpe1gb", F_PDPE1GB, W_81_EDX, 26, IN_MAX},
    {"rdtscp", F_RDTSCP, W_81_EDX, 27, IN_MAX},
    {"lm", F_LM, W_81_EDX, 29, IN_BOTH},
    {"hv-crash", F_HV_CRASH, W_HV_EDX, 10, 0},
};

static const struct model {
    const char *name;
    unsigned mask;
    const char *brand; /* up to 47 characters */
} models[] = {
    {"max", IN_MAX, "Godwit virtual CPU, x86-64-v2"},
    {"qemu64", IN_QEMU64, "Godwit virtual CPU, x86-64-v1"},
};

static GQuark cpu_error_quark(void)
{
    return g_quark_from_static_string("cpu-error");
}

/* ---- the command line's text */

/* Feature names are compared with '-', '_' and '.' taken as the same. */
static bool name_equal(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        bool sep_a = strchr("-_.", *a), sep_b = strchr("-_.", *b);

        if (sep_a != sep_b || (!sep_a && *a != *b)) {
            return false;
        }
    }
    return *a == *b;
}

static const struct feature *feature_find(const char *name)
{
    static const struct {
        const char *alias, *name;
    } aliases[] = {{"sse3", "pni"},        {"sse4-1", "sse4.1"}, {"sse4-2", "sse4.2"},
                   {"lahf-lm", "lahf_lm"}, {"xd", "nx"},         {"i64", "lm"}};

    for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++) {
        if (name_equal(name, aliases[i].alias)) {
            name = aliases[i].name;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        if (name_equal(name, features[i].name)) {
            return &features[i];
        }
    }
    return NULL;
}

const char *cpu_model_bit_name(uint32_t leaf, unsigned reg, unsigned bit)
{
    static const struct {
        uint32_t leaf;
        unsigned reg;
    } words[W__MAX] = {
        [W_1_ECX] = {1, 2},           [W_1_EDX] = {1, 3}, [W_7_EBX] = {7, 1},
        [W_7_ECX] = {7, 2},           [W_7_EDX] = {7, 3}, [W_81_ECX] = {0x80000001, 2},
        [W_81_EDX] = {0x80000001, 3},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        const struct feature *f = &features[i];

        if (words[f->word].leaf == leaf && words[f->word].reg == reg && f->bit == bit) {
            return f->name;
        }
    }
    return NULL;
}

struct selection {
    bool on[G_N_ELEMENTS(features)];
};

/* One item of the list after the model's name. pass 0 takes f=on|off and f, 1 takes +f, 2 takes -f:
 * that is their precedence, lowest first. */
static bool apply_item(struct selection *sel, const char *item, int pass, GError **error)
{
    g_autofree char *name = g_strdup(item[0] == '+' || item[0] == '-' ? item + 1 : item);
    char *value = item[0] == '+' || item[0] == '-' ? NULL : strchr(name, '=');
    const struct feature *f;
    bool on = item[0] != '-';

    if (value) {
        *value++ = '\0';
        if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0) {
            g_set_error(error, cpu_error_quark(), 0, "-cpu: feature '%s' takes on or off, not '%s'",
                        name, value);
            return false;
        }
        on = strcmp(value, "on") == 0;
    }
    f = feature_find(name);
    if (!f) {
        g_set_error(error, cpu_error_quark(), 0, "-cpu: there is no feature '%s'", name);
        return false;
    }
    if (pass == (item[0] == '-' ? 2 : item[0] == '+' ? 1 : 0)) {
        sel->on[f - features] = on;
    }
    return true;
}

static const struct model *model_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(models); i++) {
        if (strcmp(models[i].name, name) == 0) {
            return &models[i];
        }
    }
    return NULL;
}

/* ---- leaves */

struct leaf_list {
    GArray *array;
};

static void add_leaf(struct leaf_list *list, uint32_t leaf, uint32_t subleaf, uint32_t eax,
                     uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    struct cpuid_leaf l = {leaf, subleaf, eax, ebx, ecx, edx};

    g_array_append_val(list->array, l);
}

static uint32_t text_word(const char *text)
{
    uint32_t v;

    memcpy(&v, text, 4);
    return v;
}

static void add_basic_leaves(struct leaf_list *list, const uint32_t *word,
                             const struct cpu_model *model)
{
    add_leaf(list, 0, 0, MAX_BASIC, text_word("Genu"), text_word("ntel"), text_word("ineI"));
    /* EBX: CLFLUSH line of 8 quadwords; the APIC id and the logical processor count are per vCPU.
     */
    add_leaf(list, 1, 0, SIGNATURE, 8 << 8, word[W_1_ECX], word[W_1_EDX]);
    add_leaf(list, 2, 0, 0x00feff01, 0, 0, 0); /* caches and TLBs: see leaf 4 */
    /* Type 1 data, 2 instruction, 3 unified; EBX: line 64, 8 ways (16 for level 3); ECX: sets - 1.
     */
    add_leaf(list, 4, 0, 0x00000121, 7 << 22 | 63, 63, 0);
    add_leaf(list, 4, 1, 0x00000122, 7 << 22 | 63, 63, 0);
    add_leaf(list, 4, 2, 0x00000143, 7 << 22 | 63, 4095, 0);
    add_leaf(list, 4, 3, 0x00000163, 15 << 22 | 63, 16383, 0);
    add_leaf(list, 6, 0, 1 << 2 /* the APIC timer never stops */, 0, 0, 0);
    add_leaf(list, 7, 0, 0, word[W_7_EBX], word[W_7_ECX], word[W_7_EDX]);
    add_leaf(list, 0x15, 0, 1, 1, (uint32_t)(model->tsc_khz * 1000), 0);
    add_leaf(list, 0x16, 0, (uint32_t)(model->tsc_khz / 1000), (uint32_t)(model->tsc_khz / 1000),
             (uint32_t)(model->tsc_khz / 1000), 0);
}

/* Who the hypervisor is. With a feature of Hyper-V's it has Hyper-V's name, as guests look for its
 * interface by that; it is the least version of it: no hypercalls, no synthetic timers. */
static void add_hypervisor_leaves(struct leaf_list *list, const uint32_t *word)
{
    if (!word[W_HV_EDX]) {
        add_leaf(list, 0x40000000, 0, 0x40000000, text_word("Godw"), text_word("itGo"),
                 text_word("dwit"));
        return;
    }
    add_leaf(list, 0x40000000, 0, 0x40000005, text_word("Micr"), text_word("osof"),
             text_word("t Hv"));
    add_leaf(list, 0x40000001, 0, text_word("Hv#1"), 0, 0, 0);
    add_leaf(list, 0x40000002, 0, 14393, 10 << 16, 0, 0); /* build, version 10.0 */
    add_leaf(list, 0x40000003, 0, 0, 0, 0, word[W_HV_EDX]);
    add_leaf(list, 0x40000005, 0, 255, 255, 0, 0); /* most virtual and logical processors */
}

static void add_extended_leaves(struct leaf_list *list, const uint32_t *word,
                                const struct cpu_model *model, const char *brand)
{
    char text[48] = {0};

    g_strlcpy(text, brand, sizeof(text));
    add_hypervisor_leaves(list, word);
    add_leaf(list, 0x80000000, 0, MAX_EXTENDED, 0, 0, 0);
    add_leaf(list, 0x80000001, 0, 0, 0, word[W_81_ECX], word[W_81_EDX]);
    for (unsigned i = 0; i < 3; i++) {
        add_leaf(list, 0x80000002 + i, 0, text_word(text + 16 * i), text_word(text + 16 * i + 4),
                 text_word(text + 16 * i + 8), text_word(text + 16 * i + 12));
    }
    add_leaf(list, 0x80000006, 0, 0, 0, 2048u << 16 | 6 << 12 | 64, 0); /* level 2: 2 MiB, 8 ways */
    add_leaf(list, 0x80000007, 0, 0, 0, 0, 1 << 8);                     /* invariant TSC */
    add_leaf(list, 0x80000008, 0, model->phys_bits | 48 << 8, 0, 0, 0);
}

static void build(struct cpu_model *model, const struct selection *sel, const char *brand)
{
    uint32_t word[W__MAX] = {0};
    struct leaf_list list = {g_array_new(FALSE, FALSE, sizeof(struct cpuid_leaf))};

    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        if (sel->on[i]) {
            word[features[i].word] |= 1u << features[i].bit;
            model->features[features[i].feature / 64] |= 1ull << (features[i].feature % 64);
        }
    }
    add_basic_leaves(&list, word, model);
    add_extended_leaves(&list, word, model, brand);
    model->n_leaves = list.array->len;
    model->leaf = (struct cpuid_leaf *)g_array_free(list.array, FALSE);
}

struct cpu_model *cpu_model_new(const char *spec, const struct cpu_topology *topology,
                                GError **error)
{
    g_auto(GStrv) items = g_strsplit(spec && *spec ? spec : models[0].name, ",", -1);
    const struct model *base = model_find(items[0]);
    struct selection sel = {{false}};
    struct cpu_model *model;

    if (!base) {
        g_set_error(error, cpu_error_quark(), 0,
                    "unable to find CPU model '%s' (there are: max, qemu64)", items[0]);
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        sel.on[i] = features[i].models & base->mask;
    }
    for (int pass = 0; pass < 3; pass++) {
        for (char **item = items + 1; *item; item++) {
            if (!apply_item(&sel, *item, pass, error)) {
                return NULL;
            }
        }
    }
    model = g_new0(struct cpu_model, 1);
    model->name = g_strdup(base->name);
    model->topology = *topology;
    model->tsc_khz = DEFAULT_TSC_KHZ;
    model->phys_bits = 40;
    build(model, &sel, base->brand);
    return model;
}

void cpu_model_free(struct cpu_model *model)
{
    if (model) {
        g_free(model->name);
        g_free(model->leaf);
        g_free(model);
    }
}

/* ---- topology */

static unsigned bits_for(unsigned count)
{
    unsigned bits = 0;

    while ((1u << bits) < count) {
        bits++;
    }
    return bits;
}

struct shifts {
    unsigned core, die, package; /* where each field of the APIC id begins */
};

static struct shifts topology_shifts(const struct cpu_topology *t)
{
    struct shifts s;

    s.core = bits_for(MAX(t->threads, 1));
    s.die = s.core + bits_for(MAX(t->cores, 1));
    s.package = s.die + bits_for(MAX(t->dies, 1));
    return s;
}

uint32_t cpu_topology_apic_id(const struct cpu_topology *t, unsigned index)
{
    struct shifts s = topology_shifts(t);
    unsigned threads = MAX(t->threads, 1), cores = MAX(t->cores, 1), dies = MAX(t->dies, 1);
    unsigned thread = index % threads, core = index / threads % cores;
    unsigned die = index / threads / cores % dies, package = index / threads / cores / dies;

    return thread | core << s.core | die << s.die | package << s.package;
}

static struct cpuid_leaf topology_leaf(const struct cpu_model *model, uint32_t apic_id,
                                       uint32_t subleaf)
{
    const struct cpu_topology *t = &model->topology;
    struct shifts s = topology_shifts(t);
    unsigned threads = MAX(t->threads, 1);
    unsigned in_package = threads * MAX(t->cores, 1) * MAX(t->dies, 1);
    struct cpuid_leaf l = {0xb, subleaf, 0, 0, subleaf & 0xff, apic_id};

    if (subleaf == 0) {
        l.eax = s.core;
        l.ebx = threads;
        l.ecx |= 1 << 8;
    } else if (subleaf == 1) {
        l.eax = s.package;
        l.ebx = in_package;
        l.ecx |= 2 << 8;
    }
    return l;
}

static void per_vcpu(const struct cpu_model *model, uint32_t apic_id, struct cpuid_leaf *l)
{
    const struct cpu_topology *t = &model->topology;
    unsigned threads = MAX(t->threads, 1), cores = MAX(t->cores, 1) * MAX(t->dies, 1);

    if (l->leaf == 1) {
        l->ebx |= apic_id << 24;
        if (threads * cores > 1) {
            l->ebx |= MIN(threads * cores, 255) << 16;
            l->edx |= 1 << 28;
        }
    } else if (l->leaf == 4 && l->eax) {
        /* Who shares the cache: levels 1 and 2 the threads of a core, level 3 the package. */
        unsigned sharing = (l->eax >> 5 & 7) < 3 ? 1u << bits_for(threads)
                                                 : 1u << (bits_for(threads) + bits_for(cores));

        l->eax |= (sharing - 1) << 14 | ((1u << bits_for(cores)) - 1) << 26;
    }
}

struct cpuid_leaf cpu_model_cpuid(const struct cpu_model *model, unsigned vcpu_index, uint32_t leaf,
                                  uint32_t subleaf)
{
    uint32_t apic_id = cpu_topology_apic_id(&model->topology, vcpu_index);
    struct cpuid_leaf none = {leaf, subleaf, 0, 0, 0, 0};

    /* Beyond the last basic or extended leaf Intel CPUs answer with the last basic one. */
    if ((leaf > MAX_BASIC && leaf < 0x40000000) || leaf > MAX_EXTENDED) {
        leaf = MAX_BASIC;
        subleaf = 0;
    }
    if (leaf == 0xb) {
        return topology_leaf(model, apic_id, subleaf);
    }
    for (unsigned i = 0; i < model->n_leaves; i++) {
        struct cpuid_leaf l = model->leaf[i];

        if (l.leaf == leaf && (l.subleaf == subleaf || (leaf != 4 && leaf != 7))) {
            per_vcpu(model, apic_id, &l);
            return l;
        }
    }
    return none;
}
