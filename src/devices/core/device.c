/*
 * Devices: creation, the life cycle, and the list of what a machine has.
 *
 * A device starts paused, as a machine starts stopped. The core keeps the promises of device.h:
 * unrealize follows a failed realize, pause and resume reach a device only when they change
 * something.
 */
#include "devices/core/device.h"
#include "devices/qtest.h"
#include <fcntl.h>
#include <string.h>

struct device_list {
    GPtrArray *items;
};

GQuark device_error_quark(void)
{
    return g_quark_from_static_string("godwit-device");
}

const struct device_class *device_class_find(const char *name)
{
    const struct device_variant *variant;

    for (unsigned i = 0; device_classes[i]; i++) {
        if (strcmp(device_classes[i]->name, name) == 0) {
            return device_classes[i];
        }
    }
    variant = device_variant_find(name);
    return variant ? variant->class : NULL;
}

const struct device_variant *device_variant_find(const char *name)
{
    for (const struct device_variant *v = device_variants; v->name; v++) {
        if (strcmp(v->name, name) == 0) {
            return v;
        }
    }
    return NULL;
}

static void *property_field(struct device *dev, const struct property *p)
{
    return (uint8_t *)dev + p->offset;
}

static void property_set_default(struct device *dev, const struct property *p)
{
    void *field = property_field(dev, p);

    switch (p->type) {
    case PROP_BOOL:
        *(bool *)field = p->def != 0;
        break;
    case PROP_U8:
        *(uint8_t *)field = (uint8_t)p->def;
        break;
    case PROP_U16:
        *(uint16_t *)field = (uint16_t)p->def;
        break;
    case PROP_U32:
    case PROP_ENUM:
        *(uint32_t *)field = (uint32_t)p->def;
        break;
    case PROP_I32:
        *(int32_t *)field = (int32_t)p->def;
        break;
    case PROP_U64:
    case PROP_SIZE:
        *(uint64_t *)field = p->def;
        break;
    case PROP_STRING:
    case PROP_CHARDEV:
    case PROP_END:
        break;
    }
}

static void apply_globals(struct device *dev)
{
    const GPtrArray *globals = dev->env->globals;

    for (guint i = 0; globals && i < globals->len && !dev->bad_global; i++) {
        struct device_global *g = globals->pdata[i];

        if (strcmp(g->driver, dev->class->name) == 0) {
            g->used = true;
            if (!device_set_property(dev, g->property, g->value, &dev->bad_global)) {
                g_prefix_error(&dev->bad_global, "can't apply global %s.%s=%s: ", g->driver,
                               g->property, g->value);
            }
        }
    }
}

struct device *device_new(const struct device_class *class, struct device_env *env)
{
    struct device *dev = g_malloc0(class->size);
    const struct property *p;

    g_assert(class->state);
    dev->class = class;
    dev->env = env;
    dev->paused = true;
    for (unsigned i = 0; (p = device_class_property(class, i)); i++) {
        property_set_default(dev, p);
    }
    apply_globals(dev);
    return dev;
}

struct device *device_new_named(const char *name, struct device_env *env, GError **error)
{
    const struct device_class *class = device_class_find(name);

    if (!class) {
        g_set_error(error, DEVICE_ERROR, 0, "'%s' is not a valid device model name", name);
        return NULL;
    }
    return device_new(class, env);
}

static struct device_list *env_list(struct device_env *env)
{
    if (!env->devices) {
        env->devices = g_new0(struct device_list, 1);
        env->devices->items = g_ptr_array_new();
    }
    return env->devices;
}

static bool bootindex_free(const struct device *dev, GError **error)
{
    const GPtrArray *others = dev->class->boot_path ? env_list(dev->env)->items : NULL;

    for (guint i = 0; others && dev->bootindex != BOOTINDEX_NONE && i < others->len; i++) {
        const struct device *other = others->pdata[i];

        if (other->class->boot_path && other->bootindex == dev->bootindex) {
            g_set_error(error, DEVICE_ERROR, 0, "The bootindex %d has already been used",
                        dev->bootindex);
            return false;
        }
    }
    return true;
}

