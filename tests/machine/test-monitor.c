/*
 * Many clients and many events: for a client that does not read, events are left out above its
 * bound and it is told; meanwhile nobody else is delayed or loses anything. The machine is an empty
 * board; events come from two threads of the test.
 */
#include "base/log.h"
#include "monitor/monitor.h"
#include "qapi-events.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Far more than the bound of a session and what its socket takes. */
#define BATCH   500
#define BATCHES 50

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
    struct monitor_style style = {.role = GODWIT_ROLE_ADMIN};
    g_autoptr(GError) error = NULL;

    f->dir = g_dir_make_tmp("test-monitor-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, "qmp", NULL);
    config->machine_type = g_strdup("test");
    config->start_paused = true;
    address.path = f->path;
    f->mon = monitor_new();
    g_assert_true(monitor_add_socket(f->mon, &address, "test", &style, &error));
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

static int client_new_with(struct fixture *f, const char *enable)
{
    g_autofree char *negotiate = g_strdup_printf(
        "{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": [%s]}}", enable);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, f->path, sizeof(address.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    client_ask(fd, negotiate, "{\"return\": {}}\r\n");
    return fd;
}

static int client_new(struct fixture *f)
{
    return client_new_with(f, "");
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

/* The next whole line, less its end, of what comes in; erased from it. */
static char *client_line(int fd, GString *in)
{
    const char *end;
    char *line;

    while (!(end = strchr(in->str, '\n'))) {
        client_read(fd, in);
    }
    line = g_strndup(in->str, end - in->str);
    g_string_erase(in, 0, end + 1 - in->str);
    return line;
}

static int64_t number_after(const char *line, const char *key)
{
    const char *at = strstr(line, key);

    g_assert_nonnull(at);
    return g_ascii_strtoll(at + strlen(key), NULL, 10);
}

/* A session with numbers: every one of them comes, or is told of as left out, in order. */
static void expect_no_gap(int fd, int64_t last)
{
    g_autoptr(GString) in = g_string_new(NULL);
    unsigned notices = 0;
    int64_t next = 1;

    while (next <= last) {
        g_autofree char *line = client_line(fd, in);

        if (strstr(line, "GODWIT_EVENTS_DROPPED")) {
            int64_t first = number_after(line, "\"first\": ");
            int64_t end = number_after(line, "\"last\": ");

            g_assert_cmpint(first, ==, next);
            g_assert_cmpint(number_after(line, "\"count\": "), ==, end - first + 1);
            g_assert_cmpint(number_after(line, "\"seq\": "), ==, end);
            next = end + 1;
            notices++;
        } else {
            g_assert_cmpint(number_after(line, "\"seq\": "), ==, next);
            next++;
        }
    }
    g_assert_cmpint(notices, >=, 1);
    g_assert_cmpstr(in->str, ==, "");
}

/* A session without: whole lines, less than all of them. */
static void expect_fewer(int fd, unsigned sent)
{
    g_autoptr(GString) in = g_string_new(NULL);
    unsigned n = 0;

    g_assert_cmpint(send(fd, "{\"execute\": \"query-chardev\"}", 28, MSG_NOSIGNAL), ==, 28);
    for (;; n++) {
        g_autofree char *line = client_line(fd, in);

        if (g_str_has_prefix(line, "{\"return\"")) {
            break;
        }
        g_assert_true(g_str_has_suffix(line, "\"event\": \"STOP\"}\r"));
    }
    g_assert_cmpint(n, >, 100);
    g_assert_cmpint(n, <, sent / 2);
}

static void test_stalled_client(struct fixture *f, gconstpointer unused)
{
    FILE *log = tmpfile();
    int stalled = client_new(f), numbered = client_new_with(f, "\"godwit-events\"");
    int reader = client_new(f);
    char line[200] = "";

    log_set_file(log);
    for (unsigned i = 0; i < BATCHES; i++) {
        emit_from_two_threads(f);
        client_expect_stops(reader, BATCH);
    }
    /* Bounds were exceeded: the others go on as if nothing had been. */
    client_ask(reader, "{\"execute\": \"query-status\", \"id\": 1}", "\"id\": 1}\r\n");
    client_ask(reader, "{\"execute\": \"query-chardev\", \"id\": 2}", "\"id\": 2}\r\n");
    expect_no_gap(numbered, BATCHES * BATCH);
    expect_fewer(stalled, BATCHES * BATCH);
    /* Who caught up gets everything again. */
    emit_from_two_threads(f);
    client_expect_stops(reader, BATCH);
    client_expect_stops(stalled, BATCH);
    log_set_file(stderr);
    rewind(log);
    g_assert_nonnull(fgets(line, sizeof(line), log));
    g_assert_nonnull(strstr(line, "monitor 'test': a client does not read its events"));
    fclose(log);
    close(stalled);
    close(numbered);
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
