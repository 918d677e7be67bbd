/* Words and arguments: see arguments.h. */
#include "arguments.h"

#include "output.h"

#include <string.h>

#define PATH_STEPS_MAX 16 /* of a.b.c=value */

/* Appends the quoted text that starts at *at, and moves *at behind it. */
static bool take_quoted(const char **at, GString *word)
{
    char quote = *(*at)++;
    for (; **at && **at != quote; (*at)++) {
        if (**at == '\\' && quote == '"' && (*at)[1]) {
            (*at)++;
        }
        g_string_append_c(word, **at);
    }
    if (**at != quote) {
        return false;
    }
    (*at)++;
    return true;
}

/* Appends the JSON value that starts at *at with a bracket. Brackets are only counted: whether it
 * is JSON is for the parser. */
static bool take_json(const char **at, GString *word)
{
    unsigned open = 0;
    bool in_string = false;
    for (; **at; (*at)++) {
        char c = **at;
        g_string_append_c(word, c);
        if (in_string) {
            if (c == '\\' && (*at)[1]) {
                g_string_append_c(word, *++*at);
            }
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            open++;
        } else if ((c == '}' || c == ']') && --open == 0) {
            (*at)++;
            return true;
        }
    }
    return false;
}

/* Whether what follows word is a value: at its start, or behind the '=' of key=value. */
static bool at_value(const GString *word)
{
    return word->len == 0 ||
           (word->str[word->len - 1] == '=' && strchr(word->str, '=') == word->str + word->len - 1);
}

static bool take_word(const char **at, GString *word, GError **error)
{
    while (**at && !g_ascii_isspace(**at)) {
        bool ok = true;
        const char *start = *at;
        if ((**at == '{' || **at == '[') && at_value(word)) {
            ok = take_json(at, word);
        } else if (**at == '"' || **at == '\'') {
            ok = take_quoted(at, word);
        } else {
            if (**at == '\\' && (*at)[1]) {
                (*at)++;
            }
            g_string_append_c(word, *(*at)++);
        }
        if (!ok) {
            g_set_error(error, G_SHELL_ERROR, G_SHELL_ERROR_BAD_QUOTING, "unbalanced %c in: %s",
                        *start, start);
            return false;
        }
    }
    return true;
}

char **words_split(const char *line, GError **error)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) word = g_string_new(NULL);
    for (const char *at = line;;) {
        while (g_ascii_isspace(*at)) {
            at++;
        }
        if (!*at) {
            break;
        }
        g_string_truncate(word, 0);
        if (!take_word(&at, word, error)) {
            g_ptr_array_unref(words);
            return NULL;
        }
        g_ptr_array_add(words, g_strdup(word->str));
    }
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

bool arguments_need_schema(char **words)
{
    for (unsigned i = 0; words[i]; i++) {
        const char *equals = strchr(words[i], '=');
        if (words[i][0] == '{' || !equals || (equals > words[i] && equals[-1] == ':')) {
            continue;
        }
        /* Plain words are strings for every type but a few; those come with a schema as well. */
        const char *value = equals + 1;
        static const char *const switches[] = {"on", "off", "yes", "no"};
        for (unsigned j = 0; j < G_N_ELEMENTS(switches); j++) {
            if (strcmp(value, switches[j]) == 0) {
                return true;
            }
        }
        if (*value == '\0' || strchr("-0123456789tfn{[", *value) || strchr(value, ',')) {
            return true;
        }
    }
    return false;
}

/* The object that the path's last step goes into, made on the way; NULL when a step is taken. */
static struct json_object *object_at(struct json_object *root, char **steps)
{
    struct json_object *at = root;
    for (unsigned i = 0; steps[i + 1]; i++) {
        struct json_object *next = NULL;
        if (!json_object_object_get_ex(at, steps[i], &next)) {
            next = json_object_new_object();
            json_object_object_add(at, steps[i], next);
        } else if (!json_object_is_type(next, json_type_object)) {
            return NULL;
        }
        at = next;
    }
    return at;
}

static bool add_argument(struct json_object *root, const char *word, const struct schema *schema,
                         const char *type, GError **error)
{
    const char *equals = strchr(word, '=');
    if (!equals || equals == word) {
        g_set_error(error, G_SHELL_ERROR, G_SHELL_ERROR_FAILED,
                    "argument '%s' must have the form NAME=VALUE or NAME:=JSON", word);
        return false;
    }
    bool as_json = equals[-1] == ':';
    g_autofree char *path = g_strndup(word, (gsize)(equals - word) - as_json);
    g_auto(GStrv) steps = g_strsplit(path, ".", PATH_STEPS_MAX);
    struct json_object *into = steps[0] ? object_at(root, steps) : NULL;
    const char *last = into ? steps[g_strv_length(steps) - 1] : "";
    if (*last == '\0' || json_object_object_get_ex(into, last, NULL)) {
        g_set_error(error, G_SHELL_ERROR, G_SHELL_ERROR_FAILED, "argument '%s': '%s' %s", word,
                    path, *last ? "is given twice" : "is no name");
        return false;
    }
    struct json_object *value = NULL;
    if (as_json) {
        enum json_tokener_error status;
        value = json_tokener_parse_verbose(equals + 1, &status);
        if (status != json_tokener_success) {
            g_set_error(error, G_SHELL_ERROR, G_SHELL_ERROR_FAILED, "argument '%s' is not JSON: %s",
                        word, json_tokener_error_desc(status));
            return false;
        }
    } else {
        struct schema_member member = {0};
        if (schema && type) {
            schema_member_find(schema, type, path, root, &member);
        }
        value = schema_value(schema, member.type, equals + 1);
    }
    json_object_object_add(into, last, value);
    return true;
}

static struct json_object *parse_object(const char *text, GError **error)
{
    struct json_tokener *tokener = json_tokener_new_ex(256);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    struct json_object *value = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
    enum json_tokener_error status = json_tokener_get_error(tokener);
    json_tokener_free(tokener);
    if (status != json_tokener_success) {
        g_set_error(error, G_SHELL_ERROR, G_SHELL_ERROR_FAILED, "arguments '%s' are not JSON: %s",
                    text, json_tokener_error_desc(status));
        return NULL;
    }
    return value;
}

struct json_object *arguments_parse(char **words, const struct schema *schema, const char *command,
                                    GError **error)
{
    if (words[0] && words[0][0] == '{') {
        if (words[1]) {
            g_set_error(error, G_SHELL_ERROR, G_SHELL_ERROR_FAILED,
                        "'%s': nothing may follow arguments in JSON", words[1]);
            return NULL;
        }
        return parse_object(words[0], error);
    }
    const char *type = schema ? schema_arguments(schema, command) : NULL;
    struct json_object *root = json_object_new_object();
    for (unsigned i = 0; words[i]; i++) {
        if (!add_argument(root, words[i], schema, type, error)) {
            json_object_put(root);
            return NULL;
        }
    }
    return root;
}
