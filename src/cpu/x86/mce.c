/*
 * Machine checks: Intel SDM volume 3, chapter "Machine-Check Architecture". An uncorrected error
 * goes into its bank and interrupts the vCPU; a corrected one is only recorded (there is no CMCI),
 * where it does not overwrite an uncorrected one.
 */
#include "cpu/x86/mce.h"

#include "cpu/x86/state.h"

enum {
    MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b,
    MSR_MC0_CTL = 0x400,
};

static bool msr_find(const struct cpu_state *state, uint32_t index, uint64_t *value)
{
    for (unsigned i = 0; i < state->n_msrs; i++) {
        if (state->msr[i].index == index) {
            *value = state->msr[i].data;
            return true;
        }
    }
    return false;
}

static void msr_add(struct cpu_state *state, uint32_t index, uint64_t value)
{
    state->msr[state->n_msrs++] = (struct x_msr){.index = index, .data = value};
}

/* Leaves in state->msr what is to be written. */
static enum mce_result mce_record(struct cpu_state *state, const struct mce *mce, bool nested)
{
    uint32_t bank = MSR_MC0_CTL + mce->bank * 4;
    uint64_t mcg_ctl, ctl, old, status = mce->status;

    if (!msr_find(state, MSR_MCG_CTL, &mcg_ctl)) {
        return MCE_UNSUPPORTED;
    }
    if (mce->bank >= 32 || !msr_find(state, bank, &ctl) || !msr_find(state, bank + 1, &old)) {
        return MCE_NO_BANK;
    }
    if (!(status & MCI_STATUS_VAL)) {
        return MCE_INVALID;
    }
    state->n_msrs = 0;
    if (!(status & MCI_STATUS_AR) && nested) {
        return MCE_IGNORED;
    }
    if (status & MCI_STATUS_UC) {
        if (mcg_ctl != UINT64_MAX) {
            return MCE_REPORTING_OFF;
        }
        if (ctl != UINT64_MAX) {
            return MCE_BANK_OFF;
        }
        if (!(state->sregs.cr4 & CR4_MCE)) {
            return MCE_SHUTDOWN_OFF;
        }
        if (nested) {
            return MCE_SHUTDOWN_NESTED;
        }
        msr_add(state, MSR_MCG_STATUS, mce->mcg_status & 7);
    } else if ((old & MCI_STATUS_VAL) && (old & MCI_STATUS_UC)) {
        msr_add(state, bank + 1, old | MCI_STATUS_OVER);
        return MCE_INJECTED;
    }
    msr_add(state, bank + 1, old & MCI_STATUS_VAL ? status | MCI_STATUS_OVER : status);
    msr_add(state, bank + 2, mce->addr);
    msr_add(state, bank + 3, mce->misc);
    return MCE_INJECTED;
}

enum mce_result mce_inject(struct vcpu *vcpu, const struct mce *mce, bool *nested)
{
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);
    uint64_t mcg_status = 0;
    enum mce_result result;

    vcpu->ops->get(vcpu, state, ST_SREGS | ST_MSRS);
    msr_find(state, MSR_MCG_STATUS, &mcg_status);
    *nested = mcg_status & MCG_STATUS_MCIP;
    result = mce_record(state, mce, *nested);
    if (result == MCE_INJECTED) {
        vcpu->ops->set(vcpu, state, ST_MSRS, NULL); /* fits: it came from there */
        if (mce->status & MCI_STATUS_UC) {
            vcpu_request(vcpu, VCPU_REQ_MCE);
        }
    }
    return result;
}

bool mce_supported(struct vcpu *vcpu)
{
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);
    uint64_t value;

    vcpu->ops->get(vcpu, state, ST_MSRS);
    return msr_find(state, MSR_MCG_CTL, &value);
}

int mce_privilege(struct vcpu *vcpu)
{
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);

    vcpu->ops->get(vcpu, state, ST_SREGS);
    return state->sregs.ss.dpl;
}
