/*
 * acpi-pm: the ACPI fixed hardware of the ICH9 (ACPI specification 6.4, section 4.8; ICH9 data
 * sheet 13.8.3): PM1a event and control blocks, the 24-bit power management timer, and GPE0.
 *
 * Offsets from the base (0x600): 0 PM1_STS, 2 PM1_EN, 4 PM1_CNT, 8 PM_TMR, 0x20 GPE0_STS (8 bytes),
 * 0x28 GPE0_EN (8 bytes), 0x30 SMI_EN, 0x34 SMI_STS.
 *
 * The machine is in ACPI mode from the start: SCI_EN is always set, there is no SMI_CMD port and no
 * system management interrupt (SMI_EN keeps what is written, nothing comes of it; after a reset its
 * APMC_EN is set, by which firmware knows that management mode is not its to set up). Sleep types:
 * 0 is soft off (S5), 1 suspend to RAM (S3), 2 suspend to disk (S4). The power button and the
 * clock's alarm wake from S3. The TCO watchdog's registers at 0x60 are the LPC bridge's.
 */
#include "devices/acpi-pm.h"
#include <string.h>

#define PM1_STS       0x00
#define PM1_EN        0x02
#define PM1_CNT       0x04
#define PM_TMR        0x08
#define GPE0_STS      0x20
#define GPE0_EN       0x28
#define SMI_EN        0x30
#define SMI_EN_APMC   0x20
#define SMI_STS       0x34
#define PM_SIZE       0x80

#define STS_TMR       0x0001
#define STS_GBL       0x0020
#define STS_PWRBTN    0x0100
#define STS_RTC       0x0400
#define STS_WAK       0x8000
#define STS_ALL       (STS_TMR | STS_GBL | STS_PWRBTN | STS_RTC | STS_WAK)
#define EN_ALL        (STS_TMR | STS_GBL | STS_PWRBTN | STS_RTC)

#define CNT_SCI_EN    0x0001
#define CNT_SLP_TYP   0x1c00
#define CNT_SLP_EN    0x2000
#define CNT_KEPT      (0x0002 | 0x0004 | CNT_SLP_TYP)

#define SLP_TYP_SHIFT 10

#define PM_TIMER_HZ   3579545ull
#define PM_TIMER_BITS 24

struct acpi_pm_state {
    int64_t overflow_ns; /* the timer's top bit changes next; -1: nobody asked for it */
    uint64_t toggles;    /* changes of the top bit that were noted in PM1_STS */
    uint8_t gpe_sts[8], gpe_en[8];
    uint32_t smi_en;
    uint16_t sts, en, cnt;
    uint16_t base;
    bool enabled;
    uint8_t pad[3];
};

static const struct state_field acpi_pm_fields[] = {
    STATE(struct acpi_pm_state, overflow_ns),
    STATE(struct acpi_pm_state, toggles),
    STATE_ARRAY(struct acpi_pm_state, gpe_sts),
    STATE_ARRAY(struct acpi_pm_state, gpe_en),
    STATE(struct acpi_pm_state, smi_en),
    STATE(struct acpi_pm_state, sts),
    STATE(struct acpi_pm_state, en),
    STATE(struct acpi_pm_state, cnt),
    STATE_MAX(struct acpi_pm_state, base, 0xff80),
    STATE(struct acpi_pm_state, enabled),
    STATE_PAD(struct acpi_pm_state, pad),
    {0},
};

static const struct state_desc acpi_pm_desc = {
    .name = "acpi-pm",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct acpi_pm_state),
    .fields = acpi_pm_fields,
};

struct acpi_pm {
    struct device dev;
    struct irq_line sci;
    struct acpi_pm_state s;
    struct region region;
    struct vtimer timer;
};

/* ---- the timer */

static uint64_t pm_ticks(struct acpi_pm *d)
{
    return muldiv64((uint64_t)vclock_now(d->dev.env->clock), PM_TIMER_HZ, (uint64_t)NS_PER_SEC);
}

/* Notes changes of the timer's top bit in PM1_STS, and plans the next when the guest wants an SCI.
 */
static void pm_timer_update(struct acpi_pm *d)
{
    uint64_t toggles = pm_ticks(d) >> (PM_TIMER_BITS - 1);

    if (toggles != d->s.toggles) {
        d->s.toggles = toggles;
        d->s.sts |= STS_TMR;
    }
    d->s.overflow_ns = -1;
    if ((d->s.en & STS_TMR) && !(d->s.sts & STS_TMR)) {
        unsigned __int128 ticks = (unsigned __int128)(toggles + 1) << (PM_TIMER_BITS - 1);

        d->s.overflow_ns = (int64_t)((ticks * NS_PER_SEC + PM_TIMER_HZ - 1) / PM_TIMER_HZ);
        vtimer_set(&d->timer, d->s.overflow_ns);
    } else {
        vtimer_cancel(&d->timer);
    }
}

