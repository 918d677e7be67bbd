/*
 * qcow2: check and repair (the format's description: QEMU's docs/interop/qcow2.txt, version 7.2).
 *
 * All references are counted: header, tables, data, those of internal snapshots and of dirty
 * bitmaps. A cluster that is counted higher on the disk is leaked; one that is counted lower may be
 * taken twice, which is corruption, as is a COPIED flag that does not agree with the count, and a
 * reference that leads nowhere. What is counted behind the file's end takes no room and is left
 * alone. Repair makes the counts and flags agree with the references;
 * entries that lead nowhere stay.
 */
#include "block/qcow2-check.h"

#include "block/qcow2-priv.h"
#include <errno.h>
#include <inttypes.h>

#define MAX_CLUSTERS (1u << 28) /* of the file, holes included: 16 TiB of 64 KiB */

struct checker {
    struct qcow2 *q;
    struct qcow2_check *c;
    uint32_t *refs; /* of each cluster */
    uint64_t n;     /* clusters of the file */
};

static void report(struct checker *k, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void report(struct checker *k, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    if (k->c->report) {
        k->c->report(k->c->opaque, text);
    }
}

/* ---- counting references */

static bool mark(struct checker *k, uint64_t offset, uint64_t bytes, const char *what)
{
    uint64_t first = offset >> k->q->cluster_bits;
    uint64_t last = (offset + MAX(bytes, 1) - 1) >> k->q->cluster_bits;

    if (last >= k->n || last < first) {
        report(k, "ERROR %s at 0x%" PRIx64 " lies beyond the end of the file", what, offset);
        k->c->corruptions++;
        return false;
    }
    for (uint64_t i = first; i <= last && bytes; i++) {
        k->refs[i]++;
    }
    return true;
}

static bool mark_cluster(struct checker *k, uint64_t offset, uint64_t bytes, const char *what)
{
    if (!qcow2_is_cluster(k->q, offset)) {
        report(k, "ERROR %s at 0x%" PRIx64 " is not aligned to a cluster", what, offset);
        k->c->corruptions++;
        return false;
    }
    return mark(k, offset, bytes, what);
}

static void mark_data(struct checker *k, uint64_t entry, bool own, uint64_t *next)
{
    struct qcow2 *q = k->q;
    uint64_t offset = entry & QCOW2_OFFSET_MASK, bytes;

    if (entry & QCOW2_COMPRESSED) {
        qcow2_compressed_place(q, entry, &offset, &bytes);
        mark(k, offset, bytes, "compressed cluster");
        if (own) {
            k->c->allocated_clusters++;
            k->c->compressed_clusters++;
            k->c->fragmented_clusters++; /* by their nature */
        }
        return;
    }
    if (!offset || !mark_cluster(k, offset, q->cluster_bytes, "data cluster")) {
        return;
    }
    if (own) {
        k->c->allocated_clusters++;
        k->c->fragmented_clusters += *next && *next != offset;
        *next = offset + q->cluster_bytes;
    }
}

static int mark_tables(struct checker *k, const uint64_t *l1, uint64_t n, bool own)
{
    struct qcow2 *q = k->q;
    g_autofree uint8_t *l2 = g_malloc(q->cluster_bytes);

    for (uint64_t i = 0; i < n; i++) {
        uint64_t offset = l1[i] & QCOW2_OFFSET_MASK, next = 0;
        int ret;

        if (!offset || !mark_cluster(k, offset, q->cluster_bytes, "L2 table") ||
            (own && k->refs[offset >> q->cluster_bits] > 1)) {
            continue; /* one that is named twice: its count tells */
        }
        ret = block_node_pread(q->file, offset, l2, q->cluster_bytes);
        if (ret < 0) {
            return ret;
        }
        for (uint64_t e = 0; e < q->cluster_bytes / 8; e++) {
            mark_data(k, qcow2_be64(l2 + 8 * e), own, &next);
        }
    }
    return 0;
}

static int mark_l1(struct checker *k, uint64_t offset, uint64_t n)
{
    g_autofree uint64_t *l1 = NULL;
    int ret;

    if (8 * n > QCOW2_MAX_L1_BYTES) {
        report(k, "ERROR snapshot's L1 table of %" PRIu64 " entries", n);
        k->c->corruptions++;
        return 0;
    }
    if (n == 0 || !mark_cluster(k, offset, 8 * n, "snapshot's L1 table")) {
        return 0;
    }
    l1 = g_try_new(uint64_t, n);
    ret = l1 ? block_node_pread(k->q->file, offset, l1, 8 * n) : -ENOMEM;
    for (uint64_t i = 0; i < n && ret == 0; i++) {
        l1[i] = GUINT64_FROM_BE(l1[i]);
    }
    return ret < 0 ? ret : mark_tables(k, l1, n, false);
}

static int mark_snapshots(struct checker *k)
{
    struct qcow2 *q = k->q;
    uint64_t at = q->snapshots_offset;
    int ret = 0;

    for (uint32_t i = 0; i < q->snapshots && ret == 0; i++) {
        uint8_t head[40];
        uint64_t bytes;

        ret = block_node_pread(q->file, at, head, sizeof(head));
        if (ret == 0) {
            ret = mark_l1(k, qcow2_be64(head), qcow2_be32(head + 8));
        }
        bytes = 40ull + qcow2_be32(head + 36) + (uint64_t)(head[12] << 8 | head[13]) +
                (uint64_t)(head[14] << 8 | head[15]);
        at += (bytes + 7) & ~7ull;
        if (at - q->snapshots_offset > 64 << 20) {
            return -EFBIG;
        }
    }
    if (ret == 0 && q->snapshots) {
        mark_cluster(k, q->snapshots_offset, at - q->snapshots_offset, "snapshot table");
    }
    return ret;
}

static int mark_bitmap(struct checker *k, uint64_t offset, uint64_t n)
{
    struct qcow2 *q = k->q;
    g_autofree uint8_t *table = NULL;
    int ret;

    if (8 * n > QCOW2_MAX_L1_BYTES || !mark_cluster(k, offset, 8 * n, "bitmap table")) {
        return 0;
    }
    table = g_try_malloc(MAX(8 * n, 1));
    ret = table ? block_node_pread(q->file, offset, table, 8 * n) : -ENOMEM;
    for (uint64_t i = 0; i < n && ret == 0; i++) {
        uint64_t data = qcow2_be64(table + 8 * i) & QCOW2_OFFSET_MASK;

        if (data) {
            mark_cluster(k, data, q->cluster_bytes, "bitmap data");
        }
    }
    return ret;
}

static int mark_bitmaps(struct checker *k)
{
    struct qcow2 *q = k->q;
    g_autofree uint8_t *dir = NULL;
    uint64_t at = 0;
    int ret;

    if (!q->bitmaps || !mark_cluster(k, q->bitmaps_offset, q->bitmaps_bytes, "bitmap directory")) {
        return 0;
    }
    dir = g_try_malloc(q->bitmaps_bytes);
    ret = dir ? block_node_pread(q->file, q->bitmaps_offset, dir, q->bitmaps_bytes) : -ENOMEM;
    for (uint32_t i = 0; i < q->bitmaps && ret == 0 && at + 24 <= q->bitmaps_bytes; i++) {
        ret = mark_bitmap(k, qcow2_be64(dir + at), qcow2_be32(dir + at + 8));
        at += qcow2_bitmap_entry_bytes(dir + at);
    }
    return ret;
}

static int mark_all(struct checker *k)
{
    struct qcow2 *q = k->q;
    int ret = 0;

    mark(k, 0, q->cluster_bytes, "header");
    if (q->l1_size) {
        mark_cluster(k, q->l1_offset, 8ull * q->l1_size, "L1 table");
    }
    mark_cluster(k, q->rt_offset, 8 * q->rt_size, "reference count table");
    for (uint64_t i = 0; i < q->rt_size; i++) {
        if (q->rt[i] & ~511ull) {
            mark_cluster(k, q->rt[i] & ~511ull, q->cluster_bytes, "reference count block");
        }
    }
    ret = mark_tables(k, q->l1, q->l1_size, true);
    ret = ret < 0 ? ret : mark_snapshots(k);
    return ret < 0 ? ret : mark_bitmaps(k);
}

/* ---- comparing */

static int compare_count(struct checker *k, uint64_t i)
{
    struct qcow2_check *c = k->c;
    uint64_t refs = k->refs[i], count;
    int ret = qcow2_count_get(k->q, i, &count);
    bool fix;

    if (ret < 0 || count == refs) {
        c->image_end = ret == 0 && count ? (i + 1) << k->q->cluster_bits : c->image_end;
        return ret;
    }
    fix = c->repair == QCOW2_REPAIR_ALL || (c->repair == QCOW2_REPAIR_LEAKS && count > refs);
    report(k, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
           fix            ? "Repairing"
           : count > refs ? "Leaked"
                          : "ERROR",
           i, count, refs);
    if (fix) {
        ret = qcow2_count_set(k->q, i, refs);
    }
    if (count > refs) {
        *(fix && ret == 0 ? &c->leaks_fixed : &c->leaks) += 1;
    } else {
        *(fix && ret == 0 ? &c->corruptions_fixed : &c->corruptions) += 1;
    }
    if (refs || (!fix && count)) {
        c->image_end = (i + 1) << k->q->cluster_bits;
    }
    return ret;
}

static int compare_counts(struct checker *k)
{
    int ret = 0;

    for (uint64_t i = 0; i < k->n && ret == 0; i++) {
        ret = compare_count(k, i);
    }
    return ret;
}

static int flag_is_right(struct checker *k, uint64_t entry, uint64_t *count, bool *right)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK;
    int ret;

    *right = true;
    if (!offset || !qcow2_is_cluster(k->q, offset) || offset >> k->q->cluster_bits >= k->n) {
        return 0;
    }
    ret = qcow2_count_get(k->q, offset >> k->q->cluster_bits, count);
    *right = ret < 0 || (*count == 1) == !!(entry & QCOW2_COPIED);
    return ret;
}

