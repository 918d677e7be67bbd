/*
 * fw_cfg: the firmware configuration interface (QEMU's docs/specs/fw_cfg): items by number and
 * files by name, read through ports 0x510 (selector), 0x511 (data) and 0x514 (DMA).
 *
 * Items are what the board and the user put there before the machine starts. A guest can write the
 * files made for that, by DMA and within their length; anything else ends with the error bit and
 * changes nothing. A DMA read past the end of an item gives zeros; at most 16 MiB of them in one
 * command, then the error bit.
 */
#include "devices/fw-cfg.h"
#include <string.h>

#define FW_CFG_PORT    0x510
#define REG_SELECT     0
#define REG_DATA       1
#define REG_DMA        4 /* high half of the address, big-endian; 8: low half, starts it */

#define ID_TRADITIONAL 0x1
#define ID_DMA         0x2

#define DMA_ERROR      0x01
#define DMA_READ       0x02
#define DMA_SKIP       0x04
#define DMA_SELECT     0x08
#define DMA_WRITE      0x10

#define DMA_SIGNATURE  0x51454d5520434647ull /* "QEMU CFG" */
#define DMA_MAX_ZEROS  (16u << 20)

#define KEY_MASK       0xbfff /* bit 14: an obsolete way to write */
#define N_ITEMS        0x20   /* fixed selectors, plain and 0x8000 */
#define FILE_KEY       0x20
#define MAX_FILES      64
#define NAME_SIZE      (FW_CFG_NAME_MAX + 1)
#define MAX_WRITABLE   8
#define WRITABLE_BYTES 256 /* of all writable files together */

struct fw_cfg_state {
    uint64_t dma_addr;
    uint8_t writable[WRITABLE_BYTES]; /* contents of the writable files */
    uint32_t offset;
    uint16_t key;
    uint8_t pad[2];
};

static const struct state_field fw_cfg_fields[] = {
    STATE(struct fw_cfg_state, dma_addr), STATE_ARRAY(struct fw_cfg_state, writable),
    STATE(struct fw_cfg_state, offset),   STATE(struct fw_cfg_state, key),
    STATE_PAD(struct fw_cfg_state, pad),  {0},
};

static const struct state_desc fw_cfg_desc = {
    .name = "fw_cfg",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct fw_cfg_state),
    .fields = fw_cfg_fields,
};

/* What may be written of a file. */
struct writable {
    uint16_t key;
    uint16_t at, length; /* in the state's writable[] */
    fw_cfg_written_fn written;
    void *opaque;
};

struct fw_cfg {
    struct device dev;
    struct fw_cfg_state s;
    struct region region;
    GBytes *item[2][N_ITEMS + MAX_FILES]; /* [1]: selectors with bit 15; as after a reset */
    char *file_name[MAX_FILES];
    unsigned n_files;
    struct writable writable[MAX_WRITABLE];
    unsigned n_writable;
    void (*reading)(void *opaque, const char *name);
    void *reading_opaque;
};

/* ---- items */

static GBytes **item_at(struct fw_cfg *d, uint16_t key)
{
    unsigned n = key & 0x3fff;

    return n < N_ITEMS + MAX_FILES ? &d->item[key >> 15][n] : NULL;
}

void fw_cfg_set(struct device *fw, uint16_t key, const void *data, size_t length)
{
    GBytes **item = item_at((struct fw_cfg *)fw, key);

    g_assert(item);
    g_clear_pointer(item, g_bytes_unref);
    *item = g_bytes_new(data, length);
}

static void put_be(uint8_t *bytes, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    }
}

