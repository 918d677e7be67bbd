/* The event loop, the machine lock, the virtual clock and state tables. */
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/state.h"
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- loop */

struct order {
    struct loop *loop;
    GString *text;
    struct big_lock *lock;
};

static void order_b(void *arg)
{
    struct order *o = arg;

    g_string_append_c(o->text, 'b');
    loop_quit(o->loop);
}

static void order_a(void *arg)
{
    struct order *o = arg;

    g_string_append_c(o->text, 'a');
    loop_post(o->loop, order_b, o);
    g_string_append_c(o->text, 'A'); /* before b: nothing runs inline */
    if (o->lock) {
        g_assert_true(big_lock_held(o->lock));
    }
}

static void test_post_order(void)
{
    struct big_lock lock;
    struct order o = {.text = g_string_new(NULL), .lock = &lock};

    big_lock_init(&lock);
    o.loop = loop_new(&lock);
    loop_post(o.loop, order_a, &o);
    g_assert_cmpstr(o.text->str, ==, "");
    loop_run(o.loop);
    g_assert_cmpstr(o.text->str, ==, "aAb");
    g_assert_false(big_lock_held(&lock));
    loop_free(o.loop);
    g_string_free(o.text, TRUE);
}

static void test_quit_before_run(void)
{
    struct loop *loop = loop_new(NULL);

    loop_quit(loop);
    loop_run(loop); /* must come back */
    loop_free(loop);
}

static gpointer run_thread(gpointer arg)
{
    loop_run(arg);
    return NULL;
}

static void note_thread(void *arg)
{
    *(GThread **)arg = g_thread_self();
}

static void test_call(void)
{
    struct big_lock lock;
    struct loop *loop;
    GThread *thread, *seen = NULL;

    big_lock_init(&lock);
    loop = loop_new(&lock);
    thread = g_thread_new("loop", run_thread, loop);
    loop_call(loop, note_thread, &seen);
    g_assert_true(seen == thread);

    /* The loop sleeps without the lock: it can be had. */
    big_lock_acquire(&lock);
    g_assert_true(big_lock_held(&lock));
    big_lock_release(&lock);

    loop_quit(loop);
    g_thread_join(thread);
    loop_free(loop);
}

struct lent {
    struct loop *loop;
    struct big_lock lock;
    _Atomic bool returned, ran, at_work, go_on;
    int pipe[2];
};

static void note_return(void *arg)
{
    struct lent *l = arg;

    g_assert_true(atomic_load(&l->returned) && loop_is_here(l->loop));
    atomic_store(&l->ran, true);
}

/* As who waits for a vCPU does: without the lock, in the middle of its work. */
static void work_without_lock(void *arg)
{
    struct lent *l = arg;

    big_lock_release(&l->lock);
    atomic_store(&l->at_work, true);
    while (!atomic_load(&l->go_on)) {
        g_thread_yield();
    }
    big_lock_acquire(&l->lock);
}

static gpointer post_to_lent(gpointer arg)
{
    struct lent *l = arg;

    loop_post(l->loop, note_return, l);
    return NULL;
}

/* Until the loop sleeps. */
static void borrow(struct lent *l)
{
    while (!loop_borrow(l->loop)) {
        g_thread_yield();
    }
    g_assert_true(big_lock_held(&l->lock) && loop_is_here(l->loop));
    atomic_store(&l->returned, false);
    atomic_store(&l->ran, false);
}

static void give_back(struct lent *l)
{
    atomic_store(&l->returned, true);
    loop_return(l->loop);
    g_assert_false(big_lock_held(&l->lock) || loop_is_here(l->loop));
}

static void await_ran(struct lent *l)
{
    while (!atomic_load(&l->ran)) {
        g_thread_yield();
    }
}

static void test_borrow(void)
{
    struct lent l = {0};
    GThread *thread;

    big_lock_init(&l.lock);
    l.loop = loop_new(&l.lock);
    g_assert_false(loop_borrow(l.loop)); /* nobody runs it */
    thread = g_thread_new("loop", run_thread, l.loop);
    for (unsigned i = 0; i < 200; i++) {
        borrow(&l); /* what is posted meanwhile, here or there, is run afterwards */
        if (i % 2) {
            loop_post(l.loop, note_return, &l);
        } else {
            g_thread_join(g_thread_new("poster", post_to_lent, &l));
        }
        give_back(&l);
        await_ran(&l);
    }
    loop_post(l.loop, work_without_lock, &l);
    while (!atomic_load(&l.at_work)) {
        g_thread_yield();
    }
    g_assert_false(loop_borrow(l.loop));
    big_lock_acquire(&l.lock);
    big_lock_release(&l.lock);
    atomic_store(&l.go_on, true);
    borrow(&l);
    loop_quit(l.loop);
    give_back(&l);
    g_thread_join(thread);
    g_assert_false(loop_borrow(l.loop));
    loop_free(l.loop);
}

