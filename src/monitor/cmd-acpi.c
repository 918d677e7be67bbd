/*
 * Commands of the schema module acpi: memory and processors that come and go.
 */
#include "monitor/monitor-priv.h"

#include "devices/acpi-cpuhp.h"
#include "devices/acpi-pm.h"
#include "devices/core/object.h"
#include "devices/memory-slots.h"
#include "devices/virtio/virtio-mem.h"
#include "qapi-commands.h"
#include "qapi/error.h"

static void add_ost(struct acpiost_info_list *list, enum acpi_slot_type type, unsigned slot,
                    const char *id, uint32_t event, uint32_t status)
{
    struct acpiost_info *info = g_new0(struct acpiost_info, 1);

    info->device = g_strdup(id);
    info->slot = g_strdup_printf("%u", slot);
    info->slot_type = type;
    info->source = event;
    info->status = status;
    acpiost_info_list_append(list, info);
}

struct acpiost_info_list *qmp_query_acpi_ospm_status(struct qmp_call *call, GError **errp)
{
    struct device_env *env = &call->machine->env;
    const struct memory_slots *slots = env->memory_slots;
    struct device *cpuhp = devices_find_class(env, &acpi_cpuhp_class);
    const struct cpus *cpus = call->machine->cpus;
    struct acpiost_info_list *list;
    uint32_t event, status;

    if (!devices_find_class(env, &acpi_pm_class)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "command is not supported, missing ACPI device");
        return NULL;
    }
    list = acpiost_info_list_new();
    for (unsigned i = 0; slots && slots->controller && i < slots->n; i++) {
        acpi_memhp_ost(slots->controller, i, &event, &status);
        add_ost(list, ACPI_SLOT_TYPE_DIMM, i, slots->dimm[i] ? slots->dimm[i]->id : NULL, event,
                status);
    }
    for (unsigned i = 0; cpuhp && i < cpus->max; i++) {
        const struct vcpu *vcpu = cpus_find(cpus, i);

        acpi_cpuhp_ost(cpuhp, i, &event, &status);
        add_ost(list, ACPI_SLOT_TYPE_CPU, i, vcpu ? vcpu->id : NULL, event, status);
    }
    return list;
}

static struct memory_device_info *memory_device_new(const struct device *dimm)
{
    struct memory_device_info *info = g_new0(struct memory_device_info, 1);
    struct pcdimm_device_info *data = g_new0(struct pcdimm_device_info, 1);
    struct dimm_info d;

    pc_dimm_info(dimm, &d);
    info->type = MEMORY_DEVICE_INFO_KIND_DIMM;
    info->u.dimm.data = data;
    data->id = g_strdup(dimm->id);
    data->addr = (int64_t)d.addr;
    data->size = (int64_t)d.bytes;
    data->slot = d.slot;
    data->node = d.node;
    data->memdev = g_strdup_printf("/objects/%s", d.memdev);
    data->hotplugged = dimm->hotplugged;
    data->hotpluggable = true;
    return info;
}

static struct memory_device_info *virtio_mem_new(const struct device *dev)
{
    struct memory_device_info *info = g_new0(struct memory_device_info, 1);
    struct virtio_mem_device_info *data = g_new0(struct virtio_mem_device_info, 1);
    struct virtio_mem_info m;

    virtio_mem_info(dev, &m);
    info->type = MEMORY_DEVICE_INFO_KIND_VIRTIO_MEM;
    info->u.virtio_mem.data = data;
    data->id = g_strdup(dev->id);
    data->memaddr = m.addr;
    data->requested_size = m.requested_bytes;
    data->size = m.plugged_bytes;
    data->max_size = m.max_bytes;
    data->block_size = m.block_bytes;
    data->node = m.node;
    data->memdev = g_strdup_printf("/objects/%s", m.memdev);
    return info;
}

static uint64_t device_addr(const struct memory_device_info *info)
{
    return info->type == MEMORY_DEVICE_INFO_KIND_DIMM ? (uint64_t)info->u.dimm.data->addr
                                                      : info->u.virtio_mem.data->memaddr;
}

static int by_addr(const void *a, const void *b)
{
    uint64_t x = device_addr(*(struct memory_device_info *const *)a);
    uint64_t y = device_addr(*(struct memory_device_info *const *)b);

    return x < y ? -1 : x > y;
}

struct memory_device_info_list *qmp_query_memory_devices(struct qmp_call *call, GError **errp)
{
    struct memory_device_info_list *list = memory_device_info_list_new();
    const struct memory_slots *slots = call->machine->env.memory_slots;

    for (unsigned i = 0; slots && i < slots->n; i++) {
        if (slots->dimm[i]) {
            memory_device_info_list_append(list, memory_device_new(slots->dimm[i]));
        }
    }
    for (unsigned i = 0; slots && i < slots->n_ranges; i++) {
        if (device_is(slots->range[i]->dev, &virtio_mem_pci_class)) {
            memory_device_info_list_append(list, virtio_mem_new(slots->range[i]->dev));
        }
    }
    if (list->n > 1) {
        qsort(list->v, list->n, sizeof(list->v[0]), by_addr);
    }
    return list;
}

static void add_memdev(struct memdev_list *list, const char *id, uint64_t bytes,
                       const struct ram_backing *backing)
{
    struct memdev *memdev = g_new0(struct memdev, 1);

    memdev->id = g_strdup(id);
    memdev->size = bytes;
    memdev->merge = !backing->no_merge;
    memdev->dump = !backing->no_dump;
    memdev->prealloc = backing->prealloc;
    memdev->share = backing->share;
    memdev->has_reserve = true;
    memdev->reserve = !backing->no_reserve;
    memdev->host_nodes = uint16_list_new();
    for (unsigned i = 0; i < RAM_HOST_NODES; i++) {
        if (backing->place.nodes[i / 64] >> i % 64 & 1) {
            uint16_list_append(memdev->host_nodes, (uint16_t)i);
        }
    }
    memdev->policy = (enum host_mem_policy)backing->place.mode;
    memdev_list_append(list, memdev);
}

/* Of what can be plugged in, or of what the machine's own RAM consists of. */
static void add_memdevs(struct memdev_list *list, const GPtrArray *objects, bool of_ram)
{
    for (guint i = 0; objects && i < objects->len; i++) {
        const struct object *object = objects->pdata[i];
        struct ram_backing backing;
        uint64_t bytes;

        if (object_options_memory(object->options, &bytes, &backing) && !object->ram == of_ram) {
            add_memdev(list, object->options->id, bytes, &backing);
        }
    }
}

struct memdev_list *qmp_query_memdev(struct qmp_call *call, GError **errp)
{
    struct memdev_list *list = memdev_list_new();

    add_memdevs(list, call->machine->env.objects, false);
    add_memdevs(list, call->machine->env.objects, true);
    return list;
}
