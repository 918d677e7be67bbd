/*
 * What holds for every device class: each byte of state is in its table, reset twice equals once,
 * pause and resume twice equal once, a device leaves nothing mapped behind, a failed realize leaks
 * nothing (which the sanitizer build sees).
 */
#include "all-devices.h"
#include "devices/ide/ahci.h"
#include "devices/ide/ata.h"
#include "devices/memory-slots.h"
#include "devices/pci/i440fx.h"
#include "devices/pflash.h"
#include "devices/vmcoreinfo.h"
#include "devices/vmgenid.h"
#include "qapi-types.h"
#include "qapi-visit.h"

#include "devices/virtio/vhost-vsock.h"
#include "devices/virtio/virtio-blk.h"
#include "devices/virtio/virtio-mem.h"
#include "devices/virtio/virtio-mmio.h"
#include "devices/virtio/virtio-serial.h"
#include <unistd.h>

static struct chardev *null_chardev;

static struct chardev *find_null(struct device_env *env, const char *id)
{
    return null_chardev;
}

/* A node that is nobody's storage. */
static void node_init(struct bare_bus *bus)
{
    struct blockdev_options *options =
        blockdev_options_from_keyval("driver=null-co,node-name=n0,size=65536", "driver", NULL);

    g_assert_true(block_node_add(bus->env.block, options, NULL));
    blockdev_options_free(options);
}

static bool is_host_bridge(const struct device_class *class)
{
    return class == &q35_host_class || class == &i440fx_class;
}

/* A slot, and memory for it. */
static void memory_init(struct bare_bus *bus)
{
    static const char text[] = "memory-backend-ram,id=m0,size=2M";
    struct object_options *options = object_options_from_keyval(text, "qom-type", NULL);

    bus->slots = (struct memory_slots){
        .base = 1ull << 32, .bytes = 1ull << 30, .limit = 1ull << 30, .n = 1, .n_nodes = 1};
    bus->env.memory_slots = &bus->slots;
    g_assert_true(object_add(&bus->env, options, NULL));
    object_options_free(options);
}

static struct bare_bus *class_bus(const struct device_class *class)
{
    struct bare_bus *bus = bus_new();
    const struct irq_line gsi = bus_line(bus, 16);

    virtio_mmio_bus_new(&bus->env, 0xfeb00000, &gsi);
    bus->env.find_chardev = find_null;
    null_chardev = chardev_new("null", "null", bus->loop, NULL);
    if (!is_host_bridge(class)) {
        g_assert_nonnull(q35_host_create(&bus->env, NULL, NULL));
    }
    if (class == &pc_dimm_class || class == &acpi_memhp_class || class == &virtio_mem_pci_class) {
        memory_init(bus);
    }
    if (class == &vmcoreinfo_class || class == &vmgenid_class) {
        g_assert_nonnull(fw_cfg_create(&bus->env, NULL));
    }
    if (class && (class->bus == BUS_IDE || class == &pflash_class)) {
        node_init(bus);
    }
    if (class && class->bus == BUS_IDE) {
        g_assert_nonnull(ahci_create(&bus->env, NULL));
    }
    return bus;
}

static void class_bus_free(struct bare_bus *bus)
{
    devices_free(&bus->env);
    virtio_mmio_bus_free(bus->env.virtio_mmio);
    bus_free(bus);
    chardev_free(null_chardev);
}

/* What the host's kernel may not have; tests/machine/linux-vhost.py has one that does. */
static bool is_missing(const struct device_class *class)
{
    return (class == &vhost_vsock_pci_class || class == &vhost_vsock_device_class) &&
           access("/dev/vhost-vsock", R_OK | W_OK) != 0;
}

static void test_missing(gconstpointer data)
{
    g_test_skip("/dev/vhost-vsock cannot be used");
}

static struct device *class_device(const struct device_class *class, struct bare_bus *bus)
{
    struct device *dev = device_new(class, &bus->env);
    g_autoptr(GError) error = NULL;

