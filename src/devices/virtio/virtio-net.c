/*
 * virtio-net: a network card (VIRTIO 1.2, section 5.1).
 *
 * Queue pairs 0, 1, ... (receive, send), then the control queue, which a driver without F_MQ finds
 * right after the first pair. Frames travel on the network thread, without the machine lock; the
 * control queue (virtio-net-ctrl.c) is served there too. Checksums and segmentation are offered as
 * far as the back end can do them.
 *
 * Where the back end has vhost-net the host's kernel moves the frames while it can
 * (virtio-net-vhost.c).
 *
 * Left out: RSS and hash reports, coalescing, standby devices, timers before sending (tx=timer).
 */
#include "devices/virtio/virtio-net.h"

#include "base/log.h"
#include "devices/virtio/virtio-net-priv.h"
#include "qapi-events.h"
#include <stdio.h>
#include <string.h>

#define CONTROL_SIZE   64
#define SHORT_HEADER   10 /* without num_buffers */
#define LONG_HEADER    12
#define NUM_BUFFERS_AT 10
#define TURN_FRAMES    256 /* sent before others have their turn */

#define CONFIG_STATUS  6
#define CONFIG_PAIRS   8
#define CONFIG_MTU     10
#define CONFIG_SPEED   12
#define CONFIG_DUPLEX  16
#define CONFIG_BYTES   17
#define SPEED_UNKNOWN  UINT32_MAX
#define DUPLEX_UNKNOWN 0xff

static const struct state_field virtio_net_fields[] = {
    STATE_STRUCT(struct virtio_net_state, proxy, virtio_pci_state_fields),
    STATE(struct virtio_net_state, offloads),
    STATE_ARRAY(struct virtio_net_state, vlan),
    STATE(struct virtio_net_state, pairs),
    STATE_MAX(struct virtio_net_state, in_use, MAC_TABLE_SIZE),
    STATE_MAX(struct virtio_net_state, first_multi, MAC_TABLE_SIZE),
    STATE_ARRAY(struct virtio_net_state, table),
    STATE_ARRAY(struct virtio_net_state, mac),
    STATE(struct virtio_net_state, promisc),
    STATE(struct virtio_net_state, allmulti),
    STATE(struct virtio_net_state, alluni),
    STATE(struct virtio_net_state, nomulti),
    STATE(struct virtio_net_state, nouni),
    STATE(struct virtio_net_state, nobcast),
    STATE(struct virtio_net_state, multi_overflow),
    STATE(struct virtio_net_state, uni_overflow),
    STATE(struct virtio_net_state, announce),
    STATE_PAD(struct virtio_net_state, pad),
    {0},
};

static const struct state_desc virtio_net_desc = {
    .name = "virtio-net",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct virtio_net_state),
    .fields = virtio_net_fields,
};

static struct virtio *virtio_of(struct virtio_net *d)
{
    return &d->proxy.virtio;
}

/* ---- from the back end to the guest */

static bool net_can_receive(void *opaque, unsigned queue)
{
    struct virtio_net *d = opaque;
    struct virtqueue *rx = d->pair[MIN(queue, d->n_pairs - 1)].rx;
    bool room;

    if (!d->ready || virtio_of(d)->paused) {
        return false;
    }
    if (queue >= d->s.pairs) {
        return true; /* a queue that the guest does not use: frames there are lost */
    }
    virtio_enter(virtio_of(d));
    room = virtqueue_has_more(rx);
    if (!room) { /* the guest rings when it has given buffers; it may just have */
        virtqueue_set_doorbell(rx, true);
        room = virtqueue_has_more(rx);
    }
    virtio_leave(virtio_of(d));
    return room;
}

struct filling {
    struct virtqueue_element *element[VIRTIO_QUEUE_MAX_SIZE];
    uint64_t written[VIRTIO_QUEUE_MAX_SIZE];
    unsigned n;
    size_t room;
};