static void set_le(struct device *fw, uint16_t key, uint64_t value, unsigned size)
{
    uint8_t bytes[8];

    for (unsigned i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    fw_cfg_set(fw, key, bytes, size);
}

void fw_cfg_set_u16(struct device *fw, uint16_t key, uint16_t value)
{
    set_le(fw, key, value, 2);
}

void fw_cfg_set_u32(struct device *fw, uint16_t key, uint32_t value)
{
    set_le(fw, key, value, 4);
}

void fw_cfg_set_u64(struct device *fw, uint16_t key, uint64_t value)
{
    set_le(fw, key, value, 8);
}

/* The directory: a count, then for each file size, selector, reserved, name; all big-endian. */
static void directory_update(struct fw_cfg *d)
{
    g_autofree uint8_t *dir = g_malloc0(4 + (size_t)d->n_files * (8 + NAME_SIZE));

    put_be(dir, d->n_files, 4);
    for (unsigned i = 0; i < d->n_files; i++) {
        uint8_t *entry = dir + 4 + (size_t)i * (8 + NAME_SIZE);
        uint16_t key = (uint16_t)(FILE_KEY + i);

        put_be(entry, g_bytes_get_size(*item_at(d, key)), 4);
        put_be(entry + 4, key, 2);
        g_strlcpy((char *)entry + 8, d->file_name[i], NAME_SIZE);
    }
    fw_cfg_set(&d->dev, FW_CFG_FILE_DIR, dir, 4 + (size_t)d->n_files * (8 + NAME_SIZE));
}

bool fw_cfg_has_file(const struct device *fw, const char *name)
{
    const struct fw_cfg *d = (const struct fw_cfg *)fw;
    unsigned i = 0;

    while (i < d->n_files && strcmp(d->file_name[i], name) != 0) {
        i++;
    }
    return i < d->n_files;
}

bool fw_cfg_add_file(struct device *fw, const char *name, const void *data, size_t length,
                     GError **error)
{
    struct fw_cfg *d = (struct fw_cfg *)fw;
    unsigned i = 0;

    if (!*name || strlen(name) >= NAME_SIZE) {
        g_set_error(error, DEVICE_ERROR, 0, "fw_cfg: file name '%s' must have 1 to %d characters",
                    name, NAME_SIZE - 1);
        return false;
    }
    if (length > UINT32_MAX) {
        g_set_error(error, DEVICE_ERROR, 0, "fw_cfg: file '%s' is larger than 4 GiB", name);
        return false;
    }
    while (i < d->n_files && strcmp(d->file_name[i], name) != 0) {
        i++;
    }
    if (i == MAX_FILES) {
        g_set_error(error, DEVICE_ERROR, 0, "fw_cfg: no room for file '%s', there are %d already",
                    name, MAX_FILES);
        return false;
    }
    if (i == d->n_files) {
        d->file_name[d->n_files++] = g_strdup(name);
    }
    fw_cfg_set(fw, (uint16_t)(FILE_KEY + i), data, length);
    directory_update(d);
    return true;
}

/* ---- writable files */

static struct writable *writable_find(struct fw_cfg *d, uint16_t key)
{
    for (unsigned i = 0; i < d->n_writable; i++) {
        if (d->writable[i].key == key) {
            return &d->writable[i];
        }
    }
    return NULL;
}

static void writable_tell(struct fw_cfg *d, const struct writable *w)
{
    w->written(w->opaque, d->s.writable + w->at, w->length);
}

/* Back to what their owners put there. */
static void writables_reset(struct fw_cfg *d)
{
    memset(d->s.writable, 0, sizeof(d->s.writable));
    for (unsigned i = 0; i < d->n_writable; i++) {
        const struct writable *w = &d->writable[i];

        memcpy(d->s.writable + w->at, g_bytes_get_data(*item_at(d, w->key), NULL), w->length);
        writable_tell(d, w);
    }
}

bool fw_cfg_add_writable_file(struct device *fw, const char *name, const void *data, size_t length,
                              fw_cfg_written_fn written, void *opaque, GError **error)
{
    struct fw_cfg *d = (struct fw_cfg *)fw;
    unsigned used = 0, first = d->n_files;

    for (unsigned i = 0; i < d->n_writable; i++) {
        used += d->writable[i].length;
    }
    if (length == 0 || length > WRITABLE_BYTES - used || d->n_writable == MAX_WRITABLE) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "fw_cfg: no room for the writable file '%s' of %zu bytes, there are %u bytes "
                    "in %u files of %d already",
                    name, length, used, d->n_writable, MAX_WRITABLE);
        return false;
    }
    if (!fw_cfg_add_file(fw, name, data, length, error)) {
        return false;
    }
    if (d->n_files == first) {
        g_set_error(error, DEVICE_ERROR, 0, "fw_cfg: there is a file '%s' already", name);
        return false;
    }
    d->writable[d->n_writable++] = (struct writable){.key = (uint16_t)(FILE_KEY + first),
                                                     .at = (uint16_t)used,
                                                     .length = (uint16_t)length,
                                                     .written = written,
                                                     .opaque = opaque};
    memcpy(d->s.writable + used, data, length);
    return true;
}

