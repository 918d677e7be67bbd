/*
 * See library.h.
 */
#include "base/library.h"

#include <dlfcn.h>

static GMutex mutex;       /* guards the table */
static GHashTable *loaded; /* struct library * -> void *[] */

static GQuark library_error_quark(void)
{
    return g_quark_from_static_string("library-error-quark");
}

static void **look_up(const struct library *library, void *handle, GError **error)
{
    g_autofree void **function = g_new(void *, library->n);

    for (unsigned i = 0; i < library->n; i++) {
        function[i] = dlsym(handle, library->names[i]);
        if (!function[i]) {
            g_set_error(error, library_error_quark(), 0, "%s lacks the function %s", library->file,
                        library->names[i]);
            return NULL;
        }
    }
    return g_steal_pointer(&function);
}

static void **load(const struct library *library, GError **error)
{
    void *handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL), **functions;

    if (!handle) {
        g_set_error(error, library_error_quark(), 0, "cannot load %s: %s", library->file,
                    dlerror());
        return NULL;
    }
    functions = look_up(library, handle, error);
    if (!functions) {
        dlclose(handle);
    }
    return functions;
}

const void *library_load(const struct library *library, GError **error)
{
    void **functions;

    g_mutex_lock(&mutex);
    if (!loaded) {
        loaded = g_hash_table_new(NULL, NULL);
    }
    functions = g_hash_table_lookup(loaded, library);
    if (!functions) {
        functions = load(library, error);
        if (functions) {
            g_hash_table_insert(loaded, (void *)library, functions);
        }
    }
    g_mutex_unlock(&mutex);
    return functions;
}
