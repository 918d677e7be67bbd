/*
 * The stream of requests: where values end, what is an error, and how the stream recovers. Each
 * input is fed whole and in pieces of one and of seven bytes, with the same outcome.
 */
#include "monitor/json-stream.h"
#include "qapi/json.h"

#include <json-c/json.h>
#include <string.h>

static void append_results(struct json_stream *js, GString *out)
{
    for (;;) {
        struct json_object *value;
        g_autoptr(GError) error = NULL;

        switch (json_stream_next(js, &value, &error)) {
        case JSON_STREAM_MORE:
            return;
        case JSON_STREAM_ERROR:
            g_string_append_printf(out, "!%s\n", error->message);
            break;
        case JSON_STREAM_VALUE:
            qapi_json_append_any(out, value);
            g_string_append_c(out, '\n');
            json_object_put(value);
            break;
        }
    }
}

static char *run_stream(const char *input, size_t length, size_t piece)
{
    struct json_stream *js = json_stream_new();
    GString *out = g_string_new(NULL);

    for (size_t done = 0; done < length;) {
        size_t n = MIN(piece, length - done);

        memcpy(json_stream_room(js, n), input + done, n);
        json_stream_add(js, n);
        done += n;
        append_results(js, out);
    }
    json_stream_free(js);
    return g_string_free(out, FALSE);
}

struct stream_case {
    const char *name, *input, *expected;
    size_t length; /* 0: up to the NUL */
};

#define PARSE    "!JSON parse error, "
/* A request that must come through whatever was before it. */
#define NEXT     "\n{\"next\": 1}"
#define NEXT_OUT "{\"next\": 1}\n"
#define BAD(name, input, error)                                                                    \
    {                                                                                              \
        name, input NEXT                                                                           \
        , PARSE error "\n" NEXT_OUT, 0                                                             \
    }

static const struct stream_case cases[] = {
    {"two-on-a-line", "{\"a\":1}{\"b\":2}", "{\"a\": 1}\n{\"b\": 2}\n", 0},
    {"nothing-between", "[]{}\"x\"[1]", "[]\n{}\n\"x\"\n[1]\n", 0},
    {"scalars", "1 -2 true null 1.5e3 ", "1\n-2\ntrue\nnull\n1.5e3\n", 0},
    {"single-quotes", "{'a': 'b\"c', \"d\": \"e'f\"}", "{\"a\": \"b\\\"c\", \"d\": \"e'f\"}\n", 0},
    {"brackets-in-strings", "[\"]}\\\"{\", '[']", "[\"]}\\\"{\", \"[\"]\n", 0},
    {"crlf", "\r\n{\"a\"\r\n:\t1}\r\n", "{\"a\": 1}\n", 0},
    {"escapes", "[\"\\u00e9\\ud83d\\ude00\\/\\b\\n\\'\"]", "[\"\\u00E9\\uD83D\\uDE00/\\b\\n'\"]\n",
     0},
    {"escaped-nul", "[\"a\\u0000b\"]", "[\"a\\u0000b\"]\n", 0},
    {"int64", "[9223372036854775807,-9223372036854775808,18446744073709551615]",
     "[9223372036854775807, -9223372036854775808, 18446744073709551615]\n", 0},
    {"beyond-int64", "[18446744073709551616]", "[18446744073709551616]\n", 0},
    {"large-and-others",
     "{'id': -9223372036854775809, \"b\": [18446744073709551616, 1, 5e0, 2.50]}",
     "{\"id\": -9223372036854775809, \"b\": [18446744073709551616, 1, 5e0, 2.50]}\n", 0},
    {"escaped-quotes", "['it\\'s \"', \"it\\'s '\"]", "[\"it's \\\"\", \"it's '\"]\n", 0},
    {"same-key-elsewhere", "{\"a\":{\"a\":1},\"b\":[{\"a\":2},{}]}",
     "{\"a\": {\"a\": 1}, \"b\": [{\"a\": 2}, {}]}\n", 0},
    {"junk-at-once", "%", PARSE "stray '%'\n", 0}, /* nothing follows it */
    {"junk-of-a-line", "%p junk" NEXT, PARSE "stray '%'\n" NEXT_OUT, 0},
    {"half-a-value", "{\"a\": [1, 2", "", 0},
    BAD("stray-character", "{\"a\": @}", "stray '@'"),
    BAD("keyword", "{\"a\": nul}", "invalid keyword 'nul'"),
    BAD("nan", "[NaN]", "stray 'N'"),
    BAD("infinity", "[-Infinity]", "stray '-I'"),
    BAD("overflow", "[1e999]", "number out of range: '1e999'"),
    BAD("leading-zero", "[01]", "stray '01'"),
    BAD("no-fraction", "[1.]", "stray '1.]'"),
    BAD("comment", "// a comment", "stray '/'"),
    BAD("inner-comment", "{\"a\": /* x */ 1}", "stray '/'"),
    BAD("trailing-comma", "{\"a\":1,}", "expecting value"),
    BAD("trailing-comma-array", "[1,]", "expecting value"),
    BAD("no-colon", "{\"a\" 1}", "missing : in object pair"),
    BAD("no-comma", "{\"a\":1 \"b\":2}", "expected separator in dict"),
    BAD("no-comma-array", "[1 2]", "expected separator in list"),
    BAD("number-runs-into-key", "{\"a\":1\"b\":2}", "expected separator in dict"),
    BAD("number-runs-into-list", "[1[2]]", "expected separator in list"),
    BAD("first-of-two", "{\"a\" 1, \"b\": @}", "missing : in object pair"),
    BAD("capitals", "[True]", "stray 'T'"),
    BAD("duplicate-key-inside", "[1,{'a':{'b':1,'c':2,\"b\":3}}]", "duplicate key"),
    BAD("number-key", "{1:2}", "key is not a string in object"),
    BAD("duplicate-key", "{\"a\":1,\"a\":2}", "duplicate key"),
    BAD("escape", "[\"\\q\"]", "invalid escape sequence in string"),
    BAD("lone-surrogate", "[\"\\ud800\"]", "\\ud800 is not a valid Unicode character"),
    BAD("nul-in-key", "{\"a\\u0000\":1}", "key contains a NUL character"),
    BAD("closing", "}", "expecting value"),
    BAD("mismatch", "{\"a\":[}", "expecting value"),
    BAD("mismatch-closed-later", "{\"a\":[}, 1]}", "expecting value"),
    BAD("invalid-utf8", "[\"\x80\"]", "invalid UTF-8 sequence in string"),
    BAD("overlong-utf8", "[\"\xc0\x80\"]", "invalid UTF-8 sequence in string"),
    BAD("surrogate-utf8", "[\"\xed\xa0\x80\"]", "invalid UTF-8 sequence in string"),
    BAD("0xff", "\xff", "stray '\xff'"),
    BAD("control", "{\"exe\x01", "stray '\"exe\x01'"),
    BAD("control-in-the-middle",
        "{\"exe\x01"
        "cute\": {\"x\": 1}}",
        "stray '\"exe\x01'"),
    BAD("newline-in-string", "{\"a", "stray '\"a\n'"),
    {"resync-at-once", "{\"exe\x01{\"a\": 1}", PARSE "stray '\"exe\x01'\n{\"a\": 1}\n", 0},
    {"resync-0xff", "{\"exe\xff {\"a\": 1}", PARSE "stray '\"exe\xff'\n{\"a\": 1}\n", 0},
    {"nul", "{\0}" NEXT, PARSE "stray ''\n" NEXT_OUT, sizeof("{ }" NEXT) - 1},
};

