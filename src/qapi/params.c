/* Named parameters of one option: see params.h. */
#include "qapi/params.h"

#include "qapi/keyval.h"
#include <json-c/json.h>
#include <string.h>

G_DEFINE_QUARK(params - error - quark, params_error)

static void param_clear(gpointer data)
{
    struct param *param = data;
    g_free(param->key);
    g_free(param->value);
}

static void params_add(struct params *params, char *key, char *value)
{
    struct param param = {.key = key, .value = value};
    g_array_append_val(params->items, param);
}

char *params_word(const char **text)
{
    GString *word = g_string_new(NULL);
    const char *p = *text;

    for (; *p; p++) {
        if (*p == ',' && *++p != ',') {
            *text = p;
            return g_string_free(word, FALSE);
        }
        g_string_append_c(word, *p);
    }
    *text = NULL;
    return g_string_free(word, FALSE);
}

static bool parse_keyval(struct params *params, const char *text, const char *implied_key,
                         GError **error)
{
    bool first = true;

    while (text && *text) {
        g_autofree char *word = params_word(&text);
        char *equals = strchr(word, '=');

        if (first && implied_key && !equals) {
            params_add(params, g_strdup(implied_key), g_steal_pointer(&word));
        } else if (!equals || equals == word) {
            g_set_error(error, PARAMS_ERROR, 0, "expected key=value, not '%s'", word);
            return false;
        } else {
            params_add(params, g_strndup(word, (gsize)(equals - word)), g_strdup(equals + 1));
        }
        first = false;
    }
    return true;
}

static bool take_json(struct params *params, struct json_object *object, GError **error)
{
    json_object_object_foreach(object, key, value)
    {
        enum json_type type = json_object_get_type(value);

        if (type == json_type_boolean) {
            params_add(params, g_strdup(key),
                       g_strdup(json_object_get_boolean(value) ? "on" : "off"));
        } else if (type == json_type_string || type == json_type_int || type == json_type_double) {
            params_add(params, g_strdup(key), g_strdup(json_object_get_string(value)));
        } else {
            g_set_error(error, PARAMS_ERROR, 0, "parameter '%s' takes a string, number or boolean",
                        key);
            return false;
        }
    }
    return true;
}

static bool parse_json(struct params *params, const char *text, GError **error)
{
    struct json_tokener *tokener = json_tokener_new_ex(8);
    struct json_object *object = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
    enum json_tokener_error why = json_tokener_get_error(tokener);
    bool ok = why == json_tokener_success && json_object_is_type(object, json_type_object);

    json_tokener_free(tokener);
    if (!ok) {
        g_set_error(error, PARAMS_ERROR, 0, "not a JSON object: %s",
                    why == json_tokener_success ? "another type" : json_tokener_error_desc(why));
    } else {
        ok = take_json(params, object, error);
    }
    json_object_put(object);
    return ok;
}

static struct params *params_new(void)
{
    struct params *params = g_new0(struct params, 1);

    params->items = g_array_new(FALSE, FALSE, sizeof(struct param));
    g_array_set_clear_func(params->items, param_clear);
    return params;
}

/* NULL, and params freed, when not ok. */
static struct params *params_finish(struct params *params, bool ok)
{
    if (!ok) {
        params_free(params);
        return NULL;
    }
    return params;
}

struct params *params_parse_keyval(const char *text, const char *implied_key, GError **error)
{
    struct params *params = params_new();

    return params_finish(params, parse_keyval(params, text, implied_key, error));
}

struct params *params_parse(const char *text, const char *implied_key, GError **error)
{
    struct params *params;

    if (text[0] != '{') {
        return params_parse_keyval(text, implied_key, error);
    }
    params = params_new();
    return params_finish(params, parse_json(params, text, error));
}

struct params *params_from_json(struct json_object *object, GError **error)
{
    struct params *params = params_new();

    return params_finish(params, take_json(params, object, error));
}

void params_free(struct params *params)
{
    if (params) {
        g_array_unref(params->items);
        g_free(params);
    }
}

const char *params_take(struct params *params, const char *key)
{
    const char *value = NULL;

    for (guint i = 0; i < params->items->len; i++) {
        struct param *param = &g_array_index(params->items, struct param, i);
        if (strcmp(param->key, key) == 0) {
            param->taken = true;
            value = param->value;
        }
    }
    return value;
}

bool params_take_bool(struct params *params, const char *key, bool *value, GError **error)
{
    const char *text = params_take(params, key);

    if (text && !qapi_parse_bool(text, value)) {
        g_set_error(error, PARAMS_ERROR, 0, "parameter '%s' expects 'on' or 'off', not '%s'", key,
                    text);
        return false;
    }
    return true;
}

bool params_take_uint(struct params *params, const char *key, uint64_t min, uint64_t max,
                      uint64_t *value, GError **error)
{
    const char *text = params_take(params, key);
    uint64_t number;
    bool negative;

    if (!text) {
        return true;
    }
    if (!qapi_parse_int(text, &negative, &number) || negative || number < min || number > max) {
        g_set_error(error, PARAMS_ERROR, 0,
                    "parameter '%s' expects a number from %" G_GUINT64_FORMAT
                    " to %" G_GUINT64_FORMAT ", not '%s'",
                    key, min, max, text);
        return false;
    }
    *value = number;
    return true;
}

bool params_end(const struct params *params, GError **error)
{
    for (guint i = 0; i < params->items->len; i++) {
        const struct param *param = &g_array_index(params->items, struct param, i);
        if (!param->taken) {
            g_set_error(error, PARAMS_ERROR, 0, "invalid parameter '%s'", param->key);
            return false;
        }
    }
    return true;
}

bool parse_size(const char *text, char default_unit, uint64_t *bytes)
{
    const char unit_text[] = {'1', default_unit, 0};
    size_t length = strlen(text);
    uint64_t number, unit = 1;

    if (!qapi_parse_size(text, &number) || !qapi_parse_size(unit_text, &unit)) {
        return false;
    }
    if (!g_ascii_isdigit(text[length - 1])) {
        unit = 1;
    }
    *bytes = number * unit;
    return number <= UINT64_MAX / unit;
}
