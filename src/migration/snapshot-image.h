/*
 * A machine that stands, as one image: its state (vmstate.h) and its memory at places of their own,
 * so that memory can be written and read in large pieces, left out where it is zero, and mapped.
 *
 *   0        header, 4096 bytes: see snapshot-image.c
 *   ...      the state's records
 *   ...      each block of memory, at a multiple of 2 MiB
 *
 * The image lies in a file, or in an area of a disk's image. What is read is hostile: the header
 * has a checksum, and all that it says is compared with the machine and the image's length.
 *
 * Main thread, machine lock held; the machine stands.
 */
#ifndef MIGRATION_SNAPSHOT_IMAGE_H
#define MIGRATION_SNAPSHOT_IMAGE_H

#include "machine/machine.h"

#define SNAPSHOT_ERROR (g_quark_from_static_string("snapshot-error"))

/* Where an image is written to: pieces at multiples of align, in ascending order; what is not
 * written is zero. */
struct snapshot_sink {
    uint64_t align;
    bool (*write)(void *opaque, uint64_t offset, const void *data, uint64_t bytes, GError **error);
    void *opaque;
};
/* *bytes: the image's length. */
bool snapshot_image_write(struct machine *m, const struct snapshot_sink *sink, uint64_t *bytes,
                          GError **error);

struct snapshot_source {
    uint64_t bytes;
    bool (*read)(void *opaque, uint64_t offset, void *data, uint64_t bytes, GError **error);
    /* How many of the bytes at offset, at most `bytes`, are all zero or all not known to be. */
    uint64_t (*extent)(void *opaque, uint64_t offset, uint64_t bytes, bool *zero);
    void *opaque;
};

struct snapshot_image;
/* Reads header and state, and checks that they are of a machine like this one; nothing is put into
 * it. source stays alive as long as the image. */
struct snapshot_image *snapshot_image_open(struct machine *m, const struct snapshot_source *source,
                                           GError **error);
void snapshot_image_free(struct snapshot_image *image); /* NULL is fine */
/* The nth block of memory (vmstate_ram_blocks()) and where it is in the image; false: no more. */
bool snapshot_image_block(const struct snapshot_image *image, unsigned n, struct ram_block **block,
                          uint64_t *offset);
/* Memory into a machine that was reset, then the state. memory: false when it is there already. On
 * failure the machine must be reset. */
bool snapshot_image_load(struct machine *m, struct snapshot_image *image, bool memory,
                         enum run_state *run_state, GError **error);

#endif
