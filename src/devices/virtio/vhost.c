/*
 * Virtqueues that the host's kernel serves: see vhost.h.
 *
 * Order at a start: memory, log, features, rings, then the device itself; the kernel refuses most
 * of that while it runs. Packed rings are left out, which it does not know.
 */
#include "devices/virtio/vhost.h"

#include "base/log.h"
#include "memory/dirty.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define QUEUES_MAX 2

struct vhost_queue {
    struct vhost *h;
    struct virtqueue *vq;
    unsigned n;    /* its number for the kernel */
    int call, err; /* eventfds; -1: not yet */
    GSource *err_watch;
};

struct vhost {
    struct virtio *v;
    const char *path;
    int fd;
    uint64_t features, accepted;
    vhost_run_fn run;
    void *opaque;
    struct vhost_queue queue[QUEUES_MAX];
    unsigned n_queues;
    bool lent;    /* the queues are not home's */
    bool running; /* the kernel serves them */
    GSource *bell;
    char *failure; /* why the kernel stopped though the queues are lent; what the bell is for */
    struct map_listener listener;
    struct vhost_table *table;
    struct vhost_log *log; /* the kernel writes to it; NULL: it does not log */
    bool must_tell;        /* somebody has to know of each write, log or not */
};

/* ---- the kernel */

int vhost_call(const struct vhost *h, unsigned long request, const void *arg)
{
    int status;

    do {
        status = ioctl(h->fd, request, arg);
    } while (status < 0 && errno == EINTR);
    return status < 0 ? -errno : status;
}

static bool call(const struct vhost *h, const char *what, unsigned long request, const void *arg,
                 GError **error)
{
    int status = vhost_call(h, request, arg);

    if (status < 0) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: %s: %s", h->path, what, g_strerror(-status));
    }
    return status >= 0;
}

static bool set_table(const struct vhost *h, const struct vhost_table *table, GError **error)
{
    g_autofree struct vhost_memory *memory =
        g_malloc0(sizeof(*memory) + table->n * sizeof(memory->regions[0]));

    memory->nregions = table->n;
    for (unsigned i = 0; i < table->n; i++) {
        const struct vhost_range *r = &table->range[i];

        memory->regions[i] = (struct vhost_memory_region){
            .guest_phys_addr = r->start,
            .memory_size = r->bytes,
            .userspace_addr = (uintptr_t)(r->ram->host + r->offset),
        };
    }
    if (!call(h, "VHOST_SET_MEM_TABLE", VHOST_SET_MEM_TABLE, memory, error)) {
        g_prefix_error(error, "%u pieces of memory: ", table->n);
        return false;
    }
    return true;
}

static bool set_features(const struct vhost *h, GError **error)
{
    uint64_t features = h->accepted | (h->log ? VIRTIO_BIT(VHOST_F_LOG_ALL) : 0);

    return call(h, "VHOST_SET_FEATURES", VHOST_SET_FEATURES, &features, error);
}

static bool set_log_base(const struct vhost *h, GError **error)
{
    uint64_t base = h->log ? (uintptr_t)h->log->bits : 0;

    return !h->log || call(h, "VHOST_SET_LOG_BASE", VHOST_SET_LOG_BASE, &base, error);
}

/* ---- rings */

/* As vhost.h has them: a split ring's parts, in this process. */
static bool ring_find(const struct vhost *h, const struct vhost_queue *q,
                      struct vhost_vring_addr *addr)
{
    const struct virtqueue_state *s = q->vq->s;
    const uint8_t *desc = vhost_table_host(h->table, s->desc, 16ull * s->size);
    const uint8_t *driver = vhost_table_host(h->table, s->driver, 6 + 2ull * s->size);
    const uint8_t *device = vhost_table_host(h->table, s->device, 6 + 8ull * s->size);

    *addr = (struct vhost_vring_addr){
        .index = q->n,
        .flags = h->log ? 1u << VHOST_VRING_F_LOG : 0,
        .desc_user_addr = (uintptr_t)desc,
        .avail_user_addr = (uintptr_t)driver,
        .used_user_addr = (uintptr_t)device,
        .log_guest_addr = s->device,
    };
    return desc && driver && device;
}

static bool set_ring_addr(const struct vhost *h, const struct vhost_queue *q, GError **error)
{
    struct vhost_vring_addr addr;

    if (!ring_find(h, q, &addr)) {
        g_set_error(error, DEVICE_ERROR, 0, "queue %u is not in the guest's RAM", q->vq->index);
        return false;
    }
    return call(h, "VHOST_SET_VRING_ADDR", VHOST_SET_VRING_ADDR, &addr, error);
}

