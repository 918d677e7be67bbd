/*
 * Internal snapshots of nodes: what the machine's room asks for, carried out by the driver qcow2,
 * the only one that keeps any. A node that passes on what it is given (raw, throttle, blkdebug) has
 * those of its child.
 */
#include "block/vm-snapshot.h"

#include "block/qcow2-snapshot.h"
#include "qapi-visit.h"
#include <errno.h>

/* A piece of the machine's state is written to clusters in a row of at most this size. */
#define RUN_BYTES (32u << 20)

void vm_snapshot_free(struct vm_snapshot *snapshot)
{
    g_free(snapshot->id);
    g_free(snapshot->name);
    g_free(snapshot);
}

/* The child of a node that passes on what it is given, or NULL. */
static struct block_node *passes_to(const struct block_node *node)
{
    switch (node->driver->id) {
    case BLOCKDEV_DRIVER_RAW:
    case BLOCKDEV_DRIVER_THROTTLE:
    case BLOCKDEV_DRIVER_BLKDEBUG:
        return ((const struct block_child *)node->children->pdata[0])->node;
    default:
        return NULL;
    }
}

/* The node that keeps this one's snapshots, if that is an image. */
static struct block_node *image_node(struct block_node *node)
{
    struct block_node *below;

    while ((below = passes_to(node))) {
        node = below;
    }
    return node;
}

static struct qcow2 *image_of(struct block_node *node)
{
    node = image_node(node);
    return node->driver == &block_qcow2 ? node->state : NULL;
}

/* The image has another length now. */
static void take_length(struct block_node *node)
{
    if (passes_to(node)) {
        take_length(passes_to(node));
        node->driver->refresh(node);
    } else {
        atomic_store(&node->bytes, image_of(node)->bytes & ~511ull);
    }
}

static bool fail(GError **error, int ret, const struct block_node *node, const char *what)
{
    g_set_error(error, BLOCK_ERROR, -ret, "%s on '%s': %s", what, block_node_name(node),
                ret == -EOVERFLOW ? "the image's reference counts are too narrow"
                                  : g_strerror(-ret));
    return false;
}

/* ---- which nodes */

static bool stands_alone(const struct block_node *node)
{
    for (guint i = 0; i < node->parents->len; i++) {
        const struct block_child *child = node->parents->pdata[i];

        if (child->parent) {
            return false;
        }
    }
    return true;
}

static bool may_keep(struct block_node *node, GError **error)
{
    const struct qcow2 *q = image_of(node);
    g_autofree char *device = block_node_device(node);

    if (!q || node->read_only || q->refcount_bits == 1 || block_is_inactive(node->graph)) {
        g_set_error(error, BLOCK_ERROR, 0, "Device '%s' is writable but does not support snapshots",
                    device ? device : block_node_name(node));
        return false;
    }
    return true;
}

/* An image takes part once, by whatever names it is reached. */
static void add_node(GPtrArray *nodes, struct block_node *node)
{
    for (guint i = 0; i < nodes->len; i++) {
        if (image_node(nodes->pdata[i]) == image_node(node)) {
            return;
        }
    }
    g_ptr_array_add(nodes, node);
}

static GPtrArray *default_nodes(struct block_graph *graph)
{
    GPtrArray *nodes = g_ptr_array_new();

    for (guint i = 0; i < graph->nodes->len; i++) {
        struct block_node *node = graph->nodes->pdata[i];

        if (!node->read_only && stands_alone(node)) {
            add_node(nodes, node);
        }
    }
    return nodes;
}

static GPtrArray *named_nodes(struct block_graph *graph, const struct str_list *names,
                              GError **error)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    if (names->n == 0) {
        g_set_error(error, BLOCK_ERROR, 0, "At least one device is required for snapshot");
        return NULL;
    }
    for (size_t i = 0; i < names->n; i++) {
        struct block_node *node = block_node_find(graph, names->v[i]);

        if (!node) {
            g_set_error(error, BLOCK_ERROR, 0, "No block device node '%s'", names->v[i]);
            return NULL;
        }
        add_node(nodes, node);
    }
    return g_steal_pointer(&nodes);
}

