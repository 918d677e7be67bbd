/*
 * Where memory may be plugged in: a range of addresses and a number of slots, the board's. Machine
 * lock held.
 */
#ifndef DEVICES_MEMORY_SLOTS_H
#define DEVICES_MEMORY_SLOTS_H

#include "devices/core/device.h"

#define MEMORY_SLOTS_MAX  256

/* Alignment of what is plugged in, as clients of QEMU know it, and room that each slot has beside
 * its memory so that any alignment can be had. */
#define MEMORY_SLOT_ALIGN 0x200000ull

struct memory_slots {
    gpa_t base;     /* of the range */
    uint64_t bytes; /* of the range */
    uint64_t limit; /* how much memory may be plugged in altogether */
    unsigned n;     /* slots */
    unsigned n_nodes;
    struct device *dimm[MEMORY_SLOTS_MAX];
    struct device *controller; /* acpi-memhp.h; NULL: nobody is told */
};

extern const struct device_class pc_dimm_class, acpi_memhp_class;

struct dimm_info {
    gpa_t addr;
    uint64_t bytes;
    unsigned slot, node;
    const char *memdev; /* the id */
};
void pc_dimm_info(const struct device *dimm, struct dimm_info *info);
/* Of all DIMMs. */
uint64_t memory_slots_plugged_bytes(const struct memory_slots *slots); /* NULL: 0 */

/* The ACPI registers. pm: whose general purpose event 3 tells. */
#define ACPI_MEMHP_BASE 0x0a00
struct device *acpi_memhp_create(struct device_env *env, struct device *pm, GError **error);
void acpi_memhp_plugged(struct device *memhp, unsigned slot);
void acpi_memhp_ask(struct device *memhp, unsigned slot);
/* What the guest said last of a slot (_OST). */
void acpi_memhp_ost(const struct device *memhp, unsigned slot, uint32_t *event, uint32_t *status);

#endif