/* Gives a sleeping loop something to do and borrows it at once, many times: what was there before
 * comes first, also when the loop has not woken up for it yet. */
static void borrow_after(void (*give)(struct lent *l), struct lent *l)
{
    GThread *thread = g_thread_new("loop", run_thread, l->loop);

    for (unsigned i = 0; i < 2000; i++) {
        borrow(l);
        give_back(l);
        give(l);
        while (!loop_borrow(l->loop)) {
            g_thread_yield();
        }
        g_assert_true(atomic_load(&l->ran));
        loop_return(l->loop);
    }
    loop_quit(l->loop);
    g_thread_join(thread);
    loop_free(l->loop);
}

static void give_function(struct lent *l)
{
    loop_post(l->loop, note_return, l);
}

static void test_borrow_after_posts(void)
{
    struct lent l = {0};

    big_lock_init(&l.lock);
    l.loop = loop_new(&l.lock);
    borrow_after(give_function, &l);
}

static bool note_byte(int fd, GIOCondition condition, void *arg)
{
    struct lent *l = arg;
    char c;

    g_assert_cmpint(read(fd, &c, 1), ==, 1);
    atomic_store(&l->ran, true);
    return true;
}

static void give_byte(struct lent *l)
{
    g_assert_cmpint(write(l->pipe[1], "x", 1), ==, 1);
}

static void test_borrow_after_input(void)
{
    struct lent l = {0};

    big_lock_init(&l.lock);
    l.loop = loop_new(&l.lock);
    g_assert_cmpint(pipe(l.pipe), ==, 0);
    loop_watch_fd(l.loop, l.pipe[0], G_IO_IN, note_byte, &l);
    borrow_after(give_byte, &l);
    close(l.pipe[0]);
    close(l.pipe[1]);
}

static bool pipe_ready(int fd, GIOCondition condition, void *arg)
{
    struct order *o = arg;
    char c;

    g_assert_cmpint(read(fd, &c, 1), ==, 1);
    g_string_append_c(o->text, c);
    if (c == 'z') {
        loop_quit(o->loop);
        return false;
    }
    return true;
}

static void test_watch(void)
{
    struct order o = {.text = g_string_new(NULL), .loop = loop_new(NULL)};
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    loop_watch_fd(o.loop, fds[0], G_IO_IN, pipe_ready, &o);
    g_assert_cmpint(write(fds[1], "xyz", 3), ==, 3);
    loop_run(o.loop);
    g_assert_cmpstr(o.text->str, ==, "xyz");
    close(fds[0]);
    close(fds[1]);
    loop_free(o.loop);
    g_string_free(o.text, TRUE);
}

/* ---- clock */

#define N_TIMERS 200

struct fired {
    struct vclock *clock;
    struct vtimer timer;
    int64_t expected_ns;
    unsigned count;
    struct loop *loop;
};

static void fire(void *opaque)
{
    struct fired *f = opaque;

    g_assert_cmpint(vclock_now(f->clock), ==, f->expected_ns);
    g_assert_false(vtimer_pending(&f->timer));
    f->count++;
}

