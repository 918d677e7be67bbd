/* Options about the machine itself: -machine, -accel, -cpu, -smp, -m, -boot, -rtc, -name, ... */
#include "cli/options-priv.h"

#include "devices/memory-slots.h"

#include "base/data-file.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RAM_UNIT 8192u /* what -m is rounded up to */

static void replace(char **field, const char *value)
{
    g_free(*field);
    *field = g_strdup(value);
}

/* ---------------------------------------------------------------- -machine, -accel */

/* Whether one of a list is any of two. */
static bool accel_named(char **list, const char *a, const char *b)
{
    return g_strv_contains((const char *const *)list, a) ||
           g_strv_contains((const char *const *)list, b);
}

/* Names that do not exist stay in: one that follows may be usable. */
static void accel_list(struct options *o, char **names)
{
    for (unsigned i = 0; names[i]; i++) {
        g_ptr_array_add(o->config->accels, g_strdup(names[i]));
    }
}

/* graphics=off: firmware takes COM1 for its screen. on says nothing: there is one if a display
 * adapter is. */
static bool take_graphics(struct options *o, struct params *p, GError **error)
{
    bool on = !o->config->nographic;

    if (!params_take_bool(p, "graphics", &on, error)) {
        return false;
    }
    o->config->nographic = !on;
    return true;
}

/* Machine properties that QEMU has and whose one value we can honour. */
static bool machine_fixed(struct params *p, GError **error)
{
    static const struct {
        const char *key;
        bool value;
    } fixed[] = {{"usb", false},
                 {"dump-guest-core", true},
                 {"mem-merge", false},
                 {"x-option-roms", false},
                 {"nvdimm", false},
                 {"hmat", false},
                 {"i8042", true},
                 {"sata", true},
                 {"default-bus-bypass-iommu", false}};
    static const char *const absent[] = {"vmport", "smm"}; /* on, off or auto */

    for (unsigned i = 0; i < G_N_ELEMENTS(fixed); i++) {
        bool value = fixed[i].value;
        if (!params_take_bool(p, fixed[i].key, &value, error)) {
            return false;
        }
        /* dump-guest-core is about the host's core files: both values are as good as done. */
        if (value != fixed[i].value && strcmp(fixed[i].key, "dump-guest-core") != 0) {
            g_set_error(error, CLI_ERROR, 0, "machine property '%s' is always '%s'", fixed[i].key,
                        fixed[i].value ? "on" : "off");
            return false;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        const char *value = params_take(p, absent[i]);
        if (value && strcmp(value, "off") != 0 && strcmp(value, "auto") != 0) {
            g_set_error(error, CLI_ERROR, 0, "machine property '%s' is always 'off'", absent[i]);
            return false;
        }
    }
    return true;
}

static bool take_off(struct params *p, const char *key, bool *off, GError **error)
{
    bool on = !*off;

    if (!params_take_bool(p, key, &on, error)) {
        return false;
    }
    *off = !on;
    return true;
}

/* What a microvm may be without; `auto` is QEMU's word for the default. */
static bool machine_parts(struct machine_config *config, struct params *p, GError **error)
{
    const struct {
        const char *key;
        bool *off;
    } parts[] = {{"pic", &config->no_pic}, {"pit", &config->no_pit}, {"rtc", &config->no_rtc}};

    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        const char *value = params_take(p, parts[i].key);
        bool off = g_strcmp0(value, "off") == 0;

        if (value && !off && strcmp(value, "on") != 0 && strcmp(value, "auto") != 0) {
            g_set_error(error, CLI_ERROR, 0, "parameter '%s' expects 'on', 'off' or 'auto'",
                        parts[i].key);
            return false;
        }
        *parts[i].off = value ? off : *parts[i].off;
    }
    return take_off(p, "isa-serial", &config->no_serial, error);
}

