/*
 * Virtio devices on a bare bus, driven by a small driver: both kinds of rings, notifications, the
 * legacy interface, requests of each device, and drivers that break the rules.
 */
#include "virtio-driver.h"

#include <glib/gstdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS   VIRTIO_BIT(VIRTIO_F_EVENT_IDX)
#define INDIRECT VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC)
#define PACKED   VIRTIO_BIT(VIRTIO_F_RING_PACKED)

/* ---- rings, by the random number generator */

static void rng_up(struct driver *d, uint64_t features, unsigned size, const char *packed)
{
    const char *const properties[] = {"packed", packed, NULL};

    driver_plug(d, "virtio-rng-pci", properties);
    driver_map(d);
    driver_msix(d, 2);
    driver_up(d, features, size);
}

static bool any_set(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i]) {
            return true;
        }
    }
    return false;
}

static void test_split(void)
{
    struct driver d;
    uint32_t id;

    rng_up(&d, 0, 8, "off");
    for (unsigned i = 0; i < 100; i++) { /* many times around */
        unsigned head = i % 4 * 2;

        memset(d.ram + DATA_AT, 0, 4096);
        desc_set(&d, DESC_AT, head, DATA_AT, 64, D_WRITE | D_NEXT, head + 1);
        desc_set(&d, DESC_AT, head + 1, DATA_AT + 2048, 36, D_WRITE, 0);
        ram16_set(&d, MSI_BASE + 4, 0);
        driver_offer(&d, head);
        g_assert_cmpuint(driver_take(&d, &id), ==, 100);
        g_assert_cmpuint(id, ==, head);
        g_assert_true(any_set(d.ram + DATA_AT, 64) && any_set(d.ram + DATA_AT + 2048, 36));
        g_assert_false(any_set(d.ram + DATA_AT + 64, 100));
        g_assert_false(any_set(d.ram + DATA_AT + 2048 + 36, 100));
        DRIVER_WAIT(&d, driver_interrupted(&d, 1));
    }
    ram16_set(&d, AVAIL_AT, 1); /* no interrupts, please */
    ram16_set(&d, MSI_BASE + 4, 0);
    driver_offer(&d, 1);
    driver_take(&d, &id);
    driver_settle(&d);
    g_assert_false(driver_interrupted(&d, 1));
    driver_free(&d);
}

static void test_events(void)
{
    struct driver d;
    uint32_t id;

    rng_up(&d, EVENTS, 8, "off");
    for (unsigned i = 0; i < 8; i++) {
        desc_set(&d, DESC_AT, i, DATA_AT + 64 * i, 16, D_WRITE, 0);
    }
    ram16_set(&d, AVAIL_AT + 4 + 16, 0);
    driver_offer(&d, 0);
    driver_take(&d, &id);
    driver_settle(&d);
    g_assert_true(driver_interrupted(&d, 1));
    g_assert_cmpuint(ram16(&d, USED_AT + 4 + 64), ==, 1); /* wants to hear of the next */
    ram16_set(&d, MSI_BASE + 4, 0);
    ram16_set(&d, AVAIL_AT + 4 + 16, 3); /* tell me when the fourth is done */
    for (unsigned i = 1; i < 4; i++) {
        driver_offer(&d, i);
        driver_take(&d, &id);
        driver_settle(&d);
        g_assert_cmpint(driver_interrupted(&d, 1), ==, i == 3);
    }
    driver_free(&d);
}

static void test_indirect(void)
{
    struct driver d;
    uint32_t id;

    rng_up(&d, INDIRECT, 8, "off");
    for (unsigned i = 0; i < 20; i++) {
        desc_set(&d, INDIRECT_AT, i, DATA_AT + 64 * i, 5, i == 19 ? D_WRITE : D_WRITE | D_NEXT,
                 i + 1);
    }
    desc_set(&d, DESC_AT, 3, INDIRECT_AT, 20 * 16, D_INDIRECT, 0);
    driver_offer(&d, 3);
    g_assert_cmpuint(driver_take(&d, &id), ==, 100);
    g_assert_cmpuint(id, ==, 3);
    g_assert_true(any_set(d.ram + DATA_AT + 64 * 19, 5));
    driver_free(&d);
}

