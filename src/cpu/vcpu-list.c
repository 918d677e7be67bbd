/*
 * The list of a machine's vCPUs: made with it, plugged, unplugged and freed (see vcpu.h).
 *
 * Whoever looks at the list is in guest code, an I/O thread that reads the address space, or holds
 * the machine lock; so it changes with that held, in an exclusive section, while no I/O thread
 * reads. A vCPU that was taken out stays at hand for when one comes back in its place.
 *
 * One program serves one guest architecture: APIC ids come from cpu/x86/.
 */
#include "cpu/vcpu-priv.h"

#include "cpu/x86/cpuid.h"
#include "cpu/x86/state.h"
#include <string.h>

static bool check_one_insn(const struct accel_ops *accel, bool on, GError **error)
{
    if (on && !accel->one_insn) {
        g_set_error(error, g_quark_from_static_string("cpu-error"), 0,
                    "single steps: the accelerator '%s' can't, only 'tcg'", accel->name);
        return false;
    }
    return true;
}

bool cpus_set_one_insn(struct cpus *cpus, bool on, GError **error)
{
    if (!check_one_insn(cpus->accel, on, error)) {
        return false;
    }
    atomic_store(&cpus->one_insn, on);
    for (unsigned i = 0; i < cpus->n && cpus->accel->one_insn; i++) {
        if (!cpus->vcpu[i]->ops->debug_points(cpus->vcpu[i], error)) {
            return false;
        }
    }
    return true;
}

static bool vcpu_start(struct vcpu *vcpu, GError **error)
{
    if (vcpu->cpus->turns) {
        return turns_join(vcpu->cpus->turns, vcpu, error);
    }
    int err = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);

    if (err) {
        g_set_error(error, g_quark_from_static_string("cpu-error"), 0,
                    "vCPU %u: cannot start a thread: %s", vcpu->index, strerror(err));
        return false;
    }
    vcpu->thread_started = true;
    g_mutex_lock(&vcpu->cpus->mutex);
    while (!vcpu->parked) { /* from then on its thread id is known */
        g_cond_wait(&vcpu->cpus->all_parked, &vcpu->cpus->mutex);
    }
    g_mutex_unlock(&vcpu->cpus->mutex);
    return true;
}

/* Their ids are known then, for who asks at once. */
static void wait_until_parked(struct cpus *cpus)
{
    g_mutex_lock(&cpus->mutex);
    for (unsigned i = 0; i < cpus->n; i++) {
        while (!cpus->vcpu[i]->parked) {
            g_cond_wait(&cpus->all_parked, &cpus->mutex);
        }
    }
    g_mutex_unlock(&cpus->mutex);
}

static struct vcpu *vcpu_alloc(struct cpus *cpus, unsigned index)
{
    struct vcpu *vcpu = g_new0(struct vcpu, 1);

    vcpu->cpus = cpus;
    vcpu->ops = cpus->accel->vcpu;
    vcpu->index = index;
    vcpu->apic_id = cpu_topology_apic_id(&cpus->model->topology, index);
    vcpu->req = VCPU_REQ_PAUSE;
    vcpu->mp_state = index == 0 ? MP_RUNNABLE : MP_UNINITIALIZED;
    g_cond_init(&vcpu->wake);
    g_queue_init(&vcpu->run_queue);
    return vcpu;
}

static bool vcpu_add(struct cpus *cpus, unsigned index, GError **error)
{
    struct vcpu *vcpu = vcpu_alloc(cpus, index);

    cpus->vcpu[cpus->n++] = vcpu;
    return vcpu->ops->create(vcpu, error);
}

static void vcpu_free(struct vcpu *vcpu)
{
    if (vcpu) {
        vcpu->ops->destroy(vcpu);
        g_cond_clear(&vcpu->wake);
        g_free(vcpu->id);
        g_free(vcpu);
    }
}

/* One that was there before, or a new one; NULL and *error. */
static struct vcpu *vcpu_get(struct cpus *cpus, unsigned index, GError **error)
{
    struct vcpu *vcpu = cpus->spare[index];

