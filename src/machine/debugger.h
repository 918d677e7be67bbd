/*
 * The host's debugger on a machine: lets the gdb stub stop and start it, and tells it of stops.
 *
 * Main thread, machine lock held.
 */
#ifndef MACHINE_DEBUGGER_H
#define MACHINE_DEBUGGER_H

#include "machine/machine.h"

struct debugger;

/* A line for the human monitor: its output, owned by the caller. */
typedef char *(*debugger_command_fn)(struct machine *m, struct vcpu *vcpu, const char *line);

/* Opens the machine to gdb on a chardev, in place of an earlier one. owned: it is freed with the
 * debugger. false leaves chr to the caller. */
bool debugger_open(struct machine *m, struct chardev *chr, bool owned, debugger_command_fn command,
                   GError **error);
/* Ends that, and takes all breakpoints back. None open is fine. */
void debugger_close(struct machine *m);
/* The caller carries out a command of gdb's: it cannot close the debugger. */
bool debugger_busy(const struct machine *m);

/* For the machine's life: it has stopped; it is about to end. */
void debugger_stopped(struct machine *m);
void debugger_exited(struct machine *m, int status);

#endif
