/* Commands of the schema module throttle. */
#include "monitor/monitor-priv.h"

#include "block/throttle.h"
#include "qapi-commands.h"

bool qmp_block_set_io_throttle(struct qmp_call *call, const struct block_io_throttle *arg,
                               GError **errp)
{
    return block_set_throttle(call->machine->block, arg, errp);
}
