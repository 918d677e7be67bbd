/* From options to chardevs, devices and monitors: see assemble.h. */
#include "cli/assemble.h"

#include "cli/console.h"
#include "devices/core/object.h"
#include "devices/isa/serial.h"
#include "devices/qtest.h"
#include "machine/hotplug.h"
#include "monitor/gdbserver.h"
#include "qapi-visit.h"
#include <string.h>

#define DEBUGCON_PORT "0xe9"

/* ---------------------------------------------------------------- chardevs */

void assembly_init(struct assembly *a, const struct options *options)
{
    a->options = options;
    a->consoles = g_ptr_array_new_with_free_func((GDestroyNotify)console_free);
}

void assembly_finish(struct assembly *a)
{
    g_ptr_array_unref(a->consoles);
}

static struct chardev *env_find_chardev(struct device_env *env, const char *id)
{
    return machine_chardev(env->system_opaque, id);
}

/* The id of a -chardev, to be freed; NULL when it has none. */
static char *chardev_option_id(const struct option_text *option)
{
    struct params *p = params_parse(option->text, "backend", NULL);
    char *id = p ? g_strdup(params_take(p, "id")) : NULL;

    params_free(p);
    return id;
}

static const struct option_text *chardev_option_find(const struct options *o, const char *id)
{
    for (guint i = 0; i < o->chardevs->len; i++) {
        const struct option_text *option = o->chardevs->pdata[i];
        g_autofree char *own = chardev_option_id(option);
        if (own && strcmp(own, id) == 0) {
            return option;
        }
    }
    return NULL;
}

/* QMP monitors work on the descriptors themselves, on their own thread: no chardev is made. */
static bool chardev_is_monitors(const struct options *o, const char *id)
{
    for (guint i = 0; i < o->monitors->len; i++) {
        const struct monitor_option *mon = o->monitors->pdata[i];
        if (mon->kind == MONITOR_CHARDEV && mon->control && strcmp(mon->spec, id) == 0) {
            return true;
        }
    }
    return false;
}

static bool add_chardevs(struct machine *m, const struct options *o, GError **error)
{
    for (guint i = 0; i < o->chardevs->len; i++) {
        const struct option_text *option = o->chardevs->pdata[i];
        g_autofree char *id = chardev_option_id(option);
        if (id && chardev_is_monitors(o, id)) {
            continue;
        }
        if (id && machine_chardev(m, id)) {
            g_set_error(error, CLI_ERROR, 0, "%s: there is a chardev '%s' already", option->given,
                        id);
            return false;
        }
        struct chardev *chr = chardev_new_options(option->text, m->loop, error);
        if (!chr) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
        machine_add_chardev(m, chr);
    }
    return true;
}

static bool add_console(struct machine *m, struct assembly *a, struct chardev *chr, GError **error)
{
    struct console *console = chr ? console_new(m, chr, error) : NULL;

    if (console) {
        g_ptr_array_add(a->consoles, console);
    }
    return console != NULL;
}

/* The chardev that a -serial, -debugcon or -monitor names: "chardev:ID" or one made for it. */
static struct chardev *chardev_for(struct machine *m, struct assembly *a, const char *id,
                                   const char *spec, GError **error)
{
    if (g_str_has_prefix(spec, "chardev:")) {
        struct chardev *chr = machine_chardev(m, spec + strlen("chardev:"));
        if (!chr) {
            g_set_error(error, CLI_ERROR, 0, "there is no chardev '%s'", spec + strlen("chardev:"));
        }
        return chr;
    }
    struct chardev *chr = chardev_new(id, spec, m->loop, error);
    if (chr) {
        machine_add_chardev(m, chr);
    }
    return chr && (!g_str_has_prefix(spec, "mon:") || add_console(m, a, chr, error)) ? chr : NULL;
}

/* ---------------------------------------------------------------- block nodes */

static bool add_blockdev(struct machine *m, const char *text, GError **error)
{
    struct blockdev_options *options = blockdev_options_from_keyval(text, "driver", error);
    bool ok = options && block_node_add(m->block, options, error);

    blockdev_options_free(options);
    return ok;
}

static bool add_object(struct machine *m, const char *text, GError **error)
{
    struct object_options *options = object_options_parse(text, error);
    bool ok = options && object_add(&m->env, options, error);

    object_options_free(options);
    return ok;
}

