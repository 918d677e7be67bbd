/*
 * The driver nbd: a disk on a server of the Network Block Device protocol, through libnbd.
 *
 * One connection, served on the I/O thread. A request goes over it in pieces, one after the other,
 * as long as the server takes them; what the guest's memory has in many places goes through a
 * buffer. libnbd must not be called from its own callbacks: what is complete is noted, and looked
 * at after each call into it (nbd_settle()).
 *
 * A connection that breaks is made anew, again and again. Requests wait for that as long as
 * reconnect-delay says since the break, and fail after that. A server that comes back with a disk
 * of another length is not used.
 *
 * Left out: TLS, dirty bitmaps, asking the server which parts are zeroes.
 */
#include "block/block-priv.h"
#include "block/nbd-library.h"

#ifdef HAVE_LIBNBD
#include "base/library.h"
#include "base/log.h"
#include "base/yank.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define BOUNCE_BYTES     (1u << 20)
#define PIECE_BYTES      (32u << 20) /* what every server takes at least, with block data */
#define RANGE_BYTES      (1u << 30)  /* of a command without data */
#define OPEN_TIMEOUT_MS  10000
#define RETRY_FIRST_MS   1000
#define RETRY_LONGEST_MS 16000
#define OPEN_RETRY_US    200000

enum nbd_state { NBD_BROKEN, NBD_CONNECTING, NBD_READY };

#define NBD_NAME(name) "nbd_" #name,
static const char *const names[] = {NBD_FUNCTIONS(NBD_NAME)};

const struct nbd_library *nbd_library_load(GError **error)
{
    static const struct library nbd = {"libnbd.so.0", names, G_N_ELEMENTS(names)};

    return library_load(&nbd, error);
}

struct nbd {
    const struct nbd_library *lib;
    struct block_node *node;
    uint64_t bytes, piece_bytes;
    bool can_flush, can_trim, can_zero;
    /* the I/O thread's */
    struct nbd_handle *h; /* NULL: between two attempts */
    enum nbd_state state;
    GSource *watch;
    gpointer tag;
    GQueue completed, parked; /* struct nbd_op */
    GSource *retry, *expiry;  /* NULL: none is set */
    unsigned retry_ms;
    gint64 lost_us;
    bool settling;
    struct yank *instance, *connection; /* connection: NULL while there is none */
    int yank_fd;                        /* of connection: libnbd closes its own when it likes */
};

struct nbd_op { /* a request, a piece at a time */
    struct nbd *nbd;
    struct block_request *upper;
    uint64_t done, piece;
    uint8_t *bounce; /* or NULL */
    bool bounced;    /* this piece goes through it */
    int error;       /* of this piece, positive */
};

static void nbd_settle(struct nbd *n);
static void try_connect(struct nbd *n);

static const struct blockdev_options_nbd *options_of(const struct nbd *n)
{
    return &n->node->options->u.nbd;
}

/* ---- pieces */

static void op_finish(struct nbd_op *op, int result)
{
    struct block_request *upper = op->upper;

    g_free(op->bounce);
    g_free(op);
    block_request_done(upper, result);
}

/* Where the request's data goes on: the rest of one piece of memory. */
static uint8_t *memory_at(const struct block_request *r, uint64_t skip, uint64_t *bytes)
{
    for (int i = 0; i < r->n_iov; i++) {
        if (skip < r->iov[i].iov_len) {
            *bytes = r->iov[i].iov_len - skip;
            return (uint8_t *)r->iov[i].iov_base + skip;
        }
        skip -= r->iov[i].iov_len;
    }
    *bytes = 0;
    return NULL;
}

static void copy(struct nbd_op *op, bool to_bounce)
{
    uint64_t at = 0;

    while (at < op->piece) {
        uint64_t n;
        uint8_t *memory = memory_at(op->upper, op->done + at, &n);

        n = MIN(n, op->piece - at);
        memcpy(to_bounce ? op->bounce + at : memory, to_bounce ? memory : op->bounce + at, n);
        at += n;
    }
}