static bool set_ring_fd(const struct vhost_queue *q, const char *what, unsigned long request,
                        int fd, GError **error)
{
    struct vhost_vring_file file = {.index = q->n, .fd = fd};

    return call(q->h, what, request, &file, error);
}

static bool ring_start(const struct vhost *h, const struct vhost_queue *q, GError **error)
{
    struct vhost_vring_state size = {.index = q->n, .num = q->vq->s->size};
    struct vhost_vring_state base = {.index = q->n, .num = q->vq->s->last_avail};

    return call(h, "VHOST_SET_VRING_NUM", VHOST_SET_VRING_NUM, &size, error) &&
           call(h, "VHOST_SET_VRING_BASE", VHOST_SET_VRING_BASE, &base, error) &&
           set_ring_addr(h, q, error) &&
           set_ring_fd(q, "VHOST_SET_VRING_KICK", VHOST_SET_VRING_KICK, q->vq->fd, error) &&
           set_ring_fd(q, "VHOST_SET_VRING_CALL", VHOST_SET_VRING_CALL, q->call, error) &&
           set_ring_fd(q, "VHOST_SET_VRING_ERR", VHOST_SET_VRING_ERR, q->err, error);
}

/* Where the kernel has got to. It has finished what it took, so the ring's used index is all that
 * there is to know besides. */
static void ring_stop(const struct vhost *h, const struct vhost_queue *q)
{
    struct vhost_vring_state base = {.index = q->n};
    struct virtqueue_state *s = q->vq->s;
    const uint16_t *used = vhost_table_host(h->table, s->device + 2, 2);
    int status = vhost_call(h, VHOST_GET_VRING_BASE, &base);

    if (status < 0) {
        log_error("%s: VHOST_GET_VRING_BASE: %s", h->path, g_strerror(-status));
    } else {
        s->last_avail = (uint16_t)base.num;
    }
    if (used) {
        s->used = GUINT16_FROM_LE(__atomic_load_n(used, __ATOMIC_ACQUIRE));
    }
    s->signalled_valid = false;
}

/* ---- what the kernel writes */

static bool wants_log(const struct vhost *h)
{
    if (h->must_tell) {
        return true;
    }
    for (unsigned i = 0; i < h->table->n; i++) {
        if (dirty_logged(h->table->range[i].ram)) {
            return true;
        }
    }
    return false;
}

/* Has the kernel write to another log, or to none, from now on. false: it goes on as before. */
static bool kernel_set_log(struct vhost *h, struct vhost_log *log, GError **error)
{
    struct vhost_log *was = h->log;
    bool ok;

    h->log = log;
    ok = set_log_base(h, error) && set_features(h, error);
    for (unsigned i = 0; i < h->n_queues && ok; i++) {
        ok = set_ring_addr(h, &h->queue[i], error);
    }
    if (!ok) {
        h->log = was;
    }
    return ok;
}

/* The log that is needed for a table; whatever the old one says has been told or is in the new
 * one's place. The kernel runs. */
static bool log_update(struct vhost *h, const struct vhost_table *table, GError **error)
{
    uint64_t pages = vhost_table_end(table) / GUEST_PAGE_SIZE;
    struct vhost_log *was = h->log, *log = NULL;

    if (wants_log(h) ? was && was->pages >= pages : !was) {
        return true;
    }
    if (wants_log(h)) {
        log = vhost_log_new(table);
        if (!log) {
            g_set_error(error, DEVICE_ERROR, 0,
                        "no memory for a log of %" G_GUINT64_FORMAT " pages", pages);
            return false;
        }
    }
    if (!kernel_set_log(h, log, error)) {
        vhost_log_free(log);
        return false;
    }
    if (was) {
        vhost_log_tell(was, h->table, h->v->mem, NULL, true);
        vhost_log_free(was);
    }
    return true;
}

/* ---- interrupts and errors */

static void queue_raise(void *opaque)
{
    struct vhost_queue *q = opaque;

    if (q->h->must_tell && q->h->log) { /* before the guest looks */
        vhost_log_tell(q->h->log, q->h->table, q->h->v->mem, NULL, true);
    }
    q->h->v->interrupt(q->h->v, q->vq->s->vector, false);
}

static bool eventfd_take(int fd)
{
    uint64_t count;

    return read(fd, &count, sizeof(count)) == sizeof(count);
}

/* The kernel does no more; the queues are not home's yet. */
static void kernel_stop(struct vhost *h)
{
    if (!h->running) {
        return;
    }
    h->running = false;
    h->run(h, false, h->opaque, NULL);
    for (unsigned i = 0; i < h->n_queues; i++) {
        ring_stop(h, &h->queue[i]);
    }
    if (h->log) {
        vhost_log_tell(h->log, h->table, h->v->mem, NULL, true);
    }
}

