/*
 * godwit-img: what its verbs share.
 *
 * Verbs, options, output and exit statuses are those of qemu-img 7.2.
 */
#ifndef GODWIT_IMG_IMG_H
#define GODWIT_IMG_IMG_H

#include "block/create.h"
#include "block/image.h"

struct json_object;

#define OPT_IMAGE   1000       /* --image-opts */
#define OPT_TARGET  1001       /* --target-image-opts */
#define CHUNK_BYTES (1u << 20) /* of data moved at once */

struct img {
    struct event_sink sink; /* first */
    struct loop *main;
    struct block_graph *graph;
    const char *verb;
};

/* Each gets its own name as argv[0] and returns the exit status. */
int verb_check(struct img *img, int argc, char **argv);
int verb_compare(struct img *img, int argc, char **argv);
int verb_convert(struct img *img, int argc, char **argv);
int verb_create(struct img *img, int argc, char **argv);
int verb_info(struct img *img, int argc, char **argv);
int verb_map(struct img *img, int argc, char **argv);
int verb_stream(struct img *img, int argc, char **argv);
int verb_resize(struct img *img, int argc, char **argv);
int verb_snapshot(struct img *img, int argc, char **argv);

/* Prints "godwit-img: MESSAGE"; returns 1. */
int img_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* The same of an error, with what was wanted before it; frees it. */
int img_fail_error(GError *error, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Points at --help; returns 1. */
int img_usage(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Opens, or prints "Could not open 'PATH': ..." and returns NULL. */
struct block_image *img_open(struct img *img, const char *path, const char *format, unsigned flags);
/* The flags that a cache mode (none, writeback, ...) means; NULL: none. false: there is no such
 * mode, printed. */
bool img_cache(const char *mode, unsigned *flags);
/* --output=human|json. false: something else, printed. */
bool img_output(const char *text, bool *json);

/* Bytes, with suffix k, M, G, T, P, E (powers of 1024) and fraction: "1.5G". false: it is none. */
bool img_parse_size(const char *text, uint64_t *bytes);
char *img_size_text(uint64_t bytes); /* "1.5 GiB"; freed by the caller */

/* Lists internal snapshots; NULL: none. */
void img_print_snapshots(const struct snapshot_info_list *snapshots);

/* -p: how much is done, printed where `on` says so and there is another per cent. */
void img_progress(bool on, uint64_t before, uint64_t done, uint64_t total);

/* Prints JSON as people read it: one member a line. */
void img_print_json(struct json_object *value);

/* Options of a new image: -o's text ("a=b,c=d", several joined), -b, -F. */
struct img_create_options {
    const char *format; /* "raw", "qcow2" */
    GString *text;      /* of -o */
    const char *backing, *backing_format;
    bool has_size, quiet, no_backing_check;
    bool in_convert; /* errors do not name the file */
    uint64_t size;
};

/* Makes it, and unless quiet prints what was made. false: printed. */
bool img_create(struct img *img, const char *path, const struct img_create_options *options);
/* -o help: prints the format's options. */
bool img_create_help(const struct img_create_options *options);

#endif