/* The next piece's memory. */
static uint8_t *data_piece(struct nbd_op *op)
{
    uint64_t left = op->upper->bytes - op->done, n;
    uint8_t *memory = memory_at(op->upper, op->done, &n);

    op->bounced = n < MIN(left, BOUNCE_BYTES);
    if (!op->bounced) {
        op->piece = MIN(MIN(n, left), op->nbd->piece_bytes);
        op->piece = op->piece < left ? op->piece & ~511ull : op->piece;
        return memory;
    }
    op->piece = MIN(MIN(left, BOUNCE_BYTES), op->nbd->piece_bytes);
    if (!op->bounce) {
        op->bounce = g_malloc(BOUNCE_BYTES);
    }
    if (op->upper->op == BLOCK_WRITE) {
        copy(op, true);
    }
    return op->bounce;
}

static int piece_done(void *opaque, int *error)
{
    struct nbd_op *op = opaque;

    op->error = *error;
    g_queue_push_tail(&op->nbd->completed, op);
    return 1; /* the command is retired */
}

/* A server that can't write zeroes gets them as data. */
static int64_t send_zeroes(struct nbd_op *op, uint64_t at, uint64_t left,
                           nbd_completion_callback done)
{
    struct nbd *n = op->nbd;
    uint32_t flags = op->upper->flags & BLOCK_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;

    if (n->can_zero) {
        op->piece = MIN(left, RANGE_BYTES);
        return n->lib->aio_zero(n->h, op->piece, at, done, flags);
    }
    op->piece = MIN(left, BOUNCE_BYTES);
    if (!op->bounce) {
        op->bounce = g_malloc0(BOUNCE_BYTES);
    }
    return n->lib->aio_pwrite(n->h, op->bounce, op->piece, at, done, 0);
}

static int64_t send_piece(struct nbd_op *op)
{
    nbd_completion_callback done = {.callback = piece_done, .user_data = op};
    uint64_t at = op->upper->offset + op->done, left = op->upper->bytes - op->done;
    struct nbd *n = op->nbd;
    uint8_t *memory;

    op->bounced = false;
    switch (op->upper->op) {
    case BLOCK_READ:
        memory = data_piece(op);
        return n->lib->aio_pread(n->h, memory, op->piece, at, done, 0);
    case BLOCK_WRITE:
        memory = data_piece(op);
        return n->lib->aio_pwrite(n->h, memory, op->piece, at, done, 0);
    case BLOCK_WRITE_ZEROES:
        return send_zeroes(op, at, left, done);
    case BLOCK_DISCARD:
        op->piece = MIN(left, RANGE_BYTES);
        return n->lib->aio_trim(n->h, op->piece, at, done, 0);
    case BLOCK_FLUSH:
        op->piece = 0;
        return n->lib->aio_flush(n->h, done, 0);
    }
    return -1;
}

static int64_t delay_us(const struct nbd *n)
{
    return options_of(n)->has_reconnect_delay
               ? (int64_t)options_of(n)->reconnect_delay * G_USEC_PER_SEC
               : 0;
}

/* The request can't go on now. */
static void op_park(struct nbd_op *op)
{
    struct nbd *n = op->nbd;

    if (g_get_monotonic_time() - n->lost_us < delay_us(n)) {
        g_queue_push_tail(&n->parked, op);
    } else {
        op_finish(op, -EIO);
    }
}

static void op_go(struct nbd_op *op)
{
    struct nbd *n = op->nbd;

    if (n->state != NBD_READY) {
        op_park(op);
    } else if (send_piece(op) < 0) {
        int error = n->lib->get_errno();

        if (n->lib->aio_is_ready(n->h) == 1 || n->lib->aio_is_processing(n->h) == 1) {
            op_finish(op, error ? -error : -EIO);
        } else {
            g_queue_push_tail(&n->completed, op); /* the connection is broken: nbd_settle() sees */
            op->error = ENOTCONN;
        }
    }
}

