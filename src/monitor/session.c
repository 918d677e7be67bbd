/*
 * One client: bytes in, requests, replies and events out.
 *
 * Requests of a session are carried out in its order. Those that the main thread must run go there
 * as a job, one at a time, and the session waits for it: it reads nothing more, or with the oob
 * capability at most SESSION_QUEUE_MAX requests, so that an out-of-band one can overtake.
 *
 * A client that sends much and reads little is throttled: over the high-water mark of its unread
 * replies its input stays in the socket. Events do not count for that: they have a bound of their
 * own, above which they are left out (output.h). Nobody else waits for a client at any time, and
 * none is disconnected for what it does not read.
 *
 * Any thread adds to the output under the mutex. The control thread takes a piece of it to write it
 * without the mutex; `writing` says so meanwhile.
 */
#include "monitor/monitor-priv.h"

#include "base/log.h"
#include "base/yank.h"
#include "qapi-events.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES        (64u << 10)
/* Taken from the output at once. */
#define WRITE_BYTES       (256u << 10)
/* What a pipe takes at once when poll() says that it is writable. */
#define STDIO_WRITE_BYTES 4096

/* How often the log tells of events that were left out for one client. */
#define LOSS_LOG_US       (10 * G_USEC_PER_SEC)

/* How long the main thread has to begin with a quit before the control thread does it. */
#define QUIT_PATIENCE_MS  10

/* A request for the main thread. Whoever changes the state from posted has it. */
struct job {
    struct session *session;
    struct qmp_request request;
    GString *reply;
    _Atomic int state; /* enum job_state */
};

enum job_state { JOB_POSTED, JOB_RUNNING, JOB_TAKEN_BACK };

static bool job_take(struct job *job, enum job_state state)
{
    int posted = JOB_POSTED;

    return atomic_compare_exchange_strong(&job->state, &posted, (int)state);
}

/* ---- output */

void session_append(struct session *s, GString *text)
{
    size_t length = text->len;

    if (s->closed || s->broken || !length) {
        g_string_free(text, TRUE);
    } else {
        output_add_reply(s->out, g_string_free(text, FALSE), length);
    }
}

/* Events of Godwit's own, which clients of QEMU's protocol need not expect. */
static bool event_is_own(const struct event_line *line)
{
    return g_str_has_prefix(line->name, "GODWIT_");
}

static struct output_form session_form(const struct session *s)
{
    return (struct output_form){.own_events = s->mode.own_events, .pretty = s->pretty};
}

void session_append_event(struct session *s, struct event_line *line)
{
    if (s->mode.negotiated && !s->closed && !s->broken &&
        (s->mode.own_events || !event_is_own(line)) && subscription_wants(s->sub, line->id)) {
        output_add_event(s->out, line, session_form(s));
    }
}

/* Mutex held: by the emitter, or by the limits' timer. */
static void deliver_rated(void *opaque, void *item)
{
    struct event_line *line = item;

    session_append_event(opaque, line);
    event_line_unref(line);
}

void session_rate_event(struct session *s, struct event_line *line, const char *data_json,
                        int64_t now_us)
{
    rate_limit_event(subscription_limit(s->sub, line->id), line->name, data_json,
                     event_line_ref(line), now_us);
}

struct subscription *session_new_subscription(struct session *s,
                                              const struct godwit_subscription *wanted,
                                              GError **error)
{
    return subscription_new(wanted, s->mode.own_events, deliver_rated, s, error);
}

void session_count_dropped(struct session *s)
{
    uint64_t dropped = output_take_dropped(s->out);

    s->dropped += dropped;
    s->unlogged += dropped;
}

