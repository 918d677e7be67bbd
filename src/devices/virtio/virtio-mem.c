/*
 * virtio-mem: memory of which the guest takes more, or gives some back, block by block, as the host
 * asks for (VIRTIO 1.2, section 5.15).
 *
 * The whole range is mapped. What is not plugged reads as zeroes and is empty on the host; a driver
 * that accepts VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE does not touch it. A reset of the machine takes
 * all of it away; the guest that comes up asks for it again.
 */
#include "devices/virtio/virtio-mem.h"

#include "base/log.h"
#include "devices/core/object.h"
#include "devices/memory-slots.h"
#include "devices/virtio/virtio-pci.h"
#include "qapi-events.h"
#include <inttypes.h>
#include <string.h>

#define F_ACPI_PXM               0
#define F_UNPLUGGED_INACCESSIBLE 1

#define CONFIG_BLOCK_BYTES       0
#define CONFIG_NODE              8
#define CONFIG_ADDR              16
#define CONFIG_REGION_BYTES      24
#define CONFIG_USABLE_BYTES      32
#define CONFIG_PLUGGED_BYTES     40
#define CONFIG_REQUESTED_BYTES   48
#define CONFIG_BYTES             56

#define QUEUE_SIZE               128

/* 5.15.6: requests, and what is answered */
enum { REQ_PLUG, REQ_UNPLUG, REQ_UNPLUG_ALL, REQ_STATE };
enum { RESP_ACK, RESP_NACK, RESP_BUSY, RESP_ERROR };
enum { STATE_PLUGGED, STATE_UNPLUGGED, STATE_MIXED };
#define REQ_BYTES      24
#define REQ_ADDR       8
#define REQ_BLOCKS     16
#define RESP_BYTES     10
#define RESP_STATE     8

#define BLOCKS_MAX     65536u
#define BLOCK_DEFAULT  (2ull << 20)
#define BLOCK_LEAST    (1ull << 20)
/* Beyond what is asked for, so that the guest has a choice. */
#define USABLE_SURPLUS (256ull << 20)

struct virtio_mem_state {
    struct virtio_pci_state proxy;
    uint64_t requested, plugged, usable; /* bytes */
    uint8_t block[BLOCKS_MAX / 8];       /* a bit each: it is plugged */
};

static const struct state_field virtio_mem_fields[] = {
    STATE_STRUCT(struct virtio_mem_state, proxy, virtio_pci_state_fields),
    STATE(struct virtio_mem_state, requested),
    STATE(struct virtio_mem_state, plugged),
    STATE(struct virtio_mem_state, usable),
    STATE_ARRAY(struct virtio_mem_state, block),
    {0},
};

static const struct state_desc virtio_mem_desc = {
    .name = "virtio-mem",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct virtio_mem_state),
    .fields = virtio_mem_fields,
};

struct virtio_mem {
    struct virtio_pci proxy; /* first */
    struct {
        char *memdev;
        uint64_t memaddr;    /* 0: any */
        uint64_t requested;  /* at first */
        uint64_t block_size; /* 0: BLOCK_DEFAULT */
        uint32_t node;
        bool prealloc;
    } cfg;
    struct virtio_mem_state s;
    struct object *memory;
    struct region region;
    struct memory_range range;
    bool placed;
};

/* ---- blocks */

static bool is_plugged(const struct virtio_mem *d, uint64_t n)
{
    return d->s.block[n / 8] >> (n % 8) & 1;
}

static void set_plugged(struct virtio_mem *d, uint64_t first, uint64_t n, bool plugged)
{
    for (uint64_t i = first; i < first + n; i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));

        d->s.block[i / 8] = (uint8_t)(plugged ? d->s.block[i / 8] | bit : d->s.block[i / 8] & ~bit);
    }
}

/* How many of them are plugged. */
static uint64_t count_plugged(const struct virtio_mem *d, uint64_t first, uint64_t n)
{
    uint64_t count = 0;

    for (uint64_t i = first; i < first + n; i++) {
        count += is_plugged(d, i);
    }
    return count;
}

/* The host forgets what is there; a file's contents would come back. */
static void empty(struct virtio_mem *d, uint64_t offset, uint64_t bytes)
{
    address_space_discard(d->proxy.virtio.mem, d->range.addr + offset, bytes);
    if (!d->memory->ram->forgets) {
        memset(d->memory->ram->host + offset, 0, bytes);
        address_space_block_written(d->proxy.virtio.mem, d->memory->ram, offset, bytes);
    }
}

/* With prealloc the guest gets only what the host has. */
static bool fill(struct virtio_mem *d, uint64_t first, uint64_t n, GError **error)
{
    uint64_t block = d->cfg.block_size;

    return !d->cfg.prealloc || ram_block_populate(d->memory->ram, first * block, n * block, error);
}

