/* A connection to another machine, as server or client: see stream.c. Network thread. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "net/net-priv.h"

struct net_stream {
    struct net_backend *b;
    struct net_framed framed;
    bool quiet; /* netdev socket: no events */
    bool keep_alive, made_path;
    int listen_fd, connecting_fd; /* -1: none */
    struct net_address other;     /* of whom a client connects to */
    char *path;                   /* of a server's UNIX socket */
    GSource *watch;               /* of either */
};

void net_stream_init(struct net_stream *s, struct net_backend *b, bool quiet);
void net_stream_finish(struct net_stream *s);
/* Not for addresses of the type fd. */
bool net_stream_listen(struct net_stream *s, const struct socket_address *address, GError **error);
bool net_stream_connect(struct net_stream *s, const struct socket_address *address, GError **error);
/* text: a descriptor, as net_take_fd() has it. */
bool net_stream_take(struct net_stream *s, const char *text, bool server, GError **error);

#endif
