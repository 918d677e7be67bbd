/*
 * <prefix>-introspect: the answer to query-qmp-schema.
 *
 * It starts from commands and events and follows references; what cannot be reached is left out.
 * Names of types are no part of the interface and are masked by numbers, as clients expect; all
 * integer types show as "int". A union's variants name every value of the tag, those without a
 * branch with the empty object.
 */
#include <string.h>

#include "emit.h"

struct writer {
    struct output *output;
    GString *out;      /* C text */
    GString *pending;  /* JSON text that is not in @out yet */
    GHashTable *masks; /* entity -> masked name */
    GHashTable *names; /* of types in use */
    GPtrArray *used;   /* struct used_type *, in order of first use */
    unsigned n_lists;  /* with macros */
};

/*
 * The separators of a JSON array whose elements may be there or not. While no element without a
 * condition has come, a macro of the list's own tells whether any has come at all.
 */
struct list {
    struct writer *w;
    bool sure;       /* an element before has no condition */
    unsigned number; /* of the macro; 0: no conditional element so far */
};

static void flush(struct writer *w)
{
    if (w->pending->len) {
        g_string_append(w->out, "    ");
        emit_string(w->out, w->pending->str);
        g_string_append_c(w->out, '\n');
        g_string_truncate(w->pending, 0);
    }
}

static void text(struct writer *w, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void text(struct writer *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_string_append_vprintf(w->pending, format, args);
    va_end(args);
    if (w->pending->len > 72) {
        flush(w);
    }
}

static void begin_if(struct writer *w, const struct cond *cond)
{
    if (cond) {
        flush(w);
        emit_if(w->out, cond);
    }
}

static void end_if(struct writer *w, const struct cond *cond)
{
    if (cond) {
        flush(w);
        emit_endif(w->out, cond);
    }
}

/* Opens the next element: its condition, and a comma if any element before it is there. */
static void list_next(struct list *list, const struct cond *cond)
{
    struct writer *w = list->w;

    begin_if(w, cond);
    if (list->sure) {
        text(w, ", ");
    } else if (list->number) {
        flush(w);
        g_string_append_printf(w->out, "#ifdef QAPI_LIST_%u\n    \", \"\n#endif\n", list->number);
    }
    if (!cond) {
        list->sure = true;
    } else if (!list->sure) {
        if (!list->number) {
            list->number = ++w->n_lists;
        }
        flush(w);
        g_string_append_printf(w->out, "#define QAPI_LIST_%u\n", list->number);
    }
}

struct used_type {
    const char *name;          /* masked */
    const struct entity *type; /* NULL: the empty object */
};

/* The masked name of @type (NULL: the empty object), which is now in use. */
static const char *use(struct writer *w, const struct entity *type)
{
    struct pool *pool = w->output->schema->pool;
    struct used_type *used;
    const char *name;

    if (type && type->kind == ENTITY_ARRAY) {
        name = pool_printf(pool, "[%s]", use(w, type->element));
    } else if (type && type->kind == ENTITY_BUILTIN) {
        name = type->builtin->shown;
    } else {
        name = g_hash_table_lookup(w->masks, type);
        if (!name) {
            name = pool_printf(pool, "%u", g_hash_table_size(w->masks));
            g_hash_table_insert(w->masks, (gpointer)type, (gpointer)name);
        }
    }
    if (g_hash_table_add(w->names, (gpointer)name)) {
        used = pool_alloc(pool, sizeof(*used));
        used->name = name;
        used->type = type;
        g_ptr_array_add(w->used, used);
    }
    return name;
}

/* What a command takes or returns, or an event carries; arguments without members are none. */
static const char *use_argument(struct writer *w, const struct entity *arg)
{
    return use(w,
               arg && arg->implicit && arg->kind == ENTITY_STRUCT && !arg->all->len ? NULL : arg);
}

static void features(struct writer *w, const struct feature *first)
{
    struct list list = {w};

    if (!first) {
        return;
    }
    text(w, ", \"features\": [");
    for (const struct feature *f = first; f; f = f->next) {
        list_next(&list, f->cond);
        text(w, "\"%s\"", f->name);
        end_if(w, f->cond);
    }
    text(w, "]");
}

static void describe_enum(struct writer *w, const struct entity *e)
{
    struct list members = {w}, values = {w};

    text(w, "\"meta-type\": \"enum\", \"members\": [");
    for (const struct member *v = e->members; v; v = v->next) {
        list_next(&members, v->cond);
        text(w, "{\"name\": \"%s\"", v->name);
        features(w, v->features);
        text(w, "}");
        end_if(w, v->cond);
    }
    text(w, "], \"values\": [");
    for (const struct member *v = e->members; v; v = v->next) {
        list_next(&values, v->cond);
        text(w, "\"%s\"", v->name);
        end_if(w, v->cond);
    }
    text(w, "]");
}

static void describe_variant(struct writer *w, struct list *list, const char *value,
                             const struct entity *type, const struct cond *cond)
{
    list_next(list, cond);
    text(w, "{\"case\": \"%s\", \"type\": \"%s\"}", value, use(w, type));
    end_if(w, cond);
}

static void describe_variants(struct writer *w, const struct entity *e)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    struct list list = {w};

    text(w, ", \"tag\": \"%s\", \"variants\": [", e->tag->name);
    for (const struct member *b = e->branches; b; b = b->next) {
        g_hash_table_add(seen, (gpointer)b->name);
        describe_variant(w, &list, b->name, b->type, b->cond);
    }
    for (const struct member *v = e->tag->type->members; v; v = v->next) {
        if (!g_hash_table_contains(seen, v->name)) {
            describe_variant(w, &list, v->name, NULL, v->cond);
        }
    }
    text(w, "]");
}

