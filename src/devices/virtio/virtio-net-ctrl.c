/*
 * virtio-net: the control queue (VIRTIO 1.2, 5.1.6.5) and the receive filter that it sets.
 *
 * Every command is copied before it is looked at. One that makes no sense is answered with an error
 * and changes nothing.
 */
#include "devices/virtio/virtio-net-priv.h"

#include "base/log.h"
#include <string.h>

#define CTRL_RX          0
#define RX_PROMISC       0
#define RX_ALLMULTI      1
#define RX_ALLUNI        2
#define RX_NOMULTI       3
#define RX_NOUNI         4
#define RX_NOBCAST       5
#define CTRL_MAC         1
#define MAC_TABLE_SET    0
#define MAC_ADDR_SET     1
#define CTRL_VLAN        2
#define VLAN_ADD         0
#define VLAN_DEL         1
#define CTRL_ANNOUNCE    3
#define ANNOUNCE_ACK     0
#define CTRL_MQ          4
#define MQ_PAIRS_SET     0
#define CTRL_OFFLOADS    5
#define OFFLOADS_SET     0

#define ACK_OK           0
#define ACK_ERROR        1
#define HEAD_BYTES       2 /* class, command */
#define MAX_VLANS        4096

#define ETHERTYPE_AT     12
#define ETHERTYPE_VLAN   0x8100
#define ETHER_HEAD_BYTES 14

/* ---- the filter */

void virtio_net_filter_reset(struct virtio_net *d)
{
    struct virtio_net_state *s = &d->s;

    s->promisc = true; /* until a driver that knows better says no */
    s->allmulti = s->alluni = s->nomulti = s->nouni = s->nobcast = false;
    s->multi_overflow = s->uni_overflow = false;
    s->in_use = s->first_multi = 0;
    memset(s->table, 0, sizeof(s->table));
    memset(s->vlan, 0, sizeof(s->vlan));
}

