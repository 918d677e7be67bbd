/*
 * qcow2: the snapshot table, and reference counts of whole trees of tables (the format's
 * description: QEMU's docs/interop/qcow2.txt, version 7.2, "Snapshots").
 *
 * Whoever works on snapshots has the image for himself, all that is in memory being on the disk,
 * and works on the disk but for reference counts; then everything is read again. The order is such
 * that an interruption leaves clusters that are counted too high, no more.
 */
#include "block/qcow2-snapshot.h"

#include "base/log.h"
#include <errno.h>
#include <inttypes.h>

#define ENTRY_BYTES     40u
#define EXTRA_KNOWN     24u
#define EXTRA_MAX       1024u
#define SNAPSHOTS_MAX   65536u
#define TABLE_MAX_BYTES (64u << 20)
#define AT_SNAPSHOTS    60u

void qcow2_snapshot_free(gpointer data)
{
    struct qcow2_snapshot *s = data;

    if (s->extra) {
        g_byte_array_unref(s->extra);
    }
    g_free(s->id);
    g_free(s->name);
    g_free(s);
}

/* ---- the table */

static int read_name(struct qcow2 *q, uint64_t at, unsigned n, char **name)
{
    *name = g_malloc0(n + 1u);
    return n ? block_node_pread(q->file, at, *name, n) : 0;
}

static void take_extra(struct qcow2 *q, struct qcow2_snapshot *s, const uint8_t *extra, uint32_t n)
{
    if (n >= 8) {
        s->state_bytes = qcow2_be64(extra);
    }
    s->disk_bytes = n >= 16 ? qcow2_be64(extra + 8) : q->bytes;
    s->icount = n >= 24 ? qcow2_be64(extra + 16) : UINT64_MAX;
    if (n > EXTRA_KNOWN) {
        s->extra = g_byte_array_new();
        g_byte_array_append(s->extra, extra + EXTRA_KNOWN, n - EXTRA_KNOWN);
    }
}

static bool plausible(const struct qcow2 *q, const struct qcow2_snapshot *s)
{
    return (s->l1_size == 0 || qcow2_is_cluster(q, s->l1_offset)) &&
           s->l1_size <= QCOW2_MAX_L1_BYTES / 8 && s->disk_bytes <= INT64_MAX / 2 &&
           qcow2_l1_entries(q, s->disk_bytes) <= s->l1_size && s->state_bytes <= INT64_MAX / 2;
}

/* The entry at *at, which is moved behind it. */
static struct qcow2_snapshot *read_entry(struct qcow2 *q, uint64_t *at)
{
    struct qcow2_snapshot *s = g_new0(struct qcow2_snapshot, 1);
    uint8_t head[ENTRY_BYTES], extra[EXTRA_MAX];
    uint32_t n = 0;
    unsigned id_bytes = 0, name_bytes = 0;
    int ret = block_node_pread(q->file, *at, head, sizeof(head));

    if (ret == 0) {
        s->l1_offset = qcow2_be64(head);
        s->l1_size = qcow2_be32(head + 8);
        id_bytes = (unsigned)head[12] << 8 | head[13];
        name_bytes = (unsigned)head[14] << 8 | head[15];
        s->date_s = qcow2_be32(head + 16);
        s->date_ns = qcow2_be32(head + 20);
        s->clock_ns = qcow2_be64(head + 24);
        s->state_bytes = qcow2_be32(head + 32);
        n = qcow2_be32(head + 36);
        ret = n > EXTRA_MAX ? -EINVAL : 0;
    }
    if (ret == 0 && n) {
        ret = block_node_pread(q->file, *at + ENTRY_BYTES, extra, n);
    }
    if (ret == 0) {
        take_extra(q, s, extra, n);
        ret = read_name(q, *at + ENTRY_BYTES + n, id_bytes, &s->id);
    }
    if (ret == 0) {
        ret = read_name(q, *at + ENTRY_BYTES + n + id_bytes, name_bytes, &s->name);
    }
    if (ret < 0 || !plausible(q, s)) {
        qcow2_snapshot_free(s);
        return NULL;
    }
    *at = (*at + ENTRY_BYTES + n + id_bytes + name_bytes + 7) & ~7ull;
    return s;
}

