/*
 * Sending to many sockets at once (see fanout.h), by io_uring. Nothing stays in the ring between
 * two calls: a send that must not wait is over when the host has taken it.
 */
#include "monitor/fanout.h"

#include "base/log.h"
#include <errno.h>
#include <glib.h>
#include <liburing.h>
#include <stdbool.h>

/* From so many on the ring is cheaper. */
#define RING_WORTH 3

#define SEND_FLAGS (MSG_NOSIGNAL | MSG_DONTWAIT)

struct fanout {
    struct io_uring ring;
    bool has_ring, tried;
};

struct fanout *fanout_new(void)
{
    return g_new0(struct fanout, 1);
}

static void drop_ring(struct fanout *f)
{
    io_uring_queue_exit(&f->ring);
    f->has_ring = false;
}

void fanout_free(struct fanout *f)
{
    if (f && f->has_ring) {
        drop_ring(f);
    }
    g_free(f);
}

/* Made when it is first of use; a host that has none is not asked again. */
static bool want_ring(struct fanout *f)
{
    if (!f->tried) {
        int ret = io_uring_queue_init(FANOUT_MAX, &f->ring, 0);

        f->tried = true;
        f->has_ring = ret == 0;
        if (ret < 0) {
            log_info("monitors: io_uring is not available (%s)", g_strerror(-ret));
        }
    }
    return f->has_ring;
}

static void send_each(struct fanout_item *items, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        ssize_t sent = sendmsg(items[i].fd, &items[i].msg, SEND_FLAGS);

        items[i].result = sent < 0 ? -errno : sent;
    }
}

/* false: something is wrong with the ring, and those that have no result were not sent. */
static bool send_by_ring(struct fanout *f, struct fanout_item *items, unsigned n)
{
    int submitted;

    for (unsigned i = 0; i < n; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring);

        io_uring_prep_sendmsg(sqe, items[i].fd, &items[i].msg, SEND_FLAGS);
        io_uring_sqe_set_data(sqe, &items[i]);
    }
    submitted = io_uring_submit_and_wait(&f->ring, n);
    for (int i = 0; i < submitted; i++) {
        struct io_uring_cqe *cqe;

        if (io_uring_wait_cqe(&f->ring, &cqe) < 0) {
            return false;
        }
        ((struct fanout_item *)io_uring_cqe_get_data(cqe))->result = cqe->res;
        io_uring_cqe_seen(&f->ring, cqe);
    }
    return submitted == (int)n;
}

void fanout_send(struct fanout *f, struct fanout_item *items, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        items[i].msg = (struct msghdr){.msg_iov = items[i].iov, .msg_iovlen = items[i].n_iov};
        items[i].result = -EAGAIN;
    }
    if (n < RING_WORTH || !want_ring(f)) {
        send_each(items, n);
    } else if (!send_by_ring(f, items, n)) {
        log_warn("monitors: io_uring fails; done without it");
        drop_ring(f); /* what was not sent stays in the queues, for the control thread */
    }
}
