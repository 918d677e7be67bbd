/*
 * The human monitor's commands. Output and complaints are QEMU's; each line ends with CR LF.
 *
 * Left out: the `i` (disassembly) format of x and xp; and the formats are not remembered from one
 * command to the next: without them it is always /1xw.
 */
#include "monitor/hmp.h"

#include "cpu/x86/mce.h"
#include "cpu/x86/print.h"
#include "machine/cause.h"
#include "migration/migration.h"
#include "monitor/gdbserver.h"
#include "monitor/hmp-block.h"
#include "monitor/hmp-dump.h"
#include "monitor/hmp-migrate.h"
#include "monitor/hmp-net.h"
#include "monitor/hmp-numa.h"
#include "monitor/hmp-priv.h"
#include "monitor/hmp-snapshot.h"
#include "monitor/hmp-ui.h"
#include "monitor/monitor-priv.h"
#include "qapi-commands.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The longest dump of x and xp, in bytes of guest memory. */
#define DUMP_MAX_BYTES (1u << 20)

/* ---- state */

static void info_jit(struct hmp *h, const struct hmp_command *command, const char *args)
{
    struct cpus *cpus = h->m->cpus;
    struct translation_stats s;

    if (!cpus || !cpus->accel->translation_stats || !cpus->accel->translation_stats(cpus, &s)) {
        g_string_append(h->out, "Guest code is not translated\n");
        return;
    }
    const struct {
        const char *what;
        uint64_t n;
    } line[] = {
        {"regions translated", s.units},
        {"instructions in them", s.insns},
        {"bytes of host code", s.code_bytes},
        {"bytes of the cache in use", s.used_bytes},
        {"entered by the interpreter", s.enters},
        {"dispatched to another region", s.dispatches},
        {"direct links made", s.links},
        {"instructions handed to the interpreter", s.handlers},
        {"left for the interpreter", s.leaves},
        {"... because of a request", s.leaves_req},
        {"regions dropped, code changed", s.invalidations},
        {"cache flushes", s.flushes},
        {"places refused", s.refused},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(line); i++) {
        g_string_append_printf(h->out, "%-40s %" G_GUINT64_FORMAT "\n", line[i].what, line[i].n);
    }
    if (s.lockstep) {
        g_string_append_printf(h->out,
                               "Compared with the interpreter: %" G_GUINT64_FORMAT
                               " instructions in %" G_GUINT64_FORMAT " steps, %" G_GUINT64_FORMAT
                               " of them more than once\n",
                               s.lockstep_insns, s.lockstep_steps, s.lockstep_retries);
    }
}

static void info_status(struct hmp *h, const struct hmp_command *command, const char *args)
{
    enum run_state state = runstate_get(h->m->run);

    g_string_append_printf(h->out, "VM status: %s",
                           state == RUN_STATE_RUNNING ? "running" : "paused");
    if (h->m->cpus && atomic_load(&h->m->cpus->one_insn)) {
        g_string_append(h->out, " (single step mode)");
    }
    if (state != RUN_STATE_RUNNING && state != RUN_STATE_PAUSED) {
        g_string_append_printf(h->out, " (%s)", run_state_str(state));
    }
    g_string_append_c(h->out, '\n');
}

static void info_version(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_string_append(h->out, "7.2.0godwit-" GODWIT_VERSION "\n");
}

static void run_stop(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autoptr(GError) error = NULL;

    if (!qmp_state_permits(h->m, "stop", &error)) {
        g_string_append_printf(h->out, "Error: %s\n", error->message);
        return;
    }
    vm_stop(h->m, RUN_STATE_PAUSED);
}

static void run_cont(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autoptr(GError) error = NULL;

    if (!qmp_state_permits(h->m, "cont", &error) || !vm_start(h->m, &error)) {
        g_string_append_printf(h->out, "Error: %s\n", error->message);
    }
}

