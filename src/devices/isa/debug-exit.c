/*
 * isa-debug-exit: a write of v to its port ends the process with status (v << 1) | 1, by which test
 * guests report. The status that a parent sees has 8 bits.
 */
#include "devices/isa/debug-exit.h"

struct debug_exit {
    struct device dev;
    struct {
        uint32_t iobase, iosize;
    } cfg;
    struct region region;
};

static uint64_t debug_exit_read(void *opaque, gpa_t offset, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct debug_exit *d = opaque;

    system_request_exit(d->dev.env, (int)((uint32_t)value << 1 | 1));
}

static const struct region_ops debug_exit_ops = {
    .read = debug_exit_read, .write = debug_exit_write, .min_size = 1, .max_size = 4};

static bool debug_exit_realize(struct device *dev, GError **error)
{
    struct debug_exit *d = (struct debug_exit *)dev;

    d->region = (struct region){.name = "debug-exit",
                                .kind = REGION_IO,
                                .size = d->cfg.iosize,
                                .ops = &debug_exit_ops,
                                .opaque = d};
    address_space_map(dev->env->io, d->cfg.iobase, &d->region, 0);
    return true;
}

static void debug_exit_unrealize(struct device *dev)
{
    address_space_unmap(dev->env->io, &((struct debug_exit *)dev)->region);
}

static const struct property debug_exit_props[] = {
    {.name = "iobase",
     .type = PROP_U32,
     .offset = offsetof(struct debug_exit, cfg.iobase),
     .def = 0x501,
     .max = 0xffff,
     .help = "first port"},
    {.name = "iosize",
     .type = PROP_U32,
     .offset = offsetof(struct debug_exit, cfg.iosize),
     .def = 2,
     .min = 1,
     .max = 4,
     .help = "number of ports"},
    {.type = PROP_END},
};

const struct device_class debug_exit_class = {
    .name = "isa-debug-exit",
    .help = "port that ends the process",
    .bus = BUS_ISA,
    .size = sizeof(struct debug_exit),
    .props = debug_exit_props,
    .state = &state_none,
    .realize = debug_exit_realize,
    .unrealize = debug_exit_unrealize,
};