#define P_AVAIL 0x80u
#define P_USED  0x8000u

/* One buffer of n descriptors; the first one's flags come last. */
static void packed_offer(struct driver *d, unsigned n, unsigned id, unsigned extra)
{
    unsigned first = d->avail, first_flags = 0;

    for (unsigned i = 0; i < n; i++) {
        unsigned flags = d->avail_wrap ? P_AVAIL : P_USED;

        flags |= D_WRITE | extra | (i + 1 < n ? D_NEXT : 0);
        if (i == 0) {
            first_flags = flags;
            flags ^= P_AVAIL | P_USED;
        }
        desc_set(d, DESC_AT, d->avail, DATA_AT + 64u * i, 10, flags, id);
        if (++d->avail == d->size) {
            d->avail = 0;
            d->avail_wrap = !d->avail_wrap;
        }
    }
    ram16_set(d, DESC_AT + 16u * first + 14, (uint16_t)first_flags);
    driver_ring(d);
}

static void packed_take(struct driver *d, unsigned n, unsigned id, uint32_t bytes)
{
    gpa_t at = DESC_AT + 16u * d->used;
    uint32_t len;
    uint16_t flags;

    do {
        g_main_context_iteration(d->bus->loop->context, FALSE);
        flags = ram16(d, at + 14);
    } while (!!(flags & P_USED) != d->used_wrap || !!(flags & P_AVAIL) != d->used_wrap);
    memcpy(&len, d->ram + at + 8, 4);
    g_assert_cmpuint(len, ==, bytes);
    g_assert_cmpuint(ram16(d, at + 12), ==, id);
    d->used = (uint16_t)(d->used + n);
    if (d->used >= d->size) {
        d->used = (uint16_t)(d->used - d->size);
        d->used_wrap = !d->used_wrap;
    }
}

static void test_packed(void)
{
    struct driver d;

    rng_up(&d, PACKED | EVENTS, 7, "on"); /* need not be a power of two */
    for (unsigned i = 0; i < 60; i++) {
        unsigned n = 1 + i % 3;

        packed_offer(&d, n, 100 + i, 0);
        packed_take(&d, n, 100 + i, 10 * n);
    }
    ram16_set(&d, AVAIL_AT + 2, 1); /* no interrupts */
    driver_settle(&d);
    ram16_set(&d, MSI_BASE + 4, 0);
    packed_offer(&d, 1, 5, 0);
    packed_take(&d, 1, 5, 10);
    driver_settle(&d);
    g_assert_false(driver_interrupted(&d, 1));
    ram16_set(&d, AVAIL_AT, (uint16_t)((d.used + 1) % 7 | ((d.used + 1 >= 7) ^ d.used_wrap) << 15));
    ram16_set(&d, AVAIL_AT + 2, 2); /* after the next but one */
    packed_offer(&d, 1, 6, 0);
    packed_take(&d, 1, 6, 10);
    driver_settle(&d);
    packed_offer(&d, 1, 7, 0);
    packed_take(&d, 1, 7, 10);
    driver_settle(&d);
    g_assert_true(driver_interrupted(&d, 1));
    driver_free(&d);
}

/* An old driver: ports, a page number, the ISR register. */
static void test_legacy(void)
{
    struct driver d;
    uint32_t id;

    driver_plug(&d, "virtio-rng-pci", NULL);
    driver_map(&d);
    g_assert_cmpuint(address_space_io_read(d.bus->env.io, DRIVER_IO, 4) &
                         (uint32_t)(INDIRECT | EVENTS),
                     ==, INDIRECT | EVENTS);
    bus_outb(d.bus, DRIVER_IO + 18, 3);
    address_space_io_write(d.bus->env.io, DRIVER_IO + 4, 0, 4);
    d.size = bus_inw(d.bus, DRIVER_IO + 12);
    g_assert_cmpuint(d.size, ==, 8);
    address_space_io_write(d.bus->env.io, DRIVER_IO + 8, DESC_AT >> 12, 4);
    bus_outb(d.bus, DRIVER_IO + 18, 7);
    desc_set(&d, DESC_AT, 0, DATA_AT, 64, D_WRITE, 0);
    ram16_set(&d, DESC_AT + 128 + 4, 0);
    ram16_set(&d, DESC_AT + 128 + 2, 1);
    bus_outw(d.bus, DRIVER_IO + 16, 0);
    DRIVER_WAIT(&d, ram16(&d, DESC_AT + 4096 + 2) == 1);
    memcpy(&id, d.ram + DESC_AT + 4096 + 8, 4);
    g_assert_cmpuint(id, ==, 64);
    driver_settle(&d);
    g_assert_cmpuint(bus_inb(d.bus, DRIVER_IO + 19), ==, 1);
    g_assert_cmpuint(bus_inb(d.bus, DRIVER_IO + 19), ==, 0);
    driver_free(&d);
}

