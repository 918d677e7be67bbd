/* What the files of the gdb stub share. */
#ifndef CPU_GDB_PRIV_H
#define CPU_GDB_PRIV_H

#include "cpu/gdb-packet.h"
#include "cpu/gdbstub.h"

struct gdbstub {
    struct cpus *cpus;
    const struct gdb_hooks *hooks;
    void *opaque;
    struct chardev *chr;
    struct chardev_frontend frontend;
    struct gdb_reader reader;
    GByteArray *out;  /* on its way */
    guint out_sent;   /* of it */
    GByteArray *last; /* the last packet sent, for a peer that asks for it again */
    bool busy;
    bool awaited; /* gdb let the machine run and waits to hear that it stopped */
    bool no_ack;
    bool swbreak, hwbreak; /* gdb takes these as reasons */
    bool physical;         /* memory packets mean physical addresses */
    unsigned step_flags;   /* enum debug_step, of steps to come */
    struct vcpu *general;  /* that registers and memory packets mean */
    struct vcpu *control;  /* that packets c and s mean */
};

/* What a vCPU is to do. */
struct gdb_action {
    char what;      /* 'c', 's', or 0: stand still */
    gva_t from, to; /* 's': on and on while it is in [from, to); equal: one step */
};

/* Carries one packet out; reply gets the body of what is to be answered. false: no answer (the
 * machine runs, or ends). */
bool gdb_command_run(struct gdbstub *stub, const char *body, size_t length, GString *reply);
/* Sends a packet. */
void gdb_send(struct gdbstub *stub, const char *body, size_t length);
/* Why the machine is not running: the body of a stop reply. */
void gdb_append_stop_reply(struct gdbstub *stub, GString *reply);
/* "p01.01" */
void gdb_append_thread(const struct vcpu *vcpu, GString *out);
/* Takes all breakpoints back and lets all vCPUs run. */
void gdb_detach(struct gdbstub *stub);
/* Lets vCPUs run, each by its own action. */
void gdb_resume(struct gdbstub *stub, const struct gdb_action *action);

#endif
