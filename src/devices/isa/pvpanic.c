/*
 * pvpanic: a one-byte port through which the guest's kernel says that it has crashed
 * (docs/specs/pvpanic of QEMU; Linux's drivers/misc/pvpanic).
 *
 * A read gives the events that the device knows (property `events`); a write reports some: bit 0 a
 * panic, bit 1 a crash that the guest handles itself by a crash kernel. A write is not filtered by
 * `events`; with both bits set the panic counts. Unknown bits are logged and ignored.
 */
#include "devices/isa/pvpanic.h"

#include "base/log.h"

struct pvpanic {
    struct device dev;
    struct {
        uint16_t ioport;
        uint8_t events;
    } cfg;
    struct region port;
};

void pvpanic_report(struct device_env *env, uint8_t value)
{
    if (value & ~PVPANIC_ALL) {
        log_guest("pvpanic: unknown events 0x%x", value & ~PVPANIC_ALL);
    }
    if (value & PVPANIC_PANICKED) {
        system_note_panicked(env, false);
    } else if (value & PVPANIC_CRASH_LOADED) {
        system_note_panicked(env, true);
    }
}

static uint64_t pvpanic_read(void *opaque, gpa_t offset, unsigned size)
{
    const struct pvpanic *d = opaque;

    return d->cfg.events;
}

static void pvpanic_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct pvpanic *d = opaque;

    pvpanic_report(d->dev.env, (uint8_t)value);
}

static const struct region_ops pvpanic_ops = {
    .read = pvpanic_read,
    .write = pvpanic_write,
    .min_size = 1,
    .max_size = 1,
};

static bool pvpanic_realize(struct device *dev, GError **error)
{
    struct pvpanic *d = (struct pvpanic *)dev;

    d->port = (struct region){
        .name = "pvpanic",
        .kind = REGION_IO,
        .size = 1,
        .ops = &pvpanic_ops,
        .opaque = d,
    };
    address_space_map(dev->env->io, d->cfg.ioport, &d->port, 0);
    return true;
}

static void pvpanic_unrealize(struct device *dev)
{
    address_space_unmap(dev->env->io, &((struct pvpanic *)dev)->port);
}

static const struct property pvpanic_props[] = {
    {"ioport", PROP_U16, offsetof(struct pvpanic, cfg.ioport), .def = 0x505,
     .help = "I/O port of the register"},
    {"events", PROP_U8, offsetof(struct pvpanic, cfg.events), .def = PVPANIC_ALL, .min = 0,
     .max = UINT8_MAX, .help = "what a read tells: 1 panic, 2 crash loaded"},
    {NULL},
};

const struct device_class pvpanic_isa_class = {
    .name = "pvpanic",
    .help = "port through which the guest reports a panic",
    .bus = BUS_ISA,
    .size = sizeof(struct pvpanic),
    .props = pvpanic_props,
    .state = &state_none,
    .realize = pvpanic_realize,
    .unrealize = pvpanic_unrealize,
};

uint16_t pvpanic_isa_port(const struct device *dev)
{
    return ((const struct pvpanic *)dev)->cfg.ioport;
}
