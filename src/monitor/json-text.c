/*
 * json-c's tokener with a guard in front. The guard looks at one token after the other: it refuses
 * what json-c would take (NaN, comments, commas before a closing bracket, 1. and 01, overlong
 * UTF-8, lone surrogates, a NUL in a key) and rewrites what json-c would not take or not take
 * exactly. The grammar of values in objects and arrays is json-c's. What only the tree can tell
 * comes last: duplicate keys, and numbers that no double can hold.
 *
 * Depth and number of tokens are bounded, so a client can neither exhaust the stack nor blow a few
 * bytes up to many objects.
 */
#include "monitor/json-text.h"

#include "qapi/error.h"
#include <json-c/json.h>
#include <math.h>
#include <string.h>

/* Longest piece of the client's text that an error quotes, in bytes. */
#define QUOTE_MAX 64
/* Makes an integer a floating point number for json-c. */
#define AS_DOUBLE "e0"

struct guard {
    struct json_tokener *tokener;
    const char *p, *end; /* the current token, the end of the text */
    const char *passed;  /* the text before this is in rewritten */
    GString *rewritten;  /* the text for json-c, NULL as long as it is the client's own */
    struct json_object *value;
    unsigned tokens, members;
    char before; /* first character of the token before this one */
    bool nul;    /* the string before this token has an escaped NUL */
    GError **error;
};

/* ---- errors */

static bool fail_bound(struct guard *g, const char *what)
{
    g_set_error(g->error, QMP_ERROR, QMP_ERROR_GENERIC, "JSON %s limit exceeded", what);
    return false;
}

static bool fail_text(struct guard *g, const char *before, const char *text, size_t length,
                      const char *after)
{
    g_autofree char *quoted = g_strndup(text, MIN(length, QUOTE_MAX));

    g_set_error(g->error, QMP_ERROR, QMP_ERROR_GENERIC, "JSON parse error, %s%s%s", before, quoted,
                after);
    return false;
}

/* What is wrong by json-c's opinion. The guard lets only sound tokens pass, so what json-c does not
 * expect stands where a value should begin. */
static bool fail_grammar(struct guard *g)
{
    const char *what = "expecting value";

    switch (json_tokener_get_error(g->tokener)) {
    case json_tokener_error_depth:
        return fail_bound(g, "nesting depth");
    case json_tokener_error_parse_array:
        what = "expected separator in list";
        break;
    case json_tokener_error_parse_object_key_name:
        what = "key is not a string in object";
        break;
    case json_tokener_error_parse_object_key_sep:
        what = "missing : in object pair";
        break;
    case json_tokener_error_parse_object_value_sep:
        what = "expected separator in dict";
        break;
    default:
        break;
    }
    return fail_text(g, what, "", 0, "");
}

/* Replaces text[0..gone) by what json-c is to read in its place. */
static void rewrite(struct guard *g, const char *text, size_t gone, const char *by)
{
    if (!g->rewritten) {
        g->rewritten = g_string_new(NULL);
    }
    g_string_append_len(g->rewritten, g->passed, text - g->passed);
    g_string_append(g->rewritten, by);
    g->passed = text + gone;
}

/* Has json-c parse everything up to p; false with its error. */
static bool parse_until(struct guard *g, const char *p)
{
    const char *text = g->passed;
    size_t length = (size_t)(MAX(p, text) - text), end;

    if (g->rewritten) {
        g_string_append_len(g->rewritten, text, (gssize)length);
        text = g->rewritten->str;
        length = g->rewritten->len;
    }
    g->value = json_tokener_parse_ex(g->tokener, text, (int)length);
    switch (json_tokener_get_error(g->tokener)) {
    case json_tokener_success:
        end = json_tokener_get_parse_end(g->tokener);
        return end == length || fail_text(g, "stray '", text + end, 1, "'");
    case json_tokener_continue:
        return true;
    default:
        return fail_grammar(g);
    }
}

/* As parse_until() with all of the text, which must be a value now. */
static bool parse_all(struct guard *g)
{
    if (!parse_until(g, g->end)) {
        return false;
    }
    if (json_tokener_get_error(g->tokener) == json_tokener_continue) {
        g->value = json_tokener_parse_ex(g->tokener, "", 1); /* the NUL: nothing follows */
    }
    return json_tokener_get_error(g->tokener) == json_tokener_success || fail_grammar(g);
}

