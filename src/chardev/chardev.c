/*
 * Character devices: what all back ends share, and their making from option text.
 */
#include "chardev/chardev-priv.h"

#include "base/fdset.h"
#include "qapi/keyval.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

GQuark chardev_error_quark(void)
{
    return g_quark_from_static_string("godwit-chardev");
}

/* ---- what all share */

struct chardev *chardev_alloc(const struct chardev_ops *ops, const char *id, struct loop *loop)
{
    struct chardev *chr = g_malloc0(ops->size);

    chr->ops = ops;
    chr->id = g_strdup(id);
    chr->filename = g_strdup(ops->name);
    chr->loop = loop;
    chr->log_fd = -1;
    chr->connected = true; /* sockets and terminals say when not */
    return chr;
}

void chardev_free(struct chardev *chr)
{
    if (!chr) {
        return;
    }
    if (chr->ops->flush) {
        chr->ops->flush(chr);
    }
    if (chr->ops->finish) {
        chr->ops->finish(chr);
    }
    if (chr->log_fd >= 0) {
        close(chr->log_fd);
    }
    g_free(chr->id);
    g_free(chr->filename);
    g_free(chr);
}

bool chardev_attach(struct chardev *chr, const struct chardev_frontend *frontend)
{
    if (chr->ops->attach) {
        bool ok = chr->ops->attach(chr, frontend);

        chr->frontend_open = chr->frontend;
        return ok;
    }
    if (chr->frontend) {
        return false;
    }
    chr->frontend = frontend;
    chr->frontend_open = true;
    chardev_accept_input(chr);
    return true;
}

void chardev_detach(struct chardev *chr, const struct chardev_frontend *frontend)
{
    if (chr->ops->detach) {
        chr->ops->detach(chr, frontend);
    } else if (chr->frontend == frontend) {
        chr->frontend = NULL;
    }
    chr->frontend_open = chr->frontend;
}

bool chardev_move_frontend(struct chardev *from, struct chardev *to)
{
    const struct chardev_frontend *frontend = from->frontend;
    bool open = from->frontend_open;

    if (frontend && !frontend->changed) {
        return false;
    }
    if (frontend) {
        chardev_detach(from, frontend);
        frontend->changed(frontend->opaque, to);
        chardev_attach(to, frontend);
        to->frontend_open = open;
        if (frontend->writable) {
            frontend->writable(frontend->opaque);
        }
    }
    return true;
}

void chardev_send_break(struct chardev *chr)
{
    chardev_event(chr, CHARDEV_BREAK);
}

/* What can't be written there is lost: the output itself goes on. */
static void write_log(const struct chardev *chr, const uint8_t *buf, size_t length)
{
    while (length) {
        ssize_t n = write(chr->log_fd, buf, length);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        buf += n;
        length -= (size_t)n;
    }
}

size_t chardev_write(struct chardev *chr, const uint8_t *buf, size_t length)
{
    size_t n = chr->ops->write ? chr->ops->write(chr, buf, length) : length;

    if (chr->log_fd >= 0) {
        write_log(chr, buf, n);
    }
    return n;
}

void chardev_accept_input(struct chardev *chr)
{
    if (chr->ops->accept_input) {
        chr->ops->accept_input(chr);
    }
}

void chardev_push(struct chardev *chr)
{
    if (chr->ops->push) {
        chr->ops->push(chr);
    }
}

int chardev_can_receive(struct chardev *chr)
{
    return chr->frontend && chr->frontend->can_receive
               ? MAX(chr->frontend->can_receive(chr->frontend->opaque), 0)
               : 0;
}

void chardev_deliver(struct chardev *chr, const uint8_t *buf, size_t length)
{
    if (length && chr->frontend && chr->frontend->receive) {
        chr->frontend->receive(chr->frontend->opaque, buf, length);
    }
}

