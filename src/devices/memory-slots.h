/*
 * Where memory may be plugged in: a range of addresses, and a number of slots, the board's. Machine
 * lock held.
 */
#ifndef DEVICES_MEMORY_SLOTS_H
#define DEVICES_MEMORY_SLOTS_H

#include "devices/core/device.h"

#define MEMORY_SLOTS_MAX  256
#define MEMORY_RANGES_MAX 512

/* Addresses that a device has for its memory, part of the device. */
struct memory_range {
    struct device *dev;
    gpa_t addr; /* before memory_place(): 0 is any */
    uint64_t bytes;
    uint64_t plugged; /* so many of them are memory that the guest can use */
};

struct memory_slots {
    gpa_t base;     /* of the range */
    uint64_t bytes; /* of the range */
    uint64_t limit; /* how much memory may be plugged in altogether */
    unsigned n;     /* slots */
    unsigned n_nodes;
    struct device *dimm[MEMORY_SLOTS_MAX];
    struct memory_range *range[MEMORY_RANGES_MAX]; /* n_ranges of them */
    unsigned n_ranges;
    struct device *controller; /* acpi-memhp.h; NULL: nobody is told */
};

/* Gives it a place, at a multiple of align. */
bool memory_place(struct memory_slots *slots, struct memory_range *range, uint64_t align,
                  GError **error);
void memory_unplace(struct memory_slots *slots,
                    struct memory_range *range); /* not placed is fine */
/* The object named memdev that nobody else uses, of env; NULL and *error. */
struct object *memory_take_backend(struct device_env *env, const char *memdev, GError **error);

extern const struct device_class pc_dimm_class, acpi_memhp_class;

struct dimm_info {
    gpa_t addr;
    uint64_t bytes;
    unsigned slot, node;
    const char *memdev; /* the id */
};
void pc_dimm_info(const struct device *dimm, struct dimm_info *info);
/* Of all devices. */
uint64_t memory_slots_plugged_bytes(const struct memory_slots *slots); /* NULL: 0 */

/* The ACPI registers. pm: whose general purpose event 3 tells. */
#define ACPI_MEMHP_BASE 0x0a00
struct device *acpi_memhp_create(struct device_env *env, struct device *pm, GError **error);
void acpi_memhp_plugged(struct device *memhp, unsigned slot);
void acpi_memhp_ask(struct device *memhp, unsigned slot);
/* What the guest said last of a slot (_OST). */
void acpi_memhp_ost(const struct device *memhp, unsigned slot, uint32_t *event, uint32_t *status);

#endif
