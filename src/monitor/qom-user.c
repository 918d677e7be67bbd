/*
 * Objects' properties: see qom-user.h. They are the schema's members, as the object was made with
 * them, but for the limits of a throttle-group, which may change. What a secret holds is not told.
 */
#include "monitor/qom-user.h"

#include "block/throttle.h"
#include "devices/core/object.h"
#include "qapi-visit.h"
#include "qapi/error.h"
#include <json-c/json.h>
#include <string.h>

static struct json_object *take_member(const GString *text, const char *name)
{
    struct json_object *all = json_tokener_parse(text->str), *value = NULL;

    if (json_object_object_get_ex(all, name, &value)) {
        value = json_object_get(value);
    }
    json_object_put(all);
    return value;
}

static struct json_object *get_limit(const struct object *o, const char *name)
{
    struct throttle_limits *limits = throttle_group_limits(o->throttle);
    g_autoptr(GString) text = g_string_new(NULL);

    throttle_limits_to_json(limits, text);
    throttle_limits_free(limits);
    if (strcmp(name, "limits") == 0) {
        return json_tokener_parse(text->str);
    }
    return g_str_has_prefix(name, "x-") ? take_member(text, name + 2) : NULL;
}

struct json_object *qom_user_get(const struct object *o, const char *name)
{
    g_autoptr(GString) text = g_string_new(NULL);
    struct object_options *options;

    if (o->throttle) {
        return get_limit(o, name);
    }
    if (strcmp(name, "id") == 0 || strcmp(name, "qom-type") == 0 ||
        (o->secret && strcmp(name, "data") == 0)) {
        return NULL;
    }
    options = object_options_complete(o->options);
    object_options_to_json(options, text);
    object_options_free(options);
    return take_member(text, name);
}

bool qom_user_set(struct object *o, const char *name, struct json_object *value, bool *ours,
                  GError **error)
{
    struct throttle_limits *limits;
    bool ok;

    *ours = false;
    if (!o->throttle) {
        return false;
    }
    if (strcmp(name, "limits") != 0) {
        struct json_object *has = get_limit(o, name);

        *ours = has != NULL;
        json_object_put(has);
        if (*ours) {
            g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                        "Property cannot be set after initialization");
        }
        return false;
    }
    *ours = true;
    limits = throttle_limits_from_json(value, error);
    ok = limits && throttle_group_set_limits(o->throttle, limits, error);
    throttle_limits_free(limits);
    return ok;
}
