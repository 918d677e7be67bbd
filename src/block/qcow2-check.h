/*
 * qcow2: whether an image's reference counts agree with what refers to its clusters.
 */
#ifndef BLOCK_QCOW2_CHECK_H
#define BLOCK_QCOW2_CHECK_H

#include "block/block.h"

enum qcow2_repair { QCOW2_REPAIR_NONE, QCOW2_REPAIR_LEAKS, QCOW2_REPAIR_ALL };

struct qcow2_check {
    enum qcow2_repair repair;                       /* in; the node can be written then */
    void (*report)(void *opaque, const char *text); /* in; each thing found; NULL: nobody asks */
    void *opaque;
    /* out; what was repaired counts in the second of each pair only */
    uint64_t corruptions, corruptions_fixed;
    uint64_t leaks, leaks_fixed; /* clusters */
    uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
    uint64_t image_end; /* offset behind the last cluster that is counted */
};

/* Looks at the whole image; not from the I/O thread. Nobody else uses the node. 0, or -errno when
 * it could not be looked at: -ENOTSUP for a node of another format. */
int qcow2_check(struct block_node *node, struct qcow2_check *check);

#endif
