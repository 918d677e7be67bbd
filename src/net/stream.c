/*
 * netdev stream, and the stream forms of netdev socket: a connection to one other machine at a
 * time. A server takes the next one when the last has ended; a client connects once.
 */
#include "net/stream.h"

#include "base/log.h"
#include "qapi-events.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

static bool server_readable(int fd, GIOCondition condition, void *arg);

static void tell_connected(struct net_stream *s, const struct net_address *other)
{
    struct event_sink *events = net_backend_events(s->b);
    struct socket_address *address = net_address_of(other);
    g_autofree char *text = net_address_text(other);

    net_set_info(s->b,
                 other->any.sa_family == AF_UNIX
                     ? g_strdup_printf("unix:%s", s->path ? s->path : text)
                     : g_strdup_printf("%s%s", s->quiet ? "socket: connection " : "tcp:", text));
    if (events && !s->quiet) {
        if (address->type == SOCKET_ADDRESS_TYPE_UNIX && s->path) {
            g_free(address->u.q_unix.path);
            address->u.q_unix.path = g_strdup(s->path);
        }
        qapi_event_send_netdev_stream_connected(events, s->b->id, address);
    }
    socket_address_free(address);
}

static void stream_connected(struct net_stream *s, int fd, const struct net_address *other)
{
    const int one = 1;

    if (other->any.sa_family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (s->keep_alive) {
            setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
        }
    }
    tell_connected(s, other);
    net_framed_open(&s->framed, fd);
}

static void stream_ended(struct net_framed *f)
{
    struct net_stream *s =
        (struct net_stream *)((uint8_t *)f - offsetof(struct net_stream, framed));
    struct event_sink *events = net_backend_events(s->b);

    net_set_info(s->b, g_strdup(s->listen_fd >= 0 ? "listening" : ""));
    if (events && !s->quiet) {
        qapi_event_send_netdev_stream_disconnected(events, s->b->id);
    }
    if (s->listen_fd >= 0) {
        s->watch = loop_watch_fd(net_backend_loop(s->b), s->listen_fd, G_IO_IN, server_readable, s);
    }
}

/* ---- server */

static bool server_readable(int fd, GIOCondition condition, void *arg)
{
    struct net_stream *s = arg;
    struct net_address other = {.bytes = sizeof(other.room)};
    int client = accept4(fd, &other.any, &other.bytes, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (client < 0) {
        return true;
    }
    s->watch = NULL; /* others wait */
    stream_connected(s, client, &other);
    return false;
}

bool net_stream_listen(struct net_stream *s, const struct socket_address *address, GError **error)
{
    struct net_address a;

    if (!net_address_resolve(address, SOCK_STREAM, true, &a, error)) {
        return false;
    }
    s->listen_fd = net_socket(a.any.sa_family, SOCK_STREAM, error);
    if (s->listen_fd < 0 || !net_bind(s->listen_fd, address, SOCK_STREAM, &a, error)) {
        return false;
    }
    if (a.any.sa_family == AF_UNIX && a.un.sun_path[0]) {
        s->path = g_strdup(a.un.sun_path);
        s->made_path = true;
    }
    net_set_info(s->b, g_strdup("listening"));
    s->watch = loop_watch_fd(net_backend_loop(s->b), s->listen_fd, G_IO_IN, server_readable, s);
    return true;
}

/* ---- client */

static void connect_done(struct net_stream *s, int code)
{
    int fd = s->connecting_fd;

    s->connecting_fd = -1;
    if (code == 0) {
        stream_connected(s, fd, &s->other);
        return;
    }
    g_autofree char *text = net_address_text(&s->other);
    log_warn("netdev %s: can't connect to %s: %s", s->b->id, text, g_strerror(code));
    net_set_info(s->b, g_strdup_printf("connect to %s failed", text));
    close(fd);
}

static bool client_writable(int fd, GIOCondition condition, void *arg)
{
    struct net_stream *s = arg;
    int code = 0;
    socklen_t bytes = sizeof(code);

    s->watch = NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &bytes) < 0) {
        code = errno;
    }
    connect_done(s, code);
    return false;
}

