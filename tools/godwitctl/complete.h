/*
 * Completion in the shell: what may stand at the end of a line that is being typed. Commands, their
 * arguments and values come from the server's schema; verbs and their options from the tables here.
 */
#ifndef GODWITCTL_COMPLETE_H
#define GODWITCTL_COMPLETE_H

#include "schema.h"

struct completion {
    size_t start;          /* where in the line the part that candidates replace begins, in bytes */
    GPtrArray *candidates; /* char *, sorted, each begins with the part that is there */
    bool open;             /* more belongs behind a candidate: no blank after it */
};

/* Completes line, which ends at the cursor. Schema may be NULL: then only verbs are known. */
void completion_fill(struct completion *completion, const struct schema *schema, const char *line);
void completion_clear(struct completion *completion);
/* What all candidates begin with; empty when there is none. The caller's. */
char *completion_common(const struct completion *completion);
/* The candidates in columns, in lines of at most width characters. The caller's. */
char *completion_columns(const struct completion *completion, unsigned width);

#endif
