/* How the words of the human monitor's lines become arguments: see hmp-priv.h. */
#include "monitor/hmp-priv.h"

#include "cpu/x86/print.h"
#include "monitor/monitor-priv.h"
#include "qapi-commands.h"
#include "qapi/params.h"
#include <string.h>

void hmp_print(struct hmp *h, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    g_string_append_vprintf(h->out, format, ap);
    va_end(ap);
}

void hmp_print_error(struct hmp *h, const GError *error)
{
    if (error) {
        hmp_print(h, "Error: %s\n", error->message);
    }
}

void hmp_print_try_help(struct hmp *h)
{
    hmp_print(h, "Try \"help %s\" for more information\n", h->typed);
}

/* ---- words */

/* A line that is being taken apart for a command. */
struct words {
    struct hmp *h;
    const struct hmp_command *command;
    const char *p;
};

/* Tells what is wrong with them, behind the command's own word and its alias. */
__attribute__((format(printf, 2, 3))) static void complain(const struct words *w,
                                                           const char *format, ...)
{
    const struct hmp_command *c = w->command;
    const char *item = strrchr(c->name, ' ');
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, format);
    what = g_strdup_vprintf(format, ap);
    va_end(ap);
    hmp_print(w->h, "%s%s%s: %s\n", item ? item + 1 : c->name, c->alias ? "|" : "",
              c->alias ? c->alias : "", what);
}

static void skip_blanks(const char **p)
{
    while (g_ascii_isspace(**p)) {
        (*p)++;
    }
}

/* What follows an opening quote, up to the closing one. */
static char *quoted(const char **args)
{
    static const char letters[] = "nr\\'\"", meant[] = "\n\r\\'\"";
    GString *word = g_string_new(NULL);
    const char *p = *args;

    for (; *p && *p != '"'; p++) {
        const char *escape = *p == '\\' && p[1] ? strchr(letters, p[1]) : NULL;

        p += escape ? 1 : 0;
        g_string_append_c(word, escape ? meant[escape - letters] : *p);
    }
    if (*p != '"') {
        g_string_free(word, TRUE);
        return NULL;
    }
    *args = p + 1;
    return g_string_free(word, FALSE);
}

/* The next word, the line being moved behind it and the blanks that follow; NULL when there is
 * none, or its quotes do not end. The caller's. */
static char *next_word(struct words *w)
{
    size_t n;
    char *word;

    if (*w->p == '"') {
        w->p++;
        word = quoted(&w->p);
    } else {
        for (n = 0; w->p[n] && !g_ascii_isspace(w->p[n]); n++) {
        }
        word = n ? g_strndup(w->p, n) : NULL;
        w->p += n;
    }
    skip_blanks(&w->p);
    return word;
}

static struct json_object *take_string(struct words *w, char type)
{
    g_autofree char *word = next_word(w);

    if (!word) {
        complain(w, "%s expected",
                 type == 'B'   ? "block device name"
                 : type == 'F' ? "filename"
                               : "string");
    }
    return word ? json_object_new_string(word) : NULL;
}

static struct json_object *take_rest(struct words *w)
{
    struct json_object *rest = NULL;

    if (*w->p) {
        rest = json_object_new_string(w->p);
        w->p += strlen(w->p);
    } else {
        complain(w, "string expected");
    }
    return rest;
}

static bool register_value(void *opaque, const char *name, uint64_t *value)
{
    struct hmp *h = opaque;
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);

    if (!h->vcpu) {
        return false;
    }
    machine_park_begin(h->m);
    h->vcpu->ops->get(h->vcpu, state, CPU_PRINT_STATE);
    machine_park_end(h->m);
    return cpu_state_register(state, name, value);
}

static struct json_object *take_number(struct words *w, char type)
{
    g_autoptr(GError) error = NULL;
    uint64_t value;

    if (!hmp_expression(&w->p, register_value, w->h, &value, &error)) {
        hmp_print(w->h, "%s\n", error->message);
        return NULL;
    }
    skip_blanks(&w->p);
    if (type == 'i' && value >> 32) {
        hmp_print(w->h, "'%s' has failed: integer is for 32-bit values\n", w->command->name);
        return NULL;
    }
    if (type == 'M' && value > INT64_MAX >> 20) {
        hmp_print(w->h, "enter a positive value\n");
        return NULL;
    }
    return json_object_new_int64((int64_t)(type == 'M' ? value << 20 : value));
}

static struct json_object *take_size(struct words *w)
{
    g_autofree char *word = next_word(w);
    uint64_t bytes;

    if (!word || !parse_size(word, 'M', &bytes) || bytes > INT64_MAX) {
        hmp_print(w->h, "invalid size\n");
        return NULL;
    }
    return json_object_new_int64((int64_t)bytes);
}

static struct json_object *take_switch(struct words *w)
{
    g_autofree char *word = next_word(w);

    if (g_strcmp0(word, "on") != 0 && g_strcmp0(word, "off") != 0) {
        hmp_print(w->h, "Expected 'on' or 'off'\n");
        return NULL;
    }
    return json_object_new_boolean(strcmp(word, "on") == 0);
}

/* "/" with a count, and letters of a form and a size in any order; nothing at all is 1, x, w. */
static struct json_object *take_format(struct words *w)
{
    static const char forms[] = "oduxci", sizes[] = "bhwg";
    struct hmp_format f = {.count = 1, .form = 'x', .size = 4};
    struct json_object *object;
    const char *found;

