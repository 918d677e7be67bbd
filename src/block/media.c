/*
 * Drives with a medium that comes and goes: trays, eject, change. The rules are those of QEMU 7.2's
 * blockdev-open-tray and its kin.
 */
#include "block/media.h"

#include "block/block-priv.h"
#include "block/image.h"
#include "qapi-events.h"
#include "qapi/error.h"
#include <string.h>

#define PERIPHERAL "/machine/peripheral/"

/* What messages call it. */
static const char *name_of(const char *device, const char *id)
{
    return device ? device : id;
}

/* id: of a device, whose drive may be called by its path. */
static bool is_of(const struct block_backend *b, const char *id)
{
    const char *qdev = block_backend_qdev(b);
    size_t n = strlen(id);

    if (!qdev || strcmp(qdev, id) == 0) {
        return qdev != NULL;
    }
    if (g_str_has_prefix(qdev, PERIPHERAL)) {
        qdev += strlen(PERIPHERAL);
    }
    return strncmp(qdev, id, n) == 0 && (qdev[n] == '\0' || qdev[n] == '/');
}

struct block_backend *block_backend_find(struct block_graph *graph, const char *device,
                                         const char *id, GError **error)
{
    struct block_backend *b = NULL;

    if (!device == !id) {
        g_set_error(error, BLOCK_ERROR, 0, "Need exactly one of 'device' and 'id'");
        return NULL;
    }
    if (device) {
        b = block_backend_by_name(graph, device);
    }
    for (guint i = 0; id && !b && i < graph->backends->len; i++) {
        if (is_of(graph->backends->pdata[i], id)) {
            b = graph->backends->pdata[i];
        }
    }
    if (!b) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found",
                    name_of(device, id));
    }
    return b;
}

static bool check_removable(struct block_backend *b, const char *name, GError **error)
{
    if (!block_backend_is_removable(b)) {
        g_set_error(error, BLOCK_ERROR, 0, "Device '%s' is not removable", name);
        return false;
    }
    return true;
}

static bool has_tray(const struct block_backend *b)
{
    const struct block_dev_ops *ops = block_backend_ops(b, NULL);

    return ops && ops->tray_is_open;
}

static bool tray_is_open(const struct block_backend *b)
{
    void *opaque;
    const struct block_dev_ops *ops = block_backend_ops(b, &opaque);

    return ops && ops->tray_is_open && ops->tray_is_open(opaque);
}

void block_backend_tray_moved(struct block_backend *b, bool open)
{
    const char *qdev = block_backend_qdev(b), *drive = block_backend_drive_id(b);

    qapi_event_send_device_tray_moved(block_backend_events(b), drive ? drive : "", qdev ? qdev : "",
                                      open);
}

/* The device's tray goes in or out, or it has none and the medium itself does. */
static void move_medium(struct block_backend *b, bool load)
{
    void *opaque;
    const struct block_dev_ops *ops = block_backend_ops(b, &opaque);
    bool before = tray_is_open(b);

    if (ops && ops->medium_changed) {
        ops->medium_changed(opaque, load);
        if (tray_is_open(b) != before) {
            block_backend_tray_moved(b, !before);
        }
    }
}

enum opened { OPENED, REFUSED, NO_TRAY, LOCKED };

static enum opened open_tray(struct block_backend *b, const char *name, bool force, GError **error)
{
    void *opaque;
    const struct block_dev_ops *ops = block_backend_ops(b, &opaque);
    bool locked;

    if (!check_removable(b, name, error)) {
        return REFUSED;
    }
    if (!has_tray(b)) {
        return NO_TRAY;
    }
    if (tray_is_open(b)) {
        return OPENED;
    }
    locked = ops->medium_is_locked && ops->medium_is_locked(opaque);
    if (locked && ops->eject_request) {
        ops->eject_request(opaque, force);
    }
    if (locked && !force) {
        return LOCKED;
    }
    move_medium(b, false);
    return OPENED;
}

static bool refuse_locked(const char *name, GError **error)
{
    g_set_error(error, BLOCK_ERROR, 0,
                "Device '%s' is locked and force was not specified, wait for tray to open and try "
                "again",
                name);
    return false;
}

static bool remove_medium(struct block_backend *b, const char *name, GError **error)
{
    if (!check_removable(b, name, error)) {
        return false;
    }
    if (has_tray(b) && !tray_is_open(b)) {
        g_set_error(error, BLOCK_ERROR, 0, "Tray of device '%s' is not open", name);
        return false;
    }
    if (block_backend_has_medium(b)) {
        block_backend_remove(b);
        if (!has_tray(b)) {
            move_medium(b, false);
        }
    }
    return true;
}

