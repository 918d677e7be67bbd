/*
 * Channels: see channel.h.
 *
 * Descriptors are not waited for in read() and write(): a socket is used with MSG_DONTWAIT, a pipe
 * is made non-blocking, and poll() waits for it together with an eventfd by which channel_break()
 * ends all waiting. Files are read and written as they are.
 *
 * Where both ends of a Unix socket are ours the bytes of the stream soon leave it for memory that
 * both have (channel-ring.h); then the socket tells whether the other side is there, and takes the
 * answers.
 *
 * A command gets a pipe for each direction, so that one which carries bytes both ways (ssh, socat)
 * lets the other side answer.
 */
#include "migration/channel.h"

#include "base/yank.h"
#include "chardev/listener.h"
#include "migration/channel-ring.h"
#include "migration/record.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUFFER_BYTES (1 << 20)
/* How long a command may take to end when it is asked to. */
#define END_LOOKS    50u
#define END_LOOK_US  10000u
#define LOOK_NS      1000000 /* how often is looked for what cannot be waited for */
/* As many as one source may connect. */
#define BACKLOG      256
/* How long is waited for the other side of a ring before its socket is looked at. */
#define RING_LOOK_NS (5 * LOOK_NS)
/* How long what a source has connected may be on its way when the source has gone. */
#define LATE_NS      (5000 * (int64_t)1000000)

enum way { WAY_FILE, WAY_SOCKET, WAY_PIPE };

struct channel {
    struct channel_uri uri;
    bool out;
    struct listener *listener; /* NULL: does not listen */
    int read_fd, write_fd;     /* the same for a socket; -1: not that way */
    enum way way;
    bool plural;  /* goes on listening */
    bool further; /* it comes with another one */
    struct channel_ring *ring;
    uint64_t socket_bytes; /* of the stream */
    bool in_ring;          /* the rest of the stream */
    GPid child;            /* 0: none */
    int broken;            /* eventfd */
    struct yank *yank;
};

/* ---- making */

static bool is_unix_stream(int fd)
{
    int domain = 0, type = 0;
    socklen_t length = sizeof(int);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

static void use_fd(struct channel *c, int fd)
{
    struct stat st;

    c->way = fstat(fd, &st) < 0 || S_ISREG(st.st_mode) ? WAY_FILE
             : S_ISSOCK(st.st_mode)                    ? WAY_SOCKET
                                                       : WAY_PIPE;
    if (c->way == WAY_SOCKET) {
        int bytes = BUFFER_BYTES; /* as much of it as the host allows */

        setsockopt(fd, SOL_SOCKET, c->out ? SO_SNDBUFFORCE : SO_RCVBUFFORCE, &bytes, sizeof(bytes));
        c->read_fd = c->write_fd = fd;
        if (c->out && !c->further && is_unix_stream(fd)) {
            c->ring = channel_ring_new(); /* or there is none */
        }
        return;
    }
    *(c->out ? &c->write_fd : &c->read_fd) = fd;
    if (c->way == WAY_PIPE) {
        fcntl(fd, F_SETPIPE_SZ, BUFFER_BYTES);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
}

static void in_child(gpointer unused)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0); /* so that all of it can be ended */
}

static bool start_command(struct channel *c, GError **error)
{
    char *argv[] = {"/bin/sh", "-c", c->uri.path, NULL};

    if (!g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, in_child, NULL,
                                  &c->child, &c->write_fd, &c->read_fd, NULL, error)) {
        c->child = 0;
        return false;
    }
    c->way = WAY_PIPE;
    for (unsigned i = 0; i < 2; i++) {
        int fd = i ? c->read_fd : c->write_fd;

        fcntl(fd, F_SETPIPE_SZ, BUFFER_BYTES);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    return true;
}

/* A named pipe does not have the caller wait for its other end: who reads must be there already,
 * who writes is waited for by channel_connect(). */
static bool open_file(struct channel *c, GError **error)
{
    int flags = c->out ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY;
    int fd = open(c->uri.path, flags | O_CLOEXEC | O_NONBLOCK, 0600);

    if (fd < 0) {
        return migration_refuse(error, "cannot open '%s': %s", c->uri.path, g_strerror(errno));
    }
    use_fd(c, fd);
    return true;
}

static void break_channel(void *c)
{
    channel_break(c);
}