static ssize_t write_some(struct session *s, struct iovec *iov, unsigned n)
{
    struct pollfd ready = {.fd = s->out_fd, .events = POLLOUT};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};

    if (!s->is_stdio) {
        return sendmsg(s->out_fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    /* Others may share this open file, so it stays in blocking mode. */
    if (poll(&ready, 1, 0) != 1) {
        errno = EAGAIN;
        return -1;
    }
    return write(s->out_fd, iov[0].iov_base, MIN(iov[0].iov_len, STDIO_WRITE_BYTES));
}

bool session_offer(struct session *s, struct fanout_item *item, bool *later)
{
    if (s->closed || s->broken || (!s->writing && output_is_empty(s->out))) {
        return false;
    }
    if (s->is_stdio || s->writing) {
        *later = true;
        return false;
    }
    item->fd = s->out_fd;
    item->n_iov = output_peek(s->out, item->iov, FANOUT_IOVECS, WRITE_BYTES);
    return true;
}

bool session_sent(struct session *s, const struct fanout_item *item)
{
    if (item->result > 0) {
        output_advance(s->out, (size_t)item->result, session_form(s));
    }
    return output_is_empty(s->out);
}

/* A reply of the control thread's own; takes the text. */
static void session_send(struct session *s, GString *text)
{
    if (s->pretty && text->len) {
        GString *plain = text;

        text = g_string_new(NULL);
        qmp_append_pretty(text, plain->str);
        g_string_free(plain, TRUE);
    }
    g_mutex_lock(&s->mon->mutex);
    session_append(s, text);
    g_mutex_unlock(&s->mon->mutex);
}

/* Writes some of what waits. false when the socket takes nothing, or the client is gone. */
static bool flush_some(struct session *s, const struct iovec *iov, unsigned n)
{
    ssize_t written = write_some(s, (struct iovec *)iov, n);
    bool again = written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);

    g_mutex_lock(&s->mon->mutex);
    s->writing = false;
    if (written >= 0) {
        output_advance(s->out, (size_t)written, session_form(s));
        s->stuck_us = 0;
    } else if (!again) {
        /* The peer is gone: what is left has nobody to read it. Requests that came before are still
         * done. */
        s->broken = true;
        output_clear(s->out);
    } else if (!s->stuck_us) {
        s->stuck_us = g_get_monotonic_time();
    }
    g_mutex_unlock(&s->mon->mutex);
    return written >= 0;
}

/* Fills iov with what is to be written. */
static unsigned flush_begin(struct session *s, struct iovec *iov)
{
    unsigned n;

    g_mutex_lock(&s->mon->mutex);
    n = output_peek(s->out, iov, OUTPUT_IOVECS, WRITE_BYTES);
    s->writing = n > 0;
    g_mutex_unlock(&s->mon->mutex);
    return n;
}

bool session_flush(struct session *s)
{
    struct iovec iov[OUTPUT_IOVECS];
    unsigned n;

    while ((n = flush_begin(s, iov))) {
        if (!flush_some(s, iov, n)) {
            return s->broken;
        }
    }
    return true;
}

static bool session_drained(struct session *s)
{
    bool drained;

    g_mutex_lock(&s->mon->mutex);
    drained = output_is_empty(s->out);
    g_mutex_unlock(&s->mon->mutex);
    return drained;
}

static size_t session_reply_bytes(struct session *s)
{
    size_t bytes;

    g_mutex_lock(&s->mon->mutex);
    bytes = output_reply_bytes(s->out);
    g_mutex_unlock(&s->mon->mutex);
    return bytes;
}

/* Clients that take Godwit's own events are told there, the others' events are missed in the log.
 */
static void log_losses(struct session *s, bool last)
{
    uint64_t unlogged;
    int64_t now_us;

    g_mutex_lock(&s->mon->mutex);
    session_count_dropped(s);
    unlogged = s->unlogged;
    g_mutex_unlock(&s->mon->mutex);
    if (!unlogged || s->mode.own_events) {
        return;
    }
    now_us = g_get_monotonic_time();
    if (last || now_us >= s->next_log_us) {
        log_warn("monitor '%s': a client%s%s does not read its events; left out for it: %" PRIu64,
                 s->label, s->peer_address ? " at " : "", s->peer_address ? s->peer_address : "",
                 unlogged);
        g_mutex_lock(&s->mon->mutex);
        s->unlogged -= unlogged;
        g_mutex_unlock(&s->mon->mutex);
        s->next_log_us = now_us + LOSS_LOG_US;
    }
}

