/*
 * virtio-blk: a disk (VIRTIO 1.2, section 5.2), with several queues, flush, discard and
 * write-zeroes.
 *
 * Rings are worked on by the block layer's I/O thread, or by one of the user's (iothread=): from
 * the guest's doorbell to the interrupt nothing waits for the machine lock. Requests that fail with
 * the error action stop stay in the back end and are tried again when the machine goes on; the
 * guest sees nothing of it.
 *
 * Left out: SCSI passthrough, zones, secure erase, lifetime.
 */
#include "devices/virtio/virtio-blk.h"

#include "devices/core/disk-sizes.h"
#include "devices/core/iothread.h"
#include "devices/core/object.h"
#include "devices/virtio/virtio-pci.h"
#include <inttypes.h>
#include <string.h>

/* features (5.2.3) */
#define F_SEG_MAX        2
#define F_GEOMETRY       4
#define F_RO             5
#define F_BLK_SIZE       6
#define F_FLUSH          9
#define F_TOPOLOGY       10
#define F_CONFIG_WCE     11
#define F_MQ             12
#define F_DISCARD        13
#define F_WRITE_ZEROES   14

/* configuration (5.2.4) */
#define CONFIG_CAPACITY  0
#define CONFIG_SEG_MAX   12
#define CONFIG_CYLINDERS 16
#define CONFIG_HEADS     18
#define CONFIG_SECTORS   19
#define CONFIG_BLK_SIZE  20
#define CONFIG_PHYSICAL  24
#define CONFIG_MIN_IO    26
#define CONFIG_OPT_IO    28
#define CONFIG_WRITEBACK 32
#define CONFIG_QUEUES    34
#define CONFIG_DISCARD   36 /* sectors, segments, alignment */
#define CONFIG_ZEROES    48 /* sectors, segments, may unmap */
#define CONFIG_BYTES     60

/* requests (5.2.6) */
#define T_IN             0
#define T_OUT            1
#define T_FLUSH          4
#define T_GET_ID         8
#define T_DISCARD        11
#define T_WRITE_ZEROES   13
#define HEADER_BYTES     16
#define ID_BYTES         20
#define SEGMENT_BYTES    16
#define SEGMENT_UNMAP    1

#define S_OK             0
#define S_IOERR          1
#define S_UNSUPP         2

/* So many rounds through a queue, then others of the I/O thread have their turn. */
#define MAX_ROUNDS       8
#define MAX_ZERO_SECTORS 0x3fffffu /* QEMU's: INT_MAX bytes */

struct virtio_blk_state {
    struct virtio_pci_state proxy;
    bool write_cache; /* as the driver has it now */
    uint8_t pad[7];
};

static const struct state_field virtio_blk_fields[] = {
    STATE_STRUCT(struct virtio_blk_state, proxy, virtio_pci_state_fields),
    STATE(struct virtio_blk_state, write_cache),
    STATE_PAD(struct virtio_blk_state, pad),
    {0},
};

static const struct state_desc virtio_blk_desc = {
    .name = "virtio-blk",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct virtio_blk_state),
    .fields = virtio_blk_fields,
};

struct virtio_blk {
    struct virtio_pci proxy; /* first */
    struct {
        char *drive, *serial, *iothread;
        uint32_t queues; /* UINT32_MAX: one for each vCPU */
        uint16_t queue_size;
        struct disk_sizes sizes;
        uint32_t max_discard_sectors, max_zero_sectors;
        uint32_t rerror, werror; /* enum blockdev_on_error */
        uint32_t write_cache;    /* enum on_off_auto */
        bool share_rw, config_wce, discard, write_zeroes, scsi;
        struct bios_geometry bios;
    } cfg;
    struct virtio_blk_state s;
    struct block_backend *backend;
    struct object *iothread; /* NULL: the block layer's own */
    bool read_only, write_cache;
    GPtrArray *arrived; /* struct arrival: requests of a loaded state, until the machine goes on */
    /* the home's */
    bool in_queue;   /* a queue is being worked on: its interrupts come at the end */
    uint64_t pushed; /* queues that have something to tell then, a bit each */
};

/* ---- requests; home */

