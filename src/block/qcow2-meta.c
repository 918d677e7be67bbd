/*
 * qcow2: header, reference counts and L1/L2 tables (the format's description: QEMU's
 * docs/interop/qcow2.txt, version 7.2).
 *
 * Tables change in memory. qcow2_flush() brings them to the disk in an order that leaves at worst
 * clusters that are counted and not used, wherever it ends: first data and reference counts, then
 * L2 tables, then the L1 table, each made stable before the next. What lost its last reference is
 * counted down only after all that, and not used again before; so a cluster that any table on the
 * disk refers to is never free on the disk.
 *
 * Numbers of the image are not believed: sizes are bounded before memory is taken, offsets must be
 * whole clusters, and data is never put where metadata is.
 */
#include "block/qcow2-priv.h"

#include "base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define MAGIC            0x514649fbu
#define HEADER_V2        72u
#define HEADER_V3        104u
#define INCOMPAT_DIRTY   1u
#define INCOMPAT_CORRUPT 2u
#define INCOMPAT_ZSTD    8u /* compression type */
#define INCOMPAT_KNOWN   (INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_ZSTD)
#define AT_INCOMPATIBLE  72u
#define AT_AUTOCLEAR     88u
#define EXT_END          0u
#define EXT_BACKING      0xe2792acau
#define MAX_L1_BYTES     (32u << 20)
#define MAX_RT_BYTES     (8u << 20)
#define CACHE_BYTES      (16u << 20)
#define MAX_SNAPSHOTS    65536u

static uint32_t be32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return GUINT32_FROM_BE(v);
}

static uint64_t be64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return GUINT64_FROM_BE(v);
}

static void put_be64(uint8_t *p, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    memcpy(p, &v, 8);
}

/* ---- corruption */

int qcow2_is_corrupt(struct qcow2 *q, const char *fmt, ...)
{
    char text[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (!q->corrupt) {
        log_error("qcow2: image '%s' is corrupt: %s; it is not written any more", q->node->filename,
                  text);
        q->corrupt = true;
        if (q->version >= 3 && !q->node->read_only) {
            uint8_t bits[8];

            put_be64(bits, q->incompatible | INCOMPAT_CORRUPT);
            block_node_pwrite(q->file, AT_INCOMPATIBLE, bits, 8);
        }
    }
    return -EIO;
}

/* ---- tables in memory */

static void table_free(gpointer data)
{
    struct qcow2_table *t = data;

    g_free(t->data);
    g_free(t);
}

static void cache_init(struct qcow2_cache *c, uint64_t cluster_bytes)
{
    c->tables = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, table_free);
    c->max = (unsigned)MAX(CACHE_BYTES / cluster_bytes, 8);
}

/* Makes room for one more. A dirty table can only go with a flush. */
static int cache_shrink(struct qcow2 *q, struct qcow2_cache *c)
{
    while (g_hash_table_size(c->tables) >= c->max) {
        struct qcow2_table *oldest = NULL, *t;
        GHashTableIter iter;

        g_hash_table_iter_init(&iter, c->tables);
        while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&t)) {
            if (!oldest || t->used < oldest->used) {
                oldest = t;
            }
        }
        if (oldest->dirty) {
            int ret = qcow2_flush(q);

            if (ret < 0) {
                return ret;
            }
        }
        g_hash_table_remove(c->tables, &oldest->offset);
    }
    return 0;
}

static struct qcow2_table *cache_add(struct qcow2 *q, struct qcow2_cache *c, uint64_t offset)
{
    uint8_t *data = g_try_malloc0(q->cluster_bytes);
    struct qcow2_table *t;

    if (!data) {
        return NULL;
    }
    t = g_new0(struct qcow2_table, 1);
    t->offset = offset;
    t->data = data;
    t->used = ++c->clock;
    g_hash_table_insert(c->tables, &t->offset, t);
    return t;
}

/* offset has been checked. */
static int cache_get(struct qcow2 *q, struct qcow2_cache *c, uint64_t offset,
                     struct qcow2_table **table)
{
    struct qcow2_table *t = g_hash_table_lookup(c->tables, &offset);
    int ret;