static void count_wrong_flag(struct checker *k)
{
    bool fix = k->c->repair == QCOW2_REPAIR_ALL;

    *(fix ? &k->c->corruptions_fixed : &k->c->corruptions) += 1;
}

/* The flags of one L2 table of the image's own. */
static int compare_l2_flags(struct checker *k, uint64_t offset)
{
    struct qcow2 *q = k->q;
    g_autofree uint8_t *l2 = g_malloc(q->cluster_bytes);
    bool fix = k->c->repair == QCOW2_REPAIR_ALL, changed = false, right;
    int ret = block_node_pread(q->file, offset, l2, q->cluster_bytes);
    uint64_t count;

    for (uint64_t e = 0; e < q->cluster_bytes / 8 && ret == 0; e++) {
        uint64_t entry = qcow2_be64(l2 + 8 * e);

        if (entry & QCOW2_COMPRESSED) {
            continue;
        }
        ret = flag_is_right(k, entry, &count, &right);
        if (right) {
            continue;
        }
        report(k, "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64 " refcount=%" PRIu64,
               fix ? "Repairing" : "ERROR", entry, count);
        count_wrong_flag(k);
        if (fix) {
            qcow2_put_be64(l2 + 8 * e, entry ^ QCOW2_COPIED);
            changed = true;
        }
    }
    return ret == 0 && changed ? block_node_pwrite(q->file, offset, l2, q->cluster_bytes) : ret;
}

