/*
 * A vCPU's state out of KVM and into it: struct cpu_state is laid out like KVM's own structs.
 *
 * Time: the guest's TSC and kvmclock are to stand still with the virtual clock. KVM's go on, so
 * before a vCPU runs again after a pause they are set back by the time that the virtual clock
 * stood. When that was set, by a state that was loaded, kvmclock follows it. A KVM that takes a TSC
 * offset and does not honour it leaves the guest's TSC running through pauses, unnoticed. A local
 * APIC timer that runs out meanwhile fires at once when the guest goes on.
 *
 * Left out: SMM and nested-virtualisation state; XSAVE areas beyond the first 4 KiB (no CPU model
 * has the features that need them).
 */
#include "base/log.h"
#include "cpu/x86/cpu-features.h"
#include "cpu/x86/kvm/kvm-priv.h"
#include <asm/kvm_para.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define SAME(ours, theirs, a, b)                                                                   \
    _Static_assert(offsetof(struct ours, a) == offsetof(struct theirs, b),                         \
                   #ours "." #a " is not where KVM has it")

_Static_assert(sizeof(struct x_regs) == sizeof(struct kvm_regs), "x_regs");
SAME(x_regs, kvm_regs, rsp, rsp);
SAME(x_regs, kvm_regs, r15, r15);
SAME(x_regs, kvm_regs, rflags, rflags);
_Static_assert(sizeof(struct x_seg) == sizeof(struct kvm_segment), "x_seg");
SAME(x_seg, kvm_segment, selector, selector);
SAME(x_seg, kvm_segment, unusable, unusable);
_Static_assert(sizeof(struct x_dtable) == sizeof(struct kvm_dtable), "x_dtable");
_Static_assert(sizeof(struct x_sregs) == sizeof(struct kvm_sregs), "x_sregs");
SAME(x_sregs, kvm_sregs, ldt, ldt);
SAME(x_sregs, kvm_sregs, gdt, gdt);
SAME(x_sregs, kvm_sregs, cr8, cr8);
SAME(x_sregs, kvm_sregs, interrupt_bitmap, interrupt_bitmap);
_Static_assert(sizeof(struct x_events) == sizeof(struct kvm_vcpu_events), "x_events");
SAME(x_events, kvm_vcpu_events, nmi, nmi);
SAME(x_events, kvm_vcpu_events, flags, flags);
SAME(x_events, kvm_vcpu_events, smi, smi);
SAME(x_events, kvm_vcpu_events, exception_payload, exception_payload);
_Static_assert(sizeof(struct x_debugregs) == sizeof(struct kvm_debugregs), "x_debugregs");
SAME(x_debugregs, kvm_debugregs, dr7, dr7);
_Static_assert(sizeof(struct x_msr) == sizeof(struct kvm_msr_entry), "x_msr");
_Static_assert(sizeof(((struct cpu_state *)0)->xsave) == sizeof(struct kvm_xsave), "xsave");
_Static_assert(sizeof(((struct cpu_state *)0)->lapic) == sizeof(struct kvm_lapic_state), "lapic");
_Static_assert((int)MP_HALTED == KVM_MP_STATE_HALTED &&
                   (int)MP_SIPI_RECEIVED == KVM_MP_STATE_SIPI_RECEIVED,
               "mp_state");

#define MSR_TSC             0x10
#define MSR_TSC_DEADLINE    0x6e0
#define MSR_TSX_CTRL        0x122
#define MSR_FEATURE_CONTROL 0x3a
#define MSR_MCG_CTL         0x17b

/* In the order of writing: the deadline last, for it counts on all before. */
static const uint32_t saved_msrs[] = {
    0x17b,      0x3a,       0x3b,       0x48,         0x8b,       0x174,
    0x175,      0x176,      0x17a,      0x1a0,        0x200,      0x201,
    0x202,      0x203,      0x204,      0x205,        0x206,      0x207,
    0x208,      0x209,      0x20a,      0x20b,        0x20c,      0x20d,
    0x20e,      0x20f,      0x250,      0x258,        0x259,      0x268,
    0x269,      0x26a,      0x26b,      0x26c,        0x26d,      0x26e,
    0x26f,      0x277,      0x2ff,      0xc0000081,   0xc0000082, 0xc0000083,
    0xc0000084, 0xc0000102, 0xc0000103, MSR_TSX_CTRL, 0xc001011f, MSR_TSC_DEADLINE,
};

/* KVM's own, with the feature that brings each. */
static const struct {
    uint32_t index;
    const char *feature;
} kvm_msrs[] = {
    {MSR_KVM_WALL_CLOCK_NEW, "kvmclock"},       {MSR_KVM_SYSTEM_TIME_NEW, "kvmclock"},
    {MSR_KVM_PV_EOI_EN, "kvm-pv-eoi"},          {MSR_KVM_STEAL_TIME, "kvm-steal-time"},
    {MSR_KVM_ASYNC_PF_INT, "kvm-asyncpf-int"},  {MSR_KVM_ASYNC_PF_EN, "kvm-asyncpf"},
    {MSR_KVM_POLL_CONTROL, "kvm-poll-control"},
};
#define MSR_MC0_CTL 0x400

/* Hyper-V's, where its interface is there: guest's name, hypercall page, index, reference TSC, APIC
 * assist page; then the synthetic interrupt controller's and its timers'. */
static const uint32_t hyperv_msrs[] = {
    0x40000000, 0x40000001, 0x40000002, 0x40000021, 0x40000073,
};
static const uint32_t synic_msrs[] = {
    0x40000080, 0x40000082, 0x40000083, 0x40000090, 0x40000091, 0x40000092, 0x40000093,
    0x40000094, 0x40000095, 0x40000096, 0x40000097, 0x40000098, 0x40000099, 0x4000009a,
    0x4000009b, 0x4000009c, 0x4000009d, 0x4000009e, 0x4000009f, 0x400000b0, 0x400000b1,
    0x400000b2, 0x400000b3, 0x400000b4, 0x400000b5, 0x400000b6, 0x400000b7,
};
#define HV_EAX_SYNIC (1u << 2)
_Static_assert(G_N_ELEMENTS(saved_msrs) + G_N_ELEMENTS(kvm_msrs) + G_N_ELEMENTS(hyperv_msrs) +
                       G_N_ELEMENTS(synic_msrs) + 4 * KVM_MCE_BANKS <=
                   X_MSRS_MAX,
               "room for the MSRs");

/* struct kvm_msrs with room for one. */
struct one_msr {
    uint32_t nmsrs, pad;
    struct kvm_msr_entry entry;
};
_Static_assert(offsetof(struct one_msr, entry) == offsetof(struct kvm_msrs, entries), "layout");

bool kvm_msr_get(const struct kvm_vcpu *v, uint32_t index, uint64_t *value)
{
    struct one_msr m = {.nmsrs = 1, .entry.index = index};

    if (kvm_call(v->fd, KVM_GET_MSRS, &m) != 1) {
        return false;
    }
    *value = m.entry.data;
    return true;
}

static bool msr_set(const struct kvm_vcpu *v, uint32_t index, uint64_t value)
{
    struct one_msr m = {.nmsrs = 1, .entry.index = index, .entry.data = value};

    return kvm_call(v->fd, KVM_SET_MSRS, &m) == 1;
}

static void msr_add(struct kvm_vcpu *v, uint32_t index)
{
    uint64_t value;

    if (kvm_msr_get(v, index, &value)) {
        v->msrs->entries[v->msrs->nmsrs++].index = index;
    }
}

static void msrs_add(struct kvm_vcpu *v, const uint32_t *index, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        msr_add(v, index[i]);
    }
}

