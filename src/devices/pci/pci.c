/*
 * PCI: configuration space as data. What a guest may change is said by two masks a byte (writable,
 * write-1-to-clear), so a write that makes no sense changes nothing; BAR sizing falls out of the
 * same masks. After each write BARs, INTx and MSI are brought in line with the registers.
 *
 * BARs are mapped below everything that the board itself maps: a guest that moves a BAR over its
 * RAM or over the I/O APIC sees RAM and I/O APIC, as on real chipsets.
 *
 * Messages (MSI, MSI-X) are pci-msi.c's. Left out: PCI Express extended configuration space
 * (offsets from 256 read as all ones), power management states. Buses and the way to configuration
 * space are pci-bus.c's, bridges bridge.c's.
 */
#include "base/bytes.h"
#include "base/data-file.h"
#include "base/log.h"
#include "devices/pci/pci-priv.h"
#include <string.h>

#define BAR_PRIORITY              (-1)

#define PCI_ROM_ENABLE            1u
#define ROM_MIN_BYTES             4096u
#define ROM_MAX_BYTES             (16u << 20)

/* PCI Express Base Specification 3.0, section 7.8 */
#define EXPRESS_FLAGS             2
#define EXPRESS_DEVICE            4
#define EXPRESS_ROLE_BASED_ERRORS 0x8000
#define EXPRESS_DEVICE_CONTROL    8
#define EXPRESS_DEVICE_STATUS     10
#define EXPRESS_LINK              12
#define EXPRESS_LINK_2_5G_X1      0x11
#define EXPRESS_LINK_CONTROL      16
#define EXPRESS_LINK_STATUS       18
#define EXPRESS_LENGTH            60

static const struct state_field msix_entry_fields[] = {
    STATE(struct pci_msix_entry, addr),
    STATE(struct pci_msix_entry, data),
    STATE_MAX(struct pci_msix_entry, control, 1),
    {0},
};

const struct state_field pci_state_fields[] = {
    STATE(struct pci_state, msix_pending),
    STATE_STRUCT_ARRAY(struct pci_state, msix, msix_entry_fields),
    STATE_ARRAY(struct pci_state, config),
    STATE(struct pci_state, msi_pending),
    STATE(struct pci_state, intx),
    STATE_PAD(struct pci_state, pad),
    {0},
};

/* ---- bytes of configuration space */

uint16_t pci_get16(const struct pci_device *dev, unsigned offset)
{
    return (uint16_t)(dev->s->config[offset] | dev->s->config[offset + 1] << 8);
}

uint32_t pci_get32(const struct pci_device *dev, unsigned offset)
{
    return pci_get16(dev, offset) | (uint32_t)pci_get16(dev, offset + 2) << 16;
}

void pci_put16(struct pci_device *dev, unsigned offset, uint16_t value)
{
    bytes_put_le(dev->s->config + offset, value, 2);
}

void pci_put32(struct pci_device *dev, unsigned offset, uint32_t value)
{
    bytes_put_le(dev->s->config + offset, value, 4);
}

/* ---- INTx */

static void intx_update(struct pci_device *dev)
{
    bool off = pci_get16(dev, PCI_COMMAND) & PCI_COMMAND_INTX_OFF;
    uint8_t pin = dev->s->config[PCI_INTERRUPT_PIN];

    dev->s->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
    dev->s->config[PCI_STATUS] |= dev->s->intx ? PCI_STATUS_INTX : 0;
    if (pin && dev->intx_out != (dev->s->intx && !off)) {
        dev->intx_out = !dev->intx_out;
        pci_bus_set_pin(dev->bus, dev->devfn >> 3, (pin - 1u) & 3, dev->intx_out);
    }
}

void pci_set_intx(struct pci_device *dev, bool level)
{
    if (dev->s->intx != level) {
        dev->s->intx = level;
        intx_update(dev);
    }
}

/* ---- BARs */

static unsigned bar_offset(unsigned number)
{
    return PCI_BAR0 + 4 * number;
}

