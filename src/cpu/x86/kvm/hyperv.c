/*
 * Hyper-V's interface under KVM: what the kernel supports, and what it leaves to us. There is no
 * VMBus behind the synthetic interrupt controller, so nobody takes messages and events.
 */
#include "cpu/x86/cpuid.h"
#include "cpu/x86/kvm/kvm-priv.h"

#include <errno.h>
#include <string.h>

#define LEAVES_MAX            64
#define FEATURE_SYNIC         (1u << 2)

#define HV_INVALID_CODE       2
#define HV_INVALID_CONNECTION 18
#define HV_POST_MESSAGE       0x5c
#define HV_SIGNAL_EVENT       0x5d
#define HV_CODE(input)        ((uint16_t)(input))

uint32_t kvm_hyperv_leaf(const struct kvm *k, uint32_t leaf)
{
    g_autofree struct kvm_cpuid2 *table =
        g_malloc0(sizeof(*table) + LEAVES_MAX * sizeof(struct kvm_cpuid_entry2));

    table->nent = LEAVES_MAX;
    if (kvm_capability(k, KVM_CAP_SYS_HYPERV_CPUID) <= 0 ||
        kvm_call(k->fd, KVM_GET_SUPPORTED_HV_CPUID, table) < 0) {
        return 0; /* a kernel before 5.11 tells only vCPUs */
    }
    for (uint32_t i = 0; i < table->nent; i++) {
        if (table->entries[i].function == leaf) {
            return table->entries[i].eax;
        }
    }
    return 0;
}

bool kvm_hyperv_enable(const struct kvm_vcpu *v, GError **error)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_HYPERV_SYNIC};
    int err = 0;

    if (v->vcpu->cpus->model->word[W_HV_EAX] & FEATURE_SYNIC) {
        err = kvm_call(v->fd, KVM_ENABLE_CAP, &cap);
    }
    if (err < 0) {
        g_set_error(error, KVM_ERROR, -err, "vCPU %u: hv-synic: %s", v->vcpu->index,
                    strerror(-err));
    }
    return err >= 0;
}

void kvm_hyperv_exit(struct kvm_vcpu *v)
{
    struct kvm_hyperv_exit *hv = &v->run->hyperv;

    if (hv->type == KVM_EXIT_HYPERV_HCALL) {
        bool connected = HV_CODE(hv->u.hcall.input) == HV_POST_MESSAGE ||
                         HV_CODE(hv->u.hcall.input) == HV_SIGNAL_EVENT;

        hv->u.hcall.result = connected ? HV_INVALID_CONNECTION : HV_INVALID_CODE;
    }
}
