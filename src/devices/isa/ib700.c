/*
 * ib700: the watchdog of iBASE's IB700 boards (Linux's drivers/watchdog/ib700wdt.c).
 *
 * Two write-only ports. A write of n to 0x443 arms it, or starts it anew, for (15 - (n & 15)) * 2
 * seconds of guest time; n = 15 means at once. Any write to 0x441 disarms it. It fires once per
 * arming.
 */
#include "devices/isa/ib700.h"

#define PORT_DISABLE 0x441
#define PORT_ENABLE  0x443

struct ib700_state {
    int64_t deadline_ns; /* -1: disarmed */
};

static const struct state_field ib700_fields[] = {
    STATE(struct ib700_state, deadline_ns),
    {0},
};

static const struct state_desc ib700_desc = {
    .name = "ib700",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct ib700_state),
    .fields = ib700_fields,
};

struct ib700 {
    struct device dev;
    struct ib700_state s;
    struct region disable, enable;
    struct vtimer timer;
};

static void ib700_arm(struct ib700 *d, int64_t deadline_ns)
{
    d->s.deadline_ns = deadline_ns;
    if (deadline_ns < 0) {
        vtimer_cancel(&d->timer);
    } else {
        vtimer_set(&d->timer, deadline_ns);
    }
}

static void ib700_expired(void *opaque)
{
    struct ib700 *d = opaque;

    if (d->s.deadline_ns >= 0 && d->s.deadline_ns <= vclock_now(d->dev.env->clock)) {
        d->s.deadline_ns = -1;
        system_note_watchdog(d->dev.env, "ib700");
    }
}

static uint64_t ib700_read(void *opaque, gpa_t offset, unsigned size)
{
    return 0xff;
}

static void ib700_write_enable(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct ib700 *d = opaque;
    int64_t seconds = (15 - (int64_t)(value & 15)) * 2;

    ib700_arm(d, vclock_now(d->dev.env->clock) + seconds * NS_PER_SEC);
}

static void ib700_write_disable(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    ib700_arm(opaque, -1);
}

static const struct region_ops enable_ops = {
    .read = ib700_read,
    .write = ib700_write_enable,
    .min_size = 1,
    .max_size = 1,
};

static const struct region_ops disable_ops = {
    .read = ib700_read,
    .write = ib700_write_disable,
    .min_size = 1,
    .max_size = 1,
};

static struct region ib700_port(struct ib700 *d, const struct region_ops *ops)
{
    return (struct region){
        .name = "ib700",
        .kind = REGION_IO,
        .size = 1,
        .ops = ops,
        .opaque = d,
    };
}

static bool ib700_realize(struct device *dev, GError **error)
{
    struct ib700 *d = (struct ib700 *)dev;

    vtimer_init(&d->timer, dev->env->clock, ib700_expired, d);
    d->s.deadline_ns = -1;
    d->disable = ib700_port(d, &disable_ops);
    d->enable = ib700_port(d, &enable_ops);
    address_space_map(dev->env->io, PORT_DISABLE, &d->disable, 0);
    address_space_map(dev->env->io, PORT_ENABLE, &d->enable, 0);
    return true;
}

static void ib700_unrealize(struct device *dev)
{
    struct ib700 *d = (struct ib700 *)dev;

    vtimer_cancel(&d->timer);
    address_space_unmap(dev->env->io, &d->disable);
    address_space_unmap(dev->env->io, &d->enable);
}

static void ib700_reset(struct device *dev, enum reset_kind kind)
{
    ib700_arm((struct ib700 *)dev, -1);
}

static bool ib700_post_load(struct device *dev, GError **error)
{
    struct ib700 *d = (struct ib700 *)dev;

    ib700_arm(d, d->s.deadline_ns);
    return true;
}

const struct device_class ib700_class = {
    .name = "ib700",
    .help = "iBASE 700 watchdog (ISA)",
    .bus = BUS_ISA,
    .size = sizeof(struct ib700),
    .state = &ib700_desc,
    .state_offset = offsetof(struct ib700, s),
    .realize = ib700_realize,
    .unrealize = ib700_unrealize,
    .reset = ib700_reset,
    .post_load = ib700_post_load,
};
