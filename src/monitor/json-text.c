/*
 * A recursive parser for one JSON value that lies complete in memory. Depth and number of tokens
 * are bounded, so a client can neither exhaust the stack nor blow a few bytes up to many objects.
 */
#include "monitor/json-text.h"

#include "qapi/error.h"
#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Longest piece of the client's text that an error quotes, in bytes. */
#define QUOTE_MAX 64

struct parser {
    const char *p, *end;
    unsigned depth, tokens;
    GString *scratch; /* text of a string with escapes, of a key, of a number */
    GError **error;
};

static bool parse_value(struct parser *ps, struct json_object **value);

static bool fail(struct parser *ps, const char *what)
{
    g_set_error(ps->error, QMP_ERROR, QMP_ERROR_GENERIC, "JSON parse error, %s", what);
    return false;
}

static bool fail_quoting(struct parser *ps, const char *before, const char *text, size_t length,
                         const char *after)
{
    g_autofree char *quoted = g_strndup(text, MIN(length, QUOTE_MAX));

    g_set_error(ps->error, QMP_ERROR, QMP_ERROR_GENERIC, "JSON parse error, %s%s%s", before, quoted,
                after);
    return false;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_space(struct parser *ps)
{
    while (ps->p < ps->end && is_space(*ps->p)) {
        ps->p++;
    }
}

/* The next character that is no space; 0 at the end (a NUL itself never gets here). */
static char peek(struct parser *ps)
{
    skip_space(ps);
    return ps->p < ps->end ? *ps->p : 0;
}

static bool count_token(struct parser *ps)
{
    if (++ps->tokens <= JSON_TEXT_MAX_TOKENS) {
        return true;
    }
    g_set_error(ps->error, QMP_ERROR, QMP_ERROR_GENERIC, "JSON token count limit exceeded");
    return false;
}

/* ---- strings */

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

/* \uXXXX, or two of them that make a surrogate pair; ps->p is behind the 'u'. */
static bool parse_unicode_escape(struct parser *ps)
{
    const char *start = ps->p - 2;
    int unit = hex_value(ps->p, ps->end), low;
    gunichar c;

    if (unit < 0) {
        return fail_quoting(ps, "", start, (size_t)MIN(ps->end - start, 6),
                            " is not a valid Unicode character");
    }
    ps->p += 4;
    c = (gunichar)unit;
    if (unit >= 0xd800 && unit < 0xdc00 && ps->end - ps->p >= 6 && ps->p[0] == '\\' &&
        ps->p[1] == 'u') {
        low = hex_value(ps->p + 2, ps->end);
        if (low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + (((gunichar)unit & 0x3ff) << 10) + ((gunichar)low & 0x3ff);
            ps->p += 6;
        }
    }
    if (c >= 0xd800 && c < 0xe000) {
        return fail_quoting(ps, "", start, 6, " is not a valid Unicode character");
    }
    if (c == 0) {
        g_string_append_c(ps->scratch, '\0');
    } else {
        g_string_append_unichar(ps->scratch, c);
    }
    return true;
}

static bool parse_escape(struct parser *ps)
{
    static const char from[] = "\"'\\/bfnrt", to[] = "\"'\\/\b\f\n\r\t";
    char c = ps->p < ps->end ? *ps->p++ : 0;
    const char *found;

    if (c == 'u') {
        return parse_unicode_escape(ps);
    }
    found = c ? strchr(from, c) : NULL;
    if (!found) {
        return fail(ps, "invalid escape sequence in string");
    }
    g_string_append_c(ps->scratch, to[found - from]);
    return true;
}

/* The end of the run of plain characters at p; *ascii becomes false when it has others. */
static const char *plain_run(const char *p, const char *end, char quote, bool *ascii)
{
    unsigned char seen = 0;

    while (p < end && *p != quote && *p != '\\' && (unsigned char)*p >= 0x20) {
        seen |= (unsigned char)*p++;
    }
    *ascii &= seen < 0x80;
    return p;
}

/* Sets *text and *length to the string's value: within the input when it has no escapes, else in
 * scratch. ps->p is at the quote. */
static bool parse_string(struct parser *ps, const char **text, size_t *length)
{
    char quote = *ps->p++;
    const char *start = ps->p, *run = start;
    bool ascii = true;

    ps->p = plain_run(run, ps->end, quote, &ascii);
    if (ps->p < ps->end && *ps->p == quote) {
        *text = run;
        *length = (size_t)(ps->p - run);
    } else {
        g_string_truncate(ps->scratch, 0);
        for (;;) {
            g_string_append_len(ps->scratch, run, ps->p - run);
            if (ps->p == ps->end || (unsigned char)*ps->p < 0x20) {
                return fail_quoting(ps, "stray '", run, (size_t)(ps->p - run), "'");
            }
            if (*ps->p == quote) {
                break;
            }
            ps->p++;
            if (!parse_escape(ps)) {
                return false;
            }
            run = ps->p;
            ps->p = plain_run(run, ps->end, quote, &ascii);
        }
        *text = ps->scratch->str;
        *length = ps->scratch->len;
    }
    ps->p++;
    /* The source, not the value: escapes make valid UTF-8, but maybe a NUL. */
    if (!ascii && !g_utf8_validate_len(start, (size_t)(ps->p - 1 - start), NULL)) {
        return fail(ps, "invalid UTF-8 sequence in string");
    }
    return true;
}

/* ---- numbers and keywords */

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && g_ascii_isdigit(*p)) {
        p++;
    }
    return p;
}

