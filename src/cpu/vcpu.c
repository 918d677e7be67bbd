/*
 * vCPU threads: running, sleeping, parking, requests and exclusive sections (see vcpu.h).
 *
 * Two ways to hold vCPUs still:
 *
 * - Parking (vcpus_pause_all, for a stopped machine): each thread leaves run(), finishes any device
 *   access, and waits. The main thread gives up the machine lock while it waits, since a device
 * access needs it.
 * - An exclusive section (for a moment, by a vCPU or by whoever changes the memory map): its owner
 * holds the machine lock, so there is one at a time, and waits until no other vCPU is in_guest. A
 * vCPU is not in_guest while it sleeps or waits for the machine lock, so a section never waits for
 * itself.
 *
 * in_guest and cpus->exclusive are the two sides of one handshake: a vCPU sets in_guest, then looks
 * at exclusive; the owner sets exclusive, then looks at every in_guest (all sequentially
 * consistent), so one of them sees the other. sleeping and req are another: the sleeper sets
 * sleeping, then looks at req; a requester sets req, then looks at sleeping.
 *
 * With thread=single all vCPUs share a thread: vcpu-turns.c.
 *
 * One program serves one guest architecture: APIC ids come from cpu/x86/.
 */
#include "cpu/vcpu-priv.h"

#include "base/host-fault.h"

#include "base/log.h"
#include "base/threads.h"
#include "cpu/x86/cpuid.h"
#include "cpu/x86/state.h"
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---------------------------------------------------------------- accelerators */

static const struct accel_ops *const accels[] = {
    &accel_soft,
#ifdef HAVE_KVM
    &accel_kvm,
#endif
    &accel_qtest,
    NULL,
};

const struct accel_ops *accel_find(const char *name)
{
    if (strcmp(name, "soft") == 0) {
        name = "tcg";
    }
    for (unsigned i = 0; accels[i]; i++) {
        if (strcmp(accels[i]->name, name) == 0) {
            return accels[i];
        }
    }
    return NULL;
}

/* The register door's accelerator: vCPUs exist, nothing executes. */

static bool qtest_create(struct vcpu *vcpu, GError **error)
{
    return true;
}

static void qtest_nothing(struct vcpu *vcpu)
{
}

static enum run_exit qtest_run(struct vcpu *vcpu)
{
    return RUN_HALT;
}

static void qtest_get(struct vcpu *vcpu, struct cpu_state *state, unsigned what)
{
}

static bool qtest_set(struct vcpu *vcpu, const struct cpu_state *state, unsigned what,
                      GError **error)
{
    return true;
}

static bool qtest_read_linear(struct vcpu *vcpu, gva_t addr, void *buf, size_t length)
{
    return address_space_read(vcpu->cpus->mem, addr, buf, length);
}

static const struct vcpu_ops qtest_vcpu = {
    .create = qtest_create,
    .destroy = qtest_nothing,
    .reset = qtest_nothing,
    .run = qtest_run,
    .get = qtest_get,
    .set = qtest_set,
    .read_linear = qtest_read_linear,
};

/* Nothing executes: what the software CPU has will do. */
static bool qtest_probe(struct cpu_support *support, GError **error)
{
    return accel_soft.probe(support, error);
}

static bool qtest_init(struct cpus *cpus, GError **error)
{
    return true;
}

static void qtest_finish(struct cpus *cpus)
{
}

static void qtest_send_msi(struct cpus *cpus, gpa_t addr, uint32_t data)
{
}

static void qtest_set_extint(struct cpus *cpus, bool level)
{
}

static void qtest_pulse_lint1(struct cpus *cpus)
{
}

const struct accel_ops accel_qtest = {
    .name = "qtest",
    .probe = qtest_probe,
    .init = qtest_init,
    .finish = qtest_finish,
    .vcpu = &qtest_vcpu,
    .send_msi = qtest_send_msi,
    .set_extint = qtest_set_extint,
    .pulse_lint1 = qtest_pulse_lint1,
};

/* ---------------------------------------------------------------- requests */

/* What the vCPU's thread waits on, with cpus->mutex. */
static GCond *wake_of(struct vcpu *vcpu)
{
    return vcpu->cpus->turns ? turns_wake(vcpu->cpus->turns) : &vcpu->wake;
}

