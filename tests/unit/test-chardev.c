/* Chardevs: option text, sockets, files, and what happens when a reader is slow. */
#include "chardev/chardev-priv.h"
#include "chardev/listener.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- a front end that notes what it gets */

struct sink {
    struct chardev_frontend frontend;
    struct chardev *chr;
    GString *in;
    int room;
    unsigned opened, closed, breaks, writable;
};

static int sink_can_receive(void *opaque)
{
    return ((struct sink *)opaque)->room;
}

static void sink_receive(void *opaque, const uint8_t *buf, size_t length)
{
    struct sink *s = opaque;

    g_assert_cmpuint(length, <=, (unsigned)s->room);
    s->room -= (int)length;
    g_string_append_len(s->in, (const char *)buf, (gssize)length);
}

static void sink_event(void *opaque, enum chardev_event event)
{
    struct sink *s = opaque;

    s->opened += event == CHARDEV_OPENED;
    s->closed += event == CHARDEV_CLOSED;
    s->breaks += event == CHARDEV_BREAK;
}

static void sink_writable(void *opaque)
{
    ((struct sink *)opaque)->writable++;
}

static void sink_attach(struct sink *s, struct chardev *chr)
{
    *s = (struct sink){.chr = chr, .in = g_string_new(NULL), .room = 1 << 20};
    s->frontend = (struct chardev_frontend){.can_receive = sink_can_receive,
                                            .receive = sink_receive,
                                            .event = sink_event,
                                            .writable = sink_writable,
                                            .opaque = s};
    g_assert_true(chardev_attach(chr, &s->frontend));
    g_assert_false(chardev_attach(chr, &s->frontend));
}

static void sink_free(struct sink *s)
{
    chardev_attach(s->chr, NULL);
    chardev_free(s->chr);
    g_string_free(s->in, TRUE);
}

#define UNTIL(loop, condition)                                                                     \
    while (!(condition)) {                                                                         \
        g_main_context_iteration((loop)->context, TRUE);                                           \
    }

static char *folder;

static char *in_folder(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

/* ---- text */

static void test_addresses(void)
{
    static const char *const bad[] = {
        "",
        "unix:",
        "/tmp/x",
        "tcp:host",
        "tcp:host:",
        "fd:x",
        "fd:-1",
        "unix:/x,foo=on",
        "unix:/x,server=maybe",
        "tcp:[::1]",
        "unix:/x,server=on,reconnect=5",
    };
    struct sock_address a;
    g_autofree char *text = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(sock_address_parse(bad[i], &a, &error));
        g_assert_nonnull(strstr(error->message, bad[i]));
    }
    g_assert_true(sock_address_parse("unix:/tmp/a,,b,server,nowait", &a, NULL));
    g_assert_cmpstr(a.path, ==, "/tmp/a,b");
    g_assert_true(a.server && !a.wait);
    sock_address_clear(&a);
    g_assert_true(sock_address_parse("tcp:[::1]:4444,server=on,wait=off,nodelay", &a, NULL));
    g_assert_cmpstr(a.host, ==, "::1");
    g_assert_cmpstr(a.port, ==, "4444");
    g_assert_true(a.server && !a.wait && a.nodelay);
    text = sock_address_describe(&a);
    g_assert_cmpstr(text, ==, "tcp:[::1]:4444,server=on");
    sock_address_clear(&a);
    g_assert_true(sock_address_parse("tcp::80", &a, NULL));
    g_assert_true(!a.server && a.wait && !*a.host);
    sock_address_clear(&a);
}

