/*
 * io_uring: one ring, of the I/O thread.
 *
 * Requests are queued and begin at uring_kick(), many with one system call. What the host could do
 * at once (the data was in its page cache) is completed by that same call; the rest is announced by
 * the ring's descriptor. A completion may queue further requests; they begin in the same turn.
 */
#include "block/block-priv.h"

#include "base/log.h"
#include <liburing.h>
#include <string.h>

#define RING_ENTRIES 256

struct uring {
    struct io_uring ring;
    GSource *source;
    unsigned queued; /* not yet told the host */
    bool kicking;
};

static bool ring_readable(int fd, GIOCondition condition, void *arg)
{
    uring_kick(arg);
    return true;
}

struct uring *uring_new(struct loop *loop)
{
    struct uring *u = g_new0(struct uring, 1);
    int ret = io_uring_queue_init(RING_ENTRIES, &u->ring, 0);

    if (ret < 0) {
        log_info("io_uring is not available (%s): threads do block I/O", g_strerror(-ret));
        g_free(u);
        return NULL;
    }
    u->source = loop_watch_fd(loop, u->ring.ring_fd, G_IO_IN, ring_readable, u);
    return u;
}

void uring_free(struct uring *u)
{
    if (u) {
        g_source_destroy(u->source);
        io_uring_queue_exit(&u->ring);
        g_free(u);
    }
}

static struct io_uring_sqe *get_sqe(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    while (!sqe) { /* full: the host takes what there is */
        io_uring_submit(&u->ring);
        u->queued = 0;
        sqe = io_uring_get_sqe(&u->ring);
    }
    u->queued++;
    return sqe;
}

void uring_rw(struct uring *u, struct uring_request *request, int fd, bool write,
              const struct iovec *iov, unsigned n_iov, uint64_t offset)
{
    struct io_uring_sqe *sqe = get_sqe(u);

    if (write) {
        io_uring_prep_writev(sqe, fd, iov, n_iov, offset);
    } else {
        io_uring_prep_readv(sqe, fd, iov, n_iov, offset);
    }
    io_uring_sqe_set_data(sqe, request);
}

void uring_fsync(struct uring *u, struct uring_request *request, int fd)
{
    struct io_uring_sqe *sqe = get_sqe(u);

    io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data(sqe, request);
}

static void submit_queued(struct uring *u)
{
    while (u->queued) {
        int ret = io_uring_submit(&u->ring);

        if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY) {
            log_error("io_uring: %s", g_strerror(-ret));
        }
        if (ret <= 0) {
            return; /* what is left goes with the next kick */
        }
        u->queued -= MIN(u->queued, (unsigned)ret);
    }
}

void uring_kick(struct uring *u)
{
    struct io_uring_cqe *cqe;

    if (u->kicking) {
        return; /* a completion called: the loop below goes on */
    }
    u->kicking = true;
    submit_queued(u);
    while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
        struct uring_request *request = io_uring_cqe_get_data(cqe);
        int result = cqe->res;

        io_uring_cqe_seen(&u->ring, cqe);
        request->done(request, result);
        submit_queued(u);
    }
    u->kicking = false;
}
