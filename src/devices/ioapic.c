/*
 * ioapic: an I/O APIC with 24 inputs (Intel 82093AA data sheet; version 0x20 with the EOI register
 * of the ICH family).
 *
 * An interrupt leaves as a message-signalled one, whose address and data are made from the
 * redirection entry. Level-triggered inputs wait for the local APIC's EOI in Remote IRR.
 *
 * Left out: the arbitration register has no effect, delivery status always reads idle.
 */
#include "devices/ioapic.h"

#include "cpu/vcpu.h"
#include <string.h>

#define IOREGSEL        0x00
#define IOWIN           0x10
#define IOEOI           0x40

#define REG_ID          0x00
#define REG_VERSION     0x01
#define REG_ARBITRATION 0x02
#define REG_REDIRECTION 0x10 /* two registers a pin */

#define IOAPIC_VERSION  0x20

#define RTE_VECTOR      0x00000000000000ffull
#define RTE_MODE        0x0000000000000700ull
#define RTE_LOGICAL     0x0000000000000800ull
#define RTE_POLARITY    0x0000000000002000ull
#define RTE_REMOTE_IRR  0x0000000000004000ull
#define RTE_LEVEL       0x0000000000008000ull
#define RTE_MASKED      0x0000000000010000ull
#define RTE_WRITABLE    0xff0000000001afffull

struct ioapic_state {
    uint64_t entry[IOAPIC_PINS];
    uint32_t lines; /* levels at the inputs */
    uint8_t select, id;
    uint8_t pad[2];
};

static const struct state_field ioapic_fields[] = {
    STATE_ARRAY(struct ioapic_state, entry),
    STATE_MAX(struct ioapic_state, lines, (1u << IOAPIC_PINS) - 1),
    STATE(struct ioapic_state, select),
    STATE_MAX(struct ioapic_state, id, 15),
    STATE_PAD(struct ioapic_state, pad),
    {0},
};

static const struct state_desc ioapic_desc = {
    .name = "ioapic",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct ioapic_state),
    .fields = ioapic_fields,
};

struct ioapic {
    struct device dev;
    struct ioapic_state s;
    struct region region;
    void (*intercept)(void *opaque, int pin, bool level);
    void *intercept_opaque;
};

static gpa_t message_addr(uint64_t entry)
{
    return 0xfee00000u | (entry >> 56) << 12 | (entry & RTE_LOGICAL ? 4 : 0);
}

static uint32_t message_data(uint64_t entry)
{
    return (uint32_t)(entry & (RTE_VECTOR | RTE_MODE | RTE_LEVEL)) | 1u << 14;
}

static void ioapic_send(struct ioapic *d, uint64_t entry)
{
    struct device_env *env = d->dev.env;

    if (env->send_msi) {
        env->send_msi(env, message_addr(entry), message_data(entry));
    }
}

/* Sends what a level-triggered pin has to send. */
static void ioapic_service_level(struct ioapic *d, unsigned pin)
{
    uint64_t *entry = &d->s.entry[pin];

    if ((*entry & RTE_LEVEL) && !(*entry & (RTE_MASKED | RTE_REMOTE_IRR)) &&
        (d->s.lines & (1u << pin))) {
        *entry |= RTE_REMOTE_IRR;
        ioapic_send(d, *entry);
    }
}

void ioapic_set_irq(void *ioapic, int pin, bool level)
{
    struct ioapic *d = ioapic;
    uint32_t bit;

    if (pin < 0 || pin >= IOAPIC_PINS) {
        return;
    }
    bit = 1u << pin;
    if (level == !!(d->s.lines & bit)) {
        return;
    }
    d->s.lines ^= bit;
    if (d->intercept) {
        d->intercept(d->intercept_opaque, pin, level);
    }
    if (level) {
        /* An edge at a masked input is lost (data sheet, 3.2.4). */
        if (!(d->s.entry[pin] & (RTE_LEVEL | RTE_MASKED))) {
            ioapic_send(d, d->s.entry[pin]);
        }
        ioapic_service_level(d, (unsigned)pin);
    }
}

void ioapic_eoi(struct device *ioapic, uint8_t vector)
{
    struct ioapic *d = (struct ioapic *)ioapic;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t *entry = &d->s.entry[pin];

        if ((*entry & RTE_LEVEL) && (*entry & RTE_REMOTE_IRR) && (*entry & RTE_VECTOR) == vector) {
            *entry &= ~RTE_REMOTE_IRR;
            ioapic_service_level(d, pin);
        }
    }
}

void ioapic_intercept(struct device *ioapic, void (*fn)(void *opaque, int pin, bool level),
                      void *opaque)
{
    struct ioapic *d = (struct ioapic *)ioapic;

    d->intercept = fn;
    d->intercept_opaque = opaque;
}

