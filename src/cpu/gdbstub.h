/*
 * The stub that gdb (or another client of its remote serial protocol) talks to: `target remote`.
 *
 * One process, p1, with one thread per vCPU, p1.1 being vCPU 0; "continue" and "step" let vCPUs
 * run, anything that stops the machine is told. Packets beyond gdb's own are QEMU's: physical
 * memory (qemu.PhyMemMode) and what a single step holds back (qemu.sstep).
 *
 * All calls on the main loop's thread, machine lock held. The peer is not trusted: it may do to the
 * guest what it wants, but not to us.
 */
#ifndef CPU_GDBSTUB_H
#define CPU_GDBSTUB_H

#include "chardev/chardev.h"
#include "cpu/vcpu.h"

struct gdbstub;

/* What the stub asks of the machine. */
struct gdb_hooks {
    bool (*running)(void *opaque);
    void (*stop)(void *opaque); /* to `paused`; gdbstub_stopped() comes of it when it ran */
    /* hold_timers: timers of the virtual clock do not fire until it stops again */
    bool (*start)(void *opaque, bool hold_timers, GError **error);
    void (*kill)(void *opaque);
    /* The signal that tells gdb why the machine is not running now. */
    int (*signal)(void *opaque);
    /* A line for the human monitor, on behalf of a vCPU: its output, owned by the caller. */
    char *(*command)(void *opaque, struct vcpu *vcpu, const char *line);
};

/* The chardev stays the caller's, and has no other front end. NULL and *error otherwise. A client
 * that connects stops the machine. */
struct gdbstub *gdbstub_new(struct cpus *cpus, struct chardev *chr, const struct gdb_hooks *hooks,
                            void *opaque, GError **error);
/* Takes all breakpoints back. Not from within gdb_hooks. NULL is fine. */
void gdbstub_free(struct gdbstub *stub);

/* A packet is being carried out: the caller comes from within gdb_hooks. */
bool gdbstub_busy(const struct gdbstub *stub);
/* The machine has stopped, for whatever reason; all vCPUs are parked. */
void gdbstub_stopped(struct gdbstub *stub);
/* The process is about to end. */
void gdbstub_exited(struct gdbstub *stub, int status);

/* Signals as gdb numbers them. */
enum {
    GDB_SIGNAL_INT = 2,
    GDB_SIGNAL_QUIT = 3,
    GDB_SIGNAL_TRAP = 5,
    GDB_SIGNAL_ABRT = 6,
    GDB_SIGNAL_ALRM = 14,
    GDB_SIGNAL_IO = 23,
    GDB_SIGNAL_XCPU = 24,
    GDB_SIGNAL_UNKNOWN = 143,
};

#endif
