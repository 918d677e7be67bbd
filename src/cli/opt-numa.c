/*
 * -numa: node, dist and cpu.
 *
 * A node's memory is a memory back end (memdev=). One node's is the machine's RAM itself; where
 * there are several nodes their back ends must be plain memory (memory-backend-ram that is not
 * shared), for the RAM is one piece whatever its parts are called.
 */
#include "cli/options-priv.h"
#include "devices/core/object.h"
#include "qapi-visit.h"

#include <inttypes.h>
#include <string.h>

static bool take_node(struct params *p, const char *key, uint64_t *node, bool *given,
                      GError **error)
{
    *node = UINT64_MAX;
    if (!params_take_uint(p, key, 0, UINT32_MAX, node, error)) {
        return false;
    }
    *given = *node != UINT64_MAX;
    return true;
}

/* "2", "0-3": the nodes of these vCPUs are noted; -numa comes before -smp at times. */
static bool add_cpus(struct options *o, const char *text, unsigned node, GError **error)
{
    char *end;
    uint64_t first = g_ascii_strtoull(text, &end, 10), last = first;

    if (end != text && *end == '-') {
        const char *from = end + 1;

        last = g_ascii_strtoull(from, &end, 10);
        end = end == from ? (char *)"?" : end;
    }
    if (end == text || *end || last < first || last >= 4096) {
        g_set_error(error, CLI_ERROR, 0, "Parameter 'cpus' expects a uint64 value or range");
        return false;
    }
    for (uint64_t i = first; i <= last; i++) {
        const struct numa_cpu cpu = {.index = (unsigned)i, .node = node};

        g_array_append_val(o->numa_cpus, cpu);
    }
    return true;
}

static bool add_node(struct options *o, struct params *p, GError **error)
{
    struct numa_config *numa = &o->config->numa;
    uint64_t node;
    bool given;

    if (!take_node(p, "nodeid", &node, &given, error)) {
        return false;
    }
    node = given ? node : numa->n;
    if (node >= NUMA_NODES) {
        g_set_error(error, CLI_ERROR, 0, "Max number of NUMA nodes reached: %" PRIu64, node);
        return false;
    }
    if (numa->node[node].given) {
        g_set_error(error, CLI_ERROR, 0, "Duplicate NUMA nodeid: %" PRIu64, node);
        return false;
    }
    if (params_take(p, "mem")) {
        g_set_error(error, CLI_ERROR, 0,
                    "Parameter -numa node,mem is not supported by this machine type; use "
                    "-numa node,memdev instead");
        return false;
    }
    numa->node[node].given = true;
    numa->node[node].memdev = g_strdup(params_take(p, "memdev"));
    numa->n = MAX(numa->n, (unsigned)node + 1);
    for (guint i = 0; i < p->items->len; i++) {
        struct param *param = &g_array_index(p->items, struct param, i);

        if (g_str_equal(param->key, "cpus")) {
            param->taken = true;
            if (!add_cpus(o, param->value, (unsigned)node, error)) {
                return false;
            }
        }
    }
    return true;
}

static bool add_distance(struct options *o, struct params *p, GError **error)
{
    struct numa_config *numa = &o->config->numa;
    uint64_t src, dst, value = UINT64_MAX;
    bool has_src, has_dst;

    if (!take_node(p, "src", &src, &has_src, error) ||
        !take_node(p, "dst", &dst, &has_dst, error) ||
        !params_take_uint(p, "val", 0, 255, &value, error)) {
        return false;
    }
    if (!has_src || !has_dst || value == UINT64_MAX) {
        g_set_error(error, CLI_ERROR, 0, "Parameter '%s' is missing",
                    !has_src   ? "src"
                    : !has_dst ? "dst"
                               : "val");
        return false;
    }
    if (src >= numa->n || dst >= numa->n || !numa->node[src].given || !numa->node[dst].given) {
        g_set_error(error, CLI_ERROR, 0,
                    "Source/Destination NUMA node is missing. Please use '-numa node' option to "
                    "declare it first.");
        return false;
    }
    if (value < NUMA_LOCAL) {
        g_set_error(error, CLI_ERROR, 0,
                    "NUMA distance (%" PRIu64 ") is invalid, it shouldn't be less than %d.", value,
                    NUMA_LOCAL);
        return false;
    }
    if (src == dst && value != NUMA_LOCAL) {
        g_set_error(error, CLI_ERROR, 0, "Local distance of node %" PRIu64 " should be %d.", src,
                    NUMA_LOCAL);
        return false;
    }
    numa->has_distances = true;
    numa->distance[src][dst] = (uint8_t)value;
    return true;
}

