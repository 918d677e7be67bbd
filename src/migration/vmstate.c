/*
 * The state of a machine that stands: writing and reading (see vmstate.h). What the machine
 * consists of is in description.c.
 */
#include "migration/vmstate.h"

#include "cpu/vcpu-stream.h"
#include "migration/record.h"
#include <inttypes.h>
#include <string.h>

/* ---- what is of no device and no vCPU */

struct machine_state {
    int64_t clock_ns;     /* of the virtual clock */
    bool suspend_pending; /* the guest asked for sleep just before it was stopped */
    uint8_t pad[7];
};

static const struct state_field machine_fields[] = {
    STATE(struct machine_state, clock_ns),
    STATE(struct machine_state, suspend_pending),
    STATE_PAD(struct machine_state, pad),
    {0},
};

static const struct state_desc machine_desc = {
    .name = "machine",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct machine_state),
    .fields = machine_fields,
};

/* ---- writing */

static void put_machine(struct machine *m, enum run_state run_state, GByteArray *out)
{
    struct machine_state state = {.clock_ns = vclock_now(m->clock),
                                  .suspend_pending = machine_suspend_pending(m)};
    size_t start = record_begin(out, "mach", 1);

    state_put_name(out, run_state_str(run_state));
    state_save(&machine_desc, &state, out);
    record_end(out, start);
}

void vmstate_put_state(struct machine *m, enum run_state run_state, GByteArray *out)
{
    size_t start;

    put_machine(m, run_state, out);
    for (unsigned i = 0; m->cpus && i < m->cpus->n; i++) {
        start = record_begin(out, "vcpu", 1);
        state_put_number(out, m->cpus->vcpu[i]->index, 4);
        vcpu_stream_save(m->cpus->vcpu[i], out);
        record_end(out, start);
    }
    start = record_begin(out, "devs", 1);
    devices_save(&m->env, out);
    record_end(out, start);
}

void vmstate_save(struct machine *m, enum run_state run_state, GByteArray *out)
{
    vmstate_put_description(m, out);
    vmstate_put_state(m, run_state, out);
    record_end(out, record_begin(out, "end ", 1));
}

/* ---- reading */

struct vmstate_loader {
    struct machine *machine;
    bool has_machine;
    struct machine_state state;
    enum run_state run_state;
    unsigned n_vcpus;
    struct vcpu_stream_state **vcpu; /* by index; NULL: not yet */
    uint8_t *devices;                /* payload of "devs"; NULL: not yet */
    size_t devices_bytes;
};

struct vmstate_loader *vmstate_loader_new(struct machine *m)
{
    struct vmstate_loader *l = g_new0(struct vmstate_loader, 1);

    l->machine = m;
    l->n_vcpus = m->cpus ? m->cpus->max : 0;
    l->vcpu = g_new0(struct vcpu_stream_state *, l->n_vcpus + 1);
    return l;
}

void vmstate_loader_free(struct vmstate_loader *l)
{
    if (l) {
        for (unsigned i = 0; i < l->n_vcpus; i++) {
            g_free(l->vcpu[i]);
        }
        g_free(l->vcpu);
        g_free(l->devices);
        g_free(l);
    }
}

static bool at_end(const struct state_input *in, const char *kind, GError **error)
{
    return in->left == 0 ||
           migration_refuse(error, "stream: record '%s': %zu bytes too many", kind, in->left);
}

static bool add_machine(struct vmstate_loader *l, struct state_input *in, GError **error)
{
    char name[256];

    if (l->has_machine) {
        return migration_refuse(error, "stream: the state of the machine comes twice");
    }
    if (!state_take_name(in, name) || !run_state_parse(name, &l->run_state)) {
        return migration_refuse(error, "stream: the machine's run state is none that is known");
    }
    l->has_machine = state_load(&machine_desc, &l->state, in, "machine", error);
    if (l->has_machine && l->state.clock_ns < 0) {
        return migration_refuse(
            error, "machine: field 'clock_ns': %" PRId64 " is before the machine's start",
            l->state.clock_ns);
    }
    return l->has_machine;
}

