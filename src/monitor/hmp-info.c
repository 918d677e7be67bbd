/* What the human monitor's "info" tells about the machine as a whole, in QEMU's words. */
#include "monitor/hmp-priv.h"

#include "devices/memory-slots.h"
#include "monitor/monitor-priv.h"
#include "qapi-commands.h"
#include <inttypes.h>
#include <string.h>

static const char *true_or_false(bool value)
{
    return value ? "true" : "false";
}

static void info_name(struct hmp *h, struct json_object *args)
{
    if (h->m->config->name) {
        hmp_print(h, "%s\n", h->m->config->name);
    }
}

static void info_uuid(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    struct uuid_info *info = qmp_query_uuid(&call, NULL);

    hmp_print(h, "%s\n", info->UUID);
    uuid_info_free(info);
}

static void info_kvm(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    struct kvm_info *info = qmp_query_kvm(&call, NULL);

    hmp_print(h, "kvm support: %s\n",
              !info->present  ? "not compiled"
              : info->enabled ? "enabled"
                              : "disabled");
    kvm_info_free(info);
}

static void info_chardev(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    struct chardev_info_list *list = qmp_query_chardev(&call, NULL);

    for (size_t i = 0; i < list->n; i++) {
        hmp_print(h, "%s: filename=%s\n", list->v[i]->label, list->v[i]->filename);
    }
    chardev_info_list_free(list);
}

static void info_balloon(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct balloon_info *info = qmp_query_balloon(&call, &error);

    if (info) {
        hmp_print(h, "balloon: actual=%" PRId64 "\n", info->actual >> 20);
    }
    balloon_info_free(info);
    hmp_print_error(h, error);
}

static void info_iothreads(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    struct io_thread_info_list *list = qmp_query_iothreads(&call, NULL);

    for (size_t i = 0; i < list->n; i++) {
        const struct io_thread_info *t = list->v[i];

        hmp_print(h, "%s:\n  thread_id=%" PRId64 "\n  poll-max-ns=%" PRId64 "\n", t->id,
                  t->thread_id, t->poll_max_ns);
        hmp_print(
            h, "  poll-grow=%" PRId64 "\n  poll-shrink=%" PRId64 "\n  aio-max-batch=%" PRId64 "\n",
            t->poll_grow, t->poll_shrink, t->aio_max_batch);
    }
    io_thread_info_list_free(list);
}

/* ---- memory */

static void print_dimm(struct hmp *h, const struct pcdimm_device_info *d)
{
    hmp_print(h, "Memory device [dimm]: \"%s\"\n", d->id ? d->id : "");
    hmp_print(h, "  addr: 0x%" PRIx64 "\n  slot: %" PRId64 "\n  node: %" PRId64 "\n", d->addr,
              d->slot, d->node);
    hmp_print(h, "  size: %" PRIu64 "\n  memdev: %s\n  hotplugged: %s\n  hotpluggable: %s\n",
              d->size, d->memdev, true_or_false(d->hotplugged), true_or_false(d->hotpluggable));
}

static void print_virtio_mem(struct hmp *h, const struct virtio_mem_device_info *v)
{
    hmp_print(h, "Memory device [virtio-mem]: \"%s\"\n", v->id ? v->id : "");
    hmp_print(h, "  memaddr: 0x%" PRIx64 "\n  node: %" PRId64 "\n", v->memaddr, v->node);
    hmp_print(h, "  requested-size: %" PRIu64 "\n  size: %" PRIu64 "\n", v->requested_size,
              v->size);
    hmp_print(h, "  max-size: %" PRIu64 "\n  block-size: %" PRIu64 "\n  memdev: %s\n", v->max_size,
              v->block_size, v->memdev);
}

static void info_memory_devices(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct memory_device_info_list *list = qmp_query_memory_devices(&call, &error);

    for (size_t i = 0; list && i < list->n; i++) {
        if (list->v[i]->type == MEMORY_DEVICE_INFO_KIND_DIMM) {
            print_dimm(h, list->v[i]->u.dimm.data);
        } else {
            print_virtio_mem(h, list->v[i]->u.virtio_mem.data);
        }
    }
    memory_device_info_list_free(list);
    hmp_print_error(h, error);
}

static void info_memory_size(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct memory_info *info = qmp_query_memory_size_summary(&call, &error);

    if (info) {
        hmp_print(h, "base memory: %" PRIu64 "\n", info->base_memory);
        if (info->has_plugged_memory) {
            hmp_print(h, "plugged memory: %" PRIu64 "\n", info->plugged_memory);
        }
    }
    memory_info_free(info);
    hmp_print_error(h, error);
}

