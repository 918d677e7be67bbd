/*
 * What a guest's event does: the actions of -no-reboot, -no-shutdown, -action and set-action, and
 * the interface through which devices and vCPUs tell the machine that something happened.
 *
 * Left out until the devices that raise them exist: panic and watchdog (their settings are stored).
 */
#include "machine/machine-priv.h"

#include "base/log.h"

void actions_init(struct machine_actions *actions)
{
    actions->reboot = REBOOT_ACTION_RESET;
    actions->shutdown = SHUTDOWN_ACTION_POWEROFF;
    actions->panic = PANIC_ACTION_SHUTDOWN;
    actions->watchdog = WATCHDOG_ACTION_RESET;
}

bool actions_reset_is_shutdown(const struct machine_actions *actions, enum shutdown_cause cause)
{
    return actions->reboot == REBOOT_ACTION_SHUTDOWN && cause != SHUTDOWN_CAUSE_SUBSYSTEM_RESET;
}

/* ---- devices */

static void guest_reset(void *machine, const char *source)
{
    machine_request_reset(machine, SHUTDOWN_CAUSE_GUEST_RESET, source);
}

static void guest_shutdown(void *machine, const char *source)
{
    machine_request_shutdown(machine, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, source);
}

static void guest_exit(void *machine, int status)
{
    machine_request_exit(machine, status);
}

const struct system_ops machine_system_ops = {
    .reset = guest_reset,
    .shutdown = guest_shutdown,
    .exit = guest_exit,
};

/* ---- vCPUs */

void machine_triple_fault(void *machine, struct vcpu *vcpu)
{
    machine_request_reset(machine, SHUTDOWN_CAUSE_GUEST_RESET, "triple fault");
}

void machine_internal_error(void *machine, struct vcpu *vcpu, const char *text)
{
    log_error("vCPU %u cannot go on:\n%s", vcpu->index, text);
    machine_request_stop(machine, RUN_STATE_INTERNAL_ERROR, "vCPU");
}
