/*
 * What the files of the KVM accelerator share (Linux Documentation/virt/kvm/api.rst).
 */
#ifndef CPU_X86_KVM_KVM_PRIV_H
#define CPU_X86_KVM_KVM_PRIV_H

#include "cpu/vcpu.h"
#include "cpu/x86/state.h"
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define KVM_ERROR       (g_quark_from_static_string("kvm-error"))
#define KVM_IOAPIC_PINS 24
#define KVM_MCE_BANKS   10 /* as the software CPU has */
#define VECTOR_MC       18

/* One KVM memory slot; bytes 0: free. */
struct kvm_slot {
    gpa_t gpa;
    uint64_t bytes;
    struct ram_block *ram;
    uint64_t offset; /* in ram */
    bool read_only, wanted, logged;
};

/* An interrupt message that is level-triggered; used numbers its last use. */
struct kvm_level_route {
    gpa_t addr;
    uint32_t data;
    uint64_t used; /* 0: none */
};

/* An eventfd that KVM watches, and what it sends. */
struct kvm_irqfd_route {
    int fd;
    uint32_t gsi, data;
    gpa_t addr;
};

/* Where nothing is mapped, and writes are gathered. */
struct kvm_hole {
    gpa_t start;
    uint32_t bytes, pio; /* pio: ports, else memory */
};
#define KVM_HOLES_MAX 32

/* A doorbell as it was given to KVM. */
struct kvm_bell {
    gpa_t gpa;
    int fd;
    uint8_t size;
    bool has_value;
    uint16_t value;
};

/* The doorbells of an address space. Machine lock. */
struct kvm_bells {
    struct kvm *kvm;
    struct address_space *as;
    struct map_listener listener;
    GArray *set; /* struct kvm_bell */
};

struct kvm {
    struct cpus *cpus;
    int fd, vm_fd;
    size_t run_bytes; /* of the area shared with each vCPU */
    bool has_guest_debug;
    uint32_t guest_debug; /* KVM_GUESTDBG_* that there are */
    bool has_xcrs, has_debugregs, has_payload, has_kvmclock_ctrl, has_hyperv;
    bool has_tsc_control;         /* TSCs of any frequency */
    struct kvm_cpuid2 *supported; /* CPUID bits that this host can give */
    struct map_listener listener, io_listener;
    GArray *memory_holes, *port_holes; /* struct kvm_hole */
    unsigned coalesced_page;           /* of a vCPU's run area: the ring; 0: none */
    bool has_coalesced_pio, has_ioeventfd, has_any_length;
    struct kvm_bells memory_bells, port_bells;
    unsigned ring_entries;      /* of each vCPU's dirty ring; 0: KVM keeps bitmaps */
    bool overrun, overrun_told; /* entries of a ring were lost; machine lock */
    struct kvm_slot *slot;      /* machine lock */
    unsigned n_slots;
    _Atomic bool extint; /* the 8259's INTR */
    GMutex mutex;        /* what follows */
    struct kvm_level_route route[KVM_IOAPIC_PINS];
    uint64_t route_uses;
    GArray *irqfds;      /* struct kvm_irqfd_route */
    unsigned irqfds_max; /* 0: KVM takes none; constant */
    /* Host time minus virtual time, as far as the guest's clocks have been set back by it. */
    int64_t gap_ns;
    int64_t lag_ns; /* sum of what guests' clocks were to be set back */
};

struct kvm_vcpu {
    struct kvm *kvm;
    struct vcpu *vcpu;
    int fd;
    struct kvm_run *run;
    struct kvm_coalesced_mmio_ring *ring; /* the VM's; NULL: none */
    struct kvm_dirty_gfn *dirty;          /* its dirty ring; NULL: none */
    uint32_t dirty_at;                    /* the next entry; machine lock */
    bool overrun;                         /* it was; KVM may be ahead; machine lock */
    struct kvm_msrs *msrs; /* those that can be read here, with room for their values */
    struct cpu_state *power_on;
    int64_t lag_ns;         /* of kvm->lag_ns, what this TSC has been set back by */
    uint32_t timer_left;    /* of the local APIC's timer when it went to rest */
    bool unfinished;        /* an exit's access must still be completed by KVM_RUN */
    bool rested;            /* was out for a pause: clocks may have to be set back */
    bool ready;             /* this thread takes the kick signal */
    _Atomic bool in_kvm;    /* in KVM_RUN or about to: a kick needs the signal */
    _Atomic unsigned lint1; /* pulses not looked at */
};

