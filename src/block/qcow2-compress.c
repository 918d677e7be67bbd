/*
 * qcow2: compressed clusters (the format's description: QEMU's docs/interop/qcow2.txt, version 7.2,
 * "Compressed Clusters Descriptor").
 *
 * They lie one behind the other, byte by byte, so that several share a cluster of the image, which
 * counts a reference for each, and one may reach into the next. They are never written in place.
 */
#include "block/image.h"
#include "block/qcow2-priv.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

/* ---- the bytes */

static bool inflate_raw(const uint8_t *in, uint64_t n, uint8_t *out, uint64_t bytes)
{
    z_stream z = {
        .next_in = (Bytef *)in, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)bytes};
    int ret;

    if (inflateInit2(&z, -12) != Z_OK) {
        return false;
    }
    ret = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    /* The input is padded, so the stream may end before or after the output is full. */
    return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0;
}

static bool decompress_zstd(const uint8_t *in, uint64_t n, uint8_t *out, uint64_t bytes)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    ZSTD_outBuffer o = {out, bytes, 0};
    ZSTD_inBuffer i = {in, n, 0};
    size_t ret = 1;

    while (ctx && ret != 0 && !ZSTD_isError(ret) && o.pos < o.size && i.pos < i.size) {
        ret = ZSTD_decompressStream(ctx, &o, &i);
    }
    ZSTD_freeDCtx(ctx);
    return o.pos == o.size && !ZSTD_isError(ret);
}

uint8_t *qcow2_decompress(const struct qcow2 *q, const uint8_t *in, uint64_t n)
{
    uint8_t *out = g_try_malloc(q->cluster_bytes);

    if (out && !(q->zstd ? decompress_zstd : inflate_raw)(in, n, out, q->cluster_bytes)) {
        g_free(out);
        return NULL;
    }
    return out;
}

static bool deflate_raw(const uint8_t *in, uint8_t *out, uint64_t bytes, uint64_t *n)
{
    z_stream z = {.next_in = (Bytef *)in,
                  .avail_in = (uInt)bytes,
                  .next_out = out,
                  .avail_out = (uInt)(bytes - 1)};
    int ret;

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        return false;
    }
    ret = deflate(&z, Z_FINISH);
    *n = z.total_out;
    deflateEnd(&z);
    return ret == Z_STREAM_END;
}

static bool compress_zstd(const uint8_t *in, uint8_t *out, uint64_t bytes, uint64_t *n)
{
    size_t ret = ZSTD_compress(out, bytes - 1, in, bytes, ZSTD_CLEVEL_DEFAULT);

    *n = ret;
    return !ZSTD_isError(ret);
}

/* ---- where they go; the worker's */

/* A reference more to the cluster that the last one ended in, if it can count it. */
static bool share_cluster(struct qcow2 *q)
{
    uint64_t max = q->refcount_bits == 64 ? UINT64_MAX : (1ull << q->refcount_bits) - 1, count;
    uint64_t cluster = q->packed_end >> q->cluster_bits;

    return qcow2_count_get(q, cluster, &count) == 0 && count < max &&
           qcow2_count_change(q, cluster, 1) == 0;
}

/* Room for n bytes, fewer than a cluster has, counted. */
static int pack(struct qcow2 *q, uint64_t n, uint64_t *offset)
{
    uint64_t room = q->packed_end ? -q->packed_end & (q->cluster_bytes - 1) : 0, cluster;
    bool fresh;
    int ret;

    block_node_debug(q->file, BLKDEBUG_EVENT_CLUSTER_ALLOC_BYTES);
    if (n > room) {
        ret = qcow2_alloc(q, &cluster, &fresh);
        if (ret < 0) {
            return ret;
        }
        if (room && cluster != q->packed_end + room) {
            room = 0;
        }
    }
    if (room && share_cluster(q)) {
        *offset = q->packed_end;
    } else if (n > room) {
        *offset = cluster;
    } else {
        ret = qcow2_alloc(q, offset, &fresh);
        if (ret < 0) {
            return ret;
        }
    }
    q->packed_end = *offset + n;
    return 0;
}

struct packed {
    uint64_t guest, n;
    const uint8_t *data;
};

static int link_packed(struct qcow2 *q, const struct packed *p, uint64_t offset)
{
    unsigned x = 62 - (q->cluster_bits - 8);
    uint64_t sectors = ((offset + p->n - 1) >> 9) - (offset >> 9), old;
    struct qcow2_table *table;
    int ret = qcow2_l2_get(q, p->guest, true, &table, &old);

    if (ret == 0) {
        block_node_debug(q->file, BLKDEBUG_EVENT_L2_UPDATE_COMPRESSED);
        qcow2_l2_set(q, table, p->guest, QCOW2_COMPRESSED | sectors << x | offset);
        qcow2_free_entry(q, old, QCOW2_DISCARD_NEVER);
    }
    return ret;
}

static int write_packed(struct qcow2 *q, void *arg)
{
    const struct packed *p = arg;
    uint64_t offset, key = p->guest >> q->cluster_bits;
    int ret = q->corrupt ? -EIO : g_hash_table_contains(q->allocating, &key) ? -EBUSY : 0;

    ret = ret < 0 ? ret : pack(q, p->n, &offset);
    if (ret < 0) {
        return ret;
    }
    ret = offset >> (62 - (q->cluster_bits - 8))
              ? -EFBIG
              : qcow2_write_check(q, QCOW2_KIND__MAX, offset, p->n);
    block_node_debug(q->file, BLKDEBUG_EVENT_WRITE_COMPRESSED);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, offset, p->data, p->n);
    ret = ret < 0 ? ret : link_packed(q, p, offset);
    if (ret < 0) {
        qcow2_free_later(q, offset, p->n, QCOW2_DISCARD_NEVER);
    }
    return ret;
}

int block_node_write_compressed(struct block_node *node, uint64_t offset, const void *data,
                                uint64_t bytes)
{
    struct qcow2 *q = node->driver == &block_qcow2 ? node->state : NULL;
    struct packed p = {.guest = offset};
    g_autofree uint8_t *in = NULL, *out = NULL;

    if (!q) {
        return -ENOTSUP;
    }
    g_assert((offset & (q->cluster_bytes - 1)) == 0 && bytes <= q->cluster_bytes);
    in = g_malloc0(q->cluster_bytes); /* at the disk's end a cluster may be longer than the data */
    out = g_malloc(q->cluster_bytes);
    memcpy(in, data, bytes);
    if (!(q->zstd ? compress_zstd : deflate_raw)(in, out, q->cluster_bytes, &p.n)) {
        return block_node_pwrite(node, offset, data, bytes); /* it would not get smaller */
    }
    p.data = out;
    return qcow2_call(q, write_packed, &p);
}

uint64_t block_node_cluster_bytes(const struct block_node *node)
{
    const struct qcow2 *q = node->driver == &block_qcow2 ? node->state : NULL;

    return q ? q->cluster_bytes : 0;
}
