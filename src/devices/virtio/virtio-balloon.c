/*
 * virtio-balloon: a guest gives pages back to the host and takes them again (VIRTIO 1.2, section
 * 5.5). What is given back loses its contents; the host keeps nothing for it until it is touched.
 *
 * With free-page-reporting the guest also tells of pages that it does not use at the moment.
 *
 * Statistics (5.5.6.3): the driver leaves a buffer with figures, and gets it back when new ones are
 * wanted. A paused device gives it up, and finds it again when it goes on.
 *
 * Left out: free page hints, page poison.
 */
#include "devices/virtio/virtio-balloon.h"

#include "devices/memory-slots.h"
#include "devices/virtio/virtio-pci.h"
#include "qapi-events.h"
#include <string.h>

#define F_MUST_TELL_HOST 0
#define F_STATS          1
#define F_DEFLATE_ON_OOM 2
#define F_REPORTING      5

#define CONFIG_NUM_PAGES 0
#define CONFIG_ACTUAL    4
#define CONFIG_BYTES     16 /* with hint id and poison value, which are 0 */
#define QUEUE_SIZE       128
#define PAGE_BITS        12

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, QUEUE_REPORTING };

#define STAT_BYTES 10 /* a tag of 16 bits, a value of 64 */
#define STATS_READ 64 /* that many figures of a buffer are looked at */

struct virtio_balloon_state {
    struct virtio_pci_state proxy;
    uint32_t num_pages, actual;
};

static const struct state_field virtio_balloon_fields[] = {
    STATE_STRUCT(struct virtio_balloon_state, proxy, virtio_pci_state_fields),
    STATE(struct virtio_balloon_state, num_pages),
    STATE(struct virtio_balloon_state, actual),
    {0},
};

static const struct state_desc virtio_balloon_desc = {
    .name = "virtio-balloon",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct virtio_balloon_state),
    .fields = virtio_balloon_fields,
};

struct virtio_balloon {
    struct virtio_pci proxy; /* first */
    struct {
        bool deflate_on_oom, reporting;
    } cfg;
    struct virtio_balloon_state s;
    struct virtqueue_element *stats_buffer; /* the driver's, until new figures are wanted */
    struct balloon_stats stats;
    struct vtimer stats_timer;
    unsigned stats_interval_s; /* 0: only what the driver sends by itself */
};

/* ---- queues */

/* The place is the guest's word: what is not RAM stays as it is. */
static void give_back(struct virtio_balloon *d, gpa_t addr, uint64_t bytes)
{
    const struct cpus *cpus = d->proxy.pci.dev.env->cpus;

    if (!cpus || !cpus->keeps_memory) {
        address_space_discard(d->proxy.virtio.mem, addr, bytes);
    }
}

static void take_pages(struct virtio_balloon *d, const struct virtqueue_element *e, bool inflate)
{
    uint32_t pfn;

    for (size_t at = 0; inflate && iov_read(e->out, e->n_out, at, &pfn, 4) == 4; at += 4) {
        give_back(d, (gpa_t)GUINT32_FROM_LE(pfn) << PAGE_BITS, 1u << PAGE_BITS);
    }
}

/* Free page reporting: the buffers themselves are what is free. */
static void take_reported(struct virtio_balloon *d, const struct virtqueue_element *e)
{
    for (unsigned i = 0; i < e->n_in; i++) {
        give_back(d, e->in_addr[i], e->in[i].iov_len);
    }
}

static void read_stats(struct balloon_stats *stats, const struct virtqueue_element *e)
{
    uint8_t entry[STAT_BYTES];
    uint16_t tag;
    uint64_t value;

    memset(stats->value, 0xff, sizeof(stats->value));
    for (unsigned i = 0; i < STATS_READ; i++) {
        if (iov_read(e->out, e->n_out, i * STAT_BYTES, entry, STAT_BYTES) != STAT_BYTES) {
            break;
        }
        memcpy(&tag, entry, 2);
        memcpy(&value, entry + 2, 8);
        tag = GUINT16_FROM_LE(tag);
        if (tag < BALLOON_STATS) {
            stats->value[tag] = GUINT64_FROM_LE(value);
        }
    }
    stats->updated_s = g_get_real_time() / G_USEC_PER_SEC;
}

static void arm_stats(struct virtio_balloon *d)
{
    struct vclock *clock = d->proxy.virtio.dev->env->clock;

    if (d->stats_interval_s) {
        vtimer_set(&d->stats_timer, vclock_now(clock) + (int64_t)d->stats_interval_s * 1000000000);
    }
}

