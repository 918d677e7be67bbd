/*
 * From expressions to entities: each definition's own shape. Which keys it has, what their values
 * look like, how its names are spelled. What its names refer to is resolve.c's business.
 */
#include <string.h>

#include "names.h"
#include "schema.h"
#include "source.h"

struct key_rule {
    const char *name;
    bool required;
};

/* Where a complaint about something inside a definition goes. */
struct context {
    struct schema *schema;
    struct entity *entity;
};

static bool keys_check(struct context *c, const struct node *node, const char *what,
                       const struct key_rule *rules)
{
    for (const struct node *child = node->children; child; child = child->next) {
        const struct key_rule *rule = rules;

        while (rule->name && strcmp(rule->name, child->key) != 0) {
            rule++;
        }
        if (!rule->name) {
            return entity_error(c->schema, c->entity, child->key_line, "%s has unknown key '%s'",
                                what, child->key);
        }
    }
    for (const struct key_rule *rule = rules; rule->name; rule++) {
        if (rule->required && !node_get(node, rule->name)) {
            return entity_error(c->schema, c->entity, node->line, "%s misses key '%s'", what,
                                rule->name);
        }
    }
    return true;
}

static bool name_error(struct context *c, unsigned line, const char *what, const char *name,
                       const char *rule)
{
    return entity_error(c->schema, c->entity, line, "%s '%s' %s", what, name, rule);
}

/* The rules that all names share. */
static bool name_check(struct context *c, unsigned line, const char *what, const char *name,
                       bool value)
{
    if (!name_is_valid(name, value)) {
        return name_error(c, line, what, name, "has an invalid name");
    }
    if (strncmp(name, "q_", 2) == 0 || strncmp(name, "q-", 2) == 0) {
        return name_error(c, line, what, name, "begins with 'q_', which is reserved");
    }
    return true;
}

static bool name_check_lower(struct context *c, unsigned line, const char *what, const char *name,
                             bool permit_upper, bool permit_underscore, bool value)
{
    const char *stem = name_stem(name, false);

    if (!name_check(c, line, what, name, value)) {
        return false;
    }
    for (const char *p = stem; *p; p++) {
        if ((g_ascii_isupper(*p) && !permit_upper) || (*p == '_' && !permit_underscore)) {
            return name_error(c, line, what, name, "must not use uppercase or '_'");
        }
    }
    return true;
}

static bool name_check_upper(struct context *c, unsigned line, const char *what, const char *name)
{
    if (!name_check(c, line, what, name, false)) {
        return false;
    }
    for (const char *p = name_stem(name, true); *p; p++) {
        if (g_ascii_islower(*p) || *p == '-') {
            return name_error(c, line, what, name, "must not use lowercase or '-'");
        }
    }
    return true;
}

static bool name_check_camel(struct context *c, unsigned line, const char *what, const char *name)
{
    const char *stem = name_stem(name, true);
    bool lower = false;

    if (!name_check(c, line, what, name, false)) {
        return false;
    }
    for (const char *p = stem; *p; p++) {
        if (!g_ascii_isalnum(*p)) {
            return name_error(c, line, what, name, "must use CamelCase");
        }
        lower |= g_ascii_islower(*p);
    }
    if (!g_ascii_isupper(*stem) || !lower) {
        return name_error(c, line, what, name, "must use CamelCase");
    }
    if (g_str_has_suffix(name, "List")) {
        return name_error(c, line, what, name, "must not end in 'List'");
    }
    return true;
}

/* Reads the value of an 'if'. NULL on error. */
static struct cond *cond_read(struct context *c, const struct node *node)
{
    struct cond *cond = pool_alloc(c->schema->pool, sizeof(*cond));
    const struct node *child;
    struct cond **tail = &cond->operands;

