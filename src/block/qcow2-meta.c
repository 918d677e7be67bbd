/*
 * qcow2: reference counts and L1/L2 tables (the format's description: QEMU's
 * docs/interop/qcow2.txt, version 7.2).
 *
 * Tables change in memory. qcow2_flush() brings them to the disk in an order that leaves at worst
 * clusters that are counted and not used, wherever it ends: first data and reference counts, then
 * L2 tables, then the L1 table, each made stable before the next. What lost its last reference is
 * counted down only after all that, and not used again before; so a cluster that any table on the
 * disk refers to is never free on the disk.
 *
 * With lazy reference counts these are left out: the header says then that they are not right,
 * until qcow2_clean(), and whoever finds it so counts anew. They change in memory as ever, and
 * clusters are used again in the same order, so all else holds.
 *
 * Requests may still be under way to a cluster when its last reference is counted down: it is used
 * again when they have ended.
 *
 * Numbers of the image are not believed: offsets must be whole clusters, and data is never put
 * where metadata is.
 */
#include "block/qcow2-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

int qcow2_flush_file(struct qcow2 *q)
{
    return block_node_sync(q->file, BLOCK_FLUSH, 0, 0, 0);
}

bool qcow2_is_cluster(const struct qcow2 *q, uint64_t offset)
{
    return offset && (offset & (q->cluster_bytes - 1)) == 0 && offset <= INT64_MAX / 2;
}

/* ---- L1 and L2 */

static int l1_write(struct qcow2 *q)
{
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, q->l1_dirty);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        unsigned i = GPOINTER_TO_UINT(key);
        uint8_t entry[8];
        int ret = qcow2_write_check(q, QCOW2_ACTIVE_L1, q->l1_offset + 8ull * i, 8);

        qcow2_put_be64(entry, q->l1[i]);
        block_node_debug(q->file, BLKDEBUG_EVENT_L1_UPDATE);
        ret = ret < 0 ? ret : block_node_pwrite(q->file, q->l1_offset + 8ull * i, entry, 8);
        if (ret < 0) {
            return ret;
        }
    }
    g_hash_table_remove_all(q->l1_dirty);
    return 0;
}

/* The counts on the disk are going to be wrong: the header says so before they are. What follows
 * makes that stable first of all. */
static int mark_uncounted(struct qcow2 *q)
{
    uint8_t bits[8];
    int ret = 0;

    if (!q->uncounted) {
        qcow2_put_be64(bits, q->incompatible | QCOW2_INCOMPAT_DIRTY);
        ret = block_node_pwrite(q->file, QCOW2_AT_INCOMPATIBLE, bits, 8);
    }
    if (ret == 0 && !q->uncounted) {
        g_mutex_lock(&q->mutex);
        q->incompatible |= QCOW2_INCOMPAT_DIRTY;
        g_mutex_unlock(&q->mutex);
        q->uncounted = true;
    }
    return ret;
}

static int flush_ordered(struct qcow2 *q, bool counts)
{
    int ret = 0;

    if (q->refcounts.n_dirty) {
        ret = q->lazy && !counts ? mark_uncounted(q) : qcow2_cache_write(q, &q->refcounts);
    }
    ret = ret < 0 ? ret : qcow2_flush_file(q);
    if (ret == 0 && q->l2.n_dirty) {
        ret = qcow2_cache_write(q, &q->l2);
        ret = ret < 0 ? ret : qcow2_flush_file(q);
    }
    if (ret == 0 && g_hash_table_size(q->l1_dirty)) {
        ret = l1_write(q);
        ret = ret < 0 ? ret : qcow2_flush_file(q);
    }
    return ret;
}

int qcow2_tables_flush(struct qcow2 *q, bool counts)
{
    if (q->node->read_only || q->corrupt) {
        return q->corrupt ? -EIO : 0;
    }
    return flush_ordered(q, counts);
}

int qcow2_flush(struct qcow2 *q)
{
    int ret = qcow2_tables_flush(q, false);

    if (ret < 0 || q->node->read_only) {
        return ret;
    }
    q->dirty = false;
    /* Counted down in memory; if that never gets to the disk, clusters are lost, no more. */
    return qcow2_count_freed(q);
}

