/* -object: memory for the machine, which -machine memory-backend=ID names. */
#include "cli/options-priv.h"

#include <string.h>

void memory_object_free(gpointer object)
{
    struct memory_object *memory = object;

    g_free(memory->id);
    g_free(memory->backing.path);
    g_free(memory);
}

static struct memory_object *memory_find(const struct options *o, const char *id)
{
    for (guint i = 0; i < o->memories->len; i++) {
        struct memory_object *memory = o->memories->pdata[i];

        if (strcmp(memory->id, id) == 0) {
            return memory;
        }
    }
    return NULL;
}

/* mem-path=: the file's kind only. */
static bool path_take(struct params *p, struct memory_object *memory, GError **error)
{
    const char *path = params_take(p, "mem-path");

    if (!path || !*path) {
        g_set_error(error, CLI_ERROR, 0, "mem-path=FILE is wanted: where the memory is");
        return false;
    }
    memory->backing.path = g_strdup(path);
    return true;
}

static bool memory_take(struct options *o, struct params *p, struct memory_object *memory,
                        const char *type, GError **error)
{
    const char *id = params_take(p, "id"), *size = params_take(p, "size");

    memory->backing.memfd = strcmp(type, "memory-backend-memfd") == 0;
    memory->backing.share = memory->backing.memfd;
    if (strcmp(type, "memory-backend-file") == 0 && !path_take(p, memory, error)) {
        return false;
    }
    if (!id || !*id) {
        g_set_error(error, CLI_ERROR, 0, "Parameter 'id' is missing");
        return false;
    }
    if (memory_find(o, id)) {
        g_set_error(error, CLI_ERROR, 0, "there is an object '%s' already", id);
        return false;
    }
    if (!size || !parse_size(size, 'B', &memory->bytes) || memory->bytes == 0 ||
        memory->bytes % 4096 != 0) {
        g_set_error(error, CLI_ERROR, 0,
                    "size '%s': whole pages of 4 KiB are wanted (a number of bytes, or one with a "
                    "suffix k, M, G, T)",
                    size ? size : "");
        return false;
    }
    memory->id = g_strdup(id);
    return params_take_bool(p, "share", &memory->backing.share, error) && params_end(p, error);
}

bool opt_object(struct options *o, const char *arg, GError **error)
{
    static const char *const types[] = {"memory-backend-file", "memory-backend-memfd",
                                        "memory-backend-ram", NULL};
    struct params *p = params_parse(arg, "qom-type", error);
    const char *type = p ? params_take(p, "qom-type") : NULL;
    struct memory_object *memory;
    bool ok = false;
    int kind;

    if (!p) {
        return false;
    }
    if (type && qapi_enum_parse(&object_type_type, type, &kind)) { /* read by assemble_block() */
        option_text_add(o->objects, "object", arg);
        params_free(p);
        return true;
    }
    memory = g_new0(struct memory_object, 1);
    if (!type || !g_strv_contains(types, type)) {
        g_set_error(error, CLI_ERROR, 0,
                    "invalid object type '%s' (there are memory-backend-file, -memfd and -ram, "
                    "rng-builtin, rng-random and secret)",
                    type ? type : "");
    } else {
        ok = memory_take(o, p, memory, type, error);
    }
    params_free(p);
    if (!ok) {
        memory_object_free(memory);
        return false;
    }
    g_ptr_array_add(o->memories, memory);
    return true;
}

static bool memory_use(struct options *o, GError **error)
{
    struct machine_config *config = o->config;
    struct memory_object *memory = memory_find(o, o->memory_backend);

    if (!memory) {
        g_set_error(error, CLI_ERROR, 0, "-machine memory-backend=%s: there is no such -object",
                    o->memory_backend);
        return false;
    }
    if (config->ram_bytes && config->ram_bytes != memory->bytes) {
        g_set_error(error, CLI_ERROR, 0,
                    "-m: %" G_GUINT64_FORMAT " bytes, but memory backend '%s' has "
                    "%" G_GUINT64_FORMAT,
                    config->ram_bytes, memory->id, memory->bytes);
        return false;
    }
    memory->used = true;
    config->ram_bytes = memory->bytes;
    config->ram_backing = memory->backing;
    config->ram_backing.path = g_strdup(memory->backing.path);
    return true;
}

bool memory_backend_choose(struct options *o, GError **error)
{
    if (o->memory_backend && !memory_use(o, error)) {
        return false;
    }
    for (guint i = 0; i < o->memories->len; i++) {
        const struct memory_object *memory = o->memories->pdata[i];

        if (!memory->used) {
            g_set_error(error, CLI_ERROR, 0,
                        "-object %s: nothing uses it (-machine memory-backend=%s does)", memory->id,
                        memory->id);
            return false;
        }
    }
    return true;
}
