/*
 * Between the files of the driver qcow2.
 *
 * What reads or changes metadata runs on the node's worker, one piece of work after the other, and
 * may block there. The I/O thread looks into the tables too, to carry out requests that need no
 * change: so the worker changes what both see (cached L2 tables, the L1 table, the set of metadata
 * clusters) only with q->mutex held, which nobody holds while blocking. Functions without a word
 * about threads are the worker's; the main thread may call them while the worker is idle: from
 * open and close.
 */
#ifndef BLOCK_QCOW2_PRIV_H
#define BLOCK_QCOW2_PRIV_H

#include "block/block-priv.h"
#include <string.h>

#define QCOW2_MAGIC             0x514649fbu
#define QCOW2_COPIED            (1ull << 63) /* the reference count is exactly 1 */
#define QCOW2_COMPRESSED        (1ull << 62)
#define QCOW2_ZERO              1ull
#define QCOW2_OFFSET_MASK       0x00fffffffffffe00ull

/* The header's fields, by their offset. */
#define QCOW2_AT_SIZE           24u
#define QCOW2_AT_L1             36u /* entries; at 40 the offset */
#define QCOW2_AT_RT             48u /* offset; at 56 the number of clusters */
#define QCOW2_AT_SNAPSHOTS      60u /* number; at 64 the offset */
#define QCOW2_AT_INCOMPATIBLE   72u
#define QCOW2_AT_COMPATIBLE     80u
#define QCOW2_AT_AUTOCLEAR      88u
#define QCOW2_HEADER_V2         72u
#define QCOW2_HEADER_V3         104u

#define QCOW2_INCOMPAT_DIRTY    1u
#define QCOW2_INCOMPAT_CORRUPT  2u
#define QCOW2_INCOMPAT_ZSTD     8u /* compression type */
#define QCOW2_COMPAT_LAZY       1u

#define QCOW2_EXT_END           0u
#define QCOW2_EXT_BACKING       0xe2792acau
#define QCOW2_EXT_BITMAPS       0x23852875u
#define QCOW2_EXT_FEATURES      0x6803f857u /* names of feature bits */

#define QCOW2_AUTOCLEAR_BITMAPS 1u
#define QCOW2_BITMAP_IN_USE     1u /* it does not tell what has changed */
#define QCOW2_BITMAP_AUTO       2u /* writes are to be noted in it */

#define QCOW2_MAX_L1_BYTES      (32u << 20)
#define QCOW2_MAX_RT_BYTES      (8u << 20)
#define QCOW2_MAX_BITMAP_DIR    (64u << 20)

struct qcow2_op; /* qcow2-op.h */

struct qcow2_table { /* an L2 table or refcount block in memory */
    uint64_t offset;
    bool dirty;
    uint8_t *data; /* a cluster, as it is on disk */
    GList link;    /* in `used`; data: the table */
};

struct qcow2_cache {
    GHashTable *tables; /* by offset */
    GQueue used;        /* struct qcow2_table: the one used last is the last */
    unsigned max, n_dirty;
};

/* Why a cluster is not in use any more: whether its file is told to give it back. */
enum qcow2_discard {
    QCOW2_DISCARD_NEVER, /* its place is about to be used again */
    QCOW2_DISCARD_ALWAYS,
    QCOW2_DISCARD_REQUEST,  /* the guest discarded it */
    QCOW2_DISCARD_SNAPSHOT, /* it was a snapshot's */
    QCOW2_DISCARD_OTHER,
    QCOW2_DISCARD__MAX
};

/* Kinds of metadata, in the order in which they are looked for. */
enum qcow2_kind {
    QCOW2_HEADER,
    QCOW2_ACTIVE_L1,
    QCOW2_ACTIVE_L2,
    QCOW2_REFCOUNT_TABLE,
    QCOW2_REFCOUNT_BLOCK,
    QCOW2_SNAPSHOT_TABLE,
    QCOW2_INACTIVE_L1,
    QCOW2_INACTIVE_L2,
    QCOW2_BITMAP_DIRECTORY,
    QCOW2_KIND__MAX
};

/* From the node's options; TRISTATE: -1 is what the image or the node says. */
struct qcow2_settings {
    uint64_t l2_cache_bytes, refcount_cache_bytes;
    int lazy;                     /* TRISTATE */
    int pass[QCOW2_DISCARD__MAX]; /* TRISTATE */
    unsigned protect;             /* kinds that nothing else is written over, a mask */
};

