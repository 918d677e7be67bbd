/*
 * Plugging devices in and taking them out: see hotplug.h. Texts of errors are those that clients of
 * QEMU 7.2 know.
 *
 * A device that is plugged into a running machine is reset and set going before the guest is told
 * of it. What is taken out is gone, with what is behind it, before DEVICE_DELETED says so: a virtio
 * device has two such events, its own and before that its back end's, as clients expect.
 */
#include "machine/hotplug.h"

#include "block/block.h"
#include "devices/pci/pci.h"
#include "machine/cpu-hotplug.h"
#include "machine/objects.h"
#include "qapi-events.h"
#include "qapi/error.h"
#include "qapi/keyval.h"
#include <string.h>

/* ---- plugging in */

static const struct device_class *find_class(const char *driver, GError **error)
{
    const struct device_class *class = driver ? device_class_find(driver) : NULL;

    if (!driver) {
        g_set_error(error, MACHINE_ERROR, 0, "Parameter 'driver' is missing");
    } else if (!class) {
        g_set_error(error, MACHINE_ERROR, 0, "'%s' is not a valid device model name", driver);
    }
    return class;
}

/* NULL is fine. */
static bool check_id(struct machine *m, const char *id, GError **error)
{
    if (id && !qapi_id_is_valid(id)) {
        g_set_error(error, MACHINE_ERROR, 0, "Parameter 'id' expects an identifier, not '%s'", id);
        return false;
    }
    if (id && (devices_find(&m->env, id) || machine_cpu_by_id(m, id))) {
        g_set_error(error, MACHINE_ERROR, 0, "Duplicate device ID '%s'", id);
        return false;
    }
    return true;
}

/* The last value of a parameter, which stays to be taken. */
static const char *peek(const struct params *p, const char *key)
{
    const char *value = NULL;

    for (guint i = 0; i < p->items->len; i++) {
        const struct param *param = &g_array_index(p->items, struct param, i);

        if (strcmp(param->key, key) == 0) {
            value = param->value;
        }
    }
    return value;
}

/* The device, not realized; NULL and *error. */
static struct device *make(struct machine *m, const struct device_class *class, struct params *p,
                           GError **error)
{
    const struct device_variant *variant = device_variant_find(params_take(p, "driver"));
    const char *id = params_take(p, "id");
    struct device *dev;
    bool ok = true;

    if (!check_id(m, id, error)) {
        return NULL;
    }
    dev = device_new(class, &m->env);
    dev->id = g_strdup(id);
    ok = !variant || device_set_property(dev, variant->property, variant->value, error);
    for (guint i = 0; ok && i < p->items->len; i++) {
        const struct param *param = &g_array_index(p->items, struct param, i);

        ok = param->taken || device_set_property(dev, param->key, param->value, error);
    }
    if (!ok) {
        device_free(dev);
        return NULL;
    }
    return dev;
}

bool machine_add_device(struct machine *m, struct params *p, bool plugged, GError **error)
{
    const char *driver = params_take(p, "driver");
    const struct device_class *class;
    struct device *dev;

    if (machine_is_cpu_driver(driver)) {
        return check_id(m, peek(p, "id"), error) && machine_plug_cpu(m, driver, p, false, error);
    }
    class = find_class(driver, error);
    dev = class ? make(m, class, p, error) : NULL;

    if (!dev) {
        return false;
    }
    dev->plugged = plugged;
    return device_realize(dev, error);
}

static bool fail_bus(const char *bus, GError **error)
{
    g_set_error(error, MACHINE_ERROR, 0, "Bus '%s' does not support hotplugging", bus);
    return false;
}

/* bus: what the user named, or NULL. */
static bool may_hotplug(struct machine *m, const struct device_class *class, const char *bus,
                        GError **error)
{
    const struct pci_bus *pci;

    switch (class->bus) {
    case BUS_SYSTEM:
        g_set_error(error, MACHINE_ERROR, 0, "Parameter 'driver' expects a pluggable device type");
        return false;
    case BUS_ISA:
        return fail_bus(bus ? bus : "isa.0", error);
    case BUS_IDE:
        return fail_bus(bus ? bus : "ide.0", error);
    case BUS_VIRTIO:
        return fail_bus(bus ? bus : "virtio-mmio-bus", error);
    case BUS_PCI:
        pci = pci_bus_for(&m->env, bus, class->name, error);
        if (!pci) {
            return false;
        }
        if (!pci->hotplug) {
            return fail_bus(pci->name, error);
        }
        break;
    case BUS_NONE:
        break;
    }
    if (class->hotplug == HOTPLUG_NEVER ||
        (class->bus == BUS_NONE && class->hotplug != HOTPLUG_ALWAYS)) {
        g_set_error(error, MACHINE_ERROR, 0, "Device '%s' does not support hotplugging",
                    class->name);
        return false;
    }
    return true;
}

bool machine_device_hotpluggable(const struct device *dev)
{
    const struct device_class *class = dev->class;

    return class->bus == BUS_PCI
               ? class->hotplug != HOTPLUG_NEVER && ((const struct pci_device *)dev)->bus->hotplug
           : class->bus == BUS_NONE ? class->hotplug == HOTPLUG_ALWAYS
                                    : false;
}

static void tell_guest(struct device *dev)
{
    if (dev->class->bus == BUS_PCI) {
        struct pci_device *pci = (struct pci_device *)dev;

        pci->bus->hotplug->plugged(pci->bus->hotplug_opaque, pci);
    } else if (dev->class->plugged) {
        dev->class->plugged(dev);
    }
}

