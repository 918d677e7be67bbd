/*
 * The features of CPU models: one bit of one CPUID word each (Intel SDM volume 2, CPUID; AMD APM
 * volume 3, appendix E), under the names that the command line and QMP know them by.
 */
#include "cpu/x86/cpu-features.h"
#include <string.h>

#define S FEATURE_SOFT
#define K FEATURE_KVM

const struct cpu_feature_desc cpu_features[] = {
    /* CPUID 1, EDX */
    {"fpu", F_FPU, W_1_EDX, 0, S | K},
    {"vme", F_VME, W_1_EDX, 1, S | K},
    {"de", F_ALWAYS, W_1_EDX, 2, S | K},
    {"pse", F_PSE, W_1_EDX, 3, S | K},
    {"tsc", F_TSC, W_1_EDX, 4, S | K},
    {"msr", F_MSR, W_1_EDX, 5, S | K},
    {"pae", F_PAE, W_1_EDX, 6, S | K},
    {"mce", F_MCE, W_1_EDX, 7, S | K},
    {"cx8", F_CX8, W_1_EDX, 8, S | K},
    {"apic", F_ALWAYS, W_1_EDX, 9, S | K},
    {"sep", F_SEP, W_1_EDX, 11, S | K},
    {"mtrr", F_MTRR, W_1_EDX, 12, S | K},
    {"pge", F_PGE, W_1_EDX, 13, S | K},
    {"mca", F_ALWAYS, W_1_EDX, 14, S | K},
    {"cmov", F_CMOV, W_1_EDX, 15, S | K},
    {"pat", F_PAT, W_1_EDX, 16, S | K},
    {"pse36", F_ALWAYS, W_1_EDX, 17, S | K},
    {"pn", F_ALWAYS, W_1_EDX, 18, K},
    {"clflush", F_CLFLUSH, W_1_EDX, 19, S | K},
    {"ds", F_ALWAYS, W_1_EDX, 21, K},
    {"acpi", F_ALWAYS, W_1_EDX, 22, K},
    {"mmx", F_MMX, W_1_EDX, 23, S | K},
    {"fxsr", F_FXSR, W_1_EDX, 24, S | K},
    {"sse", F_SSE, W_1_EDX, 25, S | K},
    {"sse2", F_SSE2, W_1_EDX, 26, S | K},
    {"ss", F_ALWAYS, W_1_EDX, 27, S | K},
    {"ht", F_ALWAYS, W_1_EDX, 28, S | K},
    {"tm", F_ALWAYS, W_1_EDX, 29, K},
    {"ia64", F_ALWAYS, W_1_EDX, 30, K},
    {"pbe", F_ALWAYS, W_1_EDX, 31, K},
    /* ECX */
    {"pni", F_SSE3, W_1_ECX, 0, S | K},
    {"pclmulqdq", F_PCLMUL, W_1_ECX, 1, S | K},
    {"dtes64", F_ALWAYS, W_1_ECX, 2, K},
    {"monitor", F_ALWAYS, W_1_ECX, 3, 0},
    {"ds-cpl", F_ALWAYS, W_1_ECX, 4, K},
    {"vmx", F_ALWAYS, W_1_ECX, 5, 0},
    {"smx", F_ALWAYS, W_1_ECX, 6, K},
    {"est", F_ALWAYS, W_1_ECX, 7, K},
    {"tm2", F_ALWAYS, W_1_ECX, 8, K},
    {"ssse3", F_SSSE3, W_1_ECX, 9, S | K},
    {"cid", F_ALWAYS, W_1_ECX, 10, K},
    {"fma", F_FMA, W_1_ECX, 12, S | K},
    {"cx16", F_CX16, W_1_ECX, 13, S | K},
    {"xtpr", F_ALWAYS, W_1_ECX, 14, K},
    {"pdcm", F_ALWAYS, W_1_ECX, 15, K},
    {"pcid", F_PCID, W_1_ECX, 17, S | K},
    {"dca", F_ALWAYS, W_1_ECX, 18, K},
    {"sse4.1", F_SSE41, W_1_ECX, 19, S | K},
    {"sse4.2", F_SSE42, W_1_ECX, 20, S | K},
    {"x2apic", F_X2APIC, W_1_ECX, 21, S | K},
    {"movbe", F_MOVBE, W_1_ECX, 22, S | K},
    {"popcnt", F_POPCNT, W_1_ECX, 23, S | K},
    {"tsc-deadline", F_TSC_DEADLINE, W_1_ECX, 24, S | K},
    {"aes", F_AES, W_1_ECX, 25, S | K},
    {"xsave", F_XSAVE, W_1_ECX, 26, S | K},
    {"avx", F_AVX, W_1_ECX, 28, S | K},
    {"f16c", F_F16C, W_1_ECX, 29, S | K},
    {"rdrand", F_RDRAND, W_1_ECX, 30, S | K},
    {"hypervisor", F_ALWAYS, W_1_ECX, 31, S | K},
    /* 6, EAX */
    {"arat", F_ALWAYS, W_6_EAX, 2, S | K},
    /* 7, EBX */
    {"fsgsbase", F_FSGSBASE, W_7_EBX, 0, S | K},
    {"tsc-adjust", F_TSC_ADJUST, W_7_EBX, 1, S | K},
    {"sgx", F_ALWAYS, W_7_EBX, 2, 0},
    {"bmi1", F_BMI1, W_7_EBX, 3, S | K},
    {"hle", F_ALWAYS, W_7_EBX, 4, K},
    {"avx2", F_AVX2, W_7_EBX, 5, S | K},
    {"smep", F_SMEP, W_7_EBX, 7, S | K},
    {"bmi2", F_BMI2, W_7_EBX, 8, S | K},
    {"erms", F_ERMS, W_7_EBX, 9, S | K},
    {"invpcid", F_INVPCID, W_7_EBX, 10, S | K},
    {"rtm", F_ALWAYS, W_7_EBX, 11, K},
    {"mpx", F_ALWAYS, W_7_EBX, 14, 0},
    {"avx512f", F_ALWAYS, W_7_EBX, 16, 0},
    {"avx512dq", F_ALWAYS, W_7_EBX, 17, 0},
    {"rdseed", F_RDSEED, W_7_EBX, 18, S | K},
    {"adx", F_ADX, W_7_EBX, 19, S | K},
    {"smap", F_SMAP, W_7_EBX, 20, S | K},
    {"avx512ifma", F_ALWAYS, W_7_EBX, 21, 0},
    {"pcommit", F_ALWAYS, W_7_EBX, 22, K},
    {"clflushopt", F_CLFLUSHOPT, W_7_EBX, 23, S | K},
    {"clwb", F_CLWB, W_7_EBX, 24, S | K},
    {"intel-pt", F_ALWAYS, W_7_EBX, 25, 0},
    {"avx512pf", F_ALWAYS, W_7_EBX, 26, 0},
    {"avx512er", F_ALWAYS, W_7_EBX, 27, 0},
    {"avx512cd", F_ALWAYS, W_7_EBX, 28, 0},
    {"sha-ni", F_SHA, W_7_EBX, 29, S | K},
    {"avx512bw", F_ALWAYS, W_7_EBX, 30, 0},
    {"avx512vl", F_ALWAYS, W_7_EBX, 31, 0},
    /* ECX */
    {"avx512vbmi", F_ALWAYS, W_7_ECX, 1, 0},
    {"umip", F_UMIP, W_7_ECX, 2, S | K},
    {"pku", F_PKU, W_7_ECX, 3, S},
    {"waitpkg", F_ALWAYS, W_7_ECX, 5, 0},
    {"avx512vbmi2", F_ALWAYS, W_7_ECX, 6, 0},
    {"gfni", F_ALWAYS, W_7_ECX, 8, K},
    {"vaes", F_ALWAYS, W_7_ECX, 9, K},
    {"vpclmulqdq", F_ALWAYS, W_7_ECX, 10, K},
    {"avx512vnni", F_ALWAYS, W_7_ECX, 11, 0},
    {"avx512bitalg", F_ALWAYS, W_7_ECX, 12, 0},
    {"avx512-vpopcntdq", F_ALWAYS, W_7_ECX, 14, 0},
    {"la57", F_ALWAYS, W_7_ECX, 16, 0},
    {"rdpid", F_RDPID, W_7_ECX, 22, S | K},
    {"bus-lock-detect", F_ALWAYS, W_7_ECX, 24, K},
    {"cldemote", F_ALWAYS, W_7_ECX, 25, K},
    {"movdiri", F_ALWAYS, W_7_ECX, 27, K},
    {"movdir64b", F_ALWAYS, W_7_ECX, 28, K},
    {"sgxlc", F_ALWAYS, W_7_ECX, 30, 0},
    {"pks", F_PKS, W_7_ECX, 31, S},
    /* EDX */
    {"avx512-4vnniw", F_ALWAYS, W_7_EDX, 2, 0},
    {"avx512-4fmaps", F_ALWAYS, W_7_EDX, 3, 0},
    {"fsrm", F_FSRM, W_7_EDX, 4, S | K},
    {"avx512-vp2intersect", F_ALWAYS, W_7_EDX, 8, 0},
    {"md-clear", F_ALWAYS, W_7_EDX, 10, K},
    {"serialize", F_ALWAYS, W_7_EDX, 14, K},
    {"tsx-ldtrk", F_ALWAYS, W_7_EDX, 16, K},
    {"arch-lbr", F_ALWAYS, W_7_EDX, 19, 0},
    {"amx-bf16", F_ALWAYS, W_7_EDX, 22, 0},
    {"avx512-fp16", F_ALWAYS, W_7_EDX, 23, 0},
    {"amx-tile", F_ALWAYS, W_7_EDX, 24, 0},
    {"amx-int8", F_ALWAYS, W_7_EDX, 25, 0},
    {"spec-ctrl", F_SPEC_CTRL, W_7_EDX, 26, S | K},
    {"stibp", F_ALWAYS, W_7_EDX, 27, K},
    {"arch-capabilities", F_ARCH_CAPS, W_7_EDX, 29, S | K},
    {"core-capability", F_ALWAYS, W_7_EDX, 30, K},
    {"ssbd", F_ALWAYS, W_7_EDX, 31, K},
    /* 7.1, EAX */
    {"avx-vnni", F_ALWAYS, W_71_EAX, 4, K},
    {"avx512-bf16", F_ALWAYS, W_71_EAX, 5, 0},
    /* 0DH.1, EAX */
    {"xsaveopt", F_XSAVEOPT, W_D1_EAX, 0, S | K},
    {"xsavec", F_XSAVEC, W_D1_EAX, 1, S | K},
    {"xgetbv1", F_XGETBV1, W_D1_EAX, 2, S | K},
    {"xsaves", F_ALWAYS, W_D1_EAX, 3, 0},
    {"xfd", F_ALWAYS, W_D1_EAX, 4, 0},
    /* 80000001H, ECX */
    {"lahf-lm", F_LAHF, W_81_ECX, 0, S | K},
    {"cmp-legacy", F_ALWAYS, W_81_ECX, 1, S | K},
    {"svm", F_ALWAYS, W_81_ECX, 2, 0},
    {"extapic", F_ALWAYS, W_81_ECX, 3, K},
    {"cr8legacy", F_ALWAYS, W_81_ECX, 4, K},
    {"abm", F_LZCNT, W_81_ECX, 5, S | K},
    {"sse4a", F_ALWAYS, W_81_ECX, 6, K},
    {"misalignsse", F_ALWAYS, W_81_ECX, 7, K},
    {"3dnowprefetch", F_PREFETCHW, W_81_ECX, 8, S | K},
    {"osvw", F_ALWAYS, W_81_ECX, 9, K},
    {"ibs", F_ALWAYS, W_81_ECX, 10, 0},
    {"xop", F_ALWAYS, W_81_ECX, 11, 0},
    {"skinit", F_ALWAYS, W_81_ECX, 12, K},
    {"wdt", F_ALWAYS, W_81_ECX, 13, K},
    {"lwp", F_ALWAYS, W_81_ECX, 15, 0},
    {"fma4", F_ALWAYS, W_81_ECX, 16, 0},
    {"tce", F_ALWAYS, W_81_ECX, 17, K},
    {"nodeid-msr", F_ALWAYS, W_81_ECX, 19, K},
    {"tbm", F_ALWAYS, W_81_ECX, 21, 0},
    {"topoext", F_ALWAYS, W_81_ECX, 22, S | K},
    {"perfctr-core", F_ALWAYS, W_81_ECX, 23, K},
    {"perfctr-nb", F_ALWAYS, W_81_ECX, 24, K},
    /* EDX */
    {"syscall", F_SYSCALL, W_81_EDX, 11, S | K},
    {"nx", F_NX, W_81_EDX, 20, S | K},
    {"mmxext", F_ALWAYS, W_81_EDX, 22, S | K},
    {"fxsr-opt", F_ALWAYS, W_81_EDX, 25, K},
    {"pdpe1gb", F_PDPE1GB, W_81_EDX, 26, S | K},
    {"rdtscp", F_RDTSCP, W_81_EDX, 27, S | K},
    {"lm", F_LM, W_81_EDX, 29, S | K},
    {"3dnowext", F_ALWAYS, W_81_EDX, 30, K},
    {"3dnow", F_ALWAYS, W_81_EDX, 31, K},
    /* 80000007H, EDX */
    {"invtsc", F_ALWAYS, W_87_EDX, 8, S | K},
    /* 80000008H, EBX */
    {"clzero", F_ALWAYS, W_88_EBX, 0, K},
    {"xsaveerptr", F_ALWAYS, W_88_EBX, 2, K},
    {"wbnoinvd", F_ALWAYS, W_88_EBX, 9, K},
    {"ibpb", F_ALWAYS, W_88_EBX, 12, K},
    {"ibrs", F_ALWAYS, W_88_EBX, 14, K},
    {"amd-stibp", F_ALWAYS, W_88_EBX, 15, K},
    {"amd-ssbd", F_ALWAYS, W_88_EBX, 24, K},
    {"virt-ssbd", F_ALWAYS, W_88_EBX, 25, K},
    {"amd-no-ssb", F_ALWAYS, W_88_EBX, 26, K},
    /* 8000000AH, EDX */
    {"npt", F_ALWAYS, W_8A_EDX, 0, K},
    {"lbrv", F_ALWAYS, W_8A_EDX, 1, K},
    {"svm-lock", F_ALWAYS, W_8A_EDX, 2, K},
    {"nrip-save", F_ALWAYS, W_8A_EDX, 3, K},
    {"tsc-scale", F_ALWAYS, W_8A_EDX, 4, K},
    {"vmcb-clean", F_ALWAYS, W_8A_EDX, 5, K},
    {"flushbyasid", F_ALWAYS, W_8A_EDX, 6, K},
    {"decodeassists", F_ALWAYS, W_8A_EDX, 7, K},
    {"pause-filter", F_ALWAYS, W_8A_EDX, 10, K},
    {"pfthreshold", F_ALWAYS, W_8A_EDX, 12, K},
    {"avic", F_ALWAYS, W_8A_EDX, 13, K},
    {"v-vmsave-vmload", F_ALWAYS, W_8A_EDX, 15, K},
    {"vgif", F_ALWAYS, W_8A_EDX, 16, K},
    {"svme-addr-chk", F_ALWAYS, W_8A_EDX, 28, K},
    /* 40000001H, EAX: KVM's; any of them brings KVM's leaves (Linux
     * Documentation/virt/kvm/x86/cpuid.rst). kvmclock has a bit for each of its two sets of MSRs.
     */
    {"kvmclock", F_ALWAYS, W_KVM_EAX, 0, K},
    {"kvm-nopiodelay", F_ALWAYS, W_KVM_EAX, 1, S | K},
    {"kvmclock", F_ALWAYS, W_KVM_EAX, 3, K},
    {"kvm-asyncpf", F_ALWAYS, W_KVM_EAX, 4, K},
    {"kvm-steal-time", F_ALWAYS, W_KVM_EAX, 5, K},
    {"kvm-pv-eoi", F_ALWAYS, W_KVM_EAX, 6, K},
    {"kvm-pv-unhalt", F_ALWAYS, W_KVM_EAX, 7, K},
    {"kvm-pv-tlb-flush", F_ALWAYS, W_KVM_EAX, 9, K},
    {"kvm-pv-ipi", F_KVM_PV_IPI, W_KVM_EAX, 11, S | K},
    {"kvm-poll-control", F_ALWAYS, W_KVM_EAX, 12, K},
    {"kvm-pv-sched-yield", F_KVM_PV_YIELD, W_KVM_EAX, 13, S | K},
    {"kvm-asyncpf-int", F_ALWAYS, W_KVM_EAX, 14, K},
    {"kvmclock-stable-bit", F_ALWAYS, W_KVM_EAX, 24, K},
    /* EDX: what the host promises of itself */
    {"kvm-hint-dedicated", F_ALWAYS, W_KVM_EDX, 0, K},
    /* 40000003H, EDX: anything in it brings the leaves of Hyper-V's interface */
    {"hv-crash", F_HV_CRASH, W_HV_EDX, 10, FEATURE_SOFT | K},
    /* EAX; what else a feature needs there follows from it (cpuid-hyperv.c) */
    {"hv-runtime", F_ALWAYS, W_HV_EAX, 0, K},
    {"hv-time", F_ALWAYS, W_HV_EAX, 1, K},
    {"hv-time", F_ALWAYS, W_HV_EAX, 9, K},
    {"hv-synic", F_ALWAYS, W_HV_EAX, 2, K},
    {"hv-stimer", F_ALWAYS, W_HV_EAX, 3, K},
    {"hv-vapic", F_ALWAYS, W_HV_EAX, 4, K},
    {"hv-vpindex", F_ALWAYS, W_HV_EAX, 6, K},
    {"hv-frequencies", F_ALWAYS, W_HV_EAX, 11, K},
    /* 40000004H, EAX: what the guest had better do */
    {"hv-tlbflush", F_ALWAYS, W_HV_HINTS, 2, K},
    {"hv-relaxed", F_ALWAYS, W_HV_HINTS, 5, K},
    {"hv-ipi", F_ALWAYS, W_HV_HINTS, 10, K},
};
const unsigned cpu_features_n = G_N_ELEMENTS(cpu_features);

