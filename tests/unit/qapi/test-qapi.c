/*
 * The runtime of the generated code, and the code generated from everything.json: types, JSON,
 * key=value text, commands, events.
 */
#include <json-c/json.h>
#include <math.h>
#include <string.h>

#include "qapi/error.h"
#include "test-qapi-commands.h"
#include "test-qapi-events.h"
#include "test-qapi-introspect.h"
#include "test-qapi-visit.h"

/* Single quotes for double ones, to keep the tests readable. */
static char *quoted(const char *text)
{
    return g_strdelimit(g_strdup(text), "'", '"');
}

static struct json_object *parse(const char *text)
{
    g_autofree char *json = quoted(text);
    enum json_tokener_error error;
    struct json_object *value = json_tokener_parse_verbose(json, &error);

    g_assert_cmpint(error, ==, json_tokener_success);
    return value;
}

/* Reads @text as @type, copies the object, frees the original, and expects @expected printed. */
static void check_round_trip(const struct qapi_type *type, const char *text, const char *expected)
{
    g_autofree char *wanted = quoted(expected);
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    struct json_object *json = parse(text);
    void *obj = qapi_object_read(type, QAPI_READ_JSON, json, &error);
    void *copy;

    json_object_put(json);
    g_assert_no_error(error);
    g_assert_nonnull(obj);
    copy = qapi_object_clone(type, obj);
    qapi_object_free(type, obj);
    qapi_object_write(type, copy, out);
    g_assert_cmpstr(out->str, ==, wanted);
    qapi_object_free(type, copy);
}

static void check_same(const struct qapi_type *type, const char *text)
{
    check_round_trip(type, text, text);
}

static void check_error(const struct qapi_type *type, const char *text, const char *message)
{
    g_autoptr(GError) error = NULL;
    struct json_object *json = parse(text);
    void *obj = qapi_object_read(type, QAPI_READ_JSON, json, &error);

    json_object_put(json);
    g_assert_null(obj);
    g_assert_error(error, QMP_ERROR, QMP_ERROR_GENERIC);
    g_assert_cmpstr(error->message, ==, message);
}

static void test_round_trip(void)
{
    check_same(&numbers_type,
               "{'i8': -128, 'i16': -32768, 'i32': -2147483648, 'i64': -9223372036854775808, "
               "'i': 9223372036854775807, 'u8': 255, 'u16': 65535, 'u32': 4294967295, "
               "'u64': 18446744073709551615, 'size': 9223372036854775808, 'number': 0.1, "
               "'bool': true, 'str': 'x', 'null': null, 'any': {'a': [1, null, 'b', 2.50]}, "
               "'qtype': 'qdict'}");
    check_same(&optionals_type, "{}");
    check_same(&optionals_type,
               "{'i': 0, 'b': false, 's': '', 'c': 'red', 'p': {'a': 'b'}, 'list': [], "
               "'plains': [{'a': '1'}, {'a': '2'}], 'any': 0, 'null': null, 'ul': 0, "
               "'number': -1e+100, 'size': 1, 'e': null}");
    check_same(&derived_type, "{'a': 'base first', 'b': 1}");
    check_same(&no_members_type, "{}");
    check_same(&gone_type, "{}");
    check_same(&sometimes_members_type, "{'z': 1, 'w': 2}");
    check_same(&keywords_type,
               "{'default': 1, 'int': 's', 'linux': true, 'char': false, 'obj': 1, 'type': 2, "
               "'name': 'n', 'errp': 3, 'out': 4, 'list': ['a'], 'sink': 5}");
    check_same(&odd_names_type, "{'UPPER_Case': 1, 'under_score': 2}");
    check_same(&tree_type, "{'name': 'a', 'children': [{'name': 'b', 'children': []}, "
                           "{'name': 'c', 'left': {'name': 'd'}}]}");
}

