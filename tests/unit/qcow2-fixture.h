/*
 * What the tests of qcow2 images share: a graph with one image, requests, and random operations on
 * the image and on a model of it.
 */
#ifndef TESTS_UNIT_QCOW2_FIXTURE_H
#define TESTS_UNIT_QCOW2_FIXTURE_H

#include "block/block.h"
#include "qapi-visit.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    struct event_sink sink; /* first */
    struct loop *main;
    struct block_graph *graph;
    struct block_backend *backend;
    char *dir;
};

static void note_event(struct event_sink *sink, unsigned event, const char *data)
{
}

static char *in_dir(const struct fixture *f, const char *name)
{
    return g_build_filename(f->dir, name, NULL);
}

static void shell(const struct fixture *f, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void shell(const struct fixture *f, const char *format, ...)
{
    g_autofree char *text = NULL, *line = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    line = g_strdup_printf("cd '%s' && { %s; } >log 2>&1 || { cat log >&2; false; }", f->dir, text);
    if (system(line) != 0) {
        g_error("%s", text);
    }
}

static void set_up(struct fixture *f, gconstpointer unused)
{
    f->dir = g_dir_make_tmp("godwit-qcow2-XXXXXX", NULL);
    f->sink.emit = note_event;
    f->main = loop_new(NULL);
    f->graph = block_graph_new(&f->sink, f->main);
}

static void tear_down(struct fixture *f, gconstpointer unused)
{
    g_autofree char *line = g_strdup_printf("rm -r '%s'", f->dir);

    block_graph_free(f->graph);
    loop_free(f->main);
    g_assert_cmpint(system(line), ==, 0);
    g_free(f->dir);
}

static bool try_open(struct fixture *f, const char *image, const char *more, GError **error)
{
    const struct block_attach how = {
        .loop = f->main, .rerror = BLOCKDEV_ON_ERROR_AUTO, .werror = BLOCKDEV_ON_ERROR_REPORT};
    g_autofree char *path = in_dir(f, image);
    g_autofree char *text = g_strdup_printf(
        "qcow2,node-name=q,discard=unmap,file.driver=file,file.filename=%s%s", path, more);
    struct blockdev_options *o = blockdev_options_from_keyval(text, "driver", error);
    bool ok = o && block_node_add(f->graph, o, error);

    blockdev_options_free(o);
    if (ok) {
        f->backend = block_backend_attach(f->graph, "q", &how, error);
        g_assert_nonnull(f->backend);
    }
    return ok;
}

static void open_image(struct fixture *f, const char *image, const char *more)
{
    g_autoptr(GError) error = NULL;

    if (!try_open(f, image, more, &error)) {
        g_error("%s", error->message);
    }
}

static void close_image(struct fixture *f)
{
    block_backend_detach(f->backend);
    g_assert_true(block_node_delete(f->graph, "q", NULL));
}

struct io {
    struct block_request request; /* first */
    bool done;
    int result;
};

static void io_done(struct block_request *r, int result)
{
    ((struct io *)r)->result = result;
    ((struct io *)r)->done = true;
}

static int rw(struct fixture *f, enum block_op op, uint64_t offset, void *buf, uint64_t bytes)
{
    struct iovec iov = {buf, bytes};
    struct io io = {.request = {.op = op,
                                .flags = BLOCK_MAY_UNMAP,
                                .offset = offset,
                                .bytes = bytes,
                                .iov = buf ? &iov : NULL,
                                .n_iov = buf ? 1 : 0,
                                .done = io_done}};

    block_backend_submit(f->backend, &io.request);
    while (!io.done) {
        g_main_context_iteration(f->main->context, TRUE);
    }
    return io.result;
}

static void fill(uint8_t *buf, size_t n, GRand *rand)
{
    uint32_t seed = g_rand_int(rand);

    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        buf[i] = (uint8_t)(seed >> 24);
    }
}

G_GNUC_UNUSED static void write_file(const struct fixture *f, const char *name, const uint8_t *data,
                                     size_t n)
{
    g_autofree char *path = in_dir(f, name);

    g_assert_true(g_file_set_contents(path, (const char *)data, (gssize)n, NULL));
}

G_GNUC_UNUSED static void expect_all(struct fixture *f, const uint8_t *model, size_t n)
{
    g_autofree uint8_t *buf = g_malloc(n);

    g_assert_cmpint(rw(f, BLOCK_READ, 0, buf, n), ==, 0);
    g_assert_true(memcmp(buf, model, n) == 0);
}

