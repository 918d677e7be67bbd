/*
 * vCPUs: the interface between the machine and whatever executes guest instructions.
 *
 * One host thread runs each vCPU. The rest of Godwit never asks which accelerator is at work: it
 * maps memory, creates vCPUs, asks things of them (requests), and reads and writes their state
 * while they are parked. Device access happens inside ops->run(): the accelerator calls the address
 * spaces with the machine lock held (vcpu_lock_machine / vcpu_unlock_machine).
 *
 * "Parked" means: at an instruction boundary, no device access in flight, not touching guest
 * memory. A vCPU that waits for the machine lock counts as parked for map changes and exclusive
 * sections.
 *
 * mp_state belongs to the accelerator: run() is called for a vCPU that is halted or waits for INIT
 * or SIPI when it has a request, looks whether that makes it runnable, and returns RUN_HALT if not.
 */
#ifndef CPU_VCPU_H
#define CPU_VCPU_H

#include "base/clock.h"
#include "base/lock.h"
#include "base/loop.h"
#include "cpu/debug.h"
#include "memory/address-space.h"
#include <glib.h>
#include <stdatomic.h>

struct cpu_state;
struct cpu_model;
struct cpu_support;
struct turns;
struct vcpu;
struct cpus;

/* Bits of vcpu->req; set with vcpu_request(). */
enum vcpu_request {
    VCPU_REQ_PAUSE = 1u << 0,     /* park until vcpus_resume_all() */
    VCPU_REQ_EXCLUSIVE = 1u << 1, /* another vCPU wants everybody parked for a moment */
    VCPU_REQ_EXIT = 1u << 2,      /* end the thread */
    VCPU_REQ_INTR = 1u << 3,      /* an interrupt may have become deliverable */
    VCPU_REQ_NMI = 1u << 4,       /* vcpu_nmi() was called */
    VCPU_REQ_INIT = 1u << 5,
    VCPU_REQ_SIPI = 1u << 6,
    VCPU_REQ_SMI = 1u << 7,
    VCPU_REQ_MCE = 1u << 8,
    VCPU_REQ_TLB_FLUSH = 1u << 9, /* the memory map changed */
    VCPU_REQ_DEBUG = 1u << 10,
    VCPU_REQ_RUN = 1u << 11,   /* run functions queued by vcpu_run_on() */
    VCPU_REQ_CODE = 1u << 12,  /* software CPU: code was overwritten, drop its decoded form */
    VCPU_REQ_TIMER = 1u << 13, /* software CPU: its local APIC's timer is due in a moment */
};

enum run_exit {
    RUN_KICKED,   /* a request wants attention */
    RUN_HALT,     /* HLT: sleep until an interrupt or a request */
    RUN_DEBUG,    /* breakpoint, watchpoint or step of the host's debugger */
    RUN_SHUTDOWN, /* triple fault */
    RUN_ERROR,    /* cannot go on: cpus->hooks->internal_error was called */
};

/* KVM_MP_STATE_* numbering */
enum mp_state { MP_RUNNABLE, MP_UNINITIALIZED, MP_INIT_RECEIVED, MP_HALTED, MP_SIPI_RECEIVED };

/* Sets of state for get and set. */
enum {
    ST_REGS = 1,
    ST_SREGS = 2,
    ST_FPU = 4,
    ST_MSRS = 8,
    ST_EVENTS = 16,
    ST_DEBUG = 32,
    ST_MP = 64,
    ST_LAPIC = 128,
    ST_CLOCK = 256,
    ST_ALL = 511,
};

/* A vCPU's access to a register, while it is going on. */
struct vcpu_access {
    enum { VCPU_ACCESS_NONE, VCPU_ACCESS_PORT, VCPU_ACCESS_MEMORY, VCPU_ACCESS_MSR } kind;
    bool write;
    uint8_t size; /* bytes */
    uint64_t address, value;
};

