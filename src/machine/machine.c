/*
 * Putting a machine together and taking it apart. What is in it is the board's business.
 */
#include "machine/machine-priv.h"
#include "machine/smbios-field.h"

#include "base/log.h"
#include "block/job.h"
#include "block/throttle.h"
#include "cpu/x86/cpuid.h"
#include "devices/core/object.h"
#include "machine/debugger.h"
#include "machine/objects.h"
#include <string.h>

GQuark machine_error_quark(void)
{
    return g_quark_from_static_string("machine-error");
}

const struct board *board_find(const char *name)
{
    for (unsigned i = 0; boards[i]; i++) {
        if (strcmp(boards[i]->name, name) == 0 ||
            (boards[i]->alias && strcmp(boards[i]->alias, name) == 0)) {
            return boards[i];
        }
    }
    return NULL;
}

static void global_free(gpointer data)
{
    struct device_global *global = data;

    g_free(global->driver);
    g_free(global->property);
    g_free(global->value);
    g_free(global);
}

void machine_config_add_global(struct machine_config *config, const char *driver,
                               const char *property, const char *value)
{
    struct device_global *global = g_new0(struct device_global, 1);

    global->driver = g_strdup(driver);
    global->property = g_strdup(property);
    global->value = g_strdup(value);
    g_ptr_array_add(config->globals, global);
}

static void smbios_field_free(gpointer data)
{
    struct smbios_field *field = data;

    g_free(field->name);
    g_free(field->value);
    g_free(field);
}

void machine_config_add_smbios(struct machine_config *config, unsigned type, const char *name,
                               const char *value)
{
    struct smbios_field *field = g_new0(struct smbios_field, 1);

    *field = (struct smbios_field){type, g_strdup(name), g_strdup(value)};
    g_ptr_array_add(config->smbios, field);
}

static void fw_file_free(gpointer data)
{
    struct fw_file *file = data;

    g_free(file->name);
    g_bytes_unref(file->content);
    g_free(file);
}

void machine_config_add_fw_file(struct machine_config *config, const char *name, GBytes *content)
{
    struct fw_file *file = g_new0(struct fw_file, 1);

    *file = (struct fw_file){g_strdup(name), g_bytes_ref(content)};
    g_ptr_array_add(config->fw_files, file);
}

static void ram_object_free(gpointer options)
{
    object_options_free(options);
}

struct machine_config *machine_config_new(void)
{
    struct machine_config *config = g_new0(struct machine_config, 1);

    config->accels = g_ptr_array_new_with_free_func(g_free);
    config->globals = g_ptr_array_new_with_free_func(global_free);
    config->smbios = g_ptr_array_new_with_free_func(smbios_field_free);
    config->fw_files = g_ptr_array_new_with_free_func(fw_file_free);
    config->ram_objects = g_ptr_array_new_with_free_func(ram_object_free);
    config->acpi_tables = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    config->data_dirs = g_ptr_array_new_with_free_func(g_free);
    config->boot.reboot_timeout_ms = -1;
    config->accel = ACCEL_CONFIG_DEFAULT;
    return config;
}

void machine_config_free(struct machine_config *config)
{
    if (!config) {
        return;
    }
    g_free(config->machine_type);
    g_free(config->name);
    g_free(config->uuid);
    g_free(config->cpu_spec);
    g_ptr_array_unref(config->accels);
    g_free(config->kernel);
    g_free(config->initrd);
    g_free(config->append);
    g_free(config->firmware);
    for (unsigned i = 0; i < MACHINE_FLASHES; i++) {
        g_free(config->pflash[i]);
    }
    g_free(config->boot.order);
    g_free(config->boot.once);
    g_free(config->boot.splash);
    g_ptr_array_unref(config->data_dirs);
    g_free(config->rtc_base);
    g_free(config->rtc_clock);
    g_free(config->black_box_dir);
    g_free(config->ram_backing.path);
    g_ptr_array_unref(config->ram_objects);
    for (unsigned i = 0; i < NUMA_NODES; i++) {
        g_free(config->numa.node[i].memdev);
    }
    g_free(config->numa.of_cpu);
    g_free(config->symbols);
    g_ptr_array_unref(config->globals);
    g_ptr_array_unref(config->smbios);
    g_ptr_array_unref(config->fw_files);
    g_ptr_array_unref(config->acpi_tables);
    g_free(config);
}

