/*
 * -object. Memory back ends may be the machine's own RAM: what -machine memory-backend=ID names, or
 * what the nodes of -numa do. All others are made as object-add makes them.
 */
#include "cli/options-priv.h"
#include "devices/core/object.h"
#include "qapi-visit.h"

#include <inttypes.h>
#include <string.h>

void memory_object_free(gpointer object)
{
    struct memory_object *memory = object;

    object_options_free(memory->options);
    g_free(memory->text);
    g_free(memory);
}

struct memory_object *memory_object_find(const struct options *o, const char *id)
{
    for (guint i = 0; i < o->memories->len; i++) {
        struct memory_object *memory = o->memories->pdata[i];

        if (strcmp(memory->options->id, id) == 0) {
            return memory;
        }
    }
    return NULL;
}

static bool add_memory(struct options *o, const char *arg, struct object_options *options,
                       uint64_t bytes, GError **error)
{
    struct memory_object *memory;

    if (!*options->id) {
        g_set_error(error, CLI_ERROR, 0, "Parameter 'id' is missing");
        return false;
    }
    if (memory_object_find(o, options->id)) {
        g_set_error(error, CLI_ERROR, 0, "there is an object '%s' already", options->id);
        return false;
    }
    if (!object_options_check_memory(options, error)) {
        return false;
    }
    if (bytes % 4096 != 0) {
        g_set_error(error, CLI_ERROR, 0,
                    "size '%" PRIu64 "': whole pages of 4 KiB are wanted (a number of bytes, or "
                    "one with a suffix k, M, G, T)",
                    bytes);
        return false;
    }
    memory = g_new0(struct memory_object, 1);
    memory->options = object_options_clone(options);
    memory->text = g_strdup(arg);
    g_ptr_array_add(o->memories, memory);
    return true;
}

static bool type_is_known(const char *arg, GError **error)
{
    if (*arg == '{') {
        return true; /* its reader tells; lists are nothing for params_parse() */
    }

    struct params *p = params_parse(arg, "qom-type", error);
    const char *type = p ? params_take(p, "qom-type") : NULL;
    bool ok = p != NULL;
    int kind;

    if (ok && (!type || !qapi_enum_parse(&object_type_type, type, &kind))) {
        g_autofree char *names = g_strjoinv(", ", (char **)object_type_type.values);

        g_set_error(error, CLI_ERROR, 0, "invalid object type '%s' (there are %s)",
                    type ? type : "", names);
        ok = false;
    }
    params_free(p);
    return ok;
}

bool opt_object(struct options *o, const char *arg, GError **error)
{
    g_autoptr(GError) why = NULL;
    struct object_options *options;
    struct ram_backing backing;
    uint64_t bytes;
    bool ok;

    if (!type_is_known(arg, error)) {
        return false;
    }
    options = object_options_parse(arg, &why);
    if (options && object_options_memory(options, &bytes, &backing)) {
        ok = add_memory(o, arg, options, bytes, error);
        object_options_free(options);
        return ok;
    }
    object_options_free(options);
    if (why) {
        g_propagate_error(error, g_steal_pointer(&why));
        return false;
    }
    option_text_add(o->objects, "object", arg); /* made by assemble_block() */
    return true;
}

/* ---- the machine's own RAM */

static bool use_as_ram(struct options *o, struct memory_object *memory, GError **error)
{
    struct machine_config *config = o->config;
    struct ram_backing backing;
    uint64_t bytes;

    object_options_memory(memory->options, &bytes, &backing);
    if (config->ram_bytes && config->ram_bytes != bytes) {
        g_set_error(error, CLI_ERROR, 0,
                    "-m: %" G_GUINT64_FORMAT " bytes, but memory backend '%s' has "
                    "%" G_GUINT64_FORMAT,
                    config->ram_bytes, memory->options->id, bytes);
        return false;
    }
    memory->used = true;
    config->ram_bytes = bytes;
    config->ram_backing = backing;
    config->ram_backing.path = g_strdup(backing.path);
    g_ptr_array_add(config->ram_objects, object_options_clone(memory->options));
    return true;
}

bool memory_backend_choose(struct options *o, GError **error)
{
    const char *id = o->memory_backend;
    struct memory_object *memory;

    if (o->memory_path && id) {
        g_set_error(error, CLI_ERROR, 0,
                    "'-mem-path' can't be used together with '-machine memory-backend'");
        return false;
    }
    if (!numa_choose_memory(o, &id, error)) {
        return false;
    }
    o->config->ram_backing.path = g_strdup(o->memory_path);
    if (id) {
        memory = memory_object_find(o, id);
        if (!memory) {
            g_set_error(error, CLI_ERROR, 0, "-machine memory-backend=%s: there is no such -object",
                        id);
            return false;
        }
        if (!use_as_ram(o, memory, error)) {
            return false;
        }
    }
    if (o->fill_memory && !o->config->ram_backing.prealloc) {
        o->config->ram_backing.prealloc = true;
        o->config->ram_backing.prealloc_threads = o->config->topology.cpus;
    }
    for (guint i = 0; i < o->memories->len; i++) {
        memory = o->memories->pdata[i];
        if (!memory->used) {
            option_text_add(o->objects, "object", memory->text);
        }
    }
    return true;
}
