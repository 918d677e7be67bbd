/*
 * vhost-vsock: sockets between the guest and its host (AF_VSOCK; VIRTIO 1.2, section 5.10), which
 * the host's kernel serves: queues 0 (to the guest) and 1 are lent to /dev/vhost-vsock. Queue 2,
 * for events, is served here: after a migration or a snapshot the guest is told that its
 * connections are gone (5.10.6.7).
 */
#include "devices/virtio/vhost-vsock.h"

#include "devices/virtio/vhost.h"
#include "devices/virtio/virtio-pci.h"
#include <errno.h>
#include <linux/vhost.h>
#include <unistd.h>

#define PATH                  "/dev/vhost-vsock"
#define QUEUE_SIZE            128
#define QUEUE_EVENT           2
#define CID_FIRST             3 /* those below are the host's own */
#define CID_LAST              (UINT32_MAX - 1ull)

#define F_SEQPACKET           1
#define EVENT_TRANSPORT_RESET 0

struct vhost_vsock_state {
    struct virtio_pci_state proxy;
    bool reset_due; /* the guest is to be told, and has given no buffer yet */
    uint8_t pad[7];
};

static const struct state_field vhost_vsock_fields[] = {
    STATE_STRUCT(struct vhost_vsock_state, proxy, virtio_pci_state_fields),
    STATE(struct vhost_vsock_state, reset_due),
    STATE_PAD(struct vhost_vsock_state, pad),
    {0},
};

static const struct state_desc vhost_vsock_desc = {
    .name = "vhost-vsock",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct vhost_vsock_state),
    .fields = vhost_vsock_fields,
};

struct vhost_vsock {
    struct virtio_pci proxy; /* first */
    struct {
        uint64_t guest_cid;
        char *vhostfd;
        uint32_t seqpacket; /* enum on_off_auto */
    } cfg;
    struct vhost_vsock_state s;
    struct vhost *vhost;
};

static struct vhost_vsock *vsock_of(const struct virtio *v)
{
    return (struct vhost_vsock *)v->dev;
}

/* ---- the kernel's part */

static bool vsock_run(struct vhost *h, bool on, void *opaque, GError **error)
{
    int running = on, status = vhost_call(h, VHOST_VSOCK_SET_RUNNING, &running);

    if (status < 0) {
        g_set_error(error, DEVICE_ERROR, 0, PATH ": VHOST_VSOCK_SET_RUNNING: %s",
                    g_strerror(-status));
    }
    return status >= 0;
}

static void vsock_lend(struct virtio *v)
{
    struct vhost_vsock *d = vsock_of(v);
    g_autoptr(GError) why = NULL;

    if (d->vhost && virtio_may_lend(v) &&
        !vhost_start(d->vhost,
                     v->s->driver_features & vhost_features(d->vhost) &
                         (VHOST_CORE_FEATURES | VIRTIO_BIT(F_SEQPACKET)),
                     &why)) {
        virtio_break(v, "%s", why->message);
    }
}

static void vsock_recall(struct virtio *v)
{
    struct vhost_vsock *d = vsock_of(v);

    if (d->vhost) {
        vhost_stop(d->vhost);
    }
}

/* ---- events */

static void tell_reset(struct vhost_vsock *d)
{
    struct virtqueue *vq = &d->proxy.virtio.queue[QUEUE_EVENT];
    const uint32_t event = GUINT32_TO_LE(EVENT_TRANSPORT_RESET);
    struct virtqueue_element *e = d->s.reset_due ? virtqueue_pop(vq) : NULL;

    if (!e) {
        return;
    }
    if (e->in_bytes < sizeof(event)) {
        virtio_break(&d->proxy.virtio, "a buffer of %" G_GUINT64_FORMAT " bytes for an event",
                     e->in_bytes);
        virtqueue_drop(e);
        return;
    }
    iov_write(e->in, e->n_in, 0, &event, sizeof(event));
    virtqueue_push(vq, e, sizeof(event));
    virtqueue_notify(vq);
    d->s.reset_due = false;
}

/* ---- virtio */

static uint64_t vsock_features(struct virtio *v)
{
    const struct vhost_vsock *d = vsock_of(v);
    bool has = vhost_features(d->vhost) & VIRTIO_BIT(F_SEQPACKET);

    return has && d->cfg.seqpacket != ON_OFF_AUTO_OFF ? VIRTIO_BIT(F_SEQPACKET) : 0;
}

static void vsock_get_config(struct virtio *v, uint8_t *config)
{
    uint64_t cid = GUINT64_TO_LE(vsock_of(v)->cfg.guest_cid);

    memcpy(config, &cid, sizeof(cid));
}

static void vsock_queue(struct virtio *v, struct virtqueue *vq)
{
    if (vq->index == QUEUE_EVENT) {
        tell_reset(vsock_of(v));
    }
}

static const struct virtio_ops vsock_ops = {
    .name = "vhost-vsock",
    .id = 19,
    .config_bytes = 8,
    .features = vsock_features,
    .get_config = vsock_get_config,
    .queue = vsock_queue,
    .lend = vsock_lend,
    .recall = vsock_recall,
};

/* ---- the device */

