/*
 * Rules of blkdebug: the input is a file of rules, and behind it what requests there are under
 * them. Nothing may crash, hang or leak. Seeds: corpus/blkdebug.
 *
 * A libFuzzer target with -DFUZZ; otherwise main() tries the seeds of the folder in its argument,
 * and damaged ones.
 */
#include "block/block-priv.h"
#include "seeds.h"

#include "qapi-visit.h"
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define INPUT_BYTES 8192u
#define OPS         16u /* two bytes each, at the end */
#define DISK_BYTES  (64u << 10)

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
    f->path = g_strdup_printf("%s/fuzz-blkdebug-%d", g_get_tmp_dir(), (int)getpid());
    return f;
}

static void operate(struct block_node *node, const uint8_t *ops)
{
    uint8_t buf[4096] = {0};

    for (unsigned i = 0; i < 2 * OPS; i += 2) {
        uint64_t at = (uint64_t)(ops[i + 1] & 0x7f) * 512;
        uint64_t bytes = MIN(512ull << (ops[i] >> 4 & 3), DISK_BYTES - at);

        switch (ops[i] % 5) {
        case 0:
            block_node_pread(node, at, buf, bytes);
            break;
        case 1:
            block_node_pwrite(node, at, buf, bytes);
            break;
        case 2:
            block_node_sync(node, BLOCK_WRITE_ZEROES, at, bytes, 0);
            break;
        case 3:
            block_node_sync(node, BLOCK_DISCARD, at, bytes, 0);
            break;
        default:
            block_node_sync(node, BLOCK_FLUSH, 0, 0, 0);
            break;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz *f;
    struct blockdev_options below = {.driver = BLOCKDEV_DRIVER_NULL_CO,
                                     .u.null_co = {.has_size = true, .size = DISK_BYTES}};
    struct blockdev_ref ref = {.type = Q_TYPE_QDICT, .u.definition = &below};
    struct blockdev_options o = {.driver = BLOCKDEV_DRIVER_BLKDEBUG, .u.blkdebug.image = &ref};
    struct block_backend *holder;
    struct block_node *node;

    if (size < 2 * OPS || size > INPUT_BYTES) {
        return 0;
    }
    if (!f) {
        f = fuzz_new();
    }
    size -= 2 * OPS;
    g_assert_true(g_file_set_contents(f->path, (const char *)data, (gssize)size, NULL));
    o.u.blkdebug.config = f->path;
    node = block_node_open(f->graph, &o, NULL, NULL);
    holder = node ? block_backend_new(f->graph, "") : NULL;
    if (holder && block_backend_hold(holder, node, true, NULL)) {
        operate(node, data + size);
    }
    if (holder) {
        block_backend_free(holder);
    }
    g_unlink(f->path);
    return 0;
}

#ifndef FUZZ
int main(int argc, char **argv)
{
    seeds_try(argc > 1 ? argv[1] : ".", 13, 150, 10, 127);
    return 0;
}
#endif
