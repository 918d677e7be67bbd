/*
 * Injection of machine checks into a vCPU, for every accelerator that carries the MSRs in struct
 * cpu_state.
 */
#ifndef CPU_X86_MCE_H
#define CPU_X86_MCE_H

#include "cpu/vcpu.h"

#define MCI_STATUS_VAL   (1ull << 63)
#define MCI_STATUS_OVER  (1ull << 62)
#define MCI_STATUS_UC    (1ull << 61)
#define MCI_STATUS_EN    (1ull << 60)
#define MCI_STATUS_MISCV (1ull << 59)
#define MCI_STATUS_ADDRV (1ull << 58)
#define MCI_STATUS_S     (1ull << 56)
#define MCI_STATUS_AR    (1ull << 55)

#define MCG_STATUS_RIPV  (1ull << 0)
#define MCG_STATUS_EIPV  (1ull << 1)
#define MCG_STATUS_MCIP  (1ull << 2)

struct mce {
    unsigned bank;
    uint64_t status, mcg_status, addr, misc;
};

enum mce_result {
    MCE_INJECTED,
    MCE_IGNORED,     /* action optional while another is being handled */
    MCE_UNSUPPORTED, /* the vCPU has no machine checks */
    MCE_NO_BANK,
    MCE_INVALID,         /* the status says that there is none (VAL) */
    MCE_REPORTING_OFF,   /* IA32_MCG_CTL */
    MCE_BANK_OFF,        /* IA32_MCi_CTL */
    MCE_SHUTDOWN_OFF,    /* CR4.MCE is clear: the CPU would shut down; the caller's to do */
    MCE_SHUTDOWN_NESTED, /* ... another is being handled */
};

/* *nested: the vCPU was handling one already. Parked only. */
enum mce_result mce_inject(struct vcpu *vcpu, const struct mce *mce, bool *nested);

/* Whether it has machine checks. Parked only. */
bool mce_supported(struct vcpu *vcpu);
/* Its privilege level, 0 to 3. Parked only. */
int mce_privilege(struct vcpu *vcpu);

#endif