static void test_interfaces(void)
{
    static const struct {
        const char *legacy_off, *modern_off;
        unsigned id;
    } cases[] = {{"auto", "off", 0x1005}, {"on", "off", 0x1044}, {"off", "on", 0x1005}};
    struct driver d;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *const properties[] = {"disable-legacy", cases[i].legacy_off, "disable-modern",
                                          cases[i].modern_off, NULL};

        driver_plug(&d, "virtio-rng-pci", properties);
        driver_map(&d);
        g_assert_cmphex(pci_config_read(d.bus->env.pci, 0, (uint8_t)d.devfn, 0, 4), ==,
                        cases[i].id << 16 | 0x1af4);
        g_assert_cmpuint(pci_config_read(d.bus->env.pci, 0, (uint8_t)d.devfn, PCI_BAR0, 4), ==,
                         i == 1 ? 0 : DRIVER_IO | 1);
        driver_free(&d);
    }
}

/* Registers through configuration space, for those who can't map BARs (4.1.4.9). */
static void test_window(void)
{
    struct driver d;
    unsigned cap;

    driver_plug(&d, "virtio-rng-pci", NULL);
    driver_map(&d);
    cap = ((struct virtio_pci *)d.dev)->window;
    g_assert_cmpuint(pci_config_read(d.bus->env.pci, 0, (uint8_t)d.devfn, cap + 3, 1), ==, 5);
    driver_config(&d, cap + 4, 4, 1);
    driver_config(&d, cap + 8, 0x14, 4);
    driver_config(&d, cap + 12, 1, 4);
    driver_config(&d, cap + 16, 3, 4);
    g_assert_cmpuint(driver_status(&d), ==, 3);
    driver_config(&d, cap + 8, 0x12, 4);
    driver_config(&d, cap + 12, 2, 4);
    g_assert_cmpuint(pci_config_read(d.bus->env.pci, 0, (uint8_t)d.devfn, cap + 16, 4) & 0xffff, ==,
                     1);                     /* one queue */
    driver_config(&d, cap + 8, 0x100000, 4); /* beyond the registers: nothing happens */
    driver_config(&d, cap + 16, 0, 4);
    g_assert_cmpuint(driver_status(&d), ==, 3);
    driver_free(&d);
}

/* Features that were not offered, or without VERSION_1, are not settled. */
static void test_features(void)
{
    struct driver d;

    driver_plug(&d, "virtio-rng-pci", NULL);
    driver_map(&d);
    reg_write(&d, 0x14, 3, 1);
    reg_write(&d, 0x08, 0, 4);
    reg_write(&d, 0x0c, 1u << 5, 4);
    reg_write(&d, 0x08, 1, 4);
    reg_write(&d, 0x0c, 1, 4);
    reg_write(&d, 0x14, 11, 1);
    g_assert_cmpuint(driver_status(&d), ==, 3);
    reg_write(&d, 0x0c, 0, 4);
    reg_write(&d, 0x08, 0, 4);
    reg_write(&d, 0x0c, 0, 4);
    reg_write(&d, 0x14, 11, 1);
    g_assert_cmpuint(driver_status(&d), ==, 3);
    reg_write(&d, 0x14, 15, 1); /* nor is the driver up then */
    g_assert_cmpuint(driver_status(&d), ==, 3);
    driver_free(&d);
}

