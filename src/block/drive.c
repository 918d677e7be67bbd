/*
 * -drive: a back end and its nodes from one line of text.
 *
 * What it says of the image becomes BlockdevOptions, as a -blockdev would give them: one format
 * node on one protocol node. So there is one way to open an image.
 *
 * With snapshot=on the drive writes into a temporary qcow2 image on top, which nobody else sees and
 * which goes with the process.
 *
 * Left out, with an error that says so: copy-on-read.
 */
#include "block/block-priv.h"
#include "block/create.h"
#include "block/image.h"
#include "block/throttle-priv.h"

#include "base/log.h"
#include "qapi-visit.h"
#include "qapi/params.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* -1: not given */
static bool take_int(struct params *p, const char *key, int *value, GError **error)
{
    uint64_t n = UINT64_MAX;

    if (!params_take_uint(p, key, 0, 255, &n, error)) {
        return false;
    }
    *value = n == UINT64_MAX ? -1 : (int)n;
    return true;
}

/* ---- where it belongs */

static const char *const interface_names[] = {"none", "virtio", "ide", "pflash"};

static bool parse_interface(const char *text, enum drive_interface *interface, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(interface_names); i++) {
        if (strcmp(text, interface_names[i]) == 0) {
            *interface = (enum drive_interface)i;
            return true;
        }
    }
    g_set_error(error, BLOCK_ERROR, 0,
                "unsupported bus type '%s' (there are none, virtio, ide and pflash)", text);
    return false;
}

struct drive *block_drive_nth(struct block_graph *graph, unsigned n)
{
    return n < graph->drives->len ? graph->drives->pdata[n] : NULL;
}

struct drive *block_drive_at(struct block_graph *graph, enum drive_interface interface, int bus,
                             int unit)
{
    struct drive *d;

    for (unsigned i = 0; (d = block_drive_nth(graph, i)); i++) {
        if (d->interface == interface && d->bus == bus && d->unit == unit) {
            return d;
        }
    }
    return NULL;
}

static bool place(struct block_graph *graph, struct drive *d, struct params *p,
                  const struct drive_rules *rules, GError **error)
{
    int units = d->interface == DRIVE_IDE ? (int)rules->ide_units : 0; /* 0: one endless bus */
    int bus, unit, index;

    if (!take_int(p, "bus", &bus, error) || !take_int(p, "unit", &unit, error) ||
        !take_int(p, "index", &index, error)) {
        return false;
    }
    if (index >= 0 && (bus >= 0 || unit >= 0)) {
        g_set_error(error, BLOCK_ERROR, 0, "index cannot be used with bus and unit");
        return false;
    }
    if (index >= 0) {
        bus = units ? index / units : 0;
        unit = units ? index % units : index;
    }
    d->bus = MAX(bus, 0);
    d->unit = MAX(unit, 0);
    while (unit < 0 && block_drive_at(graph, d->interface, d->bus, d->unit)) {
        d->unit++;
        if (units && d->unit >= units) {
            d->unit = 0;
            d->bus++;
        }
    }
    if (units && d->unit >= units) {
        g_set_error(error, BLOCK_ERROR, 0, "unit %d too big (max is %d)", d->unit, units - 1);
        return false;
    }
    if (block_drive_at(graph, d->interface, d->bus, d->unit)) {
        g_set_error(error, BLOCK_ERROR, 0, "drive with bus=%d, unit=%d exists", d->bus, d->unit);
        return false;
    }
    return true;
}

static char *default_id(const struct drive *d)
{
    const char *name = interface_names[d->interface];

    if (d->interface == DRIVE_IDE) {
        return g_strdup_printf("%s%d-%s%d", name, d->bus, d->cdrom ? "cd" : "hd", d->unit);
    }
    return g_strdup_printf("%s%d", name, d->unit);
}

/* The value that was given last, which stays there to be taken; NULL: none. */
static const char *given(const struct params *p, const char *key)
{
    for (guint i = p->items->len; i-- > 0;) {
        const struct param *param = &g_array_index(p->items, struct param, i);

        if (strcmp(param->key, key) == 0) {
            return param->value;
        }
    }
    return NULL;
}

static bool check_id(struct block_graph *graph, const struct drive *d, const struct params *p,
                     GError **error)
{
    if (block_node_find(graph, d->id) || g_strcmp0(given(p, "node-name"), d->id) == 0) {
        g_set_error(error, BLOCK_ERROR, 0, "Device name '%s' conflicts with an existing node name",
                    d->id);
        return false;
    }
    for (guint i = 0; i < graph->drives->len; i++) {
        if (strcmp(((struct drive *)graph->drives->pdata[i])->id, d->id) == 0) {
            g_set_error(error, BLOCK_ERROR, 0, "Device with id '%s' already exists", d->id);
            return false;
        }
    }
    return true;
}

