/*
 * See snapshot-image.h. The header, little-endian:
 *
 *   0   "GODWITSN"            8   version (32 bits): 1     12  bytes of the header (32): 4096
 *   16  the state's offset    24  its bytes                32  blocks of memory (32)
 *   40  the image's length
 *   64  for each block 128 bytes: its name, NUL-padded to 112 bytes, its offset, its length
 *   4092  CRC-32C of all before it (32 bits)
 */
#include "migration/snapshot-image.h"

#include "base/bytes.h"
#include "devices/vmgenid.h"
#include "migration/crc32c.h"
#include "migration/record.h"
#include "migration/vmstate.h"
#include <string.h>

#define MAGIC           "GODWITSN"
#define VERSION         1
#define HEADER_BYTES    4096u
#define BLOCKS_AT       64u
#define BLOCK_BYTES     128u
#define NAME_BYTES      112u
#define BLOCKS_MAX      ((HEADER_BYTES - 4 - BLOCKS_AT) / BLOCK_BYTES)
#define MEMORY_ALIGN    (2u << 20)
#define STATE_MAX_BYTES (64u << 20)
/* Memory is handed on in pieces of at most this size. */
#define PIECE_BYTES     (64u << 20)

static void put(uint8_t *p, uint64_t value, unsigned bytes)
{
    value = GUINT64_TO_LE(value);
    memcpy(p, &value, bytes);
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;

    memcpy(&value, p, bytes);
    return GUINT64_FROM_LE(value);
}

static uint64_t align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) / align * align;
}

static bool refuse(GError **error, const char *text)
{
    g_set_error(error, SNAPSHOT_ERROR, 0, "snapshot: %s", text);
    return false;
}

/* ---- writing */

static bool make_header(uint8_t header[HEADER_BYTES], GPtrArray *blocks, uint64_t state_at,
                        uint64_t state_bytes, uint64_t align, uint64_t *total, GError **error)
{
    uint64_t at = align_up(state_at + state_bytes, MAX(align, MEMORY_ALIGN));

    if (blocks->len > BLOCKS_MAX || state_bytes > STATE_MAX_BYTES) {
        return refuse(error, "the machine has too many blocks of memory, or too much state");
    }
    memset(header, 0, HEADER_BYTES);
    memcpy(header, MAGIC, 8);
    put(header + 8, VERSION, 4);
    put(header + 12, HEADER_BYTES, 4);
    put(header + 16, state_at, 8);
    put(header + 24, state_bytes, 8);
    put(header + 32, blocks->len, 4);
    for (guint i = 0; i < blocks->len; i++) {
        const struct vmstate_ram *ram = blocks->pdata[i];
        uint8_t *entry = header + BLOCKS_AT + i * BLOCK_BYTES;

        if (strlen(ram->name) >= NAME_BYTES) {
            return refuse(error, "a block of memory has too long a name");
        }
        memcpy(entry, ram->name, strlen(ram->name));
        put(entry + NAME_BYTES, at, 8);
        put(entry + NAME_BYTES + 8, ram->block->size, 8);
        at = align_up(at + ram->block->size, MAX(align, MEMORY_ALIGN));
    }
    put(header + 40, at, 8);
    put(header + HEADER_BYTES - 4, crc32c(0, header, HEADER_BYTES - 4), 4);
    *total = at;
    return true;
}

static bool is_touched(const uint64_t *touched, uint64_t at, uint64_t bytes)
{
    for (uint64_t page = at / GUEST_PAGE_SIZE; page <= (at + bytes - 1) / GUEST_PAGE_SIZE; page++) {
        if (touched[page / 64] >> (page % 64) & 1) {
            return true;
        }
    }
    return false;
}

/* Runs of pieces that are not all zero. */
static bool write_block(const struct snapshot_sink *sink, const struct ram_block *block,
                        uint64_t offset, GError **error)
{
    uint64_t start = 0, at = 0, pages = block->size / GUEST_PAGE_SIZE;
    g_autofree uint64_t *touched = g_new(uint64_t, (pages + 63) / 64);

    ram_block_touched(block, 0, pages, touched);

    while (at < block->size) {
        uint64_t n = MIN(sink->align, block->size - at);
        bool zero = !is_touched(touched, at, n) || bytes_are_zero(block->host + at, n);

        if ((zero || at - start >= PIECE_BYTES) && at > start &&
            !sink->write(sink->opaque, offset + start, block->host + start, at - start, error)) {
            return false;
        }
        if (zero) {
            start = at + n;
        } else if (at - start >= PIECE_BYTES) {
            start = at;
        }
        at += n;
    }
    return at == start ||
           sink->write(sink->opaque, offset + start, block->host + start, at - start, error);
}

