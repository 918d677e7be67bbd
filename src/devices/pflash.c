/*
 * cfi.pflash01: flash memory with the Intel command set (JEDEC CFI publication 100, algorithm 1),
 * one byte wide, blocks of 4 KiB, as PC firmware expects it below 4 GiB.
 *
 * It reads as memory until a command says otherwise; so code runs from it at full speed, and a
 * write is what costs. What a guest programs and erases reaches the drive when it goes back to
 * reading, as one write for all that changed between.
 *
 * Status bits are as firmware for virtual machines knows them: after a clear all are zero, and the
 * ready bit comes with the first program or erase. Left out: buffered writes, suspending, locks
 * (the commands are taken and lock nothing).
 */
#include "devices/pflash.h"

#include "base/log.h"
#include "block/block.h"
#include <string.h>

#define BLOCK_BYTES     4096u
#define MAX_BYTES       (16u << 20)

#define CMD_PROGRAM     0x10
#define CMD_PROGRAM_2   0x40
#define CMD_ERASE       0x20
#define CMD_CLEAR       0x50
#define CMD_LOCK        0x60
#define CMD_STATUS      0x70
#define CMD_ID          0x90
#define CMD_QUERY       0x98
#define CMD_CONFIRM     0xd0
#define CMD_READ        0xff

#define STATUS_READY    0x80
#define STATUS_ERASE    0x20 /* failed */
#define STATUS_PROGRAM  0x10 /* failed */

#define ID_MANUFACTURER 0x89
#define ID_DEVICE       0x18

struct pflash_state {
    uint8_t command; /* CMD_READ: the memory shows */
    uint8_t status;
    bool second; /* the command waits for its second write */
    uint8_t pad[5];
};

static const struct state_field pflash_fields[] = {
    STATE(struct pflash_state, command),
    STATE(struct pflash_state, status),
    STATE(struct pflash_state, second),
    STATE_PAD(struct pflash_state, pad),
    {0},
};

static const struct state_desc pflash_desc = {.name = "pflash",
                                              .version = 1,
                                              .min_version = 1,
                                              .size = sizeof(struct pflash_state),
                                              .fields = pflash_fields};

struct pflash {
    struct device dev;
    struct {
        char *drive;
        uint64_t last;
    } cfg;
    struct pflash_state s;
    struct block_backend *blk;
    struct ram_block *ram;
    struct region memory, registers; /* one of them is mapped */
    bool read_only, reading;
    uint64_t dirty_from, dirty_to; /* bytes that the drive does not have yet */
};

/* A write to the drive that is under way, with its own copy of the bytes. */
struct store {
    struct block_request request;
    struct iovec iov;
    char *name;
    uint8_t bytes[];
};

static gpa_t base_of(const struct pflash *d)
{
    return d->cfg.last + 1 - d->ram->size;
}

/* ---- the drive */

static void store_done(struct block_request *request, int result)
{
    struct store *store = request->opaque;

    if (result < 0) {
        log_warn("pflash: cannot write drive '%s': %s", store->name, g_strerror(-result));
    }
    g_free(store->name);
    g_free(store);
}

static void dirty_store(struct pflash *d)
{
    uint64_t from = d->dirty_from & ~(uint64_t)(BLOCK_SECTOR_BYTES - 1);
    uint64_t to = (d->dirty_to + BLOCK_SECTOR_BYTES - 1) & ~(uint64_t)(BLOCK_SECTOR_BYTES - 1);
    struct store *store;

    if (d->dirty_from == d->dirty_to) {
        return;
    }
    store = g_malloc0(sizeof(*store) + (to - from));
    memcpy(store->bytes, d->ram->host + from, to - from);
    store->name = g_strdup(d->cfg.drive);
    store->iov = (struct iovec){store->bytes, to - from};
    store->request = (struct block_request){.op = BLOCK_WRITE,
                                            .offset = from,
                                            .bytes = to - from,
                                            .iov = &store->iov,
                                            .n_iov = 1,
                                            .done = store_done,
                                            .opaque = store};
    d->dirty_from = d->dirty_to = 0;
    block_backend_submit(d->blk, &store->request);
}

static void dirty_add(struct pflash *d, uint64_t from, uint64_t to)
{
    if (d->dirty_from == d->dirty_to) {
        d->dirty_from = from;
        d->dirty_to = to;
    } else {
        d->dirty_from = MIN(d->dirty_from, from);
        d->dirty_to = MAX(d->dirty_to, to);
    }
    address_space_block_written(d->dev.env->mem, d->ram, from, to - from);
}

