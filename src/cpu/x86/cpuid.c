/*
 * CPU models: what -cpu asks for, and what an accelerator leaves of it. cpuid-leaves.c computes the
 * answers of CPUID from it.
 *
 * Besides the models named after processors (cpu-models.c) there are `max`, the default: all that
 * the accelerator can do; `host`: the host's processor, on KVM only; and `base`: nothing.
 *
 * On the software CPU `max` has the signature of an in-order Atom (family 6, model 36H), on
 * purpose: this CPU does not speculate, and it is the signature by which guests know that. With it
 * Linux takes itself as not affected by the speculation flaws, so no page-table isolation,
 * retpolines or buffer clearing slow it down. IA32_ARCH_CAPABILITIES says the same to guests that
 * look there.
 *
 * The TSC, the crystal of leaf 15H and the local APIC's timer all run at tsc_khz (1 GHz unless
 * changed), so a guest of `max` needs no calibration.
 */
#include "cpu/x86/cpuid.h"
#include "base/log.h"
#include "cpu/x86/cpu-models.h"
#include "cpu/x86/cpuid-priv.h"

#include <string.h>

#define DEFAULT_TSC_KHZ 1000000u
#define ATOM_SIGNATURE  0x00030661u /* family 6, model 36H, stepping 1 */
#define MAX_LEVEL       0x16u
#define MAX_XLEVEL      0x80000008u
#define LEAF_1_EDX_VME  (1u << 1)
#define MIN_PHYS_BITS   32u
#define PHYS_BITS       40u /* unless more are asked for, or fewer are there */

static GQuark cpu_error_quark(void)
{
    return g_quark_from_static_string("cpu-error");
}

#define CPU_ERROR cpu_error_quark()

/* ---- names */

GPtrArray *cpu_model_names(void)
{
    static const char *const special[] = {"max", "host", "base"};
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

    for (unsigned i = 0; i < G_N_ELEMENTS(special); i++) {
        g_ptr_array_add(names, g_strdup(special[i]));
    }
    for (unsigned i = 0; i < cpu_models_n; i++) {
        const char *name = cpu_models[i].name;

        g_ptr_array_add(names, g_strdup(name));
        if (g_str_has_suffix(name, "-v1")) {
            g_ptr_array_add(names, g_strndup(name, strlen(name) - 3));
        }
    }
    for (unsigned i = 0; i < cpu_model_aliases_n; i++) {
        g_ptr_array_add(names, g_strdup(cpu_model_aliases[i].name));
    }
    return names;
}

const char *cpu_model_alias_of(const char *name)
{
    const struct cpu_model_desc *model = cpu_model_desc_find(name);

    return model && strcmp(model->name, name) != 0 ? model->name : NULL;
}

const char *cpu_model_description(const char *name)
{
    const struct cpu_model_desc *model = cpu_model_desc_find(name);

    return model                       ? model->id
           : strcmp(name, "max") == 0  ? "all features that the accelerator supports"
           : strcmp(name, "host") == 0 ? "the host's processor (KVM only)"
                                       : "base CPU model type with no features enabled";
}

/* ---- the command line's text */

/* Bits that are a matter of the machine or would need what is not there, so that models lose them
 * without a word unless they are asked for by name: nested virtualization, MONITOR, thermal
 * control. */
static void drop_defaults(uint32_t word[W__MAX])
{
    static const char *const dropped[] = {"svm", "vmx", "monitor", "acpi"};

    for (unsigned i = 0; i < G_N_ELEMENTS(dropped); i++) {
        const struct cpu_feature_desc *f = cpu_feature_find(dropped[i]);
        word[f->word] &= ~(1u << f->bit);
    }
    word[W_8A_EDX] = 0; /* parts of SVM */
}

static bool parse_bool(const char *text, bool *value)
{
    static const char *const on[] = {"on", "yes", "true", "y"};
    static const char *const off[] = {"off", "no", "false", "n"};

    for (unsigned i = 0; i < G_N_ELEMENTS(on); i++) {
        if (strcmp(text, on[i]) == 0 || strcmp(text, off[i]) == 0) {
            *value = strcmp(text, on[i]) == 0;
            return true;
        }
    }
    return false;
}

struct item {
    const char *model, *key, *value;
    bool global; /* from the command line, and not as a mere +f or -f */
};

