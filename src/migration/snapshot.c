/* See snapshot.h. */
#include "migration/snapshot.h"

#include "base/log.h"
#include "base/threads.h"
#include "block/vm-snapshot.h"
#include "migration/migration.h"
#include <string.h>

/* Beyond the guest's memory: displays' and firmware's, devices. */
#define STATE_SLACK_BYTES (2ull << 30)

static bool fail(GError **error, const char *format, const char *name)
{
    g_autofree char *text = g_strdup_printf(format, name);

    g_set_error_literal(error, SNAPSHOT_ERROR, 0, text);
    return false;
}

/* ---- which disks */

static struct block_node *vmstate_node(const GPtrArray *nodes, const char *name, GError **error)
{
    for (guint i = 0; i < nodes->len; i++) {
        struct block_node *node = nodes->pdata[i];

        if (name ? strcmp(block_node_name(node), name) == 0 : block_node_keeps_snapshots(node)) {
            return node;
        }
    }
    if (name) {
        fail(error, "vmstate block device '%s' does not exist", name);
    } else {
        fail(error, "no block device can store vmstate for snapshot", NULL);
    }
    return NULL;
}

static struct vm_snapshot *find(const GPtrArray *all, const char *tag)
{
    for (guint i = 0; i < all->len; i++) {
        struct vm_snapshot *s = all->pdata[i];

        if (strcmp(s->name, tag) == 0) {
            return s;
        }
    }
    return NULL;
}

enum presence { PRESENT_ERROR = -1, PRESENT_NOT, PRESENT };

static enum presence node_has(struct block_node *node, const char *tag, GError **error)
{
    g_autoptr(GPtrArray) all = block_snapshots(node, error);

    return !all ? PRESENT_ERROR : find(all, tag) ? PRESENT : PRESENT_NOT;
}

/* Whether all nodes have a snapshot of that name, or none has, as is wanted. */
static bool check_presence(const GPtrArray *nodes, const char *tag, enum presence wanted,
                           GError **error)
{
    for (guint i = 0; i < nodes->len; i++) {
        enum presence there = node_has(nodes->pdata[i], tag, error);

        if (there == PRESENT_ERROR) {
            return false;
        }
        if (there != wanted) {
            return fail(error,
                        wanted == PRESENT ? "Snapshot '%s' does not exist in one or more devices"
                                          : "Snapshot '%s' already exists in one or more devices",
                        tag);
        }
    }
    return true;
}

static GPtrArray *nodes_for(struct machine *m, const struct str_list *names, GError **error)
{
    g_autoptr(GPtrArray) nodes = block_snapshot_nodes(m->block, names, error);

    return nodes && block_nodes_keep_snapshots(nodes, error) ? g_steal_pointer(&nodes) : NULL;
}

static bool may_begin(struct machine *m, GError **error)
{
    const char *why = migration_forbids_snapshot(m);

    return !why || fail(error, "%s", why);
}

/* ---- saving */

static bool area_write(void *opaque, uint64_t offset, const void *data, uint64_t bytes,
                       GError **error)
{
    return block_area_write(opaque, offset, data, bytes, error);
}

static char *name_for_now(void)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();

    return g_date_time_format(now, "vm-%Y%m%d%H%M%S");
}

static bool create_all(const GPtrArray *nodes, struct block_node *keeper, struct block_area *area,
                       const struct vm_snapshot *info, GError **error)
{
    for (guint i = 0; i < nodes->len; i++) {
        struct block_node *node = nodes->pdata[i];

        if (!block_snapshot_create(node, info, node == keeper ? area : NULL, error)) {
            while (i-- > 0) {
                block_snapshot_delete(nodes->pdata[i], info->name, true, NULL);
            }
            return false;
        }
    }
    return true;
}