    if (*w->p == '/') {
        w->p++;
        if (g_ascii_isdigit(*w->p)) {
            f.count = g_ascii_strtoull(w->p, (char **)&w->p, 10);
        }
        for (; *w->p && !g_ascii_isspace(*w->p); w->p++) {
            found = strchr(sizes, *w->p == 'L' ? 'g' : *w->p);
            if (found) {
                f.size = 1u << (found - sizes);
            } else if (strchr(forms, *w->p)) {
                f.form = *w->p;
            } else {
                hmp_print(w->h, "invalid char in format: '%c'\n", *w->p);
                return NULL;
            }
        }
        skip_blanks(&w->p);
    }
    object = json_object_new_object();
    json_object_object_add(object, "count", json_object_new_uint64(f.count));
    json_object_object_add(object, "form", json_object_new_int(f.form));
    json_object_object_add(object, "size", json_object_new_int((int)f.size));
    return object;
}

/* A value of this type; NULL after a complaint. */
static struct json_object *take_value(struct words *w, char type)
{
    switch (type) {
    case 'i':
    case 'l':
    case 'M':
        return take_number(w, type);
    case 'o':
        return take_size(w);
    case 'b':
        return take_switch(w);
    case '/':
        return take_format(w);
    case 'S':
        return take_rest(w);
    default:
        return take_string(w, type);
    }
}

/* ---- arguments */

/* The option of this letter in the command's list, "NAME:-x"; NULL: it has none. */
static const char *find_option(const struct hmp_command *command, char letter)
{
    const char option[] = {':', '-', letter, '\0'};
    const char *found = letter ? strstr(command->args, option) : NULL;

    while (found && found > command->args && found[-1] != ' ') {
        found--;
    }
    return found;
}

/* The options that stand here, in any order; false after a complaint. */
static bool take_options(struct words *w, struct json_object *to)
{
    while (*w->p == '-') {
        char letter = w->p[1];
        const char *option = find_option(w->command, letter);
        g_autofree char *name = NULL, *word = NULL;

        if (!option) {
            complain(w, "unsupported option -%.1s", w->p + 1);
            return false;
        }
        name = g_strndup(option, strcspn(option, ":"));
        w->p += 2;
        skip_blanks(&w->p);
        if (option[strlen(name) + strlen(":-x")] != 's') {
            json_object_object_add(to, name, json_object_new_boolean(true));
            continue;
        }
        word = next_word(w);
        if (!word) {
            complain(w, "value expected for -%c", letter);
            return false;
        }
        json_object_object_add(to, name, json_object_new_string(word));
    }
    return true;
}

/* The argument "NAME:TYPE" or "NAME:TYPE?"; false after a complaint. */
static bool take_argument(struct words *w, const char *argument, struct json_object *to)
{
    const char *type = strchr(argument, ':') + 1;
    g_autofree char *name = g_strndup(argument, (gsize)(type - 1 - argument));
    struct json_object *value;

    if (type[0] == '-') {
        return take_options(w, to);
    }
    if (!*w->p && type[1] == '?') {
        return true;
    }
    value = take_value(w, type[0]);
    if (value) {
        json_object_object_add(to, name, value);
    }
    return value != NULL;
}

struct json_object *hmp_parse(struct hmp *h, const struct hmp_command *command, const char *line)
{
    struct words w = {h, command, line};
    g_auto(GStrv) argument = g_strsplit(command->args ? command->args : "", " ", -1);
    struct json_object *object = json_object_new_object();
    bool ok = true;

    for (unsigned i = 0; argument[i] && ok; i++) {
        ok = take_argument(&w, argument[i], object);
    }
    if (ok && *w.p) {
        complain(&w, "extraneous characters at the end of line");
        ok = false;
    }
    if (!ok) {
        hmp_print_try_help(h);
        json_object_put(object);
        return NULL;
    }
    return object;
}

const char *hmp_string(const struct json_object *args, const char *name)
{
    return json_object_get_string(json_object_object_get(args, name));
}

uint64_t hmp_number(const struct json_object *args, const char *name)
{
    return (uint64_t)json_object_get_int64(json_object_object_get(args, name));
}

bool hmp_flag(const struct json_object *args, const char *name)
{
    return json_object_get_boolean(json_object_object_get(args, name));
}

bool hmp_has(const struct json_object *args, const char *name)
{
    return json_object_object_get(args, name) != NULL;
}

struct hmp_format hmp_format(const struct json_object *args, const char *name)
{
    const struct json_object *f = json_object_object_get(args, name);

    return (struct hmp_format){.count = json_object_get_uint64(json_object_object_get(f, "count")),
                               .form = (char)hmp_number(f, "form"),
                               .size = (unsigned)hmp_number(f, "size")};
}

/* ---- QMP's commands */

struct qmp_call hmp_call(struct hmp *h)
{
    return (struct qmp_call){.machine = h->m};
}

char *hmp_qmp(struct hmp *h, const char *name, struct json_object *args)
{
    const struct qmp_command *command = qmp_command_find(name);
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    GString *answer = g_string_new(NULL);
    bool ok = qmp_state_permits(h->m, name, &error) && command->run(&call, args, answer, &error);

    hmp_print_error(h, error);
    return g_string_free(answer, !ok);
}
