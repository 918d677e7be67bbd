/*
 * Commands of the schema module qom: looking at the tree of objects, making and removing back ends.
 *
 * A path may be absolute, or the end of one that is the only such. Properties of devices are those
 * of the command line; vCPUs and the clock have a few that tell their state. Here is also
 * device-list-properties of the module qdev, which is qom-list-properties of devices.
 */
#include "monitor/monitor-priv.h"

#include "cpu/x86/cpu-features.h"
#include "devices/core/object.h"
#include "devices/isa/mc146818rtc.h"
#include "devices/memory-slots.h"
#include "devices/virtio/virtio-balloon.h"
#include "devices/virtio/virtio-mem.h"
#include "machine/hotplug.h"
#include "machine/objects.h"
#include "monitor/qom-types.h"
#include "monitor/qom-user.h"
#include "monitor/qom-vcpu.h"
#include "qapi-commands.h"
#include "qapi-visit.h"
#include "qapi/error.h"
#include <json-c/json.h>
#include <string.h>
#include <time.h>

/* ---- objects */

static bool path_fits(const struct qom_object *object, const char *path)
{
    size_t whole = strlen(object->path), part = strlen(path);

    if (*path == '/') {
        return strcmp(object->path, path) == 0;
    }
    return part && whole > part && object->path[whole - part - 1] == '/' &&
           strcmp(object->path + whole - part, path) == 0;
}

static const struct qom_object *object_find(GPtrArray *objects, const char *path, GError **errp)
{
    const struct qom_object *found = NULL;

    for (guint i = 0; i < objects->len; i++) {
        if (!path_fits(objects->pdata[i], path)) {
            continue;
        }
        if (found) {
            g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                        "Path '%s' does not uniquely identify an object", path);
            return NULL;
        }
        found = objects->pdata[i];
    }
    if (!found) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", path);
    }
    return found;
}

/* ---- properties with a meaning of their own */

typedef bool (*get_fn)(struct machine *m, const struct qom_object *object,
                       struct json_object **value, GError **errp);

typedef bool (*set_fn)(struct machine *m, const struct qom_object *object,
                       struct json_object *value, GError **errp);

static struct vcpu *vcpu_of(const struct qom_object *object)
{
    return object->vcpu;
}

static bool get_apic_id(struct machine *m, const struct qom_object *object,
                        struct json_object **value, GError **errp)
{
    *value = json_object_new_int64(vcpu_of(object)->apic_id);
    return true;
}

/* Features that were asked for and that the accelerator could not give. */
static bool get_unavailable(struct machine *m, const struct qom_object *object,
                            struct json_object **value, GError **errp)
{
    *value = json_object_new_array();
    for (unsigned i = 0; i < W__MAX * 32; i++) {
        const char *name = cpu_feature_bit_name(i / 32, i % 32);

        if (name && m->cpu_model->lost[i / 32] >> i % 32 & 1) {
            json_object_array_add(*value, json_object_new_string(name));
        }
    }
    return true;
}

static bool get_tsc_frequency(struct machine *m, const struct qom_object *object,
                              struct json_object **value, GError **errp)
{
    *value = json_object_new_int64((int64_t)m->cpus->tsc_khz * 1000);
    return true;
}

/* What the guest said of its crash by this vCPU, since the last reset. */
static bool get_crash(struct machine *m, const struct qom_object *object,
                      struct json_object **value, GError **errp)
{
    const struct vcpu *vcpu = vcpu_of(object);
    struct guest_panic_information info = {.type = GUEST_PANIC_INFORMATION_TYPE_HYPER_V};
    g_autoptr(GString) text = g_string_new(NULL);

    if (!vcpu->crashed || !cpu_model_has(m->cpu_model, F_HV_CRASH)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    vcpu->crashed ? "No crash information" : "No crash occurred");
        return false;
    }
    info.u.hyper_v.arg1 = vcpu->crash_arg[0];
    info.u.hyper_v.arg2 = vcpu->crash_arg[1];
    info.u.hyper_v.arg3 = vcpu->crash_arg[2];
    info.u.hyper_v.arg4 = vcpu->crash_arg[3];
    info.u.hyper_v.arg5 = vcpu->crash_arg[4];
    guest_panic_information_to_json(&info, text);
    *value = json_tokener_parse(text->str);
    return *value != NULL;
}

