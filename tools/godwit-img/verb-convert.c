/*
 * godwit-img convert and compare: data from image to image.
 */
#include "img.h"

#include "base/bytes.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECTOR BLOCK_SECTOR_BYTES

/* ---- convert */

struct source {
    struct block_image *image;
    uint64_t bytes;
};

struct convert {
    GArray *sources; /* struct source: one behind the other */
    struct block_node *to;
    bool to_is_zero; /* what is not written reads as zeroes */
    uint64_t sparse; /* so many zeroes in a row are not written; 0: all are */
    uint8_t *buf;
};

static int put_zeroes(struct convert *c, uint64_t at, uint64_t bytes)
{
    if (c->to_is_zero) {
        return 0;
    }
    return block_node_sync(c->to, BLOCK_WRITE_ZEROES, at, bytes, c->sparse ? BLOCK_MAY_UNMAP : 0);
}

/* Writes a piece of the buffer, and leaves out what is zeroes for long enough. */
static int put_data(struct convert *c, uint64_t at, uint64_t bytes)
{
    uint64_t done = 0;
    int ret = 0;

    if (!c->sparse) {
        return block_node_pwrite(c->to, at, c->buf, bytes);
    }
    while (done < bytes && ret == 0) {
        uint64_t end = done;
        bool zero = bytes_are_zero(c->buf + done, MIN(c->sparse, bytes - done));

        while (end < bytes && bytes_are_zero(c->buf + end, MIN(c->sparse, bytes - end)) == zero) {
            end += MIN(c->sparse, bytes - end);
        }
        ret = zero ? put_zeroes(c, at + done, end - done)
                   : block_node_pwrite(c->to, at + done, c->buf + done, end - done);
        done = end;
    }
    return ret;
}

/* One stretch of a source, to the offset `to`; *bytes becomes how long it was. */
static int copy_stretch(struct convert *c, struct block_node *from, uint64_t at, uint64_t *bytes,
                        uint64_t to)
{
    struct block_status status;
    unsigned depth;
    bool present;
    int ret = block_chain_status(from, at, *bytes, &status, &depth, &present);

    *bytes = ret < 0 ? *bytes : status.bytes;
    if (ret == 0 && (status.kind == BLOCK_STATUS_ZERO || status.zero) && c->sparse) {
        return put_zeroes(c, to, *bytes);
    }
    *bytes = MIN(*bytes, CHUNK_BYTES);
    ret = ret < 0 ? ret : block_node_pread(from, at, c->buf, *bytes);
    if (ret < 0) {
        return img_fail("error while reading at byte %" PRIu64 ": %s", at, g_strerror(-ret));
    }
    ret = put_data(c, to, *bytes);
    return ret < 0 ? img_fail("error while writing at byte %" PRIu64 ": %s", to, g_strerror(-ret))
                   : 0;
}

static int copy_all(struct convert *c)
{
    uint64_t to = 0;
    int status = 0;

    c->buf = g_malloc(CHUNK_BYTES);
    for (guint i = 0; i < c->sources->len && status == 0; i++) {
        const struct source *s = &g_array_index(c->sources, struct source, i);
        uint64_t at = 0;

        while (at < s->bytes && status == 0) {
            uint64_t bytes = s->bytes - at;

            status = copy_stretch(c, block_image_node(s->image), at, &bytes, to);
            at += bytes;
            to += bytes;
        }
    }
    g_free(c->buf);
    if (status == 0 && block_node_sync(c->to, BLOCK_FLUSH, 0, 0, 0) < 0) {
        status = img_fail("error while flushing");
    }
    return status;
}

struct convert_args {
    const char *format, *to_format;
    unsigned from_flags, to_flags;
    bool no_create, is_zero, quiet;
    uint64_t sparse;
    GString *options;
    char **from;
    int n_from;
    const char *to;
};

static bool open_sources(struct img *img, const struct convert_args *a, struct convert *c,
                         uint64_t *total)
{
    *total = 0;
    for (int i = 0; i < a->n_from; i++) {
        struct source s = {img_open(img, a->from[i], a->format, a->from_flags), 0};

        if (!s.image) {
            return false;
        }
        s.bytes = block_node_bytes(block_image_node(s.image));
        *total += s.bytes;
        g_array_append_val(c->sources, s);
    }
    return true;
}

