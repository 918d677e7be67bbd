/*
 * i6300esb: the watchdog of the Intel 6300ESB I/O controller hub (data sheet, chapter 16; Linux's
 * drivers/watchdog/i6300esb.c).
 *
 * Two stages, each with a preload of 20 bits that counts down in guest time, in units of 2^15 or
 * 2^5 cycles of 30 ns. The first makes an interrupt at best, of which there is none here; the
 * second acts, if the guest has enabled that. Registers behind the BAR take a write only after the
 * unlock sequence 0x80, 0x86 to the reload register.
 *
 * Having acted it is as after power-on, but for the flag that tells the next system why it was
 * started. It is bit 9 of the reload register; it is shown in bit 12 too, where Linux looks.
 */
#include "devices/pci/i6300esb.h"

#include <string.h>

/* configuration space */
#define ESB_CONFIG       0x60 /* 16 bits */
#define CONFIG_FAST      0x04 /* 2^5 cycles, else 2^15 */
#define CONFIG_NO_REBOOT 0x20
#define CONFIG_WRITABLE  0x27
#define ESB_LOCK         0x68 /* 8 bits */
#define LOCK_LOCKED      0x01
#define LOCK_ENABLE      0x02
#define LOCK_FREE_RUN    0x04
#define LOCK_WRITABLE    0x07

/* memory */
#define ESB_TIMER1       0x00
#define ESB_TIMER2       0x04
#define ESB_RELOAD       0x0c
#define RELOAD_RELOAD    0x0100
#define RELOAD_TIMED_OUT 0x1200
#define ESB_BYTES        0x10

#define UNLOCK_FIRST     0x80
#define UNLOCK_SECOND    0x86
#define PRELOAD_MAX      0xfffff
#define CYCLE_NS         30 /* QEMU's; 33 MHz in the data sheet */

enum { UNLOCK_NONE, UNLOCK_HALF, UNLOCK_DONE };

struct i6300esb_state {
    struct pci_state pci;
    int64_t deadline_ns; /* -1: does not count */
    uint32_t preload[2];
    uint8_t stage; /* 0 or 1 */
    uint8_t unlock;
    bool enabled;
    bool timed_out; /* kept across reset */
    uint8_t pad[4];
};

static const struct state_field i6300esb_fields[] = {
    STATE_STRUCT(struct i6300esb_state, pci, pci_state_fields),
    STATE(struct i6300esb_state, deadline_ns),
    STATE_ARRAY(struct i6300esb_state, preload),
    STATE_MAX(struct i6300esb_state, stage, 1),
    STATE_MAX(struct i6300esb_state, unlock, UNLOCK_DONE),
    STATE(struct i6300esb_state, enabled),
    STATE(struct i6300esb_state, timed_out),
    STATE_PAD(struct i6300esb_state, pad),
    {0},
};

static const struct state_desc i6300esb_desc = {
    .name = "i6300esb",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct i6300esb_state),
    .fields = i6300esb_fields,
};

struct i6300esb {
    struct pci_device pci;
    struct i6300esb_state s;
    struct region region;
    struct vtimer timer;
};

/* ---- counting */

static void timer_arm(struct i6300esb *d, int64_t deadline_ns)
{
    d->s.deadline_ns = deadline_ns;
    if (deadline_ns < 0) {
        vtimer_cancel(&d->timer);
    } else {
        vtimer_set(&d->timer, deadline_ns);
    }
}

static void stage_start(struct i6300esb *d, uint8_t stage)
{
    unsigned shift = d->s.pci.config[ESB_CONFIG] & CONFIG_FAST ? 5 : 15;
    int64_t cycles = (int64_t)MAX(d->s.preload[stage], 1) << shift;

    if (d->s.enabled) {
        d->s.stage = stage;
        timer_arm(d, vclock_now(d->pci.dev.env->clock) + cycles * CYCLE_NS);
    }
}

/* As after power-on, but for the flag. */
static void watchdog_clear(struct i6300esb *d)
{
    timer_arm(d, -1);
    d->s.preload[0] = PRELOAD_MAX;
    d->s.preload[1] = PRELOAD_MAX;
    d->s.stage = 0;
    d->s.unlock = UNLOCK_NONE;
    d->s.enabled = false;
    d->s.pci.config[ESB_CONFIG] = 0;
    d->s.pci.config[ESB_LOCK] = 0;
    d->pci.writable[ESB_LOCK] = LOCK_WRITABLE;
}

static void last_stage_over(struct i6300esb *d)
{
    if (!(d->s.pci.config[ESB_CONFIG] & CONFIG_NO_REBOOT)) {
        d->s.timed_out = true;
        watchdog_clear(d);
        system_note_watchdog(d->pci.dev.env, "i6300esb");
    } else if (d->s.pci.config[ESB_LOCK] & LOCK_FREE_RUN) {
        stage_start(d, 0);
    } else {
        timer_arm(d, -1);
    }
}

