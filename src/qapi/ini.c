/* Files of sections: see ini.h. */
#include "qapi/ini.h"

#include "qapi/params.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void section_free(gpointer data)
{
    struct ini_section *s = data;

    g_free(s->group);
    g_free(s->id);
    g_string_free(s->text, TRUE);
    g_free(s);
}

static bool read_all(const char *path, GString *out, GError **error)
{
    FILE *file = fopen(path, "re");
    char piece[4096];
    size_t n;
    bool ok;

    if (!file) {
        g_set_error(error, PARAMS_ERROR, 0, "could not open '%s': %s", path, g_strerror(errno));
        return false;
    }
    while ((n = fread(piece, 1, sizeof(piece), file)) > 0 && out->len <= INI_MAX_BYTES) {
        g_string_append_len(out, piece, (gssize)n);
    }
    ok = !ferror(file);
    if (!ok) {
        g_set_error(error, PARAMS_ERROR, 0, "could not read '%s': %s", path, g_strerror(errno));
    } else if (out->len > INI_MAX_BYTES || memchr(out->str, 0, out->len)) {
        g_set_error(error, PARAMS_ERROR, 0, "'%s' is no file of sections", path);
        ok = false;
    }
    fclose(file);
    return ok;
}

/* [group] or [group "id"]; NULL: neither. */
static struct ini_section *section_parse(char *line)
{
    size_t length = strlen(line);
    struct ini_section *s;
    char *id;

    if (length < 3 || line[length - 1] != ']') {
        return NULL;
    }
    line[length - 1] = '\0';
    line++;
    id = strpbrk(line, " \t");
    if (id) {
        *id++ = '\0';
        g_strstrip(id);
        length = strlen(id);
        if (length < 3 || id[0] != '"' || strchr(id + 1, '"') != id + length - 1) {
            return NULL;
        }
        id[length - 1] = '\0';
        id++;
    }
    if (!*line) {
        return NULL;
    }
    s = g_new0(struct ini_section, 1);
    s->group = g_strdup(line);
    s->id = g_strdup(id);
    s->text = g_string_new(NULL);
    return s;
}

/* key = "value" */
static bool value_parse(struct ini_section *s, char *line)
{
    size_t key = strcspn(line, " \t="), length;
    char *value = line + key + strspn(line + key, " \t");

    if (key == 0 || *value != '=') {
        return false;
    }
    value = g_strstrip(value + 1);
    length = strlen(value);
    if (length < 2 || value[0] != '"' || strchr(value + 1, '"') != value + length - 1) {
        return false;
    }
    value[length - 1] = '\0';
    g_string_append_printf(s->text, "%s%.*s=", s->text->len ? "," : "", (int)key, line);
    for (const char *c = value + 1; *c; c++) {
        g_string_append(s->text, *c == ',' ? "," : "");
        g_string_append_c(s->text, *c);
    }
    return true;
}

GPtrArray *ini_read(const char *path, GError **error)
{
    g_autoptr(GPtrArray) sections = g_ptr_array_new_with_free_func(section_free);
    g_autoptr(GString) bytes = g_string_new(NULL);
    g_auto(GStrv) lines = NULL;
    struct ini_section *s = NULL;

    if (!read_all(path, bytes, error)) {
        return NULL;
    }
    lines = g_strsplit(bytes->str, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        char *line = g_strstrip(lines[i]);
        bool ok = true;

        if (*line == '[') {
            s = section_parse(line);
            ok = s != NULL;
            if (ok) {
                s->line = i + 1;
                g_ptr_array_add(sections, s);
            }
        } else if (*line && *line != '#') {
            ok = s && value_parse(s, line);
        }
        if (!ok) {
            g_set_error(error, PARAMS_ERROR, 0,
                        "'%s', line %u: neither [group \"id\"] nor key = \"value\"%s", path, i + 1,
                        s || *line == '[' ? "" : " within a group");
            return NULL;
        }
    }
    return g_steal_pointer(&sections);
}
