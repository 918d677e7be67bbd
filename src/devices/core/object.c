/* Objects that the user makes beside devices: see object.h. */
#include "devices/core/object.h"

#include "block/throttle.h"
#include "devices/core/iothread.h"
#include "qapi/error.h"
#include "qapi/keyval.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SECRET_MAX (1u << 20)

static void object_free(struct object *o)
{
    if (o->fd >= 0) {
        close(o->fd);
    }
    g_clear_pointer(&o->secret, g_bytes_unref);
    ram_block_free(o->ram);
    iothread_free(o->iothread);
    if (o->throttle) {
        throttle_group_release(o->throttle);
    }
    object_options_free(o->options);
    g_free(o);
}

static struct object *object_find(struct device_env *env, const char *id)
{
    for (guint i = 0; env->objects && i < env->objects->len; i++) {
        struct object *o = env->objects->pdata[i];

        if (strcmp(o->options->id, id) == 0) {
            return o;
        }
    }
    return NULL;
}

static bool open_random(struct object *o, GError **error)
{
    const char *path = o->options->u.rng_random.filename;

    path = path ? path : "/dev/urandom";
    o->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (o->fd < 0) {
        g_set_error(error, DEVICE_ERROR, 0, "Could not open '%s': %s", path, g_strerror(errno));
    }
    return o->fd >= 0;
}

/* The whole file; one that is longer than a secret can be is an error. */
static GByteArray *read_secret(const char *path, GError **error)
{
    g_autoptr(GByteArray) text = g_byte_array_new();
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint8_t piece[4096];
    ssize_t n = -1;

    while (fd >= 0 && text->len <= SECRET_MAX && (n = read(fd, piece, sizeof(piece))) > 0) {
        g_byte_array_append(text, piece, (guint)n);
    }
    if (n < 0) {
        g_set_error(error, DEVICE_ERROR, 0, "Unable to read %s: %s", path, g_strerror(errno));
    } else if (n > 0) {
        g_set_error(error, DEVICE_ERROR, 0, "%s is too long for a secret (%u bytes at most)", path,
                    SECRET_MAX);
    }
    if (fd >= 0) {
        close(fd);
    }
    return n == 0 ? g_steal_pointer(&text) : NULL;
}

static bool decode_base64(GByteArray *text, GError **error)
{
    g_autofree uint8_t *bytes = NULL;
    gsize n;

    g_byte_array_append(text, (const uint8_t *)"", 1);
    g_strchomp((char *)text->data);
    if (strspn((char *)text->data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                   "+/=\r\n") != strlen((char *)text->data)) {
        g_set_error(error, DEVICE_ERROR, 0, "Base64 data is not valid");
        return false;
    }
    bytes = g_base64_decode((char *)text->data, &n);
    g_byte_array_set_size(text, 0);
    g_byte_array_append(text, bytes, (guint)n);
    return true;
}

static bool load_secret(struct object *o, GError **error)
{
    const struct secret_properties *p = &o->options->u.secret;
    g_autoptr(GByteArray) text = NULL;

    if (!p->data == !p->file) {
        g_set_error(error, DEVICE_ERROR, 0,
                    p->data ? "'file' and 'data' are mutually exclusive"
                            : "Must provide 'file' or 'data'");
        return false;
    }
    text = p->file ? read_secret(p->file, error)
                   : g_byte_array_append(g_byte_array_new(), (const uint8_t *)p->data,
                                         (guint)strlen(p->data));
    if (!text ||
        (p->has_format && p->format == SECRET_FORMAT_BASE64 && !decode_base64(text, error))) {
        return false;
    }
    o->secret = g_byte_array_free_to_bytes(g_steal_pointer(&text));
    return true;
}

static bool open_throttle(struct object *o, struct block_graph *block, GError **error)
{
    if (!block) {
        g_set_error(error, DEVICE_ERROR, 0, "there are no disks here that could have limits");
        return false;
    }
    o->throttle = throttle_group_new(block, &o->options->u.throttle_group, o->options->id, error);
    return o->throttle != NULL;
}

static bool object_open(struct device_env *env, struct object *o, GError **error)
{
    struct ram_backing backing;
    uint64_t bytes;

    if (object_options_memory(o->options, &bytes, &backing)) {
        if (!object_options_check_memory(o->options, error)) {
            return false;
        }
        o->ram = ram_block_new_backed(o->options->id, bytes, &backing, error);
        return o->ram != NULL;
    }
    switch (o->options->qom_type) {
    case OBJECT_TYPE_IOTHREAD:
        o->iothread = iothread_new(o->options->id);
        return true;
    case OBJECT_TYPE_RNG_RANDOM:
        return open_random(o, error);
    case OBJECT_TYPE_SECRET:
        return load_secret(o, error);
    case OBJECT_TYPE_THROTTLE_GROUP:
        return open_throttle(o, env->block, error);
    default:
        return true;
    }
}

static struct object *object_new(const struct object_options *options)
{
    struct object *o = g_new0(struct object, 1);

    o->fd = -1;
    o->options = object_options_clone(options);
    return o;
}

static void list_add(struct device_env *env, struct object *o)
{
    if (!env->objects) {
        env->objects = g_ptr_array_new();
    }
    g_ptr_array_add(env->objects, o);
}

bool object_add(struct device_env *env, const struct object_options *options, GError **error)
{
    struct object *o;

    if (!qapi_id_is_valid(options->id)) {
        g_set_error(error, DEVICE_ERROR, 0, "Parameter 'id' expects an identifier, not '%s'",
                    options->id);
        return false;
    }
    if (object_find(env, options->id)) {
        g_set_error(error, DEVICE_ERROR, 0, "attempt to add duplicate object '%s'", options->id);
        return false;
    }
    o = object_new(options);
    if (!object_open(env, o, error)) {
        object_free(o);
        return false;
    }
    list_add(env, o);
    return true;
}

void object_add_ram(struct device_env *env, const struct object_options *options)
{
    struct object *o = object_new(options);

    o->users = 1;
    list_add(env, o);
}

bool object_delete(struct device_env *env, const char *id, GError **error)
{
    struct object *o = object_find(env, id);

    if (!o) {
        g_set_error(error, DEVICE_ERROR, 0, "object '%s' not found", id);
        return false;
    }
    if (o->users || (o->throttle && throttle_group_is_used(o->throttle))) {
        g_set_error(error, DEVICE_ERROR, 0, "object '%s' is in use, can not be deleted", id);
        return false;
    }
    g_ptr_array_remove(env->objects, o);
    object_free(o);
    return true;
}

void objects_free(struct device_env *env)
{
    for (guint i = 0; env->objects && i < env->objects->len; i++) {
        object_free(env->objects->pdata[i]);
    }
    g_clear_pointer(&env->objects, g_ptr_array_unref);
}

struct object *object_use(struct device_env *env, const char *id, unsigned types,
                          const char *property, GError **error)
{
    struct object *o = object_find(env, id);

    if (!o) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
        return NULL;
    }
    if (!(types >> o->options->qom_type & 1)) {
        g_set_error(error, DEVICE_ERROR, 0, "property '%s': there is no fitting object '%s'",
                    property, id);
        return NULL;
    }
    o->users++;
    return o;
}

void object_release(struct object *o)
{
    if (o) {
        o->users--;
    }
}
