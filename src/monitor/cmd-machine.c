/*
 * Commands of the schema module machine.
 */
#include "monitor/monitor-priv.h"

#include "cpu/x86/cpuid.h"
#include "devices/memory-slots.h"
#include "devices/virtio/virtio-balloon.h"
#include "machine/cpu-hotplug.h"
#include "machine/objects.h"
#include "qapi-commands.h"
#include "qapi/error.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Room beside the RAM for what firmware and video map: pmemsave of all there is must be possible.
 */
#define PMEMSAVE_EXTRA_BYTES (64u << 20)
#define SAVE_CHUNK_BYTES     (64u << 10)

/* ---- queries */

static struct cpu_instance_properties *cpu_props_new(const struct machine *m, unsigned index)
{
    struct cpu_instance_properties *props = g_new0(struct cpu_instance_properties, 1);
    struct cpu_place place = machine_cpu_place(m, index);

    props->has_thread_id = true;
    props->thread_id = place.thread;
    props->has_core_id = true;
    props->core_id = place.core;
    props->has_die_id = m->config->topology.dies > 1;
    props->die_id = place.die;
    props->has_socket_id = true;
    props->socket_id = place.socket;
    props->has_node_id = m->config->numa.of_cpu != NULL;
    props->node_id = props->has_node_id ? m->config->numa.of_cpu[index] : 0;
    return props;
}

static struct cpu_info_fast *cpu_info_new(struct machine *m, const struct vcpu *vcpu)
{
    struct cpu_info_fast *info = g_new0(struct cpu_info_fast, 1);

    info->cpu_index = vcpu->index;
    info->qom_path = machine_vcpu_path(m, vcpu);
    info->thread_id = (int64_t)vcpu->thread_id;
    info->target = SYS_EMU_TARGET_X86_64;
    info->props = cpu_props_new(m, vcpu->index);
    return info;
}

struct hotpluggable_cpu_list *qmp_query_hotpluggable_cpus(struct qmp_call *call, GError **errp)
{
    struct hotpluggable_cpu_list *list;
    struct machine *m = call->machine;

    if (!m->board->cpu_hotplug) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "The feature 'query-hotpluggable-cpus' is not enabled");
        return NULL;
    }
    list = hotpluggable_cpu_list_new();
    for (unsigned i = m->cpus->max; i-- > 0;) {
        struct hotpluggable_cpu *cpu = g_new0(struct hotpluggable_cpu, 1);
        const struct vcpu *vcpu = cpus_find(m->cpus, i);

        cpu->type = machine_cpu_driver(m);
        cpu->vcpus_count = 1;
        cpu->props = cpu_props_new(m, i);
        cpu->qom_path = vcpu ? machine_vcpu_path(m, vcpu) : NULL;
        hotpluggable_cpu_list_append(list, cpu);
    }
    return list;
}

struct cpu_info_fast_list *qmp_query_cpus_fast(struct qmp_call *call, GError **errp)
{
    struct cpu_info_fast_list *list = cpu_info_fast_list_new();
    const struct cpus *cpus = call->machine->cpus;

    for (unsigned i = 0; cpus && i < cpus->max; i++) {
        const struct vcpu *vcpu = cpus_find(cpus, i);

        if (vcpu) {
            cpu_info_fast_list_append(list, cpu_info_new(call->machine, vcpu));
        }
    }
    return list;
}

struct machine_info_list *qmp_query_machines(struct qmp_call *call, GError **errp)
{
    struct machine_info_list *list = machine_info_list_new();

    for (unsigned i = 0; boards[i]; i++) {
        struct machine_info *info = g_new0(struct machine_info, 1);

        info->name = g_strdup(boards[i]->name);
        info->alias = g_strdup(boards[i]->alias);
        info->has_is_default = boards[i]->is_default;
        info->is_default = boards[i]->is_default;
        info->cpu_max = boards[i]->max_cpus;
        info->hotpluggable_cpus = boards[i]->cpu_hotplug;
        info->default_ram_id = g_strdup(boards[i]->ram_id);
        /* No default-cpu-type: it is "max", which libvirt would take for a named model. */
        machine_info_list_append(list, info);
    }
    return list;
}

