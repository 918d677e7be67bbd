/*
 * External snapshots and transactions.
 *
 * Each action has two steps: begin, which may fail, and undo, which can't. What was begun is undone
 * in the opposite order when a later action fails. Everything happens in one drained section, so
 * that all disks stop at the same moment of guest time.
 */
#include "block/snapshot.h"

#include "block/block-priv.h"
#include "block/create.h"
#include <errno.h>

struct snapshot {
    struct block_node *node, *overlay;
    GPtrArray *moved; /* struct block_child: those that used the node */
    bool linked;      /* the overlay stands on the node */
    bool opened;      /* the overlay was opened for this */
};

/* ---- edges */

static void snapshot_undo(struct snapshot *s)
{
    bool owned = s->node->owned;

    s->node->owned = true; /* for a moment nobody uses it */
    if (s->linked) {
        block_node_remove_backing(s->overlay);
    }
    for (guint i = s->moved ? s->moved->len : 0; i-- > 0;) {
        block_child_move(s->moved->pdata[i], s->node, NULL);
    }
    s->node->owned = owned;
    if (s->opened) {
        block_node_unref(s->overlay);
    }
}

static void snapshot_free(struct snapshot *s)
{
    if (s->moved) {
        g_ptr_array_unref(s->moved);
    }
    g_free(s);
}

static bool move_users(struct snapshot *s, GError **error)
{
    g_autoptr(GPtrArray) users = g_ptr_array_new();

    for (guint i = 0; i < s->node->parents->len; i++) {
        g_ptr_array_add(users, s->node->parents->pdata[i]);
    }
    s->moved = g_ptr_array_new();
    for (guint i = 0; i < users->len; i++) {
        if (!block_child_move(users->pdata[i], s->overlay, error)) {
            return false;
        }
        g_ptr_array_add(s->moved, users->pdata[i]);
    }
    return true;
}

/* Images name what they stand on: nothing can come in between. */
static bool is_top(const struct block_node *node, GError **error)
{
    for (guint i = 0; i < node->parents->len; i++) {
        const struct block_child *edge = node->parents->pdata[i];

        if (edge->parent && strcmp(edge->role, "backing") == 0) {
            g_set_error(error, BLOCK_ERROR, 0,
                        "Node '%s' is busy: node is used as backing hd of '%s'", node->name,
                        edge->parent->name);
            return false;
        }
    }
    return true;
}

/* s->node and s->overlay are there; nothing stays changed on failure. */
static bool put_on_top(struct snapshot *s, GError **error)
{
    int ret;

    if (!is_top(s->node, error)) {
        return false;
    }
    ret = s->node->read_only ? 0 : block_node_sync(s->node, BLOCK_FLUSH, 0, 0, 0);
    if (ret < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "An IO error has occurred");
        return false;
    }
    for (guint i = 0; i < s->overlay->parents->len; i++) {
        const struct block_child *edge = s->overlay->parents->pdata[i];

        if (edge->backend) {
            g_set_error(error, BLOCK_ERROR, 0, "The overlay is already in use");
            return false;
        }
    }
    if (block_node_below(s->overlay, "backing")) {
        g_set_error(error, BLOCK_ERROR, 0, "The overlay already has a backing image");
        return false;
    }
    if (!s->overlay->driver->has_backing) {
        g_set_error(error, BLOCK_ERROR, 0, "The overlay does not support backing images");
        return false;
    }
    /* In this order, for a backing node's users must not write it. */
    s->linked = move_users(s, error) && block_node_add_backing(s->overlay, s->node, error);
    return s->linked;
}

static bool begin(struct snapshot *s, GError **error)
{
    if (put_on_top(s, error)) {
        return true;
    }
    snapshot_undo(s);
    return false;
}

/* ---- blockdev-snapshot */

static struct block_node *find_by_either(struct block_graph *graph, const char *name,
                                         GError **error)
{
    struct block_backend *backend = block_backend_by_name(graph, name);
    struct block_node *node = backend ? block_backend_node(backend) : block_node_find(graph, name);

    if (backend && !node) {
        g_set_error(error, BLOCK_ERROR, 0, "Device '%s' has no medium", name);
    } else if (!node) {
        g_set_error(error, BLOCK_ERROR, 0, "Cannot find device='%s' nor node-name='%s'", name,
                    name);
    }
    return node;
}

static struct snapshot *begin_snapshot(struct block_graph *graph,
                                       const struct blockdev_snapshot *arg, GError **error)
{
    struct snapshot *s = g_new0(struct snapshot, 1);

    s->node = find_by_either(graph, arg->node, error);
    s->overlay = s->node ? find_by_either(graph, arg->overlay, error) : NULL;
    if (s->overlay && block_node_is_below(s->node, s->overlay)) {
        g_set_error(error, BLOCK_ERROR, 0, "The node '%s' stands on '%s'", arg->node, arg->overlay);
        s->overlay = NULL;
    }
    if (s->overlay && begin(s, error)) {
        return s;
    }
    snapshot_free(s);
    return NULL;
}

/* ---- blockdev-snapshot-sync */

static bool create_overlay(struct block_graph *graph, const struct block_node *node,
                           const struct blockdev_snapshot_sync *arg, GError **error)
{
    struct blockdev_options file = {.driver = BLOCKDEV_DRIVER_FILE};
    struct blockdev_ref ref = {.type = Q_TYPE_QDICT, .u.definition = &file};
    struct blockdev_create_options o = {.driver = BLOCKDEV_DRIVER_QCOW2};

    if (!block_create_file(arg->snapshot_file, 0, PREALLOC_MODE_OFF, error)) {
        return false;
    }
    file.u.file.filename = arg->snapshot_file;
    o.u.qcow2.file = &ref;
    o.u.qcow2.size = block_node_bytes(node);
    o.u.qcow2.backing_file = node->filename;
    o.u.qcow2.has_backing_fmt = true;
    o.u.qcow2.backing_fmt = node->driver->id;
    return block_create(graph, &o, error);
}

