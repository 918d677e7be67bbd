/*
 * Commands of the schema module qdev: plugging devices in and taking them out.
 */
#include "monitor/monitor-priv.h"

#include "machine/hotplug.h"
#include "migration/migration.h"
#include "qapi-commands.h"
#include "qapi/error.h"
#include <json-c/json.h>

static int find_fd(void *opaque, const char *name)
{
    return session_take_fd(opaque, name, NULL);
}

bool qmp_device_add(struct qmp_call *call, struct json_object *args, GString *ret, GError **errp)
{
    struct device_env *env = &call->machine->env;
    struct params *p;
    bool ok;

    if (!args) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Parameter 'driver' is missing");
        return false;
    }
    p = params_from_json(args, errp);
    env->find_fd = find_fd; /* names are the session's */
    env->find_fd_opaque = call->session;
    ok = p && machine_hotplug(call->machine, p, migration_goes_out(call->machine), errp);
    env->find_fd = NULL;
    params_free(p);
    if (ok) {
        g_string_append(ret, "{}");
    }
    return ok;
}

bool qmp_device_del(struct qmp_call *call, const struct qmp_device_del_arg *arg, GError **errp)
{
    return machine_unplug(call->machine, arg->id, migration_goes_out(call->machine), errp);
}
