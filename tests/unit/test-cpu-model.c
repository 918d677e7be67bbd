/*
 * CPU models: the text of -cpu, what an accelerator leaves of a model, and the answers of CPUID
 * that follow, the topology's among them.
 */
#include "cpu/x86/cpu-features.h"
#include "cpu/x86/cpu-models.h"
#include <string.h>

static const struct cpu_topology one = {1, 1, 1, 1, 1, 1};

static struct cpu_model *model(const char *spec, const struct cpu_topology *t)
{
    g_autoptr(GError) error = NULL;
    struct cpu_model *m = cpu_model_new(spec, t, &error);
    g_assert_no_error(error);
    return m;
}

static bool has(const struct cpu_model *m, const char *name)
{
    const struct cpu_feature_desc *f = cpu_feature_find(name);
    g_assert_nonnull(f);
    return m->word[f->word] >> f->bit & 1;
}

/* -f beats +f beats f=, in any order. */
static void test_precedence(void)
{
    static const struct {
        const char *spec;
        bool avx;
    } cases[] = {
        {"base", false},
        {"base,avx", true},
        {"base,avx=on,avx=off", false},
        {"base,avx=off,avx=on", true},
        {"base,+avx", true},
        {"base,-avx,+avx", false},
        {"base,+avx,-avx,avx=on", false},
        {"base,-avx,avx=on", false},
        {"Haswell,avx=off", false},
        {"Haswell,-avx,avx=on", false},
        {"Haswell", true},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct cpu_model *m = model(cases[i].spec, &one);
        g_test_message("%s", cases[i].spec);
        g_assert_cmpint(has(m, "avx"), ==, cases[i].avx);
        cpu_model_free(m);
    }
    struct cpu_model *m = model("base,+avx,avx=off", &one);
    g_assert_true(has(m, "avx"));
    cpu_model_free(m);
}

/* Every model of the table can be made, is described by one before it, and names no unknown
 * feature. */
static void test_table(void)
{
    g_autoptr(GPtrArray) names = cpu_model_names();
    for (unsigned i = 0; i < cpu_models_n; i++) {
        const struct cpu_model_desc *d = &cpu_models[i];
        g_auto(GStrv) changes = g_strsplit(d->changes, " ", -1);
        for (char **change = changes; *change && **change; change++) {
            g_assert_true(**change == '+' || **change == '-');
            g_assert_nonnull(cpu_feature_find(*change + 1));
        }
        if (d->base) {
            g_assert_true(cpu_model_desc_find(d->base) < d);
        }
        g_assert_cmpuint(strlen(d->vendor), ==, 12);
        g_assert_cmpuint(strlen(d->id), <=, 48);
    }
    for (guint i = 0; i < names->len; i++) {
        struct cpu_model *m = model(names->pdata[i], &one);
        g_assert_cmpstr(m->name, ==, names->pdata[i]);
        cpu_model_free(m);
    }
    for (unsigned i = 0; i < cpu_features_n; i++) {
        const struct cpu_feature_desc *f = cpu_feature_find(cpu_features[i].name);
        /* a name may stand for several bits of one word */
        g_assert_true(f->word == cpu_features[i].word && f->who == cpu_features[i].who);
        g_assert_true(cpu_feature_bits(f) >> cpu_features[i].bit & 1);
    }
}

static void test_identity(void)
{
    static const struct {
        const char *name, *vendor;
        uint32_t signature;
    } models[] = {
        {"Haswell", "GenuineIntel", 0x000306c4},
        {"Nehalem", "GenuineIntel", 0x000106a3},
        {"qemu64", "AuthenticAMD", 0x00060fb1},
        {"EPYC", "AuthenticAMD", 0x00800f12},
        {"Broadwell", "GenuineIntel", 0x000306d2},
        {"max", "GenuineIntel", 0x00030661},
        {"max,family=6,model=94,stepping=3", "GenuineIntel", 0x000506e3},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        struct cpu_model *m = model(models[i].name, &one);
        struct cpuid_leaf zero = cpu_model_cpuid(m, 0, 0, 0);
        char vendor[13] = {0};
        memcpy(vendor, &zero.ebx, 4);
        memcpy(vendor + 4, &zero.edx, 4);
        memcpy(vendor + 8, &zero.ecx, 4);
        g_assert_cmpstr(vendor, ==, models[i].vendor);
        g_assert_cmphex(cpu_model_cpuid(m, 0, 1, 0).eax, ==, models[i].signature);
        cpu_model_free(m);
    }
}