GPtrArray *block_snapshot_nodes(struct block_graph *graph, const struct str_list *names,
                                GError **error)
{
    return names ? named_nodes(graph, names, error) : default_nodes(graph);
}

bool block_node_keeps_snapshots(struct block_node *node)
{
    return may_keep(node, NULL);
}

bool block_nodes_keep_snapshots(const GPtrArray *nodes, GError **error)
{
    for (guint i = 0; i < nodes->len; i++) {
        if (!may_keep(nodes->pdata[i], error)) {
            return false;
        }
    }
    return true;
}

char *block_node_drive_id(const struct block_node *node)
{
    char *id = block_node_device(node);

    return id ? id : g_strdup("");
}

/* ---- what there is */

static int list_call(struct qcow2 *q, void *arg)
{
    *(GPtrArray **)arg = qcow2_snapshots_read(q);
    return *(GPtrArray **)arg ? 0 : -EIO;
}

static GPtrArray *read_all(struct block_node *node, GError **error)
{
    struct qcow2 *q = image_of(node);
    GPtrArray *all = NULL;

    if (!q) {
        return g_ptr_array_new();
    }
    if (qcow2_call(q, list_call, &all) < 0) {
        g_set_error(error, BLOCK_ERROR, EIO, "the snapshots of '%s' cannot be read",
                    block_node_name(node));
    }
    return all;
}

GPtrArray *block_snapshots(struct block_node *node, GError **error)
{
    g_autoptr(GPtrArray) all = read_all(node, error);
    GPtrArray *out;

    if (!all) {
        return NULL;
    }
    out = g_ptr_array_new_with_free_func((GDestroyNotify)vm_snapshot_free);
    for (guint i = 0; i < all->len; i++) {
        const struct qcow2_snapshot *from = all->pdata[i];
        struct vm_snapshot *to = g_new0(struct vm_snapshot, 1);

        to->id = g_strdup(from->id);
        to->name = g_strdup(from->name);
        to->state_bytes = from->state_bytes;
        to->disk_bytes = from->disk_bytes;
        to->date_s = from->date_s;
        to->date_ns = from->date_ns;
        to->clock_ns = from->clock_ns;
        to->has_icount = from->icount != UINT64_MAX;
        to->icount = from->icount;
        g_ptr_array_add(out, to);
    }
    return out;
}

/* ---- looking at one */

struct show {
    const char *id, *name;
};

static int show_call(struct qcow2 *q, void *arg)
{
    const struct show *show = arg;
    g_autoptr(GPtrArray) all = qcow2_snapshots_read(q);
    const struct qcow2_snapshot *s = NULL;
    uint64_t *l1;
    int ret;

    for (guint i = 0; all && i < all->len && !s; i++) {
        const struct qcow2_snapshot *one = all->pdata[i];

        if ((!show->id || strcmp(one->id, show->id) == 0) &&
            (!show->name || strcmp(one->name, show->name) == 0)) {
            s = one;
        }
    }
    if (!s) {
        return all ? -ENOENT : -EIO;
    }
    ret = qcow2_l1_read(q, s->l1_offset, s->l1_size, &l1);
    if (ret < 0) {
        return ret;
    }
    g_mutex_lock(&q->mutex);
    g_free(q->l1);
    q->l1 = l1;
    q->l1_size = s->l1_size;
    q->l1_offset = s->l1_offset;
    q->bytes = s->disk_bytes;
    g_mutex_unlock(&q->mutex);
    return 0;
}

bool block_node_show_snapshot(struct block_node *node, const char *id, const char *name,
                              GError **error)
{
    struct qcow2 *q = image_of(node);
    struct show show = {id, name};
    int ret;

    g_assert(node->read_only);
    if (!q) {
        g_set_error(error, BLOCK_ERROR, ENOTSUP, "'%s' keeps no snapshots", node->filename);
        return false;
    }
    ret = qcow2_call(q, show_call, &show);
    if (ret < 0) {
        g_set_error(error, BLOCK_ERROR, -ret, "%s",
                    ret == -ENOENT ? "Can't find snapshot" : g_strerror(-ret));
        return false;
    }
    take_length(node);
    return true;
}