static bool check_config(const struct vhost_vsock *d, GError **error)
{
    if (d->cfg.guest_cid < CID_FIRST) {
        g_set_error(error, DEVICE_ERROR, 0, "guest-cid property must be greater than 2");
        return false;
    }
    if (d->cfg.guest_cid > CID_LAST) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "guest-cid property must be a 32-bit number, and not the last of them");
        return false;
    }
    return true;
}

static bool open_vhost(struct vhost_vsock *d, GError **error)
{
    struct virtio *v = &d->proxy.virtio;
    int fd =
        d->cfg.vhostfd ? device_take_fd(v->dev, d->cfg.vhostfd, error) : vhost_open(PATH, error);
    int status;

    d->vhost = fd >= 0 ? vhost_new(v, fd, PATH, 0, 2, vsock_run, d, error) : NULL;
    if (!d->vhost) {
        return false;
    }
    status = vhost_call(d->vhost, VHOST_VSOCK_SET_GUEST_CID, &d->cfg.guest_cid);
    if (status < 0) {
        g_set_error(error, DEVICE_ERROR, 0, PATH ": guest-cid %" G_GUINT64_FORMAT ": %s",
                    d->cfg.guest_cid,
                    status == -EADDRINUSE ? "another guest has it" : g_strerror(-status));
        return false;
    }
    if (d->cfg.seqpacket == ON_OFF_AUTO_ON &&
        !(vhost_features(d->vhost) & VIRTIO_BIT(F_SEQPACKET))) {
        g_set_error(error, DEVICE_ERROR, 0, "seqpacket=on: the host's kernel does not have that");
        return false;
    }
    return true;
}

static bool vsock_realize(struct device *dev, GError **error)
{
    struct vhost_vsock *d = (struct vhost_vsock *)dev;
    struct virtio *v = &d->proxy.virtio;

    if (!check_config(d, error)) {
        g_prefix_error(error, "%s: ", dev->class->name);
        return false;
    }
    virtio_init(v, dev, &vsock_ops, &d->s.proxy.virtio, dev->env->loop);
    for (unsigned i = 0; i <= QUEUE_EVENT; i++) {
        virtio_add_queue(v, QUEUE_SIZE);
    }
    if (!open_vhost(d, error)) {
        g_prefix_error(error, "%s: ", dev->class->name);
        return false;
    }
    if (!virtio_pci_realize(&d->proxy, &d->s.proxy, 0x0780, error)) {
        return false;
    }
    v->offered = vhost_offer(d->vhost, v->offered, 0);
    return true;
}

static void vsock_unrealize(struct device *dev)
{
    struct vhost_vsock *d = (struct vhost_vsock *)dev;

    if (d->vhost) {
        vhost_stop(d->vhost);
        vhost_free(g_steal_pointer(&d->vhost));
    }
    virtio_pci_unrealize(dev);
}

static void vsock_reset(struct device *dev, enum reset_kind kind)
{
    virtio_pci_reset(dev, kind);
    ((struct vhost_vsock *)dev)->s.reset_due = false;
}

/* The guest was somewhere else before, or in another time: no connection is left. */
static bool vsock_post_load(struct device *dev, GError **error)
{
    struct vhost_vsock *d = (struct vhost_vsock *)dev;

    d->s.reset_due = true;
    return virtio_pci_post_load(dev, error);
}

#define VSOCK_PROPERTIES                                                                           \
    {"guest-cid", PROP_U64, offsetof(struct vhost_vsock, cfg.guest_cid),                           \
     .help = "the guest's address: 3 to 4294967294"},                                              \
        {"vhostfd", PROP_STRING, offsetof(struct vhost_vsock, cfg.vhostfd),                        \
         .help = "descriptor of " PATH " to use, or a client's name for it"},                      \
    {                                                                                              \
        "seqpacket", PROP_ENUM, offsetof(struct vhost_vsock, cfg.seqpacket),                       \
            .def = ON_OFF_AUTO_AUTO, .values = &on_off_auto_type,                                  \
            .help = "offer sockets of packets; auto: if the host's kernel has them"                \
    }

static const struct property vhost_vsock_props[] = {
    VSOCK_PROPERTIES,
    VIRTIO_PCI_PROPERTIES(struct vhost_vsock, UINT32_MAX),
    {NULL},
};

static const struct property vhost_vsock_props_mmio[] = {
    VSOCK_PROPERTIES,
    VIRTIO_PROPERTIES(struct vhost_vsock),
    {NULL},
};

#define VSOCK_CLASS                                                                                \
    .state = &vhost_vsock_desc, .size = sizeof(struct vhost_vsock),                                \
    .state_offset = offsetof(struct vhost_vsock, s), .realize = vsock_realize,                     \
    .unrealize = vsock_unrealize, .reset = vsock_reset, .pause = virtio_pci_pause,                 \
    .resume = virtio_pci_resume, .post_load = vsock_post_load

const struct device_class vhost_vsock_pci_class = {
    .name = "vhost-vsock-pci",
    .help = "sockets between guest and host (vhost-vsock)",
    .bus = BUS_PCI,
    .props = vhost_vsock_props,
    VSOCK_CLASS,
};

const struct device_class vhost_vsock_device_class = {
    .name = "vhost-vsock-device",
    .help = "sockets between guest and host (vhost-vsock), in a slot of the board",
    .bus = BUS_VIRTIO,
    .same_as = &vhost_vsock_pci_class,
    .props = vhost_vsock_props_mmio,
    VSOCK_CLASS,
};
