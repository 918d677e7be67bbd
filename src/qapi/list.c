/*
 * Descriptions of the arrays of built-in types.
 */
#include "qapi/list.h"

#define LIST(name_, schema_name)                                                                   \
    const struct qapi_type name_##_list_type = {                                                   \
        .name = schema_name "List",                                                                \
        .kind = QAPI_ARRAY,                                                                        \
        .size = sizeof(struct name_##_list),                                                       \
        .element = &qapi_##name_##_type,                                                           \
    }

LIST(str, "str");
LIST(number, "number");
LIST(int, "int");
LIST(int8, "int8");
LIST(int16, "int16");
LIST(int32, "int32");
LIST(int64, "int64");
LIST(uint8, "uint8");
LIST(uint16, "uint16");
LIST(uint32, "uint32");
LIST(uint64, "uint64");
LIST(size, "size");
LIST(bool, "bool");
LIST(null, "null");
LIST(any, "any");
LIST(q_type, "QType");
