/* The human monitor's commands about drives. */
#include "monitor/hmp-priv.h"

#include "block/block.h"
#include "monitor/monitor-priv.h"
#include "qapi-commands.h"
#include "qapi/params.h"
#include <inttypes.h>
#include <string.h>

/* Whether the drive says that it is nobody's yet: nothing else can be added now. */
static bool is_loose(const char *text, GError **error)
{
    struct params *p = params_parse_keyval(text, NULL, error);
    const char *interface = p ? params_take(p, "if") : NULL;
    bool ok = p && g_strcmp0(interface, "none") == 0;

    if (p && !ok) {
        g_set_error(error, PARAMS_ERROR, 0, "only a drive with if=none can be added now");
    }
    params_free(p);
    return ok;
}

/* The slot, which was a card's once, is not looked at. */
static void run_drive_add(struct hmp *h, struct json_object *args)
{
    const char *options = hmp_string(args, "options");
    g_autoptr(GError) error = NULL;

    if (is_loose(options, &error) &&
        block_drive_add(h->m->block, options, &h->m->board->drives, &error)) {
        hmp_print(h, "OK\n");
    } else {
        hmp_print(h, "%s\n", error->message);
    }
}

static void run_drive_del(struct hmp *h, struct json_object *args)
{
    g_autoptr(GError) error = NULL;

    if (!block_drive_delete(h->m->block, hmp_string(args, "id"), &error)) {
        hmp_print(h, "%s\n", error->message);
    }
}

/* ---- what there is */

static void print_throttle(struct hmp *h, const struct block_device_info *i)
{
    if (i->bps || i->bps_rd || i->bps_wr || i->iops || i->iops_rd || i->iops_wr) {
        hmp_print(h,
                  "    I/O throttling:   bps=%" PRId64 " bps_rd=%" PRId64 " bps_wr=%" PRId64
                  " bps_max=%" PRId64 " bps_rd_max=%" PRId64 " bps_wr_max=%" PRId64 " iops=%" PRId64
                  " iops_rd=%" PRId64 " iops_wr=%" PRId64 " iops_max=%" PRId64
                  " iops_rd_max=%" PRId64 " iops_wr_max=%" PRId64 " iops_size=%" PRId64
                  " group=%s\n",
                  i->bps, i->bps_rd, i->bps_wr, i->bps_max, i->bps_rd_max, i->bps_wr_max, i->iops,
                  i->iops_rd, i->iops_wr, i->iops_max, i->iops_rd_max, i->iops_wr_max, i->iops_size,
                  i->group ? i->group : "");
    }
}

/* What is in a drive, or a node, after the beginning of its line. */
static void print_medium(struct hmp *h, const struct block_device_info *i, bool read_only_told)
{
    hmp_print(h, ": %s (%s%s%s)\n", i->file, i->drv, i->ro && read_only_told ? ", read-only" : "",
              i->encrypted ? ", encrypted" : "");
}

static void print_medium_rest(struct hmp *h, const struct block_device_info *i)
{
    hmp_print(h, "    Cache mode:       %s%s%s\n",
              i->cache->writeback ? "writeback" : "writethrough",
              i->cache->direct ? ", direct" : "", i->cache->no_flush ? ", ignore flushes" : "");
    if (i->backing_file) {
        hmp_print(h, "    Backing file:     %s (chain depth: %" PRId64 ")\n", i->backing_file,
                  i->backing_file_depth);
    }
    if (i->detect_zeroes != BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF) {
        hmp_print(h, "    Detect zeroes:    %s\n",
                  blockdev_detect_zeroes_options_str(i->detect_zeroes));
    }
    print_throttle(h, i);
}

/* A drive by its id, or else the node or the device; an own node's name follows in parentheses. */
static void print_drive(struct hmp *h, const struct block_info *b)
{
    const struct block_device_info *i = b->inserted;

    if (*b->device) {
        hmp_print(h, "%s", b->device);
        if (i && i->node_name) {
            hmp_print(h, " (%s)", i->node_name);
        }
    } else {
        hmp_print(h, "%s", i && i->node_name ? i->node_name : b->qdev ? b->qdev : "<anonymous>");
    }
    if (i) {
        print_medium(h, i, true);
    } else {
        hmp_print(h, ": [not inserted]\n");
    }
    if (b->qdev) {
        hmp_print(h, "    Attached to:      %s\n", b->qdev);
    }
    if (b->has_io_status && b->io_status != BLOCK_DEVICE_IO_STATUS_OK) {
        hmp_print(h, "    I/O status:       %s\n", block_device_io_status_str(b->io_status));
    }
    if (b->removable) {
        hmp_print(h, "    Removable device: %slocked, tray %s\n", b->locked ? "" : "not ",
                  b->tray_open ? "open" : "closed");
    }
    if (i) {
        print_medium_rest(h, i);
    }
}