static void run_quit(struct hmp *h, const struct hmp_command *command, const char *args)
{
    machine_request_shutdown(h->m, SHUTDOWN_CAUSE_HOST_QMP_QUIT, "quit");
}

static void run_reset(struct hmp *h, const struct hmp_command *command, const char *args)
{
    machine_request_reset(h->m, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "system_reset");
}

static void run_powerdown(struct hmp *h, const struct hmp_command *command, const char *args)
{
    machine_request_powerdown(h->m);
}

static void run_wakeup(struct hmp *h, const struct hmp_command *command, const char *args)
{
    struct qmp_call call = {.machine = h->m};
    g_autoptr(GError) error = NULL;

    if (!qmp_system_wakeup(&call, &error)) {
        g_string_append_printf(h->out, "Error: %s\n", error->message);
    }
}

static void run_exit_preconfig(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autoptr(GError) error = NULL;

    if (!machine_exit_preconfig(h->m, &error)) {
        g_string_append_printf(h->out, "Error: %s\n", error->message);
    }
}

static void run_nmi(struct hmp *h, const struct hmp_command *command, const char *args)
{
    struct qmp_call call = {.machine = h->m};
    g_autoptr(GError) error = NULL;

    if (!qmp_inject_nmi(&call, &error)) {
        g_string_append_printf(h->out, "Error: %s\n", error->message);
    }
}

static void run_watchdog_action(struct hmp *h, const struct hmp_command *command, const char *args)
{
    enum watchdog_action action;

    if (!*args) {
        g_string_append(h->out, "watchdog_action: string expected\n");
        hmp_print_try_help(h, command);
    } else if (strchr(args, ' ')) {
        g_string_append(h->out, "watchdog_action: extraneous characters at the end of line\n");
        hmp_print_try_help(h, command);
    } else if (!watchdog_action_parse(args, &action)) {
        g_string_append_printf(h->out, "Error: invalid parameter value: %s\n", args);
    } else {
        machine_actions(h->m)->watchdog = action;
    }
}

static void run_singlestep(struct hmp *h, const struct hmp_command *command, const char *args)
{
    bool off = strcmp(args, "off") == 0;
    g_autoptr(GError) error = NULL;

    if (*args && !off && strcmp(args, "on") != 0) {
        g_string_append_printf(h->out, "unexpected option %s\n", args);
    } else if (h->m->cpus) {
        machine_park_begin(h->m);
        if (!cpus_set_one_insn(h->m->cpus, !off, &error)) {
            g_string_append_printf(h->out, "Error: %s\n", error->message);
        }
        machine_park_end(h->m);
    }
}

/* ---- registers */

static void get_state(struct hmp *h, struct vcpu *vcpu, struct cpu_state *state)
{
    machine_park_begin(h->m);
    vcpu->ops->get(vcpu, state, CPU_PRINT_STATE);
    machine_park_end(h->m);
}

static void print_registers(struct hmp *h, struct vcpu *vcpu)
{
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);

    get_state(h, vcpu, state);
    g_string_append_printf(h->out, "\nCPU#%u\n", vcpu->index);
    cpu_state_print(state, h->out);
}

static void info_registers(struct hmp *h, const struct hmp_command *command, const char *args)
{
    struct vcpu *vcpu = h->vcpu;
    char *end;

    if (!vcpu) {
        g_string_append(h->out, "No CPU available\n");
        return;
    }
    if (strcmp(args, "-a") == 0) {
        for (unsigned i = 0; i < h->m->cpus->n; i++) {
            print_registers(h, h->m->cpus->vcpu[i]);
        }
        return;
    }
    if (*args == '-') {
        g_string_append_printf(h->out, "registers: unsupported option %.2s\n", args);
        hmp_print_try_help(h, command);
        return;
    }
    if (*args) {
        vcpu = machine_vcpu(h->m, g_ascii_strtoll(args, &end, 0));
        if (*end || !vcpu) {
            g_string_append(h->out, "CPU#");
            g_string_append_printf(h->out, "%s not available\n", args);
            return;
        }
    }
    print_registers(h, vcpu);
}

