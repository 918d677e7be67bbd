/*
 * Commands of the schema module yank.
 */
#include "monitor/monitor-priv.h"

#include "base/yank.h"
#include "qapi-commands.h"
#include "qapi/error.h"

static const enum yank_kind kinds[] = {
    [YANK_INSTANCE_TYPE_BLOCK_NODE] = YANK_BLOCK_NODE,
    [YANK_INSTANCE_TYPE_CHARDEV] = YANK_CHARDEV,
    [YANK_INSTANCE_TYPE_MIGRATION] = YANK_MIGRATION,
};

static const char *id_of(const struct yank_instance *instance)
{
    switch (instance->type) {
    case YANK_INSTANCE_TYPE_BLOCK_NODE:
        return instance->u.block_node.node_name;
    case YANK_INSTANCE_TYPE_CHARDEV:
        return instance->u.chardev.id;
    default:
        return NULL;
    }
}

bool qmp_yank(struct qmp_call *call, const struct qmp_yank_arg *arg, GError **errp)
{
    for (size_t i = 0; i < arg->instances->n; i++) {
        const struct yank_instance *instance = arg->instances->v[i];

        if (!yank_exists(kinds[instance->type], id_of(instance))) {
            g_set_error(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "Instance not found");
            return false;
        }
    }
    for (size_t i = 0; i < arg->instances->n; i++) {
        const struct yank_instance *instance = arg->instances->v[i];

        yank_break(kinds[instance->type], id_of(instance));
    }
    return true;
}

static void list_instance(void *opaque, enum yank_kind kind, const char *id)
{
    struct yank_instance *instance = g_new0(struct yank_instance, 1);

    switch (kind) {
    case YANK_BLOCK_NODE:
        instance->type = YANK_INSTANCE_TYPE_BLOCK_NODE;
        instance->u.block_node.node_name = g_strdup(id);
        break;
    case YANK_CHARDEV:
        instance->type = YANK_INSTANCE_TYPE_CHARDEV;
        instance->u.chardev.id = g_strdup(id);
        break;
    case YANK_MIGRATION:
        instance->type = YANK_INSTANCE_TYPE_MIGRATION;
        break;
    }
    yank_instance_list_append(opaque, instance);
}

struct yank_instance_list *qmp_query_yank(struct qmp_call *call, GError **errp)
{
    struct yank_instance_list *list = yank_instance_list_new();

    yank_foreach(list_instance, list);
    return list;
}