static bool bad_value(const struct item *i, GError **error, const char *why)
{
    if (!i->global) {
        g_set_error_literal(error, CPU_ERROR, 0, why);
        return false;
    }
    g_set_error(error, CPU_ERROR, 0, "can't apply global %s-x86_64-cpu.%s=%s: %s", i->model, i->key,
                i->value, why);
    return false;
}

static bool set_bool(const struct item *i, bool *field, GError **error)
{
    g_autofree char *why = g_strdup_printf("Parameter '%s' expects 'on' or 'off'", i->key);

    return parse_bool(i->value, field) || bad_value(i, error, why);
}

static bool set_number(const struct item *i, uint64_t min, uint64_t max, uint64_t *field,
                       GError **error)
{
    char *end;
    g_autofree char *why = NULL;

    *field = g_ascii_strtoull(i->value, &end, 0);
    if (end == i->value || *end || *i->value == '-') {
        why = g_strdup_printf("Parameter '%s' expects a number", i->key);
        return bad_value(i, error, why);
    }
    if (*field < min || *field > max) {
        why = g_strdup_printf("Property .%s doesn't take value %s (minimum: %" G_GUINT64_FORMAT
                              ", maximum: %" G_GUINT64_FORMAT ")",
                              i->key, i->value, min, max);
        return bad_value(i, error, why);
    }
    return true;
}

static bool set_frequency(const struct item *i, struct cpu_model *m, GError **error)
{
    static const char suffixes[] = "kKmMgG";
    g_autofree char *digits = g_strdup(i->value);
    size_t n = strlen(digits);
    const char *suffix = n ? strchr(suffixes, digits[n - 1]) : NULL;
    uint64_t scale = 1, hz;
    struct item number = {i->model, i->key, digits, i->global};

    if (suffix && *suffix) {
        for (unsigned k = 0; k <= (unsigned)(suffix - suffixes) / 2; k++) {
            scale *= 1000;
        }
        digits[n - 1] = '\0';
    }
    if (!set_number(&number, 1, 100000000000u, &hz, error)) {
        return false;
    }
    if (hz > 100000000000u / scale || hz * scale < 1000000) {
        return bad_value(i, error, "a TSC runs at 1 MHz to 100 GHz");
    }
    m->tsc_khz = hz * scale / 1000;
    m->fixed_tsc = true;
    return true;
}

static bool set_text(const struct item *i, char *field, size_t min, size_t max, GError **error)
{
    size_t n = strlen(i->value);
    g_autofree char *why =
        g_strdup_printf("Property '.%s' doesn't take value '%s'", i->key, i->value);

    if (n < min || n > max) {
        return bad_value(i, error, why);
    }
    memset(field, 0, max + 1);
    memcpy(field, i->value, n);
    return true;
}

/* Family, model and stepping in the signature of leaf 1. */
static uint32_t signature_of(unsigned family, unsigned model, unsigned stepping)
{
    unsigned extended = family > 15 ? family - 15 : 0;

    return extended << 20 | (model >> 4 & 15) << 16 | MIN(family, 15) << 8 | (model & 15) << 4 |
           stepping;
}

static unsigned family_of(uint32_t signature)
{
    return (signature >> 8 & 15) + (signature >> 20 & 0xff);
}

static unsigned model_of(uint32_t signature)
{
    return (signature >> 4 & 15) | (signature >> 12 & 0xf0);
}

static bool set_signature(const struct item *i, struct cpu_model *m, GError **error)
{
    unsigned family = family_of(m->signature), model = model_of(m->signature);
    unsigned stepping = m->signature & 15, max = i->key[0] == 'f'   ? 270
                                                 : i->key[0] == 'm' ? 255
                                                                    : 15;
    uint64_t n;

    if (!set_number(i, 0, max, &n, error)) {
        return false;
    }
    *(max == 270 ? &family : max == 255 ? &model : &stepping) = (unsigned)n;
    m->signature = signature_of(family, model, stepping);
    m->fixed_signature = true;
    return true;
}

static bool set_level(const struct item *i, uint32_t min, uint32_t max, uint32_t *field,
                      GError **error)
{
    uint64_t n;

    if (!set_number(i, min, max, &n, error)) {
        return false;
    }
    *field = (uint32_t)n;
    return true;
}

