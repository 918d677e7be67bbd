/*
 * The driver qcow2 against qemu-img: images that it made are read, images that we wrote pass its
 * check and hold what a plain model holds. Skipped where qemu-img is absent.
 */
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

static void write_file(const struct fixture *f, const char *name, const uint8_t *data, size_t n)
{
    g_autofree char *path = in_dir(f, name);

    g_assert_true(g_file_set_contents(path, (const char *)data, (gssize)n, NULL));
}

static void expect_all(struct fixture *f, const uint8_t *model, size_t n)
{
    g_autofree uint8_t *buf = g_malloc(n);

    g_assert_cmpint(rw(f, BLOCK_READ, 0, buf, n), ==, 0);
    g_assert_true(memcmp(buf, model, n) == 0);
}

/* Random operations on the open image and on a model of it. */
static void operate(struct fixture *f, uint8_t *model, size_t size, GRand *rand, unsigned count)
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
static void operate_at_once(struct fixture *f, uint8_t *model, size_t size, GRand *rand)
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

struct variant {
    const char *options; /* of qemu-img create */
    size_t size;
    bool backing;
};

static const struct variant variants[] = {
    {"compat=0.10", 5 << 20, false},
    {"compat=1.1", 5 << 20, false},
    {"compat=1.1", (5 << 20) + 512, true},
    {"compat=0.10", 3 << 20, true},
    {"cluster_size=512", 3 << 20, true},
    {"cluster_size=2M,refcount_bits=1", 9 << 20, false},
    {"cluster_size=4k,refcount_bits=64", 5 << 20, true},
    {"preallocation=metadata", 5 << 20, false},
};

static void test_random(struct fixture *f, gconstpointer data)
{
    const struct variant *v = data;
    g_autoptr(GRand) rand = g_rand_new_with_seed((guint32)(v - variants) + 5);
    g_autofree uint8_t *model = g_malloc0(v->size);

    if (v->backing) { /* shorter than the image */
        fill(model, v->size - (1 << 20), rand);
        write_file(f, "base.raw", model, v->size - (1 << 20));
    }
    shell(f, "qemu-img create -q -f qcow2 -o %s %s i.qcow2 %zu", v->options,
          v->backing ? "-b base.raw -F raw" : "", v->size);
    for (unsigned round = 0; round < 2; round++) {
        open_image(f, "i.qcow2", "");
        operate(f, model, v->size, rand, 60);
        for (unsigned i = 0; i < 10; i++) {
            operate_at_once(f, model, v->size, rand);
        }
        operate(f, model, v->size, rand, 20);
        expect_all(f, model, v->size);
        close_image(f);
        write_file(f, "model.raw", model, v->size);
        shell(f, "qemu-img check -q i.qcow2"); /* no leaks either */
        shell(f, "qemu-img compare -q -f raw -F qcow2 model.raw i.qcow2");
    }
}

/* Compressed clusters and a snapshot: read, copied before they are changed, still there. */
static void test_shared(struct fixture *f, gconstpointer compression)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    const size_t size = 4 << 20;
    g_autofree uint8_t *model = g_malloc0(size);

    for (size_t i = 0; i < size; i++) {
        model[i] = (uint8_t)(i / 1000 * 7);
    }
    write_file(f, "first.raw", model, size);
    shell(f,
          "qemu-img convert -q -c -O qcow2 -o compression_type=%s first.raw i.qcow2 && "
          "qemu-img snapshot -c s1 i.qcow2",
          (const char *)compression);
    open_image(f, "i.qcow2", "");
    expect_all(f, model, size);
    operate(f, model, size, rand, 100);
    close_image(f);
    write_file(f, "model.raw", model, size);
    shell(f, "qemu-img check -q i.qcow2 && "
             "qemu-img compare -q -f raw -F qcow2 model.raw i.qcow2 && "
             "qemu-img snapshot -a s1 i.qcow2 && qemu-img check -q i.qcow2 && "
             "qemu-img compare -q -f raw -F qcow2 first.raw i.qcow2");
}