struct current_machine_params *qmp_query_current_machine(struct qmp_call *call, GError **errp)
{
    struct current_machine_params *params = g_new0(struct current_machine_params, 1);

    params->wakeup_suspend_support = call->machine->board->wakeup_suspend;
    return params;
}

struct target_info *qmp_query_target(struct qmp_call *call, GError **errp)
{
    struct target_info *info = g_new0(struct target_info, 1);

    info->arch = SYS_EMU_TARGET_X86_64;
    return info;
}

struct uuid_info *qmp_query_uuid(struct qmp_call *call, GError **errp)
{
    struct uuid_info *info = g_new0(struct uuid_info, 1);
    const char *uuid = call->machine->config->uuid;

    info->UUID = g_strdup(uuid ? uuid : "00000000-0000-0000-0000-000000000000");
    return info;
}

struct kvm_info *qmp_query_kvm(struct qmp_call *call, GError **errp)
{
    struct kvm_info *info = g_new0(struct kvm_info, 1);
    const struct accel_ops *kvm = accel_find("kvm");

    info->present = kvm != NULL;
    info->enabled = kvm && call->machine->accel == kvm;
    return info;
}

struct memory_info *qmp_query_memory_size_summary(struct qmp_call *call, GError **errp)
{
    struct memory_info *info = g_new0(struct memory_info, 1);

    info->base_memory = call->machine->config->ram_bytes;
    info->has_plugged_memory = true;
    info->plugged_memory = memory_slots_plugged_bytes(call->machine->env.memory_slots);
    return info;
}

/* ---- power */

bool qmp_system_reset(struct qmp_call *call, GError **errp)
{
    machine_request_reset(call->machine, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, "system_reset");
    return true;
}

bool qmp_system_powerdown(struct qmp_call *call, GError **errp)
{
    machine_request_powerdown(call->machine);
    return true;
}

bool qmp_system_wakeup(struct qmp_call *call, GError **errp)
{
    struct machine *m = call->machine;

    if (!m->board->wakeup_suspend) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "wake-up from suspend is not supported by this guest");
        return false;
    }
    if (runstate_get(m->run) != RUN_STATE_SUSPENDED) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Unable to wake up: guest is not in suspended state");
        return false;
    }
    machine_request_wakeup(m, "system_wakeup");
    return true;
}

bool qmp_inject_nmi(struct qmp_call *call, GError **errp)
{
    if (!machine_inject_nmi(call->machine)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "this feature or command is not currently supported");
        return false;
    }
    return true;
}

/* ---- memory to a file */

typedef bool (*save_read_fn)(void *opaque, uint64_t addr, void *buf, size_t length);

static bool fail_address(uint64_t addr, int64_t size, GError **errp)
{
    g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                "Invalid addr 0x%016" PRIx64 "/size %" PRId64 " specified", addr, size);
    return false;
}

/* Without waiting for a pipe's reader: nothing may hold up the machine. */
static int save_open(const char *filename, GError **errp)
{
    int fd = open(filename, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0666);

    if (fd < 0) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Could not open '%s': %s", filename,
                    strerror(errno));
    }
    return fd;
}

static bool write_all(int fd, const char *buf, size_t length)
{
    while (length) {
        ssize_t n = write(fd, buf, length);

        if (n < 0 && errno != EINTR) {
            return false;
        }
        if (n > 0) {
            buf += n;
            length -= (size_t)n;
        }
    }
    return true;
}

static bool save_bytes(int fd, uint64_t addr, uint64_t size, save_read_fn read, void *opaque,
                       GError **errp)
{
    g_autofree char *buf = g_malloc(SAVE_CHUNK_BYTES);
    uint64_t done = 0;

    while (done < size) {
        size_t n = MIN(size - done, SAVE_CHUNK_BYTES - (addr + done) % SAVE_CHUNK_BYTES);

        if (!read(opaque, addr + done, buf, n)) {
            return fail_address(addr, (int64_t)size, errp);
        }
        if (!write_all(fd, buf, n)) {
            g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "An IO error has occurred");
            return false;
        }
        done += n;
    }
    return true;
}