    if (class == &debugcon_class) {
        g_assert_true(device_set_property(dev, "chardev", "null", &error));
    }
    if (class == &virtserialport_class || class == &virtconsole_class) {
        struct device *serial = device_new(&virtio_serial_pci_class, &bus->env);

        g_assert_true(device_realize(serial, &error));
    }
    if (class == &virtio_blk_pci_class || class == &virtio_blk_device_class) {
        struct blockdev_options o = {.driver = BLOCKDEV_DRIVER_NULL_CO, .node_name = "n0"};

        g_assert_true(block_node_find(bus->env.block, "n0") ||
                      block_node_add(bus->env.block, &o, &error));
        g_assert_true(device_set_property(dev, "drive", "n0", &error));
    }
    if (class == &vhost_vsock_pci_class || class == &vhost_vsock_device_class) {
        g_assert_true(device_set_property(dev, "guest-cid", "4200001", &error));
    }
    if (class == &pc_dimm_class || class == &virtio_mem_pci_class) {
        g_assert_true(device_set_property(dev, "memdev", "m0", &error));
    }
    if (class == &mc146818rtc_class) {
        g_assert_true(device_set_property(dev, "base", "2026-01-01", &error));
    }
    if (class == &ide_hd_class || class == &pflash_class) {
        g_assert_true(device_set_property(dev, "drive", "n0", &error));
    }
    device_realize(dev, &error);
    g_assert_no_error(error);
    return dev;
}

/* Random accesses to whatever is mapped. */
static void scribble(struct bare_bus *bus, GRand *rand)
{
    for (unsigned i = 0; i < 2000; i++) {
        struct address_space *as = g_rand_boolean(rand) ? bus->env.io : bus->env.mem;
        const struct flat_view *view = atomic_load(&as->view);
        const struct flat_range *r;

        if (!view->n) {
            continue;
        }
        r = &view->range[g_rand_int_range(rand, 0, (gint32)view->n)];
        address_space_io_write(as,
                               r->start + g_rand_int(rand) % MIN(r->last - r->start + 1, 0x1000),
                               g_rand_int(rand), 1u << g_rand_int_range(rand, 0, 3));
        if (i % 100 == 0) {
            bus_step(bus, g_rand_int_range(rand, 0, 100 * (gint32)NS_PER_MS));
        }
    }
}

static void *state_of(struct device *dev)
{
    return (uint8_t *)dev + dev->class->state_offset;
}

static void test_state_covered(gconstpointer data)
{
    const struct device_class *class = data;

    g_assert_cmpuint(state_first_uncovered(class->state), ==, class->state->size);
    g_assert_cmpuint(class->state_offset + class->state->size, <=, class->size);
    g_assert_nonnull(class->help);
    g_assert_true(class->state->size == 0 || class->reset);
}

static void test_reset(gconstpointer data)
{
    const struct device_class *class = data;
    struct bare_bus *bus = class_bus(class);
    struct device *dev = class_device(class, bus);
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    g_autofree void *fresh = NULL, *once = NULL;
    uint32_t size = class->state->size;

    bus_start(bus);
    fresh = g_memdup2(state_of(dev), size);
    scribble(bus, rand);
    devices_pause(&bus->env);
    devices_reset(&bus->env, RESET_WARM);
    once = g_memdup2(state_of(dev), size);
    devices_reset(&bus->env, RESET_WARM);
    g_assert_cmpmem(state_of(dev), size, once, size);
    /* The clock's battery and the timers' phase apart, reset forgets all that a guest did. */
    if (class != &mc146818rtc_class && class != &i8254_class && class != &acpi_pm_class &&
        class != &i8259_class) {
        g_assert_cmpmem(once, size, fresh, size);
    }
    class_bus_free(bus);
}

static void test_pause(gconstpointer data)
{
    const struct device_class *class = data;
    struct bare_bus *bus = class_bus(class);
    struct device *dev = class_device(class, bus);
    g_autoptr(GRand) rand = g_rand_new_with_seed(4);
    g_autofree void *before = NULL;
    uint32_t size = class->state->size;

    bus_start(bus);
    scribble(bus, rand);
    devices_pause(&bus->env);
    before = g_memdup2(state_of(dev), size);
    devices_pause(&bus->env);
    g_assert_cmpmem(state_of(dev), size, before, size);
    devices_resume(&bus->env);
    devices_resume(&bus->env);
    devices_pause(&bus->env);
    g_assert_cmpmem(state_of(dev), size, before, size);
    class_bus_free(bus);
}

static void test_leaves_nothing(gconstpointer data)
{
    const struct device_class *class = data;
    struct bare_bus *bus = class_bus(class);
    unsigned n_mem = atomic_load(&bus->env.mem->view)->n, n_io = atomic_load(&bus->env.io->view)->n;
    struct device *dev = class_device(class, bus);
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);

    bus_start(bus);
    n_mem += !is_host_bridge(class); /* the bridge's ECAM window opens with its reset */
    scribble(bus, rand);
    devices_pause(&bus->env);
    devices_reset(&bus->env, RESET_COLD);
    device_free(dev);
    g_assert_cmpuint(atomic_load(&bus->env.mem->view)->n, ==, n_mem);
    g_assert_cmpuint(atomic_load(&bus->env.io->view)->n, ==, n_io);
    g_assert_cmpint(vclock_deadline(bus->env.clock), ==, -1);
    class_bus_free(bus);
}

