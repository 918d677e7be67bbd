/*
 * Channels: what a stream goes through. tcp:HOST:PORT, unix:PATH, fd:, exec:COMMAND, file:PATH.
 *
 * Every call may block, and ends early with an error once channel_break() was called. One thread
 * uses a channel at a time; channel_break() may come from any.
 */
#ifndef MIGRATION_CHANNEL_H
#define MIGRATION_CHANNEL_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define CHANNEL_PIECES_MAX 64

struct channel_uri {
    enum { CHANNEL_TCP, CHANNEL_UNIX, CHANNEL_FD, CHANNEL_EXEC, CHANNEL_FILE } kind;
    char *path;        /* unix, file; exec: the command; fd: what follows "fd:" */
    char *host, *port; /* tcp; host "" is any */
    unsigned to;       /* tcp, listening: the last port to try; 0: none but the first */
    int family;        /* tcp: AF_INET, AF_INET6; AF_UNSPEC: either */
    bool keep_alive;   /* tcp, connecting */
};

bool channel_uri_is_known(const char *text); /* it begins like one of the five */
/* false and *error: it is none of the five. A part that is missing is an error too. Owned text:
 * channel_uri_clear(), also after a failure. */
bool channel_uri_parse(const char *text, struct channel_uri *uri, GError **error);
void channel_uri_clear(struct channel_uri *uri);

struct channel;

/* Both: NULL and *error. fd: of CHANNEL_FD, taken over also on failure; else -1. */

/* For writing. Connecting is left to channel_connect(); all other errors come at once. */
struct channel *channel_new_out(const struct channel_uri *uri, int fd, GError **error);
/* For reading. Sockets listen when this returns; channel_connect() waits for somebody. */
struct channel *channel_new_in(const struct channel_uri *uri, int fd, GError **error);
/* A child process is ended if it is still there, a socket's file is removed. NULL is fine. */
void channel_free(struct channel *c);

bool channel_connect(struct channel *c, GError **error);
/* Whether there can be more of it: tcp: and unix:. */
bool channel_is_plural(const struct channel *c);
/* Another one to where an outgoing one goes, to be connected. */
struct channel *channel_new_same(const struct channel *c, GError **error);
/* An incoming one goes on listening after channel_connect(), until channel_stop_listening(). */
void channel_keep_listening(struct channel *c);
void channel_stop_listening(struct channel *c);
/* The next who connects; NULL and *error. */
struct channel *channel_accept(struct channel *c, GError **error);
/* Whether the other side can answer: channel_read() of an outgoing one, and the reverse. */
bool channel_is_two_way(const struct channel *c);
/* Whether there is something to be read at once. */
bool channel_has_input(const struct channel *c);
/* Whether it goes to a file of this host. */
bool channel_is_file(const struct channel *c);

bool channel_write(struct channel *c, const void *data, size_t bytes, GError **error);
/* Several pieces at once; the array is used up. */
bool channel_write_pieces(struct channel *c, struct iovec *iov, int n, GError **error);
/* All of it. What ends before is an error. */
bool channel_read(struct channel *c, void *data, size_t bytes, GError **error);
/* The same into several pieces, at most CHANNEL_PIECES_MAX; the array is used up. */
bool channel_read_pieces(struct channel *c, struct iovec *iov, int n, GError **error);
/* Nothing more will be written, and nobody answers: waits until the other side has read all, a file
 * is on stable storage, a command has ended with status 0. On failure *unknown tells whether the
 * other side may have all nevertheless. */
bool channel_finish(struct channel *c, bool *unknown, GError **error);

/* Nothing more is read or written; the other side sees the end. */
void channel_close(struct channel *c);
/* The same, and a command is ended: half a second after it was asked to it has no choice. */
void channel_end(struct channel *c);
/* Until a command ends by itself, or channel_break(). */
void channel_wait_child(struct channel *c);
/* The same as channel_close(), and a command is not ended by channel_free() but waited for, until
 * it ends or channel_break(): a guest may live in it. */
void channel_leave(struct channel *c);

/* Any thread. */
void channel_break(struct channel *c);
/* Lets so much time pass, of an outgoing one; false and *error: it was broken, or who reads has
 * gone, which ends the wait. */
bool channel_rest(struct channel *c, int64_t ns, GError **error);

/* Where an incoming one listens; ports are those that were chosen. Owned; NULL: it doesn't. */
struct socket_address_list *channel_listens_at(const struct channel *c);

#endif