static bool insert_medium(struct block_backend *b, const char *name, struct block_node *node,
                          GError **error)
{
    bool ok;

    if (!check_removable(b, name, error)) {
        return false;
    }
    if (has_tray(b) && !tray_is_open(b)) {
        g_set_error(error, BLOCK_ERROR, 0, "Tray of device '%s' is not open", name);
        return false;
    }
    if (block_backend_has_medium(b)) {
        g_set_error(error, BLOCK_ERROR, 0, "There already is a medium in the device");
        return false;
    }
    block_drain_begin(node->graph);
    ok = block_backend_insert(b, node, error);
    block_drain_end(node->graph);
    if (ok && !has_tray(b)) {
        move_medium(b, true);
    }
    return ok;
}

static void close_tray(struct block_backend *b)
{
    if (has_tray(b) && tray_is_open(b)) {
        move_medium(b, true);
    }
}

/* ---- commands */

bool block_open_tray(struct block_graph *graph, const char *device, const char *id, bool force,
                     GError **error)
{
    struct block_backend *b = block_backend_find(graph, device, id, error);

    /* A locked tray opens when the guest lets it: that is no error. */
    return b && open_tray(b, name_of(device, id), force, error) != REFUSED;
}

bool block_close_tray(struct block_graph *graph, const char *device, const char *id, GError **error)
{
    struct block_backend *b = block_backend_find(graph, device, id, error);

    if (!b || !check_removable(b, name_of(device, id), error)) {
        return false;
    }
    close_tray(b);
    return true;
}

bool block_remove_medium(struct block_graph *graph, const char *id, GError **error)
{
    struct block_backend *b = block_backend_find(graph, NULL, id, error);

    return b && remove_medium(b, id, error);
}

bool block_insert_medium(struct block_graph *graph, const char *id, const char *node_name,
                         GError **error)
{
    struct block_backend *b = block_backend_find(graph, NULL, id, error);
    struct block_node *node = block_node_find(graph, node_name);

    if (!b) {
        return false;
    }
    if (!node) {
        g_set_error(error, BLOCK_ERROR, 0, "Node '%s' not found", node_name);
        return false;
    }
    for (guint i = 0; i < node->parents->len; i++) {
        if (((struct block_child *)node->parents->pdata[i])->backend) {
            g_set_error(error, BLOCK_ERROR, 0, "Node '%s' is already in use", node_name);
            return false;
        }
    }
    return insert_medium(b, id, node, error);
}

bool block_eject(struct block_graph *graph, const char *device, const char *id, bool force,
                 GError **error)
{
    struct block_backend *b = block_backend_find(graph, device, id, error);
    const char *name = name_of(device, id);

    if (!b) {
        return false;
    }
    switch (open_tray(b, name, force, error)) {
    case LOCKED:
        return refuse_locked(name, error);
    case REFUSED:
        return false;
    default:
        return remove_medium(b, name, error);
    }
}

static struct block_node *open_medium(struct block_graph *graph, struct block_backend *b,
                                      const struct block_medium *medium, GError **error)
{
    const struct block_node *old = block_backend_node(b);
    bool retain = medium->mode == BLOCKDEV_CHANGE_READ_ONLY_MODE_RETAIN;
    bool read_only = medium->mode == BLOCKDEV_CHANGE_READ_ONLY_MODE_READ_ONLY ||
                     (retain && (old ? old->read_only : block_backend_read_only(b)));
    unsigned flags = read_only ? 0 : BLOCK_IMAGE_WRITE;

    if (old) {
        flags |= old->direct ? BLOCK_IMAGE_DIRECT : 0;
        flags |= old->no_flush ? BLOCK_IMAGE_NO_FLUSH : 0;
    }
    return block_image_node_open(graph, medium->filename, medium->format, flags, error);
}

bool block_change_medium(struct block_graph *graph, const char *device, const char *id,
                         const struct block_medium *medium, GError **error)
{
    struct block_backend *b = block_backend_find(graph, device, id, error);
    const char *name = name_of(device, id);
    struct block_node *node;
    enum opened opened;

    if (!b) {
        return false;
    }
    node = open_medium(graph, b, medium, error);
    if (!node) {
        return false;
    }
    opened = open_tray(b, name, medium->force, error);
    if (opened == LOCKED) {
        refuse_locked(name, error);
    }
    if (opened == LOCKED || opened == REFUSED || !remove_medium(b, name, error) ||
        !insert_medium(b, name, node, error)) {
        block_node_unref(node);
        return false;
    }
    close_tray(b);
    return true;
}
