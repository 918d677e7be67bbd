/*
 * Stream socket addresses and listeners, for chardevs, monitors and the register door.
 */
#ifndef CHARDEV_LISTENER_H
#define CHARDEV_LISTENER_H

#include "base/loop.h"
#include <glib.h>
#include <stdbool.h>

struct sock_address {
    enum { SOCK_UNIX, SOCK_TCP, SOCK_FD } kind;
    char *path;        /* unix */
    char *host, *port; /* tcp; host "" is any */
    int fd;            /* already bound and listening (server) or connected */
    bool server, wait, nodelay, keep_alive;
    bool telnet, websocket;  /* what is spoken over it: chardevs alone */
    bool is_abstract, loose; /* unix: the name is in no file system; padded with zeroes */
    unsigned to;             /* tcp, listening: the last port to try; 0: none but the first */
    bool ipv4, ipv6;         /* both false: either */
    int64_t reconnect_s;
};

/* "unix:/tmp/q.sock,server=on,wait=off", the same with "unix:path=/tmp/q.sock",
 * "tcp:127.0.0.1:4444,server=on,wait=off", "fd:N"; also server/nowait/nodelay without =on. An
 * unknown or missing part is an error that names it. */
bool sock_address_parse(const char *text, struct sock_address *address, GError **error);
void sock_address_clear(struct sock_address *address);
/* After sock_listen(): host and port become what it listens on. */
void sock_address_found(struct sock_address *address, int fd);
char *sock_address_describe(const struct sock_address *address); /* as in query-chardev */

/* getaddrinfo(), host "" being any, but a port above 65535 is an error and not cut to 16 bits.
 * NULL, or why not; *found is the caller's, for freeaddrinfo(). */
struct addrinfo;
const char *sock_resolve(const char *host, const char *port, const struct addrinfo *hints,
                         struct addrinfo **found);

/* A listening, close-on-exec, non-blocking socket, or -1. A stale unix socket file (nobody listens)
 * is replaced; one that somebody listens on, or a path that is not a socket, is an error. */
int sock_listen(const struct sock_address *address, GError **error);
int sock_connect(const struct sock_address *address, GError **error); /* blocking connect */
/* Removes the socket file that sock_listen() made (not one passed as fd). */
void sock_unlink(const struct sock_address *address);

#endif
