/*
 * Waiting for file descriptors with a deadline, and the signals that may end the wait.
 *
 * Verbs that leave the terminal alone keep the default signals: Ctrl-C ends the program. The shell
 * and the live view call signals_catch() once; from then on the caught signals are blocked except
 * while waiting, so that none is lost between a check and the wait that follows it.
 */
#ifndef GODWITCTL_WAITING_H
#define GODWITCTL_WAITING_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/* A point of the monotonic clock in microseconds, or DEADLINE_NONE: wait for ever. */
#define DEADLINE_NONE INT64_C(-1)

/* timeout_ms from now; 0 gives DEADLINE_NONE. */
int64_t deadline_after(int64_t timeout_ms);
bool deadline_passed(int64_t deadline_us);
/* The earlier of two deadlines. */
int64_t deadline_min(int64_t a_us, int64_t b_us);

enum wait_result {
    WAIT_READY,
    WAIT_TIMEOUT,
    WAIT_SIGNAL, /* one of the caught signals came: look at signals_pending() */
    WAIT_FAILED, /* errno is set */
};

/* Waits until one of the n descriptors is ready; revents are filled in as by poll(2). */
enum wait_result wait_ready(struct pollfd *fds, unsigned n, int64_t deadline_us);

#define SIGNAL_INTERRUPT 0x1  /* SIGINT */
#define SIGNAL_END       0x2  /* SIGTERM, SIGHUP, SIGQUIT */
#define SIGNAL_RESIZE    0x4  /* SIGWINCH */
#define SIGNAL_STOP      0x8  /* SIGTSTP */
#define SIGNAL_CONTINUE  0x10 /* SIGCONT */

void signals_catch(void);
unsigned signals_pending(void);
/* Forgets the given ones. */
void signals_clear(unsigned which);
/* Stops this process as an uncaught SIGTSTP would; returns when it goes on. */
void signals_stop_self(void);
/* Ends this process by the SIGNAL_END or SIGNAL_INTERRUPT signal that came; returns if none did. */
void signals_end_self(void);

#endif
