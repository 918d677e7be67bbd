/*
 * godwit-img snapshot: lists an image's internal snapshots, makes, applies and deletes them.
 */
#include "img.h"

#include "block/vm-snapshot.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static void print_one(const struct snapshot_info *s)
{
    g_autofree char *size = img_size_text((uint64_t)s->vm_state_size);
    time_t when = (time_t)s->date_sec;
    char date[40] = "", clock[40], icount[24] = "";
    struct tm tm;

    if (localtime_r(&when, &tm)) {
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    }
    snprintf(clock, sizeof(clock), "%02u:%02u:%02u.%03u", (unsigned)(s->vm_clock_sec / 3600),
             (unsigned)(s->vm_clock_sec / 60 % 60), (unsigned)(s->vm_clock_sec % 60),
             (unsigned)(s->vm_clock_nsec / 1000000));
    if (s->has_icount) {
        snprintf(icount, sizeof(icount), "%" PRId64, s->icount);
    }
    printf("%-9s %-16s %8s%20s%13s%11s\n", s->id, s->name, size, date, clock, icount);
}

void img_print_snapshots(const struct snapshot_info_list *snapshots)
{
    if (snapshots) {
        printf("Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
               "VM CLOCK", "ICOUNT");
    }
    for (size_t i = 0; snapshots && i < snapshots->n; i++) {
        print_one(snapshots->v[i]);
    }
}

static int list(struct block_node *node)
{
    struct image_info *info = block_node_image(node, false);

    img_print_snapshots(info->snapshots);
    image_info_free(info);
    return 0;
}

static bool make(struct block_node *node, const char *name, GError **error)
{
    int64_t now = g_get_real_time();
    const struct vm_snapshot snapshot = {
        .name = (char *)name,
        .disk_bytes = block_node_bytes(node),
        .date_s = now / 1000000,
        .date_ns = (uint32_t)(now % 1000000) * 1000,
        .has_icount = true, /* as qemu-img's: no instruction of a machine has been executed */
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
        status = list(node);
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
    static const struct option options[] = {
        {"image-opts", no_argument, NULL, OPT_IMAGE}, {"force-share", no_argument, NULL, 'U'}, {0}};
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
        case OPT_IMAGE:
            flags |= BLOCK_IMAGE_OPTIONS;
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
