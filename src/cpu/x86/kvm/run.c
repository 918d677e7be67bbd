/*
 * vCPUs under KVM: making one, its run loop, device access, kicks (Linux
 * Documentation/virt/kvm/api.rst).
 *
 * A kick sets immediate_exit, and sends a signal to a thread that is in KVM_RUN or about to be: so
 * whoever set a request first is seen, either by the loop before KVM_RUN or by KVM_RUN itself.
 *
 * An exit for a device access leaves the instruction half done: KVM finishes it at the next
 * KVM_RUN. So before the vCPU parks it goes in once more with immediate_exit set.
 *
 * HLT, INIT and SIPI are the kernel's. An interrupt of the 8259 is put in when the guest can take
 * it, and until then KVM is asked to exit at the first moment it can.
 *
 * Left out: LINT1 programmed to anything but NMI.
 */
#include "base/log.h"
#include "cpu/x86/cpuid.h"
#include "cpu/x86/kvm/kvm-priv.h"
#include "cpu/x86/print.h"
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---------------------------------------------------------------- kicks */

int kvm_kick_signal(void)
{
    return SIGRTMIN;
}

static void on_kick(int number)
{
}

void kvm_kick_signal_init(void)
{
    struct sigaction action = {.sa_handler = on_kick};

    sigaction(kvm_kick_signal(), &action, NULL);
}

static void kvm_kick(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = vcpu->accel;

    if (!v || !vcpu->thread_started || pthread_equal(vcpu->thread, pthread_self())) {
        return; /* the loop looks at requests before it goes in */
    }
    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (atomic_load(&v->in_kvm)) {
        pthread_kill(vcpu->thread, kvm_kick_signal());
    }
}

static void thread_prepare(struct kvm_vcpu *v)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, kvm_kick_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    v->ready = true;
}

/* ---------------------------------------------------------------- giving up */

static bool kvm_translate(struct vcpu *vcpu, gva_t addr, gpa_t *gpa)
{
    struct kvm_vcpu *v = vcpu->accel;
    struct kvm_translation t = {.linear_address = addr};

    if (kvm_call(v->fd, KVM_TRANSLATE, &t) < 0 || !t.valid) {
        return false;
    }
    *gpa = t.physical_address;
    return true;
}

static bool kvm_read_linear(struct vcpu *vcpu, gva_t addr, void *buf, size_t length)
{
    uint8_t *to = buf;

    while (length > 0) {
        size_t n = MIN(length, 4096 - (addr & 4095));
        gpa_t gpa;

        if (!kvm_translate(vcpu, addr, &gpa) || !address_space_read(vcpu->cpus->mem, gpa, to, n)) {
            return false;
        }
        to += n;
        addr += n;
        length -= n;
    }
    return true;
}

static void describe_code(struct kvm_vcpu *v, const struct cpu_state *state, GString *text)
{
    gva_t at = state->sregs.cs.base + state->regs.rip;

    g_string_append(text, "code:");
    for (unsigned i = 0; i < 15; i++) {
        uint8_t byte;

        if (kvm_read_linear(v->vcpu, at + i, &byte, 1)) {
            g_string_append_printf(text, " %02x", byte);
        } else {
            g_string_append(text, " ??");
        }
    }
    g_string_append_c(text, '\n');
}

void kvm_vcpu_describe(struct kvm_vcpu *v, const char *why)
{
    struct cpus *cpus = v->vcpu->cpus;
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);
    GString *text = g_string_new(why);

    g_string_append_c(text, '\n');
    kvm_state_get(v, state, CPU_PRINT_STATE);
    describe_code(v, state, text);
    cpu_state_print(state, text);
    cpus->hooks->internal_error(cpus->hooks_opaque, v->vcpu, text->str);
    g_string_free(text, TRUE);
}

