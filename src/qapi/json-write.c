/*
 * C objects to JSON text, driven by the types' descriptions.
 */
#include "qapi/json.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <math.h>
#include <string.h>

static void append_escaped(GString *out, gunichar c)
{
    char buf[16];

    switch (c) {
    case '"':
        g_string_append(out, "\\\"");
        return;
    case '\\':
        g_string_append(out, "\\\\");
        return;
    case '\b':
        g_string_append(out, "\\b");
        return;
    case '\f':
        g_string_append(out, "\\f");
        return;
    case '\n':
        g_string_append(out, "\\n");
        return;
    case '\r':
        g_string_append(out, "\\r");
        return;
    case '\t':
        g_string_append(out, "\\t");
        return;
    }
    if (c > 0xffff) {
        c -= 0x10000;
        g_snprintf(buf, sizeof(buf), "\\u%04X\\u%04X", 0xd800 + (c >> 10), 0xdc00 + (c & 0x3ff));
    } else {
        g_snprintf(buf, sizeof(buf), "\\u%04X", c);
    }
    g_string_append(out, buf);
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void qapi_json_append_string(GString *out, const char *text, gssize len)
{
    const char *p = text;
    const char *end = text + (len < 0 ? (gssize)strlen(text) : len);

    g_string_append_c(out, '"');
    while (p < end) {
        const char *run = p;

        while (p < end && is_plain((unsigned char)*p)) {
            p++;
        }
        g_string_append_len(out, run, p - run);
        if (p == end) {
            break;
        }
        if ((unsigned char)*p < 0x80) {
            append_escaped(out, (unsigned char)*p++);
        } else {
            gunichar c = g_utf8_get_char_validated(p, end - p);

            if (c >= 0x110000) {
                append_escaped(out, 0xfffd);
                p++;
            } else {
                append_escaped(out, c);
                p = g_utf8_next_char(p);
            }
        }
    }
    g_string_append_c(out, '"');
}

void qapi_json_append_number(GString *out, double value)
{
    char buf[G_ASCII_DTOSTR_BUF_SIZE];

    if (!isfinite(value)) {
        g_string_append(out, "null");
        return;
    }
    /* The shortest of the usual precisions that reads back as the same number. */
    for (int digits = 15; digits <= 17; digits++) {
        char format[8];

        g_snprintf(format, sizeof(format), "%%.%dg", digits);
        g_ascii_formatd(buf, sizeof(buf), format, value);
        if (g_ascii_strtod(buf, NULL) == value) {
            break;
        }
    }
    g_string_append(out, buf);
}

static void append_any_container(GString *out, struct json_object *value)
{
    const char *separator = "";

    if (json_object_is_type(value, json_type_array)) {
        g_string_append_c(out, '[');
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            g_string_append(out, separator);
            qapi_json_append_any(out, json_object_array_get_idx(value, i));
            separator = ", ";
        }
        g_string_append_c(out, ']');
        return;
    }
    g_string_append_c(out, '{');
    json_object_object_foreach(value, key, member)
    {
        g_string_append(out, separator);
        qapi_json_append_string(out, key, -1);
        g_string_append(out, ": ");
        qapi_json_append_any(out, member);
        separator = ", ";
    }
    g_string_append_c(out, '}');
}

/*
 * A parsed number is echoed with the digits that it came in, for json-c keeps them. Its parser
 * also takes NaN and Infinity; those are not JSON and must not go out again.
 */
