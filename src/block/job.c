/*
 * Jobs: their statuses, what clients may ask in each, and the threads that do the work.
 *
 * The tables of statuses and verbs are those of QEMU 7.2. A job's thread does not change the status
 * itself: it leaves word under the job's mutex and rings a bell, and the main thread takes all the
 * steps that lead to what the thread has said. So nothing is on its way to a job that is freed.
 *
 * Left out: transactions of several jobs.
 */
#include "block/job.h"

#include "base/threads.h"
#include "block/block.h"
#include "qapi-events.h"
#include "qapi/error.h"
#include "qapi/keyval.h"
#include <stdatomic.h>
#include <string.h>

struct jobs {
    struct event_sink *events;
    struct loop *main;
    GPtrArray *list; /* struct job, in order of making */
};

struct job {
    struct jobs *jobs;
    const struct job_driver *driver;
    char *id;
    unsigned flags;
    void *opaque; /* NULL once the driver's clean() has had it */
    enum job_status status;
    char *error; /* why it failed; NULL */
    bool user_paused;
    GThread *thread;
    GSource *bell;
    _Atomic int64_t current, total;
    _Atomic bool cancelled;
    /* between main thread and the job's own; under mutex */
    GMutex mutex;
    GCond moved;
    bool wanted_pause; /* by the client */
    bool pausing;      /* the thread waits */
    bool ready, done;  /* the thread got there */
    bool succeeded;
    GError *failure;
};

/* ---- what is allowed */

#define BIT(status) (1u << JOB_STATUS_##status)

static const unsigned next_status[JOB_STATUS__MAX] = {
    [JOB_STATUS_UNDEFINED] = BIT(CREATED),
    [JOB_STATUS_CREATED] = BIT(RUNNING) | BIT(ABORTING) | BIT(NULL),
    [JOB_STATUS_RUNNING] = BIT(PAUSED) | BIT(READY) | BIT(WAITING) | BIT(ABORTING),
    [JOB_STATUS_PAUSED] = BIT(RUNNING),
    [JOB_STATUS_READY] = BIT(STANDBY) | BIT(WAITING) | BIT(ABORTING),
    [JOB_STATUS_STANDBY] = BIT(READY),
    [JOB_STATUS_WAITING] = BIT(PENDING) | BIT(ABORTING),
    [JOB_STATUS_PENDING] = BIT(ABORTING) | BIT(CONCLUDED),
    [JOB_STATUS_ABORTING] = BIT(CONCLUDED),
    [JOB_STATUS_CONCLUDED] = BIT(NULL),
};

#define ALIVE (BIT(CREATED) | BIT(RUNNING) | BIT(PAUSED) | BIT(READY) | BIT(STANDBY))

static bool verb_allowed(const struct job *job, const char *verb, unsigned statuses, GError **error)
{
    if (statuses >> job->status & 1) {
        return true;
    }
    g_set_error(error, BLOCK_ERROR, 0, "Job '%s' in state '%s' cannot accept command verb '%s'",
                job->id, job_status_str(job->status), verb);
    return false;
}

static void set_status(struct job *job, enum job_status status)
{
    g_assert(next_status[job->status] >> status & 1);
    job->status = status;
    qapi_event_send_job_status_change(job->jobs->events, job->id, status);
}

/* ---- the end */

static void clean(struct job *job)
{
    if (job->opaque && job->driver->clean) {
        job->driver->clean(job, job->opaque);
    }
    job->opaque = NULL;
}

static void job_free(struct job *job)
{
    if (job->thread) {
        g_thread_join(job->thread);
    }
    clean(job);
    loop_bell_free(job->bell);
    g_clear_error(&job->failure);
    g_mutex_clear(&job->mutex);
    g_cond_clear(&job->moved);
    g_free(job->error);
    g_free(job->id);
    g_free(job);
}

static void dismiss(struct job *job)
{
    set_status(job, JOB_STATUS_NULL);
    g_ptr_array_remove(job->jobs->list, job); /* frees it */
}

static void conclude(struct job *job)
{
    clean(job);
    set_status(job, JOB_STATUS_CONCLUDED);
    if (!(job->flags & JOB_MANUAL_DISMISS)) {
        dismiss(job);
    }
}

/* error NULL: it was cancelled. Frees it. */
static void fail(struct job *job, GError *error)
{
    job->error = g_strdup(error ? error->message : g_strerror(ECANCELED));
    g_clear_error(&error);
    set_status(job, JOB_STATUS_ABORTING);
    conclude(job);
}