void vcpu_request(struct vcpu *vcpu, uint32_t bits)
{
    atomic_fetch_or(&vcpu->req, bits);
    if (vcpu->ops->kick) {
        vcpu->ops->kick(vcpu);
    }
    if (vcpu->cpus->turns) {
        turns_yield(vcpu->cpus->turns, vcpu);
    }
    if (atomic_load(&vcpu->sleeping)) {
        g_mutex_lock(&vcpu->cpus->mutex);
        g_cond_signal(wake_of(vcpu));
        g_mutex_unlock(&vcpu->cpus->mutex);
    }
}

void vcpu_nmi(struct vcpu *vcpu)
{
    atomic_fetch_add(&vcpu->nmis, 1);
    vcpu_request(vcpu, VCPU_REQ_NMI);
}

struct run_on {
    void (*fn)(struct vcpu *, void *);
    void *arg;
    bool done;
    GCond cond;
};

void vcpu_run_on(struct vcpu *vcpu, void (*fn)(struct vcpu *, void *), void *arg)
{
    struct cpus *cpus = vcpu->cpus;
    struct run_on call = {.fn = fn, .arg = arg};

    g_cond_init(&call.cond);
    g_mutex_lock(&cpus->mutex);
    g_queue_push_tail(&vcpu->run_queue, &call);
    g_mutex_unlock(&cpus->mutex);
    vcpu_request(vcpu, VCPU_REQ_RUN);
    g_mutex_lock(&cpus->mutex);
    g_cond_signal(wake_of(vcpu)); /* parked threads sleep on it too */
    while (!call.done) {
        thread_wait_begin("a function on a vCPU", &vcpu->token);
        g_cond_wait(&call.cond, &cpus->mutex);
        thread_wait_end();
    }
    g_mutex_unlock(&cpus->mutex);
    g_cond_clear(&call.cond);
}

void vcpu_yield(struct vcpu *vcpu)
{
    if (vcpu->cpus->turns) {
        turns_yield(vcpu->cpus->turns, NULL);
    } else {
        sched_yield();
    }
}

void vcpu_ask_beat(struct vcpu *vcpu)
{
    atomic_store(&vcpu->beat_asked, true);
    vcpu_request(vcpu, VCPU_REQ_RUN);
}

bool vcpu_beat_due(struct vcpu *vcpu)
{
    bool rests;

    g_mutex_lock(&vcpu->cpus->mutex);
    rests = vcpu->parked || atomic_load(&vcpu->sleeping);
    g_mutex_unlock(&vcpu->cpus->mutex);
    return !rests && atomic_load(&vcpu->beat_asked);
}

void vcpu_serve_queue(struct vcpu *vcpu)
{
    struct run_on *call;

    atomic_fetch_and(&vcpu->req, ~(uint32_t)VCPU_REQ_RUN);
    atomic_store(&vcpu->beat_asked, false);
    while ((call = g_queue_pop_head(&vcpu->run_queue))) {
        g_mutex_unlock(&vcpu->cpus->mutex);
        call->fn(vcpu, call->arg);
        g_mutex_lock(&vcpu->cpus->mutex);
        call->done = true;
        g_cond_signal(&call->cond);
    }
}

/* ---------------------------------------------------------------- in and out of guest code */

static void guest_leave(struct vcpu *vcpu)
{
    struct cpus *cpus = vcpu->cpus;

    atomic_store(&vcpu->in_guest, false);
    if (atomic_load(&cpus->exclusive)) {
        g_mutex_lock(&cpus->mutex);
        g_cond_broadcast(&cpus->all_parked);
        g_mutex_unlock(&cpus->mutex);
    }
}

/* Waits for an exclusive section of somebody else to end. */
static void guest_enter(struct vcpu *vcpu)
{
    struct cpus *cpus = vcpu->cpus;

    for (;;) {
        atomic_store(&vcpu->in_guest, true);
        if (!atomic_load(&cpus->exclusive)) {
            return;
        }
        guest_leave(vcpu);
        g_mutex_lock(&cpus->mutex);
        while (atomic_load(&cpus->exclusive)) {
            thread_wait_begin("an exclusive section", &cpus->exclusive_owner);
            g_cond_wait(wake_of(vcpu), &cpus->mutex);
            thread_wait_end();
        }
        g_mutex_unlock(&cpus->mutex);
    }
}

void vcpu_lock_machine(struct vcpu *vcpu)
{
    if (vcpu->lock_depth++ > 0) {
        return;
    }
    if (!big_lock_try_acquire(vcpu->cpus->lock)) {
        guest_leave(vcpu);
        big_lock_acquire(vcpu->cpus->lock);
    }
    /* With the lock held no other thread is in an exclusive section. */
    if (!atomic_load_explicit(&vcpu->in_guest, memory_order_relaxed)) {
        atomic_store(&vcpu->in_guest, true);
    }
}