static void print_drives(struct hmp *h, const char *device)
{
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct block_info_list *list = qmp_query_block(&call, &error);
    bool first = true;

    for (size_t i = 0; list && i < list->n; i++) {
        if (!device || strcmp(device, list->v[i]->device) == 0) {
            hmp_print(h, first ? "" : "\n");
            print_drive(h, list->v[i]);
            first = false;
        }
    }
    block_info_list_free(list);
    hmp_print_error(h, error);
}

static void print_nodes(struct hmp *h, const char *name)
{
    const struct qmp_query_named_block_nodes_arg arg = {.has_flat = true, .flat = true};
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct block_device_info_list *list = qmp_query_named_block_nodes(&call, &arg, &error);
    bool first = true;

    for (size_t i = 0; list && i < list->n; i++) {
        const struct block_device_info *node = list->v[i];

        if (!name || strcmp(name, node->node_name) == 0) {
            hmp_print(h, "%s%s", first ? "" : "\n", node->node_name);
            print_medium(h, node, true);
            print_medium_rest(h, node);
            first = false;
        }
    }
    block_device_info_list_free(list);
    hmp_print_error(h, error);
}

static void info_block(struct hmp *h, struct json_object *args)
{
    const char *device = hmp_string(args, "device");

    if (hmp_flag(args, "nodes")) {
        print_nodes(h, device);
    } else {
        print_drives(h, device);
    }
}

static void info_blockstats(struct hmp *h, struct json_object *args)
{
    const struct qmp_query_blockstats_arg arg = {0};
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;
    struct block_stats_list *list = qmp_query_blockstats(&call, &arg, &error);

    for (size_t i = 0; list && i < list->n; i++) {
        const struct block_device_stats *s = list->v[i]->stats;

        hmp_print(h,
                  "%s: rd_bytes=%" PRId64 " wr_bytes=%" PRId64 " rd_operations=%" PRId64
                  " wr_operations=%" PRId64 " flush_operations=%" PRId64
                  " wr_total_time_ns=%" PRId64 " rd_total_time_ns=%" PRId64
                  " flush_total_time_ns=%" PRId64 " rd_merged=%" PRId64 " wr_merged=%" PRId64
                  " idle_time_ns=%" PRId64 "\n",
                  list->v[i]->device ? list->v[i]->device : "", s->rd_bytes, s->wr_bytes,
                  s->rd_operations, s->wr_operations, s->flush_operations, s->wr_total_time_ns,
                  s->rd_total_time_ns, s->flush_total_time_ns, s->rd_merged, s->wr_merged,
                  s->idle_time_ns);
    }
    block_stats_list_free(list);
    hmp_print_error(h, error);
}

const struct hmp_command hmp_block_commands[] = {
    {"block_resize", NULL, "device size",
     "give a drive another size (M: MiB, when nothing is said)", "device:B size:o", "block_resize"},
    {"block_set_io_throttle", NULL, "device bps bps_rd bps_wr iops iops_rd iops_wr",
     "limit a drive's rates", "device:B bps:l bps_rd:l bps_wr:l iops:l iops_rd:l iops_wr:l",
     "block_set_io_throttle"},
    {"change", NULL, "device filename [format [read-only-mode]]", "put another medium into a drive",
     "device:B filename:F format:s? read-only-mode:s?", "blockdev-change-medium"},
    {"drive_add", NULL, "slot if=none,id=str[,prop=value][,...]", "add a drive", "slot:s options:s",
     .run = run_drive_add},
    {"drive_del", NULL, "id", "take a drive away, from its device too", "id:B",
     .run = run_drive_del},
    {"eject", NULL, "[-f] device", "take a drive's medium out [-f: a locked one too]",
     "force:-f device:B", "eject"},
    {"info block", NULL, "[-n] [device]", "drives and what is in them [-n: the nodes]",
     "nodes:-n device:B?", .run = info_block},
    {"info blockstats", NULL, "", "what drives have read and written", .run = info_blockstats},
    {"snapshot_blkdev", NULL, "device new-image-file [format]",
     "go on in a new image, whose backing file is the one so far",
     "device:B snapshot-file:F format:s?", "blockdev-snapshot-sync"},
    {0}};
