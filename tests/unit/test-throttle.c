/*
 * Limits of disk I/O: buckets by themselves, and groups of nodes and back ends by a clock that the
 * test moves.
 */
#include "base/clock.h"
#include "block/throttle.h"
#include "qapi-visit.h"

#include <string.h>

#define REQUEST_BYTES 4096u

/* ---- buckets */

static void set(struct throttle_config *config, enum throttle_kind kind, uint64_t avg, uint64_t max,
                uint64_t burst)
{
    config->limit[kind] = (struct throttle_limit){.avg = avg, .max = max, .burst = burst};
}

/* Somebody who always has one more request: how many have gone before `end_ns`. */
static uint64_t greedy(struct throttle_state *state, bool write, uint64_t bytes, int64_t from_ns,
                       int64_t end_ns)
{
    uint64_t n = 0;

    for (int64_t now = from_ns; now < end_ns; n++) {
        int64_t wait = throttle_wait_ns(state, write, now);

        now += wait;
        if (now >= end_ns) {
            break;
        }
        g_assert_cmpint(throttle_wait_ns(state, write, now), ==, 0);
        throttle_account(state, write, bytes);
    }
    return n;
}

static void test_average(void)
{
    static const enum throttle_kind kinds[] = {THROTTLE_BPS_TOTAL, THROTTLE_BPS_READ,
                                               THROTTLE_BPS_WRITE};

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        bool write = kinds[i] == THROTTLE_BPS_WRITE;
        struct throttle_config config;
        struct throttle_state state;
        uint64_t bytes;

        throttle_config_init(&config);
        set(&config, kinds[i], 1000000, 0, 1);
        throttle_state_init(&state, &config, 5 * NS_PER_SEC);
        bytes =
            greedy(&state, write, REQUEST_BYTES, 5 * NS_PER_SEC, 15 * NS_PER_SEC) * REQUEST_BYTES;
        /* Ten seconds' worth, what a bucket holds, and the request that it runs over with. */
        g_assert_cmpuint(bytes, >=, 10000000);
        g_assert_cmpuint(bytes, <=, 10000000 + 100000 + REQUEST_BYTES);
        if (kinds[i] != THROTTLE_BPS_TOTAL) { /* the other direction is not limited */
            g_assert_cmpint(throttle_wait_ns(&state, !write, 15 * NS_PER_SEC), ==, 0);
        }
    }
}

static void expect_about(uint64_t n, uint64_t wanted)
{
    g_assert_cmpuint(n + 1, >=, wanted);
    g_assert_cmpuint(n, <=, wanted + 1);
}

static void test_requests(void)
{
    struct throttle_config config;
    struct throttle_state state;

    throttle_config_init(&config);
    set(&config, THROTTLE_IOPS_TOTAL, 100, 0, 1);
    throttle_state_init(&state, &config, 0);
    expect_about(greedy(&state, true, 1 << 20, 0, 10 * NS_PER_SEC), 1000 + 10);
    config.op_bytes = 4096; /* a request of 16 KiB counts as four */
    throttle_state_init(&state, &config, 0);
    expect_about(greedy(&state, true, 16384, 0, 10 * NS_PER_SEC), 250 + 2);
    throttle_state_init(&state, &config, 0);
    expect_about(greedy(&state, true, 512, 0, 10 * NS_PER_SEC), 1000 + 10);
}

