/*
 * qcow2: opening an image: its header, header extensions and the tables that are kept in memory
 * (the format's description: QEMU's docs/interop/qcow2.txt, version 7.2).
 *
 * Numbers of the image are not believed: sizes are bounded before memory is taken, and offsets must
 * be whole clusters.
 */
#include "base/log.h"
#include "block/qcow2-check.h"
#include "block/qcow2-priv.h"

#include <errno.h>

#define INCOMPAT_KNOWN (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT | QCOW2_INCOMPAT_ZSTD)
#define MAX_SNAPSHOTS  65536u
#define FEATURE_BYTES  48u /* of an entry: type, bit, name */

/* ---- opening */

#define REFUSE(...)                                                                                \
    do {                                                                                           \
        g_set_error(error, BLOCK_ERROR, 0, __VA_ARGS__);                                           \
        return -EINVAL;                                                                            \
    } while (0)

struct header {
    uint64_t backing_offset, size, l1_offset, rt_offset, snapshots_offset;
    uint32_t backing_bytes, cluster_bits, crypt, l1_size, rt_clusters, snapshots;
    uint32_t refcount_order, header_bytes;
    uint8_t compression;
};

static int header_parse(struct qcow2 *q, const uint8_t *b, struct header *h, GError **error)
{
    if (qcow2_be32(b) != QCOW2_MAGIC) {
        REFUSE("Image is not in qcow2 format");
    }
    q->version = qcow2_be32(b + 4);
    if (q->version < 2 || q->version > 3) {
        REFUSE("Unsupported qcow2 version %u", q->version);
    }
    *h = (struct header){.backing_offset = qcow2_be64(b + 8),
                         .backing_bytes = qcow2_be32(b + 16),
                         .cluster_bits = qcow2_be32(b + 20),
                         .size = qcow2_be64(b + 24),
                         .crypt = qcow2_be32(b + 32),
                         .l1_size = qcow2_be32(b + 36),
                         .l1_offset = qcow2_be64(b + 40),
                         .rt_offset = qcow2_be64(b + 48),
                         .rt_clusters = qcow2_be32(b + 56),
                         .snapshots = qcow2_be32(b + 60),
                         .snapshots_offset = qcow2_be64(b + 64),
                         .refcount_order = 4,
                         .header_bytes = QCOW2_HEADER_V2};
    if (q->version >= 3) {
        q->incompatible = qcow2_be64(b + QCOW2_AT_INCOMPATIBLE);
        q->compatible = qcow2_be64(b + QCOW2_AT_COMPATIBLE);
        q->autoclear = qcow2_be64(b + QCOW2_AT_AUTOCLEAR);
        h->refcount_order = qcow2_be32(b + 96);
        h->header_bytes = qcow2_be32(b + 100);
        h->compression = h->header_bytes > 104 ? b[104] : 0;
    }
    return 0;
}

/* The image's own table may name the bits that we do not know. */
static int features_check(struct qcow2 *q, const struct header *h, const uint8_t *first, uint64_t n,
                          GError **error)
{
    uint64_t unknown = q->incompatible & ~(uint64_t)INCOMPAT_KNOWN, at = h->header_bytes;
    g_autoptr(GString) names = g_string_new(NULL);

    if (!unknown) {
        return 0;
    }
    while (at + 8 <= n) {
        uint32_t type = qcow2_be32(first + at), bytes = qcow2_be32(first + at + 4);

        if (type == QCOW2_EXT_END || bytes > n - at - 8) {
            break;
        }
        for (uint64_t i = at + 8; type == QCOW2_EXT_FEATURES && i + FEATURE_BYTES <= at + 8 + bytes;
             i += FEATURE_BYTES) {
            if (first[i] == 0 && first[i + 1] < 64 && unknown & 1ull << first[i + 1]) {
                g_autofree char *raw = g_strndup((const char *)first + i + 2, FEATURE_BYTES - 2);
                g_autofree char *name = g_utf8_make_valid(raw, -1);

                g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
                unknown &= ~(1ull << first[i + 1]);
            }
        }
        at += 8 + ((uint64_t)bytes + 7) / 8 * 8;
    }
    if (unknown) {
        g_string_append_printf(names, "%sUnknown incompatible feature: %" G_GINT64_MODIFIER "x",
                               names->len ? ", " : "", unknown);
    }
    REFUSE("Unsupported qcow2 feature(s): %s", names->str);
}