static void expect_failure(const char *name, const char *property, const char *value)
{
    struct bare_bus *bus = class_bus(NULL);
    struct device *dev = device_new_named(name, &bus->env, NULL);
    unsigned n_io = atomic_load(&bus->env.io->view)->n;
    g_autoptr(GError) error = NULL;

    if (property) {
        g_assert_true(device_set_property(dev, property, value, &error));
    }
    g_assert_false(device_realize(dev, &error));
    g_assert_nonnull(error);
    g_assert_cmpuint(atomic_load(&bus->env.io->view)->n, ==, n_io);
    class_bus_free(bus);
}

static void test_failed_realize(void)
{
    expect_failure("isa-debugcon", NULL, NULL);
    expect_failure("mc146818rtc", "base", "never");
    expect_failure("mc146818rtc", "clock", "sun");
}

static void test_ids(void)
{
    struct bare_bus *bus = bus_new();
    struct device *dev = device_new_named("isa-debug-exit", &bus->env, NULL);
    g_autoptr(GError) error = NULL;

    dev->id = g_strdup("x");
    g_assert_true(device_realize(dev, &error));
    g_assert_true(devices_find(&bus->env, "x") == dev);
    g_assert_null(devices_find(&bus->env, "y"));
    dev = device_new_named("isa-debug-exit", &bus->env, NULL);
    dev->id = g_strdup("x");
    g_assert_false(device_realize(dev, &error));
    g_assert_nonnull(strstr(error->message, "'x'"));
    g_clear_error(&error);
    g_assert_null(device_new_named("isa-warp-core", &bus->env, &error));
    g_assert_nonnull(strstr(error->message, "isa-warp-core"));
    bus_free(bus);
}

/* The same device on another bus behaves the same. */
static void test_same_elsewhere(void)
{
    unsigned pairs = 0;

    for (unsigned i = 0; device_classes[i]; i++) {
        const struct device_class *a = device_classes[i], *b = a->same_as;

        if (b) {
            g_assert(a->realize == b->realize && a->unrealize == b->unrealize);
            g_assert(a->reset == b->reset && a->post_load == b->post_load);
            g_assert(a->pause == b->pause && a->resume == b->resume);
            g_assert(a->save_requests == b->save_requests && a->load_requests == b->load_requests);
            g_assert(a->boot_path == b->boot_path && a->state == b->state);
            pairs++;
        }
    }
    g_assert_cmpuint(pairs, >, 3);
}

static void test_property_values(void)
{
    struct bare_bus *bus = bus_new();
    struct device *dev = device_new_named("isa-debug-exit", &bus->env, NULL);
    static const char *const bad[] = {"", "x", "1x", "-1", " 1", "65536", "99999999999999999999"};

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(device_set_property(dev, "iobase", bad[i], &error));
        g_assert_nonnull(strstr(error->message, "'iobase'"));
    }
    g_assert_true(device_set_property(dev, "iobase", "0xf4", NULL));
    g_assert_false(device_set_property(dev, "iosize", "0", NULL));
    g_assert_true(device_set_property(dev, "iosize", "4", NULL));
    g_assert_true(device_realize(dev, NULL));
    bus_outl(bus, 0xf4, 16);
    bus_expect_requests(bus, "exit:33 ");
    bus_free(bus);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        GTestDataFunc fn;
    } checks[] = {{"state", test_state_covered},
                  {"reset", test_reset},
                  {"pause", test_pause},
                  {"leaves-nothing", test_leaves_nothing}};

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; device_classes[i]; i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(checks); j++) {
            g_autofree char *path =
                g_strdup_printf("/class/%s/%s", device_classes[i]->name, checks[j].name);

            g_test_add_data_func(path, device_classes[i],
                                 j > 0 && is_missing(device_classes[i]) ? test_missing
                                                                        : checks[j].fn);
        }
    }
    g_test_add_func("/class/failed-realize", test_failed_realize);
    g_test_add_func("/class/ids", test_ids);
    g_test_add_func("/class/property-values", test_property_values);
    g_test_add_func("/class/same-elsewhere", test_same_elsewhere);
    return g_test_run();
}
