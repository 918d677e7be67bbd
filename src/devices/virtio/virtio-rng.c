/*
 * virtio-rng: a source of random numbers (VIRTIO 1.2, section 5.4): one queue of buffers to fill.
 *
 * The numbers come from an object (rng-random, rng-builtin); without rng= from the host's kernel,
 * as rng-builtin's do. max-bytes and period bound what a guest may take: so many bytes in so many
 * milliseconds of guest time.
 */
#include "devices/virtio/virtio-rng.h"

#include "devices/core/object.h"
#include "devices/virtio/virtio-pci.h"
#include <sys/random.h>
#include <unistd.h>

#define QUEUE_SIZE  8
#define CHUNK_BYTES 4096 /* more are not given for one buffer: the guest asks again */

struct virtio_rng_state {
    struct virtio_pci_state proxy;
    int64_t quota_bytes, period_end_ns; /* -1: the period has not begun */
};

static const struct state_field virtio_rng_fields[] = {
    STATE_STRUCT(struct virtio_rng_state, proxy, virtio_pci_state_fields),
    STATE(struct virtio_rng_state, quota_bytes),
    STATE(struct virtio_rng_state, period_end_ns),
    {0},
};

static const struct state_desc virtio_rng_desc = {
    .name = "virtio-rng",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct virtio_rng_state),
    .fields = virtio_rng_fields,
};

struct virtio_rng {
    struct virtio_pci proxy; /* first */
    struct {
        char *rng;
        uint64_t max_bytes;
        uint32_t period_ms;
    } cfg;
    struct virtio_rng_state s;
    struct object *object; /* NULL: the kernel's numbers */
    struct virtqueue *vq;
    GSource *readable; /* the object has more then */
    struct vtimer period;
};

static void rng_fill(struct virtio_rng *d);

static bool source_readable(int fd, GIOCondition condition, void *arg)
{
    struct virtio_rng *d = arg;

    d->readable = NULL;
    rng_fill(d);
    return false;
}

/* Bytes got, 0 when there are none now. */
static ssize_t source_read(struct virtio_rng *d, void *buf, size_t bytes)
{
    int fd = d->object ? d->object->fd : -1;
    ssize_t n = fd >= 0 ? read(fd, buf, bytes) : getrandom(buf, bytes, 0);

    if (n <= 0 && fd >= 0 && !d->readable && n < 0 && (errno == EAGAIN || errno == EINTR)) {
        d->readable =
            loop_watch_fd(d->proxy.virtio.dev->env->loop, fd, G_IO_IN, source_readable, d);
    }
    return MAX(n, 0);
}

/* How much the guest may still have. The period begins with its first request. */
static uint64_t quota(struct virtio_rng *d)
{
    struct vclock *clock = d->proxy.virtio.dev->env->clock;

    if (d->s.period_end_ns < 0 && d->cfg.max_bytes != INT64_MAX) {
        d->s.period_end_ns = vclock_now(clock) + (int64_t)d->cfg.period_ms * NS_PER_MS;
        vtimer_set(&d->period, d->s.period_end_ns);
    }
    return (uint64_t)d->s.quota_bytes;
}

/* Fills what there is; false: no more can be had now. */
static bool fill_all(struct virtio_rng *d, bool *any)
{
    struct virtqueue_element *e;
    uint64_t left;

    while ((left = quota(d)) && (e = virtqueue_pop(d->vq))) {
        uint8_t bytes[CHUNK_BYTES];
        ssize_t n = source_read(d, bytes, MIN(MIN(e->in_bytes, sizeof(bytes)), left));

        if (n == 0 && e->in_bytes) {
            virtqueue_unpop(d->vq, e);
            return false;
        }
        iov_write(e->in, e->n_in, 0, bytes, (size_t)n);
        d->s.quota_bytes -= d->cfg.max_bytes != INT64_MAX ? n : 0;
        virtqueue_push(d->vq, e, (uint64_t)n);
        *any = true;
    }
    return left > 0;
}

static void rng_fill(struct virtio_rng *d)
{
    bool any = false, more;

    if (d->proxy.virtio.paused || d->readable) {
        return;
    }
    do {
        more = fill_all(d, &any);
        virtqueue_set_doorbell(d->vq, true);
    } while (more && virtqueue_has_more(d->vq));
    if (any) {
        virtqueue_notify(d->vq);
    }
}