#undef S
#undef K

const struct cpuid_word_desc cpuid_words[W__MAX] = {
    [W_1_EDX] = {1, 0, 3, "CPUID.01H:EDX"},
    [W_1_ECX] = {1, 0, 2, "CPUID.01H:ECX"},
    [W_6_EAX] = {6, 0, 0, "CPUID.06H:EAX"},
    [W_7_EBX] = {7, 0, 1, "CPUID.07H:EBX"},
    [W_7_ECX] = {7, 0, 2, "CPUID.07H:ECX"},
    [W_7_EDX] = {7, 0, 3, "CPUID.07H:EDX"},
    [W_71_EAX] = {7, 1, 0, "CPUID.07H:EAX"},
    [W_D1_EAX] = {0xd, 1, 0, "CPUID.0DH:EAX"},
    [W_81_ECX] = {0x80000001, 0, 2, "CPUID.80000001H:ECX"},
    [W_81_EDX] = {0x80000001, 0, 3, "CPUID.80000001H:EDX"},
    [W_87_EDX] = {0x80000007, 0, 3, "CPUID.80000007H:EDX"},
    [W_88_EBX] = {0x80000008, 0, 1, "CPUID.80000008H:EBX"},
    [W_8A_EDX] = {0x8000000a, 0, 3, "CPUID.8000000AH:EDX"},
    [W_KVM_EAX] = {0x40000001, 0, 0, "CPUID.40000001H:EAX"},
    [W_HV_EDX] = {0x40000003, 0, 3, "CPUID.40000003H:EDX"},
    [W_KVM_EDX] = {0x40000001, 0, 3, "CPUID.40000001H:EDX"},
    [W_HV_EAX] = {0x40000003, 0, 0, "CPUID.40000003H:EAX"},
    [W_HV_HINTS] = {0x40000004, 0, 0, "CPUID.40000004H:EAX"},
};