bool pci_bar_address(const struct pci_device *dev, unsigned number, gpa_t *addr)
{
    uint16_t command = pci_get16(dev, PCI_COMMAND);
    uint64_t size = dev->bar[number].region->size, value = pci_get32(dev, bar_offset(number));
    uint64_t limit = UINT32_MAX;

    if (dev->bar[number].type & PCI_BAR_IO) {
        *addr = value & ~3ull;
        return (command & PCI_COMMAND_IO) && *addr && *addr + size - 1 <= 0xffff;
    }
    if (dev->bar[number].type & PCI_BAR_MEM64) {
        value |= (uint64_t)pci_get32(dev, bar_offset(number + 1)) << 32;
        limit = UINT64_MAX;
    }
    *addr = value & ~15ull;
    /* An address whose end is the end of the space is what sizing leaves behind. */
    return (command & PCI_COMMAND_MEMORY) && *addr && *addr + size - 1 >= *addr &&
           *addr + size - 1 < limit;
}

bool pci_rom_address(const struct pci_device *dev, gpa_t *addr)
{
    uint32_t value = pci_get32(dev, PCI_ROM);

    *addr = value & ~(gpa_t)0x7ff;
    return (value & PCI_ROM_ENABLE) && *addr && (pci_get16(dev, PCI_COMMAND) & PCI_COMMAND_MEMORY);
}

static void rom_update(struct pci_device *dev)
{
    struct address_space *mem = dev->dev.env->mem;
    gpa_t addr;
    bool decoded = dev->rom.ram && pci_rom_address(dev, &addr) &&
                   pci_bus_decodes(dev->bus, false, addr, dev->rom.region.size);

    if (dev->rom.mapped && (!decoded || addr != dev->rom.addr)) {
        address_space_unmap(mem, &dev->rom.region);
        dev->rom.mapped = false;
    }
    if (decoded && !dev->rom.mapped) {
        address_space_map(mem, addr, &dev->rom.region, BAR_PRIORITY);
        dev->rom.mapped = true;
        dev->rom.addr = addr;
    }
}

void pci_bars_update(struct pci_device *dev)
{
    struct device_env *env = dev->dev.env;

    address_space_begin(env->mem);
    address_space_begin(env->io);
    rom_update(dev);
    for (unsigned i = 0; i < PCI_BARS; i++) {
        bool io = dev->bar[i].type & PCI_BAR_IO;
        struct address_space *as = io ? env->io : env->mem;
        gpa_t addr;
        bool decoded;

        if (!dev->bar[i].region) {
            continue;
        }
        decoded = pci_bar_address(dev, i, &addr) &&
                  pci_bus_decodes(dev->bus, io, addr, dev->bar[i].region->size);
        if (dev->bar[i].mapped && (!decoded || addr != dev->bar[i].addr)) {
            address_space_unmap(as, dev->bar[i].region);
            dev->bar[i].mapped = false;
        }
        if (decoded && !dev->bar[i].mapped) {
            address_space_map(as, addr, dev->bar[i].region, BAR_PRIORITY);
            dev->bar[i].mapped = true;
            dev->bar[i].addr = addr;
        }
    }
    address_space_commit(env->io);
    address_space_commit(env->mem);
}

void pci_add_bar(struct pci_device *dev, unsigned number, unsigned type, struct region *region)
{
    uint64_t mask = ~(region->size - 1);
    unsigned offset = bar_offset(number);

    g_assert(number < PCI_BARS && (region->size & (region->size - 1)) == 0);
    g_assert(region->size >= (type & PCI_BAR_IO ? 4 : 16));
    dev->bar[number].region = region;
    dev->bar[number].type = (uint8_t)type;
    dev->s->config[offset] = (uint8_t)type;
    if (type & PCI_BAR_MEM64) {
        g_assert(number + 1 < PCI_BARS);
        bytes_put_le(dev->writable + offset, mask, 8);
    } else {
        bytes_put_le(dev->writable + offset, mask, 4);
    }
}

static bool rom_load(struct pci_device *dev, const char *path, GError **error)
{
    g_autofree char *data = NULL;
    uint64_t size = ROM_MIN_BYTES;
    gsize length;

    if (!g_file_get_contents(path, &data, &length, error)) {
        return false;
    }
    if (length == 0 || length > ROM_MAX_BYTES) {
        g_set_error(error, DEVICE_ERROR, 0, "option ROM '%s': %zu bytes, it must have 1 to %u",
                    path, length, ROM_MAX_BYTES);
        return false;
    }
    while (size < length) {
        size *= 2;
    }
    dev->rom.ram = ram_block_new("pci-rom", size, error);
    if (!dev->rom.ram) {
        return false;
    }
    memcpy(dev->rom.ram->host, data, length);
    dev->rom.region =
        (struct region){.name = "pci-rom", .kind = REGION_ROM, .size = size, .ram = dev->rom.ram};
    bytes_put_le(dev->writable + PCI_ROM, ~(size - 1) | PCI_ROM_ENABLE, 4);
    device_add_ram(&dev->dev, dev->rom.ram);
    return true;
}

