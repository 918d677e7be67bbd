/* -gdb and the human monitor's gdbserver: devices as QEMU takes them. */
#include "monitor/gdbserver.h"

#include "machine/debugger.h"
#include "monitor/hmp.h"
#include <string.h>

#define GDBSERVER_ERROR (g_quark_from_static_string("gdbserver-error"))

/* A TCP port listens, and nothing waits for gdb to come. */
static struct chardev *chardev_make(struct machine *m, const char *device, GError **error)
{
    bool tcp = g_str_has_prefix(device, "tcp:");
    g_autofree char *spec =
        g_strconcat(device, tcp ? ",wait=off,nodelay=on,server=on" : NULL, NULL);

    return chardev_new("gdb", spec, m->loop, error);
}

bool gdbserver_open(struct machine *m, const char *device, GError **error)
{
    bool shared = g_str_has_prefix(device, "chardev:");
    struct chardev *chr;

    if (debugger_busy(m)) {
        g_set_error(error, GDBSERVER_ERROR, 0, "gdb cannot close the connection it speaks through");
        return false;
    }
    if (!m->cpus) {
        g_set_error(error, GDBSERVER_ERROR, 0, "machine '%s' has no vCPU", m->board->name);
        return false;
    }
    debugger_close(m);
    if (strcmp(device, "none") == 0) {
        return true;
    }
    chr = shared ? machine_chardev(m, device + strlen("chardev:")) : chardev_make(m, device, error);
    if (!chr) {
        if (shared) {
            g_set_error(error, GDBSERVER_ERROR, 0, "there is no chardev '%s'",
                        device + strlen("chardev:"));
        }
        return false;
    }
    if (!debugger_open(m, chr, !shared, hmp_run_on, error)) {
        if (!shared) {
            chardev_free(chr);
        }
        return false;
    }
    return true;
}
