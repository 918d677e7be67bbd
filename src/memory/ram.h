/*
 * Guest RAM: anonymous (or memfd) host memory, zero at the start, populated on touch.
 */
#ifndef MEMORY_RAM_H
#define MEMORY_RAM_H

#include "memory/types.h"
#include <glib.h>
#include <stddef.h>

struct ram_block {
    char *name;
    uint8_t *host; /* page-aligned; size bytes, then an inaccessible guard page */
    uint64_t size; /* bytes, a multiple of 4096 */
    /* The accelerator's per-page table (the software CPU's code tracking) or NULL; from malloc(),
     * freed with the block. */
    void *accel_pages;
};

/* NULL and *error when size is 0, not a multiple of 4096, or cannot be had. */
struct ram_block *ram_block_new(const char *name, uint64_t size, GError **error);
void ram_block_free(struct ram_block *block); /* NULL is fine */

#endif
