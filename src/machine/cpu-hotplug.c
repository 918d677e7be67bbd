/*
 * vCPUs that come and go: see cpu-hotplug.h.
 *
 * A place is taken or free; free places can be filled in any order, the boot CPU's stays taken. The
 * guest lets a vCPU go through its ACPI methods, on another vCPU's thread: the main loop takes it
 * out then, for its thread must end first.
 */
#include "machine/cpu-hotplug.h"

#include "cpu/x86/cpuid.h"
#include "devices/acpi-cpuhp.h"
#include "machine/objects.h"
#include "qapi-events.h"
#include <string.h>

#define CPU_SUFFIX "-x86_64-cpu"

struct cpu_place machine_cpu_place(const struct machine *m, unsigned index)
{
    const struct cpu_topology *t = &m->config->topology;
    unsigned core = index / MAX(t->threads, 1), die = core / MAX(t->cores, 1);

    return (struct cpu_place){.thread = index % MAX(t->threads, 1),
                              .core = core % MAX(t->cores, 1),
                              .die = die % MAX(t->dies, 1),
                              .socket = die / MAX(t->dies, 1)};
}

char *machine_cpu_driver(const struct machine *m)
{
    return g_strconcat(m->cpu_model->name, CPU_SUFFIX, NULL);
}

bool machine_is_cpu_driver(const char *driver)
{
    return driver && g_str_has_suffix(driver, CPU_SUFFIX);
}

struct vcpu *machine_cpu_by_id(const struct machine *m, const char *id)
{
    for (unsigned i = 0; m->cpus && i < m->cpus->n; i++) {
        if (g_strcmp0(m->cpus->vcpu[i]->id, id) == 0) {
            return m->cpus->vcpu[i];
        }
    }
    return NULL;
}

/* ---- plugging in */

/* One number of a place; -1: not given. */
static bool take(struct params *p, const char *key, unsigned n, bool needed, unsigned *value,
                 GError **error)
{
    uint64_t number = UINT64_MAX;

    if (!params_take_uint(p, key, 0, UINT32_MAX, &number, error)) {
        return false;
    }
    if (number == UINT64_MAX) {
        *value = 0;
        if (needed) {
            g_set_error(error, MACHINE_ERROR, 0, "CPU %s is not set", key);
        }
        return !needed;
    }
    if (number >= n) {
        g_set_error(error, MACHINE_ERROR, 0,
                    "Invalid CPU %s: %" G_GUINT64_FORMAT " must be in range 0:%u", key, number,
                    n - 1);
        return false;
    }
    *value = (unsigned)number;
    return true;
}

static bool take_place(const struct machine *m, struct params *p, unsigned *index, GError **error)
{
    const struct cpu_topology *t = &m->config->topology;
    struct cpu_place place;

    if (!take(p, "socket-id", t->sockets, true, &place.socket, error) ||
        !take(p, "die-id", t->dies, t->dies > 1, &place.die, error) ||
        !take(p, "core-id", t->cores, true, &place.core, error) ||
        !take(p, "thread-id", t->threads, true, &place.thread, error)) {
        return false;
    }
    *index =
        ((place.socket * t->dies + place.die) * t->cores + place.core) * t->threads + place.thread;
    return true;
}

static bool check_node(const struct machine *m, struct params *p, unsigned index, GError **error)
{
    unsigned node = m->config->numa.of_cpu ? m->config->numa.of_cpu[index] : 0;
    uint64_t given = node;

    if (!params_take_uint(p, "node-id", 0, UINT32_MAX, &given, error)) {
        return false;
    }
    if (given != node) {
        g_set_error(error, MACHINE_ERROR, 0,
                    "invalid node-id, must be %u: that is where this CPU belongs to", node);
    }
    return given == node;
}

/* The board's registers; NULL: it has none. */
static struct device *controller(struct machine *m)
{
    return devices_find_class(&m->env, &acpi_cpuhp_class);
}

static bool check_machine(struct machine *m, const char *driver, GError **error)
{
    g_autofree char *ours = m->cpus ? machine_cpu_driver(m) : NULL;

    if (!m->cpus) {
        g_set_error(error, MACHINE_ERROR, 0, "this machine has no CPUs");
        return false;
    }
    if (strcmp(driver, ours) != 0) {
        g_set_error(error, MACHINE_ERROR, 0, "Invalid CPU type, expected cpu type: '%s'", ours);
        return false;
    }
    return true;
}

bool machine_plug_cpu(struct machine *m, const char *driver, struct params *p, bool hotplugged,
                      GError **error)
{
    const char *id = params_take(p, "id");
    const struct vcpu *there;
    struct vcpu *vcpu;
    unsigned index;

    if (!check_machine(m, driver, error) || !take_place(m, p, &index, error) ||
        !check_node(m, p, index, error) || !params_end(p, error)) {
        return false;
    }
    there = cpus_find(m->cpus, index);
    if (there) {
        g_set_error(error, MACHINE_ERROR, 0, "CPU[%u] with APIC ID %u exists", index,
                    there->apic_id);
        return false;
    }
    if (hotplugged && !controller(m)) {
        g_set_error(error, MACHINE_ERROR, 0, "CPU hot plug is not supported by this machine");
        return false;
    }
    vcpu = cpus_plug(m->cpus, index, runstate_is_running(m->run), error);
    if (!vcpu) {
        return false;
    }
    vcpu->plugged = true;
    vcpu->id = g_strdup(id);
    if (hotplugged) {
        acpi_cpuhp_plugged(controller(m), index);
    }
    return true;
}

/* ---- taking out */

bool machine_unplug_cpu(struct machine *m, struct vcpu *vcpu, GError **error)
{
    if (vcpu->index == 0) {
        g_set_error(error, MACHINE_ERROR, 0, "Boot CPU is unpluggable");
        return false;
    }
    if (!controller(m)) {
        g_set_error(error, MACHINE_ERROR, 0, "CPU hot unplug is not supported by this machine");
        return false;
    }
    acpi_cpuhp_ask(controller(m), vcpu->index);
    return true;
}

struct going {
    struct machine *machine;
    unsigned index;
};

/* The main loop. Meanwhile the place may have been emptied already. */
static void take_out(void *arg)
{
    g_autofree struct going *going = arg;
    struct machine *m = going->machine;
    struct vcpu *vcpu = cpus_find(m->cpus, going->index);
    g_autofree char *path = vcpu ? machine_vcpu_path(m, vcpu) : NULL;
    g_autofree char *id = vcpu ? g_strdup(vcpu->id) : NULL;

    if (vcpu) {
        m->parts_gone++;
        cpus_unplug(m->cpus, vcpu);
        qapi_event_send_device_deleted(m->events, id, path);
    }
}

void machine_cpu_out(void *machine, unsigned index)
{
    struct machine *m = machine;
    struct going *going = g_new0(struct going, 1);

    going->machine = m;
    going->index = index;
    loop_post(m->loop, take_out, going);
}

void machine_cpu_kept(void *machine, struct vcpu *vcpu)
{
    struct machine *m = machine;
    g_autofree char *path = machine_vcpu_path(m, vcpu);

    qapi_event_send_device_unplug_guest_error(m->events, vcpu->id, path);
}