    if (vcpu) {
        cpus->spare[index] = NULL;
        atomic_store(&vcpu->req, VCPU_REQ_PAUSE | VCPU_REQ_TLB_FLUSH);
        vcpu->parked = vcpu->look = vcpu->stuck = vcpu->held = vcpu->crashed = false;
        return vcpu;
    }
    vcpu = vcpu_alloc(cpus, index);
    if (!vcpu->ops->create(vcpu, error)) {
        vcpu_free(vcpu);
        return NULL;
    }
    return vcpu;
}

/* Others look at the list while they are in guest code, or I/O threads of the address space. */
static void list_change_begin(struct cpus *cpus)
{
    cpus_exclusive_begin(cpus, NULL);
    pthread_rwlock_wrlock(&cpus->mem->readers);
}

static void list_change_end(struct cpus *cpus)
{
    pthread_rwlock_unlock(&cpus->mem->readers);
    cpus_exclusive_end(cpus);
}

/* All time stamp counters of a machine go alike. Both stand still. */
static void copy_clock(struct vcpu *from, struct vcpu *to)
{
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);

    if (to->ops->match_clock) {
        to->ops->match_clock(to, from);
    } else {
        from->ops->get(from, state, ST_CLOCK);
        to->ops->set(to, state, ST_CLOCK, NULL);
    }
}

struct vcpu *cpus_plug(struct cpus *cpus, unsigned index, bool run, GError **error)
{
    struct vcpu *vcpu;

    g_assert(big_lock_held(cpus->lock) && index < cpus->max && !cpus_find(cpus, index));
    vcpu = vcpu_get(cpus, index, error);
    if (!vcpu) {
        return NULL;
    }
    vcpu->ops->reset(vcpu);
    if ((cpus->debug.n && !vcpu->ops->debug_points(vcpu, error)) || !vcpu_start(vcpu, error)) {
        cpus->spare[index] = vcpu;
        return NULL;
    }
    list_change_begin(cpus);
    copy_clock(cpus->vcpu[0], vcpu);
    cpus->vcpu[cpus->n++] = vcpu;
    list_change_end(cpus);
    if (run) {
        g_mutex_lock(&cpus->mutex);
        vcpu_unpark(vcpu);
        g_mutex_unlock(&cpus->mutex);
    }
    return vcpu;
}

static void vcpu_end_thread(struct vcpu *vcpu)
{
    struct cpus *cpus = vcpu->cpus;

    if (cpus->turns) {
        big_lock_release(cpus->lock);
        turns_leave(cpus->turns, vcpu);
        big_lock_acquire(cpus->lock);
        return;
    }
    vcpu_request(vcpu, VCPU_REQ_EXIT);
    g_mutex_lock(&cpus->mutex);
    g_cond_signal(vcpu_wake_cond(vcpu));
    g_mutex_unlock(&cpus->mutex);
    big_lock_release(cpus->lock);
    pthread_join(vcpu->thread, NULL);
    big_lock_acquire(cpus->lock);
    vcpu->thread_started = false;
}

void cpus_unplug(struct cpus *cpus, struct vcpu *vcpu)
{
    unsigned at = 0;

    g_assert(big_lock_held(cpus->lock) && vcpu->index > 0);
    vcpu_end_thread(vcpu);
    list_change_begin(cpus);
    while (cpus->vcpu[at] != vcpu) {
        at++;
    }
    cpus->n--;
    memmove(cpus->vcpu + at, cpus->vcpu + at + 1, (cpus->n - at) * sizeof(struct vcpu *));
    list_change_end(cpus);
    g_clear_pointer(&vcpu->id, g_free);
    cpus->spare[vcpu->index] = vcpu;
}