static void test_round_trip_choices(void)
{
    check_same(&shape_type, "{'kind': 'square', 'name': 'n', 'side': 4, 'label': 'l'}");
    check_same(&shape_type, "{'kind': 'circle', 'name': 'n', 'radius': 2, 'points': [{'a': ''}]}");
    check_same(&shape_type, "{'kind': 'nothing', 'name': 'n'}");
    check_round_trip(&shape_type, "{'side': 4, 'name': 'n', 'kind': 'square'}",
                     "{'kind': 'square', 'name': 'n', 'side': 4}");
    check_same(&outer_shape_type, "{'kind': 'shape', 'inner-kind': 'circle', 'radius': 1.5}");
    check_same(&outer_shape_type, "{'kind': 'shape', 'inner-kind': 'square'}");
    check_same(&outer_shape_type, "{'kind': 'circle'}");
    check_same(&eithers_type,
               "{'list': ['text', {'kind': 'square', 'name': 'n', 'side': 1}, ['a', 'b'], null], "
               "'scalar': 'green', 'n': 18446744073709551615}");
    check_same(&eithers_type, "{'list': [], 'scalar': true, 'n': false}");
    check_same(&optional_number_type, "1.5");
    check_same(&optional_number_type, "{'a': 'x'}");
    check_same(&color_list_type, "['red', 'green', 'blue', '9th']");
    check_same(&str_list_type, "['a', 'b', 'c', 'd', 'e']");
    check_same(&uint8_list_type, "[0, 1, 2, 3, 255]");
    check_same(&bool_list_type, "[true, false]");
    check_same(&number_list_type, "[1, 0.5]");
    check_same(&any_list_type, "[null, 1, {}]");
    check_same(&null_list_type, "[null, null]");
    check_same(&int16_list_type, "[-32768, 32767]");
}

/* A negative number for an unsigned 64-bit member counts as its two's complement. */
static void test_unsigned(void)
{
    check_round_trip(&optionals_type, "{'ul': -1, 'size': -9223372036854775808}",
                     "{'ul': 18446744073709551615, 'size': 9223372036854775808}");
    check_same(&uint64_list_type, "[0, 9007199254740993, 9223372036854775807, "
                                  "9223372036854775808, 18446744073709551615]");
    check_error(&uint32_list_type, "[-1]", "Parameter 'null' expects uint32_t");
}

static void test_errors(void)
{
    check_error(&plain_type, "{}", "Parameter 'a' is missing");
    check_error(&plain_type, "{'b': 1}", "Parameter 'a' is missing");
    check_error(&plain_type, "{'a': 'x', 'b': 1}", "Parameter 'b' is unexpected");
    check_error(&plain_type, "{'a': 1}", "Invalid parameter type for 'a', expected: string");
    check_error(&plain_type, "{'a': null}", "Invalid parameter type for 'a', expected: string");
    check_error(&plain_type, "{'a': 'x\\u0000y'}", "Parameter 'a' contains a NUL character");
    check_error(&plain_type, "[]", "Invalid parameter type for 'null', expected: object");
    check_error(&plain_type, "null", "Invalid parameter type for 'null', expected: object");
    check_error(&derived_type, "{'a': 'x', 'b': '1'}",
                "Invalid parameter type for 'b', expected: integer");
    check_error(&derived_type, "{'a': 'x', 'b': 1.0}",
                "Invalid parameter type for 'b', expected: integer");
    check_error(&derived_type, "{'a': 'x', 'b': 9223372036854775808}",
                "Invalid parameter type for 'b', expected: integer");
    check_error(&optionals_type, "{'c': 'purple'}", "Parameter 'c' does not accept value 'purple'");
    check_error(&optionals_type, "{'c': 'not-built'}",
                "Parameter 'c' does not accept value 'not-built'");
    check_error(&optionals_type, "{'c': 1}", "Invalid parameter type for 'c', expected: string");
    check_error(&optionals_type, "{'b': 1}", "Invalid parameter type for 'b', expected: boolean");
    check_error(&optionals_type, "{'ul': 'x'}", "Parameter 'ul' expects uint64");
    check_error(&optionals_type, "{'size': 1.5}", "Parameter 'size' expects uint64");
    check_error(&uint32_list_type, "[true]", "Parameter '[0]' expects uint64");
    check_error(&optionals_type, "{'number': 'x'}",
                "Invalid parameter type for 'number', expected: number");
    check_error(&optionals_type, "{'list': {}}",
                "Invalid parameter type for 'list', expected: array");
    check_error(&optionals_type, "{'null': 0}",
                "Invalid parameter type for 'null', expected: null");
    check_error(&optionals_type, "{'e': 1}", "Invalid parameter type for 'e', expected: Either");
    check_error(&uint8_list_type, "[0, 256]", "Parameter 'null' expects uint8_t");
    check_error(&int8_list_type, "[-129]", "Parameter 'null' expects int8_t");
}

