/*
 * file: output to a file (append=on keeps what is there; input-path=FILE is read as input).
 * pipe: PATH.in and PATH.out, or PATH for both, are FIFOs that exist.
 * pty: a new pseudo-terminal, whose name is in the chardev's description ("pty:/dev/pts/3"). While
 *   nobody has it open output is dropped.
 */
#include "base/fdset.h"
#include "base/log.h"
#include "chardev/chardev-priv.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

struct file {
    struct stream stream; /* first */
    int in_fd, out_fd;
    GSource *poll; /* pty: looks for somebody at the other end */
};

static void file_finish(struct chardev *chr)
{
    struct file *d = (struct file *)chr;

    stream_finish(&d->stream);
    if (d->poll) {
        g_source_destroy(d->poll);
        g_source_unref(d->poll);
    }
    if (d->in_fd >= 0 && d->in_fd != d->out_fd) {
        close(d->in_fd);
    }
    if (d->out_fd >= 0) {
        close(d->out_fd);
    }
}

#define FILE_OPS(name_)                                                                            \
    {                                                                                              \
        .name = name_, .size = sizeof(struct file), .write = stream_write,                         \
        .accept_input = stream_accept_input, .push = stream_push, .flush = stream_flush,           \
        .finish = file_finish                                                                      \
    }
static const struct chardev_ops file_ops = FILE_OPS("file"), pipe_ops = FILE_OPS("pipe"),
                                pty_ops = FILE_OPS("pty");

static struct file *file_alloc(const struct chardev_ops *ops, struct chardev_options *o,
                               struct loop *loop)
{
    struct file *d = (struct file *)chardev_alloc(ops, o->id, loop);

    d->in_fd = d->out_fd = -1;
    stream_init(&d->stream);
    return d;
}

static int file_open(const char *path, int flags, GError **error)
{
    int fd = fdset_open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);

    if (fd < 0) {
        g_set_error(error, CHARDEV_ERROR, errno, "Could not open '%s': %s", path,
                    g_strerror(errno));
    }
    return fd;
}

static char *required_path(struct chardev_options *o, GError **error)
{
    char *path = chardev_option(o, "path");

    if (!path || !*path) {
        g_set_error(error, CHARDEV_ERROR, 0, "a path=FILE is missing");
        g_clear_pointer(&path, g_free);
    }
    return path;
}

struct chardev *chardev_file_new(struct chardev_options *o, struct loop *loop, GError **error)
{
    g_autofree char *path = required_path(o, error);
    g_autofree char *input = chardev_option(o, "input-path");
    bool append = false;
    struct file *d;

    if (!path || !chardev_option_bool(o, "append", &append, error)) {
        return NULL;
    }
    d = file_alloc(&file_ops, o, loop);
    d->out_fd = file_open(path, O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC), error);
    if (d->out_fd >= 0 && input) {
        d->in_fd = file_open(input, O_RDONLY | O_NONBLOCK, error);
    }
    if (d->out_fd < 0 || (input && d->in_fd < 0)) {
        chardev_free(&d->stream.chr);
        return NULL;
    }
    stream_open(&d->stream, d->in_fd, d->out_fd);
    return &d->stream.chr;
}

struct chardev *chardev_pipe_new(struct chardev_options *o, struct loop *loop, GError **error)
{
    g_autofree char *path = required_path(o, error);
    g_autofree char *in = g_strconcat(path ? path : "", ".in", NULL);
    g_autofree char *out = g_strconcat(path ? path : "", ".out", NULL);
    struct file *d;

    if (!path) {
        return NULL;
    }
    d = file_alloc(&pipe_ops, o, loop);
    d->in_fd = open(in, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    d->out_fd = open(out, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (d->in_fd < 0 || d->out_fd < 0) {
        if (d->in_fd >= 0) {
            close(d->in_fd);
        }
        if (d->out_fd >= 0) {
            close(d->out_fd);
        }
        d->in_fd = d->out_fd = file_open(path, O_RDWR | O_NONBLOCK, error);
        if (d->in_fd < 0) {
            chardev_free(&d->stream.chr);
            return NULL;
        }
    }
    stream_open(&d->stream, d->in_fd, d->out_fd);
    return &d->stream.chr;
}

#define PTY_POLL_MS 500

/* Nothing tells when somebody opens the other end, so we look twice a second until it is so. */
static gboolean pty_look(gpointer opaque)
{
    struct file *d = opaque;
    struct pollfd pfd = {.fd = d->in_fd, .events = POLLOUT};

    if (poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLHUP)) {
        g_source_destroy(d->poll);
        g_source_unref(d->poll);
        d->poll = NULL;
        stream_open(&d->stream, d->in_fd, d->out_fd);
        chardev_event(&d->stream.chr, CHARDEV_OPENED);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

static void pty_wait(struct file *d)
{
    d->poll = g_timeout_source_new(PTY_POLL_MS);
    g_source_set_callback(d->poll, pty_look, d, NULL);
    g_source_attach(d->poll, d->stream.chr.loop->context);
}

static void pty_hung_up(struct stream *s)
{
    stream_close(s);
    chardev_event(&s->chr, CHARDEV_CLOSED);
    if (!((struct file *)s)->poll) {
        pty_wait((struct file *)s);
    }
}

struct chardev *chardev_pty_new(struct chardev_options *o, struct loop *loop, GError **error)
{
    struct file *d = file_alloc(&pty_ops, o, loop);
    struct termios tty;
    char name[64];
    int peer = -1;

    d->in_fd = d->out_fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (d->in_fd < 0 || grantpt(d->in_fd) < 0 || unlockpt(d->in_fd) < 0 ||
        ptsname_r(d->in_fd, name, sizeof(name)) != 0 ||
        (peer = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
        g_set_error(error, CHARDEV_ERROR, errno, "cannot make a pseudo-terminal: %s",
                    g_strerror(errno));
        chardev_free(&d->stream.chr);
        return NULL;
    }
    if (tcgetattr(peer, &tty) == 0) {
        cfmakeraw(&tty);
        tcsetattr(peer, TCSAFLUSH, &tty);
    }
    close(peer);
    g_free(d->stream.chr.filename);
    d->stream.chr.filename = g_strdup_printf("pty:%s", name);
    d->stream.hung_up = pty_hung_up;
    log_info("char device redirected to %s (label %s)", name, o->id);
    d->stream.chr.connected = false;
    pty_wait(d);
    return &d->stream.chr;
}
