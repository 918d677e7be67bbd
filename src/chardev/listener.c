/*
 * Sockets that listen: see listener.h.
 */
#include "chardev/listener.h"
#include "chardev/chardev-priv.h"
#include "qapi-types.h"
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG        16
#define SOCKETS_MAX    8
/* A free port that the first socket is given may be taken for another. */
#define ANY_PORT_TRIES 16

struct listener {
    unsigned n;
    int fd[SOCKETS_MAX];
    int set;    /* epoll(7)'s, of several; else -1 */
    char *path; /* of a socket file; NULL: none */
};

static void close_all(struct listener *l)
{
    while (l->n) {
        close(l->fd[--l->n]);
    }
}

/* ---- unix */

/* Removes a socket file that nobody listens on. */
static bool unix_remove_stale(const char *path, const struct sockaddr_un *sun, GError **error)
{
    struct stat st;
    int fd, code = 0;

    if (lstat(path, &st) < 0) {
        return true; /* bind() will say what is wrong with the path */
    }
    if (!S_ISSOCK(st.st_mode)) {
        g_set_error(error, CHARDEV_ERROR, EEXIST, "'%s' exists and is not a socket", path);
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        code = connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 ? 0 : errno;
        close(fd);
    }
    if (code != ECONNREFUSED) {
        g_set_error(error, CHARDEV_ERROR, EADDRINUSE, "socket '%s' is in use by another process",
                    path);
        return false;
    }
    unlink(path);
    return true;
}

static bool listen_unix(struct listener *l, const struct sock_address *a, GError **error)
{
    struct sockaddr_un sun;
    socklen_t length;
    int fd;

    if (!sock_unix_fill(a, &sun, &length, error) ||
        (!a->is_abstract && !unix_remove_stale(a->path, &sun, error))) {
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        l->fd[l->n++] = fd;
    }
    if (fd < 0 || bind(fd, (struct sockaddr *)&sun, length) < 0 || listen(fd, BACKLOG) < 0) {
        g_set_error(error, CHARDEV_ERROR, errno, "cannot listen on '%s': %s", a->path,
                    g_strerror(errno));
        return false;
    }
    l->path = a->is_abstract ? NULL : g_strdup(a->path);
    return true;
}

/* ---- TCP */

static in_port_t *port_of(struct sockaddr *address)
{
    return address->sa_family == AF_INET6 ? &((struct sockaddr_in6 *)(void *)address)->sin6_port
                                          : &((struct sockaddr_in *)(void *)address)->sin_port;
}

/* 0 or errno. */
static int listen_one(struct listener *l, struct addrinfo *i, int only_v6)
{
    int fd = socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, code = 0;

    if (fd < 0) {
        return errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (i->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6));
    }
    if (bind(fd, i->ai_addr, i->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        code = errno;
        close(fd);
    } else {
        l->fd[l->n++] = fd;
    }
    return code;
}

/* A file of hosts may name one twice. */
static bool is_repeated(const struct addrinfo *list, const struct addrinfo *i)
{
    for (; list != i; list = list->ai_next) {
        if (list->ai_addrlen == i->ai_addrlen &&
            memcmp(list->ai_addr, i->ai_addr, i->ai_addrlen) == 0) {
            return true;
        }
    }
    return false;
}

/* Which the first was given; 0: there is none yet. */
static uint16_t bound_port(const struct listener *l)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(address);

    return l->n && getsockname(l->fd[0], (struct sockaddr *)&address, &length) == 0
               ? ntohs(*port_of((struct sockaddr *)&address))
               : 0;
}

/* At that port, 0 being any: 0 or errno. */
static int listen_at(struct listener *l, struct addrinfo *list, uint16_t port, bool only_v6)
{
    int code = 0;

    for (struct addrinfo *i = list; i && l->n < SOCKETS_MAX; i = i->ai_next) {
        int why;

        *port_of(i->ai_addr) = htons(port ? port : bound_port(l));
        why = is_repeated(list, i) ? 0 : listen_one(l, i, only_v6);
        if (why != 0 && why != EADDRNOTAVAIL && why != EAFNOSUPPORT) {
            close_all(l);
            return why;
        }
        code = why ? why : code;
    }
    return l->n ? 0 : code;
}

