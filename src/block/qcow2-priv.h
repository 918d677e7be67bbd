/*
 * Between the files of the driver qcow2. Everything but open and close runs on the node's worker,
 * one request after the other, so that no lock is needed.
 */
#ifndef BLOCK_QCOW2_PRIV_H
#define BLOCK_QCOW2_PRIV_H

#include "block/block-priv.h"

#define QCOW2_COPIED      (1ull << 63) /* the reference count is exactly 1 */
#define QCOW2_COMPRESSED  (1ull << 62)
#define QCOW2_ZERO        1ull
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull

struct qcow2_table { /* an L2 table or refcount block in memory */
    uint64_t offset;
    uint64_t used; /* when, for eviction */
    bool dirty;
    uint8_t *data; /* a cluster, as it is on disk */
};

struct qcow2_cache {
    GHashTable *tables; /* by offset */
    unsigned max;
    uint64_t clock;
};

struct qcow2 {
    struct block_node *node, *file, *backing; /* backing NULL: none */
    unsigned version, cluster_bits, refcount_bits, header_bytes;
    uint64_t cluster_bytes, bytes;
    uint64_t incompatible, autoclear;
    bool zstd, corrupt, failed; /* failed: metadata could not be written; nothing more is */
    uint64_t *l1;
    uint64_t l1_offset;
    unsigned l1_size;
    GHashTable *l1_dirty; /* indices */
    uint64_t *rt;         /* refcount table */
    uint64_t rt_offset, rt_size;
    GHashTable *metadata; /* numbers of clusters that hold metadata: data never goes there */
    struct qcow2_cache l2, refcounts;
    GArray *freed; /* struct qcow2_freed: after the next flush */
    uint64_t hint; /* where to look for a free cluster */
    char *backing_name, *backing_format;
    /* the queue: under mutex */
    GMutex mutex;
    struct block_request *queue, **queue_tail;
    bool busy;
};

struct qcow2_freed {
    uint64_t offset, bytes;
};

/* qcow2-meta.c; 0 or -errno */
int qcow2_load(struct qcow2 *q, GError **error); /* header, tables */
void qcow2_unload(struct qcow2 *q);
int qcow2_flush(struct qcow2 *q);
/* The image contradicts itself: it is marked as corrupt and not written any more. -EIO. */
int qcow2_is_corrupt(struct qcow2 *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The L2 entry for a guest offset: *table (for qcow2_l2_set()) and *entry; with `create` a table of
 * its own is made. Without one *table is NULL and *entry 0. */
int qcow2_l2_get(struct qcow2 *q, uint64_t guest, bool create, struct qcow2_table **table,
                 uint64_t *entry);
void qcow2_l2_set(struct qcow2 *q, struct qcow2_table *table, uint64_t guest, uint64_t entry);
/* A free cluster, counted once. */
int qcow2_alloc(struct qcow2 *q, uint64_t *offset);
/* These bytes of the image lose a reference once what referred to them is gone from the disk. */
void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes);
/* What an entry refers to is. */
void qcow2_free_entry(struct qcow2 *q, uint64_t entry);
void qcow2_compressed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset,
                            uint64_t *bytes);

#endif
