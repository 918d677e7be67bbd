/*
 * qcow2: what requests need of tables, on the node's worker: reads whose tables are not in memory,
 * writes that take clusters, zeroes and discards, one step of one request at a time; and the queue
 * of all that the worker has to do. qcow2-io.c opens with how a request goes.
 */
#include "block/qcow2-op.h"

#include <errno.h>

#define MAX_STEP       4096u /* clusters that the worker changes before others have their turn */
#define MAX_COPY_BYTES (16u << 20) /* of whole clusters in memory, in one step */

/* ---- the worker: reads that need more tables */

static int step_read(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;
    uint64_t at = op->at, end = qcow2_op_end(op);

    while (at < end && op->n + 2 <= MAX_EXTENTS) {
        uint64_t next = MIN(end, (at | (q->cluster_bytes - 1)) + 1), entry;
        struct qcow2_table *table;
        int ret = qcow2_l2_get(q, at, false, &table, &entry);

        if (ret < 0) {
            return ret;
        }
        if (!qcow2_extent_of_entry(op, entry, at, next - at)) {
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

    block_node_debug(q->file, BLKDEBUG_EVENT_COW_READ);
    if (entry & QCOW2_COMPRESSED) {
        uint64_t offset, n;
        g_autofree uint8_t *in = NULL, *out = NULL;
        int ret;

        qcow2_compressed_place(q, entry, &offset, &n);
        in = g_try_malloc(n);
        block_node_debug(q->file, BLKDEBUG_EVENT_READ_COMPRESSED);
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
    e.host = host + skip;
    ret = ret < 0 ? ret : qcow2_write_check(q, QCOW2_KIND__MAX, e.host, bytes);
    if (ret < 0) {
        return ret;
    }
    if (bytes < q->cluster_bytes && !(fresh && reads_as_zeroes(q, entry, guest - skip))) {
        e.whole = g_try_malloc(q->cluster_bytes);
        ret = e.whole ? read_whole(q, entry, guest - skip, e.whole) : -ENOMEM;
        if (ret < 0) {
            g_free(e.whole);
            if (taken) {
                qcow2_free_later(q, host, q->cluster_bytes, QCOW2_DISCARD_NEVER);
            }
            return ret;
        }
        qcow2_iov_copy(op->r, guest - op->r->offset, e.whole + skip, bytes, true);
        e.host = host;
    }
    link_add(op, guest, host, taken);
    qcow2_extent_add(op, &e); /* there is room */
    return 0;
}

/* -EAGAIN: it has to wait for an allocation. */
static int step_write(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;
    uint64_t at = op->at, end = qcow2_op_end(op), copied = 0;
    int ret = q->corrupt ? -EIO : 0;

    while (at < end && op->n + 1 <= MAX_EXTENTS && copied < MAX_COPY_BYTES && ret == 0) {
        uint64_t next = MIN(end, (at | (q->cluster_bytes - 1)) + 1), entry;
        struct qcow2_table *table;

        if (is_allocating(q, at)) {
            ret = op->n ? 0 : -EAGAIN;
            break;
        }
        ret = qcow2_l2_get(q, at, true, &table, &entry);
        if (ret == 0 && qcow2_is_in_place(q, entry)) {
            struct extent e = {.kind = EXTENT_DATA, .guest = at, .bytes = next - at};

            e.host = (entry & QCOW2_OFFSET_MASK) + (at & (q->cluster_bytes - 1));
            ret = qcow2_write_check(q, QCOW2_KIND__MAX, e.host, e.bytes);
            if (ret == 0) {
                qcow2_extent_add(op, &e);
            }
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
            qcow2_free_entry(q, old, QCOW2_DISCARD_NEVER);
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
            qcow2_free_later(q, l->host, q->cluster_bytes, QCOW2_DISCARD_NEVER);
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
    if (qcow2_is_in_place(q, entry)) {
        host = (entry & QCOW2_OFFSET_MASK) + skip;
        ret = qcow2_write_check(q, QCOW2_KIND__MAX, host, bytes);
        block_node_debug(q->file, BLKDEBUG_EVENT_WRITE_AIO);
        return ret < 0 ? ret : block_node_pwrite(q->file, host, buf, bytes);
    }
    ret = read_whole(q, entry, guest - skip, buf);
    memset(buf + skip, 0, bytes);
    ret = ret < 0 ? ret : qcow2_alloc(q, &host, &fresh);
    ret = ret < 0 ? ret : qcow2_write_check(q, QCOW2_KIND__MAX, host, q->cluster_bytes);
    if (ret < 0) {
        return ret;
    }
    block_node_debug(q->file, BLKDEBUG_EVENT_WRITE_AIO);
    block_node_debug(q->file, BLKDEBUG_EVENT_COW_WRITE);
    ret = block_node_pwrite(q->file, host, buf, q->cluster_bytes);
    ret = ret < 0 ? ret : qcow2_l2_get(q, guest, true, &table, &entry);
    if (ret < 0) {
        qcow2_free_later(q, host, q->cluster_bytes, QCOW2_DISCARD_NEVER);
        return ret;
    }
    qcow2_l2_set(q, table, guest, host | QCOW2_COPIED);
    qcow2_free_entry(q, entry, QCOW2_DISCARD_NEVER);
    return 0;
}

/* A whole cluster becomes zeroes; keep: its place stays taken. */
static int zero_whole(struct qcow2 *q, uint64_t guest, bool keep, enum qcow2_discard discard)
{
    struct qcow2_table *table;
    uint64_t entry;
    int ret = qcow2_l2_get(q, guest, true, &table, &entry);

    if (ret < 0 || (entry & QCOW2_ZERO && !(entry & QCOW2_COMPRESSED) &&
                    (keep || !(entry & QCOW2_OFFSET_MASK)))) {
        return ret;
    }
    if (keep && qcow2_is_in_place(q, entry)) {
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
        return zero_whole(q, guest, false, QCOW2_DISCARD_REQUEST);
    }
    if (q->backing) {
        return 0; /* the old data must not show again */
    }
    ret = qcow2_l2_get(q, guest, true, &table, &entry);
    if (ret == 0) {
        qcow2_l2_set(q, table, guest, 0);
        qcow2_free_entry(q, entry, QCOW2_DISCARD_REQUEST);
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
        return zero_whole(q, at, !(r->flags & BLOCK_MAY_UNMAP), QCOW2_DISCARD_REQUEST);
    }
    ret = qcow2_l2_get(q, at, false, &table, &entry);
    return ret < 0 ? ret : write_zero_bytes(q, entry, table, at, bytes);
}

/* -EAGAIN: it has to wait for an allocation. */
static int step_zero(struct qcow2_op *op)
{
    struct qcow2 *q = op->q;
    uint64_t end = qcow2_op_end(op);
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
    qcow2_op_done(arg);
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
        if (ret == 0 && op->at < qcow2_op_end(op)) {
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
    qcow2_phase_enter(op);
    g_mutex_unlock(&q->mutex);
    return qcow2_op_move;
}

static op_fn work(struct qcow2_op *op)
{
    switch (op->todo) {
    case TODO_LINK:
        link_all(op);
        wake_waiting(op->q);
        return qcow2_op_go_on;
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

void qcow2_op_queue(struct qcow2_op *op, bool first)
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
    qcow2_op_queue(&op, false);
    g_mutex_lock(&q->mutex);
    while (!op.called) {
        g_cond_wait(&cond, &q->mutex);
    }
    g_mutex_unlock(&q->mutex);
    g_cond_clear(&cond);
    return op.result;
}
