/*
 * What the monitor is told of nodes and back ends.
 */
#include "block/block-priv.h"
#include "block/image.h"

struct image_info *block_node_image(struct block_node *node, bool chain)
{
    struct image_info *image = g_new0(struct image_info, 1);
    struct block_node *at = node;
    int64_t allocated = -1;

    image->filename = g_strdup(node->filename ? node->filename : "");
    image->format = g_strdup(blockdev_driver_str(node->driver->id));
    image->virtual_size = (int64_t)block_node_bytes(node);
    while (at && !at->driver->allocated_bytes) {
        at = block_node_below(at, "file");
    }
    if (at) {
        allocated = at->driver->allocated_bytes(at);
    }
    if (allocated >= 0) {
        image->has_actual_size = true;
        image->actual_size = allocated;
    }
    image->has_dirty_flag = (at == node && node->driver->id != BLOCKDEV_DRIVER_NULL_CO) ||
                            node->driver->id == BLOCKDEV_DRIVER_RAW;
    if (node->driver->image_info) {
        node->driver->image_info(node, image);
    }
    struct block_node *backing = block_node_below(node, "backing");

    if (backing && chain) {
        image->backing_image = block_node_image(backing, chain);
    }
    return image;
}

struct block_device_info *block_node_info(struct block_node *node, bool flat)
{
    struct block_device_info *info = g_new0(struct block_device_info, 1);

    info->file = g_strdup(node->filename ? node->filename : "");
    info->node_name = g_strdup(node->name);
    info->ro = node->read_only;
    info->drv = g_strdup(blockdev_driver_str(node->driver->id));
    info->detect_zeroes = node->detect_zeroes;
    info->image = block_node_image(node, !flat);
    info->dirty_bitmaps = node->driver->dirty_bitmaps ? node->driver->dirty_bitmaps(node) : NULL;
    info->cache = g_new0(struct blockdev_cache_info, 1);
    info->cache->writeback = true;
    info->cache->direct = node->direct;
    info->cache->no_flush = node->no_flush;
    for (struct block_node *b = block_node_below(node, "backing"); b;
         b = block_node_below(b, "backing")) {
        if (!info->backing_file) {
            info->backing_file = g_strdup(b->filename);
        }
        info->backing_file_depth++;
    }
    return info;
}

struct block_device_info_list *block_query_nodes(struct block_graph *graph, bool flat)
{
    struct block_device_info_list *list = block_device_info_list_new();

    for (guint i = graph->nodes->len; i-- > 0;) { /* the newest first */
        block_device_info_list_append(list, block_node_info(graph->nodes->pdata[i], flat));
    }
    return list;
}

struct block_info_list *block_query_backends(struct block_graph *graph)
{
    struct block_info_list *list = block_info_list_new();

    for (guint i = 0; i < graph->backends->len; i++) {
        if (block_backend_is_listed(graph->backends->pdata[i])) {
            block_info_list_append(list, block_backend_info(graph->backends->pdata[i]));
        }
    }
    return list;
}

/* The node alone knows how far was written; the rest is counted by back ends. */
struct block_stats *block_node_stats(struct block_node *node)
{
    struct block_stats *stats = g_new0(struct block_stats, 1);
    struct block_node *file = block_node_below(node, "file");
    struct block_node *backing = block_node_below(node, "backing");

    stats->node_name = g_strdup(node->name);
    stats->stats = g_new0(struct block_device_stats, 1);
    stats->stats->timed_stats = block_device_timed_stats_list_new();
    stats->stats->wr_highest_offset =
        (int64_t)atomic_load_explicit(&node->highest, memory_order_relaxed);
    if (node->driver->stats) {
        stats->driver_specific = node->driver->stats(node);
    }
    if (file) {
        stats->parent = block_node_stats(file);
    }
    if (backing) {
        stats->backing = block_node_stats(backing);
    }
    return stats;
}

struct block_stats_list *block_query_stats(struct block_graph *graph, bool nodes)
{
    struct block_stats_list *list = block_stats_list_new();

    if (nodes) {
        for (guint i = graph->nodes->len; i-- > 0;) {
            block_stats_list_append(list, block_node_stats(graph->nodes->pdata[i]));
        }
        return list;
    }
    for (guint i = 0; i < graph->backends->len; i++) {
        if (block_backend_is_listed(graph->backends->pdata[i])) {
            block_stats_list_append(list, block_backend_stats(graph->backends->pdata[i]));
        }
    }
    return list;
}
