/*
 * qcow2: what a node's options say of an image in use: the tables in memory, lazy reference counts,
 * what is given back to the host. All of it may change while the image is used (blockdev-reopen).
 */
#include "block/qcow2-priv.h"

#define CACHE_BYTES (16u << 20)

#define CONSTANT                                                                                   \
    (1u << QCOW2_HEADER | 1u << QCOW2_ACTIVE_L1 | 1u << QCOW2_REFCOUNT_TABLE |                     \
     1u << QCOW2_SNAPSHOT_TABLE | 1u << QCOW2_BITMAP_DIRECTORY)
#define CACHED                                                                                     \
    (CONSTANT | 1u << QCOW2_ACTIVE_L2 | 1u << QCOW2_REFCOUNT_BLOCK | 1u << QCOW2_INACTIVE_L1)

const char *const qcow2_changeable[] = {
    "cache-size",         "l2-cache-size",        "refcount-cache-size",
    "lazy-refcounts",     "pass-discard-request", "pass-discard-snapshot",
    "pass-discard-other", "overlap-check",        NULL};

static bool parse_sizes(const struct blockdev_options_qcow2 *o, struct qcow2_settings *s,
                        GError **error)
{
    int64_t l2 = o->has_l2_cache_size ? o->l2_cache_size : CACHE_BYTES;
    int64_t refcounts = o->has_refcount_cache_size ? o->refcount_cache_size : CACHE_BYTES;

    if (o->has_cache_size && o->has_l2_cache_size && o->has_refcount_cache_size) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "cache-size, l2-cache-size and refcount-cache-size may not be set at the same "
                    "time");
        return false;
    }
    if (o->has_cache_size && o->cache_size >= 0 && l2 >= 0 && refcounts >= 0) {
        if (o->has_l2_cache_size) {
            refcounts = o->cache_size - l2;
        } else if (o->has_refcount_cache_size) {
            l2 = o->cache_size - refcounts;
        } else {
            l2 = refcounts = o->cache_size / 2;
        }
    }
    if (l2 < 0 || refcounts < 0 || (o->has_cache_size && o->cache_size < 0)) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "l2-cache-size and refcount-cache-size are positive, and not larger than "
                    "cache-size");
        return false;
    }
    s->l2_cache_bytes = (uint64_t)l2;
    s->refcount_cache_bytes = (uint64_t)refcounts;
    return true;
}

static unsigned kinds_of_mode(enum qcow2_overlap_check_mode mode)
{
    static const unsigned kinds[] = {
        [QCOW2_OVERLAP_CHECK_MODE_NONE] = 0,
        [QCOW2_OVERLAP_CHECK_MODE_CONSTANT] = CONSTANT,
        [QCOW2_OVERLAP_CHECK_MODE_CACHED] = CACHED,
        [QCOW2_OVERLAP_CHECK_MODE_ALL] = CACHED | 1u << QCOW2_INACTIVE_L2,
    };

    return kinds[mode];
}

static unsigned parse_protect(const struct qcow2_overlap_checks *o)
{
    const struct qcow2_overlap_check_flags *f;
    unsigned kinds = CACHED;

    if (!o) {
        return kinds;
    }
    if (o->type == Q_TYPE_QSTRING) {
        return kinds_of_mode(o->u.mode);
    }
    f = o->u.flags;
    kinds = f->has_template ? kinds_of_mode(f->template) : CACHED;
#define KIND(name, kind)                                                                           \
    if (f->has_##name) {                                                                           \
        kinds = (kinds & ~(1u << (kind))) | (unsigned)f->name << (kind);                           \
    }
    KIND(main_header, QCOW2_HEADER)
    KIND(active_l1, QCOW2_ACTIVE_L1)
    KIND(active_l2, QCOW2_ACTIVE_L2)
    KIND(refcount_table, QCOW2_REFCOUNT_TABLE)
    KIND(refcount_block, QCOW2_REFCOUNT_BLOCK)
    KIND(snapshot_table, QCOW2_SNAPSHOT_TABLE)
    KIND(inactive_l1, QCOW2_INACTIVE_L1)
    KIND(inactive_l2, QCOW2_INACTIVE_L2)
    KIND(bitmap_directory, QCOW2_BITMAP_DIRECTORY)
#undef KIND
    return kinds;
}

bool qcow2_settings_parse(const struct blockdev_options_qcow2 *o, struct qcow2_settings *s,
                          GError **error)
{
    *s = (struct qcow2_settings){
        .lazy = o->has_lazy_refcounts ? o->lazy_refcounts : -1,
        .protect = parse_protect(o->overlap_check),
        .pass = {
            [QCOW2_DISCARD_ALWAYS] = true,
            [QCOW2_DISCARD_REQUEST] = o->has_pass_discard_request ? o->pass_discard_request : -1,
            [QCOW2_DISCARD_SNAPSHOT] = !o->has_pass_discard_snapshot || o->pass_discard_snapshot,
            [QCOW2_DISCARD_OTHER] = o->has_pass_discard_other && o->pass_discard_other,
        }};
    return parse_sizes(o, s, error);
}

static bool lazy_is_possible(const struct qcow2 *q, const struct qcow2_settings *s, GError **error)
{
    if (s->lazy == 1 && q->version < 3) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility "
                    "level");
        return false;
    }
    return true;
}

bool qcow2_settings_apply(struct qcow2 *q, GError **error)
{
    if (!lazy_is_possible(q, &q->settings, error)) {
        return false;
    }
    qcow2_cache_configure(q);
    /* What is repaired must be right at once. */
    q->lazy = q->version >= 3 && !q->repairing &&
              (q->settings.lazy < 0 ? !!(q->compatible & QCOW2_COMPAT_LAZY) : q->settings.lazy);
    return true;
}

/* The node is drained, so the worker has nothing to do. */
bool qcow2_configure(struct block_node *node, const struct blockdev_options *o, GError **error)
{
    struct qcow2 *q = node->state;
    struct qcow2_settings s;
    int ret = 0;

    if (!qcow2_settings_parse(&o->u.qcow2, &s, error) || !lazy_is_possible(q, &s, error)) {
        return false;
    }
    if (q->lazy && s.lazy == 0 && !node->graph->inactive) {
        ret = qcow2_clean(q);
    }
    if (ret < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Failed to flush the reference counts of '%s': %s",
                    node->filename, g_strerror(-ret));
        return false;
    }
    q->settings = s;
    return qcow2_settings_apply(q, error);
}

bool qcow2_passes(const struct qcow2 *q, enum qcow2_discard why)
{
    return q->settings.pass[why] < 0 ? q->node->unmap : q->settings.pass[why];
}
