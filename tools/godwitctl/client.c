/*
 * A QMP connection as a client: see client.h.
 *
 * The server's output is read as a stream of JSON values, not of lines: a server with pretty=on
 * spreads one value over several. Members that are not known are ignored, as the protocol asks.
 */
#include "client.h"

#include "address.h"
#include "waiting.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (64u << 10)

struct held_event {
    struct json_object *event;
    size_t bytes;
};

struct client {
    int fd;
    char *address;
    char *server;
    GHashTable *capabilities; /* char * offered in the greeting */
    GHashTable *commands;     /* char *, NULL until asked for */
    char *error_class;

    struct json_tokener *tokener;
    size_t message_bytes;  /* of the value being read, 0 between values */
    size_t message_values; /* at most this many values in it: its separators are counted */

    GQueue events; /* struct held_event * */
    size_t event_bytes;
    uint64_t events_dropped;

    int64_t next_id;
    int64_t waiting_id;         /* 0: no reply is wanted */
    bool waiting_greeting;      /* the next value must be the greeting */
    struct json_object *answer; /* the greeting or the wanted reply, once it is here */
    GError *broken;             /* why nothing more can be read */
};

G_DEFINE_QUARK(godwitctl - client - error, client_error)

static const char *object_string(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_string)) {
        return NULL;
    }
    return json_object_get_string(value);
}

static bool refuse_message(struct client *client, const char *why)
{
    g_clear_error(&client->broken);
    g_set_error(&client->broken, CLIENT_ERROR, CLIENT_ERROR_PROTOCOL, "%s does not speak QMP: %s",
                client->address, why);
    return false;
}

static void hold_event(struct client *client, struct json_object *event, size_t bytes)
{
    struct held_event *held = g_new(struct held_event, 1);
    held->event = event;
    held->bytes = bytes;
    g_queue_push_tail(&client->events, held);
    client->event_bytes += bytes;
    while (client->events.length > CLIENT_EVENTS_MAX ||
           (client->event_bytes > CLIENT_EVENT_BYTES_MAX && client->events.length > 1)) {
        json_object_put(client_take_event(client));
        client->events_dropped++;
    }
}

/* Whether a reply answers the question that waits. A reply without id answers it too: a server that
 * could not parse a request has no id to return. */
static bool reply_is_wanted(const struct client *client, struct json_object *reply)
{
    struct json_object *id = NULL;
    if (client->waiting_id == 0 || client->answer) {
        return false;
    }
    return !json_object_object_get_ex(reply, "id", &id) ||
           (json_object_is_type(id, json_type_int) &&
            json_object_get_int64(id) == client->waiting_id);
}

/* Takes over the reference to message. */
static bool accept_message(struct client *client, struct json_object *message, size_t bytes)
{
    const char *wrong = NULL;
    if (!json_object_is_type(message, json_type_object)) {
        wrong = "a message is not a JSON object";
    } else if (client->waiting_greeting) {
        if (json_object_object_get_ex(message, "QMP", NULL)) {
            client->waiting_greeting = false;
            client->answer = message;
            return true;
        }
        wrong = "its first message is not the greeting";
    } else if (object_string(message, "event")) {
        hold_event(client, message, bytes);
        return true;
    } else if (json_object_object_get_ex(message, "return", NULL) ||
               json_object_object_get_ex(message, "error", NULL)) {
        if (reply_is_wanted(client, message)) {
            client->answer = message;
            return true;
        }
    } else if (!json_object_object_get_ex(message, "QMP", NULL)) {
        /* (A second greeting was for a client before us who left without it: QEMU sends it on.) */
        wrong = "a message is neither event nor reply";
    }
    json_object_put(message);
    return wrong ? refuse_message(client, wrong) : true;
}

