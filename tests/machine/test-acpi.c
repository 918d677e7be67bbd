/* ACPI tables: checksums, links between them, and what iasl says when it reads them back. */
#include "machine/x86/acpi.h"

#include "machine/x86/q35-map.h"
#include "machine/x86/smbios.h"
#include <glib/gstdio.h>
#include <string.h>

static uint32_t le32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t le64(const uint8_t *p)
{
    return le32(p) | (uint64_t)le32(p + 4) << 32;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n-- > 0) {
        s = (uint8_t)(s + *p++);
    }
    return s;
}

static const struct acpi_config *config_of(unsigned n_cpus)
{
    static uint32_t ids[ACPI_MAX_CPUS];
    static struct acpi_config config;

    for (unsigned i = 0; i < ACPI_MAX_CPUS; i++) {
        ids[i] = i;
    }
    config = (struct acpi_config){.pm_base = Q35_PM_BASE,
                                  .n_cpus = n_cpus,
                                  .apic_id = ids,
                                  .hpet = true,
                                  .i8042 = true,
                                  .pvpanic_port = 0x1234,
                                  .s3 = true,
                                  .pci_hotplug_port = 0xae00,
                                  .pci_slots = 0xfffffffc,
                                  .memory_hotplug_port = 0xa00,
                                  .n_memory_slots = n_cpus == 1 ? 0 : 256,
                                  .cpu_hotplug_port = n_cpus == 1 ? 0 : 0xcd8,
                                  .s4 = true};
    return &config;
}

static GByteArray *build(unsigned n_cpus)
{
    return acpi_build(config_of(n_cpus), Q35_TABLES);
}

/* The table at guest address addr, checked to lie within all. */
static const uint8_t *table(GByteArray *all, uint64_t addr)
{
    g_assert_cmphex(addr, >=, Q35_TABLES);
    g_assert_cmphex(addr + 36, <=, Q35_TABLES + all->len);
    const uint8_t *p = all->data + (addr - Q35_TABLES);
    g_assert_cmphex(addr + le32(p + 4), <=, Q35_TABLES + all->len);
    return p;
}

static const uint8_t *find(GByteArray *all, const char *signature)
{
    const uint8_t *xsdt = table(all, le64(all->data + 24));
    for (uint32_t at = 36; at < le32(xsdt + 4); at += 8) {
        const uint8_t *t = table(all, le64(xsdt + at));
        if (memcmp(t, signature, 4) == 0) {
            return t;
        }
    }
    return NULL;
}

static void test_links(void)
{
    for (unsigned n = 1; n <= ACPI_MAX_CPUS; n += 127) {
        g_autoptr(GByteArray) all = build(n);
        g_assert_cmpuint(all->len, <=, Q35_TABLES_BYTES);
        g_assert_cmpint(memcmp(all->data, "RSD PTR ", 8), ==, 0);
        g_assert_cmpuint(sum(all->data, 20), ==, 0);
        g_assert_cmpuint(sum(all->data, 36), ==, 0);

        const uint8_t *rsdt = table(all, le32(all->data + 16));
        const uint8_t *xsdt = table(all, le64(all->data + 24));
        g_assert_cmpuint(sum(rsdt, le32(rsdt + 4)), ==, 0);
        g_assert_cmpuint(sum(xsdt, le32(xsdt + 4)), ==, 0);
        g_assert_cmpuint((le32(rsdt + 4) - 36) / 4, ==, (le32(xsdt + 4) - 36) / 8);
        for (uint32_t at = 0; at < (le32(rsdt + 4) - 36) / 4; at++) {
            const uint8_t *t = table(all, le64(xsdt + 36 + 8 * at));
            g_assert_cmphex(le32(rsdt + 36 + 4 * at), ==, le64(xsdt + 36 + 8 * at));
            g_assert_cmpuint(sum(t, le32(t + 4)), ==, 0);
        }

        const uint8_t *fadt = find(all, "FACP");
        g_assert_nonnull(fadt);
        const uint8_t *dsdt = table(all, le64(fadt + 140));
        g_assert_cmpint(memcmp(dsdt, "DSDT", 4), ==, 0);
        g_assert_cmpuint(sum(dsdt, le32(dsdt + 4)), ==, 0);
        uint64_t facs = le64(fadt + 132);
        g_assert_cmphex(facs, ==, Q35_TABLES + ACPI_FACS);
        g_assert_cmphex(facs % 64, ==, 0);
        g_assert_cmpint(memcmp(all->data + (facs - Q35_TABLES), "FACS", 4), ==, 0);
        g_assert_cmphex(fadt[116], ==, 1); /* reset register: I/O */
        g_assert_cmphex(le64(fadt + 120), ==, 0xcf9);
        g_assert_cmphex(fadt[128], ==, 0x0f);
    }
}

/* ---- the files for firmware, put together as firmware does */

static void add_to(uint8_t *p, unsigned size, uint64_t value)
{
    uint64_t sum_of = value + (size == 8 ? le64(p) : le32(p));

    for (unsigned i = 0; i < size; i++) {
        p[i] = (uint8_t)(sum_of >> (8 * i));
    }
}

