/*
 * The driver quorum: a filter over several copies of the same disk, which tolerates that some of
 * them fail or lie.
 *
 * Reads ask all children and let them vote: children that delivered the same bytes (compared as
 * they are, so nothing collides) stand for one version, and the version of most children wins if it
 * has vote-threshold of them. Losers are reported, and overwritten with the winner's bytes if
 * rewrite-corrupted is on. Where two versions have equally many children, nobody wins: nothing is
 * returned that might be wrong. With read-pattern=fifo the first child that succeeds is believed.
 *
 * Writes and flushes go to all children and succeed if vote-threshold of them did. The bytes to be
 * written are copied first: a guest that changes them meanwhile would make the copies differ.
 *
 * Discards are not passed on: children may answer reads of discarded blocks differently.
 */
#include "block/quorum.h"

#include "base/log.h"
#include "block/block-priv.h"
#include "qapi-events.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES  (4u << 20) /* of a request at a time: bounds the copies */
#define ALIGN        4096
#define MAX_CHILDREN 64

struct quorum {
    unsigned threshold, next_index;
    bool blkverify, rewrite, fifo;
};

struct quorum_child {
    struct block_request request; /* first */
    struct quorum_op *op;
    struct block_node *node;
    struct iovec iov;
    uint8_t *buf;
    int result;
};

struct quorum_op { /* one request, a chunk at a time */
    struct block_node *node;
    struct block_request *upper;
    uint64_t done, bytes; /* before this chunk; in it */
    unsigned n, pending, turn /* fifo */;
    bool rewriting;
    uint8_t *data; /* a write's copy */
    struct quorum_child child[];
};

/* ---- decisions */

int quorum_vote(const int *version, unsigned n, unsigned threshold)
{
    unsigned best = 0, ties = 0;
    int winner = -1;

    for (unsigned i = 0; i < n; i++) {
        unsigned votes = 0;

        if (version[i] != (int)i) {
            continue; /* failed, or counted with an earlier child */
        }
        for (unsigned k = i; k < n; k++) {
            votes += version[k] == (int)i;
        }
        if (votes > best) {
            best = votes;
            winner = (int)i;
            ties = 0;
        } else if (votes == best) {
            ties++;
        }
    }
    return best >= threshold && best > 0 && ties == 0 ? winner : -1;
}

int quorum_error(const int *result, unsigned n)
{
    unsigned best = 0;
    int error = 0;

    for (unsigned i = 0; i < n; i++) {
        unsigned votes = 0;

        for (unsigned k = 0; k < n && result[i] < 0; k++) {
            votes += result[k] == result[i];
        }
        if (votes > best) {
            best = votes;
            error = result[i];
        }
    }
    return error;
}

/* ---- what is told, from the main thread as all block events are */

struct report {
    struct block_graph *graph;
    char *name; /* of the child, or of the quorum */
    bool failure;
    enum quorum_op_type type;
    int error; /* positive; 0: the data differed */
    int64_t sector, sectors;
};

static void report_on_main(void *arg)
{
    struct report *r = arg;

    if (r->failure) {
        struct block_node *node = block_node_find(r->graph, r->name);
        g_autofree char *device = node ? block_node_device(node) : NULL;

        qapi_event_send_quorum_failure(r->graph->events, device ? device : r->name, r->sector,
                                       r->sectors);
    } else {
        qapi_event_send_quorum_report_bad(r->graph->events, r->type,
                                          r->error ? strerror(r->error) : NULL, r->name, r->sector,
                                          r->sectors);
    }
    g_free(r->name);
    g_free(r);
}

static void report(const struct quorum_op *op, const struct block_node *who, bool failure,
                   int error)
{
    uint64_t start = op->upper->offset + op->done, end = start + op->bytes;
    struct report *r = g_new0(struct report, 1);

    r->graph = op->node->graph;
    r->name = g_strdup(who->name);
    r->failure = failure;
    r->error = error;
    r->type = op->upper->op == BLOCK_READ    ? QUORUM_OP_TYPE_READ
              : op->upper->op == BLOCK_FLUSH ? QUORUM_OP_TYPE_FLUSH
                                             : QUORUM_OP_TYPE_WRITE;
    r->sector = (int64_t)(start / BLOCK_SECTOR_BYTES);
    r->sectors = (int64_t)((end + BLOCK_SECTOR_BYTES - 1) / BLOCK_SECTOR_BYTES) - r->sector;
    loop_post(r->graph->main, report_on_main, r);
}

/* ---- requests */

static void op_next(struct quorum_op *op);

static void op_end(struct quorum_op *op, int result)
{
    struct block_request *upper = op->upper;

    for (unsigned i = 0; i < op->n; i++) {
        free(op->child[i].buf);
    }
    free(op->data);
    g_free(op);
    block_request_done(upper, result);
}

