/*
 * A dump's life: checks, the machine held, the file written, what is told of it.
 *
 * One at a time. A detached dump is written by a thread of its own, which only reads: everything
 * that it needs was gathered before, and the machine is frozen. Its end is the main thread's again.
 */
#include "migration/dump.h"
#include "migration/migration.h"

#include "base/threads.h"
#include "migration/dump-compress.h"
#include "migration/dump-priv.h"
#include "qapi-events.h"
#include "qapi/error.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

struct dump {
    struct machine *m;
    enum dump_status status;
    uint64_t completed, total; /* of a dump that has ended */
    struct dump_job *job;      /* NULL: none is being written */
    GThread *thread;           /* NULL: not detached */
    GError *error;             /* the thread's, until it has ended */
    struct cause *cause;
    bool resume; /* the guest ran before */
};

static struct dump *dump_of(struct machine *m)
{
    if (!m->dump) {
        m->dump = g_new0(struct dump, 1);
        m->dump->m = m;
    }
    return m->dump;
}

static void job_free(struct dump_job *job)
{
    output_close(&job->out);
    if (job->blocks) {
        g_array_unref(job->blocks);
    }
    if (job->mappings) {
        g_array_unref(job->mappings);
    }
    if (job->notes) {
        g_byte_array_unref(job->notes);
    }
    g_free(job);
}

bool dump_format_available(enum dump_guest_memory_format format)
{
    return format == DUMP_GUEST_MEMORY_FORMAT_ELF || dump_compress_flag(format) != 0;
}

static bool refuse(GError **error, const char *text)
{
    g_set_error_literal(error, DUMP_ERROR, 0, text);
    return false;
}

bool dump_check(struct machine *m, const struct dump_options *options, GError **error)
{
    if (runstate_get(m->run) == RUN_STATE_INMIGRATE) {
        return refuse(error, "Dump not allowed during incoming migration.");
    }
    if (machine_frozen(m) && !migration_goes_out(m)) {
        return refuse(error, machine_frozen(m));
    }
    if (options->format != DUMP_GUEST_MEMORY_FORMAT_ELF &&
        (options->paging || options->has_begin || options->has_length)) {
        return refuse(error, "kdump-compressed format doesn't support paging or filter");
    }
    if (options->has_begin && !options->has_length) {
        return refuse(error, "Parameter 'length' is missing");
    }
    if (!options->has_begin && options->has_length) {
        return refuse(error, "Parameter 'begin' is missing");
    }
    if (!dump_format_available(options->format)) {
        g_set_error(error, DUMP_ERROR, 0, "%s is not available now",
                    dump_guest_memory_format_str(options->format));
        return false;
    }
    return !migration_goes_out(m) ||
           refuse(error, "disallowing migration blocker (migration/snapshot in progress) for: "
                         "Live migration disabled: dump-guest-memory in progress");
}

static bool write_job(struct dump_job *job, GError **error)
{
    return job->options.format == DUMP_GUEST_MEMORY_FORMAT_ELF ? dump_elf_write(job, error)
                                                               : dump_kdump_write(job, error);
}

/* ---- the end */

/* The guest goes on if it ran, be it that it was reset meanwhile. */
static void let_go(struct dump *d)
{
    struct machine *m = d->m;
    enum run_state state;

    if (!machine_thaw(m) || !d->resume) {
        return;
    }
    state = runstate_get(m->run);
    if (state == RUN_STATE_SAVE_VM || state == RUN_STATE_PRELAUNCH) {
        vm_start(m, NULL);
    }
}

/* Takes note of a dump that has ended and tells of it; error: NULL for one that is complete. */
static void conclude(struct dump *d, const GError *error)
{
    struct dump_query_result result;

    d->completed = atomic_load(&d->job->completed);
    d->total = d->job->total;
    d->status = error ? DUMP_STATUS_FAILED : DUMP_STATUS_COMPLETED;
    job_free(g_steal_pointer(&d->job));
    result = (struct dump_query_result){
        .status = d->status, .completed = (int64_t)d->completed, .total = (int64_t)d->total};
    qapi_event_send_dump_completed(d->m->events, &result, error ? error->message : NULL);
}

static void thread_ended(void *arg)
{
    struct dump *d = arg;
    g_autoptr(GError) error = NULL;
    struct cause_scope scope;

    if (!d->thread) {
        return; /* dump_finish() was there first */
    }
    g_thread_join(g_steal_pointer(&d->thread));
    error = g_steal_pointer(&d->error);
    cause_enter(d->m, &scope, g_steal_pointer(&d->cause));
    conclude(d, error);
    let_go(d);
    cause_leave(d->m, &scope);
}

