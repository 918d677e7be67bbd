/*
 * Hostile qcow2 images: the input is an image's bytes, and behind them what is done with it.
 * Nothing may crash, hang or take memory without bound.
 *
 * A libFuzzer target with -DFUZZ; otherwise main() damages a small image from a fixed seed.
 */
#include "block/create.h"
#include "block/image.h"
#include "block/qcow2-check.h"
#include "block/vm-snapshot.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define OPS_BYTES 32u
#define IO_BYTES  70000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void no_event(struct event_sink *sink, unsigned event, const char *data)
{
}

struct fuzz {
    struct event_sink sink; /* first */
    struct loop *main;
    struct block_graph *graph;
    char *path;
};

static struct fuzz *fuzz_new(void)
{
    struct fuzz *f = g_new0(struct fuzz, 1);

    f->sink.emit = no_event;
    f->main = loop_new(NULL);
    f->graph = block_graph_new(&f->sink, f->main);
    f->path = g_strdup_printf("/dev/shm/fuzz-qcow2-%d", (int)getpid());
    return f;
}

/* A whole cluster, or what there is of it at the disk's end. */
static void write_compressed(struct block_node *node, uint64_t at, uint64_t length, uint8_t seed)
{
    uint64_t cluster = block_node_cluster_bytes(node);
    g_autofree uint8_t *buf = g_malloc0(cluster);

    for (uint64_t i = 0; i < cluster; i += 1u + seed) {
        buf[i] = (uint8_t)(i * seed);
    }
    at &= ~(cluster - 1);
    block_node_write_compressed(node, at, buf, MIN(cluster, length - at));
}

static void operate(struct block_image *image, const uint8_t *ops)
{
    struct block_node *node = block_image_node(image);
    uint64_t length = block_node_bytes(node);
    g_autofree uint8_t *buf = g_malloc0(IO_BYTES);

    for (unsigned i = 0; i + 4 <= OPS_BYTES; i += 4) {
        uint64_t at = ((uint64_t)ops[i + 1] << 8 | ops[i + 2]) * 1000 / 512 * 512;
        uint64_t bytes = MIN((uint64_t)(ops[i + 3] + 1) * 512, IO_BYTES / 512 * 512);
        struct block_status status;
        unsigned depth;
        bool present;

        if (at >= length) {
            at = 0;
        }
        bytes = MIN(bytes, length - at);
        switch (bytes ? ops[i] % 9 : 5) {
        case 0:
            block_node_pread(node, at, buf, bytes);
            break;
        case 1:
        case 2:
            block_node_pwrite(node, at, buf, bytes);
            break;
        case 3:
            block_node_sync(node, BLOCK_WRITE_ZEROES, at, bytes, ops[i] & 8 ? BLOCK_MAY_UNMAP : 0);
            break;
        case 4:
            block_node_sync(node, BLOCK_DISCARD, at, bytes, 0);
            break;
        case 5:
            block_node_sync(node, BLOCK_FLUSH, 0, 0, 0);
            break;
        case 6:
            block_chain_status(node, at, bytes, &status, &depth, &present);
            break;
        case 7:
            write_compressed(node, at, length, ops[i + 3]);
            break;
        default:
            if (length < 1u << 30) {
                block_image_resize(image, at + bytes, (enum prealloc_mode)(ops[i + 3] & 3), NULL);
                length = block_node_bytes(node);
            }
            break;
        }
    }
}

static void check(struct fuzz *f, bool repair)
{
    struct qcow2_check c = {.repair = repair ? QCOW2_REPAIR_ALL : QCOW2_REPAIR_NONE};
    unsigned flags = repair ? BLOCK_IMAGE_WRITE | BLOCK_IMAGE_REPAIR : 0;
    struct block_image *image =
        block_image_open(f->graph, f->path, "qcow2", flags | BLOCK_IMAGE_NO_BACKING, NULL);

    if (image) {
        qcow2_check(block_image_node(image), &c);
        block_image_close(image);
    }
}

