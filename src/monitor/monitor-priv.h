/*
 * Between the files of the monitor room: sessions, requests, jobs.
 *
 * Threads: everything belongs to the control thread, except what is marked "mutex", which is under
 * monitor.mutex, and handlers that are not control-safe, which run on the main thread, or in its
 * place (loop_borrow()): "main thread" means both.
 */
#ifndef MONITOR_MONITOR_PRIV_H
#define MONITOR_MONITOR_PRIV_H

#include "monitor/monitor.h"

#include "base/threads.h"
#include "monitor/control.h"
#include "monitor/fanout.h"
#include "monitor/journal.h"
#include "monitor/json-stream.h"
#include "monitor/output.h"
#include "monitor/rate-limit.h"
#include "monitor/subscription.h"
#include "qapi/command.h"
#include <glib.h>
#include <stdatomic.h>
#include <sys/socket.h>

/* A session with more unread replies than this is not read from until the client has caught up. */
#define SESSION_HIGH_WATER_BYTES (1u << 20)
/* With the oob capability: in-band requests read ahead. */
#define SESSION_QUEUE_MAX        8
/* Sessions of one monitor, however many descriptors there may be; more clients wait in the
 * backlogs. */
#define MONITOR_MAX_SESSIONS     4096

/* ---- requests (dispatch.c) */

struct qmp_request {
    struct json_object *root; /* owned; the rest points into it */
    const struct qmp_command *command;
    struct json_object *args; /* NULL: none */
    struct json_object *id;
    bool has_id;
    bool oob;
    GError *fault; /* what is wrong with it, to be told in its turn; NULL: nothing. Owned */
    int passed_fd; /* that came along with it (SCM_RIGHTS); -1: none. Owned */
};

enum qmp_thread {
    QMP_ON_CONTROL,
    QMP_ON_MAIN,
    QMP_ON_EITHER, /* on the control thread while the main thread sleeps, with all of its rights */
};

/* What a handler may know about its call. */
struct qmp_call {
    struct monitor *mon;
    struct machine *machine;
    struct session *session;
    int *passed_fd; /* the request's: a handler that takes it leaves -1 */
};

/* How a session stands to the protocol; what the checks of a request depend on. */
struct qmp_mode {
    bool negotiated, oob;
    bool own_events; /* capability godwit-events: own members in events, and own events */
};

/*
 * Takes value (owned) apart and checks it up to the arguments: rows 2 to 11 of the protocol's order
 * of checks. On failure false and *error; request->id is set where there was one. Either way the
 * caller ends with qmp_request_clear().
 */
bool qmp_request_parse(struct qmp_request *request, struct json_object *value, struct qmp_mode mode,
                       GError **error);
/* Whether a client with that role may run the command; if not, *error says what it would need. */
bool qmp_role_permits(enum godwit_role role, const struct qmp_command *command, GError **error);
void qmp_request_clear(struct qmp_request *request);

enum qmp_thread qmp_command_thread(const struct qmp_command *command);

/* Runs the command and appends the reply's text (with CR LF) to out; nothing for a command without
 * success reply that succeeded. On the thread that the command wants. */
void qmp_request_run(const struct qmp_request *request, struct qmp_call *call, GString *out);

/* What a command without return value answers. */
void qmp_append_done(GString *out, const struct qmp_request *request);
void qmp_append_error(GString *out, const struct qmp_request *request, const GError *error);
void qmp_append_greeting(GString *out, bool oob);
/* Appends text, one line of JSON, indented by four spaces a level. (pretty.c) */
void qmp_append_pretty(GString *out, const char *text);

/* false and *error when the command is not permitted in the machine's state: the text that QEMU's
 * command gives. */
bool qmp_state_permits(struct machine *m, const char *command, GError **error);

/* Whether the chardev with this id can have another in its place, a mux being none; then that is
 * done with one of the same id, which becomes the machine's. cmd-char.c */
struct chardev;
bool monitor_chardev_can_change(struct machine *m, const char *id, bool to_mux, GError **error);
void monitor_chardev_change(struct machine *m, struct chardev *chr);

/* ---- sessions (session.c) */

/* ---- descriptors that clients pass (fds.c) */

/* Those that came and whose command has not been read yet. */
#define SESSION_PASSED_MAX 16
struct passed_fds {
    int fd[SESSION_PASSED_MAX];
    unsigned n;
};
struct msghdr;
/* Keeps the first descriptor of a message, closes the others, and those that find no room. */
void passed_fds_receive(struct passed_fds *passed, struct msghdr *msg);
int passed_fds_take(struct passed_fds *passed); /* the oldest; -1: none */
void passed_fds_close(struct passed_fds *passed);

/* The descriptor that the session's client named with getfd, which it has no more: the caller
 * closes it. -1 and *error when there is none, or no session (NULL). Main thread. */
int session_take_fd(struct session *s, const char *name, GError **error);

struct job;