static bool listen_tcp(struct listener *l, const struct sock_address *a, GError **error)
{
    struct addrinfo *list = sock_address_resolve(a, error);
    unsigned first, tries;
    int code = EADDRINUSE;

    if (!list) {
        return false;
    }
    first = ntohs(*port_of(list->ai_addr));
    tries = first ? MAX(a->to, first) - first + 1 : ANY_PORT_TRIES;
    for (unsigned i = 0; i < tries && code == EADDRINUSE; i++) {
        /* IPv6's any takes IPv4's in, unless that is here itself or not wanted. */
        code = listen_at(l, list, (uint16_t)(first ? first + i : 0),
                         list->ai_next || a->family == AF_INET6);
    }
    freeaddrinfo(list);
    if (code) {
        g_set_error(error, CHARDEV_ERROR, code, "cannot listen on '%s:%s': %s", a->host, a->port,
                    g_strerror(code));
    }
    return code == 0;
}

/* ---- all */

static bool take_fd(struct listener *l, const struct sock_address *a, GError **error)
{
    if (!sock_fd_is_socket(a->fd, error)) {
        return false;
    }
    l->fd[l->n++] = a->fd;
    return true;
}

/* So that several can be waited for like one. */
static bool unite(struct listener *l, GError **error)
{
    for (unsigned i = 0; i < l->n; i++) {
        g_unix_set_fd_nonblocking(l->fd[i], TRUE, NULL);
        fcntl(l->fd[i], F_SETFD, FD_CLOEXEC);
    }
    if (l->n == 1) {
        return true;
    }
    l->set = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < l->n; i++) {
        struct epoll_event event = {.events = EPOLLIN};

        if (l->set < 0 || epoll_ctl(l->set, EPOLL_CTL_ADD, l->fd[i], &event) < 0) {
            g_set_error(error, CHARDEV_ERROR, errno, "epoll: %s", g_strerror(errno));
            return false;
        }
    }
    return true;
}

struct listener *listener_new(const struct sock_address *address, GError **error)
{
    struct listener *l = g_new0(struct listener, 1);
    bool ok;

    l->set = -1;
    ok = (address->kind == SOCK_UNIX  ? listen_unix
          : address->kind == SOCK_TCP ? listen_tcp
                                      : take_fd)(l, address, error) &&
         unite(l, error);
    if (!ok) {
        listener_free(l);
        return NULL;
    }
    return l;
}

void listener_unlink(const struct listener *l)
{
    if (l->path) {
        unlink(l->path);
    }
}

void listener_free(struct listener *l)
{
    if (!l) {
        return;
    }
    listener_unlink(l);
    close_all(l);
    if (l->set >= 0) {
        close(l->set);
    }
    g_free(l->path);
    g_free(l);
}

int listener_fd(const struct listener *l)
{
    return l->set >= 0 ? l->set : l->fd[0];
}

int listener_accept(const struct listener *l, int flags)
{
    int fd = -1;

    for (unsigned i = 0; i < l->n && fd < 0; i++) {
        fd = accept4(l->fd[i], NULL, NULL, flags);
        if (fd < 0 && errno != EAGAIN) {
            break;
        }
    }
    return fd;
}

int listener_wait(const struct listener *l, int flags)
{
    struct pollfd ready = {.fd = listener_fd(l), .events = POLLIN};

    for (;;) {
        int fd;

        if (poll(&ready, 1, -1) < 0 && errno != EINTR) {
            return -1;
        }
        fd = listener_accept(l, flags);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)) {
            return fd;
        }
    }
}

void listener_set_backlog(const struct listener *l, int n)
{
    for (unsigned i = 0; i < l->n; i++) {
        listen(l->fd[i], n); /* it listens already */
    }
}

void listener_describe(const struct listener *l, struct sock_address *address)
{
    sock_address_found(address, l->fd[0]);
}

/* The last comes first, as QEMU has them. */
struct socket_address_list *listener_addresses(const struct listener *l)
{
    struct socket_address_list *list = socket_address_list_new();

    for (unsigned i = l->n; i-- > 0;) {
        struct sockaddr_storage address;
        socklen_t length = sizeof(address);

        if (getsockname(l->fd[i], (struct sockaddr *)&address, &length) == 0) {
            socket_address_list_append(list,
                                       sock_address_to_qapi((struct sockaddr *)&address, length));
        }
    }
    return list;
}