static void test_burst(void)
{
    struct throttle_config config;
    struct throttle_state state;
    uint64_t n;

    throttle_config_init(&config);
    set(&config, THROTTLE_IOPS_READ, 10, 50, 1);
    throttle_state_init(&state, &config, 0);
    g_assert_cmpuint(greedy(&state, false, 512, 0, 1), ==, 51); /* at once */
    g_assert_cmpuint(greedy(&state, false, 512, 1, 10 * NS_PER_SEC), ==, 99);
    /* Five seconds of rest are half a burst. */
    g_assert_cmpuint(greedy(&state, false, 512, 15 * NS_PER_SEC, 15 * NS_PER_SEC + 1), ==, 51);

    set(&config, THROTTLE_IOPS_READ, 10, 50, 3);
    throttle_state_init(&state, &config, 0);
    n = greedy(&state, false, 512, 0, 3 * NS_PER_SEC); /* no faster than the burst's rate */
    g_assert_cmpuint(n, >=, 150);
    g_assert_cmpuint(n, <=, 156);
    n = greedy(&state, false, 512, 3 * NS_PER_SEC, 23 * NS_PER_SEC);
    g_assert_cmpuint(n, >=, 200);
    g_assert_cmpuint(n, <=, 240);
    n = greedy(&state, false, 512, 23 * NS_PER_SEC, 33 * NS_PER_SEC); /* it is over long since */
    g_assert_cmpuint(n, >=, 99);
    g_assert_cmpuint(n, <=, 101);
}

static void expect(const struct throttle_config *config, const char *part)
{
    g_autoptr(GError) error = NULL;
    bool ok = throttle_config_check(config, &error);

    if (!part) {
        g_assert_no_error(error);
        g_assert_true(ok);
    } else if (ok || !strstr(error->message, part)) {
        g_error("'%s' lacks '%s'", ok ? "no error" : error->message, part);
    }
}

static void test_check(void)
{
    static const struct {
        struct throttle_limit total, read;
        uint64_t op_bytes;
        const char *error;
    } cases[] = {
        {{0, 0, 1}, {0, 0, 1}, 0, NULL},
        {{5, 0, 1}, {0, 0, 1}, 0, NULL},
        {{5, 0, 1}, {5, 0, 1}, 0, "cannot be used at the same time"},
        {{5, 6, 1}, {0, 7, 1}, 0, "cannot be used at the same time"},
        {{THROTTLE_MAX_VALUE, 0, 1}, {0, 0, 1}, 0, NULL},
        {{THROTTLE_MAX_VALUE + 1, 0, 1}, {0, 0, 1}, 0, "must be within [0, 1000000000000000]"},
        {{5, THROTTLE_MAX_VALUE + 1, 1}, {0, 0, 1}, 0, "must be within [0, 1000000000000000]"},
        {{5, 4, 1}, {0, 0, 1}, 0, "cannot be lower than"},
        {{0, 4, 1}, {0, 0, 1}, 0, "require corresponding"},
        {{5, 5, 0}, {0, 0, 1}, 0, "cannot be 0"},
        {{5, 0, 2}, {0, 0, 1}, 0, "without burst rate"},
        {{5, 10, THROTTLE_MAX_VALUE / 10}, {0, 0, 1}, 0, NULL},
        {{5, 10, THROTTLE_MAX_VALUE / 10 + 1}, {0, 0, 1}, 0, "too high"},
        {{5, 0, 1}, {0, 0, 1}, 512, "requires an iops value"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct throttle_config config;

        throttle_config_init(&config);
        config.limit[THROTTLE_BPS_TOTAL] = cases[i].total;
        config.limit[THROTTLE_BPS_READ] = cases[i].read;
        config.op_bytes = cases[i].op_bytes;
        expect(&config, cases[i].error);
    }
}

/* ---- groups */

struct fixture {
    struct event_sink sink; /* first */
    struct loop *main;
    struct block_graph *graph;
    struct throttle_group *group;
    _Atomic int64_t now, deadline; /* deadline: -1, nobody waits */
    unsigned order;                /* of completions */
    gint readers_done;
};

static void no_event(struct event_sink *sink, unsigned event, const char *data)
{
}

static int64_t clock_now(void *opaque)
{
    return ((struct fixture *)opaque)->now;
}

static void clock_arm(void *opaque, int64_t deadline_ns)
{
    ((struct fixture *)opaque)->deadline = deadline_ns;
}

static void add(struct fixture *f, const char *text)
{
    g_autoptr(GError) error = NULL;
    struct blockdev_options *options = blockdev_options_from_keyval(text, "driver", &error);

    if (!options || !block_node_add(f->graph, options, &error)) {
        g_error("%s: %s", text, error->message);
    }
    blockdev_options_free(options);
}

static void set_up(struct fixture *f, gconstpointer limits)
{
    const struct throttle_clock clock = {.opaque = f, .now_ns = clock_now, .arm = clock_arm};
    struct object_options *options = object_options_from_keyval(limits, "qom-type", NULL);

    f->now = 1;
    f->deadline = -1;
    f->sink.emit = no_event;
    f->main = loop_new(NULL);
    g_assert_true(g_main_context_acquire(f->main->context));
    f->graph = block_graph_new(&f->sink, f->main);
    block_graph_set_throttle_clock(f->graph, &clock);
    f->group = throttle_group_new(f->graph, &options->u.throttle_group, "group", NULL);
    g_assert_nonnull(f->group);
    object_options_free(options);
    add(f, "throttle,node-name=a,throttle-group=group,file.driver=null-co");
    add(f, "throttle,node-name=b,throttle-group=group,file.driver=null-co");
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    throttle_group_release(f->group);
    block_graph_free(f->graph);
    g_main_context_release(f->main->context);
    loop_free(f->main);
}

struct io {
    struct block_request request; /* first */
    struct fixture *f;
    struct iovec iov;
    int result;
    unsigned order; /* 0: not done */
};

static void io_done(struct block_request *r, int result)
{
    struct io *io = (struct io *)r;

    g_assert_cmpuint(io->order, ==, 0);
    io->result = result;
    io->order = ++io->f->order;
}

static uint8_t *buffer(void)
{
    static uint8_t bytes[REQUEST_BYTES];

    return bytes;
}

static void start(struct fixture *f, struct block_backend *b, struct io *io, enum block_op op,
                  unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        io[i] = (struct io){.f = f,
                            .iov = {buffer(), REQUEST_BYTES},
                            .request = {.op = op, .n_iov = 1, .done = io_done}};
        io[i].request.bytes = op == BLOCK_FLUSH ? 0 : REQUEST_BYTES;
        io[i].request.iov = &io[i].iov;
        block_backend_submit(b, &io[i].request);
    }
}

