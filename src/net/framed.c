/*
 * Frames over a stream socket: each after its length in four bytes, most significant first, as
 * QEMU's netdevs socket and stream have it. A length that no frame has ends the connection.
 */
#include "net/net-priv.h"

#include "base/log.h"
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define LENGTH_BYTES 4
#define INPUT_BYTES  (LENGTH_BYTES + NET_FRAME_BYTES)
#define TURN_BYTES   (4 * INPUT_BYTES) /* read before others have their turn */

static bool framed_readable(int fd, GIOCondition condition, void *arg);

void net_framed_init(struct net_framed *f, struct net_backend *b,
                     void (*ended)(struct net_framed *))
{
    f->b = b;
    f->fd = -1;
    f->ended = ended;
    f->input = g_malloc(INPUT_BYTES);
    f->output = g_malloc(INPUT_BYTES);
}

void net_framed_open(struct net_framed *f, int fd)
{
    f->fd = fd;
    f->have = f->output_bytes = f->output_done = 0;
    net_framed_accept(f);
}

void net_framed_close(struct net_framed *f)
{
    loop_unwatch(&f->in);
    loop_unwatch(&f->out);
    if (f->fd >= 0) {
        close(f->fd);
        f->fd = -1;
    }
    f->output_bytes = 0;
    if (f->turned_away) { /* what waited goes nowhere now */
        f->turned_away = false;
        net_writable(f->b, 0);
    }
}

void net_framed_finish(struct net_framed *f)
{
    if (f->b) {
        f->turned_away = false;
        net_framed_close(f);
        g_free(f->input);
        g_free(f->output);
    }
}

static void framed_ended(struct net_framed *f)
{
    net_framed_close(f);
    f->ended(f);
}

/* ---- from the other end */

/* Hands on the frames that are complete; false: the other end makes no sense. */
static bool deliver_frames(struct net_framed *f)
{
    size_t at = 0;
    bool any = false;

    while (f->have - at >= LENGTH_BYTES) {
        uint32_t length;

        memcpy(&length, f->input + at, LENGTH_BYTES);
        length = GUINT32_FROM_BE(length);
        if (length > NET_FRAME_BYTES) {
            log_warn("netdev %s: a frame of %u bytes: the connection is closed", f->b->id, length);
            return false;
        }
        if (f->have - at < LENGTH_BYTES + length) {
            break;
        }
        net_deliver(f->b, 0, f->input + at + LENGTH_BYTES, length);
        at += LENGTH_BYTES + length;
        any = true;
    }
    memmove(f->input, f->input + at, f->have - at);
    f->have -= at;
    if (any) {
        net_delivered(f->b, 0);
    }
    return true;
}

static bool framed_readable(int fd, GIOCondition condition, void *arg)
{
    struct net_framed *f = arg;
    size_t turn = 0;

    while (turn < TURN_BYTES) {
        ssize_t n;

        if (!net_can_deliver(f->b, 0)) {
            f->in = NULL; /* net_framed_accept() makes it anew */
            return false;
        }
        n = read(fd, f->input + f->have, INPUT_BYTES - f->have);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return true;
        }
        if (n > 0) {
            f->have += (size_t)n;
            turn += (size_t)n;
        }
        if (n <= 0 || !deliver_frames(f)) {
            f->in = NULL;
            framed_ended(f);
            return false;
        }
    }
    return true;
}

void net_framed_accept(struct net_framed *f)
{
    if (f->fd >= 0 && !f->in && net_can_deliver(f->b, 0)) {
        f->in = loop_watch_fd(net_backend_loop(f->b), f->fd, G_IO_IN | G_IO_HUP | G_IO_ERR,
                              framed_readable, f);
    }
}

/* ---- to the other end */

static bool framed_writable(int fd, GIOCondition condition, void *arg)
{
    struct net_framed *f = arg;
    ssize_t n =
        send(fd, f->output + f->output_done, f->output_bytes - f->output_done, MSG_NOSIGNAL);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n < 0) {
        f->out = NULL;
        framed_ended(f);
        return false;
    }
    f->output_done += (size_t)n;
    if (f->output_done < f->output_bytes) {
        return true;
    }
    f->out = NULL;
    f->output_bytes = f->output_done = 0;
    if (f->turned_away) {
        f->turned_away = false;
        net_writable(f->b, 0);
    }
    return false;
}

/* Keeps what the socket did not take of the length and the frame after it. */
static void keep_rest(struct net_framed *f, const struct iovec *iov, unsigned n, size_t done)
{
    f->output_bytes = net_iov_gather(iov, n, f->output, INPUT_BYTES);
    f->output_done = done;
    f->out = loop_watch_fd(net_backend_loop(f->b), f->fd, G_IO_OUT | G_IO_HUP | G_IO_ERR,
                           framed_writable, f);
}

bool net_framed_send(struct net_framed *f, const struct iovec *iov, unsigned n)
{
    size_t bytes = net_iov_bytes(iov, n);
    uint32_t length = GUINT32_TO_BE((uint32_t)bytes);
    g_autofree struct iovec *all = NULL;
    struct msghdr msg = {0};
    ssize_t sent;

    if (f->fd < 0 || bytes > NET_FRAME_BYTES) {
        return true;
    }
    if (f->output_bytes) {
        f->turned_away = true;
        return false;
    }
    all = g_new(struct iovec, n + 1);
    all[0] = (struct iovec){.iov_base = &length, .iov_len = LENGTH_BYTES};
    memcpy(all + 1, iov, n * sizeof(*iov));
    msg.msg_iov = all;
    msg.msg_iovlen = MIN(n + 1, (unsigned)IOV_MAX);
    sent = sendmsg(f->fd, &msg, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        return true; /* reading tells that the connection is gone */
    }
    sent = MAX(sent, 0);
    if ((size_t)sent < LENGTH_BYTES + bytes) {
        keep_rest(f, all, n + 1, (size_t)sent);
    }
    return true;
}
