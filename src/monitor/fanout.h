/*
 * One event to many clients: what waits for several sockets is sent with one system call.
 *
 * Sockets one after the other cost a call each, and a client that is woken by the first takes the
 * processor from whoever writes to the others. Where the host has no io_uring, or forbids it, they
 * are written to one after the other.
 */
#ifndef GODWIT_MONITOR_FANOUT_H
#define GODWIT_MONITOR_FANOUT_H

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* So many sockets in one call, and so many pieces for each. */
#define FANOUT_MAX    16
#define FANOUT_IOVECS 8

struct fanout;

struct fanout_item {
    int fd; /* a socket */
    unsigned n_iov;
    struct iovec iov[FANOUT_IOVECS];
    ssize_t result;    /* bytes that were taken, or a negative errno; -EAGAIN: none for now */
    struct msghdr msg; /* fanout_send()'s */
};

struct fanout *fanout_new(void);
void fanout_free(struct fanout *f); /* NULL is fine */

/* Sends what the n (at most FANOUT_MAX) items hold, without waiting for anybody to read, and sets
 * their results. One thread at a time. */
void fanout_send(struct fanout *f, struct fanout_item *items, unsigned n);

#endif