bool net_stream_connect(struct net_stream *s, const struct socket_address *address, GError **error)
{
    if (!net_address_resolve(address, SOCK_STREAM, false, &s->other, error)) {
        return false;
    }
    s->keep_alive = address->type == SOCKET_ADDRESS_TYPE_INET && address->u.inet.has_keep_alive &&
                    address->u.inet.keep_alive;
    s->connecting_fd = net_socket(s->other.any.sa_family, SOCK_STREAM, error);
    if (s->connecting_fd < 0) {
        return false;
    }
    if (connect(s->connecting_fd, &s->other.any, s->other.bytes) == 0) {
        connect_done(s, 0);
        return true;
    }
    if (errno == EINPROGRESS) {
        net_set_info(s->b, g_strdup("connecting"));
        s->watch = loop_watch_fd(net_backend_loop(s->b), s->connecting_fd,
                                 G_IO_OUT | G_IO_ERR | G_IO_HUP, client_writable, s);
        return true;
    }
    g_autofree char *text = net_address_text(&s->other);
    g_set_error(error, NET_ERROR, 0, "can't connect to %s: %s", text, g_strerror(errno));
    return false;
}

/* ---- a socket that somebody else has made: connected, or one that listens */

bool net_stream_take(struct net_stream *s, const char *text, bool server, GError **error)
{
    struct net_address other = {.bytes = sizeof(other.room)};
    int fd = net_take_fd(s->b, text, error), type = 0;
    socklen_t bytes = sizeof(type);

    if (fd < 0) {
        return false;
    }
    s->connecting_fd = fd;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0 || type != SOCK_STREAM) {
        g_set_error(error, NET_ERROR, 0, "fd=%s is no stream socket", text);
        return false;
    }
    if (server) {
        s->listen_fd = fd;
        s->connecting_fd = -1;
        net_set_info(s->b, g_strdup("listening"));
        s->watch = loop_watch_fd(net_backend_loop(s->b), fd, G_IO_IN, server_readable, s);
        return true;
    }
    if (getpeername(fd, &other.any, &other.bytes) < 0) {
        g_set_error(error, NET_ERROR, 0, "fd=%s is not connected", text);
        return false;
    }
    s->connecting_fd = -1;
    stream_connected(s, fd, &other);
    net_set_info(s->b, g_strdup_printf("fd:%d", fd));
    return true;
}

/* ---- life */

void net_stream_init(struct net_stream *s, struct net_backend *b, bool quiet)
{
    s->b = b;
    s->quiet = quiet;
    s->listen_fd = s->connecting_fd = -1;
    net_framed_init(&s->framed, b, stream_ended);
}

void net_stream_finish(struct net_stream *s)
{
    if (!s->b) {
        return;
    }
    if (s->watch) {
        g_source_destroy(s->watch);
    }
    net_framed_finish(&s->framed);
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
    }
    if (s->connecting_fd >= 0) {
        close(s->connecting_fd);
    }
    if (s->made_path) {
        unlink(s->path);
    }
    g_free(s->path);
}

struct stream_backend {
    struct net_backend b; /* first */
    struct net_stream stream;
};

static bool stream_open(struct net_backend *b, const struct netdev *options, GError **error)
{
    struct net_stream *s = &((struct stream_backend *)b)->stream;
    const struct netdev_stream_options *o = &options->u.stream;
    bool server = o->has_server && o->server;

    net_stream_init(s, b, false);
    if (o->addr->type == SOCKET_ADDRESS_TYPE_FD) {
        return net_stream_take(s, o->addr->u.fd.str, server, error);
    }
    return server ? net_stream_listen(s, o->addr, error) : net_stream_connect(s, o->addr, error);
}

static void stream_close(struct net_backend *b)
{
    net_stream_finish(&((struct stream_backend *)b)->stream);
}

static bool stream_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    return net_framed_send(&((struct stream_backend *)b)->stream.framed, iov, n);
}

static void stream_accept(struct net_backend *b, unsigned queue)
{
    net_framed_accept(&((struct stream_backend *)b)->stream.framed);
}

const struct net_backend_ops net_stream_ops = {
    .type = NET_CLIENT_DRIVER_STREAM,
    .size = sizeof(struct stream_backend),
    .open = stream_open,
    .close = stream_close,
    .send = stream_send,
    .accept = stream_accept,
};