static void note_size(struct virtio_mem *d, uint64_t bytes)
{
    struct device *dev = &d->proxy.pci.dev;
    bool changed = bytes != d->s.plugged;

    d->s.plugged = d->range.plugged = bytes;
    if (changed && dev->env->events) {
        g_autofree char *path =
            dev->env->device_path ? dev->env->device_path(dev->env, dev) : g_strdup("");

        qapi_event_send_memory_device_size_change(dev->env->events, dev->id, bytes, path);
    }
}

/* How far from its beginning the guest may plug: at least as much as is asked for. It shrinks only
 * when nothing is plugged. */
static void set_usable(struct virtio_mem *d, bool may_shrink)
{
    uint64_t block = d->cfg.block_size, bytes = 0;

    if (d->s.requested) {
        bytes = (d->s.requested + USABLE_SURPLUS + block - 1) / block * block;
        bytes = MIN(bytes, d->range.bytes);
    }
    if (bytes > d->s.usable || may_shrink) {
        d->s.usable = bytes;
    }
}

static void unplug_all(struct virtio_mem *d)
{
    if (d->s.plugged) {
        empty(d, 0, d->range.bytes);
        memset(d->s.block, 0, sizeof(d->s.block));
        note_size(d, 0);
    }
    set_usable(d, true);
}

/* ---- requests */

struct request {
    unsigned type;
    uint64_t first, n; /* blocks */
};

/* The addresses are the guest's word. */
static bool parse_range(const struct virtio_mem *d, const uint8_t *bytes, struct request *r)
{
    uint64_t addr, block = d->cfg.block_size;
    uint16_t n;

    memcpy(&addr, bytes + REQ_ADDR, 8);
    memcpy(&n, bytes + REQ_BLOCKS, 2);
    addr = GUINT64_FROM_LE(addr);
    r->n = GUINT16_FROM_LE(n);
    if (addr < d->range.addr || (addr - d->range.addr) % block || !r->n) {
        return false;
    }
    r->first = (addr - d->range.addr) / block;
    return r->first < d->s.usable / block && r->n <= d->s.usable / block - r->first;
}

static unsigned plug(struct virtio_mem *d, const struct request *r)
{
    uint64_t bytes = r->n * d->cfg.block_size;
    g_autoptr(GError) why = NULL;

    if (d->s.plugged + bytes > d->s.requested) {
        return RESP_NACK;
    }
    if (count_plugged(d, r->first, r->n) != 0) {
        return RESP_ERROR;
    }
    if (!fill(d, r->first, r->n, &why)) {
        log_warn("virtio-mem '%s': %s", d->proxy.pci.dev.id ? d->proxy.pci.dev.id : "",
                 why->message);
        empty(d, r->first * d->cfg.block_size, bytes);
        return RESP_BUSY; /* the driver may try again */
    }
    set_plugged(d, r->first, r->n, true);
    note_size(d, d->s.plugged + bytes);
    return RESP_ACK;
}

static unsigned unplug(struct virtio_mem *d, const struct request *r)
{
    uint64_t bytes = r->n * d->cfg.block_size;

    if (count_plugged(d, r->first, r->n) != r->n) {
        return RESP_ERROR;
    }
    set_plugged(d, r->first, r->n, false);
    empty(d, r->first * d->cfg.block_size, bytes);
    note_size(d, d->s.plugged - bytes);
    return RESP_ACK;
}

static unsigned state_of(const struct virtio_mem *d, const struct request *r)
{
    uint64_t n = count_plugged(d, r->first, r->n);

    return n == r->n ? STATE_PLUGGED : n ? STATE_MIXED : STATE_UNPLUGGED;
}

/* false: the request is none. */
static bool answer(struct virtio_mem *d, const struct virtqueue_element *e,
                   uint8_t response[RESP_BYTES])
{
    uint8_t bytes[REQ_BYTES];
    struct request r;
    uint16_t type;

    memset(response, 0, RESP_BYTES);
    if (iov_read(e->out, e->n_out, 0, bytes, REQ_BYTES) != REQ_BYTES || e->in_bytes < RESP_BYTES) {
        return false;
    }
    memcpy(&type, bytes, 2);
    r.type = GUINT16_FROM_LE(type);
    if (r.type == REQ_UNPLUG_ALL) {
        unplug_all(d);
        virtio_config_changed(&d->proxy.virtio);
        return true;
    }
    if (r.type > REQ_STATE) {
        return false;
    }
    if (!parse_range(d, bytes, &r)) {
        response[0] = RESP_ERROR;
    } else if (r.type == REQ_STATE) {
        response[RESP_STATE] = (uint8_t)state_of(d, &r);
    } else {
        response[0] = (uint8_t)(r.type == REQ_PLUG ? plug(d, &r) : unplug(d, &r));
    }
    return true;
}

