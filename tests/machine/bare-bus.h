/*
 * A machine without CPUs for device tests: empty spaces, a stepped clock, interrupt lines and
 * messages that are only noted.
 */
#ifndef TESTS_MACHINE_BARE_BUS_H
#define TESTS_MACHINE_BARE_BUS_H

#include "devices/core/device.h"
#include "devices/core/object.h"
#include "devices/memory-slots.h"
#include <string.h>

struct bare_bus {
    struct device_env env;
    struct memory_slots slots; /* a test's to use */
    struct system_ops system;
    struct loop *loop;
    struct event_sink sink;
    unsigned n_events; /* of the block layer */
    struct ram_block *ram;
    struct region ram_region;
    bool line[32];      /* levels of isa_irq[] and of lines made by bus_line() */
    unsigned rises[32]; /* low-to-high changes */
    unsigned n_msi;     /* messages sent */
    gpa_t msi_addr;     /* the last one */
    uint32_t msi_data;
    GString *requests; /* "reset:x shutdown:y ..." */
    int64_t rtc_offset_s;
};

#define BUS_RAM_BYTES 0x100000

static inline void bus_set_line(void *opaque, int n, bool level)
{
    struct bare_bus *bus = opaque;

    bus->rises[n] += level && !bus->line[n];
    bus->line[n] = level;
}

static inline struct irq_line bus_line(struct bare_bus *bus, int n)
{
    return (struct irq_line){.set = bus_set_line, .opaque = bus, .n = n};
}

static inline void bus_msi(struct device_env *env, gpa_t addr, uint32_t data)
{
    struct bare_bus *bus = (struct bare_bus *)env;

    bus->n_msi++;
    bus->msi_addr = addr;
    bus->msi_data = data;
}

static inline void bus_on_reset(void *opaque, const char *source)
{
    g_string_append_printf(((struct bare_bus *)opaque)->requests, "reset:%s ", source);
}

static inline void bus_on_shutdown(void *opaque, const char *source)
{
    g_string_append_printf(((struct bare_bus *)opaque)->requests, "shutdown:%s ", source);
}

static inline void bus_on_suspend(void *opaque)
{
    g_string_append(((struct bare_bus *)opaque)->requests, "suspend ");
}

static inline void bus_on_suspend_disk(void *opaque)
{
    g_string_append(((struct bare_bus *)opaque)->requests, "suspend-disk ");
}

static inline void bus_on_wakeup(void *opaque, const char *source)
{
    g_string_append_printf(((struct bare_bus *)opaque)->requests, "wakeup:%s ", source);
}

static inline void bus_on_panicked(void *opaque, bool crash_loaded)
{
    g_string_append(((struct bare_bus *)opaque)->requests, crash_loaded ? "crash " : "panic ");
}

static inline void bus_on_watchdog(void *opaque, const char *source)
{
    g_string_append_printf(((struct bare_bus *)opaque)->requests, "watchdog:%s ", source);
}

static inline void bus_on_exit(void *opaque, int status)
{
    g_string_append_printf(((struct bare_bus *)opaque)->requests, "exit:%d ", status);
}

static inline void bus_on_rtc_change(void *opaque, int64_t offset_s)
{
    ((struct bare_bus *)opaque)->rtc_offset_s = offset_s;
}

static inline void bus_on_event(struct event_sink *sink, unsigned event, const char *data)
{
    struct bare_bus *bus = (void *)((uint8_t *)sink - offsetof(struct bare_bus, sink));

    bus->n_events++;
}

static inline struct bare_bus *bus_new(void)
{
    struct bare_bus *bus = g_new0(struct bare_bus, 1);

    bus->requests = g_string_new(NULL);
    bus->system = (struct system_ops){
        .reset = bus_on_reset,
        .shutdown = bus_on_shutdown,
        .suspend = bus_on_suspend,
        .suspend_disk = bus_on_suspend_disk,
        .wakeup = bus_on_wakeup,
        .panicked = bus_on_panicked,
        .watchdog = bus_on_watchdog,
        .exit = bus_on_exit,
        .rtc_change = bus_on_rtc_change,
    };
    bus->loop = loop_new(NULL);
    bus->sink.emit = bus_on_event;
    bus->ram = ram_block_new("ram", BUS_RAM_BYTES, NULL);
    bus->ram_region =
        (struct region){.name = "ram", .kind = REGION_RAM, .size = BUS_RAM_BYTES, .ram = bus->ram};
    bus->env = (struct device_env){
        .mem = address_space_new("mem", (1ull << 46) - 1),
        .io = address_space_new("io", 0xffff),
        .clock = vclock_new(NULL, true),
        .loop = bus->loop,
        .events = &bus->sink,
        .ram_bytes = BUS_RAM_BYTES,
        .block = block_graph_new(&bus->sink, bus->loop),
        .system = &bus->system,
        .system_opaque = bus,
        .send_msi = bus_msi,
    };
    bus->env.net = net_new(&bus->sink, bus->env.clock, bus->loop, false);
    for (int i = 0; i < 16; i++) {
        bus->env.isa_irq[i] = bus_line(bus, i);
    }
    address_space_map(bus->env.mem, 0, &bus->ram_region, 0);
    return bus;
}

static inline void bus_start(struct bare_bus *bus)
{
    devices_reset(&bus->env, RESET_COLD);
    vclock_start(bus->env.clock);
    devices_resume(&bus->env);
}

static inline void bus_free(struct bare_bus *bus)
{
    devices_free(&bus->env);
    objects_free(&bus->env);
    while (g_main_context_iteration(bus->loop->context, FALSE)) { /* what is on its way ends */
    }
    block_graph_free(bus->env.block);
    net_free(bus->env.net);
    address_space_free(bus->env.mem);
    address_space_free(bus->env.io);
    ram_block_free(bus->ram);
    vclock_free(bus->env.clock);
    loop_free(bus->loop);
    g_string_free(bus->requests, TRUE);
    g_free(bus);
}

static inline void bus_step(struct bare_bus *bus, int64_t ns)
{
    vclock_step(bus->env.clock, vclock_now(bus->env.clock) + ns);
}

static inline uint8_t bus_inb(struct bare_bus *bus, uint16_t port)
{
    return (uint8_t)address_space_io_read(bus->env.io, port, 1);
}

static inline uint16_t bus_inw(struct bare_bus *bus, uint16_t port)
{
    return (uint16_t)address_space_io_read(bus->env.io, port, 2);
}

static inline uint32_t bus_inl(struct bare_bus *bus, uint16_t port)
{
    return (uint32_t)address_space_io_read(bus->env.io, port, 4);
}

static inline void bus_outb(struct bare_bus *bus, uint16_t port, uint8_t value)
{
    address_space_io_write(bus->env.io, port, value, 1);
}

static inline void bus_outw(struct bare_bus *bus, uint16_t port, uint16_t value)
{
    address_space_io_write(bus->env.io, port, value, 2);
}

static inline void bus_outl(struct bare_bus *bus, uint16_t port, uint32_t value)
{
    address_space_io_write(bus->env.io, port, value, 4);
}

static inline uint32_t bus_readl(struct bare_bus *bus, gpa_t addr)
{
    return (uint32_t)address_space_io_read(bus->env.mem, addr, 4);
}

static inline void bus_writel(struct bare_bus *bus, gpa_t addr, uint32_t value)
{
    address_space_io_write(bus->env.mem, addr, value, 4);
}

static inline void bus_expect_requests(struct bare_bus *bus, const char *text)
{
    g_assert_cmpstr(bus->requests->str, ==, text);
    g_string_truncate(bus->requests, 0);
}

#endif
