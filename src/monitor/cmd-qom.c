/* Commands of the schema module qom. */
#include "monitor/monitor-priv.h"

#include "devices/core/object.h"
#include "qapi-commands.h"

bool qmp_object_add(struct qmp_call *call, const struct object_options *arg, GError **errp)
{
    return object_add(&call->machine->env, arg, errp);
}

bool qmp_object_del(struct qmp_call *call, const struct qmp_object_del_arg *arg, GError **errp)
{
    return object_delete(&call->machine->env, arg->id, errp);
}