/* Properties of PCs that change the machine. */
static bool machine_chosen(struct machine_config *config, struct params *p, GError **error)
{
    const char *boot = params_take(p, "kernel-boot");

    if (boot && strcmp(boot, "direct") != 0 && strcmp(boot, "firmware") != 0) {
        g_set_error(error, CLI_ERROR, 0, "invalid kernel-boot '%s' (direct or firmware)", boot);
        return false;
    }
    if (boot) {
        config->kernel_by_firmware = strcmp(boot, "firmware") == 0;
    }
    return machine_parts(config, p, error) && take_off(p, "hpet", &config->no_hpet, error) &&
           take_off(p, "smbus", &config->no_smbus, error) &&
           take_off(p, "acpi", &config->no_acpi, error);
}

bool opt_no_hpet(struct options *o, const char *arg, GError **error)
{
    o->config->no_hpet = true;
    return true;
}

bool opt_singlestep(struct options *o, const char *arg, GError **error)
{
    o->config->accel.one_insn = true;
    return true;
}

bool opt_no_acpi(struct options *o, const char *arg, GError **error)
{
    o->config->no_acpi = true;
    return true;
}

/* PREFIX.KEY=VALUE, as in smp.cpus=2: what another option says as KEY=VALUE. */
static bool machine_nested(struct options *o, struct params *p, const char *prefix,
                           bool (*handle)(struct options *, const char *, GError **),
                           GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    size_t length = strlen(prefix);

    for (guint i = 0; i < p->items->len; i++) {
        struct param *param = &g_array_index(p->items, struct param, i);
        const char *key = param->key + length;

        if (strncmp(param->key, prefix, length) == 0) {
            param->taken = true;
            key = strcmp(param->key, "memory.max-size") == 0 ? "maxmem" : key;
            g_string_append_printf(text, "%s%s=", text->len ? "," : "", key);
            for (const char *c = param->value; *c; c++) {
                g_string_append(text, *c == ',' ? "," : "");
                g_string_append_c(text, *c);
            }
            if (strcmp(param->key, "memory.size") == 0 &&
                g_ascii_isdigit(text->str[text->len - 1])) {
                g_string_append_c(text, 'B'); /* unlike -m's */
            }
        }
    }
    return text->len == 0 || handle(o, text->str, error);
}

/* Properties' names may be written with '_' for '-'. */
static void machine_dashes(struct params *p)
{
    for (guint i = 0; i < p->items->len; i++) {
        g_strdelimit(g_array_index(p->items, struct param, i).key, "_", '-');
    }
}

/* Which interrupt controllers are the host kernel's: the local APICs always, the others never. */
static bool accel_irqchip(struct params *p, GError **error)
{
    const char *value = params_take(p, "kernel-irqchip");

    if (!value || strcmp(value, "split") == 0 || strcmp(value, "on") == 0) {
        return true;
    }
    if (strcmp(value, "off") == 0) {
        g_set_error(error, CLI_ERROR, 0,
                    "kernel-irqchip=off: under KVM the local APICs are always the kernel's");
    } else {
        g_set_error(error, CLI_ERROR, 0, "kernel-irqchip=%s: must be 'split' or 'on'", value);
    }
    return false;
}

/* "[type=]NAME,help": the properties of that machine. */
static bool machine_asks_help(const char *arg)
{
    g_auto(GStrv) items = g_strsplit(arg, ",", 2);
    const struct board *board =
        asks_for_help(arg)
            ? board_find(g_str_has_prefix(items[0], "type=") ? items[0] + 5 : items[0])
            : NULL;

    if (board) {
        help_machine(board);
    }
    return board != NULL;
}

/* As the options of these names say it. */
static void take_boot_files(struct machine_config *config, struct params *p)
{
    const struct {
        const char *key;
        char **field;
    } files[] = {{"kernel", &config->kernel},
                 {"initrd", &config->initrd},
                 {"append", &config->append},
                 {"firmware", &config->firmware}};

    for (unsigned i = 0; i < G_N_ELEMENTS(files); i++) {
        const char *value = params_take(p, files[i].key);

        if (value) {
            replace(files[i].field, value);
        }
    }
}

