/*
 * Random sequences on images of random shapes: made, written by one request at a time and by many,
 * resized, closed and opened again, against a plain model. Each image must pass our own check,
 * every tenth also qemu-img's, which compares its data too.
 *
 * The number of sequences is in QCOW2_SEQUENCES, the first seed in QCOW2_SEED.
 */
#include "qcow2-fixture.h"

#include "block/create.h"
#include "block/image.h"
#include "block/qcow2-check.h"

static void note_finding(void *opaque, const char *text)
{
    g_printerr("%s\n", text);
}

static void make(struct fixture *f, GRand *rand, uint64_t size, bool backing)
{
    g_autofree char *path = in_dir(f, "i.qcow2");
    struct blockdev_options file = {.driver = BLOCKDEV_DRIVER_FILE, .u.file.filename = path};
    struct blockdev_ref ref = {.type = Q_TYPE_QDICT, .u.definition = &file};
    struct blockdev_create_options o = {.driver = BLOCKDEV_DRIVER_QCOW2};
    struct blockdev_create_options_qcow2 *q = &o.u.qcow2;
    g_autoptr(GError) error = NULL;

    q->file = &ref;
    q->size = size;
    q->has_cluster_size = true;
    q->cluster_size = 512u << g_rand_int_range(rand, 0, 13);
    if (g_rand_boolean(rand)) {
        q->has_refcount_bits = true;
        q->refcount_bits = 1 << g_rand_int_range(rand, 0, 7);
    } else if (g_rand_boolean(rand)) {
        q->has_version = true;
        q->version = BLOCKDEV_QCOW2_VERSION_V2;
    }
    if (!q->has_version && g_rand_int_range(rand, 0, 3) == 0) {
        q->has_lazy_refcounts = q->lazy_refcounts = true;
    }
    if (backing) {
        q->backing_file = (char *)"base.raw";
        q->has_backing_fmt = true;
        q->backing_fmt = BLOCKDEV_DRIVER_RAW;
    } else if (g_rand_boolean(rand)) {
        q->has_preallocation = true;
        q->preallocation = (enum prealloc_mode)g_rand_int_range(rand, 0, PREALLOC_MODE__MAX);
    }
    g_assert_true(block_create_file(path, 0, PREALLOC_MODE_OFF, &error));
    g_assert_true(block_create(f->graph, &o, &error));
    g_assert_no_error(error);
}

static void check_own(struct fixture *f)
{
    g_autofree char *path = in_dir(f, "i.qcow2");
    struct block_image *image = block_image_open(f->graph, path, "qcow2", 0, NULL);
    struct qcow2_check c = {.report = note_finding};

    g_assert_nonnull(image);
    g_assert_cmpint(qcow2_check(block_image_node(image), &c), ==, 0);
    g_assert_cmpuint(c.corruptions, ==, 0);
    g_assert_cmpuint(c.leaks, ==, 0);
    block_image_close(image);
}

static uint8_t *change_size(struct fixture *f, uint8_t *model, size_t *size, size_t to)
{
    g_assert_true(block_resize(f->graph, NULL, "q", (int64_t)to, NULL));
    model = g_realloc(model, to);
    memset(model + MIN(*size, to), 0, to - MIN(*size, to));
    *size = to;
    return model;
}

static void run(struct fixture *f, guint32 seed, bool with_qemu)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    size_t size = (size_t)g_rand_int_range(rand, 1, 4096) * 512, base = 0;
    g_autofree uint8_t *model = g_malloc0(size);
    bool backing = g_rand_int_range(rand, 0, 3) == 0;

    if (backing) {
        base = (size_t)g_rand_int_range(rand, 1, (gint32)(size / 512 + 1)) * 512;
        fill(model, base, rand);
        write_file(f, "base.raw", model, base);
    }
    make(f, rand, size, backing);
    for (unsigned round = 0; round < 2; round++) {
        /* All tables stay in memory, or as few as can be. */
        open_image(f, "i.qcow2",
                   g_rand_boolean(rand) ? ",l2-cache-size=0,refcount-cache-size=0" : "");
        operate(f, model, size, rand, 12);
        operate_at_once(f, model, size, rand);
        if (g_rand_boolean(rand)) {
            model = change_size(f, model, &size, (size_t)g_rand_int_range(rand, 1, 6144) * 512);
        }
        operate_at_once(f, model, size, rand);
        expect_all(f, model, size);
        close_image(f);
        check_own(f);
    }
    if (with_qemu) {
        write_file(f, "model.raw", model, size);
        shell(f, "qemu-img check -q i.qcow2 && "
                 "qemu-img compare -q -f raw -F qcow2 model.raw i.qcow2");
    }
}

static void test_sequences(struct fixture *f, gconstpointer unused)
{
    const char *count = g_getenv("QCOW2_SEQUENCES"), *first = g_getenv("QCOW2_SEED");
    guint32 n = count ? (guint32)atoi(count) : 30, seed = first ? (guint32)atoi(first) : 1;

    for (guint32 i = 0; i < n; i++) {
        g_test_message("seed %u", seed + i);
        run(f, seed + i, i % 10 == 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (system("qemu-img --version >/dev/null 2>&1") != 0) {
        printf("1..0 # SKIP qemu-img is not there\n");
        return 0;
    }
    g_test_add("/qcow2/sequences", struct fixture, NULL, set_up, test_sequences, tear_down);
    return g_test_run();
}
