/*
 * netdev hubport: a port of a hub inside the program. What comes in at one port goes out at all
 * others of the hub with that number; a port whose card has no room keeps some frames and then
 * loses them, so that no card can hold up another.
 *
 * Left out: a port that is connected to another back end (netdev=).
 */
#include "net/net-priv.h"

struct hub_port {
    struct net_backend b; /* first */
    int32_t hub;
};

static bool hub_open(struct net_backend *b, const struct netdev *options, GError **error)
{
    struct hub_port *port = (struct hub_port *)b;

    port->hub = options->u.hubport.hubid;
    net_set_info(b, g_strdup_printf("hubport: hubid=%d", port->hub));
    g_ptr_array_add(net_hub_ports(b), port);
    return true;
}

static void hub_close(struct net_backend *b)
{
    g_ptr_array_remove(net_hub_ports(b), b);
}

static bool hub_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    const GPtrArray *ports = net_hub_ports(b);
    size_t bytes = net_iov_bytes(iov, n);
    g_autofree uint8_t *frame = NULL;

    if (bytes > NET_FRAME_BYTES || ports->len == 1) {
        return true;
    }
    frame = g_malloc(bytes);
    net_iov_gather(iov, n, frame, bytes);
    for (guint i = 0; i < ports->len; i++) {
        struct hub_port *other = ports->pdata[i];

        if (&other->b != b && other->hub == ((struct hub_port *)b)->hub) {
            net_deliver(&other->b, 0, frame, bytes);
            net_delivered(&other->b, 0);
        }
    }
    return true;
}

const struct net_backend_ops net_hub_ops = {
    .type = NET_CLIENT_DRIVER_HUBPORT,
    .size = sizeof(struct hub_port),
    .open = hub_open,
    .close = hub_close,
    .send = hub_send,
};
