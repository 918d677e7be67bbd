/*
 * The table of commands that the schema compiler generates: what a dispatcher needs to know.
 */
#ifndef QAPI_COMMAND_H
#define QAPI_COMMAND_H

#include <glib.h>
#include <stdbool.h>

struct json_object;
struct qmp_call; /* the monitor's: who asked, and of which machine */

enum qmp_command_flags {
    QMP_CMD_ALLOW_OOB = 1 << 0,       /* may be run out of band */
    QMP_CMD_ALLOW_PRECONFIG = 1 << 1, /* may be run before the machine is built */
    QMP_CMD_NO_SUCCESS = 1 << 2,      /* success is not answered */
    QMP_CMD_COROUTINE = 1 << 3,       /* the schema says that the handler may yield */
    /* Who may run it; neither: only who may do everything. */
    QMP_CMD_FOR_OPERATOR = 1 << 4,
    QMP_CMD_FOR_OBSERVER = 1 << 5,
};

struct qmp_command {
    const char *name;
    unsigned flags; /* enum qmp_command_flags */

    /*
     * Checks @args (an object, or NULL for none), calls the handler and appends the text of the
     * return value to @ret, "{}" when the command returns nothing. On failure sets the error
     * and leaves @ret as it was. Thread and locks are those of the handler.
     */
    bool (*run)(struct qmp_call *call, struct json_object *args, GString *ret, GError **errp);

    const char *const *features; /* ended by NULL; NULL itself when there are none */
};

#endif
