/* What bytes hold. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A little-endian number of `size` bytes, at most 8. */
static inline uint64_t bytes_get_le(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    while (size--) {
        value = value << 8 | bytes[size];
    }
    return value;
}

static inline void bytes_put_le(uint8_t *bytes, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

/* Whether n bytes, which may be none, are all zero. */
static inline bool bytes_are_zero(const uint8_t *bytes, size_t n)
{
    return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}

#endif