/* ---- reading */

/* The selected item, NULL and 0 when there is none. */
static const uint8_t *selected(struct fw_cfg *d, size_t *length)
{
    GBytes **item = item_at(d, d->s.key);
    const struct writable *w = writable_find(d, d->s.key);

    if (w) {
        *length = w->length;
        return d->s.writable + w->at;
    }
    *length = 0;
    return item && *item ? g_bytes_get_data(*item, length) : NULL;
}

void fw_cfg_on_read(struct device *fw, void (*reading)(void *opaque, const char *name),
                    void *opaque)
{
    struct fw_cfg *d = (struct fw_cfg *)fw;

    d->reading = reading;
    d->reading_opaque = opaque;
}

static void fw_cfg_select(struct fw_cfg *d, uint16_t key)
{
    unsigned file = (key & KEY_MASK) - FILE_KEY;

    d->s.key = key & KEY_MASK;
    d->s.offset = 0;
    if (d->reading && file < d->n_files) {
        d->reading(d->reading_opaque, d->file_name[file]);
    }
}

static uint8_t fw_cfg_next(struct fw_cfg *d)
{
    size_t length;
    const uint8_t *data = selected(d, &length);

    return d->s.offset < length ? data[d->s.offset++] : 0;
}

/* ---- DMA */

static bool dma_read(struct fw_cfg *d, gpa_t addr, uint32_t length)
{
    static const uint8_t zeros[4096];
    struct address_space *mem = d->dev.env->mem;
    size_t size, n;
    const uint8_t *data = selected(d, &size);
    uint32_t rest;
    bool ok = true;

    n = MIN(length, d->s.offset < size ? size - d->s.offset : 0);
    if (n) {
        ok = address_space_write(mem, addr, data + d->s.offset, n);
        d->s.offset += (uint32_t)n;
    }
    rest = length - (uint32_t)n;
    if (rest > DMA_MAX_ZEROS) {
        return false;
    }
    addr += n;
    while (ok && rest) {
        n = MIN(rest, sizeof(zeros));
        ok = address_space_write(mem, addr, zeros, n);
        addr += n;
        rest -= (uint32_t)n;
    }
    return ok;
}

/* All of it or nothing. */
static bool dma_write(struct fw_cfg *d, gpa_t addr, uint32_t length)
{
    const struct writable *w = writable_find(d, d->s.key);
    uint8_t bytes[WRITABLE_BYTES];

    if (!w || d->s.offset > w->length || length > w->length - d->s.offset ||
        !address_space_read(d->dev.env->mem, addr, bytes, length)) {
        return false;
    }
    memcpy(d->s.writable + w->at + d->s.offset, bytes, length);
    d->s.offset += length;
    writable_tell(d, w);
    return true;
}

