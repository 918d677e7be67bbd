/*
 * VMCALL and VMMCALL: KVM's hypercalls, for CPU models with one of the kvm-pv-* features (Linux,
 * Documentation/virt/kvm/x86/hypercalls.rst). Without such a feature both are undefined, as on a
 * processor with no hypervisor behind it.
 *
 * There are KVM_HC_SEND_IPI (kvm-pv-ipi), KVM_HC_SCHED_YIELD (kvm-pv-sched-yield) and
 * KVM_HC_VAPIC_POLL_IRQ, which does nothing; others say that they do not exist. Both instructions
 * are the same, whatever the vendor: KVM rewrites the one that the processor lacks.
 */
#include "cpu/x86/soft/insn.h"
#include "cpu/x86/soft/sys-priv.h"
#include <sched.h>

enum { HC_VAPIC_POLL_IRQ = 1, HC_SEND_IPI = 10, HC_SCHED_YIELD = 11 };
enum { HC_EPERM = 1, HC_EINVAL = 22, HC_ENOSYS = 1000 };

#define ICR_DEST_MODE    0x00000800u
#define ICR_SHORTHAND    0x000c0000u
#define ICR_SENT         0x000007ffu /* vector and delivery mode */
#define MSI_ADDRESS      0xfee00000u
#define APIC_ID_MESSAGES 255u /* ids that a message can be for */

static bool apic_exists(const struct cpus *cpus, uint64_t id)
{
    for (unsigned i = 0; i < cpus->n; i++) {
        if (cpus->vcpu[i]->apic_id == id) {
            return true;
        }
    }
    return false;
}

/* An interrupt to each APIC of two words of a bitmap that begins at id `first`. Returns how many
 * got it. */
static int64_t send_ipi(struct cpu *c, const uint64_t map[2], unsigned bits, uint64_t first,
                        uint32_t icr)
{
    struct cpus *cpus = c->vcpu ? c->vcpu->cpus : NULL;
    int64_t sent = 0;

    if (icr & (ICR_DEST_MODE | ICR_SHORTHAND)) {
        return -HC_EINVAL;
    }
    for (unsigned i = 0; cpus && first <= APIC_ID_MESSAGES && i < 2 * bits; i++) {
        uint64_t id = first + i;
        if ((map[i / bits] >> i % bits & 1) && id < APIC_ID_MESSAGES && apic_exists(cpus, id)) {
            cpus->accel->send_msi(cpus, MSI_ADDRESS | id << 12, icr & ICR_SENT);
            sent++;
        }
    }
    return sent;
}

static int64_t hypercall(struct cpu *c)
{
    bool wide = is_long64(c);
    uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;
    const uint64_t map[2] = {c->r[RBX] & mask, c->r[RCX] & mask};

    if (c->cpl != 0) {
        return -HC_EPERM;
    }
    switch (c->r[RAX] & mask) {
    case HC_VAPIC_POLL_IRQ:
        return 0;
    case HC_SEND_IPI:
        return cpu_has(c, F_KVM_PV_IPI)
                   ? send_ipi(c, map, wide ? 64 : 32, c->r[RDX] & mask, (uint32_t)c->r[RSI])
                   : -HC_ENOSYS;
    case HC_SCHED_YIELD:
        if (!cpu_has(c, F_KVM_PV_YIELD)) {
            return -HC_ENOSYS;
        }
        sched_yield();
        return 0;
    default:
        return -HC_ENOSYS;
    }
}

OP(op_vmcall)
{
    int64_t r = hypercall(c);
    c->r[RAX] = is_long64(c) ? (uint64_t)r : (uint32_t)r;
    END_BLOCK;
}
