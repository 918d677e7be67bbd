/*
 * Waiting with a deadline, and signals: see waiting.h.
 *
 * The file-scope state here is what signal handlers write; POSIX gives them no other place.
 */
#include "waiting.h"

#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <time.h>

static volatile sig_atomic_t pending;
static volatile sig_atomic_t last_end_signal;
static bool catching;
static sigset_t wait_mask; /* in force while waiting: the caught signals are open */

static const int caught_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT};

int64_t deadline_after(int64_t timeout_ms)
{
    if (timeout_ms <= 0) {
        return DEADLINE_NONE;
    }
    return g_get_monotonic_time() + timeout_ms * 1000;
}

bool deadline_passed(int64_t deadline_us)
{
    return deadline_us != DEADLINE_NONE && g_get_monotonic_time() >= deadline_us;
}

int64_t deadline_min(int64_t a_us, int64_t b_us)
{
    if (a_us == DEADLINE_NONE) {
        return b_us;
    }
    return b_us == DEADLINE_NONE ? a_us : MIN(a_us, b_us);
}

enum wait_result wait_ready(struct pollfd *fds, unsigned n, int64_t deadline_us)
{
    struct timespec left = {0};
    if (deadline_us != DEADLINE_NONE) {
        int64_t left_us = MAX(deadline_us - g_get_monotonic_time(), 0);
        left.tv_sec = left_us / G_USEC_PER_SEC;
        left.tv_nsec = left_us % G_USEC_PER_SEC * 1000;
    }
    int ready =
        ppoll(fds, n, deadline_us == DEADLINE_NONE ? NULL : &left, catching ? &wait_mask : NULL);
    if (ready > 0) {
        /* Signals come first: with a descriptor ready, ppoll() leaves them blocked. */
        const struct timespec at_once = {0};
        bool signalled = catching && ppoll(NULL, 0, &at_once, &wait_mask) < 0 && errno == EINTR;
        return signalled ? WAIT_SIGNAL : WAIT_READY;
    }
    if (ready == 0) {
        return WAIT_TIMEOUT;
    }
    return errno == EINTR ? WAIT_SIGNAL : WAIT_FAILED;
}

static void note_signal(int number)
{
    switch (number) {
    case SIGINT:
        pending |= SIGNAL_INTERRUPT;
        last_end_signal = number;
        break;
    case SIGWINCH:
        pending |= SIGNAL_RESIZE;
        break;
    case SIGTSTP:
        pending |= SIGNAL_STOP;
        break;
    case SIGCONT:
        pending |= SIGNAL_CONTINUE;
        break;
    default:
        pending |= SIGNAL_END;
        last_end_signal = number;
        break;
    }
}

void signals_catch(void)
{
    sigset_t block;
    sigemptyset(&block);
    struct sigaction action = {.sa_handler = note_signal};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < G_N_ELEMENTS(caught_signals); i++) {
        sigaddset(&block, caught_signals[i]);
        sigaddset(&action.sa_mask, caught_signals[i]);
    }
    sigprocmask(SIG_BLOCK, &block, &wait_mask);
    for (size_t i = 0; i < G_N_ELEMENTS(caught_signals); i++) {
        sigdelset(&wait_mask, caught_signals[i]);
        sigaction(caught_signals[i], &action, NULL);
    }
    catching = true;
}

unsigned signals_pending(void)
{
    return (unsigned)pending;
}

void signals_clear(unsigned which)
{
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    pending &= ~(int)which;
    sigprocmask(SIG_SETMASK, &old, NULL);
}

/* Delivers number to this process with its default action, whatever was caught. */
static void raise_default(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL}, old;
    sigset_t open, old_mask;
    sigaction(number, &action, &old);
    raise(number);
    sigemptyset(&open);
    sigaddset(&open, number);
    sigprocmask(SIG_UNBLOCK, &open, &old_mask); /* it acts here */
    sigprocmask(SIG_SETMASK, &old_mask, NULL);
    sigaction(number, &old, NULL);
}

void signals_stop_self(void)
{
    signals_clear(SIGNAL_STOP | SIGNAL_CONTINUE);
    raise_default(SIGTSTP);
}

void signals_end_self(void)
{
    if (pending & (SIGNAL_END | SIGNAL_INTERRUPT)) {
        raise_default(last_end_signal);
    }
}
