/*
 * PAM: the programmable attribute map of Intel's host bridges (82441FX data sheet, 3.2.14; 3 series
 * chipset, 5.1.19 to 5.1.25). Each 16 KiB from 0xc0000 to 0xeffff, and 0xf0000 to 0xfffff as one,
 * is read from and written to either RAM or the bus, where the firmware's ROM is. So firmware
 * copies itself into RAM, fills in its tables and locks the RAM against writes.
 *
 * Register 0 has only its high half, for 0xf0000; of the others the low half is for the lower
 * segment. Bit 0 of a half: reads go to RAM; bit 1: writes do.
 */
#include "devices/pci/pam.h"
#include <string.h>

#define PAM_BASE     0xc0000u
#define PAM_LAST     0xf0000u
#define SEGMENT_SIZE 0x4000u
#define LAST_SIZE    0x10000u
#define PAM_READ     1
#define PAM_WRITE    2
#define PAM_PRIORITY 2

/* Reads from the bus where it has nothing. */
static uint64_t bus_read(void *opaque, gpa_t offset, unsigned size)
{
    return UINT64_MAX;
}

/* Writes reach RAM that cannot be seen. Nothing is decoded from there, so nobody need be told. */
static void shadow_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct pam_segment *seg = opaque;
    uint8_t *to = seg->pam->wiring.ram->host + seg->base + offset;

    for (unsigned i = 0; i < size; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}

static const struct region_ops write_only_ops = {.read = bus_read, .write = shadow_write};

static void segment_init(struct pam *pam, unsigned n)
{
    const struct pam_wiring *w = &pam->wiring;
    struct pam_segment *seg = &pam->segment[n];
    uint64_t size = n == 0 ? LAST_SIZE : SEGMENT_SIZE;

    seg->pam = pam;
    seg->base = n == 0 ? PAM_LAST : PAM_BASE + (n - 1) * SEGMENT_SIZE;
    seg->ram = (struct region){.name = "pam-ram",
                               .kind = REGION_RAM,
                               .size = size,
                               .ram = w->ram,
                               .ram_offset = seg->base};
    seg->read_only = seg->ram;
    seg->read_only.name = "pam-rom";
    seg->read_only.kind = REGION_ROM;
    seg->write_only = (struct region){.name = "pam-write",
                                      .kind = REGION_IO,
                                      .size = size,
                                      .ops = &write_only_ops,
                                      .opaque = seg};
    if (w->rom && seg->base >= w->rom_base && seg->base + size <= w->rom_base + w->rom->size) {
        seg->write_only.kind = REGION_ROM;
        seg->write_only.ram = w->rom->ram;
        seg->write_only.ram_offset = w->rom->ram_offset + (seg->base - w->rom_base);
    }
}

void pam_init(struct pam *pam, struct device_env *env, const struct pam_wiring *wiring)
{
    pam->env = env;
    pam->wiring = wiring ? *wiring : (struct pam_wiring){0};
    for (unsigned n = 0; n < PAM_SEGMENTS; n++) {
        segment_init(pam, n);
    }
}

void pam_finish(struct pam *pam)
{
    static const uint8_t closed[PAM_REGISTERS];

    if (pam->env) {
        pam_update(pam, closed);
    }
}

void pam_reset(const struct pam *pam, uint8_t registers[PAM_REGISTERS])
{
    memset(registers, pam->wiring.open ? 0x33 : 0, PAM_REGISTERS);
    registers[0] &= 0x30;
}

static void segment_update(struct pam_segment *seg, unsigned attribute)
{
    struct address_space *mem = seg->pam->env->mem;
    struct region *wanted[4] = {NULL, &seg->read_only, &seg->write_only, &seg->ram};

    if (seg->mapped == wanted[attribute]) {
        return;
    }
    if (seg->mapped) {
        address_space_unmap(mem, seg->mapped);
    }
    seg->mapped = wanted[attribute];
    if (seg->mapped) {
        address_space_map(mem, seg->base, seg->mapped, PAM_PRIORITY);
    }
}

void pam_update(struct pam *pam, const uint8_t registers[PAM_REGISTERS])
{
    if (!pam->wiring.ram) {
        return;
    }
    address_space_begin(pam->env->mem);
    segment_update(&pam->segment[0], registers[0] >> 4 & (PAM_READ | PAM_WRITE));
    for (unsigned n = 1; n < PAM_SEGMENTS; n++) {
        unsigned shift = n % 2 ? 0 : 4;

        segment_update(&pam->segment[n], registers[(n + 1) / 2] >> shift & (PAM_READ | PAM_WRITE));
    }
    address_space_commit(pam->env->mem);
}
