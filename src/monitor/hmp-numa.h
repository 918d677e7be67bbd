/* The human monitor's view of NUMA nodes. Main thread, machine lock held. */
#ifndef MONITOR_HMP_NUMA_H
#define MONITOR_HMP_NUMA_H

#include "machine/machine.h"

void hmp_info_numa(struct machine *m, GString *out);

#endif