static int convert_to(struct img *img, const struct convert_args *a, struct convert *c,
                      uint64_t total)
{
    struct img_create_options o = {
        .format = a->to_format, .text = a->options, .has_size = true, .size = total, .quiet = true};
    struct block_image *to;
    int status;

    if (!a->no_create && !img_create(img, a->to, &o)) {
        return 1;
    }
    to = img_open(img, a->to, a->to_format, BLOCK_IMAGE_WRITE | a->to_flags);
    if (!to) {
        return 1;
    }
    c->to = block_image_node(to);
    c->to_is_zero = !a->no_create || a->is_zero;
    c->sparse = a->sparse;
    if (block_node_backing(c->to)) {
        c->to_is_zero = false;
    }
    status = block_node_bytes(c->to) < total ? img_fail("output file is smaller than input file")
                                             : copy_all(c);
    block_image_close(to);
    return status;
}

static int do_convert(struct img *img, const struct convert_args *a)
{
    struct convert c = {.sources = g_array_new(FALSE, FALSE, sizeof(struct source))};
    uint64_t total;
    int status = 1;

    if (open_sources(img, a, &c, &total)) {
        status = convert_to(img, a, &c, total);
    }
    for (guint i = 0; i < c.sources->len; i++) {
        block_image_close(g_array_index(c.sources, struct source, i).image);
    }
    g_array_unref(c.sources);
    return status;
}

static bool convert_option(struct convert_args *a, int c)
{
    switch (c) {
    case 'f':
        a->format = optarg;
        return true;
    case 'O':
        a->to_format = optarg;
        return true;
    case 'o':
        g_string_append_printf(a->options, "%s%s", a->options->len ? "," : "", optarg);
        return true;
    case 'S':
        if (!img_parse_size(optarg, &a->sparse) || a->sparse % SECTOR || a->sparse > CHUNK_BYTES) {
            img_fail("Invalid buffer size for sparse output specified. Valid sizes are multiples "
                     "of %u up to %u. Select 0 to disable sparse detection (fully allocates "
                     "output).",
                     SECTOR, CHUNK_BYTES);
            return false;
        }
        return true;
    case 't':
        a->to_flags = 0;
        return img_cache(optarg, &a->to_flags);
    case 'T':
        return img_cache(optarg, &a->from_flags);
    case 'n':
        a->no_create = true;
        return true;
    case 'q':
        a->quiet = true;
        return true;
    case 'U':
        a->from_flags |= BLOCK_IMAGE_SHARE;
        return true;
    case 'z':
        a->is_zero = true;
        return true;
    default:
        img_usage("convert: an option that there is not");
        return false;
    }
}

int verb_convert(struct img *img, int argc, char **argv)
{
    static const struct option options[] = {
        {"target-is-zero", no_argument, NULL, 'z'}, {"force-share", no_argument, NULL, 'U'}, {0}};
    g_autoptr(GString) text = g_string_new(NULL);
    struct convert_args a = {
        .to_format = "raw", .sparse = 4096, .to_flags = BLOCK_IMAGE_NO_FLUSH, .options = text};
    struct img_create_options help = {.text = text};
    int c;

    while ((c = getopt_long(argc, argv, "f:O:o:S:t:T:nqU", options, NULL)) != -1) {
        if (!convert_option(&a, c)) {
            return 1;
        }
    }
    help.format = a.to_format;
    if (img_create_help(&help)) {
        return 0;
    }
    if (optind + 2 > argc) {
        return img_usage("Must specify image file name");
    }
    if (a.is_zero && !a.no_create) {
        return img_fail("--target-is-zero requires use of -n flag");
    }
    a.from = argv + optind;
    a.n_from = argc - optind - 1;
    a.to = argv[argc - 1];
    return do_convert(img, &a);
}

/* ---- compare */

struct compare {
    struct block_node *node[2];
    uint64_t bytes[2];
    uint8_t *buf[2];
    bool strict, quiet;
};

