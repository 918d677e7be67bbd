/*
 * godwit-img snapshot: lists an image's internal snapshots, makes, applies and deletes them.
 */
#include "img.h"

#include "block/vm-snapshot.h"
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <time.h>

static void print_one(const struct vm_snapshot *s)
{
    g_autofree char *size = img_size_text(s->state_bytes);
    uint64_t seconds = s->clock_ns / 1000000000;
    time_t when = (time_t)s->date_s;
    char date[40] = "", clock[40];
    struct tm tm;

    if (localtime_r(&when, &tm)) {
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    }
    snprintf(clock, sizeof(clock), "%02u:%02u:%02u.%03u", (unsigned)(seconds / 3600),
             (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60),
             (unsigned)(s->clock_ns / 1000000 % 1000));
    printf("%-9s %-16s %8s%20s%13s%11s\n", s->id, s->name, size, date, clock, "");
}

bool img_print_snapshots(struct block_node *node)
{
    g_autoptr(GPtrArray) list = NULL;
    GError *error = NULL;

    if (!block_node_keeps_snapshots(node)) {
        return true;
    }
    list = block_snapshots(node, &error);
    if (!list) {
        img_fail_error(error, "%s", "");
        return false;
    }
    if (list->len) {
        printf("Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
               "VM CLOCK", "ICOUNT");
    }
    for (guint i = 0; i < list->len; i++) {
        print_one(list->pdata[i]);
    }
    return true;
}

void img_add_snapshots(struct json_object *info, struct block_node *node)
{
    g_autoptr(GPtrArray) list =
        block_node_keeps_snapshots(node) ? block_snapshots(node, NULL) : NULL;
    struct json_object *out;

    if (!list || !list->len) {
        return;
    }
    out = json_object_new_array();
    for (guint i = 0; i < list->len; i++) {
        const struct vm_snapshot *s = list->pdata[i];
        struct json_object *one = json_object_new_object();
        int64_t clock_s = (int64_t)(s->clock_ns / 1000000000);

        json_object_object_add(one, "id", json_object_new_string(s->id));
        json_object_object_add(one, "name", json_object_new_string(s->name));
        json_object_object_add(one, "vm-state-size",
                               json_object_new_int64((int64_t)s->state_bytes));
        json_object_object_add(one, "date-sec", json_object_new_int64(s->date_s));
        json_object_object_add(one, "date-nsec", json_object_new_int64(s->date_ns));
        json_object_object_add(one, "vm-clock-sec", json_object_new_int64(clock_s));
        json_object_object_add(one, "vm-clock-nsec",
                               json_object_new_int64((int64_t)(s->clock_ns % 1000000000)));
        json_object_array_add(out, one);
    }
    json_object_object_add(info, "snapshots", out);
}

static bool make(struct block_node *node, const char *name, GError **error)
{
    int64_t now = g_get_real_time();
    const struct vm_snapshot snapshot = {
        .name = (char *)name,
        .disk_bytes = block_node_bytes(node),
        .date_s = now / 1000000,
        .date_ns = (uint32_t)(now % 1000000) * 1000,
    };

    return block_snapshot_create(node, &snapshot, NULL, error);
}

static bool apply(struct block_node *node, const char *name, GError **error)
{
    struct block_revert *revert = block_revert_prepare(node, name, error);

    return revert && block_revert_commit(revert, error);
}

static bool act(struct block_node *node, int what, const char *name, GError **error)
{
    switch (what) {
    case 'c':
        return make(node, name, error);
    case 'a':
        return apply(node, name, error);
    default:
        return block_snapshot_delete(node, name, false, error);
    }
}

static int run(struct img *img, const char *path, int what, const char *name, unsigned flags)
{
    struct block_image *image =
        img_open(img, path, NULL, flags | (what == 'l' ? 0 : BLOCK_IMAGE_WRITE));
    static const char *const doing[] = {['c'] = "create", ['a'] = "apply", ['d'] = "delete"};
    struct block_node *node;
    GError *error = NULL;
    int status = 0;

    if (!image) {
        return 1;
    }
    node = block_image_node(image);
    if (what == 'l') {
        status = img_print_snapshots(node) ? 0 : 1;
    } else if (!block_node_keeps_snapshots(node)) {
        status = img_fail("Could not %s snapshot '%s': the format has none", doing[what], name);
    } else if (!act(node, what, name, &error)) {
        status = img_fail_error(error, "Could not %s snapshot '%s': ", doing[what], name);
    }
    block_image_close(image);
    return status;
}

int verb_snapshot(struct img *img, int argc, char **argv)
{
    static const struct option options[] = {{"force-share", no_argument, NULL, 'U'}, {0}};
    const char *name = NULL;
    unsigned flags = 0;
    int what = 0, c;

    while ((c = getopt_long(argc, argv, "la:c:d:qU", options, NULL)) != -1) {
        switch (c) {
        case 'l':
        case 'a':
        case 'c':
        case 'd':
            if (what) {
                return img_usage("Cannot mix '-l', '-a', '-c', '-d'");
            }
            what = c;
            name = optarg;
            break;
        case 'q':
            break;
        case 'U':
            flags |= BLOCK_IMAGE_SHARE;
            break;
        default:
            return img_usage("snapshot: an option that there is not");
        }
    }
    if (optind + 1 != argc) {
        return img_usage("Expecting one image file name");
    }
    return run(img, argv[optind], what ? what : 'l', name, flags);
}
