/*
 * Disk commands: see ata.h. IDENTIFY, reading and writing in all of PIO, DMA and NCQ, flushes,
 * SET FEATURES, power modes (a disk here never sleeps), and the NCQ error log.
 *
 * Left out, and not offered by IDENTIFY: SMART, security, TRIM, host protected areas, media serial
 * numbers of CFA.
 */
#include "devices/ide/ata.h"

#include "devices/pci/pci.h"

#include <string.h>

#define SECTOR           512u
#define CHUNK_BYTES      (128u << 10)
#define MAX_MULTIPLE     16
#define LBA28_SECTORS    0x0fffffffu

#define CMD_NOP          0x00
#define CMD_DEVICE_RESET 0x08
#define CMD_RECALIBRATE  0x10
#define CMD_READ_LOG     0x2f
#define CMD_VERIFY       0x40
#define CMD_VERIFY_EXT   0x42
#define CMD_INIT_PARAMS  0x91
#define CMD_IDENTIFY_PKT 0xa1
#define CMD_SET_MULTIPLE 0xc6
#define CMD_STANDBY_NOW  0xe0
#define CMD_SLEEP        0xe6
#define CMD_CHECK_POWER  0xe5
#define CMD_FLUSH        0xe7
#define CMD_FLUSH_EXT    0xea
#define CMD_IDENTIFY     0xec
#define CMD_SET_FEATURES 0xef

#define LOG_NCQ_ERROR    0x10

const struct state_field ata_state_fields[] = {
    STATE(struct ata_state, sense_key),
    STATE(struct ata_state, asc),
    STATE(struct ata_state, ascq),
    STATE(struct ata_state, attention),
    STATE(struct ata_state, locked),
    STATE(struct ata_state, tray_open),
    STATE(struct ata_state, event),
    STATE_MAX(struct ata_state, multiple, MAX_MULTIPLE),
    STATE(struct ata_state, ncq_tag),
    STATE(struct ata_state, ncq_status),
    STATE(struct ata_state, ncq_error),
    STATE(struct ata_state, ncq_failed),
    STATE(struct ata_state, eject_requested),
    STATE_PAD(struct ata_state, pad),
    {0},
};

uint64_t ata_sectors(const struct ata_drive *d)
{
    return block_backend_bytes(d->blk) / SECTOR;
}

/* ---- the end of a command */

void ata_op_end(struct ata_op *op, uint8_t error)
{
    g_clear_pointer(&op->buf, g_free);
    op->regs.status = ATA_DRDY | ATA_SEEK | (error ? ATA_ERR : 0);
    op->regs.error = error;
    if (error && ata_is_queued(op->regs.command)) {
        struct ata_state *s = &op->drive->s;

        s->ncq_failed = true;
        s->ncq_tag = op->regs.count >> 3;
        s->ncq_status = op->regs.status;
        s->ncq_error = error;
    }
    op->done(op);
}

void ata_op_answer(struct ata_op *op, void *buf, size_t bytes)
{
    op->to_guest = true;
    op->move(op, buf, bytes, true);
    ata_op_end(op, 0);
}

/* ---- the medium */

static void op_next(struct ata_op *op);

void ata_op_failed(struct ata_op *op, int result)
{
    if (op->drive->kind == ATA_CD) {
        atapi_failed(op, result);
    } else {
        /* Writes have no "uncorrectable". */
        bool aborted = op->request.op != BLOCK_READ || result == -EROFS || result == -ECANCELED;

        ata_op_end(op, aborted ? ATA_ERR_ABRT : ATA_ERR_UNC);
    }
}

static void op_transferred(struct ata_op *op, int result)
{
    if (result < 0) {
        ata_op_failed(op, result);
        return;
    }
    if (op->request.op == BLOCK_READ && op->move(op, op->buf, op->chunk, true) < op->chunk) {
        op->short_of_room = true;
        ata_op_end(op, 0); /* the guest's memory was shorter than the command: its business */
        return;
    }
    op->offset += op->chunk;
    op->left -= op->chunk;
    op_next(op);
}

