/*
 * The core of virtio devices: status, features, the life of queues, doorbells. See virtio.h.
 */
#include "devices/virtio/virtio.h"

#include "base/log.h"
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const struct state_field queue_fields[] = {
    STATE(struct virtqueue_state, desc),
    STATE(struct virtqueue_state, driver),
    STATE(struct virtqueue_state, device),
    STATE_MAX(struct virtqueue_state, size, VIRTIO_QUEUE_MAX_SIZE),
    STATE(struct virtqueue_state, vector),
    STATE(struct virtqueue_state, last_avail),
    STATE(struct virtqueue_state, used),
    STATE(struct virtqueue_state, signalled),
    STATE(struct virtqueue_state, enabled),
    STATE(struct virtqueue_state, signalled_valid),
    STATE(struct virtqueue_state, avail_wrap),
    STATE(struct virtqueue_state, used_wrap),
    STATE_PAD(struct virtqueue_state, pad),
    {0},
};

const struct state_field virtio_state_fields[] = {
    STATE(struct virtio_state, driver_features),
    STATE(struct virtio_state, device_select),
    STATE(struct virtio_state, driver_select),
    STATE(struct virtio_state, generation),
    STATE(struct virtio_state, queue_select),
    STATE(struct virtio_state, config_vector),
    STATE_STRUCT_ARRAY(struct virtio_state, queue, queue_fields),
    STATE(struct virtio_state, status),
    STATE(struct virtio_state, isr),
    STATE(struct virtio_state, legacy),
    STATE_PAD(struct virtio_state, pad),
    {0},
};

static bool home_is_main(const struct virtio *v)
{
    return v->home == v->dev->env->loop;
}

/* ---- doorbells */

static void look_at(struct virtqueue *vq)
{
    struct virtio *v = vq->virtio;

    if (!vq->running || v->paused) {
        return;
    }
    virtio_enter(v);
    v->ops->queue(v, vq);
    virtio_leave(v);
}

static bool doorbell_rang(int fd, GIOCondition condition, void *arg)
{
    struct virtqueue *vq = arg;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0) {
        return true; /* somebody was faster */
    }
    atomic_store(&vq->rung, false); /* before looking: a ring after this comes again */
    look_at(vq);
    return true;
}

void virtqueue_ring(struct virtqueue *vq)
{
    const uint64_t one = 1;

    if (vq->fd >= 0 && (atomic_load(&vq->lent) || !atomic_exchange(&vq->rung, true))) {
        if (write(vq->fd, &one, sizeof(one)) < 0) {
            log_error("virtio: a doorbell can't be rung: %m");
        }
    }
}

void virtio_enter(struct virtio *v)
{
    if (!home_is_main(v)) {
        address_space_reader_begin(v->mem);
    }
}

void virtio_leave(struct virtio *v)
{
    if (!home_is_main(v)) {
        address_space_reader_end(v->mem);
    }
}

/* ---- on the home's thread */

static void on_home(struct virtio *v, void (*fn)(void *arg), void *arg)
{
    if (home_is_main(v)) {
        fn(arg); /* the machine lock is held */
    } else {
        loop_call(v->home, fn, arg);
    }
}

static void queue_run(void *arg)
{
    struct virtqueue *vq = arg;

    vq->running = true;
    vq->generation++;
    vq->desc = NULL;
    if (!vq->source) {
        vq->source = loop_watch_fd(vq->virtio->home, vq->fd, G_IO_IN, doorbell_rang, vq);
    }
}

static void queue_stop(void *arg)
{
    struct virtqueue *vq = arg;

    vq->running = false;
    vq->generation++; /* what is under way is not given back */
}

static void queues_stop(void *arg)
{
    struct virtio *v = arg;

    for (unsigned i = 0; i < v->n_queues; i++) {
        queue_stop(&v->queue[i]);
    }
}

static void queue_lend(void *arg)
{
    struct virtqueue *vq = arg;

    queue_stop(vq);
    loop_unwatch(&vq->source);
    atomic_store(&vq->lent, true);
    atomic_store(&vq->rung, false);
}

static void queue_take_back(void *arg)
{
    struct virtqueue *vq = arg;

    atomic_store(&vq->rung, false);
    atomic_store(&vq->lent, false);
    queue_run(vq);
}

