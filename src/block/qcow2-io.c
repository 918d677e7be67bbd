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
#include "block/qcow2-priv.h"

#include <errno.h>

#define MAX_EXTENTS    64u
#define MAX_STEP       4096u /* clusters that the worker changes before others have their turn */
#define MAX_COPY_BYTES (16u << 20) /* of whole clusters in memory, in one step */

enum extent_kind { EXTENT_DATA, EXTENT_ZERO, EXTENT_BACKING, EXTENT_COMPRESSED };

struct extent {
    enum extent_kind kind;
    uint64_t guest, bytes; /* of the request */
    uint64_t host;         /* DATA: the offset in the image; COMPRESSED: the L2 entry */
    uint8_t *whole;        /* write: a cluster, what was there and the new bytes; or NULL */
};

struct link { /* a cluster that is being written */
    uint64_t guest, host;
    bool taken; /* it is new, not the one that was there, as zeroes */
};

enum todo { TODO_STEP, TODO_LINK, TODO_CALL };

struct qcow2_op {
    struct qcow2_op *next;
    struct qcow2 *q;
    struct block_request *r; /* whose it is; NULL: a call */
    enum todo todo;
    uint64_t at, next_at;        /* done up to; the step ends at */
    struct extent one, *extents; /* extents is &one, or allocated */
    unsigned n, max;
    GArray *links; /* struct link; NULL: none */
    unsigned pending, phase;
    int result;
    /* TODO_CALL */
    int (*fn)(struct qcow2 *q, void *arg);
    void *arg;
    bool called;
    GCond *cond;
};

struct part {                     /* an extent's request to a node below */
    struct block_request request; /* first */
    struct qcow2_op *op;
    const struct extent *extent;
    struct iovec *iov; /* owned, or NULL */
    uint8_t *in;       /* compressed bytes */
    int result;
};

static uint64_t op_end(const struct qcow2_op *op)
{
    return op->r->offset + op->r->bytes;
}

/* ---- extents */

static void extents_clear(struct qcow2_op *op)
{
    for (unsigned i = 0; i < op->n; i++) {
        g_free(op->extents[i].whole);
    }
    op->n = 0;
}

/* false: there is no room for another one. */
static bool extent_add(struct qcow2_op *op, const struct extent *e)
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

/* What an entry says of bytes within its cluster, for a read. */
static bool extent_of_entry(struct qcow2_op *op, uint64_t entry, uint64_t guest, uint64_t bytes)
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
        if (!extent_add(op, &e)) {
            return false;
        }
        e = (struct extent){
            .kind = EXTENT_ZERO, .guest = guest + e.bytes, .bytes = bytes - e.bytes};
    }
    return e.bytes == 0 || extent_add(op, &e);
}

/* Its place is the image's own and holds data. */
static bool is_in_place(const struct qcow2 *q, uint64_t entry)
{
    return entry & QCOW2_COPIED && !(entry & QCOW2_COMPRESSED) && entry & QCOW2_OFFSET_MASK &&
           !(q->version >= 3 && entry & QCOW2_ZERO);
}

/* As far as the tables in memory tell, with q->mutex held. false: nothing is mapped. */
static bool map_known(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;
    uint64_t at = op->at, end = op_end(op);
    bool write = op->r->op == BLOCK_WRITE;

    while (at < end) {
        uint64_t next = MIN(end, (at | (q->cluster_bytes - 1)) + 1), entry;

        if (!qcow2_l2_peek(q, at, &entry) || (write && !is_in_place(q, entry))) {
            extents_clear(op);
            return false;
        }
        if (op->n + 2 > MAX_EXTENTS || !extent_of_entry(op, entry, at, next - at)) {
            break;
        }
        at = next;
    }
    op->next_at = at;
    return true;
}

/* ---- moving data; I/O thread */

static void op_start(struct qcow2_op *op);
static void op_queue(struct qcow2_op *op, bool first);

static void op_free(struct qcow2_op *op)
{
    extents_clear(op);
    if (op->extents != &op->one) {
        g_free(op->extents);
    }
    if (op->links) {
        g_array_unref(op->links);
    }
    g_free(op);
}

static void op_done(struct qcow2_op *op)
{
    struct block_request *r = op->r;
    int result = op->result;

    op_free(op);
    block_request_done(r, result);
}