static int header_check(struct qcow2 *q, const struct header *h, GError **error)
{
    if (h->cluster_bits < 9 || h->cluster_bits > 21) {
        REFUSE("Unsupported cluster size: 2^%u", h->cluster_bits);
    }
    if (h->crypt) {
        REFUSE("Encrypted images are not supported");
    }
    if (h->refcount_order > 6) {
        REFUSE("Reference count entry width too large; may not exceed 64 bits");
    }
    if (h->compression > 1 || (h->compression == 1) != !!(q->incompatible & QCOW2_INCOMPAT_ZSTD)) {
        REFUSE("Unknown compression type %u", h->compression);
    }
    if (h->header_bytes < (q->version >= 3 ? QCOW2_HEADER_V3 : QCOW2_HEADER_V2) ||
        h->header_bytes > 1ull << h->cluster_bits) {
        REFUSE("qcow2 header length %u is not possible", h->header_bytes);
    }
    if (h->snapshots > MAX_SNAPSHOTS) {
        REFUSE("Too many snapshots: %u", h->snapshots);
    }
    if (h->size > INT64_MAX / 2) {
        REFUSE("Image size %" G_GUINT64_FORMAT " is too large", h->size);
    }
    return 0;
}

/* What of it lies where, now that the size of clusters is known. */
static int tables_check(struct qcow2 *q, const struct header *h, GError **error)
{
    uint64_t per_l1 = q->cluster_bytes << (q->cluster_bits - 3);
    uint64_t need = h->size / per_l1 + (h->size % per_l1 != 0);

    if (h->l1_size > QCOW2_MAX_L1_BYTES / 8 || h->l1_size < need) {
        REFUSE("L1 table of %u entries is too %s", h->l1_size,
               h->l1_size < need ? "small" : "large");
    }
    if (h->rt_clusters == 0 || (uint64_t)h->rt_clusters << q->cluster_bits > QCOW2_MAX_RT_BYTES) {
        REFUSE("Reference count table of %u clusters", h->rt_clusters);
    }
    if (!qcow2_is_cluster(q, h->rt_offset) || (h->l1_size && !qcow2_is_cluster(q, h->l1_offset)) ||
        (h->snapshots && !qcow2_is_cluster(q, h->snapshots_offset))) {
        REFUSE("Invalid L1 table, reference count table or snapshot table offset");
    }
    if (q->incompatible & QCOW2_INCOMPAT_CORRUPT && !q->node->read_only && !q->repairing) {
        REFUSE("Image is corrupt; cannot be opened read/write");
    }
    return 0;
}

static int read_be64s(struct qcow2 *q, uint64_t offset, uint64_t n, uint64_t **out)
{
    uint64_t *values = g_try_new(uint64_t, MAX(n, 1));
    int ret = values ? block_node_pread(q->file, offset, values, 8 * n) : -ENOMEM;

    for (uint64_t i = 0; i < n && ret == 0; i++) {
        values[i] = GUINT64_FROM_BE(values[i]);
    }
    if (ret < 0) {
        g_free(values);
        values = NULL;
    }
    *out = values;
    return ret;
}

static char *text_of(const uint8_t *bytes, uint32_t n)
{
    return memchr(bytes, 0, n) ? NULL : g_strndup((const char *)bytes, n);
}

/* first: the image's first cluster, 64 KiB at most. */
static int names_read(struct qcow2 *q, const struct header *h, const uint8_t *first, uint64_t n,
                      GError **error)
{
    uint64_t at = h->header_bytes;

    while (at + 8 <= n) {
        uint32_t type = qcow2_be32(first + at), bytes = qcow2_be32(first + at + 4);

        if (type == QCOW2_EXT_END || bytes > n - at - 8) {
            break;
        }
        if (type == QCOW2_EXT_BACKING && bytes < 16) {
            g_free(q->backing_format);
            q->backing_format = text_of(first + at + 8, bytes);
        }
        if (type == QCOW2_EXT_BITMAPS && bytes >= 24 && q->autoclear & QCOW2_AUTOCLEAR_BITMAPS) {
            q->bitmaps = qcow2_be32(first + at + 8);
            q->bitmaps_bytes = qcow2_be64(first + at + 16);
            q->bitmaps_offset = qcow2_be64(first + at + 24);
        }
        at += 8 + ((uint64_t)bytes + 7) / 8 * 8;
    }
    if (!h->backing_offset) {
        return 0;
    }
    if (h->backing_bytes > 1023 || h->backing_offset > n ||
        h->backing_bytes > n - h->backing_offset) {
        REFUSE("Backing file name too long or outside of the header");
    }
    q->backing_name = text_of(first + h->backing_offset, h->backing_bytes);
    if (!q->backing_name) {
        REFUSE("Backing file name with a NUL in it");
    }
    return 0;
}

