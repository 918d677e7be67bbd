/*
 * What a guest's event does: the actions of -no-reboot, -no-shutdown, -action and set-action, and
 * the interface through which devices and vCPUs tell the machine that something happened.
 */
#include "machine/machine-priv.h"

#include "base/log.h"
#include "devices/isa/mc146818rtc.h"
#include "machine/cpu-hotplug.h"
#include "machine/hotplug.h"
#include "machine/objects.h"
#include "qapi-events.h"
#include <inttypes.h>
#include <string.h>

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

static void guest_suspend(void *machine)
{
    machine_request_suspend(machine);
}

static void guest_wakeup(void *machine, const char *source)
{
    machine_request_wakeup(machine, source);
}

static void guest_suspend_disk(void *machine)
{
    struct machine *m = machine;
    struct cause_scope scope;

    machine_act_begin(m);
    cause_enter(m, &scope, cause_now(m, GODWIT_CAUSE_WHO_DEVICE, "acpi"));
    qapi_event_send_suspend_disk(m->events);
    machine_request_shutdown(m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, "ACPI S4");
    cause_leave(m, &scope);
    machine_act_end(m);
}

static void guest_exit(void *machine, int status)
{
    machine_request_exit(machine, status);
}

/* Of the vCPU whose register access is being served, if it is one. */
static void note_failure(struct machine *m, enum godwit_black_box_trigger trigger,
                         const struct guest_panic_information *info)
{
    machine_note_failure(m, trigger, m->cpus ? vcpu_current(m->cpus) : NULL, NULL, info);
}

/* The event tells what is effectively done: a panic that is to shut the machine down pauses it when
 * a shutdown is to pause it. With exit-failure the shutdown is asked for all the same. info: NULL
 * when nothing is known of the panic. */
static void panic_act(struct machine *m, const struct guest_panic_information *info)
{
    const struct machine_actions *actions = machine_actions(m);
    struct vcpu *vcpu = m->cpus ? vcpu_current(m->cpus) : NULL;
    struct cause_scope scope;

    if (vcpu) {
        vcpu->crashed = true;
    }
    cause_enter(m, &scope, cause_now(m, GODWIT_CAUSE_WHO_DEVICE, "panic"));
    if (actions->panic == PANIC_ACTION_NONE) {
        qapi_event_send_guest_panicked(m->events, GUEST_PANIC_ACTION_RUN, info);
    } else {
        machine_act_begin(m);
        if (actions->panic == PANIC_ACTION_PAUSE || (actions->panic == PANIC_ACTION_SHUTDOWN &&
                                                     actions->shutdown == SHUTDOWN_ACTION_PAUSE)) {
            qapi_event_send_guest_panicked(m->events, GUEST_PANIC_ACTION_PAUSE, info);
            machine_request_stop(m, RUN_STATE_GUEST_PANICKED, "panic");
        } else {
            qapi_event_send_guest_panicked(m->events, GUEST_PANIC_ACTION_POWEROFF, info);
            machine_request_shutdown(m, SHUTDOWN_CAUSE_GUEST_PANIC, "panic");
        }
        machine_act_end(m);
    }
    note_failure(m, GODWIT_BLACK_BOX_TRIGGER_PANIC, info);
    cause_leave(m, &scope);
}

static void guest_panicked(void *machine, bool crash_loaded)
{
    struct machine *m = machine;
    struct cause_scope scope;

    if (crash_loaded) {
        cause_enter(m, &scope, cause_now(m, GODWIT_CAUSE_WHO_DEVICE, "crash loaded"));
        qapi_event_send_guest_crashloaded(m->events, GUEST_PANIC_ACTION_RUN, NULL);
        note_failure(m, GODWIT_BLACK_BOX_TRIGGER_CRASH_LOADED, NULL);
        cause_leave(m, &scope);
    } else {
        panic_act(m, NULL);
    }
}