/* ---- requests */

static void job_free(struct job *job)
{
    qmp_request_clear(&job->request);
    if (job->reply) {
        g_string_free(job->reply, TRUE);
    }
    g_free(job);
}

static void stop_patience(struct session *s)
{
    if (s->patience) {
        g_source_destroy(s->patience);
        g_source_unref(s->patience);
        s->patience = NULL;
    }
}

/*
 * The end of a job. The main thread wakes the control thread for it, by job_done(), only when that
 * waits for it: most clients send their next command when they have the reply, and then the session
 * looks for itself.
 */
static void drop_job(struct session *s)
{
    job_free(s->job);
    s->job = NULL;
    s->input_waits = false;
    stop_patience(s);
}

/* Lets go of a job that has ended, unless job_done() comes for it. */
static void session_reap(struct session *s)
{
    bool over;

    if (s->job) {
        g_mutex_lock(&s->mon->mutex);
        over = s->job_ended && !s->job_awaited;
        g_mutex_unlock(&s->mon->mutex);
        if (over) {
            drop_job(s);
        }
    }
}

/* Has job_done() called when the job ends. false: it has ended, and nobody will be. */
static bool session_await_job(struct session *s)
{
    bool comes;

    g_mutex_lock(&s->mon->mutex);
    s->job_awaited |= !s->job_ended;
    comes = s->job_awaited;
    g_mutex_unlock(&s->mon->mutex);
    return comes;
}

/* Control thread: the job's reply is queued. */
static void job_done(void *arg)
{
    struct session *s = arg;

    drop_job(s);
    if (s->closed) {
        session_close(s);
    } else {
        session_service(s);
    }
}

/* On behalf of the main thread, machine lock held. Events that the command causes go out before its
 * reply, for the requests that it left are carried out first. A machine that has ended takes no
 * more commands. */
static void job_run(void *arg)
{
    struct job *job = arg;
    struct session *s = job->session;
    struct monitor *mon = s->mon;
    struct qmp_call call = {
        .mon = mon, .machine = mon->machine, .session = s, .passed_fd = &job->request.passed_fd};
    struct session_asker asker = {.session = s, .request = &job->request};
    struct cause_scope scope;
    struct thread_doing outer;
    bool awaited;

    if (!job_take(job, JOB_RUNNING)) {
        job_free(job);
        return;
    }
    thread_doing_begin(&outer, "command", job->request.command->name);
    g_mutex_lock(&mon->mutex);
    mon->batcher = g_thread_self();
    g_mutex_unlock(&mon->mutex);
    if (machine_run_requests(mon->machine)) {
        cause_enter_lazy(mon->machine, &scope, session_asker_cause, &asker);
        qmp_request_run(&job->request, &call, job->reply);
        cause_leave(mon->machine, &scope);
        machine_run_requests_of_command(mon->machine);
    }
    if (s->pretty && job->reply->len) {
        GString *plain = job->reply;

        job->reply = g_string_new(NULL);
        qmp_append_pretty(job->reply, plain->str);
        g_string_free(plain, TRUE);
    }
    g_mutex_lock(&mon->mutex);
    session_append(s, g_steal_pointer(&job->reply));
    monitor_write_batch(mon);
    s->job_ended = true; /* from here on the control thread may free job and session */
    awaited = s->job_awaited;
    g_mutex_unlock(&mon->mutex);
    thread_doing_end(&outer);
    if (awaited) {
        loop_post(mon->loop, job_done, s);
    }
}

/*
 * Aside, on a control thread: the main thread most often sleeps, and waking it takes longer than
 * the command. What has been asked of it before comes first.
 */
