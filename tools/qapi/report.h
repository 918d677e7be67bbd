/*
 * Places in the schema's files, and the complaints about them.
 */
#ifndef QAPI_REPORT_H
#define QAPI_REPORT_H

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

struct source; /* a file, see source.h */

struct place {
    const struct source *source;
    unsigned line; /* from 1 */
};

struct report;

struct report *report_new(void);
void report_free(struct report *report);

/* Adds a complaint; beyond the first 100 they are only counted. */
void report_add(struct report *report, struct place place, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
void report_addv(struct report *report, struct place place, const char *format, va_list args);

bool report_is_empty(const struct report *report);

/* Prints "file:line: message" for each, sorted by file (as first read) and line. */
void report_print(const struct report *report, FILE *out);

#endif