static void mem_queue(struct virtio *v, struct virtqueue *vq)
{
    struct virtio_mem *d = (struct virtio_mem *)v->dev;
    struct virtqueue_element *e;
    bool any = false;

    do {
        while ((e = virtqueue_pop(vq))) {
            uint8_t response[RESP_BYTES];

            if (!answer(d, e, response)) {
                virtqueue_drop(e);
                virtio_break(v, "a request of an unknown type or a wrong size");
                return;
            }
            virtqueue_push(vq, e, iov_write(e->in, e->n_in, 0, response, RESP_BYTES));
            any = true;
        }
        virtqueue_set_doorbell(vq, true);
    } while (virtqueue_has_more(vq));
    if (any) {
        virtqueue_notify(vq);
    }
}

/* ---- configuration */

static uint64_t mem_features(struct virtio *v)
{
    const struct memory_slots *slots = v->dev->env->memory_slots;

    return VIRTIO_BIT(F_UNPLUGGED_INACCESSIBLE) |
           (slots && slots->n_nodes > 1 ? VIRTIO_BIT(F_ACPI_PXM) : 0);
}

static void mem_get_config(struct virtio *v, uint8_t *config)
{
    const struct virtio_mem *d = (const struct virtio_mem *)v->dev;
    const struct {
        unsigned at;
        uint64_t value;
    } fields[] = {{CONFIG_BLOCK_BYTES, d->cfg.block_size},
                  {CONFIG_NODE, (uint16_t)d->cfg.node},
                  {CONFIG_ADDR, d->range.addr},
                  {CONFIG_REGION_BYTES, d->range.bytes},
                  {CONFIG_USABLE_BYTES, d->s.usable},
                  {CONFIG_PLUGGED_BYTES, d->s.plugged},
                  {CONFIG_REQUESTED_BYTES, d->s.requested}};

    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        uint64_t value = GUINT64_TO_LE(fields[i].value);

        memcpy(config + fields[i].at, &value, 8);
    }
}

static const struct virtio_ops mem_ops = {
    .name = "virtio-mem",
    .id = 24,
    .config_bytes = CONFIG_BYTES,
    .features = mem_features,
    .get_config = mem_get_config,
    .queue = mem_queue,
};

/* ---- the host's side */

static bool check_requested(const struct virtio_mem *d, uint64_t bytes, GError **error)
{
    if (bytes % d->cfg.block_size) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "'requested-size' has to be multiples of 'block-size' (0x%" PRIx64 ")",
                    d->cfg.block_size);
        return false;
    }
    if (bytes > d->range.bytes) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "'requested-size' cannot exceed the memory backend size(0x%" PRIx64 ")",
                    d->range.bytes);
        return false;
    }
    return true;
}

bool virtio_mem_request(struct device *dev, uint64_t bytes, GError **error)
{
    struct virtio_mem *d = (struct virtio_mem *)dev;

    if (!check_requested(d, bytes, error)) {
        return false;
    }
    if (bytes != d->s.requested) {
        d->s.requested = bytes;
        set_usable(d, false);
        virtio_config_changed(&d->proxy.virtio);
    }
    return true;
}

void virtio_mem_info(const struct device *dev, struct virtio_mem_info *info)
{
    const struct virtio_mem *d = (const struct virtio_mem *)dev;

    *info = (struct virtio_mem_info){.addr = d->range.addr,
                                     .requested_bytes = d->s.requested,
                                     .plugged_bytes = d->s.plugged,
                                     .max_bytes = d->range.bytes,
                                     .block_bytes = d->cfg.block_size,
                                     .node = d->cfg.node,
                                     .memdev = d->cfg.memdev};
}

/* ---- the device */

static bool check_blocks(struct virtio_mem *d, GError **error)
{
    uint64_t block = d->cfg.block_size ? d->cfg.block_size : BLOCK_DEFAULT;

    d->cfg.block_size = block;
    if (block < BLOCK_LEAST || block & (block - 1)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    block < BLOCK_LEAST ? "'block-size' property has to be at least 0x%llx"
                                        : "'block-size' property has to be a power of two",
                    BLOCK_LEAST);
        return false;
    }
    if (d->range.bytes / block > BLOCKS_MAX) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "'memdev' has %" PRIu64 " blocks of 'block-size' (0x%" PRIx64
                    "), the most is %u: choose larger ones",
                    d->range.bytes / block, block, BLOCKS_MAX);
        return false;
    }
    return true;
}

