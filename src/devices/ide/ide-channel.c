/*
 * A channel of an IDE controller: the registers that its two drives share, commands by PIO and by
 * the bus master's DMA (ATA/ATAPI-7 volume 2; "Programming Interface for Bus Master IDE
 * Controller" 1.0).
 *
 * A drive's command is an operation (ata.h) for commands by DMA. By PIO it becomes one for each
 * block of data that goes through the data register: a block, its interrupt, the next block. The
 * two drives of a channel share one set of registers here, for only the selected one is ever looked
 * at.
 *
 * Left out: cylinder, head and sector addresses.
 */
#include "devices/ide/ide-channel-priv.h"

#include <string.h>

#define SECTOR        512u
#define CD_SECTOR     2048u
#define DEVICE_SECOND 0x10
#define DEVICE_LBA    0x40
#define CONTROL_NIEN  0x02
#define CONTROL_SRST  0x04
#define CONTROL_HOB   0x80

const struct state_field ide_channel_fields[] = {
    STATE(struct ide_channel_state, next_lba),
    STATE(struct ide_channel_state, left),
    STATE_MAX(struct ide_channel_state, buf_at, BUF_BYTES),
    STATE_MAX(struct ide_channel_state, buf_end, BUF_BYTES),
    STATE_MAX(struct ide_channel_state, buf_length, BUF_BYTES),
    STATE(struct ide_channel_state, prdt),
    STATE(struct ide_channel_state, command),
    STATE(struct ide_channel_state, feature),
    STATE(struct ide_channel_state, feature_hob),
    STATE(struct ide_channel_state, count),
    STATE(struct ide_channel_state, count_hob),
    STATE(struct ide_channel_state, device),
    STATE(struct ide_channel_state, status),
    STATE(struct ide_channel_state, error),
    STATE(struct ide_channel_state, control),
    STATE_ARRAY(struct ide_channel_state, lba),
    STATE(struct ide_channel_state, bm_command),
    STATE(struct ide_channel_state, bm_status),
    STATE_MAX(struct ide_channel_state, phase, PHASE_DMA_WAIT),
    STATE(struct ide_channel_state, irq),
    STATE_ARRAY(struct ide_channel_state, packet),
    STATE_ARRAY(struct ide_channel_state, buf),
    STATE_PAD(struct ide_channel_state, pad),
    {0},
};

struct ide_op {
    struct ata_op ata;      /* first */
    struct ide_channel *ch; /* NULL: the channel was reset meanwhile */
    bool dma;
    uint32_t kept; /* PIO: bytes that the buffer has already */
    /* how far a DMA transfer has come */
    uint32_t prd, prd_at;
    bool prd_end;
};

struct ata_drive *ide_channel_drive(const struct ide_channel *ch)
{
    return ch->bus ? ch->bus->drive[ch->s->device & DEVICE_SECOND ? 1 : 0] : NULL;
}

/* ---- interrupts and ends */

void ide_channel_irq_update(struct ide_channel *ch)
{
    irq_set(&ch->irq, ch->s->irq && !(ch->s->control & CONTROL_NIEN));
}

static void irq_raise(struct ide_channel *ch)
{
    ch->s->irq = true;
    ch->s->bm_status |= BM_IRQ;
    ide_channel_irq_update(ch);
}

static void finish(struct ide_channel *ch, uint8_t status, uint8_t error)
{
    ch->s->phase = PHASE_IDLE;
    ch->s->status = status;
    ch->s->error = error;
    irq_raise(ch);
}

void ide_channel_abort(struct ide_channel *ch)
{
    finish(ch, ATA_DRDY | ATA_SEEK | ATA_ERR, ATA_ERR_ABRT);
}

/* ---- operations */