/* "0-2,5"; the numbers are in order. */
static void print_ranges(struct hmp *h, const struct uint16_list *list)
{
    for (size_t i = 0, to; i < list->n; i = to + 1) {
        for (to = i; to + 1 < list->n && list->v[to + 1] == list->v[to] + 1; to++) {
        }
        hmp_print(h, "%s%u", i ? "," : "", list->v[i]);
        if (to > i) {
            hmp_print(h, "-%u", list->v[to]);
        }
    }
}

static void info_memdev(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct memdev_list *list = qmp_query_memdev(&call, &error);

    for (size_t i = 0; list && i < list->n; i++) {
        const struct memdev *d = list->v[i];

        hmp_print(h, "memory backend: %s\n  size:  %" PRIu64 "\n  merge: %s\n", d->id ? d->id : "",
                  d->size, true_or_false(d->merge));
        hmp_print(h, "  dump: %s\n  prealloc: %s\n  share: %s\n", true_or_false(d->dump),
                  true_or_false(d->prealloc), true_or_false(d->share));
        if (d->has_reserve) {
            hmp_print(h, "  reserve: %s\n", true_or_false(d->reserve));
        }
        hmp_print(h, "  policy: %s\n  host nodes: ", host_mem_policy_str(d->policy));
        print_ranges(h, d->host_nodes);
        hmp_print(h, "\n");
    }
    hmp_print(h, "\n");
    memdev_list_free(list);
    hmp_print_error(h, error);
}

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

static void info_numa(struct hmp *h, struct json_object *args)
{
    const struct machine *m = h->m;
    const struct numa_config *numa = &m->config->numa;

    hmp_print(h, "%u nodes\n", numa->n);
    for (unsigned node = 0; node < numa->n; node++) {
        uint64_t plugged = plugged_bytes(m, node);

        hmp_print(h, "node %u cpus:", node);
        for (unsigned i = 0; m->cpus && i < m->cpus->max; i++) {
            if (cpus_find(m->cpus, i) && numa->of_cpu[i] == node) {
                hmp_print(h, " %u", i);
            }
        }
        hmp_print(h, "\nnode %u size: %" PRIu64 " MB\n", node,
                  (numa->node[node].bytes + plugged) >> 20);
        hmp_print(h, "node %u plugged: %" PRIu64 " MB\n", node, plugged >> 20);
    }
}

/* ---- vCPUs that may be plugged */

static void print_place(struct hmp *h, const struct cpu_instance_properties *p)
{
    const struct {
        const char *name;
        bool has;
        int64_t id;
    } level[] = {
        {"node-id", p->has_node_id, p->node_id}, {"socket-id", p->has_socket_id, p->socket_id},
        {"die-id", p->has_die_id, p->die_id},    {"cluster-id", p->has_cluster_id, p->cluster_id},
        {"core-id", p->has_core_id, p->core_id}, {"thread-id", p->has_thread_id, p->thread_id}};

    hmp_print(h, "  CPUInstance Properties:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(level); i++) {
        if (level[i].has) {
            hmp_print(h, "    %s: \"%" PRIu64 "\"\n", level[i].name, level[i].id);
        }
    }
}

static void info_hotpluggable_cpus(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct hotpluggable_cpu_list *list = qmp_query_hotpluggable_cpus(&call, &error);

    if (list) {
        hmp_print(h, "Hotpluggable CPUs:\n");
    }
    for (size_t i = 0; list && i < list->n; i++) {
        const struct hotpluggable_cpu *c = list->v[i];

        hmp_print(h, "  type: \"%s\"\n  vcpus_count: \"%" PRIu64 "\"\n", c->type, c->vcpus_count);
        if (c->qom_path) {
            hmp_print(h, "  qom_path: \"%s\"\n", c->qom_path);
        }
        print_place(h, c->props);
    }
    hotpluggable_cpu_list_free(list);
    hmp_print_error(h, error);
}

static void info_generation_id(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct guid_info *info = qmp_query_vm_generation_id(&call, &error);

    if (info) {
        hmp_print(h, "%s\n", info->guid);
    }
    guid_info_free(info);
    hmp_print_error(h, error);
}

/* ---- PCI */

static void print_functions(struct hmp *h, const struct pci_device_info_list *list);

