/*
 * The human monitor's commands of migrations, with QEMU's output as far as there is something to
 * tell. A migration goes on in the background, with -d or without.
 */
#include "monitor/hmp-priv.h"

#include "migration/migration.h"
#include "monitor/monitor-priv.h"
#include "qapi-commands.h"
#include "qapi-visit.h"
#include "qapi/params.h"
#include <inttypes.h>
#include <string.h>

static void print_times(struct hmp *h, const struct migration_info *info)
{
    hmp_print(h, "total time: %" PRId64 " ms\n", info->total_time);
    if (info->has_expected_downtime) {
        hmp_print(h, "expected downtime: %" PRId64 " ms\n", info->expected_downtime);
    }
    if (info->has_downtime) {
        hmp_print(h, "downtime: %" PRId64 " ms\n", info->downtime);
    }
    if (info->has_setup_time) {
        hmp_print(h, "setup: %" PRId64 " ms\n", info->setup_time);
    }
}

static void print_ram(struct hmp *h, const struct migration_stats *ram)
{
    hmp_print(h, "transferred ram: %" PRId64 " kbytes\n", ram->transferred >> 10);
    hmp_print(h, "throughput: %0.2f mbps\n", ram->mbps);
    hmp_print(h, "remaining ram: %" PRId64 " kbytes\n", ram->remaining >> 10);
    hmp_print(h, "total ram: %" PRId64 " kbytes\n", ram->total >> 10);
    hmp_print(h, "duplicate: %" PRId64 " pages\n", ram->duplicate);
    hmp_print(h, "skipped: %" PRId64 " pages\n", ram->skipped);
    hmp_print(h, "normal: %" PRId64 " pages\n", ram->normal);
    hmp_print(h, "normal bytes: %" PRId64 " kbytes\n", ram->normal_bytes >> 10);
    hmp_print(h, "dirty sync count: %" PRId64 "\n", ram->dirty_sync_count);
    hmp_print(h, "page size: %" PRId64 " kbytes\n", ram->page_size >> 10);
}

static void info_migrate(struct hmp *h, struct json_object *args)
{
    struct migration_info *info = migration_query(h->m);

    if (info->has_status) {
        hmp_print(h, "Migration status: %s", migration_status_str(info->status));
        if (info->error_desc) {
            hmp_print(h, " (%s)", info->error_desc);
        }
        hmp_print(h, "\n");
    }
    if (info->has_total_time) {
        print_times(h, info);
    }
    if (info->ram) {
        print_ram(h, info->ram);
    }
    migration_info_free(info);
}

/* ---- parameters and capabilities */

static void info_capabilities(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    struct migration_capability_status_list *list = qmp_query_migrate_capabilities(&call, NULL);

    for (size_t i = 0; list && i < list->n; i++) {
        hmp_print(h, "%s: %s\n", migration_capability_str(list->v[i]->capability),
                  list->v[i]->state ? "on" : "off");
    }
    migration_capability_status_list_free(list);
}

static void info_parameters(struct hmp *h, struct json_object *args)
{
    struct qmp_call call = hmp_call(h);
    struct migration_parameters *p = qmp_query_migrate_parameters(&call, NULL);
    const struct {
        const char *name, *unit;
        bool has;
        uint64_t value;
    } numbers[] = {
        {"announce-initial", " ms", p->has_announce_initial, p->announce_initial},
        {"announce-max", " ms", p->has_announce_max, p->announce_max},
        {"announce-rounds", "", p->has_announce_rounds, p->announce_rounds},
        {"announce-step", " ms", p->has_announce_step, p->announce_step},
        {"throttle-trigger-threshold", "", p->has_throttle_trigger_threshold,
         p->throttle_trigger_threshold},
        {"cpu-throttle-initial", "", p->has_cpu_throttle_initial, p->cpu_throttle_initial},
        {"cpu-throttle-increment", "", p->has_cpu_throttle_increment, p->cpu_throttle_increment},
        {"max-cpu-throttle", "", p->has_max_cpu_throttle, p->max_cpu_throttle},
        {"max-bandwidth", " bytes/second", p->has_max_bandwidth, p->max_bandwidth},
        {"downtime-limit", " ms", p->has_downtime_limit, p->downtime_limit},
        {"multifd-channels", "", p->has_multifd_channels, p->multifd_channels},
        {"multifd-zstd-level", "", p->has_multifd_zstd_level, p->multifd_zstd_level},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        if (numbers[i].has) {
            hmp_print(h, "%s: %" PRIu64 "%s\n", numbers[i].name, numbers[i].value, numbers[i].unit);
        }
    }
    if (p->has_multifd_compression) {
        hmp_print(h, "multifd-compression: %s\n", multi_fd_compression_str(p->multifd_compression));
    }
    migration_parameters_free(p);
}