static void job_run_here(void *arg)
{
    struct job *job = arg;
    struct loop *main = job->session->mon->machine->loop;

    if (!machine_requests_pending(job->session->mon->machine) && loop_borrow(main)) {
        job_run(job);
        loop_return(main);
    } else {
        loop_post(main, job_run, job);
    }
}

/* ---- quit, whatever the main thread is doing */

/* Control thread: does what quit does but for the end itself, which is left to the main thread, as
 * an end without event, and to the clock. */
static void quit_here(struct session *s, const struct qmp_request *request)
{
    struct machine *m = s->mon->machine;
    struct session_asker asker = {.session = s, .request = request};
    GString *reply = g_string_new(NULL);
    struct cause_scope scope;

    cause_enter_lazy(m, &scope, session_asker_cause, &asker);
    qapi_event_send_shutdown(m->events, false, SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    machine_request_exit(m, 0);
    cause_leave(m, &scope);
    qmp_append_done(reply, request);
    session_send(s, reply);
    monitor_expect_end(s->mon);
}

static gboolean patience_ends(gpointer arg)
{
    struct session *s = arg;
    struct job *job = s->job;

    if (job && job_take(job, JOB_TAKEN_BACK)) { /* job_run() frees it */
        s->job = NULL;
        quit_here(s, &job->request);
    }
    stop_patience(s);
    session_service(s);
    return G_SOURCE_REMOVE;
}

static bool is_quit(const struct qmp_request *request)
{
    return strcmp(request->command->name, "quit") == 0;
}

static void start_patience(struct session *s)
{
    s->patience = g_timeout_source_new(QUIT_PATIENCE_MS);
    g_source_set_callback(s->patience, patience_ends, s, NULL);
    g_source_attach(s->patience, s->mon->loop->context);
}

static void session_reply_error(struct session *s, const struct qmp_request *request,
                                const GError *error)
{
    GString *reply = g_string_new(NULL);

    qmp_append_error(reply, request, error);
    session_send(s, reply);
}

/* Runs the request here, or sends it to the main thread. request is taken over. */
static void session_start(struct session *s, struct qmp_request *request)
{
    struct qmp_call call = {
        .mon = s->mon, .machine = s->mon->machine, .session = s, .passed_fd = &request->passed_fd};
    struct job *job;

    if (request->fault) {
        session_reply_error(s, request, request->fault);
        qmp_request_clear(request);
        return;
    }
    if (request->oob && is_quit(request)) {
        quit_here(s, request);
        qmp_request_clear(request);
        return;
    }
    if (request->oob || qmp_command_thread(request->command) == QMP_ON_CONTROL) {
        GString *reply = g_string_sized_new(128);

        qmp_request_run(request, &call, reply);
        session_send(s, reply);
        qmp_request_clear(request);
        return;
    }
    job = g_new0(struct job, 1);
    job->session = s;
    job->request = *request;
    job->reply = g_string_sized_new(128);
    s->job = job;
    s->job_ended = false; /* no other thread has the session's job yet */
    s->job_awaited = false;
    if (is_quit(request)) {
        start_patience(s);
    }
    if (qmp_command_thread(request->command) != QMP_ON_EITHER ||
        !control_put_aside(s->mon->control, job_run_here, job)) {
        loop_post(s->mon->machine->loop, job_run, job);
    }
}

static void queue_request(struct session *s, struct qmp_request *request)
{
    struct qmp_request *waiting = g_new(struct qmp_request, 1);

    *waiting = *request;
    g_queue_push_tail(&s->waiting, waiting);
}

/* A descriptor belongs to the command that it comes with. Those that came with others, which have
 * no use for them, go when all that was sent with them is read. */
static void take_passed_fd(struct session *s, struct qmp_request *request)
{
    if (s->passed.n == 0) {
        return;
    }
    if (strcmp(request->command->name, "getfd") == 0 ||
        strcmp(request->command->name, "add-fd") == 0) {
        request->passed_fd = passed_fds_take(&s->passed);
    } else if (json_stream_is_empty(s->in)) {
        passed_fds_close(&s->passed);
    }
}

/* Now, or when its turn comes; what is wrong with a request is told in its turn too. */
static void session_take_request(struct session *s, struct qmp_request *request)
{
    if (s->job && !request->oob) {
        queue_request(s, request);
    } else {
        session_start(s, request);
    }
}

static void session_take_value(struct session *s, struct json_object *value)
{
    struct qmp_request request;
    GError *fault = NULL;

    if (qmp_request_parse(&request, value, s->mode, &fault) &&
        qmp_role_permits(s->role, request.command, &fault)) {
        take_passed_fd(s, &request);
    }
    request.fault = fault;
    session_take_request(s, &request);
}

static void session_take_broken(struct session *s, GError *fault)
{
    struct qmp_request request = {.passed_fd = -1, .fault = fault};

    session_take_request(s, &request);
}

static bool take_waiting(struct session *s)
{
    struct qmp_request *request = s->job ? NULL : g_queue_pop_head(&s->waiting);

    if (!request) {
        return false;
    }
    session_start(s, request);
    g_free(request);
    return true;
}

/* Whether the next request may be taken from the stream. */
static bool session_may_take(struct session *s)
{
    if (s->job && (!s->mode.oob || s->waiting.length >= SESSION_QUEUE_MAX)) {
        return false;
    }
    return session_reply_bytes(s) < SESSION_HIGH_WATER_BYTES;
}

static void session_dispatch_input(struct session *s)
{
    while (session_may_take(s)) {
        GError *error = NULL;
        struct json_object *value;

        if (take_waiting(s)) {
            continue;
        }
        switch (json_stream_next(s->in, &value, &error)) {
        case JSON_STREAM_MORE:
            s->starved = true;
            return;
        case JSON_STREAM_ERROR:
            session_take_broken(s, error);
            break;
        case JSON_STREAM_VALUE:
            session_take_value(s, value);
            break;
        }
    }
    if (s->job && !s->starved) { /* most often there is nothing behind the command */
        s->starved = json_stream_is_empty(s->in);
    }
}

/* ---- input */

static ssize_t read_some(struct session *s, char *buf, size_t size)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(16 * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = buf, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof(control.space)};
    ssize_t n;

    if (s->is_stdio) {
        return read(s->in_fd, buf, size);
    }
    n = recvmsg(s->in_fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n >= 0) {
        passed_fds_receive(&s->passed, &msg);
    }
    return n;
}