int qcow2_clean(struct qcow2 *q)
{
    uint8_t bits[8];
    int ret;

    if (!q->uncounted) {
        return 0;
    }
    ret = qcow2_flush(q);
    ret = ret < 0 ? ret : qcow2_tables_flush(q, true); /* what the first has freed, too */
    qcow2_put_be64(bits, q->incompatible & ~(uint64_t)QCOW2_INCOMPAT_DIRTY);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, QCOW2_AT_INCOMPATIBLE, bits, 8);
    ret = ret < 0 ? ret : qcow2_flush_file(q);
    if (ret == 0) {
        g_mutex_lock(&q->mutex);
        q->incompatible &= ~(uint64_t)QCOW2_INCOMPAT_DIRTY;
        g_mutex_unlock(&q->mutex);
        q->uncounted = false;
    }
    return ret;
}

static int l2_check(struct qcow2 *q, unsigned i)
{
    uint64_t offset = q->l1[i] & QCOW2_OFFSET_MASK;

    return qcow2_is_cluster(q, offset)
               ? 0
               : qcow2_is_corrupt(q, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#x)",
                                  offset, i);
}

/* What the entry's own table begins with: what a snapshot has too. */
static int l2_copy(struct qcow2 *q, unsigned i, uint8_t *data)
{
    struct qcow2_table *from;
    int ret = l2_check(q, i);

    block_node_debug(q->file, BLKDEBUG_EVENT_L2_ALLOC_COW_READ);
    ret = ret < 0 ? ret : qcow2_cache_get(q, &q->l2, q->l1[i] & QCOW2_OFFSET_MASK, &from);
    if (ret == 0) {
        memcpy(data, from->data, q->cluster_bytes);
    }
    return ret;
}

/* A table for the entry of its own: new, or a copy of one that a snapshot has too. */
static int l2_make(struct qcow2 *q, unsigned i, struct qcow2_table **table)
{
    uint64_t old = q->l1[i] & QCOW2_OFFSET_MASK, offset;
    struct qcow2_table *t;
    bool fresh;
    int ret = qcow2_alloc(q, &offset, &fresh);

    ret = ret < 0 ? ret : qcow2_write_check(q, QCOW2_KIND__MAX, offset, q->cluster_bytes);
    if (ret < 0) {
        return ret;
    }
    t = qcow2_table_new(q, offset);
    ret = !t ? -ENOMEM : old ? l2_copy(q, i, t->data) : 0;
    ret = ret < 0 ? ret : qcow2_cache_make_room(q, &q->l2);
    if (ret < 0) {
        if (t) {
            qcow2_table_free(t);
        }
        qcow2_free_later(q, offset, q->cluster_bytes, QCOW2_DISCARD_ALWAYS);
        return ret;
    }
    if (old) {
        qcow2_free_later(q, old, q->cluster_bytes, QCOW2_DISCARD_OTHER);
    }
    block_node_debug(q->file, BLKDEBUG_EVENT_L2_ALLOC_WRITE);
    qcow2_cache_add(q, &q->l2, t);
    qcow2_table_dirty(&q->l2, t);
    q->dirty = true;
    qcow2_metadata_add(q, QCOW2_ACTIVE_L2, offset, q->cluster_bytes);
    g_mutex_lock(&q->mutex);
    q->l1[i] = offset | QCOW2_COPIED;
    g_mutex_unlock(&q->mutex);
    g_hash_table_add(q->l1_dirty, GUINT_TO_POINTER(i));
    *table = t;
    return 0;
}

/* An entry that no image can have. */
static int entry_check(struct qcow2 *q, uint64_t entry, uint64_t l2, uint64_t index)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK;

    if (entry & QCOW2_COMPRESSED) {
        return 0;
    }
    if (q->version < 3 && entry & QCOW2_ZERO) {
        return qcow2_is_corrupt(q,
                                "Zero cluster entry found in pre-v3 image (L2 offset: %#" PRIx64
                                ", L2 index: %#" PRIx64 ")",
                                l2, index);
    }
    if (offset && !qcow2_is_cluster(q, offset)) {
        return qcow2_is_corrupt(q,
                                "Cluster allocation offset %#" PRIx64
                                " unaligned (L2 offset: %#" PRIx64 ", L2 index: %#" PRIx64 ")",
                                offset, l2, index);
    }
    return 0;
}

