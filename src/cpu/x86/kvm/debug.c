/*
 * The host's debugger under KVM: breakpoints, watchpoints and steps by KVM_SET_GUEST_DEBUG (Linux
 * Documentation/virt/kvm/api.rst).
 *
 * Software breakpoints are INT3 in the guest's memory, put there by cpu/debug.c. Hardware
 * breakpoints and watchpoints share the processor's four debug registers, which the guest does not
 * see meanwhile. A debug exception that is none of ours is the guest's, and goes back to it.
 *
 * A step sets the trap flag behind the guest's back; a PUSHF that is stepped shows it on processors
 * whose KVM cannot hide it.
 */
#include "cpu/x86/kvm/kvm-priv.h"
#include <errno.h>
#include <string.h>

#define VECTOR_DB  1
#define VECTOR_BP  3
#define DR6_STEP   (1u << 14)
#define DR7_ALWAYS 0x600 /* a bit that is always set, and exact matching */
#define DR_N       4

/* R/W field of DR7. */
static unsigned dr7_type(enum debug_kind kind)
{
    switch (kind) {
    case DEBUG_BREAK_HARD:
        return 0;
    case DEBUG_WATCH_WRITE:
        return 1;
    default:
        return 3; /* the processor has no watchpoint for reads alone */
    }
}

/* LEN field of DR7, or -1. */
static int dr7_length(const struct debug_point *p)
{
    static const struct {
        uint8_t bytes, field;
    } lengths[] = {{1, 0}, {2, 1}, {4, 3}, {8, 2}};

    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        if (p->length == lengths[i].bytes && p->addr % p->length == 0) {
            return lengths[i].field;
        }
    }
    return -1;
}

static bool add_register(struct kvm_guest_debug *debug, unsigned *n, const struct debug_point *p,
                         GError **error)
{
    int length = dr7_length(p);

    if (*n == DR_N) {
        g_set_error(error, KVM_ERROR, 0,
                    "KVM has four hardware breakpoints and watchpoints in all");
        return false;
    }
    if (length < 0) {
        g_set_error(error, KVM_ERROR, 0, "KVM watches 1, 2, 4 or 8 bytes at a multiple of that");
        return false;
    }
    debug->arch.debugreg[*n] = p->addr;
    debug->arch.debugreg[7] |= (uint64_t)2 << (2 * *n) |
                               (uint64_t)dr7_type(p->kind) << (16 + 4 * *n) |
                               (uint64_t)length << (18 + 4 * *n);
    (*n)++;
    return true;
}

static bool debug_fill(const struct kvm_vcpu *v, struct kvm_guest_debug *debug, GError **error)
{
    const struct debug_points *points = &v->vcpu->cpus->debug;
    unsigned n = 0;

    if (v->vcpu->step & DEBUG_STEP_ENABLE) {
        debug->control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        if (v->vcpu->step & DEBUG_STEP_NOIRQ) {
            debug->control |= v->kvm->guest_debug & KVM_GUESTDBG_BLOCKIRQ;
        }
    }
    for (unsigned i = 0; i < points->n; i++) {
        if (points->list[i].kind == DEBUG_BREAK_SOFT) {
            debug->control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
        } else if (!add_register(debug, &n, &points->list[i], error)) {
            return false;
        }
    }
    if (n > 0) {
        debug->control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        debug->arch.debugreg[7] |= DR7_ALWAYS;
    }
    return true;
}

bool kvm_debug_update(struct kvm_vcpu *v, GError **error)
{
    struct kvm_guest_debug debug = {0};
    int err;

    if (!v->kvm->has_guest_debug) {
        g_set_error(error, KVM_ERROR, 0, "this host's KVM lacks KVM_CAP_SET_GUEST_DEBUG");
        return false;
    }
    if (!debug_fill(v, &debug, error)) {
        return false;
    }
    err = kvm_call(v->fd, KVM_SET_GUEST_DEBUG, &debug);
    if (err < 0) {
        g_set_error(error, KVM_ERROR, -err, "vCPU %u: KVM_SET_GUEST_DEBUG: %s", v->vcpu->index,
                    strerror(-err));
    }
    return err >= 0;
}

