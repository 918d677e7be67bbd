/*
 * From a JSON value to a command that runs, and to the text of its reply.
 *
 * The checks come in the order that QEMU has, each with its error class and text, because clients
 * match on them. Errors in the arguments, which the generated code reports, come before any effect.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"
#include "qapi/error.h"
#include "qapi/json.h"
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

/* ---- what commands are allowed to do, as data */

/*
 * Handlers that run on the control thread without the machine lock: they read only what never
 * changes, what is atomic, or the session's own. They answer whatever the machine is doing.
 */
static const char *const control_safe[] = {
    "qmp_capabilities",
    "query-status",
    "query-version",
    "query-commands",
    "query-qmp-schema",
    "query-name",
    "query-uuid",
    "query-kvm",
    "query-target",
    "query-machines",
    "query-current-machine",
    "query-memory-size-summary",
    "godwit-query-events",
    "godwit-query-black-box",
    "godwit-query-cause",
    "godwit-subscribe",
    "godwit-query-sessions",
    "godwit-query-threads",
    "yank",
    "query-yank",
};

/* Handlers that are the main thread's, but look at nothing that is its own rather than the lock's.
 */
static const char *const either_thread[] = {
    "stop",
    "cont",
};

#define NEEDS_RESET "Resetting the Virtual Machine is required"

/* States in which a command is refused, with the text of the refusal. */
static const struct state_rule {
    const char *command;
    enum run_state state;
    const char *text;
} state_rules[] = {
    {"cont", RUN_STATE_INTERNAL_ERROR, NEEDS_RESET},
    {"cont", RUN_STATE_SHUTDOWN, NEEDS_RESET},
    {"cont", RUN_STATE_FINISH_MIGRATE, "Migration is not finalized yet"},
};

static bool is_among(const char *name, const char *const *names, size_t n)
{
    size_t i = 0;

    while (i < n && strcmp(names[i], name) != 0) {
        i++;
    }
    return i < n;
}

enum qmp_thread qmp_command_thread(const struct qmp_command *command)
{
    if (is_among(command->name, control_safe, G_N_ELEMENTS(control_safe))) {
        return QMP_ON_CONTROL;
    }
    if (command->flags & QMP_CMD_FOR_OBSERVER ||
        is_among(command->name, either_thread, G_N_ELEMENTS(either_thread))) {
        return QMP_ON_EITHER;
    }
    return QMP_ON_MAIN;
}

/* Row 11 of the order of checks. */
static bool preconfig_permits(struct machine *m, const struct qmp_command *command, GError **error)
{
    if (m->preconfig && !(command->flags & QMP_CMD_ALLOW_PRECONFIG)) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "The command '%s' is permitted only after machine initialization has completed",
                    command->name);
        return false;
    }
    return true;
}

bool qmp_state_permits(struct machine *m, const char *command, GError **error)
{
    enum run_state state = runstate_get(m->run);
    /* A guest between two machines stands already, as `stop` wants it. */
    bool moves = strcmp(command, "cont") == 0 ||
                 (strcmp(command, "stop") == 0 && state != RUN_STATE_FINISH_MIGRATE);

    if (moves && machine_frozen(m)) { /* main thread */
        g_set_error_literal(error, QMP_ERROR, QMP_ERROR_GENERIC, machine_frozen(m));
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(state_rules); i++) {
        const struct state_rule *rule = &state_rules[i];

        if (rule->state == state && strcmp(rule->command, command) == 0) {
            g_set_error_literal(error, QMP_ERROR, QMP_ERROR_GENERIC, rule->text);
            return false;
        }
    }
    return true;
}

/* ---- taking a request apart */

static bool fail(GError **error, const char *format, const char *name)
{
    g_autofree char *text = g_strdup_printf(format, name);

    g_set_error_literal(error, QMP_ERROR, QMP_ERROR_GENERIC, text);
    return false;
}

static bool take_command(const char *key, struct json_object *value, const char **name, bool *oob,
                         GError **error)
{
    if (!json_object_is_type(value, json_type_string)) {
        return fail(error, "QMP input member '%s' must be a string", key);
    }
    if (*name) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "QMP input member '%s' clashes with '%s'",
                    key, *oob ? "exec-oob" : "execute");
        return false;
    }
    *name = json_object_get_string(value);
    if (strlen(*name) != (size_t)json_object_get_string_len(value)) {
        return fail(error, "QMP input member '%s' must be without \\u0000", key);
    }
    *oob = strcmp(key, "exec-oob") == 0;
    return true;
}

