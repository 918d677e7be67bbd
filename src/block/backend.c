/*
 * Back ends: between a device and a node.
 *
 * A request passes here on its way in (checks, drained sections) and on its way out: statistics,
 * the error policy, and delivery on the device's loop. With the action stop the request stays here,
 * and its event and the wish to stop go to the main thread, in that order, so that BLOCK_IO_ERROR
 * always comes before STOP.
 */
#include "block/block-priv.h"
#include "block/throttle-priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "qapi-events.h"
#include <errno.h>
#include <string.h>

enum stat_kind { STAT_READ, STAT_WRITE, STAT_FLUSH, STAT_UNMAP, STAT_KINDS };

struct stats { /* the I/O thread writes, others read: under the graph's mutex */
    uint64_t bytes[STAT_KINDS], ops[STAT_KINDS], failed[STAT_KINDS], invalid[STAT_KINDS];
    uint64_t total_ns[STAT_KINDS];
    int64_t last_ns; /* 0: never */
};

struct block_backend {
    struct block_graph *graph;
    char *name; /* of -drive; "" when it is a device's own */
    char *qdev;
    bool has_drive;           /* a -drive owns it: it outlives its device */
    struct block_child *root; /* NULL: no medium; changed while drained */
    struct block_attach attach;
    bool attached;
    enum blockdev_on_error drive_rerror, drive_werror; /* of -drive */
    bool drive_writethrough, drive_read_only;
    enum blockdev_on_error rerror, werror; /* what holds: never auto */
    enum block_device_io_status io_status; /* main thread */
    _Atomic bool write_cache;
    _Atomic bool read_only;
    struct throttle_member throttle;
    gint refs; /* one for each report on its way */
    /* under graph->mutex */
    struct block_request *held, **held_tail;
    struct stats stats;
};

/* ---- life */

static void backend_go(struct throttle_member *member, struct block_request *r)
{
    block_node_submit(r->backend->root->node, r);
}

struct block_backend *block_backend_new(struct block_graph *graph, const char *name)
{
    struct block_backend *b = g_new0(struct block_backend, 1);

    b->graph = graph;
    b->name = g_strdup(name);
    b->has_drive = name[0] != '\0';
    b->refs = 1;
    b->held_tail = &b->held;
    b->throttle.go = backend_go;
    b->drive_rerror = b->drive_werror = BLOCKDEV_ON_ERROR_AUTO;
    atomic_init(&b->write_cache, true);
    g_ptr_array_add(graph->backends, b);
    return b;
}

static void backend_unref(struct block_backend *b)
{
    if (g_atomic_int_dec_and_test(&b->refs)) {
        g_free(b->name);
        g_free(b->qdev);
        g_free(b);
    }
}

void block_backend_remove(struct block_backend *b)
{
    if (b->root) {
        block_drain_begin(b->graph);
        block_child_close(g_steal_pointer(&b->root));
        block_drain_end(b->graph);
    }
}

void block_backend_free(struct block_backend *b)
{
    if (b) {
        block_backend_remove(b);
        throttle_member_leave(&b->throttle);
        g_ptr_array_remove(b->graph->backends, b);
        backend_unref(b);
    }
}

const char *block_backend_name(const struct block_backend *b)
{
    return b->name[0] ? b->name : b->root ? b->root->node->name : b->qdev ? b->qdev : "";
}

struct block_child *block_backend_root(const struct block_backend *b)
{
    return b->root;
}

struct block_node *block_backend_node(const struct block_backend *b)
{
    return b->root ? b->root->node : NULL;
}

bool block_backend_has_medium(const struct block_backend *b)
{
    return b->root != NULL;
}

uint64_t block_backend_bytes(const struct block_backend *b)
{
    return b->root ? block_node_bytes(b->root->node) : 0;
}

bool block_backend_read_only(const struct block_backend *b)
{
    return atomic_load_explicit(&b->read_only, memory_order_relaxed);
}

void block_backend_set_write_cache(struct block_backend *b, bool enabled)
{
    atomic_store_explicit(&b->write_cache, enabled, memory_order_relaxed);
}

bool block_backend_write_cache(const struct block_backend *b)
{
    return atomic_load_explicit(&b->write_cache, memory_order_relaxed);
}

void block_backend_set_policy(struct block_backend *b, enum blockdev_on_error rerror,
                              enum blockdev_on_error werror, bool writethrough, bool read_only)
{
    b->drive_rerror = rerror;
    b->drive_werror = werror;
    b->drive_writethrough = writethrough;
    b->drive_read_only = read_only;
    block_backend_set_write_cache(b, !writethrough);
}

/* ---- attaching */

void block_backend_wishes(const struct block_backend *b, unsigned *perm, unsigned *shared)
{
    *perm = 0;
    *shared = BLOCK_PERM_ALL;
    if (b->attached && !b->graph->inactive) {
        *perm = BLOCK_PERM_CONSISTENT_READ | (block_backend_read_only(b) ? 0 : BLOCK_PERM_WRITE);
        *shared = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED | BLOCK_PERM_RESIZE |
                  (b->attach.share_rw ? BLOCK_PERM_WRITE : 0);
    }
}

