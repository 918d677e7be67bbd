/* Commands of the schema module net. */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"

static int find_fd(void *opaque, const char *name)
{
    return session_take_fd(opaque, name, NULL);
}

bool qmp_netdev_add(struct qmp_call *call, const struct netdev *arg, GError **errp)
{
    struct net *net = call->machine->net;
    bool ok;

    net_set_fd_finder(net, find_fd, call->session); /* names are the session's */
    ok = net_backend_add(net, arg, errp);
    net_set_fd_finder(net, NULL, NULL);
    return ok;
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
