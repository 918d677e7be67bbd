/*
 * Opening a machine to gdb: -gdb and the human monitor's gdbserver.
 */
#ifndef MONITOR_GDBSERVER_H
#define MONITOR_GDBSERVER_H

#include "machine/machine.h"

#define GDBSERVER_DEFAULT "tcp::1234"

/* device: "none" closes; "chardev:ID"; "tcp:HOST:PORT", which listens and does not wait; or another
 * form of chardev_new(). What was open before is closed. Main thread, machine lock held. */
bool gdbserver_open(struct machine *m, const char *device, GError **error);

#endif
