/* Commands of the schema module block. */
#include "monitor/monitor-priv.h"

#include "block/media.h"
#include "qapi-commands.h"

bool qmp_eject(struct qmp_call *call, const struct qmp_eject_arg *arg, GError **errp)
{
    return block_eject(call->machine->block, arg->device, arg->id, arg->has_force && arg->force,
                       errp);
}

bool qmp_blockdev_open_tray(struct qmp_call *call, const struct qmp_blockdev_open_tray_arg *arg,
                            GError **errp)
{
    return block_open_tray(call->machine->block, arg->device, arg->id, arg->has_force && arg->force,
                           errp);
}

bool qmp_blockdev_close_tray(struct qmp_call *call, const struct qmp_blockdev_close_tray_arg *arg,
                             GError **errp)
{
    return block_close_tray(call->machine->block, arg->device, arg->id, errp);
}

bool qmp_blockdev_remove_medium(struct qmp_call *call,
                                const struct qmp_blockdev_remove_medium_arg *arg, GError **errp)
{
    return block_remove_medium(call->machine->block, arg->id, errp);
}

bool qmp_blockdev_insert_medium(struct qmp_call *call,
                                const struct qmp_blockdev_insert_medium_arg *arg, GError **errp)
{
    return block_insert_medium(call->machine->block, arg->id, arg->node_name, errp);
}

bool qmp_blockdev_change_medium(struct qmp_call *call,
                                const struct qmp_blockdev_change_medium_arg *arg, GError **errp)
{
    const struct block_medium medium = {
        .filename = arg->filename,
        .format = arg->format,
        .force = arg->has_force && arg->force,
        .mode =
            arg->has_read_only_mode ? arg->read_only_mode : BLOCKDEV_CHANGE_READ_ONLY_MODE_RETAIN,
    };

    return block_change_medium(call->machine->block, arg->device, arg->id, &medium, errp);
}
