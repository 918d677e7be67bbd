/*
 * What cpuid.c and cpuid-leaves.c share.
 */
#ifndef CPU_X86_CPUID_PRIV_H
#define CPU_X86_CPUID_PRIV_H

#include "cpu/x86/cpuid.h"
#include <string.h>

/* Fills model->leaf from its words, vendor and the rest. */
void cpu_model_make_leaves(struct cpu_model *model);

static inline bool cpu_vendor_is_amd(const struct cpu_model *model)
{
    return strcmp(model->vendor, "AuthenticAMD") == 0 || strcmp(model->vendor, "HygonGenuine") == 0;
}

#endif