static void sources_destroy(void *arg)
{
    struct virtio *v = arg;

    for (unsigned i = 0; i < v->n_queues; i++) {
        if (v->queue[i].source) {
            g_source_destroy(g_steal_pointer(&v->queue[i].source));
        }
    }
}

static void pause_home(void *arg)
{
    ((struct virtio *)arg)->paused = true;
}

static void resume_home(void *arg)
{
    struct virtio *v = arg;

    v->paused = false;
    for (unsigned i = 0; i < v->n_queues; i++) {
        look_at(&v->queue[i]);
    }
}

/* ---- life */

static void recall(struct virtio *v)
{
    if (v->ops->recall) {
        v->ops->recall(v);
    }
}

static void recall_broken(void *opaque)
{
    struct virtio *v = opaque;

    if (v->s->status & VIRTIO_STATUS_NEEDS_RESET) { /* it may be another's by now */
        recall(v);
    }
}

void virtio_init(struct virtio *v, struct device *dev, const struct virtio_ops *ops,
                 struct virtio_state *state, struct loop *home)
{
    g_assert(ops->config_bytes <= VIRTIO_CONFIG_MAX);
    v->dev = dev;
    v->ops = ops;
    v->s = state;
    v->home = home;
    v->mem = dev->env->mem;
    v->paused = true;
    v->recall_bell = ops->recall ? loop_bell_new(dev->env->loop, recall_broken, v) : NULL;
    v->offered = VIRTIO_BIT(VIRTIO_F_VERSION_1) | VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) |
                 VIRTIO_BIT(VIRTIO_F_EVENT_IDX);
}

struct virtqueue *virtio_add_queue(struct virtio *v, uint16_t max_size)
{
    struct virtqueue *vq = &v->queue[v->n_queues];

    g_assert(v->n_queues < VIRTIO_MAX_QUEUES && max_size <= VIRTIO_QUEUE_MAX_SIZE);
    vq->virtio = v;
    vq->s = &v->s->queue[v->n_queues];
    vq->index = (uint16_t)v->n_queues++;
    vq->max_size = max_size;
    vq->fd = -1;
    return vq;
}

static void tell_transport(struct virtqueue *vq, bool opened)
{
    if (vq->virtio->doorbell) {
        vq->virtio->doorbell(vq->virtio, vq, opened);
    }
}

static void lend(struct virtio *v)
{
    if (v->ops->lend) {
        v->ops->lend(v);
    }
}

bool virtio_may_lend(const struct virtio *v)
{
    return virtio_is_running(v) && v->s->status & VIRTIO_STATUS_DRIVER_OK && !v->paused &&
           atomic_load_explicit(&v->master, memory_order_relaxed);
}

void virtqueue_lend(struct virtqueue *vq)
{
    on_home(vq->virtio, queue_lend, vq);
}

void virtqueue_take_back(struct virtqueue *vq)
{
    on_home(vq->virtio, queue_take_back, vq);
    virtqueue_ring(vq); /* what came meanwhile */
}

void virtio_set_master(struct virtio *v, bool master)
{
    if (atomic_exchange(&v->master, master) == master) {
        return;
    }
    if (master) {
        lend(v);
    } else {
        recall(v);
    }
}

void virtio_finish(struct virtio *v)
{
    if (!v->dev) {
        return;
    }
    recall(v);
    on_home(v, queues_stop, v);
    loop_bell_free(g_steal_pointer(&v->recall_bell)); /* nobody breaks it any more */
    if (v->ops->reset) {
        v->ops->reset(v);
    }
    on_home(v, sources_destroy, v);
    for (unsigned i = 0; i < v->n_queues; i++) {
        if (v->queue[i].fd >= 0) {
            tell_transport(&v->queue[i], false);
            close(v->queue[i].fd);
        }
    }
    v->n_queues = 0;
    v->dev = NULL;
}

static void queue_defaults(struct virtqueue *vq)
{
    *vq->s = (struct virtqueue_state){
        .size = vq->max_size, .vector = VIRTIO_NO_VECTOR, .avail_wrap = true, .used_wrap = true};
}

static bool any_running(const struct virtio *v)
{
    for (unsigned i = 0; i < v->n_queues; i++) {
        if (v->s->queue[i].enabled) {
            return true;
        }
    }
    return false;
}

