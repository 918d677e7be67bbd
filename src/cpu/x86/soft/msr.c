/*
 * Model-specific registers. Intel SDM volume 4 (architectural MSRs of table 2-2); the crash
 * registers of Hyper-V's interface, Hypervisor Top Level Functional Specification, "Guest Crash
 * Enlightenment".
 *
 * What the CPU model does not offer, and everything unknown, is #GP for reading and writing, as on
 * hardware. The machine-check banks record what is injected; there is no CMCI and no local machine
 * check. There are no performance counters, no microcode to load; DEBUGCTL takes only 0 (no branch
 * tracing). AMD's processors have four counters and some configuration registers without CPUID
 * saying so; with their vendor these read 0 and ignore what is written: the counters never count.
 */
#include "cpu/x86/cpuid-priv.h"
#include "cpu/x86/lapic.h"
#include "cpu/x86/soft/sys-priv.h"

enum {
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_FEAT_CTL = 0x3a,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_UCODE_REV = 0x8b,
    MSR_MTRR_CAP = 0xfe,
    MSR_ARCH_CAPS = 0x10a,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_MTRR_BASE0 = 0x200, /* base, mask, base, mask, ... */
    MSR_MTRR_LAST = 0x20f,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K_0 = 0x258,
    MSR_MTRR_FIX16K_1 = 0x259,
    MSR_MTRR_FIX4K_0 = 0x268,
    MSR_MTRR_FIX4K_7 = 0x26f,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_MC0_CTL = 0x400, /* CTL, STATUS, ADDR, MISC of each bank */
    MSR_MC_LAST = MSR_MC0_CTL + MCE_BANKS * 4 - 1,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_PKRS = 0x6e1,
    MSR_X2APIC_FIRST = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
};
#define MSR_HV_CRASH_P0    0x40000100u
#define MSR_HV_CRASH_P4    0x40000104u
#define MSR_HV_CRASH_CTL   0x40000105u
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_SFMASK         0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX        0xc0000103u

/* AMD: APM volume 2, appendix A */
#define MSR_K7_EVNTSEL0    0xc0010000u /* four, then four counters */
#define MSR_K7_PERFCTR3    0xc0010007u
#define MSR_SYSCFG         0xc0010010u
#define MSR_HWCR           0xc0010015u
#define MSR_NB_CFG         0xc001001fu

#define HV_CRASH_NOTIFY    (1ull << 63) /* read: can be done; written: report P0 to P4 */

#define MCG_CAP_VALUE      (1u << 24 | 1u << 8 | MCE_BANKS) /* software recovery; MCG_CTL */
#define MTRR_CAP_VALUE     0x508 /* write-combining, fixed ranges, 8 variable ones */
/* RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO,
 * FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO */
#define ARCH_CAPABILITIES_VALUE                                                                    \
    (1ull << 0 | 1ull << 1 | 1ull << 3 | 1ull << 4 | 1ull << 5 | 1ull << 6 | 1ull << 8 |           \
     1ull << 13 | 1ull << 14 | 1ull << 15 | 1ull << 20 | 1ull << 24 | 1ull << 26 | 1ull << 27 |    \
     1ull << 62)

#define UCODE_REV_VALUE  0x0000000100000000ull
#define MISC_ENABLE_MASK 0x0000000400c51889ull

/* In the order of restoring: what others depend on comes first. */
const uint32_t msr_saved[] = {
    MSR_TSC_ADJUST,
    MSR_FEAT_CTL,
    MSR_SPEC_CTRL,
    MSR_PKRS,
    MSR_SYSENTER_CS,
    MSR_SYSENTER_ESP,
    MSR_SYSENTER_EIP,
    MSR_MCG_STATUS,
    MSR_MCG_CTL,
    0x400,
    0x401,
    0x402,
    0x403,
    0x404,
    0x405,
    0x406,
    0x407,
    0x408,
    0x409,
    0x40a,
    0x40b,
    0x40c,
    0x40d,
    0x40e,
    0x40f,
    0x410,
    0x411,
    0x412,
    0x413,
    0x414,
    0x415,
    0x416,
    0x417,
    0x418,
    0x419,
    0x41a,
    0x41b,
    0x41c,
    0x41d,
    0x41e,
    0x41f,
    0x420,
    0x421,
    0x422,
    0x423,
    0x424,
    0x425,
    0x426,
    0x427,
    MSR_MISC_ENABLE,
    0x200,
    0x201,
    0x202,
    0x203,
    0x204,
    0x205,
    0x206,
    0x207,
    0x208,
    0x209,
    0x20a,
    0x20b,
    0x20c,
    0x20d,
    0x20e,
    0x20f,
    MSR_MTRR_FIX64K,
    MSR_MTRR_FIX16K_0,
    MSR_MTRR_FIX16K_1,
    0x268,
    0x269,
    0x26a,
    0x26b,
    0x26c,
    0x26d,
    0x26e,
    0x26f,
    MSR_PAT,
    MSR_MTRR_DEF_TYPE,
    MSR_TSC_DEADLINE,
    MSR_STAR,
    MSR_LSTAR,
    MSR_CSTAR,
    MSR_SFMASK,
    MSR_KERNEL_GS_BASE,
    MSR_TSC_AUX,
    0x40000100,
    0x40000101,
    0x40000102,
    0x40000103,
    0x40000104,
    0,
};

