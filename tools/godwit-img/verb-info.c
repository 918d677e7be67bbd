/*
 * godwit-img info, map, check: what an image is, and where its data lie.
 */
#include "img.h"

#include "block/qcow2-check.h"
#include "qapi-visit.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

/* ---- info */

static void print_bitmaps(const struct qcow2_bitmap_info_list *bitmaps)
{
    puts("    bitmaps:");
    for (size_t i = 0; i < bitmaps->n; i++) {
        const struct qcow2_bitmap_info *b = bitmaps->v[i];

        printf("        [%zu]:\n            flags:\n", i);
        for (size_t k = 0; k < b->flags->n; k++) {
            printf("                [%zu]: %s\n", k, qcow2_bitmap_info_flags_str(b->flags->v[k]));
        }
        printf("            name: %s\n            granularity: %" PRIu32 "\n", b->name,
               b->granularity);
    }
}

static void print_specific(const struct image_info *info)
{
    const struct image_info_specific_qcow2 *q;

    if (!info->format_specific) {
        return;
    }
    q = info->format_specific->u.qcow2.data;
    puts("Format specific information:");
    printf("    compat: %s\n", q->compat);
    printf("    compression type: %s\n", qcow2_compression_type_str(q->compression_type));
    if (q->has_lazy_refcounts) {
        printf("    lazy refcounts: %s\n", q->lazy_refcounts ? "true" : "false");
    }
    if (q->bitmaps) {
        print_bitmaps(q->bitmaps);
    }
    printf("    refcount bits: %" PRId64 "\n", q->refcount_bits);
    if (q->has_corrupt) {
        printf("    corrupt: %s\n", q->corrupt ? "true" : "false");
    }
    if (q->has_extended_l2) {
        printf("    extended l2: %s\n", q->extended_l2 ? "true" : "false");
    }
}

static void print_info(const struct image_info *info)
{
    g_autofree char *size = img_size_text((uint64_t)info->virtual_size);
    g_autofree char *used = info->has_actual_size ? img_size_text((uint64_t)info->actual_size)
                                                  : g_strdup("unavailable");

    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRId64 " bytes)\ndisk size: %s\n",
           info->filename, info->format, size, info->virtual_size, used);
    if (info->has_cluster_size) {
        printf("cluster_size: %" PRId64 "\n", info->cluster_size);
    }
    if (info->has_dirty_flag && info->dirty_flag) {
        puts("cleanly shut down: no");
    }
    if (info->backing_filename) {
        printf("backing file: %s", info->backing_filename);
        if (strcmp(info->backing_filename, info->full_backing_filename) != 0) {
            printf(" (actual path: %s)", info->full_backing_filename);
        }
        putchar('\n');
        if (info->backing_filename_format) {
            printf("backing file format: %s\n", info->backing_filename_format);
        }
    }
    img_print_snapshots(info->snapshots);
    print_specific(info);
}

static struct json_object *info_json(const struct image_info *info)
{
    g_autoptr(GString) text = g_string_new(NULL);

    image_info_to_json(info, text);
    return json_tokener_parse(text->str);
}

/* Opens the image, and those it stands on where `chain`, each by itself. */
static bool open_chain(struct img *img, const char *path, const char *format, unsigned flags,
                       bool chain, GPtrArray *images)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *next = g_strdup(path), *next_format = g_strdup(format);

    while (next) {
        struct block_image *image;
        struct image_info *info;

        if (!g_hash_table_add(seen, g_strdup(next))) {
            img_fail("Backing file '%s' creates an infinite loop.", next);
            return false;
        }
        image = img_open(img, next, next_format, flags | BLOCK_IMAGE_NO_BACKING);
        if (!image) {
            return false;
        }
        flags &= ~(unsigned)BLOCK_IMAGE_OPTIONS; /* the others are names */
        g_ptr_array_add(images, image);
        g_clear_pointer(&next, g_free);
        g_clear_pointer(&next_format, g_free);
        info = block_node_image(block_image_node(image), false);
        if (chain && info->full_backing_filename) {
            next = g_strdup(info->full_backing_filename);
            next_format = g_strdup(info->backing_filename_format);
        }
        image_info_free(info);
    }
    return true;
}

