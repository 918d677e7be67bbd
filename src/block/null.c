/*
 * The driver null-co: no storage. For tests and measurements.
 */
#include "block/block-priv.h"

#include <string.h>

#define DEFAULT_BYTES (1ull << 30)

struct null {
    uint64_t latency_ns;
    bool read_zeroes;
};

static bool null_open(struct block_node *node, const struct blockdev_options *o, GError **error)
{
    const struct blockdev_options_null *opt = &o->u.null_co;
    struct null *n = node->state;

    if (opt->has_size && opt->size < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "size is invalid: %" G_GINT64_FORMAT " is negative",
                    opt->size);
        return false;
    }
    n->latency_ns = opt->has_latency_ns ? opt->latency_ns : 0;
    n->read_zeroes = opt->has_read_zeroes && opt->read_zeroes;
    node->filename = g_strdup("null-co://");
    atomic_store(&node->bytes, opt->has_size ? (uint64_t)opt->size : DEFAULT_BYTES);
    return true;
}

static gboolean late(gpointer data)
{
    block_request_done(data, 0);
    return G_SOURCE_REMOVE;
}

static void null_submit(struct block_node *node, struct block_request *r)
{
    const struct null *n = node->state;

    if (r->op == BLOCK_READ && n->read_zeroes) {
        for (int i = 0; i < r->n_iov; i++) {
            memset(r->iov[i].iov_base, 0, r->iov[i].iov_len);
        }
    }
    if (n->latency_ns) {
        GSource *source = g_timeout_source_new(0);

        g_source_set_callback(source, late, r, NULL);
        g_source_set_ready_time(source, g_get_monotonic_time() + (gint64)(n->latency_ns / 1000));
        g_source_attach(source, node->graph->io->context);
        g_source_unref(source);
        return;
    }
    block_request_done(r, 0);
}

static int64_t null_allocated(struct block_node *node)
{
    return 0;
}

const struct block_driver block_null = {
    .id = BLOCKDEV_DRIVER_NULL_CO,
    .size = sizeof(struct null),
    .open = null_open,
    .submit = null_submit,
    .allocated_bytes = null_allocated,
};
