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

#define ESCAPE 1 /* Ctrl-A */

struct stdio {
    struct stream stream; /* first */
    const struct chardev_mux_ops *mux_ops;
    bool mux, escaped;
    int own_fd; /* our own description of standard output, or -1 */
};

static const char help_text[] = "\r\n"
                                "C-a h    print this help\r\n"
                                "C-a x    end the emulator\r\n"
                                "C-a b    send break (magic sysrq)\r\n"
                                "C-a c    switch between console and monitor\r\n"
                                "C-a C-a  send C-a\r\n";

static void stdio_escape(struct stdio *d, uint8_t key)
{
    struct chardev *chr = &d->stream.chr;

    switch (g_ascii_tolower((char)key)) {
    case 'x':
        if (d->mux_ops && d->mux_ops->quit) {
            d->mux_ops->quit(d->mux_ops->opaque);
        }
        break;
    case 'b':
        chardev_event(chr, CHARDEV_BREAK);
        break;
    case 'c':
        if (d->mux_ops && d->mux_ops->monitor) {
            d->mux_ops->monitor(d->mux_ops->opaque);
        } else {
            stream_write(chr, (const uint8_t *)"\r\nno monitor here\r\n", 19);
        }
        break;
    case 'h':
    case '?':
        stream_write(chr, (const uint8_t *)help_text, sizeof(help_text) - 1);
        break;
    default:
        break;
    }
}

static size_t stdio_filter(struct stream *s, uint8_t *buf, size_t length)
{
    struct stdio *d = (struct stdio *)s;
    size_t kept = 0;

    if (!d->mux) {
        return length;
    }
    for (size_t i = 0; i < length; i++) {
        if (d->escaped) {
            d->escaped = false;
            if (buf[i] == ESCAPE) {
                buf[kept++] = ESCAPE;
            } else {
                stdio_escape(d, buf[i]);
            }
        } else if (buf[i] == ESCAPE) {
            d->escaped = true;
        } else {
            buf[kept++] = buf[i];
        }
    }
    return kept;
}

/* The escape key must work while the guest takes no input. A typist's surplus may be lost then;
 * what comes from a file or pipe waits. */
static void stdio_set_mux(struct stdio *d, bool mux)
{
    d->mux = mux;
    d->stream.filter = stdio_filter;
    d->stream.eager = mux;
    d->stream.drop = mux && isatty(STDIN_FILENO);
}

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
    stdio_set_mux(d, mux);
    terminal_raw(STDIN_FILENO, signals);
    stdio_open_output(d);
    return &d->stream.chr;
}

void chardev_stdio_set_mux(struct chardev *chr, const struct chardev_mux_ops *ops)
{
    if (chr->ops == &stdio_ops) {
        ((struct stdio *)chr)->mux_ops = ops;
        stdio_set_mux((struct stdio *)chr, true);
        terminal_raw(STDIN_FILENO, false);
        stream_accept_input(chr);
    }
}