static void request_done(struct block_request *request, int result)
{
    struct ata_op *op = request->opaque;

    if (op->drive->dev.paused) {
        op->request.result = result;
        g_queue_push_tail(&op->drive->held, op);
    } else if (request->op == BLOCK_FLUSH) {
        if (result < 0) {
            ata_op_failed(op, result);
        } else {
            ata_op_end(op, 0);
        }
    } else if (request->op == BLOCK_DISCARD) {
        ata_trim_next(op, result);
    } else {
        op_transferred(op, result);
    }
}

static void op_next(struct ata_op *op)
{
    bool write = op->request.op == BLOCK_WRITE;

    if (op->left == 0) {
        ata_op_end(op, 0);
        return;
    }
    op->chunk = MIN(op->left, CHUNK_BYTES);
    if (write && op->move(op, op->buf, op->chunk, false) < op->chunk) {
        op->short_of_room = true;
        ata_op_end(op, ATA_ERR_ABRT);
        return;
    }
    op->iov = (struct iovec){op->buf, op->chunk};
    op->request.offset = op->offset;
    op->request.bytes = op->chunk;
    op->request.iov = &op->iov;
    op->request.n_iov = 1;
    op->request.flags = op->fua ? BLOCK_FUA : 0;
    block_backend_submit(op->drive->blk, &op->request);
}

void ata_op_request(struct ata_op *op, enum block_op what)
{
    op->request = (struct block_request){.op = what, .done = request_done, .opaque = op};
}

void ata_op_medium(struct ata_op *op, bool write)
{
    op->to_guest = !write;
    op->buf = g_try_malloc(MIN(op->left, CHUNK_BYTES) + 1);
    if (!op->buf) {
        ata_op_end(op, ATA_ERR_ABRT);
        return;
    }
    ata_op_request(op, write ? BLOCK_WRITE : BLOCK_READ);
    op_next(op);
}

static void op_flush(struct ata_op *op)
{
    ata_op_request(op, BLOCK_FLUSH);
    block_backend_submit(op->drive->blk, &op->request);
}

/* ---- reading and writing */

enum addressing { LBA28, LBA48, NCQ };

static const struct transfer {
    uint8_t command;
    bool write, pio, fua;
    enum addressing addressing;
} transfers[] = {
    {0x20, false, true, false, LBA28}, {0x21, false, true, false, LBA28},
    {0x24, false, true, false, LBA48}, {0x25, false, false, false, LBA48},
    {0x29, false, true, false, LBA48}, {0x30, true, true, false, LBA28},
    {0x31, true, true, false, LBA28},  {0x34, true, true, false, LBA48},
    {0x35, true, false, false, LBA48}, {0x39, true, true, false, LBA48},
    {0x3d, true, false, true, LBA48},  {0xc4, false, true, false, LBA28},
    {0xc5, true, true, false, LBA28},  {0xc8, false, false, false, LBA28},
    {0xca, true, false, false, LBA28}, {0xce, true, true, true, LBA48},
    {0x60, false, false, false, NCQ},  {0x61, true, false, false, NCQ},
};

static const struct transfer *transfer_find(uint8_t command)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(transfers); i++) {
        if (transfers[i].command == command) {
            return &transfers[i];
        }
    }
    return NULL;
}

unsigned ata_pio_block(const struct ata_op *op)
{
    static const uint8_t multiple[] = {0x29, 0x39, 0xc4, 0xc5, 0xce};

    return memchr(multiple, op->regs.command, sizeof(multiple)) && op->drive->s.multiple
               ? op->drive->s.multiple * SECTOR
               : SECTOR;
}

