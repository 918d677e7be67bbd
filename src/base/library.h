/*
 * Libraries that few machines need are loaded by the first that does: what is behind some of them
 * takes longer to load than a machine to start.
 */
#ifndef BASE_LIBRARY_H
#define BASE_LIBRARY_H

#include <glib.h>

struct library {
    const char *file;         /* its soname, which says its binary interface, too */
    const char *const *names; /* of its functions that are used */
    unsigned n;               /* of names */
};

/*
 * The functions, in the order of their names: a struct of n pointers. It stays for good. NULL and
 * *error (which may be NULL): the library is not there, or lacks one of them; the next call looks
 * again. Any thread.
 */
const void *library_load(const struct library *library, GError **error);

#endif
