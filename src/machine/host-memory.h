/* Broken memory of the host: what becomes of the machine. See host-memory.c. Main thread, lock
 * held.
 */
#ifndef MACHINE_HOST_MEMORY_H
#define MACHINE_HOST_MEMORY_H

#include <glib.h>
#include <stdbool.h>

struct machine;
struct host_memory;

struct host_memory *host_memory_new(void);
void host_memory_free(struct host_memory *h); /* NULL is fine */

/* For loop_watch_fd() on host_fault_fd(), with a struct machine. */
bool host_memory_ready(int fd, GIOCondition condition, void *machine);

/* The machine is parked: fresh pages, of zeros, take the place of those that broke. */
void host_memory_reset(struct machine *m);

#endif