void chardev_event(struct chardev *chr, enum chardev_event event)
{
    if (event != CHARDEV_BREAK) {
        chr->connected = event == CHARDEV_OPENED;
    }
    if (chr->frontend && chr->frontend->event) {
        chr->frontend->event(chr->frontend->opaque, event);
    }
}

/* ---- making one from text */

static const struct {
    const char *type;
    struct chardev *(*make)(struct chardev_options *, struct loop *, GError **);
} makers[] = {
    {"file", chardev_file_new},
    {"null", chardev_null_new},
    {"pipe", chardev_pipe_new},
    {"pty", chardev_pty_new},
    {"ringbuf", chardev_ringbuf_new},
    {"memory", chardev_ringbuf_new},
    {"socket", chardev_socket_new},
    {"stdio", chardev_stdio_new},
    {"udp", chardev_udp_new},
    {"serial", NULL},
    {"parallel", NULL},
    {"vc", NULL},
    {"spicevmc", NULL},
    {"spiceport", NULL},
    {"qemu-vdagent", NULL},
    {"braille", NULL},
    {"msmouse", NULL},
    {"wctablet", NULL},
    {"testdev", NULL},
};

const char **chardev_kinds(void)
{
    const char **names = g_new0(const char *, G_N_ELEMENTS(makers) + 1);
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(makers); i++) {
        if (makers[i].make) {
            names[n++] = makers[i].type;
        }
    }
    return names;
}

/* logfile=, logappend= */
static bool open_log(struct chardev *chr, struct chardev_options *o, GError **error)
{
    g_autofree char *path = chardev_option(o, "logfile");
    bool append = false;

    if (!chardev_option_bool(o, "logappend", &append, error)) {
        return false;
    }
    if (!path) {
        return true;
    }
    chr->log_fd =
        fdset_open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
    if (chr->log_fd < 0) {
        g_set_error(error, CHARDEV_ERROR, errno, "Unable to open logfile %s: %s", path,
                    g_strerror(errno));
    }
    return chr->log_fd >= 0;
}

struct chardev *chardev_make(struct chardev_options *o, struct loop *loop, GError **error)
{
    struct chardev *chr = NULL;
    bool mux;

    for (unsigned i = 0; i < G_N_ELEMENTS(makers); i++) {
        if (strcmp(makers[i].type, o->type) != 0) {
            continue;
        }
        if (!makers[i].make) {
            g_set_error(error, CHARDEV_ERROR, 0, "back end '%s' is not supported by godwit",
                        o->type);
            return NULL;
        }
        chr = makers[i].make(o, loop, error);
        /* stdio has taken mux=, and says so */
        mux = chr && chr->muxed;
        if (chr && (!chardev_option_bool(o, "mux", &mux, error) || !open_log(chr, o, error) ||
                    !chardev_options_all_taken(o, error))) {
            g_clear_pointer(&chr, chardev_free);
        }
        return chr && mux ? chardev_mux_new(o->id, chr) : chr;
    }
    g_set_error(
        error, CHARDEV_ERROR, 0,
        "'%s' is not a valid char driver name, use file, null, pipe, pty, ringbuf, socket, stdio or udp",
        o->type);
    return NULL;
}

/* From text, which an error tells. */
static struct chardev *chardev_make_text(struct chardev_options *o, const char *text,
                                         struct loop *loop, GError **error)
{
    struct chardev *chr = chardev_make(o, loop, error);

    if (!chr) {
        g_prefix_error(error, "chardev '%s': ", text);
    }
    return chr;
}

struct chardev *chardev_new_options(const char *options, struct loop *loop, GError **error)
{
    struct chardev_options *o = chardev_options_new(options);
    struct chardev *chr = NULL;