static enum run_exit run_failed(struct kvm_vcpu *v, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

static enum run_exit run_failed(struct kvm_vcpu *v, const char *fmt, ...)
{
    va_list ap;
    g_autofree char *why = NULL;

    va_start(ap, fmt);
    why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    kvm_vcpu_describe(v, why);
    return RUN_ERROR;
}

/* KVM_RUN failed. EFAULT: the memory behind the guest's is gone; with these others KVM is. */
static enum run_exit run_refused(struct kvm_vcpu *v, int err)
{
    const struct cpus *cpus = v->vcpu->cpus;
    g_autofree char *why = g_strdup_printf("KVM_RUN: %s", strerror(err));
    bool gone = err == EBADF || err == ENOTTY || err == EIO || err == ENODEV || err == ENXIO;

    if (!cpus->hooks->host_error || !(gone || err == EFAULT)) {
        return run_failed(v, "%s", why);
    }
    cpus->hooks->host_error(cpus->hooks_opaque, v->vcpu, why);
    return RUN_ERROR;
}

static enum run_exit internal_error(struct kvm_vcpu *v)
{
    static const char *const names[] = {"", "emulation failure", "simultaneous exceptions",
                                        "delivery of an event", "unexpected exit"};
    uint32_t sub = v->run->internal.suberror;
    GString *data = g_string_new(NULL);
    enum run_exit exit;

    for (uint32_t i = 0; i < MIN(v->run->internal.ndata, 16u); i++) {
        g_string_append_printf(data, " %" PRIx64, (uint64_t)v->run->internal.data[i]);
    }
    exit = run_failed(v, "KVM internal error %u (%s), data:%s", sub,
                      sub < G_N_ELEMENTS(names) ? names[sub] : "unknown", data->str);
    g_string_free(data, TRUE);
    return exit;
}

/* ---------------------------------------------------------------- device access */

static uint64_t load(const uint8_t *from, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, from, MIN(size, 8));
    return value;
}

static void exit_io(struct kvm_vcpu *v)
{
    struct kvm_run *run = v->run;
    struct address_space *io = v->vcpu->cpus->io;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    unsigned size = run->io.size;

    v->unfinished = true;
    if (run->io.direction == KVM_EXIT_IO_OUT && run->io.count == 1 &&
        address_space_write_unlocked(io, run->io.port, load(data, size), size, NULL)) {
        return;
    }
    vcpu_lock_machine(v->vcpu);
    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            address_space_io_write(io, run->io.port, load(data, size), size);
        } else {
            uint64_t value = address_space_io_read(io, run->io.port, size);

            memcpy(data, &value, size);
        }
    }
    vcpu_unlock_machine(v->vcpu);
}

static void exit_mmio(struct kvm_vcpu *v)
{
    struct kvm_run *run = v->run;
    struct address_space *mem = v->vcpu->cpus->mem;
    gpa_t addr = run->mmio.phys_addr;
    unsigned length = MIN(run->mmio.len, 8u);

    v->unfinished = true;
    if (run->mmio.is_write &&
        address_space_write_unlocked(mem, addr, load(run->mmio.data, length), length, NULL)) {
        return;
    }
    vcpu_lock_machine(v->vcpu);
    if (run->mmio.is_write) {
        address_space_io_write(mem, addr, load(run->mmio.data, length), length);
    } else {
        uint64_t value = address_space_io_read(mem, addr, length);

        memcpy(run->mmio.data, &value, length);
    }
    vcpu_unlock_machine(v->vcpu);
}

static void exit_eoi(struct kvm_vcpu *v)
{
    struct cpus *cpus = v->vcpu->cpus;

    vcpu_lock_machine(v->vcpu);
    cpus->hooks->eoi(cpus->hooks_opaque, v->run->eoi.vector);
    vcpu_unlock_machine(v->vcpu);
}

#define MSR_HV_CRASH_P0 0x40000100

/* The guest wrote Hyper-V's crash control register. */
static void exit_crash(struct kvm_vcpu *v)
{
    struct cpus *cpus = v->vcpu->cpus;
    uint64_t arg[5] = {0};

    for (unsigned i = 0; i < G_N_ELEMENTS(arg); i++) {
        kvm_msr_get(v, MSR_HV_CRASH_P0 + i, &arg[i]);
    }
    cpus->hooks->crash(cpus->hooks_opaque, v->vcpu, arg);
}