/* ---- memory */

struct format {
    uint64_t count;
    char letter;   /* o d u x c i */
    unsigned size; /* of an item, in bytes */
};

/* "/fmt" at *args. */
static bool parse_format(struct hmp *h, const char **args, struct format *f)
{
    const char *p = *args;

    *f = (struct format){.count = 1, .letter = 'x', .size = 4};
    if (*p != '/') {
        return true;
    }
    p++;
    if (g_ascii_isdigit(*p)) {
        f->count = g_ascii_strtoull(p, (char **)&p, 10);
    }
    for (;; p++) {
        if (*p && strchr("oduxci", *p)) {
            f->letter = *p;
        } else if (*p && strchr("bhwgL", *p)) {
            f->size = *p == 'b' ? 1 : *p == 'h' ? 2 : *p == 'w' ? 4 : 8;
        } else {
            break;
        }
    }
    if (*p && !g_ascii_isspace(*p)) {
        g_string_append_printf(h->out, "invalid char in format: '%c'\n", *p);
        return false;
    }
    *args = p;
    return true;
}

static void print_character(GString *out, unsigned char c)
{
    static const char escaped[] = "'\\\n\r", letters[] = "'\\nr";
    const char *found = c ? strchr(escaped, c) : NULL;

    if (found) {
        g_string_append_printf(out, "'\\%c'", letters[found - escaped]);
    } else if (c >= 32 && c <= 126) {
        g_string_append_printf(out, "'%c'", c);
    } else {
        g_string_append_printf(out, "'\\x%02x'", c);
    }
}

static void print_item(GString *out, const struct format *f, unsigned size, const uint8_t *bytes)
{
    unsigned bits = size * 8;
    uint64_t value = 0;

    memcpy(&value, bytes, size);
    g_string_append_c(out, ' ');
    switch (f->letter) {
    case 'o':
        g_string_append_printf(out, "%#*" PRIo64, (bits + 2) / 3, value);
        break;
    case 'x':
        g_string_append_printf(out, "0x%0*" PRIx64, bits / 4, value);
        break;
    case 'u':
        g_string_append_printf(out, "%*" PRIu64, (bits * 10 + 32) / 33, value);
        break;
    case 'd':
        g_string_append_printf(out, "%*" PRId64, (bits * 10 + 32) / 33, (int64_t)value);
        break;
    default:
        print_character(out, (unsigned char)value);
        break;
    }
}

typedef bool (*read_fn)(struct hmp *, uint64_t addr, void *buf, size_t length);

static bool read_linear(struct hmp *h, uint64_t addr, void *buf, size_t length)
{
    return h->vcpu->ops->read_linear(h->vcpu, addr, buf, length);
}

static bool read_physical(struct hmp *h, uint64_t addr, void *buf, size_t length)
{
    return address_space_read(h->m->mem, addr, buf, length);
}

static void dump(struct hmp *h, const struct format *f, uint64_t addr, read_fn read)
{
    unsigned size = f->letter == 'c' ? 1 : f->size;
    unsigned line_size = f->size == 1 ? 8 : 16;
    uint64_t left = f->count * f->size;
    uint8_t line[16];

    while (left) {
        size_t n = MIN(left, line_size);

        g_string_append_printf(h->out, "%016" PRIx64 ":", addr);
        if (!read(h, addr, line, n)) {
            g_string_append(h->out, " Cannot access memory\n");
            return;
        }
        for (size_t i = 0; i < n; i += size) {
            print_item(h->out, f, size, line + i);
        }
        g_string_append_c(h->out, '\n');
        addr += n;
        left -= n;
    }
}

