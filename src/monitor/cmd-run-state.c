/*
 * Commands of the schema module run-state.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"

/* singlestep is about one guest instruction per decoded block, not about a debugger's steps. */
struct status_info *qmp_query_status(struct qmp_call *call, GError **errp)
{
    struct status_info *info = g_new0(struct status_info, 1);

    info->status = machine_settled_state(call->machine);
    info->running = info->status == RUN_STATE_RUNNING;
    info->singlestep = call->machine->cpus && atomic_load(&call->machine->cpus->one_insn);
    return info;
}

bool qmp_set_action(struct qmp_call *call, const struct qmp_set_action_arg *arg, GError **errp)
{
    struct machine_actions *actions = machine_actions(call->machine);

    if (arg->has_reboot) {
        actions->reboot = arg->reboot;
    }
    if (arg->has_shutdown) {
        actions->shutdown = arg->shutdown;
    }
    if (arg->has_panic) {
        actions->panic = arg->panic;
    }
    if (arg->has_watchdog) {
        actions->watchdog = arg->watchdog;
    }
    return true;
}

bool qmp_watchdog_set_action(struct qmp_call *call, const struct qmp_watchdog_set_action_arg *arg,
                             GError **errp)
{
    machine_actions(call->machine)->watchdog = arg->action;
    return true;
}

struct godwit_actions *qmp_godwit_query_actions(struct qmp_call *call, GError **errp)
{
    const struct machine_actions *actions = machine_actions(call->machine);
    struct godwit_actions *info = g_new0(struct godwit_actions, 1);

    info->reboot = actions->reboot;
    info->shutdown = actions->shutdown;
    info->panic = actions->panic;
    info->watchdog = actions->watchdog;
    return info;
}
