/*
 * isa-pit: the PC's 8254 interval timer (Intel 8254 data sheet) and port 0x61, which gates channel
 * 2 and shows its output (and a refresh toggle for delay loops).
 *
 * All counts are derived from the virtual clock: nothing ticks. Only channel 0's output edges that
 * raise the interrupt have a timer: at the start of each period in modes 2 and 3, at the end of the
 * count in modes 0, 1, 4 and 5. Where a real 8254 lets the line fall for part of the period, here
 * it falls and rises at once, which no edge-triggered controller can tell.
 *
 * Left out, as a guest would notice: the speaker makes no sound; writing the first of two bytes in
 * mode 0 does not stop the old count; the count takes effect with the write, not with the next
 * input clock. A period shorter than 20 microseconds (less than 24 clocks) raises an interrupt only
 * every 20 microseconds.
 */
#include "devices/isa/i8254.h"
#include <string.h>

#define PIT_HZ          1193182ull

#define PIT_CONTROL     3

#define RW_LATCH        0
#define RW_LOW          1
#define RW_HIGH         2
#define RW_BOTH         3

#define PORT61_GATE     0x01
#define PORT61_SPEAKER  0x02
#define PORT61_REFRESH  0x10
#define PORT61_OUT      0x20
#define REFRESH_NS      15085

#define MIN_INTERVAL_NS 20000

struct pit_channel {
    int64_t load_ns;    /* when counting began: the count was loaded, or the gate rose */
    uint32_t count;     /* 1 to 65536 (10000 in BCD) */
    uint16_t latched;   /* a latched count */
    uint8_t latch_left; /* bytes of it still to be read: 0, 1, 2 */
    uint8_t latched_status;
    bool status_latched;
    bool read_high, write_high; /* RW_BOTH: the high byte is next */
    uint8_t write_low;          /* the low byte that waits for it */
    uint8_t rw, mode;
    bool bcd, gate;
    bool loaded; /* a count was written since the mode was set */
    bool fired;  /* modes 0, 1, 4, 5: the end of the count was signalled */
    uint8_t pad[6];
};

struct i8254_state {
    int64_t next_ns; /* channel 0's next interrupt, -1 none */
    struct pit_channel channel[3];
    uint8_t port61;
    bool irq_enabled;
    uint8_t pad[6];
};

static const struct state_field channel_fields[] = {
    STATE(struct pit_channel, load_ns),
    STATE_MAX(struct pit_channel, count, 65536),
    STATE(struct pit_channel, latched),
    STATE_MAX(struct pit_channel, latch_left, 2),
    STATE(struct pit_channel, latched_status),
    STATE(struct pit_channel, status_latched),
    STATE(struct pit_channel, read_high),
    STATE(struct pit_channel, write_high),
    STATE(struct pit_channel, write_low),
    STATE_MAX(struct pit_channel, rw, 3),
    STATE_MAX(struct pit_channel, mode, 5),
    STATE(struct pit_channel, bcd),
    STATE(struct pit_channel, gate),
    STATE(struct pit_channel, loaded),
    STATE(struct pit_channel, fired),
    STATE_PAD(struct pit_channel, pad),
    {0},
};

static const struct state_field i8254_fields[] = {
    STATE(struct i8254_state, next_ns),
    STATE_STRUCT_ARRAY(struct i8254_state, channel, channel_fields),
    STATE(struct i8254_state, port61),
    STATE(struct i8254_state, irq_enabled),
    STATE_PAD(struct i8254_state, pad),
    {0},
};

static const struct state_desc i8254_desc = {
    .name = "isa-pit",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct i8254_state),
    .fields = i8254_fields,
};

struct i8254 {
    struct device dev;
    struct irq_line irq0;
    struct i8254_state s;
    struct region ports, port61;
    struct vtimer timer;
};

/* ---- counting */

static int64_t pit_now(struct i8254 *d)
{
    return vclock_now(d->dev.env->clock);
}

static uint64_t ticks_since(const struct pit_channel *c, int64_t now_ns)
{
    return now_ns <= c->load_ns
               ? 0
               : muldiv64((uint64_t)(now_ns - c->load_ns), PIT_HZ, (uint64_t)NS_PER_SEC);
}

