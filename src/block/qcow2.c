/*
 * The driver qcow2: read and write, versions 2 and 3, with backing files and compressed clusters.
 * The format is described in QEMU's docs/interop/qcow2.txt (7.2).
 *
 * Requests are carried out one after the other on a worker, which blocks; tables are kept in memory
 * and written in a safe order (qcow2-meta.c). A write that fills a cluster or hits one that is the
 * image's own goes straight to its place; any other first takes a cluster and fills it with what
 * the guest saw there before.
 *
 * Internal snapshots are kept: what they share is copied before it is changed. Left out:
 * encryption, external data files, extended L2 entries, growth of the reference count table, repair
 * of images with lazy reference counts that were not closed, resizing.
 */
#include "block/qcow2-priv.h"

#include "base/log.h"
#include <errno.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* ---- reading */

static int read_backing(struct qcow2 *q, uint64_t guest, uint8_t *buf, uint64_t bytes)
{
    uint64_t end = q->backing ? block_node_bytes(q->backing) : 0, n = 0;
    int ret = 0;

    if (guest < end) {
        n = MIN(bytes, end - guest);
        ret = block_node_pread(q->backing, guest, buf, n);
    }
    memset(buf + n, 0, bytes - n);
    return ret;
}

static bool inflate_raw(const uint8_t *in, uint64_t n, uint8_t *out, uint64_t bytes)
{
    z_stream z = {
        .next_in = (Bytef *)in, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)bytes};
    int ret;

    if (inflateInit2(&z, -12) != Z_OK) {
        return false;
    }
    ret = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    /* The input is padded, so the stream may end before or after the output is full. */
    return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0;
}

static bool decompress_zstd(const uint8_t *in, uint64_t n, uint8_t *out, uint64_t bytes)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    ZSTD_outBuffer o = {out, bytes, 0};
    ZSTD_inBuffer i = {in, n, 0};
    size_t ret = 1;

    while (ctx && ret != 0 && !ZSTD_isError(ret) && o.pos < o.size && i.pos < i.size) {
        ret = ZSTD_decompressStream(ctx, &o, &i);
    }
    ZSTD_freeDCtx(ctx);
    return o.pos == o.size && !ZSTD_isError(ret);
}

static int read_compressed(struct qcow2 *q, uint64_t entry, uint64_t skip, uint8_t *buf,
                           uint64_t bytes)
{
    uint64_t offset, n;
    g_autofree uint8_t *in = NULL, *out = NULL;
    int ret;

    qcow2_compressed_place(q, entry, &offset, &n);
    in = g_try_malloc(n);
    out = g_try_malloc(q->cluster_bytes);
    if (!in || !out) {
        return -ENOMEM;
    }
    ret = block_node_pread(q->file, offset, in, n);
    if (ret < 0) {
        return ret;
    }
    if (!(q->zstd ? decompress_zstd : inflate_raw)(in, n, out, q->cluster_bytes)) {
        return -EIO;
    }
    memcpy(buf, out + skip, bytes);
    return 0;
}

/* Within one cluster; what the guest sees there. */
static int read_entry(struct qcow2 *q, uint64_t entry, uint64_t guest, uint8_t *buf, uint64_t bytes)
{
    uint64_t skip = guest & (q->cluster_bytes - 1);

    if (entry & QCOW2_COMPRESSED) {
        return read_compressed(q, entry, skip, buf, bytes);
    }
    if (q->version >= 3 && entry & QCOW2_ZERO) {
        memset(buf, 0, bytes);
        return 0;
    }
    if (!(entry & QCOW2_OFFSET_MASK)) {
        return read_backing(q, guest, buf, bytes);
    }
    return block_node_pread(q->file, (entry & QCOW2_OFFSET_MASK) + skip, buf, bytes);
}

static int read_cluster(struct qcow2 *q, uint64_t guest, uint8_t *buf, uint64_t bytes)
{
    struct qcow2_table *table;
    uint64_t entry;
    int ret = qcow2_l2_get(q, guest, false, &table, &entry);

    return ret < 0 ? ret : read_entry(q, entry, guest, buf, bytes);
}

/* ---- writing */

/* Its place is the image's own and holds data. */
static bool is_in_place(const struct qcow2 *q, uint64_t entry)
{
    return entry & QCOW2_COPIED && !(entry & QCOW2_COMPRESSED) && entry & QCOW2_OFFSET_MASK &&
           !(q->version >= 3 && entry & QCOW2_ZERO);
}