/* The one that the user wants. */
static bool rom_init(struct pci_device *dev, GError **error)
{
    g_autofree char *path = NULL;

    if (!dev->at.romfile || !*dev->at.romfile || !dev->at.rombar) {
        return true;
    }
    path = data_file_find(dev->dev.env->data_dirs, dev->at.romfile, error);
    if (!path || !rom_load(dev, path, error)) {
        g_prefix_error(error, "%s: property 'romfile': ", dev->dev.class->name);
        return false;
    }
    return true;
}

bool pci_standard_rom(struct pci_device *dev, const char *name, GError **error)
{
    g_autoptr(GError) why = NULL;
    g_autofree char *path = NULL;

    if (dev->at.romfile || !dev->at.rombar) {
        return true;
    }
    path = data_file_find(dev->dev.env->data_dirs, name, &why);
    if (!path) {
        log_warn("%s: no BIOS: %s", dev->dev.class->name, why->message);
        return true;
    }
    return rom_load(dev, path, error);
}

/* ---- capabilities */

uint8_t pci_add_capability(struct pci_device *dev, uint8_t id, uint8_t length)
{
    uint8_t offset = dev->next_cap;

    g_assert(offset + length <= PCI_CONFIG_BYTES);
    dev->s->config[offset] = id;
    dev->s->config[offset + 1] = dev->s->config[PCI_CAPABILITIES];
    dev->s->config[PCI_CAPABILITIES] = offset;
    dev->s->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
    dev->next_cap = (uint8_t)((offset + length + 3) & ~3);
    return offset;
}

uint8_t pci_add_express(struct pci_device *dev, unsigned port)
{
    uint8_t at = pci_add_capability(dev, PCI_CAP_EXPRESS, EXPRESS_LENGTH);

    pci_put16(dev, at + EXPRESS_FLAGS, (uint16_t)(2 | port << 4));
    pci_put32(dev, at + EXPRESS_DEVICE, EXPRESS_ROLE_BASED_ERRORS);
    dev->writable[PCI_LATENCY] = 0; /* of no meaning there: section 7.5.1.1.7 */
    bytes_put_le(dev->writable + at + EXPRESS_DEVICE_CONTROL, 0x78ff, 2);
    dev->clearable[at + EXPRESS_DEVICE_STATUS] = 0x0f;
    pci_put32(dev, at + EXPRESS_LINK, EXPRESS_LINK_2_5G_X1);
    pci_put16(dev, at + EXPRESS_LINK_STATUS, EXPRESS_LINK_2_5G_X1);
    bytes_put_le(dev->writable + at + EXPRESS_LINK_CONTROL, 0x00c3, 2);
    return at;
}

/* ---- access from the host bridge */

void pci_device_write(struct pci_device *dev, unsigned offset, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        unsigned at = offset + i;
        uint8_t byte = (uint8_t)(value >> (8 * i)), *config = &dev->s->config[at];

        *config = (uint8_t)((*config & ~dev->writable[at]) | (byte & dev->writable[at]));
        *config &= (uint8_t) ~(byte & dev->clearable[at]);
    }
    if (offset < PCI_BAR0 + 4 * PCI_BARS || (offset < PCI_ROM + 4 && offset + size > PCI_ROM)) {
        pci_bars_update(dev);
    }
    intx_update(dev);
    pci_messages_update(dev);
    if (dev->config_written) {
        dev->config_written(dev, offset, size);
    }
}

uint32_t pci_device_read(struct pci_device *dev, unsigned offset, unsigned size)
{
    uint32_t value = 0;

    if (dev->config_reading) {
        dev->config_reading(dev, offset, size);
    }
    for (unsigned i = 0; i < size; i++) {
        value |= (uint32_t)dev->s->config[offset + i] << (8 * i);
    }
    return value;
}

/* ---- plugging in */