void kvm_state_init(struct kvm_vcpu *v)
{
    const struct cpu_model *model = v->vcpu->cpus->model;

    v->msrs = g_malloc0(sizeof(*v->msrs) + X_MSRS_MAX * sizeof(struct kvm_msr_entry));
    for (uint32_t i = 0; i < 4 * KVM_MCE_BANKS; i++) {
        msr_add(v, MSR_MC0_CTL + i);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(kvm_msrs); i++) {
        const struct cpu_feature_desc *f = cpu_feature_find(kvm_msrs[i].feature);

        if (model->word[f->word] & cpu_feature_bits(f)) {
            msr_add(v, kvm_msrs[i].index);
        }
    }
    if (cpu_model_has_hyperv(model)) {
        msrs_add(v, hyperv_msrs, G_N_ELEMENTS(hyperv_msrs));
    }
    if (model->word[W_HV_EAX] & HV_EAX_SYNIC) {
        msrs_add(v, synic_msrs, G_N_ELEMENTS(synic_msrs));
    }
    msrs_add(v, saved_msrs, G_N_ELEMENTS(saved_msrs));
}

/* ---------------------------------------------------------------- time */

static int64_t host_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SEC + now.tv_nsec;
}

/* How long the virtual clock has stood beyond what guests' clocks know: never too much, but too
 * little when this thread is interrupted here. k->mutex held. */
