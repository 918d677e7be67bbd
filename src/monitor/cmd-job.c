/* Commands of the schema module job. */
#include "monitor/monitor-priv.h"

#include "block/job.h"
#include "qapi-commands.h"

bool qmp_job_pause(struct qmp_call *call, const struct qmp_job_pause_arg *arg, GError **errp)
{
    struct job *job = job_find(call->machine->jobs, arg->id, errp);

    return job && job_user_pause(job, errp);
}

bool qmp_job_resume(struct qmp_call *call, const struct qmp_job_resume_arg *arg, GError **errp)
{
    struct job *job = job_find(call->machine->jobs, arg->id, errp);

    return job && job_user_resume(job, errp);
}

bool qmp_job_cancel(struct qmp_call *call, const struct qmp_job_cancel_arg *arg, GError **errp)
{
    struct job *job = job_find(call->machine->jobs, arg->id, errp);

    return job && job_user_cancel(job, errp);
}

bool qmp_job_complete(struct qmp_call *call, const struct qmp_job_complete_arg *arg, GError **errp)
{
    struct job *job = job_find(call->machine->jobs, arg->id, errp);

    return job && job_user_complete(job, errp);
}

bool qmp_job_dismiss(struct qmp_call *call, const struct qmp_job_dismiss_arg *arg, GError **errp)
{
    struct job *job = job_find(call->machine->jobs, arg->id, errp);

    return job && job_user_dismiss(job, errp);
}

bool qmp_job_finalize(struct qmp_call *call, const struct qmp_job_finalize_arg *arg, GError **errp)
{
    struct job *job = job_find(call->machine->jobs, arg->id, errp);

    return job && job_user_finalize(job, errp);
}

struct job_info_list *qmp_query_jobs(struct qmp_call *call, GError **errp)
{
    return jobs_query(call->machine->jobs);
}
