/*
 * Memory on its way out.
 *
 *   "ram " := block (32 bits, its place in the description), number of runs (32 bits), run...,
 *             pages
 *   run    := first page (64 bits), how many (32 bits), 0: of zeroes, 1: their bytes follow, 2: the
 *             bytes of page-compress.h do (32 bits)
 *
 * Which pages are to be sent is in bitmaps, which the thread that sends works off. The main thread
 * adds to them from dirty logs while that thread waits. A page is taken out of the bitmap before it
 * is read, and what is written to it afterwards is in the log.
 *
 * The guest writes while its memory is read. So a page is copied first, and what is summed up and
 * sent is the copy.
 */
#include "migration/migration-priv.h"

#include "base/bytes.h"
#include "memory/dirty.h"
#include "migration/page-compress.h"
#include <string.h>

#define ZERO_PAGES_MAX 65536u /* of zeroes, of one record */
#define RUN_BYTES      16u
#define TRIED_PAGES    64u /* to tell what all will make */

/* ---- main thread */

static bool block_begin(struct ram_out *r, struct ram_block *block, GError **error)
{
    struct ram_out_block *b = &r->block[r->n];
    uint64_t pages = block->size / GUEST_PAGE_SIZE;

    b->block = block;
    b->log = dirty_log_new(r->machine->mem, block, error);
    if (!b->log) {
        return false;
    }
    r->n++;
    b->words = dirty_log_words(b->log);
    b->bitmap = g_try_new(uint64_t, b->words);
    if (!b->bitmap) {
        g_set_error(error, MIGRATION_ERROR, 0, "no memory for a bit per page");
        return false;
    }
    memset(b->bitmap, 0xff, b->words * sizeof(uint64_t));
    if (pages % 64) {
        b->bitmap[b->words - 1] = (1ull << pages % 64) - 1;
    }
    r->total_bytes += block->size;
    r->numbers.remaining_pages += pages;
    return true;
}

bool ram_out_begin(struct ram_out *r, struct machine *m, GError **error)
{
    g_autoptr(GPtrArray) blocks = vmstate_ram_blocks(m);

    *r = (struct ram_out){.machine = m};
    r->block = g_new0(struct ram_out_block, blocks->len);
    r->head = g_byte_array_new();
    r->pages = ram_pages_new(RAM_BATCH_PAGES);
    r->synced_ns = g_get_monotonic_time() * 1000;
    for (guint i = 0; i < blocks->len; i++) {
        if (!block_begin(r, ((struct vmstate_ram *)blocks->pdata[i])->block, error)) {
            return false;
        }
    }
    return true;
}

void ram_out_end(struct ram_out *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        dirty_log_free(r->block[i].log);
        g_free(r->block[i].bitmap);
    }
    r->n = 0;
    g_clear_pointer(&r->block, g_free);
    g_clear_pointer(&r->pages, g_free);
    g_clear_pointer(&r->head, g_byte_array_unref);
}

static uint64_t count(const struct ram_out *r)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < r->n; i++) {
        for (uint64_t w = 0; w < r->block[i].words; w++) {
            pages += (uint64_t)__builtin_popcountll(r->block[i].bitmap[w]);
        }
    }
    return pages;
}

uint64_t ram_out_sync(struct ram_out *r)
{
    int64_t now = g_get_monotonic_time() * 1000;
    uint64_t written = 0, pages;

    for (unsigned i = 0; i < r->n; i++) {
        written += dirty_log_take(r->block[i].log, r->block[i].bitmap);
    }
    if (now - r->synced_ns >= 1000000) {
        r->numbers.dirty_pages_rate =
            (uint64_t)((double)written * 1e9 / (double)(now - r->synced_ns));
        r->synced_ns = now;
    }
    r->at = 0;
    r->at_word = 0;
    pages = count(r);
    r->numbers.remaining_pages = pages;
    return pages;
}

static size_t try_page(const struct ram_out_block *b, uint64_t page, uint8_t *room)
{
    const uint8_t *memory = b->block->host + page * GUEST_PAGE_SIZE;
    size_t bytes =
        bytes_are_zero(memory, GUEST_PAGE_SIZE) ? RUN_BYTES : page_compress(memory, room);

    return bytes ? bytes : GUEST_PAGE_SIZE;
}

uint64_t ram_out_page_bytes(struct ram_out *r)
{
    uint64_t step = MAX(r->numbers.remaining_pages / TRIED_PAGES, 1), seen = 0;
    size_t tried = 0, bytes = 0;

    for (unsigned i = 0; i < r->n; i++) {
        const struct ram_out_block *b = &r->block[i];

        for (uint64_t w = 0; w < b->words; w++) {
            seen += (uint64_t)__builtin_popcountll(b->bitmap[w]);
            if (b->bitmap[w] && seen > tried * step) { /* one of a word is enough */
                bytes +=
                    try_page(b, w * 64 + 63 - (unsigned)__builtin_clzll(b->bitmap[w]), r->pages);
                tried++;
            }
        }
    }
    return tried ? bytes / tried : GUEST_PAGE_SIZE;
}

uint64_t ram_out_remaining(const struct ram_out *r)
{
    return r->numbers.remaining_pages;
}