static struct json_object *date_new(const struct device *rtc)
{
    struct json_object *date = json_object_new_object();
    struct tm tm;

    mc146818rtc_date(rtc, &tm);
    json_object_object_add(date, "tm_year", json_object_new_int(tm.tm_year));
    json_object_object_add(date, "tm_mon", json_object_new_int(tm.tm_mon));
    json_object_object_add(date, "tm_mday", json_object_new_int(tm.tm_mday));
    json_object_object_add(date, "tm_hour", json_object_new_int(tm.tm_hour));
    json_object_object_add(date, "tm_min", json_object_new_int(tm.tm_min));
    json_object_object_add(date, "tm_sec", json_object_new_int(tm.tm_sec));
    return date;
}

static bool get_date(struct machine *m, const struct qom_object *object, struct json_object **value,
                     GError **errp)
{
    *value = date_new(object->device);
    return true;
}

static bool get_rtc_time(struct machine *m, const struct qom_object *object,
                         struct json_object **value, GError **errp)
{
    *value = date_new(devices_find_class(&m->env, &mc146818rtc_class));
    return true;
}

/* ---- of the balloon */

static bool get_stats(struct machine *m, const struct qom_object *object,
                      struct json_object **value, GError **errp)
{
    static const char *const names[BALLOON_STATS] = {
        "stat-swap-in",      "stat-swap-out",     "stat-major-faults",     "stat-minor-faults",
        "stat-free-memory",  "stat-total-memory", "stat-available-memory", "stat-disk-caches",
        "stat-htlb-pgalloc", "stat-htlb-pgfail",
    };
    struct json_object *figures = json_object_new_object();
    struct balloon_stats stats;

    virtio_balloon_stats(object->device, &stats);
    for (unsigned i = 0; i < BALLOON_STATS; i++) {
        json_object_object_add(figures, names[i], json_object_new_uint64(stats.value[i]));
    }
    *value = json_object_new_object();
    json_object_object_add(*value, "stats", figures);
    json_object_object_add(*value, "last-update", json_object_new_int64(stats.updated_s));
    return true;
}

static bool get_stats_interval(struct machine *m, const struct qom_object *object,
                               struct json_object **value, GError **errp)
{
    *value = json_object_new_int64(virtio_balloon_stats_interval(object->device));
    return true;
}

static bool set_stats_interval(struct machine *m, const struct qom_object *object,
                               struct json_object *value, GError **errp)
{
    int64_t seconds = json_object_get_int64(value);

    if (!json_object_is_type(value, json_type_int)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Invalid parameter type for 'guest-stats-polling-interval', expected: integer");
        return false;
    }
    if (seconds < 0 || seconds > UINT32_MAX) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    seconds < 0 ? "timer value must be greater than zero"
                                : "timer value is too big");
        return false;
    }
    virtio_balloon_set_stats_interval(object->device, (unsigned)seconds);
    return true;
}

static bool is_balloon(struct machine *m, const struct qom_object *object)
{
    return object->device && device_is(object->device, &virtio_balloon_pci_class);
}

/* ---- of a dimm */

static bool is_dimm(struct machine *m, const struct qom_object *object)
{
    return object->device && device_is(object->device, &pc_dimm_class);
}

static bool get_dimm_size(struct machine *m, const struct qom_object *object,
                          struct json_object **value, GError **errp)
{
    struct dimm_info info;

    pc_dimm_info(object->device, &info);
    *value = json_object_new_uint64(info.bytes);
    return true;
}

static struct json_object *object_path_new(const char *id)
{
    g_autofree char *path = g_strconcat("/objects/", id, NULL);

    return json_object_new_string(path);
}

static bool get_dimm_memdev(struct machine *m, const struct qom_object *object,
                            struct json_object **value, GError **errp)
{
    struct dimm_info info;

    pc_dimm_info(object->device, &info);
    *value = object_path_new(info.memdev);
    return true;
}