/* ---- vCPUs */

/* Makes the vCPUs; hooks NULL: only looks whether they could be made. */
static bool try_accel(struct machine *m, const char *name, const struct cpus_hooks *hooks,
                      GError **error)
{
    const struct accel_ops *accel = accel_find(name);
    struct cpu_support support;

    if (!accel) {
        g_set_error(error, MACHINE_ERROR, 0, "invalid accelerator '%s' (-accel help lists them)",
                    name);
        return false;
    }
    if (hooks) {
        m->cpus = cpus_new(accel, &m->config->accel, &m->config->topology, m->cpu_model, m->mem,
                           m->io, m->clock, &m->lock, hooks, m, error);
    }
    if (hooks ? !m->cpus : !accel->probe(&support, error)) {
        return false;
    }
    m->accel = accel;
    return true;
}

/* The first that works here; warns of those before. */
static bool first_accel(struct machine *m, const struct cpus_hooks *hooks, GError **error)
{
    GPtrArray *names = m->config->accels;

    for (guint i = 0; i < names->len; i++) {
        g_autoptr(GError) why = NULL;

        if (try_accel(m, names->pdata[i], hooks, &why)) {
            return true;
        }
        if (i + 1 == names->len) {
            g_propagate_error(error, g_steal_pointer(&why));
        } else {
            log_warn("%s; trying '%s'", why->message, (const char *)names->pdata[i + 1]);
        }
    }
    return false;
}

bool machine_choose_accel(struct machine *m, GError **error)
{
    return first_accel(m, NULL, error);
}

bool machine_create_cpus(struct machine *m, const struct cpus_hooks *hooks, GError **error)
{
    m->cpu_model = cpu_model_new(m->config->cpu_spec, &m->config->topology, error);
    if (!m->cpu_model || !first_accel(m, hooks, error)) {
        return false;
    }
    m->env.cpus = m->cpus;
    if (strcmp(m->accel->name, "qtest") == 0) {
        vclock_make_stepped(m->clock); /* nothing executes: time moves by the register door */
    }
    return true;
}

struct vcpu *machine_vcpu(struct machine *m, int64_t index)
{
    return m->cpus && index >= 0 && index < m->cpus->max ? cpus_find(m->cpus, (unsigned)index)
                                                         : NULL;
}

struct chardev *machine_chardev(struct machine *m, const char *id)
{
    for (guint i = 0; i < m->chardevs->len; i++) {
        struct chardev *chr = m->chardevs->pdata[i];

        if (chr->id && strcmp(chr->id, id) == 0) {
            return chr;
        }
    }
    return NULL;
}

static void quit_by_key(void *m)
{
    machine_request_shutdown(m, SHUTDOWN_CAUSE_HOST_UI, "Ctrl-A x");
}

void machine_add_chardev(struct machine *m, struct chardev *chr)
{
    g_ptr_array_add(m->chardevs, chr);
    if (chardev_is_mux(chr)) {
        chardev_mux_on_quit(chr, quit_by_key, m);
    }
}

void machine_park_begin(struct machine *m)
{
    if (m->cpus && runstate_is_running(m->run)) {
        vcpus_pause_all(m->cpus);
    }
}

void machine_park_end(struct machine *m)
{
    if (m->cpus && runstate_is_running(m->run)) {
        vcpus_resume_all(m->cpus);
    }
}

/* ---- the machine */

static char *device_path(struct device_env *env, const struct device *dev)
{
    return machine_device_path(env->system_opaque, dev);
}

