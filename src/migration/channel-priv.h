/* Between the files of channels: how they are made and end (channel.c), and their bytes
 * (channel-bytes.c). */
#ifndef MIGRATION_CHANNEL_PRIV_H
#define MIGRATION_CHANNEL_PRIV_H

#include "base/yank.h"
#include "migration/channel-ring.h"
#include "migration/channel.h"
#include <poll.h>

struct listener;

#define CHANNEL_LOOK_NS 1000000 /* how often is looked for what cannot be waited for */

enum way { WAY_FILE, WAY_SOCKET, WAY_PIPE };

struct channel {
    struct channel_uri uri;
    bool out;
    struct listener *listener; /* NULL: does not listen */
    int read_fd, write_fd;     /* the same for a socket; -1: not that way */
    enum way way;
    bool plural;               /* goes on listening */
    bool further;              /* it comes with another one */
    struct channel_ring *ring; /* of a Unix socket, or NULL */
    uint64_t socket_bytes;     /* of the stream */
    bool in_ring;              /* the rest of the stream */
    GPid child;                /* 0: none */
    int broken;                /* eventfd */
    struct yank *yank;
};

/* Whether one of them came, within so long. */
bool channel_poll(struct pollfd *p, nfds_t n, int64_t ns);
/* Waits as poll(2); false: it failed, or the channel was broken, which p[0] is for. */
bool channel_wait_any(struct pollfd *p, nfds_t n, GError **error);
/* The same for a descriptor of its. */
bool channel_wait(struct channel *c, int fd, short events, GError **error);
/* Whether it was broken, within so long. */
bool channel_wait_broken(struct channel *c, int64_t ns);
bool channel_was_broken(GError **error); /* says so; false */

/* Nobody will read any more: it is closed, or the other side has shut it down both ways. */
bool channel_reader_gone(const struct channel *c);
/* How much of what was written there is unread. */
size_t channel_unread_in_ring(const struct channel *c);

#endif
