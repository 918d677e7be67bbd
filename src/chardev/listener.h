/*
 * Where connections come in: the sockets that listen at an address, several if its host has several
 * (localhost may be 127.0.0.1 and ::1, and "" is both families' any).
 */
#ifndef CHARDEV_LISTENER_H
#define CHARDEV_LISTENER_H

#include "chardev/sock.h"

struct listener;

/* NULL and *error. A stale Unix socket file (nobody listens) is replaced; one that somebody listens
 * on, or a path that is not a socket, is an error. All have the same port; what of the addresses
 * this host does not have is passed over, as long as one is left. Of SOCK_FD: it is taken over. */
struct listener *listener_new(const struct sock_address *address, GError **error);
/* Removes the socket file, too (not that of a socket that was passed). NULL is fine. */
void listener_free(struct listener *l);
void listener_unlink(const struct listener *l); /* that alone; from any thread */

/* Can be read from when somebody has connected. */
int listener_fd(const struct listener *l);
/* As accept4(2), which does not wait. */
int listener_accept(const struct listener *l, int flags);
/* The same, but waits; -1 with errno: nobody can come any more. */
int listener_wait(const struct listener *l, int flags);
/* So many connections may wait. */
void listener_set_backlog(const struct listener *l, int n);
/* host and port become what it listens on. */
void listener_describe(const struct listener *l, struct sock_address *address);
struct socket_address_list *listener_addresses(const struct listener *l);

#endif