static void failed(void *opaque)
{
    struct vhost *h = opaque;
    g_autofree char *why = g_steal_pointer(&h->failure);

    if (why) {
        virtio_break(h->v, "%s", why);
    }
}

/* From where home must not be waited for. */
static void kernel_give_up(struct vhost *h, char *why)
{
    kernel_stop(h);
    g_free(h->failure);
    h->failure = why;
    loop_bell_ring(h->bell);
}

static bool kernel_found_error(int fd, GIOCondition condition, void *opaque)
{
    struct vhost_queue *q = opaque;

    if (eventfd_take(fd) && q->h->running) {
        kernel_give_up(q->h, g_strdup_printf("%s: queue %u: the kernel can't go on with the ring, "
                                             "or finds a buffer that is not in RAM",
                                             q->h->path, q->vq->index));
    }
    return true;
}

/* ---- the memory map; its readers are parked, so home is not to be waited for */

static struct vhost *of_listener(struct map_listener *listener)
{
    return (void *)((uint8_t *)listener - offsetof(struct vhost, listener));
}

static bool rings_stay(struct vhost *h, struct vhost_table *now)
{
    struct vhost_table *was = h->table;
    bool same = true;

    for (unsigned i = 0; i < h->n_queues; i++) {
        struct vhost_vring_addr before, after;

        ring_find(h, &h->queue[i], &before);
        h->table = now;
        same = ring_find(h, &h->queue[i], &after) && same &&
               before.desc_user_addr == after.desc_user_addr &&
               before.avail_user_addr == after.avail_user_addr &&
               before.used_user_addr == after.used_user_addr;
        h->table = was;
    }
    return same;
}

/* Logged writes are told by the old table too: a page may have gone between two looks. */
static bool table_replace(struct vhost *h, const struct vhost_table *now, GError **error)
{
    if (h->log) {
        vhost_log_tell(h->log, h->table, h->v->mem, NULL, true);
    }
    if (!log_update(h, now, error) || !set_table(h, now, error)) {
        return false;
    }
    if (h->log) {
        vhost_log_tell(h->log, h->table, h->v->mem, NULL, false);
    }
    return true;
}

static void map_changed(struct map_listener *listener, const struct flat_view *view)
{
    struct vhost *h = of_listener(listener);
    struct vhost_table *now = vhost_table_new(h->v->dev->env, view);
    g_autoptr(GError) why = NULL;

    if (h->table && vhost_table_equal(h->table, now)) {
        g_free(now);
        return;
    }
    if (h->running && !rings_stay(h, now)) {
        kernel_give_up(h, g_strdup("the memory of a queue is taken away"));
    } else if (h->running && !table_replace(h, now, &why)) {
        kernel_give_up(h, g_strdup(why->message));
    }
    g_free(h->table);
    h->table = now;
}

static void log_changed(struct map_listener *listener, struct ram_block *ram)
{
    struct vhost *h = of_listener(listener);
    g_autoptr(GError) why = NULL;

    if (h->running && !log_update(h, h->table, &why)) {
        kernel_give_up(h, g_strdup(why->message));
    }
}

static void log_collect(struct map_listener *listener, struct ram_block *ram)
{
    struct vhost *h = of_listener(listener);

    if (h->log) {
        vhost_log_tell(h->log, h->table, h->v->mem, ram, true);
    }
}

/* ---- start and stop */

static void find_who_must_know(struct vhost *h)
{
    h->must_tell = false;
    for (const struct map_listener *l = h->v->mem->listeners; l; l = l->next) {
        h->must_tell |= l->ram_written != NULL;
    }
}

static bool kernel_start(struct vhost *h, GError **error)
{
    find_who_must_know(h);
    vhost_log_free(g_steal_pointer(&h->log)); /* told at the stop */
    if (wants_log(h) && !(h->log = vhost_log_new(h->table))) {
        g_set_error(error, DEVICE_ERROR, 0, "no memory for a log of what the kernel writes");
        return false;
    }
    if (!set_table(h, h->table, error) || !set_log_base(h, error) || !set_features(h, error)) {
        return false;
    }
    for (unsigned i = 0; i < h->n_queues; i++) {
        if (!ring_start(h, &h->queue[i], error)) {
            return false;
        }
    }
    return h->run(h, true, h->opaque, error);
}

static bool all_enabled(const struct vhost *h)
{
    for (unsigned i = 0; i < h->n_queues; i++) {
        if (!h->queue[i].vq->s->enabled) {
            return false;
        }
    }
    return true;
}

