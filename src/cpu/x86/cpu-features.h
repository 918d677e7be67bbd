/*
 * Names, CPUID bits and availability of CPU features.
 */
#ifndef CPU_X86_CPU_FEATURES_H
#define CPU_X86_CPU_FEATURES_H

#include "cpu/x86/cpuid.h"

/* Who can give a feature at all. KVM: unless the host's CPUID lacks it; features that bring state
 * which struct cpu_state does not carry are left out. */
enum { FEATURE_SOFT = 1, FEATURE_KVM = 2 };

struct cpu_feature_desc {
    const char *name;
    uint8_t feature; /* enum cpu_feature; F_ALWAYS: nothing but CPUID shows it */
    uint8_t word;    /* enum cpuid_word */
    uint8_t bit;
    uint8_t who; /* FEATURE_* */
};
extern const struct cpu_feature_desc cpu_features[];
extern const unsigned cpu_features_n;

struct cpuid_word_desc {
    uint32_t leaf, subleaf;
    uint8_t reg; /* 0 EAX to 3 EDX */
    const char *text;
};
extern const struct cpuid_word_desc cpuid_words[W__MAX];

/* Adds to support->word all that `who` can give. */
void cpu_support_table(struct cpu_support *support, unsigned who);
/* By a name of the command line, or NULL. */
const struct cpu_feature_desc *cpu_feature_find(const char *name);
/* All bits of the feature's word that have its name. */
uint32_t cpu_feature_bits(const struct cpu_feature_desc *feature);
/* Of word W_KVM_EAX: what CPU models have by default under KVM. Their use shows in MSRs, but for
 * kvm-nopiodelay's, which harms nobody. */
uint32_t cpu_features_of_kvm(void);
/* NULL: no name for this bit. */
const char *cpu_feature_bit_name(unsigned word, unsigned bit);

#endif
