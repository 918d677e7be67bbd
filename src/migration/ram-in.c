/*
 * Memory that comes: see ram-out.c for what a record is. Each number is checked against the block
 * and against the bytes that there are before anything is written. Pages are not: of a record that
 * turns out to be damaged some may be in their places, and the machine can't be used then anyway.
 *
 * Pages that are as they were go from the channel to their places; a record with compressed ones is
 * read as a whole.
 */
#include "migration/migration-priv.h"

#include "base/bytes.h"
#include "memory/types.h"
#include "migration/crc32c.h"
#include "migration/page-compress.h"
#include <inttypes.h>
#include <string.h>

#define HEAD_BYTES    8u /* block, number of runs */
#define RUN_BYTES     16u
/* From so many zero pages together the host is asked to forget what it has there. */
#define DISCARD_PAGES 64u

static void clear(struct ram_block *block, uint64_t first, uint64_t n)
{
    uint64_t at = first * GUEST_PAGE_SIZE, bytes = n * GUEST_PAGE_SIZE;

    if (block->forgets && n >= DISCARD_PAGES) {
        ram_block_discard(block, at, bytes);
        return;
    }
    for (uint64_t i = 0; i < bytes; i += GUEST_PAGE_SIZE) {
        if (!bytes_are_zero(block->host + at + i, GUEST_PAGE_SIZE)) {
            memset(block->host + at + i, 0, GUEST_PAGE_SIZE);
        }
    }
}

struct run {
    uint64_t first, n, kind;
};

static struct run next_run(struct state_input *runs)
{
    struct run run = {0};
    bool whole = state_take_number(runs, 8, &run.first) && state_take_number(runs, 4, &run.n) &&
                 state_take_number(runs, 4, &run.kind);

    g_assert(whole); /* they are counted before they are looked at */
    return run;
}

/* What a record says before its pages. */
struct heading {
    const struct vmstate_ram *ram;
    struct state_input runs;
    bool compressed; /* some pages are */
};

/* least: the end of the run before. So no record makes more work than there is memory. */
static bool check_run(const struct vmstate_ram *ram, const struct run *run, uint64_t least,
                      unsigned version, GError **error)
{
    uint64_t pages = ram->block->size / GUEST_PAGE_SIZE;

    if (run->n == 0 || run->first >= pages || run->n > pages - run->first) {
        return migration_refuse(
            error, "stream: memory '%s': pages %" PRIu64 " to %" PRIu64 ", it has %" PRIu64,
            ram->name, run->first, run->first + run->n, pages);
    }
    if (run->first < least) {
        return migration_refuse(error,
                                "stream: memory '%s': page %" PRIu64 " comes twice or out of order",
                                ram->name, run->first);
    }
    if (run->kind > (version == 1 ? RAM_RUN_DATA : RAM_RUN_COMPRESSED)) {
        return migration_refuse(error, "stream: memory '%s': there are no pages of kind %" PRIu64,
                                ram->name, run->kind);
    }
    return true;
}

static bool lacks_pages(const struct vmstate_ram *ram, GError **error)
{
    return migration_refuse(error, "stream: memory '%s': a record lacks pages", ram->name);
}

static bool has_too_many(const struct vmstate_ram *ram, uint64_t left, GError **error)
{
    return migration_refuse(error, "stream: memory '%s': %" PRIu64 " bytes too many", ram->name,
                            left);
}

/* Whether the runs are all of the block, and whether the bytes of pages belong to them, as far as
 * that is seen without looking at compressed ones. */
static bool check_runs(struct heading *h, unsigned version, uint64_t pages_bytes, GError **error)
{
    struct state_input runs = h->runs;
    uint64_t left = pages_bytes, least = 0;

    h->compressed = false;
    while (runs.left) {
        struct run run = next_run(&runs);

        if (!check_run(h->ram, &run, least, version, error)) {
            return false;
        }
        least = run.first + run.n;
        h->compressed |= run.kind == RAM_RUN_COMPRESSED;
        if (run.kind != RAM_RUN_DATA) {
            continue;
        }
        if (run.n * GUEST_PAGE_SIZE > left) {
            return lacks_pages(h->ram, error);
        }
        left -= run.n * GUEST_PAGE_SIZE;
    }
    return left == 0 || h->compressed || has_too_many(h->ram, left, error);
}

/* What a record begins with; the number of runs may be any that fits. */
static bool take_head(const GPtrArray *blocks, const uint8_t *payload, uint64_t bytes,
                      struct heading *h, GError **error)
{
    struct state_input in = {payload, HEAD_BYTES};
    uint64_t block, runs;

    if (bytes < HEAD_BYTES || !state_take_number(&in, 4, &block) ||
        !state_take_number(&in, 4, &runs) || runs > (bytes - HEAD_BYTES) / RUN_BYTES) {
        return migration_refuse(error, "stream: a record of memory is cut short");
    }
    if (block >= blocks->len) {
        return migration_refuse(error, "stream: memory block %" PRIu64 ", there are %u", block,
                                blocks->len);
    }
    *h = (struct heading){.ram = blocks->pdata[block], .runs.left = runs * RUN_BYTES};
    return true;
}

static bool check_version(const struct record *record, GError **error)
{
    return record->version == 1 || record_version(record, RAM_VERSION, error);
}