static void period_over(void *opaque)
{
    struct virtio_rng *d = opaque;

    if (d->s.period_end_ns < 0) {
        return;
    }
    d->s.period_end_ns = -1;
    d->s.quota_bytes = (int64_t)d->cfg.max_bytes;
    rng_fill(d);
}

/* ---- virtio */

static uint64_t rng_features(struct virtio *v)
{
    return 0;
}

static void rng_get_config(struct virtio *v, uint8_t *config)
{
}

static void rng_queue(struct virtio *v, struct virtqueue *vq)
{
    rng_fill((struct virtio_rng *)v->dev);
}

static const struct virtio_ops rng_ops = {
    .name = "virtio-rng",
    .id = 4,
    .features = rng_features,
    .get_config = rng_get_config,
    .queue = rng_queue,
};

/* ---- the device */

static bool rng_realize(struct device *dev, GError **error)
{
    struct virtio_rng *d = (struct virtio_rng *)dev;

    if (d->cfg.rng) {
        d->object =
            object_use(dev->env, d->cfg.rng,
                       1u << OBJECT_TYPE_RNG_BUILTIN | 1u << OBJECT_TYPE_RNG_RANDOM, "rng", error);
        if (!d->object) {
            g_prefix_error(error, "%s: ", dev->class->name);
            return false;
        }
    }
    d->period = (struct vtimer){
        .clock = dev->env->clock, .fn = period_over, .opaque = d, .deadline_ns = -1};
    virtio_init(&d->proxy.virtio, dev, &rng_ops, &d->s.proxy.virtio, dev->env->loop);
    d->vq = virtio_add_queue(&d->proxy.virtio, QUEUE_SIZE);
    return virtio_pci_realize(&d->proxy, &d->s.proxy, 0x00ff, error);
}

static void rng_unrealize(struct device *dev)
{
    struct virtio_rng *d = (struct virtio_rng *)dev;

    if (d->period.clock) {
        vtimer_cancel(&d->period);
    }
    if (d->readable) {
        g_source_destroy(d->readable);
    }
    virtio_pci_unrealize(dev);
    object_release(d->object);
}

static void rng_reset(struct device *dev, enum reset_kind kind)
{
    struct virtio_rng *d = (struct virtio_rng *)dev;

    virtio_pci_reset(dev, kind);
    vtimer_cancel(&d->period);
    d->s.quota_bytes = (int64_t)d->cfg.max_bytes;
    d->s.period_end_ns = -1;
}

static bool rng_post_load(struct device *dev, GError **error)
{
    struct virtio_rng *d = (struct virtio_rng *)dev;

    if (d->s.period_end_ns >= 0) {
        vtimer_set(&d->period, d->s.period_end_ns);
    }
    return virtio_pci_post_load(dev, error);
}

#define RNG_PROPERTIES                                                                             \
    {"rng", PROP_STRING, offsetof(struct virtio_rng, cfg.rng),                                     \
     .help = "id of an object rng-random or rng-builtin; else the host's kernel"},                 \
        {"max-bytes",                                                                              \
         PROP_U64,                                                                                 \
         offsetof(struct virtio_rng, cfg.max_bytes),                                               \
         .def = INT64_MAX,                                                                         \
         .min = 1,                                                                                 \
         .max = INT64_MAX,                                                                         \
         .help = "bytes that the guest gets in a period"},                                         \
    {                                                                                              \
        "period", PROP_U32, offsetof(struct virtio_rng, cfg.period_ms),                            \
            .def = 1 << 16, .min = 1, .max = UINT32_MAX, .help = "its length in milliseconds"      \
    }

static const struct property virtio_rng_props[] = {
    RNG_PROPERTIES,
    VIRTIO_PCI_PROPERTIES(struct virtio_rng, UINT32_MAX),
    {NULL},
};

static const struct property virtio_rng_props_mmio[] = {
    RNG_PROPERTIES,
    VIRTIO_PROPERTIES(struct virtio_rng),
    {NULL},
};

VIRTIO_CLASSES(rng, "random numbers from the host (virtio)", struct virtio_rng,
               .realize = rng_realize, .unrealize = rng_unrealize, .reset = rng_reset,
               .pause = virtio_pci_pause, .resume = virtio_pci_resume, .post_load = rng_post_load);