static void test_rng_limit(void)
{
    const char *const properties[] = {"max-bytes", "100", "period", "1000", NULL};
    struct driver d;
    uint32_t id;

    driver_plug(&d, "virtio-rng-pci", properties);
    driver_map(&d);
    driver_up(&d, 0, 8);
    desc_set(&d, DESC_AT, 0, DATA_AT, 80, D_WRITE, 0);
    driver_offer(&d, 0);
    g_assert_cmpuint(driver_take(&d, &id), ==, 80);
    driver_offer(&d, 0);
    g_assert_cmpuint(driver_take(&d, &id), ==, 20);
    driver_offer(&d, 0);
    driver_settle(&d);
    bus_step(d.bus, 900 * NS_PER_MS);
    driver_settle(&d);
    g_assert_cmpuint(ram16(&d, USED_AT + 2), ==, 2);
    bus_step(d.bus, 200 * NS_PER_MS);
    g_assert_cmpuint(driver_take(&d, &id), ==, 80);
    driver_free(&d);
}

/* ---- those who break the rules */

#define RAM_END BUS_RAM_BYTES

static void offer_raw(struct driver *d, unsigned head)
{
    driver_offer(d, head);
}

static void bad_loop(struct driver *d)
{
    desc_set(d, DESC_AT, 0, DATA_AT, 16, D_WRITE | D_NEXT, 1);
    desc_set(d, DESC_AT, 1, DATA_AT, 16, D_WRITE | D_NEXT, 0);
    offer_raw(d, 0);
}

static void bad_address(struct driver *d)
{
    desc_set(d, DESC_AT, 0, RAM_END - 8, 16, D_WRITE, 0);
    offer_raw(d, 0);
}

static void bad_wrap(struct driver *d)
{
    desc_set(d, DESC_AT, 0, UINT64_MAX - 3, 16, D_WRITE, 0);
    offer_raw(d, 0);
}

static void bad_length(struct driver *d)
{
    desc_set(d, DESC_AT, 0, DATA_AT, UINT32_MAX, D_WRITE, 0);
    offer_raw(d, 0);
}

static void bad_zero(struct driver *d)
{
    desc_set(d, DESC_AT, 0, DATA_AT, 0, D_WRITE, 0);
    offer_raw(d, 0);
}

static void bad_order(struct driver *d)
{
    desc_set(d, DESC_AT, 0, DATA_AT, 16, D_WRITE | D_NEXT, 1);
    desc_set(d, DESC_AT, 1, DATA_AT, 16, 0, 0);
    offer_raw(d, 0);
}

static void bad_head(struct driver *d)
{
    offer_raw(d, 8);
}

static void bad_next(struct driver *d)
{
    desc_set(d, DESC_AT, 0, DATA_AT, 16, D_WRITE | D_NEXT, 0xffff);
    offer_raw(d, 0);
}

static void bad_index(struct driver *d)
{
    ram16_set(d, AVAIL_AT + 2, 9);
    driver_ring(d);
}

static void bad_table_size(struct driver *d)
{
    desc_set(d, DESC_AT, 0, INDIRECT_AT, 17, D_INDIRECT, 0);
    offer_raw(d, 0);
}

static void bad_table_nested(struct driver *d)
{
    desc_set(d, INDIRECT_AT, 0, INDIRECT_AT, 16, D_INDIRECT, 0);
    desc_set(d, DESC_AT, 0, INDIRECT_AT, 16, D_INDIRECT, 0);
    offer_raw(d, 0);
}

static void bad_table_loop(struct driver *d)
{
    desc_set(d, INDIRECT_AT, 0, DATA_AT, 1, D_WRITE | D_NEXT, 1);
    desc_set(d, INDIRECT_AT, 1, DATA_AT, 1, D_WRITE | D_NEXT, 0);
    desc_set(d, DESC_AT, 0, INDIRECT_AT, 32, D_INDIRECT, 0);
    offer_raw(d, 0);
}

static void bad_table_outside(struct driver *d)
{
    desc_set(d, DESC_AT, 0, RAM_END - 16, 32, D_INDIRECT, 0);
    desc_set(d, RAM_END - 16, 0, DATA_AT, 1, D_WRITE | D_NEXT, 1);
    offer_raw(d, 0);
}

static void bad_table_next(struct driver *d)
{
    desc_set(d, DESC_AT, 0, INDIRECT_AT, 16, D_INDIRECT | D_NEXT, 1);
    offer_raw(d, 0);
}