static int64_t clock_gap(const struct kvm *k)
{
    return host_ns() - vclock_now(k->cpus->clock) - k->gap_ns;
}

void kvm_clock_init(struct kvm *k)
{
    k->gap_ns = clock_gap(k);
}

#define GAP_NOISE_NS 20000 /* two clocks are read one after the other */

/* by_ns below 0: forward. */
static void kvmclock_set_back(struct kvm *k, int64_t by_ns)
{
    struct kvm_clock_data clock = {0};

    if (kvm_call(k->vm_fd, KVM_GET_CLOCK, &clock) == 0) {
        struct kvm_clock_data fresh = {
            .clock = (int64_t)clock.clock > by_ns ? clock.clock - (uint64_t)by_ns : 0};

        kvm_call(k->vm_fd, KVM_SET_CLOCK, &fresh);
    }
}

/* clock_gap() that is not below 0 (but for noise). It would be after a state of a later time was
 * loaded: then kvmclock goes on to that time, and TSCs, which are in such a state, are the time's
 * already. k->mutex held. */
static int64_t clock_gap_settled(struct kvm *k)
{
    int64_t then = vclock_now(k->cpus->clock);
    int64_t gap_at_most = host_ns() - then - k->gap_ns;

    if (gap_at_most < -GAP_NOISE_NS) {
        k->gap_ns += gap_at_most;
        kvmclock_set_back(k, gap_at_most);
    }
    return clock_gap(k);
}

static uint64_t ticks(const struct kvm *k, int64_t ns)
{
    return muldiv64((uint64_t)MAX(ns, 0), k->cpus->tsc_khz, 1000000);
}

/* What this vCPU's TSC is ahead of guest time, in ticks. */
static uint64_t tsc_ahead(struct kvm_vcpu *v)
{
    struct kvm *k = v->kvm;
    int64_t ns;

    g_mutex_lock(&k->mutex);
    ns = clock_gap_settled(k) + k->lag_ns - v->lag_ns;
    g_mutex_unlock(&k->mutex);
    return ticks(k, ns);
}

/* Moves the TSC by its offset where KVM shows it, so that vCPUs stay in step to the tick. */
static void tsc_set_back(struct kvm_vcpu *v, uint64_t by)
{
    uint64_t value = 0;
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&value};

    if (kvm_call(v->fd, KVM_GET_DEVICE_ATTR, &attr) == 0) {
        value -= by;
        if (kvm_call(v->fd, KVM_SET_DEVICE_ATTR, &attr) == 0) {
            return;
        }
    }
    if (kvm_msr_get(v, MSR_TSC, &value)) {
        msr_set(v, MSR_TSC, value - by);
    }
}

void kvm_clock_resume(struct kvm_vcpu *v)
{
    struct kvm *k = v->kvm;
    int64_t gap, behind;
    uint64_t deadline;

    g_mutex_lock(&k->mutex);
    gap = clock_gap_settled(k);
    if (gap > GAP_NOISE_NS) {
        k->gap_ns += gap;
        k->lag_ns += gap;
        kvmclock_set_back(k, gap);
    }
    behind = k->lag_ns - v->lag_ns;
    v->lag_ns = k->lag_ns;
    g_mutex_unlock(&k->mutex);
    if (behind == 0) {
        return;
    }
    tsc_set_back(v, ticks(k, behind));
    if (kvm_msr_get(v, MSR_TSC_DEADLINE, &deadline) && deadline) {
        msr_set(v, MSR_TSC_DEADLINE, deadline); /* counted anew, from the TSC set back */
    }
    if (k->has_kvmclock_ctrl) {
        kvm_call(v->fd, KVM_KVMCLOCK_CTRL, NULL); /* refused when the guest has no kvmclock */
    }
}

void kvm_clock_match(struct kvm_vcpu *v, const struct kvm_vcpu *other)
{
    uint64_t value = 0;
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&value};

    v->lag_ns = other->lag_ns;
    if ((kvm_call(other->fd, KVM_GET_DEVICE_ATTR, &attr) < 0 ||
         kvm_call(v->fd, KVM_SET_DEVICE_ATTR, &attr) < 0) &&
        kvm_msr_get(other, MSR_TSC, &value)) {
        msr_set(v, MSR_TSC, value);
    }
}

/* ---------------------------------------------------------------- get */

