/*
 * PCI buses: a host bridge's, and those behind bridges. Where a device is plugged in, how
 * configuration cycles find it, how its INTx pins get to the host bridge.
 *
 * Numbers of buses are what firmware or the guest puts into the bridges' registers: a cycle goes
 * down from the host bridge, through bridges whose range of numbers has the bus (PCI-to-PCI Bridge
 * Architecture Specification 1.2, section 3.1). Behind a bridge pins are turned by slot (9.1).
 *
 * Left out: a bridge's bus master bit does not hold up what is behind it.
 */
#include "devices/pci/pci-priv.h"

#include <stdlib.h>
#include <string.h>

const struct property pci_properties[] = {
    {"addr", PROP_STRING, offsetof(struct pci_device, at.addr),
     .help = "slot and function, as 5 or 5.0 in hexadecimal; else the first free slot"},
    {"bus", PROP_STRING, offsetof(struct pci_device, at.bus),
     .help = "pcie.0 or pci.0, the default, or the id of a bridge or port"},
    {"multifunction", PROP_BOOL, offsetof(struct pci_device, at.multifunction),
     .help = "the slot's other functions may be looked for"},
    {"rombar", PROP_U32, offsetof(struct pci_device, at.rombar), .def = 1, .max = 1,
     .help = "0: no option ROM"},
    {"romfile", PROP_STRING, offsetof(struct pci_device, at.romfile),
     .help = "file of the option ROM; empty: none"},
    {NULL},
};

/* ---- buses */

static char *unnamed(struct device_env *env)
{
    for (unsigned i = 1;; i++) {
        g_autofree char *name = g_strdup_printf("pci.%u", i);

        if (!pci_bus_find(env, name)) {
            return g_steal_pointer(&name);
        }
    }
}

struct pci_bus *pci_bus_new(struct device_env *env, const char *name, struct pci_device *bridge)
{
    struct pci_bus *bus = g_new0(struct pci_bus, 1), **last = &env->pci;

    bus->env = env;
    bus->bridge = bridge;
    bus->name = name ? g_strdup(name) : unnamed(env);
    while (*last) {
        last = &(*last)->next;
    }
    *last = bus;
    return bus;
}

void pci_bus_free(struct pci_bus *bus)
{
    if (bus) {
        struct pci_bus **at = &bus->env->pci;

        while (*at != bus) {
            at = &(*at)->next;
        }
        *at = bus->next;
        g_free(bus->name);
        g_free(bus);
    }
}

struct pci_bus *pci_bus_find(struct device_env *env, const char *name)
{
    for (struct pci_bus *bus = env->pci; bus; bus = bus->next) {
        if (strcmp(bus->name, name) == 0) {
            return bus;
        }
    }
    return NULL;
}

void pci_bus_foreach(struct pci_bus *bus, void (*fn)(struct pci_device *, void *), void *opaque)
{
    for (unsigned i = 0; i < 256; i++) {
        if (bus->device[i]) {
            fn(bus->device[i], opaque);
        }
    }
}

struct pci_bus *pci_bus_behind(const struct pci_device *bridge)
{
    for (struct pci_bus *bus = bridge->bus->env->pci; bus; bus = bus->next) {
        if (bus->bridge == bridge) {
            return bus;
        }
    }
    return NULL;
}

static void device_update(struct pci_device *dev, void *opaque)
{
    struct pci_bus *behind = pci_bus_behind(dev);

    pci_bars_update(dev);
    if (behind) {
        pci_bus_update(behind);
    }
}

void pci_bus_update(struct pci_bus *bus)
{
    address_space_begin(bus->env->mem);
    address_space_begin(bus->env->io);
    pci_bus_foreach(bus, device_update, NULL);
    address_space_commit(bus->env->io);
    address_space_commit(bus->env->mem);
}

void pci_bus_set_pin(struct pci_bus *bus, unsigned slot, unsigned pin, bool level)
{
    uint8_t *held = &bus->intx_held[slot][pin], was = *held;

    *held = (uint8_t)(level ? was + 1 : was - 1);
    if (!was == !*held) {
        return;
    }
    if (bus->bridge) {
        pci_bus_set_pin(bus->bridge->bus, bus->bridge->devfn >> 3, (slot + pin) & 3, level);
    } else if (bus->set_intx) {
        bus->set_intx(bus->set_intx_opaque, (uint8_t)PCI_DEVFN(slot, 0), pin, level);
    }
}

/* ---- what bridges let through */

void pci_bridge_windows(const struct pci_device *bridge, struct pci_window *io,
                        struct pci_window *memory, struct pci_window *prefetch)
{
    const uint8_t *config = bridge->s->config;

