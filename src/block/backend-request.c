/*
 * Requests through a back end.
 *
 * A request passes here on its way in (checks, drained sections) and on its way out: statistics,
 * the error policy, and delivery on the device's loop. With the action stop the request stays here,
 * and its event and the wish to stop go to the main thread, in that order, so that BLOCK_IO_ERROR
 * always comes before STOP.
 */
#include "block/backend-priv.h"

#include "base/log.h"
#include "qapi-events.h"
#include <errno.h>
#include <string.h>

/* ---- errors */

struct error_report {
    struct block_backend *backend;
    enum io_operation_type operation;
    enum block_error_action action;
    int error; /* positive */
};

bool block_backend_tracks_status(const struct block_backend *b)
{
    return b->rerror == BLOCKDEV_ON_ERROR_STOP || b->werror == BLOCKDEV_ON_ERROR_STOP ||
           b->werror == BLOCKDEV_ON_ERROR_ENOSPC;
}

static void tell_error(void *arg)
{
    const struct error_report *report = arg;
    const struct block_backend *b = report->backend;

    qapi_event_send_block_io_error(b->graph->events, b->name, b->root ? b->root->node->name : NULL,
                                   report->operation, report->action,
                                   block_backend_tracks_status(b), report->error == ENOSPC,
                                   strerror(report->error));
}

static struct error_report *next_report(struct block_graph *graph)
{
    struct error_report *report;

    g_mutex_lock(&graph->mutex);
    report = g_queue_pop_head(&graph->reports);
    g_mutex_unlock(&graph->mutex);
    return report;
}

static void report_free(struct error_report *report)
{
    block_backend_unref(report->backend);
    g_free(report);
}

void block_reports_drop(struct block_graph *graph)
{
    struct error_report *report;

    while ((report = next_report(graph))) {
        report_free(report);
    }
}

/* Once for each report. */
static void report_on_main(void *arg)
{
    struct block_graph *graph = arg;
    struct error_report *report = next_report(graph);
    struct block_backend *b = report->backend;
    bool stop = report->action == BLOCK_ERROR_ACTION_STOP;
    bool nospace = report->error == ENOSPC;
    const char *whose = b->qdev ? b->qdev : b->name[0] ? b->name : "block";

    if (stop && b->io_status == BLOCK_DEVICE_IO_STATUS_OK) {
        b->io_status = nospace ? BLOCK_DEVICE_IO_STATUS_NOSPACE : BLOCK_DEVICE_IO_STATUS_FAILED;
    }
    if (graph->failed) {
        graph->failed(graph->failed_opaque, whose, stop, tell_error, report);
    } else {
        tell_error(report);
    }
    report_free(report);
}

static void report_error(struct block_backend *b, enum io_operation_type operation,
                         enum block_error_action action, int error)
{
    struct error_report *report = g_new0(struct error_report, 1);

    g_atomic_int_inc(&b->refs);
    report->backend = b;
    report->operation = operation;
    report->action = action;
    report->error = error;
    g_mutex_lock(&b->graph->mutex);
    g_queue_push_tail(&b->graph->reports, report);
    g_mutex_unlock(&b->graph->mutex);
    loop_post(b->graph->main, report_on_main, b->graph);
}

static enum block_error_action error_action(const struct block_backend *b, bool read, int error)
{
    switch (read ? b->rerror : b->werror) {
    case BLOCKDEV_ON_ERROR_IGNORE:
        return BLOCK_ERROR_ACTION_IGNORE;
    case BLOCKDEV_ON_ERROR_STOP:
        return BLOCK_ERROR_ACTION_STOP;
    case BLOCKDEV_ON_ERROR_ENOSPC:
        return error == ENOSPC ? BLOCK_ERROR_ACTION_STOP : BLOCK_ERROR_ACTION_REPORT;
    default:
        return BLOCK_ERROR_ACTION_REPORT;
    }
}

/* ---- a request's way */

static enum stat_kind kind_of(enum block_op op)
{
    return op == BLOCK_READ      ? STAT_READ
           : op == BLOCK_FLUSH   ? STAT_FLUSH
           : op == BLOCK_DISCARD ? STAT_UNMAP
                                 : STAT_WRITE;
}

void block_backend_account_invalid(struct block_backend *b, enum block_op op)
{
    g_mutex_lock(&b->graph->mutex);
    b->stats.invalid[kind_of(op)]++;
    g_mutex_unlock(&b->graph->mutex);
}

static void deliver_on_main(void *arg)
{
    struct block_request *r = arg;

    r->done(r, r->result);
}