/* What the accelerator lacks goes; max is what it has; enforce makes it an error. */
static void test_filter(void)
{
    struct cpu_support support = {.name = "TCG"};
    g_autoptr(GError) error = NULL;
    cpu_support_table(&support, FEATURE_SOFT);
    support.word[W_1_ECX] &= ~(1u << 28); /* AVX */
    struct cpu_model *m = model("Haswell,check=off", &one);
    g_assert_true(cpu_model_has(m, F_AVX));
    g_assert_true(cpu_model_filter(m, &support, &error));
    g_assert_false(cpu_model_has(m, F_AVX));
    g_assert_false(cpu_model_cpuid(m, 0, 1, 0).ecx >> 28 & 1);
    g_assert_cmpuint(cpu_model_cpuid(m, 0, 0xd, 0).ecx, ==, 576);
    /* another accelerator starts from what was asked for */
    support.word[W_1_ECX] |= 1u << 28;
    g_assert_true(cpu_model_filter(m, &support, &error));
    g_assert_true(cpu_model_has(m, F_AVX));
    g_assert_cmpuint(cpu_model_cpuid(m, 0, 0xd, 0).ecx, ==, 832);
    g_assert_cmpuint(cpu_model_cpuid(m, 0, 0xd, 2).eax, ==, 256);
    cpu_model_free(m);
    m = model("max", &one);
    g_assert_true(cpu_model_filter(m, &support, &error));
    g_assert_true(has(m, "avx2") && has(m, "invtsc") && !has(m, "vme") && !has(m, "hv-crash"));
    cpu_model_free(m);
    support.word[W_7_EBX] = 0;
    m = model("Haswell,enforce", &one);
    g_assert_false(cpu_model_filter(m, &support, &error));
    g_assert_cmpstr(error->message, ==, "TCG doesn't support requested features");
    cpu_model_free(m);
    g_clear_error(&error);
    m = model("host", &one);
    g_assert_false(cpu_model_filter(m, &support, &error));
    g_assert_nonnull(strstr(error->message, "requires KVM"));
    cpu_model_free(m);
}

/* KVM's own features: some by default under KVM, each by name, none with kvm=off. */
static void test_kvm_features(void)
{
    static const struct {
        const char *spec;
        uint32_t features, hints; /* leaf 40000001H, EAX and EDX */
    } cases[] = {
        {"qemu64", 0x0100007b, 0},
        {"host", 0x0100007b, 0},
        {"qemu64,kvmclock=off", 0x01000072, 0},
        {"max,-kvm_pv_eoi,+kvm_pv_unhalt", 0x010000bb, 0},
        {"qemu64,kvm-asyncpf-int=on,kvm-hint-dedicated=on", 0x0100407b, 1},
    };
    struct cpu_support support = {.name = "host", .is_host = true, .vendor = "GenuineIntel"};
    uint32_t signature = 0x4b4d564b;

    cpu_support_table(&support, FEATURE_KVM);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct cpu_model *m = model(cases[i].spec, &one);
        g_assert_true(cpu_model_filter(m, &support, NULL));
        g_assert_cmphex(cpu_model_cpuid(m, 0, 0x40000000, 0).ebx, ==, signature);
        g_assert_cmphex(cpu_model_cpuid(m, 0, 0x40000001, 0).eax, ==, cases[i].features);
        g_assert_cmphex(cpu_model_cpuid(m, 0, 0x40000001, 0).edx, ==, cases[i].hints);
        cpu_model_free(m);
    }
    struct cpu_model *m = model("host,kvm=off", &one);
    g_assert_true(cpu_model_filter(m, &support, NULL));
    g_assert_cmphex(cpu_model_cpuid(m, 0, 0x40000000, 0).ebx, ==, 0);
    g_assert_cmphex(cpu_model_cpuid(m, 0, 0x40000001, 0).eax, ==, 0);
    cpu_model_free(m);
}