/* ---- the machine's state */

struct block_area {
    struct block_node *node;
    struct qcow2 *q;
    GArray *host; /* uint64_t: the offset of each cluster in the image; 0: zeroes */
    uint64_t bytes;
    bool loose; /* the clusters belong to no snapshot */
};

static struct block_area *area_new(struct block_node *node)
{
    struct block_area *area = g_new0(struct block_area, 1);

    area->node = node;
    area->q = image_of(node);
    area->host = g_array_new(FALSE, TRUE, sizeof(uint64_t));
    return area;
}

struct block_area *block_area_new(struct block_node *node, uint64_t *align)
{
    struct block_area *area = area_new(node);

    *align = area->q->cluster_bytes;
    area->loose = true;
    return area;
}

struct run {
    uint64_t n, offset;
};

static int alloc_call(struct qcow2 *q, void *arg)
{
    struct run *run = arg;
    uint64_t hint = MAX(q->hint, 1);
    int ret = qcow2_alloc_run(q, run->n, &run->offset);

    if (ret == 0 && run->offset >> q->cluster_bits == hint) {
        q->hint = hint + run->n; /* there is no gap before */
    }
    return ret;
}

static int write_run(struct block_area *area, uint64_t first, const uint8_t *data, uint64_t bytes)
{
    struct qcow2 *q = area->q;
    struct run run = {.n = (bytes + q->cluster_bytes - 1) >> q->cluster_bits};
    int ret = qcow2_call(q, alloc_call, &run);

    if (ret < 0) {
        return ret;
    }
    g_array_set_size(area->host, (guint)(first + run.n));
    for (uint64_t i = 0; i < run.n; i++) {
        g_array_index(area->host, uint64_t, first + i) = run.offset + (i << q->cluster_bits);
    }
    block_node_debug(q->file, BLKDEBUG_EVENT_VMSTATE_SAVE);
    return block_node_pwrite(q->file, run.offset, data, bytes);
}

bool block_area_write(struct block_area *area, uint64_t offset, const void *data, uint64_t bytes,
                      GError **error)
{
    struct qcow2 *q = area->q;
    int ret = 0;

    g_assert(offset % q->cluster_bytes == 0 && offset >> q->cluster_bits >= area->host->len);
    for (uint64_t at = 0; at < bytes && ret == 0; at += RUN_BYTES) {
        ret = write_run(area, (offset + at) >> q->cluster_bits, (const uint8_t *)data + at,
                        MIN(RUN_BYTES, bytes - at));
    }
    area->bytes = MAX(area->bytes, offset + bytes);
    return ret == 0 || fail(error, ret, area->node, "Error while writing VM state");
}

struct open_call {
    struct block_area *area;
    const char *name;
};

/* The clusters behind those of the disk. */
static int map_area(struct block_area *area, const struct qcow2_snapshot *s, const uint64_t *l1)
{
    struct qcow2 *q = area->q;
    uint64_t first = qcow2_l1_entries(q, s->disk_bytes), per = q->cluster_bytes / 8;
    uint64_t n = (s->state_bytes + q->cluster_bytes - 1) >> q->cluster_bits;
    g_autofree uint8_t *l2 = g_malloc(q->cluster_bytes);
    int ret = (n + per - 1) / per > s->l1_size - first ? -EINVAL : 0;

    for (uint64_t i = 0; i < n && ret == 0; i++) {
        uint64_t table = l1[first + i / per] & QCOW2_OFFSET_MASK, entry, host;

        if (i % per == 0 && table) {
            ret = qcow2_is_cluster(q, table)
                      ? block_node_pread(q->file, table, l2, q->cluster_bytes)
                      : -EINVAL;
        }
        entry = table && ret == 0 ? qcow2_be64(l2 + 8 * (i % per)) : 0;
        host = q->version >= 3 && entry & QCOW2_ZERO ? 0 : entry & QCOW2_OFFSET_MASK;
        if (entry & QCOW2_COMPRESSED || (host && !qcow2_is_cluster(q, host))) {
            ret = -EINVAL;
        }
        g_array_append_val(area->host, host);
    }
    area->bytes = s->state_bytes;
    return ret;
}