void vcpu_unlock_machine(struct vcpu *vcpu)
{
    if (--vcpu->lock_depth == 0) {
        big_lock_release(vcpu->cpus->lock);
    }
}

/* Machine lock held. self: the calling vCPU, or NULL. */
static void exclusive_begin(struct cpus *cpus, struct vcpu *self)
{
    atomic_store(&cpus->exclusive_owner, thread_token());
    atomic_store(&cpus->exclusive, true);
    for (unsigned i = 0; i < cpus->n; i++) {
        struct vcpu *v = cpus->vcpu[i];

        if (v != self && atomic_load(&v->in_guest)) {
            atomic_fetch_or(&v->req, VCPU_REQ_EXCLUSIVE);
            if (v->ops->kick) {
                v->ops->kick(v);
            }
        }
    }
    g_mutex_lock(&cpus->mutex);
    for (unsigned i = 0; i < cpus->n; i++) {
        while (cpus->vcpu[i] != self && atomic_load(&cpus->vcpu[i]->in_guest)) {
            thread_wait_begin("a vCPU to leave guest code", &cpus->vcpu[i]->token);
            g_cond_wait(&cpus->all_parked, &cpus->mutex);
            thread_wait_end();
        }
    }
    g_mutex_unlock(&cpus->mutex);
}

static void exclusive_end(struct cpus *cpus)
{
    g_mutex_lock(&cpus->mutex);
    atomic_store(&cpus->exclusive, false);
    atomic_store(&cpus->exclusive_owner, NULL);
    for (unsigned i = 0; i < cpus->n; i++) {
        atomic_fetch_and(&cpus->vcpu[i]->req, ~(uint32_t)VCPU_REQ_EXCLUSIVE);
        g_cond_signal(wake_of(cpus->vcpu[i]));
    }
    g_mutex_unlock(&cpus->mutex);
}

void vcpu_exclusive_begin(struct vcpu *vcpu)
{
    struct cpus *cpus = vcpu->cpus;

    if (vcpu->exclusive_depth++ > 0) {
        return;
    }
    vcpu_lock_machine(vcpu);
    exclusive_begin(cpus, vcpu);
}

void vcpu_exclusive_end(struct vcpu *vcpu)
{
    if (--vcpu->exclusive_depth > 0) {
        return;
    }
    exclusive_end(vcpu->cpus);
    vcpu_unlock_machine(vcpu);
}

/* ---- the memory map's guard: the machine lock is held, by a vCPU's device access or the main
 * thread */

struct vcpu *vcpu_current(struct cpus *cpus)
{
    if (cpus->turns) {
        return turns_current(cpus->turns);
    }
    for (unsigned i = 0; i < cpus->n; i++) {
        if (cpus->vcpu[i]->thread_started && pthread_equal(cpus->vcpu[i]->thread, pthread_self())) {
            return cpus->vcpu[i];
        }
    }
    return NULL;
}

static void map_park(void *opaque)
{
    struct cpus *cpus = opaque;

    if (cpus->map_guard_depth++ == 0) {
        cpus->map_guard_exclusive = !atomic_load(&cpus->exclusive);
        if (cpus->map_guard_exclusive) {
            exclusive_begin(cpus, vcpu_current(cpus));
        }
    }
}

static void map_unpark(void *opaque)
{
    struct cpus *cpus = opaque;

    if (--cpus->map_guard_depth == 0 && cpus->map_guard_exclusive) {
        exclusive_end(cpus);
    }
}

/* ---------------------------------------------------------------- the thread */

#define PARKING      (VCPU_REQ_PAUSE | VCPU_REQ_EXIT)

/* A timer that is due soon wakes the main thread, and that this one: two sleeps, each of which may
 * last longer than the time that is left. So this one stays awake for it, if there is a processor
 * to spare. */
#define POLL_NEAR_NS (50 * NS_PER_US)
#define POLL_LATE_NS (60 * NS_PER_US) /* after the deadline, for the main thread */

