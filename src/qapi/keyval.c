/*
 * The command line's key=value text to a tree, and the words and numbers in it.
 *
 * The tree is built as objects only. When all is read, an object whose keys are all numbers turns
 * into an array, whose indices must run from 0 without a gap; so its length is bounded by the
 * length of the text.
 *
 * Not taken over from QEMU: `help` and `?` as a value without key; the command line handles those
 * before it comes here.
 */
#include "qapi/keyval.h"

#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "qapi/error.h"
#include "qapi/json.h"

#define KEY_DEPTH_MAX  64  /* fragments in one key */
#define FRAGMENT_MAX   127 /* bytes in one fragment */
#define JSON_DEPTH_MAX 256

static bool fail(GError **errp, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool fail(GError **errp, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (errp) {
        *errp = g_error_new_valist(QMP_ERROR, QMP_ERROR_GENERIC, format, args);
    }
    va_end(args);
    return false;
}

/* Whether @s is an index: digits only, without leading zeros. */
static bool is_index(const char *s)
{
    size_t digits = strspn(s, "0123456789");

    return digits > 0 && !s[digits] && (s[0] != '0' || digits == 1);
}

static bool is_fragment(const char *s, size_t len)
{
    if (len == 0 || len > FRAGMENT_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isalnum(s[i]) && s[i] != '-' && s[i] != '_') {
            return false;
        }
    }
    return true;
}

/*
 * Splits a key at its dots. A downstream name, "__org.example_drive", has dots of its own: there
 * the first fragment goes up to the first underscore behind the prefix.
 */
static size_t fragment_length(const char *key, bool first)
{
    if (first && g_str_has_prefix(key, "__")) {
        const char *end = strchr(key + 2, '_');

        if (end) {
            return (size_t)(end - key) + strcspn(end, ".");
        }
    }
    return strcspn(key, ".");
}

static bool is_downstream_fragment(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isalnum(s[i]) && !strchr("-_.", s[i])) {
            return false;
        }
    }
    return len <= FRAGMENT_MAX;
}

static bool key_put(struct json_object *root, const char *key, const char *value, GError **errp)
{
    struct json_object *at = root;
    const char *p = key;

    for (unsigned depth = 0;; depth++) {
        size_t len = fragment_length(p, p == key);
        bool last = p[len] == '\0';
        bool downstream = p == key && g_str_has_prefix(p, "__");
        struct json_object *next = NULL;
        g_autofree char *fragment = NULL;

        if (downstream ? !is_downstream_fragment(p, len) : !is_fragment(p, len)) {
            return fail(errp, "Invalid parameter '%s'", key);
        }
        if (depth >= KEY_DEPTH_MAX) {
            return fail(errp, "Parameter '%.40s...' is nested too deeply", key);
        }
        fragment = g_strndup(p, len);
        json_object_object_get_ex(at, fragment, &next);
        if (next && json_object_is_type(next, json_type_object) == last) {
            return fail(errp, "Parameters '%.*s.*' used inconsistently", (int)(p - key + len), key);
        }
        if (last) {
            json_object_object_add(at, fragment, json_object_new_string(value));
            return true;
        }
        if (!next) {
            next = json_object_new_object();
            json_object_object_add(at, fragment, next);
        }
        at = next;
        p += len + 1;
    }
}

/* Takes one value from @p: up to a single comma, doubled ones made one. Returns what follows. */
static const char *value_take(const char *p, GString *value)
{
    for (; *p; p++) {
        if (*p == ',') {
            p++;
            if (*p != ',') {
                break;
            }
        }
        g_string_append_c(value, *p);
    }
    return p;
}

static bool pairs_parse(struct json_object *root, const char *text, const char *implied_key,
                        GError **errp)
{
    const char *p = text;

    while (*p) {
        size_t len = strcspn(p, "=,");
        g_autoptr(GString) value = g_string_new(NULL);
        g_autofree char *key = NULL;

        if (p[len] == '=') {
            key = g_strndup(p, len);
            p = value_take(p + len + 1, value);
        } else if (p == text && implied_key && len) {
            key = g_strdup(implied_key);
            p = value_take(p, value);
        } else if (!len) {
            return fail(errp, "Invalid parameter ''");
        } else {
            return fail(errp, "Expected '=' after parameter '%.*s'", (int)len, p);
        }
        if (!key_put(root, key, value->str, errp)) {
            return false;
        }
    }
    return true;
}

/* Turns object @tree into an array; -1: some keys are indices and some are not, or one is absent */
static struct json_object *listify_indexed(struct json_object *tree, const char *name,
                                           GError **errp)
{
    size_t n = (size_t)json_object_object_length(tree);
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < n; i++) {
        g_autofree char *key = g_strdup_printf("%zu", i);
        struct json_object *element;

        if (!json_object_object_get_ex(tree, key, &element)) {
            fail(errp, "Parameter '%s.%zu' is missing", name, i);
            json_object_put(list);
            return NULL;
        }
        json_object_array_add(list, json_object_get(element));
    }
    return list;
}

/*
 * Returns @tree with all objects that stand for lists replaced, those inside first; a new
 * reference. @name is that of the tree, "" for the root, which never is a list.
 */
static struct json_object *listify(struct json_object *tree, const char *name, GError **errp)
{
    struct json_object *copy;
    size_t n = 0, indices = 0;

