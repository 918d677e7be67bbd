/*
 * File descriptors that a client passes with a command (SCM_RIGHTS) and names with getfd, for
 * commands that take "fd:NAME". They are the session's: they go when it ends. Those of add-fd are
 * in the process's sets (base/fdset.h), and stay.
 */
#include "monitor/monitor-priv.h"

#include "base/fdset.h"
#include "qapi-commands.h"
#include "qapi/error.h"
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* More names than this are a client that forgot what it sent. */
#define NAMED_MAX 256

/* ---- control thread */

void passed_fds_receive(struct passed_fds *passed, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (i == 0 && passed->n < SESSION_PASSED_MAX) {
                passed->fd[passed->n++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

int passed_fds_take(struct passed_fds *passed)
{
    int fd;

    if (passed->n == 0) {
        return -1;
    }
    fd = passed->fd[0];
    memmove(passed->fd, passed->fd + 1, --passed->n * sizeof(int));
    return fd;
}

void passed_fds_close(struct passed_fds *passed)
{
    while (passed->n > 0) {
        close(passed->fd[--passed->n]);
    }
}

/* ---- main thread */

static void close_value(gpointer value)
{
    close(GPOINTER_TO_INT(value));
}

int session_take_fd(struct session *s, const char *name, GError **error)
{
    gpointer key, value;

    if (!s || !s->fds || !g_hash_table_steal_extended(s->fds, name, &key, &value)) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "File descriptor named '%s' has not been found", name);
        return -1;
    }
    g_free(key);
    return GPOINTER_TO_INT(value);
}

bool qmp_getfd(struct qmp_call *call, const struct qmp_getfd_arg *arg, GError **errp)
{
    struct session *s = call->session;

    if (*call->passed_fd < 0) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "No file descriptor supplied via SCM_RIGHTS");
        return false;
    }
    if (g_ascii_isdigit(arg->fdname[0])) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter 'fdname' expects a name not starting with a digit");
        return false;
    }
    if (!s || !s->fds) {
        s->fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_value);
    }
    if (g_hash_table_size(s->fds) >= NAMED_MAX && !g_hash_table_contains(s->fds, arg->fdname)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "this session holds %d file descriptors already: closefd closes one",
                    NAMED_MAX);
        return false;
    }
    g_hash_table_replace(s->fds, g_strdup(arg->fdname), GINT_TO_POINTER(*call->passed_fd));
    *call->passed_fd = -1;
    return true;
}

bool qmp_closefd(struct qmp_call *call, const struct qmp_closefd_arg *arg, GError **errp)
{
    struct session *s = call->session;

    if (!s || !s->fds || !g_hash_table_remove(s->fds, arg->fdname)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "File descriptor named '%s' not found",
                    arg->fdname);
        return false;
    }
    return true;
}

/* ---- sets */

struct addfd_info *qmp_add_fd(struct qmp_call *call, const struct qmp_add_fd_arg *arg,
                              GError **errp)
{
    struct addfd_info *info;

    if (*call->passed_fd < 0) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "No file descriptor supplied via SCM_RIGHTS");
        return NULL;
    }
    if (arg->has_fdset_id && arg->fdset_id < 0) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter 'fdset-id' expects a non-negative value");
        return NULL;
    }
    info = g_new0(struct addfd_info, 1);
    info->fd = *call->passed_fd;
    *call->passed_fd = -1;
    info->fdset_id = fdset_add(arg->has_fdset_id ? arg->fdset_id : -1, (int)info->fd, arg->opaque);
    return info;
}

bool qmp_remove_fd(struct qmp_call *call, const struct qmp_remove_fd_arg *arg, GError **errp)
{
    bool one = arg->has_fd, fits = !one || (arg->fd >= 0 && arg->fd <= INT_MAX);
    g_autofree char *which = one ? g_strdup_printf(", fd:%" PRId64, arg->fd) : g_strdup("");

    if (!fits || !fdset_remove(arg->fdset_id, one ? (int)arg->fd : -1)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "File descriptor named 'fdset-id:%" PRId64 "%s' not found", arg->fdset_id,
                    which);
        return false;
    }
    return true;
}

struct fdset_info_list *qmp_query_fdsets(struct qmp_call *call, GError **errp)
{
    struct fdset_info_list *list = fdset_info_list_new();
    g_autoptr(GPtrArray) entries = fdset_list();
    struct fdset_info *set = NULL;

    for (guint i = 0; i < entries->len; i++) {
        const struct fdset_entry *entry = entries->pdata[i];
        struct fdset_fd_info *fd = g_new0(struct fdset_fd_info, 1);

        if (!set || set->fdset_id != entry->set) {
            set = g_new0(struct fdset_info, 1);
            set->fdset_id = entry->set;
            set->fds = fdset_fd_info_list_new();
            fdset_info_list_append(list, set);
        }
        fd->fd = entry->fd;
        fd->opaque = g_strdup(entry->opaque);
        fdset_fd_info_list_append(set->fds, fd);
    }
    return list;
}
