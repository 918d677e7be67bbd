/*
 * The TCO watchdog of the ICH9, a block of the LPC bridge: see ich9-tco.c. The bridge embeds it,
 * maps its ports, lists its state as STATE_STRUCT(..., tco_state_fields) and tells whether it may
 * reset the machine. Machine lock held.
 */
#ifndef DEVICES_PCI_ICH9_TCO_H
#define DEVICES_PCI_ICH9_TCO_H

#include "devices/core/device.h"

#define TCO_PORTS 0x20

struct tco_state {
    int64_t deadline_ns; /* -1: does not count */
    uint16_t left;       /* the count when it does not */
    uint16_t reload;     /* TCO_TMR */
    uint16_t sts1, sts2, cnt1, cnt2;
    uint8_t data_in, data_out, message[2], wdcnt, sw_irq;
    bool first_over; /* the first timeout since the reload */
    uint8_t pad[5];
};
extern const struct state_field tco_state_fields[];

struct tco {
    struct tco_state *s;
    struct device_env *env;
    bool (*may_act)(void *opaque); /* on the second timeout: NO_REBOOT is clear */
    void *opaque;
    struct vtimer timer;
    struct region region; /* TCO_PORTS ports, to be mapped by the owner */
};

void tco_init(struct tco *tco, struct tco_state *state, struct device_env *env,
              bool (*may_act)(void *), void *opaque);
void tco_finish(struct tco *tco); /* never initialised is fine */
void tco_reset(struct tco *tco, enum reset_kind kind);
bool tco_post_load(struct tco *tco, GError **error);

#endif
