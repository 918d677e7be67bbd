/*
 * Parsed JSON to C objects, driven by the types' descriptions.
 *
 * The texts of the errors and their order are QEMU's: members are visited in schema order, so that
 * a missing or mistyped member is reported before a surplus one. A value's place is named as in
 * "server.addr[2].port"; QEMU calls elements of an array 'null'.
 *
 * In keyval mode every scalar is a string and is converted by the type that the schema wants.
 */
#include "qapi/json.h"

#include <json-c/json.h>
#include <string.h>

#include "qapi/error.h"
#include "qapi/keyval.h"

/* The way from the outermost value to the one being read; lives on the stack. */
struct place {
    const struct place *parent;
    const char *name; /* NULL: element number @index of the parent */
    size_t index;
};

struct reader {
    enum qapi_read_mode mode;
    GError **errp;
};

static bool read_slot(struct reader *r, const struct qapi_type *type, const struct place *place,
                      struct json_object *json, void *slot);

static void place_append(GString *out, const struct place *place, bool keyval)
{
    if (!place) {
        return;
    }
    place_append(out, place->parent, keyval);
    if (place->name) {
        g_string_append_printf(out, "%s%s", out->len ? "." : "", place->name);
    } else {
        g_string_append_printf(out, keyval ? ".%zu" : "[%zu]", place->index);
    }
}

/* Sets the error to @format, in which the only %s is the name of the place. Returns false. */
static bool fail(struct reader *r, const struct place *place, const char *before, const char *after)
{
    g_autoptr(GString) name = g_string_new(NULL);

    place_append(name, place, r->mode == QAPI_READ_KEYVAL);
    g_set_error(r->errp, QMP_ERROR, QMP_ERROR_GENERIC, "%s '%s'%s", before,
                name->len || (place && place->name) ? name->str : "null", after);
    return false;
}

static bool fail_type(struct reader *r, const struct place *place, const char *expected)
{
    g_autofree char *after = g_strdup_printf(", expected: %s", expected);

    return fail(r, place, "Invalid parameter type for", after);
}

static bool fail_expects(struct reader *r, const struct place *place, const char *expected)
{
    g_autofree char *after = g_strdup_printf(" expects %s", expected);

    return fail(r, place, "Parameter", after);
}

/* Of the right type, but not a value that it has. QEMU's text names the member alone, not the way
 * there, and an element of an array has no name; clients know these texts. */
static bool fail_value(struct reader *r, const struct place *place, const char *after)
{
    g_set_error(r->errp, QMP_ERROR, QMP_ERROR_GENERIC, "Parameter '%s'%s",
                place && place->name ? place->name : "null", after);
    return false;
}

/* The text of a JSON string. A NUL inside cannot be kept in C and is refused. */
static const char *read_text(struct reader *r, const struct place *place, struct json_object *json)
{
    const char *text;

    if (!json_object_is_type(json, json_type_string)) {
        fail_type(r, place, "string");
        return NULL;
    }
    text = json_object_get_string(json);
    if (strlen(text) != (size_t)json_object_get_string_len(json)) {
        fail(r, place, "Parameter", " contains a NUL character");
        return NULL;
    }
    return text;
}

struct int_range {
    const char *name;
    int64_t min;
    uint64_t max;
};

static const struct int_range int_ranges[] = {
    [QAPI_INT8] = {"int8_t", INT8_MIN, INT8_MAX},
    [QAPI_INT16] = {"int16_t", INT16_MIN, INT16_MAX},
    [QAPI_INT32] = {"int32_t", INT32_MIN, INT32_MAX},
    [QAPI_INT64] = {"int64_t", INT64_MIN, INT64_MAX},
    [QAPI_UINT8] = {"uint8_t", 0, UINT8_MAX},
    [QAPI_UINT16] = {"uint16_t", 0, UINT16_MAX},
    [QAPI_UINT32] = {"uint32_t", 0, UINT32_MAX},
    [QAPI_UINT64] = {"uint64_t", 0, UINT64_MAX},
    [QAPI_SIZE] = {"size", 0, UINT64_MAX},
};

static void int_store(enum qapi_kind kind, uint64_t value, void *slot)
{
    switch (kind) {
    case QAPI_INT8:
    case QAPI_UINT8:
        *(uint8_t *)slot = (uint8_t)value;
        break;
    case QAPI_INT16:
    case QAPI_UINT16:
        *(uint16_t *)slot = (uint16_t)value;
        break;
    case QAPI_INT32:
    case QAPI_UINT32:
        *(uint32_t *)slot = (uint32_t)value;
        break;
    default:
        *(uint64_t *)slot = value;
        break;
    }
}

/* The value of text or of a JSON number as sign and 64 bits. */
static bool int_get(struct reader *r, const struct qapi_type *type, const struct place *place,
                    struct json_object *json, bool *negative, uint64_t *value)
{
    const char *text;

