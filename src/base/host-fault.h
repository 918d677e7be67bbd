/*
 * Failures of the host's memory: SIGBUS (sigaction(2); Linux, Documentation/mm/hwpoison.rst).
 *
 * One handler for the process takes them, in whatever thread and at whatever instruction, and does
 * what can be done there: a failure in memory that was registered here (guest RAM) is noted and the
 * thread goes on, over a page of zeros in place of the lost one; it is a matter of the noted
 * fault's reader that nobody relies on them. A failure anywhere else ends the process by that
 * signal, with a line in the log.
 */
#ifndef BASE_HOST_FAULT_H
#define BASE_HOST_FAULT_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum host_fault_kind {
    HOST_FAULT_OPTIONAL, /* BUS_MCEERR_AO: found broken; nobody has used it */
    HOST_FAULT_REQUIRED, /* BUS_MCEERR_AR: used by the thread */
    HOST_FAULT_LOST,     /* no memory behind it: a file that was truncated, or failed to be read */
};

struct host_fault {
    enum host_fault_kind kind;
    uintptr_t addr;  /* of the first byte that is lost */
    size_t bytes;    /* how many, a power of two */
    bool registered; /* in registered memory */
    bool replaced;   /* by zeros */
    int thread;      /* as host_fault_set_thread() says; -1: another thread */
    int level;       /* what its *level was; -1: it has none */
};

/* Installs the handler, and asks the kernel to tell of broken pages before they are used. Main
 * thread, before any other is started. For the whole process, once; false and *error when it cannot
 * be done. */
bool host_fault_start(GError **error);

/* Readable when there is something to take; -1 before host_fault_start(). */
int host_fault_fd(void);
/* The oldest fault; false when there is none. One thread at a time. */
bool host_fault_take(struct host_fault *fault);

/* Memory whose failure can be borne: page-aligned; at most 64 pieces, of which more are not
 * registered. */
void host_fault_register(void *start, size_t bytes);
void host_fault_unregister(void *start);

/* Puts fresh zeros in place of lost memory: false when the kernel refuses. Any thread. */
bool host_fault_replace(uintptr_t addr, size_t bytes);

/* For the calling thread: what its faults are noted with, and bits to set in *word when it has used
 * memory that is lost, so that it stops soon. level (NULL is fine): a byte that says what it is
 * doing. Both outlive the thread. */
void host_fault_set_thread(int thread, _Atomic uint32_t *word, uint32_t bits, const uint8_t *level);

/* For the calling thread, while it runs code that can be left: leave(opaque, pc) tells where it
 * goes on when the host instruction at pc has used memory that is lost, in place of doing that
 * again over zeros; 0: it does. Called in the handler. NULL: no more. */
typedef uintptr_t (*host_fault_leave_fn)(void *opaque, uintptr_t pc);
void host_fault_set_leave(host_fault_leave_fn leave, void *opaque);

#endif