static void unpop_all(struct virtqueue *rx, struct filling *f)
{
    while (f->n) {
        virtqueue_unpop(rx, f->element[--f->n]);
    }
}

/* Buffers for that many bytes: several where the driver can merge them. */
static bool take_buffers(struct virtio_net *d, struct virtqueue *rx, size_t bytes,
                         struct filling *f)
{
    f->n = 0;
    f->room = 0;
    while (f->room < bytes && f->n < (d->mergeable ? VIRTIO_QUEUE_MAX_SIZE : 1)) {
        struct virtqueue_element *e = virtqueue_pop(rx);

        if (!e) { /* the guest rings for what it adds behind the last one that there is */
            virtqueue_set_doorbell(rx, true);
            if (virtqueue_has_more(rx)) {
                continue;
            }
            return false;
        }
        f->element[f->n++] = e;
        f->room += e->in_bytes;
        if (e->in_bytes < d->header_bytes) {
            virtio_break(virtio_of(d), "a receive buffer of %u bytes has no room for the header",
                         (unsigned)e->in_bytes);
            return false;
        }
    }
    return true;
}

static void fill_buffers(struct virtio_net *d, struct filling *f, const uint8_t *header,
                         const uint8_t *frame, size_t bytes)
{
    size_t done = 0, at = d->header_bytes;

    iov_write(f->element[0]->in, f->element[0]->n_in, 0, header, d->header_bytes);
    for (unsigned i = 0; i < f->n; i++) {
        struct virtqueue_element *e = f->element[i];
        size_t n = iov_write(e->in, e->n_in, at, frame + done, bytes - done);

        done += n;
        f->written[i] = at + n;
        at = 0;
    }
}

/* The frame with the back end's header, if it has one, into the guest. false: no buffers. */
static bool receive_into(struct virtio_net *d, struct virtqueue *rx, const uint8_t *frame,
                         size_t bytes)
{
    uint8_t header[LONG_HEADER] = {0};
    struct filling f;
    uint16_t n;

    if (d->back_end_header) {
        if (bytes < d->header_bytes) {
            return true;
        }
        memcpy(header, frame, d->header_bytes);
        frame += d->header_bytes;
        bytes -= d->header_bytes;
    }
    if (!virtio_net_filter(d, frame, bytes)) {
        return true;
    }
    if (!take_buffers(d, rx, d->header_bytes + bytes, &f)) {
        unpop_all(rx, &f);
        return false;
    }
    if (f.room < d->header_bytes + bytes) { /* too long for this driver's buffers */
        unpop_all(rx, &f);
        return true;
    }
    n = GUINT16_TO_LE((uint16_t)f.n);
    memcpy(header + NUM_BUFFERS_AT, &n, sizeof(n));
    fill_buffers(d, &f, header, frame, bytes);
    virtqueue_push_all(rx, f.element, f.written, f.n);
    return true;
}

static bool net_receive(void *opaque, unsigned queue, const uint8_t *frame, size_t bytes)
{
    struct virtio_net *d = opaque;
    bool taken;

    if (queue >= d->s.pairs) {
        return true;
    }
    virtio_enter(virtio_of(d));
    taken = receive_into(d, d->pair[queue].rx, frame, bytes);
    virtio_leave(virtio_of(d));
    return taken;
}

static void net_received(void *opaque, unsigned queue)
{
    struct virtio_net *d = opaque;

    if (queue < d->s.pairs && d->ready) {
        virtio_enter(virtio_of(d));
        virtqueue_notify(d->pair[queue].rx);
        virtio_leave(virtio_of(d));
    }
}

/* ---- from the guest to the back end */

/* The pieces after the first `skip` bytes; returns how many. */
static unsigned iov_skip(const struct iovec *iov, unsigned n, size_t skip, struct iovec *out)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        out[kept].iov_base = (uint8_t *)iov[i].iov_base + skip;
        out[kept++].iov_len = iov[i].iov_len - skip;
        skip = 0;
    }
    return kept;
}