static struct channel *channel_alloc(const struct channel_uri *uri, bool out)
{
    struct channel *c = g_new0(struct channel, 1);

    c->uri = *uri;
    c->uri.path = g_strdup(uri->path);
    c->uri.host = g_strdup(uri->host);
    c->uri.port = g_strdup(uri->port);
    c->out = out;
    c->read_fd = c->write_fd = -1;
    c->broken = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->yank = c->broken >= 0 ? yank_add(YANK_MIGRATION, NULL, break_channel, c) : NULL;
    c->way = WAY_SOCKET;
    return c;
}

static bool open_plain(struct channel *c, int fd, GError **error)
{
    switch (c->uri.kind) {
    case CHANNEL_EXEC:
        return start_command(c, error);
    case CHANNEL_FILE:
        return open_file(c, error);
    case CHANNEL_FD:
        if (fcntl(fd, F_GETFD) < 0) {
            return migration_refuse(error, "fd:%s: the descriptor is not open", c->uri.path);
        }
        use_fd(c, fd);
        return true;
    default:
        return true;
    }
}

struct channel *channel_new_out(const struct channel_uri *uri, int fd, GError **error)
{
    struct channel *c = channel_alloc(uri, true);

    if (c->broken < 0 || !open_plain(c, fd, error)) {
        channel_free(c);
        return NULL;
    }
    return c;
}

static bool is_socket(const struct channel *c)
{
    return c->uri.kind == CHANNEL_TCP || c->uri.kind == CHANNEL_UNIX;
}

static struct sock_address sock_address_of(const struct channel *c)
{
    return (struct sock_address){.kind = c->uri.kind == CHANNEL_TCP ? SOCK_TCP : SOCK_UNIX,
                                 .path = c->uri.path,
                                 .host = c->uri.host,
                                 .port = c->uri.port,
                                 .to = c->uri.to,
                                 .family = c->uri.family,
                                 .fd = -1,
                                 .server = true};
}

struct channel *channel_new_in(const struct channel_uri *uri, int fd, GError **error)
{
    struct channel *c = channel_alloc(uri, false);
    bool ok = c->broken >= 0;

    if (ok && is_socket(c)) {
        struct sock_address address = sock_address_of(c);

        c->listener = listener_new(&address, error);
        ok = c->listener != NULL;
    } else if (ok) {
        ok = open_plain(c, fd, error);
    }
    if (!ok) {
        channel_free(c);
        return NULL;
    }
    return c;
}

static void close_fds(struct channel *c)
{
    yank_remove(g_steal_pointer(&c->yank));
    channel_ring_free(g_steal_pointer(&c->ring));
    if (c->write_fd >= 0) {
        close(c->write_fd);
    }
    if (c->read_fd >= 0 && c->read_fd != c->write_fd) {
        close(c->read_fd);
    }
    c->read_fd = c->write_fd = -1;
}

void channel_stop_listening(struct channel *c)
{
    listener_free(g_steal_pointer(&c->listener));
}

