/*
 * Message-signalled interrupts of PCI devices: MSI (PCI Local Bus Specification 3.0, section 6.8.1)
 * and MSI-X (6.8.2).
 *
 * A message is a memory write by the device. Any thread may send one: table and pending bits are
 * guarded by the device's mutex `messages`. A line is an eventfd by which somebody else, the host's
 * kernel say, raises a vector: while the vector may be sent, the accelerator watches the eventfd if
 * it can do so in the kernel (an irqfd); else the main loop does, and has the device raise it.
 */
#include "base/bytes.h"
#include "base/loop.h"
#include "devices/pci/pci-priv.h"
#include <string.h>
#include <unistd.h>

#define MSI_FLAGS      2
#define MSI_ENABLE     0x0001
#define MSI_64BIT      0x0080
#define MSI_MASKS      0x0100
#define MSI_ADDR       4
#define MSI_DATA       12
#define MSI_MASK       16
#define MSI_PENDING    20
#define MSI_LENGTH     24

#define MSIX_FLAGS     2
#define MSIX_ENABLE    0x8000
#define MSIX_MASK_ALL  0x4000
#define MSIX_TABLE     4
#define MSIX_PBA       8
#define MSIX_LENGTH    12
#define MSIX_BAR_BYTES 4096
#define MSIX_PBA_AT    2048

#define MSI_PREFIX     0xfee /* of the addresses that are interrupts, bits 20 to 31 */

void pci_add_msi(struct pci_device *dev, unsigned vectors, bool masks)
{
    uint8_t at = pci_add_capability(dev, PCI_CAP_MSI, MSI_LENGTH);
    unsigned log2 = (unsigned)__builtin_ctz(vectors);

    g_assert(vectors && vectors <= 32 && (vectors & (vectors - 1)) == 0);
    dev->msi_cap = at;
    pci_put16(dev, at + MSI_FLAGS, (uint16_t)(MSI_64BIT | (masks ? MSI_MASKS : 0) | log2 << 1));
    bytes_put_le(dev->writable + at + MSI_FLAGS, MSI_ENABLE | 0x70, 2);
    bytes_put_le(dev->writable + at + MSI_ADDR, ~3ull, 8);
    bytes_put_le(dev->writable + at + MSI_DATA, 0xffff, 2);
    if (masks) {
        bytes_put_le(dev->writable + at + MSI_MASK,
                     vectors == 32 ? UINT32_MAX : (1u << vectors) - 1, 4);
    }
}

bool pci_msi_enabled(const struct pci_device *dev)
{
    return dev->msi_cap && (pci_get16(dev, dev->msi_cap + MSI_FLAGS) & MSI_ENABLE);
}

bool pci_msix_enabled(const struct pci_device *dev)
{
    return dev->msix_cap && (pci_get16(dev, dev->msix_cap + MSIX_FLAGS) & MSIX_ENABLE);
}

/* A message is a memory write by the device; on a bare bus it goes to the interrupt logic or RAM.
 */
static void message_send(struct pci_device *dev, gpa_t addr, uint32_t data)
{
    struct device_env *env = dev->dev.env;
    uint8_t bytes[4];

    if (!(pci_get16(dev, PCI_COMMAND) & PCI_COMMAND_MASTER)) {
        return;
    }
    if (addr >> 20 == MSI_PREFIX) {
        if (env->send_msi) {
            env->send_msi(env, addr, data);
        }
        return;
    }
    bytes_put_le(bytes, data, 4);
    address_space_write(env->mem, addr, bytes, 4);
}

static void msi_send(struct pci_device *dev, unsigned n)
{
    unsigned at = dev->msi_cap, enabled = 1u << (pci_get16(dev, at + MSI_FLAGS) >> 4 & 7);
    unsigned capable = 1u << (pci_get16(dev, at + MSI_FLAGS) >> 1 & 7);
    uint32_t data = pci_get16(dev, at + MSI_DATA);

    enabled = MIN(enabled, capable);
    n = MIN(n, enabled - 1);
    if (pci_get32(dev, at + MSI_MASK) & (1u << n)) {
        dev->s->msi_pending |= 1u << n;
    } else {
        dev->s->msi_pending &= ~(1u << n);
        message_send(
            dev, pci_get32(dev, at + MSI_ADDR) | (uint64_t)pci_get32(dev, at + MSI_ADDR + 4) << 32,
            (data & ~(enabled - 1)) | n);
    }
    pci_put32(dev, at + MSI_PENDING, dev->s->msi_pending);
}

