/*
 * <prefix>-events: the enumeration of events and a function that sends each.
 */
#include <string.h>

#include "emit.h"
#include "names.h"

/* An event whose data can have no members is sent without data. */
static bool has_data(const struct entity *e)
{
    return e->arg && (e->arg->kind == ENTITY_UNION || e->arg->all->len);
}

/*
 * Members are passed by value, or as pointers to what stays the caller's. Each parameter brings
 * the comma before it, so that conditions can take any of them away.
 */
static void emit_signature(struct output *output, GString *out, const struct entity *e)
{
    const char *send =
        pool_printf(output->schema->pool, "%s_event_send_%s", output->c_prefix, e->c_name);

    g_string_append_printf(out, "void %s(struct event_sink *q_sink", send);
    if (!e->arg) {
        g_string_append_c(out, ')');
        return;
    }
    if (e->boxed) {
        g_string_append_printf(out, ", const struct %s *q_arg)", e->arg->c_name);
        return;
    }
    for (guint i = 0; i < e->arg->all->len; i++) {
        const struct member *m = g_ptr_array_index(e->arg->all, i);
        bool pointer = c_type_is_pointer(m->type);

        if (m->cond) {
            g_string_append_c(out, '\n');
        }
        emit_if(out, m->cond);
        if (m->optional && !pointer) {
            g_string_append_printf(out, ", bool has_%s", m->c_name);
        }
        g_string_append_printf(out, ", %s%s%s", pointer ? "const " : "",
                               c_type(output->schema->pool, m->type), m->c_name);
        if (m->cond) {
            g_string_append_c(out, '\n');
        }
        emit_endif(out, m->cond);
    }
    g_string_append_c(out, ')');
}

static void emit_assignments(GString *out, const struct entity *arg)
{
    for (guint i = 0; i < arg->all->len; i++) {
        const struct member *m = g_ptr_array_index(arg->all, i);
        bool pointer = c_type_is_pointer(m->type);

        emit_if(out, m->cond);
        if (m->optional && !pointer) {
            g_string_append_printf(out, "    q_data.has_%s = has_%s;\n", m->c_name, m->c_name);
        }
        g_string_append_printf(out, "    q_data.%s = %s%s;\n", m->c_name, pointer ? "(void *)" : "",
                               m->c_name);
        emit_endif(out, m->cond);
    }
}

static void emit_sender(struct output *output, GString *out, const struct entity *e)
{
    const char *prefix = name_to_upper(output->schema->pool, output->c_prefix);
    const char *constant = name_to_upper(output->schema->pool, e->c_name);

    emit_signature(output, out, e);
    g_string_append(out, "\n{\n");
    if (!has_data(e)) {
        g_string_append_printf(out, "    q_sink->emit(q_sink, %s_EVENT_%s, NULL);\n}\n", prefix,
                               constant);
        return;
    }
    if (!e->boxed) {
        g_string_append_printf(out, "    struct %s q_data = {};\n", e->arg->c_name);
    }
    g_string_append(out, "    g_autoptr(GString) q_text = g_string_sized_new(120);\n\n");
    if (!e->boxed) {
        emit_assignments(out, e->arg);
    }
    g_string_append_printf(out,
                           "    qapi_object_write(&%s, %s, q_text);\n"
                           "    q_sink->emit(q_sink, %s_EVENT_%s, q_text->str);\n"
                           "}\n",
                           c_descriptor(output->schema->pool, e->arg),
                           e->boxed ? "q_arg" : "&q_data", prefix, constant);
}

/* Calls @emit for each event, inside its condition. */
static void for_each_event(struct output *output, GString *out,
                           void (*emit)(struct output *, GString *, const struct entity *))
{
    for (guint i = 0; i < output->schema->entities->len; i++) {
        const struct entity *e = g_ptr_array_index(output->schema->entities, i);

        if (e->kind == ENTITY_EVENT) {
            emit_if(out, e->cond);
            emit(output, out, e);
            emit_endif(out, e->cond);
        }
    }
}

static void emit_constant(struct output *output, GString *out, const struct entity *e)
{
    struct pool *pool = output->schema->pool;

    g_string_append_printf(out, "    %s_EVENT_%s,\n", name_to_upper(pool, output->c_prefix),
                           name_to_upper(pool, e->c_name));
}

static void emit_declaration(struct output *output, GString *out, const struct entity *e)
{
    emit_signature(output, out, e);
    g_string_append(out, ";\n");
}

static void emit_name(struct output *output, GString *out, const struct entity *e)
{
    (void)output;
    g_string_append_printf(out, "    \"%s\",\n", e->name);
}

/* The data that is given in place: a C struct and its description, to print it from. */
static void emit_data_struct(struct output *output, GString *out, const struct entity *e)
{
    if (has_data(e) && e->arg->implicit) {
        g_string_append_printf(out, "struct %s {\n", e->arg->c_name);
        emit_struct_members(output, out, e->arg);
        g_string_append(out, "};\n");
        emit_object_descriptor(output, out, e->arg, "static ");
    }
}

static void emit_header(struct output *output)
{
    struct pool *pool = output->schema->pool;
    GString *out = output_header(
        output, "events.h", "Functions that send the schema's events.",
        pool_printf(pool, "#include \"%s-types.h\"\n#include \"qapi/event.h\"\n", output->prefix));

    g_string_append_printf(out, "enum %s_event {\n", output->c_prefix);
    for_each_event(output, out, emit_constant);
    g_string_append_printf(out, "    %s_EVENT__MAX\n};\n\n", name_to_upper(pool, output->c_prefix));
    g_string_append_printf(out,
                           "/* The name on the wire; NULL for a number that is no event's. */\n"
                           "const char *%s_event_str(enum %s_event event);\n\n",
                           output->c_prefix, output->c_prefix);
    for_each_event(output, out, emit_declaration);
    output_header_end(out);
}

static void emit_source(struct output *output)
{
    struct pool *pool = output->schema->pool;
    GString *out =
        output_c_file(output, "events.c", "Functions that send the schema's events.",
                      pool_printf(pool, "#include \"%s-events.h\"\n\n#include \"qapi/json.h\"\n",
                                  output->prefix));

    g_string_append(out, "static const char *const event_names[] = {\n");
    for_each_event(output, out, emit_name);
    g_string_append_printf(out,
                           "    NULL,\n};\n\n"
                           "const char *%s_event_str(enum %s_event event)\n"
                           "{\n"
                           "    return (unsigned)event < %s_EVENT__MAX ? event_names[event] : "
                           "NULL;\n"
                           "}\n\n",
                           output->c_prefix, output->c_prefix,
                           name_to_upper(pool, output->c_prefix));
    for_each_event(output, out, emit_data_struct);
    for_each_event(output, out, emit_sender);
}

void generate_events(struct output *output)
{
    emit_header(output);
    emit_source(output);
}