bool opt_machine(struct options *o, const char *arg, GError **error)
{
    if (machine_asks_help(arg)) {
        o->action = OPTIONS_DONE;
        return true;
    }
    if (strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0) {
        help_machines();
        o->action = OPTIONS_DONE;
        return true;
    }
    struct params *p = params_parse(arg, "type", error);
    if (!p) {
        return false;
    }
    machine_dashes(p);

    const char *type = params_take(p, "type");
    const char *accel = params_take(p, "accel");
    const char *backend = params_take(p, "memory-backend");
    bool ok = true;

    if (backend) {
        replace(&o->memory_backend, backend);
    }

    take_boot_files(o->config, p);
    for (unsigned i = 0; i < MACHINE_FLASHES; i++) {
        g_autofree char *key = g_strdup_printf("pflash%u", i);
        const char *node = params_take(p, key);

        if (node) {
            replace(&o->config->pflash[i], node);
        }
    }
    if (type) {
        replace(&o->config->machine_type, type);
        ok = board_find(type) != NULL;
        if (!ok) {
            g_set_error(error, CLI_ERROR, 0,
                        "unsupported machine type '%s' (use -machine help to list those there are)",
                        type);
        }
    }
    if (ok && accel) {
        g_auto(GStrv) names = g_strsplit(accel, ":", -1);

        g_ptr_array_set_size(o->config->accels, 0);
        accel_list(o, names);
    }
    ok = ok && take_graphics(o, p, error) && machine_fixed(p, error) && accel_irqchip(p, error) &&
         machine_chosen(o->config, p, error) && machine_nested(o, p, "smp.", opt_smp, error) &&
         machine_nested(o, p, "memory.", opt_memory, error) &&
         machine_nested(o, p, "boot.", opt_boot, error) && params_end(p, error);
    params_free(p);
    return ok;
}

static bool accel_thread(const char *value, bool *single, GError **error)
{
    if (value && strcmp(value, "single") != 0 && strcmp(value, "multi") != 0) {
        g_set_error(error, CLI_ERROR, 0,
                    "invalid 'thread' setting '%s' (there are 'multi' and 'single')", value);
        return false;
    }
    if (value) {
        *single = strcmp(value, "single") == 0;
    }
    return true;
}

static bool accel_count(struct params *p, const char *key, unsigned least, unsigned most,
                        unsigned *value, GError **error)
{
    const char *text = params_take(p, key);
    guint64 n;
    if (!text) {
        return true;
    }
    if (!g_ascii_string_to_unsigned(text, 10, least, most, &n, NULL)) {
        g_set_error(error, CLI_ERROR, 0, "%s=%s: must be a number from %u to %u", key, text, least,
                    most);
        return false;
    }
    *value = (unsigned)n;
    return true;
}

/* What the software CPU understands. */
static bool accel_soft_params(struct accel_config *config, struct params *p, GError **error)
{
    unsigned mib = (unsigned)(config->cache_bytes >> 20);
    bool ok = accel_thread(params_take(p, "thread"), &config->single, error) &&
              accel_count(p, "tb-size", 1, 4096, &mib, error) &&
              params_take_bool(p, "x-translate", &config->translate, error) &&
              params_take_bool(p, "x-lockstep", &config->lockstep, error) &&
              accel_count(p, "x-translate-after", 0, 60000, &config->threshold, error) &&
              accel_count(p, "x-region", 1, 128, &config->region_insns, error);
    config->cache_bytes = (uint64_t)mib << 20;
    if (ok && config->lockstep && !config->translate) {
        g_set_error(error, CLI_ERROR, 0,
                    "x-lockstep=on compares translated code with the interpreter: it needs "
                    "x-translate=on");
        return false;
    }
    return ok;
}

#define DIRTY_RING_MIN 1024 /* entries; KVM keeps some hundred of them free */

static bool accel_kvm_params(struct accel_config *config, struct params *p, GError **error)
{
    unsigned n = 0;

    if (!accel_irqchip(p, error) || !accel_count(p, "dirty-ring-size", 0, 65536, &n, error)) {
        return false;
    }
    if (n & (n - 1) || (n && n < DIRTY_RING_MIN)) {
        g_set_error(error, CLI_ERROR, 0,
                    "dirty-ring-size=%u: must be 0 or a power of two from %u to 65536", n,
                    DIRTY_RING_MIN);
        return false;
    }
    config->dirty_ring = n;
    return true;
}

bool opt_enable_kvm(struct options *o, const char *arg, GError **error)
{
    g_ptr_array_set_size(o->config->accels, 0);
    g_ptr_array_add(o->config->accels, g_strdup("kvm"));
    return true;
}

