/*
 * Virtio over PCI: VIRTIO 1.2, section 4.1. Registers are in BAR 4 (common configuration, ISR,
 * device configuration, notifications: a page each), the MSI-X table in BAR 1, the legacy interface
 * in BAR 0 (I/O ports).
 *
 * Left out: shared memory regions, notification data, queue reset.
 */
#include "devices/virtio/virtio-pci.h"

#include "base/log.h"
#include "devices/virtio/virtio-mmio.h"
#include <string.h>

#define VENDOR               0x1af4
#define DEVICE_MODERN        0x1040
#define CAP_VENDOR           0x09

#define EXPRESS_ENDPOINT     0

#define CFG_COMMON           1
#define CFG_NOTIFY           2
#define CFG_ISR              3
#define CFG_DEVICE           4
#define CFG_PCI              5
#define CAP_BYTES            16

#define MODERN_BAR           4
#define PAGE_COMMON          0x0000
#define PAGE_ISR             0x1000
#define PAGE_DEVICE          0x2000
#define PAGE_NOTIFY          0x3000
#define NOTIFY_PAGE          0x1000
#define NOTIFY_STRIDE        4

/* common configuration (4.1.4.3) */
#define COMMON_DEVICE_SELECT 0x00
#define COMMON_DEVICE        0x04
#define COMMON_DRIVER_SELECT 0x08
#define COMMON_DRIVER        0x0c
#define COMMON_CONFIG_VECTOR 0x10
#define COMMON_NUM_QUEUES    0x12
#define COMMON_STATUS        0x14
#define COMMON_GENERATION    0x15
#define COMMON_QUEUE_SELECT  0x16
#define COMMON_QUEUE_SIZE    0x18
#define COMMON_QUEUE_VECTOR  0x1a
#define COMMON_QUEUE_ENABLE  0x1c
#define COMMON_QUEUE_NOTIFY  0x1e
#define COMMON_QUEUE_DESC    0x20
#define COMMON_QUEUE_DRIVER  0x28
#define COMMON_QUEUE_DEVICE  0x30
#define COMMON_QUEUE_RESET   0x3a /* at 0x38: notification data, not offered */
#define COMMON_END           0x3c

/* the legacy interface's ports (4.1.4.10) */
#define LEGACY_DEVICE        0x00
#define LEGACY_DRIVER        0x04
#define LEGACY_QUEUE_PFN     0x08
#define LEGACY_QUEUE_SIZE    0x0c
#define LEGACY_QUEUE_SELECT  0x0e
#define LEGACY_QUEUE_NOTIFY  0x10
#define LEGACY_STATUS        0x12
#define LEGACY_ISR           0x13
#define LEGACY_CONFIG_VECTOR 0x14
#define LEGACY_QUEUE_VECTOR  0x16
#define LEGACY_PAGE_BITS     12

#define ISR_QUEUE            1
#define ISR_CONFIG           2

const struct state_field virtio_pci_state_fields[] = {
    STATE_STRUCT(struct virtio_pci_state, pci, pci_state_fields),
    STATE_STRUCT(struct virtio_pci_state, virtio, virtio_state_fields),
    {0},
};

/* ---- interrupts */

void virtio_intx_update(void *arg)
{
    struct virtio_pci *p = arg;
    uint8_t isr = __atomic_load_n(&p->virtio.s->isr, __ATOMIC_ACQUIRE);

    if (p->slot) {
        virtio_mmio_interrupt(p, isr != 0);
    } else if (p->pci.bus) {
        pci_set_intx(&p->pci, isr != 0 && !pci_msix_enabled(&p->pci));
    }
}

void virtio_pci_interrupt(struct virtio *v, uint16_t vector, bool config)
{
    struct virtio_pci *p = (struct virtio_pci *)v->dev;

    if (pci_msix_enabled(&p->pci)) {
        if (vector != VIRTIO_NO_VECTOR) {
            pci_msi_notify(&p->pci, vector);
        }
        return;
    }
    __atomic_fetch_or(&v->s->isr, ISR_QUEUE | (config ? ISR_CONFIG : 0), __ATOMIC_RELEASE);
    if (p->intx) {
        loop_bell_ring(p->intx);
    } else {
        virtio_intx_update(p);
    }
}

