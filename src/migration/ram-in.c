/*
 * Memory that comes: see ram-out.c for what a record is. Each number is checked against the block
 * and against the bytes that there are before anything is written. Pages are not: of a record that
 * turns out to be damaged some may be in their places, and the machine can't be used then anyway.
 */
#include "migration/migration-priv.h"

#include "base/bytes.h"
#include "memory/types.h"
#include "migration/crc32c.h"
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

static bool check_run(const struct vmstate_ram *ram, const struct run *run, GError **error)
{
    uint64_t pages = ram->block->size / GUEST_PAGE_SIZE;

    if (run->n == 0 || run->first >= pages || run->n > pages - run->first) {
        return migration_refuse(
            error, "stream: memory '%s': pages %" PRIu64 " to %" PRIu64 ", it has %" PRIu64,
            ram->name, run->first, run->first + run->n, pages);
    }
    if (run->kind > 1) {
        return migration_refuse(error,
                                "stream: memory '%s': pages of kind %" PRIu64 ", known are 0 and 1",
                                ram->name, run->kind);
    }
    return true;
}

/* Whether the runs are all of the block, and how many bytes of pages belong to them. */
static bool check_runs(const struct vmstate_ram *ram, struct state_input runs, uint64_t pages_bytes,
                       GError **error)
{
    uint64_t left = pages_bytes;

    while (runs.left) {
        struct run run = next_run(&runs);

        if (!check_run(ram, &run, error)) {
            return false;
        }
        if (run.kind && run.n * GUEST_PAGE_SIZE > left) {
            return migration_refuse(error, "stream: memory '%s': a record lacks pages", ram->name);
        }
        left -= run.kind ? run.n * GUEST_PAGE_SIZE : 0;
    }
    return left == 0 || migration_refuse(error, "stream: memory '%s': %" PRIu64 " bytes too many",
                                         ram->name, left);
}

/* What a record begins with; the number of runs may be any that fits. */
static bool take_head(const GPtrArray *blocks, struct state_input in, uint64_t bytes,
                      const struct vmstate_ram **ram, uint64_t *runs, GError **error)
{
    uint64_t block;

    if (!state_take_number(&in, 4, &block) || !state_take_number(&in, 4, runs) ||
        *runs > (bytes - HEAD_BYTES) / RUN_BYTES) {
        return migration_refuse(error, "stream: a record of memory is cut short");
    }
    if (block >= blocks->len) {
        return migration_refuse(error, "stream: memory block %" PRIu64 ", there are %u", block,
                                blocks->len);
    }
    *ram = blocks->pdata[block];
    return true;
}

bool ram_in_take(const GPtrArray *blocks, const struct record *record, GError **error)
{
    struct state_input runs;
    const struct vmstate_ram *ram;
    const uint8_t *pages;
    uint64_t n;

    if (!record_version(record, 1, error) ||
        !take_head(blocks, (struct state_input){record->payload, record->bytes}, record->bytes,
                   &ram, &n, error)) {
        return false;
    }
    runs = (struct state_input){record->payload + HEAD_BYTES, n * RUN_BYTES};
    pages = runs.data + runs.left;
    if (!check_runs(ram, runs, record->bytes - HEAD_BYTES - runs.left, error)) {
        return false;
    }
    while (runs.left) {
        struct run run = next_run(&runs);

        if (run.kind == 0) {
            clear(ram->block, run.first, run.n);
            continue;
        }
        memcpy(ram->block->host + run.first * GUEST_PAGE_SIZE, pages, run.n * GUEST_PAGE_SIZE);
        pages += run.n * GUEST_PAGE_SIZE;
    }
    return true;
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

        if (run.kind == 0) {
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

static bool receive(const GPtrArray *blocks, struct stream_in *s, const struct record *record,
                    uint32_t *sum, GError **error)
{
    struct state_input runs;
    const struct vmstate_ram *ram;
    uint64_t n;

    if (record->bytes < HEAD_BYTES) {
        return migration_refuse(error, "stream: a record of memory is cut short");
    }
    if (!within_record(stream_in_part(s, RECORD_HEADER_BYTES, HEAD_BYTES, error), error) ||
        !take_head(blocks, (struct state_input){s->buffer + RECORD_HEADER_BYTES, HEAD_BYTES},
                   record->bytes, &ram, &n, error) ||
        !within_record(stream_in_part(s, RECORD_HEADER_BYTES + HEAD_BYTES, n * RUN_BYTES, error),
                       error)) {
        return false;
    }
    runs = (struct state_input){s->buffer + RECORD_HEADER_BYTES + HEAD_BYTES, n * RUN_BYTES};
    if (!check_runs(ram, runs, record->bytes - HEAD_BYTES - runs.left, error)) {
        return false;
    }
    *sum = crc32c(0, s->buffer, RECORD_HEADER_BYTES + HEAD_BYTES + runs.left);
    while (runs.left) {
        if (!within_record(receive_some(s->channel, ram->block, &runs, sum, error), error)) {
            return false;
        }
    }
    return true;
}

bool ram_in_receive(const GPtrArray *blocks, struct stream_in *s, struct record *record,
                    GError **error)
{
    uint8_t check[RECORD_CHECK_BYTES];
    uint32_t sum;

    if (!record_version(record, 1, error) || !receive(blocks, s, record, &sum, error) ||
        !within_record(channel_read(s->channel, check, sizeof(check), error), error) ||
        !record_check_sum(record, sum, check, error)) {
        return false;
    }
    stream_in_note(s, check);
    return true;
}
