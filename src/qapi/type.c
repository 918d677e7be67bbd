/*
 * What can be done to an object with its type's description alone: free it, copy it, grow a list.
 */
#include "qapi/type.h"

#include <json-c/json.h>
#include <string.h>

#define BUILTIN(c_name, schema_name, kind_, c_type)                                                \
    const struct qapi_type qapi_##c_name##_type = {                                                \
        .name = schema_name,                                                                       \
        .kind = kind_,                                                                             \
        .size = sizeof(c_type),                                                                    \
    }

BUILTIN(str, "str", QAPI_STR, char *);
BUILTIN(number, "number", QAPI_NUMBER, double);
BUILTIN(int, "int", QAPI_INT64, int64_t);
BUILTIN(int8, "int8", QAPI_INT8, int8_t);
BUILTIN(int16, "int16", QAPI_INT16, int16_t);
BUILTIN(int32, "int32", QAPI_INT32, int32_t);
BUILTIN(int64, "int64", QAPI_INT64, int64_t);
BUILTIN(uint8, "uint8", QAPI_UINT8, uint8_t);
BUILTIN(uint16, "uint16", QAPI_UINT16, uint16_t);
BUILTIN(uint32, "uint32", QAPI_UINT32, uint32_t);
BUILTIN(uint64, "uint64", QAPI_UINT64, uint64_t);
BUILTIN(size, "size", QAPI_SIZE, uint64_t);
BUILTIN(bool, "bool", QAPI_BOOL, bool);
BUILTIN(null, "null", QAPI_NULL, bool);
BUILTIN(any, "any", QAPI_ANY, struct json_object *);

const struct qapi_type qapi_empty_type = {.name = "", .kind = QAPI_STRUCT};

static const char *const q_type_values[] = {
    [Q_TYPE_NONE] = "none",       [Q_TYPE_QNULL] = "qnull", [Q_TYPE_QNUM] = "qnum",
    [Q_TYPE_QSTRING] = "qstring", [Q_TYPE_QDICT] = "qdict", [Q_TYPE_QLIST] = "qlist",
    [Q_TYPE_QBOOL] = "qbool",
};

const struct qapi_type qapi_q_type_type = {
    .name = "QType",
    .kind = QAPI_ENUM,
    .size = sizeof(enum q_type),
    .values = q_type_values,
    .n_values = Q_TYPE__MAX,
};

size_t qapi_slot_size(const struct qapi_type *type)
{
    return qapi_type_is_pointer(type) ? sizeof(void *) : type->size;
}

/* The branch of union @type that @obj's tag selects, or NULL when it has no members. */
static const struct qapi_type *union_branch(const struct qapi_type *type, const void *obj)
{
    unsigned tag = *(const unsigned *)((const char *)obj + type->tag_offset);

    return tag < type->n_branches ? type->branches[tag] : NULL;
}

static void *alternate_slot(const struct qapi_type *type, const void *obj,
                            const struct qapi_type **branch)
{
    unsigned tag = *(const unsigned *)obj;

    *branch = tag < type->n_branches ? type->branches[tag] : NULL;
    return (char *)obj + type->u_offset;
}

void qapi_object_clear(const struct qapi_type *type, void *obj)
{
    for (size_t i = 0; i < type->n_members; i++) {
        const struct qapi_member *m = &type->members[i];

        if (qapi_type_is_pointer(m->type)) {
            qapi_object_free(m->type, *(void **)((char *)obj + m->offset));
        }
    }
    if (type->kind == QAPI_UNION) {
        const struct qapi_type *branch = union_branch(type, obj);

        if (branch) {
            qapi_object_clear(branch, (char *)obj + type->u_offset);
        }
    }
    if (type->size) {
        memset(obj, 0, type->size);
    }
}

static void list_free(const struct qapi_type *type, struct qapi_list *list)
{
    if (qapi_type_is_pointer(type->element)) {
        for (size_t i = 0; i < list->n; i++) {
            qapi_object_free(type->element, ((void **)list->v)[i]);
        }
    }
    g_free(list->v);
    g_free(list);
}