static void op_piece_done(struct nbd_op *op)
{
    struct nbd *n = op->nbd;

    if (op->error) {
        if (n->state != NBD_READY) {
            op_park(op);
        } else {
            op_finish(op, -op->error);
        }
        return;
    }
    if (op->bounced && op->upper->op == BLOCK_READ) {
        copy(op, false);
    }
    op->done += op->piece;
    if (op->upper->op == BLOCK_FLUSH || op->done >= op->upper->bytes) {
        op_finish(op, 0);
    } else {
        op_go(op);
    }
}

/* ---- the connection; I/O thread */

static gboolean dispatch_watch(GSource *source, GSourceFunc fn, gpointer data)
{
    return fn(data);
}

struct watch {
    GSource source; /* first */
    struct nbd *nbd;
};

static gboolean ready_watch(GSource *source)
{
    struct nbd *n = ((struct watch *)source)->nbd;

    return g_source_query_unix_fd(source, n->tag) != 0;
}

static GIOCondition wanted(struct nbd *n)
{
    unsigned direction = n->lib->aio_get_direction(n->h);

    return (direction & LIBNBD_AIO_DIRECTION_READ ? G_IO_IN : 0) |
           (direction & LIBNBD_AIO_DIRECTION_WRITE ? G_IO_OUT : 0) | G_IO_HUP | G_IO_ERR;
}

static gboolean fd_ready(gpointer data)
{
    struct nbd *n = data;
    GIOCondition has = g_source_query_unix_fd(n->watch, n->tag);
    unsigned direction = n->lib->aio_get_direction(n->h);

    /* One of them, for the other may not fit any more. A hang-up is found by reading. */
    if (has & (G_IO_IN | G_IO_HUP | G_IO_ERR) && direction & LIBNBD_AIO_DIRECTION_READ) {
        n->lib->aio_notify_read(n->h);
    } else if (direction & LIBNBD_AIO_DIRECTION_WRITE) {
        n->lib->aio_notify_write(n->h);
    }
    nbd_settle(n);
    return G_SOURCE_CONTINUE;
}

static void unwatch(struct nbd *n)
{
    if (n->watch) {
        g_source_destroy(n->watch);
        g_source_unref(n->watch);
        n->watch = NULL;
    }
}

static void watch(struct nbd *n)
{
    static GSourceFuncs funcs = {.check = ready_watch, .dispatch = dispatch_watch};

    n->watch = g_source_new(&funcs, sizeof(struct watch));
    ((struct watch *)n->watch)->nbd = n;
    g_source_set_callback(n->watch, fd_ready, n, NULL);
    n->tag = g_source_add_unix_fd(n->watch, n->lib->aio_get_fd(n->h), wanted(n));
    g_source_attach(n->watch, n->node->graph->io->context);
}

static void clear_timer(GSource **timer)
{
    if (*timer) {
        g_source_destroy(*timer);
        g_source_unref(*timer);
        *timer = NULL;
    }
}

static void set_timer(struct nbd *n, GSource **timer, int64_t ms, GSourceFunc fn)
{
    clear_timer(timer);
    *timer = g_timeout_source_new((guint)MIN(ms, G_MAXUINT));
    g_source_set_callback(*timer, fn, n, NULL);
    g_source_attach(*timer, n->node->graph->io->context);
}

static gboolean retry_due(gpointer data)
{
    struct nbd *n = data;

    clear_timer(&n->retry);
    try_connect(n);
    return G_SOURCE_REMOVE;
}

/* Nobody waits any longer. */
static gboolean expiry_due(gpointer data)
{
    struct nbd *n = data;
    struct nbd_op *op;

    clear_timer(&n->expiry);
    while ((op = g_queue_pop_head(&n->parked))) {
        op_finish(op, -EIO);
    }
    return G_SOURCE_REMOVE;
}

