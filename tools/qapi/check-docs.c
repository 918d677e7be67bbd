/*
 * Documentation against the definition that it stands before.
 */
#include <string.h>

#include "schema.h"

/* Calls @visit for each member that the definition's own documentation describes. */
static const struct member *described_members(const struct entity *e)
{
    switch (e->kind) {
    case ENTITY_ALTERNATE:
        return e->branches;
    case ENTITY_COMMAND:
    case ENTITY_EVENT:
        return e->arg && e->arg->implicit ? e->arg->members : NULL;
    default:
        return e->members;
    }
}

static const struct feature *feature_find(const struct entity *e, const char *name)
{
    for (const struct feature *f = e->features; f; f = f->next) {
        if (strcmp(f->name, name) == 0) {
            return f;
        }
    }
    for (const struct member *m = described_members(e); m; m = m->next) {
        for (const struct feature *f = m->features; f; f = f->next) {
            if (strcmp(f->name, name) == 0) {
                return f;
            }
        }
    }
    return NULL;
}

static bool sections_check(struct schema *schema, struct entity *e)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);

    for (const struct member *m = described_members(e); m; m = m->next) {
        g_hash_table_add(names, (gpointer)m->name);
    }
    for (const struct doc_section *s = e->doc->sections; s; s = s->next) {
        if (s->kind == DOC_MEMBER && !g_hash_table_contains(names, s->name)) {
            return entity_error(schema, e, s->line, "documented member '%s' does not exist",
                                s->name);
        }
        if (s->kind == DOC_FEATURE && !feature_find(e, s->name)) {
            return entity_error(schema, e, s->line, "documented feature '%s' does not exist",
                                s->name);
        }
        if ((s->kind == DOC_RETURNS || s->kind == DOC_ERRORS) && e->kind != ENTITY_COMMAND) {
            return entity_error(schema, e, s->line, "'%s' is only valid for commands",
                                s->kind == DOC_RETURNS ? "Returns:" : "Errors:");
        }
    }
    return true;
}

static bool feature_described(struct schema *schema, struct entity *e,
                              const struct feature *features)
{
    for (const struct feature *f = features; f; f = f->next) {
        if (!doc_find(e->doc, DOC_FEATURE, f->name)) {
            return entity_error(schema, e, f->line, "feature '%s' lacks documentation", f->name);
        }
    }
    return true;
}

static bool completeness_check(struct schema *schema, struct entity *e)
{
    const struct pragmas *pragmas = &schema->parsed->pragmas;
    bool strict =
        pragmas->doc_required && !g_hash_table_contains(pragmas->documentation_exceptions, e->name);
    g_autoptr(GHashTable) described = g_hash_table_new(g_str_hash, g_str_equal);

    for (const struct doc_section *s = e->doc->sections; s; s = s->next) {
        if (s->kind == DOC_MEMBER) {
            g_hash_table_add(described, (gpointer)s->name);
        }
    }
    if (!feature_described(schema, e, e->features)) {
        return false;
    }
    for (const struct member *m = described_members(e); m; m = m->next) {
        if (strict && !g_hash_table_contains(described, m->name)) {
            return entity_error(schema, e, m->line, "member '%s' lacks documentation", m->name);
        }
        if (!feature_described(schema, e, m->features)) {
            return false;
        }
    }
    return true;
}

static void entity_check_docs(struct schema *schema, struct entity *e)
{
    if (!e->doc) {
        if (schema->parsed->pragmas.doc_required && !e->doc_failed) {
            entity_error(schema, e, e->place.line, "documentation comment required");
        }
        return;
    }
    if (strcmp(e->doc->symbol, e->name) != 0) {
        entity_error(schema, e, e->doc->place.line, "documentation comment is for '%s', not '%s'",
                     e->doc->symbol, e->name);
        return;
    }
    if (sections_check(schema, e)) {
        completeness_check(schema, e);
    }
}

void schema_check_docs(struct schema *schema)
{
    for (guint i = 0; i < schema->entities->len; i++) {
        struct entity *e = g_ptr_array_index(schema->entities, i);

        if (!e->bad) {
            entity_check_docs(schema, e);
        }
    }
}
