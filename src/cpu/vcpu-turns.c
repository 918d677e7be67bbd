/*
 * All vCPUs on one host thread, in turns (-accel tcg,thread=single).
 *
 * The thread goes round the vCPUs and lets each that can run have a slice; those that are halted,
 * parked or stuck are passed over, and when nobody can run it sleeps. A slice ends by itself (HLT,
 * an exit), by a request for another vCPU, an interrupt say, and after a while by the slicer, a
 * second thread that is idle unless two vCPUs want to run. Ending a slice is a request like any
 * other: VCPU_REQ_RUN with nothing to be run.
 *
 * Everything else is as in vcpu.c: parking, exclusive sections and sleeping have the same words in
 * struct vcpu, only that whoever waits for one of them waits on `change`.
 */
#include "base/host-fault.h"
#include "base/threads.h"
#include "cpu/vcpu-priv.h"
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_US 10000

struct turns {
    struct cpus *cpus;
    pthread_t thread, slicer;
    _Atomic(const void *) token; /* thread_token() of thread */
    uint64_t tid;                /* of thread; under cpus->mutex, as all that follows */
    GPtrArray *members;          /* struct vcpu * */
    GCond change;                /* somebody may have something to do */
    GCond slice;                 /* for the slicer: there are slices to end, or it shall end */
    unsigned slices;             /* begun so far */
    bool limited;                /* others want to run */
    bool slicer_idle, ended;
    _Atomic(struct vcpu *) present; /* whose turn it is; set by the thread, read by any */
};

struct vcpu *turns_current(const struct turns *t)
{
    return atomic_load(&t->token) == thread_token() ? atomic_load(&t->present) : NULL;
}

GCond *turns_wake(struct turns *t)
{
    return &t->change;
}

void turns_yield(struct turns *t, const struct vcpu *but)
{
    struct vcpu *present = atomic_load(&t->present);

    if (present && present != but) {
        atomic_fetch_or(&present->req, VCPU_REQ_RUN);
    }
}

/* ---------------------------------------------------------------- slices */

/* Under cpus->mutex: has it something to do, or can it execute guest code? */
static bool wants_turn(const struct vcpu *vcpu)
{
    uint32_t req = atomic_load(&vcpu->req);

    if (req & (VCPU_REQ_EXIT | VCPU_REQ_RUN)) {
        return true;
    }
    if (req & VCPU_REQ_PAUSE) {
        return !vcpu->parked;
    }
    if (vcpu->parked) {
        return true;
    }
    if (vcpu->stuck) {
        return !atomic_load(&vcpu->sleeping);
    }
    return !atomic_load(&vcpu->sleeping) || vcpu->look || (req & ~(uint32_t)VCPU_REQ_EXCLUSIVE);
}

static bool others_want(const struct turns *t, const struct vcpu *but)
{
    for (unsigned i = 0; i < t->members->len; i++) {
        const struct vcpu *vcpu = t->members->pdata[i];

        if (vcpu != but && wants_turn(vcpu)) {
            return true;
        }
    }
    return false;
}

static void *slicer(void *opaque)
{
    struct turns *t = opaque;
    GMutex *mutex = &t->cpus->mutex;

    pthread_setname_np(pthread_self(), "vcpu slices");
    thread_begin("vCPU slices", THREAD_OTHER);
    g_mutex_lock(mutex);
    while (!t->ended) {
        unsigned n = t->slices;

        if (!t->limited) {
            t->slicer_idle = true;
            g_cond_wait(&t->slice, mutex);
            t->slicer_idle = false;
            continue;
        }
        g_cond_wait_until(&t->slice, mutex, g_get_monotonic_time() + SLICE_US);
        if (t->slices == n && others_want(t, atomic_load(&t->present))) {
            turns_yield(t, NULL);
        }
    }
    g_mutex_unlock(mutex);
    thread_end();
    return NULL;
}

/* Under cpus->mutex: the slicer looks from now on whether others want a turn, who may come to want
 * one while this one goes on. */
static void slice_begin(struct turns *t)
{
    t->slices++;
    t->limited = t->members->len > 1;
    if (t->limited && t->slicer_idle) {
        g_cond_signal(&t->slice);
    }
}

/* ---------------------------------------------------------------- turns */

/* Under cpus->mutex: what is asked of the vCPU besides executing. true: it can do that, too. */
static bool serve(struct turns *t, struct vcpu *vcpu)
{
    uint32_t req = atomic_load(&vcpu->req);

    if (req & VCPU_REQ_EXIT) {
        g_ptr_array_remove(t->members, vcpu);
        vcpu->parked = true;
        vcpu->thread_started = false;
        g_cond_broadcast(&t->cpus->all_parked);
        return false;
    }
    if (req & VCPU_REQ_RUN) {
        vcpu_serve_queue(vcpu);
        return false;
    }
    if (req & VCPU_REQ_PAUSE) {
        vcpu->parked = true;
        g_cond_broadcast(&t->cpus->all_parked);
        return false;
    }
    vcpu->parked = false;
    if (vcpu->stuck) {
        atomic_store(&vcpu->sleeping, true);
        return false;
    }
    if (wants_turn(vcpu)) {
        vcpu->look = false;
        atomic_store(&vcpu->sleeping, false);
        return true;
    }
    return false;
}

