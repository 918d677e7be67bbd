/*
 * Making images: blockdev-create, and what godwit-img and snapshots use.
 *
 * The node that an image goes into is held, with the wish to write it, while the image is made, so
 * that nobody else uses it.
 */
#include "block/create.h"

#include "base/fdset.h"
#include "block/block-priv.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define FILL_BYTES (1u << 20)

/* ---- files */

static int fill(int fd, uint64_t size)
{
    g_autofree uint8_t *zeroes = g_malloc0(FILL_BYTES);
    uint64_t at = 0;

    while (at < size) {
        ssize_t n = pwrite(fd, zeroes, MIN(size - at, FILL_BYTES), (off_t)at);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        at += n > 0 ? (uint64_t)n : 0;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int give_size(int fd, uint64_t size, enum prealloc_mode mode)
{
    if (mode == PREALLOC_MODE_FALLOC && size) {
        return -posix_fallocate(fd, 0, (off_t)size);
    }
    if (mode == PREALLOC_MODE_FULL) {
        return fill(fd, size);
    }
    return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

/* Locked as an image in use is: nobody who has the file open may lose it. */
static bool lock_all(int fd, const char *path, GError **error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 200};

    if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "Failed to get \"write\" lock: is another process using the image [%s]?", path);
        return false;
    }
    return true;
}

bool block_create_file(const char *path, uint64_t size, enum prealloc_mode mode, GError **error)
{
    int fd, ret;

    if (mode == PREALLOC_MODE_METADATA) {
        g_set_error(error, BLOCK_ERROR, 0, "Unsupported preallocation mode 'metadata'");
        return false;
    }
    fd = fdset_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Could not create '%s': %s", path, g_strerror(errno));
        return false;
    }
    if (!lock_all(fd, path, error)) {
        close(fd);
        return false;
    }
    ret = ftruncate(fd, 0) < 0 ? -errno : give_size(fd, size, mode);
    close(fd);
    if (ret < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Could not resize file '%s': %s", path,
                    g_strerror(-ret));
    }
    return ret == 0;
}

/* ---- what is made in a node */

struct creation {
    struct block_graph *graph;
    struct blockdev_create_options *options;
    struct block_backend *holder; /* of the node that the image goes into; NULL: none */
};

static void creation_free(struct creation *c)
{
    block_backend_free(c->holder);
    blockdev_create_options_free(c->options);
    g_free(c);
}

static bool hold_node(struct creation *c, const struct blockdev_ref *ref, GError **error)
{
    struct block_node *node = NULL;

    if (ref->type == Q_TYPE_QSTRING) {
        node = block_node_find(c->graph, ref->u.reference);
        if (!node) {
            g_set_error(error, BLOCK_ERROR, 0, "Cannot find device='%s' nor node-name='%s'",
                        ref->u.reference, ref->u.reference);
        }
    } else {
        node = block_node_open(c->graph, ref->u.definition, NULL, error);
    }
    if (!node) {
        return false;
    }
    c->holder = block_backend_new(c->graph, "");
    if (!block_backend_hold(c->holder, node, true, error)) {
        block_node_unref(node);
        return false;
    }
    return true;
}

static struct creation *creation_new(struct block_graph *graph,
                                     const struct blockdev_create_options *options, GError **error)
{
    struct creation *c = g_new0(struct creation, 1);

    c->graph = graph;
    c->options = blockdev_create_options_clone(options);
    if (options->driver != BLOCKDEV_DRIVER_FILE && options->driver != BLOCKDEV_DRIVER_QCOW2) {
        g_set_error(error, BLOCK_ERROR, 0, "Driver does not support blockdev-create");
    } else if (options->driver == BLOCKDEV_DRIVER_FILE ||
               hold_node(c, options->u.qcow2.file, error)) {
        return c;
    }
    creation_free(c);
    return NULL;
}

/* Any thread but the I/O thread. */
static bool creation_run(struct creation *c, GError **error)
{
    const struct blockdev_create_options_file *file = &c->options->u.file;

    if (c->options->driver == BLOCKDEV_DRIVER_QCOW2) {
        return qcow2_create(block_backend_node(c->holder), &c->options->u.qcow2, error);
    }
    return block_create_file(file->filename, file->size,
                             file->has_preallocation ? file->preallocation : PREALLOC_MODE_OFF,
                             error);
}

static bool create_run(struct job *job, void *opaque, GError **error)
{
    bool ok;

    job_set_progress(job, 0, 1);
    ok = creation_run(opaque, error);
    job_set_progress(job, 1, 1);
    return ok;
}

static void create_clean(struct job *job, void *opaque)
{
    creation_free(opaque);
}

bool block_create_job(struct block_graph *graph, struct jobs *jobs, const char *id,
                      const struct blockdev_create_options *options, GError **error)
{
    static const struct job_driver driver = {
        .type = JOB_TYPE_CREATE, .run = create_run, .clean = create_clean};
    struct creation *c = creation_new(graph, options, error);
    struct job *job = c ? job_new(jobs, &driver, id, JOB_MANUAL_DISMISS, c, error) : NULL;

    if (!job) {
        if (c) {
            creation_free(c);
        }
        return false;
    }
    job_start(job);
    return true;
}

bool block_create(struct block_graph *graph, const struct blockdev_create_options *options,
                  GError **error)
{
    struct creation *c = creation_new(graph, options, error);
    bool ok = c && creation_run(c, error);

    if (c) {
        creation_free(c);
    }
    return ok;
}

int block_file_clear(struct block_node *file)
{
    return file->driver->clear ? file->driver->clear(file) : 0;
}
