/*
 * socket: a unix or TCP stream socket, listening (one client at a time, the next one waits until it
 * is gone) or connecting, with optional reconnection.
 *
 * With telnet=on or websocket=on a protocol is spoken over it (telnet.c, websocket.c).
 *
 * While nobody is connected output is dropped, as on a cable that is not plugged in. Connecting
 * again happens on the loop without blocking it only for unix sockets and numeric addresses: a name
 * would have to be resolved, so it is resolved once, at the start.
 */
#include "base/log.h"
#include "base/yank.h"
#include "chardev/chardev-priv.h"
#include "chardev/listener.h"
#include <errno.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct socket_chardev {
    struct stream stream; /* first */
    struct sock_address address;
    struct listener *listener; /* NULL: connects */
    int fd;
    bool ready; /* there is a connection, and what is spoken over it was agreed on */
    GSource *accept_watch, *reconnect;
    GSource *hup_watch; /* the other end's end, also while nobody reads */
    struct yank *instance, *connection;
};

static void socket_hung_up(struct stream *s);

/* Both ends of a TCP connection; NULL: of another kind. */
static char *describe_connection(const struct socket_chardev *d)
{
    struct sockaddr_storage here, there;
    socklen_t here_length = sizeof(here), there_length = sizeof(there);
    g_autofree char *ours = NULL, *theirs = NULL;

    if (d->address.kind != SOCK_TCP ||
        getsockname(d->fd, (struct sockaddr *)&here, &here_length) < 0 ||
        getpeername(d->fd, (struct sockaddr *)&there, &there_length) < 0 ||
        !(ours = sock_address_text((struct sockaddr *)&here, here_length)) ||
        !(theirs = sock_address_text((struct sockaddr *)&there, there_length))) {
        return NULL;
    }
    return g_strdup_printf("%s:%s%s <-> %s", sock_address_protocol(&d->address), ours,
                           d->address.server ? ",server=on" : "", theirs);
}

static void socket_describe(struct socket_chardev *d)
{
    g_autofree char *address = sock_address_describe(&d->address);
    g_autofree char *connection = d->ready ? describe_connection(d) : NULL;

    g_free(d->stream.chr.filename);
    d->stream.chr.filename = connection ? g_steal_pointer(&connection)
                             : d->ready ? g_steal_pointer(&address)
                                        : g_strconcat("disconnected:", address, NULL);
}

/* What is still to be read comes first: who reads finds the end behind it. */
static bool socket_ended(int fd, GIOCondition condition, void *arg)
{
    struct socket_chardev *d = arg;
    int unread = 0;

    d->hup_watch = NULL;
    if (ioctl(fd, FIONREAD, &unread) < 0 || (unread == 0 && !stream_has_input(&d->stream))) {
        socket_hung_up(&d->stream);
    }
    return false;
}

static void socket_ready(struct stream *s)
{
    struct socket_chardev *d = (struct socket_chardev *)s;

    d->ready = true;
    socket_describe(d);
    chardev_event(&s->chr, CHARDEV_OPENED);
}

static void socket_connected(struct socket_chardev *d, int fd)
{
    int one = 1;

    g_unix_set_fd_nonblocking(fd, TRUE, NULL);
    if (d->address.kind == SOCK_TCP && d->address.nodelay) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    if (d->address.kind == SOCK_TCP && d->address.keep_alive) {
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    }
    d->fd = fd;
    d->connection = yank_add_socket(YANK_CHARDEV, d->stream.chr.id, fd);
    d->hup_watch = loop_watch_fd(d->stream.chr.loop, fd,
                                 (GIOCondition)(G_IO_HUP | G_IO_ERR | POLLRDHUP), socket_ended, d);
    stream_open(&d->stream, fd, fd);
    if (!d->stream.quiet) {
        socket_ready(&d->stream);
    }
}

static bool socket_accept(int fd, GIOCondition condition, void *arg)
{
    struct socket_chardev *d = arg;
    int client = listener_accept(d->listener, SOCK_CLOEXEC);

    if (client < 0) {
        return true;
    }
    d->accept_watch = NULL;
    socket_connected(d, client);
    return false;
}

static void socket_await_client(struct socket_chardev *d)
{
    if (d->listener && !d->accept_watch) {
        d->accept_watch =
            loop_watch_fd(d->stream.chr.loop, listener_fd(d->listener), G_IO_IN, socket_accept, d);
    }
}

static gboolean socket_try_again(gpointer opaque)
{
    struct socket_chardev *d = opaque;
    int fd = sock_connect(&d->address, NULL);

    if (fd < 0) {
        return G_SOURCE_CONTINUE;
    }
    g_source_unref(d->reconnect);
    d->reconnect = NULL;
    socket_connected(d, fd);
    return G_SOURCE_REMOVE;
}

static void socket_plan_reconnect(struct socket_chardev *d)
{
    if (d->address.reconnect_s > 0 && !d->reconnect) {
        d->reconnect = g_timeout_source_new_seconds((guint)d->address.reconnect_s);
        g_source_set_callback(d->reconnect, socket_try_again, d, NULL);
        g_source_attach(d->reconnect, d->stream.chr.loop->context);
    }
}