/* What stands on the disk at any moment: everything flushed, and leaks at most. */
static void test_crash(struct fixture *f, gconstpointer unused)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(17);
    const size_t size = 4 << 20;
    g_autofree uint8_t *model = g_malloc0(size), *buf = g_malloc(size);

    shell(f, "qemu-img create -q -f qcow2 -o cluster_size=4k i.qcow2 %zu", size);
    open_image(f, "i.qcow2", "");
    for (unsigned i = 0; i < 12; i++) {
        operate(f, model, size, rand, 10);
        g_assert_cmpint(rw(f, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        write_file(f, "model.raw", model, size);
        shell(f, "cp i.qcow2 crash.qcow2"); /* as a killed process leaves it */
        shell(f, "qemu-img compare -q -f raw -F qcow2 model.raw crash.qcow2");
        fill(buf, 65536, rand); /* begun, and not flushed */
        memcpy(model + 65536 * i, buf, 65536);
        g_assert_cmpint(rw(f, BLOCK_WRITE, 65536 * i, buf, 65536), ==, 0);
        shell(f, "cp i.qcow2 crash.qcow2; qemu-img check -q crash.qcow2 || [ $? = 3 ]");
    }
    close_image(f);
    shell(f, "qemu-img check -q i.qcow2");
}

static uint8_t *resize(struct fixture *f, uint8_t *model, size_t old, size_t size)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(block_resize(f->graph, NULL, "q", (int64_t)size, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(block_backend_bytes(f->backend), ==, size);
    model = g_realloc(model, size);
    memset(model + MIN(old, size), 0, size - MIN(old, size));
    return model;
}

/* Longer and shorter; what comes back is zeroes, also where a backing file is longer. With small
 * clusters the L1 and reference count tables have to grow. */
static void test_resize(struct fixture *f, gconstpointer options)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(23);
    static const size_t sizes[] = {5 << 20, (5 << 20) + 512,  (1 << 20) + 1536, 3 << 20,
                                   9 << 20, (2 << 20) + 1024, 24 << 20};
    size_t size = 2 << 20;
    g_autofree uint8_t *model = g_malloc0(4 << 20);

    fill(model, 4 << 20, rand);
    write_file(f, "base.raw", model, 4 << 20);
    shell(f, "qemu-img create -q -f qcow2 -b base.raw -F raw -o %s i.qcow2 2M",
          (const char *)options);
    open_image(f, "i.qcow2", "");
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        operate(f, model, size, rand, 10);
        model = resize(f, model, size, sizes[i]);
        size = sizes[i];
        expect_all(f, model, size);
        operate_at_once(f, model, size, rand);
    }
    fill(model, size, rand);
    g_assert_cmpint(rw(f, BLOCK_WRITE, 0, model, size), ==, 0);
    close_image(f);
    write_file(f, "model.raw", model, size);
    shell(f, "qemu-img check -q i.qcow2");
    shell(f, "qemu-img compare -q -f raw -F qcow2 model.raw i.qcow2");
}

static void expect_refusal(struct fixture *f, const char *make, const char *more, const char *part)
{
    g_autoptr(GError) error = NULL;

    shell(f, "%s", make);
    g_assert_false(try_open(f, "i.qcow2", more, &error));
    if (!strstr(error->message, part)) {
        g_error("'%s' lacks '%s'", error->message, part);
    }
}

static void test_refusals(struct fixture *f, gconstpointer unused)
{
    expect_refusal(f, "head -c 1000000 /dev/zero >i.qcow2", "", "not in qcow2 format");
    expect_refusal(f, "head -c 1000000 /dev/urandom >i.qcow2", "", "not in qcow2 format");
    expect_refusal(f, "qemu-img create -q -f qcow2 -o extended_l2=on i.qcow2 1M", "",
                   "incompatible bits");
    expect_refusal(f, "qemu-img create -q -f qcow2 -u -b gone -F raw i.qcow2 1M", "",
                   "Could not open backing file");
    expect_refusal(f, "qemu-img create -q -f qcow2 -u -b x -F vmdk i.qcow2 1M", "",
                   "format 'vmdk'");
    expect_refusal(
        f, "qemu-img create -q -f qcow2 -u -b i.qcow2 -F qcow2 j.qcow2 1M && mv j.qcow2 i.qcow2",
        "", "Could not open backing file");
    open_image(f, "i.qcow2", ",backing=");
    close_image(f);
    expect_refusal(f, "true", ",read-only=on", "too deep");
}