static uint8_t isr_read(struct virtio_pci *p)
{
    uint8_t isr = __atomic_exchange_n(&p->virtio.s->isr, 0, __ATOMIC_ACQ_REL);

    virtio_intx_update(p);
    return isr;
}

/* A vector that the device lacks becomes none, which the driver reads back (4.1.5.1.2). */
static uint16_t fit_vector(const struct virtio_pci *p, uint64_t vector)
{
    return vector < p->pci.msix_vectors ? (uint16_t)vector : VIRTIO_NO_VECTOR;
}

static void set_vector(const struct virtio_pci *p, struct virtqueue *vq, uint64_t vector)
{
    __atomic_store_n(&vq->s->vector, fit_vector(p, vector), __ATOMIC_RELAXED);
    if (vq->line) {
        pci_line_set_vector(vq->line, vq->s->vector);
    }
}

/* ---- the modern interface */

static struct virtqueue *selected(struct virtio_pci *p)
{
    struct virtio *v = &p->virtio;

    return v->s->queue_select < v->n_queues ? &v->queue[v->s->queue_select] : NULL;
}

static uint64_t common_read_queue(struct virtio_pci *p, uint64_t offset)
{
    const struct virtqueue *vq = selected(p);

    if (!vq) {
        return 0;
    }
    switch (offset) {
    case COMMON_QUEUE_SIZE:
        return vq->s->size;
    case COMMON_QUEUE_VECTOR:
        return vq->s->vector;
    case COMMON_QUEUE_ENABLE:
        return vq->s->enabled;
    case COMMON_QUEUE_NOTIFY:
        return vq->index;
    case COMMON_QUEUE_DESC:
        return vq->s->desc;
    case COMMON_QUEUE_DESC + 4:
        return vq->s->desc >> 32;
    case COMMON_QUEUE_DRIVER:
        return vq->s->driver;
    case COMMON_QUEUE_DRIVER + 4:
        return vq->s->driver >> 32;
    case COMMON_QUEUE_DEVICE:
        return vq->s->device;
    case COMMON_QUEUE_DEVICE + 4:
        return vq->s->device >> 32;
    default:
        return 0;
    }
}

static uint64_t common_read(struct virtio_pci *p, uint64_t offset)
{
    struct virtio *v = &p->virtio;
    const struct virtio_state *s = v->s;

    switch (offset) {
    case COMMON_DEVICE_SELECT:
        return s->device_select;
    case COMMON_DEVICE:
        return s->device_select < 2 ? (uint32_t)(virtio_offered(v) >> (32 * s->device_select)) : 0;
    case COMMON_DRIVER_SELECT:
        return s->driver_select;
    case COMMON_DRIVER:
        return s->driver_select < 2 ? (uint32_t)(s->driver_features >> (32 * s->driver_select)) : 0;
    case COMMON_CONFIG_VECTOR:
        return s->config_vector;
    case COMMON_NUM_QUEUES:
        return v->n_queues;
    case COMMON_STATUS:
        return __atomic_load_n(&s->status, __ATOMIC_ACQUIRE);
    case COMMON_GENERATION:
        return (uint8_t)__atomic_load_n(&s->generation, __ATOMIC_ACQUIRE);
    case COMMON_QUEUE_SELECT:
        return s->queue_select;
    default:
        return common_read_queue(p, offset);
    }
}

void virtio_set_half(uint64_t *field, bool high, uint64_t value, unsigned size)
{
    if (size == 8 && !high) {
        *field = value;
    } else {
        unsigned shift = high ? 32 : 0;

        *field = (*field & ~(0xffffffffull << shift)) | (value & 0xffffffff) << shift;
    }
}