static void deliver(struct block_backend *b, struct block_request *r, int result)
{
    r->done = r->user_done;
    if (b->attach.loop && b->attach.loop != b->graph->io) {
        r->result = result;
        loop_post(b->attach.loop, deliver_on_main, r);
    } else {
        r->done(r, result);
    }
}

/* Counts the request as done; with hold it stays, for another try. */
static void leave(struct block_backend *b, struct block_request *r, int result, bool hold)
{
    struct block_graph *graph = b->graph;
    enum stat_kind kind = kind_of(r->op);
    int64_t now = g_get_monotonic_time() * 1000;

    g_mutex_lock(&graph->mutex);
    if (!hold) {
        b->stats.total_ns[kind] += (uint64_t)(now - r->begun_ns);
        if (result < 0) {
            b->stats.failed[kind]++;
        } else {
            b->stats.bytes[kind] += r->bytes;
            b->stats.ops[kind]++;
        }
        b->stats.last_ns = now;
    } else {
        r->next = NULL;
        r->done = r->user_done;
        *b->held_tail = r;
        b->held_tail = &r->next;
    }
    g_mutex_unlock(&graph->mutex);
}

static void not_in_flight(struct block_graph *graph)
{
    g_mutex_lock(&graph->mutex);
    if (--graph->in_flight == 0) {
        g_cond_broadcast(&graph->idle);
    }
    g_mutex_unlock(&graph->mutex);
}

static void finish(struct block_backend *b, struct block_request *r, int result)
{
    struct block_graph *graph = b->graph;
    bool hold = false;

    if (result < 0) {
        bool read = r->op == BLOCK_READ;
        enum block_error_action action = error_action(b, read, -result);

        hold = action == BLOCK_ERROR_ACTION_STOP;
        leave(b, r, result, hold); /* first: whoever hears of the error may resume at once */
        report_error(b, read ? IO_OPERATION_TYPE_READ : IO_OPERATION_TYPE_WRITE, action, -result);
        result = action == BLOCK_ERROR_ACTION_IGNORE ? 0 : result;
    } else {
        leave(b, r, result, false);
    }
    if (!hold) {
        deliver(b, r, result);
    }
    not_in_flight(graph);
}

static void flushed(struct block_request *r, int result)
{
    r->op = r->user_op;
    finish(r->backend, r, result);
}

static void node_done(struct block_request *r, int result)
{
    struct block_backend *b = r->backend;
    bool wrote = r->user_op == BLOCK_WRITE || r->user_op == BLOCK_WRITE_ZEROES;

    r->op = r->user_op; /* a node may have turned a write into a write-zeroes */
    if (result == 0 && wrote && (r->flags & BLOCK_FUA || !block_backend_write_cache(b))) {
        r->op = BLOCK_FLUSH;
        r->done = flushed;
        block_node_submit(b->root->node, r);
        return;
    }
    finish(b, r, result);
}

/* What does not get as far as a node. */
static int check(const struct block_backend *b, const struct block_request *r)
{
    uint64_t bytes = block_backend_bytes(b);

    if (!b->root) {
        return -ENOMEDIUM;
    }
    if (r->offset > bytes || r->bytes > bytes - r->offset ||
        ((r->op == BLOCK_READ || r->op == BLOCK_WRITE) && r->bytes > BLOCK_MAX_BYTES)) {
        return -EINVAL;
    }
    if (r->op != BLOCK_READ && r->op != BLOCK_FLUSH && block_backend_read_only(b)) {
        return -EROFS;
    }
    if (r->op != BLOCK_READ && b->graph->inactive) {
        return -EPERM; /* the image is somebody else's */
    }
    return 0;
}

void block_backend_start(struct block_request *r)
{
    struct block_backend *b = r->backend;
    int ret = check(b, r);

    r->begun_ns = g_get_monotonic_time() * 1000;
    r->user_op = r->op;
    if (ret < 0) {
        if (ret != -ENOMEDIUM) {
            block_backend_account_invalid(b, r->op);
        }
        deliver(b, r, ret);
        not_in_flight(b->graph);
        return;
    }
    r->done = node_done;
    if ((r->op == BLOCK_FLUSH && block_backend_read_only(b)) ||
        (r->bytes == 0 && r->op != BLOCK_FLUSH)) {
        node_done(r, 0);
        return;
    }
    if (b->throttle.group && r->op != BLOCK_FLUSH) {
        throttle_member_submit(&b->throttle, r);
    } else {
        block_node_submit(b->root->node, r);
    }
}

static void start_posted(void *arg)
{
    block_backend_start(arg);
}

