/*
 * A dump in kdump's compressed format (header version 6), flattened: the layout of makedumpfile's
 * IMPLEMENTATION document and diskdump_mod.h, as crash and makedumpfile read it.
 *
 * Blocks of 4096 bytes: header; sub-header with the notes; two equal bitmaps of page frames; a
 * descriptor for each page; the pages' data. Flattened, each piece is preceded by its place in that
 * layout, so a pipe will do. Zero pages share their data.
 *
 * Pages are compressed by several threads, a batch at a time, while the batch before is written.
 */
#include "migration/dump-priv.h"

#include "migration/dump-compress.h"
#include <errno.h>
#include <string.h>
#include <sys/time.h>

#define BLOCK_BYTES    4096u
#define HEADER_VERSION 6
#define LEVEL_ALL      1 /* as makedumpfile: zero pages may share */

struct disk_dump_header {
    char signature[8];
    uint32_t header_version;
    char utsname[6][65];
    char pad[6];
    int64_t timestamp[2];
    uint32_t status, block_size, sub_header_blocks, bitmap_blocks, max_mapnr, total_ram_blocks;
    uint32_t device_blocks, written_blocks, current_cpu, nr_cpus;
} __attribute__((packed));

struct kdump_sub_header {
    uint64_t phys_base;
    uint32_t dump_level, split;
    uint64_t start_pfn, end_pfn;
    uint64_t offset_vmcoreinfo, size_vmcoreinfo;
    uint64_t offset_note, size_note;
    uint64_t offset_eraseinfo, size_eraseinfo;
    uint64_t start_pfn_64, end_pfn_64, max_mapnr_64;
} __attribute__((packed));

struct page_desc {
    uint64_t offset;
    uint32_t size, flags;
    uint64_t page_flags;
};

struct flat_header { /* padded to BLOCK_BYTES; big-endian */
    char signature[16];
    int64_t type, version;
};

struct flat_piece { /* big-endian; both -1 at the end */
    int64_t offset, size;
};

struct kdump {
    struct dump_job *job;
    uint64_t max_pfn, pages; /* frames up to the last one; those that there are */
    uint64_t sub_blocks, bitmap_bytes;
    uint64_t desc_at, data_at; /* where the next go */
    uint64_t zero_at;
};

