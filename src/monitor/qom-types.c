/* The types of objects: see qom-types.h. */
#include "monitor/qom-types.h"

#include "cpu/x86/cpuid.h"
#include "machine/machine.h"
#include "qapi-visit.h"
#include <string.h>

#define CPU_SUFFIX "-x86_64-cpu"

/* What only others are derived from, but for the container; parents first. */
static const struct {
    const char *name, *parent;
    bool concrete;
} roots[] = {
    {"object", ""},
    {"container", "object", true},
    {"device", "object"},
    {"sys-bus-device", "device"},
    {"isa-device", "device"},
    {"pci-device", "device"},
    {"ide-device", "device"},
    {"cpu", "device"},
    {"x86_64-cpu", "cpu"},
    {"machine", "object"},
    {"generic-pc-machine", "machine"},
    {"accel", "object"},
    {"rng-backend", "object"},
    {"memory-backend", "object"},
};

static void type_free(gpointer data)
{
    struct qom_type *type = data;

    g_free(type->name);
    g_free(type);
}

/* name is taken over. */
static struct qom_type *add(GPtrArray *types, char *name, const char *parent, enum qom_kind kind)
{
    struct qom_type *type = g_new0(struct qom_type, 1);

    type->name = name;
    type->parent = parent;
    type->kind = kind;
    g_ptr_array_add(types, type);
    return type;
}

static const char *device_parent(enum bus_kind bus)
{
    static const char *const parents[] = {
        [BUS_SYSTEM] = "sys-bus-device", [BUS_NONE] = "device",    [BUS_ISA] = "isa-device",
        [BUS_PCI] = "pci-device",        [BUS_IDE] = "ide-device", [BUS_VIRTIO] = "virtio-device",
    };

    return parents[bus];
}

static void add_devices(GPtrArray *types)
{
    for (unsigned i = 0; device_classes[i]; i++) {
        const struct device_class *class = device_classes[i];

        add(types, g_strdup(class->name), device_parent(class->bus), QOM_DEVICE)->class = class;
    }
    for (const struct device_variant *v = device_variants; v->name; v++) {
        add(types, g_strdup(v->name), device_parent(v->class->bus), QOM_DEVICE)->class = v->class;
    }
}

static void add_machines(GPtrArray *types)
{
    for (unsigned i = 0; boards[i]; i++) {
        add(types, g_strdup_printf("%s-machine", boards[i]->name),
            boards[i]->firmware ? "generic-pc-machine" : "machine", QOM_MACHINE);
    }
}

static void add_accels(GPtrArray *types)
{
    static const char *const names[] = {"tcg", "kvm", "qtest"};

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (accel_find(names[i])) {
            add(types, g_strdup_printf("%s-accel", names[i]), "accel", QOM_ACCEL);
        }
    }
}

static void add_cpus(GPtrArray *types)
{
    g_autoptr(GPtrArray) names = cpu_model_names();

    for (guint i = 0; i < names->len; i++) {
        add(types, g_strconcat(names->pdata[i], CPU_SUFFIX, NULL), "x86_64-cpu", QOM_CPU);
    }
}

static const char *object_parent(const char *name)
{
    return g_str_has_prefix(name, "rng-")              ? "rng-backend"
           : g_str_has_prefix(name, "memory-backend-") ? "memory-backend"
                                                       : "object";
}

static void add_objects(GPtrArray *types)
{
    for (size_t i = 0; i < object_type_type.n_values; i++) {
        const char *name = object_type_type.values[i];

        add(types, g_strdup(name), object_parent(name), QOM_OBJECT);
    }
}

GPtrArray *qom_types_new(void)
{
    GPtrArray *types = g_ptr_array_new_with_free_func(type_free);

    for (unsigned i = 0; i < G_N_ELEMENTS(roots); i++) {
        add(types, g_strdup(roots[i].name), roots[i].parent, QOM_OTHER)->abstract =
            !roots[i].concrete;
    }
    add_machines(types);
    add_accels(types);
    add_cpus(types);
    add_devices(types);
    add_objects(types);
    return types;
}

const struct qom_type *qom_type_find(const GPtrArray *types, const char *name)
{
    for (guint i = 0; i < types->len; i++) {
        const struct qom_type *type = types->pdata[i];

        if (strcmp(type->name, name) == 0) {
            return type;
        }
    }
    return NULL;
}

bool qom_type_implements(const GPtrArray *types, const struct qom_type *type, const char *ancestor)
{
    if (strcmp(ancestor, "user-creatable") == 0) {
        return type->kind == QOM_OBJECT;
    }
    while (type && strcmp(type->name, ancestor) != 0) {
        type = qom_type_find(types, type->parent);
    }
    return type != NULL;
}