static void vcpu_poll(struct vcpu *vcpu, uint32_t wanted)
{
    struct vclock *clock = vcpu->cpus->clock;
    int64_t now = vclock_now(clock), deadline = vclock_deadline(clock);
    bool near = deadline >= 0 && deadline - now < POLL_NEAR_NS && vclock_timers_fire(clock);

    if (vcpu->stuck || !near || vcpu->cpus->host_cpus <= vcpu->cpus->n) {
        return;
    }
    while (!(atomic_load(&vcpu->req) & wanted) && vclock_now(clock) < deadline + POLL_LATE_NS) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

/* Sleeps until there is a request; a vCPU that is stuck cares only for those that park it. */
static void vcpu_sleep(struct vcpu *vcpu)
{
    struct cpus *cpus = vcpu->cpus;
    uint32_t wanted = vcpu->stuck ? PARKING | VCPU_REQ_RUN : ~(uint32_t)VCPU_REQ_EXCLUSIVE;

    if (cpus->turns) { /* others have their turn meanwhile */
        atomic_store(&vcpu->sleeping, true);
        return;
    }
    vcpu_poll(vcpu, wanted);
    g_mutex_lock(&cpus->mutex);
    atomic_store(&vcpu->sleeping, true);
    while (!vcpu->look && !(atomic_load(&vcpu->req) & wanted)) {
        g_cond_wait(wake_of(vcpu), &cpus->mutex);
    }
    vcpu->look = false;
    atomic_store(&vcpu->sleeping, false);
    g_mutex_unlock(&cpus->mutex);
}

static void vcpu_park(struct vcpu *vcpu)
{
    struct cpus *cpus = vcpu->cpus;

    g_mutex_lock(&cpus->mutex);
    vcpu->parked = true;
    g_cond_broadcast(&cpus->all_parked);
    while ((atomic_load(&vcpu->req) & PARKING) == VCPU_REQ_PAUSE) {
        if (!g_queue_is_empty(&vcpu->run_queue)) {
            vcpu_serve_queue(vcpu);
            continue;
        }
        g_cond_wait(wake_of(vcpu), &cpus->mutex);
    }
    vcpu->parked = false;
    g_mutex_unlock(&cpus->mutex);
}

void vcpu_run_once(struct vcpu *vcpu)
{
    struct cpus *cpus = vcpu->cpus;
    enum run_exit exit;

    guest_enter(vcpu);
    exit = vcpu->ops->run(vcpu);
    guest_leave(vcpu);
    switch (exit) {
    case RUN_HALT:
        vcpu_sleep(vcpu);
        break;
    case RUN_SHUTDOWN:
        vcpu->stuck = true;
        cpus->hooks->triple_fault(cpus->hooks_opaque, vcpu);
        break;
    case RUN_ERROR:
        vcpu->stuck = true;
        break;
    case RUN_DEBUG:
        if (cpus->hooks->debug) {
            cpus->hooks->debug(cpus->hooks_opaque, vcpu);
        }
        break;
    default:
        break;
    }
}

static void *vcpu_thread(void *arg)
{
    struct vcpu *vcpu = arg;
    char name[16];

    g_snprintf(name, sizeof(name), "vcpu %u", vcpu->index);
    pthread_setname_np(pthread_self(), name);
    g_snprintf(name, sizeof(name), "vCPU %u", vcpu->index);
    thread_begin(name, THREAD_VCPU);
    atomic_store(&vcpu->token, thread_token());
    __atomic_store_n(&vcpu->thread_id, (uint64_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    host_fault_set_thread((int)vcpu->index, &vcpu->req, VCPU_REQ_PAUSE,
                          vcpu->ops->privilege ? vcpu->ops->privilege(vcpu) : NULL);
    for (;;) {
        uint32_t req = atomic_load(&vcpu->req);

        if (req & VCPU_REQ_EXIT) {
            break;
        }
        if (req & VCPU_REQ_RUN) {
            g_mutex_lock(&vcpu->cpus->mutex);
            vcpu_serve_queue(vcpu);
            g_mutex_unlock(&vcpu->cpus->mutex);
        } else if (req & VCPU_REQ_PAUSE) {
            vcpu_park(vcpu);
        } else if (vcpu->stuck) {
            vcpu_sleep(vcpu);
        } else {
            vcpu_run_once(vcpu);
        }
    }
    g_mutex_lock(&vcpu->cpus->mutex);
    vcpu->parked = true;
    g_cond_broadcast(&vcpu->cpus->all_parked);
    g_mutex_unlock(&vcpu->cpus->mutex);
    thread_end();
    return NULL;
}

/* ---------------------------------------------------------------- all of them */

/* cpus->mutex held. A vCPU that sleeps in a HLT is as good as parked: it looks at its requests
 * before it goes on. Those that are kicked out of the kernel, or stuck, are parked the long way. */
static bool vcpu_rests(const struct vcpu *vcpu)
{
    return !vcpu->ops->kick && !vcpu->stuck && atomic_load(&vcpu->sleeping);
}

static void ask_to_park(struct vcpu *vcpu)
{
    bool rests;

    atomic_fetch_or(&vcpu->req, VCPU_REQ_PAUSE);
    g_mutex_lock(&vcpu->cpus->mutex);
    rests = vcpu_rests(vcpu);
    g_mutex_unlock(&vcpu->cpus->mutex);
    if (!rests) {
        vcpu_request(vcpu, VCPU_REQ_PAUSE);
    }
}

/* cpus->mutex held. One that rests goes on to, unless something has happened to it. */
static void unpark(struct vcpu *vcpu)
{
    atomic_fetch_and(&vcpu->req, ~(uint32_t)VCPU_REQ_PAUSE);
    if (vcpu_rests(vcpu) && atomic_load(&vcpu->mp_state) == MP_RUNNABLE) {
        vcpu->look = true; /* a reset, say */
    }
    if (!vcpu_rests(vcpu) || vcpu->look || atomic_load(&vcpu->req)) {
        g_cond_signal(wake_of(vcpu));
    }
}

void vcpus_pause_all(struct cpus *cpus)
{
    struct vcpu *self = vcpu_current(cpus);

    g_assert(!self && big_lock_held(cpus->lock));
    for (unsigned i = 0; i < cpus->n; i++) {
        ask_to_park(cpus->vcpu[i]);
    }
    big_lock_release(cpus->lock);
    g_mutex_lock(&cpus->mutex);
    cpus->paused = true;
    for (unsigned i = 0; i < cpus->n; i++) {
        struct vcpu *vcpu = cpus->vcpu[i];

        while (vcpu->thread_started && !vcpu->parked && !vcpu_rests(vcpu)) {
            thread_wait_begin("a vCPU to stop", &vcpu->token);
            g_cond_wait(&cpus->all_parked, &cpus->mutex);
            thread_wait_end();
        }
    }
    g_mutex_unlock(&cpus->mutex);
    big_lock_acquire(cpus->lock);
}

bool vcpus_hold_current(struct cpus *cpus)
{
    struct vcpu *self = vcpu_current(cpus);

    if (self) {
        vcpu_request(self, VCPU_REQ_PAUSE);
    }
    return self;
}

void vcpus_resume_all(struct cpus *cpus)
{
    g_mutex_lock(&cpus->mutex);
    cpus->paused = false;
    for (unsigned i = 0; i < cpus->n; i++) {
        if (!cpus->vcpu[i]->held) {
            unpark(cpus->vcpu[i]);
        }
    }
    g_mutex_unlock(&cpus->mutex);
}

void vcpu_hold(struct vcpu *vcpu, bool held)
{
    g_mutex_lock(&vcpu->cpus->mutex);
    vcpu->held = held;
    g_mutex_unlock(&vcpu->cpus->mutex);
}

void vcpus_reset_all(struct cpus *cpus)
{
    for (unsigned i = 0; i < cpus->n; i++) {
        struct vcpu *vcpu = cpus->vcpu[i];

        vcpu->stuck = false;
        vcpu->crashed = false;
        memset(vcpu->crash_arg, 0, sizeof(vcpu->crash_arg));
        atomic_store(&vcpu->nmis, 0);
        atomic_fetch_and(&vcpu->req, (uint32_t)(VCPU_REQ_PAUSE | VCPU_REQ_EXIT | VCPU_REQ_RUN |
                                                VCPU_REQ_TLB_FLUSH | VCPU_REQ_CODE));
        vcpu->ops->reset(vcpu);
    }
}

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
    exclusive_begin(cpus, NULL);
    pthread_rwlock_wrlock(&cpus->mem->readers);
}

static void list_change_end(struct cpus *cpus)
{
    pthread_rwlock_unlock(&cpus->mem->readers);
    exclusive_end(cpus);
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
        unpark(vcpu);
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
    g_cond_signal(wake_of(vcpu));
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
    mem->guard = (struct map_guard){map_park, map_unpark, cpus};
    io->guard = (struct map_guard){map_park, map_unpark, cpus};
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
        g_cond_signal(wake_of(cpus->vcpu[i]));
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
        vcpu_free(cpus->spare[i]);
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
