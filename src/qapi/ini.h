/*
 * Files of sections, as -readconfig and blkdebug read them:
 *
 *   # a comment
 *   [group]            or      [group "id"]
 *   key = "value"
 *
 * A value stands between double quotes and has none in it.
 */
#ifndef QAPI_INI_H
#define QAPI_INI_H

#include <glib.h>
#include <stdbool.h>

/* Longest file that is read, in bytes. */
#define INI_MAX_BYTES (1u << 20)

struct ini_section {
    char *group, *id; /* id NULL: none */
    unsigned line;    /* where it begins; the first is 1 */
    /* Its keys as the text of an option, in their order: commas in values are doubled. Without
     * the id. */
    GString *text;
};

/* The sections, struct ini_section, that path holds; NULL and *error when it can't be read or is no
 * such file. A pipe is read to its end. Any thread. */
GPtrArray *ini_read(const char *path, GError **error);

#endif
