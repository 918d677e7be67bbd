/*
 * Finds where values begin and end, without building anything: it tracks strings and the nesting of
 * brackets. A complete value lies in one piece in the buffer and goes to json_text_parse(), which
 * judges it. So a grammar error is reported once, when the brackets are balanced again, and the
 * next request is not touched by it.
 */
#include "monitor/json-stream.h"

#include "qapi/error.h"
#include <json-c/json.h>
#include <stdint.h>
#include <string.h>

/* A stream keeps no more buffer than this for long. */
#define KEEP_BYTES (128u << 10)
/* Longest piece of a broken token that an error quotes, in bytes. */
#define QUOTE_MAX  64

enum mode {
    MODE_BETWEEN, /* no value has begun */
    MODE_SCALAR,  /* in a value without brackets or quotes */
    MODE_VALUE,   /* in brackets or in a string */
    MODE_SKIP,    /* past an error: to the end of the value or of the line */
    MODE_RESYNC,  /* past a control character: as SKIP, but a '{' here begins a value */
    MODE_JUNK,    /* past what is no JSON at all: to the end of the line or the next '{' */
};

struct json_stream {
    struct json_tokener *tokener;
    char *buf;
    size_t size, len;    /* allocated, filled */
    size_t start, token; /* where the value and the current string begin */
    size_t scan;         /* up to here the scanner has seen */
    enum mode mode;
    char quote; /* of the string that we are in; 0: none */
    bool escape;
    unsigned depth;
    uint64_t is_object[JSON_TEXT_MAX_DEPTH / 64]; /* by level: which closing bracket fits */
};

struct json_stream *json_stream_new(void)
{
    struct json_stream *js = g_new0(struct json_stream, 1);

    js->tokener = json_text_tokener_new();
    return js;
}

void json_stream_free(struct json_stream *js)
{
    if (js) {
        json_tokener_free(js->tokener);
        g_free(js->buf);
        g_free(js);
    }
}

/* Moves what is still needed to the buffer's start, and gives a large buffer back. */
static void compact(struct json_stream *js)
{
    size_t gone = js->start;

    if (gone) {
        memmove(js->buf, js->buf + gone, js->len - gone);
        js->len -= gone;
        js->scan -= gone;
        js->token -= MIN(js->token, gone);
        js->start = 0;
    }
    if (js->size > KEEP_BYTES && js->len <= KEEP_BYTES / 2) {
        js->size = KEEP_BYTES;
        js->buf = g_realloc(js->buf, js->size);
    }
}

char *json_stream_room(struct json_stream *js, size_t size)
{
    if (js->size - js->len < size) {
        compact(js);
    }
    if (js->size - js->len < size) {
        js->size = MAX(js->len + size, js->size * 2);
        js->buf = g_realloc(js->buf, js->size);
    }
    return js->buf + js->len;
}

void json_stream_add(struct json_stream *js, size_t length)
{
    js->len += length;
}

