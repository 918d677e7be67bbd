/*
 * Virtio devices: what all of them share, apart from the transport (virtio-pci.h).
 *
 * After "Virtual I/O Device (VIRTIO) Version 1.2" (OASIS, 2022), sections 2 and 3, and
 * section 2.7.2 and the "Legacy Interface" parts for transitional devices.
 *
 * Threads: registers (status, features, queue set-up) belong to whoever holds the machine lock. The
 * rings belong to the device's home, a loop: the main loop, the block layer's I/O thread or one of
 * the user's, which work without the machine lock. A doorbell is an eventfd that the home watches;
 * ringing it takes no lock. Registers that change what the home uses stop it first.
 *
 * A guest that breaks the rules of a ring gets a device that stops: DEVICE_NEEDS_RESET and a
 * configuration interrupt (2.1.2); the reason goes to the log of guest errors.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_H
#define DEVICES_VIRTIO_VIRTIO_H

#include "devices/core/device.h"
#include <sys/uio.h>

#define VIRTIO_MAX_QUEUES         64
#define VIRTIO_QUEUE_MAX_SIZE     1024
/* Pieces of host memory that one request may have. */
#define VIRTIO_MAX_PIECES         1024
#define VIRTIO_NO_VECTOR          0xffff
#define VIRTIO_CONFIG_MAX         256 /* bytes of a device's configuration structure */

/* device status (2.1) */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01
#define VIRTIO_STATUS_DRIVER      0x02
#define VIRTIO_STATUS_DRIVER_OK   0x04
#define VIRTIO_STATUS_FEATURES_OK 0x08
#define VIRTIO_STATUS_NEEDS_RESET 0x40
#define VIRTIO_STATUS_FAILED      0x80

/* feature bits of the core (6) */
#define VIRTIO_F_NOTIFY_ON_EMPTY  24
#define VIRTIO_F_ANY_LAYOUT       27
#define VIRTIO_F_BAD_FEATURE      30 /* legacy: a driver that takes it takes everything */
#define VIRTIO_F_INDIRECT_DESC    28
#define VIRTIO_F_EVENT_IDX        29
#define VIRTIO_F_VERSION_1        32
#define VIRTIO_F_ACCESS_PLATFORM  33
#define VIRTIO_F_RING_PACKED      34
#define VIRTIO_F_RING_RESET       40

#define VIRTIO_BIT(n)             (1ull << (n))

struct virtqueue_state {
    uint64_t desc, driver, device; /* guest addresses of the ring's parts */
    uint16_t size, vector;
    uint16_t last_avail, used; /* the next to take, the next to give back */
    uint16_t signalled;        /* split: used index at the last interrupt */
    bool enabled, signalled_valid;
    bool avail_wrap, used_wrap; /* packed */
    uint8_t pad[2];
};
struct virtio_state {
    uint64_t driver_features;
    uint32_t device_select, driver_select, generation;
    uint16_t queue_select, config_vector;
    struct virtqueue_state queue[VIRTIO_MAX_QUEUES];
    uint8_t status, isr;
    bool legacy; /* the driver uses the legacy interface */
    uint8_t pad[5];
};
extern const struct state_field virtio_state_fields[];

struct virtio;

/* A request of the guest: descriptors as host memory, the device-readable part first. */
struct virtqueue_element {
    uint16_t head, n_descriptors; /* packed: buffer id, descriptors that it takes */
    unsigned generation;          /* of the queue's life */
    unsigned n_out, n_in;         /* pieces to read, pieces to write */
    uint64_t out_bytes, in_bytes;
    struct iovec *out, *in;
    gpa_t *out_addr, *in_addr; /* of each piece */
};

