/* Commands of the schema module block-core. */
#include "monitor/monitor-priv.h"

#include "block/reopen.h"
#include "qapi-commands.h"

bool qmp_blockdev_add(struct qmp_call *call, const struct blockdev_options *arg, GError **errp)
{
    return block_node_add(call->machine->block, arg, errp);
}

bool qmp_blockdev_reopen(struct qmp_call *call, const struct qmp_blockdev_reopen_arg *arg,
                         GError **errp)
{
    return block_reopen(call->machine->block, arg->options, errp);
}

bool qmp_blockdev_del(struct qmp_call *call, const struct qmp_blockdev_del_arg *arg, GError **errp)
{
    return block_node_delete(call->machine->block, arg->node_name, errp);
}

struct block_device_info_list *
qmp_query_named_block_nodes(struct qmp_call *call,
                            const struct qmp_query_named_block_nodes_arg *arg, GError **errp)
{
    return block_query_nodes(call->machine->block, arg->has_flat && arg->flat);
}

struct block_info_list *qmp_query_block(struct qmp_call *call, GError **errp)
{
    return block_query_backends(call->machine->block);
}

struct block_stats_list *qmp_query_blockstats(struct qmp_call *call,
                                              const struct qmp_query_blockstats_arg *arg,
                                              GError **errp)
{
    return block_query_stats(call->machine->block, arg->has_query_nodes && arg->query_nodes);
}

bool qmp_block_resize(struct qmp_call *call, const struct qmp_block_resize_arg *arg, GError **errp)
{
    return block_resize(call->machine->block, arg->device, arg->node_name, arg->size, errp);
}

bool qmp_x_blockdev_change(struct qmp_call *call, const struct qmp_x_blockdev_change_arg *arg,
                           GError **errp)
{
    return block_change_children(call->machine->block, arg->parent, arg->child, arg->node, errp);
}