static int open_call(struct qcow2 *q, void *arg)
{
    struct open_call *call = arg;
    g_autoptr(GPtrArray) all = qcow2_snapshots_read(q);
    struct qcow2_snapshot *s = all ? qcow2_snapshot_find(all, call->name) : NULL;
    g_autofree uint64_t *l1 = NULL;
    int ret;

    if (!s) {
        return all ? -ENOENT : -EIO;
    }
    ret = qcow2_l1_read(q, s->l1_offset, s->l1_size, &l1);
    return ret < 0 ? ret : map_area(call->area, s, l1);
}

struct block_area *block_area_open(struct block_node *node, const char *name, GError **error)
{
    struct open_call call = {area_new(node), name};
    int ret = qcow2_call(call.area->q, open_call, &call);

    if (ret < 0) {
        block_area_free(call.area);
        fail(error, ret, node, "Could not open VM state file");
        return NULL;
    }
    return call.area;
}

uint64_t block_area_extent(const struct block_area *area, uint64_t offset, uint64_t bytes,
                           bool *zero)
{
    const struct qcow2 *q = area->q;
    uint64_t i = offset >> q->cluster_bits, done = 0;

    *zero = i >= area->host->len || !g_array_index(area->host, uint64_t, i);
    while (done < bytes &&
           (i >= area->host->len || !g_array_index(area->host, uint64_t, i)) == *zero) {
        if (i >= area->host->len) {
            return bytes;
        }
        done = ((i + 1) << q->cluster_bits) - offset;
        i++;
    }
    return MIN(done, bytes);
}

/* As far as the clusters lie in a row. */
static uint64_t in_a_row(const struct block_area *area, uint64_t offset, uint64_t bytes)
{
    const struct qcow2 *q = area->q;
    uint64_t i = offset >> q->cluster_bits;
    uint64_t first = g_array_index(area->host, uint64_t, i), n = 1;

    while ((n << q->cluster_bits) < bytes + (offset & (q->cluster_bytes - 1)) &&
           i + n < area->host->len &&
           g_array_index(area->host, uint64_t, i + n) == first + (n << q->cluster_bits)) {
        n++;
    }
    return MIN(bytes, (n << q->cluster_bits) - (offset & (q->cluster_bytes - 1)));
}

bool block_area_read(struct block_area *area, uint64_t offset, void *data, uint64_t bytes,
                     GError **error)
{
    const struct qcow2 *q = area->q;
    uint8_t *to = data;
    int ret = 0;

    while (bytes && ret == 0) {
        bool zero;
        uint64_t n = block_area_extent(area, offset, MIN(bytes, RUN_BYTES), &zero);

        if (zero) {
            memset(to, 0, n);
        } else {
            uint64_t host = g_array_index(area->host, uint64_t, offset >> q->cluster_bits);

            n = in_a_row(area, offset, n);
            block_node_debug(q->file, BLKDEBUG_EVENT_VMSTATE_LOAD);
            ret = block_node_pread(q->file, host + (offset & (q->cluster_bytes - 1)), to, n);
        }
        offset += n;
        to += n;
        bytes -= n;
    }
    return ret == 0 || fail(error, ret, area->node, "Error while reading VM state");
}

static int drop_area(struct qcow2 *q, void *arg)
{
    struct block_area *area = arg;

    for (guint i = 0; i < area->host->len; i++) {
        uint64_t host = g_array_index(area->host, uint64_t, i);

        if (host) {
            qcow2_count_change(q, host >> q->cluster_bits, -1);
        }
    }
    return qcow2_flush(q);
}

void block_area_free(struct block_area *area)
{
    if (!area) {
        return;
    }
    if (area->loose) {
        qcow2_call(area->q, drop_area, area);
    }
    g_array_unref(area->host);
    g_free(area);
}