bool assemble_block(struct machine *m, void *assembly, GError **error)
{
    const struct options *o = ((struct assembly *)assembly)->options;

    for (guint i = 0; i < o->objects->len; i++) {
        const struct option_text *option = o->objects->pdata[i];
        if (!add_object(m, option->text, error)) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
    }
    for (guint i = 0; i < o->blockdevs->len; i++) {
        const struct option_text *option = o->blockdevs->pdata[i];
        if (!add_blockdev(m, option->text, error)) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
    }
    struct drive_rules rules = m->board->drives;

    rules.snapshot = o->snapshot_drives;
    for (guint i = 0; i < o->drives->len; i++) {
        const struct option_text *option = o->drives->pdata[i];
        if (!block_drive_add(m->block, option->text, &rules, error)) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
    }
    return assemble_netdevs(m, o, error);
}

/* -drive if=virtio makes its device. */
static bool add_virtio_drives(struct machine *m, GError **error)
{
    struct drive *d;

    for (unsigned i = 0; (d = block_drive_nth(m->block, i)); i++) {
        if (d->interface != DRIVE_VIRTIO || d->taken) {
            continue;
        }
        struct device *dev = device_new_named(
            m->env.virtio_mmio ? "virtio-blk-device" : "virtio-blk-pci", &m->env, error);
        bool ok = dev && device_set_property(dev, "drive", d->id, error);
        if (!ok) {
            device_free(dev);
        }
        if (!ok || !device_realize(dev, error)) {
            g_prefix_error(error, "-drive %s: ", d->id);
            return false;
        }
    }
    return true;
}