static bool is_control(unsigned char c)
{
    return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c >= 0xfe;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Characters that end a scalar. */
static bool is_delimiter(char c)
{
    return is_space(c) || is_control((unsigned char)c) || (c && strchr("{}[]:,\"'", c));
}

/* ---- inside values */

enum step { STEP_ON, STEP_END, STEP_BAD_CHAR, STEP_TOO_DEEP };

static enum step step_in_string(struct json_stream *js, char c)
{
    if ((unsigned char)c < 0x20 || (unsigned char)c >= 0xfe) {
        return STEP_BAD_CHAR;
    }
    if (js->escape) {
        js->escape = false;
    } else if (c == '\\') {
        js->escape = true;
    } else if (c == js->quote) {
        js->quote = 0;
        return js->depth ? STEP_ON : STEP_END;
    }
    return STEP_ON;
}

static enum step step_open(struct json_stream *js, bool object)
{
    uint64_t bit = UINT64_C(1) << (js->depth % 64);
    uint64_t *word;

    if (js->depth == JSON_TEXT_MAX_DEPTH) {
        js->depth++;
        return STEP_TOO_DEEP;
    }
    word = &js->is_object[js->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    js->depth++;
    return STEP_ON;
}

/* A bracket that does not fit ends the value: it can only be an error, which the parser words. The
 * depth stays, so that the rest of the value is skipped. */
static enum step step_close(struct json_stream *js, bool object)
{
    unsigned level = js->depth - 1;
    bool open_object = js->is_object[level / 64] >> (level % 64) & 1;

    if (open_object != object) {
        return STEP_END;
    }
    js->depth = level;
    return js->depth ? STEP_ON : STEP_END;
}

static enum step step_in_value(struct json_stream *js, char c)
{
    if (js->quote) {
        return step_in_string(js, c);
    }
    switch (c) {
    case '"':
    case '\'':
        js->quote = c;
        js->token = js->scan;
        return STEP_ON;
    case '{':
    case '[':
        return step_open(js, c == '{');
    case '}':
    case ']':
        return step_close(js, c == '}');
    default:
        return is_control((unsigned char)c) ? STEP_BAD_CHAR : STEP_ON;
    }
}

/* ---- errors */

static void restart(struct json_stream *js)
{
    js->mode = MODE_BETWEEN;
    js->quote = 0;
    js->escape = false;
    js->depth = 0;
    js->start = js->scan;
}

/* Past an error, with the depth and string that the scanner was in. */
static void step_skipping(struct json_stream *js, char c)
{
    bool resync = js->mode == MODE_RESYNC;

    if (c == '\n' || is_control((unsigned char)c)) {
        js->scan++;
        restart(js);
        return;
    }
    if (resync && c == '{') {
        restart(js);
        return;
    }
    if (!is_space(c)) {
        js->mode = MODE_SKIP;
    }
    js->scan++;
    js->start = js->scan;
    if (js->quote) {
        step_in_string(js, c);
    } else if (c == '"' || c == '\'') {
        js->quote = c;
    } else if (c == '{' || c == '[') {
        js->depth++;
    } else if ((c == '}' || c == ']') && js->depth) {
        js->depth--;
    }
    if (!js->depth && !js->quote) {
        restart(js);
    }
}

static enum json_stream_result fail(struct json_stream *js, GError **error, const char *text)
{
    g_set_error_literal(error, QMP_ERROR, QMP_ERROR_GENERIC, text);
    js->start = js->scan;
    js->mode = MODE_SKIP;
    if (!js->depth && !js->quote) {
        restart(js);
    }
    return JSON_STREAM_ERROR;
}

/* A character that no value may hold, at js->scan - 1. */
static enum json_stream_result fail_char(struct json_stream *js, GError **error)
{
    size_t from = js->quote ? js->token : js->scan - 1;
    char c = js->buf[js->scan - 1];
    g_autofree char *quoted = g_strndup(js->buf + from, MIN(js->scan - from, QUOTE_MAX));
    g_autofree char *text = g_strdup_printf("JSON parse error, stray '%s'", quoted);

    fail(js, error, text);
    if (c == '\n') {
        restart(js);
    } else if (js->mode == MODE_SKIP) {
        js->mode = MODE_RESYNC;
    }
    return JSON_STREAM_ERROR;
}

/* The value is buf[start..scan). A bracket that did not fit leaves depth > 0: the rest is skipped.
 */
static enum json_stream_result judge(struct json_stream *js, struct json_object **value,
                                     GError **error)
{
    size_t length = js->scan - js->start;
    bool ok = json_text_parse(js->tokener, js->buf + js->start, length, value, error);

    if (length > KEEP_BYTES) { /* it may hold a buffer of that size */
        json_tokener_free(js->tokener);
        js->tokener = json_text_tokener_new();
    }
    js->start = js->scan;
    if (js->depth) {
        js->mode = MODE_SKIP;
    } else {
        restart(js);
    }
    return ok ? JSON_STREAM_VALUE : JSON_STREAM_ERROR;
}

/* ---- the scanner */

static void begin(struct json_stream *js, char c)
{
    js->start = js->scan;
    js->token = js->scan;
    js->mode = c && strchr("{[\"'", c) ? MODE_VALUE : MODE_SCALAR;
}

/* A character that begins no value. It is an error at once, as a client may wait for it. */
static enum json_stream_result stray(struct json_stream *js, struct json_object **value,
                                     GError **error)
{
    bool junk = !is_delimiter(js->buf[js->scan]); /* else it stands alone, as a stray ']' */
    enum json_stream_result result;

    js->scan++;
    result = judge(js, value, error);
    if (junk) {
        js->mode = MODE_JUNK;
    }
    return result;
}

/* Runs over characters that mean nothing to the scanner. */
static void scan_plain(struct json_stream *js)
{
    const char *p = js->buf + js->scan, *end = js->buf + js->len;

    if (js->quote && !js->escape) {
        while (p < end && *p != js->quote && *p != '\\' && (unsigned char)*p >= 0x20 &&
               (unsigned char)*p < 0xfe) {
            p++;
        }
        js->scan = (size_t)(p - js->buf);
    }
}

static bool over_limit(const struct json_stream *js)
{
    return js->scan - js->start > JSON_TEXT_MAX_BYTES;
}

static enum json_stream_result scan_value(struct json_stream *js, struct json_object **value,
                                          GError **error)
{
    while (js->scan < js->len) {
        enum step step;

        scan_plain(js);
        if (over_limit(js)) {
            break;
        }
        if (js->scan == js->len) {
            return JSON_STREAM_MORE;
        }
        step = step_in_value(js, js->buf[js->scan]);
        js->scan++;
        switch (step) {
        case STEP_ON:
            break;
        case STEP_END:
            return judge(js, value, error);
        case STEP_BAD_CHAR:
            return fail_char(js, error);
        case STEP_TOO_DEEP:
            return fail(js, error, "JSON nesting depth limit exceeded");
        }
    }
    return over_limit(js) ? fail(js, error, "JSON token size limit exceeded") : JSON_STREAM_MORE;
}

static enum json_stream_result scan_scalar(struct json_stream *js, struct json_object **value,
                                           GError **error)
{
    if (!g_ascii_isalnum(js->buf[js->start]) && js->buf[js->start] != '-') {
        return stray(js, value, error);
    }
    while (js->scan < js->len) {
        if (is_delimiter(js->buf[js->scan])) {
            return judge(js, value, error);
        }
        js->scan++;
    }
    if (over_limit(js)) {
        js->depth = 1; /* so that the rest of it is skipped */
        return fail(js, error, "JSON token size limit exceeded");
    }
    return JSON_STREAM_MORE;
}

enum json_stream_result json_stream_next(struct json_stream *js, struct json_object **value,
                                         GError **error)
{
    enum json_stream_result result = JSON_STREAM_MORE;

    *value = NULL;
    while (js->scan < js->len && result == JSON_STREAM_MORE) {
        char c = js->buf[js->scan];

        switch (js->mode) {
        case MODE_BETWEEN:
            if (is_space(c)) {
                js->scan++;
                js->start = js->scan;
            } else if (is_control((unsigned char)c)) {
                js->scan++;
                return fail_char(js, error);
            } else {
                begin(js, c);
            }
            break;
        case MODE_SCALAR:
            result = scan_scalar(js, value, error);
            break;
        case MODE_VALUE:
            result = scan_value(js, value, error);
            break;
        case MODE_SKIP:
        case MODE_RESYNC:
            step_skipping(js, c);
            break;
        case MODE_JUNK:
            if (c == '\n' || c == '{' || is_control((unsigned char)c)) {
                restart(js);
            } else {
                js->scan++;
                js->start = js->scan;
            }
            break;
        }
    }
    if (js->scan == js->len) {
        compact(js);
    }
    return result;
}

bool json_stream_is_empty(struct json_stream *js)
{
    while (js->mode == MODE_BETWEEN && js->scan < js->len && is_space(js->buf[js->scan])) {
        js->scan++;
        js->start = js->scan;
    }
    if (js->scan == js->len) {
        compact(js);
    }
    return js->mode == MODE_BETWEEN && js->scan == js->len;
}