static void pm_update(struct acpi_pm *d)
{
    bool level;

    pm_timer_update(d);
    level = d->s.sts & d->s.en & EN_ALL;
    for (unsigned i = 0; i < sizeof(d->s.gpe_sts); i++) {
        level |= d->s.gpe_sts[i] & d->s.gpe_en[i];
    }
    irq_set(&d->sci, level);
}

static void pm_timer_expired(void *opaque)
{
    pm_update(opaque);
}

/* ---- events from outside */

void acpi_pm_power_button(struct device *pm)
{
    struct acpi_pm *d = (struct acpi_pm *)pm;

    d->s.sts |= STS_PWRBTN;
    pm_update(d);
    system_request_wakeup(pm->env, "power button");
}

void acpi_pm_rtc_alarm(struct device *pm)
{
    struct acpi_pm *d = (struct acpi_pm *)pm;

    d->s.sts |= STS_RTC;
    pm_update(d);
    if (d->s.en & STS_RTC) {
        system_request_wakeup(pm->env, "RTC alarm");
    }
}

void acpi_pm_sleeping(struct device *pm)
{
    struct acpi_pm *d = (struct acpi_pm *)pm;

    /* A button that was pressed when the guest was awake and did not care for it is forgotten. */
    if (d->s.sts & d->s.en & STS_RTC) {
        system_request_wakeup(pm->env, "RTC alarm");
    } else if (d->s.sts & d->s.en & STS_PWRBTN) {
        system_request_wakeup(pm->env, "power button");
    }
}

void acpi_pm_wake(struct device *pm)
{
    struct acpi_pm *d = (struct acpi_pm *)pm;

    d->s.sts |= STS_WAK;
    if (!(d->s.sts & (STS_RTC | STS_PWRBTN))) {
        d->s.sts |= STS_PWRBTN; /* whoever woke it from outside: a guest wants one reason */
    }
    pm_update(d);
}

void acpi_pm_set_gpe(struct device *pm, unsigned n)
{
    struct acpi_pm *d = (struct acpi_pm *)pm;

    g_assert(n < 64);
    d->s.gpe_sts[n / 8] |= (uint8_t)(1u << n % 8);
    pm_update(d);
}

/* ---- registers */

static void pm_sleep(struct acpi_pm *d, unsigned type)
{
    switch (type) {
    case 0:
        system_request_shutdown(d->dev.env, "acpi");
        break;
    case 1:
        system_request_suspend(d->dev.env);
        break;
    case 2:
        system_request_suspend_disk(d->dev.env);
        break;
    default:
        break;
    }
}

static void pm_write_cnt(struct acpi_pm *d, uint16_t value)
{
    d->s.cnt = (value & CNT_KEPT) | CNT_SCI_EN;
    if (value & CNT_SLP_EN) {
        pm_sleep(d, (value & CNT_SLP_TYP) >> SLP_TYP_SHIFT);
    }
}

/* The 16-bit register at an even offset below 8. */
static uint16_t pm_read16(struct acpi_pm *d, unsigned offset)
{
    switch (offset) {
    case PM1_STS:
        pm_timer_update(d);
        return d->s.sts;
    case PM1_EN:
        return d->s.en;
    case PM1_CNT:
        return d->s.cnt;
    default:
        return 0;
    }
}

static void pm_write16(struct acpi_pm *d, unsigned offset, uint16_t value, uint16_t mask)
{
    switch (offset) {
    case PM1_STS:
        pm_timer_update(d);
        d->s.sts &= (uint16_t)~value;
        break;
    case PM1_EN:
        d->s.en = ((d->s.en & ~mask) | value) & EN_ALL;
        break;
    case PM1_CNT:
        pm_write_cnt(d, (uint16_t)((d->s.cnt & ~mask) | value));
        break;
    default:
        break;
    }
}

static uint8_t pm_read8(struct acpi_pm *d, unsigned offset)
{
    if (offset < PM_TMR) {
        return (uint8_t)(pm_read16(d, offset & ~1u) >> (8 * (offset & 1)));
    }
    if (offset < PM_TMR + 4) {
        return (uint8_t)((pm_ticks(d) & ((1u << PM_TIMER_BITS) - 1)) >> (8 * (offset - PM_TMR)));
    }
    if (offset >= GPE0_STS && offset < GPE0_EN) {
        return d->s.gpe_sts[offset - GPE0_STS];
    }
    if (offset >= GPE0_EN && offset < GPE0_EN + 8) {
        return d->s.gpe_en[offset - GPE0_EN];
    }
    if (offset >= SMI_EN && offset < SMI_EN + 4) {
        return (uint8_t)(d->s.smi_en >> (8 * (offset - SMI_EN)));
    }
    return 0;
}