static void test_error_places(void)
{
    check_error(&optionals_type, "{'p': {}}", "Parameter 'p.a' is missing");
    check_error(&optionals_type, "{'p': {'a': '', 'z': 1}}", "Parameter 'p.z' is unexpected");
    check_error(&optionals_type, "{'plains': [{'a': ''}, {'a': 3}]}",
                "Invalid parameter type for 'plains[1].a', expected: string");
    check_error(&shape_type, "{'kind': 'square', 'name': 'n'}", "Parameter 'side' is missing");
    check_error(&shape_type, "{'kind': 'nothing', 'name': 'n', 'side': 1}",
                "Parameter 'side' is unexpected");
    check_error(&shape_type, "{'kind': 'shape', 'name': 'n', 'radius': 1}",
                "Parameter 'radius' is unexpected");
    check_error(&shape_type, "{'name': 'n'}", "Parameter 'kind' is missing");
    /* halfway through a union: what was read must be freed */
    check_error(&eithers_type,
                "{'list': ['a', {'kind': 'circle', 'name': 'n', 'radius': 1, "
                "'points': [{'a': 'x'}, 7]}]}",
                "Invalid parameter type for 'list[1].points[1]', expected: object");
}

static void test_json_text(void)
{
    static const struct {
        const char *text, *json;
    } strings[] = {
        {"", "\"\""},
        {"a\"b\\c/d", "\"a\\\"b\\\\c/d\""},
        {"\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001F\\u007F\""},
        {"\xc3\xa9\xe2\x82\xac", "\"\\u00E9\\u20AC\""},
        {"\xf0\x9f\x90\xa6!", "\"\\uD83D\\uDC26!\""},
        {"\xf4\x8f\xbf\xbf", "\"\\uDBFF\\uDFFF\""},
        {"a\xff\xc3", "\"a\\uFFFD\\uFFFD\""},
        {"\xc0\x80\xed\xa0\x80", "\"\\uFFFD\\uFFFD\\uFFFD\\uFFFD\\uFFFD\""},
    };
    static const struct {
        double value;
        const char *json;
    } numbers[] = {
        {0, "0"},
        {-0.0, "-0"},
        {0.1, "0.1"},
        {1e300, "1e+300"},
        {NAN, "null"},
        {INFINITY, "null"},
        {1 / 3.0, "0.3333333333333333"},
        {123456, "123456"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(strings); i++) {
        g_autoptr(GString) out = g_string_new(NULL);

        qapi_json_append_string(out, strings[i].text, -1);
        g_assert_cmpstr(out->str, ==, strings[i].json);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autoptr(GString) out = g_string_new(NULL);

        qapi_json_append_number(out, numbers[i].value);
        g_assert_cmpstr(out->str, ==, numbers[i].json);
    }
}

/* What a client sends as id comes back as it was. */
static void test_json_any(void)
{
    static const char *const texts[] = {
        "null",
        "true",
        "-1",
        "18446744073709551615",
        "1.10",
        "1e5",
        "'\\u00E9\\uD83D\\uDC26'",
        "[]",
        "{}",
        "{'a': [1, {'b': null}], 'c\\n': 'd'}",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *wanted = quoted(texts[i]);
        g_autoptr(GString) out = g_string_new(NULL);
        struct json_object *json = parse(texts[i]);

        qapi_json_append_any(out, json);
        g_assert_cmpstr(out->str, ==, wanted);
        json_object_put(json);
    }
}

static void check_keyval(const char *text, const char *implied_key, const char *expected)
{
    g_autofree char *wanted = quoted(expected);
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    struct json_object *json = qapi_keyval_parse(text, implied_key, &error);

    g_assert_no_error(error);
    qapi_json_append_any(out, json);
    g_assert_cmpstr(out->str, ==, wanted);
    json_object_put(json);
}

static void check_keyval_error(const char *text, const char *implied_key, const char *message)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(qapi_keyval_parse(text, implied_key, &error));
    g_assert_error(error, QMP_ERROR, QMP_ERROR_GENERIC);
    g_assert_cmpstr(error->message, ==, message);
}