static bool take_memory(struct virtio_mem *d, GError **error)
{
    struct device *dev = &d->proxy.pci.dev;
    struct memory_slots *slots = dev->env->memory_slots;

    if (!d->cfg.memdev) {
        g_set_error(error, DEVICE_ERROR, 0, "'memdev' property must be set");
        return false;
    }
    if (!slots) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "memory devices need room for them: please specify -m ...,maxmem=");
        return false;
    }
    if (d->cfg.node >= MAX(slots->n_nodes, 1)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "'node' property has value '%u', which exceeds the number of numa nodes: %u",
                    d->cfg.node, MAX(slots->n_nodes, 1));
        return false;
    }
    d->memory = memory_take_backend(dev->env, d->cfg.memdev, error);
    if (!d->memory) {
        return false;
    }
    d->range =
        (struct memory_range){.dev = dev, .addr = d->cfg.memaddr, .bytes = d->memory->ram->size};
    if (!check_blocks(d, error) || !check_requested(d, d->cfg.requested, error) ||
        !memory_place(slots, &d->range, MAX(d->cfg.block_size, d->memory->ram->align), error)) {
        return false;
    }
    d->region = (struct region){
        .name = "virtio-mem", .kind = REGION_RAM, .size = d->range.bytes, .ram = d->memory->ram};
    address_space_map(dev->env->mem, d->range.addr, &d->region, 0);
    d->placed = true;
    return true;
}

static bool mem_realize(struct device *dev, GError **error)
{
    struct virtio_mem *d = (struct virtio_mem *)dev;

    if (!take_memory(d, error)) {
        return false;
    }
    virtio_init(&d->proxy.virtio, dev, &mem_ops, &d->s.proxy.virtio, dev->env->loop);
    virtio_add_queue(&d->proxy.virtio, QUEUE_SIZE);
    empty(d, 0, d->range.bytes);
    d->s.requested = d->cfg.requested;
    set_usable(d, true);
    return virtio_pci_realize(&d->proxy, &d->s.proxy, 0x00ff, error);
}

static void mem_unrealize(struct device *dev)
{
    struct virtio_mem *d = (struct virtio_mem *)dev;

    if (d->placed) {
        address_space_unmap(dev->env->mem, &d->region);
        memory_unplace(dev->env->memory_slots, &d->range);
    }
    object_release(d->memory);
    virtio_pci_unrealize(dev);
}

/* What is asked for stays, as it is the user's wish. */
static void mem_reset(struct device *dev, enum reset_kind kind)
{
    virtio_pci_reset(dev, kind);
    unplug_all((struct virtio_mem *)dev);
}

static bool mem_post_load(struct device *dev, GError **error)
{
    struct virtio_mem *d = (struct virtio_mem *)dev;
    uint64_t block = d->cfg.block_size, n = d->range.bytes / block;

    if (!check_requested(d, d->s.requested, error)) {
        return false;
    }
    if (d->s.usable > d->range.bytes || d->s.usable % block ||
        count_plugged(d, 0, BLOCKS_MAX) != count_plugged(d, 0, n) ||
        count_plugged(d, 0, n) * block != d->s.plugged) {
        g_set_error(error, DEVICE_ERROR, 0, "its blocks do not fit their number and size");
        return false;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (is_plugged(d, i) && !fill(d, i, 1, error)) {
            return false;
        }
    }
    d->range.plugged = d->s.plugged;
    return virtio_pci_post_load(dev, error);
}

static bool mem_unplug_request(struct device *dev, GError **error)
{
    g_set_error(error, DEVICE_ERROR, 0, "virtio based memory devices cannot be unplugged.");
    return false;
}

#define CFG(member) offsetof(struct virtio_mem, cfg.member)
static const struct property virtio_mem_props[] = {
    {"memdev", PROP_STRING, CFG(memdev), .help = "id of an object memory-backend-..."},
    {"memaddr", PROP_U64, CFG(memaddr),
     .help = "guest physical address; 0: the first that is free"},
    {"requested-size", PROP_SIZE, CFG(requested), .help = "how much of it the guest is to have"},
    {"block-size", PROP_SIZE, CFG(block_size), .help = "of what is plugged at a time; 0: 2 MiB"},
    {"node", PROP_U32, CFG(node), .help = "NUMA node that it belongs to"},
    {"prealloc", PROP_BOOL, CFG(prealloc),
     .help = "what the guest takes is taken from the host at once; it gets no more than there is"},
    VIRTIO_PCI_PROPERTIES(struct virtio_mem, UINT32_MAX),
    {NULL},
};

const struct device_class virtio_mem_pci_class = {
    .name = "virtio-mem-pci",
    .help = "memory that the guest has as much of as it is asked to (virtio)",
    .bus = BUS_PCI,
    .size = sizeof(struct virtio_mem),
    .props = virtio_mem_props,
    .state = &virtio_mem_desc,
    .state_offset = offsetof(struct virtio_mem, s),
    .realize = mem_realize,
    .unrealize = mem_unrealize,
    .reset = mem_reset,
    .pause = virtio_pci_pause,
    .resume = virtio_pci_resume,
    .post_load = mem_post_load,
    .unplug_request = mem_unplug_request,
};
