/*
 * What the host's kernel is told of the guest's memory, and what becomes of its log of writes
 * (devices/virtio/vhost-memory.h). What the kernel does with it is linux-vhost.py's.
 */
#include "bare-bus.h"
#include "devices/core/object.h"
#include "devices/virtio/vhost-memory.h"
#include "memory/dirty.h"

#define AT   (1ull << 33)
#define PAGE 4096ull

struct memory {
    struct bare_bus *bus;
    struct device *owner;
    struct ram_block *ram, *vram;
    struct region low, rom, high, device, io;
};

static uint64_t nothing_read(void *opaque, gpa_t offset, unsigned size)
{
    return 0;
}

static void nothing_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
}

static const struct region_ops nothing = {.read = nothing_read, .write = nothing_write};

/* 16 pages of RAM in two regions that touch, the fifth page of it read-only; a device's memory, and
 * registers. */
static void memory_init(struct memory *m)
{
    struct address_space *mem;

    m->bus = bus_new();
    mem = m->bus->env.mem;
    m->owner = device_new_named("isa-debug-exit", &m->bus->env, NULL);
    g_assert_true(device_realize(m->owner, NULL));
    m->ram = ram_block_new("ram", 16 * PAGE, NULL);
    m->vram = ram_block_new("vram", 4 * PAGE, NULL);
    device_add_ram(m->owner, m->vram);
    m->low = (struct region){.name = "low", .kind = REGION_RAM, .size = 8 * PAGE, .ram = m->ram};
    m->high = (struct region){.name = "high",
                              .kind = REGION_RAM,
                              .size = 8 * PAGE,
                              .ram = m->ram,
                              .ram_offset = 8 * PAGE};
    m->rom = (struct region){
        .name = "rom", .kind = REGION_ROM, .size = PAGE, .ram = m->ram, .ram_offset = 4 * PAGE};
    m->device =
        (struct region){.name = "vram", .kind = REGION_RAM, .size = 4 * PAGE, .ram = m->vram};
    m->io = (struct region){.name = "io", .kind = REGION_IO, .size = PAGE, .ops = &nothing};
    address_space_map(mem, AT, &m->low, 0);
    address_space_map(mem, AT + 8 * PAGE, &m->high, 0);
    address_space_map(mem, AT + 16 * PAGE, &m->device, 0);
    address_space_map(mem, AT + 20 * PAGE, &m->io, 0);
}

static void memory_finish(struct memory *m)
{
    struct region *all[] = {&m->low, &m->rom, &m->high, &m->device, &m->io};

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        address_space_unmap(m->bus->env.mem, all[i]);
    }
    device_remove_ram(m->owner, m->vram);
    ram_block_free(m->ram);
    ram_block_free(m->vram);
    bus_free(m->bus);
}

/* Of the memory above AT: the bus has some of its own. */
static struct vhost_table *table_of(struct memory *m, unsigned *first)
{
    struct vhost_table *t = vhost_table_new(&m->bus->env, atomic_load(&m->bus->env.mem->view));

    for (*first = 0; *first < t->n && t->range[*first].start < AT; ++*first) {
    }
    return t;
}

static void test_table(void)
{
    struct memory m;
    g_autofree struct vhost_table *one = NULL, *two = NULL, *same = NULL, *odd = NULL;
    unsigned first;

    memory_init(&m);
    one = table_of(&m, &first);
    g_assert_cmpuint(one->n - first, ==, 1); /* both regions in one, nothing else */
    g_assert_cmpuint(one->range[first].start, ==, AT);
    g_assert_cmpuint(one->range[first].bytes, ==, 16 * PAGE);
    g_assert_cmpuint(vhost_table_end(one), ==, AT + 16 * PAGE);
    g_assert_true(vhost_table_host(one, AT + 16 * PAGE - 1, 1) == m.ram->host + 16 * PAGE - 1);
    g_assert_null(vhost_table_host(one, AT + 16 * PAGE - 1, 2)); /* on into the device's memory */
    g_assert_null(vhost_table_host(one, AT - 1, 1));
    g_assert_null(vhost_table_host(one, AT + 1, UINT64_MAX));
    g_assert_null(vhost_table_host(one, AT + 17 * PAGE, 1));

    address_space_map(m.bus->env.mem, AT + 4 * PAGE, &m.rom, 1);
    two = table_of(&m, &first);
    g_assert_false(vhost_table_equal(one, two));
    g_assert_cmpuint(two->n - first, ==, 2); /* before the ROM, and after it */
    g_assert_cmpuint(two->range[first].bytes, ==, 4 * PAGE);
    g_assert_cmpuint(two->range[first + 1].start, ==, AT + 5 * PAGE);
    g_assert_cmpuint(two->range[first + 1].offset, ==, 5 * PAGE);
    g_assert_null(vhost_table_host(two, AT + 4 * PAGE, 1));
    g_assert_null(vhost_table_host(two, AT + 3 * PAGE, PAGE + 1));
    g_assert_true(vhost_table_host(two, AT + 5 * PAGE, PAGE) == m.ram->host + 5 * PAGE);
    address_space_unmap(m.bus->env.mem, &m.rom);
    same = table_of(&m, &first);
    g_assert_true(vhost_table_equal(one, same));

    m.io.size = 100; /* only whole pages of what is left are the kernel's */
    address_space_unmap(m.bus->env.mem, &m.io);
    address_space_map(m.bus->env.mem, AT + PAGE - 50, &m.io, 1);
    odd = table_of(&m, &first);
    g_assert_cmpuint(odd->n - first, ==, 1);
    g_assert_cmpuint(odd->range[first].start, ==, AT + 2 * PAGE);
    g_assert_cmpuint(odd->range[first].offset, ==, 2 * PAGE);
    memory_finish(&m);
}

