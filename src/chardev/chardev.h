/*
 * Character devices: where a serial port, debug console or monitor gets and puts its bytes.
 *
 * A back end (stdio, socket, file, null, ...) has at most one front end (the device), but for a
 * mux, which stands between a back end and several. All calls are on the thread of the loop that
 * the chardev was made with (the main loop, machine lock held), except where said otherwise.
 */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include "base/loop.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct chardev;
struct chardev_backend; /* the schema's */

enum chardev_event {
    CHARDEV_OPENED,
    CHARDEV_CLOSED,
    CHARDEV_BREAK,
    CHARDEV_MUX_IN,  /* of several front ends this is the one that gets the input now */
    CHARDEV_MUX_OUT, /* it is not any more */
};

struct chardev_frontend {
    /* How many bytes the front end can take now; chardev_accept_input() when that grows from 0. */
    int (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const uint8_t *buf, size_t length);
    void (*event)(void *opaque, enum chardev_event event); /* NULL is fine */
    /* There is room again after chardev_write() took less than all; NULL is fine. */
    void (*writable)(void *opaque);
    /* It has another back end from now on (chardev-change). NULL: it can't have. */
    void (*changed)(void *opaque, struct chardev *chr);
    /* Where several share a chardev: the input goes to another one at first, and this one comes
     * before it. */
    bool behind;
    void *opaque;
};

struct chardev_ops {
    const char *name; /* as in query-chardev's filename and -chardev NAME */
    size_t size;      /* of the instance, whose first member is struct chardev */
    /* Queues bytes for output; never blocks. Returns how many were taken (a back end with a full
     * bounded queue takes fewer); the front end's writable() tells when it is worth to go on. */
    size_t (*write)(struct chardev *, const uint8_t *buf, size_t length);
    void (*accept_input)(struct chardev *);
    void (*push)(struct chardev *);  /* write out what the host takes now, without waiting */
    void (*flush)(struct chardev *); /* wait until queued output is written, at most a second */
    void (*finish)(struct chardev *);
    /* Of a chardev with several front ends; NULL: there is one. */
    bool (*attach)(struct chardev *, const struct chardev_frontend *);
    void (*detach)(struct chardev *, const struct chardev_frontend *);
};

struct chardev {
    const struct chardev_ops *ops;
    char *id;       /* label in query-chardev */
    char *filename; /* description in query-chardev: "unix:/tmp/x,server=on", "stdio", "null" */
    struct loop *loop;
    const struct chardev_frontend *frontend; /* NULL: none; of several, whose turn it is */
    bool frontend_open;
    int log_fd;     /* gets a copy of the output; -1: none */
    bool muxed;     /* there is to be a mux over it */
    bool typed;     /* what comes in is typed: too much of it may be lost */
    bool connected; /* somebody is at the other end, as far as one can tell */
};

/* A chardev from the text of an option: either a legacy form ("stdio", "null", "file:PATH",
 * "unix:PATH[,server=on][,wait=off]", "tcp:HOST:PORT[,server=on]...", "mon:stdio") or, through
 * chardev_new_options(), the -chardev form ("socket,id=x,path=...,server=on"). Errors name the
 * text. A listening socket with wait=on (QEMU's default for server) blocks until a client came. */
struct chardev *chardev_new(const char *id, const char *spec, struct loop *loop, GError **error);
struct chardev *chardev_new_options(const char *options, struct loop *loop, GError **error);
/* As chardev-add has it. The names of descriptors must be numbers. */
struct chardev *chardev_new_backend(const char *id, const struct chardev_backend *backend,
                                    struct loop *loop, GError **error);
void chardev_free(struct chardev *chr); /* flushes; NULL is fine */
/* The front end goes over to another one; false: it can't. Without one nothing happens. */
bool chardev_move_frontend(struct chardev *from, struct chardev *to);
/* A break on the line, as if it came from the other end. */
void chardev_send_break(struct chardev *chr);
/* The kinds that there are, ended by NULL; freed with g_free(). */
const char **chardev_kinds(void);

/* Of a ringbuf: at most so many of the oldest bytes that are there; owned by the caller. */
bool chardev_is_ringbuf(const struct chardev *chr);
GByteArray *chardev_ringbuf_read(struct chardev *chr, uint64_t bytes);

/* false when it already has as many front ends as it can. */
bool chardev_attach(struct chardev *chr, const struct chardev_frontend *frontend);
void chardev_detach(struct chardev *chr, const struct chardev_frontend *frontend);
size_t chardev_write(struct chardev *chr, const uint8_t *buf, size_t length);
void chardev_accept_input(struct chardev *chr);
/* Output is gathered for half a millisecond; this sends it on its way now, without waiting. */
void chardev_push(struct chardev *chr);

/* With mux=on a chardev has up to four front ends, and Ctrl-A is the escape character (Ctrl-A x:
 * end, h: help, c: the next front end's turn, b: break, t: timestamps, Ctrl-A Ctrl-A: a literal
 * one). A terminal goes to raw mode and is restored by terminal_restore(), which is also safe in a
 * signal handler and at exit. */
bool chardev_is_mux(const struct chardev *chr);
/* A mux over a chardev that stays whose it is, and must be freed after it; NULL: that is in use. */
struct chardev *chardev_mux_over(const char *id, struct chardev *base);
/* The back end below a mux, whose it is; NULL: chr is no mux, or over one that is not its own. */
struct chardev *chardev_mux_base(const struct chardev *chr);
/* What Ctrl-A x does. */
void chardev_mux_on_quit(struct chardev *mux, void (*quit)(void *opaque), void *opaque);
void terminal_restore(void);

#endif