/* ---- making one */

/* All that is in memory is on the disk then. */
static int settle(struct qcow2 *q)
{
    int ret = qcow2_flush(q);

    return ret < 0 ? ret : qcow2_flush(q); /* what the first has freed */
}

/* What changes snapshots looks at counts and tables on the disk: there must be no lazy ones. */
struct exact {
    int (*fn)(struct qcow2 *q, void *arg);
    void *arg;
};

static int exact(struct qcow2 *q, void *arg)
{
    const struct exact *e = arg;
    bool lazy = q->lazy;
    int ret = q->corrupt ? 0 : qcow2_clean(q);

    if (ret < 0) {
        return ret;
    }
    if (qcow2_passes(q, QCOW2_DISCARD_SNAPSHOT)) {
        q->dropped = g_array_new(FALSE, FALSE, sizeof(struct qcow2_freed));
    }
    q->lazy = false;
    ret = e->fn(q, e->arg);
    q->lazy = lazy;
    g_clear_pointer(&q->dropped, g_array_unref);
    return ret;
}

static int call_exact(struct block_node *node, int (*fn)(struct qcow2 *q, void *arg), void *arg)
{
    struct exact e = {fn, arg};

    return qcow2_call(image_of(node), exact, &e);
}

struct create {
    const struct vm_snapshot *info;
    struct block_area *area; /* or NULL */
};

/* Tables for the area, appended to l1; all of them or none. */
static int make_area_tables(struct qcow2 *q, struct block_area *area, GArray *l1)
{
    uint64_t per = q->cluster_bytes / 8;
    g_autofree uint8_t *l2 = g_malloc(q->cluster_bytes);
    int ret = 0;

    for (guint i = 0; i < area->host->len && ret == 0; i += (guint)per) {
        uint64_t offset = 0;

        memset(l2, 0, q->cluster_bytes);
        for (guint k = 0; k < per && i + k < area->host->len; k++) {
            qcow2_put_be64(l2 + 8 * k, g_array_index(area->host, uint64_t, i + k));
        }
        ret = qcow2_alloc_run(q, 1, &offset);
        g_array_append_val(l1, offset);
        ret = ret < 0 ? ret : block_node_pwrite(q->file, offset, l2, q->cluster_bytes);
    }
    return ret;
}

static char *next_id(const GPtrArray *all)
{
    uint64_t last = 0;

    for (guint i = 0; i < all->len; i++) {
        const struct qcow2_snapshot *s = all->pdata[i];

        last = MAX(last, g_ascii_strtoull(s->id, NULL, 10));
    }
    return g_strdup_printf("%" G_GUINT64_FORMAT, last + 1);
}

static struct qcow2_snapshot *entry_new(const struct qcow2 *q, const struct create *c,
                                        const GPtrArray *all)
{
    struct qcow2_snapshot *s = g_new0(struct qcow2_snapshot, 1);

    s->id = c->info->id ? g_strdup(c->info->id) : next_id(all);
    s->name = g_strdup(c->info->name);
    s->date_s = (uint32_t)c->info->date_s;
    s->date_ns = c->info->date_ns;
    s->clock_ns = c->info->clock_ns;
    s->state_bytes = c->area ? c->area->bytes : 0;
    s->disk_bytes = q->bytes;
    s->icount = c->info->has_icount ? c->info->icount : UINT64_MAX;
    return s;
}

/* With l1 holding the image's own entries: the rest, up to the table that names the snapshot. */
static int create_tables(struct qcow2 *q, struct create *c, GPtrArray *all, GArray *l1)
{
    struct qcow2_snapshot *s = entry_new(q, c, all);
    int ret = c->area ? make_area_tables(q, c->area, l1) : 0;

    for (guint i = 0; i < l1->len; i++) {
        g_array_index(l1, uint64_t, i) &= ~QCOW2_COPIED;
    }
    s->l1_size = l1->len;
    ret = ret < 0 ? ret
                  : qcow2_l1_store(q, (const uint64_t *)(void *)l1->data, l1->len, &s->l1_offset);
    ret = ret < 0 ? ret : qcow2_flush(q);
    ret = ret < 0 ? ret : qcow2_own_flags_fix(q);
    g_ptr_array_add(all, s);
    ret = ret < 0 ? ret : qcow2_snapshots_write(q, all);
    if (ret < 0) {
        qcow2_l1_drop(q, s->l1_offset, s->l1_size);
    }
    return ret;
}

