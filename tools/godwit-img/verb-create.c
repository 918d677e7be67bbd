/*
 * godwit-img create, resize, and the options of new images.
 */
#include "img.h"

#include "qapi/params.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- options of formats */

static const struct {
    const char *key, *kind, *help;
    bool raw; /* raw has it too */
} known[] = {
    {"backing_file", "<str>", "File name of a base image", false},
    {"backing_fmt", "<str>", "Image format of the base image", false},
    {"cluster_size", "<size>", "qcow2 cluster size", false},
    {"compat", "<str>", "Compatibility level (v2 [0.10] or v3 [1.1])", false},
    {"compression_type", "<str>", "Compression method used for image cluster compression", false},
    {"lazy_refcounts", "<bool (on/off)>", "Postpone refcount updates", false},
    {"preallocation", "<str>",
     "Preallocation mode (off, metadata, falloc, full; raw lacks metadata)", true},
    {"refcount_bits", "<num>", "Width of a reference count entry in bits", false},
    {"size", "<size>", "Virtual disk size", true},
};

bool img_create_help(const struct img_create_options *o)
{
    bool raw = strcmp(o->format, "raw") == 0;

    if (!o->text || (strcmp(o->text->str, "help") != 0 && strcmp(o->text->str, "?") != 0)) {
        return false;
    }
    puts("Supported options:");
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autofree char *text = g_strconcat(known[i].key, "=", known[i].kind, NULL);

        if (!raw || known[i].raw) {
            printf("  %-22s - %s\n", text, known[i].help);
        }
    }
    return true;
}

/* What is left unsaid has qemu-img's defaults. */
struct parsed {
    uint64_t size, cluster, refcount_bits;
    char *backing, *backing_format;
    bool has_size, v2, zstd, lazy, has_prealloc;
    enum prealloc_mode prealloc;
};

static void parsed_clear(struct parsed *p)
{
    g_free(p->backing);
    g_free(p->backing_format);
}

static bool parse_words(struct params *list, struct parsed *p, GError **error)
{
    const char *compat = params_take(list, "compat");
    const char *compression = params_take(list, "compression_type");
    const char *prealloc = params_take(list, "preallocation");

    p->v2 = compat && (strcmp(compat, "0.10") == 0 || strcmp(compat, "v2") == 0);
    if (compat && !p->v2 && strcmp(compat, "1.1") != 0 && strcmp(compat, "v3") != 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Invalid compatibility level: '%s'", compat);
        return false;
    }
    p->zstd = compression && strcmp(compression, "zstd") == 0;
    if (compression && !p->zstd && strcmp(compression, "zlib") != 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Invalid parameter '%s' (zlib, zstd)", compression);
        return false;
    }
    p->has_prealloc = prealloc != NULL;
    if (prealloc && !prealloc_mode_parse(prealloc, &p->prealloc)) {
        g_set_error(error, BLOCK_ERROR, 0, "Invalid parameter '%s' (off, metadata, falloc, full)",
                    prealloc);
        return false;
    }
    return true;
}

static bool parse_number(struct params *list, const char *key, uint64_t *value, bool *given,
                         GError **error)
{
    const char *text = params_take(list, key);

    if (text && !img_parse_size(text, value)) {
        g_set_error(error, BLOCK_ERROR, 0, "Parameter '%s' expects a size, not '%s'", key, text);
        return false;
    }
    if (given) {
        *given = text || *given;
    }
    return true;
}

static void take_text(struct params *list, const char *key, char **text)
{
    const char *given = params_take(list, key);

    if (given) {
        g_free(*text);
        *text = g_strdup(given);
    }
}

static bool parse_options(const struct img_create_options *o, struct parsed *p, GError **error)
{
    struct params *list = params_parse_keyval(o->text ? o->text->str : "", NULL, error);
    bool raw = strcmp(o->format, "raw") == 0, ok = list != NULL;

    p->backing = g_strdup(o->backing);
    p->backing_format = g_strdup(o->backing_format);
    p->size = o->size;
    p->has_size = o->has_size;
    p->cluster = 65536;
    p->refcount_bits = 16;
    for (guint i = 0; ok && i < list->items->len; i++) {
        const char *key = g_array_index(list->items, struct param, i).key;
        bool found = false;

        for (size_t k = 0; k < G_N_ELEMENTS(known); k++) {
            found = found || (strcmp(known[k].key, key) == 0 && (!raw || known[k].raw));
        }
        if (!found) {
            g_set_error(error, BLOCK_ERROR, 0, "Invalid parameter '%s'", key);
            ok = false;
        }
    }
    if (ok) {
        take_text(list, "backing_file", &p->backing);
        take_text(list, "backing_fmt", &p->backing_format);
    }
    ok = ok && parse_words(list, p, error) &&
         parse_number(list, "size", &p->size, &p->has_size, error) &&
         parse_number(list, "cluster_size", &p->cluster, NULL, error) &&
         parse_number(list, "refcount_bits", &p->refcount_bits, NULL, error) &&
         params_take_bool(list, "lazy_refcounts", &p->lazy, error);
    params_free(list);
    return ok;
}

