/*
 * qcow2: requests.
 *
 * A request is done in steps. A step maps a stretch of the guest's disk to extents: where in the
 * image it lies, or that it is zero, the backing file's or compressed. The extents are then moved
 * all at once by the I/O thread, for any number of requests side by side. When the tables in memory
 * tell all that is needed, the I/O thread maps by itself; else the worker does, which may read
 * tables, take clusters and copy what a cluster held before.
 *
 * A write that needs a new cluster first writes it, and the worker links it when that is done: so
 * no table, in memory or on the disk, ever names a cluster without its data. Meanwhile whoever else
 * wants to change the same cluster waits; reads see what was there.
 */
#include "block/qcow2-op.h"

#include <errno.h>

struct part {                     /* an extent's request to a node below */
    struct block_request request; /* first */
    struct qcow2_op *op;
    const struct extent *extent;
    struct iovec *iov; /* owned, or NULL */
    uint8_t *in;       /* compressed bytes */
    int result;
};

/* ---- extents */

void qcow2_extents_clear(struct qcow2_op *op)
{
    for (unsigned i = 0; i < op->n; i++) {
        g_free(op->extents[i].whole);
    }
    op->n = 0;
}

bool qcow2_extent_add(struct qcow2_op *op, const struct extent *e)
{
    struct extent *last = op->n ? &op->extents[op->n - 1] : NULL;

    if (last && last->kind == e->kind && e->kind != EXTENT_COMPRESSED && !last->whole &&
        !e->whole && (e->kind != EXTENT_DATA || last->host + last->bytes == e->host)) {
        last->bytes += e->bytes;
        return true;
    }
    if (op->n == op->max) {
        if (op->max > 1) {
            return false;
        }
        op->max = MAX_EXTENTS;
        op->extents = g_new(struct extent, MAX_EXTENTS);
        op->extents[0] = op->one;
    }
    op->extents[op->n++] = *e;
    return true;
}

bool qcow2_extent_of_entry(struct qcow2_op *op, uint64_t entry, uint64_t guest, uint64_t bytes)
{
    const struct qcow2 *q = op->q;
    struct extent e = {.kind = EXTENT_ZERO, .guest = guest, .bytes = bytes};
    uint64_t backing = q->backing ? block_node_bytes(q->backing) : 0;

    if (entry & QCOW2_COMPRESSED) {
        e.kind = EXTENT_COMPRESSED;
        e.host = entry;
    } else if (q->version >= 3 && entry & QCOW2_ZERO) {
        e.kind = EXTENT_ZERO;
    } else if (entry & QCOW2_OFFSET_MASK) {
        e.kind = EXTENT_DATA;
        e.host = (entry & QCOW2_OFFSET_MASK) + (guest & (q->cluster_bytes - 1));
    } else if (guest < backing) {
        e.kind = EXTENT_BACKING;
        e.bytes = MIN(bytes, backing - guest);
        if (!qcow2_extent_add(op, &e)) {
            return false;
        }
        e = (struct extent){
            .kind = EXTENT_ZERO, .guest = guest + e.bytes, .bytes = bytes - e.bytes};
    }
    return e.bytes == 0 || qcow2_extent_add(op, &e);
}

bool qcow2_is_in_place(const struct qcow2 *q, uint64_t entry)
{
    return entry & QCOW2_COPIED && !(entry & QCOW2_COMPRESSED) && entry & QCOW2_OFFSET_MASK &&
           !(q->version >= 3 && entry & QCOW2_ZERO);
}

/* As far as the tables in memory tell, with q->mutex held. false: nothing is mapped. */
static bool map_known(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;
    uint64_t at = op->at, end = qcow2_op_end(op);
    bool write = op->r->op == BLOCK_WRITE;

    while (at < end) {
        uint64_t next = MIN(end, (at | (q->cluster_bytes - 1)) + 1), entry;

        if (!qcow2_l2_peek(q, at, write, &entry) || (write && !qcow2_is_in_place(q, entry))) {
            qcow2_extents_clear(op);
            return false;
        }
        if (op->n + 2 > MAX_EXTENTS || !qcow2_extent_of_entry(op, entry, at, next - at)) {
            break;
        }
        at = next;
    }
    op->next_at = at;
    return true;
}

/* ---- moving data; I/O thread */

static void op_start(struct qcow2_op *op);

