/*
 * Channels: see channel.h. Here they are made, connected and ended.
 *
 * A command gets a pipe for each direction, so that one which carries bytes both ways (ssh, socat)
 * lets the other side answer.
 */
#include "migration/channel-priv.h"

#include "chardev/listener.h"
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
/* As many as one source may connect. */
#define BACKLOG      256
/* How long what a source has connected may be on its way when the source has gone. */
#define LATE_NS      (5000 * (int64_t)1000000)

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

/* ---- connecting */

/* A connection that is on its way. */
static bool connected(struct channel *c, int fd, int *why)
{
    socklen_t length = sizeof(*why);

    return channel_wait(c, fd, POLLOUT, NULL) &&
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
        if (*why != EAGAIN || addr->sa_family != AF_UNIX ||
            channel_wait_broken(c, CHANNEL_LOOK_NS)) {
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

    if (!channel_wait_any(p, 3, error)) {
        return false;
    }
    if (!p[1].revents && p[2].revents) {
        if (ioctl(c->read_fd, FIONREAD, &unread) < 0 ||
            (unread == 0 && !channel_unread_in_ring(c))) {
            return source_is_gone(error);
        }
        return channel_poll(p, 2, LATE_NS) ? !p[0].revents || channel_was_broken(error)
                                           : source_is_gone(error);
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
        return c->out || channel_wait(c, c->read_fd, POLLIN, error);
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
        bool gone = channel_reader_gone(c);
        bool unread = bytes_unread(c) > 0 || channel_unread_in_ring(c) > 0;

        /* Asked last: what is thrown away by a reset is not unread any more. */
        if (was_reset(c) || (gone && unread)) {
            return migration_refuse(error, "the other side has gone before it had read all");
        }
        if (gone || !unread) {
            return true;
        }
        if (channel_wait_broken(c, CHANNEL_LOOK_NS)) {
            *unknown = true;
            return channel_was_broken(error);
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
        if (channel_wait_broken(c, CHANNEL_LOOK_NS)) {
            *unknown = true;
            return channel_was_broken(error);
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
        } else if (channel_wait_broken(c, 100 * CHANNEL_LOOK_NS)) {
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