/* ---- making */

/* A backing file's name is the image's to resolve: beside it unless absolute. */
static char *backing_path(const char *path, const char *backing)
{
    g_autofree char *folder = g_path_get_dirname(path);

    return g_path_is_absolute(backing) || !block_filename_is_path(backing)
               ? g_strdup(backing)
               : g_build_filename(folder, backing, NULL);
}

static bool look_at_backing(struct img *img, const char *path, const struct img_create_options *o,
                            struct parsed *p, GError **error)
{
    g_autofree char *full = p->backing ? backing_path(path, p->backing) : NULL;
    struct block_image *image;

    if (!p->backing) {
        return true;
    }
    if (!p->backing_format) {
        g_set_error(error, BLOCK_ERROR, 0, "backing file specified without backing format");
        return false;
    }
    if (o->no_backing_check && p->has_size) {
        return true;
    }
    image = block_image_open(img->graph, full, p->backing_format, BLOCK_IMAGE_SHARE, error);
    if (!image) {
        g_prefix_error(error, "Could not open backing image: ");
        return false;
    }
    if (!p->has_size) {
        p->size = block_node_bytes(block_image_node(image));
        p->has_size = true;
    }
    block_image_close(image);
    return true;
}

static bool make_qcow2(struct img *img, const char *path, const struct parsed *p, GError **error)
{
    struct blockdev_options file = {.driver = BLOCKDEV_DRIVER_FILE};
    struct blockdev_ref ref = {.type = Q_TYPE_QDICT, .u.definition = &file};
    struct blockdev_create_options o = {.driver = BLOCKDEV_DRIVER_QCOW2};
    struct blockdev_create_options_qcow2 *q = &o.u.qcow2;

    file.u.file.filename = (char *)path;
    q->file = &ref;
    q->size = p->size;
    q->has_version = true;
    q->version = p->v2 ? BLOCKDEV_QCOW2_VERSION_V2 : BLOCKDEV_QCOW2_VERSION_V3;
    q->backing_file = p->backing;
    q->has_backing_fmt =
        p->backing_format && blockdev_driver_parse(p->backing_format, &q->backing_fmt);
    q->has_cluster_size = true;
    q->cluster_size = p->cluster;
    q->has_refcount_bits = true;
    q->refcount_bits = (int64_t)p->refcount_bits;
    q->has_lazy_refcounts = true;
    q->lazy_refcounts = p->lazy;
    q->has_compression_type = true;
    q->compression_type = p->zstd ? QCOW2_COMPRESSION_TYPE_ZSTD : QCOW2_COMPRESSION_TYPE_ZLIB;
    q->has_preallocation = p->has_prealloc;
    q->preallocation = p->prealloc;
    if (p->backing_format && !q->has_backing_fmt) {
        g_set_error(error, BLOCK_ERROR, 0, "Unknown backing format '%s'", p->backing_format);
        return false;
    }
    return block_create_file(path, 0, PREALLOC_MODE_OFF, error) &&
           block_create(img->graph, &o, error);
}

static void print_made(const char *path, const char *format, const struct parsed *p)
{
    printf("Formatting '%s', fmt=%s", path, format);
    if (strcmp(format, "raw") == 0) {
        printf(" size=%" PRIu64, p->size);
    } else {
        if (p->v2) {
            printf(" compat=0.10");
        }
        printf(" cluster_size=%" PRIu64 " extended_l2=off", p->cluster);
        if (p->has_prealloc) {
            printf(" preallocation=%s", prealloc_mode_str(p->prealloc));
        }
        printf(" compression_type=%s size=%" PRIu64, p->zstd ? "zstd" : "zlib", p->size);
        if (p->backing) {
            printf(" backing_file=%s backing_fmt=%s", p->backing, p->backing_format);
        }
        printf(" lazy_refcounts=%s refcount_bits=%" PRIu64, p->lazy ? "on" : "off",
               p->refcount_bits);
    }
    if (strcmp(format, "raw") == 0 && p->has_prealloc) {
        printf(" preallocation=%s", prealloc_mode_str(p->prealloc));
    }
    putchar('\n');
}

bool img_create(struct img *img, const char *path, const struct img_create_options *o)
{
    struct parsed p = {0};
    GError *error = NULL;
    bool raw = strcmp(o->format, "raw") == 0, ok;

    if (!raw && strcmp(o->format, "qcow2") != 0) {
        img_fail("%s%sUnknown file format '%s'", o->in_convert ? "" : path,
                 o->in_convert ? "" : ": ", o->format);
        return false;
    }
    ok = parse_options(o, &p, &error);
    if (ok && raw && p.backing) {
        g_set_error(&error, BLOCK_ERROR, 0, "Backing file not supported for file format 'raw'");
        ok = false;
    }
    ok = ok && look_at_backing(img, path, o, &p, &error);
    if (ok && !p.has_size) {
        g_set_error(&error, BLOCK_ERROR, 0, "Image creation needs a size parameter");
        ok = false;
    }
    if (ok && !o->quiet) {
        print_made(path, o->format, &p);
        fflush(stdout);
    }
    p.size = (p.size + BLOCK_SECTOR_BYTES - 1) & ~511ull;
    ok = ok && (raw ? block_create_file(path, p.size, p.prealloc, &error)
                    : make_qcow2(img, path, &p, &error));
    if (!ok && o->in_convert) {
        img_fail_error(error, "%s", "");
    } else if (!ok) {
        img_fail_error(error, "%s: ", path);
    }
    parsed_clear(&p);
    return ok;
}