static void pm_write8(struct acpi_pm *d, unsigned offset, uint8_t value)
{
    if (offset < PM_TMR) {
        unsigned shift = 8 * (offset & 1);

        pm_write16(d, offset & ~1u, (uint16_t)(value << shift), (uint16_t)(0xff << shift));
    } else if (offset >= GPE0_STS && offset < GPE0_EN) {
        d->s.gpe_sts[offset - GPE0_STS] &= (uint8_t)~value;
    } else if (offset >= GPE0_EN && offset < GPE0_EN + 8) {
        d->s.gpe_en[offset - GPE0_EN] = value;
    } else if (offset >= SMI_EN && offset < SMI_EN + 4) {
        unsigned shift = 8 * (offset - SMI_EN);

        d->s.smi_en = (d->s.smi_en & ~(0xffu << shift)) | (uint32_t)value << shift;
    }
}

static uint64_t pm_read(void *opaque, gpa_t offset, unsigned size)
{
    struct acpi_pm *d = opaque;
    uint64_t value = 0;

    if (offset == PM_TMR && size == 4) {
        return pm_ticks(d) & ((1u << PM_TIMER_BITS) - 1); /* one look, for a consistent value */
    }
    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)pm_read8(d, (unsigned)offset + i) << (8 * i);
    }
    return value;
}

static void pm_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct acpi_pm *d = opaque;
    unsigned i = 0, at = (unsigned)offset;

    while (i < size) {
        if (at + i < PM_TMR && !((at + i) & 1) && size - i >= 2) {
            pm_write16(d, at + i, (uint16_t)(value >> (8 * i)), 0xffff);
            i += 2;
        } else {
            pm_write8(d, at + i, (uint8_t)(value >> (8 * i)));
            i++;
        }
    }
    pm_update(d);
}

static const struct region_ops pm_ops = {
    .read = pm_read, .write = pm_write, .min_size = 1, .max_size = 4};

/* ---- class */

static void pm_map(struct acpi_pm *d)
{
    struct address_space *io = d->dev.env->io;

    address_space_begin(io);
    address_space_unmap(io, &d->region);
    if (d->s.enabled) {
        address_space_map(io, d->s.base, &d->region, 0);
    }
    address_space_commit(io);
}

void acpi_pm_set_base(struct device *pm, uint16_t base, bool enabled)
{
    struct acpi_pm *d = (struct acpi_pm *)pm;

    d->s.base = base & 0xff80;
    d->s.enabled = enabled;
    pm_map(d);
}

uint16_t acpi_pm_base(const struct device *pm)
{
    return ((const struct acpi_pm *)pm)->s.base;
}

static bool acpi_pm_realize(struct device *dev, GError **error)
{
    struct acpi_pm *d = (struct acpi_pm *)dev;

    vtimer_init(&d->timer, dev->env->clock, pm_timer_expired, d);
    d->region = (struct region){
        .name = "acpi-pm", .kind = REGION_IO, .size = PM_SIZE, .ops = &pm_ops, .opaque = d};
    acpi_pm_set_base(dev, ACPI_PM_BASE, true);
    return true;
}

static void acpi_pm_unrealize(struct device *dev)
{
    struct acpi_pm *d = (struct acpi_pm *)dev;

    vtimer_cancel(&d->timer);
    address_space_unmap(dev->env->io, &d->region);
}

static void acpi_pm_reset(struct device *dev, enum reset_kind kind)
{
    struct acpi_pm *d = (struct acpi_pm *)dev;
    uint16_t base = d->s.base; /* the LPC bridge's business */
    bool enabled = d->s.enabled;
    /* Why the machine wakes, and what may wake it, is on standby power. */
    uint16_t sts = kind == RESET_WAKE ? d->s.sts & (STS_RTC | STS_PWRBTN) : 0;
    uint16_t en = kind == RESET_WAKE ? d->s.en & (STS_RTC | STS_PWRBTN) : 0;

    memset(&d->s, 0, sizeof(d->s));
    d->s.base = base;
    d->s.enabled = enabled;
    d->s.sts = sts;
    d->s.en = en;
    d->s.cnt = CNT_SCI_EN;
    d->s.toggles = pm_ticks(d) >> (PM_TIMER_BITS - 1);
    d->s.smi_en = SMI_EN_APMC;
    pm_update(d);
}

/* What the clock did until now is noted before the state is saved, as it would be after a load. */
static void acpi_pm_pause(struct device *dev)
{
    pm_update((struct acpi_pm *)dev);
}

static bool acpi_pm_post_load(struct device *dev, GError **error)
{
    struct acpi_pm *d = (struct acpi_pm *)dev;

    pm_map(d);
    pm_update(d);
    return true;
}

const struct device_class acpi_pm_class = {
    .name = "acpi-pm",
    .help = "ACPI power management registers",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct acpi_pm),
    .state = &acpi_pm_desc,
    .state_offset = offsetof(struct acpi_pm, s),
    .realize = acpi_pm_realize,
    .unrealize = acpi_pm_unrealize,
    .reset = acpi_pm_reset,
    .pause = acpi_pm_pause,
    .post_load = acpi_pm_post_load,
};

struct device *acpi_pm_create(struct device_env *env, const struct irq_line *sci, GError **error)
{
    struct device *dev = device_new(&acpi_pm_class, env);

    ((struct acpi_pm *)dev)->sci = *sci;
    return device_realize(dev, error) ? dev : NULL;
}
