/*
 * Images opened by path, and what of them is where.
 */
#include "block/image.h"

#include "block/block-priv.h"
#include "qapi-visit.h"
#include <errno.h>
#include <string.h>

struct block_image {
    struct block_backend *holder;
    struct block_node *node;
};

/* The flags go before what a name json:{...} says. */
/* Opens what `o` describes, as the flags say; it is freed. */
static struct block_node *open_described(struct block_graph *graph, struct blockdev_options *o,
                                         unsigned flags, GError **error)
{
    struct block_node *node;

    o->has_read_only = o->has_discard = o->has_force_share = true;
    o->read_only = !(flags & BLOCK_IMAGE_WRITE);
    o->discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP;
    o->force_share = flags & BLOCK_IMAGE_SHARE;
    if (!o->cache) {
        o->cache = g_new0(struct blockdev_cache_options, 1);
    }
    o->cache->has_direct = o->cache->has_no_flush = true;
    o->cache->direct = flags & BLOCK_IMAGE_DIRECT;
    o->cache->no_flush = flags & BLOCK_IMAGE_NO_FLUSH;
    if (o->driver == BLOCKDEV_DRIVER_QCOW2 && flags & BLOCK_IMAGE_NO_BACKING) {
        blockdev_ref_or_null_free(o->u.qcow2.backing);
        o->u.qcow2.backing = g_new0(struct blockdev_ref_or_null, 1);
        o->u.qcow2.backing->type = Q_TYPE_QNULL;
    }
    node = block_node_open(graph, o, NULL, error);
    blockdev_options_free(o);
    return node;
}

static struct block_node *open_json(struct block_graph *graph, const char *name, const char *format,
                                    unsigned flags, GError **error)
{
    g_autoptr(GPtrArray) pairs = block_json_pairs(name, error);
    struct blockdev_options *o;

    if (pairs && !format && !block_pair(pairs, "driver")) {
        format = block_guess_format(graph, name);
    }
    o = pairs ? block_options_of_json(name, format, error) : NULL;
    if (!o) {
        return NULL;
    }
    return open_described(graph, o, flags, error);
}

/* The value of a key of key=value text, to be freed; NULL: it is not there. */
static char *text_value(const char *text, const char *key)
{
    g_auto(GStrv) pairs = g_strsplit(text, ",", -1);

    for (unsigned i = 0; pairs[i]; i++) {
        if (g_str_has_prefix(pairs[i], key) && pairs[i][strlen(key)] == '=') {
            return g_strdup(pairs[i] + strlen(key) + 1);
        }
    }
    return NULL;
}

/* A file's name alone is a file's; a format that is not said is guessed. */
static struct block_node *open_text(struct block_graph *graph, const char *text, unsigned flags,
                                    GError **error)
{
    g_autofree char *driver = text_value(text, "driver"), *file = text_value(text, "file.filename");
    g_autofree char *file_driver = text_value(text, "file.driver");
    g_autoptr(GString) all = g_string_new(text);
    struct blockdev_options *o;

    if (file && !file_driver) {
        g_string_append(all, ",file.driver=file");
    }
    if (file && !driver) {
        g_string_append_printf(all, ",driver=%s", block_guess_format(graph, file));
    }
    if (!strchr(text, '=')) {
        g_set_error(error, BLOCK_ERROR, 0, "Cannot find device='%s' nor node-name='%s'", text,
                    text);
        return NULL;
    }
    o = blockdev_options_from_keyval(all->str, NULL, error);
    return o ? open_described(graph, o, flags, error) : NULL;
}

static struct block_node *open_node(struct block_graph *graph, const char *path,
                                    enum blockdev_driver driver, unsigned flags, GError **error)
{
    struct blockdev_options *file = block_options_of_filename(path, error);
    struct blockdev_ref ref = {.type = Q_TYPE_QDICT, .u.definition = file};
    struct blockdev_ref_or_null none = {.type = Q_TYPE_QNULL};
    struct blockdev_cache_options cache = {.has_direct = true,
                                           .direct = flags & BLOCK_IMAGE_DIRECT,
                                           .has_no_flush = true,
                                           .no_flush = flags & BLOCK_IMAGE_NO_FLUSH};
    struct blockdev_options o = {.driver = driver,
                                 .cache = &cache,
                                 .has_read_only = true,
                                 .read_only = !(flags & BLOCK_IMAGE_WRITE),
                                 .has_discard = true,
                                 .discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP,
                                 .has_force_share = true,
                                 .force_share = flags & BLOCK_IMAGE_SHARE};

    struct block_node *node;

    if (!file) {
        return NULL;
    }
    if (driver == BLOCKDEV_DRIVER_QCOW2) {
        o.u.qcow2.file = &ref;
        o.u.qcow2.backing = flags & BLOCK_IMAGE_NO_BACKING ? &none : NULL;
    } else {
        o.u.raw.file = &ref;
    }
    node = block_node_open(graph, &o, NULL, error);
    blockdev_options_free(file);
    return node;
}