bool snapshot_image_write(struct machine *m, const struct snapshot_sink *sink, uint64_t *bytes,
                          GError **error)
{
    g_autoptr(GPtrArray) blocks = vmstate_ram_blocks(m);
    g_autoptr(GByteArray) state = g_byte_array_new();
    uint64_t state_at = align_up(HEADER_BYTES, sink->align);
    uint8_t header[HEADER_BYTES];

    vmstate_save(m, runstate_get(m->run), state);
    if (!make_header(header, blocks, state_at, state->len, sink->align, bytes, error) ||
        !sink->write(sink->opaque, 0, header, sizeof(header), error) ||
        !sink->write(sink->opaque, state_at, state->data, state->len, error)) {
        return false;
    }
    for (guint i = 0; i < blocks->len; i++) {
        const struct vmstate_ram *ram = blocks->pdata[i];
        uint64_t offset = get(header + BLOCKS_AT + i * BLOCK_BYTES + NAME_BYTES, 8);

        if (!write_block(sink, ram->block, offset, error)) {
            return false;
        }
    }
    return true;
}

/* ---- reading */

struct snapshot_image {
    const struct snapshot_source *source;
    GPtrArray *blocks; /* struct vmstate_ram */
    uint64_t *offset;  /* of each */
    uint8_t *state;
    uint64_t state_bytes;
};

void snapshot_image_free(struct snapshot_image *image)
{
    if (image) {
        g_clear_pointer(&image->blocks, g_ptr_array_unref);
        g_free(image->offset);
        g_free(image->state);
        g_free(image);
    }
}

static bool within(uint64_t offset, uint64_t bytes, uint64_t all)
{
    return offset <= all && bytes <= all - offset;
}

static bool check_header(const uint8_t *header, uint64_t bytes, GError **error)
{
    if (memcmp(header, MAGIC, 8) != 0) {
        return refuse(error, "it is not one of Godwit's");
    }
    if (get(header + HEADER_BYTES - 4, 4) != crc32c(0, header, HEADER_BYTES - 4)) {
        return refuse(error, "the header is damaged");
    }
    if (get(header + 8, 4) != VERSION || get(header + 12, 4) != HEADER_BYTES) {
        g_set_error(error, SNAPSHOT_ERROR, 0,
                    "snapshot: it has version %" G_GUINT64_FORMAT ", this program knows %d",
                    get(header + 8, 4), VERSION);
        return false;
    }
    if (get(header + 40, 8) > bytes) {
        g_set_error(error, SNAPSHOT_ERROR, 0,
                    "snapshot: it is cut off: %" G_GUINT64_FORMAT " bytes of %" G_GUINT64_FORMAT,
                    bytes, get(header + 40, 8));
        return false;
    }
    if (get(header + 24, 8) > STATE_MAX_BYTES ||
        !within(get(header + 16, 8), get(header + 24, 8), get(header + 40, 8))) {
        return refuse(error, "the state lies outside of it");
    }
    return true;
}

static bool check_blocks(struct snapshot_image *image, const uint8_t *header, GError **error)
{
    uint64_t total = get(header + 40, 8);

    if (get(header + 32, 4) != image->blocks->len) {
        g_set_error(error, SNAPSHOT_ERROR, 0,
                    "snapshot: it has %" G_GUINT64_FORMAT " blocks of memory, this machine %u",
                    get(header + 32, 4), image->blocks->len);
        return false;
    }
    image->offset = g_new0(uint64_t, image->blocks->len + 1);
    for (guint i = 0; i < image->blocks->len; i++) {
        const struct vmstate_ram *ram = image->blocks->pdata[i];
        const uint8_t *entry = header + BLOCKS_AT + i * BLOCK_BYTES;
        uint64_t offset = get(entry + NAME_BYTES, 8), size = get(entry + NAME_BYTES + 8, 8);

        if (strncmp((const char *)entry, ram->name, NAME_BYTES) != 0 || size != ram->block->size) {
            g_set_error(error, SNAPSHOT_ERROR, 0,
                        "snapshot: block %u of memory is '%.*s' with %" G_GUINT64_FORMAT
                        " bytes, this machine's is '%s' with %" G_GUINT64_FORMAT,
                        i, (int)strnlen((const char *)entry, NAME_BYTES), (const char *)entry, size,
                        ram->name, ram->block->size);
            return false;
        }
        if (offset % MEMORY_ALIGN != 0 || !within(offset, size, total)) {
            return refuse(error, "a block of memory lies outside of it");
        }
        image->offset[i] = offset;
    }
    return true;
}