static unsigned msr_phys_bits(const struct cpu *c)
{
    return c->model != NULL && c->model->phys_bits != 0 ? c->model->phys_bits : 40;
}

static uint64_t *plain_register(struct cpu *c, uint32_t index)
{
    switch (index) {
    case MSR_SYSENTER_CS:
        return cpu_has(c, F_SEP) ? &c->sysenter_cs : NULL;
    case MSR_SYSENTER_ESP:
        return cpu_has(c, F_SEP) ? &c->sysenter_esp : NULL;
    case MSR_SYSENTER_EIP:
        return cpu_has(c, F_SEP) ? &c->sysenter_eip : NULL;
    case MSR_SPEC_CTRL:
        return cpu_has(c, F_SPEC_CTRL) ? &c->spec_ctrl : NULL;
    case MSR_PKRS:
        return cpu_has(c, F_PKS) ? &c->pkrs : NULL;
    case MSR_MCG_STATUS:
        return cpu_has(c, F_MCE) ? &c->mcg_status : NULL;
    case MSR_MCG_CTL:
        return cpu_has(c, F_MCE) ? &c->mcg_ctl : NULL;
    case MSR_MC0_CTL ... MSR_MC_LAST:
        return cpu_has(c, F_MCE) ? &c->mce_bank[(index - MSR_MC0_CTL) / 4][index % 4] : NULL;
    case MSR_MISC_ENABLE:
        return &c->misc_enable;
    case MSR_PAT:
        return cpu_has(c, F_PAT) ? &c->pat : NULL;
    case MSR_MTRR_DEF_TYPE:
        return cpu_has(c, F_MTRR) ? &c->mtrr_def_type : NULL;
    case MSR_MTRR_FIX64K:
        return cpu_has(c, F_MTRR) ? &c->mtrr_fixed[0] : NULL;
    case MSR_MTRR_FIX16K_0:
    case MSR_MTRR_FIX16K_1:
        return cpu_has(c, F_MTRR) ? &c->mtrr_fixed[1 + index - MSR_MTRR_FIX16K_0] : NULL;
    case MSR_MTRR_FIX4K_0 ... MSR_MTRR_FIX4K_7:
        return cpu_has(c, F_MTRR) ? &c->mtrr_fixed[3 + index - MSR_MTRR_FIX4K_0] : NULL;
    case MSR_MTRR_BASE0 ... MSR_MTRR_LAST: {
        unsigned n = (index - MSR_MTRR_BASE0) / 2;
        return !cpu_has(c, F_MTRR) ? NULL : index & 1 ? &c->mtrr_mask[n] : &c->mtrr_base[n];
    }
    case MSR_STAR:
        return cpu_has(c, F_LM) ? &c->star : NULL;
    case MSR_LSTAR:
        return cpu_has(c, F_LM) ? &c->lstar : NULL;
    case MSR_CSTAR:
        return cpu_has(c, F_LM) ? &c->cstar : NULL;
    case MSR_SFMASK:
        return cpu_has(c, F_LM) ? &c->sfmask : NULL;
    case MSR_FS_BASE:
        return cpu_has(c, F_LM) ? &c->seg[SEG_FS].base : NULL;
    case MSR_GS_BASE:
        return cpu_has(c, F_LM) ? &c->seg[SEG_GS].base : NULL;
    case MSR_KERNEL_GS_BASE:
        return cpu_has(c, F_LM) ? &c->kernel_gs_base : NULL;
    case MSR_TSC_AUX:
        return cpu_has(c, F_RDTSCP) || cpu_has(c, F_RDPID) ? &c->tsc_aux : NULL;
    case MSR_HV_CRASH_P0 ... MSR_HV_CRASH_P4:
        return cpu_has(c, F_HV_CRASH) ? &c->hv_crash[index - MSR_HV_CRASH_P0] : NULL;
    default:
        return NULL;
    }
}