static bool parse_dump(struct hmp *h, const struct hmp_command *command, const char *args,
                       struct format *f, uint64_t *addr)
{
    if (!parse_format(h, &args, f)) {
        hmp_print_try_help(h, command);
    } else if (hmp_value(h, command, &args, addr) && hmp_end(h, command, args)) {
        if (f->letter != 'i' && f->count <= DUMP_MAX_BYTES / f->size) {
            return true;
        }
        if (f->letter == 'i') {
            hmp_print(h, "disassembly is not available\n");
        } else {
            hmp_print(h, "count is too large: at most %u bytes are shown\n", DUMP_MAX_BYTES);
        }
        hmp_print_try_help(h, command);
    }
    return false;
}

static void run_dump(struct hmp *h, const struct hmp_command *command, const char *args,
                     read_fn read)
{
    struct format f;
    uint64_t addr;

    if (parse_dump(h, command, args, &f, &addr)) {
        machine_park_begin(h->m);
        dump(h, &f, addr, read);
        machine_park_end(h->m);
    }
}

static void run_x(struct hmp *h, const struct hmp_command *command, const char *args)
{
    if (!h->vcpu) {
        g_string_append(h->out, "No CPU available\n");
        return;
    }
    run_dump(h, command, args, read_linear);
}

static void run_xp(struct hmp *h, const struct hmp_command *command, const char *args)
{
    run_dump(h, command, args, read_physical);
}

/* ---- machine checks */

static void run_mce(struct hmp *h, const struct hmp_command *command, const char *args)
{
    bool broadcast = args[0] == '-' && args[1] == 'b' && (!args[2] || g_ascii_isspace(args[2]));
    uint64_t n[6];
    struct mce mce;
    struct vcpu *vcpu;

    args += broadcast ? 2 : 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(n); i++) {
        if (!hmp_value(h, command, &args, &n[i])) {
            return;
        }
    }
    if (!hmp_end(h, command, args)) {
        return;
    }
    mce = (struct mce){(unsigned)MIN(n[1], UINT_MAX), n[2], n[3], n[4], n[5]};
    vcpu = n[0] <= INT_MAX ? machine_vcpu(h->m, (int64_t)n[0]) : NULL;
    if (vcpu) {
        machine_inject_mce(h->m, vcpu, &mce, broadcast, h->out);
    }
}

/* ---- the debugger */

static void run_gdbserver(struct hmp *h, const struct hmp_command *command, const char *args)
{
    const char *device = *args ? args : GDBSERVER_DEFAULT;
    g_autoptr(GError) error = NULL;

    if (!gdbserver_open(h->m, device, &error)) {
        g_string_append_printf(h->out, "Could not open gdbserver on device '%s': %s\n", device,
                               error->message);
    } else if (strcmp(device, "none") == 0) {
        g_string_append(h->out, "Disabled gdbserver\n");
    } else {
        g_string_append_printf(h->out, "Waiting for gdb connection on device '%s'\n", device);
    }
}

/* ---- networks */

static void info_network(struct hmp *h, const struct hmp_command *command, const char *args)
{
    net_describe(h->m->net, h->out);
}

static void info_usernet(struct hmp *h, const struct hmp_command *command, const char *args)
{
    net_describe_user(h->m->net, h->out);
}

static void run_netdev_add(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_netdev_add(h->m, args, h->out);
}

static void run_netdev_del(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_netdev_del(h->m, args, h->out);
}

static void run_set_link(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_set_link(h->m, args, h->out);
}

static void run_announce_self(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_announce_self(h->m, args, h->out);
}

static void run_hostfwd_add(struct hmp *h, const struct hmp_command *command, const char *args)
{
    net_hostfwd_add(h->m->net, args, h->out);
}

static void run_hostfwd_remove(struct hmp *h, const struct hmp_command *command, const char *args)
{
    net_hostfwd_remove(h->m->net, args, h->out);
}

/* ---- displays and keys */

static void run_screendump(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_screendump(h->m, args, h->out);
}

static void run_sendkey(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_sendkey(h->m, args, h->out);
}

/* ---- the table */