static uint64_t blocks_of(uint64_t bytes)
{
    return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

static const struct dump_block *nth_block(const struct dump_job *job, guint i)
{
    return &g_array_index(job->blocks, struct dump_block, i);
}

/* ---- the flattened file */

static bool write_flat_header(struct kdump *k)
{
    uint8_t block[BLOCK_BYTES] = {0};
    const struct flat_header head = {"makedumpfile", GINT64_TO_BE(1), GINT64_TO_BE(1)};

    memcpy(block, &head, sizeof(head));
    return output_write(&k->job->out, block, sizeof(block));
}

static bool write_flat_end(struct kdump *k)
{
    const struct flat_piece end = {GINT64_TO_BE(-1), GINT64_TO_BE(-1)};

    return output_write(&k->job->out, &end, sizeof(end)) && output_end(&k->job->out);
}

static bool write_at(struct kdump *k, uint64_t offset, const void *data, size_t length)
{
    const struct flat_piece piece = {GINT64_TO_BE((int64_t)offset), GINT64_TO_BE((int64_t)length)};

    return output_write(&k->job->out, &piece, sizeof(piece)) &&
           output_write(&k->job->out, data, length);
}

/* ---- headers and bitmaps */

static void plan(struct kdump *k)
{
    const struct dump_job *job = k->job;
    const struct dump_block *last = nth_block(job, job->blocks->len - 1);

    k->max_pfn = (last->start + last->length) / BLOCK_BYTES;
    k->pages = job->total / BLOCK_BYTES;
    k->sub_blocks = blocks_of(sizeof(struct kdump_sub_header) + job->notes->len);
    k->bitmap_bytes = blocks_of((k->max_pfn + 7) / 8) * BLOCK_BYTES;
    k->desc_at = (1 + k->sub_blocks) * BLOCK_BYTES + 2 * k->bitmap_bytes;
    k->data_at = k->desc_at + k->pages * sizeof(struct page_desc);
}

static bool write_header(struct kdump *k)
{
    struct disk_dump_header head = {
        .header_version = HEADER_VERSION,
        .status = dump_compress_flag(k->job->options.format),
        .block_size = BLOCK_BYTES,
        .sub_header_blocks = (uint32_t)k->sub_blocks,
        .bitmap_blocks = (uint32_t)(2 * k->bitmap_bytes / BLOCK_BYTES),
        .max_mapnr = (uint32_t)MIN(k->max_pfn, UINT32_MAX),
        .nr_cpus = k->job->n_vcpus,
    };
    uint8_t block[BLOCK_BYTES] = {0};
    struct timeval now;

    gettimeofday(&now, NULL);
    head.timestamp[0] = now.tv_sec;
    head.timestamp[1] = now.tv_usec;
    memcpy(head.signature, "KDUMP   ", sizeof(head.signature));
    /* That is how this header is laid out, whatever mode the vCPUs are in. */
    g_strlcpy(head.utsname[4], "x86_64", sizeof(head.utsname[4]));
    memcpy(block, &head, sizeof(head));
    return write_at(k, 0, block, sizeof(block));
}

static bool write_sub_header(struct kdump *k)
{
    const struct dump_job *job = k->job;
    const uint64_t note_at = BLOCK_BYTES + sizeof(struct kdump_sub_header);
    const struct kdump_sub_header sub = {
        .phys_base = job->phys_base,
        .dump_level = LEVEL_ALL,
        .offset_vmcoreinfo = job->vmcoreinfo_length ? note_at + job->vmcoreinfo_offset : 0,
        .size_vmcoreinfo = job->vmcoreinfo_length,
        .offset_note = note_at,
        .size_note = job->notes->len,
        .max_mapnr_64 = k->max_pfn,
    };
    g_autoptr(GByteArray) all = g_byte_array_new();
    guint used;

    g_byte_array_append(all, (const uint8_t *)&sub, sizeof(sub));
    g_byte_array_append(all, job->notes->data, job->notes->len);
    used = all->len;
    g_byte_array_set_size(all, (guint)(k->sub_blocks * BLOCK_BYTES));
    memset(all->data + used, 0, all->len - used);
    return write_at(k, BLOCK_BYTES, all->data, all->len);
}

static void set_bits(uint8_t *bitmap, uint64_t from, uint64_t n)
{
    for (; n > 0 && from % 8 != 0; from++, n--) {
        bitmap[from / 8] |= (uint8_t)(1u << from % 8);
    }
    memset(bitmap + from / 8, 0xff, n / 8);
    from += n & ~7ull;
    for (n &= 7; n > 0; from++, n--) {
        bitmap[from / 8] |= (uint8_t)(1u << from % 8);
    }
}

static bool write_bitmaps(struct kdump *k)
{
    g_autofree uint8_t *bitmap = g_try_malloc0(k->bitmap_bytes);
    uint64_t at = (1 + k->sub_blocks) * BLOCK_BYTES;

    if (!bitmap) {
        errno = ENOMEM;
        return false;
    }
    for (guint i = 0; i < k->job->blocks->len; i++) {
        const struct dump_block *block = nth_block(k->job, i);

        set_bits(bitmap, block->start / BLOCK_BYTES, block->length / BLOCK_BYTES);
    }
    return write_at(k, at, bitmap, k->bitmap_bytes) &&
           write_at(k, at + k->bitmap_bytes, bitmap, k->bitmap_bytes);
}

/* ---- pages */

static const uint8_t zero_page[BLOCK_BYTES];

static bool write_zero_page(struct kdump *k)
{
    k->zero_at = k->data_at;
    k->data_at += sizeof(zero_page);
    return write_at(k, k->zero_at, zero_page, sizeof(zero_page));
}

static bool write_slice(struct kdump *k, const struct dump_slice *slice)
{
    struct page_desc desc[DUMP_SLICE_PAGES];
    uint64_t start = k->data_at;

    for (unsigned i = 0; i < slice->n; i++) {
        uint32_t size = slice->size[i];

        if (size == 0) {
            desc[i] = (struct page_desc){.offset = k->zero_at, .size = BLOCK_BYTES};
        } else {
            desc[i] = (struct page_desc){
                .offset = k->data_at,
                .size = size,
                .flags = size < BLOCK_BYTES ? dump_compress_flag(k->job->options.format) : 0,
            };
            k->data_at += size;
        }
    }
    if (!write_at(k, k->desc_at, desc, slice->n * sizeof(desc[0]))) {
        return false;
    }
    k->desc_at += slice->n * sizeof(desc[0]);
    if (slice->used > 0 && !write_at(k, start, slice->data, slice->used)) {
        return false;
    }
    atomic_fetch_add(&k->job->completed, (uint64_t)slice->n * BLOCK_BYTES);
    return true;
}

/* Where the next slice begins. */
struct cursor {
    guint block;
    uint64_t at; /* bytes within the block */
};

/* false: all memory has been taken. */
static bool fill_slice(struct kdump *k, struct cursor *c, struct dump_slice *slice)
{
    slice->n = 0;
    while (slice->n < DUMP_SLICE_PAGES && c->block < k->job->blocks->len) {
        const struct dump_block *block = nth_block(k->job, c->block);

        slice->page[slice->n++] =
            dump_block_touched(block, c->at) ? block->host + c->at : zero_page;
        c->at += BLOCK_BYTES;
        if (c->at == block->length) {
            c->block++;
            c->at = 0;
        }
    }
    return slice->n > 0;
}

/* Slices go round: the oldest is written when it is compressed, and filled again. */
static bool write_pages(struct kdump *k)
{
    struct dump_compressor *c = dump_compressor_new(k->job->options.format);
    unsigned n = dump_compressor_slices(c);
    struct cursor cursor = {0};
    uint64_t filled = 0, written = 0;
    bool more = true, ok = true;

    while (ok && (more || written < filled)) {
        struct dump_slice *next = dump_compressor_slice(c, (unsigned)(filled % n));

        if (more && filled - written < n) {
            more = fill_slice(k, &cursor, next);
            if (more) {
                dump_compressor_start(c, next);
                filled++;
            }
        } else {
            struct dump_slice *oldest = dump_compressor_slice(c, (unsigned)(written % n));

            dump_compressor_wait(c, oldest);
            ok = write_slice(k, oldest);
            written++;
        }
    }
    dump_compressor_free(c);
    return ok;
}

bool dump_kdump_write(struct dump_job *job, GError **error)
{
    struct kdump k = {.job = job};

    plan(&k);
    if (!write_flat_header(&k)) {
        return dump_fail(error, "write start flat header");
    }
    if (!write_header(&k)) {
        return dump_fail(error, "write disk dump header");
    }
    if (!write_sub_header(&k)) {
        return dump_fail(error, "write kdump sub header");
    }
    if (!write_bitmaps(&k)) {
        return dump_fail(error, "write dump_bitmap");
    }
    if (!write_zero_page(&k) || !write_pages(&k)) {
        return dump_fail(error, "write pages");
    }
    if (!write_flat_end(&k)) {
        return dump_fail(error, "write end flat header");
    }
    return true;
}
