/*
 * The option table: parsing, and -help, which is printed from it.
 */
#include "cli/options-priv.h"

#include "machine/cpu-hotplug.h"

#include <stdio.h>
#include <string.h>

static void option_text_free(gpointer data)
{
    struct option_text *t = data;
    g_free(t->given);
    g_free(t->text);
    g_free(t);
}

static void monitor_option_free(gpointer data)
{
    struct monitor_option *m = data;
    g_free(m->spec);
    g_free(m->given);
    g_free(m);
}

void option_text_add(GPtrArray *list, const char *option, const char *arg)
{
    struct option_text *t = g_new0(struct option_text, 1);

    t->given = g_strdup_printf("-%s %s", option, arg);
    t->text = g_strdup(arg);
    g_ptr_array_add(list, t);
}

static void replace(char **field, const char *value)
{
    g_free(*field);
    *field = g_strdup(value);
}

/* ---------------------------------------------------------------- single options */

static bool opt_kernel(struct options *o, const char *arg, GError **error)
{
    replace(&o->config->kernel, arg);
    return true;
}

static bool opt_initrd(struct options *o, const char *arg, GError **error)
{
    replace(&o->config->initrd, arg);
    return true;
}

static bool opt_append(struct options *o, const char *arg, GError **error)
{
    replace(&o->config->append, arg);
    return true;
}

static bool opt_bios(struct options *o, const char *arg, GError **error)
{
    replace(&o->config->firmware, arg);
    return true;
}

static bool opt_preconfig(struct options *o, const char *arg, GError **error)
{
    o->config->preconfig = true;
    return true;
}

static bool opt_incoming(struct options *o, const char *arg, GError **error)
{
    replace(&o->incoming, arg);
    o->config->incoming = true;
    return true;
}

static bool opt_start_paused(struct options *o, const char *arg, GError **error)
{
    o->config->start_paused = true;
    return true;
}

static bool opt_nographic(struct options *o, const char *arg, GError **error)
{
    o->nographic = true;
    o->config->nographic = true;
    return true;
}

static bool opt_display(struct options *o, const char *arg, GError **error)
{
    if (strcmp(arg, "none") != 0) {
        g_set_error(error, CLI_ERROR, 0, "there is no display '%s', only 'none'", arg);
        return false;
    }
    o->no_display = true;
    return true;
}

static bool opt_nodefaults(struct options *o, const char *arg, GError **error)
{
    o->no_defaults = true;
    return true;
}

static bool opt_no_user_config(struct options *o, const char *arg, GError **error)
{
    return true; /* there is no user configuration to read */
}

static bool opt_serial(struct options *o, const char *arg, GError **error)
{
    option_text_add(o->serials, "serial", arg);
    return true;
}

static bool opt_debugcon(struct options *o, const char *arg, GError **error)
{
    option_text_add(o->debugcons, "debugcon", arg);
    return true;
}

static bool opt_monitor(struct options *o, const char *arg, GError **error)
{
    replace(&o->human_monitor, arg);
    return true;
}

static bool opt_blockdev(struct options *o, const char *arg, GError **error)
{
    option_text_add(o->blockdevs, "blockdev", arg);
    return true;
}

static bool opt_drive(struct options *o, const char *arg, GError **error)
{
    option_text_add(o->drives, "drive", arg);
    return true;
}

/* A file name as a value: its commas are doubled. */
static void add_disk(struct options *o, const char *option, const char *file, unsigned index,
                     const char *media)
{
    g_auto(GStrv) part = g_strsplit(file, ",", -1);
    g_autofree char *escaped = g_strjoinv(",,", part);
    g_autofree char *text =
        g_strdup_printf("file=%s,if=ide,index=%u,media=%s", escaped, index, media);

    option_text_add(o->drives, option, text);
}

static bool opt_pflash(struct options *o, const char *arg, GError **error)
{
    g_auto(GStrv) part = g_strsplit(arg, ",", -1);
    g_autofree char *escaped = g_strjoinv(",,", part);
    g_autofree char *text = g_strdup_printf("file=%s,if=pflash", escaped);

    option_text_add(o->drives, "pflash", text);
    return true;
}

