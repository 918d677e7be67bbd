/*
 * The graph: nodes and the edges between them. Who may do what with a node is in perm.c.
 *
 * A node lives while it has an owner: the monitor, or an edge from above.
 */
#include "block/block-priv.h"

#include "base/log.h"
#include "base/threads.h"
#include "qapi/error.h"
#include "qapi/keyval.h"
#include <string.h>

#define NAME_MAX_CHARS 31

static const struct block_driver *const drivers[] = {
    &block_blkdebug, &block_file,   &block_host_device, &block_nbd,      &block_null,
    &block_qcow2,    &block_quorum, &block_raw,         &block_throttle,
};

GQuark block_error_quark(void)
{
    return g_quark_from_static_string("godwit-block");
}

/* ---- edges */

static void child_free(struct block_child *child)
{
    struct block_node *node = child->node;

    g_ptr_array_remove(node->parents, child);
    block_node_update_perm(node, NULL);
    g_free(child->role);
    g_free(child);
    block_node_unref(node);
}

void block_child_close(struct block_child *child)
{
    if (child->parent) {
        g_ptr_array_remove(child->parent->children, child);
    }
    child_free(child);
}

static struct block_child *child_new(struct block_node *node, const char *role)
{
    struct block_child *child = g_new0(struct block_child, 1);

    child->role = g_strdup(role);
    child->node = node;
    child->shared = BLOCK_PERM_ALL;
    g_ptr_array_add(node->parents, child);
    return child;
}

struct block_child *block_child_attach(struct block_backend *backend, struct block_node *node,
                                       unsigned perm, unsigned shared, GError **error)
{
    struct block_child *child = child_new(node, "root");

    child->backend = backend;
    if (!block_child_set_perm(child, perm, shared, error)) {
        bool held = node->held;

        node->held = true; /* that nobody else uses it yet is the caller's business */
        child_free(child);
        node->held = held;
        return NULL;
    }
    return child;
}

struct block_child *block_node_open_child(struct block_node *parent, const char *role,
                                          const struct blockdev_ref *ref, GError **error)
{
    struct block_graph *graph = parent->graph;
    struct block_node *node;
    struct block_child *child;

    if (ref->type == Q_TYPE_QSTRING) {
        node = block_node_find(graph, ref->u.reference);
        if (!node) {
            g_set_error(error, BLOCK_ERROR, 0, "Cannot find device='%s' nor node-name='%s'",
                        ref->u.reference, ref->u.reference);
            return NULL;
        }
    } else {
        node = block_node_open(graph, ref->u.definition, parent, error);
        if (!node) {
            return NULL;
        }
    }
    if (node->depth + 1 > BLOCK_MAX_DEPTH) {
        g_set_error(error, BLOCK_ERROR, 0, "'%s' stands on %u nodes one below the other already",
                    node->name, node->depth);
        block_node_unref(node);
        return NULL;
    }
    child = child_new(node, role);
    child->parent = parent;
    parent->depth = MAX(parent->depth, node->depth + 1);
    g_ptr_array_add(parent->children, child);
    return child;
}

struct block_child *block_node_child(const struct block_node *node, const char *role)
{
    for (guint i = 0; i < node->children->len; i++) {
        struct block_child *child = node->children->pdata[i];

        if (strcmp(child->role, role) == 0) {
            return child;
        }
    }
    return NULL;
}

struct block_node *block_node_below(const struct block_node *node, const char *role)
{
    const struct block_child *child = block_node_child(node, role);

    return child ? child->node : NULL;
}

static void child_changed(struct block_node *parent, const char *role)
{
    if (parent && parent->driver->child_changed) {
        parent->driver->child_changed(parent, role);
    }
}

static void depth_update(struct block_node *node)
{
    for (guint i = 0; i < node->parents->len; i++) {
        struct block_node *parent = ((struct block_child *)node->parents->pdata[i])->parent;

        if (parent && parent->depth < node->depth + 1) {
            parent->depth = node->depth + 1;
            depth_update(parent);
        }
    }
}

static void child_put(struct block_child *child, struct block_node *to)
{
    g_ptr_array_remove(child->node->parents, child);
    child->node = to;
    g_ptr_array_add(to->parents, child);
    child_changed(child->parent, child->role);
}

bool block_child_move(struct block_child *child, struct block_node *to, GError **error)
{
    struct block_node *from = child->node;
    uint64_t bytes = block_node_bytes(from);

    child_put(child, to);
    block_node_update_perm(from, NULL); /* less than before: can't fail */
    if (!block_edge_check(child, error) || !block_node_update_perm(to, error)) {
        child_put(child, from);
        block_node_update_perm(to, NULL);
        block_node_update_perm(from, NULL);
        return false;
    }
    depth_update(to);
    if (block_node_bytes(to) != bytes) {
        block_node_refresh(to);
    }
    return true;
}

