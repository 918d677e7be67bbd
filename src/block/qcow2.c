/*
 * The driver qcow2: read and write, versions 2 and 3, with backing files and compressed clusters.
 * The format is described in QEMU's docs/interop/qcow2.txt (7.2).
 *
 * Requests are in qcow2-io.c. Tables are kept in memory and written in a safe order (qcow2-meta.c).
 *
 * Internal snapshots are kept: what they share is copied before it is changed. Left out:
 * encryption, external data files, extended L2 entries.
 */
#include "block/image.h"
#include "block/qcow2-priv.h"

#include <errno.h>
#include <inttypes.h>

#define MAX_SCAN (1u << 24) /* clusters; a file may have holes of any length */

/* ---- the node */

/* The backing file as the image names it, beside the image unless the name is absolute. */
char *qcow2_backing_path(const struct qcow2 *q)
{
    g_autofree char *folder = g_path_get_dirname(q->file->filename);
    bool alone = g_path_is_absolute(q->backing_name) || !strchr(q->file->filename, '/') ||
                 !block_filename_is_path(q->backing_name);

    return alone ? g_strdup(q->backing_name) : g_build_filename(folder, q->backing_name, NULL);
}

/* As a reference to a definition, which becomes its own. */
static struct blockdev_ref *read_only_ref(struct blockdev_options *o)
{
    struct blockdev_ref *ref = g_new0(struct blockdev_ref, 1);

    o->has_read_only = o->read_only = true;
    ref->type = Q_TYPE_QDICT;
    ref->u.definition = o;
    return ref;
}

static struct blockdev_ref *backing_by_name(struct qcow2 *q, GError **error)
{
    struct blockdev_options *o, *file;
    struct blockdev_ref *ref;
    g_autofree char *path = NULL;
    enum blockdev_driver driver;

    if (block_filename_is_json(q->backing_name)) {
        o = block_options_of_json(q->backing_name, q->backing_format, error);
        return o ? read_only_ref(o) : NULL;
    }
    if (!q->backing_format || (!blockdev_driver_parse(q->backing_format, &driver)) ||
        (driver != BLOCKDEV_DRIVER_RAW && driver != BLOCKDEV_DRIVER_QCOW2)) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "the backing file '%s' has format '%s': raw and qcow2 are supported; "
                    "backing= names another",
                    q->backing_name, q->backing_format ? q->backing_format : "(not said)");
        return NULL;
    }
    path = qcow2_backing_path(q);
    file = block_options_of_filename(path, error);
    if (!file) {
        return NULL;
    }
    o = g_new0(struct blockdev_options, 1);
    o->driver = driver;
    ref = g_new0(struct blockdev_ref, 1);
    ref->type = Q_TYPE_QDICT;
    ref->u.definition = file;
    if (driver == BLOCKDEV_DRIVER_RAW) {
        o->u.raw.file = ref;
    } else {
        o->u.qcow2.file = ref;
    }
    return read_only_ref(o);
}

static bool open_backing(struct block_node *node, const struct blockdev_ref_or_null *given,
                         GError **error)
{
    struct qcow2 *q = node->state;
    struct blockdev_ref ref = {0}, *by_name = NULL;
    struct block_child *child;

    if (given && (given->type == Q_TYPE_QNULL ||
                  (given->type == Q_TYPE_QSTRING && !given->u.reference[0]))) {
        return true;
    }
    if (given) {
        ref.type = given->type;
        if (given->type == Q_TYPE_QSTRING) {
            ref.u.reference = given->u.reference;
        } else {
            ref.u.definition = given->u.definition;
        }
    } else if (!q->backing_name) {
        return true;
    } else {
        by_name = backing_by_name(q, error);
        if (!by_name) {
            return false;
        }
    }
    child = block_node_open_child(node, "backing", by_name ? by_name : &ref, error);
    blockdev_ref_free(by_name);
    if (!child) {
        g_prefix_error(error, "Could not open backing file: ");
        return false;
    }
    q->backing = child->node;
    return true;
}

