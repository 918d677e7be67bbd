/*
 * qcow2: the tables that are in memory, those that were used last. Of each kind there are so many;
 * one more takes the place of the oldest, which is written before.
 *
 * The worker changes them. Under q->mutex the I/O thread looks at them too.
 */
#include "block/qcow2-priv.h"

#include <errno.h>

#define CACHE_BYTES  (16u << 20)
#define CACHE_TABLES 8 /* that many are needed at the same time */

void qcow2_table_free(struct qcow2_table *t)
{
    g_free(t->data);
    g_free(t);
}

static void drop(gpointer table)
{
    qcow2_table_free(table);
}

void qcow2_cache_init(struct qcow2_cache *c)
{
    c->tables = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, drop);
}

bool qcow2_cache_configure(struct qcow2 *q, const struct blockdev_options_qcow2 *o, GError **error)
{
    int64_t l2 = o->has_l2_cache_size ? o->l2_cache_size : CACHE_BYTES;
    int64_t refcounts = o->has_refcount_cache_size ? o->refcount_cache_size : CACHE_BYTES;

    if (o->has_cache_size && o->has_l2_cache_size && o->has_refcount_cache_size) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "cache-size, l2-cache-size and refcount-cache-size may not be set at the same "
                    "time");
        return false;
    }
    if (o->has_cache_size && o->cache_size >= 0 && l2 >= 0 && refcounts >= 0) {
        if (o->has_l2_cache_size) {
            refcounts = o->cache_size - l2;
        } else if (o->has_refcount_cache_size) {
            l2 = o->cache_size - refcounts;
        } else {
            l2 = refcounts = o->cache_size / 2;
        }
    }
    if (l2 < 0 || refcounts < 0 || (o->has_cache_size && o->cache_size < 0)) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "l2-cache-size and refcount-cache-size are positive, and not larger than "
                    "cache-size");
        return false;
    }
    q->l2.max = (unsigned)CLAMP((uint64_t)l2 / q->cluster_bytes, CACHE_TABLES, G_MAXINT);
    q->refcounts.max =
        (unsigned)CLAMP((uint64_t)refcounts / q->cluster_bytes, CACHE_TABLES, G_MAXINT);
    return true;
}

/* Makes room for one more. A dirty table can only go with all others, in their order; what was
 * freed is not counted down here, for that looks for tables itself. */
int qcow2_cache_make_room(struct qcow2 *q, struct qcow2_cache *c)
{
    while (g_hash_table_size(c->tables) >= c->max) {
        struct qcow2_table *oldest = NULL, *t;
        GHashTableIter iter;

        g_hash_table_iter_init(&iter, c->tables);
        while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&t)) {
            if (!oldest || t->used < oldest->used) {
                oldest = t;
            }
        }
        if (oldest->dirty) {
            int ret = qcow2_tables_flush(q);

            if (ret < 0) {
                return ret;
            }
        }
        g_mutex_lock(&q->mutex);
        g_hash_table_remove(c->tables, &oldest->offset);
        g_mutex_unlock(&q->mutex);
    }
    return 0;
}

struct qcow2_table *qcow2_table_new(struct qcow2 *q, uint64_t offset)
{
    uint8_t *data = g_try_malloc0(q->cluster_bytes);
    struct qcow2_table *t;

    if (!data) {
        return NULL;
    }
    t = g_new0(struct qcow2_table, 1);
    t->offset = offset;
    t->data = data;
    return t;
}

void qcow2_cache_add(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_table *t)
{
    g_mutex_lock(&q->mutex);
    t->used = ++c->clock;
    g_hash_table_insert(c->tables, &t->offset, t);
    g_mutex_unlock(&q->mutex);
}

int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *c, uint64_t offset,
                    struct qcow2_table **table)
{
    struct qcow2_table *t;
    int ret;

    g_mutex_lock(&q->mutex);
    t = g_hash_table_lookup(c->tables, &offset);
    if (t) {
        t->used = ++c->clock;
    }
    g_mutex_unlock(&q->mutex);
    *table = t;
    if (t) {
        return 0;
    }
    ret = qcow2_cache_make_room(q, c);
    if (ret < 0) {
        return ret;
    }
    t = qcow2_table_new(q, offset);
    if (!t) {
        return -ENOMEM;
    }
    ret = block_node_pread(q->file, offset, t->data, q->cluster_bytes);
    if (ret < 0) {
        qcow2_table_free(t);
        return ret;
    }
    qcow2_cache_add(q, c, t);
    *table = t;
    return 0;
}

void qcow2_table_dirty(struct qcow2 *q, struct qcow2_table *t)
{
    t->dirty = true;
    q->dirty = true;
}

int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *c)
{
    struct qcow2_table *t;
    GHashTableIter iter;

    g_hash_table_iter_init(&iter, c->tables);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&t)) {
        int ret = t->dirty ? block_node_pwrite(q->file, t->offset, t->data, q->cluster_bytes) : 0;

        if (ret < 0) {
            return ret;
        }
        t->dirty = false;
    }
    return 0;
}

bool qcow2_cache_is_dirty(const struct qcow2_cache *c)
{
    struct qcow2_table *t;
    GHashTableIter iter;

    g_hash_table_iter_init(&iter, c->tables);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&t)) {
        if (t->dirty) {
            return true;
        }
    }
    return false;
}
