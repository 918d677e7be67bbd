/*
 * Intel's SMBus host controller, as a block of registers that a PCI function embeds, with the
 * memory modules' EEPROMs on its bus: see smbus-host.c. The function maps the ports, lists the
 * state as STATE_STRUCT(..., smbus_state_fields) and is told of interrupts. Machine lock held.
 */
#ifndef DEVICES_PCI_SMBUS_HOST_H
#define DEVICES_PCI_SMBUS_HOST_H

#include "devices/core/device.h"

#define SMBUS_EEPROMS      8 /* at 0x50 to 0x57 */
#define SMBUS_EEPROM_BYTES 256

struct smbus_eeprom_state {
    uint8_t bytes[SMBUS_EEPROM_BYTES];
    uint8_t at;
};

struct smbus_state {
    struct smbus_eeprom_state eeprom[SMBUS_EEPROMS];
    uint8_t block[32];
    uint8_t block_at; /* below 32 */
    uint8_t left;     /* bytes of a block that is sent byte by byte */
    uint8_t status, control, command, address, data[2], aux_control;
    bool in_use;   /* read since it was last cleared */
    bool bytewise; /* a block is under way, a byte at a time */
    uint8_t pad[5];
};
extern const struct state_field smbus_state_fields[];

struct smbus_host {
    struct smbus_state *s;
    bool ich;                                  /* ICH9, else PIIX4: blocks by the buffer alone */
    void (*set_irq)(void *opaque, bool level); /* NULL: no interrupts */
    void *opaque;
    struct region region; /* to be mapped by the owner */
};

#define SMBUS_PORTS_ICH   32
#define SMBUS_PORTS_PIIX4 16

/* ram_bytes: what the EEPROMs tell of. set_irq and opaque are the owner's. */
void smbus_host_init(struct smbus_host *h, struct smbus_state *state, bool ich, uint64_t ram_bytes);
void smbus_host_reset(struct smbus_host *h);  /* the EEPROMs keep their content */
void smbus_host_update(struct smbus_host *h); /* after a load: the interrupt line */

#endif
