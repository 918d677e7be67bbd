/*
 * The log: one line on stderr per message, "godwit: ..." (or to -D FILE). Any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

void log_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void log_warn(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void log_info(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* What a guest did wrong: shown only with -d guest_errors, and rate-limited (a guest must not be
 * able to flood the log): at most 20 lines a second, the number left out is told. */
void log_guest(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Whole lines, as they are; safe in a signal handler. */
void log_from_signal(const char *text, size_t length);

void log_guest_enable(bool on);
void log_set_file(FILE *file); /* not owned */
/* Lines begin with the wall-clock time, in UTC with microseconds (ISO 8601). */
void log_set_timestamp(bool on);

#endif
