/*
 * Memory failures: machine checks for the guest, and MEMORY_FAILURE with the guest as recipient.
 */
#include "cpu/x86/mce.h"
#include "cpu/x86/cpuid.h"

#include "machine/machine-priv.h"
#include "qapi-events.h"

static void tell(struct machine *m, enum memory_failure_action action, bool required, bool nested)
{
    struct memory_failure_flags flags = {.action_required = required, .recursive = nested};

    qapi_event_send_memory_failure(m->events, MEMORY_FAILURE_RECIPIENT_GUEST, action, &flags);
}

/* false: there is nothing to inject into. */
static bool inject_one(struct machine *m, struct vcpu *vcpu, const struct mce *mce, bool required,
                       GString *out)
{
    bool nested;

    switch (mce_inject(vcpu, mce, &nested)) {
    case MCE_UNSUPPORTED:
        g_string_append(out, "MCE injection not supported\n");
        return false;
    case MCE_NO_BANK:
        g_string_append(out, "Invalid MCE bank number\n");
        return false;
    case MCE_INVALID:
        g_string_append(out, "Invalid MCE status code\n");
        return false;
    case MCE_REPORTING_OFF:
        g_string_append_printf(out, "CPU %u: Uncorrected error reporting disabled\n", vcpu->index);
        break;
    case MCE_BANK_OFF:
        g_string_append_printf(out, "CPU %u: Uncorrected error reporting disabled for bank %u\n",
                               vcpu->index, mce->bank);
        break;
    case MCE_SHUTDOWN_OFF:
    case MCE_SHUTDOWN_NESTED:
        tell(m, MEMORY_FAILURE_ACTION_RESET, required, nested);
        g_string_append_printf(out, "CPU %u: %s, raising triple fault", vcpu->index,
                               nested ? "Previous MCE still in progress"
                                      : "MCE capability is not enabled");
        machine_request_reset(m, SHUTDOWN_CAUSE_GUEST_RESET, "machine check");
        break;
    case MCE_IGNORED:
        tell(m, MEMORY_FAILURE_ACTION_IGNORE, required, nested);
        break;
    default:
        tell(m, MEMORY_FAILURE_ACTION_INJECT, required, nested);
        break;
    }
    return true;
}

/* Family 6 from model 14 on, and later families, tell all CPUs of a machine check (Intel SDM volume
 * 3, "Machine-Check Initialization and Error Recovery"). */
bool machine_checks_broadcast(const struct machine *m)
{
    uint32_t signature = cpu_model_cpuid(m->cpu_model, 0, 1, 0).eax;
    unsigned family = signature >> 8 & 15, model = (signature >> 4 & 15) | (signature >> 12 & 0xf0);

    return family > 6 || (family == 6 && model >= 14);
}

void machine_check_parked(struct machine *m, struct vcpu *vcpu, const struct mce *mce,
                          bool required, bool broadcast, GString *out)
{
    static const struct mce other = {
        .bank = 1,
        .status = MCI_STATUS_VAL | MCI_STATUS_UC,
        .mcg_status = MCG_STATUS_MCIP | MCG_STATUS_RIPV,
    };

    if (!inject_one(m, vcpu, mce, required, out) || !broadcast) {
        return;
    }
    for (unsigned i = 0; i < m->cpus->n; i++) {
        if (m->cpus->vcpu[i] != vcpu) {
            inject_one(m, m->cpus->vcpu[i], &other, false, out);
        }
    }
}

void machine_inject_mce(struct machine *m, struct vcpu *vcpu, const struct mce *mce, bool broadcast,
                        GString *out)
{
    bool has_address = mce->status & MCI_STATUS_ADDRV;
    struct cause_scope scope;

    if (broadcast && !machine_checks_broadcast(m)) {
        g_string_append(out, "Guest CPU does not support MCA broadcast\n");
        return;
    }
    cause_enter(m, &scope,
                has_address ? cause_now_of_memory(m, "mce", mce->addr)
                            : cause_now(m, GODWIT_CAUSE_WHO_MACHINE, "mce"));
    machine_park_begin(m);
    machine_check_parked(m, vcpu, mce, mce->status & MCI_STATUS_AR, broadcast, out);
    machine_park_end(m);
    cause_leave(m, &scope);
}
