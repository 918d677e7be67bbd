/*
 * Other options for nodes that are there already.
 */
#ifndef BLOCK_REOPEN_H
#define BLOCK_REOPEN_H

#include "block/block.h"

/* blockdev-reopen: what is not given is as blockdev-add has it by default. All nodes change, or
 * none and *error. Main thread with the machine lock. */
bool block_reopen(struct block_graph *graph, const struct blockdev_options_list *options,
                  GError **error);

#endif
