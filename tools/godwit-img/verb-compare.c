/*
 * godwit-img compare: whether two images have the same data.
 */
#include "img.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECTOR BLOCK_SECTOR_BYTES

struct compare {
    struct block_node *node[2];
    uint64_t bytes[2];
    uint8_t *buf[2];
    bool strict, quiet, progress;
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
                struct block_status *status, bool *present)
{
    unsigned depth;
    int ret;

    *present = true;
    *status = (struct block_status){.kind = BLOCK_STATUS_ZERO, .bytes = *bytes};
    if (at >= c->bytes[i]) {
        return 0;
    }
    ret =
        block_chain_status(c->node[i], at, MIN(*bytes, c->bytes[i] - at), status, &depth, present);
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
    bool present[2];
    int ret = look(c, 0, at, bytes, &status[0], &present[0]);

    ret = ret ? ret : look(c, 1, at, bytes, &status[1], &present[1]);
    if (ret) {
        return ret;
    }
    if (c->strict &&
        (status[0].kind != status[1].kind || present[0] != present[1] ||
         status[0].zero != status[1].zero || status[0].has_offset != status[1].has_offset)) {
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

static int compare_range(const struct compare *c, uint64_t at, uint64_t end)
{
    int ret = 0;

    while (at < end && ret == 0) {
        uint64_t bytes = end - at;

        ret = compare_stretch(c, at, &bytes);
        at += bytes;
        img_progress(c->progress, at - bytes, at, MAX(c->bytes[0], c->bytes[1]));
    }
    return ret;
}

static int compare_all(struct compare *c)
{
    uint64_t both = MIN(c->bytes[0], c->bytes[1]);
    int ret;

    if (c->strict && c->bytes[0] != c->bytes[1]) {
        say(c, "Strict mode: Image size mismatch!");
        return 1;
    }
    c->buf[0] = g_malloc(CHUNK_BYTES);
    c->buf[1] = g_malloc(CHUNK_BYTES);
    img_progress(c->progress, 0, 0, 1);
    ret = compare_range(c, 0, both);
    if (ret == 0 && c->bytes[0] != c->bytes[1]) {
        say(c, "Warning: Image size mismatch!");
        ret = compare_range(c, both, MAX(c->bytes[0], c->bytes[1]));
    }
    if (ret == 0) {
        say(c, "Images are identical.");
    }
    g_free(c->buf[0]);
    g_free(c->buf[1]);
    return ret;
}

int verb_compare(struct img *img, int argc, char **argv)
{
    static const struct option options[] = {
        {"image-opts", no_argument, NULL, OPT_IMAGE}, {"force-share", no_argument, NULL, 'U'}, {0}};
    const char *format[2] = {NULL, NULL};
    struct block_image *image[2] = {NULL, NULL};
    struct compare c = {0};
    unsigned flags = 0;
    int o, status = 2;

    while ((o = getopt_long(argc, argv, "f:F:T:pqsU", options, NULL)) != -1) {
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
        case 'p':
            c.progress = true;
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
        case OPT_IMAGE:
            flags |= BLOCK_IMAGE_OPTIONS;
            break;
        default:
            return img_usage("compare: an option that there is not");
        }
    }
    if (optind + 2 != argc) {
        return img_usage("Expecting two image file names");
    }
    for (int i = 0; i < 2; i++) {
        image[i] = img_open(img, argv[optind + i], format[i], flags);
        if (image[i]) {
            c.node[i] = block_image_node(image[i]);
            c.bytes[i] = block_node_bytes(c.node[i]);
        }
    }
    c.progress = c.progress && !c.quiet;
    if (image[0] && image[1]) {
        status = compare_all(&c);
    }
    if (c.progress) {
        putchar('\n');
    }
    block_image_close(image[1]);
    block_image_close(image[0]);
    return status;
}
