/* status, stop, cont, reset, powerdown, quit. */
#include "ctl.h"
#include "output.h"
#include "runstates.h"

#include <string.h>

static enum ctl_status print_status(struct ctl *ctl)
{
    GError *error = NULL;
    struct json_object *status = ctl_call(ctl, "query-status", NULL, &error);
    if (!status) {
        return ctl_fail(ctl, error);
    }
    enum ctl_status result;
    if (ctl->options.json) {
        result = ctl_print_value(ctl, status);
    } else {
        const char *raw = json_member_string(status, "status");
        const struct runstate_info *info = runstate_find(raw);
        g_autofree char *name = text_safe(raw ? raw : "unknown", false);
        g_autoptr(GString) out = g_string_new(NULL);
        text_append(out, ctl->options.colour, info ? info->style : STYLE_BOLD, name);
        g_string_append_c(out, '\n');
        if (info) {
            g_string_append_printf(out, "  %s\n", info->meaning);
        }
        result = ctl_print(out->str);
    }
    json_object_put(status);
    return result;
}

enum ctl_status verb_status(struct ctl *ctl, int argc, char **argv)
{
    if (!ctl_parse(ctl, verb_find("status"), NULL, &argc, &argv, 0, 0)) {
        return CTL_USAGE;
    }
    return print_status(ctl);
}

enum ctl_status verb_control(struct ctl *ctl, int argc, char **argv)
{
    static const struct {
        const char *verb, *command;
    } commands[] = {
        {"stop", "stop"},
        {"cont", "cont"},
        {"reset", "system_reset"},
        {"powerdown", "system_powerdown"},
    };
    const char *command = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(argv[0], commands[i].verb) == 0) {
            command = commands[i].command;
        }
    }
    if (!ctl_parse(ctl, verb_find(argv[0]), NULL, &argc, &argv, 0, 0)) {
        return CTL_USAGE;
    }
    GError *error = NULL;
    struct json_object *done = ctl_call(ctl, command, NULL, &error);
    if (!done) {
        return ctl_fail(ctl, error);
    }
    json_object_put(done);
    enum ctl_status result = print_status(ctl);
    /* A guest that was told to reset or power down may be gone by now, as it was asked to. */
    return result == CTL_GONE ? CTL_OK : result;
}

enum ctl_status verb_quit(struct ctl *ctl, int argc, char **argv)
{
    if (!ctl_parse(ctl, verb_find("quit"), NULL, &argc, &argv, 0, 0)) {
        return CTL_USAGE;
    }
    GError *error = NULL;
    if (!ctl_connect(ctl, &error)) {
        return ctl_fail(ctl, error);
    }
    int64_t deadline_us = ctl_deadline(ctl, CTL_TIMEOUT_DEFAULT_MS);
    struct json_object *done = client_call(ctl->client, "quit", NULL, false, deadline_us, &error);
    json_object_put(done);
    while (!error) {
        struct json_object *event = client_wait_event(ctl->client, deadline_us, &error);
        json_object_put(event);
    }
    /* The end of the connection is what was asked for, with or without a reply before it. */
    if (g_error_matches(error, CLIENT_ERROR, CLIENT_ERROR_GONE)) {
        g_error_free(error);
        return CTL_OK;
    }
    return ctl_fail(ctl, error);
}