static bool prd_next(struct ide_op *op, uint32_t *addr, uint32_t *length)
{
    uint8_t prd[8];

    if (op->prd_end) {
        return false;
    }
    if (!pci_dma_read(op->ch->pci, op->ch->s->prdt + op->prd * 8, prd, sizeof(prd))) {
        memset(prd, 0, sizeof(prd)); /* not allowed to look: as QEMU, 64 KiB of nothing */
    }
    *addr = (uint32_t)(prd[0] & 0xfe) | prd[1] << 8 | prd[2] << 16 | (uint32_t)prd[3] << 24;
    *length = (uint32_t)(prd[4] & 0xfe) | prd[5] << 8;
    *length = *length ? *length : 0x10000;
    if (op->prd_at == *length) {
        op->prd_at = 0;
        op->prd++;
        op->prd_end = prd[7] & 0x80 || op->prd == 8192;
        return prd_next(op, addr, length);
    }
    return true;
}

static size_t dma_move(struct ide_op *op, uint8_t *buf, size_t bytes, bool to_guest)
{
    size_t done = 0;
    uint32_t addr, length;

    while (done < bytes && prd_next(op, &addr, &length)) {
        size_t n = MIN(bytes - done, length - op->prd_at);

        if (to_guest) {
            pci_dma_write(op->ch->pci, addr + op->prd_at, buf + done, n);
        } else {
            pci_dma_read(op->ch->pci, addr + op->prd_at, buf + done, n);
        }
        done += n;
        op->prd_at += (uint32_t)n;
    }
    return done;
}

static size_t op_move(struct ata_op *ata, void *buf, size_t bytes, bool to_guest)
{
    struct ide_op *op = (struct ide_op *)ata;
    struct ide_channel_state *s;
    size_t n;

    if (!op->ch) {
        return 0;
    }
    if (op->dma) {
        return dma_move(op, buf, bytes, to_guest);
    }
    s = op->ch->s;
    n = MIN(bytes, BUF_BYTES - s->buf_length);
    if (to_guest) {
        memcpy(s->buf + s->buf_length, buf, n);
    } else {
        memcpy(buf, s->buf + s->buf_length, n);
    }
    s->buf_length += (uint32_t)n;
    return n;
}

static void op_done(struct ata_op *ata);

static struct ide_op *op_new(struct ide_channel *ch)
{
    const struct ide_channel_state *s = ch->s;
    struct ide_op *op = g_new0(struct ide_op, 1);

    op->ch = ch;
    op->ata.drive = ide_channel_drive(ch);
    op->ata.move = op_move;
    op->ata.done = op_done;
    op->ata.regs = (struct ata_regs){.command = s->command,
                                     .feature = s->feature,
                                     .feature_hob = s->feature_hob,
                                     .count = s->count,
                                     .count_hob = s->count_hob,
                                     .device = s->device};
    memcpy(op->ata.regs.lba, s->lba, sizeof(s->lba));
    memcpy(op->ata.packet, s->packet, sizeof(s->packet));
    return op;
}

static void op_run(struct ide_channel *ch, struct ide_op *op)
{
    ch->op = op;
    ch->s->phase = PHASE_RUNNING;
    ch->s->status = ATA_BSY | ATA_DRDY | ATA_SEEK;
    if (!op->dma) {
        ch->s->buf_length = op->kept;
    }
    ata_op_start(&op->ata);
}

void ide_channel_abandon(struct ide_channel *ch)
{
    if (ch->op) {
        ch->op->ch = NULL;
        ch->op = NULL;
    }
}

/* ---- PIO */

/* Sectors in a block of the present command. */
static uint32_t block_sectors(const struct ide_channel *ch)
{
    bool multiple = ch->s->command == 0xc4 || ch->s->command == 0xc5 || ch->s->command == 0x29 ||
                    ch->s->command == 0x39 || ch->s->command == 0xce;
    uint8_t n = ide_channel_drive(ch)->s.multiple;

    return multiple && n ? n : 1;
}

/* Moves the next block of a disk: by a command with 48 bits, whatever the guest's was. */
static void disk_block_run(struct ide_channel *ch, bool write)
{
    struct ide_channel_state *s = ch->s;
    uint32_t n = MIN(s->left, block_sectors(ch));
    struct ide_op *op = op_new(ch);
    struct ata_regs *r = &op->ata.regs;

    r->command = write ? 0x34 : 0x24;
    r->count = (uint8_t)n;
    r->count_hob = 0;
    r->device |= DEVICE_LBA;
    for (unsigned i = 0; i < 6; i++) {
        r->lba[i] = (uint8_t)(s->next_lba >> (8 * i));
    }
    s->next_lba += n;
    s->left -= n;
    op_run(ch, op);
}

