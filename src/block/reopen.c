/*
 * blockdev-reopen: nodes get other options while they are used.
 *
 * All nodes that are named change, or none. Nodes defined inside a named one, with no word of their
 * own, follow it. First everything is looked at; then, in one drained section, each step is done
 * for all nodes, so that an order in which permissions or read-only nodes would be in each other's
 * way does not matter. What was done is undone in the opposite order when a later step fails.
 *
 * What can change: whether a node is written, how it is cached, discard and detect-zeroes; the node
 * below ("file") and the backing node, to one that is there already; the window of raw, the group
 * of throttle. Left out: aio=, locking= of files.
 */
#include "block/reopen.h"

#include "block/block-priv.h"
#include "qapi-visit.h"
#include <json-c/json.h>
#include <string.h>

struct change { /* of a child */
    const char *role;
    struct block_node *from, *to; /* NULL: none */
    bool done;
};

struct reopened {
    struct block_node *node;
    const struct blockdev_options *options;
    struct block_flags before, after;
    uint64_t bytes; /* before */
    struct change change[2];
    unsigned n_changes;
    bool configured, reloaded;
};

struct reopening {
    struct block_graph *graph;
    GPtrArray *queue; /* struct reopened */
    guint flagged, hosted;
};

/* ---- what is wanted */

static const char *const generic[] = {"driver",    "node-name",      "discard",     "cache",
                                      "read-only", "auto-read-only", "force-share", "detect-zeroes",
                                      "file",      "backing",        NULL};

static bool is_changeable(const struct block_node *node, const char *key)
{
    return g_strv_contains(generic, key) ||
           (node->driver->changeable && g_strv_contains(node->driver->changeable, key));
}

static struct json_object *to_json(const struct blockdev_options *options)
{
    g_autoptr(GString) text = g_string_new(NULL);

    blockdev_options_to_json(options, text);
    return json_tokener_parse(text->str);
}

/* Every member of one that must not change is in the other. */
static bool is_in(const struct block_node *node, struct json_object *one, struct json_object *other,
                  bool removed, GError **error)
{
    json_object_object_foreach(one, key, value)
    {
        struct json_object *its = NULL;

        if (is_changeable(node, key)) {
            continue;
        }
        if (!json_object_object_get_ex(other, key, &its)) {
            g_set_error(error, BLOCK_ERROR, 0,
                        removed ? "Option '%s' cannot be reset to its default value"
                                : "Cannot change the option '%s'",
                        key);
            return false;
        }
        if (!json_object_equal(value, its)) {
            g_set_error(error, BLOCK_ERROR, 0, "Cannot change the option '%s'", key);
            return false;
        }
    }
    return true;
}

static bool check_options(const struct block_node *node, const struct blockdev_options *options,
                          GError **error)
{
    struct json_object *before, *after;
    bool ok;

    if (options->driver != node->driver->id) {
        g_set_error(error, BLOCK_ERROR, 0, "Cannot change the option 'driver'");
        return false;
    }
    before = to_json(node->options);
    after = to_json(options);
    ok = is_in(node, after, before, false, error) && is_in(node, before, after, true, error);
    json_object_put(before);
    json_object_put(after);
    return ok;
}

static struct reopened *find(const struct reopening *all, const struct block_node *node)
{
    for (guint i = 0; i < all->queue->len; i++) {
        struct reopened *r = all->queue->pdata[i];

        if (r->node == node) {
            return r;
        }
    }
    return NULL;
}

static bool add_change(struct reopened *r, const char *role, struct block_node *to, GError **error)
{
    struct block_node *from = block_node_below(r->node, role);

    if (to && block_node_is_below(to, r->node)) {
        g_set_error(error, BLOCK_ERROR, 0, "Making '%s' a %s child of '%s' would create a cycle",
                    to->name, role, r->node->name);
        return false;
    }
    if (from != to) {
        r->change[r->n_changes++] = (struct change){.role = role, .from = from, .to = to};
    }
    return true;
}

static bool change_by_name(struct reopened *r, const char *role, const char *name, GError **error)
{
    struct block_node *to = block_node_find(r->node->graph, name);

    if (!to) {
        g_set_error(error, BLOCK_ERROR, 0, "Cannot find device='' nor node-name='%s'", name);
        return false;
    }
    return add_change(r, role, to, error);
}

static bool enqueue(struct reopening *all, struct block_node *node,
                    const struct blockdev_options *options, const struct block_flags *parent,
                    GError **error);

/* A definition is that of the node that is there, with other options perhaps. */
static bool redefine(struct reopening *all, struct reopened *r, const char *role,
                     const struct blockdev_options *definition, GError **error)
{
    struct block_node *child = block_node_below(r->node, role);

    if (!child || child->inherits != r->node) {
        g_set_error(error, BLOCK_ERROR, 0, "Cannot change the option '%s' to a new node", role);
        return false;
    }
    return enqueue(all, child, definition, &r->after, error);
}

