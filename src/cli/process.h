/* The process around a machine: daemon, pid file, log file. Main thread, before others exist. */
#ifndef CLI_PROCESS_H
#define CLI_PROCESS_H

#include <glib.h>
#include <stdbool.h>

/* Forks; returns in the child only, with the descriptor for daemon_ready(). The parent stays until
 * the child is ready and exits with status 0, or with 1 when the child ends before. */
int daemon_start(void);
/* Lets the parent go; standard input, output and error become /dev/null, the directory "/".
 * keep_stderr when something else writes there. */
void daemon_ready(int ready_fd);

/* Writes our process id, holding a lock on the file. Locked by another process: an error. */
bool pidfile_write(const char *path, GError **error);

#endif