bool block_node_add_backing(struct block_node *node, struct block_node *backing, GError **error)
{
    struct blockdev_ref ref = {.type = Q_TYPE_QSTRING, .u.reference = backing->name};
    struct block_child *child = block_node_open_child(node, "backing", &ref, error);

    if (!child) {
        return false;
    }
    child_changed(node, "backing");
    depth_update(node);
    if (!block_node_update_perm(node, error)) {
        block_node_remove_backing(node);
        return false;
    }
    return true;
}

void block_node_remove_backing(struct block_node *node)
{
    struct block_child *child = block_node_child(node, "backing");

    g_ptr_array_remove(node->children, child);
    child_changed(node, "backing");
    child_free(child);
}

/* ---- nodes */

static void node_free(struct block_node *node)
{
    struct block_graph *graph = node->graph;

    block_drain_begin(graph);
    if (node->driver->close) {
        node->driver->close(node);
    }
    for (guint i = 0; i < graph->nodes->len; i++) {
        struct block_node *heir = graph->nodes->pdata[i];

        heir->inherits = heir->inherits == node ? NULL : heir->inherits;
    }
    while (node->children->len) {
        block_child_close(node->children->pdata[node->children->len - 1]);
    }
    g_ptr_array_remove(graph->nodes, node);
    g_ptr_array_unref(node->children);
    g_ptr_array_unref(node->parents);
    g_free(node->name);
    g_free(node->filename);
    g_free(node->state);
    blockdev_options_free(node->options);
    g_free(node);
    block_drain_end(graph);
}

void block_node_unref(struct block_node *node)
{
    if (!node->owned && !node->held && node->parents->len == 0) {
        node_free(node);
    }
}

static bool check_name(struct block_graph *graph, const char *name, GError **error)
{
    if (!qapi_id_is_valid(name)) {
        g_set_error(error, BLOCK_ERROR, 0, "Invalid node-name: '%s'", name);
        return false;
    }
    if (strlen(name) > NAME_MAX_CHARS) {
        g_set_error(error, BLOCK_ERROR, 0, "Node name too long");
        return false;
    }
    if (block_node_find(graph, name)) {
        g_set_error(error, BLOCK_ERROR, 0, "Duplicate nodes with node-name='%s'", name);
        return false;
    }
    for (unsigned i = 0; block_drive_nth(graph, i); i++) {
        if (strcmp(block_drive_nth(graph, i)->id, name) == 0) {
            g_set_error(error, BLOCK_ERROR, 0, "node-name=%s is conflicting with a device id",
                        name);
            return false;
        }
    }
    return true;
}

bool block_flags_of(const struct blockdev_options *o, const struct block_flags *parent,
                    struct block_flags *flags, GError **error)
{
    const struct blockdev_cache_options *cache = o->cache;
    const struct block_flags none = {0}, *from = parent ? parent : &none;

    *flags = (struct block_flags){
        .read_only = o->has_read_only ? o->read_only : from->read_only,
        .auto_read_only = o->has_auto_read_only ? o->auto_read_only : from->auto_read_only,
        .force_share = o->has_force_share ? o->force_share : from->force_share,
        .direct = cache && cache->has_direct ? cache->direct : from->direct,
        .no_flush = cache && cache->has_no_flush ? cache->no_flush : from->no_flush,
        /* What the upper node lets through has been wanted. */
        .unmap = o->has_discard ? o->discard == BLOCKDEV_DISCARD_OPTIONS_UNMAP : parent != NULL,
        .detect_zeroes =
            o->has_detect_zeroes ? o->detect_zeroes : BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF,
    };
    if (flags->detect_zeroes == BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP &&
        !(o->has_discard && o->discard == BLOCKDEV_DISCARD_OPTIONS_UNMAP)) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "setting detect-zeroes to unmap is not allowed without setting discard "
                    "operation to unmap");
        return false;
    }
    if (flags->force_share && !flags->read_only) {
        g_set_error(error, BLOCK_ERROR, 0, "force-share=on can only be used with read-only images");
        return false;
    }
    return true;
}

void block_node_get_flags(const struct block_node *node, struct block_flags *flags)
{
    *flags = (struct block_flags){node->read_only,    node->auto_read_only, node->force_share,
                                  node->direct,       node->no_flush,       node->unmap,
                                  node->detect_zeroes};
}

