/*
 * udp: datagrams to a remote address, and from it; from a local one, if it is given. What the front
 * end writes at once is one datagram. One that comes is read when the front end has taken the one
 * before. Nobody can tell whether there is anybody at the other end, so it is never connected.
 */
#include "chardev/chardev-priv.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAM_BYTES 65536

struct udp {
    struct chardev chr; /* first */
    int fd;
    GSource *in, *again; /* again: a bell */
    uint8_t *datagram;
    size_t at, end; /* what the front end has not taken of it */
};

struct endpoint {
    char *host, *port;
};

static bool udp_readable(int fd, GIOCondition condition, void *arg);

/* Hands on what there is of a datagram, and waits for the next. */
static void udp_deliver(struct udp *u)
{
    while (u->at < u->end) {
        size_t n = MIN((size_t)chardev_can_receive(&u->chr), u->end - u->at);

        if (!n) {
            return; /* udp_accept_input() goes on */
        }
        u->at += n;
        chardev_deliver(&u->chr, u->datagram + u->at - n, n);
    }
    if (!u->in && u->fd >= 0 && chardev_can_receive(&u->chr) > 0) {
        u->in = loop_watch_fd(u->chr.loop, u->fd, G_IO_IN, udp_readable, u);
    }
}

static bool udp_readable(int fd, GIOCondition condition, void *arg)
{
    struct udp *u = arg;
    ssize_t n = recv(fd, u->datagram, DATAGRAM_BYTES, MSG_DONTWAIT);

    if (n <= 0) { /* nothing, or nobody was there for what was sent */
        return true;
    }
    u->at = 0;
    u->end = (size_t)n;
    u->in = NULL;
    udp_deliver(u);
    return false;
}

static void udp_again(void *arg)
{
    udp_deliver(arg);
}

/* On the loop's next turn, for the front end may be busy with what it had. */
static void udp_accept_input(struct chardev *chr)
{
    struct udp *u = (struct udp *)chr;

    if (!u->in) {
        loop_bell_ring(u->again);
    }
}

/* What cannot be sent is lost, as on the way. */
static size_t udp_write(struct chardev *chr, const uint8_t *buf, size_t length)
{
    struct udp *u = (struct udp *)chr;
    size_t n = MIN(length, DATAGRAM_BYTES / 2);
    ssize_t sent = send(u->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    return sent < 0 && errno == ECONNREFUSED /* of one before */
                   && send(u->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0
               ? length
               : n;
}

static void udp_finish(struct chardev *chr)
{
    struct udp *u = (struct udp *)chr;

    loop_unwatch(&u->in);
    loop_bell_free(u->again);
    if (u->fd >= 0) {
        close(u->fd);
    }
    g_free(u->datagram);
}

static const struct chardev_ops udp_ops = {
    .name = "udp",
    .size = sizeof(struct udp),
    .write = udp_write,
    .accept_input = udp_accept_input,
    .finish = udp_finish,
};

/* ---- its socket */

static struct addrinfo *resolve(const struct endpoint *e, int family, bool local, GError **error)
{
    struct addrinfo hints = {
        .ai_socktype = SOCK_DGRAM, .ai_family = family, .ai_flags = local ? AI_PASSIVE : 0};
    struct addrinfo *found = NULL;
    const char *why = sock_resolve(e->host, e->port, &hints, &found);

    if (why) {
        g_set_error(error, CHARDEV_ERROR, 0, "address resolution failed for %s:%s: %s", e->host,
                    e->port, why);
        return NULL;
    }
    return found;
}

static int open_socket(const struct endpoint *remote, const struct endpoint *local, int family,
                       GError **error)
{
    struct addrinfo *to = resolve(remote, family, false, error), *from = NULL;
    int fd = -1, code = 0;
    const char *what = "connect to";

    if (!to) {
        return -1;
    }
    if (local->port) {
        from = resolve(local, to->ai_family, true, error);
    }
    if (from || !local->port) {
        fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        code = fd < 0 ? errno : 0;
        if (fd >= 0 && from && bind(fd, from->ai_addr, from->ai_addrlen) < 0) {
            what = "bind the local end of";
            code = errno;
        }
        if (code == 0 && connect(fd, to->ai_addr, to->ai_addrlen) < 0) {
            code = errno;
        }
    }
    if (code) {
        g_set_error(error, CHARDEV_ERROR, code, "cannot %s '%s:%s': %s", what, remote->host,
                    remote->port, g_strerror(code));
        if (fd >= 0) {
            close(fd);
        }
        fd = -1;
    }
    freeaddrinfo(to);
    if (from) {
        freeaddrinfo(from);
    }
    return fd;
}

static int open_options(struct chardev_options *o, GError **error)
{
    g_autofree char *host = chardev_option(o, "host"), *port = chardev_option(o, "port");
    g_autofree char *localaddr = chardev_option(o, "localaddr");
    g_autofree char *localport = chardev_option(o, "localport");
    struct endpoint remote = {host && *host ? host : (char *)"localhost", port};
    struct endpoint local = {localaddr ? localaddr : (char *)"", localport};
    int family;

    if (!port || !*port) {
        g_set_error(error, CHARDEV_ERROR, 0, "udp: remote port not specified");
        return -1;
    }
    if (!chardev_option_family(o, &family, error)) {
        return -1;
    }
    if (localaddr && *localaddr && (!localport || !*localport)) {
        local.port = (char *)"0";
    } else if (localport && !*localport) {
        local.port = NULL;
    }
    return open_socket(&remote, &local, family, error);
}

struct chardev *chardev_udp_new(struct chardev_options *o, struct loop *loop, GError **error)
{
    int fd = open_options(o, error);
    struct udp *u;

    if (fd < 0) {
        return NULL;
    }
    u = (struct udp *)chardev_alloc(&udp_ops, o->id, loop);
    u->chr.connected = false;
    u->fd = fd;
    u->datagram = g_malloc(DATAGRAM_BYTES);
    u->again = loop_bell_new(loop, udp_again, u);
    return &u->chr;
}