static bool opt_parallel(struct options *o, const char *arg, GError **error)
{
    if (strcmp(arg, "none") != 0) {
        g_set_error(error, CLI_ERROR, 0, "there is no parallel port: only 'none' is possible");
        return false;
    }
    return true;
}

static bool opt_snapshot(struct options *o, const char *arg, GError **error)
{
    o->snapshot_drives = true;
    return true;
}

static bool opt_cdrom(struct options *o, const char *arg, GError **error)
{
    add_disk(o, "cdrom", arg, 2, "cdrom");
    return true;
}

static bool opt_hda(struct options *o, const char *arg, GError **error)
{
    add_disk(o, "hda", arg, 0, "disk");
    return true;
}

static bool opt_hdb(struct options *o, const char *arg, GError **error)
{
    add_disk(o, "hdb", arg, 1, "disk");
    return true;
}

static bool opt_hdc(struct options *o, const char *arg, GError **error)
{
    add_disk(o, "hdc", arg, 2, "disk");
    return true;
}

static bool opt_hdd(struct options *o, const char *arg, GError **error)
{
    add_disk(o, "hdd", arg, 3, "disk");
    return true;
}

static bool opt_chardev(struct options *o, const char *arg, GError **error)
{
    option_text_add(o->chardevs, "chardev", arg);
    return true;
}

/* text NULL: not given. */
static bool parse_role(const char *text, enum godwit_role *role, GError **error)
{
    if (text && !godwit_role_parse(text, role)) {
        g_set_error(error, CLI_ERROR, 0, "there is no role '%s', only observer, operator and admin",
                    text);
        return false;
    }
    return true;
}

/* Takes role=... out of a socket's or chardev's text; NULL and *error for a wrong one. */
static char *take_role(const char *arg, enum godwit_role *role, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(arg, ",", -1);
    unsigned kept = 0;
    char *rest;

    for (unsigned i = 0; parts[i]; i++) {
        if (i > 0 && g_str_has_prefix(parts[i], "role=")) {
            if (!parse_role(parts[i] + strlen("role="), role, error)) {
                return NULL;
            }
            g_free(parts[i]);
        } else {
            parts[kept++] = parts[i];
        }
    }
    parts[kept] = NULL;
    rest = g_strjoinv(",", parts);
    return rest;
}

static bool add_qmp(struct options *o, const char *arg, bool pretty, GError **error)
{
    struct monitor_option *m;
    g_autofree char *spec = NULL;
    enum godwit_role role = GODWIT_ROLE_ADMIN;

    if (strcmp(arg, "none") == 0) {
        return true;
    }
    spec = take_role(arg, &role, error);
    if (!spec) {
        return false;
    }
    m = g_new0(struct monitor_option, 1);
    m->control = true;
    m->style = (struct monitor_style){.pretty = pretty, .role = role};
    m->given = g_strdup_printf("-%s %s", pretty ? "qmp-pretty" : "qmp", arg);
    if (strcmp(spec, "stdio") == 0) {
        m->kind = MONITOR_STDIO;
    } else if (g_str_has_prefix(spec, "chardev:")) {
        m->kind = MONITOR_CHARDEV;
        m->spec = g_strdup(spec + strlen("chardev:"));
    } else {
        struct sock_address address;
        m->kind = MONITOR_SOCKET;
        m->spec = g_strdup(spec);
        if (!sock_address_parse(spec, &address, error)) {
            monitor_option_free(m);
            return false;
        }
        sock_address_clear(&address);
    }
    g_ptr_array_add(o->monitors, m);
    return true;
}

static bool opt_qmp(struct options *o, const char *arg, GError **error)
{
    return add_qmp(o, arg, false, error);
}

static bool opt_qmp_pretty(struct options *o, const char *arg, GError **error)
{
    return add_qmp(o, arg, true, error);
}