struct qcow2 {
    struct block_node *node, *file, *backing; /* backing NULL: none */
    unsigned version, cluster_bits, refcount_bits, header_bytes;
    uint64_t cluster_bytes, bytes;
    uint64_t incompatible, compatible, autoclear;
    bool zstd;
    bool repairing; /* opened to be repaired: it may contradict itself */
    bool signaled;  /* BLOCK_IMAGE_CORRUPTED was sent */
    struct qcow2_settings settings;
    bool lazy;            /* reference counts get to the disk late: see qcow2-meta.c */
    bool uncounted;       /* some did not yet, and the header says so: our mark */
    _Atomic bool corrupt; /* not written any more */
    _Atomic bool dirty;   /* the tables have changed since they were flushed */
    uint64_t *l1;
    uint64_t l1_offset;
    unsigned l1_size;
    GHashTable *l1_dirty; /* indices */
    uint64_t *rt;         /* refcount table */
    uint64_t rt_offset, rt_size;
    GHashTable *metadata; /* number of a cluster: the kinds of metadata that it holds, a mask */
    struct qcow2_cache l2, refcounts;
    GArray *freed;         /* struct qcow2_freed: after the next flush */
    GArray *dropped;       /* the same: of a snapshot, counted down already. NULL: none */
    uint64_t hint;         /* where to look for a free cluster */
    uint64_t packed_end;   /* behind the last compressed cluster, where the next goes; 0: nowhere */
    uint64_t end_clusters; /* no cluster from here on has ever been used */
    enum { QCOW2_SPARSE_UNKNOWN, QCOW2_SPARSE, QCOW2_NOT_SPARSE } sparse; /* see qcow2.c */
    uint32_t snapshots;
    uint64_t snapshots_offset;
    uint32_t bitmaps; /* 0: none, or they are not valid */
    uint64_t bitmaps_offset, bitmaps_bytes;
    GPtrArray *snapshot_list, *bitmap_list; /* qcow2-info.c; NULL: none. Seen by the main thread */
    char *backing_name, *backing_format;
    GHashTable *allocating; /* numbers of guest clusters whose new place is being written */
    /* under mutex */
    GMutex mutex;
    struct qcow2_op *queue, **queue_tail; /* the worker's */
    struct qcow2_op *waiting;             /* for any of `allocating` */
    bool busy;
    /* Requests that are under way to clusters of the image, by the phase in which they looked them
     * up. A cluster that is unlinked in one phase is used again when nobody is left of it. */
    unsigned phase, in_phase[2];
    GCond phase_empty;
};

struct qcow2_freed {
    uint64_t offset, bytes;
    enum qcow2_discard discard;
};

static inline uint32_t qcow2_be32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return GUINT32_FROM_BE(v);
}

static inline uint64_t qcow2_be64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return GUINT64_FROM_BE(v);
}

static inline void qcow2_put_be32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(p, &v, 4);
}

static inline void qcow2_put_be64(uint8_t *p, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    memcpy(p, &v, 8);
}

/* How long an entry of the bitmap directory is; 24 bytes of it at least are there. */
static inline uint64_t qcow2_bitmap_entry_bytes(const uint8_t *entry)
{
    uint64_t bytes = 24ull + qcow2_be32(entry + 20) + (uint64_t)(entry[18] << 8 | entry[19]);

    return (bytes + 7) & ~7ull;
}

/* ---- qcow2-options.c */
bool qcow2_settings_parse(const struct blockdev_options_qcow2 *options, struct qcow2_settings *s,
                          GError **error);
/* Makes q as q->settings says; the header and the tables were read. */
bool qcow2_settings_apply(struct qcow2 *q, GError **error);
/* blockdev-reopen */
extern const char *const qcow2_changeable[];
bool qcow2_configure(struct block_node *node, const struct blockdev_options *options,
                     GError **error);
/* What is freed for this reason is given back. */
bool qcow2_passes(const struct qcow2 *q, enum qcow2_discard why);

/* ---- qcow2-header.c; 0 or -errno */
int qcow2_load(struct qcow2 *q, GError **error); /* header, tables */
void qcow2_unload(struct qcow2 *q);

/* ---- qcow2-compress.c; any thread */
/* A whole cluster from n bytes, to be freed; NULL: they are damaged. */
uint8_t *qcow2_decompress(const struct qcow2 *q, const uint8_t *in, uint64_t n);

/* ---- qcow2-info.c */
/* Reads what snapshots and bitmaps there are; from what is damaged, as many as can be read. */
void qcow2_lists_read(struct qcow2 *q);
void qcow2_lists_drop(struct qcow2 *q);
/* Main thread. */
void qcow2_image_info(struct block_node *node, struct image_info *info);
struct block_dirty_info_list *qcow2_dirty_bitmaps(struct block_node *node);

/* ---- qcow2-check.c */
/* qcow2_check() of its struct qcow2_check, at once. */
int qcow2_check_run(struct qcow2 *q, void *check);

/* ---- qcow2.c */
/* The backing file as the image names it, as a path; there is one. To be freed. */
char *qcow2_backing_path(const struct qcow2 *q);

/* ---- qcow2-cache.c; the worker. 0 or -errno */
void qcow2_cache_init(struct qcow2_cache *c);
/* How many tables are kept, by q->settings; while the worker has nothing to do. q->cluster_bytes is
 * known. */