struct virtqueue {
    struct virtio *virtio;
    struct virtqueue_state *s;
    uint16_t index, max_size; /* max_size 0: no such queue */
    int fd;                   /* the doorbell, an eventfd; -1: not yet */
    _Atomic bool rung;        /* the doorbell rang and home did not look yet */
    _Atomic bool lent;        /* somebody outside serves it, and watches the doorbell */
    /* The transport's, while somebody outside interrupts: */
    struct pci_line *line;
    GSource *call;
    void (*raise)(void *opaque);
    void *raise_opaque;
    /* the home's */
    GSource *source;
    bool running;
    unsigned generation;
    unsigned view; /* the map's generation for which the next three hold */
    uint8_t *desc, *driver, *device;
};

struct virtio_ops {
    const char *name;
    uint16_t id;           /* 5: device types */
    uint16_t config_bytes; /* of the device's configuration structure; constant */
    /* Features beyond the core's that the device offers. */
    uint64_t (*features)(struct virtio *);
    /* Registers; machine lock held. get fills config_bytes bytes. set is called after the guest
     * wrote config[offset..]; NULL: nothing can be written. */
    void (*get_config)(struct virtio *, uint8_t *config);
    void (*set_config)(struct virtio *, const uint8_t *config);
    /* The driver chose its features and is up (DRIVER_OK). Machine lock held. NULL is fine. */
    void (*started)(struct virtio *);
    /* Home: the guest rang the doorbell of a queue. */
    void (*queue)(struct virtio *, struct virtqueue *);
    /* Ends all requests: after it none of the old elements is used. Machine lock held; home does
     * not look at queues. NULL is fine. */
    void (*reset)(struct virtio *);
    /* The same for one queue: home does not look at it, and forgets what it had. NULL: there is
     * nothing under way that would touch the guest's memory. */
    void (*queue_reset)(struct virtio *, struct virtqueue *);
    /* Of devices whose queues somebody outside serves, the host's kernel: virtio_may_lend() may
     * say yes from now on, lend the queues; they are all to be back on return. Machine lock held;
     * at any time, and any number of times. NULL: nobody does. */
    void (*lend)(struct virtio *);
    void (*recall)(struct virtio *);
};

struct virtio {
    struct device *dev; /* that it is part of */
    const struct virtio_ops *ops;
    struct virtio_state *s;
    struct loop *home;
    struct address_space *mem;
    uint64_t offered;
    struct virtqueue queue[VIRTIO_MAX_QUEUES];
    unsigned n_queues;
    GSource *recall_bell; /* main loop: the device broke; NULL: it lends nothing */
    bool paused;          /* home */
    _Atomic bool master;  /* the guest lets the device use its memory */
    /* The transport's: an interrupt with that vector, VIRTIO_NO_VECTOR where interrupts have none.
     * Any thread. */
    void (*interrupt)(struct virtio *, uint16_t vector, bool config);
    /* The transport's: the queue's fd was opened, or is about to be closed. Machine lock held. NULL
     * is fine. */
    void (*doorbell)(struct virtio *, struct virtqueue *, bool opened);
    /* The transport's: whoever signals the eventfd interrupts for that queue, where possible
     * without this process; else raise(opaque) is called on the main loop. fd -1: no more. Machine
     * lock held. */
    void (*line)(struct virtio *, struct virtqueue *, int fd, void (*raise)(void *opaque),
                 void *opaque);
};

/* ---- the device's side; machine lock held unless said */

/* From realize, before the transport is set up. home: env->loop or the I/O thread's. */
void virtio_init(struct virtio *v, struct device *dev, const struct virtio_ops *ops,
                 struct virtio_state *state, struct loop *home);
/* A queue of at most max_size descriptors (a power of two). In order of their numbers. */
struct virtqueue *virtio_add_queue(struct virtio *v, uint16_t max_size);
void virtio_finish(struct virtio *v); /* a half-initialised one is fine */
void virtio_reset(struct virtio *v);
void virtio_pause(struct virtio *v);
void virtio_resume(struct virtio *v); /* looks at all queues */
/* The configuration changed: generation and interrupt. */
void virtio_config_changed(struct virtio *v);
static inline bool virtio_has(const struct virtio *v, unsigned feature)
{
    return v->s->driver_features & VIRTIO_BIT(feature);
}
/* Whether the driver is up. Any thread. */
bool virtio_is_running(const struct virtio *v);
/* Whether somebody else may serve the queues that are enabled. */
bool virtio_may_lend(const struct virtio *v);
/* The queue is somebody else's, who watches vq->fd, until it comes back: with what is then in vq->s
 * home goes on. */
