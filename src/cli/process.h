/* The process around a machine: daemon, pid file, log file. Main thread, before others exist. */
#ifndef CLI_PROCESS_H
#define CLI_PROCESS_H

#include <glib.h>
#include <stdbool.h>

struct daemon {
    int ready_fd; /* -1: there is no parent that waits */
    int null_fd;
};

/* Forks; returns in the child only. The parent stays until the child is ready and exits with status
 * 0, or with 1 when the child ends before. */
void daemon_start(struct daemon *d);
/* Lets the parent go; standard input, output and error become /dev/null, the directory "/".
 * Nothing without daemon_start(). */
void daemon_ready(struct daemon *d);

/* Writes our process id, holding a lock on the file. Locked by another process: an error. */
bool pidfile_write(const char *path, GError **error);

#endif
