/*
 * The guest's RAM as a table for the host's kernel, which reads and writes buffers there by itself
 * (vhost.h): where each piece is for the guest, and where for this process.
 *
 * Only what the guest has as memory is in it, in whole pages: no ROM, no registers, and no memory
 * of devices, which has readers that must be told of what is written.
 */
#ifndef DEVICES_VIRTIO_VHOST_MEMORY_H
#define DEVICES_VIRTIO_VHOST_MEMORY_H

#include "devices/core/device.h"

struct vhost_range {
    gpa_t start;    /* of a page */
    uint64_t bytes; /* whole pages */
    struct ram_block *ram;
    uint64_t offset; /* of start within it */
};

struct vhost_table {
    unsigned n;
    struct vhost_range range[]; /* by ascending address; never touching ones that belong together */
};

/* Of what the guest's memory is now; free with g_free(). The blocks are not kept alive. */
struct vhost_table *vhost_table_new(const struct device_env *env, const struct flat_view *view);
bool vhost_table_equal(const struct vhost_table *a, const struct vhost_table *b);
/* Where this process has bytes that lie in one range; NULL: the table does not have them. */
void *vhost_table_host(const struct vhost_table *table, gpa_t addr, uint64_t bytes);
/* The end of the last range, 0 when there is none. */
gpa_t vhost_table_end(const struct vhost_table *table);

/*
 * A log of what the kernel has written: a bit for each page of the guest's addresses.
 */
struct vhost_log {
    uint64_t pages; /* a multiple of 64 */
    _Atomic uint64_t *bits;
};

/* For all of a table; NULL: there is no memory for it. */
struct vhost_log *vhost_log_new(const struct vhost_table *table);
void vhost_log_free(struct vhost_log *log); /* NULL is fine */
/* Has address_space_block_written() called for what the log says of a block, or of all (NULL);
 * `take` clears that in the log. Any thread that keeps table and log. */
void vhost_log_tell(struct vhost_log *log, const struct vhost_table *table,
                    struct address_space *as, const struct ram_block *ram, bool take);

#endif