static int create_call(struct qcow2 *q, void *arg)
{
    struct create *c = arg;
    g_autoptr(GPtrArray) all = q->corrupt ? NULL : qcow2_snapshots_read(q);
    uint64_t own = qcow2_l1_entries(q, q->bytes);
    g_autoptr(GArray) l1 = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    int ret = all ? settle(q) : -EIO;

    if (ret < 0) {
        return ret;
    }
    g_array_append_vals(l1, q->l1, (guint)own);
    ret = qcow2_refs_change(q, q->l1, own, 1);
    if (ret == 0) {
        ret = create_tables(q, c, all, l1);
        if (ret < 0) {
            for (guint i = (guint)own; i < l1->len; i++) {
                uint64_t table = g_array_index(l1, uint64_t, i);

                if (table) {
                    qcow2_count_change(q, table >> q->cluster_bits, -1);
                }
            }
            qcow2_refs_change(q, q->l1, own, -1);
            qcow2_own_flags_fix(q);
        }
    }
    qcow2_flush(q);
    return qcow2_reload(q) < 0 ? -EIO : ret;
}

bool block_snapshot_create(struct block_node *node, const struct vm_snapshot *snapshot,
                           struct block_area *area, GError **error)
{
    struct create c = {snapshot, area};
    int ret = call_exact(node, create_call, &c);

    if (ret < 0) {
        return fail(error, ret, node, "Error while creating snapshot");
    }
    if (area) {
        area->loose = false;
    }
    return true;
}

/* ---- deleting one */

struct delete
{
    const char *name;
    bool newest;
};

static struct qcow2_snapshot *find_newest(const GPtrArray *all, const char *name)
{
    for (guint i = all->len; i-- > 0;) {
        struct qcow2_snapshot *s = all->pdata[i];

        if (strcmp(s->name, name) == 0) {
            return s;
        }
    }
    return NULL;
}

static int delete_call(struct qcow2 *q, void *arg)
{
    const struct delete *d = arg;
    g_autoptr(GPtrArray) all = q->corrupt ? NULL : qcow2_snapshots_read(q);
    struct qcow2_snapshot *s = !all        ? NULL
                               : d->newest ? find_newest(all, d->name)
                                           : qcow2_snapshot_find(all, d->name);
    g_autofree uint64_t *l1 = NULL;
    uint64_t l1_offset;
    uint32_t l1_size;
    int ret;

    if (!s) {
        return all ? -ENOENT : -EIO;
    }
    l1_offset = s->l1_offset;
    l1_size = s->l1_size;
    ret = settle(q);
    ret = ret < 0 ? ret : qcow2_l1_read(q, l1_offset, l1_size, &l1);
    g_ptr_array_remove(all, s);
    ret = ret < 0 ? ret : qcow2_snapshots_write(q, all);
    if (ret < 0) {
        return ret;
    }
    /* It is gone. What fails from here on costs room. */
    if (qcow2_refs_change(q, l1, l1_size, -1) == 0) {
        qcow2_l1_drop(q, l1_offset, l1_size);
    }
    qcow2_own_flags_fix(q);
    if (qcow2_flush(q) == 0) {
        qcow2_discard_dropped(q);
    }
    return qcow2_reload(q);
}

bool block_snapshot_delete(struct block_node *node, const char *name, bool newest, GError **error)
{
    struct delete d = {name, newest};
    int ret = call_exact(node, delete_call, &d);

    return ret == 0 || fail(error, ret, node, "Error while deleting snapshot");
}

/* ---- going back to one */

struct block_revert {
    struct block_node *node;
    const char *name; /* during prepare */
    uint64_t *l1, l1_offset, disk_bytes;
    uint32_t l1_size;
};