    if (r->mode == QAPI_READ_JSON) {
        if (!json_object_is_type(json, json_type_int)) {
            return int_ranges[type->kind].min ? fail_type(r, place, "integer")
                                              : fail_expects(r, place, "uint64");
        }
        *negative = json_object_get_int64(json) < 0;
        *value = *negative ? (uint64_t)json_object_get_int64(json) : json_object_get_uint64(json);
        return true;
    }
    text = read_text(r, place, json);
    if (!text) {
        return false;
    }
    if (type->kind == QAPI_SIZE) {
        *negative = false;
        return qapi_parse_size(text, value) || fail_expects(r, place, "a size such as 64M");
    }
    return qapi_parse_int(text, negative, value) || fail_expects(r, place, "integer");
}

static bool read_int(struct reader *r, const struct qapi_type *type, const struct place *place,
                     struct json_object *json, void *slot)
{
    const struct int_range *range = &int_ranges[type->kind];
    bool negative;
    uint64_t value;
    bool fits;

    if (!int_get(r, type, place, json, &negative, &value)) {
        return false;
    }
    if (negative) {
        /* QEMU's 64-bit unsigned arguments take a negative number as its two's complement. */
        fits = (int64_t)value >= range->min || range->max == UINT64_MAX;
    } else {
        fits = value <= range->max;
    }
    if (!fits && type->kind == QAPI_INT64) {
        return fail_type(r, place, "integer");
    }
    if (!fits) {
        g_autofree char *after = g_strdup_printf(" expects %s", range->name);

        return fail_value(r, place, after);
    }
    int_store(type->kind, value, slot);
    return true;
}

static bool read_number(struct reader *r, const struct place *place, struct json_object *json,
                        double *slot)
{
    const char *text;

    if (r->mode == QAPI_READ_JSON) {
        if (!json_object_is_type(json, json_type_double) &&
            !json_object_is_type(json, json_type_int)) {
            return fail_type(r, place, "number");
        }
        *slot = json_object_get_double(json);
        return true;
    }
    text = read_text(r, place, json);
    if (!text) {
        return false;
    }
    return qapi_parse_number(text, slot) || fail_expects(r, place, "number");
}

static bool read_bool(struct reader *r, const struct place *place, struct json_object *json,
                      bool *slot)
{
    const char *text;

    if (r->mode == QAPI_READ_JSON) {
        if (!json_object_is_type(json, json_type_boolean)) {
            return fail_type(r, place, "boolean");
        }
        *slot = json_object_get_boolean(json);
        return true;
    }
    text = read_text(r, place, json);
    if (!text) {
        return false;
    }
    return qapi_parse_bool(text, slot) || fail_expects(r, place, "'on' or 'off'");
}

static bool read_enum(struct reader *r, const struct qapi_type *type, const struct place *place,
                      struct json_object *json, int *slot)
{
    const char *text = read_text(r, place, json);
    g_autofree char *after = NULL;

    if (!text) {
        return false;
    }
    if (qapi_enum_parse(type, text, slot)) {
        return true;
    }
    after = g_strdup_printf(" does not accept value '%s'", text);
    return fail_value(r, place, after);
}

/* Reads the members that @type has and counts those that were there. */
static bool read_members(struct reader *r, const struct qapi_type *type, const struct place *place,
                         struct json_object *json, void *obj, size_t *found)
{
    for (size_t i = 0; i < type->n_members; i++) {
        const struct qapi_member *m = &type->members[i];
        struct place here = {place, m->name, 0};
        struct json_object *value;

        if (!json || !json_object_object_get_ex(json, m->name, &value)) {
            if (!m->optional) {
                return fail(r, &here, "Parameter", " is missing");
            }
            continue;
        }
        (*found)++;
        if (!read_slot(r, m->type, &here, value, (char *)obj + m->offset)) {
            return false;
        }
        if (m->has_offset != QAPI_NO_HAS) {
            *(bool *)((char *)obj + m->has_offset) = true;
        }
    }
    if (type->kind == QAPI_UNION) {
        unsigned tag = *(unsigned *)((char *)obj + type->tag_offset);

        if (tag < type->n_branches && type->branches[tag]) {
            return read_members(r, type->branches[tag], place, json, (char *)obj + type->u_offset,
                                found);
        }
    }
    return true;
}

static bool has_member(const struct qapi_type *type, const void *obj, const char *name)
{
    for (size_t i = 0; i < type->n_members; i++) {
        if (strcmp(type->members[i].name, name) == 0) {
            return true;
        }
    }
    if (type->kind == QAPI_UNION) {
        unsigned tag = *(const unsigned *)((const char *)obj + type->tag_offset);

        if (tag < type->n_branches && type->branches[tag]) {
            return has_member(type->branches[tag], (const char *)obj + type->u_offset, name);
        }
    }
    return false;
}

static bool read_object(struct reader *r, const struct qapi_type *type, const struct place *place,
                        struct json_object *json, void *obj)
{
    size_t found = 0;

    if (json && !json_object_is_type(json, json_type_object)) {
        return fail_type(r, place, "object");
    }
    if (!read_members(r, type, place, json, obj, &found)) {
        return false;
    }
    if (!json || found == (size_t)json_object_object_length(json)) {
        return true;
    }
    json_object_object_foreach(json, key, value)
    {
        struct place here = {place, key, 0};

        (void)value;
        if (!has_member(type, obj, key)) {
            return fail(r, &here, "Parameter", " is unexpected");
        }
    }
    return true;
}

