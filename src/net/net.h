/*
 * Network back ends: what is at the other end of the cable of a virtual network card.
 *
 * A back end (netdev: user, tap, socket, stream, dgram) is made by -netdev or netdev_add and has at
 * most one front end, the card. Frames are Ethernet frames without checksum; before a frame there
 * is a virtio-net header if net_set_header() asked for one.
 *
 * Threads: the list of back ends and cards belongs to the main thread, under the machine lock.
 * Frames travel on the network thread, which never takes the machine lock, so whoever holds that
 * may wait for it.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/clock.h"
#include "base/loop.h"
#include "qapi-types.h"
#include "qapi/event.h"
#include <sys/uio.h>

#define NET_ERROR (net_error_quark())
GQuark net_error_quark(void);

#define NET_MAX_QUEUES  16
/* The longest frame, with the header before it: 64 KiB of segmented data and its headers. */
#define NET_FRAME_BYTES (65536 + 256)
#define NET_HEADER_MAX  12

struct net;
struct net_backend;
struct net_card;

/* What the card may leave to the back end, and the other way round: checksums and segmentation. */
struct net_offload {
    bool csum, tso4, tso6, ecn, ufo;
};

struct net_card_ops {
    /* ---- network thread */
    /* Whether the guest has room for a frame. */
    bool (*can_receive)(void *opaque, unsigned queue);
    /* Takes a frame, or drops it for the guest's reasons. false: no room now; net_room() tells. */
    bool (*receive)(void *opaque, unsigned queue, const uint8_t *frame, size_t bytes);
    /* No more frames for the moment: interrupts the guest for those before. */
    void (*received)(void *opaque, unsigned queue);
    /* net_send() will take frames again. */
    void (*writable)(void *opaque, unsigned queue);
    /* A new one, without the name. */
    struct rx_filter_info *(*query_rx_filter)(void *opaque);
    /* ---- main thread, machine lock held */
    void (*link_changed)(void *opaque);
    void (*announce)(void *opaque); /* has the guest do it, if its driver can */
    /* The back end goes: its descriptors are no longer used on return. */
    void (*detach)(void *opaque);
};

/* Descriptors for the host's kernel, which moves frames by itself between a card's queues and the
 * back end's interface (vhost-net). They stay the back end's. */
struct net_vhost {
    int vhost_fd, tap_fd;
    bool forced; /* the user wants it so or not at all */
};

/* A card: part of a device. The device fills in the first ones and keeps it alive. */
struct net_card {
    const struct net_card_ops *ops;
    void *opaque;
    const char *model; /* "virtio-net-pci" */
    const char *id;    /* of the device, or NULL */
    /* net.c's */
    uint64_t mac;                /* see net_card_mac() */
    char *name;                  /* the id, or MODEL.NUMBER */
    struct net *net;             /* NULL: not added */
    struct net_backend *backend; /* NULL: none (any more) */
    bool link_down;              /* of this end; read with net_link_is_up() */
};

/* ---- the whole; main thread, machine lock held, unless said */

/* events: where events go. clock: guest time. main: the main thread's. The network's own thread is
 * begun with the first back end or card; without one, for tests, main does its work. */
struct net *net_new(struct event_sink *events, struct vclock *clock, struct loop *main,
                    bool own_thread);
void net_free(struct net *net); /* the cards are gone. NULL is fine */
struct loop *net_loop(struct net *net);
/* Runs fn on the network thread and waits. */
void net_run(struct net *net, void (*fn)(void *arg), void *arg);
/* A file descriptor that a client gave a name: the caller's, or -1. NULL: there are none. */
void net_set_fd_finder(struct net *net, int (*find)(void *opaque, const char *name), void *opaque);

bool net_backend_add(struct net *net, const struct netdev *options, GError **error);
/* The same from the text of -netdev: key=value, where hostfwd, guestfwd and dnssearch may be given
 * more than once, or JSON. */
bool net_backend_add_text(struct net *net, const char *text, GError **error);
/* A card that uses it sees its link go down. The error's class is DeviceNotFound if there is none.
 */
bool net_backend_delete(struct net *net, const char *id, GError **error);
/* id of a card or a back end. */
bool net_set_link(struct net *net, const char *id, bool up, GError **error);
/* name NULL: all. A name of something else than a card is an error. */
struct rx_filter_info_list *net_query_rx_filter(struct net *net, const char *name, GError **error);
bool net_announce(struct net *net, const struct announce_parameters *how, GError **error);
void net_describe(struct net *net, GString *out);      /* "info network" */
void net_describe_user(struct net *net, GString *out); /* "info usernet" */
/* hostfwd_add and hostfwd_remove: [ID] RULE. What is to be said of it is added to out. */
void net_hostfwd_add(struct net *net, const char *args, GString *out);
void net_hostfwd_remove(struct net *net, const char *args, GString *out);
/* Logs which back ends and cards have nobody at the other end. */
void net_warn_of_loose_ends(struct net *net);

/* ---- cards; main thread, machine lock held, unless said */

/* Adds a card; netdev: id of its back end, NULL: none. */
bool net_card_add(struct net *net, struct net_card *card, const char *netdev, GError **error);
void net_card_remove(struct net_card *card); /* one that was not added is fine */
/* The card's address as it is told and announced. Any thread. */
void net_card_mac(const struct net_card *card, uint8_t mac[6]);
void net_card_set_mac(struct net_card *card, const uint8_t mac[6]);
/* A free address of those that are given to cards without one: 52:54:00:12:34:56 and up. */
void net_card_default_mac(struct net *net, uint8_t mac[6]);
unsigned net_card_queues(const struct net_card *card); /* that the back end has; 1 without one */
/* What the back end can do for frames with a header of that size (10 or 12), or false: it can take
 * no header at all. */
bool net_card_has_header(const struct net_card *card);
bool net_card_has_ufo(const struct net_card *card);
/* Both ends of the cable are in. Any thread. */
bool net_link_is_up(const struct net_card *card);
/* The same, and there is a back end whose own link is up. Main thread. */
bool net_is_connected(const struct net_card *card);
/* false: the back end has nothing of the kind for that queue, or is gone. */
bool net_card_vhost(const struct net_card *card, unsigned queue, struct net_vhost *vhost);

/* ---- cards; network thread */

/* The size of the header before each frame, 0: none; only where net_card_has_header(). */
void net_set_header(struct net_card *card, unsigned bytes);
/* What frames to the guest may leave undone. */
void net_set_offload(struct net_card *card, const struct net_offload *offload);
/* How many of its queues are in use. */
void net_set_queues(struct net_card *card, unsigned queues);
/* The host's kernel moves the queue's frames from now on, or does not any more: meanwhile the back
 * end has none for the card. Only where net_card_vhost(). */
void net_set_vhost(struct net_card *card, unsigned queue, bool on);
/* Sends a frame. true: it is taken (or lost: nobody is there). false: not now; writable() tells. */
bool net_send(struct net_card *card, unsigned queue, const struct iovec *iov, unsigned n);
/* can_receive() may say yes again. */
void net_room(struct net_card *card, unsigned queue);

#endif
