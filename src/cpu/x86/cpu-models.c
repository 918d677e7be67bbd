/*
 * The CPU models that are named after processors: family, model, stepping and feature bits of those
 * processors, under the names and in the versions that QEMU 7.2 has and libvirt asks for.
 *
 * A model is described by what it has more or less than another one. A name without a version means
 * the first one.
 */
#include "cpu/x86/cpu-models.h"
#include <string.h>

#define INTEL "GenuineIntel"
#define AMD   "AuthenticAMD"
#define HYGON "HygonGenuine"

const struct cpu_model_desc cpu_models[] = {
    {"486-v1", NULL, "+fpu +pse +vme", INTEL, 4, 8, 0, 0x1, 0x0, ""},
    {"pentium-v1", "486-v1", "+apic +cx8 +de +mce +mmx +msr +tsc", INTEL, 5, 4, 3, 0x1, 0x0, ""},
    {"qemu32-v1", "pentium-v1", "+cmov +fxsr +pae +pat +pge +pni +sep +sse +sse2 -vme", INTEL, 6, 6,
     3, 0x4, 0x80000004, "QEMU Virtual CPU version 2.5+"},
    {"pentium2-v1", "qemu32-v1", "+mca +mtrr +pse36 +vme -pni -sse -sse2", INTEL, 6, 5, 2, 0x2, 0x0,
     ""},
    {"pentium3-v1", "pentium2-v1", "+sse", INTEL, 6, 7, 3, 0x3, 0x0, ""},
    {"kvm32-v1", "pentium3-v1", "+clflush +pni +sse2", INTEL, 15, 6, 1, 0x5, 0x80000008,
     "Common 32-bit KVM processor"},
    {"athlon-v1", NULL,
     "+3dnow +3dnowext +apic +cmov +cx8 +de +fpu +fxsr +mca +mce +mmx +mmxext +msr +mtrr +pae +pat +pge +pse +pse36 +sep +sse +sse2 +tsc +vme",
     AMD, 6, 2, 3, 0x2, 0x80000008, "QEMU Virtual CPU version 2.5+"},
    {"Opteron_G1-v1", "athlon-v1", "+clflush +lm +nx +pni +syscall -3dnow -3dnowext -mmxext", AMD,
     15, 6, 1, 0x5, 0x80000008, "AMD Opteron 240 (Gen 1 Class Opteron)"},
    {"coreduo-v1", "kvm32-v1", "+acpi +monitor +nx +ss -pse36", INTEL, 6, 14, 8, 0xa, 0x80000008,
     "Genuine Intel(R) CPU           T2600  @ 2.16GHz"},
    {"kvm64-v1", "kvm32-v1", "+cx16 +lm +nx +syscall", INTEL, 15, 6, 1, 0xd, 0x80000008,
     "Common KVM processor"},
    {"Conroe-v1", "kvm64-v1", "+lahf-lm +ssse3 -cx16", INTEL, 6, 15, 3, 0xa, 0x80000008,
     "Intel Celeron_4x0 (Conroe/Merom Class Core 2)"},
    {"qemu64-v1", "Opteron_G1-v1", "+cx16 +lahf-lm +svm -vme", AMD, 15, 107, 1, 0xd, 0x8000000a,
     "QEMU Virtual CPU version 2.5+"},
    {"Opteron_G2-v1", "qemu64-v1", "+vme", AMD, 15, 6, 1, 0x5, 0x8000000a,
     "AMD Opteron 22xx (Gen 2 Class Opteron)"},
    {"n270-v1", "coreduo-v1", "+lahf-lm +movbe +ssse3", INTEL, 6, 28, 2, 0xa, 0x80000008,
     "Intel(R) Atom(TM) CPU N270   @ 1.60GHz"},
    {"Penryn-v1", "Conroe-v1", "+cx16 +sse4.1", INTEL, 6, 23, 3, 0xa, 0x80000008,
     "Intel Core 2 Duo P9xxx (Penryn Class Core 2)"},
    {"Nehalem-v1", "Penryn-v1", "+popcnt +sse4.2", INTEL, 6, 26, 3, 0xb, 0x80000008,
     "Intel Core i7 9xx (Nehalem Class Core i7)"},
    {"Nehalem-v2", "Nehalem-v1", "+spec-ctrl", INTEL, 6, 26, 3, 0xb, 0x80000008,
     "Intel Core i7 9xx (Nehalem Core i7, IBRS update)"},
    {"core2duo-v1", "Conroe-v1", "+acpi +cx16 +monitor +ss", INTEL, 6, 15, 11, 0xa, 0x80000008,
     "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz"},
    {"Opteron_G3-v1", "Opteron_G2-v1", "+abm +misalignsse +monitor +popcnt +rdtscp +sse4a", AMD, 16,
     2, 3, 0x5, 0x8000000a, "AMD Opteron 23xx (Gen 3 Class Opteron)"},
    {"Westmere-v1", "Nehalem-v1", "+aes +arat +pclmulqdq", INTEL, 6, 44, 1, 0xb, 0x80000008,
     "Westmere E56xx/L56xx/X56xx (Nehalem-C)"},
    {"Westmere-v2", "Westmere-v1", "+spec-ctrl", INTEL, 6, 44, 1, 0xb, 0x80000008,
     "Westmere E56xx/L56xx/X56xx (IBRS update)"},
    {"phenom-v1", "Opteron_G3-v1", "+3dnow +3dnowext +fxsr-opt +mmxext +npt +pdpe1gb -misalignsse",
     AMD, 16, 2, 3, 0x5, 0x8000001a, "AMD Phenom(tm) 9550 Quad-Core Processor"},
    {"SandyBridge-v1", "Westmere-v1", "+avx +rdtscp +tsc-deadline +x2apic +xsave +xsaveopt", INTEL,
     6, 42, 1, 0xd, 0x80000008, "Intel Xeon E312xx (Sandy Bridge)"},
    {"SandyBridge-v2", "SandyBridge-v1", "+spec-ctrl", INTEL, 6, 42, 1, 0xd, 0x80000008,
     "Intel Xeon E312xx (Sandy Bridge, IBRS update)"},
    {"IvyBridge-v1", "SandyBridge-v1", "+erms +f16c +fsgsbase +rdrand +smep", INTEL, 6, 58, 9, 0xd,
     0x80000008, "Intel Xeon E3-12xx v2 (Ivy Bridge)"},
    {"IvyBridge-v2", "IvyBridge-v1", "+spec-ctrl", INTEL, 6, 58, 9, 0xd, 0x80000008,
     "Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)"},
    {"Opteron_G4-v1", "Opteron_G3-v1",
     "+3dnowprefetch +aes +avx +fma4 +npt +nrip-save +pclmulqdq +pdpe1gb +sse4.1 +sse4.2 +ssse3 +xop +xsave -monitor",
     AMD, 21, 1, 2, 0xd, 0x8000001a, "AMD Opteron 62xx class CPU"},
    {"Opteron_G5-v1", "Opteron_G4-v1", "+f16c +fma +tbm", AMD, 21, 2, 0, 0xd, 0x8000001a,
     "AMD Opteron 63xx class CPU"},
    {"Haswell-v1", "IvyBridge-v1", "+abm +avx2 +bmi1 +bmi2 +fma +hle +invpcid +movbe +pcid +rtm",
     INTEL, 6, 60, 4, 0xd, 0x80000008, "Intel Core Processor (Haswell)"},
    {"Haswell-v2", "Haswell-v1", "-hle -rtm", INTEL, 6, 60, 1, 0xd, 0x80000008,
     "Intel Core Processor (Haswell, no TSX)"},
    {"Haswell-v3", "Haswell-v1", "+spec-ctrl", INTEL, 6, 60, 4, 0xd, 0x80000008,
     "Intel Core Processor (Haswell, IBRS)"},
    {"Haswell-v4", "Haswell-v2", "+spec-ctrl", INTEL, 6, 60, 1, 0xd, 0x80000008,
     "Intel Core Processor (Haswell, no TSX, IBRS)"},
    {"Denverton-v1", "IvyBridge-v2",
     "+3dnowprefetch +arch-capabilities +clflushopt +monitor +movbe +mpx +pdpe1gb +rdseed +sha-ni +smap +ssbd +xgetbv1 +xsavec -avx -f16c",
     INTEL, 6, 95, 1, 0x15, 0x80000008, "Intel Atom Processor (Denverton)"},
    {"Denverton-v2", "Denverton-v1", "-monitor -mpx", INTEL, 6, 95, 1, 0x15, 0x80000008,
     "Intel Atom Processor (Denverton)"},
    {"Denverton-v3", "Denverton-v2", "+xsaves", INTEL, 6, 95, 1, 0x15, 0x80000008,
     "Intel Atom Processor (Denverton)"},
    {"Broadwell-v1", "Haswell-v1", "+3dnowprefetch +adx +rdseed +smap", INTEL, 6, 61, 2, 0xd,
     0x80000008, "Intel Core Processor (Broadwell)"},
    {"Broadwell-v2", "Broadwell-v1", "-hle -rtm", INTEL, 6, 61, 2, 0xd, 0x80000008,
     "Intel Core Processor (Broadwell, no TSX)"},
    {"Broadwell-v3", "Broadwell-v1", "+spec-ctrl", INTEL, 6, 61, 2, 0xd, 0x80000008,
     "Intel Core Processor (Broadwell, IBRS)"},
    {"Broadwell-v4", "Broadwell-v2", "+spec-ctrl", INTEL, 6, 61, 2, 0xd, 0x80000008,
     "Intel Core Processor (Broadwell, no TSX, IBRS)"},
    {"Skylake-Client-v1", "Broadwell-v1", "+xgetbv1 +xsavec", INTEL, 6, 94, 3, 0xd, 0x80000008,
     "Intel Core Processor (Skylake)"},
    {"Skylake-Client-v2", "Skylake-Client-v1", "+spec-ctrl", INTEL, 6, 94, 3, 0xd, 0x80000008,
     "Intel Core Processor (Skylake, IBRS)"},
    {"Skylake-Client-v3", "Broadwell-v4", "+xgetbv1 +xsavec", INTEL, 6, 94, 3, 0xd, 0x80000008,
     "Intel Core Processor (Skylake, IBRS, no TSX)"},
    {"Skylake-Client-v4", "Skylake-Client-v3", "+xsaves", INTEL, 6, 94, 3, 0xd, 0x80000008,
     "Intel Core Processor (Skylake, IBRS, no TSX)"},
    {"KnightsMill-v1", "Broadwell-v2",
     "+avx512-4fmaps +avx512-4vnniw +avx512-vpopcntdq +avx512cd +avx512er +avx512f +avx512pf +pdpe1gb +ss -invpcid -pcid -smap",
     INTEL, 6, 133, 0, 0xd, 0x80000008, "Intel Xeon Phi Processor (Knights Mill)"},
    {"Snowridge-v1", "Denverton-v1",
     "+cldemote +clwb +core-capability +gfni +movdir64b +movdiri +umip", INTEL, 6, 134, 1, 0x1b,
     0x80000008, "Intel Atom Processor (SnowRidge)"},
    {"Snowridge-v2", "Snowridge-v1", "-mpx", INTEL, 6, 134, 1, 0x1b, 0x80000008,
     "Intel Atom Processor (Snowridge, no MPX)"},
    {"Snowridge-v3", "Snowridge-v2", "+xsaves", INTEL, 6, 134, 1, 0x1b, 0x80000008,
     "Intel Atom Processor (Snowridge, no MPX)"},
    {"Snowridge-v4", "Snowridge-v3", "-core-capability", INTEL, 6, 134, 1, 0x1b, 0x80000008,
     "Intel Atom Processor (Snowridge, no MPX)"},
    {"Dhyana-v1", NULL,
     "+3dnowprefetch +abm +adx +apic +arat +avx +avx2 +bmi1 +bmi2 +clflush +clflushopt +cmov +cr8legacy +cx16 +cx8 +de +f16c +fma +fpu +fsgsbase +fxsr +fxsr-opt +ibpb +lahf-lm +lm +mca +mce +misalignsse +mmx +mmxext +monitor +movbe +msr +mtrr +npt +nrip-save +nx +osvw +pae +pat +pdpe1gb +pge +pni +popcnt +pse +pse36 +rdrand +rdseed +rdtscp +sep +smap +smep +sse +sse2 +sse4.1 +sse4.2 +sse4a +ssse3 +svm +syscall +topoext +tsc +vme +xgetbv1 +xsave +xsavec +xsaveopt",
     HYGON, 24, 0, 1, 0xd, 0x8000001e, "Hygon Dhyana Processor"},
    {"Dhyana-v2", "Dhyana-v1", "+xsaves", HYGON, 24, 0, 1, 0xd, 0x8000001e,
     "Hygon Dhyana Processor"},
    {"EPYC-v1", "Opteron_G5-v1",
     "+adx +arat +avx2 +bmi1 +bmi2 +clflushopt +cr8legacy +fsgsbase +fxsr-opt +mmxext +monitor +movbe +osvw +rdrand +rdseed +sha-ni +smap +smep +topoext +xgetbv1 +xsavec +xsaveopt -fma4 -tbm -xop",
     AMD, 23, 1, 2, 0xd, 0x8000001e, "AMD EPYC Processor"},
    {"EPYC-v2", "EPYC-v1", "+ibpb", AMD, 23, 1, 2, 0xd, 0x8000001e,
     "AMD EPYC Processor (with IBPB)"},
    {"EPYC-v3", "EPYC-v2", "+clzero +perfctr-core +xsaveerptr +xsaves", AMD, 23, 1, 2, 0xd,
     0x8000001e, "AMD EPYC Processor"},
    {"Skylake-Server-v1", "Skylake-Client-v1",
     "+avx512bw +avx512cd +avx512dq +avx512f +avx512vl +clflushopt +clwb +pdpe1gb +pku", INTEL, 6,
     85, 4, 0xd, 0x80000008, "Intel Xeon Processor (Skylake)"},
    {"Skylake-Server-v2", "Skylake-Server-v1", "+spec-ctrl -clflushopt", INTEL, 6, 85, 4, 0xd,
     0x80000008, "Intel Xeon Processor (Skylake, IBRS)"},
    {"Skylake-Server-v3", "Skylake-Server-v2", "-hle -rtm", INTEL, 6, 85, 4, 0xd, 0x80000008,
     "Intel Xeon Processor (Skylake, IBRS, no TSX)"},
    {"Skylake-Server-v4", "Skylake-Server-v3", "", INTEL, 6, 85, 4, 0xd, 0x80000008,
     "Intel Xeon Processor (Skylake, IBRS, no TSX)"},
    {"Skylake-Server-v5", "Skylake-Server-v3", "+xsaves", INTEL, 6, 85, 4, 0xd, 0x80000008,
     "Intel Xeon Processor (Skylake, IBRS, no TSX)"},
    {"Cascadelake-Server-v1", "Skylake-Server-v1", "+avx512vnni +spec-ctrl +ssbd", INTEL, 6, 85, 6,
     0xd, 0x80000008, "Intel Xeon Processor (Cascadelake)"},
    {"Cascadelake-Server-v2", "Cascadelake-Server-v1", "+arch-capabilities", INTEL, 6, 85, 6, 0xd,
     0x80000008, "Intel Xeon Processor (Cascadelake)"},
    {"Cascadelake-Server-v3", "Cascadelake-Server-v2", "-hle -rtm", INTEL, 6, 85, 6, 0xd,
     0x80000008, "Intel Xeon Processor (Cascadelake)"},
    {"Cascadelake-Server-v4", "Cascadelake-Server-v3", "", INTEL, 6, 85, 6, 0xd, 0x80000008,
     "Intel Xeon Processor (Cascadelake)"},
    {"Cascadelake-Server-v5", "Cascadelake-Server-v3", "+xsaves", INTEL, 6, 85, 6, 0xd, 0x80000008,
     "Intel Xeon Processor (Cascadelake)"},
    {"Cooperlake-v1", "Cascadelake-Server-v2", "+avx512-bf16 +stibp", INTEL, 6, 85, 10, 0xd,
     0x80000008, "Intel Xeon Processor (Cooperlake)"},
    {"Cooperlake-v2", "Cooperlake-v1", "+xsaves", INTEL, 6, 85, 10, 0xd, 0x80000008,
     "Intel Xeon Processor (Cooperlake)"},
    {"EPYC-Rome-v1", "EPYC-v3", "+amd-stibp +clwb +rdpid +umip +wbnoinvd", AMD, 23, 49, 0, 0xd,
     0x8000001e, "AMD EPYC-Rome Processor"},
    {"EPYC-Rome-v2", "EPYC-Rome-v1", "+amd-ssbd +ibrs", AMD, 23, 49, 0, 0xd, 0x8000001e,
     "AMD EPYC-Rome Processor"},
    {"Icelake-Server-v1", "Cascadelake-Server-v1",
     "+avx512-vpopcntdq +avx512bitalg +avx512vbmi +avx512vbmi2 +gfni +la57 +umip +vaes +vpclmulqdq +wbnoinvd",
     INTEL, 6, 134, 0, 0xd, 0x80000008, "Intel Xeon Processor (Icelake)"},
    {"Icelake-Server-v2", "Icelake-Server-v1", "-hle -rtm", INTEL, 6, 134, 0, 0xd, 0x80000008,
     "Intel Xeon Processor (Icelake)"},
    {"Icelake-Server-v3", "Icelake-Server-v2", "+arch-capabilities", INTEL, 6, 134, 0, 0xd,
     0x80000008, "Intel Xeon Processor (Icelake)"},
    {"Icelake-Server-v4", "Icelake-Server-v3", "+avx512ifma +fsrm +rdpid +sha-ni", INTEL, 6, 106, 0,
     0xd, 0x80000008, "Intel Xeon Processor (Icelake)"},
    {"Icelake-Server-v5", "Icelake-Server-v4", "+xsaves", INTEL, 6, 106, 0, 0xd, 0x80000008,
     "Intel Xeon Processor (Icelake)"},
    {"Icelake-Server-v6", "Icelake-Server-v5", "", INTEL, 6, 106, 0, 0xd, 0x80000008,
     "Intel Xeon Processor (Icelake)"},
    {"EPYC-Milan-v1", "EPYC-Rome-v2", "+erms +fsrm +invpcid +pcid +pku +svme-addr-chk", AMD, 25, 1,
     1, 0xd, 0x8000001e, "AMD EPYC-Milan Processor"},
};
const unsigned cpu_models_n = G_N_ELEMENTS(cpu_models);