    if (!t) {
        ret = cache_shrink(q, c);
        if (ret < 0) {
            return ret;
        }
        t = cache_add(q, c, offset);
        if (!t) {
            return -ENOMEM;
        }
        ret = block_node_pread(q->file, offset, t->data, q->cluster_bytes);
        if (ret < 0) {
            g_hash_table_remove(c->tables, &offset);
            return ret;
        }
    }
    t->used = ++c->clock;
    *table = t;
    return 0;
}

static int cache_write(struct qcow2 *q, struct qcow2_cache *c)
{
    struct qcow2_table *t;
    GHashTableIter iter;

    g_hash_table_iter_init(&iter, c->tables);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&t)) {
        int ret = t->dirty ? block_node_pwrite(q->file, t->offset, t->data, q->cluster_bytes) : 0;

        if (ret < 0) {
            return ret;
        }
        t->dirty = false;
    }
    return 0;
}

/* ---- which clusters hold metadata */

static void metadata_add(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    for (uint64_t n = offset >> q->cluster_bits;
         n <= (offset + MAX(bytes, 1) - 1) >> q->cluster_bits; n++) {
        uint64_t *key = g_new(uint64_t, 1);

        *key = n;
        g_hash_table_add(q->metadata, key);
    }
}

static bool is_metadata(const struct qcow2 *q, uint64_t offset)
{
    uint64_t n = offset >> q->cluster_bits;

    return g_hash_table_contains(q->metadata, &n);
}

static bool is_cluster(const struct qcow2 *q, uint64_t offset)
{
    return offset && (offset & (q->cluster_bytes - 1)) == 0 && offset <= INT64_MAX / 2;
}

/* ---- reference counts */

static uint64_t counts_per_block(const struct qcow2 *q)
{
    return q->cluster_bytes * 8 / q->refcount_bits;
}

static uint64_t count_read(const struct qcow2 *q, const uint8_t *block, uint64_t i)
{
    unsigned bits = q->refcount_bits;
    uint64_t value = 0;

    if (bits < 8) {
        return block[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
    }
    for (unsigned k = 0; k < bits / 8; k++) {
        value = value << 8 | block[i * (bits / 8) + k];
    }
    return value;
}

static void count_write(const struct qcow2 *q, uint8_t *block, uint64_t i, uint64_t value)
{
    unsigned bits = q->refcount_bits;

    if (bits < 8) {
        uint8_t *p = &block[i * bits / 8];
        unsigned shift = (unsigned)(i * bits % 8), mask = (1u << bits) - 1;

        *p = (uint8_t)((*p & ~(mask << shift)) | (unsigned)value << shift);
        return;
    }
    for (unsigned k = bits / 8; k-- > 0; value >>= 8) {
        block[i * (bits / 8) + k] = (uint8_t)value;
    }
}

/* The block that counts cluster n; *table NULL: there is none, all in it are free. */
static int count_block(struct qcow2 *q, uint64_t n, struct qcow2_table **table)
{
    uint64_t i = n / counts_per_block(q), offset;

    *table = NULL;
    if (i >= q->rt_size || (q->rt[i] & ~511ull) == 0) {
        return 0;
    }
    offset = q->rt[i] & ~511ull;
    if (!is_cluster(q, offset)) {
        return qcow2_is_corrupt(q, "reference count block at 0x%" G_GINT64_MODIFIER "x", offset);
    }
    return cache_get(q, &q->refcounts, offset, table);
}

static int count_change(struct qcow2 *q, uint64_t n, int by)
{
    uint64_t i = n % counts_per_block(q), value, max;
    struct qcow2_table *t;
    int ret = count_block(q, n, &t);

    if (ret < 0) {
        return ret;
    }
    value = t ? count_read(q, t->data, i) : 0;
    max = q->refcount_bits == 64 ? UINT64_MAX : (1ull << q->refcount_bits) - 1;
    if (!t || (by < 0 && value == 0) || (by > 0 && value == max)) {
        return qcow2_is_corrupt(q, "reference count of cluster %" G_GUINT64_FORMAT, n);
    }
    count_write(q, t->data, i, value + (uint64_t)(int64_t)by);
    t->dirty = true;
    if (by < 0 && value == 1 && n < q->hint) {
        q->hint = n;
    }
    return 0;
}

static int flush_file(struct qcow2 *q)
{
    return block_node_sync(q->file, BLOCK_FLUSH, 0, 0, 0);
}

/* A new block, at the first cluster that it counts itself: on the disk before the table names it.
 */
static int count_block_make(struct qcow2 *q, uint64_t i)
{
    uint64_t offset = i * counts_per_block(q) << q->cluster_bits;
    uint8_t entry[8];
    struct qcow2_table *t;
    int ret = cache_shrink(q, &q->refcounts);

    if (ret < 0) {
        return ret;
    }
    if (is_metadata(q, offset)) {
        return qcow2_is_corrupt(q, "metadata in uncounted clusters");
    }
    t = cache_add(q, &q->refcounts, offset);
    if (!t) {
        return -ENOMEM;
    }
    count_write(q, t->data, 0, 1);
    put_be64(entry, offset);
    ret = block_node_pwrite(q->file, offset, t->data, q->cluster_bytes);
    ret = ret < 0 ? ret : flush_file(q);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, q->rt_offset + 8 * i, entry, 8);
    if (ret < 0) {
        g_hash_table_remove(q->refcounts.tables, &offset);
        return ret;
    }
    q->rt[i] = offset;
    metadata_add(q, offset, q->cluster_bytes);
    return 0;
}

