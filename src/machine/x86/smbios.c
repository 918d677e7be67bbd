/*
 * SMBIOS structures, byte by byte: see smbios.h. Section numbers are those of DSP0134 2.8.0.
 *
 * Left out: what a machine without the hardware has nothing to say about (caches, ports, slots).
 */
#include "machine/x86/smbios.h"

#include "machine/x86/boot-priv.h"
#include <string.h>

#define MANUFACTURER   "Godwit"
#define ANCHOR_BYTES   31
#define UNKNOWN        2
#define DIMM_MAX_BYTES (16ull << 30) /* what one memory device has at most */

struct tables {
    GByteArray *out;
    unsigned n;
    size_t largest;
};

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

static void system_add(struct tables *t, const struct smbios_config *config)
{
    struct structure s;

    begin(&s, 1, 0x100);
    str(&s, MANUFACTURER);
    str(&s, config->product);
    str(&s, config->version);
    str(&s, NULL);
    uuid_add(&s, config->uuid);
    u8(&s, 6); /* wake-up: power switch */
    str(&s, NULL);
    str(&s, NULL);
    end(&s, t);
}

static void chassis_add(struct tables *t, const struct smbios_config *config)
{
    struct structure s;

    begin(&s, 3, 0x300);
    str(&s, MANUFACTURER);
    u8(&s, 1); /* type: other */
    str(&s, config->version);
    str(&s, NULL);
    str(&s, NULL);
    u8(&s, 3); /* boot-up, power supply and thermal state: safe */
    u8(&s, 3);
    u8(&s, 3);
    u8(&s, UNKNOWN);
    u32(&s, 0);
    u8(&s, 0);
    u8(&s, 0);
    u8(&s, 0);
    u8(&s, 0);
    str(&s, NULL);
    end(&s, t);
}

static void processor_add(struct tables *t, const struct smbios_config *config, unsigned n)
{
    g_autofree char *socket = g_strdup_printf("CPU %u", n);
    uint8_t cores = (uint8_t)MIN(config->cores, 255u);
    uint8_t threads = (uint8_t)MIN(config->cores * config->threads, 255u);
    struct structure s;

    begin(&s, 4, (uint16_t)(0x400 + n));
    str(&s, socket);
    u8(&s, 3); /* central processor */
    u8(&s, 1); /* family: other */
    str(&s, MANUFACTURER);
    u64(&s, 0);
    str(&s, config->version);
    u8(&s, 0);
    u16(&s, 0);
    u16(&s, 2000); /* MHz, maximum and now: nominal */
    u16(&s, 2000);
    u8(&s, 0x41); /* populated, enabled */
    u8(&s, 1);    /* upgrade: other */
    u16(&s, 0xffff);
    u16(&s, 0xffff);
    u16(&s, 0xffff);
    str(&s, NULL);
    str(&s, NULL);
    str(&s, NULL);
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
    g_autofree char *locator = g_strdup_printf("DIMM %u", n);
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
    str(&s, NULL);
    u8(&s, 7); /* RAM */
    u16(&s, 2);
    u16(&s, 0);
    str(&s, MANUFACTURER);
    str(&s, NULL);
    str(&s, NULL);
    str(&s, NULL);
    u8(&s, 0);
    u32(&s, 0);
    u16(&s, 0);
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

static void tables_fill(struct tables *t, const struct smbios_config *config)
{
    uint64_t bytes = config->low_bytes + config->high_bytes;
    unsigned devices = (unsigned)MIN((bytes + DIMM_MAX_BYTES - 1) / DIMM_MAX_BYTES, 128);
    struct structure s;

    system_add(t, config);
    chassis_add(t, config);
    for (unsigned i = 0; i < config->sockets; i++) {
        processor_add(t, config, i);
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

void smbios_build(const struct smbios_config *config, GByteArray **tables, GByteArray **anchor)
{
    struct tables t = {.out = g_byte_array_new()};

    tables_fill(&t, config);
    *anchor = anchor_make(&t);
    *tables = t.out;
}