/* Hyper-V's interface: what KVM says it supports, with what goes along; else an error. */
static void test_hyperv(void)
{
    static const struct {
        const char *spec, *error; /* NULL: it is taken */
        uint32_t eax, ebx, edx, hints, retries;
    } cases[] = {
        {"max,hv-relaxed", NULL, 0x20, 0, 8, 0x20, UINT32_MAX},
        {"Haswell,hv_vapic=on,hv_spinlocks=0x1fff", NULL, 0x30, 0, 8, 8, 0x1fff},
        {"max,hv-spinlocks=4095", NULL, 0x20, 0, 8, 0, 4095},
        {"max,hv-time,hv-runtime,hv-frequencies", NULL, 0xa23, 0, 0x108, 0, UINT32_MAX},
        {"max,hv-vpindex,hv-ipi", NULL, 0x60, 0, 8, 0xc00, UINT32_MAX},
        {"max,hv-vpindex,hv-synic,hv-stimer,hv-time", NULL, 0x26e, 0x30, 8, 0, UINT32_MAX},
        {"max,hv-crash", NULL, 0x20, 0, 0x408, 0, UINT32_MAX},
        {"max,hv-tlbflush,hv-vpindex", "hv-tlbflush: this host's KVM does not support it"},
        {"max,hv-ipi", "hv-ipi requires hv-vpindex"},
        {"max,hv-synic,hv-vpindex=off", "hv-synic requires hv-vpindex"},
        {"max,hv-stimer,hv-synic,hv-vpindex", "hv-stimer requires hv-time"},
    };
    struct cpu_support support = {.name = "host", .is_host = true, .vendor = "GenuineIntel"};

    cpu_support_table(&support, FEATURE_KVM);
    support.word[W_HV_HINTS] &= ~4u;
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct cpu_model *m = model(cases[i].spec, &one);
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(cpu_model_filter(m, &support, &error), ==, !cases[i].error);
        if (cases[i].error) {
            g_assert_nonnull(strstr(error->message, cases[i].error));
        } else {
            struct cpuid_leaf first = cpu_model_cpuid(m, 0, 0x40000000, 0);
            struct cpuid_leaf features = cpu_model_cpuid(m, 0, 0x40000003, 0);
            struct cpuid_leaf hints = cpu_model_cpuid(m, 0, 0x40000004, 0);

            g_assert_cmphex(first.eax, ==, 0x40000005);
            g_assert_cmphex(first.ebx, ==, 0x7263694d);
            g_assert_cmphex(cpu_model_cpuid(m, 0, 0x40000001, 0).eax, ==, 0x31237648);
            g_assert_cmphex(features.eax, ==, cases[i].eax);
            g_assert_cmphex(features.ebx, ==, cases[i].ebx);
            g_assert_cmphex(features.edx, ==, cases[i].edx);
            g_assert_cmphex(hints.eax, ==, cases[i].hints);
            g_assert_cmphex(hints.ebx, ==, cases[i].retries);
            g_assert_cmphex(cpu_model_cpuid(m, 0, 0x40000100, 0).ebx, ==, 0x4b4d564b);
        }
        cpu_model_free(m);
    }
    /* KVM's name can be hidden, and Hyper-V's be another. */
    struct cpu_model *m = model("host,kvm=off,hv-vendor-id=abc,hv-relaxed", &one);
    g_assert_true(cpu_model_filter(m, &support, NULL));
    g_assert_cmphex(cpu_model_cpuid(m, 0, 0x40000000, 0).ebx, ==, 0x636261);
    g_assert_cmphex(cpu_model_cpuid(m, 0, 0x40000003, 0).eax, ==, 0x20);
    g_assert_cmphex(cpu_model_cpuid(m, 0, 0x40000100, 0).ebx, ==, 0);
    cpu_model_free(m);
    /* The software CPU has nothing of it but the crash registers. */
    struct cpu_support soft = {.name = "TCG"};
    cpu_support_table(&soft, FEATURE_SOFT);
    m = model("max,hv-relaxed,hv-time,hv-spinlocks=0x1fff,check=off", &one);
    g_assert_true(cpu_model_filter(m, &soft, NULL));
    g_assert_false(cpu_model_has_hyperv(m));
    cpu_model_free(m);
}

/* Physical address bits: the host's with host-phys-bits=on, which `host` has by itself, and never
 * more than those. */
static void test_phys_bits(void)
{
    static const struct {
        const char *spec;
        unsigned host, bits;
    } cases[] = {
        {"max", 0, 40},
        {"max", 48, 40},
        {"max", 39, 39},
        {"host", 48, 48},
        {"host,phys-bits=42", 48, 42},
        {"host,phys-bits=42,host-phys-bits=on", 48, 48},
        {"host,host-phys-bits=off", 48, 40},
        {"qemu64,phys-bits=52", 48, 48},
        {"qemu64,phys-bits=52", 0, 52},
        {"max,host-phys-bits=on", 0, 40},
        {"max,host-phys-bits=on", 46, 46},
        {"host,host-phys-bits-limit=43", 46, 43},
        {"host,host-phys-bits-limit=47", 46, 46},
        {"max,host-phys-bits=on,host-phys-bits-limit=0", 46, 46},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct cpu_support support = {.name = "x", .phys_bits = cases[i].host};
        struct cpu_model *m = model(cases[i].spec, &one);

        support.is_host = cases[i].host != 0;
        cpu_support_table(&support, support.is_host ? FEATURE_KVM : FEATURE_SOFT);
        g_test_message("%s of %u", cases[i].spec, cases[i].host);
        g_assert_true(cpu_model_filter(m, &support, NULL));
        g_assert_cmpuint(m->phys_bits, ==, cases[i].bits);
        g_assert_cmpuint(cpu_model_cpuid(m, 0, 0x80000008, 0).eax & 0xff, ==, cases[i].bits);
        cpu_model_free(m);
    }
}