static void test_options(void)
{
    static const struct {
        const char *options, *part;
    } bad[] = {
        {"", "back end's name is missing"},
        {"null", "id=NAME"},
        {"id=x,backend=warp", "'warp'"},
        {"id=x", "back end's name is missing"},
        {"warp,id=x", "'warp'"},
        {"null,id=x,path=/tmp", "'path'"},
        {"file,id=x", "path=FILE"},
        {"file,id=x,path=/nonexistent/y", "/nonexistent/y"},
        {"socket,id=x", "path="},
        {"socket,id=x,path=/a,port=1", "one of"},
        {"socket,id=x,path=/nonexistent/s", "/nonexistent/s"},
        {"socket,id=x,fd=9999", "9999"},
        {"vc,id=x", "not supported"},
        {"udp,id=x,host=127.0.0.1", "remote port not specified"},
        {"udp,id=x,port=99999", "65535"},
        {"udp,id=x,port=1,path=/a", "'path'"},
        {"socket,id=x,port=1,host=127.0.0.1,websocket=on", "Websocket client"},
        {"socket,id=x,port=1,host=127.0.0.1,server=on,websocket=on,telnet=on", "at once"},
        {"socket,id=x,port=1,host=127.0.0.1,server=on,to=100000", "'to'"},
        {"socket,id=x,path=/nonexistent/s,to=3", "'to'"},
        {"stdio,id=x,signal=perhaps", "'perhaps'"},
    };
    struct loop *loop = loop_new(NULL);
    struct chardev *chr;

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(chardev_new_options(bad[i].options, loop, &error));
        g_assert_nonnull(strstr(error->message, bad[i].part));
    }
    chr = chardev_new_options("null,id=n", loop, NULL);
    g_assert_cmpstr(chr->id, ==, "n");
    g_assert_cmpuint(chardev_write(chr, (const uint8_t *)"abc", 3), ==, 3);
    chardev_free(chr);
    chardev_free(NULL);
    loop_free(loop);
}

/* ---- files */

static void test_file(void)
{
    struct loop *loop = loop_new(NULL);
    g_autofree char *path = in_folder("out"), *spec = g_strconcat("file:", path, NULL),
                    *text = NULL;
    g_autofree char *append = g_strdup_printf("file,id=f,path=%s,append=on", path);
    struct chardev *chr = chardev_new("f", spec, loop, NULL);

    chardev_write(chr, (const uint8_t *)"one\n", 4);
    chardev_push(chr);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "one\n");
    chardev_write(chr, (const uint8_t *)"two\n", 4);
    chardev_free(chr); /* flushes */
    chr = chardev_new_options(append, loop, NULL);
    chardev_write(chr, (const uint8_t *)"three\n", 6);
    chardev_free(chr);
    g_clear_pointer(&text, g_free);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "one\ntwo\nthree\n");
    loop_free(loop);
}

/* ---- sockets */

static int connect_to(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(sun.sun_path, path, sizeof(sun.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), ==, 0);
    return fd;
}

static void test_server(void)
{
    struct loop *loop = loop_new(NULL);
    g_autofree char *path = in_folder("s"),
                    *spec = g_strdup_printf("unix:%s,server=on,wait=off", path);
    g_autoptr(GError) error = NULL;
    struct chardev *chr = chardev_new("s", spec, loop, &error);
    struct sink s;
    char buf[16] = {0};
    int fd;

    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(chr->filename, "disconnected:unix:"));
    sink_attach(&s, chr);
    g_assert_cmpuint(chardev_write(chr, (const uint8_t *)"lost", 4), ==, 4);
    fd = connect_to(path);
    UNTIL(loop, s.opened == 1);
    g_assert_true(g_str_has_prefix(chr->filename, "unix:"));
    g_assert_cmpint(write(fd, "hello", 5), ==, 5);
    UNTIL(loop, s.in->len == 5);
    g_assert_cmpstr(s.in->str, ==, "hello");
    chardev_write(chr, (const uint8_t *)"there", 5);
    /* Gathered, then sent by the loop. */
    UNTIL(loop, recv(fd, buf, sizeof(buf), MSG_DONTWAIT) == 5);
    g_assert_cmpstr(buf, ==, "there");

    /* Input waits while the front end has no room. */
    s.room = 3;
    g_assert_cmpint(write(fd, "abcdef", 6), ==, 6);
    UNTIL(loop, s.room == 0);
    g_assert_cmpstr(s.in->str, ==, "helloabc");
    while (g_main_context_iteration(loop->context, FALSE)) {
    }
    g_assert_cmpstr(s.in->str, ==, "helloabc");
    s.room = 100;
    chardev_accept_input(chr);
    UNTIL(loop, s.in->len == 11);
    g_assert_cmpstr(s.in->str, ==, "helloabcdef");

    close(fd);
    UNTIL(loop, s.closed == 1);
    fd = connect_to(path); /* the next client */
    UNTIL(loop, s.opened == 2);
    g_assert_null(chardev_new("t", spec, loop, &error)); /* somebody listens */
    g_assert_nonnull(strstr(error->message, "in use"));
    close(fd);
    sink_free(&s);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    loop_free(loop);
}

