/*
 * From names to entities: what each definition refers to, and whether it may. Also the order in
 * which C needs the structs, and the members that an object has when its bases are counted.
 */
#include <string.h>

#include "names.h"
#include "schema.h"

/* The array of @element; made on first use. */
static struct entity *array_of(struct schema *schema, struct entity *element)
{
    const char *name = pool_printf(schema->pool, "[%s]", element->name);
    struct entity *array = g_hash_table_lookup(schema->by_name, name);

    if (!array) {
        array = pool_alloc(schema->pool, sizeof(*array));
        array->kind = ENTITY_ARRAY;
        array->name = name;
        array->c_name = pool_printf(schema->pool, "%s_list", element->c_name);
        array->place = element->place;
        array->element = element;
        array->implicit = true;
        g_hash_table_insert(schema->by_name, (gpointer)name, array);
        if (element->kind != ENTITY_BUILTIN) {
            g_ptr_array_add(schema->arrays, array);
        }
    }
    return array;
}

/* The type that @node in the definition of @user refers to. NULL on error. */
static struct entity *type_resolve(struct schema *schema, struct entity *user,
                                   const struct node *node)
{
    const struct node *name = node->kind == NODE_ARRAY ? node->children : node;
    struct entity *type = g_hash_table_lookup(schema->by_name, name->string);

    if (!type || type->kind == ENTITY_ARRAY) {
        entity_error(schema, user, name->line, "%s uses unknown type '%s'",
                     entity_text(schema, user), name->string);
        return NULL;
    }
    if (type->kind == ENTITY_COMMAND || type->kind == ENTITY_EVENT) {
        entity_error(schema, user, name->line, "%s uses %s as a type", entity_text(schema, user),
                     entity_text(schema, type));
        return NULL;
    }
    return node->kind == NODE_ARRAY ? array_of(schema, type) : type;
}

static bool members_resolve(struct schema *schema, struct entity *user, struct member *members)
{
    for (struct member *m = members; m; m = m->next) {
        if (m->type_node) {
            m->type = type_resolve(schema, user, m->type_node);
            if (!m->type) {
                return false;
            }
        }
    }
    return true;
}

static bool base_resolve(struct schema *schema, struct entity *e)
{
    const struct node *node = node_get(e->node, "base");

    if (!node || node->kind == NODE_OBJECT) {
        return true;
    }
    e->base = type_resolve(schema, e, node);
    if (!e->base) {
        return false;
    }
    if (e->base->kind != ENTITY_STRUCT) {
        return entity_error(schema, e, node->line, "'base' requires a struct type, %s is not one",
                            entity_text(schema, e->base));
    }
    return true;
}

static enum json_kind type_json_kind(const struct entity *type)
{
    switch (type->kind) {
    case ENTITY_BUILTIN:
        return type->builtin->json == JSON_INT ? JSON_NUMBER : type->builtin->json;
    case ENTITY_ENUM:
        return JSON_STRING;
    case ENTITY_ARRAY:
        return JSON_ARRAY;
    default:
        return JSON_OBJECT;
    }
}

/*
 * The kinds of JSON value that a branch takes away from the others, as a bit set. On the command
 * line everything is text, so text that could be a boolean or a number takes those away too.
 */
static unsigned branch_claims(const struct entity *type)
{
    unsigned claims = 1u << type_json_kind(type);

    if (type->kind == ENTITY_ENUM) {
        for (const struct member *v = type->members; v; v = v->next) {
            if (strcmp(v->name, "on") == 0 || strcmp(v->name, "off") == 0) {
                claims |= 1u << JSON_BOOLEAN;
            }
            if (strchr("-+0123456789.", v->name[0])) {
                claims |= 1u << JSON_NUMBER;
            }
        }
    } else if (claims & 1u << JSON_STRING) {
        claims |= 1u << JSON_BOOLEAN | 1u << JSON_NUMBER;
    }
    return claims;
}

static bool alternate_check(struct schema *schema, struct entity *e)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    unsigned claimed = 0;

    for (const struct member *b = e->branches; b; b = b->next) {
        unsigned claims;

        if (b->type->kind == ENTITY_ALTERNATE || type_json_kind(b->type) == JSON_VALUE) {
            return entity_error(schema, e, b->line, "branch '%s' of an alternate cannot be %s",
                                b->name, entity_text(schema, b->type));
        }
        if (!g_hash_table_add(seen, (gpointer)b->c_name)) {
            return entity_error(schema, e, b->line, "branch '%s' collides with an earlier branch",
                                b->name);
        }
        claims = branch_claims(b->type);
        if (claims & claimed) {
            return entity_error(schema, e, b->line,
                                "branch '%s' cannot be distinguished from an earlier branch",
                                b->name);
        }
        claimed |= claims;
    }
    return true;
}

