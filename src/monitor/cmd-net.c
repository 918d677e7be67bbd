/* Commands of the schema module net. */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"

bool qmp_netdev_add(struct qmp_call *call, const struct netdev *arg, GError **errp)
{
    return net_backend_add(call->machine->net, arg, errp);
}

bool qmp_netdev_del(struct qmp_call *call, const struct qmp_netdev_del_arg *arg, GError **errp)
{
    return net_backend_delete(call->machine->net, arg->id, errp);
}

bool qmp_set_link(struct qmp_call *call, const struct qmp_set_link_arg *arg, GError **errp)
{
    return net_set_link(call->machine->net, arg->name, arg->up, errp);
}

struct rx_filter_info_list *
qmp_query_rx_filter(struct qmp_call *call, const struct qmp_query_rx_filter_arg *arg, GError **errp)
{
    return net_query_rx_filter(call->machine->net, arg->name, errp);
}

bool qmp_announce_self(struct qmp_call *call, const struct announce_parameters *arg, GError **errp)
{
    return net_announce(call->machine->net, arg, errp);
}