static void test_stale_socket(void)
{
    struct loop *loop = loop_new(NULL);
    g_autofree char *path = in_folder("stale"), *plain = in_folder("plain");
    g_autofree char *spec = g_strdup_printf("unix:%s,server=on,wait=off", path);
    g_autofree char *bad = g_strdup_printf("unix:%s,server=on,wait=off", plain);
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    g_autoptr(GError) error = NULL;
    struct chardev *chr;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(sun.sun_path, path, sizeof(sun.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), ==, 0);
    close(fd);
    chr = chardev_new("s", spec, loop, &error);
    g_assert_no_error(error);
    chardev_free(chr);
    g_assert_true(g_file_set_contents(plain, "precious", -1, NULL));
    g_assert_null(chardev_new("s", bad, loop, &error));
    g_assert_nonnull(strstr(error->message, "not a socket"));
    g_assert_true(g_file_test(plain, G_FILE_TEST_EXISTS));
    loop_free(loop);
}

/* A reader that does not read: the writer is told to wait, memory is bounded, no byte is lost. */
static void test_slow_reader(void)
{
    struct loop *loop = loop_new(NULL);
    int pair[2];
    g_autofree char *spec = NULL;
    struct sink s;
    uint32_t sent = 0, received = 0, total = 1000000;
    size_t taken;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    spec = g_strdup_printf("socket,id=s,fd=%d", pair[0]);
    sink_attach(&s, chardev_new_options(spec, loop, NULL));
    do {
        taken = chardev_write(s.chr, (const uint8_t *)&sent, 4);
        g_assert_true(taken == 0 || taken == 4);
        sent += taken == 4;
        if (sent % 1024 == 0) {
            chardev_push(s.chr);
        }
    } while (taken);
    chardev_push(s.chr);
    g_assert_cmpuint(sent, >=, STREAM_QUEUE_BYTES / 4);
    g_assert_cmpuint(sent, <, total);
    while (received < total) {
        uint32_t value;

        while (sent < total && chardev_write(s.chr, (const uint8_t *)&sent, 4) == 4) {
            sent++;
        }
        if (recv(pair[1], &value, 4, MSG_DONTWAIT) == 4) {
            g_assert_cmpuint(value, ==, received);
            received++;
        } else {
            g_main_context_iteration(loop->context, FALSE);
        }
    }
    g_assert_cmpuint(s.writable, >, 0);
    close(pair[1]);
    UNTIL(loop, s.closed == 1);
    g_assert_cmpuint(chardev_write(s.chr, (const uint8_t *)&sent, 4), ==, 4); /* into the void */
    sink_free(&s);
    loop_free(loop);
}

static void test_reconnect(void)
{
    struct loop *loop = loop_new(NULL);
    g_autofree char *path = in_folder("later");
    g_autofree char *spec = g_strdup_printf("socket,id=c,path=%s,reconnect=1", path);
    struct sock_address address = {.kind = SOCK_UNIX, .path = path, .server = true};
    struct listener *listener;
    struct sink s;
    int client;

    sink_attach(&s, chardev_new_options(spec, loop, NULL)); /* nobody there yet: no error */
    listener = listener_new(&address, NULL);
    UNTIL(loop, s.opened == 1);
    client = listener_accept(listener, 0);
    g_assert_cmpint(client, >=, 0);
    close(client);
    UNTIL(loop, s.closed == 1);
    sink_free(&s);
    listener_free(listener);
    loop_free(loop);
}

