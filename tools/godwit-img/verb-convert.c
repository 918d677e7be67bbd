/*
 * godwit-img convert: data from images to an image.
 *
 * Several threads take piece after piece of the target in its order, read, compress and write them;
 * they write in that order too unless -W allows any other. A piece is zeroes, or what the target's
 * backing file has already, or data; of an image with compressed clusters, whole clusters.
 */
#include "img.h"

#include "base/bytes.h"
#include "block/vm-snapshot.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECTOR      BLOCK_SECTOR_BYTES
#define MAX_THREADS 16
#define MAX_SPARSE  (16u << 20)

struct source {
    struct block_image *image;
    uint64_t at, bytes; /* its place in the target */
};

enum piece_kind { PIECE_SKIP, PIECE_ZERO, PIECE_DATA };

struct piece {
    enum piece_kind kind;
    uint64_t at, bytes, ticket;
};

struct convert {
    GArray *sources; /* struct source: one behind the other */
    uint64_t total;
    struct block_node *to;
    bool to_is_zero;  /* what is not written reads as zeroes */
    bool has_backing; /* of the target's own: what the source lacks it has */
    uint64_t backing_bytes;
    uint64_t sparse; /* so many zeroes in a row are not written; 0: all are */
    uint64_t unit;   /* pieces are whole ones of these: a cluster of the target, or a sector */
    bool compress, any_order, salvage, quiet, progress;
    GMutex lock; /* what follows */
    GCond written;
    uint64_t at, next_ticket, done_ticket, done_bytes;
    bool failed;
};

/* ---- pieces */

static const struct source *source_at(const struct convert *c, uint64_t at)
{
    const struct source *s = &g_array_index(c->sources, struct source, 0);

    while (at >= s->at + s->bytes) {
        s++;
    }
    return s;
}

/* What the sources have at c->at, and how far. */
static int look(const struct convert *c, enum piece_kind *kind, uint64_t *bytes)
{
    const struct source *s = source_at(c, c->at);
    struct block_node *node = block_image_node(s->image);
    uint64_t at = c->at - s->at, most = s->bytes - at;
    struct block_status status;
    unsigned depth;
    bool present;
    int ret;

    if (c->has_backing && c->at < c->backing_bytes) {
        most = MIN(most, c->backing_bytes - c->at);
        ret = block_node_status(node, at, most, &status);
        *kind = status.kind == BLOCK_STATUS_ABSENT ? PIECE_SKIP : PIECE_DATA;
    } else {
        ret = block_chain_status(node, at, most, &status, &depth, &present);
        *kind = PIECE_DATA;
    }
    if (ret == 0 && c->sparse && (status.kind == BLOCK_STATUS_ZERO || status.zero)) {
        *kind = PIECE_ZERO;
    }
    *bytes = ret == 0 ? status.bytes : SECTOR;
    return ret;
}

/* The next one, with c->lock held. false: none is left. */
static bool take(struct convert *c, struct piece *p)
{
    int ret;

    if (c->failed || c->at == c->total) {
        return false;
    }
    ret = look(c, &p->kind, &p->bytes);
    if (ret < 0 && !c->salvage) {
        img_fail("error while reading block status at offset %" PRIu64 ": %s", c->at,
                 g_strerror(-ret));
        c->failed = true;
        return false;
    }
    if (p->kind != PIECE_DATA && c->at + p->bytes < c->total) {
        p->bytes -= p->bytes % c->unit;
        p->kind = p->bytes ? p->kind : PIECE_DATA;
    }
    if (p->kind == PIECE_DATA) {
        p->bytes =
            MIN((MAX(p->bytes, 1) + c->unit - 1) / c->unit * c->unit, MAX(CHUNK_BYTES, c->unit));
        p->bytes = MIN(p->bytes, c->total - c->at);
    }
    p->at = c->at;
    p->ticket = c->next_ticket++;
    c->at += p->bytes;
    return true;
}

/* ---- reading */

static int read_sectors(const struct convert *c, struct block_node *node, uint64_t at, uint8_t *buf,
                        uint64_t bytes, uint64_t shown_at)
{
    for (uint64_t i = 0; i < bytes; i += SECTOR) {
        int ret = block_node_pread(node, at + i, buf + i, SECTOR);

        if (ret < 0) {
            memset(buf + i, 0, SECTOR);
            if (!c->quiet) {
                img_fail("warning: error while reading offset %" PRIu64 ": %s", shown_at + i,
                         g_strerror(-ret));
            }
        }
    }
    return 0;
}