/* Asks the command to end, and does not ask twice. */
static void end_child(struct channel *c)
{
    GPid child = c->child;

    c->child = 0;
    if (!child) {
        return;
    }
    kill(-child, SIGTERM);
    for (unsigned i = 0; i < END_LOOKS; i++) {
        if (waitpid(child, NULL, WNOHANG) != 0) {
            return;
        }
        g_usleep(END_LOOK_US);
    }
    kill(-child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
}

void channel_free(struct channel *c)
{
    if (!c) {
        return;
    }
    close_fds(c);
    channel_stop_listening(c);
    end_child(c);
    if (c->broken >= 0) {
        close(c->broken);
    }
    channel_uri_clear(&c->uri);
    g_free(c);
}

void channel_close(struct channel *c)
{
    close_fds(c);
}

void channel_end(struct channel *c)
{
    close_fds(c);
    end_child(c);
}

/* ---- waiting */

void channel_break(struct channel *c)
{
    uint64_t one = 1;

    if (write(c->broken, &one, sizeof(one)) < 0) {
        g_assert(errno == EAGAIN); /* it has been rung very often */
    }
}

/* Whether one of them came, within so long. */
static bool poll_for(struct pollfd *p, nfds_t n, int64_t ns)
{
    struct timespec t = {ns / 1000000000, ns % 1000000000};

    return ppoll(p, n, &t, NULL) > 0;
}

static bool channel_wait_broken(struct channel *c, int64_t ns)
{
    struct pollfd p = {.fd = c->broken, .events = POLLIN};

    return poll_for(&p, 1, ns);
}

static bool was_broken(GError **error)
{
    return migration_refuse(error, "the migration was broken off");
}

/* Waits as poll(2); false: it failed, or the channel was broken, which p[0] is for. */
static bool wait_for_any(struct pollfd *p, nfds_t n, GError **error)
{
    while (poll(p, n, -1) < 0) {
        if (errno != EINTR && errno != EAGAIN) {
            return migration_refuse(error, "poll: %s", g_strerror(errno));
        }
    }
    return !p[0].revents || was_broken(error);
}

/* false: the channel was broken. */
static bool wait_for(struct channel *c, int fd, short events, GError **error)
{
    struct pollfd p[2] = {{.fd = c->broken, .events = POLLIN}, {.fd = fd, .events = events}};

    return wait_for_any(p, 2, error);
}

/* ---- connecting */

/* A connection that is on its way. */
static bool connected(struct channel *c, int fd, int *why)
{
    socklen_t length = sizeof(*why);

    return wait_for(c, fd, POLLOUT, NULL) &&
           getsockopt(fd, SOL_SOCKET, SO_ERROR, why, &length) == 0 && *why == 0;
}

/* Where the queue of a Unix socket is full there is nothing that poll(2) could wait for. */
static bool connect_fd(struct channel *c, int fd, const struct sockaddr *addr, socklen_t bytes,
                       int *why)
{
    while (connect(fd, addr, bytes) < 0) {
        *why = errno;
        if (*why == EINPROGRESS) {
            return connected(c, fd, why);
        }
        if (*why != EAGAIN || addr->sa_family != AF_UNIX || channel_wait_broken(c, LOOK_NS)) {
            return false;
        }
    }
    return true;
}

static bool connect_to(struct channel *c, const struct sockaddr *addr, socklen_t bytes, int *why)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        *why = errno;
        return false;
    }
    if (!connect_fd(c, fd, addr, bytes, why)) {
        close(fd);
        return false;
    }
    use_fd(c, fd);
    return true;
}

static bool connect_unix(struct channel *c, GError **error)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int why = 0;

    if (strlen(c->uri.path) >= sizeof(addr.sun_path)) {
        return migration_refuse(error, "UNIX socket path '%s' is too long", c->uri.path);
    }
    g_strlcpy(addr.sun_path, c->uri.path, sizeof(addr.sun_path));
    return connect_to(c, (struct sockaddr *)&addr, sizeof(addr), &why) ||
           migration_refuse(error, "Failed to connect to '%s': %s", c->uri.path, g_strerror(why));
}