void block_node_set_flags(struct block_node *node, const struct block_flags *flags)
{
    node->read_only = flags->read_only;
    node->auto_read_only = flags->auto_read_only;
    node->force_share = flags->force_share;
    node->direct = flags->direct;
    node->no_flush = flags->no_flush;
    node->unmap = flags->unmap;
    node->detect_zeroes = flags->detect_zeroes;
}

void block_node_set_options(struct block_node *node, const struct blockdev_options *options)
{
    struct blockdev_options *before = node->options;

    node->options = blockdev_options_clone(options);
    blockdev_options_free(before);
}

static const struct block_driver *driver_of(enum blockdev_driver id)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(drivers); i++) {
        if (drivers[i]->id == id) {
            return drivers[i];
        }
    }
    return NULL;
}

static struct block_node *node_new(struct block_graph *graph, const struct blockdev_options *o,
                                   struct block_node *parent, const struct block_flags *flags)
{
    struct block_node *node = g_new0(struct block_node, 1);

    node->graph = graph;
    node->driver = driver_of(o->driver);
    g_assert(node->driver); /* the enumeration has none but ours */
    node->name =
        o->node_name ? g_strdup(o->node_name) : g_strdup_printf("#block%03u", graph->next_name++);
    node->state = g_malloc0(node->driver->size);
    node->children = g_ptr_array_new();
    node->parents = g_ptr_array_new();
    node->shared = BLOCK_PERM_ALL;
    node->options = blockdev_options_clone(o);
    node->inherits = parent;
    block_node_set_flags(node, flags);
    return node;
}

struct block_node *block_node_open(struct block_graph *graph, const struct blockdev_options *o,
                                   struct block_node *parent, GError **error)
{
    struct block_flags above, flags;
    struct block_node *node;
    bool ok = true;

    if (graph->nodes->len >= BLOCK_MAX_NODES) {
        g_set_error(error, BLOCK_ERROR, 0, "there are %u block nodes already", BLOCK_MAX_NODES);
        return NULL;
    }
    if (o->node_name && !check_name(graph, o->node_name, error)) {
        return NULL;
    }
    if (parent) {
        block_node_get_flags(parent, &above);
    }
    if (!block_flags_of(o, parent ? &above : NULL, &flags, error)) {
        return NULL;
    }
    block_graph_loop(graph);
    node = node_new(graph, o, parent, &flags);
    g_ptr_array_add(graph->nodes, node);
    graph->opening++;
    if (graph->opening > BLOCK_MAX_DEPTH) { /* an image that stands on itself, say */
        g_set_error(error, BLOCK_ERROR, 0, "images stand too deep on one another");
        ok = false;
    }
    ok = ok && node->driver->open(node, o, error) && block_node_update_perm(node, error);
    graph->opening--;
    if (!ok) {
        node_free(node);
        return NULL;
    }
    return node;
}

bool block_node_add(struct block_graph *graph, const struct blockdev_options *options,
                    GError **error)
{
    struct block_node *node;

    if (!options->node_name) {
        g_set_error(error, BLOCK_ERROR, 0, "'node-name' must be specified for the root node");
        return false;
    }
    node = block_node_open(graph, options, NULL, error);
    if (node) {
        node->owned = true;
    }
    return node != NULL;
}

bool block_node_delete(struct block_graph *graph, const char *name, GError **error)
{
    struct block_node *node = block_node_find(graph, name);

    if (!node) {
        g_set_error(error, BLOCK_ERROR, 0, "Failed to find node with node-name='%s'", name);
        return false;
    }
    for (guint i = 0; i < node->parents->len; i++) {
        const struct block_child *edge = node->parents->pdata[i];

        if (edge->backend) {
            g_set_error(error, BLOCK_ERROR, 0, "Node %s is in use", name);
            return false;
        }
    }
    if (!node->owned) {
        g_set_error(error, BLOCK_ERROR, 0, "Node %s is not owned by the monitor", name);
        return false;
    }
    if (node->parents->len) {
        for (guint i = 0; i < node->parents->len; i++) {
            const struct block_child *edge = node->parents->pdata[i];

            if (edge->parent && strcmp(edge->role, "backing") == 0) {
                g_set_error(error, BLOCK_ERROR, 0,
                            "Node '%s' is busy: node is used as backing hd of '%s'", name,
                            edge->parent->name);
                return false;
            }
        }
        g_set_error(error, BLOCK_ERROR, 0, "Block device %s is in use", name);
        return false;
    }
    node->owned = false;
    block_node_unref(node);
    return true;
}

