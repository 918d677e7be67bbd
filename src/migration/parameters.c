/*
 * Capabilities and parameters of migrations: what is set, within which bounds, and what is told.
 */
#include "migration/migration-priv.h"

#include "qapi/error.h"

#define DOWNTIME_MAX_MS     2000000u
#define ANNOUNCE_MAX_MS     100000u
#define ANNOUNCE_MAX_ROUNDS 1000u
#define ANNOUNCE_MAX_STEP   10000u
#define ZLIB_MAX_LEVEL      9u
#define ZSTD_MAX_LEVEL      20u

void parameters_init(struct migration *mig)
{
    mig->max_bandwidth = 128u << 20;
    mig->downtime_limit_ms = 300;
    mig->throttle_initial = 20;
    mig->throttle_increment = 10;
    mig->throttle_max = 99;
    mig->throttle_trigger = 50;
    mig->announce =
        (struct migration_announce){.initial_ms = 50, .max_ms = 550, .rounds = 5, .step_ms = 100};
    mig->multi = (struct multi_settings){.channels = 2, .zlib_level = 1, .zstd_level = 1};
}

bool migration_set_capabilities(struct machine *m,
                                const struct migration_capability_status_list *list, GError **error)
{
    struct migration *mig = migration_of(m);

    if (migration_goes_out(m)) {
        return migration_refuse(error, MIGRATION_IN_PROGRESS);
    }
    for (size_t i = 0; i < list->n; i++) {
        mig->capability[list->v[i]->capability] = list->v[i]->state;
    }
    return true;
}

struct migration_capability_status_list *migration_query_capabilities(struct machine *m)
{
    struct migration_capability_status_list *list = migration_capability_status_list_new();

    for (int i = 0; i < MIGRATION_CAPABILITY__MAX; i++) {
        struct migration_capability_status *c = g_new0(struct migration_capability_status, 1);

        c->capability = (enum migration_capability)i;
        c->state = migration_of(m)->capability[i];
        migration_capability_status_list_append(list, c);
    }
    return list;
}

static bool says_something(const struct str_or_null *text)
{
    return text && text->type == Q_TYPE_QSTRING && *text->u.s;
}

static bool in_range(bool given, uint64_t value, uint64_t least, uint64_t most, const char *name,
                     const char *range, GError **error)
{
    return !given || (value >= least && value <= most) ||
           migration_refuse(error, "Parameter '%s' expects a value between %s", name, range);
}

static bool check_announce(const struct migrate_set_parameters *p, GError **error)
{
    return in_range(p->has_announce_initial, p->announce_initial, 0, ANNOUNCE_MAX_MS,
                    "announce_initial", "0 and 100000", error) &&
           in_range(p->has_announce_max, p->announce_max, 0, ANNOUNCE_MAX_MS, "announce_max",
                    "0 and 100000", error) &&
           in_range(p->has_announce_rounds, p->announce_rounds, 0, ANNOUNCE_MAX_ROUNDS,
                    "announce_rounds", "0 and 1000", error) &&
           in_range(p->has_announce_step, p->announce_step, 1, ANNOUNCE_MAX_STEP, "announce_step",
                    "0 and 10000", error);
}

static bool check_multi(const struct migrate_set_parameters *p, GError **error)
{
    return in_range(p->has_multifd_channels, p->multifd_channels, 1, UINT8_MAX, "multifd_channels",
                    "1 and 255", error) &&
           in_range(p->has_multifd_zlib_level, p->multifd_zlib_level, 0, ZLIB_MAX_LEVEL,
                    "multifd_zlib_level", "0 and 9", error) &&
           in_range(p->has_multifd_zstd_level, p->multifd_zstd_level, 0, ZSTD_MAX_LEVEL,
                    "multifd_zstd_level", "0 and 20", error);
}