bool vhost_start(struct vhost *h, uint64_t features, GError **error)
{
    struct virtio *v = h->v;

    if (h->lent || !all_enabled(h)) {
        return true;
    }
    for (unsigned i = 0; i < h->n_queues; i++) {
        struct vhost_queue *q = &h->queue[i];

        virtqueue_lend(q->vq);
        v->line(v, q->vq, q->call, queue_raise, q);
    }
    h->lent = true;
    h->accepted = features;
    h->running = kernel_start(h, error);
    if (!h->running) {
        h->run(h, false, h->opaque, NULL);
        vhost_stop(h);
        return false;
    }
    for (unsigned i = 0; i < h->n_queues; i++) {
        virtqueue_ring(h->queue[i].vq); /* what home has not looked at */
    }
    return true;
}

void vhost_stop(struct vhost *h)
{
    struct virtio *v = h->v;

    if (!h->lent) {
        return;
    }
    kernel_stop(h);
    h->lent = false;
    g_clear_pointer(&h->failure, g_free); /* a start finds the same again */
    for (unsigned i = 0; i < h->n_queues; i++) {
        struct vhost_queue *q = &h->queue[i];

        v->line(v, q->vq, -1, NULL, NULL);
        if (eventfd_take(q->call)) { /* signalled, and not seen by anybody */
            queue_raise(q);
        }
        virtqueue_take_back(q->vq);
    }
}

bool vhost_is_running(const struct vhost *h)
{
    return h->running;
}

/* ---- life */

int vhost_open(const char *path, GError **error)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        int why = errno;
        g_autofree char *module = g_path_get_basename(path);

        g_strdelimit(module, "-", '_');
        g_set_error(error, DEVICE_ERROR, 0, "%s: %s%s%s", path, g_strerror(why),
                    why == ENOENT || why == ENXIO || why == ENODEV ? ": load the module " : "",
                    why == ENOENT || why == ENXIO || why == ENODEV ? module : "");
    }
    return fd;
}

static bool queue_init(struct vhost *h, unsigned n, struct virtqueue *vq, GError **error)
{
    struct vhost_queue *q = &h->queue[n];

    *q = (struct vhost_queue){.h = h, .vq = vq, .n = n};
    q->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    q->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->call < 0 || q->err < 0) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: no eventfd: %s", h->path, g_strerror(errno));
        return false;
    }
    q->err_watch = loop_watch_fd(h->v->dev->env->loop, q->err, G_IO_IN, kernel_found_error, q);
    return true;
}

struct vhost *vhost_new(struct virtio *v, int fd, const char *path, unsigned first, unsigned n,
                        vhost_run_fn run, void *opaque, GError **error)
{
    struct vhost *h = g_new0(struct vhost, 1);
    bool ok;

    g_assert(n <= QUEUES_MAX && first + n <= v->n_queues);
    *h = (struct vhost){
        .v = v,
        .path = path,
        .fd = fd,
        .run = run,
        .opaque = opaque,
        .bell = loop_bell_new(v->dev->env->loop, failed, h),
        .listener = {.changed = map_changed,
                     .log_changed = log_changed,
                     .log_collect = log_collect},
    };
    ok = call(h, "VHOST_SET_OWNER", VHOST_SET_OWNER, NULL, error) &&
         call(h, "VHOST_GET_FEATURES", VHOST_GET_FEATURES, &h->features, error);
    for (unsigned i = 0; i < n; i++) {
        ok = queue_init(h, i, &v->queue[first + i], ok ? error : NULL) && ok;
        h->n_queues++;
    }
    address_space_add_listener(v->mem, &h->listener);
    if (!ok) {
        vhost_free(h);
        return NULL;
    }
    return h;
}

void vhost_free(struct vhost *h)
{
    if (!h) {
        return;
    }
    g_assert(!h->lent);
    address_space_remove_listener(h->v->mem, &h->listener);
    loop_bell_free(h->bell);
    vhost_call(h, VHOST_RESET_OWNER, NULL); /* others may have the descriptor too */
    close(h->fd);
    for (unsigned i = 0; i < h->n_queues; i++) {
        loop_unwatch(&h->queue[i].err_watch);
        if (h->queue[i].call >= 0) {
            close(h->queue[i].call);
        }
        if (h->queue[i].err >= 0) {
            close(h->queue[i].err);
        }
    }
    g_free(h->failure);
    g_free(h->table);
    vhost_log_free(h->log);
    g_free(h);
}

uint64_t vhost_features(const struct vhost *h)
{
    return h->features;
}

uint64_t vhost_offer(const struct vhost *h, uint64_t offered, uint64_t own)
{
    return offered & (h->features | ~(own | VHOST_CORE_FEATURES)) &
           ~(VIRTIO_BIT(VIRTIO_F_RING_PACKED) | VIRTIO_BIT(VIRTIO_F_RING_RESET));
}