static void env_init(struct machine *m)
{
    m->env.mem = m->mem;
    m->env.io = m->io;
    m->env.clock = m->clock;
    m->env.lock = &m->lock;
    m->env.loop = m->loop;
    m->env.system = &machine_system_ops;
    m->env.system_opaque = m;
    m->env.globals = m->config->globals;
    m->env.data_dirs = m->config->data_dirs;
    m->env.block = m->block;
    m->env.net = m->net;
    m->env.device_path = device_path;
    m->env.events = m->events;
    m->env.ram_bytes = m->config->ram_bytes;
}

/* They may be for devices that could be there: no error. */
static void warn_of_unused_globals(const struct machine *m)
{
    for (guint i = 0; i < m->config->globals->len; i++) {
        const struct device_global *g = m->config->globals->pdata[i];

        if (!device_class_find(g->driver)) {
            log_warn("global %s.%s has invalid class name", g->driver, g->property);
        } else if (!g->used) {
            log_warn("global %s.%s=%s not used", g->driver, g->property, g->value);
        }
    }
}

/* The lock is held. */
static int64_t disk_now(void *opaque)
{
    return vclock_now(((struct machine *)opaque)->clock);
}

static void disk_arm(void *opaque, int64_t deadline_ns)
{
    struct machine *m = opaque;

    if (deadline_ns < 0) {
        vtimer_cancel(&m->disk_timer);
    } else {
        vtimer_set(&m->disk_timer, deadline_ns);
    }
}

static void disk_alarm(void *opaque)
{
    block_throttle_alarm(((struct machine *)opaque)->block);
}

/* Where time moves by the register door, so it does for disks' limits: those who drive the guest
 * through it see what they do. */
static void choose_disk_clock(struct machine *m)
{
    const struct throttle_clock clock = {.opaque = m, .now_ns = disk_now, .arm = disk_arm};

    vtimer_init(&m->disk_timer, m->clock, disk_alarm, m);
    if (m->config->accels->len && strcmp(m->config->accels->pdata[0], "qtest") == 0) {
        block_graph_set_throttle_clock(m->block, &clock);
    }
}

/* The RAM's back ends are objects as others are, which nobody else can have. */
static void add_ram_objects(struct machine *m)
{
    const struct machine_config *config = m->config;
    struct object_options ram = {.qom_type = OBJECT_TYPE_MEMORY_BACKEND_RAM,
                                 .id = (char *)m->board->ram_id};

    for (guint i = 0; i < config->ram_objects->len; i++) {
        object_add_ram(&m->env, config->ram_objects->pdata[i]);
    }
    if (config->ram_objects->len || !m->board->ram_id) {
        return;
    }
    if (config->ram_backing.path) {
        ram.qom_type = OBJECT_TYPE_MEMORY_BACKEND_FILE;
        ram.u.memory_backend_file.mem_path = config->ram_backing.path;
        ram.u.memory_backend_file.size = config->ram_bytes;
        ram.u.memory_backend_file.has_prealloc = true;
        ram.u.memory_backend_file.prealloc = config->ram_backing.prealloc;
    } else {
        ram.u.memory_backend_ram.size = config->ram_bytes;
        ram.u.memory_backend_ram.has_prealloc = true;
        ram.u.memory_backend_ram.prealloc = config->ram_backing.prealloc;
    }
    object_add_ram(&m->env, &ram);
}

static bool build(struct machine *m, GError **error)
{
    m->clock = vclock_new(m->loop, false);
    choose_disk_clock(m);
    m->net = net_new(m->events, m->clock, m->loop, true);
    m->mem = address_space_new("memory", UINT64_MAX);
    m->io = address_space_new("I/O", 0xffff);
    env_init(m);
    add_ram_objects(m);
    if (m->config->prepare && !m->config->prepare(m, m->config->populate_opaque, error)) {
        return false;
    }
    if (!m->board->init(m, error)) {
        return false;
    }
    if (m->config->populate && !m->config->populate(m, m->config->populate_opaque, error)) {
        return false;
    }
    warn_of_unused_globals(m);
    devices_pause(&m->env);
    if (!machine_reset(m, RESET_COLD)) {
        g_set_error(error, MACHINE_ERROR, 0, "machine '%s' cannot be reset", m->board->name);
        return false;
    }
    return true;
}

