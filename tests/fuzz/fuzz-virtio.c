/*
 * Hostile drivers: the input fills rings and descriptors of a disk and a random number generator,
 * writes registers, rings doorbells, resets. Nothing may crash, hang or write outside guest RAM.
 *
 * A libFuzzer target with -DFUZZ; otherwise main() runs inputs from a fixed seed.
 */
#include "../machine/virtio-driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t take(const uint8_t **data, size_t *size, unsigned n)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n && *size; i++, (*data)++, (*size)--) {
        value = value << 8 | **data;
    }
    return value;
}

/* Mostly near what makes sense, or chance would never get deep. */
static void fill_desc(struct driver *d, const uint8_t **data, size_t *size)
{
    static const gpa_t where[] = {DATA_AT, DATA_AT + 4096,    INDIRECT_AT, DESC_AT,
                                  USED_AT, BUS_RAM_BYTES - 8, DRIVER_BAR,  UINT64_MAX - 7};
    static const uint32_t lengths[] = {16, 1, 512, 32, 48, 0, 4096, UINT32_MAX};
    unsigned what = (unsigned)take(data, size, 1), i = (unsigned)take(data, size, 1) % 8;
    unsigned flags = (unsigned)take(data, size, 1) & 7, next = (unsigned)take(data, size, 1) % 10;
    gpa_t table = what & 0x80 ? INDIRECT_AT : DESC_AT;

    flags |= d->packed ? (what & 0x40 ? 0x80u : 0x8000u) : 0;
    desc_set(d, table, i, where[what & 7], lengths[what >> 3 & 7], flags, next);
}

static void step(struct driver *d, const uint8_t **data, size_t *size)
{
    switch (take(data, size, 1) % 12) {
    case 0:
    case 1:
    case 2:
    case 3:
        fill_desc(d, data, size);
        break;
    case 4:
    case 5:
        driver_offer(d, (unsigned)take(data, size, 1) % 9);
        break;
    case 6: { /* a disk's request header */
        uint8_t header[16] = {(uint8_t)(take(data, size, 1) % 16)};

        header[8] = (uint8_t)take(data, size, 1);
        memcpy(d->ram + DATA_AT, header, 16);
        break;
    }
    case 7:
        ram16_set(d, AVAIL_AT + (take(data, size, 1) & ~1ull), (uint16_t)take(data, size, 2));
        driver_ring(d);
        break;
    case 8: {
        unsigned at = (unsigned)take(data, size, 1) % 0x40, n = 1u << take(data, size, 1) % 4;

        reg_write(d, at, take(data, size, n), n);
        break;
    }
    case 9: {
        static const uint64_t features[] = {0, VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC),
                                            VIRTIO_BIT(VIRTIO_F_RING_PACKED) |
                                                VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC),
                                            VIRTIO_BIT(VIRTIO_F_EVENT_IDX)};

        driver_up(d, features[take(data, size, 1) % 4], 8);
        break;
    }
    case 10:
        driver_settle(d);
        break;
    default:
        (void)reg_read(d, (unsigned)take(data, size, 2) % 0x4000, 4);
        break;
    }
}

static void drive_device(const char *name, const uint8_t *data, size_t size)
{
    const char *const disk[] = {"drive", "null0", "packed", "on", NULL};
    const char *const rng[] = {"packed", "on", NULL};
    struct driver d;

    driver_plug(&d, name, strcmp(name, "virtio-blk-pci") == 0 ? disk : rng);
    driver_map(&d);
    driver_msix(&d, 2);
    driver_up(&d, VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC), 8);
    while (size) {
        step(&d, &data, &size);
    }
    driver_settle(&d);
    driver_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size) {
        drive_device(data[0] & 1 ? "virtio-blk-pci" : "virtio-rng-pci", data + 1, size - 1);
    }
    return 0;
}

#ifndef FUZZ
int main(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);

    for (unsigned i = 0; i < 200; i++) {
        uint8_t input[600];

        for (unsigned k = 0; k < sizeof(input); k++) {
            input[k] = (uint8_t)g_rand_int(rand);
        }
        LLVMFuzzerTestOneInput(input, sizeof(input));
    }
    return 0;
}
#endif