/* A piece may lie in several sources. */
static int read_piece(const struct convert *c, const struct piece *p, uint8_t *buf)
{
    uint64_t done = 0;

    while (done < p->bytes) {
        uint64_t at = p->at + done;
        const struct source *s = source_at(c, at);
        struct block_node *node = block_image_node(s->image);
        uint64_t n = MIN(p->bytes - done, s->at + s->bytes - at);
        int ret = block_node_pread(node, at - s->at, buf + done, n);

        if (ret < 0 && c->salvage) {
            ret = read_sectors(c, node, at - s->at, buf + done, n, at);
        }
        if (ret < 0) {
            return img_fail("error while reading at byte %" PRIu64 ": %s", at, g_strerror(-ret));
        }
        done += n;
    }
    return 0;
}

/* ---- writing */

static int put_zeroes(const struct convert *c, uint64_t at, uint64_t bytes)
{
    if (c->to_is_zero && (!c->has_backing || at >= c->backing_bytes)) {
        return 0;
    }
    return block_node_sync(c->to, BLOCK_WRITE_ZEROES, at, bytes, c->sparse ? BLOCK_MAY_UNMAP : 0);
}

/* Whole clusters, or what there is of the last one. */
static int put_compressed(const struct convert *c, uint64_t at, const uint8_t *buf, uint64_t bytes)
{
    int ret = 0;

    for (uint64_t done = 0; done < bytes && ret == 0; done += c->unit) {
        uint64_t n = MIN(c->unit, bytes - done);

        ret = c->sparse && bytes_are_zero(buf + done, n)
                  ? put_zeroes(c, at + done, n)
                  : block_node_write_compressed(c->to, at + done, buf + done, n);
    }
    return ret;
}

/* Leaves out what is zeroes for long enough. */
static int put_data(const struct convert *c, uint64_t at, const uint8_t *buf, uint64_t bytes)
{
    uint64_t done = 0;
    int ret = 0;

    if (!c->sparse) {
        return block_node_pwrite(c->to, at, buf, bytes);
    }
    while (done < bytes && ret == 0) {
        uint64_t end = done;
        bool zero = bytes_are_zero(buf + done, MIN(c->sparse, bytes - done));

        while (end < bytes && bytes_are_zero(buf + end, MIN(c->sparse, bytes - end)) == zero) {
            end += MIN(c->sparse, bytes - end);
        }
        ret = zero ? put_zeroes(c, at + done, end - done)
                   : block_node_pwrite(c->to, at + done, buf + done, end - done);
        done = end;
    }
    return ret;
}

static int write_piece(const struct convert *c, const struct piece *p, const uint8_t *buf)
{
    int ret = p->kind == PIECE_SKIP   ? 0
              : p->kind == PIECE_ZERO ? put_zeroes(c, p->at, p->bytes)
              : c->compress           ? put_compressed(c, p->at, buf, p->bytes)
                                      : put_data(c, p->at, buf, p->bytes);

    return ret < 0
               ? img_fail("error while writing at byte %" PRIu64 ": %s", p->at, g_strerror(-ret))
               : 0;
}

/* ---- the threads */

static gpointer copy_pieces(gpointer data)
{
    struct convert *c = data;
    g_autofree uint8_t *buf = g_malloc(MAX(CHUNK_BYTES, c->unit));
    struct piece p;

    g_mutex_lock(&c->lock);
    while (take(c, &p)) {
        int ret;

        g_mutex_unlock(&c->lock);
        ret = p.kind == PIECE_DATA ? read_piece(c, &p, buf) : 0;
        g_mutex_lock(&c->lock);
        while (!c->any_order && c->done_ticket != p.ticket && !c->failed) {
            g_cond_wait(&c->written, &c->lock);
        }
        if (ret == 0 && !c->failed) {
            g_mutex_unlock(&c->lock);
            ret = write_piece(c, &p, buf);
            g_mutex_lock(&c->lock);
        }
        c->failed = c->failed || ret != 0;
        c->done_ticket++;
        c->done_bytes += p.bytes;
        if (!c->failed) {
            img_progress(c->progress, c->done_bytes - p.bytes, c->done_bytes, c->total);
        }
        g_cond_broadcast(&c->written);
    }
    g_mutex_unlock(&c->lock);
    return NULL;
}

static int copy_all(struct convert *c, unsigned threads)
{
    GThread *thread[MAX_THREADS] = {NULL};

    g_mutex_init(&c->lock);
    g_cond_init(&c->written);
    img_progress(c->progress, 0, 0, MAX(c->total, 1));
    for (unsigned i = 0; i < threads; i++) {
        thread[i] = g_thread_new("convert", copy_pieces, c);
    }
    for (unsigned i = 0; i < threads; i++) {
        g_thread_join(thread[i]);
    }
    g_mutex_clear(&c->lock);
    g_cond_clear(&c->written);
    if (c->progress) {
        putchar('\n');
    }
    if (!c->failed && block_node_sync(c->to, BLOCK_FLUSH, 0, 0, 0) < 0) {
        return img_fail("error while flushing");
    }
    return c->failed ? 1 : 0;
}