struct blk_request {
    struct block_request block; /* first */
    struct virtio_blk *disk;
    struct virtqueue *vq;
    struct virtqueue_element *element;
    struct iovec iov[]; /* the data */
};

static void give_back(struct virtio_blk *d, struct virtqueue *vq, struct virtqueue_element *e,
                      uint8_t status, uint64_t data_bytes)
{
    iov_write(e->in, e->n_in, e->in_bytes - 1, &status, 1);
    /* The status is the last byte: everything before it counts as written (2.7.8.2 wants no more).
     */
    virtqueue_push(vq, e, data_bytes + 1 == e->in_bytes ? e->in_bytes : data_bytes + 1);
    d->pushed |= 1ull << vq->index;
    if (!d->in_queue) {
        d->pushed = 0;
        virtqueue_notify(vq);
    }
}

static void request_done(struct block_request *request, int result)
{
    struct blk_request *r = (struct blk_request *)request;
    struct virtio *v = &r->disk->proxy.virtio;
    uint64_t bytes = result == 0 && request->op == BLOCK_READ ? request->bytes : 0;

    virtio_enter(v);
    give_back(r->disk, r->vq, r->element, result == 0 ? S_OK : S_IOERR, bytes);
    virtio_leave(v);
    g_free(r);
}

/* The part of the pieces that begins at skip and is bytes long. */
static int slice(struct iovec *out, const struct iovec *iov, unsigned n, uint64_t skip,
                 uint64_t bytes)
{
    int count = 0;

    for (unsigned i = 0; i < n && bytes; i++) {
        uint64_t part;

        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        part = MIN(bytes, iov[i].iov_len - skip);
        out[count++] = (struct iovec){(uint8_t *)iov[i].iov_base + skip, part};
        skip = 0;
        bytes -= part;
    }
    return count;
}

struct wanted {
    enum block_op op;
    uint64_t sector, bytes;
    unsigned flags;
};

static void submit(struct virtio_blk *d, struct virtqueue *vq, struct virtqueue_element *e,
                   const struct wanted *w)
{
    bool read = w->op == BLOCK_READ, data = read || w->op == BLOCK_WRITE;
    unsigned n = data ? (read ? e->n_in : e->n_out) : 0;
    struct blk_request *r = g_malloc(sizeof(*r) + n * sizeof(struct iovec));

    r->block = (struct block_request){.op = w->op,
                                      .flags = w->flags,
                                      .offset = w->sector * BLOCK_SECTOR_BYTES,
                                      .bytes = w->bytes,
                                      .iov = r->iov,
                                      .done = request_done};
    r->disk = d;
    r->vq = vq;
    r->element = e;
    if (data) {
        r->block.n_iov = slice(r->iov, read ? e->in : e->out, n, read ? 0 : HEADER_BYTES, w->bytes);
    }
    block_backend_submit(d->backend, &r->block);
}

/* What the guest asks for makes sense for the disk's size and block length. */
static bool range_is_sane(struct virtio_blk *d, const struct wanted *w)
{
    uint64_t sectors = block_backend_bytes(d->backend) / BLOCK_SECTOR_BYTES;
    uint64_t n = w->bytes / BLOCK_SECTOR_BYTES;

    if (w->bytes % d->cfg.sizes.logical || w->sector % (d->cfg.sizes.logical / 512) ||
        w->sector > sectors || n > sectors - w->sector ||
        ((w->op == BLOCK_READ || w->op == BLOCK_WRITE) && w->bytes > BLOCK_MAX_BYTES)) {
        block_backend_account_invalid(d->backend, w->op);
        return false;
    }
    return true;
}

/* Discard and write-zeroes: one segment says where. Returns a status, S_OK to go on. */
static uint8_t parse_segment(struct virtio_blk *d, const struct virtqueue_element *e, bool zeroes,
                             struct wanted *w)
{
    uint8_t segment[SEGMENT_BYTES];
    uint64_t sector;
    uint32_t n, flags;

