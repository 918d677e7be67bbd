/* Completion: see complete.h. What the server calls its things goes through text_safe() before it
 * is shown; names with other than printable characters are not offered at all. */
#include "complete.h"

#include "ctl.h"
#include "output.h"

#include <string.h>

/* The words before the one at the cursor; partial is that one, and where it begins. Quotes are kept
 * together but not removed: a word that needs them is no name that can be completed. */
struct typed {
    GPtrArray *words;
    const char *partial;
};

static void typed_split(struct typed *typed, const char *line)
{
    typed->words = g_ptr_array_new_with_free_func(g_free);
    typed->partial = line;
    char quote = '\0';
    int brackets = 0;
    for (const char *at = line; *at; at++) {
        if (quote) {
            quote = *at == quote ? '\0' : quote;
        } else if (*at == '"' || *at == '\'') {
            quote = *at;
        } else if (*at == '{' || *at == '[') {
            brackets++;
        } else if (*at == '}' || *at == ']') {
            brackets--;
        } else if (g_ascii_isspace(*at) && brackets <= 0) {
            if (at > typed->partial) {
                g_ptr_array_add(typed->words,
                                g_strndup(typed->partial, (gsize)(at - typed->partial)));
            }
            typed->partial = at + 1;
        }
    }
}

static const char *typed_word(const struct typed *typed, guint i)
{
    return i < typed->words->len ? g_ptr_array_index(typed->words, i) : "";
}

/* Offers before + name + after when it begins with the text that is there. */
static void offer(struct completion *completion, const char *there, const char *before,
                  const char *name, const char *after)
{
    g_autofree char *safe = text_safe(name, false);
    g_autofree char *candidate = g_strconcat(before, name, after, NULL);
    if (strcmp(safe, name) == 0 && g_str_has_prefix(candidate, there)) {
        g_ptr_array_add(completion->candidates, g_steal_pointer(&candidate));
    }
}

static void offer_all(struct completion *completion, const char *there, const char *before,
                      const char **names)
{
    for (unsigned i = 0; names && names[i]; i++) {
        offer(completion, there, before, names[i], "");
    }
}

static void offer_commands(struct completion *completion, const struct schema *schema,
                           const char *there)
{
    g_autofree const char **names = schema ? schema_commands(schema) : NULL;
    offer_all(completion, there, "", names);
}

static void offer_verbs(struct completion *completion, const char *there)
{
    for (const struct verb *verb = verbs; verb->name; verb++) {
        if (verb->in_shell) {
            offer(completion, there, "", verb->name, "");
        }
    }
}

/* What a.b=c words have set so far, all as strings: enough to choose the branches of unions. */
static struct json_object *given_arguments(const struct typed *typed, guint first)
{
    struct json_object *root = json_object_new_object();
    for (guint i = first; i < typed->words->len; i++) {
        const char *word = typed_word(typed, i), *equals = strchr(word, '=');
        if (!equals || equals == word || *word == '{') {
            continue;
        }
        g_autofree char *path = g_strndup(word, (gsize)(equals - word));
        g_auto(GStrv) steps = g_strsplit(path, ".", -1);
        struct json_object *at = root;
        for (unsigned j = 0; steps[j] && json_object_is_type(at, json_type_object); j++) {
            struct json_object *next = json_member(at, steps[j]);
            if (!next) {
                next = steps[j + 1] ? json_object_new_object() : json_object_new_string(equals + 1);
                json_object_object_add(at, steps[j], next);
            }
            at = next;
        }
    }
    return root;
}

/* The values of the member at path, behind "path=": of an array, those of its last element. */
static void offer_values(struct completion *completion, const struct schema *schema,
                         const char *type, struct json_object *given, const char *there,
                         const char *path, const char *equals)
{
    struct schema_member member;
    if (!schema_member_find(schema, type, path, given, &member)) {
        return;
    }
    const char *comma = strrchr(equals, ',');
    g_autofree char *before = g_strndup(there, (gsize)((comma ? comma : equals) + 1 - there));
    g_autofree const char **values = schema_values(schema, member.type);
    offer_all(completion, there, before, values);
}

/* The members below an object type, behind "a.b." when there is a dot: those not given yet. */
static void offer_members(struct completion *completion, const struct schema *schema,
                          const char *type, struct json_object *given, const char *there,
                          const char *path)
{
    const char *dot = strrchr(path, '.');
    g_autofree char *parent = dot ? g_strndup(path, (gsize)(dot - path)) : NULL;
    g_autofree char *before = g_strndup(there, strlen(there) - strlen(dot ? dot + 1 : path));
    struct schema_member inside;
    if (parent) {
        if (!schema_member_find(schema, type, parent, given, &inside)) {
            return;
        }
        type = inside.type;
        g_auto(GStrv) steps = g_strsplit(parent, ".", -1);
        for (unsigned i = 0; steps[i]; i++) {
            given = json_member(given, steps[i]);
        }
    }
    g_autoptr(GArray) members = schema_members(schema, type, given);
    for (guint i = 0; i < members->len; i++) {
        const struct schema_member *member = &g_array_index(members, struct schema_member, i);
        g_autofree char *label = schema_type_label(schema, member->type);
        bool is_object = strcmp(label, "object") == 0;
        if (is_object || !json_object_object_get_ex(given, member->name, NULL)) {
            offer(completion, there, before, member->name, is_object ? "." : "=");
        }
    }
    completion->open = true;
}