int qcow2_alloc(struct qcow2 *q, uint64_t *offset)
{
    uint64_t per = counts_per_block(q);

    for (uint64_t n = MAX(q->hint, 1);; n++) {
        struct qcow2_table *t;
        int ret;

        if (n / per >= q->rt_size) {
            log_error("qcow2: '%s': the reference count table is full", q->node->filename);
            return -ENOSPC;
        }
        ret = count_block(q, n, &t);
        if (ret == 0 && !t) {
            ret = count_block_make(q, n / per);
            n = n / per * per; /* that cluster itself is taken */
            q->hint = n;
            if (ret == 0) {
                continue;
            }
        }
        if (ret < 0) {
            return ret;
        }
        if (count_read(q, t->data, n % per)) {
            continue;
        }
        *offset = n << q->cluster_bits;
        if (is_metadata(q, *offset)) {
            return qcow2_is_corrupt(q, "cluster %" G_GUINT64_FORMAT " of metadata is not counted",
                                    n);
        }
        q->hint = n + 1;
        return count_change(q, n, 1);
    }
}

void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    struct qcow2_freed f = {offset, bytes};

    g_array_append_val(q->freed, f);
}

/* References on the disk are gone: the counts follow, in memory. */
static int count_freed(struct qcow2 *q)
{
    int ret = 0;

    for (guint i = 0; i < q->freed->len && ret == 0; i++) {
        const struct qcow2_freed *f = &g_array_index(q->freed, struct qcow2_freed, i);
        uint64_t last = (f->offset + f->bytes - 1) >> q->cluster_bits;

        for (uint64_t n = f->offset >> q->cluster_bits; n <= last && ret == 0; n++) {
            ret = count_change(q, n, -1);
        }
    }
    g_array_set_size(q->freed, 0);
    return ret;
}

/* ---- L1 and L2 */

static int l1_write(struct qcow2 *q)
{
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, q->l1_dirty);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        unsigned i = GPOINTER_TO_UINT(key);
        uint8_t entry[8];
        int ret;

        put_be64(entry, q->l1[i]);
        ret = block_node_pwrite(q->file, q->l1_offset + 8ull * i, entry, 8);
        if (ret < 0) {
            return ret;
        }
    }
    g_hash_table_remove_all(q->l1_dirty);
    return 0;
}

static bool cache_is_dirty(const struct qcow2_cache *c)
{
    struct qcow2_table *t;
    GHashTableIter iter;

    g_hash_table_iter_init(&iter, c->tables);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&t)) {
        if (t->dirty) {
            return true;
        }
    }
    return false;
}

