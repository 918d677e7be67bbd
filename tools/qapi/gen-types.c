/*
 * <prefix>-types: the C types, their descriptions, and the functions on them that need no JSON.
 *
 * All functions are thin inline wrappers around the runtime's (src/qapi/type.h); the descriptions
 * are the data that those work from.
 */
#include "emit.h"

static void emit_enum(GString *out, const struct entity *e)
{
    emit_if(out, e->cond);
    g_string_append_printf(out, "enum %s {\n", e->c_name);
    for (const struct member *v = e->members; v; v = v->next) {
        emit_if(out, v->cond);
        g_string_append_printf(out, "    %s,\n", v->c_name);
        emit_endif(out, v->cond);
    }
    g_string_append_printf(out, "    %s\n};\n\n", e->max_constant);
    g_string_append_printf(out, "extern const struct qapi_type %s_type;\n\n", e->c_name);
    g_string_append_printf(out,
                           "/* NULL for a value that is none of them. */\n"
                           "static inline const char *%s_str(enum %s value)\n"
                           "{\n"
                           "    return qapi_enum_str(&%s_type, (int)value);\n"
                           "}\n\n"
                           "static inline bool %s_parse(const char *text, enum %s *value)\n"
                           "{\n"
                           "    int v;\n\n"
                           "    if (!qapi_enum_parse(&%s_type, text, &v)) {\n"
                           "        return false;\n"
                           "    }\n"
                           "    *value = (enum %s)v;\n"
                           "    return true;\n"
                           "}\n",
                           e->c_name, e->c_name, e->c_name, e->c_name, e->c_name, e->c_name,
                           e->c_name);
    emit_endif(out, e->cond);
    g_string_append_c(out, '\n');
}

void emit_struct_members(struct output *output, GString *out, const struct entity *e)
{
    for (guint i = 0; i < e->all->len; i++) {
        const struct member *m = g_ptr_array_index(e->all, i);

        emit_if(out, m->cond);
        if (m->optional && !c_type_is_pointer(m->type)) {
            g_string_append_printf(out, "    bool has_%s;\n", m->c_name);
        }
        g_string_append_printf(out, "    %s%s;\n", c_type(output->schema->pool, m->type),
                               m->c_name);
        emit_endif(out, m->cond);
    }
}

static void emit_branches(struct output *output, GString *out, const struct entity *e)
{
    g_string_append(out, "    union {\n");
    for (const struct member *b = e->branches; b; b = b->next) {
        emit_if(out, b->cond);
        if (e->kind == ENTITY_UNION) {
            g_string_append_printf(out, "        struct %s %s;\n", b->type->c_name, b->c_name);
        } else {
            g_string_append_printf(out, "        %s%s;\n", c_type(output->schema->pool, b->type),
                                   b->c_name);
        }
        emit_endif(out, b->cond);
    }
    g_string_append(out, "    } u;\n");
}

static void emit_struct(struct output *output, GString *out, const struct entity *e)
{
    emit_if(out, e->cond);
    g_string_append_printf(out, "struct %s {\n", e->c_name);
    if (e->kind == ENTITY_ALTERNATE) {
        g_string_append(out, "    enum q_type type;\n");
        emit_branches(output, out, e);
    } else if (e->kind == ENTITY_UNION) {
        emit_struct_members(output, out, e);
        emit_branches(output, out, e);
    } else if (e->all->len) {
        emit_struct_members(output, out, e);
    } else {
        g_string_append(out, "    char q_unused; /* no members */\n");
    }
    g_string_append(out, "};\n");
    emit_endif(out, e->cond);
    g_string_append_c(out, '\n');
}

static void emit_list(struct output *output, GString *out, const struct entity *array)
{
    const struct cond *cond = entity_cond(array);

    emit_if(out, cond);
    g_string_append_printf(out,
                           "struct %s {\n"
                           "    size_t n, cap;\n"
                           "    %s*v;\n"
                           "};\n",
                           array->c_name, c_type(output->schema->pool, array->element));
    emit_endif(out, cond);
    g_string_append_c(out, '\n');
}

static void emit_object_functions(GString *out, const char *name)
{
    g_string_append_printf(out,
                           "extern const struct qapi_type %s_type;\n"
                           "static inline void %s_free(struct %s *obj)\n"
                           "{\n"
                           "    qapi_object_free(&%s_type, obj);\n"
                           "}\n"
                           "static inline struct %s *%s_clone(const struct %s *obj)\n"
                           "{\n"
                           "    return qapi_object_clone(&%s_type, obj);\n"
                           "}\n",
                           name, name, name, name, name, name, name, name);
}

static void emit_list_functions(struct output *output, GString *out, const struct entity *array)
{
    const char *element = c_type(output->schema->pool, array->element);
    const char *name = array->c_name;

    g_string_append_printf(out,
                           "static inline struct %s *%s_new(void)\n"
                           "{\n"
                           "    return g_new0(struct %s, 1);\n"
                           "}\n"
                           "static inline void %s_append(struct %s *list, %selement)\n"
                           "{\n"
                           "    *(%s*)qapi_list_grow(&%s_type, list) = element;\n"
                           "}\n",
                           name, name, name, name, name, element, element, name);
}