static void (*const bad[])(struct driver *) = {
    bad_loop,         bad_address,    bad_wrap,          bad_length,     bad_zero,
    bad_order,        bad_head,       bad_next,          bad_index,      bad_table_size,
    bad_table_nested, bad_table_loop, bad_table_outside, bad_table_next,
};

static void expect_broken_then_whole(struct driver *d)
{
    uint32_t id;

    DRIVER_WAIT(d, driver_status(d) & VIRTIO_STATUS_NEEDS_RESET);
    DRIVER_WAIT(d, driver_interrupted(d, 0)); /* the configuration's vector */
    ram16_set(d, MSI_BASE, 0);
    driver_ring(d);
    driver_settle(d);
    g_assert_cmpuint(ram16(d, USED_AT + 2), ==, 0); /* it does nothing any more */
    driver_up(d, INDIRECT, 8);
    desc_set(d, DESC_AT, 0, DATA_AT, 16, D_WRITE, 0);
    driver_offer(d, 0);
    g_assert_cmpuint(driver_take(d, &id), ==, 16);
}

static void test_hostile(void)
{
    struct driver d;

    rng_up(&d, INDIRECT, 8, "off");
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        driver_up(&d, INDIRECT, 8);
        bad[i](&d);
        expect_broken_then_whole(&d);
    }
    driver_free(&d);
}

/* Rings where there is no RAM, or odd; a size that can't be. */
static void test_hostile_places(void)
{
    static const uint64_t places[] = {RAM_END - 64, RAM_END, UINT64_MAX & ~15ull, DRIVER_BAR};
    struct driver d;

    rng_up(&d, INDIRECT, 8, "off");
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        for (unsigned part = 0x20; part < 0x38; part += 8) {
            driver_up(&d, INDIRECT, 8);
            reg_write(&d, 0x14, 0, 1);
            reg_write(&d, 0x14, 3, 1);
            reg_write(&d, 0x08, 1, 4);
            reg_write(&d, 0x0c, 1, 4);
            reg_write(&d, 0x14, 11, 1);
            reg_write(&d, 0x10, 0, 2);
            reg_write(&d, 0x16, 0, 2);
            reg_write(&d, 0x18, 8, 2);
            reg_write(&d, 0x20, DESC_AT, 8);
            reg_write(&d, 0x28, AVAIL_AT, 8);
            reg_write(&d, 0x30, USED_AT, 8);
            /* the used ring ends 4 bytes before the end of RAM: that one fits */
            reg_write(&d, part, places[i] + (i == 0 && part != 0x20 ? 60 : 0), 8);
            reg_write(&d, 0x1c, 1, 2);
            reg_write(&d, 0x14, 15, 1);
            driver_ring(&d);
            expect_broken_then_whole(&d);
        }
    }
    reg_write(&d, 0x14, 0, 1);
    for (unsigned size = 3; size < 70000; size = size * 3 - 2) {
        reg_write(&d, 0x18, size, 2);
        reg_write(&d, 0x1c, 1, 2);
        g_assert_cmpuint(reg_read(&d, 0x1c, 2), ==, 0);
    }
    driver_free(&d);
}

/* ---- the disk */

#define SECTOR 512u

struct disk {
    struct driver d; /* first */
    char *path;
};

static void disk_up(struct disk *k, const char *more, const char *const *properties)
{
    const char *all[16] = {"drive", "disk", "serial", "S-12"};
    struct blockdev_options o = {.driver = BLOCKDEV_DRIVER_FILE, .node_name = "disk"};
    int fd = g_file_open_tmp("godwit-virtio-XXXXXX", &k->path, NULL);
    g_autoptr(GError) error = NULL;
    struct driver *d = &k->d;

    g_assert_cmpint(ftruncate(fd, 256 * SECTOR), ==, 0);
    close(fd);
    o.u.file.filename = k->path;
    o.has_read_only = o.read_only = strcmp(more, "ro") == 0;
    o.has_discard = true;
    o.discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP;
    for (unsigned n = 4; properties && *properties; n++, properties++) {
        all[n] = *properties;
    }
    /* as driver_plug(), with one more node */
    *d = (struct driver){.bus = bus_new(), .devfn = PCI_DEVFN(5, 0)};
    d->ram = d->bus->ram->host;
    g_assert_nonnull(q35_host_create(&d->bus->env, NULL, NULL));
    g_assert_true(block_node_add(d->bus->env.block, &o, &error));
    d->dev = device_new_named("virtio-blk-pci", &d->bus->env, &error);
    g_assert_true(device_set_property(d->dev, "addr", "5", &error));
    for (const char *const *p = all; *p; p += 2) {
        g_assert_true(device_set_property(d->dev, p[0], p[1], &error));
    }
    if (!device_realize(d->dev, &error)) {
        g_error("%s", error->message);
    }
    driver_map(d);
    driver_msix(d, 2);
}

