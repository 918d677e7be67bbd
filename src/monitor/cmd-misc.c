/*
 * Commands of the schema module misc.
 */
#include "monitor/monitor-priv.h"

#include "devices/core/iothread.h"
#include "devices/core/object.h"
#include "devices/isa/mc146818rtc.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi-commands.h"
#include "qapi/error.h"
#include <string.h>

static struct command_line_option_info *option_info(const struct option_desc *desc)
{
    struct command_line_option_info *info = g_new0(struct command_line_option_info, 1);

    info->option = g_strdup(desc->option);
    info->parameters = command_line_parameter_info_list_new();
    for (const struct option_param *p = desc->params; p && p->name; p++) {
        struct command_line_parameter_info *param = g_new0(struct command_line_parameter_info, 1);

        param->name = g_strdup(p->name);
        param->type = p->type;
        command_line_parameter_info_list_append(info->parameters, param);
    }
    return info;
}

struct command_line_option_info_list *
qmp_query_command_line_options(struct qmp_call *call,
                               const struct qmp_query_command_line_options_arg *arg, GError **errp)
{
    struct command_line_option_info_list *list = command_line_option_info_list_new();

    for (const struct option_desc *d = call->machine->config->option_descs; d && d->option; d++) {
        if (!arg->option || strcmp(arg->option, d->option) == 0) {
            command_line_option_info_list_append(list, option_info(d));
        }
    }
    if (arg->option && list->n == 0) {
        command_line_option_info_list_free(list);
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "invalid option name: %s", arg->option);
        return NULL;
    }
    return list;
}

struct name_info *qmp_query_name(struct qmp_call *call, GError **errp)
{
    struct name_info *info = g_new0(struct name_info, 1);

    info->name = g_strdup(call->machine->config->name);
    return info;
}

bool qmp_stop(struct qmp_call *call, GError **errp)
{
    vm_stop(call->machine, RUN_STATE_PAUSED);
    return true;
}

bool qmp_x_exit_preconfig(struct qmp_call *call, GError **errp)
{
    return machine_exit_preconfig(call->machine, errp);
}

bool qmp_cont(struct qmp_call *call, GError **errp)
{
    return vm_start(call->machine, errp);
}

bool qmp_human_monitor_command(struct qmp_call *call,
                               const struct qmp_human_monitor_command_arg *arg, char **ret,
                               GError **errp)
{
    struct vcpu *vcpu = machine_vcpu(call->machine, arg->has_cpu_index ? arg->cpu_index : 0);

    if (arg->has_cpu_index && !vcpu) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter 'cpu-index' expects a CPU number");
        return false;
    }
    *ret = hmp_run_on(call->machine, vcpu, arg->command_line);
    return true;
}

struct godwit_jit_info *qmp_godwit_query_jit(struct qmp_call *call, GError **errp)
{
    struct godwit_jit_info *info = g_new0(struct godwit_jit_info, 1);
    struct cpus *cpus = call->machine->cpus;
    struct translation_stats s = {0};

    info->enabled =
        cpus && cpus->accel->translation_stats && cpus->accel->translation_stats(cpus, &s);
    info->regions = s.units;
    info->instructions = s.insns;
    info->code_bytes = s.code_bytes;
    info->used_bytes = s.used_bytes;
    info->enters = s.enters;
    info->dispatches = s.dispatches;
    info->links = s.links;
    info->handlers = s.handlers;
    info->leaves = s.leaves;
    info->leaves_request = s.leaves_req;
    info->invalidations = s.invalidations;
    info->flushes = s.flushes;
    info->refused = s.refused;
    info->lockstep = s.lockstep > 0;
    info->compared = s.lockstep_insns;
    return info;
}

struct human_readable_text *qmp_x_query_jit(struct qmp_call *call, GError **errp)
{
    const struct cpus *cpus = call->machine->cpus;
    struct human_readable_text *text;

    if (!cpus || !cpus->accel->translation_stats) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "JIT information is only available with accel=tcg");
        return NULL;
    }
    text = g_new0(struct human_readable_text, 1);
    text->human_readable_text = hmp_run_on(call->machine, NULL, "info jit");
    return text;
}

bool qmp_rtc_reset_reinjection(struct qmp_call *call, GError **errp)
{
    struct device *rtc = devices_find_class(&call->machine->env, &mc146818rtc_class);

    if (rtc) {
        mc146818rtc_forget_lost(rtc);
    }
    return true;
}

struct io_thread_info_list *qmp_query_iothreads(struct qmp_call *call, GError **errp)
{
    const GPtrArray *objects = call->machine->env.objects;
    struct io_thread_info_list *list = io_thread_info_list_new();

    for (guint i = 0; objects && i < objects->len; i++) {
        const struct object *o = objects->pdata[i];
        struct io_thread_info *info;

        if (o->iothread) {
            info = g_new0(struct io_thread_info, 1);
            info->id = g_strdup(o->options->id);
            info->thread_id = iothread_tid(o->iothread);
            io_thread_info_list_append(list, info);
        }
    }
    return list;
}