/* ---- what shows */

static void map_update(struct pflash *d)
{
    struct address_space *mem = d->dev.env->mem;
    bool reading = d->s.command == CMD_READ;

    if (reading == d->reading) {
        return;
    }
    d->reading = reading;
    address_space_begin(mem);
    address_space_unmap(mem, reading ? &d->registers : &d->memory);
    address_space_map(mem, base_of(d), reading ? &d->memory : &d->registers, 1);
    address_space_commit(mem);
}

static void command_set(struct pflash *d, uint8_t command, bool second)
{
    d->s.command = command;
    d->s.second = second;
    map_update(d);
    if (command == CMD_READ) {
        dirty_store(d);
    }
}

/* ---- commands */

static void program(struct pflash *d, uint64_t offset, uint8_t value)
{
    if (d->read_only) {
        d->s.status |= STATUS_PROGRAM;
    } else {
        d->ram->host[offset] &= value; /* bits go from one to zero only */
        dirty_add(d, offset, offset + 1);
    }
    d->s.status |= STATUS_READY;
}

static void erase(struct pflash *d, uint64_t offset)
{
    offset &= ~(uint64_t)(BLOCK_BYTES - 1);
    if (d->read_only) {
        d->s.status |= STATUS_ERASE;
    } else {
        memset(d->ram->host + offset, 0xff, BLOCK_BYTES);
        dirty_add(d, offset, offset + BLOCK_BYTES);
    }
    d->s.status |= STATUS_READY;
}

static void first_write(struct pflash *d, uint8_t value)
{
    switch (value) {
    case CMD_PROGRAM:
    case CMD_PROGRAM_2:
    case CMD_ERASE:
    case CMD_LOCK:
        command_set(d, value, true);
        break;
    case CMD_STATUS:
    case CMD_ID:
    case CMD_QUERY:
        command_set(d, value, false);
        break;
    case CMD_CLEAR:
        d->s.status = 0;
        command_set(d, CMD_READ, false);
        break;
    default:
        command_set(d, CMD_READ, false);
        break;
    }
}

static void second_write(struct pflash *d, uint64_t offset, uint8_t value)
{
    uint8_t command = d->s.command;

    command_set(d, CMD_STATUS, false);
    if (command == CMD_PROGRAM || command == CMD_PROGRAM_2) {
        program(d, offset, value);
    } else if (value == CMD_READ) {
        command_set(d, CMD_READ, false);
    } else if (command == CMD_ERASE && value == CMD_CONFIRM) {
        erase(d, offset);
    } else if (command == CMD_LOCK && (value == CMD_CONFIRM || value == 0x01)) {
        d->s.status |= STATUS_READY;
    } else {
        d->s.status |= STATUS_READY | STATUS_ERASE | STATUS_PROGRAM; /* a bad sequence */
    }
}

static void pflash_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct pflash *d = opaque;

    if (d->s.second) {
        second_write(d, offset, (uint8_t)value);
    } else {
        first_write(d, (uint8_t)value);
    }
}

/* The query table: "QRY", algorithm 1, one region of blocks of 4 KiB. */
static uint8_t query(const struct pflash *d, uint64_t offset)
{
    uint32_t blocks = (uint32_t)(d->ram->size / BLOCK_BYTES) - 1;

    switch (offset & 0xff) {
    case 0x10:
        return 'Q';
    case 0x11:
        return 'R';
    case 0x12:
        return 'Y';
    case 0x13: /* command set */
        return 1;
    case 0x15:
        return 0x31;
    case 0x1b: /* supply voltage */
        return 0x45;
    case 0x1c:
        return 0x55;
    case 0x1f: /* times, as powers of two */
    case 0x21:
        return 7;
    case 0x27: /* size, likewise */
        return (uint8_t)(63 - __builtin_clzll(d->ram->size));
    case 0x2c:
        return 1;
    case 0x2d:
        return (uint8_t)blocks;
    case 0x2e:
        return (uint8_t)(blocks >> 8);
    case 0x2f:
        return BLOCK_BYTES / 256;
    default:
        return 0;
    }
}

static uint64_t pflash_read(void *opaque, gpa_t offset, unsigned size)
{
    const struct pflash *d = opaque;

    switch (d->s.command) {
    case CMD_ID:
        return (offset & 0xff) == 0 ? ID_MANUFACTURER : (offset & 0xff) == 1 ? ID_DEVICE : 0;
    case CMD_QUERY:
        return query(d, offset);
    default:
        return d->s.status;
    }
}