/* A new cluster with what was there, and the new bytes over it. */
static int write_new(struct qcow2 *q, struct qcow2_table *table, uint64_t old, uint64_t guest,
                     const uint8_t *buf, uint64_t bytes)
{
    uint64_t skip = guest & (q->cluster_bytes - 1), offset;
    g_autofree uint8_t *whole = NULL;
    int ret = 0;

    if (bytes < q->cluster_bytes) {
        whole = g_try_malloc(q->cluster_bytes);
        if (!whole) {
            return -ENOMEM;
        }
        ret = read_entry(q, old, guest - skip, whole, q->cluster_bytes);
        if (ret < 0) {
            return ret;
        }
        memcpy(whole + skip, buf, bytes);
    }
    ret = qcow2_alloc(q, &offset);
    if (ret < 0) {
        return ret;
    }
    ret = block_node_pwrite(q->file, offset, whole ? whole : buf, q->cluster_bytes);
    if (ret < 0) {
        qcow2_free_later(q, offset, q->cluster_bytes);
        return ret;
    }
    qcow2_l2_set(q, table, guest, offset | QCOW2_COPIED);
    qcow2_free_entry(q, old);
    return 0;
}

static int write_cluster(struct qcow2 *q, uint64_t guest, const uint8_t *buf, uint64_t bytes)
{
    struct qcow2_table *table;
    uint64_t entry;
    int ret = qcow2_l2_get(q, guest, true, &table, &entry);

    if (ret < 0) {
        return ret;
    }
    if (is_in_place(q, entry)) {
        return block_node_pwrite(
            q->file, (entry & QCOW2_OFFSET_MASK) + (guest & (q->cluster_bytes - 1)), buf, bytes);
    }
    return write_new(q, table, entry, guest, buf, bytes);
}

/* A whole cluster becomes zeroes without data. */
static int zero_whole(struct qcow2 *q, uint64_t guest)
{
    struct qcow2_table *table;
    uint64_t entry;
    int ret = qcow2_l2_get(q, guest, true, &table, &entry);

    if (ret < 0 || entry == QCOW2_ZERO) {
        return ret;
    }
    qcow2_l2_set(q, table, guest, QCOW2_ZERO);
    qcow2_free_entry(q, entry);
    return 0;
}

static int zero_part(struct qcow2 *q, uint64_t guest, uint64_t bytes)
{
    g_autofree uint8_t *zeroes = NULL;
    struct qcow2_table *table;
    uint64_t entry;
    int ret = qcow2_l2_get(q, guest, false, &table, &entry);

    if (ret < 0 || (q->version >= 3 && entry & QCOW2_ZERO && !(entry & QCOW2_COMPRESSED)) ||
        (!entry && !q->backing)) {
        return ret; /* it is zero already */
    }
    zeroes = g_try_malloc0(bytes);
    return zeroes ? write_cluster(q, guest, zeroes, bytes) : -ENOMEM;
}

static int discard_whole(struct qcow2 *q, uint64_t guest)
{
    struct qcow2_table *table;
    uint64_t entry;
    int ret = qcow2_l2_get(q, guest, false, &table, &entry);

    if (ret < 0 || !(entry & QCOW2_COMPRESSED || entry & QCOW2_OFFSET_MASK)) {
        return ret; /* it takes nothing */
    }
    if (q->version >= 3) {
        return zero_whole(q, guest);
    }
    if (q->backing) {
        return 0; /* the old data must not show again */
    }
    ret = qcow2_l2_get(q, guest, true, &table, &entry);
    if (ret == 0) {
        qcow2_l2_set(q, table, guest, 0);
        qcow2_free_entry(q, entry);
    }
    return ret;
}

/* ---- requests */

static void iov_move(const struct block_request *r, uint64_t at, uint8_t *buf, uint64_t bytes,
                     bool to_buf)
{
    for (int i = 0; i < r->n_iov && bytes; i++) {
        uint64_t n;
        uint8_t *p;

        if (at >= r->iov[i].iov_len) {
            at -= r->iov[i].iov_len;
            continue;
        }
        n = MIN(bytes, r->iov[i].iov_len - at);
        p = (uint8_t *)r->iov[i].iov_base + at;
        memcpy(to_buf ? buf : p, to_buf ? p : buf, n);
        buf += n;
        bytes -= n;
        at = 0;
    }
}

/* The part of a request that lies in one cluster. */
static int do_part(struct qcow2 *q, const struct block_request *r, uint64_t guest, uint64_t bytes,
                   uint8_t *buf)
{
    /* The last cluster may reach beyond the image's end. */
    bool whole = (guest & (q->cluster_bytes - 1)) == 0 &&
                 (bytes == q->cluster_bytes || guest + bytes == q->bytes);
    int ret;

    switch (r->op) {
    case BLOCK_READ:
        ret = read_cluster(q, guest, buf, bytes);
        if (ret == 0) {
            iov_move(r, guest - r->offset, buf, bytes, false);
        }
        return ret;
    case BLOCK_WRITE:
        iov_move(r, guest - r->offset, buf, bytes, true);
        return write_cluster(q, guest, buf, bytes);
    case BLOCK_WRITE_ZEROES:
        return whole && q->version >= 3 ? zero_whole(q, guest) : zero_part(q, guest, bytes);
    case BLOCK_DISCARD:
        return whole ? discard_whole(q, guest) : 0;
    default:
        return -ENOTSUP;
    }
}

