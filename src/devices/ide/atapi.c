/*
 * CD drives: packet commands of MMC-3 and SPC-3 for reading, tray and events. See ata.h.
 *
 * A medium of more than 1.2 GB counts as a DVD. Left out: audio, raw sectors (READ CD gives user
 * data only), writing, DVD structures and keys.
 */
#include "devices/ide/ata.h"

#include <string.h>

#define CD_SECTOR          2048u
#define DVD_SECTORS        600000u

#define SENSE_NONE         0
#define SENSE_NOT_READY    2
#define SENSE_MEDIUM_ERROR 3
#define SENSE_ILLEGAL      5
#define SENSE_ATTENTION    6

#define ASC_INVALID_OPCODE 0x20
#define ASC_LBA_RANGE      0x21
#define ASC_INVALID_FIELD  0x24
#define ASC_CHANGED        0x28
#define ASC_NO_MEDIUM      0x3a
#define ASC_REMOVAL        0x53
#define ASC_READ_ERROR     0x11

#define ANSWER_MAX         256

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
    return be16(p) << 16 | be16(p + 2);
}

static void put_be16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, v >> 16);
    put_be16(p + 2, v);
}

static uint32_t medium_sectors(const struct ata_drive *d)
{
    return (uint32_t)MIN(block_backend_bytes(d->blk) / CD_SECTOR, UINT32_MAX);
}

static bool has_medium(const struct ata_drive *d)
{
    return !d->s.tray_open && block_backend_has_medium(d->blk) && medium_sectors(d) > 0;
}

void atapi_medium_changed(struct ata_drive *d, bool loaded)
{
    d->s.tray_open = !loaded;
    d->s.event = true;
    d->s.attention = loaded && block_backend_has_medium(d->blk);
    d->s.eject_requested = false;
}

/* Ends with the sense in place: the error register has its key. */
static void fail(struct ata_op *op, uint8_t key, uint8_t asc)
{
    op->drive->s.sense_key = key;
    op->drive->s.asc = asc;
    op->drive->s.ascq = 0;
    op->regs.count = 3; /* status phase: input, command */
    ata_op_end(op, (uint8_t)(key << 4 | ATA_ERR_ABRT));
}

static void succeed(struct ata_op *op)
{
    op->regs.count = 3;
    ata_op_end(op, 0);
}

void atapi_failed(struct ata_op *op, int result)
{
    if (result == -ENOMEDIUM) {
        fail(op, SENSE_NOT_READY, ASC_NO_MEDIUM);
    } else {
        fail(op, SENSE_MEDIUM_ERROR, ASC_READ_ERROR);
    }
}

/* As much of the answer as the packet allows. */
static void answer(struct ata_op *op, uint8_t *bytes, size_t length, size_t allowed)
{
    op->pio = !(op->regs.feature & 1);
    op->regs.count = 3;
    ata_op_answer(op, bytes, MIN(length, allowed));
}

/* ---- commands */

static void request_sense(struct ata_op *op)
{
    struct ata_state *s = &op->drive->s;
    uint8_t sense[18] = {0x70};

    sense[2] = s->sense_key;
    sense[7] = 10;
    sense[12] = s->asc;
    sense[13] = s->ascq;
    s->sense_key = s->asc = s->ascq = 0;
    answer(op, sense, sizeof(sense), op->packet[4]);
}

static void inquiry(struct ata_op *op)
{
    uint8_t bytes[36] = {0x05, 0x80, 0x05, 0x32, 31};

    if (op->packet[1] & 1) { /* pages of vital product data */
        fail(op, SENSE_ILLEGAL, ASC_INVALID_FIELD);
        return;
    }
    memset(bytes + 8, ' ', 28);
    memcpy(bytes + 8, "GODWIT", 6);
    memcpy(bytes + 16, op->drive->cfg.model, MIN(strlen(op->drive->cfg.model), 16));
    memcpy(bytes + 32, op->drive->cfg.version, MIN(strlen(op->drive->cfg.version), 4));
    answer(op, bytes, sizeof(bytes), be16(op->packet + 3));
}