static int flush_ordered(struct qcow2 *q)
{
    int ret = 0;

    if (cache_is_dirty(&q->refcounts)) {
        ret = cache_write(q, &q->refcounts);
    }
    ret = ret < 0 ? ret : flush_file(q);
    if (ret == 0 && cache_is_dirty(&q->l2)) {
        ret = cache_write(q, &q->l2);
        ret = ret < 0 ? ret : flush_file(q);
    }
    if (ret == 0 && g_hash_table_size(q->l1_dirty)) {
        ret = l1_write(q);
        ret = ret < 0 ? ret : flush_file(q);
    }
    return ret;
}

int qcow2_flush(struct qcow2 *q)
{
    int ret;

    if (q->node->read_only || q->corrupt) {
        return q->corrupt ? -EIO : 0;
    }
    ret = flush_ordered(q);
    /* Counted down in memory; if that never gets to the disk, clusters are lost, no more. */
    return ret < 0 ? ret : count_freed(q);
}

static int l2_check(struct qcow2 *q, uint64_t offset)
{
    return is_cluster(q, offset)
               ? 0
               : qcow2_is_corrupt(q, "L2 table at 0x%" G_GINT64_MODIFIER "x", offset);
}

/* A table for the entry of its own: new, or a copy of one that a snapshot has too. */
static int l2_make(struct qcow2 *q, unsigned i, struct qcow2_table **table)
{
    uint64_t old = q->l1[i] & QCOW2_OFFSET_MASK, offset;
    struct qcow2_table *from = NULL;
    int ret = qcow2_alloc(q, &offset);

    ret = ret < 0 ? ret : cache_shrink(q, &q->l2);
    if (ret < 0) {
        return ret;
    }
    *table = cache_add(q, &q->l2, offset);
    if (!*table) {
        return -ENOMEM;
    }
    (*table)->dirty = true;
    if (old) {
        q->l2.max++; /* the new one must stay while the old one is read */
        ret = l2_check(q, old);
        ret = ret < 0 ? ret : cache_get(q, &q->l2, old, &from);
        q->l2.max--;
        if (ret < 0) {
            g_hash_table_remove(q->l2.tables, &offset);
            return ret;
        }
        memcpy((*table)->data, from->data, q->cluster_bytes);
        qcow2_free_later(q, old, q->cluster_bytes);
    }
    metadata_add(q, offset, q->cluster_bytes);
    q->l1[i] = offset | QCOW2_COPIED;
    g_hash_table_add(q->l1_dirty, GUINT_TO_POINTER(i));
    return 0;
}

int qcow2_l2_get(struct qcow2 *q, uint64_t guest, bool create, struct qcow2_table **table,
                 uint64_t *entry)
{
    unsigned l2_bits = q->cluster_bits - 3;
    uint64_t i = guest >> (q->cluster_bits + l2_bits);
    uint64_t k = guest >> q->cluster_bits & ((1ull << l2_bits) - 1);
    int ret;

    *table = NULL;
    *entry = 0;
    if (i >= q->l1_size) {
        return qcow2_is_corrupt(q, "the L1 table is too short");
    }
    if (!(q->l1[i] & QCOW2_OFFSET_MASK) || (create && !(q->l1[i] & QCOW2_COPIED))) {
        if (!create) {
            return 0;
        }
        ret = l2_make(q, (unsigned)i, table);
    } else {
        ret = l2_check(q, q->l1[i] & QCOW2_OFFSET_MASK);
        ret = ret < 0 ? ret : cache_get(q, &q->l2, q->l1[i] & QCOW2_OFFSET_MASK, table);
    }
    if (ret == 0) {
        *entry = be64((*table)->data + 8 * k);
        if (!(*entry & QCOW2_COMPRESSED) && *entry & QCOW2_OFFSET_MASK) {
            uint64_t offset = *entry & QCOW2_OFFSET_MASK;

            if (!is_cluster(q, offset) || is_metadata(q, offset)) {
                ret = qcow2_is_corrupt(q, "data cluster at 0x%" G_GINT64_MODIFIER "x", offset);
            }
        }
    }
    return ret;
}

