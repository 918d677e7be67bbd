/*
 * Stream socket addresses, and connecting to them, for chardevs, monitors, migration and the
 * register door. For listening see listener.h.
 */
#ifndef CHARDEV_SOCK_H
#define CHARDEV_SOCK_H

#include "base/loop.h"
#include <glib.h>
#include <stdbool.h>
#include <sys/socket.h>

struct sock_address {
    enum { SOCK_UNIX, SOCK_TCP, SOCK_FD } kind;
    char *path;        /* unix */
    char *host, *port; /* tcp; host "" is any */
    int fd;            /* already bound and listening (server) or connected */
    bool server, wait, nodelay, keep_alive;
    bool telnet, websocket;  /* what is spoken over it: chardevs alone */
    bool is_abstract, loose; /* unix: the name is in no file system; padded with zeroes */
    unsigned to;             /* tcp, listening: the last port to try; 0: none but the first */
    int family;              /* tcp: AF_INET, AF_INET6; AF_UNSPEC: either */
    int64_t reconnect_s;
};

/* "unix:/tmp/q.sock,server=on,wait=off", the same with "unix:path=/tmp/q.sock",
 * "tcp:127.0.0.1:4444,server=on,wait=off", "fd:N"; also server/nowait/nodelay without =on. An
 * unknown or missing part is an error that names it. */
bool sock_address_parse(const char *text, struct sock_address *address, GError **error);
void sock_address_clear(struct sock_address *address);
/* host and port become those that the socket has. */
void sock_address_found(struct sock_address *address, int fd);
/* "127.0.0.1:4711", "[::1]:4711"; NULL: of another family. */
char *sock_address_text(const struct sockaddr *address, socklen_t bytes);
/* As query-migrate has it. */
struct socket_address *sock_address_to_qapi(const struct sockaddr *address, socklen_t bytes);
const char *sock_address_protocol(const struct sock_address *address); /* of TCP: "telnet" */
char *sock_address_describe(const struct sock_address *address);       /* as in query-chardev */

/* The family that ipv4= and ipv6= leave; of each: -1 if it is not said. Both off is an error. */
bool sock_choose_family(int ipv4, int ipv6, int *family, GError **error);

/* getaddrinfo(), host "" being any, but a port above 65535 is an error and not cut to 16 bits.
 * NULL, or why not; *found is the caller's, for freeaddrinfo(). */
struct addrinfo;
const char *sock_resolve(const char *host, const char *port, const struct addrinfo *hints,
                         struct addrinfo **found);

struct addrinfo *sock_address_resolve(const struct sock_address *a, GError **error);
struct sockaddr_un;
bool sock_unix_fill(const struct sock_address *a, struct sockaddr_un *sun, socklen_t *length,
                    GError **error);
bool sock_fd_is_socket(int fd, GError **error);

int sock_connect(const struct sock_address *address, GError **error); /* blocking connect; or -1 */

#endif