static int tables_read(struct qcow2 *q, const struct header *h, GError **error)
{
    int ret = read_be64s(q, h->l1_offset, h->l1_size, &q->l1);

    q->l1_size = h->l1_size;
    q->l1_offset = h->l1_offset;
    q->snapshots = h->snapshots;
    q->snapshots_offset = h->snapshots_offset;
    q->rt_offset = h->rt_offset;
    q->rt_size = ((uint64_t)h->rt_clusters << q->cluster_bits) / 8;
    block_node_debug(q->file, BLKDEBUG_EVENT_REFTABLE_LOAD);
    ret = ret < 0 ? ret : read_be64s(q, h->rt_offset, q->rt_size, &q->rt);
    if (ret < 0) {
        REFUSE("Could not read the tables: %s", g_strerror(-ret));
    }
    qcow2_metadata_add(q, QCOW2_HEADER, 0, q->cluster_bytes);
    if (h->l1_size) {
        qcow2_metadata_add(q, QCOW2_ACTIVE_L1, h->l1_offset, 8ull * h->l1_size);
    }
    qcow2_metadata_add(q, QCOW2_REFCOUNT_TABLE, h->rt_offset, 8 * q->rt_size);
    if (h->snapshots) {
        qcow2_metadata_add(q, QCOW2_SNAPSHOT_TABLE, h->snapshots_offset, 1);
    }
    for (unsigned i = 0; i < q->l1_size; i++) {
        if (qcow2_is_cluster(q, q->l1[i] & QCOW2_OFFSET_MASK)) {
            qcow2_metadata_add(q, QCOW2_ACTIVE_L2, q->l1[i] & QCOW2_OFFSET_MASK, q->cluster_bytes);
        }
    }
    for (uint64_t i = 0; i < q->rt_size; i++) {
        if (qcow2_is_cluster(q, q->rt[i] & ~511ull)) {
            qcow2_metadata_add(q, QCOW2_REFCOUNT_BLOCK, q->rt[i] & ~511ull, q->cluster_bytes);
        }
    }
    return 0;
}

/* Dirty bitmaps stay, but those that should note our writes do not: they are marked as QEMU marks
 * them while it writes the image, so that nobody takes them for complete. */
static int bitmaps_mark(struct qcow2 *q)
{
    g_autofree uint8_t *dir = NULL;
    uint64_t at = 0;
    int ret;

    if (q->bitmaps_bytes > QCOW2_MAX_BITMAP_DIR || !qcow2_is_cluster(q, q->bitmaps_offset)) {
        return -EINVAL;
    }
    dir = g_malloc0(q->bitmaps_bytes + 24);
    ret = block_node_pread(q->file, q->bitmaps_offset, dir, q->bitmaps_bytes);
    for (uint32_t i = 0; i < q->bitmaps && ret == 0; i++) {
        uint32_t flags;

        if (at + 24 > q->bitmaps_bytes) {
            return -EINVAL;
        }
        flags = qcow2_be32(dir + at + 12);
        if (flags & QCOW2_BITMAP_AUTO && !(flags & QCOW2_BITMAP_IN_USE)) {
            qcow2_put_be32(dir + at + 12, flags | QCOW2_BITMAP_IN_USE);
            ret = block_node_pwrite(q->file, q->bitmaps_offset + at + 12, dir + at + 12, 4);
        }
        at += qcow2_bitmap_entry_bytes(dir + at);
    }
    return ret < 0 ? ret : block_node_sync(q->file, BLOCK_FLUSH, 0, 0, 0);
}

/* An image with lazy reference counts that was not closed: they are put right before anything is
 * written. */
static int repair_counts(struct qcow2 *q, GError **error)
{
    struct qcow2_check c = {.repair = QCOW2_REPAIR_ALL};
    int ret;

    if (!(q->incompatible & QCOW2_INCOMPAT_DIRTY) || q->node->read_only ||
        q->node->graph->inactive || q->repairing) {
        return 0;
    }
    q->repairing = true;
    ret = qcow2_check_run(q, &c);
    q->repairing = false;
    if (ret < 0 || c.corruptions) {
        REFUSE("Image was not closed properly, and its lazy reference counts can't be repaired: "
               "%s",
               ret < 0 ? g_strerror(-ret) : "it is damaged otherwise");
    }
    log_info("qcow2: '%s' was not closed properly: its reference counts were repaired",
             q->node->filename);
    return 0;
}

