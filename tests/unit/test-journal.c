/*
 * The journal of events: numbers, bounds, what is gone, and the log file.
 */
#include "monitor/journal.h"

#include "qapi-events.h"
#include <glib/gstdio.h>
#include <string.h>

static void add(struct journal *j, const char *data, const char *cause)
{
    event_line_unref(journal_add(j, QAPI_EVENT_STOP, data, cause));
}

static void expect_kept(struct journal *j, int64_t since, int64_t first, unsigned n)
{
    g_autoptr(GPtrArray) lines = journal_since(j, since);

    g_assert_cmpuint(lines->len, ==, n);
    for (guint i = 0; i < lines->len; i++) {
        g_assert_cmpint(((struct event_line *)lines->pdata[i])->seq, ==, first + i);
    }
}

static void test_line(void)
{
    struct journal *j = journal_new(4, 10000);
    struct event_line *line = journal_add(j, QAPI_EVENT_RESET, "{\"a\": 1}", "{\"who\": \"x\"}");
    g_autofree char *end = g_strdup_printf(", \"seq\": 1, \"boot-id\": \"%s\", \"monotonic-ns\": ",
                                           journal_boot_id(j));
    g_autofree char *plain = g_strndup(line->text, line->plain_length);

    g_assert_cmpstr(line->name, ==, "RESET");
    g_assert_cmpuint(line->length, ==, strlen(line->text));
    g_assert_true(g_str_has_suffix(plain, "\"event\": \"RESET\", \"data\": {\"a\": 1}"));
    g_assert_true(g_str_has_prefix(line->text + line->plain_length, end));
    g_assert_true(g_str_has_suffix(line->text, ", \"cause\": {\"who\": \"x\"}}\r\n"));
    event_line_unref(line);
    journal_free(j);
}

static void test_bound_of_events(void)
{
    struct journal *j = journal_new(4, 10000);

    expect_kept(j, 1, 1, 0);
    for (unsigned i = 0; i < 4; i++) {
        add(j, NULL, NULL);
    }
    expect_kept(j, 1, 1, 4);
    add(j, NULL, NULL);
    g_assert_cmpint(journal_first(j), ==, 2);
    g_assert_cmpint(journal_next(j), ==, 6);
    expect_kept(j, 1, 2, 4);
    expect_kept(j, 4, 4, 2);
    expect_kept(j, 6, 6, 0);
    expect_kept(j, INT64_MAX, 6, 0);
    journal_free(j);
}

static void test_bound_of_bytes(void)
{
    struct journal *j = journal_new(100, 2000);
    g_autofree char *large = g_strnfill(3000, ' ');

    for (unsigned i = 0; i < 50; i++) {
        add(j, NULL, NULL);
    }
    g_assert_cmpint(journal_next(j), ==, 51);
    g_assert_cmpint(journal_first(j), >, 40);
    g_assert_cmpint(journal_first(j), <, 50);
    add(j, large, NULL); /* the newest is kept in any case */
    expect_kept(j, 1, 51, 1);
    add(j, NULL, NULL);
    expect_kept(j, 1, 52, 1);
    journal_free(j);
}

/* A reference outlives the ring's. */
static void test_reference(void)
{
    struct journal *j = journal_new(1, 10000);
    struct event_line *line = journal_add(j, QAPI_EVENT_STOP, NULL, NULL);

    add(j, NULL, NULL);
    journal_free(j);
    g_assert_cmpint(line->seq, ==, 1);
    g_assert_true(g_str_has_suffix(line->text, "}\r\n"));
    event_line_unref(line);
}

static gpointer write_many(gpointer arg)
{
    for (unsigned i = 0; i < 200; i++) {
        journal_write_log(arg, i % 2);
    }
    return NULL;
}

static void test_log(void)
{
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "test-journal-XXXXXX", NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    struct journal *j = journal_new(10, 100000);
    GThread *other;
    int fd = g_mkstemp(path);

    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    g_assert_true(journal_open_log(j, path, NULL));
    other = g_thread_new("writer", write_many, j);
    for (unsigned i = 0; i < 200; i++) {
        add(j, "{\"a\": \"b\"}", NULL);
        journal_write_log(j, false);
    }
    g_thread_join(other);
    journal_free(j);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    g_assert_cmpuint(g_strv_length(lines), ==, 201);
    for (unsigned i = 0; i < 200; i++) {
        g_autofree char *seq = g_strdup_printf("\"seq\": %u,", i + 1);

        g_assert_nonnull(strstr(lines[i], seq));
        g_assert_true(g_str_has_suffix(lines[i], "}"));
    }
    g_unlink(path);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/journal/line", test_line);
    g_test_add_func("/journal/bound-of-events", test_bound_of_events);
    g_test_add_func("/journal/bound-of-bytes", test_bound_of_bytes);
    g_test_add_func("/journal/reference", test_reference);
    g_test_add_func("/journal/log", test_log);
    return g_test_run();
}