static void print_bridge(struct hmp *h, const struct pci_bridge_info *bridge)
{
    const struct pci_bus_info *bus = bridge->bus;

    hmp_print(h,
              "      BUS %" PRId64 ".\n      secondary bus %" PRId64
              ".\n      subordinate bus %" PRId64 ".\n",
              bus->number, bus->secondary, bus->subordinate);
    hmp_print(h, "      IO range [0x%04" PRIx64 ", 0x%04" PRIx64 "]\n", bus->io_range->base,
              bus->io_range->limit);
    hmp_print(h, "      memory range [0x%08" PRIx64 ", 0x%08" PRIx64 "]\n", bus->memory_range->base,
              bus->memory_range->limit);
    hmp_print(h, "      prefetchable memory range [0x%08" PRIx64 ", 0x%08" PRIx64 "]\n",
              bus->prefetchable_range->base, bus->prefetchable_range->limit);
}

static void print_bars(struct hmp *h, const struct pci_memory_region_list *regions)
{
    for (size_t i = 0; i < regions->n; i++) {
        const struct pci_memory_region *r = regions->v[i];
        uint64_t address = (uint64_t)r->address, last = address + (uint64_t)r->size - 1;

        hmp_print(h, "      BAR%" PRId64 ": ", r->bar);
        if (strcmp(r->type, "io") == 0) {
            hmp_print(h, "I/O at 0x%04" PRIx64 " [0x%04" PRIx64 "].\n", address, last);
        } else {
            hmp_print(h, "%d bit%s memory at 0x%08" PRIx64 " [0x%08" PRIx64 "].\n",
                      r->mem_type_64 ? 64 : 32, r->prefetch ? " prefetchable" : "", address, last);
        }
    }
}

static void print_function(struct hmp *h, const struct pci_device_info *d)
{
    hmp_print(h, "  Bus %2" PRId64 ", device %3" PRId64 ", function %" PRId64 ":\n", d->bus,
              d->slot, d->function);
    if (d->class_info->desc) {
        hmp_print(h, "    %s", d->class_info->desc);
    } else {
        hmp_print(h, "    Class %04" PRId64, d->class_info->class);
    }
    hmp_print(h, ": PCI device %04" PRIx64 ":%04" PRIx64 "\n", d->id->vendor, d->id->device);
    if (d->id->has_subsystem_vendor && d->id->has_subsystem) {
        hmp_print(h, "      PCI subsystem %04" PRIx64 ":%04" PRIx64 "\n", d->id->subsystem_vendor,
                  d->id->subsystem);
    }
    if (d->has_irq) {
        hmp_print(h, "      IRQ %" PRId64 ", pin %c\n", d->irq, (char)('A' + d->irq_pin - 1));
    }
    if (d->pci_bridge) {
        print_bridge(h, d->pci_bridge);
    }
    print_bars(h, d->regions);
    hmp_print(h, "      id \"%s\"\n", d->qdev_id ? d->qdev_id : "");
    if (d->pci_bridge && d->pci_bridge->devices) {
        print_functions(h, d->pci_bridge->devices);
    }
}

static void print_functions(struct hmp *h, const struct pci_device_info_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        print_function(h, list->v[i]);
    }
}

static void info_pci(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct pci_info_list *list = qmp_query_pci(&call, &error);

    for (size_t i = 0; list && i < list->n; i++) {
        print_functions(h, list->v[i]->devices);
    }
    pci_info_list_free(list);
    hmp_print_error(h, error);
}

const struct hmp_command hmp_info_commands[] = {
    {"info balloon", NULL, "", "how much memory the balloon leaves the guest", .run = info_balloon},
    {"info chardev", NULL, "", "chardevs and what is behind them", .run = info_chardev},
    {"info hotpluggable-cpus", NULL, "", "vCPUs that are there, or may be plugged in",
     .run = info_hotpluggable_cpus},
    {"info iothreads", NULL, "", "threads of devices", .run = info_iothreads},
    {"info kvm", NULL, "", "whether KVM is there, and used", .run = info_kvm},
    {"info memdev", NULL, "", "memory back ends", .run = info_memdev},
    {"info memory-devices", NULL, "", "memory that is plugged in", .run = info_memory_devices},
    {"info memory_size_summary", NULL, "", "how much memory there is", .run = info_memory_size},
    {"info name", NULL, "", "the guest's name", .run = info_name},
    {"info numa", NULL, "", "NUMA nodes: their CPUs and memory", .run = info_numa},
    {"info pci", NULL, "", "PCI functions: ids, interrupts, BARs", .run = info_pci},
    {"info uuid", NULL, "", "the guest's UUID", .run = info_uuid},
    {"info vm-generation-id", NULL, "", "the guest's generation id", .run = info_generation_id},
    {0}};