    if (node->kind == NODE_STRING) {
        size_t len = strspn(node->string, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");

        cond->symbol = node->string;
        if (!g_ascii_isupper(node->string[0]) || node->string[len]) {
            entity_error(c->schema, c->entity, node->line,
                         "'if' condition '%s' is not a valid identifier", node->string);
            return NULL;
        }
        return cond;
    }
    child = node->kind == NODE_OBJECT ? node->children : NULL;
    if (!child || node->n_children != 1) {
        entity_error(c->schema, c->entity, node->line,
                     "an 'if' condition must be a string or an object with one key");
        return NULL;
    }
    if (strcmp(child->key, "not") == 0) {
        cond->kind = COND_NOT;
        cond->operands = cond_read(c, child);
        return cond->operands ? cond : NULL;
    }
    if (strcmp(child->key, "all") == 0) {
        cond->kind = COND_ALL;
    } else if (strcmp(child->key, "any") == 0) {
        cond->kind = COND_ANY;
    } else {
        entity_error(c->schema, c->entity, child->key_line,
                     "an 'if' condition has unknown key '%s'", child->key);
        return NULL;
    }
    if (child->kind != NODE_ARRAY || !child->children) {
        entity_error(c->schema, c->entity, child->line,
                     "'%s' of an 'if' condition must be a non-empty array", child->key);
        return NULL;
    }
    for (const struct node *operand = child->children; operand; operand = operand->next) {
        *tail = cond_read(c, operand);
        if (!*tail) {
            return NULL;
        }
        tail = &(*tail)->next;
    }
    return cond;
}

/* Reads the 'if' of @node, if it has one, into @*cond. */
static bool if_read(struct context *c, const struct node *node, struct cond **cond)
{
    const struct node *value = node_get(node, "if");

    if (value) {
        *cond = cond_read(c, value);
        return *cond != NULL;
    }
    return true;
}

/*
 * A string, or an object whose key @key holds the string: the long form of values, features and
 * members. Checks the keys against @rules, reads 'if', and returns the node of the short form.
 */
static const struct node *long_form(struct context *c, const struct node *node, const char *what,
                                    const char *key, const struct key_rule *rules,
                                    struct cond **cond)
{
    const struct node *inner;