/* What was mapped is moved, and linked where that is needed. */
static void op_go_on(void *arg)
{
    struct qcow2_op *op = arg;

    extents_clear(op);
    op->at = op->next_at;
    if (op->result < 0 || op->at == op_end(op)) {
        op_done(op);
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
        op_queue(op, true);
    } else {
        op_go_on(op);
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

/* Between a request's memory, from byte `at` of it, and a buffer. buf NULL: zeroes. */
static void iov_copy(const struct block_request *r, uint64_t at, uint8_t *buf, uint64_t bytes,
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
        iov_copy(op->r, e->guest - op->r->offset, out + (e->guest & (q->cluster_bytes - 1)),
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
    block_node_submit(op->q->file, &part->request);
}

/* The extents are mapped and counted in a phase. */
static void op_move(void *arg)
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
            iov_copy(op->r, e->guest - op->r->offset, NULL, e->bytes, false);
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

/* q->mutex held */
static void phase_enter(struct qcow2_op *op)
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
            phase_enter(op);
        }
        g_mutex_unlock(&q->mutex);
    }
    if (known) {
        op_move(op);
    } else {
        op->todo = TODO_STEP;
        op_queue(op, false);
    }
}

void qcow2_submit(struct block_node *node, struct block_request *r)
{
    struct qcow2 *q = node->state;
    struct qcow2_op *op;

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

/* ---- the worker: reads that need more tables */

static int step_read(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;
    uint64_t at = op->at, end = op_end(op);

    while (at < end && op->n + 2 <= MAX_EXTENTS) {
        uint64_t next = MIN(end, (at | (q->cluster_bytes - 1)) + 1), entry;
        struct qcow2_table *table;
        int ret = qcow2_l2_get(q, at, false, &table, &entry);

        if (ret < 0) {
            return ret;
        }
        if (!extent_of_entry(op, entry, at, next - at)) {
            break;
        }
        at = next;
    }
    op->next_at = at;
    return 0;
}

/* What the guest sees in a whole cluster; at its end the disk may end. */
static int read_whole(struct qcow2 *q, uint64_t entry, uint64_t guest, uint8_t *buf)
{
    uint64_t bytes = q->cluster_bytes, backing = q->backing ? block_node_bytes(q->backing) : 0;

    if (entry & QCOW2_COMPRESSED) {
        uint64_t offset, n;
        g_autofree uint8_t *in = NULL, *out = NULL;
        int ret;

        qcow2_compressed_place(q, entry, &offset, &n);
        in = g_try_malloc(n);
        ret = in ? block_node_pread(q->file, offset, in, n) : -ENOMEM;
        out = ret < 0 ? NULL : qcow2_decompress(q, in, n);
        if (out) {
            memcpy(buf, out, bytes);
        }
        return ret < 0 ? ret : out ? 0 : -EIO;
    }
    if (!(q->version >= 3 && entry & QCOW2_ZERO)) {
        if (entry & QCOW2_OFFSET_MASK) {
            return block_node_pread(q->file, entry & QCOW2_OFFSET_MASK, buf, bytes);
        }
        if (guest < backing) {
            uint64_t n = MIN(bytes, backing - guest);

            memset(buf + n, 0, bytes - n);
            return block_node_pread(q->backing, guest, buf, n);
        }
    }
    memset(buf, 0, bytes);
    return 0;
}

/* ---- the worker: writes that need a cluster */

static bool reads_as_zeroes(const struct qcow2 *q, uint64_t entry, uint64_t guest)
{
    if (entry & QCOW2_COMPRESSED) {
        return false;
    }
    if (q->version >= 3 && entry & QCOW2_ZERO) {
        return true;
    }
    return !(entry & QCOW2_OFFSET_MASK) && (!q->backing || guest >= block_node_bytes(q->backing));
}

static bool is_allocating(const struct qcow2 *q, uint64_t guest)
{
    uint64_t n = guest >> q->cluster_bits;

    return g_hash_table_contains(q->allocating, &n);
}

static void link_add(struct qcow2_op *op, uint64_t guest, uint64_t host, bool taken)
{
    const struct qcow2 *q = op->q;
    uint64_t *key = g_new(uint64_t, 1);
    struct link l = {guest & ~(q->cluster_bytes - 1), host, taken};

    *key = guest >> q->cluster_bits;
    g_hash_table_add(q->allocating, key);
    if (!op->links) {
        op->links = g_array_new(FALSE, FALSE, sizeof(struct link));
    }
    g_array_append_val(op->links, l);
}

/* The guest's bytes in [guest, guest + bytes) of a cluster whose entry is not in place. */
static int write_new(struct qcow2_op *op, uint64_t entry, uint64_t guest, uint64_t bytes)
{
    struct qcow2 *q = op->q;
    uint64_t skip = guest & (q->cluster_bytes - 1);
    bool taken = !(q->version >= 3 && entry & QCOW2_ZERO && entry & QCOW2_COPIED &&
                   entry & QCOW2_OFFSET_MASK),
         fresh = false;
    struct extent e = {.kind = EXTENT_DATA, .guest = guest, .bytes = bytes};
    uint64_t host = entry & QCOW2_OFFSET_MASK;
    int ret = 0;

    if (taken) {
        ret = qcow2_alloc(q, &host, &fresh);
    }
    if (ret < 0) {
        return ret;
    }
    e.host = host + skip;
    if (bytes < q->cluster_bytes && !(fresh && reads_as_zeroes(q, entry, guest - skip))) {
        e.whole = g_try_malloc(q->cluster_bytes);
        ret = e.whole ? read_whole(q, entry, guest - skip, e.whole) : -ENOMEM;
        if (ret < 0) {
            g_free(e.whole);
            if (taken) {
                qcow2_free_later(q, host, q->cluster_bytes, false);
            }
            return ret;
        }
        iov_copy(op->r, guest - op->r->offset, e.whole + skip, bytes, true);
        e.host = host;
    }
    link_add(op, guest, host, taken);
    extent_add(op, &e); /* there is room */
    return 0;
}

/* -EAGAIN: it has to wait for an allocation. */
static int step_write(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;
    uint64_t at = op->at, end = op_end(op), copied = 0;
    int ret = q->corrupt ? -EIO : 0;

    while (at < end && op->n + 1 <= MAX_EXTENTS && copied < MAX_COPY_BYTES && ret == 0) {
        uint64_t next = MIN(end, (at | (q->cluster_bytes - 1)) + 1), entry;
        struct qcow2_table *table;

        if (is_allocating(q, at)) {
            ret = op->n ? 0 : -EAGAIN;
            break;
        }
        ret = qcow2_l2_get(q, at, true, &table, &entry);
        if (ret == 0 && is_in_place(q, entry)) {
            struct extent e = {.kind = EXTENT_DATA, .guest = at, .bytes = next - at};

            e.host = (entry & QCOW2_OFFSET_MASK) + (at & (q->cluster_bytes - 1));
            extent_add(op, &e);
        } else if (ret == 0) {
            ret = write_new(op, entry, at, next - at);
            copied += q->cluster_bytes;
        }
        at = ret == 0 ? next : at;
    }
    op->next_at = at;
    return ret;
}

static int link_one(struct qcow2 *q, const struct link *l)
{
    struct qcow2_table *table;
    uint64_t old;
    int ret = qcow2_l2_get(q, l->guest, true, &table, &old);

    if (ret == 0) {
        qcow2_l2_set(q, table, l->guest, l->host | QCOW2_COPIED);
        if (l->taken) {
            qcow2_free_entry(q, old, false);
        }
    }
    return ret;
}

/* The step's clusters have their data, or op->result says why not. */
static void link_all(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;

    for (guint i = 0; i < op->links->len; i++) {
        const struct link *l = &g_array_index(op->links, struct link, i);
        uint64_t key = l->guest >> q->cluster_bits;

        if (op->result == 0) {
            op->result = link_one(q, l);
        }
        if (op->result < 0 && l->taken) {
            qcow2_free_later(q, l->host, q->cluster_bytes, false);
        }
        g_hash_table_remove(q->allocating, &key);
    }
    g_array_set_size(op->links, 0);
}

/* ---- the worker: zeroes and discards, carried out at once */

static int write_zero_bytes(struct qcow2 *q, uint64_t entry, struct qcow2_table *table,
                            uint64_t guest, uint64_t bytes)
{
    uint64_t skip = guest & (q->cluster_bytes - 1), host;
    g_autofree uint8_t *buf = NULL;
    bool fresh;
    int ret;

    if (reads_as_zeroes(q, entry, guest - skip)) {
        return 0;
    }
    buf = g_try_malloc0(q->cluster_bytes);
    if (!buf) {
        return -ENOMEM;
    }
    if (is_in_place(q, entry)) {
        return block_node_pwrite(q->file, (entry & QCOW2_OFFSET_MASK) + skip, buf, bytes);
    }
    ret = read_whole(q, entry, guest - skip, buf);
    memset(buf + skip, 0, bytes);
    ret = ret < 0 ? ret : qcow2_alloc(q, &host, &fresh);
    if (ret < 0) {
        return ret;
    }
    ret = block_node_pwrite(q->file, host, buf, q->cluster_bytes);
    ret = ret < 0 ? ret : qcow2_l2_get(q, guest, true, &table, &entry);
    if (ret < 0) {
        qcow2_free_later(q, host, q->cluster_bytes, false);
        return ret;
    }
    qcow2_l2_set(q, table, guest, host | QCOW2_COPIED);
    qcow2_free_entry(q, entry, false);
    return 0;
}

/* A whole cluster becomes zeroes; keep: its place stays taken. */
static int zero_whole(struct qcow2 *q, uint64_t guest, bool keep, bool discard)
{
    struct qcow2_table *table;
    uint64_t entry;
    int ret = qcow2_l2_get(q, guest, true, &table, &entry);

    if (ret < 0 || (entry & QCOW2_ZERO && !(entry & QCOW2_COMPRESSED) &&
                    (keep || !(entry & QCOW2_OFFSET_MASK)))) {
        return ret;
    }
    if (keep && is_in_place(q, entry)) {
        qcow2_l2_set(q, table, guest, entry | QCOW2_ZERO);
        return 0;
    }
    qcow2_l2_set(q, table, guest, QCOW2_ZERO);
    qcow2_free_entry(q, entry, discard);
    return 0;
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
        return zero_whole(q, guest, false, true);
    }
    if (q->backing) {
        return 0; /* the old data must not show again */
    }
    ret = qcow2_l2_get(q, guest, true, &table, &entry);
    if (ret == 0) {
        qcow2_l2_set(q, table, guest, 0);
        qcow2_free_entry(q, entry, true);
    }
    return ret;
}