/* First sector and how many; 0 means the most there can be. */
static void extent_of(const struct ata_regs *r, enum addressing how, uint64_t *first, uint32_t *n)
{
    *first = r->lba[0] | r->lba[1] << 8 | (uint64_t)r->lba[2] << 16;
    if (how == LBA28) {
        *first |= (uint64_t)(r->device & 0x0f) << 24;
        *n = r->count ? r->count : 256;
        return;
    }
    *first |= (uint64_t)r->lba[3] << 24 | (uint64_t)r->lba[4] << 32 | (uint64_t)r->lba[5] << 40;
    *n = how == NCQ ? r->feature | r->feature_hob << 8u : r->count | r->count_hob << 8u;
    *n = *n ? *n : 65536;
}

static bool extent_check(struct ata_op *op, enum addressing how)
{
    uint64_t first, total = ata_sectors(op->drive);
    uint32_t n;

    if (!(op->regs.device & 0x40)) { /* cylinders, heads and sectors: no disk of today */
        ata_op_end(op, ATA_ERR_ABRT);
        return false;
    }
    extent_of(&op->regs, how, &first, &n);
    if (first >= total || n > total - first) {
        ata_op_end(op, ATA_ERR_IDNF);
        return false;
    }
    op->offset = first * SECTOR;
    op->left = (uint64_t)n * SECTOR;
    return true;
}

static void transfer_start(struct ata_op *op, const struct transfer *t)
{
    op->pio = t->pio;
    if (extent_check(op, t->addressing)) {
        op->fua = t->fua;
        ata_op_medium(op, t->write);
    }
}

/* ---- IDENTIFY */

static void put16(uint8_t *words, unsigned n, uint16_t value)
{
    words[2 * n] = (uint8_t)value;
    words[2 * n + 1] = (uint8_t)(value >> 8);
}

/* Text is padded with blanks, two characters to a word, the first in the high half. */
static void put_text(uint8_t *words, unsigned first, unsigned n_words, const char *text)
{
    size_t length = strlen(text);

    for (unsigned i = 0; i < 2 * n_words; i++) {
        words[2 * first + (i ^ 1)] = i < length ? (uint8_t)text[i] : ' ';
    }
}

/* One drive to a cable. */
static bool is_serial(const struct ata_drive *d)
{
    return d->bus && d->bus->units == 1;
}

static void identify_common(const struct ata_drive *d, uint8_t *w)
{
    put_text(w, 10, 10, d->cfg.serial);
    put_text(w, 23, 4, d->cfg.version);
    put_text(w, 27, 20, d->cfg.model);
    put16(w, 49, 0x0f00); /* IORDY, LBA, DMA */
    put16(w, 53, 0x0006);
    put16(w, 63, 0x0007); /* multiword DMA */
    put16(w, 64, 0x0003);
    for (unsigned i = 65; i <= 68; i++) {
        put16(w, i, 120);
    }
    put16(w, 80, 0x00f0); /* ATA-4 to ATA-7 */
    put16(w, 88, 0x203f); /* ultra DMA 5 is on */
}

/* World wide name: words 84 and 87 say that 108 to 111 hold it. */
static void identify_wwn(const struct ata_drive *d, uint8_t *w)
{
    for (unsigned i = 0; i < 4 && d->cfg.wwn; i++) {
        put16(w, 108 + i, (uint16_t)(d->cfg.wwn >> (48 - 16 * i)));
    }
}