static void get_part(const struct kvm_vcpu *v, unsigned long request, void *to, const char *name)
{
    int err = kvm_call(v->fd, request, to);

    if (err < 0) {
        log_error("vCPU %u: %s: %s", v->vcpu->index, name, strerror(-err));
    }
}

static void msrs_get(struct kvm_vcpu *v, struct cpu_state *st)
{
    int n = kvm_call(v->fd, KVM_GET_MSRS, v->msrs);

    st->n_msrs = (uint32_t)CLAMP(n, 0, (int)v->msrs->nmsrs);
    memcpy(st->msr, v->msrs->entries, st->n_msrs * sizeof(st->msr[0]));
}

static void xcr0_get(const struct kvm_vcpu *v, struct cpu_state *st)
{
    struct kvm_xcrs xcrs = {0};

    st->xcr0 = 1;
    if (v->kvm->has_xcrs && kvm_call(v->fd, KVM_GET_XCRS, &xcrs) == 0) {
        for (uint32_t i = 0; i < MIN(xcrs.nr_xcrs, KVM_MAX_XCRS); i++) {
            st->xcr0 = xcrs.xcrs[i].xcr == 0 ? xcrs.xcrs[i].value : st->xcr0;
        }
    }
}

static void events_get(struct kvm_vcpu *v, struct x_events *e)
{
    memset(e, 0, sizeof(*e));
    get_part(v, KVM_GET_VCPU_EVENTS, e, "KVM_GET_VCPU_EVENTS");
    if (atomic_load(&v->vcpu->req) & VCPU_REQ_MCE) {
        e->exception = (__typeof__(e->exception)){.pending = 1, .nr = VECTOR_MC};
    }
    e->nmi.pending = (uint8_t)MIN(e->nmi.pending + kvm_nmis_waiting(v, false), 2u);
}

void kvm_state_get(struct kvm_vcpu *v, struct cpu_state *st, unsigned what)
{
    if (what & ST_REGS) {
        get_part(v, KVM_GET_REGS, &st->regs, "KVM_GET_REGS");
    }
    if (what & ST_SREGS) {
        get_part(v, KVM_GET_SREGS, &st->sregs, "KVM_GET_SREGS");
    }
    if (what & ST_FPU) {
        get_part(v, KVM_GET_XSAVE, st->xsave, "KVM_GET_XSAVE");
        xcr0_get(v, st);
    }
    if (what & ST_MSRS) {
        msrs_get(v, st);
    }
    if (what & ST_EVENTS) {
        events_get(v, &st->events);
    }
    if (what & ST_DEBUG) {
        memset(&st->debug, 0, sizeof(st->debug));
        if (v->kvm->has_debugregs) {
            get_part(v, KVM_GET_DEBUGREGS, &st->debug, "KVM_GET_DEBUGREGS");
        }
    }
    if (what & ST_MP) {
        struct kvm_mp_state mp = {0};

        get_part(v, KVM_GET_MP_STATE, &mp, "KVM_GET_MP_STATE");
        st->mp_state = mp.mp_state;
        st->a20_off = atomic_load(&v->vcpu->a20_off);
        atomic_store(&v->vcpu->mp_state, (int)mp.mp_state);
    }
    if (what & ST_LAPIC) {
        int err = kvm_lapic_get(v, st->lapic);

        if (err < 0) {
            log_error("vCPU %u: KVM_GET_LAPIC: %s", v->vcpu->index, strerror(-err));
        }
    }
    if ((what & ST_CLOCK) && kvm_msr_get(v, MSR_TSC, &st->tsc)) {
        st->tsc -= MIN(tsc_ahead(v), st->tsc);
    }
}

/* ---------------------------------------------------------------- set */

static bool set_part(const struct kvm_vcpu *v, unsigned long request, const void *from,
                     const char *name, GError **error)
{
    int err = kvm_call(v->fd, request, (void *)from);

    if (err < 0) {
        g_set_error(error, KVM_ERROR, -err, "vCPU %u: %s: %s", v->vcpu->index, name,
                    strerror(-err));
    }
    return err >= 0;
}

/* Values that are as if there were no such MSR: 0; IA32_FEATURE_CONTROL with nothing but its lock;
 * IA32_MCG_CTL with all reporting on. */
static bool msr_says_nothing(const struct x_msr *m)
{
    return m->data == 0 || (m->index == MSR_FEATURE_CONTROL && m->data == 1) ||
           (m->index == MSR_MCG_CTL && m->data == UINT64_MAX);
}

