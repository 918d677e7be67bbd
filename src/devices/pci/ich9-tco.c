/*
 * The TCO watchdog of the ICH9 (Intel I/O Controller Hub 9 data sheet, section 13.9; Linux's
 * drivers/watchdog/iTCO_wdt.c): a 10-bit counter of 0.6 seconds each, in guest time.
 *
 * At the first timeout it sets TIMEOUT and starts anew; at the second without a reload between it
 * sets SECOND_TO_STS, and acts unless NO_REBOOT (a strap, and a bit in the chipset's configuration
 * block) says otherwise. SECOND_TO_STS and BOOT_STS are kept across reset: they tell the next
 * system why it was started.
 *
 * What a guest would notice: after reset the counter stands until the guest reloads or starts it,
 * as if firmware had halted it; there is no SMI at the first timeout, and no interrupt from
 * SW_IRQ_GEN.
 */
#include "devices/pci/ich9-tco.h"

#include <string.h>

#define TCO_RLD        0x00
#define TCO_DAT_IN     0x02
#define TCO_DAT_OUT    0x03
#define TCO1_STS       0x04
#define TCO2_STS       0x06
#define TCO1_CNT       0x08
#define TCO2_CNT       0x0a
#define TCO_MESSAGE1   0x0c
#define TCO_MESSAGE2   0x0d
#define TCO_WDCNT      0x0e
#define SW_IRQ_GEN     0x10
#define TCO_TMR        0x12

#define COUNT_MASK     0x03ff
#define COUNT_MIN      2 /* less is ignored */
#define COUNT_DEFAULT  4

#define STS1_TIMEOUT   0x0008
#define STS1_CLEARABLE 0x3ff8
#define STS2_SECOND_TO 0x0002
#define STS2_BOOT      0x0004
#define STS2_CLEARABLE 0x001f
#define CNT1_HALT      0x0800
#define CNT1_LOCK      0x1000 /* sticks until reset */
#define CNT1_WRITABLE  0x1b00
#define CNT2_WRITABLE  0x003e
#define CNT2_DEFAULT   0x0008 /* SMBALERT# is no alert */
#define SW_IRQ_DEFAULT 0x03

#define TICK_NS        (600 * NS_PER_MS)

const struct state_field tco_state_fields[] = {
    STATE(struct tco_state, deadline_ns),
    STATE_MAX(struct tco_state, left, COUNT_MASK),
    STATE_MAX(struct tco_state, reload, COUNT_MASK),
    STATE(struct tco_state, sts1),
    STATE(struct tco_state, sts2),
    STATE(struct tco_state, cnt1),
    STATE(struct tco_state, cnt2),
    STATE(struct tco_state, data_in),
    STATE(struct tco_state, data_out),
    STATE_ARRAY(struct tco_state, message),
    STATE(struct tco_state, wdcnt),
    STATE(struct tco_state, sw_irq),
    STATE(struct tco_state, first_over),
    STATE_PAD(struct tco_state, pad),
    {0},
};

/* ---- counting */

static uint16_t count_now(const struct tco *tco)
{
    int64_t left_ns = tco->s->deadline_ns - vclock_now(tco->env->clock);

    if (tco->s->deadline_ns < 0) {
        return tco->s->left;
    }
    return (uint16_t)CLAMP((left_ns + TICK_NS - 1) / TICK_NS, 0, COUNT_MASK);
}

static void count_stop(struct tco *tco)
{
    tco->s->left = count_now(tco);
    tco->s->deadline_ns = -1;
    vtimer_cancel(&tco->timer);
}

/* From the start, unless halted. */
static void count_start(struct tco *tco)
{
    tco->s->left = tco->s->reload;
    if (tco->s->cnt1 & CNT1_HALT || tco->s->reload < COUNT_MIN) {
        count_stop(tco);
        return;
    }
    tco->s->deadline_ns = vclock_now(tco->env->clock) + tco->s->reload * TICK_NS;
    vtimer_set(&tco->timer, tco->s->deadline_ns);
}

static void timer_expired(void *opaque)
{
    struct tco *tco = opaque;

    if (tco->s->deadline_ns < 0 || tco->s->deadline_ns > vclock_now(tco->env->clock)) {
        return;
    }
    tco->s->sts1 |= STS1_TIMEOUT;
    if (!tco->s->first_over) {
        tco->s->first_over = true;
        count_start(tco);
        return;
    }
    tco->s->first_over = false;
    tco->s->sts2 |= STS2_SECOND_TO | STS2_BOOT;
    if (tco->may_act(tco->opaque)) {
        count_stop(tco);
        system_note_watchdog(tco->env, "iTCO");
    } else {
        count_start(tco);
    }
}

/* ---- registers */

static void reload(struct tco *tco)
{
    tco->s->first_over = false;
    count_start(tco);
}

static void write_cnt1(struct tco *tco, uint16_t value)
{
    bool was_halted = tco->s->cnt1 & CNT1_HALT || tco->s->deadline_ns < 0;

    tco->s->cnt1 = (value & CNT1_WRITABLE) | (tco->s->cnt1 & CNT1_LOCK);
    if (value & CNT1_HALT) {
        count_stop(tco);
    } else if (was_halted) {
        count_start(tco);
    }
}

