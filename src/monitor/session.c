/*
 * One client: bytes in, requests, replies and events out.
 *
 * Requests of a session are carried out in its order. Those that the main thread must run go there
 * as a job, one at a time, and the session waits for it: it reads nothing more, or with the oob
 * capability at most SESSION_QUEUE_MAX requests, so that an out-of-band one can overtake.
 *
 * A client that sends much and reads little is throttled: over the high-water mark of its output
 * its input stays in the socket. Only events can grow the output beyond that, and a client that
 * leaves them unread up to the limit is disconnected. Nobody else waits for it at any time.
 *
 * Output is two buffers: any thread appends to `pending` under the mutex, the control thread swaps
 * it with `sending` and writes that one without it.
 */
#include "monitor/monitor-priv.h"

#include "base/log.h"
#include <errno.h>
#include <json-c/json.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES        (64u << 10)
/* Buffers that grew beyond this are given back when empty. */
#define KEEP_BYTES        (64u << 10)
/* What a pipe takes at once when poll() says that it is writable. */
#define STDIO_WRITE_BYTES 4096

/* Of a request's id that is kept in the records. */
#define ID_MAX_BYTES      128

struct job {
    struct session *session;
    struct qmp_request request;
    GString *reply;
};

/* ---- output */

void session_append(struct session *s, const char *text, size_t length)
{
    if (!s->closed && !s->broken) {
        g_string_append_len(s->pending, text, (gssize)length);
        s->queued += length;
    }
}

/* Events of Godwit's own, which clients of QEMU's protocol need not expect. */
static bool event_is_own(const struct event_line *line)
{
    return g_str_has_prefix(line->name, "GODWIT_");
}

/* Appends the event's text as this session gets it. */
static void append_line(const struct session *s, const struct event_line *line, GString *out)
{
    if (s->mode.own_events) {
        g_string_append_len(out, line->text, (gssize)line->length);
    } else {
        g_string_append_len(out, line->text, (gssize)line->plain_length);
        g_string_append(out, "}\r\n");
    }
}

void session_append_event(struct session *s, const struct event_line *line)
{
    g_autoptr(GString) text = NULL;

    if (!s->mode.negotiated || s->overrun || s->closed || s->broken ||
        (event_is_own(line) && !s->mode.own_events)) {
        return;
    }
    if (s->queued + line->length > SESSION_LIMIT_BYTES) {
        s->overrun = true;
        return;
    }
    text = g_string_sized_new(line->length + 1);
    append_line(s, line, text);
    if (s->pretty) {
        g_autoptr(GString) plain = g_steal_pointer(&text);

        text = g_string_sized_new(2 * plain->len);
        qmp_append_pretty(text, plain->str);
    }
    session_append(s, text->str, text->len);
}

bool session_write_now(struct session *s)
{
    ssize_t n;

    if (s->closed || s->broken || !s->pending->len) {
        return true;
    }
    if (s->is_stdio || s->queued != s->pending->len) {
        return false;
    }
    n = send(s->out_fd, s->pending->str, s->pending->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
        g_string_erase(s->pending, 0, n);
        s->queued -= (size_t)n;
    }
    return !s->pending->len;
}

/* A reply of the control thread's own. */
static void session_send(struct session *s, const GString *text)
{
    g_autoptr(GString) pretty = NULL;

    if (s->pretty) {
        pretty = g_string_new(NULL);
        qmp_append_pretty(pretty, text->str);
        text = pretty;
    }
    g_mutex_lock(&s->mon->mutex);
    session_append(s, text->str, text->len);
    g_mutex_unlock(&s->mon->mutex);
}

/* Makes what is pending the buffer to send. false when there is nothing. */
static bool take_pending(struct session *s)
{
    GString *empty = s->sending;

    g_string_truncate(empty, 0);
    s->sent = 0;
    if (empty->allocated_len > KEEP_BYTES) {
        g_string_free(empty, TRUE);
        empty = g_string_new(NULL);
    }
    g_mutex_lock(&s->mon->mutex);
    s->sending = s->pending;
    s->pending = empty;
    g_mutex_unlock(&s->mon->mutex);
    return s->sending->len > 0;
}