static gpointer thread_run(gpointer arg)
{
    struct dump *d = arg;

    thread_begin("dump", THREAD_OTHER);
    write_job(d->job, &d->error);
    loop_post(d->m->loop, thread_ended, d);
    thread_end();
    return NULL;
}

/* ---- the beginning */

/* An error that comes when the guest has been stopped already, but nothing was written. */
static bool gather(struct machine *m, struct dump_job *job, GError **error)
{
    if (job->options.has_length && job->options.length == 0) {
        return refuse(error, "Invalid parameter 'length'");
    }
    if (job->options.has_begin && job->options.begin > INT64_MAX) {
        return refuse(error, "Invalid parameter 'begin'"); /* the client said a negative number */
    }
    return dump_gather(m, job, error);
}

static bool begin(struct dump *d, const struct dump_options *options, int fd, GError **error)
{
    struct machine *m = d->m;
    struct dump_job *job = g_new0(struct dump_job, 1);

    job->options = *options;
    output_init(&job->out, fd, &job->cancel);
    d->completed = d->total = 0;
    d->resume = runstate_is_running(m->run);
    if (d->resume) {
        vm_stop(m, RUN_STATE_SAVE_VM);
    }
    if (!gather(m, job, error)) {
        d->status = DUMP_STATUS_FAILED;
        job_free(job);
        if (d->resume) {
            vm_start(m, NULL);
        }
        return false;
    }
    d->status = DUMP_STATUS_ACTIVE;
    d->job = job;
    machine_freeze(m, DUMP_IN_PROGRESS);
    return true;
}

bool dump_run(struct machine *m, const struct dump_options *options, int fd, bool detach,
              GError **error)
{
    struct dump *d = dump_of(m);
    g_autoptr(GError) failure = NULL;
    struct thread_doing outer;

    g_assert(big_lock_held(&m->lock) && !d->job);
    if (!begin(d, options, fd, error)) {
        return false;
    }
    if (detach) {
        d->cause = cause_now(m, GODWIT_CAUSE_WHO_MACHINE, "dump");
        d->thread = g_thread_new("dump", thread_run, d);
        return true;
    }
    thread_doing_begin(&outer, "dump", NULL);
    write_job(d->job, &failure);
    thread_doing_end(&outer);
    conclude(d, failure);
    let_go(d);
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    return true;
}

static bool write_file(struct dump_job *job, const char *partial, const char *path, GError **error)
{
    if (!write_job(job, error) || !output_verify(&job->out, partial, error)) {
        return false;
    }
    return rename(partial, path) == 0 || dump_fail(error, "give the file its name");
}

bool dump_to_file(struct machine *m, const struct dump_options *options, const char *path,
                  void (*named)(void *opaque), void *opaque, GError **error)
{
    struct dump *d = dump_of(m);
    g_autofree char *partial = g_strdup_printf("%s.partial", path);
    struct dump_job *job = g_new0(struct dump_job, 1);
    g_autoptr(GError) failure = NULL;
    int fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    g_assert(big_lock_held(&m->lock) && !d->job);
    job->options = *options;
    output_init(&job->out, fd, NULL);
    job->out.sum = true;
    d->job = job;
    d->status = DUMP_STATUS_ACTIVE;
    if (fd >= 0) {
        flock(fd, LOCK_EX | LOCK_NB); /* somebody is at it, for who clears up */
    }
    if (fd < 0) {
        dump_fail(&failure, "create the file");
    } else if (!dump_gather(m, job, &failure) || !write_file(job, partial, path, &failure)) {
        unlink(partial);
    } else {
        named(opaque);
    }
    conclude(d, failure);
    if (failure) {
        g_propagate_prefixed_error(error, g_steal_pointer(&failure), "%s: ", path);
        return false;
    }
    return true;
}

struct dump_query_result *dump_query(struct machine *m)
{
    struct dump_query_result *result = g_new0(struct dump_query_result, 1);
    const struct dump *d = m->dump;

    if (d) {
        result->status = d->status;
        result->completed = (int64_t)(d->job ? atomic_load(&d->job->completed) : d->completed);
        result->total = (int64_t)(d->job ? d->job->total : d->total);
    }
    return result;
}

void dump_finish(struct machine *m)
{
    struct dump *d = m->dump;

    if (!d) {
        return;
    }
    if (d->job) {
        atomic_store(&d->job->cancel, true);
    }
    if (d->thread) {
        g_thread_join(d->thread);
        d->thread = NULL;
    }
    if (d->job) {
        job_free(d->job); /* nobody is told: the connections end */
    }
    g_clear_error(&d->error);
    cause_unref(d->cause);
    m->dump = NULL;
    g_free(d);
}