static int zero_cluster(struct qcow2 *q, const struct block_request *r, uint64_t at, uint64_t bytes)
{
    /* The last cluster may reach beyond the disk's end. */
    bool whole =
        (at & (q->cluster_bytes - 1)) == 0 && (bytes == q->cluster_bytes || at + bytes == q->bytes);
    struct qcow2_table *table;
    uint64_t entry;
    int ret;

    if (r->op == BLOCK_DISCARD) {
        return whole ? discard_whole(q, at) : 0;
    }
    if (whole && q->version >= 3) {
        return zero_whole(q, at, !(r->flags & BLOCK_MAY_UNMAP), q->node->unmap);
    }
    ret = qcow2_l2_get(q, at, false, &table, &entry);
    return ret < 0 ? ret : write_zero_bytes(q, entry, table, at, bytes);
}

/* -EAGAIN: it has to wait for an allocation. */
static int step_zero(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;
    uint64_t end = op_end(op);
    int ret = q->corrupt ? -EIO : 0;

    for (unsigned i = 0; i < MAX_STEP && op->at < end && ret == 0; i++) {
        uint64_t next = MIN(end, (op->at | (q->cluster_bytes - 1)) + 1);

        ret = is_allocating(q, op->at) ? -EAGAIN : zero_cluster(q, op->r, op->at, next - op->at);
        op->at = op->next_at = ret == 0 ? next : op->at;
    }
    return ret;
}