static void run_help(struct hmp *h, const struct hmp_command *command, const char *args);

/* An entry whose name begins with "info " is found by its second word. */
static void run_dump_memory(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_dump_guest_memory(h->m, args, h->out);
}

static void info_dump(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_info_dump(h->m, h->out);
}

/* The one word there is, without quotes; NULL and a complaint when a word is needed and missing, or
 * there are several. */
static char *take_tag(struct hmp *h, const struct hmp_command *command, const char *args,
                      bool needed)
{
    g_auto(GStrv) word = NULL;

    if (!g_shell_parse_argv(args, NULL, &word, NULL)) {
        word = g_new0(char *, 1);
    }
    if (g_strv_length(word) > 1) {
        g_string_append_printf(h->out, "%s: extraneous characters at the end of line\n",
                               command->name);
    } else if (!word[0] && needed) {
        g_string_append_printf(h->out, "%s: string expected\n", command->name);
    } else {
        return g_strdup(word[0] ? word[0] : "");
    }
    hmp_print_try_help(h, command);
    return NULL;
}

static void run_savevm(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autofree char *tag = take_tag(h, command, args, false);

    if (tag) {
        hmp_savevm(h->m, tag, h->out);
    }
}

static void run_loadvm(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autofree char *tag = take_tag(h, command, args, true);

    if (tag) {
        hmp_loadvm(h->m, tag, h->out);
    }
}

static void run_delvm(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autofree char *tag = take_tag(h, command, args, true);

    if (tag) {
        hmp_delvm(h->m, tag, h->out);
    }
}

static void run_drive_add(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_drive_add(h->m, args, h->out);
}

static void run_drive_del(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_drive_del(h->m, args, h->out);
}

static void info_numa(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_info_numa(h->m, h->out);
}

static void info_snapshots(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_info_snapshots(h->m, h->out);
}

static void run_migrate(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_migrate(h->m, args, h->out);
}

static void run_migrate_cancel(struct hmp *h, const struct hmp_command *command, const char *args)
{
    migration_cancel(h->m);
}

static void info_migrate(struct hmp *h, const struct hmp_command *command, const char *args)
{
    hmp_info_migrate(h->m, h->out);
}

