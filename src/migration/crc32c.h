/*
 * CRC-32C (Castagnoli; RFC 3720, appendix B.4): the checksum of the stream's records.
 */
#ifndef MIGRATION_CRC32C_H
#define MIGRATION_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from crc, 0 at the start. Any thread. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
