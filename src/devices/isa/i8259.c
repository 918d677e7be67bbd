/*
 * i8259: the PC's pair of 8259A interrupt controllers (Intel 8259A data sheet), with the edge/level
 * control registers of the PIIX and ICH (ports 0x4d0 and 0x4d1).
 *
 * Covered: ICW1 to ICW4, masking, specific and non-specific EOI, rotation, special mask mode,
 * special fully nested mode, automatic EOI, polling, reading IRR and ISR, edge and level inputs.
 * Left out: MCS-80 mode (its vectors mean nothing to an x86 CPU), buffered mode (no effect here).
 */
#include "devices/isa/i8259.h"
#include <string.h>

#define ICW1_IC4  0x01
#define ICW1_SNGL 0x02
#define ICW1_LTIM 0x08
#define ICW1_INIT 0x10
#define ICW4_AEOI 0x02
#define ICW4_SFNM 0x10
#define OCW3      0x08
#define OCW3_RIS  0x01
#define OCW3_RR   0x02
#define OCW3_P    0x04
#define OCW3_SMM  0x20
#define OCW3_ESMM 0x40

#define CASCADE   2 /* master's input that the slave drives */

struct pic_state {
    uint8_t irr, imr, isr, lines; /* one bit an input; lines: the levels now */
    uint8_t elcr;
    uint8_t lowest; /* (lowest priority input + 1) % 8: where the search for the highest starts */
    uint8_t vector_base;
    uint8_t init_step; /* 0 operating; 1, 2, 3: waiting for ICW2, ICW3, ICW4 */
    bool read_isr, poll, special_mask, auto_eoi, rotate_on_auto_eoi, special_nested;
    bool need_icw4, single, level_mode;
    uint8_t pad[3];
};

struct i8259_state {
    struct pic_state chip[2]; /* master, slave */
};

static const struct state_field pic_fields[] = {
    STATE(struct pic_state, irr),
    STATE(struct pic_state, imr),
    STATE(struct pic_state, isr),
    STATE(struct pic_state, lines),
    STATE(struct pic_state, elcr),
    STATE_MAX(struct pic_state, lowest, 7),
    STATE(struct pic_state, vector_base),
    STATE_MAX(struct pic_state, init_step, 3),
    STATE(struct pic_state, read_isr),
    STATE(struct pic_state, poll),
    STATE(struct pic_state, special_mask),
    STATE(struct pic_state, auto_eoi),
    STATE(struct pic_state, rotate_on_auto_eoi),
    STATE(struct pic_state, special_nested),
    STATE(struct pic_state, need_icw4),
    STATE(struct pic_state, single),
    STATE(struct pic_state, level_mode),
    STATE_PAD(struct pic_state, pad),
    {0},
};

static const struct state_field i8259_fields[] = {
    STATE_STRUCT_ARRAY(struct i8259_state, chip, pic_fields),
    {0},
};

static const struct state_desc i8259_desc = {
    .name = "i8259",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct i8259_state),
    .fields = i8259_fields,
};

struct i8259 {
    struct device dev;
    struct irq_line intr;
    struct i8259_state s;
    struct region ports[2], elcr;
};

/* Inputs that can be level-triggered: not timer, keyboard, cascade, RTC and FPU error. */
static const uint8_t elcr_mask[2] = {0xf8, 0xde};

/* ---- priority */

/* Highest priority input in mask, or -1. */
static int pic_highest(const struct pic_state *p, uint8_t mask)
{
    for (int i = 0; i < 8; i++) {
        int n = (p->lowest + i) & 7;

        if (mask & (1u << n)) {
            return n;
        }
    }
    return -1;
}

static unsigned pic_rank(const struct pic_state *p, int n)
{
    return (unsigned)(n - p->lowest) & 7;
}

/* The input that asks for service now, or -1. */
static int pic_pending(const struct pic_state *p, bool is_master)
{
    int request = pic_highest(p, p->irr & (uint8_t)~p->imr), serving;
    uint8_t in_service = p->isr;

    if (request < 0) {
        return -1;
    }
    if (p->special_mask) {
        in_service &= (uint8_t)~p->imr;
    }
    if (p->special_nested && is_master) {
        in_service &= (uint8_t) ~(1u << CASCADE); /* the slave may interrupt itself */
    }
    serving = pic_highest(p, in_service);
    if (serving >= 0 && pic_rank(p, serving) <= pic_rank(p, request)) {
        return -1;
    }
    return request;
}

static bool pic_is_level(const struct pic_state *p, unsigned n)
{
    return p->level_mode || (p->elcr & (1u << n));
}

static void pic_set_input(struct pic_state *p, unsigned n, bool level)
{
    uint8_t bit = (uint8_t)(1u << n);

    if (pic_is_level(p, n)) {
        p->irr = level ? p->irr | bit : p->irr & (uint8_t)~bit;
    } else if (level && !(p->lines & bit)) {
        p->irr |= bit;
    }
    p->lines = level ? p->lines | bit : p->lines & (uint8_t)~bit;
}