static void nothing(void *arg)
{
}

/* Everything that can be done at this time is. */
static void settle(struct fixture *f)
{
    loop_call(block_graph_loop(f->graph), nothing, NULL);
    while (g_main_context_iteration(f->main->context, FALSE)) {
    }
}

static void move_to(struct fixture *f, int64_t to)
{
    settle(f);
    while (f->deadline >= 0 && f->deadline <= to) {
        f->now = f->deadline;
        f->deadline = -1;
        block_throttle_alarm(f->graph);
        settle(f);
    }
    f->now = to;
}

static unsigned count(const struct io *io, unsigned n)
{
    unsigned done = 0;

    for (unsigned i = 0; i < n; i++) {
        done += io[i].order != 0;
        g_assert_cmpint(io[i].result, ==, 0);
    }
    return done;
}

static struct block_backend *attach(struct fixture *f, const char *name)
{
    const struct block_attach how = {.loop = f->main,
                                     .qdev = "/test",
                                     .rerror = BLOCKDEV_ON_ERROR_AUTO,
                                     .werror = BLOCKDEV_ON_ERROR_AUTO};
    struct block_backend *b = block_backend_attach(f->graph, name, &how, NULL);

    g_assert_nonnull(b);
    return b;
}

#define N            100

/* Ten requests a second for both together: a bucket holds one, and one runs it over. */
#define TEN_A_SECOND "throttle-group,id=group,limits.iops-total=10"

static void test_rate(struct fixture *f, gconstpointer unused)
{
    struct block_backend *a = attach(f, "a");
    struct io io[N];

    start(f, a, io, BLOCK_WRITE, N);
    move_to(f, 1);
    g_assert_cmpuint(count(io, N), ==, 2);
    for (unsigned s = 1; s <= 5; s++) {
        move_to(f, s * NS_PER_SEC + NS_PER_MS);
        g_assert_cmpuint(count(io, N), ==, 2 + 10 * s);
    }
    for (unsigned i = 0; i < 52; i++) { /* in their order */
        g_assert_cmpuint(io[i].order, ==, i + 1);
    }
    block_backend_detach(a); /* who is held goes */
    settle(f);
    g_assert_cmpuint(f->order, ==, N);
    block_node_delete(f->graph, "a", NULL);
}

