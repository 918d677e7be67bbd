/*
 * What the host's debugger wants of the vCPUs: breakpoints, watchpoints, single steps.
 *
 * None of it is the guest's: its debug registers, its trap flag and, on the software CPU, the code
 * bytes in its memory are as without a debugger. Where an accelerator can only stop at an
 * instruction by writing INT3 over it (accel_ops.patches_code), reads and writes through
 * debug_read() and debug_write() do not see that.
 *
 * Main thread, all vCPUs parked, unless a function says otherwise. Addresses are linear.
 */
#ifndef CPU_DEBUG_H
#define CPU_DEBUG_H

#include "memory/types.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct cpus;
struct vcpu;

enum debug_kind {
    DEBUG_NONE,
    DEBUG_STEP,
    DEBUG_BREAK_SOFT, /* at an address, in any number */
    DEBUG_BREAK_HARD, /* at an address, without a change to memory; KVM has four, with watchpoints
                       */
    DEBUG_WATCH_WRITE,
    DEBUG_WATCH_READ, /* KVM: writes too, as the processor has it */
    DEBUG_WATCH_ACCESS,
};

/* Bits of vcpu->step; the values are those of QEMU's packet qqemu.sstepbits. */
enum debug_step {
    DEBUG_STEP_ENABLE = 1,
    DEBUG_STEP_NOIRQ = 2,   /* no interrupt is delivered meanwhile */
    DEBUG_STEP_NOTIMER = 4, /* timers of the virtual clock do not fire meanwhile */
};

struct debug_point {
    enum debug_kind kind;
    gva_t addr;
    uint64_t length; /* bytes; 1 for a breakpoint */
    gpa_t gpa;       /* of a byte that is patched */
    uint8_t original;
    bool patched;
};

/* Why a vCPU returned RUN_DEBUG. Written by its own thread, read while it is parked. */
struct debug_hit {
    enum debug_kind kind;
    gva_t addr;
};

#define DEBUG_POINTS_MAX      1024
#define DEBUG_WATCH_MAX_BYTES (1u << 20)

/* In struct cpus. Changes only while all vCPUs are parked. */
struct debug_points {
    struct debug_point *list;
    unsigned n, n_breaks, n_watches;
};

/* vcpu: whose address space addr is in. Inserting what is there already is fine. false: too many,
 * a length that cannot be watched, or nothing mapped there. */
bool debug_insert(struct vcpu *vcpu, enum debug_kind kind, gva_t addr, uint64_t length,
                  GError **error);
bool debug_remove(struct vcpu *vcpu, enum debug_kind kind, gva_t addr, uint64_t length);
void debug_remove_all(struct cpus *cpus);

/* What the vCPU does when it runs next: flags of enum debug_step, 0 runs freely. Forgets its hit.
 */
void debug_set_step(struct vcpu *vcpu, unsigned flags);

/* After debug_set_step(): the vCPU goes on stepping while its RIP is in [from, to). */
void debug_set_range(struct vcpu *vcpu, gva_t from, gva_t to);

/* A vCPU's thread: is there a breakpoint of that kind (DEBUG_NONE: of either) at addr? */
const struct debug_point *debug_break_at(const struct cpus *cpus, gva_t addr);
/* A vCPU's thread: the watchpoint that an access meets, or NULL. */
const struct debug_point *debug_watch_match(const struct cpus *cpus, gva_t addr, uint64_t length,
                                            bool write);

/* Memory as the guest has it, read and written by linear or physical address. Writes reach ROM too;
 * devices see an access of theirs. false when some of it is not there; what precedes is done.
 * Machine lock held. */
bool debug_read(struct vcpu *vcpu, uint64_t addr, void *buf, size_t length, bool physical);
bool debug_write(struct vcpu *vcpu, uint64_t addr, const void *buf, size_t length, bool physical);

#endif
