/*
 * Commands of the schema module char. Monitors are listed besides chardevs, as QEMU's are chardevs.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"

static void append_info(struct chardev_info_list *list, const char *label, const char *filename,
                        bool open)
{
    struct chardev_info *info = g_new0(struct chardev_info, 1);

    info->label = g_strdup(label);
    info->filename = g_strdup(filename);
    info->frontend_open = open;
    chardev_info_list_append(list, info);
}

static void append_endpoint(void *opaque, const char *label, const char *description)
{
    append_info(opaque, label, description, true);
}

struct chardev_info_list *qmp_query_chardev(struct qmp_call *call, GError **errp)
{
    struct chardev_info_list *list = chardev_info_list_new();
    GPtrArray *chardevs = call->machine->chardevs;

    for (guint i = 0; i < chardevs->len; i++) {
        const struct chardev *chr = chardevs->pdata[i];

        append_info(list, chr->id, chr->filename, chr->frontend_open);
    }
    monitor_foreach_endpoint(call->mon, append_endpoint, list);
    return list;
}