static bool look_at_file(struct reopening *all, struct reopened *r, GError **error)
{
    const struct blockdev_ref *ref =
        r->node->driver->file_option ? r->node->driver->file_option(r->options) : NULL;

    return !ref ||
           (ref->type == Q_TYPE_QSTRING ? change_by_name(r, "file", ref->u.reference, error)
                                        : redefine(all, r, "file", ref->u.definition, error));
}

static bool look_at_backing(struct reopening *all, struct reopened *r, GError **error)
{
    const struct blockdev_ref_or_null *ref;

    if (!r->node->driver->has_backing) {
        return true;
    }
    ref = r->options->u.qcow2.backing;
    if (!ref) {
        if (block_node_below(r->node, "backing")) {
            g_set_error(error, BLOCK_ERROR, 0, "backing is missing for '%s'", r->node->name);
            return false;
        }
        return true;
    }
    switch (ref->type) {
    case Q_TYPE_QNULL:
        return add_change(r, "backing", NULL, error);
    case Q_TYPE_QSTRING:
        return *ref->u.reference ? change_by_name(r, "backing", ref->u.reference, error)
                                 : add_change(r, "backing", NULL, error);
    default:
        return redefine(all, r, "backing", ref->u.definition, error);
    }
}

/* Nodes defined inside this one take what it has, unless they are named themselves. */
static bool enqueue_heirs(struct reopening *all, struct reopened *r, GError **error)
{
    for (guint i = 0; i < r->node->children->len; i++) {
        struct block_node *child = ((struct block_child *)r->node->children->pdata[i])->node;
        const struct reopened *named = find(all, child);

        if (child->inherits == r->node && (!named || named->options == child->options) &&
            !enqueue(all, child, child->options, &r->after, error)) {
            return false;
        }
    }
    return true;
}

static bool enqueue(struct reopening *all, struct block_node *node,
                    const struct blockdev_options *options, const struct block_flags *parent,
                    GError **error)
{
    struct reopened *r = find(all, node);
    bool own = options == node->options; /* as it was, but for what it inherits */

    if (!r) {
        r = g_new0(struct reopened, 1);
        g_ptr_array_add(all->queue, r);
    }
    *r = (struct reopened){.node = node, .options = options, .bytes = block_node_bytes(node)};
    block_node_get_flags(node, &r->before);
    if (!block_flags_of(options, parent, &r->after, error) ||
        (!own && !check_options(node, options, error)) ||
        (!own && (!look_at_file(all, r, error) || !look_at_backing(all, r, error)))) {
        return false;
    }
    return enqueue_heirs(all, r, error);
}

/* ---- steps; each for all nodes */

static bool write_back(struct reopening *all, GError **error)
{
    for (guint i = 0; i < all->queue->len; i++) {
        const struct reopened *r = all->queue->pdata[i];
        int ret = 0;

        if (!r->before.read_only && (r->after.read_only || r->n_changes) && !all->graph->inactive) {
            ret = r->node->driver->inactivate ? r->node->driver->inactivate(r->node) : 0;
            ret = ret < 0 ? ret : block_node_sync(r->node, BLOCK_FLUSH, 0, 0, 0);
        }
        if (ret < 0) {
            g_set_error(error, BLOCK_ERROR, 0, "Error flushing drive '%s': %s", r->node->name,
                        g_strerror(-ret));
            return false;
        }
    }
    return true;
}

static bool flags_change(const struct reopened *r)
{
    return r->before.read_only != r->after.read_only || r->before.direct != r->after.direct;
}

static bool set_hosts(struct reopening *all, GError **error)
{
    for (; all->hosted < all->queue->len; all->hosted++) {
        const struct reopened *r = all->queue->pdata[all->hosted];

        if (r->node->driver->reopen && flags_change(r) &&
            !r->node->driver->reopen(r->node, error)) {
            return false;
        }
    }
    return true;
}

static bool configure(struct reopening *all, GError **error)
{
    for (guint i = 0; i < all->queue->len; i++) {
        struct reopened *r = all->queue->pdata[i];

        if (r->node->driver->configure && r->options != r->node->options) {
            if (!r->node->driver->configure(r->node, r->options, error)) {
                return false;
            }
            r->configured = true;
        }
    }
    return true;
}

static bool change_child(struct block_node *node, const char *role, struct block_node *from,
                         struct block_node *to, GError **error)
{
    if (!from) {
        return block_node_add_backing(node, to, error);
    }
    if (!to) {
        block_node_remove_backing(node);
        return true;
    }
    return block_child_move(block_node_child(node, role), to, error);
}

static bool change_children(struct reopening *all, GError **error)
{
    for (guint i = 0; i < all->queue->len; i++) {
        struct reopened *r = all->queue->pdata[i];

        for (unsigned k = 0; k < r->n_changes; k++) {
            struct change *c = &r->change[k];

            if (!change_child(r->node, c->role, c->from, c->to, error)) {
                return false;
            }
            c->done = true;
        }
    }
    return true;
}