/* An error of the guard's own counts only when json-c has none with the text before. */
static bool fail_quoting(struct guard *g, const char *before, const char *text, size_t length,
                         const char *after)
{
    return parse_until(g, g->p) && fail_text(g, before, text, length, after);
}

static bool fail(struct guard *g, const char *what)
{
    return fail_quoting(g, what, "", 0, "");
}

/* ---- strings; check functions return the end of what they checked, NULL after an error */

static int hex_value(const char *p, const char *end)
{
    int value = 0;

    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        int digit = g_ascii_xdigit_value(p[i]);

        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* \uXXXX, or two of them that make a surrogate pair; p is at the backslash. */
static const char *check_unicode_escape(struct guard *g, const char *p)
{
    int unit = hex_value(p + 2, g->end), low;

    if (unit >= 0xd800 && unit < 0xdc00 && g->end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
        low = hex_value(p + 8, g->end);
        if (low >= 0xdc00 && low < 0xe000) {
            return p + 12;
        }
    }
    if (unit < 0 || (unit >= 0xd800 && unit < 0xe000)) {
        fail_quoting(g, "", p, (size_t)MIN(g->end - p, 6), " is not a valid Unicode character");
        return NULL;
    }
    g->nul |= unit == 0;
    return p + 6;
}

static const char *check_escape(struct guard *g, const char *p)
{
    char c = p + 1 < g->end ? p[1] : 0;

    if (c == 'u') {
        return check_unicode_escape(g, p);
    }
    if (c == '\'') { /* which json-c does not know */
        rewrite(g, p, 2, *g->p == '"' ? "'" : "\\u0027");
    } else if (!c || !strchr("\"\\/bfnrt", c)) {
        fail(g, "invalid escape sequence in string");
        return NULL;
    }
    return p + 2;
}

static const char *check_string(struct guard *g)
{
    const char *p = g->p + 1;

    g->nul = false;
    while (p < g->end && *p != *g->p && (unsigned char)*p >= 0x20) {
        p = *p == '\\' ? check_escape(g, p) : p + 1;
        if (!p) {
            return NULL;
        }
    }
    if (p == g->end || *p != *g->p) {
        fail_quoting(g, "stray '", g->p, (size_t)(p - g->p), "'");
        return NULL;
    }
    return p + 1;
}

/* ---- numbers and keywords */

/* Moves *p past digits; false when there are none. */
static bool skip_digits(const struct guard *g, const char **p)
{
    const char *start = *p;

    while (*p < g->end && g_ascii_isdigit(**p)) {
        ++*p;
    }
    return *p > start;
}

/* The end of the number at g->p, or NULL with *stray at what does not fit. */
static const char *number_end(const struct guard *g, bool *integer, const char **stray)
{
    const char *p = g->p + (*g->p == '-'), *digits = p;
    bool ok = skip_digits(g, &p);

    *integer = true;
    if (ok && *digits == '0' && p > digits + 1) {
        p = digits + 1;
        ok = false;
    }
    if (ok && p < g->end && *p == '.') {
        p++;
        *integer = false;
        ok = skip_digits(g, &p);
    }
    if (ok && p < g->end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < g->end && (*p == '+' || *p == '-');
        *integer = false;
        ok = skip_digits(g, &p);
    }
    *stray = p;
    return ok ? p : NULL;
}

/* Whether an integer does not fit in 64 bits; json-c would take the nearest that does. */
static bool is_large(const char *text, size_t length)
{
    const char *limit = *text == '-' ? "-9223372036854775808" : "18446744073709551615";

    /* both have 20 characters */
    return length > 20 || (length == 20 && memcmp(text, limit, 20) > 0);
}

static const char *check_number(struct guard *g)
{
    const char *stray, *end;
    bool integer = false;

    end = number_end(g, &integer, &stray);
    if (!end) {
        fail_quoting(g, "stray '", g->p, (size_t)(MIN(stray + 1, g->end) - g->p), "'");
        return NULL;
    }
    if (integer && is_large(g->p, (size_t)(end - g->p))) {
        rewrite(g, end, 0, AS_DOUBLE);
    }
    if (end < g->end && strchr("{[\"':", *end)) {
        rewrite(g, end, 0, " "); /* or json-c blames the number for what follows it */
    }
    return end;
}

static const char *check_keyword(struct guard *g)
{
    static const char *const words[] = {"null", "true", "false"};
    const char *p = g->p;

    while (p < g->end && g_ascii_islower(*p)) {
        p++;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strlen(words[i]) == (size_t)(p - g->p) &&
            memcmp(words[i], g->p, strlen(words[i])) == 0) {
            return p;
        }
    }
    fail_quoting(g, "invalid keyword '", g->p, (size_t)(p - g->p), "'");
    return NULL;
}