/* Every drive of an interface must have found its device. */
static bool check_drives(struct machine *m, GError **error)
{
    static const char *const names[] = {"none", "virtio", "ide", "pflash"};
    struct drive *d;

    for (unsigned i = 0; (d = block_drive_nth(m->block, i)); i++) {
        if (d->interface != DRIVE_NONE && !d->taken) {
            g_set_error(error, CLI_ERROR, 0,
                        "-drive %s: machine type '%s' does not support if=%s,bus=%d,unit=%d", d->id,
                        m->board->name, names[d->interface], d->bus, d->unit);
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- devices */

static bool add_serial(struct machine *m, struct assembly *a, unsigned index, const char *spec,
                       GError **error)
{
    g_autofree char *id = g_strdup_printf("serial%u", index);
    struct chardev *chr = chardev_for(m, a, id, spec, error);

    return chr && serial_create(&m->env, index, chr, error);
}

/* -nographic: the human monitor shares the terminal with COM1 unless -monitor puts it elsewhere. */
static const char *default_serial(const struct options *o)
{
    bool other = o->human_monitor && strcmp(o->human_monitor, "mon:stdio") != 0;

    if (!options_default_console(o)) {
        return "null";
    }
    return other ? "stdio" : "mon:stdio";
}

static bool add_serials(struct machine *m, struct assembly *a, GError **error)
{
    const struct options *o = a->options;

    if (m->config->no_serial && o->serials->len == 0) {
        return true;
    }
    if (o->serials->len == 0 && !o->no_defaults) {
        return add_serial(m, a, 0, default_serial(o), error);
    }
    for (guint i = 0; i < o->serials->len; i++) {
        const struct option_text *option = o->serials->pdata[i];
        if (i >= 4) {
            g_set_error(error, CLI_ERROR, 0, "%s: a PC has four serial ports", option->given);
            return false;
        }
        if (m->config->no_serial && strcmp(option->text, "none") != 0) {
            g_set_error(error, CLI_ERROR, 0, "%s: with isa-serial=off there is no serial port",
                        option->given);
            return false;
        }
        if (strcmp(option->text, "none") != 0 && !add_serial(m, a, i, option->text, error)) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
    }
    return true;
}

static bool add_debugcons(struct machine *m, struct assembly *a, GError **error)
{
    const struct options *o = a->options;

    for (guint i = 0; i < o->debugcons->len; i++) {
        const struct option_text *option = o->debugcons->pdata[i];
        g_autofree char *id = g_strdup_printf("debugcon%u", i);
        struct chardev *chr = chardev_for(m, a, id, option->text, error);
        struct device *dev = chr ? device_new_named("isa-debugcon", &m->env, error) : NULL;
        bool ok = dev && device_set_property(dev, "iobase", DEBUGCON_PORT, error) &&
                  device_set_property(dev, "chardev", chr->id, error);
        if (!ok) {
            device_free(dev);
        }
        if (!ok || !device_realize(dev, error)) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
    }
    return true;
}

/* plugged: by the user's -device, rather than the board's own. */
static bool add_device(struct machine *m, const char *text, bool plugged, GError **error)
{
    struct params *p = params_parse(text, "driver", error);
    if (!p) {
        return false;
    }
    bool ok = machine_add_device(m, p, plugged, error);
    params_free(p);
    return ok;
}

/* A display that was asked for by -device takes the place of the default one. */
static bool display_given(const struct options *o)
{
    static const char *const names[] = {"VGA", "bochs-display"};

    for (guint i = 0; i < o->devices->len; i++) {
        const struct option_text *option = o->devices->pdata[i];
        g_auto(GStrv) part = g_strsplit(option->text, ",", 2);

        for (unsigned n = 0; n < G_N_ELEMENTS(names); n++) {
            if (strcmp(part[0], names[n]) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* A kernel that is started directly has no use for one: nobody has set a mode. */
static bool add_vga(struct machine *m, struct assembly *a, GError **error)
{
    const struct options *o = a->options;
    bool wanted = o->vga ? strcmp(o->vga, "std") == 0
                         : (!m->config->kernel || m->config->kernel_by_firmware) &&
                               !o->no_defaults && m->cpus && m->env.pci &&
                               strcmp(m->cpus->accel->name, "qtest") != 0 && !display_given(o);

    if (wanted && !add_device(m, "VGA", false, error)) {
        g_prefix_error(error, "-vga std: ");
        return false;
    }
    return true;
}

/* Drives with if=ide find their place on the board's own buses. */
static bool add_ide_drives(struct machine *m, GError **error)
{
    struct drive *drive;

    for (unsigned i = 0; (drive = block_drive_nth(m->block, i)); i++) {
        if (drive->interface != DRIVE_IDE || drive->taken || !m->env.ide_buses) {
            continue;
        }
        g_autofree char *text =
            g_strdup_printf("%s,bus=ide.%d,unit=%d,drive=%s", drive->cdrom ? "ide-cd" : "ide-hd",
                            drive->bus, drive->unit, drive->id);
        if (!add_device(m, text, false, error)) {
            g_prefix_error(error, "-drive %s: ", drive->id);
            return false;
        }
        drive->taken = true;
    }
    return true;
}

/* -monitor and -mon mode=readline. A "-monitor mon:stdio" or "stdio" beside "-serial mon:stdio" is
 * the one behind Ctrl-A c. */
static bool add_consoles(struct machine *m, struct assembly *a, GError **error)
{
    const struct options *o = a->options;
    const char *spec = o->human_monitor;

    if (spec && strcmp(spec, "none") != 0) {
        struct chardev *chr = machine_chardev(m, "serial0");
        const struct chardev *base = chr ? chardev_mux_base(chr) : NULL;
        bool mux = g_str_has_prefix(spec, "mon:");
        bool behind =
            strcmp(spec, "mon:stdio") == 0 && base && strcmp(base->ops->name, "stdio") == 0;
        if (!behind) {
            chr = chardev_for(m, a, "monitor", spec, error);
        }
        if (!behind && !(mux ? chr != NULL : add_console(m, a, chr, error))) {
            g_prefix_error(error, "-monitor %s: ", spec);
            return false;
        }
    }
    for (guint i = 0; i < o->monitors->len; i++) {
        const struct monitor_option *option = o->monitors->pdata[i];
        if (option->control) {
            continue;
        }
        struct chardev *chr = machine_chardev(m, option->spec);
        if (!chr) {
            g_set_error(error, CLI_ERROR, 0, "%s: chardev \"%s\" not found", option->given,
                        option->spec);
            return false;
        }
        if (!add_console(m, a, chr, error)) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
    }
    return true;
}

static bool has_bus(const struct machine *m)
{
    return m->board->max_cpus > 1;
}

/* -qtest: the register door. */
static bool add_qtest(struct machine *m, struct assembly *a, GError **error)
{
    const struct options *o = a->options;
    struct chardev *chr = o->qtest ? chardev_for(m, a, "qtest", o->qtest, error) : NULL;

    if (!o->qtest) {
        return true;
    }
    return chr && qtest_start(&m->env, chr, o->qtest_log, error);
}

bool assemble_devices(struct machine *m, void *assembly, GError **error)
{
    struct assembly *a = assembly;
    const struct options *o = a->options;

    m->env.find_chardev = env_find_chardev;
    if (!add_chardevs(m, o, error)) {
        return false;
    }
    if (!has_bus(m)) { /* machine none */
        GPtrArray *list = o->serials->len     ? o->serials
                          : o->debugcons->len ? o->debugcons
                          : o->nics->len      ? o->nics
                                              : o->devices;
        if (list->len > 0) {
            const struct option_text *option = list->pdata[0];
            g_set_error(error, CLI_ERROR, 0, "%s: machine '%s' has no bus for it", option->given,
                        m->board->name);
            return false;
        }
        return add_consoles(m, a, error) && check_drives(m, error) && add_qtest(m, a, error);
    }
    if (!add_serials(m, a, error) || !add_debugcons(m, a, error) || !add_consoles(m, a, error) ||
        !add_vga(m, a, error) || !add_ide_drives(m, error)) {
        return false;
    }
    for (guint i = 0; i < o->devices->len; i++) {
        const struct option_text *option = o->devices->pdata[i];
        if (!add_device(m, option->text, true, error)) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
    }
    return add_virtio_drives(m, error) && check_drives(m, error) && assemble_nics(m, o, error) &&
           add_qtest(m, a, error);
}

/* ---------------------------------------------------------------- monitors */

static bool add_chardev_monitor(struct monitor *mon, const struct options *o,
                                const struct monitor_option *option, GError **error)
{
    const struct option_text *chardev = chardev_option_find(o, option->spec);
    struct sock_address address;

    if (!chardev) {
        g_set_error(error, CLI_ERROR, 0, "chardev \"%s\" not found", option->spec);
        return false;
    }
    if (g_str_has_prefix(chardev->text, "stdio,")) {
        return monitor_add_stdio(mon, &option->style, error);
    }
    if (!options_chardev_address(chardev->text, &address, error)) {
        return false;
    }
    bool ok = monitor_add_socket(mon, &address, option->spec, &option->style, error);
    sock_address_clear(&address);
    return ok;
}

static bool add_monitor(struct monitor *mon, const struct options *o,
                        const struct monitor_option *option, unsigned n, GError **error)
{
    g_autofree char *label = g_strdup_printf("compat_monitor%u", n);
    struct sock_address address;

    if (!option->control) {
        return true; /* add_consoles() */
    }
    switch (option->kind) {
    case MONITOR_STDIO:
        return monitor_add_stdio(mon, &option->style, error);
    case MONITOR_CHARDEV:
        return add_chardev_monitor(mon, o, option, error);
    default:
        break;
    }
    if (!sock_address_parse(option->spec, &address, error)) {
        return false;
    }
    bool ok = monitor_add_socket(mon, &address, label, &option->style, error);
    sock_address_clear(&address);
    return ok;
}

bool assemble_monitors(struct monitor *mon, const struct options *o, GError **error)
{
    for (guint i = 0; i < o->monitors->len; i++) {
        const struct monitor_option *option = o->monitors->pdata[i];
        if (!add_monitor(mon, o, option, i, error)) {
            g_prefix_error(error, "%s: ", option->given);
            return false;
        }
    }
    return true;
}

bool assemble_debugger(struct machine *m, const struct options *o, GError **error)
{
    if (o->gdb && !gdbserver_open(m, o->gdb, error)) {
        g_prefix_error(error, "-gdb %s: ", o->gdb);
        return false;
    }
    return true;
}

void assemble_actions(struct machine *m, const struct options *o)
{
    struct machine_actions *actions = machine_actions(m);

    actions->reboot = o->has_reboot ? o->actions.reboot : actions->reboot;
    actions->shutdown = o->has_shutdown ? o->actions.shutdown : actions->shutdown;
    actions->panic = o->has_panic ? o->actions.panic : actions->panic;
    actions->watchdog = o->has_watchdog ? o->actions.watchdog : actions->watchdog;
}