/* The driver has one buffer; one that sends more gets the one before back. */
static void take_stats(struct virtio_balloon *d, struct virtqueue *vq, struct virtqueue_element *e)
{
    if (d->stats_buffer) {
        virtqueue_push(vq, d->stats_buffer, 0);
    }
    d->stats_buffer = e;
    read_stats(&d->stats, e);
    arm_stats(d);
}

/* Time for new figures: the driver fills the buffer anew. */
static void want_stats(void *opaque)
{
    struct virtio_balloon *d = opaque;
    struct virtqueue *vq = &d->proxy.virtio.queue[QUEUE_STATS];

    if (!d->stats_buffer || !virtio_has(&d->proxy.virtio, F_STATS)) {
        arm_stats(d);
        return;
    }
    virtqueue_push(vq, g_steal_pointer(&d->stats_buffer), 0);
    virtqueue_notify(vq);
}

static void balloon_queue(struct virtio *v, struct virtqueue *vq)
{
    struct virtio_balloon *d = (struct virtio_balloon *)v->dev;
    struct virtqueue_element *e;
    bool any = false;

    do {
        while ((e = virtqueue_pop(vq))) {
            if (vq->index == QUEUE_STATS) {
                take_stats(d, vq, e);
                any = true;
                continue;
            }
            if (vq->index == QUEUE_REPORTING) {
                take_reported(d, e);
            } else {
                take_pages(d, e, vq->index == QUEUE_INFLATE);
            }
            virtqueue_push(vq, e, 0);
            any = true;
        }
        virtqueue_set_doorbell(vq, true);
    } while (virtqueue_has_more(vq));
    if (any) {
        virtqueue_notify(vq);
    }
}

/* ---- configuration */

static uint64_t balloon_features(struct virtio *v)
{
    const struct virtio_balloon *d = (const struct virtio_balloon *)v->dev;

    return VIRTIO_BIT(F_MUST_TELL_HOST) | VIRTIO_BIT(F_STATS) |
           (d->cfg.deflate_on_oom ? VIRTIO_BIT(F_DEFLATE_ON_OOM) : 0) |
           (d->cfg.reporting ? VIRTIO_BIT(F_REPORTING) : 0);
}

static void balloon_get_config(struct virtio *v, uint8_t *config)
{
    const struct virtio_balloon *d = (const struct virtio_balloon *)v->dev;
    uint32_t pages = GUINT32_TO_LE(d->s.num_pages), actual = GUINT32_TO_LE(d->s.actual);

    memcpy(config + CONFIG_NUM_PAGES, &pages, 4);
    memcpy(config + CONFIG_ACTUAL, &actual, 4);
}

/* What the guest has, with what was plugged in. */
static uint64_t ram_bytes(const struct device *dev)
{
    return dev->env->ram_bytes + memory_slots_plugged_bytes(dev->env->memory_slots);
}

uint64_t virtio_balloon_actual(const struct device *dev)
{
    const struct virtio_balloon *d = (const struct virtio_balloon *)dev;
    uint64_t held = (uint64_t)d->s.actual << PAGE_BITS;

    uint64_t ram = ram_bytes(dev);

    return ram - MIN(held, ram);
}

static void balloon_set_config(struct virtio *v, const uint8_t *config)
{
    struct virtio_balloon *d = (struct virtio_balloon *)v->dev;
    uint32_t actual, old = d->s.actual;

    memcpy(&actual, config + CONFIG_ACTUAL, 4);
    d->s.actual = GUINT32_FROM_LE(actual);
    if (d->s.actual != old && v->dev->env->events) {
        qapi_event_send_balloon_change(v->dev->env->events, (int64_t)virtio_balloon_actual(v->dev));
    }
}

void virtio_balloon_set_target(struct device *dev, uint64_t bytes)
{
    struct virtio_balloon *d = (struct virtio_balloon *)dev;
    uint64_t ram = ram_bytes(dev);

    d->s.num_pages = (uint32_t)((ram - MIN(bytes, ram)) >> PAGE_BITS);
    virtio_config_changed(&d->proxy.virtio);
}

static void drop_stats_buffer(struct virtio_balloon *d)
{
    if (d->stats_buffer) {
        virtqueue_drop(g_steal_pointer(&d->stats_buffer));
    }
}

