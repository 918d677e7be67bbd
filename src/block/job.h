/*
 * Jobs: work that a client starts, watches and ends (QEMU 7.2: docs/devel/qapi's job.json and
 * job.c for the states): creating an image, copying a disk, saving a snapshot.
 *
 * A job is made, started and concluded on the main thread under the machine lock; every change of
 * its status is a JOB_STATUS_CHANGE there. The work is done by the driver's run() on a thread of
 * the job's own, or, for a driver without run(), by its owner on the main thread, who calls
 * job_end().
 *
 *     created -> running -> waiting -> pending -> concluded -> null
 *                        -> ready (a job that goes on until it is told to complete)
 *                        -> aborting -> concluded -> null      it failed or was cancelled
 *
 * A job that is paused is "paused", in ready "standby". It waits in pending for job-finalize with
 * JOB_MANUAL_FINALIZE, and in concluded for job-dismiss with JOB_MANUAL_DISMISS.
 */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "base/loop.h"
#include "qapi-types.h"
#include "qapi/event.h"

struct job;
struct jobs;

enum job_flags {
    JOB_MANUAL_FINALIZE = 1 << 0,
    JOB_MANUAL_DISMISS = 1 << 1,
};

struct job_driver {
    enum job_type type;
    /* The work, on a thread of its own without the machine lock. false and *error when it failed,
     * which is also how it ends when job_is_cancelled(); *error may then stay NULL. It may post to
     * the main loop, but not wait for it: whoever frees the jobs there waits for this. NULL: the
     * owner does the work. */
    bool (*run)(struct job *job, void *opaque, GError **error);
    /* The next four: main thread with the machine lock; NULL: nothing to do. */
    /* The client cancels: for what the work waits for elsewhere. */
    void (*cancel)(struct job *job, void *opaque);
    /* job-complete, in ready. NULL: the job has no such point. */
    bool (*complete)(struct job *job, void *opaque, GError **error);
    /* The work succeeded, and the job is finalized: makes its result visible. May still fail. */
    bool (*prepare)(struct job *job, void *opaque, GError **error);
    /* The job ends, well or not; last call. Frees opaque. */
    void (*clean)(struct job *job, void *opaque);
};

/* ---- main thread with the machine lock */

/* events: where JOB_STATUS_CHANGE goes. main: the loop of the machine's main thread. */
struct jobs *jobs_new(struct event_sink *events, struct loop *main);
/* Cancels all jobs and waits for their threads; no events. NULL is fine. */
void jobs_free(struct jobs *jobs);
struct job_info_list *jobs_query(struct jobs *jobs); /* the newest first; owned by the caller */
struct job *job_find(struct jobs *jobs, const char *id, GError **error); /* NULL and *error */
/* Whether a job of that type has not concluded. */
bool jobs_has_active(struct jobs *jobs, enum job_type type);

/* A job in status created; flags: enum job_flags. NULL and *error when the id is taken or no id;
 * opaque stays the caller's then. */
struct job *job_new(struct jobs *jobs, const struct job_driver *driver, const char *id,
                    unsigned flags, void *opaque, GError **error);
/* Running; driver->run() begins. */
void job_start(struct job *job);
/* For a job without run(): the work is done, or has failed for the reason given, which is freed.
 * The job may be gone when this returns. */
void job_end(struct job *job, GError *error);

/* What a client may ask (job-cancel and so on); false and *error when the status does not allow it.
 */
bool job_user_pause(struct job *job, GError **error);
bool job_user_resume(struct job *job, GError **error);
bool job_user_cancel(struct job *job, GError **error);
bool job_user_complete(struct job *job, GError **error);
bool job_user_finalize(struct job *job, GError **error);
bool job_user_dismiss(struct job *job, GError **error);

/* ---- any thread, while the job lives */

const char *job_id(const struct job *job);
/* What query-jobs tells; in units of the job's own. */
void job_set_progress(struct job *job, int64_t current, int64_t total);
bool job_is_cancelled(const struct job *job);
/* From run(), between two pieces of work: waits while the job is paused. false: it is cancelled. */
bool job_pause_point(struct job *job);
/* From run(): the job has reached the point from which job-complete works. Once. */
void job_set_ready(struct job *job);

#endif
