/*
 * Hyper-V's interface in CPUID (Hypervisor Top Level Functional Specification, 2.4): features by
 * request, which KVM carries out. The software CPU has the crash registers alone.
 *
 * Left out: nesting, reenlightenment, debugging, VMBus.
 */
#include "cpu/x86/cpuid-priv.h"

#include "base/log.h"
#include "cpu/x86/cpu-features.h"

#define CPU_ERROR         g_quark_from_static_string("cpu-error")

#define EAX_RUNTIME       (1u << 0)
#define EAX_TIME          (1u << 1)
#define EAX_SYNIC         (1u << 2)
#define EAX_STIMER        (1u << 3)
#define EAX_APIC          (1u << 4)
#define EAX_HYPERCALL     (1u << 5)
#define EAX_VP_INDEX      (1u << 6)
#define EAX_FREQUENCIES   (1u << 11)
#define EBX_POST_MESSAGES (1u << 4)
#define EBX_SIGNAL_EVENTS (1u << 5)
#define EDX_CPUS_COME     (1u << 3) /* Windows takes plugged processors only with it */
#define EDX_FREQUENCIES   (1u << 8)
#define HINT_TLB_FLUSH    (1u << 2)
#define HINT_APIC         (1u << 3)
#define HINT_RELAXED      (1u << 5)
#define HINT_IPI          (1u << 10)
#define HINT_SPARSE_SETS  (1u << 11)

bool cpu_model_has_hyperv(const struct cpu_model *m)
{
    return m->word[W_HV_EDX] || m->word[W_HV_EAX] || m->word[W_HV_HINTS] ||
           (m->support.is_host && m->hv_retries != UINT32_MAX);
}

static uint32_t text_word(const char *text)
{
    return (uint32_t)(uint8_t)text[0] | (uint32_t)(uint8_t)text[1] << 8 |
           (uint32_t)(uint8_t)text[2] << 16 | (uint32_t)(uint8_t)text[3] << 24;
}

unsigned cpu_hyperv_leaves(const struct cpu_model *m, struct cpuid_leaf leaf[])
{
    char vendor[12] = {0};
    uint32_t eax = m->word[W_HV_EAX], ebx = 0, edx = m->word[W_HV_EDX], hints = m->word[W_HV_HINTS];

    memcpy(vendor, *m->hv_vendor ? m->hv_vendor : "Microsoft Hv", 12);
    if (m->support.is_host) {
        eax |= EAX_HYPERCALL;
        ebx |= eax & EAX_SYNIC ? EBX_POST_MESSAGES | EBX_SIGNAL_EVENTS : 0;
        edx |= EDX_CPUS_COME | (eax & EAX_FREQUENCIES ? EDX_FREQUENCIES : 0);
        hints |= eax & EAX_APIC ? HINT_APIC : 0;
        hints |= hints & (HINT_TLB_FLUSH | HINT_IPI) ? HINT_SPARSE_SETS : 0;
    }
    const struct cpuid_leaf leaves[CPU_HYPERV_LEAVES] = {
        {0x40000000, 0, 0x40000005, text_word(vendor), text_word(vendor + 4),
         text_word(vendor + 8)},
        {0x40000001, 0, text_word("Hv#1"), 0, 0, 0},
        {0x40000002, 0, 14393, 10 << 16, 0, 0}, /* build, version 10.0 */
        {0x40000003, 0, eax, ebx, 0, edx},
        {0x40000004, 0, hints, m->support.is_host ? m->hv_retries : 0, 0, 0},
        {0x40000005, 0, 255, 255, 0, 0}, /* most virtual and logical processors */
    };

    memcpy(leaf, leaves, sizeof(leaves));
    return CPU_HYPERV_LEAVES;
}

/* What features stand on. */
static const struct {
    enum cpuid_word word;
    uint32_t bit, needs; /* needs: in W_HV_EAX */
    const char *name, *needed;
} needs[] = {
    {W_HV_EAX, EAX_SYNIC, EAX_VP_INDEX, "hv-synic", "hv-vpindex"},
    {W_HV_EAX, EAX_STIMER, EAX_SYNIC, "hv-stimer", "hv-synic"},
    {W_HV_EAX, EAX_STIMER, EAX_TIME, "hv-stimer", "hv-time"},
    {W_HV_HINTS, HINT_TLB_FLUSH, EAX_VP_INDEX, "hv-tlbflush", "hv-vpindex"},
    {W_HV_HINTS, HINT_IPI, EAX_VP_INDEX, "hv-ipi", "hv-vpindex"},
};

/* A guest that is to see this interface would go wrong without a part of it, so what the host lacks
 * is an error; QEMU's is one, too. */
static bool check_host(const struct cpu_model *m, const struct cpu_support *support, GError **error)
{
    static const enum cpuid_word words[] = {W_HV_EAX, W_HV_HINTS};

    for (unsigned i = 0; i < 32 * G_N_ELEMENTS(words); i++) {
        if (m->lost[words[i / 32]] >> (i % 32) & 1) {
            g_set_error(error, CPU_ERROR, 0, "-cpu ...,%s: this host's KVM does not support it",
                        cpu_feature_bit_name(words[i / 32], i % 32));
            return false;
        }
    }
    if (m->hv_retries != UINT32_MAX && !support->word[W_HV_EAX]) {
        g_set_error(error, CPU_ERROR, 0,
                    "-cpu ...,hv-spinlocks: this host's KVM does not support it");
        return false;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(needs); i++) {
        if ((m->plus[needs[i].word] & needs[i].bit) && !(m->plus[W_HV_EAX] & needs[i].needs)) {
            g_set_error(error, CPU_ERROR, 0, "-cpu ...,%s requires %s", needs[i].name,
                        needs[i].needed);
            return false;
        }
    }
    return true;
}

bool cpu_hyperv_check(const struct cpu_model *m, const struct cpu_support *support, GError **error)
{
    if (support->is_host) {
        return check_host(m, support, error);
    }
    if (m->hv_retries != UINT32_MAX && (m->check || m->enforce)) {
        log_warn("%s doesn't support requested feature: hv-spinlocks", support->name);
    }
    return true;
}