/* Which hardware breakpoint or watchpoint DR6 tells of. */
static const struct debug_point *register_point(const struct kvm_vcpu *v, uint64_t dr6)
{
    const struct debug_points *points = &v->vcpu->cpus->debug;
    unsigned n = 0;

    for (unsigned i = 0; i < points->n; i++) {
        if (points->list[i].kind != DEBUG_BREAK_SOFT && (dr6 >> n++ & 1)) {
            return &points->list[i];
        }
    }
    return NULL;
}

static bool find_hit(const struct kvm_vcpu *v, struct debug_hit *hit)
{
    const struct kvm_debug_exit_arch *arch = &v->run->debug.arch;
    const struct debug_point *p =
        arch->exception == VECTOR_DB ? register_point(v, arch->dr6) : NULL;

    if (arch->exception == VECTOR_BP && debug_break_at(v->vcpu->cpus, arch->pc)) {
        *hit = (struct debug_hit){DEBUG_BREAK_SOFT, arch->pc};
    } else if (p) {
        *hit = (struct debug_hit){p->kind, p->addr};
    } else if (arch->exception == VECTOR_DB && (arch->dr6 & DR6_STEP) && v->vcpu->step) {
        *hit = (struct debug_hit){DEBUG_STEP, arch->pc};
    } else {
        return false;
    }
    return true;
}

/* Gives the guest an exception of its own. */
static void give_back(struct kvm_vcpu *v)
{
    const struct kvm_debug_exit_arch *arch = &v->run->debug.arch;
    struct kvm_vcpu_events e = {0};

    if (kvm_call(v->fd, KVM_GET_VCPU_EVENTS, &e) < 0) {
        return;
    }
    e.flags = v->kvm->has_payload ? KVM_VCPUEVENT_VALID_PAYLOAD : 0;
    e.exception.nr = (uint8_t)arch->exception;
    e.exception.has_error_code = 0;
    if (v->kvm->has_payload) {
        e.exception.pending = 1;
        e.exception_has_payload = arch->exception == VECTOR_DB;
        e.exception_payload = arch->exception == VECTOR_DB ? arch->dr6 : 0;
    } else {
        e.exception.injected = 1;
    }
    kvm_call(v->fd, KVM_SET_VCPU_EVENTS, &e);
}

/* Where KVM emulates the guest's kernel, INT3 in protected mode is among what it cannot do. */
bool kvm_debug_failed_at_break(struct kvm_vcpu *v)
{
    struct x_regs regs = {0};
    struct x_sregs sregs = {0};
    gva_t at;

    if (v->vcpu->cpus->debug.n_breaks == 0 || kvm_call(v->fd, KVM_GET_REGS, &regs) < 0 ||
        kvm_call(v->fd, KVM_GET_SREGS, &sregs) < 0) {
        return false;
    }
    at = sregs.efer & EFER_LMA && sregs.cs.l ? regs.rip : (uint32_t)(sregs.cs.base + regs.rip);
    if (!debug_break_at(v->vcpu->cpus, at)) {
        return false;
    }
    v->vcpu->hit = (struct debug_hit){DEBUG_BREAK_SOFT, at};
    return true;
}

enum run_exit kvm_debug_exit(struct kvm_vcpu *v)
{
    if (find_hit(v, &v->vcpu->hit)) {
        if (v->vcpu->hit.kind != DEBUG_STEP || !vcpu_steps_on(v->vcpu, v->vcpu->hit.addr)) {
            return RUN_DEBUG;
        }
        v->vcpu->hit.kind = DEBUG_NONE;
        return RUN_KICKED;
    }
    give_back(v);
    return RUN_KICKED;
}
