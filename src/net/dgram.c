/*
 * netdev dgram: one frame in each datagram, over UDP or a UNIX socket. A multicast group as remote
 * address makes a network of all who join it.
 */
#include "net/net-priv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct dgram {
    struct net_backend b; /* first */
    struct net_datagram datagram;
    char *path; /* a socket file that we made */
};

static bool is_type(const struct socket_address *a, enum socket_address_type type)
{
    return a && a->type == type;
}

static bool check(const struct netdev_dgram_options *o, GError **error)
{
    const struct socket_address *local = o->local, *remote = o->remote;

    if (is_type(remote, SOCKET_ADDRESS_TYPE_FD)) {
        g_set_error(error, NET_ERROR, 0, "don't set remote with type fd");
    } else if (is_type(local, SOCKET_ADDRESS_TYPE_FD) && remote) {
        g_set_error(error, NET_ERROR, 0, "don't set remote with local.fd");
    } else if (!local && !remote) {
        g_set_error(error, NET_ERROR, 0, "dgram requires local= or remote= parameter");
    } else if (local && remote && local->type != remote->type) {
        g_set_error(error, NET_ERROR, 0, "remote and local types must be the same");
    } else if (is_type(local, SOCKET_ADDRESS_TYPE_UNIX) && !remote) {
        g_set_error(error, NET_ERROR, 0, "type=unix requires remote parameter");
    } else if (is_type(remote, SOCKET_ADDRESS_TYPE_UNIX) && !local) {
        g_set_error(error, NET_ERROR, 0, "type=unix requires local parameter");
    } else {
        return true;
    }
    return false;
}

/* A group, with the interface's address as local one. */
static bool open_multicast(struct dgram *d, const struct netdev_dgram_options *o,
                           const struct net_address *group, GError **error)
{
    struct net_address local;
    int fd;

    if (is_type(o->local, SOCKET_ADDRESS_TYPE_INET) &&
        !net_address_resolve(o->local, SOCK_DGRAM, true, &local, error)) {
        return false;
    }
    fd = net_multicast_socket(group, o->local ? &local.in.sin_addr : NULL, error);
    if (fd < 0) {
        return false;
    }
    d->datagram.to = *group;
    g_autofree char *text = net_address_text(group);
    net_set_info(&d->b, g_strdup_printf("mcast=%s", text));
    net_datagram_open(&d->datagram, fd);
    return true;
}

static bool open_pair(struct dgram *d, const struct netdev_dgram_options *o,
                      const struct net_address *remote, GError **error)
{
    struct net_address local;
    g_autofree char *local_text = NULL, *remote_text = NULL;
    int fd;

    if (!o->local) {
        g_set_error(error, NET_ERROR, 0, "type=inet requires local parameter");
        return false;
    }
    if (!net_address_resolve(o->local, SOCK_DGRAM, true, &local, error)) {
        return false;
    }
    fd = net_socket(local.any.sa_family, SOCK_DGRAM, error);
    if (fd < 0) {
        return false;
    }
    d->datagram.fd = fd;
    if (!net_bind(fd, o->local, SOCK_DGRAM, &local, error)) {
        return false;
    }
    if (local.any.sa_family == AF_UNIX && local.un.sun_path[0]) {
        d->path = g_strdup(local.un.sun_path);
    }
    d->datagram.to = *remote;
    local_text = net_address_text(&local);
    remote_text = net_address_text(remote);
    net_set_info(&d->b, g_strdup_printf("udp=%s/%s", local_text, remote_text));
    net_datagram_open(&d->datagram, fd);
    return true;
}

static bool open_fd(struct dgram *d, const char *text, GError **error)
{
    struct net_address own = {.bytes = sizeof(own.room)}, other = {.bytes = sizeof(other.room)};
    int fd = net_take_fd(&d->b, text, error), type = 0;
    socklen_t bytes = sizeof(type);

    if (fd < 0) {
        return false;
    }
    d->datagram.fd = fd;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0 || type != SOCK_DGRAM) {
        g_set_error(error, NET_ERROR, 0, "fd=%s is not a SOCK_DGRAM socket", text);
        return false;
    }
    if (getpeername(fd, &other.any, &other.bytes) < 0) {
        if (getsockname(fd, &own.any, &own.bytes) < 0 || !net_address_is_multicast(&own)) {
            g_set_error(error, NET_ERROR, 0, "fd=%s is neither connected nor bound to a group",
                        text);
            return false;
        }
        d->datagram.to = own;
    }
    net_set_info(&d->b, g_strdup_printf("fd=%d", fd));
    net_datagram_open(&d->datagram, fd);
    return true;
}

static bool dgram_open(struct net_backend *b, const struct netdev *options, GError **error)
{
    struct dgram *d = (struct dgram *)b;
    const struct netdev_dgram_options *o = &options->u.dgram;
    struct net_address remote;

    net_datagram_init(&d->datagram, b);
    if (!check(o, error)) {
        return false;
    }
    if (is_type(o->local, SOCKET_ADDRESS_TYPE_FD)) {
        return open_fd(d, o->local->u.fd.str, error);
    }
    if (!o->remote) {
        g_set_error(error, NET_ERROR, 0, "type=inet requires remote parameter");
        return false;
    }
    if (!net_address_resolve(o->remote, SOCK_DGRAM, false, &remote, error)) {
        return false;
    }
    return net_address_is_multicast(&remote) ? open_multicast(d, o, &remote, error)
                                             : open_pair(d, o, &remote, error);
}

static void dgram_close(struct net_backend *b)
{
    struct dgram *d = (struct dgram *)b;

    net_datagram_finish(&d->datagram);
    if (d->path) {
        unlink(d->path);
        g_free(d->path);
    }
}

static bool dgram_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    return net_datagram_send(&((struct dgram *)b)->datagram, iov, n);
}

static void dgram_accept(struct net_backend *b, unsigned queue)
{
    net_datagram_accept(&((struct dgram *)b)->datagram);
}

const struct net_backend_ops net_dgram_ops = {
    .type = NET_CLIENT_DRIVER_DGRAM,
    .size = sizeof(struct dgram),
    .open = dgram_open,
    .close = dgram_close,
    .send = dgram_send,
    .accept = dgram_accept,
};