/* ---- the image */

/* cache=MODE: what it means for nodes and back end. */
static bool cache_mode(const char *mode, bool *direct, bool *no_flush, bool *writethrough,
                       GError **error)
{
    static const struct {
        const char *name;
        bool direct, no_flush, writethrough;
    } modes[] = {
        {"none", true, false, false},       {"off", true, false, false},
        {"writeback", false, false, false}, {"writethrough", false, false, true},
        {"directsync", true, false, true},  {"unsafe", false, true, false},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (strcmp(mode, modes[i].name) == 0) {
            *direct = modes[i].direct;
            *no_flush = modes[i].no_flush;
            *writethrough = modes[i].writethrough;
            return true;
        }
    }
    g_set_error(error, BLOCK_ERROR, 0,
                "invalid cache option '%s' (none, writeback, writethrough, directsync, unsafe)",
                mode);
    return false;
}

static bool add_cache(struct params *p, GString *out, bool *writethrough, GError **error)
{
    const char *mode = params_take(p, "cache");
    bool direct = false, no_flush = false, writeback;

    if (mode && !cache_mode(mode, &direct, &no_flush, writethrough, error)) {
        return false;
    }
    writeback = !*writethrough;
    if (!params_take_bool(p, "cache.direct", &direct, error) ||
        !params_take_bool(p, "cache.no-flush", &no_flush, error) ||
        !params_take_bool(p, "cache.writeback", &writeback, error)) {
        return false;
    }
    *writethrough = !writeback;
    block_option_add(out, "cache.direct", direct ? "on" : "off");
    block_option_add(out, "cache.no-flush", no_flush ? "on" : "off");
    return true;
}

struct image_text {
    GString *options; /* of the format node, as key=value text */
    bool writethrough, read_only, snapshot;
    const char *guessed; /* the file, whose format nobody has given; NULL: it is known */
};

#define BLKDEBUG "blkdebug:"

/* blkdebug:[CONFIG]:FILE is a filter on FILE: its options are added, and FILE returned. */
static const char *add_blkdebug(const char *file, GString *options, GError **error)
{
    const char *config = file + strlen(BLKDEBUG), *colon = strchr(config, ':');
    g_autofree char *path = colon ? g_strndup(config, (gsize)(colon - config)) : NULL;

    if (!colon) {
        g_set_error(error, BLOCK_ERROR, 0, "blkdebug requires both config file and image path");
        return NULL;
    }
    block_option_add(options, "file.driver", "blkdebug");
    if (*path) {
        block_option_add(options, "file.config", path);
    }
    return colon + 1;
}

/* The protocol's node: level is where its options are, "file" or "file.image". */
static bool add_protocol(GString *options, const char *level, const char *file, const char *aio,
                         GError **error)
{
    g_autoptr(GPtrArray) pairs = block_filename_options(file, error);
    g_autofree char *aio_key = g_strconcat(level, ".aio", NULL);

    for (guint i = 0; pairs && i < pairs->len; i += 2) {
        g_autofree char *key = g_strconcat(level, ".", (char *)pairs->pdata[i], NULL);

        block_option_add(options, key, pairs->pdata[i + 1]);
    }
    if (pairs && aio) {
        block_option_add(options, aio_key, aio);
    }
    return pairs;
}

/* Options in place of a file's name; those that are given beside it come later, and hold. */
static bool add_json(struct block_graph *graph, struct image_text *image, const char *file,
                     const char *format, const char *aio, GError **error)
{
    g_autoptr(GPtrArray) pairs = block_json_pairs(file, error);

    if (!pairs) {
        return false;
    }
    if (!format && !block_pair(pairs, "driver")) {
        format = block_guess_format(graph, file);
    }
    for (guint i = 0; i < pairs->len; i += 2) {
        block_option_add(image->options, pairs->pdata[i], pairs->pdata[i + 1]);
    }
    if (format) {
        block_option_add(image->options, "driver", format);
    }
    if (aio) {
        block_option_add(image->options, "file.aio", aio);
    }
    return true;
}

static bool image_file(struct block_graph *graph, struct params *p, struct image_text *image,
                       const char *file, GError **error)
{
    const char *format = params_take(p, "format"), *driver = params_take(p, "driver");
    const char *aio = params_take(p, "aio");
    bool filtered = g_str_has_prefix(file, BLKDEBUG);

    file = filtered ? add_blkdebug(file, image->options, error) : file;
    if (!file) {
        return false;
    }
    format = format ? format : driver;
    if (!filtered && block_filename_is_json(file)) {
        return add_json(graph, image, file, format, aio, error);
    }
    if (!format) {
        format = block_guess_format(graph, file);
        if (strcmp(format, "raw") == 0 && !g_str_has_prefix(file, "null-co:")) {
            image->guessed = file;
        }
    }
    block_option_add(image->options, "driver", format);
    return add_protocol(image->options, filtered ? "file.image" : "file", file, aio, error);
}