static const struct hmp_command commands[] = {
    {"announce_self", NULL, "[interfaces] [id]", "tell switches where the network cards are", true,
     run_announce_self},
    {"cont", "c", "", "let the guest run", false, run_cont},
    {"delvm", NULL, "tag", "delete a snapshot of the machine", true, run_delvm},
    {"drive_add", NULL, "slot if=none,id=str[,prop=value][,...]", "add a drive", true,
     run_drive_add},
    {"drive_del", NULL, "id", "take a drive away, from its device too", true, run_drive_del},
    {"dump-guest-memory", NULL, "[-p] [-d] [-z|-l|-s|-w] filename [begin length]",
     "write the guest's memory to a file [-p: with linear addresses, -d: in the background, "
     "-z, -l, -s, -w: compressed by zlib, lzo or snappy, or as Windows has it]",
     true, run_dump_memory},
    {"gdbserver", NULL, "[device]",
     "open the machine to gdb on a device (tcp::1234), or with 'none' to nobody", true,
     run_gdbserver},
    {"exit_preconfig", NULL, "", "end what --preconfig began", false, run_exit_preconfig},
    {"help", "?", "[cmd]", "list the commands, or tell about one", true, run_help},
    {"info dump", NULL, "", "how far the last dump is", false, info_dump},
    {"hostfwd_add", NULL, "[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
     "hand connections to the host to the guest", true, run_hostfwd_add},
    {"hostfwd_remove", NULL, "[netdev_id] [tcp|udp]:[hostaddr]:hostport", "end that", true,
     run_hostfwd_remove},
    {"info jit", NULL, "", "what the translator of guest code has done", false, info_jit},
    {"info migrate", NULL, "", "how a migration stands", false, info_migrate},
    {"info network", NULL, "", "network cards and their back ends", false, info_network},
    {"info numa", NULL, "", "NUMA nodes: their CPUs and memory", false, info_numa},
    {"info registers", NULL, "[-a|vcpu]", "registers of this vCPU, of all, or of one", true,
     info_registers},
    {"info snapshots", NULL, "", "what snapshots of the machine the disks keep", false,
     info_snapshots},
    {"info status", NULL, "", "whether the guest runs, or why it does not", false, info_status},
    {"info usernet", NULL, "", "connections of user networks", false, info_usernet},
    {"info version", NULL, "", "the program's version", false, info_version},
    {"loadvm", NULL, "tag", "go back to a snapshot of the machine", true, run_loadvm},
    {"migrate", NULL, "[-d] uri", "have the guest go to another machine, or into a file", true,
     run_migrate},
    {"migrate_cancel", NULL, "", "cancel that", false, run_migrate_cancel},
    {"mce", NULL, "[-b] cpu bank status mcgstatus addr misc",
     "inject a machine check into a vCPU [-b: and tell all the others]", true, run_mce},
    {"netdev_add", NULL, "type,id=str[,prop=value][,...]", "add a network back end", true,
     run_netdev_add},
    {"netdev_del", NULL, "id", "remove a network back end", true, run_netdev_del},
    {"nmi", NULL, "", "press the NMI button", false, run_nmi},
    {"quit", "q", "", "end the program", false, run_quit},
    {"savevm", NULL, "[tag]", "keep the machine as it is in a snapshot", true, run_savevm},
    {"screendump", NULL, "filename [-f format] [device [head]]",
     "write what the display shows into a PPM or PNG file", true, run_screendump},
    {"sendkey", NULL, "keys [hold_ms]", "press keys together, as ctrl-alt-f1, 100 ms each", true,
     run_sendkey},
    {"set_link", NULL, "name on|off", "plug a network cable in, or pull it", true, run_set_link},
    {"singlestep", NULL, "[on|off]",
     "have the software CPU execute one instruction at a time, or no longer", true, run_singlestep},
    {"stop", "s", "", "pause the guest", false, run_stop},
    {"system_powerdown", NULL, "", "press the power button", false, run_powerdown},
    {"system_reset", NULL, "", "reset the machine", false, run_reset},
    {"system_wakeup", NULL, "", "wake the machine from suspend to RAM", false, run_wakeup},
    {"watchdog_action", NULL, "action",
     "what a watchdog does [reset|shutdown|poweroff|pause|debug|none|inject-nmi]", true,
     run_watchdog_action},
    {"x", NULL, "/fmt addr", "show memory at a virtual address", true, run_x},
    {"xp", NULL, "/fmt addr", "show memory at a physical address", true, run_xp},
    {0}};

static const struct hmp_command *const tables[] = {
    commands,          hmp_device_commands, hmp_drive_commands,  hmp_cpu_commands,
    hmp_info_commands, hmp_memory_commands, hmp_migrate_commands};

static void print_help(struct hmp *h, const struct hmp_command *command)
{
    g_string_append(h->out, command->name);
    if (command->alias) {
        g_string_append_printf(h->out, "|%s", command->alias);
    }
    g_string_append_printf(h->out, " %s -- %s\n", command->params, command->help);
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    const struct hmp_command *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

/* The commands whose names begin so, by name. */
static void print_helps(struct hmp *h, const char *prefix)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (unsigned t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const struct hmp_command *c = tables[t]; c->name; c++) {
            if (g_str_has_prefix(c->name, prefix)) {
                g_ptr_array_add(all, (gpointer)c);
            }
        }
    }
    g_ptr_array_sort(all, compare_names);
    for (guint i = 0; i < all->len; i++) {
        print_help(h, all->pdata[i]);
    }
}

/* The command at *line, which is moved behind its name; NULL with *name when there is none. A '/'
 * may follow the name at once. */
