/*
 * piix3-ide: two IDE channels (ide-channel.c) at the places where PCs have them, and the bus master
 * that moves their data (Intel 82371FB data sheet, chapter 4; "Programming Interface for Bus Master
 * IDE Controller" 1.0).
 *
 * A command that is under way when the machine's state is loaded ends as aborted; systems try
 * again. Left out: timing registers keep what is written.
 */
#include "devices/ide/piix-ide.h"

#include "devices/ide/ide-channel-priv.h"
#include <string.h>

#define CHANNELS      2
#define BM_CAPABLE    0x60

#define IDETIM_1      0x41 /* highest byte of each channel's: bit 7 decodes it */
#define IDETIM_2      0x43
#define IDETIM_DECODE 0x80

struct piix_ide_state {
    struct pci_state pci;
    struct ide_channel_state channel[CHANNELS];
};

static const struct state_field piix_ide_fields[] = {
    STATE_STRUCT(struct piix_ide_state, pci, pci_state_fields),
    STATE_STRUCT_ARRAY(struct piix_ide_state, channel, ide_channel_fields),
    {0},
};

static const struct state_desc piix_ide_desc = {.name = "piix3-ide",
                                                .version = 1,
                                                .min_version = 1,
                                                .size = sizeof(struct piix_ide_state),
                                                .fields = piix_ide_fields};

struct piix_ide {
    struct pci_device pci;
    struct piix_ide_state s;
    struct ide_channel channel[CHANNELS];
    struct region bm;
};

/* ---- bus master: eight ports a channel */

static uint64_t bm_read(void *opaque, gpa_t offset, unsigned size)
{
    struct piix_ide *d = opaque;
    const struct ide_channel_state *s = &d->s.channel[offset >> 3 & 1];

    switch (offset & 7) {
    case 0:
        return s->bm_command;
    case 2:
        return s->bm_status;
    case 4:
    case 5:
    case 6:
    case 7:
        return s->prdt >> (8 * (offset & 3));
    default:
        return 0xff;
    }
}

static void bm_start_write(struct ide_channel *ch, uint8_t value)
{
    struct ide_channel_state *s = ch->s;
    bool was = s->bm_command & BM_START;

    s->bm_command = value & 0x09;
    if (!was && (value & BM_START)) {
        s->bm_status |= BM_ACTIVE;
        ide_channel_dma_start(ch);
    } else if (was && !(value & BM_START)) {
        /* A transfer under way goes on to its end, for half of it may be on the disk. */
        if (!ide_channel_dma_runs(ch)) {
            s->bm_status &= (uint8_t)~BM_ACTIVE;
        }
    }
}

static void bm_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct piix_ide *d = opaque;
    struct ide_channel *ch = &d->channel[offset >> 3 & 1];
    struct ide_channel_state *s = ch->s;
    unsigned shift = 8 * (offset & 3);

    switch (offset & 7) {
    case 0:
        bm_start_write(ch, (uint8_t)value);
        break;
    case 2:
        s->bm_status = (uint8_t)((s->bm_status & ~(BM_CAPABLE | (value & (BM_IRQ | BM_ERROR)))) |
                                 (value & BM_CAPABLE));
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        s->prdt = (s->prdt & ~(0xffu << shift)) | (uint32_t)(value & 0xff) << shift;
        s->prdt &= ~3u;
        break;
    default:
        break;
    }
}

static const struct region_ops bm_ops = {
    .read = bm_read, .write = bm_write, .min_size = 1, .max_size = 1};

/* ---- class */

static void drive_attached(void *opaque, unsigned unit)
{
    struct ide_channel *ch = opaque;

    if (ch->s->phase == PHASE_IDLE) {
        ide_channel_signature(ch);
    }
}

