/*
 * Back ends: between a device and a node. Here is their life, who has them, and what is told of
 * them; backend-request.c has the requests that pass.
 */
#include "block/backend-priv.h"

#include <string.h>

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

void block_backend_unref(struct block_backend *b)
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
        block_backend_unref(b);
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

struct throttle_member *block_backend_throttle(struct block_backend *b)
{
    return &b->throttle;
}

struct block_graph *block_backend_graph(const struct block_backend *b)
{
    return b->graph;
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
    if (b->attached && block_backend_tracks_status(b)) {
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