static void test_topology(void)
{
    const struct cpu_topology t = {12, 12, 1, 2, 3, 2}; /* two dies of three cores of two threads */
    struct cpu_model *m = model("max", &t);
    for (unsigned i = 0; i < 12; i++) {
        uint32_t apic = (i % 2) | (i / 2 % 3) << 1 | (i / 6) << 3;
        g_assert_cmphex(cpu_topology_apic_id(&t, i), ==, apic);
        g_assert_cmphex(cpu_model_cpuid(m, i, 1, 0).ebx >> 24, ==, apic);
        g_assert_cmphex(cpu_model_cpuid(m, i, 0xb, 0).edx, ==, apic);
        g_assert_cmphex(cpu_model_cpuid(m, i, 0x1f, 2).edx, ==, apic);
    }
    static const struct {
        uint32_t leaf, subleaf, shift, count, type;
    } levels[] = {{0xb, 0, 1, 2, 1},  {0xb, 1, 4, 12, 2},  {0xb, 2, 0, 0, 0}, {0x1f, 0, 1, 2, 1},
                  {0x1f, 1, 3, 6, 2}, {0x1f, 2, 4, 12, 5}, {0x1f, 3, 0, 0, 0}};
    for (unsigned i = 0; i < G_N_ELEMENTS(levels); i++) {
        struct cpuid_leaf l = cpu_model_cpuid(m, 0, levels[i].leaf, levels[i].subleaf);
        g_assert_cmpuint(l.eax, ==, levels[i].shift);
        g_assert_cmpuint(l.ebx, ==, levels[i].count);
        g_assert_cmpuint(l.ecx >> 8, ==, levels[i].type);
    }
    g_assert_cmpuint(cpu_model_cpuid(m, 0, 1, 0).ebx >> 16 & 0xff, ==, 12);
    g_assert_true(has(m, "ht"));
    /* threads share level 2, a die's level 3 */
    g_assert_cmpuint(cpu_model_cpuid(m, 0, 4, 2).eax >> 14 & 0xfff, ==, 1);
    g_assert_cmpuint(cpu_model_cpuid(m, 0, 4, 3).eax >> 14 & 0xfff, ==, 7);
    g_assert_cmpuint(cpu_model_cpuid(m, 0, 4, 3).eax >> 26, ==, 7);
    cpu_model_free(m);
    m = model("EPYC", &t);
    struct cpuid_leaf e = cpu_model_cpuid(m, 11, 0x8000001e, 0);
    g_assert_cmphex(e.eax, ==, 13);
    g_assert_cmphex(e.ebx, ==, 1 << 8 | 6);
    g_assert_cmphex(e.ecx, ==, 1 << 8 | 1);
    g_assert_cmpuint(cpu_model_cpuid(m, 0, 0x8000001d, 3).eax >> 14 & 0xfff, ==, 7);
    g_assert_cmphex(cpu_model_cpuid(m, 0, 0x80000008, 0).ecx, ==, 4 << 12 | 11);
    g_assert_cmpuint(cpu_model_cpuid(m, 0, 4, 0).eax, ==, 0);
    g_assert_cmpuint(cpu_model_cpuid(m, 0, 0x70, 0).eax, ==, 0); /* beyond the last */
    cpu_model_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu-model/precedence", test_precedence);
    g_test_add_func("/cpu-model/hyperv", test_hyperv);
    g_test_add_func("/cpu-model/table", test_table);
    g_test_add_func("/cpu-model/identity", test_identity);
    g_test_add_func("/cpu-model/filter", test_filter);
    g_test_add_func("/cpu-model/kvm-features", test_kvm_features);
    g_test_add_func("/cpu-model/phys-bits", test_phys_bits);
    g_test_add_func("/cpu-model/topology", test_topology);
    return g_test_run();
}