static bool arguments_resolve(struct schema *schema, struct entity *e)
{
    const struct node *data = node_get(e->node, "data");

    if (e->arg) {
        return members_resolve(schema, e, e->arg->members);
    }
    if (!data) {
        return true;
    }
    e->arg = type_resolve(schema, e, data);
    if (!e->arg) {
        return false;
    }
    if (e->arg->kind == ENTITY_UNION && !e->boxed) {
        return entity_error(schema, e, data->line, "'data' can be %s only with 'boxed': true",
                            entity_text(schema, e->arg));
    }
    if (!entity_is_object(e->arg)) {
        return entity_error(schema, e, data->line, "'data' of %s cannot be %s",
                            entity_text(schema, e), entity_text(schema, e->arg));
    }
    return true;
}

static bool returns_resolve(struct schema *schema, struct entity *e)
{
    const struct node *node = node_get(e->node, "returns");
    const struct entity *type;

    if (!node) {
        return true;
    }
    e->returns = type_resolve(schema, e, node);
    if (!e->returns) {
        return false;
    }
    type = e->returns->kind == ENTITY_ARRAY ? e->returns->element : e->returns;
    if (!entity_is_object(type) &&
        !g_hash_table_contains(schema->parsed->pragmas.command_returns_exceptions, e->name)) {
        return entity_error(schema, e, node->line, "'returns' of %s cannot be %s",
                            entity_text(schema, e), entity_text(schema, e->returns));
    }
    return true;
}

/* These two features mean something to clients, and only where it has been defined. */
static bool features_check(struct schema *schema, struct entity *e)
{
    if (e->kind == ENTITY_COMMAND || e->kind == ENTITY_EVENT) {
        return true;
    }
    for (const struct feature *f = e->features; f; f = f->next) {
        if (strcmp(f->name, "deprecated") == 0 || strcmp(f->name, "unstable") == 0) {
            return entity_error(schema, e, f->line, "feature '%s' is not supported for types",
                                f->name);
        }
    }
    return true;
}

static void entity_resolve(struct schema *schema, struct entity *e)
{
    bool ok = features_check(schema, e);

    switch (e->kind) {
    case ENTITY_STRUCT:
    case ENTITY_UNION:
        ok = ok && base_resolve(schema, e) && members_resolve(schema, e, e->members) &&
             members_resolve(schema, e, e->branches);
        break;
    case ENTITY_ALTERNATE:
        ok = ok && members_resolve(schema, e, e->branches) && alternate_check(schema, e);
        break;
    case ENTITY_COMMAND:
    case ENTITY_EVENT:
        ok = ok && arguments_resolve(schema, e) && returns_resolve(schema, e);
        break;
    default:
        break;
    }
    e->bad = e->bad || !ok;
}

/* Appends @members to those of @e, unless one of them is there already. */
static bool members_collect(struct schema *schema, struct entity *e, struct entity *user)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < e->all->len; i++) {
        const struct member *m = g_ptr_array_index(e->all, i);

        g_hash_table_add(seen, (gpointer)m->c_name);
    }
    for (struct member *m = e->members; m; m = m->next) {
        if (!g_hash_table_add(seen, (gpointer)m->c_name)) {
            return entity_error(schema, user, m->line, "member '%s' collides with another member",
                                m->name);
        }
        g_ptr_array_add(e->all, m);
    }
    return true;
}

/*
 * Counts what generated code will repeat for @e: a small schema, where many take over much from one
 * another, can be made to stand for an enormous one.
 */
static bool names_count(struct schema *schema, struct entity *e, size_t n)
{
    schema->n_wire_names += n;
    if (schema->n_wire_names > WIRE_NAMES_MAX) {
        return entity_error(schema, e, e->place.line,
                            "the schema's objects have more than %d members together",
                            WIRE_NAMES_MAX);
    }
    return true;
}

/* Gathers the C names of all members that @e can have on the wire, whatever its branch. */
static bool wire_names_collect(struct schema *schema, struct entity *e)
{
    e->wire_names = g_hash_table_new(g_str_hash, g_str_equal);
    g_ptr_array_add(schema->name_sets, e->wire_names);
    for (guint i = 0; i < e->all->len; i++) {
        const struct member *m = g_ptr_array_index(e->all, i);

        g_hash_table_add(e->wire_names, (gpointer)m->c_name);
    }
    for (const struct member *b = e->branches; b; b = b->next) {
        GHashTableIter iter;
        gpointer name;

        if (!b->type->wire_names) {
            continue;
        }
        g_hash_table_iter_init(&iter, b->type->wire_names);
        while (g_hash_table_iter_next(&iter, &name, NULL)) {
            g_hash_table_add(e->wire_names, name);
        }
    }
    return names_count(schema, e, g_hash_table_size(e->wire_names));
}

