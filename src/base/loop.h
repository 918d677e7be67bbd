/*
 * An event loop: one GMainContext, run by one thread.
 *
 * The main thread, the control thread and each I/O thread have one. Sources (file descriptors,
 * timeouts) are GLib's and are attached to loop->context by the loop's own thread.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <glib.h>
#include <stdbool.h>

struct big_lock;

struct loop {
    GMainContext *context;
    GMainLoop *main;
    /* It looks for more for some 40 us after each time that there was something, and sleeps then.
     * Set before it runs; where there is a processor to spare. */
    bool stays_awake;
    struct big_lock *lock; /* held while sources are dispatched, released while polling; or NULL */
};

/* A new loop. lock may be NULL; else it is taken around every dispatch (not around polling). */
struct loop *loop_new(struct big_lock *lock);
void loop_free(struct loop *loop); /* NULL is fine; the loop must not be running */

/* Runs until loop_quit(). Call from the owning thread. */
void loop_run(struct loop *loop);

/* Waits for something to do, and does it, once. For a loop without lock whose threads take turns;
 * not while another is in here. */
void loop_run_once(struct loop *loop);
/* Whether the calling thread is in the loop, or has borrowed it. */
bool loop_is_here(const struct loop *loop);

/*
 * A loop with a lock sleeps most of the time. Another thread that has something for it, and finds
 * it asleep, may do that itself instead of waking it: it borrows the loop, with the lock, and the
 * loop's own thread dispatches nothing until loop_return(). What is posted meanwhile, by the
 * borrower too, comes after that. false: the loop has something to do, has been borrowed, or does
 * not run; nothing is waited for. Not from within a loop.
 */
bool loop_borrow(struct loop *loop);
void loop_return(struct loop *loop);

/* Ends loop_run() soon. Any thread, async-signal-unsafe. */
void loop_quit(struct loop *loop);

/* Runs fn(arg) once on the loop's thread, in order of posting. Any thread. */
void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);

/* As loop_post(), and waits until fn has returned. Not from the loop's own thread, and never with a
 * lock held that the loop needs. */
void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg);

/* A bell: ringing it, any number of times and from any thread, has fn(arg) run once on the loop's
 * thread. loop_bell_free() on the loop's thread, or while it can't dispatch: fn is not called any
 * more. NULL is fine. */
GSource *loop_bell_new(struct loop *loop, void (*fn)(void *arg), void *arg);
void loop_bell_ring(GSource *bell);
void loop_bell_free(GSource *bell);

/* Calls fn(fd, condition, arg) on the loop's thread when poll(2) reports any of `events`.
 * fn returns false to remove the watch. Returns the source, owned by the loop; end it with
 * g_source_destroy() on the loop's thread. */
typedef bool (*loop_fd_fn)(int fd, GIOCondition condition, void *arg);
GSource *loop_watch_fd(struct loop *loop, int fd, GIOCondition events, loop_fd_fn fn, void *arg);
/* Ends a watch, if there is one, on the loop's thread or with its lock held; *watch becomes NULL.
 */
void loop_unwatch(GSource **watch);

#endif