static bool opt_mon(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, "chardev", error);
    if (!p) {
        return false;
    }
    const char *chardev = params_take(p, "chardev"), *mode = params_take(p, "mode");
    const char *role = params_take(p, "role");
    struct monitor_style style = {.role = GODWIT_ROLE_ADMIN};
    bool ok = true;

    params_take(p, "id");
    if (!chardev) {
        g_set_error(error, CLI_ERROR, 0, "parameter 'chardev' is missing");
        ok = false;
    } else if (mode && strcmp(mode, "control") != 0 && strcmp(mode, "readline") != 0) {
        g_set_error(error, CLI_ERROR, 0, "there is no mode '%s', only control and readline", mode);
        ok = false;
    }
    if (ok && role && !(mode && strcmp(mode, "control") == 0)) {
        g_set_error(error, CLI_ERROR, 0, "role=%s is for mode=control only", role);
        ok = false;
    }
    ok = ok && parse_role(role, &style.role, error) &&
         params_take_bool(p, "pretty", &style.pretty, error) && params_end(p, error);
    if (ok) {
        struct monitor_option *m = g_new0(struct monitor_option, 1);
        m->kind = MONITOR_CHARDEV;
        m->spec = g_strdup(chardev);
        m->control = mode && strcmp(mode, "control") == 0;
        m->style = style;
        m->given = g_strdup_printf("-mon %s", arg);
        g_ptr_array_add(o->monitors, m);
    }
    params_free(p);
    return ok;
}

static bool opt_device(struct options *o, const char *arg, GError **error)
{
    if (strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0) {
        help_devices();
        o->action = OPTIONS_DONE;
        return true;
    }
    bool help = g_str_has_suffix(arg, ",help") || g_str_has_suffix(arg, ",?");
    g_autofree char *text = g_strndup(arg, help ? (gsize)(strrchr(arg, ',') - arg) : strlen(arg));
    struct params *p = params_parse(text, "driver", error);
    if (!p) {
        return false;
    }
    const char *driver = params_take(p, "driver");
    const struct device_class *class = driver ? device_class_find(driver) : NULL;
    bool ok = machine_is_cpu_driver(driver) || (class && class->bus != BUS_SYSTEM);

    if (!ok) {
        g_set_error(error, CLI_ERROR, 0, "'%s' is not a valid device model name",
                    driver ? driver : "");
    } else if (help && class) {
        help_device(driver);
        o->action = OPTIONS_DONE;
    } else {
        option_text_add(o->devices, "device", arg);
    }
    params_free(p);
    return ok;
}

static bool opt_netdev(struct options *o, const char *arg, GError **error)
{
    if (strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0) {
        help_netdevs();
        o->action = OPTIONS_DONE;
        return true;
    }
    option_text_add(o->netdevs, "netdev", arg);
    return true;
}

static bool opt_nic(struct options *o, const char *arg, GError **error)
{
    if (strcmp(arg, "none") != 0) {
        option_text_add(o->nics, "nic", arg);
    }
    return true;
}

static bool opt_net(struct options *o, const char *arg, GError **error)
{
    if (strcmp(arg, "none") != 0) {
        g_set_error(error, CLI_ERROR, 0, "only 'none' is possible; -nic or -netdev make networks");
        return false;
    }
    return true;
}

static bool opt_gdb(struct options *o, const char *arg, GError **error)
{
    replace(&o->gdb, arg);
    return true;
}

static bool opt_gdb_default(struct options *o, const char *arg, GError **error)
{
    replace(&o->gdb, "tcp::1234");
    return true;
}

static bool opt_qtest(struct options *o, const char *arg, GError **error)
{
    replace(&o->qtest, arg);
    return true;
}

static bool opt_qtest_log(struct options *o, const char *arg, GError **error)
{
    replace(&o->qtest_log, arg);
    return true;
}

static bool opt_no_reboot(struct options *o, const char *arg, GError **error)
{
    o->has_reboot = true;
    o->actions.reboot = REBOOT_ACTION_SHUTDOWN;
    return true;
}

static bool opt_no_shutdown(struct options *o, const char *arg, GError **error)
{
    o->has_shutdown = true;
    o->actions.shutdown = SHUTDOWN_ACTION_PAUSE;
    return true;
}

static bool opt_watchdog_action(struct options *o, const char *arg, GError **error)
{
    o->has_watchdog = watchdog_action_parse(arg, &o->actions.watchdog);
    if (!o->has_watchdog) {
        g_set_error(error, CLI_ERROR, 0, "Parameter 'watchdog' does not accept value '%s'", arg);
    }
    return o->has_watchdog;
}