/* Counts what a chunk of the current value adds to its size. */
static bool count_message(struct client *client, const char *text, size_t bytes)
{
    client->message_bytes += bytes;
    if (client->message_bytes > CLIENT_MESSAGE_BYTES_MAX) {
        return refuse_message(client, "a message is longer than 16 MiB");
    }
    for (size_t i = 0; i < bytes; i++) {
        client->message_values += text[i] == ',' || text[i] == '[' || text[i] == '{';
    }
    if (client->message_values > CLIENT_MESSAGE_VALUES_MAX) {
        return refuse_message(client, "a message has too many values");
    }
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Parses the values in a piece of the stream. */
static bool accept_bytes(struct client *client, const char *text, size_t bytes)
{
    while (bytes > 0) {
        if (client->message_bytes == 0 && is_space(*text)) {
            text++;
            bytes--;
            continue;
        }
        struct json_object *message = json_tokener_parse_ex(client->tokener, text, (int)bytes);
        enum json_tokener_error status = json_tokener_get_error(client->tokener);
        if (status == json_tokener_continue) {
            return count_message(client, text, bytes);
        }
        if (status != json_tokener_success) {
            return refuse_message(client, json_tokener_error_desc(status));
        }
        size_t used = json_tokener_get_parse_end(client->tokener);
        if (!count_message(client, text, used)) {
            json_object_put(message);
            return false;
        }
        size_t message_bytes = client->message_bytes;
        client->message_bytes = 0;
        client->message_values = 0;
        if (!accept_message(client, message, message_bytes)) {
            return false;
        }
        text += used;
        bytes -= used;
    }
    return true;
}

static bool set_gone(struct client *client, int status)
{
    if (!client->broken) {
        g_set_error(&client->broken, CLIENT_ERROR, CLIENT_ERROR_GONE,
                    "%s: the server went away%s%s", client->address, status ? ": " : "",
                    status ? g_strerror(status) : "");
    }
    return false;
}

/* Reads once, without waiting. False when the connection is broken. */
static bool read_some(struct client *client)
{
    if (client->broken) {
        return false;
    }
    g_autofree char *chunk = g_malloc(READ_BYTES);
    ssize_t got = recv(client->fd, chunk, READ_BYTES, MSG_DONTWAIT);
    if (got > 0) {
        return accept_bytes(client, chunk, (size_t)got);
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    return set_gone(client, got < 0 && errno != ECONNRESET ? errno : 0);
}

static bool copy_broken(const struct client *client, GError **error)
{
    if (error && !*error) {
        *error = g_error_copy(client->broken);
    }
    return false;
}

bool client_pump(struct client *client, GError **error)
{
    return read_some(client) ? true : copy_broken(client, error);
}

/* Waits for the socket. what says what is waited for, in case it does not come. */
static bool wait_socket(struct client *client, short events, short *revents, const char *what,
                        int64_t deadline_us, GError **error)
{
    struct pollfd ready = {.fd = client->fd, .events = events};
    /* Checked here too: a server that never stops talking keeps the socket ready. */
    enum wait_result result =
        deadline_passed(deadline_us) ? WAIT_TIMEOUT : wait_ready(&ready, 1, deadline_us);
    *revents = ready.revents;
    switch (result) {
    case WAIT_READY:
        return true;
    case WAIT_SIGNAL:
        if (!(signals_pending() & (SIGNAL_INTERRUPT | SIGNAL_END))) {
            *revents = 0;
            return true;
        }
        g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_INTERRUPTED, "interrupted");
        return false;
    case WAIT_FAILED:
        set_gone(client, errno);
        return copy_broken(client, error);
    case WAIT_TIMEOUT:
        break;
    }
    g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_TIMEOUT, "%s: %s in time", client->address, what);
    return false;
}

/* Reads until the answer that is waited for is here, and returns it. */
static struct json_object *wait_answer(struct client *client, const char *what, int64_t deadline_us,
                                       GError **error)
{
    while (!client->answer) {
        short revents;
        if (!wait_socket(client, POLLIN, &revents, what, deadline_us, error)) {
            return NULL;
        }
        if (revents && !read_some(client) && !client->answer) {
            copy_broken(client, error);
            return NULL;
        }
    }
    struct json_object *answer = client->answer;
    client->answer = NULL;
    return answer;
}