static void test_step(void)
{
    struct vclock *clock = vclock_new(NULL, true);
    struct fired *f = g_new0(struct fired, N_TIMERS);
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    int64_t first = INT64_MAX;

    g_assert_cmpint(vclock_deadline(clock), ==, -1);
    for (int i = 0; i < N_TIMERS; i++) {
        f[i].clock = clock;
        vtimer_init(&f[i].timer, clock, fire, &f[i]);
        vtimer_set(&f[i].timer, 5);
        f[i].expected_ns = g_rand_int_range(rand, 1, 1000);
        vtimer_set(&f[i].timer, f[i].expected_ns);
    }
    for (int i = 0; i < N_TIMERS; i += 3) {
        vtimer_cancel(&f[i].timer);
        vtimer_cancel(&f[i].timer);
    }
    for (int i = 0; i < N_TIMERS; i++) {
        if (vtimer_pending(&f[i].timer)) {
            first = MIN(first, f[i].expected_ns);
        }
    }
    g_assert_cmpint(vclock_deadline(clock), ==, first);
    vclock_step(clock, 500);
    g_assert_cmpint(vclock_now(clock), ==, 500);
    for (int i = 0; i < N_TIMERS; i++) {
        g_assert_cmpuint(f[i].count, ==, i % 3 != 0 && f[i].expected_ns <= 500);
    }
    vclock_step(clock, 100); /* never backwards */
    g_assert_cmpint(vclock_now(clock), ==, 500);
    vclock_step(clock, 2000);
    for (int i = 0; i < N_TIMERS; i++) {
        g_assert_cmpuint(f[i].count, ==, i % 3 != 0);
    }
    g_assert_cmpint(vclock_deadline(clock), ==, -1);
    vclock_free(clock);
    g_free(f);
}

static void periodic(void *opaque)
{
    struct fired *f = opaque;

    f->count++;
    f->expected_ns += 10;
    vtimer_set(&f->timer, f->expected_ns);
}

static void test_periodic(void)
{
    struct vclock *clock = vclock_new(NULL, true);
    struct fired f = {.clock = clock, .expected_ns = 10};

    vtimer_init(&f.timer, clock, periodic, &f);
    vtimer_set(&f.timer, 10);
    vclock_step(clock, 1000);
    g_assert_cmpuint(f.count, ==, 100);
    vclock_free(clock);
}

static void fire_quit(void *opaque)
{
    struct fired *f = opaque;

    f->count++;
    g_assert_cmpint(vclock_now(f->clock), >=, f->expected_ns);
    loop_quit(f->loop);
}

static void test_running(void)
{
    struct loop *loop = loop_new(NULL);
    struct vclock *clock = vclock_new(loop, false);
    struct fired f = {.clock = clock, .loop = loop};
    int64_t stopped;

    g_assert_cmpint(vclock_now(clock), ==, 0);
    vtimer_init(&f.timer, clock, fire_quit, &f);
    vtimer_set(&f.timer, 100 * NS_PER_SEC); /* set later ... */
    f.expected_ns = 3 * NS_PER_MS;
    vtimer_set(&f.timer, f.expected_ns); /* ... then earlier, while stopped */
    vclock_start(clock);
    vclock_start(clock);
    loop_run(loop);
    g_assert_cmpuint(f.count, ==, 1);

    vclock_stop(clock);
    stopped = vclock_now(clock);
    g_usleep(2000);
    g_assert_cmpint(vclock_now(clock), ==, stopped);
    vclock_set(clock, 50 * NS_PER_SEC);
    g_assert_cmpint(vclock_now(clock), ==, 50 * NS_PER_SEC);
    f.expected_ns = 0;
    vtimer_set(&f.timer, 1); /* long past: at once */
    vclock_start(clock);
    loop_run(loop);
    g_assert_cmpuint(f.count, ==, 2);
    g_assert_cmpint(vclock_now(clock), >=, 50 * NS_PER_SEC);
    vclock_free(clock);
    loop_free(loop);
}

struct readers {
    struct vclock *clock;
    _Atomic int64_t latest;
    _Atomic bool done;
};

/* Nobody is told an earlier time than what somebody was told before. */
static gpointer read_time(gpointer arg)
{
    struct readers *r = arg;

    while (!atomic_load(&r->done)) {
        int64_t before = atomic_load(&r->latest), now = vclock_now(r->clock);

        g_assert_cmpint(now, >=, before);
        while (now > before && !atomic_compare_exchange_weak(&r->latest, &before, now)) {
        }
    }
    return NULL;
}

static int64_t host_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

/* Whatever vclock_now() reads, it is CLOCK_MONOTONIC while the clock runs, and monotonic. */
static void test_time_passes(void)
{
    struct loop *loop = loop_new(NULL);
    struct readers r = {.clock = vclock_new(loop, false)};
    GThread *thread[2];

    for (unsigned i = 0; i < 2; i++) {
        thread[i] = g_thread_new("reader", read_time, &r);
    }
    for (unsigned round = 0; round < 3; round++) {
        int64_t least = INT64_MIN, most = INT64_MAX; /* of the clock less the host's */

        vclock_start(r.clock);
        for (int64_t end = host_ns() + 20 * NS_PER_MS; host_ns() < end;) {
            int64_t before = host_ns(), now = vclock_now(r.clock), after = host_ns();

            least = MAX(least, now - after);
            most = MIN(most, now - before);
        }
        g_assert_cmpint(least, <=, most + 20 * NS_PER_US); /* one offset suits all readings */
        vclock_stop(r.clock);
        g_assert_cmpint(vclock_now(r.clock), ==, vclock_now(r.clock));
    }
    atomic_store(&r.done, true);
    for (unsigned i = 0; i < 2; i++) {
        g_thread_join(thread[i]);
    }
    vclock_free(r.clock);
    loop_free(loop);
}