/* The first nanosecond at which ticks_since() gives `ticks`. */
static int64_t ticks_end_ns(const struct pit_channel *c, uint64_t ticks)
{
    return c->load_ns + (int64_t)(((unsigned __int128)ticks * NS_PER_SEC + PIT_HZ - 1) / PIT_HZ);
}

static bool channel_counts(const struct pit_channel *c)
{
    /* In modes 1 and 5 a rising gate starts the count, in the others a low one stops it. */
    return c->loaded && (c->mode == 1 || c->mode == 5 || c->gate);
}

static bool channel_out(const struct pit_channel *c, int64_t now_ns)
{
    uint64_t ticks = ticks_since(c, now_ns);

    if (!channel_counts(c)) {
        return c->mode != 0;
    }
    switch (c->mode) {
    case 0:
        return ticks >= c->count;
    case 1:
        return c->load_ns < 0 || ticks >= c->count;
    case 2:
        return ticks % c->count != c->count - 1;
    case 3:
        return ticks % c->count < (c->count + 1) / 2;
    default: /* 4, 5: low for one clock at the end */
        return ticks != c->count;
    }
}

static uint32_t channel_count(const struct pit_channel *c, int64_t now_ns)
{
    uint64_t ticks = channel_counts(c) ? ticks_since(c, now_ns) : 0;
    uint32_t wrap = c->bcd ? 10000 : 65536;

    switch (c->mode) {
    case 2:
        return c->count - (uint32_t)(ticks % c->count);
    case 3: /* counts down by two, twice a period */
        return (c->count - (uint32_t)(2 * ticks % c->count)) & ~1u;
    default:
        return (uint32_t)((c->count + wrap - ticks % wrap) % wrap);
    }
}

static uint16_t count_encode(const struct pit_channel *c, uint32_t count)
{
    uint16_t value = 0;

    if (!c->bcd) {
        return (uint16_t)count;
    }
    for (unsigned i = 0; i < 4; i++, count /= 10) {
        value |= (uint16_t)(count % 10 << (4 * i));
    }
    return value;
}

static uint32_t count_decode(const struct pit_channel *c, uint16_t value)
{
    uint32_t count = value;

    if (c->bcd) {
        count = 0;
        for (int shift = 12; shift >= 0; shift -= 4) {
            count = count * 10 + (value >> shift & 15);
        }
        count %= 10000;
        return count ? count : 10000;
    }
    return count ? count : 65536;
}

/* ---- channel 0's interrupt */

