/*
 * Commands of the schema module snapshot, and savevm, loadvm, delvm and info snapshots of the human
 * monitor.
 *
 * The work is done at once, on the main thread. What a client sees is a job all the same: it is
 * running in the command, and ends behind its reply.
 */
#include "monitor/monitor-priv.h"

#include "block/job.h"
#include "block/vm-snapshot.h"
#include "devices/vmgenid.h"
#include "migration/snapshot-file.h"
#include "migration/snapshot.h"
#include "monitor/hmp-snapshot.h"
#include "qapi-commands.h"
#include "qapi/error.h"
#include <math.h>
#include <time.h>

/* ---- jobs */

struct snapshot_job {
    struct job *job;
    GSource *bell;
    GError *error;
};

static void job_over(void *arg)
{
    struct snapshot_job *s = arg;

    job_end(s->job, g_steal_pointer(&s->error));
}

static void job_clean(struct job *job, void *opaque)
{
    struct snapshot_job *s = opaque;

    loop_bell_free(s->bell);
    g_clear_error(&s->error);
    g_free(s);
}

static const struct job_driver drivers[] = {
    {.type = JOB_TYPE_SNAPSHOT_SAVE, .clean = job_clean},
    {.type = JOB_TYPE_SNAPSHOT_LOAD, .clean = job_clean},
    {.type = JOB_TYPE_SNAPSHOT_DELETE, .clean = job_clean},
};

static struct snapshot_job *job_begin(struct qmp_call *call, const struct job_driver *driver,
                                      const char *id, GError **errp)
{
    struct snapshot_job *s = g_new0(struct snapshot_job, 1);

    s->job = job_new(call->machine->jobs, driver, id, JOB_MANUAL_DISMISS, s, errp);
    if (!s->job) {
        g_free(s);
        return NULL;
    }
    s->bell = loop_bell_new(call->machine->loop, job_over, s);
    job_start(s->job);
    job_set_progress(s->job, 0, 1);
    return s;
}

static bool job_done(struct snapshot_job *s)
{
    job_set_progress(s->job, 1, 1);
    loop_bell_ring(s->bell);
    return true;
}

bool qmp_snapshot_save(struct qmp_call *call, const struct qmp_snapshot_save_arg *arg,
                       GError **errp)
{
    const struct snapshot_where where = {arg->vmstate, arg->devices};
    struct snapshot_job *s = job_begin(call, &drivers[0], arg->job_id, errp);

    if (!s) {
        return false;
    }
    snapshot_save(call->machine, arg->tag, false, &where, &s->error);
    return job_done(s);
}

bool qmp_snapshot_load(struct qmp_call *call, const struct qmp_snapshot_load_arg *arg,
                       GError **errp)
{
    const struct snapshot_where where = {arg->vmstate, arg->devices};
    struct snapshot_job *s = job_begin(call, &drivers[1], arg->job_id, errp);

    if (!s) {
        return false;
    }
    snapshot_load(call->machine, arg->tag, &where, &s->error);
    return job_done(s);
}

bool qmp_snapshot_delete(struct qmp_call *call, const struct qmp_snapshot_delete_arg *arg,
                         GError **errp)
{
    struct snapshot_job *s = job_begin(call, &drivers[2], arg->job_id, errp);

    if (!s) {
        return false;
    }
    snapshot_delete(call->machine, arg->tag, arg->devices, &s->error);
    return job_done(s);
}

bool qmp_godwit_snapshot_file(struct qmp_call *call, const struct qmp_godwit_snapshot_file_arg *arg,
                              GError **errp)
{
    return snapshot_file_save(call->machine, arg->filename, errp);
}

struct guid_info *qmp_query_vm_generation_id(struct qmp_call *call, GError **errp)
{
    struct device *dev = devices_find_class(&call->machine->env, &vmgenid_class);
    struct guid_info *info;

    if (!dev) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "VM Generation ID device not found");
        return NULL;
    }
    info = g_new0(struct guid_info, 1);
    info->guid = vmgenid_text(dev);
    return info;
}

/* ---- for people */

static void print_error(GString *out, const GError *error)
{
    if (error) {
        g_string_append_printf(out, "Error: %s\n", error->message);
    }
}

void hmp_savevm(struct machine *m, const char *tag, GString *out)
{
    const struct snapshot_where where = {NULL, NULL};
    g_autoptr(GError) error = NULL;

    snapshot_save(m, *tag ? tag : NULL, true, &where, &error);
    print_error(out, error);
}

void hmp_loadvm(struct machine *m, const char *tag, GString *out)
{
    const struct snapshot_where where = {NULL, NULL};
    g_autoptr(GError) error = NULL;

    snapshot_load(m, tag, &where, &error);
    print_error(out, error);
}

void hmp_delvm(struct machine *m, const char *tag, GString *out)
{
    g_autoptr(GError) error = NULL;

    snapshot_delete(m, tag, NULL, &error);
    print_error(out, error);
}