static void common_write_queue(struct virtio_pci *p, uint64_t offset, uint64_t value, unsigned size)
{
    struct virtqueue *vq = selected(p);

    if (!vq) {
        return;
    }
    if (offset == COMMON_QUEUE_VECTOR) {
        set_vector(p, vq, value);
        return;
    }
    if (offset == COMMON_QUEUE_RESET) {
        if (value == 1 && virtio_has(&p->virtio, VIRTIO_F_RING_RESET)) {
            virtio_queue_reset(&p->virtio, vq->index);
        }
        return; /* it is done at once, so the register reads 0 */
    }
    if (offset == COMMON_QUEUE_ENABLE) {
        if (value == 1) {
            virtio_queue_enable(&p->virtio, vq->index);
        }
        return;
    }
    if (vq->s->enabled) {
        return; /* what is in use does not move */
    }
    switch (offset) {
    case COMMON_QUEUE_SIZE: /* what is no size is not taken */
        vq->s->size = value && value <= VIRTIO_QUEUE_MAX_SIZE ? (uint16_t)value : vq->s->size;
        break;
    case COMMON_QUEUE_DESC:
    case COMMON_QUEUE_DESC + 4:
        virtio_set_half(&vq->s->desc, offset & 4, value, size);
        break;
    case COMMON_QUEUE_DRIVER:
    case COMMON_QUEUE_DRIVER + 4:
        virtio_set_half(&vq->s->driver, offset & 4, value, size);
        break;
    case COMMON_QUEUE_DEVICE:
    case COMMON_QUEUE_DEVICE + 4:
        virtio_set_half(&vq->s->device, offset & 4, value, size);
        break;
    default:
        break;
    }
}

static void common_write(struct virtio_pci *p, uint64_t offset, uint64_t value, unsigned size)
{
    struct virtio *v = &p->virtio;
    struct virtio_state *s = v->s;

    switch (offset) {
    case COMMON_DEVICE_SELECT:
        s->device_select = (uint32_t)value;
        break;
    case COMMON_DRIVER_SELECT:
        s->driver_select = (uint32_t)value;
        break;
    case COMMON_DRIVER:
        virtio_set_features(v, s->driver_select, (uint32_t)value);
        break;
    case COMMON_CONFIG_VECTOR:
        s->config_vector = fit_vector(p, value);
        break;
    case COMMON_STATUS:
        virtio_set_status(v, (uint8_t)value);
        virtio_intx_update(p);
        break;
    case COMMON_QUEUE_SELECT:
        s->queue_select = (uint16_t)value;
        break;
    default:
        common_write_queue(p, offset, value, size);
        break;
    }
}

static uint64_t modern_read(void *opaque, gpa_t offset, unsigned size)
{
    struct virtio_pci *p = opaque;

    switch (offset & ~0xfffull) {
    case PAGE_COMMON:
        return offset < COMMON_END ? common_read(p, offset) : 0;
    case PAGE_ISR:
        return offset == PAGE_ISR ? isr_read(p) : 0;
    case PAGE_DEVICE:
        return virtio_config_read(&p->virtio, offset - PAGE_DEVICE, size);
    default:
        return 0;
    }
}

static void ring(struct virtio_pci *p, uint64_t n)
{
    if (n < p->virtio.n_queues) {
        virtqueue_ring(&p->virtio.queue[n]);
    }
}

/* 4.1.4.4: where a queue is notified. */
static uint32_t notify_stride(const struct virtio_pci *p)
{
    return p->cfg.page_per_vq ? NOTIFY_PAGE : NOTIFY_STRIDE;
}

static void modern_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct virtio_pci *p = opaque;

    if (offset >= PAGE_NOTIFY) {
        ring(p, (offset - PAGE_NOTIFY) / notify_stride(p));
        return;
    }
    switch (offset & ~0xfffull) {
    case PAGE_COMMON:
        if (offset < COMMON_END) {
            common_write(p, offset, value, size);
        }
        break;
    case PAGE_DEVICE:
        virtio_config_write(&p->virtio, offset - PAGE_DEVICE, value, size);
        break;
    default:
        break;
    }
}

/* Without the machine lock. The fd of a queue is open from its enabling to the device's end. */
static bool modern_write_unlocked(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    if (offset < PAGE_NOTIFY) {
        return false;
    }
    ring(opaque, (offset - PAGE_NOTIFY) / notify_stride(opaque));
    return true;
}

static const struct region_ops modern_ops = {
    .read = modern_read, .write = modern_write, .write_unlocked = modern_write_unlocked};

/* ---- registers through configuration space (4.1.4.9) */

