/* The human monitor's commands about the machine as a whole: whether it runs, its buttons. */
#include "monitor/hmp-priv.h"

#include "monitor/gdbserver.h"
#include "monitor/monitor-priv.h"
#include <string.h>

static void info_status(struct hmp *h, struct json_object *args)
{
    enum run_state state = runstate_get(h->m->run);

    hmp_print(h, "VM status: %s", state == RUN_STATE_RUNNING ? "running" : "paused");
    if (h->m->cpus && atomic_load(&h->m->cpus->one_insn)) {
        hmp_print(h, " (single step mode)");
    }
    if (state != RUN_STATE_RUNNING && state != RUN_STATE_PAUSED) {
        hmp_print(h, " (%s)", run_state_str(state));
    }
    hmp_print(h, "\n");
}

static void info_version(struct hmp *h, struct json_object *args)
{
    hmp_print(h, "7.2.0godwit-" GODWIT_VERSION "\n");
}

static void run_watchdog_action(struct hmp *h, struct json_object *args)
{
    const char *text = hmp_string(args, "action");
    enum watchdog_action action;

    if (watchdog_action_parse(text, &action)) {
        machine_actions(h->m)->watchdog = action;
    } else {
        hmp_print(h, "Error: invalid parameter value: %s\n", text);
    }
}

static void run_gdbserver(struct hmp *h, struct json_object *args)
{
    const char *given = hmp_string(args, "device"), *device = given ? given : GDBSERVER_DEFAULT;
    g_autoptr(GError) error = NULL;

    if (!gdbserver_open(h->m, device, &error)) {
        hmp_print(h, "Could not open gdbserver on device '%s': %s\n", device, error->message);
    } else if (strcmp(device, "none") == 0) {
        hmp_print(h, "Disabled gdbserver\n");
    } else {
        hmp_print(h, "Waiting for gdb connection on device '%s'\n", device);
    }
}

const struct hmp_command hmp_machine_commands[] = {
    {"cont", "c", "", "let the guest run", NULL, "cont"},
    {"exit_preconfig", NULL, "", "end what --preconfig began", NULL, "x-exit-preconfig",
     .preconfig = true},
    {"gdbserver", NULL, "[device]",
     "open the machine to gdb on a device (tcp::1234), or with 'none' to nobody", "device:s?",
     .run = run_gdbserver},
    {"info status", NULL, "", "whether the guest runs, or why it does not", .run = info_status,
     .preconfig = true},
    {"info version", NULL, "", "the program's version", .run = info_version, .preconfig = true},
    {"nmi", NULL, "", "press the NMI button", NULL, "inject-nmi"},
    {"quit", "q", "", "end the program", NULL, "quit", .preconfig = true},
    {"stop", "s", "", "pause the guest", NULL, "stop"},
    {"system_powerdown", NULL, "", "press the power button", NULL, "system_powerdown"},
    {"system_reset", NULL, "", "reset the machine", NULL, "system_reset"},
    {"system_wakeup", NULL, "", "wake the machine from suspend to RAM", NULL, "system_wakeup"},
    {"watchdog_action", NULL, "action",
     "what a watchdog does [reset|shutdown|poweroff|pause|debug|none|inject-nmi]", "action:s",
     .run = run_watchdog_action},
    {0}};
