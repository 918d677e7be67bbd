/*
 * Making images.
 */
#ifndef BLOCK_CREATE_H
#define BLOCK_CREATE_H

#include "block/block.h"
#include "block/job.h"

/* The job of blockdev-create: makes what options describe (copied). false and *error when it can't
 * begin; what goes wrong later is the job's error. Main thread with the machine lock. */
bool block_create_job(struct block_graph *graph, struct jobs *jobs, const char *id,
                      const struct blockdev_create_options *options, GError **error);

/* The same at once: blocks. Main thread. */
bool block_create(struct block_graph *graph, const struct blockdev_create_options *options,
                  GError **error);

/* Makes an empty regular file, or cuts one that is there; with room for size bytes as the mode
 * says. Any thread. */
bool block_create_file(const char *path, uint64_t size, enum prealloc_mode mode, GError **error);

/* Writes an empty image into a node whose data is lost. Not from the I/O thread. */
bool qcow2_create(struct block_node *file, const struct blockdev_create_options_qcow2 *options,
                  GError **error);

/* Forgets what is in a file: a regular one has no bytes then. 0 or -errno. Not from the I/O thread;
 * nobody else uses the node. */
int block_file_clear(struct block_node *file);

#endif
