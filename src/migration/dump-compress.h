/*
 * Compression of pages by several threads: slices of pages, each compressed as a whole by one
 * thread.
 *
 * All calls but the work itself are the caller's thread's.
 */
#ifndef MIGRATION_DUMP_COMPRESS_H
#define MIGRATION_DUMP_COMPRESS_H

#include "qapi-types.h"
#include <glib.h>

#define DUMP_SLICE_PAGES 256
#define DUMP_PAGE_BYTES  4096u

struct dump_slice {
    const uint8_t *page[DUMP_SLICE_PAGES]; /* filled in by the caller, n of them */
    unsigned n;
    /* 0: all zeros; DUMP_PAGE_BYTES: as it is; else compressed. In data one after the other. */
    uint32_t size[DUMP_SLICE_PAGES];
    size_t used;
    uint8_t *data;
    bool busy; /* private */
};

struct dump_compressor;

/* format: a kdump one that is available. */
struct dump_compressor *dump_compressor_new(enum dump_guest_memory_format format);
void dump_compressor_free(struct dump_compressor *c); /* waits for what was started */
unsigned dump_compressor_slices(const struct dump_compressor *c);
struct dump_slice *dump_compressor_slice(struct dump_compressor *c, unsigned i);
/* Has a slice compressed; until dump_compressor_wait() returns it is not the caller's. */
void dump_compressor_start(struct dump_compressor *c, struct dump_slice *slice);
void dump_compressor_wait(struct dump_compressor *c, struct dump_slice *slice);

/* DUMP_DH_COMPRESSED_* of kdump's header and page descriptors; 0 for a format that is not kdump's
 * or not available. Its library is loaded by that. */
uint32_t dump_compress_flag(enum dump_guest_memory_format format);

#endif