/* ---- the verb */

struct convert_args {
    const char *format, *to_format, *backing, *backing_format;
    const char *snapshot;
    unsigned from_flags, to_flags;
    bool no_create, is_zero, quiet, compress, any_order, progress, salvage;
    uint64_t sparse, threads;
    GString *options;
    char **from;
    int n_from;
    const char *to;
};

/* -l NAME-OR-ID, or snapshot.id=...,snapshot.name=... */
static bool show_snapshot(struct block_node *node, const char *text)
{
    GError *error = NULL;
    bool ok;

    if (g_str_has_prefix(text, "snapshot.")) {
        g_auto(GStrv) parts = g_strsplit(text, ",", 0);
        const char *id = NULL, *name = NULL;

        for (char **p = parts; *p; p++) {
            if (g_str_has_prefix(*p, "snapshot.id=")) {
                id = *p + strlen("snapshot.id=");
            } else if (g_str_has_prefix(*p, "snapshot.name=")) {
                name = *p + strlen("snapshot.name=");
            } else {
                img_fail("Failed in parsing snapshot param '%s'", text);
                return false;
            }
        }
        ok = block_node_show_snapshot(node, id, name, &error);
    } else {
        ok = block_node_show_snapshot(node, text, NULL, NULL) ||
             block_node_show_snapshot(node, NULL, text, &error);
    }
    if (!ok) {
        img_fail_error(error, "Failed to load snapshot: ");
    }
    return ok;
}

static bool open_sources(struct img *img, const struct convert_args *a, struct convert *c)
{
    for (int i = 0; i < a->n_from; i++) {
        struct source s = {img_open(img, a->from[i], a->format, a->from_flags), c->total, 0};

        if (!s.image) {
            return false;
        }
        g_array_append_val(c->sources, s);
        if (a->snapshot && !show_snapshot(block_image_node(s.image), a->snapshot)) {
            return false;
        }
        s.bytes = block_node_bytes(block_image_node(s.image));
        g_array_index(c->sources, struct source, (guint)i).bytes = s.bytes;
        c->total += s.bytes;
    }
    return true;
}

static bool create_target(struct img *img, const struct convert_args *a, uint64_t total)
{
    struct img_create_options o = {.format = a->to_format,
                                   .text = a->options,
                                   .backing = a->backing,
                                   .backing_format = a->backing_format,
                                   .has_size = true,
                                   .size = total,
                                   .quiet = true,
                                   .in_convert = true};

    return img_create(img, a->to, &o);
}

static int fill_target(const struct convert_args *a, struct convert *c)
{
    struct block_node *backing = block_node_backing(c->to);
    uint64_t cluster = block_node_cluster_bytes(c->to);

    c->backing_bytes = backing ? block_node_bytes(backing) : 0;
    c->has_backing = backing && !a->no_create;
    c->to_is_zero = !a->no_create || a->is_zero;
    c->compress = a->compress;
    c->unit = a->compress ? cluster : SECTOR;
    c->sparse = a->sparse;
    c->any_order = a->any_order;
    c->salvage = a->salvage;
    c->quiet = a->quiet;
    c->progress = a->progress && !a->quiet;
    if (a->compress && !cluster) {
        return img_fail("Compression not supported for this file format");
    }
    if (block_node_bytes(c->to) < c->total) {
        return img_fail("output file is smaller than input file");
    }
    return copy_all(c, (unsigned)a->threads);
}

static int do_convert(struct img *img, const struct convert_args *a)
{
    struct convert c = {.sources = g_array_new(FALSE, FALSE, sizeof(struct source))};
    struct block_image *to = NULL;
    int status = 1;

    if (open_sources(img, a, &c) && (a->no_create || create_target(img, a, c.total))) {
        to = img_open(img, a->to, a->to_format, BLOCK_IMAGE_WRITE | a->to_flags);
    }
    if (to) {
        c.to = block_image_node(to);
        status = fill_target(a, &c);
        block_image_close(to);
    }
    for (guint i = 0; i < c.sources->len; i++) {
        block_image_close(g_array_index(c.sources, struct source, i).image);
    }
    g_array_unref(c.sources);
    return status;
}

