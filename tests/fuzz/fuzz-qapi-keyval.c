/*
 * Any text as key=value text or JSON, read as several types: an error or an object that prints,
 * reads back as the same, and can be freed.
 */
#include <json-c/json.h>
#include <string.h>

#include "test-qapi-visit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Prints @obj, reads that as JSON, and prints it again. */
static void check_text(const struct qapi_type *type, const void *obj)
{
    g_autoptr(GString) first = g_string_new(NULL);
    g_autoptr(GString) second = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    struct json_tokener *tokener = json_tokener_new_ex(1000);
    struct json_object *json;
    void *again;

    qapi_object_write(type, obj, first);
    json = json_tokener_parse_ex(tokener, first->str, (int)first->len + 1);
    g_assert_nonnull(json);
    again = qapi_object_read(type, QAPI_READ_JSON, json, &error);
    g_assert_no_error(error);
    qapi_object_write(type, again, second);
    g_assert_cmpstr(first->str, ==, second->str);
    qapi_object_free(type, again);
    json_object_put(json);
    json_tokener_free(tokener);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct qapi_type *const types[] = {
        &optionals_type, &numbers_type, &shape_type, &outer_shape_type, &eithers_type, &tree_type,
    };
    g_autofree char *text = g_strndup((const char *)data, size);

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autoptr(GError) error = NULL;
        void *obj = qapi_object_from_keyval(types[i], text, "name", &error);

        g_assert_true(!obj == !!error);
        if (obj) {
            check_text(types[i], obj);
        }
        qapi_object_free(types[i], obj);
    }
    return 0;
}
