/*
 * Raw mode for the terminal, undone at exit and in handlers of the fatal signals.
 *
 * The saved settings are process-wide because the terminal is. A fatal signal's handler is
 * installed only where its action is still the default, so that it never gets in the way of
 * another's.
 */
#include "base/terminal.h"
#include <glib.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static struct {
    struct termios saved;
    int fd;
    volatile sig_atomic_t raw;
    bool hooked;
} terminal;

void terminal_restore(void)
{
    if (terminal.raw) {
        terminal.raw = 0;
        tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
    }
}

static void terminal_fatal(int number)
{
    terminal_restore();
    raise(number); /* SA_RESETHAND: the default action this time */
}

static void terminal_hook(void)
{
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGQUIT};
    struct sigaction old;

    if (terminal.hooked) {
        return;
    }
    terminal.hooked = true;
    atexit(terminal_restore);
    for (unsigned i = 0; i < G_N_ELEMENTS(fatal); i++) {
        if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
            struct sigaction action = {.sa_handler = terminal_fatal, .sa_flags = SA_RESETHAND};

            sigemptyset(&action.sa_mask);
            sigaction(fatal[i], &action, NULL);
        }
    }
}

void terminal_raw(int fd, bool signals)
{
    struct termios raw;

    if (!isatty(fd) || tcgetpgrp(fd) != getpgrp()) {
        return;
    }
    if (!terminal.raw) {
        if (tcgetattr(fd, &terminal.saved) < 0) {
            return;
        }
        terminal.fd = fd;
    }
    terminal_hook();
    raw = terminal.saved;
    raw.c_iflag &= (tcflag_t) ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_oflag |= OPOST;
    raw.c_lflag &= (tcflag_t) ~(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals) {
        raw.c_lflag &= (tcflag_t)~ISIG;
    }
    raw.c_cflag &= (tcflag_t) ~(CSIZE | PARENB);
    raw.c_cflag |= CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    terminal.raw = 1;
    tcsetattr(fd, TCSANOW, &raw);
}