static gpointer set_from_thread(gpointer arg)
{
    struct fired *f = arg;

    vtimer_set(&f->timer, vclock_now(f->clock) + NS_PER_MS);
    return NULL;
}

static void test_set_from_thread(void)
{
    struct loop *loop = loop_new(NULL);
    struct vclock *clock = vclock_new(loop, false);
    struct fired f = {.clock = clock, .loop = loop};
    GThread *thread;

    vtimer_init(&f.timer, clock, fire_quit, &f);
    vclock_start(clock);
    thread = g_thread_new("setter", set_from_thread, &f);
    loop_run(loop); /* sleeping without a timeout unless the setter wakes it */
    g_thread_join(thread);
    g_assert_cmpuint(f.count, ==, 1);
    vclock_free(clock);
    loop_free(loop);
}

/* ---- state tables */

struct inner {
    uint16_t a;
    uint8_t b, hole;
};
struct outer {
    uint64_t x;
    struct inner in[2];
    uint32_t y[3];
    bool z;
    uint8_t pad[3];
};
static const struct state_field inner_full[] = {
    STATE(struct inner, a), STATE(struct inner, b), STATE_PAD(struct inner, hole), {0}};
static const struct state_field inner_gap[] = {STATE(struct inner, a), STATE(struct inner, b), {0}};
#define OUTER(inner)                                                                               \
    {                                                                                              \
        STATE(struct outer, x), STATE_STRUCT_ARRAY(struct outer, in, inner),                       \
            STATE_ARRAY(struct outer, y), STATE_MAX(struct outer, z, 1),                           \
            STATE_PAD(struct outer, pad),                                                          \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
static const struct state_field outer_full[] = OUTER(inner_full), outer_gap[] = OUTER(inner_gap);

static void test_state_coverage(void)
{
    struct state_desc desc = {.name = "t", .size = sizeof(struct outer), .fields = outer_full};

    g_assert_cmpuint(state_first_uncovered(&desc), ==, sizeof(struct outer));
    desc.fields = outer_gap;
    g_assert_cmpuint(state_first_uncovered(&desc), ==, 8 + offsetof(struct inner, hole));
    g_assert_cmpuint(state_first_uncovered(&state_none), ==, 0);
}

/* ---- log */

static void test_guest_log_limit(void)
{
    FILE *file = tmpfile();
    char buf[64];
    unsigned lines = 0;

    log_set_file(file);
    log_guest("silent");
    log_guest_enable(true);
    for (int i = 0; i < 1000; i++) {
        log_guest("line %d\n", i);
    }
    log_guest_enable(false);
    log_set_file(NULL);
    rewind(file);
    while (fgets(buf, sizeof(buf), file)) {
        g_assert_true(g_str_has_prefix(buf, "godwit: guest: "));
        lines++;
    }
    fclose(file);
    g_assert_cmpuint(lines, >=, 20);
    g_assert_cmpuint(lines, <, 100);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/loop/post-order", test_post_order);
    g_test_add_func("/base/loop/quit-before-run", test_quit_before_run);
    g_test_add_func("/base/loop/call", test_call);
    g_test_add_func("/base/loop/borrow", test_borrow);
    g_test_add_func("/base/loop/borrow-after-posts", test_borrow_after_posts);
    g_test_add_func("/base/loop/borrow-after-input", test_borrow_after_input);
    g_test_add_func("/base/loop/watch", test_watch);
    g_test_add_func("/base/clock/step", test_step);
    g_test_add_func("/base/clock/periodic", test_periodic);
    g_test_add_func("/base/clock/running", test_running);
    g_test_add_func("/base/clock/time-passes", test_time_passes);
    g_test_add_func("/base/clock/set-from-thread", test_set_from_thread);
    g_test_add_func("/base/state/coverage", test_state_coverage);
    g_test_add_func("/base/log/guest-limit", test_guest_log_limit);
    return g_test_run();
}