static bool connect_tcp(struct channel *c, GError **error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = c->uri.family}, *list, *a;
    const char *unknown;
    int why = 0, one = 1;
    bool ok = false;

    unknown = sock_resolve(c->uri.host, c->uri.port, &hints, &list);
    if (unknown) {
        return migration_refuse(error, "address resolution failed for %s:%s: %s", c->uri.host,
                                c->uri.port, unknown);
    }
    for (a = list; a && !ok; a = a->ai_next) {
        ok = connect_to(c, a->ai_addr, a->ai_addrlen, &why);
    }
    freeaddrinfo(list);
    if (!ok) {
        return migration_refuse(error, "Failed to connect to '%s:%s': %s", c->uri.host, c->uri.port,
                                g_strerror(why));
    }
    setsockopt(c->write_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (c->uri.keep_alive) {
        setsockopt(c->write_fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    }
    return true;
}

static size_t ring_unread(const struct channel *c)
{
    return c->ring ? channel_ring_unread(c->ring) : 0;
}

static bool source_is_gone(GError **error)
{
    return migration_refuse(error, "the source is gone before all its channels were there");
}

/* Waits for somebody to connect. Who has connected already and is gone connects no more, and has no
 * connection on its way for long; with nothing left to be read there is none. */
static bool wait_for_connection(struct channel *c, GError **error)
{
    struct pollfd p[3] = {{.fd = c->broken, .events = POLLIN},
                          {.fd = listener_fd(c->listener), .events = POLLIN},
                          {.fd = c->read_fd, .events = POLLRDHUP}};
    int unread = 0;

    if (!wait_for_any(p, 3, error)) {
        return false;
    }
    if (!p[1].revents && p[2].revents) {
        if (ioctl(c->read_fd, FIONREAD, &unread) < 0 || (unread == 0 && !ring_unread(c))) {
            return source_is_gone(error);
        }
        return poll_for(p, 2, LATE_NS) ? !p[0].revents || was_broken(error) : source_is_gone(error);
    }
    return true;
}

static int accept_fd(struct channel *c, GError **error)
{
    int fd = -1;

    while (fd < 0) {
        if (!wait_for_connection(c, error)) {
            return -1;
        }
        fd = listener_accept(c->listener, SOCK_CLOEXEC);
        if (fd < 0 && errno != EINTR && errno != EAGAIN && errno != ECONNABORTED) {
            migration_refuse(error, "cannot accept a connection: %s", g_strerror(errno));
            return -1;
        }
    }
    return fd;
}

static bool accept_one(struct channel *c, GError **error)
{
    int fd = accept_fd(c, error);

    if (fd < 0) {
        return false;
    }
    if (!c->plural) {
        channel_stop_listening(c);
    }
    use_fd(c, fd);
    return true;
}

bool channel_connect(struct channel *c, GError **error)
{
    if (!is_socket(c)) {
        return c->out || wait_for(c, c->read_fd, POLLIN, error);
    }
    if (!c->out) {
        return accept_one(c, error);
    }
    return c->uri.kind == CHANNEL_TCP ? connect_tcp(c, error) : connect_unix(c, error);
}

bool channel_is_plural(const struct channel *c)
{
    return is_socket(c);
}

struct channel *channel_new_same(const struct channel *c, GError **error)
{
    struct channel *next = channel_new_out(&c->uri, -1, error);

    if (next) {
        next->further = true;
    }
    return next;
}

void channel_keep_listening(struct channel *c)
{
    c->plural = true;
    if (c->listener) {
        listener_set_backlog(c->listener, BACKLOG);
    }
}

struct channel *channel_accept(struct channel *c, GError **error)
{
    int fd = accept_fd(c, error);
    struct channel *next;

    if (fd < 0) {
        return NULL;
    }
    next = channel_alloc(&c->uri, false);
    next->further = true;
    use_fd(next, fd);
    if (next->broken < 0) {
        migration_refuse(error, "cannot make an eventfd: %s", g_strerror(errno));
        g_clear_pointer(&next, channel_free);
    }
    return next;
}

bool channel_is_two_way(const struct channel *c)
{
    return c->read_fd >= 0 && c->write_fd >= 0;
}

bool channel_has_input(const struct channel *c)
{
    struct pollfd p = {.fd = c->read_fd, .events = POLLIN};

    return c->read_fd >= 0 && poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

bool channel_is_file(const struct channel *c)
{
    return c->way == WAY_FILE;
}

struct socket_address_list *channel_listens_at(const struct channel *c)
{
    return c->listener ? listener_addresses(c->listener) : NULL;
}

/* ---- bytes */

/* The ring is passed with the first bytes. */
static ssize_t send_some(struct channel *c, struct iovec *iov, int n)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    bool passes = c->out && c->ring && !c->socket_bytes;
    ssize_t done;

    if (passes) {
        int fd = channel_ring_fd(c->ring);

        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
    }
    done = sendmsg(c->write_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (done > 0 && passes) {
        channel_ring_passed(c->ring);
    }
    return done;
}

static ssize_t write_some(struct channel *c, struct iovec *iov, int n)
{
    ssize_t done;

    if (c->out && c->ring && !c->in_ring && c->socket_bytes && channel_ring_is_taken(c->ring)) {
        channel_ring_switch(c->ring, c->socket_bytes);
        c->in_ring = true;
    }
    if (c->out && c->in_ring) {
        return channel_ring_write(c->ring, iov, n);
    }
    done = c->way == WAY_SOCKET ? send_some(c, iov, n) : writev(c->write_fd, iov, n);
    if (c->out && done > 0) {
        c->socket_bytes += (uint64_t)done;
    }
    return done;
}

static bool write_failed(const struct channel *c, GError **error)
{
    return migration_refuse(error, "Unable to write to %s: %s",
                            c->uri.kind == CHANNEL_EXEC ? "command"
                            : c->way == WAY_SOCKET      ? "socket"
                                                        : "file",
                            g_strerror(errno));
}

/* Leaves out what is done; the pieces that are left. */
static int skip(struct iovec **iov, int n, size_t done)
{
    while (n && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        ++*iov;
        n--;
    }
    if (n) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
    }
    return n;
}

/* Nobody will read any more: it is closed, or the other side has shut it down both ways. */
static bool reader_gone(const struct channel *c)
{
    struct pollfd p = {.fd = c->write_fd, .events = POLLOUT};

    return poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP | POLLNVAL);
}