static void config_init(struct pci_device *dev, const struct pci_ids *ids, unsigned pin)
{
    uint8_t *config = dev->s->config;

    pci_put16(dev, PCI_VENDOR_ID, ids->vendor);
    pci_put16(dev, PCI_DEVICE_ID, ids->device);
    if (ids->subsystem_vendor) {
        pci_put16(dev, PCI_SUBSYSTEM_VENDOR, ids->subsystem_vendor);
        pci_put16(dev, PCI_SUBSYSTEM, ids->subsystem);
    }
    pci_put16(dev, PCI_CLASS, ids->class);
    config[PCI_CLASS_PROG] = ids->prog_if;
    config[PCI_REVISION] = ids->revision;
    config[PCI_INTERRUPT_PIN] = (uint8_t)pin;
    bytes_put_le(dev->writable + PCI_COMMAND,
                 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
                     PCI_COMMAND_SERR | PCI_COMMAND_INTX_OFF,
                 2);
    dev->clearable[PCI_STATUS + 1] = 0xf9;
    dev->writable[PCI_CACHE_LINE] = 0xff;
    dev->writable[PCI_LATENCY] = 0xff;
    dev->writable[PCI_INTERRUPT_LINE] = 0xff;
}

/* The header type's bit for more functions than one, in function 0. */
static void mark_multifunction(struct pci_device *dev)
{
    struct pci_device **slot = &dev->bus->device[dev->devfn & ~7u];
    bool several = slot[0] && slot[0]->at.multifunction;

    for (unsigned i = 1; i < 8; i++) {
        several |= slot[i] != NULL;
    }
    if (slot[0]) {
        slot[0]->s->config[PCI_HEADER_TYPE] &= 0x7f;
        slot[0]->s->config[PCI_HEADER_TYPE] |= several ? 0x80 : 0;
    }
}

bool pci_init(struct pci_device *dev, struct pci_state *state, const char *addr,
              const struct pci_ids *ids, unsigned pin, GError **error)
{
    const char *name = dev->dev.class->name;
    struct pci_bus *bus = pci_bus_for(dev->dev.env, addr ? NULL : dev->at.bus, name, error);
    unsigned devfn;

    if (!bus || !pci_bus_place(bus, addr ? addr : dev->at.addr, name, &devfn, error)) {
        return false;
    }
    dev->bus = bus;
    dev->s = state;
    dev->devfn = (uint8_t)devfn;
    dev->next_cap = 0x40;
    dev->dev.parent = bus->bridge ? &bus->bridge->dev : NULL;
    bus->device[devfn] = dev;
    config_init(dev, ids, pin);
    mark_multifunction(dev);
    return rom_init(dev, error);
}

void pci_finish(struct pci_device *dev)
{
    struct device_env *env = dev->dev.env;

    if (!dev->bus) {
        return;
    }
    pci_set_intx(dev, false);
    for (unsigned i = 0; i < PCI_BARS; i++) {
        if (dev->bar[i].mapped) {
            address_space_unmap(dev->bar[i].type & PCI_BAR_IO ? env->io : env->mem,
                                dev->bar[i].region);
        }
    }
    if (dev->rom.mapped) {
        address_space_unmap(env->mem, &dev->rom.region);
    }
    device_remove_ram(&dev->dev, dev->rom.ram);
    ram_block_free(g_steal_pointer(&dev->rom.ram));
    dev->bus->device[dev->devfn] = NULL;
    mark_multifunction(dev);
    dev->bus = NULL;
}

void pci_reset(struct pci_device *dev)
{
    for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++) {
        dev->s->config[i] &= (uint8_t)~dev->writable[i];
        dev->s->config[i] &= (uint8_t)~dev->clearable[i];
    }
    pci_messages_reset(dev);
    dev->s->intx = false;
    pci_bars_update(dev);
    intx_update(dev);
}

bool pci_post_load(struct pci_device *dev, GError **error)
{
    pci_bars_update(dev);
    intx_update(dev);
    pci_lines_update(dev);
    return true;
}

/* ---- DMA */

static bool is_master(const struct pci_device *dev)
{
    return pci_get16(dev, PCI_COMMAND) & PCI_COMMAND_MASTER;
}

bool pci_dma_read(struct pci_device *dev, gpa_t addr, void *buf, uint64_t length)
{
    if (!is_master(dev)) {
        memset(buf, 0xff, length);
        return false;
    }
    return address_space_read(dev->dev.env->mem, addr, buf, length);
}

bool pci_dma_write(struct pci_device *dev, gpa_t addr, const void *buf, uint64_t length)
{
    return is_master(dev) && address_space_write(dev->dev.env->mem, addr, buf, length);
}
