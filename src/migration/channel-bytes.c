/*
 * Bytes through a channel: see channel.h.
 *
 * Descriptors are not waited for in read() and write(): a socket is used with MSG_DONTWAIT, a pipe
 * is made non-blocking, and poll() waits for it together with an eventfd by which channel_break()
 * ends all waiting. Files are read and written as they are.
 *
 * Where both ends of a Unix socket are ours the bytes of the stream soon leave it for memory that
 * both have (channel-ring.h); then the socket tells whether the other side is there, and takes the
 * answers.
 */
#include "migration/channel-priv.h"

#include "migration/record.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long is waited for the other side of a ring before its socket is looked at. */
#define RING_LOOK_NS (5 * CHANNEL_LOOK_NS)

/* ---- waiting */

void channel_break(struct channel *c)
{
    uint64_t one = 1;

    if (write(c->broken, &one, sizeof(one)) < 0) {
        g_assert(errno == EAGAIN); /* it has been rung very often */
    }
}

bool channel_poll(struct pollfd *p, nfds_t n, int64_t ns)
{
    struct timespec t = {ns / 1000000000, ns % 1000000000};

    return ppoll(p, n, &t, NULL) > 0;
}

bool channel_wait_broken(struct channel *c, int64_t ns)
{
    struct pollfd p = {.fd = c->broken, .events = POLLIN};

    return channel_poll(&p, 1, ns);
}

bool channel_was_broken(GError **error)
{
    return migration_refuse(error, "the migration was broken off");
}

bool channel_wait_any(struct pollfd *p, nfds_t n, GError **error)
{
    while (poll(p, n, -1) < 0) {
        if (errno != EINTR && errno != EAGAIN) {
            return migration_refuse(error, "poll: %s", g_strerror(errno));
        }
    }
    return !p[0].revents || channel_was_broken(error);
}

bool channel_wait(struct channel *c, int fd, short events, GError **error)
{
    struct pollfd p[2] = {{.fd = c->broken, .events = POLLIN}, {.fd = fd, .events = events}};

    return channel_wait_any(p, 2, error);
}

size_t channel_unread_in_ring(const struct channel *c)
{
    return c->ring ? channel_ring_unread(c->ring) : 0;
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

/* Whether the stream goes on there, as it does from when the ring was taken. */
static bool writes_to_ring(struct channel *c)
{
    if (c->out && c->ring && !c->in_ring && channel_ring_is_taken(c->ring)) {
        channel_ring_switch(c->ring, c->socket_bytes);
        c->in_ring = true;
    }
    return c->out && c->in_ring;
}

static ssize_t write_some(struct channel *c, struct iovec *iov, int n)
{
    ssize_t done;

    if (writes_to_ring(c)) {
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

bool channel_reader_gone(const struct channel *c)
{
    struct pollfd p = {.fd = c->write_fd, .events = POLLOUT};

    return poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP | POLLNVAL);
}

static bool wait_for_room(struct channel *c, GError **error)
{
    if (!c->out || !c->in_ring) {
        return channel_wait(c, c->write_fd, POLLOUT, error);
    }
    channel_ring_wait_room(c->ring, RING_LOOK_NS);
    if (channel_reader_gone(c)) {
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
            return channel_was_broken(error);
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

    if (!channel_poll(p, 2, ns)) {
        return true;
    }
    if (p[0].revents) {
        return channel_was_broken(error);
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

    return channel_poll(&p, 1, 0);
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
        return channel_wait(c, c->read_fd, POLLIN, error);
    }
    if (c->in_ring) {
        channel_ring_wait_data(c->ring, RING_LOOK_NS);
        return !channel_wait_broken(c, 0) || channel_was_broken(error);
    }
    channel_poll(p, 2, CHANNEL_LOOK_NS);
    return !p[0].revents || channel_was_broken(error);
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
