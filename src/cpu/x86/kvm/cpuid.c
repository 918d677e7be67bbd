/*
 * What CPUID answers under KVM: the model's leaves, less the features that the host cannot give.
 *
 * The processor is the host's, so its vendor is every model's, and with the models max and host its
 * signature, too: guests choose their defences against speculation by them. With a model that has
 * arch-capabilities the host's bits for such defences are added.
 *
 * The local APIC's timer is KVM's, which counts at 1 GHz: that is the crystal of leaf 15H, and the
 * TSC's frequency is the nearest ratio to it.
 */
#include "cpu/x86/cpu-features.h"
#include "cpu/x86/kvm/kvm-priv.h"
#include <asm/kvm_para.h>
#include <errno.h>
#include <string.h>

#define ENTRIES_MAX  256
#define APIC_BUS_KHZ 1000000u

struct kvm_cpuid2 *kvm_cpuid_supported(int kvm_fd, GError **error)
{
    struct kvm_cpuid2 *table =
        g_malloc0(sizeof(*table) + ENTRIES_MAX * sizeof(struct kvm_cpuid_entry2));
    int err;

    table->nent = ENTRIES_MAX;
    err = kvm_call(kvm_fd, KVM_GET_SUPPORTED_CPUID, table);
    if (err < 0) {
        g_set_error(error, KVM_ERROR, -err, "accelerator 'kvm': KVM_GET_SUPPORTED_CPUID: %s",
                    strerror(-err));
        g_free(table);
        return NULL;
    }
    return table;
}

/* Zeroes where the host has no such leaf. */
static struct kvm_cpuid_entry2 host_subleaf(const struct kvm *k, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < k->supported->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &k->supported->entries[i];

        if (e->function == leaf && e->index == subleaf) {
            return *e;
        }
    }
    return (struct kvm_cpuid_entry2){.function = leaf, .index = subleaf};
}

static struct kvm_cpuid_entry2 host_leaf(const struct kvm *k, uint32_t leaf)
{
    return host_subleaf(k, leaf, 0);
}

/* ---- features */

#define LEAF_6_EAX_ARAT         (1u << 2)  /* KVM's timer does not stop */
#define LEAF_81_ECX_CMP_LEGACY  (1u << 1)  /* tells only how topology is to be read */
#define LEAF_1_ECX_TSC_DEADLINE (1u << 24) /* not among the supported bits of older kernels */
#define LEAF_1_ECX_X2APIC       (1u << 21)
#define LEAF_1_ECX_HYPERVISOR   (1u << 31)
#define LEAF_1_EDX_APIC         (1u << 9)
#define LEAF_1_EDX_HT           (1u << 28) /* tells only how leaf 1 is to be read */
#define LEAF_7_EDX_ARCH_CAPS    (1u << 29)
/* md_clear, IBRS and IBPB, STIBP, L1D flush, SSBD */
#define LEAF_7_EDX_DEFENCES     (1u << 10 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 31)
/* IBPB, IBRS, STIBP, SSBD */
#define LEAF_88_EBX_DEFENCES    (1u << 12 | 1u << 14 | 1u << 15 | 1u << 24)

void kvm_support_fill(const struct kvm *k, struct cpu_support *support)
{
    struct kvm_cpuid_entry2 zero = host_leaf(k, 0), one = host_leaf(k, 1);

    *support = (struct cpu_support){.name = "host", .is_host = true, .signature = one.eax};
    memcpy(support->vendor, &zero.ebx, 4);
    memcpy(support->vendor + 4, &zero.edx, 4);
    memcpy(support->vendor + 8, &zero.ecx, 4);
    support->phys_bits = host_leaf(k, 0x80000008).eax & 0xff;
    cpu_support_table(support, FEATURE_KVM);
    for (unsigned w = 0; w < W__MAX; w++) {
        const struct cpuid_word_desc *d = &cpuid_words[w];
        struct kvm_cpuid_entry2 e = host_subleaf(k, d->leaf, d->subleaf);
        uint32_t reg[4] = {e.eax, e.ebx, e.ecx, e.edx};

        reg[2] |=
            w == W_1_ECX ? LEAF_1_ECX_TSC_DEADLINE | LEAF_1_ECX_X2APIC | LEAF_1_ECX_HYPERVISOR : 0;
        reg[3] |= w == W_1_EDX ? LEAF_1_EDX_APIC | LEAF_1_EDX_HT : 0;
        reg[2] |= w == W_81_ECX ? LEAF_81_ECX_CMP_LEGACY : 0;
        reg[0] |= w == W_6_EAX ? LEAF_6_EAX_ARAT : 0;
        if (w == W_HV_EDX) {
            reg[3] = k->has_hyperv ? UINT32_MAX : 0;
        }
        if (w == W_HV_EAX || w == W_HV_HINTS) {
            reg[0] = kvm_hyperv_leaf(k, d->leaf);
        }
        if (w == W_KVM_EAX) {
            reg[0] = host_leaf(k, KVM_CPUID_FEATURES).eax;
        }
        if (w == W_KVM_EDX) { /* the user's promise rather than the host's */
            reg[3] = UINT32_MAX;
        }
        support->word[w] &= reg[d->reg];
    }
}