void virtio_reset(struct virtio *v)
{
    recall(v);
    if (any_running(v)) {
        on_home(v, queues_stop, v);
    }
    if (v->ops->reset) {
        v->ops->reset(v);
    }
    *v->s = (struct virtio_state){.config_vector = VIRTIO_NO_VECTOR};
    for (unsigned i = 0; i < v->n_queues; i++) {
        queue_defaults(&v->queue[i]);
    }
}

void virtio_pause(struct virtio *v)
{
    recall(v);
    on_home(v, pause_home, v);
}

void virtio_resume(struct virtio *v)
{
    on_home(v, resume_home, v);
    lend(v);
}

bool virtio_is_running(const struct virtio *v)
{
    uint8_t status = __atomic_load_n(&v->s->status, __ATOMIC_ACQUIRE);

    return !(status & VIRTIO_STATUS_NEEDS_RESET) &&
           (status & VIRTIO_STATUS_DRIVER_OK || v->s->legacy);
}

void virtio_break(struct virtio *v, const char *fmt, ...)
{
    char text[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    log_guest("%s%s%s: %s: the device needs a reset", v->ops->name, v->dev->id ? " " : "",
              v->dev->id ? v->dev->id : "", text);
    __atomic_fetch_or(&v->s->status, VIRTIO_STATUS_NEEDS_RESET, __ATOMIC_ACQ_REL);
    if (v->recall_bell) {
        loop_bell_ring(v->recall_bell);
    }
    if (virtio_has(v, VIRTIO_F_VERSION_1)) {
        __atomic_fetch_add(&v->s->generation, 1, __ATOMIC_RELAXED);
        v->interrupt(v, v->s->config_vector, true);
    }
}

void virtio_config_changed(struct virtio *v)
{
    __atomic_fetch_add(&v->s->generation, 1, __ATOMIC_RELAXED);
    if (virtio_is_running(v)) {
        v->interrupt(v, v->s->config_vector, true);
    }
}

/* ---- registers */

/* Bits that only one of the two interfaces has. */
#define LEGACY_BITS                                                                                \
    (VIRTIO_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | VIRTIO_BIT(VIRTIO_F_ANY_LAYOUT) |                      \
     VIRTIO_BIT(VIRTIO_F_BAD_FEATURE))

uint64_t virtio_offered(const struct virtio *v)
{
    uint64_t offered = v->offered | v->ops->features((struct virtio *)v);

    return v->s->legacy ? (uint32_t)(offered | LEGACY_BITS) : offered & ~LEGACY_BITS;
}

void virtio_set_features(struct virtio *v, uint32_t select, uint32_t bits)
{
    uint64_t mask = select < 2 ? UINT32_MAX : 0;

    if (select >= 2 || v->s->status & VIRTIO_STATUS_FEATURES_OK) {
        return; /* 2.2.1: not after they were settled */
    }
    v->s->driver_features &= ~(mask << (32 * select));
    v->s->driver_features |= (uint64_t)bits << (32 * select);
    if (v->s->legacy && v->s->driver_features & VIRTIO_BIT(VIRTIO_F_BAD_FEATURE)) {
        v->s->driver_features = 0; /* it knows none of what it takes */
    }
}

/* FEATURES_OK stays off when the driver wants what it may not have (3.1.1). */
static bool features_fit(struct virtio *v)
{
    uint64_t wanted = v->s->driver_features;

    return !(wanted & ~virtio_offered(v)) && wanted & VIRTIO_BIT(VIRTIO_F_VERSION_1);
}

void virtio_set_status(struct virtio *v, uint8_t status)
{
    struct virtio_state *s = v->s;
    bool was_up = s->status & VIRTIO_STATUS_DRIVER_OK;
    uint8_t fixed;

    if (status == 0) {
        virtio_reset(v);
        return;
    }
    fixed = s->status & VIRTIO_STATUS_NEEDS_RESET;
    if (!s->legacy && status & VIRTIO_STATUS_FEATURES_OK &&
        !(s->status & VIRTIO_STATUS_FEATURES_OK) && !features_fit(v)) {
        status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    }
    if (!s->legacy && !(status & VIRTIO_STATUS_FEATURES_OK)) {
        status &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
    }
    if (s->legacy) {
        s->driver_features &= virtio_offered(v);
    }
    __atomic_store_n(&s->status, (uint8_t)(status | fixed), __ATOMIC_RELEASE);
    if (!was_up && status & VIRTIO_STATUS_DRIVER_OK && v->ops->started) {
        v->ops->started(v);
    }
    if (status & VIRTIO_STATUS_DRIVER_OK) { /* a ring may have come before */
        for (unsigned i = 0; i < v->n_queues; i++) {
            if (s->queue[i].enabled) {
                virtqueue_ring(&v->queue[i]);
            }
        }
        lend(v);
    } else if (was_up) {
        recall(v);
    }
}

uint64_t virtio_config_read(struct virtio *v, uint64_t offset, unsigned size)
{
    uint8_t config[VIRTIO_CONFIG_MAX + 8] = {0};
    uint64_t value = 0;

    if (offset + size > v->ops->config_bytes) {
        return UINT64_MAX; /* nothing is there */
    }
    v->ops->get_config(v, config);
    memcpy(&value, config + offset, size);
    return value;
}

void virtio_config_write(struct virtio *v, uint64_t offset, uint64_t value, unsigned size)
{
    uint8_t config[VIRTIO_CONFIG_MAX + 8] = {0};

    if (v->ops->set_config && offset < v->ops->config_bytes) {
        v->ops->get_config(v, config);
        memcpy(config + offset, &value, size);
        v->ops->set_config(v, config);
    }
}

/* A queue whose registers make no sense is not enabled: the driver reads 0 back. */
static bool queue_is_sane(const struct virtio *v, const struct virtqueue *vq)
{
    const struct virtqueue_state *s = vq->s;
    bool packed = virtio_has(v, VIRTIO_F_RING_PACKED);

    return s->size && s->size <= vq->max_size && (packed || (s->size & (s->size - 1)) == 0) &&
           s->desc % 16 == 0 && s->driver % (packed ? 4 : 2) == 0 && s->device % 4 == 0;
}

static bool queue_open_doorbell(struct virtqueue *vq)
{
    if (vq->fd < 0) {
        vq->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (vq->fd >= 0) {
            tell_transport(vq, true);
        }
    }
    return vq->fd >= 0;
}

void virtio_queue_enable(struct virtio *v, unsigned n)
{
    struct virtqueue *vq = &v->queue[n];

    if (n >= v->n_queues || vq->s->enabled) {
        return;
    }
    if (!queue_is_sane(v, vq)) {
        log_guest("%s: queue %u can't be enabled: size %u", v->ops->name, n, vq->s->size);
        return;
    }
    if (!queue_open_doorbell(vq)) {
        virtio_break(v, "no doorbell for queue %u: %s", n, g_strerror(errno));
        return;
    }
    recall(v);
    vq->s->enabled = true;
    on_home(v, queue_run, vq);
    if (virtio_is_running(v)) {
        virtqueue_ring(vq);
    }
    lend(v);
}

void virtio_queue_disable(struct virtio *v, unsigned n)
{
    struct virtqueue *vq = &v->queue[n];

    if (n < v->n_queues && vq->s->enabled) {
        recall(v);
        on_home(v, queue_stop, vq);
        queue_defaults(vq);
        lend(v);
    }
}

void virtio_queue_reset(struct virtio *v, unsigned n)
{
    virtio_queue_disable(v, n);
    if (v->ops->queue_reset) {
        v->ops->queue_reset(v, &v->queue[n]);
    }
    queue_defaults(&v->queue[n]);
}

bool virtio_post_load(struct virtio *v, GError **error)
{
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
        struct virtqueue_state *s = &v->s->queue[i];
        struct virtqueue *vq = &v->queue[i];

        if (!s->enabled) {
            continue;
        }
        if (i >= v->n_queues || !queue_is_sane(v, vq) ||
            (virtio_has(v, VIRTIO_F_RING_PACKED) &&
             (s->last_avail >= s->size || s->used >= s->size)) ||
            !queue_open_doorbell(vq)) {
            g_set_error(error, DEVICE_ERROR, 0, "%s: state of queue %u is not possible",
                        v->ops->name, i);
            return false;
        }
        on_home(v, queue_run, vq);
    }
    return true;
}