/* ---- the migration's thread */

/* The next page to be sent of the block that it is at; false: there is none in it. */
static bool next_page(struct ram_out *r, uint64_t *page)
{
    struct ram_out_block *b = &r->block[r->at];

    for (; r->at_word < b->words; r->at_word++) {
        uint64_t *word = &b->bitmap[r->at_word];

        if (*word) {
            *page = r->at_word * 64 + (unsigned)__builtin_ctzll(*word);
            *word &= *word - 1;
            return true;
        }
    }
    return false;
}

uint8_t *ram_pages_new(unsigned n)
{
    return g_malloc((size_t)n * GUEST_PAGE_SIZE + PAGE_COMPRESS_ROOM);
}

struct run {
    uint64_t first;
    uint32_t n, kind;
};

/* A record in the making: its runs in head, its pages copied to pages. */
struct batch {
    const struct ram_block *block;
    GByteArray *head;
    uint8_t *pages;
    size_t bytes; /* of pages */
    struct run run;
    uint32_t runs, zero, data;
    bool compress;
};

static void put_run(struct batch *b)
{
    if (b->run.n) {
        state_put_number(b->head, b->run.first, 8);
        state_put_number(b->head, b->run.n, 4);
        state_put_number(b->head, b->run.kind, 4);
        b->runs++;
    }
}

static struct batch batch_begin(const struct ram_block *block, unsigned index, GByteArray *head,
                                uint8_t *pages, bool compress)
{
    g_byte_array_set_size(head, 0);
    state_put_number(head, index, 4);
    state_put_number(head, 0, 4); /* the number of runs, in batch_end() */
    return (struct batch){.block = block, .head = head, .pages = pages, .compress = compress};
}

static void batch_end(struct batch *b)
{
    put_run(b);
    for (unsigned i = 0; i < 4; i++) {
        b->head->data[4 + i] = (uint8_t)(b->runs >> (8 * i));
    }
}

/* What of the page is to go out is behind what there is; its kind. */
static uint32_t take_page(struct batch *b, const uint8_t *memory)
{
    uint8_t *copy = b->pages + b->bytes;
    size_t bytes;

    if (bytes_are_zero(memory, GUEST_PAGE_SIZE)) {
        b->zero++;
        return RAM_RUN_ZERO;
    }
    b->data++;
    bytes = b->compress ? page_compress(memory, copy) : 0;
    if (bytes) {
        b->bytes += bytes;
        return RAM_RUN_COMPRESSED;
    }
    memcpy(copy, memory, GUEST_PAGE_SIZE);
    b->bytes += GUEST_PAGE_SIZE;
    return RAM_RUN_DATA;
}

static void batch_add(struct batch *b, uint64_t page)
{
    uint32_t kind = take_page(b, b->block->host + page * GUEST_PAGE_SIZE);

    if (b->run.n && b->run.kind == kind && b->run.first + b->run.n == page) {
        b->run.n++;
        return;
    }
    put_run(b);
    b->run = (struct run){page, 1, kind};
}

/* Finds the next block that has something to send. */
static bool seek(struct ram_out *r, uint64_t *page)
{
    for (; r->at < r->n; r->at++, r->at_word = 0) {
        if (next_page(r, page)) {
            return true;
        }
    }
    return false;
}

static void note_sent(struct ram_numbers *n, const struct batch *b)
{
    n->remaining_pages -= b->data + b->zero;
    n->pages += b->data;
    n->zero_pages += b->zero;
}

bool ram_out_send(struct ram_out *r, struct stream_out *s, unsigned pages, size_t *bytes,
                  GError **error)
{
    uint64_t page, before = s->bytes;
    struct batch b;
    bool ok;

    *bytes = 0;
    if (!seek(r, &page)) {
        return true;
    }
    b = batch_begin(r->block[r->at].block, r->at, r->head, r->pages, true);
    do {
        batch_add(&b, page);
    } while (b.data < pages && b.zero < ZERO_PAGES_MAX && next_page(r, &page));
    batch_end(&b);
    ok = stream_out_record(s, "ram ", RAM_VERSION, r->head, r->pages, b.bytes, error);
    *bytes = (size_t)(s->bytes - before);
    note_sent(&r->numbers, &b);
    r->numbers.transferred = s->bytes;
    return ok;
}

/* ---- the same in two steps, for several threads */

bool ram_out_pick(struct ram_out *r, unsigned pages, struct ram_pick *pick)
{
    uint64_t page;

    pick->n = 0;
    if (!seek(r, &page)) {
        return false;
    }
    pick->index = r->at;
    pick->block = r->block[r->at].block;
    do {
        pick->page[pick->n++] = page;
    } while (pick->n < MIN(pages, RAM_PICK_PAGES) && next_page(r, &page));
    return true;
}

size_t ram_pick_copy(const struct ram_pick *pick, bool compress, GByteArray *head, uint8_t *pages,
                     struct ram_numbers *numbers)
{
    struct batch b = batch_begin(pick->block, pick->index, head, pages, compress);

    for (unsigned i = 0; i < pick->n; i++) {
        batch_add(&b, pick->page[i]);
    }
    batch_end(&b);
    note_sent(numbers, &b);
    return b.bytes;
}
