/* What the verbs of godwitctl share: see ctl.h. */
#include "ctl.h"

#include "output.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_MAX_S 1e9 /* beyond that: no timeout */

void ctl_complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *raw = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *text = text_safe(raw, true);
    fflush(stdout);
    fprintf(stderr, "godwitctl: %s\n", text);
}

enum ctl_status ctl_fail(struct ctl *ctl, GError *error)
{
    enum ctl_status status = CTL_ERROR;
    const char *class = "";
    if (error->domain == G_SHELL_ERROR ||
        g_error_matches(error, CLIENT_ERROR, CLIENT_ERROR_ADDRESS)) {
        status = CTL_USAGE;
    } else if (g_error_matches(error, CLIENT_ERROR, CLIENT_ERROR_TIMEOUT)) {
        status = CTL_TIMEOUT;
    } else if (g_error_matches(error, CLIENT_ERROR, CLIENT_ERROR_GONE)) {
        status = CTL_GONE;
    } else if (g_error_matches(error, CLIENT_ERROR, CLIENT_ERROR_INTERRUPTED)) {
        status = CTL_INTERRUPTED;
    } else if (g_error_matches(error, CLIENT_ERROR, CLIENT_ERROR_REFUSED) && ctl->client) {
        class = client_error_class(ctl->client);
    }
    if (*class && strcmp(class, "GenericError") != 0) {
        ctl_complain("%s (%s)", error->message, class);
    } else {
        ctl_complain("%s", error->message);
    }
    g_error_free(error);
    return status;
}

int64_t ctl_deadline(const struct ctl *ctl, int64_t fallback_ms)
{
    double timeout_s = ctl->options.timeout_s;
    if (timeout_s == 0 || timeout_s > TIMEOUT_MAX_S || (timeout_s < 0 && fallback_ms == 0)) {
        return DEADLINE_NONE;
    }
    return ctl->began_us + (timeout_s < 0 ? fallback_ms * 1000 : (int64_t)ceil(timeout_s * 1e6));
}

bool ctl_connect(struct ctl *ctl, GError **error)
{
    if (ctl->client) {
        return true;
    }
    if (!ctl->address) {
        g_set_error(error, CLIENT_ERROR, CLIENT_ERROR_ADDRESS,
                    "no socket given: use -s ADDR or set GODWIT_SOCKET");
        return false;
    }
    ctl->client = client_open(ctl->address, ctl->options.oob,
                              ctl_deadline(ctl, CTL_TIMEOUT_DEFAULT_MS), error);
    return ctl->client != NULL;
}

struct json_object *ctl_call(struct ctl *ctl, const char *command, struct json_object *arguments,
                             GError **error)
{
    if (!ctl_connect(ctl, error)) {
        return NULL;
    }
    return client_call(ctl->client, command, arguments, false,
                       ctl_deadline(ctl, CTL_TIMEOUT_DEFAULT_MS), error);
}

struct schema *ctl_schema(struct ctl *ctl)
{
    if (!ctl->schema_tried) {
        ctl->schema_tried = true;
        struct json_object *entities = ctl_call(ctl, "query-qmp-schema", NULL, NULL);
        ctl->schema = schema_new(entities);
        json_object_put(entities);
    }
    return ctl->schema;
}

enum ctl_status ctl_print(const char *text)
{
    if (output_text(text)) {
        return CTL_OK;
    }
    if (errno != EPIPE) { /* a reader that has enough is no failure to talk about */
        ctl_complain("cannot write: %s", g_strerror(errno));
    }
    return CTL_ERROR;
}

enum ctl_status ctl_print_value(const struct ctl *ctl, struct json_object *value)
{
    if (!ctl->options.json) {
        if (json_object_is_type(value, json_type_string)) {
            g_autofree char *text = text_safe(json_object_get_string(value), true);
            g_autofree char *lines =
                g_strconcat(text, *text && !g_str_has_suffix(text, "\n") ? "\n" : "", NULL);
            return ctl_print(lines);
        }
        if (json_object_is_type(value, json_type_object) && json_object_object_length(value) == 0) {
            return CTL_OK;
        }
    }
    g_autofree char *text = json_text(value, !ctl->options.json);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    return ctl_print(line);
}

static bool set_colour(struct ctl *ctl, const char *when)
{
    if (strcmp(when, "always") == 0) {
        ctl->options.colour = true;
    } else if (strcmp(when, "never") == 0) {
        ctl->options.colour = false;
    } else if (strcmp(when, "auto") != 0) {
        ctl_complain("--color takes auto, always or never, not '%s'", when);
        return false;
    }
    return true;
}

static bool usage_wrong(const struct verb *verb)
{
    if (verb) {
        ctl_complain("usage: godwitctl [-s ADDR] %s%s%s", verb->name, *verb->synopsis ? " " : "",
                     verb->synopsis);
    }
    return false;
}

bool ctl_parse(struct ctl *ctl, const struct verb *verb, const GOptionEntry *own, int *argc,
               char ***argv, int min, int max)
{
    g_autofree char *address = NULL, *colour = NULL;
    double timeout_s = ctl->options.timeout_s;
    const GOptionEntry common[] = {
        {"timeout", 't', 0, G_OPTION_ARG_DOUBLE, &timeout_s, NULL, NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &ctl->options.json, NULL, NULL},
        {"color", 0, 0, G_OPTION_ARG_STRING, &colour, NULL, NULL},
        {0},
    };
    const GOptionEntry connection[] = {
        {"socket", 's', 0, G_OPTION_ARG_STRING, &address, NULL, NULL},
        {0},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_set_strict_posix(context, verb == NULL);
    if (own) {
        g_option_context_add_main_entries(context, own, NULL);
    }
    g_option_context_add_main_entries(context, common, NULL);
    if (!ctl->client) {
        g_option_context_add_main_entries(context, connection, NULL);
    }
    if (!g_option_context_parse(context, argc, argv, &error)) {
        ctl_complain("%s", error->message);
        return usage_wrong(verb);
    }
    if (timeout_s != ctl->options.timeout_s) {
        if (!(timeout_s >= 0)) {
            ctl_complain("--timeout takes seconds, 0 or more");
            return false;
        }
        ctl->options.timeout_s = timeout_s;
    }
    if (colour && !set_colour(ctl, colour)) {
        return false;
    }
    if (address) {
        g_free(ctl->address);
        ctl->address = g_steal_pointer(&address);
    }
    if (*argc > 1 && strcmp((*argv)[1], "--") == 0) {
        (*argv)[1] = (*argv)[0];
        ++*argv;
        --*argc;
    }
    if (*argc - 1 < min || (max >= 0 && *argc - 1 > max)) {
        return usage_wrong(verb);
    }
    return true;
}