static bool window_region(struct virtio_pci *p, uint32_t *offset, uint32_t *length)
{
    *offset = pci_get32(&p->pci, p->window + 8);
    *length = pci_get32(&p->pci, p->window + 12);
    return p->pci.s->config[p->window + 4] == MODERN_BAR &&
           (*length == 1 || *length == 2 || *length == 4) && *offset % *length == 0 &&
           *offset < p->modern.size;
}

static bool touches_window(const struct virtio_pci *p, unsigned offset, unsigned size)
{
    unsigned data = p->window + CAP_BYTES;

    return p->window && offset < data + 4 && offset + size > data;
}

static void config_space_reading(struct pci_device *dev, unsigned offset, unsigned size)
{
    struct virtio_pci *p = (struct virtio_pci *)dev;
    uint32_t at, length;

    if (touches_window(p, offset, size) && window_region(p, &at, &length)) {
        pci_put32(dev, p->window + CAP_BYTES, (uint32_t)modern_read(p, at, length));
    }
}

static void config_space_written(struct pci_device *dev, unsigned offset, unsigned size)
{
    struct virtio_pci *p = (struct virtio_pci *)dev;
    uint32_t at, length;

    virtio_set_master(&p->virtio, (pci_get16(dev, PCI_COMMAND) & PCI_COMMAND_MASTER) != 0);
    if (touches_window(p, offset, size) && window_region(p, &at, &length)) {
        uint32_t value = pci_get32(dev, p->window + CAP_BYTES);

        modern_write(p, at, length == 4 ? value : value & ((1u << (8 * length)) - 1), length);
    }
}

/* ---- the legacy interface */

static unsigned legacy_config_at(const struct virtio_pci *p)
{
    return pci_msix_enabled(&p->pci) ? LEGACY_QUEUE_VECTOR + 2 : LEGACY_CONFIG_VECTOR;
}

static uint64_t legacy_read(void *opaque, gpa_t offset, unsigned size)
{
    struct virtio_pci *p = opaque;
    struct virtio *v = &p->virtio;
    const struct virtqueue *vq = selected(p);

    if (offset >= legacy_config_at(p)) {
        return virtio_config_read(&p->virtio, offset - legacy_config_at(p), size);
    }
    switch (offset) {
    case LEGACY_DEVICE: {
        bool was = v->s->legacy;

        v->s->legacy = true;
        uint32_t offered = (uint32_t)virtio_offered(v);
        v->s->legacy = was;
        return offered;
    }
    case LEGACY_DRIVER:
        return (uint32_t)v->s->driver_features;
    case LEGACY_QUEUE_PFN:
        return vq && vq->s->enabled ? vq->s->desc >> LEGACY_PAGE_BITS : 0;
    case LEGACY_QUEUE_SIZE:
        return vq ? vq->max_size : 0;
    case LEGACY_QUEUE_SELECT:
        return v->s->queue_select;
    case LEGACY_STATUS: /* which has no bit for a device that broke */
        return __atomic_load_n(&v->s->status, __ATOMIC_ACQUIRE) & ~VIRTIO_STATUS_NEEDS_RESET;
    case LEGACY_ISR:
        return isr_read(p);
    case LEGACY_CONFIG_VECTOR:
        return v->s->config_vector;
    case LEGACY_QUEUE_VECTOR:
        return vq ? vq->s->vector : VIRTIO_NO_VECTOR;
    default:
        return 0;
    }
}

/* 2.7.2: the three parts one after the other, the used ring on a page of its own. */
static void legacy_set_pfn(struct virtio_pci *p, uint32_t pfn)
{
    struct virtqueue *vq = selected(p);
    struct virtqueue_state *s;
    uint16_t vector;

    if (!vq) {
        return;
    }
    s = vq->s;
    vector = s->vector;
    virtio_queue_disable(&p->virtio, vq->index);
    s->vector = vector;
    if (pfn == 0) {
        return;
    }
    s->size = vq->max_size;
    s->desc = (uint64_t)pfn << LEGACY_PAGE_BITS;
    s->driver = s->desc + 16ull * s->size;
    s->device = (s->driver + 4 + 2ull * s->size + 2 + 4095) & ~4095ull;
    virtio_queue_enable(&p->virtio, vq->index);
}