static void identify_disk(struct ata_op *op)
{
    const struct ata_drive *d = op->drive;
    uint64_t total = ata_sectors(d);
    uint32_t lba28 = (uint32_t)MIN(total, LBA28_SECTORS);
    uint16_t wwn = d->cfg.wwn ? 0x100 : 0;
    uint8_t w[SECTOR] = {0};

    identify_common(d, w);
    put16(w, 0, 0x0040);
    put16(w, 1, (uint16_t)d->geometry.cyls);
    put16(w, 3, (uint16_t)d->geometry.heads);
    put16(w, 4, (uint16_t)(SECTOR * d->geometry.secs)); /* retired, as is the next */
    put16(w, 5, SECTOR);
    put16(w, 6, (uint16_t)d->geometry.secs);
    put16(w, 47, 0x8000 | MAX_MULTIPLE);
    put16(w, 50, 0x4000);
    put16(w, 59, d->s.multiple ? 0x100 | d->s.multiple : 0);
    put16(w, 60, (uint16_t)lba28);
    put16(w, 61, (uint16_t)(lba28 >> 16));
    if (is_serial(d)) {
        put16(w, 75, 31);     /* queue depth 32 */
        put16(w, 76, 0x0102); /* NCQ, 1.5 Gb/s */
    }
    put16(w, 82, 0x4020);       /* NOP, write cache */
    put16(w, 83, 0x7400);       /* 48 bits, both flushes */
    put16(w, 84, 0x4020 | wwn); /* general purpose logs */
    put16(w, 85, 0x4000 | (block_backend_write_cache(d->blk) ? 0x20 : 0));
    put16(w, 86, 0x3400);
    put16(w, 87, 0x4020 | wwn);
    put16(w, 93, is_serial(d) ? 0 : 0x6001);
    for (unsigned i = 0; i < 4; i++) {
        put16(w, 100 + i, (uint16_t)(total >> (16 * i)));
    }
    put16(w, 106, (uint16_t)(0x6000 | disk_sizes_exponent(&d->cfg.sizes)));
    if (d->cfg.sizes.discard) {
        put16(w, 105, ATA_TRIM_BLOCKS);
        put16(w, 169, 1); /* TRIM */
    }
    put16(w, 217, d->cfg.rotation_rate);
    identify_wwn(d, w);
    op->pio = true;
    ata_op_answer(op, w, sizeof(w));
}

static void identify_cd(struct ata_op *op)
{
    uint16_t wwn = op->drive->cfg.wwn ? 0x100 : 0;
    uint8_t w[SECTOR] = {0};

    identify_common(op->drive, w);
    put16(w, 0, 0x85c0); /* ATAPI CD, removable, packets of 12 bytes */
    put16(w, 71, 30);
    put16(w, 72, 30);
    put16(w, 76, is_serial(op->drive) ? 0x0002 : 0);
    put16(w, 82, 0x4010); /* PACKET */
    put16(w, 83, 0x4000);
    put16(w, 84, 0x4000 | wwn);
    put16(w, 85, 0x4010);
    put16(w, 87, 0x4000 | wwn);
    identify_wwn(op->drive, w);
    op->pio = true;
    ata_op_answer(op, w, sizeof(w));
}

/* ---- other commands */

void ata_signature(const struct ata_drive *d, struct ata_regs *r)
{
    bool cd = d->kind == ATA_CD;

    r->count = 1;
    r->lba[0] = 1;
    r->lba[1] = cd ? 0x14 : 0;
    r->lba[2] = cd ? 0xeb : 0;
    r->device = 0;
    r->error = 1; /* diagnostics passed */
    r->status = cd ? 0 : ATA_DRDY | ATA_SEEK;
}

static void set_features(struct ata_op *op)
{
    switch (op->regs.feature) {
    case 0x02: /* write cache on, off */
    case 0x82:
        block_backend_set_write_cache(op->drive->blk, op->regs.feature == 0x02);
        break;
    case 0x03: /* transfer mode: all are the same here */
    case 0x55: /* look-ahead off, on; reverting to defaults off, on */
    case 0xaa:
    case 0x66:
    case 0xcc:
        break;
    default:
        ata_op_end(op, ATA_ERR_ABRT);
        return;
    }
    ata_op_end(op, 0);
}

/* Which queued command failed (ATA8-ACS, A.9); reading it ends that state. */
static void read_log(struct ata_op *op)
{
    struct ata_state *s = &op->drive->s;
    uint8_t page[SECTOR] = {0}, sum = 0;

    if (op->regs.lba[0] != LOG_NCQ_ERROR && op->regs.lba[0] != 0) {
        ata_op_end(op, ATA_ERR_ABRT);
        return;
    }
    op->pio = true;
    if (op->regs.lba[0] == 0) { /* the directory */
        page[0] = 1;
        page[2 * LOG_NCQ_ERROR] = 1;
        ata_op_answer(op, page, sizeof(page));
        return;
    }
    page[0] = s->ncq_failed ? s->ncq_tag : 0x80;
    page[2] = s->ncq_status;
    page[3] = s->ncq_error;
    for (unsigned i = 0; i < SECTOR - 1; i++) {
        sum = (uint8_t)(sum + page[i]);
    }
    page[SECTOR - 1] = (uint8_t)-sum;
    s->ncq_failed = false;
    ata_op_answer(op, page, sizeof(page));
}