/* The file is complete, or gone (when it is one that can be removed). */
static bool save(const char *filename, uint64_t addr, int64_t size, save_read_fn read, void *opaque,
                 GError **errp)
{
    int fd = save_open(filename, errp);
    struct stat st;
    bool ok;

    if (fd < 0) {
        return false;
    }
    ok = save_bytes(fd, addr, (uint64_t)size, read, opaque, errp);
    if (!ok && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        unlink(filename);
    }
    close(fd);
    return ok;
}

static bool read_physical(void *machine, uint64_t addr, void *buf, size_t length)
{
    /* Where nothing is, or a device, there are ones: a dump goes on across holes. */
    address_space_read(((struct machine *)machine)->mem, addr, buf, length);
    return true;
}

static bool read_linear(void *opaque, uint64_t addr, void *buf, size_t length)
{
    struct vcpu *vcpu = opaque;

    return vcpu->ops->read_linear(vcpu, addr, buf, length);
}

static bool size_fits(const struct machine *m, uint64_t addr, int64_t size)
{
    return size >= 0 &&
           (uint64_t)size <=
               MAX(m->config->ram_bytes, m->config->max_ram_bytes) + PMEMSAVE_EXTRA_BYTES &&
           (!size || addr + (uint64_t)size - 1 >= addr);
}

bool qmp_memsave(struct qmp_call *call, const struct qmp_memsave_arg *arg, GError **errp)
{
    struct machine *m = call->machine;
    struct vcpu *vcpu = machine_vcpu(m, arg->has_cpu_index ? arg->cpu_index : 0);
    uint64_t addr = (uint64_t)arg->val;
    bool ok;

    if (!vcpu) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter 'cpu-index' expects a CPU number");
        return false;
    }
    if (!size_fits(m, addr, arg->size)) {
        return fail_address(addr, arg->size, errp);
    }
    machine_park_begin(m);
    ok = save(arg->filename, addr, arg->size, read_linear, vcpu, errp);
    machine_park_end(m);
    return ok;
}

bool qmp_pmemsave(struct qmp_call *call, const struct qmp_pmemsave_arg *arg, GError **errp)
{
    uint64_t addr = (uint64_t)arg->val;

    if (!size_fits(call->machine, addr, arg->size)) {
        return fail_address(addr, arg->size, errp);
    }
    return save(arg->filename, addr, arg->size, read_physical, call->machine, errp);
}

/* ---- the balloon */

static struct device *find_balloon(struct qmp_call *call, GError **errp)
{
    struct device *dev = devices_find_class(&call->machine->env, &virtio_balloon_pci_class);

    if (call->machine->cpus && call->machine->cpus->keeps_memory) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_KVM_MISSING_CAP,
                    "Using KVM without synchronous MMU, balloon unavailable");
        return NULL;
    }
    if (!dev) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_ACTIVE,
                    "No balloon device has been activated");
    }
    return dev;
}

bool qmp_balloon(struct qmp_call *call, const struct qmp_balloon_arg *arg, GError **errp)
{
    struct device *dev = find_balloon(call, errp);

    if (!dev) {
        return false;
    }
    if (arg->value <= 0) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "Parameter 'target' expects a size");
        return false;
    }
    virtio_balloon_set_target(dev, (uint64_t)arg->value);
    return true;
}

struct balloon_info *qmp_query_balloon(struct qmp_call *call, GError **errp)
{
    const struct device *dev = find_balloon(call, errp);
    struct balloon_info *info = dev ? g_new0(struct balloon_info, 1) : NULL;

    if (dev) {
        info->actual = (int64_t)virtio_balloon_actual(dev);
    }
    return info;
}