/* The end of the number at ps->p, or NULL with *stray at the end of what does not fit. */
static const char *number_end(struct parser *ps, bool *integer, const char **stray)
{
    const char *p = ps->p + (*ps->p == '-'), *digits = p;

    p = skip_digits(p, ps->end);
    *stray = p + 1;
    if (p == digits) {
        return NULL;
    }
    if (*digits == '0' && p > digits + 1) {
        *stray = digits + 2;
        return NULL;
    }
    *integer = true;
    if (p < ps->end && *p == '.') {
        *integer = false;
        digits = ++p;
        p = skip_digits(p, ps->end);
        *stray = p + 1;
        if (p == digits) {
            return NULL;
        }
    }
    if (p < ps->end && (*p == 'e' || *p == 'E')) {
        *integer = false;
        p++;
        p += p < ps->end && (*p == '+' || *p == '-');
        digits = p;
        p = skip_digits(p, ps->end);
        *stray = p + 1;
        if (p == digits) {
            return NULL;
        }
    }
    return p;
}

static struct json_object *integer_new(const char *text)
{
    long long value;
    unsigned long long large;

    errno = 0;
    value = strtoll(text, NULL, 10);
    if (!errno) {
        return json_object_new_int64(value);
    }
    errno = 0;
    large = strtoull(text, NULL, 10);
    if (!errno && *text != '-') {
        return json_object_new_uint64(large);
    }
    return NULL;
}

static bool parse_number(struct parser *ps, struct json_object **value)
{
    const char *stray, *end;
    bool integer = false;
    double d;

    end = number_end(ps, &integer, &stray);
    if (!end) {
        return fail_quoting(ps, "stray '", ps->p, (size_t)(MIN(stray, ps->end) - ps->p), "'");
    }
    g_string_truncate(ps->scratch, 0);
    g_string_append_len(ps->scratch, ps->p, end - ps->p);
    *value = integer ? integer_new(ps->scratch->str) : NULL;
    if (!*value) {
        d = g_ascii_strtod(ps->scratch->str, NULL);
        if (!isfinite(d)) {
            return fail_quoting(ps, "number out of range: '", ps->p, (size_t)(end - ps->p), "'");
        }
        *value = json_object_new_double_s(d, ps->scratch->str);
    }
    ps->p = end;
    return true;
}

static bool parse_keyword(struct parser *ps, struct json_object **value)
{
    const char *start = ps->p;
    size_t length;

    while (ps->p < ps->end && g_ascii_islower(*ps->p)) {
        ps->p++;
    }
    length = (size_t)(ps->p - start);
    if (length == 4 && memcmp(start, "null", 4) == 0) {
        *value = NULL;
    } else if (length == 4 && memcmp(start, "true", 4) == 0) {
        *value = json_object_new_boolean(true);
    } else if (length == 5 && memcmp(start, "false", 5) == 0) {
        *value = json_object_new_boolean(false);
    } else {
        return fail_quoting(ps, "invalid keyword '", start, length, "'");
    }
    return true;
}