static void set_multiple(struct ata_op *op)
{
    uint8_t n = op->regs.count;
    bool ok = n <= MAX_MULTIPLE && (n & (n - 1)) == 0;

    op->drive->s.multiple = ok ? n : op->drive->s.multiple;
    ata_op_end(op, ok ? 0 : ATA_ERR_ABRT);
}

static void disk_command(struct ata_op *op)
{
    const struct transfer *t = transfer_find(op->regs.command);

    if (t) {
        transfer_start(op, t);
        return;
    }
    switch (op->regs.command) {
    case CMD_IDENTIFY:
        identify_disk(op);
        break;
    case CMD_READ_LOG:
        read_log(op);
        break;
    case CMD_VERIFY:
    case CMD_VERIFY_EXT:
        if (extent_check(op, op->regs.command == CMD_VERIFY ? LBA28 : LBA48)) {
            ata_op_end(op, 0);
        }
        break;
    case ATA_CMD_DSM:
        ata_trim(op);
        break;
    case CMD_SET_MULTIPLE:
        set_multiple(op);
        break;
    case CMD_FLUSH:
    case CMD_FLUSH_EXT:
        op_flush(op);
        break;
    case CMD_RECALIBRATE:
    case CMD_INIT_PARAMS:
        ata_op_end(op, 0);
        break;
    default:
        ata_op_end(op, ATA_ERR_ABRT);
        break;
    }
}

static void cd_command(struct ata_op *op)
{
    switch (op->regs.command) {
    case ATA_CMD_PACKET:
        atapi_packet(op);
        break;
    case CMD_IDENTIFY_PKT:
        identify_cd(op);
        break;
    case CMD_DEVICE_RESET:
        ata_signature(op->drive, &op->regs);
        op->done(op);
        break;
    case CMD_IDENTIFY: /* aborted with the signature: here is a packet device */
        ata_signature(op->drive, &op->regs);
        ata_op_end(op, ATA_ERR_ABRT);
        break;
    default:
        ata_op_end(op, ATA_ERR_ABRT);
        break;
    }
}

void ata_op_start(struct ata_op *op)
{
    uint8_t command = op->regs.command;

    op->buf = NULL;
    op->pio = op->to_guest = op->fua = op->short_of_room = false;
    if (command == CMD_SET_FEATURES) {
        set_features(op);
    } else if (command == ATA_CMD_DIAGNOSTIC) {
        ata_signature(op->drive, &op->regs);
        op->done(op);
    } else if (command >= CMD_STANDBY_NOW && command <= CMD_SLEEP && command != 0xe4) {
        op->regs.count = command == CMD_CHECK_POWER ? 0xff : op->regs.count; /* active */
        ata_op_end(op, 0);
    } else if (op->drive->kind == ATA_CD) {
        cd_command(op);
    } else {
        disk_command(op);
    }
}

/* ---- drives as devices */

struct ide_bus *ide_bus_new(struct device_env *env, const char *controller_id, unsigned number,
                            unsigned units)
{
    struct ide_bus *bus = g_new0(struct ide_bus, 1);

    if (!env->ide_buses) {
        env->ide_buses = g_ptr_array_new();
    }
    bus->name = g_strdup_printf("%s.%u", controller_id ? controller_id : "ide", number);
    bus->units = units;
    bus->number = number;
    g_ptr_array_add(env->ide_buses, bus);
    return bus;
}