bool opt_accel(struct options *o, const char *arg, GError **error)
{
    if (strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0) {
        help_accels();
        o->action = OPTIONS_DONE;
        return true;
    }
    struct params *p = params_parse(arg, "accel", error);
    if (!p) {
        return false;
    }
    const char *name = params_take(p, "accel");
    bool ok = name != NULL;

    if (!ok) {
        g_set_error(error, CLI_ERROR, 0, "names no accelerator");
    } else {
        g_auto(GStrv) names = g_strsplit(name, ":", -1);
        bool soft = accel_named(names, "tcg", "soft"), kvm = accel_named(names, "kvm", "kvm");
        bool known = soft || kvm || accel_named(names, "qtest", "qtest");

        accel_list(o, names);
        ok = (!soft || accel_soft_params(&o->config->accel, p, error)) &&
             (!kvm || accel_kvm_params(&o->config->accel, p, error)) &&
             (!known || params_end(p, error));
    }
    params_free(p);
    return ok;
}

bool opt_cpu(struct options *o, const char *arg, GError **error)
{
    if (strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0) {
        help_cpus();
        o->action = OPTIONS_DONE;
        return true;
    }
    replace(&o->config->cpu_spec, arg);
    return true;
}

/* ---------------------------------------------------------------- -smp, -m */

static bool smp_complete(struct cpu_topology *t, GError **error)
{
    uint64_t product;

    t->dies = t->dies ? t->dies : 1;
    if ((uint64_t)MAX(t->sockets, 1) * t->dies * MAX(t->cores, 1) * MAX(t->threads, 1) > 4096) {
        g_set_error(
            error, CLI_ERROR, 0,
            "Invalid CPU topology: more than 4096 CPUs by sockets, dies, cores and threads");
        return false;
    }
    if (t->cpus || t->max_cpus) { /* what is not given: cores rather than sockets */
        unsigned max = t->max_cpus ? t->max_cpus : t->cpus;
        if (!t->cores) {
            t->sockets = t->sockets ? t->sockets : 1;
            t->threads = t->threads ? t->threads : 1;
            t->cores = max / (t->sockets * t->dies * t->threads);
        } else if (!t->sockets) {
            t->threads = t->threads ? t->threads : 1;
            t->sockets = max / (t->dies * t->cores * t->threads);
        }
        if (!t->threads) {
            t->threads = max / (t->sockets * t->dies * t->cores);
        }
        t->max_cpus = max;
    } else {
        t->sockets = t->sockets ? t->sockets : 1;
        t->cores = t->cores ? t->cores : 1;
        t->threads = t->threads ? t->threads : 1;
        t->max_cpus = t->sockets * t->dies * t->cores * t->threads;
    }
    t->cpus = t->cpus ? t->cpus : t->max_cpus;
    product = (uint64_t)t->sockets * t->dies * t->cores * t->threads;
    if (product != t->max_cpus) {
        g_set_error(error, CLI_ERROR, 0,
                    "Invalid CPU topology: product of the hierarchy must match maxcpus: sockets "
                    "(%u) * dies (%u) * cores (%u) * threads (%u) != maxcpus (%u)",
                    t->sockets, t->dies, t->cores, t->threads, t->max_cpus);
        return false;
    }
    if (t->max_cpus < t->cpus) {
        g_set_error(error, CLI_ERROR, 0,
                    "Invalid CPU topology: maxcpus must be equal to or greater than smp: sockets "
                    "(%u) * dies (%u) * cores (%u) * threads (%u) == maxcpus (%u) < smp_cpus (%u)",
                    t->sockets, t->dies, t->cores, t->threads, t->max_cpus, t->cpus);
        return false;
    }
    return true;
}

