/* An index of query-qmp-schema: see schema.h. A server's schema may be wrong in any way: each
 * member is looked at before use, and look-ups through nested types are bounded. */
#include "schema.h"

#include "output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NESTING_MAX 16 /* of types that are followed: arrays, alternates, a.b.c paths */

struct schema {
    struct json_object *entities;
    GHashTable *commands; /* name -> struct json_object *, all borrowed from entities */
    GHashTable *events;
    GHashTable *types;
};

struct schema *schema_new(struct json_object *entities)
{
    if (!json_object_is_type(entities, json_type_array)) {
        return NULL;
    }
    struct schema *schema = g_new0(struct schema, 1);
    schema->entities = json_object_get(entities);
    schema->commands = g_hash_table_new(g_str_hash, g_str_equal);
    schema->events = g_hash_table_new(g_str_hash, g_str_equal);
    schema->types = g_hash_table_new(g_str_hash, g_str_equal);
    size_t n = json_object_array_length(entities);
    for (size_t i = 0; i < n; i++) {
        struct json_object *entity = json_object_array_get_idx(entities, i);
        const char *name = json_member_string(entity, "name");
        const char *kind = json_member_string(entity, "meta-type");
        if (!name || !kind) {
            continue;
        }
        GHashTable *table = strcmp(kind, "command") == 0 ? schema->commands
                            : strcmp(kind, "event") == 0 ? schema->events
                                                         : schema->types;
        g_hash_table_insert(table, (char *)name, entity);
    }
    return schema;
}

void schema_free(struct schema *schema)
{
    if (!schema) {
        return;
    }
    g_hash_table_unref(schema->commands);
    g_hash_table_unref(schema->events);
    g_hash_table_unref(schema->types);
    json_object_put(schema->entities);
    g_free(schema);
}

bool schema_has_command(const struct schema *schema, const char *name)
{
    return g_hash_table_contains(schema->commands, name);
}

