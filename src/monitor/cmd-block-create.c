/* Commands of the schema module block-create. */
#include "monitor/monitor-priv.h"

#include "block/create.h"
#include "qapi-commands.h"

bool qmp_blockdev_create(struct qmp_call *call, const struct qmp_blockdev_create_arg *arg,
                         GError **errp)
{
    return block_create_job(call->machine->block, call->machine->jobs, arg->job_id, arg->options,
                            errp);
}
