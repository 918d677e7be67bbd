/* A small virtio driver on the bare bus: modern registers behind BAR 4, rings in guest RAM. */
#ifndef TESTS_MACHINE_VIRTIO_DRIVER_H
#define TESTS_MACHINE_VIRTIO_DRIVER_H

#include "bare-bus.h"
#include "devices/pci/q35-host.h"
#include "devices/virtio/virtio-pci.h"

#define DRIVER_BAR  0xe0000000ull
#define DRIVER_MSIX 0xe0010000ull
#define DRIVER_IO   0xc000
#define MSI_BASE    0xf000 /* in RAM: a message is a store there, as a test can see */
#define DESC_AT     0x10000
#define AVAIL_AT    0x18000
#define USED_AT     0x20000
#define INDIRECT_AT 0x28000
#define DATA_AT     0x40000
#define D_NEXT      1u
#define D_WRITE     2u
#define D_INDIRECT  4u

struct driver {
    struct bare_bus *bus;
    struct device *dev;
    uint8_t *ram;
    unsigned devfn, size;
    bool packed;
    uint16_t avail, used; /* split: indices; packed: next descriptor to fill, to look at */
    bool avail_wrap, used_wrap;
};

static inline uint64_t reg_read(struct driver *d, unsigned at, unsigned size)
{
    return address_space_io_read(d->bus->env.mem, DRIVER_BAR + at, size);
}

static inline void reg_write(struct driver *d, unsigned at, uint64_t value, unsigned size)
{
    address_space_io_write(d->bus->env.mem, DRIVER_BAR + at, value, size);
}

static inline uint16_t ram16(struct driver *d, gpa_t at)
{
    return __atomic_load_n((uint16_t *)(d->ram + at), __ATOMIC_ACQUIRE);
}

static inline void ram16_set(struct driver *d, gpa_t at, uint16_t value)
{
    __atomic_store_n((uint16_t *)(d->ram + at), value, __ATOMIC_RELEASE);
}

/* Lets the main loop and the I/O thread work until fn says so. */
#define DRIVER_WAIT(d, condition)                                                                  \
    while (!(condition)) {                                                                         \
        if (!g_main_context_iteration((d)->bus->loop->context, FALSE)) {                           \
            g_usleep(50);                                                                          \
        }                                                                                          \
    }

/* Everything that was begun by the I/O thread and the main loop is done. */
static inline void driver_settle(struct driver *d)
{
    block_drain_begin(d->bus->env.block);
    block_drain_end(d->bus->env.block);
    while (g_main_context_iteration(d->bus->loop->context, FALSE)) {
    }
}

/* A bus with its host bridge and two null disks. */
static inline void driver_begin(struct driver *d)
{
    g_autoptr(GError) error = NULL;

    *d = (struct driver){.bus = bus_new(), .devfn = PCI_DEVFN(5, 0)};
    d->ram = d->bus->ram->host;
    g_assert_nonnull(q35_host_create(&d->bus->env, NULL, NULL));
    for (unsigned i = 0; i < 2; i++) {
        struct blockdev_options o = {.driver = BLOCKDEV_DRIVER_NULL_CO,
                                     .node_name = i ? "null1" : "null0"};

        o.u.null_co.has_read_zeroes = true;
        o.u.null_co.read_zeroes = true;
        g_assert_true(block_node_add(d->bus->env.block, &o, &error));
    }
}

static inline void driver_plug_into(struct driver *d, const char *name,
                                    const char *const *properties)
{
    g_autoptr(GError) error = NULL;

    d->dev = device_new_named(name, &d->bus->env, &error);
    g_assert_no_error(error);
    g_assert_true(device_set_property(d->dev, "addr", "5", &error));
    for (; properties && *properties; properties += 2) {
        if (!device_set_property(d->dev, properties[0], properties[1], &error)) {
            g_error("%s", error->message);
        }
    }
    if (!device_realize(d->dev, &error)) {
        g_error("%s", error->message);
    }
}

static inline void driver_plug(struct driver *d, const char *name, const char *const *properties)
{
    driver_begin(d);
    driver_plug_into(d, name, properties);
}

static inline void driver_config(struct driver *d, unsigned at, uint32_t value, unsigned size)
{
    pci_config_write(d->bus->env.pci, 0, (uint8_t)d->devfn, at, value, size);
}