bool qcow2_l2_peek(struct qcow2 *q, uint64_t guest, bool write, uint64_t *entry)
{
    unsigned l2_bits = q->cluster_bits - 3;
    uint64_t i = guest >> (q->cluster_bits + l2_bits);
    uint64_t k = guest >> q->cluster_bits & ((1ull << l2_bits) - 1), offset;
    struct qcow2_table *t;

    if (i >= q->l1_size) {
        return false;
    }
    offset = q->l1[i] & QCOW2_OFFSET_MASK;
    *entry = 0;
    if (!offset) {
        return true;
    }
    t = g_hash_table_lookup(q->l2.tables, &offset);
    if (!t) {
        return false;
    }
    qcow2_table_used(&q->l2, t);
    *entry = qcow2_be64(t->data + 8 * k);
    offset = *entry & QCOW2_OFFSET_MASK;
    return *entry & QCOW2_COMPRESSED || ((!offset || (qcow2_is_cluster(q, offset) &&
                                                      !(write && qcow2_is_metadata(q, offset)))) &&
                                         (q->version >= 3 || !(*entry & QCOW2_ZERO)));
}

int qcow2_l2_get(struct qcow2 *q, uint64_t guest, bool create, struct qcow2_table **table,
                 uint64_t *entry)
{
    unsigned l2_bits = q->cluster_bits - 3;
    uint64_t i = guest >> (q->cluster_bits + l2_bits);
    uint64_t k = guest >> q->cluster_bits & ((1ull << l2_bits) - 1);
    int ret;

    *table = NULL;
    *entry = 0;
    if (i >= q->l1_size) {
        return qcow2_is_corrupt(q, "the L1 table is too short");
    }
    if (!(q->l1[i] & QCOW2_OFFSET_MASK) || (create && !(q->l1[i] & QCOW2_COPIED))) {
        if (!create) {
            return 0;
        }
        ret = l2_make(q, (unsigned)i, table);
    } else {
        ret = l2_check(q, (unsigned)i);
        ret = ret < 0 ? ret : qcow2_cache_get(q, &q->l2, q->l1[i] & QCOW2_OFFSET_MASK, table);
    }
    if (ret == 0) {
        *entry = qcow2_be64((*table)->data + 8 * k);
        ret = entry_check(q, *entry, (*table)->offset, k);
    }
    return ret;
}

void qcow2_l2_set(struct qcow2 *q, struct qcow2_table *table, uint64_t guest, uint64_t entry)
{
    uint64_t k = guest >> q->cluster_bits & ((1ull << (q->cluster_bits - 3)) - 1);

    g_mutex_lock(&q->mutex);
    qcow2_put_be64(table->data + 8 * k, entry);
    g_mutex_unlock(&q->mutex);
    qcow2_table_dirty(&q->l2, table);
    q->dirty = true;
}

void qcow2_compressed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset,
                            uint64_t *bytes)
{
    unsigned x = 62 - (q->cluster_bits - 8);
    uint64_t sectors = (entry >> x & ((1ull << (q->cluster_bits - 8)) - 1)) + 1;

    *offset = entry & ((1ull << x) - 1);
    *bytes = sectors * 512 - (*offset & 511);
}

void qcow2_free_entry(struct qcow2 *q, uint64_t entry, enum qcow2_discard discard)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK, bytes = q->cluster_bytes;

    if (entry & QCOW2_COMPRESSED) {
        qcow2_compressed_place(q, entry, &offset, &bytes);
    }
    if (offset) {
        qcow2_free_later(q, offset, bytes, discard);
    }
}

/* ---- the length of the disk */