/* The registers are 16 bits wide, or two of 8 bits side by side. mask: which bits are written. */
static void write16(struct tco *tco, unsigned offset, uint16_t value, uint16_t mask)
{
    struct tco_state *s = tco->s;

    switch (offset) {
    case TCO_RLD:
        reload(tco);
        break;
    case TCO_DAT_IN:
        s->data_in = mask & 0xff ? (uint8_t)value : s->data_in;
        s->data_out = mask & 0xff00 ? (uint8_t)(value >> 8) : s->data_out;
        break;
    case TCO1_STS:
        s->sts1 &= (uint16_t) ~(value & STS1_CLEARABLE);
        break;
    case TCO2_STS:
        s->sts2 &= (uint16_t) ~(value & STS2_CLEARABLE);
        break;
    case TCO1_CNT:
        write_cnt1(tco, (uint16_t)((s->cnt1 & ~mask) | value));
        break;
    case TCO2_CNT:
        s->cnt2 = ((s->cnt2 & ~mask) | value) & CNT2_WRITABLE;
        break;
    case TCO_MESSAGE1:
        s->message[0] = mask & 0xff ? (uint8_t)value : s->message[0];
        s->message[1] = mask & 0xff00 ? (uint8_t)(value >> 8) : s->message[1];
        break;
    case TCO_WDCNT:
        s->wdcnt = mask & 0xff ? (uint8_t)value : s->wdcnt;
        break;
    case SW_IRQ_GEN:
        s->sw_irq = mask & 0xff ? value & 3 : s->sw_irq;
        break;
    case TCO_TMR:
        s->reload = ((s->reload & ~mask) | value) & COUNT_MASK;
        break;
    default:
        break;
    }
}

static uint16_t read16(const struct tco *tco, unsigned offset)
{
    const struct tco_state *s = tco->s;

    switch (offset) {
    case TCO_RLD:
        return count_now(tco);
    case TCO_DAT_IN:
        return (uint16_t)(s->data_in | s->data_out << 8);
    case TCO1_STS:
        return s->sts1;
    case TCO2_STS:
        return s->sts2;
    case TCO1_CNT:
        return s->cnt1;
    case TCO2_CNT:
        return s->cnt2;
    case TCO_MESSAGE1:
        return (uint16_t)(s->message[0] | s->message[1] << 8);
    case TCO_WDCNT:
        return s->wdcnt;
    case SW_IRQ_GEN:
        return s->sw_irq;
    case TCO_TMR:
        return s->reload;
    default:
        return 0;
    }
}

static uint64_t tco_read(void *opaque, gpa_t offset, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)offset + i;

        value |= (uint64_t)(read16(opaque, at & ~1u) >> (8 * (at & 1)) & 0xff) << (8 * i);
    }
    return value;
}

static void tco_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    unsigned at = (unsigned)offset, i = 0;

    while (i < size) {
        if (!((at + i) & 1) && size - i >= 2) {
            write16(opaque, at + i, (uint16_t)(value >> (8 * i)), 0xffff);
            i += 2;
        } else {
            unsigned shift = 8 * ((at + i) & 1);

            write16(opaque, (at + i) & ~1u, (uint16_t)((value >> (8 * i) & 0xff) << shift),
                    (uint16_t)(0xff << shift));
            i++;
        }
    }
}

static const struct region_ops tco_ops = {
    .read = tco_read,
    .write = tco_write,
    .min_size = 1,
    .max_size = 4,
};

/* ---- for the bridge */

void tco_init(struct tco *tco, struct tco_state *state, struct device_env *env,
              bool (*may_act)(void *), void *opaque)
{
    *tco = (struct tco){.s = state, .env = env, .may_act = may_act, .opaque = opaque};
    vtimer_init(&tco->timer, env->clock, timer_expired, tco);
    tco->region = (struct region){
        .name = "tco", .kind = REGION_IO, .size = TCO_PORTS, .ops = &tco_ops, .opaque = tco};
}

void tco_finish(struct tco *tco)
{
    vtimer_cancel(&tco->timer);
}

void tco_reset(struct tco *tco, enum reset_kind kind)
{
    uint16_t kept = kind == RESET_COLD ? 0 : tco->s->sts2 & (STS2_SECOND_TO | STS2_BOOT);

    vtimer_cancel(&tco->timer);
    memset(tco->s, 0, sizeof(*tco->s));
    tco->s->deadline_ns = -1;
    tco->s->sts2 = kept;
    tco->s->cnt2 = CNT2_DEFAULT;
    tco->s->reload = COUNT_DEFAULT;
    tco->s->sw_irq = SW_IRQ_DEFAULT;
}

bool tco_post_load(struct tco *tco, GError **error)
{
    if (tco->s->deadline_ns >= 0) {
        vtimer_set(&tco->timer, tco->s->deadline_ns);
    } else {
        vtimer_cancel(&tco->timer);
    }
    return true;
}