/* ---- the worker's queue */

static void ended(void *arg)
{
    op_done(arg);
}

static void called(void *arg)
{
    struct qcow2_op *op = arg;

    g_mutex_lock(&op->q->mutex);
    op->called = true;
    g_cond_signal(op->cond);
    g_mutex_unlock(&op->q->mutex);
}

/* Back to the queue, behind the others. */
static void wait_in(struct qcow2_op *op, bool for_allocation)
{
    struct qcow2 *q = op->q;

    g_mutex_lock(&q->mutex);
    op->next = NULL;
    if (for_allocation) {
        op->next = q->waiting;
        q->waiting = op;
    } else {
        *q->queue_tail = op;
        q->queue_tail = &op->next;
    }
    g_mutex_unlock(&q->mutex);
}

/* An allocation has ended: those that waited for one try again. */
static void wake_waiting(struct qcow2 *q)
{
    g_mutex_lock(&q->mutex);
    while (q->waiting) {
        struct qcow2_op *op = q->waiting;

        q->waiting = op->next;
        op->next = q->queue; /* first come, first served: the list has the last one first */
        if (!q->queue) {
            q->queue_tail = &op->next;
        }
        q->queue = op;
    }
    g_mutex_unlock(&q->mutex);
}

typedef void (*op_fn)(void *);

