/*
 * pc-dimm: memory in a slot of the machine, there from the start or plugged in while it runs.
 *
 * Where it is (addr=) is chosen among the board's addresses for such memory: the first that is
 * free. Its contents are the back end's (memdev=).
 */
#include "devices/core/object.h"
#include "devices/memory-slots.h"

struct pc_dimm {
    struct device dev;
    struct {
        char *memdev;
        uint64_t addr; /* 0: any */
        int32_t slot;  /* -1: any */
        uint32_t node;
    } cfg;
    struct object *memory;
    struct region region;
    struct memory_range range;
    bool placed;
};

/* ---- a place */

static bool choose_slot(struct pc_dimm *d, const struct memory_slots *slots, GError **error)
{
    if (d->cfg.slot < -1 || d->cfg.slot >= (int32_t)slots->n) {
        g_set_error(error, DEVICE_ERROR, 0, "invalid slot number %d, valid range is [0-%u]",
                    d->cfg.slot, slots->n - 1);
        return false;
    }
    if (d->cfg.slot >= 0) {
        if (slots->dimm[d->cfg.slot]) {
            g_set_error(error, DEVICE_ERROR, 0, "slot %d is busy", d->cfg.slot);
            return false;
        }
        return true;
    }
    for (unsigned i = 0; i < slots->n; i++) {
        if (!slots->dimm[i]) {
            d->cfg.slot = (int32_t)i;
            return true;
        }
    }
    g_set_error(error, DEVICE_ERROR, 0, "no free slots available");
    return false;
}

/* ---- the device */

static bool pc_dimm_realize(struct device *dev, GError **error)
{
    struct pc_dimm *d = (struct pc_dimm *)dev;
    struct memory_slots *slots = dev->env->memory_slots;

    if (!slots || !slots->n) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "no slots where allocated, please specify the 'slots' option");
        return false;
    }
    if (!d->cfg.memdev) {
        g_set_error(error, DEVICE_ERROR, 0, "'memdev' property must be set");
        return false;
    }
    d->memory = memory_take_backend(dev->env, d->cfg.memdev, error);
    if (!d->memory) {
        return false;
    }
    if (d->cfg.node >= MAX(slots->n_nodes, 1)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "'DIMM property node has value %u' which exceeds the number of numa nodes: %u",
                    d->cfg.node, MAX(slots->n_nodes, 1));
        return false;
    }
    d->range = (struct memory_range){.dev = dev,
                                     .addr = d->cfg.addr,
                                     .bytes = d->memory->ram->size,
                                     .plugged = d->memory->ram->size};
    if (!choose_slot(d, slots, error) ||
        !memory_place(slots, &d->range, d->memory->ram->align, error)) {
        return false;
    }
    d->cfg.addr = d->range.addr;
    d->region = (struct region){
        .name = "dimm", .kind = REGION_RAM, .size = d->range.bytes, .ram = d->memory->ram};
    address_space_map(dev->env->mem, d->cfg.addr, &d->region, 0);
    slots->dimm[d->cfg.slot] = dev;
    d->placed = true;
    return true;
}

static void pc_dimm_unrealize(struct device *dev)
{
    struct pc_dimm *d = (struct pc_dimm *)dev;

    if (d->placed) {
        address_space_unmap(dev->env->mem, &d->region);
        memory_unplace(dev->env->memory_slots, &d->range);
        dev->env->memory_slots->dimm[d->cfg.slot] = NULL;
    }
    object_release(d->memory);
}

static void pc_dimm_plugged(struct device *dev)
{
    struct device *controller = dev->env->memory_slots->controller;

    if (controller) {
        acpi_memhp_plugged(controller, (unsigned)((struct pc_dimm *)dev)->cfg.slot);
    }
}

static bool pc_dimm_unplug_request(struct device *dev, GError **error)
{
    struct device *controller = dev->env->memory_slots->controller;

    if (!controller) {
        g_set_error(error, DEVICE_ERROR, 0, "memory hotplug is not supported by this machine");
        return false;
    }
    acpi_memhp_ask(controller, (unsigned)((struct pc_dimm *)dev)->cfg.slot);
    return true;
}

void pc_dimm_info(const struct device *dimm, struct dimm_info *info)
{
    const struct pc_dimm *d = (const struct pc_dimm *)dimm;

    *info = (struct dimm_info){.addr = d->cfg.addr,
                               .bytes = d->region.size,
                               .slot = (unsigned)d->cfg.slot,
                               .node = d->cfg.node,
                               .memdev = d->cfg.memdev};
}

#define CFG(member) offsetof(struct pc_dimm, cfg.member)
static const struct property pc_dimm_props[] = {
    {"memdev", PROP_STRING, CFG(memdev), .help = "id of an object memory-backend-..."},
    {"addr", PROP_U64, CFG(addr), .help = "guest physical address; 0: the first that is free"},
    {"slot", PROP_I32, CFG(slot), .def = (uint64_t)-1, .help = "slot; -1: the first that is free"},
    {"node", PROP_U32, CFG(node), .help = "NUMA node that it belongs to"},
    {NULL},
};

const struct device_class pc_dimm_class = {
    .name = "pc-dimm",
    .help = "memory in a slot",
    .bus = BUS_NONE,
    .size = sizeof(struct pc_dimm),
    .props = pc_dimm_props,
    .state = &state_none,
    .realize = pc_dimm_realize,
    .unrealize = pc_dimm_unrealize,
    .hotplug = HOTPLUG_ALWAYS,
    .plugged = pc_dimm_plugged,
    .unplug_request = pc_dimm_unplug_request,
};
