/* Guest RAM and address spaces. */
#include "memory/address-space.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct trace {
    GString *text;
    uint64_t value;
};

static uint64_t trace_read(void *opaque, gpa_t offset, unsigned size)
{
    struct trace *t = opaque;

    g_string_append_printf(t->text, "r%u@%x ", size, (unsigned)offset);
    return t->value >> (8 * (offset & 7));
}

static void trace_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct trace *t = opaque;

    g_string_append_printf(t->text, "w%u@%x=%" G_GINT64_MODIFIER "x ", size, (unsigned)offset,
                           value);
}

static const struct region_ops ops_any = {trace_read, trace_write, 0, 0};
static const struct region_ops ops_byte = {trace_read, trace_write, 1, 1};
static const struct region_ops ops_dword = {trace_read, trace_write, 4, 4};

static void expect(struct trace *t, const char *text)
{
    g_assert_cmpstr(t->text->str, ==, text);
    g_string_truncate(t->text, 0);
}

/* A child process, such as a command that a migration goes to, has none of it. */
static void test_ram_not_inherited(void)
{
    struct ram_block *ram = ram_block_new("ram", 1 << 20, NULL);
    unsigned char resident;
    int status;
    pid_t pid;

    ram->host[0] = 1;
    g_assert_cmpint(mincore(ram->host, 4096, &resident), ==, 0);
    pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        _exit(mincore(ram->host, 4096, &resident) < 0 && errno == ENOMEM ? 0 : 1);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
    ram_block_free(ram);
}

