/*
 * qcow2: the tables that are in memory, those that were used last. Of each kind there are so many;
 * one more takes the place of the oldest, which is written before.
 *
 * The worker changes them. Under q->mutex the I/O thread looks at them too.
 */
#include "block/qcow2-priv.h"

#include <errno.h>

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
    *c = (struct qcow2_cache){
        .tables = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, drop),
        .used = G_QUEUE_INIT,
    };
}

void qcow2_cache_configure(struct qcow2 *q)
{
    const struct qcow2_settings *s = &q->settings;

    q->l2.max = (unsigned)CLAMP(s->l2_cache_bytes / q->cluster_bytes, CACHE_TABLES, G_MAXINT);
    q->refcounts.max =
        (unsigned)CLAMP(s->refcount_cache_bytes / q->cluster_bytes, CACHE_TABLES, G_MAXINT);
}

static void cache_remove(struct qcow2_cache *c, struct qcow2_table *t)
{
    if (t) {
        c->n_dirty -= t->dirty;
        g_queue_unlink(&c->used, &t->link);
        g_hash_table_remove(c->tables, &t->offset);
    }
}

/* Makes room for one more. A dirty table can only go with all others, in their order; what was
 * freed is not counted down here, for that looks for tables itself. */
int qcow2_cache_make_room(struct qcow2 *q, struct qcow2_cache *c)
{
    while (g_hash_table_size(c->tables) >= c->max) {
        struct qcow2_table *oldest;

        g_mutex_lock(&q->mutex);
        oldest = g_queue_peek_head(&c->used);
        g_mutex_unlock(&q->mutex);
        if (oldest->dirty) {
            int ret = qcow2_tables_flush(q, c == &q->refcounts);

            if (ret < 0) {
                return ret;
            }
        }
        g_mutex_lock(&q->mutex);
        cache_remove(c, oldest);
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
    t->link.data = t;
    return t;
}

void qcow2_cache_add(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_table *t)
{
    g_mutex_lock(&q->mutex);
    cache_remove(c, g_hash_table_lookup(c->tables, &t->offset)); /* a former one, in its place */
    g_queue_push_tail_link(&c->used, &t->link);
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
        qcow2_table_used(c, t);
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
    block_node_debug(q->file, c == &q->l2 ? BLKDEBUG_EVENT_L2_LOAD : BLKDEBUG_EVENT_REFBLOCK_LOAD);
    ret = block_node_pread(q->file, offset, t->data, q->cluster_bytes);
    if (ret < 0) {
        qcow2_table_free(t);
        return ret;
    }
    qcow2_cache_add(q, c, t);
    *table = t;
    return 0;
}

void qcow2_table_used(struct qcow2_cache *c, struct qcow2_table *t)
{
    g_queue_unlink(&c->used, &t->link);
    g_queue_push_tail_link(&c->used, &t->link);
}

void qcow2_table_dirty(struct qcow2_cache *c, struct qcow2_table *t)
{
    c->n_dirty += !t->dirty;
    t->dirty = true;
}

int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *c)
{
    enum qcow2_kind kind = c == &q->l2 ? QCOW2_ACTIVE_L2 : QCOW2_REFCOUNT_BLOCK;
    struct qcow2_table *t;
    GHashTableIter iter;

    g_hash_table_iter_init(&iter, c->tables);
    while (c->n_dirty && g_hash_table_iter_next(&iter, NULL, (gpointer *)&t)) {
        int ret = t->dirty ? qcow2_write_check(q, kind, t->offset, q->cluster_bytes) : 0;

        if (t->dirty && ret == 0) {
            block_node_debug(q->file, c == &q->l2 ? BLKDEBUG_EVENT_L2_UPDATE
                                                  : BLKDEBUG_EVENT_REFBLOCK_UPDATE_PART);
            ret = block_node_pwrite(q->file, t->offset, t->data, q->cluster_bytes);
        }
        if (ret < 0) {
            return ret;
        }
        c->n_dirty -= t->dirty;
        t->dirty = false;
    }
    return 0;
}
