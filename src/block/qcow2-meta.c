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

#include "base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

static int flush_file(struct qcow2 *q)
{
    return block_node_sync(q->file, BLOCK_FLUSH, 0, 0, 0);
}

/* ---- corruption */

int qcow2_is_corrupt(struct qcow2 *q, const char *fmt, ...)
{
    char text[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (!q->corrupt) {
        log_error("qcow2: image '%s' is corrupt: %s; it is not written any more", q->node->filename,
                  text);
        q->corrupt = true;
        if (q->version >= 3 && !q->node->read_only) {
            uint8_t bits[8];

            qcow2_put_be64(bits, q->incompatible | QCOW2_INCOMPAT_CORRUPT);
            block_node_pwrite(q->file, QCOW2_AT_INCOMPATIBLE, bits, 8);
        }
    }
    return -EIO;
}

/* ---- which clusters hold metadata */

void qcow2_metadata_add(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    g_mutex_lock(&q->mutex);
    for (uint64_t n = offset >> q->cluster_bits;
         n <= (offset + MAX(bytes, 1) - 1) >> q->cluster_bits; n++) {
        uint64_t *key = g_new(uint64_t, 1);

        *key = n;
        g_hash_table_add(q->metadata, key);
    }
    g_mutex_unlock(&q->mutex);
}

static void metadata_remove(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    g_mutex_lock(&q->mutex);
    for (uint64_t n = offset >> q->cluster_bits;
         n <= (offset + MAX(bytes, 1) - 1) >> q->cluster_bits; n++) {
        g_hash_table_remove(q->metadata, &n);
    }
    g_mutex_unlock(&q->mutex);
}

static bool is_metadata(const struct qcow2 *q, uint64_t offset)
{
    uint64_t n = offset >> q->cluster_bits;

    return g_hash_table_contains(q->metadata, &n);
}

bool qcow2_is_cluster(const struct qcow2 *q, uint64_t offset)
{
    return offset && (offset & (q->cluster_bytes - 1)) == 0 && offset <= INT64_MAX / 2;
}

/* ---- reference counts */

static uint64_t counts_per_block(const struct qcow2 *q)
{
    return q->cluster_bytes * 8 / q->refcount_bits;
}

static uint64_t count_read(const struct qcow2 *q, const uint8_t *block, uint64_t i)
{
    unsigned bits = q->refcount_bits;
    uint64_t value = 0;

    if (bits < 8) {
        return block[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
    }
    for (unsigned k = 0; k < bits / 8; k++) {
        value = value << 8 | block[i * (bits / 8) + k];
    }
    return value;
}

static void count_write(const struct qcow2 *q, uint8_t *block, uint64_t i, uint64_t value)
{
    unsigned bits = q->refcount_bits;

    if (bits < 8) {
        uint8_t *p = &block[i * bits / 8];
        unsigned shift = (unsigned)(i * bits % 8), mask = (1u << bits) - 1;

        *p = (uint8_t)((*p & ~(mask << shift)) | (unsigned)value << shift);
        return;
    }
    for (unsigned k = bits / 8; k-- > 0; value >>= 8) {
        block[i * (bits / 8) + k] = (uint8_t)value;
    }
}

/* The block that counts cluster n; *table NULL: there is none, all in it are free. */
static int count_block(struct qcow2 *q, uint64_t n, struct qcow2_table **table)
{
    uint64_t i = n / counts_per_block(q), offset;

    *table = NULL;
    if (i >= q->rt_size || (q->rt[i] & ~511ull) == 0) {
        return 0;
    }
    offset = q->rt[i] & ~511ull;
    if (!qcow2_is_cluster(q, offset)) {
        return qcow2_is_corrupt(q, "reference count block at 0x%" G_GINT64_MODIFIER "x", offset);
    }
    return qcow2_cache_get(q, &q->refcounts, offset, table);
}

static void cluster_is_free(struct qcow2 *q, uint64_t n)
{
    q->hint = MIN(q->hint, n);
    if (q->packed_end >> q->cluster_bits == n) {
        q->packed_end = 0;
    }
}

int qcow2_count_change(struct qcow2 *q, uint64_t n, int by)
{
    uint64_t i = n % counts_per_block(q), value, max;
    struct qcow2_table *t;
    int ret = count_block(q, n, &t);

    if (ret < 0) {
        return ret;
    }
    value = t ? count_read(q, t->data, i) : 0;
    max = q->refcount_bits == 64 ? UINT64_MAX : (1ull << q->refcount_bits) - 1;
    if (!t || (by < 0 && value == 0) || (by > 0 && value == max)) {
        return qcow2_is_corrupt(q, "reference count of cluster %" G_GUINT64_FORMAT, n);
    }
    count_write(q, t->data, i, value + (uint64_t)(int64_t)by);
    qcow2_table_dirty(&q->refcounts, t);
    if (by > 0) { /* a count that is too high for a while loses room, no more */
        q->dirty = true;
    }
    if (by < 0 && value == 1) {
        cluster_is_free(q, n);
    }
    return 0;
}

/* A new block, at the first cluster that it counts itself: on the disk before the table names it.
 */
static int count_block_make(struct qcow2 *q, uint64_t i)
{
    uint64_t offset = i * counts_per_block(q) << q->cluster_bits;
    uint8_t entry[8];
    struct qcow2_table *t;
    int ret = qcow2_cache_make_room(q, &q->refcounts);

    if (ret < 0) {
        return ret;
    }
    if (is_metadata(q, offset)) {
        return qcow2_is_corrupt(q, "metadata in uncounted clusters");
    }
    t = qcow2_table_new(q, offset);
    if (!t) {
        return -ENOMEM;
    }
    count_write(q, t->data, 0, 1);
    qcow2_put_be64(entry, offset);
    ret = block_node_pwrite(q->file, offset, t->data, q->cluster_bytes);
    ret = ret < 0 ? ret : flush_file(q);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, q->rt_offset + 8 * i, entry, 8);
    if (ret < 0) {
        qcow2_table_free(t);
        return ret;
    }
    qcow2_cache_add(q, &q->refcounts, t);
    q->rt[i] = offset;
    qcow2_metadata_add(q, offset, q->cluster_bytes);
    return 0;
}

/* What a longer reference count table needs: n_blocks new blocks, and behind them the table. */
struct growth {
    uint64_t first;    /* cluster: the first that the old table can't count */
    uint64_t n_blocks; /* they count themselves and the table */
    uint64_t rt_size, rt_clusters;
};

static bool growth_plan(const struct qcow2 *q, struct growth *g)
{
    uint64_t per = counts_per_block(q), per_cluster = q->cluster_bytes / 8;

    g->first = q->rt_size * per;
    g->n_blocks = 1;
    for (;;) {
        uint64_t size = MAX(q->rt_size * 2, q->rt_size + g->n_blocks);

        g->rt_clusters = (size + per_cluster - 1) / per_cluster;
        g->rt_size = g->rt_clusters * per_cluster;
        if ((g->n_blocks + g->rt_clusters + per - 1) / per <= g->n_blocks) {
            break;
        }
        g->n_blocks++;
    }
    return g->rt_size * 8 <= QCOW2_MAX_RT_BYTES;
}

static int growth_write(struct qcow2 *q, const struct growth *g, const uint64_t *rt)
{
    uint64_t per = counts_per_block(q), used = g->n_blocks + g->rt_clusters;
    g_autofree uint8_t *buf = g_try_malloc0(MAX(g->rt_size * 8, q->cluster_bytes));
    uint8_t place[12];
    int ret = buf ? 0 : -ENOMEM;

    for (uint64_t b = 0; b < g->n_blocks && ret == 0; b++) {
        memset(buf, 0, q->cluster_bytes);
        for (uint64_t i = 0; i < per && b * per + i < used; i++) {
            count_write(q, buf, i, 1);
        }
        ret = block_node_pwrite(q->file, (g->first + b) << q->cluster_bits, buf, q->cluster_bytes);
    }
    for (uint64_t i = 0; i < g->rt_size && ret == 0; i++) {
        qcow2_put_be64(buf + 8 * i, rt[i]);
    }
    ret = ret < 0 ? ret
                  : block_node_pwrite(q->file, (g->first + g->n_blocks) << q->cluster_bits, buf,
                                      g->rt_size * 8);
    ret = ret < 0 ? ret : flush_file(q);
    qcow2_put_be64(place, (g->first + g->n_blocks) << q->cluster_bits);
    qcow2_put_be32(place + 8, (uint32_t)g->rt_clusters);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, QCOW2_AT_RT, place, sizeof(place));
    return ret < 0 ? ret : flush_file(q);
}

