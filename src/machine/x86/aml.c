/* AML: see aml.h. Opcodes are those of section 20.3. */
#include "machine/x86/aml.h"

#include <string.h>

#define OP_NAME      0x08
#define OP_BYTE      0x0a
#define OP_WORD      0x0b
#define OP_DWORD     0x0c
#define OP_STRING    0x0d
#define OP_QWORD     0x0e
#define OP_SCOPE     0x10
#define OP_BUFFER    0x11
#define OP_METHOD    0x14
#define OP_DUAL_NAME 0x2e
#define OP_MULTI     0x2f
#define OP_EXTENDED  0x5b
#define OP_DEVICE    0x82 /* extended */
#define OP_ARG0      0x68
#define OP_NOTIFY    0x86
#define OP_EQUAL     0x93
#define OP_IF        0xa0
#define OP_RETURN    0xa4

static void put(GByteArray *out, unsigned byte)
{
    uint8_t b = (uint8_t)byte;

    g_byte_array_append(out, &b, 1);
}

static void put_le(GByteArray *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        put(out, (uint8_t)(value >> (8 * i)));
    }
}

/* NameString (20.2.2). */
static void put_name(GByteArray *out, const char *name)
{
    g_auto(GStrv) part = NULL;
    guint n;

    if (*name == '\\') {
        put(out, '\\');
        name++;
    }
    part = g_strsplit(name, ".", 0);
    n = g_strv_length(part);
    if (n == 2) {
        put(out, OP_DUAL_NAME);
    } else if (n > 2) {
        put(out, OP_MULTI);
        put(out, n);
    }
    for (guint i = 0; i < n; i++) {
        char segment[5];

        g_snprintf(segment, sizeof(segment), "%s____", part[i]);
        g_byte_array_append(out, (const guint8 *)segment, 4);
    }
}

/* PkgLength (20.2.4) counts itself: it is put in when the end is known. */
void aml_close(GByteArray *out, size_t opened)
{
    size_t body = out->len - opened, total;
    unsigned more = body + 1 < 0x40 ? 0 : body + 2 < 0x1000 ? 1 : 2; /* bytes after the first */
    uint8_t length[3];

    total = body + 1 + more;
    g_assert(total < 1u << 20);
    length[0] = more ? (uint8_t)(more << 6 | (total & 0xf)) : (uint8_t)total;
    length[1] = (uint8_t)(total >> 4);
    length[2] = (uint8_t)(total >> 12);
    g_byte_array_set_size(out, (guint)(out->len + 1 + more));
    memmove(out->data + opened + 1 + more, out->data + opened, body);
    memcpy(out->data + opened, length, 1 + more);
}

size_t aml_scope(GByteArray *out, const char *name)
{
    size_t at;

    put(out, OP_SCOPE);
    at = out->len;
    put_name(out, name);
    return at;
}

size_t aml_device(GByteArray *out, const char *name)
{
    size_t at;

    put(out, OP_EXTENDED);
    put(out, OP_DEVICE);
    at = out->len;
    put_name(out, name);
    return at;
}

size_t aml_method(GByteArray *out, const char *name, unsigned args)
{
    size_t at;

    put(out, OP_METHOD);
    at = out->len;
    put_name(out, name);
    put(out, args);
    return at;
}

size_t aml_if_arg_is(GByteArray *out, unsigned arg, uint64_t value)
{
    size_t at;

    put(out, OP_IF);
    at = out->len;
    put(out, OP_EQUAL);
    aml_arg(out, arg);
    aml_int(out, value);
    return at;
}

void aml_int(GByteArray *out, uint64_t value)
{
    if (value <= 1) {
        put(out, (unsigned)value);
    } else if (value <= UINT8_MAX) {
        put(out, OP_BYTE);
        put_le(out, value, 1);
    } else if (value <= UINT16_MAX) {
        put(out, OP_WORD);
        put_le(out, value, 2);
    } else if (value <= UINT32_MAX) {
        put(out, OP_DWORD);
        put_le(out, value, 4);
    } else {
        put(out, OP_QWORD);
        put_le(out, value, 8);
    }
}

void aml_arg(GByteArray *out, unsigned n)
{
    put(out, OP_ARG0 + n);
}

void aml_name_int(GByteArray *out, const char *name, uint64_t value)
{
    put(out, OP_NAME);
    put_name(out, name);
    aml_int(out, value);
}

void aml_name_string(GByteArray *out, const char *name, const char *value)
{
    put(out, OP_NAME);
    put_name(out, name);
    put(out, OP_STRING);
    g_byte_array_append(out, (const guint8 *)value, (guint)strlen(value) + 1);
}

/* Compressed EISA id (19.3.4): three letters of five bits, four hexadecimal digits. */
void aml_name_eisa(GByteArray *out, const char *name, const char *id)
{
    unsigned letters =
        (unsigned)(id[0] & 0x1f) << 10 | (unsigned)(id[1] & 0x1f) << 5 | (unsigned)(id[2] & 0x1f);

    put(out, OP_NAME);
    put_name(out, name);
    put(out, OP_DWORD);
    put(out, letters >> 8);
    put(out, letters & 0xff);
    put(out, (unsigned)(g_ascii_xdigit_value(id[3]) << 4 | g_ascii_xdigit_value(id[4])));
    put(out, (unsigned)(g_ascii_xdigit_value(id[5]) << 4 | g_ascii_xdigit_value(id[6])));
}

void aml_name_buffer(GByteArray *out, const char *name, const uint8_t *bytes, uint8_t n)
{
    size_t at;

    put(out, OP_NAME);
    put_name(out, name);
    put(out, OP_BUFFER);
    at = out->len;
    aml_int(out, n);
    g_byte_array_append(out, bytes, n);
    aml_close(out, at);
}

void aml_call(GByteArray *out, const char *method)
{
    put_name(out, method);
}

void aml_return_call(GByteArray *out, const char *method)
{
    put(out, OP_RETURN);
    put_name(out, method);
}

void aml_notify_arg(GByteArray *out, const char *name, unsigned arg)
{
    put(out, OP_NOTIFY);
    put_name(out, name);
    aml_arg(out, arg);
}
