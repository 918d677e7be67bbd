/*
 * <prefix>-commands: a prototype for each handler, and the table that a dispatcher works from. Its
 * functions check the arguments, call the handler and print what it returns.
 */
#include "emit.h"

/* Whether the handler returns its value, instead of storing it. */
static bool returns_pointer(const struct entity *command)
{
    const struct entity *type = command->returns;

    return type && type->kind != ENTITY_BUILTIN && c_type_is_pointer(type);
}

static void emit_prototype(struct output *output, GString *out, const struct entity *e)
{
    struct pool *pool = output->schema->pool;

    if (e->no_gen) {
        g_string_append_printf(out,
                               "bool qmp_%s(struct qmp_call *call, struct json_object *args, "
                               "GString *ret,\n    GError **errp);\n",
                               e->c_name);
        return;
    }
    g_string_append_printf(out, "%sqmp_%s(struct qmp_call *call",
                           returns_pointer(e) ? c_type(pool, e->returns) : "bool ", e->c_name);
    if (e->arg) {
        g_string_append_printf(out, ", const struct %s *arg", e->arg->c_name);
    }
    if (e->returns && !returns_pointer(e)) {
        g_string_append_printf(out, ", %s*ret", c_type(pool, e->returns));
    }
    g_string_append(out, ", GError **errp);\n");
}

static void emit_header(struct output *output)
{
    struct schema *schema = output->schema;
    GString *out = output_header(
        output, "commands.h", "Handlers of commands, written by hand, and their table.",
        pool_printf(schema->pool, "#include \"%s-types.h\"\n#include \"qapi/command.h\"\n",
                    output->prefix));

    for (guint i = 0; i < schema->entities->len; i++) {
        const struct entity *e = g_ptr_array_index(schema->entities, i);

        if (e->kind != ENTITY_COMMAND) {
            continue;
        }
        emit_if(out, e->cond);
        if (e->arg && e->arg->implicit && !e->no_gen) {
            g_string_append_printf(out, "struct %s {\n", e->arg->c_name);
            emit_struct_members(output, out, e->arg);
            if (!e->arg->all->len) {
                g_string_append(out, "    char q_unused; /* no members */\n");
            }
            g_string_append(out, "};\n");
        }
        emit_prototype(output, out, e);
        emit_endif(out, e->cond);
        g_string_append_c(out, '\n');
    }
    g_string_append(out, "/* In schema order, ended by a NULL name. */\n"
                         "extern const struct qmp_command qmp_commands[];\n\n"
                         "/* NULL if there is no such command. */\n"
                         "const struct qmp_command *qmp_command_find(const char *name);\n");
    output_header_end(out);
}

/* Calls the handler, keeps its success in "ok" and its value in "value". */
static void emit_call(struct output *output, GString *out, const struct entity *e)
{
    const char *arg = e->arg ? ", &arg" : "";

    if (returns_pointer(e)) {
        g_string_append_printf(out, "    value = qmp_%s(call%s, errp);\n    ok = value != NULL;\n",
                               e->c_name, arg);
    } else {
        g_string_append_printf(out, "    ok = qmp_%s(call%s%s, errp);\n", e->c_name, arg,
                               e->returns ? ", &value" : "");
    }
}

/* Prints and frees "value". */
static void emit_return(struct output *output, GString *out, const struct entity *e)
{
    const char *type = e->returns ? c_descriptor(output->schema->pool, e->returns) : NULL;

    g_string_append(out, "    if (ok) {\n");
    if (e->returns) {
        g_string_append_printf(out, "        qapi_slot_write(&%s, &value, ret);\n", type);
        if (c_type_is_pointer(e->returns)) {
            g_string_append_printf(out, "        qapi_object_free(&%s, value);\n", type);
        }
    } else {
        g_string_append(out, "        g_string_append(ret, \"{}\");\n");
    }
    g_string_append(out, "    }\n");
}