    if (e->out_bytes != HEADER_BYTES + SEGMENT_BYTES ||
        !(zeroes ? d->cfg.write_zeroes : d->cfg.discard)) {
        return S_UNSUPP;
    }
    iov_read(e->out, e->n_out, HEADER_BYTES, segment, sizeof(segment));
    memcpy(&sector, segment, 8);
    memcpy(&n, segment + 8, 4);
    memcpy(&flags, segment + 12, 4);
    if (flags & ~(zeroes ? SEGMENT_UNMAP : 0u)) {
        return S_UNSUPP;
    }
    w->op = zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD;
    w->flags = flags & SEGMENT_UNMAP ? BLOCK_MAY_UNMAP : 0;
    w->sector = sector;
    w->bytes = (uint64_t)n * BLOCK_SECTOR_BYTES;
    return n <= (zeroes ? d->cfg.max_zero_sectors : d->cfg.max_discard_sectors) ? S_OK : S_IOERR;
}

static void get_id(struct virtio_blk *d, struct virtqueue *vq, struct virtqueue_element *e)
{
    char id[ID_BYTES] = {0};
    size_t bytes = MIN(e->in_bytes - 1, sizeof(id));

    if (d->cfg.serial) {
        memcpy(id, d->cfg.serial, MIN(strlen(d->cfg.serial), sizeof(id)));
    }
    iov_write(e->in, e->n_in, 0, id, bytes);
    give_back(d, vq, e, S_OK, bytes);
}

static void handle(struct virtio_blk *d, struct virtqueue *vq, struct virtqueue_element *e)
{
    uint8_t header[HEADER_BYTES], status = S_OK;
    struct wanted w = {0};
    uint32_t type;

    if (e->out_bytes < HEADER_BYTES || e->in_bytes < 1) {
        virtio_break(&d->proxy.virtio, "a request without header or status");
        virtqueue_drop(e);
        return;
    }
    iov_read(e->out, e->n_out, 0, header, sizeof(header));
    memcpy(&type, header, 4);
    memcpy(&w.sector, header + 8, 8);
    switch (type) {
    case T_IN:
        w.op = BLOCK_READ;
        w.bytes = e->in_bytes - 1;
        break;
    case T_OUT:
        w.op = BLOCK_WRITE;
        w.bytes = e->out_bytes - HEADER_BYTES;
        break;
    case T_FLUSH:
        w = (struct wanted){.op = BLOCK_FLUSH};
        break;
    case T_GET_ID:
        get_id(d, vq, e);
        return;
    case T_DISCARD:
    case T_WRITE_ZEROES:
        status = parse_segment(d, e, type == T_WRITE_ZEROES, &w);
        break;
    default:
        status = S_UNSUPP;
        break;
    }
    if (status == S_OK && w.op != BLOCK_FLUSH && !range_is_sane(d, &w)) {
        status = S_IOERR;
    }
    if (status == S_OK && w.op != BLOCK_READ && w.op != BLOCK_FLUSH && d->read_only) {
        status = S_IOERR;
    }
    if (status != S_OK) {
        give_back(d, vq, e, status, 0);
    } else {
        submit(d, vq, e, &w);
    }
}

static void blk_queue(struct virtio *v, struct virtqueue *vq)
{
    struct virtio_blk *d = (struct virtio_blk *)v->dev;
    struct block_graph *graph = d->iothread ? NULL : v->dev->env->block;
    struct virtqueue_element *e;
    unsigned rounds = 0;

    if (graph) {
        block_graph_plug(graph);
    }
    d->in_queue = true;
    do {
        virtqueue_set_doorbell(vq, false);
        while ((e = virtqueue_pop(vq))) {
            handle(d, vq, e);
        }
        virtqueue_set_doorbell(vq, true);
    } while (virtqueue_has_more(vq) && ++rounds < MAX_ROUNDS);
    if (graph) {
        block_graph_unplug(graph);
    }
    d->in_queue = false;
    for (uint64_t left = d->pushed; left; left &= left - 1) {
        virtqueue_notify(&v->queue[__builtin_ctzll(left)]);
    }
    d->pushed = 0;
    if (rounds == MAX_ROUNDS) {
        virtqueue_ring(vq);
    }
}

/* ---- requests in saved states; machine lock held */

struct arrival {
    struct virtqueue *vq;
    struct virtqueue_element *element;
};

