/*
 * Back ends on file descriptors: queued output, input by demand. See chardev-priv.h.
 */
#include "base/clock.h"
#include "chardev/chardev-priv.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES     4096
#define BLOCKING_BYTES 256 /* what poll() promises a terminal to take at once */
#define FLUSH_MS       1000

static guint queued(const struct stream *s)
{
    return s->queue->len - s->queue_start;
}

static void queue_drop(struct stream *s)
{
    g_byte_array_set_size(s->queue, 0);
    s->queue_start = 0;
}

static void source_end(GSource **source)
{
    if (*source) {
        g_source_destroy(*source);
        *source = NULL;
    }
}

/* ---- output */

static bool stream_out_ready(int fd, GIOCondition condition, void *arg);

/* Like write(2), never blocking. */
static ssize_t stream_put(struct stream *s, const uint8_t *buf, size_t length)
{
    struct pollfd pfd = {.fd = s->out_fd, .events = POLLOUT};

    if (s->out_socket) {
        return send(s->out_fd, buf, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (s->out_blocking) {
        if (poll(&pfd, 1, 0) <= 0) {
            errno = EAGAIN;
            return -1;
        }
        length = MIN(length, BLOCKING_BYTES);
    }
    return write(s->out_fd, buf, length);
}

static void stream_broken(struct stream *s)
{
    queue_drop(s);
    source_end(&s->out_watch);
    if (s->hung_up) {
        s->hung_up(s);
    } else {
        s->out_fd = -1;
    }
}

/* Writes out what goes; then watches for room when something is left. */
void stream_push(struct chardev *chr)
{
    struct stream *s = (struct stream *)chr;

    while (queued(s) && s->out_fd >= 0) {
        ssize_t n = stream_put(s, s->queue->data + s->queue_start, queued(s));

        if (n > 0) {
            s->queue_start += (guint)n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno != EAGAIN) {
            stream_broken(s);
        } else {
            break;
        }
    }
    if (!queued(s)) {
        queue_drop(s);
        source_end(&s->out_watch);
    } else if (!s->out_watch) {
        s->out_watch = loop_watch_fd(chr->loop, s->out_fd, G_IO_OUT | G_IO_ERR | G_IO_HUP,
                                     stream_out_ready, s);
    }
    if (s->full && queued(s) < STREAM_QUEUE_BYTES / 2) {
        s->full = false;
        if (chr->frontend && chr->frontend->writable) {
            chr->frontend->writable(chr->frontend->opaque);
        }
    }
}

static bool stream_out_ready(int fd, GIOCondition condition, void *arg)
{
    struct stream *s = arg;

    stream_push(&s->chr);
    return s->out_watch != NULL;
}

static gboolean gather_dispatch(GSource *source, GSourceFunc fn, gpointer opaque)
{
    g_source_set_ready_time(source, -1);
    return fn(opaque);
}

static GSourceFuncs gather_funcs = {.dispatch = gather_dispatch};

static gboolean gather_done(gpointer opaque)
{
    stream_push(opaque);
    return G_SOURCE_CONTINUE;
}

size_t stream_write(struct chardev *chr, const uint8_t *buf, size_t length)
{
    struct stream *s = (struct stream *)chr;
    size_t room, n;

    if (s->out_fd < 0) {
        return length; /* nobody there: gone, as on a cable that is not plugged in */
    }
    room = STREAM_QUEUE_BYTES - queued(s);
    n = MIN(length, room);
    if (n < length) {
        s->full = true;
    }
    if (n && !queued(s)) {
        g_source_set_ready_time(s->gather, g_get_monotonic_time() + STREAM_GATHER_US);
    }
    if (s->queue_start > STREAM_QUEUE_BYTES) {
        g_byte_array_remove_range(s->queue, 0, s->queue_start);
        s->queue_start = 0;
    }
    g_byte_array_append(s->queue, buf, (guint)n);
    return n;
}

void stream_flush(struct chardev *chr)
{
    struct stream *s = (struct stream *)chr;
    int64_t end_us = g_get_monotonic_time() + FLUSH_MS * 1000;

    stream_push(chr);
    while (s->out_fd >= 0 && queued(s)) {
        struct pollfd pfd = {.fd = s->out_fd, .events = POLLOUT};
        int64_t left_us = end_us - g_get_monotonic_time();

        if (left_us <= 0 || poll(&pfd, 1, (int)(left_us / 1000) + 1) < 0) {
            break;
        }
        stream_push(chr);
    }
}

/* ---- input */

static void stream_input_ended(struct stream *s)
{
    s->in_watch = NULL;
    s->in_fd = -1;
    if (s->hung_up) {
        s->hung_up(s);
    } else {
        chardev_event(&s->chr, CHARDEV_CLOSED);
    }
}

static bool stream_in_ready(int fd, GIOCondition condition, void *arg)
{
    struct stream *s = arg;
    uint8_t buf[READ_BYTES];
    size_t room = (size_t)chardev_can_receive(&s->chr);
    ssize_t n;

    if (room == 0) {
        s->in_watch = NULL; /* stream_accept_input() makes it anew */
        return false;
    }
    n = read(fd, buf, MIN(room, sizeof(buf)));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n <= 0) {
        stream_input_ended(s);
        return false;
    }
    chardev_deliver(&s->chr, buf, (size_t)n);
    return s->in_watch != NULL;
}

void stream_accept_input(struct chardev *chr)
{
    struct stream *s = (struct stream *)chr;

    if (s->in_fd >= 0 && !s->in_watch && chardev_can_receive(chr) > 0) {
        s->in_watch =
            loop_watch_fd(chr->loop, s->in_fd, G_IO_IN | G_IO_HUP | G_IO_ERR, stream_in_ready, s);
    }
}

/* ---- life */

void stream_init(struct stream *s)
{
    s->in_fd = -1;
    s->out_fd = -1;
    s->queue = g_byte_array_new();
    s->gather = g_source_new(&gather_funcs, sizeof(GSource));
    g_source_set_callback(s->gather, gather_done, s, NULL);
    g_source_attach(s->gather, s->chr.loop->context);
}

void stream_open(struct stream *s, int in_fd, int out_fd)
{
    s->in_fd = in_fd;
    s->out_fd = out_fd;
    stream_accept_input(&s->chr);
}

void stream_close(struct stream *s)
{
    source_end(&s->in_watch);
    source_end(&s->out_watch);
    s->in_fd = -1;
    s->out_fd = -1;
    queue_drop(s);
    if (s->full) {
        s->full = false;
        if (s->chr.frontend && s->chr.frontend->writable) {
            s->chr.frontend->writable(s->chr.frontend->opaque);
        }
    }
}

void stream_finish(struct stream *s)
{
    if (!s->queue) {
        return;
    }
    s->chr.frontend = NULL;
    stream_close(s);
    g_source_destroy(s->gather);
    g_source_unref(s->gather);
    g_byte_array_unref(s->queue);
}