static void describe_object(struct writer *w, const struct entity *e)
{
    struct list list = {w};

    text(w, "\"meta-type\": \"object\", \"members\": [");
    for (guint i = 0; e && i < e->all->len; i++) {
        const struct member *m = g_ptr_array_index(e->all, i);

        list_next(&list, m->cond);
        text(w, "{\"name\": \"%s\", \"type\": \"%s\"", m->name, use(w, m->type));
        if (m->optional) {
            text(w, ", \"default\": null");
        }
        features(w, m->features);
        text(w, "}");
        end_if(w, m->cond);
    }
    text(w, "]");
    if (e && e->kind == ENTITY_UNION) {
        describe_variants(w, e);
    }
}

static void describe_alternate(struct writer *w, const struct entity *e)
{
    struct list list = {w};

    text(w, "\"meta-type\": \"alternate\", \"members\": [");
    for (const struct member *b = e->branches; b; b = b->next) {
        list_next(&list, b->cond);
        text(w, "{\"type\": \"%s\"}", use(w, b->type));
        end_if(w, b->cond);
    }
    text(w, "]");
}

static void describe_builtin(struct writer *w, const struct entity *e)
{
    static const char *const json_types[] = {
        [JSON_STRING] = "string",   [JSON_NUMBER] = "number", [JSON_INT] = "int",
        [JSON_BOOLEAN] = "boolean", [JSON_NULL] = "null",     [JSON_OBJECT] = "object",
        [JSON_ARRAY] = "array",     [JSON_VALUE] = "value",
    };

    text(w, "\"meta-type\": \"builtin\", \"json-type\": \"%s\"", json_types[e->builtin->json]);
}

static void describe(struct writer *w, struct list *list, const struct used_type *used)
{
    const struct entity *e = used->type;
    const struct cond *cond = e ? entity_cond(e) : NULL;

    list_next(list, cond);
    text(w, "{\"name\": \"%s\", ", used->name);
    switch (e ? e->kind : ENTITY_STRUCT) {
    case ENTITY_BUILTIN:
        describe_builtin(w, e);
        break;
    case ENTITY_ENUM:
        describe_enum(w, e);
        break;
    case ENTITY_ALTERNATE:
        describe_alternate(w, e);
        break;
    case ENTITY_ARRAY:
        text(w, "\"meta-type\": \"array\", \"element-type\": \"%s\"", use(w, e->element));
        break;
    default:
        describe_object(w, e);
        break;
    }
    features(w, e ? e->features : NULL);
    text(w, "}");
    end_if(w, cond);
}

static void describe_top(struct writer *w, struct list *list, const struct entity *e)
{
    list_next(list, e->cond);
    text(w, "{\"name\": \"%s\", \"meta-type\": \"%s\", \"arg-type\": \"%s\"", e->name,
         e->kind == ENTITY_COMMAND ? "command" : "event", use_argument(w, e->arg));
    if (e->kind == ENTITY_COMMAND) {
        text(w, ", \"ret-type\": \"%s\"", use_argument(w, e->returns));
    }
    if (e->allow_oob) {
        text(w, ", \"allow-oob\": true");
    }
    features(w, e->features);
    text(w, "}");
    end_if(w, e->cond);
}

static void describe_all(struct writer *w)
{
    struct list list = {w};

    text(w, "[");
    for (guint i = 0; i < w->output->schema->entities->len; i++) {
        const struct entity *e = g_ptr_array_index(w->output->schema->entities, i);

        if (e->kind == ENTITY_COMMAND || e->kind == ENTITY_EVENT) {
            describe_top(w, &list, e);
        }
    }
    for (guint i = 0; i < w->used->len; i++) { /* grows on the way */
        describe(w, &list, g_ptr_array_index(w->used, i));
    }
    text(w, "]");
    flush(w);
}

void generate_introspect(struct output *output)
{
    struct writer w = {
        .output = output,
        .pending = g_string_new(NULL),
        .masks = g_hash_table_new(NULL, NULL),
        .names = g_hash_table_new(g_str_hash, g_str_equal),
        .used = g_ptr_array_new(),
    };
    const char *include =
        pool_printf(output->schema->pool, "#include \"%s-introspect.h\"\n", output->prefix);

    w.out = output_header(output, "introspect.h", "The answer to query-qmp-schema.", "");
    g_string_append(w.out, "/* JSON text. */\nextern const char qmp_schema_json[];\n");
    output_header_end(w.out);

    w.out = output_c_file(output, "introspect.c", "The answer to query-qmp-schema.", include);
    g_string_append(w.out, "const char qmp_schema_json[] =\n");
    describe_all(&w);
    g_string_append(w.out, "    ;\n");

    g_string_free(w.pending, TRUE);
    g_hash_table_destroy(w.masks);
    g_hash_table_destroy(w.names);
    g_ptr_array_free(w.used, TRUE);
}