/* ---- tokens */

static const char *check_punctuation(struct guard *g)
{
    switch (*g->p) {
    case ':':
        g->members++;
        if (g->nul && strchr("\"'", g->before)) {
            fail(g, "key contains a NUL character");
            return NULL;
        }
        break;
    case '}':
    case ']':
        if (g->before == ',') {
            fail(g, "expecting value");
            return NULL;
        }
        break;
    }
    return g->p + 1;
}

/* The end of the current token. */
static const char *check_token(struct guard *g)
{
    char c = *g->p;

    if (!strchr(":,}]", c) && ++g->tokens > JSON_TEXT_MAX_TOKENS) {
        fail_bound(g, "token count");
        return NULL;
    }
    if (c == '"' || c == '\'') {
        return check_string(g);
    }
    if (c == '-' || g_ascii_isdigit(c)) {
        return check_number(g);
    }
    if (g_ascii_islower(c)) {
        return check_keyword(g);
    }
    if (strchr("{}[]:,", c)) {
        return check_punctuation(g);
    }
    fail_quoting(g, "stray '", g->p, 1, "'");
    return NULL;
}

static bool check_tokens(struct guard *g)
{
    while (g->p < g->end) {
        const char *next = g->p + 1;

        if (*g->p != ' ' && *g->p != '\t' && *g->p != '\r' && *g->p != '\n') {
            next = check_token(g);
            if (!next) {
                return false;
            }
            g->before = *g->p;
        }
        g->p = next;
    }
    return true;
}

/* ---- the tree */

/* A double keeps the digits that the client sent, without what the guard put behind them. */
static bool check_double(struct guard *g, struct json_object *value)
{
    const char *text = json_object_get_string(value);
    size_t length = strlen(text), digits = strspn(text, "-0123456789");

    if (!isfinite(json_object_get_double(value))) {
        return fail_text(g, "number out of range: '", text, length, "'");
    }
    if (strcmp(text + digits, AS_DOUBLE) == 0 && is_large(text, digits)) {
        json_object_set_serializer(value, json_object_userdata_to_json_string,
                                   strndup(text, digits), json_object_free_userdata);
    }
    return true;
}

/* Takes each member of an object off g->members: two with one key make one in the tree.
 * Recursive, but no deeper than the tokener lets a tree grow. */
static bool check_tree(struct guard *g, struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_double:
        return check_double(g, value);
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            if (!check_tree(g, json_object_array_get_idx(value, i))) {
                return false;
            }
        }
        return true;
    case json_type_object: {
        g->members -= (unsigned)json_object_object_length(value);
        json_object_object_foreach(value, key, member)
        {
            (void)key;
            if (!check_tree(g, member)) {
                return false;
            }
        }
        return true;
    }
    default:
        return true;
    }
}

/* ---- all of it */

struct json_tokener *json_text_tokener_new(void)
{
    return json_tokener_new_ex(JSON_TEXT_MAX_DEPTH + 1);
}

bool json_text_parse(struct json_tokener *tokener, const char *text, size_t length,
                     struct json_object **value, GError **error)
{
    struct guard g = {
        .tokener = tokener, .p = text, .end = text + length, .passed = text, .error = error};
    bool ok;

    json_tokener_reset(tokener);
    if (!g_utf8_validate_len(text, length, NULL)) {
        ok = fail_text(&g, "invalid UTF-8 sequence in string", "", 0, "");
    } else {
        ok = check_tokens(&g) && parse_all(&g) && check_tree(&g, g.value);
    }
    if (ok && g.members) {
        ok = fail_text(&g, "duplicate key", "", 0, "");
    }
    if (!ok) {
        json_object_put(g.value);
        g.value = NULL;
    }
    if (g.rewritten) {
        g_string_free(g.rewritten, TRUE);
    }
    *value = g.value;
    return ok;
}