/* Writes all of text. Reads meanwhile: a server may read only when its replies are taken. */
static bool send_text(struct client *client, const char *text, size_t bytes, int64_t deadline_us,
                      GError **error)
{
    while (bytes > 0) {
        short revents;
        if (client->broken) {
            return copy_broken(client, error);
        }
        if (!wait_socket(client, POLLIN | POLLOUT, &revents, "the server did not read", deadline_us,
                         error)) {
            return false;
        }
        if (revents & POLLIN && !read_some(client)) {
            return copy_broken(client, error);
        }
        if (!(revents & (POLLOUT | POLLERR | POLLHUP))) {
            continue;
        }
        ssize_t sent = send(client->fd, text, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            text += sent;
            bytes -= (size_t)sent;
        } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            set_gone(client, errno == EPIPE || errno == ECONNRESET ? 0 : errno);
            return copy_broken(client, error);
        }
    }
    return true;
}

/* The value of "return"; of an error reply a GError. Drops the reply. */
static struct json_object *open_reply(struct client *client, struct json_object *reply,
                                      GError **error)
{
    struct json_object *value = NULL;
    if (json_object_object_get_ex(reply, "return", &value)) {
        /* A JSON null is NULL in json-c, which means failure here: it becomes an empty object, as
         * the reply of a command that returns nothing. */
        value = value ? json_object_get(value) : json_object_new_object();
        json_object_put(reply);
        return value;
    }
    json_object_object_get_ex(reply, "error", &value);
    const char *class = object_string(value, "class");
    const char *desc = object_string(value, "desc");
    g_free(client->error_class);
    client->error_class = g_strdup(class ? class : "GenericError");
    g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_REFUSED, "%s", desc ? desc : "no description");
    json_object_put(reply);
    return NULL;
}

struct json_object *client_call(struct client *client, const char *command,
                                struct json_object *arguments, bool oob, int64_t deadline_us,
                                GError **error)
{
    if (client->broken) {
        copy_broken(client, error);
        return NULL;
    }
    int64_t id = client->next_id++;
    struct json_object *request = json_object_new_object();
    json_object_object_add(request, oob ? "exec-oob" : "execute", json_object_new_string(command));
    if (arguments) {
        json_object_object_add(request, "arguments", json_object_get(arguments));
    }
    json_object_object_add(request, "id", json_object_new_int64(id));
    g_autofree char *text =
        g_strconcat(json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN), "\n", NULL);
    json_object_put(request);

    client->waiting_id = id;
    struct json_object *reply = NULL;
    if (send_text(client, text, strlen(text), deadline_us, error)) {
        reply = wait_answer(client, "the server did not reply", deadline_us, error);
    }
    client->waiting_id = 0;
    json_object_put(client->answer);
    client->answer = NULL;
    return reply ? open_reply(client, reply, error) : NULL;
}

const char *client_error_class(const struct client *client)
{
    return client->error_class ? client->error_class : "";
}

bool client_has_command(struct client *client, const char *command, int64_t deadline_us)
{
    if (!client->commands) {
        client->commands = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        struct json_object *list =
            client_call(client, "query-commands", NULL, false, deadline_us, NULL);
        size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
        for (size_t i = 0; i < n; i++) {
            const char *name = object_string(json_object_array_get_idx(list, i), "name");
            if (name) {
                g_hash_table_add(client->commands, g_strdup(name));
            }
        }
        json_object_put(list);
    }
    return g_hash_table_contains(client->commands, command);
}

struct json_object *client_take_event(struct client *client)
{
    struct held_event *held = g_queue_pop_head(&client->events);
    if (!held) {
        return NULL;
    }
    struct json_object *event = held->event;
    client->event_bytes -= held->bytes;
    g_free(held);
    return event;
}

struct json_object *client_wait_event(struct client *client, int64_t deadline_us, GError **error)
{
    for (;;) {
        struct json_object *event = client_take_event(client);
        if (event) {
            return event;
        }
        if (client->broken) {
            copy_broken(client, error);
            return NULL;
        }
        short revents;
        if (!wait_socket(client, POLLIN, &revents, "the event did not come", deadline_us, error)) {
            return NULL;
        }
        if (revents) {
            read_some(client); /* a failure is told when the queue is empty */
        }
    }
}

uint64_t client_events_dropped(const struct client *client)
{
    return client->events_dropped;
}

int client_fd(const struct client *client)
{
    return client->fd;
}

const char *client_server(const struct client *client)
{
    return client->server;
}

