/* Shared by virtio-net.c (device, frames) and virtio-net-ctrl.c (control queue, receive filter). */
#ifndef DEVICES_VIRTIO_VIRTIO_NET_PRIV_H
#define DEVICES_VIRTIO_VIRTIO_NET_PRIV_H

#include "devices/virtio/vhost.h"
#include "devices/virtio/virtio-pci.h"
#include "net/net.h"

/* feature bits (VIRTIO 1.2, 5.1.3) */
#define F_CSUM                0
#define F_GUEST_CSUM          1
#define F_CTRL_GUEST_OFFLOADS 2
#define F_MTU                 3
#define F_MAC                 5
#define F_GSO                 6 /* legacy */
#define F_GUEST_TSO4          7
#define F_GUEST_TSO6          8
#define F_GUEST_ECN           9
#define F_GUEST_UFO           10
#define F_HOST_TSO4           11
#define F_HOST_TSO6           12
#define F_HOST_ECN            13
#define F_HOST_UFO            14
#define F_MRG_RXBUF           15
#define F_STATUS              16
#define F_CTRL_VQ             17
#define F_CTRL_RX             18
#define F_CTRL_VLAN           19
#define F_CTRL_RX_EXTRA       20
#define F_GUEST_ANNOUNCE      21
#define F_MQ                  22
#define F_CTRL_MAC_ADDR       23
#define F_SPEED_DUPLEX        63

#define S_LINK_UP             1
#define S_ANNOUNCE            2

#define MAC_TABLE_SIZE        64
#define VLAN_WORDS            128
#define MAC_BYTES             6

struct virtio_net_state {
    struct virtio_pci_state proxy;
    uint64_t offloads;            /* of the guest: bits F_GUEST_* */
    uint32_t vlan[VLAN_WORDS];    /* a bit for each that is taken */
    uint16_t pairs;               /* of queues in use */
    uint16_t in_use, first_multi; /* addresses in table[], and where multicast ones begin */
    uint8_t table[MAC_TABLE_SIZE * MAC_BYTES];
    uint8_t mac[MAC_BYTES];
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    bool multi_overflow, uni_overflow;
    bool announce; /* the guest is asked to announce itself and did not say that it has */
    uint8_t pad[3];
};

struct virtio_net;

struct net_pair {
    struct virtio_net *d;
    struct virtqueue *rx, *tx;
    struct virtqueue_element *held; /* a frame that the back end has no room for */
    struct vhost *vhost;            /* NULL: frames are moved here */
};

/* All but cfg and the link's bits is the network thread's while the device runs. */
struct virtio_net {
    struct virtio_pci proxy; /* first */
    struct {
        char *netdev, *mac, *tx, *duplex;
        bool csum, guest_csum, gso, guest_tso4, guest_tso6, guest_ecn, guest_ufo;
        bool host_tso4, host_tso6, host_ecn, host_ufo, mrg_rxbuf, status, ctrl_vq, ctrl_rx;
        bool ctrl_vlan, ctrl_rx_extra, ctrl_mac_addr, ctrl_guest_offloads, guest_announce, mq;
        uint16_t rx_queue_size, tx_queue_size, host_mtu;
        uint32_t speed;
    } cfg;
    struct virtio_net_state s;
    struct net *net;
    struct net_card card;
    struct net_pair pair[NET_MAX_QUEUES];
    unsigned n_pairs;
    bool lent;              /* the host's kernel moves the frames */
    bool vhost_warned;      /* that it would not */
    uint8_t mac[MAC_BYTES]; /* after a reset */
    bool full_duplex;
    /* While the driver is up: */
    bool ready;
    unsigned header_bytes; /* before each frame, in the guest */
    bool back_end_header;  /* the back end has the same; else it has none */
    bool mergeable;
    GSource *filter_bell; /* on the main loop: NIC_RX_FILTER_CHANGED */
    bool filter_told;     /* and nobody asked since */
};

/* ---- virtio-net-vhost.c; main thread */

/* Opens what the back end has for the kernel; nothing if that is nothing, or does not work and need
 * not. false and *error. */
bool virtio_net_vhost_open(struct virtio_net *d, GError **error);
void virtio_net_vhost_close(struct virtio_net *d);
/* Of those features, what can be with the kernel. */
uint64_t virtio_net_vhost_offer(const struct virtio_net *d, uint64_t features);
void virtio_net_lend(struct virtio *v); /* as virtio_ops has them */
void virtio_net_recall(struct virtio *v);

/* ---- virtio-net-ctrl.c; network thread */

void virtio_net_ctrl(struct virtio_net *d, struct virtqueue *vq);
/* What the filter is after a reset. */
void virtio_net_filter_reset(struct virtio_net *d);
/* Whether the guest takes this frame. */
bool virtio_net_filter(const struct virtio_net *d, const uint8_t *frame, size_t bytes);
struct rx_filter_info *virtio_net_query_filter(void *opaque);
bool virtio_net_filter_is_sane(const struct virtio_net *d);

/* ---- virtio-net.c, for it; network thread */

void virtio_net_apply_offloads(struct virtio_net *d);
void virtio_net_set_pairs(struct virtio_net *d, unsigned pairs);
void virtio_net_set_mac(struct virtio_net *d, const uint8_t mac[MAC_BYTES]);
/* A frame that waits for the back end is the guest's again. */
void virtio_net_give_back(struct virtio_net *d);

#endif