/* false: the back end takes it later. */
static bool send_element(struct net_pair *p, const struct virtqueue_element *e)
{
    struct virtio_net *d = p->d;
    struct iovec iov[VIRTIO_MAX_PIECES];
    unsigned queue = (unsigned)(p - d->pair), n;

    if (e->out_bytes > NET_FRAME_BYTES) {
        log_guest("virtio-net: a frame of %" G_GUINT64_FORMAT " bytes is not sent", e->out_bytes);
        return true;
    }
    if (d->back_end_header) {
        return net_send(&d->card, queue, e->out, e->n_out);
    }
    n = iov_skip(e->out, e->n_out, d->header_bytes, iov);
    return n == 0 || net_send(&d->card, queue, iov, n);
}

static void send_all(struct net_pair *p)
{
    struct virtio_net *d = p->d;
    unsigned sent = 0;
    bool stuck = false;

    if (!d->ready || virtio_of(d)->paused) {
        return;
    }
    do {
        virtqueue_set_doorbell(p->tx, false);
        while (!stuck && sent < TURN_FRAMES && (p->held || (p->held = virtqueue_pop(p->tx)))) {
            if (p->held->out_bytes < d->header_bytes) {
                virtio_break(virtio_of(d), "a frame of %u bytes without a header",
                             (unsigned)p->held->out_bytes);
                return;
            }
            stuck = !send_element(p, p->held);
            if (!stuck) {
                virtqueue_push(p->tx, g_steal_pointer(&p->held), 0);
                sent++;
            }
        }
        if (sent == TURN_FRAMES) {
            virtqueue_ring(p->tx);
            break;
        }
        if (!stuck) {
            virtqueue_set_doorbell(p->tx, true);
        }
    } while (!stuck && virtqueue_has_more(p->tx));
    if (sent) {
        virtqueue_notify(p->tx);
    }
}

static void net_can_send(void *opaque, unsigned queue)
{
    struct virtio_net *d = opaque;

    if (queue < d->n_pairs) {
        virtio_enter(virtio_of(d));
        send_all(&d->pair[queue]);
        virtio_leave(virtio_of(d));
    }
}

static bool is_control(struct virtio_net *d, const struct virtqueue *vq)
{
    return vq->index == (virtio_has(virtio_of(d), F_MQ) ? 2 * d->n_pairs : 2);
}

static void net_queue(struct virtio *v, struct virtqueue *vq)
{
    struct virtio_net *d = (struct virtio_net *)v->dev;
    unsigned pair = vq->index / 2;

    if (!d->ready) {
        return;
    }
    if (is_control(d, vq)) {
        if (virtio_has(v, F_CTRL_VQ)) {
            virtio_net_ctrl(d, vq);
        }
    } else if (pair < d->n_pairs && vq->index & 1) {
        send_all(&d->pair[pair]);
    } else if (pair < d->n_pairs) {
        net_room(&d->card, pair);
    }
}

/* ---- what the two agree on; network thread */

void virtio_net_apply_offloads(struct virtio_net *d)
{
    uint64_t on = d->s.offloads;
    struct net_offload offload = {
        .csum = on & VIRTIO_BIT(F_GUEST_CSUM),
        .tso4 = on & VIRTIO_BIT(F_GUEST_TSO4),
        .tso6 = on & VIRTIO_BIT(F_GUEST_TSO6),
        .ecn = on & VIRTIO_BIT(F_GUEST_ECN),
        .ufo = on & VIRTIO_BIT(F_GUEST_UFO),
    };

    net_set_offload(&d->card, &offload);
}

void virtio_net_set_pairs(struct virtio_net *d, unsigned pairs)
{
    d->s.pairs = (uint16_t)pairs;
    net_set_queues(&d->card, pairs);
    for (unsigned i = 0; i < pairs; i++) {
        virtqueue_ring(d->pair[i].rx);
    }
}