/* Linux before 2.6.34 forgets it. */
static void legacy_be_master(struct virtio_pci *p)
{
    pci_put16(&p->pci, PCI_COMMAND, pci_get16(&p->pci, PCI_COMMAND) | PCI_COMMAND_MASTER);
    virtio_set_master(&p->virtio, true);
}

/* A driver that writes here before it has accepted VERSION_1 is one of the old kind. */
static void legacy_begin(struct virtio_pci *p)
{
    if (!(p->virtio.s->status & VIRTIO_STATUS_FEATURES_OK)) {
        p->virtio.s->legacy = true;
    }
}

static void legacy_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct virtio_pci *p = opaque;
    struct virtio *v = &p->virtio;
    struct virtqueue *vq = selected(p);

    if (offset >= legacy_config_at(p)) {
        virtio_config_write(&p->virtio, offset - legacy_config_at(p), value, size);
        return;
    }
    switch (offset) {
    case LEGACY_DRIVER:
        legacy_begin(p);
        virtio_set_features(v, 0, (uint32_t)value);
        v->s->driver_features &= virtio_offered(v);
        break;
    case LEGACY_QUEUE_PFN:
        legacy_begin(p);
        legacy_set_pfn(p, (uint32_t)value);
        break;
    case LEGACY_QUEUE_SELECT:
        v->s->queue_select = (uint16_t)value;
        break;
    case LEGACY_QUEUE_NOTIFY:
        ring(p, value & 0xffff);
        break;
    case LEGACY_STATUS:
        if (value) {
            legacy_begin(p);
        }
        if (value == (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER)) {
            legacy_be_master(p);
        }
        virtio_set_status(v, (uint8_t)value);
        virtio_intx_update(p);
        break;
    case LEGACY_CONFIG_VECTOR:
        v->s->config_vector = fit_vector(p, value);
        break;
    case LEGACY_QUEUE_VECTOR:
        if (vq) {
            set_vector(p, vq, value);
        }
        break;
    default:
        break;
    }
}

static bool legacy_write_unlocked(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    if (offset != LEGACY_QUEUE_NOTIFY) {
        return false;
    }
    ring(opaque, value & 0xffff);
    return true;
}

/* The same for accelerators that can leave it to the host's kernel. */
static void doorbell(struct virtio *v, struct virtqueue *vq, bool opened)
{
    struct virtio_pci *p = (struct virtio_pci *)v->dev;
    const struct device_env *env = v->dev->env;

    if (!opened) {
        address_space_remove_doorbell(env->mem, &p->modern, vq->fd);
        address_space_remove_doorbell(env->io, &p->legacy, vq->fd);
        return;
    }
    if (!p->cfg.ioeventfd) {
        return;
    }
    if (p->modern.size) {
        const struct doorbell d = {.region = &p->modern,
                                   .offset = PAGE_NOTIFY + (uint64_t)vq->index * notify_stride(p),
                                   .fd = vq->fd};

        address_space_add_doorbell(env->mem, &d);
    }
    if (p->legacy.size) {
        const struct doorbell d = {.region = &p->legacy,
                                   .offset = LEGACY_QUEUE_NOTIFY,
                                   .fd = vq->fd,
                                   .size = 2,
                                   .has_value = true,
                                   .value = vq->index};

        address_space_add_doorbell(env->io, &d);
    }
}

static void line(struct virtio *v, struct virtqueue *vq, int fd, void (*raise)(void *opaque),
                 void *opaque)
{
    struct virtio_pci *p = (struct virtio_pci *)v->dev;

    pci_line_free(g_steal_pointer(&vq->line));
    if (fd >= 0) {
        vq->line = pci_line_new(&p->pci, fd, vq->s->vector, raise, opaque);
    }
}

static const struct region_ops legacy_ops = {.read = legacy_read,
                                             .write = legacy_write,
                                             .write_unlocked = legacy_write_unlocked,
                                             .max_size = 4};

/* ---- the device */

