/*
 * isa-debugcon: a port that prints every byte written to it (the Bochs convention); reading gives
 * `readback`, by which a guest finds it.
 *
 * The port has no way to tell a guest to wait. What a slow back end does not take is kept, up to a
 * mebibyte; beyond that bytes are lost, and the log says so.
 */
#include "devices/isa/debugcon.h"
#include "base/log.h"

#define BACKLOG_BYTES (1u << 20)

struct debugcon {
    struct device dev;
    struct {
        struct chardev *chr;
        uint32_t iobase, readback;
    } cfg;
    struct region region;
    struct chardev_frontend frontend;
    GByteArray *backlog; /* printed already, as far as the guest can tell */
    bool attached;
};

static void debugcon_writable(void *opaque)
{
    struct debugcon *d = opaque;
    size_t taken;

    if (d->backlog->len) {
        taken = chardev_write(d->cfg.chr, d->backlog->data, d->backlog->len);
        g_byte_array_remove_range(d->backlog, 0, (guint)taken);
    }
}

static void debugcon_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct debugcon *d = opaque;
    uint8_t byte = (uint8_t)value;

    if (!d->backlog->len && chardev_write(d->cfg.chr, &byte, 1) == 1) {
        return;
    }
    if (d->backlog->len >= BACKLOG_BYTES) {
        log_guest("isa-debugcon: '%s' reads too slowly, output is lost", d->cfg.chr->id);
        return;
    }
    g_byte_array_append(d->backlog, &byte, 1);
}

static uint64_t debugcon_read(void *opaque, gpa_t offset, unsigned size)
{
    return ((struct debugcon *)opaque)->cfg.readback;
}

static const struct region_ops debugcon_ops = {
    .read = debugcon_read, .write = debugcon_write, .min_size = 1, .max_size = 1};

static int debugcon_can_receive(void *opaque)
{
    return 0;
}

static bool debugcon_realize(struct device *dev, GError **error)
{
    struct debugcon *d = (struct debugcon *)dev;

    d->backlog = g_byte_array_new();
    if (!d->cfg.chr) {
        g_set_error(error, DEVICE_ERROR, 0, "isa-debugcon: property 'chardev' is missing");
        return false;
    }
    d->frontend = (struct chardev_frontend){
        .can_receive = debugcon_can_receive, .writable = debugcon_writable, .opaque = d};
    if (!chardev_attach(d->cfg.chr, &d->frontend)) {
        g_set_error(error, DEVICE_ERROR, 0, "isa-debugcon: chardev '%s' is already in use",
                    d->cfg.chr->id);
        return false;
    }
    d->attached = true;
    d->region = (struct region){
        .name = "debugcon", .kind = REGION_IO, .size = 1, .ops = &debugcon_ops, .opaque = d};
    address_space_map(dev->env->io, d->cfg.iobase, &d->region, 0);
    return true;
}

static void debugcon_unrealize(struct device *dev)
{
    struct debugcon *d = (struct debugcon *)dev;

    address_space_unmap(dev->env->io, &d->region);
    if (d->attached) {
        chardev_detach(d->cfg.chr, &d->frontend);
    }
    g_byte_array_unref(d->backlog);
}

static void debugcon_pause(struct device *dev)
{
    chardev_push(((struct debugcon *)dev)->cfg.chr);
}

static const struct property debugcon_props[] = {
    {.name = "chardev",
     .type = PROP_CHARDEV,
     .offset = offsetof(struct debugcon, cfg.chr),
     .help = "back end"},
    {.name = "iobase",
     .type = PROP_U32,
     .offset = offsetof(struct debugcon, cfg.iobase),
     .def = 0xe9,
     .max = 0xffff,
     .help = "port"},
    {.name = "readback",
     .type = PROP_U32,
     .offset = offsetof(struct debugcon, cfg.readback),
     .def = 0xe9,
     .max = 0xff,
     .help = "what reading the port gives"},
    {.type = PROP_END},
};

const struct device_class debugcon_class = {
    .name = "isa-debugcon",
    .help = "port that prints what is written to it",
    .bus = BUS_ISA,
    .size = sizeof(struct debugcon),
    .props = debugcon_props,
    .state = &state_none,
    .realize = debugcon_realize,
    .unrealize = debugcon_unrealize,
    .pause = debugcon_pause,
};

struct device *debugcon_create(struct device_env *env, struct chardev *chr, GError **error)
{
    struct device *dev = device_new(&debugcon_class, env);

    ((struct debugcon *)dev)->cfg.chr = chr;
    return device_realize(dev, error) ? dev : NULL;
}