struct vcpu_ops {
    bool (*create)(struct vcpu *, GError **); /* main thread, before the vCPU's thread starts */
    void (*destroy)(struct vcpu *);           /* thread ended; NULL accel state is fine */
    /* To power-on state, mp_state included. Parked only. */
    void (*reset)(struct vcpu *);
    enum run_exit (*run)(struct vcpu *); /* the vCPU's thread only */
    /* Any thread: leave run() soon. NULL when run() looks at vcpu->req by itself. */
    void (*kick)(struct vcpu *);
    /* Parked only. `what` is a set of ST_*. set() refuses what no guest can reach by returning
     * false. */
    void (*get)(struct vcpu *, struct cpu_state *, unsigned what);
    bool (*set)(struct vcpu *, const struct cpu_state *, unsigned what, GError **);
    /* Reads guest memory by linear address as the vCPU would with supervisor rights, no side
     * effects. Parked only. false when a page is not mapped. */
    bool (*read_linear)(struct vcpu *, gva_t addr, void *buf, size_t length);
    /* Has its time stamp counter go exactly as another's. Parked only. NULL: get() and set() of
     * ST_CLOCK are as good. */
    void (*match_clock)(struct vcpu *, const struct vcpu *other);
    /* RIP of the instruction that is being executed. The vCPU's own thread, or parked. NULL: not
     * known. */
    uint64_t (*instruction_pointer)(struct vcpu *);
    /* Where it keeps the privilege level, 0 to 3, of the code that it executes; readable while it
     * does. NULL: not known. */
    const uint8_t *(*privilege)(struct vcpu *);
    /* Where a linear address is, as read_linear() has it. Parked only. */
    bool (*translate)(struct vcpu *, gva_t addr, gpa_t *gpa);
    /* cpus->debug, or vcpu->step, changed. Parked only. NULL: nothing is executed here. */
    bool (*debug_points)(struct vcpu *, GError **);
    void (*debug_step)(struct vcpu *);
};

/* What a translating CPU counts, for godwit-query-jit and info jit. */
struct translation_stats {
    uint64_t units;         /* made since the start */
    uint64_t insns;         /* guest instructions in them */
    uint64_t code_bytes;    /* of host code for them */
    uint64_t enters;        /* from the interpreter */
    uint64_t dispatches;    /* to another unit through a C lookup */
    uint64_t links;         /* direct jumps made between units */
    uint64_t handlers;      /* instructions handed to the interpreter, TLB misses among them */
    uint64_t leaves;        /* back to the interpreter */
    uint64_t leaves_req;    /* ... because something was requested of the vCPU */
    uint64_t invalidations; /* units dropped because their bytes changed */
    uint64_t flushes;       /* the whole cache dropped */
    uint64_t refused;       /* entries that could not be translated */
    uint64_t used_bytes;    /* of the cache now: code and tables */
    uint64_t lockstep;      /* vCPUs whose translated code is compared with the interpreter */
    uint64_t lockstep_steps, lockstep_insns; /* compared: runs, and instructions in them */
    uint64_t lockstep_retries;               /* differences that did not show again */
};

struct accel_ops {
    const char *name; /* "tcg", "kvm", "qtest": as on the command line */
    /* Whether it can be used on this host, and what CPU features it gives; keeps nothing open. */
    bool (*probe)(struct cpu_support *support, GError **error);
    bool (*init)(struct cpus *, GError **);
    void (*finish)(struct cpus *);
    const struct vcpu_ops *vcpu;
    bool one_thread;   /* all vCPUs can be run on one thread: accel_config.single */
    bool one_insn;     /* can execute one instruction at a time: cpus_set_one_insn() */
    bool patches_code; /* a software breakpoint is INT3 in the guest's memory: cpu/debug.h */
    /* Delivers a message-signalled interrupt to the local APICs. Any thread. */
    void (*send_msi)(struct cpus *, gpa_t addr, uint32_t data);
    /* Has the host's kernel send a message, by itself, whenever the eventfd is signalled, be it
     * that it was before; or changes the message. The fd stays open until irqfd_clear(). false: the
     * kernel does not take it, and does not watch the fd. NULL: there is no kernel that could.
     * Machine lock held. */
    bool (*irqfd_set)(struct cpus *, int fd, gpa_t addr, uint32_t data);
    void (*irqfd_clear)(struct cpus *, int fd); /* nothing if the kernel does not watch it */
    /* A level-triggered message whose EOI is still to come, as a loaded state has it: so that the
     * EOI is told. NULL: it always is. Machine lock held. */
    void (*expect_eoi)(struct cpus *, gpa_t addr, uint32_t data);
    /* The 8259 pair's INTR output, to the boot CPU. Machine lock held. */
    void (*set_extint)(struct cpus *, bool level);
    /* A pulse on LINT1 of every local APIC, where PCs have their NMI button. Any thread. */
    void (*pulse_lint1)(struct cpus *);
    /* Sums over all vCPUs, a little old where they run; false: nothing is translated. NULL:
     * neither. Any thread. */
    bool (*translation_stats)(struct cpus *, struct translation_stats *);
};