static GByteArray *loader_file(struct acpi_files *files, const char *name)
{
    if (strcmp(name, ACPI_FILE_TABLES) == 0) {
        return files->tables;
    }
    g_assert_cmpstr(name, ==, ACPI_FILE_RSDP);
    return files->rsdp;
}

static void loader_run(struct acpi_files *files, uint64_t base)
{
    unsigned allocated = 0;

    g_assert_cmpuint(files->loader->len % 128, ==, 0);
    for (guint at = 0; at < files->loader->len; at += 128) {
        const uint8_t *e = files->loader->data + at;
        GByteArray *file = loader_file(files, (const char *)e + 4);
        uint32_t offset = le32(e + 60), start = le32(e + 64), length = le32(e + 68);

        switch (le32(e)) {
        case 1:
            allocated++;
            g_assert_cmpuint(e[64], ==, file == files->rsdp ? 2 : 1);
            break;
        case 2:
            g_assert_cmpuint(allocated, ==, 2);
            g_assert_cmpstr((const char *)e + 60, ==, ACPI_FILE_TABLES);
            offset = le32(e + 116);
            g_assert_cmpuint(offset + e[120], <=, file->len);
            add_to(file->data + offset, e[120], base);
            break;
        case 3:
            g_assert_cmpuint(start + length, <=, file->len);
            g_assert_cmpuint(file->data[offset], ==, 0);
            file->data[offset] = (uint8_t)-sum(file->data + start, length);
            break;
        default:
            g_assert_not_reached();
        }
    }
}

static void test_loader(void)
{
    struct acpi_files files;
    g_autoptr(GByteArray) all = build(5);

    acpi_build_files(config_of(5), &files);
    loader_run(&files, Q35_TABLES);
    g_assert_cmpmem(files.rsdp->data, files.rsdp->len, all->data, 36);
    memcpy(files.tables->data, files.rsdp->data, files.rsdp->len);
    g_assert_cmpmem(files.tables->data, files.tables->len, all->data, all->len);
    acpi_files_clear(&files);
}

/* The pc board: its registers are elsewhere, and there is no memory-mapped configuration space. */
static void test_i440fx(void)
{
    struct acpi_config config = *config_of(1);

    config.chipset = ACPI_I440FX;
    config.pm_base = 0xb000;
    g_autoptr(GByteArray) all = acpi_build(&config, Q35_TABLES);
    g_assert_null(find(all, "MCFG"));
    g_assert_cmphex(le32(find(all, "FACP") + 56), ==, 0xb000);
    g_assert_cmphex(le32(find(all, "FACP") + 76), ==, 0xb000 + 8);
    const uint8_t *dsdt = table(all, le64(find(all, "FACP") + 140));
    g_assert_cmpmem(dsdt + 16, 8, "GWTPC   ", 8);
    g_assert_cmpuint(sum(dsdt, le32(dsdt + 4)), ==, 0);
}

