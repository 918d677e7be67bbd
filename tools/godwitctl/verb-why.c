/*
 * why, black-box: what the server recorded about causes. Only servers with Godwit's own commands
 * record them; on others 'why' tells the state and that its cause is not known.
 */
#include "ctl.h"
#include "output.h"
#include "runstates.h"

#define DEPTH_MAX 12 /* of nested values shown in lines of their own */

static void append_value(GString *out, const struct ctl *ctl, struct json_object *value,
                         unsigned indent);

static void append_members(GString *out, const struct ctl *ctl, struct json_object *object,
                           unsigned indent)
{
    struct json_object_iterator at = json_object_iter_begin(object);
    struct json_object_iterator end = json_object_iter_end(object);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        g_autofree char *name = text_safe(json_object_iter_peek_name(&at), false);
        g_string_append_printf(out, "%*s", (int)indent, "");
        text_append(out, ctl->options.colour, STYLE_NAME, name);
        g_string_append_c(out, ':');
        append_value(out, ctl, json_object_iter_peek_value(&at), indent + 2);
    }
}

/* Appends value and a newline: a scalar on the line, members and elements indented below it. */
static void append_value(GString *out, const struct ctl *ctl, struct json_object *value,
                         unsigned indent)
{
    g_autofree char *text = NULL;
    if (indent / 2 > DEPTH_MAX) {
        text = json_text(value, false);
    } else if (json_object_is_type(value, json_type_object)) {
        g_string_append_c(out, '\n');
        append_members(out, ctl, value, indent);
        return;
    } else if (json_object_is_type(value, json_type_array)) {
        g_string_append_c(out, '\n');
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            g_string_append_printf(out, "%*s-", (int)indent, "");
            append_value(out, ctl, json_object_array_get_idx(value, i), indent + 2);
        }
        return;
    } else if (json_object_is_type(value, json_type_string)) {
        text = text_safe(json_object_get_string(value), false);
    } else {
        text = json_text(value, false);
    }
    g_string_append_printf(out, " %s\n", text);
}

/* Executes a query and prints what it returns: members in lines of their own. */
static enum ctl_status print_record(struct ctl *ctl, const char *command)
{
    GError *error = NULL;
    struct json_object *record = ctl_call(ctl, command, NULL, &error);
    if (!record) {
        return ctl_fail(ctl, error);
    }
    enum ctl_status result;
    if (ctl->options.json) {
        result = ctl_print_value(ctl, record);
    } else {
        g_autoptr(GString) out = g_string_new(NULL);
        if (json_object_is_type(record, json_type_object)) {
            append_members(out, ctl, record, 0);
        } else {
            append_value(out, ctl, record, 0);
        }
        result = ctl_print(out->str);
    }
    json_object_put(record);
    return result;
}

/* Connects and tells whether the server has command; false after saying why not. */
static bool require_command(struct ctl *ctl, const char *command, enum ctl_status *result)
{
    GError *error = NULL;
    if (!ctl_connect(ctl, &error)) {
        *result = ctl_fail(ctl, error);
        return false;
    }
    if (client_has_command(ctl->client, command, ctl_deadline(ctl, CTL_TIMEOUT_DEFAULT_MS))) {
        return true;
    }
    g_autofree char *server = text_safe(client_server(ctl->client), false);
    ctl_complain("%s has no command %s", server, command);
    *result = CTL_ERROR;
    return false;
}

/* The elements of an array, a line each, under a heading. */
static void append_lines(GString *out, const struct ctl *ctl, const char *heading,
                         struct json_object *list,
                         void (*append)(GString *out, struct json_object *entry, bool colour))
{
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    if (n) {
        g_string_append_printf(out, "%s:\n", heading);
    }
    for (size_t i = 0; i < n; i++) {
        g_string_append(out, "  ");
        append(out, json_object_array_get_idx(list, i), ctl->options.colour);
        g_string_append_c(out, '\n');
    }
}

/* The state, what changed it and what led to that; then what happened before. */
static enum ctl_status print_why(struct ctl *ctl)
{
    GError *error = NULL;
    struct json_object *why = ctl_call(ctl, "godwit-query-cause", NULL, &error);
    if (!why) {
        return ctl_fail(ctl, error);
    }
    g_autoptr(GString) out = g_string_new(NULL);
    const char *status = json_member_string(why, "status");
    const struct runstate_info *info = status ? runstate_find(status) : NULL;
    g_autofree char *state = text_safe(status ? status : "?", false);
    text_append(out, ctl->options.colour, info ? info->style : STYLE_PLAIN, state);
    g_string_append_c(out, '\n');
    if (info) {
        g_string_append_printf(out, "  %s\n", info->meaning);
    }
    struct json_object *changes = json_member(why, "changes");
    if (!json_object_is_type(changes, json_type_array) || !json_object_array_length(changes)) {
        g_string_append(out, "  it has been so since the program began\n");
    }
    append_lines(out, ctl, "states, the last first", changes, change_append);
    append_lines(out, ctl, "what led to the last", json_member(why, "chain"), event_append);
    append_lines(out, ctl, "the last event of each kind", json_member(why, "last"), event_append);
    json_object_put(why);
    return ctl_print(out->str);
}

enum ctl_status verb_why(struct ctl *ctl, int argc, char **argv)
{
    enum ctl_status result;
    if (!ctl_parse(ctl, verb_find("why"), NULL, &argc, &argv, 0, 0)) {
        return CTL_USAGE;
    }
    if (require_command(ctl, "godwit-query-cause", &result)) {
        return ctl->options.json ? print_record(ctl, "godwit-query-cause") : print_why(ctl);
    }
    if (ctl->client && !ctl->options.json) {
        verb_status(ctl, 1, (char *[]){(char *)"status", NULL});
    }
    return result;
}

enum ctl_status verb_black_box(struct ctl *ctl, int argc, char **argv)
{
    enum ctl_status result;
    if (!ctl_parse(ctl, verb_find("black-box"), NULL, &argc, &argv, 0, 0)) {
        return CTL_USAGE;
    }
    if (!require_command(ctl, "godwit-query-black-box", &result)) {
        return result;
    }
    return print_record(ctl, "godwit-query-black-box");
}