/* moves: see hotplug.h. */
static bool stays(bool moves, const char *command, GError **error)
{
    if (moves) {
        g_set_error(error, MACHINE_ERROR, 0, "%s not allowed while migrating", command);
    }
    return !moves;
}

bool machine_hotplug(struct machine *m, struct params *p, bool moves, GError **error)
{
    const char *driver = params_take(p, "driver");
    const struct device_class *class;
    struct device *dev;

    if (machine_is_cpu_driver(driver)) {
        return stays(moves, "device_add", error) && check_id(m, peek(p, "id"), error) &&
               machine_plug_cpu(m, driver, p, true, error);
    }
    class = find_class(driver, error);
    if (!class || !may_hotplug(m, class, peek(p, "bus"), error) ||
        !stays(moves, "device_add", error) || !(dev = make(m, class, p, error))) {
        return false;
    }
    dev->plugged = true;
    dev->hotplugged = true;
    if (!device_realize(dev, error)) {
        return false;
    }
    device_reset_alone(dev);
    if (runstate_is_running(m->run)) {
        devices_resume(&m->env); /* all others are */
    }
    tell_guest(dev);
    return true;
}

/* ---- taking out */

/* By id or path: the one or the other, or neither. */
static void find(struct machine *m, const char *id, struct device **dev, struct vcpu **vcpu)
{
    g_autoptr(GPtrArray) objects = objects_new(m);

    *dev = devices_find(&m->env, id);
    *vcpu = *dev ? NULL : machine_cpu_by_id(m, id);
    for (guint i = 0; *id == '/' && i < objects->len; i++) {
        const struct qom_object *object = objects->pdata[i];

        if (strcmp(object->path, id) == 0) {
            *dev = object->device;
            *vcpu = object->vcpu;
        }
    }
}

bool machine_unplug(struct machine *m, const char *id, bool moves, GError **error)
{
    struct pci_device *pci;
    struct device *dev;
    struct vcpu *vcpu;

    find(m, id, &dev, &vcpu);
    pci = (struct pci_device *)dev;
    if (vcpu) {
        return stays(moves, "device_del", error) && machine_unplug_cpu(m, vcpu, error);
    }
    if (!dev) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
        return false;
    }
    if (dev->unplug_asked && vclock_now(m->clock) < dev->unplug_busy_ns) {
        g_set_error(error, MACHINE_ERROR, 0, "Device %s is already in the process of unplug",
                    dev->id ? dev->id : id);
        return false;
    }
    if (!may_hotplug(m, dev->class, dev->class->bus == BUS_PCI ? pci->bus->name : NULL, error) ||
        !stays(moves, "device_del", error)) {
        return false;
    }
    if (dev->class->bus == BUS_PCI && !dev->class->unplug_request) {
        return pci->bus->hotplug->unplug_request(pci->bus->hotplug_opaque, pci, error);
    }
    if (dev->class->unplug_request) {
        return dev->class->unplug_request(dev, error);
    }
    machine_device_unplugged(m, dev);
    return true;
}

struct deleted {
    char *id, *path;
};

static void note_deleted(struct device *dev, GArray *list)
{
    struct machine *m = dev->env->system_opaque;
    struct deleted d = {g_strdup(dev->id), machine_device_path(m, dev)};

    if (g_str_has_prefix(dev->class->name, "virtio-")) {
        struct deleted backend = {NULL, g_strconcat(d.path, "/virtio-backend", NULL)};

        g_array_append_val(list, backend);
    }
    g_array_append_val(list, d);
}

struct children {
    struct device *parent;
    GArray *list;
};

static void note_with_children(struct device *dev, GArray *list);

static void note_child(struct device *dev, void *opaque)
{
    const struct children *c = opaque;

    if (dev->parent == c->parent) {
        note_with_children(dev, c->list);
    }
}

static void note_with_children(struct device *dev, GArray *list)
{
    struct children c = {dev, list};

    devices_foreach(dev->env, note_child, &c);
    note_deleted(dev, list);
}

/* The drives that devices use: struct drive, the block layer's. */
static GPtrArray *drives_taken(const struct machine *m)
{
    GPtrArray *drives = g_ptr_array_new();
    struct drive *d;

    for (unsigned i = 0; m->block && (d = block_drive_nth(m->block, i)); i++) {
        if (d->taken) {
            g_ptr_array_add(drives, d);
        }
    }
    return drives;
}

/* A -drive goes with the device that was taken out; what -blockdev made stays. */
static void drop_drives(struct machine *m, const GPtrArray *taken_before)
{
    for (guint i = 0; i < taken_before->len; i++) {
        const struct drive *d = taken_before->pdata[i];

        if (!d->taken) {
            g_autofree char *id = g_strdup(d->id);

            block_drive_delete(m->block, id, NULL);
        }
    }
}

void machine_device_unplugged(void *machine, struct device *dev)
{
    struct machine *m = machine;
    g_autoptr(GPtrArray) taken = drives_taken(m);
    GArray *list = g_array_new(FALSE, FALSE, sizeof(struct deleted));

    note_with_children(dev, list);
    m->parts_gone++;
    device_free(dev);
    drop_drives(m, taken);
    for (guint i = 0; i < list->len; i++) {
        struct deleted *d = &g_array_index(list, struct deleted, i);

        qapi_event_send_device_deleted(m->events, d->id, d->path);
        g_free(d->id);
        g_free(d->path);
    }
    g_array_unref(list);
}

void machine_unplug_failed(void *machine, struct device *dev)
{
    struct machine *m = machine;
    g_autofree char *path = machine_device_path(m, dev);

    qapi_event_send_device_unplug_guest_error(m->events, dev->id, path);
}