/* All that the reference count table can count is in use: it moves behind that, and doubles. */
static int count_table_grow(struct qcow2 *q)
{
    struct growth g;
    uint64_t *rt, old = q->rt_offset, old_bytes = q->rt_size * 8;
    int ret;

    if (!growth_plan(q, &g)) {
        log_error("qcow2: '%s': the reference count table is full", q->node->filename);
        return -ENOSPC;
    }
    rt = g_try_new0(uint64_t, g.rt_size);
    if (!rt) {
        return -ENOMEM;
    }
    memcpy(rt, q->rt, q->rt_size * 8);
    for (uint64_t b = 0; b < g.n_blocks; b++) {
        rt[q->rt_size + b] = (g.first + b) << q->cluster_bits;
    }
    ret = growth_write(q, &g, rt);
    if (ret < 0) {
        g_free(rt);
        return ret;
    }
    g_free(q->rt);
    q->rt = rt;
    q->rt_size = g.rt_size;
    q->rt_offset = (g.first + g.n_blocks) << q->cluster_bits;
    metadata_remove(q, old, old_bytes);
    qcow2_metadata_add(q, g.first << q->cluster_bits,
                       (g.n_blocks + g.rt_clusters) << q->cluster_bits);
    qcow2_free_later(q, old, old_bytes, QCOW2_DISCARD_OTHER);
    return 0;
}