static void timer_expired(void *opaque)
{
    struct i6300esb *d = opaque;

    if (d->s.deadline_ns < 0 || d->s.deadline_ns > vclock_now(d->pci.dev.env->clock)) {
        return;
    }
    if (d->s.stage == 0) {
        stage_start(d, 1);
    } else {
        last_stage_over(d);
    }
}

/* ---- registers */

static void config_written(struct pci_device *dev, unsigned offset, unsigned size)
{
    struct i6300esb *d = (struct i6300esb *)dev;
    uint8_t lock = d->s.pci.config[ESB_LOCK];
    bool was_enabled = d->s.enabled;

    d->s.enabled = lock & LOCK_ENABLE;
    if (lock & LOCK_LOCKED) {
        d->pci.writable[ESB_LOCK] = 0; /* until reset */
    }
    if (!d->s.enabled) {
        timer_arm(d, -1);
    } else if (!was_enabled) {
        stage_start(d, 0);
    }
}

/* A value that is part of the unlock sequence. */
static bool unlock_step(struct i6300esb *d, gpa_t offset, uint64_t value)
{
    if (offset == ESB_RELOAD && value == UNLOCK_FIRST) {
        d->s.unlock = UNLOCK_HALF;
        return true;
    }
    if (offset == ESB_RELOAD && value == UNLOCK_SECOND && d->s.unlock == UNLOCK_HALF) {
        d->s.unlock = UNLOCK_DONE;
        return true;
    }
    return false;
}

static void esb_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct i6300esb *d = opaque;

    if (unlock_step(d, offset, value) || d->s.unlock != UNLOCK_DONE || size < 2) {
        return;
    }
    switch (offset) {
    case ESB_TIMER1:
    case ESB_TIMER2:
        if (size == 4) {
            d->s.preload[offset / 4] = value & PRELOAD_MAX;
        }
        break;
    case ESB_RELOAD:
        if (value & RELOAD_RELOAD) {
            stage_start(d, 0);
        }
        if (value & RELOAD_TIMED_OUT) {
            d->s.timed_out = false;
        }
        break;
    default:
        break;
    }
    d->s.unlock = UNLOCK_NONE;
}

static uint64_t esb_read(void *opaque, gpa_t offset, unsigned size)
{
    struct i6300esb *d = opaque;

    switch (offset) {
    case ESB_TIMER1:
    case ESB_TIMER2:
        return d->s.preload[offset / 4];
    case ESB_RELOAD:
        return d->s.timed_out ? RELOAD_TIMED_OUT : 0;
    default:
        return 0;
    }
}

static const struct region_ops esb_ops = {
    .read = esb_read,
    .write = esb_write,
    .min_size = 1,
    .max_size = 4,
};

/* ---- class */

static bool i6300esb_realize(struct device *dev, GError **error)
{
    static const struct pci_ids ids = {.vendor = 0x8086,
                                       .device = 0x25ab,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 0x1100,
                                       .class = 0x0880};
    struct i6300esb *d = (struct i6300esb *)dev;

    vtimer_init(&d->timer, dev->env->clock, timer_expired, d);
    if (!pci_init(&d->pci, &d->s.pci, NULL, &ids, 0, error)) {
        return false;
    }
    d->region = (struct region){
        .name = "i6300esb", .kind = REGION_IO, .size = ESB_BYTES, .ops = &esb_ops, .opaque = d};
    pci_add_bar(&d->pci, 0, 0, &d->region);
    d->pci.writable[ESB_CONFIG] = CONFIG_WRITABLE;
    d->pci.config_written = config_written;
    watchdog_clear(d);
    return true;
}

static void i6300esb_unrealize(struct device *dev)
{
    struct i6300esb *d = (struct i6300esb *)dev;

    vtimer_cancel(&d->timer);
    pci_finish(&d->pci);
}

static void i6300esb_reset(struct device *dev, enum reset_kind kind)
{
    struct i6300esb *d = (struct i6300esb *)dev;

    watchdog_clear(d);
    pci_reset(&d->pci);
}

static bool i6300esb_post_load(struct device *dev, GError **error)
{
    struct i6300esb *d = (struct i6300esb *)dev;

    if (d->s.preload[0] > PRELOAD_MAX || d->s.preload[1] > PRELOAD_MAX) {
        g_set_error(error, DEVICE_ERROR, 0, "i6300esb: preload beyond 20 bits");
        return false;
    }
    d->pci.writable[ESB_LOCK] = d->s.pci.config[ESB_LOCK] & LOCK_LOCKED ? 0 : LOCK_WRITABLE;
    timer_arm(d, d->s.deadline_ns);
    return pci_post_load(&d->pci, error);
}

const struct device_class i6300esb_class = {
    .name = "i6300esb",
    .help = "Intel 6300ESB watchdog (PCI)",
    .bus = BUS_PCI,
    .size = sizeof(struct i6300esb),
    .state = &i6300esb_desc,
    .state_offset = offsetof(struct i6300esb, s),
    .realize = i6300esb_realize,
    .unrealize = i6300esb_unrealize,
    .reset = i6300esb_reset,
    .post_load = i6300esb_post_load,
};