static bool save(struct machine *m, const GPtrArray *nodes, struct block_node *keeper,
                 const char *tag, GError **error)
{
    struct snapshot_sink sink = {.write = area_write};
    struct block_area *area = block_area_new(keeper, &sink.align);
    struct vm_snapshot info = {.name = (char *)tag};
    int64_t now = g_get_real_time();
    uint64_t bytes;
    bool ok;

    sink.opaque = area;
    info.date_s = now / G_USEC_PER_SEC;
    info.date_ns = (uint32_t)(now % G_USEC_PER_SEC * 1000);
    info.clock_ns = (uint64_t)vclock_now(m->clock);
    ok = snapshot_image_write(m, &sink, &bytes, error) &&
         create_all(nodes, keeper, area, &info, error);
    block_area_free(area);
    return ok;
}

/* What has the name besides the newest one. */
static bool delete_older(const GPtrArray *nodes, const char *tag, const bool *had, GError **error)
{
    for (guint i = 0; i < nodes->len; i++) {
        if (had[i] && !block_snapshot_delete(nodes->pdata[i], tag, false, error)) {
            return false;
        }
    }
    return true;
}

/* Of the disks that nothing else uses now. */
static bool save_quietly(struct machine *m, const GPtrArray *nodes, struct block_node *keeper,
                         const char *tag, GError **error)
{
    enum run_state before = runstate_get(m->run);
    g_autofree bool *had = g_new0(bool, nodes->len);
    struct thread_doing outer;
    bool ok;

    for (guint i = 0; i < nodes->len; i++) {
        had[i] = node_has(nodes->pdata[i], tag, NULL) == PRESENT;
    }
    thread_doing_begin(&outer, "snapshot", "save");
    vm_stop(m, RUN_STATE_SAVE_VM);
    block_drain_begin(m->block);
    ok = save(m, nodes, keeper, tag, error) && delete_older(nodes, tag, had, error);
    block_drain_end(m->block);
    if (before == RUN_STATE_RUNNING) {
        vm_start(m, NULL);
    }
    thread_doing_end(&outer);
    return ok;
}

bool snapshot_save(struct machine *m, const char *tag, bool overwrite,
                   const struct snapshot_where *where, GError **error)
{
    g_autoptr(GPtrArray) nodes = nodes_for(m, where->devices, error);
    g_autofree char *name = tag ? g_strdup(tag) : name_for_now();
    struct block_node *keeper;

    if (!nodes || !may_begin(m, error) ||
        (!overwrite && !check_presence(nodes, name, PRESENT_NOT, error))) {
        return false;
    }
    if (strlen(name) > UINT16_MAX) {
        return fail(error, "a snapshot's name has at most 65535 bytes", NULL);
    }
    keeper = vmstate_node(nodes, where->vmstate, error);
    return keeper && save_quietly(m, nodes, keeper, name, error);
}

/* ---- loading */

static bool area_read(void *opaque, uint64_t offset, void *data, uint64_t bytes, GError **error)
{
    return block_area_read(opaque, offset, data, bytes, error);
}

static uint64_t area_extent(void *opaque, uint64_t offset, uint64_t bytes, bool *zero)
{
    return block_area_extent(opaque, offset, bytes, zero);
}

static bool prepare_disks(const GPtrArray *nodes, const char *tag, GPtrArray *reverts,
                          GError **error)
{
    for (guint i = 0; i < nodes->len; i++) {
        struct block_revert *revert = block_revert_prepare(nodes->pdata[i], tag, error);

        if (!revert) {
            return false;
        }
        g_ptr_array_add(reverts, revert);
    }
    return true;
}

static void abort_disks(const GPtrArray *reverts)
{
    for (guint i = 0; i < reverts->len; i++) {
        block_revert_abort(reverts->pdata[i]);
    }
}

/* All of them, whatever becomes of one. */
static bool commit_disks(const GPtrArray *reverts, GError **error)
{
    bool ok = true;

    for (guint i = 0; i < reverts->len; i++) {
        ok &= block_revert_commit(reverts->pdata[i], ok ? error : NULL);
    }
    return ok;
}