/* ---- of virtio-mem */

static bool get_mem_memdev(struct machine *m, const struct qom_object *object,
                           struct json_object **value, GError **errp)
{
    struct virtio_mem_info info;

    virtio_mem_info(object->device, &info);
    *value = object_path_new(info.memdev);
    return true;
}

static bool get_mem_size(struct machine *m, const struct qom_object *object,
                         struct json_object **value, GError **errp)
{
    struct virtio_mem_info info;

    virtio_mem_info(object->device, &info);
    *value = json_object_new_uint64(info.plugged_bytes);
    return true;
}

static bool get_mem_requested(struct machine *m, const struct qom_object *object,
                              struct json_object **value, GError **errp)
{
    struct virtio_mem_info info;

    virtio_mem_info(object->device, &info);
    *value = json_object_new_uint64(info.requested_bytes);
    return true;
}

static bool get_mem_addr(struct machine *m, const struct qom_object *object,
                         struct json_object **value, GError **errp)
{
    struct virtio_mem_info info;

    virtio_mem_info(object->device, &info);
    *value = json_object_new_uint64(info.addr);
    return true;
}

static bool set_mem_requested(struct machine *m, const struct qom_object *object,
                              struct json_object *value, GError **errp)
{
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Invalid parameter type for 'requested-size', expected: integer");
        return false;
    }
    return virtio_mem_request((struct device *)object->device, json_object_get_uint64(value), errp);
}

static bool is_virtio_mem(struct machine *m, const struct qom_object *object)
{
    return object->device && device_is(object->device, &virtio_mem_pci_class);
}

/* ---- of all devices */

static bool is_device(struct machine *m, const struct qom_object *object)
{
    return object->device != NULL;
}

static bool get_hotplugged(struct machine *m, const struct qom_object *object,
                           struct json_object **value, GError **errp)
{
    *value = json_object_new_boolean(object->device->hotplugged);
    return true;
}

static bool get_hotpluggable(struct machine *m, const struct qom_object *object,
                             struct json_object **value, GError **errp)
{
    *value = json_object_new_boolean(machine_device_hotpluggable(object->device));
    return true;
}

static bool is_vcpu(struct machine *m, const struct qom_object *object)
{
    return object->vcpu != NULL;
}

static bool is_rtc(struct machine *m, const struct qom_object *object)
{
    return object->device && object->device->class == &mc146818rtc_class;
}

static bool is_machine_with_rtc(struct machine *m, const struct qom_object *object)
{
    return strcmp(object->path, "/machine") == 0 && devices_find_class(&m->env, &mc146818rtc_class);
}

static const struct special {
    const char *name, *type;
    bool (*applies)(struct machine *m, const struct qom_object *object);
    get_fn get;
    set_fn set; /* NULL: it can't be set */
} specials[] = {
    {"apic-id", "uint32", is_vcpu, get_apic_id},
    {"tsc-frequency", "int", is_vcpu, get_tsc_frequency},
    {"unavailable-features", "strList", is_vcpu, get_unavailable},
    {"crash-information", "GuestPanicInformation", is_vcpu, get_crash},
    {"guest-stats", "guest statistics", is_balloon, get_stats},
    {"guest-stats-polling-interval", "int", is_balloon, get_stats_interval, set_stats_interval},
    {"hotplugged", "bool", is_device, get_hotplugged},
    {"hotpluggable", "bool", is_device, get_hotpluggable},
    {"size", "uint64", is_dimm, get_dimm_size},
    {"memdev", "link<memory-backend>", is_dimm, get_dimm_memdev},
    {"memdev", "link<memory-backend>", is_virtio_mem, get_mem_memdev},
    {"size", "size", is_virtio_mem, get_mem_size},
    {"requested-size", "size", is_virtio_mem, get_mem_requested, set_mem_requested},
    {"memaddr", "uint64", is_virtio_mem, get_mem_addr},
    {"date", "struct tm", is_rtc, get_date},
    {"rtc-time", "struct tm", is_machine_with_rtc, get_rtc_time},
};