bool schema_has_event(const struct schema *schema, const char *name)
{
    return g_hash_table_contains(schema->events, name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char **sorted_keys(GHashTable *table)
{
    guint n;
    const char **keys = (const char **)g_hash_table_get_keys_as_array(table, &n);
    qsort(keys, n, sizeof(*keys), compare_names);
    return keys;
}

const char **schema_commands(const struct schema *schema)
{
    return sorted_keys(schema->commands);
}

const char **schema_events(const struct schema *schema)
{
    return sorted_keys(schema->events);
}

const char *schema_arguments(const struct schema *schema, const char *command)
{
    return json_member_string(g_hash_table_lookup(schema->commands, command), "arg-type");
}

const char *schema_event_data(const struct schema *schema, const char *event)
{
    return json_member_string(g_hash_table_lookup(schema->events, event), "arg-type");
}

/* The entity of a type; NULL when type is NULL or unknown. */
static struct json_object *type_entity(const struct schema *schema, const char *type)
{
    return type ? g_hash_table_lookup(schema->types, type) : NULL;
}

static bool entity_is(struct json_object *entity, const char *kind)
{
    const char *is = json_member_string(entity, "meta-type");
    return is && strcmp(is, kind) == 0;
}

/* The length of an array member, 0 when it is none. */
static size_t member_length(struct json_object *list)
{
    return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

static void append_members(GArray *out, struct json_object *entity)
{
    struct json_object *list = json_member(entity, "members");
    for (size_t i = 0; i < member_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);
        struct schema_member member = {
            .name = json_member_string(one, "name"),
            .type = json_member_string(one, "type"),
            /* An optional member has a default, which may be null: the key alone counts. */
            .optional = json_object_object_get_ex(one, "default", NULL),
        };
        if (member.name && member.type) {
            g_array_append_val(out, member);
        }
    }
}

GArray *schema_members(const struct schema *schema, const char *type, struct json_object *given)
{
    GArray *out = g_array_new(FALSE, FALSE, sizeof(struct schema_member));
    struct json_object *entity = type_entity(schema, type);
    if (!entity_is(entity, "object")) {
        return out;
    }
    append_members(out, entity);
    const char *tag = json_member_string(entity, "tag");
    const char *branch = tag ? json_member_string(given, tag) : NULL;
    struct json_object *variants = json_member(entity, "variants");
    for (size_t i = 0; branch && i < member_length(variants); i++) {
        struct json_object *one = json_object_array_get_idx(variants, i);
        const char *value = json_member_string(one, "case");
        if (value && strcmp(value, branch) == 0) {
            append_members(out, type_entity(schema, json_member_string(one, "type")));
        }
    }
    return out;
}

/* An alternate's object branch, or the type itself: what a.b.c looks for members in. */
static const char *object_type(const struct schema *schema, const char *type)
{
    struct json_object *entity = type_entity(schema, type);
    struct json_object *list =
        entity_is(entity, "alternate") ? json_member(entity, "members") : NULL;
    for (size_t i = 0; i < member_length(list); i++) {
        const char *branch = json_member_string(json_object_array_get_idx(list, i), "type");
        if (entity_is(type_entity(schema, branch), "object")) {
            return branch;
        }
    }
    return type;
}

bool schema_member_find(const struct schema *schema, const char *type, const char *path,
                        struct json_object *given, struct schema_member *found)
{
    g_auto(GStrv) steps = g_strsplit(path, ".", NESTING_MAX);
    bool ok = false;
    for (unsigned i = 0; steps[i]; i++) {
        g_autoptr(GArray) members = schema_members(schema, object_type(schema, type), given);
        ok = false;
        for (guint j = 0; j < members->len && !ok; j++) {
            struct schema_member *member = &g_array_index(members, struct schema_member, j);
            if (strcmp(member->name, steps[i]) == 0) {
                *found = *member;
                ok = true;
            }
        }
        if (!ok) {
            return false;
        }
        type = found->type;
        given = json_member(given, steps[i]);
    }
    return ok;
}

static void append_values(const struct schema *schema, GPtrArray *out, const char *type,
                          unsigned depth)
{
    struct json_object *entity = type_entity(schema, type);
    if (!entity || depth > NESTING_MAX) {
        return;
    }
    if (entity_is(entity, "enum")) {
        struct json_object *list = json_member(entity, "values");
        for (size_t i = 0; i < member_length(list); i++) {
            struct json_object *value = json_object_array_get_idx(list, i);
            if (json_object_is_type(value, json_type_string)) {
                g_ptr_array_add(out, (char *)json_object_get_string(value));
            }
        }
    } else if (entity_is(entity, "array")) {
        append_values(schema, out, json_member_string(entity, "element-type"), depth + 1);
    } else if (entity_is(entity, "alternate")) {
        struct json_object *list = json_member(entity, "members");
        for (size_t i = 0; i < member_length(list); i++) {
            append_values(schema, out,
                          json_member_string(json_object_array_get_idx(list, i), "type"),
                          depth + 1);
        }
    } else if (g_strcmp0(json_member_string(entity, "json-type"), "boolean") == 0) {
        g_ptr_array_add(out, "true");
        g_ptr_array_add(out, "false");
    }
}

const char **schema_values(const struct schema *schema, const char *type)
{
    GPtrArray *out = g_ptr_array_new();
    append_values(schema, out, type, 0);
    if (out->len == 0) {
        g_ptr_array_unref(out);
        return NULL;
    }
    qsort(out->pdata, out->len, sizeof(*out->pdata), compare_names);
    g_ptr_array_add(out, NULL);
    return (const char **)g_ptr_array_free(out, FALSE);
}

char *schema_type_label(const struct schema *schema, const char *type)
{
    struct json_object *entity = type_entity(schema, type);
    const char *kind = json_member_string(entity, "meta-type");
    if (!kind) {
        return g_strdup("any");
    }
    if (strcmp(kind, "builtin") == 0) {
        const char *json = json_member_string(entity, "json-type");
        return g_strdup(json ? json : "any");
    }
    if (strcmp(kind, "array") == 0) {
        const char *element = json_member_string(entity, "element-type");
        struct json_object *inner = type_entity(schema, element);
        if (entity_is(inner, "builtin")) {
            const char *json = json_member_string(inner, "json-type");
            return g_strconcat("array of ", json ? json : "any", NULL);
        }
        const char *inner_kind = json_member_string(inner, "meta-type");
        return g_strconcat("array of ", inner_kind ? inner_kind : "any", NULL);
    }
    return g_strdup(kind);
}

/* A whole JSON value of any kind; false when text is none. */
static bool parse_json(const char *text, struct json_object **value)
{
    struct json_tokener *tokener = json_tokener_new();
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    *value = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
    bool ok = json_tokener_get_error(tokener) == json_tokener_success;
    json_tokener_free(tokener);
    return ok;
}

static struct json_object *guess_value(const char *text)
{
    struct json_object *value = NULL;
    if (strchr("-0123456789tfn{[", *text) && *text && parse_json(text, &value)) {
        return value;
    }
    return json_object_new_string(text);
}

/* Whole numbers also in hexadecimal, as people write addresses. */
static struct json_object *int_value(const char *text)
{
    char *end;
    errno = 0;
    if (text[0] == '-') {
        int64_t value = g_ascii_strtoll(text, &end, 0);
        return *end || errno ? NULL : json_object_new_int64(value);
    }
    uint64_t value = g_ascii_strtoull(text, &end, 0);
    return !g_ascii_isdigit(*text) || *end || errno ? NULL : json_object_new_uint64(value);
}

static struct json_object *builtin_value(const char *json_type, const char *text)
{
    struct json_object *value = NULL;
    if (strcmp(json_type, "string") == 0) {
        return json_object_new_string(text);
    }
    if (strcmp(json_type, "int") == 0) {
        value = int_value(text);
    } else if (strcmp(json_type, "boolean") == 0) {
        if (strcmp(text, "on") == 0 || strcmp(text, "yes") == 0) {
            value = json_object_new_boolean(true);
        } else if (strcmp(text, "off") == 0 || strcmp(text, "no") == 0) {
            value = json_object_new_boolean(false);
        }
    }
    return value ? value : guess_value(text);
}

static struct json_object *value_of(const struct schema *schema, const char *type, const char *text,
                                    unsigned depth);

/* "a,b" is an array of two. */
static struct json_object *array_value(const struct schema *schema, const char *element,
                                       const char *text, unsigned depth)
{
    struct json_object *value = NULL;
    if (*text == '[' && parse_json(text, &value)) {
        return value;
    }
    value = json_object_new_array();
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    for (unsigned i = 0; parts[i]; i++) {
        json_object_array_add(value, value_of(schema, element, parts[i], depth + 1));
    }
    return value;
}

/* An alternate takes a string when one of its branches does, unless text is plainly the other. */
static struct json_object *alternate_value(const struct schema *schema, struct json_object *entity,
                                           const char *text, unsigned depth)
{
    struct json_object *list = json_member(entity, "members");
    struct json_object *guess = guess_value(text);
    for (size_t i = 0; i < member_length(list); i++) {
        struct json_object *branch =
            type_entity(schema, json_member_string(json_object_array_get_idx(list, i), "type"));
        const char *json = json_member_string(branch, "json-type");
        bool fits = (entity_is(branch, "object") && json_object_is_type(guess, json_type_object)) ||
                    (entity_is(branch, "array") && json_object_is_type(guess, json_type_array)) ||
                    (json && strcmp(json, json_type_to_name(json_object_get_type(guess))) == 0) ||
                    (!guess && g_strcmp0(json, "null") == 0);
        if (fits) {
            return guess;
        }
    }
    json_object_put(guess);
    return json_object_new_string(text);
}

static struct json_object *value_of(const struct schema *schema, const char *type, const char *text,
                                    unsigned depth)
{
    struct json_object *entity = schema ? type_entity(schema, type) : NULL;
    if (!entity || depth > NESTING_MAX) {
        return guess_value(text);
    }
    if (entity_is(entity, "enum")) {
        return json_object_new_string(text);
    }
    if (entity_is(entity, "array")) {
        return array_value(schema, json_member_string(entity, "element-type"), text, depth);
    }
    if (entity_is(entity, "alternate")) {
        return alternate_value(schema, entity, text, depth);
    }
    const char *json = json_member_string(entity, "json-type");
    return json ? builtin_value(json, text) : guess_value(text);
}

struct json_object *schema_value(const struct schema *schema, const char *type, const char *text)
{
    return value_of(schema, type, text, 0);
}