static bool add_vcpu(struct vmstate_loader *l, struct state_input *in, GError **error)
{
    g_autofree char *who = NULL;
    uint64_t index;

    if (!state_take_number(in, 4, &index)) {
        return migration_refuse(error, "stream: a record of a CPU is cut short");
    }
    if (index >= l->n_vcpus || !cpus_find(l->machine->cpus, (unsigned)index)) {
        return migration_refuse(error, "CPU %u: in the stream, not in this machine",
                                (unsigned)index);
    }
    if (l->vcpu[index]) {
        return migration_refuse(error, "stream: the state of CPU %u comes twice", (unsigned)index);
    }
    who = g_strdup_printf("CPU %u", (unsigned)index);
    l->vcpu[index] = vcpu_stream_load(in, who, error);
    return l->vcpu[index] != NULL;
}

static bool add_devices(struct vmstate_loader *l, struct state_input *in, GError **error)
{
    if (l->devices) {
        return migration_refuse(error, "stream: the state of the devices comes twice");
    }
    l->devices = g_try_malloc(MAX(in->left, 1));
    if (!l->devices) {
        return migration_refuse(error, "stream: no memory for %zu bytes of device state", in->left);
    }
    memcpy(l->devices, in->data, in->left);
    l->devices_bytes = in->left;
    in->left = 0;
    return true;
}

bool vmstate_loader_add(struct vmstate_loader *l, const struct record *record, GError **error)
{
    struct state_input in = {record->payload, record->bytes};
    bool ok;

    if (record_is(record, "mach")) {
        ok = record_version(record, 1, error) && add_machine(l, &in, error);
    } else if (record_is(record, "vcpu")) {
        ok = record_version(record, 1, error) && add_vcpu(l, &in, error);
    } else if (record_is(record, "devs")) {
        ok = record_version(record, 1, error) && add_devices(l, &in, error);
    } else {
        return migration_refuse(error, "stream: record '%s' is not known here", record->kind);
    }
    return ok && at_end(&in, record->kind, error);
}

static bool is_complete(const struct vmstate_loader *l, GError **error)
{
    if (!l->has_machine || !l->devices) {
        return migration_refuse(error, "stream: it ends without the state of the %s",
                                l->has_machine ? "devices" : "machine");
    }
    for (unsigned i = 0; i < l->n_vcpus; i++) {
        if (!l->vcpu[i] && cpus_find(l->machine->cpus, i)) {
            return migration_refuse(error, "stream: it ends without the state of CPU %u", i);
        }
    }
    return true;
}

bool vmstate_loader_finish(struct vmstate_loader *l, enum run_state *run_state, bool *touched,
                           GError **error)
{
    struct machine *m = l->machine;
    struct state_input in = {l->devices, l->devices_bytes};

    g_assert(big_lock_held(&m->lock));
    if (touched) {
        *touched = false;
    }
    if (!is_complete(l, error)) {
        return false;
    }
    if (touched) {
        *touched = true;
    }
    vclock_set(m->clock, l->state.clock_ns);
    machine_set_suspend_pending(m, l->state.suspend_pending);
    if (!devices_load(&m->env, &in, error) || !at_end(&in, "devs", error)) {
        return false;
    }
    for (unsigned i = 0; i < l->n_vcpus; i++) {
        if (l->vcpu[i] && !vcpu_stream_apply(cpus_find(m->cpus, i), l->vcpu[i], error)) {
            return false;
        }
    }
    *run_state = l->run_state;
    return true;
}

static bool load_records(struct vmstate_loader *l, struct state_input *in, GError **error)
{
    struct record record;

    if (!record_take(in, &record, error)) {
        return false;
    }
    if (!record_is(&record, "desc")) {
        return migration_refuse(error, "stream: it begins with record '%s', not with a description",
                                record.kind);
    }
    if (!record_version(&record, 1, error) ||
        !vmstate_check_description(l->machine, record.payload, record.bytes, false, error)) {
        return false;
    }
    for (;;) {
        if (!record_take(in, &record, error)) {
            return false;
        }
        if (record_is(&record, "end ")) {
            return record_version(&record, 1, error);
        }
        if (!vmstate_loader_add(l, &record, error)) {
            return false;
        }
    }
}

bool vmstate_load(struct machine *m, struct state_input *in, enum run_state *run_state,
                  bool *touched, GError **error)
{
    struct vmstate_loader *l = vmstate_loader_new(m);
    bool ok;

    if (touched) {
        *touched = false;
    }
    ok = load_records(l, in, error) && vmstate_loader_finish(l, run_state, touched, error);
    vmstate_loader_free(l);
    return ok;
}
