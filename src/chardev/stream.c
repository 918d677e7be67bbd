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

static guint held(const struct stream *s)
{
    return queued(s) + s->plain->len;
}

static void queue_drop(struct stream *s)
{
    g_byte_array_set_size(s->queue, 0);
    s->queue_start = 0;
}

static void drop_all(struct stream *s)
{
    queue_drop(s);
    g_byte_array_set_size(s->plain, 0);
    g_byte_array_set_size(s->received, 0);
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
    drop_all(s);
    loop_unwatch(&s->out_watch);
    if (s->hung_up) {
        s->hung_up(s);
    } else {
        s->out_fd = -1;
    }
}

/* Whether there is something to write. */
static bool stream_encode(struct stream *s)
{
    if (!queued(s) && s->plain->len) {
        queue_drop(s);
        s->codec->encode(s, s->plain->data, s->plain->len, s->queue);
        g_byte_array_set_size(s->plain, 0);
    }
    return queued(s) > 0;
}

/* Writes out what goes; then watches for room when something is left. */
void stream_push(struct chardev *chr)
{
    struct stream *s = (struct stream *)chr;

    while (s->out_fd >= 0 && stream_encode(s)) {
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
        loop_unwatch(&s->out_watch);
    } else if (!s->out_watch) {
        s->out_watch = loop_watch_fd(chr->loop, s->out_fd, G_IO_OUT | G_IO_ERR | G_IO_HUP,
                                     stream_out_ready, s);
    }
    if (s->full && held(s) < STREAM_QUEUE_BYTES / 2) {
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

    if (s->out_fd < 0 || s->quiet) {
        return length; /* nobody there: gone, as on a cable that is not plugged in */
    }
    room = STREAM_QUEUE_BYTES - MIN(held(s), STREAM_QUEUE_BYTES);
    n = MIN(length, room);
    if (n < length) {
        s->full = true;
    }
    if (n && !held(s)) {
        g_source_set_ready_time(s->gather, g_get_monotonic_time() + STREAM_GATHER_US);
    }
    if (s->queue_start > STREAM_QUEUE_BYTES) {
        g_byte_array_remove_range(s->queue, 0, s->queue_start);
        s->queue_start = 0;
    }
    g_byte_array_append(s->codec ? s->plain : s->queue, buf, (guint)n);
    return n;
}

void stream_put_wire(struct stream *s, const uint8_t *bytes, size_t n)
{
    if (s->out_fd < 0) {
        return;
    }
    if (held(s) > 2 * STREAM_QUEUE_BYTES) {
        stream_broken(s); /* it asks for answers, and does not read them */
        return;
    }
    stream_encode(s);
    g_byte_array_append(s->queue, bytes, (guint)n);
    g_source_set_ready_time(s->gather, 0);
}

void stream_flush(struct chardev *chr)
{
    struct stream *s = (struct stream *)chr;
    int64_t end_us = g_get_monotonic_time() + FLUSH_MS * 1000;

    stream_push(chr);
    while (s->out_fd >= 0 && held(s)) {
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

bool stream_has_input(const struct stream *s)
{
    return s->received->len > 0;
}

/* What was decoded, as far as there is room. */
static void deliver_received(struct stream *s)
{
    while (s->received->len) {
        size_t n = MIN((size_t)chardev_can_receive(&s->chr), s->received->len);
        g_autofree uint8_t *piece = n ? g_memdup2(s->received->data, n) : NULL;

        if (!n) {
            break;
        }
        g_byte_array_remove_range(s->received, 0, (guint)n);
        chardev_deliver(&s->chr, piece, n);
    }
}

/* false: the connection has ended. */
static bool stream_take(struct stream *s, const uint8_t *buf, size_t n)
{
    int fd = s->in_fd;

    if (!s->codec) {
        chardev_deliver(&s->chr, buf, n);
        return true;
    }
    s->ended = !s->codec->decode(s, buf, n, s->received) && s->in_fd == fd;
    deliver_received(s);
    if (s->ended) {
        stream_push(&s->chr);
    }
    if (s->ended && s->in_fd == fd && !s->received->len) {
        stream_input_ended(s);
        return false;
    }
    return !s->ended;
}

static bool stream_in_ready(int fd, GIOCondition condition, void *arg)
{
    struct stream *s = arg;
    uint8_t buf[READ_BYTES];
    size_t room = s->codec ? sizeof(buf) : (size_t)chardev_can_receive(&s->chr);
    ssize_t n;

    if (room == 0 || s->received->len) {
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
    if (!stream_take(s, buf, (size_t)n)) {
        s->in_watch = NULL;
    }
    return s->in_watch != NULL;
}

/* On the loop's next turn, for the front end that has room now may be busy with what it had. */
static void stream_again(void *arg)
{
    struct stream *s = arg;

    deliver_received(s);
    if (s->ended && !s->received->len) {
        stream_input_ended(s);
    } else {
        stream_accept_input(&s->chr);
    }
}

void stream_accept_input(struct chardev *chr)
{
    struct stream *s = (struct stream *)chr;

    if (s->received->len) {
        if (chardev_can_receive(chr) > 0) {
            loop_bell_ring(s->again);
        }
        return;
    }
    if (s->in_fd >= 0 && !s->ended && !s->in_watch && (s->codec || chardev_can_receive(chr) > 0)) {
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
    s->plain = g_byte_array_new();
    s->received = g_byte_array_new();
    s->gather = g_source_new(&gather_funcs, sizeof(GSource));
    g_source_set_callback(s->gather, gather_done, s, NULL);
    g_source_attach(s->gather, s->chr.loop->context);
}

void stream_open(struct stream *s, int in_fd, int out_fd)
{
    s->in_fd = in_fd;
    s->out_fd = out_fd;
    if (s->codec) {
        g_free(s->codec_state);
        s->codec_state = g_malloc0(s->codec->state_bytes);
        s->again = loop_bell_new(s->chr.loop, stream_again, s);
        s->codec->opened(s);
    }
    stream_accept_input(&s->chr);
}

void stream_close(struct stream *s)
{
    loop_unwatch(&s->in_watch);
    loop_unwatch(&s->out_watch);
    s->in_fd = -1;
    s->out_fd = -1;
    s->ended = s->quiet = false;
    drop_all(s);
    loop_bell_free(g_steal_pointer(&s->again));
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
    g_byte_array_unref(s->plain);
    g_byte_array_unref(s->received);
    g_free(s->codec_state);
}