void qcow2_l2_set(struct qcow2 *q, struct qcow2_table *table, uint64_t guest, uint64_t entry)
{
    uint64_t k = guest >> q->cluster_bits & ((1ull << (q->cluster_bits - 3)) - 1);

    put_be64(table->data + 8 * k, entry);
    table->dirty = true;
}

void qcow2_compressed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset,
                            uint64_t *bytes)
{
    unsigned x = 62 - (q->cluster_bits - 8);
    uint64_t sectors = (entry >> x & ((1ull << (q->cluster_bits - 8)) - 1)) + 1;

    *offset = entry & ((1ull << x) - 1);
    *bytes = sectors * 512 - (*offset & 511);
}

void qcow2_free_entry(struct qcow2 *q, uint64_t entry)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK, bytes = q->cluster_bytes;

    if (entry & QCOW2_COMPRESSED) {
        qcow2_compressed_place(q, entry, &offset, &bytes);
    }
    if (offset) {
        qcow2_free_later(q, offset, bytes);
    }
}

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
    if (be32(b) != MAGIC) {
        REFUSE("Image is not in qcow2 format");
    }
    q->version = be32(b + 4);
    if (q->version < 2 || q->version > 3) {
        REFUSE("Unsupported qcow2 version %u", q->version);
    }
    *h = (struct header){.backing_offset = be64(b + 8),
                         .backing_bytes = be32(b + 16),
                         .cluster_bits = be32(b + 20),
                         .size = be64(b + 24),
                         .crypt = be32(b + 32),
                         .l1_size = be32(b + 36),
                         .l1_offset = be64(b + 40),
                         .rt_offset = be64(b + 48),
                         .rt_clusters = be32(b + 56),
                         .snapshots = be32(b + 60),
                         .snapshots_offset = be64(b + 64),
                         .refcount_order = 4,
                         .header_bytes = HEADER_V2};
    if (q->version >= 3) {
        q->incompatible = be64(b + AT_INCOMPATIBLE);
        q->autoclear = be64(b + AT_AUTOCLEAR);
        h->refcount_order = be32(b + 96);
        h->header_bytes = be32(b + 100);
        h->compression = h->header_bytes > 104 ? b[104] : 0;
    }
    return 0;
}

