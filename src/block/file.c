/*
 * The drivers file and host_device: a regular file or block device of the host.
 *
 * Reads, writes and flushes go through io_uring; what it can't do (discard, zeroes) and everything
 * where it isn't allowed is done by worker threads that block.
 *
 * Locks: as QEMU's file-posix.c of 2.10 to 8.2 does it, so that each program respects the other's.
 * An open file description lock (shared) on byte 100 + n says that this user uses permission n, on
 * byte 200 + n that it does not share n. Locks are taken first and then looked at, so of two that
 * come at once at most one gets through.
 *
 * cache.direct: the host wants whole blocks then. A request that isn't is carried out on a worker,
 * through an aligned buffer; a write of a part of a block first reads the whole, with no other
 * request under way.
 *
 * After a failed flush the host's page cache may have dropped what it could not write, and a second
 * flush would succeed; so every later flush fails too.
 */
#include "block/block-priv.h"
#include "block/image.h"

#include "base/fdset.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_PERM    100
#define LOCK_SHARED  200
#define LOCK_BITS    4
#define BOUNCE_BYTES (1u << 20)
#define MAX_ALIGN    4096

struct file {
    struct block_node *node;
    int fd;
    int lock_fd; /* whose open file description has the locks: the first one's */
    bool device, locking, threads;
    unsigned held; /* locked bytes: bit n for 100 + n, bit 8 + n for 200 + n */
    unsigned align;
    /* Discards, as workers count them and the main thread tells. */
    _Atomic uint64_t discards, discarded_bytes, discards_failed;
    /* the I/O thread's */
    unsigned in_flight;
    bool exclusive;                            /* one request that tolerates no other */
    struct block_request *queue, **queue_tail; /* behind it */
    int flush_error;
};

struct file_request {
    struct uring_request uring; /* first */
    struct file *file;
    struct block_request *request;
    bool exclusive;
    int result;
};

/* ---- opening */

static bool file_check_kind(struct file *f, const char *path, bool device, GError **error)
{
    struct stat st;

    if (fstat(f->fd, &st) < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Could not stat '%s': %s", path, g_strerror(errno));
        return false;
    }
    if (device ? !S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode) : !S_ISREG(st.st_mode)) {
        g_set_error(error, BLOCK_ERROR, 0, "'%s' driver requires '%s' to be %s",
                    device ? "host_device" : "file", path,
                    device ? "either a character or block device" : "a regular file");
        return false;
    }
    f->device = S_ISBLK(st.st_mode);
    return true;
}

static bool file_measure(struct file *f, GError **error)
{
    uint64_t bytes = 0;
    struct stat st;

    if (f->device ? ioctl(f->fd, BLKGETSIZE64, &bytes) < 0 : fstat(f->fd, &st) < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Could not get the size of '%s': %s", f->node->filename,
                    g_strerror(errno));
        return false;
    }
    if (!f->device) {
        bytes = (uint64_t)st.st_size;
    }
    /* Whole sectors: what lacks in the last one reads as zeroes. */
    atomic_store(&f->node->bytes, (bytes + BLOCK_SECTOR_BYTES - 1) & ~511ull);
    return true;
}

/* The least block that the host reads directly. */
static unsigned probe_align(int fd)
{
    unsigned align = 512;
    void *buf = NULL;

    if (posix_memalign(&buf, MAX_ALIGN, MAX_ALIGN)) {
        return MAX_ALIGN;
    }
    while (align < MAX_ALIGN && pread(fd, (char *)buf + align % MAX_ALIGN, align, 0) < 0) {
        align *= 2;
    }
    free(buf);
    return align;
}

static int open_flags(const struct block_node *node)
{
    return (node->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK |
           (node->direct ? O_DIRECT : 0);
}

static bool file_open_fd(struct file *f, const char *path, GError **error)
{
    struct block_node *node = f->node;

    f->fd = fdset_open(path, open_flags(node), 0);
    if (f->fd < 0 && !node->read_only && node->auto_read_only &&
        (errno == EACCES || errno == EROFS || errno == EPERM)) {
        node->read_only = true;
        f->fd = fdset_open(path, open_flags(node), 0);
    }
    if (f->fd < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Could not open '%s': %s%s", path, g_strerror(errno),
                    errno == EINVAL && node->direct ? " (cache.direct: its file system can't)"
                                                    : "");
        return false;
    }
    return true;
}