static void arrival_free(gpointer data)
{
    struct arrival *a = data;

    if (a->element) {
        virtqueue_drop(a->element);
    }
    g_free(a);
}

struct saving {
    GByteArray *out;
    unsigned n;
};

static void save_held(struct block_request *request, void *opaque)
{
    const struct blk_request *r = (const struct blk_request *)request;
    struct saving *saving = opaque;

    saving->n += virtqueue_element_save(r->vq, r->element, saving->out);
}

static unsigned blk_save_requests(struct device *dev, GByteArray *out)
{
    struct virtio_blk *d = (struct virtio_blk *)dev;
    struct saving saving = {out, 0};

    block_backend_foreach_held(d->backend, save_held, &saving);
    for (guint i = 0; i < d->arrived->len; i++) {
        const struct arrival *a = d->arrived->pdata[i];

        saving.n += virtqueue_element_save(a->vq, a->element, out);
    }
    return saving.n;
}

static bool blk_load_requests(struct device *dev, struct state_input *in, unsigned n,
                              GError **error)
{
    struct virtio_blk *d = (struct virtio_blk *)dev;

    g_ptr_array_set_size(d->arrived, 0);
    while (n) {
        struct arrival *a = g_new0(struct arrival, 1);

        g_ptr_array_add(d->arrived, a);
        a->element = virtqueue_element_load(&d->proxy.virtio, &a->vq, in, &n, error);
        if (!a->element) {
            g_ptr_array_set_size(d->arrived, 0);
            return false;
        }
    }
    return true;
}

static void start_arrived(void *arg)
{
    struct virtio_blk *d = arg;

    virtio_enter(&d->proxy.virtio);
    for (guint i = 0; i < d->arrived->len; i++) {
        struct arrival *a = d->arrived->pdata[i];

        handle(d, a->vq, g_steal_pointer(&a->element));
    }
    virtio_leave(&d->proxy.virtio);
}

static void blk_resume(struct device *dev)
{
    struct virtio_blk *d = (struct virtio_blk *)dev;

    virtio_pci_resume(dev);
    if (d->arrived->len) {
        loop_call(d->proxy.virtio.home, start_arrived, d);
        g_ptr_array_set_size(d->arrived, 0);
    }
}

static void blk_pause(struct device *dev)
{
    struct virtio_blk *d = (struct virtio_blk *)dev;

    virtio_pci_pause(dev);
    d->s.write_cache = block_backend_write_cache(d->backend);
}

static bool blk_post_load(struct device *dev, GError **error)
{
    struct virtio_blk *d = (struct virtio_blk *)dev;

    block_backend_set_write_cache(d->backend, d->s.write_cache);
    return virtio_pci_post_load(dev, error);
}

/* ---- configuration; machine lock held */

static uint64_t blk_features(struct virtio *v)
{
    const struct virtio_blk *d = (const struct virtio_blk *)v->dev;
    uint64_t features = VIRTIO_BIT(F_SEG_MAX) | VIRTIO_BIT(F_GEOMETRY) | VIRTIO_BIT(F_BLK_SIZE) |
                        VIRTIO_BIT(F_TOPOLOGY) | VIRTIO_BIT(F_FLUSH);

    features |= d->cfg.config_wce ? VIRTIO_BIT(F_CONFIG_WCE) : 0;
    features |= v->n_queues > 1 ? VIRTIO_BIT(F_MQ) : 0;
    features |= d->read_only ? VIRTIO_BIT(F_RO) : 0;
    if (!d->read_only) {
        features |= d->cfg.discard ? VIRTIO_BIT(F_DISCARD) : 0;
        features |= d->cfg.write_zeroes ? VIRTIO_BIT(F_WRITE_ZEROES) : 0;
    }
    return features;
}

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
    value = GUINT64_TO_LE(value);
    memcpy(at, &value, bytes);
}

