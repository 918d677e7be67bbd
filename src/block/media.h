/*
 * Drives with a medium that comes and goes. Main thread with the machine lock. device: the id of a
 * -drive, id: a device's; exactly one of them is not NULL. false and *error: no such drive, it is
 * not removable, its tray is locked or not open.
 */
#ifndef BLOCK_MEDIA_H
#define BLOCK_MEDIA_H

#include "block/block.h"

struct block_medium {
    const char *filename, *format; /* format NULL: guessed */
    bool force;
    enum blockdev_change_read_only_mode mode;
};

bool block_open_tray(struct block_graph *graph, const char *device, const char *id, bool force,
                     GError **error);
bool block_close_tray(struct block_graph *graph, const char *device, const char *id,
                      GError **error);
bool block_eject(struct block_graph *graph, const char *device, const char *id, bool force,
                 GError **error);
bool block_remove_medium(struct block_graph *graph, const char *id, GError **error);
bool block_insert_medium(struct block_graph *graph, const char *id, const char *node_name,
                         GError **error);
bool block_change_medium(struct block_graph *graph, const char *device, const char *id,
                         const struct block_medium *medium, GError **error);

#endif