static void test_keyval(void)
{
    g_autofree char *deep = g_strnfill(200, 'a');

    check_keyval("", NULL, "{}");
    check_keyval("a=b", NULL, "{'a': 'b'}");
    check_keyval("a=b,c=d,", NULL, "{'a': 'b', 'c': 'd'}");
    check_keyval("a=,b=,,,c==", NULL, "{'a': '', 'b': ',', 'c': '='}");
    check_keyval("a=x,,y,,,,z", NULL, "{'a': 'x,y,,z'}");
    check_keyval("a=1,a=2", NULL, "{'a': '2'}");
    check_keyval("a.b.c=1,a.b.d=2,a.e=3", NULL, "{'a': {'b': {'c': '1', 'd': '2'}, 'e': '3'}}");
    check_keyval("x.1=b,x.0=a", NULL, "{'x': ['a', 'b']}");
    check_keyval("x.0.y=a,x.1.y=b", NULL, "{'x': [{'y': 'a'}, {'y': 'b'}]}");
    check_keyval("pc,accel=kvm", "type", "{'type': 'pc', 'accel': 'kvm'}");
    check_keyval("a,,b", "type", "{'type': 'a,b'}");
    check_keyval("type=q35", "type", "{'type': 'q35'}");
    check_keyval("__org.x_y.z=1", NULL, "{'__org.x_y': {'z': '1'}}");
    check_keyval_error("a", NULL, "Expected '=' after parameter 'a'");
    check_keyval_error("a=1,b", "type", "Expected '=' after parameter 'b'");
    check_keyval_error("=1", NULL, "Invalid parameter ''");
    check_keyval_error(",a=1", "type", "Invalid parameter ''");
    check_keyval_error("a..b=1", NULL, "Invalid parameter 'a..b'");
    check_keyval_error("a.=1", NULL, "Invalid parameter 'a.'");
    check_keyval_error("a/b=1", NULL, "Invalid parameter 'a/b'");
    check_keyval_error("a=1,a.b=2", NULL, "Parameters 'a.*' used inconsistently");
    check_keyval_error("a.b=1,a=2", NULL, "Parameters 'a.*' used inconsistently");
    check_keyval_error("a.0=1,a.b=2", NULL, "Parameters 'a.*' used inconsistently");
    check_keyval_error("a.1=1", NULL, "Parameter 'a.0' is missing");
    check_keyval_error("a.0=1,a.4294967295=2", NULL, "Parameter 'a.1' is missing");
    for (size_t i = 1; i < 200; i += 2) {
        deep[i] = '.';
    }
    deep[199] = '=';
    check_keyval_error(deep, NULL,
                       "Parameter 'a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a....' is nested too "
                       "deeply");
}

static void check_keyval_object(const struct qapi_type *type, const char *text,
                                const char *expected)
{
    g_autofree char *wanted = quoted(expected);
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    void *obj = qapi_object_from_keyval(type, text, NULL, &error);

    g_assert_no_error(error);
    qapi_object_write(type, obj, out);
    g_assert_cmpstr(out->str, ==, wanted);
    qapi_object_free(type, obj);
}

static void check_keyval_object_error(const struct qapi_type *type, const char *text,
                                      const char *message)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(qapi_object_from_keyval(type, text, NULL, &error));
    g_assert_cmpstr(error->message, ==, message);
}

static void test_keyval_objects(void)
{
    check_keyval_object(&optionals_type, "i=-5,b=on,s=5,c=9th,p.a=x,list.0=1,list.1=0x10",
                        "{'i': -5, 'b': true, 's': '5', 'c': '9th', 'p': {'a': 'x'}, "
                        "'list': [1, 16]}");
    check_keyval_object(&optionals_type, "ul=18446744073709551615,number=1.5,size=1.5k,b=n",
                        "{'b': false, 'ul': 18446744073709551615, 'number': 1.5, 'size': 1536}");
    check_keyval_object(&optionals_type, "{\"b\": true}", "{'b': true}");
    check_keyval_object(&optionals_type, "{\"b\": true} \n ", "{'b': true}");
    check_keyval_object(&optionals_type, "e=words", "{'e': 'words'}");
    check_keyval_object(&optionals_type, "e.kind=square,e.name=n,e.side=1",
                        "{'e': {'kind': 'square', 'name': 'n', 'side': 1}}");
    check_keyval_object(&optionals_type, "e.0=a,e.1=b", "{'e': ['a', 'b']}");
    check_keyval_object(&eithers_type, "scalar=on,n=12,list.0=x",
                        "{'list': ['x'], 'scalar': true, 'n': 12}");
    check_keyval_object(&eithers_type, "scalar=red,n=off,list.0=x",
                        "{'list': ['x'], 'scalar': 'red', 'n': false}");
    check_keyval_object_error(&optionals_type, "i=x", "Parameter 'i' expects integer");
    check_keyval_object_error(&optionals_type, "i=9223372036854775808",
                              "Invalid parameter type for 'i', expected: integer");
    check_keyval_object_error(&optionals_type, "b=maybe", "Parameter 'b' expects 'on' or 'off'");
    check_keyval_object_error(&optionals_type, "size=12x",
                              "Parameter 'size' expects a size such as 64M");
    check_keyval_object_error(&optionals_type, "list.0=1,list.1=b",
                              "Parameter 'list.1' expects integer");
    check_keyval_object_error(&optionals_type, "p=1",
                              "Invalid parameter type for 'p', expected: object");
    check_keyval_object_error(&optionals_type, "p.a=1,p.b=2", "Parameter 'p.b' is unexpected");
    check_keyval_object_error(&eithers_type, "scalar=maybe,list.0=x",
                              "Parameter 'scalar' does not accept value 'maybe'");
    check_keyval_object_error(&optionals_type, "{\"b\": true} x",
                              "JSON parse error at byte 12: unexpected character");
    check_keyval_object_error(&optionals_type, "{\"b\": true}}",
                              "JSON parse error at byte 11: unexpected character");
    check_keyval_object_error(&optionals_type,
                              "{\"b\": ", "JSON parse error at byte 6: unexpected end of data");
}