struct session {
    struct monitor *mon;
    const char *label; /* the endpoint's */
    enum godwit_role role;
    bool pretty, offers_oob, is_stdio;
    struct ucred peer;  /* pid 0: not known */
    char *peer_address; /* of a network connection, or NULL */
    int in_fd, out_fd;  /* the same for a socket */
    struct yank *yank;  /* of a socket */
    GSource *source;
    void *in_tag, *out_tag;
    GIOCondition polled; /* what is being waited for */
    struct json_stream *in;
    bool starved; /* the stream has no complete value */
    bool eof, broken /* output: the peer is gone */, closed;
    GQueue waiting;      /* struct qmp_request, in-band, behind the running one */
    struct job *job;     /* on the main thread, or ended unnoticed; NULL: none */
    bool input_waits;    /* there is some, but the job comes first */
    GSource *patience;   /* runs while the job is a quit */
    int64_t stuck_us;    /* since when the client takes nothing of what waits; 0: it does */
    int64_t next_log_us; /* when the log may tell of events that were left out */
    struct passed_fds passed;
    GHashTable *fds; /* name -> descriptor, of getfd; main thread; NULL: none */

    /* mutex */
    struct qmp_mode mode;
    struct output *out;
    bool writing;                /* the control thread writes what output_peek() gave */
    bool job_ended, job_awaited; /* see session_reap() */
    struct subscription *sub;    /* NULL: all events */
    uint64_t dropped;            /* events that were left out, as of session_count_dropped() */
    uint64_t unlogged;           /* of those: that the log does not tell of */
};

struct session *session_new(struct monitor *mon, const char *label,
                            const struct monitor_style *style, int in_fd, int out_fd);
/* Ends a session and frees it, now or when its job is done. */
void session_close(struct session *s);
void session_free_job(struct session *s); /* after the main thread's end */
/* Writes what there is, then reads on if that made room. May close the session. */
void session_service(struct session *s);
bool session_flush(struct session *s); /* false when something remains */

/* Main thread, mutex held: what waits to be written now, for fanout_send(). false when there is
 * nothing, or (*later) when it is for the control thread to write. */
bool session_offer(struct session *s, struct fanout_item *item, bool *later);
/* The same, with the item's result. false when something remains. */
bool session_sent(struct session *s, const struct fanout_item *item);

/* Who is there (peer.c): fills in peer and peer_address; and the cause of what a command does, as
 * cause_enter_lazy() wants it: opaque is a struct session_asker. */
void session_find_peer(struct session *s);
struct session_asker {
    const struct session *session;
    const struct qmp_request *request;
};
struct godwit_cause *session_asker_cause(void *opaque);

/* Any thread, mutex held. The text is taken over. */
void session_append(struct session *s, GString *text);
void session_append_event(struct session *s, struct event_line *line);
/* The same for an event of which the session wants one in an interval of its own. */
void session_rate_event(struct session *s, struct event_line *line, const char *data_json,
                        int64_t now_us);
/* Brings s->dropped up to date. Mutex held. */
void session_count_dropped(struct session *s);

/* For s->sub. NULL and *error when it cannot be had. */
struct subscription *session_new_subscription(struct session *s,
                                              const struct godwit_subscription *wanted,
                                              GError **error);

/* ---- the monitor (monitor.c) */

struct monitor {
    struct event_sink sink;  /* first */
    struct loop *loop;       /* the control thread's */
    struct control *control; /* its threads */
    struct machine *machine;
    GPtrArray *endpoints;
    bool started, stopping;

    GMutex mutex;
    GPtrArray *sessions;      /* mutex; changed by the control thread only */
    bool service_posted;      /* mutex */
    GThread *batcher;         /* mutex; whose events wait for its monitor_write_batch() */
    struct fanout *fanout;    /* mutex */
    struct rate_limit *limit; /* mutex */
    GSource *limit_timer;     /* mutex for its time */
    struct journal *journal;  /* mutex */
    GMutex emit_mutex;        /* before mutex: events are logged and delivered in their order */

    unsigned stall_ms; /* 0: not watched */
    struct stall *stall;
    void (*abandon)(void *opaque);
    void *abandon_opaque;
    GSource *impatience;     /* after a quit without the main thread */
    _Atomic bool main_moved; /* since then; set by the main thread, read by the control thread */
};

/* Any thread: has the control thread write what was queued. Mutex held. */
void monitor_post_service(struct monitor *mon);
/* Main thread, after a command: writes its events and its reply together. Mutex held. */
void monitor_write_batch(struct monitor *mon);
/* Calls fn for each endpoint with its label and what query-chardev says of it. Any thread. */
void monitor_foreach_endpoint(struct monitor *mon,
                              void (*fn)(void *opaque, const char *label, const char *description),
                              void *opaque);
/* Control thread: the machine was asked to end; if the main thread hangs, the process ends without
 * it after a while. */
void monitor_expect_end(struct monitor *mon);

/* ---- the watch on threads (stall.c, cmd-threads.c) */

struct stall *stall_new(struct monitor *mon, unsigned limit_ms);
void stall_free(struct stall *stall); /* NULL is fine */
/* Of a threads_list(): who holds the thread of that name up, itself perhaps; NULL: there is none.
 */
const struct thread_info *stall_culprit(const GArray *list, const char *name);
struct godwit_thread *godwit_thread_of(const GArray *list, const struct thread_info *info);

/* A session ended: there may be room for another. */
void monitor_session_ended(struct monitor *mon, struct session *s);

#endif
