/*
 * -acpitable: ACPI tables of the user's, beside the machine's own. With file= the files hold a
 * whole table, header and all; with data= what comes behind a header, which the other fields make.
 */
#include "cli/options-priv.h"
#include "machine/x86/acpi.h"

#include <string.h>

#define HEADER_BYTES 36 /* ACPI specification 5.0, 5.2.6 */
#define TABLE_MAX    0xffffu

enum { AT_LENGTH = 4, AT_REVISION = 8, AT_SUM = 9, AT_OEM_REVISION = 24, AT_CREATOR_REVISION = 32 };

/* The header's texts: what is shorter is padded with zeroes. */
static const struct {
    const char *key;
    uint8_t at, bytes;
} texts[] = {{"sig", 0, 4}, {"oem_id", 10, 6}, {"oem_table_id", 16, 8}, {"asl_compiler_id", 28, 4}};

static void put_le32(uint8_t *p, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

static bool read_files(const char *names, GByteArray *table, GError **error)
{
    g_auto(GStrv) name = g_strsplit(names, ":", -1);

    for (unsigned i = 0; name[i]; i++) {
        g_autoptr(GError) why = NULL;
        g_autofree char *data = NULL;
        gsize length;

        if (!g_file_get_contents(name[i], &data, &length, &why)) {
            g_set_error_literal(error, CLI_ERROR, 0, why->message);
            return false;
        }
        if (length > TABLE_MAX - MIN(table->len, TABLE_MAX)) {
            g_set_error(error, CLI_ERROR, 0, "'%s': the table would be larger than %u bytes",
                        name[i], TABLE_MAX);
            return false;
        }
        g_byte_array_append(table, (const guint8 *)data, (guint)length);
    }
    return true;
}

static bool take_texts(struct params *p, uint8_t *header, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        const char *text = params_take(p, texts[i].key);

        if (text && strlen(text) > texts[i].bytes) {
            g_set_error(error, CLI_ERROR, 0, "%s '%s' has more than %u characters", texts[i].key,
                        text, texts[i].bytes);
            return false;
        }
        if (text) {
            memset(header + texts[i].at, 0, texts[i].bytes);
            memcpy(header + texts[i].at, text, strlen(text));
        }
    }
    return true;
}

static bool take_numbers(struct params *p, uint8_t *header, GError **error)
{
    uint64_t rev = header[AT_REVISION], oem_rev, compiler_rev;
    bool has_oem = params_take(p, "oem_rev"), has_compiler = params_take(p, "asl_compiler_rev");

    if (!params_take_uint(p, "rev", 0, UINT8_MAX, &rev, error) ||
        !params_take_uint(p, "oem_rev", 0, UINT32_MAX, &oem_rev, error) ||
        !params_take_uint(p, "asl_compiler_rev", 0, UINT32_MAX, &compiler_rev, error)) {
        return false;
    }
    header[AT_REVISION] = (uint8_t)rev;
    if (has_oem) {
        put_le32(header + AT_OEM_REVISION, (uint32_t)oem_rev);
    }
    if (has_compiler) {
        put_le32(header + AT_CREATOR_REVISION, (uint32_t)compiler_rev);
    }
    return true;
}

/* What a header says where nobody tells. */
static void add_header(GByteArray *table)
{
    uint8_t header[HEADER_BYTES] = {0};

    header[AT_REVISION] = 1;
    memcpy(header + 10, "GODWIT", 6);
    memcpy(header + 16, "GWTUSER ", 8);
    put_le32(header + AT_OEM_REVISION, 1);
    memcpy(header + 28, "GDWT", 4);
    put_le32(header + AT_CREATOR_REVISION, 1);
    g_byte_array_append(table, header, sizeof(header));
}

static bool make_table(struct params *p, GByteArray *table, GError **error)
{
    const char *data = params_take(p, "data"), *file = params_take(p, "file");
    uint8_t sum = 0;

    if (!data == !file) {
        g_set_error(error, CLI_ERROR, 0, "one of data (without a header) and file is wanted");
        return false;
    }
    if (data && !params_take(p, "sig")) {
        g_set_error(error, CLI_ERROR, 0, "data= is only with sig=, the table's signature");
        return false;
    }
    if (data) {
        add_header(table);
    }
    if (!read_files(data ? data : file, table, error)) {
        return false;
    }
    if (table->len < HEADER_BYTES) {
        g_set_error(error, CLI_ERROR, 0, "'%s' is shorter than the header of a table (%d bytes)",
                    file, HEADER_BYTES);
        return false;
    }
    if (!take_texts(p, table->data, error) || !take_numbers(p, table->data, error)) {
        return false;
    }
    put_le32(table->data + AT_LENGTH, table->len);
    table->data[AT_SUM] = 0;
    for (guint i = 0; i < table->len; i++) {
        sum = (uint8_t)(sum + table->data[i]);
    }
    table->data[AT_SUM] = (uint8_t)-sum;
    return true;
}

bool opt_acpitable(struct options *o, const char *arg, GError **error)
{
    GPtrArray *tables = o->config->acpi_tables;
    g_autoptr(GByteArray) table = g_byte_array_new();
    struct params *p = params_parse(arg, NULL, error);
    bool ok = p != NULL;

    if (ok && tables->len == ACPI_USER_TABLES) {
        g_set_error(error, CLI_ERROR, 0, "there are %u tables already", ACPI_USER_TABLES);
        ok = false;
    }
    ok = ok && make_table(p, table, error) && params_end(p, error);
    if (ok) {
        g_ptr_array_add(tables, g_bytes_new(table->data, table->len));
    }
    params_free(p);
    return ok;
}
