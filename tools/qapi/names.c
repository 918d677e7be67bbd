/*
 * Names in the schema and what becomes of them in C.
 */
#include "names.h"

#include <string.h>

/* Words that C, or the headers and predefined macros of a GNU compiler, keep for themselves. */
static const char *const taken_words[] = {
    "_Bool",  "alignas", "alignof",  "asm",     "auto",   "bool",          "break",    "case",
    "char",   "const",   "continue", "default", "do",     "double",        "else",     "enum",
    "errno",  "extern",  "false",    "float",   "for",    "goto",          "i386",     "if",
    "inline", "int",     "linux",    "long",    "mips",   "register",      "restrict", "return",
    "short",  "signed",  "sizeof",   "sparc",   "static", "static_assert", "struct",   "switch",
    "true",   "typedef", "typeof",   "union",   "unix",   "unsigned",      "void",     "volatile",
    "while",  NULL,
};

/* Types that the runtime, GLib's companion json-c and their headers have already. */
static const char *const taken_types[] = {
    "array_list",         "event_sink",   "json_object",        "json_object_iter",
    "json_patch_error",   "json_tokener", "json_tokener_error", "json_tokener_srec",
    "json_tokener_state", "json_type",    "lh_entry",           "lh_table",
    "printbuf",           "q_type",       "qapi_event",         "qapi_kind",
    "qapi_list",          "qapi_member",  "qapi_object",        "qapi_read_mode",
    "qapi_type",          "qmp_call",     "qmp_command",        "qmp_command_flags",
    "qmp_error",          NULL,
};

static char *munge(struct pool *pool, const char *name)
{
    char *c = pool_strdup(pool, name);

    for (char *p = c; *p; p++) {
        if (!g_ascii_isalnum(*p)) {
            *p = '_';
        }
    }
    return c;
}

static const char *protect(struct pool *pool, const char *c)
{
    if (g_strv_contains(taken_words, c) || g_ascii_isdigit(*c)) {
        return pool_printf(pool, "q_%s", c);
    }
    return c;
}

const char *name_to_c(struct pool *pool, const char *name)
{
    return protect(pool, munge(pool, name));
}

const char *name_to_upper(struct pool *pool, const char *name)
{
    char *c = munge(pool, name);

    for (char *p = c; *p; p++) {
        *p = g_ascii_toupper(*p);
    }
    return c;
}

const char *name_to_lower(struct pool *pool, const char *name)
{
    char *c = munge(pool, name);

    for (char *p = c; *p; p++) {
        *p = g_ascii_tolower(*p);
    }
    return c;
}

/*
 * A word begins at an upper-case letter that follows a lower-case one or a digit, and at the last
 * of a run of upper-case letters if a lower-case one follows.
 */
const char *type_name_to_c(struct pool *pool, const char *name)
{
    g_autoptr(GString) c = g_string_new(NULL);

    for (const char *p = name; *p; p++) {
        if (p > name && g_ascii_isupper(*p) &&
            (g_ascii_islower(p[-1]) || g_ascii_isdigit(p[-1]) ||
             (g_ascii_isupper(p[-1]) && g_ascii_islower(p[1])))) {
            g_string_append_c(c, '_');
        }
        g_string_append_c(c, g_ascii_isalnum(*p) ? g_ascii_tolower(*p) : '_');
    }
    if (g_strv_contains(taken_types, c->str)) {
        g_string_prepend(c, "q_");
    }
    return protect(pool, pool_strdup(pool, c->str));
}

const char *enum_constant(struct pool *pool, const char *enum_c_name, const char *value)
{
    return name_to_upper(pool, pool_printf(pool, "%s_%s", enum_c_name, value));
}

const char *name_stem(const char *name, bool also_x)
{
    const char *stem = name;

    if (g_str_has_prefix(stem, "__")) {
        size_t domain = strspn(stem + 2, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                         "0123456789.-");

        if (domain && stem[2 + domain] == '_') {
            stem += 2 + domain + 1;
        }
    }
    if (also_x && (g_str_has_prefix(stem, "x-") || g_str_has_prefix(stem, "X-"))) {
        stem += 2;
    }
    return stem;
}

bool name_is_valid(const char *name, bool value)
{
    const char *stem = name_stem(name, true);

    if (!g_ascii_isalpha(*stem) && !(value && g_ascii_isdigit(*stem))) {
        return false;
    }
    for (const char *p = stem; *p; p++) {
        if (!g_ascii_isalnum(*p) && *p != '-' && *p != '_') {
            return false;
        }
    }
    return strlen(name) <= 200;
}