    o->type = chardev_option_first(o);
    if (!o->type) {
        o->type = chardev_option(o, "backend");
    }
    o->id = chardev_option(o, "id");
    if (!o->type || !o->id || !*o->id) {
        g_set_error(error, CHARDEV_ERROR, 0, "chardev '%s': %s", options,
                    o->type ? "an id=NAME is missing" : "the back end's name is missing");
    } else if (!qapi_id_is_valid(o->id)) {
        g_set_error(error, CHARDEV_ERROR, 0, "Parameter 'id' expects an identifier, not '%s'",
                    o->id);
    } else {
        chr = chardev_make_text(o, options, loop, error);
    }
    chardev_options_free(o);
    return chr;
}

static struct chardev *chardev_new_address(const char *id, const char *spec, struct loop *loop,
                                           GError **error)
{
    const char *protocol = g_str_has_prefix(spec, "telnet:")      ? "telnet"
                           : g_str_has_prefix(spec, "websocket:") ? "websocket"
                                                                  : NULL;
    g_autofree char *tcp = protocol ? g_strconcat("tcp", spec + strlen(protocol), NULL) : NULL;
    struct chardev_options *o = chardev_options_new(tcp ? tcp : spec);
    struct chardev *chr = NULL;
    struct sock_address address;

    if (protocol) {
        chardev_options_add(o, protocol, "on");
    }
    if (sock_address_take(&address, o, error) && chardev_socket_take_protocol(&address, o, error) &&
        chardev_options_all_taken(o, error)) {
        chr = chardev_socket_new_address(id, &address, loop, error);
    } else {
        g_prefix_error(error, "socket '%s': ", spec);
        sock_address_clear(&address);
    }
    chardev_options_free(o);
    return chr;
}

/* [HOST]:PORT[@[LOCALHOST]:LOCALPORT] */
static bool add_udp(struct chardev_options *o, const char *text, GError **error)
{
    g_auto(GStrv) ends = g_strsplit(text, "@", 3);
    guint n = g_strv_length(ends);

    for (guint i = 0; i < n; i++) {
        char *colon = strrchr(ends[i], ':');

        if (!colon || n > 2) {
            g_set_error(error, CHARDEV_ERROR, 0,
                        "'udp:%s' is not udp:HOST:PORT[@LOCALHOST:LOCALPORT]", text);
            return false;
        }
        *colon = '\0';
        chardev_options_add(o, i ? "localport" : "port", colon + 1);
        chardev_options_add(o, i ? "localaddr" : "host", ends[i]);
    }
    return true;
}

struct chardev *chardev_new(const char *id, const char *spec, struct loop *loop, GError **error)
{
    bool mux = g_str_has_prefix(spec, "mon:");
    const char *text = mux ? spec + 4 : spec;
    struct chardev_options *o;
    struct chardev *chr;

    if (g_str_has_prefix(text, "unix:") || g_str_has_prefix(text, "tcp:") ||
        g_str_has_prefix(text, "telnet:") || g_str_has_prefix(text, "websocket:") ||
        g_str_has_prefix(text, "fd:")) {
        chr = chardev_new_address(id, text, loop, error);
        return chr && mux ? chardev_mux_new(id, chr) : chr;
    }
    if (g_str_has_prefix(text, "file:") || g_str_has_prefix(text, "pipe:")) {
        o = chardev_options_new("");
        o->type = g_strndup(text, 4);
        chardev_options_add(o, "path", text + 5);
    } else if (g_str_has_prefix(text, "udp:")) {
        o = chardev_options_new("");
        o->type = g_strdup("udp");
        if (!add_udp(o, text + 4, error)) {
            chardev_options_free(o);
            return NULL;
        }
    } else {
        o = chardev_options_new(text);
        o->type = chardev_option_first(o);
    }
    o->id = g_strdup(id);
    if (!o->type) {
        g_set_error(error, CHARDEV_ERROR, 0, "chardev '%s': a back end is missing", spec);
        chr = NULL;
    } else {
        if (mux) {
            chardev_options_add(o, "mux", "on");
        }
        chr = chardev_make_text(o, spec, loop, error);
    }
    chardev_options_free(o);
    return chr;
}