/* An image that says nonsense: an error, and the corrupt bit. */
static void test_corrupt(struct fixture *f, gconstpointer unused)
{
    g_autofree char *path = in_dir(f, "i.qcow2");
    g_autofree uint8_t *buf = g_malloc0(65536);
    uint64_t entry;
    int fd;

    shell(f, "qemu-img create -q -f qcow2 i.qcow2 4M");
    open_image(f, "i.qcow2", "");
    g_assert_cmpint(rw(f, BLOCK_WRITE, 0, buf, 65536), ==, 0);
    close_image(f);
    fd = open(path, O_RDWR);
    g_assert_cmpint(pread(fd, &entry, 8, 0x30000), ==, 8); /* the L1 table */
    entry = GUINT64_TO_BE((GUINT64_FROM_BE(entry) & ~(1ull << 63)) + 512);
    g_assert_cmpint(pwrite(fd, &entry, 8, 0x30000), ==, 8);
    open_image(f, "i.qcow2", "");
    g_assert_cmpint(rw(f, BLOCK_READ, 0, buf, 512), ==, -EIO);
    g_assert_cmpint(rw(f, BLOCK_WRITE, 1 << 20, buf, 512), ==, -EIO);
    close_image(f);
    g_assert_cmpint(pread(fd, &entry, 8, 72), ==, 8);
    g_assert_cmpuint(GUINT64_FROM_BE(entry) & 2, ==, 2);
    close(fd);
}

/* Random bytes in the metadata: nothing crashes, hangs or takes all memory. */
static void test_hostile(struct fixture *f, gconstpointer unused)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(23);
    g_autofree char *path = in_dir(f, "i.qcow2");
    g_autofree uint8_t *buf = g_malloc0(1 << 20);

    shell(f, "qemu-img create -q -f qcow2 -o cluster_size=4k good.qcow2 4M");
    shell(f, "qemu-io -f qcow2 -c 'write 0 300k' -c 'write -c 1M 64k' good.qcow2");
    for (unsigned i = 0; i < 150; i++) {
        g_autofree char *good = in_dir(f, "good.qcow2"), *data = NULL;
        gsize n;

        g_assert_true(g_file_get_contents(good, &data, &n, NULL));
        for (unsigned k = 0; k < 1 + i % 8; k++) {
            gsize at = (gsize)g_rand_int_range(rand, 4, i % 3 ? 24576 : 112);

            data[at] = (char)(g_rand_boolean(rand) ? g_rand_int(rand) : 0xff);
        }
        g_assert_true(g_file_set_contents(path, data, (gssize)n, NULL));
        if (!try_open(f, "i.qcow2", ",backing=", NULL)) {
            continue;
        }
        for (unsigned k = 0; k < 6; k++) {
            uint64_t at = (uint64_t)g_rand_int_range(rand, 0, 4096) * 512;

            rw(f, BLOCK_READ, at, buf, 65536);
            rw(f, k % 2 ? BLOCK_WRITE : BLOCK_FLUSH, k % 2 ? at : 0, k % 2 ? buf : NULL,
               k % 2 ? 8192 : 0);
            rw(f, BLOCK_DISCARD, at, NULL, 65536);
        }
        close_image(f);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (system("qemu-img --version >/dev/null 2>&1 && qemu-io --version >/dev/null 2>&1") != 0) {
        g_test_message("qemu-img is not there");
        printf("1..0 # SKIP qemu-img is not there\n");
        return 0;
    }
#define ADD(path, data, fn) g_test_add(path, struct fixture, data, set_up, fn, tear_down)
    for (unsigned i = 0; i < G_N_ELEMENTS(variants); i++) {
        g_autofree char *name = g_strdup_printf("/qcow2/random/%u-%s", i, variants[i].options);

        ADD(name, &variants[i], test_random);
    }
    ADD("/qcow2/shared-zlib", "zlib", test_shared);
    ADD("/qcow2/shared-zstd", "zstd", test_shared);
    ADD("/qcow2/resize", "compat=1.1", test_resize);
    ADD("/qcow2/resize-v2", "compat=0.10", test_resize);
    ADD("/qcow2/resize-small-clusters", "cluster_size=512,refcount_bits=64", test_resize);
    ADD("/qcow2/crash", NULL, test_crash);
    ADD("/qcow2/refusals", NULL, test_refusals);
    ADD("/qcow2/corrupt", NULL, test_corrupt);
    ADD("/qcow2/hostile", NULL, test_hostile);
    return g_test_run();
}
