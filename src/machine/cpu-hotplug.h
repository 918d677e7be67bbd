/*
 * vCPUs that come and go. Main thread, machine lock held, unless said otherwise.
 */
#ifndef MACHINE_CPU_HOTPLUG_H
#define MACHINE_CPU_HOTPLUG_H

#include "machine/machine.h"
#include "qapi/params.h"

/* Where a vCPU is in the machine. */
struct cpu_place {
    unsigned socket, die, core, thread;
};
struct cpu_place machine_cpu_place(const struct machine *m, unsigned index);

/* What -device and device_add call the machine's CPUs: "max-x86_64-cpu"; owned by the caller. */
char *machine_cpu_driver(const struct machine *m);
bool machine_is_cpu_driver(const char *driver);

/* The vCPU of a place that the parameters name. hotplugged: tells the guest. All of p is taken. */
bool machine_plug_cpu(struct machine *m, const char *driver, struct params *p, bool hotplugged,
                      GError **error);
/* Asks the guest to give it up. */
bool machine_unplug_cpu(struct machine *m, struct vcpu *vcpu, GError **error);
struct vcpu *machine_cpu_by_id(const struct machine *m, const char *id); /* NULL: none */

/* For machine_system_ops; any thread with the machine lock. */
void machine_cpu_out(void *machine, unsigned index);
void machine_cpu_kept(void *machine, struct vcpu *vcpu);

#endif