/* The count of cluster n, and blocks for it where there are none yet. */
static int count_for_alloc(struct qcow2 *q, uint64_t n, uint64_t *count)
{
    uint64_t per = counts_per_block(q);
    struct qcow2_table *t;
    int ret = 0;

    /* A repair must not put a longer table over what is there and was not counted. */
    if (n / per >= q->rt_size && !q->repairing) {
        ret = count_table_grow(q);
    }
    if (ret == 0 && n / per >= q->rt_size) {
        return qcow2_is_corrupt(q, "cluster %" G_GUINT64_FORMAT " is beyond the reference counts",
                                n);
    }
    ret = ret < 0 ? ret : count_block(q, n, &t);
    if (ret == 0 && !t) {
        ret = count_block_make(q, n / per);
        ret = ret < 0 ? ret : count_block(q, n, &t);
    }
    if (ret < 0) {
        return ret;
    }
    *count = count_read(q, t->data, n % per);
    if (!*count && !q->repairing && is_metadata(q, n << q->cluster_bits)) {
        return qcow2_is_corrupt(q, "cluster %" G_GUINT64_FORMAT " of metadata is not counted", n);
    }
    return 0;
}

/* More clusters behind the file's end are counted than any crash leaves there. */
static int too_far(struct qcow2 *q, uint64_t n)
{
    uint64_t slack = MAX(2 * counts_per_block(q), 1u << 20);

    return n > q->end_clusters + slack
               ? qcow2_is_corrupt(q, "clusters are counted far behind the end of the file")
               : 0;
}

int qcow2_alloc(struct qcow2 *q, uint64_t *offset, bool *fresh)
{
    for (uint64_t n = MAX(q->hint, 1);; n++) {
        uint64_t count;
        int ret = too_far(q, n);

        ret = ret < 0 ? ret : count_for_alloc(q, n, &count);

        if (ret < 0) {
            return ret;
        }
        if (count == 0) {
            *offset = n << q->cluster_bits;
            *fresh = n >= q->end_clusters;
            q->hint = n + 1;
            q->end_clusters = MAX(q->end_clusters, n + 1);
            return qcow2_count_change(q, n, 1);
        }
    }
}