static bool set_phys_bits(const struct item *i, struct cpu_model *m, GError **error)
{
    uint64_t n;

    if (!set_number(i, 0, UINT32_MAX, &n, error)) {
        return false;
    }
    if (n && (n < MIN_PHYS_BITS || n > 52)) {
        g_set_error(error, CPU_ERROR, 0,
                    "phys-bits should be between 32 and 52  (but is %" G_GUINT64_FORMAT ")", n);
        return false;
    }
    if (n) {
        m->asked_phys_bits = (unsigned)n;
        m->fixed_phys_bits = true;
    }
    return true;
}

static bool set_host_phys_bits(const struct item *i, struct cpu_model *m, GError **error)
{
    bool on;

    if (!set_bool(i, &on, error)) {
        return false;
    }
    m->host_phys_bits = on ? HOST_PHYS_ON : HOST_PHYS_OFF;
    return true;
}

static bool set_host_phys_limit(const struct item *i, struct cpu_model *m, GError **error)
{
    uint64_t n;

    if (!set_number(i, 0, 255, &n, error)) {
        return false;
    }
    if (n && n < MIN_PHYS_BITS) {
        return bad_value(i, error, "a processor has 32 bits of physical address at least");
    }
    m->host_phys_limit = (unsigned)n;
    return true;
}

/* What is no feature. *known says whether the key is one of these. */
static bool set_property(const struct item *i, struct cpu_model *m, bool *known, GError **error)
{
    const char *key = i->key;
    bool on;

    *known = true;
    if (strcmp(key, "check") == 0) {
        return set_bool(i, &m->check, error);
    }
    if (strcmp(key, "enforce") == 0) {
        return set_bool(i, &m->enforce, error);
    }
    if (strcmp(key, "vendor") == 0) {
        m->fixed_vendor = true;
        return set_text(i, m->vendor, 12, 12, error);
    }
    if (strcmp(key, "model-id") == 0 || strcmp(key, "model_id") == 0) {
        return set_text(i, m->id, 0, 48, error);
    }
    if (strcmp(key, "family") == 0 || strcmp(key, "model") == 0 || strcmp(key, "stepping") == 0) {
        return set_signature(i, m, error);
    }
    if (strcmp(key, "level") == 0) {
        m->fixed_level = true;
        return set_level(i, 1, 0x1f, &m->level, error);
    }
    if (strcmp(key, "xlevel") == 0) {
        m->fixed_xlevel = true;
        return set_level(i, 0x80000000, 0x8000001e, &m->xlevel, error);
    }
    if (strcmp(key, "phys-bits") == 0) {
        return set_phys_bits(i, m, error);
    }
    if (strcmp(key, "host-phys-bits") == 0) {
        return set_host_phys_bits(i, m, error);
    }
    if (strcmp(key, "host-phys-bits-limit") == 0) {
        return set_host_phys_limit(i, m, error);
    }
    if (strcmp(key, "host-cache-info") == 0) {
        return set_bool(i, &m->host_caches, error);
    }
    if (strcmp(key, "tsc-frequency") == 0 || strcmp(key, "tsc-freq") == 0) {
        return set_frequency(i, m, error);
    }
    if (m->kind != MODEL_NAMED && strcmp(key, "migratable") == 0) { /* every feature here can be */
        return set_bool(i, &on, error);
    }
    if (strcmp(key, "l3-cache") == 0) {
        bool ok = set_bool(i, &on, error);
        m->no_l3 = ok && !on;
        return ok;
    }
    if (strcmp(key, "kvm") == 0) {
        bool ok = set_bool(i, &on, error);
        m->no_signature = ok && !on;
        return ok;
    }
    if (strcmp(key, "hv-spinlocks") == 0 || strcmp(key, "hv_spinlocks") == 0) {
        return set_level(i, 0xfff, UINT32_MAX, &m->hv_retries, error);
    }
    if (strcmp(key, "hv-vendor-id") == 0 || strcmp(key, "hv_vendor_id") == 0) {
        return set_text(i, m->hv_vendor, 0, 12, error);
    }
    if (strcmp(key, "pmu") == 0) {
        return set_bool(i, &on, error) &&
               (!on || bad_value(i, error, "there are no performance counters"));
    }
    *known = false;
    return true;
}

static bool no_property(const struct item *i, GError **error)
{
    bool hyperv = g_str_has_prefix(i->key, "hv-") || g_str_has_prefix(i->key, "hv_");
    g_autofree char *why =
        g_strdup_printf("Property '%s-x86_64-cpu.%s' not found%s", i->model, i->key,
                        hyperv ? " (there is no such part of Hyper-V's interface)" : "");

    return bad_value(i, error, why);
}