bool opt_smp(struct options *o, const char *arg, GError **error)
{
    struct {
        const char *key;
        unsigned *field;
    } field[] = {
        {"cpus", &o->config->topology.cpus},       {"maxcpus", &o->config->topology.max_cpus},
        {"sockets", &o->config->topology.sockets}, {"dies", &o->config->topology.dies},
        {"cores", &o->config->topology.cores},     {"threads", &o->config->topology.threads},
    };
    struct params *p = params_parse(arg, "cpus", error);
    bool ok = p != NULL;

    o->config->topology = (struct cpu_topology){0};
    for (unsigned i = 0; ok && i < G_N_ELEMENTS(field); i++) {
        uint64_t n = 0;
        ok = params_take_uint(p, field[i].key, 1, 4096, &n, error);
        *field[i].field = (unsigned)n;
    }
    uint64_t clusters = 1;
    ok = ok && params_take_uint(p, "clusters", 1, 4096, &clusters, error);
    if (ok && clusters > 1) {
        g_set_error(error, CLI_ERROR, 0, "clusters not supported by this machine's CPU topology");
        ok = false;
    }
    ok = ok && params_end(p, error) && smp_complete(&o->config->topology, error);
    params_free(p);
    return ok;
}

/* Where memory can be plugged in later. maxmem= is in bytes, whatever size= is in. */
static bool take_slots(struct options *o, const char *slots, const char *maxmem, GError **error)
{
    char *end;
    uint64_t n = slots ? g_ascii_strtoull(slots, &end, 0) : o->config->ram_slots;

    if (slots && (end == slots || *end)) {
        g_set_error(error, CLI_ERROR, 0, "Parameter 'slots' expects a number");
        return false;
    }
    if (n > MEMORY_SLOTS_MAX) {
        g_set_error(error, CLI_ERROR, 0, "unsupported amount of memory slots: %" PRIu64, n);
        return false;
    }
    if (maxmem && !parse_size(maxmem, 'B', &o->config->max_ram_bytes)) {
        g_set_error(error, CLI_ERROR, 0,
                    "maxmem: '%s' is not a memory size (a number of bytes, or one with a suffix k, "
                    "M, G, T)",
                    maxmem);
        return false;
    }
    o->config->ram_slots = (unsigned)n;
    o->slots_given |= slots != NULL;
    o->max_memory_given |= maxmem != NULL;
    return true;
}

static bool take_size(struct options *o, const char *size, GError **error)
{
    uint64_t *bytes = &o->config->ram_bytes;

    if (!parse_size(size, 'M', bytes)) {
        g_set_error(error, CLI_ERROR, 0,
                    "'%s' is not a memory size (a number of MiB, or one with a suffix k, M, G, T)",
                    size);
        return false;
    }
    if (*bytes < 1u << 20 || *bytes > UINT64_MAX - RAM_UNIT) {
        g_set_error(error, CLI_ERROR, 0,
                    "memory of %" G_GUINT64_FORMAT " bytes: it must be 1 MiB at least", *bytes);
        return false;
    }
    *bytes = (*bytes + RAM_UNIT - 1) / RAM_UNIT * RAM_UNIT;
    return true;
}

/* What one -m leaves out is as an earlier one has it. */
bool opt_memory(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, "size", error);
    if (!p) {
        return false;
    }
    const char *size = *arg ? params_take(p, "size") : arg;
    const char *slots = params_take(p, "slots");
    const char *maxmem = params_take(p, "maxmem");
    bool ok = (!size || take_size(o, size, error)) && take_slots(o, slots, maxmem, error) &&
              params_end(p, error);

    params_free(p);
    return ok;
}

/* maxmem= against the memory that there is. */
static bool check_max_memory(const struct options *o, GError **error)
{
    const struct machine_config *config = o->config;
    uint64_t max = config->max_ram_bytes, ram = config->ram_bytes;

    if (o->slots_given && !o->max_memory_given) {
        g_set_error(error, CLI_ERROR, 0, "slots specified but no max-size");
        return false;
    }
    if (o->max_memory_given && max < ram) {
        g_set_error(error, CLI_ERROR, 0,
                    "invalid value of maxmem: maximum memory size (0x%" PRIx64
                    ") must be at least the initial memory size (0x%" PRIx64 ")",
                    max, ram);
        return false;
    }
    if (config->ram_slots && max == ram) {
        g_set_error(error, CLI_ERROR, 0,
                    "invalid value of maxmem: memory slots were specified but maximum memory size "
                    "(0x%" PRIx64 ") is equal to the initial memory size (0x%" PRIx64 ")",
                    max, ram);
        return false;
    }
    if (max % GUEST_PAGE_SIZE) {
        g_set_error(error, CLI_ERROR, 0, "maximum memory size must be whole pages of %u bytes",
                    GUEST_PAGE_SIZE);
        return false;
    }
    return true;
}

