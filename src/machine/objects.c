/*
 * The tree of objects, with the places that QEMU has for them: vCPUs and the board's own devices in
 * /machine/unattached, devices of the command line in /machine/peripheral by their id, or without
 * one in /machine/peripheral-anon. Numbers are in order of creation, vCPUs first.
 *
 * Left out: buses, memory regions, interrupt lines, back ends.
 */
#include "machine/objects.h"

#include "cpu/x86/cpuid.h"
#include "machine/machine.h"
#include <string.h>

struct tree {
    GPtrArray *objects;
    unsigned n_unattached, n_anonymous;
};

static void object_free(gpointer data)
{
    struct qom_object *object = data;

    g_free(object->path);
    g_free(object->type);
    g_free(object);
}

/* Both strings are taken over. */
static struct qom_object *add(struct tree *t, char *path, char *type)
{
    struct qom_object *object = g_new0(struct qom_object, 1);

    object->path = path;
    object->type = type;
    g_ptr_array_add(t->objects, object);
    return object;
}

static void add_container(struct tree *t, const char *path)
{
    add(t, g_strdup(path), g_strdup("container"));
}

static void add_device(struct device *dev, void *opaque)
{
    struct tree *t = opaque;
    char *path =
        !dev->plugged ? g_strdup_printf("/machine/unattached/device[%u]", t->n_unattached++)
        : dev->id     ? g_strdup_printf("/machine/peripheral/%s", dev->id)
                      : g_strdup_printf("/machine/peripheral-anon/device[%u]", t->n_anonymous++);

    add(t, path, g_strdup(dev->class->name))->device = dev;
}

GPtrArray *objects_new(struct machine *m)
{
    struct tree t = {.objects = g_ptr_array_new_with_free_func(object_free)};

    add_container(&t, "/");
    add(&t, g_strdup("/machine"), g_strdup_printf("%s-machine", m->board->name));
    add_container(&t, "/machine/unattached");
    add_container(&t, "/machine/peripheral");
    add_container(&t, "/machine/peripheral-anon");
    for (unsigned i = 0; m->cpus && i < m->cpus->n; i++) {
        add(&t, g_strdup_printf("/machine/unattached/device[%u]", t.n_unattached++),
            g_strdup_printf("%s-x86_64-cpu", m->cpu_model->name))
            ->vcpu = m->cpus->vcpu[i];
    }
    devices_foreach(&m->env, add_device, &t);
    return t.objects;
}

const char *object_name(const struct qom_object *object)
{
    return strrchr(object->path, '/') + 1;
}

gboolean object_is_in(const struct qom_object *object, const struct qom_object *parent)
{
    size_t length = strlen(parent->path);

    if (strcmp(parent->path, "/") == 0) {
        length = 0;
    }
    return *object_name(object) && object_name(object) - object->path == (ptrdiff_t)length + 1 &&
           strncmp(object->path, parent->path, length) == 0;
}

char *machine_device_path(struct machine *m, const struct device *device)
{
    g_autoptr(GPtrArray) objects = objects_new(m);

    for (guint i = 0; i < objects->len; i++) {
        const struct qom_object *object = objects->pdata[i];

        if (object->device == device) {
            return g_strdup(object->path);
        }
    }
    return NULL;
}