/* A bandwidth has a suffix, or is in MiB. */
static void run_set_parameter(struct hmp *h, struct json_object *args)
{
    const char *name = hmp_string(args, "parameter"), *given = hmp_string(args, "value");
    struct qmp_call call = hmp_call(h);
    struct migrate_set_parameters *p = NULL;
    g_autofree char *value = NULL, *text = NULL;
    g_autoptr(GError) error = NULL;
    uint64_t bytes;

    if (strchr(name, '=') || strchr(given, ',')) {
        hmp_print(h, "Error: invalid parameter value: %s\n", strchr(name, '=') ? name : given);
        return;
    }
    if (strcmp(name, "max-bandwidth") == 0 && parse_size(given, 'M', &bytes)) {
        value = g_strdup_printf("%" PRIu64, bytes);
    }
    text = g_strdup_printf("%s=%s", name, value ? value : given);
    p = migrate_set_parameters_from_keyval(text, NULL, &error);
    if (p) {
        qmp_migrate_set_parameters(&call, p, &error);
    }
    migrate_set_parameters_free(p);
    hmp_print_error(h, error);
}

static void run_set_capability(struct hmp *h, struct json_object *args)
{
    struct migration_capability_status status = {.state = hmp_flag(args, "state")}, *one = &status;
    struct migration_capability_status_list list = {.n = 1, .v = &one};
    const struct qmp_migrate_set_capabilities_arg arg = {.capabilities = &list};
    const char *name = hmp_string(args, "capability");
    struct qmp_call call = hmp_call(h);
    g_autoptr(GError) error = NULL;

    if (migration_capability_parse(name, &status.capability)) {
        qmp_migrate_set_capabilities(&call, &arg, &error);
        hmp_print_error(h, error);
    } else {
        hmp_print(h, "Error: invalid parameter value: %s\n", name);
    }
}

const struct hmp_command hmp_migrate_commands[] = {
    {"info migrate", NULL, "", "how a migration stands", .run = info_migrate},
    {"info migrate_capabilities", NULL, "", "what migrations may do", .run = info_capabilities},
    {"info migrate_parameters", NULL, "", "how they do it", .run = info_parameters},
    {"migrate", NULL, "[-d] [-r] uri",
     "have the guest go to another machine, or into a file [-r: go on with one that has paused]",
     "detach:-d resume:-r uri:s", "migrate"},
    {"migrate_cancel", NULL, "", "cancel that", NULL, "migrate_cancel"},
    {"migrate_continue", NULL, "state", "go on from a pause before the switchover", "state:s",
     "migrate-continue"},
    {"migrate_incoming", NULL, "uri", "wait for a guest there, after -incoming defer", "uri:s",
     "migrate-incoming"},
    {"migrate_set_capability", NULL, "capability on|off", "allow migrations something",
     "capability:s state:b", .run = run_set_capability},
    {"migrate_set_parameter", NULL, "parameter value", "set how migrations are done",
     "parameter:s value:s", .run = run_set_parameter},
    {0}};
