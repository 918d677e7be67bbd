/*
 * The empty machine: no memory, no devices, no vCPUs. Management tools start it to ask a monitor
 * what this program can do.
 */
#include "machine/x86/boards.h"

static bool none_init(struct machine *m, GError **error)
{
    if (m->config->kernel || m->config->firmware) {
        g_set_error(error, MACHINE_ERROR, 0, "machine 'none' can't start anything: no %s",
                    m->config->kernel ? "-kernel" : "-bios");
        return false;
    }
    if (m->config->fw_files->len) {
        g_set_error(error, MACHINE_ERROR, 0, "machine 'none' has no fw_cfg for -fw_cfg's files");
        return false;
    }
    return machine_choose_accel(m, error);
}

const struct board board_none = {
    .name = "none",
    .desc = "empty machine",
    .max_cpus = 1,
    .init = none_init,
};
