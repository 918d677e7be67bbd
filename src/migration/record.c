/*
 * Records: writing and checked reading (see record.h).
 */
#include "migration/record.h"

#include "migration/crc32c.h"
#include <string.h>

bool migration_refuse(GError **error, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (error) {
        *error = g_error_new_valist(MIGRATION_ERROR, 0, format, ap);
    }
    va_end(ap);
    return false;
}

static uint32_t get_le(const uint8_t *p, unsigned bytes)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint32_t)p[i] << (8 * i);
    }
    return value;
}

size_t record_begin(GByteArray *out, const char kind[4], uint16_t version)
{
    size_t start = out->len;

    g_byte_array_append(out, (const uint8_t *)kind, 4);
    state_put_number(out, version, 2);
    state_put_number(out, 0, 2); /* sum and length, in record_set_length() */
    state_put_number(out, 0, 4);
    return start;
}

static void put_le(uint8_t *p, uint32_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint32_t header_sum(const uint8_t header[RECORD_HEADER_BYTES])
{
    uint32_t sum = crc32c(crc32c(0, header, 6), header + 8, 4) & 0xffff;

    return sum ? sum : 0xffff;
}

void record_set_length(uint8_t header[RECORD_HEADER_BYTES], size_t bytes)
{
    g_assert(bytes <= RECORD_MAX_BYTES);
    put_le(header + 8, (uint32_t)bytes, 4);
    put_le(header + 6, header_sum(header), 2);
}

void record_end(GByteArray *out, size_t start)
{
    record_set_length(out->data + start, out->len - start - RECORD_HEADER_BYTES);
    state_put_number(out, crc32c(0, out->data + start, out->len - start), 4);
}

bool record_parse_header(const uint8_t header[RECORD_HEADER_BYTES], struct record *record,
                         GError **error)
{
    *record =
        (struct record){.version = (uint16_t)get_le(header + 4, 2), .bytes = get_le(header + 8, 4)};
    for (unsigned i = 0; i < 4; i++) {
        if (header[i] < ' ' || header[i] > '~') {
            return migration_refuse(error,
                                    "stream: bytes %02x %02x %02x %02x where a record should begin",
                                    header[0], header[1], header[2], header[3]);
        }
        record->kind[i] = (char)header[i];
    }
    if (get_le(header + 6, 2) != 0 && get_le(header + 6, 2) != header_sum(header)) {
        return migration_refuse(
            error, "stream: record '%s' is damaged: its header's sum is %04x, not %04x",
            record->kind, header_sum(header), get_le(header + 6, 2));
    }
    if (record->bytes > RECORD_MAX_BYTES) {
        return migration_refuse(error, "stream: record '%s' of %u bytes: at most %u are taken",
                                record->kind, record->bytes, RECORD_MAX_BYTES);
    }
    return true;
}

bool record_check_sum(const struct record *record, uint32_t sum,
                      const uint8_t check[RECORD_CHECK_BYTES], GError **error)
{
    return sum == get_le(check, 4) ||
           migration_refuse(error, "stream: record '%s' is damaged: its checksum is %08x, not %08x",
                            record->kind, sum, get_le(check, 4));
}

bool record_check(const uint8_t header[RECORD_HEADER_BYTES], const struct record *record,
                  const uint8_t check[RECORD_CHECK_BYTES], GError **error)
{
    uint32_t sum = crc32c(0, header, RECORD_HEADER_BYTES);

    return record_check_sum(record, crc32c(sum, record->payload, record->bytes), check, error);
}

bool record_take(struct state_input *in, struct record *record, GError **error)
{
    const uint8_t *header = in->data;

    if (in->left < RECORD_HEADER_BYTES) {
        return migration_refuse(error, "stream: it ends where a record should begin");
    }
    if (!record_parse_header(header, record, error)) {
        return false;
    }
    if (in->left - RECORD_HEADER_BYTES < (uint64_t)record->bytes + RECORD_CHECK_BYTES) {
        return migration_refuse(error, "stream: it ends within record '%s'", record->kind);
    }
    record->payload = header + RECORD_HEADER_BYTES;
    if (!record_check(header, record, record->payload + record->bytes, error)) {
        return false;
    }
    in->data = record->payload + record->bytes + RECORD_CHECK_BYTES;
    in->left -= RECORD_HEADER_BYTES + record->bytes + RECORD_CHECK_BYTES;
    return true;
}

bool record_version(const struct record *record, uint16_t known, GError **error)
{
    return record->version == known ||
           migration_refuse(error, "stream: record '%s' of version %u: this program takes %u",
                            record->kind, record->version, known);
}