GPtrArray *qcow2_snapshots_read(struct qcow2 *q)
{
    GPtrArray *all = g_ptr_array_new_with_free_func(qcow2_snapshot_free);
    uint64_t at = q->snapshots_offset;

    for (uint32_t i = 0; i < q->snapshots; i++) {
        struct qcow2_snapshot *s =
            at - q->snapshots_offset > TABLE_MAX_BYTES ? NULL : read_entry(q, &at);

        if (!s) {
            log_error("qcow2: '%s': entry %u of its snapshot table makes no sense",
                      q->node->filename, i);
            g_ptr_array_unref(all);
            return NULL;
        }
        g_ptr_array_add(all, s);
    }
    return all;
}

struct qcow2_snapshot *qcow2_snapshot_find(const GPtrArray *snapshots, const char *name)
{
    for (guint i = 0; i < snapshots->len; i++) {
        struct qcow2_snapshot *s = snapshots->pdata[i];

        if (strcmp(s->name, name) == 0) {
            return s;
        }
    }
    return NULL;
}

static void put_entry(GByteArray *out, const struct qcow2_snapshot *s)
{
    uint8_t head[ENTRY_BYTES + EXTRA_KNOWN] = {0};
    size_t id_bytes = strlen(s->id), name_bytes = strlen(s->name);
    static const uint8_t zero[8];

    qcow2_put_be64(head, s->l1_offset);
    qcow2_put_be32(head + 8, s->l1_size);
    qcow2_put_be32(head + 12, (uint32_t)(id_bytes << 16 | name_bytes));
    qcow2_put_be32(head + 16, s->date_s);
    qcow2_put_be32(head + 20, s->date_ns);
    qcow2_put_be64(head + 24, s->clock_ns);
    qcow2_put_be32(head + 32, s->state_bytes <= UINT32_MAX ? (uint32_t)s->state_bytes : 0);
    qcow2_put_be32(head + 36, EXTRA_KNOWN + (s->extra ? s->extra->len : 0));
    qcow2_put_be64(head + 40, s->state_bytes);
    qcow2_put_be64(head + 48, s->disk_bytes);
    qcow2_put_be64(head + 56, s->icount);
    g_byte_array_append(out, head, sizeof(head));
    if (s->extra) {
        g_byte_array_append(out, s->extra->data, s->extra->len);
    }
    g_byte_array_append(out, (const uint8_t *)s->id, (guint)id_bytes);
    g_byte_array_append(out, (const uint8_t *)s->name, (guint)name_bytes);
    g_byte_array_append(out, zero, -out->len & 7);
}

static uint64_t clusters_of(const struct qcow2 *q, uint64_t bytes)
{
    return (bytes + q->cluster_bytes - 1) >> q->cluster_bits;
}

static void drop_clusters(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    for (uint64_t i = 0; i < clusters_of(q, bytes); i++) {
        qcow2_count_change(q, (offset >> q->cluster_bits) + i, -1);
    }
}

/* Bytes that the table on the disk has. */
static uint64_t table_bytes(struct qcow2 *q)
{
    uint64_t at = q->snapshots_offset;

    for (uint32_t i = 0; i < q->snapshots; i++) {
        struct qcow2_snapshot *s = read_entry(q, &at);

        if (!s) {
            break;
        }
        qcow2_snapshot_free(s);
    }
    return at - q->snapshots_offset;
}

/* In new clusters, stable. On failure *offset is 0, and nothing is taken. */
static int store_bytes(struct qcow2 *q, const uint8_t *data, uint64_t bytes, uint64_t *offset)
{
    uint64_t clusters = clusters_of(q, bytes);
    g_autofree uint8_t *whole = g_try_malloc0(MAX(clusters, 1) << q->cluster_bits);
    int ret = whole ? qcow2_alloc_run(q, MAX(clusters, 1), offset) : -ENOMEM;

    if (ret < 0) {
        return ret;
    }
    if (bytes) {
        memcpy(whole, data, bytes);
    }
    ret = block_node_pwrite(q->file, *offset, whole, MAX(clusters, 1) << q->cluster_bits);
    if (ret < 0) {
        drop_clusters(q, *offset, MAX(bytes, 1));
        *offset = 0;
    }
    return ret;
}

