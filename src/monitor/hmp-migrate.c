/*
 * The human monitor's commands of migrations: migrate, info migrate, with QEMU's output as far as
 * there is something to tell.
 */
#include "monitor/hmp-migrate.h"

#include "migration/migration.h"
#include "qapi-types.h"
#include <inttypes.h>
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
