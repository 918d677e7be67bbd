/*
 * Commands of the schema module char. Monitors are listed besides chardevs, as QEMU's are chardevs.
 */
#include "monitor/monitor-priv.h"

#include "qapi-commands.h"
#include "qapi/error.h"
#include <string.h>
#include <unistd.h>

static void append_info(struct chardev_info_list *list, const char *label, const char *filename,
                        bool open)
{
    struct chardev_info *info = g_new0(struct chardev_info, 1);

    info->label = g_strdup(label);
    info->filename = g_strdup(filename);
    info->frontend_open = open;
    chardev_info_list_append(list, info);
}

static void append_endpoint(void *opaque, const char *label, const char *description)
{
    append_info(opaque, label, description, true);
}

struct chardev_info_list *qmp_query_chardev(struct qmp_call *call, GError **errp)
{
    struct chardev_info_list *list = chardev_info_list_new();
    GPtrArray *chardevs = call->machine->chardevs;

    for (guint i = 0; i < chardevs->len; i++) {
        const struct chardev *chr = chardevs->pdata[i];

        const struct chardev *base = chardev_mux_base(chr);

        append_info(list, chr->id, chr->filename, chr->frontend_open);
        if (base) {
            append_info(list, base->id, base->filename, base->frontend_open);
        }
    }
    monitor_foreach_endpoint(call->mon, append_endpoint, list);
    return list;
}

static struct chardev *ringbuf_find(struct qmp_call *call, const char *id, GError **errp)
{
    struct chardev *chr = machine_chardev(call->machine, id);

    if (!chr) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Device '%s' not found", id);
    } else if (!chardev_is_ringbuf(chr)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "%s is not a ringbuf device", id);
        chr = NULL;
    }
    return chr;
}

static bool is_base64(const char *text)
{
    size_t n = strlen(text), padding = n >= 2 && text[n - 1] == '=' ? 1 + (text[n - 2] == '=') : 0;

    for (size_t i = 0; i < n - padding; i++) {
        if (!g_ascii_isalnum(text[i]) && text[i] != '+' && text[i] != '/') {
            return false;
        }
    }
    return n % 4 == 0;
}

bool qmp_ringbuf_write(struct qmp_call *call, const struct qmp_ringbuf_write_arg *arg,
                       GError **errp)
{
    struct chardev *chr = ringbuf_find(call, arg->device, errp);
    g_autofree uint8_t *bytes = NULL;
    gsize n;

    if (!chr) {
        return false;
    }
    if (!arg->has_format || arg->format == DATA_FORMAT_UTF8) {
        chardev_write(chr, (const uint8_t *)arg->data, strlen(arg->data));
        return true;
    }
    if (!is_base64(arg->data)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Base64 data contains invalid characters");
        return false;
    }
    bytes = g_base64_decode(arg->data, &n);
    chardev_write(chr, bytes, n);
    return true;
}

bool qmp_ringbuf_read(struct qmp_call *call, const struct qmp_ringbuf_read_arg *arg, char **ret,
                      GError **errp)
{
    struct chardev *chr = ringbuf_find(call, arg->device, errp);
    g_autoptr(GByteArray) bytes = NULL;

    if (!chr) {
        return false;
    }
    if (arg->size <= 0) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "size must be greater than zero");
        return false;
    }
    bytes = chardev_ringbuf_read(chr, (uint64_t)arg->size);
    *ret = arg->has_format && arg->format == DATA_FORMAT_BASE64
               ? g_base64_encode(bytes->data, bytes->len)
               : g_strndup((const char *)bytes->data, bytes->len);
    return true;
}

struct chardev_backend_info_list *qmp_query_chardev_backends(struct qmp_call *call, GError **errp)
{
    struct chardev_backend_info_list *list = chardev_backend_info_list_new();
    g_autofree const char **names = chardev_kinds();
    struct chardev_backend_info *info;

    for (unsigned i = 0; names[i]; i++) {
        info = g_new0(struct chardev_backend_info, 1);
        info->name = g_strdup(names[i]);
        chardev_backend_info_list_append(list, info);
    }
    info = g_new0(struct chardev_backend_info, 1);
    info->name = g_strdup("mux");
    chardev_backend_info_list_append(list, info);
    return list;
}

/* Puts the number of a descriptor that the client has passed in the place of its name. *fd: it, if
 * so; the caller closes it if no chardev comes of it. */
static bool resolve_fd(struct qmp_call *call, struct chardev_backend *backend, int *fd,
                       GError **errp)
{
    struct socket_address_legacy *addr =
        backend->type == CHARDEV_BACKEND_KIND_SOCKET ? backend->u.socket.data->addr : NULL;
    char **text;

    if (!addr || addr->type != SOCKET_ADDRESS_TYPE_FD) {
        return true;
    }
    text = &addr->u.fd.data->str;
    if (g_ascii_isdigit((*text)[0])) {
        return true;
    }
    *fd = session_take_fd(call->session, *text, errp);
    if (*fd >= 0) {
        g_free(*text);
        *text = g_strdup_printf("%d", *fd);
    }
    return *fd >= 0;
}