void virtio_net_set_mac(struct virtio_net *d, const uint8_t mac[MAC_BYTES])
{
    memcpy(d->s.mac, mac, MAC_BYTES);
    net_card_set_mac(&d->card, mac);
}

/* The driver has chosen its features: frames flow from now on. */
static void begin(void *arg)
{
    struct virtio_net *d = arg;
    struct virtio *v = virtio_of(d);

    d->mergeable = virtio_has(v, F_MRG_RXBUF);
    d->header_bytes =
        d->mergeable || virtio_has(v, VIRTIO_F_VERSION_1) ? LONG_HEADER : SHORT_HEADER;
    d->back_end_header = net_card_has_header(&d->card);
    net_set_header(&d->card, d->header_bytes);
    virtio_net_apply_offloads(d);
    net_set_queues(&d->card, d->s.pairs);
    d->ready = true;
    for (unsigned i = 0; i < d->n_pairs; i++) {
        virtqueue_ring(d->pair[i].rx);
        virtqueue_ring(d->pair[i].tx);
    }
}

static uint64_t guest_offloads(const struct virtio_net *d)
{
    return d->proxy.virtio.s->driver_features &
           (VIRTIO_BIT(F_GUEST_CSUM) | VIRTIO_BIT(F_GUEST_TSO4) | VIRTIO_BIT(F_GUEST_TSO6) |
            VIRTIO_BIT(F_GUEST_ECN) | VIRTIO_BIT(F_GUEST_UFO));
}

static void net_started(struct virtio *v)
{
    struct virtio_net *d = (struct virtio_net *)v->dev;

    d->s.offloads = guest_offloads(d);
    net_run(d->net, begin, d);
}

static void end(void *arg)
{
    struct virtio_net *d = arg;

    d->ready = false;
    for (unsigned i = 0; i < d->n_pairs; i++) {
        virtqueue_drop(g_steal_pointer(&d->pair[i].held));
    }
    virtio_net_filter_reset(d);
    virtio_net_set_mac(d, d->mac);
    d->s.offloads = 0;
    d->s.pairs = 1;
    d->s.announce = false;
    net_set_header(&d->card, 0);
    virtio_net_apply_offloads(d);
    net_set_queues(&d->card, 1);
}

static void net_reset_requests(struct virtio *v)
{
    struct virtio_net *d = (struct virtio_net *)v->dev;

    net_run(d->net, end, d);
}

void virtio_net_give_back(struct virtio_net *d)
{
    for (unsigned i = 0; i < d->n_pairs; i++) {
        if (d->pair[i].held) {
            virtqueue_unpop(d->pair[i].tx, g_steal_pointer(&d->pair[i].held));
        }
    }
}

static void give_back(void *arg)
{
    virtio_net_give_back(arg);
}

/* ---- registers; machine lock held */

static uint64_t offload_features(const struct virtio_net *d)
{
    const struct {
        bool on;
        unsigned bit;
    } feature[] = {
        {d->cfg.csum, F_CSUM},
        {d->cfg.guest_csum, F_GUEST_CSUM},
        {d->cfg.gso && d->cfg.csum, F_GSO},
        {d->cfg.guest_csum && d->cfg.guest_tso4, F_GUEST_TSO4},
        {d->cfg.guest_csum && d->cfg.guest_tso6, F_GUEST_TSO6},
        {d->cfg.guest_csum && d->cfg.guest_ecn && (d->cfg.guest_tso4 || d->cfg.guest_tso6),
         F_GUEST_ECN},
        {d->cfg.guest_csum && d->cfg.guest_ufo && net_card_has_ufo(&d->card), F_GUEST_UFO},
        {d->cfg.csum && d->cfg.host_tso4, F_HOST_TSO4},
        {d->cfg.csum && d->cfg.host_tso6, F_HOST_TSO6},
        {d->cfg.csum && d->cfg.host_ecn && (d->cfg.host_tso4 || d->cfg.host_tso6), F_HOST_ECN},
        {d->cfg.csum && d->cfg.host_ufo && net_card_has_ufo(&d->card), F_HOST_UFO},
        {d->cfg.ctrl_vq && d->cfg.ctrl_guest_offloads, F_CTRL_GUEST_OFFLOADS},
    };
    uint64_t bits = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(feature) && net_card_has_header(&d->card); i++) {
        bits |= feature[i].on ? VIRTIO_BIT(feature[i].bit) : 0;
    }
    return bits;
}

