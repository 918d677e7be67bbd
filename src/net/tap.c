/*
 * netdev tap: an interface of the host's kernel (Documentation/networking/tuntap.rst). With a
 * virtio-net header before each frame the kernel does what the guest leaves undone (checksums,
 * segmentation), and the other way round.
 *
 * With vhost each queue has a descriptor of /dev/vhost-net besides, for the card
 * (devices/virtio/vhost.h); while the kernel moves the frames nothing is read here.
 *
 * Left out: bridge helper.
 */
#include "net/net-priv.h"

#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TURN_FRAMES  64 /* read before others have their turn */
#define DEFAULT_UP   "/etc/qemu-ifup"
#define DEFAULT_DOWN "/etc/qemu-ifdown"
#define VHOST_NET    "/dev/vhost-net"
#define SHORT_HEADER ((int)sizeof(struct virtio_net_hdr_short))

/* VIRTIO 1.2, 5.1.6, without num_buffers: what a tap has unless told otherwise. */
struct virtio_net_hdr_short {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

struct tap_queue {
    struct tap *tap;
    unsigned index;
    int fd, vhost_fd; /* -1: none */
    bool attached, turned_away;
    bool vhost; /* the kernel moves the frames */
    GSource *in, *out;
};

struct tap {
    struct net_backend b; /* first */
    struct tap_queue queue[NET_MAX_QUEUES];
    bool vhost_forced;
    char name[IFNAMSIZ];
    char *down;            /* the script for the end, or NULL */
    bool flag_header;      /* frames have a header, wanted or not */
    unsigned header_bytes; /* that the card handles */
    uint8_t frame[NET_FRAME_BYTES];
};

/* ---- frames */

/* A header that the interface has and the card does not is dropped. */
static unsigned excess(const struct tap *t)
{
    return t->flag_header && t->header_bytes == 0 ? (unsigned)SHORT_HEADER : 0;
}

static bool tap_readable(int fd, GIOCondition condition, void *arg)
{
    struct tap_queue *q = arg;
    struct tap *t = q->tap;
    bool any = false;

    for (unsigned i = 0; i < TURN_FRAMES; i++) {
        ssize_t n;

        if (!net_can_deliver(&t->b, q->index)) {
            q->in = NULL; /* tap_accept() makes it anew */
            break;
        }
        n = read(fd, t->frame, sizeof(t->frame));
        if (n < 0 && errno != EAGAIN && errno != EINTR) { /* the interface is down or gone */
            q->in = NULL;
            break;
        }
        if (n <= (ssize_t)excess(t)) {
            break;
        }
        net_deliver(&t->b, q->index, t->frame + excess(t), (size_t)n - excess(t));
        any = true;
    }
    if (any) {
        net_delivered(&t->b, q->index);
    }
    return q->in != NULL;
}

static void tap_accept(struct net_backend *b, unsigned queue)
{
    struct tap_queue *q = &((struct tap *)b)->queue[queue];

    if (q->fd >= 0 && q->attached && !q->vhost && !q->in && net_can_deliver(b, queue)) {
        q->in = loop_watch_fd(net_backend_loop(b), q->fd, G_IO_IN, tap_readable, q);
    }
}

static bool tap_writable(int fd, GIOCondition condition, void *arg)
{
    struct tap_queue *q = arg;

    q->out = NULL;
    q->turned_away = false;
    net_writable(&q->tap->b, q->index);
    return false;
}

static bool tap_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    static const struct virtio_net_hdr_short header;
    struct tap *t = (struct tap *)b;
    struct tap_queue *q = &t->queue[queue];
    g_autofree struct iovec *with_header = NULL;

    if (q->turned_away) {
        return false;
    }
    if (excess(t)) {
        with_header = g_new(struct iovec, n + 1);
        with_header[0] = (struct iovec){.iov_base = (void *)&header, .iov_len = sizeof(header)};
        memcpy(with_header + 1, iov, n * sizeof(*iov));
        iov = with_header;
        n++;
    }
    if (writev(q->fd, iov, (int)MIN(n, (unsigned)IOV_MAX)) >= 0 ||
        (errno != EAGAIN && errno != ENOBUFS)) {
        return true; /* an interface that is down, or what it does not like: lost */
    }
    q->turned_away = true;
    q->out = loop_watch_fd(net_backend_loop(b), q->fd, G_IO_OUT, tap_writable, q);
    return false;
}

/* ---- what the card agrees with its guest */

