/*
 * vCPUs in the human monitor: listing them, and choosing the one that commands are about.
 */
#include "monitor/hmp-priv.h"

#include <inttypes.h>

static void info_cpus(struct hmp *h, const struct hmp_command *command, const char *args)
{
    for (unsigned i = 0; h->m->cpus && i < h->m->cpus->n; i++) {
        const struct vcpu *vcpu = h->m->cpus->vcpu[i];

        hmp_print(h, "%c CPU #%u: thread_id=%" PRIu64 "\n", vcpu == h->vcpu ? '*' : ' ',
                  vcpu->index, vcpu->thread_id);
    }
}

static void run_cpu(struct hmp *h, const struct hmp_command *command, const char *args)
{
    uint64_t index;
    struct vcpu *vcpu;

    if (!hmp_value(h, command, &args, &index)) {
        return;
    }
    if (index >> 32) {
        hmp_print(h, "'cpu' has failed: integer is for 32-bit values\n");
        hmp_print_try_help(h, command);
        return;
    }
    if (!hmp_end(h, command, args)) {
        return;
    }
    vcpu = machine_vcpu(h->m, (int64_t)index);
    if (vcpu) {
        h->vcpu = vcpu;
    } else {
        hmp_print(h, "invalid CPU index\n");
    }
}

const struct hmp_command hmp_cpu_commands[] = {
    {"cpu", NULL, "index", "choose the vCPU that commands are about", true, run_cpu},
    {"info cpus", NULL, "", "vCPUs, and which one commands are about", false, info_cpus},
    {NULL},
};