/* What vCPUs ask of the machine; called on a vCPU's thread without the machine lock unless said. */
struct cpus_hooks {
    void (*triple_fault)(void *opaque, struct vcpu *);
    /* The vCPU met what it can't execute. text is one or more lines: address, bytes, registers. */
    void (*internal_error)(void *opaque, struct vcpu *, const char *text);
    /* The host has failed the vCPU: its accelerator or its memory is gone. text: one line. NULL: an
     * internal error. */
    void (*host_error)(void *opaque, struct vcpu *, const char *text);
    /* The guest reported a crash of its own through the Hyper-V crash registers; arg is P0 to P4.
     */
    void (*crash)(void *opaque, struct vcpu *, const uint64_t arg[5]);
    /* The vCPU met what the host's debugger waits for: vcpu->hit says what. */
    void (*debug)(void *opaque, struct vcpu *);
    /* FERR# of the processors went up or down; NULL: not wired. Machine lock held. */
    void (*ferr)(void *opaque, bool asserted);
    int (*pic_ack)(void *opaque); /* machine lock held: vector from the 8259, -1 none */
    void (*eoi)(void *opaque, uint8_t vector); /* machine lock held: level EOI to the I/O APIC */
};

struct vcpu {
    struct cpus *cpus;
    const struct vcpu_ops *ops;
    unsigned index; /* its place: below cpus->max */
    uint32_t apic_id;
    char *id;              /* as its user named it, or NULL */
    bool plugged;          /* by the user, rather than there from the start */
    void *accel;           /* the accelerator's own: struct cpu of the software CPU */
    _Atomic uint32_t req;  /* enum vcpu_request */
    _Atomic bool in_guest; /* may touch guest memory or the memory map */
    _Atomic int mp_state;  /* enum mp_state */
    _Atomic uint8_t sipi_vector;
    _Atomic bool a20_off;     /* address line 20 is held low, where the accelerator can do it */
    _Atomic uint32_t nmis;    /* sent by vcpu_nmi() and not looked at */
    _Atomic bool sleeping;    /* waits for a request; the requester then signals `wake` */
    unsigned exclusive_depth; /* the vCPU's thread only: sections nest on one vCPU */
    unsigned lock_depth;      /* the vCPU's thread only: vcpu_lock_machine() nests */
    pthread_t thread;
    bool thread_started;
    uint64_t thread_id;          /* the host's tid, for query-cpus-fast */
    _Atomic(const void *) token; /* thread_token() of its thread */
    _Atomic bool beat_asked;     /* vcpu_ask_beat(), and its thread has not come by since */
    bool parked;                 /* under cpus->mutex */
    bool look;                   /* under cpus->mutex: it need not sleep any longer */
    bool stuck;                  /* after RUN_SHUTDOWN or RUN_ERROR: nothing runs until a reset */
    GCond wake;                  /* with cpus->mutex */
    GQueue run_queue;            /* under cpus->mutex */
    struct vcpu_access access;   /* the vCPU's thread only */
    unsigned step;               /* enum debug_step; changed while parked */
    gva_t step_from, step_to;    /* steps follow while RIP is in [from, to) */
    struct debug_hit hit;
    bool held;             /* the debugger keeps it parked while others run; under cpus->mutex */
    bool crashed;          /* machine lock: the guest has reported a crash by it, since reset */
    uint64_t crash_arg[5]; /* ... and said this, by the Hyper-V crash registers */
    int fatal_exception;   /* RUN_SHUTDOWN: the vector that could not be delivered at first */
};

