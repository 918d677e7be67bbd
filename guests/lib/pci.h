/* Configuration space of bus 0 by its two ports. An address is device << 11 | function << 8 |
 * register. */
#ifndef GUESTS_PCI_H
#define GUESTS_PCI_H

#include "lib/guest.h"

static inline uint32_t pci_read(uint32_t address)
{
    outl(0xcf8, 0x80000000u | address);
    return inl(0xcfc);
}

static inline void pci_write8(uint32_t address, uint8_t value)
{
    outl(0xcf8, 0x80000000u | (address & ~3u));
    outb((uint16_t)(0xcfc + (address & 3)), value);
}

static inline void pci_write16(uint32_t address, uint16_t value)
{
    outl(0xcf8, 0x80000000u | (address & ~3u));
    outw((uint16_t)(0xcfc + (address & 2)), value);
}

static inline void pci_write32(uint32_t address, uint32_t value)
{
    outl(0xcf8, 0x80000000u | address);
    outl(0xcfc, value);
}

#endif