    if (!json_object_is_type(tree, json_type_object)) {
        return json_object_get(tree);
    }
    copy = json_object_new_object();
    json_object_object_foreach(tree, key, value)
    {
        g_autofree char *path = g_strdup_printf("%s%s%s", name, *name ? "." : "", key);
        struct json_object *child = listify(value, path, errp);

        if (!child) {
            json_object_put(copy);
            return NULL;
        }
        json_object_object_add(copy, key, child);
        n++;
        indices += is_index(key);
    }
    if (indices && (!*name || indices < n)) {
        fail(errp,
             *name ? "Parameters '%s.*' used inconsistently" : "Invalid parameter: a number%s",
             name);
        json_object_put(copy);
        return NULL;
    }
    if (indices) {
        struct json_object *list = listify_indexed(copy, name, errp);

        json_object_put(copy);
        return list;
    }
    return copy;
}

struct json_object *qapi_keyval_parse(const char *text, const char *implied_key, GError **errp)
{
    struct json_object *root = json_object_new_object();
    struct json_object *tree = NULL;

    if (pairs_parse(root, text, implied_key, errp)) {
        tree = listify(root, "", errp);
    }
    json_object_put(root);
    return tree;
}

static struct json_object *json_text_parse(const char *text, GError **errp)
{
    struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
    size_t len = strlen(text);
    struct json_object *json = NULL;

    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    if (len < G_MAXINT) {
        /* the NUL is passed on too, for the parser then knows that nothing follows */
        json = json_tokener_parse_ex(tokener, text, (int)len + 1);
    }
    if (!json) {
        fail(errp, "JSON parse error at byte %zu: %s", json_tokener_get_parse_end(tokener),
             json_tokener_error_desc(json_tokener_get_error(tokener)));
    }
    json_tokener_free(tokener);
    return json;
}

void *qapi_object_from_keyval(const struct qapi_type *type, const char *text,
                              const char *implied_key, GError **errp)
{
    bool is_json = text[0] == '{';
    struct json_object *json =
        is_json ? json_text_parse(text, errp) : qapi_keyval_parse(text, implied_key, errp);
    void *obj;

    if (!json) {
        return NULL;
    }
    obj = qapi_object_read(type, is_json ? QAPI_READ_JSON : QAPI_READ_KEYVAL, json, errp);
    json_object_put(json);
    return obj;
}

bool qapi_id_is_valid(const char *id)
{
    if (!g_ascii_isalpha(id[0])) {
        return false;
    }
    for (const char *c = id; *c; c++) {
        if (!g_ascii_isalnum(*c) && !strchr("-._", *c)) {
            return false;
        }
    }
    return true;
}

bool qapi_parse_bool(const char *text, bool *value)
{
    static const char *const words[][2] = {
        {"off", "on"}, {"no", "yes"}, {"false", "true"}, {"n", "y"}};

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        for (int v = 0; v < 2; v++) {
            if (strcmp(text, words[i][v]) == 0) {
                *value = v;
                return true;
            }
        }
    }
    return false;
}

bool qapi_parse_int(const char *text, bool *negative, uint64_t *value)
{
    const char *digits = text + (*text == '-' || *text == '+');
    uint64_t magnitude;
    char *end;

    if (!g_ascii_isdigit(*digits)) {
        return false;
    }
    errno = 0;
    magnitude = g_ascii_strtoull(digits, &end, 0);
    if (errno || *end) {
        return false;
    }
    *negative = *text == '-' && magnitude;
    if (*negative && magnitude > (uint64_t)INT64_MAX + 1) {
        return false;
    }
    *value = *negative ? -magnitude : magnitude;
    return true;
}

bool qapi_parse_number(const char *text, double *value)
{
    char *end;
    double number;

    /* strtod itself would take blanks, hexadecimal, "nan" and "inf" as well. */
    if (!*text || text[strspn(text, "0123456789+-.eE")]) {
        return false;
    }
    number = g_ascii_strtod(text, &end);
    if (end == text || *end || !isfinite(number)) {
        return false;
    }
    *value = number;
    return true;
}

bool qapi_parse_size(const char *text, uint64_t *value)
{
    static const char suffixes[] = "BKMGTPE";
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    uint64_t whole, scale = 1;
    double fraction = 0;
    char *end;

    if (!g_ascii_isdigit(*text)) {
        return false;
    }
    errno = 0;
    whole = g_ascii_strtoull(text, &end, hex ? 16 : 10);
    if (errno || (hex && *end)) {
        return false;
    }
    if (*end == '.') {
        const char *dot = end;
        g_autofree char *digits = NULL;

        end += 1 + strspn(end + 1, "0123456789");
        digits = g_strndup(dot, (size_t)(end - dot));
        fraction = end > dot + 1 ? g_ascii_strtod(digits, NULL) : 0;
    }
    if (*end) {
        const char *suffix = strchr(suffixes, g_ascii_toupper(*end));

        if (!suffix || end[1]) {
            return false;
        }
        scale = UINT64_C(1) << 10 * (suffix - suffixes);
    } else if (fraction != 0) {
        return false; /* part of a byte */
    }
    if (whole > UINT64_MAX / scale ||
        whole * scale > UINT64_MAX - (uint64_t)(fraction * (double)scale)) {
        return false;
    }
    *value = whole * scale + (uint64_t)(fraction * (double)scale);
    return true;
}
