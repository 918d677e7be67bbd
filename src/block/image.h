/*
 * Images for programs that work on them without a machine: opened by path, read, written, asked.
 * Main thread; all functions block.
 */
#ifndef BLOCK_IMAGE_H
#define BLOCK_IMAGE_H

#include "block/block.h"

struct block_image;

enum block_image_flags {
    BLOCK_IMAGE_WRITE = 1 << 0,
    BLOCK_IMAGE_SHARE = 1 << 1,      /* whatever others do with it; only to read */
    BLOCK_IMAGE_REPAIR = 1 << 2,     /* also one that says of itself that it is damaged */
    BLOCK_IMAGE_NO_BACKING = 1 << 3, /* its backing files are left closed */
    BLOCK_IMAGE_DIRECT = 1 << 4,     /* past the host's page cache */
    BLOCK_IMAGE_NO_FLUSH = 1 << 5,   /* flushes do nothing */
    BLOCK_IMAGE_OPTIONS = 1 << 6,    /* the path is options of a node: key=value,... */
};

/* format: "raw", "qcow2" or NULL: by what the image begins with, raw if that tells nothing. NULL
 * and *error: no such file, not of that format, in use. */
struct block_image *block_image_open(struct block_graph *graph, const char *path,
                                     const char *format, unsigned flags, GError **error);
/* The same without anybody who uses it: for who makes an edge to it at once. */
struct block_node *block_image_node_open(struct block_graph *graph, const char *path,
                                         const char *format, unsigned flags, GError **error);
void block_image_close(struct block_image *image); /* flushed; NULL is fine */
struct block_node *block_image_node(const struct block_image *image);
/* mode: what becomes of bytes that are added; other than off only to grow. */
bool block_image_resize(struct block_image *image, uint64_t bytes, enum prealloc_mode mode,
                        GError **error);

/* A path, and nothing with a protocol before it. */
bool block_filename_is_path(const char *name);
/* "raw" or "qcow2", by what the file of that name begins with. */
const char *block_guess_format(struct block_graph *graph, const char *name);

/* ---- of a node: from any thread but the I/O thread; 0 or -errno */

enum block_status_kind {
    BLOCK_STATUS_ABSENT, /* the node has nothing there: its backing node, or zeroes */
    BLOCK_STATUS_DATA,
    BLOCK_STATUS_ZERO,
};

struct block_status {
    enum block_status_kind kind;
    uint64_t bytes; /* how far that is so */
    bool has_offset;
    uint64_t offset;         /* where it begins in the file of the node */
    struct block_node *file; /* with an offset: whose */
    bool compressed;
    bool zero; /* it reads as zeroes, though there is data, or room for it */
};

/* What the node has from offset on, for `bytes` (> 0, within its length) at most. */
int block_node_status(struct block_node *node, uint64_t offset, uint64_t bytes,
                      struct block_status *status);
/* The same through its backing nodes: the first that is not absent. *depth: how many nodes below it
 * is; *present: whether any of them has it. */
int block_chain_status(struct block_node *node, uint64_t offset, uint64_t bytes,
                       struct block_status *status, unsigned *depth, bool *present);

/* Writes a cluster (or what there is of one at the disk's end) compressed, unless it would not get
 * smaller. Nobody else writes there at the time. -ENOTSUP: the format has no such clusters. */
int block_node_write_compressed(struct block_node *node, uint64_t offset, const void *data,
                                uint64_t bytes);
/* 0: the format has none. */
uint64_t block_node_cluster_bytes(const struct block_node *node);

/* What the image is, with its backing images if `chain`; owned by the caller. */
struct image_info *block_node_image(struct block_node *node, bool chain);
const char *block_node_filename(const struct block_node *node);
struct block_node *block_node_backing(const struct block_node *node); /* NULL: none */
/* "raw", "qcow2", ... */
const char *block_node_format(const struct block_node *node);

#endif
