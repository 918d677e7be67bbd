/*
 * Jobs: statuses and their events, verbs, pausing, what happens when a job ends or is freed.
 */
#include "block/job.h"

#include "block/block.h"
#include <string.h>

struct fixture {
    struct event_sink sink; /* first */
    struct loop *main;
    struct jobs *jobs;
    GString *events; /* "ID STATUS" each, as the JSON says */
    unsigned cleaned;
    GMutex mutex; /* around: */
    GCond cond;
    unsigned gate; /* how many pieces of work may be done */
    bool fail;
};

static void note_event(struct event_sink *sink, unsigned event, const char *data)
{
    struct fixture *f = (struct fixture *)sink;

    g_string_append_printf(f->events, "%s;", data);
}

static void set_up(struct fixture *f, gconstpointer unused)
{
    f->sink.emit = note_event;
    f->events = g_string_new(NULL);
    f->main = loop_new(NULL);
    f->jobs = jobs_new(&f->sink, f->main);
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    jobs_free(f->jobs);
    loop_free(f->main);
    g_string_free(f->events, TRUE);
}

/* The main thread runs until the job has that status. */
static void run_until(struct fixture *f, const char *id, const char *status)
{
    g_autofree char *want = g_strdup_printf("{\"id\": \"%s\", \"status\": \"%s\"};", id, status);

    while (!g_str_has_suffix(f->events->str, want)) {
        g_main_context_iteration(f->main->context, TRUE);
    }
}

static void expect(struct fixture *f, const char *id, const char *statuses)
{
    g_auto(GStrv) words = g_strsplit(statuses, " ", -1);
    g_autoptr(GString) want = g_string_new(NULL);

    for (unsigned i = 0; words[i]; i++) {
        g_string_append_printf(want, "{\"id\": \"%s\", \"status\": \"%s\"};", id, words[i]);
    }
    g_assert_cmpstr(f->events->str, ==, want->str);
    g_string_truncate(f->events, 0);
}

static void expect_refused(bool ok, GError **error, const char *text)
{
    g_assert_false(ok);
    g_assert_cmpstr((*error)->message, ==, text);
    g_clear_error(error);
}

static void open_gate(struct fixture *f, unsigned n)
{
    g_mutex_lock(&f->mutex);
    f->gate += n;
    g_cond_broadcast(&f->cond);
    g_mutex_unlock(&f->mutex);
}

/* Two pieces of work, each when the gate lets it. */
static bool work(struct job *job, void *opaque, GError **error)
{
    struct fixture *f = opaque;

    for (int i = 0; i < 2; i++) {
        g_mutex_lock(&f->mutex);
        while (!f->gate && !job_is_cancelled(job)) {
            g_cond_wait(&f->cond, &f->mutex);
        }
        f->gate -= f->gate ? 1 : 0;
        g_mutex_unlock(&f->mutex);
        job_set_progress(job, i + 1, 2);
        if (!job_pause_point(job)) {
            return false;
        }
    }
    if (f->fail) {
        g_set_error(error, BLOCK_ERROR, 0, "the disk is on fire");
    }
    return !f->fail;
}

static void cancel_work(struct job *job, void *opaque)
{
    open_gate(opaque, 0);
}

static void clean_work(struct job *job, void *opaque)
{
    ((struct fixture *)opaque)->cleaned++;
}

static const struct job_driver worker = {
    .type = JOB_TYPE_CREATE,
    .run = work,
    .cancel = cancel_work,
    .clean = clean_work,
};

static struct job *start(struct fixture *f, const char *id, unsigned flags)
{
    g_autoptr(GError) error = NULL;
    struct job *job = job_new(f->jobs, &worker, id, flags, f, &error);

    g_assert_no_error(error);
    job_start(job);
    return job;
}