static uint64_t net_features(struct virtio *v)
{
    const struct virtio_net *d = (const struct virtio_net *)v->dev;
    const struct {
        bool on;
        unsigned bit;
    } feature[] = {
        {true, F_MAC},
        {d->cfg.mrg_rxbuf, F_MRG_RXBUF},
        {d->cfg.status, F_STATUS},
        {d->cfg.ctrl_vq, F_CTRL_VQ},
        {d->cfg.ctrl_vq && d->cfg.ctrl_rx, F_CTRL_RX},
        {d->cfg.ctrl_vq && d->cfg.ctrl_vlan, F_CTRL_VLAN},
        {d->cfg.ctrl_vq && d->cfg.ctrl_rx_extra, F_CTRL_RX_EXTRA},
        {d->cfg.ctrl_vq && d->cfg.ctrl_mac_addr, F_CTRL_MAC_ADDR},
        {d->cfg.ctrl_vq && d->cfg.status && d->cfg.guest_announce, F_GUEST_ANNOUNCE},
        {d->cfg.ctrl_vq && d->n_pairs > 1, F_MQ},
        {d->cfg.host_mtu != 0, F_MTU},
        {d->cfg.speed != SPEED_UNKNOWN || d->cfg.duplex, F_SPEED_DUPLEX},
    };
    uint64_t bits = offload_features(d);

    for (unsigned i = 0; i < G_N_ELEMENTS(feature); i++) {
        bits |= feature[i].on ? VIRTIO_BIT(feature[i].bit) : 0;
    }
    return virtio_net_vhost_offer(d, bits);
}

static void net_get_config(struct virtio *v, uint8_t *config)
{
    const struct virtio_net *d = (const struct virtio_net *)v->dev;
    bool announce = __atomic_load_n(&d->s.announce, __ATOMIC_ACQUIRE);
    uint16_t status =
        (uint16_t)((net_link_is_up(&d->card) ? S_LINK_UP : 0) | (announce ? S_ANNOUNCE : 0));
    uint16_t pairs = GUINT16_TO_LE((uint16_t)d->n_pairs), mtu = GUINT16_TO_LE(d->cfg.host_mtu);
    uint32_t speed = GUINT32_TO_LE(d->cfg.speed);

    net_card_mac(&d->card, config);
    status = GUINT16_TO_LE(status);
    memcpy(config + CONFIG_STATUS, &status, 2);
    memcpy(config + CONFIG_PAIRS, &pairs, 2);
    memcpy(config + CONFIG_MTU, &mtu, 2);
    memcpy(config + CONFIG_SPEED, &speed, 4);
    config[CONFIG_DUPLEX] = d->cfg.duplex ? d->full_duplex : DUPLEX_UNKNOWN;
}

struct new_mac {
    struct virtio_net *d;
    const uint8_t *mac;
};

static void new_mac(void *arg)
{
    struct new_mac *n = arg;

    virtio_net_set_mac(n->d, n->mac);
}

/* 5.1.4: drivers from before the control queue write the address here. */
static void net_set_config(struct virtio *v, const uint8_t *config)
{
    struct virtio_net *d = (struct virtio_net *)v->dev;

    if (v->s->legacy && !virtio_has(v, F_CTRL_MAC_ADDR)) {
        net_run(d->net, new_mac, &(struct new_mac){d, config});
    }
}