static void test_sizes(void)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {
        {"0", 0},
        {"1", 1},
        {"512B", 512},
        {"4k", 4096},
        {"2M", 2097152},
        {"1.5G", 1610612736},
        {"0x10", 16},
        {"1T", UINT64_C(1) << 40},
        {"15E", UINT64_C(15) << 60},
        {"18446744073709551615", UINT64_MAX},
        {"0.5K", 512},
        {"1.k", 1024},
    };
    static const char *const bad[] = {"",
                                      "k",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1kk",
                                      "1x",
                                      "1.5",
                                      "16E",
                                      "18446744073709551616",
                                      "0x",
                                      "0x1k",
                                      "1e3",
                                      "nan",
                                      "1.5.5M"};
    uint64_t value;

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_assert_true(qapi_parse_size(good[i].text, &value));
        g_assert_cmpuint(value, ==, good[i].value);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        if (qapi_parse_size(bad[i], &value)) {
            g_error("'%s' was taken for %" G_GUINT64_FORMAT, bad[i], value);
        }
    }
}

/* The handlers of everything.json's commands. */

struct qmp_call {
    GString *log;
    bool fail;
};

static bool handled(struct qmp_call *call, GError **errp, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static bool handled(struct qmp_call *call, GError **errp, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_string_append_vprintf(call->log, format, args);
    va_end(args);
    if (call->fail) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "failed as told");
    }
    return !call->fail;
}

struct plain *qmp_say(struct qmp_call *call, const struct qmp_say_arg *arg, GError **errp)
{
    struct plain *plain;

    if (!handled(call, errp, "say %s %d%d", arg->text, arg->has_loud, arg->loud)) {
        return NULL;
    }
    plain = g_new0(struct plain, 1);
    plain->a = g_strdup(arg->text);
    return plain;
}

bool qmp_hear(struct qmp_call *call, GError **errp)
{
    return handled(call, errp, "hear");
}

bool qmp_old_command(struct qmp_call *call, const struct derived *arg, GError **errp)
{
    return handled(call, errp, "old %s %" G_GINT64_FORMAT, arg->a, arg->b);
}

struct shape_list *qmp_draw(struct qmp_call *call, const struct shape *arg, GError **errp)
{
    struct shape_list *list;

    if (!handled(call, errp, "draw %s", shape_kind_str(arg->kind))) {
        return NULL;
    }
    list = shape_list_new();
    shape_list_append(list, shape_clone(arg));
    shape_list_append(list, shape_clone(arg));
    return list;
}

bool qmp_box(struct qmp_call *call, const struct plain *arg, GError **errp)
{
    return handled(call, errp, "box %s", arg->a);
}

bool qmp_nothing_in(struct qmp_call *call, const struct qmp_nothing_in_arg *arg, GError **errp)
{
    return handled(call, errp, "nothing-in");
}

bool qmp_gone_in(struct qmp_call *call, const struct gone *arg, GError **errp)
{
    return handled(call, errp, "gone-in");
}

bool qmp_raw(struct qmp_call *call, struct json_object *args, GString *ret, GError **errp)
{
    g_string_append(ret, "{\"a\": \"raw\"}");
    return handled(call, errp, "raw %d", args ? json_object_object_length(args) : -1);
}

bool qmp_give_str(struct qmp_call *call, char **ret, GError **errp)
{
    *ret = g_strdup("given");
    return handled(call, errp, "str");
}