static int prepare_call(struct qcow2 *q, void *arg)
{
    struct block_revert *r = arg;
    g_autoptr(GPtrArray) all = q->corrupt ? NULL : qcow2_snapshots_read(q);
    struct qcow2_snapshot *s = all ? qcow2_snapshot_find(all, r->name) : NULL;
    int ret;

    if (!s) {
        return all ? -ENOENT : -EIO;
    }
    r->disk_bytes = s->disk_bytes;
    r->l1_size = (uint32_t)qcow2_l1_entries(q, s->disk_bytes);
    ret = settle(q);
    ret = ret < 0 ? ret : qcow2_l1_read(q, s->l1_offset, r->l1_size, &r->l1);
    ret = ret < 0 ? ret : qcow2_refs_change(q, r->l1, r->l1_size, 1);
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_flags_fix(q, r->l1, r->l1_size);
    ret = ret < 0 ? ret : qcow2_l1_store(q, r->l1, r->l1_size, &r->l1_offset);
    ret = ret < 0 ? ret : qcow2_flush(q);
    if (ret < 0) {
        qcow2_l1_drop(q, r->l1_offset, r->l1_size);
        qcow2_refs_change(q, r->l1, r->l1_size, -1);
        qcow2_flush(q);
    }
    return ret;
}

static void revert_free(struct block_revert *r)
{
    g_free(r->l1);
    g_free(r);
}

struct block_revert *block_revert_prepare(struct block_node *node, const char *name, GError **error)
{
    struct block_revert *r = g_new0(struct block_revert, 1);
    int ret;

    r->node = node;
    r->name = name;
    ret = call_exact(node, prepare_call, r);
    r->name = NULL;
    if (ret < 0) {
        fail(error, ret, node, "Error while activating snapshot");
        revert_free(r);
        return NULL;
    }
    return r;
}

static int commit_call(struct qcow2 *q, void *arg)
{
    struct block_revert *r = arg;
    g_autofree uint64_t *old = NULL;
    uint64_t old_offset = q->l1_offset;
    uint32_t old_size = q->l1_size;
    uint8_t head[24] = {0}; /* size, encryption (none), L1 table: one write, within a sector */
    int ret = qcow2_l1_read(q, old_offset, old_size, &old);

    qcow2_put_be64(head, r->disk_bytes);
    qcow2_put_be32(head + 12, r->l1_size);
    qcow2_put_be64(head + 16, r->l1_offset);
    ret = ret < 0 ? ret : block_node_pwrite(q->file, QCOW2_AT_SIZE, head, sizeof(head));
    ret = ret < 0 ? ret : block_node_sync(q->file, BLOCK_FLUSH, 0, 0, 0);
    if (ret < 0) {
        return ret;
    }
    if (qcow2_refs_change(q, old, old_size, -1) == 0) {
        qcow2_l1_drop(q, old_offset, old_size);
    }
    q->l1_offset = r->l1_offset; /* for the flags; all else follows */
    q->l1_size = r->l1_size;
    qcow2_own_flags_fix(q);
    if (qcow2_flush(q) == 0) {
        qcow2_discard_dropped(q);
    }
    return qcow2_reload(q);
}

static int abort_call(struct qcow2 *q, void *arg)
{
    struct block_revert *r = arg;

    qcow2_l1_drop(q, r->l1_offset, r->l1_size);
    qcow2_refs_change(q, r->l1, r->l1_size, -1);
    qcow2_own_flags_fix(q);
    qcow2_flush(q);
    return qcow2_reload(q);
}

bool block_revert_commit(struct block_revert *r, GError **error)
{
    struct block_node *node = r->node;
    int ret = call_exact(node, commit_call, r);

    revert_free(r);
    if (ret < 0) {
        return fail(error, ret, node, "Error while activating snapshot");
    }
    take_length(node);
    return true;
}

void block_revert_abort(struct block_revert *r)
{
    if (r) {
        call_exact(r->node, abort_call, r);
        revert_free(r);
    }
}