static bool opt_vga(struct options *o, const char *arg, GError **error)
{
    if (strcmp(arg, "std") != 0 && strcmp(arg, "none") != 0) {
        g_set_error(error, CLI_ERROR, 0, "there is no such adapter, only std and none");
        return false;
    }
    replace(&o->vga, arg);
    return true;
}

static bool opt_memory_path(struct options *o, const char *arg, GError **error)
{
    replace(&o->memory_path, arg);
    return true;
}

static bool opt_memory_prealloc(struct options *o, const char *arg, GError **error)
{
    o->fill_memory = true;
    return true;
}

static bool opt_pidfile(struct options *o, const char *arg, GError **error)
{
    replace(&o->pidfile, arg);
    return true;
}

static bool opt_daemonize(struct options *o, const char *arg, GError **error)
{
    o->daemonize = true;
    return true;
}

static bool opt_log_file(struct options *o, const char *arg, GError **error)
{
    replace(&o->log_file, arg);
    return true;
}

static bool opt_event_log(struct options *o, const char *arg, GError **error)
{
    replace(&o->event_log, arg);
    return true;
}

static bool opt_loadvm(struct options *o, const char *arg, GError **error)
{
    replace(&o->load_snapshot, arg);
    return true;
}

static bool opt_restore(struct options *o, const char *arg, GError **error)
{
    replace(&o->restore, arg);
    return true;
}

static bool opt_auto_dump(struct options *o, const char *arg, GError **error)
{
    replace(&o->auto_dump, arg);
    return true;
}

static bool opt_black_box(struct options *o, const char *arg, GError **error)
{
    replace(&o->config->black_box_dir, arg);
    return true;
}

static bool opt_symbols(struct options *o, const char *arg, GError **error)
{
    replace(&o->config->symbols, arg);
    return true;
}

static bool opt_stall_ms(struct options *o, const char *arg, GError **error)
{
    guint64 ms;

    if (!g_ascii_string_to_unsigned(arg, 10, 10, 3600000, &ms, NULL)) {
        g_set_error(error, CLI_ERROR, 0, "'%s' is no number of milliseconds from 10 to 3600000",
                    arg);
        return false;
    }
    o->stall_ms = (unsigned)ms;
    return true;
}

static bool opt_log_items(struct options *o, const char *arg, GError **error)
{
    g_auto(GStrv) items = g_strsplit(arg, ",", -1);

    if (strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0) {
        printf("Log items (comma separated):\n"
               "guest_errors    when the guest does something invalid\n");
        o->action = OPTIONS_DONE;
        return true;
    }
    for (unsigned i = 0; items[i]; i++) {
        if (strcmp(items[i], "guest_errors") != 0) {
            g_set_error(error, CLI_ERROR, 0, "there is no log item '%s', only guest_errors",
                        items[i]);
            return false;
        }
    }
    o->log_guest = true;
    return true;
}

static bool opt_version(struct options *o, const char *arg, GError **error)
{
    printf("Godwit virtual machine monitor version " GODWIT_VERSION
           " (speaks QMP as QEMU 7.2.0 does)\n");
    o->action = OPTIONS_DONE;
    return true;
}

static bool opt_help(struct options *o, const char *arg, GError **error);

/* ---------------------------------------------------------------- the table */

struct option {
    const char *name, *arg; /* arg NULL: takes none */
    option_fn handle;
    const char *help; /* NULL: another name of the one before */
};