static void disk_out_begin(struct ide_channel *ch, bool irq)
{
    struct ide_channel_state *s = ch->s;

    s->phase = PHASE_OUT;
    s->buf_at = 0;
    s->buf_end = MIN(s->left, block_sectors(ch)) * SECTOR;
    s->status = ATA_DRDY | ATA_SEEK | ATA_DRQ;
    if (irq) {
        irq_raise(ch);
    }
}

/* The guest's limit on a piece of a packet's answer: the PACKET command has kept it there. */
static uint32_t packet_limit(const struct ide_channel_state *s)
{
    uint32_t limit = s->feature_hob | s->count_hob << 8u;

    return limit == 0 || limit == 0xffff ? 0xfffe : limit;
}

static void packet_piece(struct ide_channel *ch)
{
    struct ide_channel_state *s = ch->s;
    uint32_t n = MIN(s->buf_length - s->buf_at, packet_limit(s));

    s->buf_end = s->buf_at + n;
    s->lba[1] = (uint8_t)n;
    s->lba[2] = (uint8_t)(n >> 8);
    s->count = 2; /* data to the host */
    s->phase = PHASE_IN;
    s->status = ATA_DRDY | ATA_SEEK | ATA_DRQ;
    irq_raise(ch);
}

/* What is in the buffer makes no whole piece, and there is room for a sector more. */
static bool packet_needs_more(const struct ide_channel_state *s)
{
    uint32_t kept = s->buf_length - s->buf_at;

    return s->left && kept < packet_limit(s) && kept + CD_SECTOR <= BUF_BYTES;
}

/* A read of a CD by PIO goes by as many sectors as the buffer holds, behind what is left of those
 * before: all pieces but the last are as long as the guest's limit, which some drivers rely on. */
static void packet_block_run(struct ide_channel *ch)
{
    struct ide_channel_state *s = ch->s;
    uint32_t kept = s->buf_length - s->buf_at;
    uint32_t n = MIN(s->left, (BUF_BYTES - kept) / CD_SECTOR);
    struct ide_op *op = op_new(ch);
    uint8_t *p = op->ata.packet;

    memmove(s->buf, s->buf + s->buf_at, kept);
    s->buf_at = 0;
    op->kept = kept;

    op->ata.regs.feature = 0;
    if (s->packet[0] == 0x28 || s->packet[0] == 0xa8) {
        memset(p, 0, sizeof(op->ata.packet));
        p[0] = 0xa8;
        for (unsigned i = 0; i < 4; i++) {
            p[2 + i] = (uint8_t)(s->next_lba >> (24 - 8 * i));
            p[6 + i] = (uint8_t)(n >> (24 - 8 * i));
        }
        s->next_lba += n;
        s->left -= n;
    }
    op_run(ch, op);
}

static void packet_start(struct ide_channel *ch)
{
    struct ide_channel_state *s = ch->s;
    const uint8_t *p = s->packet;

    memcpy(s->packet, s->buf, 12);
    s->left = 0;
    s->buf_at = s->buf_length = 0;
    if (s->feature & 1) {
        s->phase = PHASE_DMA_WAIT;
        s->status = ATA_BSY;
        return;
    }
    if (p[0] == 0x28 || p[0] == 0xa8) {
        s->next_lba = (uint32_t)p[2] << 24 | p[3] << 16 | p[4] << 8 | p[5];
        s->left = p[0] == 0x28 ? (uint32_t)p[7] << 8 | p[8]
                               : (uint32_t)p[6] << 24 | p[7] << 16 | p[8] << 8 | p[9];
    }
    packet_block_run(ch);
}