static void tap_set_header(struct net_backend *b, unsigned bytes)
{
    struct tap *t = (struct tap *)b;
    int size = bytes ? (int)bytes : SHORT_HEADER;

    t->header_bytes = bytes;
    for (unsigned i = 0; i < b->queues; i++) {
        if (ioctl(t->queue[i].fd, TUNSETVNETHDRSZ, &size) < 0) {
            log_error("netdev %s: no header of %d bytes: %s", b->id, size, g_strerror(errno));
        }
    }
}

static void tap_set_offload(struct net_backend *b, const struct net_offload *o)
{
    struct tap *t = (struct tap *)b;
    unsigned long flags = 0;

    if (o->csum) {
        flags |= TUN_F_CSUM;
        flags |= o->tso4 ? TUN_F_TSO4 : 0;
        flags |= o->tso6 ? TUN_F_TSO6 : 0;
        flags |= (o->tso4 || o->tso6) && o->ecn ? TUN_F_TSO_ECN : 0;
        flags |= o->ufo ? TUN_F_UFO : 0;
    }
    if (ioctl(t->queue[0].fd, TUNSETOFFLOAD, flags) < 0) {
        flags &= ~(unsigned long)TUN_F_UFO;
        if (ioctl(t->queue[0].fd, TUNSETOFFLOAD, flags) < 0) {
            log_error("netdev %s: offload flags 0x%lx: %s", b->id, flags, g_strerror(errno));
        }
    }
}

/* A queue that the guest does not use is taken off the interface, or frames would get lost there.
 */
static void tap_set_queues(struct net_backend *b, unsigned queues)
{
    struct tap *t = (struct tap *)b;

    for (unsigned i = 0; i < b->queues && b->queues > 1; i++) {
        struct tap_queue *q = &t->queue[i];
        bool wanted = i < queues;
        struct ifreq request = {.ifr_flags = wanted ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

        if (q->attached == wanted) {
            continue;
        }
        if (ioctl(q->fd, TUNSETQUEUE, &request) < 0) {
            log_error("netdev %s: queue %u: %s", b->id, i, g_strerror(errno));
            continue;
        }
        q->attached = wanted;
        if (wanted) {
            tap_accept(b, i);
        } else {
            loop_unwatch(&q->in);
        }
    }
}

/* ---- life */

static bool run_script(const char *script, const char *name, GError **error)
{
    const char *argv[] = {script, name, NULL};
    g_autoptr(GError) why = NULL;
    int status;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, NULL, &status,
                      &why) ||
        !g_spawn_check_wait_status(status, &why)) {
        g_set_error(error, NET_ERROR, 0, "network script %s failed: %s", script, why->message);
        return false;
    }
    return true;
}

static bool is_script(const char *script)
{
    return *script && strcmp(script, "no") != 0;
}

/* Reads from a descriptor what it is; false: no tap. */
static bool examine(struct tap *t, int fd, bool *header, GError **error)
{
    struct ifreq request = {0};

    if (ioctl(fd, TUNGETIFF, &request) < 0 || !(request.ifr_flags & IFF_TAP)) {
        g_set_error(error, NET_ERROR, 0, "file descriptor %d is no tap interface", fd);
        return false;
    }
    memcpy(t->name, request.ifr_name, IFNAMSIZ);
    t->name[IFNAMSIZ - 1] = '\0';
    *header = (request.ifr_flags & IFF_VNET_HDR) != 0;
    return true;
}

static bool open_new(struct tap *t, const struct netdev_tap_options *o, unsigned queues,
                     GError **error)
{
    for (unsigned i = 0; i < queues; i++) {
        struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
        int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

        if (fd < 0) {
            g_set_error(error, NET_ERROR, 0, "could not open /dev/net/tun: %s", g_strerror(errno));
            return false;
        }
        t->queue[i].fd = fd;
        request.ifr_flags |= o->has_vnet_hdr && !o->vnet_hdr ? 0 : IFF_VNET_HDR;
        request.ifr_flags |= queues > 1 ? IFF_MULTI_QUEUE : 0;
        g_strlcpy(request.ifr_name, i ? t->name : o->ifname ? o->ifname : "tap%d", IFNAMSIZ);
        if (ioctl(fd, TUNSETIFF, &request) < 0) {
            g_set_error(error, NET_ERROR, 0, "could not configure /dev/net/tun (%s): %s",
                        request.ifr_name, g_strerror(errno));
            return false;
        }
        if (!examine(t, fd, &t->flag_header, error)) {
            return false;
        }
    }
    return true;
}