static const struct option options[] = {
    {"help", NULL, opt_help, "print this and exit"},
    {"h", NULL, opt_help, NULL},
    {"version", NULL, opt_version, "print the version and exit"},
    {"machine", "[type=]NAME[,accel=A[:B]]", opt_machine, "the machine (help lists them)"},
    {"M", "[type=]NAME", opt_machine, NULL},
    {"no-hpet", NULL, opt_no_hpet, "the same as -machine hpet=off: no HPET"},
    {"no-acpi", NULL, opt_no_acpi, "the same as -machine acpi=off: no ACPI tables"},
    {"accel", "NAME[,thread=multi|single][,tb-size=MiB][,x-translate=on|off]", opt_accel,
     "tcg or soft (the software CPU), kvm, qtest; several: the first that works"},
    {"enable-kvm", NULL, opt_enable_kvm, "the same as -machine accel=kvm"},
    {"singlestep", NULL, opt_singlestep, "the software CPU executes one instruction at a time"},
    {"cpu", "MODEL[,+FEATURE][,-FEATURE]", opt_cpu, "the CPU model"},
    {"smp", "[cpus=]N[,sockets=][,dies=][,cores=][,threads=]", opt_smp, "how many vCPUs"},
    {"m", "[size=]SIZE[,slots=N,maxmem=SIZE]", opt_memory,
     "guest memory in MiB (128), slots for more and how much there can be"},
    {"mem-path", "FILE|FOLDER", opt_memory_path,
     "guest memory is that file, or one in that folder"},
    {"mem-prealloc", NULL, opt_memory_prealloc, "the host gives all of the guest's memory at once"},
    {"numa", "node|dist[,...]", opt_numa, "which CPUs and memory are near to one another"},
    {"object", "TYPE,id=ID[,...]", opt_object,
     "memory for -machine memory-backend=ID: memory-backend-ram, -memfd or -file; a source of "
     "random numbers: rng-random, rng-builtin"},
    {"kernel", "FILE", opt_kernel, "a Linux bzImage, a Multiboot image or an ELF with a PVH entry"},
    {"initrd", "FILE", opt_initrd, "its initial RAM disk, or Multiboot module"},
    {"append", "TEXT", opt_append, "its command line"},
    {"bios", "FILE", opt_bios, "firmware; without -kernel it is SeaBIOS (bios-256k.bin)"},
    {"L", "DIRECTORY", opt_data_dir, "where firmware and option ROMs are looked for first"},
    {"boot", "[order=]LETTERS[,once=][,menu=on|off][,strict=]", opt_boot,
     "what firmware tries: a floppy, c disk, d CD, n network; splash-time=, reboot-timeout="},
    {"no-fd-bootchk", NULL, opt_no_fd_bootchk, "firmware boots floppies without a signature too"},
    {"readconfig", "FILE", opt_readconfig, "options from a file of sections"},
    {"incoming", "defer|tcp:[HOST]:PORT|unix:PATH|fd:N|exec:COMMAND|file:PATH", opt_incoming,
     "the guest comes from another machine ('migrate'); defer: 'migrate-incoming' says how"},
    {"S", NULL, opt_start_paused, "do not start the vCPUs: QMP 'cont' does"},
    {"preconfig", NULL, opt_preconfig,
     "permit only some QMP commands until 'x-exit-preconfig' starts the machine"},
    {"no-reboot", NULL, opt_no_reboot, "a reset ends the machine (-action reboot=shutdown)"},
    {"no-shutdown", NULL, opt_no_shutdown,
     "the guest's power-off stops the machine only (-action shutdown=pause)"},
    {"action", "EVENT=ACTION[,...]", opt_action,
     "reboot=reset|shutdown, shutdown=poweroff|pause, panic=..., watchdog=..."},
    {"watchdog-action", "ACTION", opt_watchdog_action, "as -action watchdog=ACTION"},
    {"nographic", NULL, opt_nographic, "COM1 on this terminal; Ctrl-A h for help"},
    {"display", "none", opt_display, "nothing shows the display; QMP screendump takes pictures"},
    {"vga", "std|none", opt_vga, "display adapter: std when firmware starts, else none"},
    {"nodefaults", NULL, opt_nodefaults, "no serial port unless asked for"},
    {"no-user-config", NULL, opt_no_user_config, "accepted: there is none"},
    {"serial", "DEV", opt_serial, "stdio, mon:stdio, null, none, file:, unix:, tcp:, chardev:ID"},
    {"parallel", "none", opt_parallel, "accepted: there is no parallel port"},
    {"debugcon", "DEV", opt_debugcon, "where writes to port 0xe9 go"},
    {"monitor", "none|stdio|mon:stdio", opt_monitor, "the human monitor"},
    {"qmp", "DEV", opt_qmp,
     "a QMP server: unix:PATH,server=on,wait=off[,role=ROLE], tcp:..., stdio"},
    {"qmp-pretty", "DEV", opt_qmp_pretty, "the same with indented output"},
    {"mon", "chardev=ID,mode=control[,role=ROLE]", opt_mon, "a monitor on a chardev"},
    {"chardev", "KIND,id=ID[,...]", opt_chardev, "a character device back end"},
    {"blockdev", "driver=DRIVER,node-name=NAME[,...]", opt_blockdev, "a block node"},
    {"drive", "file=FILE[,if=IF][,format=FORMAT][,...]", opt_drive, "a disk, or a drive for one"},
    {"snapshot", NULL, opt_snapshot, "snapshot=on for all drives that do not say"},
    {"pflash", "FILE", opt_pflash, "firmware in flash memory: -drive if=pflash,file=FILE"},
    {"cdrom", "FILE", opt_cdrom, "a CD: -drive file=FILE,index=2,media=cdrom"},
    {"hda", "FILE", opt_hda, "a disk: -drive file=FILE,index=0,media=disk"},
    {"hdb", "FILE", opt_hdb, "the same with index=1"},
    {"hdc", "FILE", opt_hdc, "the same with index=2"},
    {"hdd", "FILE", opt_hdd, "the same with index=3"},
    {"device", "NAME[,PROPERTY=VALUE]", opt_device, "a device (help lists them)"},
    {"netdev", "TYPE,id=ID[,...]", opt_netdev,
     "a network back end (help lists the types), for -device virtio-net-pci,netdev=ID"},
    {"nic", "TYPE[,mac=ADDRESS][,...]", opt_nic,
     "a back end and a card for it in one; none: as by default"},
    {"net", "none", opt_net, "no network, as by default"},
    {"global", "DRIVER.PROPERTY=VALUE", opt_global,
     "a default for all devices of that name, the board's own too"},
    {"gdb", "DEV", opt_gdb, "wait for gdb: tcp::PORT, unix:PATH,server=on, stdio, chardev:ID"},
    {"s", NULL, opt_gdb_default, "the same as -gdb tcp::1234"},
    {"qtest", "DEV", opt_qtest, "the register door for device tests"},
    {"qtest-log", "FILE", opt_qtest_log, "where its log goes (stderr)"},
    {"rtc", "[base=utc|localtime|DATE][,clock=host|rt|vm][,driftfix=none|slew]", opt_rtc,
     "the guest's wall clock"},
    {"name", "NAME", opt_name, "a name for query-name"},
    {"smbios", "type=N[,FIELD=VALUE]", opt_smbios,
     "what SMBIOS says of the firmware (0), system (1), board (2), chassis (3), processors (4), "
     "strings (11), memory (17)"},
    {"acpitable", "sig=SIG,data=FILE[:FILE]...|file=FILE[,oem_id=][,rev=]...", opt_acpitable,
     "one more ACPI table"},
    {"fw_cfg", "[name=]NAME,file=FILE|string=TEXT", opt_fw_cfg,
     "a file for the guest's software, by fw_cfg"},
    {"option-rom", "FILE", opt_option_rom, "code that firmware runs before it boots"},
    {"uuid", "UUID", opt_uuid, "a UUID for query-uuid"},
    {"event-log", "FILE", opt_event_log, "append every event to a file, one JSON object a line"},
    {"loadvm", "TAG", opt_loadvm, "start in a snapshot of the machine that its disks keep"},
    {"restore", "FILE", opt_restore,
     "start in what godwit-snapshot-file has written, mapping its memory"},
    {"auto-dump", "DIR[,format=FORMAT][,keep=N]", opt_auto_dump,
     "dump memory to a file there when the guest fails"},
    {"black-box", "DIR", opt_black_box, "write a file there each time the guest fails"},
    {"symbols", "FILE", opt_symbols,
     "the guest's symbols (vmlinux, System.map), for the black box"},
    {"stall-ms", "N", opt_stall_ms, "tell when the main thread does not move for so long"},
    {"overcommit", "[mem-lock=on|off]", opt_overcommit, "mem-lock=on: keep all memory in RAM"},
    {"add-fd", "fd=N,set=M[,opaque=TEXT]", opt_add_fd,
     "an inherited file descriptor, for the path /dev/fdset/M"},
    {"audiodev", "none,id=ID", opt_audiodev, "accepted: there are no sound devices"},
    {"msg", "[timestamp=on|off]", opt_msg, "timestamp=on: the log's lines begin with the time"},
    {"chroot", "DIRECTORY", opt_chroot, "the root of all files, once the guest runs"},
    {"runas", "USER|UID:GID", opt_runas, "the rights of that user, once the guest runs"},
    {"sandbox", "on[,obsolete=][,elevateprivileges=][,spawn=][,resourcecontrol=]", opt_sandbox,
     "deny the program system calls that it does not need; what else: allow|deny"},
    {"pidfile", "FILE", opt_pidfile, "write the process id there"},
    {"daemonize", NULL, opt_daemonize, "run in the background once sockets listen"},
    {"D", "FILE", opt_log_file, "log to a file instead of stderr"},
    {"d", "guest_errors", opt_log_items, "log what the guest does wrong"},
};