const struct cpu_model_alias cpu_model_aliases[] = {
    {"Broadwell-IBRS", "Broadwell-v3"},
    {"Broadwell-noTSX", "Broadwell-v2"},
    {"Broadwell-noTSX-IBRS", "Broadwell-v4"},
    {"Cascadelake-Server-noTSX", "Cascadelake-Server-v3"},
    {"EPYC-IBPB", "EPYC-v2"},
    {"Haswell-IBRS", "Haswell-v3"},
    {"Haswell-noTSX", "Haswell-v2"},
    {"Haswell-noTSX-IBRS", "Haswell-v4"},
    {"Icelake-Server-noTSX", "Icelake-Server-v2"},
    {"IvyBridge-IBRS", "IvyBridge-v2"},
    {"Nehalem-IBRS", "Nehalem-v2"},
    {"SandyBridge-IBRS", "SandyBridge-v2"},
    {"Skylake-Client-IBRS", "Skylake-Client-v2"},
    {"Skylake-Client-noTSX-IBRS", "Skylake-Client-v3"},
    {"Skylake-Server-IBRS", "Skylake-Server-v2"},
    {"Skylake-Server-noTSX-IBRS", "Skylake-Server-v3"},
    {"Westmere-IBRS", "Westmere-v2"},
};
const unsigned cpu_model_aliases_n = G_N_ELEMENTS(cpu_model_aliases);