static void print_images(const GPtrArray *images)
{
    for (guint i = 0; i < images->len; i++) {
        struct block_node *node = block_image_node(images->pdata[i]);
        struct image_info *info = block_node_image(node, false);

        fputs(i ? "\n" : "", stdout);
        print_info(info);
        image_info_free(info);
    }
}

static void print_images_json(const GPtrArray *images, bool chain)
{
    struct json_object *list = json_object_new_array();

    for (guint i = 0; i < images->len; i++) {
        struct block_node *node = block_image_node(images->pdata[i]);
        struct image_info *info = block_node_image(node, false);
        struct json_object *one = info_json(info);

        json_object_array_add(list, one);
        image_info_free(info);
    }
    img_print_json(chain ? list : json_object_array_get_idx(list, 0));
    json_object_put(list);
}

static int show_chain(struct img *img, const char *path, const char *format, unsigned flags,
                      bool chain, bool json)
{
    g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify)block_image_close);

    if (!open_chain(img, path, format, flags, chain, images)) {
        return 1;
    }
    if (json) {
        print_images_json(images, chain);
    } else {
        print_images(images);
    }
    return 0;
}

int verb_info(struct img *img, int argc, char **argv)
{
    static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                            {"backing-chain", no_argument, NULL, 'c'},
                                            {"image-opts", no_argument, NULL, OPT_IMAGE},
                                            {"force-share", no_argument, NULL, 'U'},
                                            {0}};
    const char *format = NULL;
    bool json = false, chain = false;
    unsigned flags = 0;
    int c;

    while ((c = getopt_long(argc, argv, "f:U", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            format = optarg;
            break;
        case 'o':
            if (!img_output(optarg, &json)) {
                return 1;
            }
            break;
        case 'c':
            chain = true;
            break;
        case 'U':
            flags |= BLOCK_IMAGE_SHARE;
            break;
        case OPT_IMAGE:
            flags |= BLOCK_IMAGE_OPTIONS;
            break;
        default:
            return img_usage("info: an option that there is not");
        }
    }
    if (optind + 1 != argc) {
        return img_usage("Expecting one image file name");
    }
    return show_chain(img, argv[optind], format, flags, chain, json);
}

/* ---- map */

struct stretch {
    uint64_t start, bytes;
    struct block_status status;
    unsigned depth;
    bool present;
};

static bool goes_on(const struct stretch *a, const struct stretch *b)
{
    return a->depth == b->depth && a->present == b->present && a->status.kind == b->status.kind &&
           a->status.zero == b->status.zero && a->status.has_offset == b->status.has_offset &&
           a->status.file == b->status.file &&
           (!a->status.has_offset || a->status.offset + a->bytes == b->status.offset);
}

static bool print_stretch(const struct stretch *s, bool json, bool first)
{
    bool data = s->status.kind == BLOCK_STATUS_DATA, zero = !data || s->status.zero;

    if (json) {
        printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
               ", \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
               first ? "" : ",\n", s->start, s->bytes, s->depth, s->present ? "true" : "false",
               zero ? "true" : "false", data ? "true" : "false");
        if (s->status.has_offset) {
            printf(", \"offset\": %" PRIu64, s->status.offset);
        }
        putchar('}');
        return true;
    }
    if (!zero && !s->status.has_offset) {
        img_fail("File contains external, encrypted or compressed clusters.");
        return false;
    }
    if (!zero) {
        printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", s->start, s->bytes,
               s->status.offset, block_node_filename(s->status.file));
    }
    return true;
}

