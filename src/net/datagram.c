/* Frames over a datagram socket, one in each datagram. */
#include "net/net-priv.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define TURN_FRAMES 64 /* read before others have their turn */

void net_datagram_init(struct net_datagram *d, struct net_backend *b)
{
    d->b = b;
    d->fd = -1;
}

void net_datagram_open(struct net_datagram *d, int fd)
{
    d->fd = fd;
    net_datagram_accept(d);
}

void net_datagram_finish(struct net_datagram *d)
{
    if (d->b) {
        loop_unwatch(&d->in);
        loop_unwatch(&d->out);
        if (d->fd >= 0) {
            close(d->fd);
        }
        d->fd = -1;
    }
}

static bool datagram_readable(int fd, GIOCondition condition, void *arg)
{
    struct net_datagram *d = arg;
    uint8_t frame[NET_FRAME_BYTES];
    bool any = false;

    for (unsigned i = 0; i < TURN_FRAMES; i++) {
        ssize_t n;

        if (!net_can_deliver(d->b, 0)) {
            d->in = NULL; /* net_datagram_accept() makes it anew */
            break;
        }
        n = recv(fd, frame, sizeof(frame), MSG_DONTWAIT);
        if (n < 0) { /* nothing there, or the other end refused what was sent */
            break;
        }
        net_deliver(d->b, 0, frame, (size_t)n);
        any = true;
    }
    if (any) {
        net_delivered(d->b, 0);
    }
    return d->in != NULL;
}

void net_datagram_accept(struct net_datagram *d)
{
    if (d->fd >= 0 && !d->in && net_can_deliver(d->b, 0)) {
        d->in = loop_watch_fd(net_backend_loop(d->b), d->fd, G_IO_IN, datagram_readable, d);
    }
}

static bool datagram_writable(int fd, GIOCondition condition, void *arg)
{
    struct net_datagram *d = arg;

    d->out = NULL;
    d->turned_away = false;
    net_writable(d->b, 0);
    return false;
}

static gboolean try_again(gpointer data)
{
    datagram_writable(-1, 0, data);
    return G_SOURCE_REMOVE;
}

/* A UNIX socket can always be written, but its receiver's queue may be full: poll() does not tell
 * when it is not any more. */
static GSource *watch_out(struct net_datagram *d)
{
    GSource *source;

    if (d->to.any.sa_family != AF_UNIX) {
        return loop_watch_fd(net_backend_loop(d->b), d->fd, G_IO_OUT, datagram_writable, d);
    }
    source = g_timeout_source_new(1);
    g_source_set_callback(source, try_again, d, NULL);
    g_source_attach(source, net_backend_loop(d->b)->context);
    g_source_unref(source);
    return source;
}

bool net_datagram_send(struct net_datagram *d, const struct iovec *iov, unsigned n)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = MIN(n, (unsigned)IOV_MAX)};

    if (d->fd < 0) {
        return true;
    }
    if (d->turned_away) {
        return false;
    }
    if (d->to.bytes) {
        msg.msg_name = &d->to.room;
        msg.msg_namelen = d->to.bytes;
    }
    if (sendmsg(d->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EAGAIN) {
        return true; /* a datagram may be lost: nobody listens, too long, ... */
    }
    d->turned_away = true;
    d->out = watch_out(d);
    return false;
}

int net_multicast_socket(const struct net_address *group, const struct in_addr *interface,
                         GError **error)
{
    struct ip_mreq join = {.imr_multiaddr = group->in.sin_addr};
    const int one = 1;
    int fd;

    if (!net_address_is_multicast(group)) {
        g_autofree char *text = net_address_text(group);
        g_set_error(error, NET_ERROR, 0, "specified mcastaddr %s is not a multicast address", text);
        return -1;
    }
    if (interface) {
        join.imr_interface = *interface;
    }
    fd = net_socket(AF_INET, SOCK_DGRAM, error);
    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, &group->any, group->bytes) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &one, sizeof(one)) < 0 ||
        (interface &&
         setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, interface, sizeof(*interface)) < 0)) {
        g_autofree char *text = net_address_text(group);
        g_set_error(error, NET_ERROR, 0, "can't join the multicast group %s: %s", text,
                    g_strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}
