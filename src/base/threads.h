/*
 * Threads, and what each is doing: for people and clients who ask why a machine stands still.
 *
 * A thread says at its start who it is, and around what may take long what it does; that costs a
 * few stores. Everything else is found out when somebody asks: from /proc, and for stacks by a
 * signal whose handler takes down its own. System calls of a thread that is asked may so return
 * EINTR.
 */
#ifndef BASE_THREADS_H
#define BASE_THREADS_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>

#define THREAD_NAME_BYTES 16
#define THREAD_FRAMES_MAX 24

enum thread_kind { THREAD_MAIN, THREAD_CONTROL, THREAD_VCPU, THREAD_IO, THREAD_OTHER };

/* The calling thread is one of the program's own until thread_end(). The name is copied. */
void thread_begin(const char *name, enum thread_kind kind);
void thread_end(void);

/* Whether the calling thread began as one of that kind. */
bool thread_is(enum thread_kind kind);

/*
 * What the calling thread does until thread_doing_end(): "command", "stop". Both strings must live
 * for ever; subject may be NULL. Sections nest. Nothing happens on threads that did not begin.
 */
struct thread_doing {
    const char *what, *subject;
};
void thread_doing_begin(struct thread_doing *outer, const char *what, const char *subject);
void thread_doing_end(const struct thread_doing *outer);

/* The calling thread waits for something that has an owner: *owner is the thread_token() of who has
 * it, or NULL. owner itself may be NULL; else it lives for ever, or as long as threads are listed.
 */
void thread_wait_begin(const char *what, const _Atomic(const void *) *owner);
void thread_wait_end(void);

/* An address that is the calling thread's own. */
extern _Thread_local char thread_own_byte;
static inline const void *thread_token(void)
{
    return &thread_own_byte;
}

struct thread_info {
    char name[THREAD_NAME_BYTES];
    enum thread_kind kind;
    int tid;
    char state;            /* as in /proc/PID/stat: R, S, D, ...; '?' when it is not known */
    const char *doing;     /* NULL: nothing that was told of */
    const char *subject;   /* of it, or NULL */
    const char *waits_for; /* or NULL */
    int held_by;           /* tid of who has what it waits for; 0: nobody, or not known */
    char call[32];         /* the system call that it is in; "" for none */
    unsigned n_frames;     /* innermost first */
    void *frame[THREAD_FRAMES_MAX];
};

/* All threads of the process, struct thread_info, owned by the caller. With stacks it may take some
 * ten milliseconds for each thread that does not answer. Any thread. */
GArray *threads_list(bool stacks);

#endif
