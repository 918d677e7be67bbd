/*
 * A Linux kernel seen from outside: the vmcoreinfo note, the walk of its page tables, the ring of
 * its log; and the symbols of its functions.
 */
#include "machine/symbols.h"

#include "../lib/guest-kernel-memory.h"
#include <glib/gstdio.h>

static struct guest_kernel *open_kernel(struct kernel_memory *km, GError **error)
{
    struct phys_reader reader = km_reader(km);

    return guest_kernel_open(&reader, KM_NOTE, KM_NOTE_SIZE, error);
}

static char *log_of(struct kernel_memory *km, size_t max, GError **error)
{
    struct guest_kernel *k = open_kernel(km, NULL);
    char *log;

    g_assert_nonnull(k);
    log = guest_kernel_log_tail(k, max, error);
    guest_kernel_free(k);
    return log;
}

static void test_note(void)
{
    g_autofree struct kernel_memory *km = g_new(struct kernel_memory, 1);
    g_autoptr(GError) error = NULL;
    struct guest_kernel *k;
    uint64_t value;

    km_init(km);
    k = open_kernel(km, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(guest_kernel_release(k), ==, "6.1.0-test");
    g_assert_cmphex(guest_kernel_offset(k), ==, 0x200000);
    g_assert_true(guest_kernel_value(k, "SIZE(prb_desc)", 10, &value));
    g_assert_cmpuint(value, ==, 48);
    g_assert_true(guest_kernel_value(k, "NUMBER(phys_base)", 10, &value));
    g_assert_cmpint((int64_t)value, ==, -4194304);
    g_assert_false(guest_kernel_value(k, "SIZE(prb_des", 10, &value));
    g_assert_false(guest_kernel_value(k, "OSRELEASE", 10, &value));
    guest_kernel_free(k);
}

static void refused(const char *note, const char *pattern)
{
    g_autofree struct kernel_memory *km = g_new(struct kernel_memory, 1);
    g_autoptr(GError) error = NULL;

    km_init(km);
    km_set_note(km, note);
    g_assert_null(open_kernel(km, &error));
    g_assert_true(g_pattern_match_simple(pattern, error->message));
}

static void test_bad_notes(void)
{
    g_autofree struct kernel_memory *km = g_new(struct kernel_memory, 1);
    struct phys_reader reader = km_reader(km);
    g_autoptr(GError) error = NULL;

    refused("", "*no page table*");
    refused("SYMBOL(init_top_pgt)=c0000000\nNUMBER(phys_base)=0\n", "*64-bit*");
    refused("SYMBOL(init_top_pgt)=ffffffff81000000\n", "*64-bit*");
    refused("SYMBOL(init_top_pgt)=ffffffff8100000g\n", "*no page table*");
    km_init(km);
    g_assert_null(guest_kernel_open(&reader, KM_BYTES - 100, 4096, &error));
    g_clear_error(&error);
    g_assert_null(guest_kernel_open(&reader, UINT64_MAX - 10, UINT32_MAX, &error));
    g_clear_error(&error);
    g_assert_null(guest_kernel_open(&reader, KM_NOTE, 23, &error));
    g_clear_error(&error);
    g_assert_null(guest_kernel_open(&reader, KM_TOP, 4096, &error));
    g_assert_true(g_pattern_match_simple("*none of that name*", error->message));
}

static void test_memory(void)
{
    g_autofree struct kernel_memory *km = g_new(struct kernel_memory, 1);
    struct guest_kernel *k;
    uint8_t buf[8192];

    km_init(km);
    memcpy(km->bytes + 0x20ffc, "12345678", 8);
    /* two pages that do not lie next to each other */
    km_put(km, KM_TOP + 0x3000 + 0x30 * 8, 0x20003, 8);
    k = open_kernel(km, NULL);
    g_assert_true(guest_kernel_read(k, KM_BASE + 0x20ffc, buf, 8));
    g_assert_cmpmem(buf, 8, "12345678", 8);
    g_assert_true(guest_kernel_read(k, KM_BASE + 0x30ffc, buf, 8));
    g_assert_cmpmem(buf, 4, "1234", 4);
    g_assert_cmpint(buf[4], ==, 0);
    g_assert_false(guest_kernel_read(k, KM_BASE + KM_BYTES - 4, buf, 8));
    g_assert_false(guest_kernel_read(k, 0x1000, buf, 1));
    km_put(km, KM_TOP + 0x2000 + 3 * 8, 0x83, 8); /* a large page of guest-physical 0 */
    g_assert_true(guest_kernel_read(k, KM_BASE + 0x200000 + 0x20ffc, buf, 8));
    g_assert_cmpmem(buf, 8, "12345678", 8);
    guest_kernel_free(k);
}

static void test_log(void)
{
    g_autofree struct kernel_memory *km = g_new(struct kernel_memory, 1);
    g_autoptr(GError) error = NULL;
    g_autofree char *log = NULL, *end = NULL, *none = NULL;

    km_init(km);
    km_log(km, 0, "first");
    km_log(km, 1234567890, "two\nlines\x01\xff");
    km_log(km, 9999999999999ull, "");
    km_log(km, 10000001000000ull, "tab\there");
    log = log_of(km, 4096, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(log, ==,
                    "[    0.000000] first\n"
                    "[    1.234567] two\n"
                    "[    1.234567] lines\\x01\\xff\n"
                    "[ 9999.999999] \n"
                    "[10000.001000] tab\there\n");
    end = log_of(km, 45, NULL); /* whole records only */
    g_assert_cmpstr(end, ==, "[ 9999.999999] \n[10000.001000] tab\there\n");
    none = log_of(km, 10, NULL);
    g_assert_cmpstr(none, ==, "");
}

/* Around both rings, and past the overflow of ids and positions. */
static void test_log_wraps(void)
{
    g_autofree struct kernel_memory *km = g_new(struct kernel_memory, 1);
    g_autoptr(GString) expected = g_string_new(NULL);
    g_autofree char *log = NULL;

    km_init(km);
    for (unsigned i = 0; i < 50; i++) {
        g_autofree char *text = g_strdup_printf("record %u %.*s", i, (int)(i % 7), "xxxxxxx");

        km_log(km, i * 1000000000ull, text);
        if (i >= 50 - KM_COUNT) {
            g_string_append_printf(expected, "[%5u.000000] %s\n", i, text);
        }
    }
    log = log_of(km, 65536, NULL);
    g_assert_cmpstr(log, ==, expected->str);
}

static void test_log_broken(void)
{
    g_autofree struct kernel_memory *km = g_new(struct kernel_memory, 1);
    g_autoptr(GError) error = NULL;
    g_autofree char *log = NULL;

    km_init(km);
    km_log(km, 0, "whole");
    km_log(km, 0, "being written");
    km_put(km, KM_DESCS + (uint32_t)((km->id - 1) % KM_COUNT) * 48 + 16, km->id - 1, 8);
    log = log_of(km, 4096, NULL);
    g_assert_cmpstr(log, ==, "[    0.000000] whole\n");
    km_put(km, KM_RING + 8, 63, 4); /* that many descriptors */
    g_assert_null(log_of(km, 4096, &error));
    g_assert_true(g_pattern_match_simple("*sizes*", error->message));
    g_clear_error(&error);
    km_put(km, KM_RING_PTR, 0, 8);
    g_assert_null(log_of(km, 4096, &error));
    g_assert_true(g_pattern_match_simple("*not in memory*", error->message));
}

/* ---- symbols */

static char *write_file(const char *text, size_t length)
{
    char *path = NULL;
    int fd = g_file_open_tmp("godwit-symbols-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_true(g_file_set_contents(path, text, (gssize)length, NULL));
    return path;
}

static void assert_symbol(const struct symbols *s, uint64_t addr, const char *expected)
{
    g_autofree char *text = symbols_describe(s, addr);

    g_assert_cmpstr(text, ==, expected);
}

static void test_list(void)
{
    static const char text[] = "ffffffff81000000 T _stext\n"
                               "ffffffff81000100 t second\t[module]\r\n"
                               "ffffffff81000180 D data\n"
                               "nonsense\n"
                               "ffffffff81000200 W weak\n"
                               "ffffffff81000200";
    g_autofree char *path = write_file(text, strlen(text));
    g_autofree char *last = NULL;
    struct symbols *s = symbols_load(path, NULL);

    g_assert_nonnull(s);
    assert_symbol(s, 0xffffffff80ffffff, NULL);
    assert_symbol(s, 0xffffffff81000000, "_stext+0x0");
    assert_symbol(s, 0xffffffff810001ff, "second+0xff");
    assert_symbol(s, 0xffffffff81000234, "weak+0x34");
    assert_symbol(s, 0xffffffff81200000, NULL);
    last = symbols_describe_return(s, 0xffffffff81000200); /* behind the last call of second */
    g_assert_cmpstr(last, ==, "second+0x100");
    symbols_free(s);
    g_unlink(path);
}

static void assert_refused(const char *text, size_t length, const char *pattern)
{
    g_autofree char *path = write_file(text, length);
    g_autoptr(GError) error = NULL;

    g_assert_null(symbols_load(path, &error));
    g_assert_true(strstr(error->message, path) != NULL);
    g_assert_true(g_pattern_match_simple(pattern, error->message));
    g_unlink(path);
}

static void test_elf(void)
{
    g_autofree char *whole = NULL;
    gsize length;
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    struct symbols *s = symbols_load("/proc/self/exe", NULL);

    g_assert_nonnull(s); /* this program has its symbols */
    symbols_free(s);
    g_assert_true(g_file_get_contents("/proc/self/exe", &whole, &length, NULL));
    assert_refused(whole, 64, "*beyond its end*");
    assert_refused("", 0, "*neither*");
    assert_refused("\177ELF", 4, "*neither*");
    for (unsigned round = 0; round < 200; round++) { /* broken anywhere in its headers */
        g_autofree char *broken = g_memdup2(whole, length), *path = NULL;
        uint64_t table;

        memcpy(&table, whole + 0x28, 8);
        for (unsigned i = 0; i < 8; i++) {
            size_t at =
                round & 1 ? g_rand_int(rand) % 64 : table + g_rand_int(rand) % (length - table);

            broken[at] = (char)g_rand_int(rand);
        }
        path = write_file(broken, length);
        s = symbols_load(path, NULL);
        if (s) {
            g_free(symbols_describe(s, g_rand_int(rand)));
            symbols_free(s);
        }
        g_unlink(path);
    }
}

static void test_no_file(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(symbols_load("/nowhere/vmlinux", &error));
    g_assert_true(g_pattern_match_simple("*'/nowhere/vmlinux'*No such file*", error->message));
    g_clear_error(&error);
    g_assert_null(symbols_load("/dev", &error));
    g_assert_true(g_pattern_match_simple("*no regular file*", error->message));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guest-kernel/note", test_note);
    g_test_add_func("/guest-kernel/bad-notes", test_bad_notes);
    g_test_add_func("/guest-kernel/memory", test_memory);
    g_test_add_func("/guest-kernel/log", test_log);
    g_test_add_func("/guest-kernel/log-wraps", test_log_wraps);
    g_test_add_func("/guest-kernel/log-broken", test_log_broken);
    g_test_add_func("/symbols/list", test_list);
    g_test_add_func("/symbols/elf", test_elf);
    g_test_add_func("/symbols/no-file", test_no_file);
    return g_test_run();
}