/* ---- registers */

static uint32_t ioapic_read_register(const struct ioapic *d)
{
    unsigned pin = (d->s.select - REG_REDIRECTION) / 2u;

    switch (d->s.select) {
    case REG_ID:
    case REG_ARBITRATION:
        return (uint32_t)d->s.id << 24;
    case REG_VERSION:
        return (IOAPIC_PINS - 1) << 16 | IOAPIC_VERSION;
    default:
        if (d->s.select < REG_REDIRECTION || pin >= IOAPIC_PINS) {
            return 0;
        }
        return (uint32_t)(d->s.entry[pin] >> (d->s.select & 1 ? 32 : 0));
    }
}

static void ioapic_write_entry(struct ioapic *d, unsigned pin, bool high, uint32_t value)
{
    uint64_t *entry = &d->s.entry[pin], fresh;

    fresh =
        high ? (*entry & 0xffffffffu) | (uint64_t)value << 32 : (*entry & ~0xffffffffull) | value;
    fresh = (fresh & RTE_WRITABLE) | (*entry & RTE_REMOTE_IRR);
    if (!(fresh & RTE_LEVEL)) {
        fresh &= ~RTE_REMOTE_IRR; /* a switch to edge clears it: Linux's way to force an EOI */
    }
    *entry = fresh;
    ioapic_service_level(d, pin);
}

static void ioapic_write_register(struct ioapic *d, uint32_t value)
{
    unsigned pin = (d->s.select - REG_REDIRECTION) / 2u;

    if (d->s.select == REG_ID) {
        d->s.id = value >> 24 & 15;
    } else if (d->s.select >= REG_REDIRECTION && pin < IOAPIC_PINS) {
        ioapic_write_entry(d, pin, d->s.select & 1, value);
    }
}

static uint64_t ioapic_read(void *opaque, gpa_t offset, unsigned size)
{
    struct ioapic *d = opaque;

    switch (offset & 0xff) {
    case IOREGSEL:
        return d->s.select;
    case IOWIN:
        return ioapic_read_register(d);
    default:
        return 0;
    }
}

static void ioapic_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct ioapic *d = opaque;

    switch (offset & 0xff) {
    case IOREGSEL:
        d->s.select = (uint8_t)value;
        break;
    case IOWIN:
        ioapic_write_register(d, (uint32_t)value);
        break;
    case IOEOI:
        ioapic_eoi(&d->dev, (uint8_t)value);
        break;
    default:
        break;
    }
}

static const struct region_ops ioapic_ops = {
    .read = ioapic_read, .write = ioapic_write, .min_size = 4, .max_size = 4};

/* ---- class */

static bool ioapic_realize(struct device *dev, GError **error)
{
    struct ioapic *d = (struct ioapic *)dev;

    d->region = (struct region){
        .name = "ioapic", .kind = REGION_IO, .size = 0x1000, .ops = &ioapic_ops, .opaque = d};
    address_space_map(dev->env->mem, IOAPIC_ADDR, &d->region, 0);
    return true;
}

static void ioapic_unrealize(struct device *dev)
{
    address_space_unmap(dev->env->mem, &((struct ioapic *)dev)->region);
}

static void ioapic_reset(struct device *dev, enum reset_kind kind)
{
    struct ioapic *d = (struct ioapic *)dev;
    uint32_t lines = d->s.lines; /* not ours: who drives them resets them */

    memset(&d->s, 0, sizeof(d->s));
    d->s.lines = lines;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        d->s.entry[pin] = RTE_MASKED;
    }
}

/* The accelerator is to tell of the EOIs that are waited for. */
static bool ioapic_post_load(struct device *dev, GError **error)
{
    struct ioapic *d = (struct ioapic *)dev;
    struct cpus *cpus = dev->env->cpus;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t entry = d->s.entry[pin];

        if (cpus && cpus->accel->expect_eoi && (entry & RTE_LEVEL) && (entry & RTE_REMOTE_IRR)) {
            cpus->accel->expect_eoi(cpus, message_addr(entry), message_data(entry));
        }
    }
    return true;
}

const struct device_class ioapic_class = {
    .name = "ioapic",
    .help = "I/O APIC",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct ioapic),
    .state = &ioapic_desc,
    .state_offset = offsetof(struct ioapic, s),
    .realize = ioapic_realize,
    .unrealize = ioapic_unrealize,
    .reset = ioapic_reset,
    .post_load = ioapic_post_load,
};

struct device *ioapic_create(struct device_env *env, GError **error)
{
    struct device *dev = device_new(&ioapic_class, env);

    return device_realize(dev, error) ? dev : NULL;
}
