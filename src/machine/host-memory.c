/*
 * Broken memory of the host, as base/host-fault.h notes it: what becomes of the machine.
 *
 * A broken page of guest RAM is the guest's to handle, as on hardware: it gets a machine check with
 * the guest-physical address, and MEMORY_FAILURE tells. The vCPU that has used the page gets it
 * (action required), the boot CPU where nobody has (action optional). Godwit itself depends on the
 * rest of its memory, and so does a guest that has no machine checks: there an optional one is
 * ignored and a required one ends the process. Memory that is gone altogether, for a file behind it
 * was truncated, is a shutdown with cause host-error.
 *
 * The software CPU's translated code stops at the instruction that has used the page. Its
 * interpreter notices at the end of a block of instructions, so the guest sees the machine check
 * some instructions late (at the privilege level of the access still, or else as action optional).
 * Pages that are broken stay so until a reset, which puts fresh ones there.
 */
#include "machine/host-memory.h"

#include "base/host-fault.h"
#include "base/log.h"
#include "cpu/x86/cpuid.h"
#include "cpu/x86/mce.h"
#include "machine/machine-priv.h"
#include "qapi-events.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

/* Bank and codes as QEMU has them: IA32_MCi_STATUS of Intel SDM volume 3, "Machine-Check
 * Architecture": 134H is a data load, C0H a memory scrubber's find. */
#define BANK       9
#define CODE_LOAD  0x134u
#define CODE_SCRUB 0xc0u
#define MISC_PAGE  (2u << 6 | 12u) /* a physical address, of a page */

struct broken {
    uintptr_t addr;
    size_t bytes;
};

struct host_memory {
    GArray *broken; /* struct broken: to be replaced at the next reset */
};

struct host_memory *host_memory_new(void)
{
    struct host_memory *h = g_new0(struct host_memory, 1);

    h->broken = g_array_new(FALSE, FALSE, sizeof(struct broken));
    return h;
}

void host_memory_free(struct host_memory *h)
{
    if (h) {
        g_array_unref(h->broken);
        g_free(h);
    }
}

/* Where the guest has it; false: nowhere. */
static bool guest_address(struct machine *m, uintptr_t addr, gpa_t *gpa)
{
    const struct flat_view *view = atomic_load(&m->mem->view);

    for (unsigned i = 0; i < view->n; i++) {
        const struct flat_range *r = &view->range[i];
        uintptr_t start;

        if (r->region->kind == REGION_IO) {
            continue;
        }
        start = (uintptr_t)r->region->ram->host + r->region->ram_offset + r->offset;
        if (addr >= start && addr - start <= r->last - r->start) {
            *gpa = r->start + (addr - start);
            return true;
        }
    }
    return false;
}

/* ---- the causes */

static struct cause *fault_cause(struct machine *m, const struct host_fault *fault)
{
    struct godwit_cause *info = g_new0(struct godwit_cause, 1);
    gpa_t gpa;

    info->who = GODWIT_CAUSE_WHO_SIGNAL;
    info->what = g_strdup(fault->kind == HOST_FAULT_LOST ? "memory lost" : "memory failure");
    info->signal = g_new0(struct godwit_signal, 1);
    info->signal->number = SIGBUS;
    info->signal->name = g_strdup("SIGBUS");
    if (fault->kind != HOST_FAULT_OPTIONAL && fault->thread >= 0) {
        info->has_vcpu = true;
        info->vcpu = fault->thread;
    }
    info->memory = g_new0(struct godwit_memory, 1);
    info->memory->host_address = g_strdup_printf("0x%" PRIxPTR, fault->addr);
    if (guest_address(m, fault->addr, &gpa)) {
        info->memory->guest_address = g_strdup_printf("0x%" PRIx64, gpa);
    }
    return cause_new(info);
}

static void tell_hypervisor(struct machine *m, enum memory_failure_action action, bool required)
{
    struct memory_failure_flags flags = {.action_required = required};

    qapi_event_send_memory_failure(m->events, MEMORY_FAILURE_RECIPIENT_HYPERVISOR, action, &flags);
}

/* ---- what becomes of it */

/* Nobody can make up for it: the process ends, whatever -no-shutdown says. QEMU does so without
 * SHUTDOWN, though it declares the cause. */
static void fatal(struct machine *m, const struct host_fault *fault)
{
    log_error("hardware memory error at 0x%" PRIxPTR ": the program cannot go on", fault->addr);
    tell_hypervisor(m, MEMORY_FAILURE_ACTION_FATAL, true);
    machine_request_shutdown(m, SHUTDOWN_CAUSE_HOST_ERROR, "memory failure");
    machine_request_exit(m, 1);
}