/* AMD's registers that do nothing here. */
static bool is_idle_amd(const struct cpu *c, uint32_t index)
{
    return c->model != NULL && cpu_vendor_is_amd(c->model) &&
           ((index >= MSR_K7_EVNTSEL0 && index <= MSR_K7_PERFCTR3) || index == MSR_SYSCFG ||
            index == MSR_HWCR || index == MSR_NB_CFG);
}

bool msr_read(struct cpu *c, uint32_t index, uint64_t *value)
{
    const uint64_t *plain = plain_register(c, index);
    if (plain != NULL) {
        *value = *plain;
        return true;
    }
    if (is_idle_amd(c, index)) {
        *value = 0;
        return true;
    }
    switch (index) {
    case MSR_TSC:
        *value = tsc_read(c);
        return true;
    case MSR_PLATFORM_ID:
    case MSR_DEBUGCTL:
        *value = 0;
        return true;
    case MSR_UCODE_REV:
        *value = UCODE_REV_VALUE;
        return true;
    case MSR_APIC_BASE:
        *value = c->lapic != NULL ? lapic_get_base(c->lapic) : 0;
        return c->lapic != NULL;
    case MSR_FEAT_CTL:
        *value = c->feat_ctl;
        return true;
    case MSR_TSC_ADJUST:
        *value = c->tsc_adjust;
        return cpu_has(c, F_TSC_ADJUST);
    case MSR_MTRR_CAP:
        *value = MTRR_CAP_VALUE;
        return cpu_has(c, F_MTRR);
    case MSR_ARCH_CAPS:
        *value = ARCH_CAPABILITIES_VALUE;
        return cpu_has(c, F_ARCH_CAPS);
    case MSR_MCG_CAP:
        *value = MCG_CAP_VALUE;
        return cpu_has(c, F_MCE);
    case MSR_HV_CRASH_CTL:
        *value = HV_CRASH_NOTIFY;
        return cpu_has(c, F_HV_CRASH);
    case MSR_EFER:
        *value = c->efer;
        return cpu_has(c, F_LM) || cpu_has(c, F_NX);
    case MSR_TSC_DEADLINE:
        *value = c->lapic != NULL ? lapic_get_tsc_deadline(c->lapic) : 0;
        return c->lapic != NULL && cpu_has(c, F_TSC_DEADLINE);
    case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST:
        return c->lapic != NULL && cpu_has(c, F_X2APIC) && lapic_msr_read(c->lapic, index, value);
    default:
        return false;
    }
}

/* ---------------------------------------------------------------- writing */

