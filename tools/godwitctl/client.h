/*
 * One QMP connection, as a client: connect, negotiate, ask and be answered, collect events.
 *
 * Works with any QMP server. Nothing the server sends is trusted: a message is bounded in bytes, in
 * nesting and in number of values; held events are bounded; no call waits past its deadline.
 * Replies are matched by id, so the answer to a question that timed out is not taken for the next
 * one's, and events may come at any point, also between a command and its reply.
 *
 * Deadlines are those of waiting.h. One thread; a JSON object returned is the caller's reference.
 */
#ifndef GODWITCTL_CLIENT_H
#define GODWITCTL_CLIENT_H

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct client;

enum client_error {
    CLIENT_ERROR_ADDRESS,     /* not an address */
    CLIENT_ERROR_REFUSED,     /* the server answered with an error: see client_error_class() */
    CLIENT_ERROR_PROTOCOL,    /* what it sent is not QMP */
    CLIENT_ERROR_TIMEOUT,     /* the deadline passed */
    CLIENT_ERROR_GONE,        /* nobody listens, or the connection ended */
    CLIENT_ERROR_INTERRUPTED, /* SIGINT or the like, when signals are caught */
};
#define CLIENT_ERROR client_error_quark()
GQuark client_error_quark(void);

/* The bounds on one message from the server: bytes, nesting, values. */
#define CLIENT_MESSAGE_BYTES_MAX  (16u << 20)
#define CLIENT_MESSAGE_DEPTH_MAX  1024
#define CLIENT_MESSAGE_VALUES_MAX (256u << 10)
/* The bounds on events held until client_take_event(): the oldest go first. */
#define CLIENT_EVENTS_MAX         8192
#define CLIENT_EVENT_BYTES_MAX    (16u << 20)

/* Connects to PATH, unix:PATH or tcp:HOST:PORT, takes the greeting and negotiates: the capability
 * godwit-events if offered, and with oob also oob (an error when it is not offered).
 * The look-up of a HOST that is a name has the resolver's own time limit, not this deadline. */
struct client *client_open(const char *address, bool oob, int64_t deadline_us, GError **error);
void client_free(struct client *client); /* NULL is fine */

/* Readable when client_pump() has something to do. */
int client_fd(const struct client *client);
/* "QEMU 7.2.22 (package)" or "Godwit 0.1.0"; the client's. Not fit for a terminal: sanitise. */
const char *client_server(const struct client *client);
bool client_has_capability(const struct client *client, const char *name);
/* The process that made the listening socket, 0 when it is not on this host. */
int client_server_pid(const struct client *client);

/* Executes command; arguments may be NULL, and stay the caller's. Returns the "return" value, or
 * NULL with an error. An out-of-band command needs a client opened with oob. */
struct json_object *client_call(struct client *client, const char *command,
                                struct json_object *arguments, bool oob, int64_t deadline_us,
                                GError **error);
/* The class in the last error reply ("CommandNotFound"), "" before any. */
const char *client_error_class(const struct client *client);
/* Whether the server lists this command. Asks once (query-commands); a server that does not answer
 * that has none. */
bool client_has_command(struct client *client, const char *command, int64_t deadline_us);

/* Reads what is there, without waiting; events are queued. False with an error when the connection
 * ended or broke; what was queued before stays takeable. */
bool client_pump(struct client *client, GError **error);
/* The oldest event, NULL when none is held. */
struct json_object *client_take_event(struct client *client);
/* The same, waiting for one; NULL with an error. */
struct json_object *client_wait_event(struct client *client, int64_t deadline_us, GError **error);
/* How many events the bounds made it drop, so far. */
uint64_t client_events_dropped(const struct client *client);

#endif