static bool file_open_as(struct block_node *node, const struct blockdev_options_file *o,
                         bool device, GError **error)
{
    struct file *f = node->state;

    f->node = node;
    f->fd = f->lock_fd = -1;
    f->queue_tail = &f->queue;
    f->locking = !o->has_locking || o->locking != ON_OFF_AUTO_OFF;
    f->threads = o->has_aio && o->aio == BLOCKDEV_AIO_OPTIONS_THREADS;
    node->filename = g_strdup(o->filename);
    if (o->has_aio && o->aio == BLOCKDEV_AIO_OPTIONS_NATIVE && !node->direct) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "aio=native was specified, but it requires cache.direct=on, which was not "
                    "specified.");
        return false;
    }
    if (!file_open_fd(f, o->filename, error) || !file_check_kind(f, o->filename, device, error) ||
        !file_measure(f, error)) {
        return false;
    }
    f->lock_fd = f->fd;
    f->align = node->direct ? probe_align(f->fd) : 1;
    return true;
}

static bool file_open(struct block_node *node, const struct blockdev_options *o, GError **error)
{
    return file_open_as(node, &o->u.file, false, error);
}

static bool host_device_open(struct block_node *node, const struct blockdev_options *o,
                             GError **error)
{
    return file_open_as(node, &o->u.host_device, true, error);
}

static void file_close(struct block_node *node)
{
    struct file *f = node->state;

    if (f->lock_fd >= 0 && f->lock_fd != f->fd) {
        close(f->lock_fd);
    }
    if (f->fd >= 0) {
        close(f->fd); /* and with it the locks */
    }
}

static bool is_same_file(int one, int other)
{
    struct stat a, b;

    return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* The locks stay where they are, so that nobody gets in between. */
static bool file_reopen(struct block_node *node, GError **error)
{
    struct file *f = node->state;
    int before = f->fd;

    if (!file_open_fd(f, node->filename, error)) {
        f->fd = before;
        return false;
    }
    if (!is_same_file(f->fd, before)) {
        g_set_error(error, BLOCK_ERROR, 0, "'%s' is another file now", node->filename);
        close(f->fd);
        f->fd = before;
        return false;
    }
    if (before != f->lock_fd) {
        close(before);
    }
    f->align = node->direct ? probe_align(f->fd) : 1;
    return true;
}

/* ---- locks */

static int lock_byte(int fd, int command, short type, off_t at)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};

    if (fcntl(fd, command, &lock) < 0) {
        return -errno;
    }
    return command == F_OFD_GETLK && lock.l_type != F_UNLCK ? -EAGAIN : 0;
}

static off_t bit_byte(unsigned bit)
{
    return bit < 8 ? LOCK_PERM + (off_t)bit : LOCK_SHARED + (off_t)bit - 8;
}

static const char *const perm_names[LOCK_BITS] = {"consistent read", "write", "write unchanged",
                                                  "resize"};

/* Lets go of every held byte that is not in keep. */
static void file_unlock(struct file *f, unsigned keep)
{
    for (unsigned bit = 0; bit < 8 + LOCK_BITS; bit++) {
        if ((f->held & ~keep) >> bit & 1) {
            lock_byte(f->lock_fd, F_OFD_SETLK, F_UNLCK, bit_byte(bit));
        }
    }
    f->held &= keep;
}