/* The connection is there: it can be broken from outside. */
static void offer_to_yank(struct nbd *n)
{
    n->yank_fd = fcntl(n->lib->aio_get_fd(n->h), F_DUPFD_CLOEXEC, 0);
    if (n->yank_fd >= 0) {
        n->connection = yank_add_socket(YANK_BLOCK_NODE, n->node->name, n->yank_fd);
    }
}

static void withdraw_from_yank(struct nbd *n)
{
    if (n->connection) {
        yank_remove(g_steal_pointer(&n->connection));
        close(n->yank_fd);
    }
}

static void drop_connection(struct nbd *n)
{
    withdraw_from_yank(n);
    unwatch(n);
    n->lib->close(n->h);
    n->h = NULL;
    n->state = NBD_BROKEN;
}

static void retry_later(struct nbd *n)
{
    set_timer(n, &n->retry, n->retry_ms, retry_due);
    n->retry_ms = MIN(2 * n->retry_ms, RETRY_LONGEST_MS);
}

static void lost(struct nbd *n)
{
    log_warn("nbd: the connection of node '%s' to %s is broken", n->node->name, n->node->filename);
    drop_connection(n);
    n->lost_us = g_get_monotonic_time();
    n->retry_ms = RETRY_FIRST_MS;
    set_timer(n, &n->retry, 0, retry_due);
    if (delay_us(n)) {
        set_timer(n, &n->expiry, delay_us(n) / 1000, expiry_due);
    }
}

/* What the server says of its disk. */
static bool learn(struct nbd *n, GError **error)
{
    int64_t bytes = n->lib->get_size(n->h);
    int64_t least = n->lib->get_block_size(n->h, LIBNBD_SIZE_MINIMUM);
    int64_t most = n->lib->get_block_size(n->h, LIBNBD_SIZE_MAXIMUM);

    if (bytes < 0 || least > BLOCK_SECTOR_BYTES) {
        g_set_error(error, BLOCK_ERROR, 0,
                    bytes < 0 ? "the server does not say how long its disk is"
                              : "the server wants blocks of more than 512 bytes");
        return false;
    }
    n->bytes = (uint64_t)bytes & ~511ull;
    n->piece_bytes = most >= BOUNCE_BYTES ? MIN((uint64_t)most & ~511ull, PIECE_BYTES)
                     : most >= 4096       ? (uint64_t)most & ~511ull
                                          : PIECE_BYTES;
    n->can_flush = n->lib->can_flush(n->h) == 1;
    n->can_trim = n->lib->can_trim(n->h) == 1;
    n->can_zero = n->lib->can_zero(n->h) == 1;
    return true;
}

static void connected(struct nbd *n)
{
    uint64_t before = n->bytes;
    g_autoptr(GError) error = NULL;
    GQueue parked = n->parked;
    struct nbd_op *op;

    if (!learn(n, &error) || n->bytes != before) {
        log_warn("nbd: %s is not the disk that it was%s%s", n->node->filename, error ? ": " : "",
                 error ? error->message : "");
        n->bytes = before;
        drop_connection(n);
        retry_later(n);
        return;
    }
    log_info("nbd: node '%s' is connected to %s again", n->node->name, n->node->filename);
    n->state = NBD_READY;
    offer_to_yank(n);
    clear_timer(&n->expiry);
    g_queue_init(&n->parked);
    while ((op = g_queue_pop_head(&parked))) {
        op_go(op);
    }
}

static void look_at_connection(struct nbd *n)
{
    bool dead = n->lib->aio_is_dead(n->h) == 1 || n->lib->aio_is_closed(n->h) == 1;

    if (n->state == NBD_READY && dead) {
        lost(n);
    } else if (n->state == NBD_CONNECTING && dead) {
        drop_connection(n);
        retry_later(n);
    } else if (n->state == NBD_CONNECTING && n->lib->aio_is_ready(n->h) == 1) {
        connected(n);
    }
}

