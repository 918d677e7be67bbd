/*
 * The bounded queue of a client's output: what is left out, for whom there is room, what is told.
 */
#include "monitor/output.h"

#include "qapi-events.h"
#include <string.h>

static const struct output_form plain = {0}, own = {.own_events = true},
                                pretty = {.own_events = true, .pretty = true};

struct fixture {
    struct journal *journal;
    struct output *out;
};

static void set_up(struct fixture *f, gconstpointer unused)
{
    f->journal = journal_new(16, 1 << 20);
    f->out = output_new(journal_boot_id(f->journal));
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    output_free(f->out);
    journal_free(f->journal);
}

static void add(struct fixture *f, enum qapi_event event, struct output_form form)
{
    struct event_line *line = journal_add(f->journal, event, NULL, NULL);

    output_add_event(f->out, line, form);
    event_line_unref(line);
}

static size_t add_until_dropped(struct fixture *f, enum qapi_event event, struct output_form form)
{
    size_t n = 0;

    while (!output_take_dropped(f->out)) {
        add(f, event, form);
        n++;
    }
    return n - 1;
}

/* Writes at most max bytes in pieces of `step`; the text. */
static char *write_out(struct fixture *f, size_t max, size_t step, struct output_form form)
{
    struct iovec iov[OUTPUT_IOVECS];
    GString *text = g_string_new(NULL);

    while (text->len < max && output_peek(f->out, iov, OUTPUT_IOVECS, 1)) {
        size_t n = MIN(MIN(iov[0].iov_len, step), max - text->len);

        g_string_append_len(text, iov[0].iov_base, (gssize)n);
        output_advance(f->out, n, form);
    }
    return g_string_free(text, FALSE);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (; (text = strstr(text, what)); text++) {
        n++;
    }
    return n;
}

static void test_order(struct fixture *f, gconstpointer unused)
{
    g_autofree char *text = NULL, *end = NULL;

    output_add_reply(f->out, g_strdup("{\"return\": 1}\r\n"), 15);
    add(f, QAPI_EVENT_STOP, plain);
    output_add_reply(f->out, g_strdup("{\"return\": 2}\r\n"), 15);
    g_assert_cmpint(output_reply_bytes(f->out), ==, 30);
    text = write_out(f, SIZE_MAX, 7, plain);
    g_assert_true(g_str_has_prefix(text, "{\"return\": 1}\r\n{\"timestamp\""));
    g_assert_true(g_str_has_suffix(text, "\"event\": \"STOP\"}\r\n{\"return\": 2}\r\n"));
    g_assert_true(output_is_empty(f->out));
    g_assert_cmpint(output_reply_bytes(f->out), ==, 0);
    add(f, QAPI_EVENT_STOP, own);
    end = write_out(f, SIZE_MAX, 1000, own);
    g_assert_nonnull(strstr(end, "\"event\": \"STOP\", \"seq\": 2, \"boot-id\": \""));
}

static void test_drop_and_tell(struct fixture *f, gconstpointer unused)
{
    size_t kept = add_until_dropped(f, QAPI_EVENT_RTC_CHANGE, own);
    g_autofree char *first = NULL, *rest = NULL, *expected = NULL;

    g_assert_cmpint(kept, >, 500);
    add(f, QAPI_EVENT_RTC_CHANGE, own);
    add(f, QAPI_EVENT_RTC_CHANGE, own);
    g_assert_cmpint(output_take_dropped(f->out), ==, 2);
    first = write_out(f, OUTPUT_EVENTS_BYTES / 4, 1000, own);
    add(f, QAPI_EVENT_RTC_CHANGE, own); /* not while more than half waits */
    g_assert_cmpint(output_take_dropped(f->out), ==, 1);
    rest = write_out(f, SIZE_MAX, 1000, own);
    g_assert_cmpint(count(first, "RTC_CHANGE") + count(rest, "RTC_CHANGE"), ==, kept);
    expected = g_strdup_printf("\"event\": \"GODWIT_EVENTS_DROPPED\", \"data\": {\"count\": 4, "
                               "\"first\": %zu, \"last\": %zu}, \"seq\": %zu, \"boot-id\"",
                               kept + 1, kept + 4, kept + 4);
    g_assert_nonnull(strstr(rest, expected));
    g_assert_cmpint(count(rest, "GODWIT_"), ==, 1);
    g_assert_true(output_is_empty(f->out));
    add(f, QAPI_EVENT_RTC_CHANGE, own);
    g_assert_cmpint(output_take_dropped(f->out), ==, 0);
}

/* A flood of one kind takes no room from the end, nor from what changes the state. */
static void test_reserve(struct fixture *f, gconstpointer unused)
{
    g_autofree char *text = NULL;

    add_until_dropped(f, QAPI_EVENT_RTC_CHANGE, own);
    g_assert_cmpint(add_until_dropped(f, QAPI_EVENT_GUEST_PANICKED, own), >, 3);
    add(f, QAPI_EVENT_STOP, own);
    add(f, QAPI_EVENT_SHUTDOWN, own);
    g_assert_cmpint(output_take_dropped(f->out), ==, 0);
    g_assert_cmpint(add_until_dropped(f, QAPI_EVENT_SHUTDOWN, own), <, 100);
    add(f, QAPI_EVENT_STOP, own);
    g_assert_cmpint(output_take_dropped(f->out), ==, 0);
    text = write_out(f, SIZE_MAX, 1000, own);
    g_assert_cmpint(count(text, "\"STOP\""), ==, 2);
    g_assert_nonnull(strstr(text, "\"SHUTDOWN\""));
    g_assert_cmpint(strlen(text), <, OUTPUT_EVENTS_BYTES + 4 * OUTPUT_RESERVE_BYTES);
}

static void test_others(struct fixture *f, gconstpointer unused)
{
    g_autofree char *text = NULL, *indented = NULL;

    add_until_dropped(f, QAPI_EVENT_RTC_CHANGE, plain);
    text = write_out(f, SIZE_MAX, 1000, plain);
    g_assert_null(strstr(text, "GODWIT_"));
    g_assert_null(strstr(text, "seq"));
    g_assert_true(g_str_has_suffix(text, "\"event\": \"RTC_CHANGE\"}\r\n"));
    add_until_dropped(f, QAPI_EVENT_RTC_CHANGE, pretty);
    indented = write_out(f, SIZE_MAX, 1000, pretty);
    g_assert_nonnull(strstr(indented, "\r\n    \"event\": \"GODWIT_EVENTS_DROPPED\",\r\n"));
    g_assert_true(g_str_has_suffix(indented, "\r\n}\r\n"));
    output_add_reply(f->out, g_strdup("x"), 1);
    add(f, QAPI_EVENT_STOP, own);
    output_clear(f->out);
    g_assert_true(output_is_empty(f->out));
}

#define ADD(path, fn) g_test_add(path, struct fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/output/order", test_order);
    ADD("/output/drop-and-tell", test_drop_and_tell);
    ADD("/output/reserve", test_reserve);
    ADD("/output/others", test_others);
    return g_test_run();
}