struct block_node *block_node_find(struct block_graph *graph, const char *name)
{
    for (guint i = 0; i < graph->nodes->len; i++) {
        struct block_node *node = graph->nodes->pdata[i];

        if (strcmp(node->name, name) == 0) {
            return node;
        }
    }
    return NULL;
}

const char *block_node_name(const struct block_node *node)
{
    return node->name;
}

bool block_node_read_only(const struct block_node *node)
{
    return node->read_only;
}

uint64_t block_node_bytes(const struct block_node *node)
{
    return atomic_load_explicit(&node->bytes, memory_order_relaxed);
}

void block_node_refresh(struct block_node *node)
{
    if (node->driver->refresh) {
        node->driver->refresh(node);
    }
    for (guint i = 0; i < node->parents->len; i++) {
        const struct block_child *edge = node->parents->pdata[i];

        if (edge->parent) {
            block_node_refresh(edge->parent);
        } else {
            block_backend_resized(edge->backend);
        }
    }
}

struct block_node *block_find_one(struct block_graph *graph, const char *device,
                                  const char *node_name, GError **error)
{
    struct block_backend *backend = device ? block_backend_by_name(graph, device) : NULL;
    struct block_node *node = backend     ? block_backend_node(backend)
                              : node_name ? block_node_find(graph, node_name)
                                          : NULL;

    if (backend && !node) {
        g_set_error(error, BLOCK_ERROR, 0, "Device '%s' has no medium", device);
    } else if (!node) {
        g_set_error(error, BLOCK_ERROR, 0, "Cannot find device='%s' nor node-name='%s'",
                    device ? device : "", node_name ? node_name : "");
    }
    return node;
}

bool block_resize(struct block_graph *graph, const char *device, const char *node_name,
                  int64_t bytes, GError **error)
{
    struct block_node *node = block_find_one(graph, device, node_name, error);

    if (!node) {
        return false;
    }
    if (bytes < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Parameter 'size' expects a >0 size");
        return false;
    }
    if (graph->inactive) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "Node '%s' can't be resized: the machine does not own its disks now",
                    node->name);
        return false;
    }
    for (guint i = 0; i < node->parents->len; i++) { /* a format keeps its file's length */
        const struct block_child *edge = node->parents->pdata[i];

        if (!(edge->shared & BLOCK_PERM_RESIZE)) {
            block_perm_conflict(error, node, BLOCK_PERM_RESIZE, NULL, edge);
            return false;
        }
    }
    return block_node_resize(node, (uint64_t)bytes, error);
}

bool block_node_resize(struct block_node *node, uint64_t bytes, GError **error)
{
    int ret;

    if (node->read_only || !node->driver->resize) {
        g_set_error(error, BLOCK_ERROR, 0, "%s",
                    node->read_only ? "Image is read-only"
                                    : "Image format driver does not support resize");
        return false;
    }
    block_drain_begin(node->graph);
    ret = node->driver->resize(node, (bytes + 511) & ~511ull, error);
    block_drain_end(node->graph);
    if (ret == 0) {
        block_node_refresh(node);
    }
    return ret == 0;
}

char *block_node_device(const struct block_node *node)
{
    for (guint i = 0; i < node->parents->len; i++) {
        const struct block_child *edge = node->parents->pdata[i];

        if (edge->backend && block_backend_drive_id(edge->backend)) {
            return g_strdup(block_backend_drive_id(edge->backend));
        }
    }
    return NULL;
}

static bool delete_child(struct block_node *parent, const char *role, GError **error)
{
    struct block_child *child = block_node_child(parent, role);

    if (!child) {
        g_set_error(error, BLOCK_ERROR, 0, "Node '%s' does not have child '%s'", parent->name,
                    role);
        return false;
    }
    if (!parent->driver->delete_child) {
        g_set_error(error, BLOCK_ERROR, 0, "The node %s does not support removing a child",
                    parent->name);
        return false;
    }
    return parent->driver->delete_child(parent, child, error);
}

bool block_node_is_below(const struct block_node *node, const struct block_node *wanted)
{
    bool found = node == wanted;

    for (guint i = 0; i < node->children->len && !found; i++) {
        found = block_node_is_below(((const struct block_child *)node->children->pdata[i])->node,
                                    wanted);
    }
    return found;
}

