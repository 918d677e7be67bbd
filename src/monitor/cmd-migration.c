/*
 * Commands of the schema module migration.
 */
#include "monitor/monitor-priv.h"

#include "migration/migration.h"
#include "qapi-commands.h"
#include "qapi/error.h"

struct migration_info *qmp_query_migrate(struct qmp_call *call, GError **errp)
{
    return migration_query(call->machine);
}

bool qmp_migrate_set_capabilities(struct qmp_call *call,
                                  const struct qmp_migrate_set_capabilities_arg *arg, GError **errp)
{
    return migration_set_capabilities(call->machine, arg->capabilities, errp);
}

struct migration_capability_status_list *qmp_query_migrate_capabilities(struct qmp_call *call,
                                                                        GError **errp)
{
    return migration_query_capabilities(call->machine);
}

bool qmp_migrate_set_parameters(struct qmp_call *call, const struct migrate_set_parameters *arg,
                                GError **errp)
{
    return migration_set_parameters(call->machine, arg, errp);
}

struct migration_parameters *qmp_query_migrate_parameters(struct qmp_call *call, GError **errp)
{
    return migration_query_parameters(call->machine);
}

/* The descriptor that a client named; -1: the URI is of another kind. false: there is none. */
static bool named_fd(struct qmp_call *call, const char *uri, bool numbers, int *fd, GError **errp)
{
    *fd = -1;
    if (!g_str_has_prefix(uri, "fd:") || (numbers && g_ascii_isdigit(uri[3]))) {
        return true;
    }
    *fd = session_take_fd(call->session, uri + 3, errp);
    return *fd >= 0;
}

bool qmp_migrate(struct qmp_call *call, const struct qmp_migrate_arg *arg, GError **errp)
{
    int fd;

    if ((arg->has_blk && arg->blk) || (arg->has_inc && arg->inc)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter '%s' expects false: disks are not copied by a migration",
                    arg->has_blk && arg->blk ? "blk" : "inc");
        return false;
    }
    if (arg->has_resume && arg->resume) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Cannot resume if there is no paused migration");
        return false;
    }
    if (!migration_may_start(call->machine, errp)) {
        return false;
    }
    if (!named_fd(call, arg->uri, false, &fd, errp)) {
        migration_fail(call->machine, (*errp)->message);
        return false;
    }
    return migration_start(call->machine, arg->uri, fd, errp);
}

bool qmp_migrate_incoming(struct qmp_call *call, const struct qmp_migrate_incoming_arg *arg,
                          GError **errp)
{
    int fd;

    return migration_incoming_begins(call->machine, errp) &&
           named_fd(call, arg->uri, true, &fd, errp) &&
           migration_incoming_start(call->machine, arg->uri, fd, errp);
}

bool qmp_migrate_cancel(struct qmp_call *call, GError **errp)
{
    migration_cancel(call->machine);
    return true;
}

bool qmp_migrate_continue(struct qmp_call *call, const struct qmp_migrate_continue_arg *arg,
                          GError **errp)
{
    return migration_continue(call->machine, arg->state, errp);
}