/* All of a block has gone through the data register. */
static void block_moved(struct ide_channel *ch)
{
    struct ide_channel_state *s = ch->s;
    bool packet = s->command == ATA_CMD_PACKET;

    if (s->phase == PHASE_PACKET) {
        packet_start(ch);
    } else if (s->phase == PHASE_OUT) {
        disk_block_run(ch, true);
    } else if (packet && s->buf_at < s->buf_length && !packet_needs_more(s)) {
        packet_piece(ch);
    } else if (s->left) {
        packet ? packet_block_run(ch) : disk_block_run(ch, false);
    } else if (packet) {
        s->count = 3;
        finish(ch, ATA_DRDY | ATA_SEEK, 0);
    } else {
        s->phase = PHASE_IDLE;
        s->status = ATA_DRDY | ATA_SEEK;
    }
}

static void pio_done(struct ide_channel *ch, const struct ata_op *ata)
{
    struct ide_channel_state *s = ch->s;
    bool failed = ata->regs.status & ATA_ERR;

    if (ata->to_guest && s->buf_length && !(failed && s->command == ATA_CMD_PACKET)) {
        s->buf_at = 0;
        if (s->command == ATA_CMD_PACKET) {
            packet_piece(ch);
            return;
        }
        s->buf_end = s->buf_length;
        s->phase = PHASE_IN;
        s->status = ATA_DRDY | ATA_SEEK | ATA_DRQ;
        irq_raise(ch);
    } else if (!ata->to_guest && s->left && s->command != ATA_CMD_PACKET) {
        disk_out_begin(ch, true);
    } else {
        finish(ch, ata->regs.status, ata->regs.error);
    }
}

/*
 * The bus master's side of a command's end ("Programming Interface for Bus Master IDE Controller",
 * status register): it stays active when the guest gave more memory than the drive moved. When it
 * gave less, the drive waits for it in vain, without an interrupt; returns true then. The drive
 * takes the next command all the same.
 */
static bool dma_ended(struct ide_channel *ch, struct ide_op *op)
{
    struct ide_channel_state *s = ch->s;
    uint32_t addr, length;
    bool more = op->ata.drive->kind == ATA_DISK && !(op->ata.regs.status & ATA_ERR) &&
                (s->bm_command & BM_START) && prd_next(op, &addr, &length);

    if (!more) {
        s->bm_status &= (uint8_t)~BM_ACTIVE;
    }
    if (op->ata.short_of_room) {
        s->phase = PHASE_IDLE;
        s->status = ATA_DRDY | ATA_SEEK;
        s->error = 0;
    }
    return op->ata.short_of_room;
}

static void op_done(struct ata_op *ata)
{
    struct ide_op *op = (struct ide_op *)ata;
    struct ide_channel *ch = op->ch;
    const struct ata_regs *r = &ata->regs;

    if (!ch) {
        g_free(op);
        return;
    }
    ch->op = NULL;
    ch->s->error = r->error;
    if (r->command == ch->s->command) { /* not one of ours for a block */
        ch->s->count = r->count;
        memcpy(ch->s->lba, r->lba, sizeof(r->lba));
    }
    if (op->dma && dma_ended(ch, op)) {
        /* nothing to tell: see there */
    } else if (op->dma || (r->status & ATA_ERR)) {
        ch->s->left = 0;
        ch->s->count = ch->s->command == ATA_CMD_PACKET ? 3 : ch->s->count;
        finish(ch, r->status, r->error);
    } else {
        pio_done(ch, ata);
    }
    g_free(op);
}

/* ---- commands */

static bool is_dma(uint8_t command)
{
    return command == ATA_CMD_DSM || command == 0x25 || command == 0x35 || command == 0x3d ||
           command == 0xc8 || command == 0xca;
}

static bool is_pio_read(uint8_t command)
{
    return command == 0x20 || command == 0x21 || command == 0x24 || command == 0x29 ||
           command == 0xc4;
}

static bool is_pio_write(uint8_t command)
{
    return command == 0x30 || command == 0x31 || command == 0x34 || command == 0x39 ||
           command == 0xc5 || command == 0xce;
}

static bool is_48bit(uint8_t command)
{
    return command == 0x24 || command == 0x29 || command == 0x34 || command == 0x39 ||
           command == 0xce;
}