static void msix_send(struct pci_device *dev, unsigned n)
{
    const struct pci_msix_entry *entry = &dev->s->msix[n];
    bool masked = pci_get16(dev, dev->msix_cap + MSIX_FLAGS) & MSIX_MASK_ALL;

    if (masked || (entry->control & 1)) {
        dev->s->msix_pending |= 1ull << n;
        return;
    }
    dev->s->msix_pending &= ~(1ull << n);
    message_send(dev, entry->addr, entry->data);
}

void pci_msi_notify(struct pci_device *dev, unsigned n)
{
    g_mutex_lock(&dev->messages);
    if (pci_msix_enabled(dev)) {
        if (n < dev->msix_vectors) {
            msix_send(dev, n);
        }
    } else if (pci_msi_enabled(dev) && n < 32) {
        msi_send(dev, n);
    }
    g_mutex_unlock(&dev->messages);
}

/* ---- lines */

struct pci_line {
    struct pci_device *dev;
    struct pci_line *next; /* of dev->lines */
    int fd;
    unsigned vector;
    bool in_kernel; /* the accelerator has it; else `watch` is there */
    GSource *watch;
    void (*raise)(void *opaque);
    void *opaque;
};

/* Takes what has been signalled so far; false: nothing has. */
static bool line_take(const struct pci_line *line)
{
    uint64_t count;

    return read(line->fd, &count, sizeof(count)) == sizeof(count);
}

static bool line_signalled(int fd, GIOCondition condition, void *opaque)
{
    struct pci_line *line = opaque;

    if (line_take(line)) {
        line->raise(line->opaque);
    }
    return true;
}

/* Whether signals may go to the processors as they come; then that is where. */
static bool line_passes(const struct pci_line *line)
{
    const struct pci_device *dev = line->dev;
    const struct pci_msix_entry *entry = &dev->s->msix[line->vector % PCI_MSIX_VECTORS];

    return pci_msix_enabled(dev) && line->vector < dev->msix_vectors &&
           !(pci_get16(dev, dev->msix_cap + MSIX_FLAGS) & MSIX_MASK_ALL) && !(entry->control & 1) &&
           (pci_get16(dev, PCI_COMMAND) & PCI_COMMAND_MASTER) && entry->addr >> 20 == MSI_PREFIX;
}

static bool line_give(const struct pci_line *line)
{
    struct device_env *env = line->dev->dev.env;
    const struct pci_msix_entry *entry;

    if (!env->irqfd_set || !line_passes(line)) {
        return false;
    }
    entry = &line->dev->s->msix[line->vector];
    return env->irqfd_set(env, line->fd, entry->addr, entry->data);
}

/* Signals that came before are noticed by whoever watches next. */
static void line_update(struct pci_line *line)
{
    struct device_env *env = line->dev->dev.env;
    bool was = line->in_kernel;

    line->in_kernel = line_give(line);
    if (was && !line->in_kernel) {
        env->irqfd_clear(env, line->fd);
    }
    if (line->in_kernel) {
        loop_unwatch(&line->watch);
    } else if (!line->watch) {
        line->watch = loop_watch_fd(env->loop, line->fd, G_IO_IN, line_signalled, line);
    }
}

void pci_lines_update(struct pci_device *dev)
{
    for (struct pci_line *line = dev->lines; line; line = line->next) {
        line_update(line);
    }
}

struct pci_line *pci_line_new(struct pci_device *dev, int fd, unsigned vector,
                              void (*raise)(void *opaque), void *opaque)
{
    struct pci_line *line = g_new(struct pci_line, 1);

    *line = (struct pci_line){.dev = dev,
                              .next = dev->lines,
                              .fd = fd,
                              .vector = vector,
                              .raise = raise,
                              .opaque = opaque};
    dev->lines = line;
    line_update(line);
    return line;
}

void pci_line_set_vector(struct pci_line *line, unsigned vector)
{
    line->vector = vector;
    line_update(line);
}