static bool channel_periodic(const struct pit_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* When channel 0's output rises next after now; -1 never. */
static int64_t next_rise_ns(const struct pit_channel *c, int64_t now_ns)
{
    uint64_t period, ticks;

    if (!channel_counts(c) || c->load_ns < 0) {
        return -1;
    }
    if (!channel_periodic(c)) {
        return c->fired ? -1 : ticks_end_ns(c, c->count);
    }
    period = c->count;
    ticks = ticks_since(c, now_ns + MIN_INTERVAL_NS - 1);
    if (period * NS_PER_SEC / PIT_HZ >= MIN_INTERVAL_NS) {
        ticks = ticks_since(c, now_ns);
    }
    return ticks_end_ns(c, (ticks / period + 1) * period);
}

static void i8254_rearm(struct i8254 *d)
{
    d->s.next_ns = next_rise_ns(&d->s.channel[0], pit_now(d));
    if (d->s.next_ns >= 0) {
        vtimer_set(&d->timer, d->s.next_ns);
    } else {
        vtimer_cancel(&d->timer);
    }
}

static void i8254_expired(void *opaque)
{
    struct i8254 *d = opaque;
    struct pit_channel *c = &d->s.channel[0];

    if (d->s.next_ns < 0 || pit_now(d) < d->s.next_ns) {
        return;
    }
    if (!channel_periodic(c)) {
        c->fired = true;
    }
    if (d->s.irq_enabled) {
        irq_set(&d->irq0, false);
        irq_set(&d->irq0, true);
    }
    i8254_rearm(d);
}

void i8254_enable_irq(struct device *pit, bool on)
{
    struct i8254 *d = (struct i8254 *)pit;

    d->s.irq_enabled = on;
    if (!on) {
        irq_set(&d->irq0, false);
    }
}

/* The line after mode or count changed: low while a one-shot counts, high in the periodic modes. */
static void i8254_update_line(struct i8254 *d)
{
    if (d->s.irq_enabled) {
        irq_set(&d->irq0, channel_out(&d->s.channel[0], pit_now(d)));
    }
}

/* ---- registers */

static void channel_load(struct i8254 *d, unsigned n, uint16_t value)
{
    struct pit_channel *c = &d->s.channel[n];

    c->count = count_decode(c, value);
    c->loaded = true;
    if (c->mode == 1 || c->mode == 5) {
        c->load_ns = -1; /* the gate must rise first */
        c->fired = true;
    } else {
        c->load_ns = pit_now(d);
        c->fired = false;
    }
    if (n == 0) {
        i8254_update_line(d);
        i8254_rearm(d);
    }
}

static void channel_latch_count(struct pit_channel *c, int64_t now_ns)
{
    if (c->latch_left == 0) {
        c->latched = count_encode(c, channel_count(c, now_ns));
        c->latch_left = c->rw == RW_BOTH ? 2 : 1;
    }
}

static void channel_latch_status(struct pit_channel *c, int64_t now_ns)
{
    if (!c->status_latched) {
        c->status_latched = true;
        c->latched_status = (uint8_t)(channel_out(c, now_ns) << 7 | !c->loaded << 6 | c->rw << 4 |
                                      c->mode << 1 | c->bcd);
    }
}

static void channel_set_mode(struct i8254 *d, unsigned n, uint8_t control)
{
    struct pit_channel *c = &d->s.channel[n];
    uint8_t mode = control >> 1 & 7;

    c->rw = control >> 4 & 3;
    c->mode = mode > 5 ? mode & 3 : mode;
    c->bcd = control & 1;
    c->read_high = false;
    c->write_high = false;
    c->latch_left = 0;
    c->status_latched = false;
    c->loaded = false;
    c->fired = false;
    if (n == 0) {
        i8254_update_line(d);
        i8254_rearm(d);
    }
}

static void i8254_write_control(struct i8254 *d, uint8_t value)
{
    unsigned n = value >> 6;
    int64_t now_ns = pit_now(d);

    if (n == 3) { /* read-back: active-low bits say what to latch */
        for (unsigned i = 0; i < 3; i++) {
            if (!(value & (2u << i))) {
                continue;
            }
            if (!(value & 0x20)) {
                channel_latch_count(&d->s.channel[i], now_ns);
            }
            if (!(value & 0x10)) {
                channel_latch_status(&d->s.channel[i], now_ns);
            }
        }
    } else if ((value >> 4 & 3) == RW_LATCH) {
        channel_latch_count(&d->s.channel[n], now_ns);
    } else {
        channel_set_mode(d, n, value);
    }
}

static void i8254_write(void *opaque, gpa_t offset, uint64_t value64, unsigned size)
{
    struct i8254 *d = opaque;
    struct pit_channel *c = &d->s.channel[offset % 3];
    uint8_t value = (uint8_t)value64;

    if (offset == PIT_CONTROL) {
        i8254_write_control(d, value);
        return;
    }
    switch (c->rw) {
    case RW_LOW:
        channel_load(d, (unsigned)offset, value);
        break;
    case RW_HIGH:
        channel_load(d, (unsigned)offset, (uint16_t)(value << 8));
        break;
    default:
        if (!c->write_high) {
            c->write_low = value;
        } else {
            channel_load(d, (unsigned)offset, (uint16_t)(value << 8 | c->write_low));
        }
        c->write_high = !c->write_high;
        break;
    }
}

static uint8_t channel_read(struct pit_channel *c, int64_t now_ns)
{
    uint16_t count;

    if (c->status_latched) {
        c->status_latched = false;
        return c->latched_status;
    }
    if (c->latch_left) {
        bool high = c->rw == RW_HIGH || (c->rw == RW_BOTH && c->latch_left == 1);

        c->latch_left--;
        return (uint8_t)(high ? c->latched >> 8 : c->latched);
    }
    count = count_encode(c, channel_count(c, now_ns));
    if (c->rw == RW_BOTH) {
        c->read_high = !c->read_high;
        return (uint8_t)(c->read_high ? count : count >> 8);
    }
    return (uint8_t)(c->rw == RW_HIGH ? count >> 8 : count);
}

static uint64_t i8254_read(void *opaque, gpa_t offset, unsigned size)
{
    struct i8254 *d = opaque;

    if (offset == PIT_CONTROL) {
        return 0; /* write-only */
    }
    return channel_read(&d->s.channel[offset % 3], pit_now(d));
}

static void port61_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct i8254 *d = opaque;
    struct pit_channel *c = &d->s.channel[2];
    bool gate = value & PORT61_GATE;

    d->s.port61 = value & (PORT61_GATE | PORT61_SPEAKER);
    if (gate && !c->gate && c->mode != 0 && c->mode != 4) {
        c->load_ns = pit_now(d); /* a rising gate starts the count anew */
    }
    c->gate = gate;
}

