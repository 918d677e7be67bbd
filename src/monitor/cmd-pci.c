/*
 * Commands of the schema module pci: what is on the PCI buses.
 */
#include "monitor/monitor-priv.h"

#include "devices/pci/pci.h"
#include "qapi-commands.h"

#define UNMAPPED (~(gpa_t)0) /* the address of a BAR that has none */

/* Class and subclass in words (PCI Code and ID Assignment Specification). NULL: not in the list. */
static const char *class_text(uint16_t class)
{
    static const struct {
        uint16_t class;
        const char *text;
    } names[] = {
        {0x0100, "SCSI controller"},
        {0x0101, "IDE controller"},
        {0x0106, "SATA controller"},
        {0x0200, "Ethernet controller"},
        {0x0300, "VGA controller"},
        {0x0380, "Display controller"},
        {0x0600, "Host bridge"},
        {0x0601, "ISA bridge"},
        {0x0604, "PCI bridge"},
        {0x0680, "Bridge"},
        {0x0780, "Communication controller"},
        {0x0c05, "SMBus"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (names[i].class == class) {
            return names[i].text;
        }
    }
    return NULL;
}

static void add_region(struct pci_device_info *info, unsigned bar, bool io, unsigned type,
                       gpa_t addr, uint64_t size)
{
    struct pci_memory_region *region = g_new0(struct pci_memory_region, 1);

    region->bar = bar;
    region->type = g_strdup(io ? "io" : "memory");
    region->address = (int64_t)addr;
    region->size = (int64_t)size;
    region->has_prefetch = region->has_mem_type_64 = !io;
    region->prefetch = type & PCI_BAR_PREFETCHABLE;
    region->mem_type_64 = type & PCI_BAR_MEM64;
    pci_memory_region_list_append(info->regions, region);
}

static void add_regions(struct pci_device_info *info, const struct pci_device *dev)
{
    gpa_t addr;

    info->regions = pci_memory_region_list_new();
    for (unsigned i = 0; i < PCI_BARS; i++) {
        if (dev->bar[i].region) {
            add_region(info, i, dev->bar[i].type & PCI_BAR_IO, dev->bar[i].type,
                       pci_bar_address(dev, i, &addr) ? addr : UNMAPPED, dev->bar[i].region->size);
        }
    }
    if (dev->rom.ram) {
        add_region(info, 6, false, 0, pci_rom_address(dev, &addr) ? addr : UNMAPPED,
                   dev->rom.region.size);
    }
}

static struct pci_memory_range *range_new(uint64_t base, uint64_t limit)
{
    struct pci_memory_range *range = g_new0(struct pci_memory_range, 1);

    range->base = (int64_t)base;
    range->limit = (int64_t)limit;
    return range;
}

static struct pci_device_info_list *devices_on(struct pci_bus *bus);

static struct pci_bridge_info *bridge_new(const struct pci_device *dev, struct pci_bus *behind)
{
    struct pci_bridge_info *info = g_new0(struct pci_bridge_info, 1);
    const uint8_t *config = dev->s->config;
    struct pci_window io, memory, prefetch;

    pci_bridge_windows(dev, &io, &memory, &prefetch);
    info->bus = g_new0(struct pci_bus_info, 1);
    info->bus->number = config[PCI_PRIMARY_BUS];
    info->bus->secondary = config[PCI_SECONDARY_BUS];
    info->bus->subordinate = config[PCI_SUBORDINATE_BUS];
    info->bus->io_range = range_new(io.base, io.limit);
    info->bus->memory_range = range_new(memory.base, memory.limit);
    info->bus->prefetchable_range = range_new(prefetch.base, prefetch.limit);
    if (config[PCI_SECONDARY_BUS] != 0) { /* else nobody could reach them */
        info->devices = devices_on(behind);
    }
    return info;
}

static void add_device(struct pci_device *dev, void *opaque)
{
    struct pci_device_info *info = g_new0(struct pci_device_info, 1);
    struct pci_bus *behind = pci_bus_behind(dev);

    info->bus = pci_bus_number(dev->bus);
    info->slot = dev->devfn >> 3;
    info->function = dev->devfn & 7;
    info->class_info = g_new0(struct pci_device_class, 1);
    info->class_info->class = pci_get16(dev, PCI_CLASS);
    info->class_info->desc = g_strdup(class_text(pci_get16(dev, PCI_CLASS)));
    info->id = g_new0(struct pci_device_id, 1);
    info->id->vendor = pci_get16(dev, PCI_VENDOR_ID);
    info->id->device = pci_get16(dev, PCI_DEVICE_ID);
    if (behind) {
        info->pci_bridge = bridge_new(dev, behind);
    } else {
        info->id->has_subsystem = info->id->has_subsystem_vendor = true;
        info->id->subsystem = pci_get16(dev, PCI_SUBSYSTEM);
        info->id->subsystem_vendor = pci_get16(dev, PCI_SUBSYSTEM_VENDOR);
    }
    info->irq_pin = dev->s->config[PCI_INTERRUPT_PIN];
    info->has_irq = info->irq_pin != 0;
    info->irq = dev->s->config[PCI_INTERRUPT_LINE];
    info->qdev_id = g_strdup(dev->dev.id);
    add_regions(info, dev);
    pci_device_info_list_append(opaque, info);
}

static struct pci_device_info_list *devices_on(struct pci_bus *bus)
{
    struct pci_device_info_list *list = pci_device_info_list_new();

    pci_bus_foreach(bus, add_device, list);
    return list;
}

struct pci_info_list *qmp_query_pci(struct qmp_call *call, GError **errp)
{
    struct pci_info_list *list = pci_info_list_new();
    struct pci_bus *bus = call->machine->env.pci;

    if (bus) {
        struct pci_info *info = g_new0(struct pci_info, 1);

        info->devices = devices_on(bus);
        pci_info_list_append(list, info);
    }
    return list;
}
