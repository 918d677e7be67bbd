/*
 * A stream through a channel: records one after the other, counted and summed up.
 */
#include "migration/migration-priv.h"

#include "migration/crc32c.h"
#include <inttypes.h>
#include <string.h>

#define FIN_BYTES 12u /* number of records (64 bits), sum of their checksums (32 bits) */

/* ---- writing */

static void note_record(uint64_t *records, uint32_t *sum, const uint8_t check[RECORD_CHECK_BYTES])
{
    ++*records;
    *sum = crc32c(*sum, check, RECORD_CHECK_BYTES);
}

bool stream_out_write(struct stream_out *s, const uint8_t *records, size_t bytes, GError **error)
{
    struct state_input in = {records, bytes};
    struct record record;

    while (in.left) {
        bool whole = record_take(&in, &record, NULL);

        g_assert(whole);
        note_record(&s->records, &s->sum, record.payload + record.bytes);
    }
    s->bytes += bytes;
    return channel_write(s->channel, records, bytes, error);
}

bool stream_out_record(struct stream_out *s, const char kind[4], uint16_t version,
                       const GByteArray *head, const uint8_t *tail, size_t tail_bytes,
                       GError **error)
{
    g_autoptr(GByteArray) first = g_byte_array_sized_new(head->len + RECORD_HEADER_BYTES);
    g_autoptr(GByteArray) check = g_byte_array_new();
    size_t start = record_begin(first, kind, version);

    g_byte_array_append(first, head->data, head->len);
    record_set_length(first->data + start, head->len + tail_bytes);
    state_put_number(check, crc32c(crc32c(0, first->data, first->len), tail, tail_bytes), 4);
    note_record(&s->records, &s->sum, check->data);
    s->bytes += first->len + tail_bytes + check->len;
    return channel_write_pieces(
        s->channel,
        (struct iovec[]){{first->data, first->len}, {(void *)tail, tail_bytes}, {check->data, 4}},
        3, error);
}

bool stream_out_fin(struct stream_out *s, GError **error)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    size_t start = record_begin(out, "fin ", 1);

    state_put_number(out, s->records, 8);
    state_put_number(out, s->sum, 4);
    record_end(out, start);
    return stream_out_write(s, out->data, out->len, error);
}

/* ---- reading */

static bool make_room(struct stream_in *s, size_t bytes, GError **error)
{
    uint8_t *bigger;

    if (bytes <= s->capacity) {
        return true;
    }
    bigger = g_try_realloc(s->buffer, bytes);
    if (!bigger) {
        return migration_refuse(error, "stream: no memory for a record of that size");
    }
    s->buffer = bigger;
    s->capacity = bytes;
    return true;
}

/* What a record says of its length is believed as far as it comes: memory is taken in steps. */
#define STEP_BYTES (2u << 20)

bool stream_in_part(struct stream_in *s, size_t at, size_t bytes, GError **error)
{
    while (bytes) {
        size_t n = MIN(bytes, STEP_BYTES);

        if (!make_room(s, at + n, error) || !channel_read(s->channel, s->buffer + at, n, error)) {
            return false;
        }
        at += n;
        bytes -= n;
    }
    return true;
}

bool stream_in_begin(struct stream_in *s, struct record *record, GError **error)
{
    return make_room(s, STEP_BYTES, error) &&
           channel_read(s->channel, s->buffer, RECORD_HEADER_BYTES, error) &&
           record_parse_header(s->buffer, record, error);
}

void stream_in_note(struct stream_in *s, const uint8_t check[RECORD_CHECK_BYTES])
{
    note_record(&s->records, &s->sum, check);
}

bool stream_in_rest(struct stream_in *s, struct record *record, size_t had, GError **error)
{
    if (!stream_in_part(s, RECORD_HEADER_BYTES + had, record->bytes - had + RECORD_CHECK_BYTES,
                        error)) {
        g_prefix_error(error, "stream: within record '%s': ", record->kind);
        return false;
    }
    record->payload = s->buffer + RECORD_HEADER_BYTES;
    if (!record_check(s->buffer, record, record->payload + record->bytes, error)) {
        return false;
    }
    if (!record_is(record, "fin ")) {
        stream_in_note(s, record->payload + record->bytes);
    }
    return true;
}

bool stream_in_next(struct stream_in *s, struct record *record, GError **error)
{
    return stream_in_begin(s, record, error) && stream_in_rest(s, record, 0, error);
}

void stream_in_finish(struct stream_in *s)
{
    g_clear_pointer(&s->buffer, g_free);
    s->capacity = 0;
}

bool stream_in_check_fin(const struct stream_in *s, const struct record *fin, GError **error)
{
    struct state_input in = {fin->payload, fin->bytes};
    uint64_t records, sum;

    if (!record_version(fin, 1, error)) {
        return false;
    }
    if (fin->bytes != FIN_BYTES || !state_take_number(&in, 8, &records) ||
        !state_take_number(&in, 4, &sum)) {
        return migration_refuse(error, "stream: its last record is of a wrong size");
    }
    if (records != s->records || sum != s->sum) {
        g_set_error(error, MIGRATION_ERROR, 0,
                    "stream: it should have %" PRIu64 " records with the sum %08x, and has %" PRIu64
                    " with %08x",
                    records, (unsigned)sum, s->records, s->sum);
        return false;
    }
    return true;
}