/* The chunk is done. */
static void op_advance(struct quorum_op *op)
{
    op->done += op->bytes;
    if (op->done == op->upper->bytes) {
        op_end(op, 0);
    } else {
        op_next(op);
    }
}

static void child_submit(struct quorum_op *op, unsigned i, enum block_op kind, void *buf,
                         void (*done)(struct block_request *, int))
{
    struct quorum_child *c = &op->child[i];

    c->iov = (struct iovec){buf, op->bytes};
    c->request = (struct block_request){
        .op = kind,
        .flags = kind == BLOCK_WRITE_ZEROES ? op->upper->flags & BLOCK_MAY_UNMAP : 0,
        .offset = kind == BLOCK_FLUSH ? 0 : op->upper->offset + op->done,
        .bytes = op->bytes,
        .iov = buf ? &c->iov : NULL,
        .n_iov = buf ? 1 : 0,
        .done = done,
    };
    block_node_submit(c->node, &c->request);
}

static unsigned successes(const struct quorum_op *op)
{
    unsigned n = 0;

    for (unsigned i = 0; i < op->n; i++) {
        n += op->child[i].result == 0;
    }
    return n;
}

static int common_error(const struct quorum_op *op)
{
    int result[MAX_CHILDREN];

    for (unsigned i = 0; i < op->n; i++) {
        result[i] = op->child[i].result;
    }
    return quorum_error(result, op->n);
}

/* Too few children succeeded: tells so, and ends the request. */
static bool too_few(struct quorum_op *op)
{
    const struct quorum *q = op->node->state;

    if (successes(op) >= q->threshold) {
        return false;
    }
    if (op->upper->op != BLOCK_FLUSH) {
        report(op, op->node, true, 0);
    }
    op_end(op, common_error(op));
    return true;
}

/* Bytes [done, done + bytes) of the upper request's buffers. */
static void copy_chunk(const struct quorum_op *op, uint8_t *buf, bool to_buf)
{
    uint64_t skip = op->done, left = op->bytes;

    for (int i = 0; i < op->upper->n_iov && left; i++) {
        const struct iovec *iov = &op->upper->iov[i];
        uint64_t n;

        if (skip >= iov->iov_len) {
            skip -= iov->iov_len;
            continue;
        }
        n = MIN(left, iov->iov_len - skip);
        memcpy(to_buf ? buf : (uint8_t *)iov->iov_base + skip,
               to_buf ? (uint8_t *)iov->iov_base + skip : buf, n);
        buf += n;
        left -= n;
        skip = 0;
    }
}

/* ---- reading by vote */

static void rewrite_done(struct block_request *request, int result)
{
    struct quorum_op *op = ((struct quorum_child *)request)->op;

    if (--op->pending == 0) {
        op_advance(op);
    }
}

static void rewrite(struct quorum_op *op, const int *version, int winner)
{
    op->pending = 1; /* a completion that comes at once must not end it */
    for (unsigned i = 0; i < op->n; i++) {
        if (version[i] >= 0 && version[i] != winner) {
            op->pending++;
            memcpy(op->child[i].buf, op->child[winner].buf, op->bytes);
            child_submit(op, i, BLOCK_WRITE, op->child[i].buf, rewrite_done);
        }
    }
    if (--op->pending == 0) {
        op_advance(op);
    }
}

/* version[i]: the first child with the same bytes as child i; -1: it failed. Whether all agree. */
static bool group(const struct quorum_op *op, int *version)
{
    bool agree = true;
    int first = -1;

    for (unsigned i = 0; i < op->n; i++) {
        version[i] = -1;
        for (unsigned k = 0; k < i && op->child[i].result == 0 && version[i] < 0; k++) {
            if (version[k] == (int)k &&
                memcmp(op->child[i].buf, op->child[k].buf, op->bytes) == 0) {
                version[i] = (int)k;
            }
        }
        if (op->child[i].result == 0 && version[i] < 0) {
            version[i] = (int)i;
        }
        if (version[i] >= 0) {
            first = first < 0 ? version[i] : first;
            agree = agree && version[i] == first;
        }
    }
    return agree;
}

static void read_vote(struct quorum_op *op)
{
    const struct quorum *q = op->node->state;
    int version[MAX_CHILDREN], winner;
    bool agree;

    if (too_few(op)) {
        return;
    }
    agree = group(op, version);
    winner = quorum_vote(version, op->n, q->threshold);
    if (winner < 0) {
        if (q->blkverify) {
            log_error("blkverify: '%s': contents differ between sectors %" G_GINT64_FORMAT
                      " and %" G_GINT64_FORMAT,
                      op->node->name, (int64_t)((op->upper->offset + op->done) / 512),
                      (int64_t)((op->upper->offset + op->done + op->bytes) / 512));
        }
        report(op, op->node, true, 0);
        op_end(op, -EIO);
        return;
    }
    copy_chunk(op, op->child[winner].buf, false);
    for (unsigned i = 0; i < op->n && !agree; i++) {
        if (version[i] >= 0 && version[i] != winner) {
            report(op, op->child[i].node, false, 0);
        }
    }
    if (!agree && q->rewrite && !op->node->read_only) {
        rewrite(op, version, winner);
    } else {
        op_advance(op);
    }
}

