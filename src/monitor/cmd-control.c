/*
 * Commands of the schema module control: the protocol itself, and the end of the process.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"
#include "qapi/error.h"

/* The version of QEMU whose protocol is spoken. */
#define COMPAT_MAJOR 7
#define COMPAT_MINOR 2
#define COMPAT_MICRO 0

bool qmp_qmp_capabilities(struct qmp_call *call, const struct qmp_qmp_capabilities_arg *arg,
                          GError **errp)
{
    struct session *s = call->session;
    struct qmp_mode mode = {.negotiated = true};

    if (s->mode.negotiated) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND,
                    "Capabilities negotiation is already complete, command ignored");
        return false;
    }
    for (size_t i = 0; arg->enable && i < arg->enable->n; i++) {
        mode.oob |= arg->enable->v[i] == QMP_CAPABILITY_OOB;
        mode.own_events |= arg->enable->v[i] == QMP_CAPABILITY_GODWIT_EVENTS;
    }
    if (mode.oob && !s->offers_oob) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Capability oob not available");
        return false;
    }
    g_mutex_lock(&call->mon->mutex);
    s->mode = mode;
    g_mutex_unlock(&call->mon->mutex);
    return true;
}

/* Also for the greeting: call is not looked at. */
struct version_info *qmp_query_version(struct qmp_call *call, GError **errp)
{
    struct version_info *info = g_new0(struct version_info, 1);

    info->qemu = g_new0(struct version_triple, 1);
    info->qemu->major = COMPAT_MAJOR;
    info->qemu->minor = COMPAT_MINOR;
    info->qemu->micro = COMPAT_MICRO;
    info->package = g_strdup("godwit-" GODWIT_VERSION);
    return info;
}

struct command_info_list *qmp_query_commands(struct qmp_call *call, GError **errp)
{
    struct command_info_list *list = command_info_list_new();

    for (const struct qmp_command *c = qmp_commands; c->name; c++) {
        struct command_info *info = g_new0(struct command_info, 1);

        info->name = g_strdup(c->name);
        command_info_list_append(list, info);
    }
    return list;
}

bool qmp_quit(struct qmp_call *call, GError **errp)
{
    machine_request_shutdown(call->machine, SHUTDOWN_CAUSE_HOST_QMP_QUIT, "quit");
    return true;
}