/* The slave's output follows its requests, so the master's cascade input is in effect a level. */
static void i8259_update(struct i8259 *d)
{
    struct pic_state *master = &d->s.chip[0];

    if (pic_pending(&d->s.chip[1], false) >= 0) {
        master->irr |= 1u << CASCADE;
    } else {
        master->irr &= (uint8_t) ~(1u << CASCADE);
    }
    irq_set(&d->intr, pic_pending(&d->s.chip[0], true) >= 0);
}

void i8259_set_irq(void *pic, int n, bool level)
{
    struct i8259 *d = pic;

    if (n == CASCADE || n < 0 || n > 15) {
        return;
    }
    pic_set_input(&d->s.chip[n >> 3], (unsigned)n & 7, level);
    i8259_update(d);
}

/* ---- service */

static void pic_accept(struct pic_state *p, unsigned n)
{
    uint8_t bit = (uint8_t)(1u << n);

    if (p->auto_eoi) {
        if (p->rotate_on_auto_eoi) {
            p->lowest = (n + 1) & 7;
        }
    } else {
        p->isr |= bit;
    }
    if (!pic_is_level(p, n)) {
        p->irr &= (uint8_t)~bit;
    }
}

int i8259_ack(struct device *pic)
{
    struct i8259 *d = (struct i8259 *)pic;
    struct pic_state *master = &d->s.chip[0], *slave = &d->s.chip[1];
    int n = pic_pending(master, true), vector;

    if (n < 0) {
        return master->vector_base | 7; /* spurious; no bit in ISR */
    }
    if (n == CASCADE) {
        int m = pic_pending(slave, false);

        vector = slave->vector_base | (m < 0 ? 7 : m);
        if (m >= 0) {
            pic_accept(slave, (unsigned)m);
        }
        pic_accept(master, CASCADE);
    } else {
        vector = master->vector_base | n;
        pic_accept(master, (unsigned)n);
    }
    i8259_update(d);
    return vector;
}

/* ---- registers */

static void pic_init(struct pic_state *p, uint8_t icw1)
{
    uint8_t elcr = p->elcr, lines = p->lines;

    memset(p, 0, sizeof(*p));
    p->elcr = elcr;
    p->lines = lines;
    p->init_step = 1;
    p->need_icw4 = icw1 & ICW1_IC4;
    p->single = icw1 & ICW1_SNGL;
    p->level_mode = icw1 & ICW1_LTIM;
    for (unsigned n = 0; n < 8; n++) {
        if (pic_is_level(p, n)) {
            p->irr |= lines & (uint8_t)(1u << n);
        }
    }
}

static void pic_write_ocw2(struct pic_state *p, uint8_t value)
{
    unsigned n = value & 7;
    int serving = pic_highest(p, p->special_mask ? p->isr & (uint8_t)~p->imr : p->isr);

    switch (value >> 5) {
    case 0: /* rotate in automatic EOI mode: clear, set */
    case 4:
        p->rotate_on_auto_eoi = value >> 7;
        break;
    case 1: /* non-specific EOI, and with rotation */
    case 5:
        if (serving >= 0) {
            p->isr &= (uint8_t) ~(1u << serving);
            if (value & 0x80) {
                p->lowest = (uint8_t)(serving + 1) & 7;
            }
        }
        break;
    case 3: /* specific EOI, and with rotation */
    case 7:
        p->isr &= (uint8_t) ~(1u << n);
        if (value & 0x80) {
            p->lowest = (n + 1) & 7;
        }
        break;
    case 6: /* set priority */
        p->lowest = (n + 1) & 7;
        break;
    default: /* no operation */
        break;
    }
}

static void pic_write_command(struct pic_state *p, uint8_t value)
{
    if (value & ICW1_INIT) {
        pic_init(p, value);
    } else if (value & OCW3) {
        if (value & OCW3_P) {
            p->poll = true;
        }
        if (value & OCW3_RR) {
            p->read_isr = value & OCW3_RIS;
        }
        if (value & OCW3_ESMM) {
            p->special_mask = value & OCW3_SMM;
        }
    } else {
        pic_write_ocw2(p, value);
    }
}

static void pic_write_data(struct pic_state *p, uint8_t value)
{
    switch (p->init_step) {
    case 0: /* OCW1 */
        p->imr = value;
        break;
    case 1: /* ICW2 */
        p->vector_base = value & 0xf8;
        p->init_step = p->single ? (p->need_icw4 ? 3 : 0) : 2;
        break;
    case 2: /* ICW3: the wiring is known */
        p->init_step = p->need_icw4 ? 3 : 0;
        break;
    default: /* ICW4 */
        p->auto_eoi = value & ICW4_AEOI;
        p->special_nested = value & ICW4_SFNM;
        p->init_step = 0;
        break;
    }
}