void qapi_object_free(const struct qapi_type *type, void *obj)
{
    const struct qapi_type *branch;
    void *slot;

    if (!obj) {
        return;
    }
    switch (type->kind) {
    case QAPI_ANY:
        json_object_put(obj);
        break;
    case QAPI_STRUCT:
    case QAPI_UNION:
        qapi_object_clear(type, obj);
        g_free(obj);
        break;
    case QAPI_ALTERNATE:
        slot = alternate_slot(type, obj, &branch);
        if (branch && qapi_type_is_pointer(branch)) {
            qapi_object_free(branch, *(void **)slot);
        }
        g_free(obj);
        break;
    case QAPI_ARRAY:
        list_free(type, obj);
        break;
    default:
        g_free(obj);
        break;
    }
}

/* Replaces the pointers in @obj, a byte copy of another object, by copies of what they point to. */
static void unshare_members(const struct qapi_type *type, void *obj)
{
    for (size_t i = 0; i < type->n_members; i++) {
        const struct qapi_member *m = &type->members[i];

        if (qapi_type_is_pointer(m->type)) {
            void **slot = (void **)((char *)obj + m->offset);

            *slot = qapi_object_clone(m->type, *slot);
        }
    }
    if (type->kind == QAPI_UNION) {
        const struct qapi_type *branch = union_branch(type, obj);

        if (branch) {
            unshare_members(branch, (char *)obj + type->u_offset);
        }
    }
}

static void *list_clone(const struct qapi_type *type, const struct qapi_list *list)
{
    size_t stride = qapi_slot_size(type->element);
    struct qapi_list *copy = g_new0(struct qapi_list, 1);

    copy->n = copy->cap = list->n;
    copy->v = list->n ? g_memdup2(list->v, list->n * stride) : NULL;
    if (qapi_type_is_pointer(type->element)) {
        for (size_t i = 0; i < copy->n; i++) {
            void **slot = (void **)copy->v + i;

            *slot = qapi_object_clone(type->element, *slot);
        }
    }
    return copy;
}

static void *any_clone(const void *obj)
{
    struct json_object *copy = NULL;

    /* A deep copy can only fail for want of memory; sharing is then still right for readers. */
    if (json_object_deep_copy((struct json_object *)obj, &copy, NULL) != 0) {
        return json_object_get((struct json_object *)obj);
    }
    return copy;
}

void *qapi_object_clone(const struct qapi_type *type, const void *obj)
{
    const struct qapi_type *branch;
    void *copy, *slot;

    if (!obj) {
        return NULL;
    }
    switch (type->kind) {
    case QAPI_STR:
        return g_strdup(obj);
    case QAPI_ANY:
        return any_clone(obj);
    case QAPI_ARRAY:
        return list_clone(type, obj);
    case QAPI_ALTERNATE:
        copy = g_memdup2(obj, type->size);
        slot = alternate_slot(type, copy, &branch);
        if (branch && qapi_type_is_pointer(branch)) {
            *(void **)slot = qapi_object_clone(branch, *(void **)slot);
        }
        return copy;
    default:
        copy = g_memdup2(obj, MAX(type->size, 1));
        unshare_members(type, copy);
        return copy;
    }
}

void *qapi_list_grow(const struct qapi_type *type, void *list)
{
    size_t stride = qapi_slot_size(type->element);
    struct qapi_list *l = list;
    void *slot;

    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 4;
        l->v = g_realloc_n(l->v, l->cap, stride);
    }
    slot = (char *)l->v + l->n++ * stride;
    memset(slot, 0, stride);
    return slot;
}

const char *qapi_enum_str(const struct qapi_type *type, int value)
{
    return value >= 0 && (size_t)value < type->n_values ? type->values[value] : NULL;
}

bool qapi_enum_parse(const struct qapi_type *type, const char *text, int *value)
{
    for (size_t i = 0; i < type->n_values; i++) {
        if (strcmp(type->values[i], text) == 0) {
            *value = (int)i;
            return true;
        }
    }
    return false;
}