static void channel_init(struct piix_ide *d, unsigned n)
{
    static const uint16_t base[CHANNELS] = {0x1f0, 0x170}, control[CHANNELS] = {0x3f6, 0x376};
    struct device_env *env = d->pci.dev.env;
    struct ide_channel *ch = &d->channel[n];

    ch->pci = &d->pci;
    ch->s = &d->s.channel[n];
    ch->irq = env->isa_irq[14 + n];
    ch->bus = ide_bus_new(env, NULL, n, IDE_UNITS);
    ch->bus->attached = drive_attached;
    ch->bus->opaque = ch;
    ch->bus->controller = &d->pci;
    ch->ports = (struct region){
        .name = "ide", .kind = REGION_IO, .size = 8, .ops = &ide_channel_ports_ops, .opaque = ch};
    ch->control = (struct region){.name = "ide-control",
                                  .kind = REGION_IO,
                                  .size = 1,
                                  .ops = &ide_channel_control_ops,
                                  .opaque = ch};
    address_space_map(env->io, base[n], &ch->ports, 0);
    address_space_map(env->io, control[n], &ch->control, 0);
}

static bool piix_ide_realize(struct device *dev, GError **error)
{
    struct piix_ide *d = (struct piix_ide *)dev;
    static const struct pci_ids ids = {.vendor = 0x8086,
                                       .device = 0x7010,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 0x1100,
                                       .class = 0x0101,
                                       .prog_if = 0x80};

    if (!pci_init(&d->pci, &d->s.pci, "1.1", &ids, 0, error)) {
        return false;
    }
    for (unsigned i = 0x40; i < 0x44; i++) {
        d->pci.writable[i] = 0xff;
    }
    d->bm = (struct region){
        .name = "ide-bm", .kind = REGION_IO, .size = 16, .ops = &bm_ops, .opaque = d};
    pci_add_bar(&d->pci, 4, PCI_BAR_IO, &d->bm);
    for (unsigned i = 0; i < CHANNELS; i++) {
        channel_init(d, i);
    }
    return true;
}

static void piix_ide_unrealize(struct device *dev)
{
    struct piix_ide *d = (struct piix_ide *)dev;

    for (unsigned i = 0; i < CHANNELS; i++) {
        struct ide_channel *ch = &d->channel[i];

        ide_channel_abandon(ch);
        address_space_unmap(dev->env->io, &ch->ports);
        address_space_unmap(dev->env->io, &ch->control);
        ide_bus_free(dev->env, ch->bus);
        ch->bus = NULL;
    }
    pci_finish(&d->pci);
}

static void piix_ide_reset(struct device *dev, enum reset_kind kind)
{
    struct piix_ide *d = (struct piix_ide *)dev;

    pci_reset(&d->pci);
    d->s.pci.config[IDETIM_1] = d->s.pci.config[IDETIM_2] = IDETIM_DECODE;
    for (unsigned i = 0; i < CHANNELS; i++) {
        ide_channel_abandon(&d->channel[i]);
        memset(&d->s.channel[i], 0, sizeof(d->s.channel[i]));
        ide_channel_reset(&d->channel[i]);
    }
}

static bool piix_ide_post_load(struct device *dev, GError **error)
{
    struct piix_ide *d = (struct piix_ide *)dev;

    for (unsigned i = 0; i < CHANNELS; i++) {
        struct ide_channel *ch = &d->channel[i];

        ide_channel_abandon(ch);
        if (ch->s->buf_at > ch->s->buf_end || ch->s->buf_end > BUF_BYTES) {
            g_set_error(error, DEVICE_ERROR, 0, "piix3-ide: data register out of range");
            return false;
        }
        if (ch->s->phase != PHASE_IDLE && !ide_channel_drive(ch)) {
            g_set_error(error, DEVICE_ERROR, 0, "piix3-ide: a command without a drive");
            return false;
        }
        if (ch->s->phase == PHASE_RUNNING) {
            ide_channel_abort(ch);
        }
        ide_channel_irq_update(ch);
    }
    return pci_post_load(&d->pci, error);
}

const struct device_class piix_ide_class = {
    .name = "piix3-ide",
    .help = "IDE controller of the pc board",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct piix_ide),
    .state = &piix_ide_desc,
    .state_offset = offsetof(struct piix_ide, s),
    .realize = piix_ide_realize,
    .unrealize = piix_ide_unrealize,
    .reset = piix_ide_reset,
    .post_load = piix_ide_post_load,
};

struct device *piix_ide_create(struct device_env *env, GError **error)
{
    struct device *dev = device_new(&piix_ide_class, env);

    return device_realize(dev, error) ? dev : NULL;
}
