/* Commands of the schema module transaction. */
#include "monitor/monitor-priv.h"

#include "block/snapshot.h"
#include "qapi-commands.h"

bool qmp_blockdev_snapshot(struct qmp_call *call, const struct blockdev_snapshot *arg,
                           GError **errp)
{
    return block_snapshot(call->machine->block, arg, errp);
}

bool qmp_blockdev_snapshot_sync(struct qmp_call *call, const struct blockdev_snapshot_sync *arg,
                                GError **errp)
{
    return block_snapshot_sync(call->machine->block, arg, errp);
}

bool qmp_transaction(struct qmp_call *call, const struct qmp_transaction_arg *arg, GError **errp)
{
    return block_transaction(call->machine->block, arg->actions, arg->properties, errp);
}