static void blk_get_config(struct virtio *v, uint8_t *config)
{
    const struct virtio_blk *d = (const struct virtio_blk *)v->dev;
    uint64_t bytes = block_backend_bytes(d->backend), sectors = bytes / BLOCK_SECTOR_BYTES;
    const struct disk_sizes *sizes = &d->cfg.sizes;
    uint32_t logical = (uint32_t)sizes->logical;
    uint64_t granularity = sizes->discard == DISK_DISCARD_ANY ? logical : sizes->discard;

    put(config + CONFIG_CAPACITY, sectors, 8);
    put(config + CONFIG_SEG_MAX, d->cfg.queue_size - 2u, 4);
    put(config + CONFIG_CYLINDERS, MIN(sectors / (16 * 63), 16383), 2);
    config[CONFIG_HEADS] = 16;
    config[CONFIG_SECTORS] = (uint8_t)(bytes / 16 / 63 % logical ? 63 & ~(logical / 512 - 1) : 63);
    put(config + CONFIG_BLK_SIZE, logical, 4);
    config[CONFIG_PHYSICAL] = (uint8_t)disk_sizes_exponent(sizes);
    put(config + CONFIG_MIN_IO, sizes->min_io / logical, 2);
    put(config + CONFIG_OPT_IO, sizes->opt_io / logical, 4);
    config[CONFIG_WRITEBACK] = block_backend_write_cache(d->backend);
    put(config + CONFIG_QUEUES, v->n_queues, 2);
    if (d->cfg.discard) {
        put(config + CONFIG_DISCARD, d->cfg.max_discard_sectors, 4);
        put(config + CONFIG_DISCARD + 4, 1, 4);
        put(config + CONFIG_DISCARD + 8, granularity / BLOCK_SECTOR_BYTES, 4);
    }
    if (d->cfg.write_zeroes) {
        put(config + CONFIG_ZEROES, d->cfg.max_zero_sectors, 4);
        put(config + CONFIG_ZEROES + 4, 1, 4);
        config[CONFIG_ZEROES + 8] = 1;
    }
}

static void blk_set_config(struct virtio *v, const uint8_t *config)
{
    struct virtio_blk *d = (struct virtio_blk *)v->dev;

    if (d->cfg.config_wce) {
        block_backend_set_write_cache(d->backend, config[CONFIG_WRITEBACK] != 0);
    }
}

/* A driver that does not know flush gets a disk that needs none (5.2.6.2). */
static void blk_started(struct virtio *v)
{
    struct virtio_blk *d = (struct virtio_blk *)v->dev;

    if (!virtio_has(v, F_CONFIG_WCE)) {
        block_backend_set_write_cache(d->backend, d->write_cache && virtio_has(v, F_FLUSH));
    }
}

static void blk_reset_requests(struct virtio *v)
{
    struct virtio_blk *d = (struct virtio_blk *)v->dev;

    if (d->arrived) {
        g_ptr_array_set_size(d->arrived, 0);
    }
    if (d->backend) {
        block_backend_cancel(d->backend);
        block_backend_set_write_cache(d->backend, d->write_cache);
        d->s.write_cache = d->write_cache;
    }
}

/* Other queues' requests are waited for too: there is one drained section for all. */
static void blk_queue_reset(struct virtio *v, struct virtqueue *vq)
{
    block_drain_begin(v->dev->env->block);
    block_drain_end(v->dev->env->block);
}

static const struct virtio_ops blk_ops = {
    .name = "virtio-blk",
    .id = 2,
    .config_bytes = CONFIG_BYTES,
    .features = blk_features,
    .get_config = blk_get_config,
    .set_config = blk_set_config,
    .started = blk_started,
    .queue = blk_queue,
    .reset = blk_reset_requests,
    .queue_reset = blk_queue_reset,
};

static void blk_resized(void *opaque)
{
    virtio_config_changed(&((struct virtio_blk *)opaque)->proxy.virtio);
}

static const struct block_dev_ops blk_dev_ops = {.resized = blk_resized};

/* ---- the device */

static bool check_config(struct virtio_blk *d, GError **error)
{
    if (!d->cfg.drive) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: drive property not set",
                    d->proxy.pci.dev.class->name);
        return false;
    }
    if (d->cfg.scsi) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: there is no SCSI passthrough: set scsi=off",
                    d->proxy.pci.dev.class->name);
        return false;
    }
    if (d->cfg.queue_size < 4 || d->cfg.queue_size > VIRTIO_QUEUE_MAX_SIZE ||
        (d->cfg.queue_size & (d->cfg.queue_size - 1))) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: queue-size %u: a power of two from 4 to %u",
                    d->proxy.pci.dev.class->name, d->cfg.queue_size, VIRTIO_QUEUE_MAX_SIZE);
        return false;
    }
    return disk_sizes_check(&d->cfg.sizes, d->proxy.pci.dev.class->name, error);
}