bool qmp_give_int(struct qmp_call *call, int64_t *ret, GError **errp)
{
    *ret = -7;
    return handled(call, errp, "int");
}

bool qmp_give_color(struct qmp_call *call, enum color *ret, GError **errp)
{
    *ret = COLOR_BLUE;
    return handled(call, errp, "color");
}

bool qmp_give_any(struct qmp_call *call, struct json_object **ret, GError **errp)
{
    *ret = json_object_new_double(0.5);
    return handled(call, errp, "any");
}

struct str_list *qmp_give_strings(struct qmp_call *call, GError **errp)
{
    struct str_list *list = str_list_new();

    str_list_append(list, g_strdup("one"));
    str_list_append(list, NULL);
    return list;
}

struct either *qmp_give_either(struct qmp_call *call, GError **errp)
{
    struct either *either = g_new0(struct either, 1);

    either->type = Q_TYPE_QSTRING;
    either->u.text = g_strdup("words");
    return either;
}

bool qmp___org_example_drive_mirror(struct qmp_call *call,
                                    const struct qmp___org_example_drive_mirror_arg *arg,
                                    GError **errp)
{
    return handled(call, errp, "mirror %zu", arg->numbers->n);
}

bool qmp_take_all(struct qmp_call *call, const struct optionals *arg, GError **errp)
{
    return handled(call, errp, "all");
}

bool qmp_keywords(struct qmp_call *call, const struct qmp_keywords_arg *arg, GError **errp)
{
    return handled(call, errp, "keywords %d", (int)(arg->q_default + arg->q_for));
}

bool qmp_use(struct qmp_call *call, const struct qmp_use_arg *arg, GError **errp)
{
    return handled(call, errp, "use");
}

struct more_info_list *qmp_more(struct qmp_call *call, GError **errp)
{
    return more_info_list_new();
}