static void note_state(void *causes, enum run_state from, enum run_state to)
{
    causes_note_state(causes, from, to);
}

static void disk_failed(void *opaque, const char *whose, bool stop, void (*tell)(void *arg),
                        void *arg)
{
    struct machine *m = opaque;
    struct cause_scope scope;

    cause_enter(m, &scope, cause_now(m, GODWIT_CAUSE_WHO_DEVICE, whose));
    tell(arg);
    if (stop) {
        machine_request_stop(m, RUN_STATE_IO_ERROR, whose);
    }
    cause_leave(m, &scope);
}

static struct machine *machine_alloc(const struct board *board,
                                     struct loop *(*make_loop)(struct big_lock *),
                                     struct event_sink *events)
{
    struct machine *m = g_new0(struct machine, 1);

    m->board = board;
    m->causes = causes_new(m, events);
    m->events = causes_sink(m->causes);
    big_lock_init(&m->lock);
    m->loop = make_loop(&m->lock);
    m->run = runstate_new(RUN_STATE_PRELAUNCH);
    runstate_observe(m->run, note_state, m->causes);
    m->requests = requests_new();
    m->host_memory = host_memory_new();
    m->block = block_graph_new(m->events, m->loop);
    block_graph_on_failure(m->block, disk_failed, m);
    m->jobs = jobs_new(m->events, m->loop);
    m->chardevs = g_ptr_array_new_with_free_func((GDestroyNotify)chardev_free);
    return m;
}

struct machine *machine_new(struct machine_config *config,
                            struct loop *(*make_loop)(struct big_lock *), struct event_sink *events,
                            GError **error)
{
    const struct board *board = board_find(config->machine_type);
    struct machine *m;
    bool ok;

    if (!board) {
        g_set_error(error, MACHINE_ERROR, 0,
                    "unsupported machine type '%s' (-machine help lists those there are)",
                    config->machine_type);
        return NULL;
    }
    m = machine_alloc(board, make_loop, events);
    m->config = config;
    m->preconfig = config->preconfig;
    if (config->incoming) {
        block_inactivate(m->block, NULL); /* there is nothing in it yet */
    }
    big_lock_acquire(&m->lock);
    m->blackbox = blackbox_new(config->black_box_dir, config->symbols, error);
    ok = m->blackbox && build(m, error);
    if (ok && config->incoming) {
        runstate_set(m->run, RUN_STATE_INMIGRATE);
    }
    big_lock_release(&m->lock);
    if (!ok) {
        m->config = NULL; /* stays the caller's */
        machine_free(m);
        return NULL;
    }
    return m;
}

void machine_free(struct machine *m)
{
    if (!m) {
        return;
    }
    big_lock_acquire(&m->lock);
    if (m->cpus) {
        vcpus_pause_all(m->cpus);
    }
    debugger_close(m);
    jobs_free(m->jobs);
    devices_free(&m->env);
    if (m->cpus) {
        cpus_free(m->cpus);
    }
    if (m->board->finish) {
        m->board->finish(m);
    }
    objects_free(&m->env);
    block_graph_free(m->block);
    net_free(m->net);
    while (m->chardevs->len) { /* a mux before what it is over */
        g_ptr_array_remove_index(m->chardevs, m->chardevs->len - 1);
    }
    g_ptr_array_unref(m->chardevs);
    big_lock_release(&m->lock);
    cpu_model_free(m->cpu_model);
    address_space_free(m->mem);
    address_space_free(m->io);
    vclock_free(m->clock);
    requests_free(m->requests);
    blackbox_free(m->blackbox);
    host_memory_free(m->host_memory);
    causes_free(m->causes);
    runstate_free(m->run);
    loop_free(m->loop);
    machine_config_free(m->config);
    g_free(m);
}