void virtqueue_lend(struct virtqueue *vq);
void virtqueue_take_back(struct virtqueue *vq);
/* The bus does or does not let the device use the guest's memory. */
void virtio_set_master(struct virtio *v, bool master);

/* ---- rings; home only */

/* The next request; NULL: none, or the device is broken. Ended by virtqueue_push() or _drop(). */
struct virtqueue_element *virtqueue_pop(struct virtqueue *vq);
/* Gives it back with `written` bytes put into its in part. Frees it. A request from before a reset
 * is only freed. */
void virtqueue_push(struct virtqueue *vq, struct virtqueue_element *element, uint64_t written);
/* The same for n of them, in the order in which they came; the guest sees all or none. */
void virtqueue_push_all(struct virtqueue *vq, struct virtqueue_element *const *elements,
                        const uint64_t *written, unsigned n);
void virtqueue_drop(struct virtqueue_element *element);
/* Takes back what virtqueue_pop() gave last. */
void virtqueue_unpop(struct virtqueue *vq, struct virtqueue_element *element);
/* Requests in streams: appends sections and returns how many. Device paused. */
unsigned virtqueue_element_save(const struct virtqueue *vq, const struct virtqueue_element *element,
                                GByteArray *out);
/* Reads one, of at most *n sections, which become fewer; *vq: its queue. After virtio_post_load().
 * NULL and *error: it is none that the guest could have made. */
struct virtqueue_element *virtqueue_element_load(struct virtio *v, struct virtqueue **vq,
                                                 struct state_input *in, unsigned *n,
                                                 GError **error);
/* Interrupts the guest if it wants that for what was pushed. */
void virtqueue_notify(struct virtqueue *vq);
/* Whether the guest is to ring. With true the caller looks once more afterwards: something may have
 * come just before. */
void virtqueue_set_doorbell(struct virtqueue *vq, bool wanted);
bool virtqueue_has_more(struct virtqueue *vq);
/* The device is broken from now on; text says why. */
void virtio_break(struct virtio *v, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* Around home's use of guest memory when it was not called by ops->queue: completions. Nothing when
 * home is the main loop. */
void virtio_enter(struct virtio *v);
void virtio_leave(struct virtio *v);
/* Has home call ops->queue() for this queue soon. Any thread. */
void virtqueue_ring(struct virtqueue *vq);

/* Copies between a buffer and a request, from offset on; returns how many bytes there were. */
size_t iov_read(const struct iovec *iov, unsigned n, size_t offset, void *buf, size_t bytes);
size_t iov_write(const struct iovec *iov, unsigned n, size_t offset, const void *buf, size_t bytes);

/* ---- the transport's side; machine lock held */

void virtio_set_status(struct virtio *v, uint8_t status);
/* The device's configuration structure; size is 1 to 8. */
uint64_t virtio_config_read(struct virtio *v, uint64_t offset, unsigned size);
void virtio_config_write(struct virtio *v, uint64_t offset, uint64_t value, unsigned size);
/* The low or high half of an address that is written in two. */
void virtio_set_half(uint64_t *field, bool high, uint64_t value, unsigned size);
void virtio_set_features(struct virtio *v, uint32_t select, uint32_t bits);
uint64_t virtio_offered(const struct virtio *v); /* as the driver's interface shows them */
void virtio_queue_enable(struct virtio *v, unsigned n);
void virtio_queue_disable(struct virtio *v, unsigned n);
void virtio_queue_reset(struct virtio *v, unsigned n); /* by the driver, 2.6.1 */
/* After state was loaded: queues run on. */
bool virtio_post_load(struct virtio *v, GError **error);

#endif