static int compare_flags(struct checker *k)
{
    struct qcow2 *q = k->q;
    bool fix = k->c->repair == QCOW2_REPAIR_ALL, right;
    int ret = 0;

    for (uint64_t i = 0; i < q->l1_size && ret == 0; i++) {
        uint64_t offset = q->l1[i] & QCOW2_OFFSET_MASK, count;

        if (!offset || !qcow2_is_cluster(q, offset)) {
            continue;
        }
        ret = flag_is_right(k, q->l1[i], &count, &right);
        if (!right) {
            report(k,
                   "%s OFLAG_COPIED L2 cluster: l1_index=%" PRIu64 " l1_entry=%" PRIx64
                   " refcount=%" PRIu64,
                   fix ? "Repairing" : "ERROR", i, q->l1[i], count);
            count_wrong_flag(k);
        }
        if (ret == 0 && !right && fix) {
            uint8_t entry[8];

            q->l1[i] ^= QCOW2_COPIED;
            qcow2_put_be64(entry, q->l1[i]);
            ret = block_node_pwrite(q->file, q->l1_offset + 8 * i, entry, 8);
        }
        ret = ret < 0 ? ret : compare_l2_flags(k, offset);
    }
    return ret;
}

/* ---- all of it */

/* The header says that all is well again. */
static int clear_marks(struct checker *k)
{
    struct qcow2 *q = k->q;
    uint64_t bad = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;
    uint8_t bits[8];

    if (k->c->repair != QCOW2_REPAIR_ALL || k->c->corruptions || !(q->incompatible & bad)) {
        return 0;
    }
    q->incompatible &= ~bad;
    q->corrupt = false;
    qcow2_put_be64(bits, q->incompatible);
    return block_node_pwrite(q->file, QCOW2_AT_INCOMPATIBLE, bits, 8);
}

int qcow2_check_run(struct qcow2 *q, void *arg)
{
    struct checker k = {.q = q, .c = arg};
    int ret;

    k.n = (block_node_bytes(q->file) + q->cluster_bytes - 1) >> q->cluster_bits;
    if (k.n > MAX_CLUSTERS) {
        return -EFBIG;
    }
    k.refs = g_try_new0(uint32_t, k.n);
    if (!k.refs) {
        return -ENOMEM;
    }
    k.c->total_clusters = (q->bytes + q->cluster_bytes - 1) >> q->cluster_bits;
    ret = mark_all(&k);
    ret = ret < 0 ? ret : compare_counts(&k);
    ret = ret < 0 ? ret : compare_flags(&k);
    if (ret == 0 && k.c->repair != QCOW2_REPAIR_NONE) {
        ret = qcow2_flush(q);
        ret = ret < 0 ? ret : qcow2_tables_flush(q, true);
        ret = ret < 0 ? ret : clear_marks(&k);
        ret = ret < 0 ? ret : block_node_sync(q->file, BLOCK_FLUSH, 0, 0, 0);
    }
    g_free(k.refs);
    return ret;
}

int qcow2_check(struct block_node *node, struct qcow2_check *c)
{
    if (node->driver->id != BLOCKDEV_DRIVER_QCOW2) {
        return -ENOTSUP;
    }
    return qcow2_call(node->state, qcow2_check_run, c);
}
