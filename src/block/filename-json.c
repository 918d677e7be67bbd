/*
 * Names of the form json:{...}: a whole image's options in place of a path, as QEMU takes them,
 * from a user or as the name of a backing file. An option may be a member of an object ("file":
 * {"driver":
 * ...}) or have a name with dots ("file.driver"); numbers and booleans may be text.
 */
#include "block/block-priv.h"

#include "qapi-visit.h"
#include <json-c/json.h>
#include <string.h>

#define PREFIX    "json:"
#define MAX_DEPTH 32
#define FILENAME  ".filename"

bool block_filename_is_json(const char *name)
{
    return g_str_has_prefix(name, PREFIX);
}

static void add(GPtrArray *pairs, const char *key, const char *value)
{
    g_ptr_array_add(pairs, g_strdup(key));
    g_ptr_array_add(pairs, g_strdup(value));
}

static bool flatten(GPtrArray *pairs, const char *key, struct json_object *value, GError **error);

static bool flatten_object(GPtrArray *pairs, const char *prefix, struct json_object *object,
                           GError **error)
{
    json_object_object_foreach(object, key, value)
    {
        g_autofree char *path = *prefix ? g_strconcat(prefix, ".", key, NULL) : g_strdup(key);

        if (!*key || key[strspn(key, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-_.")]) {
            g_set_error(error, BLOCK_ERROR, 0, "'%s' is no name of an option", key);
            return false;
        }
        if (!flatten(pairs, path, value, error)) {
            return false;
        }
    }
    return true;
}

static bool flatten_array(GPtrArray *pairs, const char *prefix, struct json_object *array,
                          GError **error)
{
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        g_autofree char *path = g_strdup_printf("%s.%zu", prefix, i);

        if (!flatten(pairs, path, json_object_array_get_idx(array, i), error)) {
            return false;
        }
    }
    return true;
}

static bool flatten(GPtrArray *pairs, const char *key, struct json_object *value, GError **error)
{
    switch (json_object_get_type(value)) {
    case json_type_object:
        return flatten_object(pairs, key, value, error);
    case json_type_array:
        return flatten_array(pairs, key, value, error);
    case json_type_boolean:
        add(pairs, key, json_object_get_boolean(value) ? "on" : "off");
        return true;
    case json_type_null: /* of a backing file: none */
        add(pairs, key, "");
        return true;
    default:
        add(pairs, key, json_object_get_string(value));
        return true;
    }
}

const char *block_pair(const GPtrArray *pairs, const char *key)
{
    for (guint i = 0; i + 1 < pairs->len; i += 2) {
        if (strcmp(pairs->pdata[i], key) == 0) {
            return pairs->pdata[i + 1];
        }
    }
    return NULL;
}

/* A node below with a file name and no driver is what has the file. */
static void add_drivers(GPtrArray *pairs)
{
    guint n = pairs->len;

    for (guint i = 0; i < n; i += 2) {
        const char *key = pairs->pdata[i];
        g_autofree char *driver = NULL;

        if (g_str_has_suffix(key, FILENAME)) {
            driver = g_strdup_printf("%.*s.driver", (int)(strlen(key) - strlen(FILENAME)), key);
            if (!block_pair(pairs, driver)) {
                add(pairs, driver, blockdev_driver_str(block_driver_for_path(pairs->pdata[i + 1])));
            }
        }
    }
}

GPtrArray *block_json_pairs(const char *name, GError **error)
{
    struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
    const char *text = name + strlen(PREFIX);
    struct json_object *value;
    GPtrArray *pairs = NULL;

    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    value = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
    if (json_tokener_get_error(tokener) != json_tokener_success) {
        g_set_error(error, BLOCK_ERROR, 0, "Could not parse the JSON options: JSON parse error, %s",
                    json_tokener_error_desc(json_tokener_get_error(tokener)));
    } else if (!json_object_is_type(value, json_type_object)) {
        g_set_error(error, BLOCK_ERROR, 0, "Invalid JSON object given");
    } else {
        pairs = g_ptr_array_new_with_free_func(g_free);
        if (flatten_object(pairs, "", value, error)) {
            add_drivers(pairs);
        } else {
            g_clear_pointer(&pairs, g_ptr_array_unref);
        }
    }
    json_object_put(value);
    json_tokener_free(tokener);
    return pairs;
}

struct blockdev_options *block_options_of_json(const char *name, const char *driver, GError **error)
{
    g_autoptr(GPtrArray) pairs = block_json_pairs(name, error);
    g_autoptr(GString) text = g_string_new(NULL);

    if (!pairs) {
        return NULL;
    }
    for (guint i = 0; i < pairs->len; i += 2) {
        block_option_add(text, pairs->pdata[i], pairs->pdata[i + 1]);
    }
    if (driver) { /* what is given last holds */
        block_option_add(text, "driver", driver);
    }
    return blockdev_options_from_keyval(text->str, "driver", error);
}

struct blockdev_options *block_json_file_options(const char *name, GError **error)
{
    g_autoptr(GPtrArray) pairs = block_json_pairs(name, error);
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; pairs && i < pairs->len; i += 2) {
        if (g_str_has_prefix(pairs->pdata[i], "file.")) {
            block_option_add(text, (const char *)pairs->pdata[i] + 5, pairs->pdata[i + 1]);
        }
    }
    if (pairs && !text->len) {
        g_set_error(error, BLOCK_ERROR, 0, "'%s': a driver is missing, and a file", name);
    }
    return text->len ? blockdev_options_from_keyval(text->str, "driver", error) : NULL;
}
