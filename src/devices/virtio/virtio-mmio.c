/*
 * Virtio over MMIO, version 2 of the registers (VIRTIO 1.2, section 4.2.2): see virtio-mmio.h.
 *
 * Left out: the legacy registers (4.2.4), shared memory regions, queue reset.
 */
#include "devices/virtio/virtio-mmio.h"
#include <unistd.h>

#define MAGIC                0x74726976u /* "virt" */
#define VERSION              2
#define VENDOR               0x554d4551u /* as QEMU has it: drivers do not look */

#define REG_MAGIC            0x000
#define REG_VERSION          0x004
#define REG_DEVICE_ID        0x008
#define REG_VENDOR_ID        0x00c
#define REG_DEVICE_FEATURES  0x010
#define REG_DEVICE_SELECT    0x014
#define REG_DRIVER_FEATURES  0x020
#define REG_DRIVER_SELECT    0x024
#define REG_QUEUE_SELECT     0x030
#define REG_QUEUE_SIZE_MAX   0x034
#define REG_QUEUE_SIZE       0x038
#define REG_QUEUE_READY      0x044
#define REG_QUEUE_NOTIFY     0x050
#define REG_INTERRUPT_STATUS 0x060
#define REG_INTERRUPT_ACK    0x064
#define REG_STATUS           0x070
#define REG_QUEUE_DESC       0x080
#define REG_QUEUE_DRIVER     0x090
#define REG_QUEUE_DEVICE     0x0a0
#define REG_GENERATION       0x0fc
#define REG_CONFIG           0x100

struct virtio_mmio_slot {
    struct region region;
    gpa_t base;
    struct irq_line irq;
    struct virtio_pci *device; /* NULL: empty */
};

struct virtio_mmio_bus {
    struct device_env *env;
    struct virtio_mmio_slot slot[VIRTIO_MMIO_SLOTS];
};

/* ---- registers */

static struct virtqueue *selected(struct virtio *v)
{
    return v->s->queue_select < v->n_queues ? &v->queue[v->s->queue_select] : NULL;
}

static uint64_t read_device(struct virtio *v, gpa_t offset)
{
    const struct virtio_state *s = v->s;
    const struct virtqueue *vq = selected(v);

    switch (offset) {
    case REG_DEVICE_ID:
        return v->ops->id;
    case REG_VENDOR_ID:
        return VENDOR;
    case REG_DEVICE_FEATURES:
        return s->device_select < 2 ? (uint32_t)(virtio_offered(v) >> (32 * s->device_select)) : 0;
    case REG_QUEUE_SIZE_MAX:
        return vq ? vq->max_size : 0;
    case REG_QUEUE_READY:
        return vq && vq->s->enabled;
    case REG_INTERRUPT_STATUS:
        return __atomic_load_n(&s->isr, __ATOMIC_ACQUIRE);
    case REG_STATUS:
        return __atomic_load_n(&s->status, __ATOMIC_ACQUIRE);
    case REG_GENERATION:
        return __atomic_load_n(&s->generation, __ATOMIC_ACQUIRE);
    default:
        return 0;
    }
}

static uint64_t slot_read(void *opaque, gpa_t offset, unsigned size)
{
    const struct virtio_mmio_slot *slot = opaque;

    if (offset >= REG_CONFIG) {
        return slot->device ? virtio_config_read(&slot->device->virtio, offset - REG_CONFIG, size)
                            : 0;
    }
    switch (offset) { /* those that an empty slot has too */
    case REG_MAGIC:
        return MAGIC;
    case REG_VERSION:
        return VERSION;
    default:
        return slot->device && size == 4 ? read_device(&slot->device->virtio, offset) : 0;
    }
}

static void write_queue(struct virtio *v, gpa_t offset, uint32_t value)
{
    struct virtqueue *vq = selected(v);

    if (!vq) {
        return;
    }
    if (offset == REG_QUEUE_READY) {
        if (value & 1) {
            virtio_queue_enable(v, vq->index);
        } else {
            virtio_queue_disable(v, vq->index);
        }
        return;
    }
    if (vq->s->enabled) {
        return; /* what is in use does not move */
    }
    switch (offset) {
    case REG_QUEUE_SIZE:
        vq->s->size = (uint16_t)MIN(value, UINT16_MAX);
        break;
    case REG_QUEUE_DESC:
    case REG_QUEUE_DESC + 4:
        virtio_set_half(&vq->s->desc, offset & 4, value, 4);
        break;
    case REG_QUEUE_DRIVER:
    case REG_QUEUE_DRIVER + 4:
        virtio_set_half(&vq->s->driver, offset & 4, value, 4);
        break;
    case REG_QUEUE_DEVICE:
    case REG_QUEUE_DEVICE + 4:
        virtio_set_half(&vq->s->device, offset & 4, value, 4);
        break;
    default:
        break;
    }
}

static void ring(struct virtio *v, uint64_t n)
{
    if (n < v->n_queues) {
        virtqueue_ring(&v->queue[n]);
    }
}

static void write_device(struct virtio_pci *p, gpa_t offset, uint32_t value)
{
    struct virtio *v = &p->virtio;

    switch (offset) {
    case REG_DEVICE_SELECT:
        v->s->device_select = value;
        break;
    case REG_DRIVER_SELECT:
        v->s->driver_select = value;
        break;
    case REG_DRIVER_FEATURES:
        virtio_set_features(v, v->s->driver_select, value);
        break;
    case REG_QUEUE_SELECT:
        v->s->queue_select = (uint16_t)MIN(value, UINT16_MAX);
        break;
    case REG_QUEUE_NOTIFY:
        ring(v, value);
        break;
    case REG_INTERRUPT_ACK:
        __atomic_fetch_and(&v->s->isr, (uint8_t)~value, __ATOMIC_ACQ_REL);
        virtio_intx_update(p);
        break;
    case REG_STATUS:
        virtio_set_status(v, (uint8_t)value);
        virtio_intx_update(p);
        break;
    default:
        write_queue(v, offset, value);
        break;
    }
}

