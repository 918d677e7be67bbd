/* What a record of the black box holds: the vCPUs and the guest's kernel, as they are now. */
#ifndef MACHINE_CAPTURE_H
#define MACHINE_CAPTURE_H

#include "machine/symbols.h"
#include "qapi-types.h"

struct machine;
struct vcpu;

/* A record with its members vcpus and kernel; the rest is the caller's to fill in. vCPUs are
 * parked, main thread, lock held. symbols: NULL for none. */
struct godwit_black_box *capture_new(struct machine *m, const struct symbols *symbols);

#endif