static bool qcow2_open(struct block_node *node, const struct blockdev_options *o, GError **error)
{
    const struct blockdev_options_qcow2 *opt = &o->u.qcow2;
    struct qcow2 *q = node->state;
    struct block_child *file;

    q->node = node;
    if (!qcow2_settings_parse(opt, &q->settings, error)) {
        return false;
    }
    g_mutex_init(&q->mutex);
    g_cond_init(&q->phase_empty);
    q->queue_tail = &q->queue;
    file = block_node_open_child(node, "file", opt->file, error);
    if (!file) {
        return false;
    }
    q->file = file->node;
    block_node_debug(q->file, BLKDEBUG_EVENT_NONE);
    if (node->auto_read_only && q->file->read_only) {
        node->read_only = true;
    }
    node->filename = g_strdup(q->file->filename);
    /* The lock first: what is read must not change. */
    if (!block_node_update_perm(node, error)) {
        return false;
    }
    block_node_refresh(q->file);
    if (qcow2_load(q, error) < 0) {
        g_prefix_error(error, "'%s': ", node->filename);
        return false;
    }
    if (!open_backing(node, opt->backing, error)) {
        return false;
    }
    atomic_store(&node->bytes, q->bytes & ~511ull);
    return true;
}

static void qcow2_close(struct block_node *node)
{
    struct qcow2 *q = node->state;

    if (q->l1 && q->rt && !node->graph->inactive) {
        qcow2_flush(q);
        qcow2_flush(q); /* what the first has freed */
        qcow2_clean(q);
    }
    qcow2_unload(q);
    g_mutex_clear(&q->mutex);
    g_cond_clear(&q->phase_empty);
}

static int qcow2_inactivate(struct block_node *node)
{
    struct qcow2 *q = node->state;
    int ret = qcow2_flush(q);

    ret = ret < 0 ? ret : qcow2_flush(q); /* what the first has freed */
    return ret < 0 ? ret : qcow2_clean(q);
}

/* The backing file is taken to be the one that it was. */
static bool qcow2_reload(struct block_node *node, GError **error)
{
    struct qcow2 *q = node->state;

    qcow2_unload(q);
    if (qcow2_load(q, error) < 0) {
        g_prefix_error(error, "'%s': ", node->filename);
        return false;
    }
    atomic_store(&node->bytes, q->bytes & ~511ull);
    return true;
}

/* The image's file is its own while it is open for writing; a backing file stays as it is. */
static void qcow2_child_perm(const struct block_node *node, const struct block_child *child,
                             unsigned perm, unsigned shared, unsigned *child_perm,
                             unsigned *child_shared)
{
    if (strcmp(child->role, "backing") == 0) {
        *child_perm = BLOCK_PERM_CONSISTENT_READ;
        *child_shared = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED;
        return;
    }
    *child_perm = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
    *child_shared = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED;
}

static void qcow2_refresh(struct block_node *node)
{
}

static int set_size(struct qcow2 *q, void *bytes)
{
    return qcow2_set_size(q, *(uint64_t *)bytes);
}

/* What comes into sight at the end is zeroes, whatever the last cluster or a longer backing file
 * holds there. */
static int clear_new(struct qcow2 *q, uint64_t from, uint64_t to)
{
    uint64_t backing = q->backing ? block_node_bytes(q->backing) : 0;
    uint64_t end = MAX((from + q->cluster_bytes - 1) & ~(q->cluster_bytes - 1), backing);

    end = MIN(end, to);
    return end <= from ? 0 : block_node_sync(q->node, BLOCK_WRITE_ZEROES, from, end - from, 0);
}

