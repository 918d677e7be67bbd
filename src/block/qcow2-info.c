/*
 * qcow2: what is told of an image: its format, the snapshots and the dirty bitmaps that it keeps
 * (the format's description: QEMU's docs/interop/qcow2.txt, version 7.2, "Snapshots", "Bitmaps").
 *
 * Both lists are read with the tables and kept in memory, so that whoever asks does not wait for
 * the disk. Bitmaps are not written here: those that should note writes are marked as in use when
 * an image is opened to be written (qcow2-header.c), and are shown as inconsistent.
 */
#include "block/qcow2-snapshot.h"

#include "base/log.h"
#include <errno.h>

#define MAX_COUNTED_BYTES (64u << 20) /* of bitmaps that are read to count their bits */

struct qcow2_bitmap {
    char *name;
    unsigned granularity_bits;
    uint32_t flags;
    bool counted;
    uint64_t dirty_bytes;
};

static void bitmap_free(gpointer data)
{
    struct qcow2_bitmap *b = data;

    g_free(b->name);
    g_free(b);
}

/* ---- bitmaps */

/* Bits that are set in a piece of a bitmap, `bits` of them counting. */
static uint64_t count_bits(const uint8_t *data, uint64_t bits)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < bits / 8; i++) {
        n += (uint64_t)__builtin_popcount(data[i]);
    }
    return bits % 8 ? n + (uint64_t)__builtin_popcount(data[bits / 8] & ((1u << bits % 8) - 1)) : n;
}

/* How much of the disk a bitmap marks. *room: bytes that may still be read for that. */
static int bitmap_count(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t table_offset, uint64_t n,
                        uint64_t *room)
{
    uint64_t granularity = 1ull << b->granularity_bits, per = q->cluster_bytes * 8;
    uint64_t bits = q->bytes / granularity + (q->bytes % granularity != 0), set = 0;
    g_autofree uint8_t *table = NULL, *data = NULL;
    int ret;

    if (n != bits / per + (bits % per != 0) || n * (q->cluster_bytes + 8) > *room ||
        (n && !qcow2_is_cluster(q, table_offset))) {
        return -EFBIG;
    }
    *room -= n * (q->cluster_bytes + 8);
    table = g_malloc(MAX(8 * n, 1));
    data = g_malloc(q->cluster_bytes);
    ret = n ? block_node_pread(q->file, table_offset, table, 8 * n) : 0;
    for (uint64_t i = 0; i < n && ret == 0; i++, bits -= MIN(bits, per)) {
        uint64_t entry = qcow2_be64(table + 8 * i), offset = entry & QCOW2_OFFSET_MASK;

        if (!offset) {
            set += entry & 1 ? MIN(bits, per) : 0;
            continue;
        }
        ret = qcow2_is_cluster(q, offset)
                  ? block_node_pread(q->file, offset, data, q->cluster_bytes)
                  : -EINVAL;
        set += ret == 0 ? count_bits(data, MIN(bits, per)) : 0;
    }
    b->counted = ret == 0;
    b->dirty_bytes = set << b->granularity_bits;
    return ret;
}

/* The entry at *at of a directory of n bytes; NULL: it makes no sense. */
static struct qcow2_bitmap *bitmap_read(struct qcow2 *q, const uint8_t *dir, uint64_t n,
                                        uint64_t *at, uint64_t *room)
{
    const uint8_t *entry = dir + *at;
    struct qcow2_bitmap *b;
    uint64_t name_bytes, extra;

    if (*at + 24 > n || *at + qcow2_bitmap_entry_bytes(entry) > n) {
        return NULL;
    }
    name_bytes = (uint64_t)(entry[18] << 8 | entry[19]);
    extra = qcow2_be32(entry + 20);
    if (entry[17] < 9 || entry[17] > 31 || memchr(entry + 24 + extra, 0, name_bytes)) {
        return NULL;
    }
    b = g_new0(struct qcow2_bitmap, 1);
    b->name = g_strndup((const char *)entry + 24 + extra, name_bytes);
    b->granularity_bits = entry[17];
    b->flags = qcow2_be32(entry + 12);
    if (!(b->flags & QCOW2_BITMAP_IN_USE)) {
        bitmap_count(q, b, qcow2_be64(entry), qcow2_be32(entry + 8), room);
    }
    *at += qcow2_bitmap_entry_bytes(entry);
    return b;
}

