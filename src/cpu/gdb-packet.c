/* Packets of the GDB remote serial protocol: see gdb-packet.h. */
#include "cpu/gdb-packet.h"

#define CTRL_C      3
#define ESCAPE_BITS 0x20

int gdb_hex_value(char c)
{
    return g_ascii_xdigit_value(c);
}

void gdb_reader_reset(struct gdb_reader *r)
{
    r->state = GDB_IDLE;
    r->length = 0;
}

static enum gdb_input put_idle(struct gdb_reader *r, uint8_t byte)
{
    switch (byte) {
    case '$':
        r->state = GDB_BODY;
        r->sum = 0;
        r->taken = r->length = 0;
        return GDB_INPUT_NONE;
    case '+':
        return GDB_INPUT_ACK;
    case '-':
        return GDB_INPUT_NAK;
    case CTRL_C:
        return GDB_INPUT_INTERRUPT;
    default:
        return GDB_INPUT_NONE;
    }
}

static void keep(struct gdb_reader *r, uint8_t byte)
{
    if (r->length < GDB_PACKET_BYTES) {
        r->body[r->length++] = (char)byte;
    }
}

static void put_body(struct gdb_reader *r, uint8_t byte)
{
    if (byte == '#') {
        r->state = GDB_CHECKSUM_1;
        return;
    }
    r->sum = (uint8_t)(r->sum + byte);
    r->taken += r->taken <= GDB_PACKET_BYTES; /* counts no further than one too many */
    if (r->state == GDB_ESCAPE) {
        r->state = GDB_BODY;
        keep(r, byte ^ ESCAPE_BITS);
    } else if (byte == '}') {
        r->state = GDB_ESCAPE;
    } else if (byte == '$') { /* the one before was cut short */
        put_idle(r, byte);
    } else {
        keep(r, byte);
    }
}

static enum gdb_input put_checksum(struct gdb_reader *r, uint8_t byte)
{
    int digit = gdb_hex_value((char)byte);

    if (digit < 0) {
        r->state = GDB_IDLE;
        return GDB_INPUT_BROKEN;
    }
    if (r->state == GDB_CHECKSUM_1) {
        r->given = (uint8_t)(digit << 4);
        r->state = GDB_CHECKSUM_2;
        return GDB_INPUT_NONE;
    }
    r->state = GDB_IDLE;
    if ((r->given | digit) != r->sum) {
        return GDB_INPUT_BROKEN;
    }
    if (r->taken > GDB_PACKET_BYTES) {
        return GDB_INPUT_TOO_LONG;
    }
    r->body[r->length] = '\0';
    return GDB_INPUT_PACKET;
}

enum gdb_input gdb_reader_put(struct gdb_reader *r, uint8_t byte)
{
    switch (r->state) {
    case GDB_IDLE:
        return put_idle(r, byte);
    case GDB_BODY:
    case GDB_ESCAPE:
        put_body(r, byte);
        return GDB_INPUT_NONE;
    default:
        return put_checksum(r, byte);
    }
}

void gdb_packet_append(GByteArray *out, const void *body, size_t length)
{
    const uint8_t *from = body;
    uint8_t sum = 0;
    char end[4];

    g_byte_array_append(out, (const uint8_t *)"$", 1);
    for (size_t i = 0; i < length; i++) {
        uint8_t byte = from[i];

        if (byte == '#' || byte == '$' || byte == '}' || byte == '*') {
            const uint8_t escaped[2] = {'}', byte ^ ESCAPE_BITS};

            g_byte_array_append(out, escaped, 2);
            sum = (uint8_t)(sum + escaped[0] + escaped[1]);
        } else {
            g_byte_array_append(out, &byte, 1);
            sum = (uint8_t)(sum + byte);
        }
    }
    g_snprintf(end, sizeof(end), "#%02x", sum);
    g_byte_array_append(out, (const uint8_t *)end, 3);
}

void gdb_hex_append(GString *out, const void *bytes, size_t length)
{
    const uint8_t *from = bytes;

    for (size_t i = 0; i < length; i++) {
        g_string_append_printf(out, "%02x", from[i]);
    }
}

bool gdb_hex_parse(const char *text, uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        int high = gdb_hex_value(text[2 * i]);
        int low = high < 0 ? -1 : gdb_hex_value(text[2 * i + 1]);

        if (low < 0) {
            return false;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool gdb_hex_number(const char **text, uint64_t *value)
{
    unsigned digits = 0;
    int digit;

    *value = 0;
    while ((digit = gdb_hex_value(**text)) >= 0) {
        if (++digits > 16) {
            return false;
        }
        *value = *value << 4 | (unsigned)digit;
        (*text)++;
    }
    return digits > 0;
}