static bool in_table(const struct virtio_net_state *s, unsigned from, unsigned to,
                     const uint8_t mac[MAC_BYTES])
{
    for (unsigned i = from; i < to; i++) {
        if (memcmp(s->table + i * MAC_BYTES, mac, MAC_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static bool takes_vlan(const struct virtio_net *d, const uint8_t *frame, size_t bytes)
{
    unsigned type = (unsigned)frame[ETHERTYPE_AT] << 8 | frame[ETHERTYPE_AT + 1], id;

    if (type != ETHERTYPE_VLAN || bytes < ETHER_HEAD_BYTES + 2 ||
        !virtio_has(&d->proxy.virtio, F_CTRL_VLAN)) {
        return true;
    }
    id = ((unsigned)frame[ETHER_HEAD_BYTES] << 8 | frame[ETHER_HEAD_BYTES + 1]) & (MAX_VLANS - 1);
    return d->s.vlan[id / 32] >> (id % 32) & 1;
}

bool virtio_net_filter(const struct virtio_net *d, const uint8_t *frame, size_t bytes)
{
    static const uint8_t broadcast[MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const struct virtio_net_state *s = &d->s;

    if (s->promisc) {
        return true;
    }
    if (bytes < ETHER_HEAD_BYTES || !takes_vlan(d, frame, bytes)) {
        return false;
    }
    if (frame[0] & 1) {
        if (memcmp(frame, broadcast, MAC_BYTES) == 0) {
            return !s->nobcast;
        }
        return !s->nomulti &&
               (s->allmulti || s->multi_overflow || in_table(s, s->first_multi, s->in_use, frame));
    }
    return !s->nouni && (s->alluni || s->uni_overflow || memcmp(frame, s->mac, MAC_BYTES) == 0 ||
                         in_table(s, 0, s->first_multi, frame));
}

bool virtio_net_filter_is_sane(const struct virtio_net *d)
{
    return d->s.in_use <= MAC_TABLE_SIZE && d->s.first_multi <= d->s.in_use;
}

static char *mac_text(const uint8_t *m)
{
    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

struct rx_filter_info *virtio_net_query_filter(void *opaque)
{
    struct virtio_net *d = opaque;
    const struct virtio_net_state *s = &d->s;
    struct rx_filter_info *info = g_new0(struct rx_filter_info, 1);

    d->filter_told = false;
    info->promiscuous = s->promisc;
    info->multicast = s->nomulti ? RX_STATE_NONE : s->allmulti ? RX_STATE_ALL : RX_STATE_NORMAL;
    info->unicast = s->nouni ? RX_STATE_NONE : s->alluni ? RX_STATE_ALL : RX_STATE_NORMAL;
    info->broadcast_allowed = !s->nobcast;
    info->multicast_overflow = s->multi_overflow;
    info->unicast_overflow = s->uni_overflow;
    info->main_mac = mac_text(s->mac);
    info->vlan_table = int_list_new();
    info->unicast_table = str_list_new();
    info->multicast_table = str_list_new();
    for (unsigned i = 0; i < s->in_use; i++) {
        str_list_append(i < s->first_multi ? info->unicast_table : info->multicast_table,
                        mac_text(s->table + i * MAC_BYTES));
    }
    for (int64_t id = 0; id < MAX_VLANS; id++) {
        if (s->vlan[id / 32] >> (id % 32) & 1) {
            int_list_append(info->vlan_table, id);
        }
    }
    info->vlan = !virtio_has(&d->proxy.virtio, F_CTRL_VLAN) ? RX_STATE_ALL
                 : info->vlan_table->n == 0                 ? RX_STATE_NONE
                                                            : RX_STATE_NORMAL;
    return info;
}

/* Once, until somebody asks: a guest must not be able to flood clients. */
static void filter_changed(struct virtio_net *d)
{
    if (!d->filter_told) {
        d->filter_told = true;
        loop_bell_ring(d->filter_bell);
    }
}

/* ---- commands: the part after class and command, copied as far as it goes */

struct command {
    const struct virtqueue_element *e;
    size_t at; /* of what is not read yet */
};

static bool take_bytes(struct command *c, void *to, size_t bytes)
{
    size_t got = iov_read(c->e->out, c->e->n_out, c->at, to, bytes);

    c->at += got;
    return got == bytes;
}

static bool handle_rx(struct virtio_net *d, uint8_t cmd, struct command *c)
{
    bool *const flags[] = {&d->s.promisc, &d->s.allmulti, &d->s.alluni,
                           &d->s.nomulti, &d->s.nouni,    &d->s.nobcast};
    uint8_t on;

    if (cmd >= G_N_ELEMENTS(flags) || !take_bytes(c, &on, 1)) {
        return false;
    }
    *flags[cmd] = on != 0;
    filter_changed(d);
    return true;
}

/* A list of addresses: at most `room` are kept; *overflow: there were more. */
static bool take_macs(struct command *c, uint8_t *to, unsigned room, uint16_t *n, bool *overflow)
{
    uint32_t count;

    if (!take_bytes(c, &count, sizeof(count))) {
        return false;
    }
    count = GUINT32_FROM_LE(count);
    if (count > (c->e->out_bytes - c->at) / MAC_BYTES) {
        return false;
    }
    *overflow = count > room;
    if (*overflow) {
        c->at += (size_t)count * MAC_BYTES;
        *n = 0;
        return true;
    }
    *n = (uint16_t)count;
    return take_bytes(c, to, (size_t)count * MAC_BYTES);
}

static bool set_table(struct virtio_net *d, struct command *c)
{
    uint8_t table[MAC_TABLE_SIZE * MAC_BYTES] = {0};
    bool uni_overflow, multi_overflow;
    uint16_t uni, multi;

    if (!take_macs(c, table, MAC_TABLE_SIZE, &uni, &uni_overflow) ||
        !take_macs(c, table + uni * MAC_BYTES, MAC_TABLE_SIZE - uni, &multi, &multi_overflow) ||
        c->at != c->e->out_bytes) {
        return false;
    }
    memcpy(d->s.table, table, sizeof(table));
    d->s.first_multi = uni;
    d->s.in_use = (uint16_t)(uni + multi);
    d->s.uni_overflow = uni_overflow;
    d->s.multi_overflow = multi_overflow;
    filter_changed(d);
    return true;
}

static bool handle_mac(struct virtio_net *d, uint8_t cmd, struct command *c)
{
    uint8_t mac[MAC_BYTES];

    if (cmd == MAC_TABLE_SET) {
        return set_table(d, c);
    }
    if (cmd != MAC_ADDR_SET || !virtio_has(&d->proxy.virtio, F_CTRL_MAC_ADDR) ||
        !take_bytes(c, mac, sizeof(mac)) || c->at != c->e->out_bytes) {
        return false;
    }
    virtio_net_set_mac(d, mac);
    filter_changed(d);
    return true;
}

static bool handle_vlan(struct virtio_net *d, uint8_t cmd, struct command *c)
{
    uint16_t id;

    if (cmd > VLAN_DEL || !virtio_has(&d->proxy.virtio, F_CTRL_VLAN) ||
        !take_bytes(c, &id, sizeof(id)) || GUINT16_FROM_LE(id) >= MAX_VLANS) {
        return false;
    }
    id = GUINT16_FROM_LE(id);
    if (cmd == VLAN_ADD) {
        d->s.vlan[id / 32] |= 1u << (id % 32);
    } else {
        d->s.vlan[id / 32] &= ~(1u << (id % 32));
    }
    filter_changed(d);
    return true;
}

static bool handle_announce(struct virtio_net *d, uint8_t cmd)
{
    return cmd == ANNOUNCE_ACK && __atomic_exchange_n(&d->s.announce, false, __ATOMIC_ACQ_REL);
}

static bool handle_mq(struct virtio_net *d, uint8_t cmd, struct command *c)
{
    uint16_t pairs;

    if (cmd != MQ_PAIRS_SET || !virtio_has(&d->proxy.virtio, F_MQ) ||
        !take_bytes(c, &pairs, sizeof(pairs))) {
        return false;
    }
    pairs = GUINT16_FROM_LE(pairs);
    if (pairs < 1 || pairs > d->n_pairs) {
        return false;
    }
    virtio_net_set_pairs(d, pairs);
    return true;
}

static bool handle_offloads(struct virtio_net *d, uint8_t cmd, struct command *c)
{
    const uint64_t known = VIRTIO_BIT(F_GUEST_CSUM) | VIRTIO_BIT(F_GUEST_TSO4) |
                           VIRTIO_BIT(F_GUEST_TSO6) | VIRTIO_BIT(F_GUEST_ECN) |
                           VIRTIO_BIT(F_GUEST_UFO);
    uint64_t offloads;

    if (cmd != OFFLOADS_SET || !virtio_has(&d->proxy.virtio, F_CTRL_GUEST_OFFLOADS) ||
        !take_bytes(c, &offloads, sizeof(offloads))) {
        return false;
    }
    offloads = GUINT64_FROM_LE(offloads);
    if (offloads & ~(known & d->proxy.virtio.s->driver_features)) {
        return false;
    }
    d->s.offloads = offloads;
    virtio_net_apply_offloads(d);
    return true;
}

static bool handle_command(struct virtio_net *d, const struct virtqueue_element *e)
{
    struct command c = {.e = e};
    uint8_t head[HEAD_BYTES];

    if (!take_bytes(&c, head, sizeof(head))) {
        return false;
    }
    switch (head[0]) {
    case CTRL_RX:
        return handle_rx(d, head[1], &c);
    case CTRL_MAC:
        return handle_mac(d, head[1], &c);
    case CTRL_VLAN:
        return handle_vlan(d, head[1], &c);
    case CTRL_ANNOUNCE:
        return handle_announce(d, head[1]);
    case CTRL_MQ:
        return handle_mq(d, head[1], &c);
    case CTRL_OFFLOADS:
        return handle_offloads(d, head[1], &c);
    default:
        return false;
    }
}

void virtio_net_ctrl(struct virtio_net *d, struct virtqueue *vq)
{
    struct virtqueue_element *e;
    bool any = false;

    do {
        while ((e = virtqueue_pop(vq))) {
            uint8_t ack;

            if (e->in_bytes < 1 || e->out_bytes < HEAD_BYTES) {
                virtio_break(&d->proxy.virtio, "a control command of %u bytes without an answer",
                             (unsigned)MIN(e->out_bytes, UINT_MAX));
                virtqueue_drop(e);
                return;
            }
            ack = handle_command(d, e) ? ACK_OK : ACK_ERROR;
            iov_write(e->in, e->n_in, 0, &ack, 1);
            virtqueue_push(vq, e, 1);
            any = true;
        }
        virtqueue_set_doorbell(vq, true);
    } while (virtqueue_has_more(vq));
    if (any) {
        virtqueue_notify(vq);
    }
}
