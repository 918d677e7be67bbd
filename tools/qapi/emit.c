/*
 * Generated files: built in memory, written all or none; and small pieces of C.
 */
#include "emit.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "names.h"

struct output_file {
    char *name;
    GString *text;
};

static void output_file_free(void *data)
{
    struct output_file *file = data;

    g_free(file->name);
    g_string_free(file->text, TRUE);
    g_free(file);
}

struct output *output_new(struct schema *schema, const char *prefix)
{
    struct output *output = g_new0(struct output, 1);

    output->schema = schema;
    output->prefix = pool_strdup(schema->pool, prefix);
    output->c_prefix = name_to_lower(schema->pool, prefix);
    output->files = g_ptr_array_new_with_free_func(output_file_free);
    return output;
}

void output_free(struct output *output)
{
    g_ptr_array_free(output->files, TRUE);
    g_free(output);
}

GString *output_file(struct output *output, const char *name)
{
    struct output_file *file = g_new0(struct output_file, 1);

    file->name = g_strdup_printf("%s-%s", output->prefix, name);
    file->text = g_string_new(NULL);
    g_ptr_array_add(output->files, file);
    return file->text;
}

static bool complain(const char *what, const char *path)
{
    fprintf(stderr, "godwit-qapi: cannot %s '%s': %s\n", what, path, g_strerror(errno));
    return false;
}

/* Writes all files into the empty folder @temporary. */
static bool files_write(struct output *output, const char *temporary)
{
    for (guint i = 0; i < output->files->len; i++) {
        const struct output_file *file = g_ptr_array_index(output->files, i);
        g_autofree char *path = g_build_filename(temporary, file->name, NULL);
        FILE *out = fopen(path, "w");
        bool ok;

        if (!out) {
            return complain("create", path);
        }
        ok = fwrite(file->text->str, 1, file->text->len, out) == file->text->len;
        if (fclose(out) != 0 || !ok) {
            return complain("write", path);
        }
    }
    return true;
}

/* Moves all files to where they belong. */
static bool files_move(struct output *output, const char *temporary, const char *folder)
{
    for (guint i = 0; i < output->files->len; i++) {
        const struct output_file *file = g_ptr_array_index(output->files, i);
        g_autofree char *path = g_build_filename(folder, file->name, NULL);

        if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
            errno = EISDIR;
            return complain("replace", path);
        }
    }
    for (guint i = 0; i < output->files->len; i++) {
        const struct output_file *file = g_ptr_array_index(output->files, i);
        g_autofree char *from = g_build_filename(temporary, file->name, NULL);
        g_autofree char *to = g_build_filename(folder, file->name, NULL);

        if (rename(from, to) != 0) {
            return complain("replace", to);
        }
    }
    return true;
}

static void files_remove(struct output *output, const char *temporary)
{
    for (guint i = 0; i < output->files->len; i++) {
        const struct output_file *file = g_ptr_array_index(output->files, i);
        g_autofree char *path = g_build_filename(temporary, file->name, NULL);

        unlink(path);
    }
    rmdir(temporary);
}

bool output_write(struct output *output, const char *folder)
{
    g_autofree char *temporary = g_build_filename(folder, ".godwit-qapi-XXXXXX", NULL);
    bool made = !g_file_test(folder, G_FILE_TEST_EXISTS);
    bool ok;

    if (g_mkdir_with_parents(folder, 0777) != 0) {
        return complain("create", folder);
    }
    if (!g_mkdtemp(temporary)) {
        return complain("write to", folder);
    }
    ok = files_write(output, temporary) && files_move(output, temporary, folder);
    files_remove(output, temporary);
    if (!ok && made) {
        rmdir(folder);
    }
    return ok;
}

static void emit_opening(GString *out, const char *about)
{
    g_string_append_printf(out, "/* Made by godwit-qapi from the schema; do not edit.\n * %s */\n",
                           about);
}

GString *output_c_file(struct output *output, const char *name, const char *about,
                       const char *includes)
{
    GString *out = output_file(output, name);

    emit_opening(out, about);
    g_string_append_printf(out, "%s\n", includes);
    return out;
}

GString *output_header(struct output *output, const char *name, const char *about,
                       const char *includes)
{
    GString *out = output_file(output, name);
    const char *guard = name_to_upper(
        output->schema->pool, pool_printf(output->schema->pool, "%s_%s", output->c_prefix, name));

    emit_opening(out, about);
    g_string_append_printf(out, "#ifndef %s\n#define %s\n\n%s\n", guard, guard, includes);
    return out;
}

void output_header_end(GString *out)
{
    g_string_append(out, "\n#endif\n");
}

static void emit_cond(GString *out, const struct cond *cond)
{
    switch (cond->kind) {
    case COND_DEFINED:
        g_string_append_printf(out, "defined(%s)", cond->symbol);
        break;
    case COND_NOT:
        g_string_append_c(out, '!');
        if (cond->operands->kind == COND_DEFINED) {
            emit_cond(out, cond->operands);
        } else {
            g_string_append_c(out, '(');
            emit_cond(out, cond->operands);
            g_string_append_c(out, ')');
        }
        break;
    default:
        g_string_append_c(out, '(');
        for (const struct cond *operand = cond->operands; operand; operand = operand->next) {
            emit_cond(out, operand);
            if (operand->next) {
                g_string_append(out, cond->kind == COND_ALL ? " && " : " || ");
            }
        }
        g_string_append_c(out, ')');
        break;
    }
}

void emit_if(GString *out, const struct cond *cond)
{
    if (cond) {
        g_string_append(out, "#if ");
        emit_cond(out, cond);
        g_string_append_c(out, '\n');
    }
}

void emit_endif(GString *out, const struct cond *cond)
{
    if (cond) {
        g_string_append(out, "#endif\n");
    }
}

void emit_string(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\') {
            g_string_append_c(out, '\\');
        }
        if (*p == '\n') {
            g_string_append(out, "\\n");
        } else {
            g_string_append_c(out, *p);
        }
    }
    g_string_append_c(out, '"');
}

const char *c_type(struct pool *pool, const struct entity *type)
{
    switch (type->kind) {
    case ENTITY_BUILTIN:
        return type->builtin->c_type;
    case ENTITY_ENUM:
        return pool_printf(pool, "enum %s ", type->c_name);
    default:
        return pool_printf(pool, "struct %s *", type->c_name);
    }
}

bool c_type_is_pointer(const struct entity *type)
{
    switch (type->kind) {
    case ENTITY_BUILTIN:
        return type->builtin->c_type[strlen(type->builtin->c_type) - 1] == '*';
    case ENTITY_ENUM:
        return false;
    default:
        return true;
    }
}

const char *c_descriptor(struct pool *pool, const struct entity *type)
{
    if (type->kind == ENTITY_BUILTIN) {
        return pool_printf(pool, "qapi_%s_type", type->c_name);
    }
    return pool_printf(pool, "%s_type", type->c_name);
}
