/*
 * CPU models: what CPUID says, as a table that every accelerator takes.
 */
#ifndef CPU_X86_CPUID_H
#define CPU_X86_CPUID_H

#include "cpu/vcpu.h"

struct cpuid_leaf {
    uint32_t leaf, subleaf;
    uint32_t eax, ebx, ecx, edx;
};

/* Feature bits that the software CPU's decoder and MSRs ask for; from the model's CPUID words. */
enum cpu_feature {
    F_ALWAYS,
    F_FPU,
    F_TSC,
    F_MSR,
    F_CX8,
    F_SEP,
    F_CMOV,
    F_CLFLUSH,
    F_MMX,
    F_FXSR,
    F_SSE,
    F_SSE2,
    F_SSE3,
    F_PCLMUL,
    F_SSSE3,
    F_CX16,
    F_SSE41,
    F_SSE42,
    F_MOVBE,
    F_POPCNT,
    F_AES,
    F_XSAVE,
    F_RDRAND,
    F_SYSCALL,
    F_NX,
    F_PDPE1GB,
    F_RDTSCP,
    F_LM,
    F_LAHF,
    F_LZCNT,
    F_PREFETCHW,
    F_FSGSBASE,
    F_BMI1,
    F_SMEP,
    F_BMI2,
    F_ERMS,
    F_INVPCID,
    F_RDSEED,
    F_ADX,
    F_SMAP,
    F_CLFLUSHOPT,
    F_CLWB,
    F_SHA,
    F_UMIP,
    F_RDPID,
    F_FSRM,
    F_PCID,
    F_X2APIC,
    F_TSC_DEADLINE,
    F_TSC_ADJUST,
    F_ARCH_CAPS,
    F_SPEC_CTRL,
    F_PGE,
    F_PSE,
    F_PAE,
    F_MTRR,
    F_PAT,
    F_MCE,
    F_AVX,
    F_AVX2,
    F_FMA,
    F_F16C,
    F_XSAVEOPT,
    F_XSAVEC,
    F_XGETBV1,
    F_HV_CRASH,
    F_VME,
    F__MAX
};

struct cpu_model {
    char *name;
    uint64_t features[2]; /* bitmap of enum cpu_feature */
    unsigned n_leaves;
    struct cpuid_leaf *leaf; /* without the APIC id and topology: filled in per vCPU */
    struct cpu_topology topology;
    uint64_t tsc_khz;
    unsigned phys_bits;
};

static inline bool cpu_model_has(const struct cpu_model *model, enum cpu_feature f)
{
    return f == F_ALWAYS || (model->features[f / 64] >> (f % 64) & 1);
}

/* spec is the text of -cpu ("qemu64", "max", "qemu64,+popcnt,-pcid,smap=off"); NULL is the default
 * model. An unknown model or feature is an error that names it. */
struct cpu_model *cpu_model_new(const char *spec, const struct cpu_topology *topology,
                                GError **error);
void cpu_model_free(struct cpu_model *model);

/* What CPUID answers on this vCPU. CR4-dependent bits (OSXSAVE, ...) are the accelerator's to add.
 */
struct cpuid_leaf cpu_model_cpuid(const struct cpu_model *model, unsigned vcpu_index, uint32_t leaf,
                                  uint32_t subleaf);

/* The name of a feature by its CPUID bit (reg 0 EAX to 3 EDX), or NULL. */
const char *cpu_model_bit_name(uint32_t leaf, unsigned reg, unsigned bit);

/* The APIC id of a vCPU: thread, core, die and package number, each in as many bits as it needs. */
uint32_t cpu_topology_apic_id(const struct cpu_topology *topology, unsigned index);

#endif