static struct loop *blk_home(const struct virtio_blk *d)
{
    return d->iothread ? iothread_loop(d->iothread->iothread)
                       : block_graph_loop(d->proxy.pci.dev.env->block);
}

static bool take_iothread(struct virtio_blk *d, GError **error)
{
    struct device *dev = &d->proxy.pci.dev;

    if (d->cfg.iothread) {
        d->iothread =
            object_use(dev->env, d->cfg.iothread, 1u << OBJECT_TYPE_IOTHREAD, "iothread", error);
    }
    return !d->cfg.iothread || d->iothread;
}

static bool attach_drive(struct virtio_blk *d, GError **error)
{
    struct device *dev = &d->proxy.pci.dev;
    struct block_graph *graph = dev->env->block;
    g_autofree char *path =
        dev->id ? g_strdup_printf("/machine/peripheral/%s/virtio-backend", dev->id) : NULL;
    struct block_attach how = {
        .ops = &blk_dev_ops,
        .opaque = d,
        .qdev = path,
        .share_rw = d->cfg.share_rw,
        .rerror = (enum blockdev_on_error)d->cfg.rerror,
        .werror = (enum blockdev_on_error)d->cfg.werror,
        .no_write_cache = d->cfg.write_cache == ON_OFF_AUTO_OFF,
    };

    if (!graph) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: there are no drives here", dev->class->name);
        return false;
    }
    how.loop = blk_home(d);
    d->read_only = block_name_is_read_only(graph, d->cfg.drive);
    how.read_only = d->read_only;
    d->backend = block_backend_attach(graph, d->cfg.drive, &how, error);
    if (!d->backend) {
        g_prefix_error(error, "%s: property 'drive': ", dev->class->name);
        return false;
    }
    if (!block_backend_has_medium(d->backend)) {
        g_set_error(error, DEVICE_ERROR, 0, "Device needs media, but drive is empty");
        return false;
    }
    d->write_cache = block_backend_write_cache(d->backend);
    d->s.write_cache = d->write_cache;
    return true;
}

static unsigned queue_count(const struct virtio_blk *d, const struct device *dev)
{
    unsigned n =
        d->cfg.queues == UINT32_MAX ? (dev->env->cpus ? dev->env->cpus->n : 1) : d->cfg.queues;

    return CLAMP(n, 1, VIRTIO_MAX_QUEUES - 1); /* a vector for each and one more */
}

static bool blk_realize(struct device *dev, GError **error)
{
    struct virtio_blk *d = (struct virtio_blk *)dev;
    unsigned n = queue_count(d, dev);

    d->arrived = g_ptr_array_new_with_free_func(arrival_free);
    if (!check_config(d, error) || !take_iothread(d, error) || !attach_drive(d, error)) {
        return false;
    }
    virtio_init(&d->proxy.virtio, dev, &blk_ops, &d->s.proxy.virtio, blk_home(d));
    for (unsigned i = 0; i < n; i++) {
        virtio_add_queue(&d->proxy.virtio, d->cfg.queue_size);
    }
    return virtio_pci_realize(&d->proxy, &d->s.proxy, 0x0100, error);
}

static void blk_unrealize(struct device *dev)
{
    struct virtio_blk *d = (struct virtio_blk *)dev;

    virtio_pci_unrealize(dev);
    block_backend_detach(g_steal_pointer(&d->backend));
    object_release(g_steal_pointer(&d->iothread));
    g_clear_pointer(&d->arrived, g_ptr_array_unref);
}

