/*
 * stdio: the process's own standard input and output.
 *
 * When input is a terminal it goes to raw mode. As a multiplexer (mon:stdio, mux=on) Ctrl-A is the
 * escape character, and Ctrl-C goes to the guest; otherwise Ctrl-C makes a signal unless
 * signal=off.
 *
 * The descriptors are shared with the shell and others, so O_NONBLOCK is never set on them: output
 * is opened anew through /proc, which gives a file description of our own. Where that fails (a
 * socket) another way is found that does not block.
 */
#include "base/log.h"
#include "base/terminal.h"
#include "chardev/chardev-priv.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct stdio {
    struct stream stream; /* first */
    int own_fd;           /* our own description of standard output, or -1 */
};

static void stdio_finish(struct chardev *chr)
{
    struct stdio *d = (struct stdio *)chr;

    stream_finish(&d->stream);
    if (d->own_fd >= 0) {
        close(d->own_fd);
    }
    terminal_restore();
}

static const struct chardev_ops stdio_ops = {
    .name = "stdio",
    .size = sizeof(struct stdio),
    .write = stream_write,
    .accept_input = stream_accept_input,
    .push = stream_push,
    .flush = stream_flush,
    .finish = stdio_finish,
};

/* How standard output can be written without blocking. */
static void stdio_open_output(struct stdio *d)
{
    struct stat st;

    d->own_fd = -1;
    if (fstat(STDOUT_FILENO, &st) < 0) {
        stream_open(&d->stream, STDIN_FILENO, -1);
        return;
    }
    if (S_ISSOCK(st.st_mode)) {
        d->stream.out_socket = true;
    } else if (!S_ISREG(st.st_mode)) {
        d->own_fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        d->stream.out_blocking = d->own_fd < 0;
    }
    stream_open(&d->stream, STDIN_FILENO, d->own_fd >= 0 ? d->own_fd : STDOUT_FILENO);
}

struct chardev *chardev_stdio_new(struct chardev_options *o, struct loop *loop, GError **error)
{
    struct stdio *d;
    bool mux = false, signals;

    if (!chardev_option_bool(o, "mux", &mux, error)) {
        return NULL;
    }
    signals = !mux;
    if (!chardev_option_bool(o, "signal", &signals, error)) {
        return NULL;
    }
    d = (struct stdio *)chardev_alloc(&stdio_ops, o->id, loop);
    stream_init(&d->stream);
    d->stream.chr.muxed = mux;
    d->stream.chr.typed = isatty(STDIN_FILENO);
    terminal_raw(STDIN_FILENO, signals);
    stdio_open_output(d);
    return &d->stream.chr;
}