static bool set_perms(struct reopening *all, GError **error)
{
    for (guint i = 0; i < all->queue->len; i++) {
        if (!block_node_update_perm(((struct reopened *)all->queue->pdata[i])->node, error)) {
            return false;
        }
    }
    for (guint i = 0; i < all->queue->len; i++) {
        const struct block_node *node = ((struct reopened *)all->queue->pdata[i])->node;

        for (guint k = 0; node->read_only && k < node->parents->len; k++) {
            if (((const struct block_child *)node->parents->pdata[k])->perm & BLOCK_PERM_WRITE) {
                g_set_error(error, BLOCK_ERROR, 0,
                            "Read-only block node '%s' cannot support read-write users",
                            node->name);
                return false;
            }
        }
    }
    return true;
}

/* What is in memory of an image that was not written, or is another one now. */
static bool reload(struct reopening *all, GError **error)
{
    for (guint i = 0; i < all->queue->len; i++) {
        struct reopened *r = all->queue->pdata[i];
        bool becomes_writable = r->before.read_only && !r->after.read_only;

        if (r->node->driver->reload && !all->graph->inactive &&
            (becomes_writable || r->n_changes)) {
            r->reloaded = true;
            if (!r->node->driver->reload(r->node, error)) {
                return false;
            }
        }
    }
    return true;
}

static void set_flags(struct reopening *all, bool after)
{
    for (guint i = 0; i < all->queue->len; i++) {
        const struct reopened *r = all->queue->pdata[i];

        block_node_set_flags(r->node, after ? &r->after : &r->before);
    }
}

/* The opposite of what was done, all of which was possible before. */
static void undo(struct reopening *all)
{
    for (guint i = all->queue->len; i-- > 0;) {
        struct reopened *r = all->queue->pdata[i];

        for (unsigned k = r->n_changes; k-- > 0;) {
            const struct change *c = &r->change[k];

            if (c->done) {
                change_child(r->node, c->role, c->to, c->from, NULL);
            }
        }
        if (r->configured) {
            r->node->driver->configure(r->node, r->node->options, NULL);
        }
    }
    set_flags(all, false);
    for (guint i = 0; i < all->queue->len; i++) {
        const struct reopened *r = all->queue->pdata[i];

        if (i < all->hosted && r->node->driver->reopen && flags_change(r)) {
            r->node->driver->reopen(r->node, NULL);
        }
    }
    set_perms(all, NULL);
    for (guint i = 0; i < all->queue->len; i++) {
        const struct reopened *r = all->queue->pdata[i];

        if (r->reloaded) {
            r->node->driver->reload(r->node, NULL);
        }
    }
}

static void commit(struct reopening *all)
{
    for (guint i = 0; i < all->queue->len; i++) {
        struct reopened *r = all->queue->pdata[i];

        if (r->options != r->node->options) {
            block_node_set_options(r->node, r->options);
        }
        if (r->node->driver->refresh) {
            r->node->driver->refresh(r->node);
        }
        if (block_node_bytes(r->node) != r->bytes) {
            block_node_refresh(r->node); /* and those above, and devices */
        }
    }
}

/* The nodes that may lose their last user are kept until it is clear what becomes of them. */
static GPtrArray *hold(const struct reopening *all)
{
    GPtrArray *kept = g_ptr_array_new();

    for (guint i = 0; i < all->queue->len; i++) {
        const struct reopened *r = all->queue->pdata[i];

        for (unsigned k = 0; k < r->n_changes; k++) {
            struct block_node *from = r->change[k].from;

            if (from && !from->held) {
                from->held = true;
                g_ptr_array_add(kept, from);
            }
        }
    }
    return kept;
}

static void let_go(GPtrArray *kept)
{
    for (guint i = 0; i < kept->len; i++) {
        struct block_node *node = kept->pdata[i];

        node->held = false;
        block_node_unref(node);
    }
    g_ptr_array_unref(kept);
}

static bool carry_out(struct reopening *all, GError **error)
{
    GPtrArray *kept = hold(all);
    bool ok;

    block_drain_begin(all->graph);
    ok = write_back(all, error);
    if (ok) {
        set_flags(all, true);
        ok = set_hosts(all, error) && configure(all, error) && change_children(all, error) &&
             set_perms(all, error) && reload(all, error);
        if (ok) {
            commit(all);
        } else {
            undo(all);
        }
    }
    let_go(kept);
    block_drain_end(all->graph);
    return ok;
}

bool block_reopen(struct block_graph *graph, const struct blockdev_options_list *options,
                  GError **error)
{
    struct reopening all = {.graph = graph, .queue = g_ptr_array_new_with_free_func(g_free)};
    bool ok = true;

    for (size_t i = 0; i < options->n && ok; i++) {
        const struct blockdev_options *o = options->v[i];
        struct block_node *node = o->node_name ? block_node_find(graph, o->node_name) : NULL;

        if (!node) {
            g_set_error(error, BLOCK_ERROR, 0,
                        o->node_name ? "Failed to find node with node-name='%s'"
                                     : "node-name not specified",
                        o->node_name);
        }
        ok = node && enqueue(&all, node, o, NULL, error);
    }
    ok = ok && carry_out(&all, error);
    g_ptr_array_unref(all.queue);
    return ok;
}
