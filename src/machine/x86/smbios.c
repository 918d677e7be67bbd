/*
 * SMBIOS structures, byte by byte: see smbios.h. Section numbers are those of DSP0134 2.8.0.
 *
 * Left out: what a machine without the hardware has nothing to say about (caches, ports, slots).
 */
#include "machine/x86/smbios.h"

#include "machine/smbios-field.h"
#include "machine/x86/boot-priv.h"
#include <stdlib.h>
#include <string.h>

#define MANUFACTURER   "Godwit"
#define ANCHOR_BYTES   31
#define UNKNOWN        2
#define DIMM_MAX_BYTES (16ull << 30) /* what one memory device has at most */

struct tables {
    const struct smbios_config *config;
    GByteArray *out;
    unsigned n;
    size_t largest;
};

/* What the user said of a field; NULL: nothing. */
static const char *said(const struct tables *t, unsigned type, const char *name)
{
    const GPtrArray *fields = t->config->fields;

    for (guint i = fields ? fields->len : 0; i-- > 0;) {
        const struct smbios_field *f = fields->pdata[i];

        if (f->type == type && strcmp(f->name, name) == 0) {
            return f->value;
        }
    }
    return NULL;
}

static const char *text(const struct tables *t, unsigned type, const char *name, const char *def)
{
    const char *value = said(t, type, name);

    return value ? value : def;
}

static uint64_t number(const struct tables *t, unsigned type, const char *name, uint64_t def)
{
    const char *value = said(t, type, name);

    return value ? g_ascii_strtoull(value, NULL, g_str_has_prefix(value, "0x") ? 16 : 10) : def;
}

/* One structure: its formatted part, then its strings. */
struct structure {
    uint8_t bytes[64];
    unsigned length;
    GString *strings;
    uint8_t n_strings;
};

static void begin(struct structure *s, uint8_t type, uint16_t handle)
{
    *s = (struct structure){.length = 4, .strings = g_string_new(NULL)};
    s->bytes[0] = type;
    put_le16(s->bytes + 2, handle);
}

static void u8(struct structure *s, uint8_t value)
{
    s->bytes[s->length++] = value;
}

static void u16(struct structure *s, uint16_t value)
{
    put_le16(s->bytes + s->length, value);
    s->length += 2;
}

static void u32(struct structure *s, uint32_t value)
{
    put_le32(s->bytes + s->length, value);
    s->length += 4;
}

static void u64(struct structure *s, uint64_t value)
{
    put_le64(s->bytes + s->length, value);
    s->length += 8;
}

/* The number of the string; 0 for none. */
static void str(struct structure *s, const char *text)
{
    if (text && *text) {
        g_string_append_len(s->strings, text, (gssize)strlen(text) + 1);
        u8(s, ++s->n_strings);
    } else {
        u8(s, 0);
    }
}

static void end(struct structure *s, struct tables *t)
{
    static const uint8_t zeroes[2];
    size_t start = t->out->len;

    s->bytes[1] = (uint8_t)s->length;
    g_byte_array_append(t->out, s->bytes, s->length);
    g_byte_array_append(t->out, (const guint8 *)s->strings->str, (guint)s->strings->len);
    g_byte_array_append(t->out, zeroes, s->strings->len ? 1 : 2);
    t->largest = MAX(t->largest, t->out->len - start);
    t->n++;
    g_string_free(s->strings, TRUE);
}

/* 7.2: the first three fields are little-endian numbers. */
static void uuid_add(struct structure *s, const char *uuid)
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    uint8_t bytes[16] = {0};
    unsigned n = 0;

    for (const char *c = uuid ? uuid : ""; *c && n < 32; c++) {
        if (g_ascii_isxdigit(*c)) {
            bytes[n / 2] = (uint8_t)(bytes[n / 2] << 4 | g_ascii_xdigit_value(*c));
            n++;
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        u8(s, bytes[order[i]]);
    }
}

/* 7.1 */
static void bios_add(struct tables *t)
{
    const char *release = said(t, 0, "release");
    struct structure s;

    if (!said(t, 0, "")) {
        return;
    }
    begin(&s, 0, 0);
    str(&s, said(t, 0, "vendor"));
    str(&s, said(t, 0, "version"));
    u16(&s, 0xe800);
    str(&s, said(t, 0, "date"));
    u8(&s, 0);
    u64(&s, 0x08); /* characteristics: not given */
    u8(&s, 0);
    u8(&s, (uint8_t)(0x14 | (strcmp(text(t, 0, "uefi", "off"), "on") == 0 ? 0x08 : 0)));
    u8(&s, (uint8_t)(release ? strtoul(release, NULL, 10) : 0));
    u8(&s, (uint8_t)(release ? strtoul(strchr(release, '.') + 1, NULL, 10) : 0));
    u8(&s, 0xff); /* no embedded controller */
    u8(&s, 0xff);
    end(&s, t);
}

