/*
 * Sets of file descriptors that the user has passed (-add-fd, add-fd): the path "/dev/fdset/N"
 * opens that one of set N which was opened the way that is wanted.
 *
 * They are the process's, like descriptors themselves. Any thread.
 */
#ifndef BASE_FDSET_H
#define BASE_FDSET_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Takes fd over. set: -1 for a new one. opaque, NULL: none, is copied. Returns the set's number. */
int64_t fdset_add(int64_t set, int fd, const char *opaque);
/* Closes a descriptor of a set, or all for fd -1; what was opened by the set's path stays open.
 * false: there is no such one. */
bool fdset_remove(int64_t set, int fd);

struct fdset_entry {
    int64_t set;
    int fd;
    char *opaque; /* NULL: none */
};
/* All, those of a set together; struct fdset_entry *, owned by the caller. */
GPtrArray *fdset_list(void);

/* As open(2): -1 and errno. Paths that are no set's are opened as they are. ENOENT: there is no
 * such set; EACCES: nothing in it is open that way. The descriptor shares its file offset and
 * status flags with the one of the set, whose O_APPEND, O_DIRECT and O_NONBLOCK become those of
 * flags. */
int fdset_open(const char *path, int flags, unsigned mode);

#endif
