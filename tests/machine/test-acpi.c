/* ACPI tables: checksums, links between them, and what iasl says when it reads them back. */
#include "machine/x86/acpi.h"

#include "machine/x86/q35-map.h"
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

static GByteArray *build(unsigned n_cpus)
{
    uint32_t ids[ACPI_MAX_CPUS];
    for (unsigned i = 0; i < ACPI_MAX_CPUS; i++) {
        ids[i] = i;
    }
    struct acpi_config config = {.n_cpus = n_cpus,
                                 .apic_id = ids,
                                 .hpet = true,
                                 .i8042 = true,
                                 .pvpanic_port = 0x1234,
                                 .s3 = true,
                                 .s4 = true};
    return acpi_build(&config, Q35_TABLES);
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
static void test_iasl(void)
{
    const char *iasl = g_getenv("IASL");
    if (!iasl) {
        g_test_skip("IASL is not set");
        return;
    }
    g_autoptr(GByteArray) all = build(255);
    g_autofree char *dir = g_dir_make_tmp("godwit-acpi-XXXXXX", NULL);
    const char *names[] = {"FACP", "APIC", "MCFG", "HPET", "SSDT", "DSDT"};

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
    return g_test_run();
}