/* ---------------------------------------------------------------- the rest */

/* "cdn": devices of QEMU's letters, none twice; the board knows which of them it has. */
static bool boot_order_valid(const char *order, GError **error)
{
    unsigned seen = 0;

    for (const char *c = order; *c; c++) {
        if (*c < 'a' || *c > 'p') {
            g_set_error(error, CLI_ERROR, 0, "invalid boot device '%c' (a letter from a to p)", *c);
            return false;
        }
        if (seen & 1u << (*c - 'a')) {
            g_set_error(error, CLI_ERROR, 0, "boot device '%c' was given twice", *c);
            return false;
        }
        seen |= 1u << (*c - 'a');
    }
    return true;
}

static bool boot_letters(struct params *p, const char *key, char **field, GError **error)
{
    const char *order = params_take(p, key);

    if (!order) {
        return true;
    }
    replace(field, order);
    return boot_order_valid(order, error);
}

/* -1 (when `never` is allowed) or milliseconds up to 65535. */
static bool boot_time(struct params *p, const char *key, bool never, bool *given, int32_t *ms,
                      GError **error)
{
    const char *text = params_take(p, key);
    char *end;

    if (!text) {
        return true;
    }
    long value = strtol(text, &end, 10);
    if (*end || end == text || value < (never ? -1 : 0) || value > 0xffff) {
        g_set_error(error, CLI_ERROR, 0, "%s '%s' is not a number of milliseconds (%d to 65535)",
                    key, text, never ? -1 : 0);
        return false;
    }
    *given = true;
    *ms = (int32_t)value;
    return true;
}

static bool boot_splash(struct params *p, struct boot_options *boot, GError **error)
{
    const char *name = params_take(p, "splash");

    if (name && !*name) {
        g_set_error(error, CLI_ERROR, 0, "splash wants the name of a picture");
        return false;
    }
    if (name) {
        g_free(boot->splash);
        boot->splash = g_strdup(name);
    }
    return true;
}

bool opt_boot(struct options *o, const char *arg, GError **error)
{
    struct boot_options *boot = &o->config->boot;
    struct params *p = params_parse(arg, "order", error);
    int32_t splash = boot->splash_time_ms;
    bool given;
    bool ok = p && boot_letters(p, "order", &boot->order, error) &&
              boot_letters(p, "once", &boot->once, error) &&
              params_take_bool(p, "strict", &boot->strict, error) &&
              params_take_bool(p, "menu", &boot->menu, error) && boot_splash(p, boot, error) &&
              boot_time(p, "splash-time", false, &boot->has_splash_time, &splash, error) &&
              boot_time(p, "reboot-timeout", true, &given, &boot->reboot_timeout_ms, error) &&
              params_end(p, error);

    boot->splash_time_ms = (uint16_t)splash;
    params_free(p);
    return ok;
}

bool opt_no_fd_bootchk(struct options *o, const char *arg, GError **error)
{
    o->config->boot.no_floppy_check = true;
    return true;
}

bool opt_data_dir(struct options *o, const char *arg, GError **error)
{
    g_ptr_array_add(o->config->data_dirs, g_strdup(arg));
    return true;
}

static bool rtc_base_valid(const char *text)
{
    if (strcmp(text, "utc") == 0 || strcmp(text, "localtime") == 0) {
        return true;
    }
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autofree char *full =
        strchr(text, 'T') ? g_strdup(text) : g_strconcat(text, "T00:00:00", NULL);
    g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(full, utc);
    return time != NULL;
}

