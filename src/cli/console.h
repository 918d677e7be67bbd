/*
 * The human monitor on a character device: a prompt, a line, its answer.
 *
 * On a multiplexed stdio (Ctrl-A c) it takes turns with the device that the terminal belongs to.
 * Main thread, machine lock held.
 */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include "monitor/monitor.h"

struct console;

/* chr belongs to the machine. shared: it has, or will have, another front end; the console then
 * comes up at console_toggle() only. false and *error when it is in use and not shared. */
struct console *console_new(struct machine *m, struct chardev *chr, bool shared, GError **error);
/* After the machine is gone. NULL is fine. */
void console_free(struct console *console);

/* Ctrl-A c: from the guest's device to the monitor and back. */
void console_toggle(struct console *console);

#endif
