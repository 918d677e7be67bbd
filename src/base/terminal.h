/*
 * The process's controlling terminal: raw mode, and its restoration however the process ends.
 */
#ifndef BASE_TERMINAL_H
#define BASE_TERMINAL_H

#include <stdbool.h>

/* Puts the terminal on fd into raw mode; signals: Ctrl-C and friends still make signals. Nothing
 * happens when fd is no terminal or we are in its background. The terminal is restored at exit and
 * before a fatal signal's default action. May be called again with another `signals`. */
void terminal_raw(int fd, bool signals);

/* Back to what it was. Async-signal-safe; idempotent. */
void terminal_restore(void);

#endif
