/*
 * Names that differ in the schema and would be the same in C.
 */
#include <string.h>

#include "names.h"
#include "schema.h"
#include "source.h"

/* What the dispatcher and errors have taken already. */
static const char *const taken_commands[] = {"command_find", "commands", "error_class",
                                             "error_quark", NULL};

static const struct entity nobody;

static void claim(struct schema *schema, GHashTable *claimed, const char *c_name, struct entity *e)
{
    const struct entity *other = g_hash_table_lookup(claimed, c_name);

    if (!other) {
        g_hash_table_insert(claimed, (gpointer)c_name, e);
    } else if (other->name == NULL) {
        entity_error(schema, e, e->place.line, "%s has the C name '%s', which is taken",
                     entity_text(schema, e), c_name);
    } else {
        entity_error(schema, e, e->place.line, "%s collides with %s in C: both are '%s'",
                     entity_text(schema, e), entity_text(schema, other), c_name);
    }
}

static void types_claim(struct schema *schema)
{
    g_autoptr(GHashTable) claimed = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) constants = g_hash_table_new(g_str_hash, g_str_equal);

    for (const struct builtin *b = schema_builtins; b->name; b++) {
        g_hash_table_insert(claimed, pool_printf(schema->pool, "%s_list", b->c_name),
                            (gpointer)&nobody);
    }
    for (guint i = 0; i < schema->entities->len; i++) {
        struct entity *e = g_ptr_array_index(schema->entities, i);

        if (e->kind == ENTITY_COMMAND || e->kind == ENTITY_EVENT) {
            if (e->arg && e->arg->implicit) {
                claim(schema, claimed, e->arg->c_name, e);
            }
            continue;
        }
        claim(schema, claimed, e->c_name, e);
        for (const struct member *v = e->kind == ENTITY_ENUM ? e->members : NULL; v; v = v->next) {
            claim(schema, constants, v->c_name, e);
        }
    }
    for (guint i = 0; i < schema->arrays->len; i++) {
        struct entity *array = g_ptr_array_index(schema->arrays, i);

        claim(schema, claimed, array->c_name, array->element);
    }
}

static void functions_claim(struct schema *schema, enum entity_kind kind)
{
    g_autoptr(GHashTable) claimed = g_hash_table_new(g_str_hash, g_str_equal);

    for (size_t i = 0; kind == ENTITY_COMMAND && taken_commands[i]; i++) {
        g_hash_table_insert(claimed, (gpointer)taken_commands[i], (gpointer)&nobody);
    }
    for (guint i = 0; i < schema->entities->len; i++) {
        struct entity *e = g_ptr_array_index(schema->entities, i);

        if (e->kind == kind) {
            claim(schema, claimed, e->c_name, e);
        }
    }
}

void schema_check_c(struct schema *schema)
{
    types_claim(schema);
    functions_claim(schema, ENTITY_COMMAND);
    functions_claim(schema, ENTITY_EVENT);
}
