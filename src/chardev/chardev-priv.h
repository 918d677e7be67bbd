/* Shared by the back ends of this room. */
#ifndef CHARDEV_CHARDEV_PRIV_H
#define CHARDEV_CHARDEV_PRIV_H

#include "chardev/chardev.h"
#include "chardev/sock.h"

#define CHARDEV_ERROR chardev_error_quark()
GQuark chardev_error_quark(void);

/* Output that a back end holds for a slow reader; then chardev_write() takes no more. */
#define STREAM_QUEUE_BYTES 65536

/*
 * A back end on file descriptors: a bounded output queue that the loop writes out, and input that
 * is read only as far as the front end has room.
 *
 * Output is gathered for a moment (STREAM_GATHER_US) so that a guest that prints byte by byte does
 * not cost a system call and a wake-up of the reader for each.
 */
#define STREAM_GATHER_US   500

struct stream;

/* A protocol between the bytes of the front end and those on the wire. */
struct stream_codec {
    size_t state_bytes; /* of stream.codec_state, which begins as zeroes with each connection */
    void (*opened)(struct stream *);
    void (*encode)(struct stream *, const uint8_t *plain, size_t n, GByteArray *wire);
    /* Appends what the front end is to get. false: the connection ends, after what was put on the
     * wire. */
    bool (*decode)(struct stream *, const uint8_t *wire, size_t n, GByteArray *plain);
};
extern const struct stream_codec stream_telnet, stream_websocket;

struct stream {
    struct chardev chr; /* first */
    int in_fd, out_fd;  /* -1: none; may be the same */
    bool out_socket;    /* written with MSG_DONTWAIT */
    bool out_blocking;  /* O_NONBLOCK could not be had: small pieces, only when poll() allows */
    bool full;          /* a writer was turned away and waits for writable() */
    GByteArray *queue;
    guint queue_start; /* bytes of it already written */
    GSource *in_watch, *out_watch, *gather;
    /* With a codec: output that is not encoded yet, input that the front end has no room for. */
    const struct stream_codec *codec; /* NULL: none */
    void *codec_state;
    bool quiet;                     /* the codec is not ready: output is dropped */
    void (*ready)(struct stream *); /* now it is */
    bool ended;                     /* there is nothing behind `received` */
    GByteArray *plain, *received;
    GSource *again; /* a bell: there is room for `received` */
    /* The input ended or the output broke; the descriptors are still open. NULL: just stop. */
    void (*hung_up)(struct stream *);
};

void stream_init(struct stream *s);
void stream_finish(struct stream *s); /* the descriptors stay the back end's */
/* Begins to use the descriptors. */
void stream_open(struct stream *s, int in_fd, int out_fd);
void stream_close(struct stream *s); /* forgets them and drops what is queued */

void stream_put_wire(struct stream *s, const uint8_t *bytes, size_t n); /* for codecs */
bool stream_has_input(const struct stream *s);                          /* not delivered yet */
size_t stream_write(struct chardev *chr, const uint8_t *buf, size_t length);
void stream_accept_input(struct chardev *chr);
void stream_flush(struct chardev *chr);
void stream_push(struct chardev *chr);
/* mux.c: a mux over base, which becomes its own and gets another id. */
struct chardev *chardev_mux_new(const char *id, struct chardev *base);

/* For back ends: what the front end can take, and delivery to it. */
int chardev_can_receive(struct chardev *chr);
void chardev_deliver(struct chardev *chr, const uint8_t *buf, size_t length);
void chardev_event(struct chardev *chr, enum chardev_event event);

/* Allocates an instance of ops->size with common members set. */
struct chardev *chardev_alloc(const struct chardev_ops *ops, const char *id, struct loop *loop);

/* Option text: NAME=VALUE pieces between commas, of which each back end takes what it knows. */
struct chardev_options {
    char *type; /* "socket", "stdio", ... */
    char *id;
    GPtrArray *names, *values; /* strings; a taken option has NULL as its name */
};
struct chardev_options *chardev_options_new(const char *text);
void chardev_options_free(struct chardev_options *o);
void chardev_options_add(struct chardev_options *o, const char *name, const char *value);
/* The first piece, when it has no '='; NULL otherwise. Taken; owned by the caller, as below. */
char *chardev_option_first(struct chardev_options *o);
char *chardev_option(struct chardev_options *o, const char *name); /* NULL: not given */
/* *value keeps its default when the option is not given; of the second that may be neither. */
bool chardev_option_bool(struct chardev_options *o, const char *name, bool *value, GError **error);
bool chardev_option_switch(struct chardev_options *o, const char *name, int *value, GError **error);
bool chardev_options_all_taken(struct chardev_options *o, GError **error);

/* ipv4 and ipv6 */
bool chardev_option_family(struct chardev_options *o, int *family, GError **error);
/* server, wait, nodelay, ipv4, ipv6, reconnect, keep-alive, to, abstract, tight */
bool sock_address_take_options(struct sock_address *a, struct chardev_options *o, GError **error);
/* unix:PATH, tcp:HOST:PORT or fd:NUMBER, and those; *a is to be cleared whatever becomes of it. */
bool sock_address_take(struct sock_address *a, struct chardev_options *o, GError **error);
/* telnet, websocket */
bool chardev_socket_take_protocol(struct sock_address *a, struct chardev_options *o,
                                  GError **error);

/* By o->type; takes all options. */
struct chardev *chardev_make(struct chardev_options *o, struct loop *loop, GError **error);

/* The back ends. */
struct chardev *chardev_ringbuf_new(struct chardev_options *, struct loop *, GError **);
struct chardev *chardev_null_new(struct chardev_options *, struct loop *, GError **);
struct chardev *chardev_stdio_new(struct chardev_options *, struct loop *, GError **);
struct chardev *chardev_file_new(struct chardev_options *, struct loop *, GError **);
struct chardev *chardev_pipe_new(struct chardev_options *, struct loop *, GError **);
struct chardev *chardev_pty_new(struct chardev_options *, struct loop *, GError **);
struct chardev *chardev_socket_new(struct chardev_options *, struct loop *, GError **);
struct chardev *chardev_udp_new(struct chardev_options *, struct loop *, GError **);
struct chardev *chardev_socket_new_address(const char *id, struct sock_address *address,
                                           struct loop *loop, GError **error); /* takes address */

#endif