static uint8_t add_capability(struct virtio_pci *p, uint8_t type, uint32_t offset, uint32_t length,
                              uint8_t extra)
{
    uint8_t bytes = (uint8_t)(CAP_BYTES + extra);
    uint8_t at = pci_add_capability(&p->pci, CAP_VENDOR, bytes);
    uint8_t *config = p->pci.s->config;

    config[at + 2] = bytes;
    config[at + 3] = type;
    config[at + 4] = MODERN_BAR;
    pci_put32(&p->pci, at + 8, offset);
    pci_put32(&p->pci, at + 12, length);
    return at;
}

static uint64_t power_of_two(uint64_t n)
{
    uint64_t size = 32;

    while (size < n) {
        size *= 2;
    }
    return size;
}

static void modern_init(struct virtio_pci *p)
{
    uint32_t notify_bytes = p->cfg.page_per_vq ? p->virtio.n_queues * NOTIFY_PAGE : NOTIFY_PAGE;
    uint8_t at;

    p->modern = (struct region){.name = "virtio",
                                .kind = REGION_IO,
                                .size = power_of_two(PAGE_NOTIFY + notify_bytes),
                                .ops = &modern_ops,
                                .opaque = p};
    pci_add_bar(&p->pci, MODERN_BAR, PCI_BAR_MEM64 | PCI_BAR_PREFETCHABLE, &p->modern);
    add_capability(p, CFG_COMMON, PAGE_COMMON, 0x1000, 0);
    add_capability(p, CFG_ISR, PAGE_ISR, 0x1000, 0);
    add_capability(p, CFG_DEVICE, PAGE_DEVICE, 0x1000, 0);
    at = add_capability(p, CFG_NOTIFY, PAGE_NOTIFY, notify_bytes, 4);
    pci_put32(&p->pci, at + CAP_BYTES, notify_stride(p));
    p->window = add_capability(p, CFG_PCI, 0, 0, 4);
    p->pci.s->config[p->window + 4] = 0;
    p->pci.writable[p->window + 4] = 0xff;
    memset(p->pci.writable + p->window + 8, 0xff, 12);
    p->pci.config_reading = config_space_reading;
}

static void legacy_init(struct virtio_pci *p)
{
    p->legacy =
        (struct region){.name = "virtio-legacy",
                        .kind = REGION_IO,
                        .size = power_of_two(LEGACY_QUEUE_VECTOR + 2 + p->virtio.ops->config_bytes),
                        .ops = &legacy_ops,
                        .opaque = p};
    pci_add_bar(&p->pci, 0, PCI_BAR_IO, &p->legacy);
}

/* 4.1.2: the device id; that of transitional devices is from a table of its own. */
static uint16_t transitional_id(uint16_t type)
{
    static const uint8_t ids[] = {
        [1] = 0x00, [2] = 0x01, [3] = 0x03, [4] = 0x05, [5] = 0x02, [8] = 0x04, [9] = 0x09};

    return type == 1 || (type < G_N_ELEMENTS(ids) && ids[type]) ? 0x1000 + ids[type] : 0;
}

static bool choose_interfaces(struct virtio_pci *p, bool *modern, GError **error)
{
    enum on_off_auto off = (enum on_off_auto)p->cfg.disable_legacy;
    const struct pci_bus *bus =
        pci_bus_for(p->pci.dev.env, p->pci.at.bus, p->pci.dev.class->name, error);

    if (!bus) {
        return false;
    }
    /* What sits in a PCI Express slot has no I/O ports (4.1.2.1). */
    if (off == ON_OFF_AUTO_AUTO && bus->express && bus->bridge) {
        off = ON_OFF_AUTO_ON;
    }
    *modern = !p->cfg.disable_modern;
    p->transitional = off != ON_OFF_AUTO_ON && transitional_id(p->virtio.ops->id) != 0;
    if (!*modern && !p->transitional) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: device cannot work as neither modern nor legacy",
                    p->virtio.dev->class->name);
        return false;
    }
    if (p->cfg.iommu_platform && p->transitional) {
        g_set_error(
            error, DEVICE_ERROR, 0,
            "%s: iommu_platform=on needs disable-legacy=on: older drivers know nothing of it",
            p->virtio.dev->class->name);
        return false;
    }
    return true;
}

