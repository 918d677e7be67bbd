/*
 * QMP: a control thread that owns every session, and the dispatch of commands.
 *
 * The control thread reads, parses and writes; it never waits for the machine lock. Commands marked
 * control-safe (query-status, query-version, ...) run on it at once, in the session's order; all
 * others are the main thread's, one at a time per session, and the session goes on with its next
 * command when the reply is queued. A few of them it runs in the main thread's place when that
 * sleeps (dispatch.c). Events are queued from any thread into one ordered stream
 * with the replies, so what happened first is written first.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "chardev/chardev.h"
#include "chardev/sock.h"
#include "machine/machine.h"
#include "qapi-types.h"
#include "qapi/event.h"

struct monitor;

/* How a monitor treats its clients. */
struct monitor_style {
    bool pretty; /* indented replies and events */
    enum godwit_role role;
};

/* Made before the machine, whose events go to monitor_event_sink(). */
struct monitor *monitor_new(void);
struct event_sink *monitor_event_sink(struct monitor *mon);

/* -event-log: writes every event to the file, as JSON lines. Before the first event. */
bool monitor_log_events(struct monitor *mon, const char *path, GError **error);

/* -stall-ms: GODWIT_STALL tells when the main thread does not move for so long. Before
 * monitor_start(). */
void monitor_watch_main(struct monitor *mon, unsigned stall_ms);

/* What ends the process at once, when a client's quit must do without the main thread. It does not
 * return. Called on the control thread; before monitor_start(). */
void monitor_set_abandon(struct monitor *mon, void (*abandon)(void *opaque), void *opaque);

/* Adds an endpoint before monitor_start(). Sockets listen at once, so that errors come early and a
 * waiting client (wait=on) is served. */
bool monitor_add_socket(struct monitor *mon, const struct sock_address *address, const char *label,
                        const struct monitor_style *style, GError **error);
bool monitor_add_stdio(struct monitor *mon, const struct monitor_style *style, GError **error);

/* Starts the control thread. m may be NULL no longer from here on. */
void monitor_start(struct monitor *mon, struct machine *m);
/* Flushes replies and events as far as clients take them (ten seconds at most, three from those
 * that take nothing), closes all sessions, ends the thread. */
void monitor_free(struct monitor *mon);

/* Runs a human monitor command line; output text, owned by the caller. Main thread, lock held.
 * *cpu: index of the vCPU that this monitor's commands are about, 0 at first; `cpu` changes it. */
char *hmp_run(struct machine *m, unsigned *cpu, const char *line);

#endif