static void op_free(struct qcow2_op *op)
{
    qcow2_extents_clear(op);
    if (op->extents != &op->one) {
        g_free(op->extents);
    }
    if (op->links) {
        g_array_unref(op->links);
    }
    g_free(op);
}

void qcow2_op_done(struct qcow2_op *op)
{
    struct block_request *r = op->r;
    int result = op->result;

    op_free(op);
    block_request_done(r, result);
}

void qcow2_op_go_on(void *arg)
{
    struct qcow2_op *op = arg;

    qcow2_extents_clear(op);
    op->at = op->next_at;
    if (op->result < 0 || op->at == qcow2_op_end(op)) {
        qcow2_op_done(op);
    } else {
        op_start(op);
    }
}

static void moved(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;

    if (--op->pending) {
        return;
    }
    g_mutex_lock(&q->mutex);
    if (--q->in_phase[op->phase] == 0) {
        g_cond_signal(&q->phase_empty);
    }
    g_mutex_unlock(&q->mutex);
    if (op->links && op->links->len) {
        op->todo = TODO_LINK;
        qcow2_op_queue(op, true);
    } else {
        qcow2_op_go_on(op);
    }
}

static void part_free(struct part *part, int result)
{
    struct qcow2_op *op = part->op;

    op->result = op->result < 0 ? op->result : result;
    g_free(part->iov);
    g_free(part->in);
    g_free(part);
    moved(op);
}

static void part_done(struct block_request *request, int result)
{
    part_free((struct part *)request, result);
}

/* The pieces of memory that belong to a stretch of a request; *n_iov of them. */
static struct iovec *iov_slice(const struct block_request *r, uint64_t skip, uint64_t bytes,
                               int *n_iov)
{
    struct iovec *out = g_new(struct iovec, (size_t)MAX(r->n_iov, 1));
    int n = 0;

    for (int i = 0; i < r->n_iov && bytes; i++) {
        uint64_t len = r->iov[i].iov_len;

        if (skip >= len) {
            skip -= len;
            continue;
        }
        out[n].iov_base = (uint8_t *)r->iov[i].iov_base + skip;
        out[n].iov_len = MIN(bytes, len - skip);
        bytes -= out[n++].iov_len;
        skip = 0;
    }
    *n_iov = n;
    return out;
}

void qcow2_iov_copy(const struct block_request *r, uint64_t at, uint8_t *buf, uint64_t bytes,
                    bool to_buf)
{
    int n;
    g_autofree struct iovec *iov = iov_slice(r, at, bytes, &n);

    for (int i = 0; i < n; i++) {
        if (!buf) {
            memset(iov[i].iov_base, 0, iov[i].iov_len);
            continue;
        }
        memcpy(to_buf ? buf : iov[i].iov_base, to_buf ? iov[i].iov_base : buf, iov[i].iov_len);
        buf += iov[i].iov_len;
    }
}

static struct part *part_new(struct qcow2_op *op, const struct extent *e)
{
    struct part *part = g_new0(struct part, 1);

    part->op = op;
    part->extent = e;
    part->request.op = op->r->op;
    part->request.done = part_done;
    return part;
}

/* What moving an extent is to blkdebug. */
static void tell_data(struct block_node *file, const struct extent *e, bool write)
{
    if (!file->driver->debug) {
        return;
    }
    block_node_debug(file, write                       ? BLKDEBUG_EVENT_WRITE_AIO
                           : e->kind == EXTENT_BACKING ? BLKDEBUG_EVENT_READ_BACKING_AIO
                                                       : BLKDEBUG_EVENT_READ_AIO);
    if (e->whole) {
        block_node_debug(file, BLKDEBUG_EVENT_COW_WRITE);
    }
}

static void move_data(struct qcow2_op *op, const struct extent *e)
{
    const struct qcow2 *q = op->q;
    const struct block_request *r = op->r;
    struct part *part = part_new(op, e);

    part->request.offset = e->kind == EXTENT_BACKING ? e->guest : e->host;
    part->request.bytes = e->bytes;
    if (e->whole) {
        part->iov = g_new(struct iovec, 1);
        *part->iov = (struct iovec){e->whole, q->cluster_bytes};
        part->request.bytes = q->cluster_bytes;
        part->request.n_iov = 1;
    } else if (e->bytes < r->bytes) {
        part->iov = iov_slice(r, e->guest - r->offset, e->bytes, &part->request.n_iov);
    } else {
        part->request.n_iov = r->n_iov;
    }
    part->request.iov = part->iov ? part->iov : r->iov;
    tell_data(q->file, e, r->op == BLOCK_WRITE);
    block_node_submit(e->kind == EXTENT_BACKING ? q->backing : q->file, &part->request);
}

