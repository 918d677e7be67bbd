/*
 * acpi-memory-hotplug: the registers through which ACPI methods tell a guest of memory that has
 * come or is to go, and hear what it says (after QEMU's docs/specs/acpi_mem_hotplug).
 *
 * Ports from 0xa00. Write 0: the slot that all else is about; read 0 to 0x13: its address, length
 * and node. 0x14: read bit 0 there is memory in it, 1 it has come, 2 it is to go; write 1 to bit 1
 * or 2 to acknowledge, to bit 3 to let it go. Write 4 and 8: what _OST says, event and status.
 * General purpose event 3 tells of news.
 *
 * A guest that says by _OST that it can't let memory go (event 3, ejection request, with a status
 * that is neither success nor "in progress") keeps it; a guest that is reset has not been asked.
 */
#include "devices/memory-slots.h"

#include "devices/acpi-pm.h"
#include "qapi-events.h"
#include <inttypes.h>

#define GPE               3
#define PORTS             24

#define REG_SLOT          0x00
#define REG_OST_EVENT     0x04
#define REG_OST_STATUS    0x08
#define REG_FLAGS         0x14
#define FLAG_ENABLED      1
#define FLAG_COME         2
#define FLAG_TO_GO        4
#define FLAG_EJECT        8

#define OST_EJECT_REQUEST 3
#define OST_SUCCESS       0
#define OST_IN_PROGRESS   0x84

struct acpi_memhp_state {
    uint32_t slot;
    uint32_t ost_event[MEMORY_SLOTS_MAX], ost_status[MEMORY_SLOTS_MAX];
    bool come[MEMORY_SLOTS_MAX], to_go[MEMORY_SLOTS_MAX], asked[MEMORY_SLOTS_MAX];
    uint8_t pad[4];
};

static const struct state_field acpi_memhp_fields[] = {
    STATE(struct acpi_memhp_state, slot),
    STATE_ARRAY(struct acpi_memhp_state, ost_event),
    STATE_ARRAY(struct acpi_memhp_state, ost_status),
    STATE_ARRAY(struct acpi_memhp_state, come),
    STATE_ARRAY(struct acpi_memhp_state, to_go),
    STATE_ARRAY(struct acpi_memhp_state, asked),
    STATE_PAD(struct acpi_memhp_state, pad),
    {0},
};

static const struct state_desc acpi_memhp_desc = {
    .name = "acpi-memory-hotplug",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct acpi_memhp_state),
    .fields = acpi_memhp_fields,
};

struct acpi_memhp {
    struct device dev;
    struct acpi_memhp_state s;
    struct device *pm;
    struct region region;
};

static struct device *dimm_in(const struct acpi_memhp *d, unsigned slot)
{
    const struct memory_slots *slots = d->dev.env->memory_slots;

    return slots && slot < slots->n ? slots->dimm[slot] : NULL;
}

void acpi_memhp_plugged(struct device *memhp, unsigned slot)
{
    struct acpi_memhp *d = (struct acpi_memhp *)memhp;

    d->s.come[slot] = true;
    acpi_pm_set_gpe(d->pm, GPE);
}

void acpi_memhp_ask(struct device *memhp, unsigned slot)
{
    struct acpi_memhp *d = (struct acpi_memhp *)memhp;

    d->s.to_go[slot] = d->s.asked[slot] = true;
    acpi_pm_set_gpe(d->pm, GPE);
}

void acpi_memhp_ost(const struct device *memhp, unsigned slot, uint32_t *event, uint32_t *status)
{
    const struct acpi_memhp *d = (const struct acpi_memhp *)memhp;

    *event = d->s.ost_event[slot];
    *status = d->s.ost_status[slot];
}

/* ---- what the guest says */

static void tell_ost(struct acpi_memhp *d, unsigned slot)
{
    struct device *dimm = dimm_in(d, slot);
    uint32_t event = d->s.ost_event[slot], status = d->s.ost_status[slot];
    g_autofree char *number = g_strdup_printf("%u", slot), *text = NULL;
    struct acpiost_info info = {.device = dimm ? dimm->id : NULL,
                                .slot = number,
                                .slot_type = ACPI_SLOT_TYPE_DIMM,
                                .source = event,
                                .status = status};

    qapi_event_send_acpi_device_ost(d->dev.env->events, &info);
    if (!dimm || !d->s.asked[slot] || event != OST_EJECT_REQUEST || status == OST_SUCCESS ||
        status == OST_IN_PROGRESS) {
        return;
    }
    d->s.asked[slot] = false;
    text = g_strdup_printf("the guest keeps it (_OST status %" PRIu32 ")", status);
    qapi_event_send_mem_unplug_error(d->dev.env->events, dimm->id ? dimm->id : "", text);
    system_note_unplug_failed(dimm);
}

