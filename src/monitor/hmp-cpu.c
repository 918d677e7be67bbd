/*
 * vCPUs in the human monitor: listing them, and choosing the one that commands are about.
 */
#include "monitor/hmp-cpu.h"

#include "monitor/hmp.h"
#include <inttypes.h>

void hmp_info_cpus(struct machine *m, const struct vcpu *current, GString *out)
{
    for (unsigned i = 0; m->cpus && i < m->cpus->n; i++) {
        const struct vcpu *vcpu = m->cpus->vcpu[i];

        g_string_append_printf(out, "%c CPU #%u: thread_id=%" PRIu64 "\n",
                               vcpu == current ? '*' : ' ', vcpu->index, vcpu->thread_id);
    }
}

struct vcpu *hmp_cpu(struct machine *m, const char *args, bool *usage, GString *out)
{
    g_autoptr(GError) error = NULL;
    uint64_t index;
    struct vcpu *vcpu;

    *usage = true;
    if (!hmp_expression(&args, NULL, NULL, &index, &error)) {
        g_string_append_printf(out, "%s\n", error->message);
        return NULL;
    }
    if (index >> 32) {
        g_string_append(out, "'cpu' has failed: integer is for 32-bit values\n");
        return NULL;
    }
    if (*args) {
        g_string_append(out, "cpu: extraneous characters at the end of line\n");
        return NULL;
    }
    *usage = false;
    vcpu = machine_vcpu(m, (int64_t)index);
    if (!vcpu) {
        g_string_append(out, "invalid CPU index\n");
    }
    return vcpu;
}
