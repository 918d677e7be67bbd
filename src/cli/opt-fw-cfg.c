/* -fw_cfg, -option-rom: files for the guest's software, by the firmware configuration interface. */
#include "base/log.h"
#include "cli/options-priv.h"
#include "devices/fw-cfg.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#define CONTENT_MAX (256u << 20)

static bool content_read(const char *path, GBytes **content, GError **error)
{
    g_autofree char *data = NULL;
    g_autoptr(GError) err = NULL;
    GStatBuf st;
    gsize length;

    if (g_stat(path, &st) != 0) {
        g_set_error(error, CLI_ERROR, 0, "'%s': %s", path, g_strerror(errno));
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, CLI_ERROR, 0, "'%s': not a regular file", path);
        return false;
    }
    if (st.st_size > CONTENT_MAX) {
        g_set_error(error, CLI_ERROR, 0, "'%s': larger than %u MiB", path, CONTENT_MAX >> 20);
        return false;
    }
    if (!g_file_get_contents(path, &data, &length, &err)) {
        g_set_error_literal(error, CLI_ERROR, 0, err->message);
        return false;
    }
    *content = g_bytes_new_take(g_steal_pointer(&data), length);
    return true;
}

static bool name_check(const struct options *o, const char *name, GError **error)
{
    if (strlen(name) > FW_CFG_NAME_MAX) {
        g_set_error(error, CLI_ERROR, 0, "name '%s' is too long (at most %d characters)", name,
                    FW_CFG_NAME_MAX);
        return false;
    }
    for (guint i = 0; i < o->config->fw_files->len; i++) {
        const struct fw_file *file = o->config->fw_files->pdata[i];

        if (strcmp(file->name, name) == 0) {
            g_set_error(error, CLI_ERROR, 0, "there is a file '%s' already", name);
            return false;
        }
    }
    return true;
}

static bool file_add(struct options *o, const char *name, const char *path, const char *text,
                     GError **error)
{
    GBytes *content;

    if (!name || !*name || !path == !text) {
        g_set_error(error, CLI_ERROR, 0, "name and one of file and string are wanted");
        return false;
    }
    if (!name_check(o, name, error)) {
        return false;
    }
    if (!g_str_has_prefix(name, "opt/")) {
        log_warn("-fw_cfg name=%s: names that begin with 'opt/' are the user's, others are the "
                 "machine's own",
                 name);
    }
    if (text) {
        content = g_bytes_new(text, strlen(text));
    } else if (!content_read(path, &content, error)) {
        return false;
    }
    machine_config_add_fw_file(o->config, name, content);
    g_bytes_unref(content);
    return true;
}

bool opt_fw_cfg(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, "name", error);
    bool ok = p != NULL;

    if (ok) {
        const char *name = params_take(p, "name"), *path = params_take(p, "file");
        const char *text = params_take(p, "string");

        ok = params_end(p, error) && file_add(o, name, path, text, error);
    }
    params_free(p);
    return ok;
}

/* Firmware runs what is in genroms/. */
bool opt_option_rom(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, "romfile", error);
    const char *path = p ? params_take(p, "romfile") : NULL;
    bool ok = p && params_end(p, error);
    GBytes *content = NULL;

    if (ok && !path) {
        g_set_error(error, CLI_ERROR, 0, "Option ROM file is not specified");
        ok = false;
    }
    ok = ok && content_read(path, &content, error);
    if (ok) {
        g_autofree char *base = g_path_get_basename(path);
        g_autofree char *name = g_strconcat("genroms/", base, NULL);

        ok = name_check(o, name, error);
        if (ok) {
            machine_config_add_fw_file(o->config, name, content);
        }
        g_bytes_unref(content);
    }
    params_free(p);
    return ok;
}