void virtio_offer_core_features(struct virtio_pci *p, bool modern)
{
    const struct {
        bool on;
        unsigned bit;
    } feature[] = {{modern, VIRTIO_F_VERSION_1},
                   {p->cfg.event_idx, VIRTIO_F_EVENT_IDX},
                   {p->cfg.indirect, VIRTIO_F_INDIRECT_DESC},
                   {p->cfg.queue_reset && modern, VIRTIO_F_RING_RESET},
                   {p->cfg.iommu_platform && modern, VIRTIO_F_ACCESS_PLATFORM},
                   {p->cfg.packed && modern, VIRTIO_F_RING_PACKED}};

    p->virtio.offered = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(feature); i++) {
        p->virtio.offered |= feature[i].on ? VIRTIO_BIT(feature[i].bit) : 0;
    }
}

bool virtio_pci_realize(struct virtio_pci *p, struct virtio_pci_state *state, uint16_t class,
                        GError **error)
{
    struct virtio *v = &p->virtio;
    uint16_t id = v->ops->id;
    unsigned vectors = p->cfg.vectors == UINT32_MAX ? v->n_queues + 1 : p->cfg.vectors;
    struct pci_ids ids = {.vendor = VENDOR, .subsystem_vendor = VENDOR, .class = class};
    bool modern;

    if (v->dev->class->bus == BUS_VIRTIO) {
        return virtio_mmio_realize(p, error);
    }
    if (!choose_interfaces(p, &modern, error)) {
        return false;
    }
    if (vectors > PCI_MSIX_VECTORS) {
        vectors = PCI_MSIX_VECTORS;
    }
    ids.device = p->transitional ? transitional_id(id) : (uint16_t)(DEVICE_MODERN + id);
    ids.subsystem = p->transitional ? id : 0x1100;
    ids.revision = p->transitional ? 0 : 1;
    virtio_offer_core_features(p, modern);
    v->interrupt = virtio_pci_interrupt;
    v->doorbell = doorbell;
    v->line = line;
    p->pci.config_written = config_space_written;
    if (!pci_init(&p->pci, &state->pci, NULL, &ids, 1, error)) {
        return false;
    }
    if (v->home != v->dev->env->loop) {
        p->intx = loop_bell_new(v->dev->env->loop, virtio_intx_update, p);
    }
    if (p->transitional) {
        legacy_init(p);
    }
    if (vectors) {
        pci_add_msix(&p->pci, vectors, 1);
    }
    if (modern) {
        modern_init(p);
    }
    if (p->pci.bus->express && p->pci.bus->bridge) {
        pci_add_express(&p->pci, EXPRESS_ENDPOINT);
    }
    return true;
}

void virtio_pci_unrealize(struct device *dev)
{
    struct virtio_pci *p = (struct virtio_pci *)dev;

    virtio_finish(&p->virtio);
    loop_bell_free(g_steal_pointer(&p->intx));
    virtio_mmio_unrealize(p);
    pci_finish(&p->pci);
}

void virtio_pci_reset(struct device *dev, enum reset_kind kind)
{
    struct virtio_pci *p = (struct virtio_pci *)dev;

    virtio_reset(&p->virtio);
    if (p->slot) {
        virtio_mmio_interrupt(p, false);
        return;
    }
    pci_reset(&p->pci);
    virtio_set_master(&p->virtio, false);
}

void virtio_pci_pause(struct device *dev)
{
    virtio_pause(&((struct virtio_pci *)dev)->virtio);
}

void virtio_pci_resume(struct device *dev)
{
    virtio_resume(&((struct virtio_pci *)dev)->virtio);
}

bool virtio_pci_post_load(struct device *dev, GError **error)
{
    struct virtio_pci *p = (struct virtio_pci *)dev;

    if (!p->slot) {
        if (!pci_post_load(&p->pci, error)) {
            return false;
        }
        config_space_written(&p->pci, 0, 0);
    }
    virtio_intx_update(p);
    return virtio_post_load(&p->virtio, error);
}

char *virtio_pci_boot_path(struct device *dev)
{
    const struct virtio_pci *p = (struct virtio_pci *)dev;
    g_autofree char *path = p->slot ? virtio_mmio_firmware_path(p) : pci_firmware_path(&p->pci);

    return g_strconcat(path, p->virtio.ops->id == 1 ? "/ethernet-phy@0" : "/disk@0,0", NULL);
}