/* A word NAME=VALUE for a type; path is the part of it that names a member ("data." taken off). */
static void offer_argument(struct completion *completion, const struct schema *schema,
                           const char *type, struct json_object *given, const char *there,
                           const char *path)
{
    const char *equals = strchr(path, '=');
    if (equals) {
        g_autofree char *name = g_strndup(path, (gsize)(equals - path));
        offer_values(completion, schema, type, given, there, name, equals);
    } else {
        offer_members(completion, schema, type, given, there, path);
    }
}

/* The condition of events and wait: data.MEMBER=VALUE of the event named before. */
static void offer_condition(struct completion *completion, const struct schema *schema,
                            const struct typed *typed)
{
    const char *event = NULL;
    for (guint i = 1; i + 1 < typed->words->len; i++) {
        if (strcmp(typed_word(typed, i), "--for") == 0) {
            event = typed_word(typed, i + 1);
        }
    }
    const char *type = event ? schema_event_data(schema, event) : NULL;
    if (!type || !g_str_has_prefix(typed->partial, "data.")) {
        offer(completion, typed->partial, "", "data.", "");
        completion->open = true;
        return;
    }
    offer_argument(completion, schema, type, NULL, typed->partial,
                   typed->partial + strlen("data."));
}

static void offer_event_option(struct completion *completion, const struct schema *schema,
                               const struct typed *typed)
{
    static const char *const options[] = {"--follow", "--since", "--for",  "--where",
                                          "--count",  "--exec",  "--json", "--timeout"};
    const char *last = typed_word(typed, typed->words->len - 1);
    if (strcmp(last, "--for") == 0 && schema) {
        g_autofree const char **events = schema_events(schema);
        offer_all(completion, typed->partial, "", events);
    } else if (strcmp(last, "--where") == 0 && schema) {
        offer_condition(completion, schema, typed);
    } else if (strcmp(last, "--exec") == 0) {
        offer_commands(completion, schema, typed->partial);
    } else {
        bool wait = strcmp(typed_word(typed, 0), "wait") == 0;
        for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
            bool other = strcmp(options[i], wait ? "--follow" : "--exec") == 0 ||
                         (wait && strcmp(options[i], "--count") == 0);
            if (!other) {
                offer(completion, typed->partial, "", options[i], "");
            }
        }
    }
}

static void offer_for(struct completion *completion, const struct schema *schema,
                      const struct typed *typed)
{
    const char *first = typed_word(typed, 0);
    guint n = typed->words->len;
    if (n == 0) {
        offer_verbs(completion, typed->partial);
        offer(completion, typed->partial, "", "help", "");
        offer(completion, typed->partial, "", "exit", "");
        offer_commands(completion, schema, typed->partial);
        return;
    }
    guint command = strcmp(first, "exec") == 0 ? 1 : 0;
    if (strcmp(first, "help") == 0) {
        if (n == 1) {
            offer_verbs(completion, typed->partial);
            offer_commands(completion, schema, typed->partial);
        }
    } else if (strcmp(first, "wait") == 0 || strcmp(first, "events") == 0) {
        offer_event_option(completion, schema, typed);
    } else if (n == command) {
        offer_commands(completion, schema, typed->partial);
    } else if (schema) {
        const char *type = schema_arguments(schema, typed_word(typed, command));
        struct json_object *given = given_arguments(typed, command + 1);
        if (type) {
            offer_argument(completion, schema, type, given, typed->partial, typed->partial);
        }
        json_object_put(given);
    }
}

static int compare_candidates(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void completion_fill(struct completion *completion, const struct schema *schema, const char *line)
{
    struct typed typed;
    typed_split(&typed, line);
    completion->start = (size_t)(typed.partial - line);
    completion->candidates = g_ptr_array_new_with_free_func(g_free);
    completion->open = false;
    offer_for(completion, schema, &typed);
    g_ptr_array_sort(completion->candidates, compare_candidates);
    for (guint i = completion->candidates->len; i-- > 1;) { /* "stop" is a verb and a command */
        if (compare_candidates(&completion->candidates->pdata[i],
                               &completion->candidates->pdata[i - 1]) == 0) {
            g_ptr_array_remove_index(completion->candidates, i);
        }
    }
    g_ptr_array_unref(typed.words);
}

void completion_clear(struct completion *completion)
{
    g_ptr_array_unref(completion->candidates);
    completion->candidates = NULL;
}

char *completion_common(const struct completion *completion)
{
    const GPtrArray *list = completion->candidates;
    if (list->len == 0) {
        return g_strdup("");
    }
    /* Sorted: what the first and the last share, all share. */
    const char *first = g_ptr_array_index(list, 0), *last = g_ptr_array_index(list, list->len - 1);
    size_t n = 0;
    while (first[n] && first[n] == last[n]) {
        n++;
    }
    while (n > 0 && ((unsigned char)first[n] & 0xc0) == 0x80) { /* not inside a character */
        n--;
    }
    return g_strndup(first, n);
}

char *completion_columns(const struct completion *completion, unsigned width)
{
    const GPtrArray *list = completion->candidates;
    unsigned widest = 0;
    for (guint i = 0; i < list->len; i++) {
        widest = MAX(widest, (unsigned)g_utf8_strlen(g_ptr_array_index(list, i), -1));
    }
    unsigned columns = MAX(width / (widest + 2), 1);
    unsigned rows = (list->len + columns - 1) / columns;
    GString *out = g_string_new(NULL);
    for (unsigned row = 0; row < rows; row++) {
        for (unsigned i = row; i < list->len; i += rows) {
            const char *name = g_ptr_array_index(list, i);
            unsigned pad =
                i + rows < list->len ? widest + 2 - (unsigned)g_utf8_strlen(name, -1) : 0;
            g_string_append_printf(out, "%s%*s", name, (int)pad, "");
        }
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, FALSE);
}