static void slot_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct virtio_mmio_slot *slot = opaque;

    if (!slot->device) {
        return;
    }
    if (offset >= REG_CONFIG) {
        virtio_config_write(&slot->device->virtio, offset - REG_CONFIG, value, size);
    } else if (size == 4) { /* 4.2.2.2: registers are 32 bits wide */
        write_device(slot->device, offset, (uint32_t)value);
    }
}

/* Without the machine lock: devices come and go only while nobody is here. */
static bool slot_write_unlocked(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct virtio_mmio_slot *slot = opaque;

    if (offset != REG_QUEUE_NOTIFY || size != 4 || !slot->device) {
        return false;
    }
    ring(&slot->device->virtio, (uint32_t)value);
    return true;
}

static const struct region_ops slot_ops = {
    .read = slot_read, .write = slot_write, .write_unlocked = slot_write_unlocked};

/* ---- devices in slots */

void virtio_mmio_interrupt(const struct virtio_pci *p, bool level)
{
    irq_set(&p->slot->irq, level);
}

char *virtio_mmio_firmware_path(const struct virtio_pci *p)
{
    return g_strdup_printf("/virtio-mmio@%016" G_GINT64_MODIFIER "x", p->slot->base);
}

static void doorbell(struct virtio *v, struct virtqueue *vq, bool opened)
{
    struct virtio_pci *p = (struct virtio_pci *)v->dev;
    const struct doorbell d = {.region = &p->slot->region,
                               .offset = REG_QUEUE_NOTIFY,
                               .fd = vq->fd,
                               .size = 4,
                               .has_value = true,
                               .value = vq->index};

    if (opened) {
        address_space_add_doorbell(v->dev->env->mem, &d);
    } else {
        address_space_remove_doorbell(v->dev->env->mem, d.region, d.fd);
    }
}

static bool line_signalled(int fd, GIOCondition condition, void *arg)
{
    struct virtqueue *vq = arg;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) == sizeof(count)) {
        vq->raise(vq->raise_opaque);
    }
    return true;
}

static void line(struct virtio *v, struct virtqueue *vq, int fd, void (*raise)(void *opaque),
                 void *opaque)
{
    loop_unwatch(&vq->call);
    vq->raise = raise;
    vq->raise_opaque = opaque;
    if (fd >= 0) {
        vq->call = loop_watch_fd(v->dev->env->loop, fd, G_IO_IN, line_signalled, vq);
    }
}

static struct virtio_mmio_slot *free_slot(struct virtio_mmio_bus *bus)
{
    for (unsigned i = 0; bus && i < VIRTIO_MMIO_SLOTS; i++) {
        if (!bus->slot[i].device) {
            return &bus->slot[i];
        }
    }
    return NULL;
}

bool virtio_mmio_realize(struct virtio_pci *p, GError **error)
{
    struct virtio *v = &p->virtio;
    struct device *dev = v->dev;

    p->slot = free_slot(dev->env->virtio_mmio);
    if (!p->slot) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: %s", dev->class->name,
                    dev->env->virtio_mmio ? "all slots for virtio devices are taken"
                                          : "this machine has no slots for virtio devices; their "
                                            "PCI forms end in -pci");
        return false;
    }
    p->slot->device = p;
    virtio_offer_core_features(p, true);
    v->interrupt = virtio_pci_interrupt;
    v->doorbell = doorbell;
    v->line = line;
    atomic_store(&v->master, true);
    if (v->home != dev->env->loop) {
        p->intx = loop_bell_new(dev->env->loop, virtio_intx_update, p);
    }
    return true;
}

void virtio_mmio_unrealize(struct virtio_pci *p)
{
    if (p->slot) {
        virtio_mmio_interrupt(p, false);
        p->slot->device = NULL;
        p->slot = NULL;
    }
}

/* ---- the slots */

struct virtio_mmio_bus *virtio_mmio_bus_new(struct device_env *env, gpa_t base,
                                            const struct irq_line *gsi)
{
    struct virtio_mmio_bus *bus = g_new0(struct virtio_mmio_bus, 1);

    bus->env = env;
    env->virtio_mmio = bus;
    for (unsigned i = 0; i < VIRTIO_MMIO_SLOTS; i++) {
        struct virtio_mmio_slot *slot = &bus->slot[i];

        slot->region = (struct region){.name = "virtio-mmio",
                                       .kind = REGION_IO,
                                       .size = VIRTIO_MMIO_BYTES,
                                       .ops = &slot_ops,
                                       .opaque = slot};
        slot->base = base + i * VIRTIO_MMIO_BYTES;
        slot->irq = *gsi;
        slot->irq.n += (int)i;
        address_space_map(env->mem, slot->base, &slot->region, 0);
    }
    return bus;
}

void virtio_mmio_bus_free(struct virtio_mmio_bus *bus)
{
    if (bus) {
        for (unsigned i = 0; i < VIRTIO_MMIO_SLOTS; i++) {
            address_space_unmap(bus->env->mem, &bus->slot[i].region);
        }
        bus->env->virtio_mmio = NULL;
        g_free(bus);
    }
}