static bool open_given(struct tap *t, char *const *fds, unsigned queues, GError **error)
{
    for (unsigned i = 0; i < queues; i++) {
        bool header;
        int fd = net_take_fd(&t->b, fds[i], error);

        if (fd < 0) {
            return false;
        }
        t->queue[i].fd = fd;
        if (!examine(t, fd, &header, error)) {
            return false;
        }
        if (i && header != t->flag_header) {
            g_set_error(error, NET_ERROR, 0, "vnet_hdr not consistent across given tap fds");
            return false;
        }
        t->flag_header = header;
    }
    return true;
}

static bool check(const struct netdev_tap_options *o, GError **error)
{
    if ((o->fd || o->fds) && (o->ifname || o->script || o->downscript || o->has_vnet_hdr ||
                              o->has_queues || (o->fd && o->fds))) {
        g_set_error(error, NET_ERROR, 0,
                    "ifname=, script=, downscript=, vnet_hdr=, and queues= are invalid with %s=",
                    o->fd ? "fd" : "fds");
        return false;
    }
    if (o->has_queues && (o->queues < 1 || o->queues > NET_MAX_QUEUES)) {
        g_set_error(error, NET_ERROR, 0, "queues=%u: 1 to %u are possible", o->queues,
                    NET_MAX_QUEUES);
        return false;
    }
    if (o->ifname && (!*o->ifname || strlen(o->ifname) >= IFNAMSIZ)) {
        g_set_error(error, NET_ERROR, 0, "ifname '%s': 1 to %d characters are possible", o->ifname,
                    IFNAMSIZ - 1);
        return false;
    }
    return true;
}

/* ---- vhost-net */

static bool vhost_wanted(const struct netdev_tap_options *o)
{
    return o->has_vhost ? o->vhost
                        : o->vhostfd || o->vhostfds || (o->has_vhostforce && o->vhostforce);
}

static bool check_vhost(const struct netdev_tap_options *o, GError **error)
{
    if (!vhost_wanted(o) && (o->vhostfd || o->vhostfds)) {
        g_set_error(error, NET_ERROR, 0, "vhostfd(s)= is not valid without vhost");
        return false;
    }
    if (o->fds && o->vhostfd) {
        g_set_error(error, NET_ERROR, 0, "vhostfd= is invalid with fds=");
        return false;
    }
    if (o->vhostfds && !o->fds) {
        g_set_error(error, NET_ERROR, 0, "vhostfds= is invalid if fds= wasn't specified");
        return false;
    }
    return true;
}

static bool take_given_vhost(struct tap *t, const char *names, GError **error)
{
    g_auto(GStrv) fds = g_strsplit(names, ":", -1);

    if (g_strv_length(fds) != t->b.queues) {
        g_set_error(error, NET_ERROR, 0,
                    "The number of fds passed does not match the number of vhostfds passed");
        return false;
    }
    for (unsigned i = 0; i < t->b.queues; i++) {
        t->queue[i].vhost_fd = net_take_fd(&t->b, fds[i], error);
        if (t->queue[i].vhost_fd < 0) {
            return false;
        }
    }
    return true;
}

static bool open_new_vhost(struct tap *t, GError **error)
{
    for (unsigned i = 0; i < t->b.queues; i++) {
        t->queue[i].vhost_fd = open(VHOST_NET, O_RDWR | O_CLOEXEC);
        if (t->queue[i].vhost_fd < 0) {
            g_set_error(error, NET_ERROR, 0, "tap: vhost: " VHOST_NET ": %s%s", g_strerror(errno),
                        errno == ENOENT || errno == ENODEV ? ": load the module vhost_net" : "");
            return false;
        }
    }
    return true;
}

static void close_vhost(struct tap *t)
{
    for (unsigned i = 0; i < NET_MAX_QUEUES; i++) {
        if (t->queue[i].tap && t->queue[i].vhost_fd >= 0) {
            close(t->queue[i].vhost_fd);
            t->queue[i].vhost_fd = -1;
        }
    }
}

/* A host without vhost-net goes without, unless it must be. */
static bool take_vhost(struct tap *t, const struct netdev_tap_options *o, GError **error)
{
    const char *names = o->vhostfds ? o->vhostfds : o->vhostfd;
    g_autoptr(GError) why = NULL;

    t->vhost_forced = o->has_vhostforce && o->vhostforce;
    if (!vhost_wanted(o)) {
        return true;
    }
    if (names) {
        return take_given_vhost(t, names, error);
    }
    if (open_new_vhost(t, &why)) {
        return true;
    }
    close_vhost(t);
    if (t->vhost_forced) {
        g_propagate_error(error, g_steal_pointer(&why));
        return false;
    }
    log_warn("%s; godwit moves the frames itself", why->message);
    return true;
}