    if (node->kind != NODE_OBJECT) {
        return node;
    }
    if (!keys_check(c, node, what, rules) || !if_read(c, node, cond)) {
        return NULL;
    }
    inner = node_get(node, key);
    return inner;
}

static bool features_read(struct context *c, const struct node *owner, struct feature **features)
{
    static const struct key_rule rules[] = {{"name", true}, {"if", false}, {NULL, false}};
    const struct node *array = node_get(owner, "features");
    struct feature **tail = features;

    if (!array) {
        return true;
    }
    if (array->kind != NODE_ARRAY) {
        return entity_error(c->schema, c->entity, array->line, "'features' must be an array");
    }
    for (const struct node *node = array->children; node; node = node->next) {
        struct feature *feature = pool_alloc(c->schema->pool, sizeof(*feature));
        const struct node *name = long_form(c, node, "feature", "name", rules, &feature->cond);

        if (!name) {
            return false;
        }
        if (name->kind != NODE_STRING) {
            return entity_error(c->schema, c->entity, name->line,
                                "a feature must be a string or an object");
        }
        feature->name = name->string;
        feature->line = name->line;
        if (!name_check_lower(c, name->line, "feature", name->string, false, false, false)) {
            return false;
        }
        for (const struct feature *f = *features; f; f = f->next) {
            if (strcmp(f->name, feature->name) == 0) {
                return entity_error(c->schema, c->entity, name->line, "duplicate feature '%s'",
                                    feature->name);
            }
        }
        *tail = feature;
        tail = &feature->next;
    }
    return true;
}

static bool in_set(GHashTable *set, const char *name)
{
    return g_hash_table_contains(set, name);
}

static bool values_read(struct context *c, const struct node *array)
{
    static const struct key_rule rules[] = {
        {"name", true}, {"if", false}, {"features", false}, {NULL, false}};
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    struct entity *e = c->entity;
    bool permit = in_set(c->schema->parsed->pragmas.member_name_exceptions, e->name);
    struct member **tail = &e->members;

    if (array->kind != NODE_ARRAY) {
        return entity_error(c->schema, e, array->line, "'data' of an enum must be an array");
    }
    for (const struct node *node = array->children; node; node = node->next) {
        struct member *value = pool_alloc(c->schema->pool, sizeof(*value));
        const struct node *name = long_form(c, node, "enum value", "name", rules, &value->cond);

        if (!name) {
            return false;
        }
        if (name->kind != NODE_STRING) {
            return entity_error(c->schema, e, name->line,
                                "a value of an enum must be a string or an object");
        }
        value->name = name->string;
        value->line = name->line;
        if (!name_check_lower(c, name->line, "enum value", name->string, permit, permit, true) ||
            (node->kind == NODE_OBJECT && !features_read(c, node, &value->features))) {
            return false;
        }
        value->c_name = enum_constant(c->schema->pool, e->constant_prefix, value->name);
        if (!g_hash_table_add(seen, (gpointer)value->c_name)) {
            return entity_error(c->schema, e, name->line,
                                "value '%s' collides with an earlier value", value->name);
        }
        *tail = value;
        tail = &value->next;
    }
    return true;
}

/* A type's name, or an array of one name where that is permitted. */
static bool type_ref_check(struct context *c, const struct node *node, const char *what, bool array)
{
    if (node->kind == NODE_STRING) {
        return true;
    }
    if (node->kind != NODE_ARRAY) {
        return entity_error(c->schema, c->entity, node->line, "%s must be the name of a type%s",
                            what, array ? " or an array" : "");
    }
    if (!array) {
        return entity_error(c->schema, c->entity, node->line, "%s cannot be an array", what);
    }
    if (node->n_children != 1 || node->children->kind != NODE_STRING) {
        return entity_error(c->schema, c->entity, node->line,
                            "%s: an array type must contain the name of a single type", what);
    }
    return true;
}

/* Reads one member of an object; @exempt from the rules of spelling. */
static struct member *member_read(struct context *c, const struct node *node, bool exempt)
{
    static const struct key_rule rules[] = {
        {"type", true}, {"if", false}, {"features", false}, {NULL, false}};
    struct member *member = pool_alloc(c->schema->pool, sizeof(*member));
    const char *what = pool_printf(c->schema->pool, "member '%s'", node->key);

