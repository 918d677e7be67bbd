/*
 * acpi-pci-hotplug: slots of a conventional PCI bus in which devices come and go with the help of
 * ACPI methods (after QEMU's docs/specs/acpi_pci_hotplug, whose registers other people's tests
 * use).
 *
 * Ports from the base: 0 slots that something was plugged into (reading forgets them), 4 slots
 * whose device is to go, 8 write: out with the devices in these slots, 12 slots that can be used
 * so, 16 the number of the bus that all this is about. General purpose event 1 tells of news.
 *
 * A slot is emptied when the guest says so, whether it was asked or not. There is no way for it to
 * refuse: a guest that keeps a device does not answer.
 *
 * Left out: buses behind bridges, acpi-index.
 */
#include "devices/acpi-pcihp.h"

#include "devices/acpi-pm.h"

#define REG_UP    0
#define REG_DOWN  4
#define REG_EJECT 8
#define REG_SLOTS 12
#define REG_BUS   16
#define REG_BYTES 24

struct acpi_pcihp_state {
    uint32_t up, down, bus;
    uint8_t pad[4];
};

static const struct state_field acpi_pcihp_fields[] = {
    STATE(struct acpi_pcihp_state, up),
    STATE(struct acpi_pcihp_state, down),
    STATE(struct acpi_pcihp_state, bus),
    STATE_PAD(struct acpi_pcihp_state, pad),
    {0},
};

static const struct state_desc acpi_pcihp_desc = {
    .name = "acpi-pci-hotplug",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct acpi_pcihp_state),
    .fields = acpi_pcihp_fields,
};

struct acpi_pcihp {
    struct device dev;
    struct acpi_pcihp_state s;
    struct device *pm;
    struct pci_bus *bus;
    struct region region;
};

static bool may_go(const struct pci_device *dev)
{
    return dev->dev.class->bus == BUS_PCI && dev->dev.class->hotplug != HOTPLUG_NEVER;
}

uint32_t acpi_pcihp_slots(const struct device *dev)
{
    const struct acpi_pcihp *d = (const struct acpi_pcihp *)dev;
    uint32_t slots = UINT32_MAX;

    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if (d->bus->device[devfn] && !may_go(d->bus->device[devfn])) {
            slots &= ~(1u << (devfn >> 3));
        }
    }
    return slots;
}

static void plugged(void *opaque, struct pci_device *dev)
{
    struct acpi_pcihp *d = opaque;

    d->s.up |= 1u << (dev->devfn >> 3);
    acpi_pm_set_gpe(d->pm, ACPI_PCIHP_GPE);
}

static bool unplug_request(void *opaque, struct pci_device *dev, GError **error)
{
    struct acpi_pcihp *d = opaque;

    if (!may_go(dev)) {
        g_set_error(error, DEVICE_ERROR, 0, "Device '%s' does not support hotplugging",
                    dev->dev.class->name);
        return false;
    }
    dev->dev.unplug_asked = true;
    /* A guest that boots forgets the event: it may be asked again at any time. */
    dev->dev.unplug_busy_ns = 0;
    d->s.down |= 1u << (dev->devfn >> 3);
    acpi_pm_set_gpe(d->pm, ACPI_PCIHP_GPE);
    return true;
}

static const struct pci_hotplug hotplug = {.plugged = plugged, .unplug_request = unplug_request};

/* The slot's functions, the first last: others may be found by it. */
static void eject(struct acpi_pcihp *d, unsigned slot)
{
    d->s.up &= ~(1u << slot);
    d->s.down &= ~(1u << slot);
    for (unsigned function = 8; function-- > 0;) {
        struct pci_device *dev = d->bus->device[PCI_DEVFN(slot, function)];

        if (dev && may_go(dev)) {
            system_device_unplugged(&dev->dev);
        }
    }
}

static uint64_t pcihp_read(void *opaque, gpa_t offset, unsigned size)
{
    struct acpi_pcihp *d = opaque;
    uint32_t up = d->s.up;

    if (d->s.bus != 0 && offset != REG_BUS) {
        return 0;
    }
    switch (offset) {
    case REG_UP:
        d->s.up = 0;
        return up;
    case REG_DOWN:
        return d->s.down;
    case REG_SLOTS:
        return acpi_pcihp_slots(&d->dev);
    case REG_BUS:
        return d->s.bus;
    default:
        return 0;
    }
}

static void pcihp_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct acpi_pcihp *d = opaque;

    if (offset == REG_BUS) {
        d->s.bus = (uint32_t)value;
    } else if (offset == REG_EJECT && d->s.bus == 0) {
        for (uint32_t left = (uint32_t)value; left; left &= left - 1) {
            eject(d, (unsigned)__builtin_ctz(left));
        }
    }
}

static const struct region_ops pcihp_ops = {
    .read = pcihp_read, .write = pcihp_write, .min_size = 4, .max_size = 4};

static void acpi_pcihp_unrealize(struct device *dev)
{
    struct acpi_pcihp *d = (struct acpi_pcihp *)dev;

    address_space_unmap(dev->env->io, &d->region);
    if (d->bus) {
        d->bus->hotplug = NULL;
    }
}

/* What the guest was asked for is done by then (devices_end_unplugs()). */
static void acpi_pcihp_reset(struct device *dev, enum reset_kind kind)
{
    ((struct acpi_pcihp *)dev)->s = (struct acpi_pcihp_state){0};
}

const struct device_class acpi_pcihp_class = {
    .name = "acpi-pci-hotplug",
    .help = "hot plug of PCI devices by ACPI",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct acpi_pcihp),
    .state = &acpi_pcihp_desc,
    .state_offset = offsetof(struct acpi_pcihp, s),
    .unrealize = acpi_pcihp_unrealize,
    .reset = acpi_pcihp_reset,
};

struct device *acpi_pcihp_create(struct device_env *env, uint16_t base, struct device *pm,
                                 struct pci_bus *bus, GError **error)
{
    struct device *dev = device_new(&acpi_pcihp_class, env);
    struct acpi_pcihp *d = (struct acpi_pcihp *)dev;

    if (!device_realize(dev, error)) {
        return NULL;
    }
    d->pm = pm;
    d->bus = bus;
    d->region = (struct region){.name = "acpi-pci-hotplug",
                                .kind = REGION_IO,
                                .size = REG_BYTES,
                                .ops = &pcihp_ops,
                                .opaque = d};
    address_space_map(env->io, base, &d->region, 0);
    bus->hotplug = &hotplug;
    bus->hotplug_opaque = d;
    return dev;
}