static void read_capacity(struct ata_op *op)
{
    uint8_t bytes[8];

    put_be32(bytes, medium_sectors(op->drive) - 1);
    put_be32(bytes + 4, CD_SECTOR);
    answer(op, bytes, sizeof(bytes), sizeof(bytes));
}

static void read_sectors(struct ata_op *op, uint32_t lba, uint32_t n)
{
    uint32_t total = medium_sectors(op->drive);

    if (lba >= total || n > total - lba) {
        fail(op, SENSE_ILLEGAL, ASC_LBA_RANGE);
    } else if (n == 0) {
        succeed(op);
    } else {
        op->pio = !(op->regs.feature & 1);
        op->offset = (uint64_t)lba * CD_SECTOR;
        op->left = (uint64_t)n * CD_SECTOR;
        op->regs.count = 3;
        ata_op_medium(op, false);
    }
}

/* Only the user data of a sector, which is what mode 1 has besides its framing. */
static void read_cd(struct ata_op *op)
{
    uint32_t n = (uint32_t)op->packet[6] << 16 | be16(op->packet + 7);
    uint8_t fields = op->packet[9] & 0xf8;

    if (fields == 0x10) {
        read_sectors(op, be32(op->packet + 2), n);
    } else if (fields == 0) {
        succeed(op);
    } else {
        fail(op, SENSE_ILLEGAL, ASC_INVALID_FIELD);
    }
}

/* An address as the packet wants it: of a sector, or minutes, seconds and frames. */
static void put_place(uint8_t *p, uint32_t lba, bool msf)
{
    if (msf) {
        lba += 150;
        p[0] = 0;
        p[1] = (uint8_t)(lba / 75 / 60);
        p[2] = (uint8_t)(lba / 75 % 60);
        p[3] = (uint8_t)(lba % 75);
    } else {
        put_be32(p, lba);
    }
}

static size_t toc_tracks(uint8_t *toc, uint32_t sectors, bool msf, uint8_t first)
{
    size_t n = 4;

    toc[2] = toc[3] = 1;
    if (first <= 1) {
        toc[n + 1] = 0x14; /* data track */
        toc[n + 2] = 1;
        put_place(toc + n + 4, 0, msf);
        n += 8;
    }
    toc[n + 1] = 0x16;
    toc[n + 2] = 0xaa; /* lead-out */
    put_place(toc + n + 4, sectors, msf);
    return n + 8;
}

static size_t toc_raw(uint8_t *toc, uint32_t sectors, bool msf)
{
    static const uint8_t point[] = {0xa0, 0xa1, 0xa2, 1};
    size_t n = 4;

    toc[2] = toc[3] = 1;
    for (unsigned i = 0; i < sizeof(point); i++) {
        uint8_t *entry = toc + n;

        entry[0] = 1;
        entry[1] = 0x14;
        entry[3] = point[i];
        if (point[i] == 0xa2) {
            put_place(entry + 7, sectors, msf);
        } else if (point[i] == 1) {
            put_place(entry + 7, 0, msf);
        } else {
            entry[8] = 1; /* first and last track */
        }
        n += 11;
    }
    return n;
}

static void read_toc(struct ata_op *op)
{
    uint8_t toc[ANSWER_MAX] = {0};
    bool msf = op->packet[1] & 2;
    unsigned format = op->packet[2] & 0x0f;
    uint32_t sectors = medium_sectors(op->drive);
    size_t n;

    format = format ? format : op->packet[9] >> 6;
    switch (format) {
    case 0:
        if (op->packet[6] > 1 && op->packet[6] != 0xaa) {
            fail(op, SENSE_ILLEGAL, ASC_INVALID_FIELD);
            return;
        }
        n = toc_tracks(toc, sectors, msf, op->packet[6]);
        break;
    case 1: /* sessions: one */
        toc[2] = toc[3] = 1;
        toc[5] = 0x14;
        toc[6] = 1;
        put_place(toc + 8, 0, msf);
        n = 12;
        break;
    case 2:
        n = toc_raw(toc, sectors, msf);
        break;
    default:
        fail(op, SENSE_ILLEGAL, ASC_INVALID_FIELD);
        return;
    }
    put_be16(toc, (uint32_t)n - 2);
    answer(op, toc, n, be16(op->packet + 7));
}