static bool is_memory_type(uint64_t type, bool pat)
{
    return type == 0 || type == 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool are_memory_types(uint64_t value, bool pat)
{
    for (unsigned i = 0; i < 8; i++) {
        if (!is_memory_type(value >> 8 * i & 0xff, pat)) {
            return false;
        }
    }
    return true;
}

/* Whether a register that is nothing but storage takes the value. */
static bool plain_value_ok(const struct cpu *c, uint32_t index, uint64_t value)
{
    uint64_t above = ~((1ull << msr_phys_bits(c)) - 1);
    switch (index) {
    case MSR_SYSENTER_ESP:
    case MSR_SYSENTER_EIP:
    case MSR_LSTAR:
    case MSR_CSTAR:
    case MSR_FS_BASE:
    case MSR_GS_BASE:
    case MSR_KERNEL_GS_BASE:
        return is_canonical(value);
    case MSR_TSC_AUX:
    case MSR_PKRS:
        return value >> 32 == 0;
    case MSR_SPEC_CTRL:
        return value <= 7;
    case MSR_MCG_STATUS:
        return value <= 7;
    case MSR_MCG_CTL:
        return value == 0 || value == UINT64_MAX;
    case MSR_MC0_CTL ... MSR_MC_LAST:
        /* CTL: all or nothing; STATUS: to be cleared. ADDR and MISC of Intel's take only 0, AMD's
         * and KVM's anything. */
        return index % 4 >= 2 || value == 0 || (index % 4 == 0 && value == UINT64_MAX);
    case MSR_PAT:
        return are_memory_types(value, true);
    case MSR_MTRR_FIX64K:
    case MSR_MTRR_FIX16K_0:
    case MSR_MTRR_FIX16K_1:
    case MSR_MTRR_FIX4K_0 ... MSR_MTRR_FIX4K_7:
        return are_memory_types(value, false);
    case MSR_MTRR_DEF_TYPE:
        return !(value & ~0xcffull) && is_memory_type(value & 0xff, false);
    case MSR_MTRR_BASE0 ... MSR_MTRR_LAST:
        return index & 1 ? !(value & (above | 0x7ff))
                         : !(value & (above | 0xf00)) && is_memory_type(value & 0xff, false);
    default:
        return true;
    }
}

static void plain_write(struct cpu *c, uint32_t index, uint64_t *plain, uint64_t value)
{
    if (index == MSR_SFMASK) {
        value = (uint32_t)value;
    } else if (index == MSR_MISC_ENABLE) {
        value = (c->misc_enable & ~MISC_ENABLE_MASK) | (value & MISC_ENABLE_MASK);
    }
    *plain = value;
    if (index == MSR_PKRS) {
        tlb_flush_all(c); /* entries say what it allows */
    }
}

static bool efer_write(struct cpu *c, uint64_t value)
{
    uint64_t known = EFER_LMA;
    known |= cpu_has(c, F_SYSCALL) ? EFER_SCE : 0;
    known |= cpu_has(c, F_LM) ? EFER_LME : 0;
    known |= cpu_has(c, F_NX) ? EFER_NXE : 0;
    if ((value & ~known) != 0 || (((value ^ c->efer) & EFER_LME) && (c->cr0 & CR0_PG))) {
        return false;
    }
    uint64_t old = c->efer;
    c->efer = (value & ~(uint64_t)EFER_LMA) | (old & EFER_LMA);
    if ((old ^ c->efer) & EFER_NXE) {
        tlb_flush_all(c);
    }
    return true;
}

/* Arms the APIC timer for a value of the guest's TSC; never early, at most a century from now. */
static void deadline_set(struct cpu *c, uint64_t deadline)
{
    uint64_t tsc = tsc_read(c), ticks = deadline > tsc ? deadline - tsc : 0;
    uint64_t century_ns = 100ull * 365 * 86400 * NS_PER_SEC;
    struct cpus *cpus = c->vcpu->cpus;
    uint64_t ns = ticks == 0                ? 0
                  : (ticks >> 44) > 1000000 ? century_ns
                                            : muldiv64(ticks, 1000000, cpus->tsc_khz) + 1;
    lapic_set_tsc_deadline(c->lapic, deadline,
                           vclock_now(cpus->clock) + (int64_t)MIN(ns, century_ns));
}

/* The guest's TSC jumps by delta: an armed deadline keeps its TSC value. */
static void tsc_shift(struct cpu *c, uint64_t delta)
{
    c->tsc_offset += delta;
    c->tsc_adjust += delta;
    if (c->lapic != NULL) {
        uint64_t deadline = lapic_get_tsc_deadline(c->lapic);
        if (deadline != 0) {
            deadline_set(c, deadline);
        }
    }
}

static void hv_crash_control(struct cpu *c, uint64_t value)
{
    if ((value & HV_CRASH_NOTIFY) && c->vcpu != NULL) {
        const struct cpus *cpus = c->vcpu->cpus;
        fp_leave(c);
        cpus->hooks->crash(cpus->hooks_opaque, c->vcpu, c->hv_crash);
    }
}

bool msr_write(struct cpu *c, uint32_t index, uint64_t value)
{
    uint64_t *plain = plain_register(c, index);
    if (plain != NULL) {
        if (!plain_value_ok(c, index, value)) {
            return false;
        }
        plain_write(c, index, plain, value);
        return true;
    }
    if (is_idle_amd(c, index)) {
        return true;
    }
    switch (index) {
    case MSR_TSC:
        tsc_shift(c, value - tsc_read(c));
        return true;
    case MSR_TSC_ADJUST:
        if (!cpu_has(c, F_TSC_ADJUST)) {
            return false;
        }
        tsc_shift(c, value - c->tsc_adjust);
        return true;
    case MSR_UCODE_REV: /* cleared before CPUID reports the revision anew */
        return true;
    case MSR_DEBUGCTL:
        return value == 0;
    case MSR_PRED_CMD:
        return cpu_has(c, F_SPEC_CTRL) && (value & ~1ull) == 0;
    case MSR_APIC_BASE:
        if (c->lapic == NULL || !lapic_set_base(c->lapic, value)) {
            return false;
        }
        tlb_flush_all(c); /* the page may have been RAM, or is again */
        return true;
    case MSR_HV_CRASH_CTL:
        if (!cpu_has(c, F_HV_CRASH)) {
            return false;
        }
        hv_crash_control(c, value);
        return true;
    case MSR_EFER:
        return (cpu_has(c, F_LM) || cpu_has(c, F_NX)) && efer_write(c, value);
    case MSR_TSC_DEADLINE:
        if (c->lapic == NULL || !cpu_has(c, F_TSC_DEADLINE)) {
            return false;
        }
        deadline_set(c, value);
        return true;
    case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST:
        return c->lapic != NULL && cpu_has(c, F_X2APIC) && lapic_msr_write(c->lapic, index, value);
    default:
        return false;
    }
}