static void read_done(struct block_request *request, int result)
{
    struct quorum_child *c = (struct quorum_child *)request;
    struct quorum_op *op = c->op;

    c->result = result;
    if (result < 0) {
        report(op, c->node, false, -result);
    }
    if (--op->pending == 0) {
        read_vote(op);
    }
}

/* ---- reading from the first that succeeds */

static void fifo_done(struct block_request *request, int result)
{
    struct quorum_child *c = (struct quorum_child *)request;
    struct quorum_op *op = c->op;

    if (result == 0) {
        copy_chunk(op, c->buf, false);
        op_advance(op);
        return;
    }
    report(op, c->node, false, -result);
    if (++op->turn < op->n) {
        child_submit(op, op->turn, BLOCK_READ, op->child[op->turn].buf, fifo_done);
    } else {
        op_end(op, result);
    }
}

/* ---- writing and flushing */

static void all_done(struct block_request *request, int result)
{
    struct quorum_child *c = (struct quorum_child *)request;
    struct quorum_op *op = c->op;

    c->result = result;
    if (result < 0) {
        report(op, c->node, false, -result);
    }
    if (--op->pending == 0 && !too_few(op)) {
        op_advance(op);
    }
}

static void submit_all(struct quorum_op *op, void (*done)(struct block_request *, int))
{
    enum block_op kind = op->upper->op;

    op->pending = op->n;
    for (unsigned i = 0, n = op->n; i < n; i++) { /* the last one's end may end op */
        child_submit(op, i, kind, kind == BLOCK_READ ? op->child[i].buf : op->data, done);
    }
}

static void op_next(struct quorum_op *op)
{
    const struct quorum *q = op->node->state;
    bool data = op->upper->op == BLOCK_READ || op->upper->op == BLOCK_WRITE;

    op->bytes = op->upper->bytes - op->done;
    if (data) {
        op->bytes = MIN(op->bytes, CHUNK_BYTES);
    }
    switch (op->upper->op) {
    case BLOCK_READ:
        if (q->fifo) {
            op->turn = 0;
            child_submit(op, 0, BLOCK_READ, op->child[0].buf, fifo_done);
        } else {
            submit_all(op, read_done);
        }
        break;
    case BLOCK_WRITE:
        copy_chunk(op, op->data, true);
        submit_all(op, all_done);
        break;
    default:
        submit_all(op, all_done);
        break;
    }
}

static bool op_alloc(struct quorum_op *op)
{
    size_t bytes = MIN(op->upper->bytes, CHUNK_BYTES);

    if (op->upper->op == BLOCK_WRITE) {
        return posix_memalign((void **)&op->data, ALIGN, bytes) == 0;
    }
    for (unsigned i = 0; i < op->n && op->upper->op == BLOCK_READ; i++) {
        if (posix_memalign((void **)&op->child[i].buf, ALIGN, bytes)) {
            op->child[i].buf = NULL;
            return false;
        }
    }
    return true;
}

static void quorum_submit(struct block_node *node, struct block_request *upper)
{
    unsigned n = node->children->len;
    struct quorum_op *op;

    if (upper->op == BLOCK_DISCARD) {
        block_request_done(upper, 0);
        return;
    }
    op = g_malloc0(sizeof(*op) + n * sizeof(op->child[0]));
    op->node = node;
    op->upper = upper;
    op->n = n;
    for (unsigned i = 0; i < n; i++) {
        op->child[i].op = op;
        op->child[i].node = ((struct block_child *)node->children->pdata[i])->node;
    }
    if (!op_alloc(op)) {
        op_end(op, -ENOMEM);
        return;
    }
    op_next(op);
}

/* ---- the node */

static bool lengths_agree(const struct block_node *node, const struct block_node *one,
                          GError **error)
{
    for (guint i = 0; i < node->children->len; i++) {
        const struct block_node *other = ((struct block_child *)node->children->pdata[i])->node;

        if (block_node_bytes(other) != block_node_bytes(one)) {
            g_set_error(
                error, BLOCK_ERROR, 0,
                "children of a quorum must have the same length: '%s' has %" G_GUINT64_FORMAT
                " bytes, '%s' %" G_GUINT64_FORMAT,
                other->name, block_node_bytes(other), one->name, block_node_bytes(one));
            return false;
        }
    }
    return true;
}