static bool check_state(struct machine *m, const struct snapshot_image *image, GError **error)
{
    struct state_input in = {image->state, image->state_bytes};
    struct record record;

    if (!record_take(&in, &record, error)) {
        return false;
    }
    if (!record_is(&record, "desc")) {
        return refuse(error, "the state does not begin with a description");
    }
    return vmstate_check_description(m, record.payload, record.bytes, false, error);
}

static bool open_image(struct machine *m, struct snapshot_image *image, GError **error)
{
    const struct snapshot_source *source = image->source;
    uint8_t header[HEADER_BYTES];

    if (source->bytes < HEADER_BYTES) {
        return refuse(error, "it is too short");
    }
    if (!source->read(source->opaque, 0, header, sizeof(header), error) ||
        !check_header(header, source->bytes, error) || !check_blocks(image, header, error)) {
        return false;
    }
    image->state_bytes = get(header + 24, 8);
    image->state = g_try_malloc(MAX(image->state_bytes, 1));
    if (!image->state) {
        return refuse(error, "there is no memory for the state");
    }
    return source->read(source->opaque, get(header + 16, 8), image->state, image->state_bytes,
                        error) &&
           check_state(m, image, error);
}

struct snapshot_image *snapshot_image_open(struct machine *m, const struct snapshot_source *source,
                                           GError **error)
{
    struct snapshot_image *image = g_new0(struct snapshot_image, 1);

    image->source = source;
    image->blocks = vmstate_ram_blocks(m);
    if (!open_image(m, image, error)) {
        snapshot_image_free(image);
        return NULL;
    }
    return image;
}

bool snapshot_image_block(const struct snapshot_image *image, unsigned n, struct ram_block **block,
                          uint64_t *offset)
{
    if (n >= image->blocks->len) {
        return false;
    }
    *block = ((struct vmstate_ram *)image->blocks->pdata[n])->block;
    *offset = image->offset[n];
    return true;
}

/* Only what is not zero is written to: untouched memory stays so. */
static void clear(struct ram_block *block, uint64_t start, uint64_t bytes)
{
    uint64_t pages = bytes / GUEST_PAGE_SIZE;
    g_autofree uint64_t *touched = g_new(uint64_t, (pages + 63) / 64 + 1);

    ram_block_touched(block, start, pages, touched);
    for (uint64_t page = 0; page < pages; page++) {
        uint8_t *host = block->host + start + page * GUEST_PAGE_SIZE;

        if (touched[page / 64] >> (page % 64) & 1 && !bytes_are_zero(host, GUEST_PAGE_SIZE)) {
            memset(host, 0, GUEST_PAGE_SIZE);
        }
    }
}

static bool load_block(const struct snapshot_source *source, struct ram_block *block,
                       uint64_t offset, GError **error)
{
    for (uint64_t at = 0; at < block->size;) {
        bool zero;
        uint64_t n =
            source->extent(source->opaque, offset + at, MIN(PIECE_BYTES, block->size - at), &zero);

        if (zero) {
            clear(block, at, n);
        } else if (!source->read(source->opaque, offset + at, block->host + at, n, error)) {
            return false;
        }
        at += n;
    }
    return true;
}

/* A guest that goes on from an earlier state is told, if it has a device for that. */
static void new_generation(struct machine *m)
{
    struct device *dev = devices_find_class(&m->env, &vmgenid_class);

    if (dev) {
        vmgenid_renew(dev);
    }
}

bool snapshot_image_load(struct machine *m, struct snapshot_image *image, bool memory,
                         enum run_state *run_state, GError **error)
{
    struct state_input in = {image->state, image->state_bytes};
    struct ram_block *block;
    uint64_t offset;

    for (unsigned i = 0; memory && snapshot_image_block(image, i, &block, &offset); i++) {
        if (!load_block(image->source, block, offset, error)) {
            return false;
        }
        address_space_block_written(m->mem, block, 0, block->size);
    }
    if (!vmstate_load(m, &in, run_state, NULL, error)) {
        return false;
    }
    new_generation(m);
    return true;
}