static void get_configuration(struct ata_op *op)
{
    static const uint16_t profiles[] = {0x10, 0x08}; /* DVD-ROM, CD-ROM */
    const struct ata_drive *d = op->drive;
    uint32_t sectors = has_medium(d) ? medium_sectors(d) : 0;
    uint16_t current = sectors > DVD_SECTORS ? 0x10 : sectors ? 0x08 : 0;
    uint8_t b[40] = {0};

    put_be32(b, sizeof(b) - 4);
    put_be16(b + 6, current);
    b[10] = 0x03; /* profile list: version 0, persistent, current */
    b[11] = 8;
    for (unsigned i = 0; i < 2; i++) {
        put_be16(b + 12 + 4 * i, profiles[i]);
        b[14 + 4 * i] = profiles[i] == current;
    }
    put_be16(b + 20, 1); /* core: ATAPI */
    b[22] = 0x0b;
    b[23] = 8;
    put_be32(b + 24, 2);
    b[28] = 1;
    put_be16(b + 32, 3); /* removable, tray */
    b[34] = 0x03;
    b[35] = 4;
    b[36] = 0x29;
    answer(op, b, sizeof(b), be16(op->packet + 7));
}

static void get_event_status(struct ata_op *op)
{
    struct ata_state *s = &op->drive->s;
    uint8_t b[8] = {0};
    bool media = op->packet[4] & 0x10;

    if (!(op->packet[1] & 1)) { /* it would have to wait for one */
        fail(op, SENSE_ILLEGAL, ASC_INVALID_FIELD);
        return;
    }
    put_be16(b, media ? 6 : 2);
    b[2] = media ? 4 : 0x80;
    b[3] = 0x10;
    if (media) {
        b[4] = s->event             ? (has_medium(op->drive) ? 2 : 3) /* new medium, removal */
               : s->eject_requested ? 1
                                    : 0;
        s->eject_requested = s->event && s->eject_requested;
        b[5] = (uint8_t)((s->tray_open ? 1 : 0) | (has_medium(op->drive) ? 2 : 0));
        s->event = false;
    }
    answer(op, b, media ? 8 : 4, be16(op->packet + 7));
}

/* Capabilities (page 0x2a), error recovery (1), or both. */
static void mode_sense(struct ata_op *op)
{
    const struct ata_drive *d = op->drive;
    unsigned page = op->packet[2] & 0x3f;
    uint8_t b[64] = {0};
    size_t n = 8;

    if (op->packet[2] >> 6 == 3) {
        fail(op, SENSE_ILLEGAL, 0x39); /* saved values are not supported */
        return;
    }
    if (page != 0x01 && page != 0x2a && page != 0x3f) {
        fail(op, SENSE_ILLEGAL, ASC_INVALID_FIELD);
        return;
    }
    b[2] = has_medium(d) ? 0x01 : 0x70; /* data CD, or no disc */
    if (page == 0x01 || page == 0x3f) {
        b[n] = 0x01;
        b[n + 1] = 6;
        b[n + 3] = 5;
        n += 8;
    }
    if (page == 0x2a || page == 0x3f) {
        b[n] = 0x2a;
        b[n + 1] = 18;
        b[n + 2] = 0x3b; /* reads CD-R, CD-RW, DVD-ROM, DVD-R */
        b[n + 4] = 0x70;
        b[n + 6] = (uint8_t)(0x29 | (d->s.locked ? 2 : 0)); /* tray, can lock and eject */
        put_be16(b + n + 8, 706);
        put_be16(b + n + 10, 2);
        put_be16(b + n + 12, 512);
        put_be16(b + n + 14, 706);
        n += 20;
    }
    put_be16(b, (uint32_t)n - 2);
    answer(op, b, n, be16(op->packet + 7));
}

