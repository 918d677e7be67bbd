/*
 * What the other end of a socket with telnet=on or websocket=on may send: the first byte says
 * which, whether a right handshake comes before the rest, and in pieces of what length it comes.
 * Nothing may crash, leak or take memory without bound. Seeds: corpus/chardev.
 *
 * A libFuzzer target with -DFUZZ; otherwise main() tries the seeds of the folder in its argument,
 * and damaged ones.
 */
#include "chardev/chardev-priv.h"
#include "seeds.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_BYTES  8192u
#define FIRST_TELNET 0x80 /* bits of the first byte; the lowest six: pieces' length less one */
#define FIRST_SHAKE  0x40

static const char handshake[] = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
                                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

static void is_ready(struct stream *s)
{
}

static bool feed(struct stream *s, const uint8_t *data, size_t size, size_t piece)
{
    bool ok = true;

    for (size_t at = 0; at < size && ok; at += piece) {
        /* In memory of that size, so that what is read behind it is noticed. */
        size_t n = MIN(piece, size - at);
        g_autofree uint8_t *copy = g_memdup2(data + at, n);

        ok = s->codec->decode(s, copy, n, s->received);
    }
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop *loop;
    struct stream s = {.ready = is_ready};
    bool ok = true;
    int fds[2];

    if (size < 1 || size > INPUT_BYTES) {
        return 0;
    }
    loop = loop ? loop : loop_new(NULL);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    s.chr.loop = loop;
    s.chr.log_fd = -1;
    s.out_socket = true;
    s.codec = data[0] & FIRST_TELNET ? &stream_telnet : &stream_websocket;
    stream_init(&s);
    stream_open(&s, fds[0], fds[0]);
    if (data[0] & FIRST_SHAKE && s.codec == &stream_websocket) {
        ok = feed(&s, (const uint8_t *)handshake, sizeof(handshake) - 1, sizeof(handshake));
        g_assert_true(ok && !s.quiet);
    }
    if (ok) {
        feed(&s, data + 1, size - 1, (data[0] & 0x3f) + 1u);
    }
    g_assert_cmpuint(s.received->len, <=, size);
    stream_write(&s.chr, data, size);
    stream_push(&s.chr);
    stream_finish(&s);
    close(fds[0]);
    close(fds[1]);
    return 0;
}

#ifndef FUZZ
int main(int argc, char **argv)
{
    seeds_try(argc > 1 ? argv[1] : ".", 17, 2000, 0, 256);
    return 0;
}
#endif