/* How an accelerator is to work (-accel tcg,...); of the software CPU unless said. */
struct accel_config {
    bool translate;        /* hot code to host code, where the host allows it */
    uint64_t cache_bytes;  /* for translations of all vCPUs */
    unsigned threshold;    /* executions of a block before it is translated */
    unsigned region_insns; /* most instructions of a translated region */
    bool single;           /* all vCPUs on one thread, in turns */
    bool lockstep;         /* compare translated code with the interpreter */
    bool one_insn; /* execute one instruction at a time; others than the software CPU refuse */
    unsigned dirty_ring; /* KVM: entries of each vCPU's dirty ring; 0: bitmaps */
};
#define ACCEL_CONFIG_DEFAULT                                                                       \
    (struct accel_config)                                                                          \
    {                                                                                              \
        .translate = true, .cache_bytes = 64u << 20, .threshold = 32, .region_insns = 128          \
    }

struct cpus {
    const struct accel_ops *accel;
    struct accel_config config;
    struct turns *turns; /* all vCPUs are on one thread (vcpu-turns.c); else NULL */
    void *accel_data;
    struct address_space *mem, *io;
    struct vclock *clock;
    struct big_lock *lock;
    const struct cpus_hooks *hooks;
    void *hooks_opaque;
    struct cpu_model *model; /* the accelerator's init() filters it; then constant */
    uint64_t tsc_khz;
    unsigned host_cpus; /* that this process may use */
    bool keeps_memory;  /* the accelerator's init(): no page may be given back to the host */
    unsigned n, max;
    struct vcpu **vcpu;  /* n of them, in the order in which they came */
    struct vcpu **spare; /* by index: those that were taken out, for when they come back */
    struct debug_points debug;
    GMutex mutex;
    GCond all_parked;                      /* a vCPU parked, or left guest code */
    bool paused;                           /* vcpus_pause_all() is in force; under mutex */
    _Atomic bool one_insn;                 /* changed while all are parked; read by any thread */
    _Atomic bool exclusive;                /* somebody is in, or begins, an exclusive section */
    _Atomic(const void *) exclusive_owner; /* its thread_token() */
    unsigned map_guard_depth;              /* machine lock */
    bool map_guard_exclusive;              /* the map guard began an exclusive section */
};

/* Topology counts of -smp. */
struct cpu_topology {
    unsigned cpus, max_cpus, sockets, dies, cores, threads;
};

/* Makes n vCPUs, parked, in reset state with vCPU 0 runnable (others wait for INIT/SIPI). Machine
 * lock held. config NULL: defaults. The spaces, clock, lock and hooks stay alive until cpus_free().
 */
struct cpus *cpus_new(const struct accel_ops *accel, const struct accel_config *config,
                      const struct cpu_topology *topology, struct cpu_model *model,
                      struct address_space *mem, struct address_space *io, struct vclock *clock,
                      struct big_lock *lock, const struct cpus_hooks *hooks, void *hooks_opaque,
                      GError **error);
void cpus_free(
    struct cpus *cpus); /* ends the threads; machine lock held (released while waiting) */

/* The vCPU with that index; NULL: none. */
static inline struct vcpu *cpus_find(const struct cpus *cpus, unsigned index)
{
    for (unsigned i = 0; i < cpus->n; i++) {
        if (cpus->vcpu[i]->index == index) {
            return cpus->vcpu[i];
        }
    }
    return NULL;
}
/* One more, in reset state; it runs at once with `run`, else it is parked. The index is free. Main
 * thread, machine lock held. */
struct vcpu *cpus_plug(struct cpus *cpus, unsigned index, bool run, GError **error);
/* Ends the vCPU's thread and takes it out; its struct stays until cpus_free(). Main thread; machine
 * lock held (released while waiting). */