static const struct region_ops pflash_ops = {
    .read = pflash_read, .write = pflash_write, .min_size = 1, .max_size = 1};

/* ---- class */

static bool drive_attach(struct pflash *d, GError **error)
{
    struct block_graph *block = d->dev.env->block;
    struct block_attach attach = {.loop = d->dev.env->loop, .qdev = "pflash"};

    if (!block || !d->cfg.drive) {
        g_set_error(error, DEVICE_ERROR, 0, "pflash: there is no drive for it");
        return false;
    }
    d->read_only = block_name_is_read_only(block, d->cfg.drive);
    attach.read_only = d->read_only;
    d->blk = block_backend_attach(block, d->cfg.drive, &attach, error);
    return d->blk != NULL;
}

static bool contents_load(struct pflash *d, GError **error)
{
    uint64_t bytes = block_backend_bytes(d->blk);
    int result;

    if (bytes == 0 || bytes > MAX_BYTES || bytes % BLOCK_BYTES || bytes > d->cfg.last + 1) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "pflash: drive '%s' has %" G_GUINT64_FORMAT " bytes: it must be whole blocks "
                    "of 4 KiB, at most %u MiB",
                    d->cfg.drive, bytes, MAX_BYTES >> 20);
        return false;
    }
    d->ram = ram_block_new("pflash", bytes, error);
    if (!d->ram) {
        return false;
    }
    device_add_ram(&d->dev, d->ram);
    result = block_backend_read(d->blk, 0, d->ram->host, bytes);
    if (result < 0) {
        g_set_error(error, DEVICE_ERROR, 0, "pflash: cannot read drive '%s': %s", d->cfg.drive,
                    g_strerror(-result));
    }
    return result >= 0;
}

static bool pflash_realize(struct device *dev, GError **error)
{
    struct pflash *d = (struct pflash *)dev;

    if (!drive_attach(d, error) || !contents_load(d, error)) {
        return false;
    }
    d->memory = (struct region){.name = "pflash",
                                .kind = REGION_ROM,
                                .size = d->ram->size,
                                .ram = d->ram,
                                .ops = &pflash_ops,
                                .opaque = d};
    d->registers = (struct region){.name = "pflash-registers",
                                   .kind = REGION_IO,
                                   .size = d->ram->size,
                                   .ops = &pflash_ops,
                                   .opaque = d};
    d->s.command = CMD_READ;
    d->reading = true;
    address_space_map(dev->env->mem, base_of(d), &d->memory, 1);
    return true;
}

static void pflash_unrealize(struct device *dev)
{
    struct pflash *d = (struct pflash *)dev;

    if (d->reading || d->s.command) {
        dirty_store(d);
        address_space_unmap(dev->env->mem, d->reading ? &d->memory : &d->registers);
    }
    block_backend_detach(d->blk);
    device_remove_ram(dev, d->ram);
    ram_block_free(d->ram);
}

static void pflash_reset(struct device *dev, enum reset_kind kind)
{
    struct pflash *d = (struct pflash *)dev;

    d->s.status = 0;
    command_set(d, CMD_READ, false);
}

/* A machine that stands has its drives as its guest left them. */
static void pflash_pause(struct device *dev)
{
    dirty_store((struct pflash *)dev);
}

static bool pflash_post_load(struct device *dev, GError **error)
{
    map_update((struct pflash *)dev);
    return true;
}

static const struct property pflash_props[] = {
    {"last", PROP_U64, offsetof(struct pflash, cfg.last), .def = UINT32_MAX,
     .help = "where its last byte is"},
    {"drive", PROP_STRING, offsetof(struct pflash, cfg.drive), .help = "what it keeps"},
    {NULL},
};

const struct device_class pflash_class = {
    .name = "cfi.pflash01",
    .help = "flash memory",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct pflash),
    .props = pflash_props,
    .state = &pflash_desc,
    .state_offset = offsetof(struct pflash, s),
    .realize = pflash_realize,
    .unrealize = pflash_unrealize,
    .reset = pflash_reset,
    .pause = pflash_pause,
    .post_load = pflash_post_load,
};

struct device *pflash_create(struct device_env *env, const char *drive, gpa_t last, GError **error)
{
    struct device *dev = device_new(&pflash_class, env);

    ((struct pflash *)dev)->cfg.last = last;
    return device_set_property(dev, "drive", drive, error) && device_realize(dev, error) ? dev
                                                                                         : NULL;
}

const struct region *pflash_region(const struct device *flash)
{
    return &((const struct pflash *)flash)->memory;
}