    member->optional = node->key[0] == '*';
    member->name = node->key + member->optional;
    member->line = node->key_line;
    if (!name_check_lower(c, member->line, "member", member->name, exempt, exempt, false)) {
        return NULL;
    }
    if (strcmp(member->name, "u") == 0 || g_str_has_prefix(member->name, "has-") ||
        g_str_has_prefix(member->name, "has_")) {
        name_error(c, member->line, "member", member->name, "uses a reserved name");
        return NULL;
    }
    member->c_name = name_to_c(c->schema->pool, member->name);
    member->type_node = long_form(c, node, what, "type", rules, &member->cond);
    if (!member->type_node || !type_ref_check(c, member->type_node, what, true) ||
        (node->kind == NODE_OBJECT && !features_read(c, node, &member->features))) {
        return NULL;
    }
    return member;
}

static bool members_read(struct context *c, const struct node *object, struct member **members)
{
    bool exempt = in_set(c->schema->parsed->pragmas.member_name_exceptions, c->entity->name);
    struct member **tail = members;

    for (const struct node *node = object->children; node; node = node->next) {
        *tail = member_read(c, node, exempt);
        if (!*tail) {
            return false;
        }
        tail = &(*tail)->next;
    }
    return true;
}

static bool branches_read(struct context *c, const struct node *object, bool alternate)
{
    static const struct key_rule rules[] = {{"type", true}, {"if", false}, {NULL, false}};
    struct entity *e = c->entity;
    struct member **tail = &e->branches;

    if (object->kind != NODE_OBJECT || (alternate && !object->children)) {
        return entity_error(c->schema, e, object->line, "'data' of %s must be %s object",
                            entity_text(c->schema, e), alternate ? "a non-empty" : "an");
    }
    for (const struct node *node = object->children; node; node = node->next) {
        struct member *branch = pool_alloc(c->schema->pool, sizeof(*branch));
        const char *what = pool_printf(c->schema->pool, "branch '%s'", node->key);

        branch->name = node->key;
        branch->c_name = name_to_c(c->schema->pool, node->key);
        branch->line = node->key_line;
        if (alternate &&
            !name_check_lower(c, node->key_line, "branch", node->key, false, false, false)) {
            return false;
        }
        branch->type_node = long_form(c, node, what, "type", rules, &branch->cond);
        if (!branch->type_node || !type_ref_check(c, branch->type_node, what, alternate)) {
            return false;
        }
        *tail = branch;
        tail = &branch->next;
    }
    return true;
}

/* An object type that has no definition of its own: members given in place. */
static struct entity *implicit_object(struct context *c, const struct node *node,
                                      const char *c_name)
{
    struct entity *object = pool_alloc(c->schema->pool, sizeof(*object));

    object->kind = ENTITY_STRUCT;
    object->name = c->entity->name;
    object->c_name = c_name;
    object->place = c->entity->place;
    object->node = node;
    object->cond = c->entity->cond;
    object->implicit = true;
    return members_read(c, node, &object->members) ? object : NULL;
}

static bool string_key(struct context *c, const char *key, const char **value)
{
    const struct node *node = node_get(c->entity->node, key);

    if (node && node->kind != NODE_STRING) {
        return entity_error(c->schema, c->entity, node->line, "'%s' must be a string", key);
    }
    *value = node ? node->string : NULL;
    return true;
}

static bool define_enum(struct context *c)
{
    static const struct key_rule rules[] = {{"enum", true}, {"data", true},      {"prefix", false},
                                            {"if", false},  {"features", false}, {NULL, false}};
    struct entity *e = c->entity;
    const char *prefix;

    if (!keys_check(c, e->node, entity_text(c->schema, e), rules) ||
        !string_key(c, "prefix", &prefix)) {
        return false;
    }
    if (prefix && (!g_ascii_isalpha(*prefix) ||
                   prefix[strspn(prefix, G_CSET_A_2_Z G_CSET_a_2_z "0123456789_")])) {
        return entity_error(c->schema, e, node_get(e->node, "prefix")->line,
                            "'prefix' must be a C identifier");
    }
    e->constant_prefix = prefix ? prefix : e->c_name;
    e->max_constant = enum_constant(c->schema->pool, e->constant_prefix, "_max");
    return values_read(c, node_get(e->node, "data"));
}

static bool define_struct(struct context *c)
{
    static const struct key_rule rules[] = {{"struct", true}, {"data", true},      {"base", false},
                                            {"if", false},    {"features", false}, {NULL, false}};
    struct entity *e = c->entity;
    const struct node *data = node_get(e->node, "data");
    const char *base;

    if (!keys_check(c, e->node, entity_text(c->schema, e), rules) ||
        !string_key(c, "base", &base)) {
        return false;
    }
    if (data->kind != NODE_OBJECT) {
        return entity_error(c->schema, e, data->line, "'data' of a struct must be an object");
    }
    return members_read(c, data, &e->members);
}

static bool define_union(struct context *c)
{
    static const struct key_rule rules[] = {
        {"union", true},     {"base", true}, {"discriminator", true}, {"data", true}, {"if", false},
        {"features", false}, {NULL, false}};
    struct entity *e = c->entity;
    const struct node *base = node_get(e->node, "base");

    if (!keys_check(c, e->node, entity_text(c->schema, e), rules) ||
        !string_key(c, "discriminator", &e->discriminator)) {
        return false;
    }
    if (base->kind == NODE_OBJECT) {
        if (!members_read(c, base, &e->members)) {
            return false;
        }
    } else if (base->kind != NODE_STRING) {
        return entity_error(c->schema, e, base->line,
                            "'base' of a union must be an object or the name of a type");
    }
    return branches_read(c, node_get(e->node, "data"), false);
}

static bool define_alternate(struct context *c)
{
    static const struct key_rule rules[] = {
        {"alternate", true}, {"data", true}, {"if", false}, {"features", false}, {NULL, false}};

    return keys_check(c, c->entity->node, entity_text(c->schema, c->entity), rules) &&
           branches_read(c, node_get(c->entity->node, "data"), true);
}

/* A boolean key that only ever makes sense with one value. */
static bool flag_read(struct context *c, const char *key, bool only, bool *set)
{
    const struct node *node = node_get(c->entity->node, key);

    if (!node) {
        return true;
    }
    if (node->kind != NODE_BOOL || node->boolean != only) {
        return entity_error(c->schema, c->entity, node->line, "flag '%s' may only be %s", key,
                            only ? "true" : "false");
    }
    *set = true;
    return true;
}

/* 'data' and 'boxed' of a command or event. @c_prefix: of the C name of members given in place. */
static bool data_read(struct context *c, const char *c_prefix)
{
    struct entity *e = c->entity;
    const struct node *data = node_get(e->node, "data");

    if (!flag_read(c, "boxed", true, &e->boxed)) {
        return false;
    }
    if (!data) {
        return !e->boxed || entity_error(c->schema, e, node_get(e->node, "boxed")->line,
                                         "'boxed': true requires 'data'");
    }
    if (data->kind == NODE_OBJECT && e->boxed) {
        return entity_error(c->schema, e, data->line,
                            "with 'boxed': true, 'data' must be the name of a type");
    }
    if (data->kind == NODE_OBJECT) {
        e->arg = implicit_object(c, data,
                                 pool_printf(c->schema->pool, "%s_%s_arg", c_prefix, e->c_name));
        return e->arg != NULL;
    }
    if (data->kind != NODE_STRING) {
        return entity_error(c->schema, e, data->line,
                            "'data' must be an object or the name of a type");
    }
    return true;
}

/* Godwit's own key: the least role whose clients may run the command. */
static bool role_read(struct context *c)
{
    static const char *const names[] = {
        [ROLE_ADMIN] = "admin", [ROLE_OPERATOR] = "operator", [ROLE_OBSERVER] = "observer"};
    const struct node *node = node_get(c->entity->node, "role");

    if (!node) {
        /* By the protocol's rule for names such a command only tells. */
        c->entity->role = g_str_has_prefix(c->entity->name, "query-") ? ROLE_OBSERVER : ROLE_ADMIN;
        return true;
    }
    for (size_t i = 0; node->kind == NODE_STRING && i < G_N_ELEMENTS(names); i++) {
        if (strcmp(node->string, names[i]) == 0) {
            c->entity->role = (enum command_role)i;
            return true;
        }
    }
    return entity_error(c->schema, c->entity, node->line,
                        "'role' must be 'observer', 'operator' or 'admin'");
}

static bool define_command(struct context *c)
{
    static const struct key_rule rules[] = {{"command", true},    {"data", false},
                                            {"boxed", false},     {"returns", false},
                                            {"gen", false},       {"success-response", false},
                                            {"allow-oob", false}, {"coroutine", false},
                                            {"if", false},        {"allow-preconfig", false},
                                            {"features", false},  {"role", false},
                                            {NULL, false}};
    struct entity *e = c->entity;
    const struct node *returns = node_get(e->node, "returns");

    if (!keys_check(c, e->node, entity_text(c->schema, e), rules) || !data_read(c, "qmp") ||
        !flag_read(c, "gen", false, &e->no_gen) ||
        !flag_read(c, "success-response", false, &e->no_success) ||
        !flag_read(c, "allow-oob", true, &e->allow_oob) ||
        !flag_read(c, "allow-preconfig", true, &e->allow_preconfig) ||
        !flag_read(c, "coroutine", true, &e->coroutine) || !role_read(c)) {
        return false;
    }
    if (e->allow_oob && e->coroutine) {
        return entity_error(c->schema, e, e->place.line,
                            "flags 'allow-oob' and 'coroutine' are incompatible");
    }
    return !returns || type_ref_check(c, returns, "'returns'", true);
}

static bool define_event(struct context *c)
{
    static const struct key_rule rules[] = {{"event", true}, {"data", false},     {"boxed", false},
                                            {"if", false},   {"features", false}, {NULL, false}};

    return keys_check(c, c->entity->node, entity_text(c->schema, c->entity), rules) &&
           data_read(c, "qapi_event");
}

static const struct {
    const char *key;
    enum entity_kind kind;
    bool (*define)(struct context *c);
} definitions[] = {
    {"enum", ENTITY_ENUM, define_enum},          {"struct", ENTITY_STRUCT, define_struct},
    {"union", ENTITY_UNION, define_union},       {"alternate", ENTITY_ALTERNATE, define_alternate},
    {"command", ENTITY_COMMAND, define_command}, {"event", ENTITY_EVENT, define_event},
};

static bool defined_name_check(struct context *c, unsigned line)
{
    const struct pragmas *pragmas = &c->schema->parsed->pragmas;
    struct entity *e = c->entity;

    switch (e->kind) {
    case ENTITY_COMMAND:
        return name_check_lower(c, line, "command", e->name, false,
                                in_set(pragmas->command_name_exceptions, e->name), false);
    case ENTITY_EVENT:
        return name_check_upper(c, line, "event", e->name);
    default:
        return name_check_camel(c, line, "type", e->name);
    }
}

/* Registers the name, so that references to it are not complained about as well. */
static bool entity_register(struct schema *schema, struct entity *e, unsigned line)
{
    const struct entity *other = g_hash_table_lookup(schema->by_name, e->name);

    if (!other) {
        g_hash_table_insert(schema->by_name, (gpointer)e->name, e);
        return true;
    }
    if (other->kind == ENTITY_BUILTIN) {
        return entity_error(schema, e, line, "'%s' is a built-in type", e->name);
    }
    return entity_error(schema, e, line, "'%s' is already defined, at %s:%u", e->name,
                        other->place.source->path, other->place.line);
}

static void define_item(struct schema *schema, const struct item *item)
{
    struct entity *e = pool_alloc(schema->pool, sizeof(*e));
    struct context c = {schema, e};
    const struct node *name = NULL;
    size_t i = 0;

    while (i < G_N_ELEMENTS(definitions) && !name) {
        name = node_get(item->node, definitions[i++].key);
    }
    if (!name) {
        report_add(schema->report, item->place,
                   "expression is not a definition: no key 'enum', 'struct', 'union', "
                   "'alternate', 'command' or 'event'");
        return;
    }
    i--;
    e->kind = definitions[i].kind;
    e->place = item->place;
    e->node = item->node;
    e->doc = item->doc;
    e->doc_failed = item->doc_failed;
    if (name->kind != NODE_STRING) {
        report_add(schema->report, (struct place){item->place.source, name->line},
                   "'%s' must be a string", name->key);
        return;
    }
    e->name = name->string;
    e->c_name = e->kind == ENTITY_COMMAND || e->kind == ENTITY_EVENT
                    ? name_to_lower(schema->pool, e->name)
                    : type_name_to_c(schema->pool, e->name);
    g_ptr_array_add(schema->entities, e);
    if (!entity_register(schema, e, name->line) || !defined_name_check(&c, name->line)) {
        return;
    }
    if (if_read(&c, e->node, &e->cond) && features_read(&c, e->node, &e->features)) {
        definitions[i].define(&c);
    }
}

void schema_define(struct schema *schema)
{
    for (guint i = 0; i < schema->parsed->items->len; i++) {
        const struct item *item = g_ptr_array_index(schema->parsed->items, i);

        if (item->node) {
            define_item(schema, item);
        }
    }
}
