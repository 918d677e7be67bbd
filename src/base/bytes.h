/* Numbers in bytes. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdint.h>

/* A little-endian number of `size` bytes, at most 8. */
static inline uint64_t bytes_get_le(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    while (size--) {
        value = value << 8 | bytes[size];
    }
    return value;
}

#endif
