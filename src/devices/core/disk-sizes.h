/*
 * Lengths of a disk's blocks and of good requests, as its guest is told of them: properties that
 * all disks have.
 */
#ifndef DEVICES_CORE_DISK_SIZES_H
#define DEVICES_CORE_DISK_SIZES_H

#include "devices/core/device.h"

#define DISK_DISCARD_ANY UINT32_MAX /* as granularity: what the device makes of it */

struct disk_sizes { /* bytes; 0: not told */
    uint64_t logical, physical, min_io, opt_io;
    uint64_t discard; /* granularity */
};

#define DISK_SIZE_PROPERTIES(type, member)                                                         \
    {"logical_block_size", PROP_SIZE, offsetof(type, member.logical), .def = 512,                  \
     .help = "the least that the guest reads or writes, in bytes"},                                \
        {"physical_block_size", PROP_SIZE, offsetof(type, member.physical), .def = 512,            \
         .help = "what the guest is told of the storage's blocks"},                                \
        {"min_io_size", PROP_SIZE, offsetof(type, member.min_io),                                  \
         .help = "the least good request, 0: not told"},                                           \
        {"opt_io_size", PROP_SIZE, offsetof(type, member.opt_io), .max = UINT32_MAX,               \
         .help = "the best request, 0: not told"},                                                 \
    {                                                                                              \
        "discard_granularity", PROP_SIZE, offsetof(type, member.discard),                          \
            .def = DISK_DISCARD_ANY, .max = UINT32_MAX,                                            \
            .help = "the least that is worth discarding, in bytes; else a logical block"           \
    }

/* Whether they go together; the message names the class. */
bool disk_sizes_check(const struct disk_sizes *s, const char *class, GError **error);
/* How many doublings the physical block is of the logical one. */
unsigned disk_sizes_exponent(const struct disk_sizes *s);

#endif