static void socket_hung_up(struct stream *s)
{
    struct socket_chardev *d = (struct socket_chardev *)s;
    bool was_ready = d->ready;

    if (d->fd < 0) {
        return;
    }
    d->ready = false;
    stream_close(s);
    if (d->hup_watch) {
        g_source_destroy(g_steal_pointer(&d->hup_watch));
    }
    yank_remove(g_steal_pointer(&d->connection));
    close(d->fd);
    d->fd = -1;
    socket_describe(d);
    if (was_ready) {
        chardev_event(&s->chr, CHARDEV_CLOSED);
    }
    socket_await_client(d);
    socket_plan_reconnect(d);
}

static void socket_finish(struct chardev *chr)
{
    struct socket_chardev *d = (struct socket_chardev *)chr;

    d->stream.hung_up = NULL;
    stream_finish(&d->stream);
    if (d->accept_watch) {
        g_source_destroy(d->accept_watch);
    }
    if (d->reconnect) {
        g_source_destroy(d->reconnect);
        g_source_unref(d->reconnect);
    }
    if (d->hup_watch) {
        g_source_destroy(d->hup_watch);
    }
    yank_remove(d->connection);
    yank_remove(d->instance);
    if (d->fd >= 0) {
        close(d->fd);
    }
    listener_free(d->listener);
    sock_address_clear(&d->address);
}

static const struct chardev_ops socket_ops = {
    .name = "socket",
    .size = sizeof(struct socket_chardev),
    .write = stream_write,
    .accept_input = stream_accept_input,
    .push = stream_push,
    .flush = stream_flush,
    .finish = socket_finish,
};

/* Blocks until a client came. */
static bool socket_wait_client(struct socket_chardev *d, GError **error)
{
    int client;

    log_info("waiting for connection on: %s", d->stream.chr.filename);
    client = listener_wait(d->listener, SOCK_CLOEXEC);
    if (client >= 0) {
        socket_connected(d, client);
        return true;
    }
    g_set_error(error, CHARDEV_ERROR, errno, "cannot accept a connection: %s", g_strerror(errno));
    return false;
}

static bool socket_open(struct socket_chardev *d, GError **error)
{
    g_autoptr(GError) failure = NULL;
    int fd;

    if (d->address.server) {
        d->listener = listener_new(&d->address, error);
        if (d->listener) {
            listener_describe(d->listener, &d->address);
        }
        socket_describe(d);
        if (!d->listener) {
            return false;
        }
        if (d->address.wait) {
            return socket_wait_client(d, error);
        }
        socket_await_client(d);
        return true;
    }
    fd = sock_connect(&d->address, &failure);
    socket_describe(d);
    if (fd >= 0) {
        socket_connected(d, fd);
    } else if (d->address.reconnect_s > 0) {
        socket_plan_reconnect(d);
    } else {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    return true;
}

struct chardev *chardev_socket_new_address(const char *id, struct sock_address *address,
                                           struct loop *loop, GError **error)
{
    struct socket_chardev *d = (struct socket_chardev *)chardev_alloc(&socket_ops, id, loop);

    d->stream.chr.connected = false;
    d->address = *address;
    d->fd = -1;
    stream_init(&d->stream);
    d->stream.out_socket = true;
    d->stream.hung_up = socket_hung_up;
    d->stream.ready = socket_ready;
    d->stream.codec = address->websocket                   ? &stream_websocket
                      : address->telnet && address->server ? &stream_telnet
                                                           : NULL;
    d->instance = yank_add(YANK_CHARDEV, id, NULL, NULL);
    if (!socket_open(d, error)) {
        chardev_free(&d->stream.chr);
        return NULL;
    }
    return &d->stream.chr;
}

bool chardev_socket_take_protocol(struct sock_address *a, struct chardev_options *o, GError **error)
{
    if (!chardev_option_bool(o, "telnet", &a->telnet, error) ||
        !chardev_option_bool(o, "websocket", &a->websocket, error)) {
        return false;
    }
    if (a->websocket && a->telnet) {
        g_set_error(error, CHARDEV_ERROR, 0, "telnet and websocket can't be spoken at once");
        return false;
    }
    if (a->websocket && !a->server) {
        g_set_error(error, CHARDEV_ERROR, 0, "Websocket client is not implemented");
        return false;
    }
    return true;
}

/* path=, or host= and port=, or fd= */
static bool socket_address_from(struct chardev_options *o, struct sock_address *a, GError **error)
{
    g_autofree char *fd = chardev_option(o, "fd");

    *a = (struct sock_address){.fd = -1};
    a->path = chardev_option(o, "path");
    a->host = chardev_option(o, "host");
    a->port = chardev_option(o, "port");
    if (!!a->path + !!a->port + !!fd != 1) {
        g_set_error(error, CHARDEV_ERROR, 0, "give one of path=, port= (with host=) and fd=");
        return false;
    }
    if (fd) {
        g_autofree char *text = g_strconcat("fd:", fd, NULL);

        if (!sock_address_parse(text, a, error)) {
            return false;
        }
    } else if (a->path) {
        a->kind = SOCK_UNIX;
    } else {
        a->kind = SOCK_TCP;
        a->host = a->host ? a->host : g_strdup("");
    }
    return sock_address_take_options(a, o, error) && chardev_socket_take_protocol(a, o, error);
}

struct chardev *chardev_socket_new(struct chardev_options *o, struct loop *loop, GError **error)
{
    struct sock_address address;

    if (!socket_address_from(o, &address, error)) {
        sock_address_clear(&address);
        return NULL;
    }
    return chardev_socket_new_address(o->id, &address, loop, error);
}
