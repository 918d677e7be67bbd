/* The human monitor's commands about snapshots of the whole machine. */
#include "monitor/hmp-priv.h"

#include "block/vm-snapshot.h"
#include "migration/snapshot.h"
#include <math.h>
#include <string.h>
#include <time.h>

static void run_savevm(struct hmp *h, struct json_object *args)
{
    const struct snapshot_where where = {NULL, NULL};
    g_autoptr(GError) error = NULL;

    snapshot_save(h->m, hmp_string(args, "tag"), true, &where, &error);
    hmp_print_error(h, error);
}

static void run_loadvm(struct hmp *h, struct json_object *args)
{
    const struct snapshot_where where = {NULL, NULL};
    g_autoptr(GError) error = NULL;

    snapshot_load(h->m, hmp_string(args, "tag"), &where, &error);
    hmp_print_error(h, error);
}

static void run_delvm(struct hmp *h, struct json_object *args)
{
    g_autoptr(GError) error = NULL;

    snapshot_delete(h->m, hmp_string(args, "tag"), NULL, &error);
    hmp_print_error(h, error);
}

/* ---- the list */

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

static void info_snapshots(struct hmp *h, struct json_object *args)
{
    g_autoptr(GPtrArray) nodes = block_snapshot_nodes(h->m->block, NULL, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) images = images_of(nodes, &error);
    guint total = 0;

    if (!images) {
        hmp_print(h, "%s\n", error->message);
        return;
    }
    if (images->len == 0) {
        hmp_print(h, "no block device can store vmstate for snapshot\n");
        return;
    }
    for (guint i = 0; i < images->len; i++) {
        total += g_array_index(images, struct image, i).snapshots->len;
    }
    if (total == 0) {
        hmp_print(h, "There is no snapshot available.\n");
        return;
    }
    print_lists(h->out, images, &g_array_index(images, struct image, 0));
}

const struct hmp_command hmp_snapshot_commands[] = {
    {"delvm", NULL, "tag", "delete a snapshot of the machine", "tag:s", .run = run_delvm},
    {"info snapshots", NULL, "", "what snapshots of the machine the disks keep",
     .run = info_snapshots},
    {"loadvm", NULL, "tag", "go back to a snapshot of the machine", "tag:s", .run = run_loadvm},
    {"savevm", NULL, "[tag]", "keep the machine as it is in a snapshot", "tag:s?",
     .run = run_savevm},
    {0}};