static void start_stop(struct ata_op *op)
{
    struct ata_state *s = &op->drive->s;
    bool start = op->packet[4] & 1, load_eject = op->packet[4] & 2;

    if (load_eject && !start && !s->tray_open && s->locked) {
        fail(op, has_medium(op->drive) ? SENSE_ILLEGAL : SENSE_NOT_READY, ASC_REMOVAL);
        return;
    }
    if (load_eject && s->tray_open == start) {
        s->tray_open = !start;
        s->event = true;
        s->attention = start && block_backend_has_medium(op->drive->blk);
        s->eject_requested = false;
        block_backend_tray_moved(op->drive->blk, !start);
    }
    succeed(op);
}

static void disc_information(struct ata_op *op)
{
    uint8_t b[34] = {0};

    if (op->packet[1] & 7) {
        fail(op, SENSE_ILLEGAL, ASC_INVALID_FIELD);
        return;
    }
    put_be16(b, sizeof(b) - 2);
    b[2] = 0x0e; /* complete, last session too */
    b[3] = b[4] = b[5] = b[6] = 1;
    b[7] = 0x20;
    memset(b + 16, 0xff, 8);
    answer(op, b, sizeof(b), be16(op->packet + 7));
}

static void mechanism_status(struct ata_op *op)
{
    uint8_t b[8] = {0};

    b[5] = 1;
    answer(op, b, sizeof(b), be16(op->packet + 8));
}

/* ---- dispatch */

static const struct packet_command {
    uint8_t opcode;
    bool needs_medium;
    bool despite_attention; /* is carried out though something is to be told first */
    void (*run)(struct ata_op *);
} commands[] = {
    {0x03, false, true, request_sense},    {0x12, false, true, inquiry},
    {0x1b, false, false, start_stop},      {0x25, true, false, read_capacity},
    {0x43, true, false, read_toc},         {0x46, false, true, get_configuration},
    {0x4a, false, true, get_event_status}, {0x51, true, false, disc_information},
    {0x5a, false, false, mode_sense},      {0xbd, false, false, mechanism_status},
    {0xbe, true, false, read_cd},
};

static const struct packet_command *command_find(uint8_t opcode)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (commands[i].opcode == opcode) {
            return &commands[i];
        }
    }
    return NULL;
}

static bool ready(struct ata_op *op, bool needs_medium, bool despite_attention)
{
    struct ata_state *s = &op->drive->s;

    if (s->attention && !despite_attention) {
        s->attention = false;
        fail(op, SENSE_ATTENTION, ASC_CHANGED);
        return false;
    }
    if (needs_medium && !has_medium(op->drive)) {
        fail(op, SENSE_NOT_READY, ASC_NO_MEDIUM);
        return false;
    }
    return true;
}

void atapi_packet(struct ata_op *op)
{
    const uint8_t *p = op->packet;
    const struct packet_command *command = command_find(p[0]);

    if (command) {
        if (ready(op, command->needs_medium, command->despite_attention)) {
            command->run(op);
        }
        return;
    }
    switch (p[0]) {
    case 0x00: /* TEST UNIT READY */
    case 0x2b: /* SEEK */
        if (ready(op, true, false)) {
            succeed(op);
        }
        break;
    case 0x1e: /* PREVENT ALLOW MEDIUM REMOVAL */
        if (ready(op, false, false)) {
            op->drive->s.locked = p[4] & 1;
            succeed(op);
        }
        break;
    case 0x28: /* READ (10) */
    case 0xa8: /* READ (12) */
        if (ready(op, true, false)) {
            read_sectors(op, be32(p + 2), p[0] == 0x28 ? be16(p + 7) : be32(p + 6));
        }
        break;
    case 0xbb: /* SET CD SPEED */
        succeed(op);
        break;
    default:
        fail(op, SENSE_ILLEGAL, ASC_INVALID_OPCODE);
        break;
    }
}
