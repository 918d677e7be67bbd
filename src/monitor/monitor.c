/*
 * The control thread: endpoints, the list of sessions, and the fan-out of events.
 */
#include "monitor/monitor-priv.h"

#include "base/log.h"
#include "base/yank.h"
#include "chardev/listener.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * At the end clients get what is left for them: a client that takes nothing for STUCK_US gets no
 * more of it, one that was stuck before has the grace, and END_US is for those that take it byte by
 * byte.
 */
#define STUCK_US   (3 * G_USEC_PER_SEC)
#define GRACE_US   (G_USEC_PER_SEC / 4)
#define END_US     (10 * G_USEC_PER_SEC)

/* How long the main thread may go on to hang after a quit that it was too busy to carry out. */
#define ABANDON_MS 5000

struct endpoint {
    struct monitor *mon;
    char *label;
    struct monitor_style style;
    struct sock_address address; /* of a socket */
    struct listener *listener;   /* NULL: stdio or a client socket */
    int fd;                      /* connected before the start (wait=on, server=off); -1: none */
    bool is_stdio;
    GSource *watch; /* NULL: not listening, or too many sessions */
    bool told_full; /* the log has told that clients wait */
    struct yank *instance;
};

static void accept_clients(struct monitor *mon);

/* ---- events */

/* Mutex held. Whoever is in a batch has its events written at the batch's end. */
static void note_delivery(struct monitor *mon)
{
    if (mon->batcher != g_thread_self()) {
        monitor_post_service(mon);
    }
}

/* Mutex held. What passed the limit that sessions share. */
static void deliver_event(void *opaque, void *item)
{
    struct monitor *mon = opaque;
    struct event_line *line = item;

    for (guint i = 0; i < mon->sessions->len; i++) {
        struct session *s = mon->sessions->pdata[i];

        if (!subscription_limit(s->sub, line->id)) {
            session_append_event(s, line);
        }
    }
    note_delivery(mon);
    event_line_unref(line);
}

static void drop_event(void *item)
{
    event_line_unref(item);
}

/* Mutex held. To the sessions that have an interval of their own for it. */
static void rate_event(struct monitor *mon, struct event_line *line, const char *data_json,
                       int64_t now_us)
{
    for (guint i = 0; i < mon->sessions->len; i++) {
        struct session *s = mon->sessions->pdata[i];

        if (subscription_limit(s->sub, line->id)) {
            session_rate_event(s, line, data_json, now_us);
            note_delivery(mon);
        }
    }
}

static int64_t earlier(int64_t a_us, int64_t b_us)
{
    return a_us < 0 || (b_us >= 0 && b_us < a_us) ? b_us : a_us;
}

/* Mutex held. The timer runs on the monotonic clock, which is real time that nobody sets. */
static void set_limit_timer(struct monitor *mon)
{
    int64_t next_us = rate_limit_deadline_us(mon->limit);

    for (guint i = 0; i < mon->sessions->len; i++) {
        const struct session *s = mon->sessions->pdata[i];
        struct rate_limit *limit = subscription_limits(s->sub);

        next_us = limit ? earlier(next_us, rate_limit_deadline_us(limit)) : next_us;
    }
    g_source_set_ready_time(mon->limit_timer, next_us);
}

/*
 * The event gets its number, goes to the log, and then to the sessions. emit_mutex keeps that order
 * for all threads but the control thread, which waits for no disk: when another thread is in here,
 * its event may reach sessions first.
 */
