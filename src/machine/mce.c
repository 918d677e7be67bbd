/*
 * Memory failures: machine checks that somebody injects, and MEMORY_FAILURE.
 *
 * Left out: broken memory of the host (SIGBUS), so the event's recipient is always the guest.
 */
#include "cpu/x86/mce.h"

#include "machine/machine-priv.h"
#include "qapi-events.h"

static void tell(struct machine *m, enum memory_failure_action action, const struct mce *mce,
                 bool nested)
{
    struct memory_failure_flags flags = {
        .action_required = mce->status & MCI_STATUS_AR,
        .recursive = nested,
    };

    qapi_event_send_memory_failure(m->events, MEMORY_FAILURE_RECIPIENT_GUEST, action, &flags);
}

/* false: there is nothing to inject into. */
static bool inject_one(struct machine *m, struct vcpu *vcpu, const struct mce *mce, GString *out)
{
    bool nested;

    switch (mce_inject(vcpu, mce, &nested)) {
    case MCE_UNSUPPORTED:
        g_string_append(out, "MCE injection not supported\n");
        return false;
    case MCE_NO_BANK:
        g_string_append(out, "Invalid MCE bank number\n");
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
        tell(m, MEMORY_FAILURE_ACTION_RESET, mce, nested);
        g_string_append_printf(out, "CPU %u: %s, raising triple fault", vcpu->index,
                               nested ? "Previous MCE still in progress"
                                      : "MCE capability is not enabled");
        machine_request_reset(m, SHUTDOWN_CAUSE_GUEST_RESET, "machine check");
        break;
    case MCE_IGNORED:
        tell(m, MEMORY_FAILURE_ACTION_IGNORE, mce, nested);
        break;
    default:
        tell(m, MEMORY_FAILURE_ACTION_INJECT, mce, nested);
        break;
    }
    return true;
}

void machine_inject_mce(struct machine *m, struct vcpu *vcpu, const struct mce *mce, bool broadcast,
                        GString *out)
{
    struct mce other = {
        .bank = 1,
        .status = MCI_STATUS_VAL | MCI_STATUS_UC,
        .mcg_status = MCG_STATUS_MCIP | MCG_STATUS_RIPV,
    };

    if (!(mce->status & MCI_STATUS_VAL)) {
        g_string_append(out, "Invalid MCE status code\n");
        return;
    }
    machine_park_begin(m);
    if (inject_one(m, vcpu, mce, out) && broadcast) {
        for (unsigned i = 0; i < m->cpus->n; i++) {
            if (m->cpus->vcpu[i] != vcpu) {
                inject_one(m, m->cpus->vcpu[i], &other, out);
            }
        }
    }
    machine_park_end(m);
}