static void append_any_double(GString *out, struct json_object *value)
{
    if (isfinite(json_object_get_double(value))) {
        g_string_append(out, json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
    } else {
        g_string_append(out, "null");
    }
}

void qapi_json_append_any(GString *out, struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        g_string_append(out, "null");
        break;
    case json_type_boolean:
        g_string_append(out, json_object_get_boolean(value) ? "true" : "false");
        break;
    case json_type_int:
        g_string_append(out, json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
        break;
    case json_type_double:
        append_any_double(out, value);
        break;
    case json_type_string:
        qapi_json_append_string(out, json_object_get_string(value),
                                json_object_get_string_len(value));
        break;
    case json_type_object:
    case json_type_array:
        append_any_container(out, value);
        break;
    }
}

static bool member_present(const struct qapi_member *m, const void *obj)
{
    if (!m->optional) {
        return true;
    }
    if (m->has_offset != QAPI_NO_HAS) {
        return *(const bool *)((const char *)obj + m->has_offset);
    }
    return *(void *const *)((const char *)obj + m->offset) != NULL;
}

static void write_members(const struct qapi_type *type, const void *obj, GString *out, bool *first)
{
    for (size_t i = 0; i < type->n_members; i++) {
        const struct qapi_member *m = &type->members[i];

        if (!member_present(m, obj)) {
            continue;
        }
        g_string_append(out, *first ? "\"" : ", \"");
        *first = false;
        g_string_append(out, m->name);
        g_string_append(out, "\": ");
        qapi_slot_write(m->type, (const char *)obj + m->offset, out);
    }
    if (type->kind == QAPI_UNION) {
        unsigned tag = *(const unsigned *)((const char *)obj + type->tag_offset);

        if (tag < type->n_branches && type->branches[tag]) {
            write_members(type->branches[tag], (const char *)obj + type->u_offset, out, first);
        }
    }
}

static void write_list(const struct qapi_type *type, const struct qapi_list *list, GString *out)
{
    size_t stride = qapi_slot_size(type->element);

    g_string_append_c(out, '[');
    for (size_t i = 0; i < list->n; i++) {
        if (i) {
            g_string_append(out, ", ");
        }
        qapi_slot_write(type->element, (const char *)list->v + i * stride, out);
    }
    g_string_append_c(out, ']');
}

void qapi_object_write(const struct qapi_type *type, const void *obj, GString *out)
{
    bool first = true;

    if (!obj) {
        /* An absent list or string is an empty one: handlers need not allocate those. */
        g_string_append(out, type->kind == QAPI_ARRAY ? "[]"
                             : type->kind == QAPI_STR ? "\"\""
                                                      : "null");
        return;
    }
    switch (type->kind) {
    case QAPI_STR:
        qapi_json_append_string(out, obj, -1);
        break;
    case QAPI_ANY:
        qapi_json_append_any(out, (struct json_object *)obj);
        break;
    case QAPI_ARRAY:
        write_list(type, obj, out);
        break;
    case QAPI_ALTERNATE: {
        unsigned tag = *(const unsigned *)obj;

        if (tag < type->n_branches && type->branches[tag]) {
            qapi_slot_write(type->branches[tag], (const char *)obj + type->u_offset, out);
        } else {
            g_string_append(out, "null");
        }
        break;
    }
    default:
        g_string_append_c(out, '{');
        write_members(type, obj, out, &first);
        g_string_append_c(out, '}');
        break;
    }
}

static void append_signed(GString *out, int64_t value)
{
    char buf[24];
    int len = g_snprintf(buf, sizeof(buf), "%" PRId64, value);

    g_string_append_len(out, buf, len);
}

static void append_unsigned(GString *out, uint64_t value)
{
    char buf[24];
    int len = g_snprintf(buf, sizeof(buf), "%" PRIu64, value);

    g_string_append_len(out, buf, len);
}

void qapi_slot_write(const struct qapi_type *type, const void *slot, GString *out)
{
    switch (type->kind) {
    case QAPI_INT8:
        append_signed(out, *(const int8_t *)slot);
        break;
    case QAPI_INT16:
        append_signed(out, *(const int16_t *)slot);
        break;
    case QAPI_INT32:
        append_signed(out, *(const int32_t *)slot);
        break;
    case QAPI_INT64:
        append_signed(out, *(const int64_t *)slot);
        break;
    case QAPI_UINT8:
        append_unsigned(out, *(const uint8_t *)slot);
        break;
    case QAPI_UINT16:
        append_unsigned(out, *(const uint16_t *)slot);
        break;
    case QAPI_UINT32:
        append_unsigned(out, *(const uint32_t *)slot);
        break;
    case QAPI_UINT64:
    case QAPI_SIZE:
        append_unsigned(out, *(const uint64_t *)slot);
        break;
    case QAPI_NUMBER:
        qapi_json_append_number(out, *(const double *)slot);
        break;
    case QAPI_BOOL:
        g_string_append(out, *(const bool *)slot ? "true" : "false");
        break;
    case QAPI_NULL:
        g_string_append(out, "null");
        break;
    case QAPI_ENUM: {
        const char *text = qapi_enum_str(type, *(const int *)slot);

        g_assert(text);
        g_string_append_c(out, '"');
        g_string_append(out, text);
        g_string_append_c(out, '"');
        break;
    }
    default:
        qapi_object_write(type, *(void *const *)slot, out);
        break;
    }
}
