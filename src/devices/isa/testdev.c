/*
 * pc-testdev: what kvm-unit-tests ask of a PC: a 4-byte latch at ports 0xe0 to 0xe3, a port 0xe4
 * that ignores writes, a byte latch at 0xe8, interrupt lines 0 to 15 driven by ports 0x2000 + n,
 * and 64 KiB of memory behind MMIO handlers at 0xff000000.
 *
 * Port 0xe4 changes the protection of a page on the model device; here nothing comes of it.
 */
#include "devices/isa/testdev.h"
#include <string.h>

#define TESTDEV_MMIO      0xff000000u
#define TESTDEV_MMIO_SIZE 0x10000u
#define TESTDEV_LINES     24u

struct testdev_state {
    uint8_t mmio[TESTDEV_MMIO_SIZE];
    uint8_t latch[4];
    uint8_t latch8;
    uint8_t pad[3];
};

static const struct state_field testdev_fields[] = {
    STATE_ARRAY(struct testdev_state, mmio),
    STATE_ARRAY(struct testdev_state, latch),
    STATE(struct testdev_state, latch8),
    STATE_PAD(struct testdev_state, pad),
    {0},
};

static const struct state_desc testdev_desc = {
    .name = "pc-testdev",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct testdev_state),
    .fields = testdev_fields,
};

struct testdev {
    struct device dev;
    struct testdev_state s;
    struct region latch, flush, latch8, lines, mmio;
};

static uint64_t bytes_get(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, bytes, size);
    return value;
}

static uint64_t latch_read(void *opaque, gpa_t offset, unsigned size)
{
    struct testdev *d = opaque;

    return bytes_get(d->s.latch + offset, MIN(size, 4 - (unsigned)offset));
}

static void latch_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct testdev *d = opaque;

    memcpy(d->s.latch + offset, &value, MIN(size, 4 - (unsigned)offset));
}

static void flush_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
}

static uint64_t latch8_read(void *opaque, gpa_t offset, unsigned size)
{
    return ((struct testdev *)opaque)->s.latch8;
}

static void latch8_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    ((struct testdev *)opaque)->s.latch8 = (uint8_t)value;
}

static void lines_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct testdev *d = opaque;

    if (offset < 16) {
        irq_set(&d->dev.env->isa_irq[offset], value != 0);
    }
}

static uint64_t mmio_read(void *opaque, gpa_t offset, unsigned size)
{
    struct testdev *d = opaque;

    return bytes_get(d->s.mmio + offset, MIN(size, TESTDEV_MMIO_SIZE - (unsigned)offset));
}

static void mmio_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct testdev *d = opaque;

    memcpy(d->s.mmio + offset, &value, MIN(size, TESTDEV_MMIO_SIZE - (unsigned)offset));
}

static const struct region_ops latch_ops = {.read = latch_read, .write = latch_write};
static const struct region_ops flush_ops = {.write = flush_write};
static const struct region_ops latch8_ops = {
    .read = latch8_read, .write = latch8_write, .max_size = 1};
static const struct region_ops lines_ops = {.write = lines_write};
static const struct region_ops mmio_ops = {.read = mmio_read, .write = mmio_write};

static void testdev_map(struct testdev *d, struct address_space *as, struct region *region,
                        gpa_t base, uint64_t size, const struct region_ops *ops)
{
    *region = (struct region){
        .name = "testdev", .kind = REGION_IO, .size = size, .ops = ops, .opaque = d};
    address_space_map(as, base, region, 0);
}

static bool testdev_realize(struct device *dev, GError **error)
{
    struct testdev *d = (struct testdev *)dev;
    struct device_env *env = dev->env;

    testdev_map(d, env->io, &d->latch, 0xe0, 4, &latch_ops);
    testdev_map(d, env->io, &d->flush, 0xe4, 4, &flush_ops);
    testdev_map(d, env->io, &d->latch8, 0xe8, 1, &latch8_ops);
    testdev_map(d, env->io, &d->lines, 0x2000, TESTDEV_LINES, &lines_ops);
    testdev_map(d, env->mem, &d->mmio, TESTDEV_MMIO, TESTDEV_MMIO_SIZE, &mmio_ops);
    return true;
}

static void testdev_unrealize(struct device *dev)
{
    struct testdev *d = (struct testdev *)dev;

    address_space_unmap(dev->env->io, &d->latch);
    address_space_unmap(dev->env->io, &d->flush);
    address_space_unmap(dev->env->io, &d->latch8);
    address_space_unmap(dev->env->io, &d->lines);
    address_space_unmap(dev->env->mem, &d->mmio);
}

static void testdev_reset(struct device *dev, enum reset_kind kind)
{
    memset(&((struct testdev *)dev)->s, 0, sizeof(struct testdev_state));
}

const struct device_class testdev_class = {
    .name = "pc-testdev",
    .help = "latches, interrupt lines and MMIO for test guests",
    .bus = BUS_ISA,
    .size = sizeof(struct testdev),
    .state = &testdev_desc,
    .state_offset = offsetof(struct testdev, s),
    .realize = testdev_realize,
    .unrealize = testdev_unrealize,
    .reset = testdev_reset,
};
