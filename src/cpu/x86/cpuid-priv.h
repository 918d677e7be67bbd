/*
 * What cpuid.c and cpuid-leaves.c share.
 */
#ifndef CPU_X86_CPUID_PRIV_H
#define CPU_X86_CPUID_PRIV_H

#include "cpu/x86/cpuid.h"
#include <string.h>

/* Fills model->leaf from its words, vendor and the rest. */
void cpu_model_make_leaves(struct cpu_model *model);

/* cpuid-hyperv.c: its leaves, from 40000000H on; returns how many. */
#define CPU_HYPERV_LEAVES 6u
unsigned cpu_hyperv_leaves(const struct cpu_model *model, struct cpuid_leaf leaf[]);
/* Features that come without what they need, or that the host lacks. */
bool cpu_hyperv_check(const struct cpu_model *model, const struct cpu_support *support,
                      GError **error);

static inline bool cpu_vendor_is_amd(const struct cpu_model *model)
{
    return strcmp(model->vendor, "AuthenticAMD") == 0 || strcmp(model->vendor, "HygonGenuine") == 0;
}

#endif
