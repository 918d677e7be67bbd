/*
 * The limits are QEMU's: blocks of 512 bytes to 2 MiB.
 */
#include "devices/core/disk-sizes.h"

#include <inttypes.h>

#define MAX_BLOCK_BYTES (2u << 20)

static bool is_block_size(uint64_t bytes)
{
    return bytes >= 512 && bytes <= MAX_BLOCK_BYTES && (bytes & (bytes - 1)) == 0;
}

static bool check_multiple(const struct disk_sizes *s, const char *class, const char *name,
                           uint64_t bytes, GError **error)
{
    if (bytes % s->logical) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "%s: %s %" PRIu64 " must be a multiple of logical_block_size %" PRIu64, class,
                    name, bytes, s->logical);
        return false;
    }
    return true;
}

bool disk_sizes_check(const struct disk_sizes *s, const char *class, GError **error)
{
    if (!is_block_size(s->logical) || !is_block_size(s->physical) || s->logical > s->physical) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "%s: logical_block_size %" PRIu64 ", physical_block_size %" PRIu64
                    ": powers of two from 512 to %u, the second not less than the first",
                    class, s->logical, s->physical, MAX_BLOCK_BYTES);
        return false;
    }
    if (s->min_io / s->logical > UINT16_MAX) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: min_io_size must not exceed %u logical blocks",
                    class, UINT16_MAX);
        return false;
    }
    return check_multiple(s, class, "min_io_size", s->min_io, error) &&
           check_multiple(s, class, "opt_io_size", s->opt_io, error) &&
           (s->discard == DISK_DISCARD_ANY ||
            check_multiple(s, class, "discard_granularity", s->discard, error));
}

unsigned disk_sizes_exponent(const struct disk_sizes *s)
{
    unsigned exponent = 0;

    while (s->logical << exponent < s->physical) {
        exponent++;
    }
    return exponent;
}
