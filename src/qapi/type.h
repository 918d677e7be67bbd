/*
 * Descriptions of the schema's types, and what can be done to any object with nothing but its
 * description: free, copy, read from JSON, write as JSON.
 *
 * The schema compiler emits one `struct qapi_type` for each type and thin typed wrappers
 * (status_info_free() and so on) around the functions of this header. All the work is done here,
 * once, from data; generated code contains no logic to go wrong.
 *
 * A "slot" is where a value lives. The slot of a string, struct, union, alternate, array or "any"
 * is a pointer variable; that of every other type is the value itself.
 *
 * All functions may be called from any thread; objects have no locks of their own.
 */
#ifndef QAPI_TYPE_H
#define QAPI_TYPE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

enum qapi_kind {
    QAPI_INT8,
    QAPI_INT16,
    QAPI_INT32,
    QAPI_INT64, /* also "int" */
    QAPI_UINT8,
    QAPI_UINT16,
    QAPI_UINT32,
    QAPI_UINT64,
    QAPI_SIZE, /* uint64_t; key=value text may use K, M, G... */
    QAPI_NUMBER,
    QAPI_BOOL,
    QAPI_NULL, /* bool, without meaning */
    QAPI_ENUM,
    /* the slots of these are pointers */
    QAPI_STR,
    QAPI_ANY,
    QAPI_STRUCT,
    QAPI_UNION,
    QAPI_ALTERNATE,
    QAPI_ARRAY,
};

/* JSON types, as the schema language counts them: the built-in enumeration QType. */
enum q_type {
    Q_TYPE_NONE,
    Q_TYPE_QNULL,
    Q_TYPE_QNUM,
    Q_TYPE_QSTRING,
    Q_TYPE_QDICT,
    Q_TYPE_QLIST,
    Q_TYPE_QBOOL,
    Q_TYPE__MAX
};

struct qapi_member {
    const char *name; /* on the wire */
    const struct qapi_type *type;
    size_t offset;
    size_t has_offset; /* of the bool has_X; QAPI_NO_HAS if there is none */
    bool optional;
};

#define QAPI_NO_HAS SIZE_MAX

struct qapi_type {
    const char *name; /* in the schema */
    enum qapi_kind kind;
    size_t size; /* of the C type, for arrays of the list struct */

    /* struct, union: members, those of the base first. enum: unused */
    const struct qapi_member *members;
    size_t n_members;

    /* union: where the tag and the branches are; branches[tag] may be NULL: no members */
    size_t tag_offset;
    size_t u_offset;                         /* alternate too */
    const struct qapi_type *const *branches; /* alternate: by enum q_type, NULL: not accepted */
    size_t n_branches;

    /* enum */
    const char *const *values;
    size_t n_values;

    /* array */
    const struct qapi_type *element;
};

/* The layout that all list structs share. */
struct qapi_list {
    size_t n, cap;
    void *v;
};

/* Whether slots of @type are pointers. */
static inline bool qapi_type_is_pointer(const struct qapi_type *type)
{
    return type->kind >= QAPI_STR;
}

/* The size of a slot of @type in bytes. */
size_t qapi_slot_size(const struct qapi_type *type);

/* Frees what @obj of struct or union @type owns, not @obj itself, and zeroes it. */
void qapi_object_clear(const struct qapi_type *type, void *obj);

/* Frees an object of a pointer type, deeply. NULL is fine. */
void qapi_object_free(const struct qapi_type *type, void *obj);

/* A deep copy of an object of a pointer type; NULL gives NULL. */
void *qapi_object_clone(const struct qapi_type *type, const void *obj);

/* Makes room for one more element and returns its slot, zeroed. */
void *qapi_list_grow(const struct qapi_type *type, void *list);

/* The text of @value, or NULL if it is none of the enumeration's. */
const char *qapi_enum_str(const struct qapi_type *type, int value);

/* Finds @text among the values; on failure leaves *@value alone and returns false. */
bool qapi_enum_parse(const struct qapi_type *type, const char *text, int *value);

/* A struct without members: what a command without arguments takes. */
extern const struct qapi_type qapi_empty_type;

/* The built-in types. */
extern const struct qapi_type qapi_str_type, qapi_number_type, qapi_int_type, qapi_int8_type,
    qapi_int16_type, qapi_int32_type, qapi_int64_type, qapi_uint8_type, qapi_uint16_type,
    qapi_uint32_type, qapi_uint64_type, qapi_size_type, qapi_bool_type, qapi_null_type,
    qapi_any_type, qapi_q_type_type;

#endif