static void emit_caused(struct event_sink *sink, unsigned event, const char *data_json,
                        const struct event_cause *cause)
{
    struct monitor *mon = (struct monitor *)sink;
    bool is_control = loop_is_here(mon->loop);
    bool ordered = true;
    struct event_line *line;
    int64_t now_us;

    if (is_control) {
        ordered = g_mutex_trylock(&mon->emit_mutex);
    } else {
        g_mutex_lock(&mon->emit_mutex);
    }
    g_mutex_lock(&mon->mutex);
    line = journal_add(mon->journal, event, data_json, cause->json);
    g_mutex_unlock(&mon->mutex);
    if (cause->numbered) {
        cause->numbered(cause->opaque, line->seq);
    }
    journal_write_log(mon->journal, !is_control);
    g_mutex_lock(&mon->mutex);
    now_us = g_get_monotonic_time();
    rate_event(mon, line, data_json, now_us);
    rate_limit_event(mon->limit, line->name, data_json, line, now_us);
    set_limit_timer(mon);
    g_mutex_unlock(&mon->mutex);
    if (ordered) {
        g_mutex_unlock(&mon->emit_mutex);
    }
}

static void emit(struct event_sink *sink, unsigned event, const char *data_json)
{
    static const struct event_cause unknown = {0};

    emit_caused(sink, event, data_json, &unknown);
}

static gboolean limit_timer_fired(gpointer opaque)
{
    struct monitor *mon = opaque;
    int64_t now_us = g_get_monotonic_time();

    g_mutex_lock(&mon->mutex);
    rate_limit_run(mon->limit, now_us);
    for (guint i = 0; i < mon->sessions->len; i++) {
        const struct session *s = mon->sessions->pdata[i];
        struct rate_limit *limit = subscription_limits(s->sub);

        if (limit) {
            rate_limit_run(limit, now_us);
            note_delivery(mon);
        }
    }
    set_limit_timer(mon);
    g_mutex_unlock(&mon->mutex);
    return G_SOURCE_CONTINUE;
}

static gboolean timer_dispatch(GSource *source, GSourceFunc fn, gpointer opaque)
{
    return fn(opaque);
}

static GSourceFuncs timer_funcs = {.dispatch = timer_dispatch};

/* ---- service of sessions */

static void service_all(void *arg)
{
    struct monitor *mon = arg;
    g_autoptr(GPtrArray) sessions = NULL;

    g_mutex_lock(&mon->mutex);
    mon->service_posted = false;
    sessions = g_ptr_array_copy(mon->sessions, NULL, NULL);
    g_mutex_unlock(&mon->mutex);
    for (guint i = 0; i < sessions->len; i++) {
        session_service(sessions->pdata[i]); /* closes at most itself */
    }
}

void monitor_post_service(struct monitor *mon)
{
    if (!mon->service_posted && mon->sessions->len) {
        mon->service_posted = true;
        loop_post(mon->loop, service_all, mon);
    }
}

/* From the i-th session on; returns where it stopped. */
static guint write_some(struct monitor *mon, guint i, bool *later)
{
    struct fanout_item items[FANOUT_MAX];
    struct session *to[FANOUT_MAX];
    unsigned n = 0;

    for (; i < mon->sessions->len && n < FANOUT_MAX; i++) {
        to[n] = mon->sessions->pdata[i];
        n += session_offer(to[n], &items[n], later);
    }
    fanout_send(mon->fanout, items, n);
    for (unsigned k = 0; k < n; k++) {
        *later |= !session_sent(to[k], &items[k]);
    }
    return i;
}

void monitor_write_batch(struct monitor *mon)
{
    bool later = false;

    mon->batcher = NULL;
    for (guint i = 0; i < mon->sessions->len;) {
        i = write_some(mon, i, &later);
    }
    if (later) {
        monitor_post_service(mon);
    }
}

static void add_session(struct endpoint *ep, int in_fd, int out_fd)
{
    struct monitor *mon = ep->mon;
    struct session *s = session_new(mon, ep->label, &ep->style, in_fd, out_fd);

    g_mutex_lock(&mon->mutex);
    g_ptr_array_add(mon->sessions, s);
    g_mutex_unlock(&mon->mutex);
    session_service(s);
}

void monitor_session_ended(struct monitor *mon, struct session *s)
{
    g_mutex_lock(&mon->mutex);
    s->closed = true;
    g_ptr_array_remove(mon->sessions, s);
    g_mutex_unlock(&mon->mutex);
    if (!mon->stopping) {
        accept_clients(mon);
    }
}

/* ---- endpoints */