/* What is told of it, and what a snapshot shows. */
static void look(struct fuzz *f)
{
    struct block_image *image =
        block_image_open(f->graph, f->path, "qcow2", BLOCK_IMAGE_NO_BACKING, NULL);
    uint8_t buf[512];

    if (!image) {
        return;
    }
    block_device_info_list_free(block_query_nodes(f->graph, false));
    if (block_node_show_snapshot(block_image_node(image), "1", NULL, NULL) &&
        block_node_bytes(block_image_node(image)) >= sizeof(buf)) {
        block_node_pread(block_image_node(image), 0, buf, sizeof(buf));
    }
    block_image_close(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz *f;
    struct block_image *image;

    if (size < OPS_BYTES + 512 || size > 1 << 20) {
        return 0;
    }
    if (!f) {
        f = fuzz_new();
    }
    g_assert_true(
        g_file_set_contents(f->path, (const char *)data, (gssize)(size - OPS_BYTES), NULL));
    data += size - OPS_BYTES;
    if (data[0] & 0x80) {
        check(f, data[0] & 0x40);
    }
    look(f);
    image = block_image_open(f->graph, f->path, "qcow2", BLOCK_IMAGE_WRITE | BLOCK_IMAGE_NO_BACKING,
                             NULL);
    if (image) {
        operate(image, data);
        block_image_close(image);
    }
    g_unlink(f->path);
    return 0;
}

#ifndef FUZZ
/* A small image with something of everything. */
static GByteArray *make_seed(uint64_t cluster)
{
    struct fuzz *f = fuzz_new();
    struct blockdev_options file = {.driver = BLOCKDEV_DRIVER_FILE, .u.file.filename = f->path};
    struct blockdev_ref ref = {.type = Q_TYPE_QDICT, .u.definition = &file};
    struct blockdev_create_options o = {.driver = BLOCKDEV_DRIVER_QCOW2};
    static const uint8_t ops[OPS_BYTES] = {1, 0, 0, 9, 1, 0, 40, 9, 3, 0, 4, 9, 4, 0, 40, 3, 5};
    GByteArray *out = g_byte_array_new();
    struct block_image *image;
    g_autofree char *bytes = NULL;
    gsize n;

    o.u.qcow2.file = &ref;
    o.u.qcow2.size = 1 << 20;
    o.u.qcow2.has_cluster_size = true;
    o.u.qcow2.cluster_size = cluster;
    g_assert_true(block_create_file(f->path, 0, PREALLOC_MODE_OFF, NULL));
    g_assert_true(block_create(f->graph, &o, NULL));
    image = block_image_open(f->graph, f->path, "qcow2", BLOCK_IMAGE_WRITE, NULL);
    operate(image, ops);
    block_image_close(image);
    g_assert_true(g_file_get_contents(f->path, &bytes, &n, NULL));
    g_byte_array_append(out, (const guint8 *)bytes, (guint)n);
    g_unlink(f->path);
    block_graph_free(f->graph);
    loop_free(f->main);
    g_free(f->path);
    g_free(f);
    return out;
}

/* With a folder: writes seeds for the fuzzer there. */
int main(int argc, char **argv)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);

    for (unsigned i = 0; i < 300; i++) {
        g_autoptr(GByteArray) input = make_seed(512u << i % 4);
        uint8_t ops[OPS_BYTES];

        if (argc > 1 && i < 4) {
            g_autofree char *path = g_strdup_printf("%s/seed-%u", argv[1], i);

            g_byte_array_append(input,
                                (const guint8 *)"\301\0\0\011\1\0\050\011\3\0\4\011\4\0\5\3"
                                                "\5\0\0\1\0\0\0\077\7\1\1\1\6\0\0\077",
                                32);
            g_assert_true(
                g_file_set_contents(path, (const char *)input->data, (gssize)input->len, NULL));
            continue;
        }
        for (unsigned k = 0; k < 1 + i % 8; k++) {
            guint at = (guint)g_rand_int_range(rand, 4, (gint32)(i % 3 ? input->len : 112));

            input->data[at] = (uint8_t)(g_rand_boolean(rand) ? g_rand_int(rand) : 0xff);
        }
        for (unsigned k = 0; k < OPS_BYTES; k++) {
            ops[k] = (uint8_t)g_rand_int(rand);
        }
        g_byte_array_append(input, ops, OPS_BYTES);
        LLVMFuzzerTestOneInput(input->data, input->len);
    }
    return 0;
}
#endif