/* ---- compressed clusters */

static void decompressed(void *arg)
{
    struct part *part = arg;

    part_free(part, part->result);
}

static void decompress_part(void *arg) /* a thread of the pool */
{
    struct part *part = arg;
    struct qcow2_op *op = part->op;
    const struct extent *e = part->extent;
    struct qcow2 *q = op->q;
    g_autofree uint8_t *out = qcow2_decompress(q, part->in, part->request.bytes);

    if (out) {
        qcow2_iov_copy(op->r, e->guest - op->r->offset, out + (e->guest & (q->cluster_bytes - 1)),
                       e->bytes, false);
    }
    part->result = out ? 0 : -EIO;
    loop_post(q->node->graph->io, decompressed, part);
}

static void compressed_read(struct block_request *request, int result)
{
    struct part *part = (struct part *)request;

    if (result < 0) {
        part_free(part, result);
    } else {
        block_worker_run(part->op->q->node->graph, decompress_part, part);
    }
}

static void move_compressed(struct qcow2_op *op, const struct extent *e)
{
    struct part *part = part_new(op, e);
    uint64_t offset, bytes;

    qcow2_compressed_place(op->q, e->host, &offset, &bytes);
    part->in = g_try_malloc(bytes);
    if (!part->in) {
        part_free(part, -ENOMEM);
        return;
    }
    part->iov = g_new(struct iovec, 1);
    *part->iov = (struct iovec){part->in, bytes};
    part->request.iov = part->iov;
    part->request.n_iov = 1;
    part->request.offset = offset;
    part->request.bytes = bytes;
    part->request.done = compressed_read;
    block_node_debug(op->q->file, BLKDEBUG_EVENT_READ_COMPRESSED);
    block_node_submit(op->q->file, &part->request);
}

void qcow2_op_move(void *arg)
{
    struct qcow2_op *op = arg;
    struct block_graph *graph = op->q->node->graph;
    unsigned n = op->n;

    op->pending = n + 1;
    block_graph_plug(graph);
    for (unsigned i = 0; i < n; i++) {
        const struct extent *e = &op->extents[i];

        switch (e->kind) {
        case EXTENT_ZERO:
            qcow2_iov_copy(op->r, e->guest - op->r->offset, NULL, e->bytes, false);
            op->pending--;
            break;
        case EXTENT_COMPRESSED:
            move_compressed(op, e);
            break;
        case EXTENT_DATA:
        case EXTENT_BACKING:
            move_data(op, e);
            break;
        }
    }
    block_graph_unplug(graph);
    moved(op);
}

void qcow2_phase_enter(struct qcow2_op *op)
{
    op->phase = op->q->phase;
    op->q->in_phase[op->phase]++;
}

static void op_start(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;
    bool known = false;

    if (op->r->op == BLOCK_READ || (op->r->op == BLOCK_WRITE && !q->corrupt)) {
        g_mutex_lock(&q->mutex);
        known = map_known(op);
        if (known) {
            qcow2_phase_enter(op);
        }
        g_mutex_unlock(&q->mutex);
    }
    if (known) {
        qcow2_op_move(op);
    } else {
        op->todo = TODO_STEP;
        qcow2_op_queue(op, false);
    }
}

void qcow2_submit(struct block_node *node, struct block_request *r)
{
    struct qcow2 *q = node->state;
    struct qcow2_op *op;

    if (r->op == BLOCK_FLUSH) {
        block_node_debug(q->file, BLKDEBUG_EVENT_FLUSH_TO_OS);
        block_node_debug(q->file, BLKDEBUG_EVENT_FLUSH_TO_DISK);
    }
    if (r->op == BLOCK_FLUSH && !q->dirty && !q->corrupt) {
        block_node_submit(q->file, r);
        return;
    }
    op = g_new0(struct qcow2_op, 1);
    op->q = q;
    op->r = r;
    op->at = op->next_at = r->offset;
    op->extents = &op->one;
    op->max = 1;
    op_start(op);
}