static bool wait_for_room(struct channel *c, GError **error)
{
    if (!c->out || !c->in_ring) {
        return wait_for(c, c->write_fd, POLLOUT, error);
    }
    channel_ring_wait_room(c->ring, RING_LOOK_NS);
    if (reader_gone(c)) {
        errno = EPIPE;
        return write_failed(c, error);
    }
    return true;
}

bool channel_write_pieces(struct channel *c, struct iovec *iov, int n, GError **error)
{
    if (c->write_fd < 0) {
        return migration_refuse(error, "the channel is for reading only");
    }
    n = skip(&iov, n, 0);
    while (n) {
        ssize_t done;

        if (channel_wait_broken(c, 0)) {
            return was_broken(error);
        }
        done = write_some(c, iov, n);
        if (done >= 0) {
            n = skip(&iov, n, (size_t)done);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!wait_for_room(c, error)) {
                return false;
            }
        } else if (errno != EINTR) {
            return write_failed(c, error);
        }
    }
    return true;
}

/* Where the other side of a pipe or socket is gone, poll(2) says so unasked. */
bool channel_rest(struct channel *c, int64_t ns, GError **error)
{
    struct pollfd p[2] = {{.fd = c->broken, .events = POLLIN}, {.fd = c->write_fd}};

    if (!poll_for(p, 2, ns)) {
        return true;
    }
    if (p[0].revents) {
        return was_broken(error);
    }
    errno = EPIPE;
    return write_failed(c, error);
}

bool channel_write(struct channel *c, const void *data, size_t bytes, GError **error)
{
    struct iovec iov = {(void *)data, bytes};

    return channel_write_pieces(c, &iov, 1, error);
}

/* A descriptor that comes with the first bytes may be a ring's; there is no room for more. */
static ssize_t receive_some(struct channel *c, struct iovec *iov, int n)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    bool first = !c->out && !c->further && !c->socket_bytes;
    const struct cmsghdr *h = NULL;
    ssize_t done;
    int fd;

    if (first) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
    }
    done = recvmsg(c->read_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (done > 0 && first) {
        h = CMSG_FIRSTHDR(&msg);
    }
    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS &&
        h->cmsg_len == CMSG_LEN(sizeof(fd))) {
        memcpy(&fd, CMSG_DATA(h), sizeof(fd));
        c->ring = channel_ring_take(fd);
    }
    return done;
}