static void system_add(struct tables *t)
{
    struct structure s;

    begin(&s, 1, 0x100);
    str(&s, text(t, 1, "manufacturer", MANUFACTURER));
    str(&s, text(t, 1, "product", t->config->product));
    str(&s, text(t, 1, "version", t->config->version));
    str(&s, said(t, 1, "serial"));
    uuid_add(&s, text(t, 1, "uuid", t->config->uuid));
    u8(&s, 6); /* wake-up: power switch */
    str(&s, said(t, 1, "sku"));
    str(&s, said(t, 1, "family"));
    end(&s, t);
}

/* 7.3 */
static void baseboard_add(struct tables *t)
{
    struct structure s;

    if (!said(t, 2, "")) {
        return;
    }
    begin(&s, 2, 0x200);
    str(&s, text(t, 2, "manufacturer", MANUFACTURER));
    str(&s, text(t, 2, "product", t->config->product));
    str(&s, text(t, 2, "version", t->config->version));
    str(&s, said(t, 2, "serial"));
    str(&s, said(t, 2, "asset"));
    u8(&s, 1); /* hosts the processors */
    str(&s, said(t, 2, "location"));
    u16(&s, 0x300);
    u8(&s, 10); /* type: motherboard */
    u8(&s, 0);
    end(&s, t);
}

static void chassis_add(struct tables *t)
{
    struct structure s;

    begin(&s, 3, 0x300);
    str(&s, text(t, 3, "manufacturer", MANUFACTURER));
    u8(&s, 1); /* type: other */
    str(&s, text(t, 3, "version", t->config->version));
    str(&s, said(t, 3, "serial"));
    str(&s, said(t, 3, "asset"));
    u8(&s, 3); /* boot-up, power supply and thermal state: safe */
    u8(&s, 3);
    u8(&s, 3);
    u8(&s, UNKNOWN);
    u32(&s, 0);
    u8(&s, 0);
    u8(&s, 0);
    u8(&s, 0);
    u8(&s, 0);
    str(&s, said(t, 3, "sku"));
    end(&s, t);
}

static void processor_add(struct tables *t, unsigned n)
{
    const struct smbios_config *config = t->config;
    g_autofree char *socket = g_strdup_printf("%s %u", text(t, 4, "sock_pfx", "CPU"), n);
    uint8_t cores = (uint8_t)MIN(config->cores, 255u);
    uint8_t threads = (uint8_t)MIN(config->cores * config->threads, 255u);
    struct structure s;

    begin(&s, 4, (uint16_t)(0x400 + n));
    str(&s, socket);
    u8(&s, 3); /* central processor */
    u8(&s, 1); /* family: other */
    str(&s, text(t, 4, "manufacturer", MANUFACTURER));
    u64(&s, number(t, 4, "processor-id", config->processor_id));
    str(&s, text(t, 4, "version", config->version));
    u8(&s, 0);
    u16(&s, 0);
    u16(&s, (uint16_t)number(t, 4, "max-speed", 2000)); /* MHz: nominal */
    u16(&s, (uint16_t)number(t, 4, "current-speed", 2000));
    u8(&s, 0x41); /* populated, enabled */
    u8(&s, 1);    /* upgrade: other */
    u16(&s, 0xffff);
    u16(&s, 0xffff);
    u16(&s, 0xffff);
    str(&s, said(t, 4, "serial"));
    str(&s, said(t, 4, "asset"));
    str(&s, said(t, 4, "part"));
    u8(&s, cores);
    u8(&s, cores);
    u8(&s, threads);
    u16(&s, UNKNOWN);
    u16(&s, 1);
    u16(&s, cores);
    u16(&s, cores);
    u16(&s, threads);
    end(&s, t);
}

/* 7.12 */
static bool strings_add(struct tables *t, GError **error)
{
    const GPtrArray *fields = t->config->fields;
    struct structure s;
    unsigned n = 0;

    begin(&s, 11, 0xe00);
    u8(&s, 0);
    for (guint i = 0; fields && i < fields->len; i++) {
        const struct smbios_field *f = fields->pdata[i];

        if (f->type == 11 && *f->name) {
            /* No string is empty: that would be the end of them. */
            const char *value = *f->value ? f->value : " ";

            g_string_append_len(s.strings, value, (gssize)strlen(value) + 1);
            n++;
        }
    }
    s.bytes[4] = (uint8_t)n;
    if (n == 0) {
        g_string_free(s.strings, TRUE);
    } else {
        end(&s, t);
    }
    if (n > UINT8_MAX) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "-smbios type=11: %u strings, 255 are the most", n);
    }
    return n <= UINT8_MAX;
}

static void memory_array_add(struct tables *t, uint64_t bytes, unsigned devices)
{
    uint64_t kib = bytes >> 10;
    struct structure s;

    begin(&s, 16, 0x1000);
    u8(&s, 1); /* location: other */
    u8(&s, 3); /* system memory */
    u8(&s, 6); /* multi-bit ECC */
    u32(&s, kib < 0x80000000u ? (uint32_t)kib : 0x80000000u);
    u16(&s, 0xfffe);
    u16(&s, (uint16_t)devices);
    u64(&s, kib < 0x80000000u ? 0 : bytes);
    end(&s, t);
}

