/*
 * What the human monitor's "info qtree" and "info mtree" draw: devices by bus, and what answers at
 * which address.
 */
#include "monitor/hmp-priv.h"

#include "devices/pci/pci.h"
#include "monitor/monitor-priv.h"
#include <inttypes.h>
#include <string.h>

/* ---- devices */

#define INDENT 2

struct tree {
    struct hmp *h;
    GPtrArray *all; /* struct device */
};

static void print_device(const struct tree *t, struct device *dev, int at);

/* As QEMU prints it: numbers in hexadecimal, too. */
static void print_property(const struct tree *t, const char *path, const char *name, int at)
{
    struct json_object *args = json_object_new_object(), *value;
    g_autofree char *text = NULL;

    json_object_object_add(args, "path", json_object_new_string(path));
    json_object_object_add(args, "property", json_object_new_string(name));
    text = hmp_qmp(t->h, "qom-get", args);
    json_object_put(args);
    value = text ? json_tokener_parse(text) : NULL;
    if (value && json_object_is_type(value, json_type_int)) {
        hmp_print(t->h, "%*s%s = %s (0x%" PRIx64 ")\n", at, "", name, text,
                  json_object_get_uint64(value));
    } else if (text) {
        hmp_print(t->h, "%*s%s = %s\n", at, "", name, text);
    }
    json_object_put(value);
}

static void print_properties(const struct tree *t, struct device *dev, int at)
{
    g_autofree char *path = dev->env->device_path ? dev->env->device_path(dev->env, dev) : NULL;

    for (const struct property *p = dev->class->props; path && p && p->type != PROP_END; p++) {
        print_property(t, path, p->name, at);
    }
}

static void print_pci(const struct tree *t, const struct pci_device *pci, int at)
{
    hmp_print(t->h, "%*sclass Class %04x, addr %02x:%02x.%x, pci id %04x:%04x (sub %04x:%04x)\n",
              at, "", pci_get16(pci, PCI_CLASS), pci_bus_number(pci->bus), pci->devfn >> 3,
              pci->devfn & 7, pci_get16(pci, PCI_VENDOR_ID), pci_get16(pci, PCI_DEVICE_ID),
              pci_get16(pci, PCI_SUBSYSTEM_VENDOR), pci_get16(pci, PCI_SUBSYSTEM));
    for (unsigned i = 0; i < PCI_BARS; i++) {
        const struct region *region = pci->bar[i].region;

        if (region) {
            hmp_print(t->h, "%*sbar %u: %s at 0x%" PRIx64 " [0x%" PRIx64 "]\n", at, "", i,
                      pci->bar[i].type & PCI_BAR_IO ? "i/o" : "mem",
                      pci->bar[i].mapped ? pci->bar[i].addr : UINT64_MAX, region->size - 1);
        }
    }
}

static void print_pci_bus(const struct tree *t, const struct pci_bus *bus, int at)
{
    hmp_print(t->h, "%*sbus: %s\n%*stype %s\n", at, "", bus->name, at + INDENT, "",
              bus->express ? "PCIE" : "PCI");
    for (unsigned devfn = 0; devfn < G_N_ELEMENTS(bus->device); devfn++) {
        if (bus->device[devfn]) {
            print_device(t, &bus->device[devfn]->dev, at + INDENT);
        }
    }
}

/* Functions of the chipset are the board's own, and on a PCI bus all the same. */
static bool on_pci(const struct device *dev)
{
    for (const struct pci_bus *bus = dev->env->pci; bus; bus = bus->next) {
        for (unsigned devfn = 0; devfn < G_N_ELEMENTS(bus->device); devfn++) {
            if (bus->device[devfn] && &bus->device[devfn]->dev == dev) {
                return true;
            }
        }
    }
    return false;
}

/* A device, what it is, and what is behind it. */
static void print_device(const struct tree *t, struct device *dev, int at)
{
    const struct pci_bus *bus = t->h->m->env.pci;

    hmp_print(t->h, "%*sdev: %s, id \"%s\"\n", at, "", dev->class->name, dev->id ? dev->id : "");
    print_properties(t, dev, at + INDENT);
    if (on_pci(dev)) {
        print_pci(t, (const struct pci_device *)dev, at + INDENT);
    }
    for (; bus; bus = bus->next) {
        if (bus->bridge && &bus->bridge->dev == dev) {
            print_pci_bus(t, bus, at + INDENT);
        }
    }
    for (guint i = 0; i < t->all->len; i++) {
        struct device *child = t->all->pdata[i];

        if (child->parent == dev && !on_pci(child)) {
            print_device(t, child, at + INDENT);
        }
    }
}

static void collect(struct device *dev, void *all)
{
    g_ptr_array_add(all, dev);
}

/* Those of a bus that are behind no other device. */
static void print_bus(const struct tree *t, enum bus_kind kind, int at)
{
    for (guint i = 0; i < t->all->len; i++) {
        struct device *dev = t->all->pdata[i];

        if (dev->class->bus == kind && !dev->parent && !on_pci(dev)) {
            print_device(t, dev, at);
        }
    }
}

static void info_qtree(struct hmp *h, struct json_object *args)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    const struct tree t = {h, all};

    devices_foreach(&h->m->env, collect, all);
    hmp_print(h, "bus: main-system-bus\n  type System\n");
    print_bus(&t, BUS_SYSTEM, INDENT);
    print_bus(&t, BUS_NONE, INDENT);
    print_bus(&t, BUS_VIRTIO, INDENT);
    for (const struct pci_bus *bus = h->m->env.pci; bus; bus = bus->next) {
        if (!bus->bridge) {
            print_pci_bus(&t, bus, INDENT);
        }
    }
    hmp_print(h, "  bus: isa.0\n    type ISA\n");
    print_bus(&t, BUS_ISA, 2 * INDENT);
    print_bus(&t, BUS_IDE, 2 * INDENT);
}

/* ---- addresses */

static const char *kind_text(const struct region *region)
{
    return region->kind == REGION_IO ? "i/o" : region->kind == REGION_ROM ? "rom" : "ram";
}

static void print_space(struct hmp *h, struct address_space *as, bool flat)
{
    const struct flat_view *view = atomic_load(&as->view);

    hmp_print(h, flat ? "FlatView\n AS \"%s\"\n" : "address-space: %s\n", as->name);
    for (unsigned i = 0; i < view->n; i++) {
        const struct flat_range *r = &view->range[i];

        hmp_print(h, "  %016" PRIx64 "-%016" PRIx64 " (prio 0, %s): %s", r->start, r->last,
                  kind_text(r->region), r->region->name);
        if (r->offset) {
            hmp_print(h, " @%016" PRIx64, r->offset);
        }
        hmp_print(h, "\n");
    }
    hmp_print(h, "\n");
}

/* Only what guests see: which regions others hide is not told. */
static void info_mtree(struct hmp *h, struct json_object *args)
{
    print_space(h, h->m->mem, hmp_flag(args, "flatview"));
    print_space(h, h->m->io, hmp_flag(args, "flatview"));
}

const struct hmp_command hmp_tree_commands[] = {
    {"info mtree", NULL, "[-f]", "what answers at which address [-f: as QEMU's flat view]",
     "flatview:-f", .run = info_mtree},
    {"info qtree", NULL, "", "devices by bus, with their properties", .run = info_qtree},
    {0}};
