/*
 * qcow2: making an image in a node (the format's description: QEMU's docs/interop/qcow2.txt,
 * version 7.2). Header, reference counts, L1 table and, with preallocation, L2 tables and data lie
 * one behind the other.
 */
#include "block/create.h"
#include "block/qcow2-priv.h"

#include <inttypes.h>

#define HEADER_BYTES 112u /* of version 3, with the compression type */
#define ZERO_CHUNK   (1u << 20)

struct plan {
    unsigned cluster_bits, refcount_order, version;
    uint64_t cluster_bytes, size;
    bool zstd, lazy, data; /* data: preallocated */
    const char *backing, *backing_format;
    /* clusters of each part, in their order in the file; behind the header */
    uint64_t rt, blocks, l1, l2, guest;
    uint64_t l1_entries;
};

static uint64_t divide_up(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

static uint64_t plan_total(const struct plan *p)
{
    return 1 + p->rt + p->blocks + p->l1 + p->l2 + p->guest;
}

static uint64_t counts_per_block(const struct plan *p)
{
    return p->cluster_bytes * 8 >> p->refcount_order;
}

static bool is_power(uint64_t n)
{
    return n && (n & (n - 1)) == 0;
}

#define REFUSE(...)                                                                                \
    do {                                                                                           \
        g_set_error(error, BLOCK_ERROR, 0, __VA_ARGS__);                                           \
        return false;                                                                              \
    } while (0)

static bool check_version(const struct plan *p, GError **error)
{
    if (p->version >= 3) {
        return true;
    }
    if (p->lazy) {
        REFUSE("Lazy refcounts only supported with compatibility level 1.1 and above (use "
               "version=v3 or greater)");
    }
    if (p->refcount_order != 4) {
        REFUSE("Different refcount widths than 16 bits require compatibility level 1.1 or above "
               "(use version=v3 or greater)");
    }
    if (p->zstd) {
        REFUSE("Non-zlib compression type is only supported with compatibility level 1.1 and above "
               "(use version=v3 or greater)");
    }
    return true;
}

static bool plan_read(struct plan *p, const struct blockdev_create_options_qcow2 *o, GError **error)
{
    uint64_t cluster = o->has_cluster_size ? o->cluster_size : 65536;
    int64_t bits = o->has_refcount_bits ? o->refcount_bits : 16;

    if (o->size % BLOCK_SECTOR_BYTES) {
        REFUSE("Image size must be a multiple of %u bytes", BLOCK_SECTOR_BYTES);
    }
    if (o->size > INT64_MAX / 2) {
        REFUSE("Image size %" PRIu64 " is too large", o->size);
    }
    if (!is_power(cluster) || cluster < 512 || cluster > 2 << 20) {
        REFUSE("Cluster size must be a power of two between 512 and 2048k");
    }
    if (bits < 1 || bits > 64 || !is_power((uint64_t)bits)) {
        REFUSE("Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (o->has_backing_fmt && !o->backing_file) {
        REFUSE("Backing format cannot be used without backing file");
    }
    p->data = o->has_preallocation && o->preallocation != PREALLOC_MODE_OFF;
    if (p->data && o->backing_file) {
        REFUSE("Backing file and preallocation can only be used at the same time if extended_l2 is "
               "enabled");
    }
    if (o->backing_file && strlen(o->backing_file) > 1023) {
        REFUSE("Backing file name too long: at most 1023 bytes");
    }
    p->size = o->size;
    p->version = o->has_version && o->version == BLOCKDEV_QCOW2_VERSION_V2 ? 2 : 3;
    p->cluster_bytes = cluster;
    p->cluster_bits = (unsigned)__builtin_ctzll(cluster);
    p->refcount_order = (unsigned)__builtin_ctzll((uint64_t)bits);
    p->lazy = o->has_lazy_refcounts && o->lazy_refcounts;
    p->zstd = o->has_compression_type && o->compression_type == QCOW2_COMPRESSION_TYPE_ZSTD;
    p->backing = o->backing_file;
    p->backing_format = o->has_backing_fmt ? blockdev_driver_str(o->backing_fmt) : NULL;
    return check_version(p, error);
}

static bool plan_layout(struct plan *p, GError **error)
{
    uint64_t cluster = p->cluster_bytes, before;

    p->l1_entries = divide_up(p->size, cluster << (p->cluster_bits - 3));
    if (8 * p->l1_entries > QCOW2_MAX_L1_BYTES) {
        REFUSE("Image size too large for cluster size %" PRIu64, cluster);
    }
    if ((p->backing ? strlen(p->backing) : 0) + HEADER_BYTES + 32 > cluster) {
        REFUSE("Backing file name too long for cluster size %" PRIu64, cluster);
    }
    p->l1 = divide_up(8 * p->l1_entries, cluster);
    p->guest = p->data ? divide_up(p->size, cluster) : 0;
    p->l2 = p->data ? p->l1_entries : 0;
    p->rt = p->blocks = 1;
    do {
        before = p->blocks + p->rt;
        p->blocks = divide_up(plan_total(p), counts_per_block(p));
        p->rt = divide_up(8 * p->blocks, cluster);
    } while (p->blocks + p->rt != before);
    if (p->rt * cluster > QCOW2_MAX_RT_BYTES) {
        REFUSE("Image size too large for cluster size %" PRIu64, cluster);
    }
    return true;
}

/* ---- writing */

static void put_extension(uint8_t *header, uint64_t *at, uint32_t type, const char *text)
{
    uint32_t n = text ? (uint32_t)strlen(text) : 0;

    qcow2_put_be32(header + *at, type);
    qcow2_put_be32(header + *at + 4, n);
    if (text) {
        memcpy(header + *at + 8, text, n);
    }
    *at += 8 + (n + 7) / 8 * 8;
}

static int write_header(struct block_node *file, const struct plan *p)
{
    g_autofree uint8_t *h = g_malloc0(p->cluster_bytes);
    uint64_t at = p->version >= 3 ? HEADER_BYTES : QCOW2_HEADER_V2;
    uint64_t l1 = (1 + p->rt + p->blocks) << p->cluster_bits;

    qcow2_put_be32(h, QCOW2_MAGIC);
    qcow2_put_be32(h + 4, p->version);
    qcow2_put_be32(h + 20, p->cluster_bits);
    qcow2_put_be64(h + QCOW2_AT_SIZE, p->size);
    qcow2_put_be32(h + QCOW2_AT_L1, (uint32_t)p->l1_entries);
    qcow2_put_be64(h + QCOW2_AT_L1 + 4, l1);
    qcow2_put_be64(h + QCOW2_AT_RT, p->cluster_bytes);
    qcow2_put_be32(h + QCOW2_AT_RT + 8, (uint32_t)p->rt);
    if (p->version >= 3) {
        qcow2_put_be64(h + QCOW2_AT_INCOMPATIBLE, p->zstd ? QCOW2_INCOMPAT_ZSTD : 0);
        qcow2_put_be64(h + QCOW2_AT_COMPATIBLE, p->lazy ? QCOW2_COMPAT_LAZY : 0);
        qcow2_put_be32(h + 96, p->refcount_order);
        qcow2_put_be32(h + 100, HEADER_BYTES);
        h[104] = p->zstd;
    }
    if (p->backing_format) {
        put_extension(h, &at, QCOW2_EXT_BACKING, p->backing_format);
    }
    put_extension(h, &at, QCOW2_EXT_END, NULL);
    if (p->backing) {
        memcpy(h + at, p->backing, strlen(p->backing));
        qcow2_put_be64(h + 8, at);
        qcow2_put_be32(h + 16, (uint32_t)strlen(p->backing));
    }
    /* The rest of the cluster is as the file was cleared. */
    at += p->backing ? strlen(p->backing) : 0;
    return block_node_pwrite(file, 0, h, MIN(p->cluster_bytes, (at + 4095) & ~4095ull));
}

/* Tables that run on: entry i of the n is base + i * cluster, with the flags. */
static int write_pointers(struct block_node *file, const struct plan *p, uint64_t first,
                          uint64_t clusters, uint64_t n, uint64_t base, uint64_t flags)
{
    g_autofree uint8_t *buf = g_malloc(p->cluster_bytes);
    uint64_t per = p->cluster_bytes / 8;
    int ret = 0;

    for (uint64_t c = 0; c < clusters && ret == 0; c++) {
        for (uint64_t i = 0; i < per; i++) {
            uint64_t k = c * per + i;

            qcow2_put_be64(buf + 8 * i, k < n ? (base + k) << p->cluster_bits | flags : 0);
        }
        ret = block_node_pwrite(file, (first + c) << p->cluster_bits, buf, p->cluster_bytes);
    }
    return ret;
}

static int write_counts(struct block_node *file, const struct plan *p)
{
    g_autofree uint8_t *buf = g_malloc(p->cluster_bytes);
    uint64_t per = counts_per_block(p), total = plan_total(p);
    unsigned bits = 1u << p->refcount_order;
    int ret = 0;

    for (uint64_t b = 0; b < p->blocks && ret == 0; b++) {
        memset(buf, 0, p->cluster_bytes);
        for (uint64_t i = 0; i < per && b * per + i < total; i++) {
            if (bits < 8) {
                buf[i * bits / 8] |= (uint8_t)(1u << (i * bits % 8));
            } else {
                buf[(i + 1) * (bits / 8) - 1] = 1;
            }
        }
        ret = block_node_pwrite(file, (1 + p->rt + b) << p->cluster_bits, buf, p->cluster_bytes);
    }
    return ret;
}

/* What is preallocated. Data are zeroes on the disk, or room for them. */
static int write_data(struct block_node *file, const struct plan *p, enum prealloc_mode mode)
{
    uint64_t at = (plan_total(p) - p->guest) << p->cluster_bits;
    uint64_t end = plan_total(p) << p->cluster_bits;
    g_autofree uint8_t *zeroes = NULL;
    int ret = 0;

    if (mode == PREALLOC_MODE_METADATA) { /* the file's length alone */
        uint8_t none = 0;

        return file->driver->resize ? file->driver->resize(file, end, NULL)
               : end > at           ? block_node_pwrite(file, end - 1, &none, 1)
                                    : 0;
    }
    zeroes = g_malloc0(ZERO_CHUNK);
    while (at < end && ret == 0) {
        uint64_t n = MIN(end - at, mode == PREALLOC_MODE_FULL ? ZERO_CHUNK : 1u << 30);

        ret = mode == PREALLOC_MODE_FULL ? block_node_pwrite(file, at, zeroes, n)
                                         : block_node_sync(file, BLOCK_WRITE_ZEROES, at, n, 0);
        at += n;
    }
    return ret;
}

bool qcow2_create(struct block_node *file, const struct blockdev_create_options_qcow2 *o,
                  GError **error)
{
    struct plan p = {0};
    uint64_t l1, l2;
    int ret;

    if (!plan_read(&p, o, error) || !plan_layout(&p, error)) {
        return false;
    }
    l1 = 1 + p.rt + p.blocks;
    l2 = l1 + p.l1;
    ret = block_file_clear(file);
    ret = ret < 0 ? ret : write_pointers(file, &p, 1, p.rt, p.blocks, 1 + p.rt, 0);
    ret = ret < 0 ? ret : write_counts(file, &p);
    ret = ret < 0 ? ret : write_pointers(file, &p, l1, p.l1, p.l2, l2, QCOW2_COPIED);
    ret = ret < 0 ? ret : write_pointers(file, &p, l2, p.l2, p.guest, l2 + p.l2, QCOW2_COPIED);
    if (ret == 0 && p.data) {
        ret = write_data(file, &p, o->preallocation);
    }
    /* Last: an image that is not complete is none. */
    ret = ret < 0 ? ret : block_node_sync(file, BLOCK_FLUSH, 0, 0, 0);
    ret = ret < 0 ? ret : write_header(file, &p);
    ret = ret < 0 ? ret : block_node_sync(file, BLOCK_FLUSH, 0, 0, 0);
    if (ret < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Could not create qcow2 image in '%s': %s",
                    block_node_name(file), g_strerror(-ret));
    }
    return ret == 0;
}