bool block_backend_insert(struct block_backend *b, struct block_node *node, GError **error)
{
    unsigned perm, shared;
    bool read_only = node->read_only || b->drive_read_only || b->attach.read_only;

    atomic_store(&b->read_only, read_only);
    block_backend_wishes(b, &perm, &shared);
    b->root = block_child_attach(b, node, perm, shared, error);
    return b->root != NULL;
}

bool block_backend_hold(struct block_backend *b, struct block_node *node, bool write,
                        GError **error)
{
    b->root = block_child_attach(
        b, node, BLOCK_PERM_CONSISTENT_READ | (write ? BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE : 0),
        BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED, error);
    return b->root != NULL;
}

static struct drive *drive_find(struct block_graph *graph, const char *name)
{
    for (guint i = 0; i < graph->drives->len; i++) {
        struct drive *d = graph->drives->pdata[i];

        if (strcmp(d->id, name) == 0) {
            return d;
        }
    }
    return NULL;
}

bool block_name_is_read_only(struct block_graph *graph, const char *name)
{
    const struct drive *drive = drive_find(graph, name);
    const struct block_node *node =
        drive ? block_backend_node(drive->backend) : block_node_find(graph, name);

    return (node && node->read_only) || (drive && drive->backend->drive_read_only);
}

static enum blockdev_on_error choose(enum blockdev_on_error device, enum blockdev_on_error drive,
                                     enum blockdev_on_error otherwise)
{
    return device != BLOCKDEV_ON_ERROR_AUTO  ? device
           : drive != BLOCKDEV_ON_ERROR_AUTO ? drive
                                             : otherwise;
}

static void backend_take(struct block_backend *b, const struct block_attach *attach)
{
    b->attach = *attach;
    b->attached = true;
    g_free(b->qdev);
    b->qdev = g_strdup(attach->qdev);
    b->rerror = choose(attach->rerror, b->drive_rerror, BLOCKDEV_ON_ERROR_REPORT);
    b->werror = choose(attach->werror, b->drive_werror, BLOCKDEV_ON_ERROR_ENOSPC);
    block_backend_set_write_cache(b, !attach->no_write_cache && !b->drive_writethrough);
}

/* The drive's node, held by an edge that allowed everything, gets one with the device's wishes. */
static bool drive_take(struct drive *drive, const struct block_attach *attach, GError **error)
{
    struct block_backend *b = drive->backend;
    struct block_child *old = b->root;

    if (drive->taken || b->attached) {
        g_set_error(error, BLOCK_ERROR, 0, "Drive '%s' is already in use by another block device",
                    drive->id);
        return false;
    }
    backend_take(b, attach);
    if (old && !block_backend_insert(b, old->node, error)) {
        b->root = old;
        b->attached = false;
        return false;
    }
    if (old) {
        block_child_close(old);
    }
    drive->taken = true;
    return true;
}

struct block_backend *block_backend_attach(struct block_graph *graph, const char *name,
                                           const struct block_attach *attach, GError **error)
{
    struct drive *drive = name ? drive_find(graph, name) : NULL;
    struct block_node *node = name && !drive ? block_node_find(graph, name) : NULL;
    struct block_backend *b;

    if (drive) {
        return drive_take(drive, attach, error) ? drive->backend : NULL;
    }
    if (name && !node) {
        g_set_error(error, BLOCK_ERROR, 0, "there is no drive and no block node '%s'", name);
        return NULL;
    }
    b = block_backend_new(graph, "");
    backend_take(b, attach);
    if (node && !block_backend_insert(b, node, error)) {
        block_backend_free(b);
        return NULL;
    }
    return b;
}

void block_backend_detach(struct block_backend *b)
{
    if (!b) {
        return;
    }
    block_backend_cancel(b);
    b->attached = false;
    b->attach = (struct block_attach){0};
    if (!b->has_drive) {
        block_backend_free(b);
        return;
    }
    for (guint i = 0; i < b->graph->drives->len; i++) {
        struct drive *d = b->graph->drives->pdata[i];

        d->taken = d->taken && d->backend != b;
    }
    if (b->root) { /* its wishes end with it; that can't fail */
        struct block_child *old = b->root;

        block_backend_insert(b, old->node, NULL);
        block_child_close(old);
    }
}

void block_backend_disown(struct block_backend *b)
{
    block_backend_remove(b);
    b->has_drive = false;
    g_free(b->name);
    b->name = g_strdup("");
    b->rerror = b->werror =
        BLOCKDEV_ON_ERROR_REPORT; /* a guest must not stop for a disk that is gone */
}

/* ---- errors */

struct error_report {
    struct block_backend *backend;
    enum io_operation_type operation;
    enum block_error_action action;
    int error; /* positive */
};

static bool tracks_status(const struct block_backend *b)
{
    return b->rerror == BLOCKDEV_ON_ERROR_STOP || b->werror == BLOCKDEV_ON_ERROR_STOP ||
           b->werror == BLOCKDEV_ON_ERROR_ENOSPC;
}