int qcow2_snapshots_write(struct qcow2 *q, const GPtrArray *snapshots)
{
    g_autoptr(GByteArray) table = g_byte_array_new();
    uint64_t offset = 0, old = q->snapshots_offset, old_bytes = table_bytes(q);
    uint8_t place[12];
    int ret = 0;

    if (snapshots->len > SNAPSHOTS_MAX) {
        return -EFBIG;
    }
    for (guint i = 0; i < snapshots->len; i++) {
        put_entry(table, snapshots->pdata[i]);
    }
    if (table->len) {
        ret = store_bytes(q, table->data, table->len, &offset);
    }
    if (ret < 0) {
        return ret;
    }
    qcow2_put_be32(place, snapshots->len);
    qcow2_put_be64(place + 4, offset);
    ret = qcow2_flush(q);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, AT_SNAPSHOTS, place, sizeof(place));
    ret = ret < 0 ? ret : block_node_sync(q->file, BLOCK_FLUSH, 0, 0, 0);
    if (ret < 0) {
        if (offset) {
            drop_clusters(q, offset, table->len);
        }
        return ret;
    }
    if (q->snapshots) {
        drop_clusters(q, old, old_bytes);
    }
    q->snapshots = snapshots->len;
    q->snapshots_offset = offset;
    return 0;
}

/* ---- L1 tables */

uint64_t qcow2_l1_entries(const struct qcow2 *q, uint64_t disk_bytes)
{
    uint64_t per_l1 = q->cluster_bytes << (q->cluster_bits - 3);

    return disk_bytes / per_l1 + (disk_bytes % per_l1 != 0);
}

int qcow2_l1_read(struct qcow2 *q, uint64_t offset, uint32_t n, uint64_t **l1)
{
    uint64_t *values = g_try_new0(uint64_t, MAX(n, 1));
    int ret = !values ? -ENOMEM : n ? block_node_pread(q->file, offset, values, 8ull * n) : 0;

    for (uint32_t i = 0; i < n && ret == 0; i++) {
        values[i] = GUINT64_FROM_BE(values[i]);
    }
    if (ret < 0) {
        g_free(values);
        values = NULL;
    }
    *l1 = values;
    return ret;
}

int qcow2_l1_store(struct qcow2 *q, const uint64_t *l1, uint32_t n, uint64_t *offset)
{
    g_autofree uint64_t *values = g_try_new0(uint64_t, MAX(n, 1));

    if (!values) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        values[i] = GUINT64_TO_BE(l1[i]);
    }
    return store_bytes(q, (const uint8_t *)values, 8ull * n, offset);
}

void qcow2_l1_drop(struct qcow2 *q, uint64_t offset, uint32_t n)
{
    if (offset) {
        drop_clusters(q, offset, MAX(8ull * n, 1));
    }
}

/* ---- what a snapshot alone had: given back to the host when nothing on the disk leads there */

static void note_dropped(struct qcow2 *q, uint64_t offset)
{
    struct qcow2_freed f = {offset, q->cluster_bytes, QCOW2_DISCARD_SNAPSHOT}, *last;

    if (!q->dropped) {
        return;
    }
    last = q->dropped->len ? &g_array_index(q->dropped, struct qcow2_freed, q->dropped->len - 1)
                           : NULL;
    if (last && last->offset + last->bytes == offset) {
        last->bytes += q->cluster_bytes;
    } else {
        g_array_append_val(q->dropped, f);
    }
}

void qcow2_discard_dropped(struct qcow2 *q)
{
    GArray *dropped = g_steal_pointer(&q->dropped);

    for (guint i = 0; dropped && i < dropped->len; i++) {
        const struct qcow2_freed *f = &g_array_index(dropped, struct qcow2_freed, i);

        for (uint64_t at = f->offset; at < f->offset + f->bytes; at += q->cluster_bytes) {
            uint64_t count;

            if (qcow2_count_get(q, at >> q->cluster_bits, &count) == 0 && count == 0) {
                block_node_sync(q->file, BLOCK_DISCARD, at, q->cluster_bytes, 0); /* a hint */
            }
        }
    }
    g_clear_pointer(&dropped, g_array_unref);
}

