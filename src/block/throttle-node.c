/*
 * The driver throttle: a filter that holds requests back as the limits of its group say.
 */
#include "block/block-priv.h"
#include "block/throttle-priv.h"

struct throttle_node {
    struct throttle_member member; /* first */
    struct block_child *file;
};

static void node_go(struct throttle_member *member, struct block_request *r)
{
    block_node_submit(((struct throttle_node *)member)->file->node, r);
}

static bool throttle_configure(struct block_node *node, const struct blockdev_options *o,
                               GError **error)
{
    const char *name = o->u.throttle.throttle_group;
    struct throttle_group *group = throttle_group_find(node->graph, name);
    struct throttle_node *t = node->state;

    if (!group) {
        g_set_error(error, BLOCK_ERROR, 0, "Throttle group '%s' does not exist", name);
        return false;
    }
    throttle_member_leave(&t->member);
    throttle_member_join(&t->member, group);
    return true;
}

static bool throttle_open(struct block_node *node, const struct blockdev_options *o, GError **error)
{
    struct throttle_node *t = node->state;

    t->member.go = node_go;
    t->file = block_node_open_child(node, "file", o->u.throttle.file, error);
    if (!t->file || !throttle_configure(node, o, error)) {
        return false;
    }
    node->filename = g_strdup(t->file->node->filename);
    block_filter_refresh(node);
    return true;
}

static const struct blockdev_ref *throttle_file_option(const struct blockdev_options *o)
{
    return o->u.throttle.file;
}

static void throttle_close(struct block_node *node)
{
    throttle_member_leave(node->state);
}

static void throttle_submit(struct block_node *node, struct block_request *r)
{
    struct throttle_node *t = node->state;

    if (r->op == BLOCK_FLUSH) {
        block_node_submit(t->file->node, r);
    } else {
        throttle_member_submit(&t->member, r);
    }
}

static const char *const throttle_changeable[] = {"throttle-group", NULL};

const struct block_driver block_throttle = {
    .id = BLOCKDEV_DRIVER_THROTTLE,
    .size = sizeof(struct throttle_node),
    .open = throttle_open,
    .close = throttle_close,
    .submit = throttle_submit,
    .changeable = throttle_changeable,
    .configure = throttle_configure,
    .file_option = throttle_file_option,
    .refresh = block_filter_refresh,
    .resize = block_filter_resize,
    .status = block_filter_status,
    .clear = block_filter_clear,
    .allocated_bytes = block_filter_allocated,
};