static bool convert_number(struct convert_args *a, int c)
{
    if (c == 'm') {
        if (!img_parse_size(optarg, &a->threads) || a->threads < 1 || a->threads > MAX_THREADS) {
            img_fail("Invalid number of coroutines. Allowed number of coroutines is between 1 and "
                     "%u",
                     MAX_THREADS);
            return false;
        }
        return true;
    }
    if (!img_parse_size(optarg, &a->sparse) || a->sparse % SECTOR || a->sparse > MAX_SPARSE) {
        img_fail("Invalid buffer size for sparse output specified. Valid sizes are multiples of %u "
                 "up to %u. Select 0 to disable sparse detection (fully allocates output).",
                 SECTOR, MAX_SPARSE);
        return false;
    }
    return true;
}

static bool convert_text(struct convert_args *a, int c)
{
    switch (c) {
    case 'f':
        a->format = optarg;
        return true;
    case 'O':
        a->to_format = optarg;
        return true;
    case 'B':
        a->backing = optarg;
        return true;
    case 'F':
        a->backing_format = optarg;
        return true;
    case 'l':
        a->snapshot = optarg;
        return true;
    case 'o':
        g_string_append_printf(a->options, "%s%s", a->options->len ? "," : "", optarg);
        return true;
    case 't':
        a->to_flags &= BLOCK_IMAGE_OPTIONS;
        return img_cache(optarg, &a->to_flags);
    case 'T':
        return img_cache(optarg, &a->from_flags);
    default:
        return convert_number(a, c);
    }
}

static bool convert_option(struct convert_args *a, int c)
{
    switch (c) {
    case 'c':
        a->compress = true;
        return true;
    case 'W':
        a->any_order = true;
        return true;
    case 'n':
        a->no_create = true;
        return true;
    case 'p':
        a->progress = true;
        return true;
    case 'q':
        a->quiet = true;
        return true;
    case 'U':
        a->from_flags |= BLOCK_IMAGE_SHARE;
        return true;
    case OPT_IMAGE:
        a->from_flags |= BLOCK_IMAGE_OPTIONS;
        return true;
    case OPT_TARGET:
        a->to_flags |= BLOCK_IMAGE_OPTIONS;
        return true;
    case 's':
        a->salvage = true;
        return true;
    case 'z':
        a->is_zero = true;
        return true;
    case '?':
        img_usage("convert: an option that there is not");
        return false;
    default:
        return convert_text(a, c);
    }
}

/* Options that exclude each other. */
static bool convert_check(const struct convert_args *a)
{
    const char *why = NULL;

    if (a->to_flags & BLOCK_IMAGE_OPTIONS && !a->no_create) {
        why = "--target-image-opts requires use of -n flag";
    } else if (a->is_zero && !a->no_create) {
        why = "--target-is-zero requires use of -n flag";
    } else if (a->backing && !a->backing_format && !strstr(a->options->str, "backing_fmt=")) {
        why = "Use of backing file requires explicit backing format";
    } else if (a->snapshot && a->n_from > 1) {
        why = "No support for concatenating multiple snapshot";
    } else if ((a->backing || strstr(a->options->str, "backing_file=")) && a->n_from > 1) {
        why = "Having a backing file for the target makes no sense when concatenating multiple "
              "input images";
    } else if (a->compress && strcmp(a->to_format, "raw") == 0) {
        why = "Compression not supported for this file format";
    } else if (a->compress && strstr(a->options->str, "preallocation=")) {
        why = "Compression and preallocation not supported at the same time";
    }
    if (why) {
        img_fail("%s", why);
    }
    return !why;
}

int verb_convert(struct img *img, int argc, char **argv)
{
    static const struct option options[] = {{"target-is-zero", no_argument, NULL, 'z'},
                                            {"target-image-opts", no_argument, NULL, OPT_TARGET},
                                            {"salvage", no_argument, NULL, 's'},
                                            {"image-opts", no_argument, NULL, OPT_IMAGE},
                                            {"force-share", no_argument, NULL, 'U'},
                                            {0}};
    g_autoptr(GString) text = g_string_new(NULL);
    struct convert_args a = {.to_format = "raw",
                             .sparse = 4096,
                             .threads = 8,
                             .to_flags = BLOCK_IMAGE_NO_FLUSH,
                             .options = text};
    struct img_create_options help = {.text = text};
    int c;

    while ((c = getopt_long(argc, argv, "f:O:B:F:l:o:S:t:T:m:cnpqUW", options, NULL)) != -1) {
        if (!convert_option(&a, c)) {
            return 1;
        }
    }
    help.format = a.to_format;
    if (img_create_help(&help)) {
        return 0;
    }
    if (optind + 2 > argc) {
        return img_fail("Must specify image file name");
    }
    a.from = argv + optind;
    a.n_from = argc - optind - 1;
    a.to = argv[argc - 1];
    return convert_check(&a) ? do_convert(img, &a) : 1;
}