static void disk_down(struct disk *k)
{
    driver_free(&k->d);
    g_unlink(k->path);
    g_free(k->path);
}

/* One request through three descriptors; its status. in: the data is the device's to write. */
static unsigned disk_request(struct disk *k, unsigned type, uint64_t sector, uint32_t bytes,
                             bool in, uint32_t *written)
{
    struct driver *d = &k->d;
    uint8_t *header = d->ram + DATA_AT;
    uint32_t id, zero = 0;

    memcpy(header, &type, 4);
    memcpy(header + 4, &zero, 4);
    memcpy(header + 8, &sector, 8);
    d->ram[DATA_AT + 32] = 0xff;
    desc_set(d, DESC_AT, 0, DATA_AT, 16, D_NEXT, bytes ? 1 : 2);
    if (bytes) {
        desc_set(d, DESC_AT, 1, DATA_AT + 4096, bytes, D_NEXT | (in ? D_WRITE : 0), 2);
    }
    desc_set(d, DESC_AT, 2, DATA_AT + 32, 1, D_WRITE, 0);
    driver_offer(d, 0);
    *written = driver_take(d, &id);
    return d->ram[DATA_AT + 32];
}

static void test_disk(void)
{
    uint8_t pattern[4 * SECTOR], *data, segment[16] = {0};
    uint32_t written, n;
    struct disk k;
    uint64_t sector;

    disk_up(&k, "", NULL);
    driver_up(&k.d, VIRTIO_BIT(9) | VIRTIO_BIT(13) | VIRTIO_BIT(14), 8);
    data = k.d.ram + DATA_AT + 4096;
    g_assert_cmpuint(reg_read(&k.d, 0x2000, 8), ==, 256); /* capacity */
    for (unsigned i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 3 + i / 256);
    }
    memcpy(data, pattern, sizeof(pattern));
    g_assert_cmpuint(disk_request(&k, 1, 10, sizeof(pattern), false, &written), ==, 0);
    g_assert_cmpuint(written, ==, 1);
    g_assert_cmpuint(disk_request(&k, 4, 0, 0, false, &written), ==, 0); /* flush */
    memset(data, 0, sizeof(pattern));
    g_assert_cmpuint(disk_request(&k, 0, 11, 2 * SECTOR, true, &written), ==, 0);
    g_assert_cmpuint(written, ==, 2 * SECTOR + 1);
    g_assert_cmpmem(data, 2 * SECTOR, pattern + SECTOR, 2 * SECTOR);

    memset(data, 0xee, 20);
    g_assert_cmpuint(disk_request(&k, 8, 0, 20, true, &written), ==, 0); /* its name */
    g_assert_cmpmem(data, 5, "S-12", 5);

    sector = 11;
    n = 1;
    memcpy(segment, &sector, 8);
    memcpy(segment + 8, &n, 4);
    memcpy(data, segment, 16);
    g_assert_cmpuint(disk_request(&k, 13, 0, 16, false, &written), ==, 0); /* write zeroes */
    g_assert_cmpuint(disk_request(&k, 11, 0, 16, false, &written), ==, 0); /* discard */
    segment[12] = 1;
    memcpy(data, segment, 16);
    g_assert_cmpuint(disk_request(&k, 11, 0, 16, false, &written), ==, 2); /* no such flag there */
    g_assert_cmpuint(disk_request(&k, 0, 10, 3 * SECTOR, true, &written), ==, 0);
    memset(pattern + SECTOR, 0, SECTOR);
    g_assert_cmpmem(data, 3 * SECTOR, pattern, 3 * SECTOR);

    g_assert_cmpuint(disk_request(&k, 0, 255, 2 * SECTOR, true, &written), ==, 1);
    g_assert_cmpuint(disk_request(&k, 1, UINT64_MAX / 512, SECTOR, false, &written), ==, 1);
    g_assert_cmpuint(disk_request(&k, 0, 0, 100, true, &written), ==, 1);
    g_assert_cmpuint(disk_request(&k, 99, 0, SECTOR, true, &written), ==, 2);
    disk_down(&k);
}