bool device_realize(struct device *dev, GError **error)
{
    struct device_env *env = dev->env;

    if (dev->bad_global) {
        g_propagate_error(error, g_steal_pointer(&dev->bad_global));
        device_free(dev);
        return false;
    }
    if (dev->id && devices_find(env, dev->id)) {
        g_set_error(error, DEVICE_ERROR, 0, "Duplicate device ID '%s'", dev->id);
        device_free(dev);
        return false;
    }
    if (!bootindex_free(dev, error)) {
        device_free(dev);
        return false;
    }
    address_space_begin(env->mem);
    address_space_begin(env->io);
    dev->realized = !dev->class->realize || dev->class->realize(dev, error);
    if (!dev->realized && dev->class->unrealize) {
        dev->class->unrealize(dev);
    }
    address_space_commit(env->io);
    address_space_commit(env->mem);
    if (!dev->realized) {
        device_free(dev);
        return false;
    }
    g_ptr_array_add(env_list(env)->items, dev);
    return true;
}

/* The last made first. */
static void free_children(struct device *dev)
{
    GPtrArray *all = dev->env->devices->items;

    for (guint i = all->len; i-- > 0;) {
        if (i < all->len && ((struct device *)all->pdata[i])->parent == dev) {
            device_free(all->pdata[i]);
        }
    }
}

void device_free(struct device *dev)
{
    const struct property *p;

    if (!dev) {
        return;
    }
    if (dev->realized) {
        free_children(dev);
        address_space_begin(dev->env->mem);
        address_space_begin(dev->env->io);
        if (dev->class->unrealize) {
            dev->class->unrealize(dev);
        }
        address_space_commit(dev->env->io);
        address_space_commit(dev->env->mem);
        g_ptr_array_remove(dev->env->devices->items, dev);
    }
    for (unsigned i = 0; (p = device_class_property(dev->class, i)); i++) {
        if (p->type == PROP_STRING) {
            g_free(*(char **)property_field(dev, p));
        }
    }
    g_clear_error(&dev->bad_global);
    g_free(dev->id);
    g_free(dev);
}

int device_take_fd(struct device *dev, const char *text, GError **error)
{
    const struct device_env *env = dev->env;
    guint64 n = 0;
    int fd = -1;

    if (g_ascii_string_to_unsigned(text, 10, 0, INT_MAX, &n, NULL)) {
        fd = (int)n;
    } else if (env->find_fd) {
        fd = env->find_fd(env->find_fd_opaque, text);
    }
    if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        g_set_error(error, DEVICE_ERROR, 0, "File descriptor named '%s' has not been found", text);
        return -1;
    }
    return fd;
}

void device_add_ram(struct device *dev, struct ram_block *block)
{
    struct device_ram *ram = g_new(struct device_ram, 1);

    *ram = (struct device_ram){dev, block};
    if (!dev->env->ram) {
        dev->env->ram = g_ptr_array_new_with_free_func(g_free);
    }
    g_ptr_array_add(dev->env->ram, ram);
}

void device_remove_ram(struct device *dev, struct ram_block *block)
{
    GPtrArray *list = dev->env->ram;

    for (guint i = 0; list && block && i < list->len; i++) {
        if (((struct device_ram *)list->pdata[i])->block == block) {
            g_ptr_array_remove_index(list, i);
            return;
        }
    }
}

/* ---- all devices of a machine */

void devices_foreach(struct device_env *env, void (*fn)(struct device *, void *), void *opaque)
{
    for (guint i = 0; env->devices && i < env->devices->items->len; i++) {
        fn(g_ptr_array_index(env->devices->items, i), opaque);
    }
}

static void reset_one(struct device *dev, void *opaque)
{
    if (dev->class->reset) {
        dev->class->reset(dev, *(enum reset_kind *)opaque);
    }
}

void devices_reset(struct device_env *env, enum reset_kind kind)
{
    address_space_begin(env->mem);
    address_space_begin(env->io);
    devices_foreach(env, reset_one, &kind);
    address_space_commit(env->io);
    address_space_commit(env->mem);
}

static void pause_one(struct device *dev, void *opaque)
{
    if (!dev->paused) {
        dev->paused = true;
        if (dev->class->pause) {
            dev->class->pause(dev);
        }
    }
}

void devices_pause(struct device_env *env)
{
    devices_foreach(env, pause_one, NULL);
}

static void resume_one(struct device *dev, void *opaque)
{
    if (dev->paused) {
        dev->paused = false;
        if (dev->class->resume) {
            dev->class->resume(dev);
        }
    }
}

void device_reset_alone(struct device *dev)
{
    bool was_paused = dev->paused;

    address_space_begin(dev->env->mem);
    address_space_begin(dev->env->io);
    pause_one(dev, NULL);
    if (dev->class->reset) {
        dev->class->reset(dev, RESET_WARM);
    }
    address_space_commit(dev->env->io);
    address_space_commit(dev->env->mem);
    if (!was_paused) {
        resume_one(dev, NULL);
    }
}

