/* How the human monitor's words become arguments, of QMP's commands too: see hmp-priv.h. */
#include "monitor/hmp-priv.h"

#include "cpu/x86/print.h"
#include "monitor/monitor-priv.h"
#include "qapi-commands.h"
#include "qapi/keyval.h"
#include "qapi/params.h"
#include <json-c/json.h>
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

/* The command's own word: what follows "info ". */
static const char *last_word(const struct hmp_command *command)
{
    const char *word = strrchr(command->name, ' ');

    return word ? word + 1 : command->name;
}

void hmp_print_try_help(struct hmp *h, const struct hmp_command *command)
{
    hmp_print(h, "Try \"help %s\" for more information\n", command->name);
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

char *hmp_word(const char **args)
{
    size_t n;
    char *word;

    skip_blanks(args);
    if (**args == '"') {
        (*args)++;
        word = quoted(args);
    } else {
        for (n = 0; (*args)[n] && !g_ascii_isspace((*args)[n]); n++) {
        }
        word = n ? g_strndup(*args, n) : NULL;
        *args += n;
    }
    skip_blanks(args);
    return word;
}

char *hmp_needed_word(struct hmp *h, const struct hmp_command *command, const char **args,
                      const char *what)
{
    char *word = hmp_word(args);

    if (!word) {
        hmp_print(h, "%s: %s expected\n", command->name, what);
        hmp_print_try_help(h, command);
    }
    return word;
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

bool hmp_value(struct hmp *h, const struct hmp_command *command, const char **args, uint64_t *value)
{
    g_autoptr(GError) error = NULL;

    if (!hmp_expression(args, register_value, h, value, &error)) {
        hmp_print(h, "%s\n", error->message);
        hmp_print_try_help(h, command);
        return false;
    }
    skip_blanks(args);
    return true;
}

bool hmp_end(struct hmp *h, const struct hmp_command *command, const char *args)
{
    if (*args) {
        hmp_print(h, "%s%s%s: extraneous characters at the end of line\n", last_word(command),
                  command->alias ? "|" : "", command->alias ? command->alias : "");
        hmp_print_try_help(h, command);
    }
    return !*args;
}

/* ---- QMP's commands */

char *hmp_qmp(struct hmp *h, const char *name, struct json_object *args)
{
    const struct qmp_command *command = qmp_command_find(name);
    struct qmp_call call = {.machine = h->m};
    g_autoptr(GError) error = NULL;
    GString *answer = g_string_new(NULL);
    bool ok = qmp_state_permits(h->m, name, &error) && command->run(&call, args, answer, &error);

    json_object_put(args);
    hmp_print_error(h, error);
    return g_string_free(answer, !ok);
}

static bool fits_int64(struct hmp *h, const struct hmp_command *command, bool ok)
{
    if (!ok) {
        hmp_print(h, "integer is for 63-bit values\n");
        hmp_print_try_help(h, command);
    }
    return ok;
}

/* A value of this type for the member; NULL after a complaint. */
static struct json_object *member_value(struct hmp *h, const struct hmp_command *command, char type,
                                        const char **args)
{
    const char *what = type == 'B'   ? "block device name"
                       : type == 'F' ? "filename"
                       : type == 'o' ? "size"
                                     : "string";
    g_autofree char *word = NULL;
    uint64_t n;
    bool on;

    if (type == 'i' || type == 'M') {
        unsigned shift = type == 'M' ? 20 : 0;

        return hmp_value(h, command, args, &n) &&
                       fits_int64(h, command, n <= (uint64_t)INT64_MAX >> shift)
                   ? json_object_new_int64((int64_t)(n << shift))
                   : NULL;
    }
    word = hmp_needed_word(h, command, args, what);
    if (!word) {
        return NULL;
    }
    switch (type) {
    case 'o':
        if (!parse_size(word, 'M', &n) || n > INT64_MAX) {
            hmp_print(h, "invalid size\n");
            hmp_print_try_help(h, command);
            return NULL;
        }
        return json_object_new_int64((int64_t)n);
    case 'b':
        if (!qapi_parse_bool(word, &on)) {
            hmp_print(h, "%s: expected 'on' or 'off'\n", command->name);
            hmp_print_try_help(h, command);
            return NULL;
        }
        return json_object_new_boolean(on);
    default:
        return json_object_new_string(word);
    }
}

/* An option of a letter: taken if it is there. */
static bool take_flag(const char **args, char letter)
{
    const char *p = *args;

    if (p[0] != '-' || p[1] != letter || (p[2] && !g_ascii_isspace(p[2]))) {
        return false;
    }
    *args += 2;
    skip_blanks(args);
    return true;
}

/* "MEMBER:TYPE" or "MEMBER:TYPE?" */
static bool take_member(struct hmp *h, const struct hmp_command *command, const char *member,
                        const char **args, struct json_object *to)
{
    const char *type = strchr(member, ':') + 1;
    g_autofree char *name = g_strndup(member, (gsize)(type - 1 - member));
    struct json_object *value;

    if (type[0] == '-') {
        if (take_flag(args, type[1])) {
            json_object_object_add(to, name, json_object_new_boolean(true));
        }
        return true;
    }
    if (!**args && type[1] == '?') {
        return true;
    }
    value = member_value(h, command, type[0], args);
    if (value) {
        json_object_object_add(to, name, value);
    }
    return value != NULL;
}

/* The arguments of the command's words; NULL after a complaint. */
static struct json_object *members_of(struct hmp *h, const struct hmp_command *command,
                                      const char *args)
{
    g_auto(GStrv) member = g_strsplit(command->members ? command->members : "", " ", -1);
    struct json_object *object = json_object_new_object();
    bool ok = true;

    for (unsigned i = 0; member[i] && ok; i++) {
        ok = take_member(h, command, member[i], &args, object);
    }
    if (!ok || !hmp_end(h, command, args)) {
        json_object_put(object);
        return NULL;
    }
    return object;
}

void hmp_run_qmp(struct hmp *h, const struct hmp_command *command, const char *args)
{
    struct json_object *object = members_of(h, command, args);

    if (object) {
        g_free(hmp_qmp(h, command->qmp, object));
    }
}