void pci_line_free(struct pci_line *line)
{
    struct pci_line **at;

    if (!line) {
        return;
    }
    for (at = &line->dev->lines; *at != line; at = &(*at)->next) {
    }
    *at = line->next;
    loop_unwatch(&line->watch);
    if (line->in_kernel) {
        line->dev->dev.env->irqfd_clear(line->dev->dev.env, line->fd);
    }
    g_free(line);
}

/* ---- registers */

/* Sends what a mask held back and no longer does. */
void pci_messages_update(struct pci_device *dev)
{
    g_mutex_lock(&dev->messages);
    if (pci_msix_enabled(dev)) {
        for (uint64_t left = dev->s->msix_pending; left; left &= left - 1) {
            msix_send(dev, (unsigned)__builtin_ctzll(left));
        }
    } else if (pci_msi_enabled(dev)) {
        for (uint32_t left = dev->s->msi_pending; left; left &= left - 1) {
            msi_send(dev, (unsigned)__builtin_ctz(left));
        }
    }
    g_mutex_unlock(&dev->messages);
    pci_lines_update(dev);
}

void pci_messages_reset(struct pci_device *dev)
{
    g_mutex_lock(&dev->messages);
    memset(dev->s->msix, 0, sizeof(dev->s->msix));
    for (unsigned i = 0; i < PCI_MSIX_VECTORS; i++) {
        dev->s->msix[i].control = 1;
    }
    dev->s->msix_pending = 0;
    dev->s->msi_pending = 0;
    g_mutex_unlock(&dev->messages);
    if (dev->msi_cap) {
        pci_put32(dev, dev->msi_cap + MSI_PENDING, 0);
    }
    pci_lines_update(dev);
}

static uint64_t msix_read(void *opaque, gpa_t offset, unsigned size)
{
    struct pci_device *dev = opaque;
    const struct pci_msix_entry *entry = &dev->s->msix[offset / 16 % PCI_MSIX_VECTORS];

    if (offset >= MSIX_PBA_AT) {
        return offset < MSIX_PBA_AT + 8
                   ? (uint32_t)(dev->s->msix_pending >> (8 * (offset - MSIX_PBA_AT)))
                   : 0;
    }
    if (offset / 16 >= dev->msix_vectors) {
        return 0;
    }
    switch (offset & 12) {
    case 0:
        return (uint32_t)entry->addr;
    case 4:
        return entry->addr >> 32;
    case 8:
        return entry->data;
    default:
        return entry->control;
    }
}

static void msix_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct pci_device *dev = opaque;
    struct pci_msix_entry *entry;

    if (offset / 16 >= dev->msix_vectors) {
        return;
    }
    entry = &dev->s->msix[offset / 16];
    g_mutex_lock(&dev->messages);
    switch (offset & 12) {
    case 0:
        entry->addr = (entry->addr & ~0xffffffffull) | (value & 0xfffffffc);
        break;
    case 4:
        entry->addr = (entry->addr & 0xffffffff) | value << 32;
        break;
    case 8:
        entry->data = (uint32_t)value;
        break;
    default:
        entry->control = value & 1;
        break;
    }
    g_mutex_unlock(&dev->messages);
    pci_messages_update(dev);
}

static const struct region_ops msix_ops = {
    .read = msix_read, .write = msix_write, .min_size = 4, .max_size = 4};

void pci_add_msix(struct pci_device *dev, unsigned vectors, unsigned bar)
{
    uint8_t at = pci_add_capability(dev, PCI_CAP_MSIX, MSIX_LENGTH);

    g_assert(vectors && vectors <= PCI_MSIX_VECTORS);
    dev->msix_cap = at;
    dev->msix_vectors = vectors;
    dev->msix_table = (struct region){
        .name = "msix", .kind = REGION_IO, .size = MSIX_BAR_BYTES, .ops = &msix_ops, .opaque = dev};
    pci_add_bar(dev, bar, 0, &dev->msix_table);
    pci_put16(dev, at + MSIX_FLAGS, (uint16_t)(vectors - 1));
    bytes_put_le(dev->writable + at + MSIX_FLAGS, MSIX_ENABLE | MSIX_MASK_ALL, 2);
    pci_put32(dev, at + MSIX_TABLE, bar);
    pci_put32(dev, at + MSIX_PBA, MSIX_PBA_AT | bar);
}
