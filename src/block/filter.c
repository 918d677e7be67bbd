/*
 * What nodes have in common that stand on one child and are as long as it: blkdebug, throttle.
 */
#include "block/block-priv.h"
#include "block/create.h"
#include "block/image.h"

#include <errno.h>

static struct block_node *below(const struct block_node *node)
{
    return ((const struct block_child *)node->children->pdata[0])->node;
}

void block_filter_refresh(struct block_node *node)
{
    atomic_store(&node->bytes, block_node_bytes(below(node)));
}

int block_filter_resize(struct block_node *node, uint64_t bytes, GError **error)
{
    struct block_node *child = below(node);
    int ret;

    if (!child->driver->resize) {
        g_set_error(error, BLOCK_ERROR, 0, "Image format driver does not support resize");
        return -ENOTSUP;
    }
    ret = child->driver->resize(child, bytes, error);
    block_filter_refresh(node);
    return ret;
}

int block_filter_status(struct block_node *node, uint64_t offset, uint64_t bytes,
                        struct block_status *status)
{
    return block_node_status(below(node), offset, bytes, status);
}

int block_filter_clear(struct block_node *node)
{
    int ret = block_file_clear(below(node));

    block_filter_refresh(node);
    return ret;
}

int64_t block_filter_allocated(struct block_node *node)
{
    struct block_node *child = below(node);

    return child->driver->allocated_bytes ? child->driver->allocated_bytes(child) : -1;
}