static inline void driver_map(struct driver *d)
{
    bus_start(d->bus);
    driver_config(d, PCI_BAR0, DRIVER_IO, 4);
    driver_config(d, PCI_BAR0 + 4, DRIVER_MSIX, 4);
    driver_config(d, PCI_BAR0 + 16, DRIVER_BAR & UINT32_MAX, 4);
    driver_config(d, PCI_BAR0 + 20, 0, 4);
    driver_config(d, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

/* MSI-X vector n stores n + 1 at MSI_BASE + 4 * n. */
static inline void driver_msix(struct driver *d, unsigned vectors)
{
    struct pci_device *pci = (struct pci_device *)d->dev;

    for (unsigned n = 0; n < vectors; n++) {
        address_space_io_write(d->bus->env.mem, DRIVER_MSIX + 16 * n, MSI_BASE + 4 * n, 4);
        address_space_io_write(d->bus->env.mem, DRIVER_MSIX + 16 * n + 4, 0, 4);
        address_space_io_write(d->bus->env.mem, DRIVER_MSIX + 16 * n + 8, n + 1, 4);
        address_space_io_write(d->bus->env.mem, DRIVER_MSIX + 16 * n + 12, 0, 4);
    }
    driver_config(d, pci->msix_cap + 2u, 0x8000, 2);
}

static inline bool driver_interrupted(struct driver *d, unsigned vector)
{
    uint16_t seen = ram16(d, MSI_BASE + 4 * vector);

    g_assert_true(seen == 0 || seen == vector + 1);
    return seen != 0;
}

/* Queue 0 with that many descriptors, vector 1 for it and 0 for changes of configuration. */
static inline void driver_queue(struct driver *d, unsigned size)
{
    d->size = size;
    d->avail = d->used = 0;
    d->avail_wrap = d->used_wrap = true;
    memset(d->ram + DESC_AT, 0, DATA_AT - DESC_AT);
    reg_write(d, 0x16, 0, 2);
    reg_write(d, 0x18, size, 2);
    reg_write(d, 0x1a, 1, 2);
    reg_write(d, 0x20, DESC_AT, 8);
    reg_write(d, 0x28, AVAIL_AT, 8);
    reg_write(d, 0x30, USED_AT, 8);
    reg_write(d, 0x1c, 1, 2);
}

/* Reset, then the whole way up with these features. */
static inline void driver_up(struct driver *d, uint64_t features, unsigned size)
{
    d->packed = features & VIRTIO_BIT(VIRTIO_F_RING_PACKED);
    reg_write(d, 0x14, 0, 1);
    g_assert_cmpuint(reg_read(d, 0x14, 1), ==, 0);
    reg_write(d, 0x14, 3, 1);
    features |= VIRTIO_BIT(VIRTIO_F_VERSION_1);
    for (unsigned i = 0; i < 2; i++) {
        reg_write(d, 0x08, i, 4);
        reg_write(d, 0x0c, (uint32_t)(features >> (32 * i)), 4);
    }
    reg_write(d, 0x14, 11, 1);
    g_assert_cmpuint(reg_read(d, 0x14, 1), ==, 11);
    reg_write(d, 0x10, 0, 2);
    driver_queue(d, size);
    g_assert_cmpuint(reg_read(d, 0x1c, 2), ==, 1);
    reg_write(d, 0x14, 15, 1);
}

static inline void driver_free(struct driver *d)
{
    bus_free(d->bus);
}

static inline void desc_set(struct driver *d, gpa_t table, unsigned i, gpa_t addr, uint32_t len,
                            unsigned flags, unsigned next)
{
    uint8_t *p = d->ram + table + 16 * i;
    uint16_t a = (uint16_t)(d->packed ? next : flags), b = (uint16_t)(d->packed ? flags : next);

    memcpy(p, &addr, 8);
    memcpy(p + 8, &len, 4);
    memcpy(p + 12, &a, 2);
    __atomic_store_n((uint16_t *)(p + 14), b, __ATOMIC_RELEASE);
}

static inline void driver_ring(struct driver *d)
{
    reg_write(d, 0x3000, 0, 2);
}

/* Split: makes descriptor `head` available. */
static inline void driver_offer(struct driver *d, unsigned head)
{
    ram16_set(d, AVAIL_AT + 4 + 2 * (d->avail % d->size), (uint16_t)head);
    d->avail++;
    ram16_set(d, AVAIL_AT + 2, d->avail);
    driver_ring(d);
}

static inline unsigned driver_status(struct driver *d)
{
    return (unsigned)reg_read(d, 0x14, 1);
}

/* Split: waits for one more used entry; its length, and *id. */
static inline uint32_t driver_take(struct driver *d, uint32_t *id)
{
    uint32_t at = USED_AT + 4 + 8 * (uint32_t)(d->used % d->size), len;

    DRIVER_WAIT(d, ram16(d, USED_AT + 2) != d->used);
    memcpy(id, d->ram + at, 4);
    memcpy(&len, d->ram + at + 4, 4);
    d->used++;
    return len;
}

#endif
