/*
 * PCI-to-PCI bridges: configuration header type 1 (PCI-to-PCI Bridge Architecture
 * Specification 1.2, section 3.2): bus numbers, windows for I/O (16 bits), memory and prefetchable
 * memory (64 bits), bridge control with the secondary bus reset, which resets what is behind at
 * once.
 *
 * After a reset all windows are shut. Left out: VGA and ISA enable keep what is written but change
 * nothing; discard timers; the secondary status register's errors never come.
 */
#include "devices/pci/bridge.h"

#include <string.h>

#define WINDOW_64BIT 0x01
#define SHUT         0xf0 /* a base above its limit of 0 */

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

bool pci_bridge_init(struct pci_bridge *b, struct pci_state *state, const struct pci_ids *ids,
                     unsigned pin, GError **error)
{
    struct pci_device *dev = &b->pci;

    if (dev->dev.id && pci_bus_find(dev->dev.env, dev->dev.id)) {
        g_set_error(error, DEVICE_ERROR, 0, "%s: there is a bus '%s' already", dev->dev.class->name,
                    dev->dev.id);
        return false;
    }
    if (!pci_init(dev, state, NULL, ids, pin, error)) {
        return false;
    }
    state->config[PCI_HEADER_TYPE] |= 1;
    memset(dev->writable + PCI_PRIMARY_BUS, 0xff, 3);
    dev->writable[PCI_IO_BASE] = 0xf0;
    dev->writable[PCI_IO_LIMIT] = 0xf0;
    dev->clearable[PCI_SECONDARY_STATUS + 1] = 0xf9;
    put16(dev->writable + PCI_MEMORY_BASE, 0xfff0);
    put16(dev->writable + PCI_MEMORY_LIMIT, 0xfff0);
    put16(dev->writable + PCI_PREFETCH_BASE, 0xfff0);
    put16(dev->writable + PCI_PREFETCH_LIMIT, 0xfff0);
    memset(dev->writable + PCI_PREFETCH_BASE_HIGH, 0xff, 8);
    state->config[PCI_PREFETCH_BASE] = WINDOW_64BIT;
    state->config[PCI_PREFETCH_LIMIT] = WINDOW_64BIT;
    put16(dev->writable + PCI_BRIDGE_CONTROL, 0x007f);
    dev->config_written = pci_bridge_written;
    b->behind = pci_bus_new(dev->dev.env, dev->dev.id, dev);
    return true;
}

void pci_bridge_finish(struct pci_bridge *b)
{
    pci_bus_free(g_steal_pointer(&b->behind));
    pci_finish(&b->pci);
}

/* With what is behind it. */
static void reset_device(struct pci_device *dev, void *opaque)
{
    struct pci_bus *behind = pci_bus_behind(dev);

    device_reset_alone(&dev->dev);
    if (behind) {
        pci_bus_foreach(behind, reset_device, NULL);
    }
}

static bool wants_reset(const struct pci_bridge *b)
{
    return pci_get16(&b->pci, PCI_BRIDGE_CONTROL) & PCI_BRIDGE_CONTROL_RESET;
}

void pci_bridge_written(struct pci_device *dev, unsigned offset, unsigned size)
{
    struct pci_bridge *b = (struct pci_bridge *)dev;

    if (offset < PCI_CAPABILITIES) {
        pci_bus_update(b->behind);
    }
    if (wants_reset(b) && !b->resetting) {
        pci_bus_foreach(b->behind, reset_device, NULL);
    }
    b->resetting = wants_reset(b);
}

void pci_bridge_reset(struct pci_bridge *b)
{
    uint8_t *config = b->pci.s->config;

    pci_reset(&b->pci);
    b->resetting = false;
    config[PCI_IO_BASE] = SHUT;
    config[PCI_MEMORY_BASE] = config[PCI_MEMORY_BASE + 1] = 0xff;
    config[PCI_MEMORY_BASE] = SHUT;
    config[PCI_PREFETCH_BASE + 1] = 0xff;
    config[PCI_PREFETCH_BASE] = SHUT | WINDOW_64BIT;
    pci_bus_update(b->behind);
}

bool pci_bridge_post_load(struct pci_bridge *b, GError **error)
{
    if (!pci_post_load(&b->pci, error)) {
        return false;
    }
    b->resetting = wants_reset(b);
    pci_bus_update(b->behind);
    return true;
}