static void emit_header(struct output *output)
{
    struct schema *schema = output->schema;
    GString *out = output_header(output, "types.h", "C types of the schema.",
                                 "#include \"qapi/list.h\"\n#include \"qapi/type.h\"\n");

    for (guint i = 0; i < schema->entities->len; i++) {
        const struct entity *e = g_ptr_array_index(schema->entities, i);

        if (e->kind == ENTITY_ENUM) {
            emit_enum(out, e);
        }
    }
    for (guint i = 0; i < schema->arrays->len; i++) {
        const struct entity *array = g_ptr_array_index(schema->arrays, i);

        if (array->element->kind != ENTITY_ENUM) {
            g_string_append_printf(out, "struct %s;\n", array->element->c_name);
        }
        emit_list(output, out, array);
    }
    for (guint i = 0; i < schema->entities->len; i++) {
        const struct entity *e = g_ptr_array_index(schema->entities, i);

        if (e->kind == ENTITY_ALTERNATE) {
            emit_struct(output, out, e);
        }
    }
    for (guint i = 0; i < schema->order->len; i++) {
        emit_struct(output, out, g_ptr_array_index(schema->order, i));
    }
    for (guint i = 0; i < schema->entities->len; i++) {
        const struct entity *e = g_ptr_array_index(schema->entities, i);

        if (entity_is_object(e) || e->kind == ENTITY_ALTERNATE) {
            emit_if(out, e->cond);
            emit_object_functions(out, e->c_name);
            emit_endif(out, e->cond);
            g_string_append_c(out, '\n');
        }
    }
    for (guint i = 0; i < schema->arrays->len; i++) {
        const struct entity *array = g_ptr_array_index(schema->arrays, i);

        emit_if(out, entity_cond(array));
        emit_object_functions(out, array->c_name);
        emit_list_functions(output, out, array);
        emit_endif(out, entity_cond(array));
        g_string_append_c(out, '\n');
    }
    output_header_end(out);
}

static void emit_enum_descriptor(GString *out, const struct entity *e)
{
    emit_if(out, e->cond);
    if (e->members) {
        g_string_append_printf(out, "static const char *const %s_values[] = {\n", e->c_name);
        for (const struct member *v = e->members; v; v = v->next) {
            emit_if(out, v->cond);
            g_string_append_printf(out, "    \"%s\",\n", v->name);
            emit_endif(out, v->cond);
        }
        g_string_append(out, "    NULL,\n};\n\n");
    }
    g_string_append_printf(out,
                           "const struct qapi_type %s_type = {\n"
                           "    .name = \"%s\",\n"
                           "    .kind = QAPI_ENUM,\n"
                           "    .size = sizeof(enum %s),\n",
                           e->c_name, e->name, e->c_name);
    if (e->members) {
        g_string_append_printf(out,
                               "    .values = %s_values,\n"
                               "    .n_values = G_N_ELEMENTS(%s_values) - 1,\n",
                               e->c_name, e->c_name);
    }
    g_string_append(out, "};\n");
    emit_endif(out, e->cond);
    g_string_append_c(out, '\n');
}

static void emit_member_descriptor(struct output *output, GString *out, const struct entity *e,
                                   const struct member *m)
{
    emit_if(out, m->cond);
    g_string_append_printf(out, "    {\"%s\", &%s, offsetof(struct %s, %s), ", m->name,
                           c_descriptor(output->schema->pool, m->type), e->c_name, m->c_name);
    if (m->optional && !c_type_is_pointer(m->type)) {
        g_string_append_printf(out, "offsetof(struct %s, has_%s), true},\n", e->c_name, m->c_name);
    } else {
        g_string_append_printf(out, "QAPI_NO_HAS, %s},\n", m->optional ? "true" : "false");
    }
    emit_endif(out, m->cond);
}

static void emit_union_branches(struct output *output, GString *out, const struct entity *e)
{
    /* conditions may take all values away, and C has no empty arrays */
    g_string_append_printf(out, "static const struct qapi_type *const %s_branches[%s + 1] = {\n",
                           e->c_name, e->tag->type->max_constant);
    for (const struct member *b = e->branches; b; b = b->next) {
        const struct member *value = e->tag->type->members;

        while (g_strcmp0(value->name, b->name) != 0) {
            value = value->next;
        }
        emit_if(out, b->cond);
        g_string_append_printf(out, "    [%s] = &%s,\n", value->c_name,
                               c_descriptor(output->schema->pool, b->type));
        emit_endif(out, b->cond);
    }
    g_string_append(out, "};\n\n");
}