static void finalize(struct job *job)
{
    GError *error = NULL;

    if (job->driver->prepare && !job->driver->prepare(job, job->opaque, &error)) {
        fail(job, error);
    } else {
        conclude(job);
    }
}

static void completed(struct job *job, bool ok, GError *error)
{
    if (!ok || job_is_cancelled(job)) {
        fail(job, error);
        return;
    }
    set_status(job, JOB_STATUS_WAITING);
    set_status(job, JOB_STATUS_PENDING);
    if (!(job->flags & JOB_MANUAL_FINALIZE)) {
        finalize(job);
    }
}

void job_end(struct job *job, GError *error)
{
    g_assert(!job->driver->run);
    completed(job, !error, error);
}

/* ---- the thread */

static bool is_paused(const struct job *job)
{
    return job->status == JOB_STATUS_PAUSED || job->status == JOB_STATUS_STANDBY;
}

/* Main thread: what the job's thread has said becomes its status. */
static void follow(void *arg)
{
    struct job *job = arg;
    bool pausing, ready, done;

    g_mutex_lock(&job->mutex);
    pausing = job->pausing;
    ready = job->ready;
    done = job->done;
    job->ready = job->done = false;
    g_mutex_unlock(&job->mutex);
    if (is_paused(job) && !pausing) {
        set_status(job, job->status == JOB_STATUS_PAUSED ? JOB_STATUS_RUNNING : JOB_STATUS_READY);
    }
    if (ready) {
        set_status(job, JOB_STATUS_READY);
    }
    if (pausing && !is_paused(job)) {
        set_status(job, job->status == JOB_STATUS_RUNNING ? JOB_STATUS_PAUSED : JOB_STATUS_STANDBY);
    }
    if (done) {
        g_thread_join(g_steal_pointer(&job->thread));
        completed(job, job->succeeded, g_steal_pointer(&job->failure));
    }
}

static gpointer job_thread(gpointer data)
{
    struct job *job = data;
    GError *error = NULL;
    bool ok;

    thread_begin("job", THREAD_OTHER);
    ok = job->driver->run(job, job->opaque, &error);
    g_mutex_lock(&job->mutex);
    job->succeeded = ok;
    job->failure = error;
    job->done = true;
    g_mutex_unlock(&job->mutex);
    loop_bell_ring(job->bell);
    thread_end();
    return NULL;
}

bool job_pause_point(struct job *job)
{
    g_mutex_lock(&job->mutex);
    if (job->wanted_pause && !job_is_cancelled(job)) {
        job->pausing = true;
        loop_bell_ring(job->bell);
        while (job->wanted_pause && !job_is_cancelled(job)) {
            g_cond_wait(&job->moved, &job->mutex);
        }
        job->pausing = false;
        loop_bell_ring(job->bell);
    }
    g_mutex_unlock(&job->mutex);
    return !job_is_cancelled(job);
}

void job_set_ready(struct job *job)
{
    g_mutex_lock(&job->mutex);
    job->ready = true;
    g_mutex_unlock(&job->mutex);
    loop_bell_ring(job->bell);
}

/* ---- what clients ask */

static void want_pause(struct job *job, bool pause)
{
    job->user_paused = pause;
    g_mutex_lock(&job->mutex);
    job->wanted_pause = pause;
    g_cond_broadcast(&job->moved);
    g_mutex_unlock(&job->mutex);
}

bool job_user_pause(struct job *job, GError **error)
{
    if (!verb_allowed(job, "pause", ALIVE, error)) {
        return false;
    }
    if (job->user_paused) {
        g_set_error(error, BLOCK_ERROR, 0, "Job is already paused");
        return false;
    }
    want_pause(job, true);
    return true;
}

bool job_user_resume(struct job *job, GError **error)
{
    if (!job->user_paused) {
        g_set_error(error, BLOCK_ERROR, 0, "Can't resume a job that was not paused");
        return false;
    }
    if (!verb_allowed(job, "resume", ALIVE, error)) {
        return false;
    }
    want_pause(job, false);
    return true;
}

static void cancel(struct job *job)
{
    g_mutex_lock(&job->mutex);
    atomic_store(&job->cancelled, true);
    g_cond_broadcast(&job->moved);
    g_mutex_unlock(&job->mutex);
    if (job->driver->cancel && job->opaque) {
        job->driver->cancel(job, job->opaque);
    }
}