struct cpus *cpus_new(const struct accel_ops *accel, const struct accel_config *config,
                      const struct cpu_topology *topology, struct cpu_model *model,
                      struct address_space *mem, struct address_space *io, struct vclock *clock,
                      struct big_lock *lock, const struct cpus_hooks *hooks, void *hooks_opaque,
                      GError **error)
{
    struct cpus *cpus = g_new0(struct cpus, 1);

    cpus->accel = accel;
    cpus->config = config ? *config : ACCEL_CONFIG_DEFAULT;
    atomic_store(&cpus->one_insn, cpus->config.one_insn);
    cpus->mem = mem;
    cpus->io = io;
    cpus->clock = clock;
    cpus->host_cpus = g_get_num_processors();
    cpus->lock = lock;
    cpus->hooks = hooks;
    cpus->hooks_opaque = hooks_opaque;
    cpus->model = model;
    cpus->tsc_khz = model->tsc_khz;
    cpus->max = MAX(topology->max_cpus, topology->cpus);
    cpus->paused = true;
    cpus->vcpu = g_new0(struct vcpu *, cpus->max);
    cpus->spare = g_new0(struct vcpu *, cpus->max);
    g_mutex_init(&cpus->mutex);
    g_cond_init(&cpus->all_parked);
    if (!check_one_insn(accel, cpus->config.one_insn, error) || !accel->init(cpus, error)) {
        cpus->accel = NULL;
        cpus_free(cpus);
        return NULL;
    }
    if (cpus->config.single && accel->one_thread) {
        cpus->turns = turns_new(cpus);
    }
    mem->guard = io->guard = cpus_map_guard(cpus);
    for (unsigned i = 0; i < topology->cpus; i++) {
        if (!vcpu_add(cpus, i, error)) {
            cpus_free(cpus);
            return NULL;
        }
    }
    for (unsigned i = 0; i < cpus->n; i++) {
        if (!vcpu_start(cpus->vcpu[i], error)) {
            cpus_free(cpus);
            return NULL;
        }
    }
    wait_until_parked(cpus);
    return cpus;
}

static void end_threads(struct cpus *cpus)
{
    bool locked = big_lock_held(cpus->lock);

    for (unsigned i = 0; i < cpus->n; i++) {
        vcpu_request(cpus->vcpu[i], VCPU_REQ_EXIT);
        g_mutex_lock(&cpus->mutex);
        g_cond_signal(vcpu_wake_cond(cpus->vcpu[i]));
        g_mutex_unlock(&cpus->mutex);
    }
    if (locked) {
        big_lock_release(cpus->lock);
    }
    for (unsigned i = 0; i < cpus->n; i++) {
        if (cpus->turns && cpus->vcpu[i]->thread_started) {
            turns_leave(cpus->turns, cpus->vcpu[i]);
        } else if (cpus->vcpu[i]->thread_started) {
            pthread_join(cpus->vcpu[i]->thread, NULL);
            cpus->vcpu[i]->thread_started = false;
        }
    }
    if (locked) {
        big_lock_acquire(cpus->lock);
    }
}

void cpus_free(struct cpus *cpus)
{
    if (!cpus) {
        return;
    }
    end_threads(cpus);
    turns_free(cpus->turns);
    cpus->turns = NULL;
    for (unsigned i = 0; i < cpus->n; i++) {
        cpus->vcpu[i]->ops->destroy(cpus->vcpu[i]);
    }
    for (unsigned i = 0; i < cpus->max; i++) {
        vcpu_free(g_steal_pointer(&cpus->spare[i]));
    }
    if (cpus->accel) {
        cpus->accel->finish(cpus);
        cpus->mem->guard = (struct map_guard){0};
        cpus->io->guard = (struct map_guard){0};
    }
    for (unsigned i = 0; i < cpus->n; i++) {
        g_cond_clear(&cpus->vcpu[i]->wake);
        g_free(cpus->vcpu[i]->id);
        g_free(cpus->vcpu[i]);
    }
    g_free(cpus->vcpu);
    g_free(cpus->spare);
    g_free(cpus->debug.list);
    g_mutex_clear(&cpus->mutex);
    g_cond_clear(&cpus->all_parked);
    g_free(cpus);
}
