/* Flash memory on a bare bus: commands, what reaches the drive, and what a read-only one refuses.
 */
#include "bare-bus.h"
#include "devices/pflash.h"
#include "qapi-visit.h"
#include <glib/gstdio.h>
#include <unistd.h>

#define BYTES 0x8000u
#define BASE  (0x100000000ull - BYTES)

struct fixture {
    struct bare_bus *bus;
    struct device *flash;
    char path[64];
};

static void fixture_new(struct fixture *f, bool read_only)
{
    g_autofree uint8_t *contents = g_malloc(BYTES);
    g_autofree char *text = NULL;
    GError *error = NULL;
    int fd;

    g_strlcpy(f->path, "/tmp/godwit-pflash-XXXXXX", sizeof(f->path));
    fd = mkstemp(f->path);
    memset(contents, 0xff, BYTES);
    memcpy(contents + 0x1000, "text", 4);
    g_assert_cmpint(write(fd, contents, BYTES), ==, BYTES);
    close(fd);
    f->bus = bus_new();
    text = g_strdup_printf("driver=file,node-name=n,filename=%s,read-only=%s", f->path,
                           read_only ? "on" : "off");
    struct blockdev_options *options = blockdev_options_from_keyval(text, "driver", &error);
    g_assert_no_error(error);
    block_node_add(f->bus->env.block, options, &error);
    g_assert_no_error(error);
    blockdev_options_free(options);
    f->flash = pflash_create(&f->bus->env, "n", UINT32_MAX, &error);
    g_assert_no_error(error);
    bus_start(f->bus);
}

static void fixture_free(struct fixture *f)
{
    bus_free(f->bus);
    g_remove(f->path);
}

static void put(struct fixture *f, unsigned offset, uint8_t value)
{
    address_space_io_write(f->bus->env.mem, BASE + offset, value, 1);
}

static unsigned get(struct fixture *f, unsigned offset)
{
    return (unsigned)address_space_io_read(f->bus->env.mem, BASE + offset, 1);
}

static void check_drive(struct fixture *f, unsigned offset, const void *bytes, unsigned length)
{
    g_autofree char *contents = NULL;
    gsize size;

    devices_free(&f->bus->env); /* waits for what is under way */
    g_assert_true(g_file_get_contents(f->path, &contents, &size, NULL));
    g_assert_cmpuint(size, ==, BYTES);
    g_assert_cmpmem(contents + offset, length, bytes, length);
}

static void test_program_and_erase(void)
{
    struct fixture f;

    fixture_new(&f, false);
    g_assert_cmphex(get(&f, 0x1000), ==, 't');
    put(&f, 0, 0x50);
    put(&f, 0, 0x70); /* how firmware tells flash from RAM and ROM */
    g_assert_cmphex(get(&f, 0), ==, 0);
    put(&f, 0x1001, 0x10);
    put(&f, 0x1001, 0x0f); /* 'e' is 0x65 */
    g_assert_cmphex(get(&f, 0x1001), ==, 0x80);
    put(&f, 0, 0xff);
    g_assert_cmphex(get(&f, 0x1001), ==, 0x05);
    put(&f, 0x2000, 0x40);
    put(&f, 0x2000, 'N');
    put(&f, 0x1fff, 0x20);
    put(&f, 0x1fff, 0xd0);
    put(&f, 0, 0xff);
    g_assert_cmphex(get(&f, 0x1000), ==, 0xff);
    g_assert_cmphex(get(&f, 0x2000), ==, 'N');
    put(&f, 0x2000, 0x20); /* an erase that is not confirmed */
    put(&f, 0x2000, 0x11);
    g_assert_cmphex(get(&f, 0), ==, 0xb0);
    put(&f, 0, 0x50);
    g_assert_cmphex(get(&f, 0x2000), ==, 'N');
    check_drive(&f, 0x1ffe, "\xff\xffN\xff", 4);
    fixture_free(&f);
}

static void test_identity(void)
{
    struct fixture f;

    fixture_new(&f, false);
    put(&f, 0, 0x90);
    g_assert_cmphex(get(&f, 0), ==, 0x89);
    g_assert_cmphex(get(&f, 1), ==, 0x18);
    put(&f, 0, 0x98);
    g_assert_cmphex(get(&f, 0x10), ==, 'Q');
    g_assert_cmphex(get(&f, 0x27), ==, 15);
    g_assert_cmphex(get(&f, 0x2d), ==, BYTES / 4096 - 1);
    devices_pause(&f.bus->env);
    devices_reset(&f.bus->env, RESET_WARM);
    g_assert_cmphex(get(&f, 0x1000), ==, 't');
    fixture_free(&f);
}

static void test_read_only(void)
{
    struct fixture f;

    fixture_new(&f, true);
    put(&f, 0x1000, 0x10);
    put(&f, 0x1000, 0);
    g_assert_cmphex(get(&f, 0), ==, 0x90);
    put(&f, 0x1000, 0x20);
    put(&f, 0x1000, 0xd0);
    g_assert_cmphex(get(&f, 0), ==, 0xb0);
    put(&f, 0, 0xff);
    g_assert_cmphex(get(&f, 0x1000), ==, 't');
    check_drive(&f, 0x1000, "text", 4);
    fixture_free(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/program-and-erase", test_program_and_erase);
    g_test_add_func("/identity", test_identity);
    g_test_add_func("/read-only", test_read_only);
    return g_test_run();
}
