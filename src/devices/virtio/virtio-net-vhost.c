/*
 * vhost-net for virtio-net: the host's kernel moves frames between pairs of queues and a tap
 * interface (vhost.h; Linux drivers/vhost/net.c). Each pair in use has a device of the kernel's.
 *
 * While the driver is up, the machine runs and the link is up, the kernel has the queues, if it
 * takes them; else they are served by virtio-net.c, which loses what it may lose. The guest's
 * filter of addresses is not the kernel's: it gets all that comes to the tap.
 */
#include "base/log.h"
#include "devices/virtio/virtio-net-priv.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <unistd.h>

#define PATH         "/dev/vhost-net"
#define OWN_FEATURES VIRTIO_BIT(F_MRG_RXBUF)

static unsigned number_of(const struct net_pair *p)
{
    return (unsigned)(p - p->d->pair);
}

/* ---- the kernel's part */

static bool set_back_end(struct vhost *h, unsigned queue, int fd, GError **error)
{
    struct vhost_vring_file file = {.index = queue, .fd = fd};
    int status = vhost_call(h, VHOST_NET_SET_BACKEND, &file);

    if (status < 0) {
        g_set_error(error, DEVICE_ERROR, 0, PATH ": VHOST_NET_SET_BACKEND: %s",
                    g_strerror(-status));
    }
    return status >= 0;
}

static bool pair_run(struct vhost *h, bool on, void *opaque, GError **error)
{
    struct net_pair *p = opaque;
    struct net_vhost fds;

    if (on && net_card_vhost(&p->d->card, number_of(p), &fds)) {
        return set_back_end(h, 0, fds.tap_fd, error) && set_back_end(h, 1, fds.tap_fd, error);
    }
    set_back_end(h, 0, VHOST_FILE_UNBIND, NULL);
    set_back_end(h, 1, VHOST_FILE_UNBIND, NULL);
    return !on;
}

/* ---- lending; the network thread has the queues else */

static void hand_over(void *arg)
{
    struct net_pair *p = arg;

    virtio_net_give_back(p->d);
    net_set_vhost(&p->d->card, number_of(p), true);
}

static void take_over(void *arg)
{
    struct virtio_net *d = arg;

    for (unsigned i = 0; i < d->n_pairs; i++) {
        if (d->pair[i].vhost) {
            net_set_vhost(&d->card, i, false);
        }
    }
}

static uint64_t kernel_features(struct virtio_net *d, const struct vhost *h)
{
    uint64_t features = d->proxy.virtio.s->driver_features & vhost_features(h) &
                        (VHOST_CORE_FEATURES | OWN_FEATURES);

    return d->back_end_header ? features : features | VIRTIO_BIT(VHOST_NET_F_VIRTIO_NET_HDR);
}

void virtio_net_lend(struct virtio *v)
{
    struct virtio_net *d = (struct virtio_net *)v->dev;
    g_autoptr(GError) why = NULL;

    if (!d->pair[0].vhost || d->lent || !virtio_may_lend(v) || !net_is_connected(&d->card)) {
        return;
    }
    d->lent = true;
    for (unsigned i = 0; i < d->n_pairs && virtio_is_running(v); i++) {
        struct net_pair *p = &d->pair[i];

        if (p->vhost && p->rx->s->enabled && p->tx->s->enabled) {
            net_run(d->net, hand_over, p);
            if (!vhost_start(p->vhost, kernel_features(d, p->vhost), &why)) {
                break;
            }
        }
    }
    if (why) { /* the next start tries again */
        if (!d->vhost_warned) {
            log_warn("netdev vhost: %s; godwit moves the frames itself", why->message);
        }
        d->vhost_warned = true;
        virtio_net_recall(v);
    }
}

void virtio_net_recall(struct virtio *v)
{
    struct virtio_net *d = (struct virtio_net *)v->dev;

    if (!d->lent) {
        return;
    }
    d->lent = false;
    for (unsigned i = 0; i < d->n_pairs; i++) {
        if (d->pair[i].vhost) {
            vhost_stop(d->pair[i].vhost);
        }
    }
    net_run(d->net, take_over, d);
}

/* ---- life */

static bool open_pair(struct net_pair *p, const struct net_vhost *fds, GError **error)
{
    struct virtio *v = &p->d->proxy.virtio;
    int fd = fcntl(fds->vhost_fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0) {
        g_set_error(error, DEVICE_ERROR, 0, PATH ": %s", g_strerror(errno));
        return false;
    }
    p->vhost = vhost_new(v, fd, PATH, p->rx->index, 2, pair_run, p, error);
    return p->vhost != NULL;
}

bool virtio_net_vhost_open(struct virtio_net *d, GError **error)
{
    for (unsigned i = 0; i < d->n_pairs; i++) {
        g_autoptr(GError) why = NULL;
        struct net_vhost fds;

        if (!net_card_vhost(&d->card, i, &fds)) {
            return true;
        }
        if (open_pair(&d->pair[i], &fds, &why)) {
            continue;
        }
        virtio_net_vhost_close(d);
        if (fds.forced) {
            g_propagate_error(error, g_steal_pointer(&why));
            return false;
        }
        log_warn("netdev vhost: %s; godwit moves the frames itself", why->message);
        return true;
    }
    return true;
}

void virtio_net_vhost_close(struct virtio_net *d)
{
    if (d->lent) {
        virtio_net_recall(&d->proxy.virtio);
    }
    for (unsigned i = 0; i < d->n_pairs; i++) {
        vhost_free(g_steal_pointer(&d->pair[i].vhost));
    }
}

uint64_t virtio_net_vhost_offer(const struct virtio_net *d, uint64_t features)
{
    const struct vhost *h = d->pair[0].vhost;

    return h ? vhost_offer(h, features, OWN_FEATURES) : features;
}