static uint64_t port61_read(void *opaque, gpa_t offset, unsigned size)
{
    struct i8254 *d = opaque;
    int64_t now_ns = pit_now(d);
    uint8_t value = d->s.port61;

    if (now_ns / REFRESH_NS & 1) {
        value |= PORT61_REFRESH;
    }
    if (channel_out(&d->s.channel[2], now_ns)) {
        value |= PORT61_OUT;
    }
    return value;
}

static const struct region_ops i8254_ops = {
    .read = i8254_read, .write = i8254_write, .min_size = 1, .max_size = 1};
static const struct region_ops port61_ops = {
    .read = port61_read, .write = port61_write, .min_size = 1, .max_size = 1};

/* ---- class */

static bool i8254_realize(struct device *dev, GError **error)
{
    struct i8254 *d = (struct i8254 *)dev;

    vtimer_init(&d->timer, dev->env->clock, i8254_expired, d);
    d->ports = (struct region){
        .name = "pit", .kind = REGION_IO, .size = 4, .ops = &i8254_ops, .opaque = d};
    d->port61 = (struct region){
        .name = "port61", .kind = REGION_IO, .size = 1, .ops = &port61_ops, .opaque = d};
    address_space_map(dev->env->io, 0x40, &d->ports, 0);
    address_space_map(dev->env->io, 0x61, &d->port61, 0);
    return true;
}

static void i8254_unrealize(struct device *dev)
{
    struct i8254 *d = (struct i8254 *)dev;

    vtimer_cancel(&d->timer);
    address_space_unmap(dev->env->io, &d->ports);
    address_space_unmap(dev->env->io, &d->port61);
}

static void i8254_reset(struct device *dev, enum reset_kind kind)
{
    struct i8254 *d = (struct i8254 *)dev;

    memset(&d->s, 0, sizeof(d->s));
    d->s.irq_enabled = true;
    for (unsigned i = 0; i < 3; i++) {
        struct pit_channel *c = &d->s.channel[i];

        c->mode = 3;
        c->rw = RW_BOTH;
        c->gate = i != 2;
        c->count = 65536;
    }
    i8254_update_line(d);
    i8254_rearm(d);
}

static bool i8254_post_load(struct device *dev, GError **error)
{
    struct i8254 *d = (struct i8254 *)dev;

    for (unsigned i = 0; i < 3; i++) {
        if (d->s.channel[i].count == 0) {
            g_set_error(error, DEVICE_ERROR, 0, "isa-pit: channel %u: count 0 is impossible", i);
            return false;
        }
    }
    if (d->s.next_ns >= 0) { /* one that was due when it was saved still comes */
        vtimer_set(&d->timer, d->s.next_ns);
    } else {
        vtimer_cancel(&d->timer);
    }
    return true;
}

const struct device_class i8254_class = {
    .name = "isa-pit",
    .help = "8254 interval timer",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct i8254),
    .state = &i8254_desc,
    .state_offset = offsetof(struct i8254, s),
    .realize = i8254_realize,
    .unrealize = i8254_unrealize,
    .reset = i8254_reset,
    .post_load = i8254_post_load,
};

struct device *i8254_create(struct device_env *env, const struct irq_line *irq0, GError **error)
{
    struct device *dev = device_new(&i8254_class, env);

    ((struct i8254 *)dev)->irq0 = *irq0;
    return device_realize(dev, error) ? dev : NULL;
}