static bool read_list(struct reader *r, const struct qapi_type *type, const struct place *place,
                      struct json_object *json, struct qapi_list *list)
{
    if (!json_object_is_type(json, json_type_array)) {
        return fail_type(r, place, "array");
    }
    for (size_t i = 0; i < json_object_array_length(json); i++) {
        struct place here = {place, NULL, i};

        if (!read_slot(r, type->element, &here, json_object_array_get_idx(json, i),
                       qapi_list_grow(type, list))) {
            return false;
        }
    }
    return true;
}

/*
 * Which branch a string selects in keyval mode, where everything is a string. The schema compiler
 * has made sure that no text fits two branches.
 */
static enum q_type keyval_q_type(const struct qapi_type *type, const char *text)
{
    const struct qapi_type *string = type->branches[Q_TYPE_QSTRING];
    bool yes, negative;
    uint64_t integer;
    double number;
    int value;

    if (string && (string->kind != QAPI_ENUM || qapi_enum_parse(string, text, &value))) {
        return Q_TYPE_QSTRING;
    }
    if (type->branches[Q_TYPE_QBOOL] && qapi_parse_bool(text, &yes)) {
        return Q_TYPE_QBOOL;
    }
    if (type->branches[Q_TYPE_QNUM] &&
        (qapi_parse_int(text, &negative, &integer) || qapi_parse_size(text, &integer) ||
         qapi_parse_number(text, &number))) {
        return Q_TYPE_QNUM;
    }
    return Q_TYPE_QSTRING;
}

static enum q_type json_q_type(struct reader *r, const struct qapi_type *type,
                               struct json_object *json)
{
    switch (json_object_get_type(json)) {
    case json_type_null:
        return Q_TYPE_QNULL;
    case json_type_boolean:
        return Q_TYPE_QBOOL;
    case json_type_double:
    case json_type_int:
        return Q_TYPE_QNUM;
    case json_type_object:
        return Q_TYPE_QDICT;
    case json_type_array:
        return Q_TYPE_QLIST;
    case json_type_string:
        break;
    }
    if (r->mode == QAPI_READ_KEYVAL) {
        return keyval_q_type(type, json_object_get_string(json));
    }
    return Q_TYPE_QSTRING;
}

static bool read_alternate(struct reader *r, const struct qapi_type *type,
                           const struct place *place, struct json_object *json, void *obj)
{
    enum q_type q_type = json_q_type(r, type, json);
    const struct qapi_type *branch = type->branches[q_type];

    if (!branch) {
        return fail_type(r, place, type->name);
    }
    *(unsigned *)obj = q_type;
    return read_slot(r, branch, place, json, (char *)obj + type->u_offset);
}

/* Allocates an object of a pointer type other than "any" and reads it. NULL on error. */
static void *read_new(struct reader *r, const struct qapi_type *type, const struct place *place,
                      struct json_object *json)
{
    const char *text;
    void *obj;
    bool ok;

    if (type->kind == QAPI_STR) {
        text = read_text(r, place, json);
        return g_strdup(text);
    }
    obj = g_malloc0(MAX(type->size, 1)); /* conditions may leave a struct without members */
    if (type->kind == QAPI_ARRAY) {
        ok = read_list(r, type, place, json, obj);
    } else if (type->kind == QAPI_ALTERNATE) {
        ok = read_alternate(r, type, place, json, obj);
    } else if (!json) {
        ok = fail_type(r, place, "object");
    } else {
        ok = read_object(r, type, place, json, obj);
    }
    if (!ok) {
        qapi_object_free(type, obj);
        return NULL;
    }
    return obj;
}

static bool read_slot(struct reader *r, const struct qapi_type *type, const struct place *place,
                      struct json_object *json, void *slot)
{
    switch (type->kind) {
    case QAPI_NUMBER:
        return read_number(r, place, json, slot);
    case QAPI_BOOL:
        return read_bool(r, place, json, slot);
    case QAPI_NULL:
        return json ? fail_type(r, place, "null") : true;
    case QAPI_ENUM:
        return read_enum(r, type, place, json, slot);
    case QAPI_ANY:
        *(struct json_object **)slot = json_object_get(json);
        return true;
    case QAPI_STR:
    case QAPI_STRUCT:
    case QAPI_UNION:
    case QAPI_ALTERNATE:
    case QAPI_ARRAY:
        *(void **)slot = read_new(r, type, place, json);
        return *(void **)slot != NULL;
    default:
        return read_int(r, type, place, json, slot);
    }
}

void *qapi_object_read(const struct qapi_type *type, enum qapi_read_mode mode,
                       struct json_object *json, GError **errp)
{
    struct reader r = {mode, errp};

    return read_new(&r, type, NULL, json);
}

bool qapi_members_read(const struct qapi_type *type, void *obj, struct json_object *json,
                       GError **errp)
{
    struct reader r = {QAPI_READ_JSON, errp};

    if (!read_object(&r, type, NULL, json, obj)) {
        qapi_object_clear(type, obj);
        return false;
    }
    return true;
}
