/*
 * qcow2: reference counts (the format's description: QEMU's docs/interop/qcow2.txt, version 7.2).
 * How they and the tables get to the disk is in qcow2-meta.c.
 */
#include "block/qcow2-priv.h"

#include "base/log.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

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
        return qcow2_is_corrupt(
            q, "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx64 ")", offset, i);
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
    ret = qcow2_write_check(q, QCOW2_KIND__MAX, offset, q->cluster_bytes);
    if (ret < 0) {
        return ret;
    }
    if (!offset || (q->repairing && qcow2_is_metadata(q, offset))) {
        return qcow2_is_corrupt(
            q, "Preventing invalid allocation of refcount block at offset %#" PRIx64, offset);
    }
    block_node_debug(q->file, BLKDEBUG_EVENT_REFBLOCK_ALLOC);
    t = qcow2_table_new(q, offset);
    if (!t) {
        return -ENOMEM;
    }
    count_write(q, t->data, 0, 1);
    qcow2_put_be64(entry, offset);
    block_node_debug(q->file, BLKDEBUG_EVENT_REFBLOCK_ALLOC_WRITE);
    ret = block_node_pwrite(q->file, offset, t->data, q->cluster_bytes);
    ret = ret < 0 ? ret : qcow2_flush_file(q);
    ret = ret < 0 ? ret : qcow2_write_check(q, QCOW2_REFCOUNT_TABLE, q->rt_offset + 8 * i, 8);
    block_node_debug(q->file, BLKDEBUG_EVENT_REFBLOCK_ALLOC_HOOKUP);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, q->rt_offset + 8 * i, entry, 8);
    if (ret < 0) {
        qcow2_table_free(t);
        return ret;
    }
    qcow2_cache_add(q, &q->refcounts, t);
    q->rt[i] = offset;
    qcow2_metadata_add(q, QCOW2_REFCOUNT_BLOCK, offset, q->cluster_bytes);
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

    block_node_debug(q->file, BLKDEBUG_EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS);
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
    block_node_debug(q->file, BLKDEBUG_EVENT_REFBLOCK_ALLOC_WRITE_TABLE);
    ret = ret < 0 ? ret
                  : block_node_pwrite(q->file, (g->first + g->n_blocks) << q->cluster_bits, buf,
                                      g->rt_size * 8);
    ret = ret < 0 ? ret : qcow2_flush_file(q);
    qcow2_put_be64(place, (g->first + g->n_blocks) << q->cluster_bits);
    qcow2_put_be32(place + 8, (uint32_t)g->rt_clusters);
    block_node_debug(q->file, BLKDEBUG_EVENT_REFBLOCK_ALLOC_SWITCH_TABLE);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, QCOW2_AT_RT, place, sizeof(place));
    return ret < 0 ? ret : qcow2_flush_file(q);
}

/* All that the reference count table can count is in use: it moves behind that, and doubles. */
static int count_table_grow(struct qcow2 *q)
{
    struct growth g;
    uint64_t *rt, old = q->rt_offset, old_bytes = q->rt_size * 8;
    int ret;

    block_node_debug(q->file, BLKDEBUG_EVENT_REFTABLE_GROW);
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
    qcow2_metadata_remove(q, QCOW2_REFCOUNT_TABLE, old, old_bytes);
    qcow2_metadata_add(q, QCOW2_REFCOUNT_BLOCK, g.first << q->cluster_bits,
                       g.n_blocks << q->cluster_bits);
    qcow2_metadata_add(q, QCOW2_REFCOUNT_TABLE, q->rt_offset, g.rt_clusters << q->cluster_bits);
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
    /* A header that is not counted is found by qcow2_write_check(), if that is to look there. */
    bool protect = q->settings.protect & 1u << QCOW2_HEADER && !q->repairing;

    block_node_debug(q->file, BLKDEBUG_EVENT_CLUSTER_ALLOC);
    for (uint64_t n = MAX(q->hint, protect ? 0 : 1);; n++) {
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

    block_node_debug(q->file, BLKDEBUG_EVENT_CLUSTER_ALLOC);
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
    ret = qcow2_write_check(q, QCOW2_KIND__MAX, first << q->cluster_bits, n << q->cluster_bits);
    for (uint64_t i = 0; i < n && ret == 0; i++) {
        ret = qcow2_count_change(q, first + i, 1);
        if (ret < 0) {
            while (i-- > 0) {
                qcow2_count_change(q, first + i, -1);
            }
            break;
        }
    }
    if (ret < 0) {
        return ret;
    }
    q->end_clusters = MAX(q->end_clusters, first + n);
    *offset = first << q->cluster_bits;
    return 0;
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
int qcow2_count_freed(struct qcow2 *q)
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

        block_node_debug(q->file, BLKDEBUG_EVENT_CLUSTER_FREE);
        for (uint64_t n = f.offset >> q->cluster_bits; n <= last && ret == 0; n++) {
            ret = count_down(q, n, f.discard);
        }
    }
    return ret;
}
