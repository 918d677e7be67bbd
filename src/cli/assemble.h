/* What the command line adds to a machine and to its monitors. Main thread. */
#ifndef CLI_ASSEMBLE_H
#define CLI_ASSEMBLE_H

#include "cli/options.h"
#include "monitor/monitor.h"

/* The machine's populate hook (opaque: struct options): chardevs, serial ports, -debugcon, -device.
 * Errors begin with the option they are about. */
bool assemble_devices(struct machine *m, void *options, GError **error);

/* Every -qmp and -mon; sockets listen when it returns. Before the machine is made. */
bool assemble_monitors(struct monitor *mon, const struct options *options, GError **error);

/* -no-reboot, -no-shutdown, -action. */
void assemble_actions(struct machine *m, const struct options *options);

#endif