/* The vCPUs of a socket, or of a part of one. */
static bool add_cpu(struct options *o, struct params *p, GError **error)
{
    const struct numa_config *numa = &o->config->numa;
    struct numa_cpu cpu = {.by_place = true,
                           .socket = UINT64_MAX,
                           .die = UINT64_MAX,
                           .core = UINT64_MAX,
                           .thread = UINT64_MAX};
    uint64_t node;
    bool given;

    if (!take_node(p, "node-id", &node, &given, error) ||
        !params_take_uint(p, "socket-id", 0, UINT32_MAX, &cpu.socket, error) ||
        !params_take_uint(p, "die-id", 0, UINT32_MAX, &cpu.die, error) ||
        !params_take_uint(p, "core-id", 0, UINT32_MAX, &cpu.core, error) ||
        !params_take_uint(p, "thread-id", 0, UINT32_MAX, &cpu.thread, error)) {
        return false;
    }
    if (!given) {
        g_set_error(error, CLI_ERROR, 0, "Missing mandatory node-id property");
        return false;
    }
    if (node >= numa->n || !numa->node[node].given) {
        g_set_error(error, CLI_ERROR, 0,
                    "Invalid node-id=%" PRIu64 ", NUMA node must be defined with -numa "
                    "node,nodeid=ID before it's used with -numa cpu,node-id=ID",
                    node);
        return false;
    }
    cpu.node = (unsigned)node;
    g_array_append_val(o->numa_cpus, cpu);
    return true;
}

bool opt_numa(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, "type", error);
    const char *type = p ? params_take(p, "type") : NULL;
    bool ok = false;

    if (!p) {
        return false;
    }
    if (!type) {
        g_set_error(error, CLI_ERROR, 0, "Parameter 'type' is missing");
    } else if (strcmp(type, "node") == 0) {
        ok = add_node(o, p, error);
    } else if (strcmp(type, "dist") == 0) {
        ok = add_distance(o, p, error);
    } else if (strcmp(type, "cpu") == 0) {
        ok = add_cpu(o, p, error);
    } else {
        g_set_error(error, CLI_ERROR, 0, "Parameter 'type' does not accept value '%s'", type);
    }
    ok = ok && params_end(p, error);
    params_free(p);
    return ok;
}

/* ---- when all options are known */

static bool sum_memory(struct options *o, unsigned *n_plain, GError **error)
{
    struct numa_config *numa = &o->config->numa;
    struct ram_backing *ram = &o->config->ram_backing;

    *n_plain = 0;
    for (unsigned i = 0; i < numa->n; i++) {
        const char *id = numa->node[i].memdev;
        struct memory_object *memory = id ? memory_object_find(o, id) : NULL;
        struct ram_backing backing;

        if (!numa->node[i].given) {
            g_set_error(error, CLI_ERROR, 0, "numa: Node ID missing: %u", i);
            return false;
        }
        if (id && !memory) {
            g_set_error(error, CLI_ERROR, 0, "-numa node,memdev=%s: there is no such -object", id);
            return false;
        }
        if (memory && memory->used) {
            g_set_error(error, CLI_ERROR, 0, "memory backend %s can't be used multiple times.", id);
            return false;
        }
        if (memory) {
            memory->used = true;
            object_options_memory(memory->options, &numa->node[i].bytes, &backing);
            *n_plain += !backing.path && !backing.memfd && !backing.share;
            /* Of several what holds for one holds for all. Of one all is set later. */
            ram->prealloc |= backing.prealloc;
            ram->no_merge |= backing.no_merge;
            ram->no_dump |= backing.no_dump;
            ram->no_reserve |= backing.no_reserve;
            ram->prealloc_threads = MAX(ram->prealloc_threads, backing.prealloc_threads);
            numa->node[i].place = backing.place;
        }
    }
    return true;
}

