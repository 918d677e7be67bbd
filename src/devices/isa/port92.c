/*
 * port92: system control port A of the PS/2. Bit 0 resets the machine on a change from 0 to 1; bit
 * 1 is the fast A20 gate, the same as the keyboard controller's: who wrote last has it (as QEMU).
 */
#include "devices/isa/port92.h"

#define PORT92_RESET 0x01
#define PORT92_A20   0x02

struct port92_state {
    uint8_t value;
};

static const struct state_field port92_fields[] = {STATE(struct port92_state, value), {0}};

static const struct state_desc port92_desc = {
    .name = "port92",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct port92_state),
    .fields = port92_fields,
};

struct port92 {
    struct device dev;
    struct port92_state s;
    struct region region;
};

static uint64_t port92_read(void *opaque, gpa_t offset, unsigned size)
{
    return ((struct port92 *)opaque)->s.value;
}

static void port92_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct port92 *d = opaque;
    uint8_t old = d->s.value;

    d->s.value = (uint8_t)value;
    irq_set(&d->dev.env->a20, value & PORT92_A20);
    if ((value & ~(uint64_t)old) & PORT92_RESET) {
        system_request_reset(d->dev.env, "port92");
    }
}

static const struct region_ops port92_ops = {
    .read = port92_read, .write = port92_write, .min_size = 1, .max_size = 1};

static bool port92_realize(struct device *dev, GError **error)
{
    struct port92 *d = (struct port92 *)dev;

    d->region = (struct region){
        .name = "port92", .kind = REGION_IO, .size = 1, .ops = &port92_ops, .opaque = d};
    address_space_map(dev->env->io, 0x92, &d->region, 0);
    return true;
}

static void port92_unrealize(struct device *dev)
{
    address_space_unmap(dev->env->io, &((struct port92 *)dev)->region);
}

static void port92_reset(struct device *dev, enum reset_kind kind)
{
    ((struct port92 *)dev)->s.value = PORT92_A20;
}

const struct device_class port92_class = {
    .name = "port92",
    .help = "system control port A: fast A20 and reset",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct port92),
    .state = &port92_desc,
    .state_offset = offsetof(struct port92, s),
    .realize = port92_realize,
    .unrealize = port92_unrealize,
    .reset = port92_reset,
};

struct device *port92_create(struct device_env *env, GError **error)
{
    struct device *dev = device_new(&port92_class, env);

    return device_realize(dev, error) ? dev : NULL;
}