/* An L1 table of n entries, in another place. What has changed of the old one is on the disk. */
static int l1_grow(struct qcow2 *q, uint64_t n)
{
    uint64_t bytes = (8 * n + q->cluster_bytes - 1) & ~(q->cluster_bytes - 1), offset;
    uint64_t old = q->l1_offset, old_bytes = 8ull * q->l1_size, *l1;
    g_autofree uint8_t *buf = g_try_malloc0(bytes);
    uint8_t place[12];
    int ret;

    if (8 * n > QCOW2_MAX_L1_BYTES) {
        return -EFBIG;
    }
    l1 = g_try_new0(uint64_t, n);
    block_node_debug(q->file, BLKDEBUG_EVENT_L1_GROW_ALLOC_TABLE);
    ret = buf && l1 ? qcow2_alloc_run(q, bytes >> q->cluster_bits, &offset) : -ENOMEM;
    ret = ret < 0 ? ret : qcow2_flush(q); /* the count, and the old table */
    if (ret < 0) {
        g_free(l1);
        return ret;
    }
    memcpy(l1, q->l1, old_bytes);
    for (uint64_t i = 0; i < n; i++) {
        qcow2_put_be64(buf + 8 * i, l1[i]);
    }
    qcow2_put_be32(place, (uint32_t)n);
    qcow2_put_be64(place + 4, offset);
    block_node_debug(q->file, BLKDEBUG_EVENT_L1_GROW_WRITE_TABLE);
    ret = block_node_pwrite(q->file, offset, buf, bytes);
    ret = ret < 0 ? ret : qcow2_flush_file(q);
    block_node_debug(q->file, BLKDEBUG_EVENT_L1_GROW_ACTIVATE_TABLE);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, QCOW2_AT_L1, place, sizeof(place));
    ret = ret < 0 ? ret : qcow2_flush_file(q);
    if (ret < 0) {
        g_free(l1);
        return ret;
    }
    g_mutex_lock(&q->mutex);
    g_free(q->l1);
    q->l1 = l1;
    q->l1_size = (unsigned)n;
    q->l1_offset = offset;
    g_mutex_unlock(&q->mutex);
    if (old_bytes) {
        qcow2_metadata_remove(q, QCOW2_ACTIVE_L1, old, old_bytes);
        qcow2_free_later(q, old, old_bytes, QCOW2_DISCARD_OTHER);
    }
    qcow2_metadata_add(q, QCOW2_ACTIVE_L1, offset, bytes);
    return 0;
}

/* Clusters from there on hold nothing any more. */
static int cut(struct qcow2 *q, uint64_t from)
{
    uint64_t at = (from + q->cluster_bytes - 1) & ~(q->cluster_bytes - 1);
    uint64_t per_l1 = q->cluster_bytes << (q->cluster_bits - 3);
    int ret = 0;

    while (at < q->bytes && ret == 0) {
        struct qcow2_table *table;
        uint64_t entry;

        if (!(q->l1[at / per_l1] & QCOW2_OFFSET_MASK)) {
            at = (at / per_l1 + 1) * per_l1;
            continue;
        }
        ret = qcow2_l2_get(q, at, true, &table, &entry);
        if (ret == 0 && entry) {
            qcow2_l2_set(q, table, at, 0);
            qcow2_free_entry(q, entry, QCOW2_DISCARD_ALWAYS);
        }
        at += q->cluster_bytes;
    }
    return ret;
}

int qcow2_set_size(struct qcow2 *q, uint64_t bytes)
{
    uint64_t per_l1 = q->cluster_bytes << (q->cluster_bits - 3);
    uint64_t need = bytes / per_l1 + (bytes % per_l1 != 0);
    uint8_t size[8];
    int ret = q->corrupt ? -EIO : 0;

    if (ret == 0 && bytes < q->bytes) {
        ret = cut(q, bytes);
    } else if (ret == 0 && need > q->l1_size) {
        ret = l1_grow(q, need);
    }
    ret = ret < 0 ? ret : qcow2_flush(q);
    qcow2_put_be64(size, bytes);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, QCOW2_AT_SIZE, size, sizeof(size));
    ret = ret < 0 ? ret : qcow2_flush_file(q);
    if (ret == 0) {
        q->bytes = bytes;
    }
    return ret;
}