static void balloon_forget(struct virtio *v)
{
    drop_stats_buffer((struct virtio_balloon *)v->dev);
}

/* ---- statistics, as the host sees them */

void virtio_balloon_stats(const struct device *dev, struct balloon_stats *stats)
{
    *stats = ((const struct virtio_balloon *)dev)->stats;
}

unsigned virtio_balloon_stats_interval(const struct device *dev)
{
    return ((const struct virtio_balloon *)dev)->stats_interval_s;
}

void virtio_balloon_set_stats_interval(struct device *dev, unsigned seconds)
{
    struct virtio_balloon *d = (struct virtio_balloon *)dev;
    bool was_on = d->stats_interval_s != 0;

    if (seconds == d->stats_interval_s) {
        return;
    }
    d->stats_interval_s = seconds;
    vtimer_cancel(&d->stats_timer);
    if (seconds && !was_on) {
        vtimer_set(&d->stats_timer, vclock_now(dev->env->clock)); /* the first at once */
    } else {
        arm_stats(d);
    }
}

static const struct virtio_ops balloon_ops = {
    .name = "virtio-balloon",
    .id = 5,
    .config_bytes = CONFIG_BYTES,
    .features = balloon_features,
    .get_config = balloon_get_config,
    .set_config = balloon_set_config,
    .queue = balloon_queue,
    .reset = balloon_forget,
};

/* ---- the device */

static bool balloon_realize(struct device *dev, GError **error)
{
    struct virtio_balloon *d = (struct virtio_balloon *)dev;

    if (devices_find_class(dev->env, &virtio_balloon_pci_class)) {
        g_set_error(error, DEVICE_ERROR, 0, "Only one balloon device is supported");
        return false;
    }
    virtio_init(&d->proxy.virtio, dev, &balloon_ops, &d->s.proxy.virtio, dev->env->loop);
    for (unsigned i = 0; i <= (d->cfg.reporting ? QUEUE_REPORTING : QUEUE_STATS); i++) {
        virtio_add_queue(&d->proxy.virtio, QUEUE_SIZE);
    }
    memset(d->stats.value, 0xff, sizeof(d->stats.value));
    vtimer_init(&d->stats_timer, dev->env->clock, want_stats, d);
    return virtio_pci_realize(&d->proxy, &d->s.proxy, 0x00ff, error);
}

/* The pages are the guest's again; what it is asked for holds on. */
static void balloon_reset(struct device *dev, enum reset_kind kind)
{
    struct virtio_balloon *d = (struct virtio_balloon *)dev;

    virtio_pci_reset(dev, kind);
    d->s.actual = 0;
    if (kind == RESET_COLD) {
        d->s.num_pages = 0;
    }
}

static void balloon_pause(struct device *dev)
{
    struct virtio_balloon *d = (struct virtio_balloon *)dev;

    if (d->stats_buffer) {
        virtqueue_unpop(&d->proxy.virtio.queue[QUEUE_STATS], g_steal_pointer(&d->stats_buffer));
    }
    virtio_pci_pause(dev);
}

static void balloon_unrealize(struct device *dev)
{
    struct virtio_balloon *d = (struct virtio_balloon *)dev;

    vtimer_cancel(&d->stats_timer);
    drop_stats_buffer(d);
    virtio_pci_unrealize(dev);
}

#define BALLOON_PROPERTIES                                                                         \
    {"deflate-on-oom", PROP_BOOL, offsetof(struct virtio_balloon, cfg.deflate_on_oom),             \
     .help = "the guest may take pages back when it is short of memory"},                          \
    {                                                                                              \
        "free-page-reporting", PROP_BOOL, offsetof(struct virtio_balloon, cfg.reporting),          \
            .help = "the guest tells of pages that it does not use"                                \
    }

static const struct property virtio_balloon_props[] = {
    BALLOON_PROPERTIES,
    VIRTIO_PCI_PROPERTIES(struct virtio_balloon, UINT32_MAX),
    {NULL},
};

static const struct property virtio_balloon_props_mmio[] = {
    BALLOON_PROPERTIES,
    VIRTIO_PROPERTIES(struct virtio_balloon),
    {NULL},
};

VIRTIO_CLASSES(balloon, "memory that the guest gives back (virtio)", struct virtio_balloon,
               .realize = balloon_realize, .unrealize = balloon_unrealize, .reset = balloon_reset,
               .pause = balloon_pause, .resume = virtio_pci_resume,
               .post_load = virtio_pci_post_load);
