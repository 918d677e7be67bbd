/* Event filters: see filter.h. */
#include "filter.h"

#include "output.h"

#include <string.h>

struct condition {
    char **path;
    char *value;
    bool negated;
};

struct filter {
    GPtrArray *names; /* char *, ended by NULL */
    GPtrArray *conditions;
};

static void condition_free(void *data)
{
    struct condition *condition = data;
    g_strfreev(condition->path);
    g_free(condition->value);
    g_free(condition);
}

struct filter *filter_new(void)
{
    struct filter *filter = g_new(struct filter, 1);
    filter->names = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(filter->names, NULL);
    filter->conditions = g_ptr_array_new_with_free_func(condition_free);
    return filter;
}

void filter_free(struct filter *filter)
{
    g_ptr_array_unref(filter->names);
    g_ptr_array_unref(filter->conditions);
    g_free(filter);
}

void filter_add_names(struct filter *filter, const char *names)
{
    g_auto(GStrv) parts = g_strsplit(names, ",", -1);
    for (unsigned i = 0; parts[i]; i++) {
        g_strstrip(parts[i]);
        if (*parts[i]) {
            g_ptr_array_insert(filter->names, (int)filter->names->len - 1,
                               g_ascii_strup(parts[i], -1));
        }
    }
}

char **filter_names(const struct filter *filter)
{
    return (char **)filter->names->pdata;
}

bool filter_add_condition(struct filter *filter, const char *text, GError **error)
{
    const char *equals = strchr(text, '=');
    const char *end = equals && equals > text && equals[-1] == '!' ? equals - 1 : equals;
    if (!equals || end == text) {
        g_set_error(error, G_SHELL_ERROR, G_SHELL_ERROR_FAILED,
                    "condition '%s' must have the form PATH=VALUE or PATH!=VALUE", text);
        return false;
    }
    g_autofree char *path = g_strndup(text, (gsize)(end - text));
    struct condition *condition = g_new(struct condition, 1);
    condition->path = g_strsplit(path, ".", -1);
    condition->value = g_strdup(equals + 1);
    condition->negated = end != equals;
    g_ptr_array_add(filter->conditions, condition);
    return true;
}

/* A member by name, or an array's element by number; false when there is none. */
static bool step_into(struct json_object **at, const char *step)
{
    if (json_object_is_type(*at, json_type_array)) {
        char *end;
        guint64 index = g_ascii_strtoull(step, &end, 10);
        if (!g_ascii_isdigit(*step) || *end || index >= json_object_array_length(*at)) {
            return false;
        }
        *at = json_object_array_get_idx(*at, index);
        return true;
    }
    return json_object_object_get_ex(*at, step, at);
}

static bool condition_holds(const struct condition *condition, struct json_object *event)
{
    struct json_object *at = event;
    for (unsigned i = 0; condition->path[i]; i++) {
        if (!step_into(&at, condition->path[i])) {
            return condition->negated;
        }
    }
    const char *text = at ? json_object_get_string(at) : "null";
    return (strcmp(text, condition->value) == 0) != condition->negated;
}

bool filter_wants(const struct filter *filter, struct json_object *event)
{
    const char *name = json_member_string(event, "event");
    bool named = filter->names->len == 1;
    for (guint i = 0; i + 1 < filter->names->len && !named; i++) {
        named = name && strcmp(g_ptr_array_index(filter->names, i), name) == 0;
    }
    for (guint i = 0; i < filter->conditions->len && named; i++) {
        named = condition_holds(g_ptr_array_index(filter->conditions, i), event);
    }
    return named;
}
