/*
 * Option text of chardevs and socket addresses.
 *
 * Pieces are separated by commas (",," is a comma itself). A piece without '=' is a boolean that is
 * on, or off after "no" in the old spelling "nowait".
 */
#include "chardev/chardev-priv.h"

#include "qapi/params.h"
#include <string.h>

void chardev_options_add(struct chardev_options *o, const char *name, const char *value)
{
    g_ptr_array_add(o->names, g_strdup(name));
    g_ptr_array_add(o->values, g_strdup(value));
}

struct chardev_options *chardev_options_new(const char *text)
{
    struct chardev_options *o = g_new0(struct chardev_options, 1);

    o->names = g_ptr_array_new_with_free_func(g_free);
    o->values = g_ptr_array_new_with_free_func(g_free);
    while (text && *text) {
        g_autofree char *piece = params_word(&text);
        char *equals = strchr(piece, '=');

        if (equals) {
            *equals = '\0';
            chardev_options_add(o, piece, equals + 1);
        } else if (*piece) {
            chardev_options_add(o, piece, NULL);
        }
    }
    return o;
}

void chardev_options_free(struct chardev_options *o)
{
    g_free(o->type);
    g_free(o->id);
    g_ptr_array_unref(o->names);
    g_ptr_array_unref(o->values);
    g_free(o);
}

char *chardev_option_first(struct chardev_options *o)
{
    char *name;

    if (o->names->len == 0 || !o->names->pdata[0] || o->values->pdata[0]) {
        return NULL;
    }
    name = o->names->pdata[0];
    o->names->pdata[0] = NULL;
    return name;
}

char *chardev_option(struct chardev_options *o, const char *name)
{
    char *value = NULL;

    /* Given twice, the last one counts. */
    for (guint i = 0; i < o->names->len; i++) {
        if (g_strcmp0(o->names->pdata[i], name) == 0) {
            g_clear_pointer(&o->names->pdata[i], g_free);
            g_free(value);
            value = g_strdup(o->values->pdata[i] ? o->values->pdata[i] : "on");
        }
    }
    return value;
}

bool chardev_option_switch(struct chardev_options *o, const char *name, int *value, GError **error)
{
    g_autofree char *negated = g_strconcat("no", name, NULL);
    g_autofree char *off = chardev_option(o, negated), *text = chardev_option(o, name);

    if (off) {
        *value = false;
    }
    if (!text) {
        return true;
    }
    *value = strcmp(text, "on") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "true") == 0;
    if (!*value && strcmp(text, "off") != 0 && strcmp(text, "no") != 0 &&
        strcmp(text, "false") != 0) {
        g_set_error(error, CHARDEV_ERROR, 0, "option '%s': '%s' is neither on nor off", name, text);
        return false;
    }
    return true;
}

bool chardev_option_bool(struct chardev_options *o, const char *name, bool *value, GError **error)
{
    int as_number = *value;
    bool ok = chardev_option_switch(o, name, &as_number, error);

    *value = as_number;
    return ok;
}

bool chardev_options_all_taken(struct chardev_options *o, GError **error)
{
    for (guint i = 0; i < o->names->len; i++) {
        if (o->names->pdata[i]) {
            g_set_error(error, CHARDEV_ERROR, 0, "unknown option '%s'", (char *)o->names->pdata[i]);
            return false;
        }
    }
    return true;
}