static const struct virtio_ops net_ops = {
    .name = "virtio-net",
    .id = 1,
    .config_bytes = CONFIG_BYTES,
    .features = net_features,
    .get_config = net_get_config,
    .set_config = net_set_config,
    .started = net_started,
    .queue = net_queue,
    .reset = net_reset_requests,
    .lend = virtio_net_lend,
    .recall = virtio_net_recall,
};

/* ---- the card, as clients see it; machine lock held */

static void net_link_changed(void *opaque)
{
    struct virtio_net *d = opaque;

    virtio_net_recall(virtio_of(d)); /* without a link frames are lost, and not by the kernel */
    virtio_net_lend(virtio_of(d));
    virtio_config_changed(virtio_of(d));
    for (unsigned i = 0; i < d->n_pairs; i++) { /* what waits goes its way, or gets lost */
        virtqueue_ring(d->pair[i].rx);
        virtqueue_ring(d->pair[i].tx);
    }
}

/* 5.1.6.5.4: the guest sends gratuitous packets and acknowledges. */
static void net_ask_to_announce(void *opaque)
{
    struct virtio_net *d = opaque;

    if (virtio_has(virtio_of(d), F_GUEST_ANNOUNCE) && virtio_has(virtio_of(d), F_CTRL_VQ) &&
        virtio_is_running(virtio_of(d))) {
        __atomic_store_n(&d->s.announce, true, __ATOMIC_RELEASE);
        virtio_config_changed(virtio_of(d));
    }
}

static void net_detach(void *opaque)
{
    virtio_net_vhost_close(opaque);
}

static void tell_filter_changed(void *arg)
{
    struct virtio_net *d = arg;
    struct device *dev = virtio_of(d)->dev;
    g_autofree char *own = dev->env->device_path ? dev->env->device_path(dev->env, dev) : NULL;
    g_autofree char *path = g_strdup_printf("%s/virtio-backend", own ? own : "");

    if (dev->env->events) {
        qapi_event_send_nic_rx_filter_changed(dev->env->events, dev->id, path);
    }
}

static const struct net_card_ops card_ops = {
    .can_receive = net_can_receive,
    .receive = net_receive,
    .received = net_received,
    .writable = net_can_send,
    .query_rx_filter = virtio_net_query_filter,
    .link_changed = net_link_changed,
    .announce = net_ask_to_announce,
    .detach = net_detach,
};

/* ---- the device */

static bool parse_mac(struct virtio_net *d, GError **error)
{
    const char *text = d->cfg.mac;
    unsigned m[MAC_BYTES];
    int end = 0;

    if (!text) {
        net_card_default_mac(d->net, d->mac);
        return true;
    }
    if (sscanf(text, "%2x%*1[:-]%2x%*1[:-]%2x%*1[:-]%2x%*1[:-]%2x%*1[:-]%2x%n", &m[0], &m[1], &m[2],
               &m[3], &m[4], &m[5], &end) != MAC_BYTES ||
        text[end] || strlen(text) != 17) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "virtio-net-pci: property 'mac': '%s' is no address like 52:54:00:12:34:56",
                    text);
        return false;
    }
    for (unsigned i = 0; i < MAC_BYTES; i++) {
        d->mac[i] = (uint8_t)m[i];
    }
    return true;
}

static bool check_size(const char *name, uint16_t size, unsigned min, GError **error)
{
    if (size < min || size > VIRTIO_QUEUE_MAX_SIZE || (size & (size - 1))) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "virtio-net-pci: %s %u: a power of two from %u to %u is possible", name, size,
                    min, VIRTIO_QUEUE_MAX_SIZE);
        return false;
    }
    return true;
}

