/*
 * Commands of the schema module cause.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"

struct godwit_why *qmp_godwit_query_cause(struct qmp_call *call, GError **errp)
{
    machine_settled_state(call->machine);
    return causes_query(call->machine->causes, runstate_get(call->machine->run));
}
