/*
 * The tree of objects, with the places that QEMU has for them: vCPUs and the board's own devices in
 * /machine/unattached, devices of the command line in /machine/peripheral by their id, or without
 * one in /machine/peripheral-anon; what -object made in /objects by its id. Numbers are in order of
 * creation, vCPUs first.
 *
 * Left out: buses, memory regions, interrupt lines, chardevs.
 */
#include "machine/objects.h"

#include "cpu/x86/cpuid.h"
#include "devices/core/object.h"
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

static char *place(struct tree *t, const char *id, bool plugged)
{
    return !plugged ? g_strdup_printf("/machine/unattached/device[%u]", t->n_unattached++)
           : id     ? g_strdup_printf("/machine/peripheral/%s", id)
                    : g_strdup_printf("/machine/peripheral-anon/device[%u]", t->n_anonymous++);
}

static void add_device(struct device *dev, void *opaque)
{
    struct tree *t = opaque;

    add(t, place(t, dev->id, dev->plugged), g_strdup(dev->class->name))->device = dev;
}

static void add_vcpu(struct machine *m, struct vcpu *vcpu, struct tree *t)
{
    add(t, place(t, vcpu->id, vcpu->plugged), g_strdup_printf("%s-x86_64-cpu", m->cpu_model->name))
        ->vcpu = vcpu;
}

static void add_user(struct tree *t, struct object *user)
{
    const struct object_options *o = user->options;

    add(t, g_strdup_printf("/objects/%s", o->id), g_strdup(object_type_str(o->qom_type)))->user =
        user;
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
        add_vcpu(m, m->cpus->vcpu[i], &t);
    }
    devices_foreach(&m->env, add_device, &t);
    add_container(&t, "/objects");
    for (guint i = 0; m->env.objects && i < m->env.objects->len; i++) {
        add_user(&t, m->env.objects->pdata[i]);
    }
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

static char *find_path(struct machine *m, const struct device *device, const struct vcpu *vcpu)
{
    g_autoptr(GPtrArray) objects = objects_new(m);

    for (guint i = 0; i < objects->len; i++) {
        const struct qom_object *object = objects->pdata[i];

        if ((device && object->device == device) || (vcpu && object->vcpu == vcpu)) {
            return g_strdup(object->path);
        }
    }
    return NULL;
}

char *machine_device_path(struct machine *m, const struct device *device)
{
    return find_path(m, device, NULL);
}

char *machine_vcpu_path(struct machine *m, const struct vcpu *vcpu)
{
    return find_path(m, NULL, vcpu);
}