void cpus_unplug(struct cpus *cpus, struct vcpu *vcpu);

/* Parks all vCPUs and waits until they are; machine lock held by the caller (released while waiting
 * for a vCPU that needs it). Idempotent. */
void vcpus_pause_all(struct cpus *cpus);
void vcpus_resume_all(struct cpus *cpus); /* but for those that the debugger holds */
/* Has the software CPU execute one instruction per decoded block, or as many as it likes. false:
 * the accelerator can't. All parked. */
bool cpus_set_one_insn(struct cpus *cpus, bool on, GError **error);
/* Whether the debugger holds a vCPU. All parked. */
void vcpu_hold(struct vcpu *vcpu, bool held);
/* When the calling thread is a vCPU: it stops at the next instruction boundary until
 * vcpus_resume_all(). For a guest's own request (reset, power-off, panic), after which it is not to
 * run on while the main thread gets to it. false: it is none. */
bool vcpus_hold_current(struct cpus *cpus);
/* For who watches whether a vCPU hangs: asks its thread to leave guest code for a moment, and tells
 * whether it has yet to do so. One that is parked or sleeps need not. Main thread. */
void vcpu_ask_beat(struct vcpu *vcpu);
bool vcpu_beat_due(struct vcpu *vcpu);
/* The vCPU whose thread calls; NULL: none. */
struct vcpu *vcpu_current(struct cpus *cpus);
/* All vCPUs to power-on state (vCPU 0 at the reset vector, others waiting for SIPI). Parked only.
 */
void vcpus_reset_all(struct cpus *cpus);

/* Presses the NMI button. Any thread. */
static inline void cpus_inject_nmi(struct cpus *cpus)
{
    cpus->accel->pulse_lint1(cpus);
}

void vcpu_request(struct vcpu *vcpu, uint32_t bits); /* any thread; wakes and kicks */
/* The vCPU's own thread: it is waiting for another one in a loop; that is to run soon. */
void vcpu_yield(struct vcpu *vcpu);
void vcpu_nmi(struct vcpu *vcpu); /* any thread: a non-maskable interrupt */
/* The PC's A20 gate, which is the first vCPU's: held low, bit 20 of every physical address that it
 * sends out is 0, from its next instruction on. Not under KVM. Any thread. */
void cpus_set_a20(struct cpus *cpus, bool on);
/* Runs fn(vcpu, arg) on the vCPU's thread at a boundary and waits. Not with the machine lock held.
 */
void vcpu_run_on(struct vcpu *vcpu, void (*fn)(struct vcpu *, void *), void *arg);

/* The vCPU's own thread, around a device access; may nest. */
void vcpu_lock_machine(struct vcpu *vcpu);
void vcpu_unlock_machine(struct vcpu *vcpu);

/* Parks every other vCPU for a moment: takes the machine lock first (unless held), so sections
 * never nest across vCPUs; on one vCPU they may nest. Anything looked up before (TLB entries,
 * blocks) is stale afterwards. */
void vcpu_exclusive_begin(struct vcpu *vcpu);
void vcpu_exclusive_end(struct vcpu *vcpu);

/* For the accelerator's run loop: true when run() should return RUN_KICKED now. */
static inline bool vcpu_wants_exit(struct vcpu *vcpu)
{
    return (atomic_load_explicit(&vcpu->req, memory_order_relaxed) &
            (VCPU_REQ_PAUSE | VCPU_REQ_EXCLUSIVE | VCPU_REQ_EXIT | VCPU_REQ_RUN)) != 0;
}

/* For the accelerator, after a step that was asked for: another one is to follow. */
static inline bool vcpu_steps_on(const struct vcpu *vcpu, uint64_t rip)
{
    return rip >= vcpu->step_from && rip < vcpu->step_to;
}

/* Accelerators built in, in one table ended by NULL: soft ("tcg", alias "soft"), kvm
 * (where the host is x86-64 Linux), qtest. */
const struct accel_ops *accel_find(const char *name); /* NULL: unknown */
extern const struct accel_ops accel_soft, accel_kvm, accel_qtest;

#endif