static bool add_child(struct block_graph *graph, struct block_node *parent, const char *name,
                      GError **error)
{
    struct block_node *node = block_node_find(graph, name);

    if (!node) {
        g_set_error(error, BLOCK_ERROR, 0, "Node '%s' not found", name);
    } else if (!parent->driver->add_child) {
        g_set_error(error, BLOCK_ERROR, 0, "The node %s does not support adding a child",
                    parent->name);
    } else if (node->parents->len) {
        g_set_error(error, BLOCK_ERROR, 0, "The node %s already has a parent", name);
    } else if (block_node_is_below(node, parent)) {
        g_set_error(error, BLOCK_ERROR, 0, "The node %s stands on %s", name, parent->name);
    } else {
        return parent->driver->add_child(parent, node, error);
    }
    return false;
}

bool block_change_children(struct block_graph *graph, const char *parent_name, const char *child,
                           const char *node, GError **error)
{
    struct block_backend *backend = block_backend_by_name(graph, parent_name);
    struct block_node *parent =
        backend ? block_backend_node(backend) : block_node_find(graph, parent_name);
    bool ok;

    if (!parent) {
        g_set_error(error, BLOCK_ERROR, 0, "Cannot find device='%s' nor node-name='%s'",
                    parent_name, parent_name);
        return false;
    }
    if (!child == !node) {
        g_set_error(error, BLOCK_ERROR, 0, "%s",
                    child ? "The parameters child and node are in conflict"
                          : "Either child or node must be specified");
        return false;
    }
    block_drain_begin(graph);
    ok = child ? delete_child(parent, child, error) : add_child(graph, parent, node, error);
    block_drain_end(graph);
    return ok;
}

/* ---- the graph and its thread */

static void drive_free(gpointer data)
{
    struct drive *drive = data;

    block_backend_free(drive->backend);
    g_free(drive->id);
    g_free(drive);
}

struct block_graph *block_graph_new(struct event_sink *events, struct loop *main)
{
    struct block_graph *graph = g_new0(struct block_graph, 1);

    graph->events = events;
    graph->main = main;
    graph->nodes = g_ptr_array_new();
    graph->backends = g_ptr_array_new();
    graph->drives = g_ptr_array_new_with_free_func(drive_free);
    graph->throttle_groups = g_ptr_array_new();
    graph->waiting_tail = &graph->waiting;
    g_mutex_init(&graph->mutex);
    g_cond_init(&graph->idle);
    return graph;
}

static gpointer io_thread(gpointer data)
{
    struct block_graph *graph = data;

    thread_begin("io", THREAD_IO);
    loop_run(graph->io);
    thread_end();
    return NULL;
}

static void make_uring(void *arg)
{
    struct block_graph *graph = arg;

    graph->uring = uring_new(graph->io);
}

struct loop *block_graph_loop(struct block_graph *graph)
{
    if (!graph->io) {
        graph->io = loop_new(NULL);
        graph->thread = g_thread_new("io", io_thread, graph);
        loop_call(graph->io, make_uring, graph);
        graph->serial = block_serial_new();
    }
    return graph->io;
}

struct loop *block_graph_running_loop(const struct block_graph *graph)
{
    return graph ? graph->io : NULL;
}

static void free_uring(void *arg)
{
    struct block_graph *graph = arg;

    uring_free(graph->uring);
    graph->uring = NULL;
    if (graph->throttle_timer) {
        g_source_destroy(graph->throttle_timer);
        g_source_unref(graph->throttle_timer);
    }
}

void block_graph_free(struct block_graph *graph)
{
    if (!graph) {
        return;
    }
    g_ptr_array_unref(graph->drives);
    for (guint i = graph->nodes->len; i-- > 0;) { /* owned ones; the last may stand on others */
        struct block_node *node = graph->nodes->pdata[i];

        if (node->owned) {
            node->owned = false;
            block_node_unref(node);
            i = graph->nodes->len;
        }
    }
    if (graph->io) {
        loop_call(graph->io, free_uring, graph);
        loop_quit(graph->io);
        g_thread_join(graph->thread);
        loop_free(graph->io);
    }
    if (graph->workers) {
        g_thread_pool_free(graph->workers, FALSE, TRUE);
    }
    if (graph->serial) {
        g_thread_pool_free(graph->serial, FALSE, TRUE);
    }
    block_reports_drop(graph);
    g_ptr_array_unref(graph->nodes);
    g_ptr_array_unref(graph->backends);
    g_ptr_array_unref(graph->throttle_groups);
    g_mutex_clear(&graph->mutex);
    g_cond_clear(&graph->idle);
    g_free(graph);
}

void block_graph_on_failure(struct block_graph *graph, block_failed_fn *failed, void *opaque)
{
    graph->failed = failed;
    graph->failed_opaque = opaque;
}
