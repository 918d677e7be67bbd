/*
 * The driver raw: the bytes of another node as they are, or a window of them (offset, size).
 *
 * When the format was guessed, the guest must not be able to make its disk look like another
 * format, which the next start would then take it for: such a write of the first bytes is refused.
 */
#include "block/block-priv.h"
#include "block/image.h"
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

struct raw {
    struct block_child *file;
    uint64_t offset, size;
    bool window, has_size;
    bool guessed;
};

struct raw_request {              /* in a window: the child's request */
    struct block_request request; /* first */
    struct block_request *upper;
};

static bool check_window(const struct blockdev_options_raw *opt, uint64_t bytes, GError **error)
{
    uint64_t offset = opt->has_offset ? (uint64_t)opt->offset : 0;

    if ((opt->has_offset && opt->offset < 0) || (opt->has_size && opt->size < 0)) {
        g_set_error(error, BLOCK_ERROR, 0, "raw: offset and size must not be negative");
    } else if (offset > bytes) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "Offset (%" PRIu64 ") cannot be greater than size of the containing file "
                    "(%" PRIu64 ")",
                    offset, bytes);
    } else if (opt->has_size && (uint64_t)opt->size > bytes - offset) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "The sum of offset (%" PRIu64 ") and size (%" PRIu64
                    ") has to be smaller or equal to the actual size of the containing file "
                    "(%" PRIu64 ")",
                    offset, (uint64_t)opt->size, bytes);
    } else if (opt->has_size && opt->size % BLOCK_SECTOR_BYTES) {
        g_set_error(error, BLOCK_ERROR, 0, "Specified size is not multiple of %u",
                    BLOCK_SECTOR_BYTES);
    } else {
        return true;
    }
    return false;
}

/* Of a window a path would not tell all. */
static char *describe(const struct blockdev_options_raw *opt, const struct block_node *file)
{
    enum blockdev_driver below = file->driver->id;
    g_autoptr(GString) text = g_string_new("json:{");
    struct json_object *name;

    if ((!opt->has_offset && !opt->has_size) ||
        (below != BLOCKDEV_DRIVER_FILE && below != BLOCKDEV_DRIVER_HOST_DEVICE)) {
        return g_strdup(file->filename);
    }
    name = json_object_new_string(file->filename);
    if (opt->has_offset) {
        g_string_append_printf(text, "\"offset\": %" PRIi64 ", ", opt->offset);
    }
    g_string_append(text, "\"driver\": \"raw\", ");
    if (opt->has_size) {
        g_string_append_printf(text, "\"size\": %" PRIi64 ", ", opt->size);
    }
    g_string_append_printf(text, "\"file\": {\"driver\": \"%s\", \"filename\": %s}}",
                           blockdev_driver_str(below),
                           json_object_to_json_string_ext(
                               name, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(name);
    return g_strdup(text->str);
}

static bool raw_configure(struct block_node *node, const struct blockdev_options *o, GError **error)
{
    const struct blockdev_options_raw *opt = &o->u.raw;
    struct raw *raw = node->state;

    if (!check_window(opt, block_node_bytes(raw->file->node), error)) {
        return false;
    }
    raw->offset = opt->has_offset ? (uint64_t)opt->offset : 0;
    raw->has_size = opt->has_size;
    raw->size = opt->has_size ? (uint64_t)opt->size : 0;
    raw->window = opt->has_offset || opt->has_size;
    g_free(node->filename);
    node->filename = describe(opt, raw->file->node);
    node->driver->refresh(node);
    return true;
}

static bool raw_open(struct block_node *node, const struct blockdev_options *o, GError **error)
{
    struct raw *raw = node->state;

    raw->file = block_node_open_child(node, "file", o->u.raw.file, error);
    if (!raw->file) {
        return false;
    }
    if (node->auto_read_only && raw->file->node->read_only) {
        node->read_only = true;
    }
    return raw_configure(node, o, error);
}

static const struct blockdev_ref *raw_file_option(const struct blockdev_options *o)
{
    return o->u.raw.file;
}

static void raw_refresh(struct block_node *node)
{
    const struct raw *raw = node->state;
    uint64_t bytes = block_node_bytes(raw->file->node);

    bytes = bytes > raw->offset ? bytes - raw->offset : 0;
    atomic_store(&node->bytes, raw->has_size ? MIN(raw->size, bytes) : bytes);
}

static void window_done(struct block_request *request, int result)
{
    struct raw_request *rr = (struct raw_request *)request;
    struct block_request *upper = rr->upper;

    g_free(rr);
    block_request_done(upper, result);
}

static bool looks_like_format(const struct block_request *r)
{
    static const char qcow2[4] = {'Q', 'F', 'I', '\xfb'};
    char first[4];

    if (r->op != BLOCK_WRITE || r->offset != 0 || r->n_iov == 0 || r->iov[0].iov_len < 4) {
        return false;
    }
    memcpy(first, r->iov[0].iov_base, 4);
    return memcmp(first, qcow2, 4) == 0;
}

static void raw_submit(struct block_node *node, struct block_request *r)
{
    const struct raw *raw = node->state;
    struct raw_request *rr;

    if (raw->guessed && looks_like_format(r)) {
        block_request_done(r, -EPERM);
        return;
    }
    if (!raw->window || r->op == BLOCK_FLUSH) {
        block_node_submit(raw->file->node, r);
        return;
    }
    rr = g_new0(struct raw_request, 1);
    rr->request.op = r->op;
    rr->request.flags = r->flags;
    rr->request.offset = r->offset + raw->offset;
    rr->request.bytes = r->bytes;
    rr->request.iov = r->iov;
    rr->request.n_iov = r->n_iov;
    rr->request.done = window_done;
    rr->upper = r;
    block_node_submit(raw->file->node, &rr->request);
}

static int raw_resize(struct block_node *node, uint64_t bytes, GError **error)
{
    const struct raw *raw = node->state;
    struct block_node *file = raw->file->node;
    int ret;

    if (raw->has_size || !file->driver->resize) {
        g_set_error(error, BLOCK_ERROR, 0, "%s",
                    raw->has_size ? "Cannot resize fixed-size raw disks"
                                  : "Image format driver does not support resize");
        return -ENOTSUP;
    }
    ret = file->driver->resize(file, bytes + raw->offset, error);
    raw_refresh(node);
    return ret;
}

static int raw_status(struct block_node *node, uint64_t offset, uint64_t bytes,
                      struct block_status *status)
{
    const struct raw *raw = node->state;

    return block_node_status(raw->file->node, offset + raw->offset, bytes, status);
}

void block_raw_set_guessed(struct block_node *node)
{
    ((struct raw *)node->state)->guessed = true;
}

static const char *const raw_changeable[] = {"offset", "size", NULL};

const struct block_driver block_raw = {
    .id = BLOCKDEV_DRIVER_RAW,
    .size = sizeof(struct raw),
    .open = raw_open,
    .submit = raw_submit,
    .changeable = raw_changeable,
    .configure = raw_configure,
    .file_option = raw_file_option,
    .refresh = raw_refresh,
    .resize = raw_resize,
    .status = raw_status,
};
