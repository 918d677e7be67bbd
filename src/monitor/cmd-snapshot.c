/*
 * Commands of the schema module snapshot, and savevm, loadvm, delvm and info snapshots of the human
 * monitor.
 *
 * The work is done at once, on the main thread. What a client sees is a job all the same: it is
 * running in the command, and ends behind its reply.
 */
#include "monitor/monitor-priv.h"

#include "block/job.h"
#include "block/vm-snapshot.h"
#include "devices/vmgenid.h"
#include "migration/snapshot-file.h"
#include "migration/snapshot.h"
#include "qapi-commands.h"
#include "qapi/error.h"

/* ---- jobs */

struct snapshot_job {
    struct job *job;
    GSource *bell;
    GError *error;
};

static void job_over(void *arg)
{
    struct snapshot_job *s = arg;

    job_end(s->job, g_steal_pointer(&s->error));
}

static void job_clean(struct job *job, void *opaque)
{
    struct snapshot_job *s = opaque;

    loop_bell_free(s->bell);
    g_clear_error(&s->error);
    g_free(s);
}

static const struct job_driver drivers[] = {
    {.type = JOB_TYPE_SNAPSHOT_SAVE, .clean = job_clean},
    {.type = JOB_TYPE_SNAPSHOT_LOAD, .clean = job_clean},
    {.type = JOB_TYPE_SNAPSHOT_DELETE, .clean = job_clean},
};

static struct snapshot_job *job_begin(struct qmp_call *call, const struct job_driver *driver,
                                      const char *id, GError **errp)
{
    struct snapshot_job *s = g_new0(struct snapshot_job, 1);

    s->job = job_new(call->machine->jobs, driver, id, JOB_MANUAL_DISMISS, s, errp);
    if (!s->job) {
        g_free(s);
        return NULL;
    }
    s->bell = loop_bell_new(call->machine->loop, job_over, s);
    job_start(s->job);
    job_set_progress(s->job, 0, 1);
    return s;
}

static bool job_done(struct snapshot_job *s)
{
    job_set_progress(s->job, 1, 1);
    loop_bell_ring(s->bell);
    return true;
}

bool qmp_snapshot_save(struct qmp_call *call, const struct qmp_snapshot_save_arg *arg,
                       GError **errp)
{
    const struct snapshot_where where = {arg->vmstate, arg->devices};
    struct snapshot_job *s = job_begin(call, &drivers[0], arg->job_id, errp);

    if (!s) {
        return false;
    }
    snapshot_save(call->machine, arg->tag, false, &where, &s->error);
    return job_done(s);
}

bool qmp_snapshot_load(struct qmp_call *call, const struct qmp_snapshot_load_arg *arg,
                       GError **errp)
{
    const struct snapshot_where where = {arg->vmstate, arg->devices};
    struct snapshot_job *s = job_begin(call, &drivers[1], arg->job_id, errp);

    if (!s) {
        return false;
    }
    snapshot_load(call->machine, arg->tag, &where, &s->error);
    return job_done(s);
}

bool qmp_snapshot_delete(struct qmp_call *call, const struct qmp_snapshot_delete_arg *arg,
                         GError **errp)
{
    struct snapshot_job *s = job_begin(call, &drivers[2], arg->job_id, errp);

    if (!s) {
        return false;
    }
    snapshot_delete(call->machine, arg->tag, arg->devices, &s->error);
    return job_done(s);
}

bool qmp_godwit_snapshot_file(struct qmp_call *call, const struct qmp_godwit_snapshot_file_arg *arg,
                              GError **errp)
{
    return snapshot_file_save(call->machine, arg->filename, errp);
}

struct guid_info *qmp_query_vm_generation_id(struct qmp_call *call, GError **errp)
{
    struct device *dev = devices_find_class(&call->machine->env, &vmgenid_class);
    struct guid_info *info;

    if (!dev) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "VM Generation ID device not found");
        return NULL;
    }
    info = g_new0(struct guid_info, 1);
    info->guid = vmgenid_text(dev);
    return info;
}