/* *touched: the machine is not what it was. */
static bool load_image(struct machine *m, const GPtrArray *nodes, struct snapshot_image *image,
                       const char *tag, bool *touched, GError **error)
{
    g_autoptr(GPtrArray) reverts = g_ptr_array_new();
    enum run_state saved;

    if (!prepare_disks(nodes, tag, reverts, error)) {
        abort_disks(reverts);
        return false;
    }
    *touched = true;
    if (!machine_reset_to_load(m) || !snapshot_image_load(m, image, true, &saved, error)) {
        abort_disks(reverts);
        return error && *error ? false : fail(error, "the machine cannot be reset", NULL);
    }
    if (!commit_disks(reverts, error)) {
        return false;
    }
    machine_loaded(m, true, saved == RUN_STATE_SUSPENDED);
    return true;
}

static bool load(struct machine *m, const GPtrArray *nodes, struct block_node *keeper,
                 const char *tag, bool *touched, GError **error)
{
    struct block_area *area = block_area_open(keeper, tag, error);
    struct snapshot_source source = {
        .bytes = INT64_MAX, .read = area_read, .extent = area_extent, .opaque = area};
    struct snapshot_image *image = area ? snapshot_image_open(m, &source, error) : NULL;
    bool ok = image && load_image(m, nodes, image, tag, touched, error);

    snapshot_image_free(image);
    block_area_free(area);
    return ok;
}

/* The image says how much state it keeps: no more is believed than this machine can have. */
static bool has_state(struct machine *m, struct block_node *keeper, const char *tag, GError **error)
{
    g_autoptr(GPtrArray) all = block_snapshots(keeper, error);
    const struct vm_snapshot *s = all ? find(all, tag) : NULL;

    if (s && s->state_bytes == 0) {
        return fail(error, "This is a disk-only snapshot. Revert to it  offline using qemu-img",
                    NULL);
    }
    if (s && s->state_bytes / 2 > m->config->ram_bytes + STATE_SLACK_BYTES) {
        return fail(error, "Snapshot '%s' has more state than this machine can have", tag);
    }
    return s != NULL;
}

static bool load_checked(struct machine *m, const char *tag, const struct snapshot_where *where,
                         bool *touched, GError **error)
{
    g_autoptr(GPtrArray) nodes = nodes_for(m, where->devices, error);
    struct block_node *keeper;
    bool ok;

    if (!nodes || !check_presence(nodes, tag, PRESENT, error)) {
        return false;
    }
    keeper = vmstate_node(nodes, where->vmstate, error);
    if (!keeper || !has_state(m, keeper, tag, error)) {
        return false;
    }
    block_drain_begin(m->block);
    ok = load(m, nodes, keeper, tag, touched, error);
    block_drain_end(m->block);
    return ok;
}

bool snapshot_load(struct machine *m, const char *tag, const struct snapshot_where *where,
                   GError **error)
{
    bool resume = runstate_is_running(m->run), touched = false, ok;
    g_autoptr(GError) why = NULL;
    struct thread_doing outer;

    if (!may_begin(m, error)) {
        return false;
    }
    thread_doing_begin(&outer, "snapshot", "load");
    vm_stop(m, RUN_STATE_RESTORE_VM);
    ok = load_checked(m, tag, where, &touched, &why);
    if (!ok && touched) {
        log_error("the machine was not loaded completely and must be reset: %s", why->message);
        machine_loaded(m, false, false);
    } else if (resume) {
        vm_start(m, NULL);
    }
    thread_doing_end(&outer);
    if (!ok) {
        g_propagate_error(error, g_steal_pointer(&why));
    }
    return ok;
}

/* ---- deleting */

bool snapshot_delete(struct machine *m, const char *tag, const struct str_list *devices,
                     GError **error)
{
    g_autoptr(GPtrArray) nodes = nodes_for(m, devices, error);
    bool ok = true;

    if (!nodes) {
        return false;
    }
    if (machine_frozen(m) && migration_goes_out(m)) { /* a dump does not look at disks */
        return fail(error, "%s", machine_frozen(m));
    }
    block_drain_begin(m->block);
    for (guint i = 0; i < nodes->len && ok; i++) {
        enum presence there = node_has(nodes->pdata[i], tag, error);

        ok = there == PRESENT_NOT ||
             (there == PRESENT && block_snapshot_delete(nodes->pdata[i], tag, false, error));
    }
    block_drain_end(m->block);
    return ok;
}