/* ---- whole trees */

struct refs {
    struct qcow2 *q;
    int by;
    uint64_t done, limit; /* references; at the limit it ends */
};

/* 1: the limit is reached. */
static int change_clusters(struct refs *r, uint64_t offset, uint64_t bytes)
{
    struct qcow2 *q = r->q;

    for (uint64_t n = offset >> q->cluster_bits; n <= (offset + bytes - 1) >> q->cluster_bits;
         n++) {
        uint64_t count;
        int ret;

        if (r->done == r->limit) {
            return 1;
        }
        ret = qcow2_count_get(q, n, &count);
        if (ret == 0 && r->by > 0 && q->refcount_bits < 64 &&
            count + 1 >= 1ull << q->refcount_bits) {
            ret = -EOVERFLOW; /* of the image's reference counts */
        }
        ret = ret < 0 ? ret : qcow2_count_change(q, n, r->by);
        if (ret < 0) {
            return ret;
        }
        if (r->by < 0 && count == 1) {
            note_dropped(q, n << q->cluster_bits);
        }
        r->done++;
    }
    return 0;
}

static int read_l2(struct qcow2 *q, uint64_t l1_entry, uint8_t *l2)
{
    uint64_t offset = l1_entry & QCOW2_OFFSET_MASK;

    if (!qcow2_is_cluster(q, offset)) {
        return qcow2_is_corrupt(q, "L2 table offset %#" PRIx64 " unaligned", offset);
    }
    return block_node_pread(q->file, offset, l2, q->cluster_bytes);
}

static int change_entry(struct refs *r, uint64_t entry)
{
    struct qcow2 *q = r->q;
    uint64_t offset = entry & QCOW2_OFFSET_MASK, bytes = q->cluster_bytes;

    if (entry & QCOW2_COMPRESSED) {
        qcow2_compressed_place(q, entry, &offset, &bytes);
    } else if (!offset) {
        return 0;
    } else if (!qcow2_is_cluster(q, offset)) {
        return qcow2_is_corrupt(q, "Cluster allocation offset %#" PRIx64 " unaligned", offset);
    }
    return change_clusters(r, offset, bytes);
}

static int change_tree(struct refs *r, const uint64_t *l1, uint64_t n)
{
    struct qcow2 *q = r->q;
    g_autofree uint8_t *l2 = g_malloc(q->cluster_bytes);
    int ret = 0;

    for (uint64_t i = 0; i < n && ret == 0; i++) {
        if (!(l1[i] & QCOW2_OFFSET_MASK)) {
            continue;
        }
        ret = read_l2(q, l1[i], l2);
        for (uint64_t k = 0; k < q->cluster_bytes / 8 && ret == 0; k++) {
            ret = change_entry(r, qcow2_be64(l2 + 8 * k));
        }
        if (ret == 0) {
            ret = change_clusters(r, l1[i] & QCOW2_OFFSET_MASK, q->cluster_bytes);
        }
    }
    return ret;
}

int qcow2_refs_change(struct qcow2 *q, const uint64_t *l1, uint64_t n, int by)
{
    struct refs r = {q, by, 0, UINT64_MAX};
    int ret = change_tree(&r, l1, n);

    if (ret < 0 && r.done) {
        struct refs back = {q, -by, 0, r.done};

        change_tree(&back, l1, n);
    }
    return ret;
}

static int flag_of(struct qcow2 *q, uint64_t offset, uint64_t *flag)
{
    uint64_t count;
    int ret = qcow2_count_get(q, offset >> q->cluster_bits, &count);

    *flag = count == 1 ? QCOW2_COPIED : 0;
    return ret;
}