static void session_read(struct session *s)
{
    ssize_t n = read_some(s, json_stream_room(s->in, READ_BYTES), READ_BYTES);

    if (n > 0) {
        json_stream_add(s->in, (size_t)n);
        s->starved = false;
    } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        s->eof = true;
    }
}

/* ---- life */

static bool session_finished(struct session *s)
{
    bool drained = s->starved && !s->job && g_queue_is_empty(&s->waiting);

    if (s->is_stdio) {
        return s->broken; /* events go on to stdout when stdin has ended */
    }
    return s->eof && drained && session_drained(s);
}

/* Waits for what the session can deal with now. A hang-up cannot be masked, so where nothing is
 * wanted the descriptor is not polled at all. */
static void poll_for(struct session *s, GIOCondition want)
{
    if (s->polled == want) {
        return;
    }
    s->polled = want;
    if (s->in_tag) {
        g_source_remove_unix_fd(s->source, s->in_tag);
        s->in_tag = NULL;
    }
    if (s->out_tag) {
        g_source_remove_unix_fd(s->source, s->out_tag);
        s->out_tag = NULL;
    }
    if (s->is_stdio) {
        if (want & G_IO_OUT) {
            s->out_tag = g_source_add_unix_fd(s->source, s->out_fd, G_IO_OUT);
        }
        want &= G_IO_IN;
    }
    if (want) {
        s->in_tag = g_source_add_unix_fd(s->source, s->in_fd, want);
    }
}

