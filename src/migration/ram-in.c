/*
 * Memory that comes: see ram-out.c for what a record is. Each number is checked against the block
 * and against the bytes that there are before anything is written.
 */
#include "migration/migration-priv.h"

#include "base/bytes.h"
#include "memory/types.h"
#include <inttypes.h>
#include <string.h>

#define RUN_BYTES     16u
/* From so many zero pages together the host is asked to forget what it has there. */
#define DISCARD_PAGES 64u

static bool refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool refuse(GError **error, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (error) {
        *error = g_error_new_valist(MIGRATION_ERROR, 0, format, ap);
    }
    va_end(ap);
    return false;
}

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

static bool take_run(struct state_input *runs, const struct vmstate_ram *ram, struct run *run,
                     GError **error)
{
    uint64_t pages = ram->block->size / GUEST_PAGE_SIZE;

    if (!state_take_number(runs, 8, &run->first) || !state_take_number(runs, 4, &run->n) ||
        !state_take_number(runs, 4, &run->kind)) {
        return refuse(error, "stream: memory '%s': a record is cut short", ram->name);
    }
    if (run->n == 0 || run->first >= pages || run->n > pages - run->first) {
        return refuse(error,
                      "stream: memory '%s': pages %" PRIu64 " to %" PRIu64 ", it has %" PRIu64,
                      ram->name, run->first, run->first + run->n, pages);
    }
    if (run->kind > 1) {
        return refuse(error, "stream: memory '%s': pages of kind %" PRIu64 ", known are 0 and 1",
                      ram->name, run->kind);
    }
    return true;
}

static bool take_pages(const struct vmstate_ram *ram, struct state_input *runs,
                       struct state_input *pages, GError **error)
{
    while (runs->left) {
        struct run run;
        uint64_t bytes;

        if (!take_run(runs, ram, &run, error)) {
            return false;
        }
        bytes = run.n * GUEST_PAGE_SIZE;
        if (run.kind == 0) {
            clear(ram->block, run.first, run.n);
            continue;
        }
        if (bytes > pages->left) {
            return refuse(error, "stream: memory '%s': a record lacks pages", ram->name);
        }
        memcpy(ram->block->host + run.first * GUEST_PAGE_SIZE, pages->data, bytes);
        pages->data += bytes;
        pages->left -= bytes;
    }
    return pages->left == 0 ||
           refuse(error, "stream: memory '%s': %zu bytes too many", ram->name, pages->left);
}

bool ram_in_take(const GPtrArray *blocks, const struct record *record, GError **error)
{
    struct state_input in = {record->payload, record->bytes}, runs;
    uint64_t block, n;

    if (!record_version(record, 1, error)) {
        return false;
    }
    if (!state_take_number(&in, 4, &block) || !state_take_number(&in, 4, &n) ||
        n > in.left / RUN_BYTES) {
        return refuse(error, "stream: a record of memory is cut short");
    }
    if (block >= blocks->len) {
        return refuse(error, "stream: memory block %" PRIu64 ", there are %u", block, blocks->len);
    }
    runs = (struct state_input){in.data, n * RUN_BYTES};
    in.data += n * RUN_BYTES;
    in.left -= n * RUN_BYTES;
    return take_pages(blocks->pdata[block], &runs, &in, error);
}