static bool file_lock(struct file *f, unsigned want, GError **error)
{
    unsigned before = f->held;

    for (unsigned bit = 0; bit < 8 + LOCK_BITS; bit++) {
        if (!((want & ~before) >> bit & 1)) {
            continue;
        }
        int ret = lock_byte(f->lock_fd, F_OFD_SETLK, F_RDLCK, bit_byte(bit));

        if (ret < 0) {
            g_set_error(error, BLOCK_ERROR, 0, "Failed to lock byte %d of '%s': %s",
                        (int)bit_byte(bit), f->node->filename, g_strerror(-ret));
            file_unlock(f, before);
            return false;
        }
        f->held |= 1u << bit;
    }
    for (unsigned bit = 0; bit < 8 + LOCK_BITS; bit++) {
        unsigned other = bit < 8 ? bit + 8 : bit - 8; /* who forbids what we use, and so on */

        if ((want & ~before) >> bit & 1 &&
            lock_byte(f->lock_fd, F_OFD_GETLK, F_WRLCK, bit_byte(other)) < 0) {
            g_set_error(error, BLOCK_ERROR, 0,
                        "Failed to get %s\"%s\" lock: is another process using the image [%s]?",
                        bit < 8 ? "" : "shared ", perm_names[bit & 3], f->node->filename);
            file_unlock(f, before);
            return false;
        }
    }
    return true;
}

static bool file_set_perm(struct block_node *node, unsigned perm, unsigned shared, GError **error)
{
    struct file *f = node->state;
    unsigned want = (perm & BLOCK_PERM_ALL) | (~shared & BLOCK_PERM_ALL) << 8;

    if (!f->locking || f->lock_fd < 0) {
        return true;
    }
    if (!file_lock(f, want, error)) {
        return false;
    }
    file_unlock(f, want);
    return true;
}

/* ---- blocking, on a worker */