    io->base = (config[PCI_IO_BASE] & 0xf0u) << 8;
    io->limit = (config[PCI_IO_LIMIT] & 0xf0u) << 8 | 0xfff;
    memory->base = (uint64_t)(pci_get16(bridge, PCI_MEMORY_BASE) & 0xfff0u) << 16;
    memory->limit = (uint64_t)(pci_get16(bridge, PCI_MEMORY_LIMIT) & 0xfff0u) << 16 | 0xfffff;
    prefetch->base = (uint64_t)(pci_get16(bridge, PCI_PREFETCH_BASE) & 0xfff0u) << 16 |
                     (uint64_t)pci_get32(bridge, PCI_PREFETCH_BASE_HIGH) << 32;
    prefetch->limit = (uint64_t)(pci_get16(bridge, PCI_PREFETCH_LIMIT) & 0xfff0u) << 16 |
                      (uint64_t)pci_get32(bridge, PCI_PREFETCH_LIMIT_HIGH) << 32 | 0xfffff;
}

static bool in_window(const struct pci_window *w, gpa_t addr, uint64_t size)
{
    return addr >= w->base && addr + size - 1 <= w->limit;
}

static bool bridge_decodes(const struct pci_device *bridge, bool is_io, gpa_t addr, uint64_t size)
{
    uint16_t command = pci_get16(bridge, PCI_COMMAND);
    struct pci_window io, memory, prefetch;

    pci_bridge_windows(bridge, &io, &memory, &prefetch);
    if (is_io) {
        return (command & PCI_COMMAND_IO) && in_window(&io, addr, size);
    }
    return (command & PCI_COMMAND_MEMORY) &&
           (in_window(&memory, addr, size) || in_window(&prefetch, addr, size));
}

bool pci_bus_decodes(const struct pci_bus *bus, bool io, gpa_t addr, uint64_t size)
{
    for (; bus->bridge; bus = bus->bridge->bus) {
        if (bus->down || !bridge_decodes(bus->bridge, io, addr, size)) {
            return false;
        }
    }
    return true;
}

/* ---- configuration cycles */

unsigned pci_bus_number(const struct pci_bus *bus)
{
    return bus->bridge ? bus->bridge->s->config[PCI_SECONDARY_BUS] : 0;
}

/* The next bus on the way from `bus` to that number; NULL: no bridge leads there. */
static struct pci_bus *step_down(struct pci_bus *bus, unsigned number)
{
    for (struct pci_bus *b = bus->env->pci; b; b = b->next) {
        if (b->bridge && b->bridge->bus == bus && !b->down &&
            b->bridge->s->config[PCI_SECONDARY_BUS] <= number &&
            number <= b->bridge->s->config[PCI_SUBORDINATE_BUS] &&
            b->bridge->s->config[PCI_SECONDARY_BUS] != 0) {
            return b;
        }
    }
    return NULL;
}

static struct pci_device *find_device(struct pci_bus *bus, unsigned number, uint8_t devfn)
{
    while (bus && pci_bus_number(bus) != number) {
        bus = step_down(bus, number);
    }
    return bus ? bus->device[devfn] : NULL;
}

uint32_t pci_config_read(struct pci_bus *bus, unsigned bus_number, uint8_t devfn, unsigned offset,
                         unsigned size)
{
    struct pci_device *dev = find_device(bus, bus_number, devfn);

    return dev && offset + size <= PCI_CONFIG_BYTES ? pci_device_read(dev, offset, size)
                                                    : UINT32_MAX;
}

void pci_config_write(struct pci_bus *bus, unsigned bus_number, uint8_t devfn, unsigned offset,
                      uint32_t value, unsigned size)
{
    struct pci_device *dev = find_device(bus, bus_number, devfn);

    if (dev && offset + size <= PCI_CONFIG_BYTES) {
        pci_device_write(dev, offset, value, size);
    }
}

/* ---- ports 0xcf8 to 0xcff
 *
 * The address keeps its two low bits, which chips ignore: drivers made for QEMU put them there
 * instead of adding them to port 0xcfc. */

#define CONFIG_ENABLE 0x80000000u
#define RESET_CPU     0x04

static uint64_t ports_read(void *opaque, gpa_t offset, unsigned size)
{
    struct pci_ports *p = opaque;
    uint32_t a = *p->address;

    if (offset < 4) {
        if (offset == 1 && size == 1) {
            return p->bus->reset_control ? *p->bus->reset_control : 0xff;
        }
        return offset == 0 && size == 4 ? a : UINT64_MAX;
    }
    if (!(a & CONFIG_ENABLE)) {
        return UINT64_MAX;
    }
    return pci_config_read(p->bus, a >> 16 & 0xff, (uint8_t)(a >> 8),
                           (a & 0xff) | ((unsigned)offset & 3), size);
}

