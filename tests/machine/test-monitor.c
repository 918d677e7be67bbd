/*
 * Many clients and many events: a client that never reads is ended at its bound, and until then and
 * afterwards nobody else is delayed or loses anything. The machine is an empty board; events come
 * from two threads of the test.
 */
#include "base/log.h"
#include "monitor/monitor.h"
#include "qapi-events.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The bound of a session is 16 MiB; an event line has 87 bytes. */
#define BATCH   500
#define BATCHES 500

static bool board_init(struct machine *m, GError **error)
{
    return true;
}

static const struct board board = {.name = "test", .max_cpus = 1, .init = board_init};
const struct board *const boards[] = {&board, NULL};

struct fixture {
    char *dir, *path;
    struct monitor *mon;
    struct machine *m;
    GThread *main_thread;
};

static gpointer run_machine(gpointer m)
{
    return GINT_TO_POINTER(machine_run(m));
}

static void set_up(struct fixture *f, gconstpointer unused)
{
    struct machine_config *config = machine_config_new();
    struct sock_address address = {.kind = SOCK_UNIX, .server = true};
    g_autoptr(GError) error = NULL;

    f->dir = g_dir_make_tmp("test-monitor-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, "qmp", NULL);
    config->machine_type = g_strdup("test");
    config->start_paused = true;
    address.path = f->path;
    f->mon = monitor_new();
    g_assert_true(monitor_add_socket(f->mon, &address, "test", false, &error));
    f->m = machine_new(config, loop_new, monitor_event_sink(f->mon), &error);
    g_assert_no_error(error);
    monitor_start(f->mon, f->m);
    f->main_thread = g_thread_new("main", run_machine, f->m);
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    machine_request_exit(f->m, 7);
    g_assert_cmpint(GPOINTER_TO_INT(g_thread_join(f->main_thread)), ==, 7);
    monitor_free(f->mon);
    machine_free(f->m);
    g_assert_false(g_file_test(f->path, G_FILE_TEST_EXISTS));
    rmdir(f->dir);
    g_free(f->path);
    g_free(f->dir);
}

/* ---- clients */

static void client_read(int fd, GString *in)
{
    char buf[65536];
    ssize_t n = recv(fd, buf, sizeof(buf), 0);

    g_assert_cmpint(n, >, 0);
    g_string_append_len(in, buf, n);
}

static void client_ask(int fd, const char *request, const char *reply)
{
    g_autoptr(GString) in = g_string_new(NULL);

    g_assert_cmpint(send(fd, request, strlen(request), MSG_NOSIGNAL), ==, strlen(request));
    while (!strstr(in->str, reply)) {
        client_read(fd, in);
    }
    g_assert_true(g_str_has_suffix(in->str, "\r\n"));
}

static int client_new(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, f->path, sizeof(address.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    client_ask(fd, "{\"execute\": \"qmp_capabilities\"}", "{\"return\": {}}\r\n");
    return fd;
}

/* Reads n lines, each of which must be a whole STOP event. */
static void client_expect_stops(int fd, unsigned n)
{
    g_autoptr(GString) in = g_string_new(NULL);
    const char *line = in->str, *end;

    while (n) {
        while (!(end = strchr(line, '\n'))) {
            g_string_erase(in, 0, line - in->str);
            client_read(fd, in);
            line = in->str;
        }
        g_assert_true(g_str_has_prefix(line, "{\"timestamp\": {\"seconds\": "));
        g_assert_cmpint(strncmp(end - 17, "\"event\": \"STOP\"}\r\n", 18), ==, 0);
        line = end + 1;
        n--;
    }
    g_assert_cmpstr(line, ==, "");
}

static gpointer emit_batch(gpointer sink)
{
    for (unsigned i = 0; i < BATCH / 2; i++) {
        qapi_event_send_stop(sink);
    }
    return NULL;
}

static void emit_from_two_threads(struct fixture *f)
{
    GThread *other = g_thread_new("events", emit_batch, monitor_event_sink(f->mon));

    emit_batch(monitor_event_sink(f->mon));
    g_thread_join(other);
}

static bool client_is_cut_off(int fd)
{
    char byte;
    ssize_t n;

    /* What the socket still holds comes before the end. */
    while ((n = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC)) > 0) {
    }
    return n == 0 || errno == ECONNRESET;
}

static void test_stalled_client(struct fixture *f, gconstpointer unused)
{
    FILE *log = tmpfile();
    int stalled = client_new(f), reader = client_new(f);
    char line[200] = "";

    log_set_file(log);
    for (unsigned i = 0; i < BATCHES; i++) {
        emit_from_two_threads(f);
        client_expect_stops(reader, BATCH);
    }
    /* its bound was exceeded: the others go on as if nothing had been */
    client_ask(reader, "{\"execute\": \"query-status\", \"id\": 1}", "\"id\": 1}\r\n");
    client_ask(reader, "{\"execute\": \"query-chardev\", \"id\": 2}", "\"id\": 2}\r\n");
    g_assert_true(client_is_cut_off(stalled));
    log_set_file(stderr);
    rewind(log);
    g_assert_nonnull(fgets(line, sizeof(line), log));
    g_assert_nonnull(strstr(line, "monitor 'test': a client leaves 16 MiB unread"));
    fclose(log);
    close(stalled);
    close(reader);
}

/* Clients come and go while events and commands run. */
static void test_coming_and_going(struct fixture *f, gconstpointer unused)
{
    static const char half[] = "{\"execute\": \"query-chardev\"}{\"execute\": ";

    for (unsigned i = 0; i < 50; i++) {
        int a = client_new(f), b = client_new(f);

        g_assert_cmpint(send(a, half, strlen(half), 0), ==, strlen(half));
        close(a);
        emit_from_two_threads(f);
        client_expect_stops(b, BATCH);
        close(b);
    }
}

#define ADD(path, fn) g_test_add(path, struct fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    machine_block_signals();
    ADD("/monitor/stalled-client", test_stalled_client);
    ADD("/monitor/coming-and-going", test_coming_and_going);
    return g_test_run();
}