static void emit_runner(struct output *output, GString *out, const struct entity *e)
{
    struct pool *pool = output->schema->pool;

    g_string_append_printf(out,
                           "static bool run_%s(struct qmp_call *call, struct json_object *args, "
                           "GString *ret,\n    GError **errp)\n{\n",
                           e->c_name);
    if (e->arg) {
        g_string_append_printf(out, "    struct %s arg = {};\n", e->arg->c_name);
    }
    if (e->returns) {
        g_string_append_printf(out, "    %svalue = %s;\n", c_type(pool, e->returns),
                               c_type_is_pointer(e->returns) ? "NULL" : "0");
    }
    g_string_append_printf(out,
                           "    bool ok;\n\n"
                           "    if (!qapi_members_read(%s%s, %s, args, errp)) {\n"
                           "        return false;\n"
                           "    }\n",
                           e->arg ? "&" : "",
                           e->arg ? c_descriptor(pool, e->arg) : "&qapi_empty_type",
                           e->arg ? "&arg" : "NULL");
    emit_call(output, out, e);
    if (e->arg) {
        g_string_append_printf(out, "    qapi_object_clear(&%s, &arg);\n",
                               c_descriptor(pool, e->arg));
    }
    emit_return(output, out, e);
    g_string_append(out, "    return ok;\n}\n");
}

static void emit_features(GString *out, const struct entity *e)
{
    if (!e->features) {
        return;
    }
    g_string_append_printf(out, "static const char *const %s_features[] = {\n", e->c_name);
    for (const struct feature *f = e->features; f; f = f->next) {
        emit_if(out, f->cond);
        g_string_append_printf(out, "    \"%s\",\n", f->name);
        emit_endif(out, f->cond);
    }
    g_string_append(out, "    NULL,\n};\n");
}

static void emit_table_entry(GString *out, const struct entity *e)
{
    static const char *const names[] = {"QMP_CMD_ALLOW_OOB",    "QMP_CMD_ALLOW_PRECONFIG",
                                        "QMP_CMD_NO_SUCCESS",   "QMP_CMD_COROUTINE",
                                        "QMP_CMD_FOR_OPERATOR", "QMP_CMD_FOR_OBSERVER"};
    const bool set[] = {e->allow_oob, e->allow_preconfig,       e->no_success,
                        e->coroutine, e->role == ROLE_OPERATOR, e->role == ROLE_OBSERVER};
    const char *separator = "";

    emit_if(out, e->cond);
    g_string_append_printf(out, "    {\"%s\", ", e->name);
    for (size_t i = 0; i < G_N_ELEMENTS(set); i++) {
        if (set[i]) {
            g_string_append_printf(out, "%s%s", separator, names[i]);
            separator = " | ";
        }
    }
    g_string_append_printf(out, "%s, %s_%s, ", *separator ? "" : "0", e->no_gen ? "qmp" : "run",
                           e->c_name);
    if (e->features) {
        g_string_append_printf(out, "%s_features},\n", e->c_name);
    } else {
        g_string_append(out, "NULL},\n");
    }
    emit_endif(out, e->cond);
}

static void emit_table(struct output *output, GString *out)
{
    struct schema *schema = output->schema;

    g_string_append(out, "const struct qmp_command qmp_commands[] = {\n");
    for (guint i = 0; i < schema->entities->len; i++) {
        const struct entity *e = g_ptr_array_index(schema->entities, i);

        if (e->kind == ENTITY_COMMAND) {
            emit_table_entry(out, e);
        }
    }
    g_string_append(out, "    {NULL},\n};\n\n"
                         "const struct qmp_command *qmp_command_find(const char *name)\n"
                         "{\n"
                         "    for (const struct qmp_command *c = qmp_commands; c->name; c++) {\n"
                         "        if (strcmp(c->name, name) == 0) {\n"
                         "            return c;\n"
                         "        }\n"
                         "    }\n"
                         "    return NULL;\n"
                         "}\n");
}

static void emit_source(struct output *output)
{
    struct schema *schema = output->schema;
    GString *out = output_c_file(
        output, "commands.c", "Arguments in, handler, return value out; and the table of commands.",
        pool_printf(schema->pool,
                    "#include \"%s-commands.h\"\n\n#include <string.h>\n\n#include "
                    "\"qapi/json.h\"\n",
                    output->prefix));

    for (guint i = 0; i < schema->entities->len; i++) {
        const struct entity *e = g_ptr_array_index(schema->entities, i);

        if (e->kind != ENTITY_COMMAND) {
            continue;
        }
        if (e->arg && e->arg->implicit && !e->no_gen) {
            emit_object_descriptor(output, out, e->arg, "static ");
        }
        emit_if(out, e->cond);
        if (!e->no_gen) {
            emit_runner(output, out, e);
        }
        emit_features(out, e);
        emit_endif(out, e->cond);
        g_string_append_c(out, '\n');
    }
    emit_table(output, out);
}

void generate_commands(struct output *output)
{
    emit_header(output);
    emit_source(output);
}
