/*
 * Permissions: who may do what with a node.
 *
 * An edge carries what its user does with the node (perm) and what it lets others do (shared). A
 * node's users together decide what the node asks of its children, down to the file, which locks
 * its bytes accordingly. A change that conflicts anywhere below is undone as a whole.
 */
#include "block/block-priv.h"

/* As "write, resize"; to be freed. */
static char *perm_names(unsigned perm)
{
    static const char *const names[] = {"consistent read", "write", "write unchanged", "resize"};
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (perm & 1u << i) {
            g_string_append_printf(out, "%s%s", out->len ? ", " : "", names[i]);
        }
    }
    return g_string_free(out, FALSE);
}

/* perm and shared of all users of a node together. */
static void node_cumulative(const struct block_node *node, unsigned *perm, unsigned *shared)
{
    *perm = 0;
    *shared = BLOCK_PERM_ALL;
    for (guint i = 0; i < node->parents->len; i++) {
        const struct block_child *edge = node->parents->pdata[i];

        *perm |= edge->perm;
        *shared &= edge->shared;
    }
}

/* To be freed. edge NULL: somebody for a moment. */
static char *edge_user(const struct block_child *edge)
{
    const char *name;

    if (edge && edge->parent) {
        return g_strdup_printf("node '%s'", edge->parent->name);
    }
    name = edge ? block_backend_qdev(edge->backend) : NULL;
    name = edge && !name ? block_backend_drive_id(edge->backend) : name;
    return name ? g_strdup_printf("block device '%s'", name) : g_strdup("an unnamed block device");
}

void block_perm_conflict(GError **error, const struct block_node *node, unsigned perm,
                         const struct block_child *needs, const struct block_child *denies)
{
    g_autofree char *names = perm_names(perm), *one = edge_user(needs), *two = edge_user(denies);

    g_set_error(error, BLOCK_ERROR, 0,
                "Permission conflict on node '%s': permissions '%s' are both required by %s (uses "
                "node '%s' as '%s' child) and unshared by %s (uses node '%s' as '%s' child).",
                node->name, names, one, node->name, needs ? needs->role : "root", two, node->name,
                denies->role);
}

bool block_edge_check(const struct block_child *edge, GError **error)
{
    const struct block_node *node = edge->node;

    if ((edge->perm & BLOCK_PERM_WRITE) && node->read_only) {
        g_set_error(error, BLOCK_ERROR, 0, "Block node '%s' is read-only", node->name);
        return false;
    }
    for (guint i = 0; i < node->parents->len; i++) {
        const struct block_child *other = node->parents->pdata[i];

        if (other == edge) {
            continue;
        }
        if (other->perm & ~edge->shared) {
            block_perm_conflict(error, node, other->perm & ~edge->shared, other, edge);
            return false;
        }
        if (edge->perm & ~other->shared) {
            block_perm_conflict(error, node, edge->perm & ~other->shared, edge, other);
            return false;
        }
    }
    return true;
}

static void child_wants(const struct block_node *node, const struct block_child *child,
                        unsigned perm, unsigned shared, unsigned *child_perm,
                        unsigned *child_shared)
{
    *child_perm = perm;
    *child_shared = shared;
    if (node->driver->child_perm) {
        node->driver->child_perm(node, child, perm, shared, child_perm, child_shared);
    }
    if (node->read_only) {
        *child_perm &= ~(unsigned)(BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE);
    }
    if (node->force_share) {
        *child_shared = BLOCK_PERM_ALL;
    }
    if (node->graph->inactive) {
        *child_perm = 0;
        *child_shared = BLOCK_PERM_ALL;
    }
}

bool block_child_set_perm(struct block_child *child, unsigned perm, unsigned shared, GError **error)
{
    unsigned old_perm = child->perm, old_shared = child->shared;

    child->perm = perm;
    child->shared = shared;
    if (block_edge_check(child, error) && block_node_update_perm(child->node, error)) {
        return true;
    }
    child->perm = old_perm;
    child->shared = old_shared;
    block_node_update_perm(child->node, NULL);
    return false;
}

bool block_node_update_perm(struct block_node *node, GError **error)
{
    unsigned perm, shared, old_perm = node->perm, old_shared = node->shared;
    guint n = 0;

    node_cumulative(node, &perm, &shared);
    if (node->force_share) {
        shared = BLOCK_PERM_ALL;
    }
    if (node->driver->set_perm && !node->driver->set_perm(node, perm, shared, error)) {
        return false;
    }
    for (; n < node->children->len; n++) {
        struct block_child *child = node->children->pdata[n];
        unsigned want, allow;

        child_wants(node, child, perm, shared, &want, &allow);
        if (!block_child_set_perm(child, want, allow, error)) {
            break;
        }
    }
    if (n == node->children->len) {
        node->perm = perm;
        node->shared = shared;
        return true;
    }
    for (guint i = 0; i < n; i++) { /* what was is possible again */
        struct block_child *child = node->children->pdata[i];
        unsigned want, allow;

        child_wants(node, child, old_perm, old_shared, &want, &allow);
        block_child_set_perm(child, want, allow, NULL);
    }
    if (node->driver->set_perm) {
        node->driver->set_perm(node, old_perm, old_shared, NULL);
    }
    return false;
}