/* After each call into libnbd: what is complete, and what became of the connection. */
static void nbd_settle(struct nbd *n)
{
    struct nbd_op *op;

    if (n->settling) {
        return; /* whoever is at it goes on */
    }
    n->settling = true;
    do {
        if (n->h) {
            look_at_connection(n); /* first: errors of a dead one are no answers */
        }
        op = g_queue_pop_head(&n->completed);
        if (op) {
            op_piece_done(op);
        }
    } while (op || !g_queue_is_empty(&n->completed));
    if (n->h && n->watch) {
        g_source_modify_unix_fd(n->watch, n->tag, wanted(n));
    }
    n->settling = false;
}

/* ---- connecting */

static struct nbd_handle *handle_new(const struct nbd *n)
{
    struct nbd_handle *h = n->lib->create();
    const char *name = options_of(n)->export ? options_of(n)->export : "";

    if (h && (n->lib->set_export_name(h, name) < 0 || n->lib->set_tls(h, LIBNBD_TLS_DISABLE) < 0)) {
        n->lib->close(h);
        h = NULL;
    }
    return h;
}

static int begin(const struct nbd *n, struct nbd_handle *h)
{
    const struct socket_address *server = options_of(n)->server;

    return server->type == SOCKET_ADDRESS_TYPE_UNIX
               ? n->lib->aio_connect_unix(h, server->u.q_unix.path)
               : n->lib->aio_connect_tcp(h, server->u.inet.host, server->u.inet.port);
}

static void try_connect(struct nbd *n)
{
    n->h = handle_new(n);
    n->state = NBD_CONNECTING;
    if (!n->h || begin(n, n->h) < 0 || n->lib->aio_get_fd(n->h) < 0) {
        drop_connection(n);
        retry_later(n);
        return;
    }
    watch(n);
    nbd_settle(n);
}

/* The first time: whoever wants the node waits. */
static bool wait_until_ready(const struct nbd *n, gint64 end_us, GError **error)
{
    struct nbd_handle *h = n->h;

    while (n->lib->aio_is_ready(h) != 1) {
        gint64 left = end_us - g_get_monotonic_time();

        if (left <= 0) {
            g_set_error(error, BLOCK_ERROR, ETIMEDOUT, "the server does not answer");
            return false;
        }
        if (n->lib->poll(h, (int)(left / 1000 + 1)) < 0 || n->lib->aio_is_dead(h) == 1 ||
            n->lib->aio_is_closed(h) == 1) {
            const char *why = n->lib->get_error();

            g_set_error(error, BLOCK_ERROR, 0, "%s", why ? why : "the connection is broken");
            return false;
        }
    }
    return true;
}

static bool connect_once(struct nbd *n, GError **error)
{
    gint64 end_us = g_get_monotonic_time() + OPEN_TIMEOUT_MS * 1000;

    n->h = handle_new(n);
    if (n->h && begin(n, n->h) == 0 && wait_until_ready(n, end_us, error)) {
        return true;
    }
    if (error && !*error) {
        g_set_error(error, BLOCK_ERROR, 0, "%s",
                    n->lib->get_error() ? n->lib->get_error() : "no memory");
    }
    g_clear_pointer(&n->h, n->lib->close);
    return false;
}

static bool connect_first(struct nbd *n, GError **error)
{
    gint64 until = g_get_monotonic_time() +
                   (options_of(n)->has_open_timeout ? (gint64)options_of(n)->open_timeout : 0) *
                       G_USEC_PER_SEC;

    for (;;) {
        g_autoptr(GError) why = NULL;

        if (connect_once(n, &why)) {
            return true;
        }
        if (g_get_monotonic_time() >= until) {
            g_set_error(error, BLOCK_ERROR, 0, "Failed to connect to %s: %s", n->node->filename,
                        why->message);
            return false;
        }
        g_usleep(OPEN_RETRY_US);
    }
}

/* ---- the node */