struct block_node *block_image_node_open(struct block_graph *graph, const char *path,
                                         const char *format, unsigned flags, GError **error)
{
    bool json = block_filename_is_json(path), text = flags & BLOCK_IMAGE_OPTIONS;
    enum blockdev_driver driver = BLOCKDEV_DRIVER_RAW;
    struct block_node *node;

    format = format || json || text ? format : block_guess_format(graph, path);
    if (!json && !text &&
        (!blockdev_driver_parse(format, &driver) ||
         (driver != BLOCKDEV_DRIVER_RAW && driver != BLOCKDEV_DRIVER_QCOW2))) {
        g_set_error(error, BLOCK_ERROR, 0, "Unknown driver '%s'", format);
        return NULL;
    }
    graph->repairing = flags & BLOCK_IMAGE_REPAIR;
    node = text   ? open_text(graph, path, flags, error)
           : json ? open_json(graph, path, format, flags, error)
                  : open_node(graph, path, driver, flags, error);
    graph->repairing = false;
    return node;
}

struct block_image *block_image_open(struct block_graph *graph, const char *path,
                                     const char *format, unsigned flags, GError **error)
{
    struct block_node *node = block_image_node_open(graph, path, format, flags, error);
    struct block_image *image;

    if (!node) {
        return NULL;
    }
    image = g_new0(struct block_image, 1);
    image->node = node;
    image->holder = block_backend_new(graph, "");
    if (!block_backend_hold(image->holder, node, flags & BLOCK_IMAGE_WRITE, error)) {
        block_backend_free(image->holder);
        block_node_unref(node);
        g_free(image);
        return NULL;
    }
    return image;
}

void block_image_close(struct block_image *image)
{
    if (image) {
        if (!image->node->read_only) {
            block_node_sync(image->node, BLOCK_FLUSH, 0, 0, 0);
        }
        block_backend_free(image->holder);
        g_free(image);
    }
}

struct block_node *block_image_node(const struct block_image *image)
{
    return image->node;
}

static int preallocate_bytes(struct block_node *node, uint64_t from, enum prealloc_mode mode)
{
    uint64_t end = block_node_bytes(node), chunk = mode == PREALLOC_MODE_FULL ? 1u << 20 : 1u << 30;
    g_autofree uint8_t *zeroes = mode == PREALLOC_MODE_FULL ? g_malloc0(chunk) : NULL;
    int ret = 0;

    while (from < end && ret == 0) {
        uint64_t n = MIN(end - from, chunk);

        ret = zeroes ? block_node_pwrite(node, from, zeroes, n)
                     : block_node_sync(node, BLOCK_WRITE_ZEROES, from, n, 0);
        from += n;
    }
    return ret;
}

bool block_image_resize(struct block_image *image, uint64_t bytes, enum prealloc_mode mode,
                        GError **error)
{
    struct block_node *node = image->node;
    uint64_t old = block_node_bytes(node);
    int ret = 0;

    if (mode != PREALLOC_MODE_OFF && bytes < old) {
        g_set_error(error, BLOCK_ERROR, 0, "Preallocation can only be used for growing images");
        return false;
    }
    if (mode == PREALLOC_MODE_METADATA && !node->driver->preallocate) {
        g_set_error(error, BLOCK_ERROR, 0, "Unsupported preallocation mode: %s",
                    prealloc_mode_str(mode));
        return false;
    }
    if (!block_node_resize(node, bytes, error)) {
        return false;
    }
    if (mode != PREALLOC_MODE_OFF) {
        ret = (node->driver->preallocate ? node->driver->preallocate : preallocate_bytes)(node, old,
                                                                                          mode);
    }
    if (ret < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Could not preallocate what was added to '%s': %s",
                    node->filename, g_strerror(-ret));
    }
    return ret == 0;
}

/* ---- status */

int block_node_status(struct block_node *node, uint64_t offset, uint64_t bytes,
                      struct block_status *status)
{
    *status = (struct block_status){.kind = BLOCK_STATUS_DATA, .bytes = bytes};
    return node->driver->status ? node->driver->status(node, offset, bytes, status) : 0;
}

int block_chain_status(struct block_node *node, uint64_t offset, uint64_t bytes,
                       struct block_status *status, unsigned *depth, bool *present)
{
    *depth = 0;
    *present = true;
    for (;;) {
        struct block_node *backing = block_node_below(node, "backing");
        int ret = block_node_status(node, offset, bytes, status);
        uint64_t end = backing ? block_node_bytes(backing) : 0;

        if (ret < 0 || status->kind != BLOCK_STATUS_ABSENT) {
            return ret;
        }
        bytes = status->bytes;
        if (offset >= end) { /* there is no backing node, or it is shorter */
            status->kind = BLOCK_STATUS_ZERO;
            *present = false;
            return 0;
        }
        node = backing;
        ++*depth;
        bytes = MIN(bytes, end - offset);
    }
}

const char *block_node_filename(const struct block_node *node)
{
    return node->filename;
}

struct block_node *block_node_backing(const struct block_node *node)
{
    return block_node_below(node, "backing");
}

const char *block_node_format(const struct block_node *node)
{
    return blockdev_driver_str(node->driver->id);
}