static bool check_parameters(const struct migration *mig, const struct migrate_set_parameters *p,
                             GError **error)
{
    unsigned least = p->has_cpu_throttle_initial ? p->cpu_throttle_initial : mig->throttle_initial;
    unsigned most = p->has_max_cpu_throttle ? p->max_cpu_throttle : mig->throttle_max;

    if (p->has_cpu_throttle_initial &&
        (p->cpu_throttle_initial < 1 || p->cpu_throttle_initial > 99)) {
        return migration_refuse(
            error, "Parameter 'cpu_throttle_initial' expects an integer in the range of "
                   "1 to 99");
    }
    if (p->has_cpu_throttle_increment &&
        (p->cpu_throttle_increment < 1 || p->cpu_throttle_increment > 99)) {
        return migration_refuse(
            error, "Parameter 'cpu_throttle_increment' expects an integer in the range "
                   "of 1 to 99");
    }
    if (most < least || most > 99) {
        return migration_refuse(error,
                                "Parameter 'max_cpu_throttle' expects an integer in the range of "
                                "cpu_throttle_initial to 99");
    }
    if (p->has_throttle_trigger_threshold &&
        (p->throttle_trigger_threshold < 1 || p->throttle_trigger_threshold > 100)) {
        return migration_refuse(error,
                                "Parameter 'throttle_trigger_threshold' expects an integer in the "
                                "range of 1 to 100");
    }
    if (p->has_downtime_limit && p->downtime_limit > DOWNTIME_MAX_MS) {
        return migration_refuse(
            error, "Parameter 'downtime_limit' expects an integer in the range of 0 to "
                   "(2000 * 1000) ms");
    }
    if (says_something(p->tls_creds) || says_something(p->tls_hostname)) {
        return migration_refuse(error,
                                "Parameter '%s' expects an empty string: there is no TLS here",
                                says_something(p->tls_creds) ? "tls-creds" : "tls-hostname");
    }
    return check_announce(p, error) && check_multi(p, error);
}

static void set_announce(struct migration_announce *a, const struct migrate_set_parameters *p)
{
    a->initial_ms = p->has_announce_initial ? p->announce_initial : a->initial_ms;
    a->max_ms = p->has_announce_max ? p->announce_max : a->max_ms;
    a->rounds = p->has_announce_rounds ? p->announce_rounds : a->rounds;
    a->step_ms = p->has_announce_step ? p->announce_step : a->step_ms;
}

static void set_multi(struct multi_settings *s, const struct migrate_set_parameters *p)
{
    s->channels = p->has_multifd_channels ? p->multifd_channels : s->channels;
    s->compression = p->has_multifd_compression ? p->multifd_compression : s->compression;
    s->zlib_level = p->has_multifd_zlib_level ? p->multifd_zlib_level : s->zlib_level;
    s->zstd_level = p->has_multifd_zstd_level ? p->multifd_zstd_level : s->zstd_level;
}

bool migration_set_parameters(struct machine *m, const struct migrate_set_parameters *p,
                              GError **error)
{
    struct migration *mig = migration_of(m);

    if (!check_parameters(mig, p, error)) {
        return false;
    }
    if (p->has_cpu_throttle_initial) {
        mig->throttle_initial = p->cpu_throttle_initial;
    }
    if (p->has_cpu_throttle_increment) {
        mig->throttle_increment = p->cpu_throttle_increment;
    }
    if (p->has_max_cpu_throttle) {
        mig->throttle_max = p->max_cpu_throttle;
    }
    if (p->has_throttle_trigger_threshold) {
        mig->throttle_trigger = p->throttle_trigger_threshold;
    }
    if (p->has_max_bandwidth) {
        mig->max_bandwidth = p->max_bandwidth;
    }
    if (p->has_downtime_limit) {
        mig->downtime_limit_ms = p->downtime_limit;
    }
    set_announce(&mig->announce, p);
    set_multi(&mig->multi, p);
    return true;
}

struct migration_parameters *migration_query_parameters(struct machine *m)
{
    const struct migration *mig = migration_of(m);
    struct migration_parameters *p = g_new0(struct migration_parameters, 1);

    p->has_cpu_throttle_initial = p->has_cpu_throttle_increment = true;
    p->has_max_cpu_throttle = p->has_throttle_trigger_threshold = true;
    p->has_max_bandwidth = p->has_downtime_limit = true;
    p->cpu_throttle_initial = (uint8_t)mig->throttle_initial;
    p->cpu_throttle_increment = (uint8_t)mig->throttle_increment;
    p->max_cpu_throttle = (uint8_t)mig->throttle_max;
    p->throttle_trigger_threshold = (uint8_t)mig->throttle_trigger;
    p->max_bandwidth = mig->max_bandwidth;
    p->downtime_limit = mig->downtime_limit_ms;
    p->has_announce_initial = p->has_announce_max = true;
    p->has_announce_rounds = p->has_announce_step = true;
    p->announce_initial = mig->announce.initial_ms;
    p->announce_max = mig->announce.max_ms;
    p->announce_rounds = mig->announce.rounds;
    p->announce_step = mig->announce.step_ms;
    p->has_multifd_channels = p->has_multifd_compression = true;
    p->has_multifd_zlib_level = p->has_multifd_zstd_level = true;
    p->multifd_channels = mig->multi.channels;
    p->multifd_compression = mig->multi.compression;
    p->multifd_zlib_level = (uint8_t)mig->multi.zlib_level;
    p->multifd_zstd_level = mig->multi.zstd_level;
    p->tls_creds = g_strdup("");
    p->tls_hostname = g_strdup("");
    return p;
}