/* ioctl() that is repeated after EINTR; -errno on failure. */
int kvm_call(int fd, unsigned long request, void *arg);

int kvm_capability(const struct kvm *k, unsigned long capability); /* 0: it is not there */

/* routes.c. Any thread. */
#define MSI_DATA_LEVEL (1u << 15)
void kvm_route_level(struct kvm *k, gpa_t addr, uint32_t data); /* so that its EOI is told */
unsigned kvm_irqfds_max(const struct kvm *k);
bool kvm_irqfd_set(struct cpus *cpus, int fd, gpa_t addr, uint32_t data); /* cpu/vcpu.h */
void kvm_irqfd_clear(struct cpus *cpus, int fd);

/* run.c */
extern const struct vcpu_ops kvm_vcpu_ops;
void kvm_kick_signal_init(void);
int kvm_kick_signal(void);
void kvm_vcpu_describe(struct kvm_vcpu *v, const char *why);

/* slots.c */
void kvm_slots_init(struct kvm *k, unsigned n); /* listens to the memory map */
void kvm_slots_finish(struct kvm *k);
void kvm_slots_log_anew(struct kvm *k); /* all that is logged is dirty; machine lock */

/* ring.c. Machine lock but for the second. */
bool kvm_rings_enable(struct kvm *k, unsigned entries, GError **error); /* before vCPUs are made */
bool kvm_ring_map(struct kvm_vcpu *v);                                  /* false and errno */
void kvm_ring_unmap(struct kvm_vcpu *v);
void kvm_rings_collect(struct kvm *k); /* tells dirty logs of what is in them */

/* doorbell.c */
void kvm_doorbells_init(struct kvm *k);
void kvm_doorbells_finish(struct kvm *k);

/* debug.c */
bool kvm_debug_update(struct kvm_vcpu *v, GError **error); /* parked */
/* After KVM_EXIT_DEBUG: RUN_DEBUG, or RUN_KICKED when it was the guest's own. */
enum run_exit kvm_debug_exit(struct kvm_vcpu *v);
/* Whether KVM failed to emulate what is an INT3 of the debugger's; then vcpu->hit tells. */
bool kvm_debug_failed_at_break(struct kvm_vcpu *v);

/* cpuid.c */
struct kvm_cpuid2 *kvm_cpuid_supported(int kvm_fd, GError **error);
/* What the host gives of CPU features. */
/* hyperv.c: EAX of one of Hyper-V's leaves as this host's kernel supports it. */
uint32_t kvm_hyperv_leaf(const struct kvm *k, uint32_t leaf);
/* What a vCPU with the model needs enabled. */
bool kvm_hyperv_enable(const struct kvm_vcpu *v, GError **error);
void kvm_hyperv_exit(struct kvm_vcpu *v);
void kvm_support_fill(const struct kvm *k, struct cpu_support *support);
/* Takes from the CPU model what the host cannot give. */
bool kvm_filter_model(struct kvm *k, GError **error);
bool kvm_vcpu_set_cpuid(struct kvm_vcpu *v, GError **error);

/* lapic.c */
/* The vCPU is about to rest (its thread): notes how its local APIC's timer stands. */
void kvm_lapic_rest(struct kvm_vcpu *v);
int kvm_lapic_get(struct kvm_vcpu *v, uint8_t page[1024]); /* 0 or -errno, parked; set too */
int kvm_lapic_set(struct kvm_vcpu *v, const uint8_t page[1024]);
/* At most two; take: they are dealt with. */
unsigned kvm_nmis_waiting(struct kvm_vcpu *v, bool take);

/* state.c */
void kvm_state_init(struct kvm_vcpu *v); /* finds out which MSRs there are */
void kvm_state_get(struct kvm_vcpu *v, struct cpu_state *st, unsigned what);
bool kvm_state_set(struct kvm_vcpu *v, const struct cpu_state *st, unsigned what, GError **error);
bool kvm_msr_get(const struct kvm_vcpu *v, uint32_t index, uint64_t *value);
/* clock: TSC and kvmclock stand still with the virtual clock. */
void kvm_clock_init(struct kvm *k);
/* Gives a new vCPU the TSC of another; both rest. */
void kvm_clock_match(struct kvm_vcpu *v, const struct kvm_vcpu *other);
void kvm_clock_resume(struct kvm_vcpu *v); /* before a vCPU runs again after a pause */

#endif
