/*
 * Limits of back ends: block_set_io_throttle and -drive.
 */
#include "block/block-priv.h"
#include "block/throttle-priv.h"

/* Has the back end be a member of that group alone. */
static void enter(struct block_backend *b, const char *name)
{
    struct throttle_member *member = block_backend_throttle(b);
    struct block_graph *graph = block_backend_graph(b);
    struct throttle_group *group = throttle_group_get(graph, name);

    block_drain_begin(graph);
    throttle_member_leave(member);
    throttle_member_join(member, group);
    block_drain_end(graph);
    throttle_group_release(group);
}

static void leave(struct block_backend *b)
{
    struct block_graph *graph = block_backend_graph(b);

    block_drain_begin(graph);
    throttle_member_leave(block_backend_throttle(b));
    block_drain_end(graph);
}

void block_backend_set_throttle(struct block_backend *b, const struct throttle_config *config,
                                const char *group)
{
    enter(b, group);
    throttle_group_set_config(block_backend_throttle(b)->group, config);
}

bool block_set_throttle(struct block_graph *graph, const struct block_io_throttle *arg,
                        GError **error)
{
    struct block_backend *b = block_backend_find(graph, arg->device, arg->id, error);
    struct throttle_member *member = b ? block_backend_throttle(b) : NULL;
    struct throttle_config config;

    if (!b) {
        return false;
    }
    if (!block_backend_node(b)) {
        g_set_error(error, BLOCK_ERROR, 0, "Device has no medium");
        return false;
    }
    throttle_config_from_arg(&config, arg);
    if (!throttle_config_check(&config, error)) {
        return false;
    }
    if (!throttle_config_is_on(&config)) {
        leave(b);
        return true;
    }
    if (!member->group || arg->group) {
        enter(b, arg->group ? arg->group : arg->device ? arg->device : arg->id);
    }
    throttle_group_set_config(member->group, &config);
    return true;
}
