/*
 * The rate limit of events, with a clock that the test moves.
 */
#include "monitor/rate-limit.h"

#define SECOND RATE_LIMIT_PERIOD_US

static void deliver(void *opaque, void *item)
{
    g_autofree char *text = item;

    g_string_append_printf(opaque, "%s ", text);
}

struct fixture {
    GString *out;
    struct rate_limit *limit;
};

static void set_up(struct fixture *f, gconstpointer unused)
{
    f->out = g_string_new(NULL);
    f->limit = rate_limit_new(rate_rules, deliver, g_free, f->out);
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    rate_limit_free(f->limit);
    g_string_free(f->out, TRUE);
}

static void event(struct fixture *f, const char *name, const char *data, const char *text,
                  int64_t now)
{
    rate_limit_event(f->limit, name, data, g_strdup(text), now);
}

/* What came out since the last call. */
static void expect(struct fixture *f, const char *text)
{
    g_assert_cmpstr(f->out->str, ==, text);
    g_string_truncate(f->out, 0);
}

static void test_unlimited(struct fixture *f, gconstpointer unused)
{
    for (int i = 0; i < 3; i++) {
        event(f, "STOP", NULL, "stop", 0);
    }
    expect(f, "stop stop stop ");
    g_assert_cmpint(rate_limit_deadline_us(f->limit), ==, -1);
}

static void test_first_and_last(struct fixture *f, gconstpointer unused)
{
    event(f, "WATCHDOG", "{\"action\": \"none\"}", "a", 1000);
    expect(f, "a ");
    event(f, "WATCHDOG", "{\"action\": \"debug\"}", "b", 2000);
    event(f, "WATCHDOG", "{\"action\": \"pause\"}", "c", 3000);
    expect(f, "");
    g_assert_cmpint(rate_limit_deadline_us(f->limit), ==, SECOND + 1000);
    rate_limit_run(f->limit, SECOND + 999);
    expect(f, "");
    rate_limit_run(f->limit, SECOND + 1000);
    expect(f, "c ");
}

/* After a delayed event the next has to wait again; after a quiet second it has not. */
static void test_rearm(struct fixture *f, gconstpointer unused)
{
    event(f, "RTC_CHANGE", NULL, "a", 0);
    event(f, "RTC_CHANGE", NULL, "b", 1);
    rate_limit_run(f->limit, SECOND);
    expect(f, "a b ");
    event(f, "RTC_CHANGE", NULL, "c", SECOND + 1);
    expect(f, "");
    rate_limit_run(f->limit, 2 * SECOND);
    expect(f, "c ");
    rate_limit_run(f->limit, 3 * SECOND);
    g_assert_cmpint(rate_limit_deadline_us(f->limit), ==, -1);
    event(f, "RTC_CHANGE", NULL, "d", 3 * SECOND);
    expect(f, "d ");
}

static void test_buckets(struct fixture *f, gconstpointer unused)
{
    event(f, "VSERPORT_CHANGE", "{\"id\": \"one\", \"open\": true}", "1a", 0);
    event(f, "VSERPORT_CHANGE", "{\"id\": \"two\", \"open\": true}", "2a", 10);
    event(f, "VSERPORT_CHANGE", "{\"id\": \"one\", \"open\": false}", "1b", 20);
    event(f, "VSERPORT_CHANGE", "{\"id\": \"one\", \"open\": true}", "1c", 30);
    event(f, "RTC_CHANGE", "{\"offset\": 1}", "rtc", 40);
    expect(f, "1a 2a rtc ");
    rate_limit_run(f->limit, SECOND);
    expect(f, "1c ");
    g_assert_cmpint(rate_limit_deadline_us(f->limit), ==, SECOND + 10);
    rate_limit_run(f->limit, SECOND + 40);
    expect(f, "");
}

/* One quorum's failure does not hide another's. */
static void test_quorum(struct fixture *f, gconstpointer unused)
{
    event(f, "QUORUM_FAILURE", "{\"reference\": \"q0\"}", "q0", 0);
    event(f, "QUORUM_FAILURE", "{\"reference\": \"q1\"}", "q1", 0);
    event(f, "QUORUM_REPORT_BAD", "{\"node-name\": \"n\", \"sector-num\": 0}", "n1", 0);
    event(f, "QUORUM_REPORT_BAD", "{\"node-name\": \"n\", \"sector-num\": 8}", "n2", 0);
    expect(f, "q0 q1 n1 ");
}

#define ADD(path, fn) g_test_add(path, struct fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/rate-limit/unlimited", test_unlimited);
    ADD("/rate-limit/first-and-last", test_first_and_last);
    ADD("/rate-limit/rearm", test_rearm);
    ADD("/rate-limit/buckets", test_buckets);
    ADD("/rate-limit/quorum", test_quorum);
    return g_test_run();
}