bool numa_choose_memory(struct options *o, const char **ram, GError **error)
{
    struct numa_config *numa = &o->config->numa;
    uint64_t sum = 0, want = o->config->ram_bytes ? o->config->ram_bytes : DEFAULT_RAM_BYTES;
    unsigned n_plain, n_memdevs = 0;

    if (numa->n == 0) {
        return true;
    }
    if (*ram) {
        g_set_error(error, CLI_ERROR, 0,
                    "'-machine memory-backend' and '-numa memdev' properties are mutually "
                    "exclusive");
        return false;
    }
    if (!sum_memory(o, &n_plain, error)) {
        return false;
    }
    for (unsigned i = 0; i < numa->n; i++) {
        sum += numa->node[i].bytes;
        n_memdevs += numa->node[i].memdev != NULL;
        *ram = numa->node[i].memdev ? numa->node[i].memdev : *ram;
    }
    if (o->memory_path && n_memdevs) {
        g_set_error(error, CLI_ERROR, 0, "'-mem-path' can't be used together with '-numa memdev'");
        return false;
    }
    if (sum != want) {
        g_set_error(error, CLI_ERROR, 0,
                    "total memory for NUMA nodes (0x%" PRIx64 ") should equal RAM size (0x%" PRIx64
                    ")",
                    sum, want);
        return false;
    }
    if (n_memdevs > 1 && n_plain != n_memdevs) {
        g_set_error(error, CLI_ERROR, 0,
                    "-numa: with several nodes each memory backend must be a memory-backend-ram "
                    "without share=on");
        return false;
    }
    for (unsigned i = 0; n_memdevs > 1 && i < numa->n; i++) { /* the RAM is their sum */
        const char *id = numa->node[i].memdev;

        *ram = NULL;
        if (id) {
            g_ptr_array_add(o->config->ram_objects,
                            object_options_clone(memory_object_find(o, id)->options));
        }
    }
    return true;
}

static bool place_fits(uint64_t wanted, unsigned is)
{
    return wanted == UINT64_MAX || wanted == is;
}

/* Whether vCPU number i is one of those that -numa cpu means. */
static bool is_placed(const struct cpu_topology *t, const struct numa_cpu *cpu, unsigned i)
{
    unsigned core = i / t->threads, die = core / t->cores, socket = die / t->dies;

    return place_fits(cpu->thread, i % t->threads) && place_fits(cpu->core, core % t->cores) &&
           place_fits(cpu->die, die % t->dies) && place_fits(cpu->socket, socket);
}

/* A CPU may be given to its node twice, but not to two. */
static bool set_node(struct numa_config *numa, bool *taken, unsigned cpu, unsigned node,
                     GError **error)
{
    if (taken[cpu] && numa->of_cpu[cpu] != node) {
        g_set_error(error, CLI_ERROR, 0, "CPU is already assigned to node-id: %u",
                    numa->of_cpu[cpu]);
        return false;
    }
    taken[cpu] = true;
    numa->of_cpu[cpu] = (uint8_t)node;
    return true;
}

static bool place_cpu(struct options *o, const struct numa_cpu *cpu, bool *taken, GError **error)
{
    const struct cpu_topology *t = &o->config->topology;
    unsigned n = 0;

    if (cpu->die != UINT64_MAX && t->dies == 1) {
        g_set_error(error, CLI_ERROR, 0, "-numa cpu,node-id=%u: die-id is not supported",
                    cpu->node);
        return false;
    }
    for (unsigned i = 0; i < t->max_cpus; i++) {
        if (is_placed(t, cpu, i)) {
            if (!set_node(&o->config->numa, taken, i, cpu->node, error)) {
                return false;
            }
            n++;
        }
    }
    if (n == 0) {
        g_set_error(error, CLI_ERROR, 0, "-numa cpu,node-id=%u: no match found", cpu->node);
    }
    return n > 0;
}

