/* What the command line adds to a machine and to its monitors. Main thread. */
#ifndef CLI_ASSEMBLE_H
#define CLI_ASSEMBLE_H

#include "cli/options.h"
#include "monitor/monitor.h"

/* What is made beside the machine and must outlive it. */
struct assembly {
    const struct options *options;
    GPtrArray *consoles; /* struct console */
};

void assembly_init(struct assembly *a, const struct options *options);
void assembly_finish(struct assembly *a); /* after the machine is gone */

/* The machine's populate hook (opaque: struct assembly): chardevs, serial ports, -debugcon,
 * -device, human monitors. Errors begin with the option they are about. */
/* Objects and block nodes: what devices stand on. */
bool assemble_block(struct machine *m, void *assembly, GError **error);
bool assemble_devices(struct machine *m, void *assembly, GError **error);

/* -netdev, before the devices, and -nic, after them. */
bool assemble_netdevs(struct machine *m, const struct options *options, GError **error);
bool assemble_nics(struct machine *m, const struct options *options, GError **error);

/* Every -qmp and -mon; sockets listen when it returns. Before the machine is made. */
bool assemble_monitors(struct monitor *mon, const struct options *options, GError **error);

/* -gdb; machine lock held. */
bool assemble_debugger(struct machine *m, const struct options *options, GError **error);

/* -no-reboot, -no-shutdown, -action. */
void assemble_actions(struct machine *m, const struct options *options);

#endif
