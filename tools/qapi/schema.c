/*
 * Loading a schema: the passes in their order, and what they share.
 */
#include "schema.h"

#include "names.h"

const struct builtin schema_builtins[] = {
    {"str", "str", "char *", JSON_STRING, "str"},
    {"number", "number", "double ", JSON_NUMBER, "number"},
    {"int", "int", "int64_t ", JSON_INT, "int"},
    {"int8", "int8", "int8_t ", JSON_INT, "int"},
    {"int16", "int16", "int16_t ", JSON_INT, "int"},
    {"int32", "int32", "int32_t ", JSON_INT, "int"},
    {"int64", "int64", "int64_t ", JSON_INT, "int"},
    {"uint8", "uint8", "uint8_t ", JSON_INT, "int"},
    {"uint16", "uint16", "uint16_t ", JSON_INT, "int"},
    {"uint32", "uint32", "uint32_t ", JSON_INT, "int"},
    {"uint64", "uint64", "uint64_t ", JSON_INT, "int"},
    {"size", "size", "uint64_t ", JSON_INT, "int"},
    {"bool", "bool", "bool ", JSON_BOOLEAN, "bool"},
    {"null", "null", "bool ", JSON_NULL, "null"},
    {"any", "any", "struct json_object *", JSON_VALUE, "any"},
    {"QType", "q_type", "enum q_type ", JSON_STRING, "QType"},
    {NULL},
};

static const struct {
    enum entity_kind kind;
    const char *text;
} kind_texts[] = {
    {ENTITY_BUILTIN, "built-in type"}, {ENTITY_ENUM, "enum"},           {ENTITY_STRUCT, "struct"},
    {ENTITY_UNION, "union"},           {ENTITY_ALTERNATE, "alternate"}, {ENTITY_ARRAY, "array"},
    {ENTITY_COMMAND, "command"},       {ENTITY_EVENT, "event"},
};

const char *entity_text(struct schema *schema, const struct entity *entity)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kind_texts); i++) {
        if (kind_texts[i].kind == entity->kind) {
            return pool_printf(schema->pool, "%s '%s'", kind_texts[i].text, entity->name);
        }
    }
    return entity->name;
}

bool entity_error(struct schema *schema, struct entity *entity, unsigned line, const char *format,
                  ...)
{
    va_list args;

    if (!entity->bad) {
        va_start(args, format);
        report_addv(schema->report, (struct place){entity->place.source, line}, format, args);
        va_end(args);
        entity->bad = true;
    }
    return false;
}

bool entity_is_object(const struct entity *entity)
{
    return entity->kind == ENTITY_STRUCT || entity->kind == ENTITY_UNION;
}

const struct cond *entity_cond(const struct entity *entity)
{
    return entity->kind == ENTITY_ARRAY ? entity->element->cond : entity->cond;
}

static void builtins_register(struct schema *schema)
{
    for (const struct builtin *b = schema_builtins; b->name; b++) {
        struct entity *e = pool_alloc(schema->pool, sizeof(*e));

        e->kind = ENTITY_BUILTIN;
        e->name = b->name;
        e->c_name = b->c_name;
        e->builtin = b;
        g_hash_table_insert(schema->by_name, (gpointer)e->name, e);
    }
}

static void all_free(void *data)
{
    g_ptr_array_free(data, TRUE);
}

struct schema *schema_load(struct pool *pool, struct report *report, const char *path)
{
    struct schema *schema = g_new0(struct schema, 1);

    schema->pool = pool;
    schema->report = report;
    schema->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    schema->entities = g_ptr_array_new();
    schema->arrays = g_ptr_array_new();
    schema->order = g_ptr_array_new();
    schema->member_lists = g_ptr_array_new_with_free_func(all_free);
    schema->name_sets = g_ptr_array_new_with_free_func((GDestroyNotify)g_hash_table_destroy);
    builtins_register(schema);

    schema->parsed = schema_parse(pool, report, path);
    schema_define(schema);
    schema_resolve(schema);
    schema_check_c(schema);
    schema_check_docs(schema);
    if (!report_is_empty(report)) {
        schema_free(schema);
        return NULL;
    }
    return schema;
}

void schema_free(struct schema *schema)
{
    if (!schema) {
        return;
    }
    parsed_free(schema->parsed);
    g_hash_table_destroy(schema->by_name);
    g_ptr_array_free(schema->entities, TRUE);
    g_ptr_array_free(schema->arrays, TRUE);
    g_ptr_array_free(schema->order, TRUE);
    g_ptr_array_free(schema->member_lists, TRUE);
    g_ptr_array_free(schema->name_sets, TRUE);
    g_free(schema);
}