const struct cpu_model_desc *cpu_model_desc_find(const char *name)
{
    for (unsigned i = 0; i < cpu_model_aliases_n; i++) {
        if (strcmp(cpu_model_aliases[i].name, name) == 0) {
            name = cpu_model_aliases[i].model;
        }
    }
    for (unsigned i = 0; i < cpu_models_n; i++) {
        const char *model = cpu_models[i].name;
        size_t n = strlen(name);

        if (strcmp(model, name) == 0 ||
            (strncmp(model, name, n) == 0 && strcmp(model + n, "-v1") == 0)) {
            return &cpu_models[i];
        }
    }
    return NULL;
}

void cpu_model_desc_words(const struct cpu_model_desc *model, uint32_t word[W__MAX])
{
    g_auto(GStrv) changes = g_strsplit(model->changes, " ", -1);

    memset(word, 0, W__MAX * sizeof(*word));
    if (model->base) {
        cpu_model_desc_words(cpu_model_desc_find(model->base), word);
    }
    for (char **change = changes; *change; change++) {
        const struct cpu_feature_desc *f = **change ? cpu_feature_find(*change + 1) : NULL;

        if (f && **change == '+') {
            word[f->word] |= 1u << f->bit;
        } else if (f) {
            word[f->word] &= ~(1u << f->bit);
        }
    }
}
