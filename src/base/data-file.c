/* See data-file.h. */
#include "base/data-file.h"

#include <string.h>

static const char *const system_dirs[] = {
    "/usr/share/seabios", "/usr/share/qemu",    "/usr/share/OVMF",
    "/usr/lib/ipxe/qemu", "/usr/share/vgabios", NULL,
};

/* Which Debian package has it. */
static const struct {
    const char *prefix, *package;
} packages[] = {
    {"bios", "seabios"},
    {"vgabios", "seabios"},
    {"OVMF", "ovmf"},
    {"pxe-", "ipxe-qemu"},
    {"linuxboot", "qemu-system-data"},
};

static const char *package_of(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(packages); i++) {
        if (g_str_has_prefix(name, packages[i].prefix)) {
            return packages[i].package;
        }
    }
    return NULL;
}

static char *find_in(const char *dir, const char *name)
{
    char *path = g_build_filename(dir, name, NULL);

    if (!g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
        g_clear_pointer(&path, g_free);
    }
    return path;
}

static void not_found(const GPtrArray *dirs, const char *name, GError **error)
{
    g_autoptr(GString) places = g_string_new(NULL);
    const char *package = package_of(name);

    for (guint i = 0; dirs && i < dirs->len; i++) {
        g_string_append_printf(places, "%s%s", places->len ? ", " : "",
                               (const char *)dirs->pdata[i]);
    }
    for (unsigned i = 0; system_dirs[i]; i++) {
        g_string_append_printf(places, "%s%s", places->len ? ", " : "", system_dirs[i]);
    }
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT, "no file '%s' in %s%s%s%s", name,
                places->str, package ? ": install the package '" : "", package ? package : "",
                package ? "', or name a directory with -L" : "");
}

char *data_file_find(const GPtrArray *dirs, const char *name, GError **error)
{
    char *path = NULL;

    if (strchr(name, '/') || g_file_test(name, G_FILE_TEST_IS_REGULAR)) {
        return g_strdup(name);
    }
    for (guint i = 0; dirs && i < dirs->len && !path; i++) {
        path = find_in(dirs->pdata[i], name);
    }
    for (unsigned i = 0; system_dirs[i] && !path; i++) {
        path = find_in(system_dirs[i], name);
    }
    if (!path) {
        not_found(dirs, name, error);
    }
    return path;
}
