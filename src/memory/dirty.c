/*
 * Dirty logs: see dirty.h.
 *
 * A log's bitmap is written with atomic ORs by whoever writes to the memory, and taken word by word
 * with atomic exchanges. The list of a block's logs is behind a reader-writer lock, taken by
 * markers only when the block has a log at all.
 */
#include "memory/dirty.h"
#include <string.h>

struct dirty_log {
    struct address_space *as;
    struct ram_block *ram;
    size_t words;
    _Atomic uint64_t *bits;
};

static void guard(const struct address_space *as, void (*fn)(void *))
{
    if (fn) {
        fn(as->guard.opaque);
    }
}

static void tell(const struct address_space *as, struct ram_block *ram)
{
    for (struct map_listener *l = as->listeners; l; l = l->next) {
        if (l->log_changed) {
            l->log_changed(l, ram);
        }
    }
}

struct dirty_log *dirty_log_new(struct address_space *as, struct ram_block *ram, GError **error)
{
    size_t words = (size_t)((ram->size / GUEST_PAGE_SIZE + 63) / 64);
    struct dirty_log *log = g_new0(struct dirty_log, 1);
    bool room;

    *log = (struct dirty_log){as, ram, words, g_try_malloc0_n(words, sizeof(*log->bits))};
    g_rw_lock_writer_lock(&ram->logs_lock);
    room = log->bits && ram->n_logs < DIRTY_LOGS_MAX;
    if (room) {
        ram->log[ram->n_logs] = log;
        atomic_fetch_add(&ram->n_logs, 1);
    }
    g_rw_lock_writer_unlock(&ram->logs_lock);
    if (!room) {
        g_set_error(error, g_quark_from_static_string("godwit-memory"), 0,
                    "memory '%s': no further dirty log can be had", ram->name);
        free((void *)log->bits);
        g_free(log);
        return NULL;
    }
    guard(as, as->guard.park);
    tell(as, ram);
    guard(as, as->guard.unpark);
    return log;
}

void dirty_log_free(struct dirty_log *log)
{
    struct ram_block *ram;

    if (!log) {
        return;
    }
    ram = log->ram;
    guard(log->as, log->as->guard.park);
    g_rw_lock_writer_lock(&ram->logs_lock);
    for (unsigned i = 0; i < ram->n_logs; i++) {
        if (ram->log[i] == log) {
            ram->log[i] = ram->log[ram->n_logs - 1];
            atomic_fetch_sub(&ram->n_logs, 1);
            break;
        }
    }
    g_rw_lock_writer_unlock(&ram->logs_lock);
    tell(log->as, ram);
    guard(log->as, log->as->guard.unpark);
    free((void *)log->bits);
    g_free(log);
    if (ram->unwanted) {
        ram_block_free(ram);
    }
}

size_t dirty_log_words(const struct dirty_log *log)
{
    return log->words;
}

uint64_t dirty_log_take(struct dirty_log *log, uint64_t *bitmap)
{
    uint64_t pages = 0;

    guard(log->as, log->as->guard.park);
    for (struct map_listener *l = log->as->listeners; l; l = l->next) {
        if (l->log_collect) {
            l->log_collect(l, log->ram);
        }
    }
    for (size_t i = 0; i < log->words; i++) {
        if (atomic_load_explicit(&log->bits[i], memory_order_relaxed)) {
            uint64_t taken = atomic_exchange(&log->bits[i], 0);

            bitmap[i] |= taken;
            pages += (uint64_t)__builtin_popcountll(taken);
        }
    }
    guard(log->as, log->as->guard.unpark);
    return pages;
}

static void log_mark(struct dirty_log *log, uint64_t first, uint64_t last)
{
    for (uint64_t page = first; page <= last; page++) {
        uint64_t bit = 1ull << (page % 64);
        _Atomic uint64_t *word = &log->bits[page / 64];

        if (!(atomic_load_explicit(word, memory_order_relaxed) & bit)) {
            atomic_fetch_or(word, bit);
        }
    }
}

void dirty_mark_slow(struct ram_block *ram, uint64_t offset, uint64_t length)
{
    if (length == 0 || offset >= ram->size) {
        return;
    }
    length = MIN(length, ram->size - offset);
    g_rw_lock_reader_lock(&ram->logs_lock);
    for (unsigned i = 0; i < ram->n_logs; i++) {
        log_mark(ram->log[i], offset / GUEST_PAGE_SIZE, (offset + length - 1) / GUEST_PAGE_SIZE);
    }
    g_rw_lock_reader_unlock(&ram->logs_lock);
}