static int fix_l2(struct qcow2 *q, uint64_t l1_entry, uint8_t *l2)
{
    bool changed = false;
    int ret = read_l2(q, l1_entry, l2);

    for (uint64_t k = 0; k < q->cluster_bytes / 8 && ret == 0; k++) {
        uint64_t entry = qcow2_be64(l2 + 8 * k), flag;

        if (entry & QCOW2_COMPRESSED || !(entry & QCOW2_OFFSET_MASK)) {
            continue;
        }
        ret = flag_of(q, entry & QCOW2_OFFSET_MASK, &flag);
        if (ret == 0 && (entry & QCOW2_COPIED) != flag) {
            qcow2_put_be64(l2 + 8 * k, (entry & ~QCOW2_COPIED) | flag);
            changed = true;
        }
    }
    if (ret == 0 && changed) {
        ret = block_node_pwrite(q->file, l1_entry & QCOW2_OFFSET_MASK, l2, q->cluster_bytes);
    }
    return ret;
}

int qcow2_flags_fix(struct qcow2 *q, uint64_t *l1, uint64_t n)
{
    g_autofree uint8_t *l2 = g_malloc(q->cluster_bytes);
    int ret = 0;

    for (uint64_t i = 0; i < n && ret == 0; i++) {
        uint64_t flag;

        if (!(l1[i] & QCOW2_OFFSET_MASK)) {
            continue;
        }
        ret = fix_l2(q, l1[i], l2);
        ret = ret < 0 ? ret : flag_of(q, l1[i] & QCOW2_OFFSET_MASK, &flag);
        if (ret == 0) {
            l1[i] = (l1[i] & ~QCOW2_COPIED) | flag;
        }
    }
    return ret;
}

int qcow2_own_flags_fix(struct qcow2 *q)
{
    g_autofree uint64_t *l1 = NULL;
    int ret = qcow2_l1_read(q, q->l1_offset, q->l1_size, &l1);

    ret = ret < 0 ? ret : qcow2_flags_fix(q, l1, q->l1_size);
    for (unsigned i = 0; i < q->l1_size && ret == 0; i++) {
        l1[i] = GUINT64_TO_BE(l1[i]);
    }
    if (ret == 0 && q->l1_size) { /* nothing but flags changes, so it may be torn */
        ret = block_node_pwrite(q->file, q->l1_offset, l1, 8ull * q->l1_size);
    }
    return ret < 0 ? ret : block_node_sync(q->file, BLOCK_FLUSH, 0, 0, 0);
}

/* ---- reading again */

int qcow2_reload(struct qcow2 *q)
{
    struct qcow2 fresh = {.node = q->node, .file = q->file, .settings = q->settings};
    g_autoptr(GError) error = NULL;
    int ret;

    g_mutex_init(&fresh.mutex);
    ret = qcow2_load(&fresh, &error);
    g_mutex_clear(&fresh.mutex);
    if (ret < 0) {
        qcow2_unload(&fresh);
        return qcow2_is_corrupt(q, "%s", error ? error->message : "it cannot be read");
    }
    g_mutex_lock(&q->mutex);
    qcow2_unload(q);
    q->bytes = fresh.bytes;
    q->l1 = fresh.l1;
    q->l1_offset = fresh.l1_offset;
    q->l1_size = fresh.l1_size;
    q->l1_dirty = fresh.l1_dirty;
    q->rt = fresh.rt;
    q->rt_offset = fresh.rt_offset;
    q->rt_size = fresh.rt_size;
    q->metadata = fresh.metadata;
    q->l2 = fresh.l2;
    q->refcounts = fresh.refcounts;
    q->freed = fresh.freed;
    q->hint = q->packed_end = 0;
    q->end_clusters = MAX(q->end_clusters, fresh.end_clusters);
    q->snapshots = fresh.snapshots;
    q->snapshots_offset = fresh.snapshots_offset;
    q->snapshot_list = fresh.snapshot_list;
    q->bitmap_list = fresh.bitmap_list;
    q->backing_name = fresh.backing_name;
    q->backing_format = fresh.backing_format;
    q->allocating = fresh.allocating;
    q->dirty = false;
    g_mutex_unlock(&q->mutex);
    return 0;
}