/* Random operations on the open image and on a model of it. */
G_GNUC_UNUSED static void operate(struct fixture *f, uint8_t *model, size_t size, GRand *rand,
                                  unsigned count)
{
    g_autofree uint8_t *buf = g_malloc(size);

    for (unsigned i = 0; i < count; i++) {
        uint64_t at = (uint64_t)g_rand_int_range(rand, 0, (gint32)(size / 512)) * 512;
        uint64_t limit = g_rand_boolean(rand) ? 4096 : 300000, most = MIN(size - at, limit);
        uint64_t n = (uint64_t)g_rand_int_range(rand, 1, (gint32)(most / 512 + 1)) * 512;

        switch (g_rand_int_range(rand, 0, 8)) {
        case 0:
        case 1:
        case 2:
            fill(buf, n, rand);
            memcpy(model + at, buf, n);
            g_assert_cmpint(rw(f, BLOCK_WRITE, at, buf, n), ==, 0);
            break;
        case 3:
            memset(model + at, 0, n);
            g_assert_cmpint(rw(f, BLOCK_WRITE_ZEROES, at, NULL, n), ==, 0);
            break;
        case 4: /* what is discarded may read as before: ask */
            g_assert_cmpint(rw(f, BLOCK_DISCARD, at, NULL, n), ==, 0);
            g_assert_cmpint(rw(f, BLOCK_READ, at, buf, n), ==, 0);
            for (uint64_t k = 0; k < n; k++) {
                g_assert_true(buf[k] == model[at + k] || buf[k] == 0);
            }
            memcpy(model + at, buf, n);
            break;
        case 5:
            g_assert_cmpint(rw(f, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
            break;
        default:
            g_assert_cmpint(rw(f, BLOCK_READ, at, buf, n), ==, 0);
            g_assert_true(memcmp(buf, model + at, n) == 0);
            break;
        }
    }
}

/* Many requests at once, to stretches that touch but do not overlap, so that several want the same
 * cluster; some read what nobody writes. */
G_GNUC_UNUSED static void operate_at_once(struct fixture *f, uint8_t *model, size_t size,
                                          GRand *rand)
{
    enum { N = 48 };
    struct io io[N];
    struct iovec iov[N][2];
    g_autofree uint8_t *buf = g_malloc0(size);
    uint64_t at = (uint64_t)g_rand_int_range(rand, 0, (gint32)(size / 2 / 512)) * 512;
    unsigned n = 0;

    for (; n < N && at < size; n++) {
        uint64_t limit = g_rand_boolean(rand) ? 8192 : 150000, most = MIN(size - at, limit);
        uint64_t bytes = (uint64_t)g_rand_int_range(rand, 1, (gint32)(most / 512 + 1)) * 512;
        enum block_op op = g_rand_int_range(rand, 0, 3) == 0   ? BLOCK_READ
                           : g_rand_int_range(rand, 0, 5) == 0 ? BLOCK_WRITE_ZEROES
                                                               : BLOCK_WRITE;

        if (op == BLOCK_WRITE) {
            fill(buf + at, bytes, rand);
            memcpy(model + at, buf + at, bytes);
        } else if (op == BLOCK_WRITE_ZEROES) {
            memset(model + at, 0, bytes);
        }
        iov[n][0] = (struct iovec){buf + at, bytes / 3};
        iov[n][1] = (struct iovec){buf + at + bytes / 3, bytes - bytes / 3};
        io[n] = (struct io){.request = {.op = op,
                                        .offset = at,
                                        .bytes = bytes,
                                        .iov = op == BLOCK_WRITE_ZEROES ? NULL : iov[n],
                                        .n_iov = op == BLOCK_WRITE_ZEROES ? 0 : 2,
                                        .done = io_done}};
        at += bytes;
    }
    for (unsigned i = n; i-- > 0;) { /* backwards: the later part of a cluster comes first */
        block_backend_submit(f->backend, &io[i].request);
    }
    for (unsigned i = 0; i < n; i++) {
        const struct block_request *r = &io[i].request;

        while (!io[i].done) {
            g_main_context_iteration(f->main->context, TRUE);
        }
        g_assert_cmpint(io[i].result, ==, 0);
        g_assert_true(r->op != BLOCK_READ ||
                      memcmp(buf + r->offset, model + r->offset, r->bytes) == 0);
    }
}

#endif