static void set_feature(struct cpu_model *m, const struct cpu_feature_desc *f, bool on)
{
    uint32_t bits = cpu_feature_bits(f);

    m->plus[f->word] = on ? m->plus[f->word] | bits : m->plus[f->word] & ~bits;
    m->minus[f->word] = on ? m->minus[f->word] & ~bits : m->minus[f->word] | bits;
}

static bool set_item(struct cpu_model *m, const struct item *i, GError **error)
{
    const struct cpu_feature_desc *f;
    bool on, known;

    if (!set_property(i, m, &known, error)) {
        return false;
    }
    if (known) {
        return true;
    }
    f = cpu_feature_find(i->key);
    if (!f) {
        return no_property(i, error);
    }
    if (!set_bool(i, &on, error)) {
        return false;
    }
    set_feature(m, f, on);
    return true;
}

bool cpu_model_set(struct cpu_model *m, const char *key, const char *value, GError **error)
{
    return set_item(m, &(struct item){m->name, key, value, false}, error);
}

/* One item of the list after the model's name. pass 0 takes f=on|off and f, 1 takes +f, 2 takes -f:
 * that is their precedence, lowest first. */
static bool apply_item(struct cpu_model *m, const char *text, int pass, GError **error)
{
    bool sign = text[0] == '+' || text[0] == '-';
    g_autofree char *key = g_strdup(sign ? text + 1 : text);
    char *value = sign ? NULL : strchr(key, '=');
    struct item i = {m->name, key, text[0] == '-' ? "off" : "on", !sign};

    if (value) {
        *value = '\0';
        i.value = value + 1;
    }
    if (!*text || pass != (text[0] == '-' ? 2 : text[0] == '+' ? 1 : 0)) {
        return true;
    }
    return set_item(m, &i, error);
}

/* +f together with f=...: the sign counts, whatever comes last. */
static void warn_ambiguous(char **items)
{
    for (char **a = items; *a; a++) {
        for (char **b = items; (**a == '+' || **a == '-') && *b; b++) {
            size_t n = strlen(*a + 1);
            if (strncmp(*b, *a + 1, n) == 0 && (*b)[n] == '=') {
                log_warn("Ambiguous CPU model string. Don't mix both \"%s\" and \"%s\"", *a, *b);
            }
        }
    }
}

/* ---- models */

static bool model_start(struct cpu_model *m, const char *name, GError **error)
{
    const struct cpu_model_desc *desc = cpu_model_desc_find(name);

    m->name = g_strdup(name);
    m->check = true;
    m->tsc_khz = DEFAULT_TSC_KHZ;
    m->phys_bits = m->asked_phys_bits = PHYS_BITS;
    if (desc) {
        cpu_model_desc_words(desc, m->base);
        drop_defaults(m->base);
        g_strlcpy(m->vendor, desc->vendor, sizeof(m->vendor));
        g_strlcpy(m->id, desc->id, sizeof(m->id));
        m->signature = signature_of(desc->family, desc->model, desc->stepping);
        m->level = desc->level;
        m->xlevel = desc->xlevel;
    } else if (strcmp(name, "max") == 0 || strcmp(name, "host") == 0) {
        m->kind = name[0] == 'm' ? MODEL_MAX : MODEL_HOST;
        g_strlcpy(m->vendor, "GenuineIntel", sizeof(m->vendor));
        g_strlcpy(m->id, "Godwit virtual CPU", sizeof(m->id));
        m->signature = ATOM_SIGNATURE;
        m->level = MAX_LEVEL;
        m->xlevel = MAX_XLEVEL;
    } else if (strcmp(name, "base") == 0) {
        g_strlcpy(m->vendor, "GenuineIntel", sizeof(m->vendor));
        m->level = 1;
    } else {
        g_set_error(error, CPU_ERROR, 0,
                    "unable to find CPU model '%s' (-cpu help lists those there are)", name);
        return false;
    }
    m->base[W_1_ECX] |= m->kind == MODEL_NAMED ? 1u << 31 : 0; /* hypervisor */
    return true;
}

/* Bits that follow from the topology. */
static void add_topology_bits(const struct cpu_model *m, uint32_t word[W__MAX])
{
    const struct cpu_topology *t = &m->topology;

    if (t->cores * t->threads * MAX(t->dies, 1) > 1) {
        word[W_1_EDX] |= 1u << 28; /* HT */
        word[W_81_ECX] |= cpu_vendor_is_amd(m) ? 1u << 1 : 0;
    }
}

