/*
 * Commands of the schema module journal.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"
#include "qapi-types.h"
#include "qapi/json.h"

/* Text by hand: the lines are there already, and there may be thousands. */
bool qmp_godwit_query_events(struct qmp_call *call, struct json_object *args, GString *ret,
                             GError **errp)
{
    struct monitor *mon = call->mon;
    struct godwit_events_since arg = {0};
    g_autoptr(GPtrArray) lines = NULL;
    int64_t since, first, next;

    if (!qapi_members_read(&godwit_events_since_type, &arg, args, errp)) {
        return false;
    }
    since = arg.has_since ? MAX(arg.since, 1) : 0;
    g_mutex_lock(&mon->mutex);
    lines = journal_since(mon->journal, since);
    first = journal_first(mon->journal);
    next = journal_next(mon->journal);
    g_mutex_unlock(&mon->mutex);

    g_string_append(ret, "{\"events\": [");
    for (guint i = 0; i < lines->len; i++) {
        const struct event_line *line = lines->pdata[i];

        g_string_append(ret, i ? ", " : "");
        g_string_append_len(ret, line->text, (gssize)line->length - 2);
    }
    g_string_append(ret, "]");
    if (since && since < first) {
        g_string_append_printf(
            ret, ", \"gone\": {\"first\": %" G_GINT64_FORMAT ", \"last\": %" G_GINT64_FORMAT "}",
            since, first - 1);
    }
    g_string_append_printf(ret, ", \"boot-id\": \"%s\", \"next\": %" G_GINT64_FORMAT "}",
                           journal_boot_id(mon->journal), next);
    return true;
}
