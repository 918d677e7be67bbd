/* The programmable attribute map: what a host bridge shows between 768 KiB and 1 MiB. See pam.c. */
#ifndef DEVICES_PCI_PAM_H
#define DEVICES_PCI_PAM_H

#include "devices/core/device.h"

#define PAM_SEGMENTS  13
#define PAM_REGISTERS 7

/* What lies there: RAM of the machine (its block's offset is the address) and the ROM that shows
 * where RAM is not read (at base; NULL region: none). The board's; they outlive the bridge. */
struct pam_wiring {
    struct ram_block *ram; /* NULL: there is no RAM there, the registers change nothing */
    const struct region *rom;
    gpa_t rom_base;
    bool open; /* after a cold or warm reset it is all RAM, as firmware leaves it */
};

struct pam_segment {
    struct pam *pam;
    gpa_t base;
    struct region ram, read_only, write_only;
    struct region *mapped; /* NULL: what is below shows */
};

struct pam {
    struct device_env *env;
    struct pam_wiring wiring;
    struct pam_segment segment[PAM_SEGMENTS];
};

void pam_init(struct pam *pam, struct device_env *env, const struct pam_wiring *wiring);
void pam_finish(struct pam *pam); /* one that was never initialised is fine */

/* Brings the map in line with the seven registers. Machine lock held. */
void pam_update(struct pam *pam, const uint8_t registers[PAM_REGISTERS]);

/* The registers after a reset. */
void pam_reset(const struct pam *pam, uint8_t registers[PAM_REGISTERS]);

#endif