static void model_build(struct cpu_model *m, const uint32_t word[W__MAX])
{
    memcpy(m->word, word, sizeof(m->word));
    add_topology_bits(m, m->word);
    memset(m->features, 0, sizeof(m->features));
    for (unsigned i = 0; i < cpu_features_n; i++) {
        const struct cpu_feature_desc *f = &cpu_features[i];
        if (m->word[f->word] >> f->bit & 1) {
            m->features[f->feature / 64] |= 1ull << (f->feature % 64);
        }
    }
    g_free(m->leaf);
    cpu_model_make_leaves(m);
}

/* What max and host have by request only: bits that say how the topology is to be read, and (on the
 * software CPU, which needs no defence against speculation) the MSRs for such defences. Protection
 * keys of user pages, too: each change of PKRU costs the software CPU its TLB. */
static uint32_t not_in_max(const struct cpu_model *m, unsigned word)
{
    bool amd = cpu_vendor_is_amd(m);

    switch (word) {
    case W_1_EDX:
        return 1u << 27 | 1u << 28; /* SS, HT */
    case W_7_ECX:
        return m->support.is_host ? 0 : 1u << 3; /* PKU */
    case W_7_EDX:
        return m->support.is_host ? 0 : 1u << 26; /* SPEC_CTRL */
    case W_81_ECX:
        return 1u << 1 | (amd ? 0 : 1u << 22); /* CMP_LEGACY, TOPOEXT */
    case W_81_EDX:
        return amd ? 0 : 1u << 22; /* MMXEXT */
    default:
        return 0;
    }
}

/* Interfaces of hypervisors: by request only, but for those of KVM's that QEMU's models have. */
static uint32_t paravirtual_default(const struct cpu_model *m, const struct cpu_support *support,
                                    unsigned word)
{
    bool kvm = word == W_KVM_EAX && support->is_host && !m->no_signature;

    return kvm ? cpu_features_of_kvm() & support->word[word] : 0;
}

static bool is_paravirtual(unsigned word)
{
    return word == W_KVM_EAX || word == W_KVM_EDX || word == W_HV_EDX || word == W_HV_EAX ||
           word == W_HV_HINTS;
}

/* All that is asked for, of an accelerator with this support. The software CPU has VME in name only
 * (turning it on stops the machine), so who wants it must say so. */
static void wanted_words(const struct cpu_model *m, const struct cpu_support *support,
                         uint32_t word[W__MAX])
{
    for (unsigned w = 0; w < W__MAX; w++) {
        uint32_t base = is_paravirtual(w)        ? paravirtual_default(m, support, w)
                        : m->kind == MODEL_NAMED ? m->base[w]
                                                 : support->word[w];

        base &= m->kind == MODEL_NAMED ? ~0u : ~not_in_max(m, w);
        if (w == W_1_EDX && !support->is_host) {
            base &= ~LEAF_1_EDX_VME;
        }
        word[w] = (base | m->plus[w]) & ~m->minus[w];
    }
}

struct cpu_model *cpu_model_new(const char *spec, const struct cpu_topology *topology,
                                GError **error)
{
    g_auto(GStrv) items = g_strsplit(spec && *spec ? spec : "max", ",", -1);
    struct cpu_model *m = g_new0(struct cpu_model, 1);
    struct cpu_support all = {.name = "TCG"};
    uint32_t word[W__MAX];
    GError *err = NULL;

    m->topology = *topology;
    m->hv_retries = UINT32_MAX;
    if (!model_start(m, items[0], error)) {
        cpu_model_free(m);
        return NULL;
    }
    for (int pass = 0; pass < 3; pass++) {
        for (char **item = items + 1; *item; item++) {
            if (!apply_item(m, *item, pass, &err)) {
                g_propagate_error(error, err);
                cpu_model_free(m);
                return NULL;
            }
        }
    }
    warn_ambiguous(items + 1);
    cpu_support_table(&all, FEATURE_SOFT);
    m->support = all;
    wanted_words(m, &all, word);
    model_build(m, word);
    return m;
}

void cpu_model_free(struct cpu_model *m)
{
    if (m) {
        g_free(m->name);
        g_free(m->leaf);
        g_free(m);
    }
}

/* ---- what an accelerator leaves */