static void test_fair(struct fixture *f, gconstpointer unused)
{
    struct block_backend *a = attach(f, "a"), *b = attach(f, "b");
    struct io first[N], second[N];
    unsigned n;

    start(f, a, first, BLOCK_READ, N); /* all of them before the other's first */
    settle(f);
    start(f, b, second, BLOCK_READ, N);
    move_to(f, 4 * NS_PER_SEC + NS_PER_MS);
    n = count(first, N);
    g_assert_cmpuint(n + count(second, N), ==, 42);
    g_assert_cmpuint(n, >=, 20);
    g_assert_cmpuint(n, <=, 22);
    block_backend_detach(a);
    block_backend_detach(b);
    settle(f);
}

#define FIVE_READS "throttle-group,id=group,limits.iops-read=5"

static void test_directions(struct fixture *f, gconstpointer unused)
{
    struct block_backend *a = attach(f, "a");
    struct io reads[N], writes[N], flush[1];

    start(f, a, reads, BLOCK_READ, N);
    start(f, a, writes, BLOCK_WRITE, N);
    start(f, a, flush, BLOCK_FLUSH, 1);
    move_to(f, 1);
    g_assert_cmpuint(count(writes, N), ==, N); /* not limited, and past the reads */
    g_assert_cmpuint(count(flush, 1), ==, 1);
    g_assert_cmpuint(count(reads, N), ==, 1);
    block_backend_cancel(a); /* a drained section */
    settle(f);
    g_assert_cmpuint(count(reads, N), ==, N);
    start(f, a, reads, BLOCK_READ, 1); /* what went meanwhile counts: 99 too many are 20 s */
    move_to(f, 19 * NS_PER_SEC);
    g_assert_cmpuint(count(reads, 1), ==, 0);
    move_to(f, 21 * NS_PER_SEC);
    g_assert_cmpuint(count(reads, 1), ==, 1);
    block_backend_detach(a);
}

static void change(struct fixture *f, int64_t reads)
{
    const struct throttle_limits limits = {.has_iops_read = true, .iops_read = reads};

    g_assert_true(throttle_group_set_limits(f->group, &limits, NULL));
}

static void test_change(struct fixture *f, gconstpointer unused)
{
    struct block_backend *a = attach(f, "a");
    struct throttle_limits *limits;
    struct io io[N];

    start(f, a, io, BLOCK_READ, N);
    move_to(f, 1);
    g_assert_cmpuint(count(io, N), ==, 1);
    change(f, 20);
    move_to(f, NS_PER_SEC + 2);
    g_assert_cmpuint(count(io, N), ==, 1 + 3 + 20);
    change(f, 0); /* no limit any more */
    settle(f);
    g_assert_cmpuint(count(io, N), ==, N);
    limits = throttle_group_limits(f->group);
    g_assert_cmpint(limits->iops_read, ==, 0);
    g_assert_cmpint(limits->bps_write_max_length, ==, 1);
    throttle_limits_free(limits);
    block_backend_detach(a);
}

/* Whoever waits with the machine lock is not held: here the clock would never move. */
static void test_hurry(struct fixture *f, gconstpointer unused)
{
    struct block_node *node = block_node_find(f->graph, "a");
    struct block_backend *a = attach(f, "a");
    struct io io[N];

    start(f, a, io, BLOCK_READ, N);
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpint(block_node_pread(node, 0, buffer(), 512), ==, 0);
    }
    block_backend_detach(a);
    settle(f);
}