static void fw_cfg_dma(struct fw_cfg *d, gpa_t addr)
{
    struct address_space *mem = d->dev.env->mem;
    uint8_t bytes[16], answer[4];
    uint32_t control, length, left;
    size_t size;
    gpa_t target = 0;
    bool ok = true;

    if (!address_space_read(mem, addr, bytes, sizeof(bytes))) {
        put_be(answer, DMA_ERROR, 4);
        address_space_write(mem, addr, answer, 4);
        return;
    }
    control = (uint32_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
    length = (uint32_t)bytes[4] << 24 | bytes[5] << 16 | bytes[6] << 8 | bytes[7];
    for (unsigned i = 8; i < 16; i++) {
        target = target << 8 | bytes[i];
    }
    if (control & DMA_SELECT) {
        fw_cfg_select(d, (uint16_t)(control >> 16));
    }
    if (control & DMA_READ) {
        ok = dma_read(d, target, length);
    } else if (control & DMA_WRITE) {
        ok = dma_write(d, target, length);
    } else if (control & DMA_SKIP) {
        selected(d, &size);
        left = d->s.offset < size ? (uint32_t)(size - d->s.offset) : 0;
        d->s.offset += MIN(length, left);
    }
    put_be(answer, ok ? 0 : DMA_ERROR, 4);
    address_space_write(mem, addr, answer, 4);
}

/* ---- registers */

static uint64_t fw_cfg_read(void *opaque, gpa_t offset, unsigned size)
{
    struct fw_cfg *d = opaque;

    if (offset == REG_DATA) {
        return fw_cfg_next(d);
    }
    if (offset >= REG_DMA && offset + size <= REG_DMA + 8) {
        /* The signature, big-endian, seen through little-endian accesses. */
        uint64_t value = __builtin_bswap64(DMA_SIGNATURE) >> (8 * (offset - REG_DMA));

        return value;
    }
    return offset == REG_SELECT ? 0 : UINT64_MAX;
}

static void fw_cfg_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct fw_cfg *d = opaque;

    if (offset == REG_SELECT && size == 2) {
        fw_cfg_select(d, (uint16_t)value);
    } else if (offset == REG_DMA && size == 4) {
        d->s.dma_addr = (uint64_t)__builtin_bswap32((uint32_t)value) << 32;
    } else if (offset == REG_DMA + 4 && size == 4) {
        gpa_t addr = d->s.dma_addr | __builtin_bswap32((uint32_t)value);

        d->s.dma_addr = 0;
        fw_cfg_dma(d, addr);
    }
}

static const struct region_ops fw_cfg_ops = {
    .read = fw_cfg_read, .write = fw_cfg_write, .min_size = 1, .max_size = 4};

/* ---- class */

static bool fw_cfg_realize(struct device *dev, GError **error)
{
    struct fw_cfg *d = (struct fw_cfg *)dev;

    fw_cfg_set(dev, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_set_u32(dev, FW_CFG_ID, ID_TRADITIONAL | ID_DMA);
    directory_update(d);
    d->region = (struct region){
        .name = "fw_cfg", .kind = REGION_IO, .size = 12, .ops = &fw_cfg_ops, .opaque = d};
    address_space_map(dev->env->io, FW_CFG_PORT, &d->region, 0);
    return true;
}

static void fw_cfg_unrealize(struct device *dev)
{
    struct fw_cfg *d = (struct fw_cfg *)dev;

    address_space_unmap(dev->env->io, &d->region);
    for (unsigned i = 0; i < 2 * (N_ITEMS + MAX_FILES); i++) {
        g_clear_pointer(&d->item[i / (N_ITEMS + MAX_FILES)][i % (N_ITEMS + MAX_FILES)],
                        g_bytes_unref);
    }
    for (unsigned i = 0; i < d->n_files; i++) {
        g_free(d->file_name[i]);
    }
    d->n_files = 0;
}

static void fw_cfg_reset(struct device *dev, enum reset_kind kind)
{
    struct fw_cfg *d = (struct fw_cfg *)dev;

    d->s.dma_addr = 0;
    d->s.offset = 0;
    d->s.key = 0;
    if (kind != RESET_WAKE) { /* memory is kept then, and what the guest has told of it */
        writables_reset(d);
    }
}

static bool fw_cfg_post_load(struct device *dev, GError **error)
{
    struct fw_cfg *d = (struct fw_cfg *)dev;

    for (unsigned i = 0; i < d->n_writable; i++) {
        writable_tell(d, &d->writable[i]);
    }
    return true;
}

const struct device_class fw_cfg_class = {
    .name = "fw_cfg",
    .help = "firmware configuration interface",
    .bus = BUS_SYSTEM,
    .size = sizeof(struct fw_cfg),
    .state = &fw_cfg_desc,
    .state_offset = offsetof(struct fw_cfg, s),
    .realize = fw_cfg_realize,
    .unrealize = fw_cfg_unrealize,
    .reset = fw_cfg_reset,
    .post_load = fw_cfg_post_load,
};

struct device *fw_cfg_create(struct device_env *env, GError **error)
{
    struct device *dev = device_new(&fw_cfg_class, env);

    return device_realize(dev, error) ? dev : NULL;
}
