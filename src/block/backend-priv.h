/*
 * What the parts of a back end share: backend.c and backend-request.c.
 */
#ifndef BLOCK_BACKEND_PRIV_H
#define BLOCK_BACKEND_PRIV_H

#include "block/block-priv.h"
#include "block/throttle-priv.h"

enum stat_kind { STAT_READ, STAT_WRITE, STAT_FLUSH, STAT_UNMAP, STAT_KINDS };

struct stats { /* the I/O thread writes, others read: under the graph's mutex */
    uint64_t bytes[STAT_KINDS], ops[STAT_KINDS], failed[STAT_KINDS], invalid[STAT_KINDS];
    uint64_t total_ns[STAT_KINDS];
    int64_t last_ns; /* 0: never */
};

struct block_backend {
    struct block_graph *graph;
    char *name; /* of -drive; "" when it is a device's own */
    char *qdev;
    bool has_drive;           /* a -drive owns it: it outlives its device */
    struct block_child *root; /* NULL: no medium; changed while drained */
    struct block_attach attach;
    bool attached;
    enum blockdev_on_error drive_rerror, drive_werror; /* of -drive */
    bool drive_writethrough, drive_read_only;
    enum blockdev_on_error rerror, werror; /* what holds: never auto */
    enum block_device_io_status io_status; /* main thread */
    _Atomic bool write_cache;
    _Atomic bool read_only;
    struct throttle_member throttle;
    gint refs; /* one for each report on its way */
    /* under graph->mutex */
    struct block_request *held, **held_tail;
    struct stats stats;
};

/* A report of an error on its way holds the back end. */
void block_backend_unref(struct block_backend *b);
/* Whether query-block and BLOCK_IO_ERROR tell if it stopped the machine. */
bool block_backend_tracks_status(const struct block_backend *b);

#endif