/* Where a PIO transfer begins and how long it is. */
static void extent_take(struct ide_channel_state *s)
{
    s->next_lba = s->lba[0] | s->lba[1] << 8 | (uint64_t)s->lba[2] << 16;
    if (is_48bit(s->command)) {
        s->next_lba |=
            (uint64_t)s->lba[3] << 24 | (uint64_t)s->lba[4] << 32 | (uint64_t)s->lba[5] << 40;
        s->left = s->count | s->count_hob << 8u;
        s->left = s->left ? s->left : 65536;
    } else {
        s->next_lba |= (uint64_t)(s->device & 0x0f) << 24;
        s->left = s->count ? s->count : 256;
    }
}

void ide_channel_dma_start(struct ide_channel *ch)
{
    struct ide_op *op;

    if (ch->s->phase != PHASE_DMA_WAIT || !(ch->s->bm_command & BM_START)) {
        return;
    }
    op = op_new(ch);
    op->dma = true;
    op_run(ch, op);
}

static void disk_command(struct ide_channel *ch)
{
    struct ide_channel_state *s = ch->s;

    if (ide_channel_drive(ch)->kind == ATA_CD ||
        !(is_pio_read(s->command) || is_pio_write(s->command))) {
        op_run(ch, op_new(ch));
    } else if (!(s->device & DEVICE_LBA)) {
        ide_channel_abort(ch);
    } else {
        extent_take(s);
        if (is_pio_read(s->command)) {
            disk_block_run(ch, false);
        } else {
            disk_out_begin(ch, false);
        }
    }
}

static void command_write(struct ide_channel *ch, uint8_t command)
{
    struct ide_channel_state *s = ch->s;

    if (!ide_channel_drive(ch) || (s->status & ATA_BSY && command != 0x08)) {
        return;
    }
    ide_channel_abandon(ch);
    s->command = command;
    s->irq = false;
    ide_channel_irq_update(ch);
    s->error = 0;
    s->left = 0;
    if (command == ATA_CMD_DIAGNOSTIC && ch->bus->drive[0]) {
        s->device &= (uint8_t)~DEVICE_SECOND; /* the first drive answers for both */
    }
    if (command == ATA_CMD_PACKET && ide_channel_drive(ch)->kind == ATA_CD) {
        s->feature_hob = s->lba[1]; /* the limit on one piece; the registers tell its size later */
        s->count_hob = s->lba[2];
        s->count = 1; /* a command to the device */
        s->phase = PHASE_PACKET;
        s->buf_at = 0;
        s->buf_end = 12;
        s->status = ATA_DRDY | ATA_SEEK | ATA_DRQ;
    } else if (is_dma(command) && ide_channel_drive(ch)->kind == ATA_DISK) {
        s->phase = PHASE_DMA_WAIT;
        s->status = ATA_BSY;
        ide_channel_dma_start(ch);
    } else {
        disk_command(ch);
    }
}

void ide_channel_signature(struct ide_channel *ch)
{
    struct ide_channel_state *s = ch->s;
    struct ata_drive *drive = ide_channel_drive(ch);
    struct ata_regs r = {0};

    if (drive) {
        ata_signature(drive, &r);
    }
    s->count = r.count;
    memcpy(s->lba, r.lba, sizeof(r.lba));
    s->error = r.error;
    s->status = r.status;
}

void ide_channel_reset(struct ide_channel *ch)
{
    ide_channel_abandon(ch);
    for (unsigned i = 0; i < IDE_UNITS; i++) {
        if (ch->bus && ch->bus->drive[i]) {
            ata_drive_reset(ch->bus->drive[i]);
        }
    }
    ch->s->phase = PHASE_IDLE;
    ch->s->left = 0;
    ch->s->device = 0;
    ch->s->irq = false;
    ide_channel_irq_update(ch);
    ide_channel_signature(ch);
}

/* ---- registers */