static void memory_device_add(struct tables *t, unsigned n, uint64_t bytes)
{
    g_autofree char *locator = g_strdup_printf("%s %u", text(t, 17, "loc_pfx", "DIMM"), n);
    uint16_t speed = (uint16_t)number(t, 17, "speed", 0);
    struct structure s;

    begin(&s, 17, (uint16_t)(0x1100 + n));
    u16(&s, 0x1000);
    u16(&s, 0xfffe);
    u16(&s, 0xffff); /* widths unknown */
    u16(&s, 0xffff);
    u16(&s, (uint16_t)(bytes >> 20));
    u8(&s, 9); /* DIMM */
    u8(&s, 0);
    str(&s, locator);
    str(&s, said(t, 17, "bank"));
    u8(&s, 7); /* RAM */
    u16(&s, 2);
    u16(&s, speed);
    str(&s, text(t, 17, "manufacturer", MANUFACTURER));
    str(&s, said(t, 17, "serial"));
    str(&s, said(t, 17, "asset"));
    str(&s, said(t, 17, "part"));
    u8(&s, 0);
    u32(&s, 0);
    u16(&s, speed);
    u16(&s, 0);
    u16(&s, 0);
    u16(&s, 0);
    end(&s, t);
}

static void mapped_add(struct tables *t, unsigned n, uint64_t start, uint64_t bytes)
{
    bool wide = (start + bytes) >> 10 > UINT32_MAX;
    struct structure s;

    if (bytes == 0) {
        return;
    }
    begin(&s, 19, (uint16_t)(0x1300 + n));
    u32(&s, wide ? UINT32_MAX : (uint32_t)(start >> 10));
    u32(&s, wide ? UINT32_MAX : (uint32_t)((start + bytes - 1) >> 10));
    u16(&s, 0x1000);
    u8(&s, 1);
    u64(&s, wide ? start : 0);
    u64(&s, wide ? start + bytes - 1 : 0);
    end(&s, t);
}

static void boot_status_add(struct tables *t)
{
    struct structure s;

    begin(&s, 32, 0x2000);
    for (unsigned i = 0; i < 6; i++) {
        u8(&s, 0);
    }
    u8(&s, 0); /* no error */
    end(&s, t);
}

static bool tables_fill(struct tables *t, GError **error)
{
    const struct smbios_config *config = t->config;
    uint64_t bytes = config->low_bytes + config->high_bytes;
    unsigned devices = (unsigned)MIN((bytes + DIMM_MAX_BYTES - 1) / DIMM_MAX_BYTES, 128);
    struct structure s;

    bios_add(t);
    system_add(t);
    baseboard_add(t);
    chassis_add(t);
    for (unsigned i = 0; i < config->sockets; i++) {
        processor_add(t, i);
    }
    if (!strings_add(t, error)) {
        return false;
    }
    memory_array_add(t, bytes, devices);
    for (unsigned i = 0; i < devices; i++) {
        memory_device_add(t, i, MIN(bytes - i * DIMM_MAX_BYTES, DIMM_MAX_BYTES));
    }
    mapped_add(t, 0, 0, config->low_bytes);
    mapped_add(t, 1, 1ull << 32, config->high_bytes);
    boot_status_add(t);
    begin(&s, 127, 0x7f00);
    end(&s, t);
    if (t->out->len > SMBIOS_MAX_BYTES) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "SMBIOS tables of %u bytes: %u are the most (-smbios)", t->out->len,
                    SMBIOS_MAX_BYTES);
        return false;
    }
    return true;
}

static void sum_set(uint8_t *bytes, unsigned length, unsigned at)
{
    uint8_t sum = 0;

    bytes[at] = 0;
    for (unsigned i = 0; i < length; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    bytes[at] = (uint8_t)-sum;
}

/* 5.2.1. The address is zero: firmware puts it there and makes the sums right again. */
static GByteArray *anchor_make(const struct tables *t)
{
    GByteArray *anchor = g_byte_array_new();
    uint8_t b[ANCHOR_BYTES] = "_SM_";

    b[5] = ANCHOR_BYTES;
    b[6] = 2;
    b[7] = 8;
    put_le16(b + 8, (uint16_t)MIN(t->largest, 0xffff));
    memcpy(b + 16, "_DMI_", 5);
    put_le16(b + 22, (uint16_t)t->out->len);
    put_le16(b + 28, (uint16_t)t->n);
    b[30] = 0x28;
    sum_set(b + 16, 15, 5);
    sum_set(b, ANCHOR_BYTES, 4);
    return g_byte_array_append(anchor, b, sizeof(b));
}

void smbios_locate(GByteArray *anchor, uint32_t tables_at)
{
    put_le32(anchor->data + 24, tables_at);
    sum_set(anchor->data + 16, 15, 5);
    sum_set(anchor->data, ANCHOR_BYTES, 4);
}

bool smbios_build(const struct smbios_config *config, GByteArray **tables, GByteArray **anchor,
                  GError **error)
{
    struct tables t = {.config = config, .out = g_byte_array_new()};

    if (!tables_fill(&t, error)) {
        g_byte_array_unref(t.out);
        return false;
    }
    *anchor = anchor_make(&t);
    *tables = t.out;
    return true;
}
