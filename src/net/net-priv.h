/* Shared by the back ends of this room. All of it is the network thread's. */
#ifndef NET_NET_PRIV_H
#define NET_NET_PRIV_H

#include "net/net.h"
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Frames that wait for a card which has no room; more are lost, as on any network. */
#define NET_QUEUE_FRAMES 1024

struct net_backend_ops {
    enum net_client_driver type;
    size_t size; /* of the instance, whose first member is struct net_backend */
    /* Sets info, queues and what it can do with headers. */
    bool (*open)(struct net_backend *, const struct netdev *, GError **);
    void (*close)(struct net_backend *); /* accepts a half-opened one */
    /* true: the frame is taken. false: not now, net_writable() tells. */
    bool (*send)(struct net_backend *, unsigned queue, const struct iovec *iov, unsigned n);
    /* The card has room again. NULL: nothing was held back. */
    void (*accept)(struct net_backend *, unsigned queue);
    void (*set_header)(struct net_backend *, unsigned bytes);
    void (*set_offload)(struct net_backend *, const struct net_offload *);
    void (*set_queues)(struct net_backend *, unsigned queues);
    /* See net_card_vhost() and net_set_vhost(); both or none. Main thread; network thread. */
    bool (*vhost)(const struct net_backend *, unsigned queue, struct net_vhost *vhost);
    void (*set_vhost)(struct net_backend *, unsigned queue, bool on);
};
extern const struct net_backend_ops net_user_ops, net_tap_ops, net_socket_ops, net_stream_ops,
    net_dgram_ops, net_hub_ops;

struct net_queued {
    struct net_queued *next;
    size_t bytes;
    uint8_t frame[];
};

struct net_backend {
    const struct net_backend_ops *ops;
    struct net *net;
    char *id;
    char *info;      /* for "info network"; under net_info_lock() */
    unsigned queues; /* at least 1 */
    unsigned header_bytes;
    bool has_header; /* it can take headers */
    bool has_ufo;
    bool link_down;
    struct net_card *card; /* changed by the network thread while the main thread waits */
    struct {
        struct net_queued *first, **last;
        unsigned n;
    } waiting[NET_MAX_QUEUES];
};

/* The main thread's, but for hub_ports. */
struct net {
    struct event_sink *events;
    struct vclock *clock;
    struct loop *main, *loop;
    GThread *thread; /* NULL: the loop is the main one, or there is none yet */
    GPtrArray *backends, *cards;
    GPtrArray *hub_ports; /* the network thread's */
    struct announcer *announcer;
    GMutex info_mutex;
    int (*find_fd)(void *opaque, const char *name);
    void *find_opaque;
};

struct net_backend *net_backend_find(const struct net *net, const char *id); /* or NULL */
struct net_card *net_card_find(const struct net *net, const char *name);     /* or NULL */

struct loop *net_backend_loop(const struct net_backend *b);
struct event_sink *net_backend_events(const struct net_backend *b);
struct vclock *net_backend_clock(const struct net_backend *b);
GPtrArray *net_hub_ports(const struct net_backend *b); /* of all hubs: struct net_backend */
/* Takes info over. */
void net_set_info(struct net_backend *b, char *info);

/* Whether a frame would reach the card at once: back ends that can wait do not read otherwise. */
bool net_can_deliver(struct net_backend *b, unsigned queue);
/* Gives the card a frame, with a header before it as the card asked; what finds no room waits. */
void net_deliver(struct net_backend *b, unsigned queue, const uint8_t *frame, size_t bytes);
/* After some of them. */
void net_delivered(struct net_backend *b, unsigned queue);
/* send() will take frames again. */
void net_writable(struct net_backend *b, unsigned queue);

size_t net_iov_bytes(const struct iovec *iov, unsigned n);
/* Copies at most `bytes`; returns how many there were. */
size_t net_iov_gather(const struct iovec *iov, unsigned n, uint8_t *buf, size_t bytes);

/* A descriptor of the user's: a number, or a client's name for it. The caller's, close-on-exec and
 * non-blocking. -1 and *error. */
int net_take_fd(struct net_backend *b, const char *text, GError **error);

/* ---- address.c */

struct net_address {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage room;
    };
    socklen_t bytes;
};
/* An address for the socket type; passive: to bind to. Not for the type fd. */
bool net_address_resolve(const struct socket_address *address, int type, bool passive,
                         struct net_address *out, GError **error);
/* "HOST:PORT", "[V6HOST]:PORT" or ":PORT" as an address of the type inet; freed by the caller. */
struct socket_address *net_address_parse(const char *text, GError **error);
/* A new address for a socket's own or other end. NULL: there is none. */
struct socket_address *net_address_of(const struct net_address *a);
char *net_address_text(const struct net_address *a); /* "127.0.0.1:4711", "/tmp/x" */
bool net_address_is_multicast(const struct net_address *a);
/* A new socket, close-on-exec and non-blocking. */
int net_socket(int family, int type, GError **error);
bool net_bind(int fd, const struct socket_address *address, int type, struct net_address *bound,
              GError **error);

/* ---- framed.c: frames over a stream socket, each after its length */

struct net_framed {
    struct net_backend *b;
    int fd; /* -1: not connected */
    GSource *in, *out;
    uint8_t *input; /* a length and what there is of its frame */
    size_t have;
    uint8_t *output; /* what the socket did not take */
    size_t output_bytes, output_done;
    bool turned_away; /* send() said no */
    /* The other end is gone; fd is closed. */
    void (*ended)(struct net_framed *);
};
void net_framed_init(struct net_framed *f, struct net_backend *b,
                     void (*ended)(struct net_framed *));
void net_framed_open(struct net_framed *f, int fd);
void net_framed_close(struct net_framed *f);
void net_framed_finish(struct net_framed *f);
bool net_framed_send(struct net_framed *f, const struct iovec *iov, unsigned n);
void net_framed_accept(struct net_framed *f);

/* ---- datagram.c: one frame in each datagram */

struct net_datagram {
    struct net_backend *b;
    int fd;
    GSource *in, *out;
    struct net_address to; /* bytes 0: the socket is connected */
    bool turned_away;
};
void net_datagram_init(struct net_datagram *d, struct net_backend *b);
void net_datagram_open(struct net_datagram *d, int fd);
void net_datagram_finish(struct net_datagram *d);
bool net_datagram_send(struct net_datagram *d, const struct iovec *iov, unsigned n);
void net_datagram_accept(struct net_datagram *d);
/* A socket for a multicast group: bound to it, joined on the interface with that address (NULL:
 * any), heard by others on this host. */
int net_multicast_socket(const struct net_address *group, const struct in_addr *interface,
                         GError **error);

/* ---- user.c, for net.c */

bool net_user_hostfwd_add(struct net_backend *b, const char *rule, GError **error);
/* 1: removed; 0: there is none; -1: the text is no rule. */
int net_user_hostfwd_remove(struct net_backend *b, const char *rule);
char *net_user_connections(struct net_backend *b);

#endif