static GPtrArray *bitmaps_read(struct qcow2 *q)
{
    GPtrArray *all = g_ptr_array_new_with_free_func(bitmap_free);
    g_autofree uint8_t *dir = NULL;
    uint64_t at = 0, room = MAX_COUNTED_BYTES;

    if (q->bitmaps_bytes > QCOW2_MAX_BITMAP_DIR || !qcow2_is_cluster(q, q->bitmaps_offset)) {
        return all;
    }
    dir = g_try_malloc(MAX(q->bitmaps_bytes, 1));
    if (!dir || block_node_pread(q->file, q->bitmaps_offset, dir, q->bitmaps_bytes) < 0) {
        return all;
    }
    for (uint32_t i = 0; i < q->bitmaps; i++) {
        struct qcow2_bitmap *b = bitmap_read(q, dir, q->bitmaps_bytes, &at, &room);

        if (!b) {
            log_error("qcow2: '%s': entry %u of its bitmap directory makes no sense",
                      q->node->filename, i);
            break;
        }
        g_ptr_array_add(all, b);
    }
    return all;
}

void qcow2_lists_read(struct qcow2 *q)
{
    q->snapshot_list = q->snapshots ? qcow2_snapshots_read(q) : NULL;
    q->bitmap_list = q->bitmaps ? bitmaps_read(q) : NULL;
    for (guint i = 0; q->snapshot_list && i < q->snapshot_list->len; i++) {
        const struct qcow2_snapshot *s = q->snapshot_list->pdata[i];

        if (s->l1_size) {
            qcow2_metadata_add(q, QCOW2_INACTIVE_L1, s->l1_offset, 8ull * s->l1_size);
        }
    }
    if (q->bitmap_list && q->bitmap_list->len) {
        qcow2_metadata_add(q, QCOW2_BITMAP_DIRECTORY, q->bitmaps_offset, q->bitmaps_bytes);
    }
}

void qcow2_lists_drop(struct qcow2 *q)
{
    g_clear_pointer(&q->snapshot_list, g_ptr_array_unref);
    g_clear_pointer(&q->bitmap_list, g_ptr_array_unref);
}

/* ---- telling */

static struct qcow2_bitmap_info_list *bitmap_infos(const GPtrArray *bitmaps)
{
    struct qcow2_bitmap_info_list *list = qcow2_bitmap_info_list_new();

    for (guint i = 0; i < bitmaps->len; i++) {
        const struct qcow2_bitmap *b = bitmaps->pdata[i];
        struct qcow2_bitmap_info *info = g_new0(struct qcow2_bitmap_info, 1);

        info->name = g_strdup(b->name);
        info->granularity = 1u << b->granularity_bits;
        info->flags = qcow2_bitmap_info_flags_list_new();
        if (b->flags & QCOW2_BITMAP_IN_USE) {
            qcow2_bitmap_info_flags_list_append(info->flags, QCOW2_BITMAP_INFO_FLAGS_IN_USE);
        }
        if (b->flags & QCOW2_BITMAP_AUTO) {
            qcow2_bitmap_info_flags_list_append(info->flags, QCOW2_BITMAP_INFO_FLAGS_AUTO);
        }
        qcow2_bitmap_info_list_append(list, info);
    }
    return list;
}

static struct snapshot_info_list *snapshot_infos(const GPtrArray *snapshots)
{
    struct snapshot_info_list *list = snapshot_info_list_new();