static void ignored(struct machine *m, const struct host_fault *fault)
{
    log_warn("hardware memory error at 0x%" PRIxPTR ": not used yet, the program goes on",
             fault->addr);
    tell_hypervisor(m, MEMORY_FAILURE_ACTION_IGNORE, false);
}

static void inject(struct machine *m, const struct host_fault *fault, struct vcpu *vcpu, gpa_t gpa)
{
    bool required = fault->kind == HOST_FAULT_REQUIRED;
    /* Used at one level and noticed at another: where the vCPU is now is not where it used it. */
    bool here = required && (fault->level < 0 || fault->level == mce_privilege(vcpu));
    const struct mce mce = {
        .bank = BANK,
        .status = MCI_STATUS_VAL | MCI_STATUS_UC | MCI_STATUS_EN | MCI_STATUS_MISCV |
                  MCI_STATUS_ADDRV | MCI_STATUS_S | (here ? MCI_STATUS_AR | CODE_LOAD : CODE_SCRUB),
        /* The guest can go on with RIPV, so that it takes the page away rather than only kill. */
        .mcg_status = MCG_STATUS_MCIP | MCG_STATUS_RIPV | (here ? MCG_STATUS_EIPV : 0),
        .addr = gpa,
        .misc = MISC_PAGE,
    };
    g_autoptr(GString) out = g_string_new(NULL);

    log_warn("hardware memory error at 0x%" PRIxPTR ", guest address 0x%" PRIx64
             ": machine check for vCPU %u, action %s",
             fault->addr, gpa, vcpu->index, required ? "required" : "optional");
    machine_check_parked(m, vcpu, &mce, required, machine_checks_broadcast(m), out);
    if (out->len) {
        log_warn("%s", out->str);
    }
}

static void broken_page(struct machine *m, const struct host_fault *fault)
{
    bool required = fault->kind == HOST_FAULT_REQUIRED;
    struct vcpu *vcpu = machine_vcpu(m, required ? fault->thread : 0);
    gpa_t gpa;

    if (!guest_address(m, fault->addr, &gpa) || !vcpu || !mce_supported(vcpu)) {
        if (required) {
            fatal(m, fault);
        } else {
            ignored(m, fault);
        }
        return;
    }
    if (fault->replaced) {
        address_space_ram_written(m->mem, gpa, fault->bytes);
    } else {
        struct broken broken = {fault->addr, fault->bytes};

        g_array_append_val(m->host_memory->broken, broken);
    }
    inject(m, fault, vcpu, gpa);
}

static void lost_page(struct machine *m, const struct host_fault *fault)
{
    gpa_t gpa = 0;

    guest_address(m, fault->addr, &gpa);
    log_error("guest memory at 0x%" PRIx64 " is lost: nothing is behind it any more (was its file "
              "truncated?)",
              gpa);
    machine_note_failure(m, GODWIT_BLACK_BOX_TRIGGER_HOST_ERROR, machine_vcpu(m, fault->thread),
                         "memory lost", NULL);
    machine_request_shutdown(m, SHUTDOWN_CAUSE_HOST_ERROR, "memory lost");
}

static void handle(struct machine *m, const struct host_fault *fault)
{
    struct cause_scope scope;

    cause_enter(m, &scope, fault_cause(m, fault));
    if (fault->kind == HOST_FAULT_LOST) {
        lost_page(m, fault);
    } else {
        broken_page(m, fault);
    }
    cause_leave(m, &scope);
}

bool host_memory_ready(int fd, GIOCondition condition, void *machine)
{
    struct machine *m = machine;
    struct host_fault fault;

    machine_park_begin(m);
    while (host_fault_take(&fault)) {
        handle(m, &fault);
    }
    machine_run_requests(m); /* before the guest goes on */
    machine_park_end(m);
    return true;
}

void host_memory_reset(struct machine *m)
{
    GArray *list = m->host_memory->broken;

    for (guint i = 0; i < list->len; i++) {
        const struct broken *broken = &g_array_index(list, struct broken, i);
        gpa_t gpa;

        if (!guest_address(m, broken->addr, &gpa)) {
            continue;
        }
        if (!host_fault_replace(broken->addr, broken->bytes)) {
            log_error("broken memory at guest address 0x%" PRIx64 " cannot be replaced: %s", gpa,
                      g_strerror(errno));
        }
        address_space_ram_written(m->mem, gpa, broken->bytes);
    }
    g_array_set_size(list, 0);
}