void ide_bus_free(struct device_env *env, struct ide_bus *bus)
{
    if (!bus) {
        return;
    }
    for (unsigned i = 0; i < IDE_UNITS; i++) {
        if (bus->drive[i]) {
            bus->drive[i]->bus = NULL;
        }
    }
    g_ptr_array_remove(env->ide_buses, bus);
    if (env->ide_buses->len == 0) {
        g_clear_pointer(&env->ide_buses, g_ptr_array_unref);
    }
    g_free(bus->name);
    g_free(bus);
}

/* The bus by name, else the first with a free place. */
static struct ide_bus *bus_choose(struct ata_drive *d, GError **error)
{
    GPtrArray *buses = d->dev.env->ide_buses;

    for (guint i = 0; buses && i < buses->len; i++) {
        struct ide_bus *bus = buses->pdata[i];

        if (d->cfg.bus ? strcmp(bus->name, d->cfg.bus) == 0
                       : !bus->drive[0] || (bus->units > 1 && !bus->drive[1])) {
            return bus;
        }
    }
    g_set_error(error, DEVICE_ERROR, 0, "%s: %s%s%s", d->dev.class->name,
                d->cfg.bus ? "there is no IDE bus '" : "no IDE bus has a free place",
                d->cfg.bus ? d->cfg.bus : "", d->cfg.bus ? "'" : "");
    return NULL;
}

static bool bus_attach(struct ata_drive *d, GError **error)
{
    struct ide_bus *bus = bus_choose(d, error);

    if (!bus) {
        return false;
    }
    if (d->cfg.unit == UINT32_MAX) {
        d->cfg.unit = bus->drive[0] && bus->units > 1 ? 1 : 0;
    }
    if (d->cfg.unit >= bus->units || bus->drive[d->cfg.unit]) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: unit %u of bus '%s' %s", d->dev.class->name,
                    d->cfg.unit, bus->name,
                    d->cfg.unit >= bus->units ? "does not exist" : "is taken");
        return false;
    }
    d->bus = bus;
    bus->drive[d->cfg.unit] = d;
    return true;
}

static void medium_changed(void *opaque, bool loaded)
{
    atapi_medium_changed(opaque, loaded);
}

static bool tray_is_open(void *opaque)
{
    return ((struct ata_drive *)opaque)->s.tray_open;
}

static bool medium_is_locked(void *opaque)
{
    return ((struct ata_drive *)opaque)->s.locked;
}

static void eject_request(void *opaque, bool force)
{
    struct ata_drive *d = opaque;

    d->s.eject_requested = true;
    if (force) {
        d->s.locked = false;
    }
}

static const struct block_dev_ops cd_ops = {
    .medium_changed = medium_changed,
    .tray_is_open = tray_is_open,
    .medium_is_locked = medium_is_locked,
    .eject_request = eject_request,
};
static const struct block_dev_ops disk_ops;

static bool backend_attach(struct ata_drive *d, GError **error)
{
    struct device_env *env = d->dev.env;
    bool cd = d->kind == ATA_CD;
    const struct block_attach attach = {
        .ops = cd ? &cd_ops : &disk_ops,
        .opaque = d,
        .loop = env->loop,
        .qdev = d->dev.id,
        .read_only = cd,
        .removable = cd,
        .share_rw = d->cfg.share_rw,
        .no_write_cache = d->cfg.write_cache == ON_OFF_AUTO_OFF,
        .rerror = (enum blockdev_on_error)d->cfg.rerror,
        .werror = (enum blockdev_on_error)d->cfg.werror,
    };

    if (!cd && !d->cfg.drive) {
        g_set_error(error, DEVICE_ERROR, 0, "ide-hd: property 'drive' is not set");
        return false;
    }
    if (!env->block) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: this machine has no block nodes",
                    d->dev.class->name);
        return false;
    }
    if (!cd && block_name_is_read_only(env->block, d->cfg.drive)) {
        g_set_error(error, DEVICE_ERROR, 0, "ide-hd: '%s' is read-only, which a disk can't be",
                    d->cfg.drive);
        return false;
    }
    d->blk = block_backend_attach(env->block, d->cfg.drive, &attach, error);
    if (d->blk && !cd && !block_backend_has_medium(d->blk)) {
        g_set_error(error, DEVICE_ERROR, 0, "Device needs media, but drive is empty");
        return false;
    }
    return d->blk != NULL;
}