static struct chardev *make_mux(struct qmp_call *call, const char *id, const char *over,
                                GError **errp)
{
    struct chardev *base = machine_chardev(call->machine, over), *chr;

    if (!base) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "mux: base chardev %s not found", over);
        return NULL;
    }
    chr = chardev_mux_over(id, base);
    if (!chr) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Device '%s' is in use", over);
    }
    return chr;
}

static struct chardev *make_chardev(struct qmp_call *call, const char *id,
                                    const struct chardev_backend *backend, GError **errp)
{
    struct chardev_backend *own = chardev_backend_clone(backend);
    struct chardev *chr = NULL;
    int fd = -1;

    if (own->type == CHARDEV_BACKEND_KIND_MUX) {
        chr = make_mux(call, id, own->u.mux.data->chardev, errp);
    } else if (resolve_fd(call, own, &fd, errp)) {
        chr = chardev_new_backend(id, own, call->machine->loop, errp);
    }
    if (!chr && fd >= 0) {
        close(fd);
    }
    chardev_backend_free(own);
    return chr;
}

static struct chardev_return *describe_new(const struct chardev *chr)
{
    struct chardev_return *ret = g_new0(struct chardev_return, 1);

    if (g_str_has_prefix(chr->filename, "pty:")) {
        ret->pty = g_strdup(chr->filename + strlen("pty:"));
    }
    return ret;
}

static void match_endpoint(void *opaque, const char *label, const char *description)
{
    const char **id = opaque;

    if (*id && strcmp(*id, label) == 0) {
        *id = NULL;
    }
}

/* Monitors have their ids among the chardevs'. */
static bool is_monitors(struct qmp_call *call, const char *id)
{
    monitor_foreach_endpoint(call->mon, match_endpoint, &id);
    return !id;
}

struct chardev_return *qmp_chardev_add(struct qmp_call *call, const struct qmp_chardev_add_arg *arg,
                                       GError **errp)
{
    struct chardev *chr;

    if (machine_chardev(call->machine, arg->id) || is_monitors(call, arg->id)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Chardev with id '%s' already exists",
                    arg->id);
        return NULL;
    }
    chr = make_chardev(call, arg->id, arg->backend, errp);
    if (!chr) {
        g_prefix_error(errp, "Failed to add chardev '%s': ", arg->id);
        return NULL;
    }
    machine_add_chardev(call->machine, chr);
    return describe_new(chr);
}

bool monitor_chardev_can_change(struct machine *m, const char *id, bool to_mux, GError **error)
{
    const struct chardev *old = machine_chardev(m, id);

    if (!old) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "Chardev '%s' does not exist", id);
        return false;
    }
    if (chardev_is_mux(old) || to_mux) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "Mux device hotswap not supported yet");
        return false;
    }
    if (old->frontend && !old->frontend->changed) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Chardev user does not support chardev hotswap");
        return false;
    }
    return true;
}

void monitor_chardev_change(struct machine *m, struct chardev *chr)
{
    struct chardev *old = machine_chardev(m, chr->id);
    guint at;

    chardev_move_frontend(old, chr);
    g_ptr_array_find(m->chardevs, old, &at);
    m->chardevs->pdata[at] = chr;
    chardev_free(old);
}

struct chardev_return *qmp_chardev_change(struct qmp_call *call,
                                          const struct qmp_chardev_change_arg *arg, GError **errp)
{
    struct chardev *chr;

    if (!monitor_chardev_can_change(call->machine, arg->id,
                                    arg->backend->type == CHARDEV_BACKEND_KIND_MUX, errp)) {
        return NULL;
    }
    chr = make_chardev(call, arg->id, arg->backend, errp);
    if (!chr) {
        return NULL;
    }
    monitor_chardev_change(call->machine, chr);
    return describe_new(chr);
}

bool qmp_chardev_remove(struct qmp_call *call, const struct qmp_chardev_remove_arg *arg,
                        GError **errp)
{
    struct chardev *chr = machine_chardev(call->machine, arg->id);

    if (chr ? chr->frontend != NULL : is_monitors(call, arg->id)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Chardev '%s' is busy", arg->id);
        return false;
    }
    if (!chr) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Chardev '%s' not found", arg->id);
        return false;
    }
    g_ptr_array_remove(call->machine->chardevs, chr);
    return true;
}

bool qmp_chardev_send_break(struct qmp_call *call, const struct qmp_chardev_send_break_arg *arg,
                            GError **errp)
{
    struct chardev *chr = machine_chardev(call->machine, arg->id);

    if (!chr) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Chardev '%s' not found", arg->id);
        return false;
    }
    chardev_send_break(chr);
    return true;
}