static int header_check(struct qcow2 *q, const struct header *h, GError **error)
{
    if (h->cluster_bits < 9 || h->cluster_bits > 21) {
        REFUSE("Unsupported cluster size: 2^%u", h->cluster_bits);
    }
    if (h->crypt) {
        REFUSE("Encrypted images are not supported");
    }
    if (q->incompatible & ~(uint64_t)INCOMPAT_KNOWN) {
        REFUSE("Unsupported qcow2 feature(s): incompatible bits 0x%" G_GINT64_MODIFIER "x",
               q->incompatible & ~(uint64_t)INCOMPAT_KNOWN);
    }
    if (h->refcount_order > 6) {
        REFUSE("Reference count entry width too large; may not exceed 64 bits");
    }
    if (h->compression > 1 || (h->compression == 1) != !!(q->incompatible & INCOMPAT_ZSTD)) {
        REFUSE("Unknown compression type %u", h->compression);
    }
    if (h->header_bytes < (q->version >= 3 ? HEADER_V3 : HEADER_V2) ||
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

    if (h->l1_size > MAX_L1_BYTES / 8 || h->l1_size < need) {
        REFUSE("L1 table of %u entries is too %s", h->l1_size,
               h->l1_size < need ? "small" : "large");
    }
    if (h->rt_clusters == 0 || (uint64_t)h->rt_clusters << q->cluster_bits > MAX_RT_BYTES) {
        REFUSE("Reference count table of %u clusters", h->rt_clusters);
    }
    if (!is_cluster(q, h->rt_offset) || (h->l1_size && !is_cluster(q, h->l1_offset)) ||
        (h->snapshots && !is_cluster(q, h->snapshots_offset))) {
        REFUSE("Invalid L1 table, reference count table or snapshot table offset");
    }
    if (q->incompatible & INCOMPAT_DIRTY && !q->node->read_only) {
        REFUSE("Image was not closed properly and has lazy reference counts: "
               "'qemu-img check -r all' repairs it");
    }
    if (q->incompatible & INCOMPAT_CORRUPT && !q->node->read_only) {
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
        uint32_t type = be32(first + at), bytes = be32(first + at + 4);

        if (type == EXT_END || bytes > n - at - 8) {
            break;
        }
        if (type == EXT_BACKING && bytes < 16) {
            g_free(q->backing_format);
            q->backing_format = text_of(first + at + 8, bytes);
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
    q->rt_offset = h->rt_offset;
    q->rt_size = ((uint64_t)h->rt_clusters << q->cluster_bits) / 8;
    ret = ret < 0 ? ret : read_be64s(q, h->rt_offset, q->rt_size, &q->rt);
    if (ret < 0) {
        REFUSE("Could not read the tables: %s", g_strerror(-ret));
    }
    metadata_add(q, 0, q->cluster_bytes);
    metadata_add(q, h->l1_offset, 8ull * h->l1_size);
    metadata_add(q, h->rt_offset, 8 * q->rt_size);
    if (h->snapshots) {
        metadata_add(q, h->snapshots_offset, 1);
    }
    for (unsigned i = 0; i < q->l1_size; i++) {
        if (is_cluster(q, q->l1[i] & QCOW2_OFFSET_MASK)) {
            metadata_add(q, q->l1[i] & QCOW2_OFFSET_MASK, q->cluster_bytes);
        }
    }
    for (uint64_t i = 0; i < q->rt_size; i++) {
        if (is_cluster(q, q->rt[i] & ~511ull)) {
            metadata_add(q, q->rt[i] & ~511ull, q->cluster_bytes);
        }
    }
    return 0;
}

/* Bits whose meaning ends when the image is written by somebody who does not know it. */
static int autoclear(struct qcow2 *q, GError **error)
{
    uint8_t none[8] = {0};
    int ret;

    if (q->node->read_only || q->autoclear == 0) {
        return 0;
    }
    ret = block_node_pwrite(q->file, AT_AUTOCLEAR, none, 8);
    if (ret < 0) {
        REFUSE("Could not update the header: %s", g_strerror(-ret));
    }
    q->autoclear = 0;
    return 0;
}

int qcow2_load(struct qcow2 *q, GError **error)
{
    uint64_t n = MIN(block_node_bytes(q->file), 65536);
    g_autofree uint8_t *first = g_malloc0(65536);
    struct header h;
    int ret;

    q->metadata = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    q->l1_dirty = g_hash_table_new(NULL, NULL);
    q->freed = g_array_new(FALSE, FALSE, sizeof(struct qcow2_freed));
    if (n < 512) {
        REFUSE("Image is not in qcow2 format");
    }
    ret = block_node_pread(q->file, 0, first, n);
    if (ret < 0) {
        REFUSE("Could not read qcow2 header: %s", g_strerror(-ret));
    }
    ret = header_parse(q, first, &h, error);
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
    cache_init(&q->l2, q->cluster_bytes);
    cache_init(&q->refcounts, q->cluster_bytes);
    ret = tables_check(q, &h, error);
    ret = ret < 0 ? ret : names_read(q, &h, first, MIN(n, q->cluster_bytes), error);
    ret = ret < 0 ? ret : tables_read(q, &h, error);
    return ret < 0 ? ret : autoclear(q, error);
}

void qcow2_unload(struct qcow2 *q)
{
    if (q->metadata) {
        g_hash_table_unref(q->metadata);
        g_hash_table_unref(q->l1_dirty);
        g_array_unref(q->freed);
    }
    if (q->l2.tables) {
        g_hash_table_unref(q->l2.tables);
        g_hash_table_unref(q->refcounts.tables);
    }
    g_free(q->l1);
    g_free(q->rt);
    g_free(q->backing_name);
    g_free(q->backing_format);
}
