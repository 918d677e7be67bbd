/*
 * pc-dimm: memory in a slot of the machine, there from the start or plugged in while it runs.
 *
 * Where it is (addr=) is chosen among the board's addresses for such memory: the first that is
 * free. Its contents are the back end's (memdev=).
 */
#include "devices/core/object.h"
#include "devices/memory-slots.h"

#include <inttypes.h>

#define MEMORY_KINDS                                                                               \
    (1u << OBJECT_TYPE_MEMORY_BACKEND_RAM | 1u << OBJECT_TYPE_MEMORY_BACKEND_FILE |                \
     1u << OBJECT_TYPE_MEMORY_BACKEND_MEMFD)

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
    bool placed;
};

/* ---- a place */

static uint64_t bytes_of(const struct device *dimm)
{
    return dimm ? ((const struct pc_dimm *)dimm)->region.size : 0;
}

uint64_t memory_slots_plugged_bytes(const struct memory_slots *slots)
{
    uint64_t sum = 0;

    for (unsigned i = 0; slots && i < slots->n; i++) {
        sum += bytes_of(slots->dimm[i]);
    }
    return sum;
}

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

/* Another DIMM that a range meets; NULL: none. */
static const struct pc_dimm *in_the_way(const struct memory_slots *slots, gpa_t addr,
                                        uint64_t bytes)
{
    for (unsigned i = 0; i < slots->n; i++) {
        const struct pc_dimm *other = (const struct pc_dimm *)slots->dimm[i];

        if (other && addr < other->cfg.addr + other->region.size &&
            other->cfg.addr < addr + bytes) {
            return other;
        }
    }
    return NULL;
}

static bool check_addr(const struct pc_dimm *d, const struct memory_slots *slots, uint64_t bytes,
                       GError **error)
{
    gpa_t addr = d->cfg.addr;
    const struct pc_dimm *other;

    if (addr % MEMORY_SLOT_ALIGN) {
        g_set_error(error, DEVICE_ERROR, 0, "address must be aligned to 0x%llx bytes",
                    MEMORY_SLOT_ALIGN);
        return false;
    }
    if (addr < slots->base || bytes > slots->bytes || addr - slots->base > slots->bytes - bytes) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "can't add memory device [0x%" PRIx64 ":0x%" PRIx64
                    "], usable range for memory devices [0x%" PRIx64 ":0x%" PRIx64 "]",
                    addr, bytes, slots->base, slots->bytes);
        return false;
    }
    other = in_the_way(slots, addr, bytes);
    if (other) {
        g_set_error(error, DEVICE_ERROR, 0, "address range conflicts with memory device id='%s'",
                    other->dev.id ? other->dev.id : "(unnamed)");
        return false;
    }
    return true;
}

static bool choose_addr(struct pc_dimm *d, const struct memory_slots *slots, uint64_t bytes,
                        GError **error)
{
    gpa_t addr = slots->base;
    const struct pc_dimm *other;

    if (d->cfg.addr) {
        return check_addr(d, slots, bytes, error);
    }
    while ((other = in_the_way(slots, addr, bytes))) {
        addr = other->cfg.addr + other->region.size;
    }
    if (addr - slots->base > slots->bytes || bytes > slots->bytes - (addr - slots->base)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "could not find position in guest address space for memory device - memory "
                    "fragmented due to alignments");
        return false;
    }
    d->cfg.addr = addr;
    return true;
}

static bool check_size(const struct memory_slots *slots, uint64_t bytes, GError **error)
{
    uint64_t used = memory_slots_plugged_bytes(slots);

    if (bytes % MEMORY_SLOT_ALIGN) {
        g_set_error(error, DEVICE_ERROR, 0, "backend memory size must be multiple of 0x%llx",
                    MEMORY_SLOT_ALIGN);
        return false;
    }
    if (bytes > slots->limit - used) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "not enough space, currently 0x%" PRIx64
                    " in use of total space for memory devices 0x%" PRIx64,
                    used, slots->limit);
        return false;
    }
    return true;
}

/* ---- the device */

static bool take_memory(struct pc_dimm *d, GError **error)
{
    if (!d->cfg.memdev) {
        g_set_error(error, DEVICE_ERROR, 0, "'memdev' property must be set");
        return false;
    }
    d->memory = object_use(d->dev.env, d->cfg.memdev, MEMORY_KINDS, "memdev", error);
    if (d->memory && d->memory->users > 1) {
        g_set_error(error, DEVICE_ERROR, 0, "can't use already busy memdev: %s", d->cfg.memdev);
        return false;
    }
    return d->memory != NULL;
}

static bool pc_dimm_realize(struct device *dev, GError **error)
{
    struct pc_dimm *d = (struct pc_dimm *)dev;
    struct memory_slots *slots = dev->env->memory_slots;
    uint64_t bytes;

    if (!slots || !slots->n) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "no slots where allocated, please specify the 'slots' option");
        return false;
    }
    if (!take_memory(d, error)) {
        return false;
    }
    if (d->cfg.node >= MAX(slots->n_nodes, 1)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "'DIMM property node has value %u' which exceeds the number of numa nodes: %u",
                    d->cfg.node, MAX(slots->n_nodes, 1));
        return false;
    }
    bytes = d->memory->ram->size;
    if (!check_size(slots, bytes, error) || !choose_slot(d, slots, error) ||
        !choose_addr(d, slots, bytes, error)) {
        return false;
    }
    d->region =
        (struct region){.name = "dimm", .kind = REGION_RAM, .size = bytes, .ram = d->memory->ram};
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