static int print_map(struct block_node *node, uint64_t from, uint64_t end, bool json)
{
    uint64_t at = from;
    struct stretch last = {0};
    bool any = false, first = true;

    fputs(json ? "[" : "Offset          Length          Mapped to       File\n", stdout);
    while (at < end) {
        struct stretch s = {.start = at};
        int ret = block_chain_status(node, at, end - at, &s.status, &s.depth, &s.present);

        if (ret < 0) {
            return img_fail("Failed to read image metadata: %s", g_strerror(-ret));
        }
        s.bytes = s.status.bytes;
        if (any && goes_on(&last, &s)) {
            last.bytes += s.bytes;
        } else {
            if (any && !print_stretch(&last, json, first)) {
                return 1;
            }
            first = first && !any;
            last = s;
            any = true;
        }
        at += s.bytes;
    }
    if (!any && json) { /* as qemu-img says that there is nothing */
        printf("{ \"start\": %" PRIu64 ", \"length\": 0, \"depth\": 0, \"present\": false, "
               "\"zero\": false, \"data\": false}",
               from);
    }
    if (any && !print_stretch(&last, json, first)) {
        return 1;
    }
    fputs(json ? "]\n" : "", stdout);
    return 0;
}

int verb_map(struct img *img, int argc, char **argv)
{
    static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                            {"start-offset", required_argument, NULL, 's'},
                                            {"max-length", required_argument, NULL, 'l'},
                                            {"image-opts", no_argument, NULL, OPT_IMAGE},
                                            {"force-share", no_argument, NULL, 'U'},
                                            {0}};
    const char *format = NULL;
    uint64_t start = 0, most = UINT64_MAX, bytes;
    struct block_image *image;
    unsigned flags = 0;
    bool json = false;
    int c;

    while ((c = getopt_long(argc, argv, "f:s:l:U", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            format = optarg;
            break;
        case 'o':
            if (!img_output(optarg, &json)) {
                return 1;
            }
            break;
        case 's':
        case 'l':
            if (!img_parse_size(optarg, c == 's' ? &start : &most)) {
                return img_fail("Invalid size '%s'", optarg);
            }
            break;
        case 'U':
            flags |= BLOCK_IMAGE_SHARE;
            break;
        case OPT_IMAGE:
            flags |= BLOCK_IMAGE_OPTIONS;
            break;
        default:
            return img_usage("map: an option that there is not");
        }
    }
    if (optind + 1 != argc) {
        return img_usage("Expecting one image file name");
    }
    image = img_open(img, argv[optind], format, flags);
    if (!image) {
        return 1;
    }
    bytes = block_node_bytes(block_image_node(image));
    bytes = start < bytes ? MIN(most, bytes - start) : 0;
    c = print_map(block_image_node(image), start, start + bytes, json);
    block_image_close(image);
    return c;
}

/* ---- check */

static void note_finding(void *quiet, const char *text)
{
    if (!*(bool *)quiet) {
        fprintf(stderr, "%s\n", text);
    }
}

static void print_check(const struct qcow2_check *c)
{
    if (!c->corruptions && !c->leaks) {
        puts("No errors were found on the image.");
    }
    if (c->corruptions) {
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               c->corruptions);
    }
    if (c->leaks) {
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n",
               c->leaks);
    }
    if (c->total_clusters && c->allocated_clusters) {
        double used = (double)c->allocated_clusters, of = MAX(used, 1);

        printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, "
               "%0.2f%% compressed clusters\n",
               c->allocated_clusters, c->total_clusters, used * 100 / (double)c->total_clusters,
               (double)c->fragmented_clusters * 100 / of,
               (double)c->compressed_clusters * 100 / of);
    }
    printf("Image end offset: %" PRIu64 "\n", c->image_end);
}

static void add_count(struct json_object *out, const char *key, uint64_t n, bool always)
{
    if (n || always) {
        json_object_object_add(out, key, json_object_new_int64((int64_t)n));
    }
}

static void print_check_json(const struct qcow2_check *c, const char *path)
{
    struct json_object *out = json_object_new_object();

    add_count(out, "image-end-offset", c->image_end, true);
    add_count(out, "total-clusters", c->total_clusters, false);
    add_count(out, "check-errors", 0, true);
    add_count(out, "corruptions", c->corruptions, false);
    add_count(out, "corruptions-fixed", c->corruptions_fixed, false);
    add_count(out, "leaks", c->leaks, false);
    add_count(out, "leaks-fixed", c->leaks_fixed, false);
    add_count(out, "allocated-clusters", c->allocated_clusters, false);
    add_count(out, "fragmented-clusters", c->fragmented_clusters, false);
    add_count(out, "compressed-clusters", c->compressed_clusters, false);
    json_object_object_add(out, "filename", json_object_new_string(path));
    json_object_object_add(out, "format", json_object_new_string("qcow2"));
    img_print_json(out);
    json_object_put(out);
}

