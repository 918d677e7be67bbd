/*
 * One file of a schema, in memory.
 */
#ifndef QAPI_SOURCE_H
#define QAPI_SOURCE_H

#include "pool.h"
#include "report.h"

struct source {
    const char *path;     /* as errors show it */
    const char *identity; /* equal for two names of one file */
    const char *text;     /* ended by NUL, which does not occur inside */
    size_t len;
    unsigned number; /* in order of first mention */
};

/*
 * Reads @path. A file that cannot be read, is not a regular file, is larger than 16 MiB, or holds
 * NUL or invalid UTF-8 is reported: at @mentioned, or at the file itself when @mentioned.source is
 * NULL or its content is at fault. Always returns a source; its text is NULL on failure.
 */
struct source *source_load(struct pool *pool, struct report *report, const char *path,
                           unsigned number, struct place mentioned);

#endif
