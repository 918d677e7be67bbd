/* The control thread and the one that takes its place: who runs the loop, and when. */
#include "monitor/control.h"

#include <glib.h>
#include <stdatomic.h>

struct fixture {
    struct loop *loop;
    struct control *control;
    GThread *leader;          /* who was in the loop last */
    _Atomic bool served;      /* the loop has done something while somebody was away */
    _Atomic unsigned asides;  /* that are over */
    _Atomic unsigned refused; /* second ones in the same round */
    bool wait;
};

static void set_up(struct fixture *f, gconstpointer unused)
{
    f->loop = loop_new(NULL);
    f->control = control_new(f->loop);
    control_start(f->control);
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    control_free(f->control);
    loop_free(f->loop);
}

static void serve(void *arg)
{
    struct fixture *f = arg;

    g_assert_true(loop_is_here(f->loop));
    g_assert_true(g_thread_self() != f->leader);
    atomic_store(&f->served, true);
}

/* Nothing but the other thread can let this one go on, if it is to wait. */
static void aside(void *arg)
{
    struct fixture *f = arg;

    g_assert_true(g_thread_self() == f->leader);
    g_assert_false(loop_is_here(f->loop));
    if (f->wait) {
        loop_post(f->loop, serve, f);
        while (!atomic_load(&f->served)) {
            g_thread_yield();
        }
    }
    atomic_fetch_add(&f->asides, 1);
}

static void begin(void *arg)
{
    struct fixture *f = arg;

    f->leader = g_thread_self();
    atomic_store(&f->served, false);
    g_assert_true(control_put_aside(f->control, aside, f));
    atomic_fetch_add(&f->refused, !control_put_aside(f->control, aside, f));
}

static void await_asides(struct fixture *f, unsigned n)
{
    while (atomic_load(&f->asides) < n) {
        g_thread_yield();
    }
}

/* Whoever stays away loses the loop to the other, to and fro. */
static void test_takes_over(struct fixture *f, gconstpointer unused)
{
    GThread *leader = NULL;

    f->wait = true;
    for (unsigned i = 1; i <= 20; i++) {
        loop_call(f->loop, begin, f);
        await_asides(f, i);
        g_assert_true(f->leader != leader);
        leader = f->leader;
    }
    g_assert_cmpuint(atomic_load(&f->refused), ==, 20);
}

/* Many short ones, with pauses in which the watcher falls asleep now and then. */
static void test_short_ones(struct fixture *f, gconstpointer unused)
{
    for (unsigned i = 1; i <= 5000; i++) {
        loop_call(f->loop, begin, f);
        await_asides(f, i);
        if (i % 1000 == 0) {
            g_usleep(80 * 1000);
        }
    }
}

/* The end comes at once: not started, with nothing ever put aside, and while the watch is on. */
static void test_end(struct fixture *f, gconstpointer unused)
{
    struct loop *loop = loop_new(NULL);

    control_free(control_new(loop));
    loop_free(loop);
    for (unsigned i = 0; i < 20; i++) {
        tear_down(f, NULL);
        set_up(f, NULL);
        if (i % 2) {
            loop_call(f->loop, begin, f);
        }
    }
}

#define ADD(path, fn) g_test_add(path, struct fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/control/takes-over", test_takes_over);
    ADD("/control/short-ones", test_short_ones);
    ADD("/control/end", test_end);
    return g_test_run();
}