static char *name_of(const struct blockdev_options_nbd *o)
{
    const struct socket_address *server = o->server;
    const char *export = o->export ? o->export : "";

    return server->type == SOCKET_ADDRESS_TYPE_UNIX
               ? g_strdup_printf("nbd+unix:///%s?socket=%s", export, server->u.q_unix.path)
               : g_strdup_printf("nbd://%s:%s%s%s", server->u.inet.host, server->u.inet.port,
                                 *export ? "/" : "", export);
}

static void watch_on_io(void *arg)
{
    watch(arg);
}

static bool check_writable(struct block_node *node, struct nbd *n, GError **error)
{
    if (node->read_only || n->lib->is_read_only(n->h) != 1) {
        return true;
    }
    if (node->auto_read_only) {
        node->read_only = true;
        return true;
    }
    g_set_error(error, BLOCK_ERROR, 0, "%s can only be read: read-only=on is wanted",
                node->filename);
    return false;
}

static bool nbd_open(struct block_node *node, const struct blockdev_options *o, GError **error)
{
    struct nbd *n = node->state;

    n->lib = nbd_library_load(error);
    if (!n->lib) {
        g_prefix_error(error, "nbd: ");
        return false;
    }
    n->node = node;
    g_queue_init(&n->completed);
    g_queue_init(&n->parked);
    if (options_of(n)->server->type == SOCKET_ADDRESS_TYPE_FD) {
        g_set_error(error, BLOCK_ERROR, 0, "nbd: a server is inet or unix, not fd");
        return false;
    }
    node->filename = name_of(options_of(n));
    if (!connect_first(n, error)) {
        return false;
    }
    if (!learn(n, error)) {
        g_prefix_error(error, "%s: ", node->filename);
        return false;
    }
    if (!check_writable(node, n, error)) {
        return false;
    }
    atomic_store(&node->bytes, n->bytes);
    n->state = NBD_READY;
    n->instance = yank_add(YANK_BLOCK_NODE, node->name, NULL, NULL);
    offer_to_yank(n);
    loop_call(node->graph->io, watch_on_io, n);
    return true;
}

static void stop(void *arg)
{
    struct nbd *n = arg;

    clear_timer(&n->retry);
    clear_timer(&n->expiry);
    unwatch(n);
    withdraw_from_yank(n);
    yank_remove(n->instance);
    if (n->h) {
        if (n->state == NBD_READY) {
            n->lib->aio_disconnect(n->h, 0); /* so that the server hears it is no accident */
        }
        g_clear_pointer(&n->h, n->lib->close);
    }
}

static void nbd_close_node(struct block_node *node)
{
    struct nbd *n = node->state;

    if (n->node) {
        loop_call(node->graph->io, stop, n);
    }
}

static void nbd_submit(struct block_node *node, struct block_request *r)
{
    struct nbd *n = node->state;
    struct nbd_op *op;

    if ((r->op == BLOCK_FLUSH && (!n->can_flush || node->no_flush)) ||
        (r->op == BLOCK_DISCARD && !n->can_trim)) {
        block_request_done(r, 0);
        return;
    }
    op = g_new0(struct nbd_op, 1);
    op->nbd = n;
    op->upper = r;
    op_go(op);
    nbd_settle(n);
}

#else /* without libnbd */

const struct nbd_library *nbd_library_load(GError **error)
{
    g_set_error(error, BLOCK_ERROR, 0, "this program was built without libnbd");
    return NULL;
}

static bool nbd_open(struct block_node *node, const struct blockdev_options *o, GError **error)
{
    return nbd_library_load(error);
}

static void nbd_close_node(struct block_node *node)
{
}

static void nbd_submit(struct block_node *node, struct block_request *r)
{
    g_assert_not_reached(); /* there is no such node */
}

struct nbd {
    int none;
};
#endif

static int64_t nbd_allocated(struct block_node *node)
{
    return -1;
}

const struct block_driver block_nbd = {
    .id = BLOCKDEV_DRIVER_NBD,
    .size = sizeof(struct nbd),
    .open = nbd_open,
    .close = nbd_close_node,
    .submit = nbd_submit,
    .allocated_bytes = nbd_allocated,
};
