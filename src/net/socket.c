/*
 * netdev socket: stream and dgram by an older form of their addresses, without events.
 */
#include "net/stream.h"

#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>

struct socket_backend {
    struct net_backend b; /* first */
    bool is_datagram;
    struct net_stream stream;
    struct net_datagram datagram;
};

static bool open_fd(struct socket_backend *s, const char *text, GError **error)
{
    struct net_address own = {.bytes = sizeof(own.room)}, other = {.bytes = sizeof(other.room)};
    int fd = net_take_fd(&s->b, text, error), type = 0;
    socklen_t bytes = sizeof(type);

    if (fd < 0) {
        return false;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0) {
        g_set_error(error, NET_ERROR, 0, "fd=%s is no socket", text);
        close(fd);
        return false;
    }
    if (type == SOCK_STREAM) {
        g_autofree char *number = g_strdup_printf("%d", fd);
        return net_stream_take(&s->stream, number, false, error);
    }
    s->is_datagram = true;
    s->datagram.fd = fd;
    if (getpeername(fd, &other.any, &other.bytes) < 0) {
        if (getsockname(fd, &own.any, &own.bytes) < 0 || !net_address_is_multicast(&own)) {
            g_set_error(error, NET_ERROR, 0, "fd=%s is neither connected nor bound to a group",
                        text);
            return false;
        }
        s->datagram.to = own;
    }
    net_set_info(&s->b, g_strdup_printf("socket: fd=%d", fd));
    net_datagram_open(&s->datagram, fd);
    return true;
}

static bool open_multicast(struct socket_backend *s, const struct socket_address *address,
                           const char *localaddr, GError **error)
{
    struct net_address group;
    struct in_addr interface;
    int fd;

    s->is_datagram = true;
    if (localaddr && !inet_aton(localaddr, &interface)) {
        g_set_error(error, NET_ERROR, 0, "localaddr '%s' is no IPv4 address", localaddr);
        return false;
    }
    if (!net_address_resolve(address, SOCK_DGRAM, true, &group, error)) {
        return false;
    }
    fd = net_multicast_socket(&group, localaddr ? &interface : NULL, error);
    if (fd < 0) {
        return false;
    }
    s->datagram.to = group;
    g_autofree char *text = net_address_text(&group);
    net_set_info(&s->b, g_strdup_printf("socket: mcast=%s", text));
    net_datagram_open(&s->datagram, fd);
    return true;
}

static bool open_udp(struct socket_backend *s, const struct socket_address *remote,
                     const char *localaddr, GError **error)
{
    struct socket_address *local = localaddr ? net_address_parse(localaddr, error) : NULL;
    struct net_address own;
    bool ok;

    s->is_datagram = true;
    if (!localaddr) {
        g_set_error(error, NET_ERROR, 0, "localaddr= is mandatory with udp=");
    }
    ok = local && net_address_resolve(remote, SOCK_DGRAM, false, &s->datagram.to, error) &&
         net_address_resolve(local, SOCK_DGRAM, true, &own, error);
    if (ok) {
        s->datagram.fd = net_socket(own.any.sa_family, SOCK_DGRAM, error);
        ok = s->datagram.fd >= 0 && net_bind(s->datagram.fd, local, SOCK_DGRAM, &own, error);
    }
    socket_address_free(local);
    if (ok) {
        g_autofree char *text = net_address_text(&s->datagram.to);
        net_set_info(&s->b, g_strdup_printf("socket: udp=%s", text));
        net_datagram_open(&s->datagram, s->datagram.fd);
    }
    return ok;
}

static bool open_address(struct socket_backend *s, const struct netdev_socket_options *o,
                         GError **error)
{
    const char *text = o->listen    ? o->listen
                       : o->connect ? o->connect
                       : o->mcast   ? o->mcast
                                    : o->udp;
    struct socket_address *address = net_address_parse(text, error);
    bool ok = false;

    if (address) {
        ok = o->listen    ? net_stream_listen(&s->stream, address, error)
             : o->connect ? net_stream_connect(&s->stream, address, error)
             : o->mcast   ? open_multicast(s, address, o->localaddr, error)
                          : open_udp(s, address, o->localaddr, error);
    }
    socket_address_free(address);
    return ok;
}

static bool socket_open(struct net_backend *b, const struct netdev *options, GError **error)
{
    struct socket_backend *s = (struct socket_backend *)b;
    const struct netdev_socket_options *o = &options->u.socket;

    net_stream_init(&s->stream, b, true);
    net_datagram_init(&s->datagram, b);
    if (!!o->fd + !!o->listen + !!o->connect + !!o->mcast + !!o->udp != 1) {
        g_set_error(error, NET_ERROR, 0,
                    "exactly one of listen=, connect=, mcast= or udp= is required");
        return false;
    }
    if (o->localaddr && !o->mcast && !o->udp) {
        g_set_error(error, NET_ERROR, 0, "localaddr= is only valid with mcast= or udp=");
        return false;
    }
    return o->fd ? open_fd(s, o->fd, error) : open_address(s, o, error);
}

static void socket_close(struct net_backend *b)
{
    struct socket_backend *s = (struct socket_backend *)b;

    net_stream_finish(&s->stream);
    net_datagram_finish(&s->datagram);
}

static bool socket_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    struct socket_backend *s = (struct socket_backend *)b;

    return s->is_datagram ? net_datagram_send(&s->datagram, iov, n)
                          : net_framed_send(&s->stream.framed, iov, n);
}

static void socket_accept(struct net_backend *b, unsigned queue)
{
    struct socket_backend *s = (struct socket_backend *)b;

    if (s->is_datagram) {
        net_datagram_accept(&s->datagram);
    } else {
        net_framed_accept(&s->stream.framed);
    }
}

const struct net_backend_ops net_socket_ops = {
    .type = NET_CLIENT_DRIVER_SOCKET,
    .size = sizeof(struct socket_backend),
    .open = socket_open,
    .close = socket_close,
    .send = socket_send,
    .accept = socket_accept,
};