static void add_connection(struct endpoint *ep, int fd)
{
    int on = 1;

    /* Replies are written whole; waiting to fill a segment would only delay them. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    add_session(ep, fd, fd);
}

/* All clients together leave half of the descriptors to disks and the like; those of one socket
 * leave a quarter of that, so that they cannot keep the clients of another out. */
static bool endpoint_has_room(struct endpoint *ep)
{
    GPtrArray *sessions = ep->mon->sessions;
    unsigned own = 0, max = MONITOR_MAX_SESSIONS;
    struct rlimit descriptors;

    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
        max = (unsigned)MIN(descriptors.rlim_cur / 2, max);
    }
    for (guint i = 0; i < sessions->len; i++) {
        struct session *s = sessions->pdata[i];

        own += s->label == ep->label;
    }
    if (sessions->len < max && own < max - max / 4) {
        return true;
    }
    if (!ep->told_full) {
        log_warn("monitor '%s': more than %u clients: others wait until one leaves", ep->label,
                 own);
        ep->told_full = true;
    }
    return false;
}

static bool endpoint_ready(int fd, GIOCondition condition, void *arg)
{
    struct endpoint *ep = arg;

    while (endpoint_has_room(ep)) {
        int client = listener_accept(ep->listener, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (client >= 0) {
            add_connection(ep, client);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return true;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            log_warn("monitor '%s': a client cannot be accepted: %s", ep->label, strerror(errno));
            break;
        }
    }
    ep->watch = NULL; /* until a session ends */
    return false;
}

static void accept_clients(struct monitor *mon)
{
    for (guint i = 0; i < mon->endpoints->len; i++) {
        struct endpoint *ep = mon->endpoints->pdata[i];

        if (ep->listener && !ep->watch) {
            ep->watch =
                loop_watch_fd(mon->loop, listener_fd(ep->listener), G_IO_IN, endpoint_ready, ep);
        }
    }
}

static void endpoint_free(void *arg)
{
    struct endpoint *ep = arg;

    yank_remove(ep->instance);
    listener_free(ep->listener);
    if (ep->fd >= 0) {
        close(ep->fd);
    }
    sock_address_clear(&ep->address);
    g_free(ep->label);
    g_free(ep);
}

static struct endpoint *endpoint_new(struct monitor *mon, const char *label,
                                     const struct monitor_style *style)
{
    struct endpoint *ep = g_new0(struct endpoint, 1);

    ep->mon = mon;
    ep->label = g_strdup(label);
    ep->style = *style;
    ep->fd = -1;
    return ep;
}

static bool wait_for_client(struct endpoint *ep, GError **error)
{
    g_autofree char *where = sock_address_describe(&ep->address);

    log_info("waiting for a connection on %s", where);
    ep->fd = listener_wait(ep->listener, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (ep->fd < 0) {
        g_set_error(error, MACHINE_ERROR, 0, "%s: no client can be accepted: %s", where,
                    strerror(errno));
    }
    return ep->fd >= 0;
}

static void address_copy(struct sock_address *to, const struct sock_address *from)
{
    *to = *from;
    to->path = g_strdup(from->path);
    to->host = g_strdup(from->host);
    to->port = g_strdup(from->port);
}

bool monitor_add_socket(struct monitor *mon, const struct sock_address *address, const char *label,
                        const struct monitor_style *style, GError **error)
{
    struct endpoint *ep = endpoint_new(mon, label, style);
    bool ok;

    address_copy(&ep->address, address);
    if (address->server) {
        ep->listener = listener_new(address, error);
        ok = ep->listener && (!address->wait || wait_for_client(ep, error));
    } else {
        ep->fd = sock_connect(address, error);
        ok = ep->fd >= 0;
    }
    if (!ok) {
        endpoint_free(ep);
        return false;
    }
    ep->instance = yank_add(YANK_CHARDEV, label, NULL, NULL);
    g_ptr_array_add(mon->endpoints, ep);
    return true;
}

bool monitor_add_stdio(struct monitor *mon, const struct monitor_style *style, GError **error)
{
    struct endpoint *ep;

    for (guint i = 0; i < mon->endpoints->len; i++) {
        if (((struct endpoint *)mon->endpoints->pdata[i])->is_stdio) {
            g_set_error(error, MACHINE_ERROR, 0, "stdio is in use by another monitor");
            return false;
        }
    }
    ep = endpoint_new(mon, "stdio", style);
    ep->is_stdio = true;
    g_ptr_array_add(mon->endpoints, ep);
    return true;
}

static bool endpoint_in_use(struct monitor *mon, const struct endpoint *ep)
{
    bool found = false;

    g_mutex_lock(&mon->mutex);
    for (guint i = 0; i < mon->sessions->len && !found; i++) {
        found = ((struct session *)mon->sessions->pdata[i])->label == ep->label;
    }
    g_mutex_unlock(&mon->mutex);
    return found;
}

void monitor_foreach_endpoint(struct monitor *mon,
                              void (*fn)(void *opaque, const char *label, const char *description),
                              void *opaque)
{
    for (guint i = 0; mon && i < mon->endpoints->len; i++) {
        struct endpoint *ep = mon->endpoints->pdata[i];
        g_autofree char *address = ep->is_stdio ? NULL : sock_address_describe(&ep->address);
        g_autofree char *description =
            g_strdup_printf("%s%s", ep->is_stdio || endpoint_in_use(mon, ep) ? "" : "disconnected:",
                            ep->is_stdio ? "stdio" : address);

        fn(opaque, ep->label, description);
    }
}

/* ---- the end */

/* Until when an unflushed session is waited for. */
static gint64 flush_deadline_us(const struct session *s, gint64 begin_us)
{
    return MIN(MAX(s->stuck_us + STUCK_US, begin_us + GRACE_US), begin_us + END_US);
}

/* Writes to all sessions as they take it: one that reads nothing takes no time from the others. */
static void flush_all(struct monitor *mon)
{
    g_autofree struct pollfd *fds = g_new0(struct pollfd, mon->sessions->len);
    gint64 begin_us = g_get_monotonic_time();
    gint64 now_us, last_us;
    unsigned n;

    do {
        n = 0;
        last_us = 0;
        for (guint i = 0; i < mon->sessions->len; i++) {
            struct session *s = mon->sessions->pdata[i];
            gint64 until_us;

            if (session_flush(s)) {
                continue;
            }
            until_us = flush_deadline_us(s, begin_us);
            if (until_us > g_get_monotonic_time()) {
                fds[n++] = (struct pollfd){.fd = s->out_fd, .events = POLLOUT};
                last_us = MAX(last_us, until_us);
            }
        }
        now_us = g_get_monotonic_time();
        if (n && last_us > now_us) {
            poll(fds, n, (int)((last_us - now_us) / 1000) + 1);
        }
    } while (n);
}

/* ---- life */

struct monitor *monitor_new(void)
{
    struct monitor *mon = g_new0(struct monitor, 1);

    mon->sink.emit = emit;
    mon->sink.emit_caused = emit_caused;
    mon->loop = loop_new(NULL);
    mon->loop->stays_awake = g_get_num_processors() > 1;
    mon->control = control_new(mon->loop);
    mon->endpoints = g_ptr_array_new_with_free_func(endpoint_free);
    mon->sessions = g_ptr_array_new();
    g_mutex_init(&mon->mutex);
    g_mutex_init(&mon->emit_mutex);
    mon->fanout = fanout_new();
    mon->journal = journal_new(JOURNAL_MAX_EVENTS, JOURNAL_MAX_BYTES);
    mon->limit = rate_limit_new(rate_rules, deliver_event, drop_event, mon);
    mon->limit_timer = g_source_new(&timer_funcs, sizeof(GSource));
    g_source_set_callback(mon->limit_timer, limit_timer_fired, mon, NULL);
    g_source_attach(mon->limit_timer, mon->loop->context);
    return mon;
}

bool monitor_log_events(struct monitor *mon, const char *path, GError **error)
{
    return journal_open_log(mon->journal, path, error);
}

void monitor_watch_main(struct monitor *mon, unsigned stall_ms)
{
    mon->stall_ms = stall_ms;
}

void monitor_set_abandon(struct monitor *mon, void (*abandon)(void *opaque), void *opaque)
{
    mon->abandon = abandon;
    mon->abandon_opaque = opaque;
}

/* Main thread: it moves, so it comes to its end by itself, however long that takes. */
static void main_moves(void *opaque)
{
    struct monitor *mon = opaque;

    atomic_store(&mon->main_moved, true);
}

/* The main thread still hangs: the process ends without it. */
static gboolean abandon(gpointer opaque)
{
    struct monitor *mon = opaque;

    if (atomic_load(&mon->main_moved)) {
        return G_SOURCE_REMOVE;
    }
    log_error("the main thread does not come to the end that was asked for; ended without it");
    journal_write_log(mon->journal, true);
    flush_all(mon);
    for (guint i = 0; i < mon->endpoints->len; i++) {
        const struct endpoint *ep = mon->endpoints->pdata[i];

        if (ep->listener) {
            listener_unlink(ep->listener);
        }
    }
    mon->abandon(mon->abandon_opaque);
    return G_SOURCE_REMOVE;
}

void monitor_expect_end(struct monitor *mon)
{
    if (mon->abandon && !mon->impatience) {
        mon->impatience = g_timeout_source_new(ABANDON_MS);
        g_source_set_callback(mon->impatience, abandon, mon, NULL);
        g_source_attach(mon->impatience, mon->loop->context);
        loop_post(mon->machine->loop, main_moves, mon);
    }
}

static void stop_impatience(struct monitor *mon)
{
    if (mon->impatience) {
        g_source_destroy(mon->impatience);
        g_source_unref(mon->impatience);
    }
}

struct event_sink *monitor_event_sink(struct monitor *mon)
{
    return &mon->sink;
}

static void start_endpoints(struct monitor *mon)
{
    for (guint i = 0; i < mon->endpoints->len; i++) {
        struct endpoint *ep = mon->endpoints->pdata[i];

        if (ep->is_stdio) {
            add_session(ep, STDIN_FILENO, STDOUT_FILENO);
        } else if (ep->fd >= 0) {
            add_connection(ep, ep->fd);
            ep->fd = -1;
        }
    }
    accept_clients(mon);
}

void monitor_start(struct monitor *mon, struct machine *m)
{
    mon->machine = m;
    if (mon->stall_ms) {
        mon->stall = stall_new(mon, mon->stall_ms);
    }
    start_endpoints(mon);
    mon->started = true;
    control_start(mon->control);
}

/* Control thread: the last words, first to those who take them, then the end of every session. */
static void end_sessions(void *arg)
{
    struct monitor *mon = arg;

    mon->stopping = true;
    flush_all(mon);
    control_settle(mon->control); /* jobs may be freed then */
    while (mon->sessions->len) {
        struct session *s = mon->sessions->pdata[0];

        session_free_job(s);
        session_close(s);
    }
}

void monitor_free(struct monitor *mon)
{
    if (!mon) {
        return;
    }
    if (mon->started) {
        loop_call(mon->loop, end_sessions, mon);
    }
    control_free(mon->control);
    for (guint i = 0; i < mon->endpoints->len; i++) {
        struct endpoint *ep = mon->endpoints->pdata[i];

        if (ep->watch) {
            g_source_destroy(ep->watch);
        }
    }
    stall_free(mon->stall);
    stop_impatience(mon);
    g_ptr_array_unref(mon->endpoints);
    g_ptr_array_unref(mon->sessions);
    g_source_destroy(mon->limit_timer);
    g_source_unref(mon->limit_timer);
    rate_limit_free(mon->limit);
    journal_free(mon->journal);
    fanout_free(mon->fanout);
    g_mutex_clear(&mon->emit_mutex);
    g_mutex_clear(&mon->mutex);
    loop_free(mon->loop);
    g_free(mon);
}
