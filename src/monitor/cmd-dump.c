/*
 * Commands of the schema module dump.
 */
#include "monitor/monitor-priv.h"

#include "base/fdset.h"
#include "migration/dump.h"
#include "qapi-commands.h"
#include "qapi/error.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* What "file:PATH" and "fd:NAME" mean; -1 and *error. */
static int open_protocol(struct session *session, const char *protocol, GError **error)
{
    const char *path;
    int fd;

    if (g_str_has_prefix(protocol, "fd:")) {
        return session_take_fd(session, protocol + strlen("fd:"), error);
    }
    if (!g_str_has_prefix(protocol, "file:")) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "Invalid parameter 'protocol'");
        return -1;
    }
    path = protocol + strlen("file:");
    /* A pipe that nobody reads is an error rather than a wait. */
    fd = fdset_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "Could not open '%s': %s", path,
                    g_strerror(errno));
    }
    return fd;
}

bool qmp_dump_guest_memory(struct qmp_call *call, const struct qmp_dump_guest_memory_arg *arg,
                           GError **errp)
{
    const struct dump_options options = {
        .format = arg->has_format ? arg->format : DUMP_GUEST_MEMORY_FORMAT_ELF,
        .paging = arg->paging,
        .has_begin = arg->has_begin,
        .has_length = arg->has_length,
        .begin = (uint64_t)arg->begin,
        .length = (uint64_t)arg->length,
    };
    int fd;

    if (!dump_check(call->machine, &options, errp)) {
        return false;
    }
    fd = open_protocol(call->session, arg->protocol, errp);
    return fd >= 0 && dump_run(call->machine, &options, fd, arg->has_detach && arg->detach, errp);
}

struct dump_query_result *qmp_query_dump(struct qmp_call *call, GError **errp)
{
    return dump_query(call->machine);
}

struct dump_guest_memory_capability *qmp_query_dump_guest_memory_capability(struct qmp_call *call,
                                                                            GError **errp)
{
    struct dump_guest_memory_capability *capability =
        g_new0(struct dump_guest_memory_capability, 1);

    capability->formats = dump_guest_memory_format_list_new();
    for (int f = 0; f < DUMP_GUEST_MEMORY_FORMAT__MAX; f++) {
        if (dump_format_available((enum dump_guest_memory_format)f)) {
            dump_guest_memory_format_list_append(capability->formats,
                                                 (enum dump_guest_memory_format)f);
        }
    }
    return capability;
}