static void take_turn(struct turns *t, struct vcpu *vcpu)
{
    GMutex *mutex = &t->cpus->mutex;

    atomic_store(&t->present, vcpu);
    g_mutex_lock(mutex);
    bool runs = serve(t, vcpu);
    if (runs) {
        slice_begin(t);
    }
    g_mutex_unlock(mutex);
    if (runs) {
        host_fault_set_thread((int)vcpu->index, &vcpu->req, VCPU_REQ_PAUSE,
                              vcpu->ops->privilege ? vcpu->ops->privilege(vcpu) : NULL);
        vcpu_run_once(vcpu);
    }
    atomic_store(&t->present, NULL);
}

/* The next one from place *i on that wants a turn; NULL: the round is over. */
static struct vcpu *next_in_round(struct turns *t, unsigned *i)
{
    struct vcpu *found = NULL;

    g_mutex_lock(&t->cpus->mutex);
    while (!found && *i < t->members->len) {
        struct vcpu *vcpu = t->members->pdata[(*i)++];

        found = wants_turn(vcpu) ? vcpu : NULL;
    }
    g_mutex_unlock(&t->cpus->mutex);
    return found;
}

/* Sleeps until somebody wants a turn. false: there is nobody any more. */
static bool wait_for_work(struct turns *t)
{
    g_mutex_lock(&t->cpus->mutex);
    while (t->members->len > 0 && !others_want(t, NULL)) {
        t->limited = false;
        g_cond_wait(&t->change, &t->cpus->mutex);
    }
    bool goes_on = t->members->len > 0;
    g_mutex_unlock(&t->cpus->mutex);
    return goes_on;
}

static void *turns_thread(void *opaque)
{
    struct turns *t = opaque;

    pthread_setname_np(pthread_self(), "vcpus");
    thread_begin("vCPUs", THREAD_VCPU);
    atomic_store(&t->token, thread_token());
    g_mutex_lock(&t->cpus->mutex);
    t->tid = (uint64_t)syscall(SYS_gettid);
    g_cond_broadcast(&t->cpus->all_parked);
    g_mutex_unlock(&t->cpus->mutex);
    while (wait_for_work(t)) {
        struct vcpu *vcpu;

        for (unsigned i = 0; (vcpu = next_in_round(t, &i));) {
            take_turn(t, vcpu);
        }
    }
    thread_end();
    return NULL;
}

/* ---------------------------------------------------------------- life */

struct turns *turns_new(struct cpus *cpus)
{
    struct turns *t = g_new0(struct turns, 1);

    t->cpus = cpus;
    t->members = g_ptr_array_new();
    g_cond_init(&t->change);
    g_cond_init(&t->slice);
    return t;
}

/* The first vCPU brings the threads. */
static bool threads_start(struct turns *t, GError **error)
{
    int err = pthread_create(&t->thread, NULL, turns_thread, t);

    if (!err && (err = pthread_create(&t->slicer, NULL, slicer, t)) != 0) {
        g_mutex_lock(&t->cpus->mutex);
        g_ptr_array_set_size(t->members, 0);
        g_cond_signal(&t->change);
        g_mutex_unlock(&t->cpus->mutex);
        pthread_join(t->thread, NULL);
    }
    if (err) {
        g_set_error(error, g_quark_from_static_string("cpu-error"), 0,
                    "cannot start a thread for the vCPUs: %s", strerror(err));
    }
    return !err;
}

bool turns_join(struct turns *t, struct vcpu *vcpu, GError **error)
{
    g_mutex_lock(&t->cpus->mutex);
    bool first = t->tid == 0;
    vcpu->parked = true; /* nothing executes it yet */
    vcpu->thread_started = true;
    g_ptr_array_add(t->members, vcpu);
    slice_begin(t); /* the present one has company now */
    g_cond_signal(&t->change);
    g_mutex_unlock(&t->cpus->mutex);
    if (first && !threads_start(t, error)) {
        vcpu->thread_started = false;
        return false;
    }
    g_mutex_lock(&t->cpus->mutex);
    while (t->tid == 0) {
        g_cond_wait(&t->cpus->all_parked, &t->cpus->mutex);
    }
    vcpu->thread_id = t->tid;
    g_mutex_unlock(&t->cpus->mutex);
    atomic_store(&vcpu->token, atomic_load(&t->token));
    return true;
}

void turns_leave(struct turns *t, struct vcpu *vcpu)
{
    vcpu_request(vcpu, VCPU_REQ_EXIT);
    g_mutex_lock(&t->cpus->mutex);
    g_cond_signal(&t->change);
    while (vcpu->thread_started) {
        g_cond_wait(&t->cpus->all_parked, &t->cpus->mutex);
    }
    g_mutex_unlock(&t->cpus->mutex);
}

void turns_free(struct turns *t)
{
    if (!t) {
        return;
    }
    if (t->tid != 0) { /* all have left */
        g_mutex_lock(&t->cpus->mutex);
        t->ended = true;
        g_cond_signal(&t->slice);
        g_cond_signal(&t->change);
        g_mutex_unlock(&t->cpus->mutex);
        pthread_join(t->thread, NULL);
        pthread_join(t->slicer, NULL);
    }
    g_ptr_array_free(t->members, true);
    g_cond_clear(&t->change);
    g_cond_clear(&t->slice);
    g_free(t);
}
