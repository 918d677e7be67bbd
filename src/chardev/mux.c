/*
 * Ctrl-A on a line that a device and the human monitor share: the escape key of a multiplexer.
 *
 * Any back end that is a stream of bytes can have it (mux=on). The escape key must work while the
 * guest takes no input, so input is read all the same: a little of it waits for the guest.
 */
#include "chardev/chardev-priv.h"

#define ESCAPE 1 /* Ctrl-A */

static const char help_text[] = "\r\n"
                                "C-a h    print this help\r\n"
                                "C-a x    end the emulator\r\n"
                                "C-a b    send break (magic sysrq)\r\n"
                                "C-a c    switch between console and monitor\r\n"
                                "C-a C-a  send C-a\r\n";
static const char no_monitor[] = "\r\nno monitor here\r\n";

static void escape(struct stream *s, uint8_t key)
{
    const struct chardev_mux_ops *ops = s->mux_ops;
    struct chardev *chr = &s->chr;

    switch (g_ascii_tolower((char)key)) {
    case 'x':
        if (ops && ops->quit) {
            ops->quit(ops->opaque);
        }
        break;
    case 'b':
        chardev_event(chr, CHARDEV_BREAK);
        break;
    case 'c':
        if (ops && ops->monitor) {
            ops->monitor(ops->opaque);
        } else {
            stream_write(chr, (const uint8_t *)no_monitor, sizeof(no_monitor) - 1);
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

static size_t filter(struct stream *s, uint8_t *buf, size_t length)
{
    size_t kept = 0;

    for (size_t i = 0; i < length; i++) {
        if (s->escaped) {
            s->escaped = false;
            if (buf[i] == ESCAPE) {
                buf[kept++] = ESCAPE;
            } else {
                escape(s, buf[i]);
            }
        } else if (buf[i] == ESCAPE) {
            s->escaped = true;
        } else {
            buf[kept++] = buf[i];
        }
    }
    return kept;
}

void stream_set_mux(struct stream *s, bool drop)
{
    s->filter = filter;
    s->eager = true;
    s->drop = drop;
}

bool chardev_can_mux(const struct chardev *chr)
{
    return chr->ops->accept_input == stream_accept_input;
}

void chardev_set_mux(struct chardev *chr, const struct chardev_mux_ops *ops)
{
    struct stream *s = (struct stream *)chr;

    g_assert(chardev_can_mux(chr));
    s->mux_ops = ops;
    if (!s->filter) {
        stream_set_mux(s, false);
    }
    stream_accept_input(chr);
}
