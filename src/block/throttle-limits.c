/*
 * Limits as the schema has them: ThrottleLimits, BlockIOThrottle, BlockDeviceInfo, -drive.
 *
 * One table per schema type says which member is which limit. All their members are optional
 * int64_t, so that a table of offsets is enough.
 */
#include "block/block-priv.h"
#include "block/throttle-priv.h"
#include "qapi/params.h"
#include <string.h>

enum { AVG, MAX_RATE, LENGTH, FIELDS };

static const char *const kind_names[THROTTLE_KINDS] = {"bps-total",  "bps-read",  "bps-write",
                                                       "iops-total", "iops-read", "iops-write"};
static const char *const field_names[FIELDS] = {"", "-max", "-max-length"};

static uint64_t *field_of(struct throttle_limit *limit, unsigned field)
{
    return field == AVG ? &limit->avg : field == MAX_RATE ? &limit->max : &limit->burst;
}

/* An optional member: whether it is there, and its value. */
struct member {
    size_t has, value;
};

#define MEMBER(type, name)                                                                         \
    {                                                                                              \
        offsetof(type, has_##name), offsetof(type, name)                                           \
    }
#define MEMBERS(type, prefix, name)                                                                \
    {                                                                                              \
        MEMBER(type, prefix##name), MEMBER(type, prefix##name##_max),                              \
            MEMBER(type, prefix##name##_max_length)                                                \
    }
#define ALL_MEMBERS(type, prefix)                                                                  \
    {                                                                                              \
        MEMBERS(type, prefix, bps_total), MEMBERS(type, prefix, bps_read),                         \
            MEMBERS(type, prefix, bps_write), MEMBERS(type, prefix, iops_total),                   \
            MEMBERS(type, prefix, iops_read), MEMBERS(type, prefix, iops_write)                    \
    }

static const struct member limits_members[THROTTLE_KINDS][FIELDS] =
    ALL_MEMBERS(struct throttle_limits, );
static const struct member x_members[THROTTLE_KINDS][FIELDS] =
    ALL_MEMBERS(struct throttle_group_properties, x_);

static bool has(const void *object, const struct member *m)
{
    return *(const bool *)((const char *)object + m->has);
}

static int64_t get(const void *object, const struct member *m)
{
    return *(const int64_t *)((const char *)object + m->value);
}

static bool length_fits(const char *prefix, unsigned kind, int64_t value, GError **error)
{
    if (value > UINT32_MAX) {
        g_set_error(error, BLOCK_ERROR, 0, "%s%s-max-length value must be in the range [0, %u]",
                    prefix, kind_names[kind], UINT32_MAX);
        return false;
    }
    return true;
}

bool throttle_config_apply(struct throttle_config *config, const struct throttle_limits *limits,
                           GError **error)
{
    for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
        for (unsigned field = 0; field < FIELDS; field++) {
            const struct member *m = &limits_members[kind][field];

            if (!has(limits, m)) {
                continue;
            }
            if (field == LENGTH && !length_fits("", kind, get(limits, m), error)) {
                return false;
            }
            *field_of(&config->limit[kind], field) = (uint64_t)get(limits, m);
        }
    }
    config->op_bytes = limits->has_iops_size ? (uint64_t)limits->iops_size : config->op_bytes;
    return throttle_config_check(config, error);
}

static bool check_x(const struct throttle_group_properties *p, GError **error)
{
    bool negative = p->has_x_iops_size && p->x_iops_size < 0;

    for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
        for (unsigned field = 0; field < FIELDS; field++) {
            const struct member *m = &x_members[kind][field];

            if (has(p, m) && field == LENGTH && !length_fits("x-", kind, get(p, m), error)) {
                return false;
            }
            negative = negative || (has(p, m) && get(p, m) < 0);
        }
    }
    if (negative) {
        g_set_error(error, BLOCK_ERROR, 0, "Property values cannot be negative");
    }
    return !negative;
}

bool throttle_config_from_properties(struct throttle_config *config,
                                     const struct throttle_group_properties *p, GError **error)
{
    throttle_config_init(config);
    if (!check_x(p, error)) {
        return false;
    }
    for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
        for (unsigned field = 0; field < FIELDS; field++) {
            const struct member *m = &x_members[kind][field];

            if (has(p, m)) {
                *field_of(&config->limit[kind], field) = (uint64_t)get(p, m);
            }
        }
    }
    config->op_bytes = p->has_x_iops_size ? (uint64_t)p->x_iops_size : 0;
    return p->limits ? throttle_config_apply(config, p->limits, error)
                     : throttle_config_check(config, error);
}