static ssize_t write_some(struct session *s, const char *text, size_t length)
{
    struct pollfd ready = {.fd = s->out_fd, .events = POLLOUT};

    if (!s->is_stdio) {
        return send(s->out_fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    /* Others may share this open file, so it stays in blocking mode. */
    if (poll(&ready, 1, 0) != 1) {
        errno = EAGAIN;
        return -1;
    }
    return write(s->out_fd, text, MIN(length, STDIO_WRITE_BYTES));
}

/* The peer is gone: what is left has nobody to read it. Requests that came before are still done.
 */
static void session_break(struct session *s)
{
    g_mutex_lock(&s->mon->mutex);
    s->broken = true;
    s->queued = 0;
    g_string_truncate(s->pending, 0);
    g_mutex_unlock(&s->mon->mutex);
    g_string_truncate(s->sending, 0);
    s->sent = 0;
}

bool session_flush(struct session *s)
{
    while (!s->broken) {
        ssize_t n;

        if (s->sent == s->sending->len && !take_pending(s)) {
            return true;
        }
        n = write_some(s, s->sending->str + s->sent, s->sending->len - s->sent);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK) {
                return false;
            }
            session_break(s);
            break;
        }
        s->sent += (size_t)n;
        g_mutex_lock(&s->mon->mutex);
        s->queued -= (size_t)n;
        g_mutex_unlock(&s->mon->mutex);
    }
    return true;
}

static size_t session_queued(struct session *s)
{
    size_t queued;

    g_mutex_lock(&s->mon->mutex);
    queued = s->queued;
    g_mutex_unlock(&s->mon->mutex);
    return queued;
}

/* ---- requests */

static void job_free(struct job *job)
{
    qmp_request_clear(&job->request);
    g_string_free(job->reply, TRUE);
    g_free(job);
}

/* Control thread: the job's reply is queued. */
static void job_done(void *arg)
{
    struct job *job = arg;
    struct session *s = job->session;

    s->job = NULL;
    job_free(job);
    if (s->closed) {
        session_close(s);
    } else {
        session_service(s);
    }
}

/* A copy of a request's id for the records; NULL when it is not plain and short. */
static struct json_object *id_copy(struct json_object *id)
{
    struct json_object *copy = NULL;

    if (id && !json_object_is_type(id, json_type_object) &&
        !json_object_is_type(id, json_type_array) &&
        (!json_object_is_type(id, json_type_string) ||
         json_object_get_string_len(id) <= ID_MAX_BYTES)) {
        json_object_deep_copy(id, &copy, NULL);
    }
    return copy;
}

/* Who asked: the cause of what a command does. */
static struct godwit_cause *job_cause(void *arg)
{
    const struct job *job = arg;
    const struct session *s = job->session;
    struct godwit_cause *info = g_new0(struct godwit_cause, 1);
    struct godwit_client *client = g_new0(struct godwit_client, 1);

    client->monitor = g_strdup(s->label);
    client->has_pid = client->has_uid = client->has_gid = s->peer.pid > 0;
    client->pid = s->peer.pid;
    client->uid = s->peer.uid;
    client->gid = s->peer.gid;
    client->address = g_strdup(s->peer_address);
    client->command = g_strdup(job->request.command->name);
    client->id = id_copy(job->request.id);
    info->who = GODWIT_CAUSE_WHO_CLIENT;
    info->what = g_strdup(client->command);
    info->client = client;
    return info;
}

/* Main thread, machine lock held. Events that the command causes go out before its reply, for the
 * requests that it left are carried out first. A machine that has ended takes no more commands. */
static void job_run(void *arg)
{
    struct job *job = arg;
    struct session *s = job->session;
    struct monitor *mon = s->mon;
    struct qmp_call call = {.mon = mon, .machine = mon->machine, .session = s};
    struct cause_scope scope;

    g_mutex_lock(&mon->mutex);
    mon->batcher = g_thread_self();
    g_mutex_unlock(&mon->mutex);
    if (machine_run_requests(mon->machine)) {
        cause_enter_lazy(mon->machine, &scope, job_cause, job);
        qmp_request_run(&job->request, &call, job->reply);
        cause_leave(mon->machine, &scope);
        machine_run_requests(mon->machine);
    }
    if (s->pretty && job->reply->len) {
        GString *plain = job->reply;

        job->reply = g_string_new(NULL);
        qmp_append_pretty(job->reply, plain->str);
        g_string_free(plain, TRUE);
    }
    g_mutex_lock(&mon->mutex);
    session_append(s, job->reply->str, job->reply->len);
    monitor_write_batch(mon);
    g_mutex_unlock(&mon->mutex);
    loop_post(mon->loop, job_done, job);
}