static void session_update_poll(struct session *s, bool flushed)
{
    GIOCondition want = 0;

    /* Also while a job runs: changing what is polled for each command costs more. */
    if (!s->eof && s->starved && (session_may_take(s) || (s->job && !s->input_waits))) {
        want |= G_IO_IN;
    }
    if (!flushed) {
        want |= G_IO_OUT;
    }
    poll_for(s, want);
}

/* Whether there is something to do when the job ends. */
static bool job_holds_up(const struct session *s)
{
    return s->job && (!s->starved || s->eof || s->input_waits || s->waiting.length);
}

void session_service(struct session *s)
{
    bool flushed;

    do {
        session_reap(s);
        session_dispatch_input(s);
        flushed = session_flush(s);
    } while ((!s->starved && session_may_take(s)) || (job_holds_up(s) && !session_await_job(s)));
    log_losses(s, false);
    if (session_finished(s)) {
        session_close(s);
    } else {
        session_update_poll(s, flushed);
    }
}

struct session_source {
    GSource source;
    struct session *session;
};

static gboolean session_ready(GSource *source, GSourceFunc fn, gpointer opaque)
{
    struct session *s = ((struct session_source *)source)->session;
    GIOCondition in = s->in_tag ? g_source_query_unix_fd(source, s->in_tag) : 0;

    if ((in & (G_IO_IN | G_IO_HUP | G_IO_ERR)) && s->polled & G_IO_IN) {
        session_reap(s);
        if (session_may_take(s)) {
            session_read(s);
        } else {
            s->input_waits = s->job != NULL;
        }
    }
    session_service(s);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs session_source_funcs = {.dispatch = session_ready};

struct session *session_new(struct monitor *mon, const char *label,
                            const struct monitor_style *style, int in_fd, int out_fd)
{
    struct session *s = g_new0(struct session, 1);
    GString *greeting = g_string_new(NULL);

    s->mon = mon;
    s->label = label;
    s->pretty = style->pretty;
    s->role = style->role;
    s->in_fd = in_fd;
    s->out_fd = out_fd;
    s->is_stdio = in_fd != out_fd;
    if (!s->is_stdio) {
        session_find_peer(s);
        s->yank = yank_add_socket(YANK_CHARDEV, label, in_fd);
    }
    s->offers_oob = !s->is_stdio;
    s->in = json_stream_new();
    s->starved = true;
    s->out = output_new(journal_boot_id(mon->journal));
    g_queue_init(&s->waiting);
    s->source = g_source_new(&session_source_funcs, sizeof(struct session_source));
    ((struct session_source *)s->source)->session = s;
    g_source_set_can_recurse(s->source, TRUE); /* see loop_watch_fd() */
    g_source_attach(s->source, mon->loop->context);
    qmp_append_greeting(greeting, s->offers_oob);
    session_send(s, greeting);
    return s;
}

void session_free_job(struct session *s)
{
    if (s->job) {
        job_free(s->job);
        s->job = NULL;
    }
}

static void session_free(struct session *s)
{
    struct qmp_request *request;

    while ((request = g_queue_pop_head(&s->waiting))) {
        qmp_request_clear(request);
        g_free(request);
    }
    passed_fds_close(&s->passed);
    if (s->fds) {
        g_hash_table_unref(s->fds);
    }
    json_stream_free(s->in);
    g_free(s->peer_address);
    output_free(s->out);
    subscription_free(s->sub);
    g_free(s);
}

void session_close(struct session *s)
{
    stop_patience(s);
    if (!s->closed) {
        log_losses(s, true);
        monitor_session_ended(s->mon, s);
        g_source_destroy(s->source);
        g_source_unref(s->source);
        if (!s->is_stdio) {
            yank_remove(s->yank);
            close(s->in_fd);
        }
    }
    if (s->job && !session_await_job(s)) {
        drop_job(s);
    }
    if (!s->job) {
        session_free(s);
    }
}