static void test_ram(void)
{
    g_autoptr(GError) error = NULL;
    struct ram_block *ram = ram_block_new("ram", 1 << 20, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(ram->host[0] | ram->host[(1 << 20) - 1], ==, 0);
    ram_block_free(ram);
    ram_block_free(NULL);

    g_assert_null(ram_block_new("odd", 4095, &error));
    g_assert_nonnull(strstr(error->message, "'odd'"));
    g_clear_error(&error);
    g_assert_null(ram_block_new("none", 0, &error));
    g_clear_error(&error);
    g_assert_null(ram_block_new("huge", 1ull << 50, &error));
    g_assert_nonnull(strstr(error->message, "cannot set up"));
}

static void test_priority(void)
{
    struct address_space *as = address_space_new("t", 0xffff);
    struct trace t = {.text = g_string_new(NULL)};
    struct region low = {
        .name = "low", .kind = REGION_IO, .size = 0x100, .ops = &ops_any, .opaque = &t};
    struct region high = low, later = low;

    high.size = 0x10;
    later.size = 4;
    address_space_map(as, 0x1000, &low, 0);
    address_space_map(as, 0x1020, &high, 1);
    g_assert_true(address_space_find(as, 0x101f)->region == &low);
    g_assert_true(address_space_find(as, 0x1020)->region == &high);
    g_assert_true(address_space_find(as, 0x1030)->region == &low);
    g_assert_cmpuint(address_space_find(as, 0x1030)->offset, ==, 0x30);
    g_assert_null(address_space_find(as, 0x1100));
    g_assert_null(address_space_find(as, 0xfff));
    g_assert_true(address_space_is_hole(as, 0xffc, 4, NULL));
    g_assert_false(address_space_is_hole(as, 0xffd, 4, NULL)); /* its end is in the region */
    g_assert_false(address_space_is_hole(as, 0x10fe, 4, NULL));
    g_assert_true(address_space_is_hole(as, 0x1100, 8, NULL));
    g_assert_true(address_space_write_unlocked(as, 0xffc, 1, 4, NULL)); /* goes nowhere */
    g_assert_false(address_space_write_unlocked(as, 0xffd, 1, 4, NULL));
    g_assert_false(address_space_write_unlocked(as, 0x1000, 1, 4, NULL));

    address_space_map(as, 0x1004, &later, 0); /* equal priority: the later one wins */
    g_assert_true(address_space_find(as, 0x1004)->region == &later);
    g_assert_true(address_space_find(as, 0x1008)->region == &low);
    address_space_map(as, 0x1022, &later, 0); /* a second place, hidden by `high` */
    g_assert_true(address_space_find(as, 0x1022)->region == &high);
    address_space_unmap(as, &later);
    g_assert_true(address_space_find(as, 0x1004)->region == &low);
    address_space_unmap(as, &high);
    g_assert_cmpuint(atomic_load(&as->view)->n, ==, 1);

    /* Clipped at the end of the space; beyond it nothing. */
    address_space_map(as, 0xfff8, &high, 0);
    g_assert_cmphex(address_space_find(as, 0xffff)->last, ==, 0xffff);
    address_space_map(as, 0x10000, &later, 0);
    g_assert_null(address_space_find(as, 0x10000));
    address_space_free(as);
    g_string_free(t.text, TRUE);
}

struct bell_listener {
    struct map_listener listener;
    unsigned calls;
    guint bells;
    struct address_space *as;
};

static void bells_changed(struct map_listener *listener)
{
    struct bell_listener *b = (struct bell_listener *)listener;

    b->calls++;
    b->bells = b->as->doorbells->len;
}

static void test_doorbells(void)
{
    struct address_space *as = address_space_new("t", 0xffff);
    struct region a = {.name = "a", .kind = REGION_IO, .size = 0x100, .ops = &ops_any}, b = a;
    struct bell_listener l = {.listener = {.doorbells_changed = bells_changed}, .as = as};
    const struct doorbell bell[] = {
        {.region = &a, .fd = 5}, {.region = &a, .offset = 2, .fd = 5}, {.region = &b, .fd = 5}};

    address_space_add_listener(as, &l.listener);
    for (size_t i = 0; i < G_N_ELEMENTS(bell); i++) {
        address_space_add_doorbell(as, &bell[i]);
        g_assert_cmpuint(l.bells, ==, i + 1);
    }
    address_space_remove_doorbell(as, &a, 6);
    g_assert_cmpuint(l.calls, ==, 3);
    address_space_remove_doorbell(as, &a, 5); /* both of this region, not the other's */
    g_assert_cmpuint(l.bells, ==, 1);
    g_assert_true(g_array_index(as->doorbells, struct doorbell, 0).region == &b);
    address_space_remove_listener(as, &l.listener);
    address_space_free(as);
}

static void test_whole_space(void)
{
    struct address_space *as = address_space_new("t", UINT64_MAX);
    struct region all = {.name = "all", .kind = REGION_IO, .size = UINT64_MAX, .ops = &ops_any};
    struct region top = {.name = "top", .kind = REGION_IO, .size = 0x2000, .ops = &ops_any};

    address_space_map(as, 0, &all, 0);
    address_space_map(as, UINT64_MAX - 0xfff, &top, 1);
    g_assert_true(address_space_find(as, UINT64_MAX)->region == &top);
    g_assert_true(address_space_find(as, UINT64_MAX - 0x1000)->region == &all);
    address_space_free(as);
}

static void test_split(void)
{
    struct address_space *as = address_space_new("t", 0xffff);
    struct trace t = {.text = g_string_new(NULL), .value = 0x8877665544332211};
    struct region byte = {
        .name = "b", .kind = REGION_IO, .size = 8, .ops = &ops_byte, .opaque = &t};
    struct region dword = {
        .name = "d", .kind = REGION_IO, .size = 16, .ops = &ops_dword, .opaque = &t};

    address_space_map(as, 0, &byte, 0);
    address_space_map(as, 0x10, &dword, 0);
    g_assert_cmphex(address_space_io_read(as, 0, 4), ==, 0x44332211);
    expect(&t, "r1@0 r1@1 r1@2 r1@3 ");
    address_space_io_write(as, 6, 0xbbaa, 2);
    expect(&t, "w1@6=aa w1@7=bb ");

    g_assert_cmphex(address_space_io_read(as, 0x10, 8), ==, 0x8877665544332211);
    expect(&t, "r4@0 r4@4 ");
    g_assert_cmphex(address_space_io_read(as, 0x12, 1), ==, 0x33);
    expect(&t, "r4@0 ");
    g_assert_cmphex(address_space_io_read(as, 0x13, 2), ==, 0x5544);
    expect(&t, "r4@0 r4@4 ");
    address_space_io_write(as, 0x15, 0xcd, 1);
    expect(&t, "w4@4=cd00 ");

    /* Out of a region into nothing: ones there, writes dropped. */
    g_assert_cmphex(address_space_io_read(as, 7, 2), ==, 0xff88);
    expect(&t, "r1@7 ");
    address_space_io_write(as, 7, 0x1234, 2);
    expect(&t, "w1@7=34 ");
    g_assert_cmphex(address_space_io_read(as, 0x8000, 4), ==, 0xffffffff);

    /* where the last search ended only makes the next one faster */
    for (unsigned near = 0; near < 5; near++) {
        for (unsigned at = 0; at < 8; at++) {
            unsigned hint = near;
            g_assert_cmphex(address_space_io_read_near(as, at, 8, &hint), ==,
                            address_space_io_read(as, at, 8));
            g_assert_cmphex(address_space_io_read_near(as, 0x8000, 8, &hint), ==, UINT64_MAX);
            hint = 12345;
            g_assert_cmphex(address_space_io_read_near(as, 0x10, 4, &hint), ==, 0x44332211);
        }
    }
    address_space_free(as);
    g_string_free(t.text, TRUE);
}

struct counts {
    struct map_listener listener;
    unsigned changed, written, parked;
    uint64_t offset, length;
};

static void on_changed(struct map_listener *l, const struct flat_view *view)
{
    ((struct counts *)l)->changed++;
}

static void on_written(struct map_listener *l, struct ram_block *ram, uint64_t offset,
                       uint64_t length)
{
    struct counts *c = (struct counts *)l;

    c->written++;
    c->offset = offset;
    c->length = length;
}

static void on_park(void *opaque)
{
    ((struct counts *)opaque)->parked++;
}

static void on_unpark(void *opaque)
{
    g_assert_cmpuint(((struct counts *)opaque)->parked--, >, 0);
}

static void test_dma(void)
{
    struct address_space *as = address_space_new("t", UINT64_MAX);
    struct ram_block *ram = ram_block_new("ram", 0x4000, NULL);
    struct trace t = {.text = g_string_new(NULL)};
    struct region main = {.name = "m", .kind = REGION_RAM, .size = 0x2000, .ram = ram};
    struct region rom = {
        .name = "r", .kind = REGION_ROM, .size = 0x1000, .ram = ram, .ram_offset = 0x2000};
    struct region io = {
        .name = "io", .kind = REGION_IO, .size = 0x1000, .ops = &ops_any, .opaque = &t};
    struct counts c = {.listener = {on_changed, on_written}};
    uint8_t buf[16];

    as->guard = (struct map_guard){on_park, on_unpark, &c};
    address_space_add_listener(as, &c.listener);
    g_assert_cmpuint(c.changed, ==, 1);
    address_space_begin(as);
    address_space_map(as, 0, &main, 0);
    address_space_map(as, 0x2000, &rom, 0);
    address_space_map(as, 0x3000, &io, 0);
    g_assert_cmpuint(c.changed, ==, 1);
    address_space_commit(as);
    g_assert_cmpuint(c.changed, ==, 2);
    g_assert_cmpuint(c.parked, ==, 0);
    address_space_begin(as); /* no change in the end: nobody is disturbed */
    address_space_unmap(as, &io);
    address_space_map(as, 0x3000, &io, 0);
    address_space_commit(as);
    g_assert_cmpuint(c.changed, ==, 2);

    g_assert_true(address_space_write(as, 0x1ff0, "0123456789abcdef", 16));
    g_assert_cmpuint(c.written, ==, 1);
    g_assert_cmphex(c.offset, ==, 0x1ff0);
    g_assert_cmpuint(c.length, ==, 16);
    g_assert_false(address_space_write(as, 0x1ffc, "XXXXYYYY", 8));
    g_assert_cmpmem(ram->host + 0x1ffc, 8, "XXXX\0\0\0\0", 8);
    g_assert_true(address_space_write_rom(as, 0x2000, "ROM!", 4));
    address_space_io_write(as, 0x2000, 0, 4); /* dropped */
    g_assert_cmphex(address_space_io_read(as, 0x2000, 4), ==, 0x214d4f52);
    g_assert_true(address_space_read(as, 0x1ffc, buf, 8));
    g_assert_cmpmem(buf, 8, "XXXXROM!", 8);
    g_assert_false(address_space_read(as, 0x2ffc, buf, 8)); /* MMIO is no memory */
    g_assert_cmpmem(buf, 8, "\0\0\0\0\xff\xff\xff\xff", 8);
    expect(&t, "");
    g_assert_false(address_space_read(as, 0x100000, buf, 8));
    g_assert_false(address_space_write(as, UINT64_MAX - 3, "12345678", 8));

    g_assert_true(address_space_ram_ptr(as, 0x1000, 0x1000) == ram->host + 0x1000);
    g_assert_null(address_space_ram_ptr(as, 0x1000, 0x1001));
    g_assert_null(address_space_ram_ptr(as, 0x1000, UINT64_MAX));
    g_assert_null(address_space_ram_ptr(as, 0x2000, 4));
    address_space_ram_written(as, 0x1000, 0x3000);
    g_assert_cmphex(c.offset, ==, 0x1000);
    g_assert_cmphex(c.length, ==, 0x1000);
    address_space_remove_listener(as, &c.listener);
    address_space_unmap(as, &main);
    g_assert_cmpuint(c.changed, ==, 2);
    address_space_free(as);
    ram_block_free(ram);
    g_string_free(t.text, TRUE);
}

/* Random maps against a byte-by-byte model. */
static void test_random(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);

    for (int round = 0; round < 50; round++) {
        struct address_space *as = address_space_new("t", 0xff);
        struct region region[20];
        struct region *model[256] = {0};
        int priority[256], n = g_rand_int_range(rand, 1, 20);

        for (int i = 0; i < n; i++) {
            gpa_t base = (gpa_t)g_rand_int_range(rand, 0, 256);
            int p = g_rand_int_range(rand, -2, 3);

            region[i] = (struct region){.kind = REGION_IO,
                                        .ops = &ops_any,
                                        .size = (uint64_t)g_rand_int_range(rand, 0, 100)};
            address_space_map(as, base, &region[i], p);
            for (gpa_t a = base; a < base + region[i].size && a < 256; a++) {
                if (!model[a] || p >= priority[a]) {
                    model[a] = &region[i];
                    priority[a] = p;
                }
            }
        }
        for (gpa_t a = 0; a < 256; a++) {
            const struct flat_range *r = address_space_find(as, a);

            g_assert_true((r ? r->region : NULL) == model[a]);
        }
        address_space_free(as);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory/ram", test_ram);
    g_test_add_func("/memory/priority", test_priority);
    g_test_add_func("/memory/whole-space", test_whole_space);
    g_test_add_func("/memory/ram-not-inherited", test_ram_not_inherited);
    g_test_add_func("/memory/doorbells", test_doorbells);
    g_test_add_func("/memory/split", test_split);
    g_test_add_func("/memory/dma", test_dma);
    g_test_add_func("/memory/random", test_random);
    return g_test_run();
}
