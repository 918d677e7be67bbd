/*
 * Commands of the schema module introspect. The schema is text that was made when the program was
 * built.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"
#include "qapi-introspect.h"
#include "qapi/json.h"

bool qmp_query_qmp_schema(struct qmp_call *call, struct json_object *args, GString *ret,
                          GError **errp)
{
    if (!qapi_members_read(&qapi_empty_type, NULL, args, errp)) {
        return false;
    }
    g_string_append(ret, qmp_schema_json);
    return true;
}