/* RUN_KICKED: the vCPU goes on. */
static enum run_exit handle_exit(struct kvm_vcpu *v)
{
    struct kvm_run *run = v->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        exit_io(v);
        return RUN_KICKED;
    case KVM_EXIT_MMIO:
        exit_mmio(v);
        return RUN_KICKED;
    case KVM_EXIT_IOAPIC_EOI:
        exit_eoi(v);
        return RUN_KICKED;
    case KVM_EXIT_DIRTY_RING_FULL:
        vcpu_lock_machine(v->vcpu);
        kvm_rings_collect(v->kvm);
        vcpu_unlock_machine(v->vcpu);
        return RUN_KICKED;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_INTR:
        return RUN_KICKED;
    case KVM_EXIT_SYSTEM_EVENT:
        if (run->system_event.type == KVM_SYSTEM_EVENT_CRASH) {
            exit_crash(v);
            return RUN_KICKED;
        }
        return run_failed(v, "KVM: system event of unknown type %u", run->system_event.type);
    case KVM_EXIT_HYPERV:
        kvm_hyperv_exit(v);
        return RUN_KICKED;
    case KVM_EXIT_SHUTDOWN:
        return RUN_SHUTDOWN;
    case KVM_EXIT_DEBUG:
        return kvm_debug_exit(v);
    case KVM_EXIT_INTERNAL_ERROR:
        if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
            kvm_debug_failed_at_break(v)) {
            return RUN_DEBUG;
        }
        return internal_error(v);
    case KVM_EXIT_FAIL_ENTRY:
        return run_failed(v, "KVM: entry into the guest failed, hardware's reason 0x%" PRIx64,
                          (uint64_t)run->fail_entry.hardware_entry_failure_reason);
    default:
        return run_failed(v, "KVM: exit of unknown reason %u", run->exit_reason);
    }
}

/* ---------------------------------------------------------------- interrupts */

static void inject_nmis(struct kvm_vcpu *v)
{
    unsigned n = kvm_nmis_waiting(v, true);

    for (unsigned i = 0; i < n; i++) {
        kvm_call(v->fd, KVM_NMI, NULL);
    }
}

static void inject_extint(struct kvm_vcpu *v)
{
    struct cpus *cpus = v->vcpu->cpus;
    struct kvm_run *run = v->run;

    if (run->ready_for_interrupt_injection) {
        int vector;

        vcpu_lock_machine(v->vcpu);
        vector = cpus->hooks->pic_ack(cpus->hooks_opaque);
        vcpu_unlock_machine(v->vcpu);
        if (vector >= 0) {
            struct kvm_interrupt interrupt = {.irq = (uint32_t)vector};

            kvm_call(v->fd, KVM_INTERRUPT, &interrupt);
            run->ready_for_interrupt_injection = 0;
        }
    }
    run->request_interrupt_window = atomic_load(&v->kvm->extint);
}

#define REQ_TAKEN                                                                                  \
    (VCPU_REQ_INTR | VCPU_REQ_NMI | VCPU_REQ_INIT | VCPU_REQ_SIPI | VCPU_REQ_SMI | VCPU_REQ_MCE |  \
     VCPU_REQ_TLB_FLUSH | VCPU_REQ_DEBUG | VCPU_REQ_CODE)

/* The banks say what happened; this only interrupts. false: the guest has switched it off since. */
static bool inject_machine_check(struct kvm_vcpu *v)
{
    struct kvm_vcpu_events e = {0};
    struct kvm_sregs sregs = {0};

    if (kvm_call(v->fd, KVM_GET_SREGS, &sregs) < 0 || !(sregs.cr4 & CR4_MCE)) {
        return false;
    }
    if (kvm_call(v->fd, KVM_GET_VCPU_EVENTS, &e) == 0) {
        e.flags = 0;
        memset(&e.exception, 0, sizeof(e.exception));
        e.exception.injected = 1;
        e.exception.nr = VECTOR_MC;
        kvm_call(v->fd, KVM_SET_VCPU_EVENTS, &e);
    }
    return true;
}