bool opt_rtc(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, NULL, error);
    if (!p) {
        return false;
    }
    const char *base = params_take(p, "base"), *clock = params_take(p, "clock");
    const char *driftfix = params_take(p, "driftfix");
    bool ok = false;

    if (base && !rtc_base_valid(base)) {
        g_set_error(error, CLI_ERROR, 0,
                    "invalid base '%s' (utc, localtime, 2006-06-17 or 2006-06-17T16:01:21)", base);
    } else if (clock && strcmp(clock, "host") != 0 && strcmp(clock, "rt") != 0 &&
               strcmp(clock, "vm") != 0) {
        g_set_error(error, CLI_ERROR, 0, "invalid clock '%s' (host, rt or vm)", clock);
    } else if (driftfix && strcmp(driftfix, "none") != 0 && strcmp(driftfix, "slew") != 0) {
        g_set_error(error, CLI_ERROR, 0, "invalid driftfix '%s' (none or slew)", driftfix);
    } else {
        if (driftfix && strcmp(driftfix, "slew") == 0) {
            machine_config_add_global(o->config, "mc146818rtc", "lost_tick_policy", "slew");
        }
        replace(&o->config->rtc_base, base);
        replace(&o->config->rtc_clock, clock);
        ok = params_end(p, error);
    }
    params_free(p);
    return ok;
}

/* DRIVER.PROPERTY=VALUE, or driver=,property=,value=. */
bool opt_global(struct options *o, const char *arg, GError **error)
{
    g_autofree char *driver = NULL, *property = NULL;
    const char *dot = strchr(arg, '.'), *equals = strchr(arg, '=');

    if (dot && equals && dot < equals) {
        driver = g_strndup(arg, (gsize)(dot - arg));
        property = g_strndup(dot + 1, (gsize)(equals - dot - 1));
        machine_config_add_global(o->config, driver, property, equals + 1);
        return true;
    }
    struct params *p = params_parse(arg, "driver", error);
    if (!p) {
        return false;
    }
    driver = g_strdup(params_take(p, "driver"));
    property = g_strdup(params_take(p, "property"));
    const char *value = params_take(p, "value");
    bool ok = params_end(p, error);

    if (ok && (!driver || !property || !value)) {
        g_set_error(error, CLI_ERROR, 0, "DRIVER.PROPERTY=VALUE is wanted");
        ok = false;
    }
    if (ok) {
        machine_config_add_global(o->config, driver, property, value);
    }
    params_free(p);
    return ok;
}

bool opt_name(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, "guest", error);
    bool ok = p != NULL;

    if (ok) {
        const char *guest = params_take(p, "guest");
        if (guest) {
            replace(&o->config->name, guest);
        }
        ok = params_take_bool(p, "debug-threads", &o->debug_threads, error) && params_end(p, error);
    }
    params_free(p);
    return ok;
}

bool opt_uuid(struct options *o, const char *arg, GError **error)
{
    if (!g_uuid_string_is_valid(arg)) {
        g_set_error(error, CLI_ERROR, 0, "'%s' is not a UUID", arg);
        return false;
    }
    g_free(o->config->uuid);
    o->config->uuid = g_ascii_strdown(arg, -1);
    return true;
}

bool opt_action(struct options *o, const char *arg, GError **error)
{
    struct params *p = params_parse(arg, NULL, error);
    if (!p) {
        return false;
    }
    const char *reboot = params_take(p, "reboot"), *shutdown = params_take(p, "shutdown");
    const char *panic = params_take(p, "panic"), *watchdog = params_take(p, "watchdog");
    const char *bad = NULL, *name = NULL;

    if (reboot && !reboot_action_parse(reboot, &o->actions.reboot)) {
        bad = reboot;
        name = "reboot";
    } else if (shutdown && !shutdown_action_parse(shutdown, &o->actions.shutdown)) {
        bad = shutdown;
        name = "shutdown";
    } else if (panic && !panic_action_parse(panic, &o->actions.panic)) {
        bad = panic;
        name = "panic";
    } else if (watchdog && !watchdog_action_parse(watchdog, &o->actions.watchdog)) {
        bad = watchdog;
        name = "watchdog";
    }
    o->has_reboot |= reboot != NULL;
    o->has_shutdown |= shutdown != NULL;
    o->has_panic |= panic != NULL;
    o->has_watchdog |= watchdog != NULL;
    if (bad) {
        g_set_error(error, CLI_ERROR, 0, "Parameter '%s' does not accept value '%s'", name, bad);
    }
    bool ok = !bad && params_end(p, error);
    params_free(p);
    return ok;
}