static void test_case(gconstpointer arg)
{
    const struct stream_case *c = arg;
    size_t length = c->length ? c->length : strlen(c->input);
    const size_t pieces[] = {length, 1, 7};

    for (unsigned i = 0; i < G_N_ELEMENTS(pieces); i++) {
        g_autofree char *got = run_stream(c->input, length, pieces[i]);

        g_assert_cmpstr(got, ==, c->expected);
    }
}

static void check_filled(const char *open, const char *close, unsigned n, const char *expected)
{
    GString *input = g_string_new(NULL);
    g_autofree char *got = NULL;

    for (unsigned i = 0; i < n; i++) {
        g_string_append(input, open);
    }
    for (unsigned i = 0; i < n; i++) {
        g_string_append(input, close);
    }
    g_string_append(input, NEXT);
    got = run_stream(input->str, input->len, 4096);
    g_assert_true(g_str_has_suffix(got, NEXT_OUT));
    if (expected) {
        g_assert_cmpstr(got, ==, expected);
    } else {
        g_assert_null(strchr(got, '!'));
    }
    g_string_free(input, TRUE);
}

static void test_depth(void)
{
    check_filled("[", "]", 1024, NULL);
    check_filled("[", "]", 1025, "!JSON nesting depth limit exceeded\n" NEXT_OUT);
    check_filled("[", "", 100000, "!JSON nesting depth limit exceeded\n" NEXT_OUT);
    check_filled("{\"a\":", "}", 1025, "!JSON nesting depth limit exceeded\n" NEXT_OUT);
}

static void test_tokens(void)
{
    GString *input = g_string_new("[1");
    g_autofree char *got = NULL;

    for (unsigned i = 0; i < JSON_TEXT_MAX_TOKENS; i++) {
        g_string_append(input, ",1");
    }
    g_string_append(input, "]" NEXT);
    got = run_stream(input->str, input->len, 65536);
    g_assert_cmpstr(got, ==, "!JSON token count limit exceeded\n" NEXT_OUT);
    g_string_free(input, TRUE);
}

static void test_size(void)
{
    size_t length = 100u << 20;
    char *input = g_malloc(length + sizeof(NEXT));
    g_autofree char *got = NULL;

    memset(input, 'x', length);
    memcpy(input, "{\"a\": \"", 7);
    memcpy(input + length, NEXT, sizeof(NEXT));
    got = run_stream(input, length + sizeof(NEXT) - 1, 1 << 20);
    g_assert_cmpstr(got, ==, "!JSON token size limit exceeded\n" NEXT_OUT);
    g_free(input);
}

/* A stream keeps no buffer of the size of what once went through it. */
static void test_buffer(void)
{
    struct json_stream *js = json_stream_new();
    GString *out = g_string_new(NULL);
    GString *large = g_string_new("[\"");

    for (unsigned i = 0; i < 1 << 20; i++) {
        g_string_append(large, "0123456789");
    }
    g_string_append(large, "\"]");
    for (unsigned i = 0; i < 20; i++) {
        memcpy(json_stream_room(js, large->len), large->str, large->len);
        json_stream_add(js, large->len);
        append_results(js, out);
        g_assert_cmpuint(out->len, ==, large->len + 1);
        g_string_truncate(out, 0);
    }
    g_string_free(large, TRUE);
    g_string_free(out, TRUE);
    json_stream_free(js);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/json-stream/%s", cases[i].name);

        g_test_add_data_func(path, &cases[i], test_case);
    }
    g_test_add_func("/json-stream/depth", test_depth);
    g_test_add_func("/json-stream/tokens", test_tokens);
    g_test_add_func("/json-stream/size", test_size);
    g_test_add_func("/json-stream/buffer", test_buffer);
    return g_test_run();
}
