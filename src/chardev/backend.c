/* Character devices by the schema's types, as chardev-add has them. */
#include "chardev/chardev-priv.h"
#include "qapi-types.h"

static void add_bool(struct chardev_options *o, const char *name, bool value)
{
    chardev_options_add(o, name, value ? "on" : "off");
}

static void add_text(struct chardev_options *o, const char *name, const char *value)
{
    if (value) {
        chardev_options_add(o, name, value);
    }
}

static void add_number(struct chardev_options *o, const char *name, int64_t value)
{
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, value);

    chardev_options_add(o, name, text);
}

/* The first members of each kind's options are those of ChardevCommon. */
static void add_common(struct chardev_options *o, const char *logfile, bool append)
{
    add_text(o, "logfile", logfile);
    if (append) {
        add_bool(o, "logappend", true);
    }
}
#define COMMON(o, c) add_common(o, (c)->logfile, (c)->has_logappend && (c)->logappend)

static void add_file(struct chardev_options *o, const struct chardev_file *f)
{
    COMMON(o, f);
    chardev_options_add(o, "path", f->out);
    add_text(o, "input-path", f->in);
    add_bool(o, "append", f->has_append && f->append);
}

static bool add_inet(struct chardev_options *o, const struct inet_socket_address *a, GError **error)
{
    /* Whether an address is told as numbers is nothing that can be relied on: they are found out.
     */
    if (a->has_to) {
        add_number(o, "to", a->to);
    }
    if (a->has_keep_alive && a->keep_alive) {
        add_bool(o, "keep-alive", true);
    }
    chardev_options_add(o, "host", a->host);
    chardev_options_add(o, "port", a->port);
    if (a->has_ipv4) {
        add_bool(o, "ipv4", a->ipv4);
    }
    if (a->has_ipv6) {
        add_bool(o, "ipv6", a->ipv6);
    }
    return true;
}

static bool add_address(struct chardev_options *o, const struct socket_address_legacy *a,
                        GError **error)
{
    switch (a->type) {
    case SOCKET_ADDRESS_TYPE_INET:
        return add_inet(o, a->u.inet.data, error);
    case SOCKET_ADDRESS_TYPE_UNIX:
        chardev_options_add(o, "path", a->u.q_unix.data->path);
        add_bool(o, "abstract", a->u.q_unix.data->has_abstract && a->u.q_unix.data->abstract);
        add_bool(o, "tight", !a->u.q_unix.data->has_tight || a->u.q_unix.data->tight);
        return true;
    default:
        chardev_options_add(o, "fd", a->u.fd.data->str);
        return true;
    }
}

static bool add_socket(struct chardev_options *o, const struct chardev_socket *s, GError **error)
{
    bool server = s->has_server ? s->server : true;

    COMMON(o, s);
    if (server && s->has_reconnect && s->reconnect) {
        g_set_error(error, CHARDEV_ERROR, 0,
                    "'reconnect' option is incompatible with socket in server listen mode");
        return false;
    }
    if (!server && s->has_wait) {
        g_set_error(error, CHARDEV_ERROR, 0,
                    "'wait' option is incompatible with socket in client connect mode");
        return false;
    }
    add_bool(o, "server", server);
    if (server) {
        add_bool(o, "wait", s->has_wait && s->wait);
    }
    add_bool(o, "nodelay", s->has_nodelay && s->nodelay);
    add_bool(o, "telnet", s->has_telnet && s->telnet);
    add_bool(o, "websocket", s->has_websocket && s->websocket);
    if (s->has_reconnect) {
        add_number(o, "reconnect", s->reconnect);
    }
    return add_address(o, s->addr, error);
}

static bool add_udp(struct chardev_options *o, const struct chardev_udp *u, GError **error)
{
    COMMON(o, u);
    if (u->remote->type != SOCKET_ADDRESS_TYPE_INET ||
        (u->local && u->local->type != SOCKET_ADDRESS_TYPE_INET)) {
        g_set_error(error, CHARDEV_ERROR, 0, "socket type unsupported for datagram");
        return false;
    }
    if (u->local) {
        chardev_options_add(o, "localaddr", u->local->u.inet.data->host);
        chardev_options_add(o, "localport", u->local->u.inet.data->port);
    }
    return add_inet(o, u->remote->u.inet.data, error);
}

static bool add_backend(struct chardev_options *o, const struct chardev_backend *b, GError **error)
{
    const struct chardev_ringbuf *ringbuf;

    switch (b->type) {
    case CHARDEV_BACKEND_KIND_FILE:
        add_file(o, b->u.file.data);
        return true;
    case CHARDEV_BACKEND_KIND_PIPE:
        COMMON(o, b->u.pipe.data);
        chardev_options_add(o, "path", b->u.pipe.data->device);
        return true;
    case CHARDEV_BACKEND_KIND_SOCKET:
        return add_socket(o, b->u.socket.data, error);
    case CHARDEV_BACKEND_KIND_UDP:
        return add_udp(o, b->u.udp.data, error);
    case CHARDEV_BACKEND_KIND_STDIO:
        COMMON(o, b->u.stdio.data);
        if (b->u.stdio.data->has_signal) {
            add_bool(o, "signal", b->u.stdio.data->signal);
        }
        return true;
    case CHARDEV_BACKEND_KIND_RINGBUF:
    case CHARDEV_BACKEND_KIND_MEMORY:
        ringbuf = b->u.ringbuf.data;
        COMMON(o, ringbuf);
        if (ringbuf->has_size) {
            add_number(o, "size", ringbuf->size);
        }
        return true;
    default:
        COMMON(o, b->u.null.data);
        return true;
    }
}

struct chardev *chardev_new_backend(const char *id, const struct chardev_backend *backend,
                                    struct loop *loop, GError **error)
{
    struct chardev_options *o = chardev_options_new("");
    struct chardev *chr = NULL;

    o->type = g_strdup(chardev_backend_kind_str(backend->type));
    o->id = g_strdup(id);
    if (add_backend(o, backend, error)) {
        chr = chardev_make(o, loop, error);
    }
    chardev_options_free(o);
    return chr;
}
