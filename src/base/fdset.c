/* Sets of file descriptors: see fdset.h. */
#include "base/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "/dev/fdset/"
/* What fcntl(2) can change of an open file. */
#define STATUS (O_APPEND | O_DIRECT | O_NONBLOCK)

static GMutex mutex;
static GPtrArray *entries; /* in order of their sets; NULL: none yet */

static void entry_free(gpointer data)
{
    struct fdset_entry *entry = data;

    g_free(entry->opaque);
    g_free(entry);
}

static struct fdset_entry *entry_new(int64_t set, int fd, const char *opaque)
{
    struct fdset_entry *entry = g_new0(struct fdset_entry, 1);

    entry->set = set;
    entry->fd = fd;
    entry->opaque = g_strdup(opaque);
    return entry;
}

static const struct fdset_entry *nth(guint i)
{
    return entries && i < entries->len ? entries->pdata[i] : NULL;
}

/* The least that is not used. */
static int64_t unused_set(void)
{
    int64_t set = 0;

    for (guint i = 0; nth(i); i++) {
        set = nth(i)->set == set ? set + 1 : set;
    }
    return set;
}

int64_t fdset_add(int64_t set, int fd, const char *opaque)
{
    guint at = 0;

    g_mutex_lock(&mutex);
    if (!entries) {
        entries = g_ptr_array_new_with_free_func(entry_free);
    }
    set = set < 0 ? unused_set() : set;
    while (nth(at) && nth(at)->set <= set) {
        at++;
    }
    g_ptr_array_insert(entries, (gint)at, entry_new(set, fd, opaque));
    g_mutex_unlock(&mutex);
    return set;
}

bool fdset_remove(int64_t set, int fd)
{
    bool found = false;

    g_mutex_lock(&mutex);
    for (guint i = 0; nth(i);) {
        if (nth(i)->set == set && (fd < 0 || nth(i)->fd == fd)) {
            close(nth(i)->fd);
            g_ptr_array_remove_index(entries, i);
            found = true;
        } else {
            i++;
        }
    }
    g_mutex_unlock(&mutex);
    return found;
}

GPtrArray *fdset_list(void)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(entry_free);

    g_mutex_lock(&mutex);
    for (guint i = 0; nth(i); i++) {
        g_ptr_array_add(list, entry_new(nth(i)->set, nth(i)->fd, nth(i)->opaque));
    }
    g_mutex_unlock(&mutex);
    return list;
}

/* A copy of the set's descriptor with that access mode; -1 and errno. */
static int copy_of(int64_t set, int flags)
{
    int fd = -1, error = ENOENT;

    g_mutex_lock(&mutex);
    for (guint i = 0; nth(i) && fd < 0; i++) {
        int has = nth(i)->set == set ? fcntl(nth(i)->fd, F_GETFL) : -1;

        if (nth(i)->set != set) {
            continue;
        }
        error = EACCES;
        if (has >= 0 && (has & O_ACCMODE) == (flags & O_ACCMODE)) {
            fd = fcntl(nth(i)->fd, F_DUPFD_CLOEXEC, 3);
            error = errno;
        }
    }
    g_mutex_unlock(&mutex);
    errno = error;
    return fd;
}

static int adapt(int fd, int flags)
{
    int has = fcntl(fd, F_GETFL), wanted = (has & ~STATUS) | (flags & STATUS);

    if ((wanted != has && fcntl(fd, F_SETFL, wanted) < 0) ||
        (flags & O_TRUNC && ftruncate(fd, 0) < 0 && errno != EINVAL)) { /* EINVAL: a pipe */
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int fdset_open(const char *path, int flags, unsigned mode)
{
    const char *number = path + strlen(PREFIX);
    char *end;
    gint64 set;
    int fd;

    if (!g_str_has_prefix(path, PREFIX)) {
        return open(path, flags, mode);
    }
    errno = 0;
    set = g_ascii_strtoll(number, &end, 10);
    if (!g_ascii_isdigit(*number) || *end || errno) {
        errno = EINVAL;
        return -1;
    }
    fd = copy_of(set, flags);
    return fd < 0 ? -1 : adapt(fd, flags);
}