/* Bits whose meaning ends when the image is written by somebody who does not know it. */
static int autoclear(struct qcow2 *q, GError **error)
{
    uint64_t keep = q->bitmaps ? q->autoclear & QCOW2_AUTOCLEAR_BITMAPS : 0;
    uint8_t bits[8];
    int ret;

    if (q->node->read_only || q->node->graph->inactive || q->autoclear == 0) {
        return 0;
    }
    if (keep && bitmaps_mark(q) < 0) {
        keep = 0;
        q->bitmaps = 0;
    }
    qcow2_put_be64(bits, keep);
    ret = keep == q->autoclear ? 0 : block_node_pwrite(q->file, QCOW2_AT_AUTOCLEAR, bits, 8);
    if (ret < 0) {
        REFUSE("Could not update the header: %s", g_strerror(-ret));
    }
    q->autoclear = keep;
    return 0;
}

int qcow2_load(struct qcow2 *q, GError **error)
{
    uint64_t n = MIN(block_node_bytes(q->file), 65536);
    g_autofree uint8_t *first = g_malloc0(65536);
    struct header h;
    int ret;

    q->repairing = q->node->graph->repairing;
    q->metadata = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    q->l1_dirty = g_hash_table_new(NULL, NULL);
    q->allocating = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    q->freed = g_array_new(FALSE, FALSE, sizeof(struct qcow2_freed));
    if (n < 512) {
        REFUSE("Image is not in qcow2 format");
    }
    ret = block_node_pread(q->file, 0, first, n);
    if (ret < 0) {
        REFUSE("Could not read qcow2 header: %s", g_strerror(-ret));
    }
    ret = header_parse(q, first, &h, error);
    ret = ret < 0 ? ret : features_check(q, &h, first, n, error);
    ret = ret < 0 ? ret : header_check(q, &h, error);
    if (ret < 0) {
        return ret;
    }
    q->cluster_bits = h.cluster_bits;
    q->cluster_bytes = 1ull << h.cluster_bits;
    q->refcount_bits = 1u << h.refcount_order;
    q->header_bytes = h.header_bytes;
    q->zstd = h.compression == 1;
    q->bytes = h.size;
    q->end_clusters = (block_node_bytes(q->file) + q->cluster_bytes - 1) >> q->cluster_bits;
    qcow2_cache_init(&q->l2);
    qcow2_cache_init(&q->refcounts);
    qcow2_cache_configure(q);
    ret = tables_check(q, &h, error);
    ret = ret < 0 ? ret : names_read(q, &h, first, MIN(n, q->cluster_bytes), error);
    ret = ret < 0 ? ret : tables_read(q, &h, error);
    ret = ret < 0 ? ret : repair_counts(q, error);
    ret = ret < 0 ? ret : autoclear(q, error);
    if (ret == 0 && !qcow2_settings_apply(q, error)) {
        return -EINVAL;
    }
    if (ret == 0) {
        qcow2_lists_read(q);
    }
    return ret;
}

void qcow2_unload(struct qcow2 *q)
{
    if (q->metadata) {
        g_clear_pointer(&q->metadata, g_hash_table_unref);
        g_clear_pointer(&q->l1_dirty, g_hash_table_unref);
        g_clear_pointer(&q->allocating, g_hash_table_unref);
        g_clear_pointer(&q->freed, g_array_unref);
    }
    if (q->l2.tables) {
        g_clear_pointer(&q->l2.tables, g_hash_table_unref);
        g_clear_pointer(&q->refcounts.tables, g_hash_table_unref);
    }
    qcow2_lists_drop(q);
    g_clear_pointer(&q->l1, g_free);
    g_clear_pointer(&q->rt, g_free);
    g_clear_pointer(&q->backing_name, g_free);
    g_clear_pointer(&q->backing_format, g_free);
    g_clear_pointer(&q->dropped, g_array_unref);
    q->corrupt = q->dirty = false;
    q->signaled = q->lazy = q->uncounted = false;
    q->hint = q->packed_end = 0;
}