#define CFG(member) offsetof(struct virtio_blk, cfg.member)
#define BLK_PROPERTIES                                                                             \
    {"drive", PROP_STRING, CFG(drive), .help = "id of a -drive, or name of a block node"},         \
        {"serial", PROP_STRING, CFG(serial), .help = "serial number, up to 20 characters"},        \
        {"iothread", PROP_STRING, CFG(iothread),                                                   \
         .help = "id of an object iothread, whose thread serves the queues"},                      \
        {"num-queues",                                                                             \
         PROP_U32,                                                                                 \
         CFG(queues),                                                                              \
         .def = UINT32_MAX,                                                                        \
         .min = 1,                                                                                 \
         .max = UINT32_MAX,                                                                        \
         .help = "request queues; else one for each vCPU"},                                        \
        {"queue-size", PROP_U16, CFG(queue_size), .def = 256, .help = "descriptors in a queue"},   \
        DISK_SIZE_PROPERTIES(struct virtio_blk, cfg.sizes),                                        \
        {"max-discard-sectors",                                                                    \
         PROP_U32,                                                                                 \
         CFG(max_discard_sectors),                                                                 \
         .def = MAX_ZERO_SECTORS,                                                                  \
         .min = 1,                                                                                 \
         .max = MAX_ZERO_SECTORS,                                                                  \
         .help = "the most that one request discards"},                                            \
        {"max-write-zeroes-sectors",                                                               \
         PROP_U32,                                                                                 \
         CFG(max_zero_sectors),                                                                    \
         .def = MAX_ZERO_SECTORS,                                                                  \
         .min = 1,                                                                                 \
         .max = MAX_ZERO_SECTORS,                                                                  \
         .help = "the most that one request fills with zeroes"},                                   \
        {"rerror",                                                                                 \
         PROP_ENUM,                                                                                \
         CFG(rerror),                                                                              \
         .def = BLOCKDEV_ON_ERROR_AUTO,                                                            \
         .values = &blockdev_on_error_type,                                                        \
         .help = "what a failed read does"},                                                       \
        {"werror",                                                                                 \
         PROP_ENUM,                                                                                \
         CFG(werror),                                                                              \
         .def = BLOCKDEV_ON_ERROR_AUTO,                                                            \
         .values = &blockdev_on_error_type,                                                        \
         .help = "what a failed write does"},                                                      \
        {"write-cache",                                                                            \
         PROP_ENUM,                                                                                \
         CFG(write_cache),                                                                         \
         .def = ON_OFF_AUTO_AUTO,                                                                  \
         .values = &on_off_auto_type,                                                              \
         .help = "whether writes are done before they are stable"},                                \
        {"share-rw", PROP_BOOL, CFG(share_rw), .help = "others may write to the drive too"},       \
        {"config-wce", PROP_BOOL, CFG(config_wce), .def = 1,                                       \
         .help = "the guest may turn the write cache off"},                                        \
        {"scsi", PROP_BOOL, CFG(scsi), .help = "SCSI passthrough, which is not there: off"},       \
        BIOS_GEOMETRY_PROPERTIES(struct virtio_blk, cfg.bios),                                     \
        {"discard", PROP_BOOL, CFG(discard), .def = 1, .help = "offer discard requests"},          \
    {                                                                                              \
        "write-zeroes", PROP_BOOL, CFG(write_zeroes), .def = 1,                                    \
                                                      .help = "offer write-zeroes requests"        \
    }

static const struct property virtio_blk_props[] = {
    BLK_PROPERTIES,
    VIRTIO_PCI_PROPERTIES(struct virtio_blk, UINT32_MAX),
    {NULL},
};

static const struct property virtio_blk_props_mmio[] = {
    BLK_PROPERTIES,
    VIRTIO_PROPERTIES(struct virtio_blk),
    {NULL},
};

static struct bios_geometry blk_bios_geometry(const struct device *dev)
{
    return ((const struct virtio_blk *)dev)->cfg.bios;
}

VIRTIO_CLASSES(blk, "disk (virtio)", struct virtio_blk, .realize = blk_realize,
               .unrealize = blk_unrealize, .reset = virtio_pci_reset,
               .boot_path = virtio_pci_boot_path, .bios_geometry = blk_bios_geometry,
               .pause = blk_pause, .resume = blk_resume, .post_load = blk_post_load,
               .save_requests = blk_save_requests, .load_requests = blk_load_requests);