static void watchdog_expired(void *machine, const char *source)
{
    struct machine *m = machine;
    struct machine_actions *actions = machine_actions(m);
    struct cause_scope scope;

    machine_act_begin(m);
    cause_enter(m, &scope, cause_now(m, GODWIT_CAUSE_WHO_DEVICE, source));
    qapi_event_send_watchdog(m->events, actions->watchdog);
    switch (actions->watchdog) {
    case WATCHDOG_ACTION_RESET:
        machine_request_reset(m, SHUTDOWN_CAUSE_GUEST_RESET, source);
        break;
    case WATCHDOG_ACTION_SHUTDOWN:
        machine_request_powerdown(m);
        break;
    case WATCHDOG_ACTION_POWEROFF:
        actions->shutdown =
            SHUTDOWN_ACTION_POWEROFF; /* ends the process, whatever -no-shutdown says */
        machine_request_shutdown(m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, source);
        break;
    case WATCHDOG_ACTION_PAUSE:
        machine_request_stop(m, RUN_STATE_WATCHDOG, source);
        break;
    case WATCHDOG_ACTION_DEBUG:
        log_warn("watchdog: timer fired (%s)", source);
        break;
    case WATCHDOG_ACTION_INJECT_NMI:
        machine_inject_nmi(m);
        break;
    default:
        break;
    }
    machine_act_end(m);
    machine_note_failure(m, GODWIT_BLACK_BOX_TRIGGER_WATCHDOG, NULL, source, NULL);
    cause_leave(m, &scope);
}

static void rtc_changed(void *machine, int64_t offset_s)
{
    struct machine *m = machine;
    g_autofree char *path = machine_device_path(m, devices_find_class(&m->env, &mc146818rtc_class));
    struct cause_scope scope;

    cause_enter(m, &scope, cause_now(m, GODWIT_CAUSE_WHO_DEVICE, "rtc"));
    qapi_event_send_rtc_change(m->events, offset_s, path ? path : "/machine");
    cause_leave(m, &scope);
}

const struct system_ops machine_system_ops = {
    .reset = guest_reset,
    .shutdown = guest_shutdown,
    .suspend = guest_suspend,
    .suspend_disk = guest_suspend_disk,
    .wakeup = guest_wakeup,
    .exit = guest_exit,
    .panicked = guest_panicked,
    .watchdog = watchdog_expired,
    .rtc_change = rtc_changed,
    .unplugged = machine_device_unplugged,
    .unplug_failed = machine_unplug_failed,
    .cpu_out = machine_cpu_out,
    .cpu_kept = machine_cpu_kept,
};

/* ---- vCPUs */

bool machine_inject_nmi(struct machine *m)
{
    if (m->cpus && runstate_get(m->run) != RUN_STATE_PRELAUNCH) {
        cpus_inject_nmi(m->cpus);
    }
    return m->cpus != NULL;
}

void machine_triple_fault(void *machine, struct vcpu *vcpu)
{
    struct machine *m = machine;
    struct cause_scope scope;

    cause_enter(m, &scope, cause_of_vcpu(vcpu, "triple fault", vcpu->fatal_exception));
    machine_note_failure(m, GODWIT_BLACK_BOX_TRIGGER_TRIPLE_FAULT, vcpu, NULL, NULL);
    machine_request_reset(m, SHUTDOWN_CAUSE_GUEST_RESET, "triple fault");
    cause_leave(m, &scope);
}

void machine_internal_error(void *machine, struct vcpu *vcpu, const char *text)
{
    struct machine *m = machine;
    struct cause_scope scope;

    log_error("vCPU %u cannot go on:\n%s", vcpu->index, text);
    cause_enter(m, &scope, cause_of_vcpu(vcpu, "internal error", -1));
    machine_note_failure(m, GODWIT_BLACK_BOX_TRIGGER_INTERNAL_ERROR, vcpu, text, NULL);
    machine_request_stop(m, RUN_STATE_INTERNAL_ERROR, "vCPU");
    cause_leave(m, &scope);
}

void machine_host_error(void *machine, struct vcpu *vcpu, const char *text)
{
    struct machine *m = machine;
    struct cause_scope scope;

    log_error("vCPU %u: the host has failed it: %s", vcpu->index, text);
    cause_enter(m, &scope, cause_of_vcpu(vcpu, text, -1));
    machine_note_failure(m, GODWIT_BLACK_BOX_TRIGGER_HOST_ERROR, vcpu, text, NULL);
    machine_request_shutdown(m, SHUTDOWN_CAUSE_HOST_ERROR, "accelerator");
    cause_leave(m, &scope);
}

void machine_crash(void *machine, struct vcpu *vcpu, const uint64_t arg[5])
{
    struct guest_panic_information info = {
        .type = GUEST_PANIC_INFORMATION_TYPE_HYPER_V,
        .u.hyper_v = {arg[0], arg[1], arg[2], arg[3], arg[4]},
    };

    log_guest("HV crash parameters: (0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64
              " 0x%" PRIx64 ")",
              arg[0], arg[1], arg[2], arg[3], arg[4]);
    vcpu_lock_machine(vcpu);
    memcpy(vcpu->crash_arg, arg, sizeof(vcpu->crash_arg));
    panic_act(machine, &info);
    vcpu_unlock_machine(vcpu);
}
