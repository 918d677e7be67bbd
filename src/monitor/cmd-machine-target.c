/*
 * Commands of the schema module machine-target: CPU models.
 */
#include "monitor/monitor-priv.h"

#include "cpu/x86/cpu-features.h"
#include "qapi-commands.h"
#include "qapi/error.h"
#include <json-c/json.h>
#include <string.h>

/* What this machine's accelerator can give. */
static struct cpu_support support_of(const struct machine *m)
{
    struct cpu_support support = {.name = m->accel->name};

    if (m->cpus && m->cpu_model) {
        return m->cpu_model->support;
    }
    m->accel->probe(&support, NULL); /* it did work when it was chosen; nothing otherwise */
    return support;
}

/* ---- query-cpu-definitions */

static struct str_list *feature_names(const uint32_t word[W__MAX])
{
    struct str_list *list = str_list_new();

    for (unsigned i = 0; i < W__MAX * 32; i++) {
        const char *name = word[i / 32] >> i % 32 & 1 ? cpu_feature_bit_name(i / 32, i % 32) : NULL;

        if (name) {
            str_list_append(list, g_strdup(name));
        }
    }
    return list;
}

static struct cpu_definition_info *definition_new(const char *name,
                                                  const struct cpu_support *support)
{
    struct cpu_definition_info *info = g_new0(struct cpu_definition_info, 1);
    uint32_t lost[W__MAX];
    bool host = strcmp(name, "host") == 0;

    cpu_model_unavailable(name, support, lost);
    info->name = g_strdup(name);
    info->has_migration_safe = true;
    info->migration_safe = !host && strcmp(name, "max") != 0;
    info->q_static = strcmp(name, "base") == 0;
    info->unavailable_features = feature_names(lost);
    if (host && !support->is_host) {
        str_list_append(info->unavailable_features, g_strdup("kvm"));
    }
    info->typename = g_strdup_printf("%s-x86_64-cpu", name);
    info->alias_of = g_strdup(cpu_model_alias_of(name));
    return info;
}

struct cpu_definition_info_list *qmp_query_cpu_definitions(struct qmp_call *call, GError **errp)
{
    struct cpu_definition_info_list *list = cpu_definition_info_list_new();
    struct cpu_support support = support_of(call->machine);
    g_autoptr(GPtrArray) names = cpu_model_names();

    for (guint i = 0; i < names->len; i++) {
        cpu_definition_info_list_append(list, definition_new(names->pdata[i], &support));
    }
    return list;
}

/* ---- query-cpu-model-expansion */

static bool set_prop(struct cpu_model *model, const char *key, struct json_object *value,
                     GError **errp)
{
    bool is_bool = json_object_is_type(value, json_type_boolean);

    if (cpu_feature_find(key) && !is_bool) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Invalid parameter type for '%s', expected: boolean", key);
        return false;
    }
    if (json_object_is_type(value, json_type_object) ||
        json_object_is_type(value, json_type_array) || json_object_is_type(value, json_type_null)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Invalid parameter type for '%s'", key);
        return false;
    }
    return cpu_model_set(model, key,
                         is_bool ? (json_object_get_boolean(value) ? "on" : "off")
                                 : json_object_get_string(value),
                         errp);
}

static bool set_props(struct cpu_model *model, struct json_object *props, GError **errp)
{
    if (!json_object_is_type(props, json_type_object)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Invalid parameter type for 'props', expected: object");
        return false;
    }
    json_object_object_foreach(props, key, value)
    {
        if (!set_prop(model, key, value, errp)) {
            return false;
        }
    }
    return true;
}

static void put_int(struct json_object *to, const char *key, uint64_t value)
{
    json_object_object_add(to, key, json_object_new_int64((int64_t)value));
}

static void put_bool(struct json_object *to, const char *key, bool value)
{
    json_object_object_add(to, key, json_object_new_boolean(value));
}

static void put_text(struct json_object *to, const char *key, const char *value)
{
    json_object_object_add(to, key, json_object_new_string(value));
}

static struct json_object *props_of(const struct cpu_model *m, bool full)
{
    struct json_object *props = json_object_new_object();

    for (unsigned i = 0; i < cpu_features_n; i++) {
        const struct cpu_feature_desc *f = &cpu_features[i];

        put_bool(props, f->name, m->word[f->word] >> f->bit & 1);
    }
    put_text(props, "vendor", m->vendor);
    put_text(props, "model-id", m->id);
    put_int(props, "family", (m->signature >> 8 & 15) + (m->signature >> 20 & 0xff));
    put_int(props, "model", (m->signature >> 4 & 15) | (m->signature >> 12 & 0xf0));
    put_int(props, "stepping", m->signature & 15);
    put_int(props, full ? "level" : "min-level", cpu_model_cpuid(m, 0, 0, 0).eax);
    put_int(props, full ? "xlevel" : "min-xlevel", m->xlevel);
    if (full) {
        put_bool(props, "check", m->check);
        put_bool(props, "enforce", m->enforce);
        put_bool(props, "l3-cache", !m->no_l3);
        put_bool(props, "kvm", !m->no_signature);
        put_bool(props, "pmu", false);
        put_int(props, "phys-bits", m->phys_bits);
        put_int(props, "host-phys-bits-limit", m->host_phys_limit);
        put_bool(props, "host-cache-info", m->host_caches);
        put_int(props, "tsc-frequency", m->tsc_khz * 1000);
    }
    return props;
}

struct cpu_model_expansion_info *
qmp_query_cpu_model_expansion(struct qmp_call *call,
                              const struct qmp_query_cpu_model_expansion_arg *arg, GError **errp)
{
    const struct cpu_model_info *model = arg->model;
    static const struct cpu_topology one = {1, 1, 1, 1, 1, 1};
    struct cpu_model_expansion_info *info;
    struct cpu_support support = support_of(call->machine);
    bool full = arg->type == CPU_MODEL_EXPANSION_TYPE_FULL;
    struct cpu_model *m = strchr(model->name, ',') ? NULL : cpu_model_new(model->name, &one, NULL);

    if (!m || !*model->name) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "CPU model '%s' not found", model->name);
        cpu_model_free(m);
        return NULL;
    }
    if (model->props && !set_props(m, model->props, errp)) {
        cpu_model_free(m);
        return NULL;
    }
    cpu_model_expand(m, &support);
    info = g_new0(struct cpu_model_expansion_info, 1);
    info->model = g_new0(struct cpu_model_info, 1);
    info->model->name = g_strdup(full ? model->name : "base");
    info->model->props = props_of(m, full);
    cpu_model_free(m);
    return info;
}