static void add_text(struct img_create_options *o, const char *text)
{
    if (!o->text) {
        o->text = g_string_new(text);
    } else {
        g_string_append_printf(o->text, ",%s", text);
    }
}

int verb_create(struct img *img, int argc, char **argv)
{
    struct img_create_options o = {.format = "raw"};
    bool ok;
    int c;

    while ((c = getopt(argc, argv, "F:b:f:o:qu")) != -1) {
        switch (c) {
        case 'F':
            o.backing_format = optarg;
            break;
        case 'b':
            o.backing = optarg;
            break;
        case 'f':
            o.format = optarg;
            break;
        case 'o':
            add_text(&o, optarg);
            break;
        case 'q':
            o.quiet = true;
            break;
        case 'u':
            o.no_backing_check = true;
            break;
        default:
            return img_usage("create: an option that there is not");
        }
    }
    if (img_create_help(&o)) {
        g_string_free(o.text, TRUE);
        return 0;
    }
    if (optind >= argc || optind + 2 < argc) {
        return img_usage(optind >= argc ? "Expecting image file name" : "Unexpected argument: %s",
                         argv[argc - 1]);
    }
    if (optind + 1 < argc) {
        if (!img_parse_size(argv[optind + 1], &o.size)) {
            return img_fail("Invalid image size specified. You may use k, M, G, T, P or E suffixes "
                            "for kilobytes, megabytes, gigabytes, terabytes, petabytes and "
                            "exabytes.");
        }
        o.has_size = true;
    }
    ok = img_create(img, argv[optind], &o);
    if (o.text) {
        g_string_free(o.text, TRUE);
    }
    return ok ? 0 : 1;
}

/* ---- resize */

static int do_resize(struct img *img, const char *path, const char *format, unsigned flags,
                     const char *size, bool shrink, enum prealloc_mode mode, bool quiet)
{
    char sign = size[0] == '+' || size[0] == '-' ? size[0] : '\0';
    struct block_image *image;
    GError *error = NULL;
    uint64_t n, old, bytes;

    if (!img_parse_size(size + (sign ? 1 : 0), &n)) {
        return img_fail("Invalid size '%s'", size);
    }
    image = img_open(img, path, format, flags | BLOCK_IMAGE_WRITE);
    if (!image) {
        return 1;
    }
    old = block_node_bytes(block_image_node(image));
    bytes = sign == '+' ? old + n : sign == '-' ? (n < old ? old - n : 0) : n;
    if (bytes == 0) {
        img_fail("New image size must be positive");
    } else if (bytes <= old && mode != PREALLOC_MODE_OFF) {
        img_fail("Preallocation can only be used for growing images");
    } else if (bytes < old && !shrink) {
        img_fail("Use the --shrink option to perform a shrink operation.");
        img_fail("warning: Shrinking an image will delete all data beyond the shrunken image's "
                 "end. Before performing such an operation, make sure there is no important data "
                 "there.");
    } else if (block_image_resize(image, bytes, mode, &error)) {
        block_image_close(image);
        if (!quiet) {
            puts("Image resized.");
        }
        return 0;
    } else {
        img_fail_error(error, "%s", "");
    }
    block_image_close(image);
    return 1;
}

int verb_resize(struct img *img, int argc, char **argv)
{
    static const struct option options[] = {{"image-opts", no_argument, NULL, OPT_IMAGE},
                                            {"shrink", no_argument, NULL, 's'},
                                            {"preallocation", required_argument, NULL, 'p'},
                                            {0}};
    enum prealloc_mode mode = PREALLOC_MODE_OFF;
    const char *format = NULL, *size;
    bool shrink = false, quiet = false;
    unsigned flags = 0;
    int c;

    /* The size comes last and may begin with a minus. */
    size = argc > 2 ? argv[--argc] : NULL;
    while ((c = getopt_long(argc, argv, "f:q", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            format = optarg;
            break;
        case 'q':
            quiet = true;
            break;
        case 's':
            shrink = true;
            break;
        case OPT_IMAGE:
            flags = BLOCK_IMAGE_OPTIONS;
            break;
        case 'p':
            if (!prealloc_mode_parse(optarg, &mode)) {
                return img_fail("Invalid preallocation mode '%s'", optarg);
            }
            break;
        default:
            return img_usage("resize: an option that there is not");
        }
    }
    if (!size || optind + 1 != argc) {
        return img_usage("Expecting image file name and size");
    }
    return do_resize(img, argv[optind], format, flags, size, shrink, mode, quiet);
}
