/* Where a QMP server listens: PATH, unix:PATH or tcp:HOST:PORT, and connecting to it. */
#ifndef GODWITCTL_ADDRESS_H
#define GODWITCTL_ADDRESS_H

#include <glib.h>
#include <stdint.h>

/* A connected, non-blocking socket, or -1 with an error of domain CLIENT_ERROR. */
int address_connect(const char *address, int64_t deadline_us, GError **error);

#endif
