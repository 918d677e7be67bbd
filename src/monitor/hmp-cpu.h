/*
 * The human monitor's commands about vCPUs. All append their output, lines ending with LF.
 */
#ifndef MONITOR_HMP_CPU_H
#define MONITOR_HMP_CPU_H

#include "machine/machine.h"

/* current: the one that commands are about unless they say; NULL: there is none. */
void hmp_info_cpus(struct machine *m, const struct vcpu *current, GString *out);

/* The vCPU with the index that the expression args gives; NULL: said why. *usage: it was not an
 * index at all. */
struct vcpu *hmp_cpu(struct machine *m, const char *args, bool *usage, GString *out);

#endif
