/*
 * Arrays of the built-in types: struct str_list for ['str'] and so on, with the functions that the
 * schema compiler generates for every other array. See docs/schema-compiler.md.
 */
#ifndef QAPI_LIST_H
#define QAPI_LIST_H

#include "qapi/type.h"

#define QAPI_BUILTIN_LIST(name, c_type)                                                            \
    struct name##_list {                                                                           \
        size_t n, cap;                                                                             \
        c_type *v;                                                                                 \
    };                                                                                             \
    extern const struct qapi_type name##_list_type;                                                \
    static inline struct name##_list *name##_list_new(void)                                        \
    {                                                                                              \
        return g_new0(struct name##_list, 1);                                                      \
    }                                                                                              \
    static inline void name##_list_append(struct name##_list *list, c_type element)                \
    {                                                                                              \
        *(c_type *)qapi_list_grow(&name##_list_type, list) = element;                              \
    }                                                                                              \
    static inline void name##_list_free(struct name##_list *list)                                  \
    {                                                                                              \
        qapi_object_free(&name##_list_type, list);                                                 \
    }                                                                                              \
    static inline struct name##_list *name##_list_clone(const struct name##_list *list)            \
    {                                                                                              \
        return qapi_object_clone(&name##_list_type, list);                                         \
    }

QAPI_BUILTIN_LIST(str, char *)
QAPI_BUILTIN_LIST(number, double)
QAPI_BUILTIN_LIST(int, int64_t)
QAPI_BUILTIN_LIST(int8, int8_t)
QAPI_BUILTIN_LIST(int16, int16_t)
QAPI_BUILTIN_LIST(int32, int32_t)
QAPI_BUILTIN_LIST(int64, int64_t)
QAPI_BUILTIN_LIST(uint8, uint8_t)
QAPI_BUILTIN_LIST(uint16, uint16_t)
QAPI_BUILTIN_LIST(uint32, uint32_t)
QAPI_BUILTIN_LIST(uint64, uint64_t)
QAPI_BUILTIN_LIST(size, uint64_t)
QAPI_BUILTIN_LIST(bool, bool)
QAPI_BUILTIN_LIST(null, bool)
QAPI_BUILTIN_LIST(any, struct json_object *)
QAPI_BUILTIN_LIST(q_type, enum q_type)

#endif