static void write_flags(struct acpi_memhp *d, unsigned slot, uint8_t value)
{
    struct device *dimm = dimm_in(d, slot);

    if (value & FLAG_COME) {
        d->s.come[slot] = false;
    } else if (value & FLAG_TO_GO) {
        d->s.to_go[slot] = false;
    } else if ((value & FLAG_EJECT) && dimm) {
        d->s.come[slot] = d->s.to_go[slot] = d->s.asked[slot] = false;
        system_device_unplugged(dimm);
    }
}

/* ---- registers */

static uint64_t memhp_read(void *opaque, gpa_t offset, unsigned size)
{
    const struct acpi_memhp *d = opaque;
    unsigned slot = d->s.slot;
    const struct device *dimm = dimm_in(d, slot);
    struct dimm_info info = {0};

    if (slot >= d->dev.env->memory_slots->n) {
        return 0;
    }
    if (dimm) {
        pc_dimm_info(dimm, &info);
    }
    switch (offset) {
    case 0x00:
        return (uint32_t)info.addr;
    case 0x04:
        return info.addr >> 32;
    case 0x08:
        return (uint32_t)info.bytes;
    case 0x0c:
        return info.bytes >> 32;
    case 0x10:
        return info.node;
    case REG_FLAGS:
        return (dimm ? FLAG_ENABLED : 0) | (d->s.come[slot] ? FLAG_COME : 0) |
               (d->s.to_go[slot] ? FLAG_TO_GO : 0);
    default:
        return 0;
    }
}

static void memhp_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct acpi_memhp *d = opaque;
    unsigned slot = d->s.slot;

    if (offset == REG_SLOT) {
        d->s.slot = (uint32_t)value;
        return;
    }
    if (slot >= d->dev.env->memory_slots->n) {
        return;
    }
    switch (offset) {
    case REG_OST_EVENT:
        d->s.ost_event[slot] = (uint32_t)value;
        break;
    case REG_OST_STATUS:
        d->s.ost_status[slot] = (uint32_t)value;
        tell_ost(d, slot);
        break;
    case REG_FLAGS:
        write_flags(d, slot, (uint8_t)value);
        break;
    default:
        break;
    }
}

static const struct region_ops memhp_ops = {
    .read = memhp_read, .write = memhp_write, .min_size = 1, .max_size = 4};

/* ---- class */

static bool acpi_memhp_realize(struct device *dev, GError **error)
{
    struct acpi_memhp *d = (struct acpi_memhp *)dev;

    if (!dev->env->memory_slots) {
        g_set_error(error, DEVICE_ERROR, 0, "acpi-memory-hotplug: this machine has no slots");
        return false;
    }
    d->region = (struct region){.name = "acpi-memory-hotplug",
                                .kind = REGION_IO,
                                .size = PORTS,
                                .ops = &memhp_ops,
                                .opaque = d};
    address_space_map(dev->env->io, ACPI_MEMHP_BASE, &d->region, 0);
    dev->env->memory_slots->controller = dev;
    return true;
}

static void acpi_memhp_unrealize(struct device *dev)
{
    if (dev->env->memory_slots) {
        address_space_unmap(dev->env->io, &((struct acpi_memhp *)dev)->region);
        dev->env->memory_slots->controller = NULL;
    }
}

static void acpi_memhp_reset(struct device *dev, enum reset_kind kind)
{
    ((struct acpi_memhp *)dev)->s = (struct acpi_memhp_state){0};
}

const struct device_class acpi_memhp_class = {
    .name = "acpi-memory-hotplug",
    .help = "hot plug of memory by ACPI",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct acpi_memhp),
    .state = &acpi_memhp_desc,
    .state_offset = offsetof(struct acpi_memhp, s),
    .realize = acpi_memhp_realize,
    .unrealize = acpi_memhp_unrealize,
    .reset = acpi_memhp_reset,
};

struct device *acpi_memhp_create(struct device_env *env, struct device *pm, GError **error)
{
    struct device *dev = device_new(&acpi_memhp_class, env);

    ((struct acpi_memhp *)dev)->pm = pm;
    return device_realize(dev, error) ? dev : NULL;
}