static void check_info(struct fixture *f, enum job_status status, int64_t done, const char *error)
{
    struct job_info_list *list = jobs_query(f->jobs);

    g_assert_cmpuint(list->n, ==, 1);
    g_assert_cmpint(list->v[0]->status, ==, status);
    g_assert_cmpint(list->v[0]->type, ==, JOB_TYPE_CREATE);
    g_assert_cmpint(list->v[0]->current_progress, ==, done);
    g_assert_cmpstr(list->v[0]->error, ==, error);
    job_info_list_free(list);
}

static void test_success(struct fixture *f, gconstpointer unused)
{
    struct job *job = start(f, "a", JOB_MANUAL_DISMISS);
    g_autoptr(GError) error = NULL;

    expect_refused(job_user_dismiss(job, &error), &error,
                   "Job 'a' in state 'running' cannot accept command verb 'dismiss'");
    expect_refused(job_user_complete(job, &error), &error,
                   "Job 'a' in state 'running' cannot accept command verb 'complete'");
    open_gate(f, 2);
    run_until(f, "a", "concluded");
    expect(f, "a", "created running waiting pending concluded");
    g_assert_cmpuint(f->cleaned, ==, 1);
    check_info(f, JOB_STATUS_CONCLUDED, 2, NULL);
    expect_refused(job_user_cancel(job, &error), &error,
                   "Job 'a' in state 'concluded' cannot accept command verb 'cancel'");
    g_assert_true(job_user_dismiss(job, NULL));
    expect(f, "a", "null");
    expect_refused(job_find(f->jobs, "a", &error) != NULL, &error, "Job not found");
}

static void test_finalize(struct fixture *f, gconstpointer unused)
{
    struct job *job = start(f, "a", JOB_MANUAL_FINALIZE);

    open_gate(f, 2);
    run_until(f, "a", "pending");
    expect(f, "a", "created running waiting pending");
    g_assert_true(jobs_has_active(f->jobs, JOB_TYPE_CREATE));
    g_assert_true(job_user_finalize(job, NULL));
    expect(f, "a", "concluded null");
    g_assert_false(jobs_has_active(f->jobs, JOB_TYPE_CREATE));
}

static void test_failure(struct fixture *f, gconstpointer unused)
{
    f->fail = true;
    start(f, "a", JOB_MANUAL_DISMISS);
    open_gate(f, 2);
    run_until(f, "a", "concluded");
    expect(f, "a", "created running aborting concluded");
    check_info(f, JOB_STATUS_CONCLUDED, 2, "the disk is on fire");
}

static void test_cancel(struct fixture *f, gconstpointer unused)
{
    struct job *job = start(f, "a", JOB_MANUAL_DISMISS);

    open_gate(f, 1);
    g_assert_true(job_user_cancel(job, NULL));
    run_until(f, "a", "concluded");
    expect(f, "a", "created running aborting concluded");
    job_user_dismiss(job, NULL);
    g_string_truncate(f->events, 0);
    job = job_new(f->jobs, &worker, "b", 0, f, NULL); /* never started */
    g_assert_true(job_user_cancel(job, NULL));
    expect(f, "b", "created aborting concluded null");
    g_assert_cmpuint(f->cleaned, ==, 2);
}

static void test_pause(struct fixture *f, gconstpointer unused)
{
    struct job *job = start(f, "a", 0);
    g_autoptr(GError) error = NULL;

    expect_refused(job_user_resume(job, &error), &error, "Can't resume a job that was not paused");
    g_assert_true(job_user_pause(job, NULL));
    expect_refused(job_user_pause(job, &error), &error, "Job is already paused");
    open_gate(f, 1);
    run_until(f, "a", "paused");
    check_info(f, JOB_STATUS_PAUSED, 1, NULL);
    g_assert_true(job_user_resume(job, NULL));
    open_gate(f, 1);
    run_until(f, "a", "null");
    expect(f, "a", "created running paused running waiting pending concluded null");
}

static void test_pause_cancel(struct fixture *f, gconstpointer unused)
{
    struct job *job = start(f, "a", 0);

    job_user_pause(job, NULL);
    open_gate(f, 1);
    run_until(f, "a", "paused");
    g_assert_true(job_user_cancel(job, NULL));
    run_until(f, "a", "null");
    expect(f, "a", "created running paused running aborting concluded null");
}

