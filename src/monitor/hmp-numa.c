/* The human monitor's view of NUMA nodes, as QEMU prints it. */
#include "monitor/hmp-numa.h"

#include "devices/memory-slots.h"
#include <inttypes.h>

static uint64_t plugged_bytes(const struct machine *m, unsigned node)
{
    const struct memory_slots *slots = m->env.memory_slots;
    uint64_t bytes = 0;

    for (unsigned i = 0; slots && i < slots->n; i++) {
        struct dimm_info d;

        if (slots->dimm[i]) {
            pc_dimm_info(slots->dimm[i], &d);
            bytes += d.node == node ? d.bytes : 0;
        }
    }
    return bytes;
}

void hmp_info_numa(struct machine *m, GString *out)
{
    const struct numa_config *numa = &m->config->numa;

    g_string_append_printf(out, "%u nodes\n", numa->n);
    for (unsigned node = 0; node < numa->n; node++) {
        uint64_t plugged = plugged_bytes(m, node);

        g_string_append_printf(out, "node %u cpus:", node);
        for (unsigned i = 0; m->cpus && i < m->cpus->max; i++) {
            if (cpus_find(m->cpus, i) && numa->of_cpu[i] == node) {
                g_string_append_printf(out, " %u", i);
            }
        }
        g_string_append_printf(out, "\nnode %u size: %" PRIu64 " MB\n", node,
                               (numa->node[node].bytes + plugged) >> 20);
        g_string_append_printf(out, "node %u plugged: %" PRIu64 " MB\n", node, plugged >> 20);
    }
}