static void tell_error(void *arg)
{
    const struct error_report *report = arg;
    const struct block_backend *b = report->backend;

    qapi_event_send_block_io_error(b->graph->events, b->name, b->root ? b->root->node->name : NULL,
                                   report->operation, report->action, tracks_status(b),
                                   report->error == ENOSPC, strerror(report->error));
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
    backend_unref(report->backend);
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

struct throttle_member *block_backend_throttle(struct block_backend *b)
{
    return &b->throttle;
}

struct block_graph *block_backend_graph(const struct block_backend *b)
{
    return b->graph;
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

const char *block_backend_drive_id(const struct block_backend *b)
{
    return b->name[0] ? b->name : NULL;
}

struct block_backend *block_backend_by_name(struct block_graph *graph, const char *name)
{
    struct drive *drive = drive_find(graph, name);

    return drive ? drive->backend : NULL;
}

bool block_backend_is_removable(const struct block_backend *b)
{
    return !b->attached || b->attach.removable;
}

const char *block_backend_qdev(const struct block_backend *b)
{
    return b->attached ? b->qdev : NULL;
}

const struct block_dev_ops *block_backend_ops(const struct block_backend *b, void **opaque)
{
    if (opaque) {
        *opaque = b->attach.opaque;
    }
    return b->attached ? b->attach.ops : NULL;
}

struct event_sink *block_backend_events(const struct block_backend *b)
{
    return b->graph->events;
}

void block_backend_resized(struct block_backend *b)
{
    if (b->attached && b->attach.ops && b->attach.ops->resized) {
        b->attach.ops->resized(b->attach.opaque);
    }
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

/* ---- what query-block and query-blockstats tell */

bool block_backend_is_listed(const struct block_backend *b)
{
    return b->has_drive || b->attached;
}

struct block_info *block_backend_info(struct block_backend *b)
{
    struct block_info *info = g_new0(struct block_info, 1);
    const struct block_dev_ops *ops = b->attach.ops;

    info->device = g_strdup(b->name);
    info->qdev = g_strdup(b->attached ? b->qdev : NULL);
    info->type = g_strdup("unknown");
    info->removable = !b->attached || b->attach.removable;
    info->locked = ops && ops->medium_is_locked && ops->medium_is_locked(b->attach.opaque);
    if (ops && ops->tray_is_open) {
        info->has_tray_open = true;
        info->tray_open = ops->tray_is_open(b->attach.opaque);
    }
    if (b->attached && tracks_status(b)) {
        info->has_io_status = true;
        info->io_status = b->io_status;
    }
    if (b->root) {
        info->inserted = block_node_info(b->root->node, false);
        info->inserted->ro = block_backend_read_only(b);
        info->inserted->cache->writeback = block_backend_write_cache(b);
        if (b->throttle.group) {
            throttle_group_describe(b->throttle.group, info->inserted);
        }
    }
    return info;
}

struct block_stats *block_backend_stats(struct block_backend *b)
{
    struct block_stats *out =
        b->root ? block_node_stats(b->root->node) : g_new0(struct block_stats, 1);
    struct block_device_stats *s;
    struct stats now;

    g_mutex_lock(&b->graph->mutex);
    now = b->stats;
    g_mutex_unlock(&b->graph->mutex);
    if (!out->stats) {
        out->stats = g_new0(struct block_device_stats, 1);
    }
    s = out->stats;
    out->device = g_strdup(b->name);
    out->qdev = g_strdup(b->attached ? b->qdev : NULL);
    s->rd_bytes = (int64_t)now.bytes[STAT_READ];
    s->wr_bytes = (int64_t)now.bytes[STAT_WRITE];
    s->unmap_bytes = (int64_t)now.bytes[STAT_UNMAP];
    s->rd_operations = (int64_t)now.ops[STAT_READ];
    s->wr_operations = (int64_t)now.ops[STAT_WRITE];
    s->flush_operations = (int64_t)now.ops[STAT_FLUSH];
    s->unmap_operations = (int64_t)now.ops[STAT_UNMAP];
    s->rd_total_time_ns = (int64_t)now.total_ns[STAT_READ];
    s->wr_total_time_ns = (int64_t)now.total_ns[STAT_WRITE];
    s->flush_total_time_ns = (int64_t)now.total_ns[STAT_FLUSH];
    s->unmap_total_time_ns = (int64_t)now.total_ns[STAT_UNMAP];
    s->failed_rd_operations = (int64_t)now.failed[STAT_READ];
    s->failed_wr_operations = (int64_t)now.failed[STAT_WRITE];
    s->failed_flush_operations = (int64_t)now.failed[STAT_FLUSH];
    s->failed_unmap_operations = (int64_t)now.failed[STAT_UNMAP];
    s->invalid_rd_operations = (int64_t)now.invalid[STAT_READ];
    s->invalid_wr_operations = (int64_t)now.invalid[STAT_WRITE];
    s->invalid_unmap_operations = (int64_t)now.invalid[STAT_UNMAP];
    s->account_invalid = s->account_failed = true;
    if (now.last_ns) {
        s->has_idle_time_ns = true;
        s->idle_time_ns = g_get_monotonic_time() * 1000 - now.last_ns;
    }
    return out;
}
