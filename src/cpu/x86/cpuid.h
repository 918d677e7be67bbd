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
    F_PKS,
    F_PKU,
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
    F_KVM_PV_IPI,
    F_KVM_PV_YIELD,
    F_VME,
    F__MAX
};

/* The words of CPUID that hold features. */
enum cpuid_word {
    W_1_EDX,
    W_1_ECX,
    W_6_EAX,
    W_7_EBX,
    W_7_ECX,
    W_7_EDX,
    W_71_EAX,
    W_D1_EAX,
    W_81_ECX,
    W_81_EDX,
    W_87_EDX,
    W_88_EBX,
    W_8A_EDX,
    W_KVM_EAX,
    W_HV_EDX,
    W_KVM_EDX,
    W_HV_EAX,
    W_HV_HINTS,
    W__MAX
};

/* What an accelerator can give. */
struct cpu_support {
    const char *name;   /* "TCG" or "host", for messages */
    bool is_host;       /* the processor is the host's: models max and host take its identity */
    char vendor[13];    /* is_host: all models have the host's vendor */
    uint32_t signature; /* is_host: of leaf 1 */
    unsigned phys_bits; /* of the host's addresses; 0: any number will do */
    uint32_t word[W__MAX];
};

struct cpu_model {
    char *name;
    uint64_t features[2]; /* bitmap of enum cpu_feature */
    unsigned n_leaves;
    struct cpuid_leaf *leaf; /* without the APIC id and topology: filled in per vCPU */
    struct cpu_topology topology;
    uint64_t tsc_khz;
    unsigned phys_bits;

    /* What makes the above, from the command line. */
    enum { MODEL_NAMED, MODEL_MAX, MODEL_HOST } kind;
    char vendor[13], id[49]; /* vendor and brand strings */
    uint32_t signature;      /* leaf 1, EAX */
    uint32_t level, xlevel;  /* at least these last leaves, or exactly when given with -cpu */
    uint32_t base[W__MAX];   /* of the named model */
    uint32_t plus[W__MAX], minus[W__MAX];
    uint32_t word[W__MAX]; /* what CPUID says */
    uint32_t lost[W__MAX]; /* asked for, and the accelerator has it not */
    bool check, enforce;   /* tell of features that are not there; that is an error */
    bool fixed_vendor, fixed_signature, fixed_tsc; /* given on the command line */
    bool no_l3, no_signature; /* l3-cache=off; kvm=off: no name of a hypervisor */
    bool fixed_phys_bits, fixed_level, fixed_xlevel; /* the same */
    enum { HOST_PHYS_DEFAULT, HOST_PHYS_ON, HOST_PHYS_OFF } host_phys_bits;
    unsigned host_phys_limit;   /* host-phys-bits-limit=; 0: none */
    unsigned asked_phys_bits;   /* before the accelerator's limits */
    bool host_caches;           /* host-cache-info=on */
    uint32_t hv_retries;        /* hv-spinlocks=; UINT32_MAX: not told */
    char hv_vendor[13];         /* hv-vendor-id= */
    struct cpu_support support; /* of the accelerator, since cpu_model_filter() */
};

static inline bool cpu_model_has(const struct cpu_model *model, enum cpu_feature f)
{
    return f == F_ALWAYS || (model->features[f / 64] >> (f % 64) & 1);
}

/* spec is the text of -cpu ("qemu64", "max", "Haswell,+popcnt,-pcid,smap=off,check=off"); NULL is
 * the default model. An unknown model, feature or value is an error that names it. The model has
 * all that was asked for; cpu_model_filter() takes away what the accelerator cannot give. */
struct cpu_model *cpu_model_new(const char *spec, const struct cpu_topology *topology,
                                GError **error);
/* Leaves the features that the accelerator supports, with a warning for each that is lost unless
 * check=off. false: one is lost and enforce=on, or the model needs another accelerator.
 * Accelerators call it from init(), before vCPUs exist. */
bool cpu_model_filter(struct cpu_model *model, const struct cpu_support *support, GError **error);
void cpu_model_free(struct cpu_model *model);

/* Whether CPUID has the leaves of Hyper-V's interface. */
bool cpu_model_has_hyperv(const struct cpu_model *model);

/* What CPUID answers on this vCPU. CR4-dependent bits (OSXSAVE, ...) are the accelerator's to add.
 */
struct cpuid_leaf cpu_model_cpuid(const struct cpu_model *model, unsigned vcpu_index, uint32_t leaf,
                                  uint32_t subleaf);

/* Sets a feature ("on" or "off") or another setting of -cpu. The leaves are stale until
 * cpu_model_expand() or cpu_model_filter(). */
bool cpu_model_set(struct cpu_model *model, const char *key, const char *value, GError **error);
/* The model with all that it asks for, whether `support` has it or not. */
void cpu_model_expand(struct cpu_model *model, const struct cpu_support *support);
/* What the named model lacks under `support`: bits per word. false: no such model. */
bool cpu_model_unavailable(const char *name, const struct cpu_support *support,
                           uint32_t lost[W__MAX]);
/* All names, versions and aliases; the caller frees the array, which frees the strings. */
GPtrArray *cpu_model_names(void);
/* "X-v1" for an alias, else NULL. */
const char *cpu_model_alias_of(const char *name);
const char *cpu_model_description(const char *name);

/* The APIC id of a vCPU: thread, core, die and package number, each in as many bits as it needs. */
uint32_t cpu_topology_apic_id(const struct cpu_topology *topology, unsigned index);

#endif