struct throttle_limits *throttle_group_limits(const struct throttle_group *group)
{
    struct throttle_limits *limits = g_new0(struct throttle_limits, 1);
    struct throttle_config config;

    throttle_group_config(group, &config);
    for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
        for (unsigned field = 0; field < FIELDS; field++) {
            const struct member *m = &limits_members[kind][field];

            *(bool *)((char *)limits + m->has) = true;
            *(int64_t *)((char *)limits + m->value) =
                (int64_t)*field_of(&config.limit[kind], field);
        }
    }
    limits->has_iops_size = true;
    limits->iops_size = (int64_t)config.op_bytes;
    return limits;
}

/* ---- block_set_io_throttle and query-block: average limits are not optional there */

#define OLD(type, name)                                                                            \
    {                                                                                              \
        {0, offsetof(type, name)}, MEMBER(type, name##_max), MEMBER(type, name##_max_length)       \
    }
#define ALL_OLD(type)                                                                              \
    {                                                                                              \
        OLD(type, bps), OLD(type, bps_rd), OLD(type, bps_wr), OLD(type, iops), OLD(type, iops_rd), \
            OLD(type, iops_wr)                                                                     \
    }

static const struct member arg_members[THROTTLE_KINDS][FIELDS] = ALL_OLD(struct block_io_throttle);
static const struct member info_members[THROTTLE_KINDS][FIELDS] = ALL_OLD(struct block_device_info);

void throttle_config_from_arg(struct throttle_config *config, const struct block_io_throttle *arg)
{
    throttle_config_init(config);
    for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
        for (unsigned field = 0; field < FIELDS; field++) {
            const struct member *m = &arg_members[kind][field];

            if (field == AVG || has(arg, m)) {
                *field_of(&config->limit[kind], field) = (uint64_t)get(arg, m);
            }
        }
    }
    config->op_bytes = arg->has_iops_size ? (uint64_t)arg->iops_size : 0;
}

void throttle_group_describe(const struct throttle_group *group, struct block_device_info *info)
{
    struct throttle_config config;

    throttle_group_config(group, &config);
    for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
        for (unsigned field = 0; field < FIELDS; field++) {
            const struct member *m = &info_members[kind][field];

            if (field != AVG) { /* a burst is told of where there may be one */
                *(bool *)((char *)info + m->has) = config.limit[kind].max != 0;
            }
            *(int64_t *)((char *)info + m->value) = (int64_t)*field_of(&config.limit[kind], field);
        }
    }
    info->has_iops_size = config.op_bytes != 0;
    info->iops_size = (int64_t)config.op_bytes;
    info->group = g_strdup(throttle_group_name(group));
}

/* ---- -drive */

/* Its older names. */
static const char *const aliases[THROTTLE_KINDS][2] = {
    {"bps", "bps_max"},   {"bps_rd", "bps_rd_max"},   {"bps_wr", "bps_wr_max"},
    {"iops", "iops_max"}, {"iops_rd", "iops_rd_max"}, {"iops_wr", "iops_wr_max"},
};

static bool take(struct params *p, const char *name, const char *alias, uint64_t *value,
                 GError **error)
{
    uint64_t old = UINT64_MAX, new = UINT64_MAX;

    if ((alias && !params_take_uint(p, alias, 0, THROTTLE_MAX_VALUE, &old, error)) ||
        !params_take_uint(p, name, 0, THROTTLE_MAX_VALUE, &new, error)) {
        return false;
    }
    if (old != UINT64_MAX && new != UINT64_MAX) {
        g_set_error(error, BLOCK_ERROR, 0, "'%s' and its alias '%s' can't be used at the same time",
                    name, alias);
        return false;
    }
    *value = new != UINT64_MAX ? new : old != UINT64_MAX ? old : *value;
    return true;
}

bool throttle_config_from_params(struct throttle_config *config, struct params *p, char **group,
                                 GError **error)
{
    const char *name, *alias;

    throttle_config_init(config);
    for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
        for (unsigned field = 0; field < FIELDS; field++) {
            g_autofree char *key =
                g_strconcat("throttling.", kind_names[kind], field_names[field], NULL);

            if (!take(p, key, field == LENGTH ? NULL : aliases[kind][field],
                      field_of(&config->limit[kind], field), error)) {
                return false;
            }
        }
    }
    if (!take(p, "throttling.iops-size", "iops_size", &config->op_bytes, error)) {
        return false;
    }
    name = params_take(p, "throttling.group");
    alias = params_take(p, "group");
    if (name && alias) {
        g_set_error(error, BLOCK_ERROR, 0,
                    "'throttling.group' and its alias 'group' can't be used at the same time");
        return false;
    }
    *group = g_strdup(name ? name : alias);
    return throttle_config_check(config, error);
}