/* Runs the request here, or sends it to the main thread. request is taken over. */
static void session_start(struct session *s, struct qmp_request *request)
{
    struct qmp_call call = {.mon = s->mon, .machine = s->mon->machine, .session = s};
    struct job *job;

    if (request->oob || qmp_command_thread(request->command) == QMP_ON_CONTROL) {
        g_autoptr(GString) reply = g_string_sized_new(128);

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
    loop_post(s->mon->machine->loop, job_run, job);
}

static void session_reply_error(struct session *s, const struct qmp_request *request,
                                const GError *error)
{
    g_autoptr(GString) reply = g_string_new(NULL);

    qmp_append_error(reply, request, error);
    session_send(s, reply);
}

static void queue_request(struct session *s, struct qmp_request *request)
{
    struct qmp_request *waiting = g_new(struct qmp_request, 1);

    *waiting = *request;
    g_queue_push_tail(&s->waiting, waiting);
}

static void session_take_value(struct session *s, struct json_object *value)
{
    g_autoptr(GError) error = NULL;
    struct qmp_request request;

    if (!qmp_request_parse(&request, value, s->mode, &error)) {
        session_reply_error(s, &request, error);
        qmp_request_clear(&request);
    } else if (s->job && !request.oob) {
        queue_request(s, &request);
    } else {
        session_start(s, &request);
    }
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
    return session_queued(s) < SESSION_HIGH_WATER_BYTES;
}

static void session_dispatch_input(struct session *s)
{
    while (session_may_take(s)) {
        g_autoptr(GError) error = NULL;
        struct qmp_request none = {0};
        struct json_object *value;

        if (take_waiting(s)) {
            continue;
        }
        switch (json_stream_next(s->in, &value, &error)) {
        case JSON_STREAM_MORE:
            s->starved = true;
            return;
        case JSON_STREAM_ERROR:
            session_reply_error(s, &none, error);
            break;
        case JSON_STREAM_VALUE:
            session_take_value(s, value);
            break;
        }
    }
}

/* ---- input */

/* Descriptors that came along have no command that takes them: they must not stay open. */
static void close_passed_fds(struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            close(fd);
        }
    }
}

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
        close_passed_fds(&msg);
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
    return s->eof && drained && session_queued(s) == 0;
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

    if (!s->eof && s->starved && session_may_take(s)) {
        want |= G_IO_IN;
    }
    if (!flushed) {
        want |= G_IO_OUT;
    }
    poll_for(s, want);
}

void session_service(struct session *s)
{
    bool flushed;

    do {
        session_dispatch_input(s);
        flushed = session_flush(s);
    } while (!s->starved && session_may_take(s));
    if (s->overrun) {
        log_warn("monitor '%s': a client leaves %u MiB unread and is disconnected", s->label,
                 SESSION_LIMIT_BYTES >> 20);
    }
    if (s->overrun || session_finished(s)) {
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
        session_read(s);
    }
    session_service(s);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs session_source_funcs = {.dispatch = session_ready};

/* Who is at the other end. */
static void find_peer(struct session *s)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(s->peer);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getsockopt(s->in_fd, SOL_SOCKET, SO_PEERCRED, &s->peer, &length) < 0) {
        s->peer.pid = 0;
    }
    length = sizeof(address);
    if (getpeername(s->in_fd, (struct sockaddr *)&address, &length) == 0 &&
        address.ss_family != AF_UNIX &&
        getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        s->peer_address = g_strdup_printf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    }
}

struct session *session_new(struct monitor *mon, const char *label, bool pretty, int in_fd,
                            int out_fd)
{
    struct session *s = g_new0(struct session, 1);
    g_autoptr(GString) greeting = g_string_new(NULL);

    s->mon = mon;
    s->label = label;
    s->pretty = pretty;
    s->in_fd = in_fd;
    s->out_fd = out_fd;
    s->is_stdio = in_fd != out_fd;
    if (!s->is_stdio) {
        find_peer(s);
    }
    s->offers_oob = !s->is_stdio;
    s->in = json_stream_new();
    s->starved = true;
    s->sending = g_string_new(NULL);
    s->pending = g_string_new(NULL);
    g_queue_init(&s->waiting);
    s->source = g_source_new(&session_source_funcs, sizeof(struct session_source));
    ((struct session_source *)s->source)->session = s;
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
    json_stream_free(s->in);
    g_free(s->peer_address);
    g_string_free(s->sending, TRUE);
    g_string_free(s->pending, TRUE);
    g_free(s);
}

void session_close(struct session *s)
{
    if (!s->closed) {
        monitor_session_ended(s->mon, s);
        g_source_destroy(s->source);
        g_source_unref(s->source);
        if (!s->is_stdio) {
            close(s->in_fd);
        }
    }
    if (!s->job) {
        session_free(s);
    }
}