static void test_disk_read_only(void)
{
    uint32_t written;
    struct disk k;

    disk_up(&k, "ro", NULL);
    reg_write(&k.d, 0x00, 0, 4);
    g_assert_true(reg_read(&k.d, 0x04, 4) & 1u << 5);
    driver_up(&k.d, VIRTIO_BIT(5), 8);
    g_assert_cmpuint(disk_request(&k, 0, 0, SECTOR, true, &written), ==, 0);
    g_assert_cmpuint(disk_request(&k, 1, 0, SECTOR, false, &written), ==, 1);
    disk_down(&k);
}

/* A request without room for its status breaks the device. */
static void test_disk_short(void)
{
    struct disk k;

    disk_up(&k, "", NULL);
    driver_up(&k.d, 0, 8);
    desc_set(&k.d, DESC_AT, 0, DATA_AT, 16, 0, 0);
    driver_offer(&k.d, 0);
    DRIVER_WAIT(&k.d, driver_status(&k.d) & VIRTIO_STATUS_NEEDS_RESET);
    disk_down(&k);
}

/* Reset in the middle of requests: none of them touches the rings of the next life. */
static void test_disk_reset(void)
{
    struct disk k;
    struct driver *d = &k.d;

    disk_up(&k, "", NULL);
    for (unsigned round = 0; round < 50; round++) {
        driver_up(d, 0, 8);
        memset(d->ram + DATA_AT, 0, 64);
        for (unsigned i = 0; i < 2; i++) {
            desc_set(d, DESC_AT, 3 * i, DATA_AT, 16, D_NEXT, 3 * i + 1);
            desc_set(d, DESC_AT, 3 * i + 1, DATA_AT + 4096 * (1 + i), 8 * SECTOR, D_WRITE | D_NEXT,
                     3 * i + 2);
            desc_set(d, DESC_AT, 3 * i + 2, DATA_AT + 32, 1, D_WRITE, 0);
            driver_offer(d, 3 * i);
        }
        if (round % 2) {
            g_usleep(20 * round);
        }
        reg_write(d, 0x14, 0, 1);
        memset(d->ram + DESC_AT, 0, DATA_AT + 16384 - DESC_AT);
        driver_settle(d);
        for (unsigned i = 0; i < DATA_AT + 16384 - DESC_AT; i++) {
            g_assert_cmpuint(d->ram[DESC_AT + i], ==, 0);
        }
    }
    disk_down(&k);
}

static void test_disk_pause(void)
{
    uint32_t written, id;
    struct disk k;
    struct driver *d = &k.d;

    disk_up(&k, "", NULL);
    driver_up(d, 0, 8);
    g_assert_cmpuint(disk_request(&k, 0, 0, SECTOR, true, &written), ==, 0);
    devices_pause(&d->bus->env);
    driver_offer(d, 0); /* rung while paused: waits */
    driver_settle(d);
    g_assert_cmpuint(ram16(d, USED_AT + 2), ==, 1);
    devices_resume(&d->bus->env);
    g_assert_cmpuint(driver_take(d, &id), ==, SECTOR + 1);
    disk_down(&k);
}

static void expect_bad_disk(const char *property, const char *value, const char *part)
{
    struct bare_bus *bus = bus_new();
    struct blockdev_options o = {.driver = BLOCKDEV_DRIVER_NULL_CO, .node_name = "n0"};
    g_autoptr(GError) error = NULL;
    struct device *dev;

    g_assert_nonnull(q35_host_create(&bus->env, NULL, NULL));
    g_assert_true(block_node_add(bus->env.block, &o, &error));
    dev = device_new_named("virtio-blk-pci", &bus->env, &error);
    g_assert_true(device_set_property(dev, "drive", "n0", &error));
    if (device_set_property(dev, property, value, &error)) {
        g_assert_false(device_realize(dev, &error));
    } else {
        device_free(dev);
    }
    g_assert_nonnull(strstr(error->message, part));
    bus_free(bus);
}

