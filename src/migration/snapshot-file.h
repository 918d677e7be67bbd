/*
 * The fast snapshot: a machine's state and memory in one sparse file, laid out to be mapped. A
 * machine that is restored from it maps its memory copy-on-write, so it starts at once whatever its
 * size, and any number of machines share one file.
 *
 * Disks are not in it: they are flushed, and whoever restores gives the machine what they held
 * then. Main thread, machine lock held.
 */
#ifndef MIGRATION_SNAPSHOT_FILE_H
#define MIGRATION_SNAPSHOT_FILE_H

#include "machine/machine.h"

/* The file appears when it is complete; what had the name is replaced. A machine that runs stands
 * still meanwhile (STOP, save-vm, RESUME). */
bool snapshot_file_save(struct machine *m, const char *path, GError **error);

/* Puts a machine that has not started yet into that state. The file must stay as it is while the
 * machine lives. On failure the machine is of no use. */
bool snapshot_file_restore(struct machine *m, const char *path, GError **error);

#endif
