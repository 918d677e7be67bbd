/*
 * KVM as an accelerator: the VM and interrupt messages (Linux Documentation/virt/kvm/api.rst).
 *
 * Split interrupt controllers: the local APICs are the kernel's; I/O APIC, 8259 and 8254 are the
 * board's, for every accelerator alike. Their messages go in by KVM_SIGNAL_MSI; those whose EOI
 * has to be told, and those of irqfds, are in a routing table (routes.c).
 *
 * A device of this process sends its messages itself: any thread may, without a lock, and a write
 * to an eventfd costs more (0.70 to 0.87 us against 0.59 to 0.83 us where it was measured), while
 * each change of a vector, of which guests make many, costs a new routing table (2.5 to 3.4 ms).
 * irqfds are for senders outside.
 *
 * Left out: SMM, APIC ids above 254. RAM that does not begin and end on page boundaries is reached
 * by MMIO exits there (slow; nothing executes from it).
 */
#include "base/log.h"
#include "cpu/x86/kvm/kvm-priv.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Pages below the ROM that the kernel needs for real mode on older processors; the boards leave
 * them free. */
#define IDENTITY_MAP 0xfeffc000ull
#define TSS_ADDR     0xfeffd000ull

int kvm_call(int fd, unsigned long request, void *arg)
{
    int result;

    do {
        result = ioctl(fd, request, arg);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

static int kvm_call_value(int fd, unsigned long request, unsigned long value)
{
    return kvm_call(fd, request, (void *)value);
}

/* ---------------------------------------------------------------- interrupt messages */

static void kvm_send_msi(struct cpus *cpus, gpa_t addr, uint32_t data)
{
    struct kvm *k = cpus->accel_data;
    struct kvm_msi msi = {
        .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data};

    if (data & MSI_DATA_LEVEL) {
        kvm_route_level(k, addr, data);
    }
    /* An answer below 1 is a message that nobody takes: the guest's affair. */
    kvm_call(k->vm_fd, KVM_SIGNAL_MSI, &msi);
}

static void kvm_expect_eoi(struct cpus *cpus, gpa_t addr, uint32_t data)
{
    kvm_route_level(cpus->accel_data, addr, data);
}

static void kvm_set_extint(struct cpus *cpus, bool level)
{
    struct kvm *k = cpus->accel_data;

    atomic_store(&k->extint, level);
    if (level && cpus->n) {
        vcpu_request(cpus->vcpu[0], VCPU_REQ_INTR);
    }
}

static void kvm_pulse_lint1(struct cpus *cpus)
{
    for (unsigned i = 0; i < cpus->n; i++) {
        struct kvm_vcpu *v = cpus->vcpu[i]->accel;

        atomic_fetch_add(&v->lint1, 1);
        vcpu_request(cpus->vcpu[i], VCPU_REQ_NMI);
    }
}

/* ---------------------------------------------------------------- the VM */

static bool kvm_open(struct kvm *k, GError **error)
{
    const char *hint = "";
    int version;

    k->fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (k->fd < 0) {
        int err = errno;

        if (err == ENOENT) {
            hint = " (the host's kernel has no KVM, or its modules are not loaded)";
        } else if (err == EACCES || err == EPERM) {
            hint = " (this user may not use it; group 'kvm' usually may)";
        }
        g_set_error(error, KVM_ERROR, err, "accelerator 'kvm': cannot open /dev/kvm: %s%s",
                    strerror(err), hint);
        return false;
    }
    version = kvm_call(k->fd, KVM_GET_API_VERSION, NULL);
    if (version < 0) {
        g_set_error(error, KVM_ERROR, -version,
                    "accelerator 'kvm': /dev/kvm is not KVM's device: KVM_GET_API_VERSION: %s",
                    strerror(-version));
        return false;
    }
    if (version != KVM_API_VERSION) {
        g_set_error(error, KVM_ERROR, 0, "accelerator 'kvm': /dev/kvm has API version %d, not %d",
                    version, KVM_API_VERSION);
        return false;
    }
    return true;
}

int kvm_capability(const struct kvm *k, unsigned long capability)
{
    return MAX(kvm_call_value(k->fd, KVM_CHECK_EXTENSION, capability), 0);
}

static bool kvm_check_capabilities(struct kvm *k, GError **error)
{
    static const struct {
        unsigned capability;
        const char *name;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
        {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
        {KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR"},
        {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
        {KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"},
        {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
        {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
        {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
        {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
        {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
        {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
        {KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ"},
        {KVM_CAP_USER_NMI, "KVM_CAP_USER_NMI"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (kvm_capability(k, needed[i].capability) == 0) {
            g_set_error(error, KVM_ERROR, 0, "accelerator 'kvm': this host's KVM lacks %s",
                        needed[i].name);
            return false;
        }
    }
    k->has_guest_debug = kvm_capability(k, KVM_CAP_SET_GUEST_DEBUG) > 0;
    k->guest_debug = (uint32_t)kvm_capability(k, KVM_CAP_SET_GUEST_DEBUG2);
    k->coalesced_page = (unsigned)kvm_capability(k, KVM_CAP_COALESCED_MMIO);
    k->has_coalesced_pio = kvm_capability(k, KVM_CAP_COALESCED_PIO) > 0;
    k->has_ioeventfd = kvm_capability(k, KVM_CAP_IOEVENTFD) > 0;
    k->has_any_length = kvm_capability(k, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
    k->irqfds_max = kvm_irqfds_max(k);
    k->has_xcrs = kvm_capability(k, KVM_CAP_XCRS) > 0;
    k->has_debugregs = kvm_capability(k, KVM_CAP_DEBUGREGS) > 0;
    k->has_payload = kvm_capability(k, KVM_CAP_EXCEPTION_PAYLOAD) > 0;
    k->has_kvmclock_ctrl = kvm_capability(k, KVM_CAP_KVMCLOCK_CTRL) > 0;
    k->has_tsc_control = kvm_capability(k, KVM_CAP_TSC_CONTROL) > 0;
    k->has_hyperv = kvm_capability(k, KVM_CAP_HYPERV) > 0;
    return true;
}

static bool vm_check(int result, const char *what, GError **error)
{
    if (result < 0) {
        g_set_error(error, KVM_ERROR, -result, "accelerator 'kvm': %s: %s", what,
                    strerror(-result));
    }
    return result >= 0;
}

static int vm_enable(struct kvm *k, uint32_t capability, uint64_t arg)
{
    struct kvm_enable_cap cap = {.cap = capability, .args = {arg}};

    return kvm_call(k->vm_fd, KVM_ENABLE_CAP, &cap);
}

static bool vm_create(struct kvm *k, GError **error)
{
    uint64_t identity = IDENTITY_MAP;

    k->vm_fd = kvm_call_value(k->fd, KVM_CREATE_VM, 0);
    if (!vm_check(k->vm_fd, "KVM_CREATE_VM", error) ||
        !vm_check(kvm_call(k->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity),
                  "KVM_SET_IDENTITY_MAP_ADDR", error) ||
        !vm_check(kvm_call_value(k->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDR), "KVM_SET_TSS_ADDR",
                  error) ||
        !vm_check(vm_enable(k, KVM_CAP_SPLIT_IRQCHIP, KVM_IOAPIC_PINS), "KVM_CAP_SPLIT_IRQCHIP",
                  error)) {
        return false;
    }
    if (k->has_payload && vm_enable(k, KVM_CAP_EXCEPTION_PAYLOAD, 1) < 0) {
        k->has_payload = false;
    }
    k->run_bytes = (size_t)MAX(kvm_call(k->fd, KVM_GET_VCPU_MMAP_SIZE, NULL), 0);
    if (k->run_bytes < sizeof(struct kvm_run)) {
        g_set_error(error, KVM_ERROR, 0, "accelerator 'kvm': KVM_GET_VCPU_MMAP_SIZE says %zu bytes",
                    k->run_bytes);
        return false;
    }
    return true;
}

static void kvm_free(struct kvm *k)
{
    if (k->vm_fd >= 0) {
        close(k->vm_fd);
    }
    if (k->fd >= 0) {
        close(k->fd);
    }
    g_mutex_clear(&k->mutex);
    g_array_unref(k->irqfds);
    g_free(k->supported);
    g_free(k);
}

/* /dev/kvm and what it can do; no VM yet. NULL: it can't be used. */
static struct kvm *kvm_new(GError **error)
{
    struct kvm *k = g_new0(struct kvm, 1);

    k->fd = k->vm_fd = -1;
    g_mutex_init(&k->mutex);
    k->irqfds = g_array_new(FALSE, FALSE, sizeof(struct kvm_irqfd_route));
    if (kvm_open(k, error) && kvm_check_capabilities(k, error)) {
        k->supported = kvm_cpuid_supported(k->fd, error);
    }
    if (!k->supported) {
        kvm_free(k);
        return NULL;
    }
    return k;
}

static bool kvm_probe(struct cpu_support *support, GError **error)
{
    struct kvm *k = kvm_new(error);

    if (!k) {
        return false;
    }
    kvm_support_fill(k, support);
    kvm_free(k);
    return true;
}

static bool kvm_init(struct cpus *cpus, GError **error)
{
    struct kvm *k = kvm_new(error);

    if (!k) {
        return false;
    }
    k->cpus = cpus;
    cpus->keeps_memory = kvm_capability(k, KVM_CAP_SYNC_MMU) == 0;
    if (!vm_create(k, error) || !kvm_rings_enable(k, cpus->config.dirty_ring, error) ||
        !kvm_filter_model(k, error)) {
        kvm_free(k);
        return false;
    }
    kvm_kick_signal_init();
    kvm_clock_init(k);
    cpus->accel_data = k;
    kvm_slots_init(k, (unsigned)CLAMP(kvm_capability(k, KVM_CAP_NR_MEMSLOTS), 32, 512));
    kvm_doorbells_init(k);
    return true;
}

static void kvm_finish(struct cpus *cpus)
{
    struct kvm *k = cpus->accel_data;

    kvm_doorbells_finish(k);
    kvm_slots_finish(k);
    kvm_free(k);
    cpus->accel_data = NULL;
}

const struct accel_ops accel_kvm = {
    .name = "kvm",
    .probe = kvm_probe,
    .init = kvm_init,
    .finish = kvm_finish,
    .vcpu = &kvm_vcpu_ops,
    .patches_code = true,
    .send_msi = kvm_send_msi,
    .expect_eoi = kvm_expect_eoi,
    .irqfd_set = kvm_irqfd_set,
    .irqfd_clear = kvm_irqfd_clear,
    .set_extint = kvm_set_extint,
    .pulse_lint1 = kvm_pulse_lint1,
};