static void quorum_refresh(struct block_node *node)
{
    uint64_t bytes = UINT64_MAX;

    for (guint i = 0; i < node->children->len; i++) {
        bytes =
            MIN(bytes, block_node_bytes(((struct block_child *)node->children->pdata[i])->node));
    }
    atomic_store(&node->bytes, bytes == UINT64_MAX ? 0 : bytes);
}

static bool check_options(const struct blockdev_options_quorum *o, GError **error)
{
    size_t n = o->children->n;
    bool verify = o->has_blkverify && o->blkverify;

    if (n < 1 || n > MAX_CHILDREN) {
        g_set_error(error, BLOCK_ERROR, 0, "Number of provided children must be 1 or more%s",
                    n ? ", and 64 at most" : "");
    } else if (o->vote_threshold < 1) {
        g_set_error(error, BLOCK_ERROR, 0, "Parameter 'vote-threshold' expects a value >= 1");
    } else if ((uint64_t)o->vote_threshold > n) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "threshold %" G_GINT64_FORMAT " may not exceed children count %zu",
                    o->vote_threshold, n);
    } else if (verify && (n != 2 || o->vote_threshold != 2)) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "blkverify=on can only be set if there are exactly two files and "
                    "vote-threshold is 2");
    } else if (verify && o->has_rewrite_corrupted && o->rewrite_corrupted) {
        g_set_error(error, BLOCK_ERROR, 0, "rewrite-corrupted=on cannot be used with blkverify=on");
    } else {
        return true;
    }
    return false;
}

static struct block_child *open_one(struct block_node *node, const struct blockdev_ref *ref,
                                    GError **error)
{
    struct quorum *q = node->state;
    g_autofree char *role = g_strdup_printf("children.%u", q->next_index);
    struct block_child *child = block_node_open_child(node, role, ref, error);

    if (child) {
        q->next_index++;
    }
    return child;
}

static bool quorum_open(struct block_node *node, const struct blockdev_options *options,
                        GError **error)
{
    const struct blockdev_options_quorum *o = &options->u.quorum;
    struct quorum *q = node->state;

    if (!check_options(o, error)) {
        return false;
    }
    q->threshold = (unsigned)o->vote_threshold;
    q->blkverify = o->has_blkverify && o->blkverify;
    q->rewrite = o->has_rewrite_corrupted && o->rewrite_corrupted;
    q->fifo = o->has_read_pattern && o->read_pattern == QUORUM_READ_PATTERN_FIFO;
    node->filename = g_strdup("quorum");
    for (size_t i = 0; i < o->children->n; i++) {
        struct block_child *child = open_one(node, o->children->v[i], error);

        if (!child || !lengths_agree(node, child->node, error)) {
            return false;
        }
    }
    quorum_refresh(node);
    return true;
}

/* Children that somebody else writes would differ. */
static void quorum_child_perm(const struct block_node *node, const struct block_child *child,
                              unsigned perm, unsigned shared, unsigned *child_perm,
                              unsigned *child_shared)
{
    const struct quorum *q = node->state;

    *child_perm = perm | (q->rewrite ? BLOCK_PERM_WRITE : 0);
    *child_shared = shared & (BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED);
}

static bool quorum_add_child(struct block_node *node, struct block_node *child, GError **error)
{
    const struct quorum *q = node->state;
    struct blockdev_ref ref = {.type = Q_TYPE_QSTRING, .u.reference = child->name};
    struct block_child *edge;

    if (q->blkverify) {
        g_set_error(error, BLOCK_ERROR, 0, "Cannot add a child to a quorum in blkverify mode");
        return false;
    }
    if (node->children->len == MAX_CHILDREN) {
        g_set_error(error, BLOCK_ERROR, 0, "Too many children");
        return false;
    }
    if (!lengths_agree(node, child, error)) {
        return false;
    }
    edge = open_one(node, &ref, error);
    if (edge && !block_node_update_perm(node, error)) {
        block_child_close(edge);
        return false;
    }
    return edge != NULL;
}

static bool quorum_delete_child(struct block_node *node, struct block_child *child, GError **error)
{
    const struct quorum *q = node->state;

    if (node->children->len <= q->threshold) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "The number of children cannot be lower than the vote threshold %u",
                    q->threshold);
        return false;
    }
    block_child_close(child);
    return true;
}

const struct block_driver block_quorum = {
    .id = BLOCKDEV_DRIVER_QUORUM,
    .size = sizeof(struct quorum),
    .open = quorum_open,
    .submit = quorum_submit,
    .child_perm = quorum_child_perm,
    .refresh = quorum_refresh,
    .add_child = quorum_add_child,
    .delete_child = quorum_delete_child,
};
