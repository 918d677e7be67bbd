/*
 * Packets of the GDB remote serial protocol (gdb's manual, appendix E): "$body#cc", with the
 * checksum cc, '}' before bytes that mean something else, and '+' and '-' for received and say it
 * again.
 *
 * The peer may send anything. A reader holds one packet of bounded size and nothing else.
 */
#ifndef CPU_GDB_PACKET_H
#define CPU_GDB_PACKET_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest body, escapes counted, that we take or send in one packet. */
#define GDB_PACKET_BYTES 0x4000

enum gdb_input {
    GDB_INPUT_NONE,      /* more bytes are wanted */
    GDB_INPUT_PACKET,    /* reader->body, until the next byte is put */
    GDB_INPUT_BROKEN,    /* a packet whose checksum is wrong */
    GDB_INPUT_TOO_LONG,  /* a packet that is longer than we said we take */
    GDB_INPUT_ACK,       /* '+' */
    GDB_INPUT_NAK,       /* '-' */
    GDB_INPUT_INTERRUPT, /* Ctrl-C */
};

struct gdb_reader {
    enum { GDB_IDLE, GDB_BODY, GDB_ESCAPE, GDB_CHECKSUM_1, GDB_CHECKSUM_2 } state;
    uint8_t sum, given; /* of the checksum: counted, and its first digit */
    size_t taken;       /* bytes of the body as sent */
    size_t length;      /* of body */
    /* With a NUL behind it. */
    char body[GDB_PACKET_BYTES + 1];
};

void gdb_reader_reset(struct gdb_reader *reader);
enum gdb_input gdb_reader_put(struct gdb_reader *reader, uint8_t byte);

/* Appends a packet; bytes of body that need it are escaped. */
void gdb_packet_append(GByteArray *out, const void *body, size_t length);

/* Hexadecimal digits. hex_value(): -1 when it is none. */
int gdb_hex_value(char c);
void gdb_hex_append(GString *out, const void *bytes, size_t length);
/* length bytes from 2 * length digits; false when they are not all there. */
bool gdb_hex_parse(const char *text, uint8_t *bytes, size_t length);
/* A number of 1 to 16 digits at *text, which is moved behind it. */
bool gdb_hex_number(const char **text, uint64_t *value);

#endif