/* ---- pty */

static void test_pty(void)
{
    struct loop *loop = loop_new(NULL);
    struct sink s;
    char buf[8] = {0};
    int fd;

    sink_attach(&s, chardev_new("p", "pty", loop, NULL));
    g_assert_true(g_str_has_prefix(s.chr->filename, "pty:/dev/"));
    g_assert_cmpuint(chardev_write(s.chr, (const uint8_t *)"gone", 4), ==, 4);
    fd = open(s.chr->filename + 4, O_RDWR | O_NOCTTY);
    g_assert_cmpint(fd, >=, 0);
    UNTIL(loop, s.opened == 1);
    g_assert_cmpint(write(fd, "in", 2), ==, 2);
    UNTIL(loop, s.in->len == 2);
    chardev_write(s.chr, (const uint8_t *)"out", 3);
    chardev_push(s.chr);
    g_assert_cmpint(read(fd, buf, 3), ==, 3);
    g_assert_cmpstr(buf, ==, "out");
    close(fd);
    UNTIL(loop, s.closed == 1);
    sink_free(&s);
    loop_free(loop);
}

/* A mux over a chardev that stays on its own. */
static void test_mux_over(void)
{
    struct loop *loop = loop_new(NULL);
    struct chardev *base = chardev_new_options("ringbuf,id=base,size=64", loop, NULL), *mux,
                   *second;
    struct sink one;
    g_autoptr(GByteArray) got = NULL;

    mux = chardev_mux_over("m", base);
    g_assert_nonnull(mux);
    g_assert_true(chardev_is_mux(mux));
    g_assert_null(chardev_mux_base(mux));
    g_assert_cmpstr(base->id, ==, "base");
    g_assert_false(base->frontend_open);
    g_assert_null(chardev_mux_over("m2", base)); /* it is in use */
    second = chardev_mux_over("m3", mux);        /* a mux has room for more */
    g_assert_nonnull(second);

    one = (struct sink){.chr = second, .in = g_string_new(NULL), .room = 100};
    one.frontend = (struct chardev_frontend){
        .can_receive = sink_can_receive, .receive = sink_receive, .opaque = &one};
    g_assert_true(chardev_attach(second, &one.frontend));
    g_assert_true(base->frontend_open);
    g_assert_cmpuint(chardev_write(second, (const uint8_t *)"down", 4), ==, 4);
    got = chardev_ringbuf_read(base, 10);
    g_assert_cmpmem(got->data, got->len, "down", 4);
    chardev_deliver(base, (const uint8_t *)"up", 2);
    g_assert_cmpstr(one.in->str, ==, "up");

    chardev_detach(second, &one.frontend);
    chardev_free(second);
    chardev_free(mux);
    g_assert_null(base->frontend);
    chardev_free(base);
    g_string_free(one.in, TRUE);
    loop_free(loop);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("godwit-chardev-XXXXXX", NULL);
    g_test_add_func("/chardev/addresses", test_addresses);
    g_test_add_func("/chardev/options", test_options);
    g_test_add_func("/chardev/file", test_file);
    g_test_add_func("/chardev/server", test_server);
    g_test_add_func("/chardev/stale-socket", test_stale_socket);
    g_test_add_func("/chardev/slow-reader", test_slow_reader);
    g_test_add_func("/chardev/reconnect", test_reconnect);
    g_test_add_func("/chardev/pty", test_pty);
    g_test_add_func("/chardev/mux-over", test_mux_over);
    status = g_test_run();
    {
        g_autofree char *command = g_strdup_printf("rm -rf '%s'", folder);

        if (system(command) != 0) {
            status = 1;
        }
    }
    g_free(folder);
    return status;
}