/* A compressed run's pages, from the front of in. */
static bool expand(const struct vmstate_ram *ram, const struct run *run, struct state_input *in,
                   GError **error)
{
    uint8_t *page = ram->block->host + run->first * GUEST_PAGE_SIZE;

    for (uint64_t i = 0; i < run->n; i++) {
        size_t bytes = page_expand(in->data, in->left, page + i * GUEST_PAGE_SIZE);

        if (!bytes) {
            return lacks_pages(ram, error);
        }
        in->data += bytes;
        in->left -= bytes;
    }
    return true;
}

static bool place(const struct heading *h, struct state_input pages, GError **error)
{
    struct state_input runs = h->runs;
    struct ram_block *block = h->ram->block;

    while (runs.left) {
        struct run run = next_run(&runs);
        uint64_t bytes = run.n * GUEST_PAGE_SIZE;

        if (run.kind == RAM_RUN_ZERO) {
            clear(block, run.first, run.n);
        } else if (run.kind == RAM_RUN_COMPRESSED) {
            if (!expand(h->ram, &run, &pages, error)) {
                return false;
            }
        } else if (bytes > pages.left) {
            return lacks_pages(h->ram, error);
        } else {
            memcpy(block->host + run.first * GUEST_PAGE_SIZE, pages.data, bytes);
            pages.data += bytes;
            pages.left -= bytes;
        }
    }
    return pages.left == 0 || has_too_many(h->ram, pages.left, error);
}

bool ram_in_take(const GPtrArray *blocks, const struct record *record, GError **error)
{
    struct state_input pages = {record->payload, record->bytes};
    struct heading h;
    size_t before;

    if (!check_version(record, error) ||
        !take_head(blocks, record->payload, record->bytes, &h, error)) {
        return false;
    }
    h.runs.data = record->payload + HEAD_BYTES;
    before = HEAD_BYTES + h.runs.left;
    pages = (struct state_input){record->payload + before, record->bytes - before};
    return check_runs(&h, record->version, pages.left, error) && place(&h, pages, error);
}

/* ---- from the channel to its place */

/* As many runs with data as can be read together, and zeroes among them; sums up what came. */
static bool receive_some(struct channel *c, struct ram_block *block, struct state_input *runs,
                         uint32_t *sum, GError **error)
{
    struct iovec iov[CHANNEL_PIECES_MAX], used[CHANNEL_PIECES_MAX];
    int n = 0;

    while (runs->left && n < CHANNEL_PIECES_MAX) {
        struct run run = next_run(runs);

        if (run.kind == RAM_RUN_ZERO) {
            clear(block, run.first, run.n);
        } else {
            iov[n++] =
                (struct iovec){block->host + run.first * GUEST_PAGE_SIZE, run.n * GUEST_PAGE_SIZE};
        }
    }
    memcpy(used, iov, sizeof(iov[0]) * (size_t)n);
    if (!channel_read_pieces(c, used, n, error)) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        *sum = crc32c(*sum, iov[i].iov_base, iov[i].iov_len);
    }
    return true;
}

static bool within_record(bool ok, GError **error)
{
    if (!ok) {
        g_prefix_error(error, "stream: within record 'ram ': ");
    }
    return ok;
}

/* Runs without compressed pages. */
static bool receive_direct(const struct heading *h, struct stream_in *s,
                           const struct record *record, GError **error)
{
    struct state_input runs = h->runs;
    uint8_t check[RECORD_CHECK_BYTES];
    uint32_t sum = crc32c(0, s->buffer, RECORD_HEADER_BYTES + HEAD_BYTES + runs.left);

    while (runs.left) {
        if (!within_record(receive_some(s->channel, h->ram->block, &runs, &sum, error), error)) {
            return false;
        }
    }
    if (!within_record(channel_read(s->channel, check, sizeof(check), error), error) ||
        !record_check_sum(record, sum, check, error)) {
        return false;
    }
    stream_in_note(s, check);
    return true;
}

/* All runs but zeroes. */
static void note_ahead(struct ram_ahead *ahead, const struct heading *h)
{
    struct state_input runs = h->runs;

    while (runs.left) {
        struct run run = next_run(&runs);

        if (run.kind != RAM_RUN_ZERO) {
            ram_ahead_note(ahead, h->ram->block, run.first, run.n);
        }
    }
}

bool ram_in_receive(const GPtrArray *blocks, struct stream_in *s, struct record *record,
                    GError **error)
{
    size_t at = RECORD_HEADER_BYTES, before;
    struct heading h;

    if (!check_version(record, error)) {
        return false;
    }
    if (record->bytes < HEAD_BYTES) {
        return migration_refuse(error, "stream: a record of memory is cut short");
    }
    if (!within_record(stream_in_part(s, at, HEAD_BYTES, error), error) ||
        !take_head(blocks, s->buffer + at, record->bytes, &h, error) ||
        !within_record(stream_in_part(s, at + HEAD_BYTES, h.runs.left, error), error)) {
        return false;
    }
    before = HEAD_BYTES + h.runs.left;
    h.runs.data = s->buffer + at + HEAD_BYTES;
    if (!check_runs(&h, record->version, record->bytes - before, error)) {
        return false;
    }
    note_ahead(s->ahead, &h);
    if (!h.compressed) {
        return receive_direct(&h, s, record, error);
    }
    if (!stream_in_rest(s, record, before, error)) {
        return false;
    }
    h.runs.data = record->payload + HEAD_BYTES;
    return place(&h, (struct state_input){record->payload + before, record->bytes - before}, error);
}