static bool place_by_index(struct options *o, const struct numa_cpu *cpu, bool *taken,
                           GError **error)
{
    unsigned max = o->config->topology.max_cpus;

    if (cpu->index >= max) {
        g_set_error(error, CLI_ERROR, 0, "CPU index (%u) should be smaller than maxcpus (%u)",
                    cpu->index, max);
        return false;
    }
    return set_node(&o->config->numa, taken, cpu->index, cpu->node, error);
}

bool numa_place_cpus(struct options *o, GError **error)
{
    struct numa_config *numa = &o->config->numa;
    const struct cpu_topology *t = &o->config->topology;
    g_autofree bool *taken = g_new0(bool, t->max_cpus);

    if (numa->n == 0) {
        return true;
    }
    numa->of_cpu = g_malloc0(t->max_cpus);
    for (unsigned i = 0; o->numa_cpus->len == 0 && i < t->max_cpus; i++) {
        numa->of_cpu[i] = (uint8_t)(i / (t->dies * t->cores * t->threads) % numa->n);
    }
    for (guint i = 0; i < o->numa_cpus->len; i++) {
        const struct numa_cpu *cpu = &g_array_index(o->numa_cpus, struct numa_cpu, i);

        if (!(cpu->by_place ? place_cpu : place_by_index)(o, cpu, taken, error)) {
            return false;
        }
    }
    return true;
}

static bool distance_is_missing(const struct numa_config *numa, unsigned i, unsigned k)
{
    return !numa->distance[i][k] && !numa->distance[k][i];
}

/* Who gives any distance gives one for each two nodes; once two ways differ, both ways of all. */
static bool check_distances(const struct numa_config *numa, GError **error)
{
    bool differ = false;

    for (unsigned i = 0; i < numa->n; i++) {
        for (unsigned k = i + 1; k < numa->n; k++) {
            uint8_t there = numa->distance[i][k], back = numa->distance[k][i];

            if (distance_is_missing(numa, i, k)) {
                g_set_error(error, CLI_ERROR, 0,
                            "The distance between node %u and %u is missing, at least one distance "
                            "value between each nodes should be provided.",
                            i, k);
                return false;
            }
            differ |= there && back && there != back;
        }
    }
    for (unsigned i = 0; differ && i < numa->n; i++) {
        for (unsigned k = 0; k < numa->n; k++) {
            if (i != k && !numa->distance[i][k]) {
                g_set_error(error, CLI_ERROR, 0,
                            "At least one asymmetrical pair of distances is given, please provide "
                            "distances for both directions of all node pairs.");
                return false;
            }
        }
    }
    return true;
}

static bool fill_distances(struct numa_config *numa, GError **error)
{
    if (numa->has_distances && !check_distances(numa, error)) {
        return false;
    }
    for (unsigned i = 0; i < numa->n; i++) {
        for (unsigned k = 0; k < numa->n; k++) {
            uint8_t back = numa->distance[k][i];

            if (i == k) {
                numa->distance[i][k] = NUMA_LOCAL;
            } else if (!numa->distance[i][k]) {
                numa->distance[i][k] = back ? back : NUMA_FAR;
            }
        }
    }
    return true;
}

bool numa_finish(struct options *o, GError **error)
{
    struct numa_config *numa = &o->config->numa;

    if (numa->n == 0 && o->config->max_ram_bytes > o->config->ram_bytes) {
        /* Where memory may be plugged in, guests want to be told of nodes (an SRAT): there is one.
         */
        numa->n = 1;
        numa->node[0].given = true;
        numa->node[0].bytes = o->config->ram_bytes;
        numa->of_cpu = g_malloc0(o->config->topology.max_cpus);
    }
    return numa->n == 0 || fill_distances(numa, error);
}
