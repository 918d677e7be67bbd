/*
 * Commands of the schema module black-box.
 */
#include "monitor/monitor-priv.h"

#include "machine/blackbox.h"
#include "qapi-commands.h"

struct godwit_black_boxes *qmp_godwit_query_black_box(struct qmp_call *call, GError **errp)
{
    return blackbox_query(call->machine->blackbox);
}