static const struct special *special_find(struct machine *m, const struct qom_object *object,
                                          const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(specials); i++) {
        if (strcmp(specials[i].name, name) == 0 && specials[i].applies(m, object)) {
            return &specials[i];
        }
    }
    return NULL;
}

/* Whether the vCPUs have the feature of that name; NULL: it is none. */
static struct json_object *get_feature(const struct machine *m, const char *name)
{
    const struct cpu_feature_desc *f = cpu_feature_find(name);

    return f ? json_object_new_boolean(m->cpu_model->word[f->word] >> f->bit & 1) : NULL;
}

/* ---- properties of devices' tables */

static struct json_object *string_new(const char *text)
{
    return json_object_new_string(text ? text : "");
}

static struct json_object *property_value(const struct device *dev, const struct property *p)
{
    const void *field = (const uint8_t *)dev + p->offset;
    const struct chardev *chr;

    switch (p->type) {
    case PROP_BOOL:
        return json_object_new_boolean(*(const bool *)field);
    case PROP_U8:
        return json_object_new_int64(*(const uint8_t *)field);
    case PROP_U16:
        return json_object_new_int64(*(const uint16_t *)field);
    case PROP_U32:
        return json_object_new_int64(*(const uint32_t *)field);
    case PROP_I32:
        return json_object_new_int64(*(const int32_t *)field);
    case PROP_U64:
    case PROP_SIZE:
        return json_object_new_uint64(*(const uint64_t *)field);
    case PROP_ENUM:
        return string_new(p->values->values[*(const uint32_t *)field]);
    case PROP_CHARDEV:
        chr = *(struct chardev *const *)field;
        return string_new(chr ? chr->id : NULL);
    default:
        return string_new(*(char *const *)field);
    }
}

/* NULL: no more, or no device. */
static const struct property *property_nth(const struct qom_object *object, unsigned n)
{
    return object->device ? device_class_property(object->device->class, n) : NULL;
}

/* ---- the commands */

/* Of a number or a boolean; NULL: there is none. */
static struct json_object *property_default(const struct property *p)
{
    switch (p->type) {
    case PROP_BOOL:
        return json_object_new_boolean(p->def != 0);
    case PROP_I32:
        return json_object_new_int64((int32_t)p->def);
    case PROP_U8:
    case PROP_U16:
    case PROP_U32:
    case PROP_U64:
    case PROP_SIZE:
        return json_object_new_uint64(p->def);
    case PROP_ENUM:
        return string_new(p->values->values[p->def]);
    default:
        return NULL;
    }
}

static struct object_property_info *add_info(struct object_property_info_list *list,
                                             const char *name, char *type)
{
    struct object_property_info *info = g_new0(struct object_property_info, 1);

    info->name = g_strdup(name);
    info->type = type;
    object_property_info_list_append(list, info);
    return info;
}

static void list_class(const struct device_class *class, struct object_property_info_list *list)
{
    const struct property *p;

    for (unsigned i = 0; (p = device_class_property(class, i)); i++) {
        struct object_property_info *info =
            add_info(list, p->name, g_strdup(property_type_name(p->type)));

        info->description = g_strdup(p->help);
        info->default_value = property_default(p);
    }
}

static void list_features(struct object_property_info_list *list)
{
    for (unsigned i = 0; i < cpu_features_n; i++) {
        if (cpu_feature_find(cpu_features[i].name) == &cpu_features[i]) { /* else a second bit */
            add_info(list, cpu_features[i].name, g_strdup("bool"));
        }
    }
}

/* What -object takes for an object of this kind: the schema's members. */
static void list_object_members(const char *name, struct object_property_info_list *list)
{
    const struct qapi_type *branch;
    int kind;

    if (!qapi_enum_parse(&object_type_type, name, &kind)) {
        return;
    }
    branch = object_options_type.branches[kind];
    for (size_t i = 0; branch && i < branch->n_members; i++) {
        const struct qapi_member *m = &branch->members[i];

        add_info(list, m->name, g_strdup(m->type == &qapi_str_type ? "string" : m->type->name));
    }
}

