/*
 * Snapshots of the whole machine: its state and memory in one disk's image, and a snapshot of the
 * same name in the images of all disks.
 *
 * Main thread, machine lock held.
 */
#ifndef MIGRATION_SNAPSHOT_H
#define MIGRATION_SNAPSHOT_H

#include "machine/machine.h"
#include "migration/snapshot-image.h"

struct snapshot_where {
    const char *vmstate;            /* a node's name; NULL: the first that can keep it */
    const struct str_list *devices; /* names of nodes; NULL: all disks */
};

/* tag NULL: named after the time. overwrite: what had the name is deleted, else that is an error. A
 * machine that runs stands still meanwhile (STOP, save-vm, RESUME). On failure nothing is kept. */
bool snapshot_save(struct machine *m, const char *tag, bool overwrite,
                   const struct snapshot_where *where, GError **error);

/* A machine that runs is stopped (STOP, restore-vm) and goes on in the snapshot (RESUME). On
 * failure it goes on as it was, if nothing of it has been replaced yet; else it stays stopped, and
 * can't be started before a reset. Disks are as before on any failure but one of writing their
 * headers. */
bool snapshot_load(struct machine *m, const char *tag, const struct snapshot_where *where,
                   GError **error);

/* From all disks that have it; that none has it is no error. */
bool snapshot_delete(struct machine *m, const char *tag, const struct str_list *devices,
                     GError **error);

#endif
