/* Objects that the user makes beside devices: see object.h. */
#include "devices/core/object.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void object_free(struct object *o)
{
    if (o->fd >= 0) {
        close(o->fd);
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

static bool object_open(struct object *o, GError **error)
{
    const char *path = o->options->u.rng_random.filename;

    if (o->options->qom_type != OBJECT_TYPE_RNG_RANDOM) {
        return true;
    }
    path = path ? path : "/dev/urandom";
    o->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (o->fd < 0) {
        g_set_error(error, DEVICE_ERROR, 0, "Could not open '%s': %s", path, g_strerror(errno));
    }
    return o->fd >= 0;
}

static bool id_is_valid(const char *id)
{
    if (!g_ascii_isalpha(id[0])) {
        return false;
    }
    for (const char *c = id; *c; c++) {
        if (!g_ascii_isalnum(*c) && !strchr("-._", *c)) {
            return false;
        }
    }
    return true;
}

bool object_add(struct device_env *env, const struct object_options *options, GError **error)
{
    struct object *o;

    if (!id_is_valid(options->id)) {
        g_set_error(error, DEVICE_ERROR, 0, "Parameter 'id' expects an identifier, not '%s'",
                    options->id);
        return false;
    }
    if (object_find(env, options->id)) {
        g_set_error(error, DEVICE_ERROR, 0, "attempt to add duplicate object '%s'", options->id);
        return false;
    }
    o = g_new0(struct object, 1);
    o->fd = -1;
    o->options = object_options_clone(options);
    if (!object_open(o, error)) {
        object_free(o);
        return false;
    }
    if (!env->objects) {
        env->objects = g_ptr_array_new();
    }
    g_ptr_array_add(env->objects, o);
    return true;
}

bool object_delete(struct device_env *env, const char *id, GError **error)
{
    struct object *o = object_find(env, id);

    if (!o) {
        g_set_error(error, DEVICE_ERROR, 0, "object '%s' not found", id);
        return false;
    }
    if (o->users) {
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

    if (!o || !(types >> o->options->qom_type & 1)) {
        g_set_error(error, DEVICE_ERROR, 0, "property '%s': there is no %sobject '%s'", property,
                    o ? "fitting " : "", id);
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