/* false: the vCPU shut down. */
static bool take_requests(struct kvm_vcpu *v)
{
    struct vcpu *vcpu = v->vcpu;

    if (atomic_load_explicit(&vcpu->req, memory_order_relaxed) & REQ_TAKEN) {
        uint32_t taken = atomic_fetch_and(&vcpu->req, ~(uint32_t)REQ_TAKEN);

        if (taken & VCPU_REQ_NMI) {
            inject_nmis(v);
        }
        if ((taken & VCPU_REQ_MCE) && !inject_machine_check(v)) {
            return false;
        }
    }
    if (vcpu->index == 0) {
        if (atomic_load_explicit(&v->kvm->extint, memory_order_relaxed)) {
            inject_extint(v);
        } else {
            v->run->request_interrupt_window = 0;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- running */

static int enter(struct kvm_vcpu *v)
{
    int err = ioctl(v->fd, KVM_RUN, NULL) < 0 ? errno : 0;

    v->unfinished = false;
    return err;
}

/* Drops the writes to nothing that KVM has gathered (slots.c). */
static void empty_ring(struct kvm_vcpu *v)
{
    if (v->ring) {
        uint32_t last = __atomic_load_n(&v->ring->last, __ATOMIC_ACQUIRE);

        if (v->ring->first != last) {
            __atomic_store_n(&v->ring->first, last, __ATOMIC_RELEASE);
        }
    }
}

/* Lets KVM finish the instruction of the last exit, which may want further accesses. */
static enum run_exit finish_access(struct kvm_vcpu *v)
{
    enum run_exit exit = RUN_KICKED;

    while (v->unfinished && exit == RUN_KICKED) {
        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        if (enter(v) == 0) {
            exit = handle_exit(v);
        }
    }
    return exit;
}

static enum run_exit kvm_run_vcpu(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = vcpu->accel;
    enum run_exit exit = RUN_KICKED;

    if (!v->ready) {
        thread_prepare(v);
    }
    if (v->rested) {
        v->rested = false;
        kvm_clock_resume(v);
    }
    while (exit == RUN_KICKED) {
        int err;

        __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        atomic_store(&v->in_kvm, true);
        if (vcpu_wants_exit(vcpu)) {
            atomic_store(&v->in_kvm, false);
            v->rested = true;
            exit = finish_access(v);
            kvm_lapic_rest(v);
            return exit;
        }
        if (!take_requests(v)) {
            atomic_store(&v->in_kvm, false);
            return RUN_SHUTDOWN;
        }
        err = enter(v);
        empty_ring(v);
        atomic_store(&v->in_kvm, false);
        if (err == 0) {
            exit = handle_exit(v);
        } else if (err != EINTR && err != EAGAIN) {
            exit = run_refused(v, err);
        }
    }
    return exit;
}

/* ---------------------------------------------------------------- life */

static bool create_failed(struct kvm_vcpu *v, const char *what, int err, GError **error)
{
    g_set_error(error, KVM_ERROR, err, "vCPU %u: %s: %s", v->vcpu->index, what, strerror(err));
    return false;
}

#define TSC_TOLERANCE_PPM 250 /* so much off KVM takes for equal by default */

/* The frequency of -cpu ...,tsc-frequency= where KVM can scale or the host's is as good as equal.
 * KVM is not asked for others: it would remember them even if it refused them. */
static bool tsc_set_frequency(struct kvm_vcpu *v, uint64_t host_khz, GError **error)
{
    uint64_t khz = v->vcpu->cpus->model->tsc_khz;
    uint64_t off = khz > host_khz ? khz - host_khz : host_khz - khz;

    if ((v->kvm->has_tsc_control || off * 1000000 <= host_khz * TSC_TOLERANCE_PPM) &&
        kvm_call(v->fd, KVM_SET_TSC_KHZ, (void *)(uintptr_t)khz) >= 0) {
        v->vcpu->cpus->tsc_khz = khz;
        return true;
    }
    g_set_error(error, KVM_ERROR, 0,
                "tsc-frequency: no TSC of %" PRIu64 " kHz: the host's runs at %" PRIu64
                " kHz, and its KVM cannot scale that",
                khz, host_khz);
    return false;
}

static bool tsc_find(struct kvm_vcpu *v, GError **error)
{
    int khz = kvm_call(v->fd, KVM_GET_TSC_KHZ, NULL);

    if (khz <= 0) {
        return create_failed(v, "KVM_GET_TSC_KHZ", khz < 0 ? -khz : ERANGE, error);
    }
    v->vcpu->cpus->tsc_khz = (uint64_t)khz;
    return !v->vcpu->cpus->model->fixed_tsc || tsc_set_frequency(v, (uint64_t)khz, error);
}

/* What a new vCPU is like is the state of power-on, but for what KVM does not know. */
static void power_on_capture(struct kvm_vcpu *v)
{
    struct cpu_state *state = v->power_on = g_new0(struct cpu_state, 1);

    kvm_state_get(v, state, ST_ALL);
    state->tsc = 0;
    state->mp_state = v->vcpu->index == 0 ? MP_RUNNABLE : MP_UNINITIALIZED;
    state->regs.rdx = 0x600;
}

/* Banks, MCG_CTL and software recovery, as far as the host has them. */
static void setup_machine_checks(struct kvm_vcpu *v)
{
    const uint64_t wanted = 1u << 24 | 1u << 8;
    uint64_t cap = 0;

    if (cpu_model_has(v->vcpu->cpus->model, F_MCE) &&
        kvm_call(v->kvm->fd, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap) == 0) {
        cap = (cap & wanted) | MIN(cap & 0xff, (uint64_t)KVM_MCE_BANKS);
        kvm_call(v->fd, KVM_X86_SETUP_MCE, &cap);
    }
}

static bool kvm_create(struct vcpu *vcpu, GError **error)
{
    struct kvm *k = vcpu->cpus->accel_data;
    struct kvm_vcpu *v = g_new0(struct kvm_vcpu, 1);
    void *run;

    v->kvm = k;
    v->vcpu = vcpu;
    v->rested = true;
    vcpu->accel = v;
    v->fd = kvm_call(k->vm_fd, KVM_CREATE_VCPU, (void *)(uintptr_t)vcpu->apic_id);
    if (v->fd < 0) {
        return create_failed(v, "KVM_CREATE_VCPU", -v->fd, error);
    }
    run = mmap(NULL, k->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (run == MAP_FAILED) {
        return create_failed(v, "mmap of its run area", errno, error);
    }
    v->run = run;
    if (k->coalesced_page && (k->coalesced_page + 1) * 4096 <= k->run_bytes) {
        v->ring = (void *)((uint8_t *)run + (size_t)k->coalesced_page * 4096);
    }
    if (!kvm_ring_map(v)) {
        return create_failed(v, "mmap of its dirty ring", errno, error);
    }
    if (!tsc_find(v, error) || !kvm_hyperv_enable(v, error) || !kvm_vcpu_set_cpuid(v, error)) {
        return false;
    }
    setup_machine_checks(v);
    kvm_state_init(v);
    power_on_capture(v);
    return true;
}

static void kvm_destroy(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = vcpu->accel;

    if (v) {
        kvm_ring_unmap(v);
        if (v->run) {
            munmap(v->run, v->kvm->run_bytes);
        }
        if (v->fd >= 0) {
            close(v->fd);
        }
        g_free(v->msrs);
        g_free(v->power_on);
        g_free(v);
        vcpu->accel = NULL;
    }
}

static void kvm_reset(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = vcpu->accel;
    g_autoptr(GError) error = NULL;

    if (!kvm_state_set(v, v->power_on, ST_ALL, &error)) {
        log_error("reset: %s", error->message);
    }
}

static void kvm_match_clock(struct vcpu *vcpu, const struct vcpu *other)
{
    kvm_clock_match(vcpu->accel, other->accel);
}

static void kvm_get(struct vcpu *vcpu, struct cpu_state *state, unsigned what)
{
    kvm_state_get(vcpu->accel, state, what);
}

static bool kvm_set(struct vcpu *vcpu, const struct cpu_state *state, unsigned what, GError **error)
{
    return kvm_state_set(vcpu->accel, state, what, error);
}

static bool kvm_debug_points(struct vcpu *vcpu, GError **error)
{
    return kvm_debug_update(vcpu->accel, error);
}

static void kvm_debug_step(struct vcpu *vcpu)
{
    g_autoptr(GError) error = NULL;

    if (!kvm_debug_update(vcpu->accel, &error)) {
        log_error("gdb: %s", error->message);
    }
}

const struct vcpu_ops kvm_vcpu_ops = {
    .create = kvm_create,
    .destroy = kvm_destroy,
    .reset = kvm_reset,
    .match_clock = kvm_match_clock,
    .run = kvm_run_vcpu,
    .kick = kvm_kick,
    .get = kvm_get,
    .set = kvm_set,
    .read_linear = kvm_read_linear,
    .translate = kvm_translate,
    .debug_points = kvm_debug_points,
    .debug_step = kvm_debug_step,
};