    for (guint i = 0; i < snapshots->len; i++) {
        const struct qcow2_snapshot *s = snapshots->pdata[i];
        struct snapshot_info *info = g_new0(struct snapshot_info, 1);

        info->id = g_strdup(s->id);
        info->name = g_strdup(s->name);
        info->vm_state_size = (int64_t)s->state_bytes;
        info->date_sec = s->date_s;
        info->date_nsec = s->date_ns;
        info->vm_clock_sec = (int64_t)(s->clock_ns / 1000000000);
        info->vm_clock_nsec = (int64_t)(s->clock_ns % 1000000000);
        info->has_icount = s->icount != UINT64_MAX;
        info->icount = info->has_icount ? (int64_t)s->icount : 0;
        snapshot_info_list_append(list, info);
    }
    return list;
}

static struct image_info_specific *specific_info(const struct qcow2 *q)
{
    struct image_info_specific *info = g_new0(struct image_info_specific, 1);
    struct image_info_specific_qcow2 *s = g_new0(struct image_info_specific_qcow2, 1);

    info->type = IMAGE_INFO_SPECIFIC_KIND_QCOW2;
    info->u.qcow2.data = s;
    s->compat = g_strdup(q->version >= 3 ? "1.1" : "0.10");
    s->refcount_bits = q->refcount_bits;
    s->compression_type = q->zstd ? QCOW2_COMPRESSION_TYPE_ZSTD : QCOW2_COMPRESSION_TYPE_ZLIB;
    if (q->version >= 3) {
        s->has_extended_l2 = s->has_lazy_refcounts = s->has_corrupt = true;
        s->lazy_refcounts = q->compatible & QCOW2_COMPAT_LAZY;
        s->corrupt = q->corrupt || q->incompatible & QCOW2_INCOMPAT_CORRUPT;
    }
    if (q->bitmap_list && q->bitmap_list->len) {
        s->bitmaps = bitmap_infos(q->bitmap_list);
    }
    return info;
}

void qcow2_image_info(struct block_node *node, struct image_info *info)
{
    struct qcow2 *q = node->state;

    g_mutex_lock(&q->mutex);
    info->has_cluster_size = true;
    info->cluster_size = (int64_t)q->cluster_bytes;
    info->has_dirty_flag = true;
    info->dirty_flag = q->incompatible & QCOW2_INCOMPAT_DIRTY;
    info->format_specific = specific_info(q);
    if (q->snapshot_list && q->snapshot_list->len) {
        info->snapshots = snapshot_infos(q->snapshot_list);
    }
    if (q->backing_name) {
        info->backing_filename = g_strdup(q->backing_name);
        info->full_backing_filename = qcow2_backing_path(q);
        info->backing_filename_format = g_strdup(q->backing_format);
    }
    g_mutex_unlock(&q->mutex);
}

struct block_dirty_info_list *qcow2_dirty_bitmaps(struct block_node *node)
{
    struct qcow2 *q = node->state;
    struct block_dirty_info_list *list = NULL;

    g_mutex_lock(&q->mutex);
    for (guint i = q->bitmap_list ? q->bitmap_list->len : 0; i-- > 0;) { /* as QEMU: last first */
        const struct qcow2_bitmap *b = q->bitmap_list->pdata[i];
        struct block_dirty_info *info;

        if (!b->counted && !(b->flags & QCOW2_BITMAP_IN_USE)) {
            continue; /* too large to count */
        }
        info = g_new0(struct block_dirty_info, 1);
        info->name = g_strdup(b->name);
        info->granularity = 1u << b->granularity_bits;
        info->persistent = true;
        info->has_inconsistent = info->inconsistent = !b->counted;
        info->recording = b->counted && b->flags & QCOW2_BITMAP_AUTO;
        info->count = b->counted ? (int64_t)b->dirty_bytes : 0;
        list = list ? list : block_dirty_info_list_new();
        block_dirty_info_list_append(list, info);
    }
    g_mutex_unlock(&q->mutex);
    return list;
}