static bool union_find_tag(struct schema *schema, struct entity *e)
{
    unsigned line = node_get(e->node, "discriminator")->line;

    for (guint i = 0; i < e->all->len && !e->tag; i++) {
        struct member *m = g_ptr_array_index(e->all, i);

        if (strcmp(m->name, e->discriminator) == 0) {
            e->tag = m;
        }
    }
    if (!e->tag) {
        return entity_error(schema, e, line, "discriminator '%s' is not a member of 'base'",
                            e->discriminator);
    }
    if (e->tag->type->kind != ENTITY_ENUM) {
        return entity_error(schema, e, line, "discriminator '%s' must be of an enum type",
                            e->discriminator);
    }
    if (e->tag->optional) {
        return entity_error(schema, e, line, "discriminator '%s' must not be optional",
                            e->discriminator);
    }
    if (e->tag->cond) {
        return entity_error(schema, e, line, "discriminator '%s' must not be conditional",
                            e->discriminator);
    }
    return true;
}

static bool union_check(struct schema *schema, struct entity *e)
{
    g_autoptr(GHashTable) values = g_hash_table_new(g_str_hash, g_str_equal);

    if (!union_find_tag(schema, e)) {
        return false;
    }
    /* a value without a branch selects an empty one; so only the values must not be missing */
    if (!e->tag->type->members && !e->tag->type->bad) {
        return entity_error(schema, e, e->place.line, "%s has no branches", entity_text(schema, e));
    }
    for (const struct member *v = e->tag->type->members; v; v = v->next) {
        g_hash_table_add(values, (gpointer)v->name);
    }
    if (!names_count(schema, e, g_hash_table_size(values))) { /* each makes a variant */
        return false;
    }
    for (const struct member *b = e->branches; b; b = b->next) {
        if (!g_hash_table_contains(values, b->name) && !e->tag->type->bad) {
            return entity_error(schema, e, b->line, "branch '%s' is not a value of %s", b->name,
                                entity_text(schema, e->tag->type));
        }
        for (guint i = 0; b->type->wire_names && i < e->all->len; i++) {
            const struct member *m = g_ptr_array_index(e->all, i);

            if (g_hash_table_contains(b->type->wire_names, m->c_name)) {
                return entity_error(schema, e, b->line,
                                    "member '%s' of branch '%s' collides with another member",
                                    m->name, b->name);
            }
        }
    }
    return true;
}

static bool object_order(struct schema *schema, struct entity *e);

/* Orders what @e contains: its base and the types of its branches. */
static bool parts_order(struct schema *schema, struct entity *e)
{
    if (e->base) {
        if (!object_order(schema, e->base)) {
            return entity_error(schema, e, e->place.line, "%s contains itself",
                                entity_text(schema, e));
        }
        for (guint i = 0; e->base->wire_names && i < e->base->all->len; i++) {
            g_ptr_array_add(e->all, g_ptr_array_index(e->base->all, i));
        }
    }
    for (const struct member *b = e->branches; b; b = b->next) {
        if (!entity_is_object(b->type)) {
            return entity_error(schema, e, b->line,
                                "branch '%s' of a union must be a struct or union, not %s", b->name,
                                entity_text(schema, b->type));
        }
        if (!object_order(schema, b->type)) {
            return entity_error(schema, e, e->place.line, "%s contains itself",
                                entity_text(schema, e));
        }
    }
    return true;
}

/*
 * Puts @e behind what it contains and collects its members. False only if @e is being ordered
 * already, that is contains itself. The depth is limited for the sake of the stack.
 */
static bool object_order(struct schema *schema, struct entity *e)
{
    if (e->visit == 1) {
        return false;
    }
    if (e->visit == 2 || e->bad) {
        return true;
    }
    if (schema->n_wire_names > WIRE_NAMES_MAX) {
        e->bad = true; /* that was reported once */
        return true;
    }
    if (schema->depth >= CONTAINMENT_MAX) {
        entity_error(schema, e, e->place.line, "%s is %d levels below another type",
                     entity_text(schema, e), CONTAINMENT_MAX);
        return true;
    }
    e->visit = 1;
    schema->depth++;
    e->all = g_ptr_array_new();
    g_ptr_array_add(schema->member_lists, e->all);
    if (parts_order(schema, e) && members_collect(schema, e, e) && wire_names_collect(schema, e) &&
        e->kind == ENTITY_UNION) {
        union_check(schema, e);
    }
    schema->depth--;
    e->visit = 2;
    g_ptr_array_add(schema->order, e);
    return true;
}

/* Arguments given in place form an object too, though one without a name. */
static void argument_collect(struct schema *schema, struct entity *e)
{
    struct entity *arg = e->arg;

    if (!e->bad && arg && arg->implicit) {
        arg->all = g_ptr_array_new();
        g_ptr_array_add(schema->member_lists, arg->all);
        members_collect(schema, arg, e);
    }
}

void schema_resolve(struct schema *schema)
{
    for (guint i = 0; i < schema->entities->len; i++) {
        struct entity *e = g_ptr_array_index(schema->entities, i);

        if (!e->bad) {
            entity_resolve(schema, e);
        }
    }
    for (guint i = 0; i < schema->entities->len; i++) {
        struct entity *e = g_ptr_array_index(schema->entities, i);

        if (entity_is_object(e)) {
            object_order(schema, e);
        } else {
            argument_collect(schema, e);
        }
    }
}