static int do_request(struct qcow2 *q, const struct block_request *r)
{
    g_autofree uint8_t *buf = NULL;
    uint64_t at = r->offset, end = r->offset + r->bytes;
    int ret = 0;

    if (r->op == BLOCK_FLUSH) {
        return qcow2_flush(q);
    }
    if (r->op != BLOCK_READ && q->corrupt) {
        return -EIO;
    }
    buf = g_try_malloc(q->cluster_bytes);
    if (!buf) {
        return -ENOMEM;
    }
    while (at < end && ret == 0) {
        uint64_t next = MIN(end, (at | (q->cluster_bytes - 1)) + 1);

        ret = do_part(q, r, at, next - at, buf);
        at = next;
    }
    return ret;
}

static void done_on_io(void *arg)
{
    struct block_request *r = arg;

    block_request_done(r, r->result);
}

/* A request is handed back last: with the final one the node may go. */
static void run_queue(void *arg)
{
    struct qcow2 *q = arg;
    struct loop *io = q->node->graph->io;
    bool more = true;

    while (more) {
        struct block_request *r;

        g_mutex_lock(&q->mutex);
        r = q->queue;
        q->queue = r->next;
        if (!q->queue) {
            q->queue_tail = &q->queue;
        }
        g_mutex_unlock(&q->mutex);
        r->result = do_request(q, r);
        g_mutex_lock(&q->mutex);
        more = q->queue != NULL;
        q->busy = more;
        g_mutex_unlock(&q->mutex);
        loop_post(io, done_on_io, r);
    }
}

static void qcow2_submit(struct block_node *node, struct block_request *r)
{
    struct qcow2 *q = node->state;
    bool start;

    r->next = NULL;
    g_mutex_lock(&q->mutex);
    *q->queue_tail = r;
    q->queue_tail = &r->next;
    start = !q->busy;
    q->busy = true;
    g_mutex_unlock(&q->mutex);
    if (start) {
        block_worker_run(node->graph, run_queue, q);
    }
}

/* ---- the node */

/* The backing file as the image names it, beside the image unless the name is absolute. */
static char *backing_path(const struct qcow2 *q)
{
    g_autofree char *folder = g_path_get_dirname(q->file->filename);

    return g_path_is_absolute(q->backing_name) ? g_strdup(q->backing_name)
                                               : g_build_filename(folder, q->backing_name, NULL);
}

static struct blockdev_ref *backing_by_name(struct qcow2 *q, GError **error)
{
    struct blockdev_options *o, *file;
    struct blockdev_ref *ref;
    enum blockdev_driver driver;

    if (!q->backing_format || (!blockdev_driver_parse(q->backing_format, &driver)) ||
        (driver != BLOCKDEV_DRIVER_RAW && driver != BLOCKDEV_DRIVER_QCOW2)) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "the backing file '%s' has format '%s': raw and qcow2 are supported; "
                    "backing= names another",
                    q->backing_name, q->backing_format ? q->backing_format : "(not said)");
        return NULL;
    }
    file = g_new0(struct blockdev_options, 1);
    file->driver = BLOCKDEV_DRIVER_FILE;
    file->u.file.filename = backing_path(q);
    o = g_new0(struct blockdev_options, 1);
    o->driver = driver;
    o->has_read_only = o->read_only = true;
    ref = g_new0(struct blockdev_ref, 1);
    ref->type = Q_TYPE_QDICT;
    ref->u.definition = file;
    if (driver == BLOCKDEV_DRIVER_RAW) {
        o->u.raw.file = ref;
    } else {
        o->u.qcow2.file = ref;
    }
    ref = g_new0(struct blockdev_ref, 1);
    ref->type = Q_TYPE_QDICT;
    ref->u.definition = o;
    return ref;
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
    g_mutex_init(&q->mutex);
    q->queue_tail = &q->queue;
    file = block_node_open_child(node, "file", opt->file, error);
    if (!file) {
        return false;
    }
    q->file = file->node;
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

    if (q->l1 && q->rt) {
        qcow2_flush(q);
        qcow2_flush(q); /* what the first has freed */
    }
    qcow2_unload(q);
    g_mutex_clear(&q->mutex);
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

static void qcow2_image_info(struct block_node *node, struct image_info *info)
{
    const struct qcow2 *q = node->state;

    info->has_cluster_size = true;
    info->cluster_size = (int64_t)q->cluster_bytes;
    info->has_dirty_flag = true;
    if (q->backing_name) {
        info->backing_filename = g_strdup(q->backing_name);
        info->full_backing_filename = backing_path(q);
        info->backing_filename_format = g_strdup(q->backing_format);
    }
}

const struct block_driver block_qcow2 = {
    .id = BLOCKDEV_DRIVER_QCOW2,
    .size = sizeof(struct qcow2),
    .open = qcow2_open,
    .close = qcow2_close,
    .submit = qcow2_submit,
    .child_perm = qcow2_child_perm,
    .refresh = qcow2_refresh,
    .image_info = qcow2_image_info,
};
