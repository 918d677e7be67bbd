/*
 * Records: what streams consist of.
 *
 *   record := kind (4 bytes of ASCII), version (16 bits), sum of the header (16 bits), length of
 * the payload (32 bits), payload, CRC-32C of all before it (32 bits)
 *
 * Numbers are little-endian. The header is of a fixed size and the length is bounded, so that a
 * reader always knows how much to read next. It believes a length only when the header's sum is
 * right, or it would wait for what never comes: the lower half of the CRC-32C of its other bytes,
 * 0xffff instead of 0. Streams of older programs have none, which is 0.
 */
#ifndef MIGRATION_RECORD_H
#define MIGRATION_RECORD_H

#include "base/state.h"

#define MIGRATION_ERROR     (g_quark_from_static_string("migration-error"))

#define RECORD_HEADER_BYTES 12u
#define RECORD_CHECK_BYTES  4u
#define RECORD_MAX_BYTES    (64u << 20) /* of a payload */

/* A GError of that domain; false. error may be NULL. */
bool migration_refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

struct record {
    char kind[5]; /* NUL-terminated; printable ASCII */
    uint16_t version;
    uint32_t bytes;
    const uint8_t *payload;
};

/* Begins a record; the payload is appended to out by the caller until record_end(start). */
size_t record_begin(GByteArray *out, const char kind[4], uint16_t version);
/* For who writes the payload himself: how long it is, into the header that was begun. */
void record_set_length(uint8_t header[RECORD_HEADER_BYTES], size_t bytes);
void record_end(GByteArray *out, size_t start);

/* Reads the first RECORD_HEADER_BYTES: everything but the payload. */
bool record_parse_header(const uint8_t header[RECORD_HEADER_BYTES], struct record *record,
                         GError **error);
/* header, payload and what follows it belong together. */
bool record_check(const uint8_t header[RECORD_HEADER_BYTES], const struct record *record,
                  const uint8_t check[RECORD_CHECK_BYTES], GError **error);

/* The same for who has summed up header and payload. */
bool record_check_sum(const struct record *record, uint32_t sum,
                      const uint8_t check[RECORD_CHECK_BYTES], GError **error);

/* Takes a whole record off the input; its payload points into it. */
bool record_take(struct state_input *in, struct record *record, GError **error);

static inline bool record_is(const struct record *record, const char *kind)
{
    return __builtin_memcmp(record->kind, kind, 5) == 0;
}
/* Whether this program knows that version of the record; if not, *error names both. */
bool record_version(const struct record *record, uint16_t known, GError **error);

#endif