static bool check_config(struct virtio_net *d, GError **error)
{
    if (!check_size("rx_queue_size", d->cfg.rx_queue_size, 256, error) ||
        !check_size("tx_queue_size", d->cfg.tx_queue_size, 256, error)) {
        return false;
    }
    if (d->cfg.tx && strcmp(d->cfg.tx, "bh") != 0) {
        g_set_error(error, DEVICE_ERROR, 0, "virtio-net-pci: tx=%s: only bh is there", d->cfg.tx);
        return false;
    }
    if (d->cfg.duplex && strcmp(d->cfg.duplex, "full") != 0 && strcmp(d->cfg.duplex, "half") != 0) {
        g_set_error(error, DEVICE_ERROR, 0, "virtio-net-pci: 'duplex' must be 'half' or 'full'");
        return false;
    }
    d->full_duplex = d->cfg.duplex && strcmp(d->cfg.duplex, "full") == 0;
    return parse_mac(d, error);
}

static void add_queues(struct virtio_net *d)
{
    struct virtio *v = virtio_of(d);

    for (unsigned i = 0; i < d->n_pairs; i++) {
        struct net_pair *p = &d->pair[i];

        p->d = d;
        p->rx = virtio_add_queue(v, d->cfg.rx_queue_size);
        p->tx = virtio_add_queue(v, d->cfg.tx_queue_size);
    }
    if (d->cfg.ctrl_vq) {
        virtio_add_queue(v, CONTROL_SIZE);
    }
}

static bool net_realize(struct device *dev, GError **error)
{
    struct virtio_net *d = (struct virtio_net *)dev;

    d->net = dev->env->net;
    if (!d->net) {
        g_set_error(error, DEVICE_ERROR, 0, "virtio-net-pci: there is no network here");
        return false;
    }
    if (!check_config(d, error)) {
        return false;
    }
    d->card.ops = &card_ops;
    d->card.opaque = d;
    d->card.model = "virtio-net-pci";
    d->card.id = dev->id;
    d->filter_bell = loop_bell_new(dev->env->loop, tell_filter_changed, d);
    d->n_pairs = 1;
    if (!net_card_add(d->net, &d->card, d->cfg.netdev, error)) {
        return false;
    }
    d->n_pairs = d->cfg.mq ? net_card_queues(&d->card) : 1;
    virtio_init(virtio_of(d), dev, &net_ops, &d->s.proxy.virtio, net_loop(d->net));
    add_queues(d);
    if (!virtio_net_vhost_open(d, error) ||
        !virtio_pci_realize(&d->proxy, &d->s.proxy, 0x0200, error)) {
        return false;
    }
    virtio_of(d)->offered = virtio_net_vhost_offer(d, virtio_of(d)->offered);
    return true;
}

static void net_unrealize(struct device *dev)
{
    struct virtio_net *d = (struct virtio_net *)dev;

    virtio_net_vhost_close(d);
    virtio_pci_unrealize(dev);
    net_card_remove(&d->card);
    loop_bell_free(g_steal_pointer(&d->filter_bell));
}

static void net_pause(struct device *dev)
{
    struct virtio_net *d = (struct virtio_net *)dev;

    virtio_pci_pause(dev);
    net_run(d->net, give_back, d);
}

static bool net_post_load(struct device *dev, GError **error)
{
    struct virtio_net *d = (struct virtio_net *)dev;
    uint8_t mac[MAC_BYTES];

    if (d->s.pairs < 1 || d->s.pairs > d->n_pairs || !virtio_net_filter_is_sane(d) ||
        d->s.offloads & ~guest_offloads(d)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "virtio-net-pci: %u pairs of queues, %u addresses from %u on: not possible",
                    d->s.pairs, d->s.in_use, d->s.first_multi);
        return false;
    }
    memcpy(mac, d->s.mac, sizeof(mac));
    net_card_set_mac(&d->card, mac);
    if (!virtio_pci_post_load(dev, error)) {
        return false;
    }
    if (virtio_is_running(virtio_of(d))) {
        net_run(d->net, begin, d);
    }
    return true;
}

#define CFG(member) offsetof(struct virtio_net, cfg.member)
#define SWITCH(name_, member, help_)                                                               \
    {                                                                                              \
        .name = name_, .type = PROP_BOOL, .offset = CFG(member), .def = 1, .help = help_           \
    }
