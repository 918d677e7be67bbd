/*
 * The event loop: a GMainContext whose poll function gives up the loop's lock while it sleeps.
 *
 * GLib's poll function has no argument, so the thread that runs a loop notes it in a thread-local.
 * loop_post() has one queue and one source for all posted functions, and wakes the context when the
 * queue was empty.
 *
 * The loop's lock alone does not say that the loop is asleep: whoever waits for something within a
 * dispatch may give it up (vcpus_pause_all() does). So there is a second one, the turn, which the
 * loop's thread has whenever it does not sleep in poll(), and which a borrower takes.
 */
#include "base/loop.h"
#include "base/lock.h"
#include "base/threads.h"
#include <glib-unix.h>
#include <string.h>

/* A loop that watches more is not looked at closer, and so not borrowed. */
#define BORROW_FDS_MAX 64

struct posted {
    void (*fn)(void *arg);
    void *arg;
};

/* The source that runs posted functions. It is ready while the queue is not empty: with a ready
 * time instead each change of that would wake the loop once more. */
struct post_source {
    GSource source;
    GMutex mutex;
    GArray *queue; /* struct posted; under mutex */
};

struct loop_private {
    struct loop loop; /* first */
    struct post_source *post;
    struct big_lock turn; /* with loop.lock only */
    bool open;            /* under turn: the loop runs */
    const GPollFD *fds;   /* what poll() sleeps on, n_fds of them; constant under turn */
    guint n_fds;
    unsigned sleeps_at_once;  /* the loop's thread only: see poll_awake() */
    _Atomic bool turn_wanted; /* the loop's thread waits for it: nobody borrows again before */
};

static _Thread_local struct loop *running_loop;

/* The turn comes before the lock. */
static void locks_acquire(struct loop *loop)
{
    struct loop_private *p = (struct loop_private *)loop;

    if (loop->lock) {
        if (!big_lock_try_acquire(&p->turn)) {
            atomic_store(&p->turn_wanted, true);
            big_lock_acquire(&p->turn);
            atomic_store(&p->turn_wanted, false);
        }
        big_lock_acquire(loop->lock);
    }
}

static void locks_release(struct loop *loop)
{
    if (loop->lock) {
        big_lock_release(loop->lock);
        big_lock_release(&((struct loop_private *)loop)->turn);
    }
}

/* Who has just sent something may soon send more, and a sleep and a wake-up take longer than a
 * short wait: so the loop stays awake for a moment after it has had something to do. In vain it
 * does so when nobody sends, or when the sender is to run on this very processor: then it goes
 * to sleep at once for the next few times. */
#define STAY_AWAKE_US  40
#define SLEEPS_AT_ONCE 16

static gint poll_awake(struct loop_private *p, GPollFD *fds, guint n)
{
    int64_t end_us = g_get_monotonic_time() + STAY_AWAKE_US;
    gint result;

    do {
        result = g_poll(fds, n, 0);
    } while (result == 0 && g_get_monotonic_time() < end_us);
    p->sleeps_at_once = result == 0 ? SLEEPS_AT_ONCE : 0;
    return result;
}

static gint loop_poll(GPollFD *fds, guint n, gint timeout_ms)
{
    struct loop *loop = running_loop;
    gint result = 0;

    if (loop) {
        ((struct loop_private *)loop)->fds = fds;
        ((struct loop_private *)loop)->n_fds = n;
        locks_release(loop);
    }
    if (loop && loop->stays_awake && timeout_ms != 0) {
        struct loop_private *p = (struct loop_private *)loop;
        if (p->sleeps_at_once == 0) {
            result = poll_awake(p, fds, n);
        } else {
            p->sleeps_at_once--;
        }
    }
    if (result == 0) {
        result = g_poll(fds, n, timeout_ms);
    }
    if (loop) {
        locks_acquire(loop);
    }
    return result;
}

static gboolean post_check(GSource *source)
{
    struct post_source *post = (struct post_source *)source;
    bool ready;

    g_mutex_lock(&post->mutex);
    ready = post->queue->len > 0;
    g_mutex_unlock(&post->mutex);
    return ready;
}