void cpu_support_table(struct cpu_support *support, unsigned who)
{
    for (unsigned i = 0; i < cpu_features_n; i++) {
        const struct cpu_feature_desc *f = &cpu_features[i];
        if (f->who & who) {
            support->word[f->word] |= 1u << f->bit;
        }
    }
}

static bool report_lost(const struct cpu_model *m, const uint32_t lost[W__MAX], GError **error)
{
    const char *name = m->support.name;
    bool any = false;

    for (unsigned i = 0; i < W__MAX * 32; i++) {
        unsigned w = i / 32, bit = i % 32;
        const char *feature = cpu_feature_bit_name(w, bit);
        if (lost[w] >> bit & 1) {
            any = true;
            if (m->check || m->enforce) {
                log_warn("%s doesn't support requested feature: %s%s%s [bit %u]", name,
                         cpuid_words[w].text, feature ? "." : "", feature ? feature : "", bit);
            }
        }
    }
    if (any && m->enforce) {
        g_set_error(error, CPU_ERROR, 0, "%s doesn't support requested features",
                    m->support.is_host ? "Host" : name);
        return false;
    }
    return true;
}

/* The host's vendor, and its signature for max and host, where the processor is the host's. */
static void take_identity(struct cpu_model *m, const struct cpu_support *support)
{
    m->support = *support;
    if (support->is_host && !m->fixed_vendor) {
        g_strlcpy(m->vendor, support->vendor, sizeof(m->vendor));
    }
    if (support->is_host && m->kind != MODEL_NAMED && !m->fixed_signature) {
        m->signature = support->signature;
    }
}

/* The host's bits where they are asked for, which the model host does by itself. Never more than
 * the host has: its processor would not translate the rest. */
static void take_phys_bits(struct cpu_model *m, const struct cpu_support *support)
{
    bool host = m->host_phys_bits == HOST_PHYS_ON || (m->host_phys_bits == HOST_PHYS_DEFAULT &&
                                                      m->kind == MODEL_HOST && !m->fixed_phys_bits);

    m->phys_bits = m->asked_phys_bits;
    if (support->phys_bits == 0) {
        return;
    }
    if (host) {
        m->phys_bits = support->phys_bits;
        if (m->host_phys_limit) {
            m->phys_bits = MIN(m->phys_bits, m->host_phys_limit);
        }
    }
    if (m->phys_bits > support->phys_bits) {
        if (m->fixed_phys_bits) {
            log_warn("phys-bits=%u: the host's processor has %u, so the guest's has too",
                     m->phys_bits, support->phys_bits);
        }
        m->phys_bits = support->phys_bits;
    }
}

bool cpu_model_filter(struct cpu_model *m, const struct cpu_support *support, GError **error)
{
    uint32_t word[W__MAX];

    take_identity(m, support);
    take_phys_bits(m, support);
    if (m->kind == MODEL_HOST && !support->is_host) {
        g_set_error(error, CPU_ERROR, 0, "CPU model 'host' requires KVM");
        return false;
    }
    if (m->host_caches && !support->is_host) {
        g_set_error(error, CPU_ERROR, 0, "host-cache-info=on requires KVM");
        return false;
    }
    wanted_words(m, support, word);
    for (unsigned w = 0; w < W__MAX; w++) {
        m->lost[w] = word[w] & ~support->word[w];
        word[w] &= support->word[w];
    }
    if (!report_lost(m, m->lost, error) || !cpu_hyperv_check(m, support, error)) {
        return false;
    }
    model_build(m, word);
    return true;
}

void cpu_model_expand(struct cpu_model *m, const struct cpu_support *support)
{
    uint32_t word[W__MAX];

    take_identity(m, support);
    take_phys_bits(m, support);
    wanted_words(m, support, word);
    model_build(m, word);
}

bool cpu_model_unavailable(const char *name, const struct cpu_support *support,
                           uint32_t lost[W__MAX])
{
    const struct cpu_model_desc *desc = cpu_model_desc_find(name);

    memset(lost, 0, W__MAX * sizeof(*lost));
    if (desc) {
        cpu_model_desc_words(desc, lost);
        drop_defaults(lost);
        lost[W_1_EDX] &= support->is_host ? ~0u : ~LEAF_1_EDX_VME;
    }
    for (unsigned w = 0; w < W__MAX; w++) {
        lost[w] &= ~support->word[w];
    }
    return desc || g_strv_contains((const char *const[]){"max", "host", "base", NULL}, name);
}