/* What -drive has that a node's options have too. */
static bool image_flags(struct params *p, struct image_text *image, bool cdrom, GError **error)
{
    bool auto_read_only = false;

    image->read_only = cdrom;
    if (!params_take_bool(p, "readonly", &image->read_only, error) ||
        !params_take_bool(p, "read-only", &image->read_only, error) ||
        !params_take_bool(p, "auto-read-only", &auto_read_only, error)) {
        return false;
    }
    block_option_add(image->options, "read-only",
                     image->read_only || image->snapshot ? "on" : "off");
    block_option_add(image->options, "auto-read-only", auto_read_only ? "on" : "off");
    return true;
}

static bool unsupported(struct params *p, GError **error)
{
    static const char *const prefixes[] = {"copy-on-read", NULL};

    for (guint i = 0; i < p->items->len; i++) {
        const char *key = g_array_index(p->items, struct param, i).key;

        for (unsigned k = 0; prefixes[k]; k++) {
            if (g_str_has_prefix(key, prefixes[k])) {
                g_set_error(error, BLOCK_ERROR, 0, "'%s' is not supported", key);
                return true;
            }
        }
    }
    return false;
}

/* A qcow2 image in a file that has no name any more, on top of the node. */
static struct block_node *open_temporary(struct block_graph *graph, struct block_node *node,
                                         GError **error)
{
    const char *folder = g_getenv("TMPDIR");
    g_autofree char *path = g_build_filename(folder ? folder : "/var/tmp", "godwit.XXXXXX", NULL);
    int fd = g_mkstemp(path);
    struct blockdev_cache_options cache = {.has_no_flush = true, .no_flush = true};
    struct blockdev_options file = {.driver = BLOCKDEV_DRIVER_FILE, .u.file.filename = path};
    struct blockdev_ref ref = {.type = Q_TYPE_QDICT, .u.definition = &file};
    struct blockdev_ref_or_null below = {.type = Q_TYPE_QSTRING, .u.reference = node->name};
    struct blockdev_create_options make = {.driver = BLOCKDEV_DRIVER_QCOW2};
    struct blockdev_options o = {.driver = BLOCKDEV_DRIVER_QCOW2,
                                 .cache = &cache,
                                 .has_discard = true,
                                 .discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP};
    struct block_node *top;

    if (fd < 0) {
        g_set_error(error, BLOCK_ERROR, 0, "snapshot=on: could not make '%s': %s", path,
                    g_strerror(errno));
        return NULL;
    }
    close(fd);
    make.u.qcow2.file = &ref;
    make.u.qcow2.size = block_node_bytes(node);
    o.u.qcow2.file = &ref;
    o.u.qcow2.backing = &below;
    top = block_create(graph, &make, error) ? block_node_open(graph, &o, NULL, error) : NULL;
    unlink(path);
    return top;
}

static struct block_node *open_nodes(struct block_graph *graph, struct image_text *image,
                                     GError **error)
{
    struct blockdev_options *options =
        blockdev_options_from_keyval(image->options->str, NULL, error);
    struct block_node *node = options ? block_node_open(graph, options, NULL, error) : NULL, *top;

    blockdev_options_free(options);
    if (node && image->guessed) {
        log_warn("Image format was not specified for '%s' and probing guessed raw: writes to its "
                 "first block are restricted; format=raw takes that away",
                 image->guessed);
        block_raw_set_guessed(node);
    }
    if (!node || !image->snapshot) {
        return node;
    }
    top = open_temporary(graph, node, error);
    if (!top) {
        block_node_unref(node);
    }
    return top;
}

static bool open_image(struct block_graph *graph, struct drive *d, struct image_text *image,
                       GError **error)
{
    struct block_node *node = open_nodes(graph, image, error);

    if (!node) {
        return false;
    }
    if (!block_backend_insert(d->backend, node, error)) {
        block_node_unref(node);
        return false;
    }
    return true;
}

static bool parse_policy(struct params *p, const char *key, bool read,
                         enum blockdev_on_error *policy, GError **error)
{
    const char *text = params_take(p, key);

