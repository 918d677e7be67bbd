/*
 * <prefix>-visit: typed wrappers around the runtime's readers and writers.
 */
#include "emit.h"

static void emit_functions(GString *out, const char *name)
{
    g_string_append_printf(
        out,
        "static inline struct %s *%s_from_json(struct json_object *json, GError **errp)\n"
        "{\n"
        "    return qapi_object_read(&%s_type, QAPI_READ_JSON, json, errp);\n"
        "}\n"
        "static inline void %s_to_json(const struct %s *obj, GString *out)\n"
        "{\n"
        "    qapi_object_write(&%s_type, obj, out);\n"
        "}\n"
        "static inline struct %s *%s_from_keyval(const char *text, const char *implied_key,\n"
        "                                        GError **errp)\n"
        "{\n"
        "    return qapi_object_from_keyval(&%s_type, text, implied_key, errp);\n"
        "}\n",
        name, name, name, name, name, name, name, name, name);
}

void generate_visit(struct output *output)
{
    struct schema *schema = output->schema;
    GString *out =
        output_header(output, "visit.h", "Between the schema's types and JSON or key=value text.",
                      pool_printf(schema->pool,
                                  "#include \"%s-types.h\"\n#include \"qapi/json.h\"\n#include "
                                  "\"qapi/keyval.h\"\n",
                                  output->prefix));

    for (guint i = 0; i < schema->entities->len; i++) {
        const struct entity *e = g_ptr_array_index(schema->entities, i);

        if (entity_is_object(e) || e->kind == ENTITY_ALTERNATE) {
            emit_if(out, e->cond);
            emit_functions(out, e->c_name);
            emit_endif(out, e->cond);
            g_string_append_c(out, '\n');
        }
    }
    for (guint i = 0; i < schema->arrays->len; i++) {
        const struct entity *array = g_ptr_array_index(schema->arrays, i);

        emit_if(out, entity_cond(array));
        emit_functions(out, array->c_name);
        emit_endif(out, entity_cond(array));
        g_string_append_c(out, '\n');
    }
    output_header_end(out);
}
