/*
 * Internal snapshots: an image keeps an earlier state of the guest's disk, and beside it the state
 * of the machine that belongs to it.
 *
 * Main thread with the machine lock; no request is under way (block_drain_begin()).
 */
#ifndef BLOCK_VM_SNAPSHOT_H
#define BLOCK_VM_SNAPSHOT_H

#include "block/block.h"

struct vm_snapshot {
    char *id, *name;
    uint64_t state_bytes; /* of the machine's state; 0: none here */
    uint64_t disk_bytes;
    int64_t date_s;
    uint32_t date_ns;
    uint64_t clock_ns; /* the guest's time */
    bool has_icount;
    uint64_t icount; /* instructions executed, where they are counted */
};
void vm_snapshot_free(struct vm_snapshot *snapshot);

/* The nodes of those names, or all that nothing else in the graph stands on, in the order of
 * making, but for those that are only read: struct block_node, borrowed. NULL and *error when a
 * name is no node's. */
GPtrArray *block_snapshot_nodes(struct block_graph *graph, const struct str_list *names,
                                GError **error);

/* Whether nodes keep snapshots; *error names one that does not. */
bool block_nodes_keep_snapshots(const GPtrArray *nodes, GError **error);
bool block_node_keeps_snapshots(struct block_node *node);
/* The id of the -drive whose medium the node is, or "". To be freed. */
char *block_node_drive_id(const struct block_node *node);

/* What the node keeps, in the image's order: struct vm_snapshot, owned. NULL and *error when that
 * cannot be read. */
GPtrArray *block_snapshots(struct block_node *node, GError **error);

/* The node, which is only read, shows the disk as that snapshot kept it until it is closed: the one
 * of that id and name, either NULL for any. */
bool block_node_show_snapshot(struct block_node *node, const char *id, const char *name,
                              GError **error);

/* ---- the machine's state: an area of the image whose bytes are zero where nothing was written */

struct block_area;
/* A new area. Sizes of pieces are multiples of *align. */
struct block_area *block_area_new(struct block_node *node, uint64_t *align);
/* offset is a multiple of align; the last piece may be shorter than that. Offsets ascend. */
bool block_area_write(struct block_area *area, uint64_t offset, const void *data, uint64_t bytes,
                      GError **error);
/* The state that a snapshot has, and zeroes behind it; NULL and *error when its tables make no
 * sense. */
struct block_area *block_area_open(struct block_node *node, const char *name, GError **error);
bool block_area_read(struct block_area *area, uint64_t offset, void *data, uint64_t bytes,
                     GError **error);
/* How many bytes from offset on, at most `bytes`, are of the kind that *zero is set to. */
uint64_t block_area_extent(const struct block_area *area, uint64_t offset, uint64_t bytes,
                           bool *zero);
/* What was written and is no snapshot's is given back. NULL is fine. */
void block_area_free(struct block_area *area);

/* ---- changes; false and *error: the image is as it was */

/* snapshot's id is chosen when NULL. area: of that node, becomes the snapshot's; NULL: none. */
bool block_snapshot_create(struct block_node *node, const struct vm_snapshot *snapshot,
                           struct block_area *area, GError **error);
/* Of several with that name: the newest, or the oldest. */
bool block_snapshot_delete(struct block_node *node, const char *name, bool newest, GError **error);

/* Going back to a snapshot, in two steps so that several images go together. */
struct block_revert;
struct block_revert *block_revert_prepare(struct block_node *node, const char *name,
                                          GError **error);
/* revert is freed. */
bool block_revert_commit(struct block_revert *revert, GError **error);
void block_revert_abort(struct block_revert *revert); /* NULL is fine */

#endif