static void reset_control_write(struct pci_bus *bus, uint8_t value)
{
    if (bus->reset_control) {
        *bus->reset_control = value & bus->reset_control_kept;
        if (value & RESET_CPU) {
            system_request_reset(bus->env, "cf9");
        }
    }
}

static void ports_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct pci_ports *p = opaque;
    uint32_t a = *p->address;

    if (offset < 4) {
        if (offset == 1 && size == 1) {
            reset_control_write(p->bus, (uint8_t)value);
        } else if (offset == 0 && size == 4) {
            *p->address = (uint32_t)value;
        }
    } else if (a & CONFIG_ENABLE) {
        pci_config_write(p->bus, a >> 16 & 0xff, (uint8_t)(a >> 8),
                         (a & 0xff) | ((unsigned)offset & 3), (uint32_t)value, size);
    }
}

static const struct region_ops ports_ops = {
    .read = ports_read, .write = ports_write, .min_size = 1, .max_size = 4};

void pci_ports_init(struct pci_ports *ports, struct pci_bus *bus, uint32_t *address)
{
    ports->bus = bus;
    ports->address = address;
    ports->region = (struct region){
        .name = "pci-config", .kind = REGION_IO, .size = 8, .ops = &ports_ops, .opaque = ports};
    address_space_map(bus->env->io, 0xcf8, &ports->region, 0);
}

void pci_ports_finish(struct pci_ports *ports)
{
    if (ports->bus) {
        address_space_unmap(ports->bus->env->io, &ports->region);
    }
}

static const char *firmware_name(const struct pci_device *dev, char name[16])
{
    static const struct {
        uint16_t class;
        const char *name;
    } names[] = {{0x0100, "scsi"}, {0x0101, "ide"}, {0x0200, "ethernet"}, {0x0604, "pci-bridge"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (pci_get16(dev, PCI_CLASS) == names[i].class) {
            return names[i].name;
        }
    }
    g_snprintf(name, 16, "pci%04x,%04x", pci_get16(dev, PCI_VENDOR_ID),
               pci_get16(dev, PCI_DEVICE_ID));
    return name;
}

char *pci_firmware_path(const struct pci_device *dev)
{
    g_autofree char *before =
        dev->bus->bridge ? pci_firmware_path(dev->bus->bridge) : g_strdup("/pci@i0cf8");
    char name[16], function[8] = "";

    if (dev->devfn & 7) {
        g_snprintf(function, sizeof(function), ",%x", dev->devfn & 7);
    }
    return g_strdup_printf("%s/%s@%x%s", before, firmware_name(dev, name), dev->devfn >> 3,
                           function);
}

/* ---- places */

bool pci_parse_addr(const char *addr, unsigned *devfn)
{
    char *end;
    unsigned long slot = strtoul(addr, &end, 16), function = 0;

    if (!g_ascii_isxdigit(addr[0]) || slot > 31) {
        return false;
    }
    if (*end == '.') {
        const char *text = end + 1;

        function = strtoul(text, &end, 16);
        if (!g_ascii_isxdigit(text[0]) || function > 7) {
            return false;
        }
    }
    *devfn = PCI_DEVFN((unsigned)slot, (unsigned)function);
    return *end == '\0';
}

struct pci_bus *pci_bus_for(struct device_env *env, const char *name, const char *class,
                            GError **error)
{
    struct pci_bus *bus = name ? pci_bus_find(env, name) : env->pci;

    if (!env->pci) {
        g_set_error(error, DEVICE_ERROR, 0, "No 'PCI' bus found for device '%s'", class);
    } else if (!bus) {
        g_set_error(error, DEVICE_ERROR, 0, "Bus '%s' not found", name);
    }
    return bus;
}

bool pci_bus_place(struct pci_bus *bus, const char *addr, const char *name, unsigned *devfn,
                   GError **error)
{
    if (!addr) {
        for (*devfn = 0; *devfn < (bus->one_slot ? 8 : 256); *devfn += 8) {
            if (!bus->device[*devfn]) {
                return true;
            }
        }
        g_set_error(error, DEVICE_ERROR, 0, "%s: no slot of bus '%s' is free", name, bus->name);
        return false;
    }
    if (!pci_parse_addr(addr, devfn)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "%s: property 'addr': '%s' is not SLOT or SLOT.FUNCTION (0 to 1f, 0 to 7)",
                    name, addr);
        return false;
    }
    if (bus->one_slot && *devfn >= 8) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "PCI: slot %u is not valid for %s, parent device only allows plugging into "
                    "slot 0.",
                    *devfn >> 3, name);
        return false;
    }
    if (bus->device[*devfn]) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: PCI slot %s is taken by %s", name, addr,
                    bus->device[*devfn]->dev.class->name);
        return false;
    }
    return true;
}