void qcow2_cache_configure(struct qcow2 *q);
struct qcow2_table *qcow2_table_new(struct qcow2 *q, uint64_t offset); /* zeroes; NULL: no memory */
void qcow2_table_free(struct qcow2_table *table);
/* It differs from the disk's. */
void qcow2_table_dirty(struct qcow2_cache *cache, struct qcow2_table *table);
/* It is used, with q->mutex held. */
void qcow2_table_used(struct qcow2_cache *cache, struct qcow2_table *table);
int qcow2_cache_make_room(struct qcow2 *q, struct qcow2_cache *cache); /* for one more */
/* The table is complete; there is room. */
void qcow2_cache_add(struct qcow2 *q, struct qcow2_cache *cache, struct qcow2_table *table);
/* The table at offset, which has been checked; good until the next one is asked for. */
int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset,
                    struct qcow2_table **table);
int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *cache); /* what is dirty */

/* ---- qcow2-meta.c; 0 or -errno */
/* Writes all tables in their order; what was freed stays that. counts: lazy ones too. */
int qcow2_tables_flush(struct qcow2 *q, bool counts);
/* After it the reference counts on the disk are right, and the header says so. */
int qcow2_clean(struct qcow2 *q);
/* Gives the clusters that a snapshot alone had back to the host, as the settings say; what counts
 * them is on the disk. */
void qcow2_discard_dropped(struct qcow2 *q);
int qcow2_flush(struct qcow2 *q);
/* The offset can be a cluster's. */
bool qcow2_is_cluster(const struct qcow2 *q, uint64_t offset);
int qcow2_flush_file(struct qcow2 *q);
/* The L2 entry for a guest offset: *table (for qcow2_l2_set()) and *entry; with `create` a table of
 * its own is made. Without one *table is NULL and *entry 0. */
int qcow2_l2_get(struct qcow2 *q, uint64_t guest, bool create, struct qcow2_table **table,
                 uint64_t *entry);
/* The same from what is in memory, with q->mutex held; any thread; write: to write there. false:
 * ask the worker. */
bool qcow2_l2_peek(struct qcow2 *q, uint64_t guest, bool write, uint64_t *entry);
void qcow2_l2_set(struct qcow2 *q, struct qcow2_table *table, uint64_t guest, uint64_t entry);
/* What an entry refers to is. */
void qcow2_free_entry(struct qcow2 *q, uint64_t entry, enum qcow2_discard discard);
void qcow2_compressed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset,
                            uint64_t *bytes);
/* The guest's disk gets another length; cutting drops what is behind. */
int qcow2_set_size(struct qcow2 *q, uint64_t bytes);

/* ---- qcow2-corrupt.c */
/* The image contradicts itself: that is told, and an image that is written is marked as corrupt and
 * not written any more. -EIO. */
int qcow2_is_corrupt(struct qcow2 *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* These bytes hold metadata of that kind from now on. */
void qcow2_metadata_add(struct qcow2 *q, enum qcow2_kind kind, uint64_t offset, uint64_t bytes);
void qcow2_metadata_remove(struct qcow2 *q, enum qcow2_kind kind, uint64_t offset, uint64_t bytes);
/* Whether a cluster holds what is protected (but for tables of snapshots that are not in memory);
 * with q->mutex held, or on the worker. */
bool qcow2_is_metadata(const struct qcow2 *q, uint64_t offset);
/* These bytes are about to be written, as metadata of the kind `own` (QCOW2_KIND__MAX: as data): 0,
 * or what qcow2_is_corrupt() returns when something else is there. */
int qcow2_write_check(struct qcow2 *q, enum qcow2_kind own, uint64_t offset, uint64_t bytes);

/* ---- qcow2-counts.c; 0 or -errno */
/* A free cluster, counted once. *fresh: it reads as zeroes, nothing was ever written to it. That it
 * holds metadata all the same is for qcow2_write_check() to find. */
int qcow2_alloc(struct qcow2 *q, uint64_t *offset, bool *fresh);
/* n free clusters in a row, counted once. */
int qcow2_alloc_run(struct qcow2 *q, uint64_t n, uint64_t *offset);
/* The reference count of a cluster of the image. */
int qcow2_count_get(struct qcow2 *q, uint64_t cluster, uint64_t *count);
/* Makes it so, in memory. */
int qcow2_count_set(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* Changes it by +1 or -1, in memory. */
int qcow2_count_change(struct qcow2 *q, uint64_t cluster, int by);
/* These bytes of the image lose a reference once what referred to them is gone from the disk. */
void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum qcow2_discard discard);
/* References on the disk are gone: the counts follow, in memory. */
int qcow2_count_freed(struct qcow2 *q);

/* ---- qcow2-io.c */
void qcow2_submit(struct block_node *node, struct block_request *r); /* I/O thread */

/* ---- qcow2-work.c */
/* Runs fn on the worker, after what it has to do already, and waits. Not from the I/O thread. */
int qcow2_call(struct qcow2 *q, int (*fn)(struct qcow2 *q, void *arg), void *arg);

#endif