static void i8259_write(void *opaque, gpa_t offset, uint64_t value, unsigned size, unsigned chip)
{
    struct i8259 *d = opaque;

    if (offset == 0) {
        pic_write_command(&d->s.chip[chip], (uint8_t)value);
    } else {
        pic_write_data(&d->s.chip[chip], (uint8_t)value);
    }
    i8259_update(d);
}

static uint8_t i8259_poll(struct i8259 *d, unsigned chip)
{
    struct pic_state *p = &d->s.chip[chip];
    int n = pic_pending(p, chip == 0);

    p->poll = false;
    if (n < 0) {
        return 0;
    }
    pic_accept(p, (unsigned)n);
    i8259_update(d);
    return (uint8_t)(0x80 | n);
}

static uint64_t i8259_read(void *opaque, gpa_t offset, unsigned size, unsigned chip)
{
    struct i8259 *d = opaque;
    const struct pic_state *p = &d->s.chip[chip];

    if (p->poll) {
        return i8259_poll(d, chip);
    }
    if (offset == 1) {
        return p->imr;
    }
    return p->read_isr ? p->isr : p->irr;
}

static void master_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    i8259_write(opaque, offset, value, size, 0);
}

static void slave_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    i8259_write(opaque, offset, value, size, 1);
}

static uint64_t master_read(void *opaque, gpa_t offset, unsigned size)
{
    return i8259_read(opaque, offset, size, 0);
}

static uint64_t slave_read(void *opaque, gpa_t offset, unsigned size)
{
    return i8259_read(opaque, offset, size, 1);
}

static uint64_t elcr_read(void *opaque, gpa_t offset, unsigned size)
{
    struct i8259 *d = opaque;

    return d->s.chip[offset & 1].elcr;
}

static void elcr_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct i8259 *d = opaque;
    struct pic_state *p = &d->s.chip[offset & 1];

    p->elcr = (uint8_t)value & elcr_mask[offset & 1];
    p->irr = (uint8_t)((p->irr & ~p->elcr) | (p->lines & p->elcr));
    i8259_update(d);
}

static const struct region_ops chip_ops[2] = {
    {.read = master_read, .write = master_write, .min_size = 1, .max_size = 1},
    {.read = slave_read, .write = slave_write, .min_size = 1, .max_size = 1},
};
static const struct region_ops elcr_ops = {
    .read = elcr_read, .write = elcr_write, .min_size = 1, .max_size = 1};

/* ---- class */

static bool i8259_realize(struct device *dev, GError **error)
{
    struct i8259 *d = (struct i8259 *)dev;
    static const uint16_t base[2] = {0x20, 0xa0};

    for (unsigned i = 0; i < 2; i++) {
        d->ports[i] = (struct region){
            .name = "i8259", .kind = REGION_IO, .size = 2, .ops = &chip_ops[i], .opaque = d};
        address_space_map(dev->env->io, base[i], &d->ports[i], 0);
    }
    d->elcr = (struct region){
        .name = "elcr", .kind = REGION_IO, .size = 2, .ops = &elcr_ops, .opaque = d};
    address_space_map(dev->env->io, 0x4d0, &d->elcr, 0);
    return true;
}

static void i8259_unrealize(struct device *dev)
{
    struct i8259 *d = (struct i8259 *)dev;

    address_space_unmap(dev->env->io, &d->ports[0]);
    address_space_unmap(dev->env->io, &d->ports[1]);
    address_space_unmap(dev->env->io, &d->elcr);
}

static void i8259_reset(struct device *dev, enum reset_kind kind)
{
    struct i8259 *d = (struct i8259 *)dev;

    for (unsigned i = 0; i < 2; i++) {
        uint8_t lines = d->s.chip[i].lines; /* not ours: who drives them resets them */

        memset(&d->s.chip[i], 0, sizeof(d->s.chip[i]));
        d->s.chip[i].lines = lines;
    }
    i8259_update(d);
}

static bool i8259_post_load(struct device *dev, GError **error)
{
    i8259_update((struct i8259 *)dev);
    return true;
}

const struct device_class i8259_class = {
    .name = "isa-i8259",
    .help = "pair of 8259A interrupt controllers",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct i8259),
    .state = &i8259_desc,
    .state_offset = offsetof(struct i8259, s),
    .realize = i8259_realize,
    .unrealize = i8259_unrealize,
    .reset = i8259_reset,
    .post_load = i8259_post_load,
};

struct device *i8259_create(struct device_env *env, const struct irq_line *intr, GError **error)
{
    struct device *dev = device_new(&i8259_class, env);

    ((struct i8259 *)dev)->intr = *intr;
    return device_realize(dev, error) ? dev : NULL;
}