/* An MSR that this host lacks may say nothing. */
static bool msrs_set(const struct kvm_vcpu *v, const struct cpu_state *st, GError **error)
{
    for (unsigned i = 0; i < MIN(st->n_msrs, X_MSRS_MAX); i++) {
        const struct x_msr *m = &st->msr[i];
        uint64_t now;

        if (msr_set(v, m->index, m->data) || msr_says_nothing(m) ||
            (kvm_msr_get(v, m->index, &now) && now == m->data)) {
            continue;
        }
        g_set_error(error, KVM_ERROR, 0,
                    "vCPU %u: KVM does not take the value 0x%" PRIx64 " for MSR 0x%x",
                    v->vcpu->index, m->data, m->index);
        return false;
    }
    return true;
}

static bool fpu_set(const struct kvm_vcpu *v, const struct cpu_state *st, GError **error)
{
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = st->xcr0}};

    /* Without XSAVE in the CPU model XCR0 stays as at power-on, 1. */
    if (st->xcr0 != 1 && v->kvm->has_xcrs &&
        !set_part(v, KVM_SET_XCRS, &xcrs, "KVM_SET_XCRS", error)) {
        return false;
    }
    return set_part(v, KVM_SET_XSAVE, st->xsave, "KVM_SET_XSAVE", error);
}

static bool events_set(struct kvm_vcpu *v, const struct x_events *from, GError **error)
{
    struct kvm_vcpu_events e;

    memcpy(&e, from, sizeof(e));
    e.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
              KVM_VCPUEVENT_VALID_SHADOW;
    if (v->kvm->has_payload) {
        e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
    }
    if (e.smi.latched_init) { /* an INIT that waits; nothing else of SMM is there */
        e.flags |= KVM_VCPUEVENT_VALID_SMM;
    }
    e.smi.smm = e.smi.pending = e.smi.smm_inside_nmi = 0;
    if (!set_part(v, KVM_SET_VCPU_EVENTS, &e, "KVM_SET_VCPU_EVENTS", error)) {
        return false;
    }
    atomic_store(&v->vcpu->nmis, 0);
    atomic_store(&v->lint1, 0);
    return true;
}

static bool lapic_set(struct kvm_vcpu *v, const uint8_t page[1024], GError **error)
{
    int err = kvm_lapic_set(v, page);

    if (err < 0) {
        g_set_error(error, KVM_ERROR, -err, "vCPU %u: KVM_SET_LAPIC: %s", v->vcpu->index,
                    strerror(-err));
    }
    return err >= 0;
}

/* The segment base and mode before the APIC, the APIC before its timer's MSR, registers before
 * events (they drop a pending exception). */
static bool set_core(struct kvm_vcpu *v, const struct cpu_state *st, unsigned what, GError **error)
{
    if ((what & ST_SREGS) && !set_part(v, KVM_SET_SREGS, &st->sregs, "KVM_SET_SREGS", error)) {
        return false;
    }
    if ((what & ST_LAPIC) && !lapic_set(v, st->lapic, error)) {
        return false;
    }
    if ((what & ST_CLOCK) && !msr_set(v, MSR_TSC, st->tsc + tsc_ahead(v))) {
        g_set_error(error, KVM_ERROR, 0, "vCPU %u: KVM does not take a TSC", v->vcpu->index);
        return false;
    }
    if ((what & ST_MSRS) && !msrs_set(v, st, error)) {
        return false;
    }
    return !(what & ST_REGS) || set_part(v, KVM_SET_REGS, &st->regs, "KVM_SET_REGS", error);
}

bool kvm_state_set(struct kvm_vcpu *v, const struct cpu_state *st, unsigned what, GError **error)
{
    if (!set_core(v, st, what, error) || ((what & ST_FPU) && !fpu_set(v, st, error)) ||
        ((what & ST_EVENTS) && !events_set(v, &st->events, error)) ||
        ((what & ST_DEBUG) && v->kvm->has_debugregs &&
         !set_part(v, KVM_SET_DEBUGREGS, &st->debug, "KVM_SET_DEBUGREGS", error))) {
        return false;
    }
    if (what & ST_MP) {
        struct kvm_mp_state mp = {.mp_state = st->mp_state};

        if (!set_part(v, KVM_SET_MP_STATE, &mp, "KVM_SET_MP_STATE", error)) {
            return false;
        }
        atomic_store(&v->vcpu->mp_state, (int)st->mp_state);
        atomic_store(&v->vcpu->a20_off, st->a20_off != 0);
    }
    v->unfinished = false;
    v->run->ready_for_interrupt_injection = 0;
    return true;
}