int qcow2_alloc_run(struct qcow2 *q, uint64_t n, uint64_t *offset)
{
    uint64_t first = MAX(q->hint, 1);
    int ret = 0;

    for (uint64_t at = first; at < first + n; at++) {
        uint64_t count;

        ret = too_far(q, first);
        ret = ret < 0 ? ret : count_for_alloc(q, at, &count);
        if (ret < 0) {
            return ret;
        }
        if (count) {
            first = at + 1;
        }
    }
    for (uint64_t i = 0; i < n && ret == 0; i++) {
        ret = qcow2_count_change(q, first + i, 1);
    }
    q->end_clusters = MAX(q->end_clusters, first + n);
    *offset = first << q->cluster_bits;
    return ret;
}

int qcow2_count_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
    struct qcow2_table *t;
    int ret = count_block(q, cluster, &t);

    *count = ret == 0 && t ? count_read(q, t->data, cluster % counts_per_block(q)) : 0;
    return ret;
}

int qcow2_count_set(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    uint64_t max = q->refcount_bits == 64 ? UINT64_MAX : (1ull << q->refcount_bits) - 1, old;
    struct qcow2_table *t;
    int ret = count > max ? -ERANGE : count_for_alloc(q, cluster, &old);

    ret = ret < 0 ? ret : count_block(q, cluster, &t);
    if (ret == 0) {
        count_write(q, t->data, cluster % counts_per_block(q), count);
        qcow2_table_dirty(&q->refcounts, t);
        q->dirty = true;
        if (!count) {
            cluster_is_free(q, cluster);
        }
    }
    return ret;
}

void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum qcow2_discard discard)
{
    struct qcow2_freed f = {offset, bytes, discard};

    g_array_append_val(q->freed, f);
    q->dirty = true;
}

/* Until nobody is under way who looked up a cluster before now. */
static void wait_for_phase(struct qcow2 *q)
{
    unsigned old;

    g_mutex_lock(&q->mutex);
    old = q->phase;
    q->phase = !old; /* nobody is left of that since the last time */
    while (q->in_phase[old]) {
        g_cond_wait(&q->phase_empty, &q->mutex);
    }
    g_mutex_unlock(&q->mutex);
}

static int count_down(struct qcow2 *q, uint64_t cluster, enum qcow2_discard discard)
{
    uint64_t count;
    int ret = qcow2_count_change(q, cluster, -1);

    ret = ret < 0 ? ret : qcow2_count_get(q, cluster, &count);
    if (ret == 0 && count == 0 && qcow2_passes(q, discard)) { /* a hint, which may fail */
        block_node_sync(q->file, BLOCK_DISCARD, cluster << q->cluster_bits, q->cluster_bytes, 0);
    }
    return ret;
}