static const struct hmp_command *find_command(const char **line, char **name)
{
    const char *start = *line, *p = start;

    while (*p && !g_ascii_isspace(*p) && *p != '/') {
        p++;
    }
    *name = g_strndup(start, (gsize)(p - start));
    while (g_ascii_isspace(*p)) {
        p++;
    }
    *line = p;
    if (strcmp(*name, "info") == 0 && *p) {
        g_autofree char *item = NULL;

        g_free(g_steal_pointer(name));
        p = *line;
        while (*p && !g_ascii_isspace(*p)) {
            p++;
        }
        item = g_strndup(*line, (gsize)(p - *line));
        *name = g_strdup_printf("info %s", item);
        while (g_ascii_isspace(*p)) {
            p++;
        }
        *line = p;
    }
    for (unsigned t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const struct hmp_command *c = tables[t]; c->name; c++) {
            if (strcmp(c->name, *name) == 0 || g_strcmp0(c->alias, *name) == 0) {
                return c;
            }
        }
    }
    return NULL;
}

static void run_help(struct hmp *h, const struct hmp_command *command, const char *args)
{
    g_autofree char *name = NULL;
    const struct hmp_command *about;

    if (!*args) {
        print_helps(h, "");
        return;
    }
    if (strcmp(args, "info") == 0) {
        print_helps(h, "info ");
        return;
    }
    about = find_command(&args, &name);
    if (about) {
        print_help(h, about);
    } else {
        g_string_append_printf(h->out, "unknown command: '%s'\n", name);
    }
}

/* Before the machine may be touched (--preconfig). */
static bool in_preconfig(const struct hmp_command *command)
{
    return command->run == run_exit_preconfig || command->run == run_help ||
           command->run == run_quit || command->run == info_status || command->run == info_version;
}

static void run_line(struct hmp *h, const char *line)
{
    g_autofree char *name = NULL;
    const struct hmp_command *command = find_command(&line, &name);
    struct cause_scope scope;
    const char *word;

    if (!command) {
        if (strcmp(name, "info") == 0) {
            print_helps(h, "info ");
        } else if (*name) {
            g_string_append_printf(h->out, "unknown command: '%s'\n", name);
        }
        return;
    }
    if (h->m->preconfig && !in_preconfig(command)) {
        g_string_append_printf(
            h->out, "Command '%s' not available until machine initialization has completed.\n",
            command->name);
        return;
    }
    if (*line && !command->takes_args) {
        word = strrchr(command->name, ' ');
        g_string_append_printf(h->out, "%s%s%s: extraneous characters at the end of line\n",
                               word ? word + 1 : command->name, command->alias ? "|" : "",
                               command->alias ? command->alias : "");
        hmp_print_try_help(h, command);
        return;
    }
    cause_enter(h->m, &scope, cause_now_named(h->m, GODWIT_CAUSE_WHO_USER, command->name));
    command->run(h, command, line);
    cause_leave(h->m, &scope);
}

static char *run_and_answer(struct hmp *h, const char *line)
{
    g_autofree char *text = g_strstrip(g_strdup(line));

    h->out = g_string_new(NULL);
    run_line(h, text);
    g_string_replace(h->out, "\n", "\r\n", 0);
    return g_string_free(h->out, FALSE);
}

char *hmp_run_on(struct machine *m, struct vcpu *vcpu, const char *line)
{
    struct hmp h = {.m = m, .vcpu = vcpu};

    return run_and_answer(&h, line);
}

char *hmp_run(struct machine *m, unsigned *cpu, const char *line)
{
    struct vcpu *chosen = machine_vcpu(m, *cpu); /* it may have been taken out since */
    struct hmp h = {.m = m, .vcpu = chosen ? chosen : machine_vcpu(m, 0)};
    char *answer = run_and_answer(&h, line);

    *cpu = h.vcpu ? h.vcpu->index : 0;
    return answer;
}