static struct block_node *open_overlay(struct block_graph *graph, const struct block_node *node,
                                       const struct blockdev_snapshot_sync *arg, GError **error)
{
    struct blockdev_options file = {.driver = BLOCKDEV_DRIVER_FILE};
    struct blockdev_ref ref = {.type = Q_TYPE_QDICT, .u.definition = &file};
    struct blockdev_ref_or_null none = {.type = Q_TYPE_QNULL};
    struct blockdev_cache_options cache = {.has_direct = true,
                                           .direct = node->direct,
                                           .has_no_flush = true,
                                           .no_flush = node->no_flush};
    struct blockdev_options o = {.driver = BLOCKDEV_DRIVER_QCOW2,
                                 .node_name = arg->snapshot_node_name,
                                 .cache = &cache,
                                 .has_discard = true,
                                 .discard = node->unmap ? BLOCKDEV_DISCARD_OPTIONS_UNMAP
                                                        : BLOCKDEV_DISCARD_OPTIONS_IGNORE};

    file.u.file.filename = arg->snapshot_file;
    o.u.qcow2.file = &ref;
    o.u.qcow2.backing = &none;
    return block_node_open(graph, &o, NULL, error);
}

static bool check_sync(struct block_graph *graph, const struct blockdev_snapshot_sync *arg,
                       GError **error)
{
    if (arg->format && strcmp(arg->format, "qcow2") != 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Invalid block format '%s': an overlay is qcow2",
                    arg->format);
    } else if (arg->node_name && !arg->snapshot_node_name) {
        g_set_error(error, BLOCK_ERROR, 0, "New overlay node-name missing");
    } else if (arg->snapshot_node_name && block_node_find(graph, arg->snapshot_node_name)) {
        g_set_error(error, BLOCK_ERROR, 0, "New overlay node-name already in use");
    } else {
        return true;
    }
    return false;
}

static struct snapshot *begin_sync(struct block_graph *graph,
                                   const struct blockdev_snapshot_sync *arg, GError **error)
{
    bool existing = arg->has_mode && arg->mode == NEW_IMAGE_MODE_EXISTING;
    struct block_node *node = block_find_one(graph, arg->device, arg->node_name, error);
    struct snapshot *s;

    if (!node || !is_top(node, error) || !check_sync(graph, arg, error) ||
        (!existing && !create_overlay(graph, node, arg, error))) {
        return NULL;
    }
    s = g_new0(struct snapshot, 1);
    s->node = node;
    s->overlay = open_overlay(graph, node, arg, error);
    s->opened = true;
    if (s->overlay && begin(s, error)) {
        return s;
    }
    snapshot_free(s);
    return NULL;
}

/* ---- transactions */

static bool begin_action(struct block_graph *graph, const struct transaction_action *action,
                         struct snapshot **s, GError **error)
{
    *s = NULL;
    switch (action->type) {
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT:
        *s = begin_snapshot(graph, action->u.blockdev_snapshot.data, error);
        break;
    case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC:
        *s = begin_sync(graph, action->u.blockdev_snapshot_sync.data, error);
        break;
    case TRANSACTION_ACTION_KIND_ABORT:
        g_set_error(error, BLOCK_ERROR, 0, "Transaction aborted using Abort action");
        break;
    case TRANSACTION_ACTION_KIND__MAX:
        break;
    }
    return *s != NULL;
}

static void commit(struct snapshot *s)
{
    if (s->opened) { /* it stays if somebody uses it now */
        block_node_unref(s->overlay);
    }
}

bool block_transaction(struct block_graph *graph, const struct transaction_action_list *actions,
                       const struct transaction_properties *properties, GError **error)
{
    g_autoptr(GPtrArray) begun = g_ptr_array_new_with_free_func((GDestroyNotify)snapshot_free);
    bool grouped = properties && properties->has_completion_mode &&
                   properties->completion_mode == ACTION_COMPLETION_MODE_GROUPED;
    bool ok = true;

    block_drain_begin(graph);
    for (size_t i = 0; i < actions->n && ok; i++) {
        struct snapshot *s;

        if (grouped) {
            g_set_error(error, BLOCK_ERROR, 0,
                        "Action '%s' does not support Transaction property completion-mode = %s",
                        transaction_action_kind_str(actions->v[i]->type), "grouped");
            ok = false;
            break;
        }
        ok = begin_action(graph, actions->v[i], &s, error);
        if (ok) {
            g_ptr_array_add(begun, s);
        }
    }
    for (guint i = begun->len; i-- > 0;) {
        if (ok) {
            commit(begun->pdata[i]);
        } else {
            snapshot_undo(begun->pdata[i]);
        }
    }
    block_drain_end(graph);
    return ok;
}

static bool single(struct block_graph *graph, struct transaction_action *action, GError **error)
{
    struct transaction_action_list list = {.n = 1, .v = &action};

    return block_transaction(graph, &list, NULL, error);
}

bool block_snapshot(struct block_graph *graph, const struct blockdev_snapshot *arg, GError **error)
{
    struct transaction_action action = {.type = TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT,
                                        .u.blockdev_snapshot.data =
                                            (struct blockdev_snapshot *)arg};

    return single(graph, &action, error);
}

bool block_snapshot_sync(struct block_graph *graph, const struct blockdev_snapshot_sync *arg,
                         GError **error)
{
    struct transaction_action action = {.type = TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC,
                                        .u.blockdev_snapshot_sync.data =
                                            (struct blockdev_snapshot_sync *)arg};

    return single(graph, &action, error);
}