static bool writer_gone(const struct channel *c)
{
    struct pollfd p = {.fd = c->read_fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0;
}

/* What is in the ring outlives who wrote it. */
static ssize_t read_ring(struct channel *c, struct iovec *iov, int n)
{
    ssize_t done = channel_ring_read(c->ring, iov, n);

    if (done < 0 && errno == EAGAIN && writer_gone(c)) {
        done = channel_ring_read(c->ring, iov, n);
        return done < 0 && errno == EAGAIN ? 0 : done;
    }
    return done;
}

static ssize_t read_some(struct channel *c, struct iovec *iov, int n)
{
    ssize_t done;

    if (!c->out && c->in_ring) {
        return read_ring(c, iov, n);
    }
    done = c->way == WAY_SOCKET ? receive_some(c, iov, n) : readv(c->read_fd, iov, n);
    if (!c->out && done > 0) {
        c->socket_bytes += (uint64_t)done;
    }
    return done;
}

/* Whether it is only now that the stream goes on there. */
static bool enter_ring(struct channel *c)
{
    if (c->out || !c->ring || c->in_ring || !channel_ring_is_switched(c->ring, c->socket_bytes)) {
        return false;
    }
    c->in_ring = true;
    return true;
}

/* Of a ring it is not known whether it will be used. */
static bool wait_for_bytes(struct channel *c, GError **error)
{
    struct pollfd p[2] = {{.fd = c->broken, .events = POLLIN},
                          {.fd = c->read_fd, .events = POLLIN}};

    if (c->out || !c->ring) {
        return wait_for(c, c->read_fd, POLLIN, error);
    }
    if (c->in_ring) {
        channel_ring_wait_data(c->ring, RING_LOOK_NS);
        return !channel_wait_broken(c, 0) || was_broken(error);
    }
    poll_for(p, 2, LOOK_NS);
    return !p[0].revents || was_broken(error);
}

bool channel_read_pieces(struct channel *c, struct iovec *iov, int n, GError **error)
{
    if (c->read_fd < 0) {
        return migration_refuse(error, "the channel is for writing only");
    }
    n = skip(&iov, n, 0);
    while (n) {
        ssize_t done = read_some(c, iov, n);
        int why = errno;

        if (done > 0) {
            n = skip(&iov, n, (size_t)done);
        } else if (enter_ring(c) || (done < 0 && why == EINTR)) {
            continue;
        } else if (done == 0) {
            return migration_refuse(error, "the other side closed the channel");
        } else if (why != EAGAIN && why != EWOULDBLOCK) {
            return migration_refuse(error, "Unable to read from the channel: %s", g_strerror(why));
        } else if (!wait_for_bytes(c, error)) {
            return false;
        }
    }
    return true;
}

bool channel_read(struct channel *c, void *data, size_t bytes, GError **error)
{
    struct iovec iov = {data, bytes};

    return channel_read_pieces(c, &iov, 1, error);
}

/* ---- the end */

/* Bytes that were written and that the reader has not taken. Of a TCP socket: that its host has not
 * taken. 0 also where that cannot be told. */
static int bytes_unread(const struct channel *c)
{
    int n = 0;

    return ioctl(c->write_fd, c->way == WAY_SOCKET ? SIOCOUTQ : FIONREAD, &n) == 0 ? n : 0;
}

/* What a socket has to tell: an end with bytes unread is a reset. */
static bool was_reset(const struct channel *c)
{
    int why = 0;
    socklen_t length = sizeof(why);

    return c->way == WAY_SOCKET &&
           getsockopt(c->write_fd, SOL_SOCKET, SO_ERROR, &why, &length) == 0 && why != 0;
}

static bool wait_read(struct channel *c, bool *unknown, GError **error)
{
    for (;;) {
        bool gone = reader_gone(c);
        bool unread = bytes_unread(c) > 0 || ring_unread(c) > 0;

        /* Asked last: what is thrown away by a reset is not unread any more. */
        if (was_reset(c) || (gone && unread)) {
            return migration_refuse(error, "the other side has gone before it had read all");
        }
        if (gone || !unread) {
            return true;
        }
        if (channel_wait_broken(c, LOOK_NS)) {
            *unknown = true;
            return was_broken(error);
        }
    }
}

/* A command says by its status whether it did what it had to do. */
static bool reap(struct channel *c, bool *unknown, GError **error)
{
    int status;

    for (;;) {
        pid_t pid = waitpid(c->child, &status, WNOHANG);

        if (pid == c->child) {
            break;
        }
        if (pid < 0 && errno != EINTR) {
            status = 0; /* somebody else has it */
            break;
        }
        if (channel_wait_broken(c, LOOK_NS)) {
            *unknown = true;
            return was_broken(error);
        }
    }
    c->child = 0;
    if (status == 0) {
        return true;
    }
    return WIFSIGNALED(status)
               ? migration_refuse(error, "the command was ended by signal %d", WTERMSIG(status))
               : migration_refuse(error, "the command failed with status %d", WEXITSTATUS(status));
}

bool channel_finish(struct channel *c, bool *unknown, GError **error)
{
    *unknown = false;
    if (c->way == WAY_FILE) {
        return c->uri.kind != CHANNEL_FILE || fsync(c->write_fd) == 0 ||
               migration_refuse(error, "Unable to write to file: %s", g_strerror(errno));
    }
    if (!wait_read(c, unknown, error)) {
        return false;
    }
    if (c->child) {
        close_fds(c);
        return reap(c, unknown, error);
    }
    return true;
}

void channel_wait_child(struct channel *c)
{
    while (c->child) {
        if (waitpid(c->child, NULL, WNOHANG) != 0) {
            c->child = 0;
        } else if (channel_wait_broken(c, 100 * LOOK_NS)) {
            return;
        }
    }
}

void channel_leave(struct channel *c)
{
    close_fds(c);
    channel_wait_child(c);
    c->child = 0;
}