static gpointer read_apart(gpointer data)
{
    struct fixture *f = data;
    int ret = block_node_pread(block_node_find(f->graph, "a"), 0, buffer(), 512);

    g_atomic_int_inc(&f->readers_done);
    return GINT_TO_POINTER(ret);
}

/* A thread that has no lock waits. */
static void test_other_thread(struct fixture *f, gconstpointer unused)
{
    GThread *thread[4];

    for (unsigned i = 0; i < 4; i++) {
        thread[i] = g_thread_new("reader", read_apart, f);
    }
    while (f->deadline < 0) { /* one has gone; the others come */
        g_thread_yield();
    }
    while (g_atomic_int_get(&f->readers_done) < 4) {
        move_to(f, f->now + NS_PER_SEC);
        g_thread_yield();
    }
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpint(GPOINTER_TO_INT(g_thread_join(thread[i])), ==, 0);
    }
}

/* ---- back ends */

static bool limit_device(struct fixture *f, int64_t iops, const char *group, GError **error)
{
    struct block_io_throttle arg = {.id = "/test", .iops = iops, .group = (char *)group};

    return block_set_throttle(f->graph, &arg, error);
}

static void test_device(struct fixture *f, gconstpointer unused)
{
    struct block_info_list *list;
    struct block_backend *b;
    struct io io[N];

    add(f, "null-co,node-name=plain");
    b = attach(f, "plain");
    g_assert_true(limit_device(f, 10, NULL, NULL));
    start(f, b, io, BLOCK_WRITE, N);
    move_to(f, 1);
    g_assert_cmpuint(count(io, N), ==, 2);
    move_to(f, NS_PER_SEC + 2);
    g_assert_cmpuint(count(io, N), ==, 12);
    list = block_query_backends(f->graph);
    g_assert_cmpint(list->v[0]->inserted->iops, ==, 10);
    g_assert_cmpstr(list->v[0]->inserted->group, ==, "/test");
    block_info_list_free(list);
    g_assert_true(limit_device(f, 0, NULL, NULL));
    settle(f);
    g_assert_cmpuint(count(io, N), ==, N);
    list = block_query_backends(f->graph);
    g_assert_null(list->v[0]->inserted->group);
    block_info_list_free(list);
    g_assert_true(limit_device(f, 10, "group", NULL)); /* the object's */
    g_assert_true(throttle_group_is_used(f->group));
    block_backend_detach(b);
}

/* By the host's clock: everything comes in the end. */
static void test_host_clock(void)
{
    struct fixture f = {.sink.emit = no_event, .main = loop_new(NULL)};
    struct block_io_throttle arg = {.id = "/test", .iops = 100};
    struct block_backend *b;
    struct io io[20];

    f.graph = block_graph_new(&f.sink, f.main);
    add(&f, "null-co,node-name=n");
    b = attach(&f, "n");
    g_assert_true(block_set_throttle(f.graph, &arg, NULL));
    start(&f, b, io, BLOCK_READ, G_N_ELEMENTS(io));
    while (count(io, G_N_ELEMENTS(io)) < G_N_ELEMENTS(io)) {
        g_main_context_iteration(f.main->context, TRUE);
    }
    block_backend_detach(b);
    block_graph_free(f.graph);
    loop_free(f.main);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/throttle/average", test_average);
    g_test_add_func("/throttle/requests", test_requests);
    g_test_add_func("/throttle/burst", test_burst);
    g_test_add_func("/throttle/check", test_check);
#define TEST(name, limits, fn)                                                                     \
    g_test_add("/throttle/" name, struct fixture, limits, set_up, fn, tear_down)
    TEST("rate", TEN_A_SECOND, test_rate);
    TEST("fair", TEN_A_SECOND, test_fair);
    TEST("directions", FIVE_READS, test_directions);
    TEST("change", FIVE_READS, test_change);
    TEST("hurry", FIVE_READS, test_hurry);
    TEST("other-thread", FIVE_READS, test_other_thread);
    TEST("device", FIVE_READS, test_device);
    g_test_add_func("/throttle/host-clock", test_host_clock);
    return g_test_run();
}