/* ---- containers */

static bool parse_key(struct parser *ps, struct json_object *object, char **key)
{
    const char *text;
    size_t length;
    char c = peek(ps);

    if (c != '"' && c != '\'') {
        return fail(ps, c == '}' ? "expecting value" : "key is not a string in object");
    }
    if (!count_token(ps) || !parse_string(ps, &text, &length)) {
        return false;
    }
    if (memchr(text, 0, length)) {
        return fail(ps, "key contains a NUL character");
    }
    *key = g_strndup(text, length);
    if (json_object_object_get_ex(object, *key, NULL)) {
        return fail(ps, "duplicate key");
    }
    return true;
}

static bool parse_pair(struct parser *ps, struct json_object *object)
{
    struct json_object *value = NULL;
    g_autofree char *key = NULL;

    if (!parse_key(ps, object, &key)) {
        return false;
    }
    if (peek(ps) != ':') {
        return fail(ps, "missing : in object pair");
    }
    ps->p++;
    if (!parse_value(ps, &value)) {
        return false;
    }
    json_object_object_add_ex(object, key, value, JSON_C_OBJECT_ADD_KEY_IS_NEW);
    return true;
}

static bool parse_object(struct parser *ps, struct json_object *object)
{
    ps->p++;
    if (peek(ps) == '}') {
        ps->p++;
        return true;
    }
    for (;;) {
        if (!parse_pair(ps, object)) {
            return false;
        }
        switch (peek(ps)) {
        case ',':
            ps->p++;
            break;
        case '}':
            ps->p++;
            return true;
        default:
            return fail(ps, "expected separator in dict");
        }
    }
}

static bool parse_array(struct parser *ps, struct json_object *array)
{
    struct json_object *value;

    ps->p++;
    if (peek(ps) == ']') {
        ps->p++;
        return true;
    }
    for (;;) {
        value = NULL;
        if (!parse_value(ps, &value)) {
            return false;
        }
        json_object_array_add(array, value);
        switch (peek(ps)) {
        case ',':
            ps->p++;
            break;
        case ']':
            ps->p++;
            return true;
        default:
            return fail(ps, "expected separator in list");
        }
    }
}

static bool parse_container(struct parser *ps, struct json_object **value)
{
    bool ok, is_object = *ps->p == '{';

    if (++ps->depth > JSON_TEXT_MAX_DEPTH) {
        g_set_error(ps->error, QMP_ERROR, QMP_ERROR_GENERIC, "JSON nesting depth limit exceeded");
        return false;
    }
    *value = is_object ? json_object_new_object() : json_object_new_array_ext(4);
    ok = is_object ? parse_object(ps, *value) : parse_array(ps, *value);
    ps->depth--;
    if (!ok) {
        json_object_put(*value);
        *value = NULL;
    }
    return ok;
}

static bool parse_value(struct parser *ps, struct json_object **value)
{
    const char *text;
    size_t length;
    char c = peek(ps);

    if (!count_token(ps)) {
        return false;
    }
    switch (c) {
    case '{':
    case '[':
        return parse_container(ps, value);
    case '"':
    case '\'':
        if (!parse_string(ps, &text, &length)) {
            return false;
        }
        *value = json_object_new_string_len(text, (int)length);
        return true;
    case 0:
    case '}':
    case ']':
    case ',':
    case ':':
        return fail(ps, "expecting value");
    default:
        if (c == '-' || g_ascii_isdigit(c)) {
            return parse_number(ps, value);
        }
        if (g_ascii_islower(c)) {
            return parse_keyword(ps, value);
        }
        return fail_quoting(ps, "stray '", ps->p, 1, "'");
    }
}

bool json_text_parse(const char *text, size_t length, struct json_object **value, GError **error)
{
    struct parser ps = {.p = text, .end = text + length, .error = error};
    bool ok;

    ps.scratch = g_string_new(NULL);
    *value = NULL;
    ok = parse_value(&ps, value);
    if (ok && peek(&ps)) {
        ok = fail_quoting(&ps, "stray '", ps.p, 1, "'");
        json_object_put(*value);
        *value = NULL;
    }
    g_string_free(ps.scratch, TRUE);
    return ok;
}