/* Whether the device's class lists a property of that name too. */
static bool is_of_class(const struct qom_object *object, const char *name)
{
    const struct property *p;

    for (unsigned i = 0; (p = property_nth(object, i)); i++) {
        if (strcmp(p->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void list_vcpu(struct object_property_info_list *list)
{
    for (const struct qom_vcpu_property *p = qom_vcpu_properties; p->name; p++) {
        add_info(list, p->name, g_strdup(p->type));
    }
    list_features(list);
}

static void list_properties(struct machine *m, const struct qom_object *object,
                            struct object_property_info_list *list)
{
    add_info(list, "type", g_strdup("string"));
    if (object->device) {
        add_info(list, "realized", g_strdup("bool"));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(specials); i++) {
        if (specials[i].applies(m, object) && !is_of_class(object, specials[i].name)) {
            add_info(list, specials[i].name, g_strdup(specials[i].type));
        }
    }
    if (object->vcpu) {
        list_vcpu(list);
    } else if (object->device) {
        list_class(object->device->class, list);
    } else if (object->user) {
        list_object_members(object->type, list);
    }
}

struct object_property_info_list *qmp_qom_list(struct qmp_call *call,
                                               const struct qmp_qom_list_arg *arg, GError **errp)
{
    g_autoptr(GPtrArray) objects = objects_new(call->machine);
    const struct qom_object *object = object_find(objects, arg->path, errp);
    struct object_property_info_list *list;

    if (!object) {
        return NULL;
    }
    list = object_property_info_list_new();
    list_properties(call->machine, object, list);
    for (guint i = 0; i < objects->len; i++) {
        const struct qom_object *child = objects->pdata[i];

        if (object_is_in(child, object)) {
            add_info(list, object_name(child), g_strdup_printf("child<%s>", child->type));
        }
    }
    return list;
}

/* A child's value is its path. NULL: there is none of that name. */
static struct json_object *get_child(GPtrArray *objects, const struct qom_object *object,
                                     const char *name)
{
    for (guint i = 0; i < objects->len; i++) {
        const struct qom_object *child = objects->pdata[i];

        if (object_is_in(child, object) && strcmp(object_name(child), name) == 0) {
            return json_object_new_string(child->path);
        }
    }
    return NULL;
}

static struct json_object *get_plain(const struct qom_object *object, const char *name)
{
    const struct property *p;

    if (strcmp(name, "type") == 0) {
        return json_object_new_string(object->type);
    }
    if (object->device && strcmp(name, "realized") == 0) {
        return json_object_new_boolean(object->device->realized);
    }
    for (unsigned i = 0; (p = property_nth(object, i)); i++) {
        if (strcmp(p->name, name) == 0) {
            return property_value(object->device, p);
        }
    }
    return NULL;
}

static void property_not_found(const char *type, const char *name, GError **errp)
{
    g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Property '%s.%s' not found", type, name);
}

static bool object_get(struct machine *m, GPtrArray *objects, const struct qom_object *object,
                       const char *name, struct json_object **ret, GError **errp)
{
    const struct special *special = special_find(m, object, name);

    if (special) {
        return special->get(m, object, ret, errp);
    }
    *ret = get_plain(object, name);
    if (!*ret && object->vcpu) {
        const struct qom_vcpu_property *p = qom_vcpu_property_find(name);

        *ret = p ? p->get(m, object->vcpu) : get_feature(m, name);
    }
    if (!*ret && object->user) {
        *ret = qom_user_get(object->user, name);
    }
    if (!*ret) {
        *ret = get_child(objects, object, name);
    }
    if (!*ret) {
        property_not_found(object->type, name, errp);
    }
    return *ret != NULL;
}

bool qmp_qom_get(struct qmp_call *call, const struct qmp_qom_get_arg *arg, struct json_object **ret,
                 GError **errp)
{
    g_autoptr(GPtrArray) objects = objects_new(call->machine);
    const struct qom_object *object = object_find(objects, arg->path, errp);

    return object && object_get(call->machine, objects, object, arg->property, ret, errp);
}

/* Whether there is such a property, whether it has a value now or not. */
static bool object_has(struct machine *m, GPtrArray *objects, const struct qom_object *object,
                       const char *name)
{
    struct json_object *value = NULL;

    if (special_find(m, object, name)) {
        return true;
    }
    object_get(m, objects, object, name, &value, NULL);
    json_object_put(value);
    return value != NULL;
}

bool qmp_qom_set(struct qmp_call *call, const struct qmp_qom_set_arg *arg, GError **errp)
{
    g_autoptr(GPtrArray) objects = objects_new(call->machine);
    const struct qom_object *object = object_find(objects, arg->path, errp);
    const struct special *special;

    if (!object) {
        return false;
    }
    special = special_find(call->machine, object, arg->property);
    if (special && special->set) {
        return special->set(call->machine, object, arg->value, errp);
    }
    if (object->user) {
        bool ours;
        bool ok = qom_user_set(object->user, arg->property, arg->value, &ours, errp);

        if (ours) {
            return ok;
        }
    }
    if (object_has(call->machine, objects, object, arg->property)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Property '%s.%s' is not writable",
                    object->type, arg->property);
    } else {
        property_not_found(object->type, arg->property, errp);
    }
    return false;
}

/* ---- types */

struct object_type_info_list *
qmp_qom_list_types(struct qmp_call *call, const struct qmp_qom_list_types_arg *arg, GError **errp)
{
    struct object_type_info_list *list = object_type_info_list_new();
    g_autoptr(GPtrArray) types = qom_types_new();

    for (guint i = 0; i < types->len; i++) {
        const struct qom_type *type = types->pdata[i];
        struct object_type_info *info;

        if ((type->abstract && !(arg->has_abstract && arg->abstract)) ||
            (arg->implements && !qom_type_implements(types, type, arg->implements))) {
            continue;
        }
        info = g_new0(struct object_type_info, 1);
        info->name = g_strdup(type->name);
        info->has_abstract = info->abstract = type->abstract;
        info->parent = *type->parent ? g_strdup(type->parent) : NULL;
        object_type_info_list_append(list, info);
    }
    return list;
}

struct object_property_info_list *
qmp_qom_list_properties(struct qmp_call *call, const struct qmp_qom_list_properties_arg *arg,
                        GError **errp)
{
    g_autoptr(GPtrArray) types = qom_types_new();
    const struct qom_type *type = qom_type_find(types, arg->typename);
    struct object_property_info_list *list;

    if (!type) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "Class '%s' not found",
                    arg->typename);
        return NULL;
    }
    list = object_property_info_list_new();
    add_info(list, "type", g_strdup("string"));
    if (type->kind == QOM_DEVICE) {
        add_info(list, "realized", g_strdup("bool"));
    }
    if (type->kind == QOM_CPU) {
        for (unsigned i = 0; i < G_N_ELEMENTS(specials); i++) {
            if (specials[i].applies == is_vcpu) {
                add_info(list, specials[i].name, g_strdup(specials[i].type));
            }
        }
        list_vcpu(list);
    } else if (type->kind == QOM_DEVICE) {
        list_class(type->class, list);
    } else if (type->kind == QOM_OBJECT) {
        list_object_members(type->name, list);
    }
    return list;
}

struct object_property_info_list *
qmp_device_list_properties(struct qmp_call *call, const struct qmp_device_list_properties_arg *arg,
                           GError **errp)
{
    g_autoptr(GPtrArray) types = qom_types_new();
    const struct qom_type *type = qom_type_find(types, arg->typename);
    struct object_property_info_list *list;

    if (!type) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found",
                    arg->typename);
        return NULL;
    }
    if (type->kind != QOM_DEVICE && type->kind != QOM_CPU) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter 'typename' expects a non-abstract device type");
        return NULL;
    }
    list = object_property_info_list_new();
    if (type->kind == QOM_DEVICE) {
        list_class(type->class, list);
    } else {
        list_features(list);
    }
    return list;
}

/* ---- making objects */

bool qmp_object_add(struct qmp_call *call, const struct object_options *arg, GError **errp)
{
    return object_add(&call->machine->env, arg, errp);
}

bool qmp_object_del(struct qmp_call *call, const struct qmp_object_del_arg *arg, GError **errp)
{
    return object_delete(&call->machine->env, arg->id, errp);
}