static int qcow2_resize(struct block_node *node, uint64_t bytes, GError **error)
{
    struct qcow2 *q = node->state;
    uint64_t old = q->bytes;
    int ret;

    if (q->snapshots && q->version < 3) {
        g_set_error(error, BLOCK_ERROR, 0, "Can't resize a v2 image which has snapshots");
        return -ENOTSUP;
    }
    if (q->bitmaps) {
        g_set_error(error, BLOCK_ERROR, 0, "Can't resize '%s': it has dirty bitmaps",
                    node->filename);
        return -ENOTSUP;
    }
    ret = qcow2_call(q, set_size, &bytes);
    if (ret == 0 && bytes > old) {
        ret = clear_new(q, old, bytes);
    }
    atomic_store(&node->bytes, q->bytes & ~511ull);
    if (ret < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Failed to resize '%s' to %" PRIu64 " bytes: %s",
                    node->filename, bytes, g_strerror(-ret));
    }
    return ret;
}

struct prealloc {
    uint64_t from;
    enum prealloc_mode mode;
};

/* Zeroes in a cluster of the image that is not in use yet. */
static int fill_cluster(struct qcow2 *q, uint64_t host, enum prealloc_mode mode, bool fresh,
                        const uint8_t *zeroes)
{
    if (mode == PREALLOC_MODE_FULL) {
        return block_node_pwrite(q->file, host, zeroes, q->cluster_bytes);
    }
    if (mode == PREALLOC_MODE_FALLOC || !fresh) {
        return block_node_sync(q->file, BLOCK_WRITE_ZEROES, host, q->cluster_bytes, 0);
    }
    return 0;
}

/* The file reaches as far as what is counted. */
static int extend_file(struct qcow2 *q)
{
    uint64_t end = q->end_clusters << q->cluster_bits;

    if (end <= block_node_bytes(q->file) || !q->file->driver->resize) {
        return 0;
    }
    return q->file->driver->resize(q->file, end, NULL);
}

static int preallocate(struct qcow2 *q, void *arg)
{
    const struct prealloc *p = arg;
    g_autofree uint8_t *zeroes = g_malloc0(q->cluster_bytes);
    uint64_t at = (p->from + q->cluster_bytes - 1) & ~(q->cluster_bytes - 1);
    int ret = q->corrupt ? -EIO : 0;

    for (; at < q->bytes && ret == 0; at += q->cluster_bytes) {
        struct qcow2_table *table;
        uint64_t entry, host;
        bool fresh;

        ret = qcow2_l2_get(q, at, true, &table, &entry);
        if (ret < 0 || (entry & QCOW2_OFFSET_MASK)) {
            continue;
        }
        ret = qcow2_alloc(q, &host, &fresh);
        ret = ret < 0 ? ret : qcow2_write_check(q, QCOW2_KIND__MAX, host, q->cluster_bytes);
        ret = ret < 0 ? ret : fill_cluster(q, host, p->mode, fresh, zeroes);
        /* Taking a cluster may have flushed tables out of memory. */
        ret = ret < 0 ? ret : qcow2_l2_get(q, at, true, &table, &entry);
        if (ret == 0) {
            qcow2_l2_set(q, table, at, host | QCOW2_COPIED);
        }
    }
    ret = ret < 0 ? ret : extend_file(q);
    return ret < 0 ? ret : qcow2_flush(q);
}

static int qcow2_preallocate(struct block_node *node, uint64_t from, enum prealloc_mode mode)
{
    struct prealloc p = {from, mode};

    return qcow2_call(node->state, preallocate, &p);
}

struct asked {
    uint64_t offset, bytes;
    struct block_status *status;
};

static void status_of_entry(struct qcow2 *q, uint64_t entry, uint64_t guest, struct block_status *s)
{
    uint64_t host = entry & QCOW2_OFFSET_MASK;

    *s = (struct block_status){.kind = BLOCK_STATUS_ABSENT};
    if (entry & QCOW2_COMPRESSED) {
        s->kind = BLOCK_STATUS_DATA;
        s->compressed = true;
        return;
    }
    if (host) {
        s->kind = BLOCK_STATUS_DATA;
        s->has_offset = true;
        s->offset = host + (guest & (q->cluster_bytes - 1));
        s->file = q->node;
    }
    if (q->version >= 3 && entry & QCOW2_ZERO) {
        s->kind = BLOCK_STATUS_ZERO;
    }
}

