/* exec: any command of the server, arguments as JSON or as key=value. */
#include "arguments.h"
#include "ctl.h"

static struct json_object *exec_command(struct ctl *ctl, char **words, bool oob, GError **error)
{
    if (!ctl_connect(ctl, error)) {
        return NULL;
    }
    struct schema *schema = arguments_need_schema(words + 1) ? ctl_schema(ctl) : NULL;
    struct json_object *arguments = arguments_parse(words + 1, schema, words[0], error);
    if (!arguments) {
        return NULL;
    }
    bool any = json_object_object_length(arguments) > 0;
    struct json_object *value = client_call(ctl->client, words[0], any ? arguments : NULL, oob,
                                            ctl_deadline(ctl, CTL_TIMEOUT_DEFAULT_MS), error);
    json_object_put(arguments);
    return value;
}

struct json_object *exec_words(struct ctl *ctl, char **words, GError **error)
{
    return exec_command(ctl, words, false, error);
}

enum ctl_status verb_exec(struct ctl *ctl, int argc, char **argv)
{
    gboolean oob = FALSE;
    const GOptionEntry own[] = {
        {"oob", 0, 0, G_OPTION_ARG_NONE, &oob, NULL, NULL},
        {0},
    };
    if (!ctl_parse(ctl, verb_find("exec"), own, &argc, &argv, 1, -1)) {
        return CTL_USAGE;
    }
    if (oob && !ctl->client) {
        ctl->options.oob = TRUE;
    }
    GError *error = NULL;
    struct json_object *value = exec_command(ctl, argv + 1, oob, &error);
    if (!value) {
        return ctl_fail(ctl, error);
    }
    enum ctl_status result = ctl_print_value(ctl, value);
    json_object_put(value);
    return result;
}