void emit_object_descriptor(struct output *output, GString *out, const struct entity *e,
                            const char *storage)
{
    emit_if(out, e->cond);
    if (e->all->len) {
        g_string_append_printf(out, "static const struct qapi_member %s_members[] = {\n",
                               e->c_name);
        for (guint i = 0; i < e->all->len; i++) {
            emit_member_descriptor(output, out, e, g_ptr_array_index(e->all, i));
        }
        g_string_append(out, "    {NULL},\n};\n\n");
    }
    if (e->kind == ENTITY_UNION) {
        emit_union_branches(output, out, e);
    }
    g_string_append_printf(out,
                           "%sconst struct qapi_type %s_type = {\n"
                           "    .name = \"%s\",\n"
                           "    .kind = %s,\n"
                           "    .size = sizeof(struct %s),\n",
                           storage, e->c_name, e->name,
                           e->kind == ENTITY_UNION ? "QAPI_UNION" : "QAPI_STRUCT", e->c_name);
    if (e->all->len) {
        g_string_append_printf(out,
                               "    .members = %s_members,\n"
                               "    .n_members = G_N_ELEMENTS(%s_members) - 1,\n",
                               e->c_name, e->c_name);
    }
    if (e->kind == ENTITY_UNION) {
        g_string_append_printf(out,
                               "    .tag_offset = offsetof(struct %s, %s),\n"
                               "    .u_offset = offsetof(struct %s, u),\n"
                               "    .branches = %s_branches,\n"
                               "    .n_branches = %s,\n",
                               e->c_name, e->tag->c_name, e->c_name, e->c_name,
                               e->tag->type->max_constant);
    }
    g_string_append(out, "};\n");
    emit_endif(out, e->cond);
    g_string_append_c(out, '\n');
}

static const char *q_type_of(const struct entity *type)
{
    switch (type->kind) {
    case ENTITY_BUILTIN:
        switch (type->builtin->json) {
        case JSON_STRING:
            return "Q_TYPE_QSTRING";
        case JSON_NULL:
            return "Q_TYPE_QNULL";
        case JSON_BOOLEAN:
            return "Q_TYPE_QBOOL";
        default:
            return "Q_TYPE_QNUM";
        }
    case ENTITY_ENUM:
        return "Q_TYPE_QSTRING";
    case ENTITY_ARRAY:
        return "Q_TYPE_QLIST";
    default:
        return "Q_TYPE_QDICT";
    }
}

static void emit_alternate_descriptor(struct output *output, GString *out, const struct entity *e)
{
    emit_if(out, e->cond);
    g_string_append_printf(
        out, "static const struct qapi_type *const %s_branches[Q_TYPE__MAX] = {\n", e->c_name);
    for (const struct member *b = e->branches; b; b = b->next) {
        emit_if(out, b->cond);
        g_string_append_printf(out, "    [%s] = &%s,\n", q_type_of(b->type),
                               c_descriptor(output->schema->pool, b->type));
        emit_endif(out, b->cond);
    }
    g_string_append(out, "};\n\n");
    g_string_append_printf(out,
                           "const struct qapi_type %s_type = {\n"
                           "    .name = \"%s\",\n"
                           "    .kind = QAPI_ALTERNATE,\n"
                           "    .size = sizeof(struct %s),\n"
                           "    .u_offset = offsetof(struct %s, u),\n"
                           "    .branches = %s_branches,\n"
                           "    .n_branches = Q_TYPE__MAX,\n"
                           "};\n",
                           e->c_name, e->name, e->c_name, e->c_name, e->c_name);
    emit_endif(out, e->cond);
    g_string_append_c(out, '\n');
}

static void emit_list_descriptor(struct output *output, GString *out, const struct entity *array)
{
    emit_if(out, entity_cond(array));
    g_string_append_printf(out,
                           "const struct qapi_type %s_type = {\n"
                           "    .name = \"%sList\",\n"
                           "    .kind = QAPI_ARRAY,\n"
                           "    .size = sizeof(struct %s),\n"
                           "    .element = &%s,\n"
                           "};\n",
                           array->c_name, array->element->name, array->c_name,
                           c_descriptor(output->schema->pool, array->element));
    emit_endif(out, entity_cond(array));
    g_string_append_c(out, '\n');
}

static void emit_source(struct output *output)
{
    struct schema *schema = output->schema;
    const char *include = pool_printf(schema->pool, "#include \"%s-types.h\"\n", output->prefix);
    GString *out = output_c_file(output, "types.c", "Descriptions of the schema's types.", include);

    for (guint i = 0; i < schema->entities->len; i++) {
        const struct entity *e = g_ptr_array_index(schema->entities, i);

        if (e->kind == ENTITY_ENUM) {
            emit_enum_descriptor(out, e);
        } else if (entity_is_object(e)) {
            emit_object_descriptor(output, out, e, "");
        } else if (e->kind == ENTITY_ALTERNATE) {
            emit_alternate_descriptor(output, out, e);
        }
    }
    for (guint i = 0; i < schema->arrays->len; i++) {
        emit_list_descriptor(output, out, g_ptr_array_index(schema->arrays, i));
    }
}

void generate_types(struct output *output)
{
    emit_header(output);
    emit_source(output);
}