static bool status_goes_on(const struct block_status *a, const struct block_status *b,
                           uint64_t distance)
{
    return a->kind == b->kind && a->has_offset == b->has_offset && a->compressed == b->compressed &&
           (!a->has_offset || a->offset + distance == b->offset);
}

/* Whether clusters are in use that take no room on the host, as preallocation makes them: then it
 * is worth asking the file what is zeroes. */
static bool is_sparse(struct qcow2 *q)
{
    int64_t bytes =
        q->file->driver->allocated_bytes ? q->file->driver->allocated_bytes(q->file) : -1;
    uint64_t n = (block_node_bytes(q->file) + q->cluster_bytes - 1) >> q->cluster_bits, used = 0;
    uint64_t real, limit;

    if (bytes < 0) {
        return false;
    }
    real = (uint64_t)bytes >> q->cluster_bits;
    limit = MAX(real * 10 / 9, real + 2);
    for (uint64_t i = 0; i < MIN(n, MAX_SCAN) && used < limit; i++) {
        uint64_t count;

        if (qcow2_count_get(q, i, &count) < 0) {
            return false;
        }
        used += count > 0;
    }
    return used >= limit;
}

static int ask_status(struct qcow2 *q, void *arg)
{
    const struct asked *a = arg;
    uint64_t at = a->offset, end = a->offset + a->bytes;
    struct block_status first = {0}, s;

    while (at < end) {
        uint64_t next = MIN(end, (at | (q->cluster_bytes - 1)) + 1), entry;
        struct qcow2_table *table;
        int ret = qcow2_l2_get(q, at, false, &table, &entry);

        if (ret < 0) {
            return ret;
        }
        status_of_entry(q, entry, at, &s);
        if (at == a->offset) {
            first = s;
        } else if (!status_goes_on(&first, &s, at - a->offset)) {
            break;
        }
        at = next;
    }
    if (q->sparse == QCOW2_SPARSE_UNKNOWN) {
        q->sparse = is_sparse(q) ? QCOW2_SPARSE : QCOW2_NOT_SPARSE;
    }
    first.bytes = at - a->offset;
    *a->status = first;
    return 0;
}

static int qcow2_status(struct block_node *node, uint64_t offset, uint64_t bytes,
                        struct block_status *status)
{
    struct qcow2 *q = node->state;
    struct asked a = {offset, bytes, status};
    int ret = qcow2_call(q, ask_status, &a);

    if (ret == 0 && status->kind == BLOCK_STATUS_DATA && status->has_offset &&
        q->sparse == QCOW2_SPARSE) {
        struct block_status below;

        ret = block_node_status(q->file, status->offset, status->bytes, &below);
        status->zero = below.kind == BLOCK_STATUS_ZERO;
        status->bytes = below.bytes;
    }
    return ret;
}

static void qcow2_child_changed(struct block_node *node, const char *role)
{
    struct qcow2 *q = node->state;

    q->file = block_node_below(node, "file");
    q->backing = block_node_below(node, "backing");
}

static const struct blockdev_ref *qcow2_file_option(const struct blockdev_options *o)
{
    return o->u.qcow2.file;
}

const struct block_driver block_qcow2 = {
    .id = BLOCKDEV_DRIVER_QCOW2,
    .size = sizeof(struct qcow2),
    .open = qcow2_open,
    .close = qcow2_close,
    .submit = qcow2_submit,
    .file_option = qcow2_file_option,
    .child_perm = qcow2_child_perm,
    .refresh = qcow2_refresh,
    .resize = qcow2_resize,
    .preallocate = qcow2_preallocate,
    .inactivate = qcow2_inactivate,
    .reload = qcow2_reload,
    .image_info = qcow2_image_info,
    .dirty_bitmaps = qcow2_dirty_bitmaps,
    .status = qcow2_status,
    .has_backing = true,
    .changeable = qcow2_changeable,
    .configure = qcow2_configure,
    .child_changed = qcow2_child_changed,
};