static bool get_ready(struct job *job, void *opaque, GError **error)
{
    struct fixture *f = opaque;

    job_set_ready(job);
    g_mutex_lock(&f->mutex);
    while (!f->gate && !job_is_cancelled(job)) {
        g_cond_wait(&f->cond, &f->mutex);
    }
    g_mutex_unlock(&f->mutex);
    return !job_is_cancelled(job);
}

static bool complete(struct job *job, void *opaque, GError **error)
{
    open_gate(opaque, 1);
    return true;
}

static bool prepare(struct job *job, void *opaque, GError **error)
{
    struct fixture *f = opaque;

    if (f->fail) {
        g_set_error(error, BLOCK_ERROR, 0, "the graph has changed");
    }
    return !f->fail;
}

static void test_ready(struct fixture *f, gconstpointer fail)
{
    static const struct job_driver driver = {.type = JOB_TYPE_CREATE,
                                             .run = get_ready,
                                             .cancel = cancel_work,
                                             .complete = complete,
                                             .prepare = prepare,
                                             .clean = clean_work};
    struct job *job = job_new(f->jobs, &driver, "a", JOB_MANUAL_DISMISS, f, NULL);

    f->fail = fail != NULL;
    job_start(job);
    run_until(f, "a", "ready");
    g_assert_true(job_user_complete(job, NULL));
    run_until(f, "a", "concluded");
    expect(f, "a",
           fail ? "created running ready waiting pending aborting concluded"
                : "created running ready waiting pending concluded");
    check_info(f, JOB_STATUS_CONCLUDED, 0, fail ? "the graph has changed" : NULL);
}

/* A job without a thread: its owner says when it ends. */
static void test_owner(struct fixture *f, gconstpointer unused)
{
    static const struct job_driver driver = {.type = JOB_TYPE_CREATE, .clean = clean_work};
    struct job *job = job_new(f->jobs, &driver, "a", JOB_MANUAL_DISMISS, f, NULL);

    job_start(job);
    job_end(job, g_error_new(BLOCK_ERROR, 0, "no room"));
    expect(f, "a", "created running aborting concluded");
    check_info(f, JOB_STATUS_CONCLUDED, 0, "no room");
    job = job_new(f->jobs, &driver, "b", 0, f, NULL);
    job_start(job);
    job_end(job, NULL);
    expect(f, "b", "created running waiting pending concluded null");
}

static void test_ids(struct fixture *f, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;

    start(f, "a", 0);
    expect_refused(job_new(f->jobs, &worker, "a", 0, f, &error) != NULL, &error,
                   "Job ID 'a' already in use");
    expect_refused(job_new(f->jobs, &worker, "1a", 0, f, &error) != NULL, &error,
                   "Invalid job ID '1a'");
    expect_refused(job_new(f->jobs, &worker, "", 0, f, &error) != NULL, &error,
                   "Invalid job ID ''");
    /* what is still at work is cancelled and waited for by tear_down() */
}

static void test_free(struct fixture *f, gconstpointer unused)
{
    struct job *job = start(f, "a", 0);

    job_user_pause(job, NULL);
    open_gate(f, 1);
    run_until(f, "a", "paused");
    start(f, "b", 0);
    jobs_free(g_steal_pointer(&f->jobs));
    g_assert_cmpuint(f->cleaned, ==, 2);
}

#define ADD(name, arg, fn) g_test_add("/job/" name, struct fixture, arg, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("success", NULL, test_success);
    ADD("finalize", NULL, test_finalize);
    ADD("failure", NULL, test_failure);
    ADD("cancel", NULL, test_cancel);
    ADD("pause", NULL, test_pause);
    ADD("pause-cancel", NULL, test_pause_cancel);
    ADD("ready", NULL, test_ready);
    ADD("ready-fails", "fail", test_ready);
    ADD("owner", NULL, test_owner);
    ADD("ids", NULL, test_ids);
    ADD("free", NULL, test_free);
    return g_test_run();
}