static ssize_t move(int fd, bool write, void *buf, size_t bytes, off_t at)
{
    ssize_t n;

    do {
        n = write ? pwrite(fd, buf, bytes, at) : pread(fd, buf, bytes, at);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* All of it; what is behind the end reads as zeroes. */
static int move_all(int fd, bool write, uint8_t *buf, uint64_t bytes, uint64_t at)
{
    while (bytes) {
        ssize_t n = move(fd, write, buf, bytes, (off_t)at);

        if (n < 0) {
            return (int)n;
        }
        if (n == 0) {
            if (write) {
                return -ENOSPC;
            }
            memset(buf, 0, bytes);
            return 0;
        }
        buf += n;
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

struct iov_cursor {
    const struct iovec *iov;
    int n;
    size_t at;
};

static void cursor_copy(struct iov_cursor *c, uint8_t *buf, size_t bytes, bool to_buf)
{
    while (bytes && c->n) {
        size_t n = MIN(bytes, c->iov->iov_len - c->at);
        uint8_t *p = (uint8_t *)c->iov->iov_base + c->at;

        memcpy(to_buf ? buf : p, to_buf ? p : buf, n);
        buf += n;
        bytes -= n;
        c->at += n;
        if (c->at == c->iov->iov_len) {
            c->iov++;
            c->n--;
            c->at = 0;
        }
    }
}

/* A window of whole blocks around [at, end): through the buffer. */
static int bounce_window(struct file *f, struct iov_cursor *c, uint8_t *buf, bool write,
                         uint64_t at, uint64_t end)
{
    uint64_t mask = f->align - 1, start = at & ~mask, stop = (end + mask) & ~mask;
    int ret = 0;

    if (!write) {
        ret = move_all(f->fd, false, buf, stop - start, start);
        if (ret == 0) {
            cursor_copy(c, buf + (at - start), end - at, false);
        }
        return ret;
    }
    if (start != at || stop != end) {
        ret = move_all(f->fd, false, buf, stop - start, start);
    }
    if (ret == 0) {
        cursor_copy(c, buf + (at - start), end - at, true);
        ret = move_all(f->fd, true, buf, stop - start, start);
    }
    return ret;
}

static int file_bounce(struct file *f, const struct block_request *r)
{
    struct iov_cursor c = {.iov = r->iov, .n = r->n_iov};
    uint64_t at = r->offset, end = r->offset + r->bytes;
    void *buf = NULL;
    int ret = 0;

    if (posix_memalign(&buf, MAX_ALIGN, BOUNCE_BYTES + 2 * MAX_ALIGN)) {
        return -ENOMEM;
    }
    while (at < end && ret == 0) {
        uint64_t stop = MIN(end, (at / BOUNCE_BYTES + 1) * BOUNCE_BYTES);

        ret = bounce_window(f, &c, buf, r->op == BLOCK_WRITE, at, stop);
        at = stop;
    }
    free(buf);
    return ret;
}

static int file_pieces(struct file *f, const struct block_request *r)
{
    uint64_t at = r->offset;
    int ret = 0;

    for (int i = 0; i < r->n_iov && ret == 0; i++) {
        ret = move_all(f->fd, r->op == BLOCK_WRITE, r->iov[i].iov_base, r->iov[i].iov_len, at);
        at += r->iov[i].iov_len;
    }
    return ret;
}

static int write_zero_bytes(struct file *f, uint64_t at, uint64_t bytes)
{
    struct iovec iov;
    uint64_t chunk = MIN(bytes, BOUNCE_BYTES);
    uint8_t *zeroes = g_try_malloc0(chunk);
    int ret = zeroes ? 0 : -ENOMEM;

    while (bytes && ret == 0) {
        struct block_request r = {.op = BLOCK_WRITE, .offset = at, .iov = &iov, .n_iov = 1};

        iov = (struct iovec){.iov_base = zeroes, .iov_len = MIN(bytes, chunk)};
        r.bytes = iov.iov_len;
        ret = f->align > 1 ? file_bounce(f, &r) : file_pieces(f, &r);
        at += iov.iov_len;
        bytes -= iov.iov_len;
    }
    g_free(zeroes);
    return ret;
}

static int punch(struct file *f, uint64_t at, uint64_t bytes)
{
    uint64_t range[2] = {at, bytes};
    int ret = f->device ? ioctl(f->fd, BLKDISCARD, range)
                        : fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
                                    (off_t)bytes);

    return ret < 0 ? -errno : 0;
}

/* What discards nothing has done no harm: a hint. */
static int file_discard(struct file *f, const struct block_request *r)
{
    int ret = punch(f, r->offset, r->bytes);

    if (ret == 0) {
        atomic_fetch_add_explicit(&f->discards, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&f->discarded_bytes, r->bytes, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&f->discards_failed, 1, memory_order_relaxed);
    }
    return ret == -EOPNOTSUPP || ret == -ENOTTY || ret == -EINVAL ? 0 : ret;
}

static int file_zero(struct file *f, const struct block_request *r)
{
    uint64_t range[2] = {r->offset, r->bytes};
    int ret = -1;

    if (f->device) {
        ret = ioctl(f->fd, BLKZEROOUT, range);
    } else if (r->flags & BLOCK_MAY_UNMAP && f->node->unmap &&
               r->offset + r->bytes <= block_node_bytes(f->node)) {
        ret = punch(f, r->offset, r->bytes) == 0 ? 0 : -1;
    }
    if (ret < 0 && !f->device) {
        ret = fallocate(f->fd, FALLOC_FL_ZERO_RANGE, (off_t)r->offset, (off_t)r->bytes);
    }
    if (ret == 0) {
        return 0;
    }
    return errno == ENOSPC ? -ENOSPC : write_zero_bytes(f, r->offset, r->bytes);
}

static int file_blocking(struct file *f, const struct block_request *r)
{
    switch (r->op) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return f->align > 1 ? file_bounce(f, r) : file_pieces(f, r);
    case BLOCK_WRITE_ZEROES:
        return file_zero(f, r);
    case BLOCK_DISCARD:
        return file_discard(f, r);
    case BLOCK_FLUSH:
        return fdatasync(f->fd) < 0 ? -errno : 0;
    }
    return -ENOTSUP;
}

/* ---- the I/O thread */

static void file_start(struct file *f, struct block_request *r);

static void note_grown(struct file *f, const struct block_request *r)
{
    uint64_t end = (r->offset + r->bytes + BLOCK_SECTOR_BYTES - 1) & ~511ull;

    if (!f->device && (r->op == BLOCK_WRITE || r->op == BLOCK_WRITE_ZEROES) &&
        end > block_node_bytes(f->node)) {
        atomic_store(&f->node->bytes, end);
    }
}

static void run_queue(struct file *f)
{
    while (f->queue && !f->exclusive) {
        struct block_request *r = f->queue;

        f->queue = r->next;
        if (!f->queue) {
            f->queue_tail = &f->queue;
        }
        file_start(f, r);
        if (f->queue == r) {
            return; /* it has to wait on */
        }
    }
}

static void file_finish(struct file_request *fr, int result)
{
    struct file *f = fr->file;
    struct block_request *r = fr->request;

    f->in_flight--;
    if (fr->exclusive) {
        f->exclusive = false;
    }
    g_free(fr);
    if (r->op == BLOCK_FLUSH && result < 0 && !f->node->direct) {
        f->flush_error = result;
    }
    if (result == 0) {
        note_grown(f, r);
    }
    block_request_done(r, result);
    run_queue(f);
}

static void worker_done(void *arg)
{
    struct file_request *fr = arg;

    file_finish(fr, fr->result);
}

static void worker_run(void *arg)
{
    struct file_request *fr = arg;

    fr->result = file_blocking(fr->file, fr->request);
    loop_post(fr->file->node->graph->io, worker_done, fr);
}

static void uring_done(struct uring_request *u, int result)
{
    struct file_request *fr = (struct file_request *)u;
    const struct block_request *r = fr->request;

    if (r->op != BLOCK_FLUSH && result >= 0 && (uint64_t)result < r->bytes) {
        /* Cut short: at the end of the file, by a signal or a full disk. The worker finds out. */
        block_worker_run(fr->file->node->graph, worker_run, fr);
        return;
    }
    if (result == -EINTR || result == -EAGAIN) {
        block_worker_run(fr->file->node->graph, worker_run, fr);
        return;
    }
    file_finish(fr, result < 0 ? result : 0);
}

static bool is_aligned(const struct file *f, const struct block_request *r)
{
    uint64_t bits = r->offset | r->bytes;

    for (int i = 0; i < r->n_iov && f->align > 1; i++) {
        bits |= (uintptr_t)r->iov[i].iov_base | r->iov[i].iov_len;
    }
    return (bits & (f->align - 1)) == 0;
}

static void to_uring(struct file_request *fr, struct uring *uring)
{
    const struct block_request *r = fr->request;

    fr->uring.done = uring_done;
    if (r->op == BLOCK_FLUSH) {
        uring_fsync(uring, &fr->uring, fr->file->fd);
    } else {
        uring_rw(uring, &fr->uring, fr->file->fd, r->op == BLOCK_WRITE, r->iov, (unsigned)r->n_iov,
                 r->offset);
    }
    if (!fr->file->node->graph->plugged) {
        uring_kick(uring);
    }
}

static void file_start(struct file *f, struct block_request *r)
{
    bool rw = r->op == BLOCK_READ || r->op == BLOCK_WRITE, aligned = !rw || is_aligned(f, r);
    /* A part of a block is read, changed and written: nobody may write the block meanwhile. */
    bool exclusive = !aligned && r->op == BLOCK_WRITE;
    struct uring *uring = f->threads ? NULL : f->node->graph->uring;
    struct file_request *fr;

    if (f->exclusive || (exclusive && f->in_flight)) {
        r->next = f->queue;
        if (!f->queue) {
            f->queue_tail = &r->next;
        }
        f->queue = r;
        return;
    }
    fr = g_new0(struct file_request, 1);
    fr->file = f;
    fr->request = r;
    fr->exclusive = f->exclusive = exclusive;
    f->in_flight++;
    if (uring && aligned && r->n_iov <= IOV_MAX && (rw || r->op == BLOCK_FLUSH)) {
        to_uring(fr, uring);
    } else {
        block_worker_run(f->node->graph, worker_run, fr);
    }
}

static void file_submit(struct block_node *node, struct block_request *r)
{
    struct file *f = node->state;

    if (r->op == BLOCK_FLUSH && (node->no_flush || f->flush_error)) {
        block_request_done(r, node->no_flush ? 0 : f->flush_error);
        return;
    }
    if (f->queue) { /* in order, or one that waits for quiet might wait forever */
        r->next = NULL;
        *f->queue_tail = r;
        f->queue_tail = &r->next;
        return;
    }
    file_start(f, r);
}

/* ---- the rest */

static void file_refresh(struct block_node *node)
{
    g_autoptr(GError) error = NULL;

    if (!file_measure(node->state, &error)) {
        log_error("%s", error->message);
    }
}

static bool file_reload(struct block_node *node, GError **error)
{
    return file_measure(node->state, error);
}

static int file_resize(struct block_node *node, uint64_t bytes, GError **error)
{
    struct file *f = node->state;
    int ret = f->device ? (bytes <= block_node_bytes(node) ? 0 : -EINVAL)
                        : (ftruncate(f->fd, (off_t)bytes) < 0 ? -errno : 0);

    if (ret < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Failed to resize '%s': %s", node->filename,
                    g_strerror(-ret));
    } else {
        file_refresh(node);
    }
    return ret;
}

static int file_clear(struct block_node *node)
{
    const struct file *f = node->state;

    if (!f->device && ftruncate(f->fd, 0) < 0) {
        return -errno;
    }
    file_refresh(node);
    return 0;
}

static int file_status(struct block_node *node, uint64_t offset, uint64_t bytes,
                       struct block_status *status)
{
    const struct file *f = node->state;
    off_t data = f->device ? (off_t)offset : lseek(f->fd, (off_t)offset, SEEK_DATA), end;

    status->has_offset = true;
    status->offset = offset;
    status->file = node;
    if (data < 0 && errno != ENXIO) {
        return 0; /* the host does not tell */
    }
    if (data < 0 || (uint64_t)data > offset) {
        status->kind = BLOCK_STATUS_ZERO;
        status->bytes = data < 0 ? bytes : MIN(bytes, (uint64_t)data - offset);
        return 0;
    }
    end = f->device ? -1 : lseek(f->fd, (off_t)offset, SEEK_HOLE);
    if (end > (off_t)offset) {
        /* A sector that the file ends in is data as a whole. */
        status->bytes = MIN(bytes, (((uint64_t)end + 511) & ~511ull) - offset);
    }
    return 0;
}

static int64_t file_allocated(struct block_node *node)
{
    const struct file *f = node->state;
    struct stat st;

    return fstat(f->fd, &st) < 0 ? -1 : (int64_t)st.st_blocks * 512;
}

static struct block_stats_specific *file_stats(struct block_node *node)
{
    struct file *f = node->state;
    struct block_stats_specific *stats = g_new0(struct block_stats_specific, 1);
    struct block_stats_specific_file *s =
        node->driver->id == BLOCKDEV_DRIVER_FILE ? &stats->u.file : &stats->u.host_device;

    stats->driver = node->driver->id;
    s->discard_nb_ok = atomic_load_explicit(&f->discards, memory_order_relaxed);
    s->discard_bytes_ok = atomic_load_explicit(&f->discarded_bytes, memory_order_relaxed);
    s->discard_nb_failed = atomic_load_explicit(&f->discards_failed, memory_order_relaxed);
    return stats;
}

enum blockdev_driver block_driver_for_path(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))
               ? BLOCKDEV_DRIVER_HOST_DEVICE
               : BLOCKDEV_DRIVER_FILE;
}

const struct block_driver block_file = {
    .id = BLOCKDEV_DRIVER_FILE,
    .size = sizeof(struct file),
    .open = file_open,
    .close = file_close,
    .submit = file_submit,
    .reopen = file_reopen,
    .set_perm = file_set_perm,
    .refresh = file_refresh,
    .reload = file_reload,
    .resize = file_resize,
    .clear = file_clear,
    .status = file_status,
    .allocated_bytes = file_allocated,
    .stats = file_stats,
};

const struct block_driver block_host_device = {
    .id = BLOCKDEV_DRIVER_HOST_DEVICE,
    .reload = file_reload,
    .size = sizeof(struct file),
    .open = host_device_open,
    .close = file_close,
    .submit = file_submit,
    .reopen = file_reopen,
    .set_perm = file_set_perm,
    .refresh = file_refresh,
    .resize = file_resize,
    .clear = file_clear,
    .status = file_status,
    .allocated_bytes = file_allocated,
    .stats = file_stats,
};