static uint32_t data_read(struct ide_channel *ch, unsigned size)
{
    struct ide_channel_state *s = ch->s;
    uint32_t value = 0;

    if (s->phase != PHASE_IN) {
        return UINT32_MAX;
    }
    for (unsigned i = 0; i < size && s->buf_at < s->buf_end; i++) {
        value |= (uint32_t)s->buf[s->buf_at++] << (8 * i);
    }
    if (s->buf_at == s->buf_end) {
        block_moved(ch);
    }
    return value;
}

static void data_write(struct ide_channel *ch, uint32_t value, unsigned size)
{
    struct ide_channel_state *s = ch->s;

    if (s->phase != PHASE_OUT && s->phase != PHASE_PACKET) {
        return;
    }
    for (unsigned i = 0; i < size && s->buf_at < s->buf_end; i++) {
        s->buf[s->buf_at++] = (uint8_t)(value >> (8 * i));
    }
    if (s->buf_at == s->buf_end) {
        block_moved(ch);
    }
}

static uint8_t status_read(const struct ide_channel *ch)
{
    return ide_channel_drive(ch) ? ch->s->status : 0;
}

static uint64_t ports_read(void *opaque, gpa_t offset, unsigned size)
{
    struct ide_channel *ch = opaque;
    struct ide_channel_state *s = ch->s;
    bool hob = s->control & CONTROL_HOB;

    if (offset == 0) {
        return data_read(ch, size);
    }
    if (!ide_channel_drive(ch)) {
        return offset == 6 ? s->device | 0xa0 : 0;
    }
    switch (offset) {
    case 1:
        return s->error;
    case 2:
        return hob ? s->count_hob : s->count;
    case 3:
    case 4:
    case 5:
        return s->lba[offset - 3 + (hob ? 3 : 0)];
    case 6:
        return s->device | 0xa0;
    default:
        s->irq = false;
        ide_channel_irq_update(ch);
        return s->status;
    }
}

static void ports_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct ide_channel *ch = opaque;
    struct ide_channel_state *s = ch->s;
    uint8_t byte = (uint8_t)value;

    if (offset > 0 && offset < 7 && (s->status & (ATA_BSY | ATA_DRQ))) {
        return; /* registers are the drive's until the command is over */
    }
    s->control &= (uint8_t)(offset ? ~CONTROL_HOB : 0xff);
    switch (offset) {
    case 0:
        data_write(ch, (uint32_t)value, size);
        break;
    case 1:
        s->feature_hob = s->feature;
        s->feature = byte;
        break;
    case 2:
        s->count_hob = s->count;
        s->count = byte;
        break;
    case 3:
    case 4:
    case 5:
        s->lba[offset] = s->lba[offset - 3];
        s->lba[offset - 3] = byte;
        break;
    case 6:
        s->device = byte;
        if (s->phase == PHASE_IDLE && ide_channel_drive(ch) && s->status == 0 &&
            ide_channel_drive(ch)->kind == ATA_DISK) {
            s->status = ATA_DRDY | ATA_SEEK;
        }
        break;
    default:
        command_write(ch, byte);
        break;
    }
}

static uint64_t control_read(void *opaque, gpa_t offset, unsigned size)
{
    return status_read(opaque);
}

static void control_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct ide_channel *ch = opaque;
    uint8_t old = ch->s->control;

    ch->s->control = (uint8_t)value & (CONTROL_NIEN | CONTROL_SRST | CONTROL_HOB);
    if (!(old & CONTROL_SRST) && (value & CONTROL_SRST)) {
        ide_channel_reset(ch);
        ch->s->status = ATA_BSY;
    } else if ((old & CONTROL_SRST) && !(value & CONTROL_SRST)) {
        ide_channel_signature(ch);
    }
    ide_channel_irq_update(ch);
}

const struct region_ops ide_channel_ports_ops = {
    .read = ports_read, .write = ports_write, .min_size = 1, .max_size = 4};
const struct region_ops ide_channel_control_ops = {
    .read = control_read, .write = control_write, .min_size = 1, .max_size = 1};

bool ide_channel_dma_runs(const struct ide_channel *ch)
{
    return ch->op && ch->op->dma;
}