/* What the I/O thread does next with it; NULL: it waits. */
static op_fn work_step(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;
    int ret;

    switch (op->r->op) {
    case BLOCK_FLUSH:
        op->result = qcow2_flush(q);
        return ended;
    case BLOCK_READ:
        ret = step_read(op);
        break;
    case BLOCK_WRITE:
        ret = step_write(op);
        break;
    default:
        ret = step_zero(op);
        if (ret == 0 && op->at < op_end(op)) {
            wait_in(op, false);
            return NULL;
        }
        break;
    }
    if (ret == -EAGAIN) {
        wait_in(op, true);
        return NULL;
    }
    op->result = ret;
    if (op->n == 0) { /* a failure, or all is done */
        return ended;
    }
    if (ret < 0 && op->links && op->links->len) { /* what came before the failure is undone */
        link_all(op);
        wake_waiting(q);
    }
    if (ret < 0) {
        return ended;
    }
    g_mutex_lock(&q->mutex);
    phase_enter(op);
    g_mutex_unlock(&q->mutex);
    return op_move;
}

static op_fn work(struct qcow2_op *op)
{
    switch (op->todo) {
    case TODO_LINK:
        link_all(op);
        wake_waiting(op->q);
        return op_go_on;
    case TODO_CALL:
        op->result = op->fn(op->q, op->arg);
        return called;
    case TODO_STEP:
        break;
    }
    return work_step(op);
}

/* An op is handed back last: with the final one the node may go. */
static void run_queue(void *arg)
{
    struct qcow2 *q = arg;
    struct loop *io = q->node->graph->io;
    bool more = true;

    while (more) {
        struct qcow2_op *op;
        op_fn then;

        g_mutex_lock(&q->mutex);
        op = q->queue;
        q->queue = op->next;
        if (!q->queue) {
            q->queue_tail = &q->queue;
        }
        g_mutex_unlock(&q->mutex);
        then = work(op);
        g_mutex_lock(&q->mutex);
        more = q->queue != NULL;
        q->busy = more;
        g_mutex_unlock(&q->mutex);
        if (then) {
            loop_post(io, then, op);
        }
    }
}

static void op_queue(struct qcow2_op *op, bool first)
{
    struct qcow2 *q = op->q;
    bool start;

    g_mutex_lock(&q->mutex);
    op->next = first ? q->queue : NULL;
    if (!first || !q->queue) {
        *q->queue_tail = op;
        q->queue_tail = &op->next;
    } else {
        q->queue = op;
    }
    start = !q->busy;
    q->busy = true;
    g_mutex_unlock(&q->mutex);
    if (start) {
        block_serial_run(q->node->graph, run_queue, q);
    }
}

int qcow2_call(struct qcow2 *q, int (*fn)(struct qcow2 *q, void *arg), void *arg)
{
    GCond cond;
    struct qcow2_op op = {.q = q, .todo = TODO_CALL, .fn = fn, .arg = arg, .cond = &cond};

    g_assert(g_thread_self() != q->node->graph->thread);
    g_cond_init(&cond);
    op_queue(&op, false);
    g_mutex_lock(&q->mutex);
    while (!op.called) {
        g_cond_wait(&cond, &q->mutex);
    }
    g_mutex_unlock(&q->mutex);
    g_cond_clear(&cond);
    return op.result;
}