    *policy = BLOCKDEV_ON_ERROR_AUTO;
    if (text &&
        (!blockdev_on_error_parse(text, policy) || (read && *policy == BLOCKDEV_ON_ERROR_ENOSPC))) {
        g_set_error(error, BLOCK_ERROR, 0, "'%s' invalid %s error action", text,
                    read ? "read" : "write");
        return false;
    }
    return true;
}

/* ---- a drive */

static void drive_limits(struct drive *d, const struct throttle_config *config, const char *group)
{
    if (throttle_config_is_on(config)) {
        block_backend_set_throttle(d->backend, config, group ? group : d->id);
    }
}

/* Lengths may have a suffix here, unlike in -blockdev. */
static void add_node_option(GString *options, const char *key, const char *value)
{
    static const char *const lengths[] = {
        "size", "offset", "cache-size", "l2-cache-size", "refcount-cache-size", NULL};
    const char *dot = strrchr(key, '.');
    g_autofree char *number = NULL;
    uint64_t bytes;

    if (g_strv_contains(lengths, dot ? dot + 1 : key) && parse_size(value, 'B', &bytes)) {
        number = g_strdup_printf("%" G_GUINT64_FORMAT, bytes);
    }
    block_option_add(options, key, number ? number : value);
}

static bool drive_fill(struct block_graph *graph, struct drive *d, struct params *p,
                       struct image_text *image, const struct drive_rules *rules, GError **error)
{
    const char *interface = params_take(p, "if"), *media = params_take(p, "media");
    const char *id = params_take(p, "id"), *file = params_take(p, "file");
    enum blockdev_on_error rerror, werror;
    g_autofree char *group = NULL;
    struct throttle_config limits;

    d->interface = rules->interface;
    if (interface && !parse_interface(interface, &d->interface, error)) {
        return false;
    }
    if (media && strcmp(media, "disk") != 0 && strcmp(media, "cdrom") != 0) {
        g_set_error(error, BLOCK_ERROR, 0, "'%s' invalid media (disk, cdrom)", media);
        return false;
    }
    d->cdrom = media && strcmp(media, "cdrom") == 0;
    image->snapshot = rules->snapshot;
    if (!params_take_bool(p, "snapshot", &image->snapshot, error) || unsupported(p, error) ||
        !place(graph, d, p, rules, error) || !parse_policy(p, "rerror", true, &rerror, error) ||
        !parse_policy(p, "werror", false, &werror, error) ||
        !throttle_config_from_params(&limits, p, &group, error)) {
        return false;
    }
    if (id && !qapi_id_is_valid(id)) {
        g_set_error(error, BLOCK_ERROR, 0, "Parameter 'id' expects an identifier, not '%s'", id);
        return false;
    }
    d->id = id ? g_strdup(id) : default_id(d);
    if (!check_id(graph, d, p, error)) {
        return false;
    }
    if (file && !image_file(graph, p, image, file, error)) {
        return false;
    }
    if (!image_flags(p, image, d->cdrom, error) ||
        !add_cache(p, image->options, &image->writethrough, error)) {
        return false;
    }
    for (guint i = 0; i < p->items->len; i++) { /* the rest is the node's */
        const struct param *param = &g_array_index(p->items, struct param, i);

        if (!param->taken) {
            add_node_option(image->options, param->key, param->value);
        }
    }
    d->backend = block_backend_new(graph, d->id);
    block_backend_set_policy(d->backend, rerror, werror, image->writethrough, image->read_only);
    drive_limits(d, &limits, group);
    /* file.filename= and the like name an image too */
    return (!file && !strstr(image->options->str, "driver=")) || open_image(graph, d, image, error);
}

bool block_drive_add(struct block_graph *graph, const char *text, const struct drive_rules *rules,
                     GError **error)
{
    struct drive *d = g_new0(struct drive, 1);
    struct image_text image = {.options = g_string_new(NULL)};
    struct params *p = params_parse_keyval(text, NULL, error);
    bool ok = p && drive_fill(graph, d, p, &image, rules, error);

    params_free(p);
    g_string_free(image.options, TRUE);
    if (!ok) {
        block_backend_free(d->backend);
        g_free(d->id);
        g_free(d);
        return false;
    }
    g_ptr_array_add(graph->drives, d);
    return true;
}

bool block_drive_delete(struct block_graph *graph, const char *id, GError **error)
{
    for (guint i = 0; i < graph->drives->len; i++) {
        struct drive *d = graph->drives->pdata[i];

        if (strcmp(d->id, id) == 0) {
            if (d->taken) {
                block_backend_disown(d->backend);
                d->backend = NULL;
            }
            g_ptr_array_remove_index(graph->drives, i);
            return true;
        }
    }
    g_set_error(error, BLOCK_ERROR, 0, "Device '%s' not found", id);
    return false;
}
