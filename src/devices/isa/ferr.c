/*
 * ferr: what a PC/AT makes of floating point errors (Intel SDM volume 1, appendix D): FERR# going
 * up raises IRQ 13 until the handler writes to port 0xf0.
 *
 * Left out, as a guest would notice: processors do not wait for the interrupt before the next x87
 * instruction, as if IGNNE#, which that write asserts, always were; and all share one FERR#.
 */
#include "devices/isa/ferr.h"

#define FERR_PORT 0xf0
#define FERR_IRQ  13

struct ferr_state {
    bool irq;
};

static const struct state_field ferr_fields[] = {STATE(struct ferr_state, irq), {0}};

static const struct state_desc ferr_desc = {
    .name = "ferr",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct ferr_state),
    .fields = ferr_fields,
};

struct ferr {
    struct device dev;
    struct ferr_state s;
    struct region region;
};

static void update_irq(struct ferr *d)
{
    irq_set(&d->dev.env->isa_irq[FERR_IRQ], d->s.irq);
}

void ferr_set(struct device *dev, bool asserted)
{
    struct ferr *d = (struct ferr *)dev;

    d->s.irq |= asserted;
    update_irq(d);
}

static void ferr_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct ferr *d = opaque;

    d->s.irq = false;
    update_irq(d);
}

static const struct region_ops ferr_ops = {.write = ferr_write, .min_size = 1, .max_size = 1};

static bool ferr_realize(struct device *dev, GError **error)
{
    struct ferr *d = (struct ferr *)dev;

    d->region = (struct region){
        .name = "ferr", .kind = REGION_IO, .size = 1, .ops = &ferr_ops, .opaque = d};
    address_space_map(dev->env->io, FERR_PORT, &d->region, 0);
    return true;
}

static void ferr_unrealize(struct device *dev)
{
    address_space_unmap(dev->env->io, &((struct ferr *)dev)->region);
}

static void ferr_reset(struct device *dev, enum reset_kind kind)
{
    struct ferr *d = (struct ferr *)dev;

    d->s = (struct ferr_state){0};
    update_irq(d);
}

const struct device_class ferr_class = {
    .name = "ferr",
    .help = "coprocessor errors as an interrupt",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct ferr),
    .state = &ferr_desc,
    .state_offset = offsetof(struct ferr, s),
    .realize = ferr_realize,
    .unrealize = ferr_unrealize,
    .reset = ferr_reset,
};

struct device *ferr_create(struct device_env *env, GError **error)
{
    struct device *dev = device_new(&ferr_class, env);

    return device_realize(dev, error) ? dev : NULL;
}
