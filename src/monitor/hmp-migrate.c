/*
 * The human monitor's commands of migrations: migrate, info migrate, with QEMU's output as far as
 * there is something to tell.
 */
#include "monitor/hmp-migrate.h"

#include "migration/migration.h"
#include "monitor/hmp-priv.h"
#include "monitor/monitor-priv.h"
#include "qapi-commands.h"
#include "qapi-visit.h"
#include "qapi/params.h"
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

void hmp_migrate(struct machine *m, const char *args, GString *out)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *uri = NULL;

    if (g_str_has_prefix(args, "-d ")) {
        args += 3;
    }
    uri = g_strstrip(g_strdup(args));
    if (g_str_has_prefix(uri, "fd:")) {
        g_string_append(out, "Error: fd: takes a descriptor that a QMP client has passed\n");
    } else if (!migration_start(m, uri, -1, &error)) {
        g_string_append_printf(out, "Error: %s\n", error->message);
    }
}

static void put_times(const struct migration_info *info, GString *out)
{
    g_string_append_printf(out, "total time: %" PRId64 " ms\n", info->total_time);
    if (info->has_expected_downtime) {
        g_string_append_printf(out, "expected downtime: %" PRId64 " ms\n", info->expected_downtime);
    }
    if (info->has_downtime) {
        g_string_append_printf(out, "downtime: %" PRId64 " ms\n", info->downtime);
    }
    if (info->has_setup_time) {
        g_string_append_printf(out, "setup: %" PRId64 " ms\n", info->setup_time);
    }
}

static void put_ram(const struct migration_stats *ram, GString *out)
{
    g_string_append_printf(out, "transferred ram: %" PRId64 " kbytes\n", ram->transferred >> 10);
    g_string_append_printf(out, "throughput: %0.2f mbps\n", ram->mbps);
    g_string_append_printf(out, "remaining ram: %" PRId64 " kbytes\n", ram->remaining >> 10);
    g_string_append_printf(out, "total ram: %" PRId64 " kbytes\n", ram->total >> 10);
    g_string_append_printf(out, "duplicate: %" PRId64 " pages\n", ram->duplicate);
    g_string_append_printf(out, "skipped: %" PRId64 " pages\n", ram->skipped);
    g_string_append_printf(out, "normal: %" PRId64 " pages\n", ram->normal);
    g_string_append_printf(out, "normal bytes: %" PRId64 " kbytes\n", ram->normal_bytes >> 10);
    g_string_append_printf(out, "dirty sync count: %" PRId64 "\n", ram->dirty_sync_count);
    g_string_append_printf(out, "page size: %" PRId64 " kbytes\n", ram->page_size >> 10);
}

void hmp_info_migrate(struct machine *m, GString *out)
{
    struct migration_info *info = migration_query(m);

    if (info->has_status) {
        g_string_append_printf(out, "Migration status: %s", migration_status_str(info->status));
        if (info->error_desc) {
            g_string_append_printf(out, " (%s)", info->error_desc);
        }
        g_string_append(out, "\n");
    }
    if (info->has_total_time) {
        put_times(info, out);
    }
    if (info->ram) {
        put_ram(info->ram, out);
    }
    migration_info_free(info);
}

/* ---- parameters and capabilities */

static void info_capabilities(struct hmp *h, const struct hmp_command *command, const char *args)
{
    struct qmp_call call = {.machine = h->m};
    struct migration_capability_status_list *list = qmp_query_migrate_capabilities(&call, NULL);

    for (size_t i = 0; list && i < list->n; i++) {
        hmp_print(h, "%s: %s\n", migration_capability_str(list->v[i]->capability),
                  list->v[i]->state ? "on" : "off");
    }
    migration_capability_status_list_free(list);
}

static void info_parameters(struct hmp *h, const struct hmp_command *command, const char *args)
{
    struct qmp_call call = {.machine = h->m};
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

/* NAME VALUE; a bandwidth has a suffix, or is in MiB. */
static void run_set_parameter(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autofree char *name = hmp_needed_word(h, command, &args, "string");
    g_autofree char *value = name ? hmp_needed_word(h, command, &args, "string") : NULL;
    struct qmp_call call = {.machine = h->m};
    struct migrate_set_parameters *p = NULL;
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    uint64_t bytes;

    if (!value || !hmp_end(h, command, args)) {
        return;
    }
    if (strcmp(name, "max-bandwidth") == 0 && parse_size(value, 'M', &bytes)) {
        g_free(value);
        value = g_strdup_printf("%" PRIu64, bytes);
    }
    text = strchr(value, ',') || strchr(name, '=') ? NULL : g_strdup_printf("%s=%s", name, value);
    p = text ? migrate_set_parameters_from_keyval(text, NULL, &error) : NULL;
    if (p) {
        qmp_migrate_set_parameters(&call, p, &error);
    } else if (!error) {
        hmp_print(h, "Error: invalid parameter value: %s\n", strchr(name, '=') ? name : value);
    }
    migrate_set_parameters_free(p);
    hmp_print_error(h, error);
}

static void run_set_capability(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autofree char *name = hmp_needed_word(h, command, &args, "string");
    g_autofree char *value = name ? hmp_needed_word(h, command, &args, "string") : NULL;
    struct json_object *one, *list, *object;
    enum migration_capability capability;
    bool on = g_strcmp0(value, "on") == 0;

    if (!value || !hmp_end(h, command, args)) {
        return;
    }
    if (!on && strcmp(value, "off") != 0) {
        hmp_print(h, "%s: expected 'on' or 'off'\n", command->name);
        hmp_print_try_help(h, command);
        return;
    }
    if (!migration_capability_parse(name, &capability)) {
        hmp_print(h, "Error: invalid parameter value: %s\n", name);
        return;
    }
    one = json_object_new_object();
    json_object_object_add(one, "capability", json_object_new_string(name));
    json_object_object_add(one, "state", json_object_new_boolean(on));
    list = json_object_new_array();
    json_object_array_add(list, one);
    object = json_object_new_object();
    json_object_object_add(object, "capabilities", list);
    g_free(hmp_qmp(h, "migrate-set-capabilities", object));
}

const struct hmp_command hmp_migrate_commands[] = {
    {"info migrate_capabilities", NULL, "", "what migrations may do", false, info_capabilities},
    {"info migrate_parameters", NULL, "", "how they do it", false, info_parameters},
    {"migrate_continue", NULL, "state", "go on from a pause before the switchover", true,
     hmp_run_qmp, "migrate-continue", "state:s"},
    {"migrate_incoming", NULL, "uri", "wait for a guest there, after -incoming defer", true,
     hmp_run_qmp, "migrate-incoming", "uri:s"},
    {"migrate_set_capability", NULL, "capability on|off", "allow migrations something", true,
     run_set_capability},
    {"migrate_set_parameter", NULL, "parameter value", "set how migrations are done", true,
     run_set_parameter},
    {0}};