static void say(const struct compare *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void say(const struct compare *c, const char *fmt, ...)
{
    va_list args;

    if (!c->quiet) {
        va_start(args, fmt);
        vprintf(fmt, args);
        va_end(args);
        putchar('\n');
    }
}

/* What image i has at `at`; beyond its end zeroes. */
static int look(const struct compare *c, int i, uint64_t at, uint64_t *bytes,
                struct block_status *status)
{
    unsigned depth;
    bool present;
    int ret;

    *status = (struct block_status){.kind = BLOCK_STATUS_ZERO, .bytes = *bytes};
    if (at >= c->bytes[i]) {
        return 0;
    }
    ret =
        block_chain_status(c->node[i], at, MIN(*bytes, c->bytes[i] - at), status, &depth, &present);
    *bytes = ret < 0 ? *bytes : status->bytes;
    return ret < 0 ? img_fail("Sector allocation test failed for image %d", i + 1) + 2 : 0;
}

static int fetch(const struct compare *c, int i, uint64_t at, uint64_t bytes,
                 const struct block_status *status)
{
    int ret = 0;

    if (status->kind == BLOCK_STATUS_ZERO) {
        memset(c->buf[i], 0, bytes);
    } else {
        ret = block_node_pread(c->node[i], at, c->buf[i], bytes);
    }
    return ret < 0
               ? img_fail("Error while reading offset %" PRIu64 ": %s", at, g_strerror(-ret)) + 3
               : 0;
}

/* 0: the same; 1: not, told; above: an error, told. */
static int compare_stretch(const struct compare *c, uint64_t at, uint64_t *bytes)
{
    struct block_status status[2];
    int ret = look(c, 0, at, bytes, &status[0]);

    ret = ret ? ret : look(c, 1, at, bytes, &status[1]);
    if (ret) {
        return ret;
    }
    if (c->strict && status[0].kind != status[1].kind) {
        say(c, "Strict mode: Offset %" PRIu64 " block status mismatch!", at);
        return 1;
    }
    if (status[0].kind == BLOCK_STATUS_ZERO && status[1].kind == BLOCK_STATUS_ZERO) {
        return 0;
    }
    *bytes = MIN(*bytes, CHUNK_BYTES);
    for (int i = 0; i < 2 && ret == 0; i++) {
        ret = fetch(c, i, at, *bytes, &status[i]);
    }
    for (uint64_t k = 0; k < *bytes && ret == 0; k += SECTOR) {
        if (memcmp(c->buf[0] + k, c->buf[1] + k, SECTOR) != 0) {
            say(c, "Content mismatch at offset %" PRIu64 "!", at + k);
            return 1;
        }
    }
    return ret;
}

static int compare_all(struct compare *c)
{
    uint64_t at = 0, end = MAX(c->bytes[0], c->bytes[1]);
    int ret = 0;

    if (c->strict && c->bytes[0] != c->bytes[1]) {
        say(c, "Strict mode: Image size mismatch!");
        return 1;
    }
    c->buf[0] = g_malloc(CHUNK_BYTES);
    c->buf[1] = g_malloc(CHUNK_BYTES);
    while (at < end && ret == 0) {
        uint64_t bytes = end - at;

        ret = compare_stretch(c, at, &bytes);
        at += bytes;
    }
    if (ret == 0) {
        if (c->bytes[0] != c->bytes[1]) {
            say(c, "Warning: Image size mismatch!");
        }
        say(c, "Images are identical.");
    }
    g_free(c->buf[0]);
    g_free(c->buf[1]);
    return ret;
}

int verb_compare(struct img *img, int argc, char **argv)
{
    static const struct option options[] = {{"force-share", no_argument, NULL, 'U'}, {0}};
    const char *format[2] = {NULL, NULL};
    struct block_image *image[2] = {NULL, NULL};
    struct compare c = {0};
    unsigned flags = 0;
    int o, status = 2;

    while ((o = getopt_long(argc, argv, "f:F:T:qsU", options, NULL)) != -1) {
        switch (o) {
        case 'f':
        case 'F':
            format[o == 'F'] = optarg;
            break;
        case 'T':
            if (!img_cache(optarg, &flags)) {
                return 2;
            }
            break;
        case 'q':
            c.quiet = true;
            break;
        case 's':
            c.strict = true;
            break;
        case 'U':
            flags |= BLOCK_IMAGE_SHARE;
            break;
        default:
            img_usage("compare: an option that there is not");
            return 2;
        }
    }
    if (optind + 2 != argc) {
        img_usage("Expecting two image file names");
        return 2;
    }
    for (int i = 0; i < 2; i++) {
        image[i] = img_open(img, argv[optind + i], format[i], flags);
        if (image[i]) {
            c.node[i] = block_image_node(image[i]);
            c.bytes[i] = block_node_bytes(c.node[i]);
        }
    }
    if (image[0] && image[1]) {
        status = compare_all(&c);
    }
    block_image_close(image[1]);
    block_image_close(image[0]);
    return status;
}