bool job_user_cancel(struct job *job, GError **error)
{
    if (!verb_allowed(job, "cancel", ALIVE | BIT(WAITING) | BIT(PENDING), error)) {
        return false;
    }
    cancel(job);
    if (job->status == JOB_STATUS_CREATED || job->status == JOB_STATUS_PENDING) {
        fail(job, NULL); /* nobody is at work who would notice */
    }
    return true;
}

bool job_user_complete(struct job *job, GError **error)
{
    if (!verb_allowed(job, "complete", BIT(READY), error)) {
        return false;
    }
    if (job_is_cancelled(job) || !job->driver->complete) {
        g_set_error(error, BLOCK_ERROR, 0, "The active block job '%s' cannot be completed",
                    job->id);
        return false;
    }
    return job->driver->complete(job, job->opaque, error);
}

bool job_user_finalize(struct job *job, GError **error)
{
    if (!verb_allowed(job, "finalize", BIT(PENDING), error)) {
        return false;
    }
    finalize(job);
    return true;
}

bool job_user_dismiss(struct job *job, GError **error)
{
    if (!verb_allowed(job, "dismiss", BIT(CONCLUDED), error)) {
        return false;
    }
    dismiss(job);
    return true;
}

/* ---- life */

static struct job *find(struct jobs *jobs, const char *id)
{
    for (guint i = 0; i < jobs->list->len; i++) {
        struct job *job = jobs->list->pdata[i];

        if (strcmp(job->id, id) == 0) {
            return job;
        }
    }
    return NULL;
}

struct job *job_find(struct jobs *jobs, const char *id, GError **error)
{
    struct job *job = find(jobs, id);

    if (!job) {
        g_set_error(error, BLOCK_ERROR, 0, "Job not found");
    }
    return job;
}

bool jobs_has_active(struct jobs *jobs, enum job_type type)
{
    for (guint i = 0; i < jobs->list->len; i++) {
        const struct job *job = jobs->list->pdata[i];

        if (job->driver->type == type && job->status != JOB_STATUS_CONCLUDED) {
            return true;
        }
    }
    return false;
}

struct job *job_new(struct jobs *jobs, const struct job_driver *driver, const char *id,
                    unsigned flags, void *opaque, GError **error)
{
    struct job *job;

    if (!qapi_id_is_valid(id)) {
        g_set_error(error, BLOCK_ERROR, 0, "Invalid job ID '%s'", id);
        return NULL;
    }
    if (find(jobs, id)) {
        g_set_error(error, BLOCK_ERROR, 0, "Job ID '%s' already in use", id);
        return NULL;
    }
    job = g_new0(struct job, 1);
    job->jobs = jobs;
    job->driver = driver;
    job->id = g_strdup(id);
    job->flags = flags;
    job->opaque = opaque;
    job->status = JOB_STATUS_UNDEFINED;
    job->bell = loop_bell_new(jobs->main, follow, job);
    g_mutex_init(&job->mutex);
    g_cond_init(&job->moved);
    g_ptr_array_add(jobs->list, job);
    set_status(job, JOB_STATUS_CREATED);
    return job;
}

void job_start(struct job *job)
{
    set_status(job, JOB_STATUS_RUNNING);
    if (job->driver->run) {
        job->thread = g_thread_new("job", job_thread, job);
    }
}

struct jobs *jobs_new(struct event_sink *events, struct loop *main)
{
    struct jobs *jobs = g_new0(struct jobs, 1);

    jobs->events = events;
    jobs->main = main;
    jobs->list = g_ptr_array_new_with_free_func((GDestroyNotify)job_free);
    return jobs;
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs) {
        return;
    }
    for (guint i = 0; i < jobs->list->len; i++) {
        cancel(jobs->list->pdata[i]);
    }
    g_ptr_array_unref(jobs->list);
    g_free(jobs);
}

struct job_info_list *jobs_query(struct jobs *jobs)
{
    struct job_info_list *list = job_info_list_new();

    for (guint i = jobs->list->len; i-- > 0;) {
        struct job *job = jobs->list->pdata[i];
        struct job_info *info = g_new0(struct job_info, 1);

        info->id = g_strdup(job->id);
        info->type = job->driver->type;
        info->status = job->status;
        info->current_progress = atomic_load(&job->current);
        info->total_progress = atomic_load(&job->total);
        info->error = g_strdup(job->error);
        job_info_list_append(list, info);
    }
    return list;
}

const char *job_id(const struct job *job)
{
    return job->id;
}

void job_set_progress(struct job *job, int64_t current, int64_t total)
{
    atomic_store(&job->current, current);
    atomic_store(&job->total, total);
}

bool job_is_cancelled(const struct job *job)
{
    return atomic_load(&job->cancelled);
}
