/*
 * vCPU threads: running, sleeping, parking, requests and exclusive sections (see vcpu.h).
 *
 * Two ways to hold vCPUs still:
 *
 * - Parking (vcpus_pause_all, for a stopped machine): each thread leaves run(), finishes any device
 *   access, and waits. The main thread gives up the machine lock while it waits, since a device
 *   access needs it.
 * - An exclusive section (for a moment, by a vCPU or by whoever changes the memory map): its owner
 *   holds the machine lock, so there is one at a time, and waits until no other vCPU is in_guest. A
 *   vCPU is not in_guest while it sleeps or waits for the machine lock, so a section never waits
 *   for itself.
 *
 * in_guest and cpus->exclusive are the two sides of one handshake: a vCPU sets in_guest, then looks
 * at exclusive; the owner sets exclusive, then looks at every in_guest (all sequentially
 * consistent), so one of them sees the other. sleeping and req are another: the sleeper sets
 * sleeping, then looks at req; a requester sets req, then looks at sleeping.
 *
 * With thread=single all vCPUs share a thread: vcpu-turns.c. How they come and go: vcpu-list.c.
 */
#include "cpu/vcpu-priv.h"

#include "base/host-fault.h"
#include "base/relax.h"
#include "base/threads.h"
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---------------------------------------------------------------- requests */

GCond *vcpu_wake_cond(struct vcpu *vcpu)
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
        g_cond_signal(vcpu_wake_cond(vcpu));
        g_mutex_unlock(&vcpu->cpus->mutex);
    }
}

void vcpu_nmi(struct vcpu *vcpu)
{
    atomic_fetch_add(&vcpu->nmis, 1);
    vcpu_request(vcpu, VCPU_REQ_NMI);
}

void cpus_set_a20(struct cpus *cpus, bool on)
{
    struct vcpu *first = cpus_find(cpus, 0);

    if (first && atomic_exchange(&first->a20_off, !on) == on) {
        vcpu_request(first, VCPU_REQ_TLB_FLUSH);
    }
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
    g_cond_signal(vcpu_wake_cond(vcpu)); /* parked threads sleep on it too */
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
            g_cond_wait(vcpu_wake_cond(vcpu), &cpus->mutex);
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

void cpus_exclusive_begin(struct cpus *cpus, struct vcpu *self)
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

void cpus_exclusive_end(struct cpus *cpus)
{
    g_mutex_lock(&cpus->mutex);
    atomic_store(&cpus->exclusive, false);
    atomic_store(&cpus->exclusive_owner, NULL);
    for (unsigned i = 0; i < cpus->n; i++) {
        atomic_fetch_and(&cpus->vcpu[i]->req, ~(uint32_t)VCPU_REQ_EXCLUSIVE);
        g_cond_signal(vcpu_wake_cond(cpus->vcpu[i]));
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
    cpus_exclusive_begin(cpus, vcpu);
}

void vcpu_exclusive_end(struct vcpu *vcpu)
{
    if (--vcpu->exclusive_depth > 0) {
        return;
    }
    cpus_exclusive_end(vcpu->cpus);
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
            cpus_exclusive_begin(cpus, vcpu_current(cpus));
        }
    }
}

static void map_unpark(void *opaque)
{
    struct cpus *cpus = opaque;

    if (--cpus->map_guard_depth == 0 && cpus->map_guard_exclusive) {
        cpus_exclusive_end(cpus);
    }
}

struct map_guard cpus_map_guard(struct cpus *cpus)
{
    return (struct map_guard){map_park, map_unpark, cpus};
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
        cpu_relax();
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
        g_cond_wait(vcpu_wake_cond(vcpu), &cpus->mutex);
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
        g_cond_wait(vcpu_wake_cond(vcpu), &cpus->mutex);
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

void *vcpu_thread(void *arg)
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

/* One that rests goes on to, unless something has happened to it. */
void vcpu_unpark(struct vcpu *vcpu)
{
    atomic_fetch_and(&vcpu->req, ~(uint32_t)VCPU_REQ_PAUSE);
    if (vcpu_rests(vcpu) && atomic_load(&vcpu->mp_state) == MP_RUNNABLE) {
        vcpu->look = true; /* a reset, say */
    }
    if (!vcpu_rests(vcpu) || vcpu->look || atomic_load(&vcpu->req)) {
        g_cond_signal(vcpu_wake_cond(vcpu));
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
            vcpu_unpark(cpus->vcpu[i]);
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
