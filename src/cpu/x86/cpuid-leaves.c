/*
 * The answers of CPUID (Intel SDM volume 2, CPUID; volume 3, 18.7.3 for leaf 15H; AMD APM volume 3,
 * appendix E), computed from a CPU model; and the topology that the APIC ids tell.
 *
 * Left out: performance counters (leaf 0AH is zero), MONITOR (leaf 5), SVM; of Hyper-V's interface
 * everything but the crash registers (hv-crash), so a guest that wants its hypercalls too will not
 * use them: Linux does not.
 */
#include "cpu/x86/cpu-features.h"
#include "cpu/x86/cpuid-priv.h"

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

static unsigned in_die(const struct cpu_topology *t)
{
    return MAX(t->threads, 1) * MAX(t->cores, 1);
}

static unsigned in_package(const struct cpu_topology *t)
{
    return in_die(t) * MAX(t->dies, 1);
}

/* ---- leaves */

struct leaf_list {
    const struct cpu_model *model;
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

static uint32_t last_basic(const struct cpu_model *m)
{
    const uint32_t *word = m->word;
    uint32_t last = m->level;

    if (m->fixed_level) {
        return last;
    }
    last = MAX(last, word[W_6_EAX] ? 6 : 0);
    last = MAX(last, word[W_7_EBX] | word[W_7_ECX] | word[W_7_EDX] | word[W_71_EAX] ? 7 : 0);
    last = MAX(last, word[W_1_ECX] >> 26 & 1 || word[W_D1_EAX] ? 0xd : 0); /* XSAVE */
    last = MAX(last, m->topology.dies > 1 ? 0x1f : 0);
    return MAX(last, 1);
}

static uint32_t last_extended(const struct cpu_model *m)
{
    const uint32_t *word = m->word;
    uint32_t last = m->xlevel;

    if (m->fixed_xlevel) {
        return last;
    }
    last = MAX(last, word[W_81_ECX] | word[W_81_EDX] ? 0x80000001 : 0);
    last = MAX(last, word[W_87_EDX] ? 0x80000007 : 0);
    last = MAX(last, word[W_88_EBX] || word[W_81_EDX] >> 29 & 1 ? 0x80000008 : 0);
    last = MAX(last, word[W_8A_EDX] ? 0x8000000a : 0);
    last = MAX(last, word[W_81_ECX] >> 22 & 1 ? 0x8000001e : 0); /* TOPOEXT */
    return last;
}

/* The caches: 32 KiB of level 1 each for data and code, 2 MiB of level 2, 16 MiB of level 3. Type 1
 * data, 2 instruction, 3 unified; EBX: line 64, ways; ECX: sets - 1. In AMD's leaf the same. */
static void add_caches(struct leaf_list *list, uint32_t leaf)
{
    add_leaf(list, leaf, 0, 0x00000121, 7 << 22 | 63, 63, 0);
    add_leaf(list, leaf, 1, 0x00000122, 7 << 22 | 63, 63, 0);
    add_leaf(list, leaf, 2, 0x00000143, 7 << 22 | 63, 4095, 0);
    if (!list->model->no_l3) {
        add_leaf(list, leaf, 3, 0x00000163, 15 << 22 | 63, 16383, 0);
    }
}

/* XSAVE: x87 and SSE, and AVX. What depends on XCR0 (EBX) is the accelerator's to correct. */
static void add_xsave_leaves(struct leaf_list *list)
{
    bool avx = cpu_model_has(list->model, F_AVX), pku = cpu_model_has(list->model, F_PKU);
    uint32_t compact = (avx ? 832 : 576) + (pku ? 8 : 0);
    uint32_t bytes = pku ? 2696 : compact;

    if (!cpu_model_has(list->model, F_XSAVE)) {
        return;
    }
    add_leaf(list, 0xd, 0, (avx ? 7 : 3) | (pku ? 0x200 : 0), 576, bytes, 0);
    add_leaf(list, 0xd, 1, list->model->word[W_D1_EAX], compact, 0, 0);
    if (avx) {
        add_leaf(list, 0xd, 2, 256, 576, 0, 0);
    }
    if (pku) {
        add_leaf(list, 0xd, 9, 8, 2688, 0, 0);
    }
}

static void add_basic_leaves(struct leaf_list *list)
{
    const struct cpu_model *m = list->model;
    const uint32_t *word = m->word;
    uint32_t last = last_basic(m), mhz = (uint32_t)(m->tsc_khz / 1000);

    add_leaf(list, 0, 0, last, text_word(m->vendor), text_word(m->vendor + 8),
             text_word(m->vendor + 4));
    /* EBX: CLFLUSH line of 8 quadwords; the APIC id and the logical processor count are per vCPU.
     */
    add_leaf(list, 1, 0, m->signature, 8 << 8, word[W_1_ECX], word[W_1_EDX]);
    if (!cpu_vendor_is_amd(m) && last >= 2) {
        add_leaf(list, 2, 0, 0x00feff01, 0, 0, 0); /* caches and TLBs: see leaf 4 */
    }
    if (!cpu_vendor_is_amd(m) && last >= 4) {
        add_caches(list, 4);
    }
    add_leaf(list, 6, 0, word[W_6_EAX], 0, 0, 0);
    add_leaf(list, 7, 0, word[W_71_EAX] ? 1 : 0, word[W_7_EBX], word[W_7_ECX], word[W_7_EDX]);
    if (word[W_71_EAX]) {
        add_leaf(list, 7, 1, word[W_71_EAX], 0, 0, 0);
    }
    add_xsave_leaves(list);
    if (last >= 0x15) {
        add_leaf(list, 0x15, 0, 1, 1, (uint32_t)(m->tsc_khz * 1000), 0);
    }
    if (last >= 0x16) {
        add_leaf(list, 0x16, 0, mhz & 0xffff, mhz & 0xffff, MIN(mhz, 0xffff), 0);
    }
}

/* Who the hypervisor is. With a feature of Hyper-V's it has Hyper-V's name, as guests look for its
 * interface by that. With one of KVM's, and under KVM always, it has KVM's name, behind Hyper-V's
 * leaves where there are both; kvm=off takes that away. */
static void add_hypervisor_leaves(struct leaf_list *list)
{
    const uint32_t *word = list->model->word;
    bool hyperv = cpu_model_has_hyperv(list->model);
    uint32_t kvm = hyperv ? 0x40000100 : 0x40000000;

    if (hyperv) {
        struct cpuid_leaf leaf[CPU_HYPERV_LEAVES];

        g_array_append_vals(list->array, leaf, cpu_hyperv_leaves(list->model, leaf));
    }
    if (list->model->no_signature) {
        return;
    }
    if (word[W_KVM_EAX] || list->model->support.is_host) {
        add_leaf(list, kvm, 0, kvm + 1, text_word("KVMK"), text_word("VMKV"), text_word("M\0\0\0"));
        add_leaf(list, kvm + 1, 0, word[W_KVM_EAX], 0, 0, word[W_KVM_EDX]);
    } else if (!hyperv) {
        add_leaf(list, 0x40000000, 0, 0x40000000, text_word("Godw"), text_word("itGo"),
                 text_word("dwit"));
    }
}

/* What AMD's processors have besides. Bits of leaf 1's EDX are repeated in 80000001H. */
#define AMD_REPEATED 0x0183f3ffu

static void add_amd_leaves(struct leaf_list *list, uint32_t last)
{
    const struct cpu_model *m = list->model;

    add_leaf(list, 0x80000005, 0, 0x01ff01ff, 0x01ff01ff, 32u << 24 | 8 << 16 | 1 << 8 | 64,
             32u << 24 | 8 << 16 | 1 << 8 | 64);
    add_leaf(list, 0x80000006, 0, 0, 0x42004200, 2048u << 16 | 6 << 12 | 1 << 8 | 64,
             m->no_l3 ? 0 : 32u << 18 | 8 << 12 | 1 << 8 | 64);
    if (last >= 0x8000001e) {
        add_caches(list, 0x8000001d);
        add_leaf(list, 0x8000001e, 0, 0, 0, 0, 0); /* per vCPU */
    }
}

static void add_extended_leaves(struct leaf_list *list)
{
    const struct cpu_model *m = list->model;
    bool amd = cpu_vendor_is_amd(m);
    uint32_t last = last_extended(m), edx = m->word[W_81_EDX];

    if (!last) {
        return;
    }
    edx |= amd ? m->word[W_1_EDX] & AMD_REPEATED : 0;
    add_leaf(list, 0x80000000, 0, last, amd ? text_word(m->vendor) : 0,
             amd ? text_word(m->vendor + 8) : 0, amd ? text_word(m->vendor + 4) : 0);
    add_leaf(list, 0x80000001, 0, amd ? m->signature : 0, 0, m->word[W_81_ECX], edx);
    for (unsigned i = 0; i < 3 && last >= 0x80000004; i++) {
        const char *text = m->id + 16 * i;
        add_leaf(list, 0x80000002 + i, 0, text_word(text), text_word(text + 4), text_word(text + 8),
                 text_word(text + 12));
    }
    if (amd) {
        add_amd_leaves(list, last);
    } else if (last >= 0x80000006) {
        add_leaf(list, 0x80000006, 0, 0, 0, 2048u << 16 | 6 << 12 | 64, 0); /* 2 MiB, 8 ways */
    }
    add_leaf(list, 0x80000007, 0, 0, 0, 0, m->word[W_87_EDX]);
    if (last >= 0x80000008) {
        uint32_t cores = in_package(&m->topology);
        uint32_t ecx = amd && cores > 1 ? (bits_for(cores) << 12) | (cores - 1) : 0;
        add_leaf(list, 0x80000008, 0, m->phys_bits | 48 << 8, m->word[W_88_EBX], ecx, 0);
    }
}

void cpu_model_make_leaves(struct cpu_model *model)
{
    struct leaf_list list = {model, g_array_new(FALSE, FALSE, sizeof(struct cpuid_leaf))};

    add_basic_leaves(&list);
    add_hypervisor_leaves(&list);
    add_extended_leaves(&list);
    model->n_leaves = list.array->len;
    model->leaf = (struct cpuid_leaf *)g_array_free(list.array, FALSE);
}

/* ---- per vCPU */

/* Leaf 0BH: threads, then all of a package. Leaf 1FH has the dies in between. */
static struct cpuid_leaf topology_leaf(const struct cpu_model *model, uint32_t apic_id,
                                       uint32_t leaf, uint32_t subleaf)
{
    const struct cpu_topology *t = &model->topology;
    struct shifts s = topology_shifts(t);
    struct cpuid_leaf l = {leaf, subleaf, 0, 0, subleaf & 0xff, apic_id};

    if (subleaf == 0) {
        l.eax = s.core;
        l.ebx = MAX(t->threads, 1);
        l.ecx |= 1 << 8;
    } else if (subleaf == 1) {
        l.eax = leaf == 0xb ? s.package : s.die;
        l.ebx = leaf == 0xb ? in_package(t) : in_die(t);
        l.ecx |= 2 << 8;
    } else if (subleaf == 2 && leaf == 0x1f) {
        l.eax = s.package;
        l.ebx = in_package(t);
        l.ecx |= 5 << 8;
    }
    return l;
}

/* How many APIC ids share a cache of this level: a core's at levels 1 and 2, a die's at 3. */
static unsigned cache_sharing(const struct cpu_topology *t, unsigned level)
{
    struct shifts s = topology_shifts(t);

    return 1u << (level < 3 ? s.core : s.die);
}

static void per_vcpu(const struct cpu_model *model, uint32_t apic_id, struct cpuid_leaf *l)
{
    const struct cpu_topology *t = &model->topology;
    struct shifts s = topology_shifts(t);
    unsigned level = l->eax >> 5 & 7;

    switch (l->leaf) {
    case 1:
        l->ebx |= apic_id << 24;
        if (in_package(t) > 1) {
            l->ebx |= MIN(in_package(t), 255) << 16;
        }
        break;
    case 4: /* who shares the cache; how many cores a package has room for */
        l->eax |= (cache_sharing(t, level) - 1) << 14;
        l->eax |= MIN((1u << (s.package - s.core)) - 1, 63) << 26;
        break;
    case 0x8000001d:
        l->eax |= (cache_sharing(t, level) - 1) << 14;
        break;
    case 0x8000001e:
        l->eax = apic_id;
        l->ebx = (MAX(t->threads, 1) - 1) << 8 | (apic_id >> s.core & 0xff);
        l->ecx = (MAX(t->dies, 1) - 1) << 8 | (apic_id >> s.die & 0xff);
        break;
    default:
        break;
    }
}

static bool has_subleaves(uint32_t leaf)
{
    return leaf == 4 || leaf == 7 || leaf == 0xd || leaf == 0x8000001d;
}

struct cpuid_leaf cpu_model_cpuid(const struct cpu_model *model, unsigned vcpu_index, uint32_t leaf,
                                  uint32_t subleaf)
{
    uint32_t apic_id = cpu_topology_apic_id(&model->topology, vcpu_index);
    struct cpuid_leaf none = {leaf, subleaf, 0, 0, 0, 0};
    uint32_t basic = last_basic(model), extended = last_extended(model);
    bool beyond = leaf < 0x40000000 ? leaf > basic : leaf >= 0x80000000 && leaf > extended;

    if (beyond) { /* Intel's processors answer with the last basic leaf */
        if (cpu_vendor_is_amd(model)) {
            return none;
        }
        leaf = basic;
        subleaf = 0;
    }
    if (leaf == 0xb || (leaf == 0x1f && model->topology.dies > 1)) {
        return topology_leaf(model, apic_id, leaf, subleaf);
    }
    for (unsigned i = 0; i < model->n_leaves; i++) {
        struct cpuid_leaf l = model->leaf[i];

        if (l.leaf == leaf && (l.subleaf == subleaf || !has_subleaves(leaf))) {
            per_vcpu(model, apic_id, &l);
            return l;
        }
    }
    return none;
}