static void text_default(char **field, const char *text)
{
    if (!*field) {
        *field = g_strdup(text);
    }
}

static bool sizes_fit(const struct ata_drive *d, GError **error)
{
    const struct disk_sizes *s = &d->cfg.sizes;
    const char *class = d->dev.class->name;

    if (!disk_sizes_check(s, class, error)) {
        return false;
    }
    if (s->logical != SECTOR) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: logical_block_size must be 512 for IDE", class);
        return false;
    }
    if (s->discard && s->discard != DISK_DISCARD_ANY && s->discard != SECTOR) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: discard_granularity must be 512 for IDE, or 0",
                    class);
        return false;
    }
    return true;
}

static bool drive_realize(struct device *dev, GError **error)
{
    struct ata_drive *d = (struct ata_drive *)dev;
    g_autofree char *serial = NULL;

    d->kind = dev->class == &ide_cd_class ? ATA_CD : ATA_DISK;
    g_queue_init(&d->held);
    if (!sizes_fit(d, error) || !bus_attach(d, error) || !backend_attach(d, error)) {
        return false;
    }
    if (d->kind == ATA_DISK && !ata_geometry_choose(d, error)) {
        return false;
    }
    serial = g_strdup_printf("GW%05u",
                             d->cfg.unit + 2 * (unsigned)d->bus->name[strlen(d->bus->name) - 1]);
    text_default(&d->cfg.serial, serial);
    text_default(&d->cfg.model, d->kind == ATA_CD ? "GODWIT DVD-ROM" : "GODWIT HARDDISK");
    text_default(&d->cfg.version, "1.0");
    if (d->bus->attached) {
        d->bus->attached(d->bus->opaque, d->cfg.unit);
    }
    return true;
}

static void drive_unrealize(struct device *dev)
{
    struct ata_drive *d = (struct ata_drive *)dev;

    if (d->blk) {
        block_backend_detach(d->blk);
        d->blk = NULL;
    }
    if (d->bus) {
        d->bus->drive[d->cfg.unit] = NULL;
        d->bus = NULL;
    }
}

void ata_drive_reset(struct ata_drive *d)
{
    d->s.multiple = 0;
    d->s.ncq_failed = false;
    d->s.sense_key = d->s.asc = d->s.ascq = 0;
}

static void drive_reset(struct device *dev, enum reset_kind kind)
{
    struct ata_drive *d = (struct ata_drive *)dev;
    bool tray_open = d->s.tray_open;

    memset(&d->s, 0, sizeof(d->s));
    d->s.tray_open = tray_open;
}

static void drive_resume(struct device *dev)
{
    struct ata_drive *d = (struct ata_drive *)dev;
    GQueue held = d->held;

    g_queue_init(&d->held);
    for (struct ata_op *op; (op = g_queue_pop_head(&held));) {
        request_done(&op->request, op->request.result);
    }
}