static bool tap_vhost(const struct net_backend *b, unsigned queue, struct net_vhost *vhost)
{
    const struct tap *t = (const struct tap *)b;
    const struct tap_queue *q = &t->queue[queue];

    *vhost =
        (struct net_vhost){.vhost_fd = q->vhost_fd, .tap_fd = q->fd, .forced = t->vhost_forced};
    return q->vhost_fd >= 0;
}

static void tap_set_vhost(struct net_backend *b, unsigned queue, bool on)
{
    struct tap_queue *q = &((struct tap *)b)->queue[queue];

    q->vhost = on;
    if (on) {
        loop_unwatch(&q->in);
    } else {
        tap_accept(b, queue);
    }
}

/* ---- opening */

static bool open_queues(struct tap *t, const struct netdev_tap_options *o, GError **error)
{
    g_auto(GStrv) fds = o->fds ? g_strsplit(o->fds, ":", -1) : NULL;
    unsigned n = fds ? g_strv_length(fds) : o->has_queues ? o->queues : 1;

    if (n < 1 || n > NET_MAX_QUEUES) {
        g_set_error(error, NET_ERROR, 0, "fds=%s: 1 to %u are possible", o->fds, NET_MAX_QUEUES);
        return false;
    }
    t->b.queues = n;
    if (o->fd || fds) {
        return open_given(t, fds ? fds : (char *const *)&o->fd, n, error);
    }
    return open_new(t, o, n, error);
}

static void describe(struct tap *t, const struct netdev_tap_options *o, const char *up)
{
    net_set_info(&t->b, o->fd || o->fds ? g_strdup_printf("fd=%d", t->queue[0].fd)
                                        : g_strdup_printf("ifname=%s,script=%s,downscript=%s",
                                                          t->name, up, t->down ? t->down : "no"));
}

static bool tap_open(struct net_backend *b, const struct netdev *options, GError **error)
{
    struct tap *t = (struct tap *)b;
    const struct netdev_tap_options *o = &options->u.tap;
    const char *up = o->script ? o->script : DEFAULT_UP;
    const char *down = o->downscript ? o->downscript : DEFAULT_DOWN;

    for (unsigned i = 0; i < NET_MAX_QUEUES; i++) {
        t->queue[i] =
            (struct tap_queue){.tap = t, .index = i, .fd = -1, .vhost_fd = -1, .attached = true};
    }
    if (!check(o, error) || !check_vhost(o, error) || !open_queues(t, o, error) ||
        !take_vhost(t, o, error)) {
        return false;
    }
    for (unsigned i = 0; i < b->queues && o->has_sndbuf; i++) {
        int bytes = (int)MIN(o->sndbuf, (uint64_t)INT_MAX);

        if (ioctl(t->queue[i].fd, TUNSETSNDBUF, &bytes) < 0) {
            g_set_error(error, NET_ERROR, 0, "TUNSETSNDBUF ioctl failed: %s", g_strerror(errno));
            return false;
        }
    }
    b->has_header = t->flag_header;
    if (!o->fd && !o->fds) {
        if (is_script(up) && !run_script(up, t->name, error)) {
            return false;
        }
        t->down = is_script(down) ? g_strdup(down) : NULL;
    }
    describe(t, o, up);
    if (b->has_header) {
        tap_set_header(b, 0);
        tap_set_offload(b, &(struct net_offload){0});
        b->has_ufo = ioctl(t->queue[0].fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_UFO) == 0;
        tap_set_offload(b, &(struct net_offload){0});
    }
    for (unsigned i = 0; i < b->queues; i++) {
        tap_accept(b, i);
    }
    return true;
}

static void tap_close(struct net_backend *b)
{
    struct tap *t = (struct tap *)b;
    g_autoptr(GError) why = NULL;

    if (t->down && !run_script(t->down, t->name, &why)) {
        log_warn("netdev %s: %s", b->id, why->message);
    }
    close_vhost(t);
    for (unsigned i = 0; i < b->queues; i++) {
        struct tap_queue *q = &t->queue[i];

        loop_unwatch(&q->in);
        loop_unwatch(&q->out);
        if (q->tap && q->fd >= 0) {
            close(q->fd);
        }
    }
    g_free(t->down);
}

const struct net_backend_ops net_tap_ops = {
    .type = NET_CLIENT_DRIVER_TAP,
    .size = sizeof(struct tap),
    .open = tap_open,
    .close = tap_close,
    .send = tap_send,
    .accept = tap_accept,
    .set_header = tap_set_header,
    .set_offload = tap_set_offload,
    .set_queues = tap_set_queues,
    .vhost = tap_vhost,
    .set_vhost = tap_set_vhost,
};