#define NET_PROPERTIES                                                                             \
    {"netdev", PROP_STRING, CFG(netdev), .help = "id of the back end"},                            \
        {"mac", PROP_STRING, CFG(mac), .help = "address, as 52:54:00:12:34:56"},                   \
        {"mq", PROP_BOOL, CFG(mq), .help = "use all pairs of queues that the back end has"},       \
        {"host_mtu", PROP_U16,     CFG(host_mtu),                                                  \
         .min = 0,   .max = 65535, .help = "longest packet that the guest is told, 0: not told"},  \
        {"rx_queue_size", PROP_U16, CFG(rx_queue_size), .def = 256,                                \
         .help = "buffers to receive into"},                                                       \
        {"tx_queue_size", PROP_U16, CFG(tx_queue_size), .def = 256, .help = "buffers to send"},    \
        {"speed",                                                                                  \
         PROP_U32,                                                                                 \
         CFG(speed),                                                                               \
         .def = SPEED_UNKNOWN,                                                                     \
         .min = 0,                                                                                 \
         .max = UINT32_MAX,                                                                        \
         .help = "megabits a second that the guest is told"},                                      \
        {"duplex", PROP_STRING, CFG(duplex), .help = "full or half, as the guest is told"},        \
        {"tx", PROP_STRING, CFG(tx), .help = "bh: frames are sent at once"},                       \
        SWITCH("csum", csum, "the guest may leave checksums to the host"),                         \
        SWITCH("guest_csum", guest_csum, "the host may leave checksums to the guest"),             \
        SWITCH("gso", gso, "offer segmentation to legacy drivers"),                                \
        SWITCH("guest_tso4", guest_tso4, "the guest takes long TCP segments over IPv4"),           \
        SWITCH("guest_tso6", guest_tso6, "the same over IPv6"),                                    \
        SWITCH("guest_ecn", guest_ecn, "the same with congestion marks"),                          \
        SWITCH("guest_ufo", guest_ufo, "the guest takes long UDP datagrams"),                      \
        SWITCH("host_tso4", host_tso4, "the host takes long TCP segments over IPv4"),              \
        SWITCH("host_tso6", host_tso6, "the same over IPv6"),                                      \
        SWITCH("host_ecn", host_ecn, "the same with congestion marks"),                            \
        SWITCH("host_ufo", host_ufo, "the host takes long UDP datagrams"),                         \
        SWITCH("mrg_rxbuf", mrg_rxbuf, "a frame may be put into several buffers"),                 \
        SWITCH("status", status, "the guest is told whether the link is up"),                      \
        SWITCH("ctrl_vq", ctrl_vq, "a control queue"),                                             \
        SWITCH("ctrl_rx", ctrl_rx, "the guest sets what it receives"),                             \
        SWITCH("ctrl_vlan", ctrl_vlan, "the guest sets which virtual LANs it receives"),           \
        SWITCH("ctrl_rx_extra", ctrl_rx_extra, "more of that"),                                    \
        SWITCH("ctrl_mac_addr", ctrl_mac_addr, "the guest may change its address"),                \
        SWITCH("ctrl_guest_offloads", ctrl_guest_offloads, "the guest may change its offloads"),   \
        SWITCH("guest_announce", guest_announce, "the guest can be asked to announce itself")

static const struct property virtio_net_props[] = {
    NET_PROPERTIES,
    VIRTIO_PCI_PROPERTIES(struct virtio_net, UINT32_MAX),
    {NULL},
};

static const struct property virtio_net_props_mmio[] = {
    NET_PROPERTIES,
    VIRTIO_PROPERTIES(struct virtio_net),
    {NULL},
};

VIRTIO_CLASSES(net, "network card (virtio)", struct virtio_net, .realize = net_realize,
               .unrealize = net_unrealize, .reset = virtio_pci_reset, .pause = net_pause,
               .resume = virtio_pci_resume, .boot_path = virtio_pci_boot_path,
               .post_load = net_post_load);