/* clang-format off */
#define DRIVE_PROPS \
    {"drive", PROP_STRING, offsetof(struct ata_drive, cfg.drive), \
     .help = "id of a -drive, or name of a block node"}, \
    {"bus", PROP_STRING, offsetof(struct ata_drive, cfg.bus), .help = "its bus, as ide.0"}, \
    {"unit", PROP_U32, offsetof(struct ata_drive, cfg.unit), .def = UINT32_MAX, \
     .help = "its place on the bus"}, \
    {"rerror", PROP_ENUM, offsetof(struct ata_drive, cfg.rerror), .def = BLOCKDEV_ON_ERROR_AUTO, \
     .values = &blockdev_on_error_type, .help = "what a failed read does"}, \
    {"werror", PROP_ENUM, offsetof(struct ata_drive, cfg.werror), .def = BLOCKDEV_ON_ERROR_AUTO, \
     .values = &blockdev_on_error_type, .help = "what a failed write does"}, \
    {"serial", PROP_STRING, offsetof(struct ata_drive, cfg.serial), .help = "serial number"}, \
    {"wwn", PROP_U64, offsetof(struct ata_drive, cfg.wwn), .help = "world wide name"}, \
    {"share-rw", PROP_BOOL, offsetof(struct ata_drive, cfg.share_rw), \
     .help = "others may write to the drive too"}, \
    {"write-cache", PROP_ENUM, offsetof(struct ata_drive, cfg.write_cache), \
     .def = ON_OFF_AUTO_AUTO, .values = &on_off_auto_type, \
     .help = "whether writes are done before they are stable"}, \
    DISK_SIZE_PROPERTIES(struct ata_drive, cfg.sizes), \
    {"model", PROP_STRING, offsetof(struct ata_drive, cfg.model), .help = "model"}, \
    {"ver", PROP_STRING, offsetof(struct ata_drive, cfg.version), .help = "firmware revision"}
/* clang-format on */

static const struct property hd_props[] = {
    DRIVE_PROPS,
    {"cyls", PROP_U32, offsetof(struct ata_drive, cfg.cyls),
     .help = "cylinders (default: guessed)"},
    {"heads", PROP_U32, offsetof(struct ata_drive, cfg.heads), .help = "heads"},
    {"secs", PROP_U32, offsetof(struct ata_drive, cfg.secs), .help = "sectors of a track"},
    {"rotation_rate", PROP_U16, offsetof(struct ata_drive, cfg.rotation_rate), .def = 1,
     .help = "turns in a minute; 1: it does not turn, 0: not told"},
    BIOS_GEOMETRY_PROPERTIES(struct ata_drive, cfg.bios),
    {"bios-chs-trans", PROP_ENUM, offsetof(struct ata_drive, cfg.translation),
     .def = BIOS_ATA_TRANSLATION_AUTO, .values = &bios_ata_translation_type,
     .help = "how the BIOS makes these fit its interface"},
    {NULL},
};

static const struct property cd_props[] = {DRIVE_PROPS, {NULL}};

static const struct state_desc hd_desc = {.name = "ide-hd",
                                          .version = 1,
                                          .min_version = 1,
                                          .size = sizeof(struct ata_state),
                                          .fields = ata_state_fields};
static const struct state_desc cd_desc = {.name = "ide-cd",
                                          .version = 1,
                                          .min_version = 1,
                                          .size = sizeof(struct ata_state),
                                          .fields = ata_state_fields};

static char *drive_boot_path(struct device *dev)
{
    const struct ata_drive *d = (struct ata_drive *)dev;
    g_autofree char *controller = pci_firmware_path(d->bus->controller);

    return g_strdup_printf("%s/drive@%x/disk@%x", controller, d->bus->number, d->cfg.unit);
}

static struct bios_geometry drive_bios_geometry(const struct device *dev)
{
    return ((const struct ata_drive *)dev)->cfg.bios;
}

const struct device_class ide_hd_class = {
    .boot_path = drive_boot_path,
    .bios_geometry = drive_bios_geometry,
    .name = "ide-hd",
    .help = "disk on an IDE or SATA bus",
    .bus = BUS_IDE,
    .size = sizeof(struct ata_drive),
    .props = hd_props,
    .state = &hd_desc,
    .state_offset = offsetof(struct ata_drive, s),
    .realize = drive_realize,
    .unrealize = drive_unrealize,
    .reset = drive_reset,
    .resume = drive_resume,
};

const struct device_class ide_cd_class = {
    .boot_path = drive_boot_path,
    .name = "ide-cd",
    .help = "CD drive on an IDE or SATA bus",
    .bus = BUS_IDE,
    .size = sizeof(struct ata_drive),
    .props = cd_props,
    .state = &cd_desc,
    .state_offset = offsetof(struct ata_drive, s),
    .realize = drive_realize,
    .unrealize = drive_unrealize,
    .reset = drive_reset,
    .resume = drive_resume,
};
