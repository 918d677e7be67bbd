/*
 * qcow2: images that contradict themselves, and what keeps a contradiction from doing harm: before
 * anything is written its place is compared with what is known to hold metadata (`overlap-check`).
 *
 * An image that is found corrupt while it is written gets a mark in its header and is not written
 * any more; what can be read can still be read. BLOCK_IMAGE_CORRUPTED tells of it once, and of an
 * image that is only read once too, as not fatal.
 */
#include "base/log.h"
#include "block/qcow2-priv.h"
#include "block/qcow2-snapshot.h"
#include "qapi-events.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* ---- telling */

struct told {
    struct block_graph *graph;
    char *node, *text;
    int64_t offset, bytes; /* -1: no place */
    bool fatal;
};

static void tell_on_main(void *arg)
{
    struct told *t = arg;
    struct block_node *node = block_node_find(t->graph, t->node);
    g_autofree char *device = node ? block_node_device(node) : NULL;

    if (t->graph->events) {
        qapi_event_send_block_image_corrupted(t->graph->events, device ? device : "", t->node,
                                              t->text, t->offset >= 0, t->offset, t->bytes >= 0,
                                              t->bytes, t->fatal);
    }
    g_free(t->node);
    g_free(t->text);
    g_free(t);
}

static void mark(struct qcow2 *q)
{
    uint8_t bits[8];

    if (q->version >= 3) {
        g_mutex_lock(&q->mutex);
        q->incompatible |= QCOW2_INCOMPAT_CORRUPT;
        g_mutex_unlock(&q->mutex);
        qcow2_put_be64(bits, q->incompatible);
        block_node_pwrite(q->file, QCOW2_AT_INCOMPATIBLE, bits, 8);
    }
}

static int signal_corruption(struct qcow2 *q, int64_t offset, int64_t bytes, const char *text)
{
    bool fatal = !q->node->read_only;
    struct told *t;

    if (q->signaled && (!fatal || q->corrupt)) {
        return -EIO;
    }
    q->signaled = true;
    if (fatal) {
        log_error("qcow2: '%s': Marking image as corrupt: %s; it is not written any more",
                  q->node->filename, text);
        q->corrupt = true;
        mark(q);
    } else {
        log_error("qcow2: '%s': Image is corrupt: %s", q->node->filename, text);
    }
    t = g_new0(struct told, 1);
    t->graph = q->node->graph;
    t->node = g_strdup(q->node->name);
    t->text = g_strdup(text);
    t->offset = offset;
    t->bytes = bytes;
    t->fatal = fatal;
    loop_post(t->graph->main, tell_on_main, t);
    return -EIO;
}

int qcow2_is_corrupt(struct qcow2 *q, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    return signal_corruption(q, -1, -1, text);
}

/* ---- which clusters hold metadata */

static unsigned kinds_at(const struct qcow2 *q, uint64_t cluster)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(q->metadata, &cluster));
}

static void kinds_set(struct qcow2 *q, uint64_t cluster, unsigned kinds)
{
    uint64_t *key = g_new(uint64_t, 1);

    *key = cluster;
    g_hash_table_insert(q->metadata, key, GUINT_TO_POINTER(kinds));
}

void qcow2_metadata_add(struct qcow2 *q, enum qcow2_kind kind, uint64_t offset, uint64_t bytes)
{
    g_mutex_lock(&q->mutex);
    for (uint64_t n = offset >> q->cluster_bits;
         n <= (offset + MAX(bytes, 1) - 1) >> q->cluster_bits; n++) {
        kinds_set(q, n, kinds_at(q, n) | 1u << kind);
    }
    g_mutex_unlock(&q->mutex);
}

void qcow2_metadata_remove(struct qcow2 *q, enum qcow2_kind kind, uint64_t offset, uint64_t bytes)
{
    g_mutex_lock(&q->mutex);
    for (uint64_t n = offset >> q->cluster_bits;
         n <= (offset + MAX(bytes, 1) - 1) >> q->cluster_bits; n++) {
        unsigned rest = kinds_at(q, n) & ~(1u << kind);

        if (rest) {
            kinds_set(q, n, rest);
        } else {
            g_hash_table_remove(q->metadata, &n);
        }
    }
    g_mutex_unlock(&q->mutex);
}

bool qcow2_is_metadata(const struct qcow2 *q, uint64_t offset)
{
    return (kinds_at(q, offset >> q->cluster_bits) & q->settings.protect) != 0 ||
           (q->settings.protect & 1u << QCOW2_INACTIVE_L2 && q->snapshots);
}

/* Whether an L2 table of a snapshot is there; those are not kept in memory. */
static int inactive_l2_at(struct qcow2 *q, uint64_t first, uint64_t last, bool *found)
{
    int ret = 0;

    for (guint s = 0; q->snapshot_list && s < q->snapshot_list->len && ret == 0; s++) {
        const struct qcow2_snapshot *snapshot = q->snapshot_list->pdata[s];
        g_autofree uint64_t *l1 = NULL;

        ret = qcow2_l1_read(q, snapshot->l1_offset, snapshot->l1_size, &l1);
        for (uint32_t i = 0; i < snapshot->l1_size && ret == 0 && !*found; i++) {
            uint64_t n = (l1[i] & QCOW2_OFFSET_MASK) >> q->cluster_bits;

            *found = n && n >= first && n <= last;
        }
    }
    return ret;
}

static int overlaps(struct qcow2 *q, uint64_t offset, uint64_t bytes, unsigned kinds)
{
    static const char *const names[] = {
        [QCOW2_HEADER] = "qcow2_header",
        [QCOW2_ACTIVE_L1] = "active L1 table",
        [QCOW2_ACTIVE_L2] = "active L2 table",
        [QCOW2_REFCOUNT_TABLE] = "refcount table",
        [QCOW2_REFCOUNT_BLOCK] = "refcount block",
        [QCOW2_SNAPSHOT_TABLE] = "snapshot table",
        [QCOW2_INACTIVE_L1] = "inactive L1 table",
        [QCOW2_INACTIVE_L2] = "inactive L2 table",
        [QCOW2_BITMAP_DIRECTORY] = "bitmap directory",
    };
    unsigned kind = 0;
    g_autofree char *text = NULL;

    while (!(kinds & 1u << kind)) {
        kind++;
    }
    text = g_strdup_printf("Preventing invalid write on metadata (overlaps with %s)", names[kind]);
    return signal_corruption(q, (int64_t)offset, (int64_t)bytes, text);
}

int qcow2_write_check(struct qcow2 *q, enum qcow2_kind own, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> q->cluster_bits, last = (offset + bytes - 1) >> q->cluster_bits;
    unsigned protect = q->settings.protect & ~(own < QCOW2_KIND__MAX ? 1u << own : 0), kinds = 0;
    bool found = false;
    int ret = 0;

    if (q->repairing || !bytes) {
        return 0;
    }
    for (uint64_t n = first; n <= last; n++) {
        kinds |= kinds_at(q, n) & protect;
    }
    if (!kinds && protect & 1u << QCOW2_INACTIVE_L2) {
        ret = inactive_l2_at(q, first, last, &found);
        kinds = found ? 1u << QCOW2_INACTIVE_L2 : 0;
    }
    return ret < 0 ? ret : kinds ? overlaps(q, offset, bytes, kinds) : 0;
}