static gboolean post_prepare(GSource *source, gint *timeout_ms)
{
    *timeout_ms = -1;
    return post_check(source);
}

static gboolean post_dispatch(GSource *source, GSourceFunc fn, gpointer opaque)
{
    struct post_source *post = (struct post_source *)source;
    GArray *batch, *fresh = g_array_new(FALSE, FALSE, sizeof(struct posted));

    g_mutex_lock(&post->mutex);
    batch = post->queue;
    post->queue = fresh;
    g_mutex_unlock(&post->mutex);
    for (guint i = 0; i < batch->len; i++) {
        struct posted *p = &g_array_index(batch, struct posted, i);

        p->fn(p->arg);
    }
    g_array_unref(batch);
    return G_SOURCE_CONTINUE;
}

static void post_finalize(GSource *source)
{
    struct post_source *post = (struct post_source *)source;

    g_array_unref(post->queue);
    g_mutex_clear(&post->mutex);
}

static GSourceFuncs post_funcs = {.prepare = post_prepare,
                                  .check = post_check,
                                  .dispatch = post_dispatch,
                                  .finalize = post_finalize};

struct loop *loop_new(struct big_lock *lock)
{
    struct loop_private *p = g_new0(struct loop_private, 1);

    p->loop.lock = lock;
    big_lock_init(&p->turn);
    p->loop.context = g_main_context_new();
    p->loop.main = g_main_loop_new(p->loop.context, FALSE);
    g_main_context_set_poll_func(p->loop.context, loop_poll);

    p->post = (struct post_source *)g_source_new(&post_funcs, sizeof(struct post_source));
    g_mutex_init(&p->post->mutex);
    p->post->queue = g_array_new(FALSE, FALSE, sizeof(struct posted));
    g_source_set_static_name(&p->post->source, "posted functions");
    g_source_attach(&p->post->source, p->loop.context);
    return &p->loop;
}

void loop_free(struct loop *loop)
{
    struct loop_private *p = (struct loop_private *)loop;

    if (!loop) {
        return;
    }
    g_source_destroy(&p->post->source);
    g_source_unref(&p->post->source);
    g_main_loop_unref(loop->main);
    g_main_context_unref(loop->context);
    g_free(p);
}

void loop_run(struct loop *loop)
{
    struct loop *outer = running_loop;

    running_loop = loop;
    g_main_context_push_thread_default(loop->context);
    locks_acquire(loop);
    ((struct loop_private *)loop)->open = true;
    g_main_loop_run(loop->main);
    ((struct loop_private *)loop)->open = false;
    locks_release(loop);
    g_main_context_pop_thread_default(loop->context);
    running_loop = outer;
}

void loop_run_once(struct loop *loop)
{
    g_assert(!running_loop && !loop->lock);
    running_loop = loop;
    g_main_context_iteration(loop->context, TRUE);
    running_loop = NULL;
}

bool loop_is_here(const struct loop *loop)
{
    return running_loop == loop;
}

/* Turn held. Whether there is something for the loop's thread, be it that it has not woken up yet:
 * who came first is served first. */
static bool has_something(struct loop_private *p)
{
    GPollFD fds[BORROW_FDS_MAX];

    if (post_check(&p->post->source) || p->n_fds > BORROW_FDS_MAX) {
        return true;
    }
    memcpy(fds, p->fds, p->n_fds * sizeof(*fds));
    return g_poll(fds, p->n_fds, 0) != 0;
}

bool loop_borrow(struct loop *loop)
{
    struct loop_private *p = (struct loop_private *)loop;

    g_assert(!running_loop && loop->lock);
    if (atomic_load(&p->turn_wanted) || !big_lock_try_acquire(&p->turn)) {
        return false;
    }
    if (!p->open || has_something(p) || !big_lock_try_acquire(loop->lock)) {
        big_lock_release(&p->turn);
        return false;
    }
    running_loop = loop;
    return true;
}

