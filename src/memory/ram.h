/*
 * Guest RAM: anonymous host memory, zero at the start, populated on touch; or a file's.
 */
#ifndef MEMORY_RAM_H
#define MEMORY_RAM_H

#include "memory/types.h"
#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct dirty_log;

struct ram_block {
    char *name;
    uint8_t *host;  /* page-aligned; size bytes, then an inaccessible guard page */
    uint64_t size;  /* bytes, a multiple of 4096 */
    bool anonymous; /* what was never touched is zero */
    bool shared;    /* others may see what is written */
    bool forgets;   /* what ram_block_discard() takes away reads as zeroes */
    /* The accelerator's per-page table (the software CPU's code tracking) or NULL; from malloc(),
     * freed with the block. */
    void *accel_pages;
    /* Who wants to know what is written: dirty.h. */
    GRWLock logs_lock;
    _Atomic unsigned n_logs;
    struct dirty_log *log[4];
    bool unwanted; /* the last log's end frees it */
    bool discard_data;
    uint64_t align; /* of a place in the guest's address space that suits it */
};

#define RAM_HOST_NODES 128

/* From which of the host's nodes it comes; all zero: from any. */
struct ram_place {
    unsigned mode;                       /* as mbind(2) has them: MPOL_DEFAULT (0)... */
    uint64_t nodes[RAM_HOST_NODES / 64]; /* a bit each */
};

/* Where the memory is, for those who want it shared or kept. */
struct ram_backing {
    char *path;             /* of a file, or of the folder of one without a name; NULL: none */
    bool memfd;             /* a file without a name */
    bool hugetlb;           /* of a memfd: the host's large pages */
    uint64_t hugetlb_bytes; /* of such a page; 0: the host's usual ones */
    bool share; /* what is written is seen by others who map the file; else it is the machine's own
                 */
    bool prealloc;             /* the host gives all of it at once */
    uint32_t prealloc_threads; /* asked by so many; 0 is one */
    bool no_reserve;           /* the host need not have promised it */
    bool seal;                 /* of a memfd: nobody may change its size */
    bool discard_data;         /* the file's content goes with the memory */
    uint64_t align;            /* of its address in this process; 0: any */
    struct ram_place place;
    bool no_merge, no_dump; /* not for the host's page merging, not in our core dumps */
};

/* backing NULL: anonymous. A file that is absent or empty is made as large as the memory, one that
 * is too small is an error. */
struct ram_block *ram_block_new_backed(const char *name, uint64_t size,
                                       const struct ram_backing *backing, GError **error);

/* Part of the block is from there, also what it holds already; whole pages. false and *error: the
 * host has no such nodes. */
bool ram_block_bind(struct ram_block *block, uint64_t offset, uint64_t length,
                    const struct ram_place *place, GError **error);
/* NULL and *error when size is 0, not a multiple of 4096, or cannot be had. */
struct ram_block *ram_block_new(const char *name, uint64_t size, GError **error);
/* The bytes are zero again (in a file that is not shared: as in the file) and the host keeps
 * nothing for them. Whole pages; any thread. */
void ram_block_discard(struct ram_block *block, uint64_t offset, uint64_t length);
/* The host gets memory for those bytes now, contents as they are; whole pages. false and *error: it
 * has none. Any thread. */
bool ram_block_populate(struct ram_block *block, uint64_t offset, uint64_t length, GError **error);
/* Which of the pages from offset (a page's) on may hold something: a bit each, bit 0 of word 0
 * being the first. Those that nobody has touched are zero, and looking at them would fill them. Any
 * thread. */
void ram_block_touched(const struct ram_block *block, uint64_t offset, uint64_t pages,
                       uint64_t *bitmap);
/* The block's content is the file's from that offset (whole pages) on, copied where it is written
 * to: by whoever uses the memory, who sees the file otherwise. false and *error when it can't be,
 * or the memory is shared with others. */
bool ram_block_map_file(struct ram_block *block, int fd, uint64_t offset, GError **error);
/* NULL is fine. Whoever has a log of it may go on reading it: the last log takes it along. Main
 * thread. */
void ram_block_free(struct ram_block *block);

#endif