bool kvm_filter_model(struct kvm *k, GError **error)
{
    struct cpu_support support;

    kvm_support_fill(k, &support);
    return cpu_model_filter(k->cpus->model, &support, error);
}

static void filter_leaf(const struct kvm *k, struct kvm_cpuid_entry2 *e)
{
    struct kvm_cpuid_entry2 host = host_leaf(k, e->function);

    if (e->function == 7 && e->index == 0 && e->edx & LEAF_7_EDX_ARCH_CAPS) {
        e->edx |= host.edx & LEAF_7_EDX_DEFENCES;
    } else if (e->function == 0x80000008) {
        e->ebx |= host.ebx & LEAF_88_EBX_DEFENCES;
    }
}

/* host-cache-info=on: the host's caches; who shares them stays as the guest's topology has it. */
#define CACHE_SHARING 0xffffc000u

static void fill_caches(const struct kvm *k, struct kvm_cpuid_entry2 *e)
{
    struct kvm_cpuid_entry2 host = host_subleaf(k, e->function, e->index);
    bool listed = e->function == 4 || e->function == 0x8000001d;

    if (!k->cpus->model->host_caches ||
        !(listed || e->function == 2 || e->function == 0x80000005 || e->function == 0x80000006)) {
        return;
    }
    if (listed && host.eax & 0x1f) { /* else there is no such cache */
        host.eax = (host.eax & ~CACHE_SHARING) | (e->eax & CACHE_SHARING);
    }
    e->eax = host.eax;
    e->ebx = host.ebx;
    e->ecx = host.ecx;
    e->edx = host.edx;
}

/* ---- frequencies */

/* The fraction *ebx / *eax nearest to tsc_khz / APIC_BUS_KHZ whose product with the crystal in kHz
 * fits in 32 bits: guests multiply like that. */
static void tsc_ratio(uint64_t tsc_khz, uint32_t *eax, uint32_t *ebx)
{
    double wanted = (double)tsc_khz / APIC_BUS_KHZ, best = wanted;

    *eax = 1;
    *ebx = 0;
    for (uint32_t below = 1; wanted * below < UINT32_MAX / APIC_BUS_KHZ; below++) {
        uint32_t above = (uint32_t)(wanted * below + 0.5);
        double off = (double)above / below - wanted;

        off = off < 0 ? -off : off;
        if (above && off < best) {
            best = off;
            *eax = below;
            *ebx = above;
        }
        if (below >= 4096) {
            break;
        }
    }
}

static void fill_frequencies(const struct kvm *k, struct kvm_cpuid_entry2 *e)
{
    uint32_t mhz = (uint32_t)(k->cpus->tsc_khz / 1000);

    if (e->function == 0x15) {
        e->ecx = APIC_BUS_KHZ * 1000;
        tsc_ratio(k->cpus->tsc_khz, &e->eax, &e->ebx);
    } else if (e->function == 0x16) {
        e->eax = e->ebx = mhz & 0xffff;
        e->ecx = 100;
    }
}

/* ---- the table */

static bool has_subleaves(uint32_t leaf)
{
    return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x1f ||
           leaf == 0x8000001d;
}

static void add_entry(struct kvm_vcpu *v, struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t subleaf)
{
    const struct vcpu *vcpu = v->vcpu;
    struct cpuid_leaf l = cpu_model_cpuid(vcpu->cpus->model, vcpu->index, leaf, subleaf);
    struct kvm_cpuid_entry2 *e;

    if (cpuid->nent == ENTRIES_MAX) {
        return;
    }
    e = &cpuid->entries[cpuid->nent++];
    *e = (struct kvm_cpuid_entry2){.function = leaf, .index = subleaf};
    e->flags = has_subleaves(leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
    e->eax = l.eax;
    e->ebx = l.ebx;
    e->ecx = l.ecx;
    e->edx = l.edx;
    filter_leaf(v->kvm, e);
    fill_caches(v->kvm, e);
    fill_frequencies(v->kvm, e);
}

bool kvm_vcpu_set_cpuid(struct kvm_vcpu *v, GError **error)
{
    const struct cpu_model *model = v->vcpu->cpus->model;
    g_autofree struct kvm_cpuid2 *cpuid =
        g_malloc0(sizeof(*cpuid) + ENTRIES_MAX * sizeof(struct kvm_cpuid_entry2));
    int err;

    for (unsigned i = 0; i < model->n_leaves; i++) {
        add_entry(v, cpuid, model->leaf[i].leaf, model->leaf[i].subleaf);
    }
    for (uint32_t subleaf = 0; subleaf < 3; subleaf++) {
        add_entry(v, cpuid, 0xb, subleaf);
    }
    for (uint32_t subleaf = 0; model->topology.dies > 1 && subleaf < 4; subleaf++) {
        add_entry(v, cpuid, 0x1f, subleaf);
    }
    err = kvm_call(v->fd, KVM_SET_CPUID2, cpuid);
    if (err < 0) {
        g_set_error(error, KVM_ERROR, -err, "vCPU %u: KVM_SET_CPUID2: %s", v->vcpu->index,
                    strerror(-err));
    }
    return err >= 0;
}