static void test_smbios(void)
{
    const struct smbios_config config = {.product = "board",
                                         .version = "v1",
                                         .uuid = "00112233-4455-6677-8899-aabbccddeeff",
                                         .sockets = 2,
                                         .cores = 3,
                                         .threads = 2,
                                         .processor_id = 0x178bfbff00000f61,
                                         .low_bytes = 2ull << 30,
                                         .high_bytes = 30ull << 30};
    static const uint8_t uuid[16] = {0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
                                     0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    g_autoptr(GByteArray) tables = NULL;
    g_autoptr(GByteArray) anchor = NULL;
    unsigned seen[128] = {0}, n = 0, at = 0, largest = 0;

    g_assert_true(smbios_build(&config, &tables, &anchor, NULL));
    g_assert_cmpuint(sum(anchor->data, 31), ==, 0);
    g_assert_cmpuint(sum(anchor->data + 16, 15), ==, 0);
    g_assert_cmpuint(anchor->data[22] | anchor->data[23] << 8, ==, tables->len);
    while (at < tables->len) {
        const uint8_t *t = tables->data + at;
        unsigned end = at + t[1];

        g_assert_cmpuint(t[0], <, 128);
        seen[t[0]]++;
        if (t[0] == 1) {
            g_assert_cmpmem(t + 8, 16, uuid, 16);
            g_assert_cmpstr((const char *)t + t[1] + strlen("Godwit") + 1, ==, "board");
        }
        if (t[0] == 4) {
            g_assert_cmphex(le64(t + 8), ==, config.processor_id);
        }
        while (tables->data[end] || tables->data[end + 1]) {
            end++;
        }
        largest = MAX(largest, end + 2 - at);
        at = end + 2;
        n++;
    }
    g_assert_cmpuint(at, ==, tables->len);
    g_assert_cmpuint(anchor->data[28], ==, n);
    g_assert_cmpuint(anchor->data[8], ==, largest);
    g_assert_cmpuint(seen[4], ==, 2);
    g_assert_cmpuint(seen[17], ==, 2);
    g_assert_cmpuint(seen[19], ==, 2);
    g_assert_cmpuint(seen[127], ==, 1);
}

static void test_madt_counts_cpus(void)
{
    g_autoptr(GByteArray) all = build(3);
    const uint8_t *madt = find(all, "APIC");
    unsigned lapics = 0, ioapics = 0, overrides = 0;

    for (uint32_t at = 44; at < le32(madt + 4); at += madt[at + 1]) {
        g_assert_cmpuint(madt[at + 1], >, 0);
        lapics += madt[at] == 0;
        ioapics += madt[at] == 1;
        overrides += madt[at] == 2 && madt[at + 3] == 0 && le32(madt + at + 4) == 2;
    }
    g_assert_cmpuint(lapics, ==, 3);
    g_assert_cmpuint(ioapics, ==, 1);
    g_assert_cmpuint(overrides, ==, 1);
}

/* iasl must disassemble every table, and assemble the DSDT and SSDT that it wrote. */
static void test_user_tables(void)
{
    static const uint8_t slic[40] = {'S', 'L', 'I', 'C', 40,  [10] = 'M', 'A', 'K', 'E', 'R',
                                     '1', 'T', 'A', 'B', 'L', 'E',        ' ', ' ', '1'};
    struct acpi_config config = *config_of(2);
    g_autoptr(GPtrArray) tables = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    g_autoptr(GByteArray) without = acpi_build(&config, Q35_TABLES);

    g_assert_null(find(without, "SLIC"));
    g_assert_cmpint(memcmp(find(without, "FACP") + 10, "GODWIT", 6), ==, 0);
    for (unsigned i = 0; i < ACPI_USER_TABLES; i++) {
        g_ptr_array_add(tables, g_bytes_new_static(slic, sizeof(slic)));
    }
    config.user_tables = tables;
    g_autoptr(GByteArray) with = acpi_build(&config, Q35_TABLES);
    const uint8_t *rsdt = table(with, le32(with->data + 16));

    g_assert_cmpint(memcmp(find(with, "SLIC"), slic, sizeof(slic)), ==, 0);
    g_assert_cmpuint(le32(rsdt + 4), ==,
                     le32(table(without, le32(without->data + 16)) + 4) + 4 * ACPI_USER_TABLES);
    g_assert_cmpint(memcmp(rsdt + 10, slic + 10, 14), ==, 0);
    g_assert_cmpint(memcmp(find(with, "FACP") + 10, slic + 10, 14), ==, 0);
    g_assert_cmpint(memcmp(find(with, "APIC") + 10, "GODWIT", 6), ==, 0);
    g_assert_cmpuint(sum(rsdt, le32(rsdt + 4)), ==, 0);
}

static void test_iasl(void)
{
    const char *iasl = g_getenv("IASL");
    if (!iasl) {
        g_test_skip("IASL is not set");
        return;
    }
    g_autoptr(GByteArray) all = build(255);
    g_autofree char *dir = g_dir_make_tmp("godwit-acpi-XXXXXX", NULL);
    const char *names[] = {"FACP", "APIC", "MCFG", "HPET", "WAET", "SSDT", "DSDT"};

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        bool aml = strstr(names[i], "SDT") != NULL;
        const uint8_t *t = find(all, names[i]);
        if (!t) {
            t = table(all, le64(find(all, "FACP") + 140));
        }
        g_autofree char *dat = g_strdup_printf("%s/%s.dat", dir, names[i]);
        g_autofree char *dsl = g_strdup_printf("%s/%s.dsl", dir, names[i]);
        g_autofree char *aml_out = g_strdup_printf("%s/%s.aml", dir, names[i]);
        g_autofree char *command = aml ? g_strdup_printf("sh -c '%s -d %s && %s -we -p %s/%s %s'",
                                                         iasl, dat, iasl, dir, names[i], dsl)
                                       : g_strdup_printf("%s -d %s", iasl, dat);
        g_autofree char *out = NULL, *err = NULL;
        int status = -1;

        g_assert_true(g_file_set_contents(dat, (const char *)t, le32(t + 4), NULL));
        g_assert_true(g_spawn_command_line_sync(command, &out, &err, &status, NULL));
        if (status != 0 || strstr(err, "rror")) {
            g_test_message("%s\n%s", out, err);
        }
        g_assert_cmpint(status, ==, 0);
        g_autofree char *text = NULL;
        g_assert_true(g_file_get_contents(dsl, &text, NULL, NULL));
        g_assert_null(strstr(text, "Invalid"));
        g_unlink(dat);
        g_unlink(dsl);
        g_unlink(aml_out);
    }
    g_rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/acpi/links", test_links);
    g_test_add_func("/acpi/madt", test_madt_counts_cpus);
    g_test_add_func("/acpi/iasl", test_iasl);
    g_test_add_func("/acpi/loader", test_loader);
    g_test_add_func("/acpi/i440fx", test_i440fx);
    g_test_add_func("/acpi/user-tables", test_user_tables);
    g_test_add_func("/smbios", test_smbios);
    return g_test_run();
}
