/* The host's debugger on a machine: see debugger.h. */
#include "machine/debugger.h"

#include "base/log.h"
#include "cpu/gdbstub.h"

struct debugger {
    struct machine *m;
    struct chardev *chr;
    bool owned;
    struct gdbstub *stub;
    debugger_command_fn command;
};

/* ---- what the stub asks for */

static bool gdb_running(void *opaque)
{
    const struct debugger *d = opaque;

    return runstate_is_running(d->m->run);
}

static void enter(struct debugger *d, struct cause_scope *scope)
{
    cause_enter(d->m, scope, cause_now(d->m, GODWIT_CAUSE_WHO_USER, "gdb"));
}

static void gdb_stop(void *opaque)
{
    struct debugger *d = opaque;
    struct cause_scope scope;

    enter(d, &scope);
    vm_stop(d->m, RUN_STATE_PAUSED);
    cause_leave(d->m, &scope);
}

static bool gdb_start(void *opaque, bool hold_timers, GError **error)
{
    struct debugger *d = opaque;
    struct cause_scope scope;
    bool ok;

    enter(d, &scope);
    vclock_hold_timers(d->m->clock, hold_timers);
    ok = vm_start(d->m, error);
    if (!runstate_is_running(d->m->run)) {
        vclock_hold_timers(d->m->clock, false);
    }
    cause_leave(d->m, &scope);
    return ok;
}

static void gdb_kill(void *opaque)
{
    struct debugger *d = opaque;
    struct cause_scope scope;

    log_info("killed by gdb");
    enter(d, &scope);
    machine_request_shutdown(d->m, SHUTDOWN_CAUSE_HOST_UI, "gdb kill");
    cause_leave(d->m, &scope);
}

static int gdb_signal(void *opaque)
{
    const struct debugger *d = opaque;

    switch (runstate_get(d->m->run)) {
    case RUN_STATE_DEBUG:
    case RUN_STATE_PRELAUNCH:
        return GDB_SIGNAL_TRAP;
    case RUN_STATE_PAUSED:
        return GDB_SIGNAL_INT;
    case RUN_STATE_SHUTDOWN:
        return GDB_SIGNAL_QUIT;
    case RUN_STATE_IO_ERROR:
        return GDB_SIGNAL_IO;
    case RUN_STATE_WATCHDOG:
        return GDB_SIGNAL_ALRM;
    case RUN_STATE_INTERNAL_ERROR:
        return GDB_SIGNAL_ABRT;
    case RUN_STATE_FINISH_MIGRATE:
        return GDB_SIGNAL_XCPU;
    default:
        return GDB_SIGNAL_UNKNOWN;
    }
}

static char *gdb_command(void *opaque, struct vcpu *vcpu, const char *line)
{
    const struct debugger *d = opaque;

    return d->command(d->m, vcpu, line);
}

static const struct gdb_hooks hooks = {
    .running = gdb_running,
    .stop = gdb_stop,
    .start = gdb_start,
    .kill = gdb_kill,
    .signal = gdb_signal,
    .command = gdb_command,
};

/* ---- for the machine */

static void debugger_free(struct debugger *d)
{
    gdbstub_free(d->stub);
    if (d->owned) {
        chardev_free(d->chr);
    }
    g_free(d);
}

bool debugger_open(struct machine *m, struct chardev *chr, bool owned, debugger_command_fn command,
                   GError **error)
{
    struct debugger *d = g_new0(struct debugger, 1);

    debugger_close(m);
    *d = (struct debugger){.m = m, .chr = chr, .owned = owned, .command = command};
    d->stub = gdbstub_new(m->cpus, chr, &hooks, d, error);
    if (!d->stub) {
        g_free(d);
        return false;
    }
    m->debugger = d;
    return true;
}

void debugger_close(struct machine *m)
{
    if (m->debugger) {
        debugger_free(g_steal_pointer(&m->debugger));
    }
}

bool debugger_busy(const struct machine *m)
{
    return m->debugger && gdbstub_busy(m->debugger->stub);
}

void debugger_stopped(struct machine *m)
{
    if (m->debugger) {
        gdbstub_stopped(m->debugger->stub);
    }
}

void debugger_exited(struct machine *m, int status)
{
    if (m->debugger) {
        gdbstub_exited(m->debugger->stub, status);
    }
}

void machine_debug_stop(void *machine, struct vcpu *vcpu)
{
    struct machine *m = machine;

    machine_request_stop(m, RUN_STATE_DEBUG, "gdb");
}