/* Rows 2 to 7: the shape of the request. */
static bool take_members(struct qmp_request *request, bool oob_on, const char **name,
                         GError **error)
{
    if (!json_object_is_type(request->root, json_type_object)) {
        return fail(error, "QMP input must be a JSON object", NULL);
    }
    request->has_id = json_object_object_get_ex(request->root, "id", &request->id);
    json_object_object_foreach(request->root, key, value)
    {
        if (strcmp(key, "execute") == 0 || (oob_on && strcmp(key, "exec-oob") == 0)) {
            if (!take_command(key, value, name, &request->oob, error)) {
                return false;
            }
        } else if (strcmp(key, "arguments") == 0) {
            if (!json_object_is_type(value, json_type_object)) {
                return fail(error, "QMP input member '%s' must be an object", key);
            }
            request->args = value;
        } else if (strcmp(key, "id") != 0) {
            return fail(error, "QMP input member '%s' is unexpected", key);
        }
    }
    return *name || fail(error, "QMP input lacks member '%s'", "execute");
}

bool qmp_request_parse(struct qmp_request *request, struct json_object *value, struct qmp_mode mode,
                       GError **error)
{
    const char *name = NULL;

    memset(request, 0, sizeof(*request));
    request->passed_fd = -1;
    request->root = value;
    if (!take_members(request, mode.oob, &name, error)) {
        return false;
    }
    if (!mode.negotiated && strcmp(name, "qmp_capabilities") != 0) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND,
                    "Expecting capabilities negotiation with 'qmp_capabilities'");
        return false;
    }
    request->command = qmp_command_find(name);
    if (!request->command) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND,
                    "The command %s has not been found", name);
        return false;
    }
    if (request->oob && !(request->command->flags & QMP_CMD_ALLOW_OOB)) {
        return fail(error, "The command %s does not support OOB", name);
    }
    return true;
}

bool qmp_role_permits(enum godwit_role role, const struct qmp_command *command, GError **error)
{
    enum godwit_role needed = command->flags & QMP_CMD_FOR_OBSERVER   ? GODWIT_ROLE_OBSERVER
                              : command->flags & QMP_CMD_FOR_OPERATOR ? GODWIT_ROLE_OPERATOR
                                                                      : GODWIT_ROLE_ADMIN;

    if (role < needed) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "The command %s needs the role '%s'; this monitor's clients have '%s'",
                    command->name, godwit_role_str(needed), godwit_role_str(role));
    }
    return role >= needed;
}

void qmp_request_clear(struct qmp_request *request)
{
    json_object_put(request->root);
    g_clear_error(&request->fault);
    if (request->passed_fd >= 0) {
        close(request->passed_fd);
    }
    memset(request, 0, sizeof(*request));
    request->passed_fd = -1;
}

/* ---- replies, events, greeting */

static void append_id(GString *out, const struct qmp_request *request)
{
    g_string_append(out, "\"id\": ");
    qapi_json_append_any(out, request->id);
}

void qmp_append_done(GString *out, const struct qmp_request *request)
{
    g_string_append(out, "{\"return\": {}");
    if (request->has_id) {
        g_string_append(out, ", ");
        append_id(out, request);
    }
    g_string_append(out, "}\r\n");
}

void qmp_append_error(GString *out, const struct qmp_request *request, const GError *error)
{
    g_string_append_c(out, '{');
    if (request->has_id) {
        append_id(out, request);
        g_string_append(out, ", ");
    }
    g_string_append(out, "\"error\": {\"class\": \"");
    g_string_append(out, qmp_error_class(error));
    g_string_append(out, "\", \"desc\": ");
    qapi_json_append_string(out, error->message, -1);
    g_string_append(out, "}}\r\n");
}

/* Faults in the arguments are told before the state's refusal: commands with rules take none. */
static bool permits(struct machine *m, const struct qmp_request *request, GError **error)
{
    g_autoptr(GError) refusal = NULL;

    if (!qmp_state_permits(m, request->command->name, &refusal)) {
        if (qapi_members_read(&qapi_empty_type, NULL, request->args, error)) {
            g_propagate_error(error, g_steal_pointer(&refusal));
        }
        return false;
    }
    return true;
}

void qmp_request_run(const struct qmp_request *request, struct qmp_call *call, GString *out)
{
    static const char prefix[] = "{\"return\": ";
    g_autoptr(GError) error = NULL;
    gsize start = out->len;

    g_string_append_len(out, prefix, sizeof(prefix) - 1);
    if (!preconfig_permits(call->machine, request->command, &error) ||
        !permits(call->machine, request, &error) ||
        !request->command->run(call, request->args, out, &error)) {
        g_string_truncate(out, start);
        qmp_append_error(out, request, error);
        return;
    }
    if (request->command->flags & QMP_CMD_NO_SUCCESS) {
        g_string_truncate(out, start);
        return;
    }
    if (request->has_id) {
        g_string_append(out, ", ");
        append_id(out, request);
    }
    g_string_append(out, "}\r\n");
}

void qmp_append_greeting(GString *out, bool oob)
{
    g_string_append(out, "{\"QMP\": {\"version\": ");
    qmp_command_find("query-version")->run(NULL, NULL, out, NULL);
    g_string_append_printf(out, ", \"capabilities\": [%s\"godwit-events\"]}}\r\n",
                           oob ? "\"oob\", " : "");
}