void loop_return(struct loop *loop)
{
    g_assert(running_loop == loop);
    running_loop = NULL;
    locks_release(loop);
    if (post_check(&((struct loop_private *)loop)->post->source)) {
        g_main_context_wakeup(loop->context); /* loop_post() left it to this thread */
    }
}

static void loop_quit_now(void *arg)
{
    struct loop *loop = arg;

    g_main_loop_quit(loop->main);
}

void loop_quit(struct loop *loop)
{
    /* Posted, so that a quit just before loop_run() is not lost. */
    loop_post(loop, loop_quit_now, loop);
}

void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    struct post_source *post = ((struct loop_private *)loop)->post;
    struct posted p = {.fn = fn, .arg = arg};
    bool first;

    g_mutex_lock(&post->mutex);
    first = post->queue->len == 0;
    g_array_append_val(post->queue, p);
    g_mutex_unlock(&post->mutex);
    if (first && running_loop != loop) { /* a loop's own thread looks before it sleeps */
        g_main_context_wakeup(loop->context);
    }
}

struct call {
    void (*fn)(void *arg);
    void *arg;
    GMutex mutex;
    GCond done_cond;
    bool done;
};

static void call_run(void *arg)
{
    struct call *call = arg;

    call->fn(call->arg);
    g_mutex_lock(&call->mutex);
    call->done = true;
    g_cond_signal(&call->done_cond);
    g_mutex_unlock(&call->mutex);
}

void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    struct call call = {.fn = fn, .arg = arg};

    g_assert(running_loop != loop);
    g_mutex_init(&call.mutex);
    g_cond_init(&call.done_cond);
    loop_post(loop, call_run, &call);
    g_mutex_lock(&call.mutex);
    thread_wait_begin("a function on another thread", NULL);
    while (!call.done) {
        g_cond_wait(&call.done_cond, &call.mutex);
    }
    thread_wait_end();
    g_mutex_unlock(&call.mutex);
    g_cond_clear(&call.done_cond);
    g_mutex_clear(&call.mutex);
}

struct fd_watch {
    loop_fd_fn fn;
    void *arg;
};

static gboolean fd_watch_ready(gint fd, GIOCondition condition, gpointer opaque)
{
    struct fd_watch *watch = opaque;

    return watch->fn(fd, condition, watch->arg) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

GSource *loop_watch_fd(struct loop *loop, int fd, GIOCondition events, loop_fd_fn fn, void *arg)
{
    GSource *source = g_unix_fd_source_new(fd, events);
    struct fd_watch *watch = g_new(struct fd_watch, 1);

    watch->fn = fn;
    watch->arg = arg;
    g_source_set_callback(source, G_SOURCE_FUNC(fd_watch_ready), watch, g_free);
    /* No loop runs within another, but unless this is said, GLib takes the descriptor out of the
     * poll set and puts it back around each call, waking the loop twice. */
    g_source_set_can_recurse(source, TRUE);
    g_source_attach(source, loop->context);
    g_source_unref(source);
    return source;
}

void loop_unwatch(GSource **watch)
{
    if (*watch) {
        g_source_destroy(g_steal_pointer(watch));
    }
}

struct bell_source {
    GSource source;
    void (*fn)(void *arg);
    void *arg;
};

static gboolean bell_dispatch(GSource *source, GSourceFunc fn, gpointer opaque)
{
    struct bell_source *bell = (struct bell_source *)source;

    g_source_set_ready_time(source, -1);
    bell->fn(bell->arg);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs bell_funcs = {.dispatch = bell_dispatch};

GSource *loop_bell_new(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    GSource *source = g_source_new(&bell_funcs, sizeof(struct bell_source));
    struct bell_source *bell = (struct bell_source *)source;

    bell->fn = fn;
    bell->arg = arg;
    g_source_set_static_name(source, "bell");
    g_source_attach(source, loop->context);
    return source;
}

void loop_bell_ring(GSource *bell)
{
    g_source_set_ready_time(bell, 0);
}

void loop_bell_free(GSource *bell)
{
    if (bell) {
        g_source_destroy(bell);
        g_source_unref(bell);
    }
}