static void expect_dirty(struct dirty_log *log, uint64_t pages)
{
    uint64_t bits = 0;

    dirty_log_take(log, &bits);
    g_assert_cmphex(bits, ==, pages);
}

/* As the kernel sets bits: by guest address, bytes in order. */
static void kernel_writes(struct vhost_log *log, unsigned page)
{
    uint64_t n = AT / PAGE + page;

    ((uint8_t *)log->bits)[n / 8] |= (uint8_t)(1u << (n % 8));
}

static void test_log(void)
{
    struct memory m;
    g_autofree struct vhost_table *table = NULL;
    struct vhost_log *log;
    struct dirty_log *dirty;
    struct address_space *mem;
    unsigned first;

    memory_init(&m);
    mem = m.bus->env.mem;
    address_space_map(mem, AT + 4 * PAGE, &m.rom, 1);
    table = table_of(&m, &first);
    log = vhost_log_new(table);
    g_assert_cmpuint(log->pages, >=, vhost_table_end(table) / PAGE);
    g_assert_cmpuint(log->pages % 64, ==, 0);
    dirty = dirty_log_new(mem, m.ram, NULL);
    kernel_writes(log, 0);
    kernel_writes(log, 3);
    kernel_writes(log, 5);
    kernel_writes(log, 15);
    vhost_log_tell(log, table, mem, m.vram, true); /* somebody else's */
    expect_dirty(dirty, 0);
    vhost_log_tell(log, table, mem, m.ram, false);
    expect_dirty(dirty, 0x8029);
    vhost_log_tell(log, table, mem, NULL, true); /* still there, and taken */
    expect_dirty(dirty, 0x8029);
    vhost_log_tell(log, table, mem, NULL, true);
    expect_dirty(dirty, 0);
    kernel_writes(log, 4); /* not in the table: nobody's */
    vhost_log_tell(log, table, mem, NULL, true);
    expect_dirty(dirty, 0);
    dirty_log_free(dirty);
    vhost_log_free(log);
    memory_finish(&m);
}

/* What is said where there is no vhost. */
static void test_errors(void)
{
    static const struct {
        const char *property, *value, *text;
    } bad[] = {
        {"guest-cid", "2", "guest-cid property must be greater than 2"},
        {"guest-cid", "4294967295", "32-bit number"},
        {"vhostfd", "nobody", "File descriptor named 'nobody' has not been found"},
        {"vhostfd", "9999", "File descriptor named '9999' has not been found"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        struct bare_bus *bus = bus_new();
        struct device *dev = device_new_named("vhost-vsock-pci", &bus->env, NULL);
        g_autoptr(GError) error = NULL;

        g_assert_true(device_set_property(dev, "guest-cid", "5", NULL));
        g_assert_true(device_set_property(dev, bad[i].property, bad[i].value, NULL));
        g_assert_false(device_realize(dev, &error));
        g_assert_nonnull(strstr(error->message, "vhost-vsock-pci: "));
        g_assert_nonnull(strstr(error->message, bad[i].text));
        bus_free(bus);
    }
}

static void test_missing(void)
{
    struct bare_bus *bus = bus_new();
    struct device *dev = device_new_named("vhost-vsock-pci", &bus->env, NULL);
    g_autoptr(GError) error = NULL;

    g_assert_true(device_set_property(dev, "guest-cid", "5", NULL));
    if (g_file_test("/dev/vhost-vsock", G_FILE_TEST_EXISTS)) {
        g_test_skip("/dev/vhost-vsock is there");
        device_free(dev);
    } else {
        g_assert_false(device_realize(dev, &error));
        g_assert_nonnull(strstr(error->message, "/dev/vhost-vsock: No such file"));
        g_assert_nonnull(strstr(error->message, "module vhost_vsock"));
    }
    bus_free(bus);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vhost/table", test_table);
    g_test_add_func("/vhost/log", test_log);
    g_test_add_func("/vhost/errors", test_errors);
    g_test_add_func("/vhost/missing", test_missing);
    return g_test_run();
}
