/*
 * The table of CPU models named after processors.
 */
#ifndef CPU_X86_CPU_MODELS_H
#define CPU_X86_CPU_MODELS_H

#include "cpu/x86/cpu-features.h"

struct cpu_model_desc {
    const char *name;    /* with its version: "Haswell-v1" */
    const char *base;    /* the model that it is described by, or NULL */
    const char *changes; /* "+avx2 -rtm": what it has more, or not */
    const char *vendor;  /* twelve characters */
    unsigned family, model, stepping;
    uint32_t level, xlevel; /* the last basic and extended leaves */
    const char *id;         /* the brand string; up to 48 characters */
};
extern const struct cpu_model_desc cpu_models[];
extern const unsigned cpu_models_n;

struct cpu_model_alias {
    const char *name, *model;
};
extern const struct cpu_model_alias cpu_model_aliases[]; /* besides "X" for "X-v1" */
extern const unsigned cpu_model_aliases_n;

/* By name or alias; NULL: there is none. */
const struct cpu_model_desc *cpu_model_desc_find(const char *name);
/* Its feature bits. */
void cpu_model_desc_words(const struct cpu_model_desc *model, uint32_t word[W__MAX]);

#endif
