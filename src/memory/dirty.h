/*
 * Dirty tracking: which pages of RAM were written since somebody last looked. For migration,
 * which sends them again, and for displays, which draw them again.
 *
 * Each client has a log of its own for a RAM block, so that one does not take what another waits
 * for. While a block has logs, whatever writes to it is noted: vCPUs (the accelerator tells, see
 * map_listener), devices' DMA, loaders, the debugger (address_space_write() and
 * address_space_ram_written() tell). Without logs nothing is noted and nothing costs.
 *
 * A page is never reported too seldom; it may be reported though nothing in it changed.
 */
#ifndef MEMORY_DIRTY_H
#define MEMORY_DIRTY_H

#include "memory/address-space.h"
#include <stdatomic.h>

struct dirty_log;

/* The most logs that a block has at a time. */
#define DIRTY_LOGS_MAX 4

/* Begins with all pages clean. as: where vCPUs reach the block; it outlives the log, and the
 * block's memory is there as long as the log is. NULL and *error when there is no memory for a bit
 * per page, or too many logs. Main thread, machine lock held, here and below unless said. */
struct dirty_log *dirty_log_new(struct address_space *as, struct ram_block *ram, GError **error);
void dirty_log_free(struct dirty_log *log); /* NULL is fine */

/* 64-bit words of its bitmap: a bit per page of 4096 bytes, bit 0 of word 0 being the first. */
size_t dirty_log_words(const struct dirty_log *log);
/* Adds to bitmap the pages written since the last call, and begins anew. vCPUs are held still for
 * it, so that a write is either in it (and the memory has it) or will be in the next. Returns how
 * many pages that were. */
uint64_t dirty_log_take(struct dirty_log *log, uint64_t *bitmap);

/* Notes a write. Any thread, before or after the write but within what dirty_log_take() holds
 * still; cheap when nobody has a log. */
void dirty_mark_slow(struct ram_block *ram, uint64_t offset, uint64_t length);
static inline bool dirty_logged(const struct ram_block *ram)
{
    return atomic_load_explicit(&ram->n_logs, memory_order_relaxed) != 0;
}
static inline void dirty_mark(struct ram_block *ram, uint64_t offset, uint64_t length)
{
    if (dirty_logged(ram)) {
        dirty_mark_slow(ram, offset, length);
    }
}

#endif
