/*
 * The human monitor on a character device: a prompt, a line, its answer.
 *
 * On a mux (mon:stdio, mux=on) it takes turns with the devices that share the line.
 * Main thread, machine lock held.
 */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include "monitor/monitor.h"

struct console;

/* chr belongs to the machine. false and *error when it is in use. */
struct console *console_new(struct machine *m, struct chardev *chr, GError **error);
/* After the machine is gone. NULL is fine. */
void console_free(struct console *console);

#endif