static void print_size(GString *out, uint64_t bytes)
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    int exponent, unit;

    frexp((double)bytes / (1000.0 / 1024.0), &exponent);
    unit = bytes ? (exponent - 1) / 10 : 0;
    g_string_append_printf(out, "%0.3g %sB", (double)bytes / (double)(1ull << (unit * 10)),
                           units[unit]);
}

static void print_head(GString *out)
{
    g_string_append_printf(out, "%-9s %-16s %8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
                           "VM CLOCK", "ICOUNT");
}

static void print_snapshot(GString *out, const struct vm_snapshot *s, const char *id)
{
    g_autoptr(GDateTime) date = g_date_time_new_from_unix_local(s->date_s);
    g_autofree char *text = date ? g_date_time_format(date, "%Y-%m-%d %H:%M:%S") : g_strdup("?");
    g_autoptr(GString) size = g_string_new(NULL);
    uint64_t ms = s->clock_ns / 1000000;

    print_size(size, s->state_bytes);
    g_string_append_printf(out, "%-9s %-16s %8s%20s %02u:%02u:%02u.%03u%11s\n", id, s->name,
                           size->str, text, (unsigned)(ms / 3600000), (unsigned)(ms / 60000 % 60),
                           (unsigned)(ms / 1000 % 60), (unsigned)(ms % 1000), "");
}

struct image {
    struct block_node *node;
    GPtrArray *snapshots;
};

static void image_clear(gpointer data)
{
    struct image *image = data;

    g_clear_pointer(&image->snapshots, g_ptr_array_unref);
}

static bool has(const struct image *image, const char *name)
{
    for (guint i = 0; i < image->snapshots->len; i++) {
        if (strcmp(((struct vm_snapshot *)image->snapshots->pdata[i])->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* A snapshot that can be loaded: the keeper of states has it, and so has every image. */
static bool is_whole(const GArray *images, const struct image *keeper, const char *name)
{
    for (guint i = 0; i < images->len; i++) {
        if (!has(&g_array_index(images, struct image, i), name)) {
            return false;
        }
    }
    return has(keeper, name);
}

static void print_partial(GString *out, const GArray *images, const struct image *keeper)
{
    for (guint i = 0; i < images->len; i++) {
        const struct image *image = &g_array_index(images, struct image, i);
        g_autofree char *id = block_node_drive_id(image->node);
        bool told = false;

        for (guint k = 0; k < image->snapshots->len; k++) {
            const struct vm_snapshot *s = image->snapshots->pdata[k];

            if (is_whole(images, keeper, s->name)) {
                continue;
            }
            if (!told) {
                g_string_append_printf(out, "\nList of partial (non-loadable) snapshots on '%s':\n",
                                       id);
                print_head(out);
                told = true;
            }
            print_snapshot(out, s, s->id);
        }
    }
}

static void print_lists(GString *out, const GArray *images, const struct image *keeper)
{
    bool any = false;

    g_string_append(out, "List of snapshots present on all disks:\n");
    for (guint k = 0; k < keeper->snapshots->len; k++) {
        const struct vm_snapshot *s = keeper->snapshots->pdata[k];

        if (is_whole(images, keeper, s->name)) {
            if (!any) {
                print_head(out);
            }
            any = true;
            print_snapshot(out, s, "--");
        }
    }
    if (!any) {
        g_string_append(out, "None\n");
    }
    print_partial(out, images, keeper);
}

static GArray *images_of(const GPtrArray *nodes, GError **error)
{
    GArray *images = g_array_new(FALSE, FALSE, sizeof(struct image));

    g_array_set_clear_func(images, image_clear);
    for (guint i = 0; i < nodes->len; i++) {
        struct image image = {nodes->pdata[i], NULL};

        if (!block_node_keeps_snapshots(image.node)) {
            continue;
        }
        image.snapshots = block_snapshots(image.node, error);
        if (!image.snapshots) {
            g_array_unref(images);
            return NULL;
        }
        g_array_append_val(images, image);
    }
    return images;
}

void hmp_info_snapshots(struct machine *m, GString *out)
{
    g_autoptr(GPtrArray) nodes = block_snapshot_nodes(m->block, NULL, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) images = images_of(nodes, &error);
    guint total = 0;

    if (!images) {
        g_string_append_printf(out, "%s\n", error->message);
        return;
    }
    if (images->len == 0) {
        g_string_append(out, "no block device can store vmstate for snapshot\n");
        return;
    }
    for (guint i = 0; i < images->len; i++) {
        total += g_array_index(images, struct image, i).snapshots->len;
    }
    if (total == 0) {
        g_string_append(out, "There is no snapshot available.\n");
        return;
    }
    print_lists(out, images, &g_array_index(images, struct image, 0));
}
