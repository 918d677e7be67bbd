/*
 * Handing images over to another process, and taking them: see block.h.
 *
 * While the graph is inactive no edge wants anything and none forbids anything, so that no byte of
 * a file is locked. Taking over is all or nothing: what was locked before one image refused is let
 * go.
 */
#include "block/block-priv.h"

bool block_is_inactive(const struct block_graph *graph)
{
    return graph->inactive;
}

/* Has every edge follow graph->inactive. */
static bool update_perms(struct block_graph *graph, GError **error)
{
    for (guint i = 0; i < graph->nodes->len; i++) {
        if (!block_node_update_perm(graph->nodes->pdata[i], error)) {
            return false;
        }
    }
    for (guint i = 0; i < graph->backends->len; i++) {
        struct block_backend *b = graph->backends->pdata[i];
        unsigned perm, shared;

        block_backend_wishes(b, &perm, &shared);
        if (block_backend_root(b) &&
            !block_child_set_perm(block_backend_root(b), perm, shared, error)) {
            return false;
        }
    }
    return true;
}

static void let_go(struct block_graph *graph)
{
    graph->inactive = true;
    update_perms(graph, NULL); /* can't fail: nothing is wanted */
}

/* What a job does with an image it can't do without it. */
static bool no_job(struct block_graph *graph, GError **error)
{
    for (guint i = 0; i < graph->backends->len; i++) {
        const struct block_child *root = block_backend_root(graph->backends->pdata[i]);
        unsigned perm, shared;

        block_backend_wishes(graph->backends->pdata[i], &perm, &shared);
        if (root && root->perm & ~perm) {
            g_set_error(error, BLOCK_ERROR, 0, "Node '%s' is in use by a job", root->node->name);
            return false;
        }
    }
    return true;
}

static bool write_metadata(struct block_graph *graph, GError **error)
{
    int ret;

    for (guint i = 0; i < graph->nodes->len; i++) {
        struct block_node *node = graph->nodes->pdata[i];

        ret = node->driver->inactivate && !node->read_only ? node->driver->inactivate(node) : 0;
        if (ret < 0) {
            g_set_error(error, BLOCK_ERROR, 0, "'%s' cannot be written: %s", node->filename,
                        g_strerror(-ret));
            return false;
        }
    }
    ret = block_flush_all(graph);
    if (ret < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "the disks cannot be flushed: %s", g_strerror(-ret));
    }
    return ret >= 0;
}

bool block_inactivate(struct block_graph *graph, GError **error)
{
    bool ok = true;

    if (!graph->inactive) {
        block_drain_begin(graph);
        ok = no_job(graph, error) && write_metadata(graph, error);
        if (ok) {
            let_go(graph);
        }
        block_drain_end(graph);
    }
    return ok;
}

/* Those at the bottom first. */
static bool reload_all(struct block_graph *graph, GError **error)
{
    unsigned deepest = 0;

    for (unsigned depth = 0; depth <= deepest; depth++) {
        for (guint i = 0; i < graph->nodes->len; i++) {
            struct block_node *node = graph->nodes->pdata[i];
            uint64_t before = block_node_bytes(node);

            deepest = MAX(deepest, node->depth);
            if (node->depth != depth) {
                continue;
            }
            if (node->driver->reload && !node->driver->reload(node, error)) {
                return false;
            }
            if (block_node_bytes(node) != before) {
                block_node_refresh(node);
            }
        }
    }
    return true;
}

bool block_activate(struct block_graph *graph, GError **error)
{
    bool ok;

    if (!graph->inactive) {
        return true;
    }
    block_drain_begin(graph);
    graph->inactive = false;
    ok = update_perms(graph, error) && reload_all(graph, error);
    if (!ok) {
        let_go(graph);
    }
    block_drain_end(graph);
    return ok;
}