void devices_end_unplugs(struct device_env *env)
{
    for (guint i = 0; env->devices && i < env->devices->items->len;) {
        struct device *dev = env->devices->items->pdata[i];

        if (dev->unplug_asked) {
            system_device_unplugged(dev);
            i = 0; /* others may have gone with it */
        } else {
            i++;
        }
    }
}

void devices_resume(struct device_env *env)
{
    devices_foreach(env, resume_one, NULL);
}

void devices_free(struct device_env *env)
{
    qtest_stop(env);
    if (!env->devices) {
        return;
    }
    /* The last made may lean on those made before it. */
    while (env->devices->items->len) {
        device_free(g_ptr_array_index(env->devices->items, env->devices->items->len - 1));
    }
    g_ptr_array_unref(env->devices->items);
    g_clear_pointer(&env->devices, g_free);
    g_clear_pointer(&env->ram, g_ptr_array_unref);
}

struct device *devices_find(struct device_env *env, const char *id)
{
    for (guint i = 0; env->devices && i < env->devices->items->len; i++) {
        struct device *dev = g_ptr_array_index(env->devices->items, i);

        if (dev->id && strcmp(dev->id, id) == 0) {
            return dev;
        }
    }
    return NULL;
}

bool device_is(const struct device *dev, const struct device_class *class)
{
    return dev->class == class || dev->class->same_as == class;
}

struct device *devices_find_class(struct device_env *env, const struct device_class *class)
{
    return devices_nth_of_class(env, class, 0);
}

struct device *devices_nth_of_class(struct device_env *env, const struct device_class *class,
                                    unsigned n)
{
    for (guint i = 0; env->devices && i < env->devices->items->len; i++) {
        struct device *dev = g_ptr_array_index(env->devices->items, i);

        if (device_is(dev, class) && n-- == 0) {
            return dev;
        }
    }
    return NULL;
}

unsigned devices_count(struct device_env *env, const struct device_class *class)
{
    unsigned n = 0;

    for (guint i = 0; env->devices && i < env->devices->items->len; i++) {
        n += device_is(g_ptr_array_index(env->devices->items, i), class);
    }
    return n;
}

/* ---- requests to the machine */

void system_request_reset(struct device_env *env, const char *source)
{
    if (env->system && env->system->reset) {
        env->system->reset(env->system_opaque, source);
    }
}

void system_request_shutdown(struct device_env *env, const char *source)
{
    if (env->system && env->system->shutdown) {
        env->system->shutdown(env->system_opaque, source);
    }
}

void system_request_suspend(struct device_env *env)
{
    if (env->system && env->system->suspend) {
        env->system->suspend(env->system_opaque);
    }
}

void system_request_suspend_disk(struct device_env *env)
{
    if (env->system && env->system->suspend_disk) {
        env->system->suspend_disk(env->system_opaque);
    }
}

void system_request_wakeup(struct device_env *env, const char *source)
{
    if (env->system && env->system->wakeup) {
        env->system->wakeup(env->system_opaque, source);
    }
}

void system_request_exit(struct device_env *env, int status)
{
    if (env->system && env->system->exit) {
        env->system->exit(env->system_opaque, status);
    }
}

void system_note_rtc_change(struct device_env *env, int64_t offset_s)
{
    if (env->system && env->system->rtc_change) {
        env->system->rtc_change(env->system_opaque, offset_s);
    }
}

void system_device_unplugged(struct device *dev)
{
    const struct device_env *env = dev->env;

    if (env->system && env->system->unplugged) {
        env->system->unplugged(env->system_opaque, dev);
    } else {
        device_free(dev);
    }
}

void system_note_unplug_failed(struct device *dev)
{
    const struct device_env *env = dev->env;

    dev->unplug_asked = false;
    if (env->system && env->system->unplug_failed) {
        env->system->unplug_failed(env->system_opaque, dev);
    }
}

void system_request_cpu_out(struct device_env *env, unsigned index)
{
    if (env->system && env->system->cpu_out) {
        env->system->cpu_out(env->system_opaque, index);
    }
}

void system_note_cpu_kept(struct device_env *env, struct vcpu *vcpu)
{
    if (env->system && env->system->cpu_kept) {
        env->system->cpu_kept(env->system_opaque, vcpu);
    }
}

void system_note_panicked(struct device_env *env, bool crash_loaded)
{
    if (env->system && env->system->panicked) {
        env->system->panicked(env->system_opaque, crash_loaded);
    }
}

void system_note_watchdog(struct device_env *env, const char *source)
{
    if (env->system && env->system->watchdog) {
        env->system->watchdog(env->system_opaque, source);
    }
}