void block_backend_submit(struct block_backend *b, struct block_request *r)
{
    struct block_graph *graph = b->graph;
    bool wait;

    r->backend = b;
    r->user_done = r->done;
    r->next = NULL;
    g_mutex_lock(&graph->mutex);
    wait = graph->drained > 0;
    if (wait) {
        *graph->waiting_tail = r;
        graph->waiting_tail = &r->next;
    } else {
        graph->in_flight++;
    }
    g_mutex_unlock(&graph->mutex);
    if (wait) {
        return;
    }
    if (g_thread_self() == graph->thread) {
        block_backend_start(r);
    } else {
        loop_post(block_graph_loop(graph), start_posted, r);
    }
}

static struct block_request *take_held(struct block_backend *b)
{
    struct block_request *list;

    g_mutex_lock(&b->graph->mutex);
    list = b->held;
    b->held = NULL;
    b->held_tail = &b->held;
    g_mutex_unlock(&b->graph->mutex);
    return list;
}

void block_backend_foreach_held(struct block_backend *b, void (*fn)(struct block_request *, void *),
                                void *opaque)
{
    g_mutex_lock(&b->graph->mutex);
    for (struct block_request *r = b->held; r; r = r->next) {
        fn(r, opaque);
    }
    g_mutex_unlock(&b->graph->mutex);
}

static void backend_resume(struct block_backend *b)
{
    struct block_request *next;

    b->io_status = BLOCK_DEVICE_IO_STATUS_OK;
    for (struct block_request *r = take_held(b); r; r = next) {
        next = r->next;
        block_backend_submit(b, r);
    }
}

void block_resume_all(struct block_graph *graph)
{
    for (guint i = 0; i < graph->backends->len; i++) {
        backend_resume(graph->backends->pdata[i]);
    }
}

static void nothing(void *arg)
{
}

void block_backends_settle(struct block_graph *graph)
{
    for (guint i = 0; i < graph->backends->len; i++) {
        const struct block_backend *b = graph->backends->pdata[i];
        struct loop *loop = b->attach.loop;

        if (loop && loop != graph->main && loop != graph->io) {
            loop_call(loop, nothing, NULL);
        }
    }
}

struct cancel {
    struct block_request *list;
};

static void cancel_on_io(void *arg)
{
    struct cancel *c = arg;
    struct block_request *next;

    for (struct block_request *r = c->list; r; r = next) {
        next = r->next;
        r->user_done = r->done;
        deliver(r->backend, r, -ECANCELED);
    }
}

/* Requests of this back end that wait for the end of somebody's drained section. */
static void take_waiting(struct block_backend *b, struct block_request **list)
{
    struct block_graph *graph = b->graph;

    g_mutex_lock(&graph->mutex);
    for (struct block_request **at = &graph->waiting; *at;) {
        struct block_request *r = *at;

        if (r->backend == b) {
            *at = r->next;
            r->next = *list;
            *list = r;
        } else {
            at = &r->next;
        }
    }
    graph->waiting_tail = &graph->waiting;
    while (*graph->waiting_tail) {
        graph->waiting_tail = &(*graph->waiting_tail)->next;
    }
    g_mutex_unlock(&graph->mutex);
}

void block_backend_cancel(struct block_backend *b)
{
    struct cancel c;

    if (!b->graph->io) {
        return;
    }
    block_drain_begin(b->graph);
    c.list = take_held(b);
    take_waiting(b, &c.list);
    loop_call(b->graph->io, cancel_on_io, &c);
    block_backends_settle(b->graph);
    block_drain_end(b->graph);
}

/* ---- blocking */

int block_backend_read(struct block_backend *b, uint64_t offset, void *buf, uint64_t bytes)
{
    struct block_request r = {.op = BLOCK_READ, .offset = offset, .bytes = bytes};
    int ret = check(b, &r);

    return ret < 0 ? ret : block_node_pread(b->root->node, offset, buf, bytes);
}

int block_backend_write(struct block_backend *b, uint64_t offset, const void *buf, uint64_t bytes)
{
    struct block_request r = {.op = BLOCK_WRITE, .offset = offset, .bytes = bytes};
    int ret = check(b, &r);

    return ret < 0 ? ret : block_node_pwrite(b->root->node, offset, buf, bytes);
}

int block_flush_all(struct block_graph *graph)
{
    int first = 0;

    for (guint i = 0; i < graph->backends->len && !graph->inactive; i++) {
        struct block_backend *b = graph->backends->pdata[i];

        if (b->root && b->attached && !block_backend_read_only(b)) {
            int ret = block_node_sync(b->root->node, BLOCK_FLUSH, 0, 0, 0);

            if (ret < 0) {
                log_error("flushing '%s': %s", block_backend_name(b), g_strerror(-ret));
                first = first ? first : ret;
            }
        }
    }
    return first;
}