static void check_command(const char *name, const char *arguments, const char *log,
                          const char *returned)
{
    const struct qmp_command *command = qmp_command_find(name);
    g_autofree char *wanted = quoted(returned);
    g_autoptr(GString) ret = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    struct qmp_call call = {.log = g_string_new(NULL)};
    struct json_object *json = arguments ? parse(arguments) : NULL;

    g_assert_nonnull(command);
    g_assert_true(command->run(&call, json, ret, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(ret->str, ==, wanted);
    g_assert_cmpstr(call.log->str, ==, log);
    g_string_free(call.log, TRUE);
    json_object_put(json);
}

static void check_command_error(const char *name, const char *arguments, const char *message)
{
    g_autoptr(GString) ret = g_string_new("kept");
    g_autoptr(GError) error = NULL;
    struct qmp_call call = {.log = g_string_new(NULL)};
    struct json_object *json = arguments ? parse(arguments) : NULL;

    g_assert_false(qmp_command_find(name)->run(&call, json, ret, &error));
    g_assert_cmpstr(error->message, ==, message);
    g_assert_cmpstr(ret->str, ==, "kept");
    g_assert_cmpstr(call.log->str, ==, "");
    g_string_free(call.log, TRUE);
    json_object_put(json);
}

static void test_commands(void)
{
    check_command("say", "{'text': 'hi', 'loud': true}", "say hi 11", "{'a': 'hi'}");
    check_command("say", "{'text': 'hi'}", "say hi 00", "{'a': 'hi'}");
    check_command("hear", NULL, "hear", "{}");
    check_command("hear", "{}", "hear", "{}");
    check_command("old_command", "{'a': 'x', 'b': -2}", "old x -2", "{}");
    check_command("draw", "{'kind': 'square', 'name': 'n', 'side': 1}", "draw square",
                  "[{'kind': 'square', 'name': 'n', 'side': 1}, "
                  "{'kind': 'square', 'name': 'n', 'side': 1}]");
    check_command("box", "{'a': 'x'}", "box x", "{}");
    check_command("nothing-in", NULL, "nothing-in", "{}");
    check_command("gone-in", NULL, "gone-in", "{}");
    check_command("raw", NULL, "raw -1", "{'a': 'raw'}");
    check_command("raw", "{'unchecked': 1}", "raw 1", "{'a': 'raw'}");
    check_command("give-str", NULL, "str", "'given'");
    check_command("give-int", NULL, "int", "-7");
    check_command("give-color", NULL, "color", "'blue'");
    check_command("give-any", NULL, "any", "0.5");
    check_command("give-strings", NULL, "", "['one', '']");
    check_command("give-either", NULL, "", "'words'");
    check_command("more", NULL, "", "[]");
    check_command("__org.example_drive-mirror", "{'numbers': []}", "mirror 0", "{}");
    check_command("keywords", "{'default': 3, 'for': 4}", "keywords 7", "{}");
    check_command("take-all", NULL, "all", "{}");
    check_command("use", "{'g': ['two-three']}", "use", "{}");
    g_assert_null(qmp_command_find("never"));
    g_assert_null(qmp_command_find(""));
}

static void test_command_errors(void)
{
    struct qmp_call call = {.log = g_string_new(NULL), .fail = true};
    g_autoptr(GString) ret = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    struct json_object *json = parse("{'text': 'x'}");

    check_command_error("hear", "{'x': 1}", "Parameter 'x' is unexpected");
    check_command_error("say", NULL, "Parameter 'text' is missing");
    check_command_error("say", "{'loud': true, 'x': 1}", "Parameter 'text' is missing");
    check_command_error("say", "{'text': 'x', 'loud': 'yes'}",
                        "Invalid parameter type for 'loud', expected: boolean");
    check_command_error("nothing-in", "{'x': 1}", "Parameter 'x' is unexpected");
    check_command_error("__org.example_drive-mirror", "{'numbers': [1]}",
                        "Invalid parameter type for 'numbers[0]', expected: object");

    g_assert_false(qmp_command_find("say")->run(&call, json, ret, &error));
    g_assert_cmpstr(qmp_error_class(error), ==, "DeviceNotFound");
    g_assert_cmpuint(ret->len, ==, 0);
    json_object_put(json);
    g_string_free(call.log, TRUE);
}

static void test_command_table(void)
{
    size_t n = 0;

    for (const struct qmp_command *c = qmp_commands; c->name; c++) {
        g_assert_true(qmp_command_find(c->name) == c);
        n++;
    }
    g_assert_cmpuint(n, ==, 19);
    g_assert_cmpstr(qmp_commands[0].name, ==, "more");
    g_assert_cmpuint(qmp_command_find("old_command")->flags, ==,
                     QMP_CMD_ALLOW_OOB | QMP_CMD_ALLOW_PRECONFIG);
    g_assert_cmpuint(qmp_command_find("draw")->flags, ==, QMP_CMD_NO_SUCCESS);
    g_assert_cmpuint(qmp_command_find("box")->flags, ==, QMP_CMD_COROUTINE | QMP_CMD_FOR_OPERATOR);
    g_assert_cmpuint(qmp_command_find("hear")->flags, ==, QMP_CMD_FOR_OBSERVER);
    g_assert_null(qmp_command_find("hear")->features);
    g_assert_cmpstr(qmp_command_find("say")->features[0], ==, "polite");
    g_assert_cmpstr(qmp_command_find("more")->features[0], ==, "second");
    g_assert_cmpstr(qmp_command_find("more")->features[1], ==, "third");
    g_assert_null(qmp_command_find("more")->features[2]);
}

struct recording_sink {
    struct event_sink sink;
    GString *log;
};

static void record(struct event_sink *sink, unsigned event, const char *data_json)
{
    struct recording_sink *r = (struct recording_sink *)sink;

    g_string_append_printf(r->log, "%s %s\n", test_qapi_event_str((enum test_qapi_event)event),
                           data_json ? data_json : "-");
}

static void test_events(void)
{
    struct recording_sink r = {{record}, g_string_new(NULL)};
    g_autofree char *wanted = quoted("PLAIN_EVENT -\n"
                                     "DATA {'a': 1, 'sink': 2}\n"
                                     "DATA {'a': 1, 'b': false, 's': 'x', 'list': ['blue'], "
                                     "'sink': 2, 'default': 18446744073709551615}\n"
                                     "NAMED {'a': 'x', 'b': 3}\n"
                                     "BOXED {'kind': 'nothing', 'name': 'n'}\n"
                                     "__ORG.EXAMPLE_DONE -\n");
    struct color_list *list = color_list_new();
    const struct shape shape = {.kind = SHAPE_KIND_NOTHING, .name = (char *)"n"};

    color_list_append(list, COLOR_BLUE);
    test_qapi_event_send_plain_event(&r.sink);
    test_qapi_event_send_data(&r.sink, 1, false, true, NULL, NULL, 2, false, 5);
    test_qapi_event_send_data(&r.sink, 1, true, false, "x", list, 2, true, UINT64_MAX);
    test_qapi_event_send_named(&r.sink, "x", 3);
    test_qapi_event_send_boxed(&r.sink, &shape);
    test_qapi_event_send___org_example_done(&r.sink);
    g_assert_cmpstr(r.log->str, ==, wanted);
    g_assert_null(test_qapi_event_str(TEST_QAPI_EVENT__MAX));
    color_list_free(list);
    g_string_free(r.log, TRUE);
}

static void test_enums(void)
{
    enum color color = COLOR_RED;

    g_assert_cmpstr(color_str(COLOR_9TH), ==, "9th");
    g_assert_null(color_str(COLOR__MAX));
    g_assert_null(color_str((enum color) - 1));
    g_assert_true(color_parse("blue", &color));
    g_assert_cmpint(color, ==, COLOR_BLUE);
    g_assert_false(color_parse("Blue", &color));
    g_assert_cmpint(color, ==, COLOR_BLUE);
    g_assert_cmpstr(prefixed_str(PFX_TWO_THREE), ==, "two-three");
    g_assert_cmpint(EMPTY__MAX, ==, 0);
    g_assert_null(empty_str(EMPTY__MAX));
    g_assert_cmpint(ALL_GONE__MAX, ==, 0);
}

/* Absent strings and arrays of an object that was made by hand print as empty ones. */
static void test_by_hand(void)
{
    struct plain plain = {0};
    struct eithers eithers = {0};
    struct tree *tree = g_new0(struct tree, 1);
    struct tree *copy;
    g_autoptr(GString) out = g_string_new(NULL);

    plain_to_json(&plain, out);
    eithers_to_json(&eithers, out);
    g_assert_cmpstr(out->str, ==, "{\"a\": \"\"}{\"list\": []}");
    tree->name = g_strdup("root");
    tree->children = tree_list_new();
    tree_list_append(tree->children, tree_clone(tree));
    copy = tree_clone(tree);
    g_assert_true(copy->children != tree->children);
    g_assert_cmpuint(copy->children->n, ==, 1);
    g_assert_cmpstr(copy->children->v[0]->name, ==, "root");
    tree_free(tree);
    tree_free(copy);
    tree_free(NULL);
    tree_list_free(NULL);
    g_assert_null(tree_clone(NULL));
}

static void test_error_classes(void)
{
    static const char *const classes[] = {"GenericError", "CommandNotFound", "DeviceNotActive",
                                          "DeviceNotFound", "KVMMissingCap"};

    for (size_t i = 0; i < G_N_ELEMENTS(classes); i++) {
        g_autoptr(GError) error = g_error_new(QMP_ERROR, (int)i, "x");

        g_assert_cmpstr(qmp_error_class(error), ==, classes[i]);
    }
    {
        g_autoptr(GError) error = g_error_new(G_FILE_ERROR, G_FILE_ERROR_NOENT, "x");

        g_assert_cmpstr(qmp_error_class(error), ==, "GenericError");
    }
}

/* Whatever conditions say, the text is JSON. introspect.py looks at what it says. */
static void test_introspection(void)
{
    struct json_object *json = parse(qmp_schema_json);

    g_assert_true(json_object_is_type(json, json_type_array));
    g_assert_null(strstr(qmp_schema_json, "never"));
    g_assert_nonnull(strstr(qmp_schema_json, "\"features\": [\"second\", \"third\"]"));
    json_object_put(json);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qapi/round-trip", test_round_trip);
    g_test_add_func("/qapi/round-trip-choices", test_round_trip_choices);
    g_test_add_func("/qapi/unsigned", test_unsigned);
    g_test_add_func("/qapi/errors", test_errors);
    g_test_add_func("/qapi/error-places", test_error_places);
    g_test_add_func("/qapi/json-text", test_json_text);
    g_test_add_func("/qapi/json-any", test_json_any);
    g_test_add_func("/qapi/keyval", test_keyval);
    g_test_add_func("/qapi/keyval-objects", test_keyval_objects);
    g_test_add_func("/qapi/sizes", test_sizes);
    g_test_add_func("/qapi/commands", test_commands);
    g_test_add_func("/qapi/command-errors", test_command_errors);
    g_test_add_func("/qapi/command-table", test_command_table);
    g_test_add_func("/qapi/events", test_events);
    g_test_add_func("/qapi/enums", test_enums);
    g_test_add_func("/qapi/by-hand", test_by_hand);
    g_test_add_func("/qapi/error-classes", test_error_classes);
    g_test_add_func("/qapi/introspection", test_introspection);
    return g_test_run();
}
