/*
 * External snapshots: a new image takes a node's place and stands on it, so that the node is not
 * written any more. Several at once, or none: transactions.
 * Main thread with the machine lock.
 */
#ifndef BLOCK_SNAPSHOT_H
#define BLOCK_SNAPSHOT_H

#include "block/block.h"

/* All actions, or none and *error. properties may be NULL. */
bool block_transaction(struct block_graph *graph, const struct transaction_action_list *actions,
                       const struct transaction_properties *properties, GError **error);

/* One of them. */
bool block_snapshot(struct block_graph *graph, const struct blockdev_snapshot *arg, GError **error);
bool block_snapshot_sync(struct block_graph *graph, const struct blockdev_snapshot_sync *arg,
                         GError **error);

#endif