static bool opt_help(struct options *o, const char *arg, GError **error)
{
    printf("Godwit virtual machine monitor version " GODWIT_VERSION "\n"
           "usage: godwit [options]\n\nOne dash or two. Options as in QEMU:\n\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        const struct option *opt = &options[i];
        g_autofree char *form =
            g_strdup_printf("-%s%s%s", opt->name, opt->arg ? " " : "", opt->arg ? opt->arg : "");
        printf("%-36s %s\n", form, opt->help ? opt->help : "(the same)");
    }
    o->action = OPTIONS_DONE;
    return true;
}

static const struct option *option_find(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        if (strcmp(options[i].name, name) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

bool option_apply(struct options *o, const char *name, const char *arg, GError **error)
{
    return option_find(name)->handle(o, arg, error);
}

static bool spec_is_stdio(const char *spec)
{
    return spec && (strcmp(spec, "stdio") == 0 || strcmp(spec, "mon:stdio") == 0 ||
                    g_str_has_prefix(spec, "stdio,"));
}

static unsigned count_stdio(const GPtrArray *list)
{
    unsigned n = 0;

    for (guint i = 0; i < list->len; i++) {
        n += spec_is_stdio(((const struct option_text *)list->pdata[i])->text);
    }
    return n;
}

/* There is one standard input and output; "mon:stdio" for serial port and monitor counts once. */
static bool check_stdio(const struct options *o, GError **error)
{
    unsigned serials = count_stdio(o->serials) + options_default_console(o);
    bool shared = serials > 0 && o->human_monitor && strcmp(o->human_monitor, "mon:stdio") == 0;
    unsigned n = serials + count_stdio(o->chardevs) + count_stdio(o->debugcons) +
                 spec_is_stdio(o->qtest) + spec_is_stdio(o->gdb) +
                 (!shared && spec_is_stdio(o->human_monitor));

    for (guint i = 0; i < o->monitors->len; i++) {
        n += ((const struct monitor_option *)o->monitors->pdata[i])->kind == MONITOR_STDIO;
    }
    if (n > 1) {
        g_set_error(error, CLI_ERROR, 0, "cannot use stdio by multiple character devices%s",
                    options_default_console(o) ? " (-nographic puts COM1 there)" : "");
    }
    return n <= 1;
}

bool options_default_console(const struct options *o)
{
    return o->nographic && !o->no_defaults && o->serials->len == 0;
}

bool asks_for_help(const char *arg)
{
    return strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0 || g_str_has_suffix(arg, ",help") ||
           g_str_has_suffix(arg, ",?");
}

static bool parse_all(struct options *o, int argc, char **argv, GError **error)
{
    for (int i = 1; i < argc && o->action == OPTIONS_RUN; i++) {
        const char *name = argv[i];
        if (name[0] != '-' || !name[1]) { /* the first disk's image */
            add_disk(o, "hda", name, 0, "disk");
            continue;
        }
        name += name[1] == '-' ? 2 : 1;
        const struct option *opt = option_find(name);
        if (!opt) {
            g_set_error(error, CLI_ERROR, 0, "%s: invalid option", argv[i]);
            return false;
        }
        const char *arg = NULL;
        if (opt->arg && ++i >= argc) {
            g_set_error(error, CLI_ERROR, 0, "%s: requires an argument", argv[i - 1]);
            return false;
        }
        arg = opt->arg ? argv[i] : NULL;
        if (arg && asks_for_help(arg) && help_option(opt->name)) {
            o->action = OPTIONS_DONE;
            break;
        }
        if (!opt->handle(o, arg, error)) {
            g_prefix_error(error, "-%s%s%s: ", opt->name, arg ? " " : "", arg ? arg : "");
            return false;
        }
    }
    return o->action == OPTIONS_DONE || (opt_machine_finish(o, error) && check_stdio(o, error));
}

struct options *options_parse(int argc, char **argv, GError **error)
{
    struct options *o = g_new0(struct options, 1);

    o->config = machine_config_new();
    o->chardevs = g_ptr_array_new_with_free_func(option_text_free);
    o->memories = g_ptr_array_new_with_free_func(memory_object_free);
    o->numa_cpus = g_array_new(FALSE, FALSE, sizeof(struct numa_cpu));
    o->serials = g_ptr_array_new_with_free_func(option_text_free);
    o->debugcons = g_ptr_array_new_with_free_func(option_text_free);
    o->blockdevs = g_ptr_array_new_with_free_func(option_text_free);
    o->objects = g_ptr_array_new_with_free_func(option_text_free);
    o->drives = g_ptr_array_new_with_free_func(option_text_free);
    o->devices = g_ptr_array_new_with_free_func(option_text_free);
    o->netdevs = g_ptr_array_new_with_free_func(option_text_free);
    o->nics = g_ptr_array_new_with_free_func(option_text_free);
    o->monitors = g_ptr_array_new_with_free_func(monitor_option_free);
    if (!parse_all(o, argc, argv, error)) {
        options_free(o);
        return NULL;
    }
    return o;
}

void options_free(struct options *o)
{
    if (!o) {
        return;
    }
    machine_config_free(o->config);
    g_ptr_array_unref(o->chardevs);
    g_ptr_array_unref(o->serials);
    g_ptr_array_unref(o->debugcons);
    g_ptr_array_unref(o->devices);
    g_ptr_array_unref(o->blockdevs);
    g_ptr_array_unref(o->drives);
    g_ptr_array_unref(o->objects);
    g_ptr_array_unref(o->netdevs);
    g_ptr_array_unref(o->nics);
    g_ptr_array_unref(o->monitors);
    g_ptr_array_unref(o->memories);
    g_array_unref(o->numa_cpus);
    g_free(o->memory_backend);
    g_free(o->memory_path);
    g_free(o->human_monitor);
    g_free(o->vga);
    g_free(o->qtest);
    g_free(o->gdb);
    g_free(o->incoming);
    g_free(o->qtest_log);
    confinement_clear(&o->confinement);
    g_free(o->pidfile);
    g_free(o->log_file);
    g_free(o->event_log);
    g_free(o->auto_dump);
    g_free(o->load_snapshot);
    g_free(o->restore);
    g_free(o);
}

bool options_chardev_address(const char *text, struct sock_address *address, GError **error)
{
    struct params *p = params_parse(text, "backend", error);
    g_autoptr(GString) spec = g_string_new(NULL);
    bool ok = p != NULL;

    if (ok) {
        const char *backend = params_take(p, "backend");
        const char *path = params_take(p, "path"), *fd = params_take(p, "fd");
        const char *host = params_take(p, "host"), *port = params_take(p, "port");

        params_take(p, "id");
        ok = backend && strcmp(backend, "socket") == 0 && (path || fd || port);
        if (!ok) {
            g_set_error(error, CLI_ERROR, 0,
                        "a QMP monitor wants a socket with path=, fd= or port=, or stdio");
        } else if (path) {
            g_string_printf(spec, "unix:%s", path);
        } else if (fd) {
            g_string_printf(spec, "fd:%s", fd);
        } else {
            g_string_printf(spec, "tcp:%s:%s", host ? host : "", port);
        }
        for (guint i = 0; ok && i < p->items->len; i++) {
            const struct param *param = &g_array_index(p->items, struct param, i);
            if (!param->taken) { /* server=, wait=, nodelay=, ...: the address knows them */
                g_string_append_printf(spec, ",%s=%s", param->key, param->value);
            }
        }
    }
    params_free(p);
    return ok && sock_address_parse(spec->str, address, error);
}
