/*
 * The driver qcow2 against qemu-img: images that it made are read, images that we wrote pass its
 * check and hold what a plain model holds. Skipped where qemu-img is absent.
 */
#include "qcow2-fixture.h"

#include "block/block-priv.h"
#include "block/reopen.h"
#include "block/vm-snapshot.h"

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

static void expect_refusal(struct fixture *f, const char *make, const char *more, const char *part);

static bool is_marked(struct fixture *f)
{
    g_autofree char *path = in_dir(f, "i.qcow2");
    uint8_t bits[8];
    int fd = open(path, O_RDONLY);

    g_assert_cmpint(pread(fd, bits, 8, 72), ==, 8);
    close(fd);
    return bits[7] & 1;
}

/* Lazy reference counts: what a killed process leaves has all that was flushed, says that it was
 * not closed, and is put right by QEMU's repair and by ours; a closed image is right. */
static void test_lazy(struct fixture *f, gconstpointer unused)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(29);
    const size_t size = 4 << 20;
    g_autofree uint8_t *model = g_malloc0(size), *buf = g_malloc0(size);

    shell(f, "qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on i.qcow2 %zu", size);
    for (unsigned i = 0; i < 8; i++) {
        open_image(f, "i.qcow2", i % 2 ? ",refcount-cache-size=0,l2-cache-size=0" : "");
        g_assert_false(is_marked(f));
        operate(f, model, size, rand, 10);
        fill(buf, 100000 / 512 * 512, rand); /* some of it has no place yet */
        memcpy(model + i * 400384, buf, 100000 / 512 * 512);
        g_assert_cmpint(rw(f, BLOCK_DISCARD, i * 400384, NULL, 1 << 18), ==, 0);
        g_assert_cmpint(rw(f, BLOCK_READ, i * 400384, model + i * 400384, 1 << 18), ==, 0);
        memcpy(model + i * 400384, buf, 100000 / 512 * 512);
        g_assert_cmpint(rw(f, BLOCK_WRITE, i * 400384, buf, 100000 / 512 * 512), ==, 0);
        g_assert_cmpint(rw(f, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        g_assert_true(is_marked(f));
        write_file(f, "model.raw", model, size);
        shell(f, "cp i.qcow2 crash.qcow2; cp i.qcow2 ours.qcow2");
        shell(f, "qemu-img compare -q -f raw -F qcow2 model.raw crash.qcow2");
        /* the counts are not there: that is what it is for */
        shell(f, "qemu-img check -q crash.qcow2; [ $? = 2 ]");
        shell(f, "qemu-img check -q -r all crash.qcow2 && qemu-img check -q crash.qcow2");
        shell(f, "qemu-img compare -q -f raw -F qcow2 model.raw crash.qcow2");
        close_image(f);
        g_assert_false(is_marked(f));
        shell(f, "qemu-img check -q i.qcow2 && "
                 "qemu-img compare -q -f raw -F qcow2 model.raw i.qcow2");
        open_image(f, "ours.qcow2", "");
        expect_all(f, model, size);
        close_image(f);
        shell(f, "qemu-img check -q ours.qcow2 && "
                 "qemu-img compare -q -f raw -F qcow2 model.raw ours.qcow2");
    }
}

/* The option goes before what the image says, also while it is in use. */
static void test_lazy_option(struct fixture *f, gconstpointer unused)
{
    g_autofree char *path = in_dir(f, "i.qcow2");
    g_autofree uint8_t *buf = g_malloc0(1 << 20);

    shell(f, "qemu-img create -q -f qcow2 -o lazy_refcounts=on i.qcow2 4M");
    open_image(f, "i.qcow2", ",lazy-refcounts=off");
    g_assert_cmpint(rw(f, BLOCK_WRITE, 0, buf, 1 << 20), ==, 0);
    g_assert_cmpint(rw(f, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
    g_assert_false(is_marked(f));
    for (unsigned i = 1; i < 4; i++) {
        g_autofree char *text = g_strdup_printf(
            "qcow2,node-name=q,discard=unmap,file.driver=file,file.filename=%s,lazy-refcounts=%s",
            path, i % 2 ? "on" : "off");
        g_autoptr(GError) error = NULL;
        struct blockdev_options *o = blockdev_options_from_keyval(text, "driver", &error);
        struct blockdev_options_list list = {.n = 1, .v = &o};

        g_assert_no_error(error);
        g_assert_true(block_reopen(f->graph, &list, &error));
        blockdev_options_free(o);
        g_assert_false(is_marked(f)); /* off: at once */
        g_assert_cmpint(rw(f, BLOCK_WRITE, (uint64_t)i << 20, buf, 1 << 20), ==, 0);
        g_assert_cmpint(rw(f, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        g_assert_cmpint(is_marked(f), ==, i % 2);
    }
    close_image(f);
    g_assert_false(is_marked(f));
    shell(f, "qemu-img check -q i.qcow2 && qemu-img create -q -f qcow2 -o compat=0.10 i.qcow2 1M");
    expect_refusal(f, "true", ",lazy-refcounts=on", "at least qemu 1.1 compatibility");
}

/* Snapshots are made, deleted and gone back to while counts are late. */
static void test_lazy_snapshots(struct fixture *f, gconstpointer unused)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(31);
    const size_t size = 2 << 20;
    g_autofree uint8_t *model = g_malloc0(size), *first = g_malloc0(size);
    const struct vm_snapshot one = {.name = (char *)"one"}, two = {.name = (char *)"two"};
    struct block_node *node;

    shell(f, "qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on i.qcow2 %zu", size);
    open_image(f, "i.qcow2", "");
    node = block_node_find(f->graph, "q");
    operate(f, first, size, rand, 20);
    g_assert_true(block_snapshot_create(node, &one, NULL, NULL));
    memcpy(model, first, size);
    operate(f, model, size, rand, 20);
    g_assert_true(block_snapshot_create(node, &two, NULL, NULL));
    for (unsigned i = 0; i < 2; i++) {
        struct block_revert *revert;

        operate(f, model, size, rand, 20);
        g_assert_cmpint(rw(f, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        g_assert_true(is_marked(f));
        g_assert_true(i || block_snapshot_delete(node, "two", false, NULL));
        operate(f, model, size, rand, 20);
        revert = block_revert_prepare(node, "one", NULL);
        g_assert_nonnull(revert);
        g_assert_true(block_revert_commit(revert, NULL));
        memcpy(model, first, size);
        expect_all(f, model, size);
        operate(f, model, size, rand, 20);
    }
    close_image(f);
    g_assert_false(is_marked(f));
    write_file(f, "model.raw", model, size);
    write_file(f, "first.raw", first, size);
    shell(f, "qemu-img check -q i.qcow2 && "
             "qemu-img compare -q -f raw -F qcow2 model.raw i.qcow2 && "
             "qemu-img snapshot -a one i.qcow2 && qemu-img check -q i.qcow2 && "
             "qemu-img compare -q -f raw -F qcow2 first.raw i.qcow2");
}

static uint64_t host_bytes(struct fixture *f)
{
    g_autofree char *path = in_dir(f, "i.qcow2");
    struct stat s;

    g_assert_cmpint(stat(path, &s), ==, 0);
    return (uint64_t)s.st_blocks * 512;
}

/* What is given back to the host is up to options. */
static void test_pass_discard(struct fixture *f, gconstpointer unused)
{
    g_autofree uint8_t *buf = g_malloc(1 << 20);
    static const char *const options[] = {"", ",pass-discard-request=off",
                                          ",pass-discard-request=on"};
    static const bool given_back[] = {true, false, true};

    memset(buf, 0x5a, 1 << 20);
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        shell(f, "rm -f i.qcow2; qemu-img create -q -f qcow2 i.qcow2 4M");
        open_image(f, "i.qcow2", options[i]);
        g_assert_cmpint(rw(f, BLOCK_WRITE, 0, buf, 1 << 20), ==, 0);
        g_assert_cmpint(rw(f, BLOCK_DISCARD, 0, NULL, 1 << 20), ==, 0);
        close_image(f);
        g_assert_cmpint(host_bytes(f) < 1 << 20, ==, given_back[i]);
        shell(f, "qemu-img check -q i.qcow2");
    }
    for (unsigned off = 0; off < 2; off++) {
        g_autoptr(GError) error = NULL;

        shell(f, "rm -f i.qcow2; qemu-img create -q -f qcow2 i.qcow2 4M");
        shell(f, "qemu-io -f qcow2 -c 'write 0 1M' i.qcow2; qemu-img snapshot -c s i.qcow2");
        shell(f, "qemu-io -f qcow2 -c 'write 0 1M' i.qcow2");
        open_image(f, "i.qcow2", off ? ",pass-discard-snapshot=off" : "");
        g_assert_true(block_snapshot_delete(block_node_find(f->graph, "q"), "s", false, &error));
        g_assert_no_error(error);
        close_image(f);
        g_assert_cmpint(host_bytes(f) < 2 << 20, ==, !off);
        shell(f, "qemu-img check -q i.qcow2; qemu-io -f qcow2 -c 'read -P 0xcd 0 1M' i.qcow2");
    }
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

/* With eight tables of each kind in memory: those that are written to make room for others, with
 * clusters freed and not counted down yet, lose nothing. */
static void test_few_tables(struct fixture *f, gconstpointer unused)
{
    enum { BYTES = 4 << 20, PIECE = 32768, N = BYTES / PIECE };
    g_autofree uint8_t *model = g_malloc0(BYTES);
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);

    shell(f, "qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 i.qcow2 4M");
    open_image(f, "i.qcow2", ",l2-cache-size=0,refcount-cache-size=0");
    fill(model, BYTES, rand);
    g_assert_cmpint(rw(f, BLOCK_WRITE, 0, model, BYTES), ==, 0);
    for (unsigned i = 0; i < 3 * N; i++) { /* a third written, two discarded, here and there */
        uint64_t at = (i * 37ull % N) * PIECE;
        bool away = i % 3;

        if (away) {
            memset(model + at, 0, PIECE);
        } else {
            fill(model + at, PIECE, rand);
        }
        g_assert_cmpint(
            rw(f, away ? BLOCK_DISCARD : BLOCK_WRITE, at, away ? NULL : model + at, PIECE), ==, 0);
    }
    expect_all(f, model, BYTES);
    close_image(f);
    write_file(f, "model.raw", model, BYTES);
    shell(f, "qemu-img check -q i.qcow2"); /* no leaks either */
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
                   "Unsupported qcow2 feature(s): extended L2 entries");
    expect_refusal(f, "qemu-img create -q -f qcow2 -u -b gone -F raw i.qcow2 1M", "",
                   "Could not open backing file");
    expect_refusal(f, "qemu-img create -q -f qcow2 -u -b x -F vmdk i.qcow2 1M", "",
                   "format 'vmdk'");
    expect_refusal(
        f, "qemu-img create -q -f qcow2 -u -b i.qcow2 -F qcow2 j.qcow2 1M && mv j.qcow2 i.qcow2",
        "", "Could not open backing file");
    open_image(f, "i.qcow2", ",backing=");
    close_image(f);
    expect_refusal(f, "true", ",backing=,l2-cache-size=-1", "positive");
    expect_refusal(f, "true", ",backing=,cache-size=65536,l2-cache-size=131072", "not larger");
    expect_refusal(f, "true", ",backing=,cache-size=1,l2-cache-size=1,refcount-cache-size=1",
                   "may not be set at the same time");
    open_image(f, "i.qcow2", ",backing=,cache-size=1048576,l2-cache-size=131072");
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
    ADD("/qcow2/lazy", NULL, test_lazy);
    ADD("/qcow2/lazy-option", NULL, test_lazy_option);
    ADD("/qcow2/lazy-snapshots", NULL, test_lazy_snapshots);
    ADD("/qcow2/pass-discard", NULL, test_pass_discard);
    ADD("/qcow2/few-tables", NULL, test_few_tables);
    ADD("/qcow2/refusals", NULL, test_refusals);
    ADD("/qcow2/corrupt", NULL, test_corrupt);
    ADD("/qcow2/hostile", NULL, test_hostile);
    return g_test_run();
}