bool client_has_capability(const struct client *client, const char *name)
{
    return g_hash_table_contains(client->capabilities, name);
}

int client_server_pid(const struct client *client)
{
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);
    if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
        return 0;
    }
    return MAX(peer.pid, 0);
}

static int64_t object_int(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, key, &value);
    return json_object_get_int64(value);
}

/* Godwit presents itself as the QEMU that it is compatible with; its own name is in the package. */
static char *server_name(struct json_object *version)
{
    struct json_object *qemu = NULL;
    json_object_object_get_ex(version, "qemu", &qemu);
    const char *package = object_string(version, "package");
    if (package && g_str_has_prefix(package, "godwit-")) {
        return g_strconcat("Godwit ", package + strlen("godwit-"), NULL);
    }
    GString *name = g_string_new("QEMU ");
    g_string_append_printf(name, "%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT,
                           object_int(qemu, "major"), object_int(qemu, "minor"),
                           object_int(qemu, "micro"));
    if (package && *package) {
        g_string_append_printf(name, " (%s)", package);
    }
    return g_string_free(name, FALSE);
}

static void take_greeting(struct client *client, struct json_object *greeting)
{
    struct json_object *qmp = NULL, *version = NULL, *list = NULL;
    json_object_object_get_ex(greeting, "QMP", &qmp);
    json_object_object_get_ex(qmp, "version", &version);
    json_object_object_get_ex(qmp, "capabilities", &list);
    client->server = server_name(version);
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *name = json_object_array_get_idx(list, i);
        if (json_object_is_type(name, json_type_string)) {
            g_hash_table_add(client->capabilities, g_strdup(json_object_get_string(name)));
        }
    }
}

static bool negotiate(struct client *client, bool oob, int64_t deadline_us, GError **error)
{
    client->waiting_greeting = true;
    struct json_object *greeting =
        wait_answer(client,
                    "no greeting came (another client may hold this socket: some servers"
                    " serve one at a time)",
                    deadline_us, error);
    if (!greeting) {
        return false;
    }
    take_greeting(client, greeting);
    json_object_put(greeting);
    if (oob && !client_has_capability(client, "oob")) {
        g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_REFUSED,
                    "%s does not offer out-of-band execution", client->address);
        return false;
    }
    struct json_object *arguments = NULL;
    bool own_events = client_has_capability(client, "godwit-events");
    if (oob || own_events) {
        struct json_object *enable = json_object_new_array();
        if (oob) {
            json_object_array_add(enable, json_object_new_string("oob"));
        }
        if (own_events) {
            json_object_array_add(enable, json_object_new_string("godwit-events"));
        }
        arguments = json_object_new_object();
        json_object_object_add(arguments, "enable", enable);
    }
    struct json_object *reply =
        client_call(client, "qmp_capabilities", arguments, false, deadline_us, error);
    json_object_put(arguments);
    json_object_put(reply);
    return reply != NULL;
}

struct client *client_open(const char *address, bool oob, int64_t deadline_us, GError **error)
{
    int fd = address_connect(address, deadline_us, error);
    if (fd < 0) {
        return NULL;
    }
    struct client *client = g_new0(struct client, 1);
    client->fd = fd;
    client->address = g_strdup(address);
    client->capabilities = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    client->tokener = json_tokener_new_ex(CLIENT_MESSAGE_DEPTH_MAX);
    json_tokener_set_flags(client->tokener,
                           JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
    g_queue_init(&client->events);
    client->next_id = 1;
    if (!negotiate(client, oob, deadline_us, error)) {
        client_free(client);
        return NULL;
    }
    return client;
}

void client_free(struct client *client)
{
    if (!client) {
        return;
    }
    struct json_object *event;
    while ((event = client_take_event(client))) {
        json_object_put(event);
    }
    json_object_put(client->answer);
    json_tokener_free(client->tokener);
    close(client->fd);
    g_clear_error(&client->broken);
    g_hash_table_unref(client->capabilities);
    if (client->commands) {
        g_hash_table_unref(client->commands);
    }
    g_free(client->error_class);
    g_free(client->server);
    g_free(client->address);
    g_free(client);
}