/* Feature names are compared with '-', '_' and '.' taken as the same. */
static bool name_equal(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        bool sep_a = strchr("-_.", *a), sep_b = strchr("-_.", *b);

        if (sep_a != sep_b || (!sep_a && *a != *b)) {
            return false;
        }
    }
    return *a == *b;
}

const struct cpu_feature_desc *cpu_feature_find(const char *name)
{
    static const struct {
        const char *alias, *name;
    } aliases[] = {{"sse3", "pni"}, {"pclmuldq", "pclmulqdq"}, {"ffxsr", "fxsr-opt"}, {"xd", "nx"},
                   {"i64", "lm"},   {"lzcnt", "abm"}};

    for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++) {
        if (name_equal(name, aliases[i].alias)) {
            name = aliases[i].name;
        }
    }
    for (unsigned i = 0; i < cpu_features_n; i++) {
        if (name_equal(name, cpu_features[i].name)) {
            return &cpu_features[i];
        }
    }
    return NULL;
}

uint32_t cpu_feature_bits(const struct cpu_feature_desc *feature)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < cpu_features_n; i++) {
        const struct cpu_feature_desc *f = &cpu_features[i];

        if (f->word == feature->word && strcmp(f->name, feature->name) == 0) {
            bits |= 1u << f->bit;
        }
    }
    return bits;
}

uint32_t cpu_features_of_kvm(void)
{
    static const char *const names[] = {"kvmclock",       "kvm-nopiodelay", "kvm-asyncpf",
                                        "kvm-steal-time", "kvm-pv-eoi",     "kvmclock-stable-bit"};
    uint32_t bits = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        bits |= cpu_feature_bits(cpu_feature_find(names[i]));
    }
    return bits;
}

const char *cpu_feature_bit_name(unsigned word, unsigned bit)
{
    for (unsigned i = 0; i < cpu_features_n; i++) {
        if (cpu_features[i].word == word && cpu_features[i].bit == bit) {
            return cpu_features[i].name;
        }
    }
    return NULL;
}
