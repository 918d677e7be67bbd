/* Between the files of a machine's life. Machine lock held. */
#ifndef MACHINE_MACHINE_PRIV_H
#define MACHINE_MACHINE_PRIV_H

#include "machine/blackbox.h"
#include "machine/host-memory.h"
#include "machine/machine.h"

struct requests *requests_new(void);
void requests_free(struct requests *r); /* NULL is fine */

/* Has the main thread record what the black box has noted, before any other request. */
void machine_request_record(struct machine *m);

/* Devices, vCPUs, then the board's own; the machine is parked. Logs and returns false on failure.
 */
bool machine_reset(struct machine *m, enum reset_kind kind);

/* Whether the vCPUs' model tells all of them of a machine check of one. */
bool machine_checks_broadcast(const struct machine *m);
struct mce;
/* As machine_inject_mce() with the vCPUs parked already; required: what the event says. */
void machine_check_parked(struct machine *m, struct vcpu *vcpu, const struct mce *mce,
                          bool required, bool broadcast, GString *out);

/* Around an event and the request that it leads to: for machine_settled_state(). Any thread. */
void machine_act_begin(struct machine *m);
void machine_act_end(struct machine *m);

/* A stopped guest runs: RUNNING, RESUME, clock, devices, vCPUs. */
void machine_go_on(struct machine *m);
/* A guest that sleeps is woken, without running: its state is `running` then, and nothing else. */
void machine_wake_stopped(struct machine *m);
/* Tells the board at the edges of sleep. */
void machine_note_asleep(struct machine *m, bool asleep);

void actions_init(struct machine_actions *actions);
/* Whether a reset with this cause ends or stops the machine instead (-no-reboot). */
bool actions_reset_is_shutdown(const struct machine_actions *actions, enum shutdown_cause cause);

#endif