static void test_disk_properties(void)
{
    expect_bad_disk("drive", "nope", "there is no drive and no block node 'nope'");
    expect_bad_disk("queue-size", "100", "queue-size 100");
    expect_bad_disk("logical_block_size", "513", "logical_block_size 513");
    expect_bad_disk("logical_block_size", "4096", "physical_block_size 512");
    expect_bad_disk("werror", "panic", "there is no 'panic', only report");
    expect_bad_disk("disable-modern", "maybe", "not a boolean");
}

/* ---- network card: its state goes on */

static void cable_send(int cable, uint8_t first, uint8_t fill)
{
    uint8_t frame[4 + 60] = {0, 0, 0, 60};

    memset(frame + 4, fill, 60);
    frame[4] = first;
    g_assert_cmpint(send(cable, frame, sizeof(frame), 0), ==, sizeof(frame));
}

static void offer_receive(struct driver *d, unsigned head)
{
    desc_set(d, DESC_AT, head, DATA_AT + 2048 * head, 2048, D_WRITE, 0);
    driver_offer(d, head);
}

/* A card is saved while a frame waits for it, and loaded: rings, filter and frames go on. */
static void test_net_state(void)
{
    const char *const properties[] = {"netdev", "n0", NULL};
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    struct state_input input;
    struct driver d;
    uint32_t id;
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    driver_begin(&d);
    g_autofree char *netdev = g_strdup_printf("socket,id=n0,fd=%d", pair[1]);
    g_assert_true(net_backend_add_text(d.bus->env.net, netdev, &error));
    driver_plug_into(&d, "virtio-net-pci", properties);
    driver_map(&d);
    driver_msix(&d, 2);
    driver_up(&d, 0, 8);
    offer_receive(&d, 0);
    cable_send(pair[0], 0xff, 0xff);
    g_assert_cmpuint(driver_take(&d, &id), ==, 12 + 60);

    devices_pause(&d.bus->env);
    offer_receive(&d, 1);
    cable_send(pair[0], 0xff, 0xff);
    driver_settle(&d);
    g_assert_cmpuint(ram16(&d, USED_AT + 2), ==, 1); /* paused: not yet */
    devices_save(&d.bus->env, saved);
    devices_reset(&d.bus->env, RESET_COLD);
    input = (struct state_input){.data = saved->data, .left = saved->len};
    g_assert_true(devices_load(&d.bus->env, &input, &error));
    devices_save(&d.bus->env, again);
    g_assert_cmpmem(saved->data, saved->len, again->data, again->len);
    devices_resume(&d.bus->env);
    g_assert_cmpuint(driver_take(&d, &id), ==, 12 + 60);
    g_assert_cmpuint(id, ==, 1);
    g_assert_cmpmem(d.ram + DATA_AT + 2048 + 12, 6, "\xff\xff\xff\xff\xff\xff", 6);
    driver_free(&d);
    close(pair[0]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio/split", test_split);
    g_test_add_func("/virtio/events", test_events);
    g_test_add_func("/virtio/indirect", test_indirect);
    g_test_add_func("/virtio/packed", test_packed);
    g_test_add_func("/virtio/legacy", test_legacy);
    g_test_add_func("/virtio/interfaces", test_interfaces);
    g_test_add_func("/virtio/window", test_window);
    g_test_add_func("/virtio/features", test_features);
    g_test_add_func("/virtio/rng-limit", test_rng_limit);
    g_test_add_func("/virtio/hostile", test_hostile);
    g_test_add_func("/virtio/hostile-places", test_hostile_places);
    g_test_add_func("/virtio/disk", test_disk);
    g_test_add_func("/virtio/disk-read-only", test_disk_read_only);
    g_test_add_func("/virtio/disk-short", test_disk_short);
    g_test_add_func("/virtio/disk-reset", test_disk_reset);
    g_test_add_func("/virtio/disk-pause", test_disk_pause);
    g_test_add_func("/virtio/disk-properties", test_disk_properties);
    g_test_add_func("/virtio/net-state", test_net_state);
    return g_test_run();
}