/* Whether firmware is in flash memory, by -machine or a -drive. */
static bool has_flash(const struct options *o)
{
    bool found = o->config->pflash[0] != NULL;

    for (guint i = 0; i < o->drives->len && !found; i++) {
        struct params *p =
            params_parse(((struct option_text *)o->drives->pdata[i])->text, NULL, NULL);

        found = p && g_strcmp0(params_take(p, "if"), "pflash") == 0;
        params_free(p);
    }
    return found;
}

/* The firmware's path. Without a kernel there is SeaBIOS, but where nothing executes. */
static bool firmware_choose(struct options *o, const struct board *board, GError **error)
{
    struct machine_config *config = o->config;
    g_autofree char *name = config->firmware;

    config->firmware = NULL;
    if (config->pflash[1] && !has_flash(o)) {
        g_set_error(error, CLI_ERROR, 0, "-machine pflash1 is only for a machine with pflash0");
        return false;
    }
    if (has_flash(o)) {
        if (name || (config->kernel && !config->kernel_by_firmware)) {
            g_set_error(error, CLI_ERROR, 0,
                        "firmware in flash memory (pflash) and %s together are not supported%s",
                        name ? "-bios" : "-kernel",
                        name ? "" : " but with -machine kernel-boot=firmware");
            return false;
        }
        return true;
    }
    if (!name && board->firmware && (!config->kernel || config->kernel_by_firmware) &&
        strcmp(config->accels->pdata[0], "qtest") != 0) {
        name = g_strdup(board->firmware);
    }
    if (name) {
        config->firmware = data_file_find(config->data_dirs, name, error);
        g_prefix_error(error, "firmware: ");
    }
    return !name || config->firmware;
}

static uint64_t host_memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
}

bool opt_machine_finish(struct options *o, GError **error)
{
    struct machine_config *config = o->config;
    const struct board *board;

    if (!config->machine_type) {
        for (unsigned i = 0; boards[i]; i++) {
            if (boards[i]->is_default) {
                config->machine_type = g_strdup(boards[i]->name);
            }
        }
    }
    board = board_find(config->machine_type);
    if (config->accels->len == 0) {
        g_ptr_array_add(config->accels, g_strdup("tcg"));
    }
    if (config->topology.cpus == 0) {
        config->topology = (struct cpu_topology){1, 1, 1, 1, 1, 1};
    }
    if (board->max_cpus && config->topology.max_cpus > board->max_cpus) {
        g_set_error(error, CLI_ERROR, 0,
                    "Invalid SMP CPUs %u. The max CPUs supported by machine '%s' is %u",
                    config->topology.max_cpus, board->name, board->max_cpus);
        return false;
    }
    if (config->topology.dies > 1 && !board->has_dies) {
        g_set_error(error, CLI_ERROR, 0, "dies not supported by this machine's CPU topology");
        return false;
    }
    if (!numa_place_cpus(o, error) || !memory_backend_choose(o, error)) {
        return false;
    }
    if (config->ram_bytes == 0) {
        config->ram_bytes = DEFAULT_RAM_BYTES;
    }
    if (!check_max_memory(o, error) || !numa_finish(o, error)) {
        return false;
    }
    if (!config->ram_backing.path && config->ram_bytes > host_memory_bytes()) {
        g_set_error(error, CLI_ERROR, 0,
                    "-m: %" G_GUINT64_FORMAT " MiB of memory, the host has %" G_GUINT64_FORMAT,
                    config->ram_bytes >> 20, host_memory_bytes() >> 20);
        return false;
    }
    if (!config->kernel && (config->initrd || config->append)) {
        g_set_error(error, CLI_ERROR, 0, "%s is only for a -kernel",
                    config->initrd ? "-initrd" : "-append");
        return false;
    }
    if (config->kernel && config->firmware && !config->kernel_by_firmware) {
        g_set_error(error, CLI_ERROR, 0,
                    "-kernel and -bios together are not supported: a kernel is started without "
                    "firmware but with -machine kernel-boot=firmware");
        return false;
    }
    return firmware_choose(o, board, error);
}