/* References on the disk are gone: the counts follow, in memory. */
static int count_freed(struct qcow2 *q)
{
    g_autoptr(GArray) freed = q->freed;
    int ret = 0;

    if (freed->len == 0) {
        freed = NULL;
        return 0;
    }
    q->freed = g_array_new(FALSE, FALSE, sizeof(struct qcow2_freed));
    wait_for_phase(q);
    for (guint i = 0; i < freed->len && ret == 0; i++) {
        const struct qcow2_freed f = g_array_index(freed, struct qcow2_freed, i);
        uint64_t last = (f.offset + f.bytes - 1) >> q->cluster_bits;

        for (uint64_t n = f.offset >> q->cluster_bits; n <= last && ret == 0; n++) {
            ret = count_down(q, n, f.discard);
        }
    }
    return ret;
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
        int ret;

        qcow2_put_be64(entry, q->l1[i]);
        ret = block_node_pwrite(q->file, q->l1_offset + 8ull * i, entry, 8);
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
    ret = ret < 0 ? ret : flush_file(q);
    if (ret == 0 && q->l2.n_dirty) {
        ret = qcow2_cache_write(q, &q->l2);
        ret = ret < 0 ? ret : flush_file(q);
    }
    if (ret == 0 && g_hash_table_size(q->l1_dirty)) {
        ret = l1_write(q);
        ret = ret < 0 ? ret : flush_file(q);
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
    return count_freed(q);
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
    ret = ret < 0 ? ret : flush_file(q);
    if (ret == 0) {
        g_mutex_lock(&q->mutex);
        q->incompatible &= ~(uint64_t)QCOW2_INCOMPAT_DIRTY;
        g_mutex_unlock(&q->mutex);
        q->uncounted = false;
    }
    return ret;
}

static int l2_check(struct qcow2 *q, uint64_t offset)
{
    return qcow2_is_cluster(q, offset)
               ? 0
               : qcow2_is_corrupt(q, "L2 table at 0x%" G_GINT64_MODIFIER "x", offset);
}

/* What the entry's own table begins with: what a snapshot has too. */
static int l2_copy(struct qcow2 *q, uint64_t old, uint8_t *data)
{
    struct qcow2_table *from;
    int ret = l2_check(q, old);

    ret = ret < 0 ? ret : qcow2_cache_get(q, &q->l2, old, &from);
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

    if (ret < 0) {
        return ret;
    }
    t = qcow2_table_new(q, offset);
    ret = !t ? -ENOMEM : old ? l2_copy(q, old, t->data) : 0;
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
    qcow2_cache_add(q, &q->l2, t);
    qcow2_table_dirty(&q->l2, t);
    q->dirty = true;
    qcow2_metadata_add(q, offset, q->cluster_bytes);
    g_mutex_lock(&q->mutex);
    q->l1[i] = offset | QCOW2_COPIED;
    g_mutex_unlock(&q->mutex);
    g_hash_table_add(q->l1_dirty, GUINT_TO_POINTER(i));
    *table = t;
    return 0;
}

bool qcow2_l2_peek(struct qcow2 *q, uint64_t guest, uint64_t *entry)
{
    unsigned l2_bits = q->cluster_bits - 3;
    uint64_t i = guest >> (q->cluster_bits + l2_bits);
    uint64_t k = guest >> q->cluster_bits & ((1ull << l2_bits) - 1), offset, n;
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
    n = offset >> q->cluster_bits;
    return *entry & QCOW2_COMPRESSED || !offset ||
           (qcow2_is_cluster(q, offset) && !g_hash_table_contains(q->metadata, &n));
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
        ret = l2_check(q, q->l1[i] & QCOW2_OFFSET_MASK);
        ret = ret < 0 ? ret : qcow2_cache_get(q, &q->l2, q->l1[i] & QCOW2_OFFSET_MASK, table);
    }
    if (ret == 0) {
        *entry = qcow2_be64((*table)->data + 8 * k);
        if (!(*entry & QCOW2_COMPRESSED) && *entry & QCOW2_OFFSET_MASK) {
            uint64_t offset = *entry & QCOW2_OFFSET_MASK;

            if (!qcow2_is_cluster(q, offset) || is_metadata(q, offset)) {
                ret = qcow2_is_corrupt(q, "data cluster at 0x%" G_GINT64_MODIFIER "x", offset);
            }
        }
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
    ret = block_node_pwrite(q->file, offset, buf, bytes);
    ret = ret < 0 ? ret : flush_file(q);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, QCOW2_AT_L1, place, sizeof(place));
    ret = ret < 0 ? ret : flush_file(q);
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
        metadata_remove(q, old, old_bytes);
        qcow2_free_later(q, old, old_bytes, QCOW2_DISCARD_OTHER);
    }
    qcow2_metadata_add(q, offset, bytes);
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
    ret = ret < 0 ? ret : flush_file(q);
    if (ret == 0) {
        q->bytes = bytes;
    }
    return ret;
}