static void print_repaired(const struct qcow2_check *c)
{
    printf("The following inconsistencies were found and repaired:\n\n"
           "    %" PRIu64 " leaked clusters\n    %" PRIu64 " corruptions\n\n"
           "Double checking the fixed image now...\n",
           c->leaks_fixed, c->corruptions_fixed);
}

/* 0, or what went wrong, printed: 1, or 63 for a format without checks. */
static int run_check(struct block_node *node, struct qcow2_check *c)
{
    int ret = qcow2_check(node, c);

    if (ret == -ENOTSUP) {
        img_fail("This image format does not support checks");
        return 63;
    }
    return ret < 0 ? img_fail("Check failed: %s", g_strerror(-ret)) : 0;
}

static int check_image(struct block_node *node, const char *path, enum qcow2_repair repair,
                       bool json, bool quiet)
{
    struct qcow2_check c = {.repair = repair, .report = note_finding, .opaque = &quiet};
    uint64_t leaks_fixed, corruptions_fixed;
    int status = run_check(node, &c);

    if (status) {
        return status;
    }
    leaks_fixed = c.leaks_fixed;
    corruptions_fixed = c.corruptions_fixed;
    if (leaks_fixed || corruptions_fixed) {
        if (!json && !quiet) {
            print_repaired(&c);
        }
        c = (struct qcow2_check){.report = note_finding, .opaque = &quiet};
        status = run_check(node, &c);
        c.leaks_fixed = leaks_fixed;
        c.corruptions_fixed = corruptions_fixed;
    }
    if (status == 0 && json) {
        print_check_json(&c, path);
    } else if (status == 0 && !quiet) {
        print_check(&c);
    }
    return status ? status : c.corruptions ? 2 : c.leaks ? 3 : 0;
}

int verb_check(struct img *img, int argc, char **argv)
{
    static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                            {"repair", required_argument, NULL, 'r'},
                                            {"image-opts", no_argument, NULL, OPT_IMAGE},
                                            {"force-share", no_argument, NULL, 'U'},
                                            {0}};
    enum qcow2_repair repair = QCOW2_REPAIR_NONE;
    unsigned flags = BLOCK_IMAGE_NO_BACKING;
    bool json = false, quiet = false;
    const char *format = NULL;
    struct block_image *image;
    int c;

    while ((c = getopt_long(argc, argv, "f:r:T:qU", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            format = optarg;
            break;
        case 'o':
            if (!img_output(optarg, &json)) {
                return 1;
            }
            break;
        case 'r':
            repair = strcmp(optarg, "all") == 0 ? QCOW2_REPAIR_ALL : QCOW2_REPAIR_LEAKS;
            if (repair == QCOW2_REPAIR_LEAKS && strcmp(optarg, "leaks") != 0) {
                return img_usage("Option -r expects 'leaks' or 'all' as argument.");
            }
            flags |= BLOCK_IMAGE_WRITE | BLOCK_IMAGE_REPAIR;
            break;
        case 'T':
            if (!img_cache(optarg, &flags)) {
                return 1;
            }
            break;
        case 'q':
            quiet = true;
            break;
        case 'U':
            flags |= BLOCK_IMAGE_SHARE;
            break;
        case OPT_IMAGE:
            flags |= BLOCK_IMAGE_OPTIONS;
            break;
        default:
            return img_usage("check: an option that there is not");
        }
    }
    if (optind + 1 != argc) {
        return img_usage("Expecting one image file name");
    }
    image = img_open(img, argv[optind], format, flags);
    if (!image) {
        return 1;
    }
    c = check_image(block_image_node(image), argv[optind], repair, json, quiet);
    block_image_close(image);
    return c;
}
